/* SPDX-License-Identifier: Apache-2.0 */
#include "web/errors.h"

#include <apr_atomic.h>
#include <http_log.h>

#include "core/log.h"
#include "share/stat.h"

APLOG_USE_MODULE(fcgipm);

#define LINES_PER_SECOND 100

/* Of each pool in this child: the second, and how many lines it has had. Only threads of this process use it.
 */
static struct window {
    apr_uint32_t second, lines, dropped;
} windows[FCGIPM_POOLS_MAX];

void fcgipm_errors_begin(fcgipm_errors_t *errors, request_rec *r, const char *pool_name,
                         fcgipm_board_t *board, uint32_t pool, uint32_t slot, uint32_t pid)
{
    errors->r = r;
    errors->pool_name = pool_name;
    errors->board = board;
    errors->pool = pool;
    errors->slot = slot;
    errors->pid = pid;
    errors->len = 0;
}

static bool allowed(const fcgipm_errors_t *errors)
{
    struct window *w = &windows[errors->pool % FCGIPM_POOLS_MAX];
    apr_uint32_t now = (apr_uint32_t)apr_time_sec(apr_time_now()), was = apr_atomic_read32(&w->second),
                 dropped;

    if (was != now && apr_atomic_cas32(&w->second, now, was) == was) {
        apr_atomic_set32(&w->lines, 0);
        if ((dropped = apr_atomic_xchg32(&w->dropped, 0)))
            ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, errors->r,
                          "FPM0620: pool %s: %u more lines of error output dropped", errors->pool_name,
                          dropped);
    }
    if (apr_atomic_inc32(&w->lines) < LINES_PER_SECOND)
        return true;
    apr_atomic_inc32(&w->dropped);
    return false;
}

static void emit(fcgipm_errors_t *errors)
{
    if (errors->len && errors->line[errors->len - 1] == '\r')
        errors->len--;
    if (errors->len == 0)
        return;
    if (allowed(errors)) {
        fcgipm_log_plain(errors->line, errors->len); /* httpd's log escapes the rest */
        fcgipm_stat_stderr_lines_add(errors->board, errors->pool, 1);
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, errors->r, "FPM0621: pool %s slot %u pid %u: %.*s",
                      errors->pool_name, errors->slot, errors->pid, (int)errors->len, errors->line);
    } else {
        fcgipm_stat_stderr_dropped_add(errors->board, errors->pool, 1);
    }
    errors->len = 0;
}

void fcgipm_errors_take(fcgipm_errors_t *errors, const char *data, apr_size_t len)
{
    for (apr_size_t i = 0; i < len; i++) {
        if (data[i] != '\n')
            errors->line[errors->len++] = data[i];
        if (data[i] == '\n' || errors->len == sizeof errors->line)
            emit(errors);
    }
}

void fcgipm_errors_end(fcgipm_errors_t *errors)
{
    emit(errors);
}
