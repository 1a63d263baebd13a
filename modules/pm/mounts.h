/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_MOUNTS_H
#define FCGIPM_PM_MOUNTS_H
/*
 * What: what a process can see and write of the file system: FcgiRoot (chroot) and, in a mount namespace of
 * its own, FcgiReadOnlyPaths, FcgiInaccessiblePaths and FcgiPrivateTmp. Only Linux has the latter; all of it
 * is here. Who calls: the forked child, as root, before it becomes the user. Always true: it is all of what
 * was asked for or a failure with the directive's name; nothing of it is visible outside of the child, and it
 * goes with its last process: nobody has to clean up.
 *
 * A tmpfs for each process, and not a directory per pool: it needs nobody who removes what a user has made (a
 * root process in a tree that is not its own), it has a size, where a full directory would fill the runtime
 * directory of all pools, and it ends with the process, however that ends. The price: processes of a pool do
 * not share it.
 */
#include <stdbool.h>
#include "core/setting.h"
#include "pm/step.h"

/* Is a mount namespace needed? */
bool fcgipm_mounts_wanted(const fcgipm_setting_t *s);
/* Enter it; the working directory is then / as the process will see it. Does nothing where nothing is said.
 * 0, or -1 and the step. */
int fcgipm_mounts_enter(const fcgipm_setting_t *s, fcgipm_step_t *step);
#endif
