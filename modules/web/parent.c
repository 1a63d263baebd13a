/* SPDX-License-Identifier: Apache-2.0 */
#include "web/parent.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_portable.h>
#include <http_config.h>
#include <http_log.h>
#include <http_main.h>

#include "core/clock.h"
#include "core/log.h"
#include "pm/daemon.h"
#include "share/msg.h"
#include "web/previous.h"

APLOG_USE_MODULE(fcgipm);

/* Of this configuration's code: what it watches, and the pool for as long. */
static fcgipm_state_t *watched;
static apr_pool_t *watched_pconf;

/* --- the log --- */

static void log_to_httpd(void *ctx, int level, apr_status_t status, unsigned scope, const char *line)
{
    server_rec *s = ctx;

    (void)scope;
    ap_log_error(APLOG_MARK, status ? level : level | APLOG_NOERRNO, status, s, "%s", line);
}

/* In a child or the parent httpd's own LogLevel decides. */
void fcgipm_parent_log(server_rec *s)
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

/* --- in the manager --- */

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

static _Noreturn void run_manager(fcgipm_state_t *state, server_rec *s)
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

/* --- the manager, from its parent --- */

static void manager_gone(int reason, void *data, apr_wait_t status);

static void watch_process(pid_t pid)
{
    apr_proc_t *proc = apr_pcalloc(watched_pconf, sizeof *proc);

    proc->pid = pid;
    apr_proc_other_child_register(proc, manager_gone, proc, NULL, watched_pconf);
}

#define UNREAD_MAX 1000

/* What the last manager has not read is older than what the next one is born with. */
static void drop_orders(const fcgipm_state_t *state)
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

static apr_status_t fork_manager(fcgipm_state_t *state, server_rec *s)
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
    watch_process(state->manager);
    FCGIPM_LOG(642, FCGIPM_LOG_INFO, 0, 0, "manager started, pid %d", (int)pid);
    return APR_SUCCESS;
}

static bool httpd_stopping(void)
{
    int mpm_state = AP_MPMQ_STOPPING;

    return ap_mpm_query(AP_MPMQ_MPM_STATE, &mpm_state) != APR_SUCCESS || mpm_state == AP_MPMQ_STOPPING;
}

/* Five deaths in ten seconds are no accident: then the next try waits for httpd's monitor hook. */
static bool dies_too_often(fcgipm_state_t *state)
{
    apr_time_t now = fcgipm_clock_steady_us();

    if (now - state->deaths_since_us > apr_time_from_sec(10)) {
        state->deaths_since_us = now;
        state->deaths = 0;
    }
    return ++state->deaths > 5;
}

static void manager_died(fcgipm_state_t *state, apr_wait_t status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

    state->manager = 0;
    if (httpd_stopping())
        return;
    if (code == FCGIPM_DAEMON_LEFT) {
        fork_manager(state, ap_server_conf);
    } else if (code == FCGIPM_DAEMON_BROKEN || dies_too_often(state)) {
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
        if (watched && watched->manager == proc->pid)
            manager_died(watched, status);
        else if (watched)
            fcgipm_previous_died(watched, proc->pid, reason == APR_OC_REASON_DEATH ? status : -1);
        break;
    case APR_OC_REASON_RESTART:
        /* httpd begins a restart: the manager stays, the next post_config registers it again. */
        apr_proc_other_child_unregister(data);
        break;
    default:
        break;
    }
}

void fcgipm_parent_watch(fcgipm_state_t *state, apr_pool_t *pconf)
{
    watched = state;
    watched_pconf = pconf;
    for (fcgipm_state_root_t *r = state->root.previous; r; r = r->previous)
        if (fcgipm_previous_lives(state, r))
            watch_process(r->manager);
        else
            fcgipm_previous_let_go(r);
}

void fcgipm_parent_tend(fcgipm_state_t *state, server_rec *s)
{
    if (httpd_stopping())
        return;
    if (state->manager == 0)
        fork_manager(state, s);
    fcgipm_previous_tend_orphans(state);
}

static bool manager_lives(fcgipm_state_t *state)
{
    int status;

    if (state->manager == 0)
        return false;
    if (waitpid(state->manager, &status, WNOHANG) == 0)
        return true;
    state->manager = 0;
    return false;
}

void fcgipm_parent_stop(fcgipm_state_t *state)
{
    apr_time_t limit = fcgipm_clock_steady_us() + state->stop_us + apr_time_from_sec(6);
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

/* Which mod_fcgipm.so we are: another file of the same layout may have been installed before a graceful
 * restart. */
static uint64_t image_of_module(void)
{
    struct stat st;
    Dl_info info;

    if (!dladdr(&watched, &info) || !info.dli_fname || stat(info.dli_fname, &st) < 0)
        return 0;
    return (uint64_t)st.st_ino * 0x100000001b3ull ^ (uint64_t)st.st_mtim.tv_sec << 20 ^
           (uint64_t)st.st_mtim.tv_nsec ^ (uint64_t)st.st_size << 40;
}

/* It leaves without touching a worker, and the next one, of our code, adopts them. */
static void send_away(fcgipm_state_t *state)
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

apr_status_t fcgipm_parent_tell(fcgipm_state_t *state, server_rec *s)
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
    watch_process(state->manager);
    return APR_SUCCESS;
}
