# SPDX-License-Identifier: Apache-2.0
# Each file of the fuzz corpora, also each that a fuzzer once found, through its target.
use strict;
use warnings;
use Test::More;

my $build = $ENV{FCGIPM_BUILD} // 'build';
for my $target (sort glob 't/fuzz/fuzz_*.c') {
    my ($name) = $target =~ /fuzz_(\w+)\.c$/;
    my $program = "$build/replay/fuzz_$name";
    my @files = glob "t/fuzz/corpus/$name/*";
    if (!-x $program) {
        fail("$name is not built (make -f Makefile.apxs unit)");
        next;
    }
    cmp_ok scalar(@files), '>', 5, "$name has a corpus";
    my $output = `timeout 120 $program @files 2>&1`;
    is $?, 0, "$name: " . @files . ' files' or diag $output;
}
done_testing;
