/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/isolate.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

static apr_status_t prepare(fcgipm_jail_cell_t *cell, const fcgipm_setting_t *s, uint32_t uid, uint32_t gid,
                            fcgipm_fault_t *fault)
{
    const struct passwd *pw = s->user ? getpwnam(s->user) : NULL;
    const struct group *gr = s->group ? getgrnam(s->group) : NULL;

    *cell = (fcgipm_jail_cell_t){.uid = uid, .gid = gid, .drop = geteuid() == 0};
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
    if (cell->drop && (cell->uid == 0 || cell->gid == 0))
        return fcgipm_fault_set(fault, APR_EACCES, "user",
                                "applications never run as root; set User or FcgiUser");
    if (!cell->drop && pw && pw->pw_uid != geteuid())
        return fcgipm_fault_set(fault, APR_EACCES, "user", "only root can run processes as %s", s->user);
    return APR_SUCCESS;
}

static int enter(const fcgipm_jail_cell_t *cell)
{
    if (cell->drop) {
        if ((cell->user ? initgroups(cell->user, cell->gid) : setgroups(0, NULL)) < 0 ||
            setresgid(cell->gid, cell->gid, cell->gid) < 0 || setresuid(cell->uid, cell->uid, cell->uid) < 0)
            return errno;
        /* There must be no way back. */
        if (setuid(0) == 0 || setgid(0) == 0)
            return EPERM;
    }
    /* No PR_SET_NO_NEW_PRIVS: an application's mail() would fail where sendmail is setgid, as postfix's is.
     */
    return 0;
}

const fcgipm_jail_t fcgipm_jail_unix = {.name = "unix", .prepare = prepare, .enter = enter};
