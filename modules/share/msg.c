/* SPDX-License-Identifier: Apache-2.0 */
#include "share/msg.h"
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- requests ---- */

apr_status_t fcgipm_msg_send(int fd, const fcgipm_msg_t *msg)
{
    ssize_t n;
    do
        n = send(fd, msg, sizeof *msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof *msg)
        return APR_SUCCESS;
    if (n >= 0)
        return APR_EGENERAL;
    return errno == EAGAIN || errno == ENOBUFS ? APR_EAGAIN : errno;
}

static bool msg_ok(const fcgipm_msg_t *msg)
{
    return msg->version == FCGIPM_MSG_VERSION && msg->type >= FCGIPM_MSG_NEED &&
           msg->type < FCGIPM_MSG_COUNT && msg->path_len <= FCGIPM_MSG_PATH_MAX &&
           memchr(msg->path, 0, msg->path_len) == NULL;
}

/* recv and not recvmsg: descriptors that a hostile child attaches are dropped by the kernel. */
apr_status_t fcgipm_msg_receive(int fd, fcgipm_msg_t *msg)
{
    ssize_t n;
    do
        n = recv(fd, msg, sizeof *msg, MSG_DONTWAIT | MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? APR_EAGAIN : errno;
    return n == (ssize_t)sizeof *msg && msg_ok(msg) ? APR_SUCCESS : APR_EINVAL;
}

/* ---- orders ---- */

#define ORDER_MAGIC     0x66706d4fu
#define ORDER_LIMIT_US  2000000
#define ORDER_BYTES_MAX (256u << 20)

typedef struct order_head {
    uint32_t magic, version, type, has_bytes, has_log, pad;
    uint64_t len;
} order_head_t;

static int64_t monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static apr_status_t write_all(int fd, const unsigned char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        bytes += n;
        len -= (size_t)n;
    }
    return APR_SUCCESS;
}

/* The bytes in a file without a name: a configuration may be larger than a socket's buffer. */
static apr_status_t bytes_file(int *file, const unsigned char *bytes, size_t len)
{
    *file = memfd_create("fcgipm-world", MFD_CLOEXEC);
    if (*file < 0)
        return errno;
    apr_status_t rv = write_all(*file, bytes, len);
    if (rv != APR_SUCCESS) {
        close(*file);
        *file = -1;
    }
    return rv;
}

static apr_status_t send_limited(int fd, const struct msghdr *mh, size_t len)
{
    int64_t until_us = monotonic_us() + ORDER_LIMIT_US;
    for (;;) {
        ssize_t n = sendmsg(fd, mh, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            return (size_t)n == len ? APR_SUCCESS : APR_EGENERAL;
        if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
            return errno;
        int64_t left_us = until_us - monotonic_us();
        if (left_us <= 0)
            return APR_TIMEUP;
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
        (void)poll(&pfd, 1, (int)(left_us / 1000) + 1);
    }
}

apr_status_t fcgipm_order_send(int fd, fcgipm_order_type_t type, const unsigned char *bytes, size_t len,
                               int log_fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    int fds[2], file = -1;
    unsigned count = 0;
    if (len > ORDER_BYTES_MAX)
        return APR_EINVAL;
    if (bytes) {
        apr_status_t rv = bytes_file(&file, bytes, len);
        if (rv != APR_SUCCESS)
            return rv;
        fds[count++] = file;
    }
    if (log_fd >= 0)
        fds[count++] = log_fd;
    order_head_t head = {.magic = ORDER_MAGIC,
                         .version = FCGIPM_MSG_VERSION,
                         .type = type,
                         .has_bytes = bytes != NULL,
                         .has_log = log_fd >= 0,
                         .len = bytes ? len : 0};
    struct iovec iov = {&head, sizeof head};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count) {
        memset(&control, 0, sizeof control);
        mh.msg_control = control.room;
        mh.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&mh);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
    }
    apr_status_t rv = send_limited(fd, &mh, sizeof head);
    if (file >= 0)
        close(file);
    return rv;
}

/* Take the descriptors out of a message; any that do not fit are closed by the kernel. */
static unsigned rights_take(struct msghdr *mh, int fds[2])
{
    unsigned count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int got;
            memcpy(&got, CMSG_DATA(c) + i * sizeof got, sizeof got);
            if (count < 2)
                fds[count++] = got;
            else
                close(got);
        }
    }
    return count;
}

static apr_status_t bytes_read(int file, uint64_t len, unsigned char **bytes)
{
    struct stat st;
    if (len > ORDER_BYTES_MAX || fstat(file, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != len)
        return APR_EINVAL;
    unsigned char *at = malloc(len ? (size_t)len : 1);
    if (!at)
        return APR_ENOMEM;
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(file, at + done, (size_t)len - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(at);
            return n < 0 ? errno : APR_EINVAL;
        }
        done += (size_t)n;
    }
    *bytes = at;
    return APR_SUCCESS;
}

static bool order_ok(const order_head_t *head, ssize_t n, const struct msghdr *mh, unsigned count)
{
    return n == (ssize_t)sizeof *head && !(mh->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
           head->magic == ORDER_MAGIC && head->version == FCGIPM_MSG_VERSION &&
           head->type >= FCGIPM_ORDER_CONFIG && head->type <= FCGIPM_ORDER_RETIRE && head->has_bytes <= 1 &&
           head->has_log <= 1 && count == head->has_bytes + head->has_log;
}

apr_status_t fcgipm_order_receive(int fd, fcgipm_order_type_t *type, unsigned char **bytes, size_t *len,
                                  int *log_fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    order_head_t head;
    struct iovec iov = {&head, sizeof head};
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    int fds[2] = {-1, -1};
    ssize_t n;
    *bytes = NULL;
    *len = 0;
    *log_fd = -1;
    do
        n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? APR_EAGAIN : errno;
    if (n == 0)
        return APR_EOF;
    unsigned count = rights_take(&mh, fds);
    apr_status_t rv = order_ok(&head, n, &mh, count) ? APR_SUCCESS : APR_EINVAL;
    if (rv == APR_SUCCESS && head.has_bytes)
        rv = bytes_read(fds[0], head.len, bytes);
    int log_at = rv == APR_SUCCESS && head.has_log ? (int)head.has_bytes : -1;
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0 && i != log_at)
            close(fds[i]);
    if (rv != APR_SUCCESS)
        return rv;
    *type = (fcgipm_order_type_t)head.type;
    *len = *bytes ? (size_t)head.len : 0;
    if (log_at >= 0)
        *log_fd = fds[log_at];
    return APR_SUCCESS;
}
