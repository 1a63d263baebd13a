/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_DEMAND_H
#define FCGIPM_SHARE_DEMAND_H
/*
 * What: pools that are made on demand, as both sides see them: what one is for, where its rows are, and the
 * table on the board by which httpd children find it. Who calls: manager (of, account, geometry, wake), httpd
 * children (of, account, find, lives, wait), parent (fits, next_slot), views (end).
 * Always true: 1. an index has rows of its own in every table, so that nothing of one pool can be taken for
 * another's but by a reader who holds an old index; 2. for him there is `life`: see layout.h.
 */
#include <stdbool.h>
#include "core/setting.h"
#include "share/layout.h"
#include "share/world.h"

/* text: shorter than FCGIPM_DEMAND_TEXT, or false. */
bool fcgipm_demand_set(fcgipm_demand_t *what, fcgipm_demand_kind_t kind, uint64_t block, uint32_t uid,
                       const char *text);
bool fcgipm_demand_same(const fcgipm_demand_t *a, const fcgipm_demand_t *b);
/* FNV-1a 64 over all of it. */
uint64_t fcgipm_demand_key(const fcgipm_demand_t *what);
/* What a request for `path` (NULL: there is no file) in virtual host `site` (NULL: unknown) needs of template
 * `t`: with Owner and Path the file system is looked at, see core/owner.h. Called by the child, to find the
 * pool, and by the manager, with its own t and site, to make it. APR_EACCES with a fault: it gets none. */
apr_status_t fcgipm_demand_of(fcgipm_demand_t *what, const fcgipm_world_template_t *t,
                              const fcgipm_world_site_t *site, const char *path, fcgipm_fault_t *fault);
/* The bytes of its text that name an account; what is behind them only sets it apart. */
size_t fcgipm_demand_account_len(const fcgipm_demand_t *what);
/* The account that its processes run as, by name: there is one, and its number is not too small. NULL in
 * *user: httpd's own. *group may be NULL: the user's. Strings from pool. */
apr_status_t fcgipm_demand_account(const fcgipm_demand_t *what, const fcgipm_setting_t *t, const char **user,
                                   const char **group, apr_pool_t *pool, fcgipm_fault_t *fault);

/* The rows of an on-demand pool index (FCGIPM_POOLS_STATIC and above) for these settings. */
fcgipm_geometry_t fcgipm_demand_geometry(uint32_t index, const fcgipm_setting_t *s);
/* Do its processes and requests fit into an on-demand index? NULL, or a sentence without the block's name. */
const char *fcgipm_demand_fits(const fcgipm_setting_t *s, apr_pool_t *pool);

/* httpd children: the pool that is for exactly this, with its life. False: there is none. Any thread. */
bool fcgipm_demand_find(const fcgipm_board_t *board, const fcgipm_demand_t *what, uint32_t *pool,
                        uint64_t *life);
/* Is the index still that pool's? */
bool fcgipm_demand_lives(const fcgipm_board_t *board, uint32_t pool, uint64_t life);
/* Manager: on-demand pools have changed; wake who waits for one. Children: wait for a change (at most
 * timeout_us). */
void fcgipm_demand_wake(fcgipm_board_t *board);
void fcgipm_demand_wait(fcgipm_board_t *board, uint32_t seen_changes, int64_t timeout_us);
/* One behind the last pool index that may be in use, for views. */
uint32_t fcgipm_demand_end(const fcgipm_board_t *board);
/* The first registry slot from `row` on that can have a worker: those of on-demand indexes without a pool are
 * passed over, so that nobody touches their pages. FCGIPM_SLOTS_MAX: none. */
uint32_t fcgipm_demand_next_slot(const fcgipm_registry_t *registry, uint32_t row);
#endif
