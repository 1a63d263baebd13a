/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_DAEMON_H
#define FCGIPM_PM_DAEMON_H
/*
 * What: the manager process: one event loop that spawns, watches, replaces and stops workers. The only header
 * of this room that web may see. It knows nothing of httpd, so the same code runs as a plain program in the
 * tests. Who calls: web/parent in the process that it has just forked; t/unit as a program. Always true: 1.
 * one way to begin: read the registry, adopt what lives and matches, then bring the world to the configured
 * state; 2. nothing that a child can write is used as index, length, pid or path (PROMISES R1); 3. it ends on
 * the lifeline's EOF (stops every worker, removes sockets), on LEAVE (touches nothing), or by a signal.
 */
#include <stdbool.h>
#include <sys/types.h>
#include <apr_pools.h>
#include "share/layout.h"
#include "share/world.h"

typedef struct fcgipm_daemon_env {
    fcgipm_board_t *board;
    fcgipm_registry_t *registry;
    int lifeline_fd;     /* read end; EOF = the parent is gone or wants us to stop all */
    int orders_fd;       /* manager's end, share/msg.h */
    int requests_fd;     /* manager's end */
    int board_fd;        /* of the board's memory, passed to fcgipmctl; -1: none */
    int children_fd;     /* share/children.h */
    const int *wake_fds; /* the bell of each httpd child, share/wake.h */
    unsigned wake_count;
    const unsigned char *world; /* first configuration (borrowed) */
    size_t world_len;
    const int *keep_fds; /* further descriptors that stay open: the log */
    unsigned keep_count;
    void (*on_config)(void *ctx, const fcgipm_world_t *world, int log_fd); /* new log descriptor and level;
                                                                              owns log_fd; may be NULL */
    void *ctx;
} fcgipm_daemon_env_t;

/* Exit codes that the parent understands. */
enum {
    FCGIPM_DAEMON_STOPPED = 0, /* all workers stopped as asked */
    FCGIPM_DAEMON_LEFT = 10,   /* LEAVE: fork the next one */
    FCGIPM_DAEMON_BROKEN = 11  /* cannot run at all (runtime directory, memory): do not fork again at once */
};

/* Runs until the end; returns an exit code for _exit(). Closes every descriptor but 0-2, those in env, and
 * keep_fds. The caller has forked; signals are reset here; the process becomes a session leader and a child
 * subreaper. */
int fcgipm_daemon_run(const fcgipm_daemon_env_t *env);

/* For who checks a configuration, in the parent: may processes run as `s` says, httpd being uid and gid?
 * APR_SUCCESS, or a fault whose sentence says what is wrong and what would be right. */
apr_status_t fcgipm_daemon_check_user(const fcgipm_setting_t *s, uint32_t uid, uint32_t gid,
                                      const fcgipm_global_t *global, fcgipm_fault_t *fault);
/* The same, and whatever else comes before its exec, done in a child that then ends: its limits, its walls,
 * its directory, whether the program is there. Forks, and waits for it. */
apr_status_t fcgipm_daemon_try(const fcgipm_setting_t *s, uint32_t uid, uint32_t gid,
                               const fcgipm_global_t *global, apr_pool_t *pool, fcgipm_fault_t *fault);

/* A message (share/msg.h) of type BAD about this pool: look whether the board is as it should be. */
#define FCGIPM_DAEMON_LOOK UINT32_MAX
/* Make the runtime directory if there is none, and check that it and all above it is ours (see
 * pm/listen.h). Parent, before it opens any file in it. */
apr_status_t fcgipm_daemon_directory(const char *runtime_dir, fcgipm_fault_t *fault);
/* configtest: would that succeed? Changes nothing. */
apr_status_t fcgipm_daemon_check_directory(const char *runtime_dir, fcgipm_fault_t *fault);
/* Make and check the runtime directory (ours, not writable by others, no symlink) and stop what an earlier
 * instance left behind according to the registry, and in control groups (cgroup: FcgiCgroup as written, NULL:
 * Auto). Called by the parent before the first manager. uid/gid: httpd's user. */
apr_status_t fcgipm_daemon_prepare(fcgipm_registry_t *registry, bool leftover, const char *runtime_dir,
                                   const char *cgroup, uint32_t uid, uint32_t gid, fcgipm_fault_t *fault);
/* The manager of a module that was replaced has been killed: its workers, and what they forked, are told to
 * end (first), and not asked any more (then); then also its sockets, registry and control groups go. By the
 * mark of its runtime directory in their environment, as its registry may be one that we cannot read; never
 * root's. Returns how many. The parent, when the last httpd child that may use them is gone. */
unsigned fcgipm_daemon_end_orphans(const char *runtime_dir, const char *cgroup, bool first);
/* Is one of them still there? */
bool fcgipm_daemon_any_orphan(const char *runtime_dir);
/* configtest and every start: say is called for each thing of FcgiCgroup and its limits that cannot be as it
 * is written; fatal: FcgiCgroup itself. Of world: cgroup, user_limits and the settings of its pools. */
void fcgipm_daemon_check(const fcgipm_world_t *world, bool configtest,
                         void (*say)(void *ctx, bool fatal, const char *sentence), void *ctx);
#endif
