# SPDX-License-Identifier: Apache-2.0
# Ready and alive: a process gets requests when it answers as FcgiReady and FcgiProbe say; an idle one that is stopped or
# no longer accepts is found and replaced, also while an httpd child keeps a connection to it.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

need('php-cgi');
my $actor = app_built('actor.c');
my $dir = File::Temp::tempdir('/tmp/fcgipm-app-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
sub put { my ($name, $text) = @_; open my $f, '>', "$dir/$name" or die; print {$f} $text; close $f; chmod 0755, "$dir/$name" }

# It accepts at once (libfcgi does), but is ready when it has said so, half a second later.
put('notifies', <<"E");
#!/usr/bin/perl
use Socket;
if (fork == 0) {
    select undef, undef, undef, 0.5;
    socket my \$s, AF_UNIX, SOCK_DGRAM, 0;
    send \$s, "STATUS=warm\\nREADY=1\\n", 0, sockaddr_un(\$ENV{NOTIFY_SOCKET});
    exit;
}
exec '$actor';
E
# It warms up: its first answers are 503.
put('warms', <<'E');
#!/usr/bin/perl
use FCGI;
my $begin = time;
my $request = FCGI::Request();
while ($request->Accept >= 0) {
    if ($ENV{PATH_INFO} eq '/ping' && time - $begin < 2) { print "Status: 503 Warming\r\nContent-Type: text/plain\r\n\r\n" }
    else { print "Content-Type: text/plain\r\n\r\n", $ENV{PATH_INFO} eq '/ping' ? "pong $ENV{REQUEST_METHOD} $ENV{QUERY_STRING}" : "warm after " . (time - $begin) . "\n" }
}
E
my $h = Fcgipm->httpd(loglevel => 'info', expect_log => [qr/FPM0316/, qr/FPM0318/, qr/FPM0373/, qr/FPM0302/, qr/FPM0317/, qr/FPM0602/], conf => <<"EOC");
<FcgiServer notify>
    FcgiCommand $dir/notifies
    FcgiProcesses 1
    FcgiReady Notify
</FcgiServer>
<FcgiServer mute>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiReady Notify
    FcgiTimeout start=700ms
</FcgiServer>
<FcgiServer answers>
    FcgiCommand /usr/bin/php-cgi
    FcgiProcesses 1
    FcgiReady Answer
</FcgiServer>
<FcgiServer silent>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiReady Answer
    FcgiTimeout start=700ms
</FcgiServer>
<FcgiServer warms>
    FcgiCommand $dir/warms
    FcgiProcesses 1
    FcgiProbe /ping?deep=1
</FcgiServer>
<FcgiServer cold>
    FcgiCommand $dir/warms
    FcgiProcesses 1
    FcgiProbe /ping
    FcgiTimeout start=800ms
</FcgiServer>
<FcgiServer idle>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiProbe every=300ms timeout=700ms
</FcgiServer>
<FcgiServer pinged>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiProbe /ping every=300ms timeout=700ms
</FcgiServer>
<FcgiServer asked>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiProbe every=200ms timeout=60s
    FcgiTimeout stop=1s
</FcgiServer>
<FcgiServer plain>
    FcgiCommand $actor
    FcgiProcesses 1
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(notify mute answers silent warms cold idle pinged asked plain)]}
EOC

# Who waits for a process that is not ready gets it when it is.
sub ready_after { my ($pool) = @_; return $h->log =~ /FPM0312: pool $pool slot \d+ pid \d+: ready after (\d+) ms/ ? $1 : undef }

like $h->get('/notify')->{body}, qr/^hello from c/, 'Notify: answered';
cmp_ok ready_after('notify'), '>=', 450, 'but not before it said READY=1';
ok $h->wait_log(qr/FPM0316: pool mute slot \d+ pid \d+: did not start: has not said READY=1 after 0 s \(FcgiTimeout start=\)/, 5), 'one that never says so is not started';

ok $h->wait_log(qr/FPM0312: pool answers slot \d+ pid \d+: ready/, 5), 'Answer: php-cgi does';
ok $h->wait_log(qr/FPM0316: pool silent slot \d+ pid \d+: did not start: does not answer FCGI_GET_VALUES \(FcgiReady Answer\)/, 5), 'libfcgi does not, and the log says so';

is $h->get('/warms', timeout => 20)->{status}, 200, 'FcgiProbe: answered when it is warm';
cmp_ok ready_after('warms'), '>=', 900, 'not before';
ok $h->wait_log(qr/FPM0316: pool cold slot \d+ pid \d+: did not start: it answers FcgiProbe with status 503/, 5), 'one that stays cold is not started, and the log says what it answers';

# Nobody but the worker can say that it is ready.
SKIP: {
    skip 'needs root', 1 if $>;
    my $before = () = $h->log =~ /FPM0312: pool mute/g;
    system $^X, '-e', 'use Socket; $> = 65534; socket my $s, AF_UNIX, SOCK_DGRAM, 0; for (1 .. 20) { send $s, "READY=1", 0, sockaddr_un($ARGV[0]); select undef, undef, undef, 0.05 }', $h->root . '/run/notify';
    is scalar(() = $h->log =~ /FPM0312: pool mute/g), $before, 'READY=1 of a stranger is nothing';
}

for my $pool (qw(idle pinged)) {
    subtest "$pool: no longer accepts" => sub {
        my ($before) = $h->workers($pool);
        is $h->get("/$pool?freeze=1")->{status}, 200, 'it answers once more and then never again';
        ok $h->wait_log(qr/FPM0373: pool $pool slot 0 pid $before: did not answer for 700 ms \(FcgiProbe timeout=\) while idle; it is replaced/, 5), 'found';
        wait_for { ; my @now = $h->workers($pool); @now == 1 && $now[0] != $before } 8, 'replaced';
        is $h->get("/$pool")->{status}, 200, 'and serves';
        wait_for { $h->status($pool)->{counters}{unresponsive} == 1 } 5, 'counted';
    };
    subtest "$pool: stopped, with a kept connection" => sub {
        is $h->get("/$pool")->{status}, 200, 'it serves';
        my ($before) = $h->workers($pool);
        kill STOP => $before;
        wait_for { ; my @now = $h->workers($pool); @now == 1 && $now[0] != $before } 8, 'replaced';
        is $h->get("/$pool")->{status}, 200, 'and serves';
    };
}
subtest 'asking disturbs nobody' => sub {
    my ($before) = $h->workers('idle');
    my $sum = $h->load(clients => 3, seconds => 3, path => '/idle');
    is $sum->{sent}, $sum->{ok}, "no request is lost ($sum->{sent})" or diag join "\n", @{$sum->{bad}};
    my ($after) = $h->workers('idle');
    is $after, $before, 'and the process stays';
};

subtest 'a question does not keep who is to leave' => sub {
    is $h->get('/asked?freeze=1')->{status}, 200, 'it will never answer again';
    wait_for { $h->status('asked')->{workers}[0]{seats}{busy} == 1 } 5, 'it is asked';
    my $begin = time;
    is +($h->ctl('restart', 'asked'))[0], 0, 'and replaced meanwhile';
    wait_for { scalar(() = $h->workers('asked')) == 1 } 20, 'the old one is gone';
    cmp_ok time - $begin, '<', 15, 'without waiting for the answer';
};

# Without any directive: a stopped process is found after some time.
my ($stopped) = $h->workers('plain');
kill STOP => $stopped;
wait_for { ; my @now = $h->workers('plain'); @now == 1 && $now[0] != $stopped } 60, 'a stopped process is found without FcgiProbe';
ok $h->wait_log(qr/FPM0373: pool plain slot 0 pid $stopped: is stopped \(SIGSTOP\) while idle/, 2), 'and the log says so';
$h->stop;
done_testing;
