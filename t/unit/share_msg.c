/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and orders over their sockets, right and wrong ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "share/msg.h"

static unsigned fds_open(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void requests(void **state)
{
    (void)state;
    int s[2];
    fcgipm_msg_t in,
        out = {.version = FCGIPM_MSG_VERSION, .type = FCGIPM_MSG_SCRIPT, .pool = 7, .path_len = 4};
    memcpy(out.path, "/a/b", 4);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, s), 0);
    assert_int_equal(fcgipm_msg_receive(s[1], &in), APR_EAGAIN);
    assert_int_equal(fcgipm_msg_send(s[0], &out), APR_SUCCESS);
    assert_int_equal(fcgipm_msg_receive(s[1], &in), APR_SUCCESS);
    assert_memory_equal(&in, &out, sizeof in);
    /* wrong: size, version, type, length, a NUL in the path */
    assert_int_equal(send(s[0], &out, sizeof out - 1, 0), sizeof out - 1);
    assert_int_equal(fcgipm_msg_receive(s[1], &in), APR_EINVAL);
    char large[sizeof out + 1] = {0};
    memcpy(large, &out, sizeof out);
    assert_int_equal(send(s[0], large, sizeof large, 0), sizeof large);
    assert_int_equal(fcgipm_msg_receive(s[1], &in), APR_EINVAL);
    assert_int_equal(send(s[0], large, 0, 0), 0);
    assert_int_equal(fcgipm_msg_receive(s[1], &in), APR_EINVAL);
    for (int i = 0; i < 5; i++) {
        fcgipm_msg_t bad = out;
        switch (i) {
        case 0:
            bad.version++;
            break;
        case 1:
            bad.type = 0;
            break;
        case 2:
            bad.type = FCGIPM_MSG_COUNT;
            break;
        case 3:
            bad.path_len = FCGIPM_MSG_PATH_MAX + 1;
            break;
        default:
            bad.path[2] = 0;
        }
        assert_int_equal(fcgipm_msg_send(s[0], &bad), APR_SUCCESS);
        assert_int_equal(fcgipm_msg_receive(s[1], &in), APR_EINVAL);
    }
    /* full: dropped, never blocked */
    apr_status_t rv = APR_SUCCESS;
    for (int i = 0; i < 100000 && rv == APR_SUCCESS; i++)
        rv = fcgipm_msg_send(s[0], &out);
    assert_int_equal(rv, APR_EAGAIN);
    close(s[0]);
    close(s[1]);
}

static void orders(void **state)
{
    (void)state;
    int s[2], log_fd, dev = open("/dev/null", O_WRONLY | O_CLOEXEC);
    fcgipm_order_type_t type;
    unsigned char *bytes, *got;
    size_t len, size = 3000000;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    unsigned before = fds_open();
    bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 7);
    assert_int_equal(fcgipm_order_receive(s[1], &type, &got, &len, &log_fd), APR_EAGAIN);
    for (int with_log = 0; with_log < 2; with_log++) {
        assert_int_equal(fcgipm_order_send(s[0], FCGIPM_ORDER_CONFIG, bytes, size, with_log ? dev : -1),
                         APR_SUCCESS);
        assert_int_equal(fcgipm_order_receive(s[1], &type, &got, &len, &log_fd), APR_SUCCESS);
        assert_int_equal(type, FCGIPM_ORDER_CONFIG);
        assert_int_equal(len, size);
        assert_memory_equal(got, bytes, size);
        assert_int_equal(log_fd >= 0, with_log);
        if (with_log) {
            assert_true(fcntl(log_fd, F_GETFD) & FD_CLOEXEC);
            close(log_fd);
        }
        free(got);
    }
    assert_int_equal(fcgipm_order_send(s[0], FCGIPM_ORDER_LEAVE, NULL, 0, -1), APR_SUCCESS);
    assert_int_equal(fcgipm_order_receive(s[1], &type, &got, &len, &log_fd), APR_SUCCESS);
    assert_int_equal(type, FCGIPM_ORDER_LEAVE);
    assert_null(got);
    /* not an order, and not a known type */
    assert_int_equal(send(s[0], bytes, 100, 0), 100);
    assert_int_equal(fcgipm_order_receive(s[1], &type, &got, &len, &log_fd), APR_EINVAL);
    assert_int_equal(fcgipm_order_send(s[0], (fcgipm_order_type_t)9, bytes, 10, dev), APR_SUCCESS);
    assert_int_equal(fcgipm_order_receive(s[1], &type, &got, &len, &log_fd), APR_EINVAL);
    assert_int_equal(fds_open(), before); /* whatever came was closed */
    close(s[0]);
    assert_int_equal(fcgipm_order_receive(s[1], &type, &got, &len, &log_fd), APR_EOF);
    close(s[1]);
    close(dev);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
