/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/ready.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/mux.h"

int fcgipm_ready_ask(const fcgipm_addr_t *addr)
{
    int fd = socket(addr->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unsigned char question[128];
    fcgipm_mux_t mux;
    size_t len;

    if (fd < 0)
        return -1;
    fcgipm_mux_init(&mux, NULL, 0);
    len = fcgipm_mux_ask_values(&mux, question, sizeof question);
    if (connect(fd, &addr->u.sa, addr->len) < 0 || send(fd, question, len, MSG_NOSIGNAL) != (ssize_t)len) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int fcgipm_ready_check(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    int unread;

    if (n >= 0 || (errno != EAGAIN && errno != EINTR))
        return 1; /* an answer, or it has closed: either way it accepted us */
    return ioctl(fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}
