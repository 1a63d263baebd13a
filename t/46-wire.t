# SPDX-License-Identifier: Apache-2.0
# An application that breaks the protocol in every way we could think of: the client gets an honest 502 or sees that the
# answer is cut, the log has one line, and the next request is well.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp qw(tempdir);
use Fcgipm;
use FakeWorker;

my $dir = tempdir('/tmp/fcgipm-wire-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my $head = "Content-Type: text/plain\r\n\r\n";

# Each: what it does instead of answering, and what the client shall see: a status, or 'cut' for an answer that is
# seen to be incomplete, or 'good:BODY'.
my @cases = (
    good => 'good:fine' => sub { my ($c, $r) = @_; $c->answer($r, $head . 'fine') },
    closes => 502 => sub { $_[0]->close },
    resets => 502 => sub { $_[0]->reset },
    'closes in the head' => 502 => sub { my ($c, $r) = @_; $c->stdout('Content-Type: te', $r->{id}); $c->close },
    'closes after the head' => 'cut' => sub { my ($c, $r) = @_; $c->stdout($head, $r->{id}); $c->close },
    'closes in the body' => 'cut' => sub { my ($c, $r) = @_; $c->stdout($head . 'x' x 200_000, $r->{id}); $c->close },
    'closes after the end of its stream' => 'cut' => sub { my ($c, $r) = @_; $c->stdout($head . 'x', $r->{id}); $c->stdout('', $r->{id}); $c->close },
    'ends without an answer' => 502 => sub { my ($c, $r) = @_; $c->end($r->{id}, 0, 0) },
    'ends in the head' => 502 => sub { my ($c, $r) = @_; $c->stdout('X-A: b', $r->{id}); $c->end($r->{id}, 0, 0) },
    'ends without the end of its stream' => 'good:x' => sub { my ($c, $r) = @_; $c->stdout($head . 'x', $r->{id}); $c->end($r->{id}, 0, 0) },
    'another version' => 502 => sub { my ($c, $r) = @_; $c->record(type => 'STDOUT', id => $r->{id}, version => 2, content => $head) },
    'version 0' => 502 => sub { my ($c, $r) = @_; $c->record(type => 'STDOUT', id => $r->{id}, version => 0, content => $head) },
    'another id' => 502 => sub { my ($c, $r) = @_; $c->stdout($head . 'x', $r->{id} + 1); $c->end($r->{id} + 1, 0, 0) },
    'id 0' => 502 => sub { my ($c, $r) = @_; $c->stdout($head . 'x', 0); $c->end($r->{id}, 0, 0) },
    'id 65535' => 502 => sub { my ($c, $r) = @_; $c->stdout($head . 'x', 65535) },
    'a web server\'s record' => 502 => sub { my ($c, $r) = @_; $c->record(type => 'STDIN', id => $r->{id}, content => 'x') },
    'a BEGIN_REQUEST' => 502 => sub { my ($c, $r) = @_; $c->record(type => 'BEGIN_REQUEST', id => $r->{id}, content => "\0" x 8) },
    'an unknown type' => 502 => sub { my ($c, $r) = @_; $c->record(type => 77, id => $r->{id}, content => 'x') },
    'a short END_REQUEST' => 502 => sub { my ($c, $r) = @_; $c->record(type => 'END_REQUEST', id => $r->{id}, content => "\0" x 7) },
    'an unknown protocol status' => 502 => sub { my ($c, $r) = @_; $c->end($r->{id}, 0, 9) },
    'UNKNOWN_ROLE' => 502 => sub { my ($c, $r) = @_; $c->end($r->{id}, 0, 3) },
    'OVERLOADED, always' => 503 => sub { my ($c, $r) = @_; $c->end($r->{id}, 0, 2) },
    'CANT_MPX_CONN, always' => 503 => sub { my ($c, $r) = @_; $c->end($r->{id}, 0, 1) },
    'rubbish' => 502 => sub { $_[0]->raw("HTTP/1.0 200 OK\r\n\r\nhello") },
    'half a record header' => 502 => sub { $_[0]->raw("\1\6\0"); $_[0]->close },
    'a record that is longer than what comes' => 'cut' => sub { my ($c, $r) = @_; $c->record(type => 'STDOUT', id => $r->{id}, content => $head, length => 5000); $c->close },
    'output after the end of its stream' => 'good:x' => sub { my ($c, $r) = @_; $c->stdout($head . 'x', $r->{id}); $c->stdout('', $r->{id}); $c->stdout('more', $r->{id}); $c->end($r->{id}, 0, 0) },
    'records of one byte' => 'good:' . 'y' x 300 => sub { my ($c, $r) = @_; $c->stdout($_, $r->{id}) for split //, $head . 'y' x 300; $c->end($r->{id}, 0, 0) },
    'padding of 255' => 'good:z' => sub { my ($c, $r) = @_; $c->record(type => 'STDOUT', id => $r->{id}, content => $head . 'z', padding => 255); $c->end($r->{id}, 0, 0) },
    'an application status' => 'good:x' => sub { my ($c, $r) = @_; $c->stdout($head . 'x', $r->{id}); $c->end($r->{id}, 77, 0) },
    '64 MB of head' => 502 => sub { my ($c, $r) = @_; eval { $c->stdout('X-A: ' . 'b' x 60_000 . "\r\n", $r->{id}) for 1 .. 1000 } },
    'an error stream without end of line' => 'good:x' => sub { my ($c, $r) = @_; $c->stderr('e' x 5000, $r->{id}); $c->stdout($head . 'x', $r->{id}); $c->end($r->{id}, 0, 0) },
    'an error stream with everything' => 'good:x' => sub { my ($c, $r) = @_; $c->stderr(join('', map chr, 0 .. 255) . "\n[fake] [error] line\n", $r->{id}); $c->stdout($head . 'x', $r->{id}); $c->end($r->{id}, 0, 0) },
    'an answer before the request is read' => 'good:x' => sub { my ($c, $r) = @_; $c->stdout($head . 'x', $r->{id}); $c->end($r->{id}, 0, 0) },
);

my (@names, %want, %do);
while (my ($name, $want, $code) = splice @cases, 0, 3) {
    push @names, $name;
    $want{$name} = $want;
    $do{$name} = $code;
}

my $w = FakeWorker->new(socket => "$dir/w.sock", concurrent => 8, script => sub {
    my ($c) = @_;
    while (my $r = $c->recv_request) {
        my $name = $r->{params}{QUERY_STRING};
        $name =~ s/%([0-9A-F]{2})/chr hex $1/ge;
        $c->note("conn " . $c->n . " $name");
        $do{$name}->($c, $r);
        last unless $r->{keep_conn};
    }
});
my $h = Fcgipm->httpd(expect_log => [qr/FPM061[0126]/, qr/FPM062[01]/], conf => <<"EOC");
<FcgiServer w>
    FcgiConnect unix:$dir/w.sock
    FcgiKeepConn On
    FcgiConcurrency 2
</FcgiServer>
<Location "/w">
    FcgiPass w
</Location>
EOC
sub esc { my $t = shift; $t =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge; $t }

for my $method (qw(POST GET)) {
    for my $name (@names) {
        my $lines = () = $h->log =~ /FPM06(?:1[0126])/g;
        my $r = $h->request($method => '/w?' . esc($name), $method eq 'POST' ? (body => 'abc') : ());
        my $want = $want{$name};
        if ($want =~ /^good:(.*)/s) {
            is $r->{status}, 200, "$method: $name: answered";
            is $r->{body}, $1, 'whole';
            ok $r->{complete}, 'and complete';
        } elsif ($want eq 'cut') {
            ok !$r->{complete} || $r->{status} == 502, "$method: $name: seen to be cut, or 502 when nothing had been sent";
        } else {
            is $r->{status}, $want, "$method: $name: $want";
            ok $r->{headers}{'retry-after'}, 'Retry-After' if $want == 503;
        }
        my $more = (() = $h->log =~ /FPM06(?:1[0126])/g) - $lines;
        is $more, $want =~ /^good/ ? 0 : 1, 'lines in the log' or diag substr $h->log, -1500;
        is $h->get('/w?good')->{body}, 'fine', 'and the next is well';
    }
}

# A truncated answer on HTTP/1.0, where only a reset can show it.
{
    my $r = $h->request(GET => '/w?' . esc('closes in the body'), http => '1.0');
    ok $r->{reset}, 'HTTP/1.0: a cut answer ends with a reset';
    ok !$r->{complete}, 'and is not complete';
}
# The error stream is data.
unlike $h->log, qr/^\[fake\]/m, 'no line of the application\'s own making in the log';
unlike $h->log, qr/[\x00-\x08\x0e-\x1f]/, 'no control bytes in the log';

# A connection that is in doubt is never used again.
{
    my %used;
    for (grep { /^conn/ } $w->notes) {
        my ($conn, $name) = /^conn (\d+) (.*)/;
        push @{$used{$conn}}, $name;
    }
    my %bad = map { $_ => 1 } grep { $want{$_} =~ /^(?:502|cut)/ && !/^ends/ } @names;
    my @after = grep { my @n = @{$used{$_}}; grep { $bad{$n[$_]} } 0 .. $#n - 1 } keys %used;
    is_deeply \@after, [], 'no connection was used after something went wrong on it';
    cmp_ok scalar(keys %used), '<', scalar(grep { /^conn/ } $w->notes), 'but good ones were kept';
}
$w->stop;
$h->stop;
done_testing;
