/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_CGROUP_H
#define FCGIPM_PM_CGROUP_H
/*
 * What: cgroup v2. Each worker has a group of its own, so that whatever it forks can be killed with it,
 * wherever it hides (cgroup.kill); pools and users have groups above it, which can be limited. Linux only,
 * this file only.
 *
 *   <base>/fcgipm-<id>/u<uid>/p<index>-<pool>/s<slot>-<generation>
 *
 * base: what FcgiCgroup says; id: a name for FcgiRuntimeDir. Who calls: the manager; the parent (sweep, and
 * check at configtest and start). Owns: a tree holds two descriptors; it and what it remembers live in the
 * apr_pool that it was given. Always true: 1. names are made of numbers and configured names, never of what a
 * child can write; 2. below the base every name is opened without following a symbolic link; 3. processes
 * never get a descriptor of it.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <apr_pools.h>
#include "core/fault.h"
#include "core/setting.h"
#include "pm/hierarchy.h"
#include "share/world.h"

#define FCGIPM_CGROUP_LEAF 112 /* bytes of a leaf's path within the tree */

typedef struct fcgipm_cgroup fcgipm_cgroup_t;

/* The tree's name in the base: the same for the same runtime directory only (in two containers it may have
 * the same path). cap: 24 at least. */
void fcgipm_cgroup_name(char *out, size_t cap, const char *runtime_dir);
/* Make or find the tree of this runtime directory. APR_SUCCESS, or a fault. */
apr_status_t fcgipm_cgroup_open(fcgipm_cgroup_t **tree, const fcgipm_hierarchy_base_t *base,
                                const char *runtime_dir, apr_pool_t *pool, fcgipm_fault_t *fault);
/* All that follows does nothing where tree is NULL. */

/* A configuration: what its limits need is switched on, and the limits of users hold from now on. */
void fcgipm_cgroup_configure(fcgipm_cgroup_t *tree, const fcgipm_world_t *world);

typedef struct fcgipm_cgroup_place {
    uint32_t uid, pool, slot, generation;
    const fcgipm_setting_t *setting;
} fcgipm_cgroup_place_t;

/* The group for one worker, with those above it and their limits. leaf: its path in the tree, cap
 * FCGIPM_CGROUP_LEAF; *fd: the caller closes it. Where it cannot be made: with FcgiCgroup Auto *fd is -1,
 * leaf is empty, it is logged once, and that is APR_SUCCESS; else, and where it would escape from a limit by
 * that, a fault, which is never a want of the manager's own. */
apr_status_t fcgipm_cgroup_enter(fcgipm_cgroup_t *tree, const fcgipm_cgroup_place_t *place, char *leaf,
                                 int *fd, fcgipm_fault_t *fault);
/* In a forked child: go there, so that what it becomes has the worker's limits and ends with it. leaf: "" for
 * none. 0 or an errno. */
int fcgipm_cgroup_join(const fcgipm_cgroup_t *tree, const char *leaf);
/* KILL all in it. */
void fcgipm_cgroup_kill(const fcgipm_cgroup_t *tree, const char *leaf);

typedef enum fcgipm_cgroup_oom {
    FCGIPM_CGROUP_OOM_UNKNOWN, /* the kernel does not count it here */
    FCGIPM_CGROUP_OOM_NONE,
    FCGIPM_CGROUP_OOM_POOL, /* killed at the limit of its pool */
    FCGIPM_CGROUP_OOM_USER, /* ... of its user */
    FCGIPM_CGROUP_OOM_OTHER /* ... of a group above, or of the machine */
} fcgipm_cgroup_oom_t;
/* Has the kernel killed one of this leaf for want of memory? */
fcgipm_cgroup_oom_t fcgipm_cgroup_oom(const fcgipm_cgroup_t *tree, const char *leaf);

/* The worker is gone: whatever is still in its leaf is killed, and the leaf goes as soon as it is empty. */
void fcgipm_cgroup_leave(fcgipm_cgroup_t *tree, const char *leaf, int64_t now_us);
/* Remove what has become empty. Returns when it wants to be called next, INT64_MAX: never. */
int64_t fcgipm_cgroup_tend(fcgipm_cgroup_t *tree, int64_t now_us);
/* At a manager's beginning, for each process in each leaf: claim says whether it is a worker that lives, and
 * keeps the leaf's path. Leaves without one are killed and removed. */
void fcgipm_cgroup_adopt(fcgipm_cgroup_t *tree, bool (*claim)(void *ctx, pid_t pid, const char *leaf),
                         void *ctx, int64_t now_us);
/* The end: kill all, remove all; httpd goes back to where it was. Closes the tree. */
void fcgipm_cgroup_end(fcgipm_cgroup_t *tree);
/* Before the first manager: kill and remove what an earlier server of this runtime directory left. */
void fcgipm_cgroup_sweep(const char *text, const char *runtime_dir);
/* Is what is written possible? say is called for each thing that is not; fatal: FcgiCgroup itself cannot be.
 * configtest: httpd's own group is not known then, only what the kernel has. */
void fcgipm_cgroup_check(const fcgipm_world_t *world, bool configtest,
                         void (*say)(void *ctx, bool fatal, const char *sentence), void *ctx);
#endif
