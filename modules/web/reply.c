/* SPDX-License-Identifier: Apache-2.0 */
#include "web/reply.h"

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

#include "wire/head.h"

#define READ_SIZE  32768 /* of a block; a malloc each, which a heap bucket takes over */
#define HEAD_FIRST 2048
#define COPY_BELOW 4096  /* a small piece must not pin a whole block */
#define HOLD_MAX   65536 /* of the answer, before it is passed on without being asked */

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
    char *block; /* from the bucket allocator; NULL: given away */
    apr_bucket_brigade *bb;
    apr_off_t held;     /* bytes in bb */
    apr_uint64_t body;  /* bytes of the body so far */
    const char *fault;  /* why the answer is no good */
    const char *jump;   /* local redirect */
    int status_instead; /* what httpd shall answer in place of the body: 304, 412 */
    bool redirect;      /* Location without Status: 302 */
    bool begun;
    apr_table_t *headers_before; /* headers_out as they were, for a retry */
    apr_table_t *err_headers_before;
};

fcgipm_reply_t *fcgipm_reply_create(request_rec *r, apr_size_t head_max, const char *pool_name,
                                    bool head_request)
{
    fcgipm_reply_t *reply = apr_pcalloc(r->pool, sizeof *reply);
    apr_size_t cap = head_max < HEAD_FIRST ? head_max : HEAD_FIRST;

    reply->r = r;
    reply->pool_name = pool_name;
    reply->head_max = head_max;
    reply->head_request = head_request;
    reply->bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    fcgipm_head_init(&reply->head, apr_palloc(r->pool, cap), cap);
    reply->headers_before = apr_table_copy(r->pool, r->headers_out);
    reply->err_headers_before = apr_table_copy(r->pool, r->err_headers_out);
    return reply;
}

void fcgipm_reply_reset(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;

    apr_brigade_cleanup(reply->bb);
    fcgipm_head_init(&reply->head, reply->head.buf, reply->head.cap);
    r->headers_out = apr_table_copy(r->pool, reply->headers_before);
    r->err_headers_out = apr_table_copy(r->pool, reply->err_headers_before);
    r->status = HTTP_OK;
    r->status_line = NULL;
    reply->state = IN_HEAD;
    reply->held = 0;
    reply->body = 0;
    reply->fault = reply->jump = NULL;
    reply->status_instead = 0;
    reply->redirect = false;
}

char *fcgipm_reply_buffer(fcgipm_reply_t *reply, apr_size_t *cap)
{
    if (!reply->block)
        reply->block = apr_bucket_alloc(READ_SIZE, reply->r->connection->bucket_alloc);
    *cap = READ_SIZE;
    return reply->block;
}

static void free_block(fcgipm_reply_t *reply)
{
    if (reply->block)
        apr_bucket_free(reply->block);
    reply->block = NULL;
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

/* RFC 3875 section 6.2: a document, a local redirect, a client redirect with or without a document. */
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
    if (reply->head.has_length && !reply->jump && !reply->status_instead &&
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
            return refuse(reply, apr_psprintf(reply->r->pool, "line %u of its response head: %s",
                                              reply->head.line, fcgipm_head_fault_str(reply->head.fault)));
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
    reply->held = 0;
    rv = ap_pass_brigade(r->output_filters, reply->bb);
    apr_brigade_cleanup(reply->bb);
    return rv == APR_SUCCESS && r->connection->aborted ? APR_ECONNABORTED : rv;
}

/* `data` lies in the block: small pieces are copied out, for others the bucket takes the block over. */
static void hold(fcgipm_reply_t *reply, char *data, apr_size_t len)
{
    apr_bucket_alloc_t *alloc = reply->r->connection->bucket_alloc;
    apr_bucket *b;

    if (len < COPY_BELOW) {
        b = apr_bucket_heap_create(data, len, NULL, alloc);
    } else {
        b = apr_bucket_heap_create(reply->block, (apr_size_t)(data - reply->block) + len, apr_bucket_free,
                                   alloc);
        b->start = data - reply->block;
        b->length = len;
        reply->block = NULL;
    }
    APR_BRIGADE_INSERT_TAIL(reply->bb, b);
    reply->held += (apr_off_t)len;
}

static apr_status_t take_body(fcgipm_reply_t *reply, char *data, apr_size_t len)
{
    reply->body += len;
    if (reply->state == IN_VAIN || len == 0)
        return APR_SUCCESS;
    if (reply->head.has_length && reply->body > reply->head.length)
        return refuse(reply, "it sent more than its Content-Length");
    hold(reply, data, len);
    return reply->held >= HOLD_MAX ? pass(reply) : APR_SUCCESS;
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
    if (APR_BRIGADE_EMPTY(reply->bb) && reply->begun)
        return APR_SUCCESS;
    APR_BRIGADE_INSERT_TAIL(reply->bb, apr_bucket_flush_create(reply->r->connection->bucket_alloc));
    return pass(reply);
}

bool fcgipm_reply_begun(const fcgipm_reply_t *reply)
{
    return reply->begun;
}

const char *fcgipm_reply_fault(const fcgipm_reply_t *reply)
{
    return reply->fault;
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

/* mod_http2 makes RST_STREAM, the chunk filter leaves out the last chunk, and the connection ends. */
static int cut(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    bool framed = r->connection->master || r->chunked || apr_table_get(r->headers_out, "Content-Length");

    apr_brigade_cleanup(reply->bb);
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

static int end_well(fcgipm_reply_t *reply)
{
    request_rec *r = reply->r;

    if (reply->jump)
        return follow(reply);
    if (reply->status_instead == HTTP_NOT_MODIFIED)
        r->status = HTTP_NOT_MODIFIED;
    else if (reply->status_instead)
        return reply->status_instead;
    if (reply->redirect && !reply->begun && reply->body == 0)
        return HTTP_MOVED_TEMPORARILY; /* with httpd's page */
    APR_BRIGADE_INSERT_TAIL(reply->bb, apr_bucket_eos_create(r->connection->bucket_alloc));
    pass(reply);
    return OK;
}

static bool short_body(const fcgipm_reply_t *reply)
{
    return reply->state == IN_BODY && reply->head.has_length && reply->body != reply->head.length;
}

int fcgipm_reply_finish(fcgipm_reply_t *reply, bool complete)
{
    const char *fault;

    free_block(reply);
    if (complete && !reply->fault && reply->state == IN_HEAD)
        refuse(reply, reply->head.len ? "it ended in the middle of its response head"
                                      : "it ended without an answer");
    if (complete && !reply->fault && short_body(reply))
        refuse(reply, "it sent less than its Content-Length");
    if (complete && !reply->fault)
        return end_well(reply);
    if (reply->begun)
        return cut(reply);
    fault = reply->fault;
    fcgipm_reply_reset(reply);
    reply->fault = fault;
    return HTTP_BAD_GATEWAY;
}
