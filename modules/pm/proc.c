/* SPDX-License-Identifier: Apache-2.0 */
#include "pm/proc.h"

#include <fcntl.h>
#include <unistd.h>

size_t fcgipm_proc_read(const char *path, char *out, size_t cap)
{
    size_t len = 0;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    while (len < cap - 1 && (n = read(fd, out + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    out[len] = '\0';
    return len;
}
