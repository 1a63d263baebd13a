/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_LISTEN_H
#define FCGIPM_PM_LISTEN_H
/*
 * What: the runtime directory and what is in it: a directory per pool, in it a socket and an output FIFO per
 * slot.
 *
 *   RUNTIME           0711 ours
 *   RUNTIME/registry  0600 ours
 *   RUNTIME/p3        0710 ours, group httpd: nobody lists it
 *   RUNTIME/p3/s0-KEY.sock  0660 ours, group httpd: httpd's children may connect; who has but their user or
 *                     group, or has them connect somewhere, does not know KEY
 *   RUNTIME/p3/s0.out   0600 ours: the worker's stdout and stderr; a FIFO by name, so that the next manager
 * finds it again
 *
 * Always true: bound under another name, given its rights, then renamed into place, so that nobody ever meets
 * a socket with wrong rights; no symbolic link is followed in the last component.
 */
#include <stdbool.h>
#include <stdint.h>
#include "core/fault.h"

apr_status_t fcgipm_listen_dir(const char *runtime_dir, uint32_t pool, uint32_t gid, fcgipm_fault_t *fault);
/* httpd's group has changed: pool directory and socket are its new one's. */
void fcgipm_listen_regroup(const char *runtime_dir, uint32_t pool, uint32_t slot, uint32_t gid);
void fcgipm_listen_dir_remove(const char *runtime_dir, uint32_t pool);
/* A listening socket, close-on-exec. */
apr_status_t fcgipm_listen_open(int *fd, const char *runtime_dir, uint32_t pool, uint32_t slot, uint32_t gid,
                                fcgipm_fault_t *fault);
/* For the next process in a place: what its predecessor has set on the socket, which they share, is undone.
 * False: it was shut down and is of no use any more. */
bool fcgipm_listen_renew(int fd);
/* Both ends of the FIFO: *read_fd non-blocking, *write_fd for the worker (opened for reading and writing, so
 * that writing never fails while no manager reads). fresh: make a new one; else open the one that is there.
 */
apr_status_t fcgipm_listen_output(int *read_fd, int *write_fd, const char *runtime_dir, uint32_t pool,
                                  uint32_t slot, bool fresh, fcgipm_fault_t *fault);
/* Socket and FIFO of a place. */
void fcgipm_listen_unlink(const char *runtime_dir, uint32_t pool, uint32_t slot);
/* Make or check the runtime directory: a real directory, ours, closed to other writers, as are all above it.
 * make false (configtest): nothing is changed, and one that is not there yet is only looked for from above.
 */
apr_status_t fcgipm_listen_runtime_dir(const char *runtime_dir, bool make, fcgipm_fault_t *fault);
/* Remove every p* directory. */
void fcgipm_listen_sweep(const char *runtime_dir);
#endif
