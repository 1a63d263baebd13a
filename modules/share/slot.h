/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_SLOT_H
#define FCGIPM_SHARE_SLOT_H
/*
 * What: the two state machines of the board as total matrices with one door each: the slot (a worker
 * process, moved by the manager only) and the seat (one request's place in a worker, moved by
 * compare-and-swap from an exactly known word by whoever wins). No locks: a process that dies in the middle
 * leaves a word that names it, and the parent frees it (share/children).
 *
 * Seat word:  63..56 state | 55..40 owner (httpd child index) | 39..0 epoch, +1 at every step
 *
 *   CLOSED   no worker, or not ready
 *   IDLE     a ready worker has room here, nobody has a connection open for it
 *   LEASED   owner keeps an idle connection for it; anyone may take it over (then connects anew)
 *   BUSY     owner runs a request here
 *   DRAINING as BUSY, but the worker is to leave: closes when the owner returns it
 *
 * Who calls: manager, parent (obituary), httpd children, any thread.
 * Always true: 1. a word is written only by CAS from a word that the writer has read; 2. an epoch never
 * repeats within 2^40 steps, so an old lease cannot come back (no ABA); 3. a BUSY or DRAINING seat has one
 * owner, and only the owner, the manager's drain, a grant's receiver and the owner's obituary move it.
 */
#include <stdbool.h>
#include "share/layout.h"

/* state, doc */
#define FCGIPM_SLOT_STATES(X)                                                                                \
    X(FREE, "no worker")                                                                                     \
    X(STARTING, "forked, not yet ready")                                                                     \
    X(READY, "takes requests")                                                                               \
    X(DRAINING, "finishes its requests, takes no more")                                                      \
    X(ENDING, "told to stop")                                                                                \
    X(DEAD, "gone, waits for its next start")
typedef enum fcgipm_slot_state {
#define X(name, doc) FCGIPM_SLOT_##name,
    FCGIPM_SLOT_STATES(X)
#undef X
        FCGIPM_SLOT_STATE_COUNT
} fcgipm_slot_state_t;
const char *fcgipm_slot_state_str(unsigned state);

#define FCGIPM_SLOT_EVENTS(X)                                                                                \
    X(SPAWN, "fork succeeded")                                                                               \
    X(READY, "the readiness test passed")                                                                    \
    X(DRAIN, "to be stopped when idle")                                                                      \
    X(STOP, "TERM was sent")                                                                                 \
    X(DIED, "the process is gone")                                                                           \
    X(CLEAR, "its socket is gone, the place is free")
typedef enum fcgipm_slot_event {
#define X(name, doc) FCGIPM_SLOT_EV_##name,
    FCGIPM_SLOT_EVENTS(X)
#undef X
        FCGIPM_SLOT_EVENT_COUNT
} fcgipm_slot_event_t;
/* The next state, or FCGIPM_SLOT_STATE_COUNT for a cell that only our own bug can reach. */
fcgipm_slot_state_t fcgipm_slot_next(fcgipm_slot_state_t state, fcgipm_slot_event_t event);

typedef enum fcgipm_seat_state {
    FCGIPM_SEAT_CLOSED,
    FCGIPM_SEAT_IDLE,
    FCGIPM_SEAT_LEASED,
    FCGIPM_SEAT_BUSY,
    FCGIPM_SEAT_DRAINING,
    FCGIPM_SEAT_STATE_COUNT
} fcgipm_seat_state_t;
const char *fcgipm_seat_state_str(unsigned state);

typedef enum fcgipm_seat_event {
    FCGIPM_SEAT_EV_OPEN,    /* manager: CLOSED -> BUSY(owner: manager), then it returns it like anyone (so
                               waiters    are served first) */
    FCGIPM_SEAT_EV_TAKE,    /* IDLE or LEASED (own: reuse; other's: takeover) -> BUSY(owner) */
    FCGIPM_SEAT_EV_GRANT,   /* BUSY(a) -> BUSY(b): done by b, the waiter */
    FCGIPM_SEAT_EV_KEEP,    /* BUSY -> LEASED(owner); DRAINING -> CLOSED */
    FCGIPM_SEAT_EV_RETURN,  /* BUSY -> IDLE; DRAINING -> CLOSED; also LEASED -> IDLE (owner closed its
                               connection) */
    FCGIPM_SEAT_EV_DRAIN,   /* IDLE, LEASED -> CLOSED; BUSY -> DRAINING */
    FCGIPM_SEAT_EV_SHUT,    /* anything -> CLOSED: the worker is dead */
    FCGIPM_SEAT_EV_ABANDON, /* the owner died: LEASED, BUSY -> IDLE; DRAINING -> CLOSED */
    FCGIPM_SEAT_EVENT_COUNT
} fcgipm_seat_event_t;

static inline unsigned fcgipm_seat_state(uint64_t word)
{
    return (unsigned)(word >> 56);
}
static inline unsigned fcgipm_seat_owner(uint64_t word)
{
    return (unsigned)(word >> 40) & 0xffffu;
}
static inline uint64_t fcgipm_seat_epoch(uint64_t word)
{
    return word & 0xffffffffffull;
}

/* The word after `event` by `owner`: false if the matrix forbids it. Pure. */
bool fcgipm_seat_next(uint64_t word, fcgipm_seat_event_t event, unsigned owner, uint64_t *next);
/* CAS the seat from *word. True: moved, *word is the new word. False: somebody else was faster (or
 * forbidden); *word is what is there now. */
bool fcgipm_seat_step(fcgipm_atom64_t *seat, uint64_t *word, fcgipm_seat_event_t event, unsigned owner);

static inline uint32_t fcgipm_seat_index(const fcgipm_geometry_t *g, uint32_t slot, uint32_t rank)
{
    return g->seat_first + rank * g->slot_count + slot;
}
/* slot number within the pool */
static inline uint32_t fcgipm_seat_slot(const fcgipm_geometry_t *g, uint32_t seat)
{
    return (seat - g->seat_first) % g->slot_count;
}
/* All ranges lie inside the tables, slots and concurrency are not 0 (no cells: nobody can wait). For a
 * geometry that was read from the board. */
bool fcgipm_geometry_ok(const fcgipm_geometry_t *g);
#endif
