# SPDX-License-Identifier: Apache-2.0
# Real applications in five languages and seven ways: each says hello, gets its variables, takes a body, sends a large
# answer, a status and headers of its own, and writes to the error stream. Nobody is left when httpd stops.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Digest::MD5 qw(md5_hex);
use Fcgipm;

need('php-cgi', 'go');
my $actor = app_built('actor.c');
my $go = app_built('actor.go');
my ($fpm) = sort glob '/usr/sbin/php-fpm*';
need('php-fpm') unless $fpm;

my ($tcp, $tcp6) = (free_port(), free_port());
need('spawn-fcgi');
my $ipv6 = -e '/proc/net/if_inet6' && do { local $/; open my $f, '<', '/proc/net/if_inet6'; scalar(<$f> // '') =~ /^0{31}1 / };
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM0621: pool \S+ slot \d+ pid \d+: a line of (c|perl|fast|php|go|script)/, qr/FPM0621: pool (?:fpm|spawned) .*a line of (?:php|c)/],
    conf => <<"EOC");
<FcgiServer c>
    FcgiCommand $actor
</FcgiServer>
<FcgiServer perl>
    FcgiCommand /usr/bin/perl \@APPS@/actor.pl
</FcgiServer>
<FcgiServer fast>
    FcgiCommand \@APPS@/fast.pl
</FcgiServer>
<FcgiServer php>
    FcgiCommand /usr/bin/php-cgi
</FcgiServer>
<FcgiServer go>
    FcgiCommand $go
</FcgiServer>
<FcgiServer gotcp>
    FcgiConnect 127.0.0.1:$tcp
</FcgiServer>
<FcgiServer gotcp6>
    FcgiConnect [::1]:$tcp6
</FcgiServer>
<FcgiServer spawned>
    FcgiConnect unix:\@ROOT@/spawned.sock
</FcgiServer>
<Location "/gotcp6">
    FcgiPass gotcp6
</Location>
<Location "/spawned">
    FcgiPass spawned
</Location>
<FcgiServer fpm>
    FcgiConnect unix:\@ROOT@/fpm.sock
</FcgiServer>
<Location "/c">
    FcgiPass c
</Location>
<Location "/perl">
    FcgiPass perl
</Location>
<Location "/fast">
    FcgiPass fast
</Location>
<Location "/go">
    FcgiPass go
</Location>
<Location "/gotcp">
    FcgiPass gotcp
</Location>
Alias /php/ \@APPS@/
Alias /fpm/ \@APPS@/
Alias /script/ \@APPS@/
<Directory "\@APPS@">
    Require all granted
</Directory>
<LocationMatch "^/php/.*\\.php">
    SetHandler fcgipm:php
</LocationMatch>
<LocationMatch "^/fpm/.*\\.php">
    SetHandler fcgipm:fpm
</LocationMatch>
<Location "/script/">
    Options +ExecCGI
    SetHandler fcgipm-script
</Location>
EOC

# php-fpm and the Go program are somebody else's processes, as FcgiConnect is meant.
my @others;
sub spawn {
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>>', $h->root . '/others.log';
        open STDERR, '>&', \*STDOUT;
        exec @_ or POSIX::_exit(127);
    }
    push @others, $pid;
    return $pid;
}
END { my $st = $?; kill TERM => @others if @others; waitpid $_, 0 for @others; $? = $st }

{
    open my $conf, '>', $h->root . '/fpm.conf' or die;
    my ($user, $group) = $> ? (scalar getpwuid $>, scalar getgrgid $)) : ('www-data', 'www-data');
    print {$conf} "[global]\ndaemonize = no\nerror_log = ", $h->root, "/fpm.log\n[www]\n", $> ? '' : "user = $user\ngroup = $group\n",
        "listen = ", $h->root, "/fpm.sock\nlisten.mode = 0666\npm = static\npm.max_children = 4\n";
    close $conf;
}
spawn($fpm, '-n', '-F', '-y', $h->root . '/fpm.conf');
spawn($go, '-listen', "127.0.0.1:$tcp");
spawn($go, '-listen', "[::1]:$tcp6") if $ipv6;
spawn('spawn-fcgi', '-n', '-s', $h->root . '/spawned.sock', '-M', '0666', '--', $actor);
wait_for { -S $h->root . '/fpm.sock' } 10, 'php-fpm listens';
wait_for { -S $h->root . '/spawned.sock' } 10, 'spawn-fcgi listens';
wait_for { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$tcp") } 10, 'the Go program listens';

my %path = (
    c => ['/c', 'c'], perl => ['/perl', 'perl'], fast => ['/fast', 'fast'], go => ['/go', 'go'], gotcp => ['/gotcp', 'go'],
    php => ['/php/actor.php', 'php'], fpm => ['/fpm/actor.php', 'php'], spawned => ['/spawned', 'c'],
    $ipv6 ? (gotcp6 => ['/gotcp6', 'go']) : (), script => ['/script/script.pl', 'script'],
);
my $big = join '', map { chr(ord('a') + $_ % 26) } 0 .. 299_999;

for my $name (sort keys %path) {
    my ($path, $lang) = @{$path{$name}};
    subtest $name => sub {
        my $r = $h->get($path);
        is $r->{status}, 200, 'status' or diag explain $r;
        like $r->{body}, qr/^hello from $lang pid \d+$/, 'hello';
        ok $r->{complete}, 'complete';
        my ($pid) = $r->{body} =~ /pid (\d+)/;
        isnt $pid, undef, 'it says its pid';

        my $env = $h->get("$path?do=env", headers => ['X-Test' => 'some value'])->{body};
        like $env, qr/^HTTP_X_TEST=some value$/m, 'a header is a variable';
        like $env, qr/^REQUEST_METHOD=GET$/m, 'REQUEST_METHOD' unless $lang eq 'go';

        for my $body ('', 'x', $big) {
            my $echo = $h->request(POST => "$path?do=echo", body => $body, headers => ['Content-Type' => 'application/octet-stream']);
            is md5_hex($echo->{body}), md5_hex($body), length($body) . ' bytes there and back';
            is $echo->{headers}{'x-length'}, length $body, 'CONTENT_LENGTH';
        }
        my $sum = $h->request(POST => "$path?do=sum", body => $big, headers => ['Content-Type' => 'application/octet-stream']);
        is $sum->{body}, length($big) . ' ' . md5_hex($big) . "\n", 'sum of a body';

        my $want = join '', map { $_ % 64 == 63 ? "\n" : chr(ord('a') + $_ % 26) } 0 .. 199_999;
        $r = $h->get("$path?size=200000");
        is md5_hex($r->{body}), md5_hex($want), 'a large answer';
        ok $r->{complete}, 'complete';

        $r = $h->get("$path?status=418&header=X-One:1&header=X-Two:2");
        is $r->{status}, 418, 'its own status';
        is $r->{headers}{'x-one'}, 1, 'its own header';
        is $r->{headers}{'x-two'}, 2, 'and another';

        if ($lang ne 'go') { # Go's library has no error stream
            $h->get("$path?stderr=a%20line%20of%20$lang");
            ok $h->wait_log(qr/FPM0621: pool \S+ slot \d+ pid \d+: .*a line of $lang/, 5), 'a line of its error stream is in the log';
        }
    };
}

my %pids = map { $_ => [$h->workers($_)] } qw(c perl fast php go);
is scalar @{$pids{$_}}, 1, "$_ has one process" for sort keys %pids;

# php-cgi ends by itself after 500 requests when its environment says nothing else.
my $sum = $h->load(path => '/php/actor.php', clients => 1, requests => 600);
is $sum->{ok}, $sum->{sent}, '600 requests';
is scalar(grep { $_ == $pids{php}[0] } $h->workers('php')), 1, '... and php-cgi is still the same process';
is scalar(() = $h->workers('fpm')), 0, 'an external application has none of ours';
$h->stop;
done_testing;
