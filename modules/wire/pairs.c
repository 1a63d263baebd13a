/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/pairs.h"

#include <string.h>

#include "wire/span.h"

#define LEN_MAX  0x7fffffffU /* 31 bits, the top bit says "four bytes" (FCGI 1.0 §3.4) */
#define NONE     SIZE_MAX
#define HEAD_LEN FCGIPM_RECORD_HEADER_LEN
#define BODY_MAX FCGIPM_RECORD_CONTENT_MAX

enum { IN_NAME_LEN, IN_VALUE_LEN, IN_NAME, IN_VALUE, IS_BAD };

static size_t saturated_sum(size_t a, size_t b)
{
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

static size_t length_size(size_t len)
{
    return len < 0x80 ? 1 : 4;
}

size_t fcgipm_pairs_size(size_t name_len, size_t value_len)
{
    size_t lengths = length_size(name_len) + length_size(value_len);

    if (name_len > LEN_MAX || value_len > LEN_MAX)
        return SIZE_MAX;
    return saturated_sum(saturated_sum(name_len, value_len), lengths);
}

size_t fcgipm_pairs_block_size(size_t payload)
{
    size_t records = payload / BODY_MAX + (payload % BODY_MAX != 0);

    return saturated_sum(payload, (records + 1) * HEAD_LEN);
}

void fcgipm_pairs_writer_init(fcgipm_pairs_writer_t *w, unsigned char *out, size_t cap, unsigned type,
                              unsigned id)
{
    w->out = out;
    /* What no header can say gets no room either, so every put is refused. */
    w->cap = type > 0xff || id > 0xffff ? 0 : cap;
    w->used = 0;
    w->open = NONE;
    w->type = type;
    w->id = id;
}

/* Content bytes that the open record can still take. */
static size_t room_in_record(const fcgipm_pairs_writer_t *w)
{
    return w->open == NONE ? 0 : BODY_MAX - (w->used - w->open - HEAD_LEN);
}

/* Bytes of the block that `len` more bytes of content take, new headers included. */
static size_t cost(const fcgipm_pairs_writer_t *w, size_t len)
{
    size_t room = room_in_record(w);
    size_t beyond = len > room ? len - room : 0;
    size_t headers = beyond / BODY_MAX + (beyond % BODY_MAX != 0);

    return saturated_sum(len, headers * HEAD_LEN);
}

static bool fits(const fcgipm_pairs_writer_t *w, size_t len)
{
    /* Only the streams of a request may go on in a next record; a management record is whole (§3.3). */
    if (w->id == 0 && len > (w->open == NONE ? BODY_MAX : room_in_record(w)))
        return false;
    return cost(w, len) <= w->cap - w->used;
}

/* Room was proven by fits(). The header is rewritten at each step, so the block is well formed always. */
static void append(fcgipm_pairs_writer_t *w, const unsigned char *data, size_t len)
{
    while (len > 0) {
        if (room_in_record(w) == 0) {
            w->open = w->used;
            w->used += HEAD_LEN;
        }
        size_t room = room_in_record(w);
        size_t n = len < room ? len : room;
        memcpy(w->out + w->used, data, n);
        w->used += n;
        fcgipm_record_put(w->out + w->open, w->type, w->id, w->used - w->open - HEAD_LEN, 0);
        data += n;
        len -= n;
    }
}

static void append_length(fcgipm_pairs_writer_t *w, size_t len)
{
    unsigned char bytes[4];

    if (length_size(len) == 1) {
        bytes[0] = (unsigned char)len;
        append(w, bytes, 1);
        return;
    }
    fcgipm_span_put32(bytes, (uint32_t)len | 0x80000000U);
    append(w, bytes, 4);
}

bool fcgipm_pairs_put(fcgipm_pairs_writer_t *w, const void *name, size_t name_len, const void *value,
                      size_t value_len)
{
    size_t size = fcgipm_pairs_size(name_len, value_len);

    if (size == SIZE_MAX || !fits(w, size))
        return false;
    append_length(w, name_len);
    append_length(w, value_len);
    append(w, name, name_len);
    append(w, value, value_len);
    return true;
}

size_t fcgipm_pairs_finish(fcgipm_pairs_writer_t *w, bool end_stream)
{
    if (end_stream && w->cap - w->used < HEAD_LEN)
        return 0;
    w->open = NONE;
    if (end_stream)
        w->used += fcgipm_record_put(w->out + w->used, w->type, w->id, 0, 0);
    return w->used;
}

/* One or four bytes. want == 0 stands for "before the first byte". */
static bool read_length(fcgipm_pairs_reader_t *r, const unsigned char **in, const unsigned char *end,
                        size_t *len)
{
    if (*in == end)
        return false;
    if (r->want == 0) {
        r->acc = *(*in)++;
        r->want = r->acc & 0x80 ? 3 : 0;
        r->acc &= 0x7f;
    }
    for (; r->want > 0 && *in != end; r->want--)
        r->acc = r->acc << 8 | *(*in)++;
    if (r->want > 0)
        return false;
    *len = r->acc;
    return true;
}

static bool within_limit(const fcgipm_pairs_reader_t *r)
{
    if (r->limit == 0)
        return true;
    return r->name_len <= r->limit && r->value_len <= r->limit - r->name_len;
}

static fcgipm_pairs_event_t begin_pair(fcgipm_pairs_reader_t *r)
{
    if (!within_limit(r)) {
        r->state = IS_BAD;
        return FCGIPM_PAIRS_BAD;
    }
    r->state = IN_NAME;
    r->want = r->name_len;
    return FCGIPM_PAIRS_PAIR;
}

static fcgipm_pairs_event_t read_slice(fcgipm_pairs_reader_t *r, const unsigned char **in,
                                       const unsigned char *end, const unsigned char **slice,
                                       size_t *slice_len)
{
    *slice_len = fcgipm_span_take(in, end, r->want, slice);
    r->want -= *slice_len;
    if (*slice_len == 0)
        return FCGIPM_PAIRS_MORE;
    return r->state == IN_NAME ? FCGIPM_PAIRS_NAME : FCGIPM_PAIRS_VALUE;
}

fcgipm_pairs_event_t fcgipm_pairs_read(fcgipm_pairs_reader_t *r, const unsigned char **in,
                                       const unsigned char *end, const unsigned char **slice,
                                       size_t *slice_len)
{
    *slice = NULL;
    *slice_len = 0;
    if (r->state == IN_NAME_LEN) {
        if (!read_length(r, in, end, &r->name_len))
            return FCGIPM_PAIRS_MORE;
        r->state = IN_VALUE_LEN;
    }
    if (r->state == IN_VALUE_LEN)
        return read_length(r, in, end, &r->value_len) ? begin_pair(r) : FCGIPM_PAIRS_MORE;
    if (r->state == IN_NAME && r->want == 0) {
        r->state = IN_VALUE;
        r->want = r->value_len;
    }
    if (r->state == IS_BAD)
        return FCGIPM_PAIRS_BAD;
    if (r->want > 0)
        return read_slice(r, in, end, slice, slice_len);
    r->state = IN_NAME_LEN;
    return FCGIPM_PAIRS_END;
}

bool fcgipm_pairs_at_border(const fcgipm_pairs_reader_t *r)
{
    return r->state == IN_NAME_LEN && r->want == 0;
}
