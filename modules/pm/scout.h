/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_SCOUT_H
#define FCGIPM_PM_SCOUT_H
/*
 * What: reading of /proc/PID what the kernel looks for in the process's memory (environ, smaps_rollup,
 * stack): whoever reads it waits for a lock of that process, which it can hold for ever (a page of a file
 * system of its own, FUSE, that never comes). So a child asks, a scout, and is killed if it is kept waiting.
 * Who calls: stray, memory, slow. Always true: a call takes FCGIPM_SCOUT_PATIENCE_MS times FCGIPM_SCOUT_HELD
 * more than it needs, at most; the processes of a user who held a scout are not asked again for 10 s, and
 * longer each time.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FCGIPM_SCOUT_PATIENCE_MS 1000
#define FCGIPM_SCOUT_HELD        3

/* In the scout: about pid; the answer is all zeros before. It may read files, and nothing else. */
typedef void fcgipm_scout_ask_t(const void *ctx, pid_t pid, void *answer);

/* answers: count of them, size bytes each, the caller's; zeros for processes that were not asked, or held the
 * scout. Returns how many those are. */
size_t fcgipm_scout_send(const pid_t *pids, size_t count, fcgipm_scout_ask_t *ask, const void *ctx,
                         void *answers, size_t size);
/* For whoever asks: the file of the process, at most cap - 1 bytes and a NUL; how many. Without a scout only
 * what does not wait: stat, statm, status, wchan. */
size_t fcgipm_scout_file(pid_t pid, const char *name, char *out, size_t cap);
#endif
