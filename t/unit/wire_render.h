/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_RENDER_H
#define WIRE_RENDER_H
/*
 * What: runs a reader of modules/wire over an input that is cut into pieces, and renders all that it says as
 * text. Two cuts of one input must give the same text: unit tests and fuzz targets compare just that. Each
 * piece is a heap block of its exact size that is freed after the call, so that the address sanitizer sees
 * a reader which looks beyond its input or back at a former one.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/head.h"
#include "wire/mux.h"
#include "wire/pairs.h"
#include "wire/record.h"

#define WIRE_CHECK(cond)                                                                                     \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #cond);                     \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* How to cut: whole, in two at `at`, byte by byte, or in small pieces derived from `at`. */
typedef enum wire_cut_mode { WIRE_WHOLE, WIRE_TWO, WIRE_BYTES, WIRE_MIXED } wire_cut_mode_t;
typedef struct wire_cut {
    wire_cut_mode_t mode;
    size_t at;
} wire_cut_t;

static inline size_t wire_cut_next(wire_cut_t cut, size_t pos, size_t len)
{
    size_t left = len - pos;
    size_t n = left;

    if (cut.mode == WIRE_TWO && pos < cut.at)
        n = cut.at - pos;
    if (cut.mode == WIRE_BYTES)
        n = 1;
    if (cut.mode == WIRE_MIXED)
        n = 1 + (pos * 2654435761U + cut.at * 40503U) / 7 % 23;
    return n < left ? n : left;
}

static inline unsigned char *wire_piece_copy(const unsigned char *in, size_t len)
{
    unsigned char *piece = malloc(len > 0 ? len : 1);

    WIRE_CHECK(piece != NULL);
    if (len > 0)
        memcpy(piece, in, len);
    return piece;
}

typedef struct wire_log {
    char *text;
    size_t len, cap;
    unsigned long open; /* what the last line shows the data of; 0 = nothing */
} wire_log_t;

static inline void wire_log_room(wire_log_t *log, size_t more)
{
    if (log->len + more + 1 <= log->cap)
        return;
    log->cap = (log->len + more + 1) * 2;
    log->text = realloc(log->text, log->cap);
    WIRE_CHECK(log->text != NULL);
}

static inline void wire_log_line(wire_log_t *log, const char *fmt, ...)
{
    char line[512];
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    WIRE_CHECK(n >= 0 && (size_t)n < sizeof line);
    wire_log_room(log, (size_t)n + 2);
    if (log->open != 0)
        log->text[log->len++] = '\n';
    log->open = 0;
    memcpy(log->text + log->len, line, (size_t)n + 1);
    log->len += (size_t)n;
}

static inline void wire_log_byte(wire_log_t *log, unsigned char c)
{
    wire_log_room(log, 8);
    if (c >= 0x20 && c < 0x7f && c != '\\')
        log->text[log->len++] = (char)c;
    else
        log->len += (size_t)sprintf(log->text + log->len, "\\%02x", c);
    log->text[log->len] = '\0';
}

/* Data of one stream goes into one line, however it was sliced. */
static inline void wire_log_data(wire_log_t *log, unsigned long key, const char *label,
                                 const unsigned char *data, size_t len)
{
    if (log->open != key) {
        wire_log_line(log, "%s ", label);
        log->open = key;
    }
    for (size_t i = 0; i < len; i++)
        wire_log_byte(log, data[i]);
}

static inline char *wire_log_done(wire_log_t *log)
{
    wire_log_line(log, "%s", "");
    return log->text;
}

#define WIRE_INSIDE(slice, slice_len, from, to) ((slice) >= (from) && (slice_len) <= (size_t)((to) - (slice)))

/* Each runner has this type; the text is the caller's to free. */
typedef char *(*wire_runner_t)(const void *arg, const unsigned char *in, size_t len, wire_cut_t cut);

static inline bool wire_record_piece(fcgipm_record_reader_t *r, wire_log_t *log, const unsigned char *piece,
                                     size_t len)
{
    const unsigned char *pos = piece, *end = piece + len, *slice;
    size_t slice_len;

    for (;;) {
        switch (fcgipm_record_read(r, &pos, end, &slice, &slice_len)) {
        case FCGIPM_RECORD_MORE:
            WIRE_CHECK(pos == end);
            return true;
        case FCGIPM_RECORD_HEADER:
            WIRE_CHECK(r->record.content_len <= 65535 && r->record.padding_len <= 255);
            wire_log_line(log, "HEADER type=%u id=%u content=%zu padding=%zu\n", r->record.type, r->record.id,
                          r->record.content_len, r->record.padding_len);
            break;
        case FCGIPM_RECORD_SLICE:
            WIRE_CHECK(slice_len > 0 && WIRE_INSIDE(slice, slice_len, piece, end));
            wire_log_data(log, 1, "SLICE", slice, slice_len);
            break;
        case FCGIPM_RECORD_END:
            WIRE_CHECK(fcgipm_record_at_border(r));
            wire_log_line(log, "END\n");
            break;
        case FCGIPM_RECORD_BAD:
            WIRE_CHECK(fcgipm_record_read(r, &pos, end, &slice, &slice_len) == FCGIPM_RECORD_BAD);
            wire_log_line(log, "BAD\n");
            return false;
        }
    }
}

static inline char *wire_run_record(const void *arg, const unsigned char *in, size_t len, wire_cut_t cut)
{
    fcgipm_record_reader_t r = {.state = 0};
    wire_log_t log = {.text = NULL};
    bool go = true;

    (void)arg;
    for (size_t pos = 0, n; go && pos < len; pos += n) {
        n = wire_cut_next(cut, pos, len);
        unsigned char *piece = wire_piece_copy(in + pos, n);
        go = wire_record_piece(&r, &log, piece, n);
        free(piece);
    }
    wire_log_line(&log, fcgipm_record_at_border(&r) ? "border\n" : "open\n");
    return wire_log_done(&log);
}

static inline bool wire_pairs_piece(fcgipm_pairs_reader_t *r, wire_log_t *log, const unsigned char *piece,
                                    size_t len)
{
    const unsigned char *pos = piece, *end = piece + len, *slice;
    size_t slice_len;

    for (;;) {
        switch (fcgipm_pairs_read(r, &pos, end, &slice, &slice_len)) {
        case FCGIPM_PAIRS_MORE:
            WIRE_CHECK(pos == end);
            return true;
        case FCGIPM_PAIRS_PAIR:
            WIRE_CHECK(r->limit == 0 || r->name_len + r->value_len <= r->limit);
            wire_log_line(log, "PAIR %zu %zu\n", r->name_len, r->value_len);
            break;
        case FCGIPM_PAIRS_NAME:
            WIRE_CHECK(slice_len > 0 && WIRE_INSIDE(slice, slice_len, piece, end));
            wire_log_data(log, 1, "NAME", slice, slice_len);
            break;
        case FCGIPM_PAIRS_VALUE:
            WIRE_CHECK(slice_len > 0 && WIRE_INSIDE(slice, slice_len, piece, end));
            wire_log_data(log, 2, "VALUE", slice, slice_len);
            break;
        case FCGIPM_PAIRS_END:
            WIRE_CHECK(fcgipm_pairs_at_border(r));
            wire_log_line(log, "END\n");
            break;
        case FCGIPM_PAIRS_BAD:
            WIRE_CHECK(fcgipm_pairs_read(r, &pos, end, &slice, &slice_len) == FCGIPM_PAIRS_BAD);
            wire_log_line(log, "BAD\n");
            return false;
        }
    }
}

/* arg: NULL or a size_t, the reader's limit. */
static inline char *wire_run_pairs(const void *arg, const unsigned char *in, size_t len, wire_cut_t cut)
{
    fcgipm_pairs_reader_t r = {.limit = arg == NULL ? 0 : *(const size_t *)arg};
    wire_log_t log = {.text = NULL};
    bool go = true;

    for (size_t pos = 0, n; go && pos < len; pos += n) {
        n = wire_cut_next(cut, pos, len);
        unsigned char *piece = wire_piece_copy(in + pos, n);
        go = wire_pairs_piece(&r, &log, piece, n);
        free(piece);
    }
    wire_log_line(&log, fcgipm_pairs_at_border(&r) ? "border\n" : "open\n");
    return wire_log_done(&log);
}

typedef struct wire_mux_plan {
    size_t streams; /* of the table, at most 8 */
    unsigned begin; /* requests begun before the first byte */
    unsigned abort; /* one of them aborted, 0 = none */
    bool ask;       /* GET_VALUES was sent */
    bool again;     /* each id that ends is begun again at once */
} wire_mux_plan_t;

static inline void wire_mux_stream_line(wire_log_t *log, const fcgipm_mux_event_t *event,
                                        const unsigned char *piece, size_t len)
{
    static const char *const names[] = {
        [FCGIPM_MUX_STDOUT] = "STDOUT", [FCGIPM_MUX_STDERR] = "STDERR", [FCGIPM_MUX_IGNORED] = "IGNORED"};
    char label[32];

    WIRE_CHECK(event->len == 0 || WIRE_INSIDE(event->data, event->len, piece, piece + len));
    snprintf(label, sizeof label, "%s %u", names[event->kind], event->id);
    wire_log_data(log, event->kind * 65536UL + event->id, label, event->data, event->len);
}

static inline void wire_mux_ended_line(fcgipm_mux_t *mux, wire_log_t *log, const fcgipm_mux_event_t *event,
                                       bool again)
{
    WIRE_CHECK(event->protocol_status <= 3);
    wire_log_line(log, "ENDED %u app=%lu status=%u%s\n", event->id, (unsigned long)event->app_status,
                  event->protocol_status, fcgipm_mux_reusable(mux) ? " reusable" : "");
    if (again)
        WIRE_CHECK(fcgipm_mux_begin(mux, NULL) != 0);
}

static inline bool wire_mux_piece(fcgipm_mux_t *mux, wire_log_t *log, const unsigned char *piece, size_t len,
                                  bool again)
{
    const unsigned char *pos = piece, *end = piece + len;
    fcgipm_mux_event_t event;

    for (;;) {
        fcgipm_mux_kind_t kind = fcgipm_mux_read(mux, &pos, end, &event);
        WIRE_CHECK(kind == event.kind && pos >= piece && pos <= end);
        switch (kind) {
        case FCGIPM_MUX_MORE:
            WIRE_CHECK(pos == end);
            return true;
        case FCGIPM_MUX_STDOUT:
        case FCGIPM_MUX_STDERR:
        case FCGIPM_MUX_IGNORED:
            wire_mux_stream_line(log, &event, piece, len);
            break;
        case FCGIPM_MUX_STDOUT_END:
            wire_log_line(log, "STDOUT_END %u\n", event.id);
            break;
        case FCGIPM_MUX_STDERR_END:
            wire_log_line(log, "STDERR_END %u\n", event.id);
            break;
        case FCGIPM_MUX_ENDED:
            wire_mux_ended_line(mux, log, &event, again);
            break;
        case FCGIPM_MUX_VALUE:
            wire_log_line(log, "VALUE conns=%lu reqs=%lu mpxs=%lu\n", (unsigned long)mux->values.max_conns,
                          (unsigned long)mux->values.max_reqs, (unsigned long)mux->values.mpxs_conns);
            break;
        case FCGIPM_MUX_UNKNOWN:
            wire_log_line(log, "UNKNOWN\n");
            break;
        case FCGIPM_MUX_BROKEN:
            WIRE_CHECK(fcgipm_mux_read(mux, &pos, end, &event) == FCGIPM_MUX_BROKEN);
            WIRE_CHECK(!fcgipm_mux_reusable(mux) && fcgipm_mux_begin(mux, NULL) == 0);
            wire_log_line(log, "BROKEN %d\n", (int)mux->fault);
            return false;
        }
    }
}

static inline void wire_mux_prepare(fcgipm_mux_t *mux, fcgipm_mux_stream_t *streams,
                                    const wire_mux_plan_t *plan)
{
    unsigned char ask[128];

    fcgipm_mux_init(mux, streams, plan->streams);
    for (unsigned i = 1; i <= plan->begin; i++)
        WIRE_CHECK(fcgipm_mux_begin(mux, NULL) == i);
    fcgipm_mux_abort(mux, plan->abort);
    if (plan->ask)
        WIRE_CHECK(fcgipm_mux_ask_values(mux, ask, sizeof ask) > 0);
}

/* arg: a wire_mux_plan_t. */
static inline char *wire_run_mux(const void *arg, const unsigned char *in, size_t len, wire_cut_t cut)
{
    const wire_mux_plan_t *plan = arg;
    fcgipm_mux_stream_t streams[8];
    fcgipm_mux_t mux;
    wire_log_t log = {.text = NULL};
    bool go = true;

    wire_mux_prepare(&mux, streams, plan);
    for (size_t pos = 0, n; go && pos < len; pos += n) {
        n = wire_cut_next(cut, pos, len);
        unsigned char *piece = wire_piece_copy(in + pos, n);
        go = wire_mux_piece(&mux, &log, piece, n, plan->again);
        free(piece);
    }
    wire_log_line(&log, "open=%zu%s\n", mux.open_count, fcgipm_mux_reusable(&mux) ? " reusable" : "");
    return wire_log_done(&log);
}

typedef struct wire_head_plan {
    size_t cap; /* of the first buffer */
    size_t max; /* of the last one: the limit */
} wire_head_plan_t;

static inline void wire_head_clean(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        WIRE_CHECK(s[i] != '\r' && s[i] != '\n' && s[i] != '\0');
}

static inline void wire_head_fields(const fcgipm_head_t *head, wire_log_t *log)
{
    fcgipm_head_field_t f;
    size_t iter = 0;
    unsigned count = 0;

    while (fcgipm_head_next(head, &iter, &f)) {
        WIRE_CHECK(WIRE_INSIDE(f.name, f.name_len, head->buf, head->buf + head->len));
        WIRE_CHECK(WIRE_INSIDE(f.value, f.value_len, head->buf, head->buf + head->len));
        WIRE_CHECK(f.name_len > 0 && memchr(f.name, ':', f.name_len) == NULL);
        wire_head_clean(f.name, f.name_len);
        wire_head_clean(f.value, f.value_len);
        wire_log_data(log, 1, "FIELD", (const unsigned char *)f.name, f.name_len);
        wire_log_data(log, 1, "", (const unsigned char *)"=", 1);
        wire_log_data(log, 1, "", (const unsigned char *)f.value, f.value_len);
        log->open = 2; /* the next field has a line of its own */
        count++;
    }
    WIRE_CHECK(count == head->fields && count <= FCGIPM_HEAD_FIELDS_MAX);
}

static inline void wire_head_done(const fcgipm_head_t *head, wire_log_t *log, size_t used)
{
    wire_log_line(log, "DONE used=%zu%s%s", used, head->nph ? " nph" : "",
                  head->has_location ? " location" : "");
    if (head->status != 0) {
        WIRE_CHECK(head->status == 103 || (head->status >= 200 && head->status <= 599));
        wire_log_line(log, " status=%u", head->status);
    }
    if (head->has_length)
        wire_log_line(log, " length=%llu", (unsigned long long)head->length);
    if (head->reason != NULL) {
        WIRE_CHECK(WIRE_INSIDE(head->reason, head->reason_len, head->buf, head->buf + head->len));
        wire_head_clean(head->reason, head->reason_len);
        wire_log_data(log, 3, " reason", (const unsigned char *)head->reason, head->reason_len);
        log->open = 2;
    } else {
        wire_log_line(log, "\n");
    }
    wire_head_fields(head, log);
}

static inline bool wire_head_bigger(fcgipm_head_t *head, const wire_head_plan_t *plan)
{
    size_t cap = head->cap * 2 + 1 < plan->max ? head->cap * 2 + 1 : plan->max;
    char *old = head->buf;

    if (cap <= head->cap)
        return false;
    char *buf = malloc(cap);
    WIRE_CHECK(buf != NULL);
    fcgipm_head_grow(head, buf, cap);
    WIRE_CHECK(head->buf == buf);
    free(old);
    return true;
}

/* False when the head is over, one way or another. `before` counts the bytes of earlier pieces. */
static inline bool wire_head_piece(fcgipm_head_t *head, wire_log_t *log, const wire_head_plan_t *plan,
                                   const unsigned char *piece, size_t len, size_t before)
{
    const unsigned char *pos = piece, *end = piece + len;

    for (;;) {
        fcgipm_head_result_t result = fcgipm_head_read(head, &pos, end);
        WIRE_CHECK(pos >= piece && pos <= end && head->len <= head->cap);
        switch (result) {
        case FCGIPM_HEAD_MORE:
            WIRE_CHECK(pos == end);
            return true;
        case FCGIPM_HEAD_FULL:
            WIRE_CHECK(head->len == head->cap && pos < end);
            if (wire_head_bigger(head, plan))
                break;
            wire_log_line(log, "LIMIT used=%zu\n", before + (size_t)(pos - piece));
            return false;
        case FCGIPM_HEAD_DONE:
            WIRE_CHECK(fcgipm_head_read(head, &pos, end) == FCGIPM_HEAD_DONE);
            wire_head_done(head, log, before + (size_t)(pos - piece));
            return false;
        case FCGIPM_HEAD_BAD:
            WIRE_CHECK(fcgipm_head_read(head, &pos, end) == FCGIPM_HEAD_BAD);
            wire_log_line(log, "BAD %d line=%u\n", (int)head->fault, head->line);
            return false;
        }
    }
}

/* arg: a wire_head_plan_t. */
static inline char *wire_run_head(const void *arg, const unsigned char *in, size_t len, wire_cut_t cut)
{
    const wire_head_plan_t *plan = arg;
    fcgipm_head_t head;
    wire_log_t log = {.text = NULL};
    char *first = malloc(plan->cap > 0 ? plan->cap : 1);
    bool go = true;

    WIRE_CHECK(first != NULL);
    fcgipm_head_init(&head, first, plan->cap);
    for (size_t pos = 0, n; go && pos < len; pos += n) {
        n = wire_cut_next(cut, pos, len);
        unsigned char *piece = wire_piece_copy(in + pos, n);
        go = wire_head_piece(&head, &log, plan, piece, n, pos);
        free(piece);
    }
    if (go)
        wire_log_line(&log, "MORE\n");
    free(head.buf);
    return wire_log_done(&log);
}
#endif
