/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_ADDR_H
#define FCGIPM_CORE_ADDR_H
/*
 * What: addresses of applications: "unix:/path", "/path", "unix:@abstract", "tcp:host:port", "host:port",
 * "[::1]:9000". Host names are looked up once, when the configuration is read.
 * Who calls: anyone. Owns: plain memory of the caller, no pointers inside; may be copied bytewise.
 */
#include <sys/socket.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <apr_errno.h>
#include "core/fault.h"

typedef struct fcgipm_addr {
    int family; /* AF_UNIX, AF_INET, AF_INET6; 0 = none */
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_un un;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } u;
} fcgipm_addr_t;

/* APR_SUCCESS, or APR_EINVAL with the fault's sentence saying what would be right. */
apr_status_t fcgipm_addr_parse(fcgipm_addr_t *addr, const char *text, fcgipm_fault_t *fault);
/* Unix path, at most sizeof sun_path - 1 bytes; APR_ENAMETOOLONG otherwise. */
apr_status_t fcgipm_addr_unix(fcgipm_addr_t *addr, const char *path);
/* Print as fcgipm_addr_parse would read it. Returns out. */
const char *fcgipm_addr_str(const fcgipm_addr_t *addr, char *out, size_t cap);
#endif
