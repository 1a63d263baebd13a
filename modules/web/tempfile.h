/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_TEMPFILE_H
#define FCGIPM_WEB_TEMPFILE_H
/*
 * What: a temporary file whose name is gone before anything is written: nothing can be left behind, nobody
 * else can open it. Who calls: body, spool. Owns: pool closes it.
 */
#include <apr_file_io.h>

apr_status_t fcgipm_tempfile_open(apr_file_t **file, apr_pool_t *pool);
#endif
