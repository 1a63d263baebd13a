# SPDX-License-Identifier: Apache-2.0
# Requests that take too long: each time limit by its name, 504, and only the process that hangs is replaced; the slow
# log says what it was doing, from /proc or from a command, which runs as the application's user and is itself limited.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Socket::UNIX;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $dir = File::Temp::tempdir('/tmp/fcgipm-app-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
sub put { my ($name, $text) = @_; open my $f, '>', "$dir/$name" or die; print {$f} $text; close $f; chmod 0755, "$dir/$name" }
put('dumper', qq{#!/bin/sh\necho "called as \$(id -un) with \$*"\necho "alive: \$(kill -0 \$3 2>&1 && echo yes)"\nls -l /proc/self/fd | wc -l\nprintf 'bad \\001 byte'\n});
put('stuck', qq{#!/bin/sh\necho begun\nsleep 60.6969 & sleep 60.6969\n});

my $h = Fcgipm->httpd(loglevel => 'info', expect_log => [qr/FPM0613/, qr/FPM031[58]/, qr/FPM037[67]/, qr/FPM0601/, qr/FPM0603/, qr/FPM0318/], conf => <<"EOC");
<FcgiServer first>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiTimeout firstbyte=500ms read=5s
</FcgiServer>
<FcgiServer silence>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiTimeout firstbyte=5s read=500ms
</FcgiServer>
<FcgiServer whole>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiTimeout request=600ms
</FcgiServer>
<FcgiServer stubborn>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiEnv ACTOR_IGNORE_TERM 1
    FcgiTimeout request=400ms stop=300ms
</FcgiServer>
<FcgiServer brief>
    FcgiCommand $actor
    FcgiProcesses 0 1
    FcgiTimeout idle=1s
</FcgiServer>
<FcgiServer proc>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiSlowLog 300ms
    FcgiTimeout request=900ms
</FcgiServer>
<FcgiServer dump>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiSlowLog 30s $dir/dumper --pid of
    FcgiTimeout request=500ms
</FcgiServer>
<FcgiServer stuck>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiSlowLog 200ms $dir/stuck
    FcgiTimeout request=20s
</FcgiServer>
<FcgiServer deaf>
    FcgiConnect unix:$dir/deaf.sock
    FcgiTimeout connect=300ms
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(deaf first silence whole stubborn brief proc dump stuck)]}
EOC

{
    # A backlog that is full: nobody accepts.
    my $deaf = IO::Socket::UNIX->new(Local => "$dir/deaf.sock", Listen => 1);
    chmod 0666, "$dir/deaf.sock";
    my @full = map { IO::Socket::UNIX->new(Peer => "$dir/deaf.sock", Blocking => 0) } 1 .. 3;
    is $h->get('/deaf')->{status}, 503, 'a socket that nobody accepts on';
    ok $h->wait_log(qr/FPM0603: pool deaf: could not connect to unix:\S+: .* \(FcgiTimeout connect=\); answered 503/, 3), 'connect= by its name' or diag join "\n", grep /deaf/, split /\n/, $h->log;
}
sub replaced {
    my ($pool, $path, $status, $why) = @_;
    subtest $why => sub {
        my @before = sort { $a <=> $b } $h->workers($pool);
        my $r = $h->get($path);
        is $r->{status}, $status, "status $status";
        ok $h->wait_log(qr/FPM0613: pool $pool slot \d+ pid (\d+): .*\Q$why\E/, 3), 'the line names the limit';
        my ($pid) = $h->log =~ /FPM0613: pool $pool slot \d+ pid (\d+)/;
        wait_for { my @now = $h->workers($pool); @now == @before && !grep { $_ == $pid } @now } 8, 'replaced';
        my %now = map { $_ => 1 } $h->workers($pool);
        is scalar(grep { $now{$_} } @before), @before - 1, 'and no other';
        wait_for { $h->status($pool)->{counters}{hung} == 1 } 5, 'counted';
        like $h->status($pool)->{trouble}, qr/pid $pid: (?:a request hung|.*request hung)/, 'the status says so';
    };
}
replaced('first', '/first?hang=1', 504, 'FcgiTimeout firstbyte=');
replaced('whole', '/whole?hang=1', 504, 'FcgiTimeout request=');
is $h->get('/silence?sleep=1200')->{status}, 200, 'firstbyte= longer than read=: thinking is allowed';
{
    my $r = $h->get('/silence?drip=3:1500');
    ok !$r->{complete}, 'read=: silence in the middle cuts the answer';
    ok $h->wait_log(qr/FPM0613: pool silence .* \(FcgiTimeout read=\); the answer is cut off/, 3), 'the line names the limit';
}
replaced('stubborn', '/stubborn?hang=1', 504, 'FcgiTimeout request=');
ok $h->wait_log(qr/FPM0318: pool stubborn slot 0 pid \d+: did not end after TERM \(FcgiTimeout stop=\): KILL/, 3), 'stop= by its name';
$h->get('/brief');
ok $h->wait_log(qr/FPM0314: pool brief .*\(idle, FcgiTimeout idle=\)/, 8), 'idle= by its name';

subtest 'what it was doing' => sub {
    my $r = $h->get('/proc?hang=1&secret=%0aFPM9999');
    is $r->{status}, 504, 'Gateway Timeout';
    ok $h->wait_log(qr/FPM0376: pool proc slot \d+ pid \d+: slow request, \d+ ms: GET \/proc\?hang=1&secret=%0aFPM9999; state [SR], waits in \S+, system call \S+, \d+ kB resident, 1 threads/, 3), 'while it runs' or diag join "\n", grep /FPM0376/, split /\n/, $h->log;
    ok $h->wait_log(qr/FPM0376: pool proc slot \d+ pid \d+: hung request, \d+ ms: GET/, 3), 'and before it is killed';
    is $h->get('/proc?sleep=500')->{status}, 200, 'one that is only slow is answered';
    is scalar(() = $h->log =~ /FPM0376: pool proc .* slow request/g), 2, 'and noted once';
    $h->get('/proc');
    is scalar(() = $h->log =~ /FPM0376: pool proc .* slow request/g), 2, 'a quick one is not';
};

subtest 'a command' => sub {
    my ($pid) = $h->workers('dump');
    is $h->get('/dump?hang=1')->{status}, 504, 'Gateway Timeout';
    my $user = $> == 0 ? 'www-data' : getpwuid $>;
    ok $h->wait_log(qr/FPM0377: pool dump slot 0 pid $pid: slow: called as $user with --pid of $pid/, 5), 'called as the application\'s user, with the pid';
    ok $h->wait_log(qr/FPM0377: .*slow: alive: yes/, 3), 'while the process is still there';
    ok $h->wait_log(qr/FPM0377: .*slow: 5$/m, 3), 'with no descriptor of ours' or diag join "\n", grep /FPM0377/, split /\n/, $h->log;
    ok $h->wait_log(qr/FPM0377: .*slow: bad \\x01 byte/, 3), 'what it writes is escaped';
    wait_for { my @now = $h->workers('dump'); @now == 1 && $now[0] != $pid } 8, 'and then the process is replaced';
    is $h->get('/dump')->{status}, 200, 'and serves';
};

subtest 'a command that does not end' => sub {
    my $begin = time;
    is $h->get('/stuck?sleep=1000')->{status}, 200, 'the request is answered all the same';
    cmp_ok time - $begin, '<', 3, 'in its time';
    ok $h->wait_log(qr/FPM0377: pool stuck .*slow: begun/, 3), 'it began';
    my $running = sub { grep { /^sleep\s*$/ } map { Fcgipm::proc_file($_, 'comm') } grep { Fcgipm::proc_file($_, 'stat') =~ /^\d+ \(sleep\)/ && Fcgipm::proc_file($_, 'cmdline') =~ /^sleep\0?60\.6969/ } map { m{/proc/(\d+)} } glob '/proc/[0-9]*' };
    ok scalar($running->()), 'and runs';
    wait_for { !$running->() } 10, 'but not for ever, nor what it has started';
};
$h->stop;
done_testing;
