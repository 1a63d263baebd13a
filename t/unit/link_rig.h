/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LINK_RIG_H
#define LINK_RIG_H
/*
 * Two links (as of two httpd children) on one board, a pool made by hand, and workers that are real processes
 * which serve one connection at a time, as libfcgi does. For link_lease and link_parked.
 */
#pragma GCC diagnostic ignored "-Wunused-function"
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
#include "share/wake.h"

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
    bool keep = false, open = false;
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
            if (reader.record.type == FCGIPM_TYPE_STDIN && reader.record.content_len == 0) {
                open = fcgipm_atom_get(&control->mode) == ABORTING;
                if (!open && !perform(fd, keep))
                    return;
            }
            /* (one that comes behind the answer is for nobody) */
            if (reader.record.type == FCGIPM_TYPE_ABORT_REQUEST && open && !(answer(fd) && keep))
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
        assert_true((wakes[i] = fcgipm_wake_open()) >= 0);
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
    fcgipm_link_env_t env = {.board = board,
                             .requests_fd = messages[0],
                             .wake_fds = wakes,
                             .wake_count = 8,
                             .runtime_dir = dir,
                             .children_fd = -1};
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
static apr_status_t sink_body(void *ctx, const char **data, size_t *len, bool *last)
{
    (void)ctx;
    *data = NULL;
    *len = 0;
    *last = true;
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
#endif
