/* SPDX-License-Identifier: Apache-2.0 */
#include "share/queue.h"
#include "share/wake.h"

#define PAYLOAD_MASK 0xfffffffffffull
/* Others may scribble on the board; no loop of ours depends on them to end. Honest contention needs as many
 * rounds as others make progress in between. */
#define ROUNDS_MAX 256

static uint64_t cell_word(fcgipm_cell_state_t state, unsigned child, uint64_t payload)
{
    return (uint64_t)state << 60 | (uint64_t)(child & 0xffffu) << 44 | (payload & PAYLOAD_MASK);
}

static uint64_t grant_payload(uint32_t seat, uint64_t seat_word)
{
    return (uint64_t)seat << 24 | (fcgipm_seat_epoch(seat_word) & 0xffffffu);
}
_Static_assert(FCGIPM_SEATS_MAX <= 1u << 20, "a seat's index has 20 bits in a cell");

/* The futex is the half that holds the state: that always changes, a ticket's low bits may look like a
 * grant's. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "which half of a cell is the upper one");
static const uint32_t *cell_futex(const fcgipm_board_t *board, uint32_t cell)
{
    return (const uint32_t *)(const void *)&board->cell[cell] + 1;
}

/* joins: bit 0 "a cell may be in use", the rest a count. It is set after a cell was published, and cleared
 * only by one who read it, found no waiting cell, and finds it unchanged. So it is never clear while somebody
 * has joined, and no death can leave it wrong. */
static void queue_mark(fcgipm_board_pool_t *p)
{
    uint32_t now = fcgipm_atom_get(&p->joins);
    while (!fcgipm_atom_cas(&p->joins, &now, (now + 2) | 1))
        ;
}

static void waiting_less(fcgipm_board_pool_t *p)
{
    uint32_t now = fcgipm_atom_peek(&p->waiting);
    while (now && !fcgipm_atom_cas(&p->waiting, &now, now - 1))
        ;
}

/* The waiting cell with the lowest ticket. */
static bool queue_head(const fcgipm_board_t *board, const fcgipm_geometry_t *g, uint32_t *cell,
                       uint64_t *word)
{
    bool found = false;
    uint64_t best = 0;
    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count; i++) {
        uint64_t w = fcgipm_atom_get(&board->cell[i]);
        if (fcgipm_cell_state(w) != FCGIPM_CELL_WAITING || (found && fcgipm_cell_payload(w) >= best))
            continue;
        found = true;
        best = fcgipm_cell_payload(w);
        *cell = i;
        *word = w;
    }
    return found;
}

bool fcgipm_queue_empty(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g)
{
    fcgipm_board_pool_t *p = &board->pool[pool];
    uint32_t seen = fcgipm_atom_get(&p->joins), cell;
    uint64_t word;
    if (!(seen & 1))
        return true;
    if (queue_head(board, g, &cell, &word))
        return false;
    if (fcgipm_atom_cas(&p->joins, &seen, seen & ~1u))
        fcgipm_atom_put(&p->waiting, 0);
    return true;
}

bool fcgipm_queue_join(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t limit,
                       unsigned child, uint32_t *cell, uint64_t *word)
{
    fcgipm_board_pool_t *p = &board->pool[pool];
    uint32_t count = limit < g->cell_count ? limit : g->cell_count;
    if (!count)
        return false;
    uint64_t ticket = fcgipm_atom_add(&p->ticket, 1) & PAYLOAD_MASK;
    uint64_t mine = cell_word(FCGIPM_CELL_WAITING, child, ticket);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = g->cell_first + (uint32_t)((ticket + i) % count);
        uint64_t now = fcgipm_atom_peek(&board->cell[at]);
        if (fcgipm_cell_state(now) != FCGIPM_CELL_FREE || !fcgipm_atom_cas(&board->cell[at], &now, mine))
            continue;
        queue_mark(p); /* pairs with fcgipm_queue_offer: step, then look at joins */
        fcgipm_atom_count(&p->waiting, 1);
        *cell = at;
        *word = mine;
        return true;
    }
    return false;
}

void fcgipm_queue_wait(fcgipm_board_t *board, uint32_t cell, uint64_t word, int64_t timeout_us)
{
    if (fcgipm_atom_get(&board->cell[cell]) == word)
        fcgipm_wake_wait(cell_futex(board, cell), (uint32_t)(word >> 32), timeout_us);
}

bool fcgipm_queue_park(fcgipm_board_t *board, uint32_t cell, uint64_t word)
{
    uint64_t seen = word & ~FCGIPM_CELL_PARKED;
    return fcgipm_atom_cas(&board->cell[cell], &seen, word) || seen == word;
}

/* A seat that was granted under the epoch in `payload` and then told to drain: its giver believes that it is
 * ours, so we close it. */
static bool grant_drained(fcgipm_board_t *board, uint32_t seat, uint64_t payload, uint64_t *now)
{
    if (fcgipm_seat_state(*now) != FCGIPM_SEAT_DRAINING ||
        ((fcgipm_seat_epoch(*now) - payload) & 0xffffffu) != 1)
        return false;
    return fcgipm_seat_step(&board->seat[seat], now, FCGIPM_SEAT_EV_RETURN, fcgipm_seat_owner(*now));
}

/* Make the granted seat `child`'s. */
static bool grant_take(fcgipm_board_t *board, const fcgipm_geometry_t *g, uint64_t payload, unsigned child,
                       uint32_t *seat, uint64_t *seat_word)
{
    uint32_t at = (uint32_t)(payload >> 24);
    *seat = UINT32_MAX;
    if (at < g->seat_first || at - g->seat_first >= g->slot_count * g->concurrency)
        return false;
    uint64_t now = fcgipm_atom_get(&board->seat[at]);
    if (fcgipm_seat_state(now) == FCGIPM_SEAT_BUSY && grant_payload(at, now) == payload &&
        fcgipm_seat_step(&board->seat[at], &now, FCGIPM_SEAT_EV_GRANT, child)) {
        *seat = at;
        *seat_word = now;
        return true;
    }
    if (grant_drained(board, at, payload, &now)) {
        *seat = at;
        *seat_word = now;
    }
    return false;
}

static bool granted_to(uint64_t word, unsigned child)
{
    return fcgipm_cell_state(word) == FCGIPM_CELL_GRANTED && fcgipm_cell_child(word) == child;
}

/* The granted cell after its seat was taken, or was lost: free, or waiting again. Seat before cell: if we die
 * between, the obituary finds the seat under our name. */
static bool accept_end(fcgipm_board_t *board, uint32_t pool, uint32_t cell, uint64_t word, uint64_t ticket,
                       bool taken)
{
    uint64_t next = taken ? 0 : cell_word(FCGIPM_CELL_WAITING, fcgipm_cell_child(word), ticket);
    fcgipm_atom_cas(&board->cell[cell], &word, next);
    if (taken)
        waiting_less(&board->pool[pool]);
    else
        queue_mark(&board->pool[pool]);
    return taken;
}

bool fcgipm_queue_accept(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t cell,
                         uint64_t ticket, unsigned child, uint32_t *seat, uint64_t *seat_word)
{
    uint64_t word = fcgipm_atom_get(&board->cell[cell]);
    *seat = UINT32_MAX;
    return granted_to(word, child) &&
           accept_end(board, pool, cell, word, ticket,
                      grant_take(board, g, fcgipm_cell_payload(word), child, seat, seat_word));
}

static bool handed_take(const fcgipm_board_t *board, const fcgipm_geometry_t *g, uint64_t payload,
                        unsigned child, uint32_t *seat, uint64_t *seat_word)
{
    uint32_t at = (uint32_t)(payload >> 24);
    if (at < g->seat_first || at - g->seat_first >= g->slot_count * g->concurrency)
        return false;
    uint64_t now = fcgipm_atom_get(&board->seat[at]);
    unsigned state = fcgipm_seat_state(now),
             steps = (unsigned)((fcgipm_seat_epoch(now) - payload) & 0xffffffu);
    if (fcgipm_seat_owner(now) != child ||
        !((state == FCGIPM_SEAT_BUSY && steps == 0) || (state == FCGIPM_SEAT_DRAINING && steps == 1)))
        return false;
    *seat = at;
    *seat_word = now;
    return true;
}

bool fcgipm_queue_accept_handed(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g,
                                uint32_t cell, uint64_t ticket, unsigned child, uint32_t *seat,
                                uint64_t *seat_word)
{
    uint64_t word = fcgipm_atom_get(&board->cell[cell]);
    return granted_to(word, child) &&
           accept_end(board, pool, cell, word, ticket,
                      handed_take(board, g, fcgipm_cell_payload(word), child, seat, seat_word));
}

bool fcgipm_queue_first(const fcgipm_board_t *board, const fcgipm_geometry_t *g, unsigned child,
                        uint32_t *cell, uint64_t *word, bool *head)
{
    uint64_t mine = UINT64_MAX, others = UINT64_MAX;
    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count; i++) {
        uint64_t w = fcgipm_atom_get(&board->cell[i]), ticket = fcgipm_cell_payload(w);
        if (fcgipm_cell_state(w) != FCGIPM_CELL_WAITING)
            continue;
        if (fcgipm_cell_child(w) != child || !(w & FCGIPM_CELL_PARKED)) {
            others = ticket < others ? ticket : others;
        } else if (ticket < mine) {
            mine = ticket;
            *cell = i;
            *word = w;
        }
    }
    *head = mine < others;
    return mine != UINT64_MAX;
}

bool fcgipm_queue_hand(fcgipm_board_t *board, uint32_t cell, uint64_t word, uint32_t seat, uint64_t seat_word)
{
    return fcgipm_atom_cas(
        &board->cell[cell], &word,
        cell_word(FCGIPM_CELL_GRANTED, fcgipm_cell_child(word), grant_payload(seat, seat_word)));
}

bool fcgipm_queue_leave(fcgipm_board_t *board, uint32_t pool, uint32_t cell, uint64_t *word)
{
    uint64_t mine = *word;
    if (!fcgipm_atom_cas(&board->cell[cell], word, 0) && fcgipm_cell_state(*word) == FCGIPM_CELL_GRANTED &&
        fcgipm_cell_child(*word) == fcgipm_cell_child(mine))
        return false;
    waiting_less(&board->pool[pool]);
    return true;
}

/* Grant a BUSY seat to the head of the queue. */
static bool queue_grant(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t seat,
                        uint64_t seat_word)
{
    uint32_t cell = 0;
    uint64_t word;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (!(fcgipm_atom_get(&board->pool[pool].joins) & 1) || !queue_head(board, g, &cell, &word))
            return false;
        if (!fcgipm_atom_cas(
                &board->cell[cell], &word,
                cell_word(FCGIPM_CELL_GRANTED, fcgipm_cell_child(word), grant_payload(seat, seat_word))))
            continue; /* it left, or another giver was faster */
        if (word & FCGIPM_CELL_PARKED)
            fcgipm_wake_parked(fcgipm_cell_child(word), cell);
        else
            fcgipm_wake_all(cell_futex(board, cell));
        return true;
    }
    return false;
}

/* Step the seat with `event`; a drain that came in between is part of our ownership. */
static bool offer_step(fcgipm_atom64_t *seat, uint64_t *word, fcgipm_seat_event_t event, unsigned owner)
{
    uint64_t held = *word;
    if (fcgipm_seat_step(seat, word, event, owner))
        return true;
    return fcgipm_seat_state(*word) == FCGIPM_SEAT_DRAINING && fcgipm_seat_owner(*word) == owner &&
           fcgipm_seat_epoch(*word) == ((fcgipm_seat_epoch(held) + 1) & 0xffffffffffull) &&
           fcgipm_seat_step(seat, word, event, owner);
}

bool fcgipm_queue_offer(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g, uint32_t seat,
                        uint64_t *word, fcgipm_seat_event_t event, unsigned owner)
{
    fcgipm_atom64_t *at = &board->seat[seat];
    /* Who waits at a paused pool waits on; at its end the manager wakes all, and they look for free seats. */
    if (fcgipm_atom_get(&board->pool[pool].flags) & FCGIPM_POOL_PAUSED) {
        offer_step(at, word, event, owner);
        return false;
    }
    for (int round = 0;; round++) {
        /* (the manager may have drained or shut it meanwhile: then there is nothing to grant) */
        if (fcgipm_atom_get(at) == *word && fcgipm_seat_state(*word) == FCGIPM_SEAT_BUSY &&
            queue_grant(board, pool, g, seat, *word))
            return true;
        if (!offer_step(at, word, event, owner) || fcgipm_seat_state(*word) == FCGIPM_SEAT_CLOSED)
            return false;
        /* The seat is free; look once more (pairs with join: publish, then look at the seats). */
        uint64_t again = *word;
        if (round == ROUNDS_MAX || fcgipm_queue_empty(board, pool, g) ||
            !fcgipm_seat_step(at, &again, FCGIPM_SEAT_EV_TAKE, owner))
            return false;
        *word = again;
    }
}

void fcgipm_queue_wake_all(fcgipm_board_t *board, const fcgipm_geometry_t *g)
{
    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count; i++)
        if (fcgipm_cell_state(fcgipm_atom_get(&board->cell[i])) == FCGIPM_CELL_WAITING)
            fcgipm_wake_all(cell_futex(board, i));
}

void fcgipm_queue_clear(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g)
{
    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count; i++)
        if (fcgipm_atom_get(&board->cell[i])) {
            fcgipm_atom_set(&board->cell[i], 0);
            fcgipm_wake_all(cell_futex(board, i));
        }
    fcgipm_atom_put(&board->pool[pool].waiting, 0);
    queue_mark(&board->pool[pool]);
}

uint32_t fcgipm_queue_ahead(const fcgipm_board_t *board, const fcgipm_geometry_t *g, uint64_t ticket)
{
    uint32_t count = 0;
    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count; i++) {
        uint64_t word = fcgipm_atom_get(&board->cell[i]);
        count += fcgipm_cell_state(word) == FCGIPM_CELL_WAITING && fcgipm_cell_payload(word) < ticket;
    }
    return count;
}

uint32_t fcgipm_queue_count(const fcgipm_board_t *board, const fcgipm_geometry_t *g)
{
    uint32_t count = 0;
    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count; i++)
        count += fcgipm_cell_state(fcgipm_atom_peek(&board->cell[i])) == FCGIPM_CELL_WAITING;
    return count;
}
