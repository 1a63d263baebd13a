/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WIRE_MUX_H
#define FCGIPM_WIRE_MUX_H
/*
 * What: the web server's side of one FastCGI connection, without I/O: request ids, a state per request,
 * and a reader that turns the application's bytes into events for the right request, checking version,
 * type and id of every record. It decides whether the connection may be used again.
 * Who calls: the process and thread that own the connection.
 * Owns: nothing; the stream table is the caller's array and lives as long as the mux.
 * Always true: 1. a request id is in use from begin until its END_REQUEST, also when it was aborted;
 * 2. STDOUT/STDERR after the stream's own end record is reported as an event IGNORED, never as data;
 * 3. once BROKEN, for ever BROKEN; 4. reusable only if nothing is half read, no request is open, and every
 * request that ever ended on it ended with FCGI_REQUEST_COMPLETE.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/pairs.h"
#include "wire/record.h"

/* Why a connection is BROKEN; each has a sentence (fcgipm_mux_fault_str). */
typedef enum fcgipm_mux_fault {
    FCGIPM_MUX_FINE,
    FCGIPM_MUX_BAD_VERSION, /* version byte is not 1 */
    FCGIPM_MUX_BAD_TYPE,    /* a type that only servers send, or one not in the table */
    FCGIPM_MUX_BAD_ID,      /* an id that is not in use, or a management id on an application record */
    FCGIPM_MUX_BAD_END,     /* END_REQUEST whose body is not 8 bytes or whose status is unknown */
    FCGIPM_MUX_BAD_VALUES,  /* GET_VALUES_RESULT (or UNKNOWN_TYPE) that is malformed, too long, or not asked
                               for */
    FCGIPM_MUX_TRAILING     /* a record for a request after its END_REQUEST */
} fcgipm_mux_fault_t;
const char *fcgipm_mux_fault_str(fcgipm_mux_fault_t fault);

typedef enum fcgipm_mux_kind {
    FCGIPM_MUX_MORE,       /* all input used */
    FCGIPM_MUX_STDOUT,     /* data, len: bytes of the answer, inside the input */
    FCGIPM_MUX_STDERR,     /* data, len: bytes of the error stream */
    FCGIPM_MUX_STDOUT_END, /* the answer's stream was closed by its empty record */
    FCGIPM_MUX_STDERR_END,
    FCGIPM_MUX_ENDED,   /* END_REQUEST: app_status, protocol_status; the id is free again */
    FCGIPM_MUX_IGNORED, /* data after the end of its stream was skipped */
    FCGIPM_MUX_VALUE,   /* the GET_VALUES answer is complete, all of it in mux->values */
    FCGIPM_MUX_UNKNOWN, /* UNKNOWN_TYPE: the application does not know a management record we sent */
    FCGIPM_MUX_BROKEN   /* mux->fault says why; close the connection */
} fcgipm_mux_kind_t;

typedef struct fcgipm_mux_event {
    fcgipm_mux_kind_t kind;
    unsigned id;               /* request id, 0 for management */
    const unsigned char *data; /* borrowed from the input */
    size_t len;
    uint32_t app_status;      /* ENDED: the application's exit status */
    unsigned protocol_status; /* ENDED: FCGIPM_STATUS_* */
} fcgipm_mux_event_t;

/* One request on the connection; all fields private but `user`. */
typedef struct fcgipm_mux_stream {
    unsigned state;
    bool stdout_ended, stderr_ended, aborted;
    void *user;
} fcgipm_mux_stream_t;

/* What FCGI_GET_VALUES said (FCGI 1.0 §4.1); 0 = not said. */
typedef struct fcgipm_mux_values {
    uint32_t max_conns, max_reqs, mpxs_conns;
    bool answered;
} fcgipm_mux_values_t;

typedef struct fcgipm_mux {
    fcgipm_record_reader_t reader;
    fcgipm_pairs_reader_t pairs;
    fcgipm_mux_stream_t *streams; /* streams[i] is request id i + 1 */
    size_t stream_count;
    size_t open_count;
    fcgipm_mux_fault_t fault;
    fcgipm_mux_values_t values;
    bool values_asked, unclean;
    unsigned char small[64]; /* END_REQUEST body or a GET_VALUES name/value, gathered over splits */
    size_t small_len;
} fcgipm_mux_t;

void fcgipm_mux_init(fcgipm_mux_t *mux, fcgipm_mux_stream_t *streams, size_t stream_count);
/* Take the lowest free id. Returns 1..stream_count, or 0 when all are in use or the mux is BROKEN. The caller
 * sends BEGIN_REQUEST with it. */
unsigned fcgipm_mux_begin(fcgipm_mux_t *mux, void *user);
/* The caller has sent (or will send) ABORT_REQUEST; data and ends of its streams are IGNORED from
 * now on; ENDED still comes. */
void fcgipm_mux_abort(fcgipm_mux_t *mux, unsigned id);
/* Write a GET_VALUES record asking for all three names. Returns its length, 0 if it does not fit, if
 * an answer is still awaited, or if BROKEN. */
size_t fcgipm_mux_ask_values(fcgipm_mux_t *mux, unsigned char *out, size_t cap);
/* Next event from [*in, end). */
fcgipm_mux_kind_t fcgipm_mux_read(fcgipm_mux_t *mux, const unsigned char **in, const unsigned char *end,
                                  fcgipm_mux_event_t *event);
/* May another request be sent on this connection? See Always true 4. */
bool fcgipm_mux_reusable(const fcgipm_mux_t *mux);
#endif
