/* SPDX-License-Identifier: Apache-2.0 */
/* Who stands behind a file: patterns, and ways down that are not believed. As root also with owners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <apr_general.h>
#include "core/owner.h"

static apr_pool_t *pool;
static char dir[64];

static const char *in(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, 512, "%s/%s", dir, name);
    return path;
}

static void file(const char *name, mode_t mode, uid_t uid)
{
    int fd = open(in(name), O_CREAT | O_WRONLY, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
    if (geteuid() == 0)
        assert_int_equal(fchown(fd, uid, uid), 0);
    close(fd);
}

static void directory(const char *name, mode_t mode, uid_t uid)
{
    assert_int_equal(mkdir(in(name), 0700), 0);
    assert_int_equal(chmod(in(name), mode), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(in(name), uid, uid), 0);
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/fcgipm-owner-XXXXXX");
    apr_initialize();
    apr_pool_create(&pool, NULL);
    return mkdtemp(dir) ? chmod(dir, 0755) : -1;
}

static int teardown(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void patterns(void **state)
{
    static const char *const good[] = {"/home/%{user}", "/%{user}/www", "/home/%{user}/"},
                             *const bad[] = {"/home",
                                             "home/%{user}",
                                             "/home/x%{user}",
                                             "/home/%{user}x",
                                             "/%{user}/%{user}",
                                             "%{user}",
                                             ""};
    char name[64], root[64];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(fcgipm_owner_pattern_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(fcgipm_owner_pattern_ok(bad[i]));
    assert_true(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www", "/home/alice/www/x/y.php"));
    assert_string_equal(name, "alice");
    assert_true(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www/", "/home/a.b-c/www/y.php"));
    assert_string_equal(name, "a.b-c");
    assert_true(fcgipm_owner_from_path(name, sizeof name, "/%{user}", "/bob/y.php"));
    assert_string_equal(name, "bob");
    assert_false(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www", "/home/alice/www2/y.php"));
    assert_false(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www", "/home/alice/www"));
    assert_false(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www", "/home//www/y.php"));
    assert_false(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www", "/home/../www/y.php"));
    assert_false(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www", "/home/-x/www/y.php"));
    assert_false(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www", "/home/a b/www/y.php"));
    assert_false(fcgipm_owner_from_path(name, sizeof name, "/home/%{user}/www", "/srv/alice/www/y.php"));
    assert_false(fcgipm_owner_from_path(name, 4, "/home/%{user}/www", "/home/alice/www/y.php"));
    assert_string_equal(fcgipm_owner_pattern_root(root, sizeof root, "/srv/home/%{user}/www"), "/srv/home");
    assert_string_equal(fcgipm_owner_pattern_root(root, sizeof root, "/%{user}"), "/");
    assert_null(fcgipm_owner_pattern_root(root, 5, "/srv/home/%{user}/www"));
    assert_string_equal(fcgipm_owner_expand("a %{user} and %{user}", "bob", pool), "a bob and bob");
    assert_string_equal(fcgipm_owner_expand("nobody", "bob", pool), "nobody");
}

static void way_down(void **state)
{
    fcgipm_fault_t fault;
    uint32_t uid = 12345;
    uid_t own = geteuid() == 0 ? 1001 : geteuid();

    (void)state;
    directory("d", 0755, own);
    directory("d/e", 0755, own);
    file("d/e/x", 0644, own);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/e/x"), dir, &fault), APR_SUCCESS);
    assert_int_equal(uid, own);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/e/x"), in("d/"), &fault), APR_SUCCESS);
    static const char *const not_plain[] = {"d/e",        "d/e/",   "d//e/x",   "d/./e/x",
                                            "d/../d/e/x", "d/e/x/", "d/e/none", "d/none/x",
                                            "d/e/x/y",    "",       "/d/e/x"};
    for (size_t i = 0; i < sizeof not_plain / sizeof *not_plain; i++) {
        assert_int_equal(fcgipm_owner_of(&uid, in(not_plain[i]), dir, &fault), APR_EACCES);
        assert_int_equal(fcgipm_owner_plain(in(not_plain[i]), dir, &fault), APR_EACCES);
    }
    assert_int_equal(fcgipm_owner_of(&uid, in("d/e/x"), in("d/e/x"), &fault), APR_EACCES);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/e/x"), in("d/"), &fault), APR_SUCCESS);
    directory("dd", 0755, own); /* "d" is no part of it */
    file("dd/x", 0644, own);
    assert_int_equal(fcgipm_owner_of(&uid, in("dd/x"), in("d"), &fault), APR_EACCES);
    assert_int_equal(symlink("e", in("d/link")), 0);
    assert_int_equal(symlink("x", in("d/e/y")), 0);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/link/x"), dir, &fault), APR_EACCES);
    assert_non_null(strstr(fault.sentence, "symbolic link"));
    assert_int_equal(fcgipm_owner_of(&uid, in("d/e/y"), dir, &fault), APR_EACCES);
    assert_non_null(strstr(fault.sentence, "symbolic link"));
    assert_int_equal(fcgipm_owner_of(&uid, in("d/link/x"), in("d/link"), &fault),
                     APR_SUCCESS); /* the admin's */
    file("d/e/open", 0666, own);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/e/open"), dir, &fault), APR_EACCES);
    assert_int_equal(fcgipm_owner_plain(in("d/e/open"), dir, &fault), APR_EACCES);
    directory("d/open", 01777, own);
    directory("d/open/deep", 0755, own);
    file("d/open/deep/x", 0644, own);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/open/deep/x"), dir, &fault), APR_EACCES);
    assert_non_null(strstr(fault.sentence, "others may write"));
    assert_int_equal(fcgipm_owner_plain(in("d/open/deep/x"), dir, &fault), APR_EACCES);
}

/* suexec refuses what a group can write, too: it need not be the owner's alone. */
static void groups(void **state)
{
    fcgipm_fault_t fault;
    uint32_t uid;
    uid_t own = geteuid() == 0 ? 1001 : geteuid();

    (void)state;
    directory("d", 0755, own);
    directory("d/g", 0775, own);
    file("d/x", 0664, own);
    file("d/g/x", 0644, own);
    file("d/y", 0644, own);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/x"), dir, &fault), APR_EACCES);
    assert_non_null(strstr(fault.sentence, "its group may write to it"));
    assert_int_equal(fcgipm_owner_of(&uid, in("d/g/x"), dir, &fault), APR_EACCES);
    assert_non_null(strstr(fault.sentence, "group of a directory"));
    assert_int_equal(fcgipm_owner_plain(in("d/x"), dir, &fault), APR_SUCCESS);
    assert_int_equal(fcgipm_owner_plain(in("d/g/x"), dir, &fault), APR_SUCCESS);
    /* The top of the way: who can write there can exchange what is below it. */
    assert_int_equal(fcgipm_owner_of(&uid, in("d/g/x"), in("d/g"), &fault), APR_EACCES);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/y"), in("d"), &fault), APR_SUCCESS);
    assert_int_equal(chmod(in("d"), 0757), 0);
    assert_int_equal(fcgipm_owner_of(&uid, in("d/y"), in("d"), &fault), APR_EACCES);
    assert_int_equal(fcgipm_owner_plain(in("d/y"), in("d"), &fault), APR_EACCES);
}

static void owners(void **state)
{
    fcgipm_fault_t fault;
    uint32_t uid;

    (void)state;
    if (geteuid() != 0)
        skip();
    directory("roots", 0755, 0);
    directory("roots/bobs", 0755, 1002);
    file("roots/alices", 0644, 1001);
    file("roots/bobs/alices", 0644, 1001);
    assert_int_equal(fcgipm_owner_of(&uid, in("roots/alices"), dir, &fault), APR_SUCCESS);
    assert_int_equal(uid, 1001);
    assert_int_equal(fcgipm_owner_of(&uid, in("roots/bobs/alices"), dir, &fault), APR_EACCES);
    assert_non_null(strstr(fault.sentence, "neither its owner nor root"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns),
        cmocka_unit_test_setup_teardown(way_down, setup, teardown),
        cmocka_unit_test_setup_teardown(groups, setup, teardown),
        cmocka_unit_test_setup_teardown(owners, setup, teardown),
    };

    apr_initialize();
    apr_pool_create(&pool, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
