# SPDX-License-Identifier: Apache-2.0
# Cost does not grow with what is not used: many declared applications, many processes in one, many idle clients, many
# requests that wait at a time, and a burst on an application that is not running. Short here; FCGIPM_LONG=1 has the sizes of
# docs/performance.md and prints the figures (no test judges a time).
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $long = $ENV{FCGIPM_LONG};
my $mpm = $ENV{FCGIPM_MPM} // 'event';
my $async = $mpm eq 'event' && ($ENV{FCGIPM_ASYNC} // 'Auto') ne 'Off';
plan skip_all => 'for the event MPM' unless $async;
my $actor = app_built('actor.c');
my ($pools, $workers, $idle, $waiting, $wait_ms) = $long ? (1000, 256, 10_000, 500, 1000) : (200, 32, 300, 100, 300);
my $mpm_conf = "StartServers 1\nServerLimit 1\nThreadsPerChild 8\nThreadLimit 8\nMaxRequestWorkers 8\nMinSpareThreads 1\nMaxSpareThreads 8\nAsyncRequestWorkerFactor 2000\n";
sub server {
    my ($conf, %o) = @_;
    my $h = Fcgipm->httpd(mpm_conf => $mpm_conf, %o, conf => "KeepAliveTimeout 600\nMaxKeepAliveRequests 0\n$conf<Location \"/st\">\nSetHandler fcgipm-status\n</Location>\n");
    open my $f, '>', $h->root . '/htdocs/x.txt' or die;
    print {$f} "static\n";
    return $h;
}
sub block {
    my ($name, @lines) = @_;
    return join "\n", "<FcgiServer $name>", "FcgiCommand $actor", @lines, "</FcgiServer>", '';
}
sub place { return join '', map { "<Location \"/$_\">\nFcgiPass $_\n</Location>\n" } @_ }
sub cpu_us {    # of processes, with what has ended below them
    my $sum = 0;
    for (@_) { my @f = split ' ', (Fcgipm::proc_file($_, 'stat') =~ s/.*\) //sr); $sum += $f[11] + $f[12] }
    return $sum * 10_000;
}
# CPU of the httpd child per request, over one connection.
sub cost {
    my ($h, $path, $count) = @_;
    my ($child) = $h->children;
    my $s = $h->connect;
    my $get = sub { print {$s} "GET $path HTTP/1.1\r\nHost: x\r\n\r\n"; my ($got) = Fcgipm::read_all($s, 20, sub { ${$_[0]} =~ /\r\n\r\n.*\n|\r\n0\r\n\r\n/s }); return $got =~ /^HTTP\/1.1 200/ };
    $get->() for 1 .. 50;
    my ($before, $good) = (cpu_us($child), 0); # (clock ticks: thousands of requests)
    $good += $get->() for 1 .. $count;
    is $good, $count, "$path: $count requests";
    return (cpu_us($child) - $before) / $count;
}

subtest "$pools applications" => sub {
    my $n = $long ? 5000 : 300;
    my $h = server(block('app', 'FcgiProcesses 1') . place('app'));
    my ($one, $one_static) = (cost($h, '/app?do=pid', $n), cost($h, '/x.txt', $n));
    $h->stop;
    $h = server(join '', block('app', 'FcgiProcesses 1'), place('app', 'p1', 'p' . ($pools - 1)), map { block("p$_", 'FcgiProcesses 0 2') } 1 .. $pools - 1);    # (1,000 Locations cost httpd itself something)
    my ($many, $many_static) = (cost($h, '/app?do=pid', $n), cost($h, '/x.txt', $n));
    is $h->get("/p$_?do=pid")->{status}, 200, "p$_ starts when it is asked for" for 1, $pools - 1;
    diag sprintf 'CPU of httpd per request: %.0f us with one application, %.0f us with %d; a static file %.0f and %.0f us (1 client)', $one, $many, $pools, $one_static, $many_static if $long;
    $h->stop;
};
# In memory and page faults, which a busy machine does not change: (KB that a child has for itself, faults of the manager for a
# process that it starts).
sub price {
    my ($declared) = @_;
    my $h = server(join '', place(map { ("b$_", "t$_") } 1 .. 10), map { (block("b$_", 'FcgiProcesses 0 2'), "<FcgiServerTemplate t$_>\nFcgiCommand $actor\nFcgiUserFrom Server\nFcgiProcesses 0 2\n</FcgiServerTemplate>\n") } 1 .. $declared);
    my ($child, $manager) = (($h->children)[0], $h->manager);
    my $faults = sub { (split ' ', (Fcgipm::proc_file($manager, 'stat') =~ s/.*\) //sr))[7] };
    $h->get("/$_?do=pid") for qw(b1 t1);
    my $before = $faults->();
    is $h->get("/$_?do=pid")->{status}, 200, "$_ of $declared starts when it is asked for" for map { ("b$_", "t$_") } 2 .. 10;
    my $each = ($faults->() - $before) / 18;
    my $own = 0;
    $own += $_ for Fcgipm::proc_file($child, 'smaps_rollup') =~ /^Private_\w+:\s+(\d+)/mg;
    $h->stop;
    return ($own, $each);
}
subtest 'declared, and not used' => sub {
    plan skip_all => 'other memory than usual' if $ENV{FCGIPM_PRELOAD};
    my ($own, $faults) = price(10);
    my ($own_many, $faults_many) = price(1000);
    diag sprintf 'a child has %d KB for itself with 20 pools, %d KB with 2,000; the manager has %d and %d page faults for each that starts', $own, $own_many, $faults, $faults_many if $long;
    cmp_ok $own_many - $own, '<', 1000, 'no child has half a kilobyte of its own for each of 2,000 pools';
    cmp_ok $faults_many - $faults, '<', 500, 'the manager touches none when it starts another';
};
subtest "$workers processes in one application" => sub {
    my $h = server(block('app', "FcgiProcesses $workers") . place('app'));
    wait_for { $h->status('app')->{ready} == $workers } 60;
    my @s = map { my $s = $h->connect; print {$s} "GET /app?sleep=500&do=pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"; $s } 1 .. $workers;
    my %pid;
    $pid{Fcgipm::parse((Fcgipm::read_all($_, 60))[0], 'GET')->{body}}++ for @s;
    is scalar(keys %pid), $workers, 'each serves one of as many requests at a time';
    my $cost = cost($h, '/app?do=pid', $long ? 5000 : 200);
    diag sprintf 'CPU of httpd per request with %d processes: %.0f us (1 client)', $workers, $cost if $long;
    $h->stop;
};
subtest "$idle idle clients" => sub {
    my $h = server(block('app', 'FcgiProcesses 2') . place('app'));
    my $before = cost($h, '/app?do=pid', $long ? 5000 : 200);
    my $memory = sub { Fcgipm::proc_file(($h->children)[0], 'smaps_rollup') =~ /^Pss:\s+(\d+)/m && $1 };
    my $empty = $memory->();
    my @idle;
    my $what = $ENV{SCALE_IDLE} // '/app?do=pid';
    for (1 .. $idle) {
        my $s = eval { $h->connect } or last;
        print {$s} "GET $what HTTP/1.1\r\nHost: x\r\n\r\n";
        push @idle, $s;
        Fcgipm::read_all($s, 20, sub { ${$_[0]} =~ /\r\n\r\n.*\n/s });
    }
    is scalar(@idle), $idle, 'all have had an answer and stay';
    my $cost = cost($h, '/app?do=pid', $long ? 5000 : 200);
    diag sprintf 'CPU of httpd per request: %.0f us before, %.0f us beside %d idle clients', $before, $cost, $idle if $long;
    diag sprintf 'memory of the httpd child: %d kB, %d kB with them', $empty, $memory->() if $long;
    close $_ for @idle;
    $h->stop;
};
subtest "$waiting requests of $wait_ms ms on 8 threads" => sub {
    my $h = server(block('app', 'FcgiProcesses 1', "FcgiEnv ACTOR_THREADS $waiting", "FcgiConcurrency $waiting", 'FcgiQueue length=1000') . place('app'));
    $h->{places} = $waiting;
    wait_for { $h->status('app')->{ready} == 1 } 20;
    my @s = map { $h->connect } 1 .. $waiting;
    my $begin = time;
    print {$_} "GET /app?sleep=$wait_ms&do=pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" for @s;
    my @ms;
    while (time - $begin < $wait_ms / 1000 - 0.05) { my $b = time; my $r = $h->get('/x.txt'); push @ms, (time - $b) * 1000 if $r->{status} == 200; sleep 0.002 }
    my $good = grep { Fcgipm::parse((Fcgipm::read_all($_, 60))[0], 'GET')->{status} == 200 } @s;
    my $took = time - $begin;
    close $_ for @s;
    is $good, $waiting, 'all are answered';
    cmp_ok scalar(@ms), '>', 3, 'and static files meanwhile';
    @ms = sort { $a <=> $b } @ms;
    diag sprintf '%d requests of %d ms: all in %.2f s; static file meanwhile p50 %.1f, p99 %.1f ms (%d of them)', $waiting, $wait_ms, $took, $ms[@ms / 2], $ms[int(@ms * 0.99)], scalar @ms if $long;
    $h->stop;
};
subtest 'a cold burst' => sub {
    my $h = server(block('app', 'FcgiProcesses 0 8', 'FcgiEnv ACTOR_START_MS 200') . place('app'));
    my $begin = time;
    my @s = map { my $s = $h->connect; print {$s} "GET /app?sleep=20&do=pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"; $s } 1 .. 50;
    my %pid;
    my $good = grep { my $r = Fcgipm::parse((Fcgipm::read_all($_, 60))[0], 'GET'); $pid{$r->{body}}++; $r->{status} == 200 } @s;
    is $good, 50, 'fifty requests on none of eight processes are all answered';
    is scalar(keys %pid), 8, 'by eight';
    diag sprintf 'the 50th after %.0f ms (20 ms each: 140 ms of work for eight)', (time - $begin) * 1000 if $long;
    $h->stop;
};
done_testing;
