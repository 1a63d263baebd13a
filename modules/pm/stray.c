/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/stray.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "pm/pidfd.h"

#define ENVIRON_MAX   65536
#define SUEXEC_PREFIX "HTTP_" /* before the marks of those who came through suexec */

void fcgipm_stray_collect(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static size_t read_environ(pid_t pid, char *out, size_t cap)
{
    char path[40];
    size_t len = 0;
    ssize_t n;
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    while (len < cap - 1 && (n = read(fd, out + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    out[len] = '\0';
    return len;
}

static bool marked(pid_t pid, const char *mark)
{
    static char text[ENVIRON_MAX];
    size_t len = read_environ(pid, text, sizeof text), want = strlen(mark);
    bool prefix = want && mark[want - 1] == ':'; /* else the last number must end there, too */
    for (size_t at = 0; at < len; at += strlen(text + at) + 1) {
        const char *entry = text + at;
        if (!strncmp(entry, SUEXEC_PREFIX, sizeof SUEXEC_PREFIX - 1))
            entry += sizeof SUEXEC_PREFIX - 1;
        if (strncmp(entry, mark, want) == 0 && (prefix || entry[want] == '\0'))
            return true;
    }
    return false;
}

static bool user_fits(const fcgipm_stray_t *what, pid_t pid)
{
    char path[40];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    if (stat(path, &st) != 0)
        return false;
    return what->any_uid ? st.st_uid != 0 || geteuid() != 0 : st.st_uid == what->uid;
}

static bool matches(const fcgipm_stray_t *what, pid_t pid, const fcgipm_pidfd_stat_t *stat)
{
    if (what->session && (stat->session == what->session || stat->pgrp == what->session) &&
        stat->start_time >= what->since)
        return true;
    if (what->parent && stat->ppid == what->parent && !(what->spare && what->spare(what->ctx, pid)))
        return true;
    return what->mark && user_fits(what, pid) && marked(pid, what->mark);
}

static bool kill_if(const fcgipm_stray_t *what, pid_t pid)
{
    fcgipm_pidfd_stat_t stat;
    if (pid <= 1 || pid == getpid() || pid == getppid() || !fcgipm_pidfd_stat(pid, &stat) ||
        stat.state == 'Z' || stat.state == 'X' || !matches(what, pid, &stat))
        return false;
    if (what->spare && what->spare(what->ctx, pid))
        return false;
    int fd = fcgipm_pidfd_find(pid, stat.start_time);
    if (fd < 0)
        return false;
    bool killed = fcgipm_pidfd_kill(fd, SIGKILL) == 0;
    close(fd);
    return killed;
}

unsigned fcgipm_stray_kill(const fcgipm_stray_t *what)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *proc = opendir("/proc");
    if (!proc)
        return 0;
    while ((entry = readdir(proc)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            count += kill_if(what, (pid_t)atoi(entry->d_name));
    closedir(proc);
    return count;
}
