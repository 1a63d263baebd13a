/* SPDX-License-Identifier: Apache-2.0 */
#include "report/html.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "share/stat.h"

#define REFRESH_S      5
#define REFRESH_MANY_S 30 /* a page of many pools is long to load */
#define MANY_POOLS     50

/* clang-format off */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#f4f5f7;--card:#fff;--ink:#1c2330;--dim:#667085;--line:#e3e6eb;"
    "--ok:#11713a;--okbg:#dcf5e4;--go:#1d5fc4;--gobg:#deeafc;--warn:#a15c07;--warnbg:#fdf0cf;"
    "--bad:#b42318;--badbg:#fde4e1;--off:#596273;--offbg:#e9ebef;--busy:#2f6fd6;--kept:#a9c6f5;--free:#dfe3e9}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#11151c;--card:#1a2029;--ink:#e4e8ee;--dim:#939db0;"
    "--line:#2b3341;--ok:#6ddc98;--okbg:#143524;--go:#8ab8ff;--gobg:#182f52;--warn:#f5c05a;--warnbg:#3c2e10;"
    "--bad:#ff9a90;--badbg:#481d1a;--off:#a7b0c0;--offbg:#2a313d;--busy:#5b96f5;--kept:#2f4d7d;--free:#303846}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:15px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;font-variant-numeric:tabular-nums}\n"
    "header,main,footer{max-width:1080px;margin:0 auto;padding:0 16px}"
    "header{padding-top:22px}h1{font-size:22px;margin:0}"
    "header p{margin:2px 0 14px}p,footer,.dim{color:var(--dim)}footer{padding-bottom:28px;font-size:13px}"
    "a{color:var(--go)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin-bottom:16px}"
    ".tile,section{background:var(--card);border:1px solid var(--line);border-radius:10px}"
    ".tile{padding:9px 13px}.tile b{display:block;font-size:22px;line-height:1.25;font-weight:600}"
    ".tile span{font-size:13px;color:var(--dim)}.hot b{color:var(--bad)}\n"
    "section{margin-bottom:16px;padding:14px 16px}section.old{opacity:.8}"
    ".head{display:flex;flex-wrap:wrap;align-items:center;gap:4px 10px}"
    "h2{font-size:17px;margin:0;overflow-wrap:anywhere}.head .dim{font-size:13px}"
    ".note{margin:8px 0 0;padding:6px 10px;border-radius:7px;font-size:14px;overflow-wrap:anywhere;"
    "background:var(--offbg);color:var(--off)}.note.BACKOFF{background:var(--badbg);color:var(--bad)}"
    ".note.WARMING{background:var(--warnbg);color:var(--warn)}\n"
    ".pill{display:inline-block;padding:0 9px;border-radius:99px;font-size:13px;line-height:21px;"
    "text-transform:lowercase;white-space:nowrap;background:var(--offbg);color:var(--off)}"
    ".READY,.SERVING{background:var(--okbg);color:var(--ok)}.STARTING{background:var(--gobg);color:var(--go)}"
    ".WARMING,.DRAINING,.ENDING{background:var(--warnbg);color:var(--warn)}"
    ".BACKOFF,.DEAD,.UNKNOWN{background:var(--badbg);color:var(--bad)}\n"
    ".facts{display:flex;flex-wrap:wrap;gap:2px 22px;margin:10px 0 0;font-size:14px}"
    ".facts b{font-weight:600}.facts .hot{color:var(--bad)}"
    ".bar{display:flex;height:8px;min-width:56px;border-radius:4px;overflow:hidden;background:var(--free)}"
    ".bar i{background:var(--busy)}.bar i+i{background:var(--kept)}.wide{margin-top:8px}\n"
    ".scroll{overflow:auto;max-height:440px;margin-top:12px;border-top:1px solid var(--line)}"
    "table{width:100%;border-collapse:collapse;font-size:14px}"
    "th{position:sticky;top:0;background:var(--card);color:var(--dim);font-weight:500;font-size:13px}"
    "th,td{text-align:right;padding:5px 0 5px 14px;white-space:nowrap}td{border-top:1px solid var(--line)}"
    "th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}th:first-child,td:first-child{padding-left:0}"
    ".seat{display:flex;align-items:center;justify-content:flex-end;gap:8px}.seat .bar{width:72px}\n"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(124px,1fr));gap:8px 14px;margin:12px 0 0;"
    "padding-top:10px;border-top:1px solid var(--line)}dl div{display:flex;flex-direction:column-reverse}"
    "dt{font-size:12.5px;color:var(--dim)}dd{margin:0;font-weight:600;font-size:15px}"
    ".nil{opacity:.5}.nil dd{font-weight:400}.hot dd{color:var(--bad)}\n"
    ".hists{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:8px 22px;margin-top:12px}"
    "figure{margin:0}figcaption{font-size:13px;color:var(--dim)}"
    ".hist{display:flex;align-items:flex-end;gap:2px;height:44px;border-bottom:1px solid var(--line)}"
    ".hist i{flex:1;min-height:1px;background:var(--busy);border-radius:2px 2px 0 0}\n"
    "@media(max-width:560px){header,main,footer{padding-left:10px;padding-right:10px}"
    "section{padding:12px}.opt{display:none}th,td{padding-left:8px}.seat .bar{width:34px;min-width:34px}"
    ".tiles{grid-template-columns:1fr 1fr 1fr;gap:8px}.tile{padding:7px 10px}.tile b{font-size:19px}"
    "dl{grid-template-columns:repeat(auto-fill,minmax(92px,1fr))}}\n";
/* clang-format on */

typedef struct html {
    fcgipm_print_t print;
    fcgipm_view_totals_t sum;
    bool table; /* a table of workers is open */
} html_t;

static void put_count(fcgipm_print_t *p, uint64_t n)
{
    char digits[24], spaced[32];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n), to = 0;

    for (int i = 0; i < len; ++i) {
        if (i && (len - i) % 3 == 0)
            spaced[to++] = ',';
        spaced[to++] = digits[i];
    }
    fcgipm_print_bytes(p, spaced, (size_t)to);
}

static void put_bytes(fcgipm_print_t *p, uint64_t n)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)n;
    size_t i = 0;

    for (; value >= 999.5 && i + 1 < sizeof unit / sizeof *unit; ++i)
        value /= 1000;
    fcgipm_print_fmt(p, i && value < 99.95 ? "%.1f %s" : "%.0f %s", value, unit[i]);
}

static void put_span(fcgipm_print_t *p, uint64_t s)
{
    if (s < 120)
        fcgipm_print_fmt(p, "%" PRIu64 " s", s);
    else if (s < 7200)
        fcgipm_print_fmt(p, "%" PRIu64 " min", s / 60);
    else if (s < 172800)
        fcgipm_print_fmt(p, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    else
        fcgipm_print_fmt(p, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
}

static void put_time(fcgipm_print_t *p, uint64_t s)
{
    time_t when = (time_t)s;
    struct tm tm;
    char text[64];

    if (gmtime_r(&when, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm))
        fcgipm_print_str(p, text);
    else
        fcgipm_print_str(p, "?");
}

static void put_plural(fcgipm_print_t *p, uint64_t n, const char *word)
{
    put_count(p, n);
    fcgipm_print_fmt(p, " %s%s", word, n == 1 ? "" : "s");
}

static void put_bar(fcgipm_print_t *p, const fcgipm_view_seats_t *s, const char *class)
{
    double total = s->total ? s->total : 1;

    fcgipm_print_fmt(p, "<div class=\"%s\" title=\"%" PRIu32 " busy, %" PRIu32 " kept, %" PRIu32 " idle\">",
                     class, s->busy, s->leased, s->idle);
    fcgipm_print_fmt(p, "<i style=\"width:%.1f%%\"></i><i style=\"width:%.1f%%\"></i></div>",
                     100 * s->busy / total, 100 * s->leased / total);
}

static void put_state(fcgipm_print_t *p, const char *state, const char *doc)
{
    fcgipm_print_fmt(p, "<span class=\"pill %s\" title=\"%s\">%s</span>", state, doc, state);
}

static void put_head(fcgipm_print_t *p, const fcgipm_view_totals_t *sum)
{
    fcgipm_print_str(p, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n");
    fcgipm_print_fmt(p, "<meta http-equiv=\"refresh\" content=\"%d\">\n",
                     sum->pools > MANY_POOLS ? REFRESH_MANY_S : REFRESH_S);
    fcgipm_print_str(p, "<meta name=\"robots\" content=\"noindex\"><title>FastCGI: ");
    fcgipm_print_fmt(p, "%" PRIu32 "/%" PRIu32 " busy", sum->seats.busy, sum->seats.total);
    if (sum->waiting)
        fcgipm_print_fmt(p, ", %" PRIu32 " waiting", sum->waiting);
    fcgipm_print_str(p, "</title>\n<style>\n");
    fcgipm_print_str(p, style);
    fcgipm_print_str(p, "</style></head><body>\n");
}

static void put_tile(fcgipm_print_t *p, uint64_t value, const char *word, bool hot)
{
    fcgipm_print_fmt(p, "<div class=\"tile%s\"><b>", hot ? " hot" : "");
    put_count(p, value);
    fcgipm_print_fmt(p, "</b><span>%s</span></div>\n", word);
}

static void put_tiles(fcgipm_print_t *p, const fcgipm_view_totals_t *sum)
{
    fcgipm_print_str(p, "<main><div class=\"tiles\">\n");
    put_tile(p, sum->pools, sum->pools == 1 ? "pool" : "pools", false);
    put_tile(p, sum->ready, "workers ready", sum->pools && !sum->ready);
    fcgipm_print_fmt(
        p, "<div class=\"tile\"><b>%" PRIu32 " <span>/ %" PRIu32 "</span></b><span>seats busy</span></div>\n",
        sum->seats.busy, sum->seats.total);
    put_tile(p, sum->waiting, "waiting", sum->waiting > 0);
    put_tile(p, sum->requests, "requests", false);
    put_tile(p, sum->failed, "failed", sum->failed > 0);
    fcgipm_print_str(p, "</div>\n");
}

static void put_server(void *ctx, const fcgipm_view_server_t *s)
{
    html_t *h = ctx;
    fcgipm_print_t *p = &h->print;

    put_head(p, &h->sum);
    fcgipm_print_str(p, "<header><h1>FastCGI processes</h1><p>");
    if (s->up_s) {
        fcgipm_print_str(p, "up ");
        put_span(p, s->up_s);
        fcgipm_print_str(p, " &middot; ");
    }
    if (s->manager_pid)
        fcgipm_print_fmt(p, "manager pid %" PRIu32, s->manager_pid);
    else
        fcgipm_print_str(p, "<strong>no manager is running</strong>");
    if (s->manager_starts > 1)
        fcgipm_print_fmt(p, ", started %" PRIu32 " times", s->manager_starts);
    fcgipm_print_fmt(p, " &middot; configuration %" PRIu32 "</p></header>\n", s->generation);
    put_tiles(p, &h->sum);
    if (!h->sum.pools)
        fcgipm_print_str(p, "<section><p>There is no pool yet: see FcgiServer.</p></section>\n");
}

/* What an operator has said, and how far it is. */
static void put_orders(fcgipm_print_t *p, const fcgipm_view_pool_t *pool)
{
    if (pool->drained)
        fcgipm_print_str(
            p, "<div class=\"note WARMING\">Drained: requests are refused until fcgipmctl resume.</div>\n");
    if (pool->paused)
        fcgipm_print_str(p,
                         "<div class=\"note WARMING\">Paused: requests wait until fcgipmctl resume.</div>\n");
    if (pool->traced)
        fcgipm_print_str(p, "<div class=\"note\">Trace is on: each record goes to the error log.</div>\n");
    if (strcmp(pool->restart, "running") == 0) {
        fcgipm_print_str(p, "<div class=\"note\">Restart: ");
        put_plural(p, pool->outdated, "worker");
        fcgipm_print_str(p, " still to be replaced.</div>\n");
    }
    if (strcmp(pool->restart, "failed") == 0)
        fcgipm_print_str(
            p, "<div class=\"note BACKOFF\">The last restart failed: the new workers did not start, "
               "the old ones stay.</div>\n");
}

static void put_note(fcgipm_print_t *p, const fcgipm_view_pool_t *pool)
{
    bool backoff = strcmp(pool->state, "BACKOFF") == 0;

    if (pool->route != pool->index) {
        fcgipm_print_fmt(p, "<div class=\"note %s\">Requests go to <bdi>", pool->state);
        fcgipm_print_html_escaped(p, pool->route_name);
        fcgipm_print_fmt(p, "</bdi> (#%" PRIu32 ").</div>\n", pool->route);
    }
    if (backoff) {
        fcgipm_print_str(p, "<div class=\"note BACKOFF\">Its workers do not start: ");
        put_plural(p, pool->failures, "failure");
        fcgipm_print_fmt(p, " in a row, next try in %" PRIu32 " s.</div>\n", pool->retry_s);
    }
    put_orders(p, pool);
    if (*pool->trouble) {
        fcgipm_print_fmt(p, "<div class=\"note%s\">Last trouble, ",
                         pool->trouble_age_s < 600 ? " WARMING" : "");
        put_span(p, pool->trouble_age_s);
        fcgipm_print_str(p, " ago: <bdi>");
        fcgipm_print_html_escaped(p, pool->trouble);
        fcgipm_print_str(p, "</bdi></div>\n");
    }
    if (!pool->known)
        fcgipm_print_str(p, "<div class=\"note BACKOFF\">The board's row of this pool is damaged.</div>\n");
}

static void put_facts(fcgipm_print_t *p, const fcgipm_view_pool_t *pool)
{
    fcgipm_print_fmt(p, "<div class=\"facts\"><span><b>%" PRIu32 "</b> of %" PRIu32 " workers ready</span>",
                     pool->ready, pool->external ? pool->slots : pool->max);
    if (pool->starting)
        fcgipm_print_fmt(p, "<span><b>%" PRIu32 "</b> starting</span>", pool->starting);
    fcgipm_print_fmt(p, "<span><b>%" PRIu32 "</b> of %" PRIu32 " seats busy</span>", pool->seats.busy,
                     pool->seats.total);
    fcgipm_print_fmt(p,
                     "<span%s><b>%" PRIu32 "</b> waiting <span class=\"dim\">(queue of %" PRIu32
                     ")</span></span></div>\n",
                     pool->waiting ? " class=\"hot\"" : "", pool->waiting, pool->places);
    put_bar(p, &pool->seats, "bar wide");
}

static void put_pool(void *ctx, const fcgipm_view_pool_t *pool)
{
    html_t *h = ctx;
    fcgipm_print_t *p = &h->print;

    h->table = false;
    fcgipm_print_fmt(p, "<section%s id=\"pool-%" PRIu32 "\"><div class=\"head\"><h2><bdi>",
                     strcmp(pool->state, "DRAINING") == 0 ? " class=\"old\"" : "", pool->index);
    fcgipm_print_html_escaped(p, *pool->name ? pool->name : "(no name)");
    fcgipm_print_str(p, "</bdi></h2>");
    put_state(p, pool->state, pool->state_doc);
    fcgipm_print_fmt(p, "<span class=\"dim\">#%" PRIu32, pool->index);
    if (pool->external) {
        fcgipm_print_str(p, " &middot; external <bdi>");
        fcgipm_print_html_escaped(p, pool->addr);
        fcgipm_print_str(p, "</bdi>");
    }
    fcgipm_print_str(p, "</span></div>\n");
    put_note(p, pool);
    put_facts(p, pool);
}

static void put_worker(void *ctx, const fcgipm_view_pool_t *pool, const fcgipm_view_worker_t *w)
{
    html_t *h = ctx;
    fcgipm_print_t *p = &h->print;
    (void)pool;

    if (!h->table)
        fcgipm_print_str(p, "<div class=\"scroll\"><table><thead><tr><th>#</th><th>state</th><th>pid</th>"
                            "<th>for</th><th>requests</th><th>busy</th><th class=\"opt\">memory</th><th "
                            "class=\"opt\">start</th>"
                            "<th class=\"opt\">deaths</th></tr></thead><tbody>\n");
    h->table = true;
    fcgipm_print_fmt(p, "<tr><td>%" PRIu32 "</td><td>", w->slot);
    put_state(p, w->state, w->state_doc);
    if (w->pid)
        fcgipm_print_fmt(p, "</td><td>%" PRIu32 "</td><td>", w->pid);
    else
        fcgipm_print_str(p, "</td><td class=\"dim\">&ndash;</td><td>");
    put_span(p, w->age_s);
    fcgipm_print_str(p, "</td><td>");
    put_count(p, w->requests);
    fcgipm_print_fmt(p, "</td><td><div class=\"seat\">%" PRIu32 "/%" PRIu32, w->seats.busy, w->seats.total);
    put_bar(p, &w->seats, "bar");
    fcgipm_print_str(p, "</div></td><td class=\"opt\">");
    if (w->memory)
        put_bytes(p, w->memory);
    else
        fcgipm_print_str(p, "&ndash;");
    fcgipm_print_fmt(p, "</td><td class=\"opt\">%" PRIu32 "</td><td class=\"opt\">%" PRIu32 "</td></tr>\n",
                     w->generation, w->deaths);
}

static void put_counter(fcgipm_print_t *p, const fcgipm_view_label_t *label, uint64_t value)
{
    const char *class = value == 0 ? "nil" : label->kind == FCGIPM_VIEW_TROUBLE ? "hot" : "num";

    fcgipm_print_fmt(p, "<div class=\"%s\" title=\"%s\"><dt>", class, label->doc);
    for (const char *c = label->name; *c; ++c)
        fcgipm_print_bytes(p, *c == '_' ? " " : c, 1);
    fcgipm_print_str(p, "</dt><dd>");
    if (label->kind == FCGIPM_VIEW_BYTES)
        put_bytes(p, value);
    else
        put_count(p, value);
    fcgipm_print_str(p, "</dd></div>\n");
}

static void put_bound(fcgipm_print_t *p, unsigned cell)
{
    uint64_t us = cell < FCGIPM_HISTOGRAM_CELLS - 1 ? fcgipm_stat_bound_us[cell]
                                                    : fcgipm_stat_bound_us[FCGIPM_HISTOGRAM_CELLS - 2];

    fcgipm_print_str(p, cell < FCGIPM_HISTOGRAM_CELLS - 1 ? "&le; " : "&gt; ");
    fcgipm_print_fmt(p, us < 1000000 ? "%.3g ms" : "%.3g s",
                     us < 1000000 ? (double)us / 1e3 : (double)us / 1e6);
}

/* The cell below which nine of ten lie, as a word; and the bars, relative to the longest. */
static void put_histogram(fcgipm_print_t *p, const char *what, const fcgipm_view_histogram_t *h)
{
    uint64_t most = 1, sum = 0;
    unsigned ninety = 0;

    for (unsigned i = 0; i < FCGIPM_HISTOGRAM_CELLS; ++i)
        most = h->cell[i] > most ? h->cell[i] : most;
    for (unsigned i = 0; i < FCGIPM_HISTOGRAM_CELLS && sum * 10 < h->count * 9; ++i) {
        sum += h->cell[i];
        ninety = i;
    }
    fcgipm_print_fmt(p, "<figure><figcaption>%s: 90 %% ", what);
    put_bound(p, ninety);
    fcgipm_print_str(p, "</figcaption><div class=\"hist\">");
    for (unsigned i = 0; i < FCGIPM_HISTOGRAM_CELLS; ++i) {
        fcgipm_print_fmt(p, "<i style=\"height:%.0f%%\" title=\"", 100.0 * (double)h->cell[i] / (double)most);
        put_bound(p, i);
        fcgipm_print_fmt(p, ": %" PRIu64 "\"></i>", h->cell[i]);
    }
    fcgipm_print_str(p, "</div></figure>");
}

static void put_pool_end(void *ctx, const fcgipm_view_pool_t *pool)
{
    html_t *h = ctx;
    fcgipm_print_t *p = &h->print;

    if (h->table)
        fcgipm_print_str(p, "</tbody></table></div>\n");
    fcgipm_print_str(p, "<dl>\n");
    for (unsigned i = 0; i < FCGIPM_VIEW_COUNTER_COUNT; ++i)
        put_counter(p, &fcgipm_view_label[i], pool->counter[i]);
    fcgipm_print_str(p, "</dl>\n");
    if (pool->took.count) {
        fcgipm_print_str(p, "<div class=\"hists\">");
        put_histogram(p, "waited for a worker", &pool->wait);
        put_histogram(p, "took", &pool->took);
        fcgipm_print_str(p, "</div>\n");
    }
    fcgipm_print_str(p, "</section>\n");
}

void fcgipm_html_write(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx)
{
    static const fcgipm_view_visitor_t visitor = {
        .server = put_server, .pool = put_pool, .worker = put_worker, .pool_end = put_pool_end};
    html_t html = {.table = false};

    fcgipm_view_totals(board, now, &html.sum);
    fcgipm_print_open(&html.print, out, ctx);
    fcgipm_view_walk(board, now, &visitor, &html);
    fcgipm_print_str(&html.print, "</main><footer>mod_fcgipm " FCGIPM_VERSION " &middot; ");
    put_time(&html.print, now.wall_us > 0 ? (uint64_t)now.wall_us / 1000000 : 0);
    fcgipm_print_str(&html.print, " &middot; <a href=\"?json\">JSON</a> &middot; <a "
                                  "href=\"?openmetrics\">OpenMetrics</a> &middot; <a href=\"?auto\">text</a>"
                                  "</footer></body></html>\n");
    fcgipm_print_close(&html.print);
}

static void section_row(void *ctx, const fcgipm_view_pool_t *pool)
{
    html_t *h = ctx;
    fcgipm_print_t *p = &h->print;
    const char *cell = h->table ? "</td><td>" : ", ";

    fcgipm_print_str(p, h->table ? "<tr><td>" : "<li>");
    fcgipm_print_html_escaped(p, pool->name);
    fcgipm_print_fmt(p, "%s%s%s%" PRIu32 " ready", cell, pool->state, cell, pool->ready);
    fcgipm_print_fmt(p, "%s%" PRIu32 "/%" PRIu32 " busy", cell, pool->seats.busy, pool->seats.total);
    fcgipm_print_fmt(p, "%s%" PRIu32 " waiting", cell, pool->waiting);
    fcgipm_print_fmt(p, "%s%" PRIu64 " requests", cell, pool->counter[FCGIPM_VIEW_requests]);
    fcgipm_print_fmt(p, "%s%" PRIu64 " failed", cell, pool->counter[FCGIPM_VIEW_failed]);
    fcgipm_print_str(p, h->table ? "</td></tr>\n" : "</li>\n");
}

void fcgipm_html_section(const fcgipm_board_t *board, fcgipm_view_now_t now, bool tables,
                         fcgipm_print_fn *out, void *ctx)
{
    static const fcgipm_view_visitor_t visitor = {.pool = section_row};
    html_t html = {.table = tables};

    fcgipm_print_open(&html.print, out, ctx);
    fcgipm_print_str(&html.print, "<hr />\n<h2>FastCGI processes</h2>\n");
    fcgipm_print_str(&html.print, tables ? "<table border=\"0\" cellpadding=\"4\">\n" : "<ul>\n");
    fcgipm_view_walk(board, now, &visitor, &html);
    fcgipm_print_str(&html.print, tables ? "</table>\n" : "</ul>\n");
    fcgipm_print_close(&html.print);
}
