# SPDX-License-Identifier: Apache-2.0
# Answers (RFC 3875 section 6): status, redirects, conditions, HEAD, ranges, no content, fields of all kinds; and that
# what is not a valid answer is 502 and not passed on.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;

my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM0610/, qr/FPM0616/],
    conf => <<"EOC");
LimitRequestLine 60000
<FcgiServer c>
    FcgiCommand $actor
    FcgiHeadLimit 8K
</FcgiServer>
<Location "/c">
    FcgiPass c
</Location>
EOC
{
    open my $f, '>', $h->root . '/htdocs/plain.txt' or die;
    print {$f} 'plain file';
}

sub esc { my $t = shift; $t =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge; $t }
sub raw_answer { my ($text, %opt) = @_; $h->request($opt{method} // 'GET', '/c?raw=' . esc($text), %opt) }

subtest 'status' => sub {
    for my $status (200, 201, 299, 400, 404, 418, 451, 500, 503, 599) {
        my $r = $h->get("/c?status=$status&size=100");
        is $r->{status}, $status, "status $status";
        is length $r->{body}, 100, 'with its own body, not a page of httpd';
    }
    is raw_answer("Status: 200 All Fine\r\nContent-Type: text/plain\r\n\r\nx")->{reason}, 'All Fine', 'its own words';
    is raw_answer("Status: 404\nContent-Type: text/plain\n\nx")->{status}, 404, 'line feeds alone end lines';
};

subtest 'redirects' => sub {
    my $r = raw_answer("Location: http://other.example/x\r\n\r\n");
    is $r->{status}, 302, 'an absolute one is 302';
    is $r->{headers}{location}, 'http://other.example/x', 'with the place';
    like $r->{body}, qr/moved/i, 'and a page';
    $r = raw_answer("Location: http://other.example/x\r\nSet-Cookie: a=b\r\nContent-Type: text/plain\r\n\r\nown page");
    is $r->{status}, 302, 'with a document of its own';
    is $r->{body}, 'own page', 'which is passed on';
    is $r->{headers}{'set-cookie'}, 'a=b', 'with its cookie';
    $r = raw_answer("Location: http://other.example/x\r\nSet-Cookie: a=b\r\n\r\n");
    is $r->{headers}{'set-cookie'}, 'a=b', 'a cookie is kept without one';
    $r = raw_answer("Status: 301 x\r\nLocation: /c/else\r\n\r\n");
    is $r->{status}, 301, 'with a status it is the client\'s to follow';
    like $r->{headers}{location}, qr{/c/else$}, 'wherever it goes';
    $r = raw_answer("Location: /plain.txt\r\n\r\n");
    is $r->{status}, 200, 'a local one is followed here';
    is $r->{body}, 'plain file', 'and answered';
    $r = raw_answer("Location: /c?do=env\r\nSet-Cookie: a=b\r\n\r\n", method => 'POST', body => 'abc');
    like $r->{body}, qr/^REQUEST_METHOD=GET$/m, 'as a GET';
    unlike $r->{body}, qr/^CONTENT_LENGTH=/m, 'without a body';
    like $r->{body}, qr/^REDIRECT_STATUS=200$/m, 'REDIRECT_STATUS';
    $r = raw_answer("Status: 201 Created\r\nLocation: /new\r\nContent-Type: text/plain\r\n\r\nmade");
    is $r->{status}, 201, '201 with Location is no redirect';
    is $r->{body}, 'made', 'and has its body';
};

subtest 'conditions' => sub {
    my $etag = '/c?header=' . esc('ETag:"v1"') . '&header=' . esc('Last-Modified:Mon, 05 Jan 2026 10:00:00 GMT');
    is $h->get($etag)->{status}, 200, 'none';
    my $r = $h->get($etag, headers => ['If-None-Match' => '"v1"']);
    is $r->{status}, 304, 'If-None-Match with the same tag';
    is $r->{body}, '', 'and nothing more';
    is $r->{headers}{etag}, '"v1"', 'but the tag';
    is $h->get($etag, headers => ['If-None-Match' => '"v2"'])->{status}, 200, 'with another';
    is $h->get($etag, headers => ['If-Modified-Since' => 'Mon, 05 Jan 2026 10:00:00 GMT'])->{status}, 304, 'If-Modified-Since';
    is $h->get($etag, headers => ['If-Modified-Since' => 'Mon, 05 Jan 2026 09:00:00 GMT'])->{status}, 200, 'it is newer';
    is $h->get($etag, headers => ['If-Match' => '"v2"'])->{status}, 412, 'If-Match with another';
    is $h->get("$etag&status=404", headers => ['If-None-Match' => '"v1"'])->{status}, 404, 'another status is left alone';
};

subtest 'HEAD' => sub {
    my $r = $h->request(HEAD => '/c?size=1000');
    is $r->{status}, 200, 'status';
    is $r->{body}, '', 'no body';
    my $raw = $h->raw("HEAD /c?size=100000 HTTP/1.1\r\nHost: x\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    is scalar(() = $raw =~ /^HTTP/mg), 2, 'the next on the connection is where it belongs';
    like $raw, qr/hello from c/, 'and is right';
    $r = raw_answer("Content-Type: text/plain\r\nContent-Length: 77\r\n\r\n", method => 'HEAD');
    is $r->{headers}{'content-length'}, 77, 'a length that the application states';
};

subtest 'no content' => sub {
    for my $status (204, 304) {
        my $raw = $h->raw("GET /c?status=$status&size=50 HTTP/1.1\r\nHost: x\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        like $raw, qr{^HTTP/1\.1 $status [^\r]*\r\n(?:[^\r]+\r\n)*\r\nHTTP/1\.1 200}, "$status has no body, whatever the application sends";
    }
};

subtest 'ranges' => sub {
    my $r = $h->get('/c?size=1000', headers => [Range => 'bytes=26-51']);
    is $r->{status}, 206, 'a range of an answer';
    is $r->{body}, 'abcdefghijklmnopqrstuvwxyz', 'is right';
    is $r->{headers}{'content-range'}, 'bytes 26-51/1000', 'and says where';
    is $h->get('/c?size=1000', headers => [Range => 'bytes=5000-'])->{status}, 416, 'outside';
};

subtest 'nph' => sub {
    my $r = raw_answer("HTTP/1.1 202 Taken\r\nContent-Type: text/plain\r\nX-A: b\r\n\r\nnph");
    is $r->{status}, 202, 'a status line';
    is $r->{body}, 'nph', 'body';
    is $r->{headers}{'x-a'}, 'b', 'fields';
};

subtest 'fields' => sub {
    my $r = raw_answer("Content-Type: text/x-own; charset=odd\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Folded: one\r\n  two\r\n\r\nx");
    is $r->{headers}{'content-type'}, 'text/x-own; charset=odd', 'Content-Type';
    is_deeply $r->{headers}{'set-cookie'}, ['a=1', 'b=2'], 'two cookies';
    is $r->{headers}{'x-folded'}, 'one two', 'a folded line is one';
    $r = raw_answer("Content-Type: text/plain\r\nConnection: close, X, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\nX-Other: 1\r\n\r\nbody");
    is $r->{headers}{'keep-alive'}, undef, 'Keep-Alive of the application goes no further';
    is $r->{headers}{upgrade}, undef, 'Upgrade';
    is $r->{headers}{'x-mine'}, undef, 'what its Connection names';
    is $r->{headers}{'x-other'}, 1, 'others do';
    is $r->{body}, 'body', 'and its Transfer-Encoding is not believed';
    is raw_answer("Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody")->{headers}{'content-length'}, 4, 'a right Content-Length';
    is raw_answer("X-A: b\r\n\r\nbody")->{headers}{'content-type'}, undef, 'no type is made up';
};

subtest 'what is no answer is 502' => sub {
    my %bad = (
        'nothing' => '', 'no head at all' => "hello world\r\n\r\n", 'a head without end' => 'Content-Type: text/plain',
        'a name with a blank' => "X Y: z\r\n\r\n", 'a bare CR' => "X-A: b\rX-Evil: c\r\n\r\n", 'a NUL' => "X-A: b\0c\r\n\r\n",
        'a bad status' => "Status: 99999\r\n\r\n", 'a status of words' => "Status: fine\r\n\r\n",
        'a bad length' => "Content-Length: -1\r\n\r\n", 'two lengths' => "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        'a shorter body than said' => "Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nshort",
        'a longer body than said' => "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nlonger",
        'a head that is too large' => 'X-A: ' . ('b' x 1000 . "\r\n") . join('', map { "X-$_: " . ('b' x 800) . "\r\n" } 1 .. 11) . "\r\nx",
    );
    for my $what (sort keys %bad) {
        my $r = raw_answer($bad{$what});
        is $r->{status}, 502, $what;
        unlike $r->{raw_head}, qr/X-Evil|X-A/, 'nothing of it is passed on';
    }
    is $h->get('/c')->{status}, 200, 'the application is well';
    is scalar(() = $h->log =~ /FPM0610|FPM0616/g), scalar(keys %bad), 'one line each';
    like $h->log, qr/FPM061[06]: pool c slot \d+ pid \d+: .*; answered 502/, 'that says who, why and what';
    like $h->log, qr/line 1 of its response head: a line without colon: "hello world"; answered 502/, 'and the line that is wrong';
    like $h->log, qr/a field name that is empty or not a token: "X Y"; /, 'as far as it was read';
    like $h->log, qr/a malformed or contradictory Content-Length: "Content-Length: -1"; /, 'or all of it';
    like $h->log, qr/a control byte, or a CR that no LF follows: "X-A: b"; /, 'and nothing behind a control byte';
    raw_answer('x' x 500 . "\r\n\r\n");
    like $h->log, qr/a line without colon: "x{80}"\.\.\.; /, 'at most 80 bytes';
};

$h->stop;
done_testing;
