/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_ISOLATE_H
#define FCGIPM_PM_ISOLATE_H
/*
 * What: how a worker is shut in, as an interface with one file per way (model: varnish's jails): unix = uid,
 * gid, groups; suexec = httpd's own setuid program. Who calls: the manager (prepare, discard) and the forked
 * child (enter) before exec.
 */
#include <apr_pools.h>
#include "core/fault.h"
#include "core/setting.h"

typedef struct fcgipm_jail_cell {
    uint32_t uid, gid;
    const char *user; /* for initgroups; NULL: no supplementary groups */
    int drop;         /* we are root and must become somebody */
} fcgipm_jail_cell_t;

typedef struct fcgipm_jail {
    const char *name;
    /* Look users up. httpd's uid and gid are the default. Never a uid of 0. */
    apr_status_t (*prepare)(fcgipm_jail_cell_t *cell, const fcgipm_setting_t *s, uint32_t uid, uint32_t gid,
                            fcgipm_fault_t *fault);
    /* In the child: become it for ever. 0, or an errno. Async-signal-safe but for initgroups. */
    int (*enter)(const fcgipm_jail_cell_t *cell);
} fcgipm_jail_t;

extern const fcgipm_jail_t fcgipm_jail_unix;
/* Through httpd's suexec (FcgiSuexec); its cell is httpd's own user, who alone may call it. */
extern const fcgipm_jail_t fcgipm_jail_suexec;
/* What is executed: suexec, user, group, the program's name without its directory, which is the current one,
 * and its arguments; NULL at the end. In pool. */
const char *const *fcgipm_suexec_argv(const fcgipm_setting_t *s, apr_pool_t *pool);
/* Why suexec ended with this code, after "suexec refuses it: "; NULL: it is none of its codes. */
const char *fcgipm_suexec_reason(int code);
#endif
