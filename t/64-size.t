# SPDX-License-Identifier: Apache-2.0
# How many processes: a burst starts what it needs at once and never more than max; idle ones end, the highest slot first;
# FcgiMaxWorkers and FcgiMemoryBudget hold over all pools together, and the longest unused makes room.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
sub locations { return join '', map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } @_ }
my $status = qq{<Location "/st">\n    SetHandler fcgipm-status\n</Location>\n};

subtest 'a burst on a cold pool' => sub {
    my $h = Fcgipm->httpd(loglevel => 'info', conf => <<"EOC");
<FcgiServer cold>
    FcgiCommand $actor
    FcgiProcesses 0 8
    FcgiTimeout idle=2s
    FcgiEnv ACTOR_START_MS 1000
</FcgiServer>
<FcgiServer warm>
    FcgiCommand $actor
    FcgiProcesses 1 8
    FcgiTimeout idle=2s
</FcgiServer>
$status@{[locations('cold', 'warm')]}
EOC
    is scalar(() = $h->workers('cold')), 0, 'it is cold';
    my $begin = time;
    my $sum = $h->load(clients => 50, requests => 50, path => '/cold?sleep=20');
    my $took = time - $begin;
    is $sum->{ok}, 50, 'all are answered' or diag join "\n", @{$sum->{bad}};
    # In the log, in order: all have been started before the first was ready, a second later.
    my ($before_ready) = $h->log =~ /\A(.*?)FPM0312: pool cold/s;
    is scalar(() = $before_ready =~ /FPM0311: pool cold slot/g), 8, 'eight processes were started before the first was ready';
    my @at = map { my ($hour, $min, $s) = split /:/; $hour * 3600 + $min * 60 + $s } $before_ready =~ /(\d\d:\d\d:\d\d\.\d+) \d{4}\][^\n]*FPM0311: pool cold/g;
    is $h->status('cold')->{counters}{spawns}, 8, 'never more than max';
    diag sprintf 'the eight starts within %.0f ms; time to the 50th answer: %.0f ms (start of a process 1000 ms, request 20 ms, 7 rounds)', 1000 * ($at[-1] - $at[0]), 1000 * $took if $ENV{FCGIPM_LONG};
    # Of those that are idle the lowest slots stay.
    my $load = $h->load(clients => 12, requests => 12, path => '/warm?sleep=500', background => 1);
    wait_for { $h->status('warm')->{ready} >= 4 } 5;
    # (while the manager stands still: for it all become idle in the same moment, whichever had the last request)
    my $manager = $h->manager;
    kill STOP => $manager;
    $sum = $load->();
    is $sum->{ok}, 12, 'another burst';
    wait_for { !grep { $_->{seats}{busy} } @{$h->status('warm')->{workers}} } 5;
    kill CONT => $manager;
    wait_for { $h->status('warm')->{ready} == 1 && @{$h->status('warm')->{workers}} == 1 } 15, 'down to min';
    is $h->status('warm')->{workers}[0]{slot}, 0, 'highest slot first';
    wait_for { scalar(() = $h->workers('cold')) == 0 } 10, 'and a pool with min 0 is cold again';
    $h->stop;
};

subtest 'FcgiMaxWorkers' => sub {
    my $h = Fcgipm->httpd(loglevel => 'info', expect_log => [qr/FPM0601/], conf => <<"EOC");
FcgiMaxWorkers 4
@{[map { "<FcgiServer $_>\n    FcgiCommand $actor\n    FcgiProcesses 0 3\n    FcgiTimeout queue=5s\n</FcgiServer>\n" } qw(one two three)]}
<FcgiServer greedy>
    FcgiCommand $actor
    FcgiProcesses 3
</FcgiServer>
$status@{[locations(qw(one two three greedy))]}
EOC
    my $most = 0;
    my $count = sub { my $n = () = $h->workers; $most = $n if $n > $most; return $n };
    wait_for { $count->() == 3 } 5, 'min is there';
    is $h->get('/one')->{status}, 200, 'one';
    is $count->(), 4, 'full';
    $h->get('/greedy') for 1 .. 3;
    is $h->get('/two')->{status}, 200, 'two gets a process all the same';
    ok $h->wait_log(qr/FPM0374: pool \w+ slot \d+ pid \d+: evicted, idle for \d+ s: others need a process \(FcgiMaxWorkers 4\)/, 3), 'the log says who went, and why';
    is $h->get('/three')->{status}, 200, 'three, too';
    is $h->get('/one')->{status}, 200, 'and one again';
    cmp_ok $most, '<=', 4, 'never more than four';
    my $evicted = 0;
    $evicted += $_->{counters}{evicted} for @{$h->status->{pools}};
    cmp_ok $evicted, '>=', 2, "counted ($evicted)";
    # The longest unused goes first: use all but one, then ask for one more.
    my @before = $h->log =~ /FPM0374: pool (\w+)/g;
    my %seats = map { $_->{name} => 1 } grep { $_->{ready} } @{$h->status->{pools}};
    my ($unused) = grep { $seats{$_} } qw(two three one);
    for my $pool (grep { $_ ne $unused } sort keys %seats) { $h->get("/$pool") for 1 .. 4; sleep 0.02 }
    my ($missing) = grep { !$seats{$_} } qw(one two three);
    SKIP: {
        skip 'all have one', 1 unless $missing && $unused;
        $h->get("/$missing");
        my @after = $h->log =~ /FPM0374: pool (\w+)/g;
        # greedy has processes of its own that were used less
        like $after[scalar @before] // '', qr/^(?:\Q$unused\E|greedy)$/, 'the longest unused one goes first';
    }
    # All busy: nobody is evicted, requests wait.
    my $load = $h->load(clients => 4, requests => 4, path => '/one?sleep=700', background => 1);
    wait_for { $h->status('one')->{ready} >= 1 } 5;
    my $busy = $h->load(clients => 6, seconds => 1.5, path => '/two?sleep=100', background => 1);
    $load->();
    my $sum = $busy->();
    is $sum->{sent}, $sum->{ok}, 'who has to wait is served';
    $count->();
    cmp_ok $most, '<=', 4, 'and still never more than four';
    $h->stop;
};

# What is replaced and what comes for it count as one: a pool that has all the room there is gets new processes, too.
for my $limit ('FcgiMaxWorkers 2', $> ? () : 'FcgiUserWorkers 2') {
    subtest "new processes under $limit" => sub {
        my $h = Fcgipm->httpd(loglevel => 'info', expect_log => [qr/FPM0302/], conf => <<"EOC");
$limit
<FcgiServer full>
    FcgiCommand $actor
@{[$limit =~ /User/ ? "    FcgiUser nobody\n" : '']}    FcgiProcesses 2
    FcgiEnv COLOUR red
</FcgiServer>
$status@{[locations('full')]}
EOC
        wait_for { scalar(() = $h->workers) == 2 } 10, 'all the processes that there may be';
        my %old = map { $_ => 1 } $h->workers;
        my ($code, $said) = $h->ctl(qw(restart full --timeout=20));
        is $code, 0, 'a restart comes to its end' or diag $said;
        my @new = $h->workers;
        is scalar(grep { $old{$_} } @new), 0, 'with other processes';
        my $conf = $h->slurp('httpd.conf') =~ s/COLOUR red/COLOUR green/r;
        open my $f, '>', $h->root . '/httpd.conf' or die;
        print {$f} $conf;
        close $f;
        $h->graceful;
        ok eval {
            wait_for {
                my @w = $h->workers;
                @w == 2 && 2 == grep { (eval { Fcgipm::proc_file($_, 'environ') } // '') =~ /COLOUR=green/ } @w;
            } 15, 'the changed block';
            1;
        }, 'a reload with a changed block, too' or diag $h->log;
        is $h->get('/full')->{status}, 200, 'and serves';
        $h->stop;
    };
}

subtest 'FcgiMemoryBudget' => sub {
    my $h = Fcgipm->httpd(loglevel => 'info', conf => <<"EOC");
FcgiMemoryBudget 60M
@{[map { "<FcgiServer $_>\n    FcgiCommand $actor\n    FcgiProcesses 0 2\n</FcgiServer>\n" } qw(old new)]}
$status@{[locations(qw(old new))]}
EOC
    is $h->get('/old?leak=40')->{status}, 200, 'the one has 40 MB';
    my ($old) = $h->workers('old');
    sleep 0.05;
    is $h->get('/new?leak=40')->{status}, 200, 'the other, too';
    my ($new) = $h->workers('new');
    ok $h->wait_log(qr/FPM0374: pool old slot 0 pid $old: evicted, idle for \d+ s: all processes use \d+M \(FcgiMemoryBudget 60M\)/, 25), 'the longest unused one goes';
    wait_for { scalar(() = $h->workers('old')) == 0 } 5, 'it has gone';
    is_deeply [$h->workers('new')], [$new], 'the other stays';
    is $h->get('/old')->{status}, 200, 'who is asked for starts again';
    $h->stop;
};
subtest 'FcgiUserMemory' => sub {
    plan skip_all => 'needs root' if $>;
    my $h = Fcgipm->httpd(loglevel => 'info', conf => <<"EOC");
FcgiUserMemory 60M
@{[map { "<FcgiServer $_->[0]>\n    FcgiCommand $actor\n    FcgiProcesses 0 2\n    FcgiUser $_->[1]\n</FcgiServer>\n" } [old => 'nobody'], [new => 'nobody'], [other => 'daemon']]}
FcgiMinUid 1
FcgiMinGid 1
$status@{[locations(qw(old new other))]}
EOC
    is $h->get('/other?leak=40')->{status}, 200, 'another user has 40 MB';
    my ($other) = $h->workers('other');
    is $h->get('/old?leak=40')->{status}, 200, 'the one pool has 40 MB';
    my ($old) = $h->workers('old');
    is $h->get('/new?leak=40')->{status}, 200, 'the other of the same user, too';
    my ($new) = $h->workers('new');
    ok $h->wait_log(qr/FPM0374: pool old slot 0 pid $old: evicted, idle for \d+ s: all processes of user nobody use \d+M \(FcgiUserMemory 60M\)/, 25), 'his longest unused one goes';
    wait_for { scalar(() = $h->workers('old')) == 0 } 5, 'it has gone';
    is_deeply [$h->workers('new')], [$new], 'the other stays';
    is_deeply [$h->workers('other')], [$other], '... and what is not his';
    is $h->get('/old')->{status}, 200, 'who is asked for starts again';
    $h->stop;
};
done_testing;
