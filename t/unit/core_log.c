/* SPDX-License-Identifier: Apache-2.0 */
/* The log: line format, levels, what escaping leaves and what it cuts; and the fault that is logged with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>
#include "core/fault.h"
#include "core/log.h"

static struct seen {
    unsigned count, scope;
    int level;
    apr_status_t status;
    void *ctx;
    char line[4096];
} seen;

static void remember(void *ctx, int level, apr_status_t status, unsigned scope, const char *line)
{
    seen.count++;
    seen.ctx = ctx;
    seen.level = level;
    seen.status = status;
    seen.scope = scope;
    snprintf(seen.line, sizeof seen.line, "%s", line);
}

static int setup(void **state)
{
    *state = NULL;
    memset(&seen, 0, sizeof seen);
    fcgipm_log_set(remember, &seen, FCGIPM_LOG_INFO);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fcgipm_log_set(NULL, NULL, FCGIPM_LOG_INFO);
    return 0;
}

static void a_line(void **state)
{
    (void)state;
    FCGIPM_LOG(7, FCGIPM_LOG_ERR, APR_EINVAL, 3, "%s has %d", "pool blog", 4);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.line, "FPM0007: pool blog has 4");
    assert_int_equal(seen.level, FCGIPM_LOG_ERR);
    assert_int_equal(seen.status, APR_EINVAL);
    assert_int_equal(seen.scope, 3);
    assert_ptr_equal(seen.ctx, &seen);
    FCGIPM_LOG(999, FCGIPM_LOG_INFO, 0, 0, "no arguments");
    assert_string_equal(seen.line, "FPM0999: no arguments");
    FCGIPM_LOG(0xffffffffu, FCGIPM_LOG_INFO, 0, 0, "%s", "");
    assert_string_equal(seen.line, "FPM4294967295: ");
}

static void levels(void **state)
{
    int evaluated = 0;
    (void)state;

    FCGIPM_LOG(1, FCGIPM_LOG_DEBUG, 0, 0, "%d", ++evaluated);
    assert_int_equal(seen.count, 0);
    assert_int_equal(evaluated, 0);
    for (int max = FCGIPM_LOG_ERR; max <= FCGIPM_LOG_TRACE; max++) {
        fcgipm_log_level(max);
        assert_int_equal(fcgipm_log_max, max);
        for (int level = FCGIPM_LOG_ERR; level <= FCGIPM_LOG_TRACE; level++) {
            seen.count = 0;
            FCGIPM_LOG(1, level, 0, 0, "x");
            assert_int_equal(seen.count, level <= max);
        }
    }
}

static void long_line(void **state)
{
    char text[5000];
    (void)state;

    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    FCGIPM_LOG(1, FCGIPM_LOG_ERR, 0, 0, "%s", text);
    assert_int_equal(strlen(seen.line), 2047);
    assert_memory_equal(seen.line, "FPM0001: aaa", 12);
}

/* Without a logger of one's own lines go to stderr, each with its level, and a status only when there is one.
 */
static void standard_error(void **state)
{
    char text[256];
    int fd[2], saved = dup(STDERR_FILENO);
    ssize_t len;
    (void)state;

    assert_int_equal(pipe(fd), 0);
    fflush(stderr);
    dup2(fd[1], STDERR_FILENO);
    fcgipm_log_set(NULL, NULL, FCGIPM_LOG_INFO);
    FCGIPM_LOG(12, FCGIPM_LOG_WARN, 0, 5, "one");
    FCGIPM_LOG(13, FCGIPM_LOG_ERR, 22, 0, "two");
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fd[1]);
    len = read(fd[0], text, sizeof text - 1);
    close(fd[0]);
    assert_true(len > 0);
    text[len] = '\0';
    assert_string_equal(text, "[fcgipm:4] [5] FPM0012: one\n[fcgipm:3] (22) [0] FPM0013: two\n");
}

static void escaped(const char *src, size_t len, const char *expected)
{
    char out[256];
    size_t size = fcgipm_log_escape(out, sizeof out, src, len);

    assert_string_equal(out, expected);
    assert_int_equal(size, strlen(expected));
}
#define ESCAPED(src, expected) escaped(src, sizeof(src) - 1, expected)

static void escaping(void **state)
{
    (void)state;
    ESCAPED("", "");
    ESCAPED("plain text, \"quoted\" %s", "plain text, \"quoted\" %s");
    ESCAPED("a\\b", "a\\\\b");
    ESCAPED("a\tb", "a\\tb");
    ESCAPED("a\nb\r\n", "a\\x0ab\\x0d\\x0a");
    ESCAPED("a\0b", "a\\x00b");
    ESCAPED("\x1b[31m", "\\x1b[31m");
    ESCAPED("~\x7f", "~\\x7f");
    for (unsigned c = 1; c < 256; c++) {
        char in = (char)c, out[16];

        fcgipm_log_escape(out, sizeof out, &in, 1);
        for (char *p = out; *p; p++)
            assert_in_range((unsigned char)*p, 0x20, 0x7e);
    }
}

static void utf8(void **state)
{
    (void)state;
    ESCAPED("\xc3\xa4", "\xc3\xa4");
    ESCAPED("\xe2\x82\xac", "\xe2\x82\xac");
    ESCAPED("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
    ESCAPED("\xc2\xa0", "\xc2\xa0");                     /* first behind the C1 controls */
    ESCAPED("\xc2\x9b", "\\xc2\\x9b");                   /* CSI */
    ESCAPED("\xc0\xaf", "\\xc0\\xaf");                   /* overlong */
    ESCAPED("\xe0\x80\xaf", "\\xe0\\x80\\xaf");          /* overlong */
    ESCAPED("\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf"); /* overlong */
    ESCAPED("\xed\xa0\x80", "\\xed\\xa0\\x80");          /* surrogate */
    ESCAPED("\xed\x9f\xbf", "\xed\x9f\xbf");             /* just below */
    ESCAPED("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf");     /* U+10FFFF */
    ESCAPED("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* above */
    ESCAPED("\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80");
    ESCAPED("\x80x\xbf", "\\x80x\\xbf");
    ESCAPED("\xe2\x82", "\\xe2\\x82"); /* cut off */
    ESCAPED("\xe2\x82xyz", "\\xe2\\x82xyz");
    ESCAPED("\xc3\n", "\\xc3\\x0a");
}

static void at_every_size(void **state)
{
    static const char text[] = "ab\\\xc3\xa4\n\xe2\x82\xac"
                               "c\xff"
                               "d\0e";
    static const char whole[] = "ab\\\\\xc3\xa4\\x0a\xe2\x82\xac"
                                "c\\xffd\\x00e";
    char none = 'x';
    (void)state;

    assert_int_equal(fcgipm_log_escape(&none, 0, text, sizeof text - 1), 0);
    assert_int_equal(none, 'x');
    for (size_t cap = 1; cap < sizeof whole + 5; cap++) {
        char *out = malloc(cap); /* so that a sanitizer sees a byte too many */
        size_t len = fcgipm_log_escape(out, cap, text, sizeof text - 1);

        assert_true(len < cap);
        assert_int_equal(strlen(out), len);
        if (cap >= sizeof whole) {
            assert_string_equal(out, whole);
        } else if (cap > 3) {
            assert_string_equal(out + len - 3, "...");
            assert_memory_equal(out, whole, len - 3);
            /* as much as fits: the next piece has four bytes at most */
            assert_true(len + 4 >= cap);
        } else {
            assert_memory_equal(out, "...", len);
        }
        free(out);
    }
}

static void noise(void **state)
{
    char in[64];
    (void)state;

    srandom(11);
    for (unsigned run = 0; run < 20000; run++) {
        size_t len = (size_t)(random() % (long)sizeof in), cap = (size_t)(random() % 80) + 1;
        char *src = malloc(len + 1), *out = malloc(cap);
        char *tight = len ? malloc(len) : NULL;

        for (size_t i = 0; i < len; i++)
            src[i] = (char)(random() & 1 ? 0x80 + random() % 128 : random() % 256);
        if (tight)
            memcpy(tight, src, len);
        size_t used = fcgipm_log_escape(out, cap, tight, len);
        assert_true(used < cap);
        assert_int_equal(strlen(out), used);
        for (size_t i = 0; i < used; i++)
            assert_true((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
        free(src);
        free(tight);
        free(out);
    }
}

static void faults(void **state)
{
    fcgipm_fault_t fault;
    char text[400];
    (void)state;

    memset(&fault, 0xaa, sizeof fault);
    fcgipm_fault_clear(&fault);
    assert_int_equal(fault.status, APR_SUCCESS);
    assert_string_equal(fault.step, "");
    assert_string_equal(fault.sentence, "");
    assert_int_equal(fault.phase, FCGIPM_PHASE_NOTHING_SENT);
    fault.phase = FCGIPM_PHASE_SENT;
    assert_int_equal(fcgipm_fault_set(&fault, APR_ENOMEM, "fork", "%d of %s", 3, "blog"), APR_ENOMEM);
    assert_int_equal(fault.status, APR_ENOMEM);
    assert_string_equal(fault.step, "fork");
    assert_string_equal(fault.sentence, "3 of blog");
    assert_int_equal(fault.phase, FCGIPM_PHASE_SENT);
    memset(text, 's', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    fcgipm_fault_set(&fault, APR_EINVAL, "exec", "%s", text);
    assert_int_equal(strlen(fault.sentence), sizeof fault.sentence - 1);
    assert_int_equal(fcgipm_fault_set(NULL, APR_EGENERAL, "exec", "%s", text), APR_EGENERAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line),         cmocka_unit_test(levels),   cmocka_unit_test(long_line),
        cmocka_unit_test(standard_error), cmocka_unit_test(escaping), cmocka_unit_test(utf8),
        cmocka_unit_test(at_every_size),  cmocka_unit_test(noise),    cmocka_unit_test(faults),
    };
    struct CMUnitTest with[sizeof tests / sizeof *tests];

    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        with[i] = tests[i];
        with[i].setup_func = setup;
        with[i].teardown_func = teardown;
    }
    return cmocka_run_group_tests(with, NULL, NULL);
}
