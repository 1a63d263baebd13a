/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_LINK_H
#define FCGIPM_LINK_LINK_H
/*
 * What: the inside of a link, for link.c, lease.c, parked.c, seek.c, kept.c and keeper.c only.
 * Always true: 1. one mutex guards every list here; it is held for memory and for a seat's CAS, never across
 * a call that may wait; 2. who takes an entry out of a list owns its descriptor.
 */
#include <pthread.h>
#include "link/lease.h"
#include "link/trunk.h"
#include "share/msg.h"
#include "wire/mux.h"

typedef struct fcgipm_kept {
    uint32_t pool, seat;
    uint64_t word; /* LEASED, ours, exactly this epoch */
    int fd;
    fcgipm_geometry_t g;
} fcgipm_kept_t;

typedef struct fcgipm_kept_stack {
    fcgipm_kept_t *entries; /* last used last */
    unsigned count, cap;
} fcgipm_kept_stack_t;

typedef struct fcgipm_linger {
    struct fcgipm_linger *next;
    fcgipm_lease_t lease;
    fcgipm_mux_t mux;
    unsigned id;
    char *what;                 /* malloc'ed, the lease's */
    int64_t grace_at, limit_at; /* fcgipm_clock_us(); 0 = none, or over */
    bool deaf;                  /* the read side is shut down: only a hang-up says that it has finished */
    fcgipm_mux_stream_t streams[];
} fcgipm_linger_t;

#define FCGIPM_PENDING_MAX 64

struct fcgipm_link {
    fcgipm_link_env_t env;
    char *runtime_dir; /* malloc'ed, as the link itself: the keeper may outlive the pool by a moment */
    unsigned child;    /* FCGIPM_NO_CHILD: no row */
    int wake_fd;       /* ours among env.wake_fds, -1: none, then nothing is kept */
    int epoll_fd, command_fd;
    pthread_t keeper;
    bool keeper_runs;
    pthread_mutex_t mutex;
    bool stopping;      /* nothing is kept any more */
    bool parked_lately; /* somebody was the first, since the keeper last looked */
    int sleep_ms;       /* how long the keeper may sleep, 0: it is awake, or has been woken */
    unsigned kept;      /* connections in the stacks */
    fcgipm_kept_stack_t *stacks[FCGIPM_POOLS_MAX];
    uint32_t stacks_end; /* one behind the last that there is */
    fcgipm_linger_t *lingers;
    fcgipm_trunks_t *trunks; /* with a lock of its own, never taken under `mutex` */
    /* Requests that wait in a queue on a nest, by cell. Who wants to touch one takes it out and puts it back;
     * its owner waits for that when it wants to go on. */
    _Atomic(fcgipm_attempt_t *) *waiting;
    fcgipm_atom32_t parked[FCGIPM_POOLS_MAX]; /* how many of each pool ... */
    fcgipm_atom32_t parked_all;               /* ... and of all */
    fcgipm_atom32_t parked_end;               /* one behind the highest that ever had one */
    fcgipm_atom32_t streak[FCGIPM_POOLS_MAX]; /* hand-overs within this child, past others, in a row */
    struct {
        uint32_t type, pool, slot, generation;
    } pending[FCGIPM_PENDING_MAX]; /* messages that the full socket refused */
    unsigned pending_count;
    fcgipm_atom64_t need_us[FCGIPM_POOLS_MAX]; /* when the manager was last asked for one more */
};

/* kept.c */
typedef bool fcgipm_kept_pick_fn(const fcgipm_kept_t *kept, void *ctx);
/* Put a connection whose seat was just stepped to LEASED; takes the fd. watch: not watched yet. False: it
 * could not be kept, close. */
bool fcgipm_kept_put(fcgipm_link_t *link, const fcgipm_kept_t *kept, bool watch);
/* Take the last used one of a pool that `pick` wants. */
bool fcgipm_kept_take(fcgipm_link_t *link, uint32_t pool, fcgipm_kept_pick_fn *pick, void *ctx,
                      fcgipm_kept_t *kept);
/* Take any one, of all pools. */
bool fcgipm_kept_find(fcgipm_link_t *link, fcgipm_kept_pick_fn *pick, void *ctx, fcgipm_kept_t *kept);
/* Is the seat's word no longer exactly ours? (a pick) */
bool fcgipm_kept_lost(const fcgipm_kept_t *kept, void *link);
/* Close, and give the seat back if it is still ours. */
void fcgipm_kept_close(fcgipm_link_t *link, fcgipm_kept_t *kept);

/* Free a pool's empty stack. */
void fcgipm_kept_free(fcgipm_link_t *link, uint32_t pool);

/* seek.c: never past those who wait, so its callers look at the queue first */
/* Take a free seat of a->pool; a->lease has it, perhaps with a kept connection. False: there is none. */
bool fcgipm_seek(fcgipm_attempt_t *a);
/* The seat is ours, with this word. */
void fcgipm_seek_hold(fcgipm_attempt_t *a, uint32_t seat, uint64_t word);

/* keeper.c */
apr_status_t fcgipm_keeper_start(fcgipm_link_t *link);
void fcgipm_keeper_stop(fcgipm_link_t *link);
void fcgipm_keeper_wake(fcgipm_link_t *link);
#define FCGIPM_SWEEP_MS 500 /* how often it looks for what no event told */
#define FCGIPM_TEND_MS  100 /* ... and after those who are parked */
/* Does it sleep longer than that? Then the caller, who holds the mutex, wakes it when he has let go of it. */
bool fcgipm_keeper_oversleeps_locked(fcgipm_link_t *link, int ms);
/* Watch a kept connection for its end. */
void fcgipm_keeper_watch(fcgipm_link_t *link, int fd);

/* lease.c */
/* Of the worker whose seat it has: several requests on one connection? */
bool fcgipm_attempt_multiplexes(const fcgipm_attempt_t *a);
/* ... and may this one be among them? */
bool fcgipm_attempt_shares(const fcgipm_attempt_t *a);
/* Might somebody serve, now or when it has started? */
bool fcgipm_attempt_pool_serves(const fcgipm_board_t *board, uint32_t pool);
/* While nothing starts the manager is asked again, and free seats that nobody told of are found. */
void fcgipm_attempt_tend(const fcgipm_attempt_t *a);

/* link.c: messages to the manager */
/* APR_EAGAIN: the socket is full. */
apr_status_t fcgipm_link_try_tell(const fcgipm_link_t *link, uint32_t type, uint32_t pool, uint32_t slot,
                                  uint32_t generation);
/* Send; what the full socket refuses the keeper sends later. */
void fcgipm_link_tell(fcgipm_link_t *link, fcgipm_msg_type_t type, uint32_t pool, uint32_t slot,
                      uint32_t generation);
void fcgipm_link_tell_pending(fcgipm_link_t *link);

/* parked.c */
/* Take one out, to touch it; NULL: it is awake, or somebody else has it. */
fcgipm_attempt_t *fcgipm_parked_take(fcgipm_link_t *link, uint32_t cell);
/* seen: its cell when it was taken out. Who granted it meanwhile did not find it. */
void fcgipm_parked_put(fcgipm_attempt_t *a, uint64_t seen);
/* One was granted a seat by a thread of its own child, `link`. */
void fcgipm_parked_ring(void *link, uint32_t cell);
/* Ring for the parked whose turn has come. */
void fcgipm_parked_look(fcgipm_link_t *link);
/* The same, and what a thread that waits does twice a second: limits, free seats, asking for one more. */
void fcgipm_parked_tend(fcgipm_link_t *link);
#endif
