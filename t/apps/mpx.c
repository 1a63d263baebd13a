/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test application that serves several requests on one connection (FCGI_MPXS_CONNS=1): one thread,
 * poll(), the answers of all requests in turn, a block each. Socket on descriptor 0. The query says what a
 * request wants:
 *
 *   size=N  bytes after the head (a pattern)   sleep=MS  first   say=where  "pid connection id open-requests"
 *   late=1  when it is aborted: END_REQUEST at once, the answer and another END_REQUEST later
 *   die=1  exit in the middle   forge=1  a record of an id that nobody has   version=9  one that is no
 * FastCGI
 *
 * Environment: MPX_VALUES "NAME=VALUE ..." is the answer to FCGI_GET_VALUES ("FCGI_MPXS_CONNS=1" if not set).
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 256
#define REQUESTS    256
#define BLOCK       8192

typedef struct request {
    int open, ready; /* ready: all input is here */
    unsigned id;
    char params[16384];
    size_t params_len, input;
    int64_t due_ms;
    long left; /* bytes of the body still to send, -1: the head is not sent */
} request_t;

typedef struct connection {
    int fd, number, keep;
    unsigned char in[70000], *out;
    size_t in_len, out_len, out_cap;
    request_t *requests[REQUESTS];
    int turn;
} connection_t;

static connection_t *connections[CONNECTIONS];
static int accepted;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void put(connection_t *c, int version, int type, unsigned id, const void *data, size_t len)
{
    unsigned char h[8] = {
        (unsigned char)version,    (unsigned char)type, (unsigned char)(id >> 8),   (unsigned char)id,
        (unsigned char)(len >> 8), (unsigned char)len,  (unsigned char)(-len & 7u), 0};
    size_t size = 8 + len + h[6];
    if (c->out_len + size > c->out_cap)
        c->out = realloc(c->out, c->out_cap = (c->out_len + size) * 2);
    memcpy(c->out + c->out_len, h, 8);
    if (len)
        memcpy(c->out + c->out_len + 8, data, len);
    memset(c->out + c->out_len + 8 + len, 0, h[6]);
    c->out_len += size;
}

static void end_request(connection_t *c, request_t *r)
{
    unsigned char body[8] = {0};
    put(c, 1, 6, r->id, NULL, 0);
    put(c, 1, 3, r->id, body, 8);
    c->requests[r->id] = NULL;
    free(r);
}

/* The value of a variable or, in a query, of a key. */
static const char *variable(const request_t *r, const char *name)
{
    static char value[4096];
    const unsigned char *p = (const unsigned char *)r->params, *end = p + r->params_len;
    while (p < end) {
        size_t len[2];
        for (int i = 0; i < 2; i++) {
            len[i] = *p++;
            if (len[i] & 0x80) {
                len[i] = (len[i] & 0x7f) << 24 | (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
                p += 3;
            }
        }
        if (len[0] == strlen(name) && !memcmp(p, name, len[0]) && len[1] < sizeof value) {
            memcpy(value, p + len[0], len[1]);
            value[len[1]] = 0;
            return value;
        }
        p += len[0] + len[1];
    }
    return "";
}

static long wish(const request_t *r, const char *key, long otherwise)
{
    const char *at = strstr(variable(r, "QUERY_STRING"), key);
    return at ? atol(at + strlen(key)) : otherwise;
}

static int open_requests(const connection_t *c)
{
    int n = 0;
    for (int i = 0; i < REQUESTS; i++)
        n += c->requests[i] != NULL;
    return n;
}

static void begin_answer(connection_t *c, request_t *r)
{
    char head[256];
    long size = wish(r, "size=", 0);
    int n = snprintf(head, sizeof head, "Content-Type: text/plain\r\n\r\n");
    if (strstr(variable(r, "QUERY_STRING"), "say=where"))
        n += snprintf(head + n, sizeof head - (size_t)n, "%d %d %u %d\n", (int)getpid(), c->number, r->id,
                      open_requests(c));
    else if (r->input)
        n += snprintf(head + n, sizeof head - (size_t)n, "%zu bytes\n", r->input);
    put(c, 1, 6, r->id, head, (size_t)n);
    r->left = size;
}

/* One block of one request. */
static void advance(connection_t *c, request_t *r)
{
    char block[BLOCK];
    size_t n = r->left > BLOCK ? BLOCK : (size_t)(r->left < 0 ? 0 : r->left);
    if (r->left < 0)
        begin_answer(c, r);
    if (wish(r, "die=", 0))
        exit(7);
    if (wish(r, "forge=", 0))
        put(c, 1, 6, 200, "x", 1);
    if (wish(r, "version=", 0))
        put(c, 9, 6, r->id, "x", 1);
    n = r->left > BLOCK ? BLOCK : (size_t)r->left;
    for (size_t i = 0; i < n; i++)
        block[i] = (char)('a' + (r->left - (long)i) % 26);
    if (n)
        put(c, 1, 6, r->id, block, n);
    r->left -= (long)n;
    if (r->left == 0)
        end_request(c, r);
}

static void answer_values(connection_t *c)
{
    const char *said = getenv("MPX_VALUES");
    char text[512], *save, out[512];
    size_t n = 0;
    snprintf(text, sizeof text, "%s", said ? said : "FCGI_MPXS_CONNS=1");
    for (char *pair = strtok_r(text, " ", &save); pair; pair = strtok_r(NULL, " ", &save)) {
        char *value = strchr(pair, '=');
        *value++ = 0;
        n += (size_t)snprintf(out + n, sizeof out - n, "%c%c%s%s", (int)strlen(pair), (int)strlen(value),
                              pair, value);
    }
    put(c, 1, 10, 0, out, n);
}

static void record(connection_t *c, unsigned type, unsigned id, const unsigned char *data, size_t len)
{
    request_t *r = id < REQUESTS ? c->requests[id] : NULL;
    if (type == 9)
        answer_values(c);
    if (type == 1 && id < REQUESTS) {
        c->requests[id] = r = calloc(1, sizeof *r);
        r->id = id;
        r->left = -1;
        c->keep = data[2] & 1;
    }
    if (!r)
        return;
    if (type == 4 && r->params_len + len <= sizeof r->params) {
        memcpy(r->params + r->params_len, data, len);
        r->params_len += len;
    }
    if (type == 5)
        r->input += len;
    if (type == 5 && len == 0) {
        r->ready = 1;
        r->due_ms = now_ms() + wish(r, "sleep=", 0);
    }
    if (type == 2 && wish(r, "late=", 0)) { /* it ends it, and goes on: so does Go's net/http/fcgi */
        unsigned char body[8] = {0};
        put(c, 1, 3, r->id, body, 8);
        r->due_ms = now_ms() + 400;
    } else if (type == 2) {
        end_request(c, r);
    }
}

static int take(connection_t *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
    size_t at = 0;
    if (n < 0 && errno == EAGAIN)
        return 1;
    if (n <= 0)
        return 0;
    c->in_len += (size_t)n;
    while (c->in_len - at >= 8) {
        const unsigned char *h = c->in + at;
        size_t len = (size_t)h[4] << 8 | h[5], size = 8 + len + h[6];
        if (c->in_len - at < size)
            break;
        record(c, h[1], (unsigned)h[2] << 8 | h[3], h + 8, len);
        at += size;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    return 1;
}

static int flush(connection_t *c)
{
    ssize_t n = c->out_len ? send(c->fd, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (n < 0)
        return errno == EAGAIN;
    memmove(c->out, c->out + n, c->out_len - (size_t)n);
    c->out_len -= (size_t)n;
    return c->out_len || open_requests(c) || c->keep;
}

/* A block of each request that is due, as long as the connection takes it. Returns ms until the next, -1:
 * none. */
static int work(connection_t *c)
{
    int64_t now = now_ms(), next = -1;
    for (int i = 0; i < REQUESTS && c->out_len < 4 * BLOCK; i++) {
        int id = (c->turn + i) % REQUESTS;
        request_t *r = c->requests[id];
        if (!r || !r->ready)
            continue;
        if (r->due_ms > now) {
            next = next < 0 || r->due_ms - now < next ? r->due_ms - now : next;
            continue;
        }
        next = 0;
        advance(c, r);
        c->turn = id + 1;
    }
    return c->out_len >= 4 * BLOCK ? 0 : (int)next;
}

static void close_connection(int i)
{
    connection_t *c = connections[i];
    for (int j = 0; j < REQUESTS; j++)
        free(c->requests[j]);
    close(c->fd);
    free(c->out);
    free(c);
    connections[i] = NULL;
}

static void serve(int i, int *timeout)
{
    connection_t *c = connections[i];
    int next = -1, alive = take(c);
    if (alive) {
        next = work(c);
        alive = flush(c);
    }
    if (!alive)
        close_connection(i);
    else if (!c->out_len && next >= 0 && (*timeout < 0 || next < *timeout))
        *timeout = next;
}

int main(void)
{
    int timeout = -1;
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        struct pollfd fds[CONNECTIONS + 1] = {{.fd = 0, .events = POLLIN}};
        for (int i = 0; i < CONNECTIONS; i++)
            fds[i + 1] = (struct pollfd){
                .fd = connections[i] ? connections[i]->fd : -1,
                .events = (short)(POLLIN | (connections[i] && connections[i]->out_len ? POLLOUT : 0))};
        if (poll(fds, CONNECTIONS + 1, timeout) < 0 && errno != EINTR)
            return 1;
        timeout = -1;
        if (fds[0].revents) {
            int fd = accept(0, NULL, NULL), i = 0;
            while (i < CONNECTIONS && connections[i])
                i++;
            if (fd >= 0 && i < CONNECTIONS) {
                connections[i] = calloc(1, sizeof *connections[i]);
                connections[i]->fd = fd;
                connections[i]->number = ++accepted;
                connections[i]->keep = 1;
            } else if (fd >= 0) {
                close(fd);
            }
        }
        for (int i = 0; i < CONNECTIONS; i++)
            if (connections[i])
                serve(i, &timeout);
    }
}
