/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_LOG_H
#define FCGIPM_CORE_LOG_H
/*
 * What: the log as an injected function, so that every room below web can be linked without httpd. The
 * default writes to stderr. Each message has a number of its own: FCGIPM_LOG(123, ...) prints "FPM0123: ".
 * Numbers are unique in the tree (t/00-log-numbers.t): wire 0xx, core 1xx, share 2xx, pm 3xx-4xx,
 * link 5xx, web 6xx-8xx, ctl 9xx.
 * Who calls: anyone, any thread. Owns: nothing; the function stays set for the life of the process.
 */
#include <stdarg.h>
#include <apr_errno.h>

/* The values are httpd's own (http_log.h), so that web passes them on as they are. */
enum {
    FCGIPM_LOG_ERR = 3,
    FCGIPM_LOG_WARN = 4,
    FCGIPM_LOG_NOTICE = 5,
    FCGIPM_LOG_INFO = 6,
    FCGIPM_LOG_DEBUG = 7,
    FCGIPM_LOG_TRACE = 8
};

/* line: without newline or NUL; the function escapes what its log cannot bear (httpd's does). scope: the
 * pool's log scope (an index that web understands, 0 = the main server). */
typedef void fcgipm_log_fn(void *ctx, int level, apr_status_t status, unsigned scope, const char *line);

/* Set the logger and the highest level it wants. Call before threads exist or from one thread. */
void fcgipm_log_set(fcgipm_log_fn *fn, void *ctx, int level);
void fcgipm_log_level(int level);
extern int fcgipm_log_max; /* read through FCGIPM_LOG only */

void fcgipm_log_write(int level, apr_status_t status, unsigned scope, unsigned number, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* status: 0 when there is none. */
#define FCGIPM_LOG(number, level, status, scope, ...)                                                        \
    do {                                                                                                     \
        if ((level) <= fcgipm_log_max)                                                                       \
            fcgipm_log_write((level), (status), (scope), (number), __VA_ARGS__);                             \
    } while (0)

/* Make bytes printable with %.*s: NUL becomes '?'. */
void fcgipm_log_plain(char *text, size_t len);
/* Copy src (len bytes) to dst (cap, always NUL-terminated) with control bytes, quotes' backslash and bytes
 * over 126 as \xHH; what does not fit is cut and marked with "...". Returns strlen(dst). Valid UTF-8 is kept.
 */
size_t fcgipm_log_escape(char *dst, size_t cap, const char *src, size_t len);
#endif
