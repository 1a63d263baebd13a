/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_HANDLER_H
#define FCGIPM_WEB_HANDLER_H
/*
 * What: httpd's handler: makes a job of a request, and waits for what its stages (web/stage) wait for: in its
 * thread, or, where the MPM allows it, without one (web/async). Who calls: httpd's handler hook. Owns:
 * r->pool.
 */
#include <httpd.h>

/* Hook. SUSPENDED: httpd gets the rest from web/async. */
int fcgipm_handler_request(request_rec *r);
#endif
