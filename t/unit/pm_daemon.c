/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager as a plain program, without httpd: this test is its parent, and the test's own program, started
 * with an argument, is the application. Nothing is waited for by sleeping a fixed time: until() asks until it
 * is so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "core/log.h"
#include "pm/cgroup.h"
#include "pm/daemon.h"
#include "pm/memory.h"
#include "pm/spawn.h"
#include "share/board.h"
#include "share/msg.h"
#include "share/queue.h"

/* --- the application --- */

static void grandchild(void)
{
    if (fork() == 0) {
        setsid();
        for (;;)
            pause();
    }
}

static int application(const char *kind)
{
    if (!strcmp(kind, "fails"))
        return 3;
    if (!strcmp(kind, "deaf")) {
        for (;;)
            pause();
    }
    if (!strcmp(kind, "stubborn"))
        signal(SIGTERM, SIG_IGN);
    if (!strcmp(kind, "father"))
        grandchild();
    for (;;) {
        char bytes[256];
        int fd = accept(0, NULL, NULL);

        if (fd < 0)
            return errno == EINTR ? 0 : 1;
        while (read(fd, bytes, sizeof bytes) > 0)
            ;
        close(fd);
    }
}

/* --- the parent --- */

static char self[PATH_MAX], dir[64];
static apr_pool_t *pool;
static fcgipm_board_t *board;
static fcgipm_registry_t *registry;
static int registry_fd, orders[2], requests[2], lifeline[2];
static pid_t manager;
static uint32_t generation;
static const char *groups; /* FcgiCgroup */
static unsigned char *world_bytes;
static size_t world_len;

static bool holds(bool (*is)(uint32_t), uint32_t arg, int ms)
{
    for (int i = 0; i < ms; i++) {
        if (is(arg))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return is(arg);
}
#define until(is, arg) assert_true(holds(is, arg, 10000))

typedef struct app {
    const char *name, *kind;
    const char *min, *max, *stop, *start, *env;
} app_t;

static void set(fcgipm_setting_t *s, const char *directive, const char *key, const char *value)
{
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_rows[i];

        if (!strcmp(row->directive, directive) && (key ? row->key && !strcmp(row->key, key) : !row->key)) {
            const char *fault = fcgipm_setting_parse(s, row, value, pool);

            if (fault)
                fail_msg("%s", fault);
            return;
        }
    }
    fail_msg("no row %s", directive);
}

static void describe(fcgipm_world_pool_t *p, const app_t *app)
{
    fcgipm_setting_t *s = apr_pcalloc(pool, sizeof *s);
    fcgipm_fault_t fault;

    fcgipm_setting_defaults(s, pool);
    s->name = app->name;
    s->vhost = "";
    s->command = apr_array_make(pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(s->command, const char *) = self;
    APR_ARRAY_PUSH(s->command, const char *) = app->kind;
    s->env = apr_array_make(pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(s->env, const char *) = apr_pstrcat(pool, "COLOUR=", app->env ? app->env : "red", NULL);
    s->processes_min = (uint32_t)atoi(app->min);
    s->processes_max = (uint32_t)atoi(app->max);
    set(s, "FcgiTimeout", "stop", app->stop ? app->stop : "1s");
    set(s, "FcgiTimeout", "start", app->start ? app->start : "5s");
    fcgipm_setting_finish(s);
    assert_null(fcgipm_setting_check(s, pool));
    p->setting = s;
    if (fcgipm_world_assign(registry, board, p, &fault) != APR_SUCCESS)
        fail_msg("%s", fault.sentence);
}

static uint32_t configure(const app_t *apps, int count)
{
    fcgipm_world_t world = {.generation = ++generation,
                            .uid = getuid() ? getuid() : 33,
                            .gid = getuid() ? getgid() : 33,
                            .log_level = FCGIPM_LOG_ERR,
                            .runtime_dir = dir,
                            .cgroup = groups,
                            .pools = apr_array_make(pool, 4, sizeof(fcgipm_world_pool_t))};
    uint32_t first = 0;

    for (int i = 0; i < count; i++) {
        fcgipm_world_pool_t *p = apr_array_push(world.pools);

        describe(p, &apps[i]);
        first = i == 0 ? p->index : first;
    }
    free(world_bytes);
    assert_int_equal(fcgipm_world_write(&world, &world_bytes, &world_len), APR_SUCCESS);
    return first;
}

static void start_manager(void)
{
    manager = fork();
    assert_true(manager >= 0);
    if (manager == 0) {
        fcgipm_daemon_env_t env = {.board = board,
                                   .registry = registry,
                                   .lifeline_fd = lifeline[0],
                                   .orders_fd = orders[1],
                                   .requests_fd = requests[0],
                                   .world = world_bytes,
                                   .world_len = world_len};

        prctl(PR_SET_PDEATHSIG, SIGTERM);
        close(lifeline[1]);
        fcgipm_log_level(getenv("VERBOSE") ? FCGIPM_LOG_DEBUG : -1);
        _exit(fcgipm_daemon_run(&env));
    }
}

static void tell_manager(void)
{
    assert_int_equal(fcgipm_order_send(orders[0], FCGIPM_ORDER_CONFIG, world_bytes, world_len, -1),
                     APR_SUCCESS);
}

static int stop_manager(void)
{
    int status;

    close(lifeline[1]);
    lifeline[1] = -1;
    assert_int_equal(waitpid(manager, &status, 0), manager);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int setup(void **state)
{
    fcgipm_fault_t fault;
    char path[128];
    bool leftover;

    (void)state;
    strcpy(dir, "/tmp/fcgipm-pm-XXXXXX");
    if (!mkdtemp(dir) || chmod(dir, 0711) < 0)
        return -1;
    apr_pool_create(&pool, NULL);
    snprintf(path, sizeof path, "%s/registry", dir);
    if (fcgipm_registry_open(&registry, &registry_fd, &leftover, path, 0, &fault) != APR_SUCCESS ||
        fcgipm_daemon_prepare(registry, leftover, dir, NULL, 33, 33, &fault) != APR_SUCCESS ||
        fcgipm_board_create(&board, NULL, &fault) != APR_SUCCESS)
        return -1;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) ||
           socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, requests) ||
           pipe2(lifeline, O_CLOEXEC);
}

static unsigned entries(void)
{
    DIR *d = opendir(dir);
    unsigned count = 0;

    while (readdir(d))
        count++;
    closedir(d);
    return count - 2;
}

static int teardown(void **state)
{
    char path[128];

    (void)state;
    groups = NULL;
    if (lifeline[1] >= 0)
        stop_manager();
    close(lifeline[0]);
    for (int i = 0; i < 2; i++) {
        close(orders[i]);
        close(requests[i]);
    }
    fcgipm_registry_close(registry, registry_fd);
    snprintf(path, sizeof path, "%s/registry", dir);
    unlink(path);
    apr_pool_destroy(pool);
    return rmdir(dir);
}

/* --- looking --- */

static const fcgipm_board_slot_t *slot_of(uint32_t index, uint32_t slot)
{
    return &board->slot[board->pool[index].geometry.slot_first + slot];
}

static pid_t pid_of(uint32_t index, uint32_t slot)
{
    return (pid_t)fcgipm_atom_get(&slot_of(index, slot)->pid);
}

static uint32_t count_state(uint32_t index, uint32_t state)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < board->pool[index].geometry.slot_count; i++)
        count += fcgipm_atom_get(&slot_of(index, i)->state) == state;
    return count;
}

static bool one_ready(uint32_t index)
{
    return count_state(index, FCGIPM_SLOT_READY) == 1;
}
static bool two_ready(uint32_t index)
{
    return count_state(index, FCGIPM_SLOT_READY) == 2;
}
static bool three_ready(uint32_t index)
{
    return count_state(index, FCGIPM_SLOT_READY) == 3;
}
static bool none_left(uint32_t index)
{
    return count_state(index, FCGIPM_SLOT_FREE) == board->pool[index].geometry.slot_count;
}
static bool backs_off(uint32_t index)
{
    return fcgipm_atom_get(&board->pool[index].state) == FCGIPM_POOL_BACKOFF;
}
static bool is_gone(uint32_t pid)
{
    char path[64], text[256] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    if (!(f = fopen(path, "r")))
        return true;
    (void)!fread(text, 1, sizeof text - 1, f);
    fclose(f);
    return strstr(text, ") Z ") || strstr(text, ") X ");
}

/* Of the environment of a process. */
static bool environ_has(pid_t pid, const char *entry)
{
    static char text[65536];
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    if ((fd = open(path, O_RDONLY)) < 0)
        return false;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(text + at) + 1)
        if (!strncmp(text + at, entry, strlen(entry)))
            return true;
    return false;
}

/* Processes (no zombies) of this test's pools. */
static unsigned count_marked(pid_t *last)
{
    char mark[128];
    DIR *proc = opendir("/proc");
    struct dirent *e;
    unsigned count = 0;

    snprintf(mark, sizeof mark, "FCGIPM_WORKER=%s:", dir);
    while ((e = readdir(proc)))
        if (atoi(e->d_name) > 1 && environ_has(atoi(e->d_name), mark) &&
            !is_gone((uint32_t)atoi(e->d_name))) {
            count++;
            *last = atoi(e->d_name);
        }
    closedir(proc);
    return count;
}

static unsigned count_descriptors(pid_t pid)
{
    char path[64];
    DIR *d;
    unsigned count = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count - 2;
}

static void ask(fcgipm_msg_type_t type, uint32_t index, uint32_t slot, uint32_t gen)
{
    fcgipm_msg_t msg = {
        .version = FCGIPM_MSG_VERSION, .type = type, .pool = index, .slot = slot, .generation = gen};

    apr_status_t rv;

    while (APR_STATUS_IS_EAGAIN(rv = fcgipm_msg_send(requests[1], &msg))) {
        struct pollfd fd = {.fd = requests[1], .events = POLLOUT};

        poll(&fd, 1, 1000);
    }
    assert_int_equal(rv, APR_SUCCESS);
}

/* The manager has taken all messages that were sent before. */
static void drained(void)
{
    int unread = 1;

    for (int i = 0; i < 5000 && unread; i++) {
        struct pollfd fd = {.fd = requests[0], .events = POLLIN};

        unread = poll(&fd, 1, 0);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(unread, 0);
}

/* --- what it promises --- */

static void a_worker_is_shut_in(void **state)
{
    const app_t app = {.name = "plain", .kind = "plain", .min = "1", .max = "2", .env = "blue"};
    uint32_t index = configure(&app, 1);
    char path[128], cwd[PATH_MAX] = "", want[PATH_MAX];
    struct stat st;
    pid_t pid;

    (void)state;
    start_manager();
    until(one_ready, index);
    pid = pid_of(index, 0);
    /* The manager's own question may still be open on its side for a moment. */
    for (int i = 0; i < 5000 && count_descriptors(pid) != 3; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(count_descriptors(pid), 3);
    assert_int_equal(getsid(pid), pid);
    assert_true(environ_has(pid, "COLOUR=blue"));
    assert_true(environ_has(pid, "FCGIPM_POOL=plain"));
    assert_false(environ_has(pid, "HOME="));
    snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
    (void)!readlink(path, cwd, sizeof cwd - 1);
    snprintf(want, sizeof want, "%.*s", (int)(strrchr(self, '/') - self), self);
    assert_string_equal(cwd, want);
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, getuid() ? getuid() : 33);
    /* nobody but us and httpd's group can look at the sockets */
    snprintf(path, sizeof path, "%s/p%u", dir, index);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0710);
    assert_int_equal(stop_manager(), FCGIPM_DAEMON_STOPPED);
    assert_true(is_gone((uint32_t)pid));
    assert_int_equal(entries(), 1); /* the registry */
}

static void a_dead_worker_is_replaced(void **state)
{
    const app_t app = {.name = "plain", .kind = "plain", .min = "2", .max = "2"};
    uint32_t index = configure(&app, 1), gen;
    pid_t pid;

    (void)state;
    start_manager();
    until(two_ready, index);
    pid = pid_of(index, 1);
    gen = fcgipm_atom_get(&slot_of(index, 1)->generation);
    kill(pid, SIGKILL);
    until(is_gone, (uint32_t)pid);
    for (int i = 0; i < 5000 && fcgipm_atom_get(&slot_of(index, 1)->generation) == gen; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    until(two_ready, index);
    assert_int_not_equal(pid_of(index, 1), pid);
    assert_int_equal(fcgipm_atom_get(&slot_of(index, 1)->generation), gen + 1);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(
            fcgipm_seat_state(fcgipm_atom_get(&board->seat[board->pool[index].geometry.seat_first + i])),
            FCGIPM_SEAT_IDLE);
}

static void what_it_forked_goes_with_it(void **state)
{
    const app_t app = {.name = "father", .kind = "father", .min = "1", .max = "1"};
    uint32_t index = configure(&app, 1);
    pid_t child = 0, father;

    (void)state;
    start_manager();
    until(one_ready, index);
    father = pid_of(index, 0);
    assert_int_equal(count_marked(&child), 2);
    kill(father, SIGKILL);
    until(is_gone, (uint32_t)father);
    until(one_ready, index);
    for (int i = 0; i < 3000 && count_marked(&child) != 2; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(count_marked(&child), 2); /* the new one and its child, none of the old */
    assert_int_equal(stop_manager(), FCGIPM_DAEMON_STOPPED);
    assert_int_equal(count_marked(&child), 0);
}

static void write_vmstat(const char *path, int kills)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fprintf(f, "nr_free_pages 4711\noom_kill %d\npgfault 1\n", kills);
    fclose(f);
}

static bool in_trouble(uint32_t index)
{
    return fcgipm_atom_get(&board->pool[index].trouble_us) != 0;
}

/* A KILL that the kernel counts as its own was for want of memory; any other is just a KILL. */
static void out_of_memory_is_told(void **state)
{
    const app_t app = {.name = "fat", .kind = "plain", .min = "1", .max = "1"};
    uint32_t index = configure(&app, 1);
    char path[300];

    (void)state;
    snprintf(path, sizeof path, "%s.vmstat", dir);
    write_vmstat(path, 7);
    fcgipm_memory_vmstat = path;
    start_manager();
    until(one_ready, index);
    kill(pid_of(index, 0), SIGKILL);
    until(in_trouble, index);
    assert_non_null(strstr(board->pool[index].trouble, "killed by signal 9"));
    until(one_ready, index);
    fcgipm_atom_set(&board->pool[index].trouble_us, 0);
    write_vmstat(path, 8);
    kill(pid_of(index, 0), SIGKILL);
    until(in_trouble, index);
    assert_non_null(strstr(board->pool[index].trouble, "killed by the kernel: out of memory"));
    assert_int_equal(stop_manager(), FCGIPM_DAEMON_STOPPED);
    fcgipm_memory_vmstat = "/proc/vmstat";
    unlink(path);
}

/* A recorded tree in place of the kernel's, which need not have a memory controller where this runs. */
int __real_statfs(const char *path, struct statfs *fs);
int __wrap_statfs(const char *path, struct statfs *fs);
int __wrap_statfs(const char *path, struct statfs *fs)
{
    int rv = __real_statfs(path, fs);

    if (groups && !strcmp(path, groups))
        fs->f_type = 0x63677270;
    return rv;
}

static void shell(const char *fmt, const char *where)
{
    char command[600];

    snprintf(command, sizeof command, fmt, where);
    assert_int_equal(system(command), 0);
}

/* At the limit of its pool: the log, the status page and fcgipmctl say which. */
static void an_oom_kill_at_a_limit_is_told(void **state)
{
    const app_t app = {.name = "fat", .kind = "plain", .min = "1", .max = "1"};
    static char base[80]; /* a test that fails leaves by a jump */
    char name[40], leaf[300];
    uint32_t index;

    (void)state;
    snprintf(base, sizeof base, "%s.cgroup", dir);
    groups = base;
    index = configure(&app, 1);
    fcgipm_cgroup_name(name, sizeof name, dir);
    snprintf(leaf, sizeof leaf, "%s/%s/u%u/p%u-fat", base, name, getuid() ? getuid() : 33, index);
    shell("mkdir -p '%s'", leaf);
    shell("cd '%s' && echo 'oom 1' >memory.events.local && for i in 1 2 3; do mkdir s0-$i && : "
          ">s0-$i/cgroup.procs; done && echo 'oom_kill 1' >s0-1/memory.events && echo 'oom_kill 0' "
          ">s0-2/memory.events && : >../../cgroup.kill",
          leaf);
    start_manager();
    until(one_ready, index);
    kill(pid_of(index, 0), SIGKILL);
    until(in_trouble, index);
    assert_non_null(strstr(board->pool[index].trouble,
                           "OOM kill by its cgroup limit (FcgiCgroupLimit memory.max=) after"));
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[index].stat_row].count.oom_killed), 1);
    until(one_ready, index);
    fcgipm_atom_set(&board->pool[index].trouble_us, 0);
    kill(pid_of(index, 0), SIGKILL);
    until(in_trouble, index);
    assert_non_null(strstr(board->pool[index].trouble, "was killed by signal 9"));
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[index].stat_row].count.oom_killed), 1);
    until(one_ready, index);
    shell("rm -rf '%s'", base); /* plain directories do not go by rmdir */
    groups = NULL;
    assert_int_equal(stop_manager(), FCGIPM_DAEMON_STOPPED);
}

static void a_stubborn_one_is_killed(void **state)
{
    const app_t app = {.name = "stubborn", .kind = "stubborn", .min = "1", .max = "1", .stop = "300ms"};
    uint32_t index = configure(&app, 1);
    pid_t pid;

    (void)state;
    start_manager();
    until(one_ready, index);
    pid = pid_of(index, 0);
    assert_int_equal(stop_manager(), FCGIPM_DAEMON_STOPPED);
    assert_true(is_gone((uint32_t)pid));
    assert_int_equal(fcgipm_atom_get(&board->stat[board->pool[index].stat_row].count.kills), 1);
}

static void the_next_manager_adopts(void **state)
{
    const app_t app = {.name = "plain", .kind = "plain", .min = "2", .max = "2"};
    uint32_t index = configure(&app, 1);
    pid_t first, second;
    int status;

    (void)state;
    start_manager();
    until(two_ready, index);
    first = pid_of(index, 0);
    second = pid_of(index, 1);
    kill(manager, SIGKILL);
    waitpid(manager, &status, 0);
    kill(second, SIGKILL); /* while nobody looks */
    start_manager();
    for (int i = 0; i < 5000 && pid_of(index, 1) == second; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    until(two_ready, index);
    assert_int_equal(pid_of(index, 0), first);
    assert_int_not_equal(pid_of(index, 1), second);
    kill(first, SIGKILL); /* an adopted one's death is seen too */
    until(is_gone, (uint32_t)first);
    for (int i = 0; i < 5000 && pid_of(index, 0) == first; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    until(two_ready, index);
}

static void the_next_start_cleans_up(void **state)
{
    const app_t app = {.name = "father", .kind = "father", .min = "2", .max = "2"};
    uint32_t index = configure(&app, 1);
    fcgipm_fault_t fault;
    pid_t last = 0;
    int status;

    (void)state;
    start_manager();
    until(two_ready, index);
    assert_int_equal(count_marked(&last), 4);
    kill(manager, SIGKILL);
    waitpid(manager, &status, 0);
    assert_int_equal(fcgipm_daemon_prepare(registry, true, dir, NULL, 33, 33, &fault), APR_SUCCESS);
    assert_int_equal(count_marked(&last), 0);
    assert_int_equal(entries(), 1);
    lifeline[1] = -1; /* there is no manager to stop */
}

/* A process that has the number of a worker that is long gone, as leader of a session of its own. */
static pid_t stranger(void)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void a_number_used_again_is_somebody_else(void **state)
{
    pid_t pid = stranger();
    fcgipm_fault_t fault;
    int status;

    (void)state;
    registry->slot[7].start_time = 1; /* of the worker that had it, before */
    fcgipm_atom_set(&registry->slot[7].pid, (uint32_t)pid);
    assert_int_equal(fcgipm_daemon_prepare(registry, true, dir, NULL, 33, 33, &fault), APR_SUCCESS);
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    lifeline[1] = -1;
}

static int told[2];

static void tell(int sig)
{
    ssize_t ignored = write(told[1], "t", 1);

    (void)sig;
    (void)ignored;
}

/* A child that is told to end before it is itself must not run its parent's handler, whose pipe is the
 * parent's. */
static void a_child_does_not_speak_for_its_parent(void **state)
{
    char byte;
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(told, O_NONBLOCK), 0);
    signal(SIGTERM, tell);
    pid = fcgipm_spawn_blocked();
    if (pid == 0) {
        sigset_t none;

        raise(SIGTERM);
        signal(SIGTERM, SIG_DFL);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(read(told[0], &byte, 1), -1);
    raise(SIGTERM); /* and the parent still hears its own */
    assert_int_equal(read(told[0], &byte, 1), 1);
    signal(SIGTERM, SIG_DFL);
    lifeline[1] = -1;
}

static void demand_up_to_max_and_no_further(void **state)
{
    const app_t app = {.name = "plain", .kind = "plain", .min = "1", .max = "3"};
    uint32_t index = configure(&app, 1);

    (void)state;
    start_manager();
    until(one_ready, index);
    for (uint32_t i = 1; i < 3; i++) {
        /* busy, as a child of httpd would make it */
        for (uint32_t seat = 0; seat < 3; seat++) {
            fcgipm_atom64_t *at = &board->seat[board->pool[index].geometry.seat_first + seat];
            uint64_t word = fcgipm_atom_get(at);

            fcgipm_seat_step(at, &word, FCGIPM_SEAT_EV_TAKE, 0);
        }
        ask(FCGIPM_MSG_NEED, index, 0, 0);
        until(i == 1 ? two_ready : three_ready, index);
    }
    for (int i = 0; i < 100; i++)
        ask(FCGIPM_MSG_NEED, index, 0, 0);
    drained();
    assert_int_equal(count_state(index, FCGIPM_SLOT_READY), 3);
    assert_int_equal(count_state(index, FCGIPM_SLOT_STARTING), 0);
}

static void forged_messages_do_nothing(void **state)
{
    const app_t app = {.name = "plain", .kind = "plain", .min = "1", .max = "1"};
    uint32_t index = configure(&app, 1), gen;
    pid_t pid;

    (void)state;
    start_manager();
    until(one_ready, index);
    pid = pid_of(index, 0);
    gen = fcgipm_atom_get(&slot_of(index, 0)->generation);
    for (uint32_t type = 1; type < FCGIPM_MSG_COUNT; type++) {
        ask((fcgipm_msg_type_t)type, 0xffffffffu, 0, gen);
        ask((fcgipm_msg_type_t)type, FCGIPM_POOLS_MAX, 0, gen);
        ask((fcgipm_msg_type_t)type, index + 1, 0, gen);
        ask((fcgipm_msg_type_t)type, index, 0xffffffffu, gen);
        ask((fcgipm_msg_type_t)type, index, 0, gen + 1);
    }
    /* a board full of rubbish names no process to kill and no index to follow */
    memset((void *)&board->slot[board->pool[index].geometry.slot_first], 0xff, sizeof board->slot[0]);
    board->pool[index].geometry.slot_first = 0xfffffff0u;
    ask(FCGIPM_MSG_NEED, index, 0, 0);
    drained();
    assert_false(is_gone((uint32_t)pid));
    ask(FCGIPM_MSG_HUNG, index, 0, gen); /* and the honest one works */
    until(is_gone, (uint32_t)pid);
    assert_int_equal(waitpid(manager, NULL, WNOHANG), 0);
}

static void a_crash_loop_backs_off(void **state)
{
    const app_t apps[] = {{.name = "fails", .kind = "fails", .min = "4", .max = "4"},
                          {.name = "plain", .kind = "plain", .min = "1", .max = "1"}};
    uint32_t index = configure(apps, 2);
    uint64_t spawns;

    (void)state;
    start_manager();
    until(backs_off, index);
    spawns = fcgipm_atom_get(&board->stat[board->pool[index].stat_row].count.spawns);
    assert_in_range(spawns, 4, 16);
    assert_true(fcgipm_atom_get(&board->pool[index].failures) >= 3);
    assert_int_equal(count_state(index + 1, FCGIPM_SLOT_READY), 1); /* the neighbour does not notice */
}

static void what_does_not_accept_is_not_ready(void **state)
{
    const app_t app = {.name = "deaf", .kind = "deaf", .min = "1", .max = "1", .start = "200ms"};
    uint32_t index = configure(&app, 1);

    (void)state;
    start_manager();
    until(backs_off, index);
    assert_int_equal(fcgipm_atom_get(&board->pool[index].ready), 0);
}

static int enter_and_stay(const fcgipm_jail_cell_t *cell, fcgipm_step_t *step)
{
    (void)cell;
    (void)step;
    return pause();
}

/* As if somebody of the same user had stopped it, or it had come to a directory that does not answer. */
static void who_tries_does_not_wait_for_ever(void **state)
{
    const fcgipm_jail_t jail = {.name = "swamp", .enter = enter_and_stay};
    const char *const argv[] = {"/bin/true", NULL};
    fcgipm_setting_t s = {.nice = FCGIPM_NO_INTEGER, .oom = FCGIPM_NO_INTEGER};
    fcgipm_spawn_plan_t plan = {.argv = argv, .directory = "/", .setting = &s, .jail = &jail};
    fcgipm_fault_t fault;

    (void)state;
    fcgipm_spawn_try_ms = 50;
    assert_int_equal(fcgipm_spawn_try(&plan, &fault), APR_TIMEUP);
    fcgipm_spawn_try_ms = 10000;
}

static void a_missing_program_is_a_failed_start(void **state)
{
    app_t app = {.name = "none", .kind = "plain", .min = "1", .max = "1"};
    char real[PATH_MAX];
    uint32_t index;

    (void)state;
    strcpy(real, self);
    strcpy(self, "/nowhere/program");
    index = configure(&app, 1);
    strcpy(self, real);
    start_manager();
    until(backs_off, index);
}

static void a_changed_pool_starts_before_the_old_goes(void **state)
{
    app_t app = {.name = "plain", .kind = "plain", .min = "2", .max = "2", .env = "red"};
    uint32_t old = configure(&app, 1), new;
    pid_t pid;

    (void)state;
    start_manager();
    until(two_ready, old);
    pid = pid_of(old, 0);
    /* the same again changes nothing */
    assert_int_equal(configure(&app, 1), old);
    tell_manager();
    for (int i = 0; i < 5000 && fcgipm_atom_get(&board->config_generation) != generation; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(pid_of(old, 0), pid);
    app.env = "green";
    new = configure(&app, 1);
    assert_int_not_equal(new, old);
    assert_int_equal(fcgipm_board_route(board, new), old);
    tell_manager();
    /* at no moment is there nobody to serve */
    for (int i = 0; i < 10000 && !none_left(old); i++) {
        uint32_t at = fcgipm_board_route(board, new);

        assert_true(count_state(at, FCGIPM_SLOT_READY) > 0 || fcgipm_board_route(board, new) != at);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(fcgipm_board_route(board, old), new);
    until(two_ready, new);
    assert_true(environ_has(pid_of(new, 0), "COLOUR=green"));
    assert_true(is_gone((uint32_t)pid));
}

static uint32_t led_to;
static bool leads_there(uint32_t index)
{
    return fcgipm_atom_get(&board->pool[index].route) == led_to;
}

/* Nobody's way may lead over an index that is somebody else's later. */
static void who_ends_is_bypassed(void **state)
{
    app_t app = {.name = "plain", .kind = "plain", .min = "1", .max = "1", .env = "red"};
    uint32_t first = configure(&app, 1), second;
    pid_t child = fork(); /* as of httpd, with the first configuration, which is known as long as it lives */

    (void)state;
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        syscall(SYS_close_range, 3u, ~0u, 0u); /* the lifeline among them */
        _exit(pause());
    }
    start_manager();
    fcgipm_atom_set(&board->child[0].generation, generation);
    fcgipm_atom_set(&board->child[0].pid, (uint32_t)child);
    until(one_ready, first);
    app.env = "green";
    second = configure(&app, 1);
    tell_manager();
    led_to = second;
    until(leads_there, first);
    until(one_ready, second);
    app.env = "blue";
    led_to = configure(&app, 1);
    tell_manager();
    until(one_ready, led_to);
    until(none_left, second);
    until(leads_there, first);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void a_change_that_does_not_start_leaves_the_old(void **state)
{
    app_t app = {.name = "plain", .kind = "plain", .min = "1", .max = "1"};
    uint32_t old = configure(&app, 1), new;

    (void)state;
    start_manager();
    until(one_ready, old);
    app.kind = "fails";
    new = configure(&app, 1);
    tell_manager();
    until(backs_off, new);
    assert_int_equal(fcgipm_board_route(board, new), old);
    assert_int_equal(count_state(old, FCGIPM_SLOT_READY), 1);
}

static void a_removed_pool_drains(void **state)
{
    const app_t apps[] = {{.name = "plain", .kind = "plain", .min = "1", .max = "1"},
                          {.name = "other", .kind = "plain", .min = "1", .max = "1"}};
    uint32_t index = configure(apps, 2);
    pid_t pid;

    (void)state;
    start_manager();
    until(one_ready, index);
    until(one_ready, index + 1);
    pid = pid_of(index + 1, 0);
    configure(apps, 1);
    tell_manager();
    until(none_left, index + 1);
    assert_true(is_gone((uint32_t)pid));
    assert_int_equal(count_state(index, FCGIPM_SLOT_READY), 1);
}

static void leave_touches_nobody(void **state)
{
    const app_t app = {.name = "plain", .kind = "plain", .min = "1", .max = "1"};
    uint32_t index = configure(&app, 1);
    pid_t pid;
    int status;

    (void)state;
    start_manager();
    until(one_ready, index);
    pid = pid_of(index, 0);
    assert_int_equal(fcgipm_order_send(orders[0], FCGIPM_ORDER_LEAVE, NULL, 0, -1), APR_SUCCESS);
    assert_int_equal(waitpid(manager, &status, 0), manager);
    assert_int_equal(WEXITSTATUS(status), FCGIPM_DAEMON_LEFT);
    assert_false(is_gone((uint32_t)pid));
    start_manager();
    for (int i = 0; i < 5000 && fcgipm_atom_get(&board->manager_pid) != (uint32_t)manager; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    until(one_ready, index);
    assert_int_equal(pid_of(index, 0), pid);
}

#define PM(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PM(a_worker_is_shut_in),
        PM(a_dead_worker_is_replaced),
        PM(what_it_forked_goes_with_it),
        PM(out_of_memory_is_told),
        PM(an_oom_kill_at_a_limit_is_told),
        PM(a_stubborn_one_is_killed),
        PM(the_next_manager_adopts),
        PM(the_next_start_cleans_up),
        PM(a_number_used_again_is_somebody_else),
        PM(a_child_does_not_speak_for_its_parent),
        PM(demand_up_to_max_and_no_further),
        PM(forged_messages_do_nothing),
        PM(a_crash_loop_backs_off),
        PM(what_does_not_accept_is_not_ready),
        PM(a_missing_program_is_a_failed_start),
        cmocka_unit_test(who_tries_does_not_wait_for_ever),
        PM(a_changed_pool_starts_before_the_old_goes),
        PM(who_ends_is_bypassed),
        PM(a_change_that_does_not_start_leaves_the_old),
        PM(a_removed_pool_drains),
        PM(leave_touches_nobody),
    };
    static char copy[] = "/tmp/fcgipm-pm-self-XXXXXX";
    char command[PATH_MAX * 2];
    int result, fd;

    if (argc > 1)
        return application(argv[1]);
    /* The worker's user may not be able to reach the build directory. */
    if (!realpath("/proc/self/exe", self) || (fd = mkstemp(copy)) < 0)
        return 1;
    close(fd);
    snprintf(command, sizeof command, "cp '%s' %s && chmod 755 %s", self, copy, copy);
    if (system(command) != 0)
        return 1;
    strcpy(self, copy);
    apr_initialize();
    fcgipm_log_level(-1);
    result = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(copy);
    return result;
}
