/* SPDX-License-Identifier: Apache-2.0 */
#include "report/view.h"
#include <string.h>
#include "share/board.h"
#include "share/demand.h"
#include "share/queue.h"
#include "share/slot.h"
#include "share/stat.h"

#define X(name, kind, doc) {#name, doc, FCGIPM_VIEW_##kind},
const fcgipm_view_label_t fcgipm_view_label[FCGIPM_VIEW_COUNTER_COUNT] = {FCGIPM_VIEW_COUNTERS(X)};
#undef X
_Static_assert(sizeof(fcgipm_pool_stat_t) == FCGIPM_VIEW_COUNTER_COUNT * sizeof(fcgipm_atom64_t),
               "FCGIPM_VIEW_COUNTERS and fcgipm_pool_stat_t differ");

typedef struct word {
    const char *name, *doc;
} word_t;

static const word_t pool_words[] = {
    [FCGIPM_POOL_FREE] = {"FREE", "unused"},
    [FCGIPM_POOL_WARMING] = {"WARMING", "no worker has been ready yet"},
    [FCGIPM_POOL_SERVING] = {"SERVING",
                             "takes requests, by a process that it starts for them if there is none"},
    [FCGIPM_POOL_BACKOFF] = {"BACKOFF", "its workers do not start; waits for the next try"},
    [FCGIPM_POOL_DRAINING] = {"DRAINING",
                              "no longer configured, or replaced by a changed block; finishes what it has"},
};
static const word_t slot_words[FCGIPM_SLOT_STATE_COUNT] = {
#define X(name, doc) [FCGIPM_SLOT_##name] = {#name, doc},
    FCGIPM_SLOT_STATES(X)
#undef X
};
static const char *const restart_words[] = {[FCGIPM_RESTART_NONE] = "none",
                                            [FCGIPM_RESTART_RUNNING] = "running",
                                            [FCGIPM_RESTART_DONE] = "done",
                                            [FCGIPM_RESTART_FAILED] = "failed"};
static const word_t unknown_word = {"UNKNOWN", "the board holds a state that does not exist"};

#define DATE_MAX_US 253402300799000000ull /* the end of the year 9999 */

/* What is left to read in this walk (invariant 3). Geometries of an honest board do not overlap. */
typedef struct walk {
    const fcgipm_board_t *board;
    fcgipm_view_now_t now;
    uint32_t slots, seats, cells;
} walk_t;

static word_t word_of(const word_t *words, size_t count, uint32_t state)
{
    return state < count && words[state].name ? words[state] : unknown_word;
}

static uint32_t at_most(uint32_t value, uint32_t max)
{
    return value < max ? value : max;
}

static uint64_t number(uint64_t value)
{
    return value < FCGIPM_VIEW_NUMBER_MAX ? value : FCGIPM_VIEW_NUMBER_MAX;
}

static uint32_t pid_of(uint32_t pid)
{
    return pid <= FCGIPM_VIEW_PID_MAX ? pid : 0;
}

/* Others may write while we copy: the end is looked for in the copy. */
static void copy_string(char *dst, const char *src, size_t cap)
{
    memcpy(dst, src, cap);
    dst[cap - 1] = '\0';
}

static uint64_t age_s(uint64_t since_us, int64_t now_us)
{
    if (since_us == 0 || now_us < 0 || since_us > (uint64_t)now_us)
        return 0;
    return ((uint64_t)now_us - since_us) / 1000000;
}

static uint32_t retry_s(const fcgipm_board_pool_t *row, uint32_t state, int64_t now_us)
{
    uint64_t retry_us = fcgipm_atom_peek(&row->retry_us);

    if (state != FCGIPM_POOL_BACKOFF || now_us < 0 || retry_us <= (uint64_t)now_us)
        return 0;
    uint64_t left_us = retry_us - (uint64_t)now_us;
    if (left_us > FCGIPM_VIEW_RETRY_MAX_S * 1000000ull)
        return FCGIPM_VIEW_RETRY_MAX_S;
    return (uint32_t)((left_us + 999999) / 1000000);
}

static void read_histogram(fcgipm_view_histogram_t *view, const fcgipm_histogram_t *histogram)
{
    for (unsigned i = 0; i < FCGIPM_HISTOGRAM_CELLS; ++i) {
        view->cell[i] = number(fcgipm_atom_peek(&histogram->cell[i]));
        view->count = number(view->count + view->cell[i]);
    }
    view->sum_us = number(fcgipm_atom_peek(&histogram->sum_us));
}

static void read_stat(fcgipm_view_pool_t *pool, const fcgipm_board_t *board)
{
    const fcgipm_board_stat_t *row = fcgipm_stat_row((fcgipm_board_t *)(uintptr_t)board, pool->index);

    if (!row)
        return;
#define X(name, kind, doc) pool->counter[FCGIPM_VIEW_##name] = number(fcgipm_atom_peek(&row->count.name));
    FCGIPM_VIEW_COUNTERS(X)
#undef X
    read_histogram(&pool->wait, &row->wait);
    read_histogram(&pool->took, &row->took);
}

/* The manager may be writing: its number is odd then, and other afterwards. What is torn is still a string.
 */
static void read_trouble(fcgipm_view_pool_t *pool, const fcgipm_board_pool_t *row, int64_t now_us)
{
    for (int round = 0; round < 3; ++round) {
        uint32_t seq = fcgipm_atom_get(&row->trouble_seq);

        copy_string(pool->trouble, row->trouble, sizeof pool->trouble);
        if (seq % 2 == 0 && fcgipm_atom_get(&row->trouble_seq) == seq)
            break;
    }
    pool->trouble_age_s = age_s(fcgipm_atom_peek(&row->trouble_us), now_us);
    if (fcgipm_atom_peek(&row->trouble_us) == 0)
        pool->trouble[0] = '\0';
}

static void read_orders(fcgipm_view_pool_t *pool, const fcgipm_board_pool_t *row, int64_t now_us)
{
    uint32_t flags = fcgipm_atom_peek(&row->flags), restart = fcgipm_atom_peek(&row->restart);

    pool->paused = flags & FCGIPM_POOL_PAUSED;
    pool->drained = flags & FCGIPM_POOL_DRAINED;
    pool->traced = flags & FCGIPM_POOL_TRACED;
    pool->restart = restart <= FCGIPM_RESTART_FAILED ? restart_words[restart] : "none";
    pool->restart_age_s = age_s(fcgipm_atom_peek(&row->restart_us), now_us);
    pool->min = at_most(fcgipm_atom_peek(&row->min), FCGIPM_SLOTS_MAX);
    pool->max = at_most(fcgipm_atom_peek(&row->max), FCGIPM_SLOTS_MAX);
    pool->outdated = at_most(fcgipm_atom_peek(&row->outdated), FCGIPM_SLOTS_MAX);
}

static void read_seats(fcgipm_view_seats_t *seats, const fcgipm_board_t *board, const fcgipm_geometry_t *g,
                       uint32_t slot)
{
    memset(seats, 0, sizeof *seats);
    seats->total = at_most(fcgipm_atom_peek(&board->slot[g->slot_first + slot].places), g->concurrency);
    for (uint32_t rank = 0; rank < g->concurrency; ++rank) {
        uint64_t word = fcgipm_atom_peek(&board->seat[fcgipm_seat_index(g, slot, rank)]);
        switch (fcgipm_seat_state(word)) {
        case FCGIPM_SEAT_IDLE:
            seats->idle++;
            break;
        case FCGIPM_SEAT_LEASED:
            seats->leased++;
            break;
        case FCGIPM_SEAT_BUSY:
        case FCGIPM_SEAT_DRAINING:
            seats->busy++;
            break;
        default:
            break;
        }
    }
}

static void seats_add(fcgipm_view_seats_t *sum, const fcgipm_view_seats_t *seats)
{
    sum->total += seats->total;
    sum->idle += seats->idle;
    sum->leased += seats->leased;
    sum->busy += seats->busy;
}

/* False: an empty slot. */
static bool read_worker(fcgipm_view_worker_t *worker, const walk_t *walk, const fcgipm_geometry_t *g,
                        uint32_t slot)
{
    const fcgipm_board_slot_t *row = &walk->board->slot[g->slot_first + slot];
    uint32_t state = fcgipm_atom_peek(&row->state);

    if (state == FCGIPM_SLOT_FREE)
        return false;
    word_t word = word_of(slot_words, FCGIPM_SLOT_STATE_COUNT, state);
    worker->slot = slot;
    worker->state = word.name;
    worker->state_doc = word.doc;
    worker->generation = fcgipm_atom_peek(&row->generation);
    worker->pid = pid_of(fcgipm_atom_peek(&row->pid));
    worker->age_s = age_s(fcgipm_atom_peek(&row->since_us), walk->now.steady_us);
    worker->life_s = age_s(fcgipm_atom_peek(&row->born_us), walk->now.steady_us);
    worker->memory = number(fcgipm_atom_peek(&row->memory));
    worker->requests = number(fcgipm_atom_peek(&row->requests));
    worker->deaths = fcgipm_atom_peek(&row->deaths);
    read_seats(&worker->seats, walk->board, g, slot);
    return true;
}

/* The pool's ranges, checked and paid for. */
static bool take_geometry(walk_t *walk, uint32_t index, fcgipm_geometry_t *g)
{
    if (!fcgipm_board_geometry(walk->board, index, g))
        return false;
    uint64_t seats = (uint64_t)g->slot_count * g->concurrency;
    if (g->slot_count > walk->slots || seats > walk->seats || g->cell_count > walk->cells)
        return false;
    walk->slots -= g->slot_count;
    walk->seats -= (uint32_t)seats;
    walk->cells -= g->cell_count;
    return true;
}

/* What needs the pool's rows in the other tables. */
static void read_ranges(fcgipm_view_pool_t *pool, const walk_t *walk, const fcgipm_geometry_t *g,
                        bool has_waiting)
{
    fcgipm_view_worker_t worker;

    pool->slots = g->slot_count;
    pool->places = g->cell_count;
    pool->ready = at_most(pool->ready, pool->slots);
    pool->starting = at_most(pool->starting, pool->slots);
    pool->outdated = at_most(pool->outdated, pool->slots);
    pool->min = at_most(pool->min, pool->slots);
    pool->max = at_most(pool->max, pool->slots);
    if (has_waiting)
        pool->waiting = at_most(fcgipm_queue_count(walk->board, g), pool->places);
    for (uint32_t slot = 0; slot < g->slot_count; ++slot)
        if (read_worker(&worker, walk, g, slot)) {
            seats_add(&pool->seats, &worker.seats);
            pool->memory = number(pool->memory + worker.memory);
        }
}

static void read_row(fcgipm_view_pool_t *pool, const walk_t *walk, uint32_t index, uint32_t state)
{
    const fcgipm_board_pool_t *row = &walk->board->pool[index];
    word_t word = word_of(pool_words, sizeof pool_words / sizeof *pool_words, state);

    memset(pool, 0, sizeof *pool);
    pool->index = index;
    pool->state = word.name;
    pool->state_doc = word.doc;
    pool->route = fcgipm_atom_peek(&row->route);
    if (pool->route >= FCGIPM_POOLS_MAX)
        pool->route = index;
    copy_string(pool->name, row->name, sizeof pool->name);
    copy_string(pool->route_name, walk->board->pool[pool->route].name, sizeof pool->route_name);
    pool->external = row->external != 0;
    if (pool->external)
        copy_string(pool->addr, row->addr, sizeof pool->addr);
    pool->ready = at_most(fcgipm_atom_peek(&row->ready), FCGIPM_SLOTS_MAX);
    pool->starting = at_most(fcgipm_atom_peek(&row->starting), FCGIPM_SLOTS_MAX);
    pool->failures = fcgipm_atom_peek(&row->failures);
    pool->retry_s = retry_s(row, state, walk->now.steady_us);
    copy_string(pool->vhost, row->vhost, sizeof pool->vhost);
    read_orders(pool, row, walk->now.steady_us);
    read_trouble(pool, row, walk->now.steady_us);
    read_stat(pool, walk->board);
}

/* A free row may still hold the ranges of its last life, which belong to another pool now: it is judged by
 * its own words alone. */
static bool row_unused(const fcgipm_board_pool_t *row, uint32_t state)
{
    return state == FCGIPM_POOL_FREE && !fcgipm_atom_peek(&row->ready) && !fcgipm_atom_peek(&row->starting) &&
           !fcgipm_atom_peek(&row->waiting);
}

static void walk_workers(const walk_t *walk, const fcgipm_view_pool_t *pool, const fcgipm_geometry_t *g,
                         const fcgipm_view_visitor_t *visitor, void *ctx)
{
    fcgipm_view_worker_t worker;

    for (uint32_t slot = 0; slot < g->slot_count; ++slot)
        if (read_worker(&worker, walk, g, slot))
            visitor->worker(ctx, pool, &worker);
}

static void walk_pool(walk_t *walk, uint32_t index, const fcgipm_view_visitor_t *visitor, void *ctx)
{
    const fcgipm_board_pool_t *row = &walk->board->pool[index];
    uint32_t state = fcgipm_atom_peek(&row->state);
    fcgipm_view_pool_t pool;
    fcgipm_geometry_t g;

    if (row_unused(row, state))
        return;
    read_row(&pool, walk, index, state);
    pool.known = take_geometry(walk, index, &g);
    if (pool.known)
        read_ranges(&pool, walk, &g, fcgipm_atom_peek(&row->waiting) != 0);
    if (visitor->pool)
        visitor->pool(ctx, &pool);
    if (pool.known && visitor->worker)
        walk_workers(walk, &pool, &g, visitor, ctx);
    if (visitor->pool_end)
        visitor->pool_end(ctx, &pool);
}

static void walk_server(const walk_t *walk, const fcgipm_view_visitor_t *visitor, void *ctx)
{
    const fcgipm_board_t *board = walk->board;
    int64_t wall_us = walk->now.wall_us;
    uint64_t started_us = fcgipm_atom_peek(&board->started_wall_us);
    fcgipm_view_server_t server = {
        .version = FCGIPM_VERSION,
        .started_s = started_us <= DATE_MAX_US ? started_us / 1000000 : 0,
        .now_s = wall_us > 0 ? (uint64_t)wall_us / 1000000 : 0,
        .up_s = age_s(fcgipm_atom_peek(&board->started_us), walk->now.steady_us),
        .manager_pid = pid_of(fcgipm_atom_peek(&board->manager_pid)),
        .manager_starts = fcgipm_atom_peek(&board->manager_starts),
        .generation = fcgipm_atom_peek(&board->config_generation),
    };
    visitor->server(ctx, &server);
}

void fcgipm_view_walk(const fcgipm_board_t *board, fcgipm_view_now_t now,
                      const fcgipm_view_visitor_t *visitor, void *ctx)
{
    walk_t walk = {board, now, FCGIPM_SLOTS_MAX, FCGIPM_SEATS_MAX, FCGIPM_CELLS_MAX};
    uint32_t end = fcgipm_demand_end(board);

    if (visitor->server)
        walk_server(&walk, visitor, ctx);
    for (uint32_t index = 0; index < end; ++index)
        walk_pool(&walk, index, visitor, ctx);
    if (visitor->end)
        visitor->end(ctx);
}

void fcgipm_view_each(const fcgipm_board_t *board, fcgipm_view_now_t now,
                      void (*visit)(void *ctx, const fcgipm_view_pool_t *pool), void *ctx)
{
    walk_t walk = {board, now, FCGIPM_SLOTS_MAX, FCGIPM_SEATS_MAX, FCGIPM_CELLS_MAX};
    uint32_t failures[FCGIPM_POOLS_STATIC] = {
        0}; /* of definitions whose requests go elsewhere until they start; none made on demand is such */
    uint32_t end = fcgipm_demand_end(board);

    for (uint32_t index = 0; index < FCGIPM_POOLS_STATIC; ++index) {
        const fcgipm_board_pool_t *row = &board->pool[index];
        uint32_t route = fcgipm_board_route(board, index), count = fcgipm_atom_peek(&row->failures);

        if (!row_unused(row, fcgipm_atom_peek(&row->state)) && route != index &&
            route < FCGIPM_POOLS_STATIC && count > failures[route])
            failures[route] = count;
    }
    for (uint32_t index = 0; index < end; ++index) {
        const fcgipm_board_pool_t *row = &board->pool[index];
        uint32_t state = fcgipm_atom_peek(&row->state);
        fcgipm_view_pool_t pool;
        fcgipm_geometry_t g;

        if (row_unused(row, state) || fcgipm_atom_peek(&row->route) != index)
            continue;
        read_row(&pool, &walk, index, state);
        pool.known = take_geometry(&walk, index, &g);
        if (pool.known)
            read_ranges(&pool, &walk, &g, fcgipm_atom_peek(&row->waiting) != 0);
        if (index < FCGIPM_POOLS_STATIC && failures[index] > pool.failures)
            pool.failures = failures[index];
        visit(ctx, &pool);
    }
}

static void totals_pool(void *ctx, const fcgipm_view_pool_t *pool)
{
    fcgipm_view_totals_t *totals = ctx;

    totals->pools++;
    totals->ready += pool->ready;
    totals->starting += pool->starting;
    totals->waiting += pool->waiting;
    totals->backoff += pool->state == pool_words[FCGIPM_POOL_BACKOFF].name;
    totals->requests = number(totals->requests + pool->counter[FCGIPM_VIEW_requests]);
    totals->failed = number(totals->failed + pool->counter[FCGIPM_VIEW_failed]);
    seats_add(&totals->seats, &pool->seats);
}

void fcgipm_view_totals(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_view_totals_t *totals)
{
    static const fcgipm_view_visitor_t visitor = {.pool = totals_pool};

    memset(totals, 0, sizeof *totals);
    fcgipm_view_walk(board, now, &visitor, totals);
}
