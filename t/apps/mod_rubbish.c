/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module of httpd that has been taken over (t/89-hostile-child.t): in one child, as httpd's user, it does
 * what that user's rights allow to the shared memory and the channels of mod_fcgipm.
 *
 *   do=board&like=random|ones|zeros|small|states|pids
 *              s=N seconds of writing over the whole board, again and again
 *   do=messages  s=N seconds of datagrams on every datagram socket that the child holds
 *   do=bells     whatever rings for another process is full, and set to block whoever rings
 *   do=locks     the rows of all children that are still to come are taken, and their file is to be filled
 *   do=look&dir= what the child can reach of the manager's, one line each
 *   do=die       the child ends at once
 *
 * pids=N,N,... are written (like=pids), and asked for in messages.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <apr_strings.h>

#include "share/layout.h"

static const char *arg(request_rec *r, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = r->args; at && *at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL)
        if (!strncmp(at, name, len) && at[len] == '=')
            return apr_pstrmemdup(r->pool, at + len + 1, strcspn(at + len + 1, "&"));
    return "";
}

static uint64_t seed = 88172645463325252ull;

static uint64_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static unsigned pids[64], pid_count;

static void read_pids(const char *text)
{
    for (pid_count = 0; *text && pid_count < 64; text += strcspn(text, ","), text += *text == ',')
        pids[pid_count++] = (unsigned)strtoul(text, NULL, 10);
}

/* --- the board --- */

static volatile uint64_t *board(size_t *words)
{
    unsigned long from, to;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    volatile uint64_t *found = NULL;

    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:fcgipm-board") && sscanf(line, "%lx-%lx rw", &from, &to) == 2) {
            found = (volatile uint64_t *)from;
            *words = (to - from) / 8;
        }
    if (maps)
        fclose(maps);
    return found;
}

static uint64_t word_like(const char *like)
{
    uint64_t x = any();

    switch (like[0]) {
    case 'o':
        return ~0ull;
    case 'z':
        return 0;
    case 'p':
        return pid_count ? (uint64_t)pids[x % pid_count] << 32 | pids[(x >> 20) % pid_count] : 0;
    case 's':
        if (like[1] == 'm')
            return (x & 7) << 32 | (x >> 8 & 7);
        /* a seat's, a cell's, or a pair of numbers, each as it might be */
        return x & 1   ? (x >> 8) % 5 << 56 | (x >> 16) % 16 << 40 | (x & 0xffff)
               : x & 2 ? (x >> 4 & 1) << 63 | (x >> 8) % 3 << 60 | (x >> 16) % 16 << 44 |
                             (x >> 24) % 64 << 24 | (x & 0xff)
                       : (x >> 8) % 6 << 32 | (x >> 16) % 64;
    default:
        return x;
    }
}

static const char *rubbish(request_rec *r, const char *like, long s)
{
    time_t end = time(NULL) + s;
    size_t words, rounds = 0;
    volatile uint64_t *at = board(&words);

    if (!at)
        return "no board";
    for (; time(NULL) < end; rounds++)
        for (size_t i = 0; i < words; i++)
            at[i] = word_like(like);
    return apr_psprintf(r->pool, "%lu words %lu times", (unsigned long)words, (unsigned long)rounds);
}

/* --- messages --- */

typedef struct message {
    uint32_t version, type, pool, slot, generation, path_len, ms;
    char path[1024];
} message_t;

static int is_datagram(int fd)
{
    int type = 0;
    socklen_t len = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM;
}

static void odd_message(message_t *m)
{
    static const char *const paths[] = {"/bin/sh", "/etc/passwd",  "/proc/self/exe", "/",
                                        "",        "../../bin/sh", "/dev/stdin"};
    static const uint32_t numbers[] = {0,    1,     2,     3,     255,        1791,        1792,       2047,
                                       2048, 16383, 16384, 65535, 0x7fffffff, 0x80000000u, 0xffffffffu};
    const size_t count = sizeof numbers / sizeof *numbers;

    m->version = any() % 16 ? 2 : (uint32_t)any();
    m->type = (uint32_t)(any() % 8);
    m->pool = any() % 2 ? (uint32_t)(any() % 4) : numbers[any() % count];
    m->slot = any() % 2 ? (uint32_t)(any() % 4) : numbers[any() % count];
    m->generation = any() % 2   ? (uint32_t)(any() % 8)
                    : pid_count ? pids[any() % pid_count]
                                : numbers[any() % count];
    m->ms = numbers[any() % count];
    if (any() % 2) {
        memset(m->path, 0, sizeof m->path);
        strcpy(m->path, paths[any() % (sizeof paths / sizeof *paths)]);
        m->path_len = (uint32_t)strlen(m->path);
    } else {
        for (size_t i = 0; i < sizeof m->path; i++)
            m->path[i] = (char)any();
        m->path_len = any() % 2 ? sizeof m->path : numbers[any() % count];
    }
}

static const char *messages(request_rec *r, long s)
{
    time_t end = time(NULL) + s;
    static message_t m[4];
    size_t sent = 0;

    while (time(NULL) < end)
        for (int fd = 3; fd < 1024; fd++) {
            if (!is_datagram(fd))
                continue;
            for (int i = 0; i < 64; i++) {
                odd_message(m);
                size_t len = any() % 4 ? sizeof *m : any() % sizeof m;
                sent += send(fd, m, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
            }
        }
    return apr_psprintf(r->pool, "%lu sent", (unsigned long)sent);
}

/* --- bells --- */

static int is_eventfd(int fd)
{
    char path[40], target[64] = "";

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof target - 1) > 0 && strstr(target, "[eventfd]");
}

static const char *bells(request_rec *r)
{
    uint64_t much = 0xfffffffffffffffeull;
    fcgipm_board_t *seen;
    size_t words;
    int count = 0;

    /* Somebody waits everywhere, of children that there are not: nobody empties their bells. */
    if ((seen = (fcgipm_board_t *)(uintptr_t)board(&words))) {
        for (unsigned i = 0; i < 16384; i++)
            seen->cell[i] = 1ull << 63 | 1ull << 60 | (uint64_t)(i % 8 + 6) << 44 | i;
        for (unsigned i = 0; i < 16; i++)
            seen->pool[i].joins = 1;
    }
    for (int fd = 3; fd < 1024; fd++) {
        if (!is_eventfd(fd) && !is_datagram(fd))
            continue;
        count++;
        if (is_eventfd(fd)) {
            uint64_t had;
            (void)!read(fd, &had, sizeof had);
            (void)!write(fd, &much, sizeof much);
        } else {
            while (send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
                ;
        }
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    }
    return apr_psprintf(r->pool, "%d bells", count);
}

/* --- rows --- */

static const char *locks(request_rec *r)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[40], target[64], bytes[4096] = "";
    int taken = 0, written = 0;

    for (int fd = 3; fd < 1024; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        memset(target, 0, sizeof target);
        if (readlink(path, target, sizeof target - 1) <= 0 || !strstr(target, "memfd:fcgipm-children"))
            continue;
        for (all.l_start = 0, all.l_len = 1; all.l_start < 1024; all.l_start++)
            taken += fcntl(fd, F_SETLK, &all) == 0;
        written += ftruncate(fd, 1 << 30) == 0;
        written += write(fd, bytes, sizeof bytes) > 0;
    }
    return apr_psprintf(r->pool, "%d taken %d written", taken, written);
}

/* --- looking around --- */

static const char *tried(request_rec *r, const char *said, const char *what, const char *of, int ok)
{
    return apr_psprintf(r->pool, "%s%s %s %d\n", said, what, of, ok ? 0 : errno);
}

static const char *look(request_rec *r, const char *dir)
{
    static const char *const files[] = {"registry", "control", "notify"};
    const char *said = "";
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char path[300], line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    DIR *list;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        int fd, sock = socket(AF_UNIX, SOCK_STREAM, 0);

        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        fd = open(path, O_RDWR);
        said = tried(r, said, "open", files[i], fd >= 0);
        memcpy(to.sun_path, path, strlen(path) < sizeof to.sun_path ? strlen(path) + 1 : 0);
        said = tried(r, said, "connect", files[i], connect(sock, (struct sockaddr *)&to, sizeof to) == 0);
        said = tried(r, said, "unlink", files[i], unlink(path) == 0);
        close(sock);
    }
    list = opendir(dir);
    said = tried(r, said, "list", "dir", list != NULL);
    snprintf(path, sizeof path, "%s/p0/s0.out", dir);
    said = tried(r, said, "open", "output", open(path, O_RDONLY | O_NONBLOCK) >= 0);
    for (unsigned i = 0; i < pid_count; i++) {
        char number[16];

        snprintf(number, sizeof number, "%u", pids[i]);
        said = tried(r, said, "kill", number, kill((pid_t)pids[i], SIGTERM) == 0);
        snprintf(path, sizeof path, "/proc/%u/fd", pids[i]);
        said = tried(r, said, "fd", number, opendir(path) != NULL);
        snprintf(path, sizeof path, "/proc/%u/mem", pids[i]);
        said = tried(r, said, "mem", number, open(path, O_RDWR) >= 0);
    }
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "registry") || strstr(line, "memfd:"))
            said = apr_pstrcat(r->pool, said, "map ", strchr(line, '/'), NULL);
    for (int fd = 3; fd < 1024; fd++) {
        char target[300] = "";

        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) > 0 &&
            (strstr(target, "registry") || strstr(target, "memfd:")))
            said = apr_pstrcat(r->pool, said, "descriptor ", target, "\n", NULL);
    }
    return said;
}

static int handler(request_rec *r)
{
    const char *what = arg(r, "do"), *said = "?";
    long s = strtol(arg(r, "s"), NULL, 10);

    if (!r->handler || strcmp(r->handler, "rubbish"))
        return DECLINED;
    read_pids(arg(r, "pids"));
    if (!strcmp(what, "die"))
        raise(SIGKILL);
    if (!strcmp(what, "board"))
        said = rubbish(r, arg(r, "like"), s);
    else if (!strcmp(what, "messages"))
        said = messages(r, s);
    else if (!strcmp(what, "bells"))
        said = bells(r);
    else if (!strcmp(what, "locks"))
        said = locks(r);
    else if (!strcmp(what, "look"))
        said = look(r, arg(r, "dir"));
    ap_set_content_type(r, "text/plain");
    ap_rprintf(r, "child %d %s\n", (int)getpid(), said);
    return OK;
}

static void hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(rubbish) = {STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks, 0};
