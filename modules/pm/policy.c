/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/policy.h"

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Requests that neither an idle worker nor one that is starting will take. */
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

static uint32_t superfluous(const fcgipm_policy_in_t *in)
{
    uint32_t have = in->starting + in->ready;
    if (in->waiting || have <= in->min)
        return 0;
    return least(in->idle_long, have - in->min);
}

fcgipm_policy_out_t fcgipm_policy_size(const fcgipm_policy_in_t *in, fcgipm_tally_t *tally, int64_t now_us)
{
    fcgipm_policy_out_t out = {0};
    uint32_t missing = fcgipm_policy_missing(in);
    if (missing == 0) {
        out.retire = superfluous(in);
        return out;
    }
    if (tally->failures) {
        if (now_us < tally->retry_us) {
            out.again_us = tally->retry_us;
            return out;
        }
        missing = in->starting == 0; /* one at a time until one has proven itself */
    }
    while (out.start < missing && fcgipm_tally_take(tally, now_us, &out.again_us))
        out.start++;
    return out;
}
