/* SPDX-License-Identifier: Apache-2.0 */
/* Says who serves: "uid=N program=PATH pool=NAME", after ?sleep=MS. What a request says of itself is not
 * asked. */
#include <fcgiapp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    FCGX_Request r;

    (void)argc;
    FCGX_Init();
    FCGX_InitRequest(&r, 0, 0);
    while (FCGX_Accept_r(&r) == 0) {
        const char *query = FCGX_GetParam("QUERY_STRING", r.envp), *pool = getenv("FCGIPM_POOL");
        long ms = query && !strncmp(query, "sleep=", 6) ? atol(query + 6) : 0;
        struct timespec t = {ms / 1000, ms % 1000 * 1000000};

        nanosleep(&t, NULL);
        FCGX_FPrintF(r.out, "Content-Type: text/plain\r\n\r\nuid=%d program=%s pool=%s\n", (int)getuid(),
                     argv[0], pool ? pool : "");
    }
    return 0;
}
