/* SPDX-License-Identifier: Apache-2.0 */
#include "web/trace.h"

#include <string.h>

#include <http_log.h>

#include "wire/dump.h"

APLOG_USE_MODULE(fcgipm);

#define LINES_MAX 500 /* of one request */

void fcgipm_trace_begin(fcgipm_trace_t *trace, request_rec *r, const char *pool, unsigned slot, unsigned pid)
{
    memset(trace, 0, sizeof *trace);
    trace->r = r;
    trace->pool = pool;
    trace->slot = slot;
    trace->pid = pid;
}

static void put_line(fcgipm_trace_t *trace, bool out, const fcgipm_trace_side_t *side)
{
    char line[FCGIPM_DUMP_MAX];

    if (trace->lines++ >= LINES_MAX)
        return;
    fcgipm_dump_record(line, sizeof line, &side->reader.record, side->content, side->have);
    ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, trace->r, "FPM0673: pool %s slot %u pid %u: trace %s %s%s",
                  trace->pool, trace->slot, trace->pid, out ? ">" : "<", line,
                  trace->lines == LINES_MAX ? " (the rest of this request is left out)" : "");
}

static void gather(fcgipm_trace_side_t *side, const unsigned char *slice, size_t len)
{
    size_t room = sizeof side->content - side->have;

    if (len > room)
        len = room;
    memcpy(side->content + side->have, slice, len);
    side->have += len;
}

void fcgipm_trace_bytes(fcgipm_trace_t *trace, bool out, const unsigned char *data, size_t len)
{
    fcgipm_trace_side_t *side = &trace->side[out];
    const unsigned char *in = data, *end = data + len, *slice;
    size_t slice_len;

    for (;;) {
        switch (fcgipm_record_read(&side->reader, &in, end, &slice, &slice_len)) {
        case FCGIPM_RECORD_MORE:
            return;
        case FCGIPM_RECORD_HEADER:
            side->have = 0;
            break;
        case FCGIPM_RECORD_SLICE:
            gather(side, slice, slice_len);
            break;
        case FCGIPM_RECORD_END:
            put_line(trace, out, side);
            break;
        case FCGIPM_RECORD_BAD:
            ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, trace->r,
                          "FPM0674: pool %s slot %u pid %u: trace %s not a FastCGI record", trace->pool,
                          trace->slot, trace->pid, out ? ">" : "<");
            return;
        }
    }
}
