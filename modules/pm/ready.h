/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_PM_READY_H
#define FCGIPM_PM_READY_H
/*
 * What: is a worker *serving*, not merely alive? We connect as a web server does and ask FCGI_GET_VALUES
 * (FCGI 1.0 §4.1). It serves when any byte comes back, when it closes (it has accepted us), or when it has
 * read the question and says nothing: some applications do not know management records. The manager does not
 * parse the answer: it is the application's.
 */
#include "core/addr.h"

/* Begin. A non-blocking descriptor, or -1 with errno (nobody listens). */
int fcgipm_ready_ask(const fcgipm_addr_t *addr);
/* 1: serving; 0: not yet. Call when fd is readable, and every 10 ms or so. */
int fcgipm_ready_check(int fd);
#endif
