/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/memory.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pm/pidfd.h"
#include "pm/proc.h"

/* "Name:   123 kB" in bytes. */
static uint64_t field_kb(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

static void add_process(fcgipm_memory_t *m, pid_t pid)
{
    char path[64], text[2048];
    uint64_t pss, rss;

    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    if (!fcgipm_proc_read(path, text, sizeof text))
        return;
    pss = field_kb(text, "\nPss:");
    rss = field_kb(text, "\nRss:");
    m->pss += pss;
    m->bytes += m->rss ? rss : pss;
}

static int by_session(const void *a, const void *b)
{
    const fcgipm_memory_t *x = a, *y = b;

    return (x->session > y->session) - (x->session < y->session);
}

void fcgipm_memory_measure(fcgipm_memory_t *sessions, size_t count)
{
    struct dirent *entry;
    DIR *proc = opendir("/proc");

    qsort(sessions, count, sizeof *sessions, by_session);
    for (size_t i = 0; i < count; i++)
        sessions[i].bytes = sessions[i].pss = 0;
    while (proc && (entry = readdir(proc))) {
        fcgipm_memory_t key = {0}, *found;
        fcgipm_pidfd_stat_t stat;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
            !fcgipm_pidfd_stat((pid_t)atoi(entry->d_name), &stat))
            continue;
        key.session = stat.session;
        if ((found = bsearch(&key, sessions, count, sizeof *sessions, by_session)))
            add_process(found, (pid_t)atoi(entry->d_name));
    }
    if (proc)
        closedir(proc);
}

const char *fcgipm_memory_vmstat = "/proc/vmstat";

uint64_t fcgipm_memory_oom_kills(void)
{
    static char text[16384];

    return fcgipm_proc_read(fcgipm_memory_vmstat, text, sizeof text) ? field_kb(text, "\noom_kill ") / 1024
                                                                     : 0;
}
