/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_BODY_H
#define FCGIPM_WEB_BODY_H
/*
 * What: the request body, read whole before a worker is leased (DESIGN section 4), in memory up to a limit
 * and then in an unlinked temporary file, replayable for a retry. Chunked bodies get a length that way.
 * Constant memory. Who calls: the handler. Owns: r->pool.
 */
#include <httpd.h>

typedef struct fcgipm_body fcgipm_body_t;

/* Read it all. OK; or an HTTP status to return: 413 over LimitRequestBody, 400/408 as the filters say, 507
 * when the temporary file is full, 500. Sends 100 Continue through httpd's own filter. */
int fcgipm_body_read(request_rec *r, apr_uint64_t memory_max, fcgipm_body_t **body);
/* -1: the request has no body at all (neither Content-Length nor Transfer-Encoding). */
apr_off_t fcgipm_body_length(const fcgipm_body_t *body);
apr_status_t fcgipm_body_rewind(fcgipm_body_t *body);
/* Next piece; *len == 0 at the end. Valid until the next call. */
apr_status_t fcgipm_body_next(fcgipm_body_t *body, const char **data, apr_size_t *len);
#endif
