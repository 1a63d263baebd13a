# SPDX-License-Identifier: Apache-2.0
# The C unit tests (t/unit, cmocka): each program is one subtest. FCGIPM_UNIT=pattern chooses.
use strict;
use warnings;
use Test::More;

my $build = $ENV{FCGIPM_BUILD} // 'build';
my $only = $ENV{FCGIPM_UNIT} // '.';
my @names = grep { /$only/ } map { m{([^/]+)\.c$} } sort glob 't/unit/*.c';

for my $name (@names) {
    my $program = "$build/unit/$name";
    if (!-x $program) {
        fail("$name is not built (make -f Makefile.apxs unit)");
        next;
    }
    local $ENV{CMOCKA_MESSAGE_OUTPUT} = 'TAP';
    my $output = `timeout 300 $program 2>&1`;
    my $status = $?;
    my $count = () = $output =~ /^ok /mg;
    ok $status == 0 && $count > 0, "$name ($count cases)" or diag $output;
}
done_testing;
