/* SPDX-License-Identifier: Apache-2.0 */
#include "web/handler.h"

#include <poll.h>

#include <http_log.h>

#include "core/clock.h"
#include "web/async.h"
#include "web/directive.h"
#include "web/guard.h"
#include "web/portion.h"
#include "web/stage.h"

APLOG_USE_MODULE(fcgipm);

#define GRACE_US 20000 /* in its thread, in each stage, before a request waits without one */

static fcgipm_atom32_t in_grace; /* threads of this child that wait for what is about to come */

static int poll_ms(apr_interval_time_t us)
{
    return us <= 0 ? 0 : (int)fcgipm_job_earlier((us + 999) / 1000, 3600000);
}

static apr_status_t end_nest(void *ctx)
{
    fcgipm_job_t *job = ctx;

    fcgipm_nest_put(job->nest);
    job->nest = NULL;
    return APR_SUCCESS;
}

static bool get_nest(fcgipm_job_t *job)
{
    if (job->nest)
        return true;
    if (!(job->nest = fcgipm_nest_get()))
        return false;
    apr_pool_cleanup_register(job->r->pool, job, end_nest, apr_pool_cleanup_null);
    return true;
}

static bool in_queue(const fcgipm_job_t *job)
{
    return job->stage == FCGIPM_STAGE_LEASE && job->attempt.state == FCGIPM_ATTEMPT_QUEUED;
}

/* In this thread, at most limit_us. False: nothing has happened. */
static bool block(fcgipm_job_t *job, apr_interval_time_t limit_us)
{
    apr_time_t now = fcgipm_clock_us();
    struct pollfd pfds[2] = {{.fd = job->need.fd, .events = job->need.events},
                             {.fd = job->need.client ? job->client_fd : -1, .events = job->need.client}};
    apr_interval_time_t left_us = fcgipm_job_earlier(job->need.until_us - now, limit_us);
    bool whole = left_us < limit_us;
    int n;

    if (job->demand.until_us)
        return fcgipm_lease_demand_sleep(job->link, &job->demand,
                                         fcgipm_job_earlier(limit_us, FCGIPM_JOB_ASK_US));
    if (in_queue(job)) {
        if (fcgipm_attempt_sleeps(&job->attempt, fcgipm_portion_grace() > 1) || !get_nest(job))
            return fcgipm_attempt_sleep(&job->attempt, limit_us);
        fcgipm_nest_arm(job->nest, 0);
        if (!fcgipm_attempt_park(&job->attempt, job->nest))
            return true;
        pfds[0] = (struct pollfd){.fd = job->nest->epoll, .events = POLLIN};
    }
    n = poll(pfds, 2, poll_ms(fcgipm_job_earlier(left_us, FCGIPM_JOB_ASK_US)));
    fcgipm_attempt_unpark(&job->attempt);
    job->client_event = n > 0 && pfds[1].revents;
    job->client_writable = n > 0 && (pfds[1].revents & POLLOUT);
    return n > 0 || whole || limit_us > FCGIPM_JOB_ASK_US;
}

/* What is about to come is worth a moment in the thread, as long as httpd has threads for others: most
 * applications answer, and most clients read, sooner than a request can be put aside and taken up again. */
static bool comes_soon(fcgipm_job_t *job)
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

static int proceed(fcgipm_job_t *job);

static int resume(void *ctx)
{
    fcgipm_job_t *job = ctx;
    short events = fcgipm_nest_look(job->nest);

    fcgipm_attempt_unpark(&job->attempt);
    job->client_event = events != 0;
    job->client_writable = (events & POLLOUT) != 0;
    return proceed(job);
}

/* False: there is something to do already. */
static bool suspend(fcgipm_job_t *job)
{
    apr_time_t now = fcgipm_clock_us();
    apr_interval_time_t after_us = fcgipm_job_earlier(job->need.until_us - now, fcgipm_async_limit(job->r));

    if (!get_nest(job) || !fcgipm_nest_app(job->nest, job->need.fd, job->need.events) ||
        !fcgipm_nest_client(job->nest, job->client_fd, job->need.client)) {
        block(job, FCGIPM_JOB_NEVER); /* no descriptors left */
        return false;
    }
    fcgipm_nest_arm(job->nest, after_us > 0 ? after_us : 1);
    if (in_queue(job) && !fcgipm_attempt_park(&job->attempt, job->nest))
        return false;
    fcgipm_async_suspend(job->r, job->nest, resume, fcgipm_stage_leave, job);
    return true;
}

static int proceed(fcgipm_job_t *job)
{
    for (;;) {
        int status = fcgipm_stage_advance(job);

        if (status != SUSPENDED)
            return status;
        if (!job->may_suspend)
            block(job, FCGIPM_JOB_NEVER);
        else if (!comes_soon(job) && suspend(job))
            return SUSPENDED;
    }
}

int fcgipm_handler_request(request_rec *r)
{
    fcgipm_match_t match;
    int status = fcgipm_match_request(r, &match);
    fcgipm_job_t *job;

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
    job->client_fd = fcgipm_job_client(r);
    job->stage = FCGIPM_STAGE_BODY;
    job->graced = FCGIPM_STAGE_NONE;
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
