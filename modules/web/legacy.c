/* SPDX-License-Identifier: Apache-2.0 */
#include "web/legacy.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>

#include "web/compat_table.h"
#include "web/wrapper.h"

extern module AP_MODULE_DECLARE_DATA fcgipm_module;
APLOG_USE_MODULE(fcgipm);

typedef enum kind {
    VALUE,    /* a number that a native setting takes */
    GLOBAL,   /* the same, for the whole server */
    ENV,      /* FcgidInitialEnv */
    HEADER,   /* FcgidPassHeader */
    BODY,     /* FcgidMaxRequestLen */
    WRAPPER,  /* FcgidWrapper */
    COMMAND,  /* FcgidCmdOptions */
    SERVER,   /* FastCgiServer */
    EXTERNAL, /* FastCgiExternalServer */
    DYNAMIC,  /* FastCgiConfig */
    SUEXEC,   /* FastCgiWrapper */
    IPC_DIR,  /* FastCgiIpcDir */
    USER,     /* an option -user, ... */
    GROUP,
    HOST,
    SOCKET,
    SWITCH, /* an option without a value that is as it wants it anyway */
    NONE,   /* there is something else, or nothing: one warning with `text` */
    REFUSED /* ignoring it would be worse than not starting */
} kind_t;

typedef struct row {
    const char *name;
    kind_t kind;
    const char *native, *key; /* VALUE, GLOBAL: the native setting */
    unsigned nth;
    const char *text; /* VALUE: an example; NONE, REFUSED: the sentence */
} row_t;

#define X(name_, kind_, native_, key_, nth_, text_)                                                          \
    {.name = name_, .kind = kind_, .native = native_, .key = key_, .nth = nth_, .text = text_},
static const row_t rows[] = {FCGIPM_COMPAT_DIRECTIVES(X)};
static const row_t command_options[] = {FCGIPM_COMPAT_COMMAND_OPTIONS(X){.name = NULL}};
static const row_t server_options[] = {FCGIPM_COMPAT_SERVER_OPTIONS(X){.name = NULL}};
#undef X
#define ROWS (sizeof rows / sizeof *rows)

#define X(old_, name_) {.old = old_, .name = name_},
static const struct {
    const char *old, *name;
} aliases[] = {FCGIPM_COMPAT_ALIASES(X)};
#undef X
#define ALIASES (sizeof aliases / sizeof *aliases)

static bool compat_on;
static apr_array_header_t
    *wrappers;              /* of fcgipm_legacy_wrapper_t *, of the configuration that is being read */
static apr_hash_t *warned;  /* names that have had their warning */
static bool suexec;         /* FastCgiWrapper On */
static const char *ipc_dir; /* FastCgiIpcDir */

struct fcgipm_legacy *fcgipm_legacy_made(apr_pool_t *pool, server_rec *s)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(s->module_config, &fcgipm_module);
    struct fcgipm_legacy *c = conf->legacy;

    if (c)
        return c;
    c = conf->legacy = apr_pcalloc(pool, sizeof *c);
    c->said = apr_array_make(pool, 4, sizeof(fcgipm_legacy_said_t));
    c->commands = apr_array_make(pool, 1, sizeof(fcgipm_legacy_options_t));
    c->apps = apr_array_make(pool, 1, sizeof(fcgipm_legacy_app_t *));
    c->files = apr_hash_make(pool);
    c->pools = apr_hash_make(pool);
    c->body_max = -1;
    return c;
}

static struct fcgipm_legacy *said_by(const cmd_parms *cmd)
{
    return fcgipm_legacy_made(cmd->pool, cmd->server);
}

void fcgipm_legacy_begin(apr_pool_t *pconf)
{
    wrappers = apr_array_make(pconf, 4, sizeof(fcgipm_legacy_wrapper_t *));
    warned = apr_hash_make(pconf);
    suexec = false;
    ipc_dir = NULL;
}

bool fcgipm_legacy_on(void)
{
    return compat_on;
}

const apr_array_header_t *fcgipm_legacy_wrappers(void)
{
    return wrappers;
}

bool fcgipm_legacy_suexec(void)
{
    return suexec;
}

static const row_t *row_of(const char *name)
{
    for (size_t i = 0; i < ALIASES; i++)
        if (!strcasecmp(aliases[i].old, name))
            name = aliases[i].name;
    for (size_t i = 0; i < ROWS; i++)
        if (!strcasecmp(rows[i].name, name))
            return &rows[i];
    return NULL;
}

/* Once for each name: a hundred virtual hosts need not say a hundred times the same. */
static void warn_once(cmd_parms *cmd, const char *name, const char *sentence)
{
    if (apr_hash_get(warned, name, APR_HASH_KEY_STRING))
        return;
    apr_hash_set(warned, name, APR_HASH_KEY_STRING, sentence);
    ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_NOERRNO, 0, cmd->server, "FPM0690: %s: %s: %s",
                 fcgipm_directive_place(cmd), name, sentence);
}

/* --- FcgiCompat --- */

/* For <IfModule>: it looks for a module of that name, and distributions put their configuration in there. */
#define STAND_IN(name_)                                                                                      \
    {                                                                                                        \
        MODULE_MAGIC_NUMBER_MAJOR, MODULE_MAGIC_NUMBER_MINOR, -1, name_, NULL, NULL, MODULE_MAGIC_COOKIE,    \
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0                                                      \
    }
static module stand_ins[] = {STAND_IN("mod_fcgid.c"), STAND_IN("fcgid_module"), STAND_IN("mod_fastcgi.c"),
                             STAND_IN("fastcgi_module")};
#define STAND_INS (sizeof stand_ins / sizeof *stand_ins)

static bool is_stand_in(const module *m)
{
    return m >= stand_ins && m < stand_ins + STAND_INS;
}

/* mod_fcgid or mod_fastcgi itself; NULL: not loaded. */
static const char *rival(void)
{
    for (const module *m = ap_top_module; m; m = m->next)
        if (!is_stand_in(m) && (!strcmp(m->name, "mod_fcgid.c") || !strcmp(m->name, "mod_fastcgi.c")))
            return strcmp(m->name, "mod_fcgid.c") ? "mod_fastcgi" : "mod_fcgid";
    return NULL;
}

const char *fcgipm_legacy_rival(apr_pool_t *pool)
{
    const char *name = rival();

    return name ? apr_psprintf(pool,
                               "FcgiCompat On: %s is loaded, too, and has the same directives and handlers; "
                               "take its LoadModule line out (Debian: a2dismod %s), or write FcgiCompat Off",
                               name, name + 4)
                : NULL;
}

/* The configuration ends; the module's code may go next. */
static apr_status_t switch_off(void *unused)
{
    (void)unused;
    for (size_t i = STAND_INS; compat_on && i-- > 0;)
        ap_remove_module(&stand_ins[i]);
    compat_on = false;
    return APR_SUCCESS;
}

static const char *compat_switch(cmd_parms *cmd, void *dir, int on)
{
    const char *fault = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    (void)dir;
    if (fault || !on || compat_on)
        return fault;
    if ((fault = fcgipm_legacy_rival(cmd->pool)))
        return fault;
    for (size_t i = 0; i < STAND_INS; i++)
        if ((fault = ap_add_module(&stand_ins[i], cmd->pool, NULL)))
            return fault;
    compat_on = true;
    apr_pool_cleanup_register(cmd->pool, NULL, switch_off, apr_pool_cleanup_null);
    return NULL;
}

/* --- values --- */

static const char *unit_of(const fcgipm_setting_row_t *row)
{
    return row->kind == FCGIPM_KIND_DURATION ? " of seconds"
           : row->kind == FCGIPM_KIND_SIZE   ? " of bytes"
                                             : "";
}

static const char *read_number(cmd_parms *cmd, const char *name, const char *unit, const char *example,
                               const char *text, apr_int64_t *number)
{
    char *end;

    *number = apr_strtoi64(text, &end, 10);
    if (!*text || *end)
        return apr_psprintf(cmd->pool, "%s %s: not a number; write a whole number%s, such as %s %s", name,
                            text, unit, name, example);
    return NULL;
}

/* The number as the native setting takes it. One that it does not take becomes the nearest that it does:
 * mod_fcgid has no bounds. */
static const char *native_number(cmd_parms *cmd, const row_t *row, const fcgipm_setting_row_t *native,
                                 const char *text, const char **out)
{
    bool duration = native->kind == FCGIPM_KIND_DURATION;
    apr_int64_t number, max = native->max / (duration ? 1000000 : 1),
                        min = (native->min + (duration ? 999999 : 0)) / (duration ? 1000000 : 1);
    const char *fault = read_number(cmd, row->name, unit_of(native), row->text, text, &number);

    if (fault)
        return fault;
    if (number < 0 && native->min == 0) /* -1: off */
        number = 0;
    if (number < min || number > max) {
        warn_once(cmd, row->name,
                  apr_psprintf(cmd->pool, "%s is taken as %" APR_INT64_T_FMT ", the %s that %s%s%s takes",
                               text, number < min ? min : max, number < min ? "least" : "most",
                               native->directive, native->key ? " " : "", native->key ? native->key : ""));
        number = number < min ? min : max;
    }
    *out = apr_psprintf(cmd->pool, "%" APR_INT64_T_FMT, number);
    return NULL;
}

static const char *say_value(cmd_parms *cmd, const row_t *row, const char *text, apr_array_header_t *list)
{
    const fcgipm_setting_row_t *native = fcgipm_directive_row(row->native, row->key, row->nth);
    fcgipm_legacy_said_t said = {.row = native};
    const char *fault = native_number(cmd, row, native, text, &said.text);

    if (!fault)
        APR_ARRAY_PUSH(list, fcgipm_legacy_said_t) = said;
    return fault;
}

/* name, or name=value, or what httpd's own environment has. */
static const char *say_env(cmd_parms *cmd, const char *name, const char *value, apr_array_header_t *list)
{
    const char *equals = strchr(name, '=');

    if (!*name || equals == name)
        return apr_psprintf(cmd->pool, "%s: no name; write: NAME VALUE", cmd->cmd->name);
    if (!equals)
        name = apr_pstrcat(cmd->pool, name, "=", value ? value : "", NULL);
    APR_ARRAY_PUSH(list, fcgipm_legacy_said_t) =
        (fcgipm_legacy_said_t){.row = fcgipm_directive_row("FcgiEnv", NULL, 0), .text = name};
    return NULL;
}

/* All but one are passed anyway, as HTTP_NAME. What httpd hides stays hidden, but for what the directive was
 * made for. */
static const char *pass_header(cmd_parms *cmd, const char *name, bool *authorization)
{
    if (!*name)
        return apr_psprintf(cmd->pool, "%s: no name; write the name of a header, such as Authorization",
                            cmd->cmd->name);
    if (!strcasecmp(name, "Authorization"))
        *authorization = true;
    else if (!strcasecmp(name, "Proxy"))
        return apr_psprintf(
            cmd->pool,
            "%s %s: no client may choose a proxy for an application (CVE-2016-5385); leave it "
            "out",
            cmd->cmd->name, name);
    else if (!strcasecmp(name, "Content-Length") || !strcasecmp(name, "Transfer-Encoding") ||
             !strcasecmp(name, "Proxy-Authorization"))
        warn_once(
            cmd, apr_pstrcat(cmd->pool, cmd->cmd->name, " ", name, NULL),
            "not passed: CONTENT_LENGTH says how long the body is, and the rest is between client and httpd");
    return NULL;
}

static void set_env(fcgipm_setting_t *s, const fcgipm_legacy_said_t *said, apr_pool_t *pool)
{
    size_t len = (size_t)(strchr(said->text, '=') - said->text) + 1;

    for (int i = 0; s->env && i < s->env->nelts; i++)
        if (!strncmp(APR_ARRAY_IDX(s->env, i, const char *), said->text, len)) {
            APR_ARRAY_IDX(s->env, i, const char *) = said->text;
            return;
        }
    fcgipm_setting_parse(s, said->row, said->text, pool);
}

void fcgipm_legacy_apply(fcgipm_setting_t *s, const apr_array_header_t *list, apr_pool_t *pool)
{
    for (int i = 0; i < list->nelts; i++) {
        const fcgipm_legacy_said_t *said = &APR_ARRAY_IDX(list, i, fcgipm_legacy_said_t);

        if (said->row->kind == FCGIPM_KIND_LIST)
            set_env(s, said, pool);
        else
            fcgipm_setting_parse(s, said->row, said->text, pool);
    }
}

/* --- directives of mod_fcgid --- */

static const char *global_value(cmd_parms *cmd, const row_t *row, const char *text)
{
    fcgipm_server_conf_t *conf = ap_get_module_config(cmd->server->module_config, &fcgipm_module);
    const char *fault = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    for (unsigned i = 0; !fault && i < fcgipm_setting_global_row_count; i++) {
        const fcgipm_setting_row_t *native = &fcgipm_setting_global_rows[i];

        if (!strcmp(native->directive, row->native) &&
            !(fault = native_number(cmd, row, native, text, &text)))
            return fcgipm_setting_parse(&conf->global, native, text, cmd->pool);
    }
    return fault;
}

static const char *body_max(cmd_parms *cmd, const row_t *row, const char *text)
{
    apr_int64_t number;
    const char *fault = read_number(cmd, row->name, " of bytes", row->text, text, &number);

    if (!fault)
        said_by(cmd)->body_max = number > 0 ? (apr_off_t)number : -1;
    return fault;
}

#define WRAPPER_SYNTAX "write: FcgidWrapper \"/path/program argument ...\" [.ext] [virtual]"

static const char *wrapper_directive(cmd_parms *cmd, fcgipm_dir_conf_t *dir, const char *args)
{
    fcgipm_legacy_wrapper_t *w = apr_pcalloc(cmd->pool, sizeof *w);
    const char *extension = FCGIPM_LEGACY_ALL;
    char **argv;

    if (ap_check_cmd_context(cmd, NOT_IN_HTACCESS))
        return apr_psprintf(
            cmd->pool,
            "%s: not in .htaccess, where it would be started as httpd's own user; write it in "
            "<Directory> of the server's configuration, or FcgiWrapper here",
            cmd->cmd->name);
    w->command = ap_getword_conf(cmd->pool, &args);
    w->place = fcgipm_directive_place(cmd);
    w->server = cmd->server;
    while (*args) {
        const char *word = ap_getword_conf(cmd->pool, &args);

        if (!strcasecmp(word, "virtual"))
            w->is_virtual = true;
        else if (word[0] == '.' && word[1] && !strchr(word, '/') && !strcmp(extension, FCGIPM_LEGACY_ALL))
            extension = word;
        else
            return apr_psprintf(cmd->pool, "%s %s %s: neither an extension nor \"virtual\"; " WRAPPER_SYNTAX,
                                cmd->cmd->name, w->command, word);
    }
    if (apr_tokenize_to_argv(w->command, &argv, cmd->temp_pool) != APR_SUCCESS || !argv[0])
        return apr_psprintf(cmd->pool, "%s %s: no program; " WRAPPER_SYNTAX, cmd->cmd->name, w->command);
    if (!dir->wrappers)
        dir->wrappers = apr_hash_make(cmd->pool);
    apr_hash_set(dir->wrappers, extension, APR_HASH_KEY_STRING, w);
    APR_ARRAY_PUSH(wrappers, fcgipm_legacy_wrapper_t *) = w;
    return NULL;
}

static const row_t *option_of(const row_t *list, const char *name)
{
    for (; list->name; list++)
        if (!strcasecmp(list->name, name))
            return list;
    return NULL;
}

static const char *options_of(apr_pool_t *pool, const row_t *list)
{
    const char *all = "";

    for (; list->name; list++)
        all = apr_pstrcat(pool, all, *all ? ", " : "", list->name, NULL);
    return all;
}

static const char *command_directive(cmd_parms *cmd, const char *args)
{
    fcgipm_legacy_options_t *o = apr_array_push(said_by(cmd)->commands);
    const char *fault = NULL;

    o->command = ap_getword_conf(cmd->pool, &args);
    o->place = fcgipm_directive_place(cmd);
    o->said = apr_array_make(cmd->pool, 4, sizeof(fcgipm_legacy_said_t));
    if (!*o->command || !*args)
        return apr_psprintf(cmd->pool, "%s: wrong arguments; write: %s /path/program option value ...",
                            cmd->cmd->name, cmd->cmd->name);
    while (*args && !fault) {
        const char *name = ap_getword_conf(cmd->pool, &args);
        const char *value = ap_getword_conf(cmd->pool, &args);
        const row_t *option = option_of(command_options, name);

        if (!option)
            return apr_psprintf(cmd->pool, "%s ... %s: not known; write one of %s", cmd->cmd->name, name,
                                options_of(cmd->pool, command_options));
        fault =
            option->kind == ENV ? say_env(cmd, value, NULL, o->said) : say_value(cmd, option, value, o->said);
    }
    return fault;
}

/* --- directives of mod_fastcgi --- */

/* "#1000" is a number, as httpd's User has it. */
static const char *user_name(cmd_parms *cmd, const char *text)
{
    const struct passwd *pw = *text == '#' ? getpwuid((uid_t)atol(text + 1)) : NULL;

    return pw ? apr_pstrdup(cmd->pool, pw->pw_name) : text;
}

static const char *group_name(cmd_parms *cmd, const char *text)
{
    const struct group *gr = *text == '#' ? getgrgid((gid_t)atol(text + 1)) : NULL;

    return gr ? apr_pstrdup(cmd->pool, gr->gr_name) : text;
}

static const char *socket_path(cmd_parms *cmd, const char *text)
{
    const char *dir = ipc_dir ? ipc_dir : ap_runtime_dir_relative(cmd->pool, "fastcgi");

    return apr_pstrcat(cmd->pool, "unix:", *text == '/' ? "" : dir, *text == '/' ? "" : "/", text, NULL);
}

/* An option with its value, if it has one. */
static const char *server_option(cmd_parms *cmd, const row_t *o, const char *value, fcgipm_legacy_app_t *app,
                                 apr_array_header_t *said)
{
    const char *name = apr_pstrcat(cmd->pool, cmd->cmd->name, " ", o->name, NULL);
    const char *fault = NULL;

    switch (o->kind) {
    case VALUE:
        app->processes_said |= !strcmp(o->name, "-processes");
        /* 0: connect() as long as it takes, which nobody wants. */
        return !strcmp(o->name, "-appConnTimeout") && !strcmp(value, "0") ? NULL
                                                                          : say_value(cmd, o, value, said);
    case ENV:
        return say_env(cmd, value, getenv(value), said);
    case HEADER:
        return pass_header(cmd, value, &app->authorization);
    case USER:
        app->setting->user = user_name(cmd, value);
        return NULL;
    case GROUP:
        app->setting->group = group_name(cmd, value);
        return NULL;
    case SOCKET:
        if (!app->is_virtual) {
            warn_once(cmd, name, o->text);
            return NULL;
        }
        value = socket_path(cmd, value); /* fall through */
    case HOST:
        if (app->setting->connect)
            return apr_psprintf(cmd->pool, "%s: -host and -socket exclude each other; keep one",
                                cmd->cmd->name);
        fault = fcgipm_setting_parse(app->setting, fcgipm_directive_row("FcgiConnect", NULL, 0), value,
                                     cmd->pool);
        return fault ? apr_psprintf(cmd->pool, "%s %s: %s", cmd->cmd->name, o->name, fault) : NULL;
    default:
        if (o->text)
            warn_once(cmd, name, o->text);
        return NULL;
    }
}

static const char *server_options_of(cmd_parms *cmd, const char *args, fcgipm_legacy_app_t *app,
                                     apr_array_header_t *said)
{
    const char *fault = NULL;

    while (*args && !fault) {
        const char *name = ap_getword_conf(cmd->pool, &args), *value = "";
        const row_t *option = option_of(server_options, name);

        if (!option)
            return apr_psprintf(cmd->pool, "%s ... %s: not known; write one of %s", cmd->cmd->name, name,
                                options_of(cmd->pool, server_options));
        if (option->kind != SWITCH) {
            if (!*args)
                return apr_psprintf(cmd->pool, "%s ... %s: its value is missing; write: %s VALUE",
                                    cmd->cmd->name, name, name);
            value = ap_getword_conf(cmd->pool, &args);
        }
        fault = server_option(cmd, option, value, app, said);
    }
    return fault;
}

static const char *server_directive(cmd_parms *cmd, const char *args, bool external)
{
    struct fcgipm_legacy *c = said_by(cmd);
    apr_array_header_t *said = apr_array_make(cmd->pool, 4, sizeof(fcgipm_legacy_said_t));
    fcgipm_legacy_app_t *app = apr_pcalloc(cmd->pool, sizeof *app);
    const char *path = ap_getword_conf(cmd->pool, &args), *fault;

    if (!*path)
        return apr_psprintf(cmd->pool, "%s: no file; write: %s /path/program [-option value ...]",
                            cmd->cmd->name, cmd->cmd->name);
    app->path = ap_server_root_relative(cmd->pool, path);
    app->place = fcgipm_directive_place(cmd);
    app->is_virtual = external;
    app->forced = true;
    app->setting = apr_pcalloc(cmd->pool, sizeof *app->setting);
    fcgipm_setting_defaults(app->setting, cmd->pool);
    app->setting->processes_max = 1;
    if ((fault = server_options_of(cmd, args, app, said)))
        return fault;
    if (external && !app->setting->connect)
        return apr_psprintf(cmd->pool, "%s %s: no address; write -host name:port or -socket /path",
                            cmd->cmd->name, path);
    fcgipm_legacy_apply(app->setting, said, cmd->pool);
    if (app->processes_said) /* a fixed number */
        app->setting->processes_min = app->setting->processes_max;
    if (!external)
        fcgipm_setting_parse(app->setting, fcgipm_directive_row("FcgiCommand", NULL, 0), app->path,
                             cmd->pool);
    if (apr_hash_get(c->files, app->path, APR_HASH_KEY_STRING))
        return apr_psprintf(cmd->pool, "%s %s: the file is already named by another line; keep one",
                            cmd->cmd->name, path);
    APR_ARRAY_PUSH(c->apps, fcgipm_legacy_app_t *) = app;
    apr_hash_set(c->files, app->path, APR_HASH_KEY_STRING, app);
    return NULL;
}

/* Programs that are run by their first request: what concerns the request holds for them. */
static const char *dynamic_directive(cmd_parms *cmd, const char *args)
{
    struct fcgipm_legacy *c = said_by(cmd);
    fcgipm_setting_t nobody = {0};
    fcgipm_legacy_app_t app = {.setting = &nobody};
    const char *fault = server_options_of(cmd, args, &app, c->said);

    c->authorization |= app.authorization;
    return fault;
}

static const char *suexec_directive(cmd_parms *cmd, const char *text)
{
    suexec = strcasecmp(text, "Off") != 0;
    if (suexec && strcasecmp(text, "On"))
        warn_once(cmd, cmd->cmd->name,
                  "httpd's own suexec is put before the application, and not this program");
    return NULL;
}

/* --- all of them --- */

static const char *simple_directive(cmd_parms *cmd, const row_t *row, const char *args)
{
    struct fcgipm_legacy *c = said_by(cmd);
    const char *first = ap_getword_conf(cmd->pool, &args), *second = ap_getword_conf(cmd->pool, &args);
    const char *fault = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    if (fault)
        return fault;
    switch (row->kind) {
    case VALUE:
        return say_value(cmd, row, first, c->said);
    case GLOBAL:
        return global_value(cmd, row, first);
    case BODY:
        return body_max(cmd, row, first);
    case ENV:
        return say_env(cmd, first, second, c->said);
    case HEADER:
        return pass_header(cmd, first, &c->authorization);
    case SUEXEC:
        return suexec_directive(cmd, first);
    case IPC_DIR:
        ipc_dir = ap_runtime_dir_relative(cmd->pool, first); /* fall through */
    default:
        warn_once(cmd, row->name, row->text);
        return NULL;
    }
}

/* Another module has a directive of this name. */
static bool others_have(const char *name)
{
    module *m = ap_top_module;

    while (m && ap_find_command_in_modules(name, &m)) {
        if (m != &fcgipm_module)
            return true;
        m = m->next;
    }
    return false;
}

static const char *not_on(cmd_parms *cmd, const row_t *row)
{
    return apr_psprintf(cmd->pool,
                        "%s is a directive of %s, which is not loaded; write FcgiCompat On before it to have "
                        "mod_fcgipm understand it, or let fcgipm-migrate rewrite this file",
                        cmd->cmd->name, strncmp(row->name, "Fcgid", 5) ? "mod_fastcgi" : "mod_fcgid");
}

static const char *in_block(cmd_parms *cmd, const row_t *row)
{
    const ap_directive_t *parent = cmd->directive->parent;

    if (!parent || strcasecmp(parent->directive, "<FcgiServer"))
        return NULL;
    return apr_psprintf(cmd->pool, "%s: not in <FcgiServer>, which has directives of its own%s%s%s%s",
                        cmd->cmd->name, row->native ? "; write " : "", row->native ? row->native : "",
                        row->key ? " " : "", row->key ? apr_pstrcat(cmd->pool, row->key, "=", NULL) : "");
}

static const char *compat_directive(cmd_parms *cmd, void *dir, const char *args)
{
    const row_t *row = row_of(cmd->cmd->name);
    const char *fault;

    if (others_have(cmd->cmd->name))
        return DECLINE_CMD;
    if (!compat_on)
        return not_on(cmd, row);
    if ((fault = in_block(cmd, row)))
        return fault;
    /* It would change what holds for the whole server, while requests run. */
    if (row->kind != WRAPPER && fcgipm_directive_in_htaccess(cmd))
        return apr_psprintf(cmd->pool, "%s: not in .htaccess; write it in the server's configuration",
                            cmd->cmd->name);
    switch (row->kind) {
    case REFUSED:
        return apr_psprintf(cmd->pool, "%s: %s", cmd->cmd->name, row->text);
    case WRAPPER:
        return wrapper_directive(cmd, dir, args);
    case COMMAND:
        return (fault = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT)) ? fault : command_directive(cmd, args);
    case SERVER:
    case EXTERNAL:
        fault = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
        return fault ? fault : server_directive(cmd, args, row->kind == EXTERNAL);
    case DYNAMIC:
        return (fault = ap_check_cmd_context(cmd, GLOBAL_ONLY)) ? fault : dynamic_directive(cmd, args);
    default:
        return simple_directive(cmd, row, args);
    }
}

/* FcgiAllowWrapper is a word that no old configuration has. */
static bool old_wrapper(cmd_parms *cmd, void *dir, const char *args, const char **fault)
{
    bool old = compat_on && !fcgipm_directive_in_htaccess(cmd) && !fcgipm_wrapper_allows(cmd, args);

    *fault = others_have(cmd->cmd->name) ? DECLINE_CMD : old ? compat_directive(cmd, dir, args) : NULL;
    return old || *fault;
}

static const command_rec switch_command =
    AP_INIT_FLAG("FcgiCompat", compat_switch, NULL, RSRC_CONF | EXEC_ON_READ,
                 "On: the directives of mod_fcgid and mod_fastcgi are understood");

static void add_directive(const char *name)
{
    command_rec rec =
        AP_INIT_RAW_ARGS(name, compat_directive, NULL, RSRC_CONF | ACCESS_CONF | OR_FILEINFO | OR_AUTHCFG,
                         "of mod_fcgid or mod_fastcgi; see FcgiCompat");

    fcgipm_directive_command(&rec);
}

__attribute__((constructor)) static void add_directives(void)
{
    fcgipm_directive_command(&switch_command);
    for (size_t i = 0; i < ROWS; i++)
        add_directive(rows[i].name);
    for (size_t i = 0; i < ALIASES; i++)
        if (strcasecmp(aliases[i].old, "FcgiWrapper")) /* ours, see old_wrapper */
            add_directive(aliases[i].old);
    fcgipm_wrapper_before(old_wrapper);
}
