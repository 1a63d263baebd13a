# SPDX-License-Identifier: Apache-2.0
# A client that leaves, as the application sees it: FCGI_ABORT_REQUEST on a connection that is kept, and the connection
# is used again after its END_REQUEST; the end of the connection where it is not kept.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp qw(tempdir);
use Fcgipm;
use FakeWorker;

my $dir = tempdir('/tmp/fcgipm-abort-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my $script = sub {
    my ($c) = @_;
    while (my $r = $c->recv_request) {
        my $query = $r->{params}{QUERY_STRING};
        $c->note($c->n . " $query begins");
        if ($query eq 'quick') {
            $c->answer($r, "Content-Type: text/plain\r\n\r\nquick");
        } else {
            $c->stdout("Content-Type: text/plain\r\n\r\nfirst\n", $r->{id});
            my $record = $c->recv_record;
            $c->note($c->n . " $query " . ($record ? "record $record->{type}" : 'eof'));
            return if !$record;
            $c->stdout('', $r->{id});
            $c->end($r->{id}, 0, 0);
            $c->note($c->n . " $query ended");
        }
        last unless $r->{keep_conn};
    }
};
my $kept = FakeWorker->new(socket => "$dir/kept.sock", script => $script);
my $closed = FakeWorker->new(socket => "$dir/closed.sock", script => $script);
my $h = Fcgipm->httpd(mpm_conf => "StartServers 1\nServerLimit 1\n" . (($ENV{FCGIPM_MPM} // '') eq 'prefork' ? "MaxRequestWorkers 1\n" : "ThreadsPerChild 8\nMaxRequestWorkers 8\nMinSpareThreads 8\nMaxSpareThreads 8\n"),
    conf => <<"EOC");
<FcgiServer kept>
    FcgiConnect unix:$dir/kept.sock
    FcgiKeepConn On
    FcgiConcurrency 1
</FcgiServer>
<FcgiServer closed>
    FcgiConnect unix:$dir/closed.sock
    FcgiConcurrency 1
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/kept">
    FcgiPass kept
</Location>
<Location "/closed">
    FcgiPass closed
</Location>
EOC
for my $case (['kept', $kept], ['closed', $closed]) {
    my ($name, $w) = @$case;
    my $s = $h->connect;
    my $got = '';
    print {$s} "GET /$name?long HTTP/1.1\r\nHost: x\r\n\r\n";
    sysread $s, $got, 65536, length $got until $got =~ /first/;
    close $s;
    ok $w->wait_note(qr/long (?:record|eof)/, 10), "$name: the application learns it";
    # Kept: the seat comes back with its connection when the application has ended the request.
    wait_for { $h->get('/st?auto')->{body} =~ /seats\.leased: 1$/m } 10, 'the connection is put away' if $name eq 'kept';
    is $h->get("/$name?quick")->{body}, 'quick', 'the next is served';
}
my $notes = join "\n", $kept->notes;
like $notes, qr/^1 long record (?:ABORT_REQUEST|2)$/m, 'kept: by ABORT_REQUEST';
like $notes, qr/^1 quick begins$/m, 'and the connection is used again';
like join("\n", $closed->notes), qr/^1 long eof$/m, 'not kept: by the end of the connection';
$_->stop for $kept, $closed;
$h->stop;
done_testing;
