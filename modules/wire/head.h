/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WIRE_HEAD_H
#define FCGIPM_WIRE_HEAD_H
/*
 * What: the head of a CGI answer (RFC 3875 §6): resumable at every byte, bounded, and strict. It gathers
 * the head in the caller's buffer, and then gives out fields one by one. Lines end with LF or CRLF.
 * Refused: NUL anywhere, CR not before LF, other control bytes but TAB, an empty or non-token field name, a
 * line without colon, more bytes or fields than the limits, a folded first line, a bad Status or
 * Content-Length, two different Content-Length or statuses. Folded lines (obs-fold, RFC 9112 §5.2) are joined
 * by one space. Duplicates are kept in order (Set-Cookie needs that).
 * nph: a head that begins with "HTTP/1.x NNN reason" is accepted; the status line fills status and reason.
 * Who calls: the thread that reads the answer. Owns nothing: the buffer is the caller's.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum fcgipm_head_result {
    FCGIPM_HEAD_MORE, /* all input used, the head goes on */
    FCGIPM_HEAD_FULL, /* the buffer is full: fcgipm_head_grow, then feed the rest; or give up (limit) */
    FCGIPM_HEAD_DONE, /* the blank line was seen; *in points at the first byte of the body */
    FCGIPM_HEAD_BAD   /* fcgipm_head_fault_str(head->fault) says why; head->line counts from 1 */
} fcgipm_head_result_t;

typedef enum fcgipm_head_fault {
    FCGIPM_HEAD_FINE,
    FCGIPM_HEAD_CONTROL_BYTE,
    FCGIPM_HEAD_NO_COLON,
    FCGIPM_HEAD_BAD_NAME,
    FCGIPM_HEAD_BAD_FOLD,
    FCGIPM_HEAD_BAD_STATUS,
    FCGIPM_HEAD_BAD_LENGTH,
    FCGIPM_HEAD_TOO_MANY,
    FCGIPM_HEAD_EMPTY /* a blank line and no field at all */
} fcgipm_head_fault_t;
const char *fcgipm_head_fault_str(fcgipm_head_fault_t fault);

typedef struct fcgipm_head_field {
    const char *name; /* not NUL-terminated; in the head's buffer, in the application's spelling */
    size_t name_len;
    const char *value; /* surrounding blanks removed, folds joined */
    size_t value_len;
} fcgipm_head_field_t;

#define FCGIPM_HEAD_FIELDS_MAX 512

typedef struct fcgipm_head {
    char *buf; /* borrowed */
    size_t cap;
    size_t len; /* bytes gathered */
    unsigned line;
    unsigned fields;
    fcgipm_head_fault_t fault;
    unsigned status;    /* from Status or the nph line, 100..599; 0 = none said. 1xx is BAD_STATUS but 103 */
    const char *reason; /* after the number; NULL or not NUL-terminated */
    size_t reason_len;
    bool nph;          /* began with HTTP/1.x */
    bool has_location; /* and it is not empty */
    bool has_length;
    uint64_t length; /* Content-Length, if has_length; at most 2^63 - 1 */
    unsigned state;  /* private */
    size_t mark;     /* private */
} fcgipm_head_t;

/* After BAD: the beginning of the line that is, as far as it was read; may be empty. Not NUL-terminated. */
const char *fcgipm_head_bad_line(const fcgipm_head_t *head, size_t *len);
void fcgipm_head_init(fcgipm_head_t *head, char *buf, size_t cap);
/* Move to a larger buffer: the caller copies nothing, this does; the old buffer is free afterwards. A buffer
 * too small for the bytes gathered is not taken. */
void fcgipm_head_grow(fcgipm_head_t *head, char *buf, size_t cap);
fcgipm_head_result_t fcgipm_head_read(fcgipm_head_t *head, const unsigned char **in,
                                      const unsigned char *end);
/* After DONE: start over with *iter = 0; false when there are no more. */
bool fcgipm_head_next(const fcgipm_head_t *head, size_t *iter, fcgipm_head_field_t *field);
#endif
