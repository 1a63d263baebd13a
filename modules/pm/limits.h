/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_LIMITS_H
#define FCGIPM_PM_LIMITS_H
/*
 * What: FcgiLimit and FcgiPriority: what a process may use, and how much it counts against others.
 * Who calls: the forked child, in two parts: prepare while it still has the rights to do it, set when it is
 * the user and next comes exec. Between the two nothing that the child itself does is limited.
 */
#include "core/setting.h"
#include "pm/step.h"

/* nice, ioprio, oom; and room for limits above the ones that httpd was started with. 0, or -1 and the step.
 */
int fcgipm_limits_prepare(const fcgipm_setting_t *s, fcgipm_step_t *step);
/* The limits themselves, soft and hard, so that the process cannot raise them. 0, or -1 and the step. */
int fcgipm_limits_set(const fcgipm_setting_t *s, fcgipm_step_t *step);
#endif
