/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into httpd (t/84-sendfile.t): right before somebody takes hold (O_PATH) of a file NAME.swap,
 * NAME.swap.before is put in its place, if there is one; and when he has asked where it is that he holds,
 * NAME.swap.after is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void swap(const char *path, size_t len, const char *when)
{
    char name[PATH_MAX], other[PATH_MAX + 16];

    if (len < 5 || len >= sizeof name || strncmp(path + len - 5, ".swap", 5))
        return;
    memcpy(name, path, len);
    name[len] = '\0';
    snprintf(other, sizeof other, "%s.%s", name, when);
    rename(other, name);
}

int open(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    va_list args;
    int mode;

    va_start(args, flags);
    mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, int) : 0;
    va_end(args);
    if (flags & O_PATH)
        swap(path, strlen(path), "before");
    return real(path, flags, mode);
}

ssize_t readlink(const char *path, char *out, size_t cap)
{
    ssize_t (*real)(const char *, char *, size_t) =
        (ssize_t(*)(const char *, char *, size_t))dlsym(RTLD_NEXT, "readlink");
    ssize_t len = real(path, out, cap);

    if (len > 0)
        swap(out, (size_t)len, "after");
    return len;
}
