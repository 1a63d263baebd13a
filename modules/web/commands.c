/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What: the directives that stand outside of blocks, for the whole server or for a place, and the table of
 * all; from then on httpd knows them by web/directive. Who calls: the loader (fill_table), then httpd while
 * it reads the configuration. (No header: nobody else calls anything in here.)
 */
#include <pwd.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>

#include "web/block.h"
#include "web/directive.h"
#include "web/wrapper.h"

APLOG_USE_MODULE(fcgipm);

/* --- for the whole server --- */

static const char *not_global(cmd_parms *cmd)
{
    const char *fault = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    return fault ? fault : fcgipm_block_outside(cmd);
}

static const char *runtime_dir_directive(cmd_parms *cmd, void *dir, const char *arg)
{
    fcgipm_server_conf_t *conf = fcgipm_directive_own(cmd);
    const char *fault = not_global(cmd);

    (void)dir;
    if (fault)
        return fault;
    conf->runtime_dir = ap_runtime_dir_relative(cmd->pool, arg);
    conf->runtime_place = fcgipm_directive_place(cmd);
    /* A socket's path has 107 bytes, of which ours takes "/p2047/s16383.sock.new". */
    if (!conf->runtime_dir || strlen(conf->runtime_dir) > 80)
        return apr_psprintf(
            cmd->pool, "FcgiRuntimeDir %s: too long for the sockets in it; write a path of at most 80 bytes",
            arg);
    return NULL;
}

static const char *cgroup_directive(cmd_parms *cmd, void *dir, const char *arg)
{
    fcgipm_server_conf_t *conf = fcgipm_directive_own(cmd);
    const char *fault = not_global(cmd);

    (void)dir;
    if (fault)
        return fault;
    if (arg[0] != '/' && strcasecmp(arg, "Auto") && strcasecmp(arg, "On") && strcasecmp(arg, "Off"))
        return apr_psprintf(
            cmd->pool,
            "FcgiCgroup %s: not known; write Auto, On, Off, or the full path of a control group, "
            "such as /sys/fs/cgroup/httpd",
            arg);
    conf->cgroup = arg;
    conf->cgroup_place = fcgipm_directive_place(cmd);
    return NULL;
}

#define USER_LIMIT_SYNTAX "FcgiUserLimit USER|* [memory=size] [cpu=percent] [pids=number]"

/* One line for a user; a second one adds to it. */
static fcgipm_user_limit_t *limit_of_user(cmd_parms *cmd, uint32_t uid)
{
    fcgipm_server_conf_t *conf = fcgipm_directive_own(cmd);
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
    const char *name = ap_getword_conf(cmd->pool, &args), *fault = not_global(cmd);
    const struct passwd *pw = strcmp(name, "*") ? getpwnam(name) : NULL;
    fcgipm_user_limit_t *limit;

    (void)dir;
    if (fault)
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
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_NOERRNO, 0, cmd->server, "FPM0688: %s: %s",
                     fcgipm_directive_place(cmd), fault);
        return NULL;
    }
    limit = limit_of_user(cmd, pw ? pw->pw_uid : FCGIPM_ANY_USER);
    while (*args && !fault)
        fault = user_limit_value(cmd, limit, ap_getword_conf(cmd->pool, &args));
    return fault;
}

static const char *global_directive(cmd_parms *cmd, void *dir, const char *arg)
{
    fcgipm_server_conf_t *conf = fcgipm_directive_own(cmd);
    const char *fault = not_global(cmd);

    (void)dir;
    for (unsigned i = 0; !fault && i < fcgipm_setting_global_row_count; i++)
        if (!strcasecmp(fcgipm_setting_global_rows[i].directive, cmd->cmd->name))
            return fcgipm_setting_parse(&conf->global, &fcgipm_setting_global_rows[i], arg, cmd->pool);
    return fault;
}

/* --- for a place --- */

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
    fcgipm_directive_refer(cmd, apr_pstrcat(cmd->pool, cmd->cmd->name, " ", prefix, NULL), name, false);
    APR_ARRAY_PUSH(conf->opened, const char *) = name;
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
    if (fcgipm_directive_in_htaccess(
            cmd)) /* if the server's configuration opens it there, see fcgipm_directive_opened */
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
    if (!strcasecmp(handler, FCGIPM_SCRIPT_HANDLER))
        fcgipm_directive_allow_scripts();
    if (strncasecmp(handler, "fcgipm", 6) ||
        !strncmp(handler, FCGIPM_HANDLER_PREFIX, strlen(FCGIPM_HANDLER_PREFIX)) ||
        !strcmp(handler, FCGIPM_SCRIPT_HANDLER) || !strcmp(handler, FCGIPM_STATUS_HANDLER))
        return NULL;
    return apr_psprintf(cmd->pool,
                        "%s %s: there is no such handler; write fcgipm:NAME, fcgipm-script or fcgipm-status",
                        cmd->cmd->name, handler);
}

/* The status page shows what is everybody's. */
static void open_status(cmd_parms *cmd, fcgipm_dir_conf_t *conf, const char *handler)
{
    if (!strcmp(handler, FCGIPM_STATUS_HANDLER) && !fcgipm_directive_in_htaccess(cmd))
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
    if (strncmp(handler, FCGIPM_HANDLER_PREFIX, strlen(FCGIPM_HANDLER_PREFIX))) {
        conf->pass = "";
        return DECLINE_CMD;
    }
    conf->pass = handler + strlen(FCGIPM_HANDLER_PREFIX);
    conf->prefix = prefix_of(cmd, &pattern);
    if (!fcgipm_directive_in_htaccess(cmd)) /* there it opens nothing */
        refer(cmd, conf, FCGIPM_HANDLER_PREFIX, conf->pass);
    return DECLINE_CMD;
}

static const char *add_handler(cmd_parms *cmd, void *dir, const char *handler, const char *extension)
{
    const char *fault = check_handler(cmd, handler);

    (void)extension;
    if (fault)
        return fault;
    open_status(cmd, dir, handler);
    if (strncmp(handler, FCGIPM_HANDLER_PREFIX, strlen(FCGIPM_HANDLER_PREFIX)))
        return DECLINE_CMD;
    if (!fcgipm_directive_in_htaccess(cmd))
        refer(cmd, dir, FCGIPM_HANDLER_PREFIX, handler + strlen(FCGIPM_HANDLER_PREFIX));
    return DECLINE_CMD;
}

static const char *allow_pass(cmd_parms *cmd, void *dir, const char *name)
{
    const char *fault = ap_check_cmd_context(cmd, NOT_IN_HTACCESS);

    if (!fault)
        refer(cmd, dir, "", name);
    return fault;
}

/* mod_suexec's own, seen as well: whom a template's pool for this virtual host runs as. */
static const char *suexec_user_group(cmd_parms *cmd, void *dir, const char *user, const char *group)
{
    fcgipm_server_conf_t *conf = fcgipm_directive_own(cmd);

    (void)dir;
    conf->site.user = user;
    conf->site.group = group;
    return DECLINE_CMD;
}

/* --- the table --- */

static const command_rec fixed_directives[] = {
    AP_INIT_RAW_ARGS("<FcgiServer", fcgipm_block_directive, NULL, RSRC_CONF,
                     "NAME: an application and its processes"),
    AP_INIT_RAW_ARGS("<FcgiServerTemplate", fcgipm_block_directive, NULL, RSRC_CONF,
                     "NAME: an application of which each user has processes of his own"),
    AP_INIT_RAW_ARGS("FcgiServer", fcgipm_block_needed, NULL, RSRC_CONF | ACCESS_CONF,
                     "a block: <FcgiServer NAME>"),
    AP_INIT_RAW_ARGS("FcgiServerTemplate", fcgipm_block_needed, NULL, RSRC_CONF | ACCESS_CONF,
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
    AP_INIT_TAKE12("FcgiAllowWrapper", fcgipm_wrapper_allow, NULL, RSRC_CONF,
                   "\"command [argument ...]\" [TEMPLATE]: what FcgiWrapper may name"),
    AP_INIT_RAW_ARGS("FcgiWrapper", fcgipm_wrapper_directive, NULL, OR_FILEINFO,
                     "\"command [argument ...]\" [.extension ...] [virtual]: what answers for such files"),
    AP_INIT_TAKE12("FcgiPass", pass_directive, NULL, ACCESS_CONF | OR_FILEINFO,
                   "NAME [prefix=/path] | None: the application that answers here"),
    AP_INIT_RAW_ARGS("FcgiPassEnv", fcgipm_block_value, NULL, RSRC_CONF,
                     "NAME ...: variables of httpd's own environment for the processes"),
    AP_INIT_TAKE1("SetHandler", set_handler, NULL, OR_FILEINFO, "httpd's own; fcgipm:NAME is seen here too"),
    AP_INIT_ITERATE2("AddHandler", add_handler, NULL, OR_FILEINFO,
                     "httpd's own; fcgipm:NAME is seen here too"),
};

/* A row of core/setting_table.h is a directive without a line of code here. */
__attribute__((constructor)) static void fill_table(void)
{
    for (size_t i = 0; i < sizeof fixed_directives / sizeof *fixed_directives; i++)
        fcgipm_directive_command(&fixed_directives[i]);
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_rows[i];
        command_rec rec = AP_INIT_RAW_ARGS(row->directive, fcgipm_block_value, NULL, RSRC_CONF, row->syntax);

        fcgipm_directive_command(&rec);
    }
    for (unsigned i = 0; i < fcgipm_setting_global_row_count; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_global_rows[i];
        command_rec rec = AP_INIT_TAKE1(row->directive, global_directive, NULL, RSRC_CONF, row->syntax);

        fcgipm_directive_command(&rec);
    }
}
