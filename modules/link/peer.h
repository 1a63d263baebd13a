/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_PEER_H
#define FCGIPM_LINK_PEER_H
/*
 * What: connecting to an application, and asking an idle connection whether it is still good.
 * Who calls: lease and keeper, any thread. Owns: nothing; the descriptor given is the caller's.
 * Always true: descriptors are non-blocking and close-on-exec; nothing here waits.
 */
#include <stdbool.h>
#include <stdint.h>
#include <apr_errno.h>
#include "core/addr.h"

/* A socket for addr. */
apr_status_t fcgipm_peer_open(int *fd, const fcgipm_addr_t *addr);
/* Start to connect, or try again after APR_EAGAIN. APR_SUCCESS: connected; APR_EINPROGRESS: poll for POLLOUT,
 * then ask fcgipm_peer_connected; APR_EAGAIN: the backlog of a unix socket is full, there is nothing to poll
 * for. */
apr_status_t fcgipm_peer_connect(int fd, const fcgipm_addr_t *addr);
/* APR_EINPROGRESS: not yet. */
apr_status_t fcgipm_peer_connected(int fd);
/* An idle connection is usable if it is open and silent: EOF means closed, bytes that nobody asked for mean
 * that the two sides no longer agree. */
bool fcgipm_peer_silent(int fd);
/* Bytes sent that the other side has not acknowledged (TCP) or read (unix); 0: none, or nobody knows. */
int fcgipm_peer_unacked(int fd);
/* Might another worker, or the same one a moment later, take the connection that failed with `status`? */
bool fcgipm_peer_refused(apr_status_t status);
#endif
