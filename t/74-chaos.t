# SPDX-License-Identifier: Apache-2.0
# Clients that do what clients do, all at once: read slowly, send slowly, leave in the middle, pipeline; while processes
# and httpd children are killed and httpd is restarted gracefully. What arrives is exact or visibly cut, never wrong, and
# in the end nothing is left. FCGIPM_CHAOS=seconds (6; 30 in CI; 600 for a long run: make -f Makefile.apxs check-chaos).
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Digest::MD5 qw(md5_hex);
use POSIX ();
use Time::HiRes qw(time sleep);
use Fcgipm;

my $seconds = $ENV{FCGIPM_CHAOS} // 6;
my $mpm = $ENV{FCGIPM_MPM} // 'event';
my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM06\d\d/, qr/FPM03\d\d/, qr/exit signal Killed/, qr/AH00052/, qr/AH\d+.*(?:reset|timeout)/i],
    conf => <<"EOC");
<FcgiServer one>
    FcgiCommand $actor
    FcgiProcesses 4
    FcgiTimeout queue=60s
    FcgiResponseBuffer memory=64K
</FcgiServer>
<FcgiServer threads>
    FcgiCommand $actor
    FcgiEnv ACTOR_THREADS 8
    FcgiConcurrency 8
    FcgiProcesses 2
    FcgiTimeout queue=60s
</FcgiServer>
<Location "/one">
    FcgiPass one
</Location>
<Location "/threads">
    FcgiPass threads
</Location>
<Location "/deflated">
    FcgiPass one
    SetOutputFilter DEFLATE
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
wait_for { my $n = 0; $n += $_->{ready} for @{$h->status->{pools}}; $n == 6 } 20, 'they run';
my %md5; # of each size
for my $size (10, 5000, 100_000, 1_000_000) { $md5{$size} = md5_hex($h->get("/one?size=$size")->{body}) }
my @sizes = sort { $a <=> $b } keys %md5;

# What one client saw: right, cut (visibly: not complete, or an honest 5xx, or the connection failed), wrong.
sub judge {
    my ($seen, $r, $ok) = @_;
    if (!$r || !$r->{complete} || $r->{status} =~ /^(?:0|502|503|504)$/) { $seen->{cut}++ }
    elsif ($r->{status} == 200 && $ok->($r)) { $seen->{right}++ }
    else { $seen->{wrong}++; $seen->{what} //= "status $r->{status}, " . length($r->{body}) . ' bytes: ' . substr($r->{body}, 0, 60) =~ s/[^ -~]/./gr }
}
sub pool { return (qw(one threads))[rand 2] }
my %do = (
    plain => sub {
        my $size = $sizes[rand @sizes];
        judge($_[0], $h->get('/' . pool() . "?size=$size&sleep=" . int rand 30, timeout => 30), sub { md5_hex($_[0]{body}) eq $md5{$size} });
    },
    upload => sub {
        my $body = join '', map { chr(32 + rand 90) } 1 .. 1 + rand 30_000;
        judge($_[0], $h->request(POST => '/' . pool() . '?do=sum', body => $body, timeout => 30),
            sub { $_[0]{body} =~ /^\d+/ && index($_[0]{body}, length($body) . ' ' . md5_hex($body)) == 0 });
    },
    slow_reader => sub {
        my $s = $h->connect;
        my $size = $sizes[-1];
        print {$s} "GET /one?size=$size HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        my $got = '';
        while (1) {
            my $n = sysread $s, $got, 40_000, length $got;
            last unless $n;
            sleep 0.01;
        }
        judge($_[0], Fcgipm::parse($got, 'GET'), sub { md5_hex($_[0]{body}) eq $md5{$size} });
    },
    trickle => sub {
        my $s = $h->connect;
        my $body = 'x' x 50;
        print {$s} "POST /one?do=sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 50\r\n\r\n";
        for (1 .. 5) { sleep 0.03; print {$s} 'x' x 10 or last }
        judge($_[0], Fcgipm::parse((Fcgipm::read_all($s, 30))[0], 'POST'), sub { index($_[0]{body}, '50 ' . md5_hex($body)) == 0 });
    },
    leaver => sub {
        my $s = $h->connect;
        print {$s} rand(2) < 1 ? 'GET /' . pool() . "?size=1000000&sleep=20 HTTP/1.1\r\nHost: x\r\n\r\n"
            : "POST /one?do=sum HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf";
        sleep rand 0.05;
        close $s;
    },
    pipeline => sub {
        my $s = $h->connect;
        my @size = map { $sizes[rand 2] } 1 .. 3; # with a Content-Length
        my $i = 0;
        print {$s} map { 'GET /' . pool() . "?size=$_ HTTP/1.1\r\nHost: x\r\n" . (++$i == 3 ? "Connection: close\r\n" : '') . "\r\n" } @size;
        my ($got) = Fcgipm::read_all($s, 30);
        for my $size (@size) {
            my ($head, $length) = $got =~ /^(HTTP\/1\.1 200 .*?Content-Length: (\d+)\r\n.*?\r\n\r\n)/s or do { $_[0]{cut}++; last };
            my $body = substr $got, length $head, $length;
            if (length $body < $length) { $_[0]{cut}++; last }
            substr $got, 0, length($head) + $length, '';
            judge($_[0], {status => 200, complete => 1, body => $body}, sub { md5_hex($_[0]{body}) eq $md5{$size} });
        }
    },
    deflated => sub {
        my $size = $sizes[rand 3];
        my $r = $h->get("/deflated?size=$size");
        judge($_[0], $r, sub { md5_hex($_[0]{body}) eq $md5{$size} });
    },
);

my @kids;
for my $n (1 .. 12) {
    pipe my $in, my $out or die $!;
    my $pid = fork // die $!;
    if (!$pid) {
        close $in;
        $SIG{PIPE} = 'IGNORE';
        srand $n * 7919 + $$;
        my ($end, %seen) = (time + $seconds);
        my @what = sort keys %do;
        while (time < $end) {
            my $what = $what[rand @what];
            eval { $do{$what}->(\%seen); 1 } or $seen{cut}++;
        }
        print {$out} join("\t", map { $seen{$_} // 0 } qw(right cut wrong what)), "\n";
        close $out;
        POSIX::_exit(0);
    }
    close $out;
    push @kids, [$pid, $in];
}
my ($end, $i) = (time + $seconds - 1, 0);
my @did = (0) x 3;
while (time < $end) {
    sleep 0.4;
    my $what = $i++ % 5;
    if ($what == 1 || $what == 3) { my @w = $h->workers; $did[0] += kill KILL => $w[rand @w] if @w }
    elsif ($what == 2) { kill USR1 => $h->pid; $did[1]++ }
    elsif ($what == 4 && $i % 10 == 5) { my @c = $h->children; $did[2] += kill KILL => $c[rand @c] if @c }
}
my ($right, $cut, $wrong, @what) = (0, 0, 0);
for (@kids) {
    my ($pid, $in) = @$_;
    my @sum = split /\t/, <$in> // '';
    waitpid $pid, 0;
    $right += $sum[0] // 0;
    $cut += $sum[1] // 0;
    $wrong += $sum[2] // 0;
    push @what, $sum[3] if $sum[2];
}
diag "$seconds s: $right answers exact, $cut cut visibly, $wrong wrong; $did[0] processes and $did[2] httpd children killed, $did[1] graceful restarts";
is $wrong, 0, 'no answer is wrong' or diag @what;
cmp_ok $right, '>', 20 * $seconds, 'most are right';
wait_for {
    my $n = 0;
    for my $p (@{(eval { $h->status } // {pools => []})->{pools}}) { $n += 1000 * $_->{seats}{busy} for @{$p->{workers}}; $n += $p->{ready} - $p->{waiting} * 1000 }
    $n == 6
} 60, 'all come to rest';
is $h->get('/one?size=10')->{status}, 200, 'and it serves';
$h->stop;
done_testing;
