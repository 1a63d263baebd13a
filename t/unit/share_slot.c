/* SPDX-License-Identifier: Apache-2.0 */
/* Every cell of both matrices, against a second writing of them; the geometry's borders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "share/slot.h"

/* rows: state, columns: event; F S R D E X = next state, '.' = bug. */
static void slot_matrix(void **state)
{
    (void)state;
    /* SPAWN READY DRAIN STOP DIED CLEAR */
    static const char *const rows[] = {"S.....", ".RDEX.", "..DEX.", ".DDEX.", ".EEEX.", "S.XX.F"};
    static const char names[] = "FSRDEX.";
    assert_int_equal(sizeof rows / sizeof *rows, FCGIPM_SLOT_STATE_COUNT);
    for (unsigned s = 0; s < FCGIPM_SLOT_STATE_COUNT; s++) {
        assert_int_equal(strlen(rows[s]), FCGIPM_SLOT_EVENT_COUNT);
        for (unsigned e = 0; e < FCGIPM_SLOT_EVENT_COUNT; e++) {
            char got = names[fcgipm_slot_next((fcgipm_slot_state_t)s, (fcgipm_slot_event_t)e)];
            if (got != rows[s][e])
                fail_msg("slot %s event %u: %c, not %c", fcgipm_slot_state_str(s), e, got, rows[s][e]);
        }
    }
    assert_int_equal(fcgipm_slot_next(FCGIPM_SLOT_STATE_COUNT, FCGIPM_SLOT_EV_DIED), FCGIPM_SLOT_STATE_COUNT);
    assert_int_equal(fcgipm_slot_next(FCGIPM_SLOT_FREE, FCGIPM_SLOT_EVENT_COUNT), FCGIPM_SLOT_STATE_COUNT);
    assert_string_equal(fcgipm_slot_state_str(FCGIPM_SLOT_DRAINING), "DRAINING");
    assert_string_equal(fcgipm_slot_state_str(99), "?");
}

static uint64_t word(unsigned state, unsigned owner, uint64_t epoch)
{
    return (uint64_t)state << 56 | (uint64_t)owner << 40 | epoch;
}

/* C I L B D; lower case: the owner alone may. */
static const char *const seat_rows[] = {
    /* OPEN TAKE GRANT KEEP RETURN DRAIN SHUT ABANDON */
    "B.....C.", ".B...CC.", ".B..iCCi", "..BliDCi", "...cc.Cc"};

static void check_seat(unsigned s, unsigned e)
{
    static const char names[] = "CILBD";
    char want = seat_rows[s][e];
    const char *to = strchr(names, want == '.' ? 'C' : want & ~0x20);
    unsigned next_state = (unsigned)(to - names);
    uint64_t next = 0;
    assert_int_equal(fcgipm_seat_next(word(s, 7, 41), (fcgipm_seat_event_t)e, 7, &next), want != '.');
    if (want == '.')
        return;
    assert_int_equal(fcgipm_seat_state(next), next_state);
    assert_int_equal(fcgipm_seat_epoch(next), 42);
    assert_int_equal(fcgipm_seat_owner(next), next_state >= FCGIPM_SEAT_LEASED ? 7 : FCGIPM_NO_CHILD);
    /* somebody else */
    bool owners = want >= 'a';
    assert_int_equal(fcgipm_seat_next(word(s, 7, 41), (fcgipm_seat_event_t)e, 8, &next), !owners);
    if (!owners && next_state == FCGIPM_SEAT_BUSY)
        assert_int_equal(fcgipm_seat_owner(next), 8);
    if (!owners && next_state == FCGIPM_SEAT_DRAINING)
        assert_int_equal(fcgipm_seat_owner(next), 7);
}

static void seat_matrix(void **state)
{
    (void)state;
    assert_int_equal(sizeof seat_rows / sizeof *seat_rows, FCGIPM_SEAT_STATE_COUNT);
    for (unsigned s = 0; s < FCGIPM_SEAT_STATE_COUNT; s++) {
        assert_int_equal(strlen(seat_rows[s]), FCGIPM_SEAT_EVENT_COUNT);
        for (unsigned e = 0; e < FCGIPM_SEAT_EVENT_COUNT; e++)
            check_seat(s, e);
    }
    uint64_t next;
    assert_false(fcgipm_seat_next(word(9, 7, 1), FCGIPM_SEAT_EV_SHUT, 7, &next));
    assert_string_equal(fcgipm_seat_state_str(FCGIPM_SEAT_DRAINING), "DRAINING");
    assert_string_equal(fcgipm_seat_state_str(77), "?");
}

static void seat_step(void **state)
{
    (void)state;
    fcgipm_atom64_t seat = word(FCGIPM_SEAT_IDLE, FCGIPM_NO_CHILD, 0xffffffffffull);
    uint64_t w = fcgipm_atom_get(&seat), old = w;
    assert_true(fcgipm_seat_step(&seat, &w, FCGIPM_SEAT_EV_TAKE, 3));
    assert_int_equal(w, word(FCGIPM_SEAT_BUSY, 3, 0)); /* the epoch wraps within its bits */
    assert_int_equal(fcgipm_atom_get(&seat), w);
    assert_false(fcgipm_seat_step(&seat, &old, FCGIPM_SEAT_EV_TAKE, 4));
    assert_int_equal(old, w);
    assert_false(fcgipm_seat_step(&seat, &old, FCGIPM_SEAT_EV_OPEN, 4));
    assert_int_equal(fcgipm_atom_get(&seat), w);
}

static void geometry(void **state)
{
    (void)state;
    fcgipm_geometry_t g = {0, 1, 0, 1, 0, 1};
    assert_true(fcgipm_geometry_ok(&g));
    g = (fcgipm_geometry_t){FCGIPM_SLOTS_MAX - 2, 2, FCGIPM_SEATS_MAX - 6, 3, FCGIPM_CELLS_MAX, 0};
    assert_true(fcgipm_geometry_ok(&g));
    assert_int_equal(fcgipm_seat_slot(&g, fcgipm_seat_index(&g, 1, 2)), 1);
    g.seat_first++;
    assert_false(fcgipm_geometry_ok(&g));
    g = (fcgipm_geometry_t){1, 0xffffffffu, 0, 1, 0, 1};
    assert_false(fcgipm_geometry_ok(&g));
    g = (fcgipm_geometry_t){0, 65536, 0, 65536, 0, 1};
    assert_false(fcgipm_geometry_ok(&g));
    g = (fcgipm_geometry_t){0, 0, 0, 1, 0, 1};
    assert_false(fcgipm_geometry_ok(&g));
    g = (fcgipm_geometry_t){0, 1, 0, 0, 0, 1};
    assert_false(fcgipm_geometry_ok(&g));
    g = (fcgipm_geometry_t){0, 1, 0, 1, 0xfffffff0u, 0x20};
    assert_false(fcgipm_geometry_ok(&g));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slot_matrix),
        cmocka_unit_test(seat_matrix),
        cmocka_unit_test(seat_step),
        cmocka_unit_test(geometry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
