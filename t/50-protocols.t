# SPDX-License-Identifier: Apache-2.0
# The client's side of things: keep-alive and pipelining, TLS, HTTP/2 (TLS and cleartext), compression; streams arrive piece
# by piece over each of them, and a cut answer is seen over each of them.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Digest::MD5 qw(md5_hex);
use File::Temp qw(tempfile);
use IO::Uncompress::Gunzip qw(gunzip);
use Time::HiRes qw(time);
use Fcgipm;

need('curl', 'openssl', 'nghttp');
my $actor = app_built('actor.c');
my $h2 = ($ENV{FCGIPM_MPM} // '') ne 'prefork'; # mod_http2 does not support that one
my $h = Fcgipm->httpd(ssl => 1, h2 => $h2, expect_log => [qr/FPM0616/, qr/FPM031[56]/], conf => <<"EOC");
<FcgiServer c>
    FcgiCommand $actor
    FcgiProcesses 4
</FcgiServer>
<Location "/c">
    FcgiPass c
    SSLOptions +StdEnvVars
</Location>
<Location "/z">
    FcgiPass c
    SetOutputFilter DEFLATE
</Location>
EOC
{
    open my $f, '>', $h->root . '/htdocs/plain.txt' or die;
    print {$f} 'plain file';
}
my $tls = 'https://127.0.0.1:' . $h->sslport;
my $clear = 'http://127.0.0.1:' . $h->port;
sub curl {
    open my $out, '-|', 'curl', '-sk', '--max-time', 30, @_ or die "curl: $!";
    binmode $out;
    local $/;
    my $text = <$out> // '';
    close $out;
    return ($text, $? >> 8);
}
my $want = join '', map { $_ % 64 == 63 ? "\n" : chr(ord('a') + $_ % 26) } 0 .. 299_999;
my ($fh, $body_file) = tempfile(UNLINK => 1);
binmode $fh;
srand 7;
my $body = pack 'L*', map { int rand 2 ** 32 } 1 .. 262_144;
print {$fh} $body;
close $fh;

subtest 'keep-alive and pipelining' => sub {
    my @paths = ('/c', '/plain.txt', '/c?size=100', '/c?do=pid');
    my $i = 0;
    my $got = $h->raw(join '', map { "GET $_ HTTP/1.1\r\nHost: x\r\n" . (++$i == @paths ? "Connection: close\r\n" : '') . "\r\n" } @paths);
    is scalar(() = $got =~ /HTTP\/1\.1 200 OK\r\n/g), 4, 'four requests in one write, four answers';
    like $got, qr/hello from c.*plain file.*abcdefghij.*\r\n\r\n[\da-f]*\r?\n?\d+\n/s, 'in order';
    my $post = "POST /c?do=echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    $got = $h->raw("$post${post}GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    is scalar(() = $got =~ /hello(?! from)/g), 2, 'bodies in a pipeline end where they end';
    like $got, qr/hello from c/, 'and the next request begins there';
};

my %over = (
    'HTTP/1.1' => [$clear, '--http1.1'], TLS => [$tls, '--http1.1'], 'HTTP/2' => [$tls, '--http2'],
    'HTTP/2 cleartext' => [$clear, '--http2-prior-knowledge'],
);
delete @over{'HTTP/2', 'HTTP/2 cleartext'} unless $h2;
for my $name (sort keys %over) {
    subtest $name => sub {
        my ($base, $option) = @{$over{$name}};
        my ($text, $exit) = curl($option, "$base/c?do=env");
        is $exit, 0, 'answers';
        like $text, qr/^HTTPS=on$/m, 'HTTPS' if $base eq $tls;
        like $text, qr/^SSL_PROTOCOL=TLSv1/m, 'variables of mod_ssl' if $base eq $tls;
        unlike $text, qr/^HTTPS=/m, 'no HTTPS' if $base ne $tls;
        like $text, qr/^UNIQUE_ID=\S+$/m, 'UNIQUE_ID';
        like $text, $name =~ /2/ ? qr/^SERVER_PROTOCOL=HTTP\/2/m : qr/^SERVER_PROTOCOL=HTTP\/1\.1$/m, 'SERVER_PROTOCOL';
        ($text, $exit) = curl($option, "$base/c?size=300000");
        is md5_hex($text), md5_hex($want), '300 KB are exact';
        ($text, $exit) = curl($option, '--data-binary', "\@$body_file", '-H', 'Content-Type: x/y', '-H', 'Expect:', "$base/c?do=echo");
        is md5_hex($text), md5_hex($body), '1 MB there and back';
        ($text, $exit) = curl($option, '-i', "$base/c?header=Connection:X-Mine&header=X-Mine:1&header=Keep-Alive:5&header=Transfer-Encoding:chunked&header=Upgrade:y&header=X-Other:1");
        unlike $text, qr/^(?:keep-alive: 5|upgrade: y|x-mine)/mi, 'hop-by-hop fields of the application go no further';
        like $text, qr/^x-other: 1\r$/mi, 'others do';
        is scalar(() = $text =~ /hello from c/g), 1, 'and the body is right';
        ($text, $exit) = curl($option, '-f', "$base/c?die=mid");
        isnt $exit, 0, "a cut answer is an error for the client (curl says $exit)";
        ($text, $exit) = curl($option, "$base/c?status=204");
        is $exit, 0, 'no content';
        # A stream: each piece before the next is written.
        open my $out, '-|', 'curl', '-skN', '--max-time', 30, $option, "$base/c?drip=4:400" or die;
        my @at;
        while (<$out>) { push @at, time }
        close $out;
        is scalar(@at), 4, 'a stream';
        cmp_ok $at[3] - $at[0], '>', 0.8, 'arrives piece by piece';
    };
}
subtest 'HTTP/1.0' => sub {
    my $r = $h->request(GET => '/c?die=mid', http => '1.0');
    ok $r->{status} == 502 || $r->{reset}, 'a cut answer is a reset';
    is $h->request(GET => '/c?size=300000', http => '1.0')->{body}, $want, 'a whole one is whole';
};
subtest 'many streams' => sub {
    plan skip_all => 'mod_http2 does not support prefork' unless $h2;
    my $stat = `nghttp -nas -m 30 '$tls/c?size=300000' 2>&1`;
    is scalar(() = $stat =~ / 200 +292K /g), 30, '30 streams of one connection' or diag $stat;
};
subtest 'compression' => sub {
    my $r = $h->get('/z?size=300000', headers => ['Accept-Encoding' => 'gzip']);
    is $r->{headers}{'content-encoding'}, 'gzip', 'mod_deflate';
    my $plain;
    gunzip(\$r->{body} => \$plain);
    is md5_hex($plain // ''), md5_hex($want), 'and the content is exact';
    open my $out, '-|', 'curl', '-skN', '--compressed', '--max-time', 30, "$clear/z?drip=4:400" or die;
    my @at;
    while (<$out>) { push @at, time }
    close $out;
    is scalar(@at), 4, 'a stream through mod_deflate';
    cmp_ok $at[3] - $at[0], '>', 0.8, 'arrives piece by piece';
    (undef, my $exit) = curl('-f', '--compressed', "$clear/z?die=mid");
    isnt $exit, 0, 'a cut answer is an error for the client';
};
subtest 'a client of HTTP/2 that leaves' => sub {
    plan skip_all => 'mod_http2 does not support prefork' unless $h2;
    my $pid = fork // die;
    if (!$pid) {
        open STDOUT, '>', '/dev/null';
        exec 'curl', '-skN', '--http2', '--max-time', 1, "$tls/c?drip=10000:20";
    }
    waitpid $pid, 0;
    # All four processes are free again soon: four requests at the same time take as long as one.
    wait_for { my $four = Fcgipm::load($h, path => '/c?sleep=300', clients => 4, requests => 4); $four->{ok} == 4 } 10, 'four are served';
    my $begin = time;
    my $four = Fcgipm::load($h, path => '/c?sleep=500', clients => 4, requests => 4);
    is $four->{ok}, 4, 'four at the same time';
    cmp_ok time - $begin, '<', 1.5, 'by four processes';
};
$h->stop;
done_testing;
