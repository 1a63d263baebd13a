# SPDX-License-Identifier: Apache-2.0
# fcgipmctl: what it shows, what it orders, what it refuses, and that nobody but root can; its man page and completion.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Socket::UNIX;
use JSON::PP ();
use Time::HiRes qw(time sleep);
use Fcgipm;

$ENV{FCGIPM_BUILD} //= 'build';
my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(loglevel => 'info', modules => ['log_config'], expect_log => [qr/FPM0602/, qr/FPM0601/, qr/FPM0316/, qr/FPM0302/, qr/FPM0673/, qr/FPM0317/], conf => <<"EOC");
<FcgiServer app>
    FcgiCommand $actor
    FcgiProcesses 2 4
</FcgiServer>
<FcgiServer slow>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiTimeout queue=10s
</FcgiServer>
<FcgiServer broken>
    FcgiCommand /bin/sh -c "echo first; echo second >&2; exit 42"
    FcgiProcesses 1
</FcgiServer>
<FcgiServer other>
    FcgiConnect unix:/nowhere/else.sock
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/app">
    FcgiPass app
</Location>
<Location "/slow">
    FcgiPass slow
</Location>
Listen 127.0.0.1:\@SSLPORT\@
<VirtualHost *:\@SSLPORT\@>
    ServerName second
    <FcgiServer app>
        FcgiCommand $actor
        FcgiProcesses 1
    </FcgiServer>
</VirtualHost>
<VirtualHost *:\@SSLPORT\@>
    ServerName third
    <FcgiServer twin>
        FcgiCommand $actor
        FcgiProcesses 1
    </FcgiServer>
</VirtualHost>
<VirtualHost *:\@SSLPORT\@>
    ServerName fourth
    <FcgiServer twin>
        FcgiCommand $actor
        FcgiProcesses 1
    </FcgiServer>
</VirtualHost>
EOC
my $port = $h->sslport;
wait_for { scalar(() = $h->workers('app')) == 3 } 10, 'they run';
wait_for { $h->log_has(qr/FPM0316: pool broken/) } 10, 'one does not';
my $pid = sub { my ($pool) = @_; $h->get("/$pool?do=pid")->{body} =~ /(\d+)/ ? $1 : 0 };

subtest 'status' => sub {
    my ($code, $said) = $h->ctl('status');
    is $code, 0, 'shows';
    like $said, qr/^mod_fcgipm \S+, manager pid \d+, configuration 1$/m, 'the manager';
    like $said, qr{^app +SERVING +2/4 +0/2 +0 +\d+ +0 +0 +-$}m, 'a pool on a line';
    like $said, qr{last trouble \(\d+s ago\): slot 0 pid \d+: did not start: exited with code 42 after \d+ ms \(the program had started\), last output "first \| second"}, 'the journey of what does not start';
    like $said, qr/of virtual host second:$port/, 'the virtual host';
    ($code, $said) = $h->ctl('status', 'slow');
    like $said, qr/SLOT +STATE.*\n +0 +READY +\d+/, 'one with its processes';
    unlike $said, qr/^app/m, 'and no other';
    ($code, $said) = $h->ctl('status', 'nobody');
    is $code, 1, 'a pool that is not there';
    ($code, $said) = $h->ctl('status', '--json');
    my $data = JSON::PP->new->decode($said);
    is scalar(@{$data->{pools}}), 7, 'JSON, all pools';
    ($code, $said) = $h->ctl('status', '--openmetrics');
    like $said, qr/^fcgipm_workers_ready\{pool="app",vhost=""\} 2$/m, 'OpenMetrics';
    my $out = qx(timeout -s INT 2 build/fcgipmctl -d @{[$h->root]}/run status --watch=0.2 2>&1);
    cmp_ok scalar(() = $out =~ /^mod_fcgipm/mg), '>=', 3, '--watch repeats it';
};

subtest 'pause and resume' => sub {
    is $h->get('/slow')->{status}, 200, 'it serves';
    my ($code, $said) = $h->ctl('pause', 'slow');
    is $code, 0, 'paused' or diag $said;
    my $waiting = $h->load(clients => 3, requests => 3, path => '/slow', background => 1);
    wait_for { $h->status('slow')->{waiting} == 3 } 5, 'requests wait';
    ok $h->status('slow')->{paused}, 'the status says so';
    like scalar(($h->ctl('status', 'slow'))[1]), qr/PAUSED/, 'fcgipmctl, too';
    ($code) = $h->ctl('resume', 'slow');
    is $code, 0, 'resumed';
    my $sum = $waiting->();
    is $sum->{ok}, 3, 'all are answered';
};

subtest 'drain and resume' => sub {
    my $running = $h->load(clients => 2, requests => 2, path => '/app?sleep=800', background => 1);
    wait_for { $h->status('app')->{workers}[0]{seats}{busy} + $h->status('app')->{workers}[1]{seats}{busy} == 2 } 5, 'two run';
    my ($code) = $h->ctl('drain', 'app@');
    is $code, 0, 'drained (app@ is the one of the main server)';
    my $r = $h->get('/app');
    is $r->{status}, 503, 'a further request is refused';
    ok $r->{headers}{'retry-after'}, 'Retry-After';
    is $running->()->{ok}, 2, 'those that ran are finished';
    wait_for { scalar(() = $h->workers('app')) == 1 } 10, 'the processes end (but not those of the other virtual host)';
    ok $h->log_has(qr/FPM0602: pool app: it is drained \(fcgipmctl resume app ends that\); answered 503/), 'the log says why';
    kill KILL => $h->manager;
    wait_for { $h->log_has(qr/FPM0644/) } 5;
    push @{$h->{expect_log}}, qr/FPM0644/;
    wait_for { $h->status->{manager}{starts} == 2 } 5, 'another manager';
    is $h->get('/app')->{status}, 503, 'still drained';
    ($code) = $h->ctl('resume', 'app@');
    is $code, 0, 'resumed';
    is $h->get('/app')->{status}, 200, 'and serves';
};

subtest 'scale' => sub {
    my ($code, $said) = $h->ctl('scale', 'app@', 3, 4);
    is $code, 0, 'scaled' or diag $said;
    wait_for { $h->status('app')->{ready} == 3 } 5, 'three processes';
    $h->graceful;
    is $h->status('app')->{min}, 3, 'still so after a reload';
    ($code) = $h->ctl('scale', 'app@', 1, 1);
    wait_for { my $p = (grep { $_->{name} eq 'app' && $_->{vhost} eq '' } @{$h->status->{pools}})[0]; $p->{ready} == 1 && @{$p->{workers}} == 1 } 15, 'and down to one';
    ($code, $said) = $h->ctl('scale', 'app@', 1, 9);
    is $code, 1, 'not beyond the configuration';
    like $said, qr/MAX from 1 to 4/, 'says why';
    ($code) = $h->ctl('scale', 'app@', 3, 2);
    is $code, 1, 'MIN > MAX';
};

subtest 'trace' => sub {
    my ($code) = $h->ctl('trace', 'on', 'slow');
    is $code, 0, 'on';
    wait_for { $h->status('slow')->{traced} } 5;
    $h->get('/slow?traced=1');
    ok $h->wait_log(qr/FPM0673: pool slow slot 0 pid \d+: trace > BEGIN_REQUEST id=1/, 3), 'what goes out';
    ok $h->wait_log(qr/trace > PARAMS id=1 .*=/, 3), 'with its content' or diag join "\n", grep /FPM0673/, split /\n/, $h->log;
    ok $h->wait_log(qr/trace < END_REQUEST id=1/, 3), 'what comes in';
    ($code) = $h->ctl('trace', 'off', 'slow');
    wait_for { !$h->status('slow')->{traced} } 5;
    my $before = () = $h->log =~ /FPM0673/g;
    $h->get('/slow');
    is scalar(() = $h->log =~ /FPM0673/g), $before, 'off';
};

subtest 'what is not understood' => sub {
    for (['frobnicate'], [], ['restart'], ['drain'], ['scale', 'app'], ['status', '--jsom'], ['trace', 'slow'], ['restart', 'app', '--timeout=x']) {
        my ($code, $said) = $h->ctl(@$_);
        is $code, 2, "fcgipmctl @$_";
        like $said, qr/usage: fcgipmctl/, 'says how';
    }
    my ($code, $said) = $h->ctl('restart', 'nobody');
    is $code, 1, 'a pool that is not there';
    like $said, qr/there is no pool nobody; `fcgipmctl status` lists them/, 'says so';
    ($code, $said) = $h->ctl('status', 'app', '--json');
    is_deeply [$code, do { my %n = map { $_->{name} => 1 } @{JSON::PP->new->decode($said)->{pools}}; keys %n }], [0, 'app'], 'status POOL --json is of that pool';
    ($code, $said) = $h->ctl('status', '--json', 'nobody');
    is $code, 1, 'of none: refused';
    ($code, $said) = $h->ctl('status', 'app', '--openmetrics');
    is $code, 2, '--openmetrics is of all';
    ($code, $said) = $h->ctl('restart', 'twin');
    is $code, 1, 'a name of two virtual hosts';
    like $said, qr/several virtual hosts.*twin\@third:$port.*twin\@fourth:$port|several virtual hosts.*twin\@fourth:$port.*twin\@third:$port/, 'says which';
    ($code, $said) = $h->ctl('restart', "twin\@third:$port");
    is $code, 0, 'one of them' or diag $said;
    ($code, $said) = $h->ctl('restart', 'other');
    is $code, 1, 'an application of somebody else';
    like $said, qr/FcgiConnect/, 'says why';
    ($code, $said) = $h->ctl('trace', 'maybe', 'slow');
    is $code, 1, 'neither on nor off';
};

subtest 'help' => sub {
    my ($code, $said) = $h->ctl('--help');
    is $code, 0, '--help';
    like $said, qr/$_ /, $_ for qw(status restart drain pause resume scale trace decode);
    my $man = do { local $/; open my $f, '<', 'conf/fcgipmctl.8' or die; <$f> };
    like $man, qr/^\.(?:BR|BI) \"? ?$_\b/m, "the man page has $_" for qw(status restart drain pause resume scale trace decode);
    is system('man --warnings -l conf/fcgipmctl.8 >/dev/null 2>&1'), 0, 'and is well-formed' if -x '/usr/bin/man';
};

subtest 'completion' => sub {
    my $complete = sub {
        my @words = @_;
        my $list = join ' ', map { "'$_'" } @words;
        my $root = $h->root;
        open my $f, '>', "$root/complete.sh" or die;
        print {$f} "export PATH=\$PWD/build:\$PATH\n. conf/fcgipmctl.bash\nCOMP_WORDS=($list)\nCOMP_CWORD=$#words\n_fcgipmctl\nprintf '%s\\n' \"\${COMPREPLY[\@]}\"\n";
        close $f;
        return join ' ', split /\n/, qx(bash $root/complete.sh 2>&1);
    };
    is $complete->('fcgipmctl', 're'), 'restart resume', 'commands';
    is $complete->('fcgipmctl', '-d', $h->root . '/run', 'restart', 's'), 'slow', 'pools';
    is $complete->('fcgipmctl', 'status', '--j'), '--json', 'options';
};

subtest 'decode' => sub {
    my $root = $h->root;
    open my $f, '>:raw', "$root/records" or die;
    print {$f} pack('CCnnCC a8', 1, 1, 1, 8, 0, 0, pack('nCx5', 1, 1)), pack('CCnnCC a*', 1, 6, 1, 5, 0, 0, 'hello');
    close $f;
    my $out = qx(build/fcgipmctl decode $root/records);
    is $?, 0, 'decoded';
    like $out, qr/^BEGIN_REQUEST id=1 .*role=RESPONDER.*\nSTDOUT id=1 .*hello/, 'a line for each record';
    $out = qx(printf '01 06 00 01 00 02 00 00 68 69' | build/fcgipmctl decode --hex);
    like $out, qr/^STDOUT id=1 .*hi/, 'from text';
    qx(printf 'GET / HTTP/1.0' | build/fcgipmctl decode 2>&1);
    is $? >> 8, 1, 'what is none is refused';
    qx(head -c 12 $root/records | build/fcgipmctl decode 2>&1);
    is $? >> 8, 1, 'half a record, too';
};

subtest 'nobody else' => sub {
    plan skip_all => 'needs root' if $>;
    my $socket = $h->root . '/run/control';
    my $ctl = $h->root . '/fcgipmctl'; # nobody may not enter this directory
    system('cp', (-x "$ENV{FCGIPM_BUILD}/fcgipmctl" ? "$ENV{FCGIPM_BUILD}/fcgipmctl" : 'build/fcgipmctl'), $ctl);
    is sprintf('%04o', (stat $socket)[2] & 07777), '0600', 'the socket is 0600';
    my $out = qx(su -s /bin/sh nobody -c "$ctl -d @{[$h->root]}/run status" 2>&1);
    is $? >> 8, 3, 'another user cannot';
    like $out, qr/only root/, 'and is told so';
    chmod 0666, $socket;
    $out = qx(su -s /bin/sh nobody -c "$ctl -d @{[$h->root]}/run restart slow" 2>&1);
    is $? >> 8, 3, 'not even with the socket open to all: the kernel says who he is';
    chmod 0600, $socket;
};

subtest 'a flood of connections' => sub {
    my @idle = map { IO::Socket::UNIX->new(Peer => $h->root . '/run/control') } 1 .. 30;
    is $h->get('/slow')->{status}, 200, 'requests do not notice';
    my ($victim) = $h->workers('slow');
    kill KILL => $victim;
    wait_for { my @w = $h->workers('slow'); @w == 1 && $w[0] != $victim } 5, 'nor the manager';
    push @{$h->{expect_log}}, qr/FPM0315/;
    @idle = ();
    wait_for { ($h->ctl('status'))[0] == 0 } 8, 'and it can be asked again';
};
$h->stop;
my ($code, $said) = $h->ctl('status');
is $code, 3, 'no manager there';
like $said, qr/is httpd running/, 'says so';
done_testing;
