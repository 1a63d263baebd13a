/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/stray.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "pm/pidfd.h"
#include "pm/scout.h"
#include "pm/spawn.h"

#define ENVIRON_MAX 65536

void fcgipm_stray_collect(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* For a scout: whoever reads it can be kept waiting. */
static void look_for_mark(const void *ctx, pid_t pid, void *answer)
{
    static char text[ENVIRON_MAX];
    const char *mark = ctx;
    size_t len = fcgipm_scout_file(pid, "environ", text, sizeof text), want = strlen(mark);
    bool prefix = want && mark[want - 1] == ':'; /* else the last number must end there, too */
    for (size_t at = 0; at < len; at += strlen(text + at) + 1) {
        const char *entry = text + at;
        if (!strncmp(entry, FCGIPM_SUEXEC_MARK, sizeof FCGIPM_SUEXEC_MARK - 1))
            entry += sizeof FCGIPM_SUEXEC_MARK - 1;
        if (strncmp(entry, mark, want) == 0 && (prefix || entry[want] == '\0'))
            *(bool *)answer = true;
    }
}

static bool user_fits(const fcgipm_stray_t *what, pid_t pid)
{
    long uid = fcgipm_pidfd_status(pid, FCGIPM_PIDFD_REAL_UID);
    return uid >= 0 && (what->any_uid ? uid != 0 || geteuid() != 0 : uid == (long)what->uid);
}

static bool is_near(const fcgipm_stray_t *what, pid_t pid, const fcgipm_pidfd_stat_t *stat)
{
    if (what->session && (stat->session == what->session || stat->pgrp == what->session) &&
        stat->start_time >= what->since)
        return true;
    return what->parent && stat->ppid == what->parent && !(what->spare && what->spare(what->ctx, pid));
}

static bool end(const fcgipm_stray_t *what, pid_t pid, uint64_t start_time)
{
    if (what->spare && what->spare(what->ctx, pid))
        return false;
    int fd = fcgipm_pidfd_find(pid, start_time);
    if (fd < 0)
        return false;
    bool killed = fcgipm_pidfd_kill(fd, what->signal_number ? what->signal_number : SIGKILL) == 0;
    close(fd);
    return killed;
}

/* --- those of whom only the mark says it --- */

typedef struct suspects {
    pid_t *pids;
    uint64_t *start_times;
    size_t count, room;
} suspects_t;

static void suspect(suspects_t *s, pid_t pid, uint64_t start_time)
{
    if (s->count == s->room) {
        size_t room = s->room ? s->room * 2 : 256;
        pid_t *pids = realloc(s->pids, room * sizeof *pids);
        uint64_t *times;
        if (!pids)
            return;
        s->pids = pids;
        if (!(times = realloc(s->start_times, room * sizeof *times)))
            return;
        s->start_times = times;
        s->room = room;
    }
    s->pids[s->count] = pid;
    s->start_times[s->count++] = start_time;
}

static unsigned end_marked(const fcgipm_stray_t *what, suspects_t *s)
{
    bool *found = s->count ? malloc(s->count * sizeof *found) : NULL;
    unsigned count = 0;
    if (found) {
        fcgipm_scout_send(s->pids, s->count, look_for_mark, what->mark, found, sizeof *found);
        for (size_t i = 0; i < s->count; i++)
            count += found[i] && end(what, s->pids[i], s->start_times[i]);
    }
    free(found);
    free(s->pids);
    free(s->start_times);
    return count;
}

bool fcgipm_stray_untrace(pid_t pid)
{
    fcgipm_pidfd_stat_t stat;
    long thread = fcgipm_pidfd_status(pid, FCGIPM_PIDFD_TRACER),
         tracer = thread > 1 ? fcgipm_pidfd_status((pid_t)thread, FCGIPM_PIDFD_PROCESS) : 0;
    bool killed = false;
    if (tracer <= 1 || tracer == getpid() || tracer == getppid() ||
        (geteuid() == 0 && fcgipm_pidfd_status((pid_t)tracer, FCGIPM_PIDFD_REAL_UID) == 0) ||
        !fcgipm_pidfd_stat((pid_t)tracer, &stat))
        return false;
    int fd = fcgipm_pidfd_find((pid_t)tracer, stat.start_time);
    if (fd < 0)
        return false;
    if (fcgipm_pidfd_status(pid, FCGIPM_PIDFD_TRACER) ==
        thread) /* read again: so it is still the process that we hold */
        killed = fcgipm_pidfd_kill(fd, SIGKILL) == 0;
    close(fd);
    return killed;
}

unsigned fcgipm_stray_kill(const fcgipm_stray_t *what)
{
    unsigned count = 0;
    suspects_t suspects = {0};
    struct dirent *entry;
    DIR *proc = opendir("/proc");
    if (!proc)
        return 0;
    while ((entry = readdir(proc))) {
        pid_t pid = atoi(entry->d_name); /* 0: not a number */
        fcgipm_pidfd_stat_t stat;
        if (pid <= 1 || pid == getpid() || pid == getppid() || !fcgipm_pidfd_stat(pid, &stat) || stat.dead)
            continue;
        if (is_near(what, pid, &stat))
            count += end(what, pid, stat.start_time);
        else if (what->mark && user_fits(what, pid))
            suspect(&suspects, pid, stat.start_time);
    }
    closedir(proc);
    return count + end_marked(what, &suspects);
}
