/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A C library that lies, to be preloaded (t/97-become.t): in children of the manager the call that the
 * environment variable LIE names says that it has done what it has not. Elsewhere, httpd's own children among
 * it, all is real.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static uid_t said_uid;
static gid_t said_gid;

static int lies(const char *what)
{
    char name[17] = "";
    const char *lie = getenv("LIE");

    prctl(PR_GET_NAME, name);
    return lie && !strcmp(lie, what) && !strncmp(name, "fcgipm", 6);
}

int setresuid(uid_t ruid, uid_t euid, uid_t suid)
{
    said_uid = ruid;
    if (lies("no uid") || lies("no uid, and hides it"))
        return 0;
    if (lies("no saved uid"))
        suid = 0;
    return (int)syscall(SYS_setresuid, ruid, euid, suid);
}

int setresgid(gid_t rgid, gid_t egid, gid_t sgid)
{
    said_gid = rgid;
    if (lies("no gid") || lies("no gid, and hides it"))
        return 0;
    if (lies("no saved gid"))
        sgid = 0;
    return (int)syscall(SYS_setresgid, rgid, egid, sgid);
}

int getresuid(uid_t *ruid, uid_t *euid, uid_t *suid)
{
    int rv = (int)syscall(SYS_getresuid, ruid, euid, suid);

    if (lies("no uid, and hides it"))
        *ruid = *euid = *suid = said_uid;
    return rv;
}

int getresgid(gid_t *rgid, gid_t *egid, gid_t *sgid)
{
    int rv = (int)syscall(SYS_getresgid, rgid, egid, sgid);

    if (lies("no gid, and hides it"))
        *rgid = *egid = *sgid = said_gid;
    return rv;
}

/* Is this a process that is to become an application, and not the manager, which asks for groups as well? */
static int is_child(void)
{
    char path[32], name[16] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/comm", (int)getppid());
    if (!(f = fopen(path, "re")))
        return 0;
    if (!fgets(name, sizeof name, f))
        name[0] = '\0';
    fclose(f);
    return !strncmp(name, "fcgipm", 6);
}

int getgrouplist(const char *user, gid_t group, gid_t *groups, int *count)
{
    int (*real)(const char *, gid_t, gid_t *, int *) =
        (int (*)(const char *, gid_t, gid_t *, int *))dlsym(RTLD_NEXT, "getgrouplist");
    int room = *count, rv = real(user, group, groups, count);

    if (rv >= 0 && *count < room && lies("root's group") && is_child()) {
        groups[(*count)++] = 0;
        rv = *count;
    }
    return rv;
}

int setgroups(size_t count, const gid_t *groups)
{
    static gid_t more[65536];

    if (lies("no groups"))
        return 0;
    if (lies("one group more")) {
        memcpy(more, groups, count * sizeof *groups);
        more[count++] = 4;
        groups = more;
    }
    return (int)syscall(SYS_setgroups, count, groups);
}
