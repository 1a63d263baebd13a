/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_EXCHANGE_H
#define FCGIPM_LINK_EXCHANGE_H
/*
 * What: one responder request on a leased connection: BEGIN_REQUEST and PARAMS, then STDIN out while STDOUT
 * and STDERR come in, as a state machine that never blocks (fcgipm_exchange_step) and a driver that waits
 * with poll() (fcgipm_exchange_run). The payloads of each block read are moved together in place over the
 * record headers (PROTOTYPES.md section 4), so the caller gets one contiguous run per block. Who calls: the
 * request's thread. Owns: nothing; lease, params block and ops are the caller's and must live until the
 * exchange ended. Always true: 1. writing and reading overlap, neither side can deadlock the other; 2. after
 * the answer's end nothing is passed on; 3. when it ends well, everything read was accounted for: the
 * connection is reusable only if result.reusable; 4. every wait has a limit.
 */
#include <stdbool.h>
#include <apr_errno.h>
#include "core/fault.h"
#include "link/lease.h"
#include "wire/mux.h"

/* What the request side provides. All are called on the request's thread. */
typedef struct fcgipm_exchange_ops {
    /* A buffer to read into, at least 16 KiB. The same one may be given again if `answer` did not keep it.
     * NULL: out of memory. */
    char *(*buffer)(void *ctx, size_t *cap);
    /* len > 0 bytes of the answer at `data`, which lies inside the last buffer given (the ctx may take
     * ownership of that whole buffer). Not APR_SUCCESS ends the exchange with that status (APR_ECONNABORTED:
     * client gone). */
    apr_status_t (*answer)(void *ctx, char *data, size_t len);
    /* The next read would block and data was passed on since the last pause: flush. APR_EAGAIN: the client
     * does not take it now, and the caller sees to it; the exchange goes on. */
    apr_status_t (*pause)(void *ctx);
    /* Bytes of the error stream. */
    void (*errors)(void *ctx, const char *data, size_t len);
    /* The next piece of the request body: *len > 0, or *len == 0 at its end; *last: nothing comes behind it.
     * The bytes stay valid until the next call. Must not wait: APR_EAGAIN, none has come yet (a body that is
     * streamed). */
    apr_status_t (*body)(void *ctx, const char **data, size_t *len, bool *last);
    /* Has the client left? Called when client_fd shows an event, and about twice a second. May be NULL. */
    bool (*gone)(void *ctx);
    /* slow_us are over; called once. May be NULL. */
    void (*slow)(void *ctx);
    /* What went out or came in, as it is, before it is looked at. May be NULL. */
    void (*trace)(void *ctx, bool out, const unsigned char *data, size_t len);
    /* Shall a short end of the answer be looked at only? The caller reads result.unread bytes later. NULL:
     * no. */
    bool (*peek)(void *ctx);
    /* May more of the answer be read just now? NULL: always. */
    bool (*room)(void *ctx);
} fcgipm_exchange_ops_t;

typedef struct fcgipm_exchange_result {
    uint32_t app_status;
    unsigned protocol_status; /* FCGIPM_STATUS_*; valid if ended */
    bool ended;               /* END_REQUEST was seen */
    bool reusable;            /* the connection may serve another request */
    bool stdout_ended;
    size_t unread;                   /* of the connection, see ops->peek */
    uint64_t body_sent, answer_read; /* bytes */
    int64_t first_byte_us;           /* from the start to the first byte of the answer, 0 = none came */
    fcgipm_mux_fault_t mux_fault;
} fcgipm_exchange_result_t;

#define FCGIPM_STAGE_MAX 4

typedef struct fcgipm_staged {
    unsigned char header[8];
    const char *data;
    size_t len; /* of data */
} fcgipm_staged_t;

typedef struct fcgipm_exchange {
    const fcgipm_exchange_ops_t *ops;
    void *ctx;
    int fd;
    int client_fd;             /* -1: none; polled for POLLRDHUP|POLLHUP|POLLERR only */
    const unsigned char *head; /* BEGIN_REQUEST and PARAMS, id 1 */
    size_t head_len;
    bool head_ends;       /* the end of STDIN is in it: there is no body */
    int64_t read_us;      /* longest silence, 0 = off */
    int64_t firstbyte_us; /* longest wait for the first byte of the answer, 0 = as read_us */
    int64_t slow_us;      /* tell ops->slow after this time, 0 = never */
    bool traced;          /* tell ops->trace */
    int64_t deadline_us;  /* fcgipm_clock_us() limit of the whole request, 0 = none */
    fcgipm_exchange_result_t result;
    fcgipm_fault_t fault; /* why it ended, when not well; phase says how far it had come */
    /* private */
    fcgipm_mux_t mux;
    fcgipm_mux_stream_t stream;
    unsigned id;
    size_t head_sent;
    fcgipm_staged_t stage[FCGIPM_STAGE_MAX]; /* STDIN records that go out next ... */
    unsigned staged;                         /* ... so many ... */
    size_t staged_sent;                      /* ... and of the first one these bytes are out */
    const char *piece;                       /* of the body, not yet cut into records */
    size_t piece_len;
    bool piece_last;
    int out_error;
    fcgipm_phase_t phase;
    bool body_eof, out_done, unflushed, any_byte;
    bool starved; /* the body has to come first */
    bool full;    /* the answer has to go out first */
    int64_t started_us, last_us;
} fcgipm_exchange_t;

/* Set up; the connection must be clean (fresh or kept). The params block must start with a 16 byte
 * BEGIN_REQUEST of id 1. */
void fcgipm_exchange_init(fcgipm_exchange_t *x, const fcgipm_exchange_ops_t *ops, void *ctx, int fd);
/* The first `len` bytes of the head were sent at at_us, by another thread. */
void fcgipm_exchange_sent(fcgipm_exchange_t *x, size_t len, int64_t at_us);
/* Go as far as possible without blocking. APR_SUCCESS: ended (see result); APR_EAGAIN: *events
 * (POLLIN|POLLOUT) says what to wait for; else failed, the fault is filled: APR_TIMEUP        read_us or
 * deadline_us is over           504 APR_EOF           the application closed before END_REQUEST 502
 *   APR_ECONNRESET, APR_EPIPE ...                              502
 *   APR_EGENERAL      it broke the protocol, result.mux_fault   502
 *   APR_ECONNABORTED  the client has left                       (none)
 * A broken pipe while writing is not yet an error: what the application has answered is read first. */
apr_status_t fcgipm_exchange_step(fcgipm_exchange_t *x, short *events);
/* What a step that returned APR_EAGAIN waits for besides the connection: the next part of the body, or room
 * for the answer. */
static inline bool fcgipm_exchange_starved(const fcgipm_exchange_t *x)
{
    return x->starved;
}
/* It waits for room: a hang-up of the connection is not looked at. */
static inline bool fcgipm_exchange_full(const fcgipm_exchange_t *x)
{
    return x->full;
}
/* The caller knows that the connection has come to its end. Returns APR_EOF. */
apr_status_t fcgipm_exchange_cut(fcgipm_exchange_t *x);
/* When the next limit of it is over, fcgipm_clock_us() clock; INT64_MAX: there is none. */
int64_t fcgipm_exchange_limit(const fcgipm_exchange_t *x);
/* The caller found out that the client has left: the fault of it. Returns APR_ECONNABORTED. */
apr_status_t fcgipm_exchange_left(fcgipm_exchange_t *x);
/* Drive step with poll() until it is over, for a caller that has nothing else to wait for (tests; web/handler
 * has). */
apr_status_t fcgipm_exchange_run(fcgipm_exchange_t *x);
/* The client has left: hand the connection to the keeper (see fcgipm_lease_linger). It knows whether the
 * sending stopped in the middle of a record, where no ABORT_REQUEST may follow. */
void fcgipm_exchange_linger(fcgipm_exchange_t *x, fcgipm_link_t *link, fcgipm_lease_t *lease,
                            int64_t grace_us, int64_t limit_us);
#endif
