/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_BELL_H
#define FCGIPM_LINK_BELL_H
/*
 * What: a descriptor that becomes readable at a time, or when somebody rings it; a Linux timerfd.
 * Who calls: any thread. Always true: what has rung stays readable until it is armed again.
 */
#include <stdint.h>

/* -1: none to be had. Close-on-exec. */
int fcgipm_bell_open(void);
/* Silence it; ring in after_us (0: never by itself). */
void fcgipm_bell_arm(int bell, int64_t after_us);
/* Now. */
void fcgipm_bell_ring(int bell);
#endif
