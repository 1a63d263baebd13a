/* SPDX-License-Identifier: Apache-2.0 */
#include "web/job.h"

#include <poll.h>
#include <string.h>

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>

#include "link/exchange.h"
#include "link/nest.h"
#include "core/clock.h"
#include "link/peer.h"
#include "share/board.h"
#include "share/stat.h"
#include "web/async.h"
#include "web/body.h"
#include "web/errors.h"
#include "web/guard.h"
#include "web/limit.h"
#include "web/match.h"
#include "web/params.h"
#include "web/portion.h"
#include "web/reply.h"
#include "web/trace.h"

APLOG_USE_MODULE(fcgipm);

#define TRIES_MAX           3
#define REFUSALS_PER_SECOND 5
#define LINGER_US           apr_time_from_sec(2) /* for an application whose client has left to notice */
#define LINGER_MAX_US       apr_time_from_sec(60)
#define DEMAND_US           apr_time_from_sec(10)
#define HASTY_US            150000 /* what it takes to make one, and a little */
#define FINDS_MAX           3
#define FLAGS_AT            10 /* in the params block: BEGIN_REQUEST's flags */
#define GONE_ASK_US         500000
#define BODY_ASK_US         apr_time_from_sec(2) /* mod_reqtimeout counts only when it is asked */
#define BODY_RETRY_US       10000                /* HTTP/2 has no descriptor to wait for */
#define GRACE_US            20000 /* in its thread, in each stage, before a request waits without one */
#define NEVER               INT64_MAX

/* Where a request is. */
typedef enum stage {
    STAGE_NONE,
    STAGE_BODY,     /* the body comes in */
    STAGE_SEND,     /* pool and parameters: nothing to wait for, but a pool made on demand */
    STAGE_LEASE,    /* waits for a process and its connection */
    STAGE_EXCHANGE, /* the application works */
    STAGE_DELIVER   /* it has finished, the client has not */
} stage_t;

/* What a request waits for. */
typedef struct need {
    int fd; /* -1: none */
    short events;
    short client; /* events of the client's socket, 0: none */
    apr_time_t until_us;
} need_t;

typedef struct job {
    request_rec *r;
    fcgipm_match_t match;
    const fcgipm_setting_t *setting;
    uint32_t pool; /* board index as configured */
    uint64_t life; /* of one that was made on demand, else 0 */
    unsigned finds;
    fcgipm_lease_demand_t demand; /* while it waits for one; until_us 0: it does not */
    bool patient;                 /* ... without a thread, or as one of those who may have theirs for it */
    fcgipm_link_t *link;
    fcgipm_board_t *board;
    stage_t stage;
    need_t need;
    fcgipm_body_t *body;
    fcgipm_reply_t *reply;
    unsigned char *params;
    apr_size_t params_len;
    fcgipm_errors_t errors;
    fcgipm_wish_t wish;
    fcgipm_attempt_t attempt;
    fcgipm_lease_t lease;
    fcgipm_exchange_t x;
    fcgipm_trace_t *trace; /* NULL: off */
    fcgipm_fault_t fault;
    apr_time_t started, asked_us;
    unsigned retries;
    uint32_t avoid; /* slot number that failed */
    int client_fd;  /* -1: HTTP/2, or httpd has closed it */
    bool deaf;      /* the client has left, and the application may finish */
    bool may_suspend;
    fcgipm_nest_t *nest;  /* NULL: not needed yet */
    bool client_event;    /* something happened at the client's socket */
    bool client_writable; /* it was that it takes something */
    bool filter_failed;
    bool full;             /* as told to the lease */
    apr_time_t stalled_us; /* since when the client has taken nothing, 0: nothing waits for it */
    apr_uint64_t passed;   /* as of then ... */
    int unacked;
    apr_time_t body_us; /* the same of what it sends */
    apr_uint64_t body_reads;
    stage_t graced;               /* the stage that has had its grace ... */
    apr_interval_time_t grace_us; /* ... and what is left of it */
} job_t;

/* --- what the exchange asks for --- */

static char *on_buffer(void *ctx, size_t *cap)
{
    job_t *job = ctx;

    return fcgipm_reply_buffer(job->reply, cap);
}

static bool may_finish(const job_t *job)
{
    return job->setting->client_abort == 1;
}

/* What ends an answer is the client, or a filter of httpd that does not let it through. */
static void note_filter(job_t *job, apr_status_t rv)
{
    if (rv == APR_ECONNABORTED || job->r->connection->aborted || job->filter_failed)
        return;
    job->filter_failed = true;
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv == AP_FILTER_ERROR ? 0 : rv, job->r,
                  "FPM0608: pool %s: an output filter of httpd did not take the answer", job->match.name);
}

static apr_status_t client_left(job_t *job, apr_status_t rv)
{
    if (rv == APR_SUCCESS || rv == APR_EAGAIN || fcgipm_reply_fault(job->reply))
        return rv;
    note_filter(job, rv);
    job->deaf = may_finish(job);
    return job->deaf ? APR_SUCCESS : APR_ECONNABORTED;
}

static apr_status_t on_answer(void *ctx, char *data, size_t len)
{
    job_t *job = ctx;

    return job->deaf ? APR_SUCCESS : client_left(job, fcgipm_reply_answer(job->reply, data, len));
}

static apr_status_t on_pause(void *ctx)
{
    job_t *job = ctx;

    return job->deaf ? APR_SUCCESS : client_left(job, fcgipm_reply_pause(job->reply));
}

static void on_errors(void *ctx, const char *data, size_t len)
{
    job_t *job = ctx;

    fcgipm_errors_take(&job->errors, data, len);
}

static apr_status_t on_body(void *ctx, const char **data, size_t *len, bool *last)
{
    job_t *job = ctx;

    return fcgipm_body_next(job->body, data, len, last);
}

static bool on_peek(void *ctx)
{
    const job_t *job = ctx;

    return fcgipm_lease_waited(job->link, &job->lease);
}

static bool on_room(void *ctx)
{
    job_t *job = ctx;

    return job->deaf || fcgipm_reply_room(job->reply) ||
           (fcgipm_lease_wanted(job->link, &job->lease) && fcgipm_reply_hurry(job->reply));
}

/* A stream of HTTP/2 has no socket of its own; mod_http2 marks its connection. */
static int client_descriptor(const request_rec *r)
{
    apr_socket_t *socket = r->connection->master ? NULL : ap_get_conn_socket(r->connection);
    apr_os_sock_t fd;

    return socket && apr_os_sock_get(&fd, socket) == APR_SUCCESS ? fd : -1;
}

/* A client that closes only its sending side has left too: no browser does that, and the two cannot be told
 * apart. */
static bool on_gone(void *ctx)
{
    job_t *job = ctx;
    struct pollfd client = {.fd = client_descriptor(job->r), .events = POLLRDHUP};

    job->asked_us = fcgipm_clock_us();
    if (may_finish(job))
        return false;
    /* When httpd stops, its main thread closes the connections under us. */
    if (job->r->connection->aborted || (client.fd < 0 && !job->r->connection->master))
        return true;
    return client.fd >= 0 && poll(&client, 1, 0) > 0 && (client.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void on_slow(void *ctx)
{
    const job_t *job = ctx;

    fcgipm_lease_slow(job->link, &job->lease);
}

static void on_trace(void *ctx, bool out, const unsigned char *data, size_t len)
{
    fcgipm_trace_bytes(((job_t *)ctx)->trace, out, data, len);
}

static const fcgipm_exchange_ops_t ops = {.buffer = on_buffer,
                                          .answer = on_answer,
                                          .pause = on_pause,
                                          .errors = on_errors,
                                          .body = on_body,
                                          .gone = on_gone,
                                          .slow = on_slow,
                                          .trace = on_trace,
                                          .peek = on_peek,
                                          .room = on_room};

/* --- what an administrator can see of it --- */

/* (apr_psprintf takes four times as long, and there are eight of them.) */
static void note(const job_t *job, const char *name, apr_int64_t value)
{
    char *end = (char *)apr_palloc(job->r->pool, 21) + 20, *at = end;

    *at = '\0';
    value = value < 0 ? 0 : value;
    do
        *--at = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    apr_table_setn(job->r->notes, name, at);
}

static void write_notes(const job_t *job)
{
    apr_table_setn(job->r->notes, "fcgipm-pool", job->match.name);
    note(job, "fcgipm-pid", job->lease.pid);
    note(job, "fcgipm-slot", job->lease.slot);
    note(job, "fcgipm-queue-us", job->lease.queue_us);
    note(job, "fcgipm-connect-us", job->lease.connect_us);
    note(job, "fcgipm-retries", job->retries);
}

static void write_times(const job_t *job)
{
    note(job, "fcgipm-firstbyte-us", job->x.result.first_byte_us);
    note(job, "fcgipm-app-us", fcgipm_clock_us() - job->started);
}

/* Whose it was: many sites may share a log. Without the query, in which there may be secrets. */
static const char *asked_for(const job_t *job)
{
    const request_rec *r = job->r;

    return apr_psprintf(r->pool, "%s %s%.200s", r->method, r->server->server_hostname, r->uri);
}

/* The one line of a request that went wrong. */
#define LOG_JOB(job, level, number, rv, what, next)                                                          \
    ap_log_rerror(APLOG_MARK, level, rv, (job)->r, number ": pool %s slot %u pid %u: %s; %s (%s)",           \
                  (job)->match.name, (job)->lease.slot, (job)->lease.pid, what, next, asked_for(job))

/* --- what came of it --- */

static bool idempotent(const request_rec *r)
{
    return r->method_number == M_GET || r->method_number == M_OPTIONS; /* HEAD is M_GET */
}

/* Seconds until the next start of an application that fails, else what a queue needs. */
static int retry_after(const job_t *job)
{
    uint32_t pool = fcgipm_board_route(job->board, job->pool);
    apr_time_t now = fcgipm_clock_steady_us(), at;

    if (pool >= FCGIPM_POOLS_MAX) /* it has none yet */
        return 2;
    at = (apr_time_t)fcgipm_atom_get(&job->board->pool[pool].retry_us);

    return at > now && at - now < apr_time_from_sec(3600) ? (int)apr_time_sec(at - now) + 1 : 2;
}

/* An overload is told, but not a thousand times a second. */
static fcgipm_limit_t refusals;

static int unavailable(job_t *job, const char *number)
{
    request_rec *r = job->r;
    unsigned dropped;

    if (fcgipm_limit_allow(&refusals, job->pool, REFUSALS_PER_SECOND, &dropped))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "%s: pool %s: %s; answered 503 (%s%s)", number,
                      job->match.name, job->fault.sentence, asked_for(job),
                      dropped ? apr_psprintf(r->pool, ", and %u others before", dropped) : "");
    apr_table_setn(r->err_headers_out, "Retry-After", apr_itoa(r->pool, retry_after(job)));
    fcgipm_stat_failed_add(job->board, job->pool, 1);
    return HTTP_SERVICE_UNAVAILABLE;
}

/* A client that has left gets nothing; the access log shall show what happened. */
static int gone(job_t *job)
{
    request_rec *r = job->r;

    if (job->filter_failed)
        return AP_FILTER_ERROR; /* httpd knows what it has done about it */
    fcgipm_stat_client_gone_add(job->board, job->pool, 1);
    if (job->reply)
        fcgipm_reply_abandon(job->reply);
    r->connection->aborted = 1;
    r->connection->keepalive = AP_CONN_CLOSE;
    if (!job->reply || !fcgipm_reply_begun(job->reply)) {
        r->status = 499;
        r->status_line = "499 Client Closed Request";
    }
    return OK;
}

static int not_leased(job_t *job, apr_status_t rv)
{
    if (rv == APR_ECONNABORTED)
        return gone(job);
    if (rv == APR_EBUSY)
        return unavailable(job, "FPM0600");
    if (rv == APR_TIMEUP)
        return unavailable(job, "FPM0601");
    if (rv == APR_ENOPROC)
        return unavailable(job, "FPM0602");
    return unavailable(job, "FPM0603");
}

static bool begin_trace(job_t *job)
{
    if (!(fcgipm_atom_peek(&job->board->pool[job->lease.pool].flags) & FCGIPM_POOL_TRACED))
        return false;
    if (!job->trace)
        job->trace = apr_palloc(job->r->pool, sizeof *job->trace);
    fcgipm_trace_begin(job->trace, job->r, job->match.name, job->lease.slot, job->lease.pid);
    return true;
}

static void begin_exchange(job_t *job)
{
    const fcgipm_setting_t *s = job->setting;

    job->full = false;
    job->lease.what = apr_pstrcat(job->r->pool, job->r->method, " ", job->r->unparsed_uri, NULL);
    if (!job->lease.sent)
        job->params[FLAGS_AT] = job->lease.keep ? FCGIPM_KEEP_CONN : 0;
    fcgipm_errors_begin(&job->errors, job->r, job->match.name, job->board, job->lease.pool, job->lease.slot,
                        job->lease.pid);
    fcgipm_exchange_init(&job->x, &ops, job, job->lease.fd);
    job->x.head = job->params;
    job->x.head_len = job->params_len;
    job->x.head_ends = fcgipm_body_empty(job->body);
    fcgipm_exchange_sent(&job->x, job->lease.sent, job->lease.sent_us);
    job->x.read_us = s->read_us;
    job->x.firstbyte_us = s->firstbyte_us;
    job->x.slow_us = s->slow_us;
    job->x.traced = begin_trace(job);
    job->x.deadline_us = s->request_us ? fcgipm_clock_us() + s->request_us : 0;
}

typedef enum verdict { ANSWERED, DELIVER, AGAIN, GIVEN_UP } verdict_t;

static void count(const job_t *job, bool done)
{
    uint32_t pool = job->pool;
    fcgipm_board_stat_t *stat;

    if (done)
        fcgipm_stat_done_add(job->board, pool, 1);
    else
        fcgipm_stat_failed_add(job->board, pool, 1);
    fcgipm_stat_bytes_in_add(job->board, pool, job->x.result.body_sent);
    fcgipm_stat_bytes_out_add(job->board, pool, job->x.result.answer_read);
    if ((stat = fcgipm_stat_row(job->board, pool))) {
        fcgipm_stat_histogram_add(&stat->wait, job->lease.queue_us);
        fcgipm_stat_histogram_add(&stat->took, fcgipm_clock_us() - job->lease.since_us);
    }
}

/* Has the client seen nothing, and can the body be sent again? */
static bool can_repeat(const job_t *job)
{
    return !fcgipm_reply_begun(job->reply) && job->retries + 1 < TRIES_MAX &&
           fcgipm_body_rewind(job->body) == APR_SUCCESS;
}

/* PROMISES P1: what may be repeated is repeated as long as the client has seen nothing of an answer. */
static bool may_repeat(const job_t *job, apr_status_t rv)
{
    if (!can_repeat(job))
        return false;
    switch (job->x.fault.phase) {
    case FCGIPM_PHASE_NOTHING_SENT:
        return true;
    case FCGIPM_PHASE_SENT:
        return idempotent(job->r);
    default:
        return idempotent(job->r) && rv != APR_EGENERAL; /* who breaks the protocol does it again */
    }
}

static const char *what_next(const job_t *job)
{
    return fcgipm_reply_begun(job->reply) ? "the answer is cut off" : "answered 502";
}

static int deliver_all(job_t *job)
{
    int status;

    note(job, "fcgipm-spooled-bytes", fcgipm_reply_peak(job->reply));
    status = fcgipm_reply_finish(job->reply, true);
    if (fcgipm_reply_file_refused(job->reply)) { /* the application has done its part, and counts as done */
        LOG_JOB(job, APLOG_ERR, "FPM0681", 0, fcgipm_reply_fault(job->reply), "answered 502");
        fcgipm_stat_failed_add(job->board, job->pool, 1);
    } else if (fcgipm_reply_fault(job->reply))
        LOG_JOB(job, APLOG_ERR, "FPM0617", 0, fcgipm_reply_fault(job->reply), what_next(job));
    return status;
}

/* END_REQUEST came. */
static verdict_t on_end(job_t *job, int *status)
{
    const fcgipm_exchange_result_t *result = &job->x.result;
    bool complete = result->protocol_status == FCGIPM_STATUS_REQUEST_COMPLETE;
    fcgipm_lease_t was = job->lease;
    bool quick = complete && !job->deaf && fcgipm_reply_quick(job->reply);

    /* First the client: while the process is given on, the next request may come, and be found before the
     * connection goes back to the MPM. */
    if (quick)
        *status = deliver_all(job);
    job->lease.unread = result->unread;
    fcgipm_lease_release(job->link, &job->lease,
                         complete && result->reusable ? FCGIPM_LEASE_KEEP : FCGIPM_LEASE_CLOSE, complete);
    job->lease = was;
    job->lease.fd = -1;
    if (complete) {
        if (job->deaf) {
            *status = gone(job);
            return ANSWERED;
        }
        if (quick)
            return ANSWERED;
        if (fcgipm_reply_good(job->reply))
            return DELIVER;
        LOG_JOB(job, APLOG_ERR, "FPM0610", 0, fcgipm_reply_fault(job->reply), what_next(job));
        *status = fcgipm_reply_finish(job->reply, false);
        return GIVEN_UP;
    }
    /* The application says that it has not worked on it: any method may go elsewhere (FCGI 1.0 section 5.5).
     */
    if (result->protocol_status == FCGIPM_STATUS_OVERLOADED ||
        result->protocol_status == FCGIPM_STATUS_CANT_MPX_CONN) {
        if (can_repeat(job))
            return AGAIN;
        LOG_JOB(job, APLOG_ERR, "FPM0611", 0, "it refuses the request (overloaded)",
                fcgipm_reply_begun(job->reply) ? "the answer is cut off" : "answered 503");
        *status = fcgipm_reply_finish(job->reply, false);
        if (*status == HTTP_BAD_GATEWAY) {
            *status = HTTP_SERVICE_UNAVAILABLE;
            apr_table_setn(job->r->err_headers_out, "Retry-After", "5");
        }
        return GIVEN_UP;
    }
    LOG_JOB(job, APLOG_ERR, "FPM0612", 0,
            result->protocol_status == FCGIPM_STATUS_UNKNOWN_ROLE
                ? "it does not know the responder's role"
                : "it ended the request with an unknown status",
            what_next(job));
    *status = fcgipm_reply_finish(job->reply, false);
    return GIVEN_UP;
}

static void release(job_t *job, fcgipm_lease_end_t end)
{
    fcgipm_lease_t was = job->lease;

    fcgipm_lease_release(job->link, &job->lease, end, false);
    job->lease = was; /* for the log */
    job->lease.fd = -1;
}

static void linger(job_t *job)
{
    apr_interval_time_t limit = job->setting->request_us ? job->setting->request_us : LINGER_MAX_US;
    fcgipm_lease_t was = job->lease;

    fcgipm_exchange_linger(&job->x, job->link, &job->lease, LINGER_US, limit);
    job->lease = was;
    job->lease.fd = -1;
}

static verdict_t on_timeout(job_t *job, int *status)
{
    if (fcgipm_exchange_starved(&job->x) || fcgipm_exchange_full(&job->x)) {
        linger(job); /* it is the client that it waits for */
        LOG_JOB(job, APLOG_ERR, "FPM0619", 0, job->x.fault.sentence,
                fcgipm_reply_begun(job->reply) ? "it waited for the client; the answer is cut off"
                                               : "it waited for the client; answered 504");
    } else {
        release(job, FCGIPM_LEASE_HUNG);
        LOG_JOB(job, APLOG_ERR, "FPM0613", 0, job->x.fault.sentence,
                job->setting->connect
                    ? (fcgipm_reply_begun(job->reply) ? "the answer is cut off" : "answered 504")
                : fcgipm_reply_begun(job->reply) ? "the answer is cut off and the process is replaced"
                                                 : "answered 504 and the process is replaced");
    }
    *status = fcgipm_reply_finish(job->reply, false);
    if (*status == HTTP_BAD_GATEWAY)
        *status = HTTP_GATEWAY_TIME_OUT;
    return GIVEN_UP;
}

static verdict_t on_client_gone(job_t *job, int *status)
{
    linger(job);
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, job->r,
                  "FPM0614: pool %s slot %u pid %u: the client has left; the request is aborted",
                  job->match.name, job->lease.slot, job->lease.pid);
    *status = fcgipm_body_status(job->body);
    if (*status == OK || fcgipm_reply_begun(job->reply) || job->r->connection->aborted)
        *status = gone(job);
    return ANSWERED;
}

static verdict_t on_failure(job_t *job, apr_status_t rv, int *status)
{
    const char *refused = fcgipm_reply_fault(job->reply),
               *ours = fcgipm_lease_verdict(job->link, &job->lease);
    bool again = !refused && may_repeat(job, rv);

    release(job, ours ? FCGIPM_LEASE_CLOSE : FCGIPM_LEASE_BROKEN);
    refused = refused ? refused : ours;
    if (again) {
        LOG_JOB(job, APLOG_INFO, "FPM0615", 0, job->x.fault.sentence, "tried again");
        return AGAIN;
    }
    LOG_JOB(job, APLOG_ERR, "FPM0616", refused || rv == APR_EOF || rv == APR_EGENERAL ? 0 : rv,
            refused ? refused : job->x.fault.sentence, what_next(job));
    *status = fcgipm_reply_finish(job->reply, false);
    return GIVEN_UP;
}

static verdict_t judge(job_t *job, apr_status_t rv, int *status)
{
    fcgipm_errors_end(&job->errors);
    if (rv == APR_SUCCESS)
        return on_end(job, status);
    if (rv == APR_TIMEUP)
        return on_timeout(job, status);
    if (rv == APR_ECONNABORTED && !fcgipm_reply_fault(job->reply))
        return on_client_gone(job, status);
    return on_failure(job, rv, status);
}

/* --- the stages --- */

#define GO_ON (-1000) /* to the next stage; other values are the handler's, SUSPENDED: wait for job->need */

static apr_time_t earlier(apr_time_t a, apr_time_t b)
{
    return a < b ? a : b;
}

static int wait_for(job_t *job, int fd, short events, short client, apr_time_t until_us)
{
    job->need.fd = fd;
    job->need.events = events;
    job->need.client = job->client_fd < 0 ? 0 : client;
    job->need.until_us = until_us;
    return SUSPENDED;
}

/* The events of a client that leaves. */
static short leaving(const job_t *job)
{
    return may_finish(job) ? 0 : POLLRDHUP;
}

/* Has he? Asked when something happened at his socket, and twice a second. */
static bool has_left(job_t *job)
{
    if (!job->client_event && fcgipm_clock_us() - job->asked_us < GONE_ASK_US)
        return false;
    job->client_event = false;
    return !job->deaf && on_gone(job);
}

/* When nothing of the body has come for httpd's Timeout: a read that does not wait knows no limit. */
static apr_time_t body_limit(job_t *job)
{
    if (!job->body_us || job->body_reads != fcgipm_body_reads(job->body))
        job->body_us = fcgipm_clock_us();
    job->body_reads = fcgipm_body_reads(job->body);
    return job->body_us + job->r->server->timeout;
}

static int step_body(job_t *job)
{
    int status = fcgipm_body_read(job->body, !job->may_suspend);

    if (status == SUSPENDED) {
        apr_time_t limit_us = body_limit(job), ask_us = fcgipm_clock_us() + BODY_ASK_US;

        return fcgipm_clock_us() >= limit_us ? fcgipm_body_late(job->body)
                                             : wait_for(job, -1, 0, POLLIN, earlier(limit_us, ask_us));
    }
    if (status != OK)
        return status;
    job->stage = STAGE_SEND;
    return GO_ON;
}

/* It has no row, so there is nothing to count it in. */
static int no_room(job_t *job)
{
    static fcgipm_limit_t crowded;
    unsigned dropped;

    if (fcgipm_limit_allow(&crowded, 0, REFUSALS_PER_SECOND, &dropped))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, job->r,
                      "FPM0622: pool %s: there was no room for it at the last reload; answered 503",
                      job->match.name);
    apr_table_setn(job->r->err_headers_out, "Retry-After", "30");
    return HTTP_SERVICE_UNAVAILABLE;
}

/* It is asked for: once it is looked at whether it may be. When half of httpd's threads wait for one there is
 * no room, for those at least; somebody else may get his, which does not take long. */
static int begin_demand(job_t *job)
{
    int status = fcgipm_match_account(job->r, &job->match);

    job->pool = FCGIPM_NO_POOL; /* nothing is counted for it */
    if (status != OK)
        return status;
    job->patient = job->may_suspend || fcgipm_portion_wait(job->board, fcgipm_link_child(job->link));
    job->demand =
        (fcgipm_lease_demand_t){.until_us = fcgipm_clock_us() + (job->patient ? DEMAND_US : HASTY_US)};
    return GO_ON;
}

static int end_demand(job_t *job, int status)
{
    if (job->patient && !job->may_suspend)
        fcgipm_portion_waited(job->board, fcgipm_link_child(job->link));
    job->demand = (fcgipm_lease_demand_t){0};
    return status;
}

/* GO_ON, SUSPENDED while it is being made, or the handler's status. */
static int find_on_demand(job_t *job)
{
    const fcgipm_lease_ask_t *ask = job->match.ask;
    apr_status_t rv;
    int status;

    if (!job->demand.until_us && fcgipm_demand_find(job->board, &ask->what, &job->pool, &job->life))
        return GO_ON;
    if (!job->demand.until_us && (status = begin_demand(job)) != GO_ON)
        return status;
    if (has_left(job))
        return end_demand(job, gone(job));
    rv = fcgipm_lease_demand(job->link, ask, &job->demand, &job->pool, &job->life, &job->fault);
    if (rv == APR_EAGAIN)
        return wait_for(job, -1, 0, leaving(job), job->demand.wake_us);
    if (rv == APR_TIMEUP && !job->patient) {
        fcgipm_fault_set(
            &job->fault, rv, "demand",
            "there is no room for another pool, and half of httpd's threads wait for it already");
        return end_demand(job, unavailable(job, "FPM0712"));
    }
    return end_demand(job, rv == APR_SUCCESS ? GO_ON : unavailable(job, "FPM0604"));
}

static int find_pool(job_t *job)
{
    int status;

    if (!job->match.ask) {
        job->pool = job->match.pool->world.index;
        return job->pool != FCGIPM_NO_POOL ? GO_ON : no_room(job);
    }
    if ((status = find_on_demand(job)) == GO_ON)
        job->match.name = apr_pstrndup(job->r->pool, job->board->pool[job->pool].name,
                                       sizeof job->board->pool[job->pool].name - 1);
    return status;
}

static void begin_lease(job_t *job)
{
    job->params[FLAGS_AT] = FCGIPM_KEEP_CONN; /* who hands a connection over keeps it */
    job->wish = (fcgipm_wish_t){.pool = job->pool,
                                .life = job->life,
                                .opening = job->params,
                                .opening_len = job->params_len,
                                .opening_ends = fcgipm_body_empty(job->body),
                                .setting = job->setting,
                                .share = fcgipm_portion_of(&job->match),
                                .user_queue = fcgipm_portion_user_queue(),
                                .fresh = !idempotent(job->r),
                                .alone = job->client_fd < 0,
                                .avoid_seat_slot = job->avoid,
                                .gone = on_gone,
                                .ctx = job};
    fcgipm_attempt_begin(&job->attempt, job->link, &job->lease, &job->wish, &job->fault);
    job->stage = STAGE_LEASE;
}

static int step_send(job_t *job)
{
    request_rec *r = job->r;
    int status = find_pool(job);

    if (status != GO_ON)
        return status;
    if (job->reply) { /* its pool had gone: the same once more */
        begin_lease(job);
        return GO_ON;
    }
    if (fcgipm_params_build(r, &job->match, fcgipm_body_length(job->body), fcgipm_body_empty(job->body),
                            &job->params, &job->params_len) != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FPM0606: the request's variables cannot be sent to pool %s; answered 500",
                      job->match.name);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    job->reply = fcgipm_reply_create(r, job->setting, job->match.name, job->client_fd);
    if (!job->may_suspend && !fcgipm_portion_enter(job->pool, &job->match, job->board,
                                                   fcgipm_link_child(job->link), r->pool, &job->fault))
        return unavailable(job, "FPM0618");
    begin_lease(job);
    return GO_ON;
}

/* An index that was given to another pool since this child's configuration was read must not get its
 * requests. */
static bool right_pool(const job_t *job)
{
    if (job->match.ask)
        return fcgipm_lease_lives(job->link, &job->lease);
    return fcgipm_atom_get(&job->board->pool[job->lease.pool].key) == job->match.pool->world.key;
}

/* A pool that was made on demand has gone while we were about to use it: there will be another one. */
static bool has_gone(job_t *job)
{
    return job->match.ask && job->finds++ < FINDS_MAX &&
           (!fcgipm_demand_lives(job->board, job->pool, job->life) ||
            fcgipm_atom_get(&job->board->pool[job->pool].state) == FCGIPM_POOL_DRAINING);
}

static int step_lease(job_t *job)
{
    fcgipm_attempt_t *a = &job->attempt;
    apr_status_t rv;

    if (has_left(job)) {
        fcgipm_attempt_cancel(a);
        return gone(job);
    }
    if (job->nest) /* a connection that fails is closed in there */
        fcgipm_nest_app(job->nest, -1, 0);
    rv = fcgipm_attempt_step(a);
    if (rv == APR_EAGAIN && a->state == FCGIPM_ATTEMPT_QUEUED)
        return wait_for(job, -1, 0, leaving(job), a->until_us ? a->until_us : NEVER);
    if (rv == APR_EAGAIN)
        return wait_for(job, a->state == FCGIPM_ATTEMPT_CONNECT ? a->poll_fd : -1, POLLOUT, leaving(job),
                        a->wake_us);
    if (rv == APR_SUCCESS && !right_pool(job)) {
        fcgipm_lease_release(job->link, &job->lease, FCGIPM_LEASE_CLOSE, false);
        rv = fcgipm_fault_set(&job->fault, APR_ENOPROC, "pool", "its place is another pool's now");
    }
    if (rv == APR_ENOPROC && has_gone(job)) {
        job->stage = STAGE_SEND;
        return GO_ON;
    }
    if (rv != APR_SUCCESS)
        return not_leased(job, rv);
    write_notes(job);
    begin_exchange(job);
    job->stage = STAGE_EXCHANGE;
    return GO_ON;
}

static void prepare_again(job_t *job)
{
    job->retries++;
    job->avoid = job->lease.slot;
    fcgipm_stat_retried_add(job->board, job->pool, 1);
    fcgipm_reply_reset(job->reply);
    fcgipm_body_rewind(job->body);
    begin_lease(job);
}

static int exchanged(job_t *job, apr_status_t rv)
{
    int status = HTTP_INTERNAL_SERVER_ERROR;
    verdict_t verdict;

    if (job->nest)
        fcgipm_nest_app(job->nest, -1, 0); /* before somebody else has it */
    write_times(job);
    verdict = judge(job, rv, &status);
    if (verdict == AGAIN) {
        prepare_again(job);
        return GO_ON;
    }
    count(job, verdict != GIVEN_UP);
    if (verdict != DELIVER)
        return status;
    job->stage = STAGE_DELIVER;
    return GO_ON;
}

/* Also where there is never room enough for an event: then fewer bytes are on their way. */
static bool takes_something(job_t *job)
{
    apr_uint64_t passed = fcgipm_reply_passed(job->reply);
    int left = fcgipm_peer_unacked(client_descriptor(job->r));
    bool takes = !job->stalled_us || passed != job->passed || left != job->unacked || job->client_writable;

    job->passed = passed;
    job->unacked = left;
    job->client_writable = false;
    return takes;
}

/* Has the client taken nothing of what waits for it for httpd's Timeout? */
static bool stalled(job_t *job)
{
    apr_time_t now = fcgipm_clock_us();

    if (!fcgipm_reply_waits(job->reply)) {
        job->stalled_us = 0;
        return false;
    }
    if (takes_something(job))
        job->stalled_us = now;
    if (now - job->stalled_us < job->r->server->timeout)
        return false;
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, job->r,
                  "FPM0609: pool %s: the client has taken nothing of the answer for httpd's Timeout; the "
                  "connection is closed",
                  job->match.name);
    return true;
}

static apr_time_t stalled_until(const job_t *job)
{
    return fcgipm_reply_waits(job->reply) && job->stalled_us ? job->stalled_us + job->r->server->timeout
                                                             : NEVER;
}

/* How long until the body is asked for again without an event. */
static apr_interval_time_t body_pause(const job_t *job)
{
    return job->client_fd < 0 ? BODY_RETRY_US : BODY_ASK_US;
}

/* A body that is streamed and does not come. */
static bool starves(job_t *job)
{
    if (!fcgipm_exchange_starved(&job->x)) {
        job->body_us = 0;
        return false;
    }
    if (fcgipm_clock_us() < body_limit(job))
        return false;
    (void)fcgipm_body_late(job->body);
    return true;
}

static int step_exchange(job_t *job)
{
    short events = 0, client = 0;
    apr_time_t until_us;
    apr_status_t rv = APR_EAGAIN;

    if (has_left(job) || (!job->deaf && (stalled(job) || starves(job))))
        return exchanged(job, fcgipm_exchange_left(&job->x));
    if (!job->deaf)
        rv = client_left(job, fcgipm_reply_push(job->reply));
    if (rv != APR_SUCCESS && rv != APR_EAGAIN) {
        (void)fcgipm_exchange_left(&job->x);
        return exchanged(job, rv);
    }
    rv = fcgipm_exchange_full(&job->x) && fcgipm_lease_verdict(job->link, &job->lease)
             ? fcgipm_exchange_cut(&job->x)
             : fcgipm_exchange_step(&job->x, &events);
    if (rv != APR_EAGAIN)
        return exchanged(job, rv);
    if (job->full != fcgipm_exchange_full(&job->x)) {
        job->full = !job->full;
        fcgipm_lease_full(job->link, &job->lease, job->full);
    }
    until_us = fcgipm_exchange_limit(&job->x);
    if (!job->deaf) {
        (void)stalled(job);
        client = leaving(job);
        client = (short)(client | (fcgipm_reply_waits(job->reply) ? POLLOUT : 0));
        client = (short)(client | (fcgipm_exchange_starved(&job->x) ? POLLIN : 0));
        if (fcgipm_reply_due_us(job->reply) < until_us)
            until_us = fcgipm_reply_due_us(job->reply);
        if (job->lease.shared && fcgipm_exchange_full(&job->x) && fcgipm_clock_us() + GONE_ASK_US < until_us)
            until_us = fcgipm_clock_us() + GONE_ASK_US; /* its end is no event while it is not read */
        if (stalled_until(job) < until_us)
            until_us = stalled_until(job);
        if (fcgipm_exchange_starved(&job->x) && fcgipm_clock_us() + body_pause(job) < until_us)
            until_us = fcgipm_clock_us() + body_pause(job);
    }
    return wait_for(job, job->x.fd, events, client, until_us);
}

static int step_deliver(job_t *job)
{
    apr_status_t rv;

    if (has_left(job) || stalled(job))
        return gone(job);
    rv = fcgipm_reply_deliver(job->reply);
    if (rv == APR_EAGAIN) {
        (void)stalled(job);
        return wait_for(job, -1, 0, (short)(leaving(job) | POLLOUT), stalled_until(job));
    }
    if (rv != APR_SUCCESS && !fcgipm_reply_fault(job->reply)) {
        note_filter(job, rv);
        return gone(job);
    }
    return deliver_all(job);
}

/* Until it is over, or waits (SUSPENDED). */
static int advance(job_t *job)
{
    int status;

    do {
        switch (job->stage) {
        case STAGE_BODY:
            status = step_body(job);
            break;
        case STAGE_SEND:
            status = step_send(job);
            break;
        case STAGE_LEASE:
            status = step_lease(job);
            break;
        case STAGE_EXCHANGE:
            status = step_exchange(job);
            break;
        default:
            status = step_deliver(job);
            break;
        }
    } while (status == GO_ON);
    if (status != SUSPENDED)
        fcgipm_body_done(job->body);
    return status;
}

/* --- waiting --- */

static fcgipm_atom32_t in_grace; /* threads of this child that wait for what is about to come */

static int poll_ms(apr_interval_time_t us)
{
    return us <= 0 ? 0 : (int)earlier((us + 999) / 1000, 3600000);
}

static apr_status_t end_nest(void *ctx)
{
    job_t *job = ctx;

    fcgipm_nest_put(job->nest);
    job->nest = NULL;
    return APR_SUCCESS;
}

static bool get_nest(job_t *job)
{
    if (job->nest)
        return true;
    if (!(job->nest = fcgipm_nest_get()))
        return false;
    apr_pool_cleanup_register(job->r->pool, job, end_nest, apr_pool_cleanup_null);
    return true;
}

static bool in_queue(const job_t *job)
{
    return job->stage == STAGE_LEASE && job->attempt.state == FCGIPM_ATTEMPT_QUEUED;
}

/* In this thread, at most limit_us. False: nothing has happened. */
static bool block(job_t *job, apr_interval_time_t limit_us)
{
    apr_time_t now = fcgipm_clock_us();
    struct pollfd pfds[2] = {{.fd = job->need.fd, .events = job->need.events},
                             {.fd = job->need.client ? job->client_fd : -1, .events = job->need.client}};
    apr_interval_time_t left_us = earlier(job->need.until_us - now, limit_us);
    bool whole = left_us < limit_us;
    int n;

    if (job->demand.until_us)
        return fcgipm_lease_demand_sleep(job->link, &job->demand, earlier(limit_us, GONE_ASK_US));
    if (in_queue(job)) {
        if (fcgipm_attempt_sleeps(&job->attempt, fcgipm_portion_grace() > 1) || !get_nest(job))
            return fcgipm_attempt_sleep(&job->attempt, limit_us);
        fcgipm_nest_arm(job->nest, 0);
        if (!fcgipm_attempt_park(&job->attempt, job->nest))
            return true;
        pfds[0] = (struct pollfd){.fd = job->nest->epoll, .events = POLLIN};
    }
    n = poll(pfds, 2, poll_ms(earlier(left_us, GONE_ASK_US)));
    fcgipm_attempt_unpark(&job->attempt);
    job->client_event = n > 0 && pfds[1].revents;
    job->client_writable = n > 0 && (pfds[1].revents & POLLOUT);
    return n > 0 || whole || limit_us > GONE_ASK_US;
}

/* What is about to come is worth a moment in the thread, as long as httpd has threads for others: most
 * applications answer, and most clients read, sooner than a request can be put aside and taken up again. */
static bool comes_soon(job_t *job)
{
    apr_time_t begun = fcgipm_clock_us();
    bool came;

    if (job->graced != job->stage) {
        job->graced = job->stage;
        job->grace_us = GRACE_US;
    }
    if (job->grace_us <= 0)
        return false;
    if (fcgipm_atom_add(&in_grace, 1) >= fcgipm_portion_grace()) {
        fcgipm_atom_sub(&in_grace, 1);
        return false;
    }
    came = block(job, job->grace_us);
    fcgipm_atom_sub(&in_grace, 1);
    job->grace_us -= fcgipm_clock_us() - begun;
    return came;
}

static void leave_all(void *ctx)
{
    job_t *job = ctx;

    if (job->stage == STAGE_EXCHANGE && job->lease.fd >= 0) {
        exchanged(job, fcgipm_exchange_left(&job->x));
        return;
    }
    if (job->stage == STAGE_LEASE)
        fcgipm_attempt_cancel(&job->attempt);
    gone(job);
}

static int proceed(job_t *job);

static int resume(void *ctx)
{
    job_t *job = ctx;
    short events = fcgipm_nest_look(job->nest);

    fcgipm_attempt_unpark(&job->attempt);
    job->client_event = events != 0;
    job->client_writable = (events & POLLOUT) != 0;
    return proceed(job);
}

/* False: there is something to do already. */
static bool suspend(job_t *job)
{
    apr_time_t now = fcgipm_clock_us();
    apr_interval_time_t after_us = earlier(job->need.until_us - now, fcgipm_async_limit(job->r));

    if (!get_nest(job) || !fcgipm_nest_app(job->nest, job->need.fd, job->need.events) ||
        !fcgipm_nest_client(job->nest, job->client_fd, job->need.client)) {
        block(job, NEVER); /* no descriptors left */
        return false;
    }
    fcgipm_nest_arm(job->nest, after_us > 0 ? after_us : 1);
    if (in_queue(job) && !fcgipm_attempt_park(&job->attempt, job->nest))
        return false;
    fcgipm_async_suspend(job->r, job->nest, resume, leave_all, job);
    return true;
}

static int proceed(job_t *job)
{
    for (;;) {
        int status = advance(job);

        if (status != SUSPENDED)
            return status;
        if (!job->may_suspend)
            block(job, NEVER);
        else if (!comes_soon(job) && suspend(job))
            return SUSPENDED;
    }
}

/* --- */

int fcgipm_job_handler(request_rec *r)
{
    fcgipm_match_t match;
    int status = fcgipm_match_request(r, &match);
    job_t *job;

    if (status != OK)
        return status;
    job = apr_pcalloc(r->pool, sizeof *job);
    job->r = r;
    job->match = match;
    job->avoid = UINT32_MAX;
    job->pool = FCGIPM_NO_POOL;
    job->started = job->asked_us = fcgipm_clock_us();
    job->link = fcgipm_guard_link();
    job->board = (fcgipm_board_t *)(uintptr_t)fcgipm_guard_board();
    job->client_fd = client_descriptor(r);
    job->stage = STAGE_BODY;
    job->graced = STAGE_NONE;
    job->lease.fd = -1;
    fcgipm_fault_clear(&job->fault);
    if (!job->link || !job->board) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FPM0605: this httpd child has no link to the applications");
        return HTTP_SERVICE_UNAVAILABLE;
    }
    job->setting = match.script ? fcgipm_directive_server(r->server)->script : match.pool->setting;
    job->body = fcgipm_body_create(r, job->setting->body_memory_bytes, job->setting->body_streams);
    fcgipm_body_limit(job->body, match.body_max);
    job->may_suspend = fcgipm_async_possible(r);
    status = proceed(job);
    if (status != SUSPENDED || !r->prev)
        return status;
    fcgipm_async_return(r);
    return OK;
}
