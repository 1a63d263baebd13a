/* SPDX-License-Identifier: Apache-2.0 */
#include "core/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_LEN 256

/* The kernel's struct open_how; its header needs not be there. */
typedef struct how {
    uint64_t flags, mode, resolve;
} how_t;
#define RESOLVE_IN_ROOT_FLAG 0x10u

int fcgipm_place_inside(int root, const char *path)
{
    how_t how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT_FLAG};

    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* NULL: others cannot change it. */
static const char *fault_of(const struct stat *st, bool last)
{
    if (S_ISLNK(st->st_mode))
        return "is a symbolic link; write the path that it leads to";
    if (!S_ISDIR(st->st_mode))
        return "is not a directory";
    if (st->st_uid != 0)
        return "does not belong to root; chown it to root, or choose another directory";
    if ((st->st_mode & 022) && (last || !(st->st_mode & S_ISVTX)))
        return "can be written by others than root; chmod go-w, or choose another directory";
    return NULL;
}

/* From directory `at` to the one below it; `at` is closed. */
static int step_into(int at, const char *name, bool last, const char **fault)
{
    struct stat st;
    int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    close(at);
    *fault = NULL;
    if (fd < 0 || fstat(fd, &st) < 0)
        *fault = errno == ENOENT ? "does not exist" : "cannot be looked at";
    else
        *fault = fault_of(&st, last);
    if (!*fault)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

int fcgipm_place_open(const char *path, char *wrong, size_t cap)
{
    int fd = path[0] == '/' ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    const char *at = path, *fault = NULL;
    char name[NAME_LEN];

    while (fd >= 0 && *(at += strspn(at, "/"))) {
        size_t len = strcspn(at, "/");
        bool last = !at[len + strspn(at + len, "/")];

        if (len >= sizeof name || (len == 2 && !memcmp(at, "..", 2))) {
            close(fd);
            fd = -1;
            break;
        }
        memcpy(name, at, len);
        name[len] = '\0';
        at += len;
        fd = step_into(fd, name, last, &fault);
    }
    if (fd < 0 && fault)
        snprintf(wrong, cap, "%.*s %s", (int)(at - path), path, fault);
    else if (fd < 0)
        snprintf(wrong, cap, "%s is not a plain full path", path);
    return fd;
}
