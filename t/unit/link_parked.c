/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait on a nest, connections that are handed over to them, and the keeper. */
#include "link_rig.h"
#include <sys/resource.h>
#include "link/link.h"
#include "link/nest.h"

static fcgipm_atom32_t hammer_stop, hammer_done, hammer_errors;

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

/* ---- one after the other ---- */

typedef struct parked {
    fcgipm_attempt_t a;
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    fcgipm_wish_t wish;
    fcgipm_nest_t *nest;
    unsigned char head[32];
} parked_t;

static void parked_begin(parked_t *p, fcgipm_link_t *link, bool fresh)
{
    memset(p, 0, sizeof *p);
    fcgipm_record_put_begin(p->head, 1, FCGIPM_ROLE_RESPONDER, FCGIPM_KEEP_CONN);
    fcgipm_record_put(p->head + 16, FCGIPM_TYPE_PARAMS, 1, 0, 0);
    fcgipm_record_put(p->head + 24, FCGIPM_TYPE_STDIN, 1, 0, 0);
    p->wish =
        (fcgipm_wish_t){.pool = POOL, .setting = &setting, .avoid_seat_slot = UINT32_MAX, .fresh = fresh};
    if (!fresh) {
        p->wish.opening = p->head;
        p->wish.opening_len = 32;
        p->wish.opening_ends = true;
    }
    p->nest = fcgipm_nest_get();
    fcgipm_attempt_begin(&p->a, link, &p->lease, &p->wish, &p->fault);
}

static void parked_join(parked_t *p, fcgipm_link_t *link)
{
    parked_begin(p, link, false);
    assert_int_equal(fcgipm_attempt_step(&p->a), APR_EAGAIN);
    assert_int_equal(p->a.state, FCGIPM_ATTEMPT_QUEUED);
    fcgipm_nest_arm(p->nest, 0);
    assert_true(fcgipm_attempt_park(&p->a, p->nest));
}

static bool parked_rung(const parked_t *p, int ms)
{
    struct pollfd fd = {.fd = p->nest->epoll, .events = POLLIN};
    return poll(&fd, 1, ms) > 0;
}

static apr_status_t parked_wake(parked_t *p)
{
    assert_true(parked_rung(p, 5000));
    fcgipm_attempt_unpark(&p->a);
    return fcgipm_attempt_step(&p->a);
}

static void parked_perform(parked_t *p, fcgipm_link_t *link)
{
    fcgipm_exchange_t x;
    sink_t sink;
    unsigned char head[24];
    request_init(&x, &sink, &p->lease, head);
    x.head = p->head;
    x.head_len = 32;
    x.head_ends = true;
    fcgipm_exchange_sent(&x, p->lease.sent, p->lease.sent_us);
    assert_int_equal(fcgipm_exchange_run(&x), APR_SUCCESS);
    fcgipm_nest_app(p->nest, -1, 0);
    fcgipm_nest_put(p->nest);
    fcgipm_lease_release(link, &p->lease, x.result.reusable ? FCGIPM_LEASE_KEEP : FCGIPM_LEASE_CLOSE, true);
}

/* The request that was handed a seat finds it draining; it must not hand it on, or it would never close. */
static void drained_is_not_handed_on(void **state)
{
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    fcgipm_msg_t msg;
    parked_t a, b;
    (void)state;
    rig(1);
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    parked_join(&a, links[0]);
    parked_join(&b, links[0]);
    perform_release(links[0], &lease);
    uint64_t word = fcgipm_atom_get(&board->seat[9]);
    assert_true(fcgipm_seat_step(&board->seat[9], &word, FCGIPM_SEAT_EV_DRAIN, FCGIPM_OWNER_MANAGER));
    assert_int_equal(parked_wake(&a), APR_SUCCESS);
    assert_int_equal(fcgipm_seat_state(a.lease.word), FCGIPM_SEAT_DRAINING);
    parked_perform(&a, links[0]);
    wait_until(seat_state(9) == FCGIPM_SEAT_CLOSED);
    wait_until(message_came(FCGIPM_MSG_EMPTY, &msg));
    assert_int_equal(fcgipm_atom_get(&control->served), 2);
    fcgipm_attempt_cancel(&b.a);
    fcgipm_nest_put(b.nest);
    rig_end();
}

/* Others of the same child that come later pass one who sleeps in his thread, but not for ever. */
static void sleepers_are_not_passed_for_ever(void **state)
{
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    parked_t post, turn[2];
    int passed = 0;
    (void)state;
    rig(1);
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    parked_begin(&post, links[0], true);
    assert_int_equal(fcgipm_attempt_step(&post.a), APR_EAGAIN);
    parked_join(&turn[0], links[0]);
    perform_release(links[0], &lease);
    while (passed < 100 && fcgipm_atom_get(&board->cell[post.a.cell]) == post.a.word) {
        parked_join(&turn[1 - passed % 2], links[0]);
        assert_int_equal(parked_wake(&turn[passed % 2]), APR_SUCCESS);
        parked_perform(&turn[passed % 2], links[0]);
        passed++;
    }
    assert_true(passed <= 17); /* 16 in a row; none at all if the first request took its time */
    assert_int_equal(fcgipm_attempt_step(&post.a), APR_SUCCESS);
    fcgipm_attempt_cancel(&turn[passed % 2].a);
    fcgipm_nest_put(turn[passed % 2].nest);
    parked_perform(&post, links[0]);
    rig_end();
}

static void begin_and_leave(fcgipm_lease_t *lease, int64_t grace_us, int64_t limit_us)
{
    fcgipm_exchange_t x;
    sink_t sink;
    unsigned char head[24];
    short events;
    request_init(&x, &sink, lease, head);
    assert_int_equal(fcgipm_exchange_step(&x, &events), APR_EAGAIN);
    fcgipm_exchange_linger(&x, links[0], lease, grace_us, limit_us);
}

/* What the keeper waits for may be a minute away: who parks meanwhile is looked after all the same. */
static void the_keeper_is_woken_from_a_long_sleep(void **state)
{
    fcgipm_lease_t lease, other;
    fcgipm_fault_t fault;
    parked_t a;
    (void)state;
    rig(2);
    setting.queue_us = 0;
    fcgipm_atom_set(&control->mode, HANGING);
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    assert_int_equal(acquire(links[1], &other, &fault), APR_SUCCESS);
    begin_and_leave(&lease, 1000, 60000000);
    for (int64_t until = apr_time_now() + 300000; apr_time_now() < until;)
        nap(); /* until it sleeps: nothing tells */
    parked_join(&a, links[0]);
    fcgipm_atom_set(&board->pool[POOL].ready, 0);
    fcgipm_atom_set(&board->pool[POOL].state, FCGIPM_POOL_BACKOFF);
    assert_true(parked_rung(&a, 3000));
    fcgipm_attempt_cancel(&a.a);
    fcgipm_nest_put(a.nest);
    fcgipm_atom_set(&control->mode, ECHO);
    fcgipm_lease_release(links[1], &other, FCGIPM_LEASE_CLOSE, false);
    rig_end();
}

/* The keeper looks while somebody parks: he is in its table, and his cell does not say so yet. */
static void who_parks_is_not_woken_for_it(void **state)
{
    fcgipm_attempt_t *taken;
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    parked_t a;
    (void)state;
    rig(1);
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    parked_join(&a, links[0]);
    fcgipm_atom_set(&board->cell[a.a.cell], a.a.word & ~FCGIPM_CELL_PARKED);
    fcgipm_parked_tend(links[0]);
    assert_false(parked_rung(&a, 0));
    while (!(taken = fcgipm_parked_take(links[0], a.a.cell)))
        nap(); /* the keeper has it */
    fcgipm_parked_put(taken, a.a.word);
    assert_false(parked_rung(&a, 0));
    fcgipm_atom_set(&board->cell[a.a.cell], a.a.word);
    perform_release(links[0], &lease);
    assert_int_equal(parked_wake(&a), APR_SUCCESS);
    parked_perform(&a, links[0]);
    rig_end();
}

static int64_t cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
}

/* A connection that had lingered and serves another request is no longer the keeper's to read. */
static void the_keeper_lets_go(void **state)
{
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    parked_t a;
    (void)state;
    rig(1);
    fcgipm_atom_set(&control->mode, HANGING);
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    parked_join(&a, links[0]);
    begin_and_leave(&lease, 5000000, 8000000);
    fcgipm_atom_set(&control->mode, ECHO);
    assert_int_equal(parked_wake(&a), APR_SUCCESS);
    int64_t before = cpu_us(), until = apr_time_now() + 400000;
    while (apr_time_now() < until) /* the answer stays unread */
        nap();
    assert_true(cpu_us() - before < 200000);
    parked_perform(&a, links[0]);
    rig_end();
}

/* What is told of a request that had left is told when its memory is gone. */
static void the_name_of_a_lingering_request(void **state)
{
    static const char name[] = "GET /a/long/path/of/a/request/whose/memory/is/gone";
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    fcgipm_msg_t msg;
    char *what = strdup(name);
    (void)state;
    rig(1);
    fcgipm_atom_set(&control->mode, HANGING);
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    lease.what = what;
    begin_and_leave(&lease, 50000, 200000);
    memset(what, 'x', sizeof name - 1);
    free(what);
    wait_until(message_came(FCGIPM_MSG_HUNG, &msg));
    assert_string_equal(msg.path, name);
    rig_end();
}

static apr_status_t refuse(void *ctx, char *data, size_t len)
{
    (void)ctx;
    (void)data;
    (void)len;
    return APR_ECONNABORTED;
}

/* Its last piece could not be passed on, but the application has done its work: there is nothing to wait for.
 */
static void what_has_ended_does_not_linger(void **state)
{
    fcgipm_lease_t lease;
    fcgipm_fault_t fault;
    fcgipm_msg_t msg;
    fcgipm_exchange_t x;
    fcgipm_exchange_ops_t ops = sink_ops;
    sink_t sink;
    unsigned char head[24];
    (void)state;
    rig(1);
    ops.answer = refuse;
    assert_int_equal(acquire(links[0], &lease, &fault), APR_SUCCESS);
    request_init(&x, &sink, &lease, head);
    x.ops = &ops;
    assert_int_equal(fcgipm_exchange_run(&x), APR_ECONNABORTED);
    assert_true(x.result.ended);
    fcgipm_exchange_linger(&x, links[0], &lease, 100000, 1000000);
    assert_int_equal(seat_state(9), FCGIPM_SEAT_LEASED);
    assert_false(message_came(FCGIPM_MSG_HUNG, &msg));
    rig_end();
}

/* ---- a grant that comes while the share of threads is looked at ---- */

static fcgipm_lease_t *meanwhile;
uint32_t __real_fcgipm_board_load(const fcgipm_board_t *b, uint32_t pool, uint64_t ticket);
uint32_t __wrap_fcgipm_board_load(const fcgipm_board_t *b, uint32_t pool, uint64_t ticket);
uint32_t __wrap_fcgipm_board_load(const fcgipm_board_t *b, uint32_t pool, uint64_t ticket)
{
    if (!meanwhile || ticket == FCGIPM_ALL_TICKETS)
        return __real_fcgipm_board_load(b, pool, ticket);
    fcgipm_lease_release(links[1], meanwhile, FCGIPM_LEASE_CLOSE, true);
    meanwhile = NULL;
    return 1000;
}

static void a_grant_at_the_last_moment(void **state)
{
    fcgipm_lease_t lease, mine;
    fcgipm_fault_t fault;
    fcgipm_share_t share = {.threads = 5};
    fcgipm_wish_t wish = {.pool = POOL, .setting = &setting, .avoid_seat_slot = UINT32_MAX, .share = &share};
    fcgipm_attempt_t a;
    (void)state;
    rig(1);
    assert_int_equal(acquire(links[1], &lease, &fault), APR_SUCCESS);
    meanwhile = &lease;
    fcgipm_attempt_begin(&a, links[0], &mine, &wish, &fault);
    apr_status_t rv = fcgipm_attempt_step(&a);
    assert_null(meanwhile);
    if (rv == APR_EAGAIN)
        rv = fcgipm_attempt_step(&a);
    assert_int_equal(rv, APR_SUCCESS);
    perform_release(links[0], &mine);
    rig_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handed_over),
        cmocka_unit_test(drained_is_not_handed_on),
        cmocka_unit_test(sleepers_are_not_passed_for_ever),
        cmocka_unit_test(the_keeper_is_woken_from_a_long_sleep),
        cmocka_unit_test(who_parks_is_not_woken_for_it),
        cmocka_unit_test(the_keeper_lets_go),
        cmocka_unit_test(the_name_of_a_lingering_request),
        cmocka_unit_test(what_has_ended_does_not_linger),
        cmocka_unit_test(a_grant_at_the_last_moment),
    };
    apr_initialize();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
