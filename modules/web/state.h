/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_STATE_H
#define FCGIPM_WEB_STATE_H
/*
 * What: what the module keeps in httpd's parent over restarts: the two regions, the channels to the manager,
 * what it has been told; and how all that is made, once. Who calls: web/guard, web/parent and web/previous,
 * in the parent; a child has a copy, of which it drops what is not its business (guard). Owns: memory that
 * ap_retained_data_create has given, until httpd ends; in it malloc'ed memory and descriptors. Always true:
 * plain data only. The module's code may be unloaded and mapped elsewhere between two configurations, so no
 * pointer to a function or a static of ours may be in here (PROTOTYPES.md section 3).
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <apr_pools.h>
#include "share/board.h"
#include "share/layout.h"

#define FCGIPM_STATE_KEY    "mod_fcgipm: state"
#define FCGIPM_UPGRADES_MAX 99 /* without a full stop between them */

/* What every version of this module understands of the state that another one has left: it never changes. */
typedef struct fcgipm_state_root {
    uint32_t magic, layout;             /* layout: of the rest, and of the regions */
    struct fcgipm_state_root *previous; /* that of a module which ours has replaced */
    uint32_t upgrades;                  /* how many there are before this one */
    int32_t orders_fd, lifeline_fd;     /* the parent's ends; -1: closed */
    int32_t manager;                    /* pid, 0: none */
    char runtime_dir[128];              /* FcgiRuntimeDir itself */
    void *maps[2];                      /* the parent's to unmap when its manager has gone, ... */
    uint64_t map_sizes[2];
    uint32_t fd_count; /* ... and to close */
    int32_t fds[FCGIPM_CHILDREN_MAX + 16];
} fcgipm_state_root_t;

/* Each field is written by the parent alone. */
typedef struct fcgipm_state {
    fcgipm_state_root_t root;
    fcgipm_board_t *board;
    fcgipm_registry_t *registry;
    int registry_fd, board_fd, children_fd;
    int orders[2];   /* [0] parent, [1] manager */
    int requests[2]; /* [0] manager, [1] httpd children */
    int lifeline[2]; /* [0] manager reads, [1] parent holds */
    int wake_fds[FCGIPM_CHILDREN_MAX];
    unsigned wake_count;
    pid_t parent, manager;
    uint32_t generation;
    unsigned char *world; /* malloc'ed; NULL: no configuration has been compiled yet */
    size_t world_len;
    char *runtime_dir; /* malloc'ed */
    char *cgroup;      /* FcgiCgroup, malloc'ed; NULL: Auto */
    int64_t stop_us;   /* the longest stop= of all pools */
    int64_t deaths_since_us;
    unsigned deaths; /* of the manager within the last 10 s */
    uint64_t image;  /* which file the manager's code is from */
    char socket_key[FCGIPM_SOCKET_KEY + 1];
    int begun; /* httpd's generation that was the first with this state */
    struct {
        int64_t since_us, told_us; /* 0: there are none; they have not been told to end */
    } orphans[FCGIPM_UPGRADES_MAX +
              1]; /* workers of a replaced module whose manager was killed; by its upgrades */
} fcgipm_state_t;

/* False: a module with another layout has left it, of which only `root` may be looked at. */
bool fcgipm_state_readable(const fcgipm_state_t *state);

/* post_config, for a state of zeros (but for `root.previous`, `root.runtime_dir` and `cgroup`): the runtime
 * directory `dir` with what an earlier server has left in it, the regions, the channels. Waits up to stop_us
 * and 3 s for an earlier server that still stops. Else *fault says why, and httpd does not start. */
apr_status_t fcgipm_state_make(fcgipm_state_t *state, const char *dir, int64_t stop_us, apr_pool_t *ptemp,
                               fcgipm_fault_t *fault);
#endif
