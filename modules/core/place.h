/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_PLACE_H
#define FCGIPM_CORE_PLACE_H
/*
 * What: a directory that a root process is going to trust as a whole (FcgiRoot), looked at through
 * descriptors: what has been looked at is what is used, whatever happens to the name meanwhile (PROMISES
 * R11). Who calls: the parent while it checks the configuration, and a forked child before its exec. Owns:
 * descriptors are the caller's. No memory; safe after fork.
 */
#include <stddef.h>

/* Open an absolute path as an O_PATH descriptor. No part of it is a symbolic link, and each directory on the
 * way belongs to root and can be written by nobody else, or is sticky; the last one is not excused by that.
 * -1: `wrong` says which part is not so and what would be right. */
int fcgipm_place_open(const char *path, char *wrong, size_t cap);
/* An O_PATH descriptor of what a process would find at `path` whose root directory is `root`; links in it are
 * followed as there. -1 with errno. */
int fcgipm_place_inside(int root, const char *path);
#endif
