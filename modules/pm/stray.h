/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_STRAY_H
#define FCGIPM_PM_STRAY_H
/*
 * What: processes that a worker forked and left behind. The manager is a child subreaper, so they come to it;
 * they are known by session or process group, or by the mark in their environment; who has come to us is a
 * stray of some worker, whatever it carries. Who calls: the manager, at a worker's death and at the end; the
 * parent (prepare). Always true: a process is killed by a pidfd whose start time was read after it was
 * opened, never by number; never pid 1, us, or our parent.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct fcgipm_stray {
    pid_t session;    /* session or process group of a dead worker; 0 = do not look */
    uint64_t since;   /* ... not of processes that began before it */
    const char *mark; /* an environment entry, or its beginning if it ends in ':'; NULL = do not look */
    pid_t parent;     /* descendants of this process, but for spare's; 0 = do not look */
    bool unasked;     /* ... whatever mark they have, else only with that */
    bool everywhere;  /* marks are looked for in all processes, not only in those descendants */
    bool any_uid;     /* marks count in processes of every user but root, else of `uid` only */
    uid_t uid;
    int signal_number;                   /* 0: KILL */
    bool (*spare)(void *ctx, pid_t pid); /* with its descendants: a child that is a worker; may be NULL */
    void *ctx;
} fcgipm_stray_t;

/* This process gets what its descendants leave behind. */
void fcgipm_stray_collect(void);
/* KILL whoever traces `pid`, but not root: as long as he does not want to know, a parent is not told that its
 * child has ended. */
bool fcgipm_stray_untrace(pid_t pid);
/* KILL (or signal_number for) all that match, once over /proc; how many. */
unsigned fcgipm_stray_kill(const fcgipm_stray_t *what);
#endif
