/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board is written by httpd's children, and one of them may write over all of it. The manager never
 * depends on what stands there, but its children do: when the rubbish has ended (a child has, or it is time
 * to look) what should stand there is compared with what does, and if it differs everything is written anew
 * from the manager's own memory. Requests that run go on; those that wait look for a place once more.
 */
#include "pm/manager.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "pm/daemon.h"
#include "pm/seats.h"
#include "share/board.h"
#include "share/children.h"
#include "share/demand.h"
#include "share/queue.h"
#include "share/stat.h"

#define PAUSE_US    200000 /* between two looks, however often we are asked to */
#define GHOSTS_MANY 8
#define QUIET_US    60000000 /* between two log lines */
/* What is rubbish may look as if it were right, a place of a living child's above all. So after some was seen
 * everything is written once more, soon, and for a while whenever a child has ended, who may have been it. */
#define AGAIN_US 1000000
#define DOUBT_US 60000000

/* --- what should stand there --- */

static bool fix(void *seen, const void *want, size_t len)
{
    if (!memcmp(seen, want, len))
        return false;
    memcpy(seen, want, len);
    return true;
}

static bool fix_string(char *seen, const char *want, size_t cap)
{
    char text[256] = {0};

    snprintf(text, cap < sizeof text ? cap : sizeof text, "%s", want ? want : "");
    return fix(seen, text, cap);
}

static bool fix_number(uint32_t *seen, uint32_t want)
{
    bool differs = *seen != want;

    *seen = want;
    return differs;
}

static bool fix_head(fcgipm_manager_t *m)
{
    fcgipm_board_t *board = m->board;
    bool differs = fcgipm_board_sign(board);

    if (fcgipm_atom_get(&board->manager_pid) != (uint32_t)getpid())
        fcgipm_atom_set(&board->manager_pid, (uint32_t)getpid());
    if (fcgipm_atom_get(&board->config_generation) != m->world->generation)
        fcgipm_atom_set(&board->config_generation, m->world->generation);
    return differs;
}

static bool same_application(const fcgipm_app_t *app, uint32_t index)
{
    const fcgipm_manager_t *m = app->manager;

    return index < FCGIPM_POOLS_MAX && m->apps[index] && m->apps[index]->key == app->key;
}

/* Where its requests go: where they went, if that is a definition of the same application (which of them is
 * for fcgipm_app_tend to say, and it may be about to); else to itself once it has had a process, or to one
 * that serves. */
static uint32_t route_of(const fcgipm_app_t *app, uint32_t seen)
{
    const fcgipm_manager_t *m = app->manager;

    if (seen == app->index || same_application(app, seen))
        return seen;
    if (app->configured && app->was_ready)
        return app->index;
    for (uint32_t i = 0; i < m->app_end; i++)
        if (same_application(app, i) && fcgipm_app_count(m->apps[i], FCGIPM_SLOT_READY))
            return i;
    return app->index;
}

static bool fix_pool(const fcgipm_app_t *app)
{
    const fcgipm_setting_t *s = app->setting;
    const fcgipm_registry_pool_t *row = &app->manager->registry->pool[app->index];
    fcgipm_board_pool_t *seen = &app->manager->board->pool[app->index];
    bool known = s->name[0] != '('; /* of a definition that an earlier manager knew we have no names */
    uint32_t now = fcgipm_atom_get(&seen->route), route = route_of(app, now);
    bool differs = fix(&seen->geometry, &app->geometry, sizeof app->geometry);

    differs |= fix_number(&seen->stat_row, row->stat_row);
    differs |= fcgipm_watchman_mend(app);
    if (known) {
        differs |= fix_string(seen->name, s->name, sizeof seen->name);
        differs |= fix_string(seen->vhost, s->vhost, sizeof seen->vhost);
        differs |= fix_string(seen->addr, s->connect, sizeof seen->addr);
        differs |= fix_number(&seen->external, s->connect != NULL);
    }
    if (fcgipm_atom_get(&seen->key) != app->key) {
        fcgipm_atom_set(&seen->key, app->key);
        differs = true;
    }
    if (now != route)
        fcgipm_atom_set(&seen->route, route);
    return differs || now != route;
}

/* Rows that are no pool's: views and fcgipmctl would take them for one. Only what the parent, too, writes
 * zero when it fills one, which is before the registry says so. (Not at each look: their pages may never have
 * been touched.) */
static void clear_free_rows(const fcgipm_manager_t *m)
{
    uint32_t end = fcgipm_demand_end(m->board);

    for (uint32_t i = 0; i < end; i++) {
        fcgipm_board_pool_t *seen = &m->board->pool[i];

        if (m->apps[i] || fcgipm_atom_get(&m->registry->pool[i].used) != FCGIPM_ROW_FREE)
            continue;
        fcgipm_atom_set(&seen->state, FCGIPM_POOL_FREE);
        fcgipm_atom_set(&seen->ready, 0);
        fcgipm_atom_set(&seen->starting, 0);
        fcgipm_atom_set(&seen->waiting, 0);
    }
}

/* --- everything anew --- */

static void renew_slot(const fcgipm_worker_t *w)
{
    fcgipm_board_t *board = w->app->manager->board;
    fcgipm_board_slot_t *seen = &board->slot[w->row];

    memset(seen, 0, sizeof *seen);
    fcgipm_atom_set(&seen->generation, w->generation);
    fcgipm_atom_set(&seen->pid, (uint32_t)w->pid);
    fcgipm_atom_set(&seen->since_us, (uint64_t)w->app->manager->now);
    fcgipm_atom_set(&seen->born_us, (uint64_t)w->born_us);
    fcgipm_atom_set(&seen->memory, w->memory);
    fcgipm_atom_set(&seen->places, w->places);
    fcgipm_atom_set(&seen->multiplexes, w->multiplexes);
    fcgipm_atom_set(&seen->state, (uint32_t)w->state);
}

static void renew_pool(fcgipm_app_t *app)
{
    fcgipm_board_t *board = app->manager->board;
    fcgipm_board_stat_t *stat = fcgipm_stat_row(board, app->index);

    if (stat)
        memset(stat, 0, sizeof *stat);
    for (uint32_t slot = 0; slot < app->geometry.slot_count; slot++) {
        fcgipm_worker_t *w = &app->workers[slot];

        renew_slot(w);
        w->seen_requests = 0;
        fcgipm_seats_shut(board, &app->geometry, slot);
    }
    for (uint32_t child = 0; child < FCGIPM_CHILDREN_MAX; child++)
        fcgipm_atom_put(&board->held[child][app->index], 0);
    fcgipm_atom_set(&board->pool[app->index].trouble_us, 0);
    fcgipm_queue_clear(board, app->index, &app->geometry);
    for (uint32_t slot = 0; slot < app->geometry.slot_count; slot++)
        if (app->workers[slot].state == FCGIPM_SLOT_READY)
            fcgipm_seats_open(board, app->index, &app->geometry, slot, app->workers[slot].places);
    fcgipm_app_publish(app);
}

static void renew(fcgipm_manager_t *m)
{
    clear_free_rows(m);
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i])
            renew_pool(m->apps[i]);
    for (uint32_t child = 0; child < FCGIPM_CHILDREN_MAX; child++)
        fcgipm_atom_put(&m->board->demanding[child], 0);
    fcgipm_demand_wake(m->board);
    m->again = true;
    if (m->mend_told_us && m->now - m->mend_told_us < QUIET_US)
        return;
    m->mend_told_us = m->now;
    FCGIPM_LOG(
        421, FCGIPM_LOG_ERR, 0, 0,
        "the shared memory has been written over: a child of httpd is broken, or in wrong hands; it is "
        "written anew, its counters begin at 0. Stop and start httpd when you know which");
}

/* Waiting places of children that there never were: of one that has just ended they would be its row's, and
 * that is looked at behind this. A few may be a child's that ends just now. */
static bool has_ghosts(const fcgipm_app_t *app)
{
    fcgipm_board_t *board = app->manager->board;
    const fcgipm_geometry_t *g = &app->geometry;
    unsigned count = 0;

    for (uint32_t i = g->cell_first; i < g->cell_first + g->cell_count && count < GHOSTS_MANY; i++) {
        uint64_t word = fcgipm_atom_peek(&board->cell[i]);
        unsigned child = fcgipm_cell_child(word);

        count += word != 0 && (child >= FCGIPM_CHILDREN_MAX || !fcgipm_atom_peek(&board->child[child].pid));
    }
    return count >= GHOSTS_MANY;
}

/* Places whose owner has gone without an obituary. */
static void mend_seats(const fcgipm_app_t *app)
{
    for (uint32_t slot = 0; slot < app->geometry.slot_count; slot++) {
        const fcgipm_worker_t *w = &app->workers[slot];

        if (w->state == FCGIPM_SLOT_READY && fcgipm_seats_mend(app->manager->board, &app->geometry, slot))
            fcgipm_seats_open(app->manager->board, app->index, &app->geometry, slot, w->places);
    }
}

static bool in_doubt(const fcgipm_manager_t *m)
{
    if (!m->rubbish_us || m->now - m->rubbish_us > DOUBT_US)
        return false;
    return m->mend_asked || (m->mend_again_us && m->now >= m->mend_again_us);
}

void fcgipm_mend_look(fcgipm_manager_t *m)
{
    bool differs = fix_head(m), doubt = in_doubt(m);

    m->mend_asked = false;
    if (m->mend_again_us && m->now >= m->mend_again_us)
        m->mend_again_us = 0;
    m->mended_us = m->now;
    for (uint32_t i = 0; i < m->app_end && !differs; i++)
        differs = m->apps[i] && has_ghosts(m->apps[i]);
    fcgipm_children_bury(m->board, m->registry, m->env->children_fd, false);
    differs |= fcgipm_ondemand_mend(m);
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i])
            differs |= fix_pool(m->apps[i]);
    if (differs) {
        m->rubbish_us = m->now;
        m->mend_again_us = m->now + AGAIN_US;
    }
    if (differs || doubt)
        renew(m);
    m->all_at_us = m->now;
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i]) {
            fcgipm_board_ghosts_leave(m->board, i, &m->apps[i]->geometry);
            mend_seats(m->apps[i]);
        }
}

int64_t fcgipm_mend_tend(fcgipm_manager_t *m)
{
    int64_t at = m->mend_again_us ? m->mend_again_us : INT64_MAX;

    if (m->mend_asked && m->mended_us + PAUSE_US < at)
        at = m->mended_us + PAUSE_US;
    if (m->stopping || m->now < at)
        return m->stopping ? INT64_MAX : at;
    fcgipm_mend_look(m);
    return m->mend_again_us ? m->mend_again_us : INT64_MAX;
}
