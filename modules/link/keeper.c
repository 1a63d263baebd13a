/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: one thread per httpd child, asleep in epoll. Every event names a descriptor, never an object:
 * the lists are searched for it, so that an event of a descriptor that is already closed (or whose number was
 * given to another) does no harm.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <apr_time.h>
#include "core/clock.h"
#include "link/link.h"
#include "link/peer.h"
#include "link/thread.h"
#include "share/wake.h"

#define DISCARD_SIZE 65536
#define DISCARD_MAX  4 /* blocks per turn: one endless answer must not starve the others */

/* ---- kept connections ---- */

static bool kept_is_dead(const fcgipm_kept_t *kept, void *fd)
{
    return kept->fd == *(int *)fd && !fcgipm_peer_silent(kept->fd);
}

/* An end that came while the connection was in use was told then, and is not told again. */
static bool kept_is_stale(const fcgipm_kept_t *kept, void *link)
{
    return fcgipm_kept_lost(kept, link) || !fcgipm_peer_silent(kept->fd);
}

static void close_stale(fcgipm_link_t *link)
{
    fcgipm_kept_t kept;
    while (fcgipm_kept_find(link, kept_is_stale, link, &kept))
        fcgipm_kept_close(link, &kept);
}

static void close_lost(fcgipm_link_t *link)
{
    fcgipm_kept_t kept;
    while (fcgipm_kept_find(link, fcgipm_kept_lost, link, &kept))
        fcgipm_kept_close(link, &kept);
}

static void close_dead(fcgipm_link_t *link, int fd)
{
    fcgipm_kept_t kept;
    if (fcgipm_kept_find(link, kept_is_dead, &fd, &kept))
        fcgipm_kept_close(link, &kept);
}

void fcgipm_keeper_watch(fcgipm_link_t *link, int fd)
{
    struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLET, .data.fd = fd};
    if (epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0 && errno == EEXIST)
        epoll_ctl(link->epoll_fd, EPOLL_CTL_MOD, fd, &ev);
}

/* ---- requests whose client has left ---- */

static void linger_watch(fcgipm_link_t *link, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};
    if (epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0 && errno == EEXIST)
        epoll_ctl(link->epoll_fd, EPOLL_CTL_MOD, fd, &ev);
}

static void linger_end(fcgipm_link_t *link, fcgipm_linger_t *l, fcgipm_lease_end_t end, bool complete)
{
    pthread_mutex_lock(&link->mutex);
    for (fcgipm_linger_t **at = &link->lingers; *at; at = &(*at)->next)
        if (*at == l) {
            *at = l->next;
            break;
        }
    pthread_mutex_unlock(&link->mutex);
    /* As a kept connection is watched: it may be another request's in a moment, whose answer is no event for
     * us. */
    if (end == FCGIPM_LEASE_KEEP) {
        fcgipm_keeper_watch(link, l->lease.fd);
        l->lease.reused = true;
    }
    fcgipm_lease_release(link, &l->lease, end, complete);
    free(l->what);
    free(l);
}

/* Parse and forget. True: it is over, *end says how. */
static bool linger_parse(fcgipm_linger_t *l, const unsigned char *in, size_t n, fcgipm_lease_end_t *end)
{
    const unsigned char *limit = in + n;
    fcgipm_mux_event_t event;
    for (;;) {
        switch (fcgipm_mux_read(&l->mux, &in, limit, &event)) {
        case FCGIPM_MUX_MORE:
            return false;
        case FCGIPM_MUX_ENDED:
            *end = in == limit && l->lease.keep && !l->lease.cut && fcgipm_mux_reusable(&l->mux)
                       ? FCGIPM_LEASE_KEEP
                       : FCGIPM_LEASE_CLOSE;
            return true;
        case FCGIPM_MUX_BROKEN:
            *end = FCGIPM_LEASE_BROKEN;
            return true;
        default:
            break;
        }
    }
}

static void linger_read(fcgipm_link_t *link, fcgipm_linger_t *l, unsigned char *buffer)
{
    fcgipm_lease_end_t end;
    for (int i = 0; i < DISCARD_MAX; i++) {
        ssize_t n = recv(l->lease.fd, buffer, DISCARD_SIZE, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            linger_end(link, l, FCGIPM_LEASE_CLOSE, false);
            return;
        }
        if (linger_parse(l, buffer, (size_t)n, &end)) {
            linger_end(link, l, end, end != FCGIPM_LEASE_BROKEN);
            return;
        }
    }
}

/* The grace is over: the application's next write shall fail. Only a unix socket can do that and still tell
 * when the application has closed its end; else we hang up. */
static void linger_deafen(fcgipm_link_t *link, fcgipm_linger_t *l)
{
    struct sockaddr_storage name = {0};
    socklen_t len = sizeof name;
    l->grace_at = 0;
    if (l->lease.cut) /* our sending side is shut; with both shut, a hang-up would say nothing */
        return;
    if (getsockname(l->lease.fd, (struct sockaddr *)&name, &len) != 0 || name.ss_family != AF_UNIX) {
        linger_end(link, l, FCGIPM_LEASE_CLOSE, false);
        return;
    }
    l->deaf = true;
    linger_watch(link, l->lease.fd, 0); /* EPOLLHUP is always told: both directions are shut */
    shutdown(l->lease.fd, SHUT_RD);
}

static void linger_event(fcgipm_link_t *link, fcgipm_linger_t *l, uint32_t events, unsigned char *buffer)
{
    if (!l->deaf)
        linger_read(link, l, buffer);
    else if (events & (EPOLLHUP | EPOLLERR))
        linger_end(link, l, FCGIPM_LEASE_CLOSE, false);
}

static fcgipm_linger_t *linger_find(fcgipm_link_t *link, int fd)
{
    pthread_mutex_lock(&link->mutex);
    fcgipm_linger_t *l = link->lingers;
    while (l && l->lease.fd != fd)
        l = l->next;
    pthread_mutex_unlock(&link->mutex);
    return l; /* only this thread removes */
}

static bool is_due(int64_t at_us, int64_t now_us)
{
    return at_us && now_us >= at_us;
}

/* One whose time has come, for grace or for the end. */
static fcgipm_linger_t *linger_due(fcgipm_link_t *link, int64_t now_us)
{
    pthread_mutex_lock(&link->mutex);
    fcgipm_linger_t *l = link->lingers;
    while (l && !is_due(l->grace_at, now_us) && !is_due(l->limit_at, now_us))
        l = l->next;
    pthread_mutex_unlock(&link->mutex);
    return l;
}

static void lingers_tick(fcgipm_link_t *link)
{
    int64_t now_us = fcgipm_clock_us();
    fcgipm_linger_t *l;
    while ((l = linger_due(link, now_us)) != NULL) {
        if (is_due(l->limit_at, now_us))
            linger_end(link, l, FCGIPM_LEASE_HUNG, false);
        else
            linger_deafen(link, l);
    }
}

void fcgipm_lease_linger(fcgipm_link_t *link, fcgipm_lease_t *lease, const struct fcgipm_mux *mux,
                         unsigned id, int64_t grace_us, int64_t limit_us)
{
    unsigned char record[8];
    int64_t now_us = fcgipm_clock_us();
    size_t streams = mux->stream_count;
    fcgipm_linger_t *l = calloc(1, sizeof *l + streams * sizeof l->streams[0]);
    /* Nobody tells us when an external application without kept connections is free: it has a queue of its
     * own, and the end of the connection says all that there is to say. */
    bool hang_up = !lease->keep && link->env.board->pool[lease->pool].external;
    if (!l || !link->keeper_runs || lease->fd < 0 || hang_up) {
        free(l);
        fcgipm_lease_release(link, lease, FCGIPM_LEASE_CLOSE, false);
        return;
    }
    l->lease = *lease;
    l->lease.what = l->what = lease->what ? strdup(lease->what) : NULL; /* it outlives its request */
    l->lease.reused = false; /* watched in another way from now on */
    l->mux = *mux;
    memcpy(l->streams, mux->streams, streams * sizeof l->streams[0]);
    l->mux.streams = l->streams;
    l->id = id;
    l->grace_at = grace_us > 0 ? now_us + grace_us : now_us;
    l->limit_at = limit_us > 0 ? now_us + limit_us : 0;
    fcgipm_mux_abort(&l->mux, id);
    if (lease->cut) /* its input ends here */
        shutdown(lease->fd, SHUT_WR);
    else if (lease->keep && send(lease->fd, record, fcgipm_record_put_abort(record, id),
                                 MSG_DONTWAIT | MSG_NOSIGNAL) != FCGIPM_RECORD_HEADER_LEN)
        l->lease.cut = true; /* no ABORT_REQUEST or half of one: not to be kept */
    memset(lease, 0, sizeof *lease);
    lease->fd = -1;
    pthread_mutex_lock(&link->mutex);
    bool late = link->stopping;
    if (!late) {
        l->next = link->lingers;
        link->lingers = l;
    }
    pthread_mutex_unlock(&link->mutex);
    if (late) {
        fcgipm_lease_release(link, &l->lease, FCGIPM_LEASE_CLOSE, false);
        free(l->what);
        free(l);
        return;
    }
    fcgipm_keeper_wake(link); /* it looks at all of them: the answer may have come already */
}

/* ---- the thread ---- */

static void counter_read(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

/* Newly lingering ones are not watched yet; watching twice does no harm. */
static void lingers_watch(fcgipm_link_t *link)
{
    pthread_mutex_lock(&link->mutex);
    for (fcgipm_linger_t *l = link->lingers; l; l = l->next)
        if (!l->deaf)
            linger_watch(link, l->lease.fd, EPOLLIN | EPOLLRDHUP);
    pthread_mutex_unlock(&link->mutex);
}

static int keeper_timeout_ms(fcgipm_link_t *link)
{
    int64_t now_us = fcgipm_clock_us(), wait_us = INT64_MAX;
    pthread_mutex_lock(&link->mutex);
    for (const fcgipm_linger_t *l = link->lingers; l; l = l->next) {
        if (l->grace_at && l->grace_at - now_us < wait_us)
            wait_us = l->grace_at - now_us;
        if (l->limit_at && l->limit_at - now_us < wait_us)
            wait_us = l->limit_at - now_us;
    }
    if ((link->kept || link->pending_count) && wait_us > FCGIPM_SWEEP_MS * 1000)
        wait_us = FCGIPM_SWEEP_MS * 1000;
    /* Where requests park and leave all the time the first of them need not wake us each time. */
    bool parked = link->parked_lately || fcgipm_atom_get(&link->parked_all);
    link->parked_lately = false;
    if (parked && wait_us > FCGIPM_TEND_MS * 1000)
        wait_us = FCGIPM_TEND_MS * 1000;
    int ms = wait_us <= 0 ? 0 : (int)((wait_us < 60000000 ? wait_us : 60000000) + 999) / 1000;
    link->sleep_ms = wait_us == INT64_MAX ? INT_MAX : ms;
    pthread_mutex_unlock(&link->mutex);
    return wait_us == INT64_MAX ? -1 : ms;
}

static void keeper_event(fcgipm_link_t *link, const struct epoll_event *ev, unsigned char *buffer)
{
    fcgipm_linger_t *l;
    int fd = ev->data.fd;
    if (fd == link->command_fd) {
        counter_read(fd);
        lingers_watch(link);
    } else if (fd == link->wake_fd) {
        if (!fcgipm_wake_heard(fd))
            epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        close_lost(link);
        fcgipm_parked_look(link);
    } else if ((l = linger_find(link, fd)) != NULL) {
        linger_event(link, l, ev->events, buffer);
    } else {
        close_dead(link, fd);
    }
}

static bool keeper_stopping(fcgipm_link_t *link)
{
    pthread_mutex_lock(&link->mutex);
    bool stopping = link->stopping;
    pthread_mutex_unlock(&link->mutex);
    return stopping;
}

static void *keeper_main(void *ctx)
{
    fcgipm_link_t *link = ctx;
    unsigned char *buffer = malloc(DISCARD_SIZE);
    pthread_setname_np(pthread_self(), "fcgipm-keeper");
    int64_t swept_us = fcgipm_clock_us(), tended_us = swept_us;
    while (buffer && !keeper_stopping(link)) {
        struct epoll_event events[32];
        int n = epoll_wait(link->epoll_fd, events, 32, keeper_timeout_ms(link));
        for (int i = 0; i < n; i++)
            keeper_event(link, &events[i], buffer);
        lingers_tick(link);
        if (fcgipm_clock_us() - tended_us >= FCGIPM_TEND_MS * 1000 - 1000) {
            tended_us = fcgipm_clock_us();
            fcgipm_parked_tend(link);
        }
        if (fcgipm_clock_us() - swept_us < FCGIPM_SWEEP_MS * 1000 - 1000)
            continue;
        swept_us = fcgipm_clock_us();
        close_stale(link);
        fcgipm_link_tell_pending(link);
    }
    free(buffer);
    return NULL;
}

bool fcgipm_keeper_oversleeps_locked(fcgipm_link_t *link, int ms)
{
    bool oversleeps = link->sleep_ms > ms;
    if (oversleeps)
        link->sleep_ms = 0;
    return oversleeps;
}

void fcgipm_keeper_wake(fcgipm_link_t *link)
{
    uint64_t one = 1;
    while (write(link->command_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static bool watch_level(fcgipm_link_t *link, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
}

apr_status_t fcgipm_keeper_start(fcgipm_link_t *link)
{
    link->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    link->command_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->epoll_fd < 0 || link->command_fd < 0 || !watch_level(link, link->command_fd) ||
        (link->wake_fd >= 0 && !watch_level(link, link->wake_fd)))
        return errno;
    int error = fcgipm_thread_start(&link->keeper, keeper_main, link);
    link->keeper_runs = error == 0;
    return error;
}

void fcgipm_keeper_stop(fcgipm_link_t *link)
{
    pthread_mutex_lock(&link->mutex);
    link->stopping = true;
    pthread_mutex_unlock(&link->mutex);
    if (link->keeper_runs) {
        fcgipm_keeper_wake(link);
        pthread_join(link->keeper, NULL);
    }
    while (link->lingers)
        linger_end(link, link->lingers, FCGIPM_LEASE_CLOSE, false);
    if (link->epoll_fd >= 0)
        close(link->epoll_fd);
    if (link->command_fd >= 0)
        close(link->command_fd);
}
