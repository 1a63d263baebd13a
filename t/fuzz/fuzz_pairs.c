/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_same.h"

/*
 * The first byte chooses the limit of the reader and the room of the writer; the rest is read as pairs. Each
 * pair that was read is written again: what comes out must read the same.
 */
typedef struct fuzz_again {
    fcgipm_pairs_writer_t writer;
    size_t payload;
    unsigned char *name, *value;
    size_t name_len, value_len;
    wire_log_t log; /* of the pairs that went in */
} fuzz_again_t;

static void begin_pair(fuzz_again_t *a, const fcgipm_pairs_reader_t *r, size_t most)
{
    WIRE_CHECK(a->name == NULL && a->value == NULL);
    /* Lengths may promise 2 GB that never come. */
    a->name = malloc(r->name_len < most ? r->name_len + 1 : most);
    a->value = malloc(r->value_len < most ? r->value_len + 1 : most);
    WIRE_CHECK(a->name != NULL && a->value != NULL);
    a->name_len = a->value_len = 0;
}

static void drop_pair(fuzz_again_t *a)
{
    free(a->name);
    free(a->value);
    a->name = a->value = NULL;
}

static void put_pair(fuzz_again_t *a)
{
    size_t used = a->writer.used, left = a->writer.cap - used;

    if (!fcgipm_pairs_put(&a->writer, a->name, a->name_len, a->value, a->value_len)) {
        WIRE_CHECK(a->writer.used == used &&
                   fcgipm_pairs_block_size(fcgipm_pairs_size(a->name_len, a->value_len)) > left);
        return;
    }
    a->payload += fcgipm_pairs_size(a->name_len, a->value_len);
    wire_log_line(&a->log, "PAIR %zu %zu\n", a->name_len, a->value_len);
    if (a->name_len > 0)
        wire_log_data(&a->log, 1, "NAME", a->name, a->name_len);
    if (a->value_len > 0)
        wire_log_data(&a->log, 2, "VALUE", a->value, a->value_len);
    wire_log_line(&a->log, "END\n");
}

static void write_again(fuzz_again_t *a, const unsigned char *in, size_t len)
{
    const unsigned char *end = in + len, *slice;
    fcgipm_pairs_reader_t r = {.limit = 0};
    size_t n;

    for (;;) {
        switch (fcgipm_pairs_read(&r, &in, end, &slice, &n)) {
        case FCGIPM_PAIRS_PAIR:
            begin_pair(a, &r, len + 1);
            break;
        case FCGIPM_PAIRS_NAME:
            WIRE_CHECK(a->name != NULL);
            memcpy(a->name + a->name_len, slice, n);
            a->name_len += n;
            break;
        case FCGIPM_PAIRS_VALUE:
            WIRE_CHECK(a->value != NULL);
            memcpy(a->value + a->value_len, slice, n);
            a->value_len += n;
            break;
        case FCGIPM_PAIRS_END:
            WIRE_CHECK(a->name_len == r.name_len && a->value_len == r.value_len);
            put_pair(a);
            drop_pair(a);
            break;
        default:
            drop_pair(a);
            return;
        }
    }
}

/* The content of all records, joined in place. */
static size_t unpack(unsigned char *block, size_t len)
{
    const unsigned char *in = block, *end = block + len, *slice;
    fcgipm_record_reader_t r = {.state = 0};
    fcgipm_record_event_t event;
    size_t n, joined = 0;

    while ((event = fcgipm_record_read(&r, &in, end, &slice, &n)) != FCGIPM_RECORD_MORE) {
        WIRE_CHECK(event != FCGIPM_RECORD_BAD);
        if (event == FCGIPM_RECORD_SLICE)
            memmove(block + joined, slice, n);
        joined += n;
        WIRE_CHECK(r.record.type == FCGIPM_TYPE_PARAMS && r.record.id == 1 && r.record.padding_len == 0);
    }
    WIRE_CHECK(fcgipm_record_at_border(&r));
    return joined;
}

static void check_round_trip(const unsigned char *in, size_t len, size_t cap)
{
    unsigned char *block = malloc(cap > 0 ? cap : 1);
    fuzz_again_t a = {.name = NULL};

    WIRE_CHECK(block != NULL);
    fcgipm_pairs_writer_init(&a.writer, block, cap, FCGIPM_TYPE_PARAMS, 1);
    write_again(&a, in, len);
    wire_log_line(&a.log, "border\n");
    size_t block_len = fcgipm_pairs_finish(&a.writer, true);
    if (block_len == 0)
        block_len = fcgipm_pairs_finish(&a.writer, false);
    else
        WIRE_CHECK(block_len == fcgipm_pairs_block_size(a.payload));
    size_t joined = unpack(block, block_len);
    WIRE_CHECK(joined == a.payload);
    char *text = wire_run_pairs(NULL, block, joined, (wire_cut_t){WIRE_MIXED, cap});
    WIRE_CHECK(strcmp(text, a.log.text) == 0);
    free(text);
    free(a.log.text);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t limit = data[0];
    fuzz_same(wire_run_pairs, &limit, data + 1, size - 1);
    check_round_trip(data + 1, size - 1, limit == 0 ? size * 4 + 100000 : limit * 8);
    return 0;
}
