/* SPDX-License-Identifier: Apache-2.0 */
/* Pools that httpd's children ask for: programs on disk (fcgipm-script) and the pools of templates. Whoever
 * asks may be hostile. He names a template and a virtual host by keys, which are looked up here, and a file,
 * which is looked at here; whose pool it becomes follows from these alone. */
#include "pm/manager.h"

#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <apr_strings.h>

#include "core/log.h"
#include "core/owner.h"
#include "pm/seats.h"
#include "share/board.h"

#define ASKED_PER_SECOND 1000 /* files that are looked at for it */
#define MADE_PER_SECOND  200
#define MADE_OF_PARTY    100      /* of them for one customer */
#define NEW_US           2000000  /* one that was just made stays until who asked for it has found it */
#define LEAVES_US        300000   /* so long one that leaves is waited for */
#define CROWDED_US       100000   /* so often one customer can have it looked at who might go */
#define LONG_US          30000000 /* one that was not used for so long goes for anybody */
#define UNUSED_US        5000000  /* without a process, and nobody asks */
#define FAILED_US        60000000 /* ... one that did not start: its delay must not begin anew with each request */

static uint32_t row_of(const fcgipm_app_t *app)
{
    return app->index - FCGIPM_POOLS_STATIC;
}

/* --- what the configuration says --- */

void fcgipm_ondemand_learn(fcgipm_manager_t *m, const fcgipm_world_t *world)
{
    apr_pool_t *pool = world->pools->pool;

    m->templates = apr_hash_make(pool);
    m->sites = apr_hash_make(pool);
    m->accounts = apr_hash_make(pool);
    for (int i = 0; i < world->templates->nelts; i++) {
        const fcgipm_world_template_t *t = &APR_ARRAY_IDX(world->templates, i, fcgipm_world_template_t);

        if (!fcgipm_demand_fits(t->setting, pool))
            apr_hash_set(m->templates, &t->key, sizeof t->key, t);
    }
    for (int i = 0; i < world->sites->nelts; i++) {
        const fcgipm_world_site_t *site = &APR_ARRAY_IDX(world->sites, i, fcgipm_world_site_t);

        apr_hash_set(m->sites, &site->key, sizeof site->key, site);
        if (site->user)
            apr_hash_set(m->accounts,
                         apr_pstrcat(pool, site->user, ":", site->group ? site->group : "", NULL),
                         APR_HASH_KEY_STRING, site);
    }
}

/* --- the settings of one --- */

static const char *script_name(const char *path, apr_pool_t *pool)
{
    char *name = apr_pstrndup(pool, strrchr(path, '/') + 1, 63);

    for (char *c = name; *c; c++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *c))
            *c = '_';
    return name;
}

static apr_status_t script_setting(fcgipm_setting_t *s, bool allowed, const char *path, apr_pool_t *pool,
                                   fcgipm_fault_t *fault)
{
    if (!allowed)
        return fcgipm_fault_set(fault, APR_EACCES, "script", "fcgipm-script is not used");
    fcgipm_setting_defaults(s, pool);
    s->name = script_name(path, pool);
    s->processes_min = 0;
    s->command = apr_array_make(pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(s->command, const char *) = apr_pstrdup(pool, path);
    fcgipm_setting_finish(s);
    return APR_SUCCESS;
}

static apr_array_header_t *expand_all(const apr_array_header_t *list, const char *user, apr_pool_t *pool)
{
    apr_array_header_t *all;

    if (!list)
        return NULL;
    all = apr_array_make(pool, list->nelts + 1, sizeof(const char *));
    for (int i = 0; i < list->nelts; i++)
        APR_ARRAY_PUSH(all, const char *) =
            fcgipm_owner_expand(APR_ARRAY_IDX(list, i, const char *), user, pool);
    return all;
}

static const char *httpd_user(const fcgipm_manager_t *m)
{
    const struct passwd *pw = getpwuid(m->uid);

    return pw ? pw->pw_name : "httpd";
}

/* Whom its pools belong to is settled: they are as any other. */
static apr_status_t template_setting(fcgipm_manager_t *m, fcgipm_setting_t *s, const fcgipm_demand_t *what,
                                     apr_pool_t *pool, fcgipm_fault_t *fault)
{
    const fcgipm_world_template_t *t = apr_hash_get(m->templates, &what->block, sizeof what->block);
    size_t account = fcgipm_demand_account_len(what);
    const char *said;
    apr_status_t rv;

    if (!t)
        return fcgipm_fault_set(fault, APR_ENOENT, "template", "it is no longer configured");
    *s = *t->setting;
    if (s->user_from == FCGIPM_USER_SUEXEC && !apr_hash_get(m->accounts, what->text, (apr_ssize_t)account))
        return fcgipm_fault_set(fault, APR_ENOENT, "template", "no virtual host has this SuexecUserGroup");
    if ((rv = fcgipm_demand_account(what, t->setting, &s->user, &s->group, pool, fault)) != APR_SUCCESS)
        return rv;
    if (what->text[account] && what->text[account + 1]) /* vhost=On: two of the same user */
        s->vhost = apr_pstrdup(pool, what->text + account + 1);
    said = s->user ? s->user : *what->text ? what->text : "-";
    s->name = apr_pstrndup(pool, apr_pstrcat(pool, s->name, ":", said, NULL), 63);
    said = s->user ? s->user : httpd_user(m);
    s->command = expand_all(s->command, said, pool);
    s->env = expand_all(s->env, said, pool);
    s->watch = expand_all(s->watch, said, pool);
    s->directory = s->directory ? fcgipm_owner_expand(s->directory, said, pool) : NULL;
    s->user_from = FCGIPM_USER_SAID;
    s->user_path = s->user_below = NULL;
    return APR_SUCCESS;
}

static apr_status_t setting_of(fcgipm_manager_t *m, const fcgipm_world_t *world, fcgipm_setting_t *s,
                               const fcgipm_demand_t *what, apr_pool_t *pool, fcgipm_fault_t *fault)
{
    return what->kind == FCGIPM_DEMAND_SCRIPT
               ? script_setting(s, world->scripts != 0, what->text, pool, fault)
               : template_setting(m, s, what, pool, fault);
}

/* --- the table on the board --- */

/* From our own rows: the board is written, never read. */
static void write_chain(fcgipm_manager_t *m, uint32_t chain)
{
    for (uint32_t next = m->chain[chain]; next;) {
        const fcgipm_app_t *app = m->apps[FCGIPM_POOLS_STATIC + next - 1];

        fcgipm_atom_set(&m->board->demand[next - 1].next, app->next_row);
        next = app->next_row;
    }
    fcgipm_atom_set(&m->board->chain[chain], m->chain[chain]);
}

static void list(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    uint32_t chain = (uint32_t)(app->key % FCGIPM_DEMAND_CHAINS);

    app->next_row = m->chain[chain];
    m->chain[chain] = row_of(app) + 1;
    write_chain(m, chain);
}

void fcgipm_ondemand_unlist(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    uint32_t chain = (uint32_t)(app->key % FCGIPM_DEMAND_CHAINS), *at = &m->chain[chain];

    while (*at && *at != row_of(app) + 1)
        at = &m->apps[FCGIPM_POOLS_STATIC + *at - 1]->next_row;
    if (*at)
        *at = app->next_row;
    write_chain(m, chain);
}

static fcgipm_app_t *find(const fcgipm_manager_t *m, const fcgipm_demand_t *what)
{
    for (uint32_t next = m->chain[fcgipm_demand_key(what) % FCGIPM_DEMAND_CHAINS]; next;) {
        fcgipm_app_t *app = m->apps[FCGIPM_POOLS_STATIC + next - 1];

        if (fcgipm_demand_same(app->what, what))
            return app;
        next = app->next_row;
    }
    return NULL;
}

static void publish_end(fcgipm_manager_t *m)
{
    uint32_t end = m->app_end > FCGIPM_POOLS_STATIC ? m->app_end - FCGIPM_POOLS_STATIC : 0;

    fcgipm_atom_set(&m->board->demand_end, end);
}

/* --- one begins --- */

/* Nothing that a child still holds of the index's last pool fits: each seat has another epoch now. */
static void clear_rows(fcgipm_manager_t *m, uint32_t row)
{
    fcgipm_board_t *board = m->board;
    fcgipm_geometry_t all = {.seat_first = FCGIPM_SEATS_STATIC + row * FCGIPM_DEMAND_SEATS,
                             .slot_count = 1,
                             .concurrency = FCGIPM_DEMAND_SEATS};

    fcgipm_seats_shut(board, &all, 0);
    for (uint32_t i = 0; i < FCGIPM_DEMAND_CELLS; i++)
        fcgipm_atom_set(&board->cell[FCGIPM_CELLS_STATIC + row * FCGIPM_DEMAND_CELLS + i], 0);
    memset(&board->slot[FCGIPM_SLOTS_STATIC + row * FCGIPM_DEMAND_SLOTS], 0,
           sizeof board->slot[0] * FCGIPM_DEMAND_SLOTS);
}

/* `ticket` and `joins` are the children's and go on: a place in an old queue must not look like one of ours.
 */
static void write_board(const fcgipm_app_t *app)
{
    fcgipm_board_t *board = app->manager->board;
    fcgipm_board_pool_t *seen = &board->pool[app->index];

    seen->geometry = app->geometry;
    seen->external = 0;
    seen->stat_row = app->index; /* the rows of static pools lie below */
    memset(seen->name, 0, sizeof seen->name);
    memset(seen->vhost, 0, sizeof seen->vhost);
    strncpy(seen->name, app->setting->name, sizeof seen->name - 1);
    strncpy(seen->vhost, app->setting->vhost, sizeof seen->vhost - 1);
    fcgipm_atom_set(&seen->waiting, 0);
    fcgipm_atom_set(&seen->flags, 0);
    fcgipm_atom_set(&seen->restart, 0);
    fcgipm_atom_set(&seen->trouble_us, 0);
    fcgipm_atom_set(&seen->route, app->index);
    fcgipm_atom_set(&seen->state, FCGIPM_POOL_WARMING);
    fcgipm_atom_set(&seen->key, app->key);
    memset(&board->stat[app->index], 0, sizeof board->stat[app->index]);
}

static void write_registry(const fcgipm_app_t *app)
{
    fcgipm_registry_t *registry = app->manager->registry;
    fcgipm_registry_pool_t *row = &registry->pool[app->index];
    fcgipm_registry_demand_t *demand = &registry->demand[row_of(app)];

    demand->life++;
    demand->what = *app->what;
    row->key = app->key;
    row->fingerprint = app->fingerprint;
    row->external = 0;
    row->geometry = app->geometry;
    row->stat_row = app->index;
    fcgipm_atom_set(&row->used, FCGIPM_ROW_USED);
}

static void write_demand(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;
    fcgipm_board_demand_t *seen = &m->board->demand[row_of(app)];

    fcgipm_atom_set(&seen->life, 0);
    atomic_thread_fence(memory_order_seq_cst);
    seen->what = *app->what;
    fcgipm_atom_set(&seen->life, m->registry->demand[row_of(app)].life);
}

/* From here on children find it. */
static void publish(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;
    fcgipm_board_demand_t *seen = &m->board->demand[row_of(app)];

    /* (After the death of a manager it stands there, and requests rely on it.) */
    if (fcgipm_atom_get(&seen->life) != m->registry->demand[row_of(app)].life ||
        memcmp(&seen->what, app->what, sizeof seen->what))
        write_demand(app);
    list(app);
    publish_end(m);
    fcgipm_demand_wake(m->board);
}

static bool is_published(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;
    fcgipm_board_demand_t *seen = &m->board->demand[row_of(app)];

    return fcgipm_atom_get(&seen->life) == m->registry->demand[row_of(app)].life &&
           !memcmp(&seen->what, app->what, sizeof seen->what) &&
           fcgipm_atom_get(&seen->next) == app->next_row;
}

static bool is_on_demand(const fcgipm_app_t *app)
{
    return app && app->what && app->configured;
}

bool fcgipm_ondemand_mend(fcgipm_manager_t *m)
{
    bool differs = false;

    publish_end(m); /* views go by it: a hint that may lag behind */
    for (uint32_t chain = 0; chain < FCGIPM_DEMAND_CHAINS && !differs; chain++)
        differs = fcgipm_atom_get(&m->board->chain[chain]) != m->chain[chain];
    for (uint32_t i = FCGIPM_POOLS_STATIC; i < m->app_end && !differs; i++)
        differs = is_on_demand(m->apps[i]) && !is_published(m->apps[i]);
    if (!differs)
        return false;
    for (uint32_t i = FCGIPM_POOLS_STATIC; i < m->app_end; i++)
        if (is_on_demand(m->apps[i]))
            write_demand(m->apps[i]);
    for (uint32_t chain = 0; chain < FCGIPM_DEMAND_CHAINS; chain++)
        write_chain(m, chain);
    return true;
}

/* Pools of one account count together, whatever they are for; so do programs that lie in one account's
 * directories, although all of them run as httpd's own, and a virtual host's where it is what pools are for.
 */
static uint64_t party_number(const fcgipm_demand_t *what, const fcgipm_setting_t *s, apr_pool_t *pool)
{
    const struct passwd *pw = s->user ? getpwnam(s->user) : NULL;
    struct stat st;

    if (pw)
        return pw->pw_uid;
    if (what->kind == FCGIPM_DEMAND_SCRIPT) {
        const char *slash = strrchr(what->text, '/');
        const char *dir = apr_pstrmemdup(pool, what->text, (apr_size_t)(slash - what->text) + 1);

        return stat(dir, &st) == 0 ? st.st_uid : UINT32_MAX;
    }
    return fcgipm_demand_key(what) | 1ull << 32;
}

static fcgipm_party_t *party_of(fcgipm_manager_t *m, const fcgipm_demand_t *what, const fcgipm_setting_t *s,
                                apr_pool_t *scratch)
{
    uint64_t number = party_number(what, s, scratch);
    fcgipm_party_t *party;

    if (!m->parties)
        m->parties = apr_hash_make(m->pool);
    if (!(party = apr_hash_get(m->parties, &number, sizeof number))) {
        party = apr_pcalloc(m->pool, sizeof *party);
        apr_hash_set(m->parties, apr_pmemdup(m->pool, &number, sizeof number), sizeof number, party);
    }
    return party;
}

static fcgipm_app_t *create(fcgipm_manager_t *m, uint32_t index, const fcgipm_demand_t *what,
                            const fcgipm_setting_t *s, fcgipm_party_t *party)
{
    fcgipm_geometry_t g = fcgipm_demand_geometry(index, s);
    fcgipm_app_t *app =
        fcgipm_app_create(m, index, &g, fcgipm_demand_key(what), fcgipm_setting_fingerprint(s), s);

    if (!app)
        return NULL;
    app->what = apr_pmemdup(app->pool, what, sizeof *what);
    app->unused_us = app->made_us = m->now;
    app->party = party;
    party->pools++;
    m->demand_count++;
    return app;
}

void fcgipm_ondemand_forget(fcgipm_app_t *app)
{
    fcgipm_manager_t *m = app->manager;

    fcgipm_atom_set(&m->board->demand[row_of(app)].life, 0);
    m->demand_count--;
    app->party->pools--;
    publish_end(m);
}

/* --- one ends --- */

int64_t fcgipm_ondemand_tend(fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;
    int64_t end;

    if (fcgipm_app_processes(app) || fcgipm_app_in_use(app) || app->needed_us) {
        app->unused_us = m->now;
        return INT64_MAX; /* there is a turn when that changes */
    }
    if (app->flags & (FCGIPM_POOL_PAUSED | FCGIPM_POOL_DRAINED)) /* an operator's order stands */
        return INT64_MAX;
    end = app->unused_us + UNUSED_US;
    if (app->tally.failures && end < app->tally.failed_us + FAILED_US)
        end = app->tally.failed_us + FAILED_US;
    if (m->now < end)
        return end;
    FCGIPM_LOG(431, FCGIPM_LOG_DEBUG, 0, app->setting->scope, "pool %s: nobody uses it any more",
               app->setting->name);
    fcgipm_app_retire(app);
    return m->now;
}

static int64_t last_use(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;
    int64_t last = app->unused_us;

    if (fcgipm_app_processes(app) == 0)
        return last;
    last = 0;
    for (uint32_t i = 0; i < app->geometry.slot_count; i++)
        if (app->workers[i].pid && app->workers[i].idle_since_us > last)
            last = app->workers[i].idle_since_us;
    return last < m->now ? last : m->now;
}

/* Of one customer at most: the rest is for others, however many busy ones he has. */
static uint32_t most_of_party(const fcgipm_manager_t *m)
{
    uint32_t most = m->world->global.demand_pools;

    return most - most / 8;
}

static bool is_idle(const fcgipm_app_t *app)
{
    const fcgipm_manager_t *m = app->manager;

    return is_on_demand(app) && (app->was_ready || m->now - app->made_us >= NEW_US) &&
           !fcgipm_app_in_use(app) && !app->needed_us && !fcgipm_app_count(app, FCGIPM_SLOT_STARTING);
}

/* May one of `party` have its place? Nobody takes from who has less, but what has not been used for long. */
static bool may_go(const fcgipm_app_t *app, const fcgipm_party_t *party)
{
    return app->party == party ||
           (party->pools < most_of_party(app->manager) &&
            (app->party->pools > party->pools || app->manager->now - last_use(app) >= LONG_US));
}

/* Of those who have most, the one that was used longest ago. */
static bool goes_before(const fcgipm_app_t *app, const fcgipm_app_t *than)
{
    return !than || app->party->pools > than->party->pools ||
           (app->party->pools == than->party->pools && last_use(app) < last_use(than));
}

/* For another one of `party`. What is leaving already makes room, too, but is not waited for if it takes its
 * time. False: there is none that could go. */
static bool make_room(fcgipm_manager_t *m, fcgipm_party_t *party)
{
    fcgipm_app_t *found = NULL;

    if (m->now - party->crowded_us < CROWDED_US)
        return false;
    party->crowded_us = m->now;
    for (uint32_t i = FCGIPM_POOLS_STATIC; i < m->app_end; i++) {
        fcgipm_app_t *app = m->apps[i];

        if (!app || !app->what)
            continue;
        if (!app->configured && !fcgipm_app_in_use(app) && m->now - m->room_us < LEAVES_US)
            return false;
        if (is_idle(app) && may_go(app, party) && goes_before(app, found))
            found = app;
    }
    if (!found)
        return false;
    FCGIPM_LOG(432, FCGIPM_LOG_INFO, 0, found->setting->scope,
               "pool %s: idle for %d s, makes room for another one (FcgiDemandPools %u)",
               found->setting->name, (int)((m->now - last_use(found)) / 1000000),
               m->world->global.demand_pools);
    fcgipm_app_retire(found);
    found->quiet_us = found->retired_us = 0; /* at once */
    m->room_us = m->now;
    party->crowded_us = 0;
    m->again = true;
    return true;
}

/* --- asking --- */

/* It shall be a plain program that says what it is; it runs as httpd's user only. */
static bool script_ok(const char *path)
{
    char real[PATH_MAX];
    struct stat st;

    return path[0] == '/' && realpath(path, real) && !strcmp(real, path) && stat(path, &st) == 0 &&
           S_ISREG(st.st_mode) && (st.st_mode & 0111) && !(st.st_mode & (S_ISUID | S_ISGID));
}

static apr_status_t what_is_asked(fcgipm_manager_t *m, fcgipm_demand_t *what, const fcgipm_msg_t *msg,
                                  fcgipm_fault_t *fault)
{
    const fcgipm_world_site_t *site;
    const fcgipm_world_template_t *t;

    if (msg->type == FCGIPM_MSG_SCRIPT) {
        if (!m->world->scripts || !script_ok(msg->path) ||
            !fcgipm_demand_set(what, FCGIPM_DEMAND_SCRIPT, 0, 0, msg->path))
            return fcgipm_fault_set(fault, APR_EACCES, "script", "not a program that may be started so");
        return APR_SUCCESS;
    }
    t = apr_hash_get(m->templates, &msg->block, sizeof msg->block);
    if (!t)
        return fcgipm_fault_set(fault, APR_ENOENT, "template", "there is no such template");
    /* Else one virtual host's own command could be had with another's user. */
    site = apr_hash_get(m->sites, &msg->site, sizeof msg->site);
    if (*t->vhost && (!site || strcmp(site->vhost, t->vhost)))
        return fcgipm_fault_set(fault, APR_EACCES, "template", "the template %s is another virtual host's",
                                t->setting->name);
    return fcgipm_demand_of(what, t, site, msg->path_len ? msg->path : NULL, fault);
}

static bool too_many(fcgipm_manager_t *m)
{
    if (m->now - m->demand_window_us >= 1000000) {
        m->demand_window_us = m->now;
        m->demand_asked = m->demand_made = 0;
    }
    return ++m->demand_asked > ASKED_PER_SECOND || m->demand_made >= MADE_PER_SECOND;
}

static bool too_many_of(const fcgipm_manager_t *m, fcgipm_party_t *party)
{
    if (m->now - party->window_us >= 1000000) {
        party->window_us = m->now;
        party->made = 0;
    }
    return party->made >= MADE_OF_PARTY;
}

static uint32_t free_index(const fcgipm_manager_t *m)
{
    uint32_t most = m->world->global.demand_pools, index = FCGIPM_POOLS_STATIC;

    if (most && m->demand_count >= most)
        return FCGIPM_POOLS_MAX;
    while (index < FCGIPM_POOLS_MAX && (m->apps[index] || fcgipm_atom_get(&m->registry->pool[index].used)))
        index++;
    return index;
}

static apr_status_t make(fcgipm_manager_t *m, const fcgipm_demand_t *what, apr_pool_t *scratch,
                         fcgipm_fault_t *fault)
{
    uint32_t index = free_index(m);
    fcgipm_setting_t s = {0};
    fcgipm_party_t *party;
    fcgipm_app_t *app;
    apr_status_t rv = setting_of(m, m->world, &s, what, scratch, fault);

    if (rv != APR_SUCCESS)
        return rv;
    party = party_of(m, what, &s, scratch);
    if (too_many_of(m, party))
        return APR_SUCCESS; /* it is asked for again */
    if (index >= FCGIPM_POOLS_MAX || party->pools >= most_of_party(m)) {
        if (make_room(m, party))
            m->room_for = *what;
        return APR_SUCCESS;
    }
    m->registry->pool[index].flags = m->registry->pool[index].scaled_max = 0; /* orders for another one */
    if (!(app = create(m, index, what, &s, party)))
        return APR_EGENERAL;
    m->demand_made++;
    party->made++;
    clear_rows(m, row_of(app));
    write_registry(app);
    write_board(app);
    publish(app);
    FCGIPM_LOG(341, FCGIPM_LOG_INFO, 0, app->setting->scope, "pool %s made for %s", app->setting->name,
               what->kind == FCGIPM_DEMAND_SCRIPT ? what->text
               : app->setting->user               ? app->setting->user
                                                  : "httpd's user");
    return APR_SUCCESS;
}

void fcgipm_ondemand_ask(fcgipm_manager_t *m, const fcgipm_msg_t *msg)
{
    apr_pool_t *scratch;
    fcgipm_demand_t what = {0};
    fcgipm_fault_t fault;
    apr_status_t rv;

    if (too_many(m) || apr_pool_create(&scratch, m->pool) != APR_SUCCESS)
        return;
    fcgipm_fault_clear(&fault);
    rv = what_is_asked(m, &what, msg, &fault);
    if (rv == APR_SUCCESS && !find(m, &what))
        rv = make(m, &what, scratch, &fault);
    /* An honest child has asked itself the same before, and tells its client why. */
    if (rv != APR_SUCCESS)
        FCGIPM_LOG(430, FCGIPM_LOG_DEBUG, rv, 0, "no pool is made on demand: %s", fault.sentence);
    apr_pool_destroy(scratch);
}

/* Who asked first gets it, although others ask meanwhile. */
void fcgipm_ondemand_use_room(fcgipm_manager_t *m)
{
    apr_pool_t *scratch;
    fcgipm_fault_t fault;
    fcgipm_demand_t what = {0};

    if (!m->room_for.kind || m->stopping ||
        (m->now - m->room_us < LEAVES_US && free_index(m) >= FCGIPM_POOLS_MAX))
        return;
    what = m->room_for;
    m->room_for.kind = 0;
    if (m->now - m->room_us >= LEAVES_US || find(m, &what) ||
        apr_pool_create(&scratch, m->pool) != APR_SUCCESS)
        return; /* he asks again */
    (void)make(m, &what, scratch, &fault);
    m->again = true;
    apr_pool_destroy(scratch);
}

/* --- over reloads, and over the death of a manager --- */

static bool still_right(fcgipm_manager_t *m, const fcgipm_world_t *world, const fcgipm_demand_t *what,
                        uint64_t fingerprint, fcgipm_setting_t *s, apr_pool_t *scratch)
{
    fcgipm_fault_t fault;

    return setting_of(m, world, s, what, scratch, &fault) == APR_SUCCESS &&
           fcgipm_setting_fingerprint(s) == fingerprint;
}

void fcgipm_ondemand_reconcile(fcgipm_manager_t *m, const fcgipm_world_t *world)
{
    apr_pool_t *scratch;

    if (apr_pool_create(&scratch, m->pool) != APR_SUCCESS)
        return;
    for (uint32_t i = FCGIPM_POOLS_STATIC; i < m->app_end; i++) {
        fcgipm_app_t *app = m->apps[i];
        fcgipm_setting_t s = {0};

        if (is_on_demand(app) && !still_right(m, world, app->what, app->fingerprint, &s, scratch))
            fcgipm_app_retire(app);
        apr_pool_clear(scratch);
    }
    apr_pool_destroy(scratch);
}

void fcgipm_ondemand_adopt(fcgipm_manager_t *m)
{
    apr_pool_t *scratch;

    for (uint32_t i = 0; i < FCGIPM_DEMAND_CHAINS; i++)
        if (fcgipm_atom_peek(&m->board->chain[i]))
            fcgipm_atom_set(&m->board->chain[i], 0);
    if (apr_pool_create(&scratch, m->pool) != APR_SUCCESS)
        return;
    for (uint32_t i = FCGIPM_POOLS_STATIC; i < FCGIPM_POOLS_MAX; i++) {
        const fcgipm_registry_pool_t *row = &m->registry->pool[i];
        fcgipm_demand_t what = {0};
        fcgipm_setting_t s = {0};
        fcgipm_app_t *app;

        if (!fcgipm_atom_get(&row->used))
            continue;
        what = m->registry->demand[i - FCGIPM_POOLS_STATIC].what;
        if (!m->apps[i] && still_right(m, m->world, &what, row->fingerprint, &s, scratch) &&
            (app = create(m, i, &what, &s, party_of(m, &what, &s, scratch)))) {
            /* The last manager may have died between writing the registry and the board. */
            if (fcgipm_atom_get(&m->board->pool[i].key) != app->key)
                write_board(app);
            publish(app);
        }
        apr_pool_clear(scratch);
    }
    apr_pool_destroy(scratch);
}
