/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process whose memory nobody can look at: it holds the lock of its own address space for ever, by reading
 * (as /proc/self/mem, which does not let go of the lock meanwhile) a page of a file system of its own that
 * never answers, with a writer queued behind. No rights are needed for it. argv[1]: /dev/fuse. It says "held"
 * when that is so.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        exit(2);
    close(fd);
}

static void reply(int fd, uint64_t id, const void *data, size_t len, int error)
{
    char bytes[512];
    struct fuse_out_header head = {.len = (uint32_t)(sizeof head + len), .error = -error, .unique = id};

    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, data, len);
    if (write(fd, bytes, sizeof head + len) < 0)
        perror("reply");
}

static struct fuse_attr attributes(uint64_t inode)
{
    return (struct fuse_attr){.ino = inode,
                              .size = 4096,
                              .blocks = 8,
                              .nlink = 1,
                              .blksize = 4096,
                              .mode = inode == 1 ? S_IFDIR | 0755 : S_IFREG | 0644};
}

static _Noreturn void serve(int fd, int told_fd, unsigned seconds)
{
    static char bytes[1 << 17];
    const struct fuse_in_header *head = (void *)bytes;

    alarm(seconds);
    for (;;) {
        if (read(fd, bytes, sizeof bytes) < 0) {
            if (errno != EINTR && errno != ENOENT)
                _exit(0);
            continue;
        }
        switch (head->opcode) {
        case FUSE_INIT: {
            struct fuse_init_out out = {.major = 7, .minor = 31, .max_write = 4096};
            reply(fd, head->unique, &out, sizeof out, 0);
            break;
        }
        case FUSE_LOOKUP: {
            struct fuse_entry_out out = {
                .nodeid = 2, .entry_valid = 100, .attr_valid = 100, .attr = attributes(2)};
            reply(fd, head->unique, &out, sizeof out, 0);
            break;
        }
        case FUSE_GETATTR: {
            struct fuse_attr_out out = {.attr_valid = 100, .attr = attributes(head->nodeid)};
            reply(fd, head->unique, &out, sizeof out, 0);
            break;
        }
        case FUSE_OPEN: {
            struct fuse_open_out out = {.fh = 1};
            reply(fd, head->unique, &out, sizeof out, 0);
            break;
        }
        case FUSE_READ: /* never answered */
            if (write(told_fd, "r", 1) < 0)
                _exit(1);
            break;
        case FUSE_INTERRUPT:
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
            break;
        default:
            reply(fd, head->unique, "", 0, ENOSYS);
        }
    }
}

static char *page;

static void *hold(void *unused)
{
    char byte;
    int fd = open("/proc/self/mem", O_RDONLY);

    (void)unused;
    if (pread(fd, &byte, 1, (off_t)(uintptr_t)page) < 0)
        perror("pread");
    return NULL;
}

static void *queue(void *unused)
{
    for (;;)
        munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
    return unused;
}

int main(int argc, char **argv)
{
    char map[64], options[128], byte;
    unsigned uid = geteuid(), gid = getegid();
    int told[2], file, fd;
    pthread_t holder, queuer;

    if (argc < 3 || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || pipe(told) < 0)
        return 2;
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", uid);
    put("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1", gid);
    put("/proc/self/gid_map", map);
    if ((fd = open(argv[1], O_RDWR)) < 0)
        return 2;
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
    if (mount("stall", "/tmp", "fuse", 0, options) < 0)
        return 2;
    if (fork() == 0)
        serve(fd, told[1], (unsigned)atoi(argv[2]));
    close(fd); /* or nothing could ever end us */
    if (argc > 3) {
        prctl(PR_SET_DUMPABLE, 1);
        if (write(1, "held\n", 5) == 5)
            wait(NULL);
        return 0;
    }
    if ((file = open("/tmp/file", O_RDONLY)) < 0)
        return 2;
    page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    pthread_create(&holder, NULL, hold, NULL);
    if (read(told[0], &byte, 1) != 1)
        return 2;
    usleep(100000);
    if (write(1, "held\n", 5) != 5)
        return 2;
    pthread_create(&queuer, NULL, queue, NULL);
    pthread_join(holder, NULL); /* the file system has gone */
    return 0;
}
