/* SPDX-License-Identifier: Apache-2.0 */
#include "core/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#define MARK      "%{user}"
#define NAME_LEN  256
#define DEPTH_MAX 64

/* --- the way down --- */

/* What was met on it. */
typedef struct way {
    struct stat file;
    uint32_t dir_owner[DEPTH_MAX];
    unsigned depth;
    mode_t open_dirs; /* S_IWGRP, S_IWOTH: who else may write to one of them */
} way_t;

static apr_status_t refuse(fcgipm_fault_t *fault, const char *path, const char *what)
{
    return fcgipm_fault_set(fault, APR_EACCES, "file", "%s: %s", path, what);
}

static const char *why_not_open(int error, bool last)
{
    return error == ENOTDIR || error == ELOOP
               ? last ? "not a plain file"
                      : "a symbolic link is in its path, or something that is no directory"
               : strerror(error);
}

/* The next name of the path, which has no "", "." and "..". False: it is not so. */
static bool next_name(const char **path, char name[NAME_LEN])
{
    size_t len = strcspn(*path, "/");

    if (len == 0 || len >= NAME_LEN)
        return false;
    memcpy(name, *path, len);
    name[len] = '\0';
    *path += len;
    return strcmp(name, ".") && strcmp(name, "..");
}

static apr_status_t note_dir(way_t *way, int fd, const char *path, fcgipm_fault_t *fault)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || way->depth == DEPTH_MAX)
        return refuse(fault, path, "its path is too deep");
    way->dir_owner[way->depth++] = st.st_uid;
    way->open_dirs |= st.st_mode & (S_IWGRP | S_IWOTH);
    return APR_SUCCESS;
}

/* Where it begins. Whose it is does not matter: it is the administrator's. */
static apr_status_t note_top(way_t *way, int fd, const char *below, fcgipm_fault_t *fault)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return refuse(fault, below, strerror(errno));
    way->open_dirs |= st.st_mode & (S_IWGRP | S_IWOTH);
    return APR_SUCCESS;
}

/* fd: of a directory; consumed. rest: behind its '/'. */
static apr_status_t walk(way_t *way, int fd, const char *path, const char *rest, fcgipm_fault_t *fault)
{
    apr_status_t rv = APR_SUCCESS;
    char name[NAME_LEN];
    bool last = false;

    while (rv == APR_SUCCESS && !last) {
        int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, next;

        if (!next_name(&rest, name)) {
            rv = refuse(fault, path, "not a plain path");
            break;
        }
        last = *rest == '\0';
        rest += !last;
        next = openat(fd, name, last ? flags : flags | O_DIRECTORY);
        if (next < 0)
            rv = refuse(fault, path, why_not_open(errno, last));
        close(fd);
        fd = next;
        if (rv == APR_SUCCESS && last && (fstat(fd, &way->file) < 0 || !S_ISREG(way->file.st_mode)))
            rv = refuse(fault, path,
                        S_ISLNK(way->file.st_mode) ? "it is a symbolic link" : "not a plain file");
        if (rv == APR_SUCCESS && !last)
            rv = note_dir(way, fd, path, fault);
    }
    if (fd >= 0)
        close(fd);
    return rv;
}

static apr_status_t go_down(way_t *way, const char *path, const char *below, fcgipm_fault_t *fault)
{
    size_t len = strlen(below);
    apr_status_t rv;
    int fd;

    memset(way, 0, sizeof *way);
    while (len && below[len - 1] == '/')
        len--;
    if (strncmp(path, below, len) || path[len] != '/')
        return fcgipm_fault_set(fault, APR_EACCES, "file", "%s: not below %s", path, below);
    if ((fd = open(below, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        return refuse(fault, below, strerror(errno));
    if ((rv = note_top(way, fd, below, fault)) == APR_SUCCESS)
        return walk(way, fd, path, path + len + 1, fault);
    close(fd);
    return rv;
}

/* An access list shows as rights of the group. */
static apr_status_t refuse_writers(const way_t *way, mode_t who, const char *path, fcgipm_fault_t *fault)
{
    if (way->file.st_mode & who & S_IWOTH)
        return refuse(fault, path, "others may write to it (chmod o-w)");
    if (way->open_dirs & who & S_IWOTH)
        return refuse(fault, path, "others may write to a directory in its path (chmod o-w)");
    if (way->file.st_mode & who & S_IWGRP)
        return refuse(fault, path, "its group may write to it (chmod g-w)");
    if (way->open_dirs & who & S_IWGRP)
        return refuse(fault, path, "the group of a directory in its path may write to that (chmod g-w)");
    return APR_SUCCESS;
}

apr_status_t fcgipm_owner_plain(const char *path, const char *below, fcgipm_fault_t *fault)
{
    way_t way;
    apr_status_t rv = go_down(&way, path, below, fault);

    return rv == APR_SUCCESS ? refuse_writers(&way, S_IWOTH, path, fault) : rv;
}

apr_status_t fcgipm_owner_of(uint32_t *uid, const char *path, const char *below, fcgipm_fault_t *fault)
{
    way_t way;
    apr_status_t rv = go_down(&way, path, below, fault);

    if (rv != APR_SUCCESS || (rv = refuse_writers(&way, S_IWGRP | S_IWOTH, path, fault)) != APR_SUCCESS)
        return rv;
    for (unsigned i = 0; i < way.depth; i++)
        if (way.dir_owner[i] != 0 && way.dir_owner[i] != way.file.st_uid)
            return refuse(fault, path,
                          way.file.st_uid == 0
                              ? "it belongs to root, as whom nothing runs; chown it to the customer"
                              : "a directory in its path belongs to neither its owner nor root");
    *uid = way.file.st_uid;
    return APR_SUCCESS;
}

/* --- patterns --- */

bool fcgipm_owner_name_ok(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < FCGIPM_OWNER_NAME && name[0] != '.' && name[0] != '-' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-$@") == len;
}

bool fcgipm_owner_pattern_ok(const char *pattern)
{
    const char *mark = strstr(pattern, MARK);
    const char *behind = mark ? mark + strlen(MARK) : NULL;

    return pattern[0] == '/' && mark && mark[-1] == '/' && (*behind == '\0' || *behind == '/') &&
           !strstr(behind, MARK);
}

const char *fcgipm_owner_pattern_root(char *out, size_t cap, const char *pattern)
{
    size_t len = (size_t)(strstr(pattern, MARK) - pattern); /* with the '/' */

    if (len >= cap)
        return NULL;
    memcpy(out, pattern, len);
    out[len > 1 ? len - 1 : len] = '\0';
    return out;
}

bool fcgipm_owner_from_path(char *name, size_t cap, const char *pattern, const char *path)
{
    size_t before = (size_t)(strstr(pattern, MARK) - pattern), len, rest;
    const char *behind = pattern + before + strlen(MARK);

    if (strncmp(path, pattern, before))
        return false;
    path += before;
    len = strcspn(path, "/");
    if (len == 0 || len >= FCGIPM_OWNER_NAME || len >= cap)
        return false;
    memcpy(name, path, len);
    name[len] = '\0';
    path += len;
    rest = strlen(behind);
    while (rest && behind[rest - 1] == '/')
        rest--;
    return fcgipm_owner_name_ok(name) && !strncmp(path, behind, rest) && path[rest] == '/';
}

const char *fcgipm_owner_expand(const char *text, const char *user, apr_pool_t *pool)
{
    const char *mark;

    while ((mark = strstr(text, MARK)))
        text = apr_pstrcat(pool, apr_pstrmemdup(pool, text, (apr_size_t)(mark - text)), user,
                           mark + strlen(MARK), NULL);
    return text;
}
