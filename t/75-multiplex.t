# SPDX-License-Identifier: Apache-2.0
# FcgiMultiplex: requests of one httpd child share a connection to a process that says it can do that, and none of them
# suffers from another: not from one whose client does not read, leaves, or breaks off. And FcgiConcurrency: the process
# with the fewest requests gets the next one.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

need('go');
# With prefork a child has one request at a time: nothing is shared, and all else is as it is elsewhere.
my $prefork = ($ENV{FCGIPM_MPM} // 'event') eq 'prefork';
my $mpx = app_built('mpx.c');
my $go = app_built('actor.go');
my $actor = app_built('actor.c');
sub pool {
    my ($name, $command, @lines) = @_;
    return join "\n", "<FcgiServer $name>", "FcgiCommand $command", "FcgiProcesses 1", @lines, "</FcgiServer>",
        "<Location \"/$name\">", "FcgiPass $name", "</Location>", '';
}
my @auto = ('FcgiConcurrency Auto', 'FcgiMultiplex Auto');
my $h = Fcgipm->httpd(
    mpm_conf => $prefork ? undef : "StartServers 1\nServerLimit 1\nThreadsPerChild 48\nThreadLimit 48\nMaxRequestWorkers 48\nMinSpareThreads 1\nMaxSpareThreads 48\n",
    expect_log => [qr/FPM0616/, qr/FPM0315/, qr/FPM0382: pool mute /],
    conf => join '', pool('mpx', $mpx, @auto, 'FcgiEnv MPX_VALUES "FCGI_MAX_REQS=24 FCGI_MPXS_CONNS=1"'),
    pool('many', $mpx, 'FcgiConcurrency 24'),
    pool('small', $mpx, 'FcgiConcurrency 16', 'FcgiMultiplex Auto', 'FcgiResponseBuffer memory=64K file=0'),
    pool('one', $mpx, 'FcgiConcurrency 8', 'FcgiMultiplex Auto', 'FcgiEnv MPX_VALUES "FCGI_MAX_REQS=8 FCGI_MPXS_CONNS=0"'),
    pool('mute', $actor, 'FcgiConcurrency 4', 'FcgiEnv ACTOR_THREADS 4', 'FcgiMultiplex Auto'),
    pool('two', $mpx, 'FcgiConcurrency 8', 'FcgiMultiplex Auto', 'FcgiProcesses 2'),
    pool('apart', $mpx, 'FcgiConcurrency 8', 'FcgiProcesses 2'),
    pool('die', $mpx, @auto), pool('go', $go, @auto),
    "<Location \"/st\">\nSetHandler fcgipm-status\n</Location>\n");
wait_for { ; my @ready = grep { my ($w) = @{$h->status($_)->{workers}}; $w && $w->{state} eq 'READY' } qw(mpx many small one mute two apart die go); @ready == 9 } 20;

sub start { my ($path) = @_; my $s = $h->connect; print {$s} "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"; return $s }
sub finish { my ($s) = @_; return Fcgipm::parse((Fcgipm::read_all($s, 30))[0], 'GET') }
sub at_once { my @s = map { start($_) } @_; return map { finish($_) } @s }
sub where { my ($r) = @_; return split ' ', $r->{body} }    # pid, connection, id, open requests
my $cycle = join '', reverse 'a' .. 'z';
sub pattern { my ($size) = @_; return substr $cycle x ($size / 26 + 2), 25 - $size % 26, $size }
sub distinct { my %seen; return scalar grep { !$seen{$_}++ } @_ }
sub busy { my ($pool) = @_; my $n = 0; $n += $_->{seats}{busy} for @{$h->status($pool)->{workers}}; return $n }

subtest 'one connection' => sub {
    ok $h->log_has(qr/pool mpx slot 0 pid \d+: ready after \d+ ms, for 24 requests at a time, several on one connection/), 'the process has said so';
    my @r = at_once(('/mpx?say=where&sleep=400') x 16);
    is_deeply [map { $_->{status} } @r], [(200) x 16], '16 requests at a time';
    is distinct(map { (where($_))[0] } @r), 1, 'go to one process';
    if ($prefork) {
        cmp_ok distinct(map { (where($_))[1] } @r), '>', 8, 'each child has a connection';
        is_deeply [map { @{[where($_)]}[2, 3] } @r], [(1, 1) x 16], 'with one request on it';
        @r = at_once(('/mpx?say=where&sleep=200') x 40);
        is_deeply [map { $_->{status} } @r], [(200) x 40], 'more than it takes at a time wait for their turn';
    } else {
        is distinct(map { (where($_))[1] } @r), 1, 'share a connection';
        is distinct(map { (where($_))[2] } @r), 16, 'each with an id of its own';
        cmp_ok((sort { $b <=> $a } map { (where($_))[3] } @r)[0], '>=', 12, 'at the same time');
        my ($again) = at_once('/mpx?say=where');
        is +(where($again))[1], (where($r[0]))[1], 'that is kept for the next request';
    }
    my $connects = $h->status('mpx')->{counters}{connects};
    at_once(('/mpx?sleep=50') x 16) for 1 .. 3;
    my $more = $h->status('mpx')->{counters}{connects} - $connects;
    cmp_ok $more, '<=', $prefork ? 40 : 0, 'and for the next ones';
    @r = at_once(('/many?say=where&sleep=300') x 8);
    is distinct(map { (where($_))[1] } @r), 8, 'without FcgiMultiplex each request has its own';
    @r = at_once(('/one?say=where&sleep=300') x 8);
    is distinct(map { (where($_))[1] } @r), 8, 'so it has where the process says FCGI_MPXS_CONNS=0';
    @r = at_once(('/mute?sleep=300') x 4);
    is_deeply [map { $_->{status} } @r], [(200) x 4], 'and where it does not answer';
};
subtest 'answers in pieces, side by side' => sub {
    my @sizes = map { 100_000 + 7919 * $_ } 1 .. 12;
    for my $pool (qw(mpx)) {
        my @r = at_once(map { "/$pool?size=$_" } @sizes);
        is scalar(grep { $r[$_]{body} eq pattern($sizes[$_]) } 0 .. $#sizes), 12, "$pool: each exact";
    }
    is scalar(grep { $_->{body} =~ /^\d+\n$/ } at_once(('/go?do=pid&sleep=200') x 24)), 24, "24 at a time on Go's net/http/fcgi";
    my @go = at_once(map { '/go?size=' . (200_000 + $_) } 1 .. 12);
    is_deeply [map { length $_->{body} } @go], [map { 200_000 + $_ } 1 .. 12], 'and large ones';
    cmp_ok $h->status('go')->{counters}{connects}, '<', 12, 'on few connections' if !$prefork;
};
subtest 'what must not be repeated' => sub {
    my ($first) = at_once('/mpx?say=where');
    my $post = $h->request(POST => '/mpx?say=where', body => 'x' x 100);
    isnt +(where($post))[1], (where($first))[1], 'a POST has a connection of its own';
    is $h->request(POST => '/mpx', body => 'x' x 300_000)->{body}, "300000 bytes\n", 'with a large body';
    my ($next) = at_once('/mpx?say=where');
    is +(where($next))[1], (where($first))[1], 'the next GET is on the shared one again' if !$prefork;
};
subtest 'a client that does not read' => sub {
    my ($before) = at_once('/mpx?say=where');
    my $done = $h->status('mpx')->{counters}{done};
    my $slow = start('/mpx?size=24000000');
    wait_for { $h->status('mpx')->{counters}{done} > $done && busy('mpx') == 0 } 20;
    is busy('mpx'), 0, 'holds no place: its answer is kept for it';
    my @r = map { at_once('/mpx?size=50000') } 1 .. 20;
    is scalar(grep { $_->{body} eq pattern(50000) } @r), 20, 'the others go on';
    my $got = finish($slow);
    is length $got->{body}, 24_000_000, 'and it gets all of it';
    ok $got->{body} eq pattern(24_000_000), 'exact';

    return if $prefork; # it holds up nobody
    my $stays = start('/small?say=where&sleep=4000');
    wait_for { busy('small') == 1 } 10;
    my ($there) = at_once('/small?say=where');
    my @slow = map { start('/small?size=20000000') } 1 .. 2;
    ok wait_for(sub { $h->log_has(qr/FPM0616: pool small .*its client does not take the answer, and others share the connection \(FcgiMultiplex, FcgiResponseBuffer\); the answer is cut off/) }, 20), 'beyond its buffer it is cut, and the log says why';
    @r = map { at_once('/small?size=50000') } 1 .. 20;
    is scalar(grep { $_->{body} eq pattern(50000) } @r), 20, 'so the others go on';
    my ($still) = at_once('/small?say=where');
    is +(where($still))[1], (where($there))[1], 'on the same connection';
    is +(where(finish($stays)))[1], (where($there))[1], 'one that was there all the time too';
    is scalar(grep { finish($_)->{complete} } @slow), 0, 'nobody takes the cut answer for a whole one';
    wait_for { busy('small') == 0 } 20;
    is busy('small'), 0, 'and no place is lost';
};
subtest 'a client that leaves' => sub {
    my ($before) = at_once('/mpx?say=where');
    my @gone = map { start('/mpx?sleep=60000') } 1 .. 6;
    wait_for { busy('mpx') >= 6 } 10;
    my $stays = start('/mpx?sleep=500&say=where');
    close $_ for @gone;
    my ($on) = (where(finish($stays)))[1];
    is $prefork ? $on && 1 : $on, $prefork ? 1 : (where($before))[1], 'takes nobody with it';
    wait_for { busy('mpx') == 0 } 20;
    is busy('mpx'), 0, 'its place comes back';
    my ($after) = at_once('/mpx?say=where');
    is +(where($after))[1], (where($before))[1], 'the connection stays' if !$prefork;

    # An application may say that an aborted request has ended, and go on with it.
    @gone = map { start('/mpx?sleep=60000&late=1&size=50&say=where') } 1 .. 4;
    $stays = start('/mpx?sleep=1500&say=where');
    wait_for { busy('mpx') >= 5 } 10;
    close $_ for @gone;
    wait_for { busy('mpx') == 1 } 10;
    my @new = at_once(('/mpx?sleep=700&say=where') x 8);
    is scalar(grep { $_->{status} == 200 && $_->{body} =~ /^\d+ \d+ \d+ \d+\n\z/ } @new), 8, 'nobody gets what comes late for it';
    ($on) = (where(finish($stays)))[1];
    is $prefork ? $on && 1 : $on, $prefork ? 1 : (where($new[0]))[1], 'nor is cut off for it';
};
subtest 'a request with a body' => sub {
    my $s = $h->connect;
    print {$s} "GET /go?do=sum&sleep=1500 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789";
    wait_for { busy('go') == 1 } 10;
    my $begin = time;
    is $h->get('/go?do=pid')->{status}, 200, 'whose handler does not read it';
    cmp_ok time - $begin, '<', 1, 'keeps nobody waiting';
    like finish($s)->{body}, qr/^10 /, 'and is answered';
};
subtest 'a process that dies or lies' => sub {
    my ($pid) = where((at_once('/die?say=where'))[0]);
    my @stay = map { start('/die?sleep=700&say=where') } 1 .. 5;
    wait_for { busy('die') == 5 } 10;
    is $h->request(POST => '/die?die=1', body => 'x')->{status}, 502, 'one request kills it';
    my @r = map { finish($_) } @stay;
    is_deeply [map { $_->{status} } @r], [(200) x 5], 'the others, which may be repeated, are';
    is scalar(grep { (where($_))[0] != $pid } @r), 5, 'by its successor';
    my $lied = $h->get('/die?forge=1&size=100');
    ok $lied->{status} == 502 || !$lied->{complete}, 'a record for nobody is no answer';
    ok $h->wait_log(qr/FPM0616: pool die .*a record for a request id that is not in use/, 5), 'and is named' or diag "status $lied->{status} complete $lied->{complete}\n", join "\n", grep { /pool die / } split /\n/, $h->log;
    $lied = $h->get('/die?version=9&size=100');
    ok $lied->{status} == 502 || !$lied->{complete}, 'nor is what is no record';
    ok $h->wait_log(qr/FPM0616: pool die .*bytes that are not a FastCGI version 1 record/, 5), 'in the log';
    is $h->get('/die?say=where')->{status}, 200, 'the next request has a new connection';
};
subtest 'what is told of a request' => sub {
    plan skip_all => 'nothing is shared' if $prefork;
    my $cut = sub { return scalar(() = $h->log =~ /FPM0616: pool small/g) };
    my ($before, $stays) = ($cut->(), start('/small?say=where&sleep=2000'));
    my @slow = map { start('/small?size=20000000') } 1 .. 6;
    wait_for { $cut->() >= $before + 6 } 20, 'six are cut off';
    finish($_) for @slow, $stays;
    my $at = length $h->log;
    for my $others (0 .. 11) {    # on descriptors that those have had
        my @s = map { start('/die?sleep=20&size=10') } 1 .. $others;
        $h->get('/die?forge=1&size=100');
        finish($_) for @s;
    }
    my @said = substr($h->log, $at) =~ /FPM0616: pool die [^\n]*?: ([^\n;]*)/g;
    cmp_ok scalar(@said), '>=', 12, 'each is named';
    is scalar(grep { /its client/ } @said), 0, 'is not what was told of another one';
};
subtest 'the process with the fewest requests' => sub {
    for my $pool (qw(two apart)) {
        my @s;
        for my $n (1 .. 8) {    # one after the other, all held
            push @s, start("/$pool?say=where&sleep=1500");
            wait_for { busy($pool) >= $n } 10;
        }
        my %load;
        $load{(where(finish($_)))[0]}++ for @s;
        is_deeply [values %load], [4, 4], "$pool: each of two has half";
    }
};
subtest 'reloads under load' => sub {
    my $join = $h->load(clients => 6, seconds => 3, background => 1, path => '/mpx?size=30000', check => sub { $_[0]{status} == 200 && $_[0]{complete} && length $_[0]{body} == 30000 });
    for (1 .. 3) { sleep 0.5; $h->graceful }
    my $sum = $join->();
    is $sum->{ok}, $sum->{sent}, "$sum->{sent} requests, none lost" or diag explain $sum->{bad};
};
$h->stop;
done_testing;
