/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_REPLY_H
#define FCGIPM_WEB_REPLY_H
/*
 * What: from the application's bytes to httpd's response: head (wire/head) into headers_out with CGI's rules,
 * body as heap buckets without a copy, flush when the application pauses, an abnormal end that the client can
 * see. Who calls: the handler, through the ops of link/exchange. Always true: 1. nothing is sent before the
 * head is complete and valid; 2. `begun` false means that another worker may still be tried or an error page
 * sent; 3. once begun, only fcgipm_reply_finish with complete = true ends it cleanly.
 */
#include <stdbool.h>
#include <httpd.h>
#include "link/exchange.h"

typedef struct fcgipm_reply fcgipm_reply_t;

fcgipm_reply_t *fcgipm_reply_create(request_rec *r, apr_size_t head_max, const char *pool_name,
                                    bool head_request);
/* Before a retry: forget what came so far. */
void fcgipm_reply_reset(fcgipm_reply_t *reply);
/* ops members; ctx must hold the reply at a place the handler knows, so these take the reply itself. */
char *fcgipm_reply_buffer(fcgipm_reply_t *reply, apr_size_t *cap);
apr_status_t fcgipm_reply_answer(fcgipm_reply_t *reply, char *data, apr_size_t len);
apr_status_t fcgipm_reply_pause(fcgipm_reply_t *reply);
bool fcgipm_reply_begun(const fcgipm_reply_t *reply);
/* Why fcgipm_reply_answer refused the head (502), a sentence; NULL when it did not. */
const char *fcgipm_reply_fault(const fcgipm_reply_t *reply);
/* The exchange is over. complete: END_REQUEST came, status COMPLETE. Returns what the handler returns to
 * httpd: OK, an HTTP status (502 when nothing was sent), or after an internal redirect OK. When begun and not
 * complete: the connection is cut (no last chunk, RST_STREAM on HTTP/2, reset on HTTP/1.0). */
int fcgipm_reply_finish(fcgipm_reply_t *reply, bool complete);
#endif
