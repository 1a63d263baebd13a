/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can a process do where it is? A FastCGI application (libfcgi) that tries what QUERY_STRING says and
 * prints what came of it: cat=FILE ls=DIR fill=FILE:KILOBYTES alloc=MEGABYTES fork=COUNT open=COUNT spin=1
 * sleep=MS; nothing: its pid. With an argument it is no FastCGI application but prints what it sees of / (a
 * slow log's command).
 */
#include <fcgiapp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FCGX_Request r;

static void say_errno(const char *what)
{
    FCGX_FPrintF(r.out, "%s: %s\n", what, strerror(errno));
}

static void cat(const char *path)
{
    char block[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY);

    if (fd < 0) {
        say_errno("open");
        return;
    }
    while ((n = read(fd, block, sizeof block)) > 0)
        FCGX_PutStr(block, (int)n, r.out);
    close(fd);
}

static void ls(const char *path)
{
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, alphasort);

    if (count < 0)
        say_errno("scandir");
    for (int i = 0; i < count; i++)
        if (names[i]->d_name[0] != '.')
            FCGX_FPrintF(r.out, "%s\n", names[i]->d_name);
}

static void fill(char *arg)
{
    static char block[1024];
    char *colon = strrchr(arg, ':');
    long kilobytes = colon ? atol(colon + 1) : 0, done = 0;
    int fd;

    if (colon)
        *colon = '\0';
    fd = open(arg, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0) {
        say_errno("open");
        return;
    }
    while (done < kilobytes && write(fd, block, sizeof block) == sizeof block)
        done++;
    if (done < kilobytes)
        say_errno("write");
    FCGX_FPrintF(r.out, "wrote %ld\n", done);
    close(fd);
}

static void allocate(long megabytes)
{
    volatile char *more = malloc((size_t)megabytes << 20);

    if (!more) {
        say_errno("malloc");
        return;
    }
    for (size_t i = 0; i < (size_t)megabytes << 20; i += 4096)
        more[i] = 1;
    free((void *)more);
    FCGX_FPrintF(r.out, "allocated\n");
}

/* They stay. */
static void fork_some(int count)
{
    int done = 0;

    while (done < count) {
        pid_t pid = fork();

        if (pid == 0)
            for (;;)
                pause();
        if (pid < 0) {
            say_errno("fork");
            break;
        }
        done++;
    }
    FCGX_FPrintF(r.out, "forked %d\n", done);
}

static void open_some(int count)
{
    int done = 0, first = -1, last = -1;

    while (done < count && (last = open("/", O_RDONLY)) >= 0) {
        first = first < 0 ? last : first;
        done++;
    }
    if (last < 0)
        say_errno("open");
    while (first >= 0 && done > 0)
        close(first + --done);
}

static void obey(char *query)
{
    char *arg = strchr(query, '=');

    if (arg)
        *arg++ = '\0';
    if (!arg)
        FCGX_FPrintF(r.out, "%d\n", (int)getpid());
    else if (!strcmp(query, "cat"))
        cat(arg);
    else if (!strcmp(query, "ls"))
        ls(arg);
    else if (!strcmp(query, "fill"))
        fill(arg);
    else if (!strcmp(query, "alloc"))
        allocate(atol(arg));
    else if (!strcmp(query, "fork"))
        fork_some(atoi(arg));
    else if (!strcmp(query, "open"))
        open_some(atoi(arg));
    else if (!strcmp(query, "sleep"))
        usleep((useconds_t)atoi(arg) * 1000);
    while (arg && !strcmp(query, "spin"))
        ;
}

static int look(void)
{
    struct dirent **names = NULL;
    int count = scandir("/", &names, NULL, alphasort);

    printf("sees");
    for (int i = 0; i < count; i++)
        if (names[i]->d_name[0] != '.')
            printf(" %s", names[i]->d_name);
    printf(" as %d\n", (int)getuid());
    return 0;
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return look();
    signal(SIGXFSZ, SIG_IGN);
    FCGX_Init();
    FCGX_InitRequest(&r, 0, 0);
    while (FCGX_Accept_r(&r) >= 0) {
        const char *query = FCGX_GetParam("QUERY_STRING", r.envp);
        char *copy = strdup(query ? query : "");

        FCGX_FPrintF(r.out, "Content-Type: text/plain\r\n\r\n");
        obey(copy);
        free(copy);
        FCGX_Finish_r(&r);
    }
    return 0;
}
