/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_SENDFILE_H
#define FCGIPM_WEB_SENDFILE_H
/*
 * What: X-Sendfile and X-Accel-Redirect: the application names a file and httpd sends it, with Range,
 * conditions, ETag and the rest as for any file. Takes the names out of the head, finds the file, and passes
 * it to httpd's filters. Who calls: reply. Owns: what it opens is r->pool's.
 * Always true: 1. without FcgiSendfile no name is taken and nothing is opened; 2. what is checked is the
 * descriptor that is sent: no name is looked up a second time; 3. only a regular file is opened for reading;
 * 4. httpd's own rules for the place have been asked; 5. a name that is taken goes to no client.
 * Why not ap_internal_redirect: it opens by name, and the application can exchange what is there.
 */
#include <stdbool.h>
#include <stddef.h>
#include <apr_tables.h>
#include <httpd.h>

/* Of one answer. */
typedef struct fcgipm_sendfile {
    const apr_array_header_t *roots; /* FcgiSendfile, of const char *; NULL: off */
    const char *header;              /* which one named the file; NULL: none has */
    const char *value;               /* as the application wrote it */
    bool uri;                        /* it is a path of this server, not of the file system */
} fcgipm_sendfile_t;

/* A field of the head. True: it is one of ours, and goes no further. The first that says something counts. */
bool fcgipm_sendfile_take(fcgipm_sendfile_t *s, const char *name, size_t name_len, const char *value);
/* The answer is complete, its fields are in r->headers_out: send the file. NULL: done, *status is what the
 * handler returns to httpd. Else why it is not sent, for the log (in r->pool): nothing has been passed on. */
const char *fcgipm_sendfile_answer(const fcgipm_sendfile_t *s, request_rec *r, int *status);
#endif
