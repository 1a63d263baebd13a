/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is written into control groups, with a recorded tree: plain files in place of the kernel's, which need
 * not have all controllers where this runs. What the kernel does with groups of its own is in t/87-cgroup.t.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "core/log.h"
#include "pm/cgroup.h"
#include "pm/spawn.h"

static char root[64], dir[80], name[40];
static apr_pool_t *pool;
static fcgipm_cgroup_t *tree;
static unsigned logged;
static char last_line[1024];

/* The kernel says EBUSY while there are processes in a group: so do we, until they have been moved. */
static bool crowded;
ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
    if (crowded && len > 1 && ((const char *)bytes)[0] == '+') {
        errno = EBUSY;
        return -1;
    }
    if (crowded && len == 4 && !memcmp(bytes, "4711", 4))
        crowded = false;
    return __real_write(fd, bytes, len);
}

static void on_log(void *ctx, int level, apr_status_t status, unsigned scope, const char *line)
{
    (void)ctx;
    (void)level;
    (void)status;
    (void)scope;
    logged++;
    snprintf(last_line, sizeof last_line, "%s", line);
}

/* --- the recorded tree --- */

static void record(const char *group, const char *file, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s/%s", dir, group, file);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* A group with the files that the kernel makes, as far as they are used. */
static void group(const char *group_name)
{
    static const char *const files[] = {"cgroup.kill", "cgroup.procs", "cgroup.subtree_control",
                                        "memory.max",  "memory.high",  "cpu.max",
                                        "cpu.weight",  "pids.max",     "io.weight"};
    char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, group_name);
    assert_int_equal(mkdir(path, 0755), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        record(group_name, files[i], "");
    record(group_name, "cgroup.events", "populated 0\nfrozen 0\n");
}

static const char *content(const char *group_name, const char *file)
{
    static char text[256];
    char path[256];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/%s/%s", dir, group_name, file);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return "(none)";
    n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
    return text;
}

static const char *in_tree(const char *path)
{
    static char text[160];

    snprintf(text, sizeof text, "%s/%s", name, path);
    return text;
}
#define IS(group_name, file, text) assert_string_equal(content(in_tree(group_name), file), text)

static apr_status_t try_open(bool strict, fcgipm_fault_t *fault)
{
    fcgipm_hierarchy_base_t base = {.strict = strict};

    snprintf(base.dir, sizeof base.dir, "%s", dir);
    return fcgipm_cgroup_open(&tree, &base, root, pool, fault);
}

static void open_tree(bool strict)
{
    fcgipm_fault_t fault;

    if (try_open(strict, &fault) != APR_SUCCESS)
        fail_msg("%s", fault.sentence);
}

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/fcgipm-cg-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(dir, sizeof dir, "%s/cgroup", root);
    apr_pool_create(&pool, NULL);
    fcgipm_cgroup_name(name, sizeof name, root);
    if (mkdir(dir, 0755) < 0)
        return -1;
    record("", "cgroup.controllers", "cpuset cpu io memory pids\n");
    record("", "cgroup.subtree_control", "");
    record("", "cgroup.procs", "");
    group(name);
    group(in_tree("u33"));
    group(in_tree("u33/p4-shop"));
    group(in_tree("u33/p4-shop/s0-7"));
    logged = 0;
    crowded = false;
    tree = NULL;
    fcgipm_log_set(on_log, NULL, FCGIPM_LOG_WARN);
    return 0;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    apr_pool_destroy(pool);
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

/* --- a configuration --- */

static fcgipm_setting_t *setting(const char *pool_name, fcgipm_group_limit_t limit)
{
    fcgipm_setting_t *s = apr_pcalloc(pool, sizeof *s);

    fcgipm_setting_defaults(s, pool);
    s->name = pool_name;
    s->cgroup = limit;
    return s;
}

static fcgipm_world_t *world_of(fcgipm_setting_t *s)
{
    fcgipm_world_t *world = apr_pcalloc(pool, sizeof *world);

    world->pools = apr_array_make(pool, 2, sizeof(fcgipm_world_pool_t));
    if (s)
        ((fcgipm_world_pool_t *)apr_array_push(world->pools))->setting = s;
    return world;
}

static void limit_user(fcgipm_world_t *world, uint32_t uid, fcgipm_group_limit_t limit)
{
    if (!world->user_limits)
        world->user_limits = apr_array_make(pool, 2, sizeof(fcgipm_user_limit_t));
    APR_ARRAY_PUSH(world->user_limits, fcgipm_user_limit_t) =
        (fcgipm_user_limit_t){.uid = uid, .limit = limit};
}

static const fcgipm_group_limit_t all_limits = {.memory_max = 256u << 20,
                                                .memory_high = 128u << 20,
                                                .cpu_percent = 150,
                                                .cpu_weight = 50,
                                                .pids_max = 99,
                                                .io_weight = 200};

static apr_status_t enter(const fcgipm_setting_t *s, char *leaf, int *fd, fcgipm_fault_t *fault)
{
    const fcgipm_cgroup_place_t place = {.uid = 33, .pool = 4, .slot = 0, .generation = 7, .setting = s};

    return fcgipm_cgroup_enter(tree, &place, leaf, fd, fault);
}

static void entered(const fcgipm_setting_t *s)
{
    char leaf[FCGIPM_CGROUP_LEAF];
    fcgipm_fault_t fault;
    int fd;

    assert_int_equal(enter(s, leaf, &fd, &fault), APR_SUCCESS);
    assert_string_equal(leaf, "u33/p4-shop/s0-7");
    assert_true(fd >= 0);
    close(fd);
}

/* --- what it promises --- */

static void limits_as_the_kernel_wants_them(void **state)
{
    fcgipm_setting_t *s = setting("shop", all_limits);
    fcgipm_world_t *world = world_of(s);

    (void)state;
    limit_user(world, 33,
               (fcgipm_group_limit_t){.memory_max = 1u << 30, .cpu_percent = 200, .pids_max = 500});
    open_tree(true);
    fcgipm_cgroup_configure(tree, world);
    entered(s);
    IS("u33/p4-shop", "memory.max", "268435456");
    IS("u33/p4-shop", "memory.high", "134217728");
    IS("u33/p4-shop", "cpu.max", "150000 100000");
    IS("u33/p4-shop", "cpu.weight", "50");
    IS("u33/p4-shop", "pids.max", "99");
    IS("u33/p4-shop", "io.weight", "default 200");
    IS("u33", "memory.max", "1073741824");
    IS("u33", "cpu.max", "200000 100000");
    IS("u33", "pids.max", "500");
    IS("u33", "memory.high", "max");
    IS("u33/p4-shop/s0-7", "memory.max", ""); /* a leaf has none of its own */
    /* The last that was switched on, at each level; workers are counted one by one for memory. */
    assert_string_equal(content("", "cgroup.subtree_control"), "+io");
    IS("", "cgroup.subtree_control", "+io");
    IS("u33", "cgroup.subtree_control", "+io");
    IS("u33/p4-shop", "cgroup.subtree_control", "+memory");
    IS("u33/p4-shop/s0-7", "cgroup.subtree_control", "");
    assert_int_equal(logged, 0);
}

/* Who has used up what his group may have, its memory, could else start the next one outside of it. */
static void nobody_starts_outside_of_his_limits(void **state)
{
    fcgipm_setting_t *s = setting("shop", (fcgipm_group_limit_t){0});
    fcgipm_world_t *world = world_of(s);
    char leaf[FCGIPM_CGROUP_LEAF], path[300];
    fcgipm_fault_t fault;
    int fd;

    (void)state;
    open_tree(false);
    snprintf(path, sizeof path, "rm -r '%s/%s/u33' && : >'%s/%s/u33'", dir, name, dir, name);
    assert_int_equal(system(path), 0);
    fcgipm_cgroup_configure(tree, world);
    assert_int_equal(enter(s, leaf, &fd, &fault), APR_SUCCESS);
    assert_int_equal(fd, -1);
    limit_user(world, 33, (fcgipm_group_limit_t){.pids_max = 64});
    fcgipm_cgroup_configure(tree, world);
    assert_int_not_equal(enter(s, leaf, &fd, &fault), APR_SUCCESS);
    assert_string_equal(leaf, "");
}

static void limits_of_users_change(void **state)
{
    fcgipm_setting_t *s = setting("shop", (fcgipm_group_limit_t){0});
    fcgipm_world_t *world = world_of(s);

    (void)state;
    limit_user(world, FCGIPM_ANY_USER, (fcgipm_group_limit_t){.pids_max = 64});
    open_tree(true);
    fcgipm_cgroup_configure(tree, world);
    IS("u33", "pids.max", "64"); /* everybody's, at once */
    limit_user(world, 33, (fcgipm_group_limit_t){.pids_max = 77, .memory_max = 5u << 20});
    fcgipm_cgroup_configure(tree, world);
    IS("u33", "pids.max", "77"); /* his own goes before */
    IS("u33", "memory.max", "5242880");
    fcgipm_cgroup_configure(tree, world_of(s));
    IS("u33", "pids.max", "max"); /* taken away again */
    IS("u33", "memory.max", "max");
}

static void nothing_without_limits(void **state)
{
    fcgipm_setting_t *s = setting("shop", (fcgipm_group_limit_t){0});

    (void)state;
    open_tree(true);
    fcgipm_cgroup_configure(tree, world_of(s));
    entered(s);
    IS("u33/p4-shop", "memory.max", "");
    assert_string_equal(content("", "cgroup.subtree_control"), "");
}

static void a_strange_name_stays_a_name(void **state)
{
    fcgipm_setting_t *s = setting("../..\n", (fcgipm_group_limit_t){0});
    char leaf[FCGIPM_CGROUP_LEAF];
    fcgipm_fault_t fault;
    int fd;

    (void)state;
    open_tree(true);
    assert_int_equal(enter(s, leaf, &fd, &fault), APR_SUCCESS);
    assert_string_equal(leaf, "u33/p4-.._.._/s0-7");
    close(fd);
}

typedef struct told {
    unsigned count, fatal;
    char text[4][700];
} told_t;

static void tell(void *ctx, bool fatal, const char *sentence)
{
    told_t *told = ctx;

    told->fatal += fatal;
    snprintf(told->text[told->count++ % 4], sizeof told->text[0], "%s", sentence);
}

static void what_is_missing_is_told_once(void **state)
{
    fcgipm_setting_t *s = setting("shop", (fcgipm_group_limit_t){.memory_max = 1u << 20, .pids_max = 9});
    fcgipm_world_t *world = world_of(s);
    told_t told = {0};

    (void)state;
    ((fcgipm_world_pool_t *)apr_array_push(world->pools))->setting = s;
    limit_user(world, 33, (fcgipm_group_limit_t){.memory_max = 1u << 30});
    world->cgroup = "Off";
    fcgipm_cgroup_check(world, true, tell, &told);
    assert_int_equal(told.count, 3);
    assert_int_equal(told.fatal, 0);
    assert_string_equal(told.text[0],
                        "FcgiCgroupLimit memory.max= (pool shop and 1 more) does not hold: FcgiCgroup Off");
    assert_string_equal(told.text[1], "FcgiUserLimit memory= does not hold: FcgiCgroup Off");
    assert_string_equal(told.text[2],
                        "FcgiCgroupLimit pids.max= (pool shop and 1 more) does not hold: FcgiCgroup Off");
    /* a directory that is none of the kernel's */
    world->cgroup = dir;
    fcgipm_cgroup_check(world, true, tell, &told);
    assert_int_equal(told.count, 4);
    assert_int_equal(told.fatal, 1);
    assert_non_null(strstr(told.text[3], "is not in a cgroup v2 hierarchy"));
    /* what the kernel does not offer is not written, the rest is */
    record("", "cgroup.controllers", "cpu pids\n");
    open_tree(true);
    fcgipm_cgroup_configure(tree, world);
    entered(s);
    IS("u33/p4-shop", "memory.max", "");
    IS("u33/p4-shop", "pids.max", "9");
}

static void a_controller_that_cannot_be_switched_on(void **state)
{
    fcgipm_setting_t *s = setting("shop", (fcgipm_group_limit_t){.pids_max = 9});
    fcgipm_world_t *world = world_of(s);

    (void)state;
    crowded = true;
    open_tree(true); /* not httpd's own group: nobody in it is ours to move */
    fcgipm_cgroup_configure(tree, world);
    fcgipm_cgroup_configure(tree, world);
    assert_int_equal(logged, 1);
    assert_non_null(strstr(last_line, "FPM0403: the pids controller cannot be switched on"));
    assert_non_null(strstr(last_line, "there are processes in it"));
    crowded = false;
    entered(s);
    IS("u33/p4-shop", "pids.max", "");
}

static void httpd_makes_room(void **state)
{
    fcgipm_setting_t *s = setting("shop", (fcgipm_group_limit_t){.pids_max = 9});
    fcgipm_hierarchy_base_t base = {.own = true};
    fcgipm_fault_t fault;

    (void)state;
    snprintf(base.dir, sizeof base.dir, "%s", dir);
    group("fcgipm-httpd");
    record("", "cgroup.procs", "4711\n");
    crowded = true;
    assert_int_equal(fcgipm_cgroup_open(&tree, &base, root, pool, &fault), APR_SUCCESS);
    fcgipm_cgroup_configure(tree, world_of(s));
    assert_string_equal(content("fcgipm-httpd", "cgroup.procs"), "4711");
    assert_string_equal(content("", "cgroup.subtree_control"), "+pids");
    entered(s);
    IS("u33/p4-shop", "pids.max", "9");
    assert_int_equal(logged, 0);
}

static void who_was_killed_for_memory(void **state)
{
    const char *leaf = "u33/p4-shop/s0-7";

    (void)state;
    open_tree(true);
    assert_int_equal(fcgipm_cgroup_oom(tree, leaf), FCGIPM_CGROUP_OOM_UNKNOWN);
    assert_int_equal(fcgipm_cgroup_oom(NULL, leaf), FCGIPM_CGROUP_OOM_UNKNOWN);
    assert_int_equal(fcgipm_cgroup_oom(tree, ""), FCGIPM_CGROUP_OOM_UNKNOWN);
    record(in_tree(leaf), "memory.events", "low 0\nhigh 12\nmax 7\noom 0\noom_kill 0\noom_group_kill 3\n");
    record(in_tree("u33/p4-shop"), "memory.events.local", "low 0\nhigh 0\nmax 0\noom 5\noom_kill 0\n");
    assert_int_equal(fcgipm_cgroup_oom(tree, leaf), FCGIPM_CGROUP_OOM_NONE); /* it was another one */
    record(in_tree(leaf), "memory.events", "low 0\nhigh 12\nmax 7\noom 0\noom_kill 1\noom_group_kill 0\n");
    assert_int_equal(fcgipm_cgroup_oom(tree, leaf), FCGIPM_CGROUP_OOM_POOL);
    record(in_tree("u33/p4-shop"), "memory.events.local", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n");
    assert_int_equal(fcgipm_cgroup_oom(tree, leaf), FCGIPM_CGROUP_OOM_OTHER);
    record(in_tree("u33"), "memory.events.local", "low 0\nhigh 0\nmax 4\noom 2\noom_kill 0\n");
    assert_int_equal(fcgipm_cgroup_oom(tree, leaf), FCGIPM_CGROUP_OOM_USER);
}

static void links_are_not_followed(void **state)
{
    fcgipm_setting_t *s = setting("other", (fcgipm_group_limit_t){0});
    char leaf[FCGIPM_CGROUP_LEAF], path[400], to[160];
    fcgipm_fault_t fault;
    int fd;

    (void)state;
    snprintf(path, sizeof path, "%s/%s/u33/p4-other", dir, name);
    snprintf(to, sizeof to, "%s", root);
    assert_int_equal(symlink(to, path), 0);
    open_tree(true);
    assert_int_not_equal(enter(s, leaf, &fd, &fault), APR_SUCCESS);
    assert_non_null(strstr(fault.sentence, "cannot make a group"));
    assert_int_equal(fd, -1);
    assert_string_equal(leaf, "");
    /* Auto: without one then, and said once */
    open_tree(false);
    assert_int_equal(enter(s, leaf, &fd, &fault), APR_SUCCESS);
    assert_int_equal(enter(s, leaf, &fd, &fault), APR_SUCCESS);
    assert_int_equal(fd, -1);
    assert_string_equal(leaf, "");
    assert_int_equal(logged, 1);
    assert_non_null(strstr(last_line, "its processes start without one"));
    /* nor the name of the tree itself */
    snprintf(path, sizeof path, "rm -r %s/%s && ln -s %s %s/%s", dir, name, root, dir, name);
    assert_int_equal(system(path), 0);
    assert_int_not_equal(try_open(true, &fault), APR_SUCCESS);
}

static void kill_stays_in_the_tree(void **state)
{
    (void)state;
    record("", "cgroup.kill", "");
    open_tree(true);
    fcgipm_cgroup_kill(tree, "..");
    fcgipm_cgroup_kill(tree, "u33/../..");
    fcgipm_cgroup_kill(tree, "");
    fcgipm_cgroup_kill(NULL, "u33");
    fcgipm_cgroup_kill(tree, "u33/p4-shop/s0-8");
    assert_string_equal(content("", "cgroup.kill"), "");
    IS("", "cgroup.kill", "");
    fcgipm_cgroup_kill(tree, "u33/p4-shop/s0-7");
    IS("u33/p4-shop/s0-7", "cgroup.kill", "1");
    IS("u33/p4-shop", "cgroup.kill", "");
}

static bool claim(void *ctx, pid_t pid, const char *leaf)
{
    if (pid != 4711)
        return false;
    snprintf(ctx, FCGIPM_CGROUP_LEAF, "%s", leaf);
    return true;
}

static void leaves_of_the_living_stay(void **state)
{
    char found[FCGIPM_CGROUP_LEAF] = "";

    (void)state;
    record(in_tree("u33/p4-shop/s0-7"), "cgroup.procs", "12\n4711\n13\n");
    group(in_tree("u33/p4-shop/s1-2"));
    record(in_tree("u33/p4-shop/s1-2"), "cgroup.procs", "14\n");
    group(in_tree("u33/p4-shop/not-ours"));
    open_tree(true);
    fcgipm_cgroup_adopt(tree, claim, found, 0);
    assert_string_equal(found, "u33/p4-shop/s0-7");
    IS("u33/p4-shop/s0-7", "cgroup.kill", "");
    IS("u33/p4-shop/s1-2", "cgroup.kill", "1");
    IS("u33/p4-shop/not-ours", "cgroup.kill", "");
    assert_true(fcgipm_cgroup_tend(tree, 0) < INT64_MAX); /* a plain directory with files does not go */
    assert_true(fcgipm_cgroup_tend(NULL, 0) == INT64_MAX);
}

static void a_kernel_without_cgroup_kill(void **state)
{
    char path[256];
    fcgipm_fault_t fault;
    struct stat st;

    (void)state;
    snprintf(path, sizeof path, "rm -r %s/%s", dir, name);
    assert_int_equal(system(path), 0);
    assert_int_not_equal(try_open(true, &fault), APR_SUCCESS);
    assert_non_null(strstr(fault.sentence, "no cgroup.kill"));
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(stat(path, &st), -1); /* nothing is left of the attempt */
}

/* Where clone3 cannot (this is no control group, a container may forbid it) the child writes itself in. */
static void a_child_enters_by_itself(void **state)
{
    static const char *const argv[] = {"/bin/true", NULL};
    const fcgipm_jail_cell_t cell = {.setting = setting("shop", (fcgipm_group_limit_t){0})};
    fcgipm_spawn_plan_t plan = {.argv = argv,
                                .directory = "/",
                                .env = apr_array_make(pool, 1, sizeof(const char *)),
                                .jail = &fcgipm_jail_unix,
                                .setting = cell.setting,
                                .cell = cell};
    char path[256];
    fcgipm_fault_t fault;
    int fd, report, status, null = open("/dev/null", O_RDWR);
    pid_t pid;

    (void)state;
    snprintf(path, sizeof path, "%s/%s/u33/p4-shop/s0-7", dir, name);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fcgipm_spawn_fork(&pid, &report, &plan, "MARK=1", null, null, fd, &fault), APR_SUCCESS);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    IS("u33/p4-shop/s0-7", "cgroup.procs", "0");
    /* and one that cannot does not start */
    snprintf(path, sizeof path, "%s/%s/u33/p4-shop/s0-7/cgroup.procs", dir, name);
    unlink(path);
    close(report);
    assert_int_equal(fcgipm_spawn_fork(&pid, &report, &plan, "MARK=1", null, null, fd, &fault), APR_SUCCESS);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(fcgipm_spawn_report(report, &fault), -1);
    assert_non_null(strstr(fault.sentence, "control group failed"));
    close(report);
    close(null);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(limits_as_the_kernel_wants_them, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_starts_outside_of_his_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_of_users_change, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_without_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_strange_name_stays_a_name, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_controller_that_cannot_be_switched_on, setup, teardown),
        cmocka_unit_test_setup_teardown(httpd_makes_room, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_killed_for_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(links_are_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(kill_stays_in_the_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(leaves_of_the_living_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kernel_without_cgroup_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(a_child_enters_by_itself, setup, teardown),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
