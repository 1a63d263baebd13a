/* SPDX-License-Identifier: Apache-2.0 */
#include "web/compat.h"

#include <string.h>
#include <sys/stat.h>

#include <apr_file_info.h>
#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <unixd.h>

#include "web/legacy.h"

extern module AP_MODULE_DECLARE_DATA fcgipm_module;
APLOG_USE_MODULE(fcgipm);

/* mod_fcgid's own 100 for each virtual host would not fit the board for the hosters who use it most. */
#define CLASS_MAX 16

/* --- pools --- */

/* The first name of the kind fcgid-php-cgi, fcgid-php-cgi-2, ... that the server has not used. */
static const char *free_name(apr_pool_t *pool, server_rec *s, const char *kind, const char *program)
{
    char *base = apr_pstrndup(pool, apr_filepath_name_get(program), 40);
    const char *name;

    for (char *p = base; *p; p++)
        if (!apr_isalnum(*p) && !strchr("._-", *p))
            *p = '_';
    name = apr_psprintf(pool, "%s-%s", kind, base);
    for (unsigned i = 2; apr_hash_get(fcgipm_directive_server(s)->pools, name, APR_HASH_KEY_STRING); i++)
        name = apr_psprintf(pool, "%s-%s-%u", kind, base, i);
    return name;
}

static fcgipm_pool_conf_t *add_pool(apr_pool_t *pool, server_rec *s, fcgipm_setting_t *setting,
                                    const char *place)
{
    const char *fault;

    setting->vhost = fcgipm_directive_vhost(pool, s);
    if (setting->processes_min > setting->processes_max)
        setting->processes_min = setting->processes_max;
    fcgipm_setting_finish(setting);
    fault = fcgipm_setting_check(setting, pool);
    if (!fault)
        fault = fcgipm_directive_add(pool, s, setting, place);
    if (!fault)
        return fcgipm_directive_pool(s, setting->name);
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_NOERRNO, 0, s, "FPM0691: %s: %s: %s", place, setting->name,
                 fault);
    return NULL;
}

/* What the main server has said, then the virtual host. */
static void apply_all(fcgipm_setting_t *setting, const server_rec *main_server, const server_rec *s,
                      apr_pool_t *pool)
{
    fcgipm_legacy_apply(setting, fcgipm_legacy_of(main_server)->said, pool);
    if (s != main_server)
        fcgipm_legacy_apply(setting, fcgipm_legacy_of(s)->said, pool);
}

static void apply_options(fcgipm_setting_t *setting, const server_rec *s, const char *command,
                          apr_pool_t *pool)
{
    const apr_array_header_t *commands = fcgipm_legacy_of(s)->commands;

    for (int i = 0; i < commands->nelts; i++)
        if (!strcmp(APR_ARRAY_IDX(commands, i, fcgipm_legacy_options_t).command, command))
            fcgipm_legacy_apply(setting, APR_ARRAY_IDX(commands, i, fcgipm_legacy_options_t).said, pool);
}

/* As their modules did it: with suexec's checks and its log, and below its document root also in a home.
 * Where httpd has no suexec (a -user without SuexecUserGroup) the manager becomes the user by itself. */
static void through_suexec(fcgipm_setting_t *setting)
{
    if (!setting->user || setting->connect || !ap_unixd_config.suexec_enabled)
        return;
    setting->suexec = SUEXEC_BIN;
    setting->suexec_root = FCGIPM_SUEXEC_ROOT_SERVER;
}

static fcgipm_setting_t *command_setting(apr_pool_t *pool, const server_rec *main_server, server_rec *s,
                                         const char *command)
{
    const fcgipm_setting_row_t *row = fcgipm_directive_row("FcgiCommand", NULL, 0);
    fcgipm_setting_t *setting = apr_pcalloc(pool, sizeof *setting);
    char **argv;

    fcgipm_setting_defaults(setting, pool);
    setting->processes_min = 0;
    setting->processes_max = CLASS_MAX;
    apr_tokenize_to_argv(command, &argv, pool);
    fcgipm_setting_parse(setting, row, ap_server_root_relative(pool, argv[0]), pool);
    for (char **word = argv + 1; *word; word++)
        fcgipm_setting_parse(setting, row, *word, pool);
    apply_all(setting, main_server, s, pool);
    apply_options(setting, main_server, command, pool);
    if (s != main_server)
        apply_options(setting, s, command, pool);
    fcgipm_directive_vhost_user(setting, s, pool);
    through_suexec(setting);
    setting->name = free_name(pool, s, "fcgid", argv[0]);
    return setting;
}

/* One pool for a command in a server, however many extensions it has. inherited: nobody may ever ask for it
 * there, so none is started before. */
static bool add_command(apr_pool_t *pool, server_rec *main_server, server_rec *s,
                        const fcgipm_legacy_wrapper_t *w, bool inherited)
{
    struct fcgipm_legacy *c = fcgipm_legacy_made(pool, s);
    fcgipm_pool_conf_t *made;
    fcgipm_setting_t *setting;

    if (apr_hash_get(c->pools, w->command, APR_HASH_KEY_STRING))
        return true;
    setting = command_setting(pool, main_server, s, w->command);
    if (inherited)
        setting->processes_min = 0;
    made = add_pool(pool, s, setting, w->place);
    apr_hash_set(c->pools, w->command, APR_HASH_KEY_STRING, made);
    if (made)
        made->inherited = inherited;
    return made != NULL;
}

/* httpd gives a virtual host that says nothing of ours the main server's configuration itself. */
static bool shares(const server_rec *main_server, const server_rec *s)
{
    return s != main_server && fcgipm_directive_server(s) == fcgipm_directive_server(main_server);
}

static bool other_user(apr_pool_t *pool, server_rec *main_server, server_rec *s)
{
    fcgipm_setting_t ours = {0}, mains = {0};

    fcgipm_directive_vhost_user(&ours, s, pool);
    fcgipm_directive_vhost_user(&mains, main_server, pool);
    return strcmp(ours.user ? ours.user : "", mains.user ? mains.user : "") ||
           strcmp(ours.group ? ours.group : "", mains.group ? mains.group : "");
}

/* Virtual hosts share the main server's pool, unless they have said something that makes theirs another one.
 */
static bool says_something(apr_pool_t *pool, server_rec *main_server, server_rec *s)
{
    return !shares(main_server, s) &&
           (fcgipm_legacy_of(s)->said->nelts || fcgipm_legacy_of(s)->commands->nelts ||
            other_user(pool, main_server, s));
}

static void prepare(apr_pool_t *pool, server_rec *main_server, server_rec *s)
{
    if (shares(main_server, s) && other_user(pool, main_server, s))
        ap_set_module_config(s->module_config, &fcgipm_module, fcgipm_directive_create_server(pool, s));
    fcgipm_legacy_made(pool, s);
}

static bool add_wrappers(apr_pool_t *pool, server_rec *main_server)
{
    const apr_array_header_t *wrappers = fcgipm_legacy_wrappers();
    bool ok = true;

    for (int i = 0; i < wrappers->nelts; i++)
        ok &= add_command(pool, main_server, APR_ARRAY_IDX(wrappers, i, fcgipm_legacy_wrapper_t *)->server,
                          APR_ARRAY_IDX(wrappers, i, fcgipm_legacy_wrapper_t *), false);
    for (server_rec *s = main_server; s; s = s->next)
        for (int i = 0; i < wrappers->nelts; i++)
            if (s != main_server &&
                APR_ARRAY_IDX(wrappers, i, fcgipm_legacy_wrapper_t *)->server == main_server &&
                says_something(pool, main_server, s))
                ok &= add_command(pool, main_server, s, APR_ARRAY_IDX(wrappers, i, fcgipm_legacy_wrapper_t *),
                                  true);
    return ok;
}

static bool add_apps(apr_pool_t *pool, server_rec *s)
{
    const apr_array_header_t *apps = fcgipm_legacy_of(s)->apps;
    bool ok = true;

    for (int i = 0; i < apps->nelts; i++) {
        fcgipm_legacy_app_t *app = APR_ARRAY_IDX(apps, i, fcgipm_legacy_app_t *);

        if (fcgipm_legacy_suexec() && !app->is_virtual && !app->setting->user)
            fcgipm_directive_vhost_user(app->setting, s, pool);
        if (fcgipm_legacy_suexec() && !app->is_virtual)
            through_suexec(app->setting);
        app->setting->name = free_name(pool, s, "fastcgi", app->path);
        app->pool = add_pool(pool, s, app->setting, app->place);
        ok &= app->pool != NULL;
    }
    return ok;
}

/* FcgidCmdOptions for a script that is run by itself: a pool is what can have settings. */
static bool add_scripts(apr_pool_t *pool, server_rec *main_server, server_rec *s)
{
    struct fcgipm_legacy *c = fcgipm_legacy_made(pool, s);
    bool ok = true;

    for (int i = 0; i < c->commands->nelts; i++) {
        const fcgipm_legacy_options_t *o = &APR_ARRAY_IDX(c->commands, i, fcgipm_legacy_options_t);
        fcgipm_legacy_wrapper_t w = {.command = o->command, .place = o->place};
        struct stat st;
        fcgipm_legacy_app_t *app;

        if (o->command[0] != '/' || stat(o->command, &st) < 0 || !S_ISREG(st.st_mode) ||
            apr_hash_get(c->pools, o->command, APR_HASH_KEY_STRING) ||
            apr_hash_get(fcgipm_legacy_of(main_server)->pools, o->command, APR_HASH_KEY_STRING))
            continue;
        ok &= add_command(pool, main_server, s, &w, true);
        app = apr_pcalloc(pool, sizeof *app);
        app->path = o->command;
        app->pool = apr_hash_get(c->pools, o->command, APR_HASH_KEY_STRING);
        apr_hash_set(c->files, app->path, APR_HASH_KEY_STRING, app);
    }
    return ok;
}

/* The part of a request of fcgipm-script that httpd's children see to. */
static void set_script(apr_pool_t *pool, const server_rec *main_server, const server_rec *s)
{
    apply_all(fcgipm_directive_server(s)->script, main_server, s, pool);
}

/* Nobody shall look for a variable in vain. */
static void warn_variables(const server_rec *s)
{
    const struct fcgipm_legacy *c = fcgipm_legacy_of(s);

    for (int i = 0; i < c->said->nelts && !fcgipm_legacy_wrappers()->nelts && !c->commands->nelts; i++)
        if (APR_ARRAY_IDX(c->said, i, fcgipm_legacy_said_t).row->kind == FCGIPM_KIND_LIST) {
            ap_log_error(
                APLOG_MARK, APLOG_WARNING | APLOG_NOERRNO, 0, s,
                "FPM0694: FcgidInitialEnv %s: there is no FcgidWrapper that it could go to, and programs "
                "that are run by themselves do not get it; write FcgidCmdOptions or a <FcgiServer> for them",
                APR_ARRAY_IDX(c->said, i, fcgipm_legacy_said_t).text);
            return;
        }
}

bool fcgipm_compat_finish(apr_pool_t *pconf, server_rec *main_server)
{
    const char *fault;
    bool ok = true;

    if (!fcgipm_legacy_on())
        return true;
    if ((fault = fcgipm_legacy_rival(pconf))) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_NOERRNO, 0, main_server, "FPM0692: %s", fault);
        return false;
    }
    fcgipm_directive_allow_scripts(); /* .htaccess may choose their handlers */
    for (server_rec *s = main_server; s; s = s->next)
        prepare(pconf, main_server, s);
    for (server_rec *s = main_server; s; s = s->next) {
        if (shares(main_server, s))
            continue;
        warn_variables(s);
        ok &= add_apps(pconf, s);
        set_script(pconf, main_server, s);
    }
    ok &= add_wrappers(pconf, main_server);
    for (server_rec *s = main_server; s; s = s->next)
        ok &= shares(main_server, s) || add_scripts(pconf, main_server, s);
    return ok;
}

/* --- requests --- */

static const fcgipm_legacy_app_t *app_of(const request_rec *r)
{
    const fcgipm_legacy_app_t *app =
        r->filename ? apr_hash_get(fcgipm_legacy_of(r->server)->files, r->filename, APR_HASH_KEY_STRING)
                    : NULL;

    if (!app && r->filename && ap_server_conf)
        app = apr_hash_get(fcgipm_legacy_of(ap_server_conf)->files, r->filename, APR_HASH_KEY_STRING);
    return app;
}

static const fcgipm_legacy_wrapper_t *wrapper_of(const request_rec *r)
{
    apr_hash_t *all = fcgipm_directive_dir(r)->wrappers;
    const char *dot = all && r->filename ? strrchr(r->filename, '.') : NULL;
    const fcgipm_legacy_wrapper_t *w = dot ? apr_hash_get(all, dot, APR_HASH_KEY_STRING) : NULL;

    return w || !all ? w : apr_hash_get(all, FCGIPM_LEGACY_ALL, APR_HASH_KEY_STRING);
}

static const fcgipm_pool_conf_t *pool_of(const request_rec *r, const char *command)
{
    const fcgipm_pool_conf_t *pool =
        apr_hash_get(fcgipm_legacy_of(r->server)->pools, command, APR_HASH_KEY_STRING);

    return pool ? pool : apr_hash_get(fcgipm_legacy_of(ap_server_conf)->pools, command, APR_HASH_KEY_STRING);
}

int fcgipm_compat_fixups(request_rec *r)
{
    const fcgipm_legacy_app_t *app = fcgipm_legacy_on() ? app_of(r) : NULL;

    if (app && app->forced)
        r->handler = "fastcgi-script";
    return DECLINED;
}

/* An internal redirect by mod_actions, and not by mod_rewrite or an error. */
static bool by_action(const request_rec *r)
{
    return r->prev && r->prev->status == HTTP_OK && r->prev->handler &&
           strcmp(r->prev->handler, "redirect-handler");
}

static void pass_authorization(request_rec *r)
{
    const char *value = apr_table_get(r->headers_in, "Authorization");

    if (value)
        apr_table_setn(r->subprocess_env, "HTTP_AUTHORIZATION", value);
}

/* A limit of the virtual host goes before the main server's. */
static apr_off_t body_max_of(const request_rec *r)
{
    apr_off_t own = fcgipm_legacy_of(r->server)->body_max;

    return own >= 0 || !ap_server_conf ? own : fcgipm_legacy_of(ap_server_conf)->body_max;
}

static bool authorization_of(const request_rec *r)
{
    return fcgipm_legacy_of(r->server)->authorization ||
           (ap_server_conf && fcgipm_legacy_of(ap_server_conf)->authorization);
}

/* mod_fcgid would run it as that user; we could only as httpd's own, and that is not what was ordered. */
static int check_identity(request_rec *r)
{
    const ap_unix_identity_t *id = ap_run_get_suexec_identity(r);

    if (!id)
        return OK;
    ap_log_rerror(
        APLOG_MARK, APLOG_ERR, 0, r,
        "FPM0693: %s: a script that is run by itself runs as httpd's User, and SuexecUserGroup says uid %u; "
        "write FcgidWrapper or FcgidCmdOptions for it, or a <FcgiServer> with FcgiUser",
        r->filename, (unsigned)id->uid);
    return HTTP_INTERNAL_SERVER_ERROR;
}

int fcgipm_compat_find(request_rec *r, fcgipm_compat_found_t *found)
{
    bool fcgid = !strcmp(r->handler, "fcgid-script");
    const fcgipm_legacy_wrapper_t *w = NULL;
    const fcgipm_legacy_app_t *app;

    if (!fcgipm_legacy_on() ||
        (!fcgid && strcmp(r->handler, "fastcgi-script") && strcmp(r->handler, "application/x-httpd-fcgi")))
        return DECLINED;
    memset(found, 0, sizeof *found);
    app = app_of(r);
    if (fcgid && !(app && app->forced))
        w = wrapper_of(r);
    found->pool = w ? pool_of(r, w->command) : app ? app->pool : NULL;
    found->is_virtual = w ? w->is_virtual : app && app->is_virtual;
    found->exec = !app || !app->forced;
    found->action = by_action(r);
    found->body_max = fcgid ? body_max_of(r) : -1;
    if (authorization_of(r) || (app && app->authorization))
        pass_authorization(r);
    return found->pool ? OK : check_identity(r);
}
