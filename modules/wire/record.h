/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WIRE_RECORD_H
#define FCGIPM_WIRE_RECORD_H
/*
 * What: FastCGI records, both directions: header encoding, and a reader that turns bytes into events and
 * can be stopped and resumed at every byte. FCGI 1.0 §3.3:
 *
 *     0        1        2        3        4        5        6        7
 *     +--------+--------+--------+--------+--------+--------+--------+--------+
 *     |version |  type  |   request id    | content length  |padding |reserved|
 *     +--------+--------+--------+--------+--------+--------+--------+--------+
 *     | content (0..65535 bytes)  ...  | padding (0..255 bytes) ...            |
 *
 * Who calls: anyone, any thread; no allocation, clock or I/O. The objects are plain memory of the caller.
 * Always true: 1. lengths are size_t from the first byte on (a 16-bit variable once cost haproxy a
 * smuggling hole); 2. reserved and padding bytes that we write are zero; 3. a reader that reported BAD
 * reports BAD for ever.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/table.h"

#define FCGIPM_RECORD_HEADER_LEN  8
#define FCGIPM_RECORD_CONTENT_MAX 65535

/* A decoded record header. */
typedef struct fcgipm_record {
    unsigned type;      /* FCGIPM_TYPE_*; not checked against the table by the reader */
    unsigned id;        /* request id, 0 for management records */
    size_t content_len; /* bytes, 0..65535 */
    size_t padding_len; /* bytes, 0..255 */
} fcgipm_record_t;

/* Write an 8 byte header. content_len must be <= 65535, padding_len <= 255, id <= 65535 (asserted by
 * clamping to an all-zero header, returning 0). Returns the bytes written: 8. */
size_t fcgipm_record_put(unsigned char out[8], unsigned type, unsigned id, size_t content_len,
                         size_t padding_len);
/* FCGI_BEGIN_REQUEST (FCGI 1.0 §5.1): header and body, 16 bytes. flags: FCGIPM_KEEP_CONN or 0. */
size_t fcgipm_record_put_begin(unsigned char out[16], unsigned id, unsigned role, unsigned flags);
/* FCGI_ABORT_REQUEST (§5.4): 8 bytes. */
size_t fcgipm_record_put_abort(unsigned char out[8], unsigned id);
/* FCGI_END_REQUEST (§5.5), the application's direction (tests, tools): 16 bytes. */
size_t fcgipm_record_put_end(unsigned char out[16], unsigned id, uint32_t app_status,
                             unsigned protocol_status);
/* FCGI_UNKNOWN_TYPE (§4.2), the application's direction: 16 bytes. */
size_t fcgipm_record_put_unknown(unsigned char out[16], unsigned type);

typedef enum fcgipm_record_event {
    FCGIPM_RECORD_MORE,   /* all input used, more is needed */
    FCGIPM_RECORD_HEADER, /* reader->record is complete; also for records without content */
    FCGIPM_RECORD_SLICE,  /* *slice, *slice_len: the next content bytes, inside the caller's input */
    FCGIPM_RECORD_END,    /* content and padding of the record are consumed */
    FCGIPM_RECORD_BAD     /* version is not 1 */
} fcgipm_record_event_t;

/* Fields are private but for `record`. All zero is a valid start. */
typedef struct fcgipm_record_reader {
    fcgipm_record_t record;
    unsigned state;
    size_t want; /* bytes still to come in this state */
    unsigned char header[FCGIPM_RECORD_HEADER_LEN];
} fcgipm_record_reader_t;

/* Take the next event from [*in, end). Advances *in over what it used. Slices point into the input and
 * are never longer than it. */
fcgipm_record_event_t fcgipm_record_read(fcgipm_record_reader_t *reader, const unsigned char **in,
                                         const unsigned char *end, const unsigned char **slice,
                                         size_t *slice_len);
/* True between records (nothing half read). */
bool fcgipm_record_at_border(const fcgipm_record_reader_t *reader);
#endif
