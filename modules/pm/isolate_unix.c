/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/isolate.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "pm/mounts.h"

#define GROUPS_FEW 64

/* A supplementary group of 0 gives what no gid of 0 gives. */
static bool in_group_zero(const char *user, gid_t gid)
{
    gid_t few[GROUPS_FEW], *groups = few;
    int count = GROUPS_FEW;
    bool found = false;

    if (getgrouplist(user, gid, groups, &count) < 0) {
        groups = calloc((size_t)count, sizeof *groups);
        if (!groups || getgrouplist(user, gid, groups, &count) < 0)
            count = 0, found = true;
    }
    for (int i = 0; i < count; i++)
        found = found || groups[i] == 0;
    if (groups != few)
        free(groups);
    return found;
}

static apr_status_t look_up(fcgipm_jail_cell_t *cell, const fcgipm_setting_t *s, fcgipm_fault_t *fault)
{
    const struct passwd *pw = s->user ? getpwnam(s->user) : NULL;
    const struct group *gr = s->group ? getgrnam(s->group) : NULL;

    if (s->user && !pw)
        return fcgipm_fault_set(fault, APR_ENOENT, "user", "there is no user %s", s->user);
    if (s->group && !gr)
        return fcgipm_fault_set(fault, APR_ENOENT, "user", "there is no group %s", s->group);
    if (pw) {
        cell->uid = pw->pw_uid;
        cell->gid = pw->pw_gid;
        cell->user = s->user;
    }
    if (gr)
        cell->gid = gr->gr_gid;
    return APR_SUCCESS;
}

/* As root: whom it may become. */
static apr_status_t check_root(const fcgipm_jail_cell_t *cell, const fcgipm_setting_t *s,
                               const fcgipm_jail_host_t *host, fcgipm_fault_t *fault)
{
    const char *user = s->user ? s->user : "", *group = s->group ? s->group : "";

    if (cell->uid == 0)
        return fcgipm_fault_set(fault, APR_EACCES, "user",
                                "applications never run as root; set User or FcgiUser");
    if (cell->gid == 0)
        return fcgipm_fault_set(
            fault, APR_EACCES, "user",
            "FcgiUser %s%s%s: applications never run in root's group (gid 0); write another "
            "group, or set Group",
            user, *group ? " " : "", group);
    if (cell->uid < host->min_uid && cell->uid != host->uid)
        return fcgipm_fault_set(fault, APR_EACCES, "user",
                                "FcgiUser %s: its uid %u is below FcgiMinUid %u; write a user of the "
                                "application's own, or lower FcgiMinUid",
                                user, (unsigned)cell->uid, (unsigned)host->min_uid);
    if (cell->gid < host->min_gid && cell->gid != host->gid)
        return fcgipm_fault_set(fault, APR_EACCES, "user",
                                "FcgiUser %s%s%s: gid %u is below FcgiMinGid %u; write a group of the "
                                "application's own, or lower FcgiMinGid",
                                user, *group ? " " : "", group, (unsigned)cell->gid, (unsigned)host->min_gid);
    if (cell->user && in_group_zero(cell->user, cell->gid))
        return fcgipm_fault_set(fault, APR_EACCES, "user",
                                "FcgiUser %s: is a member of root's group (gid 0); take it out of that",
                                user);
    return APR_SUCCESS;
}

/* Whoever is not root cannot become another, nor build walls. */
static apr_status_t check_plain(const fcgipm_jail_cell_t *cell, const fcgipm_setting_t *s,
                                fcgipm_fault_t *fault)
{
    if (cell->uid != geteuid())
        return fcgipm_fault_set(fault, APR_EACCES, "user", "only root can run processes as %s", s->user);
    if (s->root || fcgipm_mounts_wanted(s))
        return fcgipm_fault_set(fault, APR_EACCES, "user", "%s needs httpd to be started as root",
                                s->root          ? "FcgiRoot"
                                : s->private_tmp ? "FcgiPrivateTmp"
                                                 : "FcgiReadOnlyPaths and FcgiInaccessiblePaths");
    return APR_SUCCESS;
}

static apr_status_t prepare(fcgipm_jail_cell_t *cell, const fcgipm_setting_t *s,
                            const fcgipm_jail_host_t *host, fcgipm_fault_t *fault)
{
    bool drop = geteuid() == 0;
    apr_status_t rv;

    *cell = (fcgipm_jail_cell_t){
        .uid = drop ? host->uid : geteuid(), .gid = drop ? host->gid : getegid(), .drop = drop, .setting = s};
    if ((rv = look_up(cell, s, fault)) != APR_SUCCESS)
        return rv;
    return drop ? check_root(cell, s, host, fault) : check_plain(cell, s, fault);
}

#define GROUPS_MOST 65536 /* NGROUPS_MAX of Linux */

/* In the child: those that it is to have, and those that it has. */
static gid_t wanted[GROUPS_MOST], present[GROUPS_MOST];
static int wanted_count;

static int by_number(const void *a, const void *b)
{
    gid_t left = *(const gid_t *)a, right = *(const gid_t *)b;

    return left < right ? -1 : left > right;
}

int fcgipm_jail_groups(const char *user, uint32_t gid, fcgipm_step_t *step)
{
    wanted_count = user ? GROUPS_MOST : 0;
    if (user && getgrouplist(user, gid, wanted, &wanted_count) < 0)
        return fcgipm_step_failed(step, EINVAL, "change of user (its groups)");
    if (setgroups((size_t)wanted_count, wanted) < 0)
        return fcgipm_step_failed(step, errno, "change of user (its groups)");
    return 0;
}

/* Asked of the kernel, and not believed because a call said so. */
static bool has_become(const fcgipm_jail_cell_t *cell)
{
    uid_t uid[3];
    gid_t gid[3];

    return getresuid(&uid[0], &uid[1], &uid[2]) == 0 && getresgid(&gid[0], &gid[1], &gid[2]) == 0 &&
           uid[0] == cell->uid && uid[1] == cell->uid && uid[2] == cell->uid && gid[0] == cell->gid &&
           gid[1] == cell->gid && gid[2] == cell->gid;
}

/* Neither more nor less than was asked for; the kernel gives them in an order of its own. */
static bool groups_are_set(void)
{
    int count = getgroups(GROUPS_MOST, present);

    if (count < 0 || count != wanted_count)
        return false;
    qsort(wanted, (size_t)count, sizeof *wanted, by_number);
    qsort(present, (size_t)count, sizeof *present, by_number);
    return count == 0 || memcmp(wanted, present, (size_t)count * sizeof *present) == 0;
}

/* Also of those that were added since prepare() looked. */
static bool groups_are_harmless(void)
{
    for (int i = 0; i < wanted_count; i++)
        if (wanted[i] == 0)
            return false;
    return true;
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3] = {{0}};
    uint32_t all = 0;

    if (syscall(SYS_capget, &head, now) < 0)
        return true;
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        all |= now[i].effective | now[i].permitted | now[i].inheritable;
    return all != 0;
}

/* With the user they go by themselves, but for inheritable ones, which whoever has started httpd may have
 * left it, and all of them where securebits keep them. */
static bool drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

    return !has_capabilities() || (syscall(SYS_capset, &head, none) == 0 && !has_capabilities());
}

int fcgipm_jail_become(const fcgipm_jail_cell_t *cell, fcgipm_step_t *step)
{
    if (setresgid(cell->gid, cell->gid, cell->gid) < 0 || setresuid(cell->uid, cell->uid, cell->uid) < 0)
        return fcgipm_step_failed(step, errno, "change of user");
    if (!has_become(cell))
        return fcgipm_step_failed(step, EPERM, "change of user (it is still somebody else)");
    if (!groups_are_set())
        return fcgipm_step_failed(step, EPERM, "change of user (it has other groups than it should)");
    if (!groups_are_harmless())
        return fcgipm_step_failed(step, EPERM, "change of user (a supplementary group is root's)");
    if (!drop_capabilities())
        return fcgipm_step_failed(step, EPERM, "change of user (it keeps capabilities)");
    if (setuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0)
        return fcgipm_step_failed(step, EPERM, "change of user (there is a way back)");
    return 0;
}

static int enter(const fcgipm_jail_cell_t *cell, fcgipm_step_t *step)
{
    /* The group database is outside of the walls. */
    if (cell->drop && fcgipm_jail_groups(cell->user, cell->gid, step) < 0)
        return -1;
    if (fcgipm_mounts_enter(cell->setting, step) < 0)
        return -1;
    if (cell->drop && fcgipm_jail_become(cell, step) < 0)
        return -1;
    /* Not by itself: an application's mail() would fail where sendmail is setgid, as postfix's is. */
    if (cell->setting->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fcgipm_step_failed(step, errno, "FcgiNoNewPrivs");
    return 0;
}

const fcgipm_jail_t fcgipm_jail_unix = {.name = "unix", .prepare = prepare, .enter = enter};
