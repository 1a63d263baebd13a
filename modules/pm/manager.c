/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/manager.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "pm/listen.h"
#include "pm/pidfd.h"
#include "share/board.h"

int64_t fcgipm_manager_clock(void)
{
    return fcgipm_clock_steady_us();
}

/* xorshift: only for jitter. */
uint32_t fcgipm_manager_random(fcgipm_manager_t *m)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 17;
    m->random ^= m->random << 5;
    return m->random;
}

/* --- a configuration --- */

static bool named_by(const fcgipm_world_t *world, const fcgipm_app_t *app)
{
    for (int i = 0; i < world->pools->nelts; i++) {
        const fcgipm_world_pool_t *p = &APR_ARRAY_IDX(world->pools, i, fcgipm_world_pool_t);

        if (p->index == app->index && p->key == app->key && p->fingerprint == app->fingerprint)
            return true;
    }
    return false;
}

/* It has arrived. (A pool that was forgotten between: the row is as it was.) */
static void keep_row(fcgipm_manager_t *m, const fcgipm_world_pool_t *p)
{
    fcgipm_registry_pool_t *row = &m->registry->pool[p->index];

    row->external = p->setting->connect != NULL;
    row->key = p->key;
    row->fingerprint = p->fingerprint;
    row->geometry = p->geometry;
    fcgipm_atom_set(&row->used, FCGIPM_ROW_USED);
}

/* A new definition whose row this manager, beginning, found before it had its configuration: its requests go
 * where they went until now, as with any that has not proven itself. */
static bool waits_for_another(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;
    uint32_t via = fcgipm_board_route(m->board, app->index);

    return !app->was_ready && via != app->index && via < FCGIPM_POOLS_MAX && m->apps[via] &&
           m->apps[via]->key == app->key && fcgipm_app_count(m->apps[via], FCGIPM_SLOT_READY) > 0;
}

static void configure(fcgipm_manager_t *m, const fcgipm_world_pool_t *p)
{
    fcgipm_app_t *app = m->apps[p->index];

    if (app && (app->key != p->key || app->fingerprint != p->fingerprint)) {
        FCGIPM_LOG(383, FCGIPM_LOG_ERR, 0, p->setting->scope,
                   "BUG: pool %s has the place of another; it does not start before the next reload",
                   p->setting->name);
        return;
    }
    keep_row(m, p);
    if (!app) {
        fcgipm_app_create(m, p->index, &p->geometry, p->key, p->fingerprint, p->setting);
    } else if (!app->configured) {
        app->configured = true; /* it comes back before it had gone */
        app->forget_us = 0;
        if (app->nameless)
            fcgipm_app_name(app, p->setting);
        if (!waits_for_another(app))
            fcgipm_atom_set(&m->board->pool[app->index].route, app->index);
    }
}

static bool same(const fcgipm_jail_cell_t *a, const fcgipm_jail_cell_t *b)
{
    return a->uid == b->uid && a->gid == b->gid;
}

/* Names stay and their numbers change: User, Group, or an account that was made anew. A user that is no
 * longer allowed (FcgiMinUid) starts nothing more; the next start says so. */
static void look_up_again(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    fcgipm_jail_host_t host = fcgipm_manager_host(m);
    fcgipm_jail_cell_t cell = {0}, person = {0};
    fcgipm_fault_t fault;
    apr_status_t rv;

    if (!app->configured || app->setting->connect || !app->plan_ok)
        return;
    rv = app->plan.jail->prepare(&cell, app->setting, &host, &fault);
    if (APR_STATUS_IS_EACCES(rv))
        app->plan_ok = false;
    if (rv != APR_SUCCESS)
        return;
    fcgipm_spawn_person(&person, app->setting, &host, &fault);
    if (same(&cell, &app->plan.cell) && same(&person, &app->plan.person))
        return;
    app->plan_ok = false;
    fcgipm_refresh_restart(app, "its user has another number now");
}

static void regroup(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;

    for (uint32_t slot = 0; slot < app->geometry.slot_count; slot++)
        if (app->workers[slot].listen_fd >= 0)
            fcgipm_listen_regroup(m->runtime_dir, app->index, slot, m->gid);
}

void fcgipm_manager_reconcile(fcgipm_manager_t *m, const fcgipm_world_t *world)
{
    bool other_group = m->gid != world->gid;

    m->generation = world->generation;
    m->uid = world->uid;
    m->gid = world->gid;
    m->min_uid = world->global.min_uid;
    m->min_gid = world->global.min_gid;
    fcgipm_cgroup_configure(m->cgroup, world);
    fcgipm_ondemand_learn(m, world);
    for (uint32_t i = 0; i < m->app_end; i++) {
        if (m->apps[i] && other_group)
            regroup(m->apps[i]);
        if (m->apps[i])
            look_up_again(m->apps[i]);
    }
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i] && !m->apps[i]->what && !named_by(world, m->apps[i]))
            fcgipm_app_retire(m->apps[i]);
    for (int i = 0; i < world->pools->nelts; i++)
        configure(m, &APR_ARRAY_IDX(world->pools, i, fcgipm_world_pool_t));
    fcgipm_ondemand_reconcile(m, world);
    fcgipm_atom_set(&m->board->config_generation, world->generation);
}

/* --- the beginning --- */

/* Workers of a pool that the configuration does not know (any more): it needs settings of its own to be led
 * out with. */
static fcgipm_app_t *unknown_pool(fcgipm_manager_t *m, uint32_t index)
{
    const fcgipm_registry_pool_t *row = &m->registry->pool[index];
    fcgipm_setting_t s;
    fcgipm_app_t *app;

    if (!fcgipm_atom_get(&row->used) || !fcgipm_geometry_ok(&row->geometry))
        return NULL;
    fcgipm_setting_defaults(&s, m->pool);
    s.name = "(old)";
    s.processes_max = row->geometry.slot_count > 2 ? row->geometry.slot_count - 2 : 1; /* see world_assign */
    if (row->external)
        s.connect = "unix:/nowhere";
    else {
        s.command = apr_array_make(m->pool, 1, sizeof(const char *));
        APR_ARRAY_PUSH(s.command, const char *) = "/nowhere";
    }
    fcgipm_setting_finish(&s);
    s.concurrency = row->geometry.concurrency;
    app = fcgipm_app_create(m, index, &row->geometry, row->key, row->fingerprint, &s);
    if (app) {
        app->nameless = true;
        fcgipm_app_retire(app);
    }
    return app;
}

static bool belongs(const fcgipm_app_t *app, uint32_t row_index, const fcgipm_registry_slot_t *row)
{
    const fcgipm_geometry_t *g = &app->geometry;

    return row_index >= g->slot_first && row_index - g->slot_first < g->slot_count &&
           row->fingerprint == app->fingerprint;
}

/* A living process that no pool owns: its group is stopped for good. The start time proves that it is ours.
 */
static void kill_unowned(fcgipm_manager_t *m, uint32_t row_index, pid_t pid, uint64_t start_time)
{
    int fd = fcgipm_pidfd_find(pid, start_time);

    if (fd >= 0) {
        FCGIPM_LOG(340, FCGIPM_LOG_WARN, 0, 0, "pid %d belongs to no pool: killed", (int)pid);
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
        close(fd);
    }
    fcgipm_atom_set(&m->registry->slot[row_index].pid, 0);
}

static void adopt_row(fcgipm_manager_t *m, uint32_t row_index)
{
    fcgipm_registry_slot_t *row = &m->registry->slot[row_index];
    pid_t pid = (pid_t)fcgipm_atom_get(&row->pid);
    fcgipm_app_t *app;
    fcgipm_worker_t *w;

    if (pid <= 1)
        return;
    m->inherits = true;
    app = row->pool < FCGIPM_POOLS_MAX ? m->apps[row->pool] : NULL;
    if (!app && row->pool < FCGIPM_POOLS_MAX)
        app = unknown_pool(m, row->pool);
    if (!app || !belongs(app, row_index, row)) {
        kill_unowned(m, row_index, pid, row->start_time);
        return;
    }
    w = &app->workers[row_index - app->geometry.slot_first];
    if (!fcgipm_worker_adopt(w)) {
        /* It died while nobody looked: as any death, so that what it left is cleaned and it is replaced. */
        w->state = FCGIPM_SLOT_STARTING;
        w->ready_us = m->now;
        w->hung = true; /* not held against the pool */
        w->adopted = true;
        fcgipm_reap_group(w);
        fcgipm_worker_died(w, -1);
    }
}

/* A process in a control group of ours: a worker's? */
static bool claim_leaf(void *ctx, pid_t pid, const char *leaf)
{
    fcgipm_worker_t *w = pid > 1 ? fcgipm_reap_worker(ctx, pid) : NULL;

    if (!w)
        return false;
    snprintf(w->leaf, sizeof w->leaf, "%s", leaf);
    return true;
}

void fcgipm_manager_adopt(fcgipm_manager_t *m)
{
    fcgipm_ondemand_adopt(m);
    for (uint32_t i = 0; (i = fcgipm_demand_next_slot(m->registry, i)) < FCGIPM_SLOTS_MAX; i++)
        adopt_row(m, i);
    fcgipm_cgroup_adopt(m->cgroup, claim_leaf, m, m->now);
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i] && m->apps[i]->configured)
            fcgipm_refresh_missed(m->apps[i]);
    /* Pools without a worker are to be forgotten as well, or their index is lost. */
    for (uint32_t i = 0; i < FCGIPM_POOLS_MAX; i++)
        if (!m->apps[i] && fcgipm_atom_get(&m->registry->pool[i].used))
            unknown_pool(m, i);
}
