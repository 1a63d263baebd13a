/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_COMPAT_H
#define FCGIPM_WEB_COMPAT_H
/*
 * What: FcgiCompat On: what becomes of the directives of mod_fcgid and mod_fastcgi (web/legacy), for those
 * who come from there. FcgidWrapper, FastCgiServer and FastCgiExternalServer become pools, made when the
 * whole configuration has been read; requests with their handlers are led to them. fcgipm-migrate writes the
 * same down as native directives; docs/migrate.md has the tables. Who calls: guard while httpd reads its
 * configuration; match in request threads. Owns: everything is in pconf. Always true: a request takes a pool
 * only by the server's configuration (.htaccess may set the handler, never the program).
 */
#include <stdbool.h>
#include <httpd.h>
#include <http_config.h>
#include "web/directive.h"

/* check_config: makes the pools. False: do not start (logged with file:line). */
bool fcgipm_compat_finish(apr_pool_t *pconf, server_rec *main_server);

/* Hook: a file that FastCgiServer names has its handler, whatever else was said. */
int fcgipm_compat_fixups(request_rec *r);

typedef struct fcgipm_compat_found {
    const fcgipm_pool_conf_t *pool; /* NULL: the file is itself the program */
    bool is_virtual;                /* no file need be there */
    bool exec;                      /* Options ExecCGI is asked for */
    bool action;                    /* mod_actions came here with another file: the script is that one */
    apr_off_t body_max;             /* FcgidMaxRequestLen; -1: not said */
} fcgipm_compat_found_t;

/* OK and *found for a request with a handler of theirs; DECLINED: not ours; else an HTTP status (logged). */
int fcgipm_compat_find(request_rec *r, fcgipm_compat_found_t *found);
#endif
