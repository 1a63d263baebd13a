/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue: single steps; a seeded scheduler that mixes the steps of several children, a manager and the
 * obituary in any order; and real processes and threads with kill -9.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "share/board.h"
#include "obituary.h"
#include "share/queue.h"

#define POOL 3u

static fcgipm_board_t *board;
static fcgipm_registry_t *registry;
static fcgipm_geometry_t g;

static void *shared(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(at != MAP_FAILED);
    return at;
}

/* A pool of `slots` open seats each `rank`, all IDLE, and `cells` cells. */
static void pool_make(uint32_t slots, uint32_t rank, uint32_t cells)
{
    fcgipm_fault_t fault;
    if (board)
        munmap(board, sizeof *board);
    if (registry)
        munmap(registry, sizeof *registry);
    assert_int_equal(fcgipm_board_create(&board, NULL, &fault), APR_SUCCESS);
    assert_true(fcgipm_board_ok(board));
    registry = shared(sizeof *registry);
    g = (fcgipm_geometry_t){5, slots, 9, rank, 17, cells};
    board->pool[POOL].geometry = g;
    fcgipm_atom_set(&board->pool[POOL].route, POOL);
    registry->pool[POOL].geometry = g;
    fcgipm_atom_set(&registry->pool[POOL].used, 1);
    for (uint32_t i = 0; i < slots * rank; i++) {
        uint64_t word = 0;
        assert_true(fcgipm_seat_step(&board->seat[9 + i], &word, FCGIPM_SEAT_EV_OPEN, FCGIPM_OWNER_MANAGER));
        assert_false(
            fcgipm_queue_offer(board, POOL, &g, 9 + i, &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER));
        assert_int_equal(fcgipm_seat_state(word), FCGIPM_SEAT_IDLE);
    }
}

static uint64_t take(uint32_t seat, unsigned child)
{
    uint64_t word = fcgipm_atom_get(&board->seat[seat]);
    assert_true(fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_TAKE, child));
    return word;
}

static unsigned state_of(uint32_t seat)
{
    return fcgipm_seat_state(fcgipm_atom_get(&board->seat[seat]));
}

static void fifo_and_limit(void **state)
{
    (void)state;
    uint32_t cell[4], seat;
    uint64_t word[4], seat_word, w;
    pool_make(1, 1, 8);
    assert_true(fcgipm_queue_empty(board, POOL, &g));
    seat_word = take(9, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_true(fcgipm_queue_join(board, POOL, &g, 3, i + 1, &cell[i], &word[i]));
    assert_false(fcgipm_queue_join(board, POOL, &g, 3, 9, &cell[3], &word[3]));
    assert_false(fcgipm_queue_join(board, POOL, &g, 0, 9, &cell[3], &word[3]));
    assert_int_equal(fcgipm_queue_count(board, &g), 3);
    assert_int_equal(fcgipm_atom_get(&board->pool[POOL].waiting), 3);
    assert_false(fcgipm_queue_empty(board, POOL, &g));
    /* the second leaves; the first and then the third are served */
    w = word[1];
    assert_true(fcgipm_queue_leave(board, POOL, cell[1], &w));
    assert_true(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_KEEP, 0));
    assert_int_equal(fcgipm_cell_state(fcgipm_atom_get(&board->cell[cell[0]])), FCGIPM_CELL_GRANTED);
    w = word[0];
    assert_false(fcgipm_queue_leave(board, POOL, cell[0], &w)); /* granted first */
    assert_true(
        fcgipm_queue_accept(board, POOL, &g, cell[0], fcgipm_cell_payload(word[0]), 1, &seat, &seat_word));
    assert_int_equal(seat, 9);
    assert_int_equal(fcgipm_seat_owner(seat_word), 1);
    assert_int_equal(fcgipm_atom_get(&board->cell[cell[0]]), 0);
    assert_true(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_RETURN, 1));
    assert_true(
        fcgipm_queue_accept(board, POOL, &g, cell[2], fcgipm_cell_payload(word[2]), 3, &seat, &seat_word));
    assert_false(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_KEEP, 3));
    assert_int_equal(fcgipm_seat_state(seat_word), FCGIPM_SEAT_LEASED);
    assert_int_equal(fcgipm_seat_owner(seat_word), 3);
    assert_true(fcgipm_queue_empty(board, POOL, &g));
    assert_int_equal(fcgipm_atom_get(&board->pool[POOL].waiting), 0);
}

static void giver_dies(void **state)
{
    (void)state;
    uint32_t cell, seat;
    uint64_t word, seat_word;
    pool_make(1, 1, 8);
    unsigned giver = fcgipm_children_claim(board, -1, 4711);
    unsigned waiter = fcgipm_children_claim(board, -1, 4712);
    seat_word = take(9, giver);
    assert_true(fcgipm_queue_join(board, POOL, &g, 8, waiter, &cell, &word));
    assert_true(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_RETURN, giver));
    assert_int_equal(obituary_of(board, registry, 4711), 1);
    assert_false(
        fcgipm_queue_accept(board, POOL, &g, cell, fcgipm_cell_payload(word), waiter, &seat, &seat_word));
    assert_int_equal(seat, UINT32_MAX);
    assert_int_equal(fcgipm_atom_get(&board->cell[cell]), word); /* with the old ticket */
    assert_false(fcgipm_queue_empty(board, POOL, &g));
    assert_int_equal(state_of(9), FCGIPM_SEAT_IDLE);
    /* a giver that dies with two waiting: its seat goes to the one that has no grant */
    uint32_t cell2;
    uint64_t word2;
    seat_word = take(9, waiter);
    giver = fcgipm_children_claim(board, -1, 4713);
    assert_true(fcgipm_queue_join(board, POOL, &g, 8, giver, &cell2, &word2));
    assert_int_equal(obituary_of(board, registry, 4712), 1);
    assert_true(
        fcgipm_queue_accept(board, POOL, &g, cell2, fcgipm_cell_payload(word2), giver, &seat, &seat_word));
    assert_int_equal(fcgipm_atom_get(&board->cell[cell]), 0);
    assert_int_equal(obituary_of(board, registry, 999), 0);
}

static void waiter_dies_with_grant(void **state)
{
    (void)state;
    uint32_t cell[2], seat;
    uint64_t word[2], seat_word;
    pool_make(1, 1, 8);
    unsigned giver = fcgipm_children_claim(board, -1, 1);
    unsigned dead = fcgipm_children_claim(board, -1, 2);
    unsigned next = fcgipm_children_claim(board, -1, 3);
    seat_word = take(9, giver);
    assert_true(fcgipm_queue_join(board, POOL, &g, 8, dead, &cell[0], &word[0]));
    assert_true(fcgipm_queue_join(board, POOL, &g, 8, next, &cell[1], &word[1]));
    assert_true(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_RETURN, giver));
    obituary_of(board, registry, 2);
    assert_true(
        fcgipm_queue_accept(board, POOL, &g, cell[1], fcgipm_cell_payload(word[1]), next, &seat, &seat_word));
    /* and with nobody behind: it is free; and when it drains meanwhile: it closes */
    assert_false(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_RETURN, next));
    seat_word = take(9, giver);
    assert_true(fcgipm_queue_join(board, POOL, &g, 8, next, &cell[1], &word[1]));
    assert_true(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_RETURN, giver));
    assert_true(fcgipm_seat_step(&board->seat[9], &seat_word, FCGIPM_SEAT_EV_DRAIN, FCGIPM_OWNER_MANAGER));
    obituary_of(board, registry, 3);
    assert_int_equal(state_of(9), FCGIPM_SEAT_CLOSED);
}

static void drained_between(void **state)
{
    (void)state;
    uint32_t cell, seat;
    uint64_t word, seat_word;
    pool_make(1, 1, 8);
    seat_word = take(9, 0);
    assert_true(fcgipm_queue_join(board, POOL, &g, 8, 1, &cell, &word));
    uint64_t held = seat_word;
    assert_true(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_RETURN, 0));
    assert_true(fcgipm_seat_step(&board->seat[9], &held, FCGIPM_SEAT_EV_DRAIN, FCGIPM_OWNER_MANAGER));
    assert_false(fcgipm_queue_accept(board, POOL, &g, cell, fcgipm_cell_payload(word), 1, &seat, &seat_word));
    assert_int_equal(seat, 9); /* so that the manager is told */
    assert_int_equal(state_of(9), FCGIPM_SEAT_CLOSED);
    /* a drain before the offer: never granted */
    seat_word = fcgipm_atom_get(&board->seat[9]);
    assert_true(fcgipm_seat_step(&board->seat[9], &seat_word, FCGIPM_SEAT_EV_OPEN, 0));
    held = seat_word;
    assert_true(fcgipm_seat_step(&board->seat[9], &held, FCGIPM_SEAT_EV_DRAIN, FCGIPM_OWNER_MANAGER));
    assert_false(fcgipm_queue_offer(board, POOL, &g, 9, &seat_word, FCGIPM_SEAT_EV_KEEP, 0));
    assert_int_equal(state_of(9), FCGIPM_SEAT_CLOSED);
    assert_int_equal(fcgipm_atom_get(&board->cell[cell]), word);
}

/* ---- the model ---- */

#define KIDS    5
#define THREADS 3 /* each child has that many */
#define SEATS   4

static uint64_t seed;
static unsigned rnd(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % n);
}

typedef struct actor {
    enum { OUT, HOLDING, JOINED, HELPED } at;
    uint32_t seat, cell;
    uint64_t word, cell_word;
} actor_t;
static actor_t actors[KIDS][THREADS];
static unsigned kid_row[KIDS];
static int kid_pid[KIDS];
static int next_pid;
static uint64_t last_served; /* the largest ticket served in the quiet end */

static void kid_born(int kid)
{
    kid_pid[kid] = ++next_pid;
    kid_row[kid] = fcgipm_children_claim(board, -1, kid_pid[kid]);
    memset(actors[kid], 0, sizeof actors[kid]);
}

static bool free_take(unsigned child, uint32_t *seat, uint64_t *word)
{
    for (uint32_t s = 9; s < 9 + SEATS; s++) {
        *word = fcgipm_atom_get(&board->seat[s]);
        unsigned st = fcgipm_seat_state(*word);
        if ((st == FCGIPM_SEAT_IDLE || st == FCGIPM_SEAT_LEASED) &&
            fcgipm_seat_step(&board->seat[s], word, FCGIPM_SEAT_EV_TAKE, child)) {
            *seat = s;
            return true;
        }
    }
    return false;
}

static void actor_help(actor_t *a, unsigned child)
{
    uint32_t seat;
    uint64_t word;
    if (free_take(child, &seat, &word))
        fcgipm_queue_offer(board, POOL, &g, seat, &word, FCGIPM_SEAT_EV_RETURN, child);
    a->at = HELPED;
}

static void actor_accept(actor_t *a, unsigned child)
{
    uint32_t seat;
    uint64_t word;
    if (fcgipm_queue_accept(board, POOL, &g, a->cell, fcgipm_cell_payload(a->cell_word), child, &seat,
                            &word)) {
        last_served = fcgipm_cell_payload(a->cell_word);
        a->at = HOLDING;
        a->seat = seat;
        a->word = word;
    } else {
        a->at = JOINED; /* look at the seats again */
    }
}

static void actor_step(actor_t *a, unsigned child, bool calm)
{
    uint64_t seen;
    switch (a->at) {
    case OUT:
        if (calm)
            return;
        if (fcgipm_queue_empty(board, POOL, &g) && free_take(child, &a->seat, &a->word))
            a->at = HOLDING;
        else if (fcgipm_queue_join(board, POOL, &g, 12, child, &a->cell, &a->cell_word))
            a->at = JOINED;
        return;
    case HOLDING:
        fcgipm_queue_offer(board, POOL, &g, a->seat, &a->word,
                           rnd(2) ? FCGIPM_SEAT_EV_KEEP : FCGIPM_SEAT_EV_RETURN, child);
        a->at = OUT;
        return;
    case JOINED:
        actor_help(a, child);
        return;
    case HELPED:
        if (fcgipm_atom_get(&board->cell[a->cell]) != a->cell_word) {
            actor_accept(a, child);
        } else if (!calm && rnd(8) == 0) {
            seen = a->cell_word;
            if (fcgipm_queue_leave(board, POOL, a->cell, &seen))
                a->at = OUT;
        }
        return;
    }
}

static void manager_step(void)
{
    uint32_t s = 9 + rnd(SEATS);
    uint64_t word = fcgipm_atom_get(&board->seat[s]);
    if (fcgipm_seat_state(word) == FCGIPM_SEAT_CLOSED) {
        if (fcgipm_seat_step(&board->seat[s], &word, FCGIPM_SEAT_EV_OPEN, FCGIPM_OWNER_MANAGER))
            fcgipm_queue_offer(board, POOL, &g, s, &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER);
    } else if (rnd(3) == 0) {
        fcgipm_seat_step(&board->seat[s], &word, rnd(2) ? FCGIPM_SEAT_EV_DRAIN : FCGIPM_SEAT_EV_SHUT,
                         FCGIPM_OWNER_MANAGER);
    }
}

/* A seat that is BUSY or DRAINING under a living child's name is held by one of its threads or on its way to
 * one waiter; nobody else holds the same word. */
static void check_invariants(void)
{
    for (uint32_t s = 9; s < 9 + SEATS; s++) {
        uint64_t word = fcgipm_atom_get(&board->seat[s]);
        unsigned st = fcgipm_seat_state(word), holders = 0, grants = 0;
        assert_true(st < FCGIPM_SEAT_STATE_COUNT);
        for (int k = 0; k < KIDS; k++)
            for (int t = 0; t < THREADS; t++) {
                actor_t *a = &actors[k][t];
                if (a->at == HOLDING && a->seat == s &&
                    (a->word == word || (st == FCGIPM_SEAT_DRAINING &&
                                         fcgipm_seat_epoch(a->word) + 1 == fcgipm_seat_epoch(word))))
                    holders++;
            }
        for (uint32_t c = g.cell_first; c < g.cell_first + g.cell_count; c++) {
            uint64_t cw = fcgipm_atom_get(&board->cell[c]), p = fcgipm_cell_payload(cw);
            if (fcgipm_cell_state(cw) == FCGIPM_CELL_GRANTED && p >> 24 == s &&
                ((p ^ fcgipm_seat_epoch(word)) & 0xffffff) ==
                    (st == FCGIPM_SEAT_DRAINING ? (p ^ (p + 1)) & 0xffffff : 0))
                grants++;
        }
        if (st == FCGIPM_SEAT_BUSY || st == FCGIPM_SEAT_DRAINING)
            assert_int_equal(holders + grants, 1);
        else
            assert_int_equal(holders, 0);
    }
}

static bool all_quiet(void)
{
    for (int k = 0; k < KIDS; k++)
        for (int t = 0; t < THREADS; t++)
            if (actors[k][t].at != OUT)
                return false;
    return true;
}

/* Open what is closed, let everybody run on without newcomers: all must be served. */
static void calm_down(void)
{
    for (uint32_t s = 9; s < 9 + SEATS; s++) {
        uint64_t word = fcgipm_atom_get(&board->seat[s]);
        if (fcgipm_seat_state(word) == FCGIPM_SEAT_CLOSED &&
            fcgipm_seat_step(&board->seat[s], &word, FCGIPM_SEAT_EV_OPEN, FCGIPM_OWNER_MANAGER))
            fcgipm_queue_offer(board, POOL, &g, s, &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER);
    }
    for (int i = 0; i < 4000 && !all_quiet(); i++) {
        int k = (int)rnd(KIDS);
        actor_step(&actors[k][rnd(THREADS)], kid_row[k], true);
        check_invariants();
        if (i % 500 == 499)
            for (uint32_t s = 9; s < 9 + SEATS; s++) {
                uint64_t word = fcgipm_atom_get(&board->seat[s]);
                if (fcgipm_seat_state(word) == FCGIPM_SEAT_CLOSED) {
                    assert_true(
                        fcgipm_seat_step(&board->seat[s], &word, FCGIPM_SEAT_EV_OPEN, FCGIPM_OWNER_MANAGER));
                    fcgipm_queue_offer(board, POOL, &g, s, &word, FCGIPM_SEAT_EV_RETURN,
                                       FCGIPM_OWNER_MANAGER);
                }
            }
    }
    assert_true(all_quiet());
    for (uint32_t s = 9; s < 9 + SEATS; s++)
        assert_true(state_of(s) != FCGIPM_SEAT_BUSY && state_of(s) != FCGIPM_SEAT_DRAINING);
    assert_int_equal(fcgipm_queue_count(board, &g), 0);
    assert_true(fcgipm_queue_empty(board, POOL, &g));
}

static void random_model(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 300; run++) {
        seed = 0x9e3779b97f4a7c15ull * (run + 1);
        pool_make(2, 2, 16);
        next_pid = 0;
        for (int k = 0; k < KIDS; k++)
            kid_born(k);
        for (int i = 0; i < 400; i++) {
            int k = (int)rnd(KIDS);
            unsigned what = rnd(40);
            if (what == 0) {
                /* dead at any point between two primitive steps; the obituary comes a little later */
                int pid = kid_pid[k];
                memset(actors[k], 0, sizeof actors[k]);
                obituary_of(board, registry, pid);
                kid_born(k);
            } else if (what < 4) {
                manager_step();
            } else {
                actor_step(&actors[k][rnd(THREADS)], kid_row[k], false);
            }
            check_invariants();
        }
        calm_down();
    }
}

/* With one seat, all waiters are served in the order of their tickets, whoever helps. */
static void ticket_order(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 50; run++) {
        seed = 77 + run;
        pool_make(1, 1, 32);
        next_pid = 0;
        for (int k = 0; k < KIDS; k++)
            kid_born(k);
        uint64_t word = take(9, kid_row[0]);
        for (int i = 0; i < KIDS * THREADS; i++) {
            actor_t *a = &actors[i % KIDS][i / KIDS];
            assert_true(fcgipm_queue_join(board, POOL, &g, 32, kid_row[i % KIDS], &a->cell, &a->cell_word));
            a->at = JOINED;
        }
        fcgipm_queue_offer(board, POOL, &g, 9, &word, FCGIPM_SEAT_EV_RETURN, kid_row[0]);
        uint64_t before = 0;
        bool first = true;
        for (int i = 0; i < 100000 && !all_quiet(); i++) {
            int k = (int)rnd(KIDS);
            last_served = UINT64_MAX;
            actor_step(&actors[k][rnd(THREADS)], kid_row[k], true);
            if (last_served == UINT64_MAX)
                continue;
            assert_true(first || last_served > before);
            first = false;
            before = last_served;
        }
        assert_true(all_quiet());
    }
}

/* ---- real processes ---- */

#define HAMMER_KIDS    4
#define HAMMER_THREADS 3
typedef struct hammer {
    fcgipm_atom32_t stop, errors;
    fcgipm_atom64_t served;
    fcgipm_atom32_t inside[SEATS]; /* the child row + 1 that works there */
} hammer_t;
static hammer_t *hammer;
static unsigned hammer_child;

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void hammer_help(void)
{
    uint32_t seat;
    uint64_t word;
    if (free_take(hammer_child, &seat, &word))
        fcgipm_queue_offer(board, POOL, &g, seat, &word, FCGIPM_SEAT_EV_RETURN, hammer_child);
}

static bool hammer_acquire(uint32_t *seat, uint64_t *word)
{
    uint32_t cell;
    uint64_t cw;
    if (fcgipm_queue_empty(board, POOL, &g) && free_take(hammer_child, seat, word))
        return true;
    if (!fcgipm_queue_join(board, POOL, &g, 64, hammer_child, &cell, &cw))
        return false;
    hammer_help();
    for (int64_t until = now_us() + 10000000; now_us() < until;) {
        if (fcgipm_atom_get(&board->cell[cell]) == cw) {
            fcgipm_queue_wait(board, cell, cw, 100000);
            continue; /* no help here: a lost wake-up would show as a timeout */
        }
        if (fcgipm_queue_accept(board, POOL, &g, cell, fcgipm_cell_payload(cw), hammer_child, seat, word))
            return true;
        hammer_help();
    }
    fcgipm_atom_add(&hammer->errors, 1);
    return false;
}

static void *hammer_thread(void *ctx)
{
    unsigned turn = (unsigned)(uintptr_t)ctx;
    while (!fcgipm_atom_get(&hammer->stop)) {
        uint32_t seat;
        uint64_t word;
        if (!hammer_acquire(&seat, &word))
            continue;
        /* (a killed child leaves its mark; its successor in the seat overwrites it) */
        fcgipm_atom_set(&hammer->inside[seat - 9], hammer_child + 1 + (turn << 16));
        for (unsigned i = 0; i < turn % 64; i++)
            fcgipm_atom_peek(&hammer->stop);
        if (fcgipm_atom_get(&hammer->inside[seat - 9]) != hammer_child + 1 + (turn << 16))
            fcgipm_atom_add(&hammer->errors, 1);
        fcgipm_atom_add(&hammer->served, 1);
        fcgipm_queue_offer(board, POOL, &g, seat, &word,
                           turn++ % 2 ? FCGIPM_SEAT_EV_KEEP : FCGIPM_SEAT_EV_RETURN, hammer_child);
    }
    return NULL;
}

static int hammer_locks;
static pid_t hammer_fork(void)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    pthread_t t[HAMMER_THREADS];
    hammer_child = fcgipm_children_claim(board, hammer_locks, getpid());
    for (uintptr_t i = 0; i < HAMMER_THREADS; i++)
        pthread_create(&t[i], NULL, hammer_thread, (void *)(i * 7));
    for (int i = 0; i < HAMMER_THREADS; i++)
        pthread_join(t[i], NULL);
    _exit(0);
}

static void real_processes(void **state)
{
    (void)state;
    pid_t pids[HAMMER_KIDS];
    unsigned kills = 0;
    pool_make(2, 2, 64);
    hammer = shared(sizeof *hammer);
    hammer_locks = fcgipm_children_open();
    assert_true(hammer_locks >= 0);
    seed = 4242;
    for (int i = 0; i < HAMMER_KIDS; i++)
        pids[i] = hammer_fork();
    for (int64_t until = now_us() + 1500000; now_us() < until; kills++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000L + rnd(9000000)}, NULL);
        int i = (int)rnd(HAMMER_KIDS);
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
        fcgipm_children_bury(board, registry, hammer_locks, true);
        pids[i] = hammer_fork();
    }
    fcgipm_atom_set(&hammer->stop, 1);
    for (int i = 0; i < HAMMER_KIDS; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
        fcgipm_children_bury(board, registry, hammer_locks, false);
    }
    close(hammer_locks);
    print_message("# %llu served, %u killed\n", (unsigned long long)fcgipm_atom_get(&hammer->served), kills);
    assert_int_equal(fcgipm_atom_get(&hammer->errors), 0);
    assert_true(fcgipm_atom_get(&hammer->served) > 100);
    for (uint32_t s = 9; s < 9 + SEATS; s++)
        assert_int_equal(state_of(s), FCGIPM_SEAT_IDLE);
    assert_int_equal(fcgipm_queue_count(board, &g), 0);
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++)
        assert_int_equal(fcgipm_atom_get(&board->child[i].pid), 0);
    munmap(hammer, sizeof *hammer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifo_and_limit),         cmocka_unit_test(giver_dies),
        cmocka_unit_test(waiter_dies_with_grant), cmocka_unit_test(drained_between),
        cmocka_unit_test(ticket_order),           cmocka_unit_test(random_model),
        cmocka_unit_test(real_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
