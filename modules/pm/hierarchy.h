/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_HIERARCHY_H
#define FCGIPM_PM_HIERARCHY_H
/*
 * What: where on this machine control groups of ours may be: the hierarchy of version 2, httpd's place in it,
 * and whether systemd has left that to us. It only looks. Linux only, this file only. Who calls: the manager
 * and the parent, before pm/cgroup.
 */
#include <stdbool.h>
#include "core/fault.h"

/* Where httpd's own processes go when limits need their group empty. */
#define FCGIPM_HIERARCHY_HTTPD "fcgipm-httpd"

/* Where the tree is to be made. */
typedef struct fcgipm_hierarchy_base {
    char dir[512];
    char mount[256]; /* of the hierarchy */
    bool own;        /* httpd itself runs in it */
    bool strict;     /* said by the administrator: On, or a path */
} fcgipm_hierarchy_base_t;

/* text: FcgiCgroup as written, NULL: Auto. APR_ENOTIMPL: Off; APR_EINVAL: a sentence why it cannot be. */
apr_status_t fcgipm_hierarchy_find(fcgipm_hierarchy_base_t *base, const char *text, fcgipm_fault_t *fault);
#endif
