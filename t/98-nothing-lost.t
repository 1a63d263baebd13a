# SPDX-License-Identifier: Apache-2.0
# A storm: clients of many kinds, and meanwhile httpd is restarted gracefully in quick succession, definitions change, the
# module is exchanged (the same layout, another one), managers are killed, processes are recycled, httpd children come and
# go. Every request gets its exact 200. The one thing that a client has to repeat is a request on a connection that was
# kept, and closed before a byte of the answer came. Before it, what earlier storms found, one by one.
# FCGIPM_STORM=seconds (8; make -f Makefile.apxs check-storm: 600); FCGIPM_STORM_DO=graceful,define,... for some of it
# only; FCGIPM_STORM_KILL=1 kills processes and httpd children as well: then what is lost has to be told.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Copy qw(copy);
use Digest::MD5 qw(md5_hex);
use POSIX ();
use Socket;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $seconds = $ENV{FCGIPM_STORM} // 8;
my $mpm = $ENV{FCGIPM_MPM} // 'event';
my $actor = app_built('actor.c');
my $top = Cwd::getcwd();
my $ours = $ENV{FCGIPM_SO} // "$top/build/mod_fcgipm.so";
my $build = $ENV{FCGIPM_BUILD} // 'build';
my $extra = $build =~ /asan/ ? '-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer ' : '';
my $kills = $ENV{FCGIPM_STORM_KILL};
my @acts = split /,/, $ENV{FCGIPM_STORM_DO} // 'graceful,define,exchange,upgrade,manager';
{
    my $log = `make -s -f Makefile.apxs B=$build/other EXTRA='$extra-DFCGIPM_BOARD_VERSION=99u' $build/other/mod_fcgipm.so 2>&1`;
    is $?, 0, 'another version of the module' or diag $log;
}

# --- cases that a storm meets now and then ---

sub number_of { my ($h, $pool) = @_; my %n = map { (Fcgipm::proc_file($_, 'environ') =~ /(?:^|\0)NUMBER=(\d+)/)[0] // '?' => 1 } $h->workers($pool); return join ' ', sort keys %n }
sub define {
    my ($h, $number) = @_;
    my $conf = $h->slurp('httpd.conf');
    $conf =~ s/NUMBER \d+/NUMBER $number/;
    open my $f, '>', $h->root . '/httpd.conf.new' or die;
    print {$f} $conf;
    close $f;
    rename $h->root . '/httpd.conf.new', $h->root . '/httpd.conf' or die;
}
sub pool_c { return "<FcgiServer c>\n    FcgiCommand $actor\n    FcgiProcesses 2\n    FcgiEnv NUMBER 1\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n"
    . "<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n" }

# The last connection that a child of the event MPM accepts is not counted yet when its listener looks whether there is any:
# nothing that waits for the MPM afterwards would ever go on.
if ($mpm eq 'event' && !defined $ENV{FCGIPM_STORM_DO}) {
    for my $async ('Auto', 'Off') {
        my $h = Fcgipm->httpd(async => $async, conf => pool_c() . "SendBufferSize 65536\n",
            mpm_conf => "StartServers 2\nServerLimit 16\nThreadsPerChild 8\nMaxRequestWorkers 128\nMinSpareThreads 8\nMaxSpareThreads 16\nMaxConnectionsPerChild 1\n");
        wait_for { scalar(() = $h->workers('c')) == 2 } 10;
        is join(' ', map { my $r = $h->get('/c?sleep=100'); "$r->{status}$r->{complete}" } 1 .. 10), join(' ', ('2001') x 10), "FcgiAsync $async: a child's last request waits for its answer";
        is join(' ', map {
            socket my $s, PF_INET, SOCK_STREAM, 0 or die;
            setsockopt $s, SOL_SOCKET, SO_RCVBUF, pack 'l', 65536;
            connect $s, pack_sockaddr_in($h->port, INADDR_LOOPBACK) or die;
            syswrite $s, "GET /c?size=1000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            sleep 0.1; # httpd has written what it could: the rest waits for us
            my $r = Fcgipm::parse((Fcgipm::read_all($s, 20))[0], 'GET');
            length($r->{body}) . $r->{complete}
        } 1 .. 10), join(' ', ('10000001') x 10), '... and its answer for a slow client';
        $h->stop;
    }
}

# The socket of a process that was adopted has nobody behind it from the moment in which that dies. The manager may be told
# later than the next client.
if (!defined $ENV{FCGIPM_STORM_DO}) {
    my $h = Fcgipm->httpd(conf => pool_c(), expect_log => [qr/FPM0644/, qr/FPM0315/]);
    wait_for { $h->status('c')->{ready} == 2 } 10;
    my $manager = $h->manager;
    kill KILL => $manager;
    wait_for { my $m = $h->manager; $m && $m != $manager && ($h->status('c')->{ready} // 0) == 2 } 10, 'the next manager';
    $manager = $h->manager;
    kill STOP => $manager;
    kill KILL => $h->workers('c');
    my $s = $h->connect;
    print {$s} "GET /c?do=pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    ok !IO::Select->new($s)->can_read(0.3), 'a request that finds both adopted processes dead waits for the manager to know it';
    kill CONT => $manager;
    is Fcgipm::parse((Fcgipm::read_all($s, 20))[0], 'GET')->{status}, 200, 'and gets its answer from the next ones';
    $h->stop;
}

# What a manager that was killed has not read is not for the next one, which is born with something newer.
if (!defined $ENV{FCGIPM_STORM_DO}) {
    my $h = Fcgipm->httpd(conf => pool_c(), expect_log => [qr/FPM0644/, qr/FPM0315: .* is gone after 0\.0 s/]);
    wait_for { $h->status('c')->{ready} == 2 } 10;
    my $manager = $h->manager;
    kill STOP => $manager;
    define($h, 2);
    $h->graceful;
    define($h, 3);
    my $before = $h->generations;
    kill STOP => $h->pid; # it is told of the reload before it has looked who died
    kill KILL => $manager;
    wait_for { !Fcgipm::alive($manager) } 5;
    kill USR1 => $h->pid;
    kill CONT => $h->pid;
    wait_for { $h->generations > $before } 10, 'the reload';
    wait_for { number_of($h, 'c') eq '3' } 10, 'the last definition runs';
    is $h->get('/c')->{status}, 200, 'and serves';
    sleep 0.5;
    is number_of($h, 'c'), '3', 'and stays, whatever was on its way to the manager before';
    $h->stop;
}

# A definition of which a new manager has only found the row comes back.
if (!defined $ENV{FCGIPM_STORM_DO}) {
    my $h = Fcgipm->httpd(conf => pool_c(), expect_log => [qr/FPM0644/, qr/FPM0315: .* is gone after 0\.0 s/]);
    wait_for { $h->status('c')->{ready} == 2 } 10;
    define($h, 2);
    $h->graceful;
    wait_for { number_of($h, 'c') eq '2' } 10, 'another definition';
    my $manager = $h->manager;
    kill KILL => $manager;
    wait_for { my $m = $h->manager; $m && $m != $manager && Fcgipm::in_its_loop($m) } 10;
    define($h, 1);
    $h->graceful;
    my $bad = grep { my $r = $h->get('/c'); $r->{status} != 200 } 1 .. 20;
    is $bad, 0, 'no request fails when it comes back';
    wait_for { number_of($h, 'c') eq '1' } 10, 'and it runs';
    is $h->get('/c')->{status}, 200, 'and serves';
    $h->stop;
}

# A definition changes before its first process is ready: who waits for that is served by the one or the other.
if (!defined $ENV{FCGIPM_STORM_DO}) {
    my $h = Fcgipm->httpd(conf => pool_c() =~ s/NUMBER/ACTOR_START_MS 1500\n    FcgiEnv NUMBER/r);
    my @s = map { my $s = $h->connect; print {$s} "GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"; $s } 1 .. 3;
    sleep 0.2;
    define($h, 2);
    $h->graceful;
    is join(' ', map { Fcgipm::parse((Fcgipm::read_all($_, 20))[0], 'GET')->{status} } @s), '200 200 200', 'who waited for the first definition is served';
    wait_for { number_of($h, 'c') eq '2' } 10, 'the second one runs';
    $h->stop;
}

# A manager of a replaced module is killed, and then the module is replaced again: its processes are not forgotten.
if (!defined $ENV{FCGIPM_STORM_DO}) {
    my $h = Fcgipm->httpd(conf => pool_c(), loglevel => 'info', expect_log => [qr/FPM0682/]);
    my $so = $h->root . '/mod_fcgipm.so';
    wait_for { $h->status('c')->{ready} == 2 } 10;
    my @left = $h->workers('c');
    my $s = $h->connect; # who uses them, and keeps them
    print {$s} "GET /c?drip=200:50 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    my $got = '';
    sysread $s, $got, 65536, length $got until $got =~ /tick 0/;
    my $old = $h->manager;
    for my $from ("$top/$build/other/mod_fcgipm.so", $ours) {
        copy($from, "$so.new") or die;
        rename "$so.new", $so or die;
        $h->graceful;
        kill KILL => $old;
        ok $h->wait_log(qr/FPM0682/, 10), 'the old manager is killed' if $from ne $ours;
    }
    wait_for { 2 == (() = $h->log =~ /FPM0652/g) } 5, 'it is replaced again';
    is scalar(grep { Fcgipm::alive($_) } @left), 2, 'what they have in hand goes on';
    close $s;
    wait_for { !grep { Fcgipm::alive($_) } @left } 20, 'then they end';
    $h->{has_manager} = 0;
    $h->stop;
}

# --- the storm ---

my $h = Fcgipm->httpd(
    expect_log => [qr/FPM06(?:44|43|53|52|82)/, qr/FPM0315: .* is gone after 0\.0 s/, $kills ? (qr/FPM0/, qr/exit signal Killed/, qr/AH00052/) : ()],
    loglevel => $ENV{FCGIPM_STORM_LOG} // 'info',
    mpm_conf => $mpm eq 'prefork' ? "StartServers 8\nMinSpareServers 4\nMaxSpareServers 16\nServerLimit 96\nMaxRequestWorkers 96\nMaxConnectionsPerChild 40\n"
        : "StartServers 2\nServerLimit 32\nThreadsPerChild 16\nMaxRequestWorkers 512\nMinSpareThreads 16\nMaxSpareThreads 48\nMaxConnectionsPerChild 300\n"
        . ($mpm eq 'event' ? "AsyncRequestWorkerFactor 16\n" : ''),
    conf => <<"EOC");
KeepAliveTimeout 2
<FcgiServer one>
    FcgiCommand $actor
    FcgiProcesses 2 4
    FcgiEnv NUMBER 0
    FcgiTimeout queue=60s
    FcgiRecycle requests=50
</FcgiServer>
<FcgiServer old>
    FcgiCommand $actor
    FcgiProcesses 3
    FcgiTimeout queue=60s
    FcgiRecycle lifetime=3s
    FcgiResponseBuffer memory=64K
</FcgiServer>
<FcgiServer cold>
    FcgiCommand $actor
    FcgiProcesses 0 2
    FcgiTimeout queue=60s idle=300ms
</FcgiServer>
<FcgiServer threads>
    FcgiCommand $actor
    FcgiEnv ACTOR_THREADS 8
    FcgiConcurrency 8
    FcgiProcesses 2
    FcgiTimeout queue=60s
    FcgiRecycle requests=200
</FcgiServer>
<Location "/one">
    FcgiPass one
</Location>
<Location "/old">
    FcgiPass old
</Location>
<Location "/cold">
    FcgiPass cold
</Location>
<Location "/threads">
    FcgiPass threads
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
wait_for { ($h->status('one')->{ready} // 0) >= 2 } 20, 'they run';
my %text; # of each size
for my $size (10, 5000, 100_000, 1_000_000) { $text{$size} = $h->get("/one?size=$size")->{body} }
my @sizes = sort { $a <=> $b } keys %text;

# --- a client, with a connection that it may keep ---

package Client {
    use Time::HiRes qw(time sleep);
    sub new { my ($class, $port, $n) = @_; return bless {port => $port, n => $n, seen => {right => 0, races => 0, cut => 0, lost => 0}, asked => 0}, $class }
    sub open {
        my ($self, %o) = @_;
        socket my $s, Socket::PF_INET, Socket::SOCK_STREAM, 0 or die "socket: $!";
        setsockopt $s, Socket::SOL_SOCKET, Socket::SO_RCVBUF, pack 'l', $o{narrow} if $o{narrow};
        connect $s, Socket::pack_sockaddr_in($self->{port}, Socket::INADDR_LOOPBACK) or return;
        setsockopt $s, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, pack 'l', 1;
        binmode $s;
        @$self{qw(s used)} = ($s, 0);
        return $s;
    }
    sub close { my ($self) = @_; close delete $self->{s} if $self->{s} }
    # More bytes: false at the end.
    sub more {
        my ($self, $got, $slow) = @_;
        my $in = '';
        vec($in, fileno $self->{s}, 1) = 1;
        if (!select $in, undef, undef, 60) { $self->{error} = 'timeout'; return 0 }
        my $n = sysread $self->{s}, $$got, $slow ? 20_000 : 1 << 17, length $$got;
        $self->{error} = "$!" if !defined $n;
        sleep 0.01 if $slow && $n;
        return $n;
    }
    # {status, body, complete, bytes}
    sub answer {
        my ($self, $slow) = @_;
        my ($got, %r) = ('', status => 0, complete => 0, bytes => 0, body => '');
        $self->{error} = '';
        until ($got =~ /\r\n\r\n/) { $self->more(\$got, $slow) or do { $r{bytes} = length $got; return \%r } }
        $r{bytes} = length $got;
        $got =~ s/^(HTTP\/1\.1 (\d+) .*?\r\n\r\n)//s or return \%r;
        (my $head, $r{status}) = ($1, $2);
        $r{close} = $head =~ /^Connection: close/mi;
        if ($head =~ /^Transfer-Encoding: chunked/mi) {
            while (1) {
                until ($got =~ /\r\n/) { $self->more(\$got, $slow) or return \%r }
                $got =~ s/^([0-9a-fA-F]+)\r\n// or return \%r;
                my $n = hex $1;
                until (length $got >= $n + 2) { $self->more(\$got, $slow) or return \%r }
                $r{body} .= substr $got, 0, $n;
                substr $got, 0, $n + 2, '';
                last if $n == 0;
            }
        } elsif ($head =~ /^Content-Length: (\d+)/mi) {
            my $n = $1;
            until (length $got >= $n) { $self->more(\$got, $slow) or last }
            $r{body} = $got;
            return \%r if length $got != $n;
            $got = '';
        } else {
            1 while $self->more(\$got, $slow);
            ($r{body}, $got) = ($got, '');
            return \%r if $self->{error};
        }
        $r{complete} = $got eq '';
        return \%r;
    }
    sub send {
        my ($self, $bytes) = @_;
        my $at = 0;
        local $SIG{PIPE} = 'IGNORE';
        while ($at < length $bytes) {
            my $n = syswrite $self->{s}, $bytes, length($bytes) - $at, $at;
            return 0 if !defined $n;
            $at += $n;
        }
        return 1;
    }
    # One request until its answer is there: only what came back without a byte, on a connection that was used before,
    # is sent again. o: method, body (a list of pieces), keep, slow, narrow, chunked, repeat
    sub ask {
        my ($self, $path, $want, %o) = @_;
        my $id = "$self->{n}-" . ++$self->{asked};
        my $method = $o{method} // 'GET';
        my @pieces = @{$o{body} // []};
        my $length = 0;
        $length += length for @pieces;
        my $begin = time;
        while (1) {
            $self->close if $self->{s} && !$o{keep};
            my $s = $self->{s} // $self->open(%o);
            if (!$s) { return $self->note($id, $path, $begin, {status => 0, complete => 0, bytes => 0, body => ''}, "connect: $!", %o) }
            my $used = $self->{used}++;
            my $head = "$method $path&id=$id HTTP/1.1\r\nHost: x\r\n" . ($o{keep} ? '' : "Connection: close\r\n")
                . ($o{chunked} ? "Transfer-Encoding: chunked\r\n" : @pieces ? "Content-Length: $length\r\n" : '') . "\r\n";
            my $sent = $self->send($head);
            for (@pieces) {
                last if !$sent;
                $sent = $self->send($o{chunked} ? sprintf("%x\r\n%s\r\n", length, $_) : $_);
                sleep $o{pause} if $o{pause};
            }
            $sent &&= $self->send("0\r\n\r\n") if $o{chunked};
            my $r = $self->answer($o{slow});
            $self->close if !$o{keep} || $r->{close} || !$r->{complete};
            if ($r->{status} == 200 && $r->{complete} && $want->($r->{body})) { $self->{seen}{right}++; return 1 }
            $self->close;
            if ($used && !$r->{bytes}) { $self->{seen}{races}++; next }
            return $self->note($id, $path, $begin, $r, $self->{error} . ($sent ? '' : ' not all sent'), %o, used => $used);
        }
    }
    sub note {
        my ($self, $id, $path, $begin, $r, $error, %o) = @_;
        my $wrong = $r->{complete} && $r->{status} == 200;
        $self->{seen}{$wrong ? 'wrong' : 'lost'}++;
        my ($s, $us) = Time::HiRes::gettimeofday();
        my @t = localtime $s;
        push @{$self->{what}}, sprintf "%02d:%02d:%02d.%06d id=%s %s %s used=%d began %.3f s before: status %s complete %d, %d + %d bytes, '%s' %s",
            @t[2, 1, 0], $us, $id, $o{method} // 'GET', $path, $o{used} // 0, time - $begin, $r->{status}, $r->{complete}, $r->{bytes}, length $r->{body}, $error, $r->{body} =~ /^(.{0,40})/ ? $1 : '';
        return 0;
    }
}

sub pool { return (qw(one old threads one old threads cold))[rand 7] }
sub random_body { return join '', map { chr(32 + rand 90) } 1 .. 1 + rand $_[0] }
my %do = (
    fresh => sub { my $size = $sizes[rand 3]; $_[0]->ask('/' . pool() . "?size=$size&sleep=" . int rand 20, sub { $_[0] eq $text{$size} }) },
    kept => sub {
        for (1 .. 1 + rand 8) {
            my $size = $sizes[rand 3];
            $_[0]->ask('/' . pool() . "?size=$size", sub { $_[0] eq $text{$size} }, keep => 1);
            sleep rand 0.02 if rand(3) < 1;
        }
    },
    post => sub {
        my $body = random_body(20_000) x (1 + rand 8);
        $_[0]->ask('/' . pool() . '?do=echo', sub { $_[0] eq $body }, method => 'POST', body => [$body], keep => rand(2) < 1);
    },
    chunks => sub {
        my @body = map { random_body(3000) } 1 .. 2 + rand 5;
        my $body = join '', @body;
        $_[0]->ask('/' . pool() . '?do=echo', sub { $_[0] eq $body }, method => 'POST', body => \@body, chunked => 1, pause => 0.01);
    },
    trickle => sub {
        my @body = map { random_body(100) } 1 .. 8;
        my $body = join '', @body;
        $_[0]->ask('/' . pool() . '?do=echo', sub { $_[0] eq $body }, method => 'POST', body => \@body, pause => 0.04, keep => rand(2) < 1);
    },
    long => sub { $_[0]->ask('/' . pool() . '?sleep=' . int(300 + rand 1200) . '&size=10', sub { $_[0] eq $text{10} }, keep => rand(2) < 1) },
    stream => sub {
        my $n = 3 + int rand 10;
        $_[0]->ask('/' . pool() . "?drip=$n:60", sub { $_[0] eq join '', map { "tick $_\n" } 0 .. $n - 1 }, keep => rand(2) < 1);
    },
    slow => sub { $_[0]->ask('/' . pool() . '?size=1000000', sub { $_[0] eq $text{1_000_000} }, slow => 1, narrow => 20_000) },
);

my @kids;
for my $n (1 .. $ENV{FCGIPM_STORM_CLIENTS} // 10) {
    pipe my $in, my $out or die $!;
    my $pid = fork // die $!;
    if (!$pid) {
        close $in;
        srand $n * 7919 + $$;
        my $client = Client->new($h->port, $n);
        my $end = time + $seconds;
        # One half asks all the time, the other does what takes its time.
        my @what = $n % 2 ? qw(fresh kept post kept) : sort keys %do;
        $do{$what[rand @what]}->($client) while time < $end;
        print {$out} join("\t", (map { $client->{seen}{$_} // 0 } qw(right races lost wrong)), @{$client->{what} // []}), "\n";
        close $out;
        POSIX::_exit(0);
    }
    close $out;
    push @kids, [$pid, $in];
}

# --- what happens meanwhile ---

my $so = $h->root . '/mod_fcgipm.so';
my ($number, $other, %did) = (0, 0);
sub usr1 { kill USR1 => $h->pid }
sub install { my ($from) = @_; copy($from, "$so.new") or die "$from: $!"; rename "$so.new", $so or die $! }
sub managers { return grep { Fcgipm::is_manager($_) } Fcgipm::children_of($h->pid) }
my %act = (
    graceful => sub { for (1 .. 1 + rand 3) { usr1(); sleep rand 0.3 } },
    define => sub { define($h, ++$number); usr1() },
    exchange => sub { install($other ? "$top/$build/other/mod_fcgipm.so" : $ours); usr1() },
    upgrade => sub { $other = !$other; install($other ? "$top/$build/other/mod_fcgipm.so" : $ours); usr1() },
    manager => sub { my @m = managers(); kill KILL => $m[rand @m] if @m },
    worker => sub { my @w = $h->workers; kill KILL => $w[rand @w] if @w },
    child => sub { my @c = $h->children; kill KILL => $c[rand @c] if @c },
);
push @acts, qw(worker child) if $kills;
my ($end, %at, @did) = (time + $seconds - 1);
while (time < $end) {
    my $what = $acts[rand @acts];
    # More often than five times in ten seconds httpd waits. And nobody starts processes for those who wait at a replaced
    # module whose manager is killed: they get their 503 after FcgiTimeout queue=.
    sleep(0.05), next if $what eq 'manager' && (time - ($at{manager} // 0) < 2.5 || time - ($at{upgrade} // 0) < 2 || managers() > 1);
    sleep(0.05), next if $what eq 'upgrade' && time - ($at{manager} // 0) < 2;
    $at{$what} = time;
    my ($s, $us) = Time::HiRes::gettimeofday();
    push @did, sprintf "%02d:%02d:%02d.%06d %s", (localtime $s)[2, 1, 0], $us, $what;
    $act{$what}->();
    $did{$what}++;
    sleep 0.1 + rand 0.8;
}
my %sum = map { $_ => 0 } qw(right races lost wrong);
my @what;
for (@kids) {
    my ($pid, $in) = @$_;
    chomp(my $line = <$in> // '');
    waitpid $pid, 0;
    my @got = split /\t/, $line;
    is $?, 0, 'a client ends' if $?;
    $sum{$_} += shift @got // 0 for qw(right races lost wrong);
    push @what, @got;
}
diag sprintf "%d s: %d exact, %d kept connections closed under a request; %s", $seconds, @sum{qw(right races)}, join ', ', map { "$did{$_} $_" } sort keys %did;
is $sum{wrong}, 0, 'no answer is wrong' or diag join "\n", @what;
is $sum{lost}, 0, 'no request is lost' or diag join "\n", @what if !$kills;
diag "$sum{lost} told as lost\n", join "\n", @what if $kills;
cmp_ok $sum{right}, '>', 10 * $seconds, 'and there were many';
if (@what && $ENV{FCGIPM_KEEP}) { open my $f, '>', $h->root . '/did.log'; print {$f} join "\n", @did, '', @what, '' }
wait_for { managers() == 1 } 30, 'one manager is left';
wait_for { my $s = eval { $h->status('one') }; $s && $s->{ready} >= 2 } 20, 'all come to rest';
is $h->get('/one?size=10')->{body}, $text{10}, 'and it serves';
$h->stop;
done_testing;
