/* SPDX-License-Identifier: Apache-2.0 */
#include "share/demand.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "core/owner.h"
#include "share/wake.h"

#define SPARE_SLOTS 2 /* as share/world.c: new workers can start before old ones leave */
/* A chain that is longer is somebody's scribbling. Not less: who may name programs can choose names that
 * share a chain, and must not push another one's pool out of sight by that. */
#define HOPS_MAX FCGIPM_DEMAND_MAX

/* --- what it is for --- */

bool fcgipm_demand_set(fcgipm_demand_t *what, fcgipm_demand_kind_t kind, uint64_t block, uint32_t uid,
                       const char *text)
{
    size_t len = strlen(text);

    memset(what, 0, sizeof *what);
    if (len >= sizeof what->text)
        return false;
    what->kind = kind;
    what->block = block;
    what->uid = uid;
    memcpy(what->text, text, len);
    return true;
}

bool fcgipm_demand_same(const fcgipm_demand_t *a, const fcgipm_demand_t *b)
{
    return a->kind == b->kind && a->block == b->block && a->uid == b->uid &&
           !strncmp(a->text, b->text, sizeof a->text);
}

static uint64_t fnv(uint64_t hash, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return hash;
}

uint64_t fcgipm_demand_key(const fcgipm_demand_t *what)
{
    uint64_t hash = fnv(0xcbf29ce484222325u, &what->kind, sizeof what->kind);

    hash = fnv(hash, &what->uid, sizeof what->uid);
    hash = fnv(hash, &what->block, sizeof what->block);
    return fnv(hash, what->text, strnlen(what->text, sizeof what->text));
}

static apr_status_t no_file(fcgipm_fault_t *fault, const char *word)
{
    return fcgipm_fault_set(fault, APR_EACCES, "user",
                            "FcgiUserFrom %s: the request is for no file; FcgiPass belongs in <Directory> or "
                            "<Files> then",
                            word);
}

/* Behind the account, on a line of its own. */
static apr_status_t add_site(char *text, size_t cap, const fcgipm_world_site_t *site, fcgipm_fault_t *fault)
{
    size_t len = strlen(text);

    if (!site || snprintf(text + len, cap - len, "\n%s", site->vhost) >= (int)(cap - len))
        return fcgipm_fault_set(fault, APR_EACCES, "user", "the virtual host is not known");
    return APR_SUCCESS;
}

apr_status_t fcgipm_demand_of(fcgipm_demand_t *what, const fcgipm_world_template_t *t,
                              const fcgipm_world_site_t *site, const char *path, fcgipm_fault_t *fault)
{
    const fcgipm_setting_t *s = t->setting;
    char text[FCGIPM_DEMAND_TEXT] = "", root[FCGIPM_DEMAND_TEXT];
    uint32_t uid = 0;
    apr_status_t rv = APR_SUCCESS;

    switch (s->user_from) {
    case FCGIPM_USER_OWNER:
        if (!path)
            return no_file(fault, "Owner");
        rv = fcgipm_owner_of(&uid, path, s->user_below, fault);
        if (rv == APR_SUCCESS && (uid == 0 || uid < s->user_min))
            rv = fcgipm_fault_set(fault, APR_EACCES, "user",
                                  "%s: its owner has the number %u, the smallest allowed is %u "
                                  "(FcgiUserFrom minuid=)",
                                  path, uid, s->user_min);
        break;
    case FCGIPM_USER_PATH:
        if (!path)
            return no_file(fault, "Path");
        if (!fcgipm_owner_pattern_root(root, sizeof root, s->user_path) ||
            !fcgipm_owner_from_path(text, sizeof text, s->user_path, path))
            return fcgipm_fault_set(fault, APR_EACCES, "user", "%s: not of the form %s/...", path,
                                    s->user_path);
        rv = fcgipm_owner_plain(path, root, fault);
        break;
    case FCGIPM_USER_SUEXEC:
        if (!site || !site->user ||
            snprintf(text, sizeof text, "%s:%s", site->user, site->group ? site->group : "") >=
                (int)sizeof text)
            return fcgipm_fault_set(fault, APR_EACCES, "user",
                                    "the virtual host has no SuexecUserGroup; write one");
        break;
    default:
        if (!site || snprintf(text, sizeof text, "%s", site->vhost) >= (int)sizeof text)
            return fcgipm_fault_set(fault, APR_EACCES, "user", "the virtual host is not known");
    }
    if (rv == APR_SUCCESS && s->user_vhost && s->user_from != FCGIPM_USER_HTTPD)
        rv = add_site(text, sizeof text, site, fault);
    if (rv == APR_SUCCESS)
        fcgipm_demand_set(what, FCGIPM_DEMAND_TEMPLATE, t->key, uid, text);
    return rv;
}

/* A name, or "#number" as SuexecUserGroup takes it. */
static bool find_user(const char *name, uint32_t uid, struct passwd *pw, char *buffer, size_t cap)
{
    struct passwd *found = NULL;

    if (name && name[0] != '#')
        return getpwnam_r(name, pw, buffer, cap, &found) == 0 && found;
    if (name)
        uid = (uint32_t)strtoul(name + 1, NULL, 10);
    return getpwuid_r(uid, pw, buffer, cap, &found) == 0 && found;
}

/* Processes become their user by name. Where several sources of accounts have it, another number may be
 * meant.
 */
static bool same_by_name(const struct passwd *pw)
{
    char buffer[16384];
    struct passwd named;

    return find_user(pw->pw_name, 0, &named, buffer, sizeof buffer) && named.pw_uid == pw->pw_uid;
}

static const char *find_group(const char *name, apr_pool_t *pool)
{
    char buffer[16384];
    struct group gr, *found = NULL;

    if (name[0] != '#')
        return apr_pstrdup(pool, name);
    return getgrgid_r((gid_t)strtoul(name + 1, NULL, 10), &gr, buffer, sizeof buffer, &found) == 0 && found
               ? apr_pstrdup(pool, gr.gr_name)
               : NULL;
}

size_t fcgipm_demand_account_len(const fcgipm_demand_t *what)
{
    const char *line = memchr(what->text, '\n', sizeof what->text);

    return line ? (size_t)(line - what->text) : strnlen(what->text, sizeof what->text);
}

apr_status_t fcgipm_demand_account(const fcgipm_demand_t *what, const fcgipm_setting_t *t, const char **user,
                                   const char **group, apr_pool_t *pool, fcgipm_fault_t *fault)
{
    const char *text = apr_pstrmemdup(pool, what->text, fcgipm_demand_account_len(what));
    const char *colon = strchr(text, ':');
    const char *name = NULL;
    char buffer[16384];
    struct passwd pw;

    *user = *group = NULL;
    if (t->user_from == FCGIPM_USER_HTTPD)
        return APR_SUCCESS;
    if (t->user_from == FCGIPM_USER_PATH)
        name = text;
    else if (t->user_from == FCGIPM_USER_SUEXEC && colon)
        name = apr_pstrmemdup(pool, text, (apr_size_t)(colon - text));
    if (!find_user(name, what->uid, &pw, buffer, sizeof buffer))
        return name ? fcgipm_fault_set(fault, APR_EACCES, "user", "there is no user %s", name)
                    : fcgipm_fault_set(fault, APR_EACCES, "user", "no user has the number %u", what->uid);
    if (pw.pw_uid == 0 || pw.pw_uid < t->user_min)
        return fcgipm_fault_set(
            fault, APR_EACCES, "user",
            "user %s has the number %u, the smallest allowed is %u (FcgiUserFrom minuid=)", pw.pw_name,
            (unsigned)pw.pw_uid, t->user_min);
    if (!fcgipm_owner_name_ok(pw.pw_name))
        return fcgipm_fault_set(fault, APR_EACCES, "user", "user %u: not a name that can be used",
                                (unsigned)pw.pw_uid);
    if (!same_by_name(&pw))
        return fcgipm_fault_set(fault, APR_EACCES, "user",
                                "user %u: its name, %s, is also that of an account with another number",
                                (unsigned)pw.pw_uid, pw.pw_name);
    *user = apr_pstrdup(pool, pw.pw_name);
    if (t->user_from != FCGIPM_USER_SUEXEC || !colon || !colon[1])
        return APR_SUCCESS;
    *group = find_group(colon + 1, pool);
    return *group ? APR_SUCCESS
                  : fcgipm_fault_set(fault, APR_EACCES, "user", "there is no group %s", colon + 1);
}

/* --- where it is --- */

fcgipm_geometry_t fcgipm_demand_geometry(uint32_t index, const fcgipm_setting_t *s)
{
    uint32_t row = index - FCGIPM_POOLS_STATIC, slots = s->processes_max + SPARE_SLOTS;

    return (fcgipm_geometry_t){.slot_first = FCGIPM_SLOTS_STATIC + row * FCGIPM_DEMAND_SLOTS,
                               .slot_count = slots < FCGIPM_DEMAND_SLOTS ? slots : FCGIPM_DEMAND_SLOTS,
                               .seat_first = FCGIPM_SEATS_STATIC + row * FCGIPM_DEMAND_SEATS,
                               .concurrency = fcgipm_setting_places(s),
                               .cell_first = FCGIPM_CELLS_STATIC + row * FCGIPM_DEMAND_CELLS,
                               .cell_count = s->queue_length ? s->queue_length : 1};
}

const char *fcgipm_demand_fits(const fcgipm_setting_t *s, apr_pool_t *pool)
{
    uint32_t slots = s->processes_max + SPARE_SLOTS;

    if (slots > FCGIPM_DEMAND_SLOTS)
        return apr_psprintf(pool,
                            "FcgiProcesses %u: a pool that is made on demand has at most %u; write a smaller "
                            "number",
                            s->processes_max, FCGIPM_DEMAND_SLOTS - SPARE_SLOTS);
    if (slots * fcgipm_setting_places(s) > FCGIPM_DEMAND_SEATS)
        return apr_psprintf(pool,
                            "FcgiConcurrency %u with FcgiProcesses %u: a pool that is made on demand has at "
                            "most %u requests at a time for so many processes; write smaller numbers",
                            fcgipm_setting_places(s), s->processes_max, FCGIPM_DEMAND_SEATS / slots);
    if (s->queue_length > FCGIPM_DEMAND_CELLS)
        return apr_psprintf(pool,
                            "FcgiQueue length=%u: in a pool that is made on demand at most %u requests can "
                            "wait; write a smaller number",
                            s->queue_length, FCGIPM_DEMAND_CELLS);
    return NULL;
}

/* --- finding it --- */

/* The manager writes life = 0, then what, then life: equal before and after, what was read is whole. */
static bool is_row_of(const fcgipm_board_demand_t *row, const fcgipm_demand_t *what, uint64_t *life)
{
    *life = fcgipm_atom_get(&row->life);
    if (*life == 0 || !fcgipm_demand_same(&row->what, what))
        return false;
    fcgipm_atom_fence();
    return fcgipm_atom_get(&row->life) == *life;
}

bool fcgipm_demand_find(const fcgipm_board_t *board, const fcgipm_demand_t *what, uint32_t *pool,
                        uint64_t *life)
{
    uint64_t key = fcgipm_demand_key(what);
    uint32_t next = fcgipm_atom_get(&board->chain[key % FCGIPM_DEMAND_CHAINS]);

    for (uint32_t hop = 0; hop < HOPS_MAX && next > 0 && next <= FCGIPM_DEMAND_MAX; hop++) {
        const fcgipm_board_demand_t *row = &board->demand[next - 1];
        uint32_t index = FCGIPM_POOLS_STATIC + next - 1;

        if (fcgipm_atom_peek(&board->pool[index].key) == key && is_row_of(row, what, life)) {
            *pool = index;
            return true;
        }
        next = fcgipm_atom_get(&row->next);
    }
    return false;
}

bool fcgipm_demand_lives(const fcgipm_board_t *board, uint32_t pool, uint64_t life)
{
    return pool >= FCGIPM_POOLS_STATIC && pool < FCGIPM_POOLS_MAX && life != 0 &&
           fcgipm_atom_get(&board->demand[pool - FCGIPM_POOLS_STATIC].life) == life;
}

void fcgipm_demand_wake(fcgipm_board_t *board)
{
    fcgipm_atom_add(&board->demand_changes, 1);
    fcgipm_wake_all(&board->demand_changes);
}

void fcgipm_demand_wait(fcgipm_board_t *board, uint32_t seen_changes, int64_t timeout_us)
{
    if (fcgipm_atom_get(&board->demand_changes) == seen_changes)
        fcgipm_wake_wait(&board->demand_changes, seen_changes, timeout_us);
}

uint32_t fcgipm_demand_end(const fcgipm_board_t *board)
{
    uint32_t end = fcgipm_atom_peek(&board->demand_end);

    return FCGIPM_POOLS_STATIC + (end < FCGIPM_DEMAND_MAX ? end : FCGIPM_DEMAND_MAX);
}

uint32_t fcgipm_demand_next_slot(const fcgipm_registry_t *registry, uint32_t row)
{
    while (row >= FCGIPM_SLOTS_STATIC && row < FCGIPM_SLOTS_MAX) {
        uint32_t nth = (row - FCGIPM_SLOTS_STATIC) / FCGIPM_DEMAND_SLOTS;

        if (fcgipm_atom_get(&registry->pool[FCGIPM_POOLS_STATIC + nth].used))
            return row;
        row = FCGIPM_SLOTS_STATIC + (nth + 1) * FCGIPM_DEMAND_SLOTS;
    }
    return row;
}
