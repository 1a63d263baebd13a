/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_PREVIOUS_H
#define FCGIPM_WEB_PREVIOUS_H
/*
 * What: modules that ours has replaced without a full stop of httpd: their managers and workers serve the
 * httpd children that know them, and go with the last of those. One whose manager was killed has left
 * orphans, which are ended from here. Who calls: web/guard and web/parent, in the parent. Owns: nothing; what
 * is known of them is in the state. Always true: of a module's state only `root` is looked at.
 */
#include <stdbool.h>
#include <sys/types.h>
#include <apr_pools.h>
#include "web/state.h"

/* post_config, for a new state. previous: what a module with another layout has left, or NULL. Its manager is
 * told to retire. Returns the directory for ours: `dir`, or one beside that of the other (in ptemp). */
const char *fcgipm_previous_take_over(fcgipm_state_t *state, fcgipm_state_root_t *previous, const char *dir,
                                      apr_pool_t *ptemp);
/* Is its manager there? Reaps one that has ended. */
bool fcgipm_previous_lives(fcgipm_state_t *state, fcgipm_state_root_t *root);
/* httpd has reaped process pid, with that status (-1: not known). */
void fcgipm_previous_died(fcgipm_state_t *state, pid_t pid, int status);
/* This process, the parent or a child, lets go of all that it shared with that module's manager. */
void fcgipm_previous_let_go(fcgipm_state_root_t *root);
/* Every few seconds, and when an httpd child has ended: orphans whom nobody uses any more are told to end. */
void fcgipm_previous_tend_orphans(fcgipm_state_t *state);

/* At httpd's stop: their managers go with it, waited for until limit_us (monotonic), ... */
void fcgipm_previous_stop(fcgipm_state_t *state, int64_t limit_us);
/* ... then orphans, at most 2 s for each module, ... */
void fcgipm_previous_stop_orphans(fcgipm_state_t *state);
/* ... and last the directories of all of them in the runtime directory. */
void fcgipm_previous_remove(const char *runtime_dir);
#endif
