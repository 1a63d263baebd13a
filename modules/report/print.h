/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_REPORT_PRINT_H
#define FCGIPM_REPORT_PRINT_H
/*
 * What: a small buffer before the caller's output function, and the three ways to escape a string that was
 * read from the board. The writers know no socket and never hold a page: at most FCGIPM_PRINT_CAP bytes.
 * Who calls: the writers of this room; ctl and web pass the function. Owns: nothing, lives on the stack.
 * Always true: what any of the *_escaped functions writes is valid UTF-8 without control bytes, whatever it
 * was given.
 */
#include <stdarg.h>
#include <stddef.h>

#define FCGIPM_PRINT_CAP 4096u

typedef void fcgipm_print_fn(void *ctx, const char *data, size_t len);

typedef struct fcgipm_print {
    fcgipm_print_fn *out;
    void *ctx;
    size_t len;
    char buf[FCGIPM_PRINT_CAP];
} fcgipm_print_t;

void fcgipm_print_open(fcgipm_print_t *p, fcgipm_print_fn *out, void *ctx);
void fcgipm_print_close(fcgipm_print_t *p); /* writes what is left */
void fcgipm_print_bytes(fcgipm_print_t *p, const char *data, size_t len);
void fcgipm_print_str(fcgipm_print_t *p, const char *str);
/* Numbers and words of our own only: cut at 256 bytes. */
void fcgipm_print_fmt(fcgipm_print_t *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Inside JSON quotes, between HTML tags or in a quoted attribute, on a line of text. */
void fcgipm_print_json_escaped(fcgipm_print_t *p, const char *str);
void fcgipm_print_html_escaped(fcgipm_print_t *p, const char *str);
void fcgipm_print_text_escaped(fcgipm_print_t *p, const char *str);
#endif
