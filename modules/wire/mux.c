/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/mux.h"

#include <string.h>

#include "wire/span.h"

#define ID_MAX   65535
#define BODY_LEN 8 /* of END_REQUEST (FCGI 1.0 §5.5) and UNKNOWN_TYPE (§4.2) */

/* RELEASED is as free as FREE, but remembers that the id was in use: a late record for it is TRAILING, and
 * that is another bug in the application than a made-up id. */
enum { STREAM_FREE, STREAM_OPEN, STREAM_RELEASED };

const char *fcgipm_mux_fault_str(fcgipm_mux_fault_t fault)
{
    switch (fault) {
    case FCGIPM_MUX_FINE:
        return "no fault";
    case FCGIPM_MUX_BAD_VERSION:
        return "the application sent bytes that are not a FastCGI version 1 record";
    case FCGIPM_MUX_BAD_TYPE:
        return "the application sent a record of a type that it may not send now";
    case FCGIPM_MUX_BAD_ID:
        return "the application sent a record for a request id that is not in use";
    case FCGIPM_MUX_BAD_END:
        return "the application sent a malformed END_REQUEST record";
    case FCGIPM_MUX_BAD_VALUES:
        return "the application sent a malformed or unasked management answer";
    case FCGIPM_MUX_TRAILING:
        return "the application sent a record for a request that it had ended";
    default:
        return "unknown fault";
    }
}

void fcgipm_mux_init(fcgipm_mux_t *mux, fcgipm_mux_stream_t *streams, size_t stream_count)
{
    memset(mux, 0, sizeof *mux);
    mux->streams = streams;
    mux->stream_count = stream_count < ID_MAX ? stream_count : ID_MAX;
    for (size_t i = 0; i < mux->stream_count; i++)
        streams[i] = (fcgipm_mux_stream_t){.state = STREAM_FREE};
}

static fcgipm_mux_stream_t *stream_of(const fcgipm_mux_t *mux, unsigned id)
{
    return id >= 1 && id <= mux->stream_count ? &mux->streams[id - 1] : NULL;
}

unsigned fcgipm_mux_begin(fcgipm_mux_t *mux, void *user)
{
    if (mux->fault != FCGIPM_MUX_FINE)
        return 0;
    for (size_t i = 0; i < mux->stream_count; i++) {
        if (mux->streams[i].state == STREAM_OPEN)
            continue;
        mux->streams[i] = (fcgipm_mux_stream_t){.state = STREAM_OPEN, .user = user};
        mux->open_count++;
        return (unsigned)i + 1;
    }
    return 0;
}

void fcgipm_mux_abort(fcgipm_mux_t *mux, unsigned id)
{
    fcgipm_mux_stream_t *stream = stream_of(mux, id);

    if (stream != NULL && stream->state == STREAM_OPEN)
        stream->aborted = true;
}

/* The three names of FCGI 1.0 §4.1, and where their answers go. */
static const char *const value_names[] = {"FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"};
#define VALUE_COUNT (sizeof value_names / sizeof value_names[0])

static uint32_t *value_slot(fcgipm_mux_values_t *values, size_t which)
{
    uint32_t *slots[VALUE_COUNT] = {&values->max_conns, &values->max_reqs, &values->mpxs_conns};

    return slots[which];
}

size_t fcgipm_mux_ask_values(fcgipm_mux_t *mux, unsigned char *out, size_t cap)
{
    fcgipm_pairs_writer_t w;

    if (mux->values_asked || mux->fault != FCGIPM_MUX_FINE)
        return 0;
    fcgipm_pairs_writer_init(&w, out, cap, FCGIPM_TYPE_GET_VALUES, 0);
    for (size_t i = 0; i < VALUE_COUNT; i++)
        if (!fcgipm_pairs_put(&w, value_names[i], strlen(value_names[i]), "", 0))
            return 0;
    mux->values_asked = true;
    return fcgipm_pairs_finish(&w, false);
}

static fcgipm_mux_fault_t judge_id(const fcgipm_mux_t *mux, unsigned id)
{
    const fcgipm_mux_stream_t *stream = stream_of(mux, id);

    if (stream == NULL || stream->state == STREAM_FREE)
        return FCGIPM_MUX_BAD_ID;
    return stream->state == STREAM_RELEASED ? FCGIPM_MUX_TRAILING : FCGIPM_MUX_FINE;
}

static fcgipm_mux_fault_t judge_end(const fcgipm_mux_t *mux, const fcgipm_record_t *record)
{
    fcgipm_mux_fault_t fault = judge_id(mux, record->id);

    if (fault == FCGIPM_MUX_FINE && record->content_len != BODY_LEN)
        return FCGIPM_MUX_BAD_END;
    return fault;
}

static fcgipm_mux_fault_t judge_values(const fcgipm_mux_t *mux, const fcgipm_record_t *record)
{
    if (record->id != 0)
        return FCGIPM_MUX_BAD_ID;
    return mux->values_asked ? FCGIPM_MUX_FINE : FCGIPM_MUX_BAD_VALUES;
}

static fcgipm_mux_fault_t judge_unknown(const fcgipm_mux_t *mux, const fcgipm_record_t *record)
{
    if (record->id == 0 && record->content_len != BODY_LEN)
        return FCGIPM_MUX_BAD_VALUES;
    return judge_values(mux, record);
}

/* All that a header alone can be refused for, before any content is looked at. */
static fcgipm_mux_fault_t judge_header(const fcgipm_mux_t *mux, const fcgipm_record_t *record)
{
    switch (record->type) {
    case FCGIPM_TYPE_STDOUT:
    case FCGIPM_TYPE_STDERR:
        return judge_id(mux, record->id);
    case FCGIPM_TYPE_END_REQUEST:
        return judge_end(mux, record);
    case FCGIPM_TYPE_GET_VALUES_RESULT:
        return judge_values(mux, record);
    case FCGIPM_TYPE_UNKNOWN_TYPE:
        return judge_unknown(mux, record);
    default:
        return FCGIPM_MUX_BAD_TYPE;
    }
}

static fcgipm_mux_fault_t begin_record(fcgipm_mux_t *mux)
{
    mux->small_len = 0;
    mux->pairs = (fcgipm_pairs_reader_t){.limit = sizeof mux->small};
    return judge_header(mux, &mux->reader.record);
}

/* The callers have proven the length: an 8 byte body, or the limit of the pairs reader. */
static void gather(fcgipm_mux_t *mux, const unsigned char *data, size_t len)
{
    memcpy(mux->small + mux->small_len, data, len);
    mux->small_len += len;
}

static bool parse_number(const unsigned char *text, size_t len, uint32_t *number)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (unsigned)(text[i] - '0');
        if (n > UINT32_MAX)
            return false;
    }
    *number = (uint32_t)n;
    return true;
}

/* A name we did not ask for is skipped, since it can do no harm; an answer that is no number is not. */
static fcgipm_mux_fault_t take_value(fcgipm_mux_t *mux)
{
    size_t name_len = mux->pairs.name_len;

    for (size_t i = 0; i < VALUE_COUNT; i++) {
        if (strlen(value_names[i]) != name_len || memcmp(mux->small, value_names[i], name_len) != 0)
            continue;
        if (!parse_number(mux->small + name_len, mux->pairs.value_len, value_slot(&mux->values, i)))
            return FCGIPM_MUX_BAD_VALUES;
    }
    return FCGIPM_MUX_FINE;
}

static fcgipm_mux_fault_t read_values(fcgipm_mux_t *mux, const unsigned char *data, size_t len)
{
    const unsigned char *end = data + len;
    fcgipm_mux_fault_t fault = FCGIPM_MUX_FINE;

    while (fault == FCGIPM_MUX_FINE) {
        const unsigned char *slice;
        size_t slice_len;
        switch (fcgipm_pairs_read(&mux->pairs, &data, end, &slice, &slice_len)) {
        case FCGIPM_PAIRS_MORE:
            return FCGIPM_MUX_FINE;
        case FCGIPM_PAIRS_PAIR:
            mux->small_len = 0;
            break;
        case FCGIPM_PAIRS_NAME:
        case FCGIPM_PAIRS_VALUE:
            gather(mux, slice, slice_len);
            break;
        case FCGIPM_PAIRS_END:
            fault = take_value(mux);
            break;
        default:
            return FCGIPM_MUX_BAD_VALUES;
        }
    }
    return fault;
}

static fcgipm_mux_kind_t give(fcgipm_mux_event_t *event, fcgipm_mux_kind_t kind)
{
    event->kind = kind;
    return kind;
}

static fcgipm_mux_kind_t fail(fcgipm_mux_t *mux, fcgipm_mux_event_t *event, fcgipm_mux_fault_t fault)
{
    mux->fault = fault;
    return give(event, FCGIPM_MUX_BROKEN);
}

static bool stream_is_closed(const fcgipm_mux_stream_t *stream, unsigned type)
{
    return stream->aborted || (type == FCGIPM_TYPE_STDOUT ? stream->stdout_ended : stream->stderr_ended);
}

static fcgipm_mux_kind_t give_data(const fcgipm_mux_t *mux, fcgipm_mux_event_t *event,
                                   const unsigned char *data, size_t len)
{
    unsigned type = mux->reader.record.type;

    event->data = data;
    event->len = len;
    if (stream_is_closed(stream_of(mux, event->id), type))
        return give(event, FCGIPM_MUX_IGNORED);
    return give(event, type == FCGIPM_TYPE_STDOUT ? FCGIPM_MUX_STDOUT : FCGIPM_MUX_STDERR);
}

/* MORE stands for "no event yet" in the functions below. */
static fcgipm_mux_kind_t on_slice(fcgipm_mux_t *mux, fcgipm_mux_event_t *event, const unsigned char *data,
                                  size_t len)
{
    fcgipm_mux_fault_t fault;

    switch (mux->reader.record.type) {
    case FCGIPM_TYPE_STDOUT:
    case FCGIPM_TYPE_STDERR:
        return give_data(mux, event, data, len);
    case FCGIPM_TYPE_GET_VALUES_RESULT:
        fault = read_values(mux, data, len);
        return fault == FCGIPM_MUX_FINE ? FCGIPM_MUX_MORE : fail(mux, event, fault);
    default:
        gather(mux, data, len);
        return FCGIPM_MUX_MORE;
    }
}

static fcgipm_mux_kind_t end_stream(fcgipm_mux_t *mux, fcgipm_mux_event_t *event)
{
    fcgipm_mux_stream_t *stream = stream_of(mux, event->id);
    unsigned type = mux->reader.record.type;

    if (mux->reader.record.content_len > 0)
        return FCGIPM_MUX_MORE;
    if (stream_is_closed(stream, type))
        return give(event, FCGIPM_MUX_IGNORED);
    if (type == FCGIPM_TYPE_STDERR) {
        stream->stderr_ended = true;
        return give(event, FCGIPM_MUX_STDERR_END);
    }
    stream->stdout_ended = true;
    return give(event, FCGIPM_MUX_STDOUT_END);
}

static fcgipm_mux_kind_t end_request(fcgipm_mux_t *mux, fcgipm_mux_event_t *event)
{
    if (mux->small[4] > FCGIPM_STATUS_UNKNOWN_ROLE)
        return fail(mux, event, FCGIPM_MUX_BAD_END);
    event->app_status = fcgipm_span_get32(mux->small);
    event->protocol_status = mux->small[4];
    /* A peer that refused once may have stopped reading in the middle of what we sent. */
    if (event->protocol_status != FCGIPM_STATUS_REQUEST_COMPLETE)
        mux->unclean = true;
    stream_of(mux, event->id)->state = STREAM_RELEASED;
    mux->open_count--;
    return give(event, FCGIPM_MUX_ENDED);
}

static fcgipm_mux_kind_t end_values(fcgipm_mux_t *mux, fcgipm_mux_event_t *event)
{
    if (!fcgipm_pairs_at_border(&mux->pairs))
        return fail(mux, event, FCGIPM_MUX_BAD_VALUES);
    mux->values_asked = false;
    mux->values.answered = true;
    return give(event, FCGIPM_MUX_VALUE);
}

/* Events are given when the padding is gone too, so that fcgipm_mux_reusable tells the truth at once. */
static fcgipm_mux_kind_t on_end(fcgipm_mux_t *mux, fcgipm_mux_event_t *event)
{
    switch (mux->reader.record.type) {
    case FCGIPM_TYPE_STDOUT:
    case FCGIPM_TYPE_STDERR:
        return end_stream(mux, event);
    case FCGIPM_TYPE_END_REQUEST:
        return end_request(mux, event);
    case FCGIPM_TYPE_GET_VALUES_RESULT:
        return end_values(mux, event);
    default:
        mux->values_asked = false;
        return give(event, FCGIPM_MUX_UNKNOWN);
    }
}

/* One step of the record reader. */
static fcgipm_mux_kind_t step(fcgipm_mux_t *mux, fcgipm_record_event_t what, fcgipm_mux_event_t *event,
                              const unsigned char *slice, size_t slice_len)
{
    fcgipm_mux_fault_t fault;

    switch (what) {
    case FCGIPM_RECORD_HEADER:
        fault = begin_record(mux);
        return fault == FCGIPM_MUX_FINE ? FCGIPM_MUX_MORE : fail(mux, event, fault);
    case FCGIPM_RECORD_SLICE:
        return on_slice(mux, event, slice, slice_len);
    case FCGIPM_RECORD_END:
        return on_end(mux, event);
    default:
        return fail(mux, event, FCGIPM_MUX_BAD_VERSION);
    }
}

fcgipm_mux_kind_t fcgipm_mux_read(fcgipm_mux_t *mux, const unsigned char **in, const unsigned char *end,
                                  fcgipm_mux_event_t *event)
{
    fcgipm_mux_kind_t kind = FCGIPM_MUX_MORE;

    *event = (fcgipm_mux_event_t){.kind = FCGIPM_MUX_MORE};
    if (mux->fault != FCGIPM_MUX_FINE)
        return give(event, FCGIPM_MUX_BROKEN);
    while (kind == FCGIPM_MUX_MORE) {
        const unsigned char *slice;
        size_t slice_len;
        fcgipm_record_event_t what = fcgipm_record_read(&mux->reader, in, end, &slice, &slice_len);
        if (what == FCGIPM_RECORD_MORE)
            return FCGIPM_MUX_MORE;
        event->id = what == FCGIPM_RECORD_BAD ? 0 : mux->reader.record.id;
        kind = step(mux, what, event, slice, slice_len);
    }
    return kind;
}

bool fcgipm_mux_reusable(const fcgipm_mux_t *mux)
{
    return mux->fault == FCGIPM_MUX_FINE && mux->open_count == 0 && !mux->unclean &&
           fcgipm_record_at_border(&mux->reader);
}
