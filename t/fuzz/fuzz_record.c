/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_same.h"

#include "wire/dump.h"

static void check_dump(const fcgipm_record_t *record, const unsigned char *content, size_t have)
{
    char full[FCGIPM_DUMP_MAX + 64], cut[40];
    size_t len = fcgipm_dump_record(full, sizeof full, record, content, have);

    WIRE_CHECK(len < FCGIPM_DUMP_MAX && full[len] == '\0');
    for (size_t i = 0; i < len; i++)
        WIRE_CHECK(full[i] >= 0x20 && full[i] < 0x7f);
    len = fcgipm_dump_record(cut, sizeof cut, record, content, have);
    WIRE_CHECK(len < sizeof cut && memcmp(cut, full, len) == 0 && cut[len] == '\0');
}

/* A header that was read can be written again, and is the same but for the reserved byte. */
static void check_header(const fcgipm_record_t *record, const unsigned char *wire)
{
    unsigned char out[8];

    WIRE_CHECK(fcgipm_record_put(out, record->type, record->id, record->content_len, record->padding_len) ==
               8);
    WIRE_CHECK(memcmp(out, wire, 7) == 0 && out[7] == 0);
}

static void check_records(const unsigned char *in, size_t size)
{
    const unsigned char *end = in + size, *slice;
    fcgipm_record_reader_t r = {.state = 0};
    fcgipm_record_event_t event;
    size_t len;

    do {
        event = fcgipm_record_read(&r, &in, end, &slice, &len);
        if (event == FCGIPM_RECORD_HEADER)
            check_header(&r.record, in - 8);
        if (event == FCGIPM_RECORD_HEADER)
            check_dump(&r.record, in, (size_t)(end - in));
    } while (event != FCGIPM_RECORD_MORE && event != FCGIPM_RECORD_BAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_same(wire_run_record, NULL, data, size);
    if (size > 0)
        check_records(data, size);
    return 0;
}
