/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_LIMIT_H
#define FCGIPM_WEB_LIMIT_H
/*
 * What: so many log lines a second of one kind and pool, counted by each httpd child for itself; what was
 * left out is told with the next line that is written. Who calls: request threads. Owns: memory of the
 * process (static).
 */
#include <stdbool.h>
#include <apr.h>
#include "share/layout.h"

typedef struct fcgipm_limit {
    struct {
        apr_uint32_t second, lines, dropped;
    } window[FCGIPM_POOLS_MAX];
} fcgipm_limit_t;

/* May a line of `pool` be written? *dropped: how many were not since the last time that it was told. */
bool fcgipm_limit_allow(fcgipm_limit_t *limit, uint32_t pool, unsigned per_second, unsigned *dropped);
#endif
