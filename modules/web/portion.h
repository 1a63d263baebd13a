/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_PORTION_H
#define FCGIPM_WEB_PORTION_H
/*
 * What: how many of httpd's threads the requests of each pool, and those of all pools of one user, may hold
 * (FcgiQueue threads=, FcgiUserThreads), and how many of a user may wait (FcgiUserQueue): worked out once
 * from the configuration and the MPM's size, in the parent: what a child wrote here for each pool would be
 * memory of its own for each pool. Who calls: post_config, request threads. Owns: memory from pconf.
 */
#include <stdbool.h>
#include <httpd.h>
#include "core/fault.h"
#include "share/layout.h"
#include "web/match.h"

/* What link/lease shall count for a request; NULL where requests wait without a thread. */
const fcgipm_share_t *fcgipm_portion_of(const fcgipm_match_t *match);
/* FcgiUserQueue: requests of one user that may wait for a process; 0: no limit. */
uint32_t fcgipm_portion_user_queue(void);
/* There: may a request that needs its thread (HTTP/2, a subrequest) have one? It holds it until `pool` ends.
 */
bool fcgipm_portion_enter(uint32_t index, const fcgipm_match_t *match, fcgipm_board_t *board, unsigned child,
                          apr_pool_t *pool, fcgipm_fault_t *fault);
/* May a request wait in its thread for a pool that is to be made, as long as that takes? Half of httpd's
 * threads may. If so it says fcgipm_portion_waited() when it has. */
bool fcgipm_portion_wait(fcgipm_board_t *board, unsigned child);
void fcgipm_portion_waited(fcgipm_board_t *board, unsigned child);
/* Threads of this child that may wait for what is about to come although they need not. */
uint32_t fcgipm_portion_grace(void);
/* Bytes of answers that this child may keep in memory. */
apr_uint64_t fcgipm_portion_memory(server_rec *main_server);
/* Fills `share` of every pool, once their indexes are known. */
void fcgipm_portion_prepare(apr_pool_t *pconf, server_rec *main_server);
#endif
