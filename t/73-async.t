# SPDX-License-Identifier: Apache-2.0
# Waiting holds no thread: requests that wait for a process, for its answer, for the client's body, or for a client that
# reads slowly, on one httpd child of four threads. Each condition is one that a server whose requests hold threads cannot
# reach (more requests at a time than threads), so no time is measured. FCGIPM_ASYNC=Off and other MPMs: what must hold there too.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Digest::MD5 qw(md5_hex);
use IO::Select;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Time::HiRes qw(time sleep);
use Fcgipm;
use FakeWorker;

my $mpm = $ENV{FCGIPM_MPM} // 'event';
my $async = $mpm eq 'event' && ($ENV{FCGIPM_ASYNC} // 'Auto') ne 'Off';
my $actor = app_built('actor.c');
my $fake_dir = File::Temp::tempdir('/tmp/fcgipm-fake-XXXXXX', CLEANUP => 1);
chmod 0755, $fake_dir;
# Answers each STDIN record as it comes.
my $fake = FakeWorker->new(socket => "$fake_dir/x.sock", concurrent => 8, script => sub {
    my ($c) = @_;
    my $id;
    while (my $r = $c->recv_record) {
        if ($r->{type} == FCGI_BEGIN_REQUEST()) { $id = $r->{id}; $c->stdout("Content-Type: text/plain\r\n\r\n", $id) }
        next unless $r->{type} == FCGI_STDIN();
        if (!length $r->{content}) { $c->stdout('end', $id); $c->end($id); return }
        $c->stdout("<$r->{content}>", $id);
    }
});

sub slow_linger { my ($on) = @_; open my $f, '+<', "$fake_dir/slow" or die; print {$f} $on; close $f }
{ open my $f, '>', "$fake_dir/slow" or die; print {$f} 0 }

my $h = Fcgipm->httpd(
    env => {LD_PRELOAD => Fcgipm::preload('slowlinger.so.c'), SLOWLINGER => "$fake_dir/slow"},
    ($async ? (mpm_conf => "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nThreadLimit 4\nMaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4\nAsyncRequestWorkerFactor 300\n") : ()),
    modules => [qw(cache cache_disk include actions)],
    expect_log => [qr/FPM0613/, qr/FPM0318/, qr/FPM0315/, qr/FPM0601/, qr/FPM0675/],
    conf => <<"EOC");
Timeout 120
<FcgiServer many>
    FcgiCommand $actor
    FcgiEnv ACTOR_THREADS 64
    FcgiConcurrency 64
    FcgiProcesses 1
    FcgiTimeout stop=1s
</FcgiServer>
<FcgiServer few>
    FcgiCommand $actor
    FcgiProcesses 4
    FcgiTimeout queue=60s
</FcgiServer>
<FcgiServer two>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiTimeout read=1s queue=60s
</FcgiServer>
<FcgiServer nofile>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiResponseBuffer memory=64K file=0
</FcgiServer>
<FcgiServer stream>
    FcgiConnect @{[$fake->connect_string]}
    FcgiRequestBuffering Off
    FcgiConcurrency 8
</FcgiServer>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(many few two nofile stream)]}
<Directory "\@ROOT\@/htdocs/site">
    AllowOverride FileInfo Indexes Options=Includes
    Options +Includes
    Require all granted
</Directory>
<FilesMatch "^index\\.fcgi\$">
    FcgiPass many
</FilesMatch>
<Location "/cached">
    FcgiPass many
    CacheEnable disk
    Header set Cache-Control max-age=60
</Location>
CacheRoot "\@ROOT\@/tmp"
CacheIgnoreNoLastMod On
CacheDefaultExpire 60
CacheQuickHandler Off
<Location "/broken">
    FcgiPass many
    ErrorDocument 404 /many?size=10
</Location>
ErrorDocument 404 /many?do=pid
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
sub write_file { my ($name, $text) = @_; open my $f, '>', $h->root . "/htdocs/$name" or die "$name: $!"; print {$f} $text; close $f }
write_file('static.txt', "static\n");
sub busy { my ($name) = @_; my $n = 0; my $p = $h->status($name); $n += $_->{seats}{busy} for @{$p->{workers}}; return $n }
wait_for { my $n = 0; $n += $_->{ready} for @{$h->status->{pools}}; $n >= 8 } 20, 'they run';

sub gone { return $h->status('many')->{counters}{client_gone} // 0 }
# Temporary files without a name that httpd has open.
sub temporary { return scalar grep { (readlink // '') =~ /fcgipm-body-\S+ \(deleted\)/ } map { glob "/proc/$_/fd/*" } $h->children }

# Many clients at once, as sockets that have asked.
sub ask {
    my ($n, $request, %o) = @_;
    return map {
        my $s = $h->connect;
        setsockopt $s, SOL_SOCKET, SO_RCVBUF, pack 'i', $o{rcvbuf} if $o{rcvbuf};
        print {$s} ref $request ? $request->($_) : $request;
        $s
    } 1 .. $n;
}
sub get { my ($path) = @_; return "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" }
sub take { return map { Fcgipm::parse((Fcgipm::read_all($_, 60))[0], 'GET') } @_ }
sub good { my ($re, @r) = @_; return scalar grep { $_->{status} == 200 && $_->{complete} && $_->{body} =~ $re } @r }

subtest 'waiting for answers' => sub {
    plan skip_all => 'threads are held here' unless $async;
    my @s = ask(60, get('/many?sleep=1500&do=pid'));
    wait_for { busy('many') == 60 } 20, '60 requests in the application';
    is $h->get('/static.txt')->{body}, "static\n", 'a static file meanwhile';
    is good(qr/^\d+\n$/, take(@s)), 60, '60 requests at a time on four threads';
    wait_for { busy('many') == 0 } 5;
};

subtest 'waiting for a process' => sub {
    plan skip_all => 'threads are held here' unless $async;
    my @s = ask(40, get('/few?sleep=200&do=pid'));
    wait_for { ($h->status('few')->{waiting} // 0) >= 20 } 20, 'they queue';
    is $h->get('/static.txt')->{body}, "static\n", 'a static file meanwhile';
    is good(qr/^\d+\n$/, take(@s)), 40, '40 requests in the queue of four processes, none lost';
    is $h->status('few')->{waiting}, 0, 'nobody waits any more';
};

subtest 'slow readers' => sub {
    my $n = $async ? 10 : 3;
    my $want = $h->get('/few?size=12000000')->{body};
    is length $want, 12000000, 'what they shall get';
    my @s = ask($n, get('/few?size=12000000'), rcvbuf => 65536);
    wait_for { my $done = ($h->status('few')->{done} // 0); busy('few') == 0 && IO::Select->new(@s)->can_read(0) == $n } 30, 'all processes are free, nobody has read';
    is temporary(), $n, 'their answers are in temporary files';
    is busy('few'), 0, "$n readers that have not read hold none";
    is $h->get('/few?size=10')->{status}, 200, 'others are served';
    is $h->get('/static.txt')->{body}, "static\n", 'also a static file';
    my @r = take(@s);
    is scalar(grep { $_->{complete} && $_->{body} eq $want } @r), $n, 'and each gets every byte';
        my ($closing) = ask(1, get('/few?size=12000000'), rcvbuf => 65536);
    wait_for { busy('few') == 0 } 10;
    close $closing;
    is $h->get('/few?size=10')->{status}, 200, 'one that leaves in the middle';
};

# In one look the MPM's listener sees more connections go than there are idle threads, and then a new one: nudge() in
# web/async.c. One connection more than threads: what it closes itself takes until they are idle again (slowlinger.so.c).
subtest 'httpd listens again' => sub {
    plan skip_all => 'that is the event MPM' unless $async;
    my ($child) = $h->children;
    my @s = ask(5, get('/static.txt'));
    is good(qr/^static$/, take(@s)), 5, 'five answers, whose connections linger';
    slow_linger(1);
    kill 'STOP', $child;
    close $_ for @s;
    my $new = $h->connect;
    print {$new} get('/static.txt');
    kill 'CONT', $child;
    my ($got) = Fcgipm::read_all($new, 10);
    slow_linger(0);
    is Fcgipm::parse($got, 'GET')->{body}, "static\n", 'the next client is heard';
};

subtest 'no file: the process waits' => sub {
    my ($s) = ask(1, get('/nofile?size=12000000'), rcvbuf => 65536);
    wait_for { busy('nofile') == 1 } 10;
    sleep 0.3; # it would be free by now, with a file
    is busy('nofile'), 1, 'as FcgiResponseBuffer says';
    my ($r) = take($s);
    is length $r->{body}, 12000000, 'and nothing is lost';
    ok $r->{complete}, 'to the end';
};

subtest 'slow uploaders' => sub {
    my $n = $async ? 40 : 3;
    my $body = join '', map { chr(33 + $_ % 90) } 1 .. 20000;
    my @s = ask($n, sub { "POST /few?do=sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20000\r\n\r\n" . substr $body, 0, 100 * $_[0] });
    is busy('few'), 0, "$n half sent bodies hold no process";
    is $h->get('/static.txt')->{body}, "static\n", 'and a static file is served';
    is $h->get('/few?size=10')->{status}, 200, 'and the application serves others';
    for my $i (1 .. $n) { print { $s[$i - 1] } substr $body, 100 * $i }
    is good(qr/^20000 \Q@{[md5_hex($body)]}\E/, take(@s)), $n, 'the bodies arrive whole';
    my @chunked = ask(2, "POST /few?do=sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4e2\r\n" . substr($body, 0, 1000));
    sleep 0.05;
    print {$_} substr($body, 1000, 250) . "\r\n" . sprintf("%x\r\n", 18750) . substr($body, 1250) . "\r\n0\r\n\r\n" for @chunked;
    is good(qr/^20000 \Q@{[md5_hex($body)]}\E/, take(@chunked)), 2, 'in chunks, too';
};

subtest 'FcgiRequestBuffering Off' => sub {
    my ($s) = ask(1, "POST /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    my ($got) = Fcgipm::read_all($s, 10, sub { ${$_[0]} =~ /<one>/ });
    like $got, qr/<one>/, 'an answer comes while the body does';
    print {$s} "3\r\ntwo\r\n";
    my ($more) = Fcgipm::read_all($s, 10, sub { ${$_[0]} =~ /<two>/ });
    like $more, qr/<two>/, 'both ways';
    print {$s} "0\r\n\r\n";
    my ($rest) = Fcgipm::read_all($s, 10);
    my $r = Fcgipm::parse($got . $more . $rest, 'POST');
    is $r->{body}, '<one><two>end', 'to the end';
    ok $r->{complete}, 'which is marked';
    my ($leaver) = ask(1, "POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello");
    Fcgipm::read_all($leaver, 10, sub { ${$_[0]} =~ /<hello>/ });
    close $leaver;
    wait_for { busy('stream') == 0 } 10, 'one that leaves in the middle of its body holds nothing';
    is $h->request(POST => '/stream', body => 'x' x 300_000)->{body} =~ tr/x//, 300_000, 'a long body';
};

subtest 'limits hold without a thread' => sub {
    my @s = ask($async ? 4 : 2, get('/two?hang=1'));
    my @r = take(@s);
    is scalar(grep { $_->{status} == 504 || $_->{status} == 503 } @r), scalar @s, 'read=';
    wait_for { $h->status('two')->{ready} == 2 } 10, 'replaced';
    ok $h->log_has(qr/FPM0613: pool two .*FcgiTimeout read=/), 'the log says so';
};

subtest 'a client that leaves' => sub {
    my @s = ask($async ? 20 : 2, get('/many?sleep=3000'));
    wait_for { busy('many') == @s } 10;
    close $_ for @s;
    is $h->get('/many?do=pid')->{status}, 200, 'others are served';
    wait_for { gone() >= @s } 10;
    cmp_ok gone(), '>=', scalar @s, 'it is noticed without a thread';
};

mkdir $h->root . '/htdocs/site';
write_file('site/index.fcgi', '');
write_file('site/page.html', "a page\n");
write_file('site/include.shtml', "<!--#include virtual=\"/many?size=5\" -->|");
write_file('site/.htaccess', "RewriteEngine On\nRewriteRule ^pretty/(.*)\$ /many?sleep=1000&do=pid [L]\n"
    . "AddType text/html .shtml\nAddOutputFilter INCLUDES .shtml\nFallbackResource /site/index.fcgi\n");
subtest 'what is in front of it' => sub {
    my $n = $async ? 30 : 2;
    my @s = ask($n, get('/site/pretty/1'));
    wait_for { busy('many') >= $n } 20, 'rewritten in .htaccess';
    is good(qr/^\d+\n$/, take(@s)), $n, "$n requests rewritten in .htaccess at a time";
    @s = ask($n, get('/site/nothing/here?sleep=1000&do=pid'));
    wait_for { busy('many') >= $n } 20, 'FallbackResource';
    is good(qr/^\d+\n$/, take(@s)), $n, "$n requests by FallbackResource at a time";
    is $h->get('/site/page.html')->{body}, "a page\n", 'a file is a file';
    my $r = $h->get('/site/include.shtml');
    like $r->{body}, qr/^.{5}\|$/s, 'an SSI include' or diag explain $r;
    $r = $h->get('/nowhere');
    is $r->{status}, 404, 'ErrorDocument: the status';
    like $r->{body}, qr/^\d+\n$/, 'and its body';
    my $first = $h->get('/cached?do=env&x=1')->{body};
    is $h->get('/cached?do=env&x=1')->{body}, $first, 'mod_cache: the second from the cache';
};

subtest 'pipelining' => sub {
    my $s = $h->connect;
    print {$s} map { "GET $_ HTTP/1.1\r\nHost: x\r\n" . ($_ eq '/few?size=7' ? "Connection: close\r\n" : '') . "\r\n" } '/many?sleep=100&size=5', '/static.txt', '/many?sleep=50&size=6', '/few?size=7';
    my ($got) = Fcgipm::read_all($s, 20);
    my @lengths = map { /Content-Length: (\d+)/i ? $1 : () } split /(?=HTTP\/1\.1 200)/, $got;
    is "@lengths", '5 7 6 7', 'in order';
};

subtest 'a graceful restart' => sub {
    my @s = ask($async ? 30 : 3, get('/many?sleep=1500&do=pid'));
    wait_for { busy('many') >= @s } 20;
    kill USR1 => $h->pid;
    is good(qr/^\d+\n$/, take(@s)), scalar @s, 'requests that wait are answered';
    wait_for { $h->generations == 2 } 20;
    wait_for { (eval { $h->get('/static.txt', timeout => 5)->{status} } // 0) == 200 } 20;
    is $h->get('/many?do=pid')->{status}, 200, 'and it goes on';
};
my @last = ask($async ? 20 : 2, get('/many?sleep=8000'));
wait_for { busy('many') >= @last } 20, 'some are left at the end';
system 'rm', '-rf', glob $h->root . '/tmp/*';
$h->stop;
$fake->stop;
done_testing;
