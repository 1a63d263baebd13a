# SPDX-License-Identifier: Apache-2.0
# Stopping: whatever a process ignores or has forked is gone with it, within stop=; so is a hung start.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Fcgipm;

my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(expect_log => [qr/FPM0318/, qr/FPM031[56]/], conf => <<"EOC");
<FcgiServer stubborn>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiEnv ACTOR_IGNORE_TERM 1
    FcgiTimeout stop=1s
</FcgiServer>
<FcgiServer late>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiEnv ACTOR_START_MS 60000
    FcgiEnv ACTOR_IGNORE_TERM 1
    FcgiTimeout start=60s stop=1s
</FcgiServer>
<FcgiServer father>
    FcgiCommand $actor
    FcgiProcesses 1
</FcgiServer>
<Location "/stubborn">
    FcgiPass stubborn
</Location>
<Location "/father">
    FcgiPass father
</Location>
EOC
is $h->get('/stubborn')->{status}, 200, 'it serves';
my ($grandchild) = $h->get('/father?fork=1')->{body} =~ /(\d+)/;
ok Fcgipm::alive($grandchild), 'a process has forked one that left its session';
my ($father) = $h->workers('father');
kill KILL => $father;
wait_for { !Fcgipm::alive($grandchild) } 5, 'it dies with its father';
wait_for { $h->get('/father?fork=1')->{status} == 200 } 5, 'another';

# httpd stops gracefully: what runs ends whole, and then all go.
{
    my $h = Fcgipm->httpd(conf => "<FcgiServer c>\n    FcgiCommand $actor\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n");
    my $s = $h->connect;
    my $got = '';
    print {$s} "GET /c?drip=8:200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    sysread $s, $got, 65536, length $got until $got =~ /tick 0/;
    kill WINCH => $h->pid;
    1 while sysread $s, $got, 65536, length $got;
    like $got, qr/tick 7\n.*0\r\n\r\n\z/s, 'graceful-stop: a running request ends whole';
    my @all = $h->marked;
    wait_for { waitpid($h->pid, POSIX::WNOHANG()) == $h->pid } 20, 'httpd ends';
    wait_for { !grep { Fcgipm::alive($_) } @all } 5, 'and no process is left';
    delete $h->{pid};
    $h->{has_manager} = 0;
    $h->stop;
}

# Requests that hang or wait do not keep httpd from stopping: no AH00046 (a child that has to be killed) in the log.
{
    my $h = Fcgipm->httpd(expect_log => [qr/FPM031[58]/], conf => "<FcgiServer c>\n    FcgiCommand $actor\n    FcgiProcesses 1\n    FcgiTimeout queue=60s stop=1s\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n");
    my @s = map { my $s = $h->connect; print {$s} "GET /c?hang=1 HTTP/1.1\r\nHost: x\r\n\r\n"; $s } 1 .. 3;
    wait_for { $h->status('c')->{waiting} == 2 } 5, 'one hangs, two wait';
    my $begin = time;
    $h->stop;
    cmp_ok time - $begin, '<', 7, 'httpd stops all the same';
}

# A process that somebody has stopped is killed, too.
kill STOP => ($h->workers('stubborn'))[0];
my $begin = time;
$h->stop;
cmp_ok time - $begin, '>=', 0.9, 'who does not heed TERM is given stop=';
cmp_ok time - $begin, '<', 5, 'and all end within that and a little';
done_testing;
