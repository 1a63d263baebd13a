/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_OUTPUT_H
#define FCGIPM_PM_OUTPUT_H
/*
 * What: what workers write to stdout and stderr, as log lines: put together over reads, cut at a length,
 * tagged with pool, slot and pid, and limited in rate per worker. What the application writes is
 * data, never a log line of its own making (PROMISES R6). The last lines are kept for the obituary of a
 * worker that does not start.
 */
#include <stddef.h>
#include <stdint.h>

#define FCGIPM_OUTPUT_LINE 1024
#define FCGIPM_OUTPUT_LAST 3

typedef struct fcgipm_output {
    const char *pool; /* borrowed */
    uint32_t slot, pid;
    unsigned scope;
    char line[FCGIPM_OUTPUT_LINE];
    size_t len;
    int64_t window_us; /* begin of the current second's window */
    unsigned in_window, dropped;
    int64_t bytes_us; /* the same for bytes */
    size_t bytes;
    uint64_t lines, lost;               /* since the worker's start */
    char last[FCGIPM_OUTPUT_LAST][200]; /* the last lines, a ring */
    unsigned last_count;
} fcgipm_output_t;

void fcgipm_output_begin(fcgipm_output_t *out, const char *pool, uint32_t slot, uint32_t pid, unsigned scope);
/* Read what is there from a non-blocking descriptor, at most 64 KB a call. */
void fcgipm_output_read(fcgipm_output_t *out, int fd, int64_t now_us);
/* When it may be read again: it has written so much within a second that it has to wait until then. 0: now.
 */
int64_t fcgipm_output_full_until(const fcgipm_output_t *out, int64_t now_us);
/* The last lines, oldest first, with " | " between them; "" if it has written none. */
void fcgipm_output_last(const fcgipm_output_t *out, char *text, size_t cap);
/* The worker is dead: read the rest, log an unfinished line, tell what was dropped. */
void fcgipm_output_end(fcgipm_output_t *out, int fd, int64_t now_us);
#endif
