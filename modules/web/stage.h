/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_STAGE_H
#define FCGIPM_WEB_STAGE_H
/*
 * What: the stages of a request as one state machine that never waits itself: body in, a pool, a place in a
 * process, the exchange, the rest of the answer out. Who calls: web/handler. Owns: nothing.
 */
#include "web/job.h"

/* As far as it goes without waiting. SUSPENDED: call again when what job->need says has come, or its time;
 * else the handler's status, and it is over. */
int fcgipm_stage_advance(fcgipm_job_t *job);
/* httpd closes the connection of a request that waits: it is over. (For
 * fcgipm_async_suspend.) */
void fcgipm_stage_leave(void *job);
#endif
