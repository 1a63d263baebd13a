/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/seats.h"

#define ROUNDS_MAX 64

static fcgipm_atom64_t *seat_at(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot,
                                uint32_t rank)
{
    return &board->seat[fcgipm_seat_index(g, slot, rank)];
}

/* CLOSED, from any word. */
static void shut(fcgipm_atom64_t *seat)
{
    uint64_t word = fcgipm_atom_get(seat);
    for (int round = 0; round < ROUNDS_MAX; round++) {
        uint64_t next;
        if (fcgipm_seat_state(word) == FCGIPM_SEAT_CLOSED)
            return;
        if (!fcgipm_seat_next(word, FCGIPM_SEAT_EV_SHUT, FCGIPM_OWNER_MANAGER, &next))
            next = (uint64_t)FCGIPM_NO_CHILD << 40 | ((fcgipm_seat_epoch(word) + 1) & 0xffffffffffull);
        if (fcgipm_atom_cas(seat, &word, next))
            return;
    }
}

static void step(fcgipm_atom64_t *seat, fcgipm_seat_event_t event, unsigned owner)
{
    uint64_t word = fcgipm_atom_get(seat), next;
    for (int round = 0; round < ROUNDS_MAX; round++)
        if (!fcgipm_seat_next(word, event, owner, &next) || fcgipm_seat_step(seat, &word, event, owner))
            return;
}

void fcgipm_seats_open(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t slot,
                       uint32_t places)
{
    for (uint32_t rank = 0; rank < g->concurrency && rank < places; rank++) {
        uint32_t index = fcgipm_seat_index(g, slot, rank);
        uint64_t word = fcgipm_atom_get(&board->seat[index]);
        if (fcgipm_seat_state(word) == FCGIPM_SEAT_CLOSED &&
            fcgipm_seat_step(&board->seat[index], &word, FCGIPM_SEAT_EV_OPEN, FCGIPM_OWNER_MANAGER))
            fcgipm_queue_offer(board, pool, g, index, &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER);
    }
}

void fcgipm_seats_drain(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot)
{
    for (uint32_t rank = 0; rank < g->concurrency; rank++)
        step(seat_at(board, g, slot, rank), FCGIPM_SEAT_EV_DRAIN, FCGIPM_OWNER_MANAGER);
}

void fcgipm_seats_shut(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot)
{
    for (uint32_t rank = 0; rank < g->concurrency; rank++)
        shut(seat_at(board, g, slot, rank));
}

void fcgipm_seats_inherit(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot)
{
    for (uint32_t rank = 0; rank < g->concurrency; rank++)
        step(seat_at(board, g, slot, rank), FCGIPM_SEAT_EV_ABANDON, FCGIPM_OWNER_MANAGER);
}

static bool hopeless(const fcgipm_board_t *board, uint64_t word)
{
    unsigned state = fcgipm_seat_state(word), owner = fcgipm_seat_owner(word);
    if (state >= FCGIPM_SEAT_STATE_COUNT)
        return true;
    if (state == FCGIPM_SEAT_CLOSED || state == FCGIPM_SEAT_IDLE || owner >= FCGIPM_OWNER_MANAGER)
        return false;
    return owner >= FCGIPM_CHILDREN_MAX || fcgipm_atom_peek(&board->child[owner].pid) == 0;
}

uint32_t fcgipm_seats_mend(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot)
{
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < g->concurrency; rank++)
        if (hopeless(board, fcgipm_atom_peek(seat_at(board, g, slot, rank)))) {
            shut(seat_at(board, g, slot, rank));
            count++;
        }
    return count;
}

bool fcgipm_seats_closed(const fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot)
{
    for (uint32_t rank = 0; rank < g->concurrency; rank++)
        if (fcgipm_seat_state(fcgipm_atom_get(&board->seat[fcgipm_seat_index(g, slot, rank)])) !=
            FCGIPM_SEAT_CLOSED)
            return false;
    return true;
}

uint32_t fcgipm_seats_busy(const fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t slot)
{
    uint32_t busy = 0;
    for (uint32_t rank = 0; rank < g->concurrency; rank++) {
        unsigned state = fcgipm_seat_state(fcgipm_atom_peek(&board->seat[fcgipm_seat_index(g, slot, rank)]));
        busy += state == FCGIPM_SEAT_BUSY || state == FCGIPM_SEAT_DRAINING;
    }
    return busy;
}
