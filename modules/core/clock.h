/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_CLOCK_H
#define FCGIPM_CORE_CLOCK_H
/*
 * What: the clocks, in microseconds. Nothing that lasts is measured with the wall clock: it may be set, by an
 * hour or a day, and a server whose clock is set must not take its busy workers for hung, nor show a process
 * that is younger than nothing.
 * Who calls: any process and thread.
 */
#include <stdint.h>

/* For limits within a process: begins at the wall clock's time and goes on evenly, whatever is done to that.
 * Values of one process, and of those forked from it after its first call, compare. */
int64_t fcgipm_clock_us(void);
/* For times in shared memory: CLOCK_MONOTONIC as it is, the same in every process of this machine, in a
 * module that was loaded anew and in fcgipmctl. */
int64_t fcgipm_clock_steady_us(void);
/* For people: us since 1970. Differences of it mean nothing. */
int64_t fcgipm_clock_wall_us(void);
#endif
