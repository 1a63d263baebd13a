/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_split.h"

static split_bytes_t b;
static unsigned char block[300000];
static char long_text[200000];

static int clear(void **state)
{
    (void)state;
    b.len = 0;
    memset(long_text, 'v', sizeof long_text);
    return 0;
}

/* The content of all records of a block, joined; each header is checked. */
static void join(const unsigned char *in, size_t len, unsigned type, unsigned id, bool ended)
{
    const unsigned char *end = in + len, *slice;
    fcgipm_record_reader_t r = {.state = 0};
    fcgipm_record_event_t event;
    size_t n;
    bool empty = false;

    b.len = 0;
    while ((event = fcgipm_record_read(&r, &in, end, &slice, &n)) != FCGIPM_RECORD_MORE) {
        assert_int_not_equal(event, FCGIPM_RECORD_BAD);
        if (event == FCGIPM_RECORD_SLICE)
            split_add(&b, slice, n);
        if (event != FCGIPM_RECORD_HEADER)
            continue;
        assert_false(empty);
        assert_int_equal(r.record.type, type);
        assert_int_equal(r.record.id, id);
        empty = r.record.content_len == 0;
    }
    assert_true(fcgipm_record_at_border(&r));
    assert_int_equal(empty, ended);
}

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(fcgipm_pairs_size(0, 0), 2);
    assert_int_equal(fcgipm_pairs_size(127, 127), 256);
    assert_int_equal(fcgipm_pairs_size(128, 127), 260);
    assert_int_equal(fcgipm_pairs_size(127, 128), 260);
    assert_int_equal(fcgipm_pairs_size(1, 0x7fffffff), (size_t)0x7fffffff + 6);
    assert_true(fcgipm_pairs_size(1, (size_t)0x80000000U) == SIZE_MAX);
    assert_true(fcgipm_pairs_size(SIZE_MAX, 1) == SIZE_MAX);
    assert_true(fcgipm_pairs_size(SIZE_MAX, SIZE_MAX) == SIZE_MAX);
    assert_int_equal(fcgipm_pairs_block_size(0), 8);
    assert_int_equal(fcgipm_pairs_block_size(1), 17);
    assert_int_equal(fcgipm_pairs_block_size(65535), 65535 + 16);
    assert_int_equal(fcgipm_pairs_block_size(65536), 65536 + 24);
    assert_true(fcgipm_pairs_block_size(SIZE_MAX) == SIZE_MAX);
    assert_true(fcgipm_pairs_block_size(SIZE_MAX - 8) == SIZE_MAX);
}

static void one_pair(void **state)
{
    fcgipm_pairs_writer_t w;

    (void)state;
    fcgipm_pairs_writer_init(&w, block, sizeof block, FCGIPM_TYPE_PARAMS, 1);
    assert_true(fcgipm_pairs_put(&w, "AB", 2, "xyz", 3));
    assert_int_equal(fcgipm_pairs_finish(&w, true), 23);
    assert_memory_equal(block, "\1\4\0\1\0\7\0\0\2\3ABxyz\1\4\0\1\0\0\0\0", 23);
    split_check(wire_run_pairs, NULL, block + 8, 7, "PAIR 2 3\nNAME AB\nVALUE xyz\nEND\nborder\n");
}

static void no_pair(void **state)
{
    fcgipm_pairs_writer_t w;

    (void)state;
    fcgipm_pairs_writer_init(&w, block, 8, FCGIPM_TYPE_PARAMS, 1);
    assert_int_equal(fcgipm_pairs_finish(&w, true), 8);
    assert_memory_equal(block, "\1\4\0\1\0\0\0\0", 8);
    fcgipm_pairs_writer_init(&w, block, 7, FCGIPM_TYPE_PARAMS, 1);
    assert_int_equal(fcgipm_pairs_finish(&w, true), 0);
    fcgipm_pairs_writer_init(&w, NULL, 0, FCGIPM_TYPE_PARAMS, 1);
    assert_int_equal(fcgipm_pairs_finish(&w, true), 0);
    assert_false(fcgipm_pairs_put(&w, "", 0, "", 0));
}

static void empty_name_and_value(void **state)
{
    fcgipm_pairs_writer_t w;

    (void)state;
    fcgipm_pairs_writer_init(&w, block, sizeof block, FCGIPM_TYPE_PARAMS, 1);
    assert_true(fcgipm_pairs_put(&w, NULL, 0, NULL, 0));
    assert_true(fcgipm_pairs_put(&w, "N", 1, "", 0));
    assert_true(fcgipm_pairs_put(&w, "", 0, "V", 1));
    join(block, fcgipm_pairs_finish(&w, true), FCGIPM_TYPE_PARAMS, 1, true);
    split_check(wire_run_pairs, NULL, b.data, b.len,
                "PAIR 0 0\nEND\nPAIR 1 0\nNAME N\nEND\nPAIR 0 1\nVALUE V\nEND\nborder\n");
}

static void length_forms(void **state)
{
    static const size_t lens[] = {126, 127, 128, 129, 255, 256};
    fcgipm_pairs_writer_t w;

    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        char head[32];
        fcgipm_pairs_writer_init(&w, block, sizeof block, FCGIPM_TYPE_PARAMS, 1);
        assert_true(fcgipm_pairs_put(&w, long_text, lens[i], long_text, 3));
        join(block, fcgipm_pairs_finish(&w, true), FCGIPM_TYPE_PARAMS, 1, true);
        assert_int_equal(b.len, lens[i] + 3 + (lens[i] < 128 ? 2 : 5));
        assert_int_equal(b.data[0] & 0x80, lens[i] < 128 ? 0 : 0x80);
        split_check(wire_run_pairs, NULL, b.data, b.len, NULL);
        char *text = wire_run_pairs(NULL, b.data, b.len, (wire_cut_t){WIRE_WHOLE, 0});
        snprintf(head, sizeof head, "PAIR %zu 3\nNAME v", lens[i]);
        assert_memory_equal(text, head, strlen(head));
        free(text);
    }
}

/* Nobody forbids four bytes for a short length. */
static void long_form_of_short_length(void **state)
{
    (void)state;
    split_check(wire_run_pairs, NULL, "\x80\0\0\1\x80\0\0\2NVV", 11,
                "PAIR 1 2\nNAME N\nVALUE VV\nEND\nborder\n");
}

static void cut_off(void **state)
{
    (void)state;
    split_check(wire_run_pairs, NULL, "\x80", 1, "open\n");
    split_check(wire_run_pairs, NULL, "\1", 1, "open\n");
    split_check(wire_run_pairs, NULL, "\1\x80\0\0", 4, "open\n");
    split_check(wire_run_pairs, NULL, "\1\1", 2, "PAIR 1 1\nopen\n");
    split_check(wire_run_pairs, NULL, "\1\2NV", 4, "PAIR 1 2\nNAME N\nVALUE V\nopen\n");
    split_check(wire_run_pairs, NULL, "\xff\xff\xff\xff\xff\xff\xff\xffN", 9,
                "PAIR 2147483647 2147483647\nNAME N\nopen\n");
}

static void limit(void **state)
{
    const size_t five = 5;

    (void)state;
    split_check(wire_run_pairs, &five, "\2\3NNVVV", 7, "PAIR 2 3\nNAME NN\nVALUE VVV\nEND\nborder\n");
    split_check(wire_run_pairs, &five, "\2\4NNVVVV", 8, "BAD\nopen\n");
    split_check(wire_run_pairs, &five, "\6\0NNNNNN", 8, "BAD\nopen\n");
    split_check(wire_run_pairs, &five, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "BAD\nopen\n");
}

static void refused_whole(void **state)
{
    fcgipm_pairs_writer_t w;

    (void)state;
    for (size_t cap = 0; cap < 8 + 7 + 6; cap++) {
        memset(block, 0xcc, 64);
        fcgipm_pairs_writer_init(&w, block, cap, FCGIPM_TYPE_PARAMS, 1);
        bool first = fcgipm_pairs_put(&w, "AB", 2, "xyz", 3);
        assert_int_equal(first, cap >= 15);
        assert_false(fcgipm_pairs_put(&w, "CD", 2, "stuvwxy", 7));
        for (size_t i = first ? 15 : 0; i < 64; i++)
            assert_int_equal(block[i], 0xcc);
        assert_int_equal(fcgipm_pairs_finish(&w, false), first ? 15 : 0);
    }
    fcgipm_pairs_writer_init(&w, block, 8 + 7 + 6, FCGIPM_TYPE_PARAMS, 1);
    assert_true(fcgipm_pairs_put(&w, "AB", 2, "xyz", 3));
    assert_true(fcgipm_pairs_put(&w, "CD", 2, "uv", 2));
    assert_int_equal(fcgipm_pairs_finish(&w, true), 0);
    assert_int_equal(fcgipm_pairs_finish(&w, false), 21);
}

static void refused_lengths(void **state)
{
    fcgipm_pairs_writer_t w;

    (void)state;
    fcgipm_pairs_writer_init(&w, block, sizeof block, FCGIPM_TYPE_PARAMS, 1);
    assert_false(fcgipm_pairs_put(&w, "N", 1, "V", SIZE_MAX));
    assert_false(fcgipm_pairs_put(&w, "N", (size_t)0x80000000U, "V", 1));
    fcgipm_pairs_writer_init(&w, block, sizeof block, FCGIPM_TYPE_PARAMS, 65536);
    assert_false(fcgipm_pairs_put(&w, "N", 1, "V", 1));
    assert_int_equal(fcgipm_pairs_finish(&w, true), 0);
}

/* A value whose pair ends just before, on and after the border of a record, with the sizes promised. */
static void record_borders(void **state)
{
    fcgipm_pairs_writer_t w;

    (void)state;
    for (size_t total = 65520; total < 65550; total++) {
        size_t value_len = total - 5 - 1;
        fcgipm_pairs_writer_init(&w, block, fcgipm_pairs_block_size(total + 4), FCGIPM_TYPE_PARAMS, 9);
        assert_true(fcgipm_pairs_put(&w, "N", 1, long_text, value_len));
        assert_true(fcgipm_pairs_put(&w, "A", 1, "b", 1));
        size_t len = fcgipm_pairs_finish(&w, true);
        assert_int_equal(len, fcgipm_pairs_block_size(total + 4));
        join(block, len, FCGIPM_TYPE_PARAMS, 9, true);
        assert_int_equal(b.len, total + 4);
        assert_memory_equal(b.data + total, "\1\1Ab", 4);
    }
}

static void over_many_records(void **state)
{
    fcgipm_pairs_writer_t w;
    const size_t lens[] = {131070, 131064, 131065, 199994};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        size_t size = fcgipm_pairs_size(1, lens[i]);
        fcgipm_pairs_writer_init(&w, block, fcgipm_pairs_block_size(size), FCGIPM_TYPE_PARAMS, 65535);
        assert_true(fcgipm_pairs_put(&w, "N", 1, long_text, lens[i]));
        size_t len = fcgipm_pairs_finish(&w, true);
        assert_int_equal(len, fcgipm_pairs_block_size(size));
        join(block, len, FCGIPM_TYPE_PARAMS, 65535, true);
        assert_int_equal(b.len, size);
    }
}

static void management_stays_in_one_record(void **state)
{
    fcgipm_pairs_writer_t w;

    (void)state;
    fcgipm_pairs_writer_init(&w, block, sizeof block, FCGIPM_TYPE_GET_VALUES, 0);
    assert_false(fcgipm_pairs_put(&w, "N", 1, long_text, 65530));
    assert_true(fcgipm_pairs_put(&w, "N", 1, long_text, 65529));
    assert_false(fcgipm_pairs_put(&w, "", 0, "", 0));
    join(block, fcgipm_pairs_finish(&w, false), FCGIPM_TYPE_GET_VALUES, 0, false);
    assert_int_equal(b.len, 65535);
}

static unsigned random_next(unsigned *seed)
{
    *seed = *seed * 1103515245U + 12345U;
    return *seed >> 8 & 0xffff;
}

static void random_round_trips(void **state)
{
    unsigned seed = 20261121;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        wire_log_t log = {.text = NULL};
        fcgipm_pairs_writer_t w;
        size_t payload = 0;
        fcgipm_pairs_writer_init(&w, block, sizeof block, FCGIPM_TYPE_PARAMS, 3);
        for (unsigned i = random_next(&seed) % 12; i > 0; i--) {
            unsigned char name[300], value[4000];
            size_t name_len = random_next(&seed) % (random_next(&seed) % 2 ? 20 : sizeof name);
            size_t value_len = random_next(&seed) % (random_next(&seed) % 2 ? 140 : sizeof value);
            for (size_t k = 0; k < name_len; k++)
                name[k] = (unsigned char)random_next(&seed);
            for (size_t k = 0; k < value_len; k++)
                value[k] = (unsigned char)random_next(&seed);
            assert_true(fcgipm_pairs_put(&w, name, name_len, value, value_len));
            payload += fcgipm_pairs_size(name_len, value_len);
            wire_log_line(&log, "PAIR %zu %zu\n", name_len, value_len);
            if (name_len > 0)
                wire_log_data(&log, 1, "NAME", name, name_len);
            if (value_len > 0)
                wire_log_data(&log, 2, "VALUE", value, value_len);
            wire_log_line(&log, "END\n");
        }
        wire_log_line(&log, "border\n");
        size_t len = fcgipm_pairs_finish(&w, true);
        assert_int_equal(len, fcgipm_pairs_block_size(payload));
        join(block, len, FCGIPM_TYPE_PARAMS, 3, true);
        split_check(wire_run_pairs, NULL, b.data, b.len, log.text);
        free(log.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sizes, clear),
        cmocka_unit_test_setup(one_pair, clear),
        cmocka_unit_test_setup(no_pair, clear),
        cmocka_unit_test_setup(empty_name_and_value, clear),
        cmocka_unit_test_setup(length_forms, clear),
        cmocka_unit_test_setup(long_form_of_short_length, clear),
        cmocka_unit_test_setup(cut_off, clear),
        cmocka_unit_test_setup(limit, clear),
        cmocka_unit_test_setup(refused_whole, clear),
        cmocka_unit_test_setup(refused_lengths, clear),
        cmocka_unit_test_setup(record_borders, clear),
        cmocka_unit_test_setup(over_many_records, clear),
        cmocka_unit_test_setup(management_stays_in_one_record, clear),
        cmocka_unit_test_setup(random_round_trips, clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
