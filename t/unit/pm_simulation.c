/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A day of 500 applications on one server, with the manager's own policy and a clock that jumps from event to
 * event: bursts and lulls, crash loops, workers that crash, recycling by requests and by age, a cap over all
 * pools. What is promised is checked at every step:
 *   1. never more workers than max, one more only while an outdated one is being replaced
 *   2. never fewer ready than min for longer than a start takes, unless the application fails to start or the
 *      server's cap is reached; replacing an outdated worker never goes below it
 *   3. nobody waits while a worker could be started for him, and everybody is served in the end
 *   4. starts are bounded in rate, also in a crash loop
 *   5. workers that began together are not recycled together
 *   6. never more processes in all than the cap; the longest unused ones make room
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "pm/policy.h"

#define S         ((int64_t)1000000)
#define DAY       (86400 * S)
#define POOLS     500
#define SLOTS     12
#define QUEUE_MAX 200

typedef enum kind { ARRIVE, DONE, READY, FAILED, CRASH, LOOK } kind_t;
typedef struct event {
    int64_t at;
    uint32_t pool, slot, generation;
    kind_t kind;
} event_t;

typedef struct worker {
    enum { FREE, STARTING, SERVING, LEAVING } state;
    uint32_t generation, chance;
    bool busy, outdated, substitute;
    int64_t born, ready, idle_since;
    uint64_t served;
} worker_t;

typedef struct pool {
    fcgipm_setting_t s;
    fcgipm_tally_t tally;
    worker_t worker[SLOTS];
    uint32_t relieved, waiting, wanted;
    int64_t start_us, serve_us, ill_from, ill_to, look_at;
    int64_t waits_since[QUEUE_MAX]; /* a ring: when each of the waiting came */
    uint32_t first;
    int64_t below_since, second;
    uint32_t starts_in_second, starts_ill;
    uint64_t arrived, served, refused, recycled, starts;
} pool_t;

typedef struct world {
    pool_t pool[POOLS];
    event_t *heap;
    size_t count, cap;
    int64_t now;
    uint32_t random, processes, max_processes, most_processes;
    uint64_t events, evicted;
    int64_t longest_wait, longest_below;
} world_t;

static uint32_t dice(world_t *w, uint32_t sides)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 17;
    w->random ^= w->random << 5;
    return w->random % sides;
}

/* --- the clock --- */

static void push(world_t *w, event_t e)
{
    size_t i = w->count++;
    if (w->count > w->cap) {
        w->cap = w->cap ? 2 * w->cap : 4096;
        w->heap = realloc(w->heap, w->cap * sizeof *w->heap);
        assert_non_null(w->heap);
    }
    for (; i > 0 && w->heap[(i - 1) / 2].at > e.at; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static event_t pop(world_t *w)
{
    event_t top = w->heap[0], last = w->heap[--w->count];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < w->count) {
        if (child + 1 < w->count && w->heap[child + 1].at < w->heap[child].at)
            child++;
        if (w->heap[child].at >= last.at)
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

static void later(world_t *w, int64_t at, kind_t kind, uint32_t pool, uint32_t slot)
{
    push(w, (event_t){.at = at,
                      .pool = pool,
                      .slot = slot,
                      .generation = w->pool[pool].worker[slot].generation,
                      .kind = kind});
}

/* --- one pool --- */

static fcgipm_policy_in_t look(world_t *w, pool_t *p)
{
    uint32_t room = w->max_processes ? w->max_processes - w->processes : FCGIPM_POLICY_NO_LIMIT;
    fcgipm_policy_in_t in = {.min = p->s.processes_min,
                             .max = p->s.processes_max,
                             .concurrency = 1,
                             .waiting = p->waiting,
                             .relieved = p->relieved,
                             .room = room};
    for (uint32_t i = 0; i < p->s.processes_max + 2; i++) {
        worker_t *x = &p->worker[i];
        in.free_slots += x->state == FREE;
        in.starting += x->state == STARTING;
        if (x->state == SERVING) {
            if (!x->outdated &&
                fcgipm_policy_recycle(&p->s, x->served, w->now - x->born, 0, x->chance) != FCGIPM_RECYCLE_NO)
                x->outdated = true;
            in.ready++;
            in.idle += !x->busy;
            in.idle_long += !x->busy && w->now - x->idle_since >= p->s.idle_us;
        }
        in.outdated += (x->state == STARTING || x->state == SERVING) && x->outdated;
    }
    if (in.outdated == 0)
        p->relieved = in.relieved = 0;
    return in;
}

static void gone(world_t *w, worker_t *x)
{
    x->state = FREE;
    x->busy = x->outdated = false;
    x->generation++;
    w->processes--;
}

static void start(world_t *w, pool_t *p, uint32_t index, bool substitute)
{
    uint32_t slot = 0;
    while (p->worker[slot].state != FREE)
        slot++;
    worker_t *x = &p->worker[slot];
    *x = (worker_t){.state = STARTING,
                    .generation = x->generation + 1,
                    .chance = dice(w, 1000000),
                    .substitute = substitute,
                    .born = w->now};
    w->processes++;
    p->starts++;
    if (w->now / S != p->second) {
        p->second = w->now / S;
        p->starts_in_second = 0;
    }
    p->starts_in_second++;
    assert_true(p->starts_in_second <= p->tally.tokens_max + FCGIPM_TALLY_RATE); /* 4 */
    bool ill = w->now >= p->ill_from && w->now < p->ill_to;
    p->starts_ill += ill;
    later(w, w->now + (ill ? p->start_us / 4 : p->start_us), ill ? FAILED : READY, index, slot);
}

static void leave(world_t *w, worker_t *x)
{
    if (x->busy)
        x->state = LEAVING;
    else
        gone(w, x);
}

static void relieve(world_t *w, pool_t *p, uint32_t count)
{
    for (uint32_t busy = 0; busy < 2; busy++)
        for (uint32_t i = SLOTS; i-- > 0 && count > 0;) {
            worker_t *x = &p->worker[i];
            if (x->state != SERVING || !x->outdated || x->busy != (bool)busy)
                continue;
            leave(w, x);
            count--;
            p->relieved -= p->relieved > 0;
            p->recycled++;
        }
}

static void retire(world_t *w, pool_t *p, uint32_t count)
{
    for (uint32_t i = SLOTS; i-- > 0 && count > 0;) {
        worker_t *x = &p->worker[i];
        if (x->state == SERVING && !x->busy && w->now - x->idle_since >= p->s.idle_us) {
            gone(w, x);
            count--;
        }
    }
}

/* Who waits is served first come, first served, by the lowest slot. */
static void serve(world_t *w, pool_t *p, uint32_t index)
{
    for (uint32_t i = 0; i < SLOTS && p->waiting; i++) {
        worker_t *x = &p->worker[i];
        if (x->state != SERVING || x->busy)
            continue;
        int64_t waited = w->now - p->waits_since[p->first];
        p->first = (p->first + 1) % QUEUE_MAX;
        p->waiting--;
        if (p->ill_to == 0 && w->max_processes == 0 && waited > w->longest_wait)
            w->longest_wait = waited;
        x->busy = true;
        later(w, w->now + p->serve_us / 2 + dice(w, (uint32_t)p->serve_us), DONE, index, i);
    }
}

static void check(world_t *w, pool_t *p, const fcgipm_policy_in_t *before, const fcgipm_policy_out_t *out)
{
    fcgipm_policy_in_t in = look(w, p);
    uint32_t have = in.starting + in.ready;
    bool ill = p->tally.failures > 0, capped = before->room < in.max || in.room < in.max;

    assert_true(have <= in.max + (before->outdated > 0)); /* 1 */
    if (w->max_processes)
        assert_true(w->processes <= w->max_processes); /* 6 */
    if (!ill && !capped && !out->again_us)
        assert_true(have >= in.min); /* 2: at once on its way */
    if (in.ready >= in.min || ill || capped)
        p->below_since = 0;
    else if (!p->below_since)
        p->below_since = w->now;
    if (p->below_since && w->now - p->below_since > w->longest_below)
        w->longest_below = w->now - p->below_since;
    if (p->below_since)
        assert_true(w->now - p->below_since <= p->start_us + S / 10); /* 2 */
    if (in.waiting && !ill && !capped && !out->again_us && have < in.max && in.free_slots)
        assert_true(in.starting > 0); /* 3 */
}

static void make_room(world_t *w)
{
    static fcgipm_policy_candidate_t list[POOLS * SLOTS];
    size_t n = 0, going;
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < POOLS; i++) {
        wanted += w->pool[i].wanted;
        w->pool[i].wanted = 0;
    }
    if (wanted == 0)
        return;
    for (uint32_t i = 0; i < POOLS; i++)
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            worker_t *x = &w->pool[i].worker[slot];
            if (x->state == SERVING && !x->busy)
                list[n++] = (fcgipm_policy_candidate_t){.used_us = x->idle_since, .worker = x};
        }
    going = fcgipm_policy_evict(list, n, wanted, 0);
    for (size_t i = 0; i < going; i++) {
        for (size_t j = going; j < n; j++)
            assert_true(list[i].used_us <= list[j].used_us); /* 6 */
        gone(w, list[i].worker);
        w->evicted++;
    }
}

static void tend(world_t *w, uint32_t index)
{
    pool_t *p = &w->pool[index];
    fcgipm_policy_in_t in = look(w, p);
    fcgipm_policy_out_t out = fcgipm_policy_size(&in, &p->tally, w->now);

    for (uint32_t i = 0; i < out.start; i++)
        start(w, p, index, i < out.substitute);
    retire(w, p, out.retire);
    relieve(w, p, out.relieve);
    p->wanted = out.wanted;
    if (out.wanted) {
        make_room(w);
        later(w, w->now + S / 10, LOOK, index, 0);
    }
    if (out.again_us > w->now && out.again_us != p->look_at)
        later(w, p->look_at = out.again_us, LOOK, index, 0);
    serve(w, p, index);
    check(w, p, &in, &out);
}

/* --- events --- */

static void arrive(world_t *w, pool_t *p, uint32_t index)
{
    /* Quiet nights, busy days, and now and then a burst. */
    int64_t hour = w->now / (3600 * S) % 24, pause = (hour < 7 ? 1200 : 240) * S;
    uint32_t count = dice(w, 40) == 0 ? 20 + dice(w, 30) : 1 + dice(w, 3);

    for (uint32_t i = 0; i < count; i++) {
        p->arrived++;
        if (p->waiting == QUEUE_MAX) {
            p->refused++;
            continue;
        }
        p->waits_since[(p->first + p->waiting++) % QUEUE_MAX] = w->now;
    }
    later(w, w->now + pause / 2 + (int64_t)dice(w, 1000) * (pause / 1000), ARRIVE, index, 0);
}

/* Nobody waits for an application that does not start. */
static void refuse_all(pool_t *p)
{
    p->refused += p->waiting;
    p->waiting = 0;
}

static void happen(world_t *w, const event_t *e)
{
    pool_t *p = &w->pool[e->pool];
    worker_t *x = &p->worker[e->slot];

    switch (e->kind) {
    case ARRIVE:
        arrive(w, p, e->pool);
        break;
    case READY:
        x->state = SERVING;
        x->ready = x->idle_since = w->now;
        p->relieved += x->substitute;
        fcgipm_tally_well(&p->tally);
        later(w, w->now + p->s.idle_us, LOOK, e->pool, 0);
        if (p->s.recycle_age_us)
            later(w, w->now + p->s.recycle_age_us * 11 / 10, LOOK, e->pool, 0);
        if (dice(w, 200) == 0)
            later(w, w->now + (int64_t)dice(w, 3600) * S, CRASH, e->pool, e->slot);
        break;
    case FAILED:
        fcgipm_tally_fail(&p->tally, x->born, w->now, dice(w, 1000));
        gone(w, x);
        if (p->tally.failures >= 3)
            refuse_all(p);
        break;
    case CRASH:
        if (x->busy)
            p->served++;
        gone(w, x);
        break;
    case DONE:
        p->served++;
        x->served++;
        x->busy = false;
        x->idle_since = w->now;
        if (x->state == LEAVING)
            gone(w, x);
        later(w, w->now + p->s.idle_us, LOOK, e->pool, 0);
        break;
    case LOOK:
        break;
    }
    tend(w, e->pool);
}

static world_t *world_make(uint32_t max_processes)
{
    world_t *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->random = 20261121;
    w->max_processes = max_processes;
    w->now = S;
    for (uint32_t i = 0; i < POOLS; i++) {
        pool_t *p = &w->pool[i];
        p->s.processes_min = i % 3;
        p->s.processes_max = 2 + i % 9;
        p->s.idle_us = 300 * S;
        p->s.recycle_requests = i % 4 == 0 ? 50 : 0;
        p->s.recycle_age_us = i % 5 == 0 ? 3600 * S : 0;
        p->start_us = (int64_t)(20 + dice(w, 2000)) * 1000;
        p->serve_us = (int64_t)(5 + dice(w, 800)) * 1000;
        if (i % 25 == 7) { /* some are broken for some hours */
            p->ill_from = (int64_t)dice(w, 60000) * S;
            p->ill_to = p->ill_from + 3 * 3600 * S;
        }
        fcgipm_tally_init(&p->tally, p->s.processes_max);
        later(w, w->now + (int64_t)dice(w, 1200) * S, ARRIVE, i, 0);
        later(w, w->now, LOOK, i, 0);
    }
    return w;
}

static bool stale(const world_t *w, const event_t *e)
{
    return e->kind != ARRIVE && e->kind != LOOK &&
           w->pool[e->pool].worker[e->slot].generation != e->generation;
}

static void run(world_t *w)
{
    while (w->count && w->heap[0].at < DAY) {
        event_t e = pop(w);
        w->now = e.at;
        if (stale(w, &e))
            continue;
        w->events++;
        happen(w, &e);
        if (w->processes > w->most_processes)
            w->most_processes = w->processes;
    }
}

static void sum_up(const world_t *w, const char *name)
{
    uint64_t arrived = 0, served = 0, refused = 0, starts = 0, recycled = 0;
    for (uint32_t i = 0; i < POOLS; i++) {
        const pool_t *p = &w->pool[i];
        arrived += p->arrived;
        served += p->served;
        refused += p->refused;
        starts += p->starts;
        recycled += p->recycled;
    }
    if (getenv("VERBOSE"))
        print_message(
            "%s: %llu events, %llu requests, %llu served, %llu refused, %llu starts, %llu recycled, "
            "%llu evicted, most processes %u, longest wait %lld ms, longest below min %lld ms\n",
            name, (unsigned long long)w->events, (unsigned long long)arrived, (unsigned long long)served,
            (unsigned long long)refused, (unsigned long long)starts, (unsigned long long)recycled,
            (unsigned long long)w->evicted, w->most_processes, (long long)(w->longest_wait / 1000),
            (long long)(w->longest_below / 1000));
    assert_true(arrived > 200000);
}

static void free_world(world_t *w)
{
    free(w->heap);
    free(w);
}

static void a_day_without_a_cap(void **state)
{
    world_t *w = world_make(0);
    uint64_t recycled = 0;
    (void)state;
    run(w);
    sum_up(w, "no cap");
    for (uint32_t i = 0; i < POOLS; i++) {
        const pool_t *p = &w->pool[i];
        uint32_t in_hand = p->waiting;
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            in_hand += p->worker[slot].busy;
        assert_int_equal(p->arrived, p->served + p->refused + in_hand); /* 3 */
        if (p->ill_to == 0)
            assert_int_equal(p->refused, 0);
        else /* 4: three hours of a crash loop */
            assert_in_range(p->starts_ill, 3, 20 + 3 * 3600 / 24);
        recycled += p->recycled;
    }
    assert_true(recycled > 500);
    /* A burst of 50 on a cold pool of 2 whose requests take 1.2 s each, and one more before it. */
    assert_in_range(w->longest_wait, 0, 90 * S);
    free_world(w);
}

static void a_day_with_a_cap(void **state)
{
    world_t *w = world_make(200);
    (void)state;
    run(w);
    sum_up(w, "cap 200");
    assert_true(w->evicted > 100);
    assert_true(w->most_processes == 200);
    for (uint32_t i = 0; i < POOLS; i++) { /* 3: also who had no process gets one */
        const pool_t *p = &w->pool[i];
        if (p->ill_to == 0)
            assert_true(p->served + 300 > p->arrived);
    }
    free_world(w);
}

static void recycled_apart(void **state)
{
    fcgipm_setting_t s = {.recycle_requests = 1000, .recycle_age_us = 1000 * S};
    uint32_t at[11] = {0};
    (void)state;
    for (uint32_t chance = 0; chance < 10000; chance += 7) {
        uint64_t requests = 0;
        while (fcgipm_policy_recycle(&s, requests, 0, 0, chance) == FCGIPM_RECYCLE_NO)
            requests++;
        assert_in_range(requests, 900, 1100);
        at[(requests - 900) / 20]++;
        int64_t age = (int64_t)requests * S; /* the same for the age */
        assert_int_equal(fcgipm_policy_recycle(&s, 0, age + S, 0, chance), FCGIPM_RECYCLE_AGE);
        assert_int_equal(fcgipm_policy_recycle(&s, 0, age - 2 * S, 0, chance), FCGIPM_RECYCLE_NO);
    }
    for (int i = 0; i < 10; i++) /* 5: spread over the whole range */
        assert_true(at[i] > 50);
    s = (fcgipm_setting_t){.recycle_memory_bytes = 100};
    assert_int_equal(fcgipm_policy_recycle(&s, 1u << 30, DAY, 100, 0), FCGIPM_RECYCLE_NO);
    assert_int_equal(fcgipm_policy_recycle(&s, 0, 0, 101, 0), FCGIPM_RECYCLE_MEMORY);
}

static void evicted_by_use_and_size(void **state)
{
    fcgipm_policy_candidate_t list[] = {{30, 10, NULL}, {10, 5, NULL}, {20, 50, NULL}, {40, 1, NULL}};
    (void)state;
    assert_int_equal(fcgipm_policy_evict(list, 4, 1, 0), 1);
    assert_int_equal(list[0].used_us, 10);
    assert_int_equal(fcgipm_policy_evict(list, 4, 0, 6), 2);
    assert_int_equal(fcgipm_policy_evict(list, 4, 0, 55), 2);
    assert_int_equal(fcgipm_policy_evict(list, 4, 3, 1), 3);
    assert_int_equal(fcgipm_policy_evict(list, 4, 0, 1000), 4);
    assert_int_equal(fcgipm_policy_evict(list, 0, 5, 5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_day_without_a_cap),
        cmocka_unit_test(a_day_with_a_cap),
        cmocka_unit_test(recycled_apart),
        cmocka_unit_test(evicted_by_use_and_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
