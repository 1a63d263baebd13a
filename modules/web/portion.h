/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_PORTION_H
#define FCGIPM_WEB_PORTION_H
/*
 * What: how many of httpd's threads the requests of each pool, and those of all pools of one user, may hold
 * (FcgiQueue threads=, FcgiUserThreads): worked out once per child from the configuration and the MPM's size.
 * Who calls: child_init. Owns: memory from the child's pool.
 */
#include <httpd.h>
#include "web/directive.h"

/* That of a fcgipm-script program. */
const fcgipm_share_t *fcgipm_portion_script(void);
/* Fills `share` of every pool. */
void fcgipm_portion_prepare(apr_pool_t *pool, server_rec *main_server);
#endif
