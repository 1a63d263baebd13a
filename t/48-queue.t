# SPDX-License-Identifier: Apache-2.0
# When all processes are busy: who waits is served in the order of coming; the queue has a length and a time; and who
# does not fit gets 503 with Retry-After at once.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Select;
use Time::HiRes qw(time);
use Fcgipm;

my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM0600/, qr/FPM0601/, qr/FPM0602/, qr/FPM031[67]/, qr/FPM0302/],
    conf => <<"EOC");
<FcgiServer one>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiQueue length=5
    FcgiTimeout queue=10s
</FcgiServer>
<FcgiServer quick>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiTimeout queue=300ms
</FcgiServer>
<FcgiServer grow>
    FcgiCommand $actor
    FcgiProcesses 0 4
</FcgiServer>
<FcgiServer broken>
    FcgiCommand $actor
    FcgiProcesses 0 4
    FcgiEnv ACTOR_DIE_AT_START 3
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/one">
    FcgiPass one
</Location>
<Location "/quick">
    FcgiPass quick
</Location>
<Location "/grow">
    FcgiPass grow
</Location>
<Location "/broken">
    FcgiPass broken
</Location>
EOC

sub ask {
    my $path = shift;
    my $s = $h->connect;
    print {$s} "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    return $s;
}
sub rest { my $s = shift; my $got = ''; 1 while sysread $s, $got, 65536, length $got; return $got }

subtest 'first in, first out' => sub {
    $h->get('/one');
    my $first = ask('/one?drip=2:1500');
    my $got = '';
    sysread $first, $got, 65536, length $got until $got =~ /tick 0/;
    my (@clients, @order);
    for my $i (1 .. 5) {
        push @clients, [$i, ask("/one?sleep=60&n=$i")];
        wait_for { $h->get('/st?auto')->{body} =~ /^pool\.\d+\.waiting: $i$/m } 5, "$i wait";
    }
    my $sixth = rest(ask('/one'));
    like $sixth, qr{^HTTP/1\.1 503 }, 'the queue has five places';
    like $sixth, qr{^Retry-After: \d+\r$}mi, 'Retry-After';
    ok $h->log_has(qr/FPM0600: pool one: all its processes are busy and its queue of 5 is full; answered 503/), 'one line';
    my %client = map { fileno($_->[1]) => $_ } @clients;
    my $select = IO::Select->new(map { $_->[1] } @clients);
    while ($select->count) {
        for my $s ($select->can_read(10)) {
            push @order, $client{fileno $s}[0];
            like rest($s), qr{^HTTP/1\.1 200 }, 'answered';
            $select->remove($s);
        }
    }
    is_deeply \@order, [1 .. 5], 'in the order of coming';
    like rest($first), qr/tick 1/, 'and the one that they waited for';
};
subtest 'longest wait' => sub {
    $h->get('/quick');
    my $first = ask('/quick?drip=2:2000');
    my $got = '';
    sysread $first, $got, 65536, length $got until $got =~ /tick 0/;
    my $begin = time;
    my $r = $h->get('/quick');
    is $r->{status}, 503, '503 after queue=';
    cmp_ok time - $begin, '<', 1.9, 'and not later';
    ok $r->{headers}{'retry-after'}, 'Retry-After';
    ok $h->log_has(qr/FPM0601: pool quick: none of its processes came free within \d+ ms \(FcgiTimeout queue=\); answered 503/), 'one line';
    rest($first);
};
subtest 'demand' => sub {
    is scalar(() = $h->workers('grow')), 0, 'FcgiProcesses 0 4 begins with none';
    my @clients = map { ask('/grow?sleep=700') } 1 .. 8;
    wait_for { scalar(() = $h->workers('grow')) == 4 } 5, 'four processes for eight requests';
    like rest($_), qr{^HTTP/1\.1 200 }, 'answered' for @clients;
    is scalar(() = $h->workers('grow')), 4, 'and no more than four';
};
subtest 'what does not start' => sub {
    my $begin = time;
    my $r = $h->get('/broken');
    is $r->{status}, 503, 'is 503';
    ok $r->{headers}{'retry-after'}, 'Retry-After';
    cmp_ok time - $begin, '<', 3, 'soon';
    $begin = time;
    $h->get('/broken') for 1 .. 5;
    cmp_ok time - $begin, '<', 3, 'and at once for the next';
    ok $h->log_has(qr/FPM0316: pool broken slot \d+ pid \d+: did not start: exited with code 3/), 'the log says why';
    cmp_ok scalar(() = $h->log =~ /FPM0316/g), '<', 12, 'without a flood';
    is $h->get('/one')->{status}, 200, 'the neighbour is well';
};
$h->stop;

# FcgiUserQueue: one user's requests, whichever of his applications they wait for.
subtest 'FcgiUserQueue' => sub {
    plan skip_all => 'needs root' if $>;
    my @pools = ([first => 'nobody'], [second => 'nobody'], [other => 'daemon'], [own => '']);
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0600/], conf => <<"EOC");
FcgiUserQueue 4
FcgiMinUid 1
FcgiMinGid 1
@{[map { my ($name, $user) = @$_; "<FcgiServer $name>\n    FcgiCommand $actor\n    FcgiProcesses 1\n    FcgiTimeout queue=20s\n" . ($user ? "    FcgiUser $user\n" : '') . "</FcgiServer>\n<Location /$name>\n    FcgiPass $name\n</Location>\n" } @pools]}
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
    my $ask = sub { my $s = $h->connect; print {$s} "GET $_[0] HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"; return $s };
    my $waits = sub { my $n = 0; $n += $_->{waiting} for grep { $_->{name} =~ /^(?:$_[0])$/ } @{$h->status->{pools}}; return $n };
    my $count = sub { my ($status, @r) = @_; return scalar grep { $_->{head} =~ m{^HTTP/1\.1 $status } } @r };
    wait_for { 4 == grep { $_->{ready} } @{$h->status->{pools}} } 20, 'each has a process';
    my @first = map { $ask->('/first?sleep=2500') } 1 .. 4;
    wait_for { $waits->('first') == 3 } 5, 'three wait for the one';
    my @second = map { $ask->('/second?sleep=2500') } 1 .. 6;
    wait_for { $waits->('first|second') == 4 } 5, 'and one for the other: four in all';
    my @others = map { $ask->("/$_?sleep=100") } ('other') x 4, ('own') x 8;
    my @r = map { { head => (Fcgipm::read_all($_, 30))[0] } } @second;
    is_deeply [$count->(503, @r), $count->(200, @r)], [4, 2], 'who does not fit gets 503';
    @r = map { { head => (Fcgipm::read_all($_, 30))[0] } } @others;
    is $count->(200, @r), 12, 'another user, and applications of none, are not counted';
    @r = map { { head => (Fcgipm::read_all($_, 30))[0] } } @first;
    is $count->(200, @r), 4, 'who waits is served';
    ok $h->log_has(qr/FPM0600: pool second: 4 requests wait for the applications of user nobody already \(FcgiUserQueue\); answered 503/), 'the log says why';
    $h->stop;
};
done_testing;
