/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_split.h"

static split_bytes_t b;
static const wire_mux_plan_t one = {.streams = 1, .begin = 1};
static const wire_mux_plan_t three = {.streams = 4, .begin = 3};
static const wire_mux_plan_t asked = {.streams = 2, .ask = true};

static int clear(void **state)
{
    (void)state;
    b.len = 0;
    return 0;
}

static void add_end(unsigned id, uint32_t app_status, unsigned protocol_status)
{
    unsigned char out[16];

    assert_int_equal(fcgipm_record_put_end(out, id, app_status, protocol_status), 16);
    split_add(&b, out, 16);
}

static void check(const wire_mux_plan_t *plan, const char *expected)
{
    split_check(wire_run_mux, plan, b.data, b.len, expected);
}

static void ids_are_the_lowest_free(void **state)
{
    fcgipm_mux_stream_t streams[2];
    fcgipm_mux_event_t event;
    fcgipm_mux_t mux;
    int user;

    (void)state;
    fcgipm_mux_init(&mux, streams, 2);
    assert_true(fcgipm_mux_reusable(&mux));
    assert_int_equal(fcgipm_mux_begin(&mux, NULL), 1);
    assert_int_equal(fcgipm_mux_begin(&mux, &user), 2);
    assert_ptr_equal(streams[1].user, &user);
    assert_int_equal(fcgipm_mux_begin(&mux, NULL), 0);
    assert_false(fcgipm_mux_reusable(&mux));
    add_end(1, 0, 0);
    const unsigned char *in = b.data;
    assert_int_equal(fcgipm_mux_read(&mux, &in, b.data + b.len, &event), FCGIPM_MUX_ENDED);
    assert_int_equal(fcgipm_mux_begin(&mux, NULL), 1);
    fcgipm_mux_abort(&mux, 1);
    fcgipm_mux_abort(&mux, 0);
    fcgipm_mux_abort(&mux, 3);
    assert_int_equal(fcgipm_mux_begin(&mux, NULL), 0);
}

static void no_table(void **state)
{
    fcgipm_mux_t mux;

    (void)state;
    fcgipm_mux_init(&mux, NULL, 0);
    assert_int_equal(fcgipm_mux_begin(&mux, NULL), 0);
    assert_true(fcgipm_mux_reusable(&mux));
}

static void all_ids(void **state)
{
    static fcgipm_mux_stream_t streams[65536];
    fcgipm_mux_event_t event;
    fcgipm_mux_t mux;

    (void)state;
    fcgipm_mux_init(&mux, streams, 65536);
    for (unsigned id = 1; id <= 65535; id++) {
        streams[id - 1].state = 1; /* quicker than to begin 65535 times from the front */
        mux.open_count++;
    }
    assert_int_equal(fcgipm_mux_begin(&mux, NULL), 0);
    add_end(65535, 0, 0);
    const unsigned char *in = b.data;
    assert_int_equal(fcgipm_mux_read(&mux, &in, b.data + b.len, &event), FCGIPM_MUX_ENDED);
    assert_int_equal(event.id, 65535);
    assert_int_equal(fcgipm_mux_begin(&mux, NULL), 65535);
}

static void plain_answer(void **state)
{
    (void)state;
    split_record(&b, FCGIPM_TYPE_STDOUT, 1, "hello ", 6, 2);
    split_text(&b, FCGIPM_TYPE_STDERR, 1, "warn");
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "world");
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "");
    split_record(&b, FCGIPM_TYPE_STDERR, 1, "", 0, 5);
    add_end(1, 0x80000001, 0);
    check(&one, "STDOUT 1 hello \nSTDERR 1 warn\nSTDOUT 1 world\nSTDOUT_END 1\nSTDERR_END 1\n"
                "ENDED 1 app=2147483649 status=0 reusable\nopen=0 reusable\n");
}

/* Right at the event, and not before the padding has gone. */
static void reusable_at_the_event(void **state)
{
    (void)state;
    split_record(&b, FCGIPM_TYPE_END_REQUEST, 1, "\0\0\0\0\0\0\0\0", 8, 7);
    check(&one, "ENDED 1 app=0 status=0 reusable\nopen=0 reusable\n");
    b.len--;
    check(&one, "open=1\n");
    b.len -= 7;
    check(&one, "open=1\n");
}

static void interleaved(void **state)
{
    (void)state;
    split_text(&b, FCGIPM_TYPE_STDOUT, 2, "two");
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "one");
    split_text(&b, FCGIPM_TYPE_STDOUT, 3, "three");
    add_end(2, 2, 0);
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "one");
    add_end(3, 3, 0);
    add_end(1, 1, 0);
    check(&three, "STDOUT 2 two\nSTDOUT 1 one\nSTDOUT 3 three\nENDED 2 app=2 status=0\nSTDOUT 1 one\n"
                  "ENDED 3 app=3 status=0\nENDED 1 app=1 status=0 reusable\nopen=0 reusable\n");
}

static void largest_record(void **state)
{
    static unsigned char content[65535];

    (void)state;
    memset(content, 'a', sizeof content);
    split_record(&b, FCGIPM_TYPE_STDOUT, 1, content, sizeof content, 255);
    add_end(1, 0, 0);
    check(&one, NULL);
}

static void data_after_its_end(void **state)
{
    (void)state;
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "");
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "more");
    split_text(&b, FCGIPM_TYPE_STDERR, 1, "err");
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "");
    split_text(&b, FCGIPM_TYPE_STDERR, 1, "");
    split_text(&b, FCGIPM_TYPE_STDERR, 1, "late");
    add_end(1, 0, 0);
    check(&one, "STDOUT_END 1\nIGNORED 1 more\nSTDERR 1 err\nIGNORED 1 \nSTDERR_END 1\nIGNORED 1 late\n"
                "ENDED 1 app=0 status=0 reusable\nopen=0 reusable\n");
}

static void aborted(void **state)
{
    const wire_mux_plan_t plan = {.streams = 2, .begin = 2, .abort = 1};

    (void)state;
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "gone");
    split_text(&b, FCGIPM_TYPE_STDOUT, 2, "kept");
    split_text(&b, FCGIPM_TYPE_STDERR, 1, "gone");
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "");
    add_end(1, 0, 0);
    check(&plan, "IGNORED 1 gone\nSTDOUT 2 kept\nIGNORED 1 gone\nENDED 1 app=0 status=0\nopen=1\n");
}

static void refusals_make_unclean(void **state)
{
    (void)state;
    for (unsigned status = 1; status <= 3; status++) {
        char expected[80];
        b.len = 0;
        add_end(1, 0, status);
        snprintf(expected, sizeof expected, "ENDED 1 app=0 status=%u\nopen=0\n", status);
        check(&one, expected);
    }
}

static void used_again(void **state)
{
    const wire_mux_plan_t plan = {.streams = 1, .begin = 1, .again = true};

    (void)state;
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "a");
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "");
    add_end(1, 0, 0);
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "b");
    add_end(1, 0, 1);
    add_end(1, 0, 0);
    check(&plan, "STDOUT 1 a\nSTDOUT_END 1\nENDED 1 app=0 status=0 reusable\nSTDOUT 1 b\n"
                 "ENDED 1 app=0 status=1\nENDED 1 app=0 status=0\nopen=1\n");
}

static void broken(const wire_mux_plan_t *plan, unsigned type, unsigned id, size_t len,
                   fcgipm_mux_fault_t fault)
{
    static const unsigned char content[16];
    char expected[80];

    b.len = 0;
    split_record(&b, type, id, content, len, 0);
    snprintf(expected, sizeof expected, "BROKEN %d\nopen=%u\n", (int)fault, plan->begin);
    check(plan, expected);
}

static void wrong_ids(void **state)
{
    static const unsigned types[] = {FCGIPM_TYPE_STDOUT, FCGIPM_TYPE_STDERR, FCGIPM_TYPE_END_REQUEST};
    static const unsigned ids[] = {0, 4, 5, 256, 257, 65535};

    (void)state;
    for (size_t t = 0; t < 3; t++)
        for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
            broken(&three, types[t], ids[i], 8, FCGIPM_MUX_BAD_ID);
    broken(&asked, FCGIPM_TYPE_GET_VALUES_RESULT, 1, 0, FCGIPM_MUX_BAD_ID);
    broken(&asked, FCGIPM_TYPE_UNKNOWN_TYPE, 1, 8, FCGIPM_MUX_BAD_ID);
}

static void wrong_types(void **state)
{
    static const unsigned types[] = {0, 1, 2, 4, 5, 8, 9, 12, 255};

    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        broken(&three, types[t], 1, 8, FCGIPM_MUX_BAD_TYPE);
        broken(&three, types[t], 0, 0, FCGIPM_MUX_BAD_TYPE);
    }
}

static void wrong_version(void **state)
{
    (void)state;
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "ok");
    split_add(&b, "\0\6\0\1\0\0\0\0", 8);
    check(&one, "STDOUT 1 ok\nBROKEN 1\nopen=1\n");
}

static void bad_ends(void **state)
{
    (void)state;
    broken(&one, FCGIPM_TYPE_END_REQUEST, 1, 0, FCGIPM_MUX_BAD_END);
    broken(&one, FCGIPM_TYPE_END_REQUEST, 1, 7, FCGIPM_MUX_BAD_END);
    broken(&one, FCGIPM_TYPE_END_REQUEST, 1, 9, FCGIPM_MUX_BAD_END);
    b.len = 0;
    add_end(1, 0, 4);
    check(&one, "BROKEN 4\nopen=1\n");
    b.len = 0;
    add_end(1, 0, 255);
    check(&one, "BROKEN 4\nopen=1\n");
}

static void after_the_end(void **state)
{
    (void)state;
    add_end(1, 0, 0);
    add_end(1, 0, 0);
    check(&one, "ENDED 1 app=0 status=0 reusable\nBROKEN 6\nopen=0\n");
    b.len = 16;
    split_text(&b, FCGIPM_TYPE_STDOUT, 1, "smuggled");
    check(&one, "ENDED 1 app=0 status=0 reusable\nBROKEN 6\nopen=0\n");
    b.len = 16;
    split_text(&b, FCGIPM_TYPE_STDERR, 1, "");
    check(&three, "ENDED 1 app=0 status=0\nBROKEN 6\nopen=2\n");
}

static void add_values(const char *const *list, size_t count, size_t padding)
{
    unsigned char out[512];
    fcgipm_pairs_writer_t w;

    fcgipm_pairs_writer_init(&w, out, sizeof out, FCGIPM_TYPE_GET_VALUES_RESULT, 0);
    for (size_t i = 0; i + 1 < count; i += 2)
        assert_true(fcgipm_pairs_put(&w, list[i], strlen(list[i]), list[i + 1], strlen(list[i + 1])));
    size_t len = fcgipm_pairs_finish(&w, false);
    split_record(&b, FCGIPM_TYPE_GET_VALUES_RESULT, 0, out + 8, len < 8 ? 0 : len - 8, padding);
}

static void add_value(const char *name, const char *value)
{
    const char *list[] = {name, value};

    b.len = 0;
    add_values(list, 2, 0);
}

static void question(void **state)
{
    unsigned char out[128];
    fcgipm_mux_t mux;

    (void)state;
    fcgipm_mux_init(&mux, NULL, 0);
    assert_int_equal(fcgipm_mux_ask_values(&mux, out, 10), 0);
    assert_int_equal(fcgipm_mux_ask_values(&mux, out, 50), 0);
    assert_false(mux.values_asked);
    assert_int_equal(fcgipm_mux_ask_values(&mux, out, 55), 0);
    assert_int_equal(fcgipm_mux_ask_values(&mux, out, sizeof out), 8 + 16 + 15 + 17);
    assert_memory_equal(out, "\1\11\0\0\0\60\0\0\16\0FCGI_MAX_CONNS\15\0FCGI_MAX_REQS\17\0FCGI_MPXS_CONNS",
                        56);
    assert_int_equal(fcgipm_mux_ask_values(&mux, out, sizeof out), 0);
}

static void values(void **state)
{
    static const char *const full[] = {"FCGI_MPXS_CONNS", "0",  "FCGI_MAX_CONNS", "4294967295",
                                       "OTHER",           "no", "FCGI_MAX_REQS",  "007"};

    (void)state;
    add_values(full, 8, 6);
    check(&asked, "VALUE conns=4294967295 reqs=7 mpxs=0\nopen=0 reusable\n");
    add_values(full, 8, 0);
    check(&asked, "VALUE conns=4294967295 reqs=7 mpxs=0\nBROKEN 5\nopen=0\n");
    b.len = 0;
    add_values(full, 0, 3);
    check(&asked, "VALUE conns=0 reqs=0 mpxs=0\nopen=0 reusable\n");
    add_value("FCGI_MAX_CONNS", "");
    check(&asked, "VALUE conns=0 reqs=0 mpxs=0\nopen=0 reusable\n");
}

static void bad_values(void **state)
{
    static const char *const numbers[] = {"4294967296", "-1", "1 ", "0x1", "99999999999999999999999999"};
    char name[64];

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        add_value("FCGI_MAX_CONNS", numbers[i]);
        check(&asked, "BROKEN 5\nopen=0\n");
    }
    memset(name, 'n', 63);
    name[63] = '\0';
    add_value(name, "1");
    check(&asked, "VALUE conns=0 reqs=0 mpxs=0\nopen=0 reusable\n");
    add_value(name, "12");
    check(&asked, "BROKEN 5\nopen=0\n");
    add_value("FCGI_MAX_CONNS", "1");
    check(&one, "BROKEN 5\nopen=1\n");
    b.len = 0;
    split_record(&b, FCGIPM_TYPE_GET_VALUES_RESULT, 0, "\16\1FCGI", 6, 0);
    check(&asked, "BROKEN 5\nopen=0\n");
    b.len = 0;
    split_record(&b, FCGIPM_TYPE_GET_VALUES_RESULT, 0, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 0);
    check(&asked, "BROKEN 5\nopen=0\n");
}

static void unknown_type(void **state)
{
    unsigned char out[16];

    (void)state;
    fcgipm_record_put_unknown(out, FCGIPM_TYPE_GET_VALUES);
    split_add(&b, out, 16);
    check(&asked, "UNKNOWN\nopen=0 reusable\n");
    check(&one, "BROKEN 5\nopen=1\n");
    broken(&asked, FCGIPM_TYPE_UNKNOWN_TYPE, 0, 7, FCGIPM_MUX_BAD_VALUES);
}

static void every_fault_has_a_sentence(void **state)
{
    (void)state;
    for (int f = FCGIPM_MUX_FINE; f <= FCGIPM_MUX_TRAILING; f++)
        assert_string_not_equal(fcgipm_mux_fault_str((fcgipm_mux_fault_t)f), "unknown fault");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ids_are_the_lowest_free, clear),
        cmocka_unit_test_setup(no_table, clear),
        cmocka_unit_test_setup(all_ids, clear),
        cmocka_unit_test_setup(plain_answer, clear),
        cmocka_unit_test_setup(reusable_at_the_event, clear),
        cmocka_unit_test_setup(interleaved, clear),
        cmocka_unit_test_setup(largest_record, clear),
        cmocka_unit_test_setup(data_after_its_end, clear),
        cmocka_unit_test_setup(aborted, clear),
        cmocka_unit_test_setup(refusals_make_unclean, clear),
        cmocka_unit_test_setup(used_again, clear),
        cmocka_unit_test_setup(wrong_ids, clear),
        cmocka_unit_test_setup(wrong_types, clear),
        cmocka_unit_test_setup(wrong_version, clear),
        cmocka_unit_test_setup(bad_ends, clear),
        cmocka_unit_test_setup(after_the_end, clear),
        cmocka_unit_test_setup(question, clear),
        cmocka_unit_test_setup(values, clear),
        cmocka_unit_test_setup(bad_values, clear),
        cmocka_unit_test_setup(unknown_type, clear),
        cmocka_unit_test_setup(every_fault_has_a_sentence, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
