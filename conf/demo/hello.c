/* SPDX-License-Identifier: Apache-2.0 */
/* A FastCGI application in C: gcc -o hello hello.c -lfcgi */
#include <fcgi_stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    for (unsigned count = 1; FCGI_Accept() >= 0; count++)
        printf("Content-Type: text/html; charset=utf-8\r\n\r\n"
               "<!doctype html><title>C</title><h1>Hello from C and libfcgi</h1>\n"
               "<p>Process %d, request %u. SCRIPT_NAME is %s.</p>\n",
               (int)getpid(), count, getenv("SCRIPT_NAME"));
    return 0;
}
