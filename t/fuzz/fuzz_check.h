/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_FUZZ_CHECK_H
#define FCGIPM_FUZZ_CHECK_H
/* What must hold after any input: the fuzzer keeps the one that breaks it. */
#include <stdio.h>
#include <stdlib.h>

#define CHECK(cond)                                                                                          \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #cond);                               \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)
#endif
