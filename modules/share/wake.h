/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_WAKE_H
#define FCGIPM_SHARE_WAKE_H
/*
 * What: sleeping on a 32 bit word of shared memory (Linux futex), the only file that knows how.
 * Who calls: queue and board. Owns: nothing.
 * Always true: it may return early for no reason (the caller looks again); it never sleeps when the word is
 * not `expected`; the kernel never reads more than the word, so a hostile value can only cost time.
 */
#include <stdint.h>

/* Sleep while *address == expected, at most timeout_us (0 or less: not at all). */
void fcgipm_wake_wait(const void *address, uint32_t expected, int64_t timeout_us);
/* Wake whoever sleeps on address, in any process. */
void fcgipm_wake_all(const void *address);
/* The eventfd of each httpd child, for fcgipm_wake_child in this process; the array must live as long as the
 * process, and is the same in all threads. */
void fcgipm_wake_register(const int *fds, unsigned count);
/* In an httpd child: grants to its own waiters need no detour over the eventfd, `ring` is called with the
 * cell on the giver's thread. NULL: no more. */
void fcgipm_wake_own(unsigned child, void (*ring)(void *ctx, uint32_t cell), void *ctx);
/* The waiter of a parked cell has been granted something. */
void fcgipm_wake_parked(unsigned child, uint32_t cell);
/* Ring for a child; one that does not exist is no harm. Also tells it that a connection that it keeps was
 * taken over. */
void fcgipm_wake_child(unsigned child);
#endif
