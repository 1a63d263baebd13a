/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For LD_PRELOAD: while the file that SLOWLINGER names begins with 1, a thread of httpd that reads from a
 * client takes 50 ms, and one that has never read (the event MPM's listener) takes 300 ms to close a
 * connection. So what the listener saw at the begin of a look is not true any more at its end.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <apr_network_io.h>

static const volatile char *slow;
static _Thread_local bool reads;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SLOWLINGER");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (fd >= 0)
        close(fd);
    slow = at == MAP_FAILED ? NULL : at;
}

static void take(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000};

    if (slow && *slow == '1')
        nanosleep(&t, NULL);
}

apr_status_t apr_socket_recv(apr_socket_t *s, char *buf, apr_size_t *len)
{
    static apr_status_t (*real)(apr_socket_t *, char *, apr_size_t *);

    reads = true;
    take(50);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "apr_socket_recv");
    return real(s, buf, len);
}

apr_status_t apr_socket_close(apr_socket_t *s)
{
    static apr_status_t (*real)(apr_socket_t *);

    if (!reads)
        take(300);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "apr_socket_close");
    return real(s);
}
