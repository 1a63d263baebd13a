/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_STATUS_H
#define FCGIPM_WEB_STATUS_H
/*
 * What: the status page (SetHandler fcgipm-status) and our section in mod_status' page. Reads the board only,
 * so it answers when every worker is busy or the manager is gone. Whoever may see it is the administrator's
 * decision (Require), as with mod_status. Who calls: httpd, request threads.
 */
#include <httpd.h>

/* "?json", "?auto" (lines of text), else HTML. DECLINED: another handler. 405: not GET or HEAD. */
int fcgipm_status_handler(request_rec *r);
/* mod_status' hook: flags are AP_STATUS_*. */
int fcgipm_status_server_status(request_rec *r, int flags);
#endif
