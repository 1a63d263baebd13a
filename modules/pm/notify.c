/* SPDX-License-Identifier: Apache-2.0 */
/* READY=1 as sd_notify(3) sends it (FcgiReady Notify). The socket has a name below the runtime directory,
 * which is root's, so that nobody can take its place; everybody may write to it, so only what the kernel says
 * of the sender counts: it must be the worker or one of its session. */
#include "pm/manager.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/log.h"
#include "pm/pidfd.h"

#define PAUSE_US 20000 /* between two looks */

bool fcgipm_notify_path(char *out, size_t cap, const char *runtime_dir)
{
    int len = snprintf(out, cap, "%s/notify", runtime_dir);

    return len > 0 && (size_t)len < cap && (size_t)len < sizeof((struct sockaddr_un *)0)->sun_path;
}

int fcgipm_notify_open(const char *runtime_dir)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

    if (fd < 0 || !fcgipm_notify_path(addr.sun_path, sizeof addr.sun_path, runtime_dir))
        goto leave;
    unlink(addr.sun_path);
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0 && chmod(addr.sun_path, 0666) == 0)
        return fd;
leave:
    FCGIPM_LOG(375, FCGIPM_LOG_ERR, APR_FROM_OS_ERROR(errno), 0,
               "cannot make %s/notify: FcgiReady Notify does not work", runtime_dir);
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool says_ready(const char *text)
{
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, "READY=1", 7) && (line[7] == '\n' || line[7] == '\0'))
            return true;
    return false;
}

static fcgipm_worker_t *sender(fcgipm_manager_t *m, pid_t pid)
{
    fcgipm_pidfd_stat_t stat;
    pid_t session = fcgipm_pidfd_stat(pid, &stat) ? stat.session : pid;

    for (uint32_t i = 0; i < m->app_end; i++)
        for (uint32_t slot = 0; m->apps[i] && slot < m->apps[i]->geometry.slot_count; slot++) {
            fcgipm_worker_t *w = &m->apps[i]->workers[slot];

            if (w->pid > 1 && (w->pid == pid || w->pid == session))
                return w;
        }
    return NULL;
}

void fcgipm_notify_read(fcgipm_manager_t *m)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    char text[1024];

    m->notify_after_us = m->now + PAUSE_US;
    for (int i = 0; i < 64; i++) {
        struct iovec iov = {.iov_base = text, .iov_len = sizeof text - 1};
        struct msghdr mh = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(m->notify_fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&mh);
        fcgipm_worker_t *w;
        struct ucred cred;

        if (n < 0)
            return;
        if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
            continue;
        memcpy(&cred, CMSG_DATA(c), sizeof cred);
        text[n] = '\0';
        if (says_ready(text) && (w = sender(m, cred.pid)))
            w->notified = true;
    }
}
