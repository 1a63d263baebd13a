/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_FAULT_H
#define FCGIPM_CORE_FAULT_H
/*
 * What: an error as an object, filled on the way up by the floor that knows, logged once by the floor that
 * decides. Model: md_result in httpd's mod_md.
 * Owns: itself, plain memory of the caller; nothing to free.
 */
#include <apr_errno.h>

/* How far a request had come; decides whether it may be sent again (DESIGN section 3). */
typedef enum fcgipm_phase {
    FCGIPM_PHASE_NOTHING_SENT, /* certain that the application has not begun: always replayable */
    FCGIPM_PHASE_SENT,         /* bytes went out, no byte of the answer came: replayable if idempotent */
    FCGIPM_PHASE_ANSWERED      /* never replayable */
} fcgipm_phase_t;

typedef struct fcgipm_fault {
    apr_status_t status;
    const char *step;   /* static string: "connect", "fork", "exec", "first byte", ... */
    char sentence[256]; /* for a human: what happened; no newline */
    fcgipm_phase_t phase;
} fcgipm_fault_t;

void fcgipm_fault_clear(fcgipm_fault_t *fault);
/* Fill and return status, so that `return fcgipm_fault_set(...)` reads well. fault may be NULL. */
apr_status_t fcgipm_fault_set(fcgipm_fault_t *fault, apr_status_t status, const char *step, const char *fmt,
                              ...) __attribute__((format(printf, 4, 5)));
#endif
