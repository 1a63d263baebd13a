/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "pm/daemon.h"
#include "pm/lack.h"
#include "pm/slow.h"
#include "share/msg.h"

/* --- signals, as bytes in a pipe --- */

static int signal_pipe = -1;

static void on_signal(int sig)
{
    int error = errno;
    char byte = sig == SIGCHLD ? 'c' : 't';
    ssize_t ignored = write(signal_pipe, &byte, 1);

    (void)ignored;
    errno = error;
}

static bool catch_signals(fcgipm_manager_t *m)
{
    static const int caught[] = {SIGCHLD, SIGTERM, SIGINT}, ignored[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigset_t none;

    if (pipe2(m->signal_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return false;
    signal_pipe = m->signal_fds[1];
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
        sigaction(caught[i], &act, NULL);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return true;
}

/* --- stopping --- */

static void each_worker(fcgipm_manager_t *m, void (*act)(fcgipm_worker_t *w))
{
    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++)
            act(&m->apps[i]->workers[slot]);
}

static void stop_worker(fcgipm_worker_t *w)
{
    w->hung = false;
    fcgipm_worker_stop(w, w->app->setting->stop_us, FCGIPM_LEAVE_TOLD, "httpd stops");
}

void fcgipm_loop_stop(fcgipm_manager_t *m)
{
    if (m->stopping)
        return;
    m->stopping = true;
    each_worker(m, stop_worker);
}

/* But for those that nothing ends: with our lock held, nobody could start httpd again. */
static bool any_process(const fcgipm_manager_t *m)
{
    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++)
            if (m->apps[i]->workers[slot].pid && !fcgipm_worker_undead(&m->apps[i]->workers[slot]))
                return true;
    return false;
}

/* --- messages --- */

static void on_config(fcgipm_manager_t *m, const unsigned char *bytes, size_t len, int log_fd)
{
    apr_pool_t *pool;
    fcgipm_world_t *world;
    fcgipm_fault_t fault;

    apr_pool_create(&pool, m->pool);
    if (fcgipm_world_read(&world, bytes, len, pool, &fault) != APR_SUCCESS) {
        /* Made by another version of the module: that one brings its own manager, which finds the workers. */
        FCGIPM_LOG(350, FCGIPM_LOG_NOTICE, 0, 0,
                   "the configuration is not for this manager (%s): leaving the workers to the "
                   "next",
                   fault.sentence);
        apr_pool_destroy(pool);
        if (log_fd >= 0)
            close(log_fd);
        m->exit_code = FCGIPM_DAEMON_LEFT;
        return;
    }
    if (m->env->on_config)
        m->env->on_config(m->env->ctx, world, log_fd);
    else if (log_fd >= 0)
        close(log_fd);
    fcgipm_manager_reconcile(m, world);
    apr_pool_destroy(m->world_pool);
    m->world = world;
    m->world_pool = pool;
}

#define RETIRE_US 3600000000 /* longer than that nobody is waited for */

static void retire(fcgipm_manager_t *m)
{
    m->retiring = true;
    m->retire_by_us = m->now + RETIRE_US;
    FCGIPM_LOG(
        381, FCGIPM_LOG_NOTICE, 0, 0,
        "another version of the module has taken over; these workers serve until the last httpd child of "
        "this one is gone");
}

static void on_order(fcgipm_manager_t *m)
{
    fcgipm_order_type_t type;
    unsigned char *bytes;
    size_t len;
    int log_fd;

    while (m->exit_code < 0 &&
           fcgipm_order_receive(m->env->orders_fd, &type, &bytes, &len, &log_fd) == APR_SUCCESS) {
        if (type == FCGIPM_ORDER_LEAVE)
            m->exit_code = FCGIPM_DAEMON_LEFT;
        else if (type == FCGIPM_ORDER_RETIRE)
            retire(m);
        else if (type == FCGIPM_ORDER_CONFIG && bytes && !m->stopping)
            on_config(m, bytes, len, log_fd);
        free(bytes);
    }
}

/* A request from an httpd child: every number is looked up in our own table. */
static fcgipm_worker_t *meant_worker(fcgipm_manager_t *m, const fcgipm_msg_t *msg)
{
    fcgipm_app_t *app = msg->pool < FCGIPM_POOLS_MAX ? m->apps[msg->pool] : NULL;
    fcgipm_worker_t *w;

    if (!app || msg->slot >= app->geometry.slot_count)
        return NULL;
    w = &app->workers[msg->slot];
    return w->generation == msg->generation && w->pid && w->state == FCGIPM_SLOT_READY ? w : NULL;
}

/* A hung worker is killed; one that has other requests as well is replaced first and may finish those. If the
 * slow log has a command to look at it, it lives until that has ended. */
static void on_hung(fcgipm_worker_t *w, const fcgipm_msg_t *msg)
{
    int64_t kill_us = w->app->setting->stop_us < 2000000 ? w->app->setting->stop_us : 2000000;
    bool dumping = fcgipm_slow_note(w, msg->path, msg->ms, true);
    char story[160];

    snprintf(story, sizeof story, "slot %u pid %d: a request hung, %u ms", w->slot, (int)w->pid, msg->ms);
    fcgipm_app_trouble(w->app, story);
    if (w->places > 1 && fcgipm_worker_busy(w)) {
        fcgipm_worker_drain(w, FCGIPM_LEAVE_HUNG, "a request hung");
        return;
    }
    w->hung = true;
    if (!dumping) {
        fcgipm_worker_stop(w, kill_us, FCGIPM_LEAVE_HUNG, "a request hung");
        return;
    }
    w->dumped = true;
    fcgipm_worker_drain(w, FCGIPM_LEAVE_HUNG, "a request hung");
    w->drain_by_us = w->app->manager->now + FCGIPM_SLOW_LIMIT_US;
}

static void on_request(fcgipm_manager_t *m, const fcgipm_msg_t *msg)
{
    fcgipm_worker_t *w;

    switch (msg->type) {
    case FCGIPM_MSG_NEED:
        if (msg->pool < FCGIPM_POOLS_MAX && m->apps[msg->pool])
            m->apps[msg->pool]->needed_us = m->now;
        break;
    case FCGIPM_MSG_HUNG:
        if ((w = meant_worker(m, msg)))
            on_hung(w, msg);
        break;
    case FCGIPM_MSG_SLOW:
        if ((w = meant_worker(m, msg)))
            fcgipm_slow_note(w, msg->path, msg->ms, false);
        break;
    case FCGIPM_MSG_SCRIPT:
    case FCGIPM_MSG_TEMPLATE:
        if (msg->path_len < FCGIPM_MSG_PATH_MAX && strlen(msg->path) == msg->path_len)
            fcgipm_ondemand_ask(m, msg);
        break;
    default: /* BAD and EMPTY: the turn of the loop itself looks at everything */
        if (msg->type == FCGIPM_MSG_BAD && msg->pool == FCGIPM_DAEMON_LOOK)
            m->mend_asked = true;
        break;
    }
}

/* Who is not heard asks again; honest children need not a tenth of it. */
#define REQUESTS_US  100000
#define REQUESTS_MAX 500

static int64_t requests_full_until(const fcgipm_manager_t *m)
{
    return m->requests >= REQUESTS_MAX && m->now - m->requests_us < REQUESTS_US ? m->requests_us + REQUESTS_US
                                                                                : 0;
}

static void on_requests(fcgipm_manager_t *m)
{
    fcgipm_msg_t msg;

    if (m->now - m->requests_us >= REQUESTS_US) {
        m->requests_us = m->now;
        m->requests = 0;
    }
    /* A flood must not keep us from the rest, nor the processor from others. */
    for (int i = 0; i < 256 && m->requests < REQUESTS_MAX; i++) {
        apr_status_t rv = fcgipm_msg_receive(m->env->requests_fd, &msg);

        if (APR_STATUS_IS_EAGAIN(rv))
            return;
        m->requests++;
        if (rv == APR_SUCCESS && !m->stopping) {
            msg.path[FCGIPM_MSG_PATH_MAX - 1] = '\0';
            on_request(m, &msg);
        }
    }
}

/* --- the loop --- */

enum {
    FD_SIGNALS,
    FD_LIFELINE,
    FD_ORDERS,
    FD_REQUESTS,
    FD_NOTIFY,
    FD_CONTROL,
    FD_SLOW = FD_CONTROL + 1 + FCGIPM_CONTROL_PEERS,
    FD_FIXED = FD_SLOW + FCGIPM_SLOW_COMMANDS
};
#define FDS_PER_WORKER 4
#define BLIND_MS       100 /* between two looks when the kernel does not let us wait */

typedef struct fcgipm_watch {
    fcgipm_worker_t *worker;
    void (*act)(fcgipm_worker_t *w);
} watch_t;

static void act_output(fcgipm_worker_t *w)
{
    fcgipm_output_read(w->output, w->out_fd, w->app->manager->now);
}

static void act_pidfd(fcgipm_worker_t *w)
{
    if (w->pid == 0)
        return;
    fcgipm_reap_group(w);
    fcgipm_worker_died(w, -1);
}

static void watch(struct pollfd *fds, watch_t *watches, size_t *count, int fd, fcgipm_worker_t *w,
                  void (*act)(fcgipm_worker_t *))
{
    if (fd < 0)
        return;
    fds[*count] = (struct pollfd){.fd = fd, .events = POLLIN};
    watches[*count] = (watch_t){.worker = w, .act = act};
    (*count)++;
}

static size_t count_workers(const fcgipm_manager_t *m)
{
    size_t count = 0;

    for (uint32_t i = 0; i < m->app_end; i++)
        count += m->apps[i] ? m->apps[i]->geometry.slot_count : 0;
    return count;
}

static size_t gather(fcgipm_manager_t *m, struct pollfd *fds, watch_t *watches)
{
    size_t count = FD_FIXED;
    int64_t full_us = m->notify_after_us, requests_us = requests_full_until(m);

    m->again_us = full_us > m->now ? full_us : INT64_MAX;
    if (requests_us && requests_us < m->again_us)
        m->again_us = requests_us;
    fds[FD_SIGNALS] = (struct pollfd){.fd = m->signal_fds[0], .events = POLLIN};
    fds[FD_LIFELINE] = (struct pollfd){.fd = m->stopping ? -1 : m->env->lifeline_fd, .events = POLLIN};
    fds[FD_ORDERS] = (struct pollfd){.fd = m->stopping ? -1 : m->env->orders_fd, .events = POLLIN};
    fds[FD_REQUESTS] =
        (struct pollfd){.fd = m->stopping || requests_us ? -1 : m->env->requests_fd, .events = POLLIN};
    fds[FD_NOTIFY] = (struct pollfd){.fd = full_us > m->now ? -1 : m->notify_fd, .events = POLLIN};
    for (unsigned i = 0; i <= FCGIPM_CONTROL_PEERS; i++)
        fds[FD_CONTROL + i] = (struct pollfd){.fd = fcgipm_control_fd(m->control, i), .events = POLLIN};
    for (unsigned i = 0; i < FCGIPM_SLOW_COMMANDS; i++)
        fds[FD_SLOW + i] = (struct pollfd){.fd = fcgipm_slow_fd(m->slow, i), .events = POLLIN};
    for (uint32_t i = 0; i < m->app_end; i++) {
        if (!m->apps[i] || fcgipm_app_rests(m->apps[i]))
            continue;
        for (uint32_t slot = 0; slot < m->apps[i]->geometry.slot_count; slot++) {
            fcgipm_worker_t *w = &m->apps[i]->workers[slot];

            if (w->pid == 0)
                continue;
            full_us = fcgipm_output_full_until(w->output, m->now);
            if (full_us && full_us < m->again_us)
                m->again_us = full_us;
            watch(fds, watches, &count, full_us ? -1 : w->out_fd, w, act_output);
            watch(fds, watches, &count, w->pidfd, w, act_pidfd);
            watch(fds, watches, &count, w->report_fd, w, fcgipm_worker_on_report);
            if (w->probe)
                watch(fds, watches, &count, fcgipm_ready_fd(w->probe), w, fcgipm_worker_on_probe);
        }
    }
    return count;
}

static void on_signals(fcgipm_manager_t *m)
{
    char bytes[64];
    ssize_t n;

    while ((n = read(m->signal_fds[0], bytes, sizeof bytes)) > 0)
        if (memchr(bytes, 't', (size_t)n))
            fcgipm_loop_stop(m);
    fcgipm_reap_children(m);
}

/* Now and then, when there is a turn, also those at rest: what they have on the board is written anew. */
#define ALL_US 1000000

static bool all_are_due(fcgipm_manager_t *m)
{
    if (!m->stopping && m->now < m->all_at_us)
        return false;
    m->all_at_us = m->now + ALL_US;
    return true;
}

static int64_t tend_all(fcgipm_manager_t *m)
{
    int64_t next, at;
    bool all;

    m->again = false;
    if ((at = fcgipm_slow_tend(m->slow)) < (next = fcgipm_watchman_tend(m)))
        next = at;
    if ((at = fcgipm_control_tend(m->control)) < next)
        next = at;
    if ((at = fcgipm_cgroup_tend(m->cgroup, m->now)) < next)
        next = at;
    if ((at = fcgipm_mend_tend(m)) < next)
        next = at;
    if ((at = fcgipm_lack_tend(m)) < next)
        next = at;
    all = all_are_due(m);
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i] && (all || !fcgipm_app_rests(m->apps[i]))) {
            at = fcgipm_app_tend(m->apps[i]);
            next = at < next ? at : next;
        }
    fcgipm_ondemand_use_room(m);
    return m->again ? m->now : next;
}

static int timeout_ms(const fcgipm_manager_t *m, int64_t next)
{
    int64_t wait = next - m->now;

    if (next == INT64_MAX)
        return -1;
    return wait <= 0 ? 1 : wait > 60000000 ? 60000 : (int)((wait + 999) / 1000);
}

static void dispatch(fcgipm_manager_t *m, const struct pollfd *fds, const watch_t *watches, size_t count)
{
    /* Output and reports before signals: what a worker wrote before its death is read before it is buried. */
    for (size_t i = FD_FIXED; i < count; i++)
        if (fds[i].revents)
            watches[i].act(watches[i].worker);
    if (fds[FD_SIGNALS].revents)
        on_signals(m);
    if (fds[FD_NOTIFY].revents)
        fcgipm_notify_read(m);
    if (fds[FD_LIFELINE].revents)
        fcgipm_loop_stop(m);
    if (fds[FD_ORDERS].revents)
        on_order(m);
    if (fds[FD_REQUESTS].revents)
        on_requests(m);
}

/* Workers come and go, so the arrays are made for all places and only grow. */
typedef struct crowd {
    struct pollfd *fds;
    watch_t *watches;
    size_t cap;
} crowd_t;

static bool make_room(crowd_t *crowd, size_t need)
{
    void *fds, *watches;

    if (crowd->fds && crowd->watches && need <= crowd->cap)
        return true;
    if (!(fds = realloc(crowd->fds, need * sizeof *crowd->fds)))
        return false;
    crowd->fds = fds;
    if (!(watches = realloc(crowd->watches, need * sizeof *crowd->watches)))
        return false;
    crowd->watches = watches;
    crowd->cap = need;
    return true;
}

static bool turn(fcgipm_manager_t *m, crowd_t *crowd)
{
    int64_t next = tend_all(m);
    size_t count;
    int ready;

    if (!make_room(crowd, FD_FIXED + count_workers(m) * FDS_PER_WORKER) || (m->stopping && !any_process(m)))
        return false;
    count = gather(m, crowd->fds, crowd->watches);
    if (m->again_us < next)
        next = m->again_us;
    ready = poll(crowd->fds, count, timeout_ms(m, next));
    m->now = fcgipm_manager_clock();
    if (ready > 0) {
        dispatch(m, crowd->fds, crowd->watches, count);
    } else if (ready < 0 && errno != EINTR) { /* more than RLIMIT_NOFILE, or no memory */
        poll(NULL, 0, BLIND_MS);
        on_signals(m);
    }
    m->now = fcgipm_manager_clock();
    return true;
}

int fcgipm_loop_run(fcgipm_manager_t *m)
{
    crowd_t crowd = {0};

    if (!catch_signals(m))
        return FCGIPM_DAEMON_BROKEN;
    fcgipm_reap_children(m);
    while (m->exit_code < 0 && turn(m, &crowd))
        ;
    free(crowd.fds);
    free(crowd.watches);
    return m->exit_code < 0 ? FCGIPM_DAEMON_STOPPED : m->exit_code;
}
