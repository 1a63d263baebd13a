/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/place.h"

/* System calls of Linux 5.2 and 5.12, by number where the C library is older than they are. */
#ifndef SYS_open_tree
#define SYS_open_tree  428
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define TREE_CLONE   0x1u
#define TREE_CLOEXEC ((unsigned)O_CLOEXEC)
#define RECURSIVE    0x8000u
#define EMPTY_PATH   0x1000u
#define MOVE_EMPTY   (0x4u | 0x40u) /* both sides are descriptors */

typedef struct attributes {
    uint64_t set, clear, propagation, userns;
} attributes_t;
#define ATTR_RDONLY 0x1u
#define NO_LINKS    0x04u /* of openat2 */

/* A copy of what is mounted at and below `at`, not yet anywhere. */
static int copy_tree(int at)
{
    return (int)syscall(SYS_open_tree, at, "", EMPTY_PATH | TREE_CLONE | TREE_CLOEXEC | RECURSIVE);
}

static int put_tree(int tree, int at)
{
    return (int)syscall(SYS_move_mount, tree, "", at, "", MOVE_EMPTY);
}

/* With all that is mounted below it. What httpd's system mounts there later does not come in. */
static int make_read_only(int at)
{
    attributes_t attr = {.set = ATTR_RDONLY, .propagation = MS_PRIVATE};

    return (int)syscall(SYS_mount_setattr, at, "", EMPTY_PATH | RECURSIVE, &attr, sizeof attr);
}

static bool any(const apr_array_header_t *list)
{
    return list && list->nelts;
}

bool fcgipm_mounts_wanted(const fcgipm_setting_t *s)
{
    return s->private_tmp || any(s->read_only) || any(s->inaccessible);
}

/* Slave: what the system unmounts is unmounted here as well, so that a long-lived process holds no disk;
 * nothing of ours gets out. */
static int own_namespace(const fcgipm_setting_t *s, fcgipm_step_t *step)
{
    const char *directive = s->private_tmp      ? "FcgiPrivateTmp"
                            : any(s->read_only) ? "FcgiReadOnlyPaths"
                                                : "FcgiInaccessiblePaths";

    if (unshare(CLONE_NEWNS) < 0)
        return fcgipm_step_failed(
            step, errno, "%s: this kernel or container allows no mount namespace: unshare", directive);
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return fcgipm_step_failed(step, errno, "%s: making the mounts private", directive);
    return 0;
}

/* In a namespace the new root is a mount, so that it can be made read-only as a whole. */
static int change_root(const fcgipm_setting_t *s, fcgipm_step_t *step)
{
    char wrong[160];
    int root = fcgipm_place_open(s->root, wrong, sizeof wrong), tree = -1, rv = 0;

    if (root < 0)
        return fcgipm_step_failed(step, 0, "FcgiRoot: %s", wrong);
    if (fcgipm_mounts_wanted(s) && ((tree = copy_tree(root)) < 0 || put_tree(tree, root) < 0))
        rv = fcgipm_step_failed(step, errno, "FcgiRoot %s", s->root);
    if (rv == 0 && (fchdir(tree >= 0 ? tree : root) < 0 || chroot(".") < 0 || chdir("/") < 0))
        rv = fcgipm_step_failed(step, errno, "FcgiRoot %s", s->root);
    close(root);
    if (tree >= 0)
        close(tree);
    return rv;
}

static bool is_root(int fd)
{
    struct stat st, top;

    return fstat(fd, &st) == 0 && stat("/", &top) == 0 && st.st_dev == top.st_dev && st.st_ino == top.st_ino;
}

static int open_without_links(const char *path, int flags)
{
    const struct {
        uint64_t flags, mode, resolve;
    } how = {.flags = (uint64_t)(O_PATH | O_CLOEXEC | flags), .resolve = NO_LINKS};

    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

/* -1: somebody else's link is in the path, else how many links of root's are. */
static int count_links(const char *path)
{
    char part[PATH_MAX];
    struct stat st;
    int links = 0;

    for (size_t len = 1; len <= strlen(path) && len < sizeof part; len++) {
        if (path[len] != '/' && path[len] != '\0')
            continue;
        memcpy(part, path, len);
        part[len] = '\0';
        if (lstat(part, &st) == 0 && S_ISLNK(st.st_mode)) {
            if (st.st_uid != 0)
                return -1;
            links++;
        }
    }
    return links;
}

/* What a wall is to stand before: root's links are followed (/var/run), those of others not, who could have
 * root cover whatever they like. One that comes and goes is not followed either. -1 and errno. */
static int open_wall(const char *path)
{
    int at = -1;

    for (int round = 0; round < 16; round++) {
        if ((at = open_without_links(path, 0)) >= 0 || errno != ELOOP)
            return at;
        switch (count_links(path)) {
        case 0:
            break;
        case -1:
            errno = ELOOP;
            return -1;
        default:
            return open(path, O_PATH | O_CLOEXEC);
        }
    }
    errno = ELOOP;
    return -1;
}

/* What lies over / is not seen by who is in there already: that one is changed where it is. */
static int read_only(const char *path, fcgipm_step_t *step)
{
    int at = open_wall(path), tree = -1, rv = -1;

    if (at >= 0 && is_root(at))
        rv = make_read_only(at);
    else if (at >= 0 && (tree = copy_tree(at)) >= 0 && make_read_only(tree) == 0)
        rv = put_tree(tree, at);
    if (rv < 0)
        fcgipm_step_failed(step, errno, "FcgiReadOnlyPaths %s", path);
    if (tree >= 0)
        close(tree);
    if (at >= 0)
        close(at);
    return rv;
}

#define CLOSED (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* What is put over a file, a socket, a device: an empty file that nobody may open; and over a directory: one
 * that nobody may. Not yet anywhere. */
typedef struct lid {
    int tree, dir; /* -1: there is none */
    int error;     /* why */
} lid_t;

/* While / is still the system's, where a /tmp is that can be mounted over for a moment: in here nobody else
 * sees it. */
static lid_t make_lid(void)
{
    lid_t lid = {.tree = -1, .dir = -1};
    int at = -1;

    if (mount("fcgipm", "/tmp", "tmpfs", CLOSED, "mode=000,size=4k,nr_inodes=3") < 0) {
        lid.error = errno;
        return lid;
    }
    if ((at = open("/tmp/closed", O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0)) < 0 ||
        (lid.tree = copy_tree(at)) < 0 || make_read_only(lid.tree) < 0)
        lid.error = errno;
    if (at >= 0)
        close(at);
    at = lid.error ? -1 : open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!lid.error && (at < 0 || (lid.dir = copy_tree(at)) < 0 || make_read_only(lid.dir) < 0))
        lid.error = errno;
    if (at >= 0)
        close(at);
    if (umount2("/tmp", MNT_DETACH) < 0)
        lid.error = errno;
    return lid;
}

/* The next one is a copy of it: what is not yet anywhere cannot be copied. By the descriptor: at the name
 * something else may be by now. */
static int put_lid(lid_t *lid, int *tree, int at)
{
    int used = *tree;

    errno = lid->error;
    if (lid->error || put_tree(used, at) < 0)
        return -1;
    if ((*tree = copy_tree(used)) < 0)
        lid->error = errno;
    close(used);
    return 0;
}

static int inaccessible(const char *path, lid_t *lid, fcgipm_step_t *step)
{
    int at = open_wall(path), rv = -1;
    struct stat st;

    if (at >= 0 && is_root(at)) {
        close(at);
        return fcgipm_step_failed(step, 0, "FcgiInaccessiblePaths %s: that is all there is", path);
    }
    if (at >= 0 && fstat(at, &st) == 0)
        rv = put_lid(lid, S_ISDIR(st.st_mode) ? &lid->dir : &lid->tree, at);
    if (rv < 0)
        fcgipm_step_failed(step, errno, "FcgiInaccessiblePaths %s", path);
    if (at >= 0)
        close(at);
    return rv;
}

static int all_inaccessible(const fcgipm_setting_t *s, lid_t *lid, fcgipm_step_t *step)
{
    for (int i = 0; s->inaccessible && i < s->inaccessible->nelts; i++)
        if (inaccessible(APR_ARRAY_IDX(s->inaccessible, i, const char *), lid, step) < 0)
            return -1;
    return 0;
}

static bool is_same(int fd, const char *path)
{
    struct stat st, other;

    return fstat(fd, &st) == 0 && stat(path, &other) == 0 && st.st_dev == other.st_dev &&
           st.st_ino == other.st_ino;
}

/* The directory at `path`, a link only where the way to it is the system's: in FcgiRoot what is below / may
 * be the application's user's, who could have us cover whatever he likes (his own passwd over the one that a
 * setuid program reads). -1 and errno. */
static int open_plainly(const fcgipm_setting_t *s, const char *path)
{
    return s->root ? open_without_links(path, O_DIRECTORY) : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* /tmp is there already as the process is to see it. */
static int var_tmp(const fcgipm_setting_t *s, fcgipm_step_t *step)
{
    int at = open_plainly(s, "/var/tmp"), from, tree = -1, rv = 0;

    if (at < 0 && errno == ELOOP && (at = open("/var/tmp", O_PATH | O_CLOEXEC)) >= 0) {
        if (!is_same(at, "/tmp"))
            rv = fcgipm_step_failed(step, 0,
                                    "FcgiPrivateTmp: in FcgiRoot %s /var/tmp is a symbolic link, or /var is; "
                                    "make it a directory, or a link to /tmp",
                                    s->root);
        close(at);
        return rv;
    }
    if (at < 0)
        return errno == ENOENT ? 0 : fcgipm_step_failed(step, errno, "FcgiPrivateTmp /var/tmp");
    from = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!is_same(at, "/tmp") && (from < 0 || (tree = copy_tree(from)) < 0 || put_tree(tree, at) < 0))
        rv = fcgipm_step_failed(step, errno, "FcgiPrivateTmp /var/tmp");
    if (tree >= 0)
        close(tree);
    if (from >= 0)
        close(from);
    close(at);
    return rv;
}

/* One for /tmp and /var/tmp. A small file costs more than its bytes: their number is bounded, too. */
static int private_tmp(const fcgipm_setting_t *s, fcgipm_step_t *step)
{
    char options[96];
    int at = open_plainly(s, "/tmp");

    if (at < 0)
        return fcgipm_step_failed(step, errno, "FcgiPrivateTmp /tmp");
    close(at); /* / is root's, so it is still that */
    snprintf(options, sizeof options, "mode=1777,size=%" PRIu64 ",nr_inodes=%" PRIu64, s->private_tmp_bytes,
             s->private_tmp_bytes / 4096 + 16);
    if (mount("fcgipm", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return fcgipm_step_failed(step, errno, "FcgiPrivateTmp /tmp");
    return var_tmp(s, step);
}

int fcgipm_mounts_enter(const fcgipm_setting_t *s, fcgipm_step_t *step)
{
    lid_t lid = {.tree = -1, .dir = -1};

    if (fcgipm_mounts_wanted(s) && own_namespace(s, step) < 0)
        return -1;
    if (any(s->inaccessible))
        lid = make_lid();
    if (s->root && change_root(s, step) < 0)
        return -1;
    for (int i = 0; s->read_only && i < s->read_only->nelts; i++)
        if (read_only(APR_ARRAY_IDX(s->read_only, i, const char *), step) < 0)
            return -1;
    if (all_inaccessible(s, &lid, step) < 0)
        return -1;
    if (lid.tree >= 0)
        close(lid.tree);
    if (lid.dir >= 0)
        close(lid.dir);
    /* Last: it is written also where all else is read-only. */
    if (s->private_tmp && private_tmp(s, step) < 0)
        return -1;
    if (s->root || fcgipm_mounts_wanted(s))
        return chdir("/") < 0 ? fcgipm_step_failed(step, errno, "directory /") : 0;
    return 0;
}
