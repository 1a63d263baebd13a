/* SPDX-License-Identifier: Apache-2.0 */
#include "web/status.h"
#include <http_config.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_status.h>
#include <stdbool.h>
#include <string.h>
#include "core/clock.h"
#include "core/log.h"
#include "report/html.h"
#include "report/json.h"
#include "report/metrics.h"
#include "report/text.h"
#include "web/directive.h"
#include "web/guard.h"

APLOG_USE_MODULE(fcgipm);

#define PAGE_POLICY "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

typedef struct sink {
    request_rec *r;
    bool gone; /* the client has left: the rest of the page goes nowhere */
} sink_t;

static void sink_write(void *ctx, const char *data, size_t len)
{
    sink_t *sink = ctx;

    if (!sink->gone && ap_rwrite(data, (int)len, sink->r) < 0)
        sink->gone = true;
}

/* "a=b&name" has the word "name". */
static bool query_has(const char *args, const char *name)
{
    size_t len = strlen(name);

    while (args) {
        if (strncmp(args, name, len) == 0 && (args[len] == '\0' || args[len] == '&' || args[len] == '='))
            return true;
        args = strchr(args, '&');
        if (args)
            ++args;
    }
    return false;
}

static void set_headers(request_rec *r, const char *type)
{
    ap_set_content_type(r, type);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
}

static int answer_unavailable(request_rec *r)
{
    FCGIPM_LOG(800, FCGIPM_LOG_INFO, 0, 0, "status asked for, but there is no board");
    r->status = HTTP_SERVICE_UNAVAILABLE;
    set_headers(r, "text/plain; charset=utf-8");
    if (!r->header_only)
        ap_rputs("mod_fcgipm has no board: it has not started. See the error log.\n", r);
    return OK;
}

static fcgipm_view_now_t now(void)
{
    return (fcgipm_view_now_t){.steady_us = fcgipm_clock_steady_us(), .wall_us = fcgipm_clock_wall_us()};
}

static void write_page(request_rec *r, const fcgipm_board_t *board)
{
    sink_t sink = {r, false};
    fcgipm_view_now_t at = now();

    if (query_has(r->args, "json")) {
        set_headers(r, "application/json");
        if (!r->header_only)
            fcgipm_json_write(board, at, sink_write, &sink);
    } else if (query_has(r->args, "openmetrics")) {
        set_headers(r, FCGIPM_METRICS_TYPE);
        if (!r->header_only)
            fcgipm_metrics_write(board, at, sink_write, &sink);
    } else if (query_has(r->args, "auto")) {
        set_headers(r, "text/plain; charset=utf-8");
        if (!r->header_only)
            fcgipm_text_write(board, at, sink_write, &sink);
    } else {
        set_headers(r, "text/html; charset=utf-8");
        apr_table_setn(r->headers_out, "Content-Security-Policy", PAGE_POLICY);
        if (!r->header_only)
            fcgipm_html_write(board, at, sink_write, &sink);
    }
}

int fcgipm_status_handler(request_rec *r)
{
    if (!r->handler || strcmp(r->handler, FCGIPM_STATUS_HANDLER) != 0)
        return DECLINED;
    if (!fcgipm_directive_opened(r, FCGIPM_STATUS_HANDLER)) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FPM0801: %s: the status page is shown where SetHandler or AddHandler "
                      "fcgipm-status of the server's configuration says so; .htaccess cannot",
                      r->uri);
        return HTTP_FORBIDDEN;
    }
    ap_allow_standard_methods(r, REPLACE_ALLOW, M_GET, -1);
    if (r->method_number == M_OPTIONS)
        return DECLINED; /* the core answers */
    if (r->method_number != M_GET)
        return HTTP_METHOD_NOT_ALLOWED;

    const fcgipm_board_t *board = fcgipm_guard_board();
    if (!board)
        return answer_unavailable(r);
    write_page(r, board);
    return OK;
}

int fcgipm_status_server_status(request_rec *r, int flags)
{
    const fcgipm_board_t *board = fcgipm_guard_board();
    sink_t sink = {r, false};

    if (!board)
        return DECLINED;
    if (flags & AP_STATUS_SHORT)
        fcgipm_text_section(board, now(), sink_write, &sink);
    else
        fcgipm_html_section(board, now(), !(flags & AP_STATUS_NOTABLE), sink_write, &sink);
    return OK;
}
