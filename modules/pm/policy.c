/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/policy.h"

#include <stdlib.h>

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Requests that neither an idle worker nor one that is starting will take, in workers. */
static uint32_t demand(const fcgipm_policy_in_t *in)
{
    uint64_t want = in->waiting, coming = (uint64_t)(in->starting + in->idle) * in->concurrency;
    if (want == 0 && in->asked)
        want = 1;
    return want > coming ? (uint32_t)((want - coming + in->concurrency - 1) / in->concurrency) : 0;
}

uint32_t fcgipm_policy_missing(const fcgipm_policy_in_t *in)
{
    uint32_t have = in->starting + in->ready, more = demand(in);
    if (have >= in->max)
        return 0;
    if (have < in->min && more < in->min - have)
        more = in->min - have;
    return least(least(more, in->max - have), in->free_slots);
}

/* Whose substitute is ready may go; and when there is one too many without anybody knowing for whom it came
 * (the manager that did has died), one of them may go all the same. Never below min: another may have died
 * meanwhile. */
static uint32_t relieve(const fcgipm_policy_in_t *in)
{
    uint32_t have = in->starting + in->ready, may_go = in->relieved;
    if (may_go == 0 && in->starting == 0 && have > in->max)
        may_go = have - in->max;
    if (in->ready <= in->min)
        return 0;
    return least(least(may_go, in->outdated), in->ready - in->min);
}

/* One more than the pool may have otherwise, so that the outdated one can stay until it is ready. */
static uint32_t substitute(const fcgipm_policy_in_t *in)
{
    uint32_t have = in->starting + in->ready;
    return in->outdated > relieve(in) && in->starting == 0 && have <= in->max && have > 0 &&
           in->free_slots > 0;
}

static uint32_t superfluous(const fcgipm_policy_in_t *in)
{
    uint32_t have = in->starting + in->ready - relieve(in);
    if (have > in->max && (in->outdated == 0 || in->max == 0)) /* the pool was made smaller */
        return have - in->max;
    if (in->waiting || have <= in->min)
        return 0;
    return least(in->idle_long, have - in->min);
}

/* For waiting requests only: what is merely missing to min must not push out what others use. */
static uint32_t beyond_room(const fcgipm_policy_in_t *in, uint32_t missing)
{
    uint32_t more = least(demand(in), missing);
    return more > in->room ? more - in->room : 0;
}

fcgipm_policy_out_t fcgipm_policy_size(const fcgipm_policy_in_t *in, fcgipm_tally_t *tally, int64_t now_us)
{
    fcgipm_policy_out_t out = {.relieve = relieve(in)};
    uint32_t missing = fcgipm_policy_missing(in);
    if (missing == 0 && (out.substitute = substitute(in)) == 0) {
        out.retire = superfluous(in);
        return out;
    }
    if (tally->failures) {
        if (now_us < tally->retry_us) {
            out.again_us = tally->retry_us;
            out.substitute = 0;
            return out;
        }
        missing = least(missing, in->starting == 0); /* one at a time until one has proven itself */
    }
    out.wanted = beyond_room(in, missing);
    /* One that is replaced and its substitute count as one: else a pool that has all the room there is would
     * keep its old ones for ever. */
    missing = least(missing, in->room) + out.substitute;
    while (out.start < missing && fcgipm_tally_take(tally, now_us, &out.again_us))
        out.start++;
    out.substitute = least(out.substitute, out.start);
    return out;
}

/* The limit, give or take a tenth. */
static bool beyond(uint64_t value, uint64_t limit, uint32_t chance)
{
    return limit && value >= limit - limit / 10 + limit / 5 * (chance % 1000) / 1000;
}

fcgipm_recycle_t fcgipm_policy_recycle(const fcgipm_setting_t *s, uint64_t requests, int64_t age_us,
                                       uint64_t memory, uint32_t chance)
{
    if (beyond(requests, s->recycle_requests, chance))
        return FCGIPM_RECYCLE_REQUESTS;
    if (age_us > 0 && beyond((uint64_t)age_us, (uint64_t)s->recycle_age_us, chance))
        return FCGIPM_RECYCLE_AGE;
    if (s->recycle_memory_bytes && memory > s->recycle_memory_bytes)
        return FCGIPM_RECYCLE_MEMORY;
    return FCGIPM_RECYCLE_NO;
}

static int by_use(const void *a, const void *b)
{
    const fcgipm_policy_candidate_t *x = a, *y = b;
    return (x->used_us > y->used_us) - (x->used_us < y->used_us);
}

size_t fcgipm_policy_evict(fcgipm_policy_candidate_t *candidates, size_t n, uint32_t count, uint64_t bytes)
{
    size_t gone = 0;
    uint64_t freed = 0;
    qsort(candidates, n, sizeof *candidates, by_use);
    while (gone < n && (gone < count || freed < bytes))
        freed += candidates[gone++].memory;
    return gone;
}
