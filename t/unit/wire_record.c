/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_split.h"

static split_bytes_t b;

static int clear(void **state)
{
    (void)state;
    b.len = 0;
    return 0;
}

static void header_bytes(void **state)
{
    unsigned char out[8];

    (void)state;
    assert_int_equal(fcgipm_record_put(out, FCGIPM_TYPE_STDIN, 0x1234, 0xfedc, 0xab), 8);
    assert_memory_equal(out, "\1\5\x12\x34\xfe\xdc\xab\0", 8);
    assert_int_equal(fcgipm_record_put(out, 255, 65535, 65535, 255), 8);
    assert_memory_equal(out, "\1\xff\xff\xff\xff\xff\xff\0", 8);
}

static void header_refuses_what_it_cannot_say(void **state)
{
    unsigned char out[8], zero[8] = {0};

    (void)state;
    memset(out, 0xaa, sizeof out);
    assert_int_equal(fcgipm_record_put(out, FCGIPM_TYPE_STDIN, 1, 65536, 0), 0);
    assert_memory_equal(out, zero, 8);
    assert_int_equal(fcgipm_record_put(out, FCGIPM_TYPE_STDIN, 1, SIZE_MAX, 0), 0);
    assert_int_equal(fcgipm_record_put(out, FCGIPM_TYPE_STDIN, 1, 0, 256), 0);
    assert_int_equal(fcgipm_record_put(out, FCGIPM_TYPE_STDIN, 65536, 0, 0), 0);
    assert_int_equal(fcgipm_record_put(out, 256, 1, 0, 0), 0);
    assert_memory_equal(out, zero, 8);
}

static void fixed_bodies(void **state)
{
    unsigned char out[16], zero[16] = {0};

    (void)state;
    memset(out, 0xaa, sizeof out);
    assert_int_equal(fcgipm_record_put_begin(out, 1, FCGIPM_ROLE_RESPONDER, FCGIPM_KEEP_CONN), 16);
    assert_memory_equal(out, "\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0", 16);
    memset(out, 0xaa, sizeof out);
    assert_int_equal(fcgipm_record_put_end(out, 258, 0x01020304, FCGIPM_STATUS_OVERLOADED), 16);
    assert_memory_equal(out, "\1\3\1\2\0\10\0\0\1\2\3\4\2\0\0\0", 16);
    memset(out, 0xaa, sizeof out);
    assert_int_equal(fcgipm_record_put_unknown(out, 200), 16);
    assert_memory_equal(out, "\1\13\0\0\0\10\0\0\xc8\0\0\0\0\0\0\0", 16);
    assert_int_equal(fcgipm_record_put_abort(out, 7), 8);
    assert_memory_equal(out, "\1\2\0\7\0\0\0\0", 8);
    assert_int_equal(fcgipm_record_put_begin(out, 65536, 1, 0), 0);
    assert_memory_equal(out, zero, 16);
    memset(out, 0xaa, sizeof out);
    assert_int_equal(fcgipm_record_put_begin(out, 1, 65536, 0), 0);
    assert_memory_equal(out, zero, 16);
    assert_int_equal(fcgipm_record_put_begin(out, 1, 1, 256), 0);
    assert_int_equal(fcgipm_record_put_end(out, 65536, 0, 0), 0);
    assert_int_equal(fcgipm_record_put_end(out, 1, 0, 256), 0);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(fcgipm_type_str(1), "BEGIN_REQUEST");
    assert_string_equal(fcgipm_type_str(11), "UNKNOWN_TYPE");
    assert_string_equal(fcgipm_type_str(0), "?");
    assert_string_equal(fcgipm_type_str(12), "?");
    assert_string_equal(fcgipm_role_str(3), "FILTER");
    assert_string_equal(fcgipm_role_str(4), "?");
    assert_string_equal(fcgipm_status_str(0), "REQUEST_COMPLETE");
    assert_string_equal(fcgipm_status_str(4), "?");
}

static void nothing(void **state)
{
    (void)state;
    split_check(wire_run_record, NULL, b.data, 0, "border\n");
}

static void one_record(void **state)
{
    (void)state;
    split_record(&b, FCGIPM_TYPE_STDOUT, 1, "hello", 5, 3);
    split_check(wire_run_record, NULL, b.data, b.len,
                "HEADER type=6 id=1 content=5 padding=3\nSLICE hello\nEND\nborder\n");
}

static void empty_records(void **state)
{
    (void)state;
    split_record(&b, FCGIPM_TYPE_STDOUT, 0, "", 0, 0);
    split_record(&b, 77, 65535, "", 0, 1);
    split_record(&b, 0, 1, "x", 1, 0);
    split_check(wire_run_record, NULL, b.data, b.len,
                "HEADER type=6 id=0 content=0 padding=0\nEND\n"
                "HEADER type=77 id=65535 content=0 padding=1\nEND\n"
                "HEADER type=0 id=1 content=1 padding=0\nSLICE x\nEND\nborder\n");
}

static void cut_off(void **state)
{
    (void)state;
    split_record(&b, FCGIPM_TYPE_STDOUT, 1, "hello", 5, 3);
    split_check(wire_run_record, NULL, b.data, b.len - 1,
                "HEADER type=6 id=1 content=5 padding=3\nSLICE hello\nopen\n");
    split_check(wire_run_record, NULL, b.data, 12,
                "HEADER type=6 id=1 content=5 padding=3\nSLICE hell\nopen\n");
    split_check(wire_run_record, NULL, b.data, 7, "open\n");
}

static void reserved_byte_is_not_ours(void **state)
{
    (void)state;
    split_record(&b, FCGIPM_TYPE_STDERR, 2, "", 0, 0);
    b.data[7] = 0xff;
    split_check(wire_run_record, NULL, b.data, b.len,
                "HEADER type=7 id=2 content=0 padding=0\nEND\nborder\n");
}

static void largest(void **state)
{
    static unsigned char content[65535];

    (void)state;
    memset(content, 'a', sizeof content);
    split_record(&b, FCGIPM_TYPE_STDOUT, 65535, content, sizeof content, 255);
    split_record(&b, FCGIPM_TYPE_STDOUT, 65535, content, 65534, 0);
    split_check(wire_run_record, NULL, b.data, b.len, NULL);
    char *text = wire_run_record(NULL, b.data, b.len, (wire_cut_t){WIRE_WHOLE, 0});
    assert_non_null(strstr(text, "HEADER type=6 id=65535 content=65535 padding=255\nSLICE aaa"));
    assert_non_null(strstr(text, "\nEND\nHEADER type=6 id=65535 content=65534 padding=0\n"));
    free(text);
}

static void wrong_version(void **state)
{
    (void)state;
    split_check(wire_run_record, NULL, "\0\6\0\1\0\0\0\0", 8, "BAD\nopen\n");
    split_check(wire_run_record, NULL, "\2", 1, "BAD\nopen\n");
    split_check(wire_run_record, NULL, "HTTP/1.1 400 Bad\r\n", 18, "BAD\nopen\n");
    split_record(&b, FCGIPM_TYPE_STDOUT, 1, "hi", 2, 0);
    split_add(&b, "\0\0", 2);
    split_check(wire_run_record, NULL, b.data, b.len,
                "HEADER type=6 id=1 content=2 padding=0\nSLICE hi\nEND\nBAD\nopen\n");
}

/* 65535 + 255 must not wrap in any sum of the reader (haproxy 598527673, PROMISES R3). */
static void lengths_do_not_wrap(void **state)
{
    static unsigned char smuggled[65535];

    (void)state;
    for (size_t i = 0; i + 8 <= sizeof smuggled; i += 8)
        fcgipm_record_put(smuggled + i, FCGIPM_TYPE_END_REQUEST, 1, 8, 0);
    split_record(&b, FCGIPM_TYPE_STDOUT, 1, smuggled, sizeof smuggled, 255);
    char *text = wire_run_record(NULL, b.data, b.len, (wire_cut_t){WIRE_WHOLE, 0});
    assert_null(strstr(text, "type=3"));
    assert_non_null(strstr(text, "\nEND\nborder\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(header_bytes, clear),
        cmocka_unit_test_setup(header_refuses_what_it_cannot_say, clear),
        cmocka_unit_test_setup(fixed_bodies, clear),
        cmocka_unit_test_setup(names, clear),
        cmocka_unit_test_setup(nothing, clear),
        cmocka_unit_test_setup(one_record, clear),
        cmocka_unit_test_setup(empty_records, clear),
        cmocka_unit_test_setup(cut_off, clear),
        cmocka_unit_test_setup(reserved_byte_is_not_ours, clear),
        cmocka_unit_test_setup(largest, clear),
        cmocka_unit_test_setup(wrong_version, clear),
        cmocka_unit_test_setup(lengths_do_not_wrap, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
