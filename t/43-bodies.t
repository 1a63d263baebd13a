# SPDX-License-Identifier: Apache-2.0
# Request bodies: of any length and manner of sending they arrive whole, with their length; in constant memory; and a
# body and an answer that flow at the same time do not lock each other out.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Digest::MD5 qw(md5_hex);
use IO::Select;
use Fcgipm;

my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    expect_log => [qr/AH01588|AH01587|AH01566|AH01589/, qr/FPM0621/],
    conf => <<"EOC");
LimitRequestBody 0
<FcgiServer c>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiRequestBuffer memory=32K
</FcgiServer>
<Location "/c">
    FcgiPass c
</Location>
<Location "/small">
    FcgiPass c
    LimitRequestBody 1000
</Location>
EOC

sub bytes { my $n = shift; substr(join('', map { chr($_ % 251) } 1 .. 4099) x (int($n / 4099) + 1), 0, $n) }
sub chunked {
    my ($body, $size) = @_;
    my $out = '';
    for (my $at = 0; $at < length $body; $at += $size) {
        my $piece = substr $body, $at, $size;
        $out .= sprintf("%x\r\n", length $piece) . $piece . "\r\n";
    }
    return $out . "0\r\n\r\n";
}

for my $n (0, 1, 8191, 8192, 32767, 32768, 32769, 65535, 65536, 200_000, 3_000_000) {
    my $body = bytes($n);
    my $r = $h->request(POST => '/c?do=sum', body => $body);
    is $r->{body}, "$n " . md5_hex($body) . "\n", "$n bytes with Content-Length";
    $r = $h->request(POST => '/c?do=echo', body => $body);
    is $r->{headers}{'x-length'}, $n, 'CONTENT_LENGTH';
    ok $r->{body} eq $body, 'echo';
    my $raw = $h->raw("POST /c?do=sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            . chunked($body, 1 + int($n / 7)));
    like $raw, qr/$n \Q@{[md5_hex($body)]}\E/, "$n bytes in chunks";
    next if $n > 300_000;
    $raw = $h->raw("POST /c?do=echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            . chunked($body, 4000));
    like $raw, qr/^X-Length: $n\r$/m, 'CONTENT_LENGTH of a chunked body';
}

subtest '100 Continue' => sub {
    my $s = $h->connect;
    print {$s} "POST /c?do=echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    my $got = '';
    ok(IO::Select->new($s)->can_read(10), 'something comes before the body is sent');
    sysread $s, $got, 4096;
    like $got, qr{^HTTP/1\.1 100 Continue\r\n}, 'it is 100 Continue';
    print {$s} 'hello';
    $got = '';
    1 while sysread $s, $got, 4096, length $got;
    like $got, qr{^HTTP/1\.1 200 .*\r\n\r\nhello$}s, 'and then the answer';
};

subtest 'limits' => sub {
    is $h->request(POST => '/small?do=sum', body => bytes(1000))->{status}, 200, 'as many as allowed';
    is $h->request(POST => '/small?do=sum', body => bytes(1001))->{status}, 413, 'one more is 413';
    like $h->raw("POST /small?do=sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            . chunked(bytes(5000), 100)), qr{^HTTP/1\.1 413 }, 'in chunks, too';
    like $h->raw("POST /c?do=sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        qr{^HTTP/1\.1 400 }, 'broken chunks are 400';
    is $h->get('/c')->{status}, 200, 'and the application is well';
};

subtest 'a body that is cut never reaches the application' => sub {
    my ($before) = $h->get('/c?count=1')->{body} =~ /(\d+)/;
    my $s = $h->connect;
    print {$s} "POST /c?do=sum HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 'x' x 50_000;
    close $s;
    is $h->request(POST => '/c?do=sum', body => 'abc')->{body}, '3 ' . md5_hex('abc') . "\n", 'the next is served';
};

subtest 'answer before the body is read' => sub {
    my $body = bytes(2_000_000);
    my $r = $h->request(POST => '/c?noread=1', body => $body);
    is $r->{status}, 200, 'an application that does not read its input';
    $r = $h->request(POST => '/c?do=echo', body => $body);
    ok $r->{body} eq $body, 'and the next is whole';
};

subtest 'both ways at once' => sub {
    # The echo writes before it has read all: with 20 MB each way both sides' buffers are full.
    my $body = bytes(20_000_000);
    my $r = $h->request(POST => '/c?do=echo', body => $body, timeout => 60);
    is md5_hex($r->{body}), md5_hex($body), '20 MB there and back';
};

sub memory {
    my $sum = 0;
    for my $pid ($h->children) {
        open my $f, '<', "/proc/$pid/status" or next;
        /^Rss(?:Anon|Shmem):\s+(\d+)/ and $sum += $1 while <$f>;
    }
    return $sum;
}
subtest 'constant memory' => sub {
    my $size = $ENV{FCGIPM_LONG} ? 2 * 1024 ** 3 : 200 * 1024 ** 2;
    my $before = memory();
    my $s = $h->connect;
    print {$s} "POST /c?do=sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: $size\r\n\r\n";
    my $block = bytes(1 << 20);
    my $md5 = Digest::MD5->new;
    my $most = 0;
    for my $i (1 .. $size >> 20) {
        print {$s} $block;
        $md5->add($block);
        if ($i % 32 == 0) {
            my $now = memory();
            $most = $now if $now > $most;
        }
    }
    my $got = '';
    1 while sysread $s, $got, 4096, length $got;
    my $sum = $md5->hexdigest;
    like $got, qr/$size $sum/, "$size bytes arrive";
    cmp_ok $most - $before, '<', 30_000, 'with less than 30 MB more in all children';
    is_deeply [glob $h->root . '/tmp/*'], [], 'and no file is left';
};

$h->stop;
done_testing;
