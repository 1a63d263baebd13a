/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/manager.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "pm/lack.h"
#include "pm/listen.h"
#include "pm/memory.h"
#include "pm/pidfd.h"
#include "pm/ready.h"
#include "pm/seats.h"
#include "pm/stray.h"
#include "share/board.h"
#include "share/stat.h"

#define DRAIN_LOOK_US 100000
#define HUNG_STOP_US  2000000 /* who hangs gets no more time than this */
#define KILLS_MOST    2       /* one a second, and a stop waits for it no longer */
#define LOUD_FAILURES 10      /* then the delay has reached its cap */
#define VALUES_US     500000  /* for an answer to FCGI_GET_VALUES, once it takes connections */

void fcgipm_worker_init(fcgipm_worker_t *w, fcgipm_app_t *app, uint32_t slot)
{
    memset(w, 0, sizeof *w);
    w->app = app;
    w->slot = slot;
    w->row = app->geometry.slot_first + slot;
    w->pidfd = w->listen_fd = w->out_fd = w->report_fd = -1;
    w->generation = app->manager->registry->slot[w->row].generation;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- the one door of the state --- */

static bool step(fcgipm_worker_t *w, fcgipm_slot_event_t event)
{
    fcgipm_slot_state_t next = fcgipm_slot_next(w->state, event);
    fcgipm_board_slot_t *seen = &w->app->manager->board->slot[w->row];

    if (next == FCGIPM_SLOT_STATE_COUNT) {
        FCGIPM_LOG(310, FCGIPM_LOG_ERR, 0, 0, "BUG: pool %s slot %u: event %d in state %s",
                   w->app->setting->name, w->slot, (int)event, fcgipm_slot_state_str(w->state));
        return false;
    }
    w->state = next;
    w->app->manager->registry->slot[w->row].state = (uint32_t)next;
    fcgipm_atom_set(&seen->state, (uint32_t)next);
    fcgipm_atom_set(&seen->since_us, (uint64_t)w->app->manager->now);
    return true;
}

bool fcgipm_worker_busy(const fcgipm_worker_t *w)
{
    return fcgipm_seats_busy(w->app->manager->board, &w->app->geometry, w->slot) != 0;
}

static void open_seats(fcgipm_worker_t *w)
{
    fcgipm_seats_open(w->app->manager->board, w->app->index, &w->app->geometry, w->slot, w->places);
}

static void drain_seats(fcgipm_worker_t *w)
{
    fcgipm_seats_drain(w->app->manager->board, &w->app->geometry, w->slot);
}

static void shut_seats(fcgipm_worker_t *w)
{
    fcgipm_seats_shut(w->app->manager->board, &w->app->geometry, w->slot);
}

/* What it takes at a time, before it takes anything. */
static void set_places(fcgipm_worker_t *w, uint32_t places, bool multiplexes)
{
    fcgipm_registry_slot_t *row = &w->app->manager->registry->slot[w->row];
    fcgipm_board_slot_t *seen = &w->app->manager->board->slot[w->row];

    w->places = places < w->app->geometry.concurrency ? places : w->app->geometry.concurrency;
    w->multiplexes = multiplexes;
    row->places = w->places;
    row->multiplexes = multiplexes;
    fcgipm_atom_set(&seen->places, w->places);
    fcgipm_atom_set(&seen->multiplexes, multiplexes);
    w->app->places = w->places; /* the next ones are probably like it */
}

/* --- birth --- */

static void write_registry(fcgipm_worker_t *w)
{
    fcgipm_registry_slot_t *row = &w->app->manager->registry->slot[w->row];

    row->pool = w->app->index;
    row->generation = w->generation;
    row->start_time = w->start_time;
    row->fingerprint = w->app->fingerprint;
    row->born_us = w->born_us;
    row->born_wall_us = fcgipm_clock_wall_us();
    row->outdated = row->places = row->multiplexes = 0;
    fcgipm_atom_set(&row->pid, (uint32_t)w->pid);
}

static void write_board(fcgipm_worker_t *w)
{
    fcgipm_board_slot_t *seen = &w->app->manager->board->slot[w->row];

    fcgipm_atom_set(&seen->generation, w->generation);
    fcgipm_atom_set(&seen->pid, (uint32_t)w->pid);
}

static apr_status_t open_places(fcgipm_worker_t *w, int *write_fd, fcgipm_fault_t *fault)
{
    fcgipm_manager_t *m = w->app->manager;
    apr_status_t rv = fcgipm_listen_dir(m->runtime_dir, w->app->index, m->gid, fault);

    if (w->listen_fd >= 0 && !fcgipm_listen_renew(w->listen_fd))
        close_fd(&w->listen_fd);
    if (rv == APR_SUCCESS && w->listen_fd < 0)
        rv = fcgipm_listen_open(&w->listen_fd, m->runtime_dir, w->app->index, w->slot, m->gid, fault);
    if (rv == APR_SUCCESS)
        rv = fcgipm_listen_output(&w->out_fd, write_fd, m->runtime_dir, w->app->index, w->slot, true, fault);
    if (rv == APR_SUCCESS && fcgipm_lack_of_descriptors(*write_fd))
        rv = fcgipm_fault_set(fault, EMFILE, "output", "too few descriptors are left");
    return rv;
}

static apr_status_t open_group(fcgipm_worker_t *w, int *fd, fcgipm_fault_t *fault)
{
    const fcgipm_app_t *app = w->app;
    const fcgipm_cgroup_place_t place = {.uid = app->plan.person.uid,
                                         .pool = app->index,
                                         .slot = w->slot,
                                         .generation = w->generation,
                                         .setting = app->setting};

    return fcgipm_cgroup_enter(app->manager->cgroup, &place, w->leaf, fd, fault);
}

/* It had to be left out: the place is as before. */
static void left_out(fcgipm_worker_t *w, apr_status_t rv)
{
    fcgipm_manager_t *m = w->app->manager;

    close_fd(&w->out_fd);
    close_fd(&w->report_fd);
    fcgipm_cgroup_leave(m->cgroup, w->leaf, m->now);
    w->leaf[0] = '\0';
    fcgipm_lack_note(m, "to start processes", rv);
}

static void not_born(fcgipm_worker_t *w, const fcgipm_fault_t *fault)
{
    snprintf(w->why, sizeof w->why, "%s", fault->sentence);
    step(w, FCGIPM_SLOT_EV_SPAWN);
    fcgipm_worker_died(w, -1);
}

bool fcgipm_worker_owed(const fcgipm_worker_t *w)
{
    struct pollfd fd = {.fd = w->listen_fd, .events = POLLIN | POLLRDHUP};

    return fd.fd >= 0 && poll(&fd, 1, 0) > 0 && fd.revents == POLLIN; /* else it was shut */
}

/* Nothing of the last process in this place is left. */
static void begin(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;
    fcgipm_board_slot_t *seen = &m->board->slot[w->row];

    w->hung = w->failed = w->exec_done = w->adopted = w->substitute = w->notified = w->dumped = w->asking =
        w->multiplexes = false;
    w->places = 0;
    w->values_by_us = 0;
    w->outdated = w->leave = FCGIPM_LEAVE_NONE;
    w->ready_us = w->exec_us = w->kill_at_us = w->drain_by_us = w->probe_at_us = w->ask_at_us = 0;
    w->seen_requests = w->memory = 0;
    w->stopped_looks = w->kills = 0;
    w->chance = fcgipm_manager_random(m);
    w->why[0] = w->leaf[0] = '\0';
    w->born_us = w->idle_since_us = m->now;
    w->start_by_us = m->now + w->app->setting->start_us;
    if (!w->output)
        w->output = apr_palloc(w->app->pool, sizeof *w->output);
    fcgipm_output_begin(w->output, w->app->setting->name, w->slot, 0, w->app->setting->scope);
    fcgipm_atom_set(&seen->requests, 0);
    fcgipm_atom_set(&seen->begun, 0);
    fcgipm_atom_set(&seen->used_us, 0);
    fcgipm_atom_set(&seen->memory, 0);
    fcgipm_atom_set(&seen->born_us, (uint64_t)m->now);
}

void fcgipm_worker_start(fcgipm_worker_t *w)
{
    fcgipm_app_t *app = w->app;
    fcgipm_manager_t *m = app->manager;
    fcgipm_fault_t fault;
    fcgipm_pidfd_stat_t stat;
    char marker[192];
    int write_fd = -1, group_fd = -1;
    apr_status_t rv;

    w->generation++;
    w->owed = fcgipm_worker_owed(w);
    begin(w);
    if ((rv = open_places(w, &write_fd, &fault)) == APR_SUCCESS &&
        (rv = open_group(w, &group_fd, &fault)) == APR_SUCCESS) {
        fcgipm_reap_marker(marker, sizeof marker, w);
        rv = fcgipm_spawn_fork(&w->pid, &w->report_fd, &app->plan, marker, w->listen_fd, write_fd, group_fd,
                               &fault);
    }
    close_fd(&write_fd);
    close_fd(&group_fd);
    if (rv == APR_SUCCESS && !fcgipm_pidfd_stat(w->pid, &stat)) {
        stat.start_time = 0;
        if (fcgipm_lack_is(errno)) { /* nobody could tell later that it is ours */
            rv = errno;
            kill(w->pid, SIGKILL);
            while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        }
    }
    if (rv != APR_SUCCESS) {
        w->pid = 0;
        if (fcgipm_lack_is(rv))
            left_out(w, rv);
        else
            not_born(w, &fault);
        return;
    }
    w->start_time = stat.start_time;
    fcgipm_lack_end(m);
    step(w, FCGIPM_SLOT_EV_SPAWN);
    write_registry(w);
    write_board(w);
    fcgipm_output_begin(w->output, app->setting->name, w->slot, (uint32_t)w->pid, app->setting->scope);
    fcgipm_stat_spawns_add(m->board, app->index, 1);
    FCGIPM_LOG(311, FCGIPM_LOG_INFO, 0, app->setting->scope, "pool %s slot %u pid %d: started",
               app->setting->name, w->slot, (int)w->pid);
}

void fcgipm_worker_on_report(fcgipm_worker_t *w)
{
    fcgipm_fault_t fault;
    int result = fcgipm_spawn_report(w->report_fd, &fault);

    if (result == 0)
        return;
    close_fd(&w->report_fd);
    if (result < 0)
        snprintf(w->why, sizeof w->why, "%s", fault.sentence); /* it exits by itself */
    else {
        w->exec_done = true;
        w->exec_us = w->app->manager->now;
    }
}

/* --- readiness --- */

static void end_probe(fcgipm_worker_t *w)
{
    fcgipm_ready_close(w->probe);
    w->probe = NULL;
}

static void serve(fcgipm_worker_t *w)
{
    fcgipm_app_t *app = w->app;

    if (!w->outdated)
        w->why[0] = '\0';
    w->ready_us = w->idle_since_us = app->manager->now;
    if (!step(w, FCGIPM_SLOT_EV_READY))
        return;
    FCGIPM_LOG(312, FCGIPM_LOG_INFO, 0, app->setting->scope,
               "pool %s slot %u pid %d: ready after %d ms, for %u request%s at a time%s", app->setting->name,
               w->slot, (int)w->pid, (int)((w->ready_us - w->born_us) / 1000), w->places,
               w->places == 1 ? "" : "s", w->multiplexes ? ", several on one connection" : "");
    if (w->state == FCGIPM_SLOT_READY) {
        app->was_ready = true;
        app->manager->again = true;
        app->relieved += w->substitute;
        open_seats(w);
    }
}

static void ask(fcgipm_worker_t *w, fcgipm_ready_mode_t mode)
{
    fcgipm_manager_t *m = w->app->manager;
    fcgipm_addr_t addr;
    char path[256];

    errno = 0;
    if (fcgipm_board_socket_path(path, sizeof path, m->runtime_dir, w->app->index, w->slot) &&
        fcgipm_addr_unix(&addr, path) == APR_SUCCESS)
        w->probe = fcgipm_ready_ask(&addr, mode, w->app->setting->probe);
    if (!w->probe && fcgipm_lack_is(errno) && errno != EAGAIN) {
        fcgipm_lack_note(m, "to ask processes whether they are ready", errno);
        w->start_by_us = m->now + w->app->setting->start_us; /* it has not been asked yet */
        w->probe_at_us = m->now + 1000000;
    }
}

static void ask_again(fcgipm_worker_t *w)
{
    const fcgipm_setting_t *setting = w->app->setting;

    ask(w, setting->probe                          ? FCGIPM_READY_REQUEST
           : setting->ready == FCGIPM_READY_ANSWER ? FCGIPM_READY_VALUES
                                                   : FCGIPM_READY_SIGN);
}

/* Of those that it names the smaller one. Who names neither and serves several requests on one connection has
 * no limit; who says nothing at all takes one at a time. */
static uint32_t places_said(const fcgipm_mux_values_t *values)
{
    uint32_t reqs = values->max_reqs, conns = values->max_conns;

    if (!reqs && !conns)
        return values->mpxs_conns == 1 ? FCGIPM_CONCURRENCY_AUTO : 1;
    if (!reqs || (conns && conns < reqs))
        reqs = conns;
    return reqs < FCGIPM_CONCURRENCY_AUTO ? reqs : FCGIPM_CONCURRENCY_AUTO;
}

/* It takes connections, and has said (values), or not said (NULL), what it can do. */
static void has_said(fcgipm_worker_t *w, const fcgipm_mux_values_t *values)
{
    const fcgipm_setting_t *setting = w->app->setting;
    fcgipm_mux_values_t none = {0};

    if (!values)
        values = &none;
    /* First our own connection goes, so that the worker is free for the first request. */
    end_probe(w);
    set_places(w, setting->concurrency ? setting->concurrency : places_said(values),
               setting->multiplex && values->mpxs_conns == 1);
    serve(w);
}

static void became_ready(fcgipm_worker_t *w)
{
    fcgipm_app_t *app = w->app;
    fcgipm_mux_values_t values;

    if ((app->setting->concurrency && !app->setting->multiplex) || app->silent) {
        has_said(w, NULL);
        return;
    }
    if (w->probe && fcgipm_ready_values(w->probe, &values)) { /* FcgiReady Answer: we know already */
        has_said(w, &values);
        return;
    }
    end_probe(w);
    w->values_by_us = app->manager->now + VALUES_US;
    if (w->start_by_us < w->values_by_us)
        w->start_by_us = w->values_by_us + 1;
    ask(w, FCGIPM_READY_VALUES);
}

/* The last question before its first request. */
static void wait_for_values(fcgipm_worker_t *w)
{
    fcgipm_app_t *app = w->app;
    fcgipm_mux_values_t values;
    char why[128];
    fcgipm_ready_verdict_t verdict =
        w->probe ? fcgipm_ready_check(w->probe, why, sizeof why) : FCGIPM_READY_NO;

    if (verdict == FCGIPM_READY_WAIT && app->manager->now < w->values_by_us) {
        w->probe_at_us = app->manager->now + 10000;
        return;
    }
    if (verdict == FCGIPM_READY_YES && fcgipm_ready_values(w->probe, &values)) {
        has_said(w, &values);
        return;
    }
    app->silent = verdict == FCGIPM_READY_WAIT; /* else it is quick to ask the next one */
    FCGIPM_LOG(
        382, FCGIPM_LOG_WARN, 0, app->setting->scope,
        "pool %s slot %u pid %d: does not answer FCGI_GET_VALUES, which %s asks for: %s", app->setting->name,
        w->slot, (int)w->pid, app->setting->concurrency ? "FcgiMultiplex Auto" : "FcgiConcurrency Auto",
        app->setting->concurrency ? "each request has a connection of its own"
                                  : "it gets one request at a time; if it can take more, write the number");
    has_said(w, NULL);
}

static void probe(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;
    const fcgipm_setting_t *setting = w->app->setting;

    if (w->values_by_us) {
        wait_for_values(w);
        return;
    }
    /* Often at first: most are ready within milliseconds. */
    w->probe_at_us = m->now + 1000 + (m->now - w->born_us) / 8;
    if (setting->ready == FCGIPM_READY_NOTIFY && !w->notified)
        return;
    if (setting->ready == FCGIPM_READY_NOTIFY && !setting->probe) {
        became_ready(w);
        return;
    }
    if (!w->probe)
        ask_again(w);
    fcgipm_worker_on_probe(w);
}

void fcgipm_worker_on_probe(fcgipm_worker_t *w)
{
    if (!w->probe)
        return;
    if (w->asking) {
        fcgipm_alive_on_answer(w);
        return;
    }
    if (w->state != FCGIPM_SLOT_STARTING)
        return;
    if (w->values_by_us) {
        wait_for_values(w);
        return;
    }
    switch (fcgipm_ready_check(w->probe, w->why, sizeof w->why)) {
    case FCGIPM_READY_WAIT:
        break;
    case FCGIPM_READY_YES:
        became_ready(w);
        break;
    case FCGIPM_READY_NO: /* not yet: it is asked again until FcgiTimeout start= */
        end_probe(w);
        break;
    }
}

void fcgipm_worker_external(fcgipm_worker_t *w)
{
    if (w->state == FCGIPM_SLOT_READY)
        return;
    w->generation++;
    step(w, FCGIPM_SLOT_EV_SPAWN);
    write_board(w);
    w->ready_us = w->app->manager->now;
    set_places(w, w->app->geometry.concurrency, false);
    step(w, FCGIPM_SLOT_EV_READY);
    w->app->was_ready = true;
    open_seats(w);
}

/* --- adoption --- */

static void adopt_state(fcgipm_worker_t *w, uint32_t state)
{
    w->state = FCGIPM_SLOT_FREE;
    step(w, FCGIPM_SLOT_EV_SPAWN);
    if (state == FCGIPM_SLOT_STARTING)
        return;
    w->ready_us = w->app->manager->now;
    set_places(w, w->app->manager->registry->slot[w->row].places,
               w->app->manager->registry->slot[w->row].multiplexes);
    step(w, FCGIPM_SLOT_EV_READY);
    w->app->was_ready = true;
    fcgipm_seats_inherit(w->app->manager->board, &w->app->geometry, w->slot);
    if (state == FCGIPM_SLOT_READY)
        open_seats(w); /* those that the dead manager had not yet opened */
    else
        fcgipm_worker_drain(w, FCGIPM_LEAVE_TOLD, "it was leaving");
}

bool fcgipm_worker_adopt(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;
    fcgipm_registry_slot_t *row = &m->registry->slot[w->row];
    fcgipm_fault_t fault;
    uint64_t requests, begun, used;
    int write_fd;

    w->pid = (pid_t)fcgipm_atom_get(&row->pid);
    w->start_time = row->start_time;
    w->generation = row->generation;
    w->pidfd = fcgipm_pidfd_find(w->pid, w->start_time);
    if (w->pidfd < 0)
        return false;
    requests = fcgipm_atom_peek(&m->board->slot[w->row].requests);
    begun = fcgipm_atom_peek(&m->board->slot[w->row].begun);
    used = fcgipm_atom_peek(&m->board->slot[w->row].used_us);
    begin(w);
    fcgipm_atom_set(&m->board->slot[w->row].begun, begun);
    fcgipm_atom_set(&m->board->slot[w->row].requests, requests);
    fcgipm_atom_set(&m->board->slot[w->row].used_us, used);
    w->adopted = w->exec_done = true;
    if (row->born_us > 0 && row->born_us < m->now)
        w->born_us = row->born_us;
    fcgipm_atom_set(&m->board->slot[w->row].born_us, (uint64_t)w->born_us);
    if (row->outdated) {
        w->outdated = FCGIPM_LEAVE_RESTARTED;
        w->app->restart = FCGIPM_RESTART_RUNNING;
        w->app->restarted_us = w->app->manager->now; /* when it began nobody knows */
    }
    if (fcgipm_listen_output(&w->out_fd, &write_fd, m->runtime_dir, w->app->index, w->slot, false, &fault) ==
        APR_SUCCESS)
        close(write_fd);
    fcgipm_output_begin(w->output, w->app->setting->name, w->slot, (uint32_t)w->pid, w->app->setting->scope);
    adopt_state(w, row->state);
    write_board(w);
    FCGIPM_LOG(313, FCGIPM_LOG_INFO, 0, w->app->setting->scope, "pool %s slot %u pid %d: adopted",
               w->app->setting->name, w->slot, (int)w->pid);
    return true;
}

/* --- leaving --- */

void fcgipm_worker_drain(fcgipm_worker_t *w, fcgipm_leave_t leave, const char *why)
{
    int64_t limit = w->app->setting->request_us ? w->app->setting->request_us : 60000000;

    if (!fcgipm_worker_alive(w))
        return;
    fcgipm_alive_cancel(w);
    end_probe(w);
    w->leave = leave;
    w->outdated = FCGIPM_LEAVE_NONE;
    w->app->manager->registry->slot[w->row].outdated = 0;
    snprintf(w->why, sizeof w->why, "%s", why);
    w->drain_by_us = w->app->manager->now + limit;
    step(w, FCGIPM_SLOT_EV_DRAIN);
    drain_seats(w);
}

/* Our own child's pid is ours until we reap it; another's only while its pidfd says that it lives. */
static bool still_there(const fcgipm_worker_t *w)
{
    struct pollfd dead = {.fd = w->pidfd, .events = POLLIN};

    return w->pid > 1 && (w->pidfd < 0 || poll(&dead, 1, 0) == 0);
}

/* KILL is for all that it has forked, wherever that hides. */
static void signal_group(const fcgipm_worker_t *w, int sig)
{
    if (sig == SIGKILL)
        fcgipm_cgroup_kill(w->app->manager->cgroup, w->leaf);
    if (still_there(w) && kill(-w->pid, sig) < 0)
        kill(w->pid, sig); /* between fork and setsid it is not yet a group */
}

void fcgipm_worker_stop(fcgipm_worker_t *w, int64_t kill_us, fcgipm_leave_t leave, const char *why)
{
    int64_t kill_at = w->app->manager->now + kill_us;

    if (w->pid == 0 || w->state == FCGIPM_SLOT_FREE || w->state == FCGIPM_SLOT_DEAD)
        return;
    fcgipm_alive_cancel(w);
    end_probe(w);
    if (w->state == FCGIPM_SLOT_ENDING) {
        w->kill_at_us = kill_at < w->kill_at_us ? kill_at : w->kill_at_us;
        return;
    }
    if (why) {
        w->leave = leave;
        snprintf(w->why, sizeof w->why, "%s", why);
    }
    w->kill_at_us = kill_at;
    drain_seats(w);
    step(w, FCGIPM_SLOT_EV_STOP);
    signal_group(w, SIGTERM);
    signal_group(w, SIGCONT); /* a stopped process would not see TERM */
}

void fcgipm_worker_clear(fcgipm_worker_t *w)
{
    close_fd(&w->listen_fd);
    if (!w->app->setting->connect)
        fcgipm_listen_unlink(w->app->manager->runtime_dir, w->app->index, w->slot);
}

/* --- death --- */

/* A KILL that nobody here sent: the kernel's? Its group knows; without one, the kernel has counted one of its
 * own since we looked last. Of one that is not our child (-1) nobody else can say. NULL: no, else what
 * happened. */
static const char *out_of_memory(const fcgipm_worker_t *w, int status)
{
    fcgipm_manager_t *m = w->app->manager;
    bool killed = status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    uint64_t kills;

    if (w->kill_at_us || !(killed || status == -1))
        return NULL;
    switch (fcgipm_cgroup_oom(m->cgroup, w->leaf)) {
    case FCGIPM_CGROUP_OOM_POOL:
        return "OOM kill by its cgroup limit (FcgiCgroupLimit memory.max=)";
    case FCGIPM_CGROUP_OOM_USER:
        return "OOM kill by its cgroup limit (FcgiUserLimit memory=)";
    case FCGIPM_CGROUP_OOM_OTHER:
        return "was killed by the kernel: out of memory";
    case FCGIPM_CGROUP_OOM_NONE:
        return NULL;
    case FCGIPM_CGROUP_OOM_UNKNOWN:
        break;
    }
    kills = killed ? fcgipm_memory_oom_kills() : 0;
    if (kills <= m->oom_kills)
        return NULL;
    m->oom_kills = kills;
    return "was killed by the kernel: out of memory";
}

static const char *exit_kind(char *out, size_t cap, int status, const char *oom)
{
    if (oom)
        snprintf(out, cap, "%s", oom);
    else if (status == -1)
        snprintf(out, cap, "is gone");
    else if (WIFSIGNALED(status))
        snprintf(out, cap, "was killed by signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                 WCOREDUMP(status) ? ", core dumped" : "");
    else
        snprintf(out, cap, "exited with code %d", WEXITSTATUS(status));
    return out;
}

static void forget_process(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;

    fcgipm_atom_set(&m->registry->slot[w->row].pid, 0);
    fcgipm_atom_set(&m->board->slot[w->row].pid, 0);
    fcgipm_atom_add(&m->board->slot[w->row].deaths, 1);
    fcgipm_stat_deaths_add(m->board, w->app->index, 1);
    close_fd(&w->pidfd);
    close_fd(&w->report_fd);
    end_probe(w);
    w->asking = false;
    close_fd(&w->out_fd);
    fcgipm_cgroup_leave(m->cgroup, w->leaf, m->now);
    w->leaf[0] = '\0';
    w->pid = 0;
}

static void log_expected(const fcgipm_worker_t *w, pid_t pid, const char *kind, int64_t life_us,
                         uint64_t served)
{
    FCGIPM_LOG(314, FCGIPM_LOG_INFO, 0, w->app->setting->scope,
               "pool %s slot %u pid %d: %s as asked (%s) after %d s and %u requests", w->app->setting->name,
               w->slot, (int)pid, kind, w->why, (int)(life_us / 1000000), (unsigned)served);
}

static void say_next(char *out, size_t cap, const fcgipm_app_t *app, int64_t delay_us)
{
    int ms = (int)(delay_us / 1000), tenths = ms / 100;

    if (!app->configured || app->manager->stopping)
        snprintf(out, cap, "not restarted");
    else if (ms > 0 && ms < 1000)
        snprintf(out, cap, "next start in %d ms (failure %u in a row)", ms, app->tally.failures);
    else if (ms > 0)
        snprintf(out, cap, "next start in %d.%d s (failure %u in a row)", tenths / 10, tenths % 10,
                 app->tally.failures);
    else
        snprintf(out, cap, "replaced at once if needed");
}

static const char *reached(const fcgipm_worker_t *w)
{
    return w->exec_done ? "the program had started" : "the program was not executed";
}

/* How far it came, how it ended, and what it said last. */
/* What an exit code may mean. */
static void guess(char *out, size_t cap, const fcgipm_worker_t *w, int status)
{
    const char *suexec =
        w->app->setting->suexec && WIFEXITED(status) ? fcgipm_suexec_reason(WEXITSTATUS(status)) : NULL;

    *out = '\0';
    if (w->exec_done && suexec)
        snprintf(out, cap, "; suexec refuses it: %s (suexec.log says more)", suexec);
    else if (w->exec_done && status == 0)
        snprintf(out, cap, "; a FastCGI program does not end by itself: is it one for CGI?");
}

static void tell_start(char *out, size_t cap, const fcgipm_worker_t *w, const char *kind, int status,
                       int64_t life_us)
{
    char last[400], hint[160];
    fcgipm_output_last(w->output, last, sizeof last);
    guess(hint, sizeof hint, w, status);
    snprintf(out, cap, "did not start: %s%s%s after %d ms (%s)%s%s%s%s", w->why[0] ? w->why : kind,
             w->why[0] ? ", " : "", w->why[0] ? kind : "", (int)(life_us / 1000), reached(w), hint,
             last[0] ? ", last output \"" : "", last, last[0] ? "\"" : "");
}

static void tell_end(char *out, size_t cap, const fcgipm_worker_t *w, const char *kind, int64_t life_us,
                     uint64_t served)
{
    snprintf(out, cap, "%s%s%s%s after %d.%d s and %u requests", kind, w->why[0] ? " (" : "", w->why,
             w->why[0] ? ")" : "", (int)(life_us / 1000000), (int)(life_us % 1000000 / 100000),
             (unsigned)served);
}

/* One line per step of a crash loop, not per try: failures beyond the longest delay say nothing new. */
static void log_unexpected(fcgipm_worker_t *w, pid_t pid, const char *kind, int status, bool failure,
                           int64_t life_us, uint64_t served, int64_t delay_us)
{
    bool clean = status == 0 && !failure;
    fcgipm_app_t *app = w->app;
    unsigned failures = app->tally.failures;
    int level = failures > LOUD_FAILURES ? FCGIPM_LOG_DEBUG : clean ? FCGIPM_LOG_INFO : FCGIPM_LOG_WARN;
    char next[96], story[900], trouble[500];

    say_next(next, sizeof next, app, delay_us);
    if (w->ready_us || clean) {
        tell_end(story, sizeof story, w, kind, life_us, served);
        FCGIPM_LOG(315, level, 0, app->setting->scope, "pool %s slot %u pid %d: %s; %s", app->setting->name,
                   w->slot, (int)pid, story, next);
    } else {
        tell_start(story, sizeof story, w, kind, status, life_us);
        FCGIPM_LOG(316, level, 0, app->setting->scope, "pool %s slot %u pid %d: %s; %s", app->setting->name,
                   w->slot, (int)pid, story, next);
    }
    if (!clean) {
        snprintf(trouble, sizeof trouble, "slot %u pid %d: %.440s", w->slot, (int)pid, story);
        fcgipm_app_trouble(app, trouble);
    }
    if (failures == LOUD_FAILURES && app->told_failures != failures)
        FCGIPM_LOG(317, FCGIPM_LOG_ERR, 0, app->setting->scope,
                   "pool %s: crash loop; further failed starts are logged at debug level until one succeeds",
                   app->setting->name);
    app->told_failures = failures;
}

/* A worker has gone that nobody told to go. */
static void mourn(fcgipm_worker_t *w, pid_t pid, const char *kind, int status, bool busy, int64_t life_us,
                  uint64_t served)
{
    fcgipm_app_t *app = w->app;
    fcgipm_manager_t *m = app->manager;
    /* It ended in order after some work: httpd's child may not have counted it yet. */
    bool done = status == 0 && (served || busy || w->taken);
    /* It had a request in hand: whatever that did to it, it had started. A request that kills its process
     * must not put the whole pool into a backoff; how fast it can be started again is bounded all the same.
     */
    bool in_hand =
        w->taken || (w->ready_us && (busy || fcgipm_atom_peek(&m->board->slot[w->row].begun) > served));
    bool worked = w->ready_us || done || in_hand;
    bool failure = w->failed ||
                   (!w->hung && !done && !in_hand && fcgipm_tally_is_failure(worked ? life_us : -1, served));
    int64_t delay_us = 0;

    if (done) /* it ends the row of failures: it was made to live no longer */
        fcgipm_tally_well(&app->tally);
    if (failure)
        delay_us = fcgipm_tally_fail(&app->tally, w->born_us, m->now, fcgipm_manager_random(m));
    if (worked && !w->ready_us)
        w->ready_us = w->born_us;
    if (!worked)
        fcgipm_stat_start_failures_add(m->board, app->index, 1);
    /* Many applications end by themselves after some requests. */
    log_unexpected(w, pid, kind, status, failure, life_us, served, delay_us);
}

static void count_leave(const fcgipm_worker_t *w, bool asked)
{
    fcgipm_board_t *board = w->app->manager->board;
    uint32_t pool = w->app->index;

    switch (w->leave) {
    case FCGIPM_LEAVE_NONE:
        if (!asked && w->ready_us)
            fcgipm_stat_crashed_add(board, pool, 1);
        break;
    case FCGIPM_LEAVE_IDLE:
        fcgipm_stat_idled_add(board, pool, 1);
        break;
    case FCGIPM_LEAVE_RECYCLED:
        fcgipm_stat_recycled_add(board, pool, 1);
        break;
    case FCGIPM_LEAVE_RESTARTED:
        fcgipm_stat_restarted_add(board, pool, 1);
        break;
    case FCGIPM_LEAVE_EVICTED:
        fcgipm_stat_evicted_add(board, pool, 1);
        break;
    case FCGIPM_LEAVE_HUNG:
        fcgipm_stat_hung_add(board, pool, 1);
        break;
    case FCGIPM_LEAVE_UNRESPONSIVE:
        fcgipm_stat_unresponsive_add(board, pool, 1);
        break;
    case FCGIPM_LEAVE_TOLD:
        break;
    }
}

/* Its listening socket stays open for now: who waits in the backlog is served by the next worker in this
 * place, which fcgipm_app_tend starts in this same turn of the loop, or else closes the socket. */
void fcgipm_worker_died(fcgipm_worker_t *w, int status)
{
    fcgipm_manager_t *m = w->app->manager;
    bool asked =
        (w->state == FCGIPM_SLOT_ENDING || w->state == FCGIPM_SLOT_DRAINING) && !w->hung && !w->failed;
    uint64_t served = fcgipm_atom_peek(&m->board->slot[w->row].requests);
    int64_t life_us = m->now - (w->ready_us ? w->ready_us : w->born_us);
    bool busy = fcgipm_worker_busy(w);
    pid_t pid = w->pid;
    const char *oom = out_of_memory(w, status);
    char kind[128];

    /* Somebody waited in its backlog and does no longer: it has taken his request, ready or not. Or he came
     * after its start, with the seat of its predecessor; what waits then may be our own question, so that is
     * believed only once. */
    w->taken = (w->owed && !fcgipm_worker_owed(w)) || (w->heir && (w->probe || !fcgipm_worker_owed(w)));
    w->heir = busy && w->ready_us;
    shut_seats(w);
    if (w->out_fd >= 0)
        fcgipm_output_end(w->output, w->out_fd, m->now);
    if (w->report_fd >= 0)
        fcgipm_worker_on_report(w); /* it may have told how far it came in the same turn in which it died */
    forget_process(w);
    step(w, FCGIPM_SLOT_EV_DIED);
    exit_kind(kind, sizeof kind, status, oom);
    if (oom)
        fcgipm_stat_oom_killed_add(m->board, w->app->index, 1);
    count_leave(w, asked);
    if (asked) {
        log_expected(w, pid, kind, life_us, served);
        fcgipm_worker_clear(w);
    } else {
        mourn(w, pid, kind, status, busy, life_us, served);
    }
    step(w, FCGIPM_SLOT_EV_CLEAR);
}

/* --- what time brings --- */

/* What a worker that has not become ready has not done. */
static const char *awaited(const fcgipm_worker_t *w)
{
    const fcgipm_setting_t *s = w->app->setting;

    if (s->ready == FCGIPM_READY_NOTIFY && !w->notified)
        return "has not said READY=1";
    if (!w->probe)
        return "does not accept connections on descriptor 0";
    return s->probe                          ? "does not answer FcgiProbe"
           : s->ready == FCGIPM_READY_ANSWER ? "does not answer FCGI_GET_VALUES (FcgiReady Answer)"
                                             : "does not accept connections on descriptor 0";
}

static int64_t tend_starting(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;

    if (w->exec_done && m->now >= w->probe_at_us)
        probe(w);
    if (w->state != FCGIPM_SLOT_STARTING)
        return INT64_MAX;
    if (m->now >= w->start_by_us) {
        if (!w->why[0])
            snprintf(w->why, sizeof w->why, "%s after %d s (FcgiTimeout start=)", awaited(w),
                     (int)(w->app->setting->start_us / 1000000));
        end_probe(w);
        w->failed = true;
        shut_seats(w);
        w->kill_at_us = m->now + w->app->setting->stop_us;
        step(w, FCGIPM_SLOT_EV_STOP);
        signal_group(w, SIGKILL);
        return w->kill_at_us;
    }
    if (w->exec_done && w->probe_at_us < w->start_by_us)
        return w->probe_at_us;
    return w->start_by_us;
}

static int64_t tend_draining(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;
    int64_t limit;

    fcgipm_seats_mend(m->board, &w->app->geometry, w->slot);
    if (w->app->setting->connect) {
        if (fcgipm_worker_busy(w) && m->now < w->drain_by_us)
            return m->now + DRAIN_LOOK_US;
        shut_seats(w);
        step(w, FCGIPM_SLOT_EV_DIED);
        step(w, FCGIPM_SLOT_EV_CLEAR);
        return INT64_MAX;
    }
    if ((w->dumped || !fcgipm_seats_closed(m->board, &w->app->geometry, w->slot)) && m->now < w->drain_by_us)
        return m->now + DRAIN_LOOK_US;
    limit = w->app->setting->stop_us;
    fcgipm_worker_stop(w, w->hung && limit > HUNG_STOP_US ? HUNG_STOP_US : limit, w->leave, NULL);
    return w->kill_at_us;
}

static int64_t tend_ending(fcgipm_worker_t *w)
{
    fcgipm_manager_t *m = w->app->manager;

    if (m->now < w->kill_at_us)
        return w->kill_at_us;
    w->kills++;
    if (w->kills == 1)
        fcgipm_stat_kills_add(m->board, w->app->index, 1);
    if (w->kills > 1 && (w->kills & (w->kills - 1)) == 0) /* ever less often: it may last for days */
        FCGIPM_LOG(461, FCGIPM_LOG_ERR, 0, w->app->setting->scope,
                   "pool %s slot %u pid %d: KILL does not end it, for %u s: it waits in the kernel, as for a "
                   "file system that does not answer; httpd stops without it",
                   w->app->setting->name, w->slot, (int)w->pid, w->kills - 1);
    if (w->kills == 1)
        FCGIPM_LOG(318, FCGIPM_LOG_WARN, 0, w->app->setting->scope,
                   "pool %s slot %u pid %d: did not end after TERM (FcgiTimeout stop=): KILL",
                   w->app->setting->name, w->slot, (int)w->pid);
    signal_group(w, SIGKILL);
    if (still_there(w) && fcgipm_stray_untrace(w->pid))
        FCGIPM_LOG(420, FCGIPM_LOG_WARN, 0, w->app->setting->scope,
                   "pool %s slot %u pid %d: the process that traced it and held its end back is killed",
                   w->app->setting->name, w->slot, (int)w->pid);
    w->kill_at_us = m->now + 1000000;
    return w->kill_at_us;
}

bool fcgipm_worker_undead(const fcgipm_worker_t *w)
{
    return w->kills > KILLS_MOST;
}

int64_t fcgipm_worker_tend(fcgipm_worker_t *w)
{
    switch (w->state) {
    case FCGIPM_SLOT_STARTING:
        return tend_starting(w);
    case FCGIPM_SLOT_READY:
        return fcgipm_alive_tend(w);
    case FCGIPM_SLOT_DRAINING:
        return tend_draining(w);
    case FCGIPM_SLOT_ENDING:
        return tend_ending(w);
    default:
        return INT64_MAX;
    }
}
