/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_ERRORS_H
#define FCGIPM_WEB_ERRORS_H
/*
 * What: the application's error stream (FCGI_STDERR) as lines in the error log: put together over records,
 * cut at a length, escaped, tagged with pool, slot and pid, limited in rate per pool and httpd child. It is
 * data, never a log line of the application's making (PROMISES R6). Who calls: job. Owns: memory of
 * the request.
 */
#include <stdbool.h>
#include <httpd.h>
#include "share/layout.h"

#define FCGIPM_ERRORS_LINE 1024

typedef struct fcgipm_errors {
    request_rec *r;
    const char *pool_name;
    fcgipm_board_t *board;
    uint32_t pool, slot, pid;
    apr_size_t len;
    char line[FCGIPM_ERRORS_LINE];
} fcgipm_errors_t;

void fcgipm_errors_begin(fcgipm_errors_t *errors, request_rec *r, const char *pool_name,
                         fcgipm_board_t *board, uint32_t pool, uint32_t slot, uint32_t pid);
void fcgipm_errors_take(fcgipm_errors_t *errors, const char *data, apr_size_t len);
/* The request is over: a last line without its end is a line too. */
void fcgipm_errors_end(fcgipm_errors_t *errors);
#endif
