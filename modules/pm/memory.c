/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/memory.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pm/pidfd.h"
#include "pm/proc.h"
#include "pm/scout.h"

/* "Name:   123 kB" in bytes. */
static uint64_t field_kb(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoull(at + strlen(name), NULL, 10) * 1024 : 0;
}

typedef struct share {
    uint64_t pss, rss;
    bool told;
} share_t;

/* For a scout: whoever reads it can be kept waiting. */
static void ask_share(const void *ctx, pid_t pid, void *answer)
{
    share_t *share = answer;
    char text[2048];

    (void)ctx;
    if (!fcgipm_scout_file(pid, "smaps_rollup", text, sizeof text))
        return;
    *share = (share_t){.pss = field_kb(text, "\nPss:"), .rss = field_kb(text, "\nRss:"), .told = true};
}

/* What the kernel has counted anyway; what is shared with others is in it. */
static share_t count_pages(pid_t pid)
{
    char text[256];
    const char *at = fcgipm_scout_file(pid, "statm", text, sizeof text) ? strchr(text, ' ') : NULL;
    uint64_t bytes = at ? strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;

    return (share_t){.pss = bytes, .rss = bytes};
}

static int by_session(const void *a, const void *b)
{
    const fcgipm_memory_t *x = a, *y = b;

    return (x->session > y->session) - (x->session < y->session);
}

typedef struct members {
    pid_t *pids;
    fcgipm_memory_t **of;
    size_t count, room;
} members_t;

static void add_member(members_t *m, pid_t pid, fcgipm_memory_t *session)
{
    if (m->count == m->room) {
        size_t room = m->room ? m->room * 2 : 256;
        pid_t *pids = realloc(m->pids, room * sizeof *pids);
        fcgipm_memory_t **of;

        if (!pids)
            return;
        m->pids = pids;
        if (!(of = realloc(m->of, room * sizeof(fcgipm_memory_t *))))
            return;
        m->of = of;
        m->room = room;
    }
    m->pids[m->count] = pid;
    m->of[m->count++] = session;
}

static void add_up(members_t *m)
{
    share_t *shares = m->count ? malloc(m->count * sizeof *shares) : NULL;

    if (shares)
        fcgipm_scout_send(m->pids, m->count, ask_share, NULL, shares, sizeof *shares);
    for (size_t i = 0; shares && i < m->count; i++) {
        share_t share = shares[i].told ? shares[i] : count_pages(m->pids[i]);

        m->of[i]->pss += share.pss;
        m->of[i]->bytes += m->of[i]->rss ? share.rss : share.pss;
    }
    free(shares);
    free(m->pids);
    free(m->of);
}

void fcgipm_memory_measure(fcgipm_memory_t *sessions, size_t count)
{
    members_t members = {0};
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
            add_member(&members, (pid_t)atoi(entry->d_name), found);
    }
    if (proc)
        closedir(proc);
    add_up(&members);
}

const char *fcgipm_memory_vmstat = "/proc/vmstat";

uint64_t fcgipm_memory_oom_kills(void)
{
    static char text[16384];

    return fcgipm_proc_read(fcgipm_memory_vmstat, text, sizeof text) ? field_kb(text, "\noom_kill ") / 1024
                                                                     : 0;
}
