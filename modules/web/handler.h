/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_HANDLER_H
#define FCGIPM_WEB_HANDLER_H
/*
 * What: the responder: match, body, lease, exchange, reply; the only place that retries (DESIGN section 3).
 * Who calls: httpd's handler hook.
 */
#include <httpd.h>

int fcgipm_handler_run(request_rec *r);
#endif
