/* SPDX-License-Identifier: Apache-2.0 */
#include "core/log.h"

#include <stdio.h>
#include <string.h>

static void log_to_stderr(void *ctx, int level, apr_status_t status, unsigned scope, const char *line)
{
    char text[4096];

    (void)ctx;
    fcgipm_log_escape(text, sizeof text, line, strlen(line));
    if (status)
        fprintf(stderr, "[fcgipm:%d] (%d) [%u] %s\n", level, status, scope, text);
    else
        fprintf(stderr, "[fcgipm:%d] [%u] %s\n", level, scope, text);
}

static fcgipm_log_fn *log_fn = log_to_stderr;
static void *log_ctx;
int fcgipm_log_max = FCGIPM_LOG_INFO;

void fcgipm_log_set(fcgipm_log_fn *fn, void *ctx, int level)
{
    log_fn = fn ? fn : log_to_stderr;
    log_ctx = ctx;
    fcgipm_log_max = level;
}

void fcgipm_log_level(int level)
{
    fcgipm_log_max = level;
}

void fcgipm_log_write(int level, apr_status_t status, unsigned scope, unsigned number, const char *fmt, ...)
{
    char line[2048];
    int len = snprintf(line, sizeof line, "FPM%04u: ", number);
    va_list args;

    va_start(args, fmt);
    vsnprintf(line + len, sizeof line - (size_t)len, fmt, args);
    va_end(args);
    log_fn(log_ctx, level, status, scope, line);
}

void fcgipm_log_plain(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\0')
            text[i] = '?';
}

/* Bytes of a well-formed UTF-8 sequence of two to four bytes at src, or 0. */
static size_t utf8_len(const unsigned char *src, size_t len)
{
    size_t n = src[0] >= 0xf0 && src[0] < 0xf5   ? 4
               : src[0] >= 0xe0 && src[0] < 0xf0 ? 3
               : src[0] >= 0xc2 && src[0] < 0xe0 ? 2
                                                 : 0;

    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((src[i] & 0xc0) != 0x80)
            return 0;
    /* overlong, surrogates, above U+10FFFF; and the C1 controls, which terminals obey */
    if ((src[0] == 0xe0 && src[1] < 0xa0) || (src[0] == 0xed && src[1] > 0x9f) ||
        (src[0] == 0xf0 && src[1] < 0x90) || (src[0] == 0xf4 && src[1] > 0x8f) ||
        (src[0] == 0xc2 && src[1] < 0xa0))
        return 0;
    return n;
}

/* One input piece as it shall stand in the log; returns the bytes of input used. */
static size_t escape_one(char out[8], const unsigned char *src, size_t len)
{
    size_t n = utf8_len(src, len);

    if (n > 0) {
        memcpy(out, src, n);
        out[n] = '\0';
        return n;
    }
    if (src[0] == '\\')
        memcpy(out, "\\\\", 3);
    else if (src[0] == '\t')
        memcpy(out, "\\t", 3);
    else if (src[0] < 0x20 || src[0] > 0x7e)
        snprintf(out, 8, "\\x%02x", src[0]);
    else {
        out[0] = (char)src[0];
        out[1] = '\0';
    }
    return 1;
}

size_t fcgipm_log_escape(char *dst, size_t cap, const char *src, size_t len)
{
    size_t used = 0, at = 0, cut = 0;

    if (cap == 0)
        return 0;
    while (at < len) {
        char piece[8];
        size_t n = escape_one(piece, (const unsigned char *)src + at, len - at), size = strlen(piece);

        if (used + size >= cap) {
            used = cut;
            for (int dots = 0; dots < 3 && used + 1 < cap; dots++)
                dst[used++] = '.';
            break;
        }
        memcpy(dst + used, piece, size);
        used += size;
        if (used + 4 <= cap)
            cut = used; /* the last place where the dots still fit */
        at += n;
    }
    dst[used] = '\0';
    return used;
}
