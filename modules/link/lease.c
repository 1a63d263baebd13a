/* SPDX-License-Identifier: Apache-2.0 */
#include "link/lease.h"
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <apr_strings.h>
#include <apr_time.h>
#include "core/clock.h"
#include "link/link.h"
#include "link/peer.h"
#include "share/stat.h"

#define SLICE_US           500000 /* how often a waiter looks at its client and its pool */
#define NEED_US            150000 /* how often it asks again while nothing starts */
#define NEED_PAUSE_US      5000   /* of one child and pool, so that a full house does not flood the manager */
#define ASK_MAX_US         400000 /* how often it asks for a pool that is not made */
#define LOOK_US            2000   /* how often one without a thread looks whether it is, ... */
#define LOOK_MAX_US        250000 /* ... at first and at last */
#define LINGER_US          2000000
#define LINGER_MAX_US      60000000
#define STREAK_MAX         16
#define STREAK_US          2000
#define TRIES_MAX          3
#define TRIES_OWN          8 /* 0.7 s: of our own processes the manager will hear */
#define CONNECT_DEFAULT_US 10000000

/* ---- messages ---- */

/* With what was asked for, for the manager's log. */
static apr_status_t tell_about(const fcgipm_link_t *link, uint32_t type, const fcgipm_lease_t *lease)
{
    int64_t ms = (fcgipm_clock_us() - lease->since_us) / 1000;
    fcgipm_msg_t msg = {.version = FCGIPM_MSG_VERSION,
                        .type = type,
                        .pool = lease->pool,
                        .slot = lease->slot,
                        .generation = lease->generation,
                        .ms = ms > 0 && ms < UINT32_MAX ? (uint32_t)ms : 0};
    if (lease->what) {
        apr_cpystrn(msg.path, lease->what, sizeof msg.path);
        msg.path_len = (uint32_t)strlen(msg.path);
    }
    return link->env.requests_fd < 0 ? APR_SUCCESS : fcgipm_msg_send(link->env.requests_fd, &msg);
}

void fcgipm_lease_slow(fcgipm_link_t *link, const fcgipm_lease_t *lease)
{
    (void)tell_about(link, FCGIPM_MSG_SLOW, lease); /* a full socket: then there is none */
}

static void tell_need(fcgipm_link_t *link, uint32_t pool)
{
    int64_t now_us = fcgipm_clock_us();
    uint64_t last_us = fcgipm_atom_peek(&link->need_us[pool]);
    if (link->env.board->pool[pool].external ||
        (now_us >= (int64_t)last_us && now_us - (int64_t)last_us < NEED_PAUSE_US))
        return;
    fcgipm_atom_put(&link->need_us[pool], (uint64_t)now_us);
    (void)fcgipm_link_try_tell(link, FCGIPM_MSG_NEED, pool, 0, 0);
}

/* ---- one attempt at a seat ---- */

typedef fcgipm_attempt_t attempt_t;

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Close, then give the seat on. */
static void give_back(fcgipm_link_t *link, fcgipm_lease_t *lease)
{
    fcgipm_geometry_t g;
    uint64_t word = lease->word;
    if (lease->fd >= 0)
        close(lease->fd);
    lease->fd = -1;
    if (!fcgipm_board_geometry(link->env.board, lease->pool, &g))
        return;
    if (!fcgipm_queue_offer(link->env.board, lease->pool, &g, lease->seat, &word, FCGIPM_SEAT_EV_RETURN,
                            link->child) &&
        fcgipm_seat_state(word) == FCGIPM_SEAT_CLOSED)
        fcgipm_link_tell(link, FCGIPM_MSG_EMPTY, lease->pool, lease->slot, lease->generation);
}

/* ---- waiting ---- */

static bool paused(const attempt_t *a)
{
    return fcgipm_atom_get(&a->link->env.board->pool[a->pool].flags) & FCGIPM_POOL_PAUSED;
}

/* One who waits and sees a free seat must not take it for himself: he gives it to the head of the queue, who
 * may well be himself. */
static void help(const attempt_t *a)
{
    fcgipm_lease_t free_seat = {.fd = -1};
    attempt_t helper = {
        .link = a->link, .wish = a->wish, .lease = &free_seat, .pool = a->pool, .g = a->g, .avoid = a->avoid};
    if (!paused(a) && fcgipm_seek(&helper))
        give_back(a->link, &free_seat);
}

static const char *pool_name(const attempt_t *a)
{
    const char *said = a->wish->life ? NULL : a->wish->setting->name; /* one made on demand is named there */
    return said && *said ? said : a->link->env.board->pool[a->pool].name;
}

bool fcgipm_attempt_pool_serves(const fcgipm_board_t *board, uint32_t pool)
{
    const fcgipm_board_pool_t *p = &board->pool[pool];
    uint32_t state = fcgipm_atom_get(&p->state);
    return !(fcgipm_atom_get(&p->flags) & FCGIPM_POOL_DRAINED) &&
           (fcgipm_atom_get(&p->ready) != 0 ||
            (state != FCGIPM_POOL_BACKOFF && state != FCGIPM_POOL_DRAINING));
}

/* Is it certain that nobody will serve? */
static apr_status_t check_pool(const attempt_t *a)
{
    const fcgipm_board_pool_t *p = &a->link->env.board->pool[a->pool];
    uint32_t state = fcgipm_atom_get(&p->state);
    if (fcgipm_attempt_pool_serves(a->link->env.board, a->pool))
        return APR_SUCCESS;
    if (fcgipm_atom_get(&p->flags) & FCGIPM_POOL_DRAINED)
        return fcgipm_fault_set(a->fault, APR_ENOPROC, "start",
                                "it is drained (fcgipmctl resume %s ends that)", pool_name(a));
    if (state == FCGIPM_POOL_BACKOFF) {
        int64_t left_us = (int64_t)fcgipm_atom_get(&p->retry_us) - fcgipm_clock_steady_us();
        return fcgipm_fault_set(a->fault, APR_ENOPROC, "start",
                                "its processes do not start; next try in %d s; fcgipmctl status %s says why",
                                left_us > 0 ? (int)(left_us / 1000000) + 1 : 1, pool_name(a));
    }
    if (state == FCGIPM_POOL_DRAINING)
        return fcgipm_fault_set(a->fault, APR_ENOPROC, "start", "it is no longer configured");
    return APR_SUCCESS;
}

const char *fcgipm_lease_user(const fcgipm_board_t *board, uint32_t pool, const fcgipm_setting_t *setting,
                              char *out, size_t cap)
{
    char name[sizeof board->pool[pool].name + 1] = "";
    if (setting->user)
        return setting->user;
    memcpy(name, board->pool[pool].name, sizeof name - 1);
    const char *colon = strrchr(name, ':'); /* one of a template: "php:alice" */
    apr_cpystrn(out, colon ? colon + 1 : name, cap);
    return out;
}

/* Of all pools of the account, as far as `enough`. */
static uint32_t load_of_user(const attempt_t *a, uint64_t ticket, uint32_t enough)
{
    const fcgipm_board_t *board = a->link->env.board;
    uint32_t load = 0, pool = a->pool;
    for (unsigned i = 0; i < FCGIPM_PEERS_MAX && load < enough; i++) {
        load += fcgipm_board_load(board, pool, pool == a->pool ? ticket : FCGIPM_ALL_TICKETS);
        if ((pool = fcgipm_board_peer(board, pool, a->pool)) == a->pool)
            break;
    }
    return load;
}

/* Its share of httpd's threads, so that one that hangs does not take them all. ticket: of those who wait only
 * the ones before us count, so that of many who come at once the first ones stay. counted: 1 if we have a
 * seat already. */
static apr_status_t check_share(const attempt_t *a, uint64_t ticket, uint32_t counted)
{
    const fcgipm_share_t *share = a->wish->share;
    const fcgipm_board_t *board = a->link->env.board;
    char user[64];
    if (!share)
        return APR_SUCCESS;
    if (fcgipm_board_load(board, a->pool, ticket) >= share->threads + counted)
        return fcgipm_fault_set(a->fault, APR_EBUSY, "queue",
                                "it has its share of httpd's threads, %u (FcgiQueue threads=)",
                                share->threads);
    if (share->peer_threads && fcgipm_atom_peek(&board->pool[a->pool].account) &&
        load_of_user(a, ticket, share->peer_threads + counted) >= share->peer_threads + counted)
        return fcgipm_fault_set(a->fault, APR_EBUSY, "queue",
                                "the applications of user %s have their share of httpd's threads, %u "
                                "(FcgiUserThreads)",
                                fcgipm_lease_user(board, a->pool, a->wish->setting, user, sizeof user),
                                share->peer_threads);
    return APR_SUCCESS;
}

/* Who waits already, for whatever pool of the account: those before us, where we do. */
static uint32_t waiting_of_user(const attempt_t *a)
{
    const fcgipm_board_t *board = a->link->env.board;
    uint32_t waiting = 0, pool = a->pool;
    fcgipm_geometry_t g;
    for (unsigned i = 0; i < FCGIPM_PEERS_MAX && waiting < a->wish->user_queue; i++) {
        if (pool == a->pool)
            waiting += fcgipm_queue_ahead(board, &a->g, fcgipm_cell_payload(a->word));
        else if (fcgipm_atom_peek(&board->pool[pool].waiting) && fcgipm_board_geometry(board, pool, &g))
            waiting += fcgipm_queue_count(board, &g);
        if ((pool = fcgipm_board_peer(board, pool, a->pool)) == a->pool)
            break;
    }
    return waiting;
}

/* To be asked with a place in the queue. */
static apr_status_t check_users_queue(const attempt_t *a)
{
    const fcgipm_board_t *board = a->link->env.board;
    char user[64];
    if (!a->wish->user_queue || !fcgipm_atom_peek(&board->pool[a->pool].account) ||
        waiting_of_user(a) < a->wish->user_queue)
        return APR_SUCCESS;
    return fcgipm_fault_set(a->fault, APR_EBUSY, "queue",
                            "%u requests wait for the applications of user %s already (FcgiUserQueue)",
                            a->wish->user_queue,
                            fcgipm_lease_user(board, a->pool, a->wish->setting, user, sizeof user));
}

static apr_status_t check_limits(attempt_t *a)
{
    int64_t now_us = fcgipm_clock_us();
    if (a->wish->gone && now_us - a->asked_us >= SLICE_US) {
        a->asked_us = now_us;
        if (a->wish->gone(a->wish->ctx))
            return fcgipm_fault_set(a->fault, APR_ECONNABORTED, "queue", "the client has left");
    }
    if (a->until_us && now_us >= a->until_us && paused(a))
        return fcgipm_fault_set(a->fault, APR_TIMEUP, "queue", "it is paused (fcgipmctl resume %s ends that)",
                                pool_name(a));
    if (a->until_us && now_us >= a->until_us)
        return fcgipm_fault_set(a->fault, APR_TIMEUP, "queue",
                                "none of its processes came free within %" APR_INT64_T_FMT
                                " ms (FcgiTimeout queue=)",
                                (now_us - a->started_us) / 1000);
    if (fcgipm_board_route(a->link->env.board, a->wish->pool) != a->pool)
        return APR_EAGAIN;
    return check_pool(a);
}

static int64_t slice_us(const attempt_t *a)
{
    const fcgipm_board_pool_t *p = &a->link->env.board->pool[a->pool];
    int64_t slice = !p->external && fcgipm_atom_get(&p->starting) == 0 ? NEED_US : SLICE_US;
    int64_t left = a->until_us ? a->until_us - fcgipm_clock_us() : slice;
    return left < slice ? (left > 0 ? left : 1) : slice;
}

static bool accept_handed(attempt_t *a, uint32_t cell, uint64_t ticket, int fd)
{
    fcgipm_link_t *link = a->link;
    uint32_t seat;
    uint64_t word;
    fcgipm_nest_app(a->nest, -1, 0); /* before it can be closed, or be somebody else's */
    if (!fcgipm_queue_accept_handed(link->env.board, a->pool, &a->g, cell, ticket, link->child, &seat,
                                    &word)) {
        close(fd);
        return false;
    }
    fcgipm_seek_hold(a, seat, word);
    a->lease->fd = fd;
    a->lease->reused = a->handed_watched;
    a->lease->sent = a->handed_sent;
    a->lease->since_us = a->lease->sent_us = a->handed_us;
    fcgipm_stat_reuses_add(link->env.board, a->pool, 1);
    return true;
}

/* The cell was granted: take the seat. False: it was lost on the way, we wait on. */
static bool accept_grant(attempt_t *a, uint32_t cell, uint64_t ticket)
{
    fcgipm_link_t *link = a->link;
    uint32_t seat;
    uint64_t word = 0;
    int fd = a->handed_fd;
    a->handed_fd = -1;
    if (fd >= 0)
        return accept_handed(a, cell, ticket, fd);
    if (fcgipm_queue_accept(link->env.board, a->pool, &a->g, cell, ticket, link->child, &seat, &word)) {
        fcgipm_seek_hold(a, seat, word);
        return true;
    }
    if (seat != UINT32_MAX)
        fcgipm_link_tell(link, FCGIPM_MSG_EMPTY, a->pool, fcgipm_seat_slot(&a->g, seat), 0);
    help(a);
    return false;
}

/* Nobody wants the seat any more. The request may have begun on it: then the worker is busy until it has
 * ended. */
static void leave_seat(attempt_t *a)
{
    fcgipm_mux_t mux;
    fcgipm_mux_stream_t stream;
    if (!a->lease->sent) {
        give_back(a->link, a->lease);
        return;
    }
    fcgipm_mux_init(&mux, &stream, 1);
    a->lease->keep = true;
    a->lease->cut = !a->wish->opening_ends || a->lease->sent != a->wish->opening_len;
    fcgipm_lease_linger(a->link, a->lease, &mux, fcgipm_mux_begin(&mux, NULL), LINGER_US, LINGER_MAX_US);
}

static apr_status_t leave_queue(attempt_t *a, apr_status_t rv)
{
    fcgipm_board_t *board = a->link->env.board;
    uint64_t ticket = fcgipm_cell_payload(a->word), seen = a->word;
    if (fcgipm_queue_leave(board, a->pool, a->cell, &seen)) {
        a->state = FCGIPM_ATTEMPT_SEEK;
        if (rv == APR_TIMEUP)
            fcgipm_stat_queue_timeout_add(board, a->pool, 1);
        return rv;
    }
    if (!accept_grant(a, a->cell, ticket)) {
        a->word = fcgipm_atom_get(&board->cell[a->cell]);
        return APR_EAGAIN;
    }
    a->state = FCGIPM_ATTEMPT_SEEK;
    if (rv != APR_ECONNABORTED)
        return APR_SUCCESS; /* at the last moment */
    leave_seat(a);
    return rv;
}

/* Has our turn come? APR_EAGAIN with state QUEUED: not yet; with SEEK: start over. */
static apr_status_t look_at_queue(attempt_t *a)
{
    fcgipm_board_t *board = a->link->env.board;
    uint64_t now = fcgipm_atom_get(&board->cell[a->cell]);
    if (now != a->word) {
        a->state = FCGIPM_ATTEMPT_SEEK;
        if (accept_grant(a, a->cell, fcgipm_cell_payload(a->word)))
            return APR_SUCCESS;
        now = fcgipm_atom_get(&board->cell[a->cell]);
        if (fcgipm_cell_state(now) != FCGIPM_CELL_GRANTED && !fcgipm_cell_same(now, a->word))
            return APR_EAGAIN; /* somebody emptied our cell */
        a->state = FCGIPM_ATTEMPT_QUEUED;
        if (fcgipm_cell_state(now) == FCGIPM_CELL_WAITING)
            a->word = now;
    }
    apr_status_t rv = check_limits(a);
    if (rv != APR_SUCCESS)
        return leave_queue(a, rv);
    return APR_EAGAIN;
}

static apr_status_t queue_up(attempt_t *a)
{
    fcgipm_board_t *board = a->link->env.board;
    apr_status_t rv = check_pool(a);
    if (rv != APR_SUCCESS)
        return rv;
    if ((rv = check_share(a, FCGIPM_ALL_TICKETS, 0)) != APR_SUCCESS) {
        fcgipm_stat_queue_full_add(board, a->pool, 1);
        return rv;
    }
    tell_need(a->link, a->pool);
    if (a->link->child == FCGIPM_NO_CHILD ||
        !fcgipm_queue_join(board, a->pool, &a->g, a->wish->setting->queue_length, a->link->child, &a->cell,
                           &a->word)) {
        fcgipm_stat_queue_full_add(board, a->pool, 1);
        return fcgipm_fault_set(a->fault, APR_EBUSY, "queue",
                                "all its processes are busy and its queue of %u is full",
                                a->wish->setting->queue_length);
    }
    uint64_t seen = a->word; /* a grant that has come already is still to be found */
    rv = check_share(a, fcgipm_cell_payload(a->word), 0); /* others may have joined with us */
    if (rv == APR_SUCCESS)
        rv = check_users_queue(a);
    if (rv != APR_SUCCESS && fcgipm_queue_leave(board, a->pool, a->cell, &seen)) {
        fcgipm_stat_queue_full_add(board, a->pool, 1);
        return rv;
    }
    fcgipm_stat_waited_add(board, a->pool, 1);
    a->state = FCGIPM_ATTEMPT_QUEUED;
    help(a); /* pairs with fcgipm_queue_offer */
    return APR_EAGAIN;
}

/* Could its workers alone take more threads than it may have? */
static bool is_tight(const attempt_t *a)
{
    return a->wish->share && (a->wish->share->tight || a->wish->share->peers_tight);
}

/* What must hold even when a worker is free. Most pools have fewer workers than threads: nothing to count. */
static apr_status_t fits(const attempt_t *a)
{
    if (fcgipm_atom_get(&a->link->env.board->pool[a->pool].flags) & FCGIPM_POOL_DRAINED)
        return check_pool(a);
    return is_tight(a) ? check_share(a, FCGIPM_ALL_TICKETS, 0) : APR_SUCCESS;
}

/* A seat of the pool that serves. Never past those who wait. */
static apr_status_t seek_seat(attempt_t *a)
{
    fcgipm_board_t *board = a->link->env.board;
    a->pool = fcgipm_board_route(board, a->wish->pool);
    if (!fcgipm_board_geometry(board, a->pool, &a->g))
        return fcgipm_fault_set(a->fault, APR_ENOPROC, "pool", "it is not on the board");
    apr_status_t rv = fits(a);
    if (rv != APR_SUCCESS)
        return rv;
    if (!paused(a) && fcgipm_queue_empty(board, a->pool, &a->g) && fcgipm_seek(a)) {
        /* Others may have looked when we did: who finds too many with his seat in hand gives it back. */
        if (is_tight(a) && (rv = check_share(a, FCGIPM_ALL_TICKETS, 1)) != APR_SUCCESS)
            give_back(a->link, a->lease);
        return rv;
    }
    return queue_up(a);
}

/* APR_SUCCESS: we have a seat; APR_EAGAIN: we wait in the queue. */
static apr_status_t take_seat(attempt_t *a)
{
    for (;;) {
        apr_status_t rv = a->state == FCGIPM_ATTEMPT_QUEUED ? look_at_queue(a) : seek_seat(a);
        /* Joined: look once, the grant may have come. Start over: seek. */
        if (rv != APR_EAGAIN)
            return rv;
        if (a->state == FCGIPM_ATTEMPT_QUEUED &&
            fcgipm_atom_get(&a->link->env.board->cell[a->cell]) == a->word)
            return rv;
    }
}

/* ---- connecting ---- */

static apr_status_t seat_address(attempt_t *a)
{
    const fcgipm_board_pool_t *p = &a->link->env.board->pool[a->pool];
    apr_status_t rv;
    if (p->external) {
        memcpy(a->address, p->addr, sizeof p->addr);
        a->address[sizeof p->addr - 1] = 0;
        return fcgipm_addr_parse(&a->addr, a->address, a->fault);
    }
    if (!fcgipm_board_socket_path(a->address, sizeof a->address, a->link->env.runtime_dir, a->pool,
                                  a->lease->slot))
        return fcgipm_fault_set(a->fault, APR_ENAMETOOLONG, "connect",
                                "the runtime directory's name is too long");
    rv = fcgipm_addr_unix(&a->addr, a->address);
    snprintf(a->address, sizeof a->address, "%s/p%u/s%u", a->link->env.runtime_dir, a->pool, a->lease->slot);
    return rv;
}

/* APR_EAGAIN: not yet, state CONNECT. */
static apr_status_t connect_once(attempt_t *a, bool first)
{
    int64_t now_us = fcgipm_clock_us();
    apr_status_t rv;
    if (first || a->poll_fd < 0)
        rv = fcgipm_peer_connect(a->lease->fd, &a->addr);
    else
        rv = fcgipm_peer_connected(a->lease->fd);
    if (rv != APR_EINPROGRESS && rv != APR_EAGAIN)
        return rv;
    if (now_us >= a->connect_until_us)
        return ETIMEDOUT;
    a->poll_fd = rv == APR_EINPROGRESS ? a->lease->fd : -1;
    a->wake_us = a->connect_until_us;
    if (a->poll_fd < 0) { /* a full backlog */
        a->wake_us = less(now_us + a->pause_us, a->connect_until_us);
        a->pause_us = less(a->pause_us * 2, 8000);
    }
    a->state = FCGIPM_ATTEMPT_CONNECT;
    return APR_EAGAIN;
}

static bool may_keep(const attempt_t *a)
{
    uint32_t keep = a->wish->setting->keep_conn;
    if (a->link->wake_fd < 0 || a->link->child == FCGIPM_NO_CHILD || !a->link->keeper_runs)
        return false;
    /* An external application may have fewer processes than we have seats: a kept connection could block it
     * for others, so there it has to be asked for. */
    return keep == FCGIPM_ON || (keep == FCGIPM_AUTO && !a->link->env.board->pool[a->pool].external);
}

bool fcgipm_attempt_multiplexes(const attempt_t *a)
{
    const fcgipm_board_slot_t *slot = &a->link->env.board->slot[a->g.slot_first + a->lease->slot];
    return a->g.concurrency > 1 && fcgipm_atom_peek(&slot->multiplexes);
}

/* May it share its connection? One that cannot be repeated must not depend on how others end; an application
 * that does not read a body in time (Go's net/http/fcgi) would keep all others waiting; and one whose answer
 * is not always taken would be cut off for it. */
bool fcgipm_attempt_shares(const attempt_t *a)
{
    return !a->wish->fresh && !a->wish->alone && a->wish->opening_ends && fcgipm_attempt_multiplexes(a) &&
           may_keep(a);
}

static apr_status_t connect_begin(attempt_t *a)
{
    a->joined = false;
    if (fcgipm_attempt_shares(a)) {
        a->lease->fd = fcgipm_trunk_join(a->link->trunks, a->pool, a->lease->slot, a->lease->generation);
        a->joined = a->lease->fd >= 0;
        if (a->joined)
            return APR_SUCCESS;
    }
    int64_t limit_us = a->wish->setting->connect_us;
    a->connect_us = fcgipm_clock_us();
    if (limit_us <= 0)
        limit_us = CONNECT_DEFAULT_US;
    if (a->wish->deadline_us)
        limit_us = less(limit_us, a->wish->deadline_us - a->connect_us);
    a->connect_until_us = a->connect_us + (limit_us > 0 ? limit_us : 1);
    a->pause_us = 500;
    apr_status_t rv = seat_address(a);
    if (rv == APR_SUCCESS)
        rv = fcgipm_peer_open(&a->lease->fd, &a->addr);
    return rv == APR_SUCCESS ? connect_once(a, true) : rv;
}

static apr_status_t seat_connect(attempt_t *a)
{
    char reason[128];
    fcgipm_lease_t *lease = a->lease;
    apr_status_t rv = a->state == FCGIPM_ATTEMPT_CONNECT ? connect_once(a, false) : connect_begin(a);
    if (rv == APR_EAGAIN)
        return rv;
    a->state = FCGIPM_ATTEMPT_SEEK;
    if (!a->joined)
        lease->connect_us += fcgipm_clock_us() - a->connect_us;
    if (rv == APR_SUCCESS && a->joined) {
        fcgipm_stat_reuses_add(a->link->env.board, a->pool, 1);
        return rv;
    }
    if (rv == APR_SUCCESS) {
        int branch = fcgipm_attempt_shares(a) ? fcgipm_trunk_adopt(a->link->trunks, a->pool, lease->slot,
                                                                   lease->generation, lease->fd)
                                              : -1;
        if (branch >= 0)
            lease->fd = branch;
        fcgipm_stat_connects_add(a->link->env.board, a->pool, 1);
        return rv;
    }
    if (lease->fd >= 0)
        close(lease->fd);
    lease->fd = -1;
    if (rv == EMFILE || rv == ENFILE || rv == ENOBUFS || rv == ENOMEM)
        return fcgipm_fault_set(
            a->fault, rv, "connect",
            "this httpd child has no %s left to connect to the application, which is well "
            "(%s: %s%s)",
            rv == EMFILE || rv == ENFILE ? "descriptor" : "memory", a->address,
            apr_strerror(rv, reason, sizeof reason),
            rv == EMFILE ? "; raise httpd's limit of open files" : "");
    return fcgipm_fault_set(a->fault, rv, "connect", "could not connect to %s: %s%s", a->address,
                            apr_strerror(rv, reason, sizeof reason),
                            APR_STATUS_IS_TIMEUP(rv) || rv == ETIMEDOUT ? " (FcgiTimeout connect=)" : "");
}

/* The seat could not be connected: give it back, and say whether to try another. Its worker has probably just
 * died and the manager closes the seat in a moment, so a little patience finds the queue and not the corpse.
 */
static bool try_again(attempt_t *a, apr_status_t rv)
{
    fcgipm_lease_t *lease = a->lease;
    bool refused = fcgipm_peer_refused(rv);
    int most = a->wish->setting->connect ? TRIES_MAX : TRIES_OWN;
    if (refused)
        fcgipm_link_tell(a->link, FCGIPM_MSG_BAD, lease->pool, lease->slot, lease->generation);
    a->avoid = lease->slot;
    a->poll_fd = -1;
    give_back(a->link, lease);
    int64_t now_us = fcgipm_clock_us();
    if (!refused || a->tries >= most || (a->wish->deadline_us && now_us >= a->wish->deadline_us))
        return false;
    a->wake_us = now_us + (int64_t)a->tries * a->tries * 5000;
    a->tries++;
    a->state = FCGIPM_ATTEMPT_PAUSE;
    return true;
}

static void lease_empty(fcgipm_lease_t *lease)
{
    memset(lease, 0, sizeof *lease);
    lease->fd = -1;
}

/* Somebody has written over the board, and the manager has thrown out what was no child's. */
static void keep_row(const fcgipm_link_t *link)
{
    uint32_t none = 0;
    if (link->child != FCGIPM_NO_CHILD && fcgipm_atom_peek(&link->env.board->child[link->child].pid) == 0)
        fcgipm_atom_cas(&link->env.board->child[link->child].pid, &none, (uint32_t)getpid());
}

void fcgipm_attempt_begin(attempt_t *a, fcgipm_link_t *link, fcgipm_lease_t *lease, const fcgipm_wish_t *wish,
                          fcgipm_fault_t *fault)
{
    int64_t now_us = fcgipm_clock_us();
    memset(a, 0, offsetof(attempt_t, address));
    keep_row(link);
    a->link = link;
    a->wish = wish;
    a->lease = lease;
    a->fault = fault;
    a->state = FCGIPM_ATTEMPT_SEEK;
    a->poll_fd = a->handed_fd = -1;
    a->avoid = wish->avoid_seat_slot;
    a->tries = 1;
    a->started_us = a->asked_us = a->seek_us = now_us;
    a->until_us = wish->setting->queue_us > 0 ? now_us + wish->setting->queue_us : 0;
    if (wish->deadline_us && (!a->until_us || wish->deadline_us < a->until_us))
        a->until_us = wish->deadline_us;
    a->parked = false;
    lease_empty(lease);
}

static apr_status_t attempt_failed(attempt_t *a, apr_status_t rv)
{
    if (a->fault)
        a->fault->phase = FCGIPM_PHASE_NOTHING_SENT;
    a->state = FCGIPM_ATTEMPT_SEEK;
    lease_empty(a->lease);
    return rv;
}

static apr_status_t attempt_done(attempt_t *a)
{
    fcgipm_board_t *board = a->link->env.board;
    const fcgipm_board_slot_t *slot = &board->slot[a->g.slot_first + a->lease->slot];
    a->lease->pid = fcgipm_atom_peek(&slot->pid); /* a successor may have come since the seat was taken */
    a->lease->shared = fcgipm_attempt_shares(a);
    a->lease->keep =
        may_keep(a) && (fcgipm_attempt_shares(a) ||
                        !fcgipm_attempt_multiplexes(a)); /* its seat's next request shares again */
    fcgipm_atom_count(&board->slot[a->g.slot_first + a->lease->slot].begun, 1);
    fcgipm_stat_requests_add(board, a->pool, 1);
    return APR_SUCCESS;
}

apr_status_t fcgipm_attempt_step(attempt_t *a)
{
    fcgipm_lease_t *lease = a->lease;
    for (;;) {
        apr_status_t rv;
        if (a->state == FCGIPM_ATTEMPT_PAUSE) {
            if (fcgipm_clock_us() < a->wake_us)
                return APR_EAGAIN;
            a->state = FCGIPM_ATTEMPT_SEEK;
            a->seek_us = fcgipm_clock_us();
        }
        if (a->state != FCGIPM_ATTEMPT_CONNECT) {
            rv = take_seat(a);
            if (rv == APR_EAGAIN)
                return rv;
            lease->queue_us += (lease->sent_us ? lease->sent_us : fcgipm_clock_us()) - a->seek_us;
            if (rv != APR_SUCCESS)
                return attempt_failed(a, rv);
            if (lease->fd >= 0)
                return attempt_done(a);
        }
        rv = seat_connect(a);
        if (rv == APR_EAGAIN)
            return rv;
        if (rv == APR_SUCCESS)
            return attempt_done(a);
        if (!try_again(a, rv))
            return attempt_failed(a, rv);
    }
}

static void nap(int64_t us)
{
    if (us > 0)
        nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000}, NULL);
}

void fcgipm_attempt_tend(const attempt_t *a)
{
    fcgipm_board_t *board = a->link->env.board;
    help(a);
    if (fcgipm_atom_get(&board->pool[a->pool].starting) == 0 &&
        fcgipm_atom_get(&board->cell[a->cell]) == a->word)
        tell_need(a->link, a->pool);
}

static bool sleep_in_queue(attempt_t *a, int64_t limit_us)
{
    fcgipm_board_t *board = a->link->env.board;
    int64_t until_us = fcgipm_clock_us() + limit_us, nap_us = slice_us(a);
    fcgipm_queue_wait(board, a->cell, a->word, less(nap_us, limit_us));
    fcgipm_attempt_tend(a);
    return fcgipm_atom_get(&board->cell[a->cell]) != a->word || nap_us < limit_us ||
           fcgipm_clock_us() < until_us;
}

bool fcgipm_attempt_sleep(attempt_t *a, int64_t limit_us)
{
    if (a->state == FCGIPM_ATTEMPT_QUEUED)
        return sleep_in_queue(a, limit_us);
    int64_t left_us = a->wake_us - fcgipm_clock_us();
    bool whole = left_us <= limit_us;
    if (!whole)
        left_us = limit_us;
    if (a->state == FCGIPM_ATTEMPT_CONNECT && a->poll_fd >= 0) {
        struct pollfd pfd = {.fd = a->poll_fd, .events = POLLOUT};
        return poll(&pfd, 1, left_us > 0 ? (int)less(left_us / 1000 + 1, 600000) : 0) > 0 || whole;
    }
    nap(left_us);
    return whole;
}

apr_status_t fcgipm_lease_acquire(fcgipm_link_t *link, fcgipm_lease_t *lease, const fcgipm_wish_t *wish,
                                  fcgipm_fault_t *fault)
{
    attempt_t a;
    apr_status_t rv;
    fcgipm_attempt_begin(&a, link, lease, wish, fault);
    while ((rv = fcgipm_attempt_step(&a)) == APR_EAGAIN)
        fcgipm_attempt_sleep(&a, INT64_MAX / 4);
    return rv;
}

void fcgipm_attempt_cancel(attempt_t *a)
{
    fcgipm_attempt_unpark(a);
    if (a->state == FCGIPM_ATTEMPT_QUEUED) {
        while (leave_queue(a, APR_ECONNABORTED) == APR_EAGAIN)
            ;
    } else if (a->state == FCGIPM_ATTEMPT_CONNECT) {
        give_back(a->link, a->lease);
    }
    a->state = FCGIPM_ATTEMPT_SEEK;
    lease_empty(a->lease);
}

bool fcgipm_attempt_sleeps(const attempt_t *a, bool company)
{
    return (a->wish->fresh || !company) && !(a->word & FCGIPM_CELL_PARKED);
}

/* ---- giving back ---- */

bool fcgipm_lease_waited(const fcgipm_link_t *link, const fcgipm_lease_t *lease)
{
    return lease->keep && fcgipm_atom_peek(&link->parked[lease->pool]);
}

bool fcgipm_lease_wanted(const fcgipm_link_t *link, const fcgipm_lease_t *lease)
{
    fcgipm_geometry_t g;
    return fcgipm_board_geometry(link->env.board, lease->pool, &g) &&
           !fcgipm_queue_empty(link->env.board, lease->pool, &g);
}

const char *fcgipm_lease_verdict(fcgipm_link_t *link, const fcgipm_lease_t *lease)
{
    return lease->shared ? fcgipm_trunk_verdict(link->trunks, lease->fd) : NULL;
}

void fcgipm_lease_full(fcgipm_link_t *link, const fcgipm_lease_t *lease, bool full)
{
    if (lease->shared)
        fcgipm_trunk_full(link->trunks, lease->fd, full);
}

/* What was looked at only. */
static void read_rest(fcgipm_lease_t *lease)
{
    char buffer[4096];
    while (lease->unread) {
        size_t want = lease->unread < sizeof buffer ? lease->unread : sizeof buffer;
        ssize_t n = recv(lease->fd, buffer, want, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        lease->unread = n > 0 ? lease->unread - (size_t)n : 0;
    }
}

/* The first that waits in this child gets the seat with its connection: no end of a connection for the
 * application to see, no new one to accept. Others' requests may wait a little longer for that, STREAK_MAX
 * short requests at most. Its thread is not woken: what comes next is the answer. */
static bool hand_over(fcgipm_link_t *link, fcgipm_lease_t *lease, const fcgipm_geometry_t *g)
{
    fcgipm_board_t *board = link->env.board;
    uint32_t cell, flags = fcgipm_atom_get(&board->pool[lease->pool].flags);
    uint64_t word;
    bool head;
    if ((flags & FCGIPM_POOL_PAUSED) || fcgipm_seat_state(lease->word) != FCGIPM_SEAT_BUSY ||
        !fcgipm_queue_first(board, g, link->child, &cell, &word, &head))
        return false;
    if (head)
        fcgipm_atom_put(&link->streak[lease->pool], 0);
    else if (fcgipm_clock_us() - lease->since_us > STREAK_US)
        return false; /* beside a slow request a new connection costs nothing: strict order */
    else if (fcgipm_atom_add(&link->streak[lease->pool], 1) >= STREAK_MAX) {
        fcgipm_atom_put(&link->streak[lease->pool], 0);
        return false;
    }
    attempt_t *a = fcgipm_parked_take(link, cell);
    if (!a)
        return false;
    if (a->wish->fresh || a->wish->life != lease->life ||
        (lease->shared && (a->wish->alone || !a->wish->opening_ends)) || a->avoid == lease->slot ||
        a->handed_fd >= 0 || !fcgipm_queue_hand(board, cell, word, lease->seat, lease->word)) {
        fcgipm_parked_put(a, word);
        return false;
    }
    ssize_t n = 0;
    if (a->wish->opening && !(flags & FCGIPM_POOL_TRACED))
        n = send(lease->fd, a->wish->opening, a->wish->opening_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    read_rest(lease);
    a->handed_fd = lease->fd;
    a->handed_watched = lease->reused;
    a->handed_sent = n > 0 ? (size_t)n : 0;
    a->handed_us = fcgipm_clock_us();
    /* What is not all of the request needs its own thread now, not at the answer. */
    bool all = a->wish->opening_ends && n == (ssize_t)a->wish->opening_len;
    if (!all || !fcgipm_nest_app(a->nest, lease->fd, POLLIN))
        fcgipm_nest_ring(a->nest);
    fcgipm_atom_set(&link->waiting[cell], a); /* (its owner rang already, if need be) */
    return true;
}

/* Keep the connection with its seat. False: close. The seat is stepped first and the connection stored
 * second; fcgipm_kept_put looks at the word again, so a takeover in between is seen. */
static bool release_keep(fcgipm_link_t *link, fcgipm_lease_t *lease)
{
    fcgipm_board_t *board = link->env.board;
    fcgipm_kept_t kept = {.pool = lease->pool, .seat = lease->seat, .fd = lease->fd};
    uint64_t word = lease->word;
    if (!fcgipm_board_geometry(board, lease->pool, &kept.g) ||
        fcgipm_atom_get(&board->seat[lease->seat]) != word)
        return false;
    if (!fcgipm_queue_empty(board, lease->pool, &kept.g))
        return hand_over(link, lease, &kept.g);
    read_rest(lease);
    if (fcgipm_queue_offer(board, lease->pool, &kept.g, lease->seat, &word, FCGIPM_SEAT_EV_KEEP,
                           link->child)) {
        close(lease->fd); /* somebody had joined in between and has the seat now */
        return true;
    }
    kept.word = word;
    if (fcgipm_seat_state(word) == FCGIPM_SEAT_LEASED && fcgipm_seat_owner(word) == link->child) {
        if (!fcgipm_kept_put(link, &kept, !lease->reused))
            fcgipm_kept_close(link, &kept);
        return true;
    }
    close(lease->fd);
    if (fcgipm_seat_state(word) == FCGIPM_SEAT_CLOSED)
        fcgipm_link_tell(link, FCGIPM_MSG_EMPTY, lease->pool, lease->slot, lease->generation);
    return true;
}

/* A hung worker will be killed: close its seat, so that nobody is sent to it. The manager opens the seats of
 * the next worker. */
static void release_hung(fcgipm_link_t *link, fcgipm_lease_t *lease)
{
    uint64_t word = lease->word;
    fcgipm_atom64_t *seat = &link->env.board->seat[lease->seat];
    if (link->env.board->pool[lease->pool].external) { /* there is no process of ours to replace */
        give_back(link, lease);
        return;
    }
    close(lease->fd);
    if (!fcgipm_seat_step(seat, &word, FCGIPM_SEAT_EV_SHUT, link->child) &&
        fcgipm_seat_state(word) == FCGIPM_SEAT_DRAINING && fcgipm_seat_owner(word) == link->child)
        fcgipm_seat_step(seat, &word, FCGIPM_SEAT_EV_SHUT, link->child);
    if (tell_about(link, FCGIPM_MSG_HUNG, lease) == APR_EAGAIN)
        fcgipm_link_tell(link, FCGIPM_MSG_HUNG, lease->pool, lease->slot, lease->generation);
}

void fcgipm_lease_release(fcgipm_link_t *link, fcgipm_lease_t *lease, fcgipm_lease_end_t end, bool complete)
{
    fcgipm_geometry_t g;
    if (lease->fd < 0)
        return;
    if (complete && fcgipm_board_geometry(link->env.board, lease->pool, &g) && lease->slot < g.slot_count) {
        fcgipm_atom_count(&link->env.board->slot[g.slot_first + lease->slot].requests, 1);
        fcgipm_atom_put(&link->env.board->slot[g.slot_first + lease->slot].used_us,
                        (uint64_t)fcgipm_clock_steady_us());
    }
    if (end == FCGIPM_LEASE_HUNG) {
        release_hung(link, lease);
    } else if (end != FCGIPM_LEASE_KEEP || !lease->keep || !release_keep(link, lease)) {
        if (end == FCGIPM_LEASE_BROKEN)
            fcgipm_link_tell(link, FCGIPM_MSG_BAD, lease->pool, lease->slot, lease->generation);
        give_back(link, lease);
    }
    lease_empty(lease);
}

/* ---- pools made on demand ---- */

static apr_status_t ask_for(const fcgipm_link_t *link, const fcgipm_lease_ask_t *ask)
{
    fcgipm_msg_t msg = {
        .version = FCGIPM_MSG_VERSION, .type = ask->type, .block = ask->block, .site = ask->site};
    if (ask->path) {
        msg.path_len = (uint32_t)strlen(ask->path);
        memcpy(msg.path, ask->path, msg.path_len);
    }
    return fcgipm_msg_send(link->env.requests_fd, &msg);
}

apr_status_t fcgipm_lease_demand(fcgipm_link_t *link, const fcgipm_lease_ask_t *ask,
                                 fcgipm_lease_demand_t *demand, uint32_t *pool, uint64_t *life,
                                 fcgipm_fault_t *fault)
{
    int64_t now_us = fcgipm_clock_us();
    if (ask->path && strlen(ask->path) >= FCGIPM_MSG_PATH_MAX)
        return fcgipm_fault_set(fault, APR_ENOPROC, "demand", "the file's path is too long");
    demand->seen = fcgipm_atom_get(&link->env.board->demand_changes);
    if (fcgipm_demand_find(link->env.board, &ask->what, pool, life))
        return APR_SUCCESS;
    if (demand->asked_us && now_us >= demand->until_us)
        return fcgipm_fault_set(fault, APR_TIMEUP, "demand", "the manager made no pool for %s",
                                ask->path ? ask->path : "it");
    if (now_us - demand->asked_us >= demand->again_us) {
        apr_status_t rv = ask_for(link, ask);
        if (rv != APR_SUCCESS && rv != APR_EAGAIN)
            return fcgipm_fault_set(fault, APR_ENOPROC, "demand", "the manager cannot be asked");
        demand->asked_us = now_us;
        demand->again_us = demand->again_us ? less(demand->again_us * 2, ASK_MAX_US) : NEED_US;
    }
    demand->look_us = demand->look_us ? less(demand->look_us * 2, LOOK_MAX_US) : LOOK_US;
    demand->wake_us = less(now_us + demand->look_us, demand->until_us);
    return APR_EAGAIN;
}

bool fcgipm_lease_demand_sleep(fcgipm_link_t *link, const fcgipm_lease_demand_t *demand, int64_t limit_us)
{
    int64_t left_us = demand->wake_us - fcgipm_clock_us();
    fcgipm_demand_wait(link->env.board, demand->seen, less(left_us, limit_us));
    return left_us <= limit_us || fcgipm_atom_get(&link->env.board->demand_changes) != demand->seen;
}

/* The manager shuts an index's seats, which changes their words, before it gives that another life: seat and
 * life unchanged means that what was connected to in between was the pool's. */
bool fcgipm_lease_lives(const fcgipm_link_t *link, const fcgipm_lease_t *lease)
{
    if (!lease->life)
        return true;
    if (!fcgipm_demand_lives(link->env.board, lease->pool, lease->life))
        return false;
    uint64_t word = fcgipm_atom_get(&link->env.board->seat[lease->seat]);
    unsigned state = fcgipm_seat_state(word);
    return fcgipm_seat_owner(word) == link->child &&
           (state == FCGIPM_SEAT_BUSY || state == FCGIPM_SEAT_DRAINING) &&
           ((fcgipm_seat_epoch(word) - fcgipm_seat_epoch(lease->word)) & 0xffffffffffull) <= 1;
}
