/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_LACK_H
#define FCGIPM_PM_LACK_H
/*
 * What: the manager's own want: it has no descriptor, memory or process left, or the machine has none. That
 * says nothing about any application: no failure is counted, nobody is replaced for it, and starts are tried
 * again each second until one succeeds. Who calls: whatever in this room opens, forks or connects.
 * Always true: 1. at most one line a minute says so; 2. starts leave some descriptors for the rest: for
 * looking into /proc, fcgipmctl, FcgiProbe and the next configuration.
 */
#include "pm/manager.h"

/* Is this error (of open, socket, fork, ...) such a want? */
bool fcgipm_lack_is(apr_status_t rv);
/* A start has got this descriptor: are there too few behind it? */
bool fcgipm_lack_of_descriptors(int fd);
/* for_what: "to start processes" */
void fcgipm_lack_note(fcgipm_manager_t *m, const char *for_what, apr_status_t rv);
/* A start has succeeded. */
void fcgipm_lack_end(fcgipm_manager_t *m);
/* It is over when nothing was lacking for a while. Returns when it wants to be called next. */
int64_t fcgipm_lack_tend(fcgipm_manager_t *m);
#endif
