/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/hierarchy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CGROUP2_MAGIC 0x63677270

/* The hierarchy of version 2, also the one beside those of version 1 ("unified"). */
static bool find_mount(char *root, char *point)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[1024];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f))
        found = strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %255s %255s", root, point) == 2;
    if (f)
        fclose(f);
    return found;
}

static bool find_own(char *path, size_t cap)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[1024];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f))
        if (!strncmp(line, "0::/", 4)) {
            line[strcspn(line, "\n")] = '\0';
            if ((found = strlen(line + 3) < cap && !strstr(line, "/../")))
                memcpy(path, line + 3, strlen(line + 3) + 1);
        }
    if (f)
        fclose(f);
    return found;
}

/* systemd's own mark of what it leaves to others. */
static bool delegated(const char *dir)
{
    char value = 0;

    return (getxattr(dir, "trusted.delegate", &value, 1) == 1 ||
            getxattr(dir, "user.delegate", &value, 1) == 1) &&
           value == '1';
}

static bool under_systemd(void)
{
    struct stat st;

    return lstat("/run/systemd/system", &st) == 0 && S_ISDIR(st.st_mode);
}

/* httpd's group; or the one above it, where httpd has been put aside in it (by us, or by systemd's
 * DelegateSubgroup=), so that ours are beside httpd and not in it. */
static bool find_own_dir(fcgipm_hierarchy_base_t *base)
{
    char root[256], path[512], parent[512], *slash;
    size_t skip;

    if (!find_mount(root, base->mount) || !find_own(path, sizeof path))
        return false;
    skip = strcmp(root, "/") ? strlen(root) : 0;
    if (skip && (strncmp(path, root, skip) || (path[skip] && path[skip] != '/')))
        return false;
    if ((size_t)snprintf(base->dir, sizeof base->dir, "%s%s", base->mount, path + skip) >= sizeof base->dir)
        return false;
    if ((slash = strrchr(base->dir, '/')) && slash[1] == '\0' && slash > base->dir)
        *slash = '\0';
    snprintf(parent, sizeof parent, "%s", base->dir);
    if (!(slash = strrchr(parent, '/')) || strlen(base->dir) <= strlen(base->mount))
        return true;
    *slash = '\0';
    if (!strcmp(slash + 1, FCGIPM_HIERARCHY_HTTPD) || (!delegated(base->dir) && delegated(parent)))
        snprintf(base->dir, sizeof base->dir, "%s", parent);
    return true;
}

static apr_status_t find_auto(const fcgipm_hierarchy_base_t *base, fcgipm_fault_t *fault)
{
    char path[600];

    if (under_systemd() && !delegated(base->dir))
        return fcgipm_fault_set(fault, APR_EINVAL, "control groups",
                                "systemd has not delegated %.150s; write Delegate=yes into httpd's unit",
                                base->dir);
    snprintf(path, sizeof path, "%s/cgroup.kill", base->dir);
    if (access(path, F_OK) < 0)
        return fcgipm_fault_set(
            fault, APR_EINVAL, "control groups",
            "%.150s has no cgroup.kill: the kernel is too old, or it is the hierarchy's root", base->dir);
    if (access(base->dir, W_OK) < 0)
        return fcgipm_fault_set(fault, APR_EINVAL, "control groups", "%.150s cannot be written", base->dir);
    return APR_SUCCESS;
}

/* Whoever owns a group, or may write to its list of processes, moves those of others out of it and in again,
 * and says what their limits are: a delegated one is its user's. */
static apr_status_t check_owner(const fcgipm_hierarchy_base_t *base, fcgipm_fault_t *fault)
{
    static const char *const files[] = {"", "/cgroup.procs", "/cgroup.subtree_control"};
    char path[600];
    struct stat st;

    for (size_t i = 0; geteuid() == 0 && i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s%s", base->dir, files[i]);
        if (stat(path, &st) == 0 && (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH))))
            return fcgipm_fault_set(fault, APR_EACCES, "control groups",
                                    "others than root may write to %.180s; choose a group that is root's",
                                    path);
    }
    return APR_SUCCESS;
}

static bool same_dir(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static apr_status_t find_path(fcgipm_hierarchy_base_t *base, const char *path, fcgipm_fault_t *fault)
{
    struct statfs fs;

    base->own = find_own_dir(base) && same_dir(base->dir, path);
    if (strlen(path) >= sizeof base->dir)
        return fcgipm_fault_set(fault, APR_EINVAL, "control groups", "the path is too long");
    snprintf(base->dir, sizeof base->dir, "%s", path);
    if (statfs(path, &fs) < 0)
        return fcgipm_fault_set(fault, APR_EINVAL, "control groups", "%.150s: %s", path, strerror(errno));
    if ((unsigned long)fs.f_type != CGROUP2_MAGIC)
        return fcgipm_fault_set(
            fault, APR_EINVAL, "control groups",
            "%.150s is not in a cgroup v2 hierarchy; `mount -t cgroup2` says where one is", path);
    return APR_SUCCESS;
}

static apr_status_t find(fcgipm_hierarchy_base_t *base, const char *text, fcgipm_fault_t *fault)
{
    memset(base, 0, sizeof *base);
    if (text && !strcasecmp(text, "Off"))
        return fcgipm_fault_set(fault, APR_ENOTIMPL, "control groups", "FcgiCgroup Off");
    base->strict = text && strcasecmp(text, "Auto");
    if (text && text[0] == '/')
        return find_path(base, text, fault);
    if (!find_own_dir(base))
        return fcgipm_fault_set(
            fault, APR_EINVAL, "control groups",
            "there is no cgroup v2 hierarchy here, or httpd is not in what is mounted of it");
    base->own = true;
    return base->strict ? APR_SUCCESS : find_auto(base, fault);
}

apr_status_t fcgipm_hierarchy_find(fcgipm_hierarchy_base_t *base, const char *text, fcgipm_fault_t *fault)
{
    apr_status_t rv = find(base, text, fault);

    return rv == APR_SUCCESS ? check_owner(base, fault) : rv;
}
