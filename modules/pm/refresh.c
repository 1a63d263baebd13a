/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/manager.h"

#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

#include <apr_strings.h>

#include "core/clock.h"
#include "core/log.h"
#include "share/board.h"

#define GIVE_UP 3 /* failed starts in a row, and a restart leaves the old workers where they are */

/* --- which --- */

static void mark(fcgipm_worker_t *w, fcgipm_leave_t leave, const char *why)
{
    if (w->outdated)
        return;
    w->outdated = leave;
    w->app->manager->registry->slot[w->row].outdated = 1;
    snprintf(w->why, sizeof w->why, "%s", why);
}

static void unmark(fcgipm_worker_t *w)
{
    w->outdated = FCGIPM_LEAVE_NONE;
    w->app->manager->registry->slot[w->row].outdated = 0;
    w->why[0] = '\0';
}

static void look_at(fcgipm_worker_t *w)
{
    const fcgipm_setting_t *s = w->app->setting;
    fcgipm_manager_t *m = w->app->manager;
    uint64_t requests = fcgipm_atom_peek(&m->board->slot[w->row].requests);
    int64_t age = m->now - w->born_us;
    char why[96];

    switch (fcgipm_policy_recycle(s, requests, age, w->memory, w->chance)) {
    case FCGIPM_RECYCLE_NO:
        return;
    case FCGIPM_RECYCLE_REQUESTS:
        snprintf(why, sizeof why, "FcgiRecycle requests=%u", s->recycle_requests);
        break;
    case FCGIPM_RECYCLE_AGE:
        snprintf(why, sizeof why, "FcgiRecycle lifetime=%llds", (long long)(s->recycle_age_us / 1000000));
        break;
    case FCGIPM_RECYCLE_MEMORY:
        snprintf(why, sizeof why, "FcgiRecycle memory=%lluM, it has %lluM",
                 (unsigned long long)(s->recycle_memory_bytes >> 20), (unsigned long long)(w->memory >> 20));
        break;
    }
    mark(w, FCGIPM_LEAVE_RECYCLED, why);
}

uint32_t fcgipm_refresh_look(fcgipm_app_t *app)
{
    uint32_t outdated = 0;

    for (uint32_t i = 0; i < app->geometry.slot_count; i++) {
        fcgipm_worker_t *w = &app->workers[i];

        if (!fcgipm_worker_alive(w))
            continue;
        if (w->state == FCGIPM_SLOT_READY && !w->outdated)
            look_at(w);
        outdated += w->outdated != FCGIPM_LEAVE_NONE;
    }
    if (outdated == 0)
        app->relieved = 0;
    return outdated;
}

/* --- how --- */

/* One that does nothing just now first: it is gone at once. */
static fcgipm_worker_t *next_outdated(fcgipm_app_t *app)
{
    fcgipm_worker_t *found = NULL;

    for (uint32_t i = app->geometry.slot_count; i-- > 0;) {
        fcgipm_worker_t *w = &app->workers[i];

        if (!fcgipm_worker_alive(w) || !w->outdated)
            continue;
        if (!fcgipm_worker_busy(w))
            return w;
        found = w;
    }
    return found;
}

void fcgipm_refresh_relieve(fcgipm_app_t *app, uint32_t count)
{
    fcgipm_worker_t *w;
    char why[256];

    for (; count > 0 && (w = next_outdated(app)); count--) {
        snprintf(why, sizeof why, "%s", w->why);
        fcgipm_worker_drain(w, w->outdated, why);
        app->relieved -= app->relieved > 0;
    }
}

/* --- a restart of the pool --- */

void fcgipm_refresh_restart(fcgipm_app_t *app, const char *why)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        if (fcgipm_worker_alive(&app->workers[i])) {
            unmark(&app->workers[i]);
            mark(&app->workers[i], FCGIPM_LEAVE_RESTARTED, why);
            count++;
        }
    app->relieved = 0;
    app->at_rest = false;
    app->restarted_us = app->manager->now;
    app->restart = FCGIPM_RESTART_RUNNING;
    app->silent = false;            /* a new program may answer */
    fcgipm_tally_well(&app->tally); /* a crash loop gets another chance at once */
    app->manager->again = true;
    FCGIPM_LOG(370, FCGIPM_LOG_NOTICE, 0, app->setting->scope,
               "pool %s: restart (%s): %u processes are replaced one by one", app->setting->name, why, count);
}

static uint32_t restarting(const fcgipm_app_t *app)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        count += fcgipm_worker_alive(&app->workers[i]) && app->workers[i].outdated == FCGIPM_LEAVE_RESTARTED;
    return count;
}

static void give_up(fcgipm_app_t *app)
{
    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        if (app->workers[i].outdated == FCGIPM_LEAVE_RESTARTED)
            unmark(&app->workers[i]);
    app->relieved = 0;
    app->restart = FCGIPM_RESTART_FAILED;
    FCGIPM_LOG(371, FCGIPM_LOG_ERR, 0, app->setting->scope,
               "pool %s: restart failed: %u new processes in a row did not start; %s", app->setting->name,
               app->tally.failures,
               fcgipm_app_count(app, FCGIPM_SLOT_READY) ? "the old ones stay" : "there are no old ones");
}

static void done(fcgipm_app_t *app)
{
    app->restart = FCGIPM_RESTART_DONE;
    FCGIPM_LOG(372, FCGIPM_LOG_NOTICE, 0, app->setting->scope, "pool %s: restart done after %d ms",
               app->setting->name, (int)((app->manager->now - app->restarted_us) / 1000));
}

/* Done when no old one is left and a new one is ready, or none is wanted. */
void fcgipm_refresh_judge(fcgipm_app_t *app)
{
    bool wanted = app->min > 0 && !(app->flags & FCGIPM_POOL_DRAINED);

    if (app->restart != FCGIPM_RESTART_RUNNING)
        return;
    if (app->tally.failures >= GIVE_UP)
        give_up(app);
    else if (restarting(app) == 0 && (fcgipm_app_count(app, FCGIPM_SLOT_READY) ||
                                      (!wanted && !fcgipm_app_count(app, FCGIPM_SLOT_STARTING))))
        done(app);
}

/* --- files --- */

static void look_at_file(fcgipm_watched_t *file)
{
    struct stat st;

    if (stat(file->path, &st) < 0) {
        file->inode = 0;
        file->changed_ns = 0;
        file->size = -1;
        return;
    }
    file->inode = st.st_ino;
    file->changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    file->size = st.st_size;
}

void fcgipm_refresh_watch(fcgipm_app_t *app)
{
    const fcgipm_setting_t *s = app->setting;

    if (!s->watch || s->watch->nelts == 0 || s->connect)
        return;
    app->watched = apr_array_make(app->pool, s->watch->nelts, sizeof(fcgipm_watched_t));
    for (int i = 0; i < s->watch->nelts; i++) {
        const char *path = APR_ARRAY_IDX(s->watch, i, const char *);
        fcgipm_watched_t *file = apr_array_push(app->watched);

        if (strcasecmp(path, "Command"))
            file->path = path;
        else
            file->path = apr_pstrcat(app->pool, s->root ? s->root : "",
                                     APR_ARRAY_IDX(s->command, 0, const char *), NULL);
        look_at_file(file);
    }
}

/* A file that is gone is no reason: it comes back when the deployment is over. */
bool fcgipm_refresh_changed(fcgipm_app_t *app)
{
    bool changed = false;

    for (int i = 0; app->watched && i < app->watched->nelts; i++) {
        fcgipm_watched_t *file = &APR_ARRAY_IDX(app->watched, i, fcgipm_watched_t), was = *file;

        look_at_file(file);
        if (file->size >= 0 &&
            (file->inode != was.inode || file->changed_ns != was.changed_ns || file->size != was.size))
            changed = true;
        else if (file->size < 0)
            *file = was; /* compared with what it was before it went */
    }
    return changed;
}

void fcgipm_refresh_missed(fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;
    int64_t wall = fcgipm_clock_wall_us();

    for (int i = 0; app->watched && i < app->watched->nelts; i++) {
        int64_t changed = APR_ARRAY_IDX(app->watched, i, fcgipm_watched_t).changed_ns / 1000;

        for (uint32_t slot = 0; slot < app->geometry.slot_count; slot++) {
            const fcgipm_worker_t *w = &app->workers[slot];

            if (!w->adopted || !fcgipm_worker_alive(w) || changed > wall ||
                changed <= m->registry->slot[w->row].born_wall_us)
                continue;
            fcgipm_refresh_restart(app, "a file of FcgiWatch has changed meanwhile");
            return;
        }
    }
}
