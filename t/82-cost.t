# SPDX-License-Identifier: Apache-2.0
# What a request must not cost, as it can be seen from outside: a thread woken that has nothing to do with it, a thread that
# waits for a client.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Fcgipm;

my $mpm = $ENV{FCGIPM_MPM} // 'event';
my $async = $mpm eq 'event' && ($ENV{FCGIPM_ASYNC} // 'Auto') ne 'Off';
my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    mpm_conf => $mpm eq 'prefork' ? "StartServers 6\nServerLimit 6\nMaxRequestWorkers 6\nMinSpareServers 6\nMaxSpareServers 6\n"
      : "StartServers 1\nServerLimit 1\nThreadsPerChild 6\nThreadLimit 6\nMaxRequestWorkers 6\nMinSpareThreads 1\nMaxSpareThreads 6\nAsyncRequestWorkerFactor 64\n",
    conf => <<"EOC");
FlushMaxThreshold 4096
<FcgiServer app>
    FcgiCommand $actor
    FcgiProcesses 2 2
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/app">
    FcgiPass app
</Location>
EOC

# Of all threads of httpd's children with that name: how often they have gone to sleep.
sub sleeps {
    my ($name) = @_;
    my $sum = 0;
    for my $task (map { glob "/proc/$_/task/*" } $h->children) {
        open my $c, '<', "$task/comm" or next;
        next if <$c> ne "$name\n";
        open my $s, '<', "$task/status" or next;
        /^voluntary_ctxt_switches:\s+(\d+)/ and $sum += $1 while <$s>;
    }
    return $sum;
}

# One answer on a connection that goes on.
sub one {
    my ($s, $path) = @_;
    print {$s} "GET $path HTTP/1.1\r\nHost: x\r\n\r\n";
    my ($head, $body) = ('', '');
    while ($head !~ /\r\n\r\n\z/) { sysread $s, $head, 1, length $head or return }
    my ($len) = $head =~ /^Content-Length: (\d+)/mi or return;
    while (length $body < $len) { sysread $s, $body, $len - length $body, length $body or return }
    return $body;
}

subtest 'the keeper sleeps on' => sub {
    my $s = $h->connect;
    one($s, '/app?size=10') for 1 .. 5;
    wait_for { sleeps('fcgipm-keeper') > 0 } 5;
    my $before = sleeps('fcgipm-keeper');
    is scalar(grep { length(one($s, '/app?size=10') // '') == 10 } 1 .. 400), 400, '400 requests, one behind the other';
    cmp_ok sleeps('fcgipm-keeper') - $before, '<', 40, 'each leaves its connection to it, and does not wake it';
};

# FlushMaxThreshold 4096: with more than that on its way httpd would wait for the client in the thread.
subtest 'slow readers under a small FlushMaxThreshold' => sub {
    plan skip_all => 'threads are held here' unless $async;
    my $done = $h->status('app')->{counters}{done};
    my @s = map { my $s = $h->connect; setsockopt $s, SOL_SOCKET, SO_RCVBUF, pack 'i', 65536; print {$s} "GET /app?size=12000000 HTTP/1.0\r\n\r\n"; $s } 1 .. 8;
    wait_for { $h->status('app')->{counters}{done} >= $done + 8 } 30, 'all are in files';
    is length $h->get('/app?size=10')->{body}, 10, 'more of them than threads, and there is one for others';
    is scalar(grep { length +((Fcgipm::read_all($_, 60))[0] =~ s/^.*?\r\n\r\n//sr) == 12_000_000 } @s), 8, 'each gets all';
};
$h->stop;

# A client that is nearly as fast as the process gets 100 ms before its answer goes to a file, but not while others wait.
subtest 'slow readers one behind the other' => sub {
    plan skip_all => 'threads are held here' unless $async;
    my $h = Fcgipm->httpd(conf => <<"EOC");
SendBufferSize 65536
<FcgiServer one>
    FcgiCommand $actor
    FcgiProcesses 1 1
</FcgiServer>
<Location "/one">
    FcgiPass one
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
    is length $h->get('/one?size=10')->{body}, 10, 'it runs';
    my ($least, $whole, $rounds) = (999, 0, 0);
    # 3 s if each had its 100 ms, however fast the machine is; a busy one gets further tries.
    while ($least >= 1.5 && $rounds < 6) {
        my ($done, $held) = map { ($_->{counters}{done}, $_->{took}{sum_us}) } $h->status('one');
        my @s = map { my $s = $h->connect; setsockopt $s, SOL_SOCKET, SO_RCVBUF, pack 'i', 65536; print {$s} "GET /one?size=1000000 HTTP/1.0\r\n\r\n"; $s } 1 .. 30;
        wait_for { $h->status('one')->{counters}{done} >= $done + 30 } 30, 'all are in files';
        $held = ($h->status('one')->{took}{sum_us} - $held) / 1e6;
        note sprintf 'held for %.3f s', $held;
        $least = $held if $held < $least;
        $whole += grep { length +((Fcgipm::read_all($_, 60))[0] =~ s/^.*?\r\n\r\n//sr) == 1_000_000 } @s;
        $rounds++;
    }
    cmp_ok $least, '<', 1.5, '30 of them have not held the process for 100 ms each';
    is $whole, 30 * $rounds, 'each gets all';
    $h->stop;
};
done_testing;
