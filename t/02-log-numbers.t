# SPDX-License-Identifier: Apache-2.0
# Each log message has a number of its own, from the range of its room or file (core/log.h), so that a number found in a
# log leads to one line of one file.
use strict;
use warnings;
use Test::More;

# The first that matches holds.
my @ranges = (
    [qr{^modules/wire/},            [1, 99]],
    [qr{^modules/core/},            [100, 199]],
    [qr{^modules/share/},           [200, 299]],
    [qr{^modules/pm/},              [300, 499]],
    [qr{^modules/link/},            [500, 599]],
    [qr{^modules/web/(?:guard|parent|previous|state)\.},      [640, 659], [682, 683], [416, 419]],
    [qr{^modules/web/(?:block|commands|check)\.}, [660, 661], [680, 689]],
    [qr{^modules/web/status\.},     [800, 829]],
    [qr{^modules/(?:web|report)/},  [600, 639], [662, 799]],
    [qr{^mod_fcgipm\.c$},           [600, 639], [662, 799]],
    [qr{^modules/ctl/},             [900, 999]],
);

sub ranges_of {
    my ($file) = @_;
    for my $row (@ranges) {
        my ($pattern, @allowed) = @$row;
        return @allowed if $file =~ $pattern;
    }
    return;
}

sub code_of {
    my ($file) = @_;
    open my $fh, '<', $file or die "$file: $!";
    local $/;
    my $text = <$fh>;
    $text =~ s{("(?:[^"\\\n]|\\.)*")|/\*(.*?)\*/|//[^\n]*}{defined $1 ? $1 : "\n" x (($2 // '') =~ tr/\n//)}ges;
    return $text;
}

my (%places, @odd, @outside);
for my $file (glob('modules/*/*.[ch]'), 'mod_fcgipm.c') {
    next if $file =~ m{^modules/core/log\.[ch]$} || !-e $file;
    my $code = code_of($file);
    # FCGIPM_LOG(123, ...), fcgipm_log_write(level, status, scope, 123, ...), and the text itself where httpd's own
    # ap_log_error is used: "FPM0123: ...".
    while ($code =~ /\bFCGIPM_LOG\(\s*([^,]+?)\s*,|\bfcgipm_log_write\((?:[^,;]+,){3}\s*([^,]+?)\s*,|"[^"\n]*?\bFPM(\d+)/g) {
        my $number = $1 // $2 // $3;
        my $place = "$file:" . (1 + (substr($code, 0, $-[0]) =~ tr/\n//));
        if ($number !~ /^\d+$/ || (defined $3 && length $3 != 4)) {
            push @odd, "$place: $number";
            next;
        }
        $number += 0;
        push @{$places{$number}}, $place;
        push @outside, "$place: $number"
            unless grep { $number >= $_->[0] && $number <= $_->[1] } ranges_of($file);
    }
}

cmp_ok scalar keys %places, '>', 10, 'there are numbers';
is_deeply \@odd, [], 'each is written out, with four digits in a text';
is_deeply [map { "$_: @{$places{$_}}" } grep { @{$places{$_}} > 1 } sort { $a <=> $b } keys %places], [], 'each is used once';
is_deeply \@outside, [], 'each is in the range of its file';

done_testing;
