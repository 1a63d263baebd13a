/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: two links (as of two httpd children) on one board, a pool made by hand, and workers that are real
 * processes which serve one connection at a time, as libfcgi does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_time.h>
#include "core/addr.h"
#include "link/exchange.h"
#include "link/lease.h"
#include "share/msg.h"

#define POOL    3u
#define OTHER   4u
#define LINKS   2
#define WORKERS 2

/* ---- a worker ---- */

typedef enum mode {
    ECHO,     /* answers at once */
    CLOSING,  /* answers, and closes though it was asked to keep the connection */
    ABORTING, /* answers only an ABORT_REQUEST */
    DRIPPING, /* writes for ever */
    HANGING   /* does nothing until the mode changes, then answers */
} mode_kind_t;

typedef struct control {
    fcgipm_atom32_t mode, accepted, served, failed_writes;
} control_t;

static control_t *control;

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool put(int fd, const void *bytes, size_t len)
{
    return send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool answer(int fd)
{
    unsigned char out[8 + 6 + 16];
    fcgipm_record_put(out, FCGIPM_TYPE_STDOUT, 1, 6, 0);
    memcpy(out + 8, "hello\n", 6);
    fcgipm_record_put_end(out + 14, 1, 0, FCGIPM_STATUS_REQUEST_COMPLETE);
    fcgipm_atom_add(&control->served, 1);
    return put(fd, out, sizeof out);
}

static bool drip(int fd)
{
    unsigned char out[9];
    fcgipm_record_put(out, FCGIPM_TYPE_STDOUT, 1, 1, 0);
    out[8] = '.';
    while (put(fd, out, sizeof out))
        nap();
    fcgipm_atom_add(&control->failed_writes, 1);
    return false;
}

/* The request is complete. True: go on with this connection. */
static bool perform(int fd, bool keep)
{
    switch (fcgipm_atom_get(&control->mode)) {
    case ABORTING:
        return true;
    case DRIPPING:
        return drip(fd);
    case HANGING:
        while (fcgipm_atom_get(&control->mode) == HANGING)
            nap();
        return answer(fd) && keep;
    case CLOSING:
        answer(fd);
        return false;
    default:
        return answer(fd) && keep;
    }
}

static void serve(int fd)
{
    unsigned char buf[4096];
    fcgipm_record_reader_t reader;
    bool keep = false;
    memset(&reader, 0, sizeof reader);
    for (;;) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n <= 0)
            return;
        const unsigned char *in = buf, *slice;
        size_t len;
        fcgipm_record_event_t ev;
        while ((ev = fcgipm_record_read(&reader, &in, buf + n, &slice, &len)) != FCGIPM_RECORD_MORE) {
            if (ev == FCGIPM_RECORD_BAD)
                return;
            if (ev == FCGIPM_RECORD_SLICE && reader.record.type == FCGIPM_TYPE_BEGIN_REQUEST && len >= 3)
                keep = slice[2] & FCGIPM_KEEP_CONN;
            if (ev != FCGIPM_RECORD_END)
                continue;
            if (reader.record.type == FCGIPM_TYPE_STDIN && reader.record.content_len == 0 &&
                !perform(fd, keep))
                return;
            if (reader.record.type == FCGIPM_TYPE_ABORT_REQUEST && !(answer(fd) && keep))
                return;
        }
    }
}

static pid_t worker_fork(const char *path)
{
    fcgipm_addr_t addr;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(fcgipm_addr_unix(&addr, path), APR_SUCCESS);
    unlink(path);
    assert_int_equal(bind(s, &addr.u.sa, addr.len), 0);
    assert_int_equal(listen(s, 100), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            int fd = accept(s, NULL, NULL);
            if (fd < 0)
                continue;
            fcgipm_atom_add(&control->accepted, 1);
            serve(fd);
            close(fd);
        }
    }
    close(s);
    return pid;
}

/* ---- the rig ---- */

static char dir[64];
static fcgipm_board_t *board;
static fcgipm_registry_t *registry;
static pid_t workers[WORKERS];
static unsigned worker_count;
static int messages[2], wakes[8];
static apr_pool_t *pools[LINKS];
static fcgipm_link_t *links[LINKS];
static fcgipm_setting_t setting;

static void pool_open(uint32_t pool, fcgipm_geometry_t g)
{
    fcgipm_board_pool_t *p = &board->pool[pool];
    p->geometry = registry->pool[pool].geometry = g;
    fcgipm_atom_set(&registry->pool[pool].used, 1);
    fcgipm_atom_set(&p->route, pool);
    fcgipm_atom_set(&p->state, FCGIPM_POOL_SERVING);
    fcgipm_atom_set(&p->ready, g.slot_count);
    for (uint32_t s = g.seat_first; s < g.seat_first + g.slot_count * g.concurrency; s++) {
        uint64_t word = 0;
        assert_true(fcgipm_seat_step(&board->seat[s], &word, FCGIPM_SEAT_EV_OPEN, FCGIPM_OWNER_MANAGER));
        fcgipm_queue_offer(board, pool, &g, s, &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER);
    }
}

/* Board and workers; no thread exists yet, so tests may fork after this. */
static void rig_processes(unsigned count)
{
    fcgipm_fault_t fault;
    char path[128];
    strcpy(dir, "/tmp/fcgipm-lease-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(fcgipm_board_create(&board, NULL, &fault), APR_SUCCESS);
    registry = mmap(NULL, sizeof *registry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, messages), 0);
    for (int i = 0; i < 8; i++)
        wakes[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    snprintf(path, sizeof path, "%s/p%u", dir, POOL);
    assert_int_equal(mkdir(path, 0700), 0);
    worker_count = count;
    for (uint32_t i = 0; i < count; i++)
        workers[i] = worker_fork(fcgipm_board_socket_path(path, sizeof path, dir, POOL, i));
    pool_open(POOL, (fcgipm_geometry_t){5, count, 9, 1, 17, 64});
    memset(&setting, 0, sizeof setting);
    setting.name = "test";
    setting.queue_us = 20000000;
    setting.connect_us = 5000000;
    setting.queue_length = 50;
}

static fcgipm_link_t *link_make(apr_pool_t *pool)
{
    fcgipm_link_t *link = NULL;
    fcgipm_link_env_t env = {
        .board = board, .requests_fd = messages[0], .wake_fds = wakes, .wake_count = 8, .runtime_dir = dir};
    assert_int_equal(fcgipm_link_create(&link, &env, pool), APR_SUCCESS);
    return link;
}

static void rig_links(void)
{
    for (int i = 0; i < LINKS; i++) {
        apr_pool_create(&pools[i], NULL);
        links[i] = link_make(pools[i]);
    }
}

static void rig(unsigned count)
{
    rig_processes(count);
    rig_links();
}

static void rig_end(void)
{
    char path[128];
    for (int i = 0; i < LINKS; i++)
        apr_pool_destroy(pools[i]);
    for (unsigned i = 0; i < worker_count; i++) {
        kill(workers[i], SIGKILL);
        waitpid(workers[i], NULL, 0);
        unlink(fcgipm_board_socket_path(path, sizeof path, dir, POOL, i));
    }
    snprintf(path, sizeof path, "%s/p%u", dir, POOL);
    rmdir(path);
    rmdir(dir);
    for (int i = 0; i < 8; i++)
        close(wakes[i]);
    close(messages[0]);
    close(messages[1]);
    munmap(board, sizeof *board);
    munmap(registry, sizeof *registry);
    munmap(control, sizeof *control);
}

static unsigned seat_state(uint32_t seat)
{
    return fcgipm_seat_state(fcgipm_atom_get(&board->seat[seat]));
}

#define wait_until(condition)                                                                                \
    do {                                                                                                     \
        int64_t until_ = apr_time_now() + 10000000;                                                          \
        while (!(condition)) {                                                                               \
            if (apr_time_now() > until_)                                                                     \
                fail_msg("line %d: never: %s", __LINE__, #condition);                                        \
            nap();                                                                                           \
        }                                                                                                    \
    } while (0)

static bool message_came(fcgipm_msg_type_t type, fcgipm_msg_t *msg)
{
    while (fcgipm_msg_receive(messages[1], msg) == APR_SUCCESS)
        if (msg->type == type)
            return true;
    return false;
}

static apr_status_t acquire(fcgipm_link_t *link, fcgipm_lease_t *lease, fcgipm_fault_t *fault)
{
    fcgipm_wish_t wish = {.pool = POOL, .setting = &setting, .avoid_seat_slot = UINT32_MAX};
    return fcgipm_lease_acquire(link, lease, &wish, fault);
}

/* ---- a request ---- */

typedef struct sink {
    char buffer[16384];
    size_t len;
} sink_t;

static char *sink_buffer(void *ctx, size_t *cap)
{
    *cap = sizeof((sink_t *)ctx)->buffer;
    return ((sink_t *)ctx)->buffer;
}
static apr_status_t sink_answer(void *ctx, char *data, size_t len)
{
    (void)data;
    ((sink_t *)ctx)->len += len;
    return APR_SUCCESS;
}
static apr_status_t sink_pause(void *ctx)
{
    (void)ctx;
    return APR_SUCCESS;
}
static void sink_errors(void *ctx, const char *data, size_t len)
{
    (void)ctx;
    (void)data;
    (void)len;
}
static apr_status_t sink_body(void *ctx, const char **data, size_t *len)
{
    (void)ctx;
    *data = NULL;
    *len = 0;
    return APR_SUCCESS;
}
static const fcgipm_exchange_ops_t sink_ops = {sink_buffer, sink_answer, sink_pause, sink_errors, sink_body,
                                               NULL,        NULL,        NULL,       NULL,        NULL};

static void request_init(fcgipm_exchange_t *x, sink_t *sink, const fcgipm_lease_t *lease,
                         unsigned char head[24])
{
    sink->len = 0;
    fcgipm_record_put_begin(head, 1, FCGIPM_ROLE_RESPONDER, lease->keep ? FCGIPM_KEEP_CONN : 0);
    fcgipm_record_put(head + 16, FCGIPM_TYPE_PARAMS, 1, 0, 0);
    fcgipm_exchange_init(x, &sink_ops, sink, lease->fd);
    x->head = head;
    x->head_len = 24;
    x->read_us = 15000000;
}

static void perform_release(fcgipm_link_t *link, fcgipm_lease_t *lease)
{
    fcgipm_exchange_t x;
    sink_t sink;
    unsigned char head[24];
    request_init(&x, &sink, lease, head);
    apr_status_t rv = fcgipm_exchange_run(&x);
    if (rv != APR_SUCCESS)
        fail_msg("exchange: %d %s", rv, x.fault.sentence);
    assert_int_equal(sink.len, 6);
    fcgipm_lease_release(link, lease, x.result.reusable ? FCGIPM_LEASE_KEEP : FCGIPM_LEASE_CLOSE, true);
}

static void request(fcgipm_link_t *link, fcgipm_lease_t *seen)
{
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    apr_status_t rv = acquire(link, &lease, &fault);
    if (rv != APR_SUCCESS)
        fail_msg("acquire: %d %s", rv, fault.sentence);
    if (seen)
        *seen = lease;
    perform_release(link, &lease);
    assert_int_equal(lease.fd, -1);
}

/* ---- tests ---- */

static void reuse_and_fresh(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    rig(2);
    request(links[0], &lease);
    assert_false(lease.reused);
    assert_int_equal(lease.slot, 0);
    assert_true(lease.keep);
    assert_int_equal(fcgipm_link_kept(links[0]), 1);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_LEASED);
    for (int i = 0; i < 5; i++) {
        request(links[0], &lease);
        assert_true(lease.reused);
    }
    assert_int_equal(fcgipm_atom_get(&control->accepted), 1);
    fcgipm_wish_t wish = {.pool = POOL, .setting = &setting, .fresh = true, .avoid_seat_slot = UINT32_MAX};
    assert_int_equal(fcgipm_lease_acquire(links[0], &lease, &wish, &fault), APR_SUCCESS);
    assert_false(lease.reused);
    assert_int_equal(lease.slot, 0);
    perform_release(links[0], &lease);
    assert_int_equal(fcgipm_atom_get(&control->accepted), 2);
    wish = (fcgipm_wish_t){.pool = POOL, .setting = &setting, .avoid_seat_slot = 0};
    assert_int_equal(fcgipm_lease_acquire(links[0], &lease, &wish, &fault), APR_SUCCESS);
    assert_int_equal(lease.slot, 1);
    perform_release(links[0], &lease);
    assert_int_equal(fcgipm_link_kept(links[0]), 2);
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.requests), 8);
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.reuses), 5);
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.connects), 3);
    assert_int_equal(fcgipm_atom_get(&board->slot[5].requests), 7);
    apr_pool_clear(pools[0]); /* the child ends: nothing stays LEASED */
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    assert_int_equal(seat_state(10), FCGIPM_SEAT_IDLE);
    rig_end();
}

static void takeover(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    rig(1);
    for (int i = 0; i < 20; i++) {
        fcgipm_link_t *one = links[i % 2], *other = links[1 - i % 2];
        request(one, &lease);
        assert_int_equal(lease.taken_over, i > 0);
        assert_int_equal(fcgipm_link_kept(one), 1);
        wait_until(fcgipm_link_kept(other) == 0);
    }
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.takeovers), 19);
    rig_end();
}

typedef struct waiter {
    fcgipm_link_t *link;
    int number;
    apr_status_t rv;
    fcgipm_fault_t fault;
    int64_t took_us;
    uint32_t pool;
} waiter_t;
static pthread_mutex_t order_mutex = PTHREAD_MUTEX_INITIALIZER;
static int order[64], order_count;

static void *waiter_main(void *ctx)
{
    waiter_t *w = ctx;
    fcgipm_lease_t lease;
    int64_t begun = apr_time_now();
    w->rv = acquire(w->link, &lease, &w->fault);
    w->took_us = apr_time_now() - begun;
    if (w->rv != APR_SUCCESS)
        return NULL;
    w->pool = lease.pool;
    pthread_mutex_lock(&order_mutex);
    order[order_count++] = w->number;
    pthread_mutex_unlock(&order_mutex);
    fcgipm_exchange_t x;
    sink_t sink;
    unsigned char head[24];
    request_init(&x, &sink, &lease, head);
    w->rv = fcgipm_exchange_run(&x);
    fcgipm_lease_release(w->link, &lease, x.result.reusable ? FCGIPM_LEASE_KEEP : FCGIPM_LEASE_CLOSE, true);
    return NULL;
}

static void first_in_first_out(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    pthread_t threads[20];
    waiter_t w[20];
    fcgipm_geometry_t g;
    rig(1);
    assert_true(fcgipm_board_geometry(board, POOL, &g));
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    order_count = 0;
    for (int i = 0; i < 20; i++) {
        w[i] = (waiter_t){.link = links[i % 2], .number = i};
        pthread_create(&threads[i], NULL, waiter_main, &w[i]);
        wait_until(fcgipm_queue_count(board, &g) == (unsigned)i + 1);
    }
    perform_release(links[0], &lease);
    for (int i = 0; i < 20; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(w[i].rv, APR_SUCCESS);
    }
    for (int i = 0; i < 20; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.waited), 20);
    rig_end();
}

static bool always(void *ctx)
{
    (*(int *)ctx)++;
    return true;
}

static void refusals(void **state)
{
    (void)state;
    fcgipm_lease_t lease, second;
    fcgipm_fault_t fault;
    fcgipm_msg_t msg;
    fcgipm_geometry_t g;
    int asked = 0;
    rig(1);
    assert_true(fcgipm_board_geometry(board, POOL, &g));
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    setting.queue_us = 100000;
    int64_t begun = apr_time_now();
    assert_int_equal(acquire(links[1], &second, &fault), APR_TIMEUP);
    assert_int_equal(second.fd, -1);
    assert_true(apr_time_now() - begun >= 100000);
    assert_int_equal(fault.phase, FCGIPM_PHASE_NOTHING_SENT);
    assert_true(message_came(FCGIPM_MSG_NEED, &msg));
    assert_int_equal(msg.pool, POOL);
    assert_int_equal(fcgipm_queue_count(board, &g), 0);
    setting.queue_length = 0;
    assert_int_equal(acquire(links[1], &second, &fault), APR_EBUSY);
    setting.queue_length = 5;
    setting.queue_us = 0;
    fcgipm_wish_t wish = {
        .pool = POOL, .setting = &setting, .avoid_seat_slot = UINT32_MAX, .gone = always, .ctx = &asked};
    assert_int_equal(fcgipm_lease_acquire(links[1], &second, &wish, &fault), APR_ECONNABORTED);
    assert_int_equal(asked, 1);
    wish.gone = NULL;
    wish.deadline_us = apr_time_now() + 50000;
    assert_int_equal(fcgipm_lease_acquire(links[1], &second, &wish, &fault), APR_TIMEUP);
    /* the pool cannot start */
    fcgipm_atom_set(&board->pool[POOL].ready, 0);
    fcgipm_atom_set(&board->pool[POOL].state, FCGIPM_POOL_BACKOFF);
    fcgipm_atom_set(&board->pool[POOL].retry_us, (uint64_t)apr_time_now() + 30000000);
    assert_int_equal(acquire(links[1], &second, &fault), APR_ENOPROC);
    assert_non_null(strstr(fault.sentence, "next try in"));
    fcgipm_atom_set(&board->pool[POOL].state, FCGIPM_POOL_DRAINING);
    assert_int_equal(acquire(links[1], &second, &fault), APR_ENOPROC);
    fcgipm_lease_release(links[0], &lease, FCGIPM_LEASE_CLOSE, false);
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.queue_full), 1);
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.queue_timeout), 2);
    rig_end();
}

/* Waiters learn at once that the pool cannot start, or that another serves for it. */
static void told_while_waiting(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    fcgipm_geometry_t g;
    pthread_t thread;
    char path[128], target[128];
    rig(1);
    assert_true(fcgipm_board_geometry(board, POOL, &g));
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    waiter_t w = {.link = links[1]};
    order_count = 0;
    pthread_create(&thread, NULL, waiter_main, &w);
    wait_until(fcgipm_queue_count(board, &g) == 1);
    fcgipm_atom_set(&board->pool[POOL].ready, 0);
    fcgipm_atom_set(&board->pool[POOL].state, FCGIPM_POOL_BACKOFF);
    fcgipm_queue_wake_all(board, &g);
    pthread_join(thread, NULL);
    assert_int_equal(w.rv, APR_ENOPROC);
    fcgipm_atom_set(&board->pool[POOL].state, FCGIPM_POOL_SERVING);
    pthread_create(&thread, NULL, waiter_main, &w);
    wait_until(fcgipm_queue_count(board, &g) == 1);
    fcgipm_lease_release(links[0], &lease, FCGIPM_LEASE_HUNG, false); /* nobody is sent to a hung worker */
    assert_int_equal(seat_state(9), FCGIPM_SEAT_CLOSED);
    snprintf(path, sizeof path, "%s/p%u", dir, OTHER);
    snprintf(target, sizeof target, "%s/p%u", dir, POOL);
    assert_int_equal(symlink(target, path), 0);
    pool_open(OTHER, (fcgipm_geometry_t){7, 1, 30, 1, 200, 64});
    fcgipm_atom_set(&board->pool[POOL].route, OTHER);
    fcgipm_queue_wake_all(board, &g);
    pthread_join(thread, NULL);
    assert_int_equal(w.rv, APR_SUCCESS);
    assert_int_equal(w.pool, OTHER);
    unlink(path);
    rig_end();
}

/* A child that is killed with a lease and one that is killed while it waits. */
static void child_death(void **state)
{
    (void)state;
    pid_t pid[2];
    fcgipm_geometry_t g;
    rig_processes(1);
    assert_true(fcgipm_board_geometry(board, POOL, &g));
    for (int i = 0; i < 2; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            fcgipm_lease_t lease;
            fcgipm_fault_t fault;
            apr_pool_t *pool;
            apr_pool_create(&pool, NULL);
            acquire(link_make(pool), &lease, &fault);
            for (;;)
                pause();
        }
        if (i == 0)
            wait_until(seat_state(9) == FCGIPM_SEAT_BUSY);
        else
            wait_until(fcgipm_queue_count(board, &g) == 1);
    }
    rig_links();
    pthread_t thread;
    waiter_t w = {.link = links[0]};
    order_count = 0;
    pthread_create(&thread, NULL, waiter_main, &w);
    wait_until(fcgipm_queue_count(board, &g) == 2);
    kill(pid[1], SIGKILL);
    waitpid(pid[1], NULL, 0);
    assert_int_equal(fcgipm_board_child_gone(board, registry, pid[1]), 0);
    assert_int_equal(fcgipm_queue_count(board, &g), 1);
    kill(pid[0], SIGKILL);
    waitpid(pid[0], NULL, 0);
    int64_t begun = apr_time_now();
    assert_int_equal(fcgipm_board_child_gone(board, registry, pid[0]), 1);
    pthread_join(thread, NULL);
    assert_int_equal(w.rv, APR_SUCCESS);
    assert_true(apr_time_now() - begun < 900000);
    rig_end();
}

/* ---- the client leaves ---- */

static void linger_begin(fcgipm_lease_t *lease, int64_t grace_us, int64_t limit_us, bool keep)
{
    fcgipm_exchange_t x;
    fcgipm_fault_t fault;
    sink_t sink;
    unsigned char head[24];
    short events;
    assert_int_equal(acquire(links[0], lease, &fault), APR_SUCCESS);
    lease->keep = keep;
    request_init(&x, &sink, lease, head);
    assert_int_equal(fcgipm_exchange_step(&x, &events), APR_EAGAIN);
    fcgipm_exchange_linger(&x, links[0], lease, grace_us, limit_us);
    assert_int_equal(lease->fd, -1);
}

static void linger_until_the_end(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    rig(1);
    fcgipm_atom_set(&control->mode, ABORTING);
    linger_begin(&lease, 5000000, 8000000, true);
    wait_until(fcgipm_link_kept(links[0]) == 1); /* END came: kept */
    fcgipm_atom_set(&control->mode, ECHO);
    request(links[0], &lease);
    assert_true(lease.reused);
    assert_int_equal(fcgipm_atom_get(&control->accepted), 1);
    /* again, from a kept connection */
    fcgipm_atom_set(&control->mode, ABORTING);
    linger_begin(&lease, 5000000, 8000000, true);
    wait_until(fcgipm_link_kept(links[0]) == 1);
    rig_end();
}

static void linger_until_eof(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    rig(1);
    fcgipm_atom_set(&control->mode, HANGING);
    linger_begin(&lease, 5000000, 8000000, false);
    fcgipm_atom_set(&control->mode, ECHO);
    wait_until(seat_state(9) == FCGIPM_SEAT_IDLE);
    assert_int_equal(fcgipm_link_kept(links[0]), 0);
    rig_end();
}

static void linger_grace(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    rig(1);
    fcgipm_atom_set(&control->mode, DRIPPING);
    int64_t begun = apr_time_now();
    linger_begin(&lease, 200000, 8000000, true);
    wait_until(seat_state(9) == FCGIPM_SEAT_IDLE);
    assert_true(apr_time_now() - begun >= 200000);
    assert_int_equal(fcgipm_atom_get(&control->failed_writes), 1);
    fcgipm_atom_set(&control->mode, ECHO);
    request(links[1], NULL);
    rig_end();
}

static void linger_hung(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    fcgipm_msg_t msg;
    rig(1);
    fcgipm_atom_set(&board->slot[5].generation, 42);
    fcgipm_atom_set(&control->mode, HANGING);
    linger_begin(&lease, 50000, 200000, true);
    wait_until(message_came(FCGIPM_MSG_HUNG, &msg));
    assert_int_equal(msg.generation, 42);
    assert_int_equal(msg.slot, 0);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_CLOSED);
    /* and a child that ends with one under way gives the seat back */
    uint64_t word = fcgipm_atom_get(&board->seat[9]);
    assert_true(fcgipm_seat_step(&board->seat[9], &word, FCGIPM_SEAT_EV_SHUT, 0));
    assert_true(fcgipm_seat_step(&board->seat[9], &word, FCGIPM_SEAT_EV_OPEN, FCGIPM_OWNER_MANAGER));
    assert_true(fcgipm_seat_step(&board->seat[9], &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER));
    linger_begin(&lease, 5000000, 0, true);
    apr_pool_clear(pools[0]);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    rig_end();
}

static void stale_connections(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    fcgipm_msg_t msg;
    rig(1);
    fcgipm_atom_set(&control->mode, CLOSING);
    for (int i = 0; i < 20; i++) {
        request(links[0], &lease);
        assert_false(lease.reused);
        wait_until(fcgipm_link_kept(links[0]) == 0 && seat_state(9) == FCGIPM_SEAT_IDLE);
    }
    /* a drained seat closes when it is returned, and the manager is told */
    fcgipm_fault_t fault;
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    uint64_t word = lease.word;
    assert_true(fcgipm_seat_step(&board->seat[9], &word, FCGIPM_SEAT_EV_DRAIN, FCGIPM_OWNER_MANAGER));
    perform_release(links[0], &lease);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_CLOSED);
    assert_true(message_came(FCGIPM_MSG_EMPTY, &msg));
    assert_int_equal(fcgipm_link_kept(links[0]), 0);
    rig_end();
}

static void refused(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    fcgipm_msg_t msg;
    char path[128];
    rig(2);
    /* one is gone: the other serves */
    kill(workers[0], SIGKILL);
    waitpid(workers[0], NULL, 0);
    request(links[0], &lease);
    assert_int_equal(lease.slot, 1);
    assert_true(message_came(FCGIPM_MSG_BAD, &msg));
    assert_int_equal(msg.slot, 0);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    /* both: three tries, and a sentence that says where */
    kill(workers[1], SIGKILL);
    waitpid(workers[1], NULL, 0);
    unlink(fcgipm_board_socket_path(path, sizeof path, dir, POOL, 1));
    wait_until(fcgipm_link_kept(links[0]) == 0);
    apr_status_t rv = acquire(links[0], &lease, &fault);
    assert_true(rv == ENOENT || rv == ECONNREFUSED);
    assert_non_null(strstr(fault.sentence, "could not connect to "));
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    assert_int_equal(seat_state(10), FCGIPM_SEAT_IDLE);
    rig_end();
}

/* An application that is not ours: its address is on the board, nothing is kept unless asked for. */
static void external(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    char path[128];
    rig(1);
    fcgipm_board_socket_path(path, sizeof path, dir, POOL, 0);
    board->pool[POOL].external = 1;
    snprintf(board->pool[POOL].addr, sizeof board->pool[POOL].addr, "unix:%.100s", path);
    request(links[0], &lease);
    assert_false(lease.keep);
    assert_int_equal(fcgipm_link_kept(links[0]), 0);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    setting.keep_conn = FCGIPM_ON;
    request(links[0], &lease);
    request(links[0], &lease);
    assert_true(lease.reused);
    /* hung: there is nobody to replace it */
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    fcgipm_lease_release(links[0], &lease, FCGIPM_LEASE_HUNG, false);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    strcpy(board->pool[POOL].addr, "tcp:127.0.0.1:1"); /* nobody listens there */
    assert_int_equal(acquire(links[0], &lease, &fault), ECONNREFUSED);
    assert_non_null(strstr(fault.sentence, "could not connect to tcp:127.0.0.1:1: "));
    memset(board->pool[POOL].addr, 'x', sizeof board->pool[POOL].addr); /* scribbled */
    assert_int_not_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    rig_end();
}

static void *script_manager(void *ctx)
{
    fcgipm_msg_t msg;
    (void)ctx;
    wait_until(message_came(FCGIPM_MSG_SCRIPT, &msg));
    fcgipm_board_pool_t *p = &board->pool[FCGIPM_POOLS_STATIC + 5];
    fcgipm_atom_set(&p->key, fcgipm_board_script_key(msg.path, msg.path_len));
    fcgipm_atom_set(&p->state, FCGIPM_POOL_SERVING);
    fcgipm_board_script_wake(board);
    return NULL;
}

static void script_pools(void **state)
{
    (void)state;
    fcgipm_fault_t fault;
    uint32_t pool = 0;
    pthread_t thread;
    rig(1);
    assert_int_equal(fcgipm_lease_script(links[0], "/srv/a.cgi", 20000, &pool, &fault), APR_TIMEUP);
    pthread_create(&thread, NULL, script_manager, NULL);
    assert_int_equal(fcgipm_lease_script(links[0], "/srv/a.cgi", 5000000, &pool, &fault), APR_SUCCESS);
    assert_int_equal(pool, FCGIPM_POOLS_STATIC + 5);
    pthread_join(thread, NULL);
    assert_int_equal(fcgipm_lease_script(links[1], "/srv/a.cgi", 0, &pool, &fault), APR_SUCCESS);
    rig_end();
}

/* ---- everything at once ---- */

static fcgipm_atom32_t hammer_stop, hammer_errors, hammer_done;

static void *hammer_main(void *ctx)
{
    while (!fcgipm_atom_get(&hammer_stop)) {
        fcgipm_lease_t lease;
        fcgipm_fault_t fault;
        fcgipm_exchange_t x;
        sink_t sink;
        unsigned char head[24];
        if (acquire(ctx, &lease, &fault) != APR_SUCCESS) {
            print_message("# %s\n", fault.sentence);
            fcgipm_atom_add(&hammer_errors, 1);
            continue;
        }
        request_init(&x, &sink, &lease, head);
        if (fcgipm_exchange_run(&x) != APR_SUCCESS || sink.len != 6) {
            print_message("# %s\n", x.fault.sentence);
            fcgipm_atom_add(&hammer_errors, 1);
        }
        fcgipm_lease_release(ctx, &lease, x.result.reusable ? FCGIPM_LEASE_KEEP : FCGIPM_LEASE_CLOSE, true);
        fcgipm_atom_add(&hammer_done, 1);
    }
    return NULL;
}

static void all_at_once(void **state)
{
    (void)state;
    pthread_t threads[8];
    fcgipm_atom_set(&hammer_stop, 0);
    rig(2);
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, hammer_main, links[i % 2]);
    for (int64_t until = apr_time_now() + 1000000; apr_time_now() < until;)
        nap();
    fcgipm_atom_set(&hammer_stop, 1);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    print_message(
        "# %u requests, %llu reused, %llu taken over, %llu waited\n", fcgipm_atom_get(&hammer_done),
        (unsigned long long)fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.reuses),
        (unsigned long long)fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.takeovers),
        (unsigned long long)fcgipm_atom_get(&board->stat[board->pool[POOL].stat_row].count.waited));
    assert_int_equal(fcgipm_atom_get(&hammer_errors), 0);
    assert_true(fcgipm_atom_get(&hammer_done) > 50);
    for (int i = 0; i < LINKS; i++)
        apr_pool_clear(pools[i]);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    assert_int_equal(seat_state(10), FCGIPM_SEAT_IDLE);
    rig_end();
}

/* ---- on a nest: a connection goes from request to request within a child ---- */

/* One request; whole: may also leave the queue. False: it left, or failed. */
static bool nested_request(fcgipm_link_t *link, fcgipm_nest_t *nest, bool leaves, bool whole, bool *handed)
{
    unsigned char head[32];
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    fcgipm_attempt_t a;
    fcgipm_exchange_t x;
    sink_t sink;
    fcgipm_wish_t wish = {.pool = POOL,
                          .setting = &setting,
                          .avoid_seat_slot = UINT32_MAX,
                          .opening = head,
                          .opening_len = whole ? 32 : 24,
                          .opening_ends = whole};
    apr_status_t rv;
    fcgipm_record_put_begin(head, 1, FCGIPM_ROLE_RESPONDER, FCGIPM_KEEP_CONN);
    fcgipm_record_put(head + 16, FCGIPM_TYPE_PARAMS, 1, 0, 0);
    fcgipm_record_put(head + 24, FCGIPM_TYPE_STDIN, 1, 0, 0);
    fcgipm_attempt_begin(&a, link, &lease, &wish, &fault);
    while ((rv = fcgipm_attempt_step(&a)) == APR_EAGAIN) {
        struct pollfd pfd = {.fd = nest->epoll, .events = POLLIN};
        fcgipm_nest_arm(nest, 0);
        if (a.state != FCGIPM_ATTEMPT_QUEUED) {
            fcgipm_attempt_sleep(&a, 1000000);
        } else if (fcgipm_attempt_park(&a, nest)) {
            poll(&pfd, 1, leaves ? 1 : 10000);
            fcgipm_attempt_unpark(&a);
            if (leaves) {
                fcgipm_attempt_cancel(&a);
                fcgipm_nest_app(nest, -1, 0);
                return false;
            }
        }
    }
    fcgipm_nest_app(nest, -1, 0);
    if (rv != APR_SUCCESS) {
        print_message("# %s\n", fault.sentence);
        fcgipm_atom_add(&hammer_errors, 1);
        return false;
    }
    *handed = lease.sent != 0;
    request_init(&x, &sink, &lease, head);
    x.head_len = whole ? 32 : 24;
    x.head_ends = whole;
    fcgipm_exchange_sent(&x, lease.sent, lease.sent_us);
    if (fcgipm_exchange_run(&x) != APR_SUCCESS || sink.len != 6) {
        print_message("# %s\n", x.fault.sentence);
        fcgipm_atom_add(&hammer_errors, 1);
    }
    fcgipm_lease_release(link, &lease, x.result.reusable ? FCGIPM_LEASE_KEEP : FCGIPM_LEASE_CLOSE, true);
    return true;
}

static fcgipm_atom32_t hammer_handed;

static void *nested_main(void *ctx)
{
    fcgipm_nest_t *nest = fcgipm_nest_get();
    for (unsigned i = 0; !fcgipm_atom_get(&hammer_stop); i++) {
        bool handed = false;
        if (nested_request(ctx, nest, i % 50 == 49, i % 3 != 0, &handed))
            fcgipm_atom_add(&hammer_done, 1);
        fcgipm_atom_add(&hammer_handed, handed);
    }
    fcgipm_nest_put(nest);
    return NULL;
}

static void handed_over(void **state)
{
    (void)state;
    pthread_t threads[8];
    fcgipm_atom_set(&hammer_stop, 0);
    fcgipm_atom_set(&hammer_done, 0);
    fcgipm_atom_set(&hammer_errors, 0);
    fcgipm_atom_set(&hammer_handed, 0);
    rig(2);
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, nested_main, links[i % 2]);
    for (int64_t until = apr_time_now() + 1000000; apr_time_now() < until;)
        nap();
    fcgipm_atom_set(&hammer_stop, 1);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    print_message("# %u requests, %u begun by the one before\n", fcgipm_atom_get(&hammer_done),
                  fcgipm_atom_get(&hammer_handed));
    assert_int_equal(fcgipm_atom_get(&hammer_errors), 0);
    assert_true(fcgipm_atom_get(&hammer_done) > 50);
    assert_true(fcgipm_atom_get(&hammer_handed) > fcgipm_atom_get(&hammer_done) / 20);
    for (int i = 0; i < LINKS; i++)
        apr_pool_clear(pools[i]);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_IDLE);
    assert_int_equal(seat_state(10), FCGIPM_SEAT_IDLE);
    rig_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reuse_and_fresh),
        cmocka_unit_test(takeover),
        cmocka_unit_test(first_in_first_out),
        cmocka_unit_test(refusals),
        cmocka_unit_test(told_while_waiting),
        cmocka_unit_test(child_death),
        cmocka_unit_test(linger_until_the_end),
        cmocka_unit_test(linger_until_eof),
        cmocka_unit_test(linger_grace),
        cmocka_unit_test(linger_hung),
        cmocka_unit_test(stale_connections),
        cmocka_unit_test(refused),
        cmocka_unit_test(external),
        cmocka_unit_test(script_pools),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(handed_over),
    };
    apr_initialize();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
