/* SPDX-License-Identifier: Apache-2.0 */
#include "web/params.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <http_core.h>
#include <util_script.h>

#include "wire/pairs.h"

#define BEGIN_LEN  16
#define REQUEST_ID 1u

/* --- where the script is (RFC 3875 sections 4.1.5, 4.1.6, 4.1.13) --- */

static void set_or_unset(apr_table_t *env, const char *name, const char *value)
{
    if (value)
        apr_table_setn(env, name, value);
    else
        apr_table_unset(env, name);
}

static const char *path_translated(request_rec *r, const char *path_info)
{
    const char *root = ap_document_root(r);

    return path_info[0] && root ? apr_pstrcat(r->pool, root, path_info, NULL) : NULL;
}

/* A mounted application: its script name is the mount point, nothing in the file system is meant. */
static void add_mount_vars(request_rec *r, const char *prefix)
{
    const char *path_info = r->uri + strlen(prefix);
    char *own = r->path_info;

    r->path_info = NULL; /* or httpd would look the path up in a subrequest, for PATH_TRANSLATED */
    ap_add_cgi_vars(r);
    r->path_info = own;
    apr_table_setn(r->subprocess_env, "SCRIPT_NAME", prefix);
    set_or_unset(r->subprocess_env, "PATH_INFO", path_info[0] ? path_info : NULL);
    set_or_unset(r->subprocess_env, "PATH_TRANSLATED", path_translated(r, path_info));
    apr_table_unset(r->subprocess_env, "SCRIPT_FILENAME");
}

/* When php-cgi and php-fpm see REDIRECT_URL they take PATH_TRANSLATED for the script and drop PATH_INFO
 * (their hack for Action handlers). So after a rewriting a script with path info is told the original URL by
 * REQUEST_URI only. */
static void add_file_vars(request_rec *r, bool action)
{
    /* httpd sets it where there is a path info, and else it is somebody's SetEnv. Not even of this place:
     * DirectoryIndex, FallbackResource and SSI bring along the variables of where they stand, and php would
     * run the script that another user's .htaccess names, as the owner of this one. */
    apr_table_unset(r->subprocess_env, "PATH_TRANSLATED");
    ap_add_cgi_vars(r);
    if (!action && r->path_info && r->path_info[0])
        apr_table_unset(r->subprocess_env, "REDIRECT_URL");
}

/* --- what must not be there, or be otherwise --- */

static void set_length(request_rec *r, apr_off_t length)
{
    if (length >= 0)
        apr_table_setn(r->subprocess_env, "CONTENT_LENGTH", apr_off_t_toa(r->pool, length));
    else
        apr_table_unset(r->subprocess_env, "CONTENT_LENGTH");
    /* It arrives whole and with a length, however it was sent; and "100 Continue" has been said. */
    apr_table_unset(r->subprocess_env, "HTTP_TRANSFER_ENCODING");
    apr_table_unset(r->subprocess_env, "HTTP_CONTENT_LENGTH");
    apr_table_unset(r->subprocess_env, "HTTP_EXPECT");
}

/* Header names with other bytes than letters, digits and hyphens httpd has already left out, so that no "_"
 * twin spoofs another (t/42-params.t holds it to that). */
static void drop_dangerous(request_rec *r)
{
    /* CVE-2016-5385 and its kin: no client chooses a proxy for the application. */
    apr_table_unset(r->subprocess_env, "HTTP_PROXY");
}

static bool is_same(const apr_table_entry_t *a, const apr_table_entry_t *b)
{
    return a->key_checksum == b->key_checksum && a->key && b->key && !strcasecmp(a->key, b->key) && a->val &&
           b->val && !strcmp(a->val, b->val);
}

static bool is_repeated(const apr_table_entry_t *all, int nth)
{
    for (int i = 0; i < nth; i++)
        if (is_same(&all[i], &all[nth]))
            return true;
    return false;
}

/* Of two values the last holds (mod_env adds them in that order, ap_add_common_vars() decides it). But where
 * DirectoryIndex leads to another place, httpd adds the variables of the first place once more, behind those
 * that the other one's owner has set: they do not count a second time. */
static void drop_repeated(request_rec *r)
{
    const apr_array_header_t *env = apr_table_elts(r->subprocess_env);
    const apr_table_entry_t *all = (const apr_table_entry_t *)env->elts;
    apr_table_t *once = NULL;

    for (int i = 1; i < env->nelts && !once; i++)
        if (is_repeated(all, i))
            once = apr_table_make(r->pool, env->nelts);
    for (int i = 0; i < env->nelts && once; i++)
        if (all[i].key && !is_repeated(all, i))
            apr_table_addn(once, all[i].key, all[i].val);
    if (once)
        r->subprocess_env = once;
}

/* --- bytes --- */

static size_t payload_size(const apr_array_header_t *env)
{
    size_t total = 0;

    for (int i = 0; i < env->nelts; i++) {
        const apr_table_entry_t *e = &((apr_table_entry_t *)env->elts)[i];
        size_t size = e->key ? fcgipm_pairs_size(strlen(e->key), e->val ? strlen(e->val) : 0) : 0;

        if (size == SIZE_MAX || size > SIZE_MAX / 4 - total)
            return SIZE_MAX;
        total += size;
    }
    return total;
}

static apr_status_t encode(request_rec *r, bool ended, unsigned char **block, apr_size_t *len)
{
    const apr_array_header_t *env = apr_table_elts(r->subprocess_env);
    size_t payload = payload_size(env), cap;
    fcgipm_pairs_writer_t w;

    if (payload == SIZE_MAX)
        return APR_ENOSPC;
    cap = fcgipm_pairs_block_size(payload);
    *block = apr_palloc(r->pool, BEGIN_LEN + cap + FCGIPM_RECORD_HEADER_LEN);
    fcgipm_record_put_begin(*block, REQUEST_ID, FCGIPM_ROLE_RESPONDER, 0);
    fcgipm_pairs_writer_init(&w, *block + BEGIN_LEN, cap, FCGIPM_TYPE_PARAMS, REQUEST_ID);
    for (int i = 0; i < env->nelts; i++) {
        const apr_table_entry_t *e = &((apr_table_entry_t *)env->elts)[i];

        if (e->key &&
            !fcgipm_pairs_put(&w, e->key, strlen(e->key), e->val ? e->val : "", e->val ? strlen(e->val) : 0))
            return APR_ENOSPC;
    }
    cap = fcgipm_pairs_finish(&w, true);
    *len = BEGIN_LEN + cap;
    if (ended)
        *len += fcgipm_record_put(*block + *len, FCGIPM_TYPE_STDIN, REQUEST_ID, 0, 0);
    return cap ? APR_SUCCESS : APR_ENOSPC;
}

apr_status_t fcgipm_params_build(request_rec *r, const fcgipm_match_t *match, apr_off_t content_length,
                                 bool ended, unsigned char **block, apr_size_t *len)
{
    drop_repeated(r);
    ap_add_common_vars(r);
    if (match->prefix)
        add_mount_vars(r, match->prefix);
    else
        add_file_vars(r, match->action);
    set_length(r, content_length);
    drop_dangerous(r);
    return encode(r, ended, block, len);
}
