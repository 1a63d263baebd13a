# SPDX-License-Identifier: Apache-2.0
# Faults under load, each answer checked: a process killed every 200 ms; the manager killed; httpd's children killed;
# graceful restarts with manager kills between them. What may be lost is said with each. FCGIPM_LONG=1 runs longer; the figures are printed.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $seconds = $ENV{FCGIPM_LONG} ? 15 : 4;
my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM064[34]/, qr/FPM031[56]/, qr/FPM0616/, qr/AH00052|AH00051|AH00046/],
    conf => <<"EOC");
<FcgiServer c>
    FcgiCommand $actor
    FcgiProcesses 4
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/c">
    FcgiPass c
</Location>
EOC
wait_for { scalar(() = $h->workers) == 4 } 10, 'all processes run';
my $want = join '', map { $_ % 64 == 63 ? "\n" : chr(ord('a') + $_ % 26) } 0 .. 19_999;
my $exact = sub { $_[0]{status} == 200 && $_[0]{complete} && $_[0]{body} eq $want };
# Every so often, until the time is over; returns how often.
sub every {
    my ($interval, $act) = @_;
    my ($end, $count) = (time + $seconds, 0);
    while (time < $end) {
        sleep $interval;
        $act->();
        $count++;
    }
    return $count;
}
sub figures {
    my ($what, $times, $sum) = @_;
    diag sprintf '%s: %d times in %d s; %d requests, %d exact, %d cut visibly, %d lost', $what, $times, $seconds, $sum->{sent}, $sum->{ok},
        $sum->{incomplete}, $sum->{sent} - $sum->{ok};
}

subtest 'a process is killed every 200 ms' => sub {
    my $join = Fcgipm::load($h, path => '/c?size=20000&sleep=5', clients => 6, seconds => $seconds, background => 1, check => $exact);
    my $times = every(0.2, sub { my @w = $h->workers; kill KILL => $w[rand @w] if @w });
    my $sum = $join->();
    figures('process killed', $times, $sum);
    cmp_ok $sum->{sent}, '>', 100, 'under load';
    # GET: only an answer that had begun to flow may be cut, and the client sees it.
    is $sum->{ok} + $sum->{incomplete}, $sum->{sent}, 'nothing is lost but what was cut visibly' or diag explain $sum;
    cmp_ok $sum->{incomplete}, '<=', $times, 'at most one each';
};
subtest 'the same with POST' => sub {
    my $join = Fcgipm::load($h, method => 'POST', path => '/c?size=20000&sleep=5', options => {body => 'x' x 1000}, clients => 6, seconds => $seconds, background => 1, check => $exact);
    my $times = every(0.2, sub { my @w = $h->workers; kill KILL => $w[rand @w] if @w });
    my $sum = $join->();
    figures('process killed (POST)', $times, $sum);
    # A POST may have been done: it is not repeated, and its client is told.
    is scalar(grep { !/^status 502 |complete 0/ } @{$sum->{bad}}), 0, 'each answer is exact, or an honest failure' or diag explain $sum;
    cmp_ok $sum->{sent} - $sum->{ok}, '<=', $times, 'at most one each';
};
subtest 'the manager is killed' => sub {
    # (The last one that was killed may be there as long as the manager has not looked.)
    wait_for { 4 == grep({ Fcgipm::alive($_) } $h->workers) && ($h->status('c')->{ready} // 0) == 4 } 10, 'four processes';
    my @before = sort $h->workers;
    my $join = Fcgipm::load($h, path => '/c?size=20000&sleep=5', clients => 6, seconds => $seconds, background => 1, check => $exact);
    my $times = every(1, sub { kill KILL => $h->manager // () });
    my $sum = $join->();
    figures('manager killed', $times, $sum);
    is $sum->{ok}, $sum->{sent}, 'no request is lost' or diag explain $sum;
    wait_for { $h->manager } 5, 'there is a manager';
    is_deeply [sort $h->workers], \@before, 'the same processes';
};
subtest 'graceful restarts, and the manager killed between them' => sub {
    my @before = sort $h->workers;
    my $join = Fcgipm::load($h, path => '/c?size=20000&sleep=5', clients => 6, seconds => $seconds + ($ENV{FCGIPM_LONG} ? 20 : 8), background => 1, check => $exact);
    my $reloads = $ENV{FCGIPM_LONG} ? 20 : 10;
    for my $n (1 .. $reloads) {
        $h->graceful;
        kill KILL => $h->manager // () if $n % 4 == 0;
        sleep 0.2;
    }
    my $sum = $join->();
    figures('graceful', $reloads, $sum);
    is $sum->{ok}, $sum->{sent}, 'no request is lost' or diag explain $sum;
    is_deeply [sort $h->workers], \@before, 'the same processes';
};
subtest 'children of httpd are killed' => sub {
    my @before = sort $h->workers;
    my $join = Fcgipm::load($h, path => '/c?size=20000&sleep=5', clients => 6, seconds => $seconds, background => 1, check => $exact);
    my $times = every(0.7, sub { my @c = $h->children; kill KILL => $c[rand @c] if @c });
    my $sum = $join->();
    figures('httpd child killed', $times, $sum);
    # What a killed child had in hand is gone with it, and its client sees that.
    is scalar(grep { !/complete 0|status 0/ } @{$sum->{bad}}), 0, 'nothing is wrong but seen as complete' or diag explain $sum;
    wait_for { $h->children } 5, 'httpd has children';
    my $free = sub { my $text = $h->get('/st?auto')->{body} // ''; 1 };
    my $after = Fcgipm::load($h, path => '/c?size=20000', clients => 8, requests => 200, check => $exact);
    is $after->{ok}, $after->{sent}, 'afterwards all is well' or diag explain $after;
    # Nothing of the killed children is left busy: four requests at the same time need all four processes.
    my $begin = time;
    my $four = Fcgipm::load($h, path => '/c?sleep=400', clients => 4, requests => 4);
    is $four->{ok}, 4, 'four at the same time';
    cmp_ok time - $begin, '<', 1.4, 'by four processes';
    is_deeply [sort $h->workers], \@before, 'the same processes';
};
$h->stop;
done_testing;
