/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/stray.h"
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "pm/pidfd.h"
#include "pm/proc.h"
#include "pm/spawn.h"

#define ENVIRON_MAX 65536

void fcgipm_stray_collect(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static bool marked(pid_t pid, const char *mark)
{
    static char text[ENVIRON_MAX];
    char path[40];
    size_t want = strlen(mark), len;
    bool prefix = want && mark[want - 1] == ':'; /* else the last number must end there, too */

    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    len = fcgipm_proc_read(path, text, sizeof text);
    for (size_t at = 0; at < len; at += strlen(text + at) + 1) {
        const char *entry = text + at;
        if (!strncmp(entry, FCGIPM_SUEXEC_MARK, sizeof FCGIPM_SUEXEC_MARK - 1))
            entry += sizeof FCGIPM_SUEXEC_MARK - 1;
        if (strncmp(entry, mark, want) == 0 && (prefix || entry[want] == '\0'))
            return true;
    }
    return false;
}

/* A number of /proc/PID/status; -1: it is not there. The owner of /proc/PID says nothing: it is root for
 * whoever does not want to be dumped. */
static long status_number(pid_t pid, const char *name)
{
    char path[40], text[4096];
    const char *at;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (!fcgipm_proc_read(path, text, sizeof text))
        return -1;
    at = strstr(text, name); /* the name in the first line has no line end in it */
    return at ? strtol(at + strlen(name), NULL, 10) : -1;
}
#define REAL_UID   "\nUid:\t"
#define TRACER_PID "\nTracerPid:\t"
#define PROCESS    "\nTgid:\t"

static bool user_fits(const fcgipm_stray_t *what, pid_t pid)
{
    long uid = status_number(pid, REAL_UID);
    return uid >= 0 && (what->any_uid ? uid != 0 || geteuid() != 0 : uid == (long)what->uid);
}

static bool matches(const fcgipm_stray_t *what, pid_t pid, const fcgipm_pidfd_stat_t *stat)
{
    if (what->session && (stat->session == what->session || stat->pgrp == what->session) &&
        stat->start_time >= what->since)
        return true;
    if (what->parent && stat->ppid == what->parent && !(what->spare && what->spare(what->ctx, pid)))
        return true;
    return what->mark && user_fits(what, pid) && marked(pid, what->mark);
}

static bool kill_if(const fcgipm_stray_t *what, pid_t pid)
{
    fcgipm_pidfd_stat_t stat;
    if (pid <= 1 || pid == getpid() || pid == getppid() || !fcgipm_pidfd_stat(pid, &stat) || stat.dead ||
        !matches(what, pid, &stat))
        return false;
    if (what->spare && what->spare(what->ctx, pid))
        return false;
    int fd = fcgipm_pidfd_find(pid, stat.start_time);
    if (fd < 0)
        return false;
    bool killed = fcgipm_pidfd_kill(fd, what->signal_number ? what->signal_number : SIGKILL) == 0;
    close(fd);
    return killed;
}

bool fcgipm_stray_untrace(pid_t pid)
{
    fcgipm_pidfd_stat_t stat;
    long thread = status_number(pid, TRACER_PID),
         tracer = thread > 1 ? status_number((pid_t)thread, PROCESS) : 0;
    bool killed = false;
    if (tracer <= 1 || tracer == getpid() || tracer == getppid() ||
        (geteuid() == 0 && status_number((pid_t)tracer, REAL_UID) == 0) ||
        !fcgipm_pidfd_stat((pid_t)tracer, &stat))
        return false;
    int fd = fcgipm_pidfd_find((pid_t)tracer, stat.start_time);
    if (fd < 0)
        return false;
    if (status_number(pid, TRACER_PID) == thread) /* read again: so it is still the process that we hold */
        killed = fcgipm_pidfd_kill(fd, SIGKILL) == 0;
    close(fd);
    return killed;
}

unsigned fcgipm_stray_kill(const fcgipm_stray_t *what)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *proc = opendir("/proc");
    if (!proc)
        return 0;
    while ((entry = readdir(proc)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            count += kill_if(what, (pid_t)atoi(entry->d_name));
    closedir(proc);
    return count;
}
