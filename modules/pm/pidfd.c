/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/pidfd.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "pm/proc.h"

/* The name in parentheses is the process's own choice and may hold parentheses: the last one counts. */
static bool parse_stat(const char *text, fcgipm_pidfd_stat_t *out)
{
    const char *at = strrchr(text, ')');
    int ppid, pgrp, session, threads;
    if (!at ||
        sscanf(at + 1, " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d %*d %" SCNu64,
               &out->state, &ppid, &pgrp, &session, &threads, &out->start_time) != 6)
        return false;
    /* A first thread that has ended stays as a zombie until the last one has: who ends his first one is not
     * gone. */
    out->dead = (out->state == 'Z' || out->state == 'X') && threads <= 1;
    out->ppid = ppid;
    out->pgrp = pgrp;
    out->session = session;
    return true;
}

bool fcgipm_pidfd_stat(pid_t pid, fcgipm_pidfd_stat_t *out)
{
    char path[40], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    return fcgipm_proc_read(path, text, sizeof text) > 0 && parse_stat(text, out);
}

long fcgipm_pidfd_status(pid_t pid, const char *name)
{
    char path[40], text[4096];
    const char *at;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (!fcgipm_proc_read(path, text, sizeof text))
        return -1;
    at = strstr(text, name); /* the process's own name in the first line has no line end in it */
    return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

int fcgipm_pidfd_find(pid_t pid, uint64_t start_time)
{
    fcgipm_pidfd_stat_t stat;
    if (pid <= 1) {
        errno = ESRCH;
        return -1;
    }
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -1;
    /* opened first: what is read now is of the process that we hold, or of none */
    if (fcgipm_pidfd_stat(pid, &stat) && stat.start_time == start_time && !stat.dead)
        return fd;
    close(fd);
    errno = ESRCH;
    return -1;
}

int fcgipm_pidfd_kill(int fd, int signal_number)
{
    return syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0) < 0 ? errno : 0;
}
