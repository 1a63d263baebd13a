/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WIRE_DUMP_H
#define FCGIPM_WIRE_DUMP_H
/*
 * What: any record as one readable line, for traces, test failures and bug reports:
 *
 *     BEGIN_REQUEST id=1 content=8 padding=0 role=RESPONDER flags=1
 *     STDOUT id=1 content=7000 padding=0 "Status: 200 OK\r\n"... +6984
 *
 * Who calls: anyone, any thread.
 * Always true: 1. the line has only printable ASCII, so that an application cannot write into a log through
 * it; 2. it is cut, never overrun, and ends with NUL if cap > 0.
 */
#include <stddef.h>

#include "wire/record.h"

/* Enough for the longest line. */
#define FCGIPM_DUMP_MAX 384

/* `content` may hold fewer bytes than the record (content_have), or be NULL with 0; more are not looked at.
 * Returns the length of the line without the NUL. */
size_t fcgipm_dump_record(char *out, size_t cap, const fcgipm_record_t *r, const unsigned char *content,
                          size_t content_have);
#endif
