/* SPDX-License-Identifier: Apache-2.0 */
#include "web/wrapper.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>

#include "web/block.h"
#include "web/directive.h"

static apr_array_header_t *old_wrappers; /* of fcgipm_reference_t: FcgiWrapper as FcgidWrapper's old name */
static fcgipm_wrapper_before_fn *wrapper_before; /* set when the module is loaded */

void fcgipm_wrapper_begin(apr_pool_t *pconf)
{
    old_wrappers = apr_array_make(pconf, 4, sizeof(fcgipm_reference_t));
}

/* Its words, with one space between. NULL: there are none. */
static const char *command_key(apr_pool_t *pool, const char *text)
{
    const char *key = NULL;

    while (*text) {
        const char *word = ap_getword_conf(pool, &text);
        key = key ? apr_pstrcat(pool, key, " ", word, NULL) : word;
    }
    return key && *key ? key : NULL;
}

/* "php-cgi-1a2b3c4d": a name that is no other command's. */
static const char *wrapper_name(apr_pool_t *pool, const char *program, const char *key)
{
    const char *slash = strrchr(program, '/');
    char *base = apr_pstrndup(pool, slash ? slash + 1 : program, 40);
    uint64_t hash = 0xcbf29ce484222325ull;

    for (char *c = base; *c; c++)
        if (!apr_isalnum(*c) && !strchr("._-", *c))
            *c = '_';
    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 0x100000001b3ull;
    return apr_psprintf(pool, "%s-%08x", base, (unsigned)(hash ^ hash >> 32));
}

static fcgipm_setting_t *wrapper_setting(cmd_parms *cmd, const fcgipm_pool_conf_t *template,
                                         const char *command, const char *key)
{
    fcgipm_setting_t *s = apr_pcalloc(cmd->pool, sizeof *s);

    if (template)
        *s = *template->setting;
    else {
        fcgipm_setting_defaults(s, cmd->pool);
        s->processes_min = 0;
        s->user_from = FCGIPM_USER_HTTPD;
    }
    s->user_vhost = 1;
    s->command = apr_array_make(cmd->pool, 4, sizeof(const char *));
    while (*command)
        APR_ARRAY_PUSH(s->command, const char *) = ap_getword_conf(cmd->pool, &command);
    s->name = wrapper_name(cmd->pool, APR_ARRAY_IDX(s->command, 0, const char *), key);
    s->vhost = fcgipm_directive_vhost(cmd->pool, cmd->server);
    fcgipm_setting_finish(s);
    return s;
}

bool fcgipm_wrapper_allows(cmd_parms *cmd, const char *args)
{
    const fcgipm_server_conf_t *conf = fcgipm_directive_server(cmd->server), *main = fcgipm_directive_main();
    const char *key = command_key(cmd->pool, ap_getword_conf(cmd->pool, &args));

    return key && (apr_hash_get(conf->wrappers, key, APR_HASH_KEY_STRING) ||
                   (main && apr_hash_get(main->wrappers, key, APR_HASH_KEY_STRING)));
}

/* Above this it was FcgidWrapper's, below it would be ours: nobody would find that out. */
static const char *taken_before(const cmd_parms *cmd, const char *key)
{
    for (int i = 0; i < old_wrappers->nelts; i++) {
        const fcgipm_reference_t *old = &APR_ARRAY_IDX(old_wrappers, i, fcgipm_reference_t);

        if (!strcmp(old->pool, key) && (old->server == cmd->server || !cmd->server->is_virtual))
            return apr_psprintf(cmd->pool,
                                "FcgiWrapper at %s stands above it, where FcgiCompat takes it for the old "
                                "name of FcgidWrapper; write FcgiAllowWrapper first, or FcgidWrapper there",
                                old->place);
    }
    return NULL;
}

const char *fcgipm_wrapper_allow(cmd_parms *cmd, void *dir, const char *command, const char *name)
{
    const fcgipm_server_conf_t *conf = fcgipm_directive_own(cmd), *main = fcgipm_directive_main();
    const char *key = command_key(cmd->pool, command), *fault = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    const fcgipm_pool_conf_t *template = name ? apr_hash_get(conf->pools, name, APR_HASH_KEY_STRING) : NULL;
    fcgipm_pool_conf_t *pool;
    fcgipm_setting_t *s;

    (void)dir;
    if (fault || (fault = fcgipm_block_outside(cmd)))
        return fault;
    if (name && !template && main)
        template = apr_hash_get(main->pools, name, APR_HASH_KEY_STRING);
    if (!key || key[0] != '/')
        return apr_psprintf(cmd->pool,
                            "FcgiAllowWrapper \"%s\": write the full path of the program, and its "
                            "arguments, in quotes together",
                            command);
    if (name && (!template || !template->model.setting))
        return apr_psprintf(cmd->pool,
                            "FcgiAllowWrapper \"%s\" %s: there is no <FcgiServerTemplate %s> above it",
                            command, name, name);
    if (apr_hash_get(conf->wrappers, key, APR_HASH_KEY_STRING))
        return apr_psprintf(cmd->pool, "FcgiAllowWrapper \"%s\": it is allowed already", command);
    s = wrapper_setting(cmd, template, command, key);
    if ((fault = taken_before(cmd, key)) || (fault = fcgipm_block_check(cmd, s, true)) ||
        (fault = fcgipm_directive_add(cmd->pool, cmd->server, s, fcgipm_directive_place(cmd))))
        return apr_psprintf(cmd->pool, "FcgiAllowWrapper \"%s\": %s", command, fault);
    pool = apr_hash_get(conf->pools, s->name, APR_HASH_KEY_STRING);
    pool->wrapper = command;
    apr_hash_set(conf->wrappers, key, APR_HASH_KEY_STRING, pool);
    return NULL;
}

void fcgipm_wrapper_before(fcgipm_wrapper_before_fn *before)
{
    wrapper_before = before;
}

const char *fcgipm_wrapper_directive(cmd_parms *cmd, void *dir, const char *args)
{
    fcgipm_dir_conf_t *conf = dir;
    int first = conf->endings->nelts, i;
    const char *command, *fault;
    bool is_virtual = false;

    if (wrapper_before && wrapper_before(cmd, dir, args, &fault)) {
        if (!fault && !fcgipm_directive_in_htaccess(cmd))
            APR_ARRAY_PUSH(old_wrappers, fcgipm_reference_t) =
                (fcgipm_reference_t){.pool = command_key(cmd->pool, ap_getword_conf(cmd->pool, &args)),
                                     .place = fcgipm_directive_place(cmd),
                                     .server = cmd->server};
        return fault;
    }
    command = command_key(cmd->pool, ap_getword_conf(cmd->pool, &args));
    if (!command)
        return "FcgiWrapper: write the command, with its arguments in quotes, then endings such as .php";
    while (*args) {
        const char *word = ap_getword_conf(cmd->pool, &args);

        if (word[0] == '.' && word[1])
            APR_ARRAY_PUSH(conf->endings, fcgipm_wrapper_t) =
                (fcgipm_wrapper_t){.ending = word, .command = command};
        else if (!strcasecmp(word, "virtual"))
            is_virtual = true;
        else
            return apr_psprintf(
                cmd->pool,
                "FcgiWrapper ... %s: not known; write: FcgiWrapper \"command [argument ...]\" "
                "[.extension ...] [virtual]",
                word);
    }
    if (conf->endings->nelts == first)
        APR_ARRAY_PUSH(conf->endings, fcgipm_wrapper_t) = (fcgipm_wrapper_t){.command = command};
    for (i = first; i < conf->endings->nelts; i++)
        APR_ARRAY_IDX(conf->endings, i, fcgipm_wrapper_t).is_virtual = is_virtual;
    if (!fcgipm_directive_in_htaccess(cmd))
        fcgipm_directive_refer(cmd, cmd->cmd->name, command, true);
    return NULL;
}
