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

APLOG_USE_MODULE(fcgipm);

#define READ_SIZE  65536
#define FIRST_SIZE 8192

struct fcgipm_body {
    request_rec *r;
    apr_off_t length; /* -1: none */
    apr_size_t memory_max;
    char *memory;
    apr_size_t used, cap;
    apr_file_t *file;
    char *block;    /* of the file, for reading */
    apr_off_t sent; /* given out so far */
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

/* Its name is gone before anything is written: nothing can be left behind, nobody else can open it. */
static apr_status_t open_file(fcgipm_body_t *body)
{
    apr_pool_t *pool = body->r->pool;
    const char *dir;
    char *name;
    apr_status_t rv = apr_temp_dir_get(&dir, pool);

    if (rv != APR_SUCCESS)
        return rv;
    name = apr_pstrcat(pool, dir, "/fcgipm-body-XXXXXX", NULL);
    rv = apr_file_mktemp(
        &body->file, name,
        APR_FOPEN_CREATE | APR_FOPEN_READ | APR_FOPEN_WRITE | APR_FOPEN_EXCL | APR_FOPEN_BINARY, pool);
    if (rv != APR_SUCCESS)
        return rv;
    apr_file_remove(name, pool);
    return apr_file_write_full(body->file, body->memory, body->used, NULL);
}

static void grow(fcgipm_body_t *body, apr_size_t need)
{
    apr_size_t cap = body->cap ? body->cap : FIRST_SIZE;
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

static apr_status_t keep(fcgipm_body_t *body, const char *data, apr_size_t len)
{
    apr_status_t rv;

    body->length += (apr_off_t)len;
    if (!body->file && len <= body->memory_max - body->used) {
        if (body->used + len > body->cap)
            grow(body, body->used + len);
        memcpy(body->memory + body->used, data, len);
        body->used += len;
        return APR_SUCCESS;
    }
    if (!body->file && (rv = open_file(body)) != APR_SUCCESS)
        return rv;
    return apr_file_write_full(body->file, data, len, NULL);
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
        if ((rv = keep(body, data, len)) != APR_SUCCESS)
            return no_space(body->r, rv);
    }
    return OK;
}

static int read_all(fcgipm_body_t *body)
{
    request_rec *r = body->r;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    bool end = false;
    int status = OK;

    while (!end && status == OK) {
        apr_status_t rv = ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES, APR_BLOCK_READ, READ_SIZE);

        if (rv != APR_SUCCESS) {
            ap_log_rerror(APLOG_MARK, APLOG_INFO, rv, r, "FPM0671: the request body could not be read");
            status = ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        } else {
            status = take(body, bb, &end);
        }
        apr_brigade_cleanup(bb);
    }
    apr_brigade_destroy(bb);
    return status;
}

/* Subrequests have no body; an internal redirect's was read by the first handler, and httpd says so by the
 * end of the stream. */
static bool has_body(request_rec *r)
{
    return !r->main && ap_request_has_body(r);
}

int fcgipm_body_read(request_rec *r, apr_uint64_t memory_max, fcgipm_body_t **out)
{
    fcgipm_body_t *body = apr_pcalloc(r->pool, sizeof *body);
    int status;

    *out = body;
    body->r = r;
    body->memory_max = (apr_size_t)memory_max;
    body->length =
        !r->main && apr_table_get(r->headers_in, "Content-Length") ? 0 : -1; /* may be empty and be there */
    if (!has_body(r))
        return OK;
    body->length = 0;
    status = read_all(body);
    return status == OK ? (fcgipm_body_rewind(body) == APR_SUCCESS ? OK : HTTP_INTERNAL_SERVER_ERROR)
                        : status;
}

apr_off_t fcgipm_body_length(const fcgipm_body_t *body)
{
    return body->length;
}

apr_status_t fcgipm_body_rewind(fcgipm_body_t *body)
{
    apr_off_t start = 0;

    body->sent = 0;
    return body->file ? apr_file_seek(body->file, APR_SET, &start) : APR_SUCCESS;
}

apr_status_t fcgipm_body_next(fcgipm_body_t *body, const char **data, apr_size_t *len)
{
    apr_status_t rv;

    *len = 0;
    if (body->sent >= body->length)
        return APR_SUCCESS;
    if (!body->file) {
        *data = body->memory;
        *len = body->used;
        body->sent = body->length;
        return APR_SUCCESS;
    }
    if (!body->block)
        body->block = apr_palloc(body->r->pool, READ_SIZE);
    *len = READ_SIZE;
    rv = apr_file_read(body->file, body->block, len);
    if (rv != APR_SUCCESS)
        return rv; /* also an early end: the application is never told a length that does not come */
    *data = body->block;
    body->sent += (apr_off_t)*len;
    return APR_SUCCESS;
}
