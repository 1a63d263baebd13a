/* SPDX-License-Identifier: Apache-2.0 */
#include "report/metrics.h"
#include <inttypes.h>
#include <string.h>
#include "report/view.h"
#include "share/stat.h"

/* One metric family at a time: all its series must stand together, so the pools are walked once for each. */
typedef struct metrics {
    fcgipm_print_t print;
    const char *name; /* of the family */
    unsigned nth;     /* which counter, gauge or histogram */
} metrics_t;

/* name, what it is of a pool, help */
#define GAUGES(X)                                                                                            \
    X("workers_ready", p->ready, "Workers that take requests.")                                              \
    X("workers_starting", p->starting, "Workers that are not yet ready.")                                    \
    X("workers_min", p->min, "Workers that are always there.")                                               \
    X("workers_max", p->max, "Most workers.")                                                                \
    X("workers_outdated", p->outdated, "Workers that are still to be replaced.")                             \
    X("workers_memory_bytes", p->memory, "Memory of all workers; 0 if it is not measured.")                  \
    X("seats", p->seats.total, "Requests that the workers take at a time.")                                  \
    X("seats_busy", p->seats.busy, "Requests in workers.")                                                   \
    X("queue_waiting", p->waiting, "Requests that wait for a worker.")                                       \
    X("queue_places", p->places, "Places in the queue.")                                                     \
    X("failures_in_a_row", p->failures, "Failed starts since the last good one.")                            \
    X("paused", p->paused, "1: requests wait until fcgipmctl resume.")                                       \
    X("drained", p->drained, "1: requests are refused until fcgipmctl resume.")

static uint64_t gauge(const fcgipm_view_pool_t *p, unsigned nth)
{
    const uint64_t values[] = {
#define X(name, value, help) (value),
        GAUGES(X)
#undef X
    };
    return values[nth];
}
static const char *const gauges[][2] = {
#define X(name, value, help) {name, help},
    GAUGES(X)
#undef X
};

/* Names are checked when they are configured; a forged board could hold anything. */
static void put_label(fcgipm_print_t *p, const char *name, const char *value)
{
    fcgipm_print_fmt(p, "%s=\"", name);
    for (; *value; ++value) {
        char c = *value >= ' ' && *value < 0x7f ? *value : '?';
        if (c == '"' || c == '\\')
            fcgipm_print_str(p, "\\");
        fcgipm_print_bytes(p, &c, 1);
    }
    fcgipm_print_str(p, "\"");
}

static void put_labels(fcgipm_print_t *p, const fcgipm_view_pool_t *pool)
{
    put_label(p, "{pool", pool->name);
    put_label(p, ",vhost", pool->vhost);
}

static void begin(metrics_t *m, const char *name, const char *type, const char *help)
{
    m->name = name;
    fcgipm_print_fmt(&m->print, "# TYPE fcgipm_%s %s\n", name, type);
    fcgipm_print_fmt(&m->print, "# HELP fcgipm_%s %s\n", name, help);
}

static void put_counter(void *ctx, const fcgipm_view_pool_t *pool)
{
    metrics_t *m = ctx;

    fcgipm_print_fmt(&m->print, "fcgipm_%s_total", m->name);
    put_labels(&m->print, pool);
    fcgipm_print_fmt(&m->print, "} %" PRIu64 "\n", pool->counter[m->nth]);
}

static void put_gauge(void *ctx, const fcgipm_view_pool_t *pool)
{
    metrics_t *m = ctx;

    fcgipm_print_fmt(&m->print, "fcgipm_%s", m->name);
    put_labels(&m->print, pool);
    fcgipm_print_fmt(&m->print, "} %" PRIu64 "\n", gauge(pool, m->nth));
}

static void put_state(void *ctx, const fcgipm_view_pool_t *pool)
{
    static const char *const states[] = {"WARMING", "SERVING", "BACKOFF", "DRAINING"};
    metrics_t *m = ctx;

    for (size_t i = 0; i < sizeof states / sizeof *states; ++i) {
        fcgipm_print_fmt(&m->print, "fcgipm_%s", m->name);
        put_labels(&m->print, pool);
        fcgipm_print_fmt(&m->print, ",fcgipm_state=\"%s\"} %d\n", states[i],
                         strcmp(states[i], pool->state) == 0);
    }
}

static void put_seconds(fcgipm_print_t *p, uint64_t us)
{
    if (us % 1000000 == 0)
        fcgipm_print_fmt(p, "%" PRIu64 ".0", us / 1000000);
    else
        fcgipm_print_fmt(p, "%.7g", (double)us / 1e6);
}

static void put_histogram(void *ctx, const fcgipm_view_pool_t *pool)
{
    metrics_t *m = ctx;
    const fcgipm_view_histogram_t *h = m->nth ? &pool->took : &pool->wait;
    uint64_t sum = 0;

    for (unsigned i = 0; i < FCGIPM_HISTOGRAM_CELLS; ++i) {
        sum += h->cell[i];
        fcgipm_print_fmt(&m->print, "fcgipm_%s_bucket", m->name);
        put_labels(&m->print, pool);
        fcgipm_print_str(&m->print, ",le=\"");
        if (i == FCGIPM_HISTOGRAM_CELLS - 1)
            fcgipm_print_str(&m->print, "+Inf");
        else
            put_seconds(&m->print, fcgipm_stat_bound_us[i]);
        fcgipm_print_fmt(&m->print, "\"} %" PRIu64 "\n", sum);
    }
    fcgipm_print_fmt(&m->print, "fcgipm_%s_count", m->name);
    put_labels(&m->print, pool);
    fcgipm_print_fmt(&m->print, "} %" PRIu64 "\nfcgipm_%s_sum", sum, m->name);
    put_labels(&m->print, pool);
    fcgipm_print_fmt(&m->print, "} %.6f\n", (double)h->sum_us / 1e6);
}

static void put_server(void *ctx, const fcgipm_view_server_t *s)
{
    metrics_t *m = ctx;

    begin(m, "build", "info", "Version of mod_fcgipm.");
    fcgipm_print_fmt(&m->print, "fcgipm_build_info{version=\"%s\"} 1\n", s->version);
    begin(m, "manager_up", "gauge", "1: a manager process is there.");
    fcgipm_print_fmt(&m->print, "fcgipm_manager_up %d\n", s->manager_pid != 0);
    begin(m, "manager_starts", "counter", "Starts of a manager process.");
    fcgipm_print_fmt(&m->print, "fcgipm_manager_starts_total %" PRIu32 "\n", s->manager_starts);
    begin(m, "config_generation", "gauge", "Configurations that have been taken over.");
    fcgipm_print_fmt(&m->print, "fcgipm_config_generation %" PRIu32 "\n", s->generation);
}

/* Units belong at the end of a name. */
static const char *counter_name(unsigned nth)
{
    return nth == FCGIPM_VIEW_bytes_in    ? "received_bytes"
           : nth == FCGIPM_VIEW_bytes_out ? "sent_bytes"
                                          : fcgipm_view_label[nth].name;
}

void fcgipm_metrics_write(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx)
{
    static const fcgipm_view_visitor_t server = {.server = put_server};
    metrics_t m = {.name = NULL};

    fcgipm_print_open(&m.print, out, ctx);
    fcgipm_view_walk(board, now, &server, &m);
    for (m.nth = 0; m.nth < FCGIPM_VIEW_COUNTER_COUNT; ++m.nth) {
        begin(&m, counter_name(m.nth), "counter", fcgipm_view_label[m.nth].doc);
        fcgipm_view_each(board, now, put_counter, &m);
    }
    for (m.nth = 0; m.nth < sizeof gauges / sizeof *gauges; ++m.nth) {
        begin(&m, gauges[m.nth][0], "gauge", gauges[m.nth][1]);
        fcgipm_view_each(board, now, put_gauge, &m);
    }
    begin(&m, "state", "stateset", "What the application is doing.");
    fcgipm_view_each(board, now, put_state, &m);
    m.nth = 0;
    begin(&m, "wait_seconds", "histogram", "Time that requests waited for a worker.");
    fcgipm_view_each(board, now, put_histogram, &m);
    m.nth = 1;
    begin(&m, "request_seconds", "histogram", "Time that requests held a worker.");
    fcgipm_view_each(board, now, put_histogram, &m);
    fcgipm_print_str(&m.print, "# EOF\n");
    fcgipm_print_close(&m.print);
}
