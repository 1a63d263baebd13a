/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_SPLIT_H
#define WIRE_SPLIT_H
/*
 * What: the question of every wire test: does the reader say what is expected, whole, cut in two at every
 * byte, and byte by byte? Long inputs are cut near both ends and at every 997th byte, else the tests
 * would take minutes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire_render.h"

#define SPLIT_ALL_MAX 1500
#define SPLIT_NEAR    24

static inline bool split_wanted(size_t at, size_t len)
{
    return len <= SPLIT_ALL_MAX || at < SPLIT_NEAR || at + SPLIT_NEAR > len || at % 997 == 0;
}

static inline void split_once(wire_runner_t run, const void *arg, const unsigned char *in, size_t len,
                              wire_cut_t cut, const char *expected)
{
    char *text = run(arg, in, len, cut);

    if (strcmp(text, expected) != 0)
        print_error("cut mode %d at %zu of %zu bytes\n", (int)cut.mode, cut.at, len);
    assert_string_equal(text, expected);
    free(text);
}

/* expected NULL: what it says for the whole. */
static inline void split_check(wire_runner_t run, const void *arg, const void *input, size_t len,
                               const char *expected)
{
    const unsigned char *in = input;
    char *whole = run(arg, in, len, (wire_cut_t){WIRE_WHOLE, 0});

    if (expected == NULL)
        expected = whole;
    assert_string_equal(whole, expected);
    for (size_t at = 1; at < len; at++)
        if (split_wanted(at, len))
            split_once(run, arg, in, len, (wire_cut_t){WIRE_TWO, at}, expected);
    split_once(run, arg, in, len, (wire_cut_t){WIRE_BYTES, 0}, expected);
    split_once(run, arg, in, len, (wire_cut_t){WIRE_MIXED, len}, expected);
    free(whole);
}

/* An input under construction. */
typedef struct split_bytes {
    unsigned char data[200000];
    size_t len;
} split_bytes_t;

static inline void split_add(split_bytes_t *b, const void *data, size_t len)
{
    assert_true(len <= sizeof b->data - b->len);
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
}

/* A record with text as content; padding is 0xee, so that nobody takes it for zeroes. */
static inline void split_record(split_bytes_t *b, unsigned type, unsigned id, const void *content, size_t len,
                                size_t padding)
{
    unsigned char header[8], pad[255];

    memset(pad, 0xee, sizeof pad);
    assert_int_equal(fcgipm_record_put(header, type, id, len, padding), 8);
    split_add(b, header, 8);
    split_add(b, content, len);
    split_add(b, pad, padding);
}

static inline void split_text(split_bytes_t *b, unsigned type, unsigned id, const char *text)
{
    split_record(b, type, id, text, strlen(text), 0);
}
#endif
