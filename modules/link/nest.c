/* SPDX-License-Identifier: Apache-2.0 */
#include "link/nest.h"
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SPARE_MAX 256

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static fcgipm_nest_t *spare;
static unsigned spare_count;

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLRDHUP == EPOLLRDHUP && POLLHUP == EPOLLHUP &&
                   POLLERR == EPOLLERR,
               "poll's events are epoll's");

static bool control(const fcgipm_nest_t *nest, int how, int fd, short events)
{
    struct epoll_event ev = {.events = (uint16_t)events, .data.fd = fd};
    return epoll_ctl(nest->epoll, how, fd, &ev) == 0;
}

static void end(fcgipm_nest_t *nest)
{
    if (nest->epoll >= 0)
        close(nest->epoll);
    if (nest->bell >= 0)
        close(nest->bell);
    free(nest);
}

static fcgipm_nest_t *make(void)
{
    fcgipm_nest_t *nest = calloc(1, sizeof *nest);
    if (!nest)
        return NULL;
    nest->app = nest->client = -1;
    nest->epoll = epoll_create1(EPOLL_CLOEXEC);
    nest->bell = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (nest->epoll >= 0 && nest->bell >= 0 && control(nest, EPOLL_CTL_ADD, nest->bell, POLLIN))
        return nest;
    end(nest);
    return NULL;
}

fcgipm_nest_t *fcgipm_nest_get(void)
{
    pthread_mutex_lock(&mutex);
    fcgipm_nest_t *nest = spare;
    if (nest) {
        spare = nest->next;
        spare_count--;
    }
    pthread_mutex_unlock(&mutex);
    return nest ? nest : make();
}

/* The bell is left as it is: who gets the nest next arms it first. */
void fcgipm_nest_put(fcgipm_nest_t *nest)
{
    fcgipm_nest_app(nest, -1, 0);
    fcgipm_nest_client(nest, -1, 0);
    pthread_mutex_lock(&mutex);
    bool keep = spare_count < SPARE_MAX;
    if (keep) {
        nest->next = spare;
        spare = nest;
        spare_count++;
    }
    pthread_mutex_unlock(&mutex);
    if (!keep)
        end(nest);
}

static bool change(const fcgipm_nest_t *nest, int *member, short *mask, int fd, short events)
{
    if (!events)
        fd = -1;
    if (*member == fd && (fd < 0 || *mask == events))
        return true;
    bool modify = fd >= 0 && *member == fd;
    if (*member >= 0 && !modify)
        control(nest, EPOLL_CTL_DEL, *member, 0);
    *member = fd;
    *mask = events;
    if (fd < 0)
        return true;
    if (control(nest, modify ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, events))
        return true;
    *member = -1;
    return false;
}

bool fcgipm_nest_app(fcgipm_nest_t *nest, int fd, short events)
{
    return change(nest, &nest->app, &nest->app_events, fd, events);
}

bool fcgipm_nest_client(fcgipm_nest_t *nest, int fd, short events)
{
    return change(nest, &nest->client, &nest->client_events, fd, events);
}

static void set(const fcgipm_nest_t *nest, int64_t seconds, int64_t nanoseconds)
{
    struct itimerspec when = {.it_value = {.tv_sec = seconds, .tv_nsec = nanoseconds}};
    (void)timerfd_settime(nest->bell, 0, &when, NULL);
}

void fcgipm_nest_arm(fcgipm_nest_t *nest, int64_t after_us)
{
    if (!after_us && !nest->dirty)
        return;
    nest->dirty = after_us != 0;
    set(nest, after_us / 1000000, after_us % 1000000 * 1000);
}

void fcgipm_nest_ring(fcgipm_nest_t *nest)
{
    nest->dirty = true;
    set(nest, 0, 1);
}

short fcgipm_nest_look(const fcgipm_nest_t *nest)
{
    struct epoll_event events[3];
    int n = epoll_wait(nest->epoll, events, 3, 0);
    for (int i = 0; i < n; i++)
        if (events[i].data.fd == nest->client)
            return (short)events[i].events;
    return 0;
}
