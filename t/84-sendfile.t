# SPDX-License-Identifier: Apache-2.0
# X-Sendfile and X-Accel-Redirect: httpd sends the file as any other (ranges, conditions, HEAD, compression, HTTP/2, a
# process that is free meanwhile, flat memory), and nothing but a regular file that is really below FcgiSendfile and that
# httpd's own rules allow, whatever is exchanged in between. The client sees neither field nor path.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp ();
use IO::Uncompress::Gunzip qw(gunzip);
use POSIX qw(mkfifo);
use Time::HiRes qw(time);
use Fcgipm;

need('curl', 'php-cgi');
my $actor = app_built('actor.c');
my $h2 = ($ENV{FCGIPM_MPM} // '') ne 'prefork'; # mod_http2 does not support that one
my $dir = File::Temp::tempdir('/tmp/fcgipm-send-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my $files = "$dir/files";
my $text = join '', map { $_ % 64 == 63 ? "\n" : chr(ord('a') + $_ % 26) } 0 .. 99_999;
sub put { my ($name, $content) = @_; open my $f, '>:raw', "$dir/$name" or die "$dir/$name: $!"; print {$f} $content; close $f }
mkdir "$dir/$_", 0755 for qw(files files/good files/denied files/ht files/run files2 outside outside/good later);
put("files/$_", $text) for qw(a.txt page.html noext plain.gz), 'with blank.txt', '50%20off.txt', '100%.txt';
put($_, 'SECRET') for qw(outside/secret.txt outside/good/x.txt files2/x.txt later/x.txt files/denied/x.txt files/ht/x.txt files/mine.txt);
put('files/good/x.txt', 'INSIDE');
put('files/run/x.txt', 'INSIDE');
put('files/empty.txt', '');
put('files/ht/.htaccess', "Require all denied\n");
put('files/big.bin', '');
truncate "$files/big.bin", 1 << 30 or die;
chmod 0600, "$files/mine.txt";
mkfifo "$files/fifo", 0666;
chmod 0666, "$files/fifo";
symlink "$dir/outside/secret.txt", "$files/out.txt";
symlink "$dir/outside", "$files/outdir";
symlink 'a.txt', "$files/in.txt";
symlink "$files", "$dir/linked";

my $h = Fcgipm->httpd(
    ssl => 1, h2 => $h2, modules => ['include'],
    # AH01630: what httpd says of a rule of its own, AH10244: of a name with a stray percent sign
    expect_log => [qr/FPM0681/, qr/AH01630/, qr/AH10244/],
    conf => <<"EOC");
<FcgiServer c>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiSendfile $files
</FcgiServer>
<FcgiServer off>
    FcgiCommand $actor
    FcgiProcesses 1
</FcgiServer>
<FcgiServer one>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiSendfile $dir/linked "$dir/outside"
</FcgiServer>
<FcgiServer php>
    FcgiCommand /usr/bin/php-cgi -d zlib.output_compression=On
    FcgiProcesses 1
    FcgiSendfile $files "\@ROOT\@/htdocs"
</FcgiServer>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(c off one)]}
<FilesMatch "\\.php\$">
    FcgiPass php
</FilesMatch>
<Files "secret.php">
    Require all denied
</Files>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/z">
    FcgiPass c
    SetOutputFilter DEFLATE
</Location>
<Directory "$dir">
    Require all granted
    Options FollowSymLinks
</Directory>
<Directory "$files/denied">
    Require all denied
</Directory>
<Directory "$files/good">
    EnableSendfile On
    EnableMMAP Off
</Directory>
<Directory "$files/ht">
    AllowOverride AuthConfig
</Directory>
Alias "/protected" "$files"
Alias "/away" "$dir/outside"
<Location "/protected">
    Require expr "%{IS_SUBREQ} == 'true'"
</Location>
<Location "/protected/denied">
    Require all denied
</Location>
<Location "/protected/run">
    SetHandler fcgipm-status
</Location>
<Directory "\@ROOT\@/htdocs">
    Options +Includes
    AddOutputFilter INCLUDES .shtml
</Directory>
AddEncoding x-gzip .gz
EOC
{
    open my $f, '>', $h->root . '/htdocs/page.shtml' or die;
    print {$f} '[<!--#include virtual="/c?raw=' . esc("X-Sendfile: $files/good/x.txt\r\n\r\n") . '" -->]';
}

sub esc { my $t = shift; $t =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge; $t }
# An answer with these fields; content is what the application sends as its own body.
sub path_of { my ($pool, $head, $content) = @_; "/$pool?raw=" . esc($head =~ s/\n?$/\n\n/r . ($content // 'own body')) }
sub answer { my ($head, %o) = @_; $h->request($o{method} // 'GET', path_of($o{pool} // 'c', $head, $o{content}), %o) }
sub whole { my ($r, $what) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; ok $r->{body} eq $text, $what or diag $r->{raw_head} }
sub clean {
    my ($r, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    unlike "$r->{raw_head}\n$r->{body}", qr/X-Sendfile|X-Accel|X-Lighttpd|X-LiteSpeed|\Q$dir\E|SECRET|own body/i, "$what: no field, no path, no body of its own";
}

subtest 'a file' => sub {
    my $r = answer("X-Sendfile: $files/a.txt");
    is $r->{status}, 200, 'X-Sendfile';
    whole $r, 'is the file';
    is $r->{headers}{'content-length'}, length $text, 'Content-Length';
    is $r->{headers}{'content-type'}, 'text/plain', 'its type by httpd, when the application names none';
    is $r->{headers}{'accept-ranges'}, 'bytes', 'Accept-Ranges';
    ok $r->{headers}{$_}, $_ for qw(etag last-modified);
    clean($r, 'it');
    my $static = $h->request(GET => '/away/secret.txt');
    ok $static->{headers}{etag}, 'as a file has it that httpd serves itself';
    for my $name ('x-sendfile', 'X-LIGHTTPD-Send-File') {
        $r = answer("$name: $files/page.html");
        whole $r, $name;
        is $r->{headers}{'content-type'}, 'text/html', 'type';
        clean($r, $name);
    }
    is answer("X-Sendfile: $files/noext")->{headers}{'content-type'}, undef, 'no type is made up';
    is answer("X-Sendfile: $files/empty.txt")->{headers}{'content-length'}, 0, 'an empty one';
    whole answer("X-Sendfile: $files/in.txt"), 'a link that stays below';
    whole answer("X-Sendfile: $files/good/../a.txt"), '.. that stays below';
    whole answer("X-Sendfile: $files/with blank.txt"), 'a blank';
    whole answer("X-Sendfile: $files/with%20blank.txt"), 'an escape';
    whole answer("X-Sendfile: $files/50%2520off.txt"), 'an escaped percent sign';
    $r = answer("X-Sendfile:\nContent-Type: text/plain");
    is $r->{body}, 'own body', 'one without a value names no file';
    is $r->{headers}{'x-sendfile'}, undef, 'and goes no further';
    whole answer("X-Sendfile: $files/a.txt", content => 'x' x 5000), 'a long body of its own is thrown away';
    whole $h->get("/c?size=3000000&header=" . esc("X-Sendfile:$files/a.txt")), 'a very long one, too';
    whole $h->get("/c?sleep=150&header=" . esc("X-Sendfile:$files/a.txt")), 'after a wait (without a thread, where that is so)';
    my $raw = $h->raw(join '', map { "GET $_ HTTP/1.1\r\nHost: x\r\n\r\n" } (path_of('c', "X-Sendfile: $files/good/x.txt")) x 2, '/c?do=pid') =~ s/\r//gr;
    like $raw, qr/\n\nINSIDEHTTP.*\n\nINSIDEHTTP.*\n\n\d+\n/s, 'one after the other on a connection';
};

subtest 'fields of the application' => sub {
    my $r = answer("X-Sendfile: $files/a.txt\nContent-Type: application/x-own\nContent-Disposition: attachment; filename=b\nCache-Control: private\n"
            . "Set-Cookie: a=1\nSet-Cookie: b=2\nX-Mine: 1\nContent-Length: 3\nContent-Encoding: gzip\nContent-Range: bytes 0-2/3\nContent-MD5: x\nTransfer-Encoding: chunked");
    is $r->{status}, 200, 'status';
    whole $r, 'its Content-Length, Content-Encoding and Transfer-Encoding are those of its body';
    is $r->{headers}{'content-length'}, length $text, 'and the file has its own';
    is $r->{headers}{$_}, undef, "no $_" for qw(content-encoding content-range content-md5 transfer-encoding);
    is $r->{headers}{'content-type'}, 'application/x-own', 'its Content-Type stays';
    is $r->{headers}{'content-disposition'}, 'attachment; filename=b', 'Content-Disposition';
    is $r->{headers}{'cache-control'}, 'private', 'Cache-Control';
    is_deeply $r->{headers}{'set-cookie'}, ['a=1', 'b=2'], 'cookies';
    is $r->{headers}{'x-mine'}, 1, 'others';
    is answer("X-Sendfile: $files/plain.gz")->{headers}{'content-encoding'}, 'x-gzip', "an encoding that httpd knows by the file's name";
    $r = answer("X-Sendfile: $files/a.txt\nX-Accel-Redirect: /protected/page.html");
    is $r->{headers}{'content-type'}, 'text/plain', 'of two the first counts';
    clean($r, 'both');
};

subtest 'ranges and conditions' => sub {
    my $head = "X-Sendfile: $files/a.txt";
    my $whole = answer($head);
    my ($etag, $date) = @{$whole->{headers}}{qw(etag last-modified)};
    utime time - 5000, time - 5000, "$files/a.txt";
    $whole = answer($head);
    ($etag, $date) = @{$whole->{headers}}{qw(etag last-modified)};
    like $etag, qr/^"/, 'a strong tag';
    my $r = answer($head, headers => [Range => 'bytes=26-51']);
    is $r->{status}, 206, 'a range';
    is $r->{body}, substr($text, 26, 26), 'is right';
    is $r->{headers}{'content-range'}, 'bytes 26-51/100000', 'and says where';
    clean($r, 'a range');
    is answer($head, headers => [Range => 'bytes=-10'])->{body}, substr($text, -10), 'the end';
    like answer($head, headers => [Range => 'bytes=0-1,10-11'])->{body}, qr{Content-range: bytes 10-11/100000}i, 'two';
    is answer($head, headers => [Range => 'bytes=100000-'])->{status}, 416, 'outside';
    is answer($head, headers => [Range => 'bytes=0-1', 'If-Range' => $etag])->{status}, 206, 'If-Range with the tag';
    whole answer($head, headers => [Range => 'bytes=0-1', 'If-Range' => '"other"']), 'with another';
    is answer($head, headers => [Range => 'bytes=0-1', 'If-Range' => $date])->{status}, 206, 'with the date';
    $r = answer($head, headers => ['If-None-Match' => $etag]);
    is $r->{status}, 304, 'If-None-Match';
    is $r->{headers}{etag}, $etag, 'with the tag';
    clean($r, '304');
    is answer($head, headers => ['If-Modified-Since' => $date])->{status}, 304, 'If-Modified-Since';
    is answer($head, headers => ['If-None-Match' => '"other"'])->{status}, 200, 'another tag';
    is answer("Status: 200 Fine\n$head", headers => ['If-None-Match' => $etag])->{reason}, 'Not Modified', "the application's words are for its own status";
    is answer("Status: 200 Fine\n$head", headers => [Range => 'bytes=0-1'])->{reason}, 'Partial Content', 'only';
    $r = answer("$head\nSet-Cookie: a=1", headers => ['If-Match' => '"other"']);
    is $r->{status}, 412, 'If-Match';
    clean($r, '412');
    $r = answer("$head\nETag: \"own\"\nLast-Modified: Mon, 05 Jan 2026 10:00:00 GMT");
    is $r->{headers}{etag}, '"own"', "the application's own tag";
    is $r->{headers}{'last-modified'}, 'Mon, 05 Jan 2026 10:00:00 GMT', 'and date';
    is answer("$head\nETag: \"own\"", headers => ['If-None-Match' => '"own"'])->{status}, 304, 'count';
    is answer("$head\nETag: \"own\"", headers => ['If-None-Match' => $etag])->{status}, 200, "and the file's does not";
};

subtest 'methods and states' => sub {
    my $r = answer("X-Sendfile: $files/a.txt", method => 'HEAD');
    is $r->{status}, 200, 'HEAD';
    is $r->{headers}{'content-length'}, length $text, 'says how long';
    is $r->{body}, '', 'and no more';
    clean($r, 'HEAD');
    $r = answer("X-Sendfile: $files/a.txt", method => 'POST', body => 'abc', headers => [Range => 'bytes=1-2', 'If-None-Match' => '*']);
    is $r->{status}, 200, 'POST';
    whole $r, 'has the file whole';
    whole answer("X-Sendfile: $files/a.txt", http => '1.0'), 'HTTP/1.0';
    $r = answer("Status: 206\nContent-Range: bytes 0-2/3\nX-Sendfile: $files/a.txt");
    is $r->{status}, 200, '206 of the application';
    whole $r, 'is for httpd to say';
    is answer("Status: 206\nX-Sendfile: $files/a.txt", headers => [Range => 'bytes=1-2'])->{body}, substr($text, 1, 2), 'and it does';
    $r = answer("Status: 404 Nowhere\nX-Sendfile: $files/page.html", headers => [Range => 'bytes=1-2']);
    is $r->{status}, 404, 'another status stays';
    is $r->{reason}, 'Nowhere', 'with its words';
    whole $r, 'and the file is whole';
    for my $status (204, 304) {
        $r = answer("Status: $status\nX-Sendfile: $dir/outside/secret.txt");
        is $r->{status}, $status, "$status has no body, and no file is looked at";
        clean($r, $status);
    }
    $r = answer("Location: http://other.example/\nX-Sendfile: $files/a.txt", content => 'a page');
    is $r->{status}, 302, 'a redirect is one';
    is $r->{body}, 'a page', 'with its page';
    clean($r, 'a redirect');
};

subtest 'X-Accel-Redirect' => sub {
    is $h->get('/protected/a.txt')->{status}, 403, 'a place that is not for clients';
    for my $name ('X-Accel-Redirect', 'x-litespeed-location') {
        my $r = answer("$name: /protected/page.html?x=y");
        is $r->{status}, 200, $name;
        whole $r, 'is the file';
        is $r->{headers}{'content-type'}, 'text/html', 'with its type';
        clean($r, $name);
    }
    whole answer('X-Accel-Redirect: /protected/with%20blank.txt'), 'an escape';
    is answer('X-Accel-Redirect: /protected/a.txt', headers => [Range => 'bytes=1-2'])->{status}, 206, 'a range';
    whole answer('X-Accel-Redirect: /protected/100%25.txt'), 'a percent sign';
    is answer('X-Accel-Redirect: /away/secret.txt', pool => 'one')->{body}, 'SECRET', 'another directory';
};

# Log lines are read from here on: [field, value, reason].
my @refused = (
    ['X-Sendfile', "$dir/outside/secret.txt", qr/its place \Q$dir\E\/outside\/secret\.txt is not below FcgiSendfile/, 'a file elsewhere'],
    ['X-Sendfile', '/etc/passwd', qr/not below/, 'one that all can read'],
    ['X-Sendfile', '/dev/zero', qr/not below/, 'a device'],
    ['X-Sendfile', "$files/../outside/secret.txt", qr/not below/, '..'],
    ['X-Sendfile', "$files/%2e%2e/outside/secret.txt", qr/not below/, 'an escaped ..'],
    ['X-Sendfile', "$files/out.txt", qr/its place \Q$dir\E\/outside\/secret\.txt is not below/, 'a link to a file elsewhere'],
    ['X-Sendfile', "$files/outdir/secret.txt", qr/not below/, 'a link to a directory elsewhere'],
    ['X-Sendfile', "$dir/files2/x.txt", qr/not below/, 'a directory whose name begins alike'],
    ['X-Sendfile', $files, qr/not below/, 'the directory itself'],
    ['X-Sendfile', "$files/good", qr/not a regular file/, 'a directory'],
    ['X-Sendfile', "$files/nothing", qr/cannot be found \(No such file/, 'nothing'],
    ['X-Sendfile', "$files/a.txt/", qr/cannot be found \(Not a directory/, 'a file as a directory'],
    ['X-Sendfile', "$files/a.txt%00.png", qr/not a full path/, 'a NUL'],
    ['X-Sendfile', 'files/a.txt', qr/not a full path/, 'a relative path'],
    ['X-Sendfile', "$files/fifo", qr/not a regular file/, 'a FIFO'],
    ['X-Sendfile', "$files/100%.txt", qr/own rules answer 400/, 'a name that httpd cannot look up'],
    ['X-Sendfile', "$files/denied/x.txt", qr/own rules answer 403/, 'Require all denied'],
    ['X-Sendfile', "$files/ht/x.txt", qr/own rules answer 403/, '.htaccess'],
    ['X-Sendfile', "$files/ht/.htaccess", qr/own rules answer 403/, '.htaccess itself'],
    ($> ? () : ['X-Sendfile', "$files/mine.txt", qr/cannot read it \(Permission denied/, "a file that httpd's user cannot read"]),
    ['X-Accel-Redirect', '/away/secret.txt', qr/not below/, 'a place elsewhere'],
    ['X-Accel-Redirect', '/protected/out.txt', qr/not below/, 'a link'],
    ['X-Accel-Redirect', '/protected/outdir/secret.txt', qr/not below/, 'a link to a directory'],
    ['X-Accel-Redirect', '/protected/../away/secret.txt', qr/not below/, '..'],
    ['X-Accel-Redirect', '/protected/denied/x.txt', qr/own rules answer 403/, 'denied'],
    ['X-Accel-Redirect', '/protected/run/x.txt', qr/a handler answers there/, 'a handler'],
    ['X-Accel-Redirect', '/c?do=pid', qr/a handler answers there/, 'the application itself'],
    ['X-Accel-Redirect', '/protected/nothing', qr/no such file/, 'nothing'],
    ['X-Accel-Redirect', '/protected/a.txt/more', qr/no such file/, 'more than a file'],
    ['X-Accel-Redirect', 'http://other.example/', qr/not a path of this server/, 'another server'],
    ['X-Accel-Redirect', "$files/a.txt", qr/no such file|own rules answer 40[34]/, 'a path of the file system'],
);
subtest 'refused' => sub {
    my $failed = $h->status('c')->{counters}{failed};
    for my $case (@refused) {
        my ($field, $value, $reason, $what) = @$case;
        my $from = length $h->log;
        my $begin = time;
        my $r = answer("$field: $value\nContent-Type: text/plain\nX-Mine: 1\nSet-Cookie: a=1\nETag: \"own\"", timeout => 10);
        is $r->{status}, 502, "$field, $what";
        cmp_ok time - $begin, '<', 5, 'at once';
        clean($r, $what);
        is $r->{headers}{$_}, undef, "no $_ of it" for qw(x-mine set-cookie);
        my @lines = grep { /FPM0681/ } split /\n/, substr $h->log, $from;
        is scalar @lines, 1, 'one line';
        like $lines[0] // '', qr/FPM0681: pool c slot \d+ pid [1-9]\d*: \Q$field\E \Q$value\E: .*; answered 502/, 'who, which, what next';
        like $lines[0] // '', $reason, 'and why';
    }
    is $h->status('c')->{counters}{failed} - $failed, scalar @refused, 'counted';
    is scalar(() = $h->workers('c')), 2, 'the processes are well';
    whole answer("X-Sendfile: $files/a.txt"), 'and a right one is served';
};

subtest 'PHP, a script that is a file' => sub {
    my $htdocs = $h->root . '/htdocs';
    my $script = sub {
        my ($code) = @_;
        open my $f, '>', "$htdocs/send.php" or die;
        print {$f} "<?php $code echo str_repeat('own body ', 1000);";
        close $f;
        return $h->get('/send.php', headers => ['Accept-Encoding' => 'gzip']);
    };
    my $r = $script->('');
    is $r->{headers}{'content-encoding'}, 'gzip', 'its answers are compressed';
    $r = $script->("header('X-Sendfile: $files/a.txt');");
    whole $r, 'and this file is not';
    is $r->{headers}{'content-encoding'}, undef, 'and not said to be';
    like $r->{headers}{'content-type'}, qr{^text/html}, 'PHP says a type';
    $r = $script->("header('X-Sendfile: $files/a.txt'); header('Content-Type:');");
    is $r->{headers}{'content-type'}, 'text/plain', 'unless it is told not to';
    $r = $script->("header('X-Sendfile: $htdocs/send.php');");
    like $r->{body}, qr/^<\?php/, 'a script that is named as a file is one, also beside the one that names it';
    $r = $script->("header('X-Accel-Redirect: /send.php');");
    is $r->{status}, 502, 'by its URL it is not';
    clean($r, 'a script');
    system 'cp', "$htdocs/send.php", "$htdocs/secret.php";
    $r = $script->("header('X-Sendfile: $htdocs/secret.php');");
    is $r->{status}, 502, 'a rule for the name of a file';
    clean($r, 'a denied script');
};

subtest 'without FcgiSendfile' => sub {
    my $r = answer("Content-Type: text/plain\nX-Sendfile: /some/where\nX-Accel-Redirect: /else", pool => 'off');
    is $r->{status}, 200, 'it is an answer as any';
    is $r->{body}, 'own body', 'with its body';
    is $r->{headers}{'x-sendfile'}, '/some/where', 'and its fields, which may be for another server';
    is $r->{headers}{'x-accel-redirect'}, '/else', 'both';
};

subtest 'a root that is a link' => sub {
    whole answer("X-Sendfile: $files/a.txt", pool => 'one'), 'the real name';
    whole answer("X-Sendfile: $dir/linked/a.txt", pool => 'one'), 'the name of the link';
    unlink "$dir/linked";
    symlink "$dir/files2", "$dir/linked";
    is answer("X-Sendfile: $dir/linked/x.txt", pool => 'one')->{status}, 502, 'it is another now: that counts at the next reload';
    whole answer("X-Sendfile: $files/a.txt", pool => 'one'), 'the directory that was meant is';
};

subtest 'exchanged between look and open' => sub {
    # A link to a file, and a link to a directory, changed as fast as this goes.
    my $swapper = fork // die;
    if (!$swapper) {
        $SIG{ALRM} = sub { POSIX::_exit(0) };
        alarm 20;
        for (my $i = 0;; $i++) {
            my $to = $i % 2 ? $files : "$dir/outside";
            symlink $i % 2 ? "$files/good/x.txt" : "$dir/outside/secret.txt", "$files/.race.txt" or POSIX::_exit(1);
            rename "$files/.race.txt", "$files/race.txt";
            symlink $to, "$files/.race";
            rename "$files/.race", "$files/race";
        }
    }
    my %seen;
    my $end = time + 1.5;
    my $bad = '';
    while (time < $end || ($end + 10 > time && (($seen{200} // 0) < 20 || ($seen{502} // 0) < 20))) {
        for my $head ("X-Sendfile: $files/race.txt", "X-Sendfile: $files/race/good/x.txt", 'X-Accel-Redirect: /protected/race.txt') {
            my $r = answer($head);
            $seen{$r->{status}}++;
            $bad ||= "$r->{status} $r->{body}" if $r->{status} == 200 ? $r->{body} ne 'INSIDE' : $r->{body} =~ /SECRET|INSIDE/;
        }
    }
    kill KILL => $swapper;
    waitpid $swapper, 0;
    is $bad, '', 'never the file outside';
    cmp_ok $seen{200} // 0, '>=', 20, 'the one inside was seen';
    cmp_ok $seen{502} // 0, '>=', 20, 'and the other refused';
    is_deeply [grep { !/^(?:200|502)$/ } keys %seen], [], 'nothing else';
};

# ... and at the moments between: what the rules were asked for is what is held, or nothing is sent.
subtest 'exchanged in between, at the wrong moment' => sub {
    plan skip_all => 'a sanitizer wants to be the first that is preloaded' if $ENV{FCGIPM_PRELOAD};
    mkdir "$files/swap";
    chmod 0777, "$files/swap";    # (httpd does it itself: t/apps/swap.so.c)
    my $h = Fcgipm->httpd(env => {LD_PRELOAD => Fcgipm::preload('swap.so.c')}, expect_log => [qr/FPM0681/], conf =>
            "<FcgiServer c>\n    FcgiCommand $actor\n    FcgiProcesses 1\n    FcgiSendfile $files\n</FcgiServer>\n<Location /c>\n    FcgiPass c\n</Location>\n"
            . "<Directory \"$dir\">\n    Require all granted\n</Directory>\nAlias /protected \"$files\"\n");
    for my $case (["X-Sendfile: $files/swap/x.swap", before => 200, 'SECOND'], ["X-Sendfile: $files/swap/x.swap", after => 502],
        ['X-Accel-Redirect: /protected/swap/x.swap', before => 502], ['X-Accel-Redirect: /protected/swap/x.swap', after => 200, 'FIRST']) {
        my ($head, $when, $status, $body) = @$case;
        put('files/swap/x.swap', 'FIRST');
        put("files/swap/x.swap.$when", 'SECOND');
        my $r = $h->get(path_of('c', $head));
        is $r->{status}, $status, "$head, exchanged $when it is held";
        is $r->{body}, $body, 'one of the two, and the one that was judged' if $body;
        unlike $r->{body}, qr/FIRST|SECOND/, 'neither' unless $body;
        is do { local (@ARGV, $/) = "$files/swap/x.swap"; <> }, 'SECOND', '(it was exchanged)';
    }
    is scalar(() = $h->log =~ /FPM0681: .*x\.swap: it was exchanged meanwhile; answered 502/g), 2, 'the log says why';
    $h->stop;
};

sub high_water { my $most = 0; for ($h->children) { my ($kb) = Fcgipm::proc_file($_, 'status') =~ /^VmHWM:\s+(\d+)/m; $most = $kb if ($kb // 0) > $most } $most }
subtest 'a gigabyte' => sub {
    my $path = path_of('one', "X-Sendfile: $files/big.bin");
    is $h->get($path, headers => [Range => 'bytes=1073741820-'])->{headers}{'content-range'}, 'bytes 1073741820-1073741823/1073741824', 'its end';
    my ($pid) = $h->workers('one');
    my $before = high_water();
    my $s = $h->connect;
    print {$s} "GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    my ($got, $error) = Fcgipm::read_all($s, 20, sub { length ${$_[0]} > 65536 });
    like $got, qr/^HTTP\/1\.1 200 .*\r\nContent-Length: 1073741824\r\n/s, 'is on its way';
    for (1 .. 3) {
        my $r = $h->get('/one?do=pid', timeout => 10);
        is $r->{body}, "$pid\n", 'meanwhile its process, the only one, answers others';
    }
    my ($count, $n) = (length($got) - index($got, "\r\n\r\n") - 4);
    $count += $n while $n = sysread $s, $got, 1 << 20;
    is $count, 1 << 30, 'it comes whole';
    cmp_ok high_water() - $before, '<', 32_768, 'no child of httpd has taken 32 MB for it';
    $s = $h->connect;
    print {$s} "GET $path HTTP/1.1\r\nHost: x\r\n\r\n";
    sysread $s, $got, 1000;
    close $s;
    is $h->get('/one?do=pid')->{body}, "$pid\n", 'a client that leaves';
};

subtest 'compression, HTTP/2, TLS, a part of a page' => sub {
    my $r = $h->get('/z?raw=' . esc("X-Sendfile: $files/a.txt\n\n"), headers => ['Accept-Encoding' => 'gzip']);
    is $r->{headers}{'content-encoding'}, 'gzip', 'mod_deflate';
    my $plain;
    gunzip(\$r->{body} => \$plain);
    is $plain, $text, 'and the content is exact';
    clean($r, 'compressed');
    my $tls = 'https://127.0.0.1:' . $h->sslport;
    for my $option ('--http1.1', $h2 ? '--http2' : ()) {
        my $curl = "curl -sk --max-time 30 $option";
        my $path = path_of('c', "X-Sendfile: $files/a.txt");
        is `$curl '$tls$path'`, $text, "TLS, $option";
        is `$curl -r 26-51 '$tls$path'`, substr($text, 26, 26), 'a range';
        like `$curl -I '$tls$path'`, qr/^content-length: 100000\r$/mi, 'HEAD';
        my $said = `$curl -i '$tls@{[path_of('c', 'X-Sendfile: /etc/passwd')]}'`;
        like $said, qr/^HTTP\S+ 502/, 'refused';
        unlike $said, qr/x-sendfile|passwd/i, 'and nothing is seen of it';
    }
    is $h->get('/page.shtml')->{body}, '[INSIDE]', 'included in a page';
};

subtest 'a reload' => sub {
    my $pids = join ' ', sort $h->workers('c');
    is answer("X-Sendfile: $dir/later/x.txt")->{status}, 502, 'not yet';
    my $conf = $h->slurp('httpd.conf') =~ s/(FcgiSendfile \Q$files\E)\n/$1 $dir\/later\n/r;
    open my $f, '>', $h->root . '/httpd.conf' or die;
    print {$f} $conf;
    close $f;
    $h->graceful;
    wait_for { answer("X-Sendfile: $dir/later/x.txt")->{status} == 200 } 10, 'another directory is served';
    is join(' ', sort $h->workers('c')), $pids, 'by the same processes';
};
$h->stop;

# Twelve at a time on four threads of httpd.
SKIP: {
    skip 'requests hold threads here', 1 if ($ENV{FCGIPM_MPM} // 'event') ne 'event' || ($ENV{FCGIPM_ASYNC} // 'Auto') eq 'Off';
    $h = Fcgipm->httpd(
        mpm_conf => "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nThreadLimit 4\nMaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4\nAsyncRequestWorkerFactor 300\n",
        expect_log => [qr/FPM0681/],
        conf => "<FcgiServer many>\n    FcgiCommand $actor\n    FcgiEnv ACTOR_THREADS 16\n    FcgiConcurrency 16\n    FcgiProcesses 1\n    FcgiSendfile $files\n</FcgiServer>\n"
            . "<Location \"/many\">\n    FcgiPass many\n</Location>\n<Directory \"$dir\">\n    Require all granted\n</Directory>\n");
    my $path = '/many?sleep=1500&header=' . esc('X-Sendfile:');
    my $begin = time;
    my $refused = $h->load(clients => 2, requests => 2, background => 1, path => $path . esc('/etc/passwd'), check => sub { $_[0]{status} == 502 && $_[0]{body} !~ /root/ });
    my $sent = $h->load(clients => 10, requests => 10, path => $path . esc("$files/a.txt"), check => sub { $_[0]{status} == 200 && $_[0]{body} eq $text });
    is $sent->{ok}, 10, 'those that waited without a thread get their file';
    is $refused->()->{ok}, 2, 'or 502';
    cmp_ok time - $begin, '<', 4.4, 'all at the same time: with a thread each it would be three times';
    $h->stop;
}

for my $case (
    ['files', qr/FcgiSendfile files: not a full path; write the full path of the directory/],
    ['/', qr/FcgiSendfile \/: that is every file; write the full path of the directory/],
    ["$dir/none", qr/<FcgiServer x> FcgiSendfile \Q$dir\E\/none: there is no such directory/],
    ["$files/a.txt", qr/FcgiSendfile \Q$files\E\/a\.txt: there is no such directory/],
    ['', qr/write: FcgiSendfile \/directory \.\.\./],
) {
    my ($status, $said) = Fcgipm->configtest(conf => "<FcgiServer x>\n    FcgiCommand $actor\n    FcgiSendfile $case->[0]\n</FcgiServer>\n");
    isnt $status, 0, "FcgiSendfile $case->[0]: refused";
    like $said, $case->[1], 'and says what is right';
}
done_testing;
