/* SPDX-License-Identifier: Apache-2.0 */
#include "web/check.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <unixd.h>

#include "core/owner.h"
#include "core/place.h"
#include "pm/daemon.h"
#include "web/directive.h"

APLOG_USE_MODULE(fcgipm);

typedef struct check {
    bool strict; /* configtest: the world must be right too; at a start an application that is gone must not
                    keep hundreds of other sites from starting */
    bool ok;
    unsigned complaints;
    const fcgipm_global_t *global;
} check_t;

static void complain(check_t *check, bool fatal, const server_rec *s, const char *place, const char *text)
{
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_NOERRNO, 0, s, "FPM0661: %s: %s", place, text);
    check->complaints++;
    if (fatal || check->strict)
        check->ok = false;
}

/* The line in the block of what a sentence is about. */
static const char *place_for(const fcgipm_pool_conf_t *conf, const char *sentence, apr_pool_t *pool)
{
    const ap_directive_t *line = conf->block ? fcgipm_directive_line(conf->block, sentence) : NULL;

    return line ? apr_psprintf(pool, "%s:%d", line->filename, line->line_num) : conf->place;
}

static void complain_of(check_t *check, bool fatal, apr_pool_t *pool, const fcgipm_pool_conf_t *conf,
                        const char *text)
{
    const char *place = place_for(conf, text, pool);

    if (conf->wrapper)
        text = apr_psprintf(pool, "FcgiAllowWrapper \"%s\": %s", conf->wrapper, text);
    else
        text = apr_psprintf(pool, "<%s %s>%s %s", fcgipm_directive_kind(conf->setting), conf->setting->name,
                            conf->block ? "" : ", made by FcgiCompat:", text);
    complain(check, fatal, conf->server, place, text);
}

/* What is at this path of the application's, which may have a root of its own. */
static bool look_at(const fcgipm_setting_t *s, const char *path, struct stat *st)
{
    char wrong[200];
    int root, fd;
    bool there;

    if (!s->root)
        return stat(path, st) == 0;
    if ((root = fcgipm_place_open(s->root, wrong, sizeof wrong)) < 0)
        return false;
    fd = fcgipm_place_inside(root, path);
    there = fd >= 0 && fstat(fd, st) == 0;
    if (fd >= 0)
        close(fd);
    close(root);
    return there;
}

/* False: nothing in it can be looked at. */
static bool check_root(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const fcgipm_setting_t *s = conf->setting;
    char wrong[200];
    int fd;

    if (!s->root)
        return true;
    if ((fd = fcgipm_place_open(s->root, wrong, sizeof wrong)) < 0) {
        complain_of(check, false, pool, conf, apr_pstrcat(pool, "FcgiRoot: ", wrong, NULL));
        return false;
    }
    close(fd);
    return true;
}

/* The kernel would say "No such file" of the program itself. NULL: there is nothing to say. */
static const char *interpreter_fault(const char *program, apr_pool_t *pool)
{
    int fd = open(program, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char line[256];
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    const char *name;

    if (fd >= 0)
        close(fd);
    if (n < 3 || line[0] != '#' || line[1] != '!')
        return NULL;
    line[n] = '\0';
    if (!strchr(line, '\n')) /* the end of the name is not seen */
        return NULL;
    line[strcspn(line, "\n")] = '\0';
    if (strchr(line, '\r'))
        return "its first line ends in CR LF, so the kernel looks for an interpreter with a CR in its name; "
               "write the file with LF";
    name = line + 2 + strspn(line + 2, " \t");
    name = apr_pstrmemdup(pool, name, strcspn(name, " \t"));
    return *name && access(name, F_OK) < 0
               ? apr_psprintf(pool, "its first line names the interpreter %.150s, which is not there", name)
               : NULL;
}

/* What is wrong with a program that is not there; what may have been meant, where that can be seen. */
static const char *not_there(const fcgipm_setting_t *s, const char *program, apr_pool_t *pool)
{
    const char *blank = strchr(program, ' ');
    struct stat st;

    if (s->root)
        return "there is no such file in FcgiRoot; write the path as it is in there";
    if (blank && stat(apr_pstrmemdup(pool, program, (apr_size_t)(blank - program)), &st) == 0 &&
        S_ISREG(st.st_mode))
        return "there is no such file, as the quotes make one word of it all; leave them out, or put them "
               "around one argument";
    if (strchr(program, '=') && s->command->nelts > 1)
        return "there is no such file, and no shell that would set a variable; write FcgiEnv NAME value, and "
               "here the full path of the program";
    return "there is no such file; write the full path of the program";
}

static void check_command(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const fcgipm_setting_t *s = conf->setting;
    const char *program = APR_ARRAY_IDX(s->command, 0, const char *);
    const char *wrong = NULL;
    struct stat st;

    if (s->user_from && strstr(program, "%{user}")) /* another one for each user */
        return;
    if (!look_at(s, program, &st))
        wrong = strstr(program, "%{user}")
                    ? "%{user} is replaced in a <FcgiServerTemplate> only; write a path"
                    : not_there(s, program, pool);
    else if (!S_ISREG(st.st_mode))
        wrong = "that is not a file; write the full path of the program";
    else if (!(st.st_mode & 0111) || (!s->root && access(program, X_OK) < 0))
        wrong = "it is not executable; chmod +x, or name the interpreter first, such as FcgiCommand "
                "/usr/bin/perl app.pl";
    else if (!s->root)
        wrong = interpreter_fault(program, pool);
    if (wrong)
        complain_of(check, false, pool, conf, apr_psprintf(pool, "FcgiCommand %s: %s", program, wrong));
}

static void check_slow_command(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const apr_array_header_t *command = conf->setting->slow_command;
    struct stat st;

    if (command && command->nelts &&
        (!look_at(conf->setting, APR_ARRAY_IDX(command, 0, const char *), &st) || !(st.st_mode & 0111)))
        complain_of(check, false, pool, conf,
                    apr_psprintf(pool, "FcgiSlowLog ... %s: there is no such program%s",
                                 APR_ARRAY_IDX(command, 0, const char *),
                                 conf->setting->root ? " in FcgiRoot" : ""));
}

static void check_user(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const fcgipm_setting_t *s = conf->setting;
    struct passwd *pw = s->user ? getpwnam(s->user) : NULL;

    if (s->user && !pw)
        complain_of(check, false, pool, conf,
                    apr_psprintf(pool, "FcgiUser %s: there is no such user; write %s", s->user,
                                 strchr(s->user, ':') ? "user and group with a blank between them"
                                                      : "a name that `id NAME` knows, no number"));
    if (pw && pw->pw_uid == 0)
        complain_of(
            check, true, pool, conf,
            apr_psprintf(pool, "FcgiUser %s: applications never run as root; write another user", s->user));
    if (s->group && !getgrnam(s->group))
        complain_of(check, false, pool, conf,
                    apr_psprintf(pool,
                                 "FcgiUser %s %s: there is no such group; write a name that `getent group "
                                 "NAME` knows, or none for the user's own",
                                 s->user, s->group));
    if (s->user && geteuid() != 0 && !(pw && pw->pw_uid == geteuid()))
        complain_of(
            check, true, pool, conf,
            apr_psprintf(pool, "FcgiUser %s: needs httpd to be started as root; leave it out", s->user));
}

/* What the manager will say of them. */
static void check_allowed(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    fcgipm_fault_t fault;

    if (fcgipm_daemon_check_user(conf->setting, ap_unixd_config.user_id, ap_unixd_config.group_id,
                                 check->global, &fault) != APR_SUCCESS)
        complain_of(check, false, pool, conf, fault.sentence);
}

static void check_directory(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const char *dir = conf->setting->directory;
    struct stat st;

    if (dir && !strstr(dir, "%{user}") && (!look_at(conf->setting, dir, &st) || !S_ISDIR(st.st_mode)))
        complain_of(check, false, pool, conf,
                    apr_psprintf(pool, "FcgiDirectory %s: there is no such directory%s", dir,
                                 conf->setting->root ? " in FcgiRoot" : ""));
}

static bool limited(const fcgipm_setting_t *s)
{
    return s->limit_memory_bytes != FCGIPM_NO_SIZE || s->limit_cpu_us || s->limit_files != FCGIPM_NO_COUNT ||
           s->limit_procs != FCGIPM_NO_COUNT || s->limit_core_bytes != FCGIPM_NO_SIZE ||
           s->limit_filesize_bytes != FCGIPM_NO_SIZE || s->limit_stack_bytes != FCGIPM_NO_SIZE;
}

static bool prioritized(const fcgipm_setting_t *s)
{
    return s->nice != FCGIPM_NO_INTEGER || s->oom != FCGIPM_NO_INTEGER || s->ioprio;
}

static bool listed_any(const apr_array_header_t *list)
{
    return list && list->nelts;
}

static bool walled(const fcgipm_setting_t *s)
{
    return s->root || s->private_tmp || listed_any(s->read_only) || listed_any(s->inaccessible);
}

/* Limits and walls depend on the kernel, the container and httpd's own limits, and what a user may enter and
 * execute on every directory above: configtest tries it. At a start the first process will tell. */
static void check_by_trying(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const fcgipm_setting_t *s = conf->setting;
    fcgipm_fault_t fault;

    if (check->strict && !s->user_from && !(s->suexec && !limited(s) && !prioritized(s) && !walled(s)) &&
        fcgipm_daemon_try(s, ap_unixd_config.user_id, ap_unixd_config.group_id, check->global, pool,
                          &fault) != APR_SUCCESS)
        complain_of(
            check, false, pool, conf,
            apr_pstrcat(pool, FCGIPM_WOULD_NOT, fault.sentence,
                        strstr(fault.sentence, " as uid ") && strstr(fault.sentence, strerror(EACCES))
                            ? "; this user needs x on each directory of the path (namei -l shows them)"
                            : "",
                        NULL));
}

static void warn(const fcgipm_pool_conf_t *conf, apr_pool_t *pool, const char *text)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_NOERRNO, 0, conf->server, "FPM0680: %s: <%s %s> %s",
                 place_for(conf, text, pool), fcgipm_directive_kind(conf->setting), conf->setting->name,
                 text);
}

/* The directory above `path` in which the pool's user can give things other names; NULL: there is none. */
static const char *loose_above(const fcgipm_setting_t *s, const char *path, apr_pool_t *pool)
{
    const struct passwd *pw = s->user ? getpwnam(s->user) : NULL;
    uid_t uid = pw ? pw->pw_uid : ap_unixd_config.user_id;
    char *up = apr_pstrdup(pool, path), *slash;
    struct stat st;

    for (size_t len = strlen(up); len > 1 && up[len - 1] == '/'; len--)
        up[len - 1] = '\0';
    while ((slash = strrchr(up, '/')) && slash != up) {
        *slash = '\0';
        if (look_at(s, up, &st) && (st.st_uid == uid || ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))))
            return up;
    }
    return NULL;
}

/* A wall stands at a name: who can rename what is behind it has it without a wall at his next start. */
static void check_walls(apr_pool_t *pool, const fcgipm_pool_conf_t *conf, const char *directive,
                        const apr_array_header_t *paths)
{
    for (int i = 0; paths && !conf->setting->user_from && i < paths->nelts; i++) {
        const char *path = APR_ARRAY_IDX(paths, i, const char *);
        const char *up = loose_above(conf->setting, path, pool);

        if (up)
            warn(conf, pool,
                 apr_psprintf(pool,
                              "%s %s: the application's user may rename what is in %s, and its next "
                              "process finds it without a wall; write %s, or let it belong to root",
                              directive, path, up, up));
    }
}

/* PHP's other programs do not take their requests from descriptor 0. NULL: it is none of them, or it has a
 * script of its own that may. */
static const char *wrong_php(const apr_array_header_t *command)
{
    const char *program = APR_ARRAY_IDX(command, 0, const char *), *slash = strrchr(program, '/');
    const char *name = slash ? slash + 1 : program;

    if (!strncmp(name, "php-fpm", 7))
        return "starts processes and has a socket of its own; start it by itself, and write FcgiConnect "
               "unix:/its/socket in place of FcgiCommand";
    if (!strncmp(name, "php", 3) && name[3 + strspn(name + 3, "0123456789.")] == '\0' &&
        (command->nelts == 1 || APR_ARRAY_IDX(command, 1, const char *)[0] == '-'))
        return "is PHP for the command line; write php-cgi (Debian: package php-cgi)";
    return NULL;
}

/* What is allowed and hardly meant. */
static void check_odd(apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const fcgipm_setting_t *s = conf->setting;
    const char *program = APR_ARRAY_IDX(s->command, 0, const char *), *wrong = wrong_php(s->command);
    struct stat st;

    if (wrong)
        warn(conf, pool, apr_psprintf(pool, "FcgiCommand %s: %s", program, wrong));
    if (s->no_new_privs && look_at(s, program, &st) && (st.st_mode & (S_ISUID | S_ISGID)))
        warn(conf, pool,
             apr_psprintf(pool,
                          "FcgiNoNewPrivs On: FcgiCommand %s is setuid or setgid, which then has no "
                          "effect; write Off, or take the bit away",
                          program));
    check_walls(pool, conf, "FcgiReadOnlyPaths", s->read_only);
    check_walls(pool, conf, "FcgiInaccessiblePaths", s->inaccessible);
    if (s->limit_procs != FCGIPM_NO_COUNT && !s->user && geteuid() == 0 &&
        (!s->user_from || s->user_from == FCGIPM_USER_HTTPD))
        warn(conf, pool,
             apr_pstrcat(pool,
                         "FcgiLimit procs=: counts httpd's own processes and threads too, as long as the "
                         "application runs as httpd's user; ",
                         s->user_from ? "write another FcgiUserFrom" : "write a FcgiUser of its own", NULL));
}

static void check_sendfile(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const apr_array_header_t *roots = conf->setting->sendfile;
    struct stat st;

    for (int i = 0; roots && i < roots->nelts; i++) {
        const char *root = APR_ARRAY_IDX(roots, i, const char *);

        if (stat(root, &st) < 0 || !S_ISDIR(st.st_mode))
            complain_of(check, false, pool, conf,
                        apr_psprintf(pool, "FcgiSendfile %s: there is no such directory", root));
    }
}

/* Whose the files in it are, or what its directories are called, says whom a process runs as. */
static void check_top(apr_pool_t *pool, const fcgipm_pool_conf_t *conf, const char *top)
{
    struct stat st;

    if (top && stat(top, &st) == 0 && (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH))))
        warn(conf, pool,
             apr_psprintf(pool,
                          "FcgiUserFrom: others than root may write to %s, and choose by that whom a "
                          "process runs as; chown it to root, chmod go-w",
                          top));
}

static void check_template(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const fcgipm_setting_t *s = conf->setting;
    char root[PATH_MAX];

    if (s->user_from == FCGIPM_USER_OWNER)
        check_top(pool, conf, s->user_below);
    if (s->user_from == FCGIPM_USER_PATH && s->user_path)
        check_top(pool, conf, fcgipm_owner_pattern_root(root, sizeof root, s->user_path));
    if (s->user_from && s->user_from != FCGIPM_USER_HTTPD && geteuid() != 0)
        complain_of(check, true, pool, conf,
                    "FcgiUserFrom: needs httpd to be started as root; write FcgiUserFrom Server");
}

/* --- FcgiSuexec --- */

/* From what was said to a program, and to a user: at the first look at the whole configuration, because
 * SuexecUserGroup may stand behind the block. */
static void settle_suexec(const fcgipm_pool_conf_t *conf, apr_pool_t *pconf)
{
    fcgipm_setting_t *s = conf->setting;

    if (!s->suexec)
        return;
    if (!strcasecmp(s->suexec, "Off")) {
        s->suexec = NULL;
        return;
    }
    if (!strcasecmp(s->suexec, "On"))
        s->suexec = SUEXEC_BIN;
    if (!s->user && !s->connect)
        fcgipm_directive_vhost_user(s, conf->server, pconf);
}

static const char *suexec_fault(const fcgipm_setting_t *s, apr_pool_t *pool)
{
    const char *program = APR_ARRAY_IDX(s->command, 0, const char *), *slash = strrchr(program, '/');
    const struct passwd *pw = s->user ? getpwnam(s->user) : NULL;
    const struct group *gr = s->group ? getgrnam(s->group) : NULL;
    const char *path[2] = {apr_pstrmemdup(pool, program, slash ? (apr_size_t)(slash - program) : 0), program};
    struct stat st;

    if (s->suexec[0] != '/')
        return apr_psprintf(pool, "%s: write On, Off, or the full path of suexec", s->suexec);
    if (stat(s->suexec, &st) < 0 || !(st.st_mode & S_ISUID) || st.st_uid != 0)
        return apr_psprintf(pool,
                            "there is no setuid root program %s (Debian: apache2-suexec-custom or "
                            "apache2-suexec-pristine)",
                            s->suexec);
    if (!s->user)
        return "write FcgiUser, or SuexecUserGroup in the virtual host: suexec has to know whom to become";
    for (int i = 0; pw && i < 2; i++) {
        if (lstat(path[i], &st) < 0)
            continue; /* FcgiCommand says so */
        if (S_ISLNK(st.st_mode))
            return apr_psprintf(pool, "%s is a symbolic link, which suexec refuses", path[i]);
        if (st.st_uid != pw->pw_uid || st.st_gid != (gr ? gr->gr_gid : pw->pw_gid))
            return apr_psprintf(
                pool,
                "%s does not belong to %s and its group, so suexec refuses it; write a program of "
                "the user's own, such as a script with: exec %s",
                path[i], s->user, program);
        if (st.st_mode & (S_IWGRP | S_IWOTH))
            return apr_psprintf(pool, "%s can be written by others, so suexec refuses it; chmod go-w",
                                path[i]);
    }
    return NULL;
}

static void check_suexec(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const char *fault = conf->setting->suexec && !conf->inherited ? suexec_fault(conf->setting, pool) : NULL;

    if (fault)
        complain_of(check, false, pool, conf, apr_pstrcat(pool, "FcgiSuexec: ", fault, NULL));
}

/* The socket may come later than httpd; a directory that is not there is rather a slip of the pen. */
static void check_socket(const check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const char *address = conf->setting->connect, *slash = strrchr(address, '/');
    struct stat st;

    if (check->strict && !strncmp(address, "unix:", 5) && slash && slash > address + 5 &&
        stat(apr_pstrmemdup(pool, address + 5, (apr_size_t)(slash - address - 5)), &st) < 0 &&
        errno == ENOENT)
        warn(conf, pool, apr_psprintf(pool, "FcgiConnect %s: its directory is not there (yet?)", address));
}

/* What was said and can do nothing is told, so that nobody relies on it. */
static void check_useless(apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const fcgipm_setting_t *s = conf->setting;
    const struct {
        bool said;
        const char *directive;
    } foreign[] = {
        {s->user, "FcgiUser"},
        {s->suexec, "FcgiSuexec"},
        {s->directory, "FcgiDirectory"},
        {conf->block && fcgipm_directive_line(conf->block, "FcgiProcesses") != conf->block, "FcgiProcesses"},
        {limited(s), "FcgiLimit"},
        {prioritized(s), "FcgiPriority"},
        {s->no_new_privs, "FcgiNoNewPrivs"},
        {s->root, "FcgiRoot"},
        {s->private_tmp, "FcgiPrivateTmp"},
        {listed_any(s->read_only), "FcgiReadOnlyPaths"},
        {listed_any(s->inaccessible), "FcgiInaccessiblePaths"},
        {s->env && s->env->nelts, "FcgiEnv and FcgiPassEnv"},
        {s->multiplex, "FcgiMultiplex"},
        {s->probe || s->probe_every_us, "FcgiProbe"},
        {s->recycle_requests || s->recycle_age_us || s->recycle_memory_bytes, "FcgiRecycle"},
        {s->ready, "FcgiReady"},
        {s->watch && s->watch->nelts, "FcgiWatch"},
        {s->slow_us, "FcgiSlowLog"},
        {s->cgroup.memory_max || s->cgroup.memory_high || s->cgroup.cpu_percent || s->cgroup.cpu_weight ||
             s->cgroup.pids_max || s->cgroup.io_weight,
         "FcgiCgroupLimit"}};
    const char *useless = NULL, *why = "with FcgiConnect, whose processes are not ours";

    for (size_t i = 0; s->connect && i < sizeof foreign / sizeof foreign[0]; i++)
        if (foreign[i].said)
            useless =
                apr_pstrcat(pool, useless ? useless : "", useless ? ", " : "", foreign[i].directive, NULL);
    if (!s->connect && s->multiplex && s->concurrency == 1) {
        useless = "FcgiMultiplex";
        why = "with one request at a time; write FcgiConcurrency Auto, or a number above 1";
    }
    if (!s->connect && s->suexec && s->directory) {
        useless = "FcgiDirectory";
        why = "with FcgiSuexec, which runs a program in its own directory";
    }
    if (useless)
        warn(conf, pool, apr_pstrcat(pool, useless, ": means nothing ", why, NULL));
}

/* Who may write to the directory of the socket, or rename one above, can have the requests himself. The
 * sticky bit keeps others' entries in their places, but lets anybody make one where there is none yet. */
static void check_place_of_socket(apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    const char *connect = conf->setting->connect;
    char *up = connect && !strncmp(connect, "unix:/", 6) ? apr_pstrdup(pool, connect + 5) : NULL, *slash;
    mode_t tolerated = 0;
    struct stat st;

    while (up && (slash = strrchr(up, '/')) && slash != up) {
        *slash = '\0';
        if (stat(up, &st) == 0 && (st.st_mode & S_IWOTH) && !(st.st_mode & tolerated)) {
            warn(conf, pool,
                 apr_psprintf(pool,
                              "FcgiConnect %s: anybody may write to %s, and put a socket of his in the "
                              "place of the application's; write chmod o-w, or choose another directory",
                              connect, up));
            return;
        }
        tolerated = S_ISVTX;
    }
}

typedef struct groups_check {
    check_t *check;
    const server_rec *server;
    const char *place;
} groups_check_t;

static void on_groups(void *ctx, bool fatal, const char *sentence)
{
    const groups_check_t *groups = ctx;

    if (fatal)
        complain(groups->check, false, groups->server, groups->place, sentence);
    else
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_NOERRNO, 0, groups->server, "FPM0689: %s", sentence);
}

static void check_groups(check_t *check, apr_pool_t *ptemp, const apr_array_header_t *pools,
                         const server_rec *main_server)
{
    const fcgipm_server_conf_t *conf = fcgipm_directive_server(main_server);
    groups_check_t groups = {.check = check, .server = main_server, .place = conf->cgroup_place};
    fcgipm_world_t world = {.cgroup = conf->cgroup,
                            .user_limits = conf->user_limits,
                            .pools = apr_array_make(ptemp, pools->nelts + 1, sizeof(fcgipm_world_pool_t))};

    for (int i = 0; i < pools->nelts; i++) {
        fcgipm_world_pool_t *pool = apr_array_push(world.pools);

        pool->setting = APR_ARRAY_IDX(pools, i, const fcgipm_pool_conf_t *)->setting;
    }
    fcgipm_daemon_check(&world, check->strict, on_groups, &groups);
}

/* httpd does not start without it. Only where it was written: the default's parent may not be there before a
 * start. */
static void check_runtime_dir(check_t *check, apr_pool_t *pool, const server_rec *main_server)
{
    const fcgipm_server_conf_t *conf = fcgipm_directive_server(main_server);
    fcgipm_fault_t fault;

    if (check->strict && conf->runtime_dir &&
        fcgipm_daemon_check_directory(conf->runtime_dir, &fault) != APR_SUCCESS)
        complain(check, true, main_server, conf->runtime_place,
                 apr_pstrcat(pool, "FcgiRuntimeDir: ", fault.sentence, NULL));
}

static void check_reference(check_t *check, apr_pool_t *pool, const fcgipm_reference_t *ref)
{
    if (ref->wrapper && !fcgipm_directive_allowed(ref->server, ref->pool))
        complain(check, true, ref->server, ref->place,
                 apr_psprintf(pool,
                              "FcgiWrapper \"%s\": the server's configuration does not allow it; write: "
                              "FcgiAllowWrapper \"%s\"",
                              ref->pool, ref->pool));
    if (!ref->wrapper && !fcgipm_directive_pool(ref->server, ref->pool))
        complain(check, true, ref->server, ref->place,
                 apr_psprintf(pool,
                              "%s%s: there is no <FcgiServer %s> in this virtual host or the main server",
                              ref->directive, ref->pool, ref->pool));
}

/* Each question only where the ones before have been answered well. */
static void check_pool(check_t *check, apr_pool_t *pool, const fcgipm_pool_conf_t *conf)
{
    unsigned before = check->complaints;

    check_user(check, pool, conf);
    check_sendfile(check, pool, conf);
    check_place_of_socket(pool, conf);
    if (conf->setting->connect) {
        check_socket(check, pool, conf);
        return;
    }
    check_suexec(check, pool, conf);
    if (check->complaints == before)
        check_allowed(check, pool, conf);
    if (!check_root(check, pool, conf))
        return;
    check_command(check, pool, conf);
    check_directory(check, pool, conf);
    check_slow_command(check, pool, conf);
    check_odd(pool, conf);
    if (check->complaints == before)
        check_by_trying(check, pool, conf);
}

bool fcgipm_check_config(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *main_server)
{
    const apr_array_header_t *references = fcgipm_directive_references();
    apr_array_header_t *pools = fcgipm_directive_pools(ptemp, main_server);
    check_t check = {.strict = ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST,
                     .ok = true,
                     .global = &fcgipm_directive_server(main_server)->global};

    check_runtime_dir(&check, ptemp, main_server);
    for (int i = 0; i < references->nelts; i++)
        check_reference(&check, ptemp, &APR_ARRAY_IDX(references, i, fcgipm_reference_t));
    for (int i = 0; i < pools->nelts; i++) {
        const fcgipm_pool_conf_t *conf = APR_ARRAY_IDX(pools, i, fcgipm_pool_conf_t *);

        settle_suexec(conf, pconf);
        check_useless(ptemp, conf);
        check_template(&check, ptemp, conf);
        check_pool(&check, ptemp, conf);
    }
    if (pools->nelts || fcgipm_directive_scripts())
        check_groups(&check, ptemp, pools, main_server);
    return check.ok;
}
