/* SPDX-License-Identifier: Apache-2.0 */
#include "link/link.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static fcgipm_kept_stack_t *stack_grow_locked(fcgipm_link_t *link, uint32_t pool)
{
    fcgipm_kept_stack_t *stack = link->stacks[pool];
    if (!stack && !(stack = link->stacks[pool] = calloc(1, sizeof *stack)))
        return NULL;
    if (pool >= link->stacks_end)
        link->stacks_end = pool + 1;
    if (stack->count < stack->cap)
        return stack;
    unsigned cap = stack->cap ? stack->cap * 2 : 4;
    fcgipm_kept_t *entries = realloc(stack->entries, cap * sizeof *entries);
    if (!entries)
        return NULL;
    stack->entries = entries;
    stack->cap = cap;
    return stack;
}

static void stack_remove_locked(fcgipm_link_t *link, fcgipm_kept_stack_t *stack, unsigned i,
                                fcgipm_kept_t *kept)
{
    *kept = stack->entries[i];
    memmove(&stack->entries[i], &stack->entries[i + 1], (stack->count - i - 1) * sizeof *stack->entries);
    stack->count--;
    link->kept--;
}

/* The seat says LEASED before its connection is here, so it may have been taken over already, and the notice
 * may have come too early. Both orders are covered: a notice that comes after the put finds the entry; one
 * that came before has changed the word, which we see here under the same mutex. */
bool fcgipm_kept_put(fcgipm_link_t *link, const fcgipm_kept_t *kept, bool watch)
{
    bool put = false, wake = false;
    pthread_mutex_lock(&link->mutex);
    if (!link->stopping && fcgipm_atom_get(&link->env.board->seat[kept->seat]) == kept->word) {
        fcgipm_kept_stack_t *stack = stack_grow_locked(link, kept->pool);
        if (stack) {
            stack->entries[stack->count++] = *kept;
            link->kept++;
            if (watch) /* here, because now the fd is certainly still this connection */
                fcgipm_keeper_watch(link, kept->fd);
            wake = fcgipm_keeper_oversleeps_locked(link, FCGIPM_SWEEP_MS);
            put = true;
        }
    }
    pthread_mutex_unlock(&link->mutex);
    if (wake)
        fcgipm_keeper_wake(link);
    return put;
}

static bool take_locked(fcgipm_link_t *link, uint32_t pool, fcgipm_kept_pick_fn *pick, void *ctx,
                        fcgipm_kept_t *kept)
{
    fcgipm_kept_stack_t *stack = link->stacks[pool];
    for (unsigned i = stack ? stack->count : 0; i-- > 0;)
        if (pick(&stack->entries[i], ctx)) {
            stack_remove_locked(link, stack, i, kept);
            return true;
        }
    return false;
}

bool fcgipm_kept_take(fcgipm_link_t *link, uint32_t pool, fcgipm_kept_pick_fn *pick, void *ctx,
                      fcgipm_kept_t *kept)
{
    pthread_mutex_lock(&link->mutex);
    bool found = take_locked(link, pool, pick, ctx, kept);
    pthread_mutex_unlock(&link->mutex);
    return found;
}

bool fcgipm_kept_find(fcgipm_link_t *link, fcgipm_kept_pick_fn *pick, void *ctx, fcgipm_kept_t *kept)
{
    bool found = false;
    pthread_mutex_lock(&link->mutex);
    for (uint32_t pool = 0; link->kept && !found && pool < link->stacks_end; pool++)
        found = take_locked(link, pool, pick, ctx, kept);
    pthread_mutex_unlock(&link->mutex);
    return found;
}

bool fcgipm_kept_lost(const fcgipm_kept_t *kept, void *link)
{
    return fcgipm_atom_get(&((fcgipm_link_t *)link)->env.board->seat[kept->seat]) != kept->word;
}

void fcgipm_kept_close(fcgipm_link_t *link, fcgipm_kept_t *kept)
{
    fcgipm_board_t *board = link->env.board;
    uint64_t word = kept->word;
    close(kept->fd);
    kept->fd = -1;
    /* Through BUSY, so that a waiter is served first; if the step fails the seat is somebody else's now. */
    if (fcgipm_seat_step(&board->seat[kept->seat], &word, FCGIPM_SEAT_EV_TAKE, link->child))
        fcgipm_queue_offer(board, kept->pool, &kept->g, kept->seat, &word, FCGIPM_SEAT_EV_RETURN,
                           link->child);
}

void fcgipm_kept_free(fcgipm_link_t *link, uint32_t pool)
{
    if (!link->stacks[pool])
        return;
    free(link->stacks[pool]->entries);
    free(link->stacks[pool]);
    link->stacks[pool] = NULL;
}
