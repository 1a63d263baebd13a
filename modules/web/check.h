/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_CHECK_H
#define FCGIPM_WEB_CHECK_H
/*
 * What: is what the configuration says possible in this world? Programs, directories and users are looked
 * for, names are looked up, limits and walls are tried; what means nothing is told. One sentence for each
 * fault, with file and line, that says what would be right. What can be seen from a directive alone,
 * web/block and web/commands say. Who calls: check_config, once for each reading of the configuration.
 */
#include <stdbool.h>
#include <httpd.h>

/* Under configtest every fault ends it; at a start only those with which nothing could be right: an
 * application that is gone must not keep hundreds of other sites from starting. Every fault is logged. False:
 * do not start.
 */
bool fcgipm_check_config(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *main_server);
#endif
