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

static unsigned own_child;
static void (*own_ring)(void *ctx, uint32_t cell);
static void *own_ctx;

void fcgipm_wake_own(unsigned child, void (*ring)(void *ctx, uint32_t cell), void *ctx)
{
    own_child = child;
    own_ctx = ctx;
    own_ring = ring;
}

void fcgipm_wake_parked(unsigned child, uint32_t cell)
{
    if (own_ring && child == own_child)
        own_ring(own_ctx, cell);
    else
        fcgipm_wake_child(child);
}

void fcgipm_wake_child(unsigned child)
{
    uint64_t one = 1;
    if (child < wake_count && wake_fds[child] >= 0)
        while (write(wake_fds[child], &one, sizeof one) < 0 && errno == EINTR)
            ;
}
