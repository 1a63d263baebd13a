/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a child that is none, but has a number: for tests that play several in one process. */
#ifndef T_UNIT_OBITUARY_H
#define T_UNIT_OBITUARY_H
#include "share/board.h"
#include "share/children.h"

static inline unsigned obituary_of(fcgipm_board_t *b, const fcgipm_registry_t *r, uint32_t pid)
{
    fcgipm_children_dead_t dead = {{0}};
    unsigned freed;
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++)
        dead.is[i] = fcgipm_atom_get(&b->child[i].pid) == pid;
    freed = fcgipm_board_obituary(b, r, &dead);
    for (unsigned i = 0; i < FCGIPM_CHILDREN_MAX; i++)
        if (dead.is[i])
            fcgipm_atom_set(&b->child[i].pid, 0);
    return freed;
}
#endif
