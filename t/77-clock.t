# SPDX-License-Identifier: Apache-2.0
# The machine's clock is set, by an hour or a day, back or forth, while requests run, wait, and processes idle: no limit
# comes early for it or never, no process is taken for hung, old or idle, and no figure is absurd. The machine's own clock
# stays as it is: t/apps/clockset.so.c moves what httpd and the manager see of it.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Socket::UNIX;
use POSIX ();
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $dir = File::Temp::tempdir('/tmp/fcgipm-clock-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my $moved = 0;
sub set_clock { ($moved) = @_; open my $f, '+<', "$dir/moved" or die; syswrite $f, pack 'q', $moved; close $f }
{ open my $f, '>', "$dir/moved" or die; syswrite $f, pack 'q', 0 }
set_clock(0);

# Nobody accepts there, and its backlog is full.
my $full = IO::Socket::UNIX->new(Local => "$dir/full", Listen => 1) or die $!;
chmod 0777, "$dir/full";
my @filling;
while (1) {
    socket my $s, AF_UNIX, SOCK_STREAM, 0 or die;
    fcntl $s, Fcntl::F_SETFL(), Fcntl::O_NONBLOCK() or die;
    connect $s, sockaddr_un("$dir/full") or last;
    push @filling, $s;
}

my ($conf, %pool) = ('');
sub pool {
    my ($name, @lines) = @_;
    my ($where) = grep { /^Fcgi(?:Command|Connect)/ } @lines;
    $conf .= join "\n", "<FcgiServer $name>", ($where ? () : "FcgiCommand $actor"), @lines, "</FcgiServer>", "<Location \"/$name\">", "FcgiPass $name", "</Location>", '';
}
pool('steady', 'FcgiProcesses 2 8', 'FcgiTimeout idle=1h read=60s', 'FcgiRecycle lifetime=2h');
pool('queues', 'FcgiProcesses 1', 'FcgiTimeout queue=20s');
pool('read', 'FcgiProcesses 1', 'FcgiTimeout read=2s stop=500ms');
pool('firstbyte', 'FcgiProcesses 1', 'FcgiTimeout firstbyte=2s stop=500ms');
pool('whole', 'FcgiProcesses 1', 'FcgiTimeout request=2s stop=500ms');
pool('queue', 'FcgiProcesses 1', 'FcgiTimeout queue=2s');
pool('connect', "FcgiConnect unix:$dir/full", 'FcgiTimeout connect=2s');
pool('start', 'FcgiProcesses 0 1', 'FcgiEnv ACTOR_START_MS 60000', 'FcgiTimeout start=2s stop=500ms queue=3s');
pool('idle', 'FcgiProcesses 0 1', 'FcgiTimeout idle=2s');
pool('old', 'FcgiProcesses 1', 'FcgiRecycle lifetime=4s');
pool('probed', 'FcgiProcesses 1', 'FcgiProbe every=500ms timeout=2s');
pool('broken', 'FcgiCommand /bin/false', 'FcgiProcesses 1');
my $h = Fcgipm->httpd(
    env => {LD_PRELOAD => Fcgipm::preload('clockset.so.c'), CLOCKSET => "$dir/moved"},
    mpm_conf => ($ENV{FCGIPM_MPM} // 'event') eq 'prefork' ? "StartServers 32\nMinSpareServers 16\nMaxSpareServers 64\nServerLimit 96\nMaxRequestWorkers 96\n" : undef,
    expect_log => [qr/FPM0316: pool (?:broken|start) /, qr/FPM0302: pool broken/, qr/FPM0317/, qr/FPM060\d: pool (?:broken|queue|connect|start)/,
        qr/FPM061\d: pool (?:read|firstbyte|whole)/, qr/FPM0315: pool (?:read|firstbyte|whole)/, qr/FPM0644/, qr/FPM0318: pool (?:read|firstbyte|whole|start) /, qr/FPM0315: pool (?:broken|old) .*is gone after/],
    loglevel => 'info',
    conf => $conf . "<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n");
wait_for { my $s = $h->status; !grep { !$_->{ready} && $_->{name} !~ /^(?:start|idle|broken)$/ } @{$s->{pools}} } 20, 'they run';

# In the background; the closure waits for it and returns [status, complete, seconds, Retry-After].
sub later {
    my ($path) = @_;
    pipe my $in, my $out or die;
    my $pid = fork // die;
    if (!$pid) {
        my $r = $h->get($path, timeout => 30);
        print {$out} join ' ', $r->{status}, $r->{complete} ? 1 : 0, $r->{ms} / 1000, $r->{headers}{'retry-after'} // 0;
        close $out;
        POSIX::_exit(0);
    }
    close $out;
    return sub { my $line = <$in> // ''; waitpid $pid, 0; return [split ' ', $line] };
}
sub busy { my ($pool) = @_; my $n = 0; $n += $_->{seats}{busy} for @{$h->status($pool)->{workers}}; return $n }
sub pid { my ($pool) = @_; return (map { $_->{pid} } grep { $_->{state} eq 'READY' } @{$h->status($pool)->{workers}})[0] // 0 }
my $begin = time;
sub figures {
    my ($when) = @_;
    my $up = time - $begin + 30;
    my $s = $h->status;
    my @odd;
    push @odd, "uptime $s->{uptime}" if $s->{uptime} > $up;
    push @odd, "started $s->{started}" if abs($s->{started} - $begin) > 60;
    push @odd, 'now ' . ($s->{now} - $moved - time) if abs($s->{now} - $moved - time) > 60;
    for my $p (@{$s->{pools}}) {
        push @odd, map { "$p->{name}: $_ $p->{$_}" } grep { $p->{$_} > $up } qw(trouble_age_s);
        push @odd, "$p->{name}: retry_s $p->{retry_s}" if $p->{retry_s} > 40;
        push @odd, map { "$p->{name}: age $_->{age_s}, life $_->{life_s}" } grep { $_->{age_s} > $up || $_->{life_s} > $up || ($_->{pid} && $_->{age_s} > $_->{life_s} + 1) } @{$p->{workers}};
    }
    is "@odd", '', "$when: the figures are right";
}

my @steady = sort $h->workers('steady');
$h->get('/steady');
for my $round ([86400, 'a day ahead'], [-86400, 'two days back'], [3600, 'a day and an hour ahead'], [0, 'an hour back']) {
    my ($to, $when) = @$round;
    subtest $when => sub {
        my $connects = $h->status('steady')->{counters}{connects};
        $h->get('/idle');
        my $old = pid('old');
        my %limited = map { $_->[0] => later($_->[1]) } [read => '/read?sleep=20000'], [firstbyte => '/firstbyte?sleep=20000'],
            [whole => '/whole?drip=40:500'], [connect => '/connect'];
        my $starts = later('/start');
        my $failed = () = $h->log =~ /FPM0316: pool start /g;
        my @busy = (later('/queue?sleep=5000'), later('/queues?sleep=1500'));
        my @runs = map { later("/steady?sleep=" . (2000 + 100 * $_)) } 1 .. 2;
        my $drips = later('/steady?drip=30:100');
        wait_for { busy('queue') == 1 && busy('queues') == 1 && busy('steady') == 3 } 10, 'they are busy';
        $limited{queue} = later('/queue');
        my @waits = map { later('/queues?sleep=300') } 1 .. 3;
        wait_for { $h->status('queues')->{waiting} == 3 && $h->status('queue')->{waiting} >= 1 } 10, 'and these wait';
        set_clock($to);
        figures($when);
        for (@runs, $drips, @waits, $busy[1]) {
            my $r = $_->();
            is "$r->[0] $r->[1]", '200 1', sprintf 'what ran or waited is served (%.1f s)', $r->[2];
        }
        my %want = (read => 504, firstbyte => 504, whole => 504, connect => 503, queue => 503);
        for my $kind (sort keys %limited) {
            my $r = $limited{$kind}->();
            is $r->[0] == 200 && !$r->[1] && $kind eq 'whole' ? 504 : $r->[0], $want{$kind}, "FcgiTimeout $kind= comes";
            ok $r->[2] > 1.7 && $r->[2] < 6, sprintf 'in its time (%.1f s)', $r->[2];
            ok $r->[3] <= 40, "try again after $r->[3] s" if $r->[3];
        }
        is $starts->()->[0], 503, 'and one that does not start';
        wait_for { (() = $h->log =~ /FPM0316: pool start /g) > $failed } 8, 'start= comes';
        my @after = $h->log =~ /FPM0316: pool start .*?after (\d+) ms/g;
        is scalar(grep { $_ < 1900 || $_ > 5000 } @after), 0, "in its time (@after ms)";
        is $busy[0]->()->[0], 200, 'who was busy was not hung';
        wait_for { $h->log =~ /FPM031\d: pool old slot \d+ pid $old: .*lifetime/ } 8, 'lifetime= comes';
        wait_for { !$h->workers('idle') } 8, 'idle= comes';
        figures("after $when");
        my $sorry = $h->get('/broken');
        is $sorry->{status}, 503, 'the one that does not start';
        cmp_ok $sorry->{headers}{'retry-after'}, '<=', 40, "says when to try again ($sorry->{headers}{'retry-after'} s)";
        my %now = map { $_ => 1 } $h->workers('steady');
        is scalar(grep { $now{$_} } @steady), 2, 'no process was ended for its age or idleness';
        is $h->status('probed')->{counters}{unresponsive}, 0, 'nor for an answer that seemed late';
        cmp_ok $h->status('steady')->{counters}{connects} - $connects, '<=', 4, 'kept connections were used again';
    };
}
my ($code, $said) = $h->ctl('status');
is $code, 0, 'fcgipmctl';
unlike $said, qr/\b\d{3,} ?d\b/, 'has no absurd ages either' or diag $said;

# Who counts the manager's deaths within ten seconds does not take a clock that was set back for ten seconds.
sub lose_manager {
    my $m = $h->manager;
    kill KILL => $m;
    wait_for { my $n = $h->manager; $n && $n != $m && Fcgipm::in_its_loop($n) } 10, 'the next manager comes at once';
}
lose_manager() for 1 .. 4;
my $wait = time + 10.5;
set_clock(-86400);
figures('after an adoption');
is_deeply [sort grep { my $pid = $_; grep { $pid == $_ } @steady } $h->workers('steady')], \@steady, 'the processes are adopted';
sleep 0.1 while time < $wait;
lose_manager() for 1 .. 3;
ok !$h->log_has(qr/FPM0643/), 'the manager does not die too often';
is scalar(grep { $_->{name} eq 'steady' && $_->{ready} >= 2 } @{$h->status->{pools}}), 1, 'and all goes on';
is_deeply [sort grep { my $pid = $_; grep { $pid == $_ } @steady } $h->workers('steady')], \@steady, 'with the same processes';

# More requests wait than httpd has threads: it closes none of them, and still takes new ones.
if (($ENV{FCGIPM_MPM} // 'event') eq 'event' && ($ENV{FCGIPM_ASYNC} // 'Auto') ne 'Off') {
    set_clock(0);
    my $few = Fcgipm->httpd(
        env => {LD_PRELOAD => Fcgipm::preload('clockset.so.c'), CLOCKSET => "$dir/moved"}, loglevel => 'info',
        mpm_conf => "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nThreadLimit 4\nMaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4\nAsyncRequestWorkerFactor 300\n",
        conf => "<FcgiServer many>\n    FcgiCommand $actor\n    FcgiEnv ACTOR_THREADS 32\n    FcgiConcurrency 32\n    FcgiProcesses 1\n</FcgiServer>\n"
            . "<Location \"/many\">\n    FcgiPass many\n</Location>\n<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n");
    wait_for { $few->status('many')->{ready} == 1 } 10;
    my $sum = $few->load(clients => 16, requests => 16, path => '/many?sleep=5000', background => 1);
    wait_for { my $n = 0; $n += $_->{seats}{busy} for @{$few->status('many')->{workers}}; $n == 16 } 10, '16 requests wait, on four threads';
    set_clock(86400);
    my $static;    # httpd's listener looks at its limits when it has something to do
    wait_for { $static = $few->get('/favicon.ico', timeout => 15); $static->{status} == 404 && $few->log_has(qr/FPM0686/) } 15, 'httpd takes them for too old, and the log says so';
    is $static->{status}, 404, sprintf 'a new one is answered (%.1f s)', $static->{ms} / 1000;
    $sum = $sum->();
    is $sum->{ok}, 16, 'and all of them' or diag join "\n", @{$sum->{bad}};
    $few->stop;
    set_clock(-86400);
}

# httpd stops, and waits for its manager as long as that may take.
{
    my $busy = later('/steady?sleep=1500');
    wait_for { busy('steady') >= 1 } 5;
    my $pid = fork // die;
    if (!$pid) {
        sleep 0.01 until $h->log_has(qr/AH00491|AH00169|caught SIGTERM/);
        set_clock(86400);
        POSIX::_exit(0);
    }
    $h->stop;
    waitpid $pid, 0;
    $busy->();
}
done_testing;
