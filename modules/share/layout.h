/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_LAYOUT_H
#define FCGIPM_SHARE_LAYOUT_H
/*
 * What: the structs in shared memory. Two regions by trust (DESIGN section 2):
 *   registry  parent and manager only; the manager believes it
 *   board     all processes; for the manager and the parent each value is a hint, never an index, length,
 *             pid, path or pointer that they use (PROMISES R1)
 * Always true: fixed width, no pointers; each field names its writers; the tables' sizes are constants of the
 * build (sparse pages cost nothing), so no process ever takes a size from the board.
 *
 *   pool    an immutable definition (name + fingerprint). A changed FcgiServer block is another pool with
 *           another index; `route` leads requests from the old to the new one.
 *   slot    a place for one worker process of a pool.
 *   seat    the right to have one connection to, and one request in, a slot's worker. A slot has
 *           `concurrency` seats. Seats of a pool are ordered rank first (seat = first + rank * slots + slot):
 *           a scan in order finds the least loaded worker, lowest slot first.
 *   cell    a waiting request of a pool.
 *   child   an httpd child process; its index is the owner in seat and cell words.
 */
#include "share/atom.h"

#define FCGIPM_BOARD_MAGIC 0x66706d42u /* "Bmpf" */
#ifndef FCGIPM_BOARD_VERSION           /* a test builds another one */
#define FCGIPM_BOARD_VERSION 7u
#endif

#define FCGIPM_POOLS_STATIC 1792u /* pools from FcgiServer blocks: indexes given out by the parent */
#define FCGIPM_DEMAND_MAX   6400u /* behind them: pools made on demand by the manager */
#define FCGIPM_POOLS_MAX    (FCGIPM_POOLS_STATIC + FCGIPM_DEMAND_MAX)
#define FCGIPM_SLOTS_STATIC 14336u
#define FCGIPM_SEATS_STATIC 63488u
#define FCGIPM_CELLS_STATIC 491520u
#define FCGIPM_CHILDREN_MAX 1024u
/* Each on-demand index has rows of its own in every table, so many at most. */
#define FCGIPM_DEMAND_SLOTS 16u
#define FCGIPM_DEMAND_SEATS 64u
#define FCGIPM_DEMAND_CELLS 256u
#define FCGIPM_SLOTS_MAX    (FCGIPM_SLOTS_STATIC + FCGIPM_DEMAND_MAX * FCGIPM_DEMAND_SLOTS)
#define FCGIPM_SEATS_MAX    (FCGIPM_SEATS_STATIC + FCGIPM_DEMAND_MAX * FCGIPM_DEMAND_SEATS)
#define FCGIPM_CELLS_MAX    (FCGIPM_CELLS_STATIC + FCGIPM_DEMAND_MAX * FCGIPM_DEMAND_CELLS)
/* Chains of the table by which they are found. */
#define FCGIPM_DEMAND_CHAINS 8192u
#define FCGIPM_DEMAND_TEXT   1024u

#define FCGIPM_NO_CHILD      0xffffu /* owner: nobody */
#define FCGIPM_OWNER_MANAGER 0xfffeu /* owner: the manager, for the moment in which it offers a seat */

/* What a pool that was made on demand is for. All of it is compared, so two that share a hash stay apart. */
typedef enum fcgipm_demand_kind {
    FCGIPM_DEMAND_SCRIPT = 1, /* text: the program's path */
    FCGIPM_DEMAND_TEMPLATE    /* block, uid (0: named by text), text: its user, or what else sets it apart */
} fcgipm_demand_kind_t;
typedef struct fcgipm_demand {
    uint32_t kind;                 /* fcgipm_demand_kind_t; 0: nothing */
    uint32_t uid;                  /* of the file's owner */
    uint64_t block;                /* fcgipm_setting_key of the template */
    char text[FCGIPM_DEMAND_TEXT]; /* NUL to its end */
} fcgipm_demand_t;

/* Where a pool's rows are. Also kept privately by parent and manager; children read the board's copy and
 * check its bounds (fcgipm_geometry_ok). */
typedef struct fcgipm_geometry {
    uint32_t slot_first, slot_count;
    uint32_t seat_first, concurrency; /* seat count = slot_count * concurrency */
    uint32_t cell_first, cell_count;
} fcgipm_geometry_t;

/* Counters of a pool; children add, nobody decides on them. */
typedef struct fcgipm_pool_stat {
    fcgipm_atom64_t requests; /* leases given */
    fcgipm_atom64_t done;     /* complete answers */
    fcgipm_atom64_t failed;   /* 502/504 or cut */
    fcgipm_atom64_t retried;
    fcgipm_atom64_t client_gone;
    fcgipm_atom64_t waited; /* requests that had to wait for a worker */
    fcgipm_atom64_t queue_full, queue_timeout;
    fcgipm_atom64_t connects, reuses, takeovers;
    fcgipm_atom64_t stderr_lines, stderr_dropped;
    fcgipm_atom64_t bytes_in, bytes_out; /* request and response bodies */
    /* the manager's: */
    fcgipm_atom64_t spawns, deaths, start_failures, kills;
    /* why they ended: */
    fcgipm_atom64_t crashed, hung, unresponsive, idled, recycled, restarted, evicted, oom_killed;
} fcgipm_pool_stat_t;

/* Upper bounds in microseconds of the histograms' cells; the last cell has none. */
/* clang-format off */
#define FCGIPM_HISTOGRAM_BOUNDS(X)                                                                           \
    X(1000)                                                                                                  \
    X(2500) X(5000) X(10000) X(25000) X(50000) X(100000) X(250000) X(500000) X(1000000) X(2500000)           \
        X(5000000) X(10000000) X(30000000) X(60000000)
/* clang-format on */
#define FCGIPM_HISTOGRAM_CELLS 16u
typedef struct fcgipm_histogram {
    fcgipm_atom64_t cell[FCGIPM_HISTOGRAM_CELLS];
    fcgipm_atom64_t sum_us;
} fcgipm_histogram_t;

/* All that is counted for one application, whatever its definition: a changed block goes on counting where
 * the old one was (registry row: stat_row). Writers as in fcgipm_pool_stat_t; histograms: children. */
typedef struct fcgipm_board_stat {
    fcgipm_pool_stat_t count;
    fcgipm_histogram_t wait; /* for a process */
    fcgipm_histogram_t took; /* from lease to end */
} fcgipm_board_stat_t;

typedef enum fcgipm_pool_state {
    FCGIPM_POOL_FREE,
    FCGIPM_POOL_WARMING, /* configured; no worker has been ready yet; requests may be routed to its
                            predecessor */
    FCGIPM_POOL_SERVING,
    FCGIPM_POOL_BACKOFF, /* crash loop: no worker is ready, the next try is at retry_us */
    FCGIPM_POOL_DRAINING /* not configured, nor waiting for its changed definition */
} fcgipm_pool_state_t;

/* What an operator has ordered for a pool; bits of fcgipm_board_pool.flags. */
enum {
    FCGIPM_POOL_PAUSED = 1,  /* requests wait */
    FCGIPM_POOL_DRAINED = 2, /* requests are refused, processes end */
    FCGIPM_POOL_TRACED = 4   /* children log each record */
};
typedef enum fcgipm_restart_state {
    FCGIPM_RESTART_NONE,
    FCGIPM_RESTART_RUNNING,
    FCGIPM_RESTART_DONE,
    FCGIPM_RESTART_FAILED /* the new processes do not start: the old ones stay */
} fcgipm_restart_state_t;

/* Writer: the manager, but for `name`, `key`, `geometry`, `addr` (parent, before it is referred to; manager
 * for on-demand pools), `stat`, `waiting` and `ticket` (children). */
typedef struct fcgipm_board_pool {
    fcgipm_atom32_t state;           /* fcgipm_pool_state_t */
    fcgipm_atom32_t route;           /* index of the pool that requests go to; itself usually */
    fcgipm_atom32_t ready, starting; /* workers */
    fcgipm_atom32_t failures;        /* consecutive failed starts */
    uint32_t external;               /* 1: addr is used, slot 0 has no process */
    fcgipm_atom64_t retry_us;        /* BACKOFF: of the next start; times are steady (core/clock.h) */
    fcgipm_atom64_t key;             /* fcgipm_setting_key; on-demand: fcgipm_demand_key */
    fcgipm_atom32_t waiting;         /* cells in use, for views; nobody decides on it */
    fcgipm_atom32_t joins;  /* children: bit 0 = a cell may be in use (saves scans), rest counts joins */
    fcgipm_atom64_t ticket; /* next place in the queue */
    fcgipm_geometry_t geometry;
    char name[64], vhost[128];
    char addr[128];          /* external: as fcgipm_addr_parse reads it */
    uint32_t stat_row;       /* in stat[]; writer as of geometry */
    fcgipm_atom32_t account; /* a number for the account that its processes run as; 0: httpd's own, or none */
    fcgipm_atom32_t peer;    /* the next pool of that account, round: its index + 1; 0: none */
    fcgipm_atom32_t flags;
    fcgipm_atom32_t min, max;    /* processes, as configured or as fcgipmctl scale said */
    fcgipm_atom32_t restart;     /* fcgipm_restart_state_t */
    fcgipm_atom32_t outdated;    /* processes that are still to be replaced */
    fcgipm_atom64_t restart_us;  /* of the last step of it */
    fcgipm_atom64_t trouble_us;  /* 0: none */
    fcgipm_atom32_t trouble_seq; /* odd while trouble[] is written */
    char trouble[500];           /* the last failed start or unexpected end, as the log says it */
} fcgipm_board_pool_t;

/* Worker states: the manager is the only writer. See share/slot.h for the matrix. */
typedef struct fcgipm_board_slot {
    fcgipm_atom32_t state;      /* fcgipm_slot_state_t */
    fcgipm_atom32_t generation; /* of the worker in this slot, counts from 1 */
    fcgipm_atom32_t pid;        /* for logs and status only */
    fcgipm_atom32_t deaths;
    fcgipm_atom64_t since_us;    /* of the last state change; times are steady (core/clock.h) */
    fcgipm_atom64_t requests;    /* complete answers of this worker; children add, manager resets */
    fcgipm_atom64_t begun;       /* requests given to it; children add, manager resets */
    fcgipm_atom64_t used_us;     /* of its last answer; children */
    fcgipm_atom64_t born_us;     /* of its start */
    fcgipm_atom64_t memory;      /* bytes, with what it forked; 0: not measured */
    fcgipm_atom32_t places;      /* seats that are open: FcgiConcurrency, or what the process has said */
    fcgipm_atom32_t multiplexes; /* 1: several requests on one connection */
} fcgipm_board_slot_t;

/* One httpd child. Writer: the child itself in child_init, the parent when it is gone. */
typedef struct fcgipm_board_child {
    fcgipm_atom32_t pid;        /* 0 = free */
    fcgipm_atom32_t generation; /* of its configuration; before it says so an earlier one */
} fcgipm_board_child_t;

/* Of an on-demand index. Writer: the manager. `life` is 0 while the rest is written or means nothing, and no
 * index has the same one twice: who has found its pool under a life, and has a seat while that still stands
 * here, has a seat of that pool. */
typedef struct fcgipm_board_demand {
    fcgipm_atom64_t life;
    fcgipm_atom32_t next; /* of its chain: row + 1, 0: the last */
    fcgipm_demand_t what;
} fcgipm_board_demand_t;

typedef struct fcgipm_board {
    uint32_t magic, version;
    uint64_t size;
    fcgipm_atom64_t started_us;      /* steady (core/clock.h) */
    fcgipm_atom64_t started_wall_us; /* the same, for people; never counted with */
    fcgipm_atom32_t manager_pid;
    fcgipm_atom32_t manager_starts;
    fcgipm_atom32_t config_generation; /* the last configuration that the manager has taken over */
    fcgipm_atom32_t demand_changes;    /* futex: counts changes of on-demand pools */
    fcgipm_atom32_t demand_end;        /* on-demand rows from here on are not in use; a hint for views */
    fcgipm_board_child_t child[FCGIPM_CHILDREN_MAX];
    fcgipm_board_pool_t pool[FCGIPM_POOLS_MAX];
    fcgipm_board_stat_t stat[FCGIPM_POOLS_MAX];
    fcgipm_board_slot_t slot[FCGIPM_SLOTS_MAX];
    fcgipm_atom64_t seat[FCGIPM_SEATS_MAX];      /* words: share/slot.h */
    fcgipm_atom64_t cell[FCGIPM_CELLS_MAX];      /* words: share/queue.h */
    fcgipm_atom32_t chain[FCGIPM_DEMAND_CHAINS]; /* by fcgipm_demand_key: row + 1, 0: none; the manager's */
    fcgipm_board_demand_t demand[FCGIPM_DEMAND_MAX];
    /* Threads that requests of a pool hold in a child, where others wait without one; writer: the child. */
    fcgipm_atom16_t held[FCGIPM_CHILDREN_MAX][FCGIPM_POOLS_MAX];
    /* Threads that wait for a pool that is to be made; writer: the child. */
    fcgipm_atom16_t demanding[FCGIPM_CHILDREN_MAX];
} fcgipm_board_t;

#define FCGIPM_REGISTRY_MAGIC   0x66706d52u
#define FCGIPM_REGISTRY_VERSION 5u

/* Registry row of a pool. Parent: FREE -> USED (fills the rest before), USED -> NAMED when a configuration on
 * its way to the manager goes on with it. Manager: NAMED -> USED when that has arrived, USED -> FREE when the
 * pool is drained and no longer configured: never from NAMED, so that no two pools of it get one row. */
enum { FCGIPM_ROW_FREE, FCGIPM_ROW_USED, FCGIPM_ROW_NAMED };
typedef struct fcgipm_registry_pool {
    fcgipm_atom32_t used; /* FCGIPM_ROW_FREE: it is not */
    uint32_t external;
    uint64_t key, fingerprint;
    fcgipm_geometry_t geometry;
    uint32_t stat_row;                      /* parent */
    uint32_t flags, scaled_min, scaled_max; /* manager: what an operator has ordered; scaled_max 0: nothing */
} fcgipm_registry_pool_t;

/* Registry row of a slot. Writer: the manager; read by the next manager to adopt the worker. */
typedef struct fcgipm_registry_slot {
    fcgipm_atom32_t pid; /* written last when a worker is born, zeroed first when it is reaped */
    uint32_t state;      /* fcgipm_slot_state_t */
    uint32_t pool;
    uint32_t generation;
    uint64_t start_time;  /* /proc/PID/stat field 22, clock ticks since boot */
    uint64_t fingerprint; /* of the pool it was born for */
    int64_t born_us;      /* steady (core/clock.h) */
    int64_t born_wall_us; /* to compare with the times of files */
    uint32_t outdated;    /* 1: to be replaced by a rolling restart */
    uint32_t places;      /* requests at a time, 0: not known yet */
    uint32_t multiplexes; /* 1: several on one connection */
    uint32_t pad;
} fcgipm_registry_slot_t;

/* Of an on-demand index: what it is for, for the next manager. Writer: the manager. */
typedef struct fcgipm_registry_demand {
    uint64_t life; /* of the last pool here; counts on for ever */
    fcgipm_demand_t what;
} fcgipm_registry_demand_t;

/* File-backed (FcgiRuntimeDir/registry, root, 0600), so that the next start finds what a killed parent and
 * manager left. */
typedef struct fcgipm_registry {
    uint32_t magic, version;
    uint64_t size;
    char boot_id[40]; /* /proc/sys/kernel/random/boot_id: pids of another boot mean nothing */
    fcgipm_registry_pool_t pool[FCGIPM_POOLS_MAX];
    fcgipm_registry_slot_t slot[FCGIPM_SLOTS_MAX];
    fcgipm_registry_demand_t demand[FCGIPM_DEMAND_MAX];
} fcgipm_registry_t;
#endif
