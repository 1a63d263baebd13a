/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_SLOW_H
#define FCGIPM_PM_SLOW_H
/*
 * What: the slow log: what a worker was doing while a request took too long, from /proc or from a command of
 * the administrator's, which runs as the application's user and is read without waiting for it.
 * Who calls: the manager, when an httpd child says SLOW or HUNG. Owns: the commands that run, at most
 * FCGIPM_SLOW_COMMANDS at a time, none longer than FCGIPM_SLOW_LIMIT_US.
 */
#include "pm/manager.h"

#define FCGIPM_SLOW_COMMANDS 4
#define FCGIPM_SLOW_LIMIT_US 5000000

typedef struct fcgipm_slow fcgipm_slow_t;

fcgipm_slow_t *fcgipm_slow_create(fcgipm_manager_t *m);
/* An entry for w. what: the request (method and URL), as an httpd child says, so not believed and escaped.
 * True: a command has been started, whose end is told to fcgipm_worker_t.dumped. */
bool fcgipm_slow_note(fcgipm_worker_t *w, const char *what, uint32_t ms, bool hung);
/* Descriptors to poll for reading: the nth, or -1. */
int fcgipm_slow_fd(const fcgipm_slow_t *slow, unsigned nth);
/* Read what commands have written; end those that are over or too long. Returns when to be called next. */
int64_t fcgipm_slow_tend(fcgipm_slow_t *slow);
/* A child of ours that is no worker is dead and about to be reaped: if it is a command, its group goes with
 * it while the number is still its own. */
void fcgipm_slow_bury(fcgipm_slow_t *slow, pid_t pid);
#endif
