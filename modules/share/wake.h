/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_WAKE_H
#define FCGIPM_SHARE_WAKE_H
/*
 * What: sleeping on a 32 bit word of shared memory (Linux futex), the only file that knows how; and the bell
 * of each httpd child. Who calls: queue and board. Owns: nothing. Always true: it may return early for no
 * reason (the caller looks again); it never sleeps when the word is not `expected`; the kernel never reads
 * more than the word, so a hostile value can only cost time.
 */
#include <stdbool.h>
#include <stdint.h>

/* Sleep while *address == expected, at most timeout_us (0 or less: not at all). */
void fcgipm_wake_wait(const void *address, uint32_t expected, int64_t timeout_us);
/* Wake whoever sleeps on address, in any process. */
void fcgipm_wake_all(const void *address);
/* A bell: a datagram socket that is connected to itself, so it takes nothing from anybody else. Not an
 * eventfd: all processes share its flags, and a hostile child could make it block whoever rings, the manager
 * and the parent among them; a send says for itself that it does not wait. -1 with errno; the caller's to
 * close. */
int fcgipm_wake_open(void);
/* The owner has heard his bell: silence it. False: it is broken (only a hostile process breaks it) and would
 * be readable for ever. */
bool fcgipm_wake_heard(int fd);
/* The bell of each httpd child, for fcgipm_wake_child in this process; the array must live as long as the
 * process, and is the same in all threads. */
void fcgipm_wake_register(const int *fds, unsigned count);
/* In an httpd child: grants to its own waiters need no detour over the bell, `ring` is called with the
 * cell on the giver's thread. NULL: no more. */
void fcgipm_wake_own(unsigned child, void (*ring)(void *ctx, uint32_t cell), void *ctx);
/* The waiter of a parked cell has been granted something. */
void fcgipm_wake_parked(unsigned child, uint32_t cell);
/* Ring for a child; one that does not exist is no harm. Also tells it that a connection that it keeps was
 * taken over. */
void fcgipm_wake_child(unsigned child);
#endif
