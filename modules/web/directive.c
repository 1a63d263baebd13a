/* SPDX-License-Identifier: Apache-2.0 */
#include "web/directive.h"

#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <unixd.h>

#include "core/owner.h"
#include "share/demand.h"

extern module AP_MODULE_DECLARE_DATA fcgipm_module;

#define HANDLER_PREFIX "fcgipm:"

/* What this configuration has said so far; reset in pre_config. */
static apr_array_header_t *references;   /* pools named by FcgiPass, SetHandler, AddHandler */
static apr_array_header_t *old_wrappers; /* of fcgipm_reference_t: FcgiWrapper as FcgidWrapper's old name */
static bool scripts_named;
static fcgipm_server_conf_t *main_conf; /* while the configuration is read */
static fcgipm_setting_t *current;       /* inside <FcgiServer> */
static const char *current_block;

static bool is_listed(const char *name);

const char *fcgipm_directive_kind(const fcgipm_setting_t *s)
{
    return s->user_from ? "FcgiServerTemplate" : "FcgiServer";
}

const apr_array_header_t *fcgipm_directive_references(void)
{
    return references;
}

void fcgipm_directive_begin(apr_pool_t *pconf)
{
    references = apr_array_make(pconf, 16, sizeof(fcgipm_reference_t));
    old_wrappers = apr_array_make(pconf, 4, sizeof(fcgipm_reference_t));
    scripts_named = false;
    current = NULL;
}

static const char *place_of(const cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
}

/* --- configurations
 * ------------------------------------------------------------------------------------------------ */

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
    return ap_get_module_config(s->module_config, &fcgipm_module);
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

/* --- <FcgiServer> and what is in it
 * -------------------------------------------------------------------------------- */

static bool name_ok(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < 64 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

const char *fcgipm_directive_add(apr_pool_t *mem, server_rec *s, fcgipm_setting_t *setting, const char *place)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(s->module_config, &fcgipm_module);
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

/* Letters that differ, are missing or too many; case does not count. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[32], before, left;
    size_t len = strlen(b);

    if (len >= sizeof row / sizeof *row)
        return UINT_MAX;
    for (size_t j = 0; j <= len; j++)
        row[j] = (unsigned)j;
    for (; *a; a++) {
        before = row[0]++;
        for (size_t j = 1; j <= len; j++) {
            left = row[j - 1] < row[j] ? row[j - 1] : row[j];
            before += apr_tolower(*a) != apr_tolower(b[j - 1]);
            left = left + 1 < before ? left + 1 : before;
            before = row[j];
            row[j] = left;
        }
    }
    return row[len];
}

/* The directive for blocks that `wrong` was meant to be, or NULL. */
static const char *nearest(const char *wrong)
{
    const char *found = NULL;
    unsigned best = 4, d;

    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if ((d = distance(wrong, fcgipm_setting_rows[i].directive)) < best) {
            best = d;
            found = fcgipm_setting_rows[i].directive;
        }
    return found;
}

/* httpd would take any directive of its own in here, and do something that nobody meant; and of a name that
 * it does not know it says no more than that. */
static const char *check_inside(cmd_parms *cmd, const char *kind, const char *name)
{
    for (const ap_directive_t *d = cmd->directive->first_child; d; d = d->next) {
        const char *meant = is_listed(d->directive) ? NULL : nearest(d->directive);

        if (meant || strncasecmp(d->directive, "Fcgi", 4))
            cmd->err_directive = d;
        if (meant)
            return apr_psprintf(cmd->pool, "%s: there is no such directive; write %s", d->directive, meant);
        if (strncasecmp(d->directive, "Fcgi", 4))
            return apr_psprintf(cmd->pool,
                                "%s %s: not allowed in %s %s>, which describes an application; only "
                                "directives that begin with Fcgi are",
                                d->directive, d->args, kind, name);
    }
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

/* The block is read. What a template needs, and what it must not have, the other kind must not, and needs. */
static const char *check_block(cmd_parms *cmd, const fcgipm_setting_t *setting, bool template)
{
    const char *fault;

    if (template && !setting->user_from)
        return "FcgiUserFrom is missing; write whom the processes run as: FcgiUserFrom Owner below=/path, "
               "SuexecUserGroup, Path /path/%{user}, or Server";
    if (!template && setting->user_from)
        return "FcgiUserFrom belongs in <FcgiServerTemplate>; write FcgiUser here";
    if ((fault = fcgipm_setting_check(setting, cmd->pool)))
        return fault;
    return template ? fcgipm_demand_fits(setting, cmd->pool) : NULL;
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

static const char *server_block(cmd_parms *cmd, void *dir, const char *args)
{
    ap_directive_t *block = cmd->directive; /* (what is inside changes that, and the command) */
    const char *kind = cmd->cmd->name;
    bool template = !strcasecmp(kind, "<FcgiServerTemplate");
    const char *end = strrchr(args, '>');
    const char *name, *fault;
    fcgipm_setting_t *setting;

    (void)dir;
    if ((fault = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT)))
        return fault;
    if (!end)
        return apr_pstrcat(cmd->pool, cmd->cmd->name, "> directive missing closing '>'", NULL);
    if (current)
        return apr_psprintf(cmd->pool, "%s> cannot be inside %s>", cmd->cmd->name, current_block);
    args = apr_pstrmemdup(cmd->pool, args, (apr_size_t)(end - args));
    name = ap_getword_conf(cmd->pool, &args);
    if (!name_ok(name) || *args)
        return apr_psprintf(
            cmd->pool,
            "%s %s%s%s>: not a name; write one of 1 to 63 letters, digits, '.', '_' or '-', such as "
            "%s blog>",
            cmd->cmd->name, name, *args ? " " : "", args, cmd->cmd->name);
    if ((fault = check_inside(cmd, cmd->cmd->name, name)))
        return fault;
    setting = apr_pcalloc(cmd->pool, sizeof *setting);
    fcgipm_setting_defaults(setting, cmd->pool);
    setting->name = name;
    setting->vhost = fcgipm_directive_vhost(cmd->pool, cmd->server);
    current = setting;
    current_block = apr_pstrcat(cmd->pool, cmd->cmd->name, " ", name, NULL);
    fault = ap_walk_config(block->first_child, cmd, cmd->context);
    current = NULL;
    if (fault)
        return fault;
    cmd->directive = block;
    fcgipm_setting_finish(setting);
    if ((fault = check_block(cmd, setting, template))) {
        cmd->err_directive = fcgipm_directive_line(block, fault);
        return apr_psprintf(cmd->pool, "%s %s>: %s", kind, name, fault);
    }
    if ((fault = fcgipm_directive_add(cmd->pool, cmd->server, setting, place_of(cmd))))
        return fault;
    fcgipm_directive_pool(cmd->server, name)->block = block;
    return NULL;
}

/* httpd would say that some module may not be loaded. */
static const char *not_a_block(cmd_parms *cmd, void *dir, const char *args)
{
    (void)dir;
    return apr_psprintf(cmd->pool, "%s %s: a block; write <%s %s>, its directives, and </%s>", cmd->cmd->name,
                        args, cmd->cmd->name, args, cmd->cmd->name);
}

static const fcgipm_setting_row_t *row_of(const char *directive, const char *key, unsigned nth)
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

const fcgipm_setting_row_t *fcgipm_directive_row(const char *directive, const char *key, unsigned nth)
{
    return row_of(directive, key, nth);
}

static const char *syntax_of(apr_pool_t *pool, const char *directive)
{
    const char *text = directive;

    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if (!strcasecmp(fcgipm_setting_rows[i].directive, directive))
            text = apr_pstrcat(pool, text, " ", fcgipm_setting_rows[i].syntax, NULL);
    return text;
}

static const char *wrong_count(cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "wrong arguments; write: %s", syntax_of(cmd->pool, cmd->cmd->name));
}

/* FcgiEnv NAME [VALUE], as httpd's SetEnv. */
static const char *env_directive(cmd_parms *cmd, const char *args)
{
    const char *name = ap_getword_conf(cmd->pool, &args);
    const char *value = ap_getword_conf(cmd->pool, &args);

    if (!*name || *args)
        return wrong_count(cmd);
    if (strchr(name, '='))
        return apr_psprintf(cmd->pool, "FcgiEnv %s: a name has no '='; write: FcgiEnv NAME value", name);
    return fcgipm_setting_parse(current, row_of("FcgiEnv", NULL, 0),
                                apr_pstrcat(cmd->pool, name, "=", value, NULL), cmd->pool);
}

/* FcgiPassEnv NAME ...: resolved now, so that a change of httpd's own environment is a change of the pool. */
static const char *pass_env_directive(cmd_parms *cmd, const char *args)
{
    const char *fault = NULL;

    if (!*args)
        return wrong_count(cmd);
    while (*args && !fault) {
        const char *name = ap_getword_conf(cmd->pool, &args);
        const char *value = getenv(name);

        if (!value)
            ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_NOERRNO, 0, cmd->server,
                         "FPM0660: %s: FcgiPassEnv %s: httpd has no such variable in its environment",
                         place_of(cmd), name);
        else
            fault = fcgipm_setting_parse(current, row_of("FcgiEnv", NULL, 0),
                                         apr_pstrcat(cmd->pool, name, "=", value, NULL), cmd->pool);
    }
    return fault;
}

/* FcgiCommand PROGRAM ARGUMENT ...: words as httpd reads them (quotes, backslash); no shell. */
static const char *command_directive(cmd_parms *cmd, const char *args)
{
    const fcgipm_setting_row_t *row = row_of("FcgiCommand", NULL, 0);
    const char *word = ap_getword_conf(cmd->pool, &args);
    const char *fault;

    if (!*word)
        return wrong_count(cmd);
    if (current->command && current->command->nelts)
        return "FcgiCommand is given twice in this block; keep one";
    fault = fcgipm_setting_parse(current, row, ap_server_root_relative(cmd->pool, word), cmd->pool);
    while (*args && !fault)
        fault = fcgipm_setting_parse(current, row, ap_getword_conf(cmd->pool, &args), cmd->pool);
    return fault;
}

/* FcgiSendfile DIRECTORY ...: where it is now. Who can write there later cannot make it another place. */
static const char *sendfile_directive(cmd_parms *cmd, const char *args)
{
    const char *fault = NULL;

    if (!*args)
        return wrong_count(cmd);
    while (*args && !fault) {
        const char *word = ap_getword_conf(cmd->pool, &args);
        char real[PATH_MAX];

        fault = fcgipm_setting_parse(current, row_of("FcgiSendfile", NULL, 0),
                                     word[0] == '/' && realpath(word, real) ? real : word, cmd->pool);
    }
    return fault;
}

/* key=value where the directive has such a key, else the next of its positions; a list takes all that follow.
 */
static const char *one_value(cmd_parms *cmd, const char *word, unsigned *position)
{
    const char *equals = strchr(word, '=');
    const fcgipm_setting_row_t *row = NULL;

    if (equals)
        row = row_of(cmd->cmd->name, apr_pstrmemdup(cmd->pool, word, (apr_size_t)(equals - word)), 0);
    if (row)
        return fcgipm_setting_parse(current, row, equals + 1, cmd->pool);
    if (!row_of(cmd->cmd->name, NULL, 0))
        return apr_psprintf(cmd->pool, "%s %s: not known; write: %s", cmd->cmd->name, word,
                            syntax_of(cmd->pool, cmd->cmd->name));
    row = row_of(cmd->cmd->name, NULL, *position);
    if (!row && *position > 0 && (row = row_of(cmd->cmd->name, NULL, --*position)) &&
        row->kind != FCGIPM_KIND_LIST)
        row = NULL;
    ++*position;
    return row ? fcgipm_setting_parse(current, row, word, cmd->pool) : wrong_count(cmd);
}

/* Every directive of the table that needs no more than its rows. */
static const char *table_directive(cmd_parms *cmd, const char *args)
{
    unsigned position = 0;
    const char *word = NULL, *fault = NULL;

    if (!*args)
        return wrong_count(cmd);
    while (*args && !fault)
        fault = one_value(cmd, word = ap_getword_conf(cmd->pool, &args), &position);
    /* One number is both: a fixed size. */
    if (!fault && position == 1 && !strcasecmp(cmd->cmd->name, "FcgiProcesses"))
        fault = one_value(cmd, word, &position);
    return fault;
}

/* httpd has no comments behind a directive; without this they would be arguments of the program. */
static const char *comment_in(cmd_parms *cmd, const char *args)
{
    while (*args) {
        if (*args == '#')
            return apr_psprintf(cmd->pool,
                                "%s ... %s: a comment needs a line of its own; an argument that begins with "
                                "# is written in quotes",
                                cmd->cmd->name, args);
        ap_getword_conf(cmd->temp_pool, &args);
    }
    return NULL;
}

static const char *pool_directive(cmd_parms *cmd, void *dir, const char *args)
{
    const char *name = cmd->cmd->name, *fault;

    (void)dir;
    if (!current)
        return apr_psprintf(cmd->pool, "%s belongs inside a <FcgiServer NAME> block", name);
    if ((fault = comment_in(cmd, args)))
        return fault;
    if (!strcasecmp(name, "FcgiEnv"))
        return env_directive(cmd, args);
    if (!strcasecmp(name, "FcgiPassEnv"))
        return pass_env_directive(cmd, args);
    if (!strcasecmp(name, "FcgiCommand"))
        return command_directive(cmd, args);
    if (!strcasecmp(name, "FcgiSendfile"))
        return sendfile_directive(cmd, args);
    return table_directive(cmd, args);
}

/* --- elsewhere
 * ----------------------------------------------------------------------------------------------------- */

static const char *outside_a_block(const cmd_parms *cmd)
{
    return current ? apr_psprintf(cmd->pool, "%s holds for the whole server; write it outside of %s>",
                                  cmd->cmd->name, current_block)
                   : NULL;
}

static const char *runtime_dir_directive(cmd_parms *cmd, void *dir, const char *arg)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(cmd->server->module_config, &fcgipm_module);
    const char *fault = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    (void)dir;
    if (fault || (fault = outside_a_block(cmd)))
        return fault;
    conf->runtime_dir = ap_runtime_dir_relative(cmd->pool, arg);
    conf->runtime_place = place_of(cmd);
    /* A socket's path has 107 bytes, of which ours takes "/p2047/s16383.sock.new". */
    if (!conf->runtime_dir || strlen(conf->runtime_dir) > 80)
        return apr_psprintf(
            cmd->pool, "FcgiRuntimeDir %s: too long for the sockets in it; write a path of at most 80 bytes",
            arg);
    return NULL;
}

static const char *cgroup_directive(cmd_parms *cmd, void *dir, const char *arg)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(cmd->server->module_config, &fcgipm_module);
    const char *fault = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    (void)dir;
    if (fault || (fault = outside_a_block(cmd)))
        return fault;
    if (arg[0] != '/' && strcasecmp(arg, "Auto") && strcasecmp(arg, "On") && strcasecmp(arg, "Off"))
        return apr_psprintf(
            cmd->pool,
            "FcgiCgroup %s: not known; write Auto, On, Off, or the full path of a control group, "
            "such as /sys/fs/cgroup/httpd",
            arg);
    conf->cgroup = arg;
    conf->cgroup_place = place_of(cmd);
    return NULL;
}

#define USER_LIMIT_SYNTAX "FcgiUserLimit USER|* [memory=size] [cpu=percent] [pids=number]"

/* One line for a user; a second one adds to it. */
static fcgipm_user_limit_t *limit_of_user(cmd_parms *cmd, uint32_t uid)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(cmd->server->module_config, &fcgipm_module);
    fcgipm_user_limit_t *limit;

    if (!conf->user_limits)
        conf->user_limits = apr_array_make(cmd->pool, 4, sizeof *limit);
    for (int i = 0; i < conf->user_limits->nelts; i++) {
        limit = &APR_ARRAY_IDX(conf->user_limits, i, fcgipm_user_limit_t);
        if (limit->uid == uid)
            return limit;
    }
    limit = apr_array_push(conf->user_limits);
    limit->uid = uid;
    return limit;
}

static const char *user_limit_value(cmd_parms *cmd, fcgipm_user_limit_t *limit, const char *word)
{
    const char *equals = strchr(word, '=');

    for (unsigned i = 0; equals && i < fcgipm_setting_user_row_count; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_user_rows[i];

        if (strlen(row->key) == (size_t)(equals - word) && !strncasecmp(word, row->key, strlen(row->key)))
            return fcgipm_setting_parse(limit, row, equals + 1, cmd->pool);
    }
    return apr_psprintf(cmd->pool, "FcgiUserLimit %s: not known; write: " USER_LIMIT_SYNTAX, word);
}

static const char *user_limit_directive(cmd_parms *cmd, void *dir, const char *args)
{
    const char *name = ap_getword_conf(cmd->pool, &args), *fault = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    const struct passwd *pw = strcmp(name, "*") ? getpwnam(name) : NULL;
    fcgipm_user_limit_t *limit;

    (void)dir;
    if (fault || (fault = outside_a_block(cmd)))
        return fault;
    if (!*name || !*args)
        return "FcgiUserLimit: wrong arguments; write: " USER_LIMIT_SYNTAX;
    if (!pw && strcmp(name, "*")) {
        fault = apr_psprintf(
            cmd->pool,
            "FcgiUserLimit %s: there is no such user; write a name that `id NAME` knows, or * for every user",
            name);
        if (ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST)
            return fault;
        /* An account that is gone must not keep the server from starting. */
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_NOERRNO, 0, cmd->server, "FPM0688: %s: %s", place_of(cmd),
                     fault);
        return NULL;
    }
    limit = limit_of_user(cmd, pw ? pw->pw_uid : FCGIPM_ANY_USER);
    while (*args && !fault)
        fault = user_limit_value(cmd, limit, ap_getword_conf(cmd->pool, &args));
    return fault;
}

static const char *global_directive(cmd_parms *cmd, void *dir, const char *arg)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(cmd->server->module_config, &fcgipm_module);
    const char *fault = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    (void)dir;
    if (!fault)
        fault = outside_a_block(cmd);
    for (unsigned i = 0; !fault && i < fcgipm_setting_global_row_count; i++)
        if (!strcasecmp(fcgipm_setting_global_rows[i].directive, cmd->cmd->name))
            return fcgipm_setting_parse(&conf->global, &fcgipm_setting_global_rows[i], arg, cmd->pool);
    return fault;
}

/* The section around a directive: its name, and whether it is a pattern. Sections that only add conditions
 * (<If>, <Limit>, ...) are looked through. */
static const ap_directive_t *section_of(const cmd_parms *cmd)
{
    static const char *const kinds[] = {"<Location", "<LocationMatch", "<Directory", "<DirectoryMatch",
                                        "<Files",    "<FilesMatch",    "<Proxy",     "<ProxyMatch"};

    for (const ap_directive_t *d = cmd->directive->parent; d; d = d->parent)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (!strcasecmp(d->directive, kinds[i]))
                return d;
    return NULL;
}

/* The prefix that a section stands for: "/blog" of <Location "/blog">. NULL in file mode; *pattern is set
 * where only the admin can know. */
static const char *prefix_of(const cmd_parms *cmd, bool *pattern)
{
    const ap_directive_t *section = section_of(cmd);
    const char *args, *path;
    size_t len;

    *pattern = false;
    if (!section || strncasecmp(section->directive, "<Location", 9))
        return NULL;
    args = section->args;
    path = ap_getword_conf(cmd->temp_pool, &args);
    len = strlen(path);
    if (len && path[len - 1] == '>')
        path = apr_pstrmemdup(cmd->temp_pool, path, --len);
    if (!strcasecmp(section->directive, "<LocationMatch") || !strcmp(path, "~") || strpbrk(path, "*?[")) {
        *pattern = true;
        return NULL;
    }
    while (len && path[len - 1] == '/')
        len--;
    return apr_pstrmemdup(cmd->pool, path, len);
}

/* prefix: what stands before the name in the configuration. */
static void refer(cmd_parms *cmd, fcgipm_dir_conf_t *conf, const char *prefix, const char *name)
{
    fcgipm_reference_t *ref = apr_array_push(references);

    *ref = (fcgipm_reference_t){.pool = name,
                                .place = place_of(cmd),
                                .directive = apr_pstrcat(cmd->pool, cmd->cmd->name, " ", prefix, NULL),
                                .server = cmd->server};
    APR_ARRAY_PUSH(conf->opened, const char *) = name;
}

static bool in_htaccess(cmd_parms *cmd)
{
    return ap_check_cmd_context(cmd, NOT_IN_HTACCESS) != NULL;
}

static const char *pass_directive(cmd_parms *cmd, void *dir, const char *name, const char *option)
{
    fcgipm_dir_conf_t *conf = dir;
    bool pattern;

    if (!cmd->path)
        return apr_psprintf(cmd->pool,
                            "FcgiPass %s: not here; write it in <Location>, <Directory> or <Files>", name);
    if (!strcasecmp(name, "None")) {
        conf->pass = "";
        return NULL;
    }
    conf->pass = name;
    conf->prefix = prefix_of(cmd, &pattern);
    if (in_htaccess(cmd)) /* if the server's configuration opens it there, see fcgipm_directive_opened */
        return option ? apr_psprintf(cmd->pool, "FcgiPass %s %s: .htaccess can only name an application",
                                     name, option)
                      : NULL;
    if (option && !strncasecmp(option, "prefix=/", 8)) {
        const ap_directive_t *section = section_of(cmd);
        size_t len = strlen(option + 7);
        if (!section || strncasecmp(section->directive, "<Location", 9))
            return apr_psprintf(
                cmd->pool,
                "FcgiPass %s %s: only in <Location> and <LocationMatch>; elsewhere the file is the "
                "script: leave prefix= out",
                name, option);
        while (len && option[6 + len] == '/')
            len--;
        conf->prefix = apr_pstrmemdup(cmd->pool, option + 7, len);
    } else if (option) {
        return apr_psprintf(cmd->pool, "FcgiPass %s %s: not known; write: FcgiPass NAME [prefix=/path]", name,
                            option);
    } else if (pattern) {
        return apr_psprintf(
            cmd->pool,
            "FcgiPass %s: a pattern does not tell where the application is mounted; write: FcgiPass %s "
            "prefix=/path (it becomes SCRIPT_NAME)",
            name, name);
    }
    refer(cmd, conf, "", name);
    return NULL;
}

/* "fcgipm-statsu": httpd would not say that it knows no such handler, and send the file as it is. */
static const char *check_handler(cmd_parms *cmd, const char *handler)
{
    if (!strcasecmp(handler, "fcgipm-script"))
        scripts_named = true;
    if (strncasecmp(handler, "fcgipm", 6) || !strncmp(handler, HANDLER_PREFIX, strlen(HANDLER_PREFIX)) ||
        !strcmp(handler, "fcgipm-script") || !strcmp(handler, "fcgipm-status"))
        return NULL;
    return apr_psprintf(cmd->pool,
                        "%s %s: there is no such handler; write fcgipm:NAME, fcgipm-script or fcgipm-status",
                        cmd->cmd->name, handler);
}

/* The status page shows what is everybody's. */
static void open_status(cmd_parms *cmd, fcgipm_dir_conf_t *conf, const char *handler)
{
    if (!strcmp(handler, FCGIPM_STATUS_HANDLER) && !in_htaccess(cmd))
        APR_ARRAY_PUSH(conf->opened, const char *) = FCGIPM_STATUS_HANDLER;
}

/* httpd's own SetHandler, seen as well: it opens the pool to this place, and in a <Location> tells the mount
 * point. */
static const char *set_handler(cmd_parms *cmd, void *dir, const char *handler)
{
    fcgipm_dir_conf_t *conf = dir;
    const char *fault = check_handler(cmd, handler);
    bool pattern;

    if (fault)
        return fault;
    open_status(cmd, conf, handler);
    if (strncmp(handler, HANDLER_PREFIX, strlen(HANDLER_PREFIX))) {
        conf->pass = "";
        return DECLINE_CMD;
    }
    conf->pass = handler + strlen(HANDLER_PREFIX);
    conf->prefix = prefix_of(cmd, &pattern);
    if (!in_htaccess(cmd)) /* there it opens nothing */
        refer(cmd, conf, HANDLER_PREFIX, conf->pass);
    return DECLINE_CMD;
}

static const char *add_handler(cmd_parms *cmd, void *dir, const char *handler, const char *extension)
{
    const char *fault = check_handler(cmd, handler);

    (void)extension;
    if (fault)
        return fault;
    open_status(cmd, dir, handler);
    if (strncmp(handler, HANDLER_PREFIX, strlen(HANDLER_PREFIX)))
        return DECLINE_CMD;
    if (!in_htaccess(cmd))
        refer(cmd, dir, HANDLER_PREFIX, handler + strlen(HANDLER_PREFIX));
    return DECLINE_CMD;
}

static const char *allow_pass(cmd_parms *cmd, void *dir, const char *name)
{
    const char *fault = ap_check_cmd_context(cmd, NOT_IN_HTACCESS);

    if (!fault)
        refer(cmd, dir, "", name);
    return fault;
}

/* --- wrappers --- */

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

bool fcgipm_directive_allows(cmd_parms *cmd, const char *args)
{
    const fcgipm_server_conf_t *conf = fcgipm_directive_server(cmd->server);
    const char *key = command_key(cmd->pool, ap_getword_conf(cmd->pool, &args));

    return key && (apr_hash_get(conf->wrappers, key, APR_HASH_KEY_STRING) ||
                   (main_conf && apr_hash_get(main_conf->wrappers, key, APR_HASH_KEY_STRING)));
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

static const char *allow_wrapper(cmd_parms *cmd, void *dir, const char *command, const char *name)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(cmd->server->module_config, &fcgipm_module);
    const char *key = command_key(cmd->pool, command), *fault = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    const fcgipm_pool_conf_t *template = name ? apr_hash_get(conf->pools, name, APR_HASH_KEY_STRING) : NULL;
    fcgipm_pool_conf_t *pool;
    fcgipm_setting_t *s;

    (void)dir;
    if (fault || (fault = outside_a_block(cmd)))
        return fault;
    if (name && !template && main_conf)
        template = apr_hash_get(main_conf->pools, name, APR_HASH_KEY_STRING);
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
    if ((fault = taken_before(cmd, key)) || (fault = check_block(cmd, s, true)) ||
        (fault = fcgipm_directive_add(cmd->pool, cmd->server, s, place_of(cmd))))
        return apr_psprintf(cmd->pool, "FcgiAllowWrapper \"%s\": %s", command, fault);
    pool = apr_hash_get(conf->pools, s->name, APR_HASH_KEY_STRING);
    pool->wrapper = command;
    apr_hash_set(conf->wrappers, key, APR_HASH_KEY_STRING, pool);
    return NULL;
}

static fcgipm_directive_before_fn *wrapper_before; /* set when the module is loaded */

void fcgipm_directive_wrapper_before(fcgipm_directive_before_fn *before)
{
    wrapper_before = before;
}

static const char *wrapper_directive(cmd_parms *cmd, void *dir, const char *args)
{
    fcgipm_dir_conf_t *conf = dir;
    int first = conf->endings->nelts, i;
    const char *command, *fault;
    bool is_virtual = false;

    if (wrapper_before && wrapper_before(cmd, dir, args, &fault)) {
        if (!fault && !in_htaccess(cmd))
            APR_ARRAY_PUSH(old_wrappers, fcgipm_reference_t) =
                (fcgipm_reference_t){.pool = command_key(cmd->pool, ap_getword_conf(cmd->pool, &args)),
                                     .place = place_of(cmd),
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
    if (!in_htaccess(cmd))
        APR_ARRAY_PUSH(references, fcgipm_reference_t) = (fcgipm_reference_t){.wrapper = true,
                                                                              .pool = command,
                                                                              .place = place_of(cmd),
                                                                              .directive = cmd->cmd->name,
                                                                              .server = cmd->server};
    return NULL;
}

/* mod_suexec's own, seen as well: whom a template's pool for this virtual host runs as. */
static const char *suexec_user_group(cmd_parms *cmd, void *dir, const char *user, const char *group)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(cmd->server->module_config, &fcgipm_module);

    (void)dir;
    conf->site.user = user;
    conf->site.group = group;
    return DECLINE_CMD;
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
    fcgipm_server_conf_t *conf = ap_get_module_config(s->module_config, &fcgipm_module);

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

/* --- the table
 * ----------------------------------------------------------------------------------------------------- */

#define FCGIPM_DIRECTIVES_MAX 160
static const command_rec fixed_directives[] = {
    AP_INIT_RAW_ARGS("<FcgiServer", server_block, NULL, RSRC_CONF, "NAME: an application and its processes"),
    AP_INIT_RAW_ARGS("<FcgiServerTemplate", server_block, NULL, RSRC_CONF,
                     "NAME: an application of which each user has processes of his own"),
    AP_INIT_RAW_ARGS("FcgiServer", not_a_block, NULL, RSRC_CONF | ACCESS_CONF, "a block: <FcgiServer NAME>"),
    AP_INIT_RAW_ARGS("FcgiServerTemplate", not_a_block, NULL, RSRC_CONF | ACCESS_CONF,
                     "a block: <FcgiServerTemplate NAME>"),
    AP_INIT_TAKE2("SuexecUserGroup", suexec_user_group, NULL, RSRC_CONF, "mod_suexec's own, seen here too"),
    AP_INIT_TAKE1("FcgiRuntimeDir", runtime_dir_directive, NULL, RSRC_CONF,
                  "DIR: sockets and state, default fcgipm in httpd's runtime directory"),
    AP_INIT_TAKE1("FcgiCgroup", cgroup_directive, NULL, RSRC_CONF,
                  "Auto | On | Off | /path: control groups for the processes"),
    AP_INIT_RAW_ARGS("FcgiUserLimit", user_limit_directive, NULL, RSRC_CONF,
                     "USER|* [memory=size] [cpu=percent] [pids=number]: for all processes of a user"),
    AP_INIT_ITERATE("FcgiAllowPass", allow_pass, NULL, ACCESS_CONF,
                    "NAME ...: applications that .htaccess may choose from here on down"),
    AP_INIT_TAKE12("FcgiAllowWrapper", allow_wrapper, NULL, RSRC_CONF,
                   "\"command [argument ...]\" [TEMPLATE]: what FcgiWrapper may name"),
    AP_INIT_RAW_ARGS("FcgiWrapper", wrapper_directive, NULL, OR_FILEINFO,
                     "\"command [argument ...]\" [.extension ...] [virtual]: what answers for such files"),
    AP_INIT_TAKE12("FcgiPass", pass_directive, NULL, ACCESS_CONF | OR_FILEINFO,
                   "NAME [prefix=/path] | None: the application that answers here"),
    AP_INIT_RAW_ARGS("FcgiPassEnv", pool_directive, NULL, RSRC_CONF,
                     "NAME ...: variables of httpd's own environment for the processes"),
    AP_INIT_TAKE1("SetHandler", set_handler, NULL, OR_FILEINFO, "httpd's own; fcgipm:NAME is seen here too"),
    AP_INIT_ITERATE2("AddHandler", add_handler, NULL, OR_FILEINFO,
                     "httpd's own; fcgipm:NAME is seen here too"),
};
/* Filled from core/setting_table.h when the module is loaded, so that a new row is a new directive without a
 * line of code here. */
command_rec fcgipm_directive_table[FCGIPM_DIRECTIVES_MAX];

static command_rec *next_command = fcgipm_directive_table;

static bool is_listed(const char *name)
{
    for (const command_rec *c = fcgipm_directive_table; c < next_command; c++)
        if (!strcasecmp(c->name, name))
            return true;
    return false;
}

void fcgipm_directive_command(const command_rec *command)
{
    if (!is_listed(command->name) && next_command < fcgipm_directive_table + FCGIPM_DIRECTIVES_MAX - 1)
        memcpy(next_command++, command, sizeof *command);
}

__attribute__((constructor)) static void fill_table(void)
{
    for (size_t i = 0; i < sizeof fixed_directives / sizeof *fixed_directives; i++)
        fcgipm_directive_command(&fixed_directives[i]);
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_rows[i];
        command_rec rec = AP_INIT_RAW_ARGS(row->directive, pool_directive, NULL, RSRC_CONF, row->syntax);

        fcgipm_directive_command(&rec);
    }
    for (unsigned i = 0; i < fcgipm_setting_global_row_count; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_global_rows[i];
        command_rec rec = AP_INIT_TAKE1(row->directive, global_directive, NULL, RSRC_CONF, row->syntax);

        fcgipm_directive_command(&rec);
    }
}
