/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_CONTROL_H
#define FCGIPM_PM_CONTROL_H
/*
 * What: the socket on which fcgipmctl gives orders: RUNTIME/control, 0600; besides, the kernel must say that
 * the other end is root or our own user. One line in, one line out ("ok ..." or "error ..."):
 *   board                     the board's descriptor, for reading, comes with the answer
 *   restart|drain|pause|resume POOL
 *   scale POOL MIN MAX
 *   trace on|off POOL
 * POOL is a name, or name@vhost where several virtual hosts have it. Who calls: the manager's loop.
 */
#include "pm/manager.h"

#define FCGIPM_CONTROL_PEERS 8

typedef struct fcgipm_control fcgipm_control_t;

/* NULL, logged, if the socket cannot be made: the manager goes on without. */
fcgipm_control_t *fcgipm_control_open(fcgipm_manager_t *m);
/* Descriptors to poll for reading: the nth, or -1; 0 is the listening one. */
int fcgipm_control_fd(const fcgipm_control_t *control, unsigned nth);
/* Accept, read, obey, answer: whatever is there. Returns when to be called next. */
int64_t fcgipm_control_tend(fcgipm_control_t *control);
#endif
