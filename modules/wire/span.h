/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WIRE_SPAN_H
#define FCGIPM_WIRE_SPAN_H
/*
 * What: the few places of this room that touch a pointer together with its bound: taking bytes from a span
 * [*in, end), and numbers in network order. A reader that only uses these cannot read past its input.
 * Who calls: this room only.
 */
#include <stddef.h>
#include <stdint.h>

static inline size_t fcgipm_span_left(const unsigned char *in, const unsigned char *end)
{
    return (size_t)(end - in);
}

/* Take up to `want` bytes: *slice points at them, the return value counts them. Nothing moves for 0, since
 * an empty input may be a null pointer. */
static inline size_t fcgipm_span_take(const unsigned char **in, const unsigned char *end, size_t want,
                                      const unsigned char **slice)
{
    size_t left = *in == end ? 0 : fcgipm_span_left(*in, end);
    size_t n = left < want ? left : want;

    *slice = *in;
    if (n > 0)
        *in += n;
    return n;
}

static inline unsigned fcgipm_span_get16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static inline uint32_t fcgipm_span_get32(const unsigned char *p)
{
    return (uint32_t)fcgipm_span_get16(p) << 16 | fcgipm_span_get16(p + 2);
}

static inline void fcgipm_span_put16(unsigned char *p, unsigned v)
{
    p[0] = (unsigned char)(v >> 8 & 0xff);
    p[1] = (unsigned char)(v & 0xff);
}

static inline void fcgipm_span_put32(unsigned char *p, uint32_t v)
{
    fcgipm_span_put16(p, v >> 16);
    fcgipm_span_put16(p + 2, v & 0xffff);
}
#endif
