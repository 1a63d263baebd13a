/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_LEGACY_H
#define FCGIPM_WEB_LEGACY_H
/*
 * What: FcgiCompat, and the directives of mod_fcgid and mod_fastcgi: each is a row of web/compat_table.h.
 * What they say is checked and kept here, as native settings would have it, until the whole configuration has
 * been read: values may stand behind what they are for. What becomes of it is web/compat's. Who calls: httpd
 * while it reads the configuration; web/compat. Owns: everything is in pconf. Always true: with FcgiCompat
 * Off no directive does anything, and one that another module has is that module's.
 */
#include <stdbool.h>
#include <httpd.h>
#include <apr_hash.h>
#include "web/directive.h"

#define FCGIPM_LEGACY_ALL "*" /* FcgidWrapper without an extension */

typedef struct fcgipm_legacy_said {
    const fcgipm_setting_row_t *row;
    const char *text; /* as a native directive would have it */
} fcgipm_legacy_said_t;

typedef struct fcgipm_legacy_wrapper {
    const char *command, *place;
    server_rec *server;
    bool is_virtual;
} fcgipm_legacy_wrapper_t;

/* FcgidCmdOptions. */
typedef struct fcgipm_legacy_options {
    const char *command, *place;
    apr_array_header_t *said; /* of fcgipm_legacy_said_t */
} fcgipm_legacy_options_t;

/* A file whose requests go to a pool. */
typedef struct fcgipm_legacy_app {
    const char *path, *place;
    fcgipm_setting_t *setting;
    const fcgipm_pool_conf_t *pool;
    bool is_virtual, forced, authorization, processes_said;
} fcgipm_legacy_app_t;

struct fcgipm_legacy {
    apr_array_header_t *said;     /* of fcgipm_legacy_said_t, in order */
    apr_array_header_t *commands; /* of fcgipm_legacy_options_t */
    apr_array_header_t *apps;     /* of fcgipm_legacy_app_t *, in order */
    apr_hash_t *files;            /* path -> fcgipm_legacy_app_t * */
    apr_hash_t *pools;            /* command line -> fcgipm_pool_conf_t * */
    apr_off_t body_max;           /* -1: not said */
    bool authorization;           /* FcgidPassHeader Authorization */
};

/* pre_config. */
void fcgipm_legacy_begin(apr_pool_t *pconf);
/* FcgiCompat */
bool fcgipm_legacy_on(void);
/* All of this configuration, of fcgipm_legacy_wrapper_t *. */
const apr_array_header_t *fcgipm_legacy_wrappers(void);
/* FastCgiWrapper */
bool fcgipm_legacy_suexec(void);
/* mod_fcgid or mod_fastcgi is loaded, too: a sentence, else NULL. */
const char *fcgipm_legacy_rival(apr_pool_t *pool);
/* What a server has said; made when it says something, and for all of them before requests come. */
struct fcgipm_legacy *fcgipm_legacy_made(apr_pool_t *pool, server_rec *s);
/* `list` (of fcgipm_legacy_said_t) onto a setting. They have been checked when they were said. */
void fcgipm_legacy_apply(fcgipm_setting_t *s, const apr_array_header_t *list, apr_pool_t *pool);
static inline const struct fcgipm_legacy *fcgipm_legacy_of(const server_rec *s)
{
    return fcgipm_directive_server(s)->legacy;
}
#endif
