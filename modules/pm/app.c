/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/manager.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "core/log.h"
#include "pm/listen.h"
#include "share/board.h"
#include "share/queue.h"
#include "share/stat.h"

#define PATIENCE  3        /* failed starts in a row, 0.7 s, before requests are refused at once */
#define SOON_US   1000000  /* so long a connection waits for the next worker in its place */
#define LOOK_US   200000   /* at the queue, while somebody waits or starts */
#define QUIET_US  2000000  /* a removed pool: nobody has asked for so long */
#define EARLY_US  2000000  /* its index is not given out again before that: who is about to use it is done */
#define FORGET_US 60000000 /* nor, while an httpd child may know it, for so long */
#define CALM_US   60000000 /* after a failure: whoever is ready then proves that all is well */

/* What an operator ordered stands until the pool's definition changes, also for the next manager. */
static void take_orders(fcgipm_app_t *app)
{
    const fcgipm_registry_pool_t *row = &app->manager->registry->pool[app->index];

    app->flags = row->flags;
    if (row->scaled_max && row->scaled_max <= app->max && row->scaled_min <= row->scaled_max) {
        app->min = row->scaled_min;
        app->max = row->scaled_max;
    }
}

/* A copy of its own: the configuration that it came with goes with the next reload. */
static bool take_setting(fcgipm_app_t *app, const fcgipm_setting_t *s)
{
    apr_array_header_t *bytes = apr_array_make(app->pool, 1024, 1);
    fcgipm_setting_t *copy = apr_pcalloc(app->pool, sizeof *copy);
    const unsigned char *in;
    fcgipm_fault_t fault;

    fcgipm_setting_write(s, bytes);
    in = (const unsigned char *)bytes->elts;
    if (fcgipm_setting_read(copy, &in, in + bytes->nelts, app->pool, &fault) != APR_SUCCESS) {
        FCGIPM_LOG(330, FCGIPM_LOG_ERR, 0, 0, "BUG: pool %s: %s", s->name, fault.sentence);
        return false;
    }
    app->setting = copy;
    app->plan_ok = false;
    fcgipm_tally_init(&app->tally, copy->processes_max);
    app->account = fcgipm_watchman_account(app->manager, copy);
    app->min = copy->processes_min;
    app->max = copy->processes_max;
    app->places = copy->concurrency ? copy->concurrency : 1;
    return true;
}

fcgipm_app_t *fcgipm_app_create(fcgipm_manager_t *m, uint32_t index, const fcgipm_geometry_t *g, uint64_t key,
                                uint64_t fingerprint, const fcgipm_setting_t *s)
{
    apr_pool_t *pool;
    fcgipm_app_t *app;

    apr_pool_create(&pool, m->pool);
    app = apr_pcalloc(pool, sizeof *app);
    app->manager = m;
    app->pool = pool;
    app->index = index;
    app->geometry = *g;
    app->key = key;
    app->fingerprint = fingerprint;
    app->configured = true;
    app->state = FCGIPM_POOL_WARMING;
    if (!take_setting(app, s)) {
        apr_pool_destroy(pool);
        return NULL;
    }
    app->workers = apr_pcalloc(pool, sizeof *app->workers * g->slot_count);
    for (uint32_t i = 0; i < g->slot_count; i++)
        fcgipm_worker_init(&app->workers[i], app, i);
    m->apps[index] = app;
    if (index >= m->app_end)
        m->app_end = index + 1;
    fcgipm_watchman_join(app);
    take_orders(app);
    fcgipm_refresh_watch(app);
    return app;
}

void fcgipm_app_name(fcgipm_app_t *app, const fcgipm_setting_t *s)
{
    fcgipm_watchman_leave(app);
    app->nameless = !take_setting(app, s);
    fcgipm_watchman_join(app);
    take_orders(app);
    fcgipm_refresh_watch(app);
}

uint32_t fcgipm_app_count(const fcgipm_app_t *app, fcgipm_slot_state_t state)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        count += app->workers[i].state == state;
    return count;
}

static uint32_t count_alive(const fcgipm_app_t *app)
{
    return fcgipm_app_count(app, FCGIPM_SLOT_READY) + fcgipm_app_count(app, FCGIPM_SLOT_STARTING);
}

uint32_t fcgipm_app_processes(const fcgipm_app_t *app)
{
    return app->geometry.slot_count - fcgipm_app_count(app, FCGIPM_SLOT_FREE);
}

static uint32_t count_waiting(const fcgipm_app_t *app)
{
    fcgipm_board_t *board = app->manager->board;

    return fcgipm_queue_empty(board, app->index, &app->geometry) ? 0
                                                                 : fcgipm_queue_count(board, &app->geometry);
}

/* --- what others see --- */

static fcgipm_app_t *successor_of(const fcgipm_app_t *app);

/* Its definition has changed, and the new one is not ready: whoever comes here is right, and will be served
 * by the one or the other. */
static bool awaits_successor(const fcgipm_app_t *app)
{
    return !app->forget_us && fcgipm_atom_get(&app->manager->board->pool[app->index].route) == app->index &&
           successor_of(app);
}

static fcgipm_pool_state_t state_of(const fcgipm_app_t *app, uint32_t ready)
{
    if (!app->configured && !awaits_successor(app))
        return FCGIPM_POOL_DRAINING;
    if (ready)
        return FCGIPM_POOL_SERVING;
    if (app->tally.failures >= PATIENCE &&
        (app->tally.retry_us > app->manager->now || fcgipm_app_count(app, FCGIPM_SLOT_STARTING)))
        return FCGIPM_POOL_BACKOFF;
    return app->was_ready ? FCGIPM_POOL_SERVING : FCGIPM_POOL_WARMING;
}

/* In a crash loop nobody waits for what will not come: who waits is woken to see the state. */
static void enter_state(fcgipm_app_t *app, fcgipm_pool_state_t state)
{
    fcgipm_board_t *board = app->manager->board;

    app->state = state;
    fcgipm_atom_set(&board->pool[app->index].state, (uint32_t)state);
    if (state == FCGIPM_POOL_BACKOFF || state == FCGIPM_POOL_DRAINING)
        fcgipm_queue_wake_all(board, &app->geometry);
}

static uint32_t count_outdated(const fcgipm_app_t *app)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        count += fcgipm_worker_alive(&app->workers[i]) && app->workers[i].outdated;
    return count;
}

static void publish_restart(const fcgipm_app_t *app, fcgipm_board_pool_t *seen)
{
    if (fcgipm_atom_get(&seen->restart) == (uint32_t)app->restart)
        return;
    fcgipm_atom_set(&seen->restart_us, (uint64_t)app->manager->now);
    fcgipm_atom_set(&seen->restart, (uint32_t)app->restart);
}

/* Who waits shall see it: to go on, or to be refused. */
static void publish_flags(const fcgipm_app_t *app, fcgipm_board_pool_t *seen)
{
    if (fcgipm_atom_get(&seen->flags) == app->flags)
        return;
    fcgipm_atom_set(&seen->flags, app->flags);
    fcgipm_queue_wake_all(app->manager->board, &app->geometry);
}

void fcgipm_app_trouble(fcgipm_app_t *app, const char *text)
{
    fcgipm_board_pool_t *seen = &app->manager->board->pool[app->index];

    fcgipm_atom_add(&seen->trouble_seq, 1);
    snprintf(seen->trouble, sizeof seen->trouble, "%s", text);
    fcgipm_atom_set(&seen->trouble_us, (uint64_t)app->manager->now);
    fcgipm_atom_add(&seen->trouble_seq, 1);
}

void fcgipm_app_publish(fcgipm_app_t *app)
{
    fcgipm_board_pool_t *seen = &app->manager->board->pool[app->index];
    uint32_t ready = fcgipm_app_count(app, FCGIPM_SLOT_READY);
    fcgipm_pool_state_t state = state_of(app, ready);
    int64_t wait_us = app->tally.retry_us - app->manager->now;

    fcgipm_atom_set(&seen->ready, ready);
    fcgipm_atom_set(&seen->starting, fcgipm_app_count(app, FCGIPM_SLOT_STARTING));
    fcgipm_atom_set(&seen->failures, app->tally.failures);
    fcgipm_atom_set(&seen->min, app->min);
    fcgipm_atom_set(&seen->max, app->max);
    fcgipm_atom_set(&seen->outdated, count_outdated(app));
    publish_restart(app, seen);
    publish_flags(app, seen);
    fcgipm_atom_set(&seen->retry_us, wait_us > 0 ? (uint64_t)app->tally.retry_us : 0);
    if (state != app->state || fcgipm_atom_get(&seen->state) != (uint32_t)state)
        enter_state(app, state);
}

/* --- how many --- */

/* Only a worker that began after the last failure proves anything: the old ones of a rolling restart go on
 * serving while the new ones fail. Without a further start a single failure is forgotten after a while. */
static void note_success(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    bool calm = app->tally.failures && m->now - app->tally.failed_us > CALM_US;

    for (uint32_t i = 0; app->tally.failures && i < app->geometry.slot_count; i++) {
        const fcgipm_worker_t *w = &app->workers[i];
        uint64_t served = fcgipm_atom_peek(&m->board->slot[w->row].requests);

        if (w->state == FCGIPM_SLOT_READY && (w->born_us >= app->tally.failed_us || calm) &&
            fcgipm_tally_is_proof(m->now - w->ready_us, served) && fcgipm_tally_well(&app->tally))
            FCGIPM_LOG(331, FCGIPM_LOG_NOTICE, 0, app->setting->scope, "pool %s: well again",
                       app->setting->name);
    }
}

static void tell_where_to_notify(fcgipm_app_t *app)
{
    char path[128];

    if (app->setting->ready == FCGIPM_READY_NOTIFY &&
        fcgipm_notify_path(path, sizeof path, app->manager->runtime_dir))
        APR_ARRAY_PUSH(app->plan.env, const char *) = apr_pstrcat(app->pool, "NOTIFY_SOCKET=", path, NULL);
}

static bool prepare_plan(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    fcgipm_jail_host_t host = fcgipm_manager_host(m);
    fcgipm_fault_t fault;
    int64_t delay_us;

    if (app->plan_ok)
        return true;
    if (fcgipm_spawn_plan(&app->plan, app->setting, &host, app->pool, &fault) == APR_SUCCESS) {
        tell_where_to_notify(app);
        return app->plan_ok = true;
    }
    delay_us = fcgipm_tally_fail(&app->tally, m->now, m->now, fcgipm_manager_random(m));
    if (app->tally.failures == 1)
        FCGIPM_LOG(332, FCGIPM_LOG_ERR, fault.status, app->setting->scope,
                   "pool %s: cannot start: %s; next try in %d ms, and so on", app->setting->name,
                   fault.sentence, (int)(delay_us / 1000));
    return false;
}

static bool note_idle(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;
    uint64_t requests = fcgipm_atom_peek(&m->board->slot[w->row].requests);

    if (requests != w->seen_requests || (fcgipm_worker_busy(w) && !w->asking)) {
        w->seen_requests = requests;
        w->idle_since_us = m->now;
    }
    return w->app->setting->idle_us && m->now - w->idle_since_us >= w->app->setting->idle_us;
}

/* Somebody has connected to the socket of a worker that died: he is owed a successor. */
static bool backlog_waits(const fcgipm_app_t *app)
{
    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        if (app->workers[i].state == FCGIPM_SLOT_FREE && fcgipm_worker_owed(&app->workers[i]))
            return true;
    return false;
}

/* Are there processes of a definition that this one has replaced? */
static bool follows_others(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;

    if (app->what)
        return false; /* those end each by itself */
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i] && !m->apps[i]->configured && m->apps[i]->key == app->key && !m->apps[i]->what &&
            count_alive(m->apps[i]))
            return true;
    return false;
}

static fcgipm_policy_in_t look(fcgipm_app_t *app)
{
    bool prove =
        !app->was_ready && fcgipm_atom_get(&app->manager->board->pool[app->index].route) != app->index;
    bool drained = app->flags & FCGIPM_POOL_DRAINED;
    fcgipm_policy_in_t in = {.min = drained                  ? 0
                                    : prove && app->min == 0 ? 1
                                                             : app->min,
                             .max = drained ? 0 : app->max,
                             .concurrency = app->places,
                             .waiting = app->flags & FCGIPM_POOL_PAUSED ? 0 : count_waiting(app),
                             .asked = app->needed_us != 0 || backlog_waits(app),
                             .outdated = fcgipm_refresh_look(app),
                             .relieved = app->relieved,
                             .room = fcgipm_watchman_room(app, &app->wanted_of_user)};

    for (uint32_t i = 0; i < app->geometry.slot_count; i++) {
        fcgipm_worker_t *w = &app->workers[i];

        in.free_slots += w->state == FCGIPM_SLOT_FREE;
        /* One that was killed because it does not start counts until its failure does: another one would
         * begin with the old delay. */
        in.starting += w->state == FCGIPM_SLOT_STARTING || (w->state == FCGIPM_SLOT_ENDING && w->failed);
        if (w->state != FCGIPM_SLOT_READY)
            continue;
        in.ready++;
        in.idle_long += note_idle(w);
        in.idle += !fcgipm_worker_busy(w);
    }
    /* Each of a changed block is a substitute, too: an old one holds its room until it is ready. */
    if (in.room == 0 && in.starting == 0 && in.ready < in.min && follows_others(app))
        in.room = 1;
    /* Made on demand, and nobody has asked for long: not even min stays. */
    if (app->what && in.starting == 0 && in.ready == in.idle_long)
        in.min = 0;
    app->needed_us = 0;
    return in;
}

/* First where somebody waits in the backlog, then the lowest place. */
static fcgipm_worker_t *free_place(fcgipm_app_t *app)
{
    fcgipm_worker_t *found = NULL;

    for (uint32_t i = 0; i < app->geometry.slot_count; i++) {
        fcgipm_worker_t *w = &app->workers[i];

        if (w->state != FCGIPM_SLOT_FREE)
            continue;
        if (w->listen_fd >= 0)
            return w;
        found = found ? found : w;
    }
    return found;
}

static void start_some(fcgipm_app_t *app, uint32_t count, uint32_t substitutes)
{
    while (count-- > 0) {
        fcgipm_worker_t *w = free_place(app);

        if (!w || !prepare_plan(app) || app->tally.retry_us > app->manager->now)
            return;
        fcgipm_watchman_count(app);
        fcgipm_worker_start(w);
        if (app->manager->lack_until_us > app->manager->now)
            return;
        w->substitute = substitutes > 0;
        substitutes -= substitutes > 0;
    }
}

/* Highest place first: the few warm workers serve, the rest idles out. */
static void retire_some(fcgipm_app_t *app, uint32_t count, bool any)
{
    for (uint32_t i = app->geometry.slot_count; i-- > 0 && count > 0;) {
        fcgipm_worker_t *w = &app->workers[i];

        if (any && fcgipm_worker_alive(w)) {
            fcgipm_worker_drain(w, FCGIPM_LEAVE_TOLD,
                                app->flags & FCGIPM_POOL_DRAINED
                                    ? "the pool is drained (fcgipmctl)"
                                    : "the pool has more processes than it may have");
            count--;
        } else if (w->state == FCGIPM_SLOT_READY && note_idle(w)) {
            fcgipm_worker_drain(w, FCGIPM_LEAVE_IDLE, "idle, FcgiTimeout idle=");
            count--;
        }
    }
}

/* Whoever waits at the socket of a worker that has no successor soon shall know at once. */
static void clear_places(fcgipm_app_t *app, int64_t next_start_us)
{
    bool soon =
        next_start_us && next_start_us - app->manager->now < SOON_US && app->tally.failures < PATIENCE;

    for (uint32_t i = 0; i < app->geometry.slot_count; i++) {
        fcgipm_worker_t *w = &app->workers[i];

        if (w->state == FCGIPM_SLOT_FREE && w->listen_fd >= 0 && !(soon && fcgipm_worker_owed(w)))
            fcgipm_worker_clear(w);
    }
}

/* Limits that are reached without anybody saying so. */
static bool look_again(const fcgipm_app_t *app)
{
    const fcgipm_setting_t *s = app->setting;

    return (s->recycle_requests || s->recycle_age_us || s->recycle_memory_bytes) &&
           fcgipm_app_count(app, FCGIPM_SLOT_READY);
}

static int64_t tend_size(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    fcgipm_policy_out_t out;
    fcgipm_policy_in_t in;

    note_success(app);
    fcgipm_refresh_judge(app);
    in = look(app);
    if (m->lack_until_us > m->now)
        in.free_slots = 0;
    out = fcgipm_policy_size(&in, &app->tally, m->now);
    app->wanted = out.wanted;
    start_some(app, out.start, out.substitute);
    retire_some(app, out.retire, in.starting + in.ready > in.max);
    fcgipm_refresh_relieve(app, out.relieve);
    clear_places(app, out.again_us);
    if (m->lack_until_us > m->now) /* also if it was only now found out */
        return m->lack_until_us;
    if (out.again_us > m->now)
        return out.again_us;
    if (in.waiting || in.starting || out.start || in.outdated)
        return m->now + LOOK_US;
    if (app->tally.failures || look_again(app))
        return fcgipm_manager_tick(m, FCGIPM_TICK_US);
    return app->setting->idle_us && in.ready > (app->what ? 0 : in.min)
               ? fcgipm_manager_tick(m, FCGIPM_TICK_US)
               : INT64_MAX;
}

/* --- a pool that is no longer configured --- */

void fcgipm_app_retire(fcgipm_app_t *app)
{
    if (!app->configured)
        return;
    app->configured = app->at_rest = false;
    app->retired_us = app->quiet_us = app->manager->now;
    app->retired_in = app->manager->generation;
    app->forget_us = 0;
    clear_places(app, 0);
    if (app->what)
        fcgipm_ondemand_unlist(app);
}

/* Those made on demand end each by itself: who wants the new definition asks for it. */
static fcgipm_app_t *successor_of(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;

    if (app->what)
        return NULL;
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i] && m->apps[i] != app && m->apps[i]->configured && m->apps[i]->key == app->key)
            return m->apps[i];
    return NULL;
}

/* The first worker of the new definition is proven: requests go there from now on. */
static void switch_route(fcgipm_app_t *old, fcgipm_app_t *new)
{
    fcgipm_board_t *board = old->manager->board;

    if (fcgipm_atom_get(&board->pool[old->index].route) == new->index &&
        fcgipm_atom_get(&board->pool[new->index].route) == new->index)
        return;
    fcgipm_atom_set(&board->pool[new->index].route, new->index);
    fcgipm_atom_set(&board->pool[old->index].route, new->index);
    fcgipm_queue_wake_all(board, &old->geometry);
    if (!old->was_ready && !new->was_ready)
        return; /* nobody has asked for either yet */
    FCGIPM_LOG(333, new->was_ready ? FCGIPM_LOG_NOTICE : FCGIPM_LOG_ERR, 0, new->setting->scope,
               "pool %s: %s", new->setting->name,
               new->was_ready
                   ? "the changed application is ready and takes over"
                   : "the last process of the old definition is gone, and the changed one does not "
                     "start");
}

static void drain_down_to(fcgipm_app_t *app, uint32_t keep, const char *why)
{
    uint32_t alive = count_alive(app);

    for (uint32_t i = app->geometry.slot_count; i-- > 0 && alive > keep;)
        if (fcgipm_worker_alive(&app->workers[i])) {
            fcgipm_worker_drain(&app->workers[i], FCGIPM_LEAVE_TOLD, why);
            alive--;
        }
}

static int64_t tend_replaced(fcgipm_app_t *old, fcgipm_app_t *new)
{
    uint32_t ready = fcgipm_app_count(new, FCGIPM_SLOT_READY), want = new->min;

    if (!new->was_ready)
        return INT64_MAX; /* the old ones serve until then, however long that takes */
    switch_route(old, new);
    drain_down_to(old, want > ready ? want - ready : 0, "its configuration has changed");
    return old->manager->now + LOOK_US;
}

bool fcgipm_app_in_use(const fcgipm_app_t *app)
{
    if (count_waiting(app))
        return true;
    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        if (app->workers[i].state != FCGIPM_SLOT_FREE && fcgipm_worker_busy(&app->workers[i]))
            return true;
    return false;
}

static int64_t tend_removed(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    int64_t limit = app->setting->request_us ? app->setting->request_us : 60000000;

    if (fcgipm_app_in_use(app))
        app->quiet_us = m->now;
    if (m->now - app->quiet_us >= QUIET_US || m->now - app->retired_us >= limit)
        drain_down_to(app, 0, "it is no longer configured");
    return m->now + LOOK_US;
}

/* Children of httpd know an index by their configuration, and do not ask whose it is: those of a
 * configuration with this pool have to be gone. One that does not go (a long download) is waited for
 * FORGET_US. */
static bool may_forget(const fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;

    if (!app->forget_us || m->now >= app->forget_us)
        return app->forget_us != 0;
    return m->now >= app->forget_us - FORGET_US + EARLY_US && !count_waiting(app) &&
           !fcgipm_watchman_child_before(m, app->retired_in);
}

/* Nobody's way leads over this one any more: who went here goes where it leads to. */
static void bypass(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;
    uint32_t to = fcgipm_board_route(m->board, app->index);

    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i] && m->apps[i] != app && fcgipm_atom_get(&m->board->pool[i].route) == app->index)
            fcgipm_atom_set(&m->board->pool[i].route, to == app->index ? i : to);
}

/* The board's row first: as soon as the registry's is free the parent may fill both. */
static void forget(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    uint32_t used = FCGIPM_ROW_USED;

    clear_places(app, 0);
    bypass(app);
    fcgipm_atom_set(&m->board->pool[app->index].state, FCGIPM_POOL_FREE);
    fcgipm_watchman_leave(app);
    if (!fcgipm_atom_cas(&m->registry->pool[app->index].used, &used, FCGIPM_ROW_FREE)) {
        app->forget_us = m->now + FORGET_US; /* a configuration that names it is on its way */
        app->account = fcgipm_watchman_account(m, app->setting);
        fcgipm_watchman_join(app);
        return;
    }
    m->apps[app->index] = NULL;
    if (app->what)
        fcgipm_ondemand_forget(app);
    while (m->app_end > 0 && !m->apps[m->app_end - 1])
        m->app_end--;
    apr_pool_destroy(app->pool);
}

/* As long as the changed definition does not start, the old one goes on serving: with one process at least.
 */
static bool still_serves(fcgipm_app_t *app)
{
    const fcgipm_app_t *new = successor_of(app);

    return app->was_ready && !app->nameless && new && !new->was_ready && !app->forget_us &&
           !app->setting->connect &&
           app->tally.failures < PATIENCE &&fcgipm_atom_get(&app->manager->board->pool[app->index].route) ==
               app->index;
}

/* A third definition, between this one and one that does not start. */
static bool another_serves(const fcgipm_app_t *app, const fcgipm_app_t *new)
{
    const fcgipm_manager_t *m = app->manager;
    uint32_t via = fcgipm_board_route(m->board, new->index);

    return !new->was_ready &&via != new->index &&via != app->index && m->apps[via] &&
           count_alive(m->apps[via]) > 0;
}

static int64_t tend_retired(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    fcgipm_app_t *new;

    if (still_serves(app) && fcgipm_app_processes(app) == 0) {
        start_some(app, 1, 0);
        if (fcgipm_app_processes(app) == 0)
            return app->tally.retry_us > m->now ? app->tally.retry_us : m->now + LOOK_US;
    }
    clear_places(app, 0); /* nobody comes who would take what waits where there is no process */
    if (fcgipm_app_processes(app)) {
        new = successor_of(app);
        return new ? tend_replaced(app, new) : tend_removed(app);
    }
    if (!app->forget_us) {
        /* Whoever still has this index shall find its successor, or nobody. */
        new = successor_of(app);
        if (new && !another_serves(app, new))
            switch_route(app, new);
        else if (new) /* to whom its successor's requests go in the end, who may be an older one */
            fcgipm_atom_set(&m->board->pool[app->index].route, fcgipm_board_route(m->board, new->index));
        bypass(app);
        app->forget_us = m->now + (app->what ? 0 : FORGET_US); /* (children know of another life) */
        if (!app->setting->connect)
            fcgipm_listen_dir_remove(m->runtime_dir, app->index);
        if (!app->what)
            FCGIPM_LOG(334, FCGIPM_LOG_INFO, 0, app->setting->scope,
                       "pool %s: the last worker of the old definition is gone", app->setting->name);
    }
    return app->what ? app->forget_us : fcgipm_manager_tick(m, FCGIPM_TICK_US);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t fcgipm_app_tend(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    int64_t next = INT64_MAX;
    uint32_t index = app->index;

    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        next = earlier(next, fcgipm_worker_tend(&app->workers[i]));
    if (m->stopping) {
        fcgipm_app_publish(app);
        return next;
    }
    if (!app->configured)
        next = earlier(next, tend_retired(app));
    else if (app->setting->connect)
        fcgipm_worker_external(&app->workers[0]);
    else
        next = earlier(next, tend_size(app));
    if (app->configured && app->what)
        next = earlier(next, fcgipm_ondemand_tend(app));
    if (!app->configured && may_forget(app)) {
        forget(app);
        return m->apps[index] ? m->now + LOOK_US : INT64_MAX;
    }
    fcgipm_app_publish(app);
    app->at_rest = next == INT64_MAX && app->configured && !app->setting->connect &&
                   fcgipm_app_processes(app) == 0 && app->restart != FCGIPM_RESTART_RUNNING;
    return next;
}
