/* SPDX-License-Identifier: Apache-2.0 */
#include "core/clock.h"
#include <pthread.h>
#include <time.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int64_t moved_by;

static int64_t now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void begin(void)
{
    moved_by = now_us(CLOCK_REALTIME) - now_us(CLOCK_MONOTONIC);
}

int64_t fcgipm_clock_us(void)
{
    pthread_once(&once, begin);
    return now_us(CLOCK_MONOTONIC) + moved_by;
}

int64_t fcgipm_clock_steady_us(void)
{
    return now_us(CLOCK_MONOTONIC);
}

int64_t fcgipm_clock_wall_us(void)
{
    return now_us(CLOCK_REALTIME);
}
