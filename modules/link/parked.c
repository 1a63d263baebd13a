/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait in a queue on a nest: link->waiting has them by cell. */
#include <sched.h>
#include "core/clock.h"
#include "link/link.h"
#include "share/board.h"
#include "share/queue.h"

bool fcgipm_attempt_park(fcgipm_attempt_t *a, fcgipm_nest_t *nest)
{
    fcgipm_link_t *link = a->link;
    if (a->state != FCGIPM_ATTEMPT_QUEUED)
        return true; /* the caller's descriptor and time are all there is to wait for */
    a->nest = nest;
    a->parked = true;
    a->word |= FCGIPM_CELL_PARKED; /* before others can see it */
    fcgipm_atom_add(&link->parked[a->pool], 1);
    uint32_t end = fcgipm_atom_get(&link->parked_end);
    while (end <= a->pool && !fcgipm_atom_cas(&link->parked_end, &end, a->pool + 1))
        ;
    bool first = fcgipm_atom_add(&link->parked_all, 1) == 0;
    fcgipm_atom_set(&link->waiting[a->cell], a);
    if (first) { /* the keeper may sleep without limit */
        pthread_mutex_lock(&link->mutex);
        bool wake = fcgipm_keeper_oversleeps_locked(link, FCGIPM_TEND_MS);
        link->parked_lately = true;
        pthread_mutex_unlock(&link->mutex);
        if (wake)
            fcgipm_keeper_wake(link);
    }
    /* In the table first: who grants from now on tells the keeper, and the keeper finds it. */
    if (fcgipm_queue_park(link->env.board, a->cell, a->word))
        return true;
    fcgipm_attempt_unpark(a);
    return false;
}

fcgipm_attempt_t *fcgipm_parked_take(fcgipm_link_t *link, uint32_t cell)
{
    return atomic_exchange(&link->waiting[cell], NULL);
}

/* (That it parks in this moment is no news to it: the table has it a moment before its cell says so.) */
void fcgipm_parked_put(fcgipm_attempt_t *a, uint64_t seen)
{
    fcgipm_link_t *link = a->link;
    uint32_t cell = a->cell;
    fcgipm_atom_set(&link->waiting[cell], a);
    if (!fcgipm_cell_same(fcgipm_atom_get(&link->env.board->cell[cell]), seen))
        fcgipm_parked_ring(link, cell);
}

void fcgipm_attempt_unpark(fcgipm_attempt_t *a)
{
    fcgipm_link_t *link = a->link;
    if (!a->parked)
        return;
    while (fcgipm_parked_take(link, a->cell) != a)
        sched_yield(); /* somebody has it: he sends a few bytes, or rings */
    a->parked = false;
    fcgipm_atom_sub(&link->parked[a->pool], 1);
    fcgipm_atom_sub(&link->parked_all, 1);
}

/* Is there something to do for one who is parked? */
static bool parked_due(const fcgipm_attempt_t *a, int64_t now_us)
{
    const fcgipm_board_t *board = a->link->env.board;
    return (a->until_us && now_us >= a->until_us) || fcgipm_board_route(board, a->wish->pool) != a->pool ||
           !fcgipm_attempt_pool_serves(board, a->pool);
}

void fcgipm_parked_ring(void *ctx, uint32_t cell)
{
    fcgipm_attempt_t *a = fcgipm_parked_take(ctx, cell);
    if (!a)
        return; /* it is awake, and looks */
    fcgipm_nest_ring(a->nest);
    fcgipm_atom_set(&a->link->waiting[cell], a);
}

static bool must_wake(const fcgipm_attempt_t *a, uint64_t seen, bool all, int64_t now_us)
{
    if (!fcgipm_cell_same(seen, a->word))
        return all || a->handed_fd < 0; /* (who was handed a connection has its answer to wake it) */
    return all && parked_due(a, now_us);
}

/* Of one pool: rings for all whose turn has come; all: also for those who must look at their pool or at their
 * limits. One of them is copied for `tend`. */
static bool ring_pool(fcgipm_link_t *link, uint32_t pool, const fcgipm_geometry_t *g, bool all,
                      fcgipm_attempt_t *sample)
{
    int64_t now_us = fcgipm_clock_us();
    bool found = false;
    for (uint32_t cell = g->cell_first; cell < g->cell_first + g->cell_count; cell++) {
        fcgipm_attempt_t *a = atomic_load_explicit(&link->waiting[cell], memory_order_relaxed)
                                  ? fcgipm_parked_take(link, cell)
                                  : NULL;
        if (!a)
            continue;
        uint64_t seen = fcgipm_atom_get(&link->env.board->cell[cell]);
        if (must_wake(a, seen, all, now_us)) {
            fcgipm_nest_ring(a->nest);
        } else if (!found) {
            found = true;
            *sample =
                (fcgipm_attempt_t){.link = link, .pool = pool, .g = a->g, .cell = cell, .word = a->word};
        }
        fcgipm_parked_put(a, seen);
    }
    return found;
}

static void ring_parked(fcgipm_link_t *link, bool all)
{
    static const fcgipm_wish_t any = {.avoid_seat_slot = UINT32_MAX};
    uint32_t end = fcgipm_atom_get(&link->parked_end);
    for (uint32_t pool = 0; fcgipm_atom_get(&link->parked_all) && pool < end; pool++) {
        fcgipm_geometry_t g;
        fcgipm_attempt_t sample;
        if (!fcgipm_atom_peek(&link->parked[pool]) || !fcgipm_board_geometry(link->env.board, pool, &g) ||
            !ring_pool(link, pool, &g, all, &sample) || !all)
            continue;
        sample.wish = &any;
        sample.avoid = UINT32_MAX;
        fcgipm_attempt_tend(&sample);
    }
}

void fcgipm_parked_look(fcgipm_link_t *link)
{
    ring_parked(link, false);
}

void fcgipm_parked_tend(fcgipm_link_t *link)
{
    ring_parked(link, true);
}
