/* SPDX-License-Identifier: Apache-2.0 */
#include "share/stat.h"
#include <string.h>

#define X(name) +1
_Static_assert(sizeof(fcgipm_pool_stat_t) == sizeof(uint64_t) * (0 FCGIPM_STATS(X)),
               "FCGIPM_STATS names every counter");
#undef X

void fcgipm_stat_read(const fcgipm_board_t *board, uint32_t pool, fcgipm_stat_copy_t *copy)
{
    const fcgipm_board_stat_t *row = fcgipm_stat_row((fcgipm_board_t *)(uintptr_t)board, pool);

    memset(copy, 0, sizeof *copy);
    if (!row)
        return;
#define X(name) copy->name = fcgipm_atom_peek(&row->count.name);
    FCGIPM_STATS(X)
#undef X
}

#define X(bound) bound,
const uint64_t fcgipm_stat_bound_us[FCGIPM_HISTOGRAM_CELLS - 1] = {FCGIPM_HISTOGRAM_BOUNDS(X)};
#undef X

void fcgipm_stat_histogram_add(fcgipm_histogram_t *histogram, int64_t us)
{
    uint64_t value = us > 0 ? (uint64_t)us : 0;
    unsigned cell = 0;

    while (cell < FCGIPM_HISTOGRAM_CELLS - 1 && value > fcgipm_stat_bound_us[cell])
        cell++;
    fcgipm_atom_count(&histogram->cell[cell], 1);
    fcgipm_atom_count(&histogram->sum_us, value);
}
