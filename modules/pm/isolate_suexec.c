/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Through httpd's suexec: we become httpd's own user, and the setuid program makes its checks, writes its log
 * and becomes the application's. It keeps few variables of the environment, and no mark of ours but one that
 * looks like a request's header.
 */
#include "pm/isolate.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>

#include <apr_strings.h>

#include "pm/mounts.h"

/* Whom it is asked to become has to be allowed here as well; suexec has minimums of its own. */
static apr_status_t prepare(fcgipm_jail_cell_t *cell, const fcgipm_setting_t *s,
                            const fcgipm_jail_host_t *host, fcgipm_fault_t *fault)
{
    apr_status_t rv;

    *cell = (fcgipm_jail_cell_t){.uid = host->uid, .gid = host->gid, .drop = geteuid() == 0, .setting = s};
    if (!s->user || !getpwnam(s->user))
        return fcgipm_fault_set(fault, APR_ENOENT, "user", "there is no user %s",
                                s->user ? s->user : "(FcgiUser is missing)");
    if (s->group && !getgrnam(s->group))
        return fcgipm_fault_set(fault, APR_ENOENT, "user", "there is no group %s", s->group);
    if (cell->drop && (host->uid == 0 || host->gid == 0))
        return fcgipm_fault_set(fault, APR_EACCES, "user", "suexec is never called as root; set User");
    if (cell->drop) {
        fcgipm_jail_cell_t target;

        if ((rv = fcgipm_jail_unix.prepare(&target, s, host, fault)) != APR_SUCCESS)
            return rv;
    }
    return APR_SUCCESS;
}

/* Limits and walls go through suexec, as its own process becomes the application's. */
static int enter(const fcgipm_jail_cell_t *cell, fcgipm_step_t *step)
{
    if (cell->drop && fcgipm_jail_groups(NULL, 0, step) < 0)
        return -1;
    if (fcgipm_mounts_enter(cell->setting, step) < 0)
        return -1;
    if (cell->drop && fcgipm_jail_become(cell, step) < 0)
        return -1;
    return 0;
}

static bool below_home(const char *user, const char *program)
{
    const struct passwd *pw = getpwnam(user);
    size_t len = pw && pw->pw_dir ? strlen(pw->pw_dir) : 0;

    return len > 1 && !strncmp(program, pw->pw_dir, len) && program[len] == '/';
}

/* ~user: the one for which suexec has another root. */
static const char *user_of(const fcgipm_setting_t *s, const char *program, apr_pool_t *pool)
{
    bool tilde = s->suexec_root == FCGIPM_SUEXEC_ROOT_AUTO ? below_home(s->user, program)
                                                           : s->suexec_root == FCGIPM_SUEXEC_ROOT_USER;

    return tilde ? apr_pstrcat(pool, "~", s->user, NULL) : s->user;
}

static const char *group_of(const fcgipm_setting_t *s, apr_pool_t *pool)
{
    const struct passwd *pw = getpwnam(s->user);

    return s->group ? s->group : apr_psprintf(pool, "%u", pw ? (unsigned)pw->pw_gid : 0);
}

const char *const *fcgipm_suexec_argv(const fcgipm_setting_t *s, apr_pool_t *pool)
{
    const char *program = APR_ARRAY_IDX(s->command, 0, const char *), *slash = strrchr(program, '/');
    const char **argv = apr_pcalloc(pool, sizeof *argv * ((size_t)s->command->nelts + 4));
    int n = 0;

    argv[n++] = s->suexec;
    argv[n++] = user_of(s, program, pool);
    argv[n++] = group_of(s, pool);
    argv[n++] = slash ? slash + 1 : program;
    for (int i = 1; i < s->command->nelts; i++)
        argv[n++] = APR_ARRAY_IDX(s->command, i, const char *);
    return argv;
}

const char *fcgipm_suexec_reason(int code)
{
    static const struct {
        int code;
        const char *reason;
    } reasons[] = {{102, "it does not know httpd's user"},
                   {103, "it was built for another user than httpd's"},
                   {104, "it does not take the command's name"},
                   {105, "there is no such user"},
                   {106, "there is no such group"},
                   {107, "the user's number is below its minimum"},
                   {108, "the group's number is below its minimum"},
                   {109, "it cannot become the group"},
                   {110, "it cannot become the user"},
                   {111, "the directory cannot be found"},
                   {112, "the user has no such directory for the web"},
                   {113, "its document root cannot be entered"},
                   {114, "the program is not below its document root"},
                   {115, "there is no such directory"},
                   {116, "the directory can be written by others"},
                   {117, "there is no such program, or it is a link"},
                   {118, "the program can be written by others"},
                   {119, "the program is setuid or setgid"},
                   {120, "the program or its directory belongs to another user or group"},
                   {121, "the program is not executable, or there is no such user"}};

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].code == code)
            return reasons[i].reason;
    return NULL;
}

const fcgipm_jail_t fcgipm_jail_suexec = {.name = "suexec", .prepare = prepare, .enter = enter};
