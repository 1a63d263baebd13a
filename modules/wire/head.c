/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/head.h"

#include <string.h>

/*
 * The buffer holds the lines as they came, without CR and each closed by LF: nothing is ever taken out of it
 * again, so that `cap` bounds what an application can make us read, however it spreads blanks and folds.
 * A line is judged when the byte after it is known, since that byte tells if it is folded.
 */
enum {
    AT_START, /* of a line */
    IN_NAME,  /* or in a status line, until the first colon or LF */
    IN_VALUE,
    IN_STATUS_LINE,
    IS_DONE,
    IS_BAD,
    CR_SEEN = 0x10 /* flag on one of the states above */
};

typedef enum verdict { GO_ON, NO_ROOM, SAW_END, SAW_FAULT } verdict_t;

const char *fcgipm_head_fault_str(fcgipm_head_fault_t fault)
{
    switch (fault) {
    case FCGIPM_HEAD_FINE:
        return "no fault";
    case FCGIPM_HEAD_CONTROL_BYTE:
        return "a control byte, or a CR that no LF follows";
    case FCGIPM_HEAD_NO_COLON:
        return "a line without colon";
    case FCGIPM_HEAD_BAD_NAME:
        return "a field name that is empty or not a token";
    case FCGIPM_HEAD_BAD_FOLD:
        return "a folded line without a field before it";
    case FCGIPM_HEAD_BAD_STATUS:
        return "a malformed, forbidden or contradictory status";
    case FCGIPM_HEAD_BAD_LENGTH:
        return "a malformed or contradictory Content-Length";
    case FCGIPM_HEAD_TOO_MANY:
        return "too many fields";
    case FCGIPM_HEAD_EMPTY:
        return "no field at all";
    default:
        return "unknown fault";
    }
}

const char *fcgipm_head_bad_line(const fcgipm_head_t *head, size_t *len)
{
    const char *line = head->buf + head->mark, *lf;

    *len = head->len - head->mark;
    if (*len && (lf = memchr(line, '\n', *len)))
        *len = (size_t)(lf - line);
    return line;
}

void fcgipm_head_init(fcgipm_head_t *head, char *buf, size_t cap)
{
    memset(head, 0, sizeof *head);
    head->buf = buf;
    head->cap = cap;
    head->line = 1;
}

void fcgipm_head_grow(fcgipm_head_t *head, char *buf, size_t cap)
{
    if (cap < head->len)
        return;
    if (head->len > 0)
        memmove(buf, head->buf, head->len);
    if (head->reason != NULL)
        head->reason = buf + (head->reason - head->buf);
    head->buf = buf;
    head->cap = cap;
}

static verdict_t fail(fcgipm_head_t *head, fcgipm_head_fault_t fault)
{
    head->fault = fault;
    return SAW_FAULT;
}

static verdict_t store(fcgipm_head_t *head, unsigned char c)
{
    if (head->len == head->cap)
        return NO_ROOM;
    head->buf[head->len++] = (char)c;
    return GO_ON;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* RFC 9110 §5.6.2 */
static bool is_token_byte(char c)
{
    if (is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_token_byte(s[i]))
            return false;
    return len > 0;
}

/* ASCII only and without the locale: a Turkish one must not change what a field means. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool name_is(const fcgipm_head_field_t *field, const char *lower_name)
{
    if (field->name_len != strlen(lower_name))
        return false;
    for (size_t i = 0; i < field->name_len; i++)
        if (lower(field->name[i]) != lower_name[i])
            return false;
    return true;
}

/* Cut the stored line at `line`, which has a colon and an LF; returns the offset of the next one. Inner LFs
 * are gone: unfold() ran before. */
static size_t cut_field(const fcgipm_head_t *head, size_t line, fcgipm_head_field_t *field)
{
    const char *s = head->buf + line;
    const char *lf = memchr(s, '\n', head->len - line);
    const char *colon = memchr(s, ':', (size_t)(lf - s));
    const char *from = colon + 1;
    const char *to = lf;

    while (from < to && is_blank(*from))
        from++;
    while (to > from && is_blank(to[-1]))
        to--;
    field->name = s;
    field->name_len = (size_t)(colon - s);
    field->value = from;
    field->value_len = (size_t)(to - from);
    return (size_t)(lf - head->buf) + 1;
}

/* Join a folded field (RFC 9112 §5.2): an LF and the blanks around it become one space. The bytes won are
 * filled with blanks at the end of the value and not given back, see the top of the file. */
static void unfold(fcgipm_head_t *head)
{
    char *to = head->buf + head->mark;
    const char *last = head->buf + head->len - 1; /* the LF that ends the field */

    for (const char *from = to; from < last; from++) {
        if (*from != '\n') {
            *to++ = *from;
            continue;
        }
        while (is_blank(to[-1]))
            to--;
        *to++ = ' ';
        while (is_blank(from[1]))
            from++;
    }
    memset(to, ' ', (size_t)(last - to));
}

/* "NNN", or "NNN reason". */
static bool set_status(fcgipm_head_t *head, const char *s, size_t len)
{
    unsigned status = 0;

    if (len < 3 || !is_digit(s[0]) || !is_digit(s[1]) || !is_digit(s[2]) || (len > 3 && !is_blank(s[3])))
        return false;
    for (size_t i = 0; i < 3; i++)
        status = status * 10 + (unsigned)(s[i] - '0');
    /* An interim status would end the exchange for a client that waits for the final one, and 101 would hand
     * it a connection that we still own. 103 is for the caller to judge. */
    if (status > 599 || (status < 200 && status != 103))
        return false;
    if (head->status != 0)
        return head->status == status;
    head->status = status;
    for (s += 3, len -= 3; len > 0 && is_blank(*s); s++)
        len--;
    head->reason = len > 0 ? s : NULL;
    head->reason_len = len;
    return true;
}

/* Digits only, and within the signed 64 bit offsets that all of httpd uses. */
static bool parse_length(const char *s, size_t len, uint64_t *length)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(s[i] - '0');
        if (!is_digit(s[i]) || n > ((uint64_t)INT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *length = n;
    return len > 0;
}

static bool set_length(fcgipm_head_t *head, const fcgipm_head_field_t *field)
{
    uint64_t length;

    if (!parse_length(field->value, field->value_len, &length))
        return false;
    if (head->has_length)
        return head->length == length;
    head->has_length = true;
    head->length = length;
    return true;
}

static verdict_t judge_field(fcgipm_head_t *head)
{
    fcgipm_head_field_t field;

    unfold(head);
    cut_field(head, head->mark, &field);
    head->fields++;
    if (name_is(&field, "status") && !set_status(head, field.value, field.value_len))
        return fail(head, FCGIPM_HEAD_BAD_STATUS);
    if (name_is(&field, "content-length") && !set_length(head, &field))
        return fail(head, FCGIPM_HEAD_BAD_LENGTH);
    if (name_is(&field, "location") && field.value_len > 0)
        head->has_location = true;
    return GO_ON;
}

/* "HTTP/1.x NNN reason" */
static verdict_t judge_status_line(fcgipm_head_t *head)
{
    const char *s = head->buf;
    size_t len = head->len - 1;

    head->nph = true;
    while (len > 0 && is_blank(s[len - 1]))
        len--;
    if (len < 12 || memcmp(s, "HTTP/1.", 7) != 0 || !is_digit(s[7]) || s[8] != ' ' ||
        !set_status(head, s + 9, len - 9))
        return fail(head, FCGIPM_HEAD_BAD_STATUS);
    return GO_ON;
}

/* Judge the field whose line ended before, if there is one. A folded field is reported at its last line. */
static verdict_t judge_pending(fcgipm_head_t *head)
{
    if (head->mark == head->len)
        return GO_ON;
    if (judge_field(head) == SAW_FAULT) {
        head->line--;
        return SAW_FAULT;
    }
    head->mark = head->len;
    return GO_ON;
}

static bool is_status_line(const fcgipm_head_t *head)
{
    return head->line == 1 && head->len >= 5 && memcmp(head->buf, "HTTP/", 5) == 0;
}

static verdict_t end_head(fcgipm_head_t *head)
{
    if (judge_pending(head) == SAW_FAULT)
        return SAW_FAULT;
    if (head->fields == 0 && !head->nph)
        return fail(head, FCGIPM_HEAD_EMPTY);
    /* From now on the mark is where the fields begin. */
    head->mark = head->nph ? (size_t)((char *)memchr(head->buf, '\n', head->len) - head->buf) + 1 : 0;
    head->state = IS_DONE;
    return SAW_END;
}

static verdict_t end_line(fcgipm_head_t *head)
{
    if (store(head, '\n') == NO_ROOM)
        return NO_ROOM;
    /* It cannot be folded (RFC 9112 §4), so it need not wait for the next byte. */
    if (head->state == IN_STATUS_LINE) {
        if (judge_status_line(head) == SAW_FAULT)
            return SAW_FAULT;
        head->mark = head->len;
    }
    head->line++;
    head->state = AT_START;
    return GO_ON;
}

static verdict_t end_name(fcgipm_head_t *head)
{
    bool status_line = is_status_line(head);

    if (!status_line && !is_token(head->buf + head->mark, head->len - head->mark))
        return fail(head, FCGIPM_HEAD_BAD_NAME);
    if (store(head, ':') == NO_ROOM)
        return NO_ROOM;
    head->state = status_line ? IN_STATUS_LINE : IN_VALUE;
    return GO_ON;
}

static verdict_t byte_in_name(fcgipm_head_t *head, unsigned char c)
{
    if (c == ':')
        return end_name(head);
    if (c != '\n')
        return store(head, c);
    if (!is_status_line(head))
        return fail(head, FCGIPM_HEAD_NO_COLON);
    head->state = IN_STATUS_LINE;
    return end_line(head);
}

static verdict_t fold_line(fcgipm_head_t *head, unsigned char c)
{
    if (head->mark == head->len)
        return fail(head, FCGIPM_HEAD_BAD_FOLD);
    if (store(head, c) == NO_ROOM)
        return NO_ROOM;
    head->state = IN_VALUE;
    return GO_ON;
}

static verdict_t byte_at_start(fcgipm_head_t *head, unsigned char c)
{
    if (c == '\n')
        return end_head(head);
    if (is_blank((char)c))
        return fold_line(head, c);
    if (judge_pending(head) == SAW_FAULT)
        return SAW_FAULT;
    if (head->fields == FCGIPM_HEAD_FIELDS_MAX)
        return fail(head, FCGIPM_HEAD_TOO_MANY);
    head->state = IN_NAME;
    return byte_in_name(head, c);
}

static verdict_t byte_in_line(fcgipm_head_t *head, unsigned char c)
{
    switch (head->state) {
    case AT_START:
        return byte_at_start(head, c);
    case IN_NAME:
        return byte_in_name(head, c);
    default:
        return c == '\n' ? end_line(head) : store(head, c);
    }
}

/* CR is kept as a flag until the byte after it is known. A byte that finds no room comes again after
 * fcgipm_head_grow, so nothing is changed that would count twice. */
static verdict_t take_byte(fcgipm_head_t *head, unsigned char c)
{
    unsigned cr = head->state & CR_SEEN;
    verdict_t verdict;

    if (c != '\n' && (cr != 0 || (c != '\r' && is_control(c))))
        return fail(head, FCGIPM_HEAD_CONTROL_BYTE);
    if (c == '\r') {
        head->state |= CR_SEEN;
        return GO_ON;
    }
    head->state &= ~(unsigned)CR_SEEN;
    verdict = byte_in_line(head, c);
    if (verdict == NO_ROOM)
        head->state |= cr;
    return verdict;
}

fcgipm_head_result_t fcgipm_head_read(fcgipm_head_t *head, const unsigned char **in, const unsigned char *end)
{
    if (head->state == IS_DONE)
        return FCGIPM_HEAD_DONE;
    if (head->state == IS_BAD)
        return FCGIPM_HEAD_BAD;
    while (*in != end) {
        switch (take_byte(head, **in)) {
        case GO_ON:
            ++*in;
            break;
        case SAW_END:
            ++*in;
            return FCGIPM_HEAD_DONE;
        case NO_ROOM:
            return FCGIPM_HEAD_FULL;
        case SAW_FAULT:
            head->state = IS_BAD;
            return FCGIPM_HEAD_BAD;
        }
    }
    return FCGIPM_HEAD_MORE;
}

bool fcgipm_head_next(const fcgipm_head_t *head, size_t *iter, fcgipm_head_field_t *field)
{
    if (head->state != IS_DONE || *iter >= head->len - head->mark)
        return false;
    *iter = cut_field(head, head->mark + *iter, field) - head->mark;
    return true;
}
