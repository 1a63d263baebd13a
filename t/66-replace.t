# SPDX-License-Identifier: Apache-2.0
# Processes are replaced while they serve, the next one first: after their requests, their time, their memory; by
# fcgipmctl restart, by a watched file; and when the new ones do not start the old ones stay.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');

sub put {
    my ($path, $text) = @_;
    open my $f, '>', "$path.new" or die "$path: $!";
    print {$f} $text;
    close $f;
    chmod 0755, "$path.new";
    rename "$path.new", $path or die "$path: $!";
}

# An application whose file can be exchanged: version => what it writes to its log, or one that does not start.
my $dir = File::Temp::tempdir('/tmp/fcgipm-app-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
sub deploy { my ($name, $line) = @_; put("$dir/$name", "#!/bin/sh\n$line\nexec $actor\n") }
deploy($_, '') for qw(app watched self);
put("$dir/restart.txt", '1');

my $h = Fcgipm->httpd(loglevel => 'info', expect_log => [qr/FPM0371/, qr/FPM0316/, qr/FPM0317/, qr/FPM0302/, qr/FPM0315/], conf => <<"EOC");
<FcgiServer many>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiRecycle requests=100
</FcgiServer>
<FcgiServer old>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiRecycle lifetime=2s
</FcgiServer>
<FcgiServer app>
    FcgiCommand $dir/app
    FcgiProcesses 3
</FcgiServer>
<FcgiServer neighbour>
    FcgiCommand $actor
    FcgiProcesses 2
</FcgiServer>
<FcgiServer watched>
    FcgiCommand $dir/watched
    FcgiProcesses 2
    FcgiWatch $dir/restart.txt $dir/not-yet.txt
</FcgiServer>
<FcgiServer self>
    FcgiCommand $dir/self
    FcgiProcesses 1
    FcgiWatch Command
</FcgiServer>
<FcgiServer never>
    FcgiCommand /bin/false
    FcgiProcesses 1
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(many old app neighbour watched self)]}
EOC
sub wait_workers { my ($pool, $n) = @_; wait_for { $h->status($pool)->{ready} == $n } 15, "$n processes of $pool" }
wait_workers(@$_) for [many => 2], [old => 2], [app => 3], [neighbour => 2], [watched => 2], [self => 1];
my @neighbours = sort $h->workers('neighbour');

# How many are ready, at least, as seen many times while $cond is not yet true.
sub least_ready {
    my ($pool, $cond, $seconds) = @_;
    my ($least, $most, $end) = (999, 0, time + $seconds);
    until ($cond->()) {
        return ($least, $most, 0) if time > $end;
        my $p = $h->status($pool);
        $least = $p->{ready} if $p->{ready} < $least;
        my $alive = $p->{ready} + $p->{starting};
        $most = $alive if $alive > $most;
    }
    return ($least, $most, 1);
}

subtest 'after its requests' => sub {
    my @before = sort $h->workers('many');
    my $load = $h->load(clients => 3, seconds => 4, path => '/many', background => 1);
    my ($least, $most, $done) = least_ready('many', sub { my %now = map { $_ => 1 } $h->workers('many'); !grep { $now{$_} } @before }, 10);
    my $sum = $load->();
    ok $done, 'both have been replaced';
    is $least, 2, 'never fewer than FcgiProcesses says';
    cmp_ok $most, '<=', 3, 'one at a time';
    is $sum->{sent}, $sum->{ok}, "no request is lost ($sum->{sent})" or diag join "\n", @{$sum->{bad}};
    cmp_ok $h->status('many')->{counters}{recycled}, '>=', 2, 'counted';
    ok $h->wait_log(qr/FPM0314: pool many slot \d+ pid \d+: .* as asked \(FcgiRecycle requests=100\) after \d+ s and (?:9\d|1\d\d) requests/, 3),
        'the log says why, after about that many';
    is $h->status('many')->{counters}{crashed}, 0, 'and none as a crash';
};

subtest 'after its time' => sub {
    my @before = sort $h->workers('old');
    my ($least, undef, $done) = least_ready('old', sub { my %now = map { $_ => 1 } $h->workers('old'); !grep { $now{$_} } @before }, 10);
    ok $done, 'both have been replaced';
    is $least, 2, 'never fewer than FcgiProcesses says';
    ok $h->wait_log(qr/as asked \(FcgiRecycle lifetime=2s\)/, 3), 'the log says why';
};

subtest 'fcgipmctl restart' => sub {
    my @before = sort $h->workers('app');
    my $load = $h->load(clients => 4, seconds => 3, path => '/app?sleep=5', background => 1);
    my ($code, $said) = $h->ctl('restart', 'app');
    is $code, 0, 'done' or diag $said;
    like $said, qr/restart done/, 'says so';
    my %now = map { $_ => 1 } $h->workers('app');
    wait_for { %now = map { $_ => 1 } $h->workers('app'); keys %now == 3 && !grep { $now{$_} } @before } 5, 'three others';
    my $sum = $load->();
    is $sum->{sent}, $sum->{ok}, "no request is lost ($sum->{sent})" or diag join "\n", @{$sum->{bad}};
    is $h->status('app')->{counters}{restarted}, 3, 'counted';
    ok $h->log_has(qr/FPM0370: pool app: restart \(fcgipmctl\): 3 processes/) && $h->log_has(qr/FPM0372: pool app: restart done/), 'two lines';
};

subtest 'new code that does not start' => sub {
    my @before = sort $h->workers('app');
    deploy(app => 'echo "no such module: frobnicate" >&2; exit 7');
    my $load = $h->load(clients => 3, seconds => 3, path => '/app', background => 1);
    my ($code, $said) = $h->ctl('restart', 'app');
    is $code, 1, 'the restart has failed';
    like $said, qr/the old processes stay.*exited with code 7.*no such module: frobnicate/s, 'and fcgipmctl says why';
    is_deeply [sort $h->workers('app')], \@before, 'the old processes are still there';
    my $p = $h->status('app');
    is $p->{restart}, 'failed', 'the status says so';
    like $p->{trouble}, qr/did not start: exited with code 7 .*no such module: frobnicate/, 'and why';
    ok $h->log_has(qr/FPM0371: pool app: restart failed: 3 new processes in a row did not start; the old ones stay/), 'the log says so';
    like $h->get('/st')->{body}, qr/last restart failed.*no such module: frobnicate/s, 'the page, too';
    my $starts = $p->{counters}{spawns};
    my $sum = $load->();
    is $sum->{sent}, $sum->{ok}, "no request is lost ($sum->{sent})" or diag join "\n", @{$sum->{bad}};
    is $h->status('app')->{counters}{spawns}, $starts, 'and nobody tries again by himself';
    deploy(app => '');
    ($code, $said) = $h->ctl('restart', 'app');
    is $code, 0, 'repaired: it restarts' or diag $said;
    is $h->status('app')->{restart}, 'done', 'and the status says so';
};

subtest 'a watched file' => sub {
    my @before = sort $h->workers('watched');
    put("$dir/restart.txt", '22');
    wait_for { my %now = map { $_ => 1 } $h->workers('watched'); keys %now == 2 && !grep { $now{$_} } @before } 10, 'touched: all are replaced';
    wait_for { $h->status('watched')->{restart} eq 'done' } 5, 'done';
    @before = sort $h->workers('watched');
    put("$dir/not-yet.txt", 'now');
    wait_for { my %now = map { $_ => 1 } $h->workers('watched'); keys %now == 2 && !grep { $now{$_} } @before } 10, 'appears: the same';
    wait_for { $h->status('watched')->{restart} eq 'done' } 5, 'done';
    @before = sort $h->workers('watched');
    unlink "$dir/not-yet.txt";
    my $looks = 0;
    wait_for { $h->get('/watched'); ++$looks; sleep 0.2; $looks > 15 } 10, 'some looks later';
    is_deeply [sort $h->workers('watched')], \@before, 'one that goes is no reason';
    ok $h->log_has(qr/FPM0370: pool watched: restart \(a file of FcgiWatch has changed\)/), 'the log says why';
};

subtest 'a file that changes while there is no manager' => sub {
    my @before = sort $h->workers('watched');
    my $manager = $h->manager;
    kill STOP => $h->pid;    # so that the next manager comes late
    kill KILL => $manager;
    wait_for { !Fcgipm::alive($manager) } 5;
    put("$dir/restart.txt", '333');
    kill CONT => $h->pid;
    wait_for { my %now = map { $_ => 1 } $h->workers('watched'); keys %now == 2 && !grep { $now{$_} } @before } 15, 'all are replaced';
    ok $h->wait_log(qr/FPM0370: pool watched: restart \(a file of FcgiWatch has changed meanwhile\)/, 5), 'the next one sees it';
    push @{$h->{expect_log}}, qr/FPM0644/;
};

subtest 'restart of what does not start' => sub {
    my ($code, $said) = $h->ctl('restart', 'never');
    is $code, 1, 'is no success';
    like $said, qr/exited with code 1/, 'and says why';
};

subtest 'its own file' => sub {
    my @before = $h->workers('self');
    deploy(self => 'true');
    wait_for { my @now = $h->workers('self'); @now == 1 && $now[0] != $before[0] } 10, 'replaced';
    pass 'replaced';
};

subtest 'a manager that dies meanwhile' => sub {
    my @before = sort $h->workers('app');
    deploy(app => 'sleep 1');
    my ($code) = $h->ctl('restart', 'app', '--no-wait');
    is $code, 0, 'begun';
    kill KILL => $h->manager;
    wait_for { my %now = map { $_ => 1 } $h->workers('app'); keys %now == 3 && !grep { $now{$_} } @before } 20, 'the next one goes on with it';
    push @{$h->{expect_log}}, qr/FPM0644/;
};

is_deeply [sort $h->workers('neighbour')], \@neighbours, 'nothing of this has touched the neighbour';
$h->stop;

# Memory: a pool of its own, as it takes some seconds.
subtest 'after its memory' => sub {
    my $h = Fcgipm->httpd(loglevel => 'info', conf => <<"EOC");
<FcgiServer fat>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiRecycle memory=40M measure=RSS
</FcgiServer>
<FcgiServer fork>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiRecycle memory=400M
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/fat">
    FcgiPass fat
</Location>
EOC
    wait_for { my @w = $h->workers('fat'); @w == 1 } 10, 'it runs';
    my ($before) = $h->workers('fat');
    is $h->get('/fat?leak=60')->{status}, 200, 'it leaks';
    wait_for { my @w = $h->workers('fat'); @w == 1 && $w[0] != $before } 25, 'and is replaced';
    ok $h->wait_log(qr/as asked \(FcgiRecycle memory=40M, it has [6-9]\dM\)/, 5), 'the log says why';
    my $p = $h->status('fork');
    cmp_ok $p->{memory}, '>', 100_000, 'the status shows what is measured';
    $h->stop;
};
done_testing;
