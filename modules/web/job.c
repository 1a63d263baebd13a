/* SPDX-License-Identifier: Apache-2.0 */
#include "web/job.h"

#include <string.h>

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>

#include "core/clock.h"
#include "share/board.h"
#include "share/stat.h"
#include "web/limit.h"

APLOG_USE_MODULE(fcgipm);

#define REFUSALS_PER_SECOND 5

/* A stream of HTTP/2 has no socket of its own; mod_http2 marks its connection. */
int fcgipm_job_client(const request_rec *r)
{
    apr_socket_t *socket = r->connection->master ? NULL : ap_get_conn_socket(r->connection);
    apr_os_sock_t fd;

    return socket && apr_os_sock_get(&fd, socket) == APR_SUCCESS ? fd : -1;
}

/* (apr_psprintf takes four times as long, and there are eight of them.) */
void fcgipm_job_note(const fcgipm_job_t *job, const char *name, apr_int64_t value)
{
    char *end = (char *)apr_palloc(job->r->pool, 21) + 20, *at = end;

    *at = '\0';
    value = value < 0 ? 0 : value;
    do
        *--at = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    apr_table_setn(job->r->notes, name, at);
}

void fcgipm_job_write_notes(const fcgipm_job_t *job)
{
    apr_table_setn(job->r->notes, "fcgipm-pool", job->match.name);
    fcgipm_job_note(job, "fcgipm-pid", job->lease.pid);
    fcgipm_job_note(job, "fcgipm-slot", job->lease.slot);
    fcgipm_job_note(job, "fcgipm-queue-us", job->lease.queue_us);
    fcgipm_job_note(job, "fcgipm-connect-us", job->lease.connect_us);
    fcgipm_job_note(job, "fcgipm-retries", job->retries);
}

void fcgipm_job_write_times(const fcgipm_job_t *job)
{
    fcgipm_job_note(job, "fcgipm-firstbyte-us", job->x.result.first_byte_us);
    fcgipm_job_note(job, "fcgipm-app-us", fcgipm_clock_us() - job->started);
}

const char *fcgipm_job_asked_for(const fcgipm_job_t *job)
{
    const request_rec *r = job->r;

    return apr_psprintf(r->pool, "%s %s%.200s", r->method, r->server->server_hostname, r->uri);
}

/* Seconds until the next start of an application that fails, else what a queue needs. */
static int retry_after(const fcgipm_job_t *job)
{
    uint32_t pool = fcgipm_board_route(job->board, job->pool);
    apr_time_t now = fcgipm_clock_steady_us(), at;

    if (pool >= FCGIPM_POOLS_MAX) /* it has none yet */
        return 2;
    at = (apr_time_t)fcgipm_atom_get(&job->board->pool[pool].retry_us);
    return at > now && at - now < apr_time_from_sec(3600) ? (int)apr_time_sec(at - now) + 1 : 2;
}

int fcgipm_job_unavailable(fcgipm_job_t *job, const char *number)
{
    static fcgipm_limit_t refusals;
    request_rec *r = job->r;
    unsigned dropped;

    if (fcgipm_limit_allow(&refusals, job->pool, REFUSALS_PER_SECOND, &dropped))
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, "%s: pool %s: %s; answered 503 (%s%s)", number,
                      job->match.name, job->fault.sentence, fcgipm_job_asked_for(job),
                      dropped ? apr_psprintf(r->pool, ", and %u others before", dropped) : "");
    apr_table_setn(r->err_headers_out, "Retry-After", apr_itoa(r->pool, retry_after(job)));
    fcgipm_stat_failed_add(job->board, job->pool, 1);
    return HTTP_SERVICE_UNAVAILABLE;
}

int fcgipm_job_no_room(fcgipm_job_t *job)
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

int fcgipm_job_gone(fcgipm_job_t *job)
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
