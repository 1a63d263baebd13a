/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_READY_H
#define FCGIPM_PM_READY_H
/*
 * What: a question to a worker, and whether it has answered: is it serving, or does it only exist? Never
 * blocks. Who calls: the manager: for a new worker until it is ready, for an idle one now and then.
 * Owns: a question is malloc'ed and owns its connection; fcgipm_ready_close ends both.
 * Always true: what the application sends is read within bounds by wire/, and never believed beyond yes or
 * no and two numbers, which the caller bounds.
 */
#include <stdbool.h>
#include <stddef.h>
#include "core/addr.h"
#include "wire/mux.h"

typedef enum fcgipm_ready_mode {
    FCGIPM_READY_SIGN,   /* FCGI_GET_VALUES is sent; that it is read, or the connection closed, is enough */
    FCGIPM_READY_VALUES, /* FCGI_GET_VALUES must be answered */
    FCGIPM_READY_REQUEST /* a GET must be answered whole, with a status below 500 */
} fcgipm_ready_mode_t;

typedef enum fcgipm_ready_verdict {
    FCGIPM_READY_WAIT,
    FCGIPM_READY_YES,
    FCGIPM_READY_NO /* answered wrongly: ask again or give up; why says what */
} fcgipm_ready_verdict_t;

typedef struct fcgipm_question fcgipm_question_t;

/* Connect (a unix socket does so at once or not) and ask. path: for REQUEST. NULL, with errno. */
fcgipm_question_t *fcgipm_ready_ask(const fcgipm_addr_t *addr, fcgipm_ready_mode_t mode, const char *path);
int fcgipm_ready_fd(const fcgipm_question_t *question);
fcgipm_ready_verdict_t fcgipm_ready_check(fcgipm_question_t *question, char *why, size_t cap);
/* What it has said to VALUES. False: nothing (yet). */
bool fcgipm_ready_values(const fcgipm_question_t *question, fcgipm_mux_values_t *values);
/* NULL is allowed. */
void fcgipm_ready_close(fcgipm_question_t *question);
#endif
