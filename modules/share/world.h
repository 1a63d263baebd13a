/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_WORLD_H
#define FCGIPM_SHARE_WORLD_H
/*
 * What: the compiled configuration that the parent hands to the manager, as bytes. The parent gives each pool
 * its index: a pool whose key and fingerprint are in the registry already keeps its index (and so its
 * workers); any other gets a free one. Where there is none for a changed pool, its old definition goes on.
 * Who calls: parent (assign, write), manager (read).
 */
#include <stdbool.h>
#include <apr_tables.h>
#include "core/setting.h"
#include "share/layout.h"

#define FCGIPM_WORLD_VERSION 6u
#define FCGIPM_NO_POOL       UINT32_MAX /* an index: there was no room */

typedef struct fcgipm_world_pool {
    uint32_t index;
    fcgipm_geometry_t geometry;
    uint64_t key, fingerprint;
    bool old; /* index, geometry and fingerprint are those of its previous definition: there was no room */
    fcgipm_setting_t *setting;
} fcgipm_world_pool_t;

/* A <FcgiServerTemplate>, or a command that FcgiAllowWrapper allows. */
typedef struct fcgipm_world_template {
    uint64_t key, fingerprint;
    const char *vhost;         /* the one that may name it; "" or NULL: each */
    fcgipm_setting_t *setting; /* setting->user_from is not FCGIPM_USER_SAID */
} fcgipm_world_template_t;

/* A virtual host, for templates: children name it by its key. */
typedef struct fcgipm_world_site {
    uint64_t key;
    const char *vhost;        /* "" main server */
    const char *user, *group; /* SuexecUserGroup; NULL: none */
} fcgipm_world_site_t;

typedef struct fcgipm_world {
    uint32_t generation; /* counts configurations; 1 is the first */
    uint32_t uid, gid;   /* httpd's User and Group, for sockets and for workers without FcgiUser */
    int32_t log_level;
    fcgipm_global_t global;
    uint32_t scripts; /* 1: fcgipm-script is used, on-demand pools are allowed */
    const char *runtime_dir;
    const char *cgroup;              /* FcgiCgroup as written; NULL: Auto */
    apr_array_header_t *user_limits; /* of fcgipm_user_limit_t; NULL: none */
    apr_array_header_t *pools;       /* of fcgipm_world_pool_t */
    apr_array_header_t *templates;   /* of fcgipm_world_template_t; may be NULL to write */
    apr_array_header_t *sites;       /* of fcgipm_world_site_t; may be NULL to write */
} fcgipm_world_t;

/* In which order pools are to be assigned, so that what fits serves most: unchanged ones, new ones, changed
 * ones. */
#define FCGIPM_WORLD_TURNS 3u
unsigned fcgipm_world_turn(const fcgipm_registry_t *registry, const fcgipm_board_t *board,
                           const fcgipm_setting_t *setting);
/* Give `pool` an index and a geometry in registry and board (see above). key and fingerprint are computed
 * here. When a table is full: APR_SUCCESS with pool->old and a fault, or, where there is no definition that
 * could go on, APR_ENOSPC with a fault, and index is FCGIPM_NO_POOL. */
apr_status_t fcgipm_world_assign(fcgipm_registry_t *registry, fcgipm_board_t *board,
                                 fcgipm_world_pool_t *pool, fcgipm_fault_t *fault);
/* FNV-1a 64 over what a site is. */
uint64_t fcgipm_world_site_key(const fcgipm_world_site_t *site);
/* bytes: malloc'ed, the caller frees; they must outlive pools that are cleared at a restart. */
apr_status_t fcgipm_world_write(const fcgipm_world_t *world, unsigned char **bytes, size_t *len);
apr_status_t fcgipm_world_read(fcgipm_world_t **world, const unsigned char *bytes, size_t len,
                               apr_pool_t *pool, fcgipm_fault_t *fault);
#endif
