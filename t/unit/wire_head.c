/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_split.h"

static const wire_head_plan_t roomy = {1000, 1000};
static const wire_head_plan_t growing = {1, 1000};
static const wire_head_plan_t no_first_buffer = {0, 1000};

/* Every head also starts in a buffer of one byte and of none, and grows. */
static void check_bytes(const void *head, size_t len, const char *expected)
{
    split_check(wire_run_head, &roomy, head, len, expected);
    split_check(wire_run_head, &growing, head, len, expected);
    split_check(wire_run_head, &no_first_buffer, head, len, expected);
}

static void check(const char *head, const char *expected)
{
    check_bytes(head, strlen(head), expected);
}

static void bad(const char *head, fcgipm_head_fault_t fault, unsigned line)
{
    char expected[40];

    snprintf(expected, sizeof expected, "BAD %d line=%u\n", (int)fault, line);
    check(head, expected);
}

static void good(const char *head, const char *begins)
{
    char *text =
        wire_run_head(&roomy, (const unsigned char *)head, strlen(head), (wire_cut_t){WIRE_WHOLE, 0});

    if (strncmp(text, begins, strlen(begins)) != 0)
        assert_string_equal(text, begins);
    free(text);
    check(head, NULL);
}

static void plain(void **state)
{
    (void)state;
    check("Content-Type: text/plain\n\nbody", "DONE used=26\nFIELD Content-Type=text/plain\n");
    check("Content-Type: text/plain\r\n\r\nbody", "DONE used=28\nFIELD Content-Type=text/plain\n");
    check("A: 1\r\nB:2\nC:\t 3 \t\r\n\n\nbody", "DONE used=20\nFIELD A=1\nFIELD B=2\nFIELD C=3\n");
    check("A:\nB: \r\n\r\n", "DONE used=10\nFIELD A=\nFIELD B=\n");
    check("X: a:b: c\n\n", "DONE used=11\nFIELD X=a:b: c\n");
    check("X: caf\xc3\xa9\n\n", "DONE used=10\nFIELD X=caf\\c3\\a9\n");
    check("!#$%&'*+-.^_`|~9aZ: a\tb\n\n", "DONE used=25\nFIELD !#$%&'*+-.^_`|~9aZ=a\\09b\n");
}

static void unfinished(void **state)
{
    (void)state;
    check("", "MORE\n");
    check("Content-Type: text", "MORE\n");
    check("A: 1\n", "MORE\n");
    check("A: 1\r\n\r", "MORE\n");
    check("Status: 99999\n", "MORE\n");
}

static void duplicates_stay_in_order(void **state)
{
    (void)state;
    check("Set-Cookie: a\nX: b\nSet-Cookie: c\nset-cookie: a\n\n",
          "DONE used=48\nFIELD Set-Cookie=a\nFIELD X=b\nFIELD Set-Cookie=c\nFIELD set-cookie=a\n");
}

static void status(void **state)
{
    (void)state;
    check("Status: 404 Not Found\n\n",
          "DONE used=23 status=404 reason Not Found\nFIELD Status=404 Not Found\n");
    check("STATUS:404\r\n\r\n", "DONE used=14 status=404\nFIELD STATUS=404\n");
    check("status: 200 \n\n", "DONE used=14 status=200\nFIELD status=200\n");
    good("Status: 103 Early Hints\n\n", "DONE used=25 status=103 reason Early Hints\n");
    good("Status: 599\n\n", "DONE used=13 status=599\n");
    good("Status: 200 OK\nstatus: 200\n\n", "DONE used=28 status=200 reason OK\n");
    good("Status: 200\n OK\n\n", "DONE used=17 status=200 reason OK\n");
    good("X-Status: 7\n\n", "DONE used=13\n");
}

static void bad_status(void **state)
{
    static const char *const values[] = {"",    "99",  "099", "100", "101",  "102", "104", "199",
                                         "600", "999", "-20", "20",  "2000", "20x", "OK",  "200OK"};

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char head[64];
        snprintf(head, sizeof head, "A: b\nStatus: %s\n\n", values[i]);
        bad(head, FCGIPM_HEAD_BAD_STATUS, 2);
    }
    bad("Status: 200 OK\nStatus: 404\nA: b\n\n", FCGIPM_HEAD_BAD_STATUS, 2);
}

static void nph(void **state)
{
    (void)state;
    check("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", "DONE used=25 nph status=200 reason OK\nFIELD A=b\n");
    check("HTTP/1.0 404\n\n", "DONE used=14 nph status=404\n");
    check("HTTP/1.0 302 See: there \nLocation: /x\n\n",
          "DONE used=39 nph location status=302 reason See: there\nFIELD Location=/x\n");
    check("HTTP/1.1 200 OK\nStatus: 200\n\n", "DONE used=29 nph status=200 reason OK\nFIELD Status=200\n");
    bad("HTTP/1.1 200 OK\nStatus: 404\n\n", FCGIPM_HEAD_BAD_STATUS, 2);
    bad("HTTP/1.1 200 OK\n folded\n\n", FCGIPM_HEAD_BAD_FOLD, 2);
    bad("HTTP/2 200 OK\n\n", FCGIPM_HEAD_BAD_STATUS, 1);
    bad("HTTP/1.1\n\n", FCGIPM_HEAD_BAD_STATUS, 1);
    bad("HTTP/1.1 20\n\n", FCGIPM_HEAD_BAD_STATUS, 1);
    bad("HTTP/1.1 2000 x\n\n", FCGIPM_HEAD_BAD_STATUS, 1);
    bad("HTTP/1.1 101 Switching\n\n", FCGIPM_HEAD_BAD_STATUS, 1);
    bad("HTTP/: x\n\n", FCGIPM_HEAD_BAD_STATUS, 1);
    bad("A: b\nHTTP/1.1 200 OK\n\n", FCGIPM_HEAD_NO_COLON, 2);
    bad("http/1.1 200 OK\n\n", FCGIPM_HEAD_NO_COLON, 1);
}

static void location(void **state)
{
    (void)state;
    check("LOCATION: http://x/\n\n", "DONE used=21 location\nFIELD LOCATION=http://x/\n");
    check("Location:\n\n", "DONE used=11\nFIELD Location=\n");
}

static void content_length(void **state)
{
    static const char *const values[] = {"",
                                         "-1",
                                         "+1",
                                         "1 2",
                                         "5, 5",
                                         "0x5",
                                         "5;",
                                         "9223372036854775808",
                                         "18446744073709551616",
                                         "99999999999999999999999"};

    (void)state;
    check("Content-Length: 0\n\n", "DONE used=19 length=0\nFIELD Content-Length=0\n");
    good("content-length: 9223372036854775807\n\n", "DONE used=37 length=9223372036854775807\n");
    good("Content-Length: 007\nContent-Length: 7\n\n", "DONE used=39 length=7\n");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char head[64];
        snprintf(head, sizeof head, "Content-Length: %s\n\n", values[i]);
        bad(head, FCGIPM_HEAD_BAD_LENGTH, 1);
    }
    bad("Content-Length: 5\nContent-Length: 6\n\n", FCGIPM_HEAD_BAD_LENGTH, 2);
}

static void folded(void **state)
{
    (void)state;
    check("A: one\n two\n\n", "DONE used=13\nFIELD A=one two\n");
    check("A: one \t\r\n \t two\r\n\tthree\r\nB: x\r\n\r\n",
          "DONE used=34\nFIELD A=one two three\nFIELD B=x\n");
    check("A:\n two\n\n", "DONE used=9\nFIELD A=two\n");
    check("A: one\n \n \n\n", "DONE used=12\nFIELD A=one\n");
    check("A: one\n \n two  three\n\n", "DONE used=22\nFIELD A=one two  three\n");
    check("A: b\n C: d\n\n", "DONE used=12\nFIELD A=b C: d\n");
    bad(" A: b\n\n", FCGIPM_HEAD_BAD_FOLD, 1);
    bad("\tA: b\n\n", FCGIPM_HEAD_BAD_FOLD, 1);
    bad("A: b\nStatus: 2\n 00\n\n", FCGIPM_HEAD_BAD_STATUS, 3);
}

static void refused_bytes(void **state)
{
    (void)state;
    for (unsigned c = 1; c < 256; c++) {
        char head[16] = "A: x?y\n\n", name[16] = "A?: x\n\n";
        bool control = (c < 0x20 && c != '\t' && c != '\n') || c == 0x7f;
        head[4] = name[1] = (char)c;
        if (control) {
            bad(head, FCGIPM_HEAD_CONTROL_BYTE, 1);
            bad(name, FCGIPM_HEAD_CONTROL_BYTE, 1);
        } else if (c != '\n') {
            good(head, "DONE used=8\nFIELD A=x");
        }
        if (c == ' ' || c == '\t' || c >= 0x80 || (c < 0x80 && strchr("\"(),/;<=>?@[\\]{}", (int)c) != NULL))
            bad(name, FCGIPM_HEAD_BAD_NAME, 1);
    }
    check_bytes("A: \0\n\n", 6, "BAD 1 line=1\n");
    check_bytes("\0", 1, "BAD 1 line=1\n");
    check_bytes("A: b\n\0", 6, "BAD 1 line=2\n");
    bad("A: b\rC: d\n\n", FCGIPM_HEAD_CONTROL_BYTE, 1);
    bad("A: b\r\r\n\n", FCGIPM_HEAD_CONTROL_BYTE, 1);
    bad("A: b\n\rC: d\n\n", FCGIPM_HEAD_CONTROL_BYTE, 2);
    bad("A\r: b\n\n", FCGIPM_HEAD_CONTROL_BYTE, 1);
}

static void refused_lines(void **state)
{
    (void)state;
    bad("\n", FCGIPM_HEAD_EMPTY, 1);
    bad("\r\nA: b\n\n", FCGIPM_HEAD_EMPTY, 1);
    bad("no colon\n\n", FCGIPM_HEAD_NO_COLON, 1);
    bad("A: b\r\n<html>\r\n", FCGIPM_HEAD_NO_COLON, 2);
    bad(": b\n\n", FCGIPM_HEAD_BAD_NAME, 1);
    bad("A : b\n\n", FCGIPM_HEAD_BAD_NAME, 1);
    bad("PHP Warning: x\n\n", FCGIPM_HEAD_BAD_NAME, 1);
    bad("A: 1\nB: 2\nC D: 3\n\n", FCGIPM_HEAD_BAD_NAME, 3);
}

static void many(unsigned count, char *expected, size_t expected_size, bool too_many)
{
    static char head[FCGIPM_HEAD_FIELDS_MAX * 5 + 16];
    const wire_head_plan_t plan = {16, sizeof head};
    size_t len = 0;

    for (unsigned i = 0; i < count; i++) {
        memcpy(head + len, "A: b\n", 5);
        len += 5;
    }
    head[len++] = '\n';
    if (too_many)
        snprintf(expected, expected_size, "BAD %d line=%u\n", FCGIPM_HEAD_TOO_MANY, count);
    split_check(wire_run_head, &plan, head, len, too_many ? expected : NULL);
    char *text = wire_run_head(&plan, (unsigned char *)head, len, (wire_cut_t){WIRE_WHOLE, 0});
    assert_memory_equal(text, too_many ? "BAD" : "DON", 3);
    free(text);
}

static void field_limit(void **state)
{
    char expected[40];

    (void)state;
    many(FCGIPM_HEAD_FIELDS_MAX, expected, sizeof expected, false);
    many(FCGIPM_HEAD_FIELDS_MAX + 1, expected, sizeof expected, true);
}

/* "A: b\n" twice are ten bytes; the blank line and CRs take no room. */
static void byte_limit(void **state)
{
    const char *head = "A: b\r\nA: b\r\n\r\n";

    (void)state;
    for (size_t max = 0; max <= 10; max++) {
        const wire_head_plan_t once = {max, max}, grown = {max / 2, max};
        char expected[64];
        size_t used = max + (max > 4) + (max > 9);
        /* A CR is taken before it is known that its LF finds no room. */
        if (max == 4 || max == 9)
            used++;
        snprintf(expected, sizeof expected, "LIMIT used=%zu\n", used);
        if (max == 10)
            snprintf(expected, sizeof expected, "DONE used=14\nFIELD A=b\nFIELD A=b\n");
        split_check(wire_run_head, &once, head, strlen(head), expected);
        split_check(wire_run_head, &grown, head, strlen(head), expected);
    }
}

/* Blanks and folds that leave nothing in a value are paid for all the same. */
static void endless_folds(void **state)
{
    const wire_head_plan_t plan = {64, 256};
    static char head[2000] = "A: b";

    (void)state;
    for (size_t i = 4; i + 1 < sizeof head; i += 2)
        memcpy(head + i, "\n ", 2);
    split_check(wire_run_head, &plan, head, sizeof head, "LIMIT used=256\n");
    memset(head + 3, ' ', sizeof head - 3);
    split_check(wire_run_head, &plan, head, sizeof head, "LIMIT used=256\n");
    memset(head, 'A', sizeof head);
    split_check(wire_run_head, &plan, head, sizeof head, "LIMIT used=256\n");
}

static void grow_keeps_the_reason(void **state)
{
    const char *head = "Status: 200 Fine\nA: bcd\n\n";
    const unsigned char *in = (const unsigned char *)head;
    char small[18], large[64], tiny[4];
    fcgipm_head_t h;

    (void)state;
    fcgipm_head_init(&h, small, sizeof small);
    assert_int_equal(fcgipm_head_read(&h, &in, in + strlen(head)), FCGIPM_HEAD_FULL);
    assert_int_equal(h.status, 200);
    fcgipm_head_grow(&h, tiny, sizeof tiny);
    assert_ptr_equal(h.buf, small);
    fcgipm_head_grow(&h, large, sizeof large);
    memset(small, 0, sizeof small);
    assert_int_equal(fcgipm_head_read(&h, &in, in + strlen((const char *)in)), FCGIPM_HEAD_DONE);
    assert_memory_equal(h.reason, "Fine", 4);
    assert_int_equal(h.reason_len, 4);
}

static void next_needs_done(void **state)
{
    const unsigned char *in = (const unsigned char *)"A: b\n";
    fcgipm_head_field_t field;
    char buf[16];
    fcgipm_head_t h;
    size_t iter = 0;

    (void)state;
    fcgipm_head_init(&h, buf, sizeof buf);
    assert_false(fcgipm_head_next(&h, &iter, &field));
    assert_int_equal(fcgipm_head_read(&h, &in, in + 5), FCGIPM_HEAD_MORE);
    assert_false(fcgipm_head_next(&h, &iter, &field));
}

static void every_fault_has_a_sentence(void **state)
{
    (void)state;
    for (int f = FCGIPM_HEAD_FINE; f <= FCGIPM_HEAD_EMPTY; f++)
        assert_string_not_equal(fcgipm_head_fault_str((fcgipm_head_fault_t)f), "unknown fault");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(unfinished),
        cmocka_unit_test(duplicates_stay_in_order),
        cmocka_unit_test(status),
        cmocka_unit_test(bad_status),
        cmocka_unit_test(nph),
        cmocka_unit_test(location),
        cmocka_unit_test(content_length),
        cmocka_unit_test(folded),
        cmocka_unit_test(refused_bytes),
        cmocka_unit_test(refused_lines),
        cmocka_unit_test(field_limit),
        cmocka_unit_test(byte_limit),
        cmocka_unit_test(endless_folds),
        cmocka_unit_test(grow_keeps_the_reason),
        cmocka_unit_test(next_needs_done),
        cmocka_unit_test(every_fault_has_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
