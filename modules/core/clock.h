/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_CLOCK_H
#define FCGIPM_CORE_CLOCK_H
/*
 * What: a clock for limits: microseconds that begin at the wall clock's time and go on evenly, whatever is
 * done to that (CLOCK_MONOTONIC, moved). A server whose clock is set must not take its busy workers for hung.
 * Who calls: any process and thread. Values of one process, and of those forked from it after its first call,
 * compare.
 */
#include <stdint.h>

int64_t fcgipm_clock_us(void);
#endif
