# SPDX-License-Identifier: Apache-2.0
# The status page in its three forms, and the section in mod_status: right numbers, escaped texts, an answer while all
# processes are busy, and counters that go on over a reload.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP;
use Time::HiRes qw(time);
use Fcgipm;

my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(expect_log => [qr/FPM0316/, qr/FPM0302/, qr/FPM0317/], conf => <<"EOC");
<FcgiServer c>
    FcgiCommand $actor
    FcgiProcesses 2
</FcgiServer>
<FcgiServer ill>
    FcgiCommand /bin/sh -c "echo '<script>alert(1)</script>'; exit 3"
    FcgiProcesses 1
</FcgiServer>
<Location "/c">
    FcgiPass c
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/server-status">
    SetHandler server-status
</Location>
EOC
wait_for { ($h->get('/st?auto')->{body} // '') =~ /^pool\.\d+\.ready: 2$/m } 10, 'both are ready';
wait_for { $h->get('/c')->{status} == 200 } 5, 'it serves';

sub json { my $r = $h->get('/st?json'); like $r->{headers}{'content-type'}, qr{^application/json}, 'JSON'; return decode_json($r->{body}) }
sub auto { my %v = $h->get('/st?auto')->{body} =~ /^([\w.]+): (.*)$/mg; return \%v }
sub index_of { my ($v, $name) = @_; my ($i) = map { /^pool\.(\d+)\.name$/ && $v->{$_} eq $name ? $1 : () } keys %$v; return $i }

my $json = json();
my @pools = @{$json->{pools} // $json->{pool} // []};
my ($c) = grep { $_->{name} eq 'c' } @pools;
ok $c, 'the pool is there' or diag explain $json;
is $c->{state}, 'SERVING', 'its state';
is $c->{ready}, 2, 'two processes are ready';
my @pids = sort { $a <=> $b } grep { $_ } map { $_->{pid} } @{$c->{workers} // $c->{slot} // []};
is_deeply \@pids, [sort { $a <=> $b } $h->workers('c')], 'their pids';
is $json->{manager}{pid}, $h->manager, 'the manager\'s pid';

my $before = auto();
my $i = index_of($before, 'c');
$h->get('/c') for 1 .. 7;
$h->request(POST => '/c?do=sum', body => 'x' x 1000);
my $after = auto();
is $after->{"pool.$i.counters.done"} - $before->{"pool.$i.counters.done"}, 8, 'eight requests are counted as eight';
is $after->{"pool.$i.counters.bytes_in"} - $before->{"pool.$i.counters.bytes_in"}, 1000, 'and their bytes';
cmp_ok $after->{"pool.$i.counters.bytes_out"}, '>', $before->{"pool.$i.counters.bytes_out"}, 'and those of the answers';

my $html = $h->get('/st');
like $html->{headers}{'content-type'}, qr{^text/html}, 'HTML';
like $html->{headers}{'content-security-policy'} // '', qr/default-src 'none'/, 'that loads nothing';
unlike $html->{body}, qr/(?:src|href)="(?:https?:)?\/\//, 'from nowhere';
unlike $html->{body}, qr/<script>alert/, 'texts of an application are escaped';
like $html->{body}, qr/\b$_\b/, "process $_ is on it" for @pids;
like $h->get('/server-status')->{body}, qr/FastCGI processes.*<td>c</s, 'a section in mod_status';
like $h->get('/server-status?auto')->{body}, qr/^FcgiPools: 2$/m, 'in its short form too';
is $h->request(HEAD => '/st')->{body}, '', 'HEAD';
is $h->request(POST => '/st', body => '')->{status}, 405, 'POST is 405';

{
    my @busy = map { my $s = $h->connect; print {$s} "GET /c?drip=2:1500 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"; $s } 1 .. 2;
    for my $s (@busy) { my $got = ''; sysread $s, $got, 65536, length $got until $got =~ /tick 0/ }
    my $begin = time;
    my $v = auto();
    cmp_ok time - $begin, '<', 1, 'it answers while all processes are busy';
    for my $s (@busy) { my $got = ''; 1 while sysread $s, $got, 65536, length $got }
}
my $last = auto();
$h->graceful;
my $next = auto();
my @back = grep { /counters/ && $next->{$_} < $last->{$_} } grep { exists $next->{$_} } keys %$last;
is_deeply \@back, [], 'no counter goes back over a reload';
wait_for { auto()->{'manager.generation'} > $last->{'manager.generation'} } 5, 'the configuration\'s number goes up';
$h->stop;
done_testing;
