/* SPDX-License-Identifier: Apache-2.0 */
/* Backoff, tokens and sizing, with the time given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "pm/policy.h"

#define S ((int64_t)1000000)

static void delays_double_up_to_the_cap(void **state)
{
    (void)state;
    fcgipm_tally_t t;
    int64_t now = 1 * S, want = FCGIPM_TALLY_FIRST_US;
    fcgipm_tally_init(&t, 4);
    for (uint32_t i = 1; i <= 40; i++) {
        int64_t delay = fcgipm_tally_fail(&t, now, now, i * 7919u);
        assert_int_equal(t.failures, i);
        assert_true(delay >= want * 8 / 10 && delay <= want * 12 / 10);
        now = t.retry_us;
        want = want * 2 > FCGIPM_TALLY_CAP_US ? FCGIPM_TALLY_CAP_US : want * 2;
    }
    assert_true(fcgipm_tally_well(&t));
    assert_false(fcgipm_tally_well(&t));
    assert_int_equal(t.retry_us, 0);
}

static void chance_spreads_over_the_whole_range(void **state)
{
    (void)state;
    fcgipm_tally_t low, high;
    fcgipm_tally_init(&low, 1);
    fcgipm_tally_init(&high, 1);
    assert_int_equal(fcgipm_tally_fail(&low, S, S, 0), FCGIPM_TALLY_FIRST_US * 8 / 10);
    assert_int_equal(fcgipm_tally_fail(&high, S, S, 1000), FCGIPM_TALLY_FIRST_US * 12 / 10);
}

static void a_round_of_starts_fails_once(void **state)
{
    (void)state;
    fcgipm_tally_t t;
    fcgipm_tally_init(&t, 8);
    for (int i = 0; i < 8; i++)
        fcgipm_tally_fail(&t, 1 * S, 2 * S + i, 500);
    assert_int_equal(t.failures, 1);
    fcgipm_tally_fail(&t, 3 * S, 4 * S, 500);
    assert_int_equal(t.failures, 2);
}

static void verdicts(void **state)
{
    (void)state;
    assert_true(fcgipm_tally_is_failure(-1, 0));
    assert_true(fcgipm_tally_is_failure(-1, 99)); /* the board lies: it was never ready */
    assert_true(fcgipm_tally_is_failure(1 * S, 0));
    assert_false(fcgipm_tally_is_failure(1 * S, 1));
    assert_false(fcgipm_tally_is_failure(FCGIPM_TALLY_PROVEN_US, 0));
    /* the backoff is forgotten after a life longer than a threshold only */
    assert_false(fcgipm_tally_is_proof(FCGIPM_TALLY_CALM_US - 1, 1000000));
    assert_true(fcgipm_tally_is_proof(FCGIPM_TALLY_CALM_US, 1));
    assert_false(fcgipm_tally_is_proof(FCGIPM_TALLY_PROVEN_US - 1, 0));
    assert_true(fcgipm_tally_is_proof(FCGIPM_TALLY_PROVEN_US, 0));
}

static void tokens_run_out_and_come_back(void **state)
{
    (void)state;
    fcgipm_tally_t t;
    int64_t again = 0, now = 5 * S;
    fcgipm_tally_init(&t, 2);
    for (int i = 0; i < 14; i++)
        assert_true(fcgipm_tally_take(&t, now, &again));
    assert_false(fcgipm_tally_take(&t, now, &again));
    assert_int_equal(again, now + S / FCGIPM_TALLY_RATE);
    assert_false(fcgipm_tally_take(&t, again - 1, &again));
    assert_true(fcgipm_tally_take(&t, again, &again));
    now += 3600 * S;
    for (int i = 0; i < 14; i++)
        assert_true(fcgipm_tally_take(&t, now, &again));
    assert_false(fcgipm_tally_take(&t, now, &again));
}

static fcgipm_policy_in_t pool(uint32_t min, uint32_t max)
{
    return (fcgipm_policy_in_t){
        .min = min, .max = max, .concurrency = 1, .free_slots = max + 2, .room = FCGIPM_POLICY_NO_LIMIT};
}

static void min_is_kept(void **state)
{
    (void)state;
    fcgipm_policy_in_t in = pool(3, 8);
    assert_int_equal(fcgipm_policy_missing(&in), 3);
    in.starting = 1;
    in.ready = 1;
    assert_int_equal(fcgipm_policy_missing(&in), 1);
    in.ready = 2;
    assert_int_equal(fcgipm_policy_missing(&in), 0);
}

static void demand_grows_to_max_only(void **state)
{
    (void)state;
    fcgipm_policy_in_t in = pool(1, 4);
    in.ready = 1;
    in.asked = true;
    assert_int_equal(fcgipm_policy_missing(&in), 1);
    in.waiting = 2;
    assert_int_equal(fcgipm_policy_missing(&in), 2);
    in.starting = 1;
    assert_int_equal(fcgipm_policy_missing(&in), 1);
    in.waiting = UINT32_MAX; /* nonsense from the board */
    assert_int_equal(fcgipm_policy_missing(&in), 2);
    in.free_slots = 1;
    assert_int_equal(fcgipm_policy_missing(&in), 1);
    in.concurrency = 1024;
    in.waiting = 100;
    assert_int_equal(fcgipm_policy_missing(&in), 0);
}

static void idle_ones_go_down_to_min(void **state)
{
    (void)state;
    fcgipm_tally_t t;
    fcgipm_policy_in_t in = pool(1, 4);
    fcgipm_tally_init(&t, 4);
    in.ready = in.idle = in.idle_long = 4;
    assert_int_equal(fcgipm_policy_size(&in, &t, S).retire, 3);
    in.idle_long = 2;
    assert_int_equal(fcgipm_policy_size(&in, &t, S).retire, 2);
    in.idle_long = UINT32_MAX;
    in.waiting = 1;
    assert_int_equal(fcgipm_policy_size(&in, &t, S).retire, 0);
}

static void backoff_delays_and_then_starts_one(void **state)
{
    (void)state;
    fcgipm_tally_t t;
    fcgipm_policy_in_t in = pool(4, 4);
    fcgipm_tally_init(&t, 4);
    assert_int_equal(fcgipm_policy_size(&in, &t, S).start, 4);
    fcgipm_tally_fail(&t, S, S, 500);
    in.asked = true;
    fcgipm_policy_out_t out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.start, 0);
    assert_int_equal(out.again_us, t.retry_us);
    assert_int_equal(fcgipm_policy_size(&in, &t, t.retry_us).start, 1);
    in.starting = 1;
    assert_int_equal(fcgipm_policy_size(&in, &t, t.retry_us).start, 0);
    fcgipm_tally_well(&t);
    assert_int_equal(fcgipm_policy_size(&in, &t, t.tokens_us).start, 3);
}

static void replaced_one_by_one(void **state)
{
    (void)state;
    fcgipm_tally_t t;
    fcgipm_policy_in_t in = pool(2, 2);
    fcgipm_tally_init(&t, 2);
    in.ready = in.outdated = 2;
    in.free_slots = 2;
    fcgipm_policy_out_t out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.start, 1); /* one more than max */
    assert_int_equal(out.substitute, 1);
    assert_int_equal(out.relieve, 0);
    in.starting = 1;
    in.free_slots = 1;
    assert_int_equal(fcgipm_policy_size(&in, &t, S).start, 0); /* not before it is ready */
    in.starting = 0;
    in.ready = 3;
    in.relieved = 1;
    out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.relieve, 1);
    assert_int_equal(out.start, 0);
    in.relieved = 0; /* the manager that knew of it has died */
    assert_int_equal(fcgipm_policy_size(&in, &t, S).relieve, 1);
    in.ready = 2; /* a worker has died meanwhile: nobody goes, the place is filled */
    in.outdated = in.relieved = 1;
    out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.relieve, 0);
    assert_int_equal(out.start, 1);
    fcgipm_tally_fail(&t, S, S, 500); /* new ones do not start: the old ones stay */
    out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.start + out.relieve + out.substitute, 0);
    assert_int_equal(out.again_us, t.retry_us);
}

static void made_smaller(void **state)
{
    (void)state;
    fcgipm_tally_t t;
    fcgipm_policy_in_t in = pool(1, 2);
    fcgipm_tally_init(&t, 4);
    in.ready = 4;
    assert_int_equal(fcgipm_policy_size(&in, &t, S).retire, 2); /* busy or not */
    in.min = in.max = 0;                                        /* drained */
    in.outdated = 1;
    in.waiting = 5;
    assert_int_equal(fcgipm_policy_size(&in, &t, S).retire + fcgipm_policy_size(&in, &t, S).relieve, 4);
    assert_int_equal(fcgipm_policy_size(&in, &t, S).start, 0);
}

static void room_is_kept(void **state)
{
    (void)state;
    fcgipm_tally_t t;
    fcgipm_policy_in_t in = pool(3, 8);
    fcgipm_tally_init(&t, 8);
    in.room = 2;
    fcgipm_policy_out_t out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.start, 2);
    assert_int_equal(out.wanted, 0); /* what is missing to min pushes nobody out */
    in.waiting = 5;
    out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.start, 2);
    assert_int_equal(out.wanted, 3); /* who waits does */
    in.room = 0;
    out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.start, 0);
    assert_int_equal(out.wanted, 5);
    in = pool(2, 4);
    in.room = 0;
    in.ready = 2;
    in.outdated = 1;
    out = fcgipm_policy_size(&in, &t, S);
    assert_int_equal(out.start, 1); /* who is replaced and his substitute count as one */
    assert_int_equal(out.substitute, 1);
    assert_int_equal(out.wanted, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays_double_up_to_the_cap),
        cmocka_unit_test(chance_spreads_over_the_whole_range),
        cmocka_unit_test(a_round_of_starts_fails_once),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(tokens_run_out_and_come_back),
        cmocka_unit_test(min_is_kept),
        cmocka_unit_test(demand_grows_to_max_only),
        cmocka_unit_test(idle_ones_go_down_to_min),
        cmocka_unit_test(backoff_delays_and_then_starts_one),
        cmocka_unit_test(replaced_one_by_one),
        cmocka_unit_test(made_smaller),
        cmocka_unit_test(room_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
