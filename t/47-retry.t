# SPDX-License-Identifier: Apache-2.0
# What may be sent again, and what may not (DESIGN section 3): the backend counts how often it saw each request.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp qw(tempdir);
use Fcgipm;
use FakeWorker;

my $dir = tempdir('/tmp/fcgipm-retry-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my $actor = app_built('actor.c');

# ?name=what: what it does the first time it sees the name; the second time it answers.
my $w = FakeWorker->new(socket => "$dir/w.sock", concurrent => 8, script => sub {
    my ($c) = @_;
    while (my $r = $c->recv_request) {
        my ($name, $what) = split /=/, $r->{params}{QUERY_STRING};
        my $first = !-e "$dir/seen-$name";
        open(my $f, '>>', "$dir/seen-$name") or die;
        close $f;
        $c->note("$name $r->{params}{REQUEST_METHOD} " . length($r->{stdin} // ''));
        if ($first && $what eq 'close') { $c->close; last }
        if ($first && $what eq 'overloaded') { $c->end($r->{id}, 0, 2); next }
        if ($first && $what eq 'head') { $c->stdout("Content-Type: text/plain\r\n\r\n", $r->{id}); $c->close; last }
        $c->answer($r, "Content-Type: text/plain\r\n\r\n" . length($r->{stdin} // ''));
        last if $what eq 'closeafter' || !$r->{keep_conn};
    }
});
my $h = Fcgipm->httpd(expect_log => [qr/FPM061[16]/, qr/FPM0603/, qr/FPM0316: pool one .*exited with code 0/], conf => <<"EOC");
<FcgiServer w>
    FcgiConnect unix:$dir/w.sock
    FcgiKeepConn On
    FcgiConcurrency 2
</FcgiServer>
<FcgiServer max>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiEnv ACTOR_MAX 7
</FcgiServer>
<FcgiServer one>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiEnv ACTOR_MAX 1
</FcgiServer>
<Location "/w">
    FcgiPass w
</Location>
<Location "/max">
    FcgiPass max
</Location>
<Location "/one">
    FcgiPass one
</Location>
EOC

sub seen { my $name = shift; scalar grep { /^$name / } $w->notes }
for my $method (qw(GET HEAD OPTIONS)) {
    is $h->request($method => "/w?$method=close")->{status}, 200, "$method is sent again when there was no answer";
    is seen($method), 2, 'once';
}
is $h->request(GET => '/w?body=close', body => 'abc')->{body}, 3, 'with its body, if it has one';
for my $method (qw(POST PUT DELETE PATCH)) {
    is $h->request($method => "/w?$method=close", body => 'abc')->{status}, 502, "$method is not sent again: it may have been done";
    is seen($method), 1, 'it was seen once';
}
for my $method (qw(GET POST)) {
    is $h->request($method => "/w?o$method=overloaded", body => 'abc')->{status}, 200, "$method is sent again when the application refused it";
    is seen("o$method"), 2, 'once';
    my $r = $h->request($method => "/w?h$method=head");
    if ($method eq 'POST') {
        ok $r->{status} == 502 || !$r->{complete}, 'POST is not sent again when the answer had begun';
        is seen('hPOST'), 1, 'it was seen once';
    } else {
        is seen('hGET'), $r->{complete} ? 2 : 1, 'GET is sent again when the client has seen nothing yet, else it is cut';
    }
}
# A connection that the application closes after its answer, though it was asked to keep it.
is $h->get("/w?c$_=closeafter")->{status}, 200, 'a kept connection that is closed meanwhile costs nothing' for 1 .. 10;
is $h->request(POST => "/w?p$_=closeafter", body => 'abc')->{status}, 200, 'nor a POST' for 1 .. 10;

# Processes that end by themselves after some requests.
for my $pool (qw(max one)) {
    for my $method (qw(GET POST)) {
        my $bad = 0;
        for (1 .. 60) {
            my $r = $h->request($method => "/$pool?do=sum", $method eq 'POST' ? (body => 'x' x 5000) : ());
            $bad++ if $r->{status} != 200;
        }
        is $bad, 0, "$method: no request is lost to a process that ends by itself ($pool)";
    }
    my $load = Fcgipm::load($h, path => "/$pool", clients => 8, requests => 400, check => sub { $_[0]{status} == 200 && $_[0]{body} =~ /^hello/ });
    is $load->{ok}, $load->{sent}, "nor with 8 clients at the same time ($pool)" or diag explain $load->{bad};
}
$w->stop;
is $h->get('/w?gone=x')->{status}, 503, 'an external application that is not there is 503';
ok $h->log_has(qr/FPM0603: pool w: could not connect to unix:\Q$dir\E\/w\.sock: .*; answered 503/), 'and the log says where';
$h->stop;
# A request that kills every process it is given to must not take the application down for the others.
{
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0616/, qr/FPM0315/], conf => "<FcgiServer c>\n    FcgiCommand $actor\n    FcgiProcesses 3\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n");
    wait_for { $h->status('c')->{ready} == 3 } 10;
    is $h->get('/c?die=segv')->{status}, 502, 'a request that kills three processes' for 1 .. 5;
    is $h->get('/c')->{status}, 200, 'another is answered';
    is $h->status('c')->{failures}, 0, 'that is no failed start';
    $h->stop;
}
done_testing;
