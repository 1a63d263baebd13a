/* SPDX-License-Identifier: Apache-2.0 */
#include "web/sendfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_buckets.h>
#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <ap_mmn.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_filter.h>

/* A file on its way from a name to an answer. */
typedef struct found {
    request_rec *r;
    const apr_array_header_t *roots;
    int fd; /* O_PATH: it is held, and not opened; -1: none yet */
    struct stat st;
    char path[PATH_MAX]; /* where it is, without symbolic links */
    request_rec *sub;    /* what httpd makes of it: rules, type, per-directory configuration. Stays with r */
    apr_file_t *file;    /* the same inode, for reading */
    apr_finfo_t finfo;
} found_t;

bool fcgipm_sendfile_take(fcgipm_sendfile_t *s, const char *name, size_t name_len, const char *value)
{
    static const struct {
        const char *name;
        bool uri;
    } known[] = {{"X-Sendfile", false},
                 {"X-Lighttpd-Send-File", false},
                 {"X-Accel-Redirect", true},
                 {"X-LiteSpeed-Location", true}};

    for (size_t i = 0; s->roots && i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].name) != name_len || strncasecmp(known[i].name, name, name_len))
            continue;
        if (*value && !s->header) {
            s->header = known[i].name;
            s->value = value;
            s->uri = known[i].uri;
        }
        return true;
    }
    return false;
}

/* --- which file is it? --- */

/* As mod_xsendfile and lighttpd read it: %41 is A, and a percent sign that begins no such thing is itself.
 * NULL: it would have a NUL. */
static const char *unescaped(apr_pool_t *pool, const char *text)
{
    char *out = apr_palloc(pool, strlen(text) + 1), *to = out;

    for (; *text; text++) {
        char hex[3] = {0};

        if (*text == '%' && apr_isxdigit(text[1]) && apr_isxdigit(text[2])) {
            memcpy(hex, text + 1, 2);
            if (!(*to++ = (char)strtol(hex, NULL, 16)))
                return NULL;
            text += 2;
        } else {
            *to++ = *text;
        }
    }
    *to = '\0';
    return out;
}

static bool below(const char *path, const apr_array_header_t *roots)
{
    for (int i = 0; i < roots->nelts; i++) {
        const char *root = APR_ARRAY_IDX(roots, i, const char *);
        size_t len = strlen(root);

        while (len && root[len - 1] == '/')
            len--;
        if (!strncmp(path, root, len) && path[len] == '/')
            return true;
    }
    return false;
}

/* The name that the kernel has for a descriptor: where the file is, whatever links the way there went through
 * and whatever they mean by now. */
static bool real_path(found_t *f)
{
    const char *link = apr_psprintf(f->r->pool, "/proc/self/fd/%d", f->fd);
    ssize_t len = readlink(link, f->path, sizeof f->path);

    if (len <= 0 || (size_t)len == sizeof f->path)
        return false;
    f->path[len] = '\0';
    return f->path[0] == '/';
}

/* O_PATH opens nothing: a FIFO does not make us wait, and a device does nothing. */
static const char *hold(found_t *f, const char *path)
{
    apr_pool_t *pool = f->r->pool;
    char text[120];

    if ((f->fd = open(path, O_PATH | O_CLOEXEC)) < 0 || fstat(f->fd, &f->st) < 0)
        return apr_psprintf(pool, "it cannot be found (%s)", apr_strerror(errno, text, sizeof text));
    if (!real_path(f))
        return "it cannot be said where it is; /proc must be there";
    if (!below(f->path, f->roots))
        return apr_psprintf(pool, "its place %s is not below FcgiSendfile", f->path);
    if (!S_ISREG(f->st.st_mode))
        return "it is not a regular file";
    return NULL;
}

/* While we hold it no other file can have its number. */
static bool is_held(const found_t *f, const apr_finfo_t *finfo)
{
    return finfo->filetype == APR_REG && (finfo->valid & APR_FINFO_IDENT) == APR_FINFO_IDENT &&
           finfo->inode == f->st.st_ino && finfo->device == f->st.st_dev;
}

/* Would httpd give it to this client? And is it what httpd looked at? */
static const char *judge(const found_t *f)
{
    if (f->sub->status != HTTP_OK)
        return apr_psprintf(f->r->pool, "httpd's own rules answer %d there", f->sub->status);
    return f->fd < 0 || is_held(f, &f->sub->finfo) ? NULL : "it was exchanged meanwhile";
}

static const char *find_by_path(found_t *f, const char *value)
{
    const char *path = unescaped(f->r->pool, value), *why;

    if (!path || path[0] != '/')
        return "it is not a full path";
    if ((why = hold(f, path)))
        return why;
    f->sub = ap_sub_req_lookup_file(f->path, f->r, NULL);
    return judge(f);
}

/* Only httpd's mapping and rules are used, never a handler: a script there would be shown, not run. */
static const char *find_by_uri(found_t *f, const char *value)
{
    const char *why;

    if (value[0] != '/')
        return "it is not a path of this server";
    f->sub = ap_sub_req_lookup_uri(value, f->r, NULL);
    if ((why = judge(f)))
        return why;
    if (f->sub->proxyreq || (f->sub->handler && strcmp(f->sub->handler, "default-handler")))
        return "a handler answers there, not a file";
    if (!f->sub->filename || f->sub->filename[0] != '/' || f->sub->finfo.filetype != APR_REG ||
        (f->sub->path_info && f->sub->path_info[0]))
        return "there is no such file";
    if ((why = hold(f, f->sub->filename)))
        return why;
    return judge(f);
}

/* By way of the descriptor that was checked, so that it is that very file; and by APR, so that a file that
 * outlives the request in httpd's filters is closed there. */
static const char *open_held(found_t *f)
{
    const core_dir_config *conf = ap_get_core_module_config(f->sub->per_dir_config);
    apr_pool_t *pool = f->r->pool;
    apr_status_t rv;
    char text[120];

    rv = apr_file_open(&f->file, apr_psprintf(pool, "/proc/self/fd/%d", f->fd),
                       APR_FOPEN_READ | APR_FOPEN_BINARY | AP_SENDFILE_ENABLED(conf->enable_sendfile), 0,
                       pool);
    if (rv == APR_SUCCESS)
        rv = apr_file_info_get(&f->finfo, APR_FINFO_NORM, f->file);
    if (rv != APR_SUCCESS && !APR_STATUS_IS_INCOMPLETE(rv))
        return apr_psprintf(pool, "httpd's user cannot read it (%s)", apr_strerror(rv, text, sizeof text));
    return is_held(f, &f->finfo) ? NULL : "it was exchanged meanwhile";
}

/* --- the answer --- */

static const char *etag_of(found_t *f)
{
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 101)
    etag_rec er = {.vlist_validator = f->sub->vlist_validator,
                   .request_time = f->r->request_time,
                   .finfo = &f->finfo,
                   .fd = f->file};

    return ap_make_etag_ex(f->sub, &er);
#else
    f->sub->finfo = f->finfo;
    return ap_make_etag(f->sub, 0);
#endif
}

/* Only what answers a question for the file itself can be a part of it, or not modified. */
static bool is_plain(const request_rec *r)
{
    return r->status == HTTP_OK && r->method_number == M_GET; /* HEAD too */
}

/* What the application says of the file goes before what httpd knows of it. */
static void set_validators(found_t *f)
{
    request_rec *r = f->r;
    const char *etag;

    if (!apr_table_get(r->headers_out, "Last-Modified")) {
        ap_update_mtime(r, f->finfo.mtime);
        ap_set_last_modified(r);
    }
    if (!apr_table_get(r->headers_out, "ETag") && (etag = etag_of(f)) && *etag)
        apr_table_setn(r->headers_out, "ETag", etag);
    ap_set_accept_ranges(r);
}

/* What it says of its own body is not true of the file. */
static void set_fields(found_t *f)
{
    static const char *const of_its_body[] = {"Content-Encoding", "Content-Range", "Content-MD5",
                                              "Content-Digest"};
    request_rec *r = f->r;

    for (size_t i = 0; i < sizeof of_its_body / sizeof *of_its_body; i++)
        apr_table_unset(r->headers_out, of_its_body[i]);
    if (r->status == HTTP_PARTIAL_CONTENT) { /* which part is for httpd to say */
        r->status = HTTP_OK;
        r->status_line = NULL;
    }
    if (!r->content_type || !*r->content_type)
        ap_set_content_type(r, f->sub->content_type);
    r->content_encoding = f->sub->content_encoding;
    r->finfo = f->finfo;
    ap_set_content_length(r, f->finfo.size);
    if (is_plain(r))
        set_validators(f);
    else
        apr_table_unset(r->headers_in, "Range"); /* httpd's filter does not ask for the method */
}

static void put_file(const found_t *f, apr_bucket_brigade *bb)
{
    const core_dir_config *conf = ap_get_core_module_config(f->sub->per_dir_config);
    apr_bucket *b = apr_brigade_insert_file(bb, f->file, 0, f->finfo.size, f->r->pool);

#if APR_HAS_MMAP
    if (conf->enable_mmap == ENABLE_MMAP_OFF)
        (void)apr_bucket_file_enable_mmap(b, 0);
#endif
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 97)
    if (conf->read_buf_size)
        apr_bucket_file_set_buf_size(b, conf->read_buf_size);
#endif
}

/* As httpd's default handler does it. */
static int send_file(found_t *f)
{
    request_rec *r = f->r;
    conn_rec *c = r->connection;
    apr_bucket_brigade *bb;
    int condition;
    apr_status_t rv;

    set_fields(f);
    condition = is_plain(r) ? ap_meets_conditions(r) : OK;
    if (condition != OK && condition != HTTP_NOT_MODIFIED)
        return condition;
    bb = apr_brigade_create(r->pool, c->bucket_alloc);
    if (condition == OK)
        put_file(f, bb);
    else
        r->status = condition;
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(c->bucket_alloc));
    rv = ap_pass_brigade(r->output_filters, bb);
    apr_brigade_cleanup(bb);
    return rv == APR_SUCCESS || r->status != HTTP_OK || c->aborted ? OK : AP_FILTER_ERROR;
}

const char *fcgipm_sendfile_answer(const fcgipm_sendfile_t *s, request_rec *r, int *status)
{
    found_t f = {.r = r, .roots = s->roots, .fd = -1};
    const char *why = s->uri ? find_by_uri(&f, s->value) : find_by_path(&f, s->value);

    if (!why)
        why = open_held(&f);
    if (f.fd >= 0)
        close(f.fd);
    if (why)
        return apr_psprintf(r->pool, "%s %.500s: %s", s->header, s->value, why);
    *status = send_file(&f);
    return NULL;
}
