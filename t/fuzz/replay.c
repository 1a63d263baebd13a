/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target without a fuzzer: runs it once over each file that is named. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        unsigned char *data = NULL;
        size_t len = 0, cap = 0, n;

        if (!f) {
            perror(argv[i]);
            return 1;
        }
        do {
            if (len == cap) {
                cap = cap ? cap * 2 : 4096;
                data = realloc(data, cap);
                if (!data)
                    return 1;
            }
            n = fread(data + len, 1, cap - len, f);
            len += n;
        } while (n > 0);
        fclose(f);
        /* A copy of exactly its size, so that a sanitizer sees a byte too far. */
        data = realloc(data, len ? len : 1);
        LLVMFuzzerTestOneInput(data, len);
        free(data);
        printf("%s\n", argv[i]);
    }
    return 0;
}
