/* SPDX-License-Identifier: Apache-2.0 */
#include "web/previous.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <httpd.h>
#include <ap_mpm.h>
#include <apr_strings.h>
#include <mpm_common.h>
#include <scoreboard.h>

#include "core/clock.h"
#include "core/log.h"
#include "pm/daemon.h"
#include "share/msg.h"

#define ORPHANS_END_US 2000000    /* between TERM and KILL */
#define ORPHANS_MAX_US 3600000000 /* longer than that no httpd child is waited for */

/* Its manager has gone: the parent lets go of all that the two shared. */
void fcgipm_previous_let_go(fcgipm_state_root_t *root)
{
    for (unsigned i = 0; i < root->fd_count; i++)
        close(root->fds[i]);
    root->fd_count = 0;
    root->orders_fd = root->lifeline_fd = -1;
    for (unsigned i = 0; i < 2; i++)
        if (root->maps[i])
            munmap(root->maps[i], root->map_sizes[i]);
    root->maps[0] = root->maps[1] = NULL;
}

static void close_once(int32_t *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* One that was killed, or crashed, has left its workers behind. They go on serving the httpd children that
 * know them, and are ended when those are gone. */
static void note_orphans(fcgipm_state_t *state, const fcgipm_state_root_t *root, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == FCGIPM_DAEMON_STOPPED)
        return;
    FCGIPM_LOG(
        682, FCGIPM_LOG_WARN, 0, 0,
        "the manager of the module that was replaced died (status 0x%x); its workers end with the last "
        "httpd child that uses them",
        (unsigned)status);
    state->orphans[root->upgrades].since_us = fcgipm_clock_steady_us();
    state->orphans[root->upgrades].told_us = 0;
}

bool fcgipm_previous_lives(fcgipm_state_t *state, fcgipm_state_root_t *root)
{
    int status = -1;

    if (root->manager && waitpid(root->manager, &status, WNOHANG) != 0) {
        root->manager = 0;
        note_orphans(state, root, status);
    }
    return root->manager != 0;
}

void fcgipm_previous_died(fcgipm_state_t *state, pid_t pid, int status)
{
    for (fcgipm_state_root_t *r = state->root.previous; r; r = r->previous)
        if (r->manager == pid) {
            r->manager = 0;
            fcgipm_previous_let_go(r);
            note_orphans(state, r, status);
        }
}

void fcgipm_previous_stop(fcgipm_state_t *state, apr_time_t limit)
{
    fcgipm_state_root_t *root = state->root.previous;

    for (fcgipm_state_root_t *r = root; r; r = r->previous)
        close_once(&r->lifeline_fd);
    for (fcgipm_state_root_t *r = root; r; r = r->previous)
        while (fcgipm_previous_lives(state, r) && fcgipm_clock_steady_us() < limit)
            apr_sleep(5000);
}

/* What is left of upgrades: each had a directory of its own, which its manager has emptied but for the
 * registry. */
void fcgipm_previous_remove(const char *dir)
{
    char path[256];

    for (unsigned i = 1; i <= FCGIPM_UPGRADES_MAX; i++) {
        snprintf(path, sizeof path, "%s/v%u/registry", dir, i);
        unlink(path);
        *strrchr(path, '/') = '\0';
        rmdir(path);
    }
}

static void orphans_dir(const fcgipm_state_t *state, char *out, size_t cap, unsigned upgrades)
{
    if (upgrades)
        snprintf(out, cap, "%s/v%u", state->root.runtime_dir, upgrades);
    else
        snprintf(out, cap, "%s", state->root.runtime_dir);
}

/* What the module that is being replaced knew of orphans goes with it: its state is not ours to read. A
 * manager that has ended in order has taken its control socket away, too. */
static void inherit_orphans(fcgipm_state_t *state)
{
    char dir[256], path[280];
    struct stat st;

    for (const fcgipm_state_root_t *r = state->root.previous; r; r = r->previous) {
        orphans_dir(state, dir, sizeof dir, r->upgrades);
        snprintf(path, sizeof path, "%s/control", dir);
        if (!r->manager && (lstat(path, &st) == 0 || fcgipm_daemon_any_orphan(dir)))
            state->orphans[r->upgrades].since_us = fcgipm_clock_steady_us();
    }
}

/* A module with another layout has left its state: its manager and workers serve its httpd children until
 * those have gone; ours begins anew beside it. Returns the directory for that. */
const char *fcgipm_previous_take_over(fcgipm_state_t *state, fcgipm_state_root_t *previous, const char *dir,
                                      apr_pool_t *ptemp)
{
    apr_cpystrn(state->root.runtime_dir, previous ? previous->runtime_dir : dir,
                sizeof state->root.runtime_dir);
    if (!previous)
        return dir;
    state->root.previous = previous;
    state->root.upgrades = previous->upgrades % FCGIPM_UPGRADES_MAX + 1;
    if (previous->manager)
        fcgipm_order_send(previous->orders_fd, FCGIPM_ORDER_RETIRE, NULL, 0, -1);
    inherit_orphans(state);
    FCGIPM_LOG(652, FCGIPM_LOG_NOTICE, 0, 0,
               "another version of the module was running: its workers serve until its requests are done");
    return apr_psprintf(ptemp, "%s/v%u", state->root.runtime_dir, state->root.upgrades);
}

/* A child of httpd from before this state; one that has just been reaped still has its row. */
static bool any_older_child(const fcgipm_state_t *state)
{
    int daemons = 0;

    if (!ap_scoreboard_image || ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &daemons) != APR_SUCCESS)
        return false;
    for (int i = 0; i < daemons; i++) {
        const process_score *child = &ap_scoreboard_image->parent[i];

        if (child->pid && child->generation < state->begun && kill(child->pid, 0) == 0)
            return true;
    }
    return false;
}

/* In two steps, so that they can end in order: false: again in a moment. */
static bool end_orphans(fcgipm_state_t *state, unsigned upgrades)
{
    int64_t now_us = fcgipm_clock_steady_us(), *told_us = &state->orphans[upgrades].told_us;
    char dir[256], path[280];

    orphans_dir(state, dir, sizeof dir, upgrades);
    if (!*told_us) {
        unsigned count = fcgipm_daemon_end_orphans(dir, state->cgroup, true);

        FCGIPM_LOG(683, FCGIPM_LOG_NOTICE, 0, 0,
                   "%u processes of the module that was replaced, whose manager was killed, are told to end",
                   count);
        *told_us = now_us;
        if (count)
            return false;
    }
    if (now_us - *told_us < ORPHANS_END_US && fcgipm_daemon_any_orphan(dir))
        return false;
    fcgipm_daemon_end_orphans(dir, state->cgroup, false);
    snprintf(path, sizeof path, "%s/registry", dir);
    unlink(path);
    if (upgrades)
        rmdir(dir);
    state->orphans[upgrades].since_us = 0;
    return true;
}

void fcgipm_previous_tend_orphans(fcgipm_state_t *state)
{
    for (unsigned i = 0; i <= FCGIPM_UPGRADES_MAX; i++) {
        int64_t since_us = state->orphans[i].since_us;

        if (since_us && i != state->root.upgrades &&
            (!any_older_child(state) || fcgipm_clock_steady_us() - since_us > ORPHANS_MAX_US))
            end_orphans(state, i);
    }
}

void fcgipm_previous_stop_orphans(fcgipm_state_t *state)
{
    for (unsigned i = 0; i <= FCGIPM_UPGRADES_MAX; i++)
        while (state->orphans[i].since_us && !end_orphans(state, i))
            apr_sleep(10000);
}
