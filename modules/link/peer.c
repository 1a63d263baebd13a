/* SPDX-License-Identifier: Apache-2.0 */
#include "link/peer.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>
#include <apr_time.h>

#define CONNECT_DEFAULT_US 10000000

static apr_status_t connect_finish(int fd, int64_t until_us)
{
    for (;;) {
        int64_t left_us = until_us - apr_time_now();
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
        if (left_us <= 0)
            return ETIMEDOUT;
        int n = poll(&pfd, 1, (int)(left_us / 1000) + 1);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            int error = 0;
            socklen_t len = sizeof error;
            return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
        }
    }
}

static apr_status_t connect_limited(int fd, const fcgipm_addr_t *addr, int64_t until_us)
{
    int64_t pause_us = 500;
    for (;;) {
        if (connect(fd, &addr->u.sa, addr->len) == 0)
            return APR_SUCCESS;
        if (errno == EINPROGRESS || errno == EINTR || errno == EALREADY)
            return connect_finish(fd, until_us);
        if (errno != EAGAIN)
            return errno;
        /* A unix socket's backlog is full; there is nothing that poll() could wait for. */
        if (apr_time_now() + pause_us >= until_us)
            return ETIMEDOUT;
        nanosleep(&(struct timespec){.tv_nsec = pause_us * 1000}, NULL);
        pause_us = pause_us < 8000 ? pause_us * 2 : pause_us;
    }
}

apr_status_t fcgipm_peer_connect(int *fd, const fcgipm_addr_t *addr, int64_t limit_us)
{
    int64_t until_us = apr_time_now() + (limit_us > 0 ? limit_us : CONNECT_DEFAULT_US);
    int s = socket(addr->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *fd = -1;
    if (s < 0)
        return errno;
    if (addr->family != AF_UNIX)
        (void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    apr_status_t rv = connect_limited(s, addr, until_us);
    if (rv != APR_SUCCESS) {
        close(s);
        return rv;
    }
    *fd = s;
    return APR_SUCCESS;
}

bool fcgipm_peer_silent(int fd)
{
    char byte;
    ssize_t n;
    do
        n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 && errno == EAGAIN;
}

bool fcgipm_peer_refused(apr_status_t status)
{
    return status == ECONNREFUSED || status == ECONNRESET || status == ENOENT || status == EPIPE ||
           status == ECONNABORTED || status == EHOSTUNREACH || status == ENETUNREACH;
}
