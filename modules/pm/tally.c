/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/tally.h"

#define TOKEN 1000000

void fcgipm_tally_init(fcgipm_tally_t *tally, uint32_t processes_max)
{
    *tally = (fcgipm_tally_t){.tokens_max = 2 * processes_max + 10};
}

bool fcgipm_tally_is_failure(int64_t ready_for_us, uint64_t requests)
{
    return ready_for_us < 0 || (ready_for_us < FCGIPM_TALLY_PROVEN_US && requests == 0);
}

bool fcgipm_tally_is_proof(int64_t ready_for_us, uint64_t requests)
{
    return ready_for_us >= (requests ? FCGIPM_TALLY_CALM_US : FCGIPM_TALLY_PROVEN_US);
}

static int64_t delay_us(uint32_t failures, uint32_t chance)
{
    int64_t delay = FCGIPM_TALLY_FIRST_US;
    for (uint32_t i = 1; i < failures && delay < FCGIPM_TALLY_CAP_US; i++)
        delay *= 2;
    if (delay > FCGIPM_TALLY_CAP_US)
        delay = FCGIPM_TALLY_CAP_US;
    return delay * 4 / 5 + delay * (int64_t)(chance % 1001) * 2 / 5000;
}

int64_t fcgipm_tally_fail(fcgipm_tally_t *tally, int64_t born_us, int64_t now_us, uint32_t chance)
{
    if (tally->failures == 0 || born_us >= tally->failed_us) {
        if (tally->failures < UINT32_MAX)
            tally->failures++;
        tally->failed_us = now_us;
        tally->retry_us = now_us + delay_us(tally->failures, chance);
    }
    return tally->retry_us > now_us ? tally->retry_us - now_us : 0;
}

bool fcgipm_tally_well(fcgipm_tally_t *tally)
{
    bool ill = tally->failures != 0;
    tally->failures = 0;
    tally->retry_us = 0;
    return ill;
}

bool fcgipm_tally_take(fcgipm_tally_t *tally, int64_t now_us, int64_t *retry_us)
{
    int64_t full = (int64_t)tally->tokens_max * TOKEN, passed = now_us - tally->tokens_us;
    if (tally->tokens_us == 0 || passed >= full / FCGIPM_TALLY_RATE)
        tally->tokens = full;
    else if (passed > 0)
        tally->tokens += passed * FCGIPM_TALLY_RATE;
    if (tally->tokens > full)
        tally->tokens = full;
    tally->tokens_us = now_us;
    if (tally->tokens >= TOKEN) {
        tally->tokens -= TOKEN;
        return true;
    }
    *retry_us = now_us + (TOKEN - tally->tokens + FCGIPM_TALLY_RATE - 1) / FCGIPM_TALLY_RATE;
    return false;
}
