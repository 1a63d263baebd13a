/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/manager.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pm/pidfd.h"
#include "pm/slow.h"
#include "pm/stray.h"

void fcgipm_reap_marker(char *out, size_t cap, const fcgipm_worker_t *w)
{
    snprintf(out, cap, "FCGIPM_WORKER=%s:%u:%u:%u", w->app->manager->runtime_dir, w->app->index, w->slot,
             w->generation);
}

fcgipm_worker_t *fcgipm_reap_worker(fcgipm_manager_t *m, pid_t pid)
{
    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++)
            if (m->apps[i]->workers[slot].pid == pid)
                return &m->apps[i]->workers[slot];
    return NULL;
}

static bool is_worker(void *ctx, pid_t pid)
{
    return fcgipm_reap_worker(ctx, pid) != NULL;
}

/* Its control group, from which nothing gets out by itself. And, for what somebody has moved (su, a session
 * of its own) and where there are no groups: its session, its group, and what carries its marker: each by a
 * pidfd, so that nobody else is ever hit. What it left has come to us, as to the nearest collector above;
 * only what an earlier manager's workers left may be anywhere. */
void fcgipm_reap_group(const fcgipm_worker_t *w)
{
    char marker[192];
    /* By number only while the number is its own: it lives, or is a zombie that nobody has reaped. */
    fcgipm_pidfd_stat_t stat;
    bool there = fcgipm_pidfd_stat(w->pid, &stat) && stat.start_time == w->start_time;
    fcgipm_stray_t strays = {.session = there ? w->pid : 0,
                             .since = w->start_time,
                             .parent = getpid(),
                             .everywhere = w->adopted,
                             .mark = marker,
                             .any_uid = true,
                             .spare = is_worker,
                             .ctx = w->app->manager};

    fcgipm_cgroup_kill(w->app->manager->cgroup, w->leaf);
    fcgipm_reap_marker(marker, sizeof marker, w);
    /* Killing takes time, and forking goes on meanwhile. */
    for (int round = 0; round < 5 && fcgipm_stray_kill(&strays) > 0; round++)
        ;
}

/* The dead is looked at before it is reaped: until then its pid and its group's cannot mean anybody else. */
void fcgipm_reap_children(fcgipm_manager_t *m)
{
    for (;;) {
        siginfo_t info = {0};
        fcgipm_worker_t *w;
        int status = -1;

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
            return;
        w = fcgipm_reap_worker(m, info.si_pid);
        if (w)
            fcgipm_reap_group(w);
        else
            fcgipm_slow_bury(m->slow, info.si_pid);
        if (waitpid(info.si_pid, &status, WNOHANG) == info.si_pid && w)
            fcgipm_worker_died(w, status);
    }
}
