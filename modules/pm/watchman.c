/* SPDX-License-Identifier: Apache-2.0 */
/* What is looked at now and then, over all pools: watched files, memory, stopped processes, and who makes
 * room for whom. */
#include "pm/manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <apr_strings.h>

#include "core/log.h"
#include "pm/memory.h"
#include "pm/pidfd.h"

#define WATCH_US       FCGIPM_TICK_US
#define MEMORY_US      10000000
#define STOPPED_US     20000000
#define RETIRE_LOOK_US 500000

static void each_worker(fcgipm_manager_t *m, void (*act)(fcgipm_worker_t *w))
{
    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++)
            act(&m->apps[i]->workers[slot]);
}

/* --- watched files --- */

static bool watch_files(fcgipm_manager_t *m)
{
    bool any = false;

    for (uint32_t i = 0; i < m->app_end; i++) {
        fcgipm_app_t *app = m->apps[i];

        if (!app || !app->configured || !app->watched)
            continue;
        any = true;
        if (fcgipm_refresh_changed(app))
            fcgipm_refresh_restart(app, "a file of FcgiWatch has changed");
    }
    return any;
}

/* --- memory --- */

static bool wants_memory(const fcgipm_manager_t *m, const fcgipm_app_t *app)
{
    const fcgipm_global_t *global = &m->world->global;

    return global->memory_bytes || app->setting->recycle_memory_bytes ||
           (global->user_memory_bytes && app->account);
}

static size_t list_sessions(const fcgipm_manager_t *m, fcgipm_memory_t *list)
{
    size_t count = 0;

    for (uint32_t i = 0; i < m->app_end; i++) {
        const fcgipm_app_t *app = m->apps[i];

        for (uint32_t slot = 0; app && wants_memory(m, app) && slot < app->geometry.slot_count; slot++)
            if (app->workers[slot].pid > 1) {
                if (list)
                    list[count] =
                        (fcgipm_memory_t){.session = app->workers[slot].pid,
                                          .rss = app->setting->recycle_measure == FCGIPM_MEASURE_RSS};
                count++;
            }
    }
    return count;
}

static const fcgipm_memory_t *find_session(const fcgipm_memory_t *list, size_t count, pid_t pid)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list[middle].session < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && list[low].session == pid ? &list[low] : NULL;
}

static void each_account(fcgipm_manager_t *m, void (*act)(fcgipm_manager_t *m, fcgipm_account_t *account))
{
    for (apr_hash_index_t *i = m->users ? apr_hash_first(NULL, m->users) : NULL; i; i = apr_hash_next(i))
        act(m, apr_hash_this_val(i));
}

static void forget_memory(fcgipm_manager_t *m, fcgipm_account_t *account)
{
    (void)m;
    account->memory = 0;
}

static void measure(fcgipm_manager_t *m)
{
    size_t count = list_sessions(m, NULL);
    fcgipm_memory_t *list = count ? malloc(count * sizeof *list) : NULL;

    m->memory = 0;
    each_account(m, forget_memory);
    if (!list)
        return;
    list_sessions(m, list);
    fcgipm_memory_measure(list, count);
    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++) {
            fcgipm_worker_t *w = &m->apps[i]->workers[slot];
            const fcgipm_memory_t *found = w->pid > 1 ? find_session(list, count, w->pid) : NULL;

            if (!found)
                continue;
            w->memory = found->bytes;
            m->memory += found->pss;
            if (m->apps[i]->account)
                m->apps[i]->account->memory += found->pss;
            fcgipm_atom_put(&m->board->slot[w->row].memory, found->bytes);
        }
    free(list);
    m->again = true;
}

/* --- making room --- */

/* When it last had a request: the board's word for it if that is possible, else what we know ourselves. */
static int64_t last_use(const fcgipm_worker_t *w)
{
    const fcgipm_manager_t *m = w->app->manager;
    int64_t used = (int64_t)fcgipm_atom_peek(&m->board->slot[w->row].used_us);

    return used > w->ready_us && used <= fcgipm_manager_clock() ? used : w->ready_us;
}

/* account: of its pools only; NULL: of all. */
static size_t list_idle(const fcgipm_manager_t *m, const fcgipm_account_t *account,
                        fcgipm_policy_candidate_t *list, size_t cap)
{
    size_t count = 0;

    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++) {
            fcgipm_worker_t *w = &m->apps[i]->workers[slot];

            if (account && m->apps[i]->account != account)
                break;
            if (w->state == FCGIPM_SLOT_READY && w->pid > 1 && !fcgipm_worker_busy(w) && count < cap)
                list[count++] =
                    (fcgipm_policy_candidate_t){.used_us = last_use(w), .memory = w->memory, .worker = w};
        }
    return count;
}

static void evict(fcgipm_manager_t *m, const fcgipm_account_t *account, uint32_t wanted, uint64_t bytes,
                  const char *why)
{
    size_t cap = m->processes + 1, count, gone;
    fcgipm_policy_candidate_t *list = malloc(cap * sizeof *list);

    if (!list)
        return;
    count = list_idle(m, account, list, cap);
    gone = fcgipm_policy_evict(list, count, wanted, bytes);
    for (size_t i = 0; i < gone; i++) {
        fcgipm_worker_t *w = list[i].worker;

        FCGIPM_LOG(374, FCGIPM_LOG_NOTICE, 0, w->app->setting->scope,
                   "pool %s slot %u pid %d: evicted, idle for %d s: %s", w->app->setting->name, w->slot,
                   (int)w->pid, (int)((m->now - list[i].used_us) / 1000000), why);
        fcgipm_worker_drain(w, FCGIPM_LEAVE_EVICTED, why);
        m->memory -= w->memory < m->memory ? w->memory : m->memory; /* for the next budget */
    }
    free(list);
}

static void count_one(fcgipm_worker_t *w)
{
    w->app->manager->processes += w->pid > 0;
    if (w->app->account)
        w->app->account->processes += w->pid > 0;
}

static void count_all(fcgipm_manager_t *m)
{
    m->processes = 0;
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i] && m->apps[i]->account && m->apps[i]->account->processes)
            m->apps[i]->account->processes = 0;
    for (uint32_t i = 0; i < m->app_end; i++) {
        if (!m->apps[i] || fcgipm_app_rests(m->apps[i]))
            continue;
        for (uint32_t slot = 0; slot < m->apps[i]->geometry.slot_count; slot++)
            count_one(&m->apps[i]->workers[slot]);
    }
}

void fcgipm_watchman_count(fcgipm_app_t *app)
{
    app->manager->processes++;
    if (app->account)
        app->account->processes++;
}

fcgipm_account_t *fcgipm_watchman_account(fcgipm_manager_t *m, const fcgipm_setting_t *s)
{
    fcgipm_account_t *account;

    if (!s->user || s->connect)
        return NULL;
    if (!m->users)
        m->users = apr_hash_make(m->pool);
    if (!(account = apr_hash_get(m->users, s->user, APR_HASH_KEY_STRING))) {
        account = apr_pcalloc(m->pool, sizeof *account);
        account->name = apr_pstrdup(m->pool, s->user);
        account->number = apr_hash_count(m->users) + 1;
        apr_hash_set(m->users, account->name, APR_HASH_KEY_STRING, account);
    }
    return account;
}

bool fcgipm_watchman_mend(const fcgipm_app_t *app)
{
    fcgipm_board_pool_t *seen = &app->manager->board->pool[app->index];
    uint32_t account = app->account ? app->account->number : 0;

    if (fcgipm_atom_get(&seen->account) == account && fcgipm_atom_get(&seen->peer) == app->peer)
        return false;
    fcgipm_atom_set(&seen->account, account);
    fcgipm_atom_set(&seen->peer, app->peer);
    return true;
}

/* A ring: from each of them all can be found. */
void fcgipm_watchman_join(fcgipm_app_t *app)
{
    fcgipm_app_t *first;

    if (app->account && app->account->first) {
        first = app->manager->apps[app->account->first - 1];
        app->peer = first->peer;
        first->peer = app->index + 1;
        fcgipm_watchman_mend(app); /* before it can be come to */
        fcgipm_watchman_mend(first);
    } else if (app->account) {
        app->account->first = app->peer = app->index + 1;
    }
    fcgipm_watchman_mend(app);
}

void fcgipm_watchman_leave(fcgipm_app_t *app)
{
    fcgipm_app_t *before = app;

    if (!app->account)
        return;
    while (before->peer != app->index + 1)
        before = app->manager->apps[before->peer - 1];
    before->peer = app->peer;
    if (app->account->first == app->index + 1)
        app->account->first = before == app ? 0 : app->peer;
    app->account = NULL;
    app->peer = 0;
    if (before != app)
        fcgipm_watchman_mend(before);
    fcgipm_watchman_mend(app);
}

/* account: NULL: of all. */
static uint32_t leaving(const fcgipm_manager_t *m, const fcgipm_account_t *account)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++)
            count += (!account || m->apps[i]->account == account) &&
                     (m->apps[i]->workers[slot].state == FCGIPM_SLOT_DRAINING ||
                      m->apps[i]->workers[slot].state == FCGIPM_SLOT_ENDING);
    return count;
}

static void make_room_of_user(fcgipm_manager_t *m, const fcgipm_app_t *app)
{
    uint32_t going = leaving(m, app->account);
    char why[128];

    for (uint32_t slot = 0; slot < app->geometry.slot_count; slot++)
        if (app->workers[slot].state == FCGIPM_SLOT_READY && !fcgipm_worker_busy(&app->workers[slot]))
            return; /* one of its own came free meanwhile */
    if (going >= app->wanted)
        return;
    snprintf(why, sizeof why, "pool %.60s of the same user needs a process (FcgiUserWorkers %u)",
             app->setting->name, m->world->global.user_workers);
    evict(m, app->account, app->wanted - going, 0, why);
}

/* Those that leave already make room by themselves. */
static void make_room(fcgipm_manager_t *m)
{
    uint32_t wanted = 0, going;
    char why[128];

    for (uint32_t i = 0; i < m->app_end; i++) {
        if (!m->apps[i] || !m->apps[i]->wanted)
            continue;
        if (m->apps[i]->wanted_of_user)
            make_room_of_user(m, m->apps[i]);
        else
            wanted += m->apps[i]->wanted;
        m->apps[i]->wanted = 0;
    }
    if (wanted == 0 || (going = leaving(m, NULL)) >= wanted)
        return;
    snprintf(why, sizeof why, "others need a process (FcgiMaxWorkers %u)", m->world->global.max_workers);
    evict(m, NULL, wanted - going, 0, why);
}

static bool over_budget(const fcgipm_manager_t *m)
{
    return m->world->global.memory_bytes && m->memory > m->world->global.memory_bytes;
}

static bool user_over_budget(const fcgipm_manager_t *m, const fcgipm_account_t *account)
{
    return account && m->world->global.user_memory_bytes &&
           account->memory > m->world->global.user_memory_bytes;
}

static void keep_users_budget(fcgipm_manager_t *m, fcgipm_account_t *account)
{
    char why[160];

    if (!user_over_budget(m, account))
        return;
    snprintf(why, sizeof why, "all processes of user %.60s use %lluM (FcgiUserMemory %lluM)", account->name,
             (unsigned long long)(account->memory >> 20),
             (unsigned long long)(m->world->global.user_memory_bytes >> 20));
    evict(m, account, 0, account->memory - m->world->global.user_memory_bytes, why);
}

static void keep_budget(fcgipm_manager_t *m)
{
    char why[128];

    each_account(m, keep_users_budget);
    if (!over_budget(m))
        return;
    snprintf(why, sizeof why, "all processes use %lluM (FcgiMemoryBudget %lluM)",
             (unsigned long long)(m->memory >> 20),
             (unsigned long long)(m->world->global.memory_bytes >> 20));
    evict(m, NULL, 0, m->memory - m->world->global.memory_bytes, why);
}

static uint32_t left_of(uint32_t max, uint32_t processes)
{
    return max == 0 ? FCGIPM_POLICY_NO_LIMIT : processes < max ? max - processes : 0;
}

uint32_t fcgipm_watchman_room(const fcgipm_app_t *app, bool *of_user)
{
    const fcgipm_manager_t *m = app->manager;
    uint32_t room = left_of(m->world->global.max_workers, m->processes);
    uint32_t users = app->account ? left_of(m->world->global.user_workers, app->account->processes)
                                  : FCGIPM_POLICY_NO_LIMIT;

    *of_user = users < room;
    /* Short of memory, a pool that has a process does with it. */
    if ((over_budget(m) || user_over_budget(m, app->account)) &&
        (fcgipm_app_count(app, FCGIPM_SLOT_READY) || app->needed_us == 0))
        return 0;
    return *of_user ? users : room;
}

/* --- another module has taken over --- */

/* The oldest configuration that an httpd child has; UINT32_MAX: there is none. A child's number comes from
 * the board, so it is only compared with what the kernel says. (Who writes another's generation there could
 * as well write where its requests go.) */
static uint32_t oldest_child(const fcgipm_manager_t *m)
{
    uint32_t oldest = UINT32_MAX, rows = 0;
    fcgipm_pidfd_stat_t stat;

    for (uint32_t i = 0; i < FCGIPM_CHILDREN_MAX; i++) {
        pid_t pid = (pid_t)fcgipm_atom_peek(&m->board->child[i].pid);
        uint32_t generation = fcgipm_atom_peek(&m->board->child[i].generation);

        rows += pid != 0;
        if (generation < oldest && pid > 1 && pid != getpid() && fcgipm_pidfd_stat(pid, &stat) &&
            stat.ppid == getppid() && !stat.dead)
            oldest = generation;
    }
    return rows == FCGIPM_CHILDREN_MAX ? 0 : oldest; /* one more would have no row */
}

bool fcgipm_watchman_child_before(fcgipm_manager_t *m, uint32_t generation)
{
    if (!m->children_looked_us || m->now - m->children_looked_us >= 1000000) {
        m->children_looked_us = m->now;
        m->oldest_child = oldest_child(m);
    }
    return m->oldest_child < generation;
}

static int64_t tend_retiring(fcgipm_manager_t *m)
{
    if (oldest_child(m) != UINT32_MAX && m->now < m->retire_by_us)
        return m->now + RETIRE_LOOK_US;
    fcgipm_loop_stop(m);
    return m->now;
}

/* --- when --- */

static int64_t due(const fcgipm_manager_t *m, int64_t *at, int64_t every, bool *is_due)
{
    *is_due = m->now >= *at;
    if (*is_due)
        *at = fcgipm_manager_tick(m, every);
    return *at;
}

static bool any_memory(const fcgipm_manager_t *m)
{
    if (m->world->global.memory_bytes || (m->world->global.user_memory_bytes && m->users))
        return true;
    for (uint32_t i = 0; i < m->app_end; i++)
        if (m->apps[i] && m->apps[i]->setting->recycle_memory_bytes)
            return true;
    return false;
}

int64_t fcgipm_watchman_tend(fcgipm_manager_t *m)
{
    int64_t next = INT64_MAX, at;
    bool is_due;

    count_all(m);
    if (m->stopping)
        return INT64_MAX;
    if (m->retiring)
        next = tend_retiring(m);
    make_room(m);
    at = due(m, &m->watch_at_us, WATCH_US, &is_due);
    if ((!is_due || watch_files(m)) && at < next) /* without any nobody needs to be woken for them */
        next = at;
    if (any_memory(m)) {
        at = due(m, &m->memory_at_us, MEMORY_US, &is_due);
        if (is_due) {
            measure(m);
            keep_budget(m);
        }
        next = at < next ? at : next;
    }
    at = due(m, &m->stopped_at_us, STOPPED_US, &is_due);
    if (is_due) {
        each_worker(m, fcgipm_alive_look);
        fcgipm_mend_look(m);
        m->oom_kills = fcgipm_memory_oom_kills(); /* older ones explain no death that is still to come */
    }
    return at < next ? at : next;
}
