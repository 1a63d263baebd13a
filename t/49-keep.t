# SPDX-License-Identifier: Apache-2.0
# Kept connections: asked for with FCGI_KEEP_CONN, used again by the same httpd child, given up when another child needs
# the process, never used for a request that could not be repeated, and never a reason to wait.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp qw(tempdir);
use Fcgipm;
use FakeWorker;

my $dir = tempdir('/tmp/fcgipm-keep-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my $actor = app_built('actor.c');
my $script = sub {
    my ($c) = @_;
    my $count = 0;
    while (my $r = $c->recv_request) {
        $count++;
        $c->note("conn " . $c->n . " request $count keep $r->{keep_conn} $r->{params}{REQUEST_METHOD}");
        $c->answer($r, "Content-Type: text/plain\r\n\r\n" . $c->n);
        last unless $r->{keep_conn};
    }
};
my $on = FakeWorker->new(socket => "$dir/on.sock", script => $script);
my $auto = FakeWorker->new(socket => "$dir/auto.sock", script => $script);
my $prefork = ($ENV{FCGIPM_MPM} // '') eq 'prefork';
my $h = Fcgipm->httpd(
    mpm_conf => $prefork ? "StartServers 4\nServerLimit 4\nMaxRequestWorkers 4\n"
        : "StartServers 4\nServerLimit 4\nThreadsPerChild 8\nMaxRequestWorkers 32\nMinSpareThreads 32\nMaxSpareThreads 32\n",
    conf => <<"EOC");
<FcgiServer on>
    FcgiConnect unix:$dir/on.sock
    FcgiKeepConn On
    FcgiQueue threads=100
    FcgiConcurrency 1
</FcgiServer>
<FcgiServer auto>
    FcgiConnect unix:$dir/auto.sock
    FcgiQueue threads=100
    FcgiConcurrency 1
</FcgiServer>
<FcgiServer one>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiQueue threads=100
</FcgiServer>
<FcgiServer off>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiQueue threads=100
    FcgiKeepConn Off
</FcgiServer>
<Location "/on">
    FcgiPass on
</Location>
<Location "/auto">
    FcgiPass auto
</Location>
<Location "/one">
    FcgiPass one
</Location>
<Location "/off">
    FcgiPass off
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC

sub counter {
    my ($pool, $name) = @_;
    my $text = $h->get('/st?auto')->{body};
    my ($index) = $text =~ /^pool\.(\d+)\.name: $pool$/m;
    return $text =~ /^pool\.$index\.counters\.$name: (\d+)$/m ? $1 : -1;
}

# One client connection stays with one httpd child.
sub on_one_connection {
    my ($path, $count) = @_;
    my $s = $h->connect;
    my $got = '';
    for my $i (1 .. $count) {
        my $last = $i == $count ? "Connection: close\r\n" : '';
        print {$s} "GET $path HTTP/1.1\r\nHost: x\r\n$last\r\n";
        my $want = $i;
        while ((() = $got =~ /^HTTP\/1\.1 200/mg) < $want || $got !~ /\r\n\r\n.*\n?\z/s) { sysread $s, $got, 65536, length $got or last }
    }
    return $got;
}

on_one_connection('/on', 5);
like join("\n", $on->notes), qr/conn (\d+) request 1 keep 1 GET\nconn \1 request 2 keep 1 GET/, 'FcgiKeepConn On: the connection is used again';
$h->get('/auto') for 1 .. 3;
wait_for { 3 == grep { /request 1 keep 0/ } $auto->notes } 5, 'three connections';
is scalar(grep { /request 2/ } $auto->notes), 0, 'an external application is not asked to keep connections unless told to';
cmp_ok counter('on', 'reuses'), '>=', 1, 'the counters say so';

{
    my $before = counter('off', 'connects');
    on_one_connection('/off', 4);
    is counter('off', 'connects') - $before, 4, 'FcgiKeepConn Off connects for each';
    is counter('off', 'reuses'), 0, 'and keeps none';
}
{
    my $before = scalar(grep { /request 1 / } $on->notes);
    $h->request(POST => '/on', body => 'abc') for 1 .. 3;
    is scalar(grep { /request 1 / } $on->notes) - $before, 3, 'what cannot be repeated has a fresh connection';
}

# Children take the one process from each other, and nobody waits for a connection that another keeps.
{
    my $slow = 0;
    my %child;
    for (1 .. 60) {
        my $r = $h->get('/one?do=pid');
        $slow++ if $r->{status} != 200 || $r->{ms} > 1000;
    }
    is $slow, 0, '60 clients, each on a connection of its own: all at once';
    cmp_ok counter('one', 'takeovers'), '>', 0, 'processes change hands between children';
    my $load = Fcgipm::load($h, path => '/one', clients => 8, requests => 800, check => sub { $_[0]{status} == 200 && $_[0]{body} =~ /^hello from c/ });
    is $load->{ok}, $load->{sent}, 'and with 8 at the same time' or diag explain $load->{bad};
}
$on->stop;
$auto->stop;
$h->stop;
done_testing;
