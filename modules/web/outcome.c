/* SPDX-License-Identifier: Apache-2.0 */
#include "web/outcome.h"

#include <http_log.h>

#include "core/clock.h"
#include "share/stat.h"

APLOG_USE_MODULE(fcgipm);

#define TRIES_MAX     3
#define LINGER_US     apr_time_from_sec(2) /* for an application whose client has left to notice */
#define LINGER_MAX_US apr_time_from_sec(60)

/* The one line of a request that went wrong. */
#define LOG_JOB(job, level, number, rv, what, next)                                                          \
    ap_log_rerror(APLOG_MARK, level, rv, (job)->r, number ": pool %s slot %u pid %u: %s; %s (%s)",           \
                  (job)->match.name, (job)->lease.slot, (job)->lease.pid, what, next,                        \
                  fcgipm_job_asked_for(job))

static void count(const fcgipm_job_t *job, bool done)
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
static bool can_repeat(const fcgipm_job_t *job)
{
    return !fcgipm_reply_begun(job->reply) && job->retries + 1 < TRIES_MAX &&
           fcgipm_body_rewind(job->body) == APR_SUCCESS;
}

/* PROMISES P1: what may be repeated is repeated as long as the client has seen nothing of an answer. */
static bool may_repeat(const fcgipm_job_t *job, apr_status_t rv)
{
    if (!can_repeat(job))
        return false;
    switch (job->x.fault.phase) {
    case FCGIPM_PHASE_NOTHING_SENT:
        return true;
    case FCGIPM_PHASE_SENT:
        return fcgipm_job_idempotent(job->r);
    default:
        return fcgipm_job_idempotent(job->r) &&
               rv != APR_EGENERAL; /* who breaks the protocol does it again */
    }
}

static const char *what_next(const fcgipm_job_t *job)
{
    return fcgipm_reply_begun(job->reply) ? "the answer is cut off" : "answered 502";
}

int fcgipm_outcome_deliver(fcgipm_job_t *job)
{
    int status;

    fcgipm_job_note(job, "fcgipm-spooled-bytes", fcgipm_reply_peak(job->reply));
    status = fcgipm_reply_finish(job->reply, true);
    if (fcgipm_reply_file_refused(job->reply)) { /* the application has done its part, and counts as done */
        LOG_JOB(job, APLOG_ERR, "FPM0681", 0, fcgipm_reply_fault(job->reply), "answered 502");
        fcgipm_stat_failed_add(job->board, job->pool, 1);
    } else if (fcgipm_reply_fault(job->reply))
        LOG_JOB(job, APLOG_ERR, "FPM0617", 0, fcgipm_reply_fault(job->reply), what_next(job));
    return status;
}

static void release(fcgipm_job_t *job, fcgipm_lease_end_t end, bool complete)
{
    fcgipm_lease_t was = job->lease;

    fcgipm_lease_release(job->link, &job->lease, end, complete);
    job->lease = was; /* for the log */
    job->lease.fd = -1;
}

/* END_REQUEST came, and not with REQUEST_COMPLETE. */
static fcgipm_outcome_t on_refusal(fcgipm_job_t *job, int *status)
{
    unsigned why = job->x.result.protocol_status;
    bool busy = why == FCGIPM_STATUS_OVERLOADED || why == FCGIPM_STATUS_CANT_MPX_CONN;

    /* The application says that it has not worked on it: any method may go elsewhere (FCGI 1.0 section 5.5).
     */
    if (busy && can_repeat(job))
        return FCGIPM_OUTCOME_AGAIN;
    if (busy)
        LOG_JOB(job, APLOG_ERR, "FPM0611", 0, "it refuses the request (overloaded)",
                fcgipm_reply_begun(job->reply) ? "the answer is cut off" : "answered 503");
    else
        LOG_JOB(job, APLOG_ERR, "FPM0612", 0,
                why == FCGIPM_STATUS_UNKNOWN_ROLE ? "it does not know the responder's role"
                                                  : "it ended the request with an unknown status",
                what_next(job));
    *status = fcgipm_reply_finish(job->reply, false);
    if (busy && *status == HTTP_BAD_GATEWAY) {
        *status = HTTP_SERVICE_UNAVAILABLE;
        apr_table_setn(job->r->err_headers_out, "Retry-After", "5");
    }
    return FCGIPM_OUTCOME_GIVEN_UP;
}

/* END_REQUEST came. */
static fcgipm_outcome_t on_end(fcgipm_job_t *job, int *status)
{
    const fcgipm_exchange_result_t *result = &job->x.result;
    bool complete = result->protocol_status == FCGIPM_STATUS_REQUEST_COMPLETE;
    bool quick = complete && !job->deaf && fcgipm_reply_quick(job->reply);

    /* First the client: while the process is given on, the next request may come, and be found before the
     * connection goes back to the MPM. */
    if (quick)
        *status = fcgipm_outcome_deliver(job);
    job->lease.unread = result->unread;
    release(job, complete && result->reusable ? FCGIPM_LEASE_KEEP : FCGIPM_LEASE_CLOSE, complete);
    if (!complete)
        return on_refusal(job, status);
    if (job->deaf)
        *status = fcgipm_job_gone(job);
    if (job->deaf || quick)
        return FCGIPM_OUTCOME_ANSWERED;
    if (fcgipm_reply_good(job->reply))
        return FCGIPM_OUTCOME_DELIVER;
    LOG_JOB(job, APLOG_ERR, "FPM0610", 0, fcgipm_reply_fault(job->reply), what_next(job));
    *status = fcgipm_reply_finish(job->reply, false);
    return FCGIPM_OUTCOME_GIVEN_UP;
}

static void linger(fcgipm_job_t *job)
{
    apr_interval_time_t limit = job->setting->request_us ? job->setting->request_us : LINGER_MAX_US;
    fcgipm_lease_t was = job->lease;

    fcgipm_exchange_linger(&job->x, job->link, &job->lease, LINGER_US, limit);
    job->lease = was;
    job->lease.fd = -1;
}

static fcgipm_outcome_t on_timeout(fcgipm_job_t *job, int *status)
{
    if (fcgipm_exchange_starved(&job->x) || fcgipm_exchange_full(&job->x)) {
        linger(job); /* it is the client that it waits for */
        LOG_JOB(job, APLOG_ERR, "FPM0619", 0, job->x.fault.sentence,
                fcgipm_reply_begun(job->reply) ? "it waited for the client; the answer is cut off"
                                               : "it waited for the client; answered 504");
    } else {
        release(job, FCGIPM_LEASE_HUNG, false);
        LOG_JOB(job, APLOG_ERR, "FPM0613", 0, job->x.fault.sentence,
                job->setting->connect
                    ? (fcgipm_reply_begun(job->reply) ? "the answer is cut off" : "answered 504")
                : fcgipm_reply_begun(job->reply) ? "the answer is cut off and the process is replaced"
                                                 : "answered 504 and the process is replaced");
    }
    *status = fcgipm_reply_finish(job->reply, false);
    if (*status == HTTP_BAD_GATEWAY)
        *status = HTTP_GATEWAY_TIME_OUT;
    return FCGIPM_OUTCOME_GIVEN_UP;
}

static fcgipm_outcome_t on_client_gone(fcgipm_job_t *job, int *status)
{
    linger(job);
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, job->r,
                  "FPM0614: pool %s slot %u pid %u: the client has left; the request is aborted",
                  job->match.name, job->lease.slot, job->lease.pid);
    *status = fcgipm_body_status(job->body);
    if (*status == OK || fcgipm_reply_begun(job->reply) || job->r->connection->aborted)
        *status = fcgipm_job_gone(job);
    return FCGIPM_OUTCOME_ANSWERED;
}

static fcgipm_outcome_t on_failure(fcgipm_job_t *job, apr_status_t rv, int *status)
{
    const char *refused = fcgipm_reply_fault(job->reply),
               *ours = fcgipm_lease_verdict(job->link, &job->lease);
    bool again = !refused && may_repeat(job, rv);

    release(job, ours ? FCGIPM_LEASE_CLOSE : FCGIPM_LEASE_BROKEN, false);
    refused = refused ? refused : ours;
    if (again) {
        LOG_JOB(job, APLOG_INFO, "FPM0615", 0, job->x.fault.sentence, "tried again");
        return FCGIPM_OUTCOME_AGAIN;
    }
    LOG_JOB(job, APLOG_ERR, "FPM0616", refused || rv == APR_EOF || rv == APR_EGENERAL ? 0 : rv,
            refused ? refused : job->x.fault.sentence, what_next(job));
    *status = fcgipm_reply_finish(job->reply, false);
    return FCGIPM_OUTCOME_GIVEN_UP;
}

static fcgipm_outcome_t judge(fcgipm_job_t *job, apr_status_t rv, int *status)
{
    if (rv == APR_SUCCESS)
        return on_end(job, status);
    if (rv == APR_TIMEUP)
        return on_timeout(job, status);
    if (rv == APR_ECONNABORTED && !fcgipm_reply_fault(job->reply))
        return on_client_gone(job, status);
    return on_failure(job, rv, status);
}

fcgipm_outcome_t fcgipm_outcome_of(fcgipm_job_t *job, apr_status_t rv, int *status)
{
    fcgipm_outcome_t outcome;

    fcgipm_errors_end(&job->errors);
    outcome = judge(job, rv, status);
    if (outcome != FCGIPM_OUTCOME_AGAIN)
        count(job, outcome != FCGIPM_OUTCOME_GIVEN_UP);
    return outcome;
}
