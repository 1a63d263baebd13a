/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: who gets which seat, and what becomes of it. */
#include "link_rig.h"
#include "core/clock.h"
#include "obituary.h"
#include "core/clock.h"

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
    fcgipm_atom_set(&board->pool[POOL].retry_us, (uint64_t)fcgipm_clock_steady_us() + 30000000);
    assert_int_equal(acquire(links[1], &second, &fault), APR_ENOPROC);
    assert_non_null(strstr(fault.sentence, "next try in 30 s"));
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
    assert_int_equal(obituary_of(board, registry, pid[1]), 0);
    assert_int_equal(fcgipm_queue_count(board, &g), 1);
    kill(pid[0], SIGKILL);
    waitpid(pid[0], NULL, 0);
    int64_t begun = apr_time_now();
    assert_int_equal(obituary_of(board, registry, pid[0]), 1);
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

/* What the manager does for a pool that is asked for: row 5 is for `what`, in its third life. */
static void make_demand(uint64_t life, const fcgipm_demand_t *what)
{
    fcgipm_board_demand_t *row = &board->demand[5];
    uint64_t key = fcgipm_demand_key(what);
    fcgipm_atom_set(&row->life, 0);
    row->what = *what;
    fcgipm_atom_set(&board->pool[FCGIPM_POOLS_STATIC + 5].key, key);
    fcgipm_atom_set(&board->pool[FCGIPM_POOLS_STATIC + 5].state, FCGIPM_POOL_SERVING);
    fcgipm_atom_set(&row->life, life);
    fcgipm_atom_set(&board->chain[key % FCGIPM_DEMAND_CHAINS], 6);
    fcgipm_demand_wake(board);
}

static void *demand_manager(void *ctx)
{
    fcgipm_msg_t msg;
    fcgipm_demand_t what;
    (void)ctx;
    wait_until(message_came(FCGIPM_MSG_SCRIPT, &msg));
    fcgipm_demand_set(&what, FCGIPM_DEMAND_SCRIPT, 0, 0, msg.path);
    make_demand(3, &what);
    return NULL;
}

static apr_status_t demand(fcgipm_link_t *link, const fcgipm_lease_ask_t *ask, int64_t limit_us,
                           uint32_t *pool, uint64_t *life)
{
    fcgipm_lease_demand_t waits = {.until_us = fcgipm_clock_us() + limit_us};
    fcgipm_fault_t fault;
    apr_status_t rv;
    while ((rv = fcgipm_lease_demand(link, ask, &waits, pool, life, &fault)) == APR_EAGAIN)
        fcgipm_lease_demand_sleep(link, &waits, INT64_MAX / 4);
    return rv;
}

static void demand_pools(void **state)
{
    (void)state;
    fcgipm_lease_ask_t ask = {.type = FCGIPM_MSG_SCRIPT, .path = "/srv/a.cgi"}, other = ask;
    uint32_t pool = 0;
    uint64_t life = 0;
    pthread_t thread;
    rig(1);
    assert_true(fcgipm_demand_set(&ask.what, FCGIPM_DEMAND_SCRIPT, 0, 0, ask.path));
    assert_int_equal(demand(links[0], &ask, 20000, &pool, &life), APR_TIMEUP);
    pthread_create(&thread, NULL, demand_manager, NULL);
    assert_int_equal(demand(links[0], &ask, 5000000, &pool, &life), APR_SUCCESS);
    assert_int_equal(pool, FCGIPM_POOLS_STATIC + 5);
    assert_int_equal(life, 3);
    pthread_join(thread, NULL);
    assert_int_equal(demand(links[1], &ask, 0, &pool, &life), APR_SUCCESS);
    /* However many share its chain: names can be chosen so. */
    for (uint32_t row = 10; row < 400; row++)
        fcgipm_atom_set(&board->demand[row].next, row == 10 ? 6 : row);
    fcgipm_atom_set(&board->chain[fcgipm_demand_key(&ask.what) % FCGIPM_DEMAND_CHAINS], 400);
    assert_int_equal(demand(links[1], &ask, 0, &pool, &life), APR_SUCCESS);
    /* One that is written over so that it has no end has an end. */
    fcgipm_atom_set(&board->demand[10].next, 400);
    assert_int_equal(demand(links[1], &ask, 0, &pool, &life), APR_TIMEUP);
    /* The whole of it is compared, not its hash. */
    assert_true(fcgipm_demand_set(&other.what, FCGIPM_DEMAND_SCRIPT, 0, 0, "/srv/b.cgi"));
    fcgipm_atom_set(&board->pool[pool].key, fcgipm_demand_key(&other.what));
    fcgipm_atom_set(&board->chain[fcgipm_demand_key(&other.what) % FCGIPM_DEMAND_CHAINS], 6);
    assert_int_equal(demand(links[0], &other, 0, &pool, &life), APR_TIMEUP);
    rig_end();
}

/* The index was given to another pool between finding it and having a seat of it. */
static void demand_lives(void **state)
{
    (void)state;
    fcgipm_lease_t lease;
    fcgipm_demand_t a, b;
    uint32_t pool = FCGIPM_POOLS_STATIC + 5, seat;
    uint64_t word;
    rig(1);
    assert_true(fcgipm_demand_set(&a, FCGIPM_DEMAND_TEMPLATE, 7, 1001, ""));
    assert_true(fcgipm_demand_set(&b, FCGIPM_DEMAND_TEMPLATE, 7, 1002, ""));
    make_demand(3, &a);
    seat = FCGIPM_SEATS_STATIC + 5 * FCGIPM_DEMAND_SEATS;
    word = fcgipm_atom_get(&board->seat[seat]);
    assert_true(
        fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_OPEN, fcgipm_link_child(links[0])));
    lease = (fcgipm_lease_t){.pool = pool, .seat = seat, .word = word, .life = 3, .fd = -1};
    assert_true(fcgipm_lease_lives(links[0], &lease));
    assert_false(fcgipm_lease_lives(links[1], &lease)); /* it is not that child's */
    lease.life = 2;
    assert_false(fcgipm_lease_lives(links[0], &lease));
    lease.life = 3;
    fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_DRAIN, FCGIPM_OWNER_MANAGER);
    assert_true(fcgipm_lease_lives(links[0], &lease)); /* it is to finish */
    fcgipm_seat_step(&board->seat[seat], &word, FCGIPM_SEAT_EV_SHUT, FCGIPM_OWNER_MANAGER);
    assert_false(fcgipm_lease_lives(links[0], &lease)); /* its worker has died */
    make_demand(4, &b);
    lease.word = fcgipm_atom_get(&board->seat[seat]);
    assert_false(fcgipm_lease_lives(links[0], &lease));
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
        cmocka_unit_test(demand_pools),
        cmocka_unit_test(demand_lives),
        cmocka_unit_test(all_at_once),
    };
    apr_initialize();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
