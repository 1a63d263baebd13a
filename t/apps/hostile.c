/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An application that has been taken over (t/88-hostile-app.t). As an argument, before it serves:
 *   escape     forks twice into a session of its own, without its environment
 *   headless   the same, and its first thread ends: it looks like a zombie
 *   hidden     as escape with its environment, but so that /proc calls the process root's
 *   tracer     what has escaped traces the process that serves, and never lets its death be seen
 *   says       says READY=1 first, as FcgiReady Notify wants it
 *   deaf       takes every connection, and reads nothing from one on which requests come
 *
 * In QUERY_STRING:
 *   do=flood&s=N               N s of lines and of bytes without a line end on its output, and it serves
 *   do=notify&s=N&sock=PATH    N s of datagrams of all kinds to that socket
 *   do=spoil                   what the next process in this place inherits is made useless, then it exits
 *   do=bomb                    forks for ever, as does each that it forks, while it goes on serving
 *   do=look&...                tries what it must not be able to do, one line each: "what errno";
 *                              dir=, sock=, pid= (several)
 *   nothing                    "hello from POOL"
 */
#include <fcgiapp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* The n-th value of `name`, in a static buffer; NULL: there is none. Nothing is decoded. */
static const char *value(const char *query, const char *name, int n)
{
    static char out[512];
    size_t len = strlen(name);

    for (const char *at = query; at && *at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL) {
        if (strncmp(at, name, len) || at[len] != '=' || n-- > 0)
            continue;
        snprintf(out, sizeof out, "%.*s", (int)strcspn(at + len + 1, "&"), at + len + 1);
        return out;
    }
    return NULL;
}

static int is(const char *query, const char *name, const char *want)
{
    const char *text = value(query, name, 0);

    return text && !strcmp(text, want);
}

static long seconds(const char *query)
{
    const char *text = value(query, "s", 0);

    return text ? atol(text) : 1;
}

/* --- out of the session --- */

static void empty_environment(void)
{
    extern char **environ;

    /* What /proc shows is the memory itself. */
    for (char **e = environ; *e; e++)
        memset(*e, 0, strlen(*e));
}

/* True in the process that has got away. */
static int get_away(void)
{
    pid_t pid = fork();

    if (pid != 0) {
        waitpid(pid, NULL, 0);
        return 0;
    }
    setsid();
    if (fork() != 0)
        _exit(0);
    setsid();
    prctl(PR_SET_NAME, "hostile-stray");
    close(0);
    close(1);
    close(2);
    return 1;
}

static void stay(void)
{
    signal(SIGTERM, SIG_IGN);
    for (;;)
        pause();
}

static void *stay_on(void *ctx)
{
    stay();
    return ctx;
}

static void end_first_thread(void)
{
    pthread_t thread;

    signal(SIGTERM, SIG_IGN);
    pthread_create(&thread, NULL, stay_on, NULL);
    pthread_exit(NULL);
}

static void trace(pid_t victim)
{
    int status;

    if (ptrace(PTRACE_SEIZE, victim, NULL, NULL) != 0)
        _exit(1);
    /* Signals are passed on; of its end nobody hears, as only a tracer's wait lets the parent know. */
    for (;;) {
        siginfo_t info = {0};

        if (waitid(P_PID, (id_t)victim, &info, WSTOPPED | WEXITED | WNOWAIT) != 0 ||
            info.si_code != CLD_TRAPPED)
            break;
        if (waitpid(victim, &status, 0) != victim || !WIFSTOPPED(status))
            break;
        ptrace(PTRACE_CONT, victim, NULL, (void *)(long)WSTOPSIG(status));
    }
    stay();
}

/* --- floods --- */

static void flood(long s)
{
    static char text[3][4000];
    time_t end = time(NULL) + s;

    if (fork() != 0)
        return;
    for (size_t i = 0; i < sizeof text[0]; i++) {
        text[0][i] = i % 20 == 19 ? '\n' : 'f';
        text[1][i] = 'x';
        text[2][i] = (char)(i * 7 % 256);
    }
    for (unsigned n = 0; time(NULL) < end; n++)
        (void)!write(1 + (int)(n & 1), text[n % 3], sizeof text[0]);
    _exit(0);
}

/* Every other one leaves the session; none hears TERM, nor waits for what it has forked. All but the first
 * make room now and then in a full house, so that there is never an end of forking. */
static _Noreturn void explode(time_t end)
{
    int first = 1;

    prctl(PR_SET_NAME, "hostile-bomb");
    for (unsigned n = 0; time(NULL) < end; n++) {
        pid_t pid = fork();

        if (pid == 0)
            first = 0;
        if (pid == 0 && n % 2)
            setsid();
        if (pid < 0 && n % 8 == 7 && !first)
            _exit(0);
        if (pid < 0)
            sleep_ms(1);
    }
    _exit(0);
}

/* Where nothing holds it, it spares the machine; the test sees that nothing went off. */
static void bomb(void)
{
    struct rlimit limit;
    pid_t pid;

    if (getrlimit(RLIMIT_NPROC, &limit) < 0 || limit.rlim_max > 200)
        return;
    signal(SIGTERM, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    while ((pid = fork()) < 0) /* the kernel may still count those of the last one */
        sleep_ms(10);
    if (pid != 0)
        return;
    close(0);
    close(1);
    close(2);
    explode(time(NULL) + 60);
}

static void datagram(int fd, const struct sockaddr_un *to, const void *data, size_t len, int pass)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(unsigned long)data, len};
    struct msghdr mh = {
        .msg_name = (void *)(unsigned long)to, .msg_namelen = sizeof *to, .msg_iov = &iov, .msg_iovlen = 1};

    if (pass) {
        struct cmsghdr *c;

        mh.msg_control = control.room;
        mh.msg_controllen = sizeof control.room;
        c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(8 * sizeof(int));
        for (int i = 0; i < 8; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof fd);
    }
    (void)!sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void notify(long s, const char *path)
{
    static char big[150000];
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    time_t end = time(NULL) + s;

    snprintf(to.sun_path, sizeof to.sun_path, "%s", path ? path : "");
    if (fork() != 0) {
        close(fd);
        return;
    }
    memset(big, 'R', sizeof big);
    for (unsigned n = 0; path && time(NULL) < end; n++) {
        datagram(fd, &to, "", 0, 0);
        datagram(fd, &to, "READY=1", 7, 0);
        datagram(fd, &to, "READY=1\nREADY=1\n\0READY=1\n", 26, 1);
        datagram(fd, &to, big, n % sizeof big, n % 3 == 0);
        datagram(fd, &to, "\xff\xfe\0\n\n\n=\n", 8, 0);
    }
    _exit(0);
}

/* What an honest one says; it waits until there is room for it. */
static void say_ready(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    snprintf(to.sun_path, sizeof to.sun_path, "%s", getenv("NOTIFY_SOCKET") ? getenv("NOTIFY_SOCKET") : "");
    while (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&to, sizeof to) < 0)
        sleep_ms(5);
    close(fd);
}

/* Descriptor 0 is the socket that its successor gets, too. */
static void spoil(void)
{
    struct timeval never = {.tv_usec = 1};

    fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
    setsockopt(0, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof never);
    listen(0, 0);
    shutdown(0, SHUT_RDWR);
    _exit(0);
}

/* --- looking around --- */

static void say(FCGX_Request *r, const char *what, const char *of, int ok)
{
    FCGX_FPrintF(r->out, "%s %s %d\n", what, of, ok ? 0 : errno);
}

static void try_dir(FCGX_Request *r, const char *path)
{
    char file[600];
    DIR *dir = opendir(path);
    int fd;

    say(r, "list", path, dir != NULL);
    if (dir)
        closedir(dir);
    snprintf(file, sizeof file, "%s/mine", path);
    fd = open(file, O_CREAT | O_WRONLY, 0600);
    say(r, "create", path, fd >= 0);
    if (fd >= 0)
        close(fd);
    say(r, "chmod", path, chmod(path, 0777) == 0);
    snprintf(file, sizeof file, "%s.away", path);
    say(r, "rename", path, rename(path, file) == 0);
}

static void try_file(FCGX_Request *r, const char *path, int type)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type, 0), file = open(path, O_RDONLY | O_NONBLOCK);

    say(r, "open", path, file >= 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    say(r, "connect", path, connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    say(r, "unlink", path, unlink(path) == 0);
    close(fd);
    if (file >= 0)
        close(file);
}

static void try_process(FCGX_Request *r, const char *number)
{
    static const char *const secrets[] = {"fd", "mem", "environ", "maps", "root", "map_files"};
    pid_t pid = atoi(number);
    char path[64], byte;
    struct iovec mine = {&byte, 1}, theirs = {(void *)4096, 1};

    say(r, "stop", number, kill(pid, SIGSTOP) == 0);
    say(r, "term", number, kill(pid, SIGTERM) == 0);
    say(r, "group", number, kill(-pid, SIGTERM) == 0);
    say(r, "trace", number, ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0);
    say(r, "peek", number, process_vm_readv(pid, &mine, 1, &theirs, 1, 0) == 1);
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        int fd, ok;

        snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, secrets[i]);
        fd = open(path, O_RDONLY);
        ok = fd >= 0 && (secrets[i][0] != 'm' || secrets[i][1] != 'e' || read(fd, &byte, 1) == 1);
        say(r, secrets[i], number, ok);
        if (fd >= 0)
            close(fd);
    }
}

static void look(FCGX_Request *r, const char *query)
{
    char path[64], target[512];
    const char *text;

    for (int fd = 0; fd < 1024; fd++) {
        ssize_t n;

        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if ((n = readlink(path, target, sizeof target - 1)) < 0)
            continue;
        target[n] = '\0';
        FCGX_FPrintF(r->out, "descriptor %d %s\n", fd, target);
    }
    say(r, "become", "root", setuid(0) == 0 || seteuid(0) == 0);
    say(r, "group", "root", setgid(0) == 0 || setgroups(0, NULL) == 0);
    for (int i = 0; (text = value(query, "dir", i)); i++)
        try_dir(r, text);
    for (int i = 0; (text = value(query, "sock", i)); i++)
        try_file(r, text, SOCK_STREAM);
    for (int i = 0; (text = value(query, "pid", i)); i++)
        try_process(r, text);
    say(r, "reopen", "output", open("/proc/self/fd/1", O_RDONLY | O_NONBLOCK) >= 0);
}

/* --- serving --- */

static void serve(FCGX_Request *r)
{
    const char *query = FCGX_GetParam("QUERY_STRING", r->envp);

    if (is(query, "do", "spoil"))
        spoil();
    if (is(query, "do", "flood"))
        flood(seconds(query));
    if (is(query, "do", "bomb"))
        bomb();
    if (is(query, "do", "notify"))
        notify(seconds(query), value(query, "sock", 0));
    FCGX_PutS("Content-Type: text/plain\r\n\r\n", r->out);
    if (is(query, "do", "look"))
        look(r, query);
    FCGX_FPrintF(r->out, "hello from %s\n", getenv("FCGIPM_POOL") ? getenv("FCGIPM_POOL") : "nobody");
}

/* Only whoever asks whether it is ready is heard: FCGI_GET_VALUES is 9. The other connections stay open until
 * it is ended. */
static _Noreturn void take_and_ignore(void)
{
    for (;;) {
        int fd = accept(0, NULL, NULL);
        char head[2];

        if (fd < 0)
            sleep_ms(10);
        else if (recv(fd, head, sizeof head, MSG_PEEK) == sizeof head && head[1] == 9)
            close(fd);
    }
}

int main(int argc, char **argv)
{
    FCGX_Request request;
    pid_t self = getpid();

    if (argc > 1 && !strcmp(argv[1], "says"))
        say_ready();
    if (argc > 1 && !strcmp(argv[1], "deaf"))
        take_and_ignore();
    if (argc > 1 &&
        (!strcmp(argv[1], "escape") || !strcmp(argv[1], "headless") || !strcmp(argv[1], "tracer")) &&
        get_away()) {
        empty_environment();
        if (!strcmp(argv[1], "tracer"))
            trace(self);
        if (!strcmp(argv[1], "headless"))
            end_first_thread();
        stay();
    }
    if (argc > 1 && !strcmp(argv[1], "hidden") && get_away()) {
        prctl(PR_SET_DUMPABLE, 0);
        stay();
    }
    FCGX_Init();
    FCGX_InitRequest(&request, 0, 0);
    while (FCGX_Accept_r(&request) == 0) {
        serve(&request);
        FCGX_Finish_r(&request);
    }
    return 0;
}
