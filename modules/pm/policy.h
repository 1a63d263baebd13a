/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_POLICY_H
#define FCGIPM_PM_POLICY_H
/*
 * What: how many workers a pool should have, which of them have served their time, and who goes when all
 * pools together have too many: (settings, counts, history, now) -> decisions. Pure. Who calls: the manager,
 * tests. The counts of waiting requests, requests served and idle workers come from the board: hints, so the
 * answer is bounded by the settings whatever they say.
 */
#include <stdbool.h>
#include <stddef.h>
#include "core/setting.h"
#include "pm/tally.h"

#define FCGIPM_POLICY_NO_LIMIT UINT32_MAX

typedef struct fcgipm_policy_in {
    uint32_t min, max, concurrency;
    uint32_t starting, ready; /* workers that serve or will */
    uint32_t free_slots;      /* places for another worker */
    uint32_t waiting;         /* requests in the queue */
    uint32_t idle;            /* ready workers without a request */
    uint32_t idle_long;       /* ... for longer than the idle limit */
    uint32_t outdated;        /* starting or ready workers that are to be replaced */
    uint32_t relieved;        /* outdated workers whose substitute has become ready: they may go */
    uint32_t room; /* further processes that the whole server may have, substitutes aside, or NO_LIMIT */
    bool asked;    /* a request asked for one more just now */
} fcgipm_policy_in_t;

typedef struct fcgipm_policy_out {
    uint32_t start;      /* all workers to start now */
    uint32_t substitute; /* how many of them are to replace an outdated one: 0 or 1 */
    uint32_t retire;     /* idle ones, highest slot first */
    uint32_t relieve;    /* outdated ones */
    uint32_t wanted;     /* starts for waiting requests that only room elsewhere would allow */
    int64_t again_us;    /* a start is delayed until then; 0 = none is */
} fcgipm_policy_out_t;

/* Workers that are missing, not looking at history or at other pools. */
uint32_t fcgipm_policy_missing(const fcgipm_policy_in_t *in);
/* Takes the tokens of the starts that it grants. */
fcgipm_policy_out_t fcgipm_policy_size(const fcgipm_policy_in_t *in, fcgipm_tally_t *tally, int64_t now_us);

/* Why a worker is to be replaced. */
typedef enum fcgipm_recycle {
    FCGIPM_RECYCLE_NO,
    FCGIPM_RECYCLE_REQUESTS,
    FCGIPM_RECYCLE_AGE,
    FCGIPM_RECYCLE_MEMORY
} fcgipm_recycle_t;
/* chance: any number, the same over a worker's life: its limits of requests and age differ by it, up to a
 * tenth up or down, so that workers that began together do not end together. memory: 0 = not measured. */
fcgipm_recycle_t fcgipm_policy_recycle(const fcgipm_setting_t *s, uint64_t requests, int64_t age_us,
                                       uint64_t memory, uint32_t chance);

/* A worker that could go to make room. */
typedef struct fcgipm_policy_candidate {
    int64_t used_us; /* when it last had a request */
    uint64_t memory; /* bytes */
    void *worker;    /* the caller's */
} fcgipm_policy_candidate_t;
/* Order by last use and say how many of the first ones must go so that `count` processes and `bytes` of
 * memory come free; all of them if that is not enough. */
size_t fcgipm_policy_evict(fcgipm_policy_candidate_t *candidates, size_t n, uint32_t count, uint64_t bytes);
#endif
