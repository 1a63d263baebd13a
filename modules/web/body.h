/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_BODY_H
#define FCGIPM_WEB_BODY_H
/*
 * What: the request body: read whole before a worker is leased (DESIGN section 4), in memory up to a limit
 * and then in an unlinked temporary file, replayable for a retry, with a length also when it came in chunks;
 * or, with FcgiRequestBuffering Off, handed on as it comes. Constant memory. Who calls: job. Owns: r->pool.
 */
#include <stdbool.h>
#include <httpd.h>

typedef struct fcgipm_body fcgipm_body_t;

/* streams: it is not read first. */
fcgipm_body_t *fcgipm_body_create(request_rec *r, apr_uint64_t memory_max, bool streams);
/* No more than so many bytes (-1: as httpd says), else 413; not for one that streams. */
void fcgipm_body_limit(fcgipm_body_t *body, apr_off_t max);
/* Read it all (one that streams: nothing). OK; SUSPENDED: no more has come and wait is false; or an HTTP
 * status to return: 413 over LimitRequestBody, 400/408 as the filters say, 507 when the temporary file is
 * full, 500. Sends 100 Continue through httpd's own filter. */
int fcgipm_body_read(fcgipm_body_t *body, bool wait);
/* -1: the request has no body at all (neither Content-Length nor Transfer-Encoding), or one that streams has
 * no known length. */
apr_off_t fcgipm_body_length(const fcgipm_body_t *body);
/* Is there certainly nothing in it? */
bool fcgipm_body_empty(const fcgipm_body_t *body);
/* From the beginning. APR_ENOTIMPL: it streams, and has begun. */
apr_status_t fcgipm_body_rewind(fcgipm_body_t *body);
/* Next piece; *len == 0 at the end; *last: the end comes behind this one (where that is known). Valid until
 * the next call. APR_EAGAIN: none has come yet (streams). Another error: fcgipm_body_status. */
apr_status_t fcgipm_body_next(fcgipm_body_t *body, const char **data, apr_size_t *len, bool *last);
/* What went wrong while it was streamed, as an HTTP status; OK: nothing. */
int fcgipm_body_status(const fcgipm_body_t *body);
/* How many reads have brought something. */
apr_uint64_t fcgipm_body_reads(const fcgipm_body_t *body);
/* Nothing has come for too long: logged. Returns 408, which is fcgipm_body_status from now on. */
int fcgipm_body_late(fcgipm_body_t *body);
/* The request is over. If a streamed body was not read to its end the connection is closed behind it: httpd
 * would wait for the rest in a thread. */
void fcgipm_body_done(fcgipm_body_t *body);
#endif
