/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_split.h"

#include "wire/dump.h"

static void check(const fcgipm_record_t *r, const void *content, size_t have, const char *expected)
{
    size_t want = strlen(expected);

    /* A block of the exact size for each capacity: the sanitizer sees a byte too many. */
    for (size_t cap = 0; cap <= want + 2; cap++) {
        char *out = malloc(cap > 0 ? cap : 1);
        assert_non_null(out);
        size_t len = fcgipm_dump_record(out, cap, r, content, have);
        assert_int_equal(len, cap == 0 ? 0 : (cap - 1 < want ? cap - 1 : want));
        if (cap > 0) {
            assert_memory_equal(out, expected, len);
            assert_int_equal(out[len], '\0');
        }
        free(out);
    }
}

static void check_wire(const unsigned char *wire, const char *expected)
{
    const unsigned char *in = wire, *slice;
    fcgipm_record_reader_t r = {.state = 0};
    size_t len;

    assert_int_equal(fcgipm_record_read(&r, &in, wire + 16, &slice, &len), FCGIPM_RECORD_HEADER);
    check(&r.record, wire + 8, 8, expected);
}

static void bodies(void **state)
{
    unsigned char out[16];

    (void)state;
    fcgipm_record_put_begin(out, 1, FCGIPM_ROLE_AUTHORIZER, 1);
    check_wire(out, "BEGIN_REQUEST id=1 content=8 padding=0 role=AUTHORIZER flags=1");
    fcgipm_record_put_begin(out, 65535, 65535, 255);
    check_wire(out, "BEGIN_REQUEST id=65535 content=8 padding=0 role=?65535 flags=255");
    fcgipm_record_put_end(out, 2, 0xffffffff, 3);
    check_wire(out,
               "END_REQUEST id=2 content=8 padding=0 app_status=4294967295 protocol_status=UNKNOWN_ROLE");
    fcgipm_record_put_end(out, 2, 0, 9);
    check_wire(out, "END_REQUEST id=2 content=8 padding=0 app_status=0 protocol_status=?9");
    fcgipm_record_put_unknown(out, 9);
    check_wire(out, "UNKNOWN_TYPE id=0 content=8 padding=0 unknown=GET_VALUES");
    fcgipm_record_put_unknown(out, 200);
    check_wire(out, "UNKNOWN_TYPE id=0 content=8 padding=0 unknown=?200");
}

static void wrong_bodies(void **state)
{
    (void)state;
    check(&(fcgipm_record_t){FCGIPM_TYPE_END_REQUEST, 1, 9, 0}, "123456789", 9,
          "END_REQUEST id=1 content=9 padding=0 \"123456789\"");
    check(&(fcgipm_record_t){FCGIPM_TYPE_END_REQUEST, 1, 8, 0}, "1234567", 7,
          "END_REQUEST id=1 content=8 padding=0 \"1234567\"... +1");
    check(&(fcgipm_record_t){FCGIPM_TYPE_END_REQUEST, 1, 8, 0}, NULL, 0,
          "END_REQUEST id=1 content=8 padding=0 \"\"... +8");
}

static void excerpts(void **state)
{
    char content[65];

    (void)state;
    memset(content, 'a', sizeof content);
    check(&(fcgipm_record_t){FCGIPM_TYPE_STDOUT, 1, 0, 255}, NULL, 0, "STDOUT id=1 content=0 padding=255");
    check(&(fcgipm_record_t){200, 0, 2, 0}, "hi", 2, "?200 id=0 content=2 padding=0 \"hi\"");
    check(&(fcgipm_record_t){FCGIPM_TYPE_STDOUT, 1, 2, 0}, "hidden", 6,
          "STDOUT id=1 content=2 padding=0 \"hi\"");
    check(&(fcgipm_record_t){FCGIPM_TYPE_STDOUT, 1, 64, 0}, content, 64,
          "STDOUT id=1 content=64 padding=0 "
          "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"");
    check(&(fcgipm_record_t){FCGIPM_TYPE_STDOUT, 1, 65, 0}, content, 65,
          "STDOUT id=1 content=65 padding=0 "
          "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"... +1");
    check(&(fcgipm_record_t){FCGIPM_TYPE_STDERR, 1, 9, 0}, "\r\n\t\"\\\0\x1b\x7f\xff", 9,
          "STDERR id=1 content=9 padding=0 \"\\r\\n\\t\\\"\\\\\\x00\\x1b\\x7f\\xff\"");
}

static void longest_fits(void **state)
{
    unsigned char content[100];
    char out[2 * FCGIPM_DUMP_MAX];

    (void)state;
    memset(content, 0xff, sizeof content);
    const fcgipm_record_t r = {FCGIPM_TYPE_GET_VALUES_RESULT, 65535, 65535, 255};
    assert_true(fcgipm_dump_record(out, sizeof out, &r, content, sizeof content) < FCGIPM_DUMP_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),
        cmocka_unit_test(wrong_bodies),
        cmocka_unit_test(excerpts),
        cmocka_unit_test(longest_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
