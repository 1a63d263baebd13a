/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to find a place for a request, without the request: `make -f Makefile.apxs bench-acquire`.
 *   seat    a free seat taken and given back (link/seek, share/queue)
 *   lease   a kept connection taken, looked at (one recv), and kept again: all of what a request does in the
 * steady state For one thread and for 16, on pools of 1, 64 and 256 processes, and with 1,000 other pools on
 * the board. CPU time over all threads, so that figures of a busy machine compare.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <apr_general.h>
#include "link/link.h"
#include "share/msg.h"
#include "share/wake.h"

#define POOL        3u
#define OTHERS      1000u
#define ROUNDS      200000
#define THREADS_MAX 16

static fcgipm_board_t *board;
static fcgipm_link_t *the_link;
static fcgipm_setting_t setting = {
    .name = "bench", .keep_conn = FCGIPM_ON, .queue_length = 64, .queue_us = 5000000};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void pool_open(uint32_t pool, fcgipm_geometry_t g)
{
    fcgipm_board_pool_t *p = &board->pool[pool];
    p->geometry = g;
    fcgipm_atom_set(&p->route, pool);
    fcgipm_atom_set(&p->state, FCGIPM_POOL_SERVING);
    fcgipm_atom_set(&p->ready, g.slot_count);
    for (uint32_t s = g.seat_first; s < g.seat_first + g.slot_count * g.concurrency; s++) {
        uint64_t word = 0;
        fcgipm_seat_step(&board->seat[s], &word, FCGIPM_SEAT_EV_OPEN, FCGIPM_OWNER_MANAGER);
        fcgipm_queue_offer(board, pool, &g, s, &word, FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER);
    }
}

static void acquire_seats(unsigned rounds)
{
    fcgipm_wish_t wish = {.pool = POOL, .setting = &setting, .avoid_seat_slot = UINT32_MAX};
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    fcgipm_attempt_t a;
    fcgipm_attempt_begin(&a, the_link, &lease, &wish, &fault);
    a.pool = POOL;
    fcgipm_board_geometry(board, POOL, &a.g);
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t word;
        if (!fcgipm_queue_empty(board, POOL, &a.g) || !fcgipm_seek(&a))
            continue;
        word = lease.word;
        fcgipm_queue_offer(board, POOL, &a.g, lease.seat, &word, FCGIPM_SEAT_EV_RETURN,
                           fcgipm_link_child(the_link));
    }
}

static void acquire_leases(unsigned rounds)
{
    fcgipm_wish_t wish = {.pool = POOL, .setting = &setting, .avoid_seat_slot = UINT32_MAX};
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    for (unsigned i = 0; i < rounds; i++) {
        if (fcgipm_lease_acquire(the_link, &lease, &wish, &fault) != APR_SUCCESS)
            die(fault.sentence);
        fcgipm_lease_release(the_link, &lease, FCGIPM_LEASE_KEEP, true);
    }
}

static double cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e9 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e3;
}

static bool leases;

static void *thread_main(void *rounds)
{
    if (leases)
        acquire_leases(*(unsigned *)rounds);
    else
        acquire_seats(*(unsigned *)rounds);
    return NULL;
}

static double measure(unsigned threads)
{
    pthread_t ids[THREADS_MAX];
    unsigned rounds = ROUNDS / threads;
    double before = cpu_ns();
    for (unsigned i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, thread_main, &rounds);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return (cpu_ns() - before) / ((double)rounds * threads);
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(unsigned threads)
{
    double ns[5];
    for (int i = 0; i < 5; i++)
        ns[i] = measure(threads);
    qsort(ns, 5, sizeof *ns, order);
    return ns[2];
}

/* Every seat gets a connection that is open and silent. */
static void keep_all(uint32_t slots)
{
    for (uint32_t i = 0; i < slots; i++) {
        int pair[2];
        fcgipm_kept_t kept = {
            .pool = POOL, .seat = board->pool[POOL].geometry.seat_first + i, .g = board->pool[POOL].geometry};
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
            die("socketpair");
        kept.fd = pair[0];
        kept.word = fcgipm_atom_get(&board->seat[kept.seat]);
        fcgipm_seat_step(&board->seat[kept.seat], &kept.word, FCGIPM_SEAT_EV_TAKE,
                         fcgipm_link_child(the_link));
        fcgipm_seat_step(&board->seat[kept.seat], &kept.word, FCGIPM_SEAT_EV_KEEP,
                         fcgipm_link_child(the_link));
        fcgipm_kept_put(the_link, &kept, true);
    }
}

static void run(uint32_t slots, unsigned others)
{
    fcgipm_fault_t fault;
    apr_pool_t *pool;
    int messages[2], wakes[8];
    apr_pool_create(&pool, NULL);
    if (fcgipm_board_create(&board, NULL, &fault) != APR_SUCCESS)
        die(fault.sentence);
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, messages) != 0)
        die("socketpair");
    for (int i = 0; i < 8; i++)
        wakes[i] = fcgipm_wake_open();
    pool_open(POOL, (fcgipm_geometry_t){0, slots, 0, 1, 0, 64});
    for (uint32_t i = 0; i < others; i++)
        pool_open(POOL + 1 + i, (fcgipm_geometry_t){1000 + i * 4, 4, 1000 + i * 4, 1, 1000 + i * 64, 64});
    fcgipm_link_env_t env = {.board = board,
                             .requests_fd = messages[0],
                             .wake_fds = wakes,
                             .wake_count = 8,
                             .runtime_dir = "/tmp"};
    if (fcgipm_link_create(&the_link, &env, pool) != APR_SUCCESS)
        die("link");
    leases = false;
    double seat1 = median(1), seat16 = slots >= 16 ? median(16) : 0;
    keep_all(slots);
    leases = true;
    double lease1 = median(1), lease16 = slots >= 16 ? median(16) : 0;
    printf("%4u processes, %4u other pools: seat %4.0f ns, 16 threads %5.0f ns; lease %4.0f ns, 16 threads "
           "%5.0f ns\n",
           slots, others, seat1, seat16, lease1, lease16);
    apr_pool_destroy(pool);
}

int main(void)
{
    apr_initialize();
    run(1, 0);
    run(64, 0);
    run(64, OTHERS);
    run(256, 0);
    return 0;
}
