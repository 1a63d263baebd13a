/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_MATCH_H
#define FCGIPM_WEB_MATCH_H
/*
 * What: from a request to a pool and to the CGI idea of where the script is. Two modes (PAIN.md P10). Mount:
 * FcgiPass (or SetHandler fcgipm:NAME) in <Location "/blog">, or FcgiPass NAME prefix=/blog: SCRIPT_NAME is
 * the prefix, PATH_INFO the rest, no file system is asked. File: everywhere else (Files, Directory,
 * .htaccess, extension, fcgipm-script): httpd's own directory walk. Who calls: request hooks, web/handler and
 * web/stage.
 */
#include <stdbool.h>
#include <httpd.h>
#include "web/directive.h"

typedef struct fcgipm_match {
    const char *name;               /* of the pool; for fcgipm-script the program's path */
    bool script;                    /* fcgipm-script: the program is r->filename */
    const fcgipm_pool_conf_t *pool; /* or template; NULL for fcgipm-script */
    const fcgipm_lease_ask_t *ask;  /* a pool that is made on demand; NULL: it is pool->world.index */
    const char *prefix;             /* mount mode; NULL: file mode */
    bool action;                    /* FcgiCompat: mod_actions came here with another file */
    apr_off_t body_max;             /* FcgiCompat: FcgidMaxRequestLen; -1: none but httpd's own */
} fcgipm_match_t;

/* Hooks. */
int fcgipm_match_translate(request_rec *r); /* mount mode: no file is looked for */
int fcgipm_match_map_to_storage(request_rec *r);
int fcgipm_match_fixups(request_rec *r); /* FcgiPass sets r->handler */

/* OK and *match filled; DECLINED: not ours; an HTTP status (404 in file mode without a file, 403 without
 * ExecCGI, 500 for an unknown pool, logged). */
int fcgipm_match_request(request_rec *r, fcgipm_match_t *match);
/* Before a pool that does not exist is asked for: OK, or 403, logged, if nobody gets one. */
int fcgipm_match_account(request_rec *r, const fcgipm_match_t *match);
#endif
