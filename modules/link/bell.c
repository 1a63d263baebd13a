/* SPDX-License-Identifier: Apache-2.0 */
#include "link/bell.h"
#include <sys/timerfd.h>

int fcgipm_bell_open(void)
{
    return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
}

static void set(int bell, int64_t seconds, int64_t nanoseconds)
{
    struct itimerspec when = {.it_value = {.tv_sec = seconds, .tv_nsec = nanoseconds}};
    (void)timerfd_settime(bell, 0, &when, NULL);
}

void fcgipm_bell_arm(int bell, int64_t after_us)
{
    set(bell, after_us / 1000000, after_us % 1000000 * 1000);
}

void fcgipm_bell_ring(int bell)
{
    set(bell, 0, 1);
}
