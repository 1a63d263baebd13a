/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/ready.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/head.h"
#include "wire/mux.h"

#define BEGIN_SIZE 16

struct fcgipm_question {
    int fd;
    fcgipm_ready_mode_t mode;
    fcgipm_mux_t mux;
    fcgipm_mux_stream_t stream;
    fcgipm_head_t head;
    char head_bytes[4096];
    bool head_done;
};

/* --- asking --- */

static bool put(fcgipm_pairs_writer_t *w, const char *name, const char *value, size_t len)
{
    return fcgipm_pairs_put(w, name, strlen(name), value, len);
}

/* The path as every kind of application looks for it: routers in PATH_INFO, PHP in SCRIPT_FILENAME. */
static size_t request_bytes(fcgipm_question_t *q, unsigned char *out, size_t cap, const char *path)
{
    static const char *const fixed[][2] = {{"GATEWAY_INTERFACE", "CGI/1.1"},
                                           {"SERVER_PROTOCOL", "HTTP/1.1"},
                                           {"SERVER_SOFTWARE", "mod_fcgipm"},
                                           {"REQUEST_METHOD", "GET"},
                                           {"SCRIPT_NAME", ""},
                                           {"SERVER_NAME", "localhost"},
                                           {"SERVER_PORT", "80"},
                                           {"REMOTE_ADDR", "127.0.0.1"},
                                           {"HTTP_HOST", "localhost"},
                                           {"CONTENT_LENGTH", ""},
                                           {"HTTP_USER_AGENT", "mod_fcgipm probe"},
                                           {"REDIRECT_STATUS", "200"}};
    size_t name_len = strcspn(path, "?"), used;
    const char *query = path[name_len] ? path + name_len + 1 : "";
    unsigned id = fcgipm_mux_begin(&q->mux, NULL);
    fcgipm_pairs_writer_t w;
    bool ok = true;

    fcgipm_record_put_begin(out, id, FCGIPM_ROLE_RESPONDER, 0);
    fcgipm_pairs_writer_init(&w, out + BEGIN_SIZE, cap - BEGIN_SIZE - 8, FCGIPM_TYPE_PARAMS, id);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        ok = ok && put(&w, fixed[i][0], fixed[i][1], strlen(fixed[i][1]));
    ok = ok && put(&w, "PATH_INFO", path, name_len) && put(&w, "SCRIPT_FILENAME", path, name_len) &&
         put(&w, "QUERY_STRING", query, strlen(query)) && put(&w, "REQUEST_URI", path, strlen(path));
    used = ok ? fcgipm_pairs_finish(&w, true) : 0;
    if (used == 0)
        return 0;
    fcgipm_record_put(out + BEGIN_SIZE + used, FCGIPM_TYPE_STDIN, id, 0, 0);
    return BEGIN_SIZE + used + 8;
}

fcgipm_question_t *fcgipm_ready_ask(const fcgipm_addr_t *addr, fcgipm_ready_mode_t mode, const char *path)
{
    fcgipm_question_t *q = calloc(1, sizeof *q);
    unsigned char bytes[8192];
    size_t len;
    int error;

    if (!q)
        return NULL;
    q->mode = mode;
    fcgipm_mux_init(&q->mux, &q->stream, 1);
    fcgipm_head_init(&q->head, q->head_bytes, sizeof q->head_bytes);
    len = mode == FCGIPM_READY_REQUEST ? request_bytes(q, bytes, sizeof bytes, path)
                                       : fcgipm_mux_ask_values(&q->mux, bytes, sizeof bytes);
    q->fd = socket(addr->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (q->fd >= 0 && len && connect(q->fd, &addr->u.sa, addr->len) == 0 &&
        send(q->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len)
        return q;
    error = errno;
    fcgipm_ready_close(q);
    errno = error;
    return NULL;
}

int fcgipm_ready_fd(const fcgipm_question_t *question)
{
    return question->fd;
}

bool fcgipm_ready_values(const fcgipm_question_t *question, fcgipm_mux_values_t *values)
{
    *values = question->mux.values;
    return question->mode == FCGIPM_READY_VALUES && values->answered;
}

void fcgipm_ready_close(fcgipm_question_t *question)
{
    if (!question)
        return;
    if (question->fd >= 0)
        close(question->fd);
    free(question);
}

/* --- listening --- */

static fcgipm_ready_verdict_t no(char *why, size_t cap, const char *text)
{
    snprintf(why, cap, "%s", text);
    return FCGIPM_READY_NO;
}

static fcgipm_ready_verdict_t on_end(const fcgipm_question_t *q, char *why, size_t cap)
{
    if (!q->head_done)
        return no(why, cap, "its answer to FcgiProbe has no head");
    if (q->head.status < 500)
        return FCGIPM_READY_YES;
    snprintf(why, cap, "it answers FcgiProbe with status %u", q->head.status);
    return FCGIPM_READY_NO;
}

static bool head_is_bad(fcgipm_question_t *q, const fcgipm_mux_event_t *event)
{
    const unsigned char *at = event->data;
    fcgipm_head_result_t result;

    if (q->head_done)
        return false;
    result = fcgipm_head_read(&q->head, &at, event->data + event->len);
    q->head_done = result == FCGIPM_HEAD_DONE;
    return result == FCGIPM_HEAD_BAD || result == FCGIPM_HEAD_FULL;
}

static fcgipm_ready_verdict_t take(fcgipm_question_t *q, const unsigned char *in, size_t len, char *why,
                                   size_t cap)
{
    const unsigned char *end = in + len;
    fcgipm_mux_event_t event;

    for (;;) {
        switch (fcgipm_mux_read(&q->mux, &in, end, &event)) {
        case FCGIPM_MUX_MORE:
            return FCGIPM_READY_WAIT;
        case FCGIPM_MUX_BROKEN:
            return no(why, cap, fcgipm_mux_fault_str(q->mux.fault));
        case FCGIPM_MUX_VALUE:
        case FCGIPM_MUX_UNKNOWN:
            return FCGIPM_READY_YES;
        case FCGIPM_MUX_ENDED:
            return on_end(q, why, cap);
        case FCGIPM_MUX_STDOUT:
            if (head_is_bad(q, &event))
                return no(why, cap, "its answer to FcgiProbe has a wrong head");
            break;
        default:
            break;
        }
    }
}

static fcgipm_ready_verdict_t sign(const fcgipm_question_t *q)
{
    char byte;
    ssize_t n = recv(q->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    int unread;

    if (n >= 0 || (errno != EAGAIN && errno != EINTR))
        return FCGIPM_READY_YES; /* an answer, or it has closed: either way it accepted us */
    return ioctl(q->fd, SIOCOUTQ, &unread) == 0 && unread == 0 ? FCGIPM_READY_YES : FCGIPM_READY_WAIT;
}

fcgipm_ready_verdict_t fcgipm_ready_check(fcgipm_question_t *question, char *why, size_t cap)
{
    unsigned char bytes[8192];
    ssize_t n;

    if (question->mode == FCGIPM_READY_SIGN)
        return sign(question);
    for (int round = 0; round < 16; round++) {
        n = recv(question->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return FCGIPM_READY_WAIT;
        if (n <= 0)
            return no(why, cap,
                      question->mode == FCGIPM_READY_VALUES
                          ? "it closes the connection instead of answering FCGI_GET_VALUES (FcgiReady Answer)"
                          : "it closes the connection instead of answering FcgiProbe");
        fcgipm_ready_verdict_t verdict = take(question, bytes, (size_t)n, why, cap);
        if (verdict != FCGIPM_READY_WAIT)
            return verdict;
    }
    return FCGIPM_READY_WAIT;
}
