/* SPDX-License-Identifier: Apache-2.0 */
/* The views of the board: right values, escaping, and no harm from a board of any content. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "report/html.h"
#include "report/json.h"
#include "report/text.h"
#include "share/board.h"
#include "share/queue.h"
#include "share/slot.h"

#define NOW_US    1790000000000000ll
#define STEADY_US 400000000000ll /* since the machine was switched on */
#define NOW                                                                                                  \
    (fcgipm_view_now_t)                                                                                      \
    {                                                                                                        \
        .steady_us = STEADY_US, .wall_us = NOW_US                                                            \
    }
#define S 1000000ull

/* ---- a page in memory, for the test only ---- */
typedef struct page {
    char *data;
    size_t len, cap, calls, largest;
} page_t;

static void page_write(void *ctx, const char *data, size_t len)
{
    page_t *page = ctx;
    if (page->len + len + 1 > page->cap) {
        page->cap = (page->len + len + 1) * 2;
        page->data = realloc(page->data, page->cap);
        assert_non_null(page->data);
    }
    memcpy(page->data + page->len, data, len);
    page->len += len;
    page->data[page->len] = '\0';
    page->calls++;
    if (len > page->largest)
        page->largest = len;
}

static bool has(const page_t *page, const char *needle)
{
    return strstr(page->data, needle) != NULL;
}

/* ---- a strict reader of JSON (RFC 8259), so that the test needs no library ---- */
static const char *json_value(const char *s, int depth);

static const char *json_space(const char *s)
{
    return s ? s + strspn(s, " \t\r\n") : NULL;
}

static const char *json_string(const char *s)
{
    if (*s++ != '"')
        return NULL;
    for (; *s != '"'; ++s) {
        if ((unsigned char)*s < 0x20)
            return NULL;
        if (*s != '\\')
            continue;
        ++s;
        if (*s == 'u') {
            for (int i = 0; i < 4; ++i)
                if (!isxdigit((unsigned char)*++s))
                    return NULL;
        } else if (!*s || !strchr("\"\\/bfnrt", *s)) {
            return NULL;
        }
    }
    return s + 1;
}

static const char *json_list(const char *s, int depth, bool object)
{
    char end = object ? '}' : ']';
    s = json_space(s + 1);
    if (*s == end)
        return s + 1;
    for (;;) {
        if (object) {
            s = json_space(json_string(s));
            if (!s || *s++ != ':')
                return NULL;
            s = json_space(s);
        }
        s = json_space(json_value(s, depth + 1));
        if (!s || (*s != ',' && *s != end))
            return NULL;
        if (*s++ == end)
            return s;
        s = json_space(s);
    }
}

static const char *json_value(const char *s, int depth)
{
    if (!s || depth > 16)
        return NULL;
    if (*s == '{' || *s == '[')
        return json_list(s, depth, *s == '{');
    if (*s == '"')
        return json_string(s);
    if (strncmp(s, "null", 4) == 0 || strncmp(s, "true", 4) == 0)
        return s + 4;
    if (strncmp(s, "false", 5) == 0)
        return s + 5;
    size_t digits = strspn(s, "0123456789");
    if (digits == 0 || digits > 16 || (digits > 1 && *s == '0'))
        return NULL;
    return s + digits;
}

static bool utf8_ok(const char *str, size_t len)
{
    const unsigned char *s = (const unsigned char *)str, *end = s + len;
    while (s < end) {
        uint32_t c = *s++;
        int more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc2 ? 1 : -1;
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (more < 0 || c > 0xf4 || end - s < more)
            return false;
        c &= more ? 0x3fu >> more : 0x7fu;
        for (int i = 0; i < more; ++i) {
            if ((*s & 0xc0) != 0x80)
                return false;
            c = c << 6 | (*s++ & 0x3fu);
        }
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return false;
        if ((c < 0x20 && c != '\n') || (c >= 0x7f && c < 0xa0))
            return false;
    }
    return true;
}

static void assert_json(const page_t *page)
{
    const char *end = json_space(json_value(page->data, 0));
    assert_non_null(end);
    assert_ptr_equal(end, page->data + page->len);
    assert_true(utf8_ok(page->data, page->len));
}

/* Tags are closed in the order in which they were opened, attributes are quoted. */
static void assert_html(const page_t *page)
{
    static const char *const empty[] = {"meta", "hr", "!DOCTYPE"};
    char stack[32][16];
    int depth = 0;

    assert_true(utf8_ok(page->data, page->len));
    for (const char *s = strchr(page->data, '<'); s; s = strchr(s, '<')) {
        bool closing = s[1] == '/', single = false;
        size_t n = strcspn(s += closing ? 2 : 1, " >");
        assert_true(n > 0 && n < 16);
        for (size_t i = 0; i < sizeof empty / sizeof *empty; ++i)
            single |= strncmp(s, empty[i], n) == 0 && strlen(empty[i]) == n;
        if (closing) {
            assert_true(depth > 0 && strlen(stack[depth - 1]) == n && !strncmp(stack[depth - 1], s, n));
            --depth;
        } else if (!single) {
            assert_true(depth < 32);
            memcpy(stack[depth], s, n);
            stack[depth++][n] = '\0';
        }
        for (; *s != '>'; ++s) {
            assert_true(*s && *s != '<');
            if (*s == '"')
                s = strchr(s + 1, '"');
            assert_non_null(s);
        }
    }
    assert_int_equal(depth, 0);
}

/* ---- boards ---- */
static fcgipm_board_t *board_make(void)
{
    fcgipm_board_t *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(board != MAP_FAILED);
    board->magic = FCGIPM_BOARD_MAGIC;
    board->version = FCGIPM_BOARD_VERSION;
    board->size = sizeof *board;
    return board;
}

static fcgipm_board_pool_t *pool_make(fcgipm_board_t *board, uint32_t index, const char *name,
                                      fcgipm_pool_state_t state, uint32_t slots, uint32_t concurrency)
{
    static const uint32_t apart = 32;
    fcgipm_board_pool_t *pool = &board->pool[index];
    snprintf(pool->name, sizeof pool->name, "%s", name);
    fcgipm_atom_set(&pool->state, state);
    fcgipm_atom_set(&pool->route, index);
    pool->stat_row = index;
    pool->geometry =
        (fcgipm_geometry_t){index * apart, slots, index * apart * 8, concurrency, index * 256, 256};
    return pool;
}

static void slot_make(fcgipm_board_t *board, uint32_t pool, uint32_t slot, fcgipm_slot_state_t state,
                      uint32_t pid, uint64_t age, uint64_t requests)
{
    fcgipm_board_slot_t *row = &board->slot[board->pool[pool].geometry.slot_first + slot];
    fcgipm_atom_set(&row->state, state);
    fcgipm_atom_set(&row->generation, slot + 1);
    fcgipm_atom_set(&row->places, board->pool[pool].geometry.concurrency);
    fcgipm_atom_set(&row->pid, pid);
    fcgipm_atom_set(&row->deaths, slot);
    fcgipm_atom_set(&row->since_us, STEADY_US - age * S);
    fcgipm_atom_set(&row->requests, requests);
}

static void seat_make(fcgipm_board_t *board, uint32_t pool, uint32_t slot, uint32_t rank,
                      fcgipm_seat_state_t state)
{
    uint32_t seat = fcgipm_seat_index(&board->pool[pool].geometry, slot, rank);
    fcgipm_atom_set(&board->seat[seat], (uint64_t)state << 56 | 5ull << 40 | 1);
}

static void wait_make(fcgipm_board_t *board, uint32_t pool, uint32_t count)
{
    for (uint32_t i = 0; i < count; ++i)
        fcgipm_atom_set(&board->cell[board->pool[pool].geometry.cell_first + i],
                        (uint64_t)FCGIPM_CELL_WAITING << 60 | i);
    fcgipm_atom_set(&board->pool[pool].waiting, count);
}

static void stat_make(fcgipm_board_t *board, uint32_t pool, uint64_t scale)
{
    fcgipm_pool_stat_t *stat = &board->stat[board->pool[pool].stat_row].count;
    fcgipm_atom_set(&stat->requests, 1234 * scale);
    fcgipm_atom_set(&stat->done, 1230 * scale);
    fcgipm_atom_set(&stat->failed, scale / 400);
    fcgipm_atom_set(&stat->client_gone, scale / 9);
    fcgipm_atom_set(&stat->waited, scale);
    fcgipm_atom_set(&stat->connects, scale * 3);
    fcgipm_atom_set(&stat->reuses, scale * 1231);
    fcgipm_atom_set(&stat->bytes_in, scale * 88123);
    fcgipm_atom_set(&stat->bytes_out, scale * 73212345);
    fcgipm_atom_set(&stat->spawns, 12);
    fcgipm_atom_set(&stat->deaths, 4);
}

/* A day in the life: also what REPORT_DUMP shows. */
static fcgipm_board_t *board_sample(void)
{
    fcgipm_board_t *board = board_make();
    fcgipm_atom_set(&board->started_us, STEADY_US - 93784 * S);
    fcgipm_atom_set(&board->started_wall_us, NOW_US - 93784 * S);
    fcgipm_atom_set(&board->manager_pid, 4711);
    fcgipm_atom_set(&board->manager_starts, 2);
    fcgipm_atom_set(&board->config_generation, 3);

    fcgipm_board_pool_t *blog = pool_make(board, 0, "blog", FCGIPM_POOL_SERVING, 8, 4);
    fcgipm_atom_set(&blog->ready, 3);
    fcgipm_atom_set(&blog->starting, 1);
    for (uint32_t i = 0; i < 3; ++i) {
        slot_make(board, 0, i, FCGIPM_SLOT_READY, 4800 + i, 40 + i * 9000, 70021 / (i * i + 1));
        for (uint32_t rank = 0; rank < 4; ++rank)
            seat_make(board, 0, i, rank, i + rank < 3 ? FCGIPM_SEAT_BUSY : FCGIPM_SEAT_IDLE);
        seat_make(board, 0, i, 3, FCGIPM_SEAT_LEASED);
    }
    slot_make(board, 0, 3, FCGIPM_SLOT_STARTING, 4990, 1, 0);
    wait_make(board, 0, 7);
    stat_make(board, 0, 913);

    fcgipm_board_pool_t *shop =
        pool_make(board, 2, "shop-with-quite-a-long-name-in-production", FCGIPM_POOL_BACKOFF, 4, 1);
    fcgipm_atom_set(&shop->failures, 5);
    fcgipm_atom_set(&shop->retry_us, STEADY_US + 31 * S + 1);
    slot_make(board, 2, 0, FCGIPM_SLOT_DEAD, 0, 29, 0);
    fcgipm_atom_set(&board->stat[shop->stat_row].count.start_failures, 5);

    pool_make(board, 3, "api", FCGIPM_POOL_DRAINING, 4, 1);
    fcgipm_atom_set(&board->pool[3].route, 4);
    fcgipm_atom_set(&board->pool[3].ready, 1);
    slot_make(board, 3, 1, FCGIPM_SLOT_DRAINING, 5001, 3, 18);
    seat_make(board, 3, 1, 0, FCGIPM_SEAT_DRAINING);
    slot_make(board, 3, 2, FCGIPM_SLOT_ENDING, 5002, 2, 412);

    fcgipm_board_pool_t *api = pool_make(board, 4, "api", FCGIPM_POOL_SERVING, 1, 16);
    api->external = 1;
    snprintf(api->addr, sizeof api->addr, "tcp:app-3.internal:9000");
    fcgipm_atom_set(&api->ready, 1);
    slot_make(board, 4, 0, FCGIPM_SLOT_READY, 0, 600, 9);
    for (uint32_t rank = 0; rank < 16; ++rank)
        seat_make(board, 4, 0, rank, rank < 2 ? FCGIPM_SEAT_BUSY : FCGIPM_SEAT_IDLE);
    stat_make(board, 4, 3);
    return board;
}

typedef void write_fn(const fcgipm_board_t *board, fcgipm_view_now_t now, fcgipm_print_fn *out, void *ctx);

static page_t page_make(write_fn *write, const fcgipm_board_t *board)
{
    page_t page = {0};
    write(board, NOW, page_write, &page);
    assert_non_null(page.data);
    assert_true(page.largest <= FCGIPM_PRINT_CAP);
    return page;
}

static void board_dump(const fcgipm_board_t *board, const char *path)
{
    page_t page = page_make(fcgipm_html_write, board);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(page.data, 1, page.len, file), page.len);
    fclose(file);
    free(page.data);
}

/* ---- tests ---- */
static void json_says_what_the_board_says(void **state)
{
    fcgipm_board_t *board = board_sample();
    page_t page = page_make(fcgipm_json_write, board);
    (void)state;

    assert_json(&page);
    assert_true(has(&page, "\"started\":1789906216,\"now\":1790000000,\"uptime\":93784,"));
    assert_true(has(&page, "\"manager\":{\"pid\":4711,\"starts\":2,\"generation\":3}"));
    assert_true(
        has(&page, "\"name\":\"blog\",\"index\":0,\"state\":\"SERVING\",\"route\":0,\"external\":null"));
    assert_true(
        has(&page, "\"slots\":8,\"ready\":3,\"starting\":1,\"failures\":0,\"retry_s\":0,\"waiting\":7"));
    assert_true(has(&page, "{\"slot\":0,\"state\":\"READY\",\"generation\":1,\"pid\":4800,\"age_s\":40,"
                           "\"requests\":70021,\"deaths\":0,"
                           "\"seats\":{\"total\":4,\"idle\":0,\"leased\":1,\"busy\":3}"));
    assert_true(has(&page, "\"failures\":5,\"retry_s\":32"));
    assert_true(has(&page, "\"index\":3,\"state\":\"DRAINING\",\"route\":4"));
    assert_true(has(&page, "\"external\":\"tcp:app-3.internal:9000\""));
    assert_false(has(&page, "\"index\":1,")); /* free */
    assert_false(has(&page, "\"state\":\"FREE\""));
    free(page.data);
    munmap(board, sizeof *board);
}

static void text_is_lines(void **state)
{
    fcgipm_board_t *board = board_sample();
    (void)state;

    snprintf(board->pool[0].name, sizeof board->pool[0].name, "a\nmanager.pid: 1\r\xff");
    page_t page = page_make(fcgipm_text_write, board);
    assert_true(utf8_ok(page.data, page.len));
    assert_true(has(&page, "pool.0.name: a\\x0amanager.pid: 1\\x0d\\xff\n"));
    assert_true(has(&page, "\npool.0.worker.3.state: STARTING\n"));
    assert_true(has(&page, "\npool.0.counters.requests: 1126642\n"));
    free(page.data);
    page = page_make(fcgipm_text_section, board);
    assert_true(has(&page, "FcgiPools: 4\n") && has(&page, "FcgiWaiting: 7\n"));
    free(page.data);
    munmap(board, sizeof *board);
}

static void an_empty_board_has_pages_too(void **state)
{
    fcgipm_board_t *board = board_make();
    page_t json = page_make(fcgipm_json_write, board), html = page_make(fcgipm_html_write, board);
    (void)state;

    assert_json(&json);
    assert_html(&html);
    assert_true(has(&json, "\"pools\":[]"));
    free(json.data);
    free(html.data);
    munmap(board, sizeof *board);
}

static void hostile_names_are_escaped(void **state)
{
    static const char hostile[] =
        "\"'><script>alert(1)</script>\x01\x1b\\\x7f\xc3\xa9\xc0\xaf\xed\xa0\x80\xe2\x82";
    fcgipm_board_t *board = board_sample();
    (void)state;

    memcpy(board->pool[0].name, hostile, sizeof hostile);
    memset(board->pool[2].name, 'x', sizeof board->pool[2].name); /* no NUL */
    memset(board->pool[4].addr, '<', sizeof board->pool[4].addr);
    fcgipm_atom_set(&board->pool[3].route, 0);
    page_t json = page_make(fcgipm_json_write, board), html = page_make(fcgipm_html_write, board);
    assert_json(&json);
    assert_html(&html);
    assert_false(has(&json, "<script>") || has(&html, "<script>"));
    assert_true(has(&json, "\\u0022'\\u003e\\u003cscript\\u003e"));
    assert_true(has(
        &json, "\\u0001\\u001b\\u005c\\u007f\xc3\xa9\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\""));
    assert_true(has(&html, "&#34;&#39;&#62;&#60;script&#62;"));
    free(html.data);
    html = (page_t){0};
    fcgipm_html_section(board, NOW, true, page_write, &html);
    assert_html(&html);
    assert_false(has(&html, "<script>"));
    free(json.data);
    free(html.data);
    munmap(board, sizeof *board);
}

static void numbers_are_bounded(void **state)
{
    fcgipm_board_t *board = board_sample();
    fcgipm_board_slot_t *slot = &board->slot[0];
    (void)state;

    fcgipm_atom_set(&board->stat[board->pool[0].stat_row].count.done, UINT64_MAX);
    fcgipm_atom_set(&board->pool[0].ready, UINT32_MAX);
    fcgipm_atom_set(&board->pool[0].waiting, UINT32_MAX);
    fcgipm_atom_set(&board->pool[0].route, UINT32_MAX);
    fcgipm_atom_set(&board->pool[0].state, 77);
    fcgipm_atom_set(&board->pool[2].retry_us, UINT64_MAX);
    fcgipm_atom_set(&board->started_us, UINT64_MAX);
    fcgipm_atom_set(&board->started_wall_us, UINT64_MAX);
    fcgipm_atom_set(&slot->pid, UINT32_MAX);
    fcgipm_atom_set(&slot->since_us, UINT64_MAX);
    fcgipm_atom_set(&slot->requests, UINT64_MAX);
    page_t page = page_make(fcgipm_json_write, board);
    assert_json(&page);
    assert_true(has(&page, "\"started\":0,\"now\":1790000000,\"uptime\":0,"));
    assert_true(has(&page, "\"done\":9007199254740991,"));
    assert_true(has(&page, "\"state\":\"UNKNOWN\",\"route\":0,\"external\":null,\"slots\":8,\"ready\":8,"));
    assert_true(has(&page, "\"waiting\":7,"));
    assert_true(has(&page, "\"retry_s\":86400,"));
    assert_true(has(&page, "\"pid\":0,\"age_s\":0,\"requests\":9007199254740991,"));
    free(page.data);
    munmap(board, sizeof *board);
}

/* A day back or forth: dates follow it, what lasts does not. */
static void the_clock_is_set(void **state)
{
    fcgipm_board_t *board = board_sample();
    fcgipm_view_now_t now = NOW;
    (void)state;

    for (int day = -2; day <= 2; day++) {
        page_t page = {0};
        char dates[80];

        now.wall_us = NOW_US + day * 86400 * S;
        fcgipm_json_write(board, now, page_write, &page);
        snprintf(dates, sizeof dates, "\"started\":1789906216,\"now\":%lld,\"uptime\":93784,",
                 1790000000ll + day * 86400ll);
        assert_true(has(&page, dates));
        assert_true(has(&page, "\"pid\":4800,\"age_s\":40,"));
        assert_true(has(&page, "\"retry_s\":32"));
        free(page.data);
        page = (page_t){0};
        fcgipm_html_write(board, now, page_write, &page);
        assert_true(has(&page, "up 26 h 3 min"));
        free(page.data);
    }
    munmap(board, sizeof *board);
}

/* Each pool claims the whole of every table: only the first is believed, and the page stays small. */
static void overlapping_ranges_do_not_multiply(void **state)
{
    fcgipm_board_t *board = board_make();
    (void)state;

    for (uint32_t i = 0; i < FCGIPM_POOLS_MAX; ++i) {
        pool_make(board, i, "x", FCGIPM_POOL_SERVING, 1, 1);
        board->pool[i].geometry = (fcgipm_geometry_t){
            0, FCGIPM_SLOTS_MAX, 0, FCGIPM_SEATS_MAX / FCGIPM_SLOTS_MAX, 0, FCGIPM_CELLS_MAX};
        fcgipm_atom_set(&board->pool[i].waiting, 1);
    }
    for (uint32_t i = 0; i < FCGIPM_SLOTS_MAX; ++i)
        fcgipm_atom_set(&board->slot[i].state, FCGIPM_SLOT_READY);
    page_t page = page_make(fcgipm_json_write, board);
    assert_json(&page);
    assert_true(page.len < 40u << 20);
    free(page.data);
    munmap(board, sizeof *board);
}

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

/* Every second round with ranges that pass the check, so that the rows behind them are read. */
static void random_ranges(fcgipm_board_t *board, uint64_t *seed)
{
    for (uint32_t i = 0; i < FCGIPM_POOLS_MAX; ++i)
        board->pool[i].geometry = (fcgipm_geometry_t){i * 8,   1 + (uint32_t)(random_next(seed) % 8),
                                                      i * 32,  1 + (uint32_t)(random_next(seed) % 4),
                                                      i * 128, 1 + (uint32_t)(random_next(seed) % 128)};
}

static void random_bytes_do_no_harm(void **state)
{
    fcgipm_board_t *board = board_make();
    uint64_t seed = 88172645463325252ull;
    (void)state;

    for (int round = 0; round < 8; ++round) {
        uint64_t *word = (uint64_t *)(void *)board;
        for (size_t i = 0; i < sizeof *board / sizeof *word; ++i)
            word[i] = random_next(&seed);
        if (round & 1)
            random_ranges(board, &seed);
        for (uint32_t i = 0; (round & 2) && i < FCGIPM_SLOTS_MAX; ++i)
            fcgipm_atom_set(&board->slot[i].state, (uint32_t)(random_next(&seed) % 7));
        page_t json = page_make(fcgipm_json_write, board), html = page_make(fcgipm_html_write, board);
        page_t text = page_make(fcgipm_text_write, board);
        assert_json(&json);
        assert_html(&html);
        assert_true(utf8_ok(text.data, text.len));
        free(json.data);
        free(html.data);
        free(text.data);
    }
    munmap(board, sizeof *board);
}

/* REPORT_DUMP=file: write the sample's page there, to look at it. */
static void html_is_well_formed(void **state)
{
    fcgipm_board_t *board = board_sample();
    page_t page = page_make(fcgipm_html_write, board);
    const char *dump = getenv("REPORT_DUMP");
    (void)state;

    assert_html(&page);
    assert_true(has(&page, "<bdi>blog</bdi>"));
    assert_true(has(&page, "5 failures in a row, next try in 32 s"));
    if (dump)
        board_dump(board, dump);
    free(page.data);
    munmap(board, sizeof *board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_says_what_the_board_says),
        cmocka_unit_test(text_is_lines),
        cmocka_unit_test(an_empty_board_has_pages_too),
        cmocka_unit_test(html_is_well_formed),
        cmocka_unit_test(hostile_names_are_escaped),
        cmocka_unit_test(numbers_are_bounded),
        cmocka_unit_test(the_clock_is_set),
        cmocka_unit_test(overlapping_ranges_do_not_multiply),
        cmocka_unit_test(random_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
