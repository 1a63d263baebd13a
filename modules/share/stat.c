/* SPDX-License-Identifier: Apache-2.0 */
#include "share/stat.h"

#define X(name) +1
_Static_assert(sizeof(fcgipm_pool_stat_t) == sizeof(uint64_t) * (0 FCGIPM_STATS(X)),
               "FCGIPM_STATS names every counter");
#undef X

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
