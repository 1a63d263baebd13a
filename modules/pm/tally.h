/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_TALLY_H
#define FCGIPM_PM_TALLY_H
/*
 * What: the history of a pool's starts and deaths, and the delay that follows from it. Pure: the time is an
 * argument (monotonic microseconds), chance is an argument. Who calls: the manager, pm/policy, tests. Always
 * true: 1. failures grow by one per round of starts, however many workers of that round failed; 2. retry_us
 * is never more than FCGIPM_TALLY_CAP_US * 1.2 ahead.
 */
#include <stdbool.h>
#include <stdint.h>

#define FCGIPM_TALLY_FIRST_US  100000   /* delay after the first failure; doubles */
#define FCGIPM_TALLY_CAP_US    30000000 /* longest delay, before the +-20 % of chance */
#define FCGIPM_TALLY_PROVEN_US 10000000 /* ready for so long: it runs */
#define FCGIPM_TALLY_CALM_US   1000000  /* ... and has served: that is enough */
#define FCGIPM_TALLY_RATE      20       /* restarts at once per second, after the burst */

typedef struct fcgipm_tally {
    uint32_t failures;   /* consecutive */
    int64_t failed_us;   /* the last one */
    int64_t retry_us;    /* no start before */
    int64_t tokens;      /* millionths of a restart */
    int64_t tokens_us;   /* when they were counted; 0 = never: full */
    uint32_t tokens_max; /* burst */
} fcgipm_tally_t;

void fcgipm_tally_init(fcgipm_tally_t *tally, uint32_t processes_max);
/* Does this end of a worker count as a failed start? ready_for_us < 0: it was never ready. */
bool fcgipm_tally_is_failure(int64_t ready_for_us, uint64_t requests);
/* Does a worker that lives prove that the pool is well again? Never before CALM_US, however much it has
 * served. */
bool fcgipm_tally_is_proof(int64_t ready_for_us, uint64_t requests);
/* A start that began at born_us has failed. chance: any number. Returns the delay until the next start. */
int64_t fcgipm_tally_fail(fcgipm_tally_t *tally, int64_t born_us, int64_t now_us, uint32_t chance);
/* A worker has proven itself. True: it was ill before. */
bool fcgipm_tally_well(fcgipm_tally_t *tally);
/* Take a token for one start; false: none left, try again at *retry_us. */
bool fcgipm_tally_take(fcgipm_tally_t *tally, int64_t now_us, int64_t *retry_us);
#endif
