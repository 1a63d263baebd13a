/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_OWNER_H
#define FCGIPM_CORE_OWNER_H
/*
 * What: who stands behind a file: its owner, or the name that a pattern takes out of its path. Who calls: an
 * httpd child, to see which pool a request belongs to, and the manager, which believes nothing that the child
 * says but the path, and looks for itself.
 * Always true: nothing is believed of a name that could come to mean another file: the way down from `below`
 * has no symbolic link in it, and none of its directories can be changed by anybody but the owner and root.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <apr_pools.h>
#include "core/fault.h"

/* The owner of the regular file `path`, which lies below `below` (both full paths; `below` itself may contain
 * symbolic links, and belong to anybody, it is the administrator's). Each directory on the way belongs to the
 * owner or to root, and neither a group nor others may write to it, to `below` or to the file: as suexec has
 * it. APR_SUCCESS, or a fault that says what is wrong. Any thread. */
apr_status_t fcgipm_owner_of(uint32_t *uid, const char *path, const char *below, fcgipm_fault_t *fault);
/* The same way down for a file whose owner does not matter; a group may write there. */
apr_status_t fcgipm_owner_plain(const char *path, const char *below, fcgipm_fault_t *fault);

/* "/home/%{user}/www": what stands in `path` for %{user}, one name of a directory; what follows is at or
 * below the rest. False: it does not match, or it is no name of a user. */
#define FCGIPM_OWNER_NAME 64
bool fcgipm_owner_from_path(char *name, size_t cap, const char *pattern, const char *path);
/* Is it such a pattern: a full path in which %{user} is one whole name? */
bool fcgipm_owner_pattern_ok(const char *pattern);
/* The part of it before %{user}: "/home". NULL: it does not fit into out. */
const char *fcgipm_owner_pattern_root(char *out, size_t cap, const char *pattern);
/* May an account be called so here? Letters, digits, '.', '_', '-', '$', '@'; not '.' or '-' first. */
bool fcgipm_owner_name_ok(const char *name);
/* `text` with each %{user} replaced. */
const char *fcgipm_owner_expand(const char *text, const char *user, apr_pool_t *pool);
#endif
