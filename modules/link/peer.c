/* SPDX-License-Identifier: Apache-2.0 */
#include "link/peer.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

apr_status_t fcgipm_peer_open(int *fd, const fcgipm_addr_t *addr)
{
    *fd = socket(addr->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return errno;
    if (addr->family != AF_UNIX)
        (void)setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return APR_SUCCESS;
}

apr_status_t fcgipm_peer_connect(int fd, const fcgipm_addr_t *addr)
{
    if (connect(fd, &addr->u.sa, addr->len) == 0)
        return APR_SUCCESS;
    return errno == EINTR || errno == EALREADY ? APR_EINPROGRESS : errno;
}

apr_status_t fcgipm_peer_connected(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;
    if (poll(&pfd, 1, 0) <= 0)
        return APR_EINPROGRESS;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
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

int fcgipm_peer_unacked(int fd)
{
    int bytes = 0;
    return fd >= 0 && ioctl(fd, TIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

bool fcgipm_peer_refused(apr_status_t status)
{
    return status == ECONNREFUSED || status == ECONNRESET || status == ENOENT || status == EPIPE ||
           status == ECONNABORTED || status == EHOSTUNREACH || status == ENETUNREACH;
}
