/* SPDX-License-Identifier: Apache-2.0 */
#include "web/tempfile.h"

#include <apr_strings.h>

apr_status_t fcgipm_tempfile_open(apr_file_t **file, apr_pool_t *pool)
{
    const char *dir;
    char *name;
    apr_status_t rv = apr_temp_dir_get(&dir, pool);

    if (rv != APR_SUCCESS)
        return rv;
    name = apr_pstrcat(pool, dir, "/fcgipm-body-XXXXXX", NULL);
    rv = apr_file_mktemp(
        file, name, APR_FOPEN_CREATE | APR_FOPEN_READ | APR_FOPEN_WRITE | APR_FOPEN_EXCL | APR_FOPEN_BINARY,
        pool);
    if (rv == APR_SUCCESS)
        apr_file_remove(name, pool);
    return rv;
}
