/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_SHARE_MSG_H
#define FCGIPM_SHARE_MSG_H
/*
 * What: the messages between processes. Two channels, both socket pairs made once by the parent and kept over
 * restarts (web/state). Orders: parent -> manager, SOCK_SEQPACKET; a configuration (bytes in an unlinked
 * file, passed as a descriptor, with the error log's descriptor), to retire, to leave. Requests: httpd
 * children -> manager, SOCK_DGRAM, non-blocking; fixed size; a full socket drops the message, the sender asks
 * again. Trust: the manager believes orders. It treats a request as a wish of somebody who may be hostile: a
 * pool index is checked against its own table.
 */
#include <stdint.h>
#include <apr_errno.h>

#define FCGIPM_MSG_VERSION  3u
#define FCGIPM_MSG_PATH_MAX 1024

typedef enum fcgipm_msg_type {
    FCGIPM_MSG_NEED = 1, /* pool: a request waits, start one more if you may */
    FCGIPM_MSG_HUNG,     /* pool, slot, generation, ms, path (method and URL): did not answer in time,
                            replace it */
    FCGIPM_MSG_BAD,      /* pool, slot, generation: could not connect, or it broke the protocol; look at it */
    FCGIPM_MSG_EMPTY,    /* pool, slot: a draining seat has closed, look whether the worker is empty */
    FCGIPM_MSG_SLOW,     /* pool, slot, generation, ms, path (method and URL): takes long */
    FCGIPM_MSG_SCRIPT,   /* path: make an on-demand pool for this program (runs as httpd's user only) */
    FCGIPM_MSG_TEMPLATE, /* block, site, path: make the pool of a template that is right for this file in this
                            virtual host; whose it is the manager finds out by itself */
    FCGIPM_MSG_COUNT
} fcgipm_msg_type_t;

typedef struct fcgipm_msg {
    uint32_t version, type;
    uint32_t pool, slot, generation;
    uint32_t path_len, ms;
    uint64_t block, site; /* keys, looked up in the manager's own tables */
    char path[FCGIPM_MSG_PATH_MAX];
} fcgipm_msg_t;

/* Send a request; the size on the wire is fixed. APR_EAGAIN: the socket is full. Any thread. */
apr_status_t fcgipm_msg_send(int fd, const fcgipm_msg_t *msg);
/* Receive one; APR_EAGAIN: none there; APR_EINVAL: a message of wrong size, version or type was thrown away.
 */
apr_status_t fcgipm_msg_receive(int fd, fcgipm_msg_t *msg);

typedef enum fcgipm_order_type {
    FCGIPM_ORDER_CONFIG = 1,
    FCGIPM_ORDER_LEAVE, /* go without touching a worker */
    FCGIPM_ORDER_RETIRE /* another module has taken over: stop when the httpd children of this one are gone */
} fcgipm_order_type_t;
/* bytes/len: the world (share/world.h). log_fd: -1 or the new error log. Non-blocking with a limit of 2 s. */
apr_status_t fcgipm_order_send(int fd, fcgipm_order_type_t type, const unsigned char *bytes, size_t len,
                               int log_fd);
/* *bytes is malloc'ed (caller frees) or NULL; *log_fd is -1 or the caller's to close. APR_EAGAIN: none;
 * APR_EOF: the other end is closed; APR_EINVAL: not an order, thrown away. */
apr_status_t fcgipm_order_receive(int fd, fcgipm_order_type_t *type, unsigned char **bytes, size_t *len,
                                  int *log_fd);
#endif
