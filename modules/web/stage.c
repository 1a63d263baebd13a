/* SPDX-License-Identifier: Apache-2.0 */
#include "web/stage.h"

#include <poll.h>

#include <apr_strings.h>
#include <http_log.h>

#include "core/clock.h"
#include "link/peer.h"
#include "share/board.h"
#include "share/demand.h"
#include "share/stat.h"
#include "web/outcome.h"
#include "web/params.h"
#include "web/portion.h"

APLOG_USE_MODULE(fcgipm);

#define DEMAND_US     apr_time_from_sec(10)
#define HASTY_US      150000 /* what it takes to make one, and a little */
#define FINDS_MAX     3
#define FLAGS_AT      10                   /* in the params block: BEGIN_REQUEST's flags */
#define BODY_ASK_US   apr_time_from_sec(2) /* mod_reqtimeout counts only when it is asked */
#define BODY_RETRY_US 10000                /* HTTP/2 has no descriptor to wait for */

#define GO_ON (-1000) /* to the next stage; other values are the handler's, SUSPENDED: wait for job->need */

/* --- what the exchange asks for --- */

static char *on_buffer(void *ctx, size_t *cap)
{
    fcgipm_job_t *job = ctx;

    return fcgipm_reply_buffer(job->reply, cap);
}

/* What ends an answer is the client, or a filter of httpd that does not let it through. */
static void note_filter(fcgipm_job_t *job, apr_status_t rv)
{
    if (rv == APR_ECONNABORTED || job->r->connection->aborted || job->filter_failed)
        return;
    job->filter_failed = true;
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv == AP_FILTER_ERROR ? 0 : rv, job->r,
                  "FPM0608: pool %s: an output filter of httpd did not take the answer", job->match.name);
}

static apr_status_t client_left(fcgipm_job_t *job, apr_status_t rv)
{
    if (rv == APR_SUCCESS || rv == APR_EAGAIN || fcgipm_reply_fault(job->reply))
        return rv;
    note_filter(job, rv);
    job->deaf = fcgipm_job_may_finish(job);
    return job->deaf ? APR_SUCCESS : APR_ECONNABORTED;
}

static apr_status_t on_answer(void *ctx, char *data, size_t len)
{
    fcgipm_job_t *job = ctx;

    return job->deaf ? APR_SUCCESS : client_left(job, fcgipm_reply_answer(job->reply, data, len));
}

static apr_status_t on_pause(void *ctx)
{
    fcgipm_job_t *job = ctx;

    return job->deaf ? APR_SUCCESS : client_left(job, fcgipm_reply_pause(job->reply));
}

static void on_errors(void *ctx, const char *data, size_t len)
{
    fcgipm_job_t *job = ctx;

    fcgipm_errors_take(&job->errors, data, len);
}

static apr_status_t on_body(void *ctx, const char **data, size_t *len, bool *last)
{
    fcgipm_job_t *job = ctx;

    return fcgipm_body_next(job->body, data, len, last);
}

static bool on_peek(void *ctx)
{
    const fcgipm_job_t *job = ctx;

    return fcgipm_lease_waited(job->link, &job->lease);
}

static bool on_room(void *ctx)
{
    fcgipm_job_t *job = ctx;

    return job->deaf || fcgipm_reply_room(job->reply) ||
           (fcgipm_lease_wanted(job->link, &job->lease) && fcgipm_reply_hurry(job->reply));
}

/* A client that closes only its sending side has left too: no browser does that, and the two cannot be told
 * apart. */
static bool on_gone(void *ctx)
{
    fcgipm_job_t *job = ctx;
    struct pollfd client = {.fd = fcgipm_job_client(job->r), .events = POLLRDHUP};

    job->asked_us = fcgipm_clock_us();
    if (fcgipm_job_may_finish(job))
        return false;
    /* When httpd stops, its main thread closes the connections under us. */
    if (job->r->connection->aborted || (client.fd < 0 && !job->r->connection->master))
        return true;
    return client.fd >= 0 && poll(&client, 1, 0) > 0 && (client.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void on_slow(void *ctx)
{
    const fcgipm_job_t *job = ctx;

    fcgipm_lease_slow(job->link, &job->lease);
}

static void on_trace(void *ctx, bool out, const unsigned char *data, size_t len)
{
    fcgipm_trace_bytes(((fcgipm_job_t *)ctx)->trace, out, data, len);
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

/* --- the stages --- */

static int wait_for(fcgipm_job_t *job, int fd, short events, short client, apr_time_t until_us)
{
    job->need.fd = fd;
    job->need.events = events;
    job->need.client = job->client_fd < 0 ? 0 : client;
    job->need.until_us = until_us;
    return SUSPENDED;
}

/* The events of a client that leaves. */
static short leaving(const fcgipm_job_t *job)
{
    return fcgipm_job_may_finish(job) ? 0 : POLLRDHUP;
}

/* Has he? Asked when something happened at his socket, and twice a second. */
static bool has_left(fcgipm_job_t *job)
{
    if (!job->client_event && fcgipm_clock_us() - job->asked_us < FCGIPM_JOB_ASK_US)
        return false;
    job->client_event = false;
    return !job->deaf && on_gone(job);
}

/* When nothing of the body has come for httpd's Timeout: a read that does not wait knows no limit. */
static apr_time_t body_limit(fcgipm_job_t *job)
{
    if (!job->body_us || job->body_reads != fcgipm_body_reads(job->body))
        job->body_us = fcgipm_clock_us();
    job->body_reads = fcgipm_body_reads(job->body);
    return job->body_us + job->r->server->timeout;
}

static int step_body(fcgipm_job_t *job)
{
    int status = fcgipm_body_read(job->body, !job->may_suspend);

    if (status == SUSPENDED) {
        apr_time_t limit_us = body_limit(job), ask_us = fcgipm_clock_us() + BODY_ASK_US;

        return fcgipm_clock_us() >= limit_us
                   ? fcgipm_body_late(job->body)
                   : wait_for(job, -1, 0, POLLIN, fcgipm_job_earlier(limit_us, ask_us));
    }
    if (status != OK)
        return status;
    job->stage = FCGIPM_STAGE_SEND;
    return GO_ON;
}

/* It is asked for: once it is looked at whether it may be. When half of httpd's threads wait for one there is
 * no room, for those at least; somebody else may get his, which does not take long. */
static int begin_demand(fcgipm_job_t *job)
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

static int end_demand(fcgipm_job_t *job, int status)
{
    if (job->patient && !job->may_suspend)
        fcgipm_portion_waited(job->board, fcgipm_link_child(job->link));
    job->demand = (fcgipm_lease_demand_t){0};
    return status;
}

/* GO_ON, SUSPENDED while it is being made, or the handler's status. */
static int find_on_demand(fcgipm_job_t *job)
{
    const fcgipm_lease_ask_t *ask = job->match.ask;
    apr_status_t rv;
    int status;

    if (!job->demand.until_us && fcgipm_demand_find(job->board, &ask->what, &job->pool, &job->life))
        return GO_ON;
    if (!job->demand.until_us && (status = begin_demand(job)) != GO_ON)
        return status;
    if (has_left(job))
        return end_demand(job, fcgipm_job_gone(job));
    rv = fcgipm_lease_demand(job->link, ask, &job->demand, &job->pool, &job->life, &job->fault);
    if (rv == APR_EAGAIN)
        return wait_for(job, -1, 0, leaving(job), job->demand.wake_us);
    if (rv == APR_TIMEUP && !job->patient) {
        fcgipm_fault_set(
            &job->fault, rv, "demand",
            "there is no room for another pool, and half of httpd's threads wait for it already");
        return end_demand(job, fcgipm_job_unavailable(job, "FPM0712"));
    }
    return end_demand(job, rv == APR_SUCCESS ? GO_ON : fcgipm_job_unavailable(job, "FPM0604"));
}

static int find_pool(fcgipm_job_t *job)
{
    int status;

    if (!job->match.ask) {
        job->pool = job->match.pool->world.index;
        return job->pool != FCGIPM_NO_POOL ? GO_ON : fcgipm_job_no_room(job);
    }
    if ((status = find_on_demand(job)) == GO_ON)
        job->match.name = apr_pstrndup(job->r->pool, job->board->pool[job->pool].name,
                                       sizeof job->board->pool[job->pool].name - 1);
    return status;
}

static void begin_lease(fcgipm_job_t *job)
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
                                .fresh = !fcgipm_job_idempotent(job->r),
                                .alone = job->client_fd < 0,
                                .avoid_seat_slot = job->avoid,
                                .gone = on_gone,
                                .ctx = job};
    fcgipm_attempt_begin(&job->attempt, job->link, &job->lease, &job->wish, &job->fault);
    job->stage = FCGIPM_STAGE_LEASE;
}

static int step_send(fcgipm_job_t *job)
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
        return fcgipm_job_unavailable(job, "FPM0618");
    begin_lease(job);
    return GO_ON;
}

/* An index that was given to another pool since this child's configuration was read must not get its
 * requests. */
static bool right_pool(const fcgipm_job_t *job)
{
    if (job->match.ask)
        return fcgipm_lease_lives(job->link, &job->lease);
    return fcgipm_atom_get(&job->board->pool[job->lease.pool].key) == job->match.pool->world.key;
}

/* A pool that was made on demand has gone while we were about to use it: there will be another one. */
static bool has_gone(fcgipm_job_t *job)
{
    return job->match.ask && job->finds++ < FINDS_MAX &&
           (!fcgipm_demand_lives(job->board, job->pool, job->life) ||
            fcgipm_atom_get(&job->board->pool[job->pool].state) == FCGIPM_POOL_DRAINING);
}

static bool begin_trace(fcgipm_job_t *job)
{
    if (!(fcgipm_atom_peek(&job->board->pool[job->lease.pool].flags) & FCGIPM_POOL_TRACED))
        return false;
    if (!job->trace)
        job->trace = apr_palloc(job->r->pool, sizeof *job->trace);
    fcgipm_trace_begin(job->trace, job->r, job->match.name, job->lease.slot, job->lease.pid);
    return true;
}

static void begin_exchange(fcgipm_job_t *job)
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

static int not_leased(fcgipm_job_t *job, apr_status_t rv)
{
    if (rv == APR_ECONNABORTED)
        return fcgipm_job_gone(job);
    if (rv == APR_EBUSY)
        return fcgipm_job_unavailable(job, "FPM0600");
    if (rv == APR_TIMEUP)
        return fcgipm_job_unavailable(job, "FPM0601");
    if (rv == APR_ENOPROC)
        return fcgipm_job_unavailable(job, "FPM0602");
    return fcgipm_job_unavailable(job, "FPM0603");
}

static int step_lease(fcgipm_job_t *job)
{
    fcgipm_attempt_t *a = &job->attempt;
    apr_status_t rv;

    if (has_left(job)) {
        fcgipm_attempt_cancel(a);
        return fcgipm_job_gone(job);
    }
    if (job->nest) /* a connection that fails is closed in there */
        fcgipm_nest_app(job->nest, -1, 0);
    rv = fcgipm_attempt_step(a);
    if (rv == APR_EAGAIN && a->state == FCGIPM_ATTEMPT_QUEUED)
        return wait_for(job, -1, 0, leaving(job), a->until_us ? a->until_us : FCGIPM_JOB_NEVER);
    if (rv == APR_EAGAIN)
        return wait_for(job, a->state == FCGIPM_ATTEMPT_CONNECT ? a->poll_fd : -1, POLLOUT, leaving(job),
                        a->wake_us);
    if (rv == APR_SUCCESS && !right_pool(job)) {
        fcgipm_lease_release(job->link, &job->lease, FCGIPM_LEASE_CLOSE, false);
        rv = fcgipm_fault_set(&job->fault, APR_ENOPROC, "pool", "its place is another pool's now");
    }
    if (rv == APR_ENOPROC && has_gone(job)) {
        job->stage = FCGIPM_STAGE_SEND;
        return GO_ON;
    }
    if (rv != APR_SUCCESS)
        return not_leased(job, rv);
    fcgipm_job_write_notes(job);
    begin_exchange(job);
    job->stage = FCGIPM_STAGE_EXCHANGE;
    return GO_ON;
}

static void prepare_again(fcgipm_job_t *job)
{
    job->retries++;
    job->avoid = job->lease.slot;
    fcgipm_stat_retried_add(job->board, job->pool, 1);
    fcgipm_reply_reset(job->reply);
    fcgipm_body_rewind(job->body);
    begin_lease(job);
}

static int exchanged(fcgipm_job_t *job, apr_status_t rv)
{
    int status = HTTP_INTERNAL_SERVER_ERROR;
    fcgipm_outcome_t outcome;

    if (job->nest)
        fcgipm_nest_app(job->nest, -1, 0); /* before somebody else has it */
    fcgipm_job_write_times(job);
    outcome = fcgipm_outcome_of(job, rv, &status);
    if (outcome == FCGIPM_OUTCOME_AGAIN) {
        prepare_again(job);
        return GO_ON;
    }
    if (outcome != FCGIPM_OUTCOME_DELIVER)
        return status;
    job->stage = FCGIPM_STAGE_DELIVER;
    return GO_ON;
}

/* Also where there is never room enough for an event: then fewer bytes are on their way. */
static bool takes_something(fcgipm_job_t *job)
{
    apr_uint64_t passed = fcgipm_reply_passed(job->reply);
    int left = fcgipm_peer_unacked(fcgipm_job_client(job->r));
    bool takes = !job->stalled_us || passed != job->passed || left != job->unacked || job->client_writable;

    job->passed = passed;
    job->unacked = left;
    job->client_writable = false;
    return takes;
}

/* Has the client taken nothing of what waits for it for httpd's Timeout? */
static bool stalled(fcgipm_job_t *job)
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

static apr_time_t stalled_until(const fcgipm_job_t *job)
{
    return fcgipm_reply_waits(job->reply) && job->stalled_us ? job->stalled_us + job->r->server->timeout
                                                             : FCGIPM_JOB_NEVER;
}

/* How long until the body is asked for again without an event. */
static apr_interval_time_t body_pause(const fcgipm_job_t *job)
{
    return job->client_fd < 0 ? BODY_RETRY_US : BODY_ASK_US;
}

/* A body that is streamed and does not come. */
static bool starves(fcgipm_job_t *job)
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

static int step_exchange(fcgipm_job_t *job)
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
        if (job->lease.shared && fcgipm_exchange_full(&job->x) &&
            fcgipm_clock_us() + FCGIPM_JOB_ASK_US < until_us)
            until_us = fcgipm_clock_us() + FCGIPM_JOB_ASK_US; /* its end is no event while it is not read */
        if (stalled_until(job) < until_us)
            until_us = stalled_until(job);
        if (fcgipm_exchange_starved(&job->x) && fcgipm_clock_us() + body_pause(job) < until_us)
            until_us = fcgipm_clock_us() + body_pause(job);
    }
    return wait_for(job, job->x.fd, events, client, until_us);
}

static int step_deliver(fcgipm_job_t *job)
{
    apr_status_t rv;

    if (has_left(job) || stalled(job))
        return fcgipm_job_gone(job);
    rv = fcgipm_reply_deliver(job->reply);
    if (rv == APR_EAGAIN) {
        (void)stalled(job);
        return wait_for(job, -1, 0, (short)(leaving(job) | POLLOUT), stalled_until(job));
    }
    if (rv != APR_SUCCESS && !fcgipm_reply_fault(job->reply)) {
        note_filter(job, rv);
        return fcgipm_job_gone(job);
    }
    return fcgipm_outcome_deliver(job);
}

/* Until it is over, or waits (SUSPENDED). */
int fcgipm_stage_advance(fcgipm_job_t *job)
{
    int status;

    do {
        switch (job->stage) {
        case FCGIPM_STAGE_BODY:
            status = step_body(job);
            break;
        case FCGIPM_STAGE_SEND:
            status = step_send(job);
            break;
        case FCGIPM_STAGE_LEASE:
            status = step_lease(job);
            break;
        case FCGIPM_STAGE_EXCHANGE:
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

void fcgipm_stage_leave(void *ctx)
{
    fcgipm_job_t *job = ctx;

    if (job->stage == FCGIPM_STAGE_EXCHANGE && job->lease.fd >= 0) {
        exchanged(job, fcgipm_exchange_left(&job->x));
        return;
    }
    if (job->stage == FCGIPM_STAGE_LEASE)
        fcgipm_attempt_cancel(&job->attempt);
    fcgipm_job_gone(job);
}
