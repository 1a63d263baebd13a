/* SPDX-License-Identifier: Apache-2.0 */
#include "link/exchange.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <apr_strings.h>
#include <apr_time.h>
#include "core/clock.h"

#define STDIN_RECORD_MAX 65528u /* the largest multiple of 8 */
#define GONE_ASK_MS      500
#define SENDS_MAX        8 /* in a row, then it is the answer's turn */
#define PEEK_MAX         4096

void fcgipm_exchange_init(fcgipm_exchange_t *x, const fcgipm_exchange_ops_t *ops, void *ctx, int fd)
{
    memset(x, 0, sizeof *x);
    x->ops = ops;
    x->ctx = ctx;
    x->fd = fd;
    x->client_fd = -1;
    fcgipm_fault_clear(&x->fault);
    x->phase = FCGIPM_PHASE_NOTHING_SENT;
    fcgipm_mux_init(&x->mux, &x->stream, 1);
    x->id = fcgipm_mux_begin(&x->mux, x);
    x->started_us = x->last_us = fcgipm_clock_us();
}

void fcgipm_exchange_sent(fcgipm_exchange_t *x, size_t len, int64_t at_us)
{
    x->head_sent = len < x->head_len ? len : x->head_len;
    x->out_done = x->head_ends && x->head_sent == x->head_len;
    if (len)
        x->phase = FCGIPM_PHASE_SENT;
    if (at_us)
        x->started_us = x->last_us = at_us;
}

static apr_status_t failed(fcgipm_exchange_t *x, apr_status_t status, const char *step, const char *sentence)
{
    fcgipm_fault_set(&x->fault, status, step, "%s", sentence);
    x->fault.phase = x->phase;
    return status;
}

/* ---- to the application ---- */

static void stage_record(fcgipm_exchange_t *x, size_t len)
{
    fcgipm_staged_t *record = &x->stage[x->staged++];
    (void)fcgipm_record_put(record->header, FCGIPM_TYPE_STDIN, x->id, len, 0);
    record->data = x->piece;
    record->len = len;
    x->piece = len ? x->piece + len : NULL;
    x->piece_len -= len;
}

/* Put the next STDIN records on the empty stage: a piece of the body, and the empty record that ends it. */
static apr_status_t stage(fcgipm_exchange_t *x)
{
    if (!x->piece_len && !x->piece_last) {
        apr_status_t rv = x->ops->body(x->ctx, &x->piece, &x->piece_len, &x->piece_last);
        x->starved = rv == APR_EAGAIN;
        if (x->starved)
            return rv;
        if (rv != APR_SUCCESS)
            return failed(x, rv, "body", "the request body could not be read");
        x->piece_last |= x->piece_len == 0;
    }
    while (x->piece_len && x->staged < FCGIPM_STAGE_MAX)
        stage_record(x, x->piece_len < STDIN_RECORD_MAX ? x->piece_len : STDIN_RECORD_MAX);
    x->body_eof = !x->piece_len && x->piece_last && x->staged < FCGIPM_STAGE_MAX;
    if (x->body_eof)
        stage_record(x, 0);
    return APR_SUCCESS;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* n more bytes are out. */
static void sent(fcgipm_exchange_t *x, size_t n, int64_t now_us)
{
    size_t head = least(n, x->head_len - x->head_sent), done = 0;
    x->head_sent += head;
    n -= head;
    while (done < x->staged && n) {
        const fcgipm_staged_t *record = &x->stage[done];
        size_t all = FCGIPM_RECORD_HEADER_LEN + record->len, before = x->staged_sent,
               step = least(n, all - before);
        x->staged_sent += step;
        n -= step;
        if (x->staged_sent > FCGIPM_RECORD_HEADER_LEN)
            x->result.body_sent +=
                x->staged_sent - (before > FCGIPM_RECORD_HEADER_LEN ? before : FCGIPM_RECORD_HEADER_LEN);
        if (x->staged_sent < all)
            break;
        x->staged_sent = 0;
        done++;
    }
    x->staged -= done;
    memmove(x->stage, x->stage + done, x->staged * sizeof *x->stage);
    x->last_us = now_us;
    if (x->phase == FCGIPM_PHASE_NOTHING_SENT)
        x->phase = FCGIPM_PHASE_SENT;
}

static void trace_sent(const fcgipm_exchange_t *x, const struct iovec *iov, unsigned count, ssize_t n)
{
    for (unsigned i = 0; i < count && n > 0; i++) {
        size_t len = iov[i].iov_len < (size_t)n ? iov[i].iov_len : (size_t)n;
        if (len)
            x->ops->trace(x->ctx, true, iov[i].iov_base, len);
        n -= (ssize_t)len;
    }
}

/* What is not out of `len` bytes, of which `sent` are. */
static struct iovec rest(const void *data, size_t len, size_t sent)
{
    struct iovec v = {(void *)(uintptr_t)data, 0};
    if (sent < len)
        v = (struct iovec){(char *)(uintptr_t)data + sent, len - sent};
    return v;
}

static ssize_t send_some(fcgipm_exchange_t *x)
{
    struct iovec iov[1 + 2 * FCGIPM_STAGE_MAX];
    unsigned count = 0;
    size_t skip = x->staged_sent;
    ssize_t n;
    iov[count++] = rest(x->head, x->head_len, x->head_sent);
    for (unsigned i = 0; i < x->staged; i++) {
        const fcgipm_staged_t *record = &x->stage[i];
        iov[count++] = rest(record->header, FCGIPM_RECORD_HEADER_LEN, skip);
        skip -= least(skip, FCGIPM_RECORD_HEADER_LEN);
        iov[count++] = rest(record->data, record->len, skip);
        skip = 0;
    }
    struct msghdr mh = {.msg_iov = iov, .msg_iovlen = count};
    do
        n = sendmsg(x->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (x->traced && x->ops->trace)
        trace_sent(x, iov, count, n);
    return n;
}

/* One send. *progress: bytes went out. A broken pipe only ends the sending: the answer may be there. */
static apr_status_t step_out(fcgipm_exchange_t *x, bool *progress)
{
    if (x->out_done)
        return APR_SUCCESS;
    if (!x->head_ends && !x->staged && !x->body_eof) {
        apr_status_t rv = stage(x);
        if (rv != APR_SUCCESS && (rv != APR_EAGAIN || x->head_sent == x->head_len))
            return rv == APR_EAGAIN ? APR_SUCCESS : rv;
    }
    ssize_t n = send_some(x);
    if (n < 0 && errno == EAGAIN)
        return APR_SUCCESS;
    if (n < 0) {
        x->out_error = errno;
        x->out_done = true;
        return APR_SUCCESS;
    }
    *progress = true;
    sent(x, (size_t)n, fcgipm_clock_us());
    x->out_done = (x->head_ends || x->body_eof) && !x->staged && x->head_sent == x->head_len;
    return APR_SUCCESS;
}

/* Several sends before we look for an answer: head, body and the body's end should be out when it comes. */
static apr_status_t send_turn(fcgipm_exchange_t *x, bool *progress)
{
    apr_status_t rv = APR_SUCCESS;
    bool sent_some = true;
    for (int i = 0; i < SENDS_MAX && sent_some && !x->out_done && rv == APR_SUCCESS; i++) {
        sent_some = false;
        rv = step_out(x, &sent_some);
        *progress |= sent_some;
    }
    return rv;
}

/* ---- from the application ---- */

static void begun(fcgipm_exchange_t *x)
{
    if (x->any_byte)
        return;
    x->any_byte = true;
    x->phase = FCGIPM_PHASE_ANSWERED;
    x->result.first_byte_us = x->last_us - x->started_us;
    if (x->result.first_byte_us <= 0)
        x->result.first_byte_us = 1;
}

/* Everything in [in, end): error stream to the caller at once, answer moved together at `data`. *len is
 * what there is of it. APR_SUCCESS: END_REQUEST was seen; APR_EAGAIN: it goes on. */
static apr_status_t take_events(fcgipm_exchange_t *x, char *data, size_t n, size_t *len)
{
    const unsigned char *in = (const unsigned char *)data, *end = in + n;
    fcgipm_mux_event_t event;
    *len = 0;
    for (;;) {
        switch (fcgipm_mux_read(&x->mux, &in, end, &event)) {
        case FCGIPM_MUX_MORE:
            return APR_EAGAIN;
        case FCGIPM_MUX_STDOUT:
            memmove(data + *len, event.data,
                    event.len); /* never upwards: payloads lie behind their headers */
            *len += event.len;
            break;
        case FCGIPM_MUX_STDERR:
            x->ops->errors(x->ctx, (const char *)event.data, event.len);
            break;
        case FCGIPM_MUX_STDOUT_END:
            x->result.stdout_ended = true;
            break;
        case FCGIPM_MUX_STDERR_END:
        case FCGIPM_MUX_IGNORED:
        case FCGIPM_MUX_VALUE:
        case FCGIPM_MUX_UNKNOWN:
            break;
        case FCGIPM_MUX_ENDED:
            x->result.ended = true;
            x->result.app_status = event.app_status;
            x->result.protocol_status = event.protocol_status;
            x->result.reusable = in == end && x->out_done && !x->out_error && fcgipm_mux_reusable(&x->mux);
            return APR_SUCCESS;
        case FCGIPM_MUX_BROKEN:
            x->result.mux_fault = x->mux.fault;
            return APR_EGENERAL;
        }
    }
}

static apr_status_t broken_off(fcgipm_exchange_t *x, apr_status_t status)
{
    if (status == APR_SUCCESS && !x->any_byte && x->out_error)
        return failed(x, x->out_error, "send",
                      "the application closed the connection before it read the request");
    if (status == APR_SUCCESS)
        return failed(x, APR_EOF, x->any_byte ? "answer" : "first byte",
                      x->any_byte ? "the application closed the connection in the middle of its answer"
                                  : "the application closed the connection without an answer");
    return failed(x, status, "receive", "the connection to the application broke");
}

static apr_status_t pass_on(fcgipm_exchange_t *x, char *data, size_t len)
{
    if (!len)
        return APR_SUCCESS;
    x->unflushed = true;
    x->result.answer_read += len;
    apr_status_t rv = x->ops->answer(x->ctx, data, len);
    return rv == APR_SUCCESS ? rv : failed(x, rv, "answer", "the answer could not be passed on");
}

/* Is this the whole of a short answer? */
static bool ends_here(const fcgipm_exchange_t *x, const unsigned char *data, size_t n)
{
    return n < PEEK_MAX && n >= 2 * FCGIPM_RECORD_HEADER_LEN &&
           data[n - 2 * FCGIPM_RECORD_HEADER_LEN + 1] == FCGIPM_TYPE_END_REQUEST &&
           fcgipm_record_at_border(&x->mux.reader);
}

static void read_looked_at(fcgipm_exchange_t *x)
{
    char buffer[PEEK_MAX];
    while (x->result.unread) {
        ssize_t n = recv(x->fd, buffer, x->result.unread, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        x->result.unread = n > 0 ? x->result.unread - (size_t)n : 0;
    }
}

/* One receive. APR_SUCCESS: ended; APR_EAGAIN: it goes on, *progress says if bytes came. */
static apr_status_t step_in(fcgipm_exchange_t *x, bool *progress)
{
    size_t cap = 0, len = 0;
    ssize_t n;
    x->full = x->ops->room && !x->ops->room(x->ctx);
    if (x->full)
        return APR_EAGAIN;
    char *data = x->ops->buffer(x->ctx, &cap);
    if (!data)
        return failed(x, APR_ENOMEM, "receive", "out of memory");
    bool peek = !x->any_byte && x->out_done && x->ops->peek && x->ops->peek(x->ctx);
    do
        n = recv(x->fd, data, peek && cap > PEEK_MAX ? PEEK_MAX : cap, MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return APR_EAGAIN;
    if (peek && n > 0 && !ends_here(x, (unsigned char *)data, (size_t)n)) { /* so it has to be read */
        peek = false;
        do
            n = recv(x->fd, data, cap, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
    }
    x->result.unread = peek && n > 0 ? (size_t)n : 0;
    if (n <= 0)
        return broken_off(x, n < 0 ? errno : APR_SUCCESS);
    *progress = true;
    x->last_us = fcgipm_clock_us();
    if (x->traced && x->ops->trace)
        x->ops->trace(x->ctx, false, (const unsigned char *)data, (size_t)n);
    begun(x);
    apr_status_t rv = take_events(x, data, (size_t)n, &len);
    if (rv != APR_SUCCESS)
        read_looked_at(x); /* it only looked like the end */
    apr_status_t passed = rv == APR_EGENERAL ? APR_SUCCESS : pass_on(x, data, len);
    if (passed != APR_SUCCESS)
        return passed;
    if (rv == APR_EGENERAL)
        return failed(x, rv, "answer", fcgipm_mux_fault_str(x->mux.fault));
    return rv;
}

/* ---- both ---- */

/* The longest silence that is allowed just now. */
static int64_t silence_us(const fcgipm_exchange_t *x)
{
    return x->firstbyte_us && !x->any_byte ? x->firstbyte_us : x->read_us;
}

static apr_status_t check_limits(fcgipm_exchange_t *x)
{
    int64_t now_us = fcgipm_clock_us();
    if (x->starved || x->full)
        x->last_us = now_us; /* it is not the application that is silent */
    if (x->deadline_us && now_us >= x->deadline_us)
        return failed(x, APR_TIMEUP, x->any_byte ? "answer" : "first byte",
                      "the request took too long (FcgiTimeout request=)");
    if (silence_us(x) && now_us - x->last_us >= silence_us(x))
        return failed(x, APR_TIMEUP, x->any_byte ? "answer" : "first byte",
                      x->any_byte
                          ? "the application fell silent in the middle of its answer (FcgiTimeout read=)"
                      : x->firstbyte_us ? "the application did not answer in time (FcgiTimeout firstbyte=)"
                                        : "the application did not answer in time (FcgiTimeout read=)");
    if (x->slow_us && now_us - x->started_us >= x->slow_us) {
        x->slow_us = 0;
        if (x->ops->slow)
            x->ops->slow(x->ctx);
    }
    return APR_EAGAIN;
}

/* Send and receive until neither goes on. */
static apr_status_t step_both(fcgipm_exchange_t *x)
{
    bool progress;
    do {
        progress = false;
        apr_status_t rv = send_turn(x, &progress);
        if (rv == APR_SUCCESS)
            rv = step_in(x, &progress);
        x->fault.phase = x->phase;
        if (rv != APR_EAGAIN)
            return rv;
        if ((rv = check_limits(x)) != APR_EAGAIN)
            return rv;
    } while (progress);
    return APR_EAGAIN;
}

apr_status_t fcgipm_exchange_step(fcgipm_exchange_t *x, short *events)
{
    *events = 0;
    x->fault.phase = x->phase;
    do {
        apr_status_t rv = step_both(x);
        if (rv != APR_EAGAIN)
            return rv;
        if (!x->unflushed)
            break;
        x->unflushed = false;
        rv = x->ops->pause(x->ctx);
        if (rv != APR_SUCCESS && rv != APR_EAGAIN)
            return failed(x, rv, "answer", "the answer could not be passed on");
    } while (x->full && x->ops->room(x->ctx)); /* what was flushed has made room */
    *events =
        (short)((x->full ? 0 : POLLIN) |
                (x->out_done || (x->starved && !x->staged && x->head_sent == x->head_len) ? 0 : POLLOUT));
    return APR_EAGAIN;
}

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t fcgipm_exchange_limit(const fcgipm_exchange_t *x)
{
    int64_t at_us = INT64_MAX;
    if (silence_us(x) && !x->starved && !x->full)
        at_us = less(at_us, x->last_us + silence_us(x));
    if (x->slow_us)
        at_us = less(at_us, x->started_us + x->slow_us);
    if (x->deadline_us)
        at_us = less(at_us, x->deadline_us);
    return at_us;
}

apr_status_t fcgipm_exchange_cut(fcgipm_exchange_t *x)
{
    return broken_off(x, APR_SUCCESS);
}

apr_status_t fcgipm_exchange_left(fcgipm_exchange_t *x)
{
    return failed(x, APR_ECONNABORTED, "client", "the client has left");
}

static int wait_ms(const fcgipm_exchange_t *x)
{
    int64_t now_us = fcgipm_clock_us(), at_us = fcgipm_exchange_limit(x);
    if (x->ops->gone)
        at_us = less(at_us, now_us + GONE_ASK_MS * 1000);
    if (at_us == INT64_MAX)
        return -1;
    return at_us <= now_us ? 0 : (int)less((at_us - now_us + 999) / 1000, INT_MAX);
}

apr_status_t fcgipm_exchange_run(fcgipm_exchange_t *x)
{
    int64_t asked_us = fcgipm_clock_us();
    for (;;) {
        short events;
        apr_status_t rv = fcgipm_exchange_step(x, &events);
        if (rv != APR_EAGAIN)
            return rv;
        struct pollfd pfds[2] = {{.fd = x->fd, .events = events}, {.fd = x->client_fd, .events = POLLRDHUP}};
        int n = poll(pfds, 2, wait_ms(x));
        if (n < 0 && errno != EINTR)
            return failed(x, errno, "poll", "cannot wait for the application");
        bool client_event = n > 0 && pfds[1].revents;
        int64_t now_us = fcgipm_clock_us();
        if (!x->ops->gone || !(client_event || now_us - asked_us >= GONE_ASK_MS * 1000))
            continue;
        asked_us = now_us;
        if (x->ops->gone(x->ctx))
            return fcgipm_exchange_left(x);
        if (client_event)
            x->client_fd = -1; /* half closed, and that is all right */
    }
}

void fcgipm_exchange_linger(fcgipm_exchange_t *x, fcgipm_link_t *link, fcgipm_lease_t *lease,
                            int64_t grace_us, int64_t limit_us)
{
    if (x->result.ended) { /* it has given all: only we could not take it */
        lease->unread = x->result.unread;
        fcgipm_lease_release(link, lease, x->result.reusable ? FCGIPM_LEASE_KEEP : FCGIPM_LEASE_CLOSE, true);
        return;
    }
    lease->cut = !x->out_done || x->out_error;
    fcgipm_lease_linger(link, lease, &x->mux, x->id, grace_us, limit_us);
}
