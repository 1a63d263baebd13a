/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_PROC_H
#define FCGIPM_PM_PROC_H
/*
 * What: files of /proc. Linux only. Who calls: anyone in this room.
 */
#include <stddef.h>

/* What fits of a whole file, with a NUL behind it; how many bytes, 0: it cannot be opened (out is not
 * written), or is empty. */
size_t fcgipm_proc_read(const char *path, char *out, size_t cap);
#endif
