/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_same.h"

/* Counts what the text says against what the mux may say: no data for an id that is not open. */
static void check_order(const wire_mux_plan_t *plan, const char *text)
{
    bool open[9] = {false}, closed[9] = {false};
    unsigned id;

    for (unsigned i = 1; i <= plan->begin; i++)
        open[i] = true;
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        if (sscanf(line, "STDOUT %u", &id) == 1)
            WIRE_CHECK(id >= 1 && id <= 8 && open[id] && !closed[id] && id != plan->abort);
        if (sscanf(line, "STDERR %u", &id) == 1)
            WIRE_CHECK(id >= 1 && id <= 8 && open[id] && id != plan->abort);
        if (sscanf(line, "STDOUT_END %u", &id) == 1) {
            WIRE_CHECK(id >= 1 && id <= 8 && open[id] && !closed[id] && id != plan->abort);
            closed[id] = true;
        }
        if (sscanf(line, "ENDED %u", &id) == 1) {
            WIRE_CHECK(id >= 1 && id <= 8 && open[id]);
            open[id] = false;
        }
        if (strncmp(line, "VALUE", 5) == 0 || strncmp(line, "UNKNOWN", 7) == 0)
            WIRE_CHECK(plan->ask);
        if (strncmp(line, "BROKEN", 6) == 0)
            WIRE_CHECK(strncmp(strchr(line, '\n') + 1, "open=", 5) == 0);
    }
}

/* First byte: bits 0-1 requests begun, 2-3 the one aborted, 4 values asked, 5 ids are begun again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const wire_mux_plan_t plan = {.streams = 4,
                                  .begin = data[0] & 3U,
                                  .abort = data[0] >> 2 & 3U,
                                  .ask = (data[0] & 16U) != 0,
                                  .again = (data[0] & 32U) != 0};
    fuzz_same(wire_run_mux, &plan, data + 1, size - 1);
    if (plan.again)
        return 0;
    char *text = wire_run_mux(&plan, data + 1, size - 1, (wire_cut_t){WIRE_WHOLE, 0});
    check_order(&plan, text);
    free(text);
    return 0;
}
