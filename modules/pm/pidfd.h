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
/* A number of /proc/PID/status; -1: it is not there. name: with the end of the line before it. The owner of
 * /proc/PID says nothing: it is root for whoever does not want to be dumped. */
long fcgipm_pidfd_status(pid_t pid, const char *name);
#define FCGIPM_PIDFD_REAL_UID "\nUid:\t"
#define FCGIPM_PIDFD_TRACER   "\nTracerPid:\t"
#define FCGIPM_PIDFD_PROCESS  "\nTgid:\t"
/* The living process `pid` that began at start_time, or -1 (ESRCH: it is gone; otherwise it may live). */
int fcgipm_pidfd_find(pid_t pid, uint64_t start_time);
/* 0 or an errno. */
int fcgipm_pidfd_kill(int fd, int signal_number);
#endif
