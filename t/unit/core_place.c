/* SPDX-License-Identifier: Apache-2.0 */
/* Which directories a root process may trust as a whole, and what is found in one that is another's root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include "core/place.h"

static char top[PATH_MAX];

static const char *in_top(const char *name)
{
    static char path[PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/%s", top, name);
    return path;
}

static int setup(void **state)
{
    char name[] = "/tmp/fcgipm-place-XXXXXX";
    int fd;

    (void)state;
    if (!mkdtemp(name) || !realpath(name, top) || chmod(top, 0755) < 0)
        return -1;
    if (mkdir(in_top("a"), 0755) < 0 || mkdir(in_top("a/b"), 0755) < 0 || mkdir(in_top("open"), 0755) < 0 ||
        chmod(in_top("open"), 0777) < 0 || mkdir(in_top("open/b"), 0755) < 0 ||
        mkdir(in_top("sticky"), 0755) < 0 || chmod(in_top("sticky"), 01777) < 0 ||
        mkdir(in_top("sticky/b"), 0755) < 0 || symlink("a", in_top("link")) < 0 ||
        symlink("/f", in_top("a/out")) < 0 || symlink("/../../../f", in_top("a/up")) < 0)
        return -1;
    fd = open(in_top("a/f"), O_CREAT | O_WRONLY, 0644);
    close(fd);
    if (geteuid() == 0 && (mkdir(in_top("foreign"), 0755) < 0 || chown(in_top("foreign"), 65534, 0) < 0))
        return -1;
    return fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    char command[PATH_MAX + 16];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

static void taken(const char *path)
{
    char wrong[300] = "";
    int fd = fcgipm_place_open(path, wrong, sizeof wrong);
    struct stat by_fd, by_name;

    if (fd < 0)
        fail_msg("%s: %s", path, wrong);
    assert_int_equal(fstat(fd, &by_fd), 0);
    assert_int_equal(stat(path, &by_name), 0);
    assert_true(by_fd.st_ino == by_name.st_ino && by_fd.st_dev == by_name.st_dev);
    close(fd);
}

static void refused(const char *path, const char *why)
{
    char wrong[300] = "";
    int before = dup(0), after, fd;

    close(before);
    fd = fcgipm_place_open(path, wrong, sizeof wrong);
    assert_int_equal(fd, -1);
    if (!strstr(wrong, why))
        fail_msg("%s: '%s' does not say '%s'", path, wrong, why);
    after = dup(0);
    assert_int_equal(after, before); /* no descriptor is left */
    close(after);
}

static void directories(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    taken(in_top("a"));
    taken(in_top("a/b"));
    taken(in_top("a//b/"));
    taken(in_top("sticky/b"));
    refused(in_top("sticky"), "can be written by others");
    refused(in_top("open"), "can be written by others");
    refused(in_top("open/b"), "/open can be written by others than root; chmod go-w");
    refused(in_top("foreign"), "does not belong to root; chown");
    refused(in_top("link"), "is a symbolic link; write the path that it leads to");
    refused(in_top("link/b"), "/link is a symbolic link");
    refused(in_top("a/f"), "/f is not a directory");
    refused(in_top("none"), "/none does not exist");
    refused(in_top("a/../a"), "is not a plain full path");
    refused("tmp", "is not a plain full path");
    refused("", "is not a plain full path");
}

/* Links are followed as a process would whose root this is, and never lead out. */
static void inside(void **state)
{
    int root = open(in_top("a"), O_PATH | O_CLOEXEC);
    const char *const there[] = {"/f", "f", "/b", "/out", "/up", "/../../f"};
    const char *const none[] = {"/etc/passwd", "/../open", "/none"};

    (void)state;
    assert_true(root >= 0);
    for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
        int fd = fcgipm_place_inside(root, there[i]);

        if (fd < 0)
            fail_msg("%s: %s", there[i], strerror(errno));
        close(fd);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(fcgipm_place_inside(root, none[i]), -1);
        assert_int_equal(errno, ENOENT);
    }
    close(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(directories, setup, teardown),
        cmocka_unit_test_setup_teardown(inside, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
