/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/slow.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/log.h"
#include "pm/limits.h"
#include "pm/pidfd.h"
#include "pm/scout.h"
#include "pm/stray.h"

#define PAUSE_US  200000 /* between two entries of one pool */
#define LINES_MAX 100
#define ARGS_MAX  64

typedef struct command {
    pid_t pid;               /* 0: free, or over */
    int fd;                  /* -1: free */
    fcgipm_worker_t *worker; /* valid while its generation is ours */
    uint32_t pool, generation;
    pid_t about;
    int64_t until_us;
    unsigned lines;
    char line[512];
    size_t len;
} command_t;

struct fcgipm_slow {
    fcgipm_manager_t *manager;
    command_t commands[FCGIPM_SLOW_COMMANDS];
};

fcgipm_slow_t *fcgipm_slow_create(fcgipm_manager_t *m)
{
    fcgipm_slow_t *slow = apr_pcalloc(m->pool, sizeof *slow);

    slow->manager = m;
    for (unsigned i = 0; i < FCGIPM_SLOW_COMMANDS; i++)
        slow->commands[i].fd = -1;
    return slow;
}

/* --- what /proc says --- */

/* On one line; at most `lines` of them. */
static void in_one_line(char *text, unsigned lines)
{
    for (char *c = text; *c; c++)
        if (*c == '\n') {
            if (--lines == 0 || !c[1]) {
                *c = '\0';
                return;
            }
            *c = ',';
        }
}

typedef struct answer {
    char syscall_line[160], stack[400];
} answer_t;

/* For a scout: whoever reads these can be kept waiting. */
static void ask_kernel(const void *ctx, pid_t pid, void *out)
{
    answer_t *answer = out;

    (void)ctx;
    fcgipm_scout_file(pid, "syscall", answer->syscall_line, sizeof answer->syscall_line);
    fcgipm_scout_file(pid, "stack", answer->stack, sizeof answer->stack);
}

static void proc_story(char *out, size_t cap, pid_t pid)
{
    char wchan[64], state = '?';
    fcgipm_pidfd_stat_t stat;
    answer_t answer;
    long rss = fcgipm_pidfd_status(pid, "\nVmRSS:"), threads = fcgipm_pidfd_status(pid, "\nThreads:");

    if (fcgipm_pidfd_stat(pid, &stat))
        state = stat.state;
    fcgipm_scout_file(pid, "wchan", wchan, sizeof wchan);
    fcgipm_scout_send(&pid, 1, ask_kernel, NULL, &answer, sizeof answer);
    in_one_line(answer.stack, 4);
    answer.syscall_line[strcspn(answer.syscall_line, " \n")] = '\0';
    snprintf(out, cap, "state %c, waits in %s, system call %s, %ld kB resident, %ld threads%s%s", state,
             wchan[0] && strcmp(wchan, "0") ? wchan : "nothing",
             answer.syscall_line[0] ? answer.syscall_line : "?", rss > 0 ? rss : 0, threads > 0 ? threads : 0,
             answer.stack[0] ? ", kernel stack " : "", answer.stack);
}

/* --- a command --- */

static _Noreturn void run(const fcgipm_worker_t *w, int out_fd)
{
    const apr_array_header_t *words = w->app->setting->slow_command;
    const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", NULL};
    const fcgipm_setting_t *s = w->app->setting;
    const char *argv[ARGS_MAX + 2];
    sigset_t none;
    char pid[16];
    fcgipm_step_t step = {0};
    int n = 0, null = open("/dev/null", O_RDONLY);

    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (null < 0 || dup2(null, 0) < 0 || dup2(out_fd, 1) < 0 || dup2(out_fd, 2) < 0)
        _exit(127);
    step.error = fcgipm_cgroup_join(w->app->manager->cgroup, w->leaf);
    syscall(SYS_close_range, 3u, ~0u, 0u);
    for (; n < words->nelts && n < ARGS_MAX; n++)
        argv[n] = APR_ARRAY_IDX(words, n, const char *);
    snprintf(pid, sizeof pid, "%d", (int)w->pid);
    argv[n++] = pid;
    argv[n] = NULL;
    /* Within the application's walls, limits and control group, and as its user also where suexec has made it
     * that: the two are one, so what one can reach the other can, by tracing it. */
    if (step.error) {
        snprintf(step.text, sizeof step.text, "control group");
    } else if (fcgipm_limits_prepare(s, &step) == 0 &&
               fcgipm_jail_unix.enter(&w->app->plan.person, &step) == 0) {
        if (chdir("/") == 0 && fcgipm_limits_set(s, &step) == 0)
            execve(argv[0], (char *const *)argv, (char *const *)env);
        step.error = step.text[0] ? step.error : errno;
    }
    dprintf(2, "cannot run %s: %s%s%s\n", argv[0], step.text, step.text[0] && step.error ? ": " : "",
            step.error ? strerror(step.error) : "");
    _exit(127);
}

static bool start(fcgipm_slow_t *slow, fcgipm_worker_t *w)
{
    command_t *c = slow->commands, *end = c + FCGIPM_SLOW_COMMANDS;
    int fds[2];

    while (c < end && c->fd >= 0)
        c++;
    if (c == end || !w->app->plan_ok || pipe2(fds, O_CLOEXEC) < 0)
        return false;
    c->pid = fcgipm_spawn_blocked();
    if (c->pid == 0)
        run(w, fds[1]);
    close(fds[1]);
    if (c->pid < 0) {
        c->pid = 0;
        close(fds[0]);
        return false;
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    c->fd = fds[0];
    c->worker = w;
    c->pool = w->app->index;
    c->generation = w->generation;
    c->about = w->pid;
    c->until_us = slow->manager->now + FCGIPM_SLOW_LIMIT_US;
    c->lines = 0;
    c->len = 0;
    return true;
}

/* The worker that it was about, if that is still there. */
static fcgipm_worker_t *worker_of(const fcgipm_slow_t *slow, const command_t *c)
{
    const fcgipm_app_t *app = slow->manager->apps[c->pool];

    return app && c->worker >= app->workers && c->worker < app->workers + app->geometry.slot_count &&
                   c->worker->generation == c->generation
               ? c->worker
               : NULL;
}

static void log_line(const fcgipm_slow_t *slow, command_t *c)
{
    const fcgipm_worker_t *w = worker_of(slow, c);

    fcgipm_log_plain(c->line, c->len);
    if (w && c->len && c->lines++ < LINES_MAX)
        FCGIPM_LOG(377, FCGIPM_LOG_WARN, 0, w->app->setting->scope, "pool %s slot %u pid %d: slow: %.*s",
                   w->app->setting->name, w->slot, (int)c->about, (int)c->len, c->line);
    c->len = 0;
}

/* True: it has closed its end. */
static bool take_output(const fcgipm_slow_t *slow, command_t *c)
{
    char bytes[4096];
    ssize_t n;

    for (int round = 0; round < 16; round++) {
        n = read(c->fd, bytes, sizeof bytes);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            if (bytes[i] != '\n')
                c->line[c->len++] = bytes[i];
            if (bytes[i] == '\n' || c->len == sizeof c->line)
                log_line(slow, c);
        }
        if (n < (ssize_t)sizeof bytes)
            return false;
    }
    log_line(slow, c);
    return true;
}

static void end_command(const fcgipm_slow_t *slow, command_t *c)
{
    fcgipm_worker_t *w = worker_of(slow, c);

    if (c->pid) { /* our child and not yet reaped: the number is its own */
        kill(-c->pid, SIGKILL);
        kill(c->pid, SIGKILL);
        /* Not waited for here, fcgipm_reap_children takes it: it has the user of what it looked at, who could
         * trace it and keep its end from us for as long as he likes. */
        fcgipm_stray_untrace(c->pid);
    }
    close(c->fd);
    c->fd = -1;
    c->pid = 0;
    if (w && w->dumped) {
        w->dumped = false;
        slow->manager->again = true;
    }
}

/* --- entries --- */

bool fcgipm_slow_note(fcgipm_worker_t *w, const char *what, uint32_t ms, bool hung)
{
    fcgipm_app_t *app = w->app;
    fcgipm_manager_t *m = app->manager;
    const apr_array_header_t *command = app->setting->slow_command;
    char url[400], story[900];

    if (app->setting->slow_us == 0 || w->pid <= 1 || (!hung && m->now - app->slow_us < PAUSE_US))
        return false;
    app->slow_us = m->now;
    fcgipm_log_escape(url, sizeof url, what, strlen(what));
    proc_story(story, sizeof story, w->pid);
    FCGIPM_LOG(376, FCGIPM_LOG_WARN, 0, app->setting->scope,
               "pool %s slot %u pid %d: %s request, %u ms: %s; %s", app->setting->name, w->slot, (int)w->pid,
               hung ? "hung" : "slow", ms, url, story);
    return command && command->nelts && start(m->slow, w);
}

int fcgipm_slow_fd(const fcgipm_slow_t *slow, unsigned nth)
{
    return nth < FCGIPM_SLOW_COMMANDS ? slow->commands[nth].fd : -1;
}

int64_t fcgipm_slow_tend(fcgipm_slow_t *slow)
{
    int64_t next = INT64_MAX;

    for (command_t *c = slow->commands; c < slow->commands + FCGIPM_SLOW_COMMANDS; c++) {
        if (c->fd < 0)
            continue;
        if (take_output(slow, c) || slow->manager->now >= c->until_us || slow->manager->stopping)
            end_command(slow, c);
        else if (c->until_us < next)
            next = c->until_us;
    }
    return next;
}

void fcgipm_slow_bury(fcgipm_slow_t *slow, pid_t pid)
{
    for (command_t *c = slow->commands; c < slow->commands + FCGIPM_SLOW_COMMANDS; c++)
        if (c->pid == pid) {
            kill(-pid, SIGKILL);
            c->pid = 0;
        }
}
