/* SPDX-License-Identifier: Apache-2.0 */
#include "web/reply.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_date.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_filter.h>
#include <util_time.h>

#include "core/clock.h"
#include "core/log.h"
#include "web/sendfile.h"
#include "web/spool.h"
#include "wire/head.h"

APLOG_USE_MODULE(fcgipm);

#define HEAD_FIRST    2048
#define PASS_HEADROOM 8191  /* for the head and chunk sizes */
#define FLUSH_DEFAULT 65535 /* httpd's */
#define PASS_LEAST    1024
#define PASS_MOST     (1 << 20)
#define SHORT_MAX     4096 /* an answer that is worth no thought */
#define PATIENCE_US   100000
#define CALM_US       5000 /* HTTP/2: a pause of the application that is worth a flush which may wait ... */
#define AGE_US        apr_time_from_sec(1) /* ... and how old an answer may get without one */

typedef enum reply_state {
    IN_HEAD,
    IN_BODY,
    IN_VAIN /* the rest is read, counted and thrown away */
} reply_state_t;

struct fcgipm_reply {
    request_rec *r;
    const char *pool_name;
    apr_size_t head_max;
    bool head_request;
    reply_state_t state;
    fcgipm_head_t head;
    fcgipm_spool_t *spool;
    apr_bucket_brigade *bb;
    apr_off_t pass_max; /* at a time: beyond its FlushMaxThreshold httpd waits for the client */
    int client_fd;      /* -1: nobody can tell whether the client takes something */
    bool flush;         /* the client shall get what has been passed on */
    bool unflushed;     /* something was passed on since the last flush */
    apr_time_t calm_us; /* without client_fd: the application has been silent since, 0: it is not */
    apr_time_t full_us; /* since when the memory has been full, 0: it is not */
    apr_interval_time_t patience_us; /* left */
    apr_time_t first_us;             /* without client_fd: since when there is something in the spool */
    apr_uint64_t body;               /* bytes of the body so far */
    const char *fault;               /* why the answer is no good */
    const char *jump;                /* local redirect */
    fcgipm_sendfile_t file;          /* named by the application ... */
    bool by_file;                    /* ... and to be sent in place of the body */
    bool file_refused;
    int status_instead; /* what httpd shall answer in place of the body: 304, 412 */
    bool redirect;      /* Location without Status: 302 */
    bool begun;
    int status_before; /* an error document begins with its error, and httpd knows it by that */
    const char *line_before;
    apr_uint64_t passed;         /* pieces that went to httpd's filters */
    apr_table_t *headers_before; /* headers_out as they were, for a retry */
    apr_table_t *err_headers_before;
};

static apr_off_t pass_max(request_rec *r)
{
    const core_server_config *conf = ap_get_core_module_config(r->connection->base_server->module_config);
    apr_size_t most = conf->flush_max_threshold ? conf->flush_max_threshold : FLUSH_DEFAULT;

    most = most > 2 * PASS_HEADROOM ? most - PASS_HEADROOM : most / 2;
    return (apr_off_t)(most < PASS_LEAST ? PASS_LEAST : most > PASS_MOST ? PASS_MOST : most);
}

fcgipm_reply_t *fcgipm_reply_create(request_rec *r, const fcgipm_setting_t *setting, const char *pool_name,
                                    int client_fd)
{
    fcgipm_reply_t *reply = apr_pcalloc(r->pool, sizeof *reply);
    apr_size_t head_max = (apr_size_t)setting->head_bytes;
    apr_size_t cap = head_max < HEAD_FIRST ? head_max : HEAD_FIRST;

    reply->r = r;
    reply->pool_name = pool_name;
    reply->head_max = head_max;
    reply->head_request = r->header_only;
    reply->client_fd = client_fd;
    reply->pass_max = pass_max(r);
    reply->patience_us = PATIENCE_US;
    reply->bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    reply->file.roots = setting->sendfile;
    reply->spool = fcgipm_spool_create(r, setting->reply_memory_bytes, setting->reply_file_bytes);
    fcgipm_head_init(&reply->head, apr_palloc(r->pool, cap), cap);
    reply->status_before = r->status;
    reply->line_before = r->status_line;
    reply->headers_before = apr_table_copy(r->pool, r->headers_out);
    reply->err_headers_before = apr_table_copy(r->pool, r->err_headers_out);
    return reply;
}

void fcgipm_reply_reset(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;

    apr_brigade_cleanup(reply->bb);
    fcgipm_spool_clear(reply->spool);
    fcgipm_head_init(&reply->head, reply->head.buf, reply->head.cap);
    r->headers_out = apr_table_copy(r->pool, reply->headers_before);
    r->err_headers_out = apr_table_copy(r->pool, reply->err_headers_before);
    r->status = reply->status_before;
    r->status_line = reply->line_before;
    reply->state = IN_HEAD;
    reply->body = 0;
    reply->fault = reply->jump = NULL;
    reply->file = (fcgipm_sendfile_t){.roots = reply->file.roots};
    reply->by_file = false;
    reply->status_instead = 0;
    reply->redirect = reply->flush = reply->unflushed = false;
    reply->calm_us = reply->first_us = 0;
}

char *fcgipm_reply_buffer(fcgipm_reply_t *reply, apr_size_t *cap)
{
    return fcgipm_spool_buffer(reply->spool, cap);
}

/* A client that is nearly as fast as the application gets a moment before its answer goes to a file: together
 * PATIENCE_US, so much is a slow one allowed to hold a process. */
bool fcgipm_reply_room(fcgipm_reply_t *reply)
{
    apr_time_t now;

    if (fcgipm_spool_light(reply->spool)) {
        if (reply->full_us)
            reply->patience_us -= fcgipm_clock_us() - reply->full_us;
        reply->full_us = 0;
        return true;
    }
    now = fcgipm_clock_us();
    if (reply->client_fd >= 0 && !reply->full_us && reply->patience_us > 0)
        reply->full_us = now;
    if (reply->full_us && now - reply->full_us < reply->patience_us)
        return false;
    return fcgipm_spool_room(reply->spool);
}

bool fcgipm_reply_hurry(fcgipm_reply_t *reply)
{
    reply->patience_us = 0;
    return fcgipm_reply_room(reply);
}

apr_off_t fcgipm_reply_peak(const fcgipm_reply_t *reply)
{
    return fcgipm_spool_peak(reply->spool);
}

/* --- the head --- */

static bool is(const fcgipm_head_field_t *f, const char *name)
{
    return f->name_len == strlen(name) && !strncasecmp(f->name, name, f->name_len);
}

static const char *value_of(const fcgipm_reply_t *reply, const fcgipm_head_field_t *f)
{
    return apr_pstrmemdup(reply->r->pool, f->value, f->value_len);
}

/* The names that the application's own Connection field makes hop-by-hop. */
static const char *connection_names(const fcgipm_reply_t *reply)
{
    fcgipm_head_field_t f;
    const char *names = NULL;
    size_t iter = 0;

    while (fcgipm_head_next(&reply->head, &iter, &f))
        if (is(&f, "Connection"))
            names =
                apr_pstrcat(reply->r->pool, names ? names : "", names ? "," : "", value_of(reply, &f), NULL);
    return names;
}

/* Is the field's name an element of the list? (ap_find_token would take "x" for "X-Real".) */
static bool listed(const char *list, const fcgipm_head_field_t *f)
{
    while (list && *list) {
        size_t len;

        list += strspn(list, ", \t");
        len = strcspn(list, ", \t");
        if (len == f->name_len && !strncasecmp(list, f->name, len))
            return true;
        list += len;
    }
    return false;
}

/* RFC 9110 section 7.6.1: these speak of a connection, and the application's is not the client's. HTTP/2
 * forbids them. */
static bool hop_by_hop(const fcgipm_head_field_t *f, const char *connection)
{
    static const char *const names[] = {
        "Connection", "Keep-Alive", "Proxy-Connection",   "Transfer-Encoding",  "TE",
        "Trailer",    "Upgrade",    "Proxy-Authenticate", "Proxy-Authorization"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is(f, names[i]))
            return true;
    return listed(connection, f);
}

static void set_last_modified(request_rec *r, const char *value)
{
    apr_time_t when = apr_date_parse_http(value);

    if (when != APR_DATE_BAD) {
        ap_update_mtime(r, when);
        ap_set_last_modified(r);
    }
}

static void set_field(fcgipm_reply_t *reply, const fcgipm_head_field_t *f)
{
    request_rec *r = reply->r;
    const char *value = value_of(reply, f);

    if (is(f, "Status") || is(f, "Content-Length"))
        return; /* the head's reader has looked at them */
    if (fcgipm_sendfile_take(&reply->file, f->name, f->name_len, value))
        return;
    if (is(f, "Content-Type"))
        ap_set_content_type(r, value);
    else if (is(f, "Location"))
        apr_table_setn(r->headers_out, "Location", value);
    else if (is(f, "Last-Modified"))
        set_last_modified(r, value);
    else if (is(f, "Set-Cookie"))
        apr_table_addn(r->err_headers_out, "Set-Cookie",
                       value); /* these stay over redirects and error pages */
    else
        apr_table_addn(r->headers_out, apr_pstrmemdup(r->pool, f->name, f->name_len), value);
}

static void set_fields(fcgipm_reply_t *reply)
{
    const char *connection = connection_names(reply);
    fcgipm_head_field_t f;
    size_t iter = 0;

    /* What the file's name said of its type is about the script, not about its answer. */
    ap_set_content_type(reply->r, NULL);
    while (fcgipm_head_next(&reply->head, &iter, &f))
        if (!hop_by_hop(&f, connection))
            set_field(reply, &f);
}

static void set_status(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;
    const fcgipm_head_t *head = &reply->head;

    if (!head->status)
        return;
    r->status = (int)head->status;
    if (head->reason && head->reason_len)
        r->status_line = apr_psprintf(r->pool, "%u %.*s", head->status, (int)head->reason_len, head->reason);
}

static bool is_read(const request_rec *r)
{
    return r->method_number == M_GET; /* HEAD too */
}

/* RFC 3875 section 6.2: a document, a local redirect, a client redirect with or without a document. Or the
 * name of one (its conditions are asked when it is there). */
static void decide(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;
    const char *location = reply->head.has_location ? apr_table_get(r->headers_out, "Location") : NULL;
    int condition;

    reply->state = IN_BODY;
    if (location && r->status == HTTP_OK) {
        if (location[0] == '/') {
            reply->jump = location;
            reply->state = IN_VAIN;
            return;
        }
        r->status = HTTP_MOVED_TEMPORARILY;
        r->status_line = NULL;
        reply->redirect = true;
    } else if (reply->file.header && !AP_STATUS_IS_HEADER_ONLY(r->status)) {
        reply->by_file = true;
        reply->state = IN_VAIN;
        return;
    } else if (r->status == HTTP_OK && is_read(r) && (condition = ap_meets_conditions(r)) != OK) {
        reply->status_instead = condition;
        reply->state = IN_VAIN;
    }
    if (reply->head_request || AP_STATUS_IS_HEADER_ONLY(r->status))
        reply->state = IN_VAIN;
}

/* httpd leaves a length alone that it finds; where there is a body it is held to it. */
static void set_length(fcgipm_reply_t *reply)
{
    if (reply->head.has_length && !reply->jump && !reply->by_file && !reply->status_instead &&
        reply->r->status != HTTP_NO_CONTENT)
        ap_set_content_length(reply->r, (apr_off_t)reply->head.length);
}

static apr_status_t refuse(fcgipm_reply_t *reply, const char *why)
{
    reply->fault = why;
    return APR_EGENERAL;
}

static apr_status_t grow_head(fcgipm_reply_t *reply)
{
    apr_size_t cap = reply->head.cap * 2;

    if (reply->head.cap >= reply->head_max)
        return refuse(reply, apr_psprintf(reply->r->pool,
                                          "its response head is larger than FcgiHeadLimit %" APR_SIZE_T_FMT,
                                          reply->head_max));
    cap = cap < reply->head_max ? cap : reply->head_max;
    fcgipm_head_grow(&reply->head, apr_palloc(reply->r->pool, cap), cap);
    return APR_SUCCESS;
}

/* With its beginning, by which the code that printed it is found: a message of its own, or a BOM. */
static apr_status_t refuse_line(fcgipm_reply_t *reply)
{
    size_t len;
    const char *line = fcgipm_head_bad_line(&reply->head, &len);
    char *text = apr_pstrmemdup(reply->r->pool, line, len < 80 ? len : 80);

    fcgipm_log_plain(text, len < 80 ? len : 80);
    return refuse(reply,
                  apr_psprintf(reply->r->pool, "line %u of its response head: %s%s%s%s", reply->head.line,
                               fcgipm_head_fault_str(reply->head.fault), len ? ": \"" : "", text,
                               !len       ? ""
                               : len > 80 ? "\"..."
                                          : "\""));
}

/* APR_SUCCESS: the head is complete and *in is at the body; APR_INCOMPLETE: it goes on. */
static apr_status_t read_head(fcgipm_reply_t *reply, const unsigned char **in, const unsigned char *end)
{
    for (;;) {
        apr_status_t rv;

        switch (fcgipm_head_read(&reply->head, in, end)) {
        case FCGIPM_HEAD_MORE:
            return APR_INCOMPLETE;
        case FCGIPM_HEAD_FULL:
            if ((rv = grow_head(reply)) != APR_SUCCESS)
                return rv;
            break;
        case FCGIPM_HEAD_BAD:
            return refuse_line(reply);
        case FCGIPM_HEAD_DONE:
            set_fields(reply);
            set_status(reply);
            decide(reply);
            set_length(reply);
            return APR_SUCCESS;
        }
    }
}

/* --- the body --- */

static apr_status_t pass(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;
    apr_status_t rv;

    reply->begun = true;
    reply->passed++;
    rv = ap_pass_brigade(r->output_filters, reply->bb);
    apr_brigade_cleanup(reply->bb);
    return rv == APR_SUCCESS && r->connection->aborted ? APR_ECONNABORTED : rv;
}

/* What httpd holds back of what it was given goes out first; as far as it goes without waiting. */
static apr_status_t drain(const fcgipm_reply_t *reply)
{
    conn_rec *c = reply->r->connection;
    ap_filter_t *f = c->output_filters;
    apr_status_t rv;

    if (reply->client_fd < 0 || !c->data_in_output_filters)
        return APR_SUCCESS;
    while (f->next)
        f = f->next;
    rv = f->frec->filter_func.out_func(f, NULL);
    if (rv != APR_SUCCESS || c->aborted)
        return APR_ECONNABORTED;
    return c->data_in_output_filters ? APR_EAGAIN : APR_SUCCESS;
}

static bool client_writable(const fcgipm_reply_t *reply)
{
    struct pollfd client = {.fd = reply->client_fd, .events = POLLOUT};

    return reply->client_fd < 0 || poll(&client, 1, 0) > 0;
}

/* httpd's filters keep what is small until more comes or a flush tells them not to; a flush waits for the
 * client, so only one that takes something is given one. */
static apr_status_t flush(fcgipm_reply_t *reply)
{
    if (!reply->flush || !reply->unflushed)
        return APR_SUCCESS;
    if (!client_writable(reply))
        return APR_EAGAIN;
    reply->flush = reply->unflushed = false;
    APR_BRIGADE_INSERT_TAIL(reply->bb, apr_bucket_flush_create(reply->r->connection->bucket_alloc));
    return pass(reply);
}

/* Until no more than `rest` is left. */
static apr_status_t push_until(fcgipm_reply_t *reply, apr_off_t rest)
{
    for (;;) {
        apr_status_t rv = drain(reply);

        if (rv != APR_SUCCESS || fcgipm_spool_held(reply->spool) <= rest)
            return rv;
        if ((rv = fcgipm_spool_take(reply->spool, reply->bb, (apr_size_t)reply->pass_max)) != APR_SUCCESS) {
            ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, reply->r,
                          "FPM0676: the temporary file of an answer cannot be read");
            return refuse(reply, "the temporary file of the answer cannot be read");
        }
        reply->unflushed = true;
        if ((rv = pass(reply)) != APR_SUCCESS)
            return rv;
    }
}

static apr_status_t push(fcgipm_reply_t *reply)
{
    apr_status_t rv = push_until(reply, 0);

    return rv == APR_SUCCESS ? flush(reply) : rv;
}

apr_status_t fcgipm_reply_push(fcgipm_reply_t *reply)
{
    if (reply->state != IN_BODY || (reply->client_fd < 0 && fcgipm_clock_us() < fcgipm_reply_due_us(reply)))
        return fcgipm_spool_held(reply->spool) ? APR_EAGAIN : APR_SUCCESS;
    reply->calm_us = reply->first_us = 0;
    return push(reply);
}

apr_status_t fcgipm_reply_deliver(fcgipm_reply_t *reply)
{
    return reply->state == IN_BODY ? push_until(reply, reply->pass_max) : APR_SUCCESS;
}

bool fcgipm_reply_waits(const fcgipm_reply_t *reply)
{
    return reply->client_fd >= 0 && reply->begun &&
           (fcgipm_spool_held(reply->spool) || (reply->flush && reply->unflushed) ||
            reply->r->connection->data_in_output_filters);
}

/* Not all of it at once: somebody may come who wants the process. */
static apr_int64_t patient_until(const fcgipm_reply_t *reply)
{
    apr_time_t end = reply->full_us + reply->patience_us, soon = fcgipm_clock_us() + PATIENCE_US / 5;

    return end < soon ? end : soon;
}

/* Where nobody can tell whether the client takes anything, passing on may wait for it, and the process with
 * us. So it is put off until the application has paused: by then it has finished most answers. */
apr_int64_t fcgipm_reply_due_us(const fcgipm_reply_t *reply)
{
    if (reply->client_fd >= 0)
        return reply->full_us && reply->patience_us > 0 ? patient_until(reply) : INT64_MAX;
    if (reply->calm_us && reply->calm_us + CALM_US < reply->first_us + AGE_US)
        return reply->calm_us + CALM_US;
    return reply->first_us ? reply->first_us + AGE_US : INT64_MAX;
}

static apr_status_t take_body(fcgipm_reply_t *reply, char *data, apr_size_t len)
{
    apr_status_t rv;

    reply->body += len;
    if (reply->state == IN_VAIN || len == 0)
        return APR_SUCCESS;
    if (reply->head.has_length && reply->body > reply->head.length)
        return refuse(reply, "it sent more than its Content-Length");
    fcgipm_spool_put(reply->spool, data, len);
    reply->calm_us = 0;
    if (reply->client_fd < 0) {
        if (!reply->first_us)
            reply->first_us = fcgipm_clock_us();
        rv = fcgipm_reply_push(reply);
    } else {
        rv = fcgipm_spool_held(reply->spool) >= reply->pass_max ? push(reply) : APR_SUCCESS;
    }
    return rv == APR_EAGAIN ? APR_SUCCESS : rv;
}

apr_status_t fcgipm_reply_answer(fcgipm_reply_t *reply, char *data, apr_size_t len)
{
    const unsigned char *in = (const unsigned char *)data, *end = in + len;
    apr_status_t rv;

    if (reply->state != IN_HEAD)
        return take_body(reply, data, len);
    rv = read_head(reply, &in, end);
    if (rv == APR_INCOMPLETE)
        return APR_SUCCESS;
    if (rv != APR_SUCCESS)
        return rv;
    return take_body(reply, data + (in - (const unsigned char *)data), (apr_size_t)(end - in));
}

apr_status_t fcgipm_reply_pause(fcgipm_reply_t *reply)
{
    /* Before there is a body to show, a status may still change to an error. */
    if (reply->state != IN_BODY || (reply->redirect && reply->body == 0))
        return APR_SUCCESS;
    if (!fcgipm_spool_held(reply->spool) && reply->begun && !reply->unflushed)
        return APR_SUCCESS;
    if (!reply->begun)
        reply->unflushed = true; /* the head alone is worth it */
    reply->flush = true;
    if (reply->client_fd < 0) {
        reply->calm_us = fcgipm_clock_us();
        if (!reply->first_us)
            reply->first_us = reply->calm_us;
        return APR_EAGAIN;
    }
    return push(reply);
}

bool fcgipm_reply_begun(const fcgipm_reply_t *reply)
{
    return reply->begun;
}

const char *fcgipm_reply_fault(const fcgipm_reply_t *reply)
{
    return reply->fault;
}

bool fcgipm_reply_file_refused(const fcgipm_reply_t *reply)
{
    return reply->file_refused;
}

/* --- the end --- */

/* On HTTP/1.0 the end of the connection is the end of the answer: only a reset shows that it was cut. */
static void reset_connection(request_rec *r)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    apr_socket_t *socket = ap_get_conn_socket(r->connection);
    apr_os_sock_t fd;

    if (socket && apr_os_sock_get(&fd, socket) == APR_SUCCESS)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* Does the client see where the answer ends, or only that the connection does? */
static bool is_framed(request_rec *r)
{
    return r->connection->master || r->chunked || apr_table_get(r->headers_out, "Content-Length");
}

apr_uint64_t fcgipm_reply_passed(const fcgipm_reply_t *reply)
{
    return reply->passed;
}

void fcgipm_reply_abandon(fcgipm_reply_t *reply)
{
    if (reply->begun && !is_framed(reply->r))
        reset_connection(reply->r);
}

/* mod_http2 makes RST_STREAM, the chunk filter leaves out the last chunk, and the connection ends. */
static int cut(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    bool framed = is_framed(r);

    apr_brigade_cleanup(reply->bb);
    fcgipm_spool_clear(reply->spool);
    r->connection->keepalive = AP_CONN_CLOSE;
    if (!framed)
        reset_connection(r);
    APR_BRIGADE_INSERT_TAIL(reply->bb, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, r->pool, alloc));
    APR_BRIGADE_INSERT_TAIL(reply->bb, ap_bucket_eoc_create(alloc));
    APR_BRIGADE_INSERT_TAIL(reply->bb, apr_bucket_eos_create(alloc));
    ap_pass_brigade(r->output_filters, reply->bb);
    apr_brigade_cleanup(reply->bb);
    if (!framed)
        r->connection->aborted = 1;
    return OK;
}

/* RFC 3875 section 6.2.2: as if the client had asked for it, with GET. */
static int follow(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;

    r->method = "GET";
    r->method_number = M_GET;
    apr_table_unset(r->headers_in, "Content-Length");
    apr_table_unset(r->headers_in, "Transfer-Encoding");
    apr_table_unset(r->headers_out, "Location");
    ap_internal_redirect_handler(reply->jump, r);
    return OK;
}

/* The process has been given on by now: the file may be slow, and the client too. */
static int send_file(fcgipm_reply_t *reply)
{
    int status = OK;
    const char *why = fcgipm_sendfile_answer(&reply->file, reply->r, &status);

    if (!why)
        return status;
    fcgipm_reply_reset(reply); /* nothing of its head goes with the error */
    refuse(reply, why);
    reply->file_refused = true;
    return HTTP_BAD_GATEWAY;
}

static int end_well(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;

    if (reply->jump)
        return follow(reply);
    if (reply->by_file)
        return send_file(reply);
    if (reply->status_instead == HTTP_NOT_MODIFIED)
        r->status = HTTP_NOT_MODIFIED;
    else if (reply->status_instead)
        return reply->status_instead;
    if (reply->redirect && !reply->begun && reply->body == 0)
        return HTTP_MOVED_TEMPORARILY; /* with httpd's page */
    if (fcgipm_spool_take(reply->spool, reply->bb, (apr_size_t)reply->pass_max) != APR_SUCCESS ||
        fcgipm_spool_held(reply->spool))
        return cut(reply); /* what is left over must not be left out */
    APR_BRIGADE_INSERT_TAIL(reply->bb, apr_bucket_eos_create(r->connection->bucket_alloc));
    pass(reply);
    /* Now, not when httpd has looked for a next request: by then it may be there, and needs no trip through
     * the MPM's listener. What does not go out without waiting goes out as ever. */
    (void)drain(reply);
    return OK;
}

/* Filters of content may take their time (a program, a rate); those of the protocol do not. */
static bool is_plain(const request_rec *r)
{
    return !r->main && r->output_filters->frec->ftype >= AP_FTYPE_PROTOCOL;
}

static bool short_body(const fcgipm_reply_t *reply)
{
    return reply->state == IN_BODY && reply->head.has_length && reply->body != reply->head.length;
}

bool fcgipm_reply_good(fcgipm_reply_t *reply)
{
    if (!reply->fault && reply->state == IN_HEAD)
        refuse(reply, reply->head.len ? "it ended in the middle of its response head"
                                      : "it ended without an answer");
    if (!reply->fault && short_body(reply))
        refuse(reply, "it sent less than its Content-Length");
    return !reply->fault;
}

bool fcgipm_reply_quick(fcgipm_reply_t *reply)
{
    return reply->client_fd >= 0 && reply->state == IN_BODY && !reply->redirect &&
           fcgipm_spool_held(reply->spool) <= SHORT_MAX && fcgipm_spool_light(reply->spool) &&
           !reply->r->connection->data_in_output_filters && is_plain(reply->r) && fcgipm_reply_good(reply);
}

int fcgipm_reply_finish(fcgipm_reply_t *reply, bool complete)
{
    const char *fault;

    if (complete && fcgipm_reply_good(reply))
        return end_well(reply);
    if (reply->begun)
        return cut(reply);
    fault = reply->fault;
    fcgipm_reply_reset(reply);
    reply->fault = fault;
    return HTTP_BAD_GATEWAY;
}
