/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_JOB_H
#define FCGIPM_WEB_JOB_H
/*
 * What: one request on its way: all that is known of it, what an administrator can see of it, and the ends
 * that need no application. Who calls: web/handler, stage and outcome, in whichever thread has the request in
 * hand. Owns: everything is in r->pool.
 */
#include <stdbool.h>
#include <httpd.h>
#include "link/exchange.h"
#include "link/lease.h"
#include "link/nest.h"
#include "web/body.h"
#include "web/errors.h"
#include "web/match.h"
#include "web/reply.h"
#include "web/trace.h"

#define FCGIPM_JOB_NEVER  INT64_MAX
#define FCGIPM_JOB_ASK_US 500000 /* how often it is asked whether the client is there, without an event */

/* Where a request is. */
typedef enum fcgipm_stage {
    FCGIPM_STAGE_NONE,
    FCGIPM_STAGE_BODY,     /* the body comes in */
    FCGIPM_STAGE_SEND,     /* pool and parameters: nothing to wait for, but a pool made on demand */
    FCGIPM_STAGE_LEASE,    /* waits for a process and its connection */
    FCGIPM_STAGE_EXCHANGE, /* the application works */
    FCGIPM_STAGE_DELIVER   /* it has finished, the client has not */
} fcgipm_stage_t;

/* What a request waits for. */
typedef struct fcgipm_need {
    int fd; /* -1: none */
    short events;
    short client; /* events of the client's socket, 0: none */
    apr_time_t until_us;
} fcgipm_need_t;

typedef struct fcgipm_job {
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
    fcgipm_stage_t stage;
    fcgipm_need_t need;
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
    fcgipm_stage_t graced;        /* the stage that has had its grace ... */
    apr_interval_time_t grace_us; /* ... and what is left of it */
} fcgipm_job_t;

/* The client has left: the application may finish all the same. */
static inline bool fcgipm_job_may_finish(const fcgipm_job_t *job)
{
    return job->setting->client_abort == 1;
}

static inline apr_time_t fcgipm_job_earlier(apr_time_t a, apr_time_t b)
{
    return a < b ? a : b;
}

/* The request may be sent again though an application has seen it. */
static inline bool fcgipm_job_idempotent(const request_rec *r)
{
    return r->method_number == M_GET || r->method_number == M_OPTIONS; /* HEAD is M_GET */
}

/* The client's socket. -1: a stream of HTTP/2, which has none of its own, or httpd has closed it. */
int fcgipm_job_client(const request_rec *r);

/* A note for LogFormat. name: static; a value below 0 is 0. */
void fcgipm_job_note(const fcgipm_job_t *job, const char *name, apr_int64_t value);
/* Those about the process, when it has been leased, ... */
void fcgipm_job_write_notes(const fcgipm_job_t *job);
/* ... and about its times, when the exchange is over. */
void fcgipm_job_write_times(const fcgipm_job_t *job);
/* Whose it was, for a log line: many sites may share a log. Without the query, in which there may be secrets.
 */
const char *fcgipm_job_asked_for(const fcgipm_job_t *job);

/* It ends without an application, as job->fault says: 503 with Retry-After, logged with that number (not a
 * thousand times a second). */
int fcgipm_job_unavailable(fcgipm_job_t *job, const char *number);
/* The same for a pool that found no room at a reload. It has no row, so there is nothing to count it in. */
int fcgipm_job_no_room(fcgipm_job_t *job);
/* A client that has left gets nothing; the access log shall show what happened. */
int fcgipm_job_gone(fcgipm_job_t *job);
#endif
