/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_SPAWN_H
#define FCGIPM_PM_SPAWN_H
/*
 * What: prepare, fork, exec. Everything that can fail or allocate is done before the fork; the child reports
 * a failed step through a pipe that closes by itself at exec.
 */
#include <sys/types.h>
#include <apr_pools.h>
#include "core/fault.h"
#include "core/setting.h"
#include "pm/isolate.h"

/* No request has a header of this name: httpd writes them in capitals (a CGI program of somebody else must
 * not get a mark of ours from his client, or it would be ended with our worker). */
#define FCGIPM_SUEXEC_MARK "HTTP_by_"
#define FCGIPM_MARK_MAX    224 /* of a worker's mark, see fcgipm_reap_marker */

/* What does not change between two starts of a pool. */
typedef struct fcgipm_spawn_plan {
    const char *const *argv;
    const char *directory;
    apr_array_header_t *env; /* of const char * */
    uint32_t umask;
    const char *mark_prefix;         /* suexec lets few variables through, HTTP_... among them */
    const fcgipm_setting_t *setting; /* borrowed: limits and walls */
    fcgipm_jail_cell_t cell;
    const fcgipm_jail_t *jail;
    fcgipm_jail_cell_t person; /* whom the processes are in the end, also through suexec */
} fcgipm_spawn_plan_t;

/* s is borrowed for the plan's life. APR_SUCCESS, or what the jail says of its user, with a fault. */
apr_status_t fcgipm_spawn_plan(fcgipm_spawn_plan_t *plan, const fcgipm_setting_t *s,
                               const fcgipm_jail_host_t *host, apr_pool_t *pool, fcgipm_fault_t *fault);
/* Who the processes are in the end: what the unix jail says of the user. */
apr_status_t fcgipm_spawn_person(fcgipm_jail_cell_t *person, const fcgipm_setting_t *s,
                                 const fcgipm_jail_host_t *host, fcgipm_fault_t *fault);
/* All that a child does between fork and exec, in a child that then ends: can this start at all? Waits for
 * it, but not for ever. APR_SUCCESS, or a fault with the step. */
extern int fcgipm_spawn_try_ms; /* a test has another one */
apr_status_t fcgipm_spawn_try(const fcgipm_spawn_plan_t *plan, fcgipm_fault_t *fault);

/* marker: "FCGIPM_WORKER=...", put into the environment. *report_fd: read end, non-blocking: EOF = exec
 * succeeded, else fcgipm_spawn_report. The worker gets descriptors 0 (listen_fd), 1 and 2 (output_fd), and no
 * other. cgroup_fd: its control group, where it is from its first moment on; -1: none. */
apr_status_t fcgipm_spawn_fork(pid_t *pid, int *report_fd, const fcgipm_spawn_plan_t *plan,
                               const char *marker, int listen_fd, int output_fd, int cgroup_fd,
                               fcgipm_fault_t *fault);
/* The manager has descriptors for each worker: as many as the hard limit allows it; workers get what was
 * there before. */
void fcgipm_spawn_raise_limits(void);
/* fork() with all signals blocked in the child, which resets them and their mask first of all. */
pid_t fcgipm_spawn_blocked(void);
/* Read the report. 0: nothing yet; 1: exec succeeded; -1: failed, the fault says at which step. */
int fcgipm_spawn_report(int report_fd, fcgipm_fault_t *fault);
#endif
