/* SPDX-License-Identifier: Apache-2.0 */
#include "report/text.h"
#include <inttypes.h>

static void put_server(void *ctx, const fcgipm_view_server_t *s)
{
    fcgipm_print_t *t = ctx;

    fcgipm_print_fmt(t, "version: %s\nstarted: %" PRIu64 "\nnow: %" PRIu64 "\nuptime: %" PRIu64 "\n",
                     s->version, s->started_s, s->now_s, s->up_s);
    fcgipm_print_fmt(
        t, "manager.pid: %" PRIu32 "\nmanager.starts: %" PRIu32 "\nmanager.generation: %" PRIu32 "\n",
        s->manager_pid, s->manager_starts, s->generation);
}

static void put_string(fcgipm_print_t *t, const fcgipm_view_pool_t *p, const char *key, const char *value)
{
    fcgipm_print_fmt(t, "pool.%" PRIu32 ".%s: ", p->index, key);
    fcgipm_print_text_escaped(t, value);
    fcgipm_print_str(t, "\n");
}

static void put_number(fcgipm_print_t *t, const fcgipm_view_pool_t *p, const char *key, uint64_t value)
{
    fcgipm_print_fmt(t, "pool.%" PRIu32 ".%s: %" PRIu64 "\n", p->index, key, value);
}

static void put_pool(void *ctx, const fcgipm_view_pool_t *p)
{
    fcgipm_print_t *t = ctx;

    put_string(t, p, "name", p->name);
    put_string(t, p, "state", p->state);
    put_number(t, p, "route", p->route);
    if (p->external)
        put_string(t, p, "external", p->addr);
    put_number(t, p, "slots", p->slots);
    put_number(t, p, "ready", p->ready);
    put_number(t, p, "starting", p->starting);
    put_number(t, p, "failures", p->failures);
    put_number(t, p, "retry_s", p->retry_s);
    put_number(t, p, "waiting", p->waiting);
    put_number(t, p, "queue", p->places);
    put_string(t, p, "vhost", p->vhost);
    put_number(t, p, "min", p->min);
    put_number(t, p, "max", p->max);
    put_number(t, p, "memory", p->memory);
    put_number(t, p, "paused", p->paused);
    put_number(t, p, "drained", p->drained);
    put_number(t, p, "traced", p->traced);
    put_string(t, p, "restart", p->restart);
    put_number(t, p, "outdated", p->outdated);
    put_string(t, p, "trouble", p->trouble);
    put_number(t, p, "wait.count", p->wait.count);
    put_number(t, p, "wait.sum_us", p->wait.sum_us);
    put_number(t, p, "took.count", p->took.count);
    put_number(t, p, "took.sum_us", p->took.sum_us);
    for (unsigned i = 0; i < FCGIPM_VIEW_COUNTER_COUNT; ++i)
        fcgipm_print_fmt(t, "pool.%" PRIu32 ".counters.%s: %" PRIu64 "\n", p->index,
                         fcgipm_view_label[i].name, p->counter[i]);
}

static void put_worker(void *ctx, const fcgipm_view_pool_t *p, const fcgipm_view_worker_t *w)
{
    fcgipm_print_t *t = ctx;
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"generation", w->generation}, {"pid", w->pid},
        {"age_s", w->age_s},           {"requests", w->requests},
        {"deaths", w->deaths},         {"seats.total", w->seats.total},
        {"seats.idle", w->seats.idle}, {"seats.leased", w->seats.leased},
        {"seats.busy", w->seats.busy},
    };

    fcgipm_print_fmt(t, "pool.%" PRIu32 ".worker.%" PRIu32 ".state: %s\n", p->index, w->slot, w->state);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i)
        fcgipm_print_fmt(t, "pool.%" PRIu32 ".worker.%" PRIu32 ".%s: %" PRIu64 "\n", p->index, w->slot,
                         rows[i].key, rows[i].value);
}

void fcgipm_text_write(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx)
{
    static const fcgipm_view_visitor_t visitor = {
        .server = put_server, .pool = put_pool, .worker = put_worker};
    fcgipm_print_t text;

    fcgipm_print_open(&text, out, ctx);
    fcgipm_view_walk(board, now, &visitor, &text);
    fcgipm_print_close(&text);
}

void fcgipm_text_section(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx)
{
    fcgipm_view_totals_t sum;
    fcgipm_print_t text;

    fcgipm_view_totals(board, now, &sum);
    fcgipm_print_open(&text, out, ctx);
    fcgipm_print_fmt(&text, "FcgiPools: %" PRIu32 "\nFcgiPoolsBackoff: %" PRIu32 "\n", sum.pools,
                     sum.backoff);
    fcgipm_print_fmt(&text, "FcgiWorkersReady: %" PRIu32 "\nFcgiWorkersStarting: %" PRIu32 "\n", sum.ready,
                     sum.starting);
    fcgipm_print_fmt(&text, "FcgiSeats: %" PRIu32 "\nFcgiSeatsBusy: %" PRIu32 "\n", sum.seats.total,
                     sum.seats.busy);
    fcgipm_print_fmt(&text, "FcgiWaiting: %" PRIu32 "\n", sum.waiting);
    fcgipm_print_fmt(&text, "FcgiRequests: %" PRIu64 "\nFcgiFailed: %" PRIu64 "\n", sum.requests, sum.failed);
    fcgipm_print_close(&text);
}
