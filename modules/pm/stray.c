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

static bool is_near(const fcgipm_stray_t *what, const fcgipm_pidfd_stat_t *stat)
{
    return what->session && (stat->session == what->session || stat->pgrp == what->session) &&
           stat->start_time >= what->since;
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

/* --- all processes of the machine, as one look over /proc found them --- */

typedef struct seen {
    pid_t pid;
    fcgipm_pidfd_stat_t stat;
} seen_t;

typedef struct census {
    seen_t *seen; /* malloc'ed */
    size_t count, room;
} census_t;

static int by_pid(const void *a, const void *b)
{
    const seen_t *x = a, *y = b;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

static void count_in(census_t *c, pid_t pid)
{
    if (c->count == c->room) {
        size_t room = c->room ? c->room * 2 : 512;
        seen_t *seen = realloc(c->seen, room * sizeof *seen);
        if (!seen)
            return;
        c->seen = seen;
        c->room = room;
    }
    c->seen[c->count].pid = pid;
    if (fcgipm_pidfd_stat(pid, &c->seen[c->count].stat) && !c->seen[c->count].stat.dead)
        c->count++;
}

static census_t take_census(void)
{
    census_t c = {0};
    struct dirent *entry;
    DIR *proc = opendir("/proc");
    while (proc && (entry = readdir(proc))) {
        pid_t pid = atoi(entry->d_name); /* 0: not a number */
        if (pid > 1)
            count_in(&c, pid);
    }
    if (proc)
        closedir(proc);
    if (c.count)
        qsort(c.seen, c.count, sizeof *c.seen, by_pid);
    return c;
}

typedef enum branch { ELSEWHERE, SPARED, OURS } branch_t;

/* Where it comes from: below what->parent, by one of its children that is spared, or by none. */
static branch_t branch_of(const fcgipm_stray_t *what, const census_t *c, const seen_t *one)
{
    for (size_t steps = 0; what->parent && one && steps < c->count; steps++) {
        seen_t above = {.pid = one->stat.ppid};
        if (above.pid == what->parent)
            return what->spare && what->spare(what->ctx, one->pid) ? SPARED : OURS;
        one = bsearch(&above, c->seen, c->count, sizeof *c->seen, by_pid);
    }
    return ELSEWHERE;
}

/* Those of whom only the mark says it. */
static unsigned end_marked(const fcgipm_stray_t *what, const seen_t *suspects, size_t count)
{
    pid_t *pids = count ? malloc(count * sizeof *pids) : NULL;
    bool *found = count ? malloc(count * sizeof *found) : NULL;
    unsigned killed = 0;
    for (size_t i = 0; pids && i < count; i++)
        pids[i] = suspects[i].pid;
    if (pids && found) {
        fcgipm_scout_send(pids, count, look_for_mark, what->mark, found, sizeof *found);
        for (size_t i = 0; i < count; i++)
            killed += found[i] && end(what, pids[i], suspects[i].stat.start_time);
    }
    free(pids);
    free(found);
    return killed;
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
    census_t c = take_census();
    seen_t *suspects = c.count ? malloc(c.count * sizeof *suspects) : NULL;
    unsigned killed = 0;
    size_t count = 0;
    for (size_t i = 0; suspects && i < c.count; i++) {
        const seen_t *one = &c.seen[i];
        branch_t branch;
        if (one->pid == getpid() || one->pid == getppid())
            continue;
        branch = branch_of(what, &c, one);
        if ((branch == OURS && what->unasked) || is_near(what, &one->stat))
            killed += end(what, one->pid, one->stat.start_time);
        else if (branch == OURS || (branch == ELSEWHERE && what->everywhere && user_fits(what, one->pid)))
            suspects[count++] = *one;
    }
    killed += end_marked(what, suspects, count);
    free(suspects);
    free(c.seen);
    return killed;
}
