/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_SPOOL_H
#define FCGIPM_WEB_SPOOL_H
/*
 * What: the part of an answer that the client has not taken yet, first in first out: in memory up to a limit
 * of its own and one of all of them, then in an unlinked temporary file up to another, so that a slow reader
 * does not hold a process. Who calls: reply. Owns: the buckets and the file; r->pool's end frees both.
 * Always true: what was put comes out once and in order; memory comes out before the file, and while there is
 * something in the file everything new goes there.
 */
#include <stdbool.h>
#include <httpd.h>

typedef struct fcgipm_spool fcgipm_spool_t;

/* In child_init: how much memory all spools of this child may have. */
void fcgipm_spool_limit(apr_uint64_t bytes);

fcgipm_spool_t *fcgipm_spool_create(request_rec *r, apr_uint64_t memory_max, apr_uint64_t file_max);
/* A block to read into; the same one until _put has taken it. NULL: out of memory. */
char *fcgipm_spool_buffer(fcgipm_spool_t *spool, apr_size_t *cap);
/* `data` lies in that block. What there is no room for is taken all the same, into memory. */
void fcgipm_spool_put(fcgipm_spool_t *spool, char *data, apr_size_t len);
/* Bytes in it. */
apr_off_t fcgipm_spool_held(const fcgipm_spool_t *spool);
/* May more be put into memory? */
bool fcgipm_spool_light(const fcgipm_spool_t *spool);
/* May more be put? */
bool fcgipm_spool_room(const fcgipm_spool_t *spool);
/* At most max bytes to the end of bb. An error: the file cannot be read. */
apr_status_t fcgipm_spool_take(fcgipm_spool_t *spool, apr_bucket_brigade *bb, apr_size_t max);
/* Forget all. */
void fcgipm_spool_clear(fcgipm_spool_t *spool);
/* The largest that it has been, file included, for a note. */
apr_off_t fcgipm_spool_peak(const fcgipm_spool_t *spool);
#endif
