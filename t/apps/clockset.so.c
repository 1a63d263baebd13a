/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's wall clock, set under a running server: for LD_PRELOAD. What gettimeofday, time and
 * clock_gettime(CLOCK_REALTIME) say is moved by the seconds in the file that CLOCKSET names, 8 bytes that may
 * change at any time. Other clocks are as they are, as in the kernel. FORKFAIL names a file of two numbers of
 * 4 bytes: a pid, and the errno with which fork() fails in that process.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *moved;
static const volatile int32_t *failing;

static const volatile void *map(const char *name)
{
    const char *path = getenv(name);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (fd >= 0)
        close(fd);
    return at == MAP_FAILED ? NULL : at;
}

__attribute__((constructor)) static void begin(void)
{
    moved = map("CLOCKSET");
    failing = map("FORKFAIL");
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    int rv = (int)syscall(SYS_clock_gettime, id, t);

    if (rv == 0 && moved && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        t->tv_sec += *moved;
    return rv;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec t;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    *tv = (struct timeval){.tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}

pid_t fork(void)
{
    static pid_t (*real)(void);

    if (failing && failing[0] == getpid() && failing[1]) {
        errno = failing[1];
        return -1;
    }
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fork");
    return real();
}
