/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test application in C (libfcgi). QUERY_STRING says what it does; the same language in actor.pl,
 * fast.pl, actor.php, actor.go, script.pl: do=env|echo|sum|pid  size=N  sleep=MS  drip=N:MS  status=NNN
 * header=Name:Value  location=X  stderr=TEXT die=exit|segv|mid and only here: hang=1 noread=1 big-stderr=N
 * raw=TEXT fork=1 count=1. Values are %-decoded. Environment: ACTOR_THREADS, ACTOR_MAX (requests, then it
 * exits), ACTOR_IGNORE_TERM, ACTOR_START_MS, ACTOR_DIE_AT_START=code.
 */
#include <fcgiapp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <apr_md5.h>

static int served;
static volatile int frozen;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void nap(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static int hex(int c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

/* The decoded value of the n-th `name` in the query, malloc'ed, with its length; NULL: there is none. */
static char *value(const char *query, const char *name, int n, size_t *len)
{
    size_t name_len = strlen(name);

    for (const char *at = query; at && *at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL) {
        char *out, *to;

        if (strncmp(at, name, name_len) || at[name_len] != '=' || n-- > 0)
            continue;
        out = to = malloc(strlen(at) + 1);
        for (at += name_len + 1; *at && *at != '&'; at++) {
            if (*at == '%' && at[1] && at[2]) {
                *to++ = (char)(hex(at[1]) * 16 + hex(at[2]));
                at += 2;
            } else {
                *to++ = *at;
            }
        }
        *to = '\0';
        if (len)
            *len = (size_t)(to - out);
        return out;
    }
    return NULL;
}

static long number(const char *query, const char *name)
{
    char *text = value(query, name, 0, NULL);
    long n = text ? atol(text) : -1;

    free(text);
    return n;
}

static int is(const char *query, const char *name, const char *want)
{
    char *text = value(query, name, 0, NULL);
    int same = text && !strcmp(text, want);

    free(text);
    return same;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void say_env(FCGX_Request *r)
{
    size_t count = 0;

    while (r->envp[count])
        count++;
    qsort(r->envp, count, sizeof(char *), by_text);
    for (size_t i = 0; i < count; i++)
        FCGX_FPrintF(r->out, "%s\n", r->envp[i]);
}

static void say_echo(FCGX_Request *r)
{
    char block[16384];
    int n;

    while ((n = FCGX_GetStr(block, sizeof block, r->in)) > 0)
        FCGX_PutStr(block, n, r->out);
}

static void say_sum(FCGX_Request *r)
{
    unsigned char digest[APR_MD5_DIGESTSIZE];
    unsigned long total = 0;
    apr_md5_ctx_t md5;
    char block[16384];
    int n;

    apr_md5_init(&md5);
    while ((n = FCGX_GetStr(block, sizeof block, r->in)) > 0) {
        apr_md5_update(&md5, block, (apr_size_t)n);
        total += (unsigned long)n;
    }
    apr_md5_final(digest, &md5);
    FCGX_FPrintF(r->out, "%lu ", total);
    for (int i = 0; i < APR_MD5_DIGESTSIZE; i++)
        FCGX_FPrintF(r->out, "%02x", digest[i]);
    FCGX_FPrintF(r->out, "\n");
}

static void say_size(FCGX_Request *r, long size)
{
    char block[8192];
    long at = 0;

    while (at < size) {
        int n = 0;

        for (; n < (int)sizeof block && at < size; at++)
            block[n++] = at % 64 == 63 ? '\n' : (char)('a' + at % 26);
        if (FCGX_PutStr(block, n, r->out) < n)
            return;
    }
}

static void say_drip(FCGX_Request *r, const char *query)
{
    char *text = value(query, "drip", 0, NULL);
    int count = atoi(text), ms = strchr(text, ':') ? atoi(strchr(text, ':') + 1) : 0;

    free(text);
    for (int i = 0; i < count; i++) {
        if (i)
            nap(ms);
        if (FCGX_FPrintF(r->out, "tick %d\n", i) < 0 || FCGX_FFlush(r->out) < 0)
            return;
    }
}

static void say_head(FCGX_Request *r, const char *query)
{
    const char *type = is(query, "do", "echo") ? FCGX_GetParam("CONTENT_TYPE", r->envp) : NULL;
    const char *length = FCGX_GetParam("CONTENT_LENGTH", r->envp);
    char *text;

    if ((text = value(query, "status", 0, NULL)))
        FCGX_FPrintF(r->out, "Status: %s Whatever\r\n", text);
    free(text);
    if ((text = value(query, "location", 0, NULL)))
        FCGX_FPrintF(r->out, "Location: %s\r\n", text);
    free(text);
    for (int i = 0; (text = value(query, "header", i, NULL)); i++) {
        char *colon = strchr(text, ':');

        if (colon)
            FCGX_FPrintF(r->out, "%.*s: %s\r\n", (int)(colon - text), text, colon + 1);
        free(text);
    }
    if (is(query, "do", "echo"))
        FCGX_FPrintF(r->out, "X-Length: %s\r\n", length ? length : "");
    FCGX_FPrintF(r->out, "Content-Type: %s\r\n\r\n", type && *type ? type : "text/plain");
}

static void grandchild(FCGX_Request *r)
{
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        for (int fd = 0; fd < 64; fd++)
            close(fd);
        nap(1000000);
        _exit(0);
    }
    FCGX_FPrintF(r->out, "%d\n", (int)pid);
}

static void say_body(FCGX_Request *r, const char *query)
{
    if (is(query, "do", "env"))
        say_env(r);
    else if (is(query, "do", "echo"))
        say_echo(r);
    else if (is(query, "do", "sum"))
        say_sum(r);
    else if (is(query, "do", "pid"))
        FCGX_FPrintF(r->out, "%d\n", (int)getpid());
    else if (number(query, "count") > 0)
        FCGX_FPrintF(r->out, "%d\n", served);
    else if (number(query, "fork") > 0)
        grandchild(r);
    else if (number(query, "size") >= 0)
        say_size(r, number(query, "size"));
    else if (number(query, "drip") >= 0)
        say_drip(r, query);
    else
        FCGX_FPrintF(r->out, "hello from c pid %d\n", (int)getpid());
}

static void say_errors(FCGX_Request *r, const char *query)
{
    size_t len = 0;
    char *text = value(query, "stderr", 0, &len);
    long many = number(query, "big-stderr");

    if (text)
        FCGX_PutStr(text, (int)len, r->err);
    free(text);
    for (long i = 0; i < many; i += 64)
        FCGX_FPrintF(r->err, "%062ld\n", i);
}

static void die(FCGX_Request *r, const char *query)
{
    if (is(query, "die", "exit"))
        exit(3);
    if (is(query, "die", "segv"))
        raise(SIGSEGV);
    if (!is(query, "die", "mid"))
        return;
    FCGX_FPrintF(r->out, "Content-Type: text/plain\r\n\r\n");
    say_size(r, 1000);
    FCGX_FFlush(r->out);
    _exit(4);
}

/* Megabytes that are never given back. */
static void leak(long megabytes)
{
    volatile char *more = malloc((size_t)megabytes << 20);

    for (size_t i = 0; more && i < (size_t)megabytes << 20; i += 4096)
        more[i] = 1;
}

static void answer(FCGX_Request *r)
{
    const char *query = FCGX_GetParam("QUERY_STRING", r->envp);
    size_t len = 0;
    char *raw;

    query = query ? query : "";
    while (number(query, "hang") > 0)
        nap(1000000);
    if (number(query, "leak") > 0)
        leak(number(query, "leak"));
    if (number(query, "freeze") > 0)
        frozen = 1;
    if (number(query, "sleep") > 0)
        nap(number(query, "sleep"));
    say_errors(r, query);
    die(r, query);
    if ((raw = value(query, "raw", 0, &len))) {
        FCGX_PutStr(raw, (int)len, r->out);
        free(raw);
        return;
    }
    say_head(r, query);
    say_body(r, query);
}

static void *serve(void *unused)
{
    FCGX_Request r;
    int max = getenv("ACTOR_MAX") ? atoi(getenv("ACTOR_MAX")) : 0;

    (void)unused;
    FCGX_InitRequest(&r, 0, 0);
    while (FCGX_Accept_r(&r) >= 0) {
        pthread_mutex_lock(&mutex);
        served++;
        pthread_mutex_unlock(&mutex);
        answer(&r);
        FCGX_Finish_r(&r);
        while (frozen) /* alive, but never takes a request again */
            nap(1000000);
        if (max && served >= max)
            exit(0);
    }
    return NULL;
}

int main(void)
{
    const char *text;
    int threads = (text = getenv("ACTOR_THREADS")) ? atoi(text) : 1;

    if ((text = getenv("ACTOR_DIE_AT_START"))) {
        fprintf(stderr, "the actor dies at its start\n");
        return atoi(text);
    }
    if (getenv("ACTOR_IGNORE_TERM"))
        signal(SIGTERM, SIG_IGN);
    if ((text = getenv("ACTOR_START_MS")))
        nap(atoi(text));
    FCGX_Init();
    if (getenv("ACTOR_IGNORE_TERM")) /* libfcgi has taken it for itself */
        signal(SIGTERM, SIG_IGN);
    for (int i = 1; i < threads; i++) {
        pthread_t thread;

        pthread_create(&thread, NULL, serve, NULL);
    }
    serve(NULL);
    return 0;
}
