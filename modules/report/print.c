/* SPDX-License-Identifier: Apache-2.0 */
#include "report/print.h"
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 256

void fcgipm_print_open(fcgipm_print_t *p, fcgipm_print_fn *out, void *ctx)
{
    p->out = out;
    p->ctx = ctx;
    p->len = 0;
}

void fcgipm_print_close(fcgipm_print_t *p)
{
    if (p->len)
        p->out(p->ctx, p->buf, p->len);
    p->len = 0;
}

void fcgipm_print_bytes(fcgipm_print_t *p, const char *data, size_t len)
{
    while (len) {
        size_t n = FCGIPM_PRINT_CAP - p->len;
        if (n > len)
            n = len;
        memcpy(p->buf + p->len, data, n);
        p->len += n;
        data += n;
        len -= n;
        if (p->len == FCGIPM_PRINT_CAP)
            fcgipm_print_close(p);
    }
}

void fcgipm_print_str(fcgipm_print_t *p, const char *str)
{
    fcgipm_print_bytes(p, str, strlen(str));
}

void fcgipm_print_fmt(fcgipm_print_t *p, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n > 0)
        fcgipm_print_bytes(p, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

/* Length of the well-formed multi-byte sequence at s (Unicode table 3-7), or 0. A NUL is never a continuation
 * byte, so this does not read past the end of a string. U+0080..U+009F are control characters: 0. */
static size_t multibyte_len(const unsigned char *s)
{
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    unsigned char low = 0x80, high = 0xbf;

    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    if (s[0] == 0xc2 || s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xf0)
        low = 0x90;
    if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; ++i)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return n;
}

/* Print one byte that may not stand as it is: broken (control or not UTF-8) or special to the format. */
typedef void escape_fn(fcgipm_print_t *p, unsigned char c, int broken);

static void print_escaped(fcgipm_print_t *p, const char *str, const char *special, escape_fn *escape)
{
    const unsigned char *s = (const unsigned char *)str;

    while (*s) {
        size_t n = *s < 0x80 ? 1 : multibyte_len(s);
        if (n == 0 || *s < 0x20 || *s == 0x7f)
            escape(p, *s, 1);
        else if (n == 1 && strchr(special, *s))
            escape(p, *s, 0);
        else
            fcgipm_print_bytes(p, (const char *)s, n);
        s += n ? n : 1;
    }
}

static void json_escape(fcgipm_print_t *p, unsigned char c, int broken)
{
    fcgipm_print_fmt(p, "\\u%04x", broken && c >= 0x80 ? 0xfffdu : (unsigned)c);
}

static void html_escape(fcgipm_print_t *p, unsigned char c, int broken)
{
    if (broken)
        fcgipm_print_str(p, "&#xFFFD;");
    else
        fcgipm_print_fmt(p, "&#%u;", (unsigned)c);
}

static void text_escape(fcgipm_print_t *p, unsigned char c, int broken)
{
    (void)broken;
    fcgipm_print_fmt(p, "\\x%02x", (unsigned)c);
}

void fcgipm_print_json_escaped(fcgipm_print_t *p, const char *str)
{
    print_escaped(p, str, "\"\\<>&", json_escape);
}

void fcgipm_print_html_escaped(fcgipm_print_t *p, const char *str)
{
    print_escaped(p, str, "&<>\"'", html_escape);
}

void fcgipm_print_text_escaped(fcgipm_print_t *p, const char *str)
{
    print_escaped(p, str, "\\", text_escape);
}
