/* SPDX-License-Identifier: Apache-2.0 */
#include "web/directive.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_main.h>
#include <unixd.h>

extern module AP_MODULE_DECLARE_DATA fcgipm_module;

/* What this configuration has said so far; reset in pre_config. */
static apr_array_header_t *references; /* of fcgipm_reference_t */
static bool scripts_named;
static fcgipm_server_conf_t *main_conf; /* while the configuration is read */

#define FCGIPM_DIRECTIVES_MAX 160
command_rec fcgipm_directive_table[FCGIPM_DIRECTIVES_MAX];
static command_rec *next_command = fcgipm_directive_table;

const char *fcgipm_directive_kind(const fcgipm_setting_t *s)
{
    return s->user_from ? "FcgiServerTemplate" : "FcgiServer";
}

const apr_array_header_t *fcgipm_directive_references(void)
{
    return references;
}

void fcgipm_directive_refer(cmd_parms *cmd, const char *directive, const char *pool, bool wrapper)
{
    APR_ARRAY_PUSH(references, fcgipm_reference_t) =
        (fcgipm_reference_t){.pool = pool,
                             .place = fcgipm_directive_place(cmd),
                             .directive = directive,
                             .server = cmd->server,
                             .wrapper = wrapper};
}

void fcgipm_directive_begin(apr_pool_t *pconf)
{
    references = apr_array_make(pconf, 16, sizeof(fcgipm_reference_t));
    scripts_named = false;
}

const char *fcgipm_directive_place(const cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
}

bool fcgipm_directive_in_htaccess(cmd_parms *cmd)
{
    return ap_check_cmd_context(cmd, NOT_IN_HTACCESS) != NULL;
}

static fcgipm_server_conf_t *own_conf(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &fcgipm_module);
}

void *fcgipm_directive_create_server(apr_pool_t *pool, server_rec *s)
{
    fcgipm_server_conf_t *conf = apr_pcalloc(pool, sizeof *conf);

    conf->pools = apr_hash_make(pool);
    conf->wrappers = apr_hash_make(pool);
    fcgipm_setting_global_defaults(&conf->global, pool);
    conf->script = apr_pcalloc(pool, sizeof *conf->script);
    fcgipm_setting_defaults(conf->script, pool);
    fcgipm_setting_finish(conf->script);
    if (!s->is_virtual)
        main_conf = conf;
    return conf;
}

/* A virtual host keeps its own blocks; those of the main server are found by fcgipm_directive_pool. */
void *fcgipm_directive_merge_server(apr_pool_t *pool, void *base, void *add)
{
    (void)pool;
    (void)base;
    return add;
}

void *fcgipm_directive_create_dir(apr_pool_t *pool, char *path)
{
    fcgipm_dir_conf_t *conf = apr_pcalloc(pool, sizeof *conf);

    (void)path;
    conf->opened = apr_array_make(pool, 1, sizeof(const char *));
    conf->endings = apr_array_make(pool, 1, sizeof(fcgipm_wrapper_t));
    return conf;
}

void *fcgipm_directive_merge_dir(apr_pool_t *pool, void *base_, void *add_)
{
    const fcgipm_dir_conf_t *base = base_, *add = add_;
    fcgipm_dir_conf_t *conf = apr_pmemdup(pool, base, sizeof *base);

    if (add->pass) {
        conf->pass = add->pass;
        conf->prefix = add->prefix;
    }
    if (add->wrappers)
        conf->wrappers =
            base->wrappers ? apr_hash_overlay(pool, add->wrappers, base->wrappers) : add->wrappers;
    /* What is said further inside goes first; an application or another handler ends what was said outside.
     */
    if (add->pass || base->endings->nelts == 0)
        conf->endings = add->endings;
    else if (add->endings->nelts)
        conf->endings = apr_array_append(pool, add->endings, base->endings);
    conf->opened = add->opened->nelts == 0    ? base->opened
                   : base->opened->nelts == 0 ? add->opened
                                              : apr_array_append(pool, base->opened, add->opened);
    return conf;
}

void fcgipm_directive_settle(apr_pool_t *pconf, server_rec *main_server)
{
    const fcgipm_server_conf_t *base = fcgipm_directive_server(main_server);

    for (server_rec *s = main_server->next; s; s = s->next) {
        fcgipm_server_conf_t *own;

        if (fcgipm_directive_server(s) != base)
            continue;
        own = apr_pmemdup(pconf, base, sizeof *base);
        own->pools = apr_hash_make(pconf);
        own->wrappers = apr_hash_make(pconf);
        own->site = (fcgipm_world_site_t){0};
        ap_set_module_config(s->module_config, &fcgipm_module, own);
    }
}

const fcgipm_server_conf_t *fcgipm_directive_server(const server_rec *s)
{
    return own_conf(s);
}

fcgipm_server_conf_t *fcgipm_directive_own(const cmd_parms *cmd)
{
    return own_conf(cmd->server);
}

const fcgipm_server_conf_t *fcgipm_directive_main(void)
{
    return main_conf;
}

const fcgipm_dir_conf_t *fcgipm_directive_dir(const request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &fcgipm_module);
}

fcgipm_pool_conf_t *fcgipm_directive_pool(const server_rec *s, const char *name)
{
    fcgipm_pool_conf_t *pool = apr_hash_get(fcgipm_directive_server(s)->pools, name, APR_HASH_KEY_STRING);

    if (!pool && s != ap_server_conf && ap_server_conf)
        pool = apr_hash_get(fcgipm_directive_server(ap_server_conf)->pools, name, APR_HASH_KEY_STRING);
    return pool;
}

bool fcgipm_directive_opened(const request_rec *r, const char *name)
{
    const apr_array_header_t *opened = fcgipm_directive_dir(r)->opened;

    for (int i = 0; i < opened->nelts; i++)
        if (!strcmp(APR_ARRAY_IDX(opened, i, const char *), name))
            return true;
    return false;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t len = name ? strlen(name) : 0, end = strlen(ending);

    return len > end && !strcmp(name + len - end, ending);
}

const fcgipm_wrapper_t *fcgipm_directive_wrapper(const request_rec *r)
{
    const apr_array_header_t *wrappers = fcgipm_directive_dir(r)->endings;

    for (int i = 0; i < wrappers->nelts; i++) {
        const fcgipm_wrapper_t *w = &APR_ARRAY_IDX(wrappers, i, fcgipm_wrapper_t);

        if (!w->ending || ends_with(r->filename, w->ending))
            return w;
    }
    return NULL;
}

const fcgipm_pool_conf_t *fcgipm_directive_allowed(const server_rec *s, const char *command)
{
    const fcgipm_pool_conf_t *pool =
        apr_hash_get(fcgipm_directive_server(s)->wrappers, command, APR_HASH_KEY_STRING);

    if (!pool && s != ap_server_conf && ap_server_conf)
        pool = apr_hash_get(fcgipm_directive_server(ap_server_conf)->wrappers, command, APR_HASH_KEY_STRING);
    return pool;
}

const char *fcgipm_directive_add(apr_pool_t *mem, server_rec *s, fcgipm_setting_t *setting, const char *place)
{
    fcgipm_server_conf_t *conf = own_conf(s);
    fcgipm_pool_conf_t *pool = apr_hash_get(conf->pools, setting->name, APR_HASH_KEY_STRING);

    if (pool)
        return apr_psprintf(mem, "<%s %s>: the name is already used at %s; take another one",
                            fcgipm_directive_kind(setting), setting->name, pool->place);
    pool = apr_pcalloc(mem, sizeof *pool);
    pool->setting = setting;
    if (setting->user_from)
        pool->model = (fcgipm_world_template_t){.key = fcgipm_setting_key(setting),
                                                .fingerprint = fcgipm_setting_fingerprint(setting),
                                                .setting = setting};
    pool->server = s;
    pool->place = place;
    apr_hash_set(conf->pools, setting->name, APR_HASH_KEY_STRING, pool);
    return NULL;
}

/* ServerName may leave the port out; <VirtualHost> says it. */
static unsigned vhost_port(const server_rec *s)
{
    return s->port || !s->addrs ? s->port : s->addrs->host_port;
}

const char *fcgipm_directive_vhost(apr_pool_t *pool, const server_rec *s)
{
    return s->is_virtual
               ? apr_psprintf(pool, "%s:%u", s->server_hostname ? s->server_hostname : "", vhost_port(s))
               : "";
}

const ap_directive_t *fcgipm_directive_line(const ap_directive_t *block, const char *sentence)
{
    const char *begin =
        sentence +
        (strncmp(sentence, FCGIPM_WOULD_NOT, strlen(FCGIPM_WOULD_NOT)) ? 0 : strlen(FCGIPM_WOULD_NOT));
    size_t len = strcspn(begin, " :,");
    const ap_directive_t *found = block;

    for (const ap_directive_t *d = block->first_child; d; d = d->next)
        if (strlen(d->directive) == len && !strncasecmp(d->directive, begin, len))
            found = d;
    return found;
}

const fcgipm_setting_row_t *fcgipm_directive_row(const char *directive, const char *key, unsigned nth)
{
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_rows[i];

        if (strcasecmp(row->directive, directive))
            continue;
        if (key ? row->key && !strcasecmp(row->key, key) : !row->key && nth-- == 0)
            return row;
    }
    return NULL;
}

/* mod_suexec knows the user of a virtual host; it wants to be asked for a request. */
static const ap_unix_identity_t *vhost_user(server_rec *s, apr_pool_t *pool)
{
    request_rec *r = apr_pcalloc(pool, sizeof *r);

    r->pool = pool;
    r->server = s;
    r->per_dir_config = s->lookup_defaults;
    r->notes = apr_table_make(pool, 1);
    return ap_run_get_suexec_identity(r);
}

void fcgipm_directive_vhost_user(fcgipm_setting_t *setting, server_rec *s, apr_pool_t *pconf)
{
    const ap_unix_identity_t *id = vhost_user(s, pconf);
    const struct passwd *pw = id ? getpwuid(id->uid) : NULL;
    const struct group *gr;

    if (!pw)
        return;
    setting->user = apr_pstrdup(pconf, pw->pw_name);
    gr = getgrgid(id->gid);
    setting->group = gr ? apr_pstrdup(pconf, gr->gr_name) : NULL;
}

/* Sorted by place of declaration is not needed, but a stable order keeps logs comparable: servers in order,
 * names within. */
static int by_name(const void *a, const void *b)
{
    const fcgipm_pool_conf_t *const *x = a, *const *y = b;

    return strcmp((*x)->setting->name, (*y)->setting->name);
}

apr_array_header_t *fcgipm_directive_pools(apr_pool_t *pool, server_rec *main_server)
{
    apr_array_header_t *all = apr_array_make(pool, 16, sizeof(fcgipm_pool_conf_t *));

    for (server_rec *s = main_server; s; s = s->next) {
        int first = all->nelts;

        /* A virtual host that says nothing of ours has the main server's configuration itself. */
        if (s != main_server && fcgipm_directive_server(s) == fcgipm_directive_server(main_server))
            continue;
        for (apr_hash_index_t *hi = apr_hash_first(pool, fcgipm_directive_server(s)->pools); hi;
             hi = apr_hash_next(hi))
            APR_ARRAY_PUSH(all, fcgipm_pool_conf_t *) = apr_hash_this_val(hi);
        qsort((fcgipm_pool_conf_t **)all->elts + first, (size_t)(all->nelts - first),
              sizeof(fcgipm_pool_conf_t *), by_name);
    }
    return all;
}

const fcgipm_world_site_t *fcgipm_directive_site(apr_pool_t *pool, server_rec *s)
{
    fcgipm_server_conf_t *conf = own_conf(s);

    conf->site.vhost = fcgipm_directive_vhost(pool, s);
    conf->site.key = fcgipm_world_site_key(&conf->site);
    return &conf->site;
}

bool fcgipm_directive_scripts(void)
{
    return scripts_named;
}

void fcgipm_directive_allow_scripts(void)
{
    scripts_named = true;
}

bool fcgipm_directive_listed(const char *name)
{
    for (const command_rec *c = fcgipm_directive_table; c < next_command; c++)
        if (!strcasecmp(c->name, name))
            return true;
    return false;
}

void fcgipm_directive_command(const command_rec *command)
{
    if (!fcgipm_directive_listed(command->name) &&
        next_command < fcgipm_directive_table + FCGIPM_DIRECTIVES_MAX - 1)
        memcpy(next_command++, command, sizeof *command);
}
