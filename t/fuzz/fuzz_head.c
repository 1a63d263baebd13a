/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_same.h"

/* What was gathered is a head again, and reads the same: nothing hides in a fold or a duplicate. */
static void check_again(const fcgipm_head_t *head)
{
    size_t from = head->mark, len = head->len - from;
    unsigned char *text = malloc(len + 1);
    char *buf = malloc(len > 0 ? len : 1);
    const unsigned char *in = text;
    fcgipm_head_field_t a, b;
    fcgipm_head_t again;
    size_t i = 0, j = 0;

    WIRE_CHECK(text != NULL && buf != NULL);
    memcpy(text, head->buf + from, len);
    text[len] = '\n';
    fcgipm_head_init(&again, buf, len);
    fcgipm_head_result_t result = fcgipm_head_read(&again, &in, text + len + 1);
    WIRE_CHECK(result == (len > 0 ? FCGIPM_HEAD_DONE : FCGIPM_HEAD_BAD));
    while (fcgipm_head_next(head, &i, &a)) {
        WIRE_CHECK(fcgipm_head_next(&again, &j, &b));
        WIRE_CHECK(a.name_len == b.name_len && memcmp(a.name, b.name, a.name_len) == 0);
        WIRE_CHECK(a.value_len == b.value_len && memcmp(a.value, b.value, a.value_len) == 0);
    }
    WIRE_CHECK(!fcgipm_head_next(&again, &j, &b));
    WIRE_CHECK(head->has_length == again.has_length && head->length == again.length);
    free(text);
    free(buf);
}

static void check_stable(const unsigned char *in, size_t len)
{
    char *buf = malloc(len + 1);
    fcgipm_head_t head;

    WIRE_CHECK(buf != NULL);
    fcgipm_head_init(&head, buf, len + 1);
    if (fcgipm_head_read(&head, &in, in + len) == FCGIPM_HEAD_DONE)
        check_again(&head);
    free(buf);
}

/* First byte: the buffers. A first buffer of 0..15 bytes that may grow to 0..480. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const wire_head_plan_t bounded = {data[0] & 15U, (data[0] >> 4) * 32U};
    const wire_head_plan_t roomy = {size + 1, size + 1}, growing = {0, size + 1};
    fuzz_same(wire_run_head, &bounded, data + 1, size - 1);
    fuzz_same(wire_run_head, &roomy, data + 1, size - 1);
    char *a = wire_run_head(&roomy, data + 1, size - 1, (wire_cut_t){WIRE_WHOLE, 0});
    char *b = wire_run_head(&growing, data + 1, size - 1, (wire_cut_t){WIRE_WHOLE, 0});
    WIRE_CHECK(strcmp(a, b) == 0);
    free(a);
    free(b);
    check_stable(data + 1, size - 1);
    return 0;
}
