/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_BOARD_H
#define FCGIPM_SHARE_BOARD_H
/*
 * What: making and finding the two shared regions, and what is done to the board when a child of httpd is
 * gone (who is, share/children says).
 * Who calls: parent (create), parent and manager (obituary), anyone (the rest).
 */
#include <stdbool.h>
#include <sys/types.h>
#include <apr_errno.h>
#include "core/fault.h"
#include "share/layout.h"

/* Shared memory without a name, page aligned, zero but for the header; lives until the process unmaps it or
 * ends, is inherited by fork. *fd (may be NULL): its descriptor, close-on-exec, for fcgipmctl. */
apr_status_t fcgipm_board_create(fcgipm_board_t **board, int *fd, fcgipm_fault_t *fault);
/* Write the header; for who knows by other means that the region is of this build. True: another one was
 * there. */
bool fcgipm_board_sign(fcgipm_board_t *board);
/* True if the region was made by this build. */
bool fcgipm_board_ok(const fcgipm_board_t *board);

/* Open or make `path` (0600, O_NOFOLLOW, owner must be us), take its lock (waiting up to wait_us for an
 * earlier instance to finish) and map it. *leftover: it was written in this boot and holds pids; the caller
 * cleans (pm/ledger) before use. *fd keeps the lock. APR_EBUSY: another instance runs here. */
apr_status_t fcgipm_registry_open(fcgipm_registry_t **registry, int *fd, bool *leftover, const char *path,
                                  int64_t wait_us, fcgipm_fault_t *fault);
/* All rows free, boot id set. */
void fcgipm_registry_reset(fcgipm_registry_t *registry);
void fcgipm_registry_close(fcgipm_registry_t *registry, int fd);

/* Children that there are not, by row. */
typedef struct fcgipm_children_dead {
    bool is[FCGIPM_CHILDREN_MAX];
} fcgipm_children_dead_t;
/* Parent, manager (by share/children): leave the cells of the dead, abandon their seats (offering each to the
 * queue). Ranges come from the registry, never from the board. Returns the number of seats freed. */
unsigned fcgipm_board_obituary(fcgipm_board_t *board, const fcgipm_registry_t *registry,
                               const fcgipm_children_dead_t *dead);
/* Manager: cells of children that there are not (only a scribbler makes them) become free; what was granted
 * to them goes on. g: the manager's own. */
void fcgipm_board_ghosts_leave(fcgipm_board_t *board, uint32_t pool, const fcgipm_geometry_t *g);
/* Geometry of a pool copied from the board and checked; false if it makes no sense. For httpd children. */
bool fcgipm_board_geometry(const fcgipm_board_t *board, uint32_t pool, fcgipm_geometry_t *g);
/* Requests of a pool that hold a thread of httpd: those in a worker, and those that wait with a ticket below
 * `ticket` (FCGIPM_ALL_TICKETS: all). For httpd children. */
#define FCGIPM_ALL_TICKETS UINT64_MAX
uint32_t fcgipm_board_load(const fcgipm_board_t *board, uint32_t pool, uint64_t ticket);
/* Threads that requests of `pool` hold in all children, where requests wait without one otherwise. */
uint32_t fcgipm_board_held(const fcgipm_board_t *board, uint32_t pool);
/* The next pool of the account that `pool` is of, until `pool` itself comes again (at once: it is alone, or
 * of none). Nobody walks more than FCGIPM_PEERS_MAX of them. */
#define FCGIPM_PEERS_MAX 2048u
uint32_t fcgipm_board_peer(const fcgipm_board_t *board, uint32_t pool, uint32_t of);
/* Threads of all children that wait for a pool that is to be made. */
uint32_t fcgipm_board_demanding(const fcgipm_board_t *board);
/* Follow `route` from `pool` (at most 8 hops). For httpd children. */
uint32_t fcgipm_board_route(const fcgipm_board_t *board, uint32_t pool);
/* What cannot be guessed of those names, for this process and those it forks; "" (as it is before): nothing.
 * FCGIPM_SOCKET_KEY characters, see web/state. */
#define FCGIPM_SOCKET_KEY 8
void fcgipm_board_socket_key(const char *key);
/* Path of a worker's socket, for both sides: "<runtime_dir>/p<pool>/s<slot>-<key>.sock" (slot: number within
 * the pool). Not for the log: a virtual host's is often its customer's. Returns out, or NULL if it does not
 * fit. */
const char *fcgipm_board_socket_path(char *out, size_t cap, const char *runtime_dir, uint32_t pool,
                                     uint32_t slot);
#endif
