/* SPDX-License-Identifier: Apache-2.0 */
#include "link/lease.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <apr_strings.h>
#include <apr_time.h>
#include "link/link.h"
#include "link/peer.h"
#include "share/stat.h"

#define SLICE_US      500000 /* how often a waiter looks at its client and its pool */
#define NEED_US       150000 /* how often it asks again while nothing starts */
#define NEED_PAUSE_US 5000   /* of one child and pool, so that a full house does not flood the manager */
#define TRIES_MAX     3

/* ---- messages ---- */

static apr_status_t tell(const fcgipm_link_t *link, uint32_t type, uint32_t pool, uint32_t slot,
                         uint32_t generation)
{
    fcgipm_msg_t msg = {
        .version = FCGIPM_MSG_VERSION, .type = type, .pool = pool, .slot = slot, .generation = generation};
    return link->env.requests_fd < 0 ? APR_SUCCESS : fcgipm_msg_send(link->env.requests_fd, &msg);
}

/* With what was asked for, for the manager's log. */
static apr_status_t tell_about(const fcgipm_link_t *link, uint32_t type, const fcgipm_lease_t *lease)
{
    int64_t ms = (apr_time_now() - lease->since_us) / 1000;
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

/* Send; what the full socket refuses the keeper sends later. */
void fcgipm_link_tell(fcgipm_link_t *link, fcgipm_msg_type_t type, uint32_t pool, uint32_t slot,
                      uint32_t generation)
{
    if (tell(link, type, pool, slot, generation) != APR_EAGAIN)
        return;
    pthread_mutex_lock(&link->mutex);
    bool wake = link->asleep;
    link->asleep = false;
    if (link->pending_count < FCGIPM_PENDING_MAX) {
        unsigned i = link->pending_count++;
        link->pending[i].type = type;
        link->pending[i].pool = pool;
        link->pending[i].slot = slot;
        link->pending[i].generation = generation;
    }
    pthread_mutex_unlock(&link->mutex);
    if (wake)
        fcgipm_keeper_wake(link);
}

void fcgipm_link_tell_pending(fcgipm_link_t *link)
{
    pthread_mutex_lock(&link->mutex);
    while (link->pending_count) {
        unsigned i = link->pending_count - 1;
        if (tell(link, link->pending[i].type, link->pending[i].pool, link->pending[i].slot,
                 link->pending[i].generation) == APR_EAGAIN)
            break;
        link->pending_count = i;
    }
    pthread_mutex_unlock(&link->mutex);
}

static void tell_need(fcgipm_link_t *link, uint32_t pool)
{
    int64_t now_us = apr_time_now();
    uint64_t last_us = fcgipm_atom_peek(&link->need_us[pool]);
    if (link->env.board->pool[pool].external || now_us - (int64_t)last_us < NEED_PAUSE_US)
        return;
    fcgipm_atom_put(&link->need_us[pool], (uint64_t)now_us);
    (void)tell(link, FCGIPM_MSG_NEED, pool, 0, 0);
}

/* ---- one attempt at a seat ---- */

/* Everything that the steps of one acquire share. */
typedef struct attempt {
    fcgipm_link_t *link;
    const fcgipm_wish_t *wish;
    fcgipm_lease_t *lease;
    fcgipm_fault_t *fault;
    uint32_t pool; /* after route */
    fcgipm_geometry_t g;
    uint32_t avoid;               /* slot number */
    int64_t started_us, until_us; /* of the waiting, 0 = no limit */
    int64_t asked_us;             /* gone() */
} attempt_t;

static uint32_t seat_end(const fcgipm_geometry_t *g)
{
    return g->seat_first + g->slot_count * g->concurrency;
}

static void lease_seat(attempt_t *a, uint32_t seat, uint64_t word)
{
    fcgipm_lease_t *lease = a->lease;
    lease->pool = a->pool;
    lease->seat = seat;
    lease->word = word;
    lease->slot = fcgipm_seat_slot(&a->g, seat);
    const fcgipm_board_slot_t *slot = &a->link->env.board->slot[a->g.slot_first + lease->slot];
    lease->generation = fcgipm_atom_peek(&slot->generation);
    lease->pid = fcgipm_atom_peek(&slot->pid);
    lease->since_us = apr_time_now();
}

/* Tell a child that a connection it keeps is only fit to be closed. */
static void notify(const fcgipm_link_t *link, unsigned child)
{
    uint64_t one = 1;
    if (child < link->env.wake_count && link->env.wake_fds[child] >= 0)
        while (write(link->env.wake_fds[child], &one, sizeof one) < 0 && errno == EINTR)
            ;
}

static bool wanted(const fcgipm_kept_t *kept, void *ctx)
{
    const attempt_t *a = ctx;
    return fcgipm_seat_slot(&a->g, kept->seat) != a->avoid;
}

/* Our own kept connection, last used first. It may have died meanwhile; its seat is good all the same. */
static bool take_kept(attempt_t *a)
{
    fcgipm_kept_t kept;
    while (fcgipm_kept_take(a->link, a->pool, wanted, a, &kept)) {
        uint64_t word = kept.word;
        bool ours = fcgipm_seat_step(&a->link->env.board->seat[kept.seat], &word, FCGIPM_SEAT_EV_TAKE,
                                     a->link->child);
        if (ours)
            lease_seat(a, kept.seat, word);
        if (ours && !a->wish->fresh && fcgipm_peer_silent(kept.fd)) {
            a->lease->fd = kept.fd;
            a->lease->reused = true;
            fcgipm_stat_reuses_add(a->link->env.board, a->pool, 1);
            return true;
        }
        close(kept.fd); /* before we connect anew: the worker accepts when it has seen the end of this one */
        if (ours)
            return true;
    }
    return false;
}

/* The first seat in `state`, rank first. */
static bool take_state(attempt_t *a, fcgipm_seat_state_t state)
{
    fcgipm_board_t *board = a->link->env.board;
    for (uint32_t seat = a->g.seat_first; seat < seat_end(&a->g); seat++) {
        uint64_t word = fcgipm_atom_get(&board->seat[seat]);
        unsigned owner = fcgipm_seat_owner(word);
        if (fcgipm_seat_state(word) != state || fcgipm_seat_slot(&a->g, seat) == a->avoid ||
            !fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_TAKE, a->link->child))
            continue;
        lease_seat(a, seat, word);
        if (state == FCGIPM_SEAT_LEASED) {
            a->lease->taken_over = true;
            fcgipm_stat_takeovers_add(board, a->pool, 1);
            notify(a->link, owner);
        }
        return true;
    }
    return false;
}

static bool take_any(attempt_t *a)
{
    uint32_t avoid = a->avoid;
    bool taken = take_kept(a) || take_state(a, FCGIPM_SEAT_IDLE) || take_state(a, FCGIPM_SEAT_LEASED);
    if (taken || avoid == UINT32_MAX)
        return taken;
    a->avoid = UINT32_MAX;
    taken = take_kept(a) || take_state(a, FCGIPM_SEAT_IDLE) || take_state(a, FCGIPM_SEAT_LEASED);
    a->avoid = avoid;
    return taken;
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

static bool paused(const attempt_t *a);

/* One who waits and sees a free seat must not take it for himself: he gives it to the head of the queue, who
 * may well be himself. */
static void help(attempt_t *a)
{
    if (paused(a))
        return;
    fcgipm_lease_t mine = *a->lease;
    bool taken = take_any(a);
    fcgipm_lease_t free_seat = *a->lease;
    *a->lease = mine;
    if (taken)
        give_back(a->link, &free_seat);
}

static const char *pool_name(const attempt_t *a)
{
    return a->wish->setting->name ? a->wish->setting->name : "?";
}

/* Is it certain that nobody will serve? */
static apr_status_t check_pool(const attempt_t *a)
{
    const fcgipm_board_pool_t *p = &a->link->env.board->pool[a->pool];
    uint32_t state = fcgipm_atom_get(&p->state);
    if (fcgipm_atom_get(&p->flags) & FCGIPM_POOL_DRAINED)
        return fcgipm_fault_set(a->fault, APR_ENOPROC, "start",
                                "pool %s is drained (fcgipmctl resume %s ends that)", pool_name(a),
                                pool_name(a));
    if (fcgipm_atom_get(&p->ready) != 0)
        return APR_SUCCESS;
    if (state == FCGIPM_POOL_BACKOFF) {
        int64_t left_us = (int64_t)fcgipm_atom_get(&p->retry_us) - apr_time_now();
        return fcgipm_fault_set(a->fault, APR_ENOPROC, "start",
                                "the application of pool %s does not start; next try in %d s", pool_name(a),
                                left_us > 0 ? (int)(left_us / 1000000) + 1 : 1);
    }
    if (state == FCGIPM_POOL_DRAINING)
        return fcgipm_fault_set(a->fault, APR_ENOPROC, "start", "pool %s is no longer configured",
                                pool_name(a));
    return APR_SUCCESS;
}

/* Its share of httpd's threads, so that one that hangs does not take them all. ticket: of those who wait only
 * the ones before us count, so that of many who come at once the first ones stay. counted: 1 if we have a
 * seat already. */
static apr_status_t check_share(const attempt_t *a, uint64_t ticket, uint32_t counted)
{
    const fcgipm_share_t *share = a->wish->share;
    const fcgipm_board_t *board = a->link->env.board;
    uint32_t load = 0;
    if (!share)
        return APR_SUCCESS;
    if (fcgipm_board_load(board, a->pool, ticket) >= share->threads + counted)
        return fcgipm_fault_set(a->fault, APR_EBUSY, "queue",
                                "pool %s has its share of httpd's threads, %u (FcgiQueue threads=)",
                                pool_name(a), share->threads);
    for (unsigned i = 0; i < share->peer_count && load < share->peer_threads + counted; i++)
        load += fcgipm_board_load(board, share->peers[i],
                                  share->peers[i] == a->pool ? ticket : FCGIPM_ALL_TICKETS);
    if (share->peer_count && load >= share->peer_threads + counted)
        return fcgipm_fault_set(a->fault, APR_EBUSY, "queue",
                                "the applications of user %s have their share of httpd's threads, %u "
                                "(FcgiUserThreads)",
                                a->wish->setting->user ? a->wish->setting->user : "?", share->peer_threads);
    return APR_SUCCESS;
}

static bool paused(const attempt_t *a)
{
    return fcgipm_atom_get(&a->link->env.board->pool[a->pool].flags) & FCGIPM_POOL_PAUSED;
}

static apr_status_t check_limits(attempt_t *a)
{
    int64_t now_us = apr_time_now();
    if (a->wish->gone && now_us - a->asked_us >= SLICE_US) {
        a->asked_us = now_us;
        if (a->wish->gone(a->wish->ctx))
            return fcgipm_fault_set(a->fault, APR_ECONNABORTED, "queue", "the client has left");
    }
    if (a->until_us && now_us >= a->until_us)
        return fcgipm_fault_set(a->fault, APR_TIMEUP, "queue",
                                "no process of pool %s came free within %" APR_INT64_T_FMT
                                " ms (FcgiTimeout queue=)",
                                pool_name(a), (now_us - a->started_us) / 1000);
    if (fcgipm_board_route(a->link->env.board, a->wish->pool) != a->pool)
        return APR_EAGAIN;
    return check_pool(a);
}

static int64_t slice_us(const attempt_t *a)
{
    const fcgipm_board_pool_t *p = &a->link->env.board->pool[a->pool];
    int64_t slice = !p->external && fcgipm_atom_get(&p->starting) == 0 ? NEED_US : SLICE_US;
    int64_t left = a->until_us ? a->until_us - apr_time_now() : slice;
    return left < slice ? (left > 0 ? left : 1) : slice;
}

/* The cell was granted: take the seat. False: it was lost on the way, we wait on. */
static bool accept_grant(attempt_t *a, uint32_t cell, uint64_t ticket)
{
    fcgipm_link_t *link = a->link;
    uint32_t seat;
    uint64_t word = 0;
    if (fcgipm_queue_accept(link->env.board, a->pool, &a->g, cell, ticket, link->child, &seat, &word)) {
        lease_seat(a, seat, word);
        return true;
    }
    if (seat != UINT32_MAX)
        fcgipm_link_tell(link, FCGIPM_MSG_EMPTY, a->pool, fcgipm_seat_slot(&a->g, seat), 0);
    help(a);
    return false;
}

static apr_status_t wait_turn(attempt_t *a, uint32_t cell, uint64_t word)
{
    fcgipm_board_t *board = a->link->env.board;
    uint64_t ticket = fcgipm_cell_payload(word);
    help(a); /* pairs with fcgipm_queue_offer */
    for (;;) {
        uint64_t now = fcgipm_atom_get(&board->cell[cell]);
        if (now != word) {
            if (accept_grant(a, cell, ticket))
                return APR_SUCCESS;
            now = fcgipm_atom_get(&board->cell[cell]);
            if (now != word && fcgipm_cell_state(now) != FCGIPM_CELL_GRANTED)
                return APR_EAGAIN; /* somebody emptied our cell: start over */
        }
        apr_status_t rv = check_limits(a);
        if (rv != APR_SUCCESS) {
            uint64_t seen = word;
            if (fcgipm_queue_leave(board, a->pool, cell, &seen))
                return rv;
            if (!accept_grant(a, cell, ticket))
                continue;
            if (rv != APR_ECONNABORTED)
                return APR_SUCCESS; /* at the last moment */
            give_back(a->link, a->lease);
            return rv;
        }
        fcgipm_queue_wait(board, cell, word, slice_us(a));
        help(a);
        if (fcgipm_atom_get(&board->pool[a->pool].starting) == 0 &&
            fcgipm_atom_get(&board->cell[cell]) == word)
            tell_need(a->link, a->pool);
    }
}

static apr_status_t queue_up(attempt_t *a)
{
    fcgipm_board_t *board = a->link->env.board;
    uint32_t cell;
    uint64_t word;
    apr_status_t rv = check_pool(a);
    if (rv != APR_SUCCESS)
        return rv;
    if ((rv = check_share(a, FCGIPM_ALL_TICKETS, 0)) != APR_SUCCESS) {
        fcgipm_stat_queue_full_add(board, a->pool, 1);
        return rv;
    }
    tell_need(a->link, a->pool);
    if (a->link->child == FCGIPM_NO_CHILD ||
        !fcgipm_queue_join(board, a->pool, &a->g, a->wish->setting->queue_length, a->link->child, &cell,
                           &word)) {
        fcgipm_stat_queue_full_add(board, a->pool, 1);
        return fcgipm_fault_set(a->fault, APR_EBUSY, "queue",
                                "all processes of pool %s are busy and its queue of %u is full", pool_name(a),
                                a->wish->setting->queue_length);
    }
    rv = check_share(a, fcgipm_cell_payload(word), 0); /* others may have joined with us */
    if (rv != APR_SUCCESS && fcgipm_queue_leave(board, a->pool, cell, &word)) {
        fcgipm_stat_queue_full_add(board, a->pool, 1);
        return rv;
    }
    fcgipm_stat_waited_add(board, a->pool, 1);
    rv = wait_turn(a, cell, word);
    if (rv == APR_TIMEUP)
        fcgipm_stat_queue_timeout_add(board, a->pool, 1);
    return rv;
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
static apr_status_t take_seat(attempt_t *a)
{
    fcgipm_board_t *board = a->link->env.board;
    for (;;) {
        a->pool = fcgipm_board_route(board, a->wish->pool);
        if (!fcgipm_board_geometry(board, a->pool, &a->g))
            return fcgipm_fault_set(a->fault, APR_ENOPROC, "pool", "pool %s is not on the board",
                                    pool_name(a));
        apr_status_t rv = fits(a);
        if (rv != APR_SUCCESS)
            return rv;
        if (!paused(a) && fcgipm_queue_empty(board, a->pool, &a->g) && take_any(a)) {
            /* Others may have looked when we did: who finds too many with his seat in hand gives it back. */
            if (is_tight(a) && (rv = check_share(a, FCGIPM_ALL_TICKETS, 1)) != APR_SUCCESS)
                give_back(a->link, a->lease);
            return rv;
        }
        rv = queue_up(a);
        if (rv != APR_EAGAIN)
            return rv;
    }
}

/* ---- connecting ---- */

static apr_status_t seat_address(const attempt_t *a, fcgipm_addr_t *addr, char *text, size_t cap)
{
    const fcgipm_board_pool_t *p = &a->link->env.board->pool[a->pool];
    if (p->external) {
        memcpy(text, p->addr, sizeof p->addr);
        text[sizeof p->addr - 1] = 0;
        return fcgipm_addr_parse(addr, text, a->fault);
    }
    if (!fcgipm_board_socket_path(text, cap, a->link->env.runtime_dir, a->pool, a->lease->slot))
        return fcgipm_fault_set(a->fault, APR_ENAMETOOLONG, "connect",
                                "the runtime directory's name is too long");
    return fcgipm_addr_unix(addr, text);
}

static apr_status_t seat_connect(attempt_t *a)
{
    char text[256] = "", reason[128];
    fcgipm_addr_t addr;
    fcgipm_lease_t *lease = a->lease;
    int64_t limit_us = a->wish->setting->connect_us, begun_us = apr_time_now();
    apr_status_t rv = seat_address(a, &addr, text, sizeof text);
    if (rv != APR_SUCCESS)
        return rv;
    if (a->wish->deadline_us && (limit_us <= 0 || a->wish->deadline_us - begun_us < limit_us))
        limit_us = a->wish->deadline_us > begun_us ? a->wish->deadline_us - begun_us : 1;
    rv = fcgipm_peer_connect(&lease->fd, &addr, limit_us);
    lease->connect_us += apr_time_now() - begun_us;
    if (rv == APR_SUCCESS) {
        fcgipm_stat_connects_add(a->link->env.board, a->pool, 1);
        return rv;
    }
    return fcgipm_fault_set(a->fault, rv, "connect", "could not connect to %s: %s%s", text,
                            apr_strerror(rv, reason, sizeof reason),
                            APR_STATUS_IS_TIMEUP(rv) || rv == ETIMEDOUT ? " (FcgiTimeout connect=)" : "");
}

/* The seat could not be connected: give it back, and say whether to try another. Its worker has probably just
 * died and the manager closes the seat in a moment, so a little patience finds the queue and not the corpse.
 */
static bool try_again(attempt_t *a, apr_status_t rv, int tries)
{
    fcgipm_lease_t *lease = a->lease;
    bool refused = fcgipm_peer_refused(rv);
    if (refused)
        fcgipm_link_tell(a->link, FCGIPM_MSG_BAD, lease->pool, lease->slot, lease->generation);
    a->avoid = lease->slot;
    give_back(a->link, lease);
    int64_t now_us = apr_time_now();
    if (!refused || tries >= TRIES_MAX || (a->wish->deadline_us && now_us >= a->wish->deadline_us))
        return false;
    nanosleep(&(struct timespec){.tv_nsec = tries * tries * 5000000L}, NULL);
    return true;
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

static void lease_empty(fcgipm_lease_t *lease)
{
    memset(lease, 0, sizeof *lease);
    lease->fd = -1;
}

apr_status_t fcgipm_lease_acquire(fcgipm_link_t *link, fcgipm_lease_t *lease, const fcgipm_wish_t *wish,
                                  fcgipm_fault_t *fault)
{
    int64_t now_us = apr_time_now(),
            until_us = wish->setting->queue_us > 0 ? now_us + wish->setting->queue_us : 0;
    if (wish->deadline_us && (!until_us || wish->deadline_us < until_us))
        until_us = wish->deadline_us;
    attempt_t a = {.link = link,
                   .wish = wish,
                   .lease = lease,
                   .fault = fault,
                   .avoid = wish->avoid_seat_slot,
                   .started_us = now_us,
                   .until_us = until_us,
                   .asked_us = now_us};
    lease_empty(lease);
    for (int tries = 1;; tries++) {
        int64_t begun_us = apr_time_now();
        apr_status_t rv = take_seat(&a);
        lease->queue_us += apr_time_now() - begun_us;
        if (rv == APR_SUCCESS && lease->fd < 0 && (rv = seat_connect(&a)) != APR_SUCCESS &&
            try_again(&a, rv, tries))
            continue;
        if (rv != APR_SUCCESS) {
            if (fault)
                fault->phase = FCGIPM_PHASE_NOTHING_SENT;
            lease_empty(lease);
            return rv;
        }
        lease->keep = may_keep(&a);
        fcgipm_atom_count(&link->env.board->slot[a.g.slot_first + lease->slot].begun, 1);
        fcgipm_stat_requests_add(link->env.board, a.pool, 1);
        return APR_SUCCESS;
    }
}

/* ---- giving back ---- */

/* Keep the connection with its seat. False: close. The seat is stepped first and the connection stored
 * second; fcgipm_kept_put looks at the word again, so a takeover in between is seen. */
static bool release_keep(fcgipm_link_t *link, fcgipm_lease_t *lease)
{
    fcgipm_board_t *board = link->env.board;
    fcgipm_kept_t kept = {.pool = lease->pool, .seat = lease->seat, .fd = lease->fd};
    uint64_t word = lease->word;
    if (!fcgipm_board_geometry(board, lease->pool, &kept.g) ||
        !fcgipm_queue_empty(board, lease->pool, &kept.g) ||
        fcgipm_atom_get(&board->seat[lease->seat]) != word)
        return false;
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
        fcgipm_atom_put(&link->env.board->slot[g.slot_first + lease->slot].used_us, (uint64_t)apr_time_now());
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

static bool script_find(const fcgipm_board_t *board, uint64_t key, uint32_t *pool)
{
    for (uint32_t i = FCGIPM_POOLS_STATIC; i < FCGIPM_POOLS_MAX; i++) {
        uint32_t state = fcgipm_atom_get(&board->pool[i].state);
        if (state == FCGIPM_POOL_FREE || state == FCGIPM_POOL_DRAINING ||
            fcgipm_atom_get(&board->pool[i].key) != key)
            continue;
        *pool = i;
        return true;
    }
    return false;
}

apr_status_t fcgipm_lease_script(fcgipm_link_t *link, const char *path, int64_t timeout_us, uint32_t *pool,
                                 fcgipm_fault_t *fault)
{
    fcgipm_board_t *board = link->env.board;
    size_t len = strlen(path);
    uint64_t key = fcgipm_board_script_key(path, len);
    int64_t until_us = apr_time_now() + timeout_us, asked_us = 0;
    if (len >= FCGIPM_MSG_PATH_MAX)
        return fcgipm_fault_set(fault, APR_ENOPROC, "script", "the program's path is too long");
    fcgipm_msg_t msg = {.version = FCGIPM_MSG_VERSION, .type = FCGIPM_MSG_SCRIPT, .path_len = (uint32_t)len};
    memcpy(msg.path, path, len);
    for (;;) {
        uint32_t seen = fcgipm_atom_get(&board->script_changes);
        if (script_find(board, key, pool))
            return APR_SUCCESS;
        int64_t now_us = apr_time_now();
        if (now_us >= until_us)
            return fcgipm_fault_set(fault, APR_TIMEUP, "script", "no pool was made for %s", path);
        if (now_us - asked_us >= NEED_US) {
            apr_status_t rv = fcgipm_msg_send(link->env.requests_fd, &msg);
            if (rv != APR_SUCCESS && rv != APR_EAGAIN)
                return fcgipm_fault_set(fault, APR_ENOPROC, "script", "the manager cannot be asked");
            asked_us = now_us;
        }
        fcgipm_board_script_wait(board, seen, until_us - now_us < NEED_US ? until_us - now_us : NEED_US);
    }
}

/* ---- the link ---- */

static bool any_kept(const fcgipm_kept_t *kept, void *ctx)
{
    (void)kept;
    (void)ctx;
    return true;
}

/* prefork destroys the child's pool in a signal handler, wherever its thread just is. */
static bool lock_is_free(fcgipm_link_t *link)
{
    for (int i = 0; i < 100; i++) {
        if (pthread_mutex_trylock(&link->mutex) == 0) {
            pthread_mutex_unlock(&link->mutex);
            return true;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

/* The child ends: nothing of it stays LEASED. If our own thread was interrupted with the lock in its hand,
 * the end of the process closes what is open and the parent frees the seats. */
static apr_status_t link_destroy(void *data)
{
    fcgipm_link_t *link = data;
    fcgipm_kept_t kept;
    if (!lock_is_free(link))
        return APR_SUCCESS; /* the keeper still runs: its memory stays */
    fcgipm_keeper_stop(link);
    while (fcgipm_kept_find(link, any_kept, NULL, &kept))
        fcgipm_kept_close(link, &kept);
    fcgipm_link_tell_pending(link);
    for (uint32_t i = 0; i < FCGIPM_POOLS_MAX; i++)
        fcgipm_kept_free(link, i);
    pthread_mutex_destroy(&link->mutex);
    free(link->runtime_dir);
    free(link);
    return APR_SUCCESS;
}

apr_status_t fcgipm_link_create(fcgipm_link_t **out, const fcgipm_link_env_t *env, apr_pool_t *pool)
{
    fcgipm_link_t *link = fcgipm_board_ok(env->board) ? calloc(1, sizeof *link) : NULL;
    if (!link)
        return fcgipm_board_ok(env->board) ? APR_ENOMEM : APR_EINVAL;
    link->env = *env;
    link->env.runtime_dir = link->runtime_dir = strdup(env->runtime_dir ? env->runtime_dir : "");
    link->child = fcgipm_board_claim(env->board, getpid());
    link->wake_fd = link->child < env->wake_count ? env->wake_fds[link->child] : -1;
    link->epoll_fd = link->command_fd = -1;
    pthread_mutex_init(&link->mutex, NULL);
    apr_pool_cleanup_register(pool, link, link_destroy, apr_pool_cleanup_null);
    apr_status_t rv = fcgipm_keeper_start(link);
    if (rv == APR_SUCCESS)
        *out = link;
    return rv;
}

unsigned fcgipm_link_child(const fcgipm_link_t *link)
{
    return link->child;
}

unsigned fcgipm_link_kept(fcgipm_link_t *link)
{
    pthread_mutex_lock(&link->mutex);
    unsigned kept = link->kept;
    pthread_mutex_unlock(&link->mutex);
    return kept;
}
