/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_DIRECTIVE_H
#define FCGIPM_WEB_DIRECTIVE_H
/*
 * What: the configuration as httpd keeps it: the table of directives, the pools of each server, and what a
 * directory or location says. What the directives do is in web/block, wrapper, commands and legacy. Who
 * calls: httpd and those while the configuration is read; request threads read only. Owns: everything is in
 * pconf and lives until the next restart.
 */
#include <stdbool.h>
#include <httpd.h>
#include <apr_hash.h>
#include <http_config.h>
#include "core/setting.h"
#include "link/lease.h"
#include "share/world.h"

/* One FcgiServer block. After post_config `world.index` is valid and the same in every child. */
typedef struct fcgipm_pool_conf {
    fcgipm_setting_t *setting;
    fcgipm_world_pool_t world;
    fcgipm_world_template_t model; /* a template: in place of `world`; setting NULL: it is none */
    server_rec *server;            /* where it was declared: its log, its privacy */
    const char *place;             /* "file:line" */
    const ap_directive_t *block;   /* what is said in it, by line; NULL: it was not made by a block */
    const char *wrapper;           /* the command of FcgiAllowWrapper that made it, NULL: none */
    fcgipm_share_t share;          /* from post_config on, see web/portion.h */
    bool inherited;                /* FcgiCompat: of another server's wrapper; nobody may ever ask for it */
} fcgipm_pool_conf_t;

typedef struct fcgipm_server_conf {
    apr_hash_t *wrappers;            /* command, its words with a space between -> its fcgipm_pool_conf_t * */
    apr_hash_t *pools;               /* name -> fcgipm_pool_conf_t *, only those declared in this server */
    const char *runtime_dir;         /* main server only */
    const char *runtime_place;       /* "file:line" */
    const char *cgroup;              /* FcgiCgroup, NULL: Auto; main server only */
    const char *cgroup_place;        /* "file:line" */
    apr_array_header_t *user_limits; /* of fcgipm_user_limit_t; main server only */
    fcgipm_global_t global;          /* main server only */
    fcgipm_setting_t *script;        /* settings of fcgipm-script pools: the defaults */
    struct fcgipm_legacy *legacy;    /* FcgiCompat: see web/legacy.h */
    fcgipm_world_site_t site;        /* from post_config on with its key */
} fcgipm_server_conf_t;

/* FcgiWrapper, for one ending. */
typedef struct fcgipm_wrapper {
    const char *ending;  /* ".php"; NULL: any file */
    const char *command; /* as the key of `wrappers` */
    bool is_virtual;     /* the file need not be there */
} fcgipm_wrapper_t;

typedef struct fcgipm_dir_conf {
    const char *pass;   /* NULL: not said; "": None; else pool's name */
    const char *prefix; /* mount point (SCRIPT_NAME); NULL: file mode, httpd's own directory walk decides */
    apr_array_header_t
        *opened;          /* of const char *: pools that the server's configuration names for this place */
    apr_hash_t *wrappers; /* FcgiCompat: FcgidWrapper by extension; NULL: none */
    apr_array_header_t *endings; /* of fcgipm_wrapper_t: FcgiWrapper; the first that fits holds */
} fcgipm_dir_conf_t;

/* An application, or a command, that is named somewhere: FcgiPass, SetHandler, AddHandler, FcgiAllowPass,
 * FcgiWrapper. */
typedef struct fcgipm_reference {
    const char *pool, *place, *directive;
    server_rec *server;
    bool wrapper; /* pool: a command */
} fcgipm_reference_t;

/* Ends with an empty record; complete when the module has been loaded. */
extern command_rec fcgipm_directive_table[];
/* One more, before httpd sees the table: called by constructors (web/commands, web/legacy). Of a name the
 * first holds. */
void fcgipm_directive_command(const command_rec *command);
/* Is there a directive of ours with that name? */
bool fcgipm_directive_listed(const char *name);
/* pre_config: a new configuration begins. */
void fcgipm_directive_begin(apr_pool_t *pconf);
void *fcgipm_directive_create_server(apr_pool_t *pool, server_rec *s);
void *fcgipm_directive_merge_server(apr_pool_t *pool, void *base, void *add);
void *fcgipm_directive_create_dir(apr_pool_t *pool, char *path);
void *fcgipm_directive_merge_dir(apr_pool_t *pool, void *base, void *add);

/* The pool that `name` means in server s: its own block first, then the main server's. NULL: unknown. */
fcgipm_pool_conf_t *fcgipm_directive_pool(const server_rec *s, const char *name);
/* check_config, first of all: a virtual host that says nothing of ours has been given the main server's
 * configuration by httpd, and gets one of its own. */
void fcgipm_directive_settle(apr_pool_t *pconf, server_rec *main_server);
const fcgipm_server_conf_t *fcgipm_directive_server(const server_rec *s);
const fcgipm_dir_conf_t *fcgipm_directive_dir(const request_rec *r);

/* The FcgiWrapper that holds for the request's file, or NULL. */
const fcgipm_wrapper_t *fcgipm_directive_wrapper(const request_rec *r);
/* The pool of a command, if FcgiAllowWrapper allows it in this server or the main server. */
const fcgipm_pool_conf_t *fcgipm_directive_allowed(const server_rec *s, const char *command);
/* Names of handlers; behind the prefix stands a pool. */
#define FCGIPM_HANDLER_PREFIX "fcgipm:"
#define FCGIPM_SCRIPT_HANDLER "fcgipm-script"
#define FCGIPM_STATUS_HANDLER "fcgipm-status"
/* The server's configuration (not .htaccess, not a content type) has named this pool, or the status page's
 * handler, for the request's place. */
bool fcgipm_directive_opened(const request_rec *r, const char *name);

/* The nth row of a directive with that key (NULL: the nth without). NULL: there is none. */
const fcgipm_setting_row_t *fcgipm_directive_row(const char *directive, const char *key, unsigned nth);
/* What setting->vhost is in server s. */
const char *fcgipm_directive_vhost(apr_pool_t *pool, const server_rec *s);
/* The user and group of SuexecUserGroup in server s, if it has one, become the setting's. When the whole
 * configuration has been read. */
void fcgipm_directive_vhost_user(fcgipm_setting_t *setting, server_rec *s, apr_pool_t *pconf);
/* A pool of server s, whose setting is finished and checked. NULL, or a sentence: the name is used. */
const char *fcgipm_directive_add(apr_pool_t *pool, server_rec *s, fcgipm_setting_t *setting,
                                 const char *place);

/* The line that a sentence about a block is about: it begins with a directive, which may be said in there, if
 * need be behind FCGIPM_WOULD_NOT. Else that of the block. */
#define FCGIPM_WOULD_NOT "a process would not start: "
const ap_directive_t *fcgipm_directive_line(const ap_directive_t *block, const char *sentence);
/* What the block of these settings is called. */
const char *fcgipm_directive_kind(const fcgipm_setting_t *s);
/* What this configuration has named so far, of fcgipm_reference_t. */
const apr_array_header_t *fcgipm_directive_references(void);
/* Every pool and template of every server, of fcgipm_pool_conf_t *. */
apr_array_header_t *fcgipm_directive_pools(apr_pool_t *pool, server_rec *main_server);
/* post_config: what templates know of a virtual host. Lives as long as the configuration. */
const fcgipm_world_site_t *fcgipm_directive_site(apr_pool_t *pconf, server_rec *s);
/* True if some handler or AddHandler in the configuration is fcgipm-script, or might be (.htaccess allowed).
 */
bool fcgipm_directive_scripts(void);
/* While the configuration is read: they are wanted. */
void fcgipm_directive_allow_scripts(void);

/* While the configuration is read, of the directive at cmd: its "file:line" (in cmd->pool), ... */
const char *fcgipm_directive_place(const cmd_parms *cmd);
/* ... is it in an .htaccess file, ... */
bool fcgipm_directive_in_htaccess(cmd_parms *cmd);
/* ... what its server says, to be changed, and what the main server does (NULL: nothing yet), ... */
fcgipm_server_conf_t *fcgipm_directive_own(const cmd_parms *cmd);
const fcgipm_server_conf_t *fcgipm_directive_main(void);
/* ... and what it names: one more of the references. `directive`, `pool`: of the configuration's life. */
void fcgipm_directive_refer(cmd_parms *cmd, const char *directive, const char *pool, bool wrapper);
#endif
