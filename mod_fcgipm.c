/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mod_fcgipm: FastCGI applications spawned, supervised and served by Apache httpd. This file is the roof: the
 * module record and the hooks, nothing else. modules/README says where everything is.
 */
#include <httpd.h>
#include <http_connection.h>
#include <http_config.h>
#include <http_protocol.h>
#include <http_request.h>
#include <ap_mpm.h>
#include <mod_status.h>
#include <mpm_common.h>

#include "web/directive.h"
#include "web/async.h"
#include "web/compat.h"
#include "web/guard.h"
#include "web/handler.h"
#include "web/legacy.h"
#include "web/match.h"
#include "web/status.h"
#include "web/wrapper.h"

static int begin_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    (void)plog;
    (void)ptemp;
    fcgipm_directive_begin(pconf);
    fcgipm_wrapper_begin(pconf);
    fcgipm_legacy_begin(pconf);
    return OK;
}

static void child_status(server_rec *s, pid_t pid, ap_generation_t gen, int slot, mpm_child_status state)
{
    /* Not at MPM_CHILD_LOST_SLOT: such a child still finishes its requests. */
    if (state == MPM_CHILD_EXITED)
        fcgipm_guard_child_gone();
    (void)s;
    (void)pid;
    (void)gen;
    (void)slot;
}

static void register_hooks(apr_pool_t *pool)
{
    ap_hook_pre_config(begin_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(fcgipm_guard_check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(fcgipm_guard_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_monitor(fcgipm_guard_monitor, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_status(child_status, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(fcgipm_guard_child_init, NULL, NULL, APR_HOOK_MIDDLE);

    /* A mounted application asks no file: before mod_alias and the core, after mod_rewrite in the server's
     * context. */
    ap_hook_translate_name(fcgipm_match_translate, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_map_to_storage(fcgipm_match_map_to_storage, NULL, NULL, APR_HOOK_FIRST);
    /* Before mod_dir and mod_negotiation act on a directory that happens to have the same name. */
    ap_hook_fixups(fcgipm_match_fixups, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_fixups(fcgipm_compat_fixups, NULL, NULL, APR_HOOK_FIRST);
    /* Waiting without a thread. */
    ap_hook_process_connection(fcgipm_async_process_connection, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_pre_close_connection(fcgipm_async_pre_close_connection, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(fcgipm_async_redirect, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(fcgipm_handler_request, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(fcgipm_status_handler, NULL, NULL, APR_HOOK_MIDDLE);
    APR_OPTIONAL_HOOK(ap, status_hook, fcgipm_status_server_status, NULL, NULL, APR_HOOK_MIDDLE);
    (void)pool;
}

__attribute__((visibility("default"))) AP_DECLARE_MODULE(fcgipm) = {STANDARD20_MODULE_STUFF,
                                                                    fcgipm_directive_create_dir,
                                                                    fcgipm_directive_merge_dir,
                                                                    fcgipm_directive_create_server,
                                                                    fcgipm_directive_merge_server,
                                                                    fcgipm_directive_table,
                                                                    register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
                                                                    AP_MODULE_FLAG_NONE
#endif
};
