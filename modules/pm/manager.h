/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_MANAGER_H
#define FCGIPM_PM_MANAGER_H
/*
 * What: the manager's own memory: pools and their workers, as it believes them. Inside this room only.
 * Owns: the manager owns all; a pool has an apr_pool of its own, destroyed when it is forgotten. One thread.
 * Always true: 1. worker->state changes only in fcgipm_worker_step, which also writes registry and board; 2.
 * a worker with pid != 0 is in the registry; 3. board values are read as hints only (PROMISES R1).
 */
#include <stdbool.h>
#include <apr_pools.h>
#include "core/addr.h"
#include "pm/tally.h"
#include "pm/output.h"
#include "pm/policy.h"
#include "pm/spawn.h"
#include "share/slot.h"
#include "share/world.h"

typedef struct fcgipm_manager fcgipm_manager_t;
typedef struct fcgipm_app fcgipm_app_t;

typedef struct fcgipm_worker {
    fcgipm_app_t *app;
    uint32_t slot; /* within the pool */
    uint32_t row;  /* in registry and board */
    fcgipm_slot_state_t state;
    uint32_t generation;
    pid_t pid; /* 0: none */
    uint64_t start_time;
    bool adopted; /* not our child: death is learnt from pidfd */
    bool exec_done;
    bool hung;   /* stopped because a request hung: not held against the pool */
    bool failed; /* stopped because it does not start */
    bool owed;   /* somebody waited in the backlog when it was started */
    int pidfd, listen_fd, out_fd, report_fd, probe_fd;
    int64_t born_us, ready_us; /* monotonic; ready_us 0: never was */
    int64_t start_by_us, probe_at_us, kill_at_us, drain_by_us, idle_since_us;
    uint64_t seen_requests;
    char why[256]; /* why it did not start, or is being stopped */
    fcgipm_output_t output;
} fcgipm_worker_t;

struct fcgipm_app {
    fcgipm_manager_t *manager;
    apr_pool_t *pool;
    uint32_t index;
    fcgipm_geometry_t geometry;
    uint64_t key, fingerprint;
    fcgipm_setting_t *setting;
    fcgipm_spawn_plan_t plan;
    bool plan_ok;
    bool configured; /* named by the present configuration */
    bool script;     /* made on demand */
    bool was_ready;  /* has had a ready worker: takes its predecessor's requests */
    fcgipm_pool_state_t state;
    fcgipm_tally_t tally;
    uint32_t told_failures; /* the step of the crash loop that the log knows */
    int64_t needed_us;      /* last NEED that has not been looked at; 0 none */
    int64_t retired_us, quiet_us, forget_us;
    fcgipm_worker_t *workers; /* geometry.slot_count */
};

struct fcgipm_manager {
    const struct fcgipm_daemon_env *env;
    apr_pool_t *pool;
    fcgipm_world_t *world;
    apr_pool_t *world_pool;
    fcgipm_board_t *board;
    fcgipm_registry_t *registry;
    char runtime_dir[128];
    uint32_t uid, gid;
    int64_t now; /* monotonic us of this turn of the loop */
    uint32_t random;
    bool stopping;
    bool again; /* something happened that other pools may wait for: look at all once more */
    int64_t stop_by_us;
    int exit_code; /* >= 0: leave the loop */
    int signal_fds[2];
    fcgipm_app_t *apps[FCGIPM_POOLS_MAX];
    uint32_t app_end; /* one behind the highest index in use */
    int64_t script_window_us;
    unsigned script_count;
};

/* --- worker.c: one worker --- */
void fcgipm_worker_init(fcgipm_worker_t *w, fcgipm_app_t *app, uint32_t slot);
/* Start a process in this place; a failure is handled as a death. */
void fcgipm_worker_start(fcgipm_worker_t *w);
/* Take over a living process from the registry. False: it is gone. */
bool fcgipm_worker_adopt(fcgipm_worker_t *w);
/* Does somebody wait in the backlog of its socket? */
bool fcgipm_worker_owed(const fcgipm_worker_t *w);
void fcgipm_worker_drain(fcgipm_worker_t *w, const char *why);
/* TERM to the group now, KILL after kill_us. */
void fcgipm_worker_stop(fcgipm_worker_t *w, int64_t kill_us, const char *why);
/* The process is gone; status as of waitpid, or -1 when nobody can know. */
void fcgipm_worker_died(fcgipm_worker_t *w, int status);
/* An external application has no process: its place is always ready. */
void fcgipm_worker_external(fcgipm_worker_t *w);
/* What is due at m->now: readiness, kill, drain. Returns the next time it wants to be called, INT64_MAX none.
 */
int64_t fcgipm_worker_tend(fcgipm_worker_t *w);
void fcgipm_worker_on_report(fcgipm_worker_t *w);
void fcgipm_worker_on_probe(fcgipm_worker_t *w);
bool fcgipm_worker_busy(const fcgipm_worker_t *w); /* a seat is BUSY or DRAINING, says the board */
/* Close the listening socket and remove it and the FIFO. */
void fcgipm_worker_clear(fcgipm_worker_t *w);
static inline bool fcgipm_worker_alive(const fcgipm_worker_t *w)
{
    return w->state == FCGIPM_SLOT_STARTING || w->state == FCGIPM_SLOT_READY;
}

/* --- app.c: one pool --- */
fcgipm_app_t *fcgipm_app_create(fcgipm_manager_t *m, uint32_t index, const fcgipm_geometry_t *g, uint64_t key,
                                uint64_t fingerprint, const fcgipm_setting_t *s);
/* What is due: start, shrink, replace a predecessor, drain, forget. Returns when it wants to be called next.
 */
int64_t fcgipm_app_tend(fcgipm_app_t *app);
void fcgipm_app_retire(fcgipm_app_t *app);
uint32_t fcgipm_app_count(const fcgipm_app_t *app, fcgipm_slot_state_t state);
void fcgipm_app_publish(fcgipm_app_t *app);

/* --- manager.c --- */
/* Bring the world to the configured state. */
void fcgipm_manager_reconcile(fcgipm_manager_t *m, const fcgipm_world_t *world);
/* The first thing: what does the registry say that lives? */
void fcgipm_manager_adopt(fcgipm_manager_t *m);
/* An on-demand pool for a program that an httpd child named: checked, limited in rate, runs as httpd's user.
 */
apr_status_t fcgipm_manager_script(fcgipm_manager_t *m, const char *path, size_t len);

int64_t fcgipm_manager_clock(void); /* monotonic us */
int64_t fcgipm_manager_wall(void);  /* us since 1970 */
uint32_t fcgipm_manager_random(fcgipm_manager_t *m);

/* --- loop.c --- */
int fcgipm_loop_run(fcgipm_manager_t *m);
/* --- reap.c --- */
void fcgipm_reap_children(fcgipm_manager_t *m);
/* Kill what the dead worker has forked. */
void fcgipm_reap_group(const fcgipm_worker_t *w);
/* "FCGIPM_WORKER=<runtime dir>:<pool>:<slot>:<generation>", in the environment of a worker and its children.
 */
void fcgipm_reap_marker(char *out, size_t cap, const fcgipm_worker_t *w);
#endif
