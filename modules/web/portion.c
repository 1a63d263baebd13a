/* SPDX-License-Identifier: Apache-2.0 */
#include "web/portion.h"

#include <string.h>

#include <ap_mpm.h>

/* MaxRequestWorkers, whatever the MPM. */
static uint32_t all_threads(void)
{
    int processes = 0, threads = 0;

    if (ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &processes) != APR_SUCCESS || processes < 1)
        processes = 1;
    if (ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads) != APR_SUCCESS || threads < 1)
        threads = 1;
    return (uint32_t)processes * (uint32_t)threads;
}

static uint32_t at_least_one(uint32_t n)
{
    return n ? n : 1;
}

static uint32_t places(const fcgipm_setting_t *s)
{
    return (s->connect ? 1 : s->processes_max) * s->concurrency;
}

/* Only an account that was named is somebody's; without FcgiUser all run as httpd's own. */
static bool same_user(const fcgipm_setting_t *a, const fcgipm_setting_t *b)
{
    return a->user && b->user && !a->connect && !b->connect && !strcmp(a->user, b->user);
}

static void share_with_peers(fcgipm_share_t *share, const fcgipm_setting_t *s,
                             const apr_array_header_t *pools, uint32_t threads, apr_pool_t *pool)
{
    uint32_t *peers = apr_palloc(pool, sizeof *peers * (size_t)pools->nelts), all = 0;

    for (int i = 0; i < pools->nelts; i++) {
        const fcgipm_pool_conf_t *other = APR_ARRAY_IDX(pools, i, const fcgipm_pool_conf_t *);

        if (!same_user(s, other->setting))
            continue;
        peers[share->peer_count++] = other->world.index;
        all += places(other->setting);
    }
    share->peers = peers;
    share->peer_threads = threads;
    share->peers_tight = share->peer_count && all > threads;
}

static fcgipm_share_t script_share; /* of this child */

const fcgipm_share_t *fcgipm_portion_script(void)
{
    return &script_share;
}

void fcgipm_portion_prepare(apr_pool_t *pool, server_rec *main_server)
{
    apr_array_header_t *pools = fcgipm_directive_pools(pool, main_server);
    uint32_t all = all_threads(), said = fcgipm_directive_server(main_server)->global.user_threads;

    script_share = (fcgipm_share_t){.threads = at_least_one(all / 2)};
    for (int i = 0; i < pools->nelts; i++) {
        fcgipm_pool_conf_t *conf = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *);
        const fcgipm_setting_t *s = conf->setting;
        fcgipm_share_t *share = &conf->share;

        memset(share, 0, sizeof *share);
        share->threads = s->queue_threads ? s->queue_threads : at_least_one(all / 2);
        share->tight = places(s) > share->threads;
        share_with_peers(share, s, pools, said ? said : at_least_one(all - all / 4), pool);
    }
}
