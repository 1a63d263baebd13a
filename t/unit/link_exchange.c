/* SPDX-License-Identifier: Apache-2.0 */
/* One request against a scripted application at the other end of a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include <apr_time.h>
#include "link/exchange.h"

typedef struct rig {
    fcgipm_exchange_t x;
    int ours, app;
    char buffer[65536];
    size_t cap;
    char *answer;
    size_t answer_len;
    char errors[4096];
    size_t errors_len;
    const char *body;
    size_t body_len, body_at, body_piece;
    unsigned pauses, asked;
    bool gone;
    bool says_last; /* the body says which piece is its last */
    apr_status_t answer_status;
    unsigned char head[24];
} rig_t;

static char *rig_buffer(void *ctx, size_t *cap)
{
    rig_t *r = ctx;
    *cap = r->cap;
    return r->buffer;
}

static apr_status_t rig_answer(void *ctx, char *data, size_t len)
{
    rig_t *r = ctx;
    assert_true(data == r->buffer && len > 0 && len <= r->cap);
    r->answer = realloc(r->answer, r->answer_len + len);
    memcpy(r->answer + r->answer_len, data, len);
    r->answer_len += len;
    return r->answer_status;
}

static apr_status_t rig_pause(void *ctx)
{
    ((rig_t *)ctx)->pauses++;
    return APR_SUCCESS;
}

static void rig_errors(void *ctx, const char *data, size_t len)
{
    rig_t *r = ctx;
    memcpy(r->errors + r->errors_len, data, len);
    r->errors_len += len;
}

static apr_status_t rig_body(void *ctx, const char **data, size_t *len, bool *last)
{
    rig_t *r = ctx;
    size_t left = r->body_len - r->body_at;
    *data = r->body + r->body_at;
    *len = left < r->body_piece ? left : r->body_piece;
    r->body_at += *len;
    *last = r->says_last && r->body_at == r->body_len;
    return APR_SUCCESS;
}

static bool rig_gone(void *ctx)
{
    rig_t *r = ctx;
    r->asked++;
    return r->gone;
}

static const fcgipm_exchange_ops_t rig_ops = {rig_buffer, rig_answer, rig_pause, rig_errors, rig_body,
                                              rig_gone,   NULL,       NULL,      NULL,       NULL};

static rig_t *rig_make(const char *body, size_t len)
{
    rig_t *r = calloc(1, sizeof *r);
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
    r->ours = s[0];
    r->app = s[1];
    r->cap = sizeof r->buffer;
    r->body = body;
    r->body_len = len;
    r->body_piece = 100000;
    fcgipm_record_put_begin(r->head, 1, FCGIPM_ROLE_RESPONDER, FCGIPM_KEEP_CONN);
    fcgipm_record_put(r->head + 16, FCGIPM_TYPE_PARAMS, 1, 0, 0);
    fcgipm_exchange_init(&r->x, &rig_ops, r, r->ours);
    r->x.head = r->head;
    r->x.head_len = sizeof r->head;
    return r;
}

static void rig_free(rig_t *r)
{
    close(r->ours);
    if (r->app >= 0)
        close(r->app);
    free(r->answer);
    free(r);
}

/* How many sends is it? A socket that keeps them apart tells. */
static unsigned messages(size_t body_len, size_t piece, bool says_last)
{
    static const char body[400000];
    unsigned count = 0;
    size_t all = 0;
    short events;
    ssize_t n;
    static char got[500000];
    rig_t *r = rig_make(body, body_len);
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
    close(r->ours);
    close(r->app);
    r->x.fd = r->ours = s[0];
    r->app = s[1];
    r->body_piece = piece;
    r->says_last = says_last;
    assert_int_equal(fcgipm_exchange_step(&r->x, &events), APR_EAGAIN);
    while ((n = recv(r->app, got, sizeof got, 0)) > 0) {
        count++;
        all += (size_t)n;
    }
    size_t pieces = (body_len + piece - 1) / piece;
    assert_int_equal(all, r->x.head_len + body_len + 8 * pieces * ((piece + 65527) / 65528) + 8);
    assert_int_equal(r->x.result.body_sent, body_len);
    rig_free(r);
    return count;
}

static void one_send(void **state)
{
    (void)state;
    assert_int_equal(messages(0, 1, false), 1);
    assert_int_equal(messages(100, 100, true), 1);
    assert_int_equal(messages(65536, 65536, true), 1); /* head, two records, the end */
    assert_int_equal(messages(65536, 65536, false), 2);
    assert_int_equal(messages(65536 * 2, 65536, true), 2);
    assert_int_equal(messages(65528 * 2, 65528 * 2, true), 1);
}

/* ---- what an application says ---- */

typedef struct script {
    unsigned char bytes[8192];
    size_t len;
} script_t;

static void say(script_t *s, unsigned type, unsigned id, const char *text, size_t padding)
{
    size_t len = strlen(text);
    s->len += fcgipm_record_put(s->bytes + s->len, type, id, len, padding);
    memcpy(s->bytes + s->len, text, len);
    memset(s->bytes + s->len + len, 0, padding);
    s->len += len + padding;
}

static void say_end(script_t *s, unsigned status)
{
    s->len += fcgipm_record_put_end(s->bytes + s->len, 1, 3, status);
}

static void app_write(rig_t *r, const void *bytes, size_t len)
{
    assert_int_equal(send(r->app, bytes, len, MSG_NOSIGNAL), len);
}

static void good_script(script_t *s)
{
    s->len = 0;
    say(s, FCGIPM_TYPE_STDOUT, 1, "Status: 200\r\n\r\nhel", 5);
    say(s, FCGIPM_TYPE_STDERR, 1, "oh dear", 1);
    say(s, FCGIPM_TYPE_STDOUT, 1, "lo", 0);
    say(s, FCGIPM_TYPE_STDOUT, 1, "", 0);
    say_end(s, FCGIPM_STATUS_REQUEST_COMPLETE);
}

static void check_good(rig_t *r)
{
    assert_int_equal(r->answer_len, 20);
    assert_memory_equal(r->answer, "Status: 200\r\n\r\nhello", 20);
    assert_int_equal(r->errors_len, 7);
    assert_memory_equal(r->errors, "oh dear", 7);
    assert_true(r->x.result.ended && r->x.result.reusable && r->x.result.stdout_ended);
    assert_int_equal(r->x.result.app_status, 3);
    assert_int_equal(r->x.result.answer_read, 20);
}

static void every_split(void **state)
{
    (void)state;
    script_t s;
    short events;
    good_script(&s);
    for (size_t at = 0; at <= s.len; at++) {
        rig_t *r = rig_make("abc", 3);
        app_write(r, s.bytes, at);
        apr_status_t rv = fcgipm_exchange_step(&r->x, &events);
        assert_int_equal(rv, at == s.len ? APR_SUCCESS : APR_EAGAIN);
        if (rv == APR_EAGAIN) {
            assert_int_equal(events, POLLIN);
            app_write(r, s.bytes + at, s.len - at);
            assert_int_equal(fcgipm_exchange_step(&r->x, &events), APR_SUCCESS);
        }
        check_good(r);
        assert_int_equal(r->x.result.body_sent, 3);
        unsigned char sent[64], want[24 + 8 + 3 + 8];
        memcpy(want, r->head, 24);
        fcgipm_record_put(want + 24, FCGIPM_TYPE_STDIN, 1, 3, 0);
        memcpy(want + 32, "abc", 3);
        fcgipm_record_put(want + 35, FCGIPM_TYPE_STDIN, 1, 0, 0);
        assert_int_equal(recv(r->app, sent, sizeof sent, 0), sizeof want);
        assert_memory_equal(sent, want, sizeof want);
        rig_free(r);
    }
}

static void byte_by_byte(void **state)
{
    (void)state;
    script_t s;
    short events;
    good_script(&s);
    rig_t *r = rig_make("", 0);
    for (size_t i = 0; i < s.len; i++) {
        app_write(r, s.bytes + i, 1);
        assert_int_equal(fcgipm_exchange_step(&r->x, &events), i + 1 < s.len ? APR_EAGAIN : APR_SUCCESS);
    }
    check_good(r);
    assert_int_equal(r->pauses, 20); /* one for each byte of the answer, none for headers */
    rig_free(r);
    r = rig_make("", 0); /* a tiny buffer: the same in many receives */
    r->cap = 5;
    app_write(r, s.bytes, s.len);
    assert_int_equal(fcgipm_exchange_run(&r->x), APR_SUCCESS);
    check_good(r);
    assert_int_equal(r->pauses, 0);
    rig_free(r);
}

/* ---- big against big ---- */

typedef struct app {
    int fd;
    size_t first;  /* bytes of STDOUT before it reads anything */
    size_t echoed; /* bytes of STDIN that came */
    unsigned sum;
} app_t;

static void wait_fd(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    poll(&p, 1, 10000);
}

static bool write_all(int fd, const void *at, size_t len)
{
    for (const char *p = at; len;) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            wait_fd(fd, POLLOUT);
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool stdout_write(int fd, const void *at, size_t len)
{
    unsigned char head[8];
    fcgipm_record_put(head, FCGIPM_TYPE_STDOUT, 1, len, 0);
    return write_all(fd, head, 8) && write_all(fd, at, len);
}

/* Echo STDIN as STDOUT; answers `first` bytes before it begins to read. */
static void *app_main(void *ctx)
{
    app_t *a = ctx;
    static const char zeros[8000];
    unsigned char buf[4096], end[16];
    fcgipm_record_reader_t reader;
    memset(&reader, 0, sizeof reader);
    for (size_t done = 0; done < a->first; done += sizeof zeros)
        if (!stdout_write(a->fd, zeros, sizeof zeros))
            return NULL;
    for (;;) {
        ssize_t n = recv(a->fd, buf, sizeof buf, 0);
        if (n < 0) {
            wait_fd(a->fd, POLLIN);
            continue;
        }
        if (n == 0)
            return NULL;
        const unsigned char *in = buf, *slice;
        size_t len;
        fcgipm_record_event_t ev;
        while ((ev = fcgipm_record_read(&reader, &in, buf + n, &slice, &len)) != FCGIPM_RECORD_MORE) {
            if (ev == FCGIPM_RECORD_SLICE && reader.record.type == FCGIPM_TYPE_STDIN) {
                a->echoed += len;
                for (size_t i = 0; i < len; i++)
                    a->sum = a->sum * 31 + slice[i];
                if (!stdout_write(a->fd, slice, len))
                    return NULL;
            }
            if (ev == FCGIPM_RECORD_HEADER && reader.record.type == FCGIPM_TYPE_STDIN &&
                reader.record.content_len == 0) {
                fcgipm_record_put_end(end, 1, 0, FCGIPM_STATUS_REQUEST_COMPLETE);
                write_all(a->fd, end, 16);
                return NULL;
            }
        }
    }
}

static void big_against_big(void **state)
{
    (void)state;
    size_t size = 6000000;
    char *body = malloc(size);
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++) {
        body[i] = (char)(i * 2654435761u >> 13);
        sum = sum * 31 + (unsigned char)body[i];
    }
    for (unsigned i = 0; i < 4; i++) {
        size_t first = i & 1 ? 4000000 : 0;
        rig_t *r = rig_make(body, size);
        r->says_last = i & 2;
        r->body_piece = i & 2 ? 300001 : 100000;
        int small = 4096;
        setsockopt(r->ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        setsockopt(r->app, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        app_t a = {.fd = r->app, .first = first};
        pthread_t t;
        pthread_create(&t, NULL, app_main, &a);
        r->x.read_us = 10000000;
        assert_int_equal(fcgipm_exchange_run(&r->x), APR_SUCCESS);
        pthread_join(t, NULL);
        assert_int_equal(a.echoed, size);
        assert_int_equal(a.sum, sum);
        assert_int_equal(r->answer_len, first + size);
        assert_memory_equal(r->answer + first, body, size);
        assert_true(r->x.result.reusable);
        assert_int_equal(r->x.result.body_sent, size);
        rig_free(r);
    }
    free(body);
}

/* ---- ends ---- */

static void eof_everywhere(void **state)
{
    (void)state;
    script_t s;
    short events;
    good_script(&s);
    for (size_t at = 0; at < s.len; at++) {
        rig_t *r = rig_make("abc", 3);
        assert_int_equal(fcgipm_exchange_step(&r->x, &events), APR_EAGAIN);
        char drop[64];
        assert_true(recv(r->app, drop, sizeof drop, 0) > 0);
        app_write(r, s.bytes, at);
        close(r->app);
        r->app = -1;
        assert_int_equal(fcgipm_exchange_run(&r->x), APR_EOF);
        assert_int_equal(r->x.fault.phase, at ? FCGIPM_PHASE_ANSWERED : FCGIPM_PHASE_SENT);
        assert_string_equal(r->x.fault.step, at ? "answer" : "first byte");
        assert_false(r->x.result.ended || r->x.result.reusable);
        rig_free(r);
    }
    /* closed before we said a word: certain that nothing has begun */
    rig_t *r = rig_make("abc", 3);
    close(r->app);
    r->app = -1;
    assert_int_equal(fcgipm_exchange_run(&r->x), EPIPE);
    assert_int_equal(r->x.fault.phase, FCGIPM_PHASE_NOTHING_SENT);
    rig_free(r);
    /* read nothing and reset */
    r = rig_make("abc", 3);
    assert_int_equal(fcgipm_exchange_step(&r->x, &events), APR_EAGAIN);
    close(r->app);
    r->app = -1;
    assert_int_equal(fcgipm_exchange_run(&r->x), ECONNRESET);
    assert_int_equal(r->x.fault.phase, FCGIPM_PHASE_SENT);
    rig_free(r);
}

/* An application that answers without reading, and leaves: the answer counts. */
static void early_end(void **state)
{
    (void)state;
    script_t s;
    size_t size = 3000000;
    char *body = calloc(1, size);
    good_script(&s);
    for (int leaves = 0; leaves < 2; leaves++) {
        rig_t *r = rig_make(body, size);
        app_write(r, s.bytes, s.len);
        if (leaves) {
            close(r->app);
            r->app = -1;
        }
        assert_int_equal(fcgipm_exchange_run(&r->x), APR_SUCCESS);
        assert_int_equal(r->answer_len, 20);
        assert_true(r->x.result.ended);
        assert_false(r->x.result.reusable);
        rig_free(r);
    }
    free(body);
}

static void after_the_end(void **state)
{
    (void)state;
    script_t s;
    good_script(&s);
    say(&s, FCGIPM_TYPE_STDOUT, 1, "smuggled", 0);
    rig_t *r = rig_make("", 0);
    app_write(r, s.bytes, s.len);
    assert_int_equal(fcgipm_exchange_run(&r->x), APR_SUCCESS);
    assert_int_equal(r->answer_len, 20);
    assert_false(r->x.result.reusable);
    rig_free(r);
    /* refused: ended well for us, not to be used again */
    s.len = 0;
    say_end(&s, FCGIPM_STATUS_OVERLOADED);
    r = rig_make("", 0);
    app_write(r, s.bytes, s.len);
    assert_int_equal(fcgipm_exchange_run(&r->x), APR_SUCCESS);
    assert_int_equal(r->x.result.protocol_status, FCGIPM_STATUS_OVERLOADED);
    assert_false(r->x.result.reusable);
    rig_free(r);
}

static void protocol_faults(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        script_t s = {.len = 0};
        fcgipm_mux_fault_t want = FCGIPM_MUX_BAD_VERSION;
        say(&s, FCGIPM_TYPE_STDOUT, 1, "begin", 0);
        size_t at = s.len;
        say(&s, i == 2 ? FCGIPM_TYPE_STDIN : FCGIPM_TYPE_STDOUT, i == 1 ? 2 : 1, "bad", 0);
        if (i == 0)
            s.bytes[at] = 2;
        if (i == 1)
            want = FCGIPM_MUX_BAD_ID;
        if (i == 2)
            want = FCGIPM_MUX_BAD_TYPE;
        if (i == 3) {
            s.bytes[at + 1] = FCGIPM_TYPE_END_REQUEST; /* with 3 bytes */
            want = FCGIPM_MUX_BAD_END;
        }
        rig_t *r = rig_make("", 0);
        app_write(r, s.bytes, s.len);
        assert_int_equal(fcgipm_exchange_run(&r->x), APR_EGENERAL);
        assert_int_equal(r->x.result.mux_fault, want);
        assert_int_equal(r->x.fault.phase, FCGIPM_PHASE_ANSWERED);
        assert_false(r->x.result.reusable);
        rig_free(r);
    }
}

static void limits(void **state)
{
    (void)state;
    script_t s = {.len = 0};
    rig_t *r = rig_make("", 0);
    int64_t begun = apr_time_now();
    r->x.read_us = 60000;
    assert_int_equal(fcgipm_exchange_run(&r->x), APR_TIMEUP);
    assert_true(apr_time_now() - begun >= 60000);
    assert_string_equal(r->x.fault.step, "first byte");
    assert_int_equal(r->x.fault.phase, FCGIPM_PHASE_SENT);
    rig_free(r);
    r = rig_make("", 0);
    say(&s, FCGIPM_TYPE_STDOUT, 1, "begin", 0);
    app_write(r, s.bytes, s.len);
    r->x.deadline_us = apr_time_now() + 60000;
    assert_int_equal(fcgipm_exchange_run(&r->x), APR_TIMEUP);
    assert_string_equal(r->x.fault.step, "answer");
    assert_int_equal(r->x.fault.phase, FCGIPM_PHASE_ANSWERED);
    assert_int_equal(r->answer_len, 5);
    assert_int_equal(r->pauses, 1);
    rig_free(r);
}

static void client_gone(void **state)
{
    (void)state;
    int client[2];
    for (int gone = 0; gone < 2; gone++) {
        rig_t *r = rig_make("", 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, client), 0);
        r->x.client_fd = client[0];
        r->x.read_us = 100000;
        r->gone = gone;
        shutdown(client[1], SHUT_WR); /* half closed */
        assert_int_equal(fcgipm_exchange_run(&r->x), gone ? APR_ECONNABORTED : APR_TIMEUP);
        assert_true(r->asked >= 1 && r->asked < 10);
        close(client[0]);
        close(client[1]);
        rig_free(r);
    }
    /* the answer cannot be passed on */
    script_t s;
    good_script(&s);
    rig_t *r = rig_make("", 0);
    r->answer_status = APR_ECONNABORTED;
    app_write(r, s.bytes, s.len);
    assert_int_equal(fcgipm_exchange_run(&r->x), APR_ECONNABORTED);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split),     cmocka_unit_test(byte_by_byte), cmocka_unit_test(big_against_big),
        cmocka_unit_test(eof_everywhere),  cmocka_unit_test(early_end),    cmocka_unit_test(after_the_end),
        cmocka_unit_test(protocol_faults), cmocka_unit_test(limits),       cmocka_unit_test(client_gone),
        cmocka_unit_test(one_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
