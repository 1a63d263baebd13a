/* SPDX-License-Identifier: Apache-2.0 */
#include "web/guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <mpm_common.h>
#include <scoreboard.h>
#include <unixd.h>

#include "core/clock.h"
#include "core/log.h"
#include "pm/daemon.h"
#include "share/board.h"
#include "share/children.h"
#include "share/msg.h"
#include "share/wake.h"
#include "web/check.h"
#include "web/compat.h"
#include "web/directive.h"
#include "web/async.h"
#include "web/portion.h"
#include "web/spool.h"

APLOG_USE_MODULE(fcgipm);

/* What outlives restarts. Plain data only: the module's code may be unloaded and mapped elsewhere between two
 * configurations, so no pointer to a function or a static of ours may be in here (PROTOTYPES.md section 3).
 */
/* What every version of this module understands of the state that another one has left: it never changes. */
typedef struct fcgipm_guard_root {
    uint32_t magic, layout;             /* layout: of the rest, and of the regions */
    struct fcgipm_guard_root *previous; /* that of a module which ours has replaced */
    uint32_t upgrades;                  /* how many there are before this one */
    int32_t orders_fd, lifeline_fd;     /* the parent's ends; -1: closed */
    int32_t manager;                    /* pid, 0: none */
    char runtime_dir[128];              /* FcgiRuntimeDir itself */
    void *maps[2];                      /* the parent's to unmap when its manager has gone, ... */
    uint64_t map_sizes[2];
    uint32_t fd_count; /* ... and to close */
    int32_t fds[FCGIPM_CHILDREN_MAX + 16];
} fcgipm_guard_root_t;
#define GUARD_MAGIC 0x66706d47u
/* Made of whatever must be equal for two builds to share the regions. */
#define GUARD_CHANNELS 3u /* what the descriptors in here are: 3 = with the locks of children */
#define GUARD_LAYOUT                                                                                         \
    ((uint32_t)(GUARD_CHANNELS * 97u ^ FCGIPM_BOARD_VERSION * 2654435761u ^                                  \
                FCGIPM_REGISTRY_VERSION * 40503u ^ (uint32_t)sizeof(fcgipm_board_t) ^                        \
                (uint32_t)sizeof(fcgipm_registry_t) << 8 ^ (uint32_t)sizeof(fcgipm_guard_state_t) << 16))

#define UPGRADES_MAX 99 /* without a full stop between them */

typedef struct fcgipm_guard_state {
    fcgipm_guard_root_t root;
    fcgipm_board_t *board;
    fcgipm_registry_t *registry;
    int registry_fd, board_fd, children_fd;
    int orders[2];   /* [0] parent, [1] manager */
    int requests[2]; /* [0] manager, [1] httpd children */
    int lifeline[2]; /* [0] manager reads, [1] parent holds */
    int wake_fds[FCGIPM_CHILDREN_MAX];
    unsigned wake_count;
    pid_t parent, manager;
    uint32_t generation;
    unsigned char *world; /* malloc'ed */
    size_t world_len;
    char *runtime_dir; /* malloc'ed */
    char *cgroup;      /* FcgiCgroup, malloc'ed; NULL: Auto */
    int64_t stop_us;   /* the longest stop= of all pools */
    apr_time_t deaths_since;
    unsigned deaths; /* of the manager within the last 10 s */
    int broken;      /* it said that it cannot run: not before the next configuration */
    uint64_t image;  /* which file the manager's code is from */
    char socket_key[FCGIPM_SOCKET_KEY + 1];
    int begun; /* httpd's generation that was the first with this state */
    struct {
        int64_t since_us, told_us; /* 0: there are none; they have not been told to end */
    } orphans[UPGRADES_MAX + 1]; /* workers of a replaced module whose manager was killed; by its upgrades */
} fcgipm_guard_state_t;

#define FCGIPM_GUARD_KEY "mod_fcgipm: state"

#define ORPHANS_END_US 2000000    /* between TERM and KILL */
#define ORPHANS_MAX_US 3600000000 /* longer than that no httpd child is waited for */

static fcgipm_guard_state_t *guard_state; /* of this configuration's code; found again by key */
static fcgipm_link_t *guard_link;
static apr_pool_t *guard_pconf;

/* --- the log
 * ------------------------------------------------------------------------------------------------------ */

static void log_to_httpd(void *ctx, int level, apr_status_t status, unsigned scope, const char *line)
{
    server_rec *s = ctx;

    (void)scope;
    ap_log_error(APLOG_MARK, status ? level : level | APLOG_NOERRNO, status, s, "%s", line);
}

/* In a child or the parent httpd's own LogLevel decides. */
static void inject_log(server_rec *s)
{
    fcgipm_log_set(log_to_httpd, s, ap_get_server_module_loglevel(s, APLOG_MODULE_INDEX));
}

static int log_descriptor(const server_rec *s)
{
    apr_os_file_t fd;

    if (!s->error_log || apr_os_file_get(&fd, s->error_log) != APR_SUCCESS)
        return -1;
    return fd;
}

/* --- in the manager
 * ------------------------------------------------------------------------------------------------ */

/* A reload may have rotated the log and changed its level; the server_rec here is the manager's own copy,
 * taken at its fork. */
static void manager_config(void *ctx, const fcgipm_world_t *world, int log_fd)
{
    server_rec *s = ctx;
    int fd = log_descriptor(s);

    if (log_fd >= 0) {
        if (fd >= 0 && fd != log_fd && dup3(log_fd, fd, O_CLOEXEC) < 0)
            FCGIPM_LOG(640, FCGIPM_LOG_WARN, APR_FROM_OS_ERROR(errno), 0, "the new error log cannot be used");
        if (fd != log_fd)
            close(log_fd);
    }
    fcgipm_log_level(world->log_level);
}

static _Noreturn void run_manager(fcgipm_guard_state_t *state, server_rec *s)
{
    int log_fd = log_descriptor(s);
    int level = fcgipm_log_max;
    fcgipm_daemon_env_t env = {.board = state->board,
                               .registry = state->registry,
                               .lifeline_fd = state->lifeline[0],
                               .orders_fd = state->orders[1],
                               .requests_fd = state->requests[0],
                               .board_fd = state->board_fd,
                               .children_fd = state->children_fd,
                               .wake_fds = state->wake_fds,
                               .wake_count = state->wake_count,
                               .world = state->world,
                               .world_len = state->world_len,
                               .keep_fds = &log_fd,
                               .keep_count = log_fd >= 0 ? 1 : 0,
                               .on_config = manager_config,
                               .ctx = s};

    /* A belt to the lifeline's braces: some other module's daemon may hold a copy of the pipe. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != state->parent)
        _exit(FCGIPM_DAEMON_STOPPED);
    close(state->lifeline[1]);
    close(state->orders[0]);
    close(state->requests[1]);
    /* httpd's filter by level is done by FCGIPM_LOG; this copy of the server lets everything pass. */
    s->log.level = APLOG_TRACE8;
    s->log.module_levels = NULL;
    fcgipm_log_set(log_to_httpd, s, level);
    _exit(fcgipm_daemon_run(&env));
}

/* --- in the parent
 * ------------------------------------------------------------------------------------------------- */

static void manager_gone(int reason, void *data, apr_wait_t status);
static void previous_died(fcgipm_guard_state_t *state, pid_t pid, int status);
static void tend_orphans(fcgipm_guard_state_t *state);

static void watch_process(pid_t pid)
{
    apr_proc_t *proc = apr_pcalloc(guard_pconf, sizeof *proc);

    proc->pid = pid;
    apr_proc_other_child_register(proc, manager_gone, proc, NULL, guard_pconf);
}

static void watch_manager(fcgipm_guard_state_t *state)
{
    watch_process(state->manager);
}

#define UNREAD_MAX 1000

/* What the last manager has not read is older than what the next one is born with. */
static void drop_orders(const fcgipm_guard_state_t *state)
{
    fcgipm_order_type_t type;
    unsigned char *bytes;
    apr_status_t rv = APR_SUCCESS;
    size_t len;
    int log_fd;

    for (unsigned i = 0; i < UNREAD_MAX && rv != APR_EAGAIN; i++) {
        rv = fcgipm_order_receive(state->orders[1], &type, &bytes, &len, &log_fd);
        free(bytes);
        if (log_fd >= 0)
            close(log_fd);
    }
}

static apr_status_t fork_manager(fcgipm_guard_state_t *state, server_rec *s)
{
    pid_t pid;

    drop_orders(state);
    pid = fork();

    if (pid < 0) {
        apr_status_t rv = APR_FROM_OS_ERROR(errno);
        FCGIPM_LOG(641, FCGIPM_LOG_ERR, rv, 0, "cannot fork the manager");
        return rv;
    }
    if (pid == 0)
        run_manager(state, s);
    state->manager = state->root.manager = pid;
    watch_manager(state);
    FCGIPM_LOG(642, FCGIPM_LOG_INFO, 0, 0, "manager started, pid %d", (int)pid);
    return APR_SUCCESS;
}

static bool httpd_stopping(void)
{
    int mpm_state = AP_MPMQ_STOPPING;

    return ap_mpm_query(AP_MPMQ_MPM_STATE, &mpm_state) != APR_SUCCESS || mpm_state == AP_MPMQ_STOPPING;
}

/* Five deaths in ten seconds are no accident: then the next try waits for httpd's monitor hook. */
static bool dies_too_often(fcgipm_guard_state_t *state)
{
    apr_time_t now = fcgipm_clock_steady_us();

    if (now - state->deaths_since > apr_time_from_sec(10)) {
        state->deaths_since = now;
        state->deaths = 0;
    }
    return ++state->deaths > 5;
}

static void manager_died(fcgipm_guard_state_t *state, apr_wait_t status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

    state->manager = 0;
    if (httpd_stopping())
        return;
    state->broken = code == FCGIPM_DAEMON_BROKEN;
    if (code == FCGIPM_DAEMON_LEFT) {
        fork_manager(state, ap_server_conf);
    } else if (state->broken || dies_too_often(state)) {
        FCGIPM_LOG(643, FCGIPM_LOG_ERR, 0, 0,
                   "manager ended (status 0x%x); the next try comes in some seconds", (unsigned)status);
    } else {
        FCGIPM_LOG(644, FCGIPM_LOG_WARN, 0, 0, "manager died (status 0x%x); the next one adopts the workers",
                   (unsigned)status);
        fork_manager(state, ap_server_conf);
    }
}

static void manager_gone(int reason, void *data, apr_wait_t status)
{
    apr_proc_t *proc = data;

    switch (reason) {
    case APR_OC_REASON_DEATH:
    case APR_OC_REASON_LOST:
        apr_proc_other_child_unregister(data);
        if (guard_state && guard_state->manager == proc->pid)
            manager_died(guard_state, status);
        else if (guard_state)
            previous_died(guard_state, proc->pid, reason == APR_OC_REASON_DEATH ? status : -1);
        break;
    case APR_OC_REASON_RESTART:
        /* httpd begins a restart: the manager stays, the next post_config registers it again. */
        apr_proc_other_child_unregister(data);
        break;
    default:
        break;
    }
}

/* httpd calls it every few seconds: a manager that died while nobody was looking, or too often. */
int fcgipm_guard_monitor(apr_pool_t *pool, server_rec *s)
{
    fcgipm_guard_state_t *state = guard_state;

    (void)pool;
    if (!state || !state->world || getpid() != state->parent || httpd_stopping())
        return DECLINED;
    if (state->manager == 0)
        fork_manager(state, s);
    tend_orphans(state);
    return DECLINED;
}

static bool manager_lives(fcgipm_guard_state_t *state)
{
    int status;

    if (state->manager == 0)
        return false;
    if (waitpid(state->manager, &status, WNOHANG) == 0)
        return true;
    state->manager = 0;
    return false;
}

/* Stop with httpd: the lifeline's end tells the manager to stop every worker; httpd waits for it, so that
 * nothing is left when `apachectl stop` returns. */
static void stop_manager(fcgipm_guard_state_t *state)
{
    apr_time_t limit = fcgipm_clock_steady_us() + state->stop_us + apr_time_from_sec(3);
    int status;

    if (state->manager == 0)
        return;
    close(state->lifeline[1]);
    while (waitpid(state->manager, &status, WNOHANG) == 0) {
        if (fcgipm_clock_steady_us() > limit) {
            FCGIPM_LOG(645, FCGIPM_LOG_ERR, 0, 0, "manager pid %d does not end", (int)state->manager);
            return;
        }
        apr_sleep(5000);
    }
    state->manager = 0;
}

/* --- modules that ours has replaced --- */

static void note_orphans(fcgipm_guard_state_t *state, const fcgipm_guard_root_t *root, int status);

static void orphans_dir(const fcgipm_guard_state_t *state, char *out, size_t cap, unsigned upgrades)
{
    if (upgrades)
        snprintf(out, cap, "%s/v%u", state->root.runtime_dir, upgrades);
    else
        snprintf(out, cap, "%s", state->root.runtime_dir);
}

/* What the module that is being replaced knew of orphans goes with it: its state is not ours to read. A
 * manager that has ended in order has taken its control socket away, too. */
static void inherit_orphans(fcgipm_guard_state_t *state)
{
    char dir[256], path[280];
    struct stat st;

    for (const fcgipm_guard_root_t *r = state->root.previous; r; r = r->previous) {
        orphans_dir(state, dir, sizeof dir, r->upgrades);
        snprintf(path, sizeof path, "%s/control", dir);
        if (!r->manager && (lstat(path, &st) == 0 || fcgipm_daemon_any_orphan(dir)))
            state->orphans[r->upgrades].since_us = fcgipm_clock_steady_us();
    }
}

static bool process_lives(fcgipm_guard_state_t *state, fcgipm_guard_root_t *root)
{
    int status = -1;

    if (root->manager && waitpid(root->manager, &status, WNOHANG) != 0) {
        root->manager = 0;
        note_orphans(state, root, status);
    }
    return root->manager != 0;
}

static void close_once(int32_t *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Their managers go with httpd, too. */
static void stop_previous(fcgipm_guard_state_t *state, apr_time_t limit)
{
    fcgipm_guard_root_t *root = state->root.previous;

    for (fcgipm_guard_root_t *r = root; r; r = r->previous)
        close_once(&r->lifeline_fd);
    for (fcgipm_guard_root_t *r = root; r; r = r->previous)
        while (process_lives(state, r) && fcgipm_clock_steady_us() < limit)
            apr_sleep(5000);
}

/* What is left of upgrades: each had a directory of its own, which its manager has emptied but for the
 * registry. */
static void remove_upgrades(const char *dir)
{
    char path[256];

    for (unsigned i = 1; i <= UPGRADES_MAX; i++) {
        snprintf(path, sizeof path, "%s/v%u/registry", dir, i);
        unlink(path);
        *strrchr(path, '/') = '\0';
        rmdir(path);
    }
}

/* Its manager has gone: the parent lets go of all that the two shared. */
static void let_go(fcgipm_guard_root_t *root)
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

static void watch_previous(fcgipm_guard_state_t *state)
{
    for (fcgipm_guard_root_t *r = state->root.previous; r; r = r->previous)
        if (process_lives(state, r))
            watch_process(r->manager);
        else
            let_go(r);
}

/* One that was killed, or crashed, has left its workers behind. They go on serving the httpd children that
 * know them, and are ended when those are gone. */
static void note_orphans(fcgipm_guard_state_t *state, const fcgipm_guard_root_t *root, int status)
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

static void previous_died(fcgipm_guard_state_t *state, pid_t pid, int status)
{
    for (fcgipm_guard_root_t *r = state->root.previous; r; r = r->previous)
        if (r->manager == pid) {
            r->manager = 0;
            let_go(r);
            note_orphans(state, r, status);
        }
}

/* A child of httpd from before this state; one that has just been reaped still has its row. */
static bool any_older_child(const fcgipm_guard_state_t *state)
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
static bool end_orphans(fcgipm_guard_state_t *state, unsigned upgrades)
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

static void tend_orphans(fcgipm_guard_state_t *state)
{
    for (unsigned i = 0; i <= UPGRADES_MAX; i++) {
        int64_t since_us = state->orphans[i].since_us;

        if (since_us && i != state->root.upgrades &&
            (!any_older_child(state) || fcgipm_clock_steady_us() - since_us > ORPHANS_MAX_US))
            end_orphans(state, i);
    }
}

static void stop_orphans(fcgipm_guard_state_t *state)
{
    for (unsigned i = 0; i <= UPGRADES_MAX; i++)
        while (state->orphans[i].since_us && !end_orphans(state, i))
            apr_sleep(10000);
}

static apr_status_t pconf_gone(void *data)
{
    fcgipm_guard_state_t *state = data;

    if (getpid() == state->parent && ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING) {
        stop_manager(state);
        stop_previous(state, fcgipm_clock_steady_us() + state->stop_us + apr_time_from_sec(3));
        stop_orphans(state);
        if (state->root.upgrades)
            remove_upgrades(state->root.runtime_dir);
    }
    return APR_SUCCESS;
}

/* --- making what is shared
 * ----------------------------------------------------------------------------------------- */

static apr_status_t make_channels(fcgipm_guard_state_t *state)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, state->orders) < 0 ||
        socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, state->requests) < 0 ||
        pipe2(state->lifeline, O_CLOEXEC) < 0)
        return APR_FROM_OS_ERROR(errno);
    return APR_SUCCESS;
}

static apr_status_t make_wakers(fcgipm_guard_state_t *state)
{
    int daemons = 0;

    if (ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &daemons) != APR_SUCCESS || daemons < 1)
        daemons = 256;
    /* During a graceful restart the old children live beside the new ones. */
    state->wake_count = (unsigned)daemons * 2 + 8;
    if (state->wake_count > FCGIPM_CHILDREN_MAX)
        state->wake_count = FCGIPM_CHILDREN_MAX;
    for (unsigned i = 0; i < state->wake_count; i++) {
        state->wake_fds[i] = fcgipm_wake_open();
        if (state->wake_fds[i] < 0)
            return APR_FROM_OS_ERROR(errno);
    }
    return APR_SUCCESS;
}

/* The runtime directory, then the registry in it, then what an earlier server left. */
static apr_status_t make_registry(fcgipm_guard_state_t *state, const char *dir, int64_t wait_us,
                                  apr_pool_t *ptemp, fcgipm_fault_t *fault)
{
    const char *path = apr_pstrcat(ptemp, dir, "/registry", NULL);
    bool leftover = false;
    apr_status_t rv;

    /* First: a file must not be made, nor opened, where a link or somebody else's directory leads to. */
    if ((rv = fcgipm_daemon_directory(dir, fault)) != APR_SUCCESS)
        return rv;
    rv = fcgipm_registry_open(&state->registry, &state->registry_fd, &leftover, path, wait_us, fault);
    if (rv != APR_SUCCESS)
        return rv;
    return fcgipm_daemon_prepare(state->registry, leftover, dir, state->cgroup, ap_unixd_config.user_id,
                                 ap_unixd_config.group_id, fault);
}

/* Directories of upgraded modules that a killed server left: their workers are stopped, and they go. */
static void sweep_upgrades(fcgipm_guard_state_t *state, const char *dir, apr_pool_t *ptemp)
{
    fcgipm_fault_t fault;
    struct stat st;

    for (unsigned i = 1; i <= UPGRADES_MAX; i++) {
        const char *old = apr_psprintf(ptemp, "%s/v%u", dir, i);

        if (lstat(old, &st) < 0 || !S_ISDIR(st.st_mode))
            continue;
        if (make_registry(state, old, apr_time_from_sec(3), ptemp, &fault) != APR_SUCCESS) {
            FCGIPM_LOG(651, FCGIPM_LOG_WARN, fault.status, 0, "%s: %s", old, fault.sentence);
            continue;
        }
        fcgipm_registry_close(state->registry, state->registry_fd);
        unlink(apr_pstrcat(ptemp, old, "/registry", NULL));
        rmdir(old);
    }
}

/* httpd's children connect to what they are told: SetHandler "proxy:unix:..." of an .htaccess could name any
 * pool's socket. And an application may be in httpd's group, or run as its user. They all cannot name what
 * they do not know. */
static apr_status_t make_key(fcgipm_guard_state_t *state)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    unsigned char bytes[FCGIPM_SOCKET_KEY];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return APR_FROM_OS_ERROR(errno);
    for (size_t i = 0; i < sizeof bytes; i++)
        state->socket_key[i] = letters[bytes[i] & 63];
    return APR_SUCCESS;
}

static void list_shared(fcgipm_guard_state_t *state)
{
    const int fds[] = {state->orders[0],   state->orders[1],   state->requests[0],
                       state->requests[1], state->lifeline[0], state->lifeline[1],
                       state->registry_fd, state->board_fd,    state->children_fd};
    fcgipm_guard_root_t *root = &state->root;

    root->maps[0] = state->board;
    root->map_sizes[0] = sizeof *state->board;
    root->maps[1] = state->registry;
    root->map_sizes[1] = sizeof *state->registry;
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        root->fds[root->fd_count++] = fds[i];
    for (unsigned i = 0; i < state->wake_count; i++)
        root->fds[root->fd_count++] = state->wake_fds[i];
}

static apr_status_t make_state(fcgipm_guard_state_t *state, const char *dir, int64_t stop_us,
                               apr_pool_t *ptemp, fcgipm_fault_t *fault)
{
    apr_status_t rv;

    state->parent = getpid();
    if (ap_mpm_query(AP_MPMQ_GENERATION, &state->begun) != APR_SUCCESS)
        state->begun = 0;
    if (!state->root.previous)
        sweep_upgrades(state, dir, ptemp);
    /* An earlier server may still be stopping its workers. */
    if ((rv = make_registry(state, dir, stop_us + apr_time_from_sec(3), ptemp, fault)) != APR_SUCCESS)
        return rv;
    if ((rv = fcgipm_board_create(&state->board, &state->board_fd, fault)) != APR_SUCCESS)
        return rv;
    if ((state->children_fd = fcgipm_children_open()) < 0)
        return fcgipm_fault_set(fault, APR_FROM_OS_ERROR(errno), "children",
                                "no memory for the children's locks");
    if ((rv = make_key(state)) != APR_SUCCESS || (rv = make_channels(state)) != APR_SUCCESS ||
        (rv = make_wakers(state)) != APR_SUCCESS)
        return fcgipm_fault_set(fault, rv, "channels", "cannot make the channels to the manager");
    state->runtime_dir = strdup(dir);
    state->root.magic = GUARD_MAGIC;
    state->root.layout = GUARD_LAYOUT;
    state->root.orders_fd = state->orders[0];
    state->root.lifeline_fd = state->lifeline[1];
    list_shared(state);
    return APR_SUCCESS;
}

/* --- a configuration
 * ----------------------------------------------------------------------------------------------- */

/* What did not find room at a reload, for one line each. */
typedef struct crowd {
    unsigned old, none;
    const char *first_old, *first_none;
    char why[512]; /* of the first */
} crowd_t;

static void tell_crowd(const crowd_t *crowd)
{
    if (crowd->old)
        FCGIPM_LOG(658, FCGIPM_LOG_ERR, 0, 0,
                   "%u changed pools (the first is %s) go on as they were, as there is no room for their new "
                   "definitions beside the old ones; reload again when others have ended (%s)",
                   crowd->old, crowd->first_old, crowd->why);
    if (crowd->none)
        FCGIPM_LOG(659, FCGIPM_LOG_ERR, 0, 0,
                   "%u pools (the first is %s) do not serve before the next reload: %s", crowd->none,
                   crowd->first_none, crowd->why);
}

static apr_status_t assign(const fcgipm_guard_state_t *state, fcgipm_pool_conf_t *pool, fcgipm_world_t *world,
                           crowd_t *crowd, fcgipm_fault_t *fault)
{
    apr_status_t rv;

    if (pool->model.setting) /* a template has no place of its own */
        return APR_SUCCESS;
    pool->world.setting = pool->setting;
    rv = fcgipm_world_assign(state->registry, state->board, &pool->world, fault);
    if ((rv == APR_ENOSPC || pool->world.old) && !*crowd->why)
        apr_cpystrn(crowd->why, fault->sentence, sizeof crowd->why);
    if (rv == APR_ENOSPC && state->generation) { /* at the first start it is an error */
        if (!crowd->none++)
            crowd->first_none = pool->setting->name;
        return APR_SUCCESS;
    }
    if (rv != APR_SUCCESS)
        return rv;
    if (pool->world.old && !crowd->old++)
        crowd->first_old = pool->setting->name;
    APR_ARRAY_PUSH(world->pools, fcgipm_world_pool_t) = pool->world;
    return APR_SUCCESS;
}

static apr_status_t assign_all(const fcgipm_guard_state_t *state, const apr_array_header_t *pools,
                               fcgipm_world_t *world, apr_pool_t *ptemp, fcgipm_fault_t *fault)
{
    unsigned *turns = apr_palloc(ptemp, sizeof *turns * ((size_t)pools->nelts + 1));
    crowd_t crowd = {0};

    for (int i = 0; i < pools->nelts; i++) {
        const fcgipm_pool_conf_t *pool = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *);

        turns[i] = pool->model.setting ? 0 : fcgipm_world_turn(state->registry, state->board, pool->setting);
    }
    for (unsigned turn = 0; turn < FCGIPM_WORLD_TURNS; turn++)
        for (int i = 0; i < pools->nelts; i++) {
            apr_status_t rv = APR_SUCCESS;

            if (turns[i] == turn)
                rv = assign(state, APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *), world, &crowd, fault);
            if (rv != APR_SUCCESS)
                return rv;
        }
    tell_crowd(&crowd);
    return APR_SUCCESS;
}

/* What templates need: they themselves, and all virtual hosts. Two of the same name in virtual hosts of the
 * same name could not be told apart. */
static apr_status_t compile_templates(fcgipm_world_t *world, server_rec *s, apr_array_header_t *pools,
                                      apr_pool_t *ptemp, fcgipm_fault_t *fault)
{
    apr_hash_t *keys = apr_hash_make(ptemp);

    for (int i = 0; i < pools->nelts; i++) {
        const fcgipm_pool_conf_t *pool = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *);
        fcgipm_world_template_t model = pool->model;

        if (!model.setting)
            continue;
        /* (When the block was read ServerName may have stood below it.) */
        model.vhost = fcgipm_directive_vhost(ptemp, pool->server);
        if (apr_hash_get(keys, &pool->model.key, sizeof pool->model.key))
            return fcgipm_fault_set(
                fault, APR_EINVAL, "configuration",
                "%s: <FcgiServerTemplate %s> is also in another virtual host with the same "
                "ServerName and port; give one of them another name",
                pool->place, pool->setting->name);
        apr_hash_set(keys, &pool->model.key, sizeof pool->model.key, pool);
        APR_ARRAY_PUSH(world->templates, fcgipm_world_template_t) = model;
    }
    for (; s && world->templates->nelts; s = s->next)
        APR_ARRAY_PUSH(world->sites, fcgipm_world_site_t) = *fcgipm_directive_site(guard_pconf, s);
    return APR_SUCCESS;
}

static apr_status_t compile_world(fcgipm_guard_state_t *state, server_rec *s, apr_array_header_t *pools,
                                  apr_pool_t *ptemp, fcgipm_fault_t *fault)
{
    fcgipm_world_t world = {.generation = state->generation + 1,
                            .uid = ap_unixd_config.user_id,
                            .gid = ap_unixd_config.group_id,
                            .log_level = fcgipm_log_max,
                            .scripts = fcgipm_directive_scripts(),
                            .global = fcgipm_directive_server(s)->global,
                            .runtime_dir = state->runtime_dir,
                            .cgroup = state->cgroup,
                            .user_limits = fcgipm_directive_server(s)->user_limits,
                            .pools = apr_array_make(ptemp, pools->nelts + 1, sizeof(fcgipm_world_pool_t)),
                            .templates = apr_array_make(ptemp, 4, sizeof(fcgipm_world_template_t)),
                            .sites = apr_array_make(ptemp, 64, sizeof(fcgipm_world_site_t))};
    unsigned char *bytes;
    size_t len;
    apr_status_t rv = compile_templates(&world, s, pools, ptemp, fault);

    if (rv == APR_SUCCESS)
        rv = assign_all(state, pools, &world, ptemp, fault);
    if (rv != APR_SUCCESS)
        return rv;
    if ((rv = fcgipm_world_write(&world, &bytes, &len)) != APR_SUCCESS)
        return fcgipm_fault_set(fault, rv, "configuration", "cannot write the configuration for the manager");
    free(state->world);
    state->world = bytes;
    state->world_len = len;
    state->generation++;
    return APR_SUCCESS;
}

/* Which mod_fcgipm.so we are: another file of the same layout may have been installed before a graceful
 * restart. */
static uint64_t image_of_module(void)
{
    struct stat st;
    Dl_info info;

    if (!dladdr(&guard_state, &info) || !info.dli_fname || stat(info.dli_fname, &st) < 0)
        return 0;
    return (uint64_t)st.st_ino * 0x100000001b3ull ^ (uint64_t)st.st_mtim.tv_sec << 20 ^
           (uint64_t)st.st_mtim.tv_nsec ^ (uint64_t)st.st_size << 40;
}

/* It leaves without touching a worker, and the next one, of our code, adopts them. */
static void send_away(fcgipm_guard_state_t *state)
{
    apr_time_t limit = fcgipm_clock_steady_us() + apr_time_from_sec(2);

    FCGIPM_LOG(653, FCGIPM_LOG_NOTICE, 0, 0, "the module has been installed anew: its manager is replaced");
    fcgipm_order_send(state->orders[0], FCGIPM_ORDER_LEAVE, NULL, 0, -1);
    while (manager_lives(state)) {
        if (fcgipm_clock_steady_us() > limit)
            kill(state->manager, SIGKILL);
        apr_sleep(2000);
    }
}

/* The running manager is told; if it cannot be told it is replaced, and the next one adopts the workers. */
static apr_status_t tell_manager(fcgipm_guard_state_t *state, server_rec *s)
{
    uint64_t image = image_of_module();
    apr_status_t rv;

    if (manager_lives(state) && state->image != image)
        send_away(state);
    state->image = image;
    if (!manager_lives(state))
        return fork_manager(state, s);
    rv = fcgipm_order_send(state->orders[0], FCGIPM_ORDER_CONFIG, state->world, state->world_len,
                           log_descriptor(s));
    if (rv != APR_SUCCESS) {
        FCGIPM_LOG(646, FCGIPM_LOG_ERR, rv, 0,
                   "manager pid %d does not take the new configuration: replacing it", (int)state->manager);
        kill(state->manager, SIGKILL);
        waitpid(state->manager, NULL, 0);
        state->manager = 0;
        return fork_manager(state, s);
    }
    watch_manager(state);
    return APR_SUCCESS;
}

static int64_t longest_stop(const apr_array_header_t *pools)
{
    int64_t longest = 0;

    for (int i = 0; i < pools->nelts; i++) {
        int64_t stop = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *)->setting->stop_us;
        longest = stop > longest ? stop : longest;
    }
    return longest ? longest : apr_time_from_sec(10);
}

int fcgipm_guard_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void)plog;
    inject_log(s);
    if (!fcgipm_compat_finish(pconf, s))
        return !OK;
    fcgipm_directive_settle(pconf, s);
    if (fcgipm_directive_pools(ptemp, s)->nelts)
        fcgipm_async_check(s, fcgipm_directive_server(s)->global.async);
    return fcgipm_check_config(pconf, ptemp, s) ? OK : !OK;
}

/* A module with another layout has left its state: its manager and workers serve its httpd children until
 * those have gone; ours begins anew beside it. Returns the directory for that. */
static const char *take_over(fcgipm_guard_state_t *state, fcgipm_guard_root_t *previous, const char *dir,
                             apr_pool_t *ptemp)
{
    apr_cpystrn(state->root.runtime_dir, previous ? previous->runtime_dir : dir,
                sizeof state->root.runtime_dir);
    if (!previous)
        return dir;
    state->root.previous = previous;
    state->root.upgrades = previous->upgrades % UPGRADES_MAX + 1;
    if (previous->manager)
        fcgipm_order_send(previous->orders_fd, FCGIPM_ORDER_RETIRE, NULL, 0, -1);
    inherit_orphans(state);
    FCGIPM_LOG(652, FCGIPM_LOG_NOTICE, 0, 0,
               "another version of the module was running: its workers serve until its requests are done");
    return apr_psprintf(ptemp, "%s/v%u", state->root.runtime_dir, state->root.upgrades);
}

int fcgipm_guard_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    apr_array_header_t *pools;
    fcgipm_guard_state_t *state;
    fcgipm_guard_root_t *previous = NULL;
    fcgipm_fault_t fault;
    const char *dir = fcgipm_directive_server(s)->runtime_dir, *groups = fcgipm_directive_server(s)->cgroup;

    (void)plog;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
        return OK;
    inject_log(s);
    guard_pconf = pconf;
    guard_state = state = ap_retained_data_get(FCGIPM_GUARD_KEY);
    pools = fcgipm_directive_pools(ptemp, s);
    if (!state && pools->nelts == 0 && !fcgipm_directive_scripts())
        return OK;
    fcgipm_fault_clear(&fault);
    if (state && (state->root.magic != GUARD_MAGIC || state->root.layout != GUARD_LAYOUT)) {
        previous = &state->root;
        state = NULL;
    }
    if (!state) {
        state = ap_retained_data_create(FCGIPM_GUARD_KEY, sizeof *state);
        if (!dir)
            dir = ap_runtime_dir_relative(ptemp, "fcgipm");
        dir = take_over(state, previous, dir, ptemp);
        state->cgroup = groups ? strdup(groups) : NULL;
        if (make_state(state, dir, longest_stop(pools), ptemp, &fault) != APR_SUCCESS) {
            FCGIPM_LOG(647, FCGIPM_LOG_ERR, fault.status, 0, "cannot start (%s): %s", fault.step,
                       fault.sentence);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
        guard_state = state;
    } else if (dir && strcmp(dir, state->root.runtime_dir)) {
        FCGIPM_LOG(648, FCGIPM_LOG_WARN, 0, 0,
                   "FcgiRuntimeDir %s is not used before httpd is stopped and started; still %s", dir,
                   state->root.runtime_dir);
    }
    if (strcasecmp(groups ? groups : "Auto", state->cgroup ? state->cgroup : "Auto"))
        FCGIPM_LOG(416, FCGIPM_LOG_WARN, 0, 0,
                   "FcgiCgroup %s is not used before httpd is stopped and started; still %s",
                   groups ? groups : "Auto", state->cgroup ? state->cgroup : "Auto");
    fcgipm_wake_register(state->wake_fds, state->wake_count);
    fcgipm_board_socket_key(state->socket_key);
    if (compile_world(state, s, pools, ptemp, &fault) != APR_SUCCESS) {
        FCGIPM_LOG(649, FCGIPM_LOG_ERR, fault.status, 0, "%s", fault.sentence);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    fcgipm_portion_prepare(pconf, s);
    state->stop_us = longest_stop(pools);
    state->broken = 0;
    watch_previous(state);
    apr_pool_cleanup_register(pconf, state, pconf_gone, apr_pool_cleanup_null);
    return tell_manager(state, s) == APR_SUCCESS ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

/* --- in httpd's children
 * ------------------------------------------------------------------------------------------- */

/* What a child must not hold: it could keep a dead parent's lifeline open, or read the registry. */
static void drop_parents_things(fcgipm_guard_state_t *state)
{
    for (fcgipm_guard_root_t *r = state->root.previous; r; r = r->previous)
        let_go(r); /* this process has a copy of all that: the registry of a replaced module, too */
    close(state->lifeline[0]);
    close(state->lifeline[1]);
    close(state->orders[0]);
    close(state->orders[1]);
    close(state->requests[0]);
    close(state->board_fd);
    fcgipm_registry_close(state->registry, state->registry_fd);
    state->registry = NULL;
}

void fcgipm_guard_child_init(apr_pool_t *pchild, server_rec *s)
{
    fcgipm_guard_state_t *state = guard_state;
    fcgipm_link_env_t env;
    apr_status_t rv;

    if (!state)
        return;
    if (getpid() != state->parent) /* httpd -X: one process is both */
        drop_parents_things(state);
    fcgipm_async_child_init(s, fcgipm_directive_server(s)->global.async);
    fcgipm_spool_limit(fcgipm_portion_memory(s));
    fcgipm_board_sign(state->board); /* it is ours, the layout says; another child may have written over it */
    env = (fcgipm_link_env_t){.board = state->board,
                              .requests_fd = state->requests[1],
                              .children_fd = state->children_fd,
                              .wake_fds = state->wake_fds,
                              .wake_count = state->wake_count,
                              .generation = state->generation,
                              .runtime_dir = state->runtime_dir};
    rv = fcgipm_link_create(&guard_link, &env, pchild);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, "FPM0650: this child cannot reach applications");
}

void fcgipm_guard_child_gone(void)
{
    fcgipm_guard_state_t *state = guard_state;
    fcgipm_msg_t look = {.version = FCGIPM_MSG_VERSION, .type = FCGIPM_MSG_BAD, .pool = FCGIPM_DAEMON_LOOK};

    if (!state || !state->registry)
        return;
    /* All: it may have ended because it, or who had it in hand, wrote where it must not; and before the next
     * one is made. */
    fcgipm_children_bury(state->board, state->registry, state->children_fd, true);
    tend_orphans(state);
    fcgipm_msg_send(state->requests[1], &look);
}

fcgipm_link_t *fcgipm_guard_link(void)
{
    return guard_link;
}

const fcgipm_board_t *fcgipm_guard_board(void)
{
    return guard_state ? guard_state->board : NULL;
}
