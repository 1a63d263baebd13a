/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_LEASE_H
#define FCGIPM_LINK_LEASE_H
/*
 * What: how an httpd child gets a place in a worker and gives it back: own kept connection (last used first),
 * a free seat (connect), another child's kept seat (take over, tell the other to close, connect), else ask
 * the manager for one more and wait in the pool's queue. Who calls: httpd children, any request thread;
 * create/destroy from child_init / child exit. Owns: the link owns the kept connections and the keeper thread
 * and lives as long as its pool (pchild). A lease is plain memory of the request; after release/linger it is
 * empty. Always true: 1. a lease with fd >= 0 owns that descriptor, nobody else closes it; 2. kept
 * connections are {seat, exact seat word, fd}, and a seat word that has changed means that the connection is
 * only fit to be closed; 3. a request that does not leave through release or linger is a bug, and leaks only
 * a seat until the child ends.
 */
#include <stdbool.h>
#include <apr_pools.h>
#include "core/addr.h"
#include "core/fault.h"
#include "core/setting.h"
#include "link/nest.h"
#include "share/board.h"
#include "share/demand.h"
#include "share/queue.h"

typedef struct fcgipm_link fcgipm_link_t;

typedef struct fcgipm_link_env {
    fcgipm_board_t *board;
    int requests_fd;     /* children's end of the request channel (share/msg.h) */
    int children_fd;     /* the locks of the children's rows (share/children.h), -1: none */
    const int *wake_fds; /* a bell per child index (share/wake.h), made by the parent */
    unsigned wake_count;
    uint32_t generation; /* of the configuration that this child has */
    const char *runtime_dir;
} fcgipm_link_env_t;

/* Claim a child row, start the keeper thread. The link works without a row too (connect per request, no
 * waiting). */
apr_status_t fcgipm_link_create(fcgipm_link_t **link, const fcgipm_link_env_t *env, apr_pool_t *pool);

typedef struct fcgipm_lease {
    uint32_t pool;       /* index of the pool that serves (after route) */
    uint32_t slot;       /* number within the pool, for logs */
    uint32_t generation; /* of the worker */
    uint32_t seat;       /* seat index */
    uint64_t word;       /* its exact word while we hold it */
    uint32_t pid;        /* for logs only; 0 = external */
    int fd;              /* connected, non-blocking, or -1 */
    bool reused;         /* a kept connection: the application may just be closing it */
    bool keep;           /* FCGI_KEEP_CONN shall be asked for */
    bool taken_over;
    bool shared;                  /* other requests are on its connection */
    bool cut;                     /* the request was not sent whole: a linger cannot keep the connection */
    int64_t queue_us, connect_us; /* how long it took */
    size_t unread;    /* bytes of the last answer that were looked at only, see fcgipm_lease_waited */
    size_t sent;      /* bytes of wish->opening that have been sent already */
    int64_t sent_us;  /* when */
    uint64_t life;    /* of the wish */
    const char *what; /* the request, for the manager's log; set by the caller, borrowed; or NULL */
    int64_t since_us; /* fcgipm_clock_us() when the lease was given */
} fcgipm_lease_t;

/* What requests may hold of httpd's threads. */
typedef struct fcgipm_share {
    uint32_t threads;      /* of this pool */
    bool tight;            /* its workers alone could take more */
    uint32_t peer_threads; /* of all pools of its account, see fcgipm_board_peer; 0: not counted */
    bool peers_tight;
} fcgipm_share_t;

typedef struct fcgipm_wish {
    uint32_t pool;                   /* index as configured; `route` is followed inside */
    uint64_t life;                   /* of a pool made on demand, else 0: only such a pool's connection is
                                        handed over; whether the seat is one, fcgipm_lease_lives says */
    const fcgipm_setting_t *setting; /* queue_us, queue_length, connect_us, keep_conn, connect */
    const fcgipm_share_t *share;     /* may be NULL: no bound */
    uint32_t user_queue;             /* requests of all pools of the account that may wait; 0: no limit */
    bool fresh;                      /* do not use a kept connection (the request could not be repeated) */
    bool alone;                      /* not on a connection with others (FcgiMultiplex) */
    uint32_t avoid_seat_slot; /* slot number to avoid if another is free (the retry rule); UINT32_MAX none */
    int64_t deadline_us;      /* fcgipm_clock_us() limit over all, 0 = none */
    /* What the request begins with (BEGIN_REQUEST, PARAMS, ...), may be NULL: a thread of this child that
     * hands its connection to a waiting request sends it, so that the application goes on at once. With
     * KEEP_CONN. */
    const unsigned char *opening;
    size_t opening_len;
    bool opening_ends;       /* it is the whole request */
    bool (*gone)(void *ctx); /* asked about twice a second while waiting: has the client left? may be NULL */
    void *ctx;
} fcgipm_wish_t;

typedef enum fcgipm_attempt_state {
    FCGIPM_ATTEMPT_SEEK,    /* look for a seat */
    FCGIPM_ATTEMPT_QUEUED,  /* waits in the pool's queue */
    FCGIPM_ATTEMPT_CONNECT, /* has a seat; the connection is on its way */
    FCGIPM_ATTEMPT_PAUSE    /* has nothing, looks again in a moment */
} fcgipm_attempt_state_t;

/* One try to get a lease, that can be left and come back to. All fields are private but `state` and
 * `poll_fd`. Lives where the caller put it, and must not move while it is parked. */
typedef struct fcgipm_attempt {
    fcgipm_link_t *link;
    const fcgipm_wish_t *wish;
    fcgipm_lease_t *lease;
    fcgipm_fault_t *fault;
    fcgipm_attempt_state_t state;
    int poll_fd;   /* CONNECT: wait for POLLOUT here, -1: for the time only */
    uint32_t pool; /* after route */
    fcgipm_geometry_t g;
    uint32_t avoid; /* slot number */
    int tries;
    int64_t started_us, until_us; /* of the waiting, 0 = no limit */
    int64_t asked_us;             /* gone() */
    int64_t seek_us;              /* since when it has had no seat */
    uint32_t cell;                /* QUEUED */
    uint64_t word;
    fcgipm_addr_t addr; /* CONNECT */
    char address[256];  /* for the log: without what only we know of a socket's name */
    bool joined;        /* no connect: a branch of a trunk */
    int64_t connect_us, connect_until_us;
    int64_t pause_us; /* of a full backlog */
    int64_t wake_us;  /* CONNECT, PAUSE: look again then */
    /* Parked: theirs who have taken it out of link->waiting. */
    bool parked;
    fcgipm_nest_t *nest;
    int handed_fd; /* a connection that another thread has handed over, -1: none */
    bool handed_watched;
    size_t handed_sent;
    int64_t handed_us;
} fcgipm_attempt_t;

/* Begin; wish, lease and fault must live as long as the attempt. */
void fcgipm_attempt_begin(fcgipm_attempt_t *a, fcgipm_link_t *link, fcgipm_lease_t *lease,
                          const fcgipm_wish_t *wish, fcgipm_fault_t *fault);
/* Go as far as possible without waiting. APR_EAGAIN: wait (fcgipm_attempt_sleep or _park), then call again;
 * else it is over, with the results of fcgipm_lease_acquire. */
apr_status_t fcgipm_attempt_step(fcgipm_attempt_t *a);
/* Wait in this thread until a step may help, at most limit_us. False: the limit is over and nothing has
 * happened. */
bool fcgipm_attempt_sleep(fcgipm_attempt_t *a, int64_t limit_us);
/* For one who waits in the queue with a thread: is fcgipm_attempt_sleep better than a nest? It is woken
 * faster, but nobody can hand a connection over. company: this child has other threads that could. */
bool fcgipm_attempt_sleeps(const fcgipm_attempt_t *a, bool company);
/* Wait on a nest, with a thread or without: from now on it becomes readable when a step may help: by its
 * bell, or, when a connection was handed over and the request has begun on it, by the answer. False: there is
 * something to do now, nothing is parked. */
bool fcgipm_attempt_park(fcgipm_attempt_t *a, fcgipm_nest_t *nest);
/* After fcgipm_attempt_park, before anything else. Harmless when not parked. */
void fcgipm_attempt_unpark(fcgipm_attempt_t *a);
/* Give up: leave the queue, give back what it had. Any state, also after it is over without a lease. */
void fcgipm_attempt_cancel(fcgipm_attempt_t *a);

/* All of it in this thread: get a lease, connected. APR_SUCCESS; or
 *   APR_EBUSY      the queue is full                          (503)
 *   APR_TIMEUP     waited queue_us                            (503)
 *   APR_ENOPROC    the pool cannot start: backoff, draining   (503; fault says until when)
 *   APR_ECONNABORTED  wish->gone said so
 *   other          could not connect to anything              (502/503)
 * A connect that is refused or reset is tried on other seats (at most 3 in all), and told to the manager
 * (BAD). */
apr_status_t fcgipm_lease_acquire(fcgipm_link_t *link, fcgipm_lease_t *lease, const fcgipm_wish_t *wish,
                                  fcgipm_fault_t *fault);

typedef enum fcgipm_lease_end {
    FCGIPM_LEASE_KEEP,  /* complete, connection reusable: keep it if the queue is empty and keep is set */
    FCGIPM_LEASE_CLOSE, /* complete or hopeless: close, the worker is free */
    FCGIPM_LEASE_HUNG,  /* it did not answer in time: close and tell the manager, which replaces the worker;
                           the seat is shut, so that nobody is sent there (external pools: given back) */
    FCGIPM_LEASE_BROKEN /* it broke the protocol or died: close and let the manager look */
} fcgipm_lease_end_t;
/* Never fails. complete: counts as a complete answer of the worker. */
void fcgipm_lease_release(fcgipm_link_t *link, fcgipm_lease_t *lease, fcgipm_lease_end_t end, bool complete);

/* Does a request of this child wait for what the lease holds? Then the end of an answer had better be looked
 * at (MSG_PEEK) and not read, lease->unread says how much: reading wakes an application that waits for its
 * next request, so that is sent first. */
bool fcgipm_lease_waited(const fcgipm_link_t *link, const fcgipm_lease_t *lease);
/* Does anybody wait for a process of its pool? */
bool fcgipm_lease_wanted(const fcgipm_link_t *link, const fcgipm_lease_t *lease);

/* If the connection's end was our own doing: why. NULL: it was not. Before the lease is given back. */
const char *fcgipm_lease_verdict(fcgipm_link_t *link, const fcgipm_lease_t *lease);

/* The request cannot take more of the answer for its client, or again can: others on its connection must not
 * wait. */
void fcgipm_lease_full(fcgipm_link_t *link, const fcgipm_lease_t *lease, bool full);

/* The request takes long: tell the manager, which may look at what its worker does. Never waits. */
void fcgipm_lease_slow(fcgipm_link_t *link, const fcgipm_lease_t *lease);

/* The client has left in the middle of a request. An external application without kept connections: close.
 * With a kept connection: send ABORT_REQUEST; in any case the keeper reads and discards until END_REQUEST (if
 * keep, then the connection is kept) or EOF, at most grace_us after which the read side is shut down so that
 * the application's next write fails; after limit_us the worker is reported HUNG. The seat comes back only
 * then. mux: copied; its parse state goes on. */
struct fcgipm_mux;
void fcgipm_lease_linger(fcgipm_link_t *link, fcgipm_lease_t *lease, const struct fcgipm_mux *mux,
                         unsigned id, int64_t grace_us, int64_t limit_us);

typedef struct fcgipm_lease_ask {
    fcgipm_demand_t what;
    uint32_t type;
    uint64_t block, site;
    const char *path; /* may be NULL */
} fcgipm_lease_ask_t;
typedef struct fcgipm_lease_demand {
    int64_t until_us;           /* set by the caller; the rest is 0 at first */
    int64_t asked_us, again_us; /* ask again after so long: ever less often */
    int64_t look_us, wake_us;
    uint32_t seen;
} fcgipm_lease_demand_t;
/* The on-demand pool that is for ask->what: its index and life. If there is none the manager is asked for it
 * with type, block, site and path (share/msg.h), and again until it is there. APR_SUCCESS; APR_EAGAIN: call
 * again at demand->wake_us, or when fcgipm_lease_demand_sleep says so; APR_TIMEUP, or APR_ENOPROC with a
 * fault. Never waits. */
apr_status_t fcgipm_lease_demand(fcgipm_link_t *link, const fcgipm_lease_ask_t *ask,
                                 fcgipm_lease_demand_t *demand, uint32_t *pool, uint64_t *life,
                                 fcgipm_fault_t *fault);
/* Wait for it in this thread, at most limit_us. False: the limit is over and nothing has happened. */
bool fcgipm_lease_demand_sleep(fcgipm_link_t *link, const fcgipm_lease_demand_t *demand, int64_t limit_us);
/* Is the lease one of the pool that the wish meant? An index may have been given to another pool since it was
 * found. To be asked when the lease is connected, before anything is sent. */
bool fcgipm_lease_lives(const fcgipm_link_t *link, const fcgipm_lease_t *lease);

/* The user of a pool, for a message. out: room for it, if the settings do not say. */
const char *fcgipm_lease_user(const fcgipm_board_t *board, uint32_t pool, const fcgipm_setting_t *setting,
                              char *out, size_t cap);
/* Its row on the board; FCGIPM_NO_CHILD: it has none. */
unsigned fcgipm_link_child(const fcgipm_link_t *link);
/* How many connections it keeps (tests). */
unsigned fcgipm_link_kept(fcgipm_link_t *link);
#endif
