/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/spawn.h"

#include <errno.h>
#include <stdbool.h>
#include <fcntl.h>
#include <poll.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#include "pm/limits.h"

#define FCGIPM_SPAWN_ENV_MAX 1024

int fcgipm_spawn_try_ms = 10000;

/* php-cgi ends by itself after 500 requests if nobody says otherwise, whoever waits; FcgiRecycle has its
 * successor ready before. */
static const char *const defaults[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "PHP_FCGI_MAX_REQUESTS=0"};
#define DEFAULTS (sizeof defaults / sizeof *defaults)

static const char *program_directory(const char *program, apr_pool_t *pool)
{
    const char *slash = strrchr(program, '/');

    return slash && slash != program ? apr_pstrmemdup(pool, program, (apr_size_t)(slash - program)) : "/";
}

static bool same_name(const char *entry, const char *other)
{
    size_t len = strcspn(entry, "=") + 1;

    return !strncmp(entry, other, len);
}

static apr_array_header_t *environment(const fcgipm_setting_t *s, apr_pool_t *pool)
{
    apr_array_header_t *env = apr_array_make(pool, 8, sizeof(const char *));

    for (int i = 0; s->env && i < s->env->nelts; i++)
        APR_ARRAY_PUSH(env, const char *) = APR_ARRAY_IDX(s->env, i, const char *);
    for (size_t k = 0; k < DEFAULTS; k++) {
        int i = 0;

        while (i < env->nelts && !same_name(defaults[k], APR_ARRAY_IDX(env, i, const char *)))
            i++;
        if (i == env->nelts)
            APR_ARRAY_PUSH(env, const char *) = defaults[k];
    }
    APR_ARRAY_PUSH(env, const char *) = apr_pstrcat(pool, "FCGIPM_POOL=", s->name, NULL);
    return env;
}

apr_status_t fcgipm_spawn_plan(fcgipm_spawn_plan_t *plan, const fcgipm_setting_t *s,
                               const fcgipm_jail_host_t *host, apr_pool_t *pool, fcgipm_fault_t *fault)
{
    const char **argv = apr_pcalloc(pool, sizeof(char *) * ((size_t)s->command->nelts + 1));
    apr_status_t rv;

    memcpy(argv, s->command->elts, sizeof(char *) * (size_t)s->command->nelts);
    plan->argv = s->suexec ? fcgipm_suexec_argv(s, pool) : argv;
    plan->directory = s->directory && !s->suexec ? s->directory : program_directory(argv[0], pool);
    plan->mark_prefix = s->suexec ? FCGIPM_SUEXEC_MARK : "";
    plan->umask = s->umask;
    plan->env = environment(s, pool);
    plan->jail = fcgipm_jail_of(s);
    plan->setting = s;
    rv = plan->jail->prepare(&plan->cell, s, host, fault);
    return rv == APR_SUCCESS ? fcgipm_spawn_person(&plan->person, s, host, fault) : rv;
}

apr_status_t fcgipm_spawn_person(fcgipm_jail_cell_t *person, const fcgipm_setting_t *s,
                                 const fcgipm_jail_host_t *host, fcgipm_fault_t *fault)
{
    return fcgipm_jail_unix.prepare(person, s, host, fault);
}

static int reset_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Of what the manager has open only this; so that there is room for the rest even when it has no more. */
static void keep_only(int listen_fd, int output_fd, int cgroup_fd, int report_fd)
{
    const int keep[] = {listen_fd, output_fd, cgroup_fd, report_fd};
    int from = 3;

    for (;;) {
        int next = INT_MAX;

        for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
            next = keep[i] >= from && keep[i] < next ? keep[i] : next;
        if (next > from)
            syscall(SYS_close_range, (unsigned)from, next == INT_MAX ? ~0u : (unsigned)next - 1, 0u);
        if (next == INT_MAX)
            return;
        from = next + 1;
    }
}

/* 0 = socket, 1 and 2 = output, report_fd stays until exec, all else is closed. */
static int place_descriptors(int listen_fd, int output_fd, int *report_fd)
{
    int high = fcntl(*report_fd, F_DUPFD_CLOEXEC, 10);
    int in = fcntl(listen_fd, F_DUPFD_CLOEXEC, 10), out = fcntl(output_fd, F_DUPFD_CLOEXEC, 10);

    if (high < 0 || in < 0 || out < 0)
        return -1;
    *report_fd = high;
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        return -1;
    if (high > 3 && syscall(SYS_close_range, 3u, (unsigned)high - 1, 0u) < 0)
        return -1;
    return (int)syscall(SYS_close_range, (unsigned)high + 1, ~0u, 0u);
}

static struct rlimit inherited; /* rlim_max 0: as it is */

void fcgipm_spawn_raise_limits(void)
{
    struct rlimit most;

    if (getrlimit(RLIMIT_NOFILE, &inherited) != 0 || inherited.rlim_cur >= inherited.rlim_max)
        return;
    most = inherited;
    most.rlim_cur = most.rlim_max;
    setrlimit(RLIMIT_NOFILE, &most);
}

/* clone3 with CLONE_INTO_CGROUP (Linux 5.7); the headers may be older. */
#define INTO_CGROUP 0x200000000ull
typedef struct clone_words {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
        cgroup;
} clone_words_t;

/* *inside: the child is in the group already. A container may forbid clone3, then it goes there by itself. */
static pid_t fork_into(int cgroup_fd, bool *inside)
{
    clone_words_t words = {.flags = INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup_fd};
    pid_t pid;

    *inside = cgroup_fd >= 0;
    if (*inside && (pid = (pid_t)syscall(SYS_clone3, &words, sizeof words)) >= 0)
        return pid;
    *inside = false;
    return fork();
}

/* Until the child has handlers of its own a signal to it must not run ours, which would tell us to stop. */
static pid_t fork_blocked(int cgroup_fd, bool *inside)
{
    sigset_t all, before;
    pid_t pid;
    int error;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid = fork_into(cgroup_fd, inside);
    error = errno;
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return pid;
}

pid_t fcgipm_spawn_blocked(void)
{
    bool inside;

    return fork_blocked(-1, &inside);
}

static int enter_group(int cgroup_fd)
{
    int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 || write(fd, "0", 1) != 1 ? -1 : 0; /* place_descriptors closes it */
}

static _Noreturn void fail(int report_fd, const fcgipm_step_t *step)
{
    ssize_t ignored = write(report_fd, step, sizeof *step);

    (void)ignored;
    _exit(127);
}

/* From the manager to the application's user, in its walls and its directory. 0, or -1 and the step. */
static int shut_in(const fcgipm_spawn_plan_t *plan, fcgipm_step_t *step)
{
    umask((mode_t)plan->umask);
    if (fcgipm_limits_prepare(plan->setting, step) < 0 || plan->jail->enter(&plan->cell, step) < 0)
        return -1;
    /* As the user: a directory that he cannot enter is his fault to see. */
    if (chdir(plan->directory) < 0)
        return fcgipm_step_failed(step, errno, "%s %.140s as uid %u",
                                  plan->setting->directory ? "FcgiDirectory" : "the program's directory",
                                  plan->directory, (unsigned)geteuid());
    return fcgipm_limits_set(plan->setting, step);
}

/* The kernel says of an interpreter that it is not there what it says of the file itself. */
static void exec_failed(fcgipm_step_t *step, int error, const char *program)
{
    bool there = error == ENOENT && access(program, F_OK) == 0;

    fcgipm_step_failed(step, error,
                       there ? "exec of its interpreter (the #! line, without a CR at its end, or ld.so)"
                             : "exec");
}

static _Noreturn void child(const fcgipm_spawn_plan_t *plan, const char *const *env, int listen_fd,
                            int output_fd, int cgroup_fd, int report_fd)
{
    fcgipm_step_t step = {0};

    keep_only(listen_fd, output_fd, cgroup_fd, report_fd);
    if (cgroup_fd >= 0 && enter_group(cgroup_fd) < 0)
        fcgipm_step_failed(&step, errno, "control group");
    else if (reset_signals() < 0 || setsid() < 0)
        fcgipm_step_failed(&step, errno, "session");
    else if (place_descriptors(listen_fd, output_fd, &report_fd) < 0)
        fcgipm_step_failed(&step, errno, "descriptors");
    else {
        if (inherited.rlim_max)
            setrlimit(RLIMIT_NOFILE, &inherited);
        if (shut_in(plan, &step) == 0) {
            execve(plan->argv[0], (char *const *)plan->argv, (char *const *)env);
            exec_failed(&step, errno, plan->argv[0]);
        }
    }
    fail(report_fd, &step);
}

apr_status_t fcgipm_spawn_fork(pid_t *pid, int *report_fd, const fcgipm_spawn_plan_t *plan,
                               const char *marker, int listen_fd, int output_fd, int cgroup_fd,
                               fcgipm_fault_t *fault)
{
    const char *env[FCGIPM_SPAWN_ENV_MAX];
    char mark[FCGIPM_MARK_MAX];
    int pipe_fds[2];
    bool inside;

    if (plan->env->nelts + 2 > FCGIPM_SPAWN_ENV_MAX)
        return fcgipm_fault_set(fault, APR_ENOSPC, "environment", "more than %d variables",
                                FCGIPM_SPAWN_ENV_MAX - 2);
    memcpy(env, plan->env->elts, sizeof(char *) * (size_t)plan->env->nelts);
    apr_snprintf(mark, sizeof mark, "%s%s", plan->mark_prefix, marker);
    env[plan->env->nelts] = mark;
    env[plan->env->nelts + 1] = NULL;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return fcgipm_fault_set(fault, APR_FROM_OS_ERROR(errno), "pipe", "cannot make a pipe: %s",
                                strerror(errno));
    fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
    *pid = fork_blocked(cgroup_fd, &inside);
    if (*pid < 0) {
        int error = errno;

        close(pipe_fds[0]);
        close(pipe_fds[1]);
        return fcgipm_fault_set(fault, APR_FROM_OS_ERROR(error), "fork", "cannot fork: %s", strerror(error));
    }
    if (*pid == 0)
        child(plan, env, listen_fd, output_fd, inside ? -1 : cgroup_fd, pipe_fds[1]);
    close(pipe_fds[1]);
    *report_fd = pipe_fds[0];
    return APR_SUCCESS;
}

int fcgipm_spawn_report(int report_fd, fcgipm_fault_t *fault)
{
    fcgipm_step_t step;
    ssize_t n = read(report_fd, &step, sizeof step);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : 1;
    if (n != sizeof step)
        return 1;
    step.text[sizeof step.text - 1] = '\0';
    if (step.error)
        fcgipm_fault_set(fault, APR_FROM_OS_ERROR(step.error), "start", "%s failed: %s", step.text,
                         strerror(step.error));
    else
        fcgipm_fault_set(fault, APR_EGENERAL, "start", "%s", step.text);
    return -1;
}

/* Without a session, descriptors and exec of its own, which need none of the settings. */
static _Noreturn void try_child(const fcgipm_spawn_plan_t *plan, int report_fd)
{
    fcgipm_step_t step = {0};

    if (shut_in(plan, &step) < 0)
        fail(report_fd, &step);
    if (access(plan->argv[0], X_OK) < 0) {
        fcgipm_step_failed(&step, errno, "FcgiCommand %.140s as uid %u", plan->argv[0], (unsigned)geteuid());
        fail(report_fd, &step);
    }
    _exit(0);
}

apr_status_t fcgipm_spawn_try(const fcgipm_spawn_plan_t *plan, fcgipm_fault_t *fault)
{
    int pipe_fds[2], result = 0;
    struct pollfd pfd = {.events = POLLIN};
    pid_t pid;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0 || (pid = fcgipm_spawn_blocked()) < 0)
        return fcgipm_fault_set(fault, APR_FROM_OS_ERROR(errno), "start", "cannot fork: %s", strerror(errno));
    if (pid == 0)
        try_child(plan, pipe_fds[1]);
    close(pipe_fds[1]);
    pfd.fd = pipe_fds[0];
    /* Whoever runs as this user already may stop it, or have it wait in a directory of his. */
    if (poll(&pfd, 1, fcgipm_spawn_try_ms) > 0)
        while ((result = fcgipm_spawn_report(pipe_fds[0], fault)) == 0)
            ;
    else
        kill(pid, SIGKILL);
    close(pipe_fds[0]);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (result == 0)
        return fcgipm_fault_set(fault, APR_TIMEUP, "start", "it did not get as far as its program in %d ms",
                                fcgipm_spawn_try_ms);
    return result < 0 ? fault->status : APR_SUCCESS;
}
