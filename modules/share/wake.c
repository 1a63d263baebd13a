/* SPDX-License-Identifier: Apache-2.0 */
#include "share/wake.h"
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* FUTEX_WAIT and not FUTEX_WAIT_PRIVATE: the sleepers are in other processes. */
void fcgipm_wake_wait(const void *address, uint32_t expected, int64_t timeout_us)
{
    if (timeout_us <= 0)
        return;
    struct timespec limit = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    (void)syscall(SYS_futex, address, FUTEX_WAIT, expected, &limit, NULL, 0);
}

void fcgipm_wake_all(const void *address)
{
    (void)syscall(SYS_futex, address, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static const int *wake_fds;
static unsigned wake_count;

void fcgipm_wake_register(const int *fds, unsigned count)
{
    wake_fds = fds;
    wake_count = fds ? count : 0;
}

void fcgipm_wake_child(unsigned child)
{
    uint64_t one = 1;
    if (child < wake_count && wake_fds[child] >= 0)
        while (write(wake_fds[child], &one, sizeof one) < 0 && errno == EINTR)
            ;
}
