/* SPDX-License-Identifier: Apache-2.0 */
#include "share/world.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "share/slot.h"

/* Places beyond processes_max, so that new workers can start before old ones leave. */
#define SPARE_SLOTS 2

static const uint32_t slots_end = FCGIPM_SLOTS_STATIC;
static const uint32_t seats_end = FCGIPM_SEATS_STATIC;
static const uint32_t cells_end = FCGIPM_CELLS_STATIC;

/* --- index and geometry --- */

static fcgipm_geometry_t geometry_needed(const fcgipm_setting_t *s)
{
    return (fcgipm_geometry_t){.slot_count = s->connect ? 1 : s->processes_max + SPARE_SLOTS,
                               .concurrency = fcgipm_setting_places(s),
                               .cell_count = s->queue_length ? s->queue_length : 1};
}

static bool geometry_fits(const fcgipm_geometry_t *have, const fcgipm_geometry_t *need)
{
    return fcgipm_geometry_ok(have) && have->slot_count == need->slot_count &&
           have->concurrency == need->concurrency && have->cell_count == need->cell_count;
}

typedef enum table { SLOTS, SEATS, CELLS } table_t;

static void range_of(const fcgipm_geometry_t *g, table_t table, uint32_t *first, uint32_t *count)
{
    *first = table == SLOTS ? g->slot_first : table == SEATS ? g->seat_first : g->cell_first;
    *count = table == SLOTS ? g->slot_count : table == SEATS ? g->slot_count * g->concurrency : g->cell_count;
}

/* First fit: move behind every used range that overlaps, until none does. Each round moves forward, so it
 * ends. */
static bool find_room(const fcgipm_registry_t *registry, table_t table, uint32_t count, uint32_t end,
                      uint32_t *first)
{
    bool moved = true;

    *first = 0;
    while (moved) {
        moved = false;
        for (uint32_t i = 0; i < FCGIPM_POOLS_STATIC; i++) {
            uint32_t other, len;

            if (!fcgipm_atom_get(&registry->pool[i].used))
                continue;
            range_of(&registry->pool[i].geometry, table, &other, &len);
            if (*first < other + len && other < *first + count) {
                *first = other + len;
                moved = true;
            }
        }
    }
    return *first <= end && count <= end - *first;
}

static bool find_rooms(const fcgipm_registry_t *registry, fcgipm_geometry_t *g)
{
    return find_room(registry, SLOTS, g->slot_count, slots_end, &g->slot_first) &&
           find_room(registry, SEATS, g->slot_count * g->concurrency, seats_end, &g->seat_first) &&
           find_room(registry, CELLS, g->cell_count, cells_end, &g->cell_first);
}

/* Seats keep their words: an epoch never starts over, so no stale lease of an earlier pool can fit. */
static void clear_rows(fcgipm_board_t *board, const fcgipm_geometry_t *g)
{
    for (uint32_t i = 0; i < g->slot_count; i++)
        memset(&board->slot[g->slot_first + i], 0, sizeof board->slot[0]);
    for (uint32_t i = 0; i < g->slot_count * g->concurrency; i++) {
        uint64_t word = fcgipm_atom_get(&board->seat[g->seat_first + i]);

        fcgipm_seat_step(&board->seat[g->seat_first + i], &word, FCGIPM_SEAT_EV_SHUT, FCGIPM_OWNER_MANAGER);
    }
    for (uint32_t i = 0; i < g->cell_count; i++)
        fcgipm_atom_set(&board->cell[g->cell_first + i], 0);
}

#define HOPS 16 /* of definitions, one after the other */

/* Where its requests go in the end, over definitions of the same application. FCGIPM_POOLS_STATIC: nowhere.
 */
static uint32_t leads_to(const fcgipm_registry_t *registry, const fcgipm_board_t *board, uint32_t index,
                         uint32_t self)
{
    uint64_t key = registry->pool[index].key;

    for (int hop = 0; hop < HOPS; hop++) {
        uint32_t route = fcgipm_atom_get(&board->pool[index].route);

        if (route >= FCGIPM_POOLS_STATIC || route == self || !fcgipm_atom_get(&registry->pool[route].used) ||
            registry->pool[route].key != key)
            break;
        if (route == index)
            return index;
        index = route;
    }
    return FCGIPM_POOLS_STATIC;
}

/* Where requests go until the first worker of the new definition is ready: where they go now. That says the
 * definition that was configured until now; of those that are leaving, one that still has a worker. */
static uint32_t predecessor(const fcgipm_registry_t *registry, const fcgipm_board_t *board, uint64_t key,
                            uint32_t self)
{
    uint32_t found = self;
    int best = -1;

    for (uint32_t i = 0; i < FCGIPM_POOLS_STATIC; i++) {
        const fcgipm_registry_pool_t *row = &registry->pool[i];
        uint32_t route;
        int rank;

        if (i == self || !fcgipm_atom_get(&row->used) || row->key != key ||
            (route = leads_to(registry, board, i, self)) == FCGIPM_POOLS_STATIC)
            continue;
        rank = fcgipm_atom_get(&board->pool[i].state) != FCGIPM_POOL_DRAINING ? 2
               : fcgipm_atom_get(&board->pool[route].ready)                   ? 1
                                                                              : 0;
        if (rank > best) {
            best = rank;
            found = route;
        }
    }
    return found;
}

/* Counters belong to the application: another definition of it goes on with them. */
static uint32_t stat_row(const fcgipm_registry_t *registry, fcgipm_board_t *board, uint64_t key)
{
    bool taken[FCGIPM_POOLS_STATIC] = {false};
    uint32_t free_row = 0;

    for (uint32_t i = 0; i < FCGIPM_POOLS_STATIC; i++) {
        const fcgipm_registry_pool_t *row = &registry->pool[i];

        if (!fcgipm_atom_get(&row->used) || row->stat_row >= FCGIPM_POOLS_STATIC)
            continue;
        if (row->key == key)
            return row->stat_row;
        taken[row->stat_row] = true;
    }
    while (free_row < FCGIPM_POOLS_STATIC - 1 && taken[free_row])
        free_row++;
    memset(&board->stat[free_row], 0, sizeof board->stat[free_row]);
    return free_row;
}

static void fill_board(fcgipm_board_pool_t *p, const fcgipm_world_pool_t *pool, uint32_t route, uint32_t stat)
{
    const fcgipm_setting_t *s = pool->setting;

    memset(p, 0, sizeof *p);
    p->geometry = pool->geometry;
    p->external = s->connect != NULL;
    fcgipm_atom_set(&p->key, pool->key);
    strncpy(p->name, s->name, sizeof p->name - 1);
    strncpy(p->vhost, s->vhost, sizeof p->vhost - 1);
    if (s->connect)
        strncpy(p->addr, s->connect, sizeof p->addr - 1);
    p->stat_row = stat;
    fcgipm_atom_set(&p->min, s->processes_min);
    fcgipm_atom_set(&p->max, s->processes_max);
    fcgipm_atom_set(&p->route, route);
}

static bool reuse(const fcgipm_registry_t *registry, fcgipm_world_pool_t *pool, const fcgipm_geometry_t *need)
{
    for (uint32_t i = 0; i < FCGIPM_POOLS_STATIC; i++) {
        const fcgipm_registry_pool_t *row = &registry->pool[i];

        if (!fcgipm_atom_get(&row->used) || row->key != pool->key || row->fingerprint != pool->fingerprint ||
            !geometry_fits(&row->geometry, need))
            continue;
        pool->index = i;
        pool->geometry = row->geometry;
        return true;
    }
    return false;
}

unsigned fcgipm_world_turn(const fcgipm_registry_t *registry, const fcgipm_board_t *board,
                           const fcgipm_setting_t *setting)
{
    fcgipm_world_pool_t pool = {.key = fcgipm_setting_key(setting),
                                .fingerprint = fcgipm_setting_fingerprint(setting)};
    fcgipm_geometry_t g = geometry_needed(setting);

    if (reuse(registry, &pool, &g))
        return 0;
    return predecessor(registry, board, pool.key, FCGIPM_POOLS_STATIC) == FCGIPM_POOLS_STATIC ? 1 : 2;
}

/* False: the manager has freed it just now. */
static bool name_row(fcgipm_registry_t *registry, uint32_t index)
{
    uint32_t seen = FCGIPM_ROW_USED;

    return fcgipm_atom_cas(&registry->pool[index].used, &seen, FCGIPM_ROW_NAMED) || seen == FCGIPM_ROW_NAMED;
}

/* Better the old definition than none, or than a server that does not come back from a reload. */
static bool stay_old(fcgipm_registry_t *registry, const fcgipm_board_t *board, fcgipm_world_pool_t *pool)
{
    uint32_t index = predecessor(registry, board, pool->key, FCGIPM_POOLS_STATIC);
    const fcgipm_registry_pool_t *row = &registry->pool[index];

    if (index == FCGIPM_POOLS_STATIC || row->external != (pool->setting->connect != NULL) ||
        !name_row(registry, index))
        return false;
    pool->index = index;
    pool->geometry = row->geometry;
    pool->fingerprint = row->fingerprint;
    pool->old = true;
    return true;
}

apr_status_t fcgipm_world_assign(fcgipm_registry_t *registry, fcgipm_board_t *board,
                                 fcgipm_world_pool_t *pool, fcgipm_fault_t *fault)
{
    fcgipm_geometry_t g = geometry_needed(pool->setting);
    fcgipm_registry_pool_t *row;
    uint32_t index = 0, stat;

    pool->key = fcgipm_setting_key(pool->setting);
    pool->fingerprint = fcgipm_setting_fingerprint(pool->setting);
    pool->old = false;
    if (reuse(registry, pool, &g) && name_row(registry, pool->index))
        return APR_SUCCESS;
    pool->index = FCGIPM_NO_POOL;
    while (index < FCGIPM_POOLS_STATIC && fcgipm_atom_get(&registry->pool[index].used))
        index++;
    if (index == FCGIPM_POOLS_STATIC || !find_rooms(registry, &g)) {
        fcgipm_fault_set(
            fault, APR_ENOSPC, "configuration",
            "no room for pool %s: at most %u pools, %u processes, %u requests at a time and %u waiting "
            "in all; pools that are still draining count",
            pool->setting->name, FCGIPM_POOLS_STATIC, slots_end, seats_end, cells_end);
        return stay_old(registry, board, pool) ? APR_SUCCESS : APR_ENOSPC;
    }
    pool->index = index;
    pool->geometry = g;
    clear_rows(board, &g);
    stat = stat_row(registry, board, pool->key);
    fill_board(&board->pool[index], pool, predecessor(registry, board, pool->key, index), stat);
    row = &registry->pool[index];
    row->stat_row = stat;
    row->flags = row->scaled_min = row->scaled_max = 0;
    row->key = pool->key;
    row->fingerprint = pool->fingerprint;
    row->external = pool->setting->connect != NULL;
    row->geometry = g;
    fcgipm_atom_set(&row->used, FCGIPM_ROW_USED);
    return APR_SUCCESS;
}

/* --- bytes --- */

#define WORLD_MAGIC 0x66706d57u

static uint64_t fnv_text(uint64_t hash, const char *text)
{
    do
        hash = (hash ^ (unsigned char)(text ? *text : 1)) * 0x100000001b3ull;
    while (text && *text++);
    return hash;
}

uint64_t fcgipm_world_site_key(const fcgipm_world_site_t *site)
{
    return fnv_text(fnv_text(fnv_text(0xcbf29ce484222325ull, site->vhost), site->user), site->group);
}

typedef struct header {
    uint32_t magic, version, generation, uid, gid, pools, templates, sites, scripts, dir_len;
    uint32_t cgroup_len, user_limits; /* cgroup_len: with its NUL, 0: none */
    int32_t log_level;
    fcgipm_global_t global;
} header_t;

typedef struct pool_header {
    uint32_t index, old;
    fcgipm_geometry_t geometry;
    uint64_t key, fingerprint;
} pool_header_t;

static void append(apr_array_header_t *out, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        APR_ARRAY_PUSH(out, char) = ((const char *)data)[i];
}

static void append_text(apr_array_header_t *out, const char *text)
{
    uint32_t len = text ? (uint32_t)strlen(text) + 1 : 0; /* 0: NULL */

    append(out, &len, sizeof len);
    if (text)
        append(out, text, len - 1);
}

static void append_template(apr_array_header_t *out, const fcgipm_world_template_t *t)
{
    append(out, &t->key, sizeof t->key);
    append(out, &t->fingerprint, sizeof t->fingerprint);
    append_text(out, t->vhost ? t->vhost : "");
    fcgipm_setting_write(t->setting, out);
}

static void append_site(apr_array_header_t *out, const fcgipm_world_site_t *site)
{
    append(out, &site->key, sizeof site->key);
    append_text(out, site->vhost);
    append_text(out, site->user);
    append_text(out, site->group);
}

apr_status_t fcgipm_world_write(const fcgipm_world_t *world, unsigned char **bytes, size_t *len)
{
    apr_pool_t *scratch;
    apr_array_header_t *out;
    header_t head;
    apr_status_t rv = apr_pool_create(&scratch, NULL);

    if (rv != APR_SUCCESS)
        return rv;
    memset(&head, 0, sizeof head);
    head.magic = WORLD_MAGIC;
    head.version = FCGIPM_WORLD_VERSION;
    head.generation = world->generation;
    head.uid = world->uid;
    head.gid = world->gid;
    head.pools = (uint32_t)world->pools->nelts;
    head.templates = world->templates ? (uint32_t)world->templates->nelts : 0;
    head.sites = world->sites ? (uint32_t)world->sites->nelts : 0;
    head.scripts = world->scripts;
    head.dir_len = (uint32_t)strlen(world->runtime_dir);
    head.cgroup_len = world->cgroup ? (uint32_t)strlen(world->cgroup) + 1 : 0;
    head.user_limits = world->user_limits ? (uint32_t)world->user_limits->nelts : 0;
    head.log_level = world->log_level;
    head.global = world->global;
    out = apr_array_make(scratch, 4096, 1);
    append(out, &head, sizeof head);
    append(out, world->runtime_dir, head.dir_len);
    append(out, world->cgroup, head.cgroup_len);
    if (head.user_limits)
        append(out, world->user_limits->elts, head.user_limits * sizeof(fcgipm_user_limit_t));
    for (int i = 0; i < world->pools->nelts; i++) {
        const fcgipm_world_pool_t *pool = &APR_ARRAY_IDX(world->pools, i, fcgipm_world_pool_t);
        pool_header_t ph;

        memset(&ph, 0, sizeof ph);
        ph.index = pool->index;
        ph.old = pool->old;
        ph.geometry = pool->geometry;
        ph.key = pool->key;
        ph.fingerprint = pool->fingerprint;
        append(out, &ph, sizeof ph);
        fcgipm_setting_write(pool->setting, out);
    }
    for (uint32_t i = 0; i < head.templates; i++)
        append_template(out, &APR_ARRAY_IDX(world->templates, (int)i, const fcgipm_world_template_t));
    for (uint32_t i = 0; i < head.sites; i++)
        append_site(out, &APR_ARRAY_IDX(world->sites, (int)i, const fcgipm_world_site_t));
    *len = (size_t)out->nelts;
    *bytes = malloc(*len);
    if (*bytes)
        memcpy(*bytes, out->elts, *len);
    apr_pool_destroy(scratch);
    return *bytes ? APR_SUCCESS : APR_ENOMEM;
}

static bool take(const unsigned char **in, const unsigned char *end, void *out, size_t len)
{
    if ((size_t)(end - *in) < len)
        return false;
    memcpy(out, *in, len);
    *in += len;
    return true;
}

static bool take_text(const unsigned char **in, const unsigned char *end, const char **text, apr_pool_t *pool)
{
    uint32_t len;

    *text = NULL;
    if (!take(in, end, &len, sizeof len) || (len && len - 1 > (size_t)(end - *in)))
        return false;
    if (!len)
        return true;
    if (memchr(*in, '\0', len - 1))
        return false;
    *text = apr_pstrmemdup(pool, (const char *)*in, len - 1);
    *in += len - 1;
    return true;
}

static apr_status_t read_template(fcgipm_world_t *world, const unsigned char **in, const unsigned char *end,
                                  apr_pool_t *pool, fcgipm_fault_t *fault)
{
    fcgipm_world_template_t *t = apr_array_push(world->templates);
    apr_status_t rv;

    memset(t, 0, sizeof *t);
    if (!take(in, end, &t->key, sizeof t->key) || !take(in, end, &t->fingerprint, sizeof t->fingerprint) ||
        !take_text(in, end, &t->vhost, pool) || !t->vhost)
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "template %d is not readable",
                                world->templates->nelts);
    t->setting = apr_pcalloc(pool, sizeof *t->setting);
    rv = fcgipm_setting_read(t->setting, in, end, pool, fault);
    if (rv == APR_SUCCESS && !t->setting->user_from)
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "template %s contradicts itself",
                                t->setting->name);
    return rv;
}

static apr_status_t read_site(fcgipm_world_t *world, const unsigned char **in, const unsigned char *end,
                              apr_pool_t *pool, fcgipm_fault_t *fault)
{
    fcgipm_world_site_t *site = apr_array_push(world->sites);

    memset(site, 0, sizeof *site);
    if (!take(in, end, &site->key, sizeof site->key) || !take_text(in, end, &site->vhost, pool) ||
        !take_text(in, end, &site->user, pool) || !take_text(in, end, &site->group, pool) || !site->vhost)
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "virtual host %d is not readable",
                                world->sites->nelts);
    return APR_SUCCESS;
}

static bool pool_header_ok(const pool_header_t *ph)
{
    const fcgipm_geometry_t *g = &ph->geometry;

    return ph->index < FCGIPM_POOLS_STATIC && fcgipm_geometry_ok(g) &&
           g->slot_first + g->slot_count <= slots_end &&
           g->seat_first + g->slot_count * g->concurrency <= seats_end &&
           g->cell_first + g->cell_count <= cells_end;
}

/* A manager that does not know the old definition itself runs the new one in the old one's place. */
static bool fit(fcgipm_setting_t *s, const fcgipm_geometry_t *g, apr_pool_t *pool)
{
    fcgipm_geometry_t need = geometry_needed(s);

    if (!s->connect && need.slot_count != g->slot_count)
        s->processes_max = g->slot_count > SPARE_SLOTS ? g->slot_count - SPARE_SLOTS : 1;
    if (s->processes_min > s->processes_max)
        s->processes_min = s->processes_max;
    if (need.concurrency != g->concurrency)
        s->concurrency = g->concurrency;
    if (need.cell_count != g->cell_count)
        s->queue_length = g->cell_count;
    return fcgipm_setting_check(s, pool) == NULL;
}

static apr_status_t read_pool(fcgipm_world_t *world, const unsigned char **in, const unsigned char *end,
                              apr_pool_t *pool, fcgipm_fault_t *fault)
{
    fcgipm_world_pool_t *p = apr_array_push(world->pools);
    pool_header_t ph;
    fcgipm_geometry_t need;
    apr_status_t rv;

    if (!take(in, end, &ph, sizeof ph) || !pool_header_ok(&ph))
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "pool %d is not readable",
                                world->pools->nelts);
    p->index = ph.index;
    p->geometry = ph.geometry;
    p->key = ph.key;
    p->fingerprint = ph.fingerprint;
    p->setting = apr_pcalloc(pool, sizeof *p->setting);
    rv = fcgipm_setting_read(p->setting, in, end, pool, fault);
    if (rv != APR_SUCCESS)
        return rv;
    p->old = ph.old != 0;
    if (p->old && !fit(p->setting, &p->geometry, pool))
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "pool %s does not fit its old place",
                                p->setting->name);
    need = geometry_needed(p->setting);
    if (!geometry_fits(&p->geometry, &need))
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "pool %s has a wrong geometry",
                                p->setting->name);
    return APR_SUCCESS;
}

static bool read_cgroup(fcgipm_world_t *world, const header_t *head, const unsigned char **in,
                        const unsigned char *end, apr_pool_t *pool)
{
    size_t left = (size_t)(end - *in);

    if (head->cgroup_len > left || (head->cgroup_len && (*in)[head->cgroup_len - 1]) ||
        head->user_limits > (left - head->cgroup_len) / sizeof(fcgipm_user_limit_t))
        return false;
    if (head->cgroup_len)
        world->cgroup = apr_pstrmemdup(pool, (const char *)*in, head->cgroup_len - 1);
    *in += head->cgroup_len;
    if (!head->user_limits)
        return true;
    world->user_limits = apr_array_make(pool, (int)head->user_limits, sizeof(fcgipm_user_limit_t));
    for (uint32_t i = 0; i < head->user_limits; i++)
        take(in, end, apr_array_push(world->user_limits), sizeof(fcgipm_user_limit_t));
    return true;
}

apr_status_t fcgipm_world_read(fcgipm_world_t **world_out, const unsigned char *bytes, size_t len,
                               apr_pool_t *pool, fcgipm_fault_t *fault)
{
    const unsigned char *in = bytes, *end = bytes + len;
    fcgipm_world_t *world = apr_pcalloc(pool, sizeof *world);
    apr_status_t rv = APR_SUCCESS;
    header_t head;
    char *dir;

    if (!take(&in, end, &head, sizeof head) || head.magic != WORLD_MAGIC ||
        head.version != FCGIPM_WORLD_VERSION || head.pools > FCGIPM_POOLS_STATIC || head.dir_len > 4096 ||
        head.dir_len > (size_t)(end - in) || head.templates > (size_t)(end - in) ||
        head.sites > (size_t)(end - in))
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "made by another version of the module");
    dir = apr_palloc(pool, head.dir_len + 1);
    memcpy(dir, in, head.dir_len);
    dir[head.dir_len] = '\0';
    in += head.dir_len;
    world->generation = head.generation;
    world->uid = head.uid;
    world->gid = head.gid;
    world->scripts = head.scripts;
    world->log_level = head.log_level;
    world->global = head.global;
    world->runtime_dir = dir;
    if (!read_cgroup(world, &head, &in, end, pool))
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "FcgiCgroup is not readable");
    world->pools = apr_array_make(pool, (int)head.pools + 1, sizeof(fcgipm_world_pool_t));
    world->templates = apr_array_make(pool, (int)head.templates + 1, sizeof(fcgipm_world_template_t));
    world->sites = apr_array_make(pool, (int)head.sites + 1, sizeof(fcgipm_world_site_t));
    for (uint32_t i = 0; i < head.pools && rv == APR_SUCCESS; i++)
        rv = read_pool(world, &in, end, pool, fault);
    for (uint32_t i = 0; i < head.templates && rv == APR_SUCCESS; i++)
        rv = read_template(world, &in, end, pool, fault);
    for (uint32_t i = 0; i < head.sites && rv == APR_SUCCESS; i++)
        rv = read_site(world, &in, end, pool, fault);
    if (rv != APR_SUCCESS)
        return rv;
    if (in != end)
        return fcgipm_fault_set(fault, APR_EINVAL, "configuration", "has bytes behind its end");
    *world_out = world;
    return APR_SUCCESS;
}
