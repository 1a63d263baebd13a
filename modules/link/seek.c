/* SPDX-License-Identifier: Apache-2.0 */
/* Which seat a request gets, when there is a free one. */
#include <unistd.h>
#include "core/clock.h"
#include "link/link.h"
#include "link/peer.h"
#include "share/stat.h"
#include "share/wake.h"

typedef fcgipm_attempt_t attempt_t;

#define BALANCED_MAX 320 /* slots; a pool has at most 258 */
#define RACES_MAX    4

static uint32_t seat_end(const fcgipm_geometry_t *g)
{
    return g->seat_first + g->slot_count * g->concurrency;
}

void fcgipm_seek_hold(attempt_t *a, uint32_t seat, uint64_t word)
{
    fcgipm_lease_t *lease = a->lease;
    lease->pool = a->pool;
    lease->life = a->wish->life;
    lease->seat = seat;
    lease->word = word;
    lease->slot = fcgipm_seat_slot(&a->g, seat);
    const fcgipm_board_slot_t *slot = &a->link->env.board->slot[a->g.slot_first + lease->slot];
    lease->generation = fcgipm_atom_peek(&slot->generation);
    lease->pid = fcgipm_atom_peek(&slot->pid);
    lease->since_us = fcgipm_clock_us();
}

static bool wanted(const fcgipm_kept_t *kept, void *ctx)
{
    const attempt_t *a = ctx;
    return fcgipm_seat_slot(&a->g, kept->seat) != a->avoid;
}

/* Our own kept connection, last used first. It may have died meanwhile; its seat is good all the same. */
static bool take_kept(attempt_t *a, fcgipm_kept_pick_fn *pick)
{
    fcgipm_kept_t kept;
    while (fcgipm_kept_take(a->link, a->pool, pick, a, &kept)) {
        uint64_t word = kept.word;
        bool ours = fcgipm_seat_step(&a->link->env.board->seat[kept.seat], &word, FCGIPM_SEAT_EV_TAKE,
                                     a->link->child);
        if (ours)
            fcgipm_seek_hold(a, kept.seat, word);
        if (ours && !a->wish->fresh && (!fcgipm_attempt_multiplexes(a) || fcgipm_attempt_shares(a)) &&
            fcgipm_peer_silent(kept.fd)) {
            a->lease->fd = kept.fd;
            a->lease->reused = true;
            fcgipm_stat_reuses_add(a->link->env.board, a->pool, 1);
            return true;
        }
        close(kept.fd); /* before we connect anew: the worker accepts when it has seen the end of this one */
        if (ours)
            return true;
    }
    return false;
}

/* It was another child's, whose connection is now only fit to be closed. */
static void tell_owner(attempt_t *a, unsigned owner)
{
    a->lease->taken_over = true;
    fcgipm_stat_takeovers_add(a->link->env.board, a->pool, 1);
    fcgipm_wake_child(owner);
}

/* The first seat in `state`, rank first. */
static bool take_state(attempt_t *a, fcgipm_seat_state_t state)
{
    fcgipm_board_t *board = a->link->env.board;
    for (uint32_t seat = a->g.seat_first; seat < seat_end(&a->g); seat++) {
        uint64_t word = fcgipm_atom_get(&board->seat[seat]);
        unsigned owner = fcgipm_seat_owner(word);
        if (fcgipm_seat_state(word) != state || fcgipm_seat_slot(&a->g, seat) == a->avoid ||
            !fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_TAKE, a->link->child))
            continue;
        fcgipm_seek_hold(a, seat, word);
        if (state == FCGIPM_SEAT_LEASED)
            tell_owner(a, owner);
        return true;
    }
    return false;
}

/* --- several requests per worker: the one with the fewest --- */

typedef struct choice {
    uint32_t seat, busy; /* of its worker */
    unsigned rank;       /* 0: our kept connection, 1: free, 2: another child's kept connection */
    uint64_t word;
} choice_t;

static unsigned rank_of(const attempt_t *a, uint64_t word)
{
    if (fcgipm_seat_state(word) == FCGIPM_SEAT_IDLE)
        return 1;
    return fcgipm_seat_owner(word) == a->link->child ? 0 : 2;
}

static bool is_better(const choice_t *x, const choice_t *than)
{
    return x->busy != than->busy ? x->busy < than->busy : x->rank < than->rank;
}

/* The best seat just now; others may be faster. False: none is free. */
static bool choose(const attempt_t *a, choice_t *best)
{
    const fcgipm_board_t *board = a->link->env.board;
    choice_t of_slot[BALANCED_MAX];
    for (uint32_t slot = 0; slot < a->g.slot_count; slot++)
        of_slot[slot] = (choice_t){.seat = UINT32_MAX, .rank = 3};
    for (uint32_t seat = a->g.seat_first; seat < seat_end(&a->g); seat++) {
        uint64_t word = fcgipm_atom_get(&board->seat[seat]);
        unsigned state = fcgipm_seat_state(word);
        choice_t *c = &of_slot[fcgipm_seat_slot(&a->g, seat)];
        c->busy += state == FCGIPM_SEAT_BUSY || state == FCGIPM_SEAT_DRAINING;
        if ((state != FCGIPM_SEAT_IDLE && state != FCGIPM_SEAT_LEASED) || rank_of(a, word) >= c->rank)
            continue;
        c->seat = seat;
        c->rank = rank_of(a, word);
        c->word = word;
    }
    *best = (choice_t){.seat = UINT32_MAX, .busy = UINT32_MAX};
    for (uint32_t slot = 0; slot < a->g.slot_count; slot++)
        if (of_slot[slot].seat != UINT32_MAX && slot != a->avoid && is_better(&of_slot[slot], best))
            *best = of_slot[slot];
    return best->seat != UINT32_MAX;
}

static bool of_that_worker(const fcgipm_kept_t *kept, void *ctx)
{
    const attempt_t *a = ctx;
    return fcgipm_seat_slot(&a->g, kept->seat) == a->lease->slot;
}

static bool take_choice(attempt_t *a, choice_t *best)
{
    fcgipm_board_t *board = a->link->env.board;
    unsigned owner = fcgipm_seat_owner(best->word);
    if (best->rank == 0) {
        a->lease->slot = fcgipm_seat_slot(&a->g, best->seat);
        return take_kept(a, of_that_worker);
    }
    if (!fcgipm_seat_step(&board->seat[best->seat], &best->word, FCGIPM_SEAT_EV_TAKE, a->link->child))
        return false;
    fcgipm_seek_hold(a, best->seat, best->word);
    if (best->rank == 2)
        tell_owner(a, owner);
    return true;
}

static bool take_balanced(attempt_t *a)
{
    choice_t best;
    for (int i = 0; i < RACES_MAX && choose(a, &best); i++)
        if (take_choice(a, &best))
            return true;
    return false;
}

/* --- */

static bool take_one(attempt_t *a)
{
    if (a->g.concurrency > 1 && a->g.slot_count > 1 && a->g.slot_count <= BALANCED_MAX && take_balanced(a))
        return true;
    return take_kept(a, wanted) || take_state(a, FCGIPM_SEAT_IDLE) || take_state(a, FCGIPM_SEAT_LEASED);
}

bool fcgipm_seek(attempt_t *a)
{
    uint32_t avoid = a->avoid;
    bool taken = take_one(a);
    if (taken || avoid == UINT32_MAX)
        return taken;
    a->avoid = UINT32_MAX;
    taken = take_one(a);
    a->avoid = avoid;
    return taken;
}
