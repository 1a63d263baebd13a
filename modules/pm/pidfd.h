/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_PIDFD_H
#define FCGIPM_PM_PIDFD_H
/*
 * What: naming a process so that a reused pid is never taken for it: Linux pidfds and the start time in
 * /proc/PID/stat. Who calls: the manager and the parent (prepare). Owns: nothing; descriptors are the
 * caller's, close-on-exec.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct fcgipm_pidfd_stat {
    pid_t ppid, pgrp, session;
    char state;          /* of its first thread: 'Z' if that has ended */
    bool dead;           /* the process has: no other thread is left either */
    uint64_t start_time; /* clock ticks since boot */
} fcgipm_pidfd_stat_t;

/* False: there is no such process (or /proc cannot be read). */
bool fcgipm_pidfd_stat(pid_t pid, fcgipm_pidfd_stat_t *out);
/* The living process `pid` that began at start_time, or -1 (ESRCH: it is gone; otherwise it may live). */
int fcgipm_pidfd_find(pid_t pid, uint64_t start_time);
/* 0 or an errno. */
int fcgipm_pidfd_kill(int fd, int signal_number);
#endif
