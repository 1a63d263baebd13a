/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses: what is read, how it is printed again, and what is refused with which sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include "core/addr.h"

#define PATH_MAX_LEN (sizeof((struct sockaddr_un *)0)->sun_path - 1)

static fcgipm_addr_t addr;
static fcgipm_fault_t fault;

static apr_status_t parse(const char *text)
{
    memset(&addr, 0xaa, sizeof addr);
    fcgipm_fault_clear(&fault);
    return fcgipm_addr_parse(&addr, text, &fault);
}

/* What is printed is canonical: it reads as the same address and prints as itself. */
static void printed(const char *text, const char *canonical)
{
    char out[160];
    fcgipm_addr_t first;

    if (parse(text) != APR_SUCCESS)
        fail_msg("%s: %s", text, fault.sentence);
    first = addr;
    assert_ptr_equal(fcgipm_addr_str(&addr, out, sizeof out), out);
    assert_string_equal(out, canonical);
    assert_int_equal(parse(out), APR_SUCCESS);
    assert_int_equal(addr.family, first.family);
    assert_int_equal(addr.len, first.len);
    assert_memory_equal(&addr.u, &first.u, addr.len);
}

static void refused(const char *text, const char *why)
{
    char out[160];

    if (parse(text) != APR_EINVAL)
        fail_msg("%s was taken", text);
    assert_int_equal(fault.status, APR_EINVAL);
    assert_string_equal(fault.step, "address");
    if (!strstr(fault.sentence, why))
        fail_msg("%s: '%s' has no '%s'", text, fault.sentence, why);
    if (strncmp(fault.sentence, text, strlen(text) < 60 ? strlen(text) : 60))
        fail_msg("%s: '%s' does not name it", text, fault.sentence);
    assert_int_equal(addr.family, 0);
    assert_string_equal(fcgipm_addr_str(&addr, out, sizeof out), "none");
    assert_int_equal(fcgipm_addr_parse(&addr, text, NULL), APR_EINVAL);
}

static void sockets_of_unix(void **state)
{
    (void)state;
    printed("unix:/run/app.sock", "unix:/run/app.sock");
    printed("/run/app.sock", "unix:/run/app.sock");
    printed("unix:/with blank:and:colons", "unix:/with blank:and:colons");
    assert_int_equal(parse("/a"), APR_SUCCESS);
    assert_int_equal(addr.family, AF_UNIX);
    assert_int_equal(addr.u.un.sun_family, AF_UNIX);
    assert_string_equal(addr.u.un.sun_path, "/a");
    assert_int_equal(addr.len, offsetof(struct sockaddr_un, sun_path) + 3);
    refused("unix:", "the path of a socket is absolute; write unix:/path");
    refused("unix:run/app.sock", "absolute");
    refused("unix: /run/app.sock", "absolute");
    refused("UNIX:/run/app.sock", "not a port");
}

static void abstract(void **state)
{
    (void)state;
    printed("unix:@app", "unix:@app");
    printed("unix:@a@b/c", "unix:@a@b/c");
    assert_int_equal(parse("unix:@app"), APR_SUCCESS);
    assert_memory_equal(addr.u.un.sun_path, "\0app", 4);
    assert_int_equal(addr.len, offsetof(struct sockaddr_un, sun_path) + 4);
    refused("unix:@", "an abstract socket has a name; write");
    refused("@app", "no port");
}

static void longest(void **state)
{
    char text[160], canonical[160], path[128];
    (void)state;

    for (int at = 0; at < 2; at++) {
        memset(path, 'x', sizeof path);
        path[0] = at ? '@' : '/';
        path[PATH_MAX_LEN] = '\0';
        snprintf(text, sizeof text, "unix:%s", path);
        snprintf(canonical, sizeof canonical, "unix:%s", path);
        printed(text, canonical);
        assert_int_equal(fcgipm_addr_unix(&addr, path), APR_SUCCESS);
        path[PATH_MAX_LEN] = 'x';
        path[PATH_MAX_LEN + 1] = '\0';
        assert_int_equal(fcgipm_addr_unix(&addr, path), APR_ENAMETOOLONG);
        assert_int_equal(addr.family, 0);
        snprintf(text, sizeof text, "unix:%s", path);
        refused(text, "a socket's path has at most 107 bytes");
    }
    assert_int_equal(fcgipm_addr_unix(&addr, ""), APR_ENAMETOOLONG);
}

static void tcp4(void **state)
{
    (void)state;
    printed("127.0.0.1:9000", "127.0.0.1:9000");
    printed("tcp:127.0.0.1:9000", "127.0.0.1:9000");
    printed("10.1.2.3:1", "10.1.2.3:1");
    printed("10.1.2.3:65535", "10.1.2.3:65535");
    printed("10.1.2.3:00080", "10.1.2.3:80");
    assert_int_equal(parse("10.1.2.3:258"), APR_SUCCESS);
    assert_int_equal(addr.family, AF_INET);
    assert_int_equal(addr.len, sizeof(struct sockaddr_in));
    assert_int_equal(addr.u.in4.sin_port, htons(258));
    assert_int_equal(addr.u.in4.sin_addr.s_addr, htonl(0x0a010203));
}

static void tcp6(void **state)
{
    (void)state;
    printed("[::1]:9000", "[::1]:9000");
    printed("tcp:[::1]:9000", "[::1]:9000");
    printed("[0:0:0:0:0:0:0:1]:9000", "[::1]:9000");
    printed("[2001:DB8::1]:65535", "[2001:db8::1]:65535");
    printed("[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.1]:80");
    printed("[fe80::1%1]:80", "[fe80::1%1]:80");
    assert_int_equal(parse("[::1]:9000"), APR_SUCCESS);
    assert_int_equal(addr.family, AF_INET6);
    assert_int_equal(addr.len, sizeof(struct sockaddr_in6));
    refused("::1:9000", "an IPv6 address stands in brackets; write");
    refused("2001:db8::1:9000", "brackets");
    refused("[::1]", "not a port");
    refused("[::1:9000", "brackets");
    refused("::1]:9000", "brackets");
    refused("[]:9000", "not known");
    refused("[::1]x:9000", "brackets");
    refused("[::zz]:9000", "not known");
}

static void ports(void **state)
{
    static const char *const bad[] = {"0",
                                      "65536",
                                      "-1",
                                      "+80",
                                      " 80",
                                      "80 ",
                                      "",
                                      "x",
                                      "80x",
                                      "0x50",
                                      "8e1",
                                      "http",
                                      "\t80",
                                      "4294967376",
                                      "18446744073709551696",
                                      "99999999999999999999999999",
                                      "80/",
                                      "-65456"};
    char text[80];
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "127.0.0.1:%s", bad[i]);
        refused(text, "not a port between 1 and 65535; write unix:/path, unix:@name, host:port");
        snprintf(text, sizeof text, "[::1]:%s", bad[i]);
        refused(text, "not a port between 1 and 65535");
    }
}

static void junk(void **state)
{
    char text[600];
    (void)state;

    refused("", "no port; write");
    refused("9000", "no port; write");
    refused("tcp:", "no port");
    refused("tcp:9000", "no port");
    refused("localhost", "no port");
    refused(":9000", "no host; write");
    refused("tcp::9000", "no host");
    refused("no.such.name.invalid:9000", "the name is not known");
    refused("300.1.2.3:9000", "the name is not known");
    /* the sentence has room for the advice, however long the value */
    memset(text, 'h', sizeof text);
    strcpy(text + 300, ":9000");
    refused(text, "no host of less than 256 bytes; write unix:/path");
    strcpy(text + 300, ":x");
    refused(text, "not a port between 1 and 65535; write unix:/path, unix:@name, host:port or [::1]:port");
    text[300] = '\0';
    refused(text, "no port; write unix:/path, unix:@name, host:port or [::1]:port");
}

static void small_room(void **state)
{
    char out[8];
    (void)state;

    assert_int_equal(parse("127.0.0.1:9000"), APR_SUCCESS);
    assert_string_equal(fcgipm_addr_str(&addr, out, sizeof out), "127.0.0");
    assert_int_equal(parse("unix:/long/path"), APR_SUCCESS);
    assert_string_equal(fcgipm_addr_str(&addr, out, sizeof out), "unix:/l");
    assert_int_equal(parse("unix:@long"), APR_SUCCESS);
    assert_string_equal(fcgipm_addr_str(&addr, out, sizeof out), "unix:@l");
    assert_int_equal(parse("[2001:db8::1]:80"), APR_SUCCESS);
    assert_string_equal(fcgipm_addr_str(&addr, out, sizeof out), "[2001:d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_of_unix),
        cmocka_unit_test(abstract),
        cmocka_unit_test(longest),
        cmocka_unit_test(tcp4),
        cmocka_unit_test(tcp6),
        cmocka_unit_test(ports),
        cmocka_unit_test(junk),
        cmocka_unit_test(small_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
