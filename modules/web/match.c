/* SPDX-License-Identifier: Apache-2.0 */
#include "web/match.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <unixd.h>

#include "share/msg.h"
#include "web/compat.h"

APLOG_USE_MODULE(fcgipm);

#define WRAPPER_HANDLER "fcgipm-wrapper"

/* The application mounted here, whatever the files are; NULL: file mode, or not ours. */
static const fcgipm_dir_conf_t *mounted(const request_rec *r)
{
    const fcgipm_dir_conf_t *dir = fcgipm_directive_dir(r);

    return dir && dir->pass && dir->pass[0] && dir->prefix ? dir : NULL;
}

/* httpd goes on to look for a file unless it is told a name; this one no file has. */
int fcgipm_match_translate(request_rec *r)
{
    const fcgipm_dir_conf_t *dir = mounted(r);

    if (!dir || !r->uri || r->uri[0] != '/')
        return DECLINED;
    r->filename = apr_pstrcat(r->pool, FCGIPM_HANDLER_PREFIX, dir->pass, r->uri, NULL);
    return OK;
}

/* The name that translate gave is all there is to go by: httpd has put the place's configuration aside for
 * the directory walk, which must not look for such a "file" from its working directory up. */
int fcgipm_match_map_to_storage(request_rec *r)
{
    return r->filename && !strncmp(r->filename, FCGIPM_HANDLER_PREFIX, strlen(FCGIPM_HANDLER_PREFIX))
               ? OK
               : DECLINED;
}

/* Said further inside than any application, see fcgipm_directive_merge_dir. */
static bool wrapped(request_rec *r)
{
    const fcgipm_wrapper_t *w = fcgipm_directive_wrapper(r);
    bool is_file = r->finfo.filetype == APR_REG || r->finfo.filetype == APR_LNK;

    return w && (is_file || (w->is_virtual && r->finfo.filetype == APR_NOFILE));
}

/* In file mode only what is a file: directories are mod_dir's, and what is not there may have a
 * FallbackResource. */
int fcgipm_match_fixups(request_rec *r)
{
    const fcgipm_dir_conf_t *dir = fcgipm_directive_dir(r);

    if (dir && wrapped(r)) {
        r->handler = WRAPPER_HANDLER;
        return DECLINED;
    }
    if (!dir || !dir->pass || !dir->pass[0])
        return DECLINED;
    if (!dir->prefix && r->finfo.filetype != APR_REG && r->finfo.filetype != APR_LNK)
        return DECLINED;
    r->handler = apr_pstrcat(r->pool, FCGIPM_HANDLER_PREFIX, dir->pass, NULL);
    return DECLINED;
}

static int refuse(request_rec *r, int status, const char *number, const char *what)
{
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "%s: %s: %s", number, what,
                  r->filename ? r->filename : r->uri);
    return status;
}

/* As for any script: a file must be there, and PATH_INFO be wanted. */
static int check_file(request_rec *r)
{
    if (r->finfo.filetype == APR_NOFILE)
        return refuse(r, HTTP_NOT_FOUND, "FPM0662", "there is no such script");
    if (r->finfo.filetype == APR_DIR)
        return refuse(r, HTTP_FORBIDDEN, "FPM0663", "a directory is not a script");
    if (r->used_path_info == AP_REQ_REJECT_PATH_INFO && r->path_info && r->path_info[0])
        return refuse(r, HTTP_NOT_FOUND, "FPM0664", "AcceptPathInfo is off");
    return OK;
}

static int check_exec(request_rec *r)
{
    return ap_allow_options(r) & OPT_EXECCGI
               ? OK
               : refuse(r, HTTP_FORBIDDEN, "FPM0665",
                        "Options ExecCGI is off here; write Options +ExecCGI in its <Directory>");
}

/* Where httpd would run a CGI program as somebody (SuexecUserGroup, a ~user's directory), it is not what was
 * ordered to run one as httpd's own user. */
static int check_identity(request_rec *r)
{
    const ap_unix_identity_t *id = ap_unixd_config.suexec_enabled ? ap_run_get_suexec_identity(r) : NULL;

    if (!id || id->uid == ap_unixd_config.user_id)
        return OK;
    ap_log_rerror(
        APLOG_MARK, APLOG_ERR, 0, r,
        "FPM0630: fcgipm-script runs programs as httpd's User, and SuexecUserGroup says uid %u; write "
        "a <FcgiServer> with FcgiUser: %s",
        (unsigned)id->uid, r->filename);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* The manager runs no program by a name that could come to mean another one. */
static int match_script(request_rec *r, fcgipm_match_t *match)
{
    fcgipm_lease_ask_t *ask;
    char real[PATH_MAX];
    int status;

    if ((status = check_exec(r)) != OK || (status = check_file(r)) != OK)
        return status;
    if (!(r->finfo.protection & (APR_UEXECUTE | APR_GEXECUTE | APR_WEXECUTE)))
        return refuse(r, HTTP_FORBIDDEN, "FPM0666", "the script is not executable");
    if (!realpath(r->filename, real) || strcmp(real, r->filename))
        return refuse(r, HTTP_FORBIDDEN, "FPM0672",
                      "a symbolic link is in the script's path; write the real one");
    match->script = true;
    match->name = r->filename;
    ask = apr_pcalloc(r->pool, sizeof *ask);
    if (!fcgipm_demand_set(&ask->what, FCGIPM_DEMAND_SCRIPT, 0, 0, r->filename))
        return refuse(r, HTTP_FORBIDDEN, "FPM0700", "the script's path is too long");
    ask->type = FCGIPM_MSG_SCRIPT;
    ask->path = r->filename;
    match->ask = ask;
    return OK;
}

static int refuse_user(request_rec *r, const fcgipm_match_t *match, const fcgipm_fault_t *fault)
{
    ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "FPM0701: template %s: %s", match->pool->setting->name,
                  fault->sentence);
    return HTTP_FORBIDDEN;
}

/* Whose pool it is. The manager comes to the same by itself, and is told neither user nor pool. */
static int match_template(request_rec *r, fcgipm_match_t *match)
{
    const fcgipm_world_site_t *site = &fcgipm_directive_server(r->server)->site;
    fcgipm_lease_ask_t *ask = apr_pcalloc(r->pool, sizeof *ask);
    fcgipm_fault_t fault;

    ask->type = FCGIPM_MSG_TEMPLATE;
    ask->block = match->pool->model.key;
    ask->site = site->key;
    ask->path = match->prefix || r->finfo.filetype == APR_NOFILE ? NULL : r->filename;
    if (fcgipm_demand_of(&ask->what, &match->pool->model, site, ask->path, &fault) != APR_SUCCESS)
        return refuse_user(r, match, &fault);
    match->ask = ask;
    return OK;
}

int fcgipm_match_account(request_rec *r, const fcgipm_match_t *match)
{
    const char *user, *group;
    fcgipm_fault_t fault;

    if (!match->script && fcgipm_demand_account(&match->ask->what, match->pool->setting, &user, &group,
                                                r->pool, &fault) != APR_SUCCESS)
        return refuse_user(r, match, &fault);
    return OK;
}

static int match_wrapper(request_rec *r, fcgipm_match_t *match)
{
    const fcgipm_wrapper_t *w = fcgipm_directive_wrapper(r);
    int status = OK;

    if (!w)
        return refuse(r, HTTP_INTERNAL_SERVER_ERROR, "FPM0702", "no FcgiWrapper holds for this file");
    if (!(ap_allow_options(r) & OPT_EXECCGI))
        return refuse(r, HTTP_FORBIDDEN, "FPM0703",
                      "FcgiWrapper: Options ExecCGI is off here; write Options +ExecCGI in its <Directory>");
    match->pool = fcgipm_directive_allowed(r->server, w->command);
    if (!match->pool) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FPM0704: FcgiWrapper \"%s\": the server's configuration does not allow it "
                      "(FcgiAllowWrapper): %s",
                      w->command, r->filename ? r->filename : r->uri);
        return HTTP_FORBIDDEN;
    }
    match->name = match->pool->setting->name;
    if (!w->is_virtual || r->finfo.filetype != APR_NOFILE)
        status = check_file(r);
    return status == OK ? match_template(r, match) : status;
}

/* Does `uri` lie at or below the mount point? */
static bool below(const char *uri, const char *prefix)
{
    size_t len = strlen(prefix);

    return !strncmp(uri, prefix, len) && (uri[len] == '\0' || uri[len] == '/');
}

static int match_pool(request_rec *r, const char *name, fcgipm_match_t *match)
{
    const fcgipm_dir_conf_t *dir = fcgipm_directive_dir(r);
    int status;

    match->name = name;
    match->pool = fcgipm_directive_pool(r->server, name);
    if (!match->pool) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FPM0667: there is no <FcgiServer %s> for this virtual host: %s", name,
                      r->filename ? r->filename : r->uri);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!fcgipm_directive_opened(r, name)) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FPM0668: the server's configuration does not open application %s to this place; "
                      "FcgiAllowPass, FcgiPass, SetHandler or AddHandler there does: %s",
                      name, r->filename ? r->filename : r->uri);
        return HTTP_FORBIDDEN;
    }
    if (!dir || !dir->pass || strcmp(dir->pass, name) || !dir->prefix) {
        status = check_file(r);
        return status == OK && match->pool->model.setting ? match_template(r, match) : status;
    }
    if (!below(r->uri, dir->prefix)) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "FPM0669: %s is not below prefix=%s of FcgiPass %s; SCRIPT_NAME would be wrong", r->uri,
                      dir->prefix, name);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    match->prefix = dir->prefix;
    return match->pool->model.setting ? match_template(r, match) : OK;
}

/* A length that is said and too large is refused before anything is read. */
static int check_length(request_rec *r, apr_off_t body_max)
{
    const char *said = apr_table_get(r->headers_in, "Content-Length");
    apr_off_t length;

    return body_max >= 0 && said && ap_parse_strict_length(&length, said) && length > body_max
               ? HTTP_REQUEST_ENTITY_TOO_LARGE
               : OK;
}

/* The handlers of mod_fcgid and mod_fastcgi. */
static int match_compat(request_rec *r, fcgipm_match_t *match)
{
    fcgipm_compat_found_t found;
    int status = fcgipm_compat_find(r, &found);

    if (status != OK || (status = check_length(r, found.body_max)) != OK)
        return status;
    match->action = found.action;
    match->body_max = found.body_max;
    if (!found.pool)
        return match_script(r, match);
    match->pool = found.pool;
    match->name = found.pool->setting->name;
    if (found.exec && (status = check_exec(r)) != OK)
        return status;
    return found.is_virtual ? OK : check_file(r);
}

int fcgipm_match_request(request_rec *r, fcgipm_match_t *match)
{
    memset(match, 0, sizeof *match);
    match->body_max = -1;
    if (!r->handler)
        return DECLINED;
    if (!strcmp(r->handler, FCGIPM_SCRIPT_HANDLER)) {
        int status = check_identity(r);

        return status == OK ? match_script(r, match) : status;
    }
    if (!strcmp(r->handler, WRAPPER_HANDLER))
        return match_wrapper(r, match);
    if (strncmp(r->handler, FCGIPM_HANDLER_PREFIX, strlen(FCGIPM_HANDLER_PREFIX)))
        return match_compat(r, match);
    return match_pool(r, r->handler + strlen(FCGIPM_HANDLER_PREFIX), match);
}
