/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_PEER_H
#define FCGIPM_LINK_PEER_H
/*
 * What: connecting to an application, and asking an idle connection whether it is still good.
 * Who calls: lease and keeper, any thread. Owns: nothing; the descriptor given is the caller's.
 * Always true: descriptors are non-blocking and close-on-exec; no wait is longer than limit_us.
 */
#include <stdbool.h>
#include <stdint.h>
#include <apr_errno.h>
#include "core/addr.h"

/* Connect within limit_us (0: 10 s). A full backlog of a unix socket is waited for. ETIMEDOUT if the limit is
 * over. */
apr_status_t fcgipm_peer_connect(int *fd, const fcgipm_addr_t *addr, int64_t limit_us);
/* An idle connection is usable if it is open and silent: EOF means closed, bytes that nobody asked for mean
 * that the two sides no longer agree. */
bool fcgipm_peer_silent(int fd);
/* Might another worker, or the same one a moment later, take the connection that failed with `status`? */
bool fcgipm_peer_refused(apr_status_t status);
#endif
