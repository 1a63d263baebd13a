/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_GUARD_H
#define FCGIPM_WEB_GUARD_H
/*
 * What: the module's life in httpd's processes: the two regions and the channels (made once, kept over
 * restarts), the manager (forked, watched, told of each new configuration), what a child does when it begins
 * and what the parent does when a child is gone. Who calls: httpd's hooks (mod_fcgipm.c). fcgipm_guard_link
 * from request threads.
 */
#include <httpd.h>
#include "link/lease.h"

/* configtest and every start: see fcgipm_check_config. */
int fcgipm_guard_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
int fcgipm_guard_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
int fcgipm_guard_monitor(apr_pool_t *pool, server_rec *s);
void fcgipm_guard_child_init(apr_pool_t *pchild, server_rec *s);
/* Parent: an httpd child has ended; what it held is freed. */
void fcgipm_guard_child_gone(void);

/* This child's link; NULL in the parent or when child_init failed (answer 503). */
fcgipm_link_t *fcgipm_guard_link(void);
/* The board, for views; NULL before post_config. */
const fcgipm_board_t *fcgipm_guard_board(void);
#endif
