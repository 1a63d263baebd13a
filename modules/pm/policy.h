/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_POLICY_H
#define FCGIPM_PM_POLICY_H
/*
 * What: how many workers a pool should have: (settings, counts, history, now) -> start n, retire m, look
 * again when. Pure. Who calls: the manager (crew.c), tests. The counts of waiting requests and idle workers
 * come from the board: hints, so the answer is bounded by the settings whatever they say.
 */
#include <stdbool.h>
#include "pm/tally.h"

typedef struct fcgipm_policy_in {
    uint32_t min, max, concurrency;
    uint32_t starting, ready; /* workers that serve or will */
    uint32_t free_slots;      /* places for another worker */
    uint32_t waiting;         /* requests in the queue */
    uint32_t idle;            /* ready workers without a request */
    uint32_t idle_long;       /* ... for longer than the idle limit */
    bool asked;               /* a request asked for one more just now */
} fcgipm_policy_in_t;

typedef struct fcgipm_policy_out {
    uint32_t start, retire;
    int64_t again_us; /* a start is delayed until then; 0 = none is */
} fcgipm_policy_out_t;

/* Workers that are missing, not looking at history. */
uint32_t fcgipm_policy_missing(const fcgipm_policy_in_t *in);
/* Takes the tokens of the starts that it grants. */
fcgipm_policy_out_t fcgipm_policy_size(const fcgipm_policy_in_t *in, fcgipm_tally_t *tally, int64_t now_us);
#endif
