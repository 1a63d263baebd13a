/* SPDX-License-Identifier: Apache-2.0 */
#include "report/json.h"
#include <inttypes.h>
#include "report/table.h"
#include "share/stat.h"

typedef struct json {
    fcgipm_print_t print;
    const char *only; /* what is meant, NULL: all pools */
    unsigned count;
    bool shown;          /* the present pool is */
    bool pools, workers; /* the list has a first element, the next one needs a comma */
} json_t;

static void put_string(json_t *j, const char *key, const char *value)
{
    fcgipm_print_fmt(&j->print, "\"%s\":\"", key);
    fcgipm_print_json_escaped(&j->print, value);
    fcgipm_print_str(&j->print, "\"");
}

static void put_server(void *ctx, const fcgipm_view_server_t *s)
{
    json_t *j = ctx;

    fcgipm_print_str(&j->print, "{");
    put_string(j, "version", s->version);
    fcgipm_print_fmt(&j->print, ",\"started\":%" PRIu64 ",\"now\":%" PRIu64 ",\"uptime\":%" PRIu64 ",\n",
                     s->started_s, s->now_s, s->up_s);
    fcgipm_print_fmt(&j->print,
                     "\"manager\":{\"pid\":%" PRIu32 ",\"starts\":%" PRIu32 ",\"generation\":%" PRIu32
                     "},\n\"pools\":[",
                     s->manager_pid, s->manager_starts, s->generation);
}

static void put_counters(json_t *j, const uint64_t *counter)
{
    fcgipm_print_str(&j->print, ",\n \"counters\":{");
    for (unsigned i = 0; i < FCGIPM_VIEW_COUNTER_COUNT; ++i)
        fcgipm_print_fmt(&j->print, "%s\"%s\":%" PRIu64, i ? "," : "", fcgipm_view_label[i].name, counter[i]);
    fcgipm_print_str(&j->print, "}");
}

static const char *word(bool value)
{
    return value ? "true" : "false";
}

/* Cells as [upper bound in microseconds, count]; the last has null. */
static void put_histogram(json_t *j, const char *key, const fcgipm_view_histogram_t *h)
{
    fcgipm_print_fmt(&j->print, ",\n \"%s\":{\"count\":%" PRIu64 ",\"sum_us\":%" PRIu64 ",\"cells\":[", key,
                     h->count, h->sum_us);
    for (unsigned i = 0; i < FCGIPM_HISTOGRAM_CELLS - 1; ++i)
        fcgipm_print_fmt(&j->print, "[%" PRIu64 ",%" PRIu64 "],", fcgipm_stat_bound_us[i], h->cell[i]);
    fcgipm_print_fmt(&j->print, "[null,%" PRIu64 "]]}", h->cell[FCGIPM_HISTOGRAM_CELLS - 1]);
}

static void put_pool(void *ctx, const fcgipm_view_pool_t *p)
{
    json_t *j = ctx;

    j->shown = !j->only || fcgipm_table_means(j->only, p);
    if (!j->shown)
        return;
    j->count++;
    fcgipm_print_str(&j->print, j->pools ? ",\n{" : "\n{");
    j->pools = true;
    j->workers = false;
    put_string(j, "name", p->name);
    fcgipm_print_fmt(&j->print, ",\"index\":%" PRIu32 ",", p->index);
    put_string(j, "state", p->state);
    fcgipm_print_fmt(&j->print, ",\"route\":%" PRIu32 ",", p->route);
    if (p->external)
        put_string(j, "external", p->addr);
    else
        fcgipm_print_str(&j->print, "\"external\":null");
    fcgipm_print_fmt(&j->print,
                     ",\"slots\":%" PRIu32 ",\"ready\":%" PRIu32 ",\"starting\":%" PRIu32
                     ",\"failures\":%" PRIu32 ",\"retry_s\":%" PRIu32,
                     p->slots, p->ready, p->starting, p->failures, p->retry_s);
    fcgipm_print_fmt(&j->print, ",\"waiting\":%" PRIu32 ",\"queue\":%" PRIu32, p->waiting, p->places);
    fcgipm_print_str(&j->print, ",");
    put_string(j, "vhost", p->vhost);
    fcgipm_print_fmt(&j->print, ",\"min\":%" PRIu32 ",\"max\":%" PRIu32 ",\"memory\":%" PRIu64, p->min,
                     p->max, p->memory);
    fcgipm_print_fmt(&j->print, ",\"paused\":%s,\"drained\":%s,\"traced\":%s", word(p->paused),
                     word(p->drained), word(p->traced));
    fcgipm_print_fmt(&j->print, ",\"restart\":\"%s\",\"restart_age_s\":%" PRIu64 ",\"outdated\":%" PRIu32 ",",
                     p->restart, p->restart_age_s, p->outdated);
    put_string(j, "trouble", p->trouble);
    fcgipm_print_fmt(&j->print, ",\"trouble_age_s\":%" PRIu64, p->trouble_age_s);
    put_counters(j, p->counter);
    put_histogram(j, "wait", &p->wait);
    put_histogram(j, "took", &p->took);
    fcgipm_print_str(&j->print, ",\n \"workers\":[");
}

static void put_worker(void *ctx, const fcgipm_view_pool_t *p, const fcgipm_view_worker_t *w)
{
    json_t *j = ctx;
    (void)p;

    if (!j->shown)
        return;
    fcgipm_print_fmt(&j->print, "%s\n  {\"slot\":%" PRIu32 ",", j->workers ? "," : "", w->slot);
    j->workers = true;
    put_string(j, "state", w->state);
    fcgipm_print_fmt(&j->print,
                     ",\"generation\":%" PRIu32 ",\"pid\":%" PRIu32 ",\"age_s\":%" PRIu64
                     ",\"requests\":%" PRIu64 ",\"deaths\":%" PRIu32,
                     w->generation, w->pid, w->age_s, w->requests, w->deaths);
    fcgipm_print_fmt(&j->print,
                     ",\"seats\":{\"total\":%" PRIu32 ",\"idle\":%" PRIu32 ",\"leased\":%" PRIu32
                     ",\"busy\":%" PRIu32 "},\"life_s\":%" PRIu64 ",\"memory\":%" PRIu64 "}",
                     w->seats.total, w->seats.idle, w->seats.leased, w->seats.busy, w->life_s, w->memory);
}

static void put_pool_end(void *ctx, const fcgipm_view_pool_t *p)
{
    json_t *j = ctx;
    (void)p;

    if (j->shown)
        fcgipm_print_str(&j->print, "]}");
}

static void put_end(void *ctx)
{
    json_t *j = ctx;

    fcgipm_print_str(&j->print, "]}\n");
}

unsigned fcgipm_json_write_only(const fcgipm_board_t *board, fcgipm_view_now_t now, const char *only,
                                fcgipm_print_fn *out, void *ctx)
{
    static const fcgipm_view_visitor_t visitor = {put_server, put_pool, put_worker, put_pool_end, put_end};
    json_t json = {.only = only};

    fcgipm_print_open(&json.print, out, ctx);
    fcgipm_view_walk(board, now, &visitor, &json);
    fcgipm_print_close(&json.print);
    return json.count;
}

void fcgipm_json_write(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx)
{
    fcgipm_json_write_only(board, now, NULL, out, ctx);
}
