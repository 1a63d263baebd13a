/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as bytes: round trip, every truncation, every flipped bit; and who gets which rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "share/board.h"
#include "share/slot.h"
#include "share/world.h"

#define SLOTS_END FCGIPM_SLOTS_STATIC
#define SEATS_END FCGIPM_SEATS_STATIC
#define CELLS_END FCGIPM_CELLS_STATIC

static apr_pool_t *pool;
static fcgipm_registry_t *registry;
static fcgipm_board_t *board;
static fcgipm_fault_t fault;

static int begin(void **state)
{
    (void)state;
    if (apr_initialize() != APR_SUCCESS || fcgipm_board_create(&board, NULL, &fault) != APR_SUCCESS)
        return -1;
    registry = aligned_alloc(64, (sizeof *registry + 63) / 64 * 64);
    return registry ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    free(registry);
    apr_terminate();
    return 0;
}

static int setup(void **state)
{
    (void)state;
    memset(registry, 0, sizeof *registry);
    memset(board->pool, 0, sizeof board->pool);
    return apr_pool_create(&pool, NULL) == APR_SUCCESS ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    return 0;
}

static const fcgipm_setting_row_t *row_at(size_t offset)
{
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if (fcgipm_setting_rows[i].offset == offset)
            return &fcgipm_setting_rows[i];
    fail();
    return NULL;
}

static void say(fcgipm_setting_t *s, size_t offset, const char *text)
{
    const char *sentence = fcgipm_setting_parse(s, row_at(offset), text, pool);

    if (sentence)
        fail_msg("%s", sentence);
}
#define SAY(s, member, text) say(s, offsetof(fcgipm_setting_t, member), text)

static fcgipm_setting_t *setting(const char *name, uint32_t max)
{
    fcgipm_setting_t *s = apr_pcalloc(pool, sizeof *s);

    fcgipm_setting_defaults(s, pool);
    s->name = apr_pstrdup(pool, name);
    SAY(s, command, "/srv/app");
    s->processes_max = max;
    fcgipm_setting_finish(s);
    return s;
}

static fcgipm_setting_t *external(const char *name)
{
    fcgipm_setting_t *s = setting(name, 4);

    fcgipm_setting_defaults(s, pool);
    s->name = apr_pstrdup(pool, name);
    SAY(s, connect, "[::1]:9000");
    fcgipm_setting_finish(s);
    return s;
}

static apr_status_t assign(fcgipm_world_pool_t *p, fcgipm_setting_t *s)
{
    memset(p, 0, sizeof *p);
    p->setting = s;
    fcgipm_fault_clear(&fault);
    return fcgipm_world_assign(registry, board, p, &fault);
}

/* --- who gets which rows --- */

static void one_pool(void **state)
{
    fcgipm_world_pool_t a, again;
    (void)state;

    assert_int_equal(assign(&a, setting("blog", 4)), APR_SUCCESS);
    assert_int_equal(a.index, 0);
    assert_int_equal(a.geometry.slot_count, 6); /* two to spare for a change of workers */
    assert_int_equal(a.geometry.concurrency, 1);
    assert_int_equal(a.geometry.cell_count, 256);
    assert_true(a.key == fcgipm_setting_key(a.setting));
    assert_true(a.fingerprint == fcgipm_setting_fingerprint(a.setting));
    assert_int_equal(fcgipm_atom_get(&registry->pool[0].used), 1);
    assert_true(registry->pool[0].key == a.key && registry->pool[0].fingerprint == a.fingerprint);
    assert_int_equal(registry->pool[0].external, 0);
    assert_string_equal(board->pool[0].name, "blog");
    assert_string_equal(board->pool[0].addr, "");
    assert_int_equal(fcgipm_atom_get(&board->pool[0].route), 0);
    assert_int_equal(fcgipm_atom_get(&board->pool[0].key), a.key);
    assert_memory_equal(&board->pool[0].geometry, &a.geometry, sizeof a.geometry);

    /* the same definition, made anew: the same rows, and its counters stay */
    fcgipm_atom_set(&board->stat[board->pool[0].stat_row].count.requests, 7);
    assert_int_equal(assign(&again, setting("blog", 4)), APR_SUCCESS);
    assert_int_equal(again.index, 0);
    assert_memory_equal(&again.geometry, &a.geometry, sizeof a.geometry);
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[0].stat_row].count.requests), 7);
    assert_int_equal(fcgipm_atom_get(&registry->pool[1].used), 0);
}

static void external_pool(void **state)
{
    fcgipm_world_pool_t a;
    fcgipm_setting_t *s = external("php");
    (void)state;

    s->queue_length = 0;
    assert_int_equal(assign(&a, s), APR_SUCCESS);
    assert_int_equal(a.geometry.slot_count, 1);
    assert_int_equal(a.geometry.concurrency, 32);
    assert_int_equal(a.geometry.cell_count, 1);
    assert_int_equal(registry->pool[0].external, 1);
    assert_int_equal(board->pool[0].external, 1);
    assert_string_equal(board->pool[0].addr, "[::1]:9000");
}

/* A changed definition is another pool; its requests go to the old one until it serves. */
static void changed(void **state)
{
    fcgipm_world_pool_t a, b, c, other, private;
    fcgipm_setting_t *s;
    (void)state;

    assert_int_equal(assign(&a, setting("blog", 4)), APR_SUCCESS);
    assert_int_equal(assign(&other, setting("shop", 4)), APR_SUCCESS);
    assert_int_equal(other.index, 1);
    assert_int_equal(fcgipm_atom_get(&board->pool[1].route), 1);
    assert_int_equal(assign(&b, setting("blog", 5)), APR_SUCCESS);
    assert_int_equal(b.index, 2);
    assert_true(b.key == a.key && b.fingerprint != a.fingerprint);
    assert_int_equal(fcgipm_atom_get(&board->pool[2].route), a.index);
    assert_int_equal(assign(&c, setting("blog", 6)), APR_SUCCESS);
    assert_int_equal(fcgipm_atom_get(&board->pool[c.index].route), a.index);
    /* back to what it was: the old rows */
    assert_int_equal(assign(&b, setting("blog", 4)), APR_SUCCESS);
    assert_int_equal(b.index, a.index);
    /* the name in a virtual host is somebody else's */
    s = setting("blog", 4);
    s->vhost = "www.example.org:80";
    assert_int_equal(assign(&private, s), APR_SUCCESS);
    assert_int_equal(fcgipm_atom_get(&board->pool[private.index].route), private.index);
    /* routes that lead nowhere are not taken over */
    fcgipm_atom_set(&board->pool[a.index].route, 0xffffffffu);
    fcgipm_atom_set(&board->pool[2].route, 1);
    fcgipm_atom_set(&board->pool[c.index].route, 1000);
    assert_int_equal(assign(&b, setting("blog", 7)), APR_SUCCESS);
    assert_int_equal(fcgipm_atom_get(&board->pool[b.index].route), b.index);
}

/* A fourth definition finds the one that serves, by way of the one that was configured until now, and not
 * what an earlier one knew. And a row that a configuration goes on with is not the manager's to free until it
 * has come. */
static void row_of_changes(void **state)
{
    fcgipm_world_pool_t a, b, c, d;
    uint32_t used = FCGIPM_ROW_USED;
    (void)state;

    assert_int_equal(assign(&a, setting("blog", 4)), APR_SUCCESS);
    assert_int_equal(assign(&b, setting("blog", 5)), APR_SUCCESS);
    assert_int_equal(assign(&c, setting("blog", 6)), APR_SUCCESS);
    fcgipm_atom_set(&board->pool[a.index].state, FCGIPM_POOL_DRAINING);
    fcgipm_atom_set(&board->pool[b.index].state, FCGIPM_POOL_DRAINING);
    fcgipm_atom_set(&board->pool[c.index].state, FCGIPM_POOL_SERVING);
    fcgipm_atom_set(&board->pool[b.index].route, b.index);
    fcgipm_atom_set(&board->pool[c.index].route, c.index);
    assert_int_equal(assign(&d, setting("blog", 7)), APR_SUCCESS);
    assert_int_equal(fcgipm_atom_get(&board->pool[d.index].route), c.index);
    /* in a circle there is nobody, and it ends */
    fcgipm_atom_set(&board->pool[a.index].route, b.index);
    fcgipm_atom_set(&board->pool[b.index].route, a.index);
    assert_int_equal(assign(&d, setting("blog", 8)), APR_SUCCESS);
    assert_int_equal(fcgipm_atom_get(&board->pool[d.index].route), c.index);

    assert_int_equal(assign(&d, setting("blog", 4)), APR_SUCCESS);
    assert_int_equal(d.index, a.index);
    assert_int_equal(fcgipm_atom_get(&registry->pool[a.index].used), FCGIPM_ROW_NAMED);
    assert_false(fcgipm_atom_cas(&registry->pool[a.index].used, &used, FCGIPM_ROW_FREE));
    assert_int_equal(assign(&d, setting("blog", 4)), APR_SUCCESS); /* once more, before it has come */
    assert_int_equal(d.index, a.index);
}

/* A row that the manager has given back is clean when it is given out again, but for the seats' epochs. */
static void cleared(void **state)
{
    fcgipm_world_pool_t a, b;
    uint64_t word, epoch;
    (void)state;

    assert_int_equal(assign(&a, setting("blog", 4)), APR_SUCCESS);
    word = fcgipm_atom_get(&board->seat[a.geometry.seat_first]);
    assert_true(fcgipm_seat_step(&board->seat[a.geometry.seat_first], &word, FCGIPM_SEAT_EV_OPEN,
                                 FCGIPM_OWNER_MANAGER));
    epoch = fcgipm_seat_epoch(word);
    fcgipm_atom_set(&board->cell[a.geometry.cell_first], 99);
    fcgipm_atom_set(&board->slot[a.geometry.slot_first].pid, 4711);
    fcgipm_atom_set(&board->stat[board->pool[0].stat_row].count.requests, 7);
    fcgipm_atom_set(&registry->pool[0].used, 0);
    assert_int_equal(assign(&b, setting("shop", 4)), APR_SUCCESS);
    assert_int_equal(b.index, 0);
    assert_memory_equal(&a.geometry, &b.geometry, sizeof a.geometry);
    word = fcgipm_atom_get(&board->seat[a.geometry.seat_first]);
    assert_int_equal(fcgipm_seat_state(word), FCGIPM_SEAT_CLOSED);
    assert_true(fcgipm_seat_epoch(word) > epoch);
    assert_int_equal(fcgipm_atom_get(&board->cell[a.geometry.cell_first]), 0);
    assert_int_equal(fcgipm_atom_get(&board->slot[a.geometry.slot_first].pid), 0);
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[0].stat_row].count.requests), 0);
    assert_string_equal(board->pool[0].name, "shop");
}

static bool apart(uint32_t a, uint32_t na, uint32_t b, uint32_t nb)
{
    return a + na <= b || b + nb <= a;
}

static void nobody_shares(void)
{
    for (uint32_t i = 0; i < FCGIPM_POOLS_MAX; i++) {
        const fcgipm_geometry_t *g = &registry->pool[i].geometry;

        if (!fcgipm_atom_get(&registry->pool[i].used))
            continue;
        assert_true(i < FCGIPM_POOLS_STATIC);
        assert_true(fcgipm_geometry_ok(g));
        assert_true(g->slot_first + g->slot_count <= SLOTS_END);
        assert_true(g->seat_first + g->slot_count * g->concurrency <= SEATS_END);
        assert_true(g->cell_first + g->cell_count <= CELLS_END);
        for (uint32_t j = 0; j < i; j++) {
            const fcgipm_geometry_t *h = &registry->pool[j].geometry;

            if (!fcgipm_atom_get(&registry->pool[j].used))
                continue;
            assert_true(apart(g->slot_first, g->slot_count, h->slot_first, h->slot_count));
            assert_true(apart(g->seat_first, g->slot_count * g->concurrency, h->seat_first,
                              h->slot_count * h->concurrency));
            assert_true(apart(g->cell_first, g->cell_count, h->cell_first, h->cell_count));
        }
    }
}

/* Pools come and go in any order: ranges never overlap, and the tables' ends hold. */
static void come_and_go(void **state)
{
    unsigned full = 0;
    (void)state;

    srandom(3);
    for (unsigned run = 0; run < 1500; run++) {
        fcgipm_world_pool_t p;
        fcgipm_setting_t *s = random() % 4 ? setting("p", 1 + (uint32_t)(random() % 256)) : external("p");

        s->vhost = apr_psprintf(pool, "%u", run);
        s->concurrency = 1 + (uint32_t)(random() % 24);
        s->queue_length = (uint32_t)(random() % 1001);
        if (assign(&p, s) != APR_SUCCESS)
            full++;
        for (unsigned i = 0; i < FCGIPM_POOLS_STATIC; i++)
            if (fcgipm_atom_get(&registry->pool[i].used) && random() % 60 == 0)
                fcgipm_atom_set(&registry->pool[i].used, 0);
        if (run % 10 == 0)
            nobody_shares();
    }
    nobody_shares();
    assert_in_range(full, 1, 1499); /* or the above has asked nothing */
}

static void full_tables(void **state)
{
    fcgipm_world_pool_t p;
    fcgipm_registry_pool_t before;
    unsigned count = 0;
    (void)state;

    while (assign(&p, setting(apr_psprintf(pool, "p%u", count), 256)) == APR_SUCCESS)
        count++;
    assert_int_equal(count, SLOTS_END / 258);
    assert_int_equal(fault.status, APR_ENOSPC);
    assert_non_null(strstr(fault.sentence, "no room for pool p55: at most 1792 pools, 14336 processes"));
    before = registry->pool[count];
    assert_int_equal(fcgipm_atom_get(&before.used), 0);
    /* what is left is not lost, to the last row */
    assert_int_equal(assign(&p, setting("rest", SLOTS_END % 258 - 1)), APR_ENOSPC);
    assert_int_equal(assign(&p, setting("rest", SLOTS_END % 258 - 2)), APR_SUCCESS);
    assert_int_equal(p.geometry.slot_first + p.geometry.slot_count, SLOTS_END);
    assert_int_equal(p.index, count);
    assert_int_equal(
        fcgipm_world_assign(registry, board, &(fcgipm_world_pool_t){.setting = setting("x", 256)}, NULL),
        APR_ENOSPC);

    memset(registry, 0, sizeof *registry);
    for (count = 0; assign(&p, external(apr_psprintf(pool, "p%u", count))) == APR_SUCCESS; count++)
        assert_int_equal(p.index, count);
    assert_int_equal(count, FCGIPM_POOLS_STATIC);
    assert_int_equal(assign(&p, external("p1000")), APR_SUCCESS); /* one that is there needs no room */
    assert_int_equal(p.index, 1000);
}

/* A changed definition that finds no room: the old one goes on. */
static void crowded(void **state)
{
    fcgipm_world_pool_t first, p;
    unsigned count = 0;
    fcgipm_setting_t *changed = setting("p0", 256);
    (void)state;

    assert_int_equal(assign(&first, setting("p0", 256)), APR_SUCCESS);
    while (assign(&p, setting(apr_psprintf(pool, "p%u", ++count), 256)) == APR_SUCCESS)
        assert_false(p.old);
    assert_int_equal(p.index, FCGIPM_NO_POOL);
    SAY(changed, env, "A=1");
    fcgipm_setting_finish(changed);
    assert_int_equal(fcgipm_world_turn(registry, board, setting("p0", 256)), 0);
    assert_int_equal(fcgipm_world_turn(registry, board, setting("new", 256)), 1);
    assert_int_equal(fcgipm_world_turn(registry, board, changed), 2);
    assert_int_equal(assign(&p, changed), APR_SUCCESS);
    assert_true(p.old && p.index == first.index && p.fingerprint == first.fingerprint);
    assert_memory_equal(&p.geometry, &first.geometry, sizeof p.geometry);
    assert_non_null(strstr(fault.sentence, "no room for pool p0"));
    assert_int_equal(assign(&p, setting("p0", 20)), APR_SUCCESS); /* there is room for a small one */
    assert_false(p.old);
    /* what was a process cannot go on as somebody else's socket */
    fcgipm_atom_set(&registry->pool[p.index].used, 0);
    while (assign(&p, external(apr_psprintf(pool, "x%u", ++count))) == APR_SUCCESS)
        ;
    assert_int_equal(assign(&p, external("p1")), APR_ENOSPC);
    assert_int_equal(p.index, FCGIPM_NO_POOL);
}

/* --- bytes --- */

static apr_status_t read_copy(const unsigned char *bytes, size_t len, fcgipm_world_t **w);
static void make_world(fcgipm_world_t *w);

/* A manager that has never seen the old definition. */
static void old_place(void **state)
{
    fcgipm_world_t w, *read;
    fcgipm_world_pool_t *p;
    unsigned char *bytes;
    size_t len;
    (void)state;

    make_world(&w);
    p = &APR_ARRAY_IDX(w.pools, 0, fcgipm_world_pool_t); /* blog, 4 processes */
    p->geometry.slot_count = 4;
    p->geometry.concurrency = 1;
    p->geometry.cell_count = 9;
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    assert_int_equal(read_copy(bytes, len, &read), APR_EINVAL);
    free(bytes);
    p->old = true;
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    assert_int_equal(read_copy(bytes, len, &read), APR_SUCCESS);
    free(bytes);
    p = &APR_ARRAY_IDX(read->pools, 0, fcgipm_world_pool_t);
    assert_int_equal(p->setting->processes_max, 2);
    assert_int_equal(p->setting->queue_length, 9);
    assert_true(p->old);
}

static void make_world(fcgipm_world_t *w)
{
    fcgipm_setting_t *s[3] = {setting("blog", 4), external("php"), setting("a", 256)};

    SAY(s[0], command, "");
    SAY(s[0], command, "two words");
    SAY(s[0], user, "nobody");
    SAY(s[0], group, "nogroup");
    SAY(s[0], directory, "/srv");
    SAY(s[0], env, "A=1");
    SAY(s[0], env, "B=\n");
    s[0]->vhost = "www.example.org:443";
    s[0]->scope = 3;
    memset(w, 0, sizeof *w);
    w->generation = 7;
    w->uid = 33;
    w->gid = 34;
    w->log_level = -1;
    w->scripts = 1;
    w->runtime_dir = "/run/fcgipm";
    w->cgroup = "/sys/fs/cgroup/web";
    w->user_limits = apr_array_make(pool, 2, sizeof(fcgipm_user_limit_t));
    APR_ARRAY_PUSH(w->user_limits, fcgipm_user_limit_t) =
        (fcgipm_user_limit_t){.uid = 33, .limit = {.memory_max = 1u << 30, .cpu_percent = 150}};
    APR_ARRAY_PUSH(w->user_limits, fcgipm_user_limit_t) =
        (fcgipm_user_limit_t){.uid = FCGIPM_ANY_USER, .limit = {.pids_max = 64}};
    w->pools = apr_array_make(pool, 1, sizeof(fcgipm_world_pool_t));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(assign(apr_array_push(w->pools), s[i]), APR_SUCCESS);
    w->templates = apr_array_make(pool, 1, sizeof(fcgipm_world_template_t));
    fcgipm_setting_t *t = setting("each", 4);
    t->user_from = FCGIPM_USER_OWNER;
    t->user_below = "/srv";
    APR_ARRAY_PUSH(w->templates, fcgipm_world_template_t) = (fcgipm_world_template_t){

        .key = fcgipm_setting_key(t),
        .fingerprint = fcgipm_setting_fingerprint(t),
        .vhost = "a:80",
        .setting = t};
    w->sites = apr_array_make(pool, 2, sizeof(fcgipm_world_site_t));
    fcgipm_world_site_t main_site = {.vhost = ""}, site = {.vhost = "a:80", .user = "alice", .group = "web"};
    main_site.key = fcgipm_world_site_key(&main_site);
    site.key = fcgipm_world_site_key(&site);
    assert_true(main_site.key != site.key);
    APR_ARRAY_PUSH(w->sites, fcgipm_world_site_t) = main_site;
    APR_ARRAY_PUSH(w->sites, fcgipm_world_site_t) = site;
}

static void same_templates(const fcgipm_world_t *a, const fcgipm_world_t *b)
{
    assert_int_equal(a->templates->nelts, b->templates->nelts);
    for (int i = 0; i < a->templates->nelts; i++) {
        const fcgipm_world_template_t *p = &APR_ARRAY_IDX(a->templates, i, fcgipm_world_template_t);
        const fcgipm_world_template_t *q = &APR_ARRAY_IDX(b->templates, i, fcgipm_world_template_t);

        assert_string_equal(p->vhost, q->vhost);
        assert_true(p->key == q->key && p->fingerprint == q->fingerprint);
        assert_true(fcgipm_setting_fingerprint(q->setting) == p->fingerprint);
    }
    assert_int_equal(a->sites->nelts, b->sites->nelts);
    for (int i = 0; i < a->sites->nelts; i++) {
        const fcgipm_world_site_t *p = &APR_ARRAY_IDX(a->sites, i, fcgipm_world_site_t);
        const fcgipm_world_site_t *q = &APR_ARRAY_IDX(b->sites, i, fcgipm_world_site_t);

        assert_true(p->key == q->key && fcgipm_world_site_key(q) == p->key);
        assert_string_equal(p->vhost, q->vhost);
        assert_true(!p->user == !q->user && !p->group == !q->group);
    }
}

static void same_list(const apr_array_header_t *a, const apr_array_header_t *b)
{
    assert_int_equal(a ? a->nelts : -1, b ? b->nelts : -1);
    for (int i = 0; a && i < a->nelts; i++)
        assert_string_equal(APR_ARRAY_IDX(a, i, const char *), APR_ARRAY_IDX(b, i, const char *));
}

static void same(const fcgipm_world_t *a, const fcgipm_world_t *b)
{
    assert_int_equal(a->generation, b->generation);
    assert_int_equal(a->uid, b->uid);
    assert_int_equal(a->gid, b->gid);
    assert_int_equal(a->log_level, b->log_level);
    assert_int_equal(a->scripts, b->scripts);
    assert_string_equal(a->runtime_dir, b->runtime_dir);
    assert_string_equal(a->cgroup ? a->cgroup : "-", b->cgroup ? b->cgroup : "-");
    assert_int_equal(a->user_limits ? a->user_limits->nelts : 0, b->user_limits ? b->user_limits->nelts : 0);
    if (a->user_limits)
        assert_memory_equal(a->user_limits->elts, b->user_limits->elts,
                            (size_t)a->user_limits->nelts * sizeof(fcgipm_user_limit_t));
    same_templates(a, b);
    assert_int_equal(a->pools->nelts, b->pools->nelts);
    for (int i = 0; i < a->pools->nelts; i++) {
        const fcgipm_world_pool_t *p = &APR_ARRAY_IDX(a->pools, i, fcgipm_world_pool_t);
        const fcgipm_world_pool_t *q = &APR_ARRAY_IDX(b->pools, i, fcgipm_world_pool_t);

        assert_int_equal(p->index, q->index);
        assert_memory_equal(&p->geometry, &q->geometry, sizeof p->geometry);
        assert_true(p->key == q->key && p->fingerprint == q->fingerprint);
        assert_true(fcgipm_setting_fingerprint(q->setting) == p->fingerprint);
        assert_string_equal(p->setting->name, q->setting->name);
        assert_string_equal(p->setting->vhost, q->setting->vhost);
        assert_int_equal(p->setting->scope, q->setting->scope);
        same_list(p->setting->command, q->setting->command);
        same_list(p->setting->env, q->setting->env);
    }
}

/* What the manager may rely on once a configuration was read, whatever the bytes were. */
static void sound(const fcgipm_world_t *w)
{
    size_t sum = strlen(w->runtime_dir) + strlen(w->cgroup ? w->cgroup : "");

    assert_true(w->pools->nelts <= (int)FCGIPM_POOLS_STATIC);
    for (int i = 0; i < w->pools->nelts; i++) {
        const fcgipm_world_pool_t *p = &APR_ARRAY_IDX(w->pools, i, fcgipm_world_pool_t);
        const fcgipm_setting_t *s = p->setting;
        const fcgipm_geometry_t *g = &p->geometry;

        assert_true(p->index < FCGIPM_POOLS_STATIC);
        assert_true(fcgipm_geometry_ok(g));
        assert_true(g->slot_first + g->slot_count <= SLOTS_END);
        assert_true(g->seat_first + g->slot_count * g->concurrency <= SEATS_END);
        assert_true(g->cell_first + g->cell_count <= CELLS_END);
        assert_int_equal(g->slot_count, s->connect ? 1 : s->processes_max + 2);
        assert_int_equal(g->concurrency, fcgipm_setting_places(s));
        assert_null(fcgipm_setting_check(s, pool));
        assert_true(strlen(s->name) < 64);
        sum += strlen(s->vhost) + (size_t)fcgipm_setting_fingerprint(s); /* reads every string */
    }
    for (int i = 0; i < w->templates->nelts; i++) {
        const fcgipm_setting_t *s = APR_ARRAY_IDX(w->templates, i, fcgipm_world_template_t).setting;

        assert_null(fcgipm_setting_check(s, pool));
        assert_true(s->user_from != FCGIPM_USER_SAID);
    }
    for (int i = 0; i < w->sites->nelts; i++)
        sum += strlen(APR_ARRAY_IDX(w->sites, i, fcgipm_world_site_t).vhost);
    assert_true(sum || !sum);
}

static apr_status_t read_copy(const unsigned char *bytes, size_t len, fcgipm_world_t **w)
{
    /* of its own size, so that a sanitizer sees a read behind the end */
    unsigned char *copy = malloc(len ? len : 1);
    apr_status_t rv;

    memcpy(copy, bytes, len);
    *w = NULL;
    fcgipm_fault_clear(&fault);
    rv = fcgipm_world_read(w, copy, len, pool, &fault);
    free(copy);
    if (rv == APR_SUCCESS) {
        sound(*w); /* holds nothing of the bytes, which are gone */
    } else {
        assert_int_equal(rv, APR_EINVAL);
        assert_int_equal(fault.status, APR_EINVAL);
        assert_true(*fault.step && *fault.sentence);
        assert_null(*w);
    }
    return rv;
}

static void round_trip(void **state)
{
    fcgipm_world_t w, *back;
    unsigned char *bytes, *twice;
    size_t len, len2;
    (void)state;

    make_world(&w);
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    assert_int_equal(read_copy(bytes, len, &back), APR_SUCCESS);
    same(&w, back);
    assert_int_equal(fcgipm_world_write(back, &twice, &len2), APR_SUCCESS);
    assert_int_equal(len, len2);
    assert_memory_equal(bytes, twice, len);
    free(bytes);
    free(twice);

    /* the smallest: no pools, and a directory without a name */
    w.pools = apr_array_make(pool, 1, sizeof(fcgipm_world_pool_t));
    w.runtime_dir = "";
    w.cgroup = NULL;
    w.user_limits = NULL;
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    assert_int_equal(read_copy(bytes, len, &back), APR_SUCCESS);
    same(&w, back);
    free(bytes);
}

/* As many pools as there can be: what assign gives, read takes. */
static void largest(void **state)
{
    fcgipm_world_t w, *back;
    unsigned char *bytes;
    size_t len;
    (void)state;

    make_world(&w);
    for (int i = 3; i < (int)FCGIPM_POOLS_STATIC; i++)
        assert_int_equal(assign(apr_array_push(w.pools), external(apr_psprintf(pool, "p%d", i))),
                         APR_SUCCESS);
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    assert_int_equal(read_copy(bytes, len, &back), APR_SUCCESS);
    same(&w, back);
    free(bytes);
}

static void truncated(void **state)
{
    fcgipm_world_t w, *back;
    unsigned char *bytes, *more;
    size_t len;
    (void)state;

    make_world(&w);
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    for (size_t cut = 0; cut < len; cut++)
        if (read_copy(bytes, cut, &back) == APR_SUCCESS)
            fail_msg("%zu of %zu bytes were taken", cut, len);
    more = calloc(1, len + 1);
    memcpy(more, bytes, len);
    assert_int_equal(read_copy(more, len + 1, &back), APR_EINVAL);
    assert_non_null(strstr(fault.sentence, "behind its end"));
    assert_int_equal(fcgipm_world_read(&back, bytes, len - 1, pool, NULL), APR_EINVAL);
    free(more);
    free(bytes);
}

static void in_own_pool(const unsigned char *bytes, size_t len, unsigned *good)
{
    apr_pool_t *outer = pool;
    fcgipm_world_t *back;

    assert_int_equal(apr_pool_create(&pool, outer), APR_SUCCESS);
    *good += read_copy(bytes, len, &back) == APR_SUCCESS;
    apr_pool_destroy(pool);
    pool = outer;
}

static void flipped_bits(void **state)
{
    fcgipm_world_t w;
    unsigned char *bytes;
    size_t len;
    unsigned good = 0, dummy = 0;
    (void)state;

    make_world(&w);
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        in_own_pool(bytes, len, &good);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_true(good > 0 && good < 8 * len);
    /* several at once, whole bytes, and cut as well */
    srandom(5);
    for (unsigned run = 0; run < 20000; run++) {
        unsigned char *copy = malloc(len);

        memcpy(copy, bytes, len);
        for (long n = 1 + random() % 4; n > 0; n--)
            copy[(size_t)random() % len] = (unsigned char)(random() % 3 ? random() : random() % 2 * 255);
        in_own_pool(copy, random() % 4 ? len : (size_t)random() % len, &dummy);
        free(copy);
    }
    free(bytes);
}

/* 32-bit words with the values at which sums and products turn over, at every place. */
static void large_numbers(void **state)
{
    static const uint32_t values[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 4097, 65536};
    fcgipm_world_t w;
    unsigned char *bytes;
    size_t len;
    unsigned good = 0;
    (void)state;

    make_world(&w);
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    for (size_t at = 0; at + 4 <= len; at++)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            unsigned char saved[4];

            memcpy(saved, bytes + at, 4);
            memcpy(bytes + at, &values[i], 4);
            in_own_pool(bytes, len, &good);
            memcpy(bytes + at, saved, 4);
        }
    free(bytes);
}

/* Another build's bytes: the first two words say so. */
static void other_version(void **state)
{
    fcgipm_world_t w, *back;
    unsigned char *bytes;
    size_t len;
    (void)state;

    make_world(&w);
    assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
    for (size_t at = 0; at < 8; at++) {
        bytes[at]++;
        assert_int_equal(read_copy(bytes, len, &back), APR_EINVAL);
        assert_string_equal(fault.sentence, "made by another version of the module");
        bytes[at]--;
    }
    free(bytes);
}

/* A geometry that does not fit its setting is refused with the pool's name, although it is in bounds. */
static void wrong_geometry(void **state)
{
    fcgipm_world_t w, *back;
    unsigned char *bytes;
    size_t len;
    (void)state;

    for (unsigned what = 0; what < 7; what++) {
        setup(NULL);
        make_world(&w);
        fcgipm_world_pool_t *p = &APR_ARRAY_IDX(w.pools, 0, fcgipm_world_pool_t);

        switch (what) {
        case 0:
            p->geometry.slot_count--;
            break;
        case 1:
            p->geometry.concurrency++;
            break;
        case 2:
            p->geometry.cell_count++;
            break;
        case 3: /* rows of pools made on demand */
            p->geometry.slot_first = SLOTS_END - 5;
            break;
        case 4:
            p->geometry.seat_first = SEATS_END;
            break;
        case 5:
            p->index = FCGIPM_POOLS_STATIC;
            break;
        default:
            p->geometry.cell_first = CELLS_END - 99;
        }
        assert_int_equal(fcgipm_world_write(&w, &bytes, &len), APR_SUCCESS);
        assert_int_equal(read_copy(bytes, len, &back), APR_EINVAL);
        assert_string_equal(fault.sentence,
                            what < 3 ? "pool blog has a wrong geometry" : "pool 1 is not readable");
        free(bytes);
    }
}

static void noise(void **state)
{
    unsigned good = 0;
    (void)state;

    srandom(9);
    for (unsigned run = 0; run < 5000; run++) {
        size_t len = (size_t)random() % 300;
        unsigned char *bytes = malloc(len + 8);

        for (size_t i = 0; i < len; i++)
            bytes[i] = (unsigned char)random();
        if (len >= 8 && run % 2)
            memcpy(bytes, "Wmpf\1\0\0\0", 8);
        in_own_pool(bytes, len, &good);
        free(bytes);
    }
    assert_int_equal(good, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_pool),  TEST(external_pool), TEST(changed),       TEST(row_of_changes),
        TEST(cleared),   TEST(come_and_go),   TEST(full_tables),   TEST(round_trip),
        TEST(largest),   TEST(truncated),     TEST(flipped_bits),  TEST(crowded),
        TEST(old_place), TEST(large_numbers), TEST(other_version), TEST(wrong_geometry),
        TEST(noise),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
