/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_PARAMS_H
#define FCGIPM_WEB_PARAMS_H
/*
 * What: a request as BEGIN_REQUEST and PARAMS bytes (RFC 3875 section 4.1), from rows of name and getter, on
 * top of httpd's ap_add_common_vars and ap_add_cgi_vars. Values of any length; never HTTP_PROXY; no header
 * whose name is not letters, digits and hyphens (so that no `_` twin spoofs another); Authorization only with
 * CGIPassAuth. Who calls: job. Owns: the block is in r->pool.
 */
#include <httpd.h>
#include "web/match.h"

/* content_length: of the body, -1: there is none, or not known. ended: with the empty STDIN record, as there
 * is no body. flags: FCGIPM_KEEP_CONN or 0 (job patches block[10] later). APR_SUCCESS, or
 * APR_ENOSPC when a value cannot be encoded. */
apr_status_t fcgipm_params_build(request_rec *r, const fcgipm_match_t *match, apr_off_t content_length,
                                 bool ended, unsigned char **block, apr_size_t *len);
#endif
