/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WIRE_PAIRS_H
#define FCGIPM_WIRE_PAIRS_H
/*
 * What: name-value pairs (FCGI 1.0 §3.4): 1 or 4 byte lengths, values of any length. The writer puts a
 * list of pairs as a stream of records (PARAMS, or GET_VALUES with id 0) into one block of the caller's,
 * splitting over record borders wherever they fall. The reader is resumable at every byte.
 * Who calls: anyone, any thread; no allocation, clock or I/O.
 * Always true: 1. a pair that does not fit is refused whole, nothing of it is left behind; 2. names and
 * values up to 2^31-1 bytes; 3. the size functions saturate to SIZE_MAX rather than wrap; 4. with id 0 all
 * pairs stay in one record, a management record cannot be continued (FCGI 1.0 §3.3); 5. a reader that is all
 * zero is at its start.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/record.h"

/* Bytes of one encoded pair, or SIZE_MAX if it cannot be encoded. */
size_t fcgipm_pairs_size(size_t name_len, size_t value_len);
/* Bytes that a block needs for `payload` bytes of pairs: record headers and the closing empty record. */
size_t fcgipm_pairs_block_size(size_t payload);

typedef struct fcgipm_pairs_writer {
    unsigned char *out; /* borrowed */
    size_t cap;
    size_t used; /* bytes of the block so far, headers included */
    size_t open; /* offset of the open record's header; SIZE_MAX when none is open */
    unsigned type;
    unsigned id;
} fcgipm_pairs_writer_t;

void fcgipm_pairs_writer_init(fcgipm_pairs_writer_t *w, unsigned char *out, size_t cap, unsigned type,
                              unsigned id);
/* Append one pair. False: no room or too long; the block is as it was. */
bool fcgipm_pairs_put(fcgipm_pairs_writer_t *w, const void *name, size_t name_len, const void *value,
                      size_t value_len);
/* Close the open record; with `end_stream`, append the empty record (PARAMS; not for GET_VALUES).
 * Returns the bytes of the block, 0 if there was no room. */
size_t fcgipm_pairs_finish(fcgipm_pairs_writer_t *w, bool end_stream);

typedef enum fcgipm_pairs_event {
    FCGIPM_PAIRS_MORE,  /* all input used */
    FCGIPM_PAIRS_PAIR,  /* the lengths are known: reader->name_len, value_len */
    FCGIPM_PAIRS_NAME,  /* a piece of the name in *slice */
    FCGIPM_PAIRS_VALUE, /* a piece of the value in *slice */
    FCGIPM_PAIRS_END,   /* the pair is complete */
    FCGIPM_PAIRS_BAD    /* longer than the limit set in the reader */
} fcgipm_pairs_event_t;

typedef struct fcgipm_pairs_reader {
    size_t name_len, value_len; /* of the current pair */
    size_t limit;               /* largest name_len + value_len accepted; 0 = 2^31 - 1 each */
    unsigned state;
    size_t want;
    uint32_t acc;
} fcgipm_pairs_reader_t;

/* Content bytes of consecutive records may be fed one after another; record borders do not matter. */
fcgipm_pairs_event_t fcgipm_pairs_read(fcgipm_pairs_reader_t *r, const unsigned char **in,
                                       const unsigned char *end, const unsigned char **slice,
                                       size_t *slice_len);
/* True when no pair is half read (the stream may end here). */
bool fcgipm_pairs_at_border(const fcgipm_pairs_reader_t *r);
#endif
