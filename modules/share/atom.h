/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_ATOM_H
#define FCGIPM_SHARE_ATOM_H
/*
 * What: the only door to C11 atomics. APR's generic atomics are process-local mutexes on some platforms, so
 * memory shared between processes must not use them; lock-free 32 and 64 bit atomics are a condition of
 * build.
 */
#include <stdatomic.h>
#include <stdint.h>

_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
               "lock-free 32 and 64 bit atomics needed");

typedef _Atomic uint16_t fcgipm_atom16_t;
typedef _Atomic uint32_t fcgipm_atom32_t;
typedef _Atomic uint64_t fcgipm_atom64_t;

/* Sequentially consistent where two words decide together (queue against seats); that is the default. */
#define fcgipm_atom_get(a)    atomic_load_explicit((a), memory_order_seq_cst)
#define fcgipm_atom_set(a, v) atomic_store_explicit((a), (v), memory_order_seq_cst)
#define fcgipm_atom_add(a, v) atomic_fetch_add_explicit((a), (v), memory_order_seq_cst)
#define fcgipm_atom_sub(a, v) atomic_fetch_sub_explicit((a), (v), memory_order_seq_cst)
/* On failure *expected is what was there. */
#define fcgipm_atom_cas(a, expected, v)                                                                      \
    atomic_compare_exchange_strong_explicit((a), (expected), (v), memory_order_seq_cst, memory_order_seq_cst)
/* Counters that nobody decides on. */
#define fcgipm_atom_peek(a)     atomic_load_explicit((a), memory_order_relaxed)
#define fcgipm_atom_count(a, v) ((void)atomic_fetch_add_explicit((a), (v), memory_order_relaxed))
#define fcgipm_atom_put(a, v)   atomic_store_explicit((a), (v), memory_order_relaxed)
/* Plain reads before it are done before atomic ones behind it. TSan knows no fences; what it is to see is
 * atomic. */
#ifdef __SANITIZE_THREAD__
#define fcgipm_atom_fence() atomic_signal_fence(memory_order_seq_cst)
#else
#define fcgipm_atom_fence() atomic_thread_fence(memory_order_acquire)
#endif
#endif
