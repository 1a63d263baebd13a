# SPDX-License-Identifier: Apache-2.0
# The place of a definition that a reload has replaced is free again as soon as nobody can know it: its processes and the
# httpd children that began before the reload have gone. So a host that reloads all the time does not fill the table; and
# while such a child lives its index belongs to nobody else.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
# 14336 places for processes in all; a pool of 256 takes 258, so 40 generations of two do not fit.
sub block {
    my ($name, $version, $processes) = @_;
    return <<"EOC";
<FcgiServer $name>
    FcgiCommand $actor
    FcgiProcesses $processes
    FcgiEnv VERSION $version
</FcgiServer>
<Location "/$name">
    FcgiPass $name
</Location>
EOC
}
sub pools { my ($version) = @_; return "# the pools\n" . join '', map { block($_, $version, '0 256') } qw(a b) }
my $status = "<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n";
my $h = Fcgipm->httpd(conf => $status . block('same', 'always', 2) . pools('v0'));
sub version { my ($name) = @_; return $h->version("/$name") }
sub rows { my ($name) = @_; return grep { $_->{name} eq $name } @{$h->status->{pools}} }

wait_for { version('same') eq 'always' } 10, 'they run';
my @workers = sort $h->workers('same');
my (@wrong, $most);
$most = 0;
my $begin = time;
for my $n (1 .. 40) {
    wait_for { rows('a') < 20 } 15, 'what has been replaced goes'; # (a place is free two to four seconds after its last process)
    $h->reconfigure(pools("v$n"));
    for my $name (qw(a b)) {
        my ($got, $end) = ('', time + 10);
        until (($got = version($name)) eq "v$n") { last if time > $end || $got !~ /^v|^\?/; sleep 0.01 }
        push @wrong, "reload $n: $name is $got" if $got ne "v$n";
    }
    my $rows = rows('a');
    $most = $rows if $rows > $most;
}
note sprintf '%.1f s, at most %d definitions of a block at a time', time - $begin, $most;
is join("\n", @wrong), '', '40 reloads: each definition takes over';
unlike $h->log, qr/FPM065[89]/, 'there is always room';
unlike $h->log, qr/BUG/, 'and nothing is in the place of another';
is join(' ', sort $h->workers('same')), "@workers", 'what has not changed is not touched';
wait_for { rows('a') == 1 } 15, 'in the end there is one of each';

# An old child.
sub answered { return scalar IO::Select->new(@_)->can_read(0) }
$h->reconfigure("# the pools\n" . block('gone', 'one', 1));
is version('gone'), 'one', 'another';
wait_for { !rows('a') && !rows('b') } 15, 'those that are not configured any more have gone';
my $s = $h->connect;
print {$s} "GET /same?sleep=15000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
wait_for { grep { $_->{name} eq 'same' && grep { $_->{seats}{busy} } @{$_->{workers}} } @{$h->status->{pools}} } 5, 'a long request';
my ($index) = map { $_->{index} } rows('gone');
$h->reconfigure("# the pools\n" . block('next', 'two', 1));
is version('next'), 'two', 'a reload meanwhile';
wait_for { !$h->workers('gone') } 10, 'the removed one has no process any more';
my $early = 0;
$begin = time;
while (time - $begin < 5.5 && !answered($s)) { $early++ unless grep { $_->{index} == $index } rows('gone'); sleep 0.2 }
cmp_ok time - $begin, '>=', 4.5, '(it was long enough)';
is $early, 0, 'but its place is its own as long as a child that knows it lives';
like +(Fcgipm::read_all($s, 20))[0], qr{^HTTP/1.1 200}, 'the long request ends well';
wait_for { !rows('gone') } 15, 'and then it goes';
$h->stop;
done_testing;
