/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_JOB_H
#define FCGIPM_WEB_JOB_H
/*
 * What: one request on its way: body in, place in a process, exchange, answer out, as one state machine that
 * never waits itself; it waits in its thread, or, where the MPM allows it, without one (web/async). The only
 * place that tries again. Who calls: httpd's handler hook. Owns: r->pool.
 */
#include <httpd.h>

/* Hook. SUSPENDED: httpd gets the rest from web/async. */
int fcgipm_job_handler(request_rec *r);
#endif
