/* SPDX-License-Identifier: Apache-2.0 */
#include "web/limit.h"

#include <apr_atomic.h>
#include <apr_time.h>

#include "core/clock.h"

bool fcgipm_limit_allow(fcgipm_limit_t *limit, uint32_t pool, unsigned per_second, unsigned *dropped)
{
    apr_uint32_t now = (apr_uint32_t)apr_time_sec(fcgipm_clock_steady_us());
    apr_uint32_t *second = &limit->window[pool % FCGIPM_POOLS_MAX].second;
    apr_uint32_t *lines = &limit->window[pool % FCGIPM_POOLS_MAX].lines;
    apr_uint32_t *lost = &limit->window[pool % FCGIPM_POOLS_MAX].dropped;
    apr_uint32_t was = apr_atomic_read32(second);

    *dropped = 0;
    if (was != now && apr_atomic_cas32(second, now, was) == was) {
        apr_atomic_set32(lines, 0);
        *dropped = apr_atomic_xchg32(lost, 0);
    }
    if (apr_atomic_inc32(lines) < per_second)
        return true;
    apr_atomic_inc32(lost);
    return false;
}
