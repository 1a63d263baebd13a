# SPDX-License-Identifier: Apache-2.0
# The manager can be lost: requests go on, the next one adopts the living processes; when httpd itself is killed nothing
# outlives it for long; when both are killed at once the next start cleans up.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $conf = <<"EOC";
<FcgiServer c>
    FcgiCommand $actor
    FcgiProcesses 3
    FcgiTimeout stop=2s
</FcgiServer>
<FcgiServer stubborn>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiEnv ACTOR_IGNORE_TERM 1
    FcgiTimeout stop=1s
</FcgiServer>
<Location "/c">
    FcgiPass c
</Location>
<Location "/stubborn">
    FcgiPass stubborn
</Location>
EOC

my $h = Fcgipm->httpd(expect_log => [qr/FPM0644/, qr/FPM031[58]/, qr/FPM0603/], conf => $conf);
wait_for { scalar(() = $h->workers) == 4 } 10, 'all processes run';
is $h->get('/c')->{status}, 200, 'it serves';
my @before = sort $h->workers('c');

for my $round (1 .. 3) {
    my $manager = $h->manager;
    ok $manager, 'there is a manager';
    kill KILL => $manager;
    is $h->get('/c')->{status}, 200, 'a request does not notice';
    wait_for { my $m = $h->manager; $m && $m != $manager } 5, 'there is another soon';
    wait_for { (() = $h->log =~ /FPM0313: pool c slot \d+ pid \d+: adopted/g) == 3 * $round } 5, 'it adopts';
    is_deeply [sort $h->workers('c')], \@before, 'the same processes';
}
{
    my ($victim) = $h->workers('c');
    kill KILL => $victim;
    wait_for { my @w = $h->workers('c'); @w == 3 && !grep { $_ == $victim } @w } 5, 'an adopted process that dies is replaced';
}
{
    my $manager = $h->manager;
    my @w = $h->workers('c');
    kill STOP => $h->pid; # so that the next manager comes late
    kill KILL => $manager, @w;
    kill CONT => $h->pid;
    wait_for { scalar(() = $h->workers('c')) == 3 } 10, 'processes that died while there was no manager are replaced';
    wait_for { $h->get('/c')->{status} == 200 } 5, 'and it serves';
}
$h->stop;

# httpd is killed: the manager stops every process.
{
    my $h = Fcgipm->httpd(leave => 1, conf => $conf);
    wait_for { scalar(() = $h->workers) == 4 } 10, 'all processes run';
    $h->get("/c?fork=1");
    my @all = $h->marked;
    cmp_ok scalar(@all), '>=', 5, 'and what one of them forked';
    my @children = $h->children;
    kill KILL => $h->pid;
    waitpid $h->pid, 0;
    kill KILL => @children;
    delete $h->{pid};
    my $begin = time;
    wait_for { !$h->marked } 10, 'httpd killed: no process is left';
    cmp_ok time - $begin, '<', 6, 'soon';
    ok $h->log_has(qr/FPM0318: pool stubborn slot 0 pid \d+: did not end after TERM/), 'one that does not heed TERM, too';
    wait_for { !grep { !m{/registry$} } glob $h->root . '/run/*' } 5, 'and no socket';
    $h->stop;
}

# Both are killed.
{
    my $h = Fcgipm->httpd(leave => 1, expect_log => [qr/FPM0363/, qr/FPM0318/, qr/AH00098/], conf => $conf);
    wait_for { scalar(() = $h->workers) == 4 } 10, 'all processes run';
    $h->get("/c?fork=1");
    my ($manager, @children) = ($h->manager, $h->children);
    my @all = $h->marked;
    kill KILL => $manager, $h->pid, @children;
    waitpid $h->pid, 0;
    wait_for { !grep { Fcgipm::alive($_) } @children } 5, 'its children have closed the port';
    $h->start;
    my %old = map { $_ => 1 } @all;
    ok !(grep { $old{$_} } $h->marked), 'both killed: the next start has cleaned up before it serves';
    wait_for { $h->get('/c')->{status} == 200 } 10, 'and serves';
    $h->{leave} = 0;
    $h->stop;
}
done_testing;
