/* SPDX-License-Identifier: Apache-2.0 */
#include "link/trunk.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "core/clock.h"
#include "link/thread.h"
#include "wire/record.h"
#include "wire/span.h"

#define IDS_MAX     1024
#define RECORD_MAX  (FCGIPM_RECORD_HEADER_LEN + FCGIPM_RECORD_CONTENT_MAX + 255)
#define IN_SIZE     (2 * 65536)
#define OUT_MAX     (256 * 1024) /* to a trunk; beyond it its branches are not read */
#define READS_MAX   4            /* of one trunk in a row */
#define RETIRED_MAX 256          /* ids that may not be used again; then the trunk takes no more requests */
#define PATIENCE_US 250000       /* for a branch that takes nothing and has said that it cannot ... */
#define LONGEST_US  5000000      /* ... and for one that has not: httpd's threads may be busy */
#define GHOST_US    60000000
#define LOOK_MS     50
#define STRAY_ID    65535 /* is nobody's: a branch has request 1 only */

typedef enum kind { TRUNK, BRANCH } kind_t;

/* Bytes that could not be written yet. */
typedef struct queue {
    unsigned char *data;
    size_t len, sent, cap;
} queue_t;

typedef struct trunk trunk_t;

typedef struct branch {
    kind_t kind; /* first, as in trunk_t: what an event names */
    struct branch *next, *prev;
    trunk_t *trunk; /* NULL: it has ended, what is held is still to be taken */
    unsigned id;
    int fd,
        outer;  /* fd -1: nobody is there, END_REQUEST is waited for. outer: a number only, to find it by */
    bool begun; /* BEGIN_REQUEST went out, END_REQUEST has not come */
    bool aborted, cut, deaf, ended_input, paused, gone;
    bool full;        /* its request cannot take more: its client does not read */
    int64_t over_us;  /* since when more is held for it than may be; 0: it is not */
    int64_t ghost_us; /* cut and ended then; it stays a while, for who asks why */
    queue_t held;
    unsigned char *carry; /* the beginning of a record */
    size_t carry_len;
} branch_t;

struct trunk {
    kind_t kind;
    trunk_t *next;
    fcgipm_trunks_t *all;
    uint32_t pool, slot, generation;
    int fd;
    bool gone, deaf;
    branch_t *by_id[IDS_MAX];
    /* An application may go on with a request that it has ended because it was told to abort it: such an id
     * is never used again, and what comes for it is dropped. */
    bool retired[IDS_MAX];
    unsigned ids, live, retired_count;
    unsigned over; /* branches for which it is not read */
    queue_t out;
    size_t in_len;
    unsigned char in[IN_SIZE];
};

struct fcgipm_trunks {
    pthread_mutex_t mutex; /* over everything; the thread has it whenever it does not sleep */
    pthread_t thread;
    bool runs, stopping;
    unsigned over;   /* branches that hold up their trunk */
    unsigned ghosts; /* branches that have ended, for who asks why */
    int epoll_fd, bell;
    trunk_t *trunks;
    branch_t *branches;
    /* Gone, but an event of this turn may still name them. */
    trunk_t *dead_trunks;
    branch_t *dead_branches;
    unsigned char scratch[RECORD_MAX + 65536];
};

/* --- queues --- */

static void queue_empty(queue_t *q)
{
    free(q->data);
    *q = (queue_t){0};
}

static size_t queue_left(const queue_t *q)
{
    return q->len - q->sent;
}

static bool queue_add(queue_t *q, const unsigned char *data, size_t n)
{
    if (q->sent) {
        memmove(q->data, q->data + q->sent, queue_left(q));
        q->len -= q->sent;
        q->sent = 0;
    }
    if (q->len + n > q->cap) {
        size_t cap = q->cap ? q->cap : 4096;
        while (cap < q->len + n)
            cap *= 2;
        unsigned char *more = realloc(q->data, cap);
        if (!more)
            return false;
        q->data = more;
        q->cap = cap;
    }
    memcpy(q->data + q->len, data, n);
    q->len += n;
    return true;
}

static ssize_t send_now(int fd, const unsigned char *data, size_t n)
{
    ssize_t sent;
    do
        sent = send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
}

/* As much as goes. False: the other side has closed. */
static bool queue_send(queue_t *q, int fd)
{
    ssize_t n = queue_left(q) ? send_now(fd, q->data + q->sent, queue_left(q)) : 0;
    if (n < 0)
        return false;
    q->sent += (size_t)n;
    if (!queue_left(q))
        queue_empty(q);
    return true;
}

/* --- what is waited for --- */

static void watch(const fcgipm_trunks_t *all, int fd, void *object, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = object};
    if (epoll_ctl(all->epoll_fd, EPOLL_CTL_MOD, fd, &ev) != 0 && errno == ENOENT)
        epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

/* Before it is closed: a copy of it in a child that just forks would keep it in the epoll set. */
static void unwatch(const fcgipm_trunks_t *all, int fd)
{
    epoll_ctl(all->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void close_watched(const fcgipm_trunks_t *all, int *fd)
{
    unwatch(all, *fd);
    close(*fd);
    *fd = -1;
}

static void watch_branch(const fcgipm_trunks_t *all, branch_t *b)
{
    watch(all, b->fd, b,
          (b->paused || b->ended_input ? 0 : EPOLLIN) | (queue_left(&b->held) ? EPOLLOUT : 0u));
}

static void watch_trunk(trunk_t *t)
{
    watch(t->all, t->fd, t, (t->over ? 0u : EPOLLIN) | (queue_left(&t->out) ? EPOLLOUT : 0u));
}

/* More is held for it than may be, or no longer. */
static void set_over(branch_t *b, bool over)
{
    trunk_t *t = b->trunk;
    if (over == (b->over_us != 0))
        return;
    b->over_us = over ? fcgipm_clock_us() : 0;
    if (!t)
        return;
    t->over += over ? 1 : -1u;
    t->all->over += over ? 1 : -1u;
    watch_trunk(t);
}

/* --- ends --- */

static void bury_branch(fcgipm_trunks_t *all, branch_t *b)
{
    if (b->gone)
        return;
    b->gone = true;
    all->ghosts -= b->ghost_us != 0;
    set_over(b, false);
    if (b->trunk)
        b->trunk->by_id[b->id - 1] = NULL;
    if (b->fd >= 0)
        close_watched(all, &b->fd);
    if (b->prev)
        b->prev->next = b->next;
    else
        all->branches = b->next;
    if (b->next)
        b->next->prev = b->prev;
    b->next = all->dead_branches;
    all->dead_branches = b;
}

/* The connection is over. What its branches have not taken yet they may still take. */
static void end_trunk(trunk_t *t)
{
    fcgipm_trunks_t *all = t->all;
    if (t->gone)
        return;
    t->gone = true;
    for (trunk_t **at = &all->trunks; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    for (unsigned i = 0; i < t->ids; i++) {
        branch_t *b = t->by_id[i];
        if (b && b->fd >= 0 && queue_left(&b->held)) {
            set_over(b, false);
            b->trunk = NULL;
            b->ended_input = true;
            watch_branch(all, b);
        } else if (b) {
            bury_branch(all, b);
        }
    }
    close_watched(all, &t->fd);
    t->next = all->dead_trunks;
    all->dead_trunks = t;
}

static void free_dead(fcgipm_trunks_t *all)
{
    while (all->dead_branches) {
        branch_t *b = all->dead_branches;
        all->dead_branches = b->next;
        queue_empty(&b->held);
        free(b->carry);
        free(b);
    }
    while (all->dead_trunks) {
        trunk_t *t = all->dead_trunks;
        all->dead_trunks = t->next;
        queue_empty(&t->out);
        free(t);
    }
}

/* --- to the application --- */

static void pause_branches(trunk_t *t, bool paused)
{
    for (unsigned i = 0; i < t->ids; i++) {
        branch_t *b = t->by_id[i];
        if (!b || b->fd < 0 || b->paused == paused)
            continue;
        b->paused = paused;
        watch_branch(t->all, b);
    }
}

static void trunk_send(trunk_t *t, const unsigned char *data, size_t n)
{
    ssize_t sent = 0;
    if (t->deaf || n == 0)
        return;
    if (!queue_left(&t->out) && (sent = send_now(t->fd, data, n)) == (ssize_t)n)
        return;
    if (sent < 0 || !queue_add(&t->out, data + sent, n - (size_t)sent)) {
        /* What it has answered is read first; then comes its end. Half a record cannot be taken back. */
        t->deaf = true;
        queue_empty(&t->out);
        shutdown(t->fd, SHUT_WR);
        return;
    }
    watch_trunk(t);
    if (queue_left(&t->out) > OUT_MAX)
        pause_branches(t, true);
}

static void trunk_writable(trunk_t *t)
{
    if (!queue_send(&t->out, t->fd)) {
        t->deaf = true;
        queue_empty(&t->out);
    }
    watch_trunk(t);
    if (queue_left(&t->out) <= OUT_MAX / 2)
        pause_branches(t, false);
}

static void abort_request(branch_t *b)
{
    unsigned char record[FCGIPM_RECORD_HEADER_LEN];
    if (!b->begun || b->aborted || !b->trunk)
        return;
    b->aborted = true;
    trunk_send(b->trunk, record, fcgipm_record_put_abort(record, b->id));
}

/* Nobody is there any more. Its id stays in use until the application has ended the request. */
static void lose_branch(fcgipm_trunks_t *all, branch_t *b)
{
    trunk_t *t = b->trunk;
    if (t)
        t->live--;
    if (!t || !b->begun) {
        bury_branch(all, b);
    } else {
        close_watched(all, &b->fd);
        queue_empty(&b->held);
        set_over(b, false);
        abort_request(b);
    }
    if (t && t->live == 0)
        end_trunk(t);
}

/* Whole records at the start of [data, data + n) get the branch's id. Returns their length. */
static size_t label(branch_t *b, unsigned char *data, size_t n)
{
    size_t at = 0;
    while (n - at >= FCGIPM_RECORD_HEADER_LEN) {
        unsigned char *h = data + at;
        size_t size = FCGIPM_RECORD_HEADER_LEN + fcgipm_span_get16(h + 4) + h[6];
        if (n - at < size)
            break;
        fcgipm_span_put16(h + 2, b->id);
        if (h[1] == FCGIPM_TYPE_BEGIN_REQUEST) {
            b->begun = true;
            b->aborted = false;
        } else if (h[1] == FCGIPM_TYPE_ABORT_REQUEST) {
            b->aborted = true;
        }
        at += size;
    }
    return at;
}

static bool carry_over(branch_t *b, const unsigned char *data, size_t n)
{
    if (n && !b->carry && !(b->carry = malloc(RECORD_MAX)))
        return false;
    if (n)
        memcpy(b->carry, data, n);
    b->carry_len = n;
    return true;
}

static void branch_readable(fcgipm_trunks_t *all, branch_t *b)
{
    size_t used = b->carry_len;
    ssize_t n;
    if (used)
        memcpy(all->scratch, b->carry, used);
    do
        n = recv(b->fd, all->scratch + used, sizeof all->scratch - used, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        lose_branch(all, b);
        return;
    }
    if (n == 0) { /* no more input; perhaps it still listens */
        b->ended_input = true;
        abort_request(b);
        watch_branch(all, b);
        return;
    }
    if (b->cut || !b->trunk)
        return;
    used += (size_t)n;
    size_t whole = label(b, all->scratch, used);
    trunk_send(b->trunk, all->scratch, whole);
    if (!carry_over(b, all->scratch + whole, used - whole))
        lose_branch(all, b);
}

/* --- from the application --- */

static void cut_branch(branch_t *b)
{
    b->cut = true;
    queue_empty(&b->held);
    set_over(b, false);
    shutdown(b->fd, SHUT_WR); /* it hangs up by itself, or is asked for: fcgipm_trunk_verdict */
    abort_request(b);
}

static void deliver(trunk_t *t, branch_t *b, const unsigned char *data, size_t n)
{
    ssize_t sent = 0;
    if (!b || !n || b->fd < 0 || b->deaf || b->cut)
        return;
    if (!queue_left(&b->held) && (sent = send_now(b->fd, data, n)) == (ssize_t)n)
        return;
    if (sent < 0) {
        b->deaf = true;
        return;
    }
    if (!queue_add(&b->held, data + sent, n - (size_t)sent))
        cut_branch(b);
    else if (queue_left(&b->held) > FCGIPM_BRANCH_HELD)
        set_over(b, true);
    watch_branch(t->all, b);
}

static void branch_writable(fcgipm_trunks_t *all, branch_t *b)
{
    if (!queue_send(&b->held, b->fd)) {
        b->deaf = true;
        queue_empty(&b->held);
    }
    if (queue_left(&b->held) <= FCGIPM_BRANCH_HELD / 2)
        set_over(b, false);
    if (!b->trunk && !queue_left(&b->held))
        bury_branch(all, b);
    else
        watch_branch(all, b);
}

/* What no request can have sent: each that runs sees it, and says so. */
static void spoil(trunk_t *t, const unsigned char *header)
{
    unsigned char stray[FCGIPM_RECORD_HEADER_LEN];
    memcpy(stray, header, sizeof stray);
    fcgipm_span_put16(stray + 2, STRAY_ID);
    for (unsigned i = 0; i < t->ids; i++)
        if (t->by_id[i] && t->by_id[i]->begun)
            deliver(t, t->by_id[i], stray, sizeof stray);
}

/* Its request has ended, but who cut it may still ask why. */
static void make_ghost(trunk_t *t, branch_t *b)
{
    unwatch(t->all, b->fd);
    shutdown(b->fd, SHUT_RDWR); /* a hang-up is all that one can see who no longer reads */
    b->ghost_us = fcgipm_clock_us();
    t->all->ghosts++;
    t->by_id[b->id - 1] = NULL;
    b->trunk = NULL;
    if (--t->live == 0)
        end_trunk(t);
}

static void end_request(trunk_t *t, branch_t *b)
{
    b->begun = false;
    if (b->aborted) {
        t->retired[b->id - 1] = true;
        t->retired_count++;
    }
    if (b->fd < 0)
        bury_branch(t->all, b);
    else if (b->cut)
        make_ghost(t, b);
    else if (b->deaf || b->aborted) /* an aborted one has its END_REQUEST, and nothing begins on it again */
        lose_branch(t->all, b);
}

/* Records that follow each other for the same branch go in one piece. False: it broke the protocol. */
static bool distribute(trunk_t *t)
{
    size_t at = 0, run = 0;
    branch_t *to = NULL;
    bool sound = true;
    while (t->in_len - at >= FCGIPM_RECORD_HEADER_LEN) {
        unsigned char *h = t->in + at;
        unsigned id = fcgipm_span_get16(h + 2);
        size_t size = FCGIPM_RECORD_HEADER_LEN + fcgipm_span_get16(h + 4) + h[6];
        branch_t *b = id >= 1 && id <= t->ids ? t->by_id[id - 1] : NULL;
        bool late = h[0] == 1 && !b && id >= 1 && id <= t->ids && t->retired[id - 1];
        sound = late || (h[0] == 1 && b && b->begun);
        if (!sound || t->in_len - at < size || b != to) {
            deliver(t, to, t->in + run, at - run);
            run = at;
            to = b;
        }
        if (!sound || t->in_len - at < size)
            break;
        fcgipm_span_put16(h + 2, 1);
        at += size;
        if (late || h[1] != FCGIPM_TYPE_END_REQUEST)
            continue;
        deliver(t, b, t->in + run, at - run);
        run = at;
        to = NULL;
        end_request(t, b);
        if (t->gone)
            return true;
    }
    if (!sound) {
        spoil(t, t->in + at);
        return false;
    }
    deliver(t, to, t->in + run, at - run);
    memmove(t->in, t->in + at, t->in_len - at);
    t->in_len -= at;
    return true;
}

static void trunk_readable(trunk_t *t)
{
    for (int i = 0; i < READS_MAX && !t->gone && !t->over; i++) {
        size_t room = IN_SIZE - t->in_len;
        ssize_t n = recv(t->fd, t->in + t->in_len, room, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n > 0)
            t->in_len += (size_t)n;
        if (n <= 0 || !distribute(t)) {
            end_trunk(t);
            return;
        }
        if ((size_t)n < room)
            return;
    }
}

/* --- the thread --- */

static void on_event(fcgipm_trunks_t *all, const struct epoll_event *ev)
{
    uint64_t count;
    if (!ev->data.ptr) {
        while (read(all->bell, &count, sizeof count) < 0 && errno == EINTR)
            ;
        return;
    }
    if (*(kind_t *)ev->data.ptr == TRUNK) {
        trunk_t *t = ev->data.ptr;
        if (!t->gone && (ev->events & EPOLLOUT))
            trunk_writable(t);
        if (!t->gone && t->over && (ev->events & (EPOLLHUP | EPOLLERR)))
            unwatch(all, t->fd); /* its end is told until it is read: that waits for set_over */
        if (!t->gone && (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            trunk_readable(t);
        return;
    }
    branch_t *b = ev->data.ptr;
    if (!b->gone && b->fd >= 0 && (ev->events & EPOLLIN))
        branch_readable(all, b);
    if (!b->gone && b->fd >= 0 && (ev->events & EPOLLOUT))
        branch_writable(all, b);
    if (!b->gone && b->fd >= 0 && (ev->events & (EPOLLHUP | EPOLLERR)))
        lose_branch(all, b);
}

static bool has_company(const branch_t *b)
{
    for (unsigned i = 0; b->trunk && i < b->trunk->ids; i++)
        if (b->trunk->by_id[i] && b->trunk->by_id[i] != b && b->trunk->by_id[i]->begun)
            return true;
    return false;
}

/* Who has had time enough holds up nobody any longer. Alone on its trunk it holds up nobody. */
static bool is_late(const branch_t *b, int64_t now_us)
{
    return b->over_us && now_us - b->over_us >= (b->full ? PATIENCE_US : LONGEST_US) && has_company(b);
}

static void look_after(fcgipm_trunks_t *all)
{
    int64_t now_us = fcgipm_clock_us();
    for (branch_t *b = all->branches, *next; b; b = next) {
        next = b->next;
        if (b->ghost_us && now_us - b->ghost_us >= GHOST_US) {
            bury_branch(all, b);
        } else if (is_late(b, now_us)) {
            cut_branch(b);
            watch_branch(all, b);
        }
    }
}

static void *trunks_main(void *ctx)
{
    fcgipm_trunks_t *all = ctx;
    int timeout_ms = -1;
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(all->epoll_fd, events, 64, timeout_ms);
        pthread_mutex_lock(&all->mutex);
        for (int i = 0; i < n; i++)
            on_event(all, &events[i]);
        look_after(all);
        timeout_ms = all->over ? LOOK_MS : -1;
        free_dead(all);
        bool stopping = all->stopping;
        pthread_mutex_unlock(&all->mutex);
        if (stopping)
            return NULL;
    }
}

/* httpd's signals are for its main thread. */
static bool start_thread(fcgipm_trunks_t *all)
{
    struct epoll_event ev = {.events = EPOLLIN};
    if (all->runs)
        return true;
    if (all->epoll_fd < 0)
        all->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (all->bell < 0)
        all->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (all->epoll_fd < 0 || all->bell < 0 ||
        (epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, all->bell, &ev) != 0 && errno != EEXIST))
        return false;
    all->runs = fcgipm_thread_start(&all->thread, trunks_main, all) == 0;
    return all->runs;
}

/* --- for the requests --- */

static trunk_t *find(const fcgipm_trunks_t *all, uint32_t pool, uint32_t slot, uint32_t generation)
{
    trunk_t *t = all->trunks;
    while (t && (t->pool != pool || t->slot != slot || t->generation != generation || t->deaf ||
                 t->retired_count >= RETIRED_MAX))
        t = t->next;
    return t;
}

static unsigned free_id(trunk_t *t)
{
    for (unsigned i = 0; i < t->ids; i++)
        if (!t->by_id[i] && !t->retired[i])
            return i + 1;
    return t->ids < IDS_MAX ? ++t->ids : 0;
}

/* This number is a new request's: whose it was will not ask, and the new one must not get his answer. */
static void bury_ghosts_of(fcgipm_trunks_t *all, int outer)
{
    for (branch_t *b = all->ghosts ? all->branches : NULL, *next; b; b = next) {
        next = b->next;
        if (b->ghost_us && b->outer == outer)
            bury_branch(all, b);
    }
}

static int grow_branch(trunk_t *t)
{
    fcgipm_trunks_t *all = t->all;
    int pair[2];
    unsigned id = free_id(t);
    branch_t *b = id ? calloc(1, sizeof *b) : NULL;
    if (!b || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        free(b);
        return -1;
    }
    bury_ghosts_of(all, pair[1]);
    *b = (branch_t){.kind = BRANCH, .trunk = t, .id = id, .fd = pair[0], .outer = pair[1]};
    b->paused = queue_left(&t->out) > OUT_MAX;
    b->next = all->branches;
    if (b->next)
        b->next->prev = b;
    all->branches = b;
    t->by_id[id - 1] = b;
    t->live++;
    watch_branch(all, b);
    return pair[1];
}

int fcgipm_trunk_join(fcgipm_trunks_t *all, uint32_t pool, uint32_t slot, uint32_t generation)
{
    pthread_mutex_lock(&all->mutex);
    trunk_t *t = find(all, pool, slot, generation);
    int fd = t ? grow_branch(t) : -1;
    pthread_mutex_unlock(&all->mutex);
    return fd;
}

static trunk_t *make_trunk(fcgipm_trunks_t *all, uint32_t pool, uint32_t slot, uint32_t generation, int fd)
{
    trunk_t *t = start_thread(all) ? calloc(1, sizeof *t) : NULL;
    if (!t)
        return NULL;
    t->kind = TRUNK;
    t->all = all;
    t->pool = pool;
    t->slot = slot;
    t->generation = generation;
    t->fd = fd;
    t->next = all->trunks;
    all->trunks = t;
    return t;
}

int fcgipm_trunk_adopt(fcgipm_trunks_t *all, uint32_t pool, uint32_t slot, uint32_t generation, int fd)
{
    pthread_mutex_lock(&all->mutex);
    trunk_t *have = find(all, pool, slot, generation);
    trunk_t *t = have ? have : make_trunk(all, pool, slot, generation, fd);
    int branch = t ? grow_branch(t) : -1;
    if (t && !have && branch >= 0) {
        watch_trunk(t);
    } else if (t && !have) { /* nothing refers to it yet */
        all->trunks = t->next;
        free(t);
    } else if (branch >= 0) {
        close(fd);
    }
    pthread_mutex_unlock(&all->mutex);
    return branch;
}

const char *fcgipm_trunk_verdict(fcgipm_trunks_t *all, int fd)
{
    pthread_mutex_lock(&all->mutex);
    const branch_t *b = all->branches; /* the newest first: a number may have been another's */
    while (b && (b->outer != fd || b->fd < 0))
        b = b->next;
    bool cut = b && b->cut;
    pthread_mutex_unlock(&all->mutex);
    return cut ? "its client does not take the answer, and others share the connection (FcgiMultiplex, "
                 "FcgiResponseBuffer)"
               : NULL;
}

void fcgipm_trunk_full(fcgipm_trunks_t *all, int fd, bool full)
{
    pthread_mutex_lock(&all->mutex);
    branch_t *b = all->branches;
    while (b && (b->outer != fd || b->fd < 0))
        b = b->next;
    if (b)
        b->full = full;
    pthread_mutex_unlock(&all->mutex);
}

fcgipm_trunks_t *fcgipm_trunks_create(void)
{
    fcgipm_trunks_t *all = calloc(1, sizeof *all);
    if (!all)
        return NULL;
    all->epoll_fd = all->bell = -1;
    pthread_mutex_init(&all->mutex, NULL);
    return all;
}

bool fcgipm_trunks_destroy(fcgipm_trunks_t *all)
{
    uint64_t one = 1;
    if (!all)
        return true;
    if (!fcgipm_thread_lock(&all->mutex))
        return false;
    all->stopping = true;
    pthread_mutex_unlock(&all->mutex);
    if (all->runs) {
        while (write(all->bell, &one, sizeof one) < 0 && errno == EINTR)
            ;
        pthread_join(all->thread, NULL);
    }
    while (all->trunks)
        end_trunk(all->trunks);
    while (all->branches)
        bury_branch(all, all->branches);
    free_dead(all);
    if (all->epoll_fd >= 0)
        close(all->epoll_fd);
    if (all->bell >= 0)
        close(all->bell);
    pthread_mutex_destroy(&all->mutex);
    free(all);
    return true;
}
