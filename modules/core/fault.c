/* SPDX-License-Identifier: Apache-2.0 */
#include "core/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void fcgipm_fault_clear(fcgipm_fault_t *fault)
{
    memset(fault, 0, sizeof *fault);
    fault->step = "";
}

apr_status_t fcgipm_fault_set(fcgipm_fault_t *fault, apr_status_t status, const char *step, const char *fmt,
                              ...)
{
    va_list args;

    if (!fault)
        return status;
    fault->status = status;
    fault->step = step;
    va_start(args, fmt);
    vsnprintf(fault->sentence, sizeof fault->sentence, fmt, args);
    va_end(args);
    return status;
}
