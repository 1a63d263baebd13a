/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/record.h"

#include <string.h>

#include "wire/span.h"

#define VERSION  1
#define BODY_LEN 8 /* of BEGIN_REQUEST, END_REQUEST and UNKNOWN_TYPE alike */

enum { AT_START, IN_HEADER, IN_CONTENT, IN_PADDING, IS_BAD };

#define TYPE_CASE(name, value, doc)                                                                          \
    case FCGIPM_TYPE_##name:                                                                                 \
        return #name;
#define ROLE_CASE(name, value, doc)                                                                          \
    case FCGIPM_ROLE_##name:                                                                                 \
        return #name;
#define STATUS_CASE(name, value, doc)                                                                        \
    case FCGIPM_STATUS_##name:                                                                               \
        return #name;

const char *fcgipm_type_str(unsigned type)
{
    switch (type) {
        FCGIPM_TYPE_TABLE(TYPE_CASE)
    default:
        return "?";
    }
}

const char *fcgipm_role_str(unsigned role)
{
    switch (role) {
        FCGIPM_ROLE_TABLE(ROLE_CASE)
    default:
        return "?";
    }
}

const char *fcgipm_status_str(unsigned status)
{
    switch (status) {
        FCGIPM_STATUS_TABLE(STATUS_CASE)
    default:
        return "?";
    }
}

size_t fcgipm_record_put(unsigned char out[8], unsigned type, unsigned id, size_t content_len,
                         size_t padding_len)
{
    memset(out, 0, FCGIPM_RECORD_HEADER_LEN);
    /* Never truncate: a shortened length turns the caller's content into records (smuggling). A version of
     * 0 instead makes the peer close the connection. */
    if (type > 0xff || id > 0xffff || content_len > FCGIPM_RECORD_CONTENT_MAX || padding_len > 0xff)
        return 0;
    out[0] = VERSION;
    out[1] = (unsigned char)type;
    fcgipm_span_put16(out + 2, id);
    fcgipm_span_put16(out + 4, (unsigned)content_len);
    out[6] = (unsigned char)padding_len;
    return FCGIPM_RECORD_HEADER_LEN;
}

/* A record with an 8 byte body that is zero so far. */
static size_t put_with_body(unsigned char out[16], unsigned type, unsigned id)
{
    memset(out + FCGIPM_RECORD_HEADER_LEN, 0, BODY_LEN);
    if (fcgipm_record_put(out, type, id, BODY_LEN, 0) == 0)
        return 0;
    return FCGIPM_RECORD_HEADER_LEN + BODY_LEN;
}

size_t fcgipm_record_put_begin(unsigned char out[16], unsigned id, unsigned role, unsigned flags)
{
    if (role > 0xffff || flags > 0xff) {
        memset(out, 0, FCGIPM_RECORD_HEADER_LEN + BODY_LEN);
        return 0;
    }
    if (put_with_body(out, FCGIPM_TYPE_BEGIN_REQUEST, id) == 0)
        return 0;
    fcgipm_span_put16(out + 8, role);
    out[10] = (unsigned char)flags;
    return FCGIPM_RECORD_HEADER_LEN + BODY_LEN;
}

size_t fcgipm_record_put_abort(unsigned char out[8], unsigned id)
{
    return fcgipm_record_put(out, FCGIPM_TYPE_ABORT_REQUEST, id, 0, 0);
}

size_t fcgipm_record_put_end(unsigned char out[16], unsigned id, uint32_t app_status,
                             unsigned protocol_status)
{
    if (protocol_status > 0xff) {
        memset(out, 0, FCGIPM_RECORD_HEADER_LEN + BODY_LEN);
        return 0;
    }
    if (put_with_body(out, FCGIPM_TYPE_END_REQUEST, id) == 0)
        return 0;
    fcgipm_span_put32(out + 8, app_status);
    out[12] = (unsigned char)protocol_status;
    return FCGIPM_RECORD_HEADER_LEN + BODY_LEN;
}

size_t fcgipm_record_put_unknown(unsigned char out[16], unsigned type)
{
    size_t len = put_with_body(out, FCGIPM_TYPE_UNKNOWN_TYPE, 0);

    out[8] = (unsigned char)(type & 0xff);
    return len;
}

/* The version is judged on the record's first byte: a peer that speaks HTTP or sends a few stray bytes is
 * found out at once, not when it happens to have sent eight. */
static void start_record(fcgipm_record_reader_t *r, unsigned char version)
{
    r->state = version == VERSION ? IN_HEADER : IS_BAD;
    r->want = FCGIPM_RECORD_HEADER_LEN;
}

static void decode_header(fcgipm_record_reader_t *r)
{
    r->record.type = r->header[1];
    r->record.id = fcgipm_span_get16(r->header + 2);
    r->record.content_len = fcgipm_span_get16(r->header + 4);
    r->record.padding_len = r->header[6];
    r->state = IN_CONTENT;
    r->want = r->record.content_len;
}

static fcgipm_record_event_t read_header(fcgipm_record_reader_t *r, const unsigned char **in,
                                         const unsigned char *end)
{
    const unsigned char *piece;
    size_t n = fcgipm_span_take(in, end, r->want, &piece);

    if (n > 0)
        memcpy(r->header + FCGIPM_RECORD_HEADER_LEN - r->want, piece, n);
    r->want -= n;
    if (r->want > 0)
        return FCGIPM_RECORD_MORE;
    decode_header(r);
    return FCGIPM_RECORD_HEADER;
}

static fcgipm_record_event_t read_content(fcgipm_record_reader_t *r, const unsigned char **in,
                                          const unsigned char *end, const unsigned char **slice,
                                          size_t *slice_len)
{
    *slice_len = fcgipm_span_take(in, end, r->want, slice);
    r->want -= *slice_len;
    return *slice_len > 0 ? FCGIPM_RECORD_SLICE : FCGIPM_RECORD_MORE;
}

static fcgipm_record_event_t read_padding(fcgipm_record_reader_t *r, const unsigned char **in,
                                          const unsigned char *end)
{
    const unsigned char *piece;

    r->want -= fcgipm_span_take(in, end, r->want, &piece);
    if (r->want > 0)
        return FCGIPM_RECORD_MORE;
    r->state = AT_START;
    return FCGIPM_RECORD_END;
}

fcgipm_record_event_t fcgipm_record_read(fcgipm_record_reader_t *r, const unsigned char **in,
                                         const unsigned char *end, const unsigned char **slice,
                                         size_t *slice_len)
{
    *slice = NULL;
    *slice_len = 0;
    if (r->state == AT_START && *in != end)
        start_record(r, **in);
    if (r->state == IN_CONTENT && r->want == 0) {
        r->state = IN_PADDING;
        r->want = r->record.padding_len;
    }
    switch (r->state) {
    case AT_START:
        return FCGIPM_RECORD_MORE;
    case IN_HEADER:
        return read_header(r, in, end);
    case IN_CONTENT:
        return read_content(r, in, end, slice, slice_len);
    case IN_PADDING:
        return read_padding(r, in, end);
    default:
        return FCGIPM_RECORD_BAD;
    }
}

bool fcgipm_record_at_border(const fcgipm_record_reader_t *reader)
{
    return reader->state == AT_START;
}
