# SPDX-License-Identifier: Apache-2.0
# ?openmetrics as a parser of somebody else's reads it, histograms, and counters that never go backwards: not over a
# graceful restart, not while a changed block is replaced, not when a process or the manager dies.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $python = (grep { -x } qw(/usr/bin/python3))[0];
my $parser = $python && system("$python -c 'import prometheus_client.openmetrics.parser' 2>/dev/null") == 0;
BAIL_OUT('python3-prometheus-client is missing') if $ENV{FCGIPM_CI} && !$parser;

my $h = Fcgipm->httpd(expect_log => [qr/FPM0616/, qr/FPM0315/, qr/FPM0644/, qr/FPM0316/, qr/FPM0302/, qr/FPM0317/], conf => <<"EOC");
<FcgiServer app>
    FcgiCommand $actor
    FcgiProcesses 2
</FcgiServer>
<FcgiServer broken>
    FcgiCommand /bin/false
    FcgiProcesses 1
</FcgiServer>
<FcgiServer other>
    FcgiConnect 127.0.0.1:1
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/app">
    FcgiPass app
</Location>
Alias "/scripts" "\@ROOT\@/scripts"
<Directory "\@ROOT\@/scripts">
    Options ExecCGI
    SetHandler fcgipm-script
    Require all granted
</Directory>
Listen 127.0.0.1:\@SSLPORT\@
<VirtualHost *:\@SSLPORT\@>
    ServerName odd.example
    <FcgiServer app>
        FcgiCommand $actor
        FcgiProcesses 1
    </FcgiServer>
</VirtualHost>
EOC
mkdir $h->root . '/scripts';
system 'cp', $actor, $h->root . '/scripts/app.fcgi';
wait_for { my @p = grep { $_->{name} eq 'app' } @{$h->status->{pools}}; $p[0]{ready} + $p[1]{ready} == 3 } 10, 'they run';

# Parsed: {"family" => type}, {"name{labels}" => value}; a list of faults.
sub metrics {
    my $r = $h->get('/st?openmetrics');
    my $text = $r->{body};
    my %value = $text =~ /^(fcgipm_\w+(?:\{[^}]*\})?) (\S+)$/mg;
    return (\%value, $text, $r);
}
sub parse {
    my ($text) = @_;
    my $root = $h->root;
    open my $f, '>', "$root/metrics" or die;
    print {$f} $text;
    close $f;
    my $out = qx($python -c 'import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as f
n = list(f(open(sys.argv[1]).read()))
print(len(n), sum(len(m.samples) for m in n))' $root/metrics 2>&1);
    return ($? >> 8, $out);
}

my ($v, $text, $r) = metrics();
like $r->{headers}{'content-type'}, qr{^application/openmetrics-text; version=1\.0\.0}, 'type';
SKIP: {
    skip 'no python3-prometheus-client', 2 unless $parser;
    my ($code, $out) = parse($text);
    is $code, 0, 'a parser takes it' or diag $out;
    my ($families, $samples) = split ' ', $out;
    cmp_ok $families, '>', 40, "$families families, $samples samples";
    ($code) = parse($text =~ s/# EOF\n//r);
    isnt $code, 0, 'and it would have complained';
}
is $v->{'fcgipm_workers_ready{pool="app",vhost=""}'}, 2, 'a gauge';
is $v->{qq{fcgipm_workers_ready{pool="app",vhost="odd.example:@{[$h->sslport]}"}}}, 1, 'the same name in a virtual host is another series';
is $v->{'fcgipm_state{pool="app",vhost="",fcgipm_state="SERVING"}'}, 1, 'its state';
is $v->{'fcgipm_manager_up'}, 1, 'the manager';

$h->get('/app?sleep=30') for 1 .. 4;
$h->get('/app') for 1 .. 6;
($v) = metrics();
is $v->{'fcgipm_requests_total{pool="app",vhost=""}'}, 10, 'ten requests';
is $v->{'fcgipm_request_seconds_count{pool="app",vhost=""}'}, 10, 'all in the histogram';
is $v->{'fcgipm_request_seconds_bucket{pool="app",vhost="",le="+Inf"}'}, 10, 'its last cell';
cmp_ok $v->{'fcgipm_request_seconds_bucket{pool="app",vhost="",le="0.025"}'}, '<=', 6, 'slow ones are not among the quick';
cmp_ok $v->{'fcgipm_request_seconds_sum{pool="app",vhost=""}'}, '>=', 0.12, 'their sum';
like $h->get('/st')->{body}, qr/class="hist".*90 % (?:&le;|&gt;)|90 % &le; \d+ m?s.*class="hist"/s, 'the page draws it';

# A pool made on demand counts for itself.
is $h->get('/scripts/app.fcgi')->{status}, 200, 'a script';
($v) = metrics();
is $v->{'fcgipm_requests_total{pool="app.fcgi",vhost=""}'}, 1, 'has a series of its own';
is $v->{'fcgipm_requests_total{pool="app",vhost=""}'}, 10, 'and is counted nowhere else';

# Through everything that happens to a server: each counter of each series only grows.
my (%last, @back);
sub look {
    my ($when) = @_;
    my ($now, $text) = metrics();
    for my $name (grep { /_(?:total|count|sum|bucket)\b/ } keys %last) {
        push @back, "$name went away $when" if !defined $now->{$name};
        push @back, "$name from $last{$name} to $now->{$name} $when" if defined $now->{$name} && $now->{$name} < $last{$name};
    }
    my %seen;
    push @back, "two series of one name $when: $_" for grep { $seen{$_}++ } $text =~ /^(fcgipm_\w+(?:\{[^}]*\})?) /mg;
    %last = %$now;
}
sub looks { my ($when, $cond) = @_; my $end = time + 10; until ($cond->() || time > $end) { look($when); sleep 0.02 } look($when) }
my $load = $h->load(clients => 2, seconds => 9, path => '/app', background => 1);
look('at first');
$h->graceful;
looks('over a graceful restart', sub { $h->status->{manager}{generation} == 2 });
my $conf = $h->slurp('httpd.conf');
open my $f, '>', $h->root . '/httpd.conf' or die;
print {$f} $conf =~ s/FcgiProcesses 2/FcgiProcesses 2\n    FcgiEnv CHANGED 1/r;
close $f;
my @old = $h->workers('app');
$h->graceful;
looks('while a changed block is replaced', sub { my %now = map { $_ => 1 } $h->workers('app'); !$now{$old[0]} || !$now{$old[1]} });
wait_for { grep { $_->{state} eq 'READY' } @{$h->status('app')->{workers}} } 5, 'one is ready';
kill KILL => (grep { $_->{state} eq 'READY' } @{$h->status('app')->{workers}})[0]{pid};
looks('when a process dies', sub { $h->log_has(qr/FPM031[56]/) });
kill KILL => $h->manager;
looks('when the manager dies', sub { $h->status->{manager}{starts} == 2 });
my $sum = $load->();
look('at last');
is_deeply \@back, [], 'no counter goes backwards, no series goes away or comes twice';
cmp_ok $last{'fcgipm_requests_total{pool="app",vhost=""}'}, '>=', $sum->{sent}, 'and all that happened is counted';
my $crashed = 0;
$crashed += $last{$_} for grep { /^fcgipm_crashed_total\{pool="app"/ } keys %last;
cmp_ok $crashed, '>=', 1, 'the crash, too';
SKIP: {
    skip 'no python3-prometheus-client', 1 unless $parser;
    my ($code, $out) = parse((metrics())[1]);
    is $code, 0, 'a parser still takes it' or diag $out;
}
$h->stop;
done_testing;
