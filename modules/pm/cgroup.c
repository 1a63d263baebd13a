/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#include "core/log.h"

#define DEPTH_MAX     4 /* of a tree: users, pools, leaves */
#define FIRST_LOOK_US 2000
#define LAST_LOOK_US  500000
#define END_MS        3000

/* --- what can be limited --- */

enum { MEMORY, CPU, PIDS, IO, CONTROLLERS };
static const char *const controller_names[CONTROLLERS] = {"memory", "cpu", "pids", "io"};

enum { MEMORY_MAX, MEMORY_HIGH, CPU_MAX, CPU_WEIGHT, PIDS_MAX, IO_WEIGHT, LIMITS };
static const struct limit_row {
    const char *file, *unlimited, *user_key; /* in FcgiCgroupLimit the key is the file's name */
    unsigned controller;
} limit_rows[LIMITS] = {[MEMORY_MAX] = {"memory.max", "max", "memory", MEMORY},
                        [MEMORY_HIGH] = {"memory.high", "max", NULL, MEMORY},
                        [CPU_MAX] = {"cpu.max", "max", "cpu", CPU},
                        [CPU_WEIGHT] = {"cpu.weight", "100", NULL, CPU},
                        [PIDS_MAX] = {"pids.max", "max", "pids", PIDS},
                        [IO_WEIGHT] = {"io.weight", "default 100", NULL, IO}};

static uint64_t limit_of(const fcgipm_group_limit_t *limit, unsigned which)
{
    const uint64_t values[LIMITS] = {
        [MEMORY_MAX] = limit->memory_max, [MEMORY_HIGH] = limit->memory_high, [CPU_MAX] = limit->cpu_percent,
        [CPU_WEIGHT] = limit->cpu_weight, [PIDS_MAX] = limit->pids_max,       [IO_WEIGHT] = limit->io_weight};

    return values[which];
}

static unsigned needs(const fcgipm_group_limit_t *limit)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < LIMITS; i++)
        mask |= limit_of(limit, i) ? 1u << limit_rows[i].controller : 0;
    return mask;
}

/* As the kernel wants it; 0: no limit. */
static void print_limit(char *out, size_t cap, unsigned which, uint64_t value)
{
    if (!value)
        snprintf(out, cap, "%s", limit_rows[which].unlimited);
    else if (which == CPU_MAX)
        snprintf(out, cap, "%" PRIu64 " 100000", value * 1000);
    else
        snprintf(out, cap, "%s%" PRIu64, which == IO_WEIGHT ? "default " : "", value);
}

/* --- files --- */

struct leaving {
    struct leaving *next;
    int64_t look_us, wait_us;
    char leaf[FCGIPM_CGROUP_LEAF];
};

struct fcgipm_cgroup {
    fcgipm_hierarchy_base_t base;
    char name[40]; /* of the tree, in the base */
    int base_fd, fd;
    unsigned offered, enabled, told; /* controllers */
    unsigned refused;                /* limits that the kernel did not take, and that the log knows */
    bool ill;                        /* a group could not be made, and the log knows */
    apr_array_header_t *user_limits; /* of fcgipm_user_limit_t */
    apr_pool_t *pool, *limits_pool;
    struct leaving *leaving;
};

static int open_dir(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Each name of the path by itself, so that none of them is a symbolic link. */
static int open_path(int at, const char *path)
{
    char part[FCGIPM_CGROUP_LEAF];
    int fd = fcntl(at, F_DUPFD_CLOEXEC, 3);

    while (fd >= 0 && *path) {
        size_t len = strcspn(path, "/");
        int next = -1;

        if (len > 0 && len < sizeof part && path[0] != '.') {
            memcpy(part, path, len);
            part[len] = '\0';
            next = open_dir(fd, part);
        }
        close(fd);
        fd = next;
        path += len + (path[len] == '/');
    }
    return fd;
}

static int make_dir(int at, const char *name)
{
    if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
        return -1;
    return open_dir(at, name);
}

/* 0 or an errno. */
static int put(int at, const char *file, const char *text)
{
    int fd = openat(at, file, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC), error = 0;

    if (fd < 0)
        return errno;
    if (write(fd, text, strlen(text)) < 0)
        error = errno;
    close(fd);
    return error;
}

static bool get(int at, const char *file, char *out, size_t cap)
{
    int fd = openat(at, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    size_t len = 0;
    ssize_t n;

    if (fd < 0)
        return false;
    while (len < cap - 1 && (n = read(fd, out + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    out[len] = '\0';
    return true;
}

static bool has_file(int at, const char *file)
{
    return faccessat(at, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* "name 123" at the beginning of a line. */
static uint64_t field(const char *text, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (!strncmp(at, name, len) && at[len] == ' ')
            return strtoull(at + len, NULL, 10);
    }
    return 0;
}

/* cgroup.controllers and cgroup.subtree_control: names with blanks between. */
static unsigned read_controllers(int at, const char *file)
{
    char text[512], *last;
    unsigned mask = 0;

    if (!get(at, file, text, sizeof text))
        return 0;
    for (char *word = apr_strtok(text, " \n", &last); word; word = apr_strtok(NULL, " \n", &last))
        for (unsigned i = 0; i < CONTROLLERS; i++)
            mask |= strcmp(word, controller_names[i]) ? 0 : 1u << i;
    return mask;
}

/* --- the tree --- */

void fcgipm_cgroup_name(char *out, size_t cap, const char *runtime_dir)
{
    uint64_t hash = 0xcbf29ce484222325ull, numbers[2] = {0};
    struct stat st;

    if (stat(runtime_dir, &st) == 0) {
        numbers[0] = st.st_dev;
        numbers[1] = st.st_ino;
    }
    for (const char *at = runtime_dir; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3ull;
    for (size_t i = 0; i < sizeof numbers; i++)
        hash = (hash ^ ((const unsigned char *)numbers)[i]) * 0x100000001b3ull;
    snprintf(out, cap, "fcgipm-%016" PRIx64, hash);
}

static apr_status_t cannot(fcgipm_fault_t *fault, const char *what, const char *dir)
{
    int error = errno;

    return fcgipm_fault_set(fault, APR_FROM_OS_ERROR(error), "control groups",
                            "cannot %s in %.120s: %s; with systemd httpd's unit needs Delegate=yes", what,
                            dir, strerror(error));
}

apr_status_t fcgipm_cgroup_open(fcgipm_cgroup_t **out, const fcgipm_hierarchy_base_t *base,
                                const char *runtime_dir, apr_pool_t *pool, fcgipm_fault_t *fault)
{
    fcgipm_cgroup_t *tree = apr_pcalloc(pool, sizeof *tree);

    *out = NULL;
    tree->base = *base;
    tree->pool = pool;
    fcgipm_cgroup_name(tree->name, sizeof tree->name, runtime_dir);
    tree->base_fd = open(base->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tree->base_fd < 0)
        return cannot(fault, "look", base->dir);
    if ((tree->fd = make_dir(tree->base_fd, tree->name)) < 0) {
        apr_status_t rv = cannot(fault, "make a group", base->dir);

        close(tree->base_fd);
        return rv;
    }
    if (!has_file(tree->fd, "cgroup.kill")) {
        close(tree->fd);
        unlinkat(tree->base_fd, tree->name, AT_REMOVEDIR);
        close(tree->base_fd);
        return fcgipm_fault_set(fault, APR_EINVAL, "control groups",
                                "the kernel has no cgroup.kill; that takes Linux 5.14");
    }
    tree->offered = read_controllers(tree->base_fd, "cgroup.controllers");
    *out = tree;
    return APR_SUCCESS;
}

/* --- controllers and limits --- */

/* Which of `mask` are on for the groups below; *error: of one that is not. */
static unsigned enable(int fd, unsigned mask, int *error)
{
    unsigned on = read_controllers(fd, "cgroup.subtree_control");
    char word[16];

    for (unsigned i = 0; i < CONTROLLERS; i++) {
        int failed;

        if (!(mask & ~on & 1u << i))
            continue;
        snprintf(word, sizeof word, "+%s", controller_names[i]);
        if ((failed = put(fd, "cgroup.subtree_control", word)) != 0)
            *error = failed;
        else
            on |= 1u << i;
    }
    return on & mask;
}

/* Forking goes on meanwhile: until none is left. */
static void move_all(int from, int to)
{
    static char text[65536];
    char *last;

    for (int round = 0; round < 20; round++) {
        if (!get(from, "cgroup.procs", text, sizeof text) || !text[0])
            return;
        for (char *pid = apr_strtok(text, "\n", &last); pid; pid = apr_strtok(NULL, "\n", &last))
            put(to, "cgroup.procs", pid);
    }
}

/* A group with limits for those below has no processes itself, says the kernel: httpd's go aside. */
static void put_httpd_aside(const fcgipm_cgroup_t *tree)
{
    int aside = make_dir(tree->base_fd, FCGIPM_HIERARCHY_HTTPD);

    if (aside < 0)
        return;
    move_all(tree->base_fd, aside);
    close(aside);
}

static void put_httpd_back(const fcgipm_cgroup_t *tree)
{
    int aside = open_dir(tree->base_fd, FCGIPM_HIERARCHY_HTTPD);
    char word[16];

    if (aside < 0)
        return;
    for (unsigned i = 0; i < CONTROLLERS; i++)
        if (read_controllers(tree->base_fd, "cgroup.subtree_control") & 1u << i) {
            snprintf(word, sizeof word, "-%s", controller_names[i]);
            put(tree->base_fd, "cgroup.subtree_control", word);
        }
    move_all(aside, tree->base_fd);
    close(aside);
    unlinkat(tree->base_fd, FCGIPM_HIERARCHY_HTTPD, AT_REMOVEDIR);
}

static void switch_on(fcgipm_cgroup_t *tree, unsigned wanted)
{
    int error = 0;
    unsigned on = enable(tree->base_fd, wanted, &error);

    if (on != wanted && error == EBUSY && tree->base.own) {
        put_httpd_aside(tree);
        on = enable(tree->base_fd, wanted, &error);
    }
    tree->enabled = on ? enable(tree->fd, on, &error) : 0;
    for (unsigned i = 0; i < CONTROLLERS; i++)
        if (wanted & ~tree->enabled & ~tree->told & 1u << i)
            FCGIPM_LOG(403, FCGIPM_LOG_WARN, 0, 0,
                       "the %s controller cannot be switched on in %s: %s%s; its limits do not hold",
                       controller_names[i], tree->base.dir, strerror(error),
                       error == EBUSY ? " (there are processes in it)" : "");
    tree->told |= wanted & ~tree->enabled;
}

static void set_limits(fcgipm_cgroup_t *tree, int fd, const fcgipm_group_limit_t *limit, const char *name)
{
    char text[48];

    for (unsigned i = 0; i < LIMITS; i++) {
        int error;

        if (!(tree->enabled & 1u << limit_rows[i].controller))
            continue;
        print_limit(text, sizeof text, i, limit_of(limit, i));
        /* Some schedulers have no weight for io: what nobody asked for is not missed. */
        if ((error = put(fd, limit_rows[i].file, text)) == 0 || !limit_of(limit, i) ||
            tree->refused & 1u << i)
            continue;
        tree->refused |= 1u << i;
        FCGIPM_LOG(404, FCGIPM_LOG_WARN, 0, 0, "%s: the kernel does not take %s in %s: %s", name, text,
                   limit_rows[i].file, strerror(error));
    }
}

/* His own, else those of everybody. */
static fcgipm_group_limit_t limits_of_user(const fcgipm_cgroup_t *tree, uint32_t uid)
{
    fcgipm_group_limit_t found = {0};

    for (int i = 0; tree->user_limits && i < tree->user_limits->nelts; i++) {
        const fcgipm_user_limit_t *user = &APR_ARRAY_IDX(tree->user_limits, i, fcgipm_user_limit_t);

        if (user->uid == uid)
            return user->limit;
        if (user->uid == FCGIPM_ANY_USER)
            found = user->limit;
    }
    return found;
}

static void limit_user(fcgipm_cgroup_t *tree, int fd, uint32_t uid)
{
    fcgipm_group_limit_t limit = limits_of_user(tree, uid);
    char name[48];

    if (!tree->enabled)
        return;
    snprintf(name, sizeof name, "FcgiUserLimit, user %u", uid);
    set_limits(tree, fd, &limit, name);
}

/* Entries of a group that are groups of ours: their first letter says so. */
static struct dirent *next_group(DIR *dir, const char *letters)
{
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (strchr(letters, entry->d_name[0]) && entry->d_name[1] >= '0' && entry->d_name[1] <= '9')
            return entry;
    return NULL;
}

/* fd stays the caller's. */
static DIR *list(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;

    if (!dir && copy >= 0)
        close(copy);
    return dir;
}

void fcgipm_cgroup_configure(fcgipm_cgroup_t *tree, const fcgipm_world_t *world)
{
    struct dirent *entry;
    unsigned wanted = 0;
    apr_pool_t *pool;
    DIR *dir;

    if (!tree)
        return;
    apr_pool_create(&pool, tree->pool);
    tree->user_limits = world->user_limits ? apr_array_copy(pool, world->user_limits) : NULL;
    if (tree->limits_pool)
        apr_pool_destroy(tree->limits_pool);
    tree->limits_pool = pool;
    for (int i = 0; i < world->pools->nelts; i++)
        wanted |= needs(&APR_ARRAY_IDX(world->pools, i, fcgipm_world_pool_t).setting->cgroup);
    for (int i = 0; tree->user_limits && i < tree->user_limits->nelts; i++)
        wanted |= needs(&APR_ARRAY_IDX(tree->user_limits, i, fcgipm_user_limit_t).limit);
    /* What was on once stays on: workers of older definitions may still be limited by it. */
    switch_on(tree, (wanted | tree->enabled) & tree->offered);
    dir = list(tree->fd);
    while ((entry = next_group(dir, "u"))) {
        int fd = open_dir(tree->fd, entry->d_name);

        if (fd < 0)
            continue;
        limit_user(tree, fd, (uint32_t)strtoul(entry->d_name + 1, NULL, 10));
        close(fd);
    }
    if (dir)
        closedir(dir);
}

/* --- leaves --- */

/* A pool's name has such letters only; a name beginning with p and a number is none of the kernel's. */
static void pool_name(char *out, size_t cap, const fcgipm_cgroup_place_t *place)
{
    const char *name = place->setting->name;
    size_t len = (size_t)snprintf(out, cap, "p%u-", place->pool);

    for (; *name && len + 1 < cap; name++)
        out[len++] =
            strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *name) ? *name : '_';
    out[len] = '\0';
}

static int make_leaf(fcgipm_cgroup_t *tree, const fcgipm_cgroup_place_t *place, char *leaf)
{
    char user[16], pool[72], slot[32];
    int user_fd, pool_fd = -1, fd = -1, error = 0;

    snprintf(user, sizeof user, "u%u", place->uid);
    pool_name(pool, sizeof pool, place);
    snprintf(slot, sizeof slot, "s%u-%u", place->slot, place->generation);
    snprintf(leaf, FCGIPM_CGROUP_LEAF, "%.11s/%.70s/%.24s", user, pool, slot);
    if ((user_fd = make_dir(tree->fd, user)) >= 0) {
        limit_user(tree, user_fd, place->uid);
        if (tree->enabled)
            enable(user_fd, tree->enabled, &error);
        pool_fd = make_dir(user_fd, pool);
    }
    if (pool_fd >= 0) {
        set_limits(tree, pool_fd, &place->setting->cgroup, place->setting->name);
        /* So that the kernel counts for each worker whom it kills for want of memory. */
        if (tree->enabled & 1u << MEMORY)
            enable(pool_fd, 1u << MEMORY, &error);
        fd = make_dir(pool_fd, slot);
    }
    error = errno;
    if (user_fd >= 0)
        close(user_fd);
    if (pool_fd >= 0)
        close(pool_fd);
    errno = error;
    return fd;
}

/* Without a group it would not be. */
static bool is_limited(const fcgipm_cgroup_t *tree, const fcgipm_cgroup_place_t *place)
{
    fcgipm_group_limit_t user = limits_of_user(tree, place->uid);

    return tree->enabled & (needs(&place->setting->cgroup) | needs(&user));
}

apr_status_t fcgipm_cgroup_enter(fcgipm_cgroup_t *tree, const fcgipm_cgroup_place_t *place, char *leaf,
                                 int *fd, fcgipm_fault_t *fault)
{
    apr_status_t rv;

    *fd = -1;
    leaf[0] = '\0';
    if (!tree)
        return APR_SUCCESS;
    if ((*fd = make_leaf(tree, place, leaf)) >= 0) {
        tree->ill = false;
        return APR_SUCCESS;
    }
    leaf[0] = '\0';
    rv = cannot(fault, "make a group", tree->base.dir);
    /* No want of the manager's own: one that is charged to a group which has no more (memory.max). */
    if (rv == ENOMEM || rv == EAGAIN)
        rv = fault->status = APR_EGENERAL;
    if (tree->base.strict || is_limited(tree, place))
        return rv;
    if (!tree->ill)
        FCGIPM_LOG(405, FCGIPM_LOG_WARN, 0, place->setting->scope,
                   "pool %s: %s; its processes start without one", place->setting->name, fault->sentence);
    tree->ill = true;
    return APR_SUCCESS;
}

int fcgipm_cgroup_join(const fcgipm_cgroup_t *tree, const char *leaf)
{
    int fd = tree && *leaf ? open_path(tree->fd, leaf) : -1, error;

    if (!tree || !*leaf)
        return 0;
    if (fd < 0)
        return errno;
    error = put(fd, "cgroup.procs", "0");
    close(fd);
    return error;
}

void fcgipm_cgroup_kill(const fcgipm_cgroup_t *tree, const char *leaf)
{
    int fd = tree && *leaf ? open_path(tree->fd, leaf) : -1;

    if (fd < 0)
        return;
    put(fd, "cgroup.kill", "1");
    close(fd);
}

/* --- out of memory --- */

/* -1: the file is not there. up: how many groups above the leaf. */
static int64_t count_events(const fcgipm_cgroup_t *tree, const char *leaf, unsigned up, const char *file,
                            const char *name)
{
    char path[FCGIPM_CGROUP_LEAF], text[512], *slash;
    int64_t count = -1;
    int fd;

    snprintf(path, sizeof path, "%s", leaf);
    for (; up > 0 && (slash = strrchr(path, '/')); up--)
        *slash = '\0';
    if ((fd = open_path(tree->fd, path)) < 0)
        return -1;
    if (get(fd, file, text, sizeof text))
        count = (int64_t)field(text, name);
    close(fd);
    return count;
}

fcgipm_cgroup_oom_t fcgipm_cgroup_oom(const fcgipm_cgroup_t *tree, const char *leaf)
{
    int64_t killed = tree && *leaf ? count_events(tree, leaf, 0, "memory.events", "oom_kill") : -1;

    if (killed <= 0)
        return killed < 0 ? FCGIPM_CGROUP_OOM_UNKNOWN : FCGIPM_CGROUP_OOM_NONE;
    /* Who was killed is counted in his leaf, why in the group whose limit was reached. */
    if (count_events(tree, leaf, 1, "memory.events.local", "oom") > 0)
        return FCGIPM_CGROUP_OOM_POOL;
    if (count_events(tree, leaf, 2, "memory.events.local", "oom") > 0)
        return FCGIPM_CGROUP_OOM_USER;
    return FCGIPM_CGROUP_OOM_OTHER;
}

/* --- leaving --- */

static bool populated(int fd)
{
    char text[256];

    return get(fd, "cgroup.events", text, sizeof text) && field(text, "populated");
}

/* The leaf, and those above it that were only there for it. False: somebody is still in it. */
static bool remove_leaf(const fcgipm_cgroup_t *tree, const char *leaf)
{
    char path[FCGIPM_CGROUP_LEAF], *slash;
    int fd;

    snprintf(path, sizeof path, "%s", leaf);
    for (unsigned level = 0; level < DEPTH_MAX - 1; level++) {
        slash = strrchr(path, '/');
        if (slash)
            *slash = '\0';
        fd = slash ? open_path(tree->fd, path) : tree->fd;
        if (fd < 0)
            return errno == ENOENT;
        if (unlinkat(fd, slash ? slash + 1 : path, AT_REMOVEDIR) < 0 && errno != ENOENT) {
            if (slash)
                close(fd);
            return level > 0;
        }
        if (!slash)
            break;
        close(fd);
    }
    return true;
}

void fcgipm_cgroup_leave(fcgipm_cgroup_t *tree, const char *leaf, int64_t now_us)
{
    struct leaving *l;

    if (!tree || !*leaf)
        return;
    fcgipm_cgroup_kill(tree, leaf);
    if (remove_leaf(tree, leaf) || !(l = malloc(sizeof *l)))
        return;
    l->next = tree->leaving;
    l->wait_us = FIRST_LOOK_US;
    l->look_us = now_us + l->wait_us;
    snprintf(l->leaf, sizeof l->leaf, "%s", leaf);
    tree->leaving = l;
}

static bool is_empty(const fcgipm_cgroup_t *tree, const char *leaf)
{
    int fd = open_path(tree->fd, leaf);
    bool empty = fd < 0 || !populated(fd);

    if (fd >= 0)
        close(fd);
    return empty;
}

int64_t fcgipm_cgroup_tend(fcgipm_cgroup_t *tree, int64_t now_us)
{
    int64_t next = INT64_MAX;

    for (struct leaving **at = tree ? &tree->leaving : NULL; at && *at;) {
        struct leaving *l = *at;

        if (now_us >= l->look_us) {
            if (is_empty(tree, l->leaf) && remove_leaf(tree, l->leaf)) {
                *at = l->next;
                free(l);
                continue;
            }
            l->wait_us = l->wait_us * 2 < LAST_LOOK_US ? l->wait_us * 2 : LAST_LOOK_US;
            l->look_us = now_us + l->wait_us;
        }
        next = l->look_us < next ? l->look_us : next;
        at = &l->next;
    }
    return next;
}

/* --- adoption --- */

typedef struct adoption {
    fcgipm_cgroup_t *tree;
    bool (*claim)(void *ctx, pid_t pid, const char *leaf);
    void *ctx;
    int64_t now_us;
    unsigned stale;
} adoption_t;

static void look_at_leaf(adoption_t *a, int fd, const char *path)
{
    static char text[65536];
    bool claimed = false;
    char *last;

    if (get(fd, "cgroup.procs", text, sizeof text))
        for (char *pid = apr_strtok(text, "\n", &last); pid && !claimed; pid = apr_strtok(NULL, "\n", &last))
            claimed = a->claim(a->ctx, (pid_t)strtol(pid, NULL, 10), path);
    if (claimed)
        return;
    a->stale++;
    fcgipm_cgroup_leave(a->tree, path, a->now_us);
}

static void walk(adoption_t *a, int fd, const char *path, unsigned level)
{
    static const char *const letters[] = {"u", "p", "s"};
    DIR *dir = list(fd);
    struct dirent *entry;

    while ((entry = next_group(dir, letters[level]))) {
        char below[FCGIPM_CGROUP_LEAF];
        int next;

        if ((size_t)snprintf(below, sizeof below, "%s%s%.80s", path, *path ? "/" : "", entry->d_name) >=
                sizeof below ||
            (next = open_dir(fd, entry->d_name)) < 0)
            continue;
        if (level == 2)
            look_at_leaf(a, next, below);
        else
            walk(a, next, below, level + 1);
        close(next);
        if (level < 2) /* an empty one, whose last leaf went while nobody looked */
            unlinkat(fd, entry->d_name, AT_REMOVEDIR);
    }
    if (dir)
        closedir(dir);
}

void fcgipm_cgroup_adopt(fcgipm_cgroup_t *tree, bool (*claim)(void *ctx, pid_t pid, const char *leaf),
                         void *ctx, int64_t now_us)
{
    adoption_t a = {.tree = tree, .claim = claim, .ctx = ctx, .now_us = now_us};

    if (!tree)
        return;
    walk(&a, tree->fd, "", 0);
    if (a.stale)
        FCGIPM_LOG(406, FCGIPM_LOG_INFO, 0, 0, "%u control groups of workers that are gone: removed",
                   a.stale);
}

/* --- the end --- */

static bool remove_below(int fd, unsigned depth)
{
    DIR *dir = list(fd);
    struct dirent *entry;
    bool all = true;

    while ((entry = next_group(dir, "ups"))) {
        int next = depth ? open_dir(fd, entry->d_name) : -1;

        if (next < 0)
            continue;
        all = remove_below(next, depth - 1) && all;
        close(next);
        if (unlinkat(fd, entry->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            all = false;
    }
    if (dir)
        closedir(dir);
    return all;
}

static bool destroy(int base_fd, const char *name)
{
    int fd = open_dir(base_fd, name);
    bool gone = fd < 0;

    for (int ms = 0; !gone && ms < END_MS; ms += 5) {
        if (populated(fd))
            put(fd, "cgroup.kill", "1");
        else if (remove_below(fd, DEPTH_MAX))
            gone = unlinkat(base_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
        if (!gone)
            poll(NULL, 0, 5);
    }
    if (fd >= 0)
        close(fd);
    return gone;
}

void fcgipm_cgroup_end(fcgipm_cgroup_t *tree)
{
    struct leaving *l;

    if (!tree)
        return;
    while ((l = tree->leaving)) {
        tree->leaving = l->next;
        free(l);
    }
    close(tree->fd);
    if (!destroy(tree->base_fd, tree->name))
        FCGIPM_LOG(407, FCGIPM_LOG_WARN, 0, 0, "%s/%s does not become empty: a process in it does not die",
                   tree->base.dir, tree->name);
    put_httpd_back(tree);
    close(tree->base_fd);
}

void fcgipm_cgroup_sweep(const char *text, const char *runtime_dir)
{
    fcgipm_hierarchy_base_t base;
    fcgipm_fault_t fault;
    char name[40];
    int fd;

    if (fcgipm_hierarchy_find(&base, text, &fault) != APR_SUCCESS ||
        (fd = open(base.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return;
    fcgipm_cgroup_name(name, sizeof name, runtime_dir);
    if (!destroy(fd, name))
        FCGIPM_LOG(408, FCGIPM_LOG_WARN, 0, 0, "%s/%s of an earlier server does not become empty", base.dir,
                   name);
    close(fd);
}

/* --- is it possible? --- */

typedef struct teller {
    void (*say)(void *ctx, bool fatal, const char *sentence);
    void *ctx;
    const fcgipm_world_t *world;
} teller_t;

/* A group, made and removed again. */
static bool try_it(const char *dir, fcgipm_fault_t *fault)
{
    int base = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
    bool can = false;
    char name[40];

    if (base < 0) {
        cannot(fault, "look", dir);
        return false;
    }
    snprintf(name, sizeof name, "fcgipm-test-%d", (int)getpid());
    if ((fd = make_dir(base, name)) < 0) {
        cannot(fault, "make a group", dir);
    } else {
        if (!(can = has_file(fd, "cgroup.kill")))
            fcgipm_fault_set(fault, APR_EINVAL, "control groups",
                             "the kernel has no cgroup.kill; that takes Linux 5.14");
        close(fd);
        unlinkat(base, name, AT_REMOVEDIR);
    }
    close(base);
    return can;
}

/* Once for each key, however many pools or users have it. */
static void tell_limit(const teller_t *t, unsigned which, const char *why)
{
    const apr_array_header_t *users = t->world->user_limits;
    const char *first = NULL;
    int pools = 0, limited = 0;
    char text[700], others[32] = "";

    for (int i = 0; i < t->world->pools->nelts; i++) {
        const fcgipm_setting_t *s = APR_ARRAY_IDX(t->world->pools, i, fcgipm_world_pool_t).setting;

        if (!limit_of(&s->cgroup, which))
            continue;
        first = first ? first : s->name;
        pools++;
    }
    for (int i = 0; users && i < users->nelts; i++)
        limited += limit_of(&APR_ARRAY_IDX(users, i, fcgipm_user_limit_t).limit, which) != 0;
    if (pools > 1)
        snprintf(others, sizeof others, " and %d more", pools - 1);
    if (pools) {
        snprintf(text, sizeof text, "FcgiCgroupLimit %s= (pool %s%s) does not hold: %s",
                 limit_rows[which].file, first, others, why);
        t->say(t->ctx, false, text);
    }
    if (limited) {
        snprintf(text, sizeof text, "FcgiUserLimit %s= does not hold: %s", limit_rows[which].user_key, why);
        t->say(t->ctx, false, text);
    }
}

static void tell_missing(const teller_t *t, const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unsigned offered = fd >= 0 ? read_controllers(fd, "cgroup.controllers") : 0;
    char why[400];

    if (fd >= 0)
        close(fd);
    for (unsigned i = 0; i < LIMITS; i++) {
        if (offered & 1u << limit_rows[i].controller)
            continue;
        snprintf(why, sizeof why, "there is no %s controller in %.250s (cgroup.controllers)",
                 controller_names[limit_rows[i].controller], dir);
        tell_limit(t, i, why);
    }
}

void fcgipm_cgroup_check(const fcgipm_world_t *world, bool configtest,
                         void (*say)(void *ctx, bool fatal, const char *sentence), void *ctx)
{
    const teller_t t = {.say = say, .ctx = ctx, .world = world};
    fcgipm_hierarchy_base_t base;
    fcgipm_fault_t fault;
    apr_status_t rv = fcgipm_hierarchy_find(&base, world->cgroup, &fault);
    bool elsewhere = configtest && base.own && !(world->cgroup && world->cgroup[0] == '/');
    char text[400];

    if (rv == APR_SUCCESS && base.strict && !try_it(base.dir, &fault))
        rv = APR_EINVAL;
    if (rv != APR_SUCCESS && base.strict) {
        snprintf(text, sizeof text, "FcgiCgroup %.100s cannot be: %s", world->cgroup, fault.sentence);
        say(ctx, true, text);
    } else if (rv == APR_SUCCESS || (elsewhere && base.mount[0])) {
        tell_missing(&t, elsewhere ? base.mount : base.dir);
    } else {
        for (unsigned i = 0; i < LIMITS; i++)
            tell_limit(&t, i, fault.sentence);
    }
}
