/* SPDX-License-Identifier: Apache-2.0 */
#include "web/portion.h"

#include <pthread.h>
#include <string.h>

#include <ap_mpm.h>
#include <apr_hash.h>
#include <apr_strings.h>

#include "share/board.h"
#include "web/async.h"

static uint32_t all_children(void)
{
    int children = 0;

    if (ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &children) != APR_SUCCESS || children < 1)
        children = 1;
    return (uint32_t)children;
}

apr_uint64_t fcgipm_portion_memory(server_rec *main_server)
{
    return fcgipm_directive_server(main_server)->global.reply_memory_bytes / all_children();
}

uint32_t fcgipm_portion_grace(void)
{
    static fcgipm_atom32_t half; /* it does not change in the life of a child */
    int threads = 0;

    if (!fcgipm_atom_peek(&half)) {
        if (ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads) != APR_SUCCESS || threads < 2)
            threads = 2;
        fcgipm_atom_put(&half, (uint32_t)threads / 2);
    }
    return fcgipm_atom_peek(&half);
}

/* MaxRequestWorkers, whatever the MPM. */
static uint32_t all_threads(void)
{
    int threads = 0;

    if (ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads) != APR_SUCCESS || threads < 1)
        threads = 1;
    return all_children() * (uint32_t)threads;
}

static uint32_t at_least_one(uint32_t n)
{
    return n ? n : 1;
}

static uint32_t places(const fcgipm_setting_t *s)
{
    return (s->connect ? 1 : s->processes_max) * fcgipm_setting_places(s);
}

/* Requests that could run at a time: of all pools of a user, ... */
typedef struct crowd {
    apr_hash_t *users;  /* ... by name, uint32_t *; only an account that was named is somebody's */
    uint32_t blocks;    /* ... of all of these */
    uint32_t templates; /* ... and what any user could have in the pools of templates */
} crowd_t;

static void count_template(crowd_t *crowd, const fcgipm_setting_t *s)
{
    if (s->user_from != FCGIPM_USER_SAID && s->user_from != FCGIPM_USER_HTTPD)
        crowd->templates += s->user_vhost ? UINT16_MAX : places(s); /* in each virtual host */
}

static void count_block(crowd_t *crowd, const fcgipm_setting_t *s, apr_pool_t *pool)
{
    uint32_t *sum;

    if (!s->user || s->connect)
        return;
    if (!(sum = apr_hash_get(crowd->users, s->user, APR_HASH_KEY_STRING))) {
        sum = apr_pcalloc(pool, sizeof *sum);
        apr_hash_set(crowd->users, s->user, APR_HASH_KEY_STRING, sum);
    }
    *sum += places(s);
    crowd->blocks += places(s);
}

/* (Who is a template's user nobody knows yet: perhaps that of a block.) */
static void share_with_peers(fcgipm_share_t *share, const fcgipm_setting_t *s, const crowd_t *crowd,
                             uint32_t threads)
{
    const uint32_t *of_user;
    uint32_t all = crowd->templates;

    if (s->user_from == FCGIPM_USER_HTTPD || (!s->user_from && !s->user) || s->connect)
        return;
    of_user = s->user_from ? &crowd->blocks : apr_hash_get(crowd->users, s->user, APR_HASH_KEY_STRING);
    all += of_user ? *of_user : 0;
    share->peer_threads = threads;
    share->peers_tight = all > threads;
}

/* Set before children are forked. */
static fcgipm_share_t script_share;
static uint32_t user_queue;

uint32_t fcgipm_portion_user_queue(void)
{
    return user_queue;
}

const fcgipm_share_t *fcgipm_portion_of(const fcgipm_match_t *match)
{
    if (fcgipm_async_active())
        return NULL;
    return match->script ? &script_share : &match->pool->share;
}

/* --- where only some requests hold a thread --- */

/* What counts is ours; the board shows it. Others may have written over that. */
static pthread_mutex_t held_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint16_t held[FCGIPM_POOLS_MAX];

static void count_held(fcgipm_atom16_t *shown, uint16_t *own, int change)
{
    pthread_mutex_lock(&held_mutex);
    *own = (uint16_t)(*own + change);
    fcgipm_atom_set(shown, *own);
    pthread_mutex_unlock(&held_mutex);
}

typedef struct holding {
    fcgipm_atom16_t *shown;
    uint16_t *own;
} holding_t;

static apr_status_t leave(void *ctx)
{
    const holding_t *holding = ctx;

    count_held(holding->shown, holding->own, -1);
    return APR_SUCCESS;
}

/* A request that goes on as another (a local redirect, an error document) has the same thread, and the same
 * memory pool. One that was refused is asked again. */
static bool counted_before(const char *key, apr_pool_t *pool)
{
    void *before = NULL;

    apr_pool_userdata_get(&before, key, pool);
    return before != NULL;
}

static uint32_t held_of_user(const fcgipm_board_t *board, uint32_t index)
{
    uint32_t all = 0, pool = index;

    for (unsigned i = 0; i < FCGIPM_PEERS_MAX && fcgipm_atom_peek(&board->pool[index].account); i++) {
        all += fcgipm_board_held(board, pool);
        if ((pool = fcgipm_board_peer(board, pool, index)) == index)
            break;
    }
    return all;
}

bool fcgipm_portion_enter(uint32_t index, const fcgipm_match_t *match, fcgipm_board_t *board, unsigned child,
                          apr_pool_t *pool, fcgipm_fault_t *fault)
{
    const fcgipm_share_t *share = match->script ? &script_share : &match->pool->share;
    const char *key = apr_psprintf(pool, "fcgipm-held-%u", index);
    holding_t *holding;
    char user[64];

    if (!fcgipm_async_active() || child >= FCGIPM_CHILDREN_MAX || index >= FCGIPM_POOLS_MAX ||
        counted_before(key, pool))
        return true;
    holding = apr_palloc(pool, sizeof *holding);
    *holding = (holding_t){.shown = &board->held[child][index], .own = &held[index]};
    count_held(holding->shown, holding->own, 1);
    apr_pool_cleanup_register(pool, holding, leave, apr_pool_cleanup_null);
    if (fcgipm_board_held(board, index) > share->threads) {
        fcgipm_fault_set(fault, APR_EBUSY, "queue",
                         "it has its share of httpd's threads, %u (FcgiQueue threads=)", share->threads);
        return false;
    }
    if (share->peer_threads && held_of_user(board, index) > share->peer_threads) {
        fcgipm_fault_set(fault, APR_EBUSY, "queue",
                         "the applications of user %s have their share of httpd's threads, %u "
                         "(FcgiUserThreads)",
                         fcgipm_lease_user(board, index, match->pool->setting, user, sizeof user),
                         share->peer_threads);
        return false;
    }
    apr_pool_userdata_setn(key, key, NULL, pool);
    return true;
}

static uint16_t demanding; /* of this child, as `held` */

bool fcgipm_portion_wait(fcgipm_board_t *board, unsigned child)
{
    if (child >= FCGIPM_CHILDREN_MAX)
        return false;
    count_held(&board->demanding[child], &demanding, 1);
    if (fcgipm_board_demanding(board) <= at_least_one(all_threads() / 2))
        return true;
    fcgipm_portion_waited(board, child);
    return false;
}

void fcgipm_portion_waited(fcgipm_board_t *board, unsigned child)
{
    count_held(&board->demanding[child], &demanding, -1);
}

void fcgipm_portion_prepare(apr_pool_t *pconf, server_rec *main_server)
{
    apr_array_header_t *pools = fcgipm_directive_pools(pconf, main_server);
    crowd_t crowd = {.users = apr_hash_make(pconf)};
    uint32_t all = all_threads(), said = fcgipm_directive_server(main_server)->global.user_threads;

    user_queue = fcgipm_directive_server(main_server)->global.user_queue;
    script_share = (fcgipm_share_t){.threads = at_least_one(all / 2)};
    for (int i = 0; i < pools->nelts; i++) {
        const fcgipm_setting_t *s = APR_ARRAY_IDX(pools, i, const fcgipm_pool_conf_t *)->setting;

        count_template(&crowd, s);
        count_block(&crowd, s, pconf);
    }
    for (int i = 0; i < pools->nelts; i++) {
        fcgipm_pool_conf_t *conf = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *);
        const fcgipm_setting_t *s = conf->setting;
        fcgipm_share_t *share = &conf->share;

        memset(share, 0, sizeof *share);
        share->threads = s->queue_threads ? s->queue_threads : at_least_one(all / 2);
        share->tight = places(s) > share->threads;
        share_with_peers(share, s, &crowd, said ? said : at_least_one(all - all / 4));
    }
}
