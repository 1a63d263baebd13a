/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/daemon.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#include "core/log.h"
#include "pm/listen.h"
#include "pm/spawn.h"
#include "pm/manager.h"
#include "pm/memory.h"
#include "pm/pidfd.h"
#include "pm/slow.h"
#include "pm/stray.h"
#include "share/board.h"
#include "share/demand.h"

/* --- descriptors --- */

static int ascending(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* An allow-list: httpd's listening sockets, logs and whatever other modules have open must not live on in
 * here. */
static void close_others(const fcgipm_daemon_env_t *env)
{
    size_t count = 0, cap = 5 + env->keep_count + env->wake_count;
    int *keep = malloc(cap * sizeof *keep);
    unsigned from = 3;

    if (!keep)
        _exit(FCGIPM_DAEMON_BROKEN);
    keep[count++] = env->lifeline_fd;
    keep[count++] = env->orders_fd;
    keep[count++] = env->requests_fd;
    keep[count++] = env->board_fd;
    keep[count++] = env->children_fd;
    for (unsigned i = 0; i < env->keep_count; i++)
        keep[count++] = env->keep_fds[i];
    for (unsigned i = 0; i < env->wake_count; i++)
        keep[count++] = env->wake_fds[i];
    qsort(keep, count, sizeof *keep, ascending);
    for (size_t i = 0; i < count; i++) {
        if (keep[i] < (int)from)
            continue;
        if ((unsigned)keep[i] > from)
            syscall(SYS_close_range, from, (unsigned)keep[i] - 1, 0u);
        from = (unsigned)keep[i] + 1;
    }
    syscall(SYS_close_range, from, ~0u, 0u);
    free(keep);
}

/* --- the end --- */

#define SWEEP_US 4000000

/* What workers forked and left has come to us; it goes with us. Killing may bring further orphans: until none
 * is left, but for what KILL does not end. */
static void sweep_strays(const fcgipm_manager_t *m)
{
    char mark[160];
    fcgipm_stray_t strays = {
        .parent = getpid(), .unasked = true, .everywhere = m->inherits, .mark = mark, .any_uid = true};
    int64_t begin = fcgipm_manager_clock();

    snprintf(mark, sizeof mark, "FCGIPM_WORKER=%s:", m->runtime_dir);
    for (int round = 0; round < 50 && fcgipm_manager_clock() - begin < SWEEP_US; round++) {
        unsigned killed = fcgipm_stray_kill(&strays);

        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (!killed)
            return;
        poll(NULL, 0, 10);
    }
}

static void clean_up(fcgipm_manager_t *m)
{
    sweep_strays(m);
    fcgipm_cgroup_end(m->cgroup);
    fcgipm_listen_sweep(m->runtime_dir);
    fcgipm_registry_reset(m->registry);
    FCGIPM_LOG(360, FCGIPM_LOG_INFO, 0, 0, "all workers stopped");
}

/* --- the beginning --- */

static fcgipm_manager_t *create(const fcgipm_daemon_env_t *env)
{
    fcgipm_manager_t *m;
    apr_pool_t *pool;
    fcgipm_fault_t fault;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS)
        return NULL;
    m = apr_pcalloc(pool, sizeof *m);
    m->env = env;
    m->pool = pool;
    m->board = env->board;
    m->registry = env->registry;
    m->exit_code = -1;
    m->now = fcgipm_manager_clock();
    m->random = (uint32_t)m->now ^ (uint32_t)getpid() << 16 ^ 1u;
    apr_pool_create(&m->world_pool, pool);
    if (fcgipm_world_read(&m->world, env->world, env->world_len, m->world_pool, &fault) != APR_SUCCESS) {
        FCGIPM_LOG(361, FCGIPM_LOG_ERR, 0, 0, "cannot read the configuration: %s", fault.sentence);
        return NULL;
    }
    if (strlen(m->world->runtime_dir) >= sizeof m->runtime_dir) {
        FCGIPM_LOG(362, FCGIPM_LOG_ERR, 0, 0, "FcgiRuntimeDir is too long");
        return NULL;
    }
    m->generation = m->world->generation;
    apr_cpystrn(m->runtime_dir, m->world->runtime_dir, sizeof m->runtime_dir);
    return m;
}

/* Said once, and not for each block: nobody shall believe that there are walls between the applications. */
static void tell_who(const fcgipm_world_t *world)
{
    const struct passwd *pw;
    bool spawned = world->scripts;

    for (int i = 0; i < world->pools->nelts; i++)
        spawned = spawned || !APR_ARRAY_IDX(world->pools, i, fcgipm_world_pool_t).setting->connect;
    if (geteuid() == 0 || !spawned)
        return;
    pw = getpwuid(geteuid());
    FCGIPM_LOG(
        384, FCGIPM_LOG_NOTICE, 0, 0,
        "httpd was not started as root: all applications run as its user %s (uid %u) and can reach each "
        "other; FcgiUser, FcgiRoot and FcgiPrivateTmp need root",
        pw ? pw->pw_name : "?", (unsigned)geteuid());
}

/* FcgiCgroup: what cannot be is an error only where somebody asked for it. */
static void open_groups(fcgipm_manager_t *m)
{
    fcgipm_hierarchy_base_t base;
    fcgipm_fault_t fault;
    apr_status_t rv = fcgipm_hierarchy_find(&base, m->world->cgroup, &fault);

    if (rv == APR_SUCCESS)
        rv = fcgipm_cgroup_open(&m->cgroup, &base, m->runtime_dir, m->pool, &fault);
    if (rv == APR_SUCCESS)
        FCGIPM_LOG(400, FCGIPM_LOG_INFO, 0, 0, "each process has a control group, below %s", base.dir);
    else if (base.strict)
        FCGIPM_LOG(401, FCGIPM_LOG_ERR, 0, 0, "FcgiCgroup %s cannot be: %s; going on without control groups",
                   m->world->cgroup, fault.sentence);
    else
        FCGIPM_LOG(402, FCGIPM_LOG_INFO, 0, 0, "without control groups: %s", fault.sentence);
}

void fcgipm_daemon_check(const fcgipm_world_t *world, bool configtest,
                         void (*say)(void *ctx, bool fatal, const char *sentence), void *ctx)
{
    fcgipm_cgroup_check(world, configtest, say, ctx);
}

int fcgipm_daemon_run(const fcgipm_daemon_env_t *env)
{
    fcgipm_manager_t *m;
    int code;

    setsid();
    prctl(PR_SET_NAME, "fcgipm-manager");
    for (int sig = 1; sig < NSIG; sig++)
        if (sig != SIGTERM && sig != SIGINT)
            signal(sig, SIG_DFL);
    close_others(env);
    fcgipm_spawn_raise_limits();
    fcgipm_stray_collect();
    m = create(env);
    if (!m)
        return FCGIPM_DAEMON_BROKEN;
    tell_who(m->world);
    fcgipm_atom_set(&m->board->manager_pid, (uint32_t)getpid());
    fcgipm_atom_add(&m->board->manager_starts, 1);
    m->oom_kills = fcgipm_memory_oom_kills();
    open_groups(m);
    m->slow = fcgipm_slow_create(m);
    m->control = fcgipm_control_open(m);
    m->notify_fd = fcgipm_notify_open(m->runtime_dir);
    fcgipm_manager_reconcile(m, m->world);
    fcgipm_manager_adopt(m);
    code = fcgipm_loop_run(m);
    fcgipm_atom_set(&m->board->manager_pid, 0);
    if (code == FCGIPM_DAEMON_STOPPED)
        clean_up(m);
    return code;
}

/* --- before any beginning: is the configuration one that can be? --- */

static fcgipm_jail_host_t host_of(uint32_t uid, uint32_t gid, const fcgipm_global_t *global)
{
    return (fcgipm_jail_host_t){
        .uid = uid, .gid = gid, .min_uid = global->min_uid, .min_gid = global->min_gid};
}

apr_status_t fcgipm_daemon_check_user(const fcgipm_setting_t *s, uint32_t uid, uint32_t gid,
                                      const fcgipm_global_t *global, fcgipm_fault_t *fault)
{
    fcgipm_jail_host_t host = host_of(uid, gid, global);
    fcgipm_jail_cell_t cell;

    return fcgipm_jail_of(s)->prepare(&cell, s, &host, fault);
}

apr_status_t fcgipm_daemon_try(const fcgipm_setting_t *s, uint32_t uid, uint32_t gid,
                               const fcgipm_global_t *global, apr_pool_t *pool, fcgipm_fault_t *fault)
{
    fcgipm_jail_host_t host = host_of(uid, gid, global);
    fcgipm_spawn_plan_t plan;
    apr_status_t rv = fcgipm_spawn_plan(&plan, s, &host, pool, fault);

    return rv == APR_SUCCESS ? fcgipm_spawn_try(&plan, fault) : rv;
}

/* --- what an earlier server left --- */

/* The living workers of the registry; signal 0 only counts. */
static unsigned signal_leftovers(const fcgipm_registry_t *registry, int sig)
{
    unsigned alive = 0;

    for (uint32_t i = 0; (i = fcgipm_demand_next_slot(registry, i)) < FCGIPM_SLOTS_MAX; i++) {
        pid_t pid = (pid_t)fcgipm_atom_get(&registry->slot[i].pid);
        int fd = fcgipm_pidfd_find(pid, registry->slot[i].start_time);

        if (fd < 0)
            continue;
        alive++;
        if (sig)
            fcgipm_pidfd_kill(fd, sig);
        close(fd);
    }
    return alive;
}

/* What they forked, by the marker that names this directory. Never by the numbers of their sessions and
 * groups: who has those now may be anybody, if the workers have gone (another container, a start hours
 * later). */
static unsigned kill_leftover_families(const char *runtime_dir)
{
    char mark[160];
    fcgipm_stray_t strays = {.everywhere = true, .mark = mark, .any_uid = true};

    snprintf(mark, sizeof mark, "FCGIPM_WORKER=%s:", runtime_dir);
    return fcgipm_stray_kill(&strays);
}

/* Until none is left, but for what KILL does not end: who is killed may have forked just before, and takes a
 * moment to be gone. */
static void end_leftover_families(const char *runtime_dir)
{
    int64_t begin = fcgipm_manager_clock();

    for (int round = 0; round < 100 && kill_leftover_families(runtime_dir) > 0; round++) {
        if (fcgipm_manager_clock() - begin > SWEEP_US)
            return;
        poll(NULL, 0, 10);
    }
}

/* The same by session and group, before their leaders are gone: whoever is in one of them then is theirs. */
static void kill_leftover_groups(const fcgipm_registry_t *registry)
{
    for (uint32_t i = 0; (i = fcgipm_demand_next_slot(registry, i)) < FCGIPM_SLOTS_MAX; i++) {
        pid_t pid = (pid_t)fcgipm_atom_get(&registry->slot[i].pid);
        fcgipm_stray_t strays = {.session = pid, .since = registry->slot[i].start_time};
        int fd = fcgipm_pidfd_find(pid, registry->slot[i].start_time);

        if (fd < 0)
            continue;
        fcgipm_stray_kill(&strays);
        close(fd);
    }
}

static void stop_leftovers(fcgipm_registry_t *registry, const char *runtime_dir)
{
    int64_t begin = fcgipm_manager_clock();
    unsigned alive = signal_leftovers(registry, SIGTERM);

    if (alive)
        FCGIPM_LOG(363, FCGIPM_LOG_WARN, 0, 0,
                   "%u workers of an earlier server that was killed are still there: stopping them", alive);
    signal_leftovers(registry, SIGCONT);
    while (signal_leftovers(registry, 0) && fcgipm_manager_clock() - begin < 2000000)
        poll(NULL, 0, 10);
    kill_leftover_groups(registry);
    while (signal_leftovers(registry, SIGKILL) && fcgipm_manager_clock() - begin < 4000000)
        poll(NULL, 0, 10);
    end_leftover_families(runtime_dir);
}

static bool only_seen(void *ctx, pid_t pid)
{
    (void)pid;
    *(bool *)ctx = true;
    return true;
}

bool fcgipm_daemon_any_orphan(const char *runtime_dir)
{
    char text[160];
    bool any = false;
    fcgipm_stray_t strays = {
        .everywhere = true, .mark = text, .any_uid = true, .spare = only_seen, .ctx = &any};

    snprintf(text, sizeof text, "FCGIPM_WORKER=%s:", runtime_dir);
    fcgipm_stray_kill(&strays);
    return any;
}

unsigned fcgipm_daemon_end_orphans(const char *runtime_dir, const char *cgroup, bool first)
{
    char text[160];
    fcgipm_stray_t strays = {
        .everywhere = true, .mark = text, .any_uid = true, .signal_number = first ? SIGTERM : SIGKILL};
    unsigned count;

    snprintf(text, sizeof text, "FCGIPM_WORKER=%s:", runtime_dir);
    count = fcgipm_stray_kill(&strays);
    if (first) {
        strays.signal_number = SIGCONT; /* a stopped process would not see TERM */
        fcgipm_stray_kill(&strays);
        return count;
    }
    end_leftover_families(runtime_dir);
    fcgipm_cgroup_sweep(cgroup, runtime_dir);
    fcgipm_listen_sweep(runtime_dir);
    return count;
}

apr_status_t fcgipm_daemon_directory(const char *runtime_dir, fcgipm_fault_t *fault)
{
    return fcgipm_listen_runtime_dir(runtime_dir, true, fault);
}

apr_status_t fcgipm_daemon_check_directory(const char *runtime_dir, fcgipm_fault_t *fault)
{
    return fcgipm_listen_runtime_dir(runtime_dir, false, fault);
}

apr_status_t fcgipm_daemon_prepare(fcgipm_registry_t *registry, bool leftover, const char *runtime_dir,
                                   const char *cgroup, uint32_t uid, uint32_t gid, fcgipm_fault_t *fault)
{
    apr_status_t rv = fcgipm_listen_runtime_dir(runtime_dir, true, fault);

    (void)uid;
    (void)gid;
    if (rv != APR_SUCCESS)
        return rv;
    if (leftover)
        stop_leftovers(registry, runtime_dir);
    fcgipm_cgroup_sweep(cgroup, runtime_dir);
    fcgipm_listen_sweep(runtime_dir);
    fcgipm_registry_reset(registry);
    return APR_SUCCESS;
}
