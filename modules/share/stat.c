/* SPDX-License-Identifier: Apache-2.0 */
#include "share/stat.h"
#include <string.h>

#define X(name) +1
_Static_assert(sizeof(fcgipm_pool_stat_t) == sizeof(uint64_t) * (0 FCGIPM_STATS(X)),
               "FCGIPM_STATS names every counter");
#undef X

void fcgipm_stat_read(const fcgipm_board_t *board, uint32_t pool, fcgipm_stat_copy_t *copy)
{
    memset(copy, 0, sizeof *copy);
    if (pool >= FCGIPM_POOLS_MAX)
        return;
#define X(name) copy->name = fcgipm_atom_peek(&board->pool[pool].stat.name);
    FCGIPM_STATS(X)
#undef X
}
