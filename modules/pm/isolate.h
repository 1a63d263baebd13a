/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_ISOLATE_H
#define FCGIPM_PM_ISOLATE_H
/*
 * What: how a worker is shut in, as an interface with one file per way (model: varnish's jails): unix = uid,
 * gid, groups; suexec = httpd's own setuid program; and what it sees of the file system (pm/mounts). Who
 * calls: the manager (prepare) and the forked child (enter) before exec. What else runs as the application's
 * user (a slow log's command) goes the same way.
 */
#include <apr_pools.h>
#include "core/fault.h"
#include "core/setting.h"
#include "pm/step.h"

/* Who httpd is, and whom it may become: FcgiMinUid, FcgiMinGid. */
typedef struct fcgipm_jail_host {
    uint32_t uid, gid; /* httpd's own, which are always allowed */
    uint32_t min_uid, min_gid;
} fcgipm_jail_host_t;

typedef struct fcgipm_jail_cell {
    uint32_t uid, gid;
    const char *user;                /* for initgroups; NULL: no supplementary groups */
    int drop;                        /* we are root and must become somebody */
    const fcgipm_setting_t *setting; /* borrowed: its walls */
} fcgipm_jail_cell_t;

typedef struct fcgipm_jail {
    const char *name;
    /* Look users up. httpd's uid and gid are the default. Never a uid or group of 0, nor one below host's
     * minimum. APR_SUCCESS, APR_ENOENT (no such user or group) or APR_EACCES, with a fault. */
    apr_status_t (*prepare)(fcgipm_jail_cell_t *cell, const fcgipm_setting_t *s,
                            const fcgipm_jail_host_t *host, fcgipm_fault_t *fault);
    /* In the child: become it for ever, in its walls. 0, or -1 and the step. Async-signal-safe but for
     * getgrouplist. */
    int (*enter)(const fcgipm_jail_cell_t *cell, fcgipm_step_t *step);
} fcgipm_jail_t;

extern const fcgipm_jail_t fcgipm_jail_unix;
/* Through httpd's suexec (FcgiSuexec); its cell is httpd's own user, who alone may call it. */
extern const fcgipm_jail_t fcgipm_jail_suexec;
static inline const fcgipm_jail_t *fcgipm_jail_of(const fcgipm_setting_t *s)
{
    return s->suexec ? &fcgipm_jail_suexec : &fcgipm_jail_unix;
}
/* For the ways, in the child: first, as root, the groups of user, or none (NULL); 0, or -1 and the step. */
int fcgipm_jail_groups(const char *user, uint32_t gid, fcgipm_step_t *step);
/* Then user and group, for ever: the kernel is asked whether it is so, whether the groups are those that were
 * set, none of them root's, and whether there is a way back. 0, or -1 and the step. */
int fcgipm_jail_become(const fcgipm_jail_cell_t *cell, fcgipm_step_t *step);
/* What is executed: suexec, user, group, the program's name without its directory, which is the current one,
 * and its arguments; NULL at the end. In pool. */
const char *const *fcgipm_suexec_argv(const fcgipm_setting_t *s, apr_pool_t *pool);
/* Why suexec ended with this code, after "suexec refuses it: "; NULL: it is none of its codes. */
const char *fcgipm_suexec_reason(int code);
#endif
