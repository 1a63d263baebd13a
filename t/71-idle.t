# SPDX-License-Identifier: Apache-2.0
# What the manager costs when nothing happens: how often it wakes, and its memory, with few pools and with many.
# FCGIPM_LONG=1: with 500 pools, and prints the figures.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $long = $ENV{FCGIPM_LONG};

# It goes to sleep as often as it wakes; that others took its processor is not its doing.
sub wakeups { my ($pid) = @_; return Fcgipm::proc_file($pid, 'status') =~ /^voluntary_ctxt_switches:\s*(\d+)/m ? $1 : 0 }
sub memory { my ($pid) = @_; return Fcgipm::proc_file($pid, 'smaps_rollup') =~ /^Pss:\s*(\d+)/m ? $1 : 0 }
sub cpu { my ($pid) = @_; my @f = split ' ', Fcgipm::proc_file($pid, 'stat') =~ s/^.*\) //sr; return ($f[11] + $f[12]) / 100 }

# Pools with a process each, watched and recycled ones among them: what looks now and then must not look often.
for my $pools (10, $long ? 500 : 60) {
    my $conf = '';
    for my $i (1 .. $pools) {
        my $more = $i % 5 == 0 ? "    FcgiWatch Command\n" : $i % 5 == 1 ? "    FcgiRecycle memory=500M\n" : '';
        $conf .= "<FcgiServer p$i>\n    FcgiCommand $actor\n    FcgiProcesses 1 4\n$more</FcgiServer>\n<Location \"/p$i\">\n    FcgiPass p$i\n</Location>\n";
    }
    my $h = Fcgipm->httpd(conf => $conf . qq{<Location "/st">\n    SetHandler fcgipm-status\n</Location>\n});
    wait_for { scalar(() = $h->workers) == $pools } 60, "$pools processes run";
    is $h->get("/p$pools")->{status}, 200, "$pools pools serve";
    my $manager = $h->manager;
    sleep 3; # until what the start has brought is over
    my ($before, $cpu, $seconds) = (wakeups($manager), cpu($manager), $long ? 60 : 10);
    sleep $seconds;
    my $rate = (wakeups($manager) - $before) / $seconds;
    # One a second is promised; the machine adds its own now and then.
    cmp_ok $rate, '<=', 1.5, sprintf '%d pools: %.2f wakeups a second at rest', $pools, $rate;
    diag sprintf '%d pools: %.2f wakeups/s, %.2f %% CPU, manager PSS %d kB', $pools, $rate, 100 * (cpu($manager) - $cpu) / $seconds, memory($manager) if $long;
    $h->stop;
}
done_testing;
