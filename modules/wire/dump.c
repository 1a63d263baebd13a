/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/dump.h"

#include "wire/span.h"

#define EXCERPT_MAX 64
#define BODY_LEN    8

/* A line being written: stops at the end, so that the callers need not look. */
typedef struct line {
    char *out;
    size_t cap, len;
} line_t;

static void put_char(line_t *line, char c)
{
    if (line->len + 1 < line->cap)
        line->out[line->len++] = c;
}

static void put_text(line_t *line, const char *text)
{
    while (*text != '\0')
        put_char(line, *text++);
}

static void put_number(line_t *line, size_t n)
{
    char digits[24];
    size_t i = sizeof digits - 1;

    digits[i] = '\0';
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    put_text(line, digits + i);
}

static void put_field(line_t *line, const char *name, size_t n)
{
    put_char(line, ' ');
    put_text(line, name);
    put_char(line, '=');
    put_number(line, n);
}

/* Numbers without a name are the interesting ones in a bug report, so they are shown. */
static void put_name(line_t *line, const char *name, unsigned n)
{
    put_text(line, name);
    if (*name == '?')
        put_number(line, n);
}

static void put_hex(line_t *line, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";

    put_text(line, "\\x");
    put_char(line, hex[c >> 4]);
    put_char(line, hex[c & 15]);
}

static void put_escaped(line_t *line, unsigned char c)
{
    switch (c) {
    case '\n':
        put_text(line, "\\n");
        return;
    case '\r':
        put_text(line, "\\r");
        return;
    case '\t':
        put_text(line, "\\t");
        return;
    case '"':
    case '\\':
        put_char(line, '\\');
        put_char(line, (char)c);
        return;
    default:
        break;
    }
    if (c < 0x20 || c > 0x7e)
        put_hex(line, c);
    else
        put_char(line, (char)c);
}

static void put_excerpt(line_t *line, const fcgipm_record_t *r, const unsigned char *content, size_t have)
{
    size_t shown = have < EXCERPT_MAX ? have : EXCERPT_MAX;

    if (r->content_len == 0)
        return;
    put_text(line, " \"");
    for (size_t i = 0; i < shown; i++)
        put_escaped(line, content[i]);
    put_char(line, '"');
    if (shown < r->content_len) {
        put_text(line, "... +");
        put_number(line, r->content_len - shown);
    }
}

static void put_begin_body(line_t *line, const unsigned char *body)
{
    unsigned role = fcgipm_span_get16(body);

    put_text(line, " role=");
    put_name(line, fcgipm_role_str(role), role);
    put_field(line, "flags", body[2]);
}

static void put_end_body(line_t *line, const unsigned char *body)
{
    put_field(line, "app_status", fcgipm_span_get32(body));
    put_text(line, " protocol_status=");
    put_name(line, fcgipm_status_str(body[4]), body[4]);
}

static void put_unknown_body(line_t *line, const unsigned char *body)
{
    put_text(line, " unknown=");
    put_name(line, fcgipm_type_str(body[0]), body[0]);
}

/* A body of the wrong length is shown as bytes: what it means nobody can say. */
static void put_content(line_t *line, const fcgipm_record_t *r, const unsigned char *content, size_t have)
{
    unsigned type = r->content_len == BODY_LEN && have == BODY_LEN ? r->type : 0;

    switch (type) {
    case FCGIPM_TYPE_BEGIN_REQUEST:
        put_begin_body(line, content);
        return;
    case FCGIPM_TYPE_END_REQUEST:
        put_end_body(line, content);
        return;
    case FCGIPM_TYPE_UNKNOWN_TYPE:
        put_unknown_body(line, content);
        return;
    default:
        put_excerpt(line, r, content, have);
        return;
    }
}

size_t fcgipm_dump_record(char *out, size_t cap, const fcgipm_record_t *r, const unsigned char *content,
                          size_t content_have)
{
    line_t line = {out, cap, 0};

    if (cap == 0)
        return 0;
    put_name(&line, fcgipm_type_str(r->type), r->type);
    put_field(&line, "id", r->id);
    put_field(&line, "content", r->content_len);
    put_field(&line, "padding", r->padding_len);
    put_content(&line, r, content, content_have < r->content_len ? content_have : r->content_len);
    out[line.len] = '\0';
    return line.len;
}
