/* SPDX-License-Identifier: Apache-2.0 */
/* Every row of the table of settings: default, bounds, refusals and their sentences; lists; rules between
 * rows; bytes and fingerprints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "core/setting.h"
#include "core/setting_table.h"

static apr_pool_t *pool;
static fcgipm_setting_t set;

static int setup(void **state)
{
    *state = NULL;
    if (apr_pool_create(&pool, NULL) != APR_SUCCESS)
        return -1;
    fcgipm_setting_defaults(&set, pool);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    return 0;
}

static const fcgipm_setting_row_t *row_at(size_t offset)
{
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if (fcgipm_setting_rows[i].offset == offset)
            return &fcgipm_setting_rows[i];
    fail_msg("no row for the member at %zu", offset);
    return NULL;
}
#define ROW(member) row_at(offsetof(fcgipm_setting_t, member))

static int64_t number_of(const fcgipm_setting_t *s, const fcgipm_setting_row_t *row)
{
    const char *at = (const char *)s + row->offset;
    int64_t wide;
    uint32_t narrow;

    if (row->kind == FCGIPM_KIND_DURATION || row->kind == FCGIPM_KIND_SIZE) {
        memcpy(&wide, at, sizeof wide);
        return wide;
    }
    memcpy(&narrow, at, sizeof narrow);
    return row->kind == FCGIPM_KIND_INTEGER ? (int32_t)narrow : (int64_t)narrow;
}

static void taken(const fcgipm_setting_row_t *row, const char *text, int64_t number)
{
    const char *sentence = fcgipm_setting_parse(&set, row, text, pool);

    if (sentence)
        fail_msg("%s", sentence);
    if (number_of(&set, row) != number)
        fail_msg("%s %s became %lld", row->directive, text, (long long)number_of(&set, row));
}

/* Refused with a sentence that has these words in it, in this order; and nothing is changed. */
static void refused(const fcgipm_setting_row_t *row, const char *text, const char *const *words)
{
    fcgipm_setting_t before = set;
    const char *sentence = fcgipm_setting_parse(&set, row, text, pool), *at = sentence;

    if (!sentence)
        fail_msg("%s '%s' was taken", row->directive, text);
    for (; *words; words++) {
        at = strstr(at, *words);
        if (!at)
            fail_msg("'%s' does not say '%s'", sentence, *words);
        at += strlen(*words);
    }
    assert_memory_equal(&before, &set, sizeof set);
}
#define REFUSED(row, text, ...) refused(row, text, (const char *const[]){__VA_ARGS__, NULL})

/* --- rows that are numbers --- */

/* low, high: as written; the same, as the member; below, above: one outside; unit: a wrong one. */
typedef struct number_case {
    size_t offset;
    const char *title;
    int64_t value;
    const char *low, *high;
    int64_t lowest, highest;
    const char *below, *above, *unit;
    const char *span; /* the bounds as a sentence has them */
} number_case_t;

#define AT(member) offsetof(fcgipm_setting_t, member)

static const number_case_t numbers[] = {
    {AT(umask), "FcgiUmask ", 022, "0", "777", 0, 0777, "-1", "1000", "22s", "between 00 and 0777"},
    {AT(user_min), "FcgiUserFrom minuid=", 100, "1", "2147483647", 1, 2147483647, "0", "2147483648", "5s",
     "between 1 and 2147483647"},
    {AT(processes_min), "FcgiProcesses ", 1, "0", "256", 0, 256, "-1", "257", "4K", "between 0 and 256"},
    {AT(processes_max), "FcgiProcesses ", 4, "1", "256", 1, 256, "0", "257", "4s", "between 1 and 256"},
    {AT(concurrency), "FcgiConcurrency ", UINT32_MAX, "1", "1024", 1, 1024, "0", "1025", "1K",
     "between 1 and 1024"},
    {AT(queue_length), "FcgiQueue length=", 256, "0", "1000", 0, 1000, "-1", "1001", "10s",
     "between 0 and 1000"},
    {AT(start_us), "FcgiTimeout start=", 30000000, "100ms", "1h", 100000, 3600000000, "99999us",
     "3600000001us", "10K", "between 100ms and 1h"},
    {AT(connect_us), "FcgiTimeout connect=", 5000000, "10ms", "10m", 10000, 600000000, "9999us",
     "600000001us", "10MB", "between 10ms and 600s"},
    {AT(queue_us), "FcgiTimeout queue=", 10000000, "off", "60min", 0, 3600000000, "-1us", "3600000001us",
     "10hours", "between 0s and 1h"},
    {AT(read_us), "FcgiTimeout read=", 60000000, "0", "1d", 0, 86400000000, "-1us", "86400000001us", "10w",
     "between 0s and 24h"},
    {AT(request_us), "FcgiTimeout request=", 300000000, "0ms", "7d", 0, 604800000000, "-1us",
     "604800000001us", "10sec", "between 0s and 168h"},
    {AT(idle_us), "FcgiTimeout idle=", 300000000, "OFF", "168H", 0, 604800000000, "-1us", "604800000001us",
     "10y", "between 0s and 168h"},
    {AT(stop_us), "FcgiTimeout stop=", 10000000, "0s", "600", 0, 600000000, "-1us", "600000001us", "1s1",
     "between 0s and 600s"},
    {AT(head_bytes), "FcgiHeadLimit ", 65536, "1K", "1M", 1024, 1048576, "1023", "1048577", "64s",
     "between 1K and 1M"},
    {AT(body_memory_bytes), "FcgiRequestBuffer memory=", 65536, "0", "16384kb", 0, 16777216, "-1", "16777217",
     "64T", "between 0 and 16M"},
    {AT(reply_memory_bytes), "FcgiResponseBuffer memory=", 262144, "0", "1G", 0, 1073741824, "-1", "1025M",
     "64T", "between 0 and 1024M"},
    {AT(reply_file_bytes), "FcgiResponseBuffer file=", 1073741824, "0", "1024G", 0, 1099511627776, "-1",
     "1025G", "64s", "between 0 and"},
    {AT(queue_threads), "FcgiQueue threads=", 0, "Auto", "100000", 0, 100000, "-1", "100001", "10s",
     "between 0 and 100000"},
    {AT(firstbyte_us), "FcgiTimeout firstbyte=", 0, "off", "1d", 0, 86400000000, "-1us", "86400000001us",
     "10w", "between 0s and 24h"},
    {AT(recycle_requests), "FcgiRecycle requests=", 0, "0", "1000000000", 0, 1000000000, "-1", "1000000001",
     "10s", "between 0 and 1000000000"},
    {AT(recycle_age_us), "FcgiRecycle lifetime=", 0, "off", "365d", 0, 31536000000000, "-1us",
     "31536000000001us", "10w", "between 0s and 8760h"},
    {AT(recycle_memory_bytes), "FcgiRecycle memory=", 0, "0", "1024G", 0, 1099511627776, "-1",
     "1099511627777", "64T", "between 0 and 1048576M"},
    {AT(probe_every_us), "FcgiProbe every=", 0, "off", "1d", 0, 86400000000, "-1us", "86400000001us", "10w",
     "between 0s and 24h"},
    {AT(probe_timeout_us), "FcgiProbe timeout=", 5000000, "10ms", "10m", 10000, 600000000, "9999us",
     "600000001us", "10MB", "between 10ms and 600s"},
    {AT(limit_memory_bytes), "FcgiLimit memory=", INT64_MAX, "4M", "1024G", 4194304, 1099511627776, "4194303",
     "1099511627777", "64T", "between 4M and 1048576M"},
    {AT(limit_cpu_us), "FcgiLimit cpu=", 0, "off", "365d", 0, 31536000000000, "-1us", "31536000000001us",
     "10w", "between 0s and 8760h"},
    {AT(limit_files), "FcgiLimit files=", UINT32_MAX, "8", "1048576", 8, 1048576, "7", "1048577", "1K",
     "between 8 and 1048576"},
    {AT(limit_procs), "FcgiLimit procs=", UINT32_MAX, "1", "1000000", 1, 1000000, "0", "1000001", "1K",
     "between 1 and 1000000"},
    {AT(limit_core_bytes), "FcgiLimit core=", INT64_MAX, "0", "1024G", 0, 1099511627776, "-1",
     "1099511627777", "64T", "between 0 and 1048576M"},
    {AT(limit_filesize_bytes), "FcgiLimit filesize=", INT64_MAX, "0", "1024G", 0, 1099511627776, "-1",
     "1099511627777", "64T", "between 0 and 1048576M"},
    {AT(limit_stack_bytes), "FcgiLimit stack=", INT64_MAX, "64K", "1G", 65536, 1073741824, "65535",
     "1073741825", "64T", "between 64K and 1024M"},
    {AT(private_tmp_bytes), "FcgiPrivateTmp ", 67108864, "1M", "1024G", 1048576, 1099511627776, "1048575",
     "1099511627777", "64T", "between 1M and 1048576M"},
    {AT(slow_us), "FcgiSlowLog ", 0, "off", "1d", 0, 86400000000, "-1us", "86400000001us", "10w",
     "between 0s and 24h"},
    {AT(cgroup.memory_max), "FcgiCgroupLimit memory.max=", 0, "0", "1024G", 0, 1099511627776, "-1", "1025G",
     "64s", "between 0 and 1048576M"},
    {AT(cgroup.memory_high), "FcgiCgroupLimit memory.high=", 0, "0", "1024G", 0, 1099511627776, "-1", "1025G",
     "64s", "between 0 and 1048576M"},
    {AT(cgroup.cpu_percent), "FcgiCgroupLimit cpu.max=", 0, "0%", "100000%", 0, 100000, "-1%", "100001%",
     "50", "between 0% and 100000%"},
    {AT(cgroup.cpu_weight), "FcgiCgroupLimit cpu.weight=", 0, "0", "10000", 0, 10000, "-1", "10001", "5%",
     "between 0 and 10000"},
    {AT(cgroup.pids_max), "FcgiCgroupLimit pids.max=", 0, "0", "4000000", 0, 4000000, "-1", "4000001", "1K",
     "between 0 and 4000000"},
    {AT(cgroup.io_weight), "FcgiCgroupLimit io.weight=", 0, "0", "10000", 0, 10000, "-1", "10001", "5%",
     "between 0 and 10000"},
};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static void number_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUMBERS; i++) {
        const number_case_t *c = &numbers[i];
        const fcgipm_setting_row_t *row = row_at(c->offset);
        const char *kind = row->kind == FCGIPM_KIND_DURATION  ? "not a time"
                           : row->kind == FCGIPM_KIND_SIZE    ? "not a size"
                           : row->kind == FCGIPM_KIND_OCTAL   ? "not an octal number"
                           : row->kind == FCGIPM_KIND_PERCENT ? "not a percentage"
                                                              : "not a number";

        assert_true(number_of(&set, row) == c->value);
        assert_true(row->min == c->lowest && row->max == c->highest);
        taken(row, c->low, c->lowest);
        taken(row, c->high, c->highest);
        if (c->below[0] == '-')
            REFUSED(row, c->below, c->title, c->below, kind, "write", c->span);
        else
            REFUSED(row, c->below, c->title, c->below, "out of bounds; write", c->span);
        REFUSED(row, c->above, c->title, c->above, "out of bounds; write", c->span);
        REFUSED(row, c->unit, c->title, c->unit, kind, "write", c->span);
        REFUSED(row, "", c->title, kind, "write", c->span);
        if (row->value && strcmp(row->value, "off"))
            REFUSED(row, "junk", c->span, "such as ", row->value);
        else if (row->value)
            REFUSED(row, "junk", c->span, " or off");
        if (row->kind == FCGIPM_KIND_DURATION && c->lowest == 0)
            REFUSED(row, "none", "or off");
        if (row->kind == FCGIPM_KIND_DURATION && c->lowest > 0)
            REFUSED(row, "off", c->title, "off: out of bounds; write", c->span);
        assert_true(number_of(&set, row) == c->highest);
    }
}

static void number_junk(void **state)
{
    static const char *const junk[] = {" ",
                                       " 1",
                                       "1 ",
                                       "\t1",
                                       "+1",
                                       "-1",
                                       "- 1",
                                       "1.5",
                                       "1,5",
                                       "0x10",
                                       "1e3",
                                       "ten",
                                       "1K1",
                                       "s",
                                       "K",
                                       "1 s",
                                       "1 K",
                                       "1-2",
                                       "#",
                                       "1;",
                                       "1\n",
                                       "\n",
                                       "on",
                                       "null",
                                       "%s%n",
                                       "1KiB",
                                       "1ss",
                                       "--1",
                                       "\xc2\xb2",
                                       "\xef\xbc\x91",
                                       "9223372036854775808",
                                       "18446744073709551615",
                                       "18446744073709551616",
                                       "99999999999999999999999999999999",
                                       "9223372036854775807d",
                                       "9223372036854775807G",
                                       "18446744073709551617",
                                       "4294967297G",
                                       "106751992d"};
    char longest[5000];
    (void)state;

    memset(longest, '7', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < NUMBERS; i++) {
        const fcgipm_setting_row_t *row = row_at(numbers[i].offset);

        for (size_t j = 0; j < sizeof junk / sizeof *junk; j++)
            REFUSED(row, junk[j], numbers[i].title, junk[j], "; write");
        REFUSED(row, longest, numbers[i].title, "; write", numbers[i].span);
        /* what wraps to something in bounds is not in bounds */
        if (row->kind == FCGIPM_KIND_COUNT)
            REFUSED(row, "4294967297", "out of bounds");
    }
}

static void units(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } times[] = {{"1", 1000000},
                 {"1s", 1000000},
                 {"1S", 1000000},
                 {"1ms", 1000},
                 {"1us", 1},
                 {"1m", 60000000},
                 {"1min", 60000000},
                 {"1h", 3600000000},
                 {"1d", 86400000000},
                 {"007s", 7000000},
                 {"1000000us", 1000000},
                 {"off", 0},
                 {"Off", 0},
                 {"0", 0},
                 {"0d", 0}};
    static const struct {
        const char *text;
        int64_t bytes;
    } sizes[] = {{"1", 1},        {"1b", 1},        {"1k", 1024},      {"1K", 1024}, {"1KB", 1024},
                 {"1M", 1048576}, {"1mb", 1048576}, {"16M", 16777216}, {"0G", 0},    {"0gb", 0}};
    (void)state;

    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        taken(ROW(read_us), times[i].text, times[i].us);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        taken(ROW(body_memory_bytes), sizes[i].text, sizes[i].bytes);
    REFUSED(ROW(body_memory_bytes), "1G", "out of bounds", "16M");
    taken(ROW(umask), "0077", 077);
    taken(ROW(umask), "77", 077);
    REFUSED(ROW(umask), "8", "FcgiUmask 8", "octal");
    REFUSED(ROW(umask), "028", "FcgiUmask 028", "octal");
    REFUSED(ROW(umask), "0o22", "octal");
    taken(ROW(processes_max), "010", 10); /* no octal here */
}

/* --- the other rows --- */

static void choices(void **state)
{
    (void)state;
    assert_int_equal(set.keep_conn, FCGIPM_AUTO);
    assert_int_equal(set.client_abort, 0);
    assert_int_equal(set.body_streams, 0);
    taken(ROW(body_streams), "Off", 1);
    taken(ROW(body_streams), "on", 0);
    taken(ROW(keep_conn), "On", FCGIPM_ON);
    taken(ROW(keep_conn), "off", FCGIPM_OFF);
    taken(ROW(keep_conn), "AUTO", FCGIPM_AUTO);
    taken(ROW(client_abort), "Finish", 1);
    taken(ROW(client_abort), "abort", 0);
    taken(ROW(client_abort), "finish", 1);
    static const char *const junk[] = {"",  " ",   "Yes", "1",     "0",      "Auto|On", "Aut",
                                       "|", "On ", " On", "Autoo", "Abort|", "true",    "Abort|Finish"};
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        REFUSED(ROW(keep_conn), junk[i], "FcgiKeepConn ", junk[i], "write one of Auto|On|Off");
        REFUSED(ROW(client_abort), junk[i], "FcgiClientAbort ", junk[i], "write one of Abort|Finish");
    }
    REFUSED(ROW(client_abort), "On", "FcgiClientAbort On", "Abort|Finish");
    assert_int_equal(set.client_abort, 1);
}

static void strings(void **state)
{
    static const struct {
        size_t offset;
        const char *directive;
    } rows[] = {{AT(user), "FcgiUser"}, {AT(group), "FcgiUser"}, {AT(directory), "FcgiDirectory"}};
    char text[] = "value", *bytes = text;
    (void)state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const fcgipm_setting_row_t *row = row_at(rows[i].offset);
        const char **member = (const char **)(void *)((char *)&set + row->offset);

        assert_string_equal(row->directive, rows[i].directive);
        assert_null(*member);
        assert_null(fcgipm_setting_parse(&set, row, bytes, pool));
        assert_string_equal(*member, "value");
        assert_ptr_not_equal(*member, bytes);
        assert_null(fcgipm_setting_parse(&set, row, "/a b/\xc3\xa4", pool));
        assert_string_equal(*member, "/a b/\xc3\xa4");
        REFUSED(row, "", rows[i].directive, "empty", "write: ", rows[i].directive, row->syntax);
        REFUSED(row, "a\nb", rows[i].directive, "control characters; write: ", row->syntax);
        REFUSED(row, "\x1b[0m", rows[i].directive, "control characters");
        REFUSED(row, "a\x7f", rows[i].directive, "control characters");
    }
}

static void addresses(void **state)
{
    const fcgipm_setting_row_t *row = ROW(connect);
    (void)state;

    assert_null(set.connect);
    assert_null(fcgipm_setting_parse(&set, row, "tcp:[0:0::1]:09000", pool));
    assert_string_equal(set.connect, "[::1]:9000");
    assert_null(fcgipm_setting_parse(&set, row, "/run/a.sock", pool));
    assert_string_equal(set.connect, "unix:/run/a.sock");
    REFUSED(row, "", "FcgiConnect ", "no port", "write unix:/path");
    REFUSED(row, "9000", "FcgiConnect 9000", "write unix:/path");
    REFUSED(row, "127.0.0.1:0", "FcgiConnect 127.0.0.1:0", "1 and 65535", "write");
    REFUSED(row, "127.0.0.1:65536", "FcgiConnect 127.0.0.1:65536", "1 and 65535", "write");
    REFUSED(row, "unix:run", "FcgiConnect unix:run", "absolute", "write");
    REFUSED(row, "/a\nb", "FcgiConnect", "control characters", "write: FcgiConnect unix:/path");
    assert_string_equal(set.connect, "unix:/run/a.sock");
}

static const char *nth(const apr_array_header_t *list, int i)
{
    return APR_ARRAY_IDX(list, i, const char *);
}

/* Words arrive without their quotes, and stay whatever they are: there is no shell and no second reading. */
static void command_words(void **state)
{
    static const char *const words[] = {
        "/srv/my app/app.fcgi", "",    " ",         "a b",      "\"a\"", "'",
        "$HOME;`id`",           "\\n", "tab\there", "\xc3\xa4", "--x=y", "%s"};
    const int count = sizeof words / sizeof *words;
    char buffer[64];
    (void)state;

    assert_null(set.command);
    for (int i = 0; i < count; i++) {
        strcpy(buffer, words[i]);
        assert_null(fcgipm_setting_parse(&set, ROW(command), buffer, pool));
    }
    assert_int_equal(set.command->nelts, count);
    for (int i = 0; i < count; i++)
        assert_string_equal(nth(set.command, i), words[i]);
    assert_null(set.env);
    fcgipm_setting_finish(&set);
    assert_null(fcgipm_setting_check(&set, pool));
}

static void env_list(void **state)
{
    (void)state;
    assert_null(fcgipm_setting_parse(&set, ROW(env), "A=1", pool));
    assert_null(fcgipm_setting_parse(&set, ROW(env), "B=", pool));
    assert_null(fcgipm_setting_parse(&set, ROW(env), "A=2=3 \"x\"\nline", pool));
    assert_int_equal(set.env->nelts, 3);
    assert_string_equal(nth(set.env, 0), "A=1");
    assert_string_equal(nth(set.env, 1), "B=");
    assert_string_equal(nth(set.env, 2), "A=2=3 \"x\"\nline");
    assert_null(set.command);
}

static apr_array_header_t *written(const fcgipm_setting_t *s)
{
    apr_array_header_t *out = apr_array_make(pool, 16, 1);

    fcgipm_setting_write(s, out);
    return out;
}

static apr_status_t read_back(fcgipm_setting_t *s, const char *bytes, size_t len, fcgipm_fault_t *fault)
{
    /* of its own, so that a sanitizer sees a read behind the end */
    unsigned char *copy = malloc(len ? len : 1);
    const unsigned char *in = copy, *end = copy + len;
    apr_status_t rv;

    memcpy(copy, bytes, len);
    rv = fcgipm_setting_read(s, &in, end, pool, fault);
    assert_true(in <= end);
    if (rv == APR_SUCCESS)
        assert_true(in == end);
    free(copy);
    return rv;
}

/* What a reader would refuse is not taken when it is configured. */
static void longest_list(void **state)
{
    const fcgipm_setting_row_t *row = ROW(env);
    fcgipm_setting_t other;
    fcgipm_fault_t fault;
    unsigned count = 0;
    (void)state;

    fcgipm_setting_parse(&set, ROW(command), "/bin/app", pool);
    set.name = "a";
    fcgipm_setting_finish(&set);
    while (count < 5000 && !fcgipm_setting_parse(&set, row, "A=1", pool))
        count++;
    assert_in_range(count, 1000, 4999);
    REFUSED(row, "A=1", "FcgiEnv", "at most", "write");
    assert_int_equal(set.env->nelts, count);
    apr_array_header_t *bytes = written(&set);
    assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_SUCCESS);
    assert_int_equal(other.env->nelts, count);
}

/* Numbers that may be negative, and that may be none at all, which is not 0. */
static void integers(void **state)
{
    fcgipm_setting_t other;
    fcgipm_fault_t fault;
    apr_array_header_t *bytes;
    (void)state;

    assert_int_equal(set.nice, FCGIPM_NO_INTEGER);
    assert_int_equal(set.oom, FCGIPM_NO_INTEGER);
    taken(ROW(nice), "-20", -20);
    taken(ROW(nice), "0", 0);
    taken(ROW(nice), "19", 19);
    taken(ROW(nice), "Off", FCGIPM_NO_INTEGER);
    taken(ROW(oom), "-1000", -1000);
    REFUSED(ROW(oom), "-1001", "FcgiPriority oom=-1001: out of bounds; write",
            "between -1000 and 1000 or off");
    REFUSED(ROW(oom), "1001", "FcgiPriority oom=1001: out of bounds");
    static const char *const junk[] = {"", "-", "--1", "- 1", "+1", "1.5", "-1s", "0x1", "none", "-off"};
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++)
        REFUSED(ROW(nice), junk[i], "FcgiPriority nice=", "not a number; write", "between -20 and 19 or off");
    REFUSED(ROW(nice), "-4294967290", "out of bounds");
    REFUSED(ROW(nice), "4294967290", "out of bounds");
    REFUSED(ROW(nice), "-2147483648", "out of bounds"); /* what off is kept as */
    REFUSED(ROW(limit_procs), "4294967295", "out of bounds");
    REFUSED(ROW(limit_core_bytes), "9223372036854775807", "out of bounds");
    for (int bad = 0; bad < 2; bad++) {
        fcgipm_setting_defaults(&set, pool);
        fcgipm_setting_parse(&set, ROW(command), "/bin/app", pool);
        fcgipm_setting_finish(&set);
        set.nice = bad ? 20 : -21;
        bytes = written(&set);
        assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_EINVAL);
    }
}

/* --- the table as a whole --- */

static void every_row(void **state)
{
    (void)state;
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_rows[i];
        unsigned cases = 0;

        for (size_t j = 0; j < NUMBERS; j++)
            cases += numbers[j].offset == row->offset;
        if (row->kind <= FCGIPM_KIND_OCTAL && cases != 1)
            fail_msg("%s %s has no row in this test", row->directive, row->key ? row->key : "");
        assert_true(!strncmp(row->directive, "Fcgi", 4));
        assert_true(row->offset < sizeof set);
        assert_true(row->min <= row->max);
        assert_non_null(row->syntax);
        assert_true(*row->doc && row->doc[strlen(row->doc) - 1] == '.');
        assert_int_equal(row->words && strcmp(row->words, "Auto") && strcmp(row->words, "off"),
                         row->kind == FCGIPM_KIND_CHOICE);
        if (row->key)
            assert_true(!strncmp(row->syntax, row->key, strlen(row->key)) &&
                        row->syntax[strlen(row->key)] == '=');
        if (row->value) /* a default is what a user may write */
            assert_null(fcgipm_setting_parse(&set, row, row->value, pool));
        for (unsigned j = 0; j < i; j++)
            assert_true(fcgipm_setting_rows[j].offset != row->offset);
    }
}

static void defaults(void **state)
{
    fcgipm_setting_t again;
    (void)state;

    memset(&again, 0xaa, sizeof again);
    fcgipm_setting_defaults(&again, pool);
    assert_string_equal(again.name, "");
    assert_string_equal(again.vhost, "");
    assert_int_equal(again.scope, 0);
    assert_null(again.command);
    assert_null(again.env);
    assert_null(again.connect);
    for (size_t i = 0; i < NUMBERS; i++)
        assert_true(number_of(&again, row_at(numbers[i].offset)) == numbers[i].value);
    assert_true(fcgipm_setting_fingerprint(&again) == fcgipm_setting_fingerprint(&set));
}

/* What was said stands over the default, the last over the first, and nothing else moves. */
static void said_over_default(void **state)
{
    fcgipm_setting_t plain = set;
    (void)state;

    taken(ROW(read_us), "7s", 7000000);
    taken(ROW(read_us), "8s", 8000000);
    taken(ROW(processes_max), "9", 9);
    plain.read_us = 8000000;
    plain.processes_max = 9;
    assert_memory_equal(&plain, &set, sizeof set);
    fcgipm_setting_finish(&set);
    assert_true(set.read_us == 8000000);
    assert_int_equal(set.processes_max, 9);
    assert_int_equal(set.processes_min, 1);
}

static void finish(void **state)
{
    fcgipm_setting_t before;
    (void)state;

    fcgipm_setting_finish(&set);
    assert_int_equal(set.concurrency, 1);
    assert_int_equal(set.keep_conn, FCGIPM_ON);
    before = set;
    fcgipm_setting_finish(&set);
    assert_memory_equal(&before, &set, sizeof set);

    fcgipm_setting_defaults(&set, pool);
    set.connect = "127.0.0.1:9000";
    fcgipm_setting_finish(&set);
    assert_int_equal(set.concurrency, 32);
    assert_int_equal(set.keep_conn, FCGIPM_OFF);

    fcgipm_setting_defaults(&set, pool);
    set.connect = "127.0.0.1:9000";
    taken(ROW(concurrency), "1", 1);
    assert_int_equal(set.body_streams, 0);
    taken(ROW(body_streams), "Off", 1);
    taken(ROW(body_streams), "on", 0);
    taken(ROW(keep_conn), "On", FCGIPM_ON);
    fcgipm_setting_finish(&set);
    assert_int_equal(set.concurrency, 1);
    assert_int_equal(set.keep_conn, FCGIPM_ON);

    fcgipm_setting_defaults(&set, pool);
    taken(ROW(concurrency), "8", 8);
    taken(ROW(keep_conn), "Off", FCGIPM_OFF);
    fcgipm_setting_finish(&set);
    assert_int_equal(set.concurrency, 8);
    assert_int_equal(set.keep_conn, FCGIPM_OFF);
    assert_int_equal(fcgipm_setting_places(&set), 8);

    fcgipm_setting_defaults(&set, pool);
    taken(ROW(concurrency), "auto", 0);
    fcgipm_setting_finish(&set);
    assert_int_equal(set.concurrency, 0);
    assert_int_equal(fcgipm_setting_places(&set), FCGIPM_CONCURRENCY_AUTO);

    fcgipm_setting_defaults(&set, pool);
    set.connect = "127.0.0.1:9000";
    taken(ROW(concurrency), "Auto", 0);
    fcgipm_setting_finish(&set);
    assert_int_equal(set.concurrency, 32);
}

static void contradicts(const char *what, const char *advice)
{
    const char *sentence = fcgipm_setting_check(&set, pool);

    if (!sentence || !strstr(sentence, what) || !strstr(sentence, advice))
        fail_msg("'%s' does not say '%s' and '%s'", sentence ? sentence : "nothing", what, advice);
}

/* From settings that are right, and back to them. */
static void wall_rules(void)
{
    set.root = "jail";
    contradicts("FcgiRoot jail", "begins with /");
    set.root = "//";
    contradicts("FcgiRoot //", "not all there is");
    set.root = "/srv/jail";
    assert_null(fcgipm_setting_check(&set, pool));
    set.ready = FCGIPM_READY_NOTIFY;
    contradicts("FcgiReady Notify", "write FcgiReady Auto");
    set.ready = FCGIPM_READY_AUTO;
    set.suexec = "On";
    contradicts("FcgiSuexec and FcgiRoot exclude each other", "leave one");
    set.suexec = "off";
    assert_null(fcgipm_setting_check(&set, pool));
    set.root = NULL;
    set.suexec = "/usr/lib/apache2/suexec";
    assert_null(fcgipm_setting_check(&set, pool));
    set.no_new_privs = 1;
    contradicts("FcgiSuexec and FcgiNoNewPrivs exclude each other", "leave one");
    set.no_new_privs = 0;
    set.suexec = NULL;
    set.private_tmp = 1;
    assert_null(fcgipm_setting_check(&set, pool));
    set.directory = "/tmp";
    contradicts("FcgiDirectory /tmp: with FcgiPrivateTmp", "somewhere else");
    set.directory = "/var/tmp/app";
    contradicts("FcgiDirectory /var/tmp/app", "somewhere else");
    set.directory = "/tmpfiles";
    assert_null(fcgipm_setting_check(&set, pool));
    set.private_tmp = 0;
    set.directory = "/srv";
    fcgipm_setting_parse(&set, ROW(read_only), "/usr", pool);
    assert_null(fcgipm_setting_check(&set, pool));
    fcgipm_setting_parse(&set, ROW(read_only), "etc", pool);
    contradicts("FcgiReadOnlyPaths etc: not a full path", "begins with /");
    set.read_only = NULL;
    fcgipm_setting_parse(&set, ROW(inaccessible), "home", pool);
    contradicts("FcgiInaccessiblePaths home: not a full path", "begins with /");
    set.inaccessible = NULL;
    assert_null(fcgipm_setting_check(&set, pool));
}

static void rules(void **state)
{
    (void)state;
    fcgipm_setting_finish(&set);
    contradicts("neither FcgiCommand nor FcgiConnect", "write");
    set.command = apr_array_make(pool, 1, sizeof(const char *));
    contradicts("neither FcgiCommand nor FcgiConnect", "write");
    fcgipm_setting_parse(&set, ROW(command), "/bin/app", pool);
    assert_null(fcgipm_setting_check(&set, pool));
    set.connect = "[::1]:9000";
    contradicts("FcgiCommand and FcgiConnect", "keep");
    set.command = NULL;
    assert_null(fcgipm_setting_check(&set, pool));
    set.connect = NULL;
    fcgipm_setting_parse(&set, ROW(command), "app", pool);
    contradicts("FcgiCommand app: not a full path", "write one that begins with /");
    set.command = NULL;
    fcgipm_setting_parse(&set, ROW(command), "", pool);
    contradicts("FcgiCommand", "not a full path");
    set.command = NULL;
    fcgipm_setting_parse(&set, ROW(command), "/bin/app", pool);
    set.directory = "srv";
    contradicts("FcgiDirectory srv: not a full path", "begins with /");
    set.directory = "/srv";
    assert_null(fcgipm_setting_check(&set, pool));
    wall_rules();
    set.processes_min = 5;
    contradicts("FcgiProcesses 5 4", "smaller");
    set.processes_min = set.processes_max = 256;
    set.concurrency = 31;
    assert_null(fcgipm_setting_check(&set, pool));
    set.concurrency = 32;
    contradicts("FcgiProcesses 256 times FcgiConcurrency 32", "write");
    /* an application of somebody else has no processes here */
    set.command = NULL;
    set.connect = "[::1]:9000";
    set.concurrency = 1024;
    assert_null(fcgipm_setting_check(&set, pool));
}

/* --- bytes and fingerprints --- */

static void make_full(fcgipm_setting_t *s)
{
    fcgipm_setting_defaults(s, pool);
    s->name = "blog";
    s->vhost = "www.example.org:443";
    s->scope = 0xdeadbeef;
    fcgipm_setting_parse(s, ROW(command), "/srv/app", pool);
    fcgipm_setting_parse(s, ROW(command), "", pool);
    fcgipm_setting_parse(s, ROW(command), "two words", pool);
    fcgipm_setting_parse(s, ROW(user), "nobody", pool);
    fcgipm_setting_parse(s, ROW(directory), "/srv", pool);
    fcgipm_setting_parse(s, ROW(env), "A=1", pool);
    fcgipm_setting_parse(s, ROW(env), "B=\n", pool);
    fcgipm_setting_parse(s, ROW(sendfile), "/srv/files", pool);
    fcgipm_setting_parse(s, ROW(sendfile), "/srv/more", pool);
    fcgipm_setting_finish(s);
}

static void same_text(const char *a, const char *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (a && b)
        assert_string_equal(a, b);
}

static void same_list(const apr_array_header_t *a, const apr_array_header_t *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (!a || !b)
        return;
    assert_int_equal(a->nelts, b->nelts);
    for (int i = 0; i < a->nelts; i++)
        assert_string_equal(nth(a, i), nth(b, i));
}

static void same(const fcgipm_setting_t *a, const fcgipm_setting_t *b)
{
    same_text(a->name, b->name);
    same_text(a->vhost, b->vhost);
    assert_int_equal(a->scope, b->scope);
    same_list(a->command, b->command);
    same_list(a->env, b->env);
    same_list(a->sendfile, b->sendfile);
    same_text(a->connect, b->connect);
    same_text(a->user, b->user);
    same_text(a->group, b->group);
    same_text(a->directory, b->directory);
    same_text(a->root, b->root);
    same_list(a->read_only, b->read_only);
    same_list(a->inaccessible, b->inaccessible);
    assert_int_equal(a->nice, b->nice);
    assert_int_equal(a->oom, b->oom);
    assert_int_equal(a->ioprio, b->ioprio);
    assert_int_equal(a->no_new_privs, b->no_new_privs);
    assert_int_equal(a->private_tmp, b->private_tmp);
    assert_int_equal(a->keep_conn, b->keep_conn);
    assert_int_equal(a->client_abort, b->client_abort);
    for (size_t i = 0; i < NUMBERS; i++)
        assert_true(number_of(a, row_at(numbers[i].offset)) == number_of(b, row_at(numbers[i].offset)));
    assert_true(fcgipm_setting_fingerprint(a) == fcgipm_setting_fingerprint(b));
    assert_true(fcgipm_setting_key(a) == fcgipm_setting_key(b));
}

static void round_trip(void **state)
{
    fcgipm_setting_t other;
    fcgipm_fault_t fault;
    apr_array_header_t *bytes;
    (void)state;

    make_full(&set);
    bytes = written(&set);
    assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_SUCCESS);
    same(&set, &other);
    /* all bounds at once, and lists that are there but empty */
    for (int high = 0; high < 2; high++) {
        make_full(&set);
        for (size_t i = 0; i < NUMBERS; i++)
            taken(row_at(numbers[i].offset), high ? numbers[i].high : numbers[i].low,
                  high ? numbers[i].highest : numbers[i].lowest);
        set.command = NULL;
        set.env = apr_array_make(pool, 1, sizeof(const char *));
        set.connect = "unix:/run/a.sock";
        set.user = set.directory = NULL;
        set.keep_conn = high ? FCGIPM_OFF : FCGIPM_AUTO;
        set.client_abort = (uint32_t)high;
        taken(ROW(nice), high ? "19" : "-20", high ? 19 : -20);
        taken(ROW(oom), high ? "off" : "-1000", high ? INT32_MIN : -1000);
        taken(ROW(ioprio), high ? "best-effort:7" : "idle", high ? 9 : 1);
        taken(ROW(no_new_privs), high ? "On" : "Off", high);
        taken(ROW(private_tmp), high ? "On" : "Off", high);
        set.root = high ? "/srv/jail" : NULL;
        fcgipm_setting_parse(&set, ROW(read_only), "/usr", pool);
        fcgipm_setting_parse(&set, ROW(inaccessible), "/home", pool);
        bytes = written(&set);
        assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_SUCCESS);
        same(&set, &other);
    }
}

static void truncated(void **state)
{
    fcgipm_setting_t other;
    fcgipm_fault_t fault;
    apr_array_header_t *bytes;
    (void)state;

    make_full(&set);
    bytes = written(&set);
    for (int len = 0; len < bytes->nelts; len++) {
        fcgipm_fault_clear(&fault);
        if (read_back(&other, bytes->elts, (size_t)len, &fault) != APR_EINVAL)
            fail_msg("%d of %d bytes were taken", len, bytes->nelts);
        assert_string_equal(fault.step, "settings");
        assert_true(*fault.sentence);
        assert_int_equal(read_back(&other, bytes->elts, (size_t)len, NULL), APR_EINVAL);
    }
}

/* Numbers that parse would refuse are refused by read as well; so are contradictions. */
static void foreign_values(void **state)
{
    fcgipm_setting_t other;
    fcgipm_fault_t fault;
    apr_array_header_t *bytes;
    (void)state;

    for (size_t i = 0; i < NUMBERS; i++) {
        const fcgipm_setting_row_t *row = row_at(numbers[i].offset);
        char *at = (char *)&set + row->offset;

        for (int high = 0; high < 2; high++) {
            int64_t wide = high ? row->max + 1 : row->min - 1;
            uint32_t narrow = (uint32_t)wide;

            if (wide == 0 && row->words && strcmp(row->words, "off")) /* Auto */
                continue;
            make_full(&set);
            if (row->kind == FCGIPM_KIND_DURATION || row->kind == FCGIPM_KIND_SIZE)
                memcpy(at, &wide, sizeof wide);
            else
                memcpy(at, &narrow, sizeof narrow);
            bytes = written(&set);
            assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_EINVAL);
            assert_non_null(strstr(fault.sentence, row->directive));
            assert_non_null(strstr(fault.sentence, "blog"));
        }
    }
    make_full(&set);
    set.keep_conn = 3;
    bytes = written(&set);
    assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_EINVAL);
    make_full(&set);
    set.processes_min = 5;
    bytes = written(&set);
    assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_EINVAL);
    assert_non_null(strstr(fault.sentence, "blog contradicts itself"));
    make_full(&set);
    set.name = "0123456789012345678901234567890123456789012345678901234567890123";
    bytes = written(&set);
    assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_EINVAL);
    make_full(&set);
    bytes = written(&set);
    bytes->elts[0]++; /* another count of rows */
    assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_EINVAL);
    assert_non_null(strstr(fault.sentence, "another build"));
}

/* A string that would end before its length says, and a list with a word that is none. */
static void foreign_strings(void **state)
{
    fcgipm_setting_t other;
    fcgipm_fault_t fault;
    apr_array_header_t *bytes;
    char *at;
    (void)state;

    make_full(&set);
    bytes = written(&set);
    at = memmem(bytes->elts, (size_t)bytes->nelts, "nobody", 6);
    assert_non_null(at);
    at[3] = '\0';
    assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_EINVAL);
    assert_string_equal(fault.sentence, "FcgiUser of pool blog is not readable");

    make_full(&set);
    bytes = written(&set);
    /* between "/srv/app" and "two words" stands the empty word, of length 0 + 1 */
    at = memmem(bytes->elts, (size_t)bytes->nelts, "/srv/app\1\0\0\0", 12);
    assert_non_null(at);
    at[8] = 0;
    assert_int_equal(read_back(&other, bytes->elts, (size_t)bytes->nelts, &fault), APR_EINVAL);
    assert_string_equal(fault.sentence, "FcgiCommand of pool blog is not readable");
}

static void fingerprints(void **state)
{
    uint64_t seen[64], plain;
    unsigned count = 0;
    fcgipm_setting_t one;
    (void)state;

    make_full(&set);
    plain = fcgipm_setting_fingerprint(&set);
    seen[count++] = plain;
    set.scope++;
    assert_true(fcgipm_setting_fingerprint(&set) == plain);
    set.sendfile = NULL; /* no process needs to go for it */
    assert_true(fcgipm_setting_fingerprint(&set) == plain);
    for (size_t i = 0; i < NUMBERS; i++) {
        const number_case_t *c = &numbers[i];
        make_full(&set);
        assert_null(fcgipm_setting_parse(&set, row_at(c->offset), c->high, pool));
        seen[count++] = fcgipm_setting_fingerprint(&set);
    }
#define OTHER(statement)                                                                                     \
    make_full(&set);                                                                                         \
    statement;                                                                                               \
    seen[count++] = fcgipm_setting_fingerprint(&set)
    OTHER(set.user = NULL);
    OTHER(set.user = "");
    OTHER((set.group = set.user, set.user = NULL));
    OTHER(set.connect = "[::1]:9000");
    OTHER(set.keep_conn = FCGIPM_OFF);
    OTHER(set.client_abort = 1);
    OTHER(set.env = NULL);
    OTHER(set.env->nelts--);
    OTHER(fcgipm_setting_parse(&set, ROW(command), "", pool));
    OTHER(fcgipm_setting_parse(&set, ROW(env), "C=", pool));
    OTHER(APR_ARRAY_IDX(set.command, 2, const char *) = "two");
    OTHER(set.name = "blo");
    OTHER(set.vhost = "");
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < i; j++)
            if (seen[i] == seen[j])
                fail_msg("%u and %u have the same fingerprint", i, j);

    /* the key: name and vhost, and where the one ends */
    make_full(&set);
    one = set;
    taken(ROW(processes_max), "200", 200);
    assert_true(fcgipm_setting_key(&one) == fcgipm_setting_key(&set));
    one.vhost = "a";
    one.name = "bc";
    set.vhost = "ab";
    set.name = "c";
    assert_true(fcgipm_setting_key(&one) != fcgipm_setting_key(&set));
    /* the same in every process and every build: the registry keeps it over restarts */
    set.vhost = "";
    set.name = "blog";
    uint64_t hash = 0xcbf29ce484222325u;
    static const char text[] = "s\0sblog";
    for (size_t i = 0; i < sizeof text; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    assert_true(fcgipm_setting_key(&set) == hash);
}

static int begin(void **state)
{
    (void)state;
    return apr_initialize() == APR_SUCCESS ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    apr_terminate();
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(number_rows),    TEST(number_junk),     TEST(units),         TEST(choices),
        TEST(strings),        TEST(addresses),       TEST(command_words), TEST(env_list),
        TEST(longest_list),   TEST(every_row),       TEST(defaults),      TEST(said_over_default),
        TEST(finish),         TEST(rules),           TEST(round_trip),    TEST(truncated),
        TEST(foreign_values), TEST(foreign_strings), TEST(fingerprints),  TEST(integers),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
