# SPDX-License-Identifier: Apache-2.0
# What a review found (November 2026), each as it could be seen from outside: answers cut short and passed off as whole,
# bodies that lost their end, error documents with the wrong status, clients and processes that were given up for what
# others had done.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Digest::MD5 qw(md5_hex);
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Time::HiRes qw(time sleep);
use Fcgipm;
use FakeWorker;

my $mpm = $ENV{FCGIPM_MPM} // 'event';
my $async = $mpm eq 'event' && ($ENV{FCGIPM_ASYNC} // 'Auto') ne 'Off';
my $actor = app_built('actor.c');
my $dead = free_port();
my $fake_dir = File::Temp::tempdir('/tmp/fcgipm-fake-XXXXXX', CLEANUP => 1);
chmod 0755, $fake_dir;
# Closes without a word, and answers the next time.
my $second = FakeWorker->new(socket => "$fake_dir/second.sock", script => sub {
    my ($c) = @_;
    my $r = $c->recv_request or return;
    if (!-e "$fake_dir/flag") { open my $f, '>', "$fake_dir/flag"; return }
    unlink "$fake_dir/flag";
    $c->answer($r, "Content-Type: text/plain\r\n\r\nerror page\n");
});
# Little and often, for nine seconds.
my $often = FakeWorker->new(socket => "$fake_dir/often.sock", concurrent => 4, script => sub {
    my ($c) = @_;
    my $r = $c->recv_request or return;
    $c->stdout("Content-Type: text/plain\r\n\r\n", $r->{id});
    my $end = time + 9;
    while (time < $end) { $c->stdout('x' x 4096, $r->{id}) or return; sleep 0.0007 }
    $c->end($r->{id});
});
my @modules = (modules => ['headers'], h2 => 1);
my $h = Fcgipm->httpd(
    @modules,
    ($async ? (mpm_conf => "StartServers 1\nServerLimit 1\nThreadsPerChild 8\nThreadLimit 8\nMaxRequestWorkers 8\nMinSpareThreads 1\nMaxSpareThreads 8\nAsyncRequestWorkerFactor 300\n") : ()),
    expect_log => [qr/FPM0613/, qr/FPM0315/, qr/FPM0318/, qr/FPM0608/, qr/FPM0619/, qr/FPM0603/, qr/Request exceeded the limit of/, qr/AH00027/, qr/AH02430/, qr/AH02429/, qr/FPM0618/],
    conf => <<"EOC");
Timeout 60
Protocols h2c http/1.1
FcgiResponseMemory 1M
<FcgiServer app>
    FcgiCommand $actor
    FcgiProcesses 8
</FcgiServer>
<FcgiServer zero>
    FcgiCommand $actor
    FcgiProcesses 4
    FcgiResponseBuffer memory=0
</FcgiServer>
<FcgiServer hangs>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiTimeout read=1s stop=0
</FcgiServer>
<FcgiServer up>
    FcgiCommand $actor
    FcgiProcesses 4
    FcgiRequestBuffering Off
    FcgiTimeout request=2s
</FcgiServer>
<FcgiServer second>
    FcgiConnect @{[$second->connect_string]}
</FcgiServer>
<FcgiServer often>
    FcgiConnect @{[$often->connect_string]}
</FcgiServer>
<FcgiServer dead>
    FcgiConnect 127.0.0.1:$dead
</FcgiServer>
@{[map { "<Location \"/$_\">\nFcgiPass $_\n</Location>\n" } qw(app zero hangs up second often dead)]}
<Location "/refused">
    FcgiPass app
    Header set X-Bad "expr=%{unbase64:AQ==}"
</Location>
<Location "/missing">
    ErrorDocument 404 /second/404
</Location>
<Location "/hangs">
    ErrorDocument 504 /hangs?hang=1&again=1
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Directory "\@ROOT\@/htdocs/site">
    AllowOverride FileInfo
    Require all granted
</Directory>
<VirtualHost *:\@PORT\@>
    ServerName first
    Timeout 2
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName second
    Timeout 30
</VirtualHost>
# Without a KeepAliveTimeout of its own the event MPM takes the first one's Timeout for what httpd itself still holds.
<VirtualHost *:\@PORT\@>
    ServerName patient
    Timeout 30
    KeepAliveTimeout 5
</VirtualHost>
EOC
mkdir $h->root . '/htdocs/site';
{ open my $f, '>', $h->root . '/htdocs/site/.htaccess' or die; print {$f} "RewriteEngine On\nRewriteRule ^pretty/(.*)\$ /app?do=sum [L]\n" }
wait_for { ; my $n = 0; $n += $_->{ready} for @{$h->status->{pools}}; $n >= 18 } 20;

my $port = $h->port;
sub ask { my ($text, %o) = @_; my $s = $h->connect; setsockopt $s, SOL_SOCKET, SO_RCVBUF, $o{rcvbuf} if $o{rcvbuf}; print {$s} $text; return $s }
sub whole { my ($s, $seconds) = @_; my ($got, $error) = Fcgipm::read_all($s, $seconds // 20); return wantarray ? ($got, $error) : $got }

subtest 'an answer that is partly in memory and partly in a file' => sub {
    my %bad;
    for my $pool (qw(app zero)) {
        for (my $n = $pool eq 'zero' ? 5000 : 240_000; $n <= ($pool eq 'zero' ? 150_000 : 300_000); $n += 5000) {
            my $got = `curl -s --http2-prior-knowledge -o /dev/null -w '%{size_download}' 'http://127.0.0.1:$port/$pool?size=$n'`;
            $bad{"$pool $n"} = $got if $got != $n;
        }
    }
    is_deeply \%bad, {}, 'HTTP/2: each is whole';
    for my $round (0, 1) {
        my @n = map { 3_900_000 + ($round * 25 + $_) * 8000 } 0 .. 24;
        my @s = map { ask("GET /app?size=$_ HTTP/1.1\r\nHost: patient\r\nConnection: close\r\n\r\n", rcvbuf => 65536) } @n;
        sleep 0.5;    # so long they do not read
        for my $i (0 .. $#n) {
            my ($got, $error) = whole($s[$i]);
            my $r = Fcgipm::parse($got, 'GET');
            $bad{$n[$i]} = length($r->{body}) . ($error || ($r->{complete} ? '' : ', and it shows')) if length $r->{body} != $n[$i];
        }
    }
    is_deeply \%bad, {}, 'HTTP/1.1, read slowly: each is whole';
};
subtest 'the body of a request that .htaccess rewrites' => sub {
    my $body = join '', map { chr(33 + $_ % 90) } 1 .. 20000;
    for my $close ("Connection: close\r\n", '') {
        my $s = ask("POST /site/pretty/x HTTP/1.1\r\nHost: second\r\n${close}Content-Length: 20000\r\n\r\n" . substr $body, 0, 5000);
        sleep 0.3;    # more than it waits for in its thread
        print {$s} substr $body, 5000;
        my ($got) = Fcgipm::read_all($s, 20, sub { ${$_[0]} =~ /20000 \w{32}/ });
        like $got, qr/20000 @{[md5_hex($body)]}/, $close ? 'comes whole' : 'and so on a kept connection';
        next if $close;
        print {$s} "GET /app?size=3 HTTP/1.1\r\nHost: second\r\nConnection: close\r\n\r\n";
        like whole($s), qr/^HTTP\/1.1 200 .*\r\n\r\n.{3}/s, 'which goes on';
    }
};
subtest 'error documents' => sub {
    my $r = $h->get('/missing/x');
    is "$r->{status} $r->{body}", "404 error page\n", 'one whose first try failed has the status of the error';
    my $before = () = $h->log =~ /FPM0613/g;
    $r = $h->get('/hangs?hang=1', timeout => 30);
    is $r->{status}, 504, 'one that hangs itself';
    is scalar(() = $h->log =~ /FPM0613/g) - $before, 2, 'is not asked for again';
};
subtest 'a client that reads slowly and steadily' => sub {
    my $s = ask("GET /often HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", rcvbuf => 131072);
    my ($begin, $total, $end) = (time, 0, '');
    while (time - $begin < 7.5) {
        my $n = sysread $s, my $buf, 16384;
        last if !$n;
        $total += $n;
        sleep 0.01;
    }
    cmp_ok time - $begin, ">", 7, "is not cut off after Timeout (2 s)";
};
subtest 'a client that stops' => sub {
    my $begin = time;
    my @s = map { [$_, ask("POST $_?do=sum HTTP/1.1\r\nHost: first\r\nConnection: close\r\nContent-Length: 1000\r\n\r\nabc")] } '/app', '/up';
    for (@s) {
        my ($got, $error) = whole($_->[1], 12);
        like $got, qr/^HTTP\/1.1 (?:408|400|50\d)/, "$_->[0]: a body that does not come has a limit";
    }
    cmp_ok time - $begin, '<', 9, 'which is Timeout';
    ok !$h->log_has(qr/FPM0315: pool up /), 'and no process is killed for it';
    my ($data, $error) = do { my $s = ask("GET /app?size=12000000 HTTP/1.0\r\nHost: first\r\n\r\n", rcvbuf => 65536); sleep 5; whole($s, 10) };
    ok length $data >= 12_000_000 || $error, 'an answer without a length that it does not take ends with a reset' if $mpm eq 'event' && $async;
};
subtest 'Timeout of another virtual host' => sub {
    plan skip_all => 'for requests that wait without a thread' unless $async;
    my $got = whole(ask("GET /app?sleep=4000&size=3 HTTP/1.1\r\nHost: second\r\nConnection: close\r\n\r\n"));
    like $got, qr/^HTTP\/1.1 200 /, 'does not end a request';
};
subtest 'an output filter that fails' => sub {
    for my $query ('size=10', 'size=100000', 'drip=3:100') {
        my $got = whole(ask("GET /refused?$query HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        like $got, qr/^HTTP\/1.1 500 /, "$query: the client gets httpd's page";
    }
    wait_for { ; my $busy = 0; $busy += $_->{seats}{busy} for @{$h->status('app')->{workers}}; $busy == 0 } 10;
    ok !$h->log_has(qr/FPM0315: pool app /), 'and no process is lost';
};
subtest 'an application that answers without reading' => sub {
    plan skip_all => 'for requests that wait without a thread' unless $async;
    my @s = map { ask("POST /up?noread=1&size=5 HTTP/1.1\r\nHost: second\r\nContent-Length: 200000\r\n\r\nhello") } 1 .. 8;
    my $begin = time;
    is $h->get('/none', timeout => 15)->{status}, 404, 'eight such requests on eight threads';
    cmp_ok time - $begin, '<', 2.5, 'hold none of them until Timeout';
};
subtest 'a TCP application that is not there' => sub {
    my ($child) = $h->children;
    my $cpu = sub { my @f = split ' ', (Fcgipm::proc_file($child, 'stat') =~ s/.*\) //sr); return ($f[11] + $f[12]) * 10 };
    my $before = $cpu->();
    is $h->get('/dead')->{status}, 503, 'is 503' for 1 .. 10;
    cmp_ok $cpu->() - $before, '<', 120, 'and costs no busy loop (25 ms each, once)' if $async;
};
$h->stop;
$_->stop for $second, $often;
done_testing;
