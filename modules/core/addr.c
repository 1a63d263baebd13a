/* SPDX-License-Identifier: Apache-2.0 */
#include "core/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WANTED "write unix:/path, unix:@name, host:port or [::1]:port"
/* The value in a sentence: never so much that the advice behind it is lost. */
#define VALUE "%.100s"

apr_status_t fcgipm_addr_unix(fcgipm_addr_t *addr, const char *path)
{
    size_t len = strlen(path);

    memset(addr, 0, sizeof *addr);
    if (len == 0 || len >= sizeof addr->u.un.sun_path)
        return APR_ENAMETOOLONG;
    addr->family = addr->u.un.sun_family = AF_UNIX;
    memcpy(addr->u.un.sun_path, path, len);
    addr->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    if (path[0] == '@') { /* abstract: a leading NUL, and no NUL at the end */
        addr->u.un.sun_path[0] = '\0';
        addr->len--;
    }
    return APR_SUCCESS;
}

static apr_status_t parse_unix(fcgipm_addr_t *addr, const char *text, const char *path, fcgipm_fault_t *fault)
{
    if (path[0] != '/' && path[0] != '@')
        return fcgipm_fault_set(fault, APR_EINVAL, "address",
                                VALUE ": the path of a socket is absolute; " WANTED, text);
    if (path[0] == '@' && path[1] == '\0')
        return fcgipm_fault_set(fault, APR_EINVAL, "address",
                                VALUE ": an abstract socket has a name; " WANTED, text);
    if (fcgipm_addr_unix(addr, path) != APR_SUCCESS)
        return fcgipm_fault_set(fault, APR_EINVAL, "address",
                                "%.100s...: a socket's path has at most %zu bytes", text,
                                sizeof addr->u.un.sun_path - 1);
    return APR_SUCCESS;
}

static apr_status_t resolve(fcgipm_addr_t *addr, const char *text, const char *host, const char *port,
                            fcgipm_fault_t *fault)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    int rc = getaddrinfo(host, port, &hints, &found);

    if (rc != 0 || !found || found->ai_addrlen > sizeof addr->u) {
        fcgipm_fault_set(fault, APR_EINVAL, "address", VALUE ": the name is not known (%s)", text,
                         gai_strerror(rc));
    } else {
        memset(addr, 0, sizeof *addr);
        addr->family = found->ai_family;
        addr->len = found->ai_addrlen;
        memcpy(&addr->u, found->ai_addr, found->ai_addrlen);
        rc = 0;
    }
    if (found)
        freeaddrinfo(found);
    return rc == 0 && addr->family ? APR_SUCCESS : APR_EINVAL;
}

static apr_status_t parse_tcp(fcgipm_addr_t *addr, const char *text, const char *where, fcgipm_fault_t *fault)
{
    char host[256];
    const char *colon = strrchr(where, ':'), *begin = where;
    size_t len;
    char *end;
    long port;

    if (!colon)
        return fcgipm_fault_set(fault, APR_EINVAL, "address", VALUE ": no port; " WANTED, text);
    port = strtol(colon + 1, &end, 10);
    /* digits only: strtol would take blanks and signs as well */
    if (colon[1] < '0' || colon[1] > '9' || *end || port < 1 || port > 65535)
        return fcgipm_fault_set(fault, APR_EINVAL, "address",
                                VALUE ": not a port between 1 and 65535; " WANTED, text);
    len = (size_t)(colon - begin);
    if (begin[0] == '[' && len > 2 && begin[len - 1] == ']') {
        begin++;
        len -= 2;
    } else if (memchr(begin, ':', len)) {
        return fcgipm_fault_set(fault, APR_EINVAL, "address",
                                VALUE ": an IPv6 address stands in brackets; " WANTED, text);
    }
    if (len == 0)
        return fcgipm_fault_set(fault, APR_EINVAL, "address", VALUE ": no host; " WANTED, text);
    if (len >= sizeof host)
        return fcgipm_fault_set(fault, APR_EINVAL, "address",
                                VALUE ": no host of less than 256 bytes; " WANTED, text);
    memcpy(host, begin, len);
    host[len] = '\0';
    return resolve(addr, text, host, colon + 1, fault);
}

apr_status_t fcgipm_addr_parse(fcgipm_addr_t *addr, const char *text, fcgipm_fault_t *fault)
{
    memset(addr, 0, sizeof *addr);
    if (!strncmp(text, "unix:", 5))
        return parse_unix(addr, text, text + 5, fault);
    if (text[0] == '/')
        return parse_unix(addr, text, text, fault);
    if (strstr(text, "://"))
        return fcgipm_fault_set(fault, APR_EINVAL, "address", VALUE ": an address, not a URL; " WANTED, text);
    return parse_tcp(addr, text, strncmp(text, "tcp:", 4) ? text : text + 4, fault);
}

static const char *unix_str(const fcgipm_addr_t *addr, char *out, size_t cap)
{
    size_t len = addr->len - offsetof(struct sockaddr_un, sun_path);
    const char *path = addr->u.un.sun_path;

    if (path[0])
        snprintf(out, cap, "unix:%s", path);
    else
        snprintf(out, cap, "unix:@%.*s", (int)(len ? len - 1 : 0), path + 1);
    return out;
}

const char *fcgipm_addr_str(const fcgipm_addr_t *addr, char *out, size_t cap)
{
    char host[INET6_ADDRSTRLEN] = "?";

    switch (addr->family) {
    case AF_UNIX:
        return unix_str(addr, out, cap);
    case AF_INET:
        inet_ntop(AF_INET, &addr->u.in4.sin_addr, host, sizeof host);
        snprintf(out, cap, "%s:%u", host, (unsigned)ntohs(addr->u.in4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &addr->u.in6.sin6_addr, host, sizeof host);
        if (addr->u.in6.sin6_scope_id) /* a link-local address is none without its interface */
            snprintf(out, cap, "[%s%%%u]:%u", host, (unsigned)addr->u.in6.sin6_scope_id,
                     (unsigned)ntohs(addr->u.in6.sin6_port));
        else
            snprintf(out, cap, "[%s]:%u", host, (unsigned)ntohs(addr->u.in6.sin6_port));
        break;
    default:
        snprintf(out, cap, "none");
    }
    return out;
}
