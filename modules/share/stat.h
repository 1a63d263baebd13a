/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_STAT_H
#define FCGIPM_SHARE_STAT_H
/*
 * What: counting on the board: fcgipm_stat_<member>_add(board, pool, n) for each member of
 * fcgipm_pool_stat_t. Who calls: anyone, any thread. Relaxed: nobody decides on a counter. A pool index out
 * of bounds is ignored.
 */
#include "share/layout.h"

#define FCGIPM_STATS(X)                                                                                      \
    X(requests)                                                                                              \
    X(done)                                                                                                  \
    X(failed)                                                                                                \
    X(retried)                                                                                               \
    X(client_gone)                                                                                           \
    X(waited)                                                                                                \
    X(queue_full)                                                                                            \
    X(queue_timeout)                                                                                         \
    X(connects)                                                                                              \
    X(reuses)                                                                                                \
    X(takeovers)                                                                                             \
    X(stderr_lines)                                                                                          \
    X(stderr_dropped)                                                                                        \
    X(bytes_in)                                                                                              \
    X(bytes_out)                                                                                             \
    X(spawns)                                                                                                \
    X(deaths)                                                                                                \
    X(start_failures)                                                                                        \
    X(kills)

#define X(name)                                                                                              \
    static inline void fcgipm_stat_##name##_add(fcgipm_board_t *board, uint32_t pool, uint64_t n)            \
    {                                                                                                        \
        if (pool < FCGIPM_POOLS_MAX)                                                                         \
            fcgipm_atom_count(&board->pool[pool].stat.name, n);                                              \
    }
FCGIPM_STATS(X)
#undef X

/* A plain copy for views. */
typedef struct fcgipm_stat_copy {
#define X(name) uint64_t name;
    FCGIPM_STATS(X)
#undef X
} fcgipm_stat_copy_t;
void fcgipm_stat_read(const fcgipm_board_t *board, uint32_t pool, fcgipm_stat_copy_t *copy);
#endif
