/* SPDX-License-Identifier: Apache-2.0 */
#include "web/spool.h"

#include <errno.h>
#include <unistd.h>

#include <apr_portable.h>
#include <http_log.h>

#include "share/atom.h"
#include "web/tempfile.h"

APLOG_USE_MODULE(fcgipm);

#define BLOCK_SIZE                                                                                           \
    114688 /* a malloc each, which heap buckets take over; twice what reply passes on at a time */
#define COPY_BELOW 8192 /* a small piece must not pin a whole block */

struct fcgipm_spool {
    request_rec *r;
    apr_bucket_alloc_t *alloc;
    apr_uint64_t memory_max, file_max;
    char *block;                        /* from the bucket allocator; NULL: given away */
    apr_bucket_brigade *memory, *after; /* after: what came when the disk was full, behind the file */
    apr_off_t in_memory;                /* both */
    apr_file_t *file;                   /* opened when it is needed */
    int fd;
    apr_off_t file_read, file_written;
    bool no_file; /* there was an error: what is in it stays good */
    apr_off_t peak;
};

static fcgipm_atom64_t memory_used;
static apr_uint64_t memory_limit = 64 << 20;

void fcgipm_spool_limit(apr_uint64_t bytes)
{
    memory_limit = bytes;
}

static void memory_less(fcgipm_spool_t *spool, apr_off_t len)
{
    spool->in_memory -= len;
    fcgipm_atom_sub(&memory_used, (uint64_t)len);
}

void fcgipm_spool_clear(fcgipm_spool_t *spool)
{
    apr_brigade_cleanup(spool->memory);
    apr_brigade_cleanup(spool->after);
    memory_less(spool, spool->in_memory);
    spool->file_read = spool->file_written;
    if (spool->block)
        apr_bucket_free(spool->block);
    spool->block = NULL;
}

static apr_status_t end(void *spool)
{
    fcgipm_spool_clear(spool);
    return APR_SUCCESS;
}

fcgipm_spool_t *fcgipm_spool_create(request_rec *r, apr_uint64_t memory_max, apr_uint64_t file_max)
{
    fcgipm_spool_t *spool = apr_pcalloc(r->pool, sizeof *spool);

    spool->r = r;
    spool->alloc = r->connection->bucket_alloc;
    spool->memory_max = memory_max;
    spool->file_max = file_max;
    spool->memory = apr_brigade_create(r->pool, spool->alloc);
    spool->after = apr_brigade_create(r->pool, spool->alloc);
    spool->fd = -1;
    apr_pool_cleanup_register(r->pool, spool, end, apr_pool_cleanup_null);
    return spool;
}

char *fcgipm_spool_buffer(fcgipm_spool_t *spool, apr_size_t *cap)
{
    if (!spool->block)
        spool->block = apr_bucket_alloc(BLOCK_SIZE, spool->alloc);
    *cap = BLOCK_SIZE;
    return spool->block;
}

static apr_off_t in_file(const fcgipm_spool_t *spool)
{
    return spool->file_written - spool->file_read;
}

apr_off_t fcgipm_spool_held(const fcgipm_spool_t *spool)
{
    return spool->in_memory + in_file(spool);
}

apr_off_t fcgipm_spool_peak(const fcgipm_spool_t *spool)
{
    return spool->peak;
}

static bool fits_memory(const fcgipm_spool_t *spool, apr_size_t len)
{
    return !in_file(spool) && (apr_uint64_t)spool->in_memory + len <= spool->memory_max &&
           fcgipm_atom_peek(&memory_used) + len <= memory_limit;
}

static bool fits_file(const fcgipm_spool_t *spool, apr_size_t len)
{
    return !spool->no_file && (apr_uint64_t)in_file(spool) + len <= spool->file_max;
}

bool fcgipm_spool_light(const fcgipm_spool_t *spool)
{
    return !fcgipm_spool_held(spool) || fits_memory(spool, BLOCK_SIZE);
}

bool fcgipm_spool_room(const fcgipm_spool_t *spool)
{
    /* One block is always taken: without one nothing would ever move. */
    return !fcgipm_spool_held(spool) || fits_memory(spool, BLOCK_SIZE) || fits_file(spool, BLOCK_SIZE);
}

static void put_memory(fcgipm_spool_t *spool, char *data, apr_size_t len)
{
    apr_bucket_brigade *bb = in_file(spool) ? spool->after : spool->memory;
    apr_bucket *b;

    if (len < COPY_BELOW) {
        b = apr_bucket_heap_create(data, len, NULL, spool->alloc);
    } else {
        b = apr_bucket_heap_create(spool->block, (apr_size_t)(data - spool->block) + len, apr_bucket_free,
                                   spool->alloc);
        b->start = data - spool->block;
        b->length = len;
        spool->block = NULL;
    }
    APR_BRIGADE_INSERT_TAIL(bb, b);
    spool->in_memory += (apr_off_t)len;
    fcgipm_atom_add(&memory_used, len);
}

static apr_status_t write_all(fcgipm_spool_t *spool, const char *data, apr_size_t len)
{
    while (len) {
        ssize_t n = pwrite(spool->fd, data, len, spool->file_written);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : APR_ENOSPC;
        data += n;
        len -= (apr_size_t)n;
        spool->file_written += n;
    }
    return APR_SUCCESS;
}

static apr_status_t open_file(fcgipm_spool_t *spool)
{
    apr_os_file_t fd;
    apr_status_t rv = fcgipm_tempfile_open(&spool->file, spool->r->pool);

    if (rv == APR_SUCCESS && (rv = apr_os_file_get(&fd, spool->file)) == APR_SUCCESS)
        spool->fd = fd;
    return rv;
}

/* False: it is not there (what was half written is forgotten). */
static bool put_file(fcgipm_spool_t *spool, const char *data, apr_size_t len)
{
    apr_off_t before;
    apr_status_t rv = spool->fd < 0 ? open_file(spool) : APR_SUCCESS;

    if (!in_file(spool))
        spool->file_read = spool->file_written = 0; /* its pages are used again */
    before = spool->file_written;
    if (rv == APR_SUCCESS && (rv = write_all(spool, data, len)) == APR_SUCCESS)
        return true;
    spool->file_written = before;
    spool->no_file = true;
    ap_log_rerror(
        APLOG_MARK, APLOG_WARNING, rv, spool->r,
        "FPM0675: cannot keep an answer for a slow client in a temporary file; the process waits for "
        "the client (FcgiResponseBuffer, TMPDIR)");
    return false;
}

/* The file is empty: what came behind it is next. */
static void move_up(fcgipm_spool_t *spool)
{
    if (!in_file(spool) && APR_BRIGADE_EMPTY(spool->memory))
        APR_BRIGADE_CONCAT(spool->memory, spool->after);
}

void fcgipm_spool_put(fcgipm_spool_t *spool, char *data, apr_size_t len)
{
    bool first = !fcgipm_spool_held(spool);

    move_up(spool);
    if (first || fits_memory(spool, len) || !fits_file(spool, len) || !put_file(spool, data, len))
        put_memory(spool, data, len);
    if (fcgipm_spool_held(spool) > spool->peak)
        spool->peak = fcgipm_spool_held(spool);
}

static apr_status_t take_memory(fcgipm_spool_t *spool, apr_bucket_brigade *bb, apr_size_t max)
{
    while (max && !APR_BRIGADE_EMPTY(spool->memory)) {
        apr_bucket *b = APR_BRIGADE_FIRST(spool->memory);
        apr_status_t rv;

        if (b->length > max && (rv = apr_bucket_split(b, max)) != APR_SUCCESS)
            return rv;
        APR_BUCKET_REMOVE(b);
        APR_BRIGADE_INSERT_TAIL(bb, b);
        memory_less(spool, (apr_off_t)b->length);
        max -= b->length;
    }
    return APR_SUCCESS;
}

static apr_status_t take_file(fcgipm_spool_t *spool, apr_bucket_brigade *bb, apr_size_t max)
{
    apr_size_t len = in_file(spool) < (apr_off_t)max ? (apr_size_t)in_file(spool) : max;
    char *data = apr_bucket_alloc(len, spool->alloc);
    ssize_t n;

    do
        n = pread(spool->fd, data, len, spool->file_read);
    while (n < 0 && errno == EINTR);
    if (n <= 0) {
        apr_bucket_free(data);
        return n < 0 ? errno : APR_EOF;
    }
    spool->file_read += n;
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_heap_create(data, (apr_size_t)n, apr_bucket_free, spool->alloc));
    return APR_SUCCESS;
}

apr_status_t fcgipm_spool_take(fcgipm_spool_t *spool, apr_bucket_brigade *bb, apr_size_t max)
{
    while (max && fcgipm_spool_held(spool)) {
        apr_off_t before = fcgipm_spool_held(spool);
        apr_status_t rv;

        move_up(spool);
        rv = APR_BRIGADE_EMPTY(spool->memory) ? take_file(spool, bb, max) : take_memory(spool, bb, max);
        if (rv != APR_SUCCESS)
            return rv;
        max -= (apr_size_t)(before - fcgipm_spool_held(spool));
    }
    return APR_SUCCESS;
}
