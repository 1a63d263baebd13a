/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/lack.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "core/log.h"

#define AGAIN_US   1000000  /* between two tries */
#define QUIET_US   10000000 /* nothing was lacking for so long: it is over */
#define TELL_US    60000000 /* between two lines */
#define RESERVE    16       /* descriptors that no start takes */
#define RESERVE_OF 4        /* ... and no more than this part of all */

bool fcgipm_lack_is(apr_status_t rv)
{
    return rv == EMFILE || rv == ENFILE || rv == ENOMEM || rv == ENOBUFS || rv == EAGAIN;
}

/* The lowest that is free is taken: below a high one none is. */
bool fcgipm_lack_of_descriptors(int fd)
{
    struct rlimit most;
    rlim_t reserve;

    if (getrlimit(RLIMIT_NOFILE, &most) != 0 || most.rlim_cur == RLIM_INFINITY)
        return false;
    reserve = most.rlim_cur / RESERVE_OF < RESERVE ? most.rlim_cur / RESERVE_OF : RESERVE;
    return fd >= 0 && (rlim_t)fd >= most.rlim_cur - reserve;
}

void fcgipm_lack_note(fcgipm_manager_t *m, const char *for_what, apr_status_t rv)
{
    if (!m->lack_since_us)
        m->lack_since_us = m->now;
    m->lack_us = m->now;
    m->lack_until_us = m->now + AGAIN_US;
    if (m->lack_told_us && m->now - m->lack_told_us < TELL_US)
        return;
    m->lack_told_us = m->now;
    m->lack_told = true;
    FCGIPM_LOG(
        450, FCGIPM_LOG_ERR, 0, 0,
        "the manager itself lacks %s %s (%s): what runs goes on, nothing is held against an application, "
        "and it tries again each second%s",
        rv == EMFILE || rv == ENFILE ? "descriptors"
        : rv == EAGAIN               ? "processes that it may have"
                                     : "memory",
        for_what, strerror(rv),
        rv == EMFILE ? "; raise the limit of open files of httpd's parent (ulimit -Hn, LimitNOFILE=)" : "");
}

void fcgipm_lack_end(fcgipm_manager_t *m)
{
    if (m->lack_told)
        FCGIPM_LOG(451, FCGIPM_LOG_NOTICE, 0, 0, "the manager has what it needs again, after %d s",
                   (int)((m->now - m->lack_since_us) / 1000000));
    m->lack_told = false;
    m->lack_since_us = m->lack_us = m->lack_until_us = 0;
}

int64_t fcgipm_lack_tend(fcgipm_manager_t *m)
{
    if (!m->lack_since_us)
        return INT64_MAX;
    if (m->now - m->lack_us < QUIET_US)
        return m->lack_us + QUIET_US;
    fcgipm_lack_end(m);
    return INT64_MAX;
}
