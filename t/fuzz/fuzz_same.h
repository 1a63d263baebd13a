/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_SAME_H
#define FUZZ_SAME_H
/* What: whole == byte by byte == in two == in pieces, the cuts taken from the input itself. The runners check
 * the invariants of their reader on the way (t/unit/wire_render.h). */
#include <stdint.h>

#include "../unit/wire_render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline size_t fuzz_hash(const unsigned char *in, size_t len)
{
    uint32_t h = 2166136261U;

    for (size_t i = 0; i < len; i++)
        h = (h ^ in[i]) * 16777619U;
    return h ^ h >> 15;
}

static inline void fuzz_same(wire_runner_t run, const void *arg, const unsigned char *in, size_t len)
{
    size_t hash = fuzz_hash(in, len);
    const wire_cut_t cuts[] = {{WIRE_BYTES, 0}, {WIRE_MIXED, hash}, {WIRE_TWO, len > 0 ? hash % len : 0}};
    char *whole = run(arg, in, len, (wire_cut_t){WIRE_WHOLE, 0});

    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        char *cut = run(arg, in, len, cuts[i]);
        if (strcmp(cut, whole) != 0)
            fprintf(stderr, "whole:\n%s\ncut %zu:\n%s\n", whole, i, cut);
        WIRE_CHECK(strcmp(cut, whole) == 0);
        free(cut);
    }
    free(whole);
}
#endif
