# SPDX-License-Identifier: Apache-2.0
# The test language of actor.c for Perl: actor_answer('perl', $query, $env, $read_body) prints the whole answer.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use Time::HiRes qw(sleep);

sub actor_answer {
    my ($lang, $query, $env, $read_body) = @_;
    my (%v, @headers);
    for (split /&/, $query // '') {
        my ($k, $v) = split /=/, $_, 2;
        $v =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge if defined $v;
        if (($k // '') eq 'header') { push @headers, $v } else { $v{$k // ''} = $v }
    }
    sleep $v{sleep} / 1000 if $v{sleep};
    print STDERR "$v{stderr}\n" if defined $v{stderr};
    exit 3 if ($v{die} // '') eq 'exit';
    kill SEGV => $$ if ($v{die} // '') eq 'segv';
    my $do = $v{do} // '';
    print "Status: $v{status} Whatever\r\n" if $v{status};
    print "Location: $v{location}\r\n" if $v{location};
    for (@headers) { my ($n, $x) = split /:/, $_, 2; print "$n: $x\r\n" }
    print 'X-Length: ', $env->{CONTENT_LENGTH} // '', "\r\n" if $do eq 'echo';
    print 'Content-Type: ', ($do eq 'echo' && $env->{CONTENT_TYPE}) || 'text/plain', "\r\n\r\n";
    if (($v{die} // '') eq 'mid') {
        print 'x' x 1000;
        $| = 1;
        print '';
        require POSIX;
        POSIX::_exit(4);
    }
    if ($do eq 'env') { print map { "$_=$env->{$_}\n" } sort keys %$env }
    elsif ($do eq 'echo') { print $read_body->() }
    elsif ($do eq 'sum') { my $b = $read_body->(); print length($b), ' ', md5_hex($b), "\n" }
    elsif ($do eq 'pid') { print "$$\n" }
    elsif (defined $v{size}) { print join '', map { $_ % 64 == 63 ? "\n" : chr(97 + $_ % 26) } 0 .. $v{size} - 1 }
    elsif (defined $v{drip}) {
        my ($n, $ms) = split /:/, $v{drip};
        local $| = 1;
        for my $i (0 .. $n - 1) { sleep $ms / 1000 if $i; print "tick $i\n" }
    }
    else { print "hello from $lang pid $$\n" }
}
1;
