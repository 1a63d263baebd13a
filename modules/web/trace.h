/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_TRACE_H
#define FCGIPM_WEB_TRACE_H
/*
 * What: the records of one request as lines of the error log, while `fcgipmctl trace on` says so.
 * Who calls: the request's thread. Owns: nothing, lives in the request.
 */
#include <httpd.h>
#include <stdbool.h>
#include "wire/record.h"

#define FCGIPM_TRACE_CONTENT 512

typedef struct fcgipm_trace_side {
    fcgipm_record_reader_t reader;
    unsigned char content[FCGIPM_TRACE_CONTENT]; /* the beginning of the record's */
    size_t have;
} fcgipm_trace_side_t;

typedef struct fcgipm_trace {
    request_rec *r;
    const char *pool;
    unsigned slot, pid, lines;
    fcgipm_trace_side_t side[2]; /* [0] from the application, [1] to it */
} fcgipm_trace_t;

void fcgipm_trace_begin(fcgipm_trace_t *trace, request_rec *r, const char *pool, unsigned slot, unsigned pid);
void fcgipm_trace_bytes(fcgipm_trace_t *trace, bool out, const unsigned char *data, size_t len);
#endif
