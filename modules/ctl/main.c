/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fcgipmctl: what an administrator sees of the applications and tells their manager, see fcgipmctl.8. Orders
 * go over the manager's socket (pm/control.c); what is shown is read from the board, whose descriptor comes
 * over the same socket, for reading only: so it works while the manager is busy, and shows what httpd's page
 * shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "report/json.h"
#include "report/metrics.h"
#include "report/table.h"
#include "share/board.h"
#include "wire/dump.h"

enum { DONE = 0, REFUSED = 1, USAGE = 2, NO_MANAGER = 3, TOO_LATE = 4 };

#define WAIT_S 300 /* for a restart, unless said otherwise */

static const char usage[] =
    "usage: fcgipmctl [-d DIR] COMMAND\n"
    "  status [POOL] [--json] [--watch[=SECONDS]]\n"
    "                          what all pools do, or one with its processes\n"
    "  status --openmetrics    the same of all for Prometheus\n"
    "  restart POOL [--no-wait] [--timeout=SECONDS]\n"
    "                          replace the processes one by one, without a lost request\n"
    "  drain POOL              finish what runs, refuse further requests, end the processes\n"
    "  pause POOL              let requests wait\n"
    "  resume POOL             the end of drain or pause\n"
    "  scale POOL MIN MAX      processes, within FcgiProcesses, until its block changes\n"
    "  trace on|off POOL       each FastCGI record as a line of the error log\n"
    "  decode [--hex] [FILE]   FastCGI records as lines; of the standard input without FILE\n"
    "POOL is a name of <FcgiServer>, or name@vhost:port where several virtual hosts have it.\n"
    "-d DIR: FcgiRuntimeDir, else $FCGIPM_RUNTIME_DIR or where httpd's packages have it.\n"
    "Exit: 0 done, 1 refused or failed, 2 not understood, 3 no manager there, 4 not done in time.\n"
    "More: man fcgipmctl, and /usr/share/doc/mod_fcgipm.\n";

/* --- the manager --- */

static const char *runtime_dir;

static bool is_socket(const char *dir)
{
    char path[300];
    struct stat st;

    snprintf(path, sizeof path, "%.255s/control", dir);
    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* After an upgrade by a graceful restart the module works in a directory below the configured one: the last.
 */
static const char *newest(const char *dir)
{
    static char found[256];
    char path[256];
    bool any = false;

    for (int i = 99; i > 0 && !any; i--) {
        snprintf(path, sizeof path, "%s/v%d", dir, i);
        if ((any = is_socket(path)))
            memcpy(found, path, sizeof found);
    }
    return any ? found : dir;
}

static const char *find_runtime_dir(void)
{
    static const char *const usual[] = {"/var/run/apache2/fcgipm", "/run/httpd/fcgipm",
                                        "/usr/local/apache2/logs/fcgipm", "/var/run/fcgipm"};
    const char *said = getenv("FCGIPM_RUNTIME_DIR");

    if (said && *said)
        return said;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (is_socket(usual[i]))
            return usual[i];
    return usual[0];
}

static int call(const char *line)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || snprintf(addr.sun_path, sizeof addr.sun_path, "%s/control", runtime_dir) >=
                      (int)sizeof addr.sun_path) {
        fprintf(stderr, "fcgipmctl: %s/control: the name is too long\n", runtime_dir);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0 ||
        send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line)) {
        fprintf(stderr, "fcgipmctl: %s: %s%s\n", addr.sun_path, strerror(errno),
                errno == EACCES                            ? "; only root may do this"
                : errno == ENOENT || errno == ECONNREFUSED ? "; is httpd running with mod_fcgipm? (-d DIR)"
                                                           : "");
        close(fd);
        return -1;
    }
    return fd;
}

/* The answer's line; a descriptor that comes with it goes to *pass_fd. */
static bool hear(int fd, char *line, size_t cap, int *pass_fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = line, .iov_len = cap - 1};
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;

    close(fd);
    if (n <= 0) {
        fprintf(stderr, "fcgipmctl: the manager does not answer%s\n", n == 0 ? "; only root may ask it" : "");
        return false;
    }
    line[n] = '\0';
    if (pass_fd && c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(pass_fd, CMSG_DATA(c), sizeof *pass_fd);
    return true;
}

static int order(const char *line)
{
    char answer[1024];
    int fd = call(line);

    if (fd < 0 || !hear(fd, answer, sizeof answer, NULL))
        return NO_MANAGER;
    if (!strncmp(answer, "ok ", 3)) {
        fputs(answer + 3, stdout);
        return DONE;
    }
    fprintf(stderr, "fcgipmctl: %s", !strncmp(answer, "error ", 6) ? answer + 6 : answer);
    return REFUSED;
}

static const fcgipm_board_t *open_board(void)
{
    const fcgipm_board_t *board = MAP_FAILED;
    char answer[256];
    struct stat st;
    int memory = -1, fd = call("board\n");

    if (fd < 0 || !hear(fd, answer, sizeof answer, &memory))
        return NULL;
    if (memory >= 0 && fstat(memory, &st) == 0 && st.st_size == sizeof *board)
        board = mmap(NULL, sizeof *board, PROT_READ, MAP_SHARED, memory, 0);
    if (memory >= 0)
        close(memory);
    if (board != MAP_FAILED && fcgipm_board_ok(board))
        return board;
    fprintf(stderr, "fcgipmctl: the manager is of another version than this program: %s", answer);
    return NULL;
}

/* --- status --- */

static fcgipm_view_now_t now(void)
{
    return (fcgipm_view_now_t){.steady_us = fcgipm_clock_steady_us(), .wall_us = fcgipm_clock_wall_us()};
}

static void to_stdout(void *ctx, const char *data, size_t len)
{
    (void)ctx;
    fwrite(data, 1, len, stdout);
}

static void put_server(void *ctx, const fcgipm_view_server_t *s)
{
    (void)ctx;
    if (s->manager_pid)
        printf("mod_fcgipm %s, manager pid %u, configuration %u\n", s->version, s->manager_pid,
               s->generation);
    else
        printf("mod_fcgipm %s, no manager is running\n", s->version);
}

static int no_pool(const char *pool)
{
    fprintf(stderr, "fcgipmctl: there is no pool %s; `fcgipmctl status` lists them\n", pool);
    return REFUSED;
}

static int show(const fcgipm_board_t *board, const char *pool, bool json, bool metrics)
{
    static const fcgipm_view_visitor_t server = {.server = put_server};

    if (json) {
        if (fcgipm_json_write_only(board, now(), pool, to_stdout, NULL) || !pool)
            return DONE;
        return no_pool(pool);
    }
    if (metrics) {
        fcgipm_metrics_write(board, now(), to_stdout, NULL);
        return DONE;
    }
    if (!pool) {
        fcgipm_view_walk(board, now(), &server, NULL);
        fflush(stdout);
    }
    if (fcgipm_table_write(board, now(), pool, to_stdout, NULL) || !pool)
        return DONE;
    return no_pool(pool);
}

/* --json=x is not understood; --watch=x is a number of seconds. */
static bool option(const char *word, const char *name, double *value)
{
    size_t len = strlen(name);
    char *end;

    if (strncmp(word, name, len))
        return false;
    if (!word[len])
        return true;
    if (!value || word[len] != '=')
        return false;
    *value = strtod(word + len + 1, &end);
    return end != word + len + 1 && !*end && *value >= 0.1 && *value <= 86400;
}

static int usage_error(const char *what, const char *word)
{
    fprintf(stderr, "fcgipmctl: %s %s\n%s", what, word, usage);
    return USAGE;
}

static void sleep_s(double s)
{
    struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

    nanosleep(&t, NULL);
}

static int do_status(int argc, char **argv)
{
    bool json = false, metrics = false, watch = false;
    const fcgipm_board_t *board;
    const char *pool = NULL;
    double every = 2;

    for (int i = 0; i < argc; i++) {
        if (option(argv[i], "--json", NULL))
            json = true;
        else if (option(argv[i], "--openmetrics", NULL))
            metrics = true;
        else if (option(argv[i], "--watch", &every))
            watch = true;
        else if (argv[i][0] == '-' || pool)
            return usage_error("not understood:", argv[i]);
        else
            pool = argv[i];
    }
    if (pool && metrics)
        return usage_error("--openmetrics has all pools, and not only", pool);
    if (!(board = open_board()))
        return NO_MANAGER;
    for (;;) {
        int code;

        if (watch && isatty(1))
            fputs("\033[H\033[2J", stdout);
        code = show(board, pool, json, metrics);
        if (!watch || code != DONE || fflush(stdout) != 0)
            return code;
        sleep_s(every);
    }
}

/* --- restart --- */

typedef struct progress {
    const char *pool;
    bool found, running, failed;
    uint32_t serving; /* processes */
    char trouble[500];
} progress_t;

static void look_at(void *ctx, const fcgipm_view_pool_t *pool)
{
    progress_t *p = ctx;

    if (!fcgipm_table_means(p->pool, pool))
        return;
    p->found = true;
    p->serving += pool->ready;
    p->running |= !strcmp(pool->restart, "running");
    if (strcmp(pool->restart, "failed"))
        return;
    p->failed = true;
    memcpy(p->trouble, pool->trouble, sizeof p->trouble);
}

static int wait_for_restart(const char *pool, double limit_s)
{
    const fcgipm_board_t *board = open_board();
    int64_t until = fcgipm_clock_steady_us() + (int64_t)(limit_s * 1e6);
    progress_t p = {.pool = pool, .running = true};

    if (!board)
        return NO_MANAGER;
    for (;;) {
        static const fcgipm_view_visitor_t all = {
            .pool = look_at}; /* also a definition that does not serve yet */

        p.found = p.running = p.failed = false;
        p.serving = 0;
        fcgipm_view_walk(board, now(), &all, &p);
        if (!p.found || !p.running)
            break;
        if (fcgipm_clock_steady_us() >= until) {
            fprintf(stderr, "fcgipmctl: pool %s: restart still goes on\n", pool);
            return TOO_LATE;
        }
        sleep_s(0.05);
    }
    if (p.failed || !p.found) {
        char trouble[4 * sizeof p.trouble]; /* what an application has written is for no terminal as it is */

        fcgipm_log_escape(trouble, sizeof trouble, p.trouble, strlen(p.trouble));
        fprintf(stderr, "fcgipmctl: pool %s: restart failed, %s%s%s\n", pool,
                p.serving ? "the old processes stay" : "and there are no old ones", *trouble ? ": " : "",
                trouble);
        return REFUSED;
    }
    printf("pool %s: restart done\n", pool);
    return DONE;
}

static int do_restart(int argc, char **argv)
{
    const char *pool = NULL;
    bool wait = true;
    double limit = WAIT_S;
    char line[300];
    int code;

    for (int i = 0; i < argc; i++) {
        if (option(argv[i], "--no-wait", NULL))
            wait = false;
        else if (option(argv[i], "--timeout", &limit))
            ;
        else if (argv[i][0] == '-' || pool)
            return usage_error("not understood:", argv[i]);
        else
            pool = argv[i];
    }
    if (!pool)
        return usage_error("which pool?", "restart POOL");
    snprintf(line, sizeof line, "restart %s\n", pool);
    code = order(line);
    fflush(stdout);
    return code == DONE && wait ? wait_for_restart(pool, limit) : code;
}

/* --- decode --- */

static int hex_digit(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The next block of bytes; of text, pairs of hexadecimal digits, whatever stands between them. */
static size_t next_bytes(FILE *in, bool hex, unsigned char *out, size_t cap)
{
    size_t len = 0;
    int high = -1, c;

    if (!hex)
        return fread(out, 1, cap, in);
    while (len < cap && (c = getc(in)) != EOF) {
        int digit = hex_digit(c);

        if (digit < 0)
            continue;
        if (high >= 0)
            out[len++] = (unsigned char)(high << 4 | digit);
        high = high >= 0 ? -1 : digit;
    }
    return len;
}

static bool decode_block(fcgipm_record_reader_t *reader, unsigned char *content, size_t cap, size_t *have,
                         const unsigned char *in, size_t len)
{
    const unsigned char *end = in + len, *slice;
    char line[FCGIPM_DUMP_MAX];
    size_t slice_len;

    for (;;) {
        switch (fcgipm_record_read(reader, &in, end, &slice, &slice_len)) {
        case FCGIPM_RECORD_MORE:
            return true;
        case FCGIPM_RECORD_HEADER:
            *have = 0;
            break;
        case FCGIPM_RECORD_SLICE:
            if (slice_len > cap - *have)
                slice_len = cap - *have;
            memcpy(content + *have, slice, slice_len);
            *have += slice_len;
            break;
        case FCGIPM_RECORD_END:
            fcgipm_dump_record(line, sizeof line, &reader->record, content, *have);
            puts(line);
            break;
        case FCGIPM_RECORD_BAD:
            return false;
        }
    }
}

static int decode_all(FILE *in, bool hex)
{
    static unsigned char bytes[65536], content[65536];
    fcgipm_record_reader_t reader = {0};
    size_t len, have = 0;

    while ((len = next_bytes(in, hex, bytes, sizeof bytes)) > 0)
        if (!decode_block(&reader, content, sizeof content, &have, bytes, len)) {
            fflush(stdout);
            fputs("fcgipmctl: not a FastCGI record: its version is not 1\n", stderr);
            return REFUSED;
        }
    if (fcgipm_record_at_border(&reader))
        return DONE;
    fflush(stdout);
    fputs("fcgipmctl: the last record is not complete\n", stderr);
    return REFUSED;
}

static int do_decode(int argc, char **argv)
{
    const char *file = NULL;
    bool hex = false;
    FILE *in = stdin;
    int code;

    for (int i = 0; i < argc; i++) {
        if (option(argv[i], "--hex", NULL))
            hex = true;
        else if ((argv[i][0] == '-' && argv[i][1]) || file)
            return usage_error("not understood:", argv[i]);
        else
            file = argv[i];
    }
    if (file && strcmp(file, "-") && !(in = fopen(file, "rb"))) {
        fprintf(stderr, "fcgipmctl: %s: %s\n", file, strerror(errno));
        return REFUSED;
    }
    code = decode_all(in, hex);
    if (in != stdin)
        fclose(in);
    return code;
}

/* --- the rest --- */

/* Words as they are, one line: the manager says what is wrong with them. */
static int do_order(int argc, char **argv)
{
    char line[500] = "";
    size_t len = 0;

    for (int i = 0; i < argc; i++) {
        if (strpbrk(argv[i], "\n ") || !*argv[i])
            return usage_error("not understood:", argv[i]);
        len += (size_t)snprintf(line + len, sizeof line - len, "%s%s", i ? " " : "", argv[i]);
        if (len + 2 > sizeof line)
            return usage_error("too long:", argv[i]);
    }
    memcpy(line + len, "\n", 2);
    return order(line);
}

static int run(int argc, char **argv)
{
    static const struct {
        const char *name;
        int least, most; /* words after it */
    } plain[] = {{"drain", 1, 1}, {"pause", 1, 1}, {"resume", 1, 1}, {"scale", 3, 3}, {"trace", 2, 2}};

    if (!strcmp(argv[0], "status"))
        return do_status(argc - 1, argv + 1);
    if (!strcmp(argv[0], "restart"))
        return do_restart(argc - 1, argv + 1);
    if (!strcmp(argv[0], "decode"))
        return do_decode(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (!strcmp(argv[0], plain[i].name))
            return argc - 1 < plain[i].least || argc - 1 > plain[i].most
                       ? usage_error("wrong words after", argv[0])
                       : do_order(argc, argv);
    return usage_error("unknown command", argv[0]);
}

int main(int argc, char **argv)
{
    int at = 1, code;

    while (at < argc && argv[at][0] == '-') {
        if (!strcmp(argv[at], "--help") || !strcmp(argv[at], "-h")) {
            fputs(usage, stdout);
            return DONE;
        }
        if (!strcmp(argv[at], "--version")) {
            puts("fcgipmctl " FCGIPM_VERSION);
            return DONE;
        }
        if (strcmp(argv[at], "-d") || at + 1 >= argc)
            return usage_error("not understood:", argv[at]);
        runtime_dir = argv[at + 1];
        at += 2;
    }
    if (at >= argc)
        return usage_error("what?", "");
    runtime_dir = newest(runtime_dir ? runtime_dir : find_runtime_dir());
    code = run(argc - at, argv + at);
    return fflush(stdout) == 0 ? code : REFUSED;
}
