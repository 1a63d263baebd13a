/* SPDX-License-Identifier: Apache-2.0 */
#include "web/body.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <apr_file_io.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <util_filter.h>

#include "web/tempfile.h"

APLOG_USE_MODULE(fcgipm);

#define READ_SIZE  65536
#define FIRST_SIZE 8192
#define BLOCK_SIZE (2 * 65528) /* of the file at a time: two full records */

struct fcgipm_body {
    request_rec *r;
    apr_off_t length; /* -1: none */
    apr_off_t max;    /* -1: httpd's own limit alone */
    apr_size_t memory_max;
    char *memory;
    apr_size_t used, cap;
    apr_file_t *file;
    char *block;    /* of the file, for reading */
    apr_off_t sent; /* given out so far */
    apr_bucket_brigade *bb;
    apr_bucket *given; /* streams: the piece that the caller has */
    bool streams, begun, end;
    apr_uint64_t reads; /* that brought something */
    int status;
};

static int no_space(request_rec *r, apr_status_t rv)
{
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r,
                  "FPM0670: cannot keep the request body in a temporary file (set TMPDIR, or a smaller "
                  "LimitRequestBody)");
    switch (APR_TO_OS_ERROR(rv)) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return HTTP_INSUFFICIENT_STORAGE;
    default:
        return HTTP_INTERNAL_SERVER_ERROR;
    }
}

/* What is in memory goes to the file. */
static apr_status_t write_out(fcgipm_body_t *body)
{
    apr_status_t rv = body->file ? APR_SUCCESS : fcgipm_tempfile_open(&body->file, body->r->pool);

    if (rv == APR_SUCCESS && body->used)
        rv = apr_file_write_full(body->file, body->memory, body->used, NULL);
    body->used = 0;
    return rv;
}

/* Not before something has come: a client that only says that it will send much costs nothing. */
static apr_size_t first_size(const fcgipm_body_t *body)
{
    const char *said = apr_table_get(body->r->headers_in, "Content-Length");
    apr_off_t length = 0;

    if (!said || !ap_parse_strict_length(&length, said) || length < FIRST_SIZE)
        return FIRST_SIZE;
    return length < READ_SIZE ? (apr_size_t)length : READ_SIZE;
}

static void grow(fcgipm_body_t *body, apr_size_t need)
{
    apr_size_t cap = body->cap ? body->cap : first_size(body);
    char *memory;

    while (cap < need)
        cap *= 2;
    if (cap > body->memory_max)
        cap = body->memory_max;
    memory = apr_palloc(body->r->pool, cap);
    if (body->used)
        memcpy(memory, body->memory, body->used);
    body->memory = memory;
    body->cap = cap;
}

static void remember(fcgipm_body_t *body, const char *data, apr_size_t len)
{
    memcpy(body->memory + body->used, data, len);
    body->used += len;
}

/* httpd reads 8 KB at a time. What goes to the file is collected first, in the memory that there is. */
static apr_status_t collect(fcgipm_body_t *body, const char *data, apr_size_t len)
{
    while (len >= body->cap - body->used) {
        apr_size_t part = body->cap - body->used;
        apr_status_t rv;

        if (!body->cap)
            return apr_file_write_full(body->file, data, len, NULL);
        remember(body, data, part);
        if ((rv = write_out(body)) != APR_SUCCESS)
            return rv;
        data += part;
        len -= part;
    }
    remember(body, data, len);
    return APR_SUCCESS;
}

static apr_status_t keep(fcgipm_body_t *body, const char *data, apr_size_t len)
{
    apr_status_t rv;

    body->length += (apr_off_t)len;
    if (body->file)
        return collect(body, data, len);
    if (len <= body->memory_max - body->used) {
        if (body->used + len > body->cap)
            grow(body, body->used + len);
        remember(body, data, len);
        return APR_SUCCESS;
    }
    return (rv = write_out(body)) == APR_SUCCESS ? collect(body, data, len) : rv;
}

/* One brigade. *end: EOS was in it. Returns OK or a status. */
static int take(fcgipm_body_t *body, apr_bucket_brigade *bb, bool *end)
{
    for (apr_bucket *b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb); b = APR_BUCKET_NEXT(b)) {
        const char *data;
        apr_size_t len;
        apr_status_t rv;

        if (APR_BUCKET_IS_EOS(b)) {
            *end = true;
            return OK;
        }
        if (APR_BUCKET_IS_METADATA(b))
            continue;
        if ((rv = apr_bucket_read(b, &data, &len, APR_BLOCK_READ)) != APR_SUCCESS)
            return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        if (body->max >= 0 && (apr_off_t)len > body->max - body->length)
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        if (len && (rv = keep(body, data, len)) != APR_SUCCESS)
            return no_space(body->r, rv);
    }
    return OK;
}

/* httpd's filter says it for a read that waits, and only then. */
static void say_continue(request_rec *r)
{
    int status = r->status;
    const char *line = r->status_line;

    r->status = HTTP_CONTINUE;
    r->status_line = NULL;
    ap_send_interim_response(r, 0);
    r->status = status;
    r->status_line = line;
}

/* One read. OK: there is something in bb. */
static int fetch(fcgipm_body_t *body, bool wait)
{
    request_rec *r = body->r;
    apr_status_t rv = ap_get_brigade(r->input_filters, body->bb, AP_MODE_READBYTES,
                                     wait ? APR_BLOCK_READ : APR_NONBLOCK_READ, READ_SIZE);

    if (!wait && (APR_STATUS_IS_EAGAIN(rv) || (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(body->bb)))) {
        if (r->expecting_100)
            say_continue(r);
        return SUSPENDED;
    }
    if (rv == APR_SUCCESS) {
        body->reads++;
        return OK;
    }
    ap_log_rerror(APLOG_MARK, APLOG_INFO, rv, r, "FPM0671: the request body could not be read");
    return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
}

/* Subrequests have no body; an internal redirect's was read by the first handler, and httpd says so by the
 * end of the stream. */
static bool has_body(request_rec *r)
{
    return !r->main && ap_request_has_body(r);
}

fcgipm_body_t *fcgipm_body_create(request_rec *r, apr_uint64_t memory_max, bool streams)
{
    fcgipm_body_t *body = apr_pcalloc(r->pool, sizeof *body);
    const char *length = r->main ? NULL : apr_table_get(r->headers_in, "Content-Length");

    body->r = r;
    body->max = -1;
    body->memory_max = (apr_size_t)memory_max;
    body->length = length ? 0 : -1; /* may be empty and be there */
    body->end = !has_body(r);
    if (body->end)
        return body;
    body->streams = streams;
    body->bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    if (!streams)
        body->length = 0;
    else if (!length || !ap_parse_strict_length(&body->length, length))
        body->length = -1;
    return body;
}

void fcgipm_body_limit(fcgipm_body_t *body, apr_off_t max)
{
    body->max = max;
}

int fcgipm_body_read(fcgipm_body_t *body, bool wait)
{
    apr_status_t rv;

    while (!body->end && !body->streams) {
        int status = fetch(body, wait);

        if (status == OK)
            status = take(body, body->bb, &body->end);
        apr_brigade_cleanup(body->bb);
        if (status != OK)
            return status;
    }
    if (body->file && (rv = write_out(body)) != APR_SUCCESS)
        return no_space(body->r, rv);
    return fcgipm_body_rewind(body) == APR_SUCCESS ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

apr_off_t fcgipm_body_length(const fcgipm_body_t *body)
{
    return body->length;
}

bool fcgipm_body_empty(const fcgipm_body_t *body)
{
    return body->end && body->length <= 0;
}

apr_uint64_t fcgipm_body_reads(const fcgipm_body_t *body)
{
    return body->reads;
}

int fcgipm_body_late(fcgipm_body_t *body)
{
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, body->r,
                  "FPM0607: nothing of the request body came for httpd's Timeout; answered 408");
    return body->status = HTTP_REQUEST_TIME_OUT;
}

void fcgipm_body_done(fcgipm_body_t *body)
{
    if (body->streams && !body->end && !body->r->connection->master)
        body->r->connection->keepalive = AP_CONN_CLOSE;
}

int fcgipm_body_status(const fcgipm_body_t *body)
{
    return body->status;
}

apr_status_t fcgipm_body_rewind(fcgipm_body_t *body)
{
    apr_off_t start = 0;

    if (body->streams)
        return body->begun ? APR_ENOTIMPL : APR_SUCCESS;
    body->sent = 0;
    return body->file ? apr_file_seek(body->file, APR_SET, &start) : APR_SUCCESS;
}

/* The next bucket with something in it, or the end. */
static apr_status_t next_bucket(fcgipm_body_t *body, const char **data, apr_size_t *len)
{
    while (!APR_BRIGADE_EMPTY(body->bb)) {
        apr_bucket *b = APR_BRIGADE_FIRST(body->bb);
        apr_status_t rv;

        if (APR_BUCKET_IS_EOS(b)) {
            body->end = true;
            return APR_SUCCESS;
        }
        if (!APR_BUCKET_IS_METADATA(b)) {
            if ((rv = apr_bucket_read(b, data, len, APR_BLOCK_READ)) != APR_SUCCESS)
                return rv;
            if (*len) {
                body->given = b;
                return APR_SUCCESS;
            }
        }
        apr_bucket_delete(b);
    }
    return APR_EAGAIN;
}

static apr_status_t stream_next(fcgipm_body_t *body, const char **data, apr_size_t *len)
{
    if (body->given)
        apr_bucket_delete(body->given);
    body->given = NULL;
    body->begun = true;
    while (!body->end) {
        apr_status_t rv = next_bucket(body, data, len);

        if (rv != APR_EAGAIN)
            return rv;
        body->status = fetch(body, false);
        if (body->status == SUSPENDED) {
            body->status = OK;
            return APR_EAGAIN;
        }
        if (body->status != OK)
            return APR_ECONNABORTED;
    }
    return APR_SUCCESS;
}

apr_status_t fcgipm_body_next(fcgipm_body_t *body, const char **data, apr_size_t *len, bool *last)
{
    apr_status_t rv;

    *len = 0;
    *last = false;
    if (body->streams)
        return stream_next(body, data, len);
    if (body->sent >= body->length)
        return APR_SUCCESS;
    if (!body->file) {
        *data = body->memory;
        *len = body->used;
        *last = true;
        body->sent = body->length;
        return APR_SUCCESS;
    }
    if (!body->block)
        body->block = apr_palloc(body->r->pool, BLOCK_SIZE);
    *len = BLOCK_SIZE;
    rv = apr_file_read(body->file, body->block, len);
    if (rv != APR_SUCCESS)
        return rv; /* also an early end: the application is never told a length that does not come */
    *data = body->block;
    body->sent += (apr_off_t)*len;
    *last = body->sent == body->length;
    return APR_SUCCESS;
}
