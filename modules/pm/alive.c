/* SPDX-License-Identifier: Apache-2.0 */
/* Idle workers that no longer answer, and stopped ones. A busy worker is judged by its request's own limits.
 */
#include "pm/manager.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "pm/daemon.h"
#include "pm/lack.h"
#include "pm/pidfd.h"
#include "pm/seats.h"
#include "share/board.h"
#include "share/queue.h"
#include "share/wake.h"

#define KILL_US     2000000
#define STOPPED_MAX 2 /* looks in a row */

static void replace(fcgipm_worker_t *w, const char *why)
{
    FCGIPM_LOG(373, FCGIPM_LOG_WARN, 0, w->app->setting->scope,
               "pool %s slot %u pid %d: %s while idle; it is replaced", w->app->setting->name, w->slot,
               (int)w->pid, why);
    fcgipm_worker_stop(w, KILL_US, FCGIPM_LEAVE_UNRESPONSIVE, why);
}

/* A place of this worker, taken as any httpd child takes it: a kept connection of another must be closed by
 * him first, or the worker never accepts ours. */
static bool take_place(fcgipm_worker_t *w)
{
    const fcgipm_geometry_t *g = &w->app->geometry;
    fcgipm_manager_t *m = w->app->manager;

    for (uint32_t rank = 0; rank < g->concurrency; rank++) {
        uint32_t seat = fcgipm_seat_index(g, w->slot, rank);
        uint64_t word = fcgipm_atom_get(&m->board->seat[seat]);
        unsigned state = fcgipm_seat_state(word), owner = fcgipm_seat_owner(word);

        if ((state != FCGIPM_SEAT_IDLE && state != FCGIPM_SEAT_LEASED) ||
            !fcgipm_seat_step(&m->board->seat[seat], &word, FCGIPM_SEAT_EV_TAKE, FCGIPM_OWNER_MANAGER))
            continue;
        if (state == FCGIPM_SEAT_LEASED)
            fcgipm_wake_child(owner);
        w->ask_seat = seat;
        w->ask_word = word;
        return true;
    }
    return false;
}

static void give_place_back(fcgipm_worker_t *w)
{
    uint64_t word = w->ask_word;

    w->asking = false;
    fcgipm_queue_offer(w->app->manager->board, w->app->index, &w->app->geometry, w->ask_seat, &word,
                       FCGIPM_SEAT_EV_RETURN, FCGIPM_OWNER_MANAGER);
}

static void stop_asking(fcgipm_worker_t *w)
{
    fcgipm_ready_close(w->probe);
    w->probe = NULL;
}

static void ask(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;
    const fcgipm_setting_t *s = w->app->setting;
    fcgipm_addr_t addr;
    char path[256];

    w->ask_at_us = m->now + s->probe_every_us;
    if (fcgipm_worker_busy(w) ||
        !fcgipm_board_socket_path(path, sizeof path, m->runtime_dir, w->app->index, w->slot) ||
        fcgipm_addr_unix(&addr, path) != APR_SUCCESS || !take_place(w))
        return;
    w->asking = true;
    w->probe = fcgipm_ready_ask(&addr, s->probe ? FCGIPM_READY_REQUEST : FCGIPM_READY_SIGN, s->probe);
    w->ask_by_us = m->now + s->probe_timeout_us;
    if (!w->probe) {
        int error = errno;
        char why[128];

        give_place_back(w);
        if (fcgipm_lack_is(error) && error != EAGAIN) { /* (EAGAIN: its backlog is full) */
            fcgipm_lack_note(m, "to ask processes whether they live (FcgiProbe)", error);
            return;
        }
        snprintf(why, sizeof why, "cannot be connected to (%s)", strerror(error));
        replace(w, why);
    }
}

void fcgipm_alive_cancel(fcgipm_worker_t *w)
{
    if (!w->asking)
        return;
    stop_asking(w);
    give_place_back(w);
}

void fcgipm_alive_on_answer(fcgipm_worker_t *w)
{
    char why[128];

    switch (fcgipm_ready_check(w->probe, why, sizeof why)) {
    case FCGIPM_READY_WAIT:
        return;
    case FCGIPM_READY_YES:
        stop_asking(w); /* first, so that it is free for the next */
        give_place_back(w);
        return;
    case FCGIPM_READY_NO:
        stop_asking(w);
        give_place_back(w);
        replace(w, why);
    }
}

int64_t fcgipm_alive_tend(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;
    const fcgipm_setting_t *s = w->app->setting;
    char why[128];

    if (s->probe_every_us == 0 || w->pid == 0 || m->stopping)
        return INT64_MAX;
    if (w->asking && w->probe)
        fcgipm_alive_on_answer(w); /* that it has read is no event */
    if (w->asking) {
        if (m->now < w->ask_by_us)
            return m->now + (w->ask_by_us - m->now > 100000 ? 50000 : 10000);
        snprintf(why, sizeof why, "did not answer for %d ms (FcgiProbe timeout=)",
                 (int)(s->probe_timeout_us / 1000));
        stop_asking(w);
        give_place_back(w);
        replace(w, why);
        return INT64_MAX;
    }
    if (w->state != FCGIPM_SLOT_READY)
        return INT64_MAX;
    if (w->ask_at_us == 0)
        w->ask_at_us = m->now + s->probe_every_us;
    if (m->now >= w->ask_at_us)
        ask(w);
    return w->asking ? m->now + 1000 : w->ask_at_us;
}

void fcgipm_alive_look(fcgipm_worker_t *w)
{
    fcgipm_pidfd_stat_t stat;
    bool stopped = w->state == FCGIPM_SLOT_READY && w->pid > 1 && !fcgipm_worker_busy(w) &&
                   fcgipm_pidfd_stat(w->pid, &stat) && stat.state == 'T';

    /* Who shut its places meant to tell us (HUNG) and could not. */
    bool shut = w->state == FCGIPM_SLOT_READY && w->pid > 1 &&
                fcgipm_seats_closed(w->app->manager->board, &w->app->geometry, w->slot);

    w->stopped_looks = stopped || shut ? w->stopped_looks + 1 : 0;
    if (w->stopped_looks < STOPPED_MAX)
        return;
    w->stopped_looks = 0;
    replace(w, stopped ? "is stopped (SIGSTOP)" : "all of its places are shut and nobody said why");
}
