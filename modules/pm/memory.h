/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_MEMORY_H
#define FCGIPM_PM_MEMORY_H
/*
 * What: memory of whole sessions (a worker and what it forked), by one walk over /proc; and how often the
 * kernel has killed for want of memory. Linux only. Who calls: the manager.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct fcgipm_memory {
    pid_t session;
    bool rss;       /* count RSS, not PSS */
    uint64_t bytes; /* out: what `rss` says */
    uint64_t pss;   /* out, always */
} fcgipm_memory_t;

/* Fills bytes and pss of each entry; sorts them by session. A process that left its session is not counted.
 */
void fcgipm_memory_measure(fcgipm_memory_t *sessions, size_t count);
/* "/proc/vmstat"; a test has another. */
extern const char *fcgipm_memory_vmstat;
/* The kernel's own count of processes killed by its OOM killer since boot; 0 if it does not say. */
uint64_t fcgipm_memory_oom_kills(void);
#endif
