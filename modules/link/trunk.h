/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_TRUNK_H
#define FCGIPM_LINK_TRUNK_H
/*
 * What: several requests on one connection (FCGI 1.0 section 3.3). A trunk is the connection of this child to
 * one worker; each request has a branch of it, which to the request is a connection like any other: one end
 * of a socket pair, on which it is request 1, may be kept, and ends. A thread carries whole records between
 * the branches and the trunk and changes their request ids on the way. Who calls: lease.c, any request
 * thread; the thread is started with the first trunk. Owns: the trunks and the inner ends of the branches;
 * the outer end is the caller's, who closes it. Always true: 1. only whole records enter a trunk, so a branch
 * that ends anywhere leaves it sound; 2. an id is in use until its END_REQUEST, also when its branch has
 * gone, and never again once ABORT_REQUEST was sent for it; 3. what a branch does not take is held for it;
 * beyond FCGIPM_BRANCH_HELD bytes the trunk waits for it, and if others are on it, a quarter of a second
 * (five when nobody says that the client is to blame), then the branch is cut; 4. without a branch there is
 * no trunk: the application sees its end.
 */
#include <stdbool.h>
#include <stdint.h>
#include <apr_errno.h>

#define FCGIPM_BRANCH_HELD (1u << 20)

typedef struct fcgipm_trunks fcgipm_trunks_t;

/* Of one child. NULL: out of memory. */
fcgipm_trunks_t *fcgipm_trunks_create(void);
/* Ends the thread and all trunks. False: somebody was interrupted with the lock in his hand (prefork's
 * signal), and everything stays as it is. NULL is allowed. */
bool fcgipm_trunks_destroy(fcgipm_trunks_t *trunks);

/* A branch of the trunk to this worker: the outer end, non-blocking, or -1: there is no trunk, or it is full.
 */
int fcgipm_trunk_join(fcgipm_trunks_t *trunks, uint32_t pool, uint32_t slot, uint32_t generation);
/* fd, a fresh connection to this worker, becomes a trunk (or is closed, when another thread was faster).
 * Returns the first branch; -1: it cannot be done, and fd is still the caller's. */
int fcgipm_trunk_adopt(fcgipm_trunks_t *trunks, uint32_t pool, uint32_t slot, uint32_t generation, int fd);
/* Why the branch whose outer end is fd came to its end, if that was our doing; NULL: it was not. A literal.
 */
const char *fcgipm_trunk_verdict(fcgipm_trunks_t *trunks, int fd);
/* The request of the branch whose outer end is fd can take no more for its client, or again can. */
void fcgipm_trunk_full(fcgipm_trunks_t *trunks, int fd, bool full);
#endif
