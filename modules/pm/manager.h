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
#include <apr_hash.h>
#include <apr_pools.h>
#include "core/addr.h"
#include "pm/cgroup.h"
#include "pm/tally.h"
#include "pm/output.h"
#include "pm/policy.h"
#include "pm/ready.h"
#include "pm/spawn.h"
#include "share/demand.h"
#include "share/msg.h"
#include "share/slot.h"
#include "share/world.h"

typedef struct fcgipm_manager fcgipm_manager_t;
typedef struct fcgipm_app fcgipm_app_t;

/* Why a worker leaves; counted when it has gone. */
typedef enum fcgipm_leave {
    FCGIPM_LEAVE_NONE, /* nobody told it to */
    FCGIPM_LEAVE_IDLE,
    FCGIPM_LEAVE_RECYCLED,
    FCGIPM_LEAVE_RESTARTED,
    FCGIPM_LEAVE_EVICTED,
    FCGIPM_LEAVE_HUNG,
    FCGIPM_LEAVE_UNRESPONSIVE,
    FCGIPM_LEAVE_TOLD /* configuration, an operator, the end of httpd */
} fcgipm_leave_t;

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
    bool hung;        /* stopped because a request hung: not held against the pool */
    bool failed;      /* stopped because it does not start */
    bool owed;        /* somebody waited in the backlog when it was started */
    bool taken;       /* when it died: it had taken who waited */
    bool heir;        /* its predecessor died with a request in hand, which may still come to its socket */
    bool substitute;  /* started to replace an outdated one */
    bool notified;    /* it has said READY=1 */
    bool multiplexes; /* several requests on one connection */
    bool dumped;      /* a slow log command looks at it: it is not killed before that ends */
    fcgipm_leave_t outdated; /* RECYCLED or RESTARTED: to be replaced */
    fcgipm_leave_t leave;
    int pidfd, listen_fd, out_fd, report_fd;
    fcgipm_question_t *probe;  /* the question that it has been asked, or NULL */
    bool asking;               /* ... while it was idle, on ask_seat */
    uint32_t ask_seat, chance; /* chance: of this process, for its limits */
    uint64_t ask_word;
    int64_t ask_at_us, ask_by_us;
    int64_t born_us, exec_us, ready_us; /* monotonic; 0: not yet */
    uint32_t places;                    /* requests at a time, 0: not known yet */
    int64_t values_by_us;               /* until then it may say how many; 0: not asked */
    int64_t start_by_us, probe_at_us, kill_at_us, drain_by_us, idle_since_us;
    uint64_t seen_requests, memory;
    uint32_t stopped_looks;        /* how often in a row it was found in state T */
    uint32_t kills;                /* KILLs since its time was over */
    char leaf[FCGIPM_CGROUP_LEAF]; /* its control group; "": none */
    char why[256];                 /* why it did not start, or is being stopped */
    fcgipm_output_t *output;       /* of the app's pool, made at the first start */
} fcgipm_worker_t;

/* A watched file as it was. */
typedef struct fcgipm_watched {
    const char *path;
    uint64_t inode;
    int64_t changed_ns, size; /* -1: there is none */
} fcgipm_watched_t;

/* An account that pools run as, for what holds over all of them. Lives as long as the manager. */
typedef struct fcgipm_account {
    const char *name;
    uint32_t number;    /* from 1 */
    uint32_t first;     /* of its pools: index + 1; 0: none */
    uint32_t processes; /* as of this turn */
    uint64_t memory;    /* PSS when it was last measured */
} fcgipm_account_t;

/* Who made it necessary that pools are made: an account, or a virtual host. Lives as long as the manager. */
typedef struct fcgipm_party {
    uint32_t pools;     /* that are there for it */
    int64_t window_us;  /* this second ... */
    unsigned made;      /* ... and how many were made in it */
    int64_t crowded_us; /* when there was no room for another one */
} fcgipm_party_t;

struct fcgipm_app {
    fcgipm_manager_t *manager;
    apr_pool_t *pool;
    uint32_t index;
    fcgipm_geometry_t geometry;
    uint64_t key, fingerprint;
    fcgipm_setting_t *setting;
    fcgipm_spawn_plan_t plan;
    bool plan_ok;
    bool configured;             /* named by the present configuration */
    bool nameless;               /* of an earlier manager's: its settings only serve to lead it out */
    const fcgipm_demand_t *what; /* made on demand; NULL: of the configuration */
    uint32_t next_row;           /* of its chain, as on the board */
    fcgipm_party_t *party;       /* made on demand: for whom */
    int64_t made_us;             /* ... when */
    int64_t unused_us;           /* made on demand: since when it has had no process, and nobody asked */
    bool silent;                 /* its processes do not answer FCGI_GET_VALUES */
    uint32_t places;             /* requests at a time of one process, as of the last that became ready */
    bool was_ready;              /* has had a ready worker: takes its predecessor's requests */
    fcgipm_pool_state_t state;
    fcgipm_tally_t tally;
    uint32_t told_failures;    /* the step of the crash loop that the log knows */
    int64_t needed_us;         /* last NEED that has not been looked at; 0 none */
    uint32_t min, max;         /* processes, as configured or as an operator has said */
    uint32_t flags;            /* FCGIPM_POOL_PAUSED, ... as ordered by an operator */
    uint32_t relieved;         /* substitutes that have become ready and whose outdated ones still serve */
    uint32_t wanted;           /* starts for which other pools would have to make room ... */
    bool wanted_of_user;       /* ... those of the same user */
    fcgipm_account_t *account; /* NULL: httpd's own user, or no processes of ours */
    uint32_t peer;             /* of its pools the next one, as on the board */
    fcgipm_restart_state_t restart;
    int64_t restarted_us;
    apr_array_header_t *watched; /* of fcgipm_watched_t; NULL: none */
    int64_t slow_us;             /* the last slow log entry */
    int64_t retired_us, quiet_us, forget_us;
    uint32_t retired_in; /* the first configuration without it: earlier httpd children know its index */
    /* No process, nothing is due, nobody waits: left out of turns until somebody asks (needed_us) or
     * something is changed here; whoever changes something clears it. */
    bool at_rest;
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
    uint32_t uid, gid;         /* httpd's */
    uint32_t min_uid, min_gid; /* FcgiMinUid, FcgiMinGid */
    int64_t now;               /* monotonic us of this turn of the loop */
    uint32_t random;
    bool stopping;
    bool retiring; /* another module has taken over; until its httpd children are gone all goes on */
    int64_t retire_by_us;
    bool again;        /* something happened that other pools may wait for: look at all once more */
    int64_t all_at_us; /* the next turn that leaves no pool out */
    int exit_code;     /* >= 0: leave the loop */
    int signal_fds[2];
    fcgipm_app_t *apps[FCGIPM_POOLS_MAX];
    uint32_t app_end;                     /* one behind the highest index in use */
    uint32_t chain[FCGIPM_DEMAND_CHAINS]; /* of pools made on demand, as on the board */
    uint32_t demand_count;
    apr_hash_t *parties;      /* fcgipm_party_t by number, see ondemand.c */
    fcgipm_demand_t room_for; /* a pool has gone, or is going, for this one; kind 0: for none */
    int64_t room_us;          /* when that was told to go */
    apr_hash_t *users;        /* fcgipm_account_t by name */
    apr_hash_t *templates, *sites, *accounts; /* of the world: by key; "user:group" of a site */
    int64_t demand_window_us;
    unsigned demand_asked, demand_made;               /* within it */
    uint32_t processes;                               /* of all pools, as of this turn */
    uint64_t memory;                                  /* PSS of all, as of the last look */
    int64_t memory_at_us, watch_at_us, stopped_at_us; /* the next look at each */
    struct fcgipm_control *control;                   /* may be NULL */
    struct fcgipm_slow *slow;
    int notify_fd;
    int64_t notify_after_us; /* anybody can write there: not more often than so */
    int64_t requests_us;     /* this window of httpd's children's messages, ... */
    unsigned requests;       /* ... and how many it has had */
    bool mend_asked;         /* to look at the board */
    int64_t mended_us, mend_told_us;
    int64_t rubbish_us, mend_again_us; /* when some was seen; when to write everything once more, 0: not */
    int64_t children_looked_us;
    uint32_t oldest_child; /* its configuration */
    uint32_t generation;   /* of the configuration that is, or is being, taken over */
    int64_t again_us;      /* what was left out of this turn's poll is looked at then */
    uint64_t oom_kills;    /* of the kernel, as last seen */
    int64_t lack_since_us; /* lack.h; 0: it lacks nothing */
    int64_t lack_us, lack_until_us, lack_told_us; /* last noticed; no start before; last line about it */
    bool lack_told;
    fcgipm_cgroup_t *cgroup; /* NULL: without control groups */
    bool inherits;           /* there was a manager before: what its workers left may not have come to us */
};

/* --- worker.c: one worker --- */
void fcgipm_worker_init(fcgipm_worker_t *w, fcgipm_app_t *app, uint32_t slot);
/* Start a process in this place; a failure is handled as a death. */
void fcgipm_worker_start(fcgipm_worker_t *w);
/* Take over a living process from the registry. False: it is gone. */
bool fcgipm_worker_adopt(fcgipm_worker_t *w);
/* Does somebody wait in the backlog of its socket? */
bool fcgipm_worker_owed(const fcgipm_worker_t *w);
void fcgipm_worker_drain(fcgipm_worker_t *w, fcgipm_leave_t leave, const char *why);
/* TERM to the group now, KILL after kill_us. */
void fcgipm_worker_stop(fcgipm_worker_t *w, int64_t kill_us, fcgipm_leave_t leave, const char *why);
/* The process is gone; status as of waitpid, or -1 when nobody can know. */
void fcgipm_worker_died(fcgipm_worker_t *w, int status);
/* An external application has no process: its place is always ready. */
void fcgipm_worker_external(fcgipm_worker_t *w);
/* What is due at m->now: readiness, kill, drain. Returns the next time it wants to be called, INT64_MAX none.
 */
int64_t fcgipm_worker_tend(fcgipm_worker_t *w);
/* KILL does not end it, so nobody waits for it. */
bool fcgipm_worker_undead(const fcgipm_worker_t *w);
void fcgipm_worker_on_report(fcgipm_worker_t *w);
void fcgipm_worker_on_probe(fcgipm_worker_t *w);
bool fcgipm_worker_busy(const fcgipm_worker_t *w); /* a seat is BUSY or DRAINING, says the board */
/* Close the listening socket and remove it and the FIFO. */
void fcgipm_worker_clear(fcgipm_worker_t *w);
static inline bool fcgipm_worker_alive(const fcgipm_worker_t *w)
{
    return w->state == FCGIPM_SLOT_STARTING || w->state == FCGIPM_SLOT_READY;
}
/* What is not touched costs nothing, also no page that is copied after each fork: thousands may be declared.
 */
static inline bool fcgipm_app_rests(const fcgipm_app_t *app)
{
    return app->at_rest && app->needed_us == 0;
}

/* --- app.c: one pool --- */
fcgipm_app_t *fcgipm_app_create(fcgipm_manager_t *m, uint32_t index, const fcgipm_geometry_t *g, uint64_t key,
                                uint64_t fingerprint, const fcgipm_setting_t *s);
/* The configuration names one that was nameless: its own settings, and its processes stay. */
void fcgipm_app_name(fcgipm_app_t *app, const fcgipm_setting_t *s);
/* What is due: start, shrink, replace a predecessor, drain, forget. Returns when it wants to be called next.
 */
int64_t fcgipm_app_tend(fcgipm_app_t *app);
void fcgipm_app_retire(fcgipm_app_t *app);
bool fcgipm_app_in_use(const fcgipm_app_t *app); /* somebody waits, or is served */
uint32_t fcgipm_app_processes(const fcgipm_app_t *app);
uint32_t fcgipm_app_count(const fcgipm_app_t *app, fcgipm_slot_state_t state);
void fcgipm_app_publish(fcgipm_app_t *app);
/* Put what went wrong where status pages and fcgipmctl find it. */
void fcgipm_app_trouble(fcgipm_app_t *app, const char *text);

/* --- refresh.c: replacing workers that still serve --- */
/* Mark the workers that have served their time; how many are marked. */
uint32_t fcgipm_refresh_look(fcgipm_app_t *app);
/* Drain outdated workers whose substitutes are ready. */
void fcgipm_refresh_relieve(fcgipm_app_t *app, uint32_t count);
/* A rolling restart: all workers that are there are replaced one by one. why: for the log. */
void fcgipm_refresh_restart(fcgipm_app_t *app, const char *why);
/* Its end, well or not. */
void fcgipm_refresh_judge(fcgipm_app_t *app);
/* Files of FcgiWatch: remember them; look whether they have changed. */
void fcgipm_refresh_watch(fcgipm_app_t *app);
bool fcgipm_refresh_changed(fcgipm_app_t *app);
/* After an adoption: one may have changed while there was no manager. */
void fcgipm_refresh_missed(fcgipm_app_t *app);

/* --- alive.c: idle workers that no longer answer --- */
/* What is due for an idle worker; when it wants to be called next. */
int64_t fcgipm_alive_tend(fcgipm_worker_t *w);
void fcgipm_alive_on_answer(fcgipm_worker_t *w);
/* It is to leave: the place that was taken for the question must not keep it. */
void fcgipm_alive_cancel(fcgipm_worker_t *w);
/* Somebody has sent it SIGSTOP? */
void fcgipm_alive_look(fcgipm_worker_t *w);

/* --- watchman.c: what is looked at now and then over all pools --- */
/* Memory, watched files, stopped processes; makes room for what pools want. Returns when it wants to be
 * called next. */
int64_t fcgipm_watchman_tend(fcgipm_manager_t *m);
/* Further processes that app may start now; *of_user: it is its user's total that bounds them. */
uint32_t fcgipm_watchman_room(const fcgipm_app_t *app, bool *of_user);
/* The account of these settings, or NULL. */
fcgipm_account_t *fcgipm_watchman_account(fcgipm_manager_t *m, const fcgipm_setting_t *s);
/* It is one of the account's pools, and no longer. */
void fcgipm_watchman_join(fcgipm_app_t *app);
void fcgipm_watchman_leave(fcgipm_app_t *app);
/* What the board says of that. True: it was something else. */
bool fcgipm_watchman_mend(const fcgipm_app_t *app);
/* One of its processes is about to start. */
void fcgipm_watchman_count(fcgipm_app_t *app);
/* Does an httpd child live that has a configuration before that one? Looked at once a second at most. */
bool fcgipm_watchman_child_before(fcgipm_manager_t *m, uint32_t generation);

/* --- mend.c: a board that was written over --- */
/* Is it as it should be? If not it is written anew. */
void fcgipm_mend_look(fcgipm_manager_t *m);
/* The same if somebody has asked for it, and not too often; when it wants to be called next. */
int64_t fcgipm_mend_tend(fcgipm_manager_t *m);

/* --- notify.c --- */
/* NOTIFY_SOCKET: made in the runtime directory; -1 if it cannot be. */
int fcgipm_notify_open(const char *runtime_dir);
bool fcgipm_notify_path(char *out, size_t cap, const char *runtime_dir);
void fcgipm_notify_read(fcgipm_manager_t *m);

/* --- manager.c --- */
/* Bring the world to the configured state. */
void fcgipm_manager_reconcile(fcgipm_manager_t *m, const fcgipm_world_t *world);
/* The first thing: what does the registry say that lives? */
void fcgipm_manager_adopt(fcgipm_manager_t *m);

/* --- ondemand.c: pools made on demand --- */
/* A new configuration: its templates and virtual hosts. Before anything else of it. */
void fcgipm_ondemand_learn(fcgipm_manager_t *m, const fcgipm_world_t *world);
/* ... and the pools that are no longer, or otherwise, configured retire. */
void fcgipm_ondemand_reconcile(fcgipm_manager_t *m, const fcgipm_world_t *world);
/* An httpd child asks for one: what it says is looked up or looked at, limited in rate. */
void fcgipm_ondemand_ask(fcgipm_manager_t *m, const fcgipm_msg_t *msg);
/* Room that was made is used. Behind each turn. */
void fcgipm_ondemand_use_room(fcgipm_manager_t *m);
/* A new manager takes over the pools that are still configured. */
void fcgipm_ondemand_adopt(fcgipm_manager_t *m);
/* One that is not used any more retires. Returns when it wants to be called next. */
int64_t fcgipm_ondemand_tend(fcgipm_app_t *app);
/* Nobody shall find it any more: it is retired. */
void fcgipm_ondemand_unlist(fcgipm_app_t *app);
/* Its index is free. */
void fcgipm_ondemand_forget(fcgipm_app_t *app);
/* What the board says of them is compared with what it should, and put right. True: it differed. */
bool fcgipm_ondemand_mend(fcgipm_manager_t *m);

/* What is looked at now and then is looked at together, so that a server at rest wakes rarely: the first tick
 * that is at least `every` (a multiple of FCGIPM_TICK_US) after the last one. */
#define FCGIPM_TICK_US 2000000
static inline int64_t fcgipm_manager_tick(const fcgipm_manager_t *m, int64_t every)
{
    return (m->now / FCGIPM_TICK_US + every / FCGIPM_TICK_US) * FCGIPM_TICK_US;
}

static inline fcgipm_jail_host_t fcgipm_manager_host(const fcgipm_manager_t *m)
{
    return (fcgipm_jail_host_t){.uid = m->uid, .gid = m->gid, .min_uid = m->min_uid, .min_gid = m->min_gid};
}

int64_t fcgipm_manager_clock(void); /* steady us, the clock of all times here and on the board */
uint32_t fcgipm_manager_random(fcgipm_manager_t *m);

/* --- control.c: the orders of fcgipmctl --- */
#define FCGIPM_CONTROL_PEERS 8
typedef struct fcgipm_control fcgipm_control_t;
/* NULL, logged, if the socket cannot be made: the manager goes on without. */
fcgipm_control_t *fcgipm_control_open(fcgipm_manager_t *m);
/* Descriptors to poll for reading: the nth, or -1; 0 is the listening one. */
int fcgipm_control_fd(const fcgipm_control_t *control, unsigned nth);
/* Accept, read, obey, answer: whatever is there. Returns when to be called next. */
int64_t fcgipm_control_tend(fcgipm_control_t *control);

/* --- loop.c --- */
int fcgipm_loop_run(fcgipm_manager_t *m);
/* Stop every worker; the loop ends when all are gone. */
void fcgipm_loop_stop(fcgipm_manager_t *m);
/* --- reap.c --- */
/* The worker with this pid, which is not 0; or NULL. */
fcgipm_worker_t *fcgipm_reap_worker(fcgipm_manager_t *m, pid_t pid);
void fcgipm_reap_children(fcgipm_manager_t *m);
/* Kill what the dead worker has forked. */
void fcgipm_reap_group(const fcgipm_worker_t *w);
/* "FCGIPM_WORKER=<runtime dir>:<pool>:<slot>:<generation>", in the environment of a worker and its children.
 */
void fcgipm_reap_marker(char *out, size_t cap, const fcgipm_worker_t *w);
#endif
