/* SPDX-License-Identifier: Apache-2.0 */
#include "web/guard.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <unixd.h>

#include "core/clock.h"
#include "core/log.h"
#include "pm/daemon.h"
#include "share/board.h"
#include "share/children.h"
#include "share/msg.h"
#include "share/wake.h"
#include "web/async.h"
#include "web/check.h"
#include "web/compat.h"
#include "web/directive.h"
#include "web/parent.h"
#include "web/portion.h"
#include "web/previous.h"
#include "web/spool.h"

APLOG_USE_MODULE(fcgipm);

static fcgipm_state_t *guard_state; /* found again by key at each configuration */
static fcgipm_link_t *guard_link;

/* --- a configuration --- */

/* What did not find room at a reload, for one line each. */
typedef struct crowd {
    unsigned old, none;
    const char *first_old, *first_none;
    char why[512]; /* of the first */
} crowd_t;

static void tell_crowd(const crowd_t *crowd)
{
    if (crowd->old)
        FCGIPM_LOG(658, FCGIPM_LOG_ERR, 0, 0,
                   "%u changed pools (the first is %s) go on as they were, as there is no room for their new "
                   "definitions beside the old ones; reload again when others have ended (%s)",
                   crowd->old, crowd->first_old, crowd->why);
    if (crowd->none)
        FCGIPM_LOG(659, FCGIPM_LOG_ERR, 0, 0,
                   "%u pools (the first is %s) do not serve before the next reload: %s", crowd->none,
                   crowd->first_none, crowd->why);
}

static apr_status_t assign(const fcgipm_state_t *state, fcgipm_pool_conf_t *pool, fcgipm_world_t *world,
                           crowd_t *crowd, fcgipm_fault_t *fault)
{
    apr_status_t rv;

    if (pool->model.setting) /* a template has no place of its own */
        return APR_SUCCESS;
    pool->world.setting = pool->setting;
    rv = fcgipm_world_assign(state->registry, state->board, &pool->world, fault);
    if ((rv == APR_ENOSPC || pool->world.old) && !*crowd->why)
        apr_cpystrn(crowd->why, fault->sentence, sizeof crowd->why);
    if (rv == APR_ENOSPC && state->generation) { /* at the first start it is an error */
        if (!crowd->none++)
            crowd->first_none = pool->setting->name;
        return APR_SUCCESS;
    }
    if (rv != APR_SUCCESS)
        return rv;
    if (pool->world.old && !crowd->old++)
        crowd->first_old = pool->setting->name;
    APR_ARRAY_PUSH(world->pools, fcgipm_world_pool_t) = pool->world;
    return APR_SUCCESS;
}

static apr_status_t assign_all(const fcgipm_state_t *state, const apr_array_header_t *pools,
                               fcgipm_world_t *world, apr_pool_t *ptemp, fcgipm_fault_t *fault)
{
    unsigned *turns = apr_palloc(ptemp, sizeof *turns * ((size_t)pools->nelts + 1));
    crowd_t crowd = {0};

    for (int i = 0; i < pools->nelts; i++) {
        const fcgipm_pool_conf_t *pool = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *);

        turns[i] = pool->model.setting ? 0 : fcgipm_world_turn(state->registry, state->board, pool->setting);
    }
    for (unsigned turn = 0; turn < FCGIPM_WORLD_TURNS; turn++)
        for (int i = 0; i < pools->nelts; i++) {
            apr_status_t rv = APR_SUCCESS;

            if (turns[i] == turn)
                rv = assign(state, APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *), world, &crowd, fault);
            if (rv != APR_SUCCESS)
                return rv;
        }
    tell_crowd(&crowd);
    return APR_SUCCESS;
}

/* What templates need: they themselves, and all virtual hosts. Two of the same name in virtual hosts of the
 * same name could not be told apart. */
static apr_status_t compile_templates(fcgipm_world_t *world, server_rec *s, apr_array_header_t *pools,
                                      apr_pool_t *ptemp, fcgipm_fault_t *fault)
{
    apr_hash_t *keys = apr_hash_make(ptemp);

    for (int i = 0; i < pools->nelts; i++) {
        const fcgipm_pool_conf_t *pool = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *);
        fcgipm_world_template_t model = pool->model;

        if (!model.setting)
            continue;
        /* (When the block was read ServerName may have stood below it.) */
        model.vhost = fcgipm_directive_vhost(ptemp, pool->server);
        if (apr_hash_get(keys, &pool->model.key, sizeof pool->model.key))
            return fcgipm_fault_set(
                fault, APR_EINVAL, "configuration",
                "%s: <FcgiServerTemplate %s> is also in another virtual host with the same "
                "ServerName and port; give one of them another name",
                pool->place, pool->setting->name);
        apr_hash_set(keys, &pool->model.key, sizeof pool->model.key, pool);
        APR_ARRAY_PUSH(world->templates, fcgipm_world_template_t) = model;
    }
    for (; s && world->templates->nelts; s = s->next)
        APR_ARRAY_PUSH(world->sites, fcgipm_world_site_t) = *fcgipm_directive_site(s->process->pconf, s);
    return APR_SUCCESS;
}

static apr_status_t compile_world(fcgipm_state_t *state, server_rec *s, apr_array_header_t *pools,
                                  apr_pool_t *ptemp, fcgipm_fault_t *fault)
{
    fcgipm_world_t world = {.generation = state->generation + 1,
                            .uid = ap_unixd_config.user_id,
                            .gid = ap_unixd_config.group_id,
                            .log_level = fcgipm_log_max,
                            .scripts = fcgipm_directive_scripts(),
                            .global = fcgipm_directive_server(s)->global,
                            .runtime_dir = state->runtime_dir,
                            .cgroup = state->cgroup,
                            .user_limits = fcgipm_directive_server(s)->user_limits,
                            .pools = apr_array_make(ptemp, pools->nelts + 1, sizeof(fcgipm_world_pool_t)),
                            .templates = apr_array_make(ptemp, 4, sizeof(fcgipm_world_template_t)),
                            .sites = apr_array_make(ptemp, 64, sizeof(fcgipm_world_site_t))};
    unsigned char *bytes;
    size_t len;
    apr_status_t rv = compile_templates(&world, s, pools, ptemp, fault);

    if (rv == APR_SUCCESS)
        rv = assign_all(state, pools, &world, ptemp, fault);
    if (rv != APR_SUCCESS)
        return rv;
    if ((rv = fcgipm_world_write(&world, &bytes, &len)) != APR_SUCCESS)
        return fcgipm_fault_set(fault, rv, "configuration", "cannot write the configuration for the manager");
    free(state->world);
    state->world = bytes;
    state->world_len = len;
    state->generation++;
    return APR_SUCCESS;
}

static int64_t longest_stop(const apr_array_header_t *pools)
{
    int64_t longest = 0;

    for (int i = 0; i < pools->nelts; i++) {
        int64_t stop = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *)->setting->stop_us;
        longest = stop > longest ? stop : longest;
    }
    return longest ? longest : apr_time_from_sec(10);
}

static apr_status_t pconf_gone(void *data)
{
    fcgipm_state_t *state = data;

    if (getpid() == state->parent && ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING) {
        fcgipm_parent_stop(state);
        fcgipm_previous_stop(state, fcgipm_clock_steady_us() + state->stop_us + apr_time_from_sec(3));
        fcgipm_previous_stop_orphans(state);
        if (state->root.upgrades)
            fcgipm_previous_remove(state->root.runtime_dir);
    }
    return APR_SUCCESS;
}

int fcgipm_guard_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    (void)plog;
    fcgipm_parent_log(s);
    if (!fcgipm_compat_finish(pconf, s))
        return !OK;
    fcgipm_directive_settle(pconf, s);
    if (fcgipm_directive_pools(ptemp, s)->nelts)
        fcgipm_async_check(s, fcgipm_directive_server(s)->global.async);
    return fcgipm_check_config(pconf, ptemp, s) ? OK : !OK;
}

/* What is said of the whole server, and holds from its start to its stop. */
static void warn_of_change(const fcgipm_state_t *state, const char *dir, const char *groups)
{
    const char *had = state->cgroup ? state->cgroup : "Auto";

    groups = groups ? groups : "Auto";
    if (dir && strcmp(dir, state->root.runtime_dir))
        FCGIPM_LOG(648, FCGIPM_LOG_WARN, 0, 0,
                   "FcgiRuntimeDir %s is not used before httpd is stopped and started; still %s", dir,
                   state->root.runtime_dir);
    if (strcasecmp(groups, had))
        FCGIPM_LOG(416, FCGIPM_LOG_WARN, 0, 0,
                   "FcgiCgroup %s is not used before httpd is stopped and started; still %s", groups, had);
}

/* kept: what an earlier configuration has left; NULL: this is the first. NULL: it cannot start (logged). */
static fcgipm_state_t *get_state(fcgipm_state_t *kept, const fcgipm_server_conf_t *conf, int64_t stop_us,
                                 apr_pool_t *ptemp)
{
    const char *dir = conf->runtime_dir;
    fcgipm_state_t *state;
    fcgipm_fault_t fault;

    if (kept && fcgipm_state_readable(kept)) {
        warn_of_change(kept, dir, conf->cgroup);
        return kept;
    }
    state = ap_retained_data_create(FCGIPM_STATE_KEY, sizeof *state);
    if (!dir)
        dir = ap_runtime_dir_relative(ptemp, "fcgipm");
    dir = fcgipm_previous_take_over(state, kept ? &kept->root : NULL, dir, ptemp);
    state->cgroup = conf->cgroup ? strdup(conf->cgroup) : NULL;
    fcgipm_fault_clear(&fault);
    if (fcgipm_state_make(state, dir, stop_us, ptemp, &fault) == APR_SUCCESS)
        return state;
    FCGIPM_LOG(647, FCGIPM_LOG_ERR, fault.status, 0, "cannot start (%s): %s", fault.step, fault.sentence);
    return NULL;
}

int fcgipm_guard_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    fcgipm_state_t *state = ap_retained_data_get(FCGIPM_STATE_KEY);
    apr_array_header_t *pools;
    fcgipm_fault_t fault;

    (void)plog;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
        return OK;
    fcgipm_parent_log(s);
    pools = fcgipm_directive_pools(ptemp, s);
    if (!state && pools->nelts == 0 && !fcgipm_directive_scripts())
        return OK;
    guard_state = state = get_state(state, fcgipm_directive_server(s), longest_stop(pools), ptemp);
    if (!state)
        return HTTP_INTERNAL_SERVER_ERROR;
    fcgipm_wake_register(state->wake_fds, state->wake_count);
    fcgipm_board_socket_key(state->socket_key);
    fcgipm_fault_clear(&fault);
    if (compile_world(state, s, pools, ptemp, &fault) != APR_SUCCESS) {
        FCGIPM_LOG(649, FCGIPM_LOG_ERR, fault.status, 0, "%s", fault.sentence);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    fcgipm_portion_prepare(pconf, s);
    state->stop_us = longest_stop(pools);
    fcgipm_parent_watch(state, pconf);
    apr_pool_cleanup_register(pconf, state, pconf_gone, apr_pool_cleanup_null);
    return fcgipm_parent_tell(state, s) == APR_SUCCESS ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

int fcgipm_guard_monitor(apr_pool_t *pool, server_rec *s)
{
    fcgipm_state_t *state = guard_state;

    (void)pool;
    if (state && state->world && getpid() == state->parent)
        fcgipm_parent_tend(state, s);
    return DECLINED;
}

/* What a child must not hold: it could keep a dead parent's lifeline open, or read the registry; also of
 * those modules that ours has replaced. It has a copy of all that. */
static void drop_parents_things(fcgipm_state_t *state)
{
    for (fcgipm_state_root_t *r = state->root.previous; r; r = r->previous)
        fcgipm_previous_let_go(r);
    close(state->lifeline[0]);
    close(state->lifeline[1]);
    close(state->orders[0]);
    close(state->orders[1]);
    close(state->requests[0]);
    close(state->board_fd);
    fcgipm_registry_close(state->registry, state->registry_fd);
    state->registry = NULL;
}

void fcgipm_guard_child_init(apr_pool_t *pchild, server_rec *s)
{
    fcgipm_state_t *state = guard_state;
    fcgipm_link_env_t env;
    apr_status_t rv;

    if (!state)
        return;
    if (getpid() != state->parent) /* httpd -X: one process is both */
        drop_parents_things(state);
    fcgipm_async_child_init(s, fcgipm_directive_server(s)->global.async);
    fcgipm_spool_limit(fcgipm_portion_memory(s));
    fcgipm_board_sign(state->board); /* it is ours, the layout says; another child may have written over it */
    env = (fcgipm_link_env_t){.board = state->board,
                              .requests_fd = state->requests[1],
                              .children_fd = state->children_fd,
                              .wake_fds = state->wake_fds,
                              .wake_count = state->wake_count,
                              .generation = state->generation,
                              .runtime_dir = state->runtime_dir};
    rv = fcgipm_link_create(&guard_link, &env, pchild);
    if (rv != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, "FPM0650: this child cannot reach applications");
}

void fcgipm_guard_child_gone(void)
{
    fcgipm_state_t *state = guard_state;
    fcgipm_msg_t look = {.version = FCGIPM_MSG_VERSION, .type = FCGIPM_MSG_BAD, .pool = FCGIPM_DAEMON_LOOK};

    if (!state || !state->registry)
        return;
    /* All: it may have ended because it, or who had it in hand, wrote where it must not; and before the next
     * one is made. */
    fcgipm_children_bury(state->board, state->registry, state->children_fd, true);
    fcgipm_previous_tend_orphans(state);
    fcgipm_msg_send(state->requests[1], &look);
}

fcgipm_link_t *fcgipm_guard_link(void)
{
    return guard_link;
}

const fcgipm_board_t *fcgipm_guard_board(void)
{
    return guard_state ? guard_state->board : NULL;
}
