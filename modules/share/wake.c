/* SPDX-License-Identifier: Apache-2.0 */
#include "share/wake.h"
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* FUTEX_WAIT and not FUTEX_WAIT_PRIVATE: the sleepers are in other processes. */
void fcgipm_wake_wait(const void *address, uint32_t expected, int64_t timeout_us)
{
    if (timeout_us <= 0)
        return;
    struct timespec limit = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    (void)syscall(SYS_futex, address, FUTEX_WAIT, expected, &limit, NULL, 0);
}

void fcgipm_wake_all(const void *address)
{
    (void)syscall(SYS_futex, address, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static const int *wake_fds;
static unsigned wake_count;

void fcgipm_wake_register(const int *fds, unsigned count)
{
    wake_fds = fds;
    wake_count = fds ? count : 0;
}

static unsigned own_child;
static void (*own_ring)(void *ctx, uint32_t cell);
static void *own_ctx;

void fcgipm_wake_own(unsigned child, void (*ring)(void *ctx, uint32_t cell), void *ctx)
{
    own_child = child;
    own_ctx = ctx;
    own_ring = ring;
}

void fcgipm_wake_parked(unsigned child, uint32_t cell)
{
    if (own_ring && child == own_child)
        own_ring(own_ctx, cell);
    else
        fcgipm_wake_child(child);
}

void fcgipm_wake_child(unsigned child)
{
    if (child < wake_count && wake_fds[child] >= 0)
        while (send(wake_fds[child], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR)
            ;
}

#define BELL_BUFFER 4096 /* a few rings: one that is full has rung */
#define BELL_DRAIN  64   /* others may ring faster than we listen */

int fcgipm_wake_open(void)
{
    struct sockaddr_un self = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t); /* a name that the kernel finds, so that it can be connected to */
    int size = BELL_BUFFER, error, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&self, len) == 0) {
        len = sizeof self;
        if (getsockname(fd, (struct sockaddr *)&self, &len) == 0 &&
            connect(fd, (struct sockaddr *)&self, len) == 0)
            return fd;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* An empty datagram reads like the end of all. */
static bool is_shut(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLRDHUP};
    return poll(&pfd, 1, 0) > 0;
}

bool fcgipm_wake_heard(int fd)
{
    for (int i = 0; i < BELL_DRAIN; i++) {
        char byte;
        ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return true;
        if ((n < 0 && errno != EINTR) || (n == 0 && is_shut(fd)))
            return false;
    }
    return true;
}
