/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_QUEUE_H
#define FCGIPM_SHARE_QUEUE_H
/*
 * What: the first-in first-out queue of a pool over all httpd children, without a lock. A waiting request
 * holds a cell; a seat that comes free is granted to the cell with the lowest ticket by one CAS, so a process
 * that dies in the middle never leaves a hole that others must wait for.
 *
 * Cell word:  63 parked | 62..60 state | 59..44 child | 43..0 payload
 *   FREE     payload 0
 *   WAITING  payload = ticket (44 bits)
 *   GRANTED  payload = seat index (20 bits) << 24 | low 24 bits of the seat's epoch
 *
 * Who calls: httpd children any thread (join, leave, offer); manager (offer; it counts waiters as a hint).
 * Hand-over: the giver keeps the seat BUSY under its own name and CASes the cell WAITING -> GRANTED; the
 * waiter CASes the seat BUSY(giver) -> BUSY(itself). If the giver dies between, its obituary frees the seat
 * and the waiter's CAS fails: it goes back to WAITING with its old ticket. If the waiter dies, its obituary
 * offers the seat on. No lost wake-up: a waiter publishes its cell, then looks at the seats once more; a
 * giver sets the seat free, then looks at the cells once more; both sequentially consistent, so one of them
 * sees the other.
 */
#include <stdbool.h>
#include "share/layout.h"
#include "share/slot.h"

typedef enum fcgipm_cell_state {
    FCGIPM_CELL_FREE,
    FCGIPM_CELL_WAITING,
    FCGIPM_CELL_GRANTED
} fcgipm_cell_state_t;
static inline unsigned fcgipm_cell_state(uint64_t word)
{
    return (unsigned)(word >> 60) & 7u;
}
static inline unsigned fcgipm_cell_child(uint64_t word)
{
    return (unsigned)(word >> 44) & 0xffffu;
}
static inline uint64_t fcgipm_cell_payload(uint64_t word)
{
    return word & 0xfffffffffffull;
}

/* No thread sleeps on the cell: a grant rings for the child (share/wake.h). */
#define FCGIPM_CELL_PARKED (1ull << 63)
static inline bool fcgipm_cell_same(uint64_t a, uint64_t b)
{
    return ((a ^ b) & ~FCGIPM_CELL_PARKED) == 0;
}

/* Manager: nobody waits any more; who did finds his cell empty and looks for a place anew. */
void fcgipm_queue_clear(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g);
/* Join the queue of `pool`. *cell is the cell's index, *word its word. limit: places, at most the geometry's
 * cell_count. False: full. */
bool fcgipm_queue_join(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t limit,
                       unsigned child, uint32_t *cell, uint64_t *word);
/* Wait on the cell (futex) while its word is `word`, at most timeout_us; may return early. */
void fcgipm_queue_wait(fcgipm_board_t *board, uint32_t cell, uint64_t word, int64_t timeout_us);
/* word: that of the cell, with FCGIPM_CELL_PARKED: from now on the child's bell rings when the cell is
 * granted. False: it is not there any more, look at the cell. */
bool fcgipm_queue_park(fcgipm_board_t *board, uint32_t cell, uint64_t word);
/* A grant has come (state GRANTED): take the seat over. True: *seat and *seat_word are ours, the cell is
 * FREE. False: the seat was lost; the cell is WAITING again with `ticket`, look at the seats once more. If it
 * was lost because it drains, it has been closed here and *seat is its index (the manager wants EMPTY), else
 * UINT32_MAX. */
bool fcgipm_queue_accept(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t cell,
                         uint64_t ticket, unsigned child, uint32_t *seat, uint64_t *seat_word);
/* Leave without having been granted. False: a grant came first, accept it (and use or give back the seat). */
bool fcgipm_queue_leave(fcgipm_board_t *board, uint32_t pool, uint32_t cell, uint64_t *word);
/* `seat` is BUSY under `owner` with *word. Grant it to the head of the queue, or else step it with `event`
 * (KEEP or RETURN), and look again. True: granted (it is no longer ours). False: *word is the seat's word
 * after the step. Never grants a DRAINING seat: that closes. */
bool fcgipm_queue_offer(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t seat,
                        uint64_t *word, fcgipm_seat_event_t event, unsigned owner);
/* The first of `child`'s parked waiters. *head: nobody came before it, of another child or asleep on his
 * cell. */
bool fcgipm_queue_first(const fcgipm_board_t *board, const fcgipm_geometry_t *g, unsigned child,
                        uint32_t *cell, uint64_t *word, bool *head);
/* Grant a seat, BUSY with seat_word, to that waiter, who gets its connection, too. False: it has left. */
bool fcgipm_queue_hand(fcgipm_board_t *board, uint32_t cell, uint64_t word, uint32_t seat,
                       uint64_t seat_word);
/* The same as fcgipm_queue_accept for what was granted with fcgipm_queue_hand: the seat has been this child's
 * all the time, and stays it even if the worker is to drain meanwhile. False: the worker has died. */
bool fcgipm_queue_accept_handed(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g,
                                uint32_t cell, uint64_t ticket, unsigned child, uint32_t *seat,
                                uint64_t *seat_word);
/* Wake every waiter of a pool (its route has changed, or it cannot start): they look at the pool again. */
void fcgipm_queue_wake_all(fcgipm_board_t *board, const fcgipm_geometry_t *g);
/* Does nobody wait? A newcomer may look for a seat of its own only then. Cheap when nobody has waited lately.
 */
bool fcgipm_queue_empty(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g);
/* Waiting cells with a ticket below `ticket`: who came before. */
uint32_t fcgipm_queue_ahead(const fcgipm_board_t *board, const fcgipm_geometry_t *g, uint64_t ticket);
/* Waiting cells, counted. */
uint32_t fcgipm_queue_count(const fcgipm_board_t *board, const fcgipm_geometry_t *g);
#endif
