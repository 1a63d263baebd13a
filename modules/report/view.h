/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_REPORT_VIEW_H
#define FCGIPM_REPORT_VIEW_H
/*
 * What: the board as plain, bounded values, pool by pool, for whoever prints them. It takes off the writers'
 * hands that the board changes while it is read and that any process may have written nonsense to it.
 * Who calls: writers of this room (any thread of a child, the CLI). Owns: nothing; what a visitor is given
 * lives on the stack until the call returns.
 * Always true:
 *   1. only loads from the board: no lock, no wait, no write
 *   2. each string is a copy and ends in NUL (its bytes may be anything: escape them); each number is within
 *      the bounds given here, at most FCGIPM_VIEW_NUMBER_MAX
 *   3. a walk reads each of the tables at most twice in total, whatever the geometries say, so that a
 *      forged board cannot make a page of gigabytes
 * Each value is true for a moment; two of them need not be of the same moment.
 */
#include <stdbool.h>
#include "share/layout.h"

#ifndef FCGIPM_VERSION
#define FCGIPM_VERSION "0.1.0"
#endif
#define FCGIPM_VIEW_NUMBER_MAX  9007199254740991ull /* 2^53 - 1: exact in every JSON reader */
#define FCGIPM_VIEW_PID_MAX     4194304u            /* Linux' PID_MAX_LIMIT */
#define FCGIPM_VIEW_RETRY_MAX_S 86400u

/* The counters of fcgipm_pool_stat_t, in the order in which they are printed. name, kind, doc */
#define FCGIPM_VIEW_COUNTERS(X)                                                                              \
    X(requests, PLAIN, "requests given to a worker")                                                         \
    X(done, PLAIN, "complete answers")                                                                       \
    X(failed, TROUBLE, "answered with 502, 503 or 504, or cut short; those refused are not among requests")  \
    X(retried, TROUBLE, "sent again to another worker")                                                      \
    X(client_gone, PLAIN, "the client left before the answer was complete")                                  \
    X(waited, PLAIN, "had to wait for a worker")                                                             \
    X(queue_full, TROUBLE, "turned away: no place in the queue")                                             \
    X(queue_timeout, TROUBLE, "turned away: waited too long")                                                \
    X(connects, PLAIN, "new connections to workers")                                                         \
    X(reuses, PLAIN, "requests on a kept connection")                                                        \
    X(takeovers, PLAIN, "workers taken over from another httpd child")                                       \
    X(stderr_lines, PLAIN, "error lines written by the application")                                         \
    X(stderr_dropped, TROUBLE, "error lines dropped: too many")                                              \
    X(bytes_in, BYTES, "request bodies")                                                                     \
    X(bytes_out, BYTES, "response bodies")                                                                   \
    X(spawns, PLAIN, "workers started")                                                                      \
    X(deaths, PLAIN, "workers that ended")                                                                   \
    X(start_failures, TROUBLE, "workers that did not become ready")                                          \
    X(kills, TROUBLE, "workers that had to be killed")                                                       \
    X(crashed, TROUBLE, "workers that ended unasked")                                                        \
    X(hung, TROUBLE, "workers replaced because a request hung")                                              \
    X(unresponsive, TROUBLE, "idle workers replaced because they did not answer")                            \
    X(idled, PLAIN, "workers ended because they were not needed")                                            \
    X(recycled, PLAIN, "workers replaced after their requests, lifetime or memory")                          \
    X(restarted, PLAIN, "workers replaced by a restart of the pool")                                         \
    X(evicted, PLAIN, "workers ended to make room for others")                                               \
    X(oom_killed, TROUBLE, "workers that the kernel killed for want of memory")

typedef enum fcgipm_view_counter {
#define X(name, kind, doc) FCGIPM_VIEW_##name,
    FCGIPM_VIEW_COUNTERS(X)
#undef X
        FCGIPM_VIEW_COUNTER_COUNT
} fcgipm_view_counter_t;

typedef enum fcgipm_view_kind {
    FCGIPM_VIEW_PLAIN,
    FCGIPM_VIEW_TROUBLE, /* a value above 0 deserves a look */
    FCGIPM_VIEW_BYTES
} fcgipm_view_kind_t;

typedef struct fcgipm_view_label {
    const char *name, *doc;
    fcgipm_view_kind_t kind;
} fcgipm_view_label_t;
extern const fcgipm_view_label_t fcgipm_view_label[FCGIPM_VIEW_COUNTER_COUNT];

typedef struct fcgipm_view_seats {
    uint32_t total;
    uint32_t idle, leased, busy; /* sum at most total; draining counts as busy; the rest is closed */
} fcgipm_view_seats_t;

typedef struct fcgipm_view_histogram {
    uint64_t cell[FCGIPM_HISTOGRAM_CELLS]; /* not added up */
    uint64_t count, sum_us;                /* count: the sum of the cells */
} fcgipm_view_histogram_t;

/* When it is looked at: what the board's times are counted with (fcgipm_clock_steady_us), and for people. */
typedef struct fcgipm_view_now {
    int64_t steady_us, wall_us;
} fcgipm_view_now_t;

typedef struct fcgipm_view_server {
    const char *version;
    uint64_t started_s, now_s; /* since 1970; 0: unknown. The clock may have been set between them */
    uint64_t up_s;
    uint32_t manager_pid; /* 0: none */
    uint32_t manager_starts, generation;
} fcgipm_view_server_t;

typedef struct fcgipm_view_pool {
    uint32_t index;
    uint32_t route; /* < FCGIPM_POOLS_MAX */
    const char *state, *state_doc;
    char name[64], route_name[64], vhost[128], addr[128];
    bool external;            /* addr is its address */
    bool known;               /* false: its geometry makes no sense, there are no workers to show */
    uint32_t slots, places;   /* workers at most; places in the queue */
    uint32_t ready, starting; /* at most slots */
    uint32_t failures;
    uint32_t retry_s; /* 0 but in BACKOFF */
    uint32_t waiting; /* at most places */
    fcgipm_view_seats_t seats;
    uint32_t min, max; /* workers, as configured or scaled; at most slots */
    bool paused, drained, traced;
    const char *restart; /* "none", "running", "done", "failed" */
    uint32_t outdated;   /* workers still to be replaced; at most slots */
    uint64_t restart_age_s;
    char trouble[500]; /* the last failed start or unexpected end; "" = none */
    uint64_t trouble_age_s;
    uint64_t memory; /* bytes of its workers, 0: not measured */
    uint64_t counter[FCGIPM_VIEW_COUNTER_COUNT];
    fcgipm_view_histogram_t wait, took;
} fcgipm_view_pool_t;

typedef struct fcgipm_view_worker {
    uint32_t slot; /* number within the pool */
    const char *state, *state_doc;
    uint32_t generation;
    uint32_t pid;    /* 0: no process of ours */
    uint64_t age_s;  /* since the last change of its state */
    uint64_t life_s; /* since its start */
    uint64_t memory; /* bytes, with what it forked; 0: not measured */
    uint64_t requests;
    uint32_t deaths;
    fcgipm_view_seats_t seats;
} fcgipm_view_worker_t;

/* Calls in order: server, (pool, worker*, pool_end)*, end. Any may be NULL. Pools in state FREE with nothing
 * in use and slots in state FREE are left out. */
typedef struct fcgipm_view_visitor {
    void (*server)(void *ctx, const fcgipm_view_server_t *server);
    void (*pool)(void *ctx, const fcgipm_view_pool_t *pool);
    void (*worker)(void *ctx, const fcgipm_view_pool_t *pool, const fcgipm_view_worker_t *worker);
    void (*pool_end)(void *ctx, const fcgipm_view_pool_t *pool);
    void (*end)(void *ctx);
} fcgipm_view_visitor_t;

/* The serving row of each application (not one that is replaced), without its workers: for lists that name
 * each application once. */
void fcgipm_view_each(const fcgipm_board_t *board, fcgipm_view_now_t now,
                      void (*visit)(void *ctx, const fcgipm_view_pool_t *pool), void *ctx);
void fcgipm_view_walk(const fcgipm_board_t *board, fcgipm_view_now_t now,
                      const fcgipm_view_visitor_t *visitor, void *ctx);

typedef struct fcgipm_view_totals {
    uint32_t pools, ready, starting, waiting, backoff;
    fcgipm_view_seats_t seats; /* of the workers that are there */
    uint64_t requests, failed;
} fcgipm_view_totals_t;
/* A walk of its own. */
void fcgipm_view_totals(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_view_totals_t *totals);
#endif
