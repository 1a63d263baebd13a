/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_REPLY_H
#define FCGIPM_WEB_REPLY_H
/*
 * What: from the application's bytes to httpd's response: head (wire/head) into headers_out with CGI's rules,
 * body as heap buckets without a copy, passed on as far as the client takes it without waiting, the rest kept
 * (web/spool), flushed when the application pauses, an abnormal end that the client can see. Who calls: job.
 * Always true: 1. nothing is sent before the head is complete and valid; 2. `begun` false means that another
 * worker may still be tried or an error page sent; 3. once begun, only fcgipm_reply_finish with complete =
 * true ends it cleanly; 4. nothing here waits for the client, but for fcgipm_reply_finish where there is no
 * socket to ask (HTTP/2, subrequests).
 */
#include <stdbool.h>
#include <httpd.h>
#include "core/setting.h"

typedef struct fcgipm_reply fcgipm_reply_t;

fcgipm_reply_t *fcgipm_reply_create(request_rec *r, const fcgipm_setting_t *setting, const char *pool_name,
                                    int client_fd);
/* Before a retry: forget what came so far. */
void fcgipm_reply_reset(fcgipm_reply_t *reply);
/* For the ops of link/exchange. */
char *fcgipm_reply_buffer(fcgipm_reply_t *reply, apr_size_t *cap);
bool fcgipm_reply_room(fcgipm_reply_t *reply);
/* The same when others wait for the process: a client that is nearly as fast gets no moment more. */
bool fcgipm_reply_hurry(fcgipm_reply_t *reply);
apr_status_t fcgipm_reply_answer(fcgipm_reply_t *reply, char *data, apr_size_t len);
apr_status_t fcgipm_reply_pause(fcgipm_reply_t *reply);
/* Pass on what the client takes. APR_SUCCESS: all of it, APR_EAGAIN: not all, or it was not flushed yet: when
 * fcgipm_reply_waits then wait for POLLOUT, else (HTTP/2) until fcgipm_reply_due_us; else the client has
 * left. */
apr_status_t fcgipm_reply_push(fcgipm_reply_t *reply);
/* Does it wait for the client to take something? */
bool fcgipm_reply_waits(const fcgipm_reply_t *reply);
/* How many pieces have gone to httpd's filters. */
apr_uint64_t fcgipm_reply_passed(const fcgipm_reply_t *reply);
/* The client has left, or does not read: an answer whose end is the end of the connection must not seem whole
 * to it. */
void fcgipm_reply_abandon(fcgipm_reply_t *reply);
/* When fcgipm_reply_push is to be called without any event, fcgipm_clock_us() clock; INT64_MAX: never. */
apr_int64_t fcgipm_reply_due_us(const fcgipm_reply_t *reply);
/* The same for an answer that has come whole: until what is left goes with its end in fcgipm_reply_finish. */
apr_status_t fcgipm_reply_deliver(fcgipm_reply_t *reply);
/* The most that it has kept, for a note. */
apr_off_t fcgipm_reply_peak(const fcgipm_reply_t *reply);
bool fcgipm_reply_begun(const fcgipm_reply_t *reply);
/* Why fcgipm_reply_answer refused the head (502), a sentence; NULL when it did not. */
const char *fcgipm_reply_fault(const fcgipm_reply_t *reply);
/* After fcgipm_reply_finish: was it that the application named a file which must not be sent? */
bool fcgipm_reply_file_refused(const fcgipm_reply_t *reply);
/* The exchange is over. complete: END_REQUEST came, status COMPLETE. Returns what the handler returns to
 * httpd: OK, an HTTP status (502 when nothing was sent), or after an internal redirect OK. When begun and not
 * complete: the connection is cut (no last chunk, RST_STREAM on HTTP/2, reset on HTTP/1.0). */
int fcgipm_reply_finish(fcgipm_reply_t *reply, bool complete);
/* The exchange is over and complete: is what it said good? Before fcgipm_reply_finish, while there may still
 * be something to pass on. */
bool fcgipm_reply_good(fcgipm_reply_t *reply);
/* ... and is it so short that fcgipm_reply_finish has done with it at once, before the process is given on?
 */
bool fcgipm_reply_quick(fcgipm_reply_t *reply);
#endif
