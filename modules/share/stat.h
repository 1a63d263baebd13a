/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_STAT_H
#define FCGIPM_SHARE_STAT_H
/*
 * What: counting on the board: fcgipm_stat_<member>_add(board, pool, n) for each member of
 * fcgipm_pool_stat_t. Who calls: anyone, any thread. Relaxed: nobody decides on a counter. A pool index out
 * of bounds is ignored.
 */
#include <stddef.h>
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
    X(kills)                                                                                                 \
    X(crashed)                                                                                               \
    X(hung)                                                                                                  \
    X(unresponsive)                                                                                          \
    X(idled)                                                                                                 \
    X(recycled)                                                                                              \
    X(restarted)                                                                                             \
    X(evicted)                                                                                               \
    X(oom_killed)

/* Where a pool's counters are; NULL when index or row make no sense. */
static inline fcgipm_board_stat_t *fcgipm_stat_row(fcgipm_board_t *board, uint32_t pool)
{
    uint32_t row = pool < FCGIPM_POOLS_MAX ? board->pool[pool].stat_row : FCGIPM_POOLS_MAX;

    return row < FCGIPM_POOLS_MAX ? &board->stat[row] : NULL;
}

#define X(name)                                                                                              \
    static inline void fcgipm_stat_##name##_add(fcgipm_board_t *board, uint32_t pool, uint64_t n)            \
    {                                                                                                        \
        fcgipm_board_stat_t *row = fcgipm_stat_row(board, pool);                                             \
        if (row)                                                                                             \
            fcgipm_atom_count(&row->count.name, n);                                                          \
    }
FCGIPM_STATS(X)
#undef X

/* Upper bounds of the cells of a histogram but the last, in us. */
extern const uint64_t fcgipm_stat_bound_us[FCGIPM_HISTOGRAM_CELLS - 1];
/* Count one duration. */
void fcgipm_stat_histogram_add(fcgipm_histogram_t *histogram, int64_t us);
#endif
