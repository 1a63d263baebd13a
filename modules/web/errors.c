/* SPDX-License-Identifier: Apache-2.0 */
#include "web/errors.h"

#include <http_log.h>

#include "core/log.h"
#include "share/stat.h"
#include "web/limit.h"

APLOG_USE_MODULE(fcgipm);

#define LINES_PER_SECOND 100

static fcgipm_limit_t limit;

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
    unsigned dropped;
    bool allow = fcgipm_limit_allow(&limit, errors->pool, LINES_PER_SECOND, &dropped);

    if (dropped)
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, errors->r,
                      "FPM0620: pool %s: %u more lines of error output dropped", errors->pool_name, dropped);
    return allow;
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
