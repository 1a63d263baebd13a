/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/listen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/addr.h"
#include "share/board.h"

#define BACKLOG  511
#define PATH_LEN 256

static apr_status_t failed(fcgipm_fault_t *fault, const char *step, const char *what, const char *path)
{
    int error = errno;

    return fcgipm_fault_set(fault, APR_FROM_OS_ERROR(error), step, "%s %s: %s", what, path, strerror(error));
}

static void pool_path(char *out, const char *runtime_dir, uint32_t pool)
{
    snprintf(out, PATH_LEN, "%s/p%u", runtime_dir, pool);
}

static void output_path(char *out, const char *runtime_dir, uint32_t pool, uint32_t slot)
{
    snprintf(out, PATH_LEN, "%s/p%u/s%u.out", runtime_dir, pool, slot);
}

apr_status_t fcgipm_listen_dir(const char *runtime_dir, uint32_t pool, uint32_t gid, fcgipm_fault_t *fault)
{
    char path[PATH_LEN];
    struct stat st;

    pool_path(path, runtime_dir, pool);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return failed(fault, "socket directory", "cannot make", path);
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return fcgipm_fault_set(fault, APR_EACCES, "socket directory", "%s is not a directory of ours", path);
    if (geteuid() == 0 && lchown(path, 0, gid) < 0)
        return failed(fault, "socket directory", "cannot set the group of", path);
    /* 0710: a connection needs no more, and the names in there are not to be known. */
    if (chmod(path, 0710) < 0)
        return failed(fault, "socket directory", "cannot set the mode of", path);
    return APR_SUCCESS;
}

static void empty_dir(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

void fcgipm_listen_regroup(const char *runtime_dir, uint32_t pool, uint32_t slot, uint32_t gid)
{
    char path[PATH_LEN];

    if (geteuid() != 0)
        return;
    pool_path(path, runtime_dir, pool);
    if (lchown(path, (uid_t)-1, gid) < 0)
        return;
    if (fcgipm_board_socket_path(path, sizeof path, runtime_dir, pool, slot) &&
        lchown(path, (uid_t)-1, gid) < 0)
        return;
}

void fcgipm_listen_dir_remove(const char *runtime_dir, uint32_t pool)
{
    char path[PATH_LEN];

    pool_path(path, runtime_dir, pool);
    empty_dir(path);
    rmdir(path);
}

void fcgipm_listen_sweep(const char *runtime_dir)
{
    DIR *dir = opendir(runtime_dir);
    struct dirent *entry;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        char *end;
        unsigned long pool = strtoul(entry->d_name + 1, &end, 10);

        if (entry->d_name[0] != 'p' || end == entry->d_name + 1 || *end || pool > UINT32_MAX ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
            continue;
        fcgipm_listen_dir_remove(runtime_dir, (uint32_t)pool);
    }
    if (dir) {
        unlinkat(dirfd(dir), "control", 0);
        unlinkat(dirfd(dir), "notify", 0);
        closedir(dir);
    }
}

static apr_status_t bind_at(int fd, const char *path, const char *temp, uint32_t gid, fcgipm_fault_t *fault)
{
    fcgipm_addr_t addr;

    if (fcgipm_addr_unix(&addr, temp) != APR_SUCCESS)
        return fcgipm_fault_set(fault, APR_ENAMETOOLONG, "socket",
                                "%s: too long for a socket; set FcgiRuntimeDir", temp);
    unlink(temp);
    if (bind(fd, &addr.u.sa, addr.len) < 0)
        return failed(fault, "socket", "cannot bind", temp);
    if (geteuid() == 0 && lchown(temp, 0, gid) < 0)
        return failed(fault, "socket", "cannot set the group of", temp);
    if (chmod(temp, geteuid() == 0 ? 0660 : 0600) < 0)
        return failed(fault, "socket", "cannot set the mode of", temp);
    if (listen(fd, BACKLOG) < 0)
        return failed(fault, "socket", "cannot listen at", temp);
    if (rename(temp, path) < 0)
        return failed(fault, "socket", "cannot rename", temp);
    return APR_SUCCESS;
}

apr_status_t fcgipm_listen_open(int *fd, const char *runtime_dir, uint32_t pool, uint32_t slot, uint32_t gid,
                                fcgipm_fault_t *fault)
{
    char path[PATH_LEN], temp[PATH_LEN];
    apr_status_t rv;

    if (!fcgipm_board_socket_path(path, sizeof path, runtime_dir, pool, slot))
        return fcgipm_fault_set(fault, APR_ENAMETOOLONG, "socket", "FcgiRuntimeDir is too long");
    /* This name anybody can read in /proc/net/unix, and the application asks for it: so not the one that
     * connections are made to. */
    if (snprintf(temp, sizeof temp, "%s/p%u/s%u.sock.new", runtime_dir, pool, slot) >= (int)sizeof temp)
        return fcgipm_fault_set(fault, APR_ENAMETOOLONG, "socket", "FcgiRuntimeDir is too long");
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return failed(fault, "socket", "cannot make", temp);
    rv = bind_at(*fd, path, temp, gid, fault);
    if (rv != APR_SUCCESS) {
        unlink(temp);
        close(*fd);
        *fd = -1;
    }
    return rv;
}

bool fcgipm_listen_renew(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLRDHUP};
    struct timeval never = {0};
    int flags = fcntl(fd, F_GETFL);

    return poll(&pfd, 1, 0) == 0 && flags >= 0 && fcntl(fd, F_SETFL, flags & ~(O_NONBLOCK | O_ASYNC)) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof never) == 0 && listen(fd, BACKLOG) == 0;
}

apr_status_t fcgipm_listen_output(int *read_fd, int *write_fd, const char *runtime_dir, uint32_t pool,
                                  uint32_t slot, bool fresh, fcgipm_fault_t *fault)
{
    char path[PATH_LEN];

    output_path(path, runtime_dir, pool, slot);
    *read_fd = *write_fd = -1;
    if (fresh) {
        unlink(path);
        if (mkfifo(path, 0600) < 0)
            return failed(fault, "output", "cannot make", path);
    }
    *read_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW); /* a writer too: no EOF, ever */
    if (*read_fd < 0)
        return failed(fault, "output", "cannot open", path);
    *write_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (*write_fd < 0) {
        close(*read_fd);
        *read_fd = -1;
        return failed(fault, "output", "cannot open", path);
    }
    return APR_SUCCESS;
}

void fcgipm_listen_unlink(const char *runtime_dir, uint32_t pool, uint32_t slot)
{
    char path[PATH_LEN];

    if (fcgipm_board_socket_path(path, sizeof path, runtime_dir, pool, slot))
        unlink(path);
    output_path(path, runtime_dir, pool, slot);
    unlink(path);
}

/* Nobody else may be able to rename what is in the way to our sockets: each directory above belongs to root
 * or us, and is not writable by others, unless it is sticky. */
static apr_status_t check_parents(const char *path, fcgipm_fault_t *fault)
{
    char up[PATH_LEN];
    struct stat st;
    char *slash;

    snprintf(up, sizeof up, "%s", path);
    while ((slash = strrchr(up, '/'))) {
        slash[slash == up ? 1 : 0] = '\0';
        if (stat(up, &st) < 0)
            return failed(fault, "runtime directory", "cannot look at", up);
        if ((st.st_uid != 0 && st.st_uid != geteuid()) || ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
            return fcgipm_fault_set(
                fault, APR_EACCES, "runtime directory",
                "%s: %s above it belongs to or is writable by others; choose another FcgiRuntimeDir", path,
                up);
        if (slash == up)
            break;
    }
    return APR_SUCCESS;
}

apr_status_t fcgipm_listen_runtime_dir(const char *runtime_dir, bool make, fcgipm_fault_t *fault)
{
    struct stat st;

    if (make && mkdir(runtime_dir, 0711) < 0 && errno != EEXIST)
        return failed(fault, "runtime directory", "cannot make", runtime_dir);
    if (!make && lstat(runtime_dir, &st) < 0 && errno == ENOENT)
        return check_parents(runtime_dir, fault);
    if (lstat(runtime_dir, &st) < 0)
        return failed(fault, "runtime directory", "cannot look at", runtime_dir);
    if (S_ISLNK(st.st_mode) || !S_ISDIR(st.st_mode))
        return fcgipm_fault_set(fault, APR_ENOTDIR, "runtime directory", "%s is not a directory but a %s",
                                runtime_dir,
                                S_ISLNK(st.st_mode) ? "symbolic link, which is never followed" : "file");
    if ((st.st_uid != geteuid() && (make || st.st_uid != 0)) || (st.st_mode & 022))
        return fcgipm_fault_set(
            fault, APR_EACCES, "runtime directory",
            "%s must belong to uid %u and be writable by nobody else (it has uid %u, mode %04o)", runtime_dir,
            (unsigned)geteuid(), (unsigned)st.st_uid, (unsigned)st.st_mode & 07777);
    if (make && chmod(runtime_dir, 0711) < 0)
        return failed(fault, "runtime directory", "cannot set the mode of", runtime_dir);
    return check_parents(runtime_dir, fault);
}
