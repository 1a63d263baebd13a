# SPDX-License-Identifier: Apache-2.0
# FcgiConcurrency: a worker that takes several requests at a time: php-cgi with PHP_FCGI_CHILDREN, which share one opcode
# cache, and a threaded program. One request at a time is the default.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Fcgipm;

need('php-cgi', 'go');
my $actor = app_built('actor.c');
my $go = app_built('actor.go');
my $h = Fcgipm->httpd(expect_log => [qr/FPM0382: pool autoperl /], conf => <<"EOC");
<FcgiServer php>
    FcgiCommand /usr/bin/php-cgi -d opcache.enable=1 -d opcache.validate_timestamps=0 -d opcache.file_update_protection=0
    FcgiEnv PHP_FCGI_CHILDREN 4
    FcgiConcurrency 4
    FcgiProcesses 1
</FcgiServer>
<FcgiServer threads>
    FcgiCommand $actor
    FcgiEnv ACTOR_THREADS 4
    FcgiConcurrency 4
    FcgiProcesses 1
</FcgiServer>
<FcgiServer single>
    FcgiCommand $actor
    FcgiProcesses 2
</FcgiServer>
<FcgiServer autogo>
    FcgiCommand $go
    FcgiConcurrency Auto
    FcgiProcesses 1
</FcgiServer>
<FcgiServer autophp>
    FcgiCommand /usr/bin/php-cgi
    FcgiEnv PHP_FCGI_CHILDREN 3
    FcgiConcurrency auto
    FcgiReady Answer
    FcgiProcesses 1
</FcgiServer>
<FcgiServer autoperl>
    FcgiCommand /usr/bin/perl \@APPS\@/actor.pl
    FcgiConcurrency Auto
    FcgiProcesses 1 2
</FcgiServer>
<Location "/autogo">
    FcgiPass autogo
</Location>
<Location "/autoperl">
    FcgiPass autoperl
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<FilesMatch "\\.php\$">
    SetHandler fcgipm:php
</FilesMatch>
<Location "/threads">
    FcgiPass threads
</Location>
<Location "/single">
    FcgiPass single
</Location>
EOC
sub file { open my $f, '>', $h->root . "/htdocs/$_[0]" or die; print {$f} $_[1]; close $f }
file('pid.php', '<?php usleep(300000); echo getmypid();');
file('cache.php', '<?php header("Content-Type: text/plain"); $s = function_exists("opcache_get_status") ? opcache_get_status(true) : false;'
        . ' echo getmypid(), " ", $s ? ($s["scripts"][__FILE__]["hits"] ?? -1) : "none";');

# So many at the same time: (seconds, answers).
sub at_once {
    my ($path, $count) = @_;
    my @clients = map { my $s = $h->connect; print {$s} "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"; $s } 1 .. $count;
    my $begin = time;
    my @bodies = map { my $got = ''; my $s = $_; 1 while sysread $s, $got, 65536, length $got; Fcgipm::parse($got, 'GET')->{body} } @clients;
    return (time - $begin, @bodies);
}
sub distinct { my %seen; return grep { !$seen{$_}++ } @_ }

subtest 'php-cgi with children' => sub {
    is $h->get('/pid.php')->{status}, 200, 'it serves';
    my ($seconds, @pids) = at_once('/pid.php', 4);
    is scalar(distinct(@pids)), 4, 'four requests at the same time in four processes';
    cmp_ok $seconds, '<', 0.9, 'side by side';
    my ($worker) = $h->workers('php');
    is scalar(() = $h->workers('php')), 1, 'of one worker';
    is_deeply [map { (split ' ', Fcgipm::proc_file($_, 'stat') =~ s/^.*\) //sr)[1] } distinct(@pids)], [($worker) x 4], 'its children';
    ($seconds, @pids) = at_once('/pid.php', 5);
    is scalar(grep { /^\d+$/ } @pids), 5, 'a fifth waits and is served';
    cmp_ok $seconds, '>', 0.55, 'after another';
};
subtest 'one opcode cache' => sub {
    my (%hits, $none);
    for (1 .. 40) {
        my ($pid, $hits) = split / /, $h->get('/cache.php')->{body};
        $none = 1 if $hits eq 'none';
        push @{$hits{$pid}}, $hits if $hits ne 'none';
    }
    plan skip_all => 'this php-cgi has no opcache' if $none;
    my @all = map { @$_ } values %hits;
    cmp_ok scalar(keys %hits), '>', 1, 'several processes';
    cmp_ok((sort { $b <=> $a } @all)[0], '>=', 30, 'count the hits of one cache');
};
subtest 'threads' => sub {
    my ($seconds, @bodies) = at_once('/threads?sleep=300&do=pid', 4);
    is scalar(distinct(@bodies)), 1, 'four requests at the same time in one process';
    cmp_ok $seconds, '<', 0.9, 'side by side';
};
subtest 'one at a time' => sub {
    my ($seconds, @bodies) = at_once('/single?sleep=300&do=pid', 2);
    is scalar(distinct(@bodies)), 2, 'two requests in two processes';
    ($seconds, @bodies) = at_once('/single?sleep=300&do=pid', 4);
    is scalar(distinct(@bodies)), 2, 'four in two';
    cmp_ok $seconds, '>', 0.55, 'after each other';
};
sub places { my ($worker) = @{$h->status($_[0])->{workers}}; return $worker && $worker->{seats}{total} }
subtest 'Auto: what the process says' => sub {
    wait_for { ; my @ready = grep { places($_) } qw(autogo autophp autoperl); @ready == 3 } 10;
    is places('autogo'), 32, 'it names no limit but several requests on a connection (Go)';
    is places('autophp'), 3, 'FCGI_MAX_REQS is the number of its children (php-cgi)';
    is places('autoperl'), 1, 'it does not answer (libfcgi)';
    ok $h->log_has(qr/FPM0382: pool autoperl slot 0 pid \d+: does not answer FCGI_GET_VALUES, which FcgiConcurrency Auto asks for: it gets one request at a time/), 'and the log says so';
    my $many = ($ENV{FCGIPM_MPM} // 'event') eq 'prefork' ? 4 : 24;    # prefork has to start its children first
    my ($seconds, @bodies) = at_once('/autogo?sleep=300&do=pid', $many);
    is scalar(distinct(@bodies)), 1, "$many requests in one process";
    cmp_ok $seconds, '<', 0.9, 'side by side';
    ($seconds, @bodies) = at_once('/autoperl?sleep=300&do=pid', 2);
    is scalar(distinct(@bodies)), 2, 'two requests in two processes where one takes one at a time';
    is scalar(() = $h->log =~ /FPM0382/g), 1, 'that it does not answer is said once';
};
$h->stop;
done_testing;
