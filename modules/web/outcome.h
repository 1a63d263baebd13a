/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_OUTCOME_H
#define FCGIPM_WEB_OUTCOME_H
/*
 * What: what came of an exchange with an application: what becomes of the lease, what is logged and counted,
 * what the client gets, and whether there is another try (the only place that says so). Who calls: web/stage.
 * Owns: nothing.
 */
#include "web/job.h"

typedef enum fcgipm_outcome {
    FCGIPM_OUTCOME_ANSWERED, /* *status is the handler's */
    FCGIPM_OUTCOME_DELIVER,  /* the application has finished, the client has not taken all of it */
    FCGIPM_OUTCOME_AGAIN,    /* another process shall have it */
    FCGIPM_OUTCOME_GIVEN_UP  /* *status is the handler's, and the application has failed */
} fcgipm_outcome_t;

/* rv: what the exchange has returned. The lease is over afterwards, job->lease still tells whose it was. Not
 * AGAIN: it has been counted. */
fcgipm_outcome_t fcgipm_outcome_of(fcgipm_job_t *job, apr_status_t rv, int *status);
/* The answer is whole, and the client takes the rest of it. Returns the handler's status. */
int fcgipm_outcome_deliver(fcgipm_job_t *job);
#endif
