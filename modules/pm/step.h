/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_STEP_H
#define FCGIPM_PM_STEP_H
/*
 * What: how far a forked child came before its exec, as it goes through a pipe to the manager: which step
 * failed, and why. Who calls: the child fills it (spawn, isolate, mounts, limits); spawn makes a sentence of
 * it.
 */
#include <stdarg.h>
#include <stdio.h>

typedef struct fcgipm_step {
    int error;      /* an errno; 0: the text says all */
    char text[200]; /* "FcgiLimit memory=", "FcgiRoot /srv/jail" */
} fcgipm_step_t;

/* Fill and return -1, so that `return fcgipm_step_failed(...)` reads well. */
__attribute__((format(printf, 3, 4))) static inline int fcgipm_step_failed(fcgipm_step_t *step, int error,
                                                                           const char *fmt, ...)
{
    va_list args;

    step->error = error;
    va_start(args, fmt);
    vsnprintf(step->text, sizeof step->text, fmt, args);
    va_end(args);
    return -1;
}
#endif
