/* SPDX-License-Identifier: Apache-2.0 */
#include "report/table.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct table {
    fcgipm_print_t print;
    const char *word;
    unsigned count;
    bool shown; /* the present pool is */
} table_t;

bool fcgipm_table_means(const char *word, const fcgipm_view_pool_t *pool)
{
    size_t len = strlen(pool->name);

    return strncmp(word, pool->name, len) == 0 &&
           (word[len] == '\0' || (word[len] == '@' && strcmp(word + len + 1, pool->vhost) == 0));
}

static void put_span(char *out, size_t cap, uint64_t s)
{
    if (s < 120)
        snprintf(out, cap, "%" PRIu64 "s", s);
    else if (s < 7200)
        snprintf(out, cap, "%" PRIu64 "m", s / 60);
    else if (s < 172800)
        snprintf(out, cap, "%" PRIu64 "h", s / 3600);
    else
        snprintf(out, cap, "%" PRIu64 "d", s / 86400);
}

static void put_bytes(char *out, size_t cap, uint64_t n)
{
    if (n == 0)
        snprintf(out, cap, "-");
    else if (n < 10u << 20)
        snprintf(out, cap, "%" PRIu64 "K", n >> 10);
    else
        snprintf(out, cap, "%" PRIu64 "M", n >> 20);
}

/* Left-aligned to `width` columns. */
static void put_name(fcgipm_print_t *p, const char *name, int width)
{
    fcgipm_print_text_escaped(p, name);
    for (int i = (int)strlen(name); i < width; ++i)
        fcgipm_print_str(p, " ");
}

static void put_line(fcgipm_print_t *p, const char *what, const char *text, uint64_t age_s)
{
    char age[24];

    put_span(age, sizeof age, age_s);
    fcgipm_print_fmt(p, "    %s (%s ago): ", what, age);
    fcgipm_print_text_escaped(p, text);
    fcgipm_print_str(p, "\n");
}

static void put_remarks(fcgipm_print_t *p, const fcgipm_view_pool_t *pool)
{
    if (pool->paused)
        fcgipm_print_str(p, "    paused: requests wait until `fcgipmctl resume`\n");
    if (pool->drained)
        fcgipm_print_str(p, "    drained: requests are refused until `fcgipmctl resume`\n");
    if (pool->traced)
        fcgipm_print_str(p, "    trace is on: each record goes to the error log\n");
    if (strcmp(pool->restart, "running") == 0)
        fcgipm_print_fmt(p, "    restart: %" PRIu32 " processes are still to be replaced\n", pool->outdated);
    if (strcmp(pool->restart, "failed") == 0)
        put_line(p, "restart failed", "the new processes did not start, the old ones stay",
                 pool->restart_age_s);
    if (strcmp(pool->state, "BACKOFF") == 0)
        fcgipm_print_fmt(p, "    does not start: %" PRIu32 " failures in a row, next try in %" PRIu32 " s\n",
                         pool->failures, pool->retry_s);
    if (*pool->trouble)
        put_line(p, "last trouble", pool->trouble, pool->trouble_age_s);
}

static void put_pool(void *ctx, const fcgipm_view_pool_t *pool)
{
    table_t *t = ctx;
    char ready[32], busy[32], memory[24];

    t->shown = !t->word || fcgipm_table_means(t->word, pool);
    if (!t->shown)
        return;
    if (t->count++ == 0)
        fcgipm_print_str(&t->print,
                         "POOL                     STATE       READY      BUSY  WAIT    REQUESTS   FAILED  "
                         "RESTARTS  MEMORY\n");
    snprintf(ready, sizeof ready, "%" PRIu32 "/%" PRIu32, pool->ready, pool->max);
    snprintf(busy, sizeof busy, "%" PRIu32 "/%" PRIu32, pool->seats.busy, pool->seats.total);
    put_bytes(memory, sizeof memory, pool->memory);
    put_name(&t->print, pool->name, 24);
    fcgipm_print_fmt(&t->print, " %-9s %7s %9s %5" PRIu32 " %11" PRIu64 " %8" PRIu64 " %9" PRIu64 " %7s\n",
                     pool->drained  ? "DRAINED"
                     : pool->paused ? "PAUSED"
                                    : pool->state,
                     pool->external ? "-" : ready, busy, pool->waiting, pool->counter[FCGIPM_VIEW_requests],
                     pool->counter[FCGIPM_VIEW_failed], pool->counter[FCGIPM_VIEW_deaths], memory);
    if (*pool->vhost) {
        fcgipm_print_str(&t->print, "    of virtual host ");
        fcgipm_print_text_escaped(&t->print, pool->vhost);
        fcgipm_print_str(&t->print, "\n");
    }
    put_remarks(&t->print, pool);
    if (t->word && !pool->external)
        fcgipm_print_str(&t->print,
                         "    SLOT  STATE          PID    FOR   LIFE    REQUESTS  BUSY   MEMORY\n");
}

static void put_worker(void *ctx, const fcgipm_view_pool_t *pool, const fcgipm_view_worker_t *w)
{
    table_t *t = ctx;
    char age[24], life[24], busy[32], memory[24];

    if (!t->shown || !t->word || pool->external)
        return;
    put_span(age, sizeof age, w->age_s);
    put_span(life, sizeof life, w->life_s);
    put_bytes(memory, sizeof memory, w->memory);
    snprintf(busy, sizeof busy, "%" PRIu32 "/%" PRIu32, w->seats.busy, w->seats.total);
    fcgipm_print_fmt(&t->print, "    %4" PRIu32 "  %-9s %8" PRIu32 " %6s %6s %11" PRIu64 " %5s %8s\n",
                     w->slot, w->state, w->pid, age, life, w->requests, busy, memory);
}

unsigned fcgipm_table_write(const fcgipm_board_t *board, fcgipm_view_now_t now, const char *word,
                            fcgipm_print_fn *out, void *ctx)
{
    static const fcgipm_view_visitor_t visitor = {.pool = put_pool, .worker = put_worker};
    table_t table = {.word = word};

    fcgipm_print_open(&table.print, out, ctx);
    fcgipm_view_walk(board, now, &visitor, &table);
    fcgipm_print_close(&table.print);
    return table.count;
}
