/* SPDX-License-Identifier: Apache-2.0 */
#include "link/thread.h"
#include <signal.h>
#include <time.h>

int fcgipm_thread_start(pthread_t *thread, void *(*run)(void *), void *ctx)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int error = pthread_create(thread, NULL, run, ctx);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

bool fcgipm_thread_lock(pthread_mutex_t *mutex)
{
    for (int i = 0; i < 100; i++) {
        if (pthread_mutex_trylock(mutex) == 0)
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}
