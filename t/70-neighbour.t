# SPDX-License-Identifier: Apache-2.0
# One application hangs under a flood: its requests hold their share of httpd's threads and no more, what is beyond gets
# 503 at once, and the neighbour and static files do not notice. FCGIPM_LONG=1 prints the neighbour's times.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $prefork = ($ENV{FCGIPM_MPM} // '') eq 'prefork';
my $mpm = $prefork ? "StartServers 24\nMinSpareServers 24\nMaxSpareServers 24\nServerLimit 24\nMaxRequestWorkers 24\n"
    : "StartServers 2\nServerLimit 2\nThreadsPerChild 12\nMaxRequestWorkers 24\nMinSpareThreads 24\nMaxSpareThreads 24\n";
my $long = $ENV{FCGIPM_LONG};
my @users = $> == 0 ? ("FcgiUser nobody\n    ") : ('');
my $h = Fcgipm->httpd(mpm_conf => $mpm, async => 'Off', expect_log => [qr/FPM0600/, qr/FPM0601/, qr/FPM0613/, qr/FPM0315/, qr/FPM0318/, qr/AH0316\d/], conf => <<"EOC");
FcgiUserThreads 6
<FcgiServer hung>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiTimeout request=60s queue=60s
</FcgiServer>
<FcgiServer said>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiQueue threads=5
    FcgiTimeout request=60s queue=60s
</FcgiServer>
<FcgiServer few>
    FcgiCommand $actor
    FcgiProcesses 4
    FcgiQueue threads=3
</FcgiServer>
@{[map { "<FcgiServer customer$_>\n    $users[0]FcgiCommand $actor\n    FcgiProcesses 2\n    FcgiTimeout request=60s queue=60s\n</FcgiServer>\n" } 1, 2]}
<FcgiServer neighbour>
    FcgiCommand $actor
    FcgiProcesses 4
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(hung said few customer1 customer2 neighbour)]}
EOC
open my $f, '>', $h->root . '/htdocs/static.txt' or die;
print {$f} "static\n";
close $f;
wait_for { my $n = 0; $n += $_->{ready} for @{$h->status->{pools}}; $n == 16 } 10, 'they run';

# Requests to the neighbour one after another: [milliseconds, sorted], how many were not exactly right.
sub visit {
    my ($seconds, $path, $body) = @_;
    my (@ms, $bad);
    my $end = time + $seconds;
    $bad = 0;
    while (time < $end) {
        my $begin = time;
        my $r = $h->get($path, timeout => 20);
        push @ms, 1000 * (time - $begin);
        $bad++ unless $r->{status} == 200 && $r->{complete} && $r->{body} =~ $body;
        sleep 0.005;
    }
    return ([sort { $a <=> $b } @ms], $bad);
}
sub at { my ($ms, $share) = @_; return $ms->[$share * $#$ms] }
sub busy { my ($pool) = @_; my $n = 0; $n += $_->{seats}{busy} for @{$pool->{workers}}; return $n + $pool->{waiting} }

# Connections that ask and wait; those that are answered are read.
sub flood {
    my ($path, $n) = @_;
    my @s;
    for (1 .. $n) {
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:@{[$h->port]}") or next;
        print {$s} "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        push @s, $s;
    }
    return @s;
}
sub answered {
    my (@s) = @_;
    my $n = 0;
    my $set = IO::Select->new(@s);
    for my $s ($set->can_read(0)) { $n++ if (readline($s) // '') =~ m{^HTTP/1.1 503} }
    return $n;
}

my ($quiet, $bad) = visit($long ? 5 : 1, '/neighbour', qr/^hello from c/);
is $bad, 0, 'the neighbour is well';
my @flood = flood('/hung?hang=1', 60);
wait_for { my @r = IO::Select->new(@flood)->can_read(0); @r >= 60 - 12 } 10, 'what is beyond the share is answered';
my $answered = answered(@flood);
is $answered, 60 - 12, 'with 503, and the rest waits: half of 24 threads';
is busy($h->status('hung')), 12, 'the status says so';
my ($under, $lost) = visit($long ? 10 : 1, '/neighbour', qr/^hello from c/);
is $lost, 0, scalar(@$under) . ' requests to the neighbour, none lost';
my ($static, $static_lost) = visit(1, '/static.txt', qr/^static$/);
is $static_lost, 0, 'nor to a static file';
ok $h->log_has(qr/FPM0600: pool hung: it has its share of httpd's threads, 12 \(FcgiQueue threads=\); answered 503/), 'the log says why';
if ($long) {
    # And with clients that come again and again.
    my $load = $h->load(clients => 30, seconds => 10, path => '/hung?hang=1', options => {timeout => 5}, background => 1);
    my ($busy, $busy_lost) = visit(9, '/neighbour', qr/^hello from c/);
    $load->();
    is $busy_lost, 0, scalar(@$busy) . ' requests beside 30 clients that come again at once, none lost';
    diag sprintf 'neighbour, ms: quiet p50 %.1f p99 %.1f; one pool hung and full p50 %.1f p99 %.1f; besides 30 clients refused at once p50 %.1f p99 %.1f',
        map { at($_, 0.5), at($_, 0.99) } $quiet, $under, $busy;
}
close $_ for @flood;

@flood = flood('/said?hang=1', 20);
wait_for { my @r = IO::Select->new(@flood)->can_read(0); @r >= 15 } 10, 'a share that is said';
is answered(@flood), 15, 'threads=5';
close $_ for @flood;

@flood = flood('/few?sleep=3000', 6);
wait_for { my @r = IO::Select->new(@flood)->can_read(0); @r >= 3 } 10, 'a share smaller than the processes';
cmp_ok answered(@flood), '>=', 3, 'threads=3 with 4 processes';
cmp_ok busy($h->status('few')), '<=', 3, 'never more than three';
close $_ for @flood;

SKIP: {
    skip 'needs root', 2 if $>;
    my @one = flood('/customer1?hang=1', 4);
    wait_for { busy($h->status('customer1')) == 4 } 5;
    my @two = flood('/customer2?hang=1', 4);
    wait_for { my @r = IO::Select->new(@two)->can_read(0); @r >= 2 } 10, 'two applications of one user';
    is answered(@two), 2, 'FcgiUserThreads 6: six together';
    ok $h->log_has(qr/FPM0600: pool customer2: the applications of user nobody have their share of httpd's threads, 6 \(FcgiUserThreads\); answered 503/), 'the log says why';
    close $_ for @one, @two;
}
is $h->get('/neighbour')->{status}, 200, 'and the neighbour is still well';
$h->stop;
done_testing;
