/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_LINK_THREAD_H
#define FCGIPM_LINK_THREAD_H
/*
 * What: a thread of our own in an httpd child, and its end. Who calls: keeper, trunk, link.
 */
#include <pthread.h>
#include <stdbool.h>

/* httpd's signals are for its main thread: all are blocked in this one. 0, or as pthread_create. */
int fcgipm_thread_start(pthread_t *thread, void *(*run)(void *), void *ctx);
/* Lock, within 100 ms: for the end of a child, which may come in a signal handler while its own thread has
 * the lock. False: it is not free. */
bool fcgipm_thread_lock(pthread_mutex_t *mutex);
#endif
