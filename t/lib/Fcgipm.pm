# SPDX-License-Identifier: Apache-2.0
# The test library: a real httpd of its own for each test file, an HTTP client that notices when an answer was cut, and a
# judge at the end (stop): no process, socket, file or shared memory of ours is left, no unexpected line in the log.
#
#   my $h = Fcgipm->httpd(conf => <<'EOC', expect_log => [qr/FPM0616/]);      # also: mpm, modules, ssl, h2, mpm_conf,
#   ...                                                                       # loglevel, module => 0, leave => 1, env
#   my $r = $h->get('/c?do=env');         # {status, reason, headers, body, complete, reset, raw_head, ms}
#   $h->stop;                             # runs the end's checks
#
# In conf: @ROOT@ @PORT@ @SSLPORT@ @TOP@ @APPS@.
package Fcgipm;
use strict;
use warnings;
use Cwd qw(getcwd);
use Exporter 'import';
use Fcntl qw(:flock);
use File::Temp ();
use IO::Select;
use JSON::XS ();
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket;
use Test::More ();
use Time::HiRes qw(time sleep);

our @EXPORT = qw(app_built wait_for free_port need);
my $top = getcwd();
my %running;    # address => object, for END

sub wait_for(&$;$) {
    my ($cond, $seconds, $what) = @_;
    my $end = time + $seconds;
    my ($value, $round) = (undef, 0);
    until ($value = $cond->()) {
        if (time > $end) {
            Test::More::fail('in time: ' . ($what // 'condition')) ;
            return;
        }
        sleep($round++ < 50 ? 0.01 : 0.03);
    }
    return $value;
}

# Below the range from which the kernel takes ports for outgoing connections: between our look and httpd's bind one of those
# could get it.
sub free_port {
    open my $f, '<', '/proc/sys/net/ipv4/ip_local_port_range';
    my ($low) = $f ? split ' ', <$f> : 32768;
    for (1 .. 1000) {
        my $port = 10000 + int rand(($low > 12000 ? $low : 32768) - 10000);
        return $port if IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => $port);
    }
    die 'no free port';
}

# Tools that a test needs: missing, they skip it, but in CI they are a failure.
sub need {
    for my $tool (@_) {
        next if grep { -x "$_/$tool" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
        Test::More::BAIL_OUT("$tool is missing") if $ENV{FCGIPM_CI};
        Test::More::plan(skip_all => "needs $tool");
    }
}

# --- applications ---

my $apps;
sub apps_dir {
    return $apps if $apps;
    $apps = "/tmp/fcgipm-apps-$>";
    mkdir $apps, 0755;
    die "$apps is not ours\n" unless (stat $apps)[4] == $>;
    open my $lock, '>', "$apps/.lock" or die "$apps: $!";
    flock $lock, LOCK_EX;
    for my $from (glob "$top/t/apps/*.p[lhm]*") {
        my ($name) = $from =~ m{([^/]+)$};
        next if -e "$apps/$name" && (stat _)[9] > (stat $from)[9];
        system('cp', $from, "$apps/.$name.$$") == 0 && rename "$apps/.$name.$$", "$apps/$name";
        chmod 0755, "$apps/$name";
    }
    return $apps;
}

sub app_built {
    my ($name) = @_;
    my $dir = apps_dir();
    my $source = "$top/t/apps/$name";
    return "$dir/$name" if $name =~ /\.p[lhm]/;
    my $target = $name =~ /(.*)\.go$/ ? "$dir/$1-go" : "$dir/" . $name =~ s/\.c$//r;
    open my $lock, '>', "$dir/.lock" or die "$dir: $!";
    flock $lock, LOCK_EX;
    return $target if -e $target && (stat _)[9] > (stat $source)[9];
    my $command =
        $name =~ /\.so\.c$/ ? "gcc -O1 -g -std=gnu11 -Wall -Wextra -Werror \$(apr-1-config --includes) -shared -fPIC $source -o $target.new -ldl"
        : $name =~ /\.go$/
        ? "GOCACHE=$dir/.gocache GO111MODULE=off go build -o $target.new $source"
        : "gcc -O1 -g -std=gnu11 -Wall -Wextra -Werror \$(apr-1-config --includes --cppflags) \$(apu-1-config --includes)"
        . " $source -o $target.new -lfcgi -lpthread \$(apu-1-config --link-ld) \$(apr-1-config --link-ld)";
    my $output = `$command 2>&1`;
    die "$command:\n$output" if $?;
    rename "$target.new", $target;
    return $target;
}

# LD_PRELOAD for httpd with this library (NAME.so.c), behind what the sanitizers need.
sub preload { my ($name) = @_; return join ':', grep { length } $ENV{FCGIPM_PRELOAD} // '', app_built($name) }

# --- httpd ---

# An application that somebody else has started, on this socket: its pid, for the caller to end.
sub external {
    my ($path, @command) = @_;
    my $listen = IO::Socket::UNIX->new(Local => $path, Listen => 64) or die "$path: $!";
    chmod 0777, $path;
    my $pid = fork // die;
    if (!$pid) {
        open STDIN, '<&', $listen or POSIX::_exit(1);
        $ENV{PHP_FCGI_CHILDREN} = 0;
        exec @command or POSIX::_exit(1);
    }
    return $pid;
}
# Below what httpd's suexec takes programs from; undef: there is no suexec, or it does not say.
sub suexec_root {
    my $suexec = '/usr/lib/apache2/suexec';
    return undef unless -u $suexec;
    my ($root) = `$suexec -V 2>&1` =~ /AP_DOC_ROOT="(.*)"/;
    if (!$root && open my $f, '<', '/etc/apache2/suexec/www-data') { chomp($root = <$f>) }
    return $root;
}
# A directory in there, until the test ends. Skips the whole test where that cannot be.
my @suexec_dirs;
sub suexec_dir {
    Test::More::plan(skip_all => 'needs root') if $>;
    my $root = suexec_root() // Test::More::plan(skip_all => 'there is no suexec (apache2-suexec-custom), or it does not say where its document root is');
    my $made = !-d $root && mkdir $root;
    my $dir = File::Temp::tempdir("$root/fcgipm-XXXXXX");
    push @suexec_dirs, [$$, $dir, $made ? $root : ()];
    return $dir;
}
sub find_httpd {
    for (qw(/usr/sbin/apache2 /usr/sbin/httpd /usr/local/apache2/bin/httpd)) { return $_ if -x }
    die "no httpd here\n";
}
my $modules_dir;
sub modules_dir { $modules_dir //= do { chomp(my $d = `apxs -q LIBEXECDIR 2>/dev/null`); $d || '/usr/lib/apache2/modules' } }

sub conf_of {
    my ($self, %o) = @_;
    my $root = $self->{root};
    my $mpm = $o{mpm} // $ENV{FCGIPM_MPM} // 'event';
    my @modules = ("mpm_$mpm", qw(authz_core authz_host mime dir alias rewrite setenvif env headers filter deflate unique_id status),
        @{$o{modules} // []});
    push @modules, qw(socache_shmcb ssl) if $o{ssl};
    push @modules, 'http2' if $o{h2};
    my %seen;
    my $conf = "ServerRoot \"$root\"\nServerName localhost\nPidFile \"$root/httpd.pid\"\nErrorLog \"$root/error.log\"\n"
        . 'LogLevel ' . ($o{loglevel} // 'warn fcgipm:info') . "\n"
        . join('', map { "LoadModule ${_}_module " . modules_dir() . "/mod_$_.so\n" }
            grep { !$seen{$_}++ && -e modules_dir() . "/mod_$_.so" } @modules);
    $conf .= "CoreDumpDirectory $ENV{FCGIPM_CORES}\n" if $ENV{FCGIPM_CORES};
    $conf .= "User www-data\nGroup www-data\n" unless $>;
    if ($o{module} // 1) {
        my $so = $ENV{FCGIPM_SO} // "$top/build/mod_fcgipm.so";
        system('cp', $so, "$root/mod_fcgipm.so") == 0 or die "$so is not built\n";
        $conf .= "LoadModule fcgipm_module $root/mod_fcgipm.so\nFcgiRuntimeDir \"$root/run\"\n";
        my $async = $o{async} // $ENV{FCGIPM_ASYNC};
        $conf .= "FcgiAsync $async\n" if $async;
        $conf .= "FcgiCgroup $ENV{FCGIPM_CGROUP}\n" if $ENV{FCGIPM_CGROUP};    # any test again, with control groups
    }
    $conf .= "Listen 127.0.0.1:$self->{port}\nDocumentRoot \"$root/htdocs\"\nTypesConfig /dev/null\n"
        . "AddType text/html .html\nAddType text/plain .txt\nAddType text/html .shtml\nTimeout 30\nKeepAlive On\nMaxKeepAliveRequests 0\n"
        . "DirectoryIndex index.html\n<Directory \"$root/htdocs\">\n    Require all granted\n    Options FollowSymLinks\n</Directory>\n"
        . "LogFormat \"%h %>s %B %X \\\"%r\\\" %{fcgipm-pool}n %{fcgipm-pid}n %{fcgipm-retries}n\" fpm\nCustomLog \"$root/access.log\" fpm\n";
    $conf .= $o{mpm_conf} // ($mpm eq 'prefork'
        ? "StartServers 8\nMinSpareServers 8\nMaxSpareServers 32\nServerLimit 96\nMaxRequestWorkers 96\n"
        : "StartServers 2\nServerLimit 8\nThreadsPerChild 32\nMaxRequestWorkers 128\nMinSpareThreads 32\nMaxSpareThreads 128\n");
    $conf .= "Protocols h2 h2c http/1.1\n" if $o{h2};
    if ($o{ssl}) {
        system("openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout $root/key.pem -out $root/cert.pem >/dev/null 2>&1") == 0
            or die "openssl cannot make a certificate\n";
        $conf .= "Listen 127.0.0.1:$self->{sslport}\nSSLSessionCache none\nSSLCertificateFile $root/cert.pem\nSSLCertificateKeyFile $root/key.pem\n"
            . "<VirtualHost *:$self->{sslport}>\n    SSLEngine On\n</VirtualHost>\n";
    }
    $conf .= $o{conf} // '';
    my %for = (ROOT => $root, PORT => $self->{port}, SSLPORT => $self->{sslport}, TOP => $top, APPS => apps_dir());
    $conf =~ s/\@(ROOT|PORT|SSLPORT|TOP|APPS)\@/$for{$1}/g;
    return $conf;
}

sub prepare {
    my ($class, %o) = @_;
    my $root = File::Temp::tempdir('/tmp/fcgipm-XXXXXXXX', CLEANUP => 0);
    chmod 0755, $root;
    mkdir "$root/$_" for qw(htdocs tmp);
    chmod 01777, "$root/tmp";
    my $self = bless {root => $root, port => free_port(), sslport => free_port(), expect_log => $o{expect_log} // [], leave => $o{leave},
        owner => $$}, $class;
    open my $f, '>', "$root/httpd.conf" or die "$root/httpd.conf: $!";
    print {$f} $self->conf_of(%o);
    close $f;
    return $self;
}

# (exit code, output) of httpd -t with this configuration.
sub configtest {
    my ($class, %o) = @_;
    my $self = $class->prepare(%o);
    my $httpd = find_httpd();
    local $ENV{LD_PRELOAD} = $ENV{FCGIPM_PRELOAD} // '';
    delete $ENV{LD_PRELOAD} unless $ENV{LD_PRELOAD};
    my $output = `timeout 30 $httpd -f $self->{root}/httpd.conf -t 2>&1`;
    my $status = $? >> 8;
    $output .= $self->log;
    system 'rm', '-rf', $self->{root};
    return ($status, $output);
}

sub httpd {
    my ($class, %o) = @_;
    my $self = $class->prepare(%o);
    $self->{shm} = {map { $_ => 1 } glob '/dev/shm/*'};
    $self->{env} = $o{env};
    $self->{has_manager} = ($o{module} // 1) && ($o{conf} // '') =~ /<FcgiServer|fcgipm-script/;
    $running{0 + $self} = $self;
    $self->start;
    return $self;
}

# The parent process, without waiting for anything.
sub launch {
    my ($self) = @_;
    my $httpd = find_httpd();
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp 0, 0;
        # As after "su -": a working directory that httpd's user cannot even enter must not matter.
        mkdir "$self->{root}/cwd", 0700;
        chdir "$self->{root}/cwd";
        $ENV{TMPDIR} = "$self->{root}/tmp";
        $ENV{LD_PRELOAD} = $ENV{FCGIPM_PRELOAD} if $ENV{FCGIPM_PRELOAD};
        %ENV = (%ENV, %{$self->{env} // {}});
        open STDOUT, '>>', "$self->{root}/stdout.log";
        open STDERR, '>&', \*STDOUT;
        exec @{$self->{within} // []}, $httpd, '-f', "$self->{root}/httpd.conf", '-DFOREGROUND' or POSIX::_exit(127);
    }
    return $self->{pid} = $pid;
}

sub start {
    my ($self) = @_;
    my $before = $self->generations;
    my $pid = $self->launch;
    my $end = time + 30;
    until ($self->generations > $before && IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}")) {
        if (waitpid($pid, POSIX::WNOHANG()) == $pid || time > $end) {
            delete $self->{pid};
            die "httpd did not start:\n" . $self->log . $self->slurp('stdout.log');
        }
        sleep 0.01;
    }
    $self->{parent_fds} = do { my $n = descriptors($pid); $n->{other} + $n->{socket} };
    return if !$self->{has_manager};
    # Workers are being started meanwhile: their sockets do not count, so both are taken when nothing changes between.
    my $last = -1;
    wait_for {
        my $m = $self->manager;
        my $workers = () = $self->workers;
        my $steady = $m && in_its_loop($m) && $workers == $last && ($self->{manager_fds} = descriptors($m)) && $workers == (() = $self->workers);
        $last = $workers;
        $self->{manager_fds}{socket} -= $workers if $steady;
        $steady;
    } 20, 'there is a manager';
}

# It catches SIGCHLD (17): what it opens for itself is open.
sub in_its_loop { my ($pid) = @_; return proc_file($pid, 'status') =~ /^SigCgt:\s*[0-9a-f]*([0-9a-f])[0-9a-f]{4}$/m && hex($1) & 1 }

sub slurp { my ($self, $name) = @_; local $/; open my $f, '<:raw', "$self->{root}/$name" or return ''; return scalar <$f> // '' }
sub log { $_[0]->slurp('error.log') }
sub log_has { my ($self, $re) = @_; return $self->log =~ $re }
sub wait_log { my ($self, $re, $seconds) = @_; my $end = time + $seconds; until ($self->log =~ $re) { return 0 if time > $end; sleep 0.01 } return 1 }
sub url { "http://127.0.0.1:$_[0]{port}$_[1]" }
sub port { $_[0]{port} }
sub sslport { $_[0]{sslport} }
sub root { $_[0]{root} }
sub pid { $_[0]{pid} }

# --- a client ---

sub connect {
    my ($self) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}", Timeout => 20) or die "connect: $!";
    binmode $s;
    $s->autoflush(1);
    return $s;
}

# All until the end, with a limit. ($bytes, error at the end or '').
sub read_all {
    my ($s, $timeout, $done) = @_;
    my ($got, $end) = ('', time + $timeout);
    while (1) {
        return ($got, 'timeout') if !IO::Select->new($s)->can_read(($end - time) > 0 ? $end - time : 0);
        my $n = sysread $s, $got, 1 << 18, length $got;
        return ($got, $! + 0 ? "$!" : 'error') if !defined $n;
        return ($got, '') if $n == 0 || ($done && $done->(\$got));
    }
}

sub raw {
    my ($self, $bytes, %o) = @_;
    my $s = $self->connect;
    local $SIG{PIPE} = 'IGNORE';
    print {$s} $bytes;
    return (read_all($s, $o{timeout} // 20))[0];
}

sub parse {
    my ($got, $method) = @_;
    my %r = (status => 0, headers => {}, body => '', complete => 0, raw_head => '');
    while ($got =~ s/^HTTP\/1\.[01] 1\d\d .*?\r\n\r\n//s) { $r{interim}++ }
    return \%r unless $got =~ s/^((HTTP\/1\.[01]) (\d+) ?(.*?)\r\n(.*?\r\n)?)\r\n//s;
    @r{qw(raw_head version status reason)} = ($1, $2, $3, $4);
    for (split /\r\n/, $5 // '') {
        my ($k, $v) = /^([^:]+):\s*(.*?)\s*$/ or next;
        $k = lc $k;
        $r{headers}{$k} = !exists $r{headers}{$k} ? $v : ref $r{headers}{$k} ? [@{$r{headers}{$k}}, $v] : [$r{headers}{$k}, $v];
    }
    if ($method eq 'HEAD' || $r{status} == 204 || $r{status} == 304) {
        $r{complete} = $got eq '';
    } elsif (($r{headers}{'transfer-encoding'} // '') =~ /chunked/i) {
        # (nothing is cut off at the front: each match would copy what is left)
        while ($got =~ /\G([0-9a-fA-F]+)[^\r\n]*\r\n/gc) {
            my ($n, $at) = (hex $1, pos $got);
            if ($n == 0) { $r{complete} = substr($got, $at) =~ /\r\n$/ ? 1 : 0; last }
            $r{body} .= substr $got, $at, $n;
            last if length $got < $at + $n + 2;
            pos($got) = $at + $n + 2;
        }
    } else {
        $r{body} = $got;
        my $length = $r{headers}{'content-length'};
        $r{complete} = defined $length ? length $got == $length : 1;
    }
    return \%r;
}

# One request on a connection of its own.
sub request {
    my ($self, $method, $path, %o) = @_;
    my $begin = time;
    my $s = $self->connect;
    my $http = $o{http} // '1.1';
    my $head = "$method $path HTTP/$http\r\nHost: localhost:$self->{port}\r\nConnection: close\r\n";
    my @headers = @{$o{headers} // []};
    while (my ($k, $v) = splice @headers, 0, 2) { $head .= "$k: $v\r\n" }
    $head .= 'Content-Length: ' . length($o{body}) . "\r\n" if defined $o{body};
    local $SIG{PIPE} = 'IGNORE';
    my $out = "$head\r\n" . ($o{body} // '');
    my ($got, $error, $end) = ('', '', time + ($o{timeout} // 20));
    my $select = IO::Select->new($s);
    $s->blocking(0);
    # Sending and receiving overlap, as with any real client.
    while (1) {
        my ($r, $w) = IO::Select->select($select, length $out ? $select : undef, undef, $end - time > 0 ? $end - time : 0);
        if (!$r && !$w) { $error = 'timeout'; last }
        if ($w && @$w) {
            my $n = syswrite $s, $out, 1 << 16;
            if (defined $n) { substr $out, 0, $n, '' }
            elsif (!$!{EAGAIN}) { $out = '' }
        }
        if ($r && @$r) {
            my $n = sysread $s, $got, 1 << 18, length $got;
            if (!defined $n) { next if $!{EAGAIN}; $error = "$!"; last }
            last if $n == 0;
        }
    }
    my $r = parse($got, $method);
    $r->{error} = $error;
    $r->{reset} = $error =~ /reset/i ? 1 : 0;
    $r->{complete} = 0 if $error;
    $r->{ms} = (time - $begin) * 1000;
    return $r;
}
sub get { my ($self, $path, %o) = @_; return $self->request(GET => $path, %o) }

# Many clients at the same time, each a process; check->($answer) says whether it is exactly right.
sub load {
    my ($h, %o) = @_;
    my $check = $o{check} // sub { $_[0]{status} == 200 && $_[0]{complete} };
    my @pipes;
    for my $client (1 .. $o{clients}) {
        pipe my $in, my $out or die;
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            close $in;
            my ($sent, $ok, $incomplete, @bad) = (0, 0, 0);
            my $end = time + ($o{seconds} // 600);
            my $share = $o{requests} ? int($o{requests} / $o{clients}) : 1e9;
            while ($sent < $share && time < $end) {
                $sent++;
                my $r = eval { $h->request($o{method} // 'GET', $o{path}, timeout => 20, %{$o{options} // {}}) } // {status => 0, error => "$@", complete => 0};
                if ($check->($r)) { $ok++; next }
                $incomplete++ if !$r->{complete};
                push @bad, "status $r->{status} complete $r->{complete} error '" . ($r->{error} // '') . "' " . length($r->{body} // '') . ' bytes' if @bad < 3;
                s/[\n\t]/ /g for @bad;
            }
            print {$out} join("\t", $sent, $ok, $incomplete, @bad), "\n";
            close $out;
            POSIX::_exit(0);
        }
        close $out;
        push @pipes, [$pid, $in];
    }
    my $join = sub {
        my %sum = (sent => 0, ok => 0, incomplete => 0, bad => []);
        for (@pipes) {
            my ($pid, $in) = @$_;
            my $line = <$in> // '';
            waitpid $pid, 0;
            chomp $line;
            my ($sent, $ok, $incomplete, @bad) = split /\t/, $line;
            $sum{sent} += $sent // 0;
            $sum{ok} += $ok // 0;
            $sum{incomplete} += $incomplete // 0;
            push @{$sum{bad}}, @bad;
        }
        return \%sum;
    };
    return $o{background} ? $join : $join->();
}

# (exit code, what it wrote) of fcgipmctl for this server.
sub ctl {
    my ($self, @words) = @_;
    my $ctl = ($ENV{FCGIPM_BUILD} // 'build') . '/fcgipmctl';
    $ctl = 'build/fcgipmctl' unless -x $ctl;
    my $quoted = join ' ', map { "'$_'" } '-d', "$self->{root}/run", @words;
    my $said = `timeout 60 $ctl $quoted 2>&1`;
    return ($? >> 8, $said);
}
# The status page as data; of one pool with its name. (One that was never there has a moment: the manager may be at work
# on the configuration.)
sub status {
    my ($self, $name) = @_;
    my $end = time + 5;
    while (1) {
        my $all = JSON::XS->new->decode($self->get('/st?json')->{body});
        return $all unless defined $name;
        my ($pool) = grep { $_->{name} eq $name && $_->{route} == $_->{index} } @{$all->{pools}};
        $self->{seen}{$name} = 1 if $pool;
        return $pool if $self->{seen}{$name} || time > $end;
        sleep 0.01;
    }
}

# --- processes ---

sub proc_file { my ($pid, $name) = @_; local $/; open my $f, '<:raw', "/proc/$pid/$name" or return ''; return scalar <$f> // '' }
sub alive { my ($pid) = @_; return proc_file($pid, 'stat') =~ /^\d+ \(.*\) [^ZX]/s }
sub children_of { my ($pid) = @_; return grep { proc_file($_, 'stat') =~ /^\d+ \(.*\) [^ZX] \Q$pid\E /s } map { m{/proc/(\d+)} } glob '/proc/[0-9]*' }
sub is_manager { proc_file($_[0], 'comm') =~ /^fcgipm-manager|^fcgipm: manager/ }
sub children { my ($self) = @_; return grep { !is_manager($_) } children_of($self->{pid}) }
sub manager { my ($self) = @_; return (grep { is_manager($_) } children_of($self->{pid}))[0] }
# Processes of a pool, or of all: those that carry its marker.
sub marked {
    my ($self, $pool) = @_;
    return grep {
        my $env = proc_file($_, 'environ');
        $env =~ /(?:^|\0)(?:HTTP_by_)?FCGIPM_WORKER=\Q$self->{root}\E\/run(?:\/v\d+)?:/ && (!defined $pool || $env =~ /(?:^|\0)FCGIPM_POOL=\Q$pool\E(?:\0|$)/) && alive($_)
    } map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}
# Only the processes that the manager started itself, each the leader of its session.
sub workers { my ($self, $pool) = @_; return grep { ((split ' ', proc_file($_, 'stat') =~ s/^.*\) //sr)[3] // 0) == $_ } $self->marked($pool) }

# Descriptors of a process: {fifo, pidfd, socket, other}, without what belongs to a worker each.
# by kind; sockets only those that `besides` does not hold, too (httpd's children have its listeners, and a bell of each child)
sub descriptors {
    my ($pid, $besides) = @_;
    my %n = map { $_ => 0 } qw(fifo pidfd socket other);
    my %shared = $besides ? map { (readlink // '') => 1 } glob "/proc/$besides/fd/*" : ();
    for (map { readlink // '' } glob "/proc/$pid/fd/*") {
        next if /^socket:/ && $shared{$_};
        $n{m{/run/(?:v\d+/)?p\d+/} ? 'fifo' : /pidfd/ ? 'pidfd' : /^socket:/ ? 'socket' : 'other'}++;
    }
    return \%n;
}
sub is_steady {
    my ($self) = @_;
    my $manager = $self->manager or return "no manager";
    my ($now, $first) = (descriptors($manager), $self->{manager_fds});
    my $workers = () = $self->workers;
    return "manager: $now->{fifo} pipes of $workers workers" if $now->{fifo} > $workers;
    return "manager: $now->{socket} sockets, $first->{socket} without the workers' at the start" if $now->{socket} - $workers > $first->{socket};
    return "manager: $now->{other} other descriptors, $first->{other} at the start" if $now->{other} > $first->{other};
    # (with a further thread it is none: only its first one has ended)
    return 'manager: a zombie' if grep { proc_file($_, 'stat') =~ /^\d+ \(.*\) Z \Q$manager\E (?:\S+ ){15}[01] /s } map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
    my $parent = descriptors($self->{pid});
    return "parent: $parent->{other} + $parent->{socket} descriptors" if $parent->{other} + $parent->{socket} > $self->{parent_fds} + 2;
    for my $child ($self->children) {
        my $fds = descriptors($child, $self->{pid});
        # Client connections that are kept alive, and at most one kept connection for each place in a worker.
        return "httpd child $child: $fds->{socket} sockets" if $fds->{socket} > 24 + ($self->{places} // 8 * $workers);
    }
    return '';
}

sub generations { my ($self) = @_; return scalar(() = $self->log =~ /configured -- resuming normal operations/g) }
# The socket on which httpd listens, as /proc/PID/fd names it.
sub listener {
    my ($self) = @_;
    local $/ = "\n";
    open my $f, '<', '/proc/net/tcp' or return '';
    my $address = sprintf '0100007F:%04X', $self->{port};
    while (my $line = <$f>) { my @f = split ' ', $line; return "socket:[$f[9]]" if $f[1] eq $address && $f[3] eq '0A' }
    return '';
}
sub holds { my ($pid, $what) = @_; return grep { (readlink // '') eq $what } glob "/proc/$pid/fd/*" }
sub signal_and_wait {
    my ($self, $signal) = @_;
    my ($before, $listener, @old) = ($self->generations, $self->listener, $self->children);
    kill $signal => $self->{pid};
    wait_for { $self->generations > $before } 20, 'httpd has taken the new configuration';
    # A child with the old one goes on taking connections until it has heard of it.
    my $end = time + 20;
    while ($listener && grep { holds($_, $listener) } @old) { last if time > $end; sleep 0.005 }
    until (eval { $self->get('/favicon.ico', timeout => 5)->{status} }) { last if time > $end; sleep 0.01 }
}
sub graceful { $_[0]->signal_and_wait('USR1') }
sub restart { $_[0]->signal_and_wait('HUP') }

# What stands in its configuration from the first line of the text on becomes the text, by a graceful restart.
sub reconfigure {
    my ($self, $text) = @_;
    my ($first) = split /\n/, $text;
    my $conf = $self->slurp('httpd.conf') =~ s/^\Q$first\E\n.*\z/$text/msr;
    open my $f, '>', "$self->{root}/httpd.conf" or die "httpd.conf: $!";
    print {$f} $conf;
    close $f;
    $self->graceful;
}
# VERSION in the environment of the process that answers below this path (an actor); '?': it has gone already; else the status.
sub version {
    my ($self, $path) = @_;
    my $r = $self->get("$path?do=pid");
    return $r->{status} unless $r->{body} =~ /^(\d+)\n\z/;
    return proc_file($1, 'environ') =~ /(?:^|\0)VERSION=(\w+)/ ? $1 : '?';
}

# --- the end ---

sub end_processes {
    my ($self, $seconds) = @_;
    my $pid = delete $self->{pid} or return 1;
    kill TERM => $pid;
    my $end = time + $seconds;
    until (waitpid($pid, POSIX::WNOHANG())) {
        if (time > $end) {
            kill KILL => -$pid;
            waitpid $pid, 0;
            return 0;
        }
        sleep 0.01;
    }
    return 1;
}

sub stop {
    my ($self) = @_;
    delete $running{0 + $self};
    if (!$self->{leave} && $self->{has_manager}) {
        my ($end, $fault) = (time + 10);
        while (($fault = $self->is_steady) && time < $end) { sleep 0.05 }
        Test::More::is($fault, '', 'end: no descriptor is left');
    }
    my $in_time = $self->end_processes(30);
    if (!$self->{leave}) {
        Test::More::ok($in_time, 'end: httpd stops in time');
        my @left = $self->marked;
        Test::More::is("@left", '', 'end: no process is left') or Test::More::diag(map { "$_ " . proc_file($_, 'cmdline') =~ tr/\0/ /r . "\n" } @left);
        Test::More::is_deeply([grep { !m{/registry$} } glob "$self->{root}/run/*"], [], 'end: no socket is left');
        Test::More::is_deeply([glob "$self->{root}/tmp/*"], [], 'end: no temporary file is left');
        Test::More::is_deeply([grep { !$self->{shm}{$_} && -o $_ && m{fcgipm} } glob '/dev/shm/*'], [], 'end: no shared memory is left');
        # AH03490, AH10159, AH00485: httpd's MPM about its own sizes; AH01882: the machine's OpenSSL is older than the one mod_ssl was built with.
        # FPM0460: t/96-escape's process, at which tests beside it look, too. AH03092, AH03093, AH10503: at a stop the event MPM's main thread closes the sockets of threads that still work with them.
        my @lines = grep { /\] \[?(?:\w+:)?(?:warn|error|crit|alert|emerg)\]|AddressSanitizer|runtime error:|exit signal/ } split /\n/, $self->log . $self->slurp('stdout.log');
        for my $re (@{$self->{expect_log}}, qr/AH01906|AH01873|AH00161|AH00287|AH03490|AH10159|AH00485|AH00484|AH00286|AH00558|AH00045|AH10291|AH01882|AH03092|AH03093|AH10503|FPM0460/) { @lines = grep { $_ !~ $re } @lines }
        Test::More::is(scalar @lines, 0, 'end: nothing unexpected in the log') or Test::More::diag(join "\n", @lines[0 .. ($#lines < 20 ? $#lines : 20)]);
    }
    kill KILL => $self->marked;
    if ($ENV{FCGIPM_KEEP}) { Test::More::diag("kept: $self->{root}") } else { system 'rm', '-rf', $self->{root} }
}

END {
    my $status = $?;
    for my $self (values %running) {
        next if $self->{owner} != $$;
        Test::More::diag("last lines of the log:\n", join "\n", grep { defined } (split /\n/, $self->log)[-15 .. -1]) if $status;
        $self->end_processes(15);
        kill KILL => $self->marked;
        system 'rm', '-rf', $self->{root} unless $ENV{FCGIPM_KEEP};
    }
    for (grep { $_->[0] == $$ } @suexec_dirs) {
        my (undef, $dir, @made) = @$_;
        system 'rm', '-rf', $dir;
        rmdir for @made;
    }
    $? = $status;
}
1;
