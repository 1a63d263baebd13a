/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What: the socket on which fcgipmctl gives orders: RUNTIME/control, 0600; besides, the kernel must say that
 * the other end is root or our own user. One line in, one line out ("ok ..." or "error ..."):
 *   board                     the board's descriptor, for reading, comes with the answer
 *   restart|drain|pause|resume POOL
 *   scale POOL MIN MAX
 *   trace on|off POOL
 * POOL is a name, or name@vhost where several virtual hosts have it.
 */
#include "pm/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "pm/daemon.h"
#include "pm/lack.h"

#define PATIENCE_US 5000000 /* for a line */
#define DEAF_US     500000
#define WORDS_MAX   6

typedef struct peer {
    int fd;
    size_t len;
    int64_t until_us;
    char line[512];
} peer_t;

struct fcgipm_control {
    fcgipm_manager_t *manager;
    int fd;
    int64_t deaf_until_us; /* there was no descriptor for who called */
    peer_t peers[FCGIPM_CONTROL_PEERS];
};

/* --- the socket --- */

static int listen_at(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask;
    int bound;

    if (fd < 0)
        return -1;
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    unlink(path);
    mask = umask(0177);
    bound = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    umask(mask);
    if (bound == 0 && listen(fd, FCGIPM_CONTROL_PEERS) == 0)
        return fd;
    close(fd);
    return -1;
}

fcgipm_control_t *fcgipm_control_open(fcgipm_manager_t *m)
{
    fcgipm_control_t *control = apr_pcalloc(m->pool, sizeof *control);
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    int len = snprintf(path, sizeof path, "%s/control", m->runtime_dir);

    control->manager = m;
    for (unsigned i = 0; i < FCGIPM_CONTROL_PEERS; i++)
        control->peers[i].fd = -1;
    control->fd = len > 0 && (size_t)len < sizeof path ? listen_at(path) : -1;
    if (control->fd >= 0)
        return control;
    FCGIPM_LOG(378, FCGIPM_LOG_ERR, APR_FROM_OS_ERROR(errno), 0,
               "cannot make %s/control: fcgipmctl cannot reach this manager", m->runtime_dir);
    return NULL;
}

int fcgipm_control_fd(const fcgipm_control_t *control, unsigned nth)
{
    return !control                      ? -1
           : nth == 0                    ? (control->deaf_until_us > control->manager->now ? -1 : control->fd)
           : nth <= FCGIPM_CONTROL_PEERS ? control->peers[nth - 1].fd
                                         : -1;
}

/* --- answers --- */

static void answer_with(const peer_t *peer, const char *text, int pass_fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

    if (pass_fd >= 0) {
        mh.msg_control = control.room;
        mh.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass_fd, sizeof pass_fd);
    }
    (void)!sendmsg(peer->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void answer(const peer_t *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void answer(const peer_t *peer, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    answer_with(peer, text, -1);
}

/* For reading only: a copy that is opened anew, as a descriptor passed on keeps its mode. */
static void give_board(const fcgipm_manager_t *m, const peer_t *peer)
{
    char path[40];
    int fd;

    snprintf(path, sizeof path, "/proc/self/fd/%d", m->env->board_fd);
    fd = m->env->board_fd >= 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        answer(peer, "error the board cannot be passed on: %s\n", strerror(errno));
        return;
    }
    answer_with(peer, "ok board\n", fd);
    close(fd);
}

/* --- pools --- */

static bool means(const char *word, const fcgipm_app_t *app)
{
    const fcgipm_setting_t *s = app->setting;
    size_t len = strlen(s->name);

    return app->configured && !strncmp(word, s->name, len) &&
           (word[len] == '\0' || (word[len] == '@' && !strcmp(word + len + 1, s->vhost)));
}

static fcgipm_app_t *find(const fcgipm_manager_t *m, const peer_t *peer, const char *word)
{
    fcgipm_app_t *found = NULL;

    for (uint32_t i = 0; i < m->app_end; i++) {
        fcgipm_app_t *app = m->apps[i];

        if (!app || !means(word, app))
            continue;
        if (found) {
            answer(peer, "error several virtual hosts have a pool %s: write %s@%s or %s@%s\n", word, word,
                   found->setting->vhost, word, app->setting->vhost);
            return NULL;
        }
        found = app;
    }
    if (!found)
        answer(peer, "error there is no pool %s; `fcgipmctl status` lists them\n", word);
    return found;
}

/* --- orders --- */

static void keep_orders(fcgipm_app_t *app)
{
    fcgipm_registry_pool_t *row = &app->manager->registry->pool[app->index];

    app->at_rest = false;
    row->flags = app->flags;
    row->scaled_min = app->min;
    row->scaled_max =
        app->min == app->setting->processes_min && app->max == app->setting->processes_max ? 0 : app->max;
    app->manager->again = true;
}

/* All definitions of the pool: an old one serves until the changed one is ready. */
static void set_flags(fcgipm_app_t *app, const peer_t *peer, uint32_t set, uint32_t clear, const char *said)
{
    fcgipm_manager_t *m = app->manager;

    for (uint32_t i = 0; i < m->app_end; i++) {
        fcgipm_app_t *one = m->apps[i];

        if (!one || (one != app && (one->configured || one->key != app->key)))
            continue;
        one->flags = (one->flags & ~clear) | set;
        keep_orders(one);
        fcgipm_app_publish(one); /* whoever acts on the answer must find it true */
    }
    FCGIPM_LOG(379, FCGIPM_LOG_NOTICE, 0, app->setting->scope, "pool %s: %s (fcgipmctl)", app->setting->name,
               said);
    answer(peer, "ok pool %s: %s\n", app->setting->name, said);
}

static void do_restart(fcgipm_app_t *app, const peer_t *peer, char **words)
{
    (void)words;
    if (app->setting->connect) {
        answer(peer,
               "error pool %s: FcgiConnect: its processes are not ours; whoever runs them restarts or stops "
               "them\n",
               app->setting->name);
        return;
    }
    fcgipm_refresh_restart(app, "fcgipmctl");
    fcgipm_app_publish(app);
    answer(peer, "ok pool %s: restart begun\n", app->setting->name);
}

static void do_drain(fcgipm_app_t *app, const peer_t *peer, char **words)
{
    (void)words;
    set_flags(app, peer, FCGIPM_POOL_DRAINED, FCGIPM_POOL_PAUSED,
              "drained: requests that run are finished, further ones refused until resume");
}

static void do_pause(fcgipm_app_t *app, const peer_t *peer, char **words)
{
    (void)words;
    set_flags(app, peer, FCGIPM_POOL_PAUSED, FCGIPM_POOL_DRAINED, "paused: requests wait until resume");
}

static void do_resume(fcgipm_app_t *app, const peer_t *peer, char **words)
{
    (void)words;
    set_flags(app, peer, 0, FCGIPM_POOL_PAUSED | FCGIPM_POOL_DRAINED, "resumed");
}

static bool number(const char *word, uint32_t *value)
{
    char *end;
    unsigned long n = strtoul(word, &end, 10);

    *value = (uint32_t)n;
    return *word >= '0' && *word <= '9' && !*end && n <= 100000;
}

static void do_scale(fcgipm_app_t *app, const peer_t *peer, char **words)
{
    uint32_t min, max, most = app->setting->processes_max;

    if (app->setting->connect) {
        answer(peer,
               "error pool %s: FcgiConnect: its processes are not ours; whoever runs them restarts or stops "
               "them\n",
               app->setting->name);
        return;
    }
    if (!number(words[0], &min) || !number(words[1], &max) || max < 1 || min > max || max > most) {
        answer(peer,
               "error scale %s: write MIN and MAX, MIN <= MAX, MAX from 1 to %u, which is the most that "
               "FcgiProcesses allows\n",
               app->setting->name, most);
        return;
    }
    app->min = min;
    app->max = max;
    keep_orders(app);
    FCGIPM_LOG(380, FCGIPM_LOG_NOTICE, 0, app->setting->scope,
               "pool %s: scaled to %u to %u processes (fcgipmctl)", app->setting->name, min, max);
    answer(peer, "ok pool %s: %u to %u processes, until its block in the configuration changes\n",
           app->setting->name, min, max);
}

static void do_trace_on(fcgipm_app_t *app, const peer_t *peer, char **words)
{
    (void)words;
    set_flags(app, peer, FCGIPM_POOL_TRACED, 0, "trace on: each record goes to the error log");
}

static void do_trace_off(fcgipm_app_t *app, const peer_t *peer, char **words)
{
    (void)words;
    set_flags(app, peer, 0, FCGIPM_POOL_TRACED, "trace off");
}

static const struct order {
    const char *words; /* before the pool's name */
    unsigned more;     /* words after it */
    void (*obey)(fcgipm_app_t *app, const peer_t *peer, char **words);
} orders[] = {{"restart", 0, do_restart},    {"drain", 0, do_drain}, {"pause", 0, do_pause},
              {"resume", 0, do_resume},      {"scale", 2, do_scale}, {"trace on", 0, do_trace_on},
              {"trace off", 0, do_trace_off}};

static void obey(fcgipm_manager_t *m, const peer_t *peer, char *line)
{
    char *words[WORDS_MAX + 1] = {0}, *last = NULL;
    unsigned count = 0;

    if (!strcmp(line, "board")) {
        give_board(m, peer);
        return;
    }
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        size_t len = strlen(orders[i].words);
        fcgipm_app_t *app;

        if (strncmp(line, orders[i].words, len) || line[len] != ' ')
            continue;
        for (char *word = strtok_r(line + len, " ", &last); word && count < WORDS_MAX;
             word = strtok_r(NULL, " ", &last))
            words[count++] = word;
        if (!words[0] || count != 1 + orders[i].more)
            answer(peer, "error %s: wrong number of words\n", orders[i].words);
        else if ((app = find(m, peer, words[0])))
            orders[i].obey(app, peer, words + 1);
        return;
    }
    answer(peer, "error not understood\n");
}

/* --- connections --- */

static bool may_order(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
           (cred.uid == 0 || cred.uid == geteuid());
}

static void accept_all(fcgipm_control_t *control)
{
    fcgipm_manager_t *m = control->manager;
    int fd;

    if (control->deaf_until_us > m->now)
        return;
    while ((fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        peer_t *p = control->peers, *end = p + FCGIPM_CONTROL_PEERS;

        while (p < end && p->fd >= 0)
            p++;
        if (p == end || !may_order(fd)) {
            close(fd);
            continue;
        }
        p->fd = fd;
        p->len = 0;
        p->until_us = control->manager->now + PATIENCE_US;
    }
    control->deaf_until_us = 0;
    if (errno != EAGAIN &&
        fcgipm_lack_is(errno)) { /* who calls goes on waiting, and poll would go on saying so */
        fcgipm_lack_note(m, "to hear fcgipmctl", errno);
        control->deaf_until_us = m->now + DEAF_US;
    }
}

/* True: nothing more will come of it. */
static bool read_peer(fcgipm_control_t *control, peer_t *p)
{
    ssize_t n = recv(p->fd, p->line + p->len, sizeof p->line - 1 - p->len, MSG_DONTWAIT);
    char *end;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return control->manager->now >= p->until_us;
    if (n <= 0)
        return true;
    p->len += (size_t)n;
    p->line[p->len] = '\0';
    if (!(end = strchr(p->line, '\n')))
        return p->len == sizeof p->line - 1;
    *end = '\0';
    obey(control->manager, p, p->line);
    return true;
}

int64_t fcgipm_control_tend(fcgipm_control_t *control)
{
    int64_t next = INT64_MAX;

    if (!control)
        return next;
    accept_all(control);
    if (control->deaf_until_us)
        next = control->deaf_until_us;
    for (unsigned i = 0; i < FCGIPM_CONTROL_PEERS; i++) {
        peer_t *p = &control->peers[i];

        if (p->fd < 0)
            continue;
        if (read_peer(control, p)) {
            close(p->fd);
            p->fd = -1;
        } else if (p->until_us < next) {
            next = p->until_us;
        }
    }
    return next;
}
