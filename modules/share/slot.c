/* SPDX-License-Identifier: Apache-2.0 */
#include "share/slot.h"

#define BUG FCGIPM_SLOT_STATE_COUNT

const char *fcgipm_slot_state_str(unsigned state)
{
    static const char *const names[] = {
#define X(name, doc) [FCGIPM_SLOT_##name] = #name,
        FCGIPM_SLOT_STATES(X)
#undef X
    };
    return state < FCGIPM_SLOT_STATE_COUNT ? names[state] : "?";
}

/* next[state][event] + 1, so that a cell that nobody wrote (0) is a bug and not FREE. A stop or drain that
 * comes twice or too late changes nothing: the manager learns of deaths later than they happen. */
#define TO(state) (FCGIPM_SLOT_##state + 1)
static const unsigned char slot_matrix[FCGIPM_SLOT_STATE_COUNT][FCGIPM_SLOT_EVENT_COUNT] = {
    [FCGIPM_SLOT_FREE] =
        {
            [FCGIPM_SLOT_EV_SPAWN] = TO(STARTING),
        },
    [FCGIPM_SLOT_STARTING] =
        {
            [FCGIPM_SLOT_EV_READY] = TO(READY),
            [FCGIPM_SLOT_EV_DRAIN] = TO(DRAINING),
            [FCGIPM_SLOT_EV_STOP] = TO(ENDING),
            [FCGIPM_SLOT_EV_DIED] = TO(DEAD),
        },
    [FCGIPM_SLOT_READY] =
        {
            [FCGIPM_SLOT_EV_DRAIN] = TO(DRAINING),
            [FCGIPM_SLOT_EV_STOP] = TO(ENDING),
            [FCGIPM_SLOT_EV_DIED] = TO(DEAD),
        },
    [FCGIPM_SLOT_DRAINING] =
        {
            [FCGIPM_SLOT_EV_READY] = TO(DRAINING),
            [FCGIPM_SLOT_EV_DRAIN] = TO(DRAINING),
            [FCGIPM_SLOT_EV_STOP] = TO(ENDING),
            [FCGIPM_SLOT_EV_DIED] = TO(DEAD),
        },
    [FCGIPM_SLOT_ENDING] =
        {
            [FCGIPM_SLOT_EV_READY] = TO(ENDING),
            [FCGIPM_SLOT_EV_DRAIN] = TO(ENDING),
            [FCGIPM_SLOT_EV_STOP] = TO(ENDING),
            [FCGIPM_SLOT_EV_DIED] = TO(DEAD),
        },
    [FCGIPM_SLOT_DEAD] =
        {
            [FCGIPM_SLOT_EV_SPAWN] = TO(STARTING),
            [FCGIPM_SLOT_EV_DRAIN] = TO(DEAD),
            [FCGIPM_SLOT_EV_STOP] = TO(DEAD),
            [FCGIPM_SLOT_EV_CLEAR] = TO(FREE),
        },
};
#undef TO

fcgipm_slot_state_t fcgipm_slot_next(fcgipm_slot_state_t state, fcgipm_slot_event_t event)
{
    if ((unsigned)state >= FCGIPM_SLOT_STATE_COUNT || (unsigned)event >= FCGIPM_SLOT_EVENT_COUNT)
        return BUG;
    unsigned cell = slot_matrix[state][event];
    return cell ? (fcgipm_slot_state_t)(cell - 1) : BUG;
}

const char *fcgipm_seat_state_str(unsigned state)
{
    static const char *const names[FCGIPM_SEAT_STATE_COUNT] = {
        [FCGIPM_SEAT_CLOSED] = "CLOSED", [FCGIPM_SEAT_IDLE] = "IDLE",         [FCGIPM_SEAT_LEASED] = "LEASED",
        [FCGIPM_SEAT_BUSY] = "BUSY",     [FCGIPM_SEAT_DRAINING] = "DRAINING",
    };
    return state < FCGIPM_SEAT_STATE_COUNT ? names[state] : "?";
}

/* A cell: the next state, whose name the next word bears, and whether the event is the owner's alone. */
typedef enum seat_name { NOBODY, CALLER, SAME } seat_name_t;
typedef struct seat_cell {
    unsigned char allowed, state, name, owners;
} seat_cell_t;
#define TO(to, who)                                                                                          \
    {                                                                                                        \
        1, FCGIPM_SEAT_##to, (who), 0                                                                        \
    }
#define OWNER(to, who)                                                                                       \
    {                                                                                                        \
        1, FCGIPM_SEAT_##to, (who), 1                                                                        \
    }

static const seat_cell_t seat_matrix[FCGIPM_SEAT_STATE_COUNT][FCGIPM_SEAT_EVENT_COUNT] = {
    [FCGIPM_SEAT_CLOSED] =
        {
            [FCGIPM_SEAT_EV_OPEN] = TO(BUSY, CALLER),
            [FCGIPM_SEAT_EV_SHUT] = TO(CLOSED, NOBODY),
        },
    [FCGIPM_SEAT_IDLE] =
        {
            [FCGIPM_SEAT_EV_TAKE] = TO(BUSY, CALLER),
            [FCGIPM_SEAT_EV_DRAIN] = TO(CLOSED, NOBODY),
            [FCGIPM_SEAT_EV_SHUT] = TO(CLOSED, NOBODY),
        },
    [FCGIPM_SEAT_LEASED] =
        {
            [FCGIPM_SEAT_EV_TAKE] = TO(BUSY, CALLER),
            [FCGIPM_SEAT_EV_RETURN] = OWNER(IDLE, NOBODY),
            [FCGIPM_SEAT_EV_DRAIN] = TO(CLOSED, NOBODY),
            [FCGIPM_SEAT_EV_SHUT] = TO(CLOSED, NOBODY),
            [FCGIPM_SEAT_EV_ABANDON] = OWNER(IDLE, NOBODY),
        },
    [FCGIPM_SEAT_BUSY] =
        {
            [FCGIPM_SEAT_EV_GRANT] = TO(BUSY, CALLER),
            [FCGIPM_SEAT_EV_KEEP] = OWNER(LEASED, SAME),
            [FCGIPM_SEAT_EV_RETURN] = OWNER(IDLE, NOBODY),
            [FCGIPM_SEAT_EV_DRAIN] = TO(DRAINING, SAME),
            [FCGIPM_SEAT_EV_SHUT] = TO(CLOSED, NOBODY),
            [FCGIPM_SEAT_EV_ABANDON] = OWNER(IDLE, NOBODY),
        },
    [FCGIPM_SEAT_DRAINING] =
        {
            [FCGIPM_SEAT_EV_KEEP] = OWNER(CLOSED, NOBODY),
            [FCGIPM_SEAT_EV_RETURN] = OWNER(CLOSED, NOBODY),
            [FCGIPM_SEAT_EV_SHUT] = TO(CLOSED, NOBODY),
            [FCGIPM_SEAT_EV_ABANDON] = OWNER(CLOSED, NOBODY),
        },
};

bool fcgipm_seat_next(uint64_t word, fcgipm_seat_event_t event, unsigned owner, uint64_t *next)
{
    unsigned state = fcgipm_seat_state(word);
    if (state >= FCGIPM_SEAT_STATE_COUNT || (unsigned)event >= FCGIPM_SEAT_EVENT_COUNT)
        return false;
    const seat_cell_t *cell = &seat_matrix[state][event];
    if (!cell->allowed || (cell->owners && fcgipm_seat_owner(word) != owner))
        return false;
    unsigned name = cell->name == NOBODY   ? FCGIPM_NO_CHILD
                    : cell->name == CALLER ? (owner & 0xffffu)
                                           : fcgipm_seat_owner(word);
    *next = (uint64_t)cell->state << 56 | (uint64_t)name << 40 |
            ((fcgipm_seat_epoch(word) + 1) & 0xffffffffffull);
    return true;
}

bool fcgipm_seat_step(fcgipm_atom64_t *seat, uint64_t *word, fcgipm_seat_event_t event, unsigned owner)
{
    uint64_t next;
    if (!fcgipm_seat_next(*word, event, owner, &next)) {
        *word = fcgipm_atom_get(seat);
        return false;
    }
    /* Pairs with every other step: the winner of the CAS is the only one who moved this epoch. */
    if (!fcgipm_atom_cas(seat, word, next))
        return false;
    *word = next;
    return true;
}

static bool range_ok(uint64_t first, uint64_t count, uint64_t max)
{
    return first <= max && count <= max - first;
}

bool fcgipm_geometry_ok(const fcgipm_geometry_t *g)
{
    return g->slot_count && g->concurrency && range_ok(g->slot_first, g->slot_count, FCGIPM_SLOTS_MAX) &&
           range_ok(g->seat_first, (uint64_t)g->slot_count * g->concurrency, FCGIPM_SEATS_MAX) &&
           range_ok(g->cell_first, g->cell_count, FCGIPM_CELLS_MAX);
}
