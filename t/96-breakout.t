# SPDX-License-Identifier: Apache-2.0
# Ways out of a pool, and into another one's, that were tried by hand and are kept (docs/threat-model.md says what each is
# for): an application that does what it likes (t/apps/shell.pl), and a customer with .htaccess beside others in one virtual
# host.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Copy qw(copy);
use Time::HiRes qw(time sleep);
use Fcgipm;

plan skip_all => 'needs root: several users' if $>;
my $shell = app_built('shell.pl');
my $top = File::Temp::tempdir('/opt/fcgipm-breakout-XXXXXX', CLEANUP => 1);    # not in /tmp, which some have to themselves
chmod 0755, $top;
my %uid = map { $_ => (getpwnam $_)[2] } qw(nobody daemon);
sub spit {
    my ($path, $text, $user) = @_;
    open my $f, '>', "$top/$path" or die "$path: $!";
    print {$f} $text;
    close $f;
    chown $uid{$user}, (getpwnam $user)[3], "$top/$path" if $user;
}
mkdir "$top/$_" for qw(bin www www/alice www/bob www/shared alice alice/own alice/own/hidden hidden files files/alice files/bob);
copy($shell, "$top/bin/shell.pl");
chmod 0755, "$top/bin/shell.pl";
chown $uid{nobody}, -1, map { "$top/$_" } qw(alice alice/own alice/own/hidden www/alice files/alice);
chown $uid{daemon}, -1, "$top/www/bob";
spit('hidden/file', "hidden\n");
spit('alice/own/hidden/file', "hidden\n");
spit('www/bob/secret', "bob's secret\n", 'daemon');
chmod 0600, "$top/www/bob/secret";
my $php = -x '/usr/bin/php-cgi' && <<"EOC";
<FcgiServerTemplate php>
    FcgiCommand /usr/bin/php-cgi
    FcgiUserFrom Owner below=$top/www minuid=1
    FcgiProcesses 0 2
</FcgiServerTemplate>
EOC
my @pools = qw(bob alice grouped plain walled);
sub pool { my ($name, $user, @more) = @_; return join "\n    ", "<FcgiServer $name>", "FcgiCommand $top/bin/shell.pl", ($user ? "FcgiUser $user" : ()), 'FcgiProcesses 1', 'FcgiTimeout stop=1s', @more, "FcgiEnv SECRET of-$name\n</FcgiServer>\n" }
my $conf = "FcgiMinUid 1\nFcgiMinGid 1\n"
    . pool('bob', 'daemon daemon') . pool('alice', 'nobody nogroup', "FcgiSendfile $top/files/alice") . pool('grouped', 'nobody www-data') . pool('plain', '')
    . pool('walled', 'nobody nogroup', 'FcgiPrivateTmp On', "FcgiReadOnlyPaths $top/files", "FcgiInaccessiblePaths $top/hidden $top/alice/own/hidden", 'FcgiLimit files=100')
    . join('', map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } @pools);
my $h = Fcgipm->httpd(
    modules => [qw(proxy proxy_fcgi include actions)],
    expect_log => [qr/FPM0801/, qr/FPM066[58]/, qr/FPM0702/, qr/core:alert.*\.htaccess: /, qr/FPM0672/, qr/FPM0680: .*FcgiInaccessiblePaths/, qr/FPM0681/, qr/FPM0701/, qr/AH02454/, qr/AH01079/],
    conf => $conf . ($php || '') . <<"EOC");
<FcgiServerTemplate each>
    FcgiCommand $top/bin/shell.pl
    FcgiUserFrom Owner below=$top/www minuid=1
    FcgiProcesses 0 1
    FcgiTimeout stop=1s
</FcgiServerTemplate>
Alias /www $top/www
Alias /files $top/files
<Directory "$top">
    Require all granted
    Options FollowSymLinks IncludesNOEXEC
</Directory>
<Directory "$top/www">
    AllowOverride FileInfo Indexes Options=ExecCGI
    <FilesMatch "\\.each\$">
        SetHandler fcgipm:each
    </FilesMatch>
    AddHandler fcgipm-script .fcgi
    @{[$php ? qq{<FilesMatch "\\.php\$">\n        SetHandler fcgipm:php\n    </FilesMatch>} : '']}
</Directory>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
wait_for { my $n = 0; $n += (($h->status($_) // {})->{ready} // 0) for @pools; $n == @pools } 20, 'all run';
my $run = $h->root . '/run';
my ($sock) = glob "$run/p" . $h->status('bob')->{index} . '/s0-*.sock';
like $sock, qr{/s0-[\w-]{8}\.sock$}, 'bob\'s socket';
sub sh { my ($pool, $command) = @_; my $r = $h->request(POST => "/$pool", body => $command); return $r->{status} == 200 ? $r->{body} : "status $r->{status}" }
sub head_of { my ($head) = @_; return $h->request(POST => '/alice?do=head', body => "$head\r\n\r\n") }
sub htaccess { spit('www/alice/.htaccess', join("\n", @_, ''), 'nobody') }

subtest 'another one\'s socket' => sub {
    my $dir = $sock =~ s{/[^/]+$}{}r;
    my $connect = q{perl -MIO::Socket::UNIX -e 'print IO::Socket::UNIX->new(Peer => $ARGV[0]) ? "in" : "out", "\n"'};
    is sh('alice', "$connect $sock"), "out\n", 'another user: even who knows its name';
    for my $pool (qw(alice grouped plain)) {
        like sh($pool, "ls $run || ls $dir || cat $dir/* $run/registry || touch $dir/x || mv $dir $dir.x; echo done"), qr/^(?:(?:ls|cat|touch|mv): .*(?:denied|No such|not permitted).*\n)+done\n$/, "$pool: the directories do not tell it";
        # The name it was made with is there for all to see, and is not it.
        is sh($pool, "for s in \$(sed -n 's,.* \\($run/p.*\\),\\1,p' /proc/net/unix | sort -u) $dir/s0.sock; do $connect \$s; done | sort -u"), "out\n", "$pool: nor does the kernel";
        # (Who runs as httpd's own user may signal its children: give applications a FcgiUser.)
        is sh($pool, 'for i in ' . join(' ', $h->pid, $h->manager, $h->workers('bob'), $pool eq 'plain' ? () : $h->children) . '; do kill -0 $i && echo killed; done 2>&1 | grep ^killed; for i in '
            . join(' ', $h->pid, $h->manager, $h->workers('bob'), $h->children) . '; do for f in environ maps mem; do cat /proc/$i/$f && echo read; done; ls /proc/$i/fd && echo listed; done 2>&1 | grep -E "^(read|listed|SECRET)"; echo done'),
            "done\n", "$pool: nor httpd's processes";
    }
    unlike $h->log, qr/\Q@{[$sock =~ m{(s0-.*)}]}\E/, 'the log does not name it';
};

subtest 'httpd as a way to it: proxy:unix:' => sub {
    plan skip_all => 'no mod_proxy_fcgi' unless -e Fcgipm::modules_dir() . '/mod_proxy_fcgi.so';
    spit("www/alice/$_", '', 'nobody') for qw(a.x b.x c.x);
    my $dir = $sock =~ s{/[^/]+$}{}r;
    symlink "$dir/s0.sock", "$top/www/alice/link";
    htaccess('<Files a.x>', qq{SetHandler "proxy:unix:$dir/s0.sock|fcgi://localhost/"}, '</Files>', '<Files b.x>', qq{SetHandler "proxy:unix:$top/www/alice/link|fcgi://localhost/"}, '</Files>',
        '<Files c.x>', qq{SetHandler "proxy:unix:$dir/s0.sock.new|fcgi://localhost/"}, '</Files>');
    for my $file (qw(a.x b.x c.x)) {
        my $r = $h->get("/www/alice/$file?do=env");
        is $r->{status}, 503, "$file: no such socket";
        unlike $r->{body}, qr/of-bob/, 'and no answer of bob\'s';
    }
};

subtest 'handlers in .htaccess' => sub {
    spit('www/alice/own', '', 'nobody');
    chmod 0755, "$top/www/alice/own";
    for my $try (['SetHandler fcgipm:bob'], ['FcgiPass bob'], ['<If "true">', 'SetHandler fcgipm:bob', '</If>'], ['<Files own>', 'FcgiPass bob', '</Files>'],
        ['ForceType fcgipm:bob'], ['RewriteEngine On', 'RewriteRule own - [H=fcgipm:bob]'], ['SetHandler fcgipm-status'], ['ForceType fcgipm-status'], ['RewriteEngine On', 'RewriteRule own - [H=fcgipm-status]'],
        ['SetHandler fcgipm-script']) {
        htaccess(@$try);
        my $r = $h->get('/www/alice/own?json');
        is $r->{status}, 403, join '; ', @$try;
        unlike $r->{body}, qr/"pools"|of-bob/, 'nothing of others';
    }
    for my $try (['FcgiAllowPass bob'], ['FcgiPass bob prefix=/www'], ['FcgiCommand /bin/sh'], ['FcgiEnv A b'], ['FcgiAllowWrapper "/bin/sh"'], ['SetHandler fcgipm-wrapper']) {
        htaccess(@$try);
        is $h->get('/www/alice/own')->{status}, 500, "not allowed: @$try";
    }
    is $h->get('/st?json')->{status}, 200, 'the status page where it belongs';
};

# DirectoryIndex, FallbackResource and SSI lead to another place with the variables of this one.
subtest 'variables that choose the program' => sub {
    plan skip_all => 'no php-cgi' unless $php;
    spit('www/alice/evil.php', "EVIL <?php echo posix_geteuid(), file_get_contents('$top/www/bob/secret');", 'nobody');
    copy("$top/www/alice/evil.php", "$top/www/alice/evil.txt");
    spit('www/bob/x.php', '<?php echo "bob ", posix_geteuid();', 'daemon');
    spit('www/alice/i.shtml', '<!--#include virtual="/www/bob/x.php" -->', 'nobody');
    my @vars = map { "SetEnv $_" } "PATH_TRANSLATED $top/www/alice/evil.php", 'REDIRECT_URL /x', "SCRIPT_FILENAME $top/www/alice/evil.php", "ORIG_SCRIPT_FILENAME $top/www/alice/evil.php",
        "ORIG_PATH_TRANSLATED $top/www/alice/evil.php", 'SCRIPT_NAME /www/alice/evil.php', "DOCUMENT_ROOT $top/www/alice";
    for my $way (['/www/alice/', 'DirectoryIndex /www/bob/x.php'], ['/www/alice/nothing', 'FallbackResource /www/bob/x.php'], ['/www/alice/i.shtml', 'AddOutputFilter INCLUDES .shtml'],
        ['/www/alice/evil.txt', 'SetHandler evil', 'Action evil /www/bob/x.php virtual'], ['/www/alice/nothing', 'ErrorDocument 404 /www/bob/x.php/www/alice/evil.php'],
        ['/www/alice/', 'DirectoryIndex /www/bob/x.php/www/alice/evil.txt'], ['/www/alice/nothing', 'ErrorDocument 404 /www/bob/x.php'], ['/www/alice/go', 'RewriteEngine On', "RewriteRule ^go\$ /www/bob/x.php [L,E=PATH_TRANSLATED:$top/www/alice/evil.php]"]) {
        my ($url, @lines) = @$way;
        htaccess(@vars, @lines);
        is $h->get($url)->{body}, "bob $uid{daemon}", "bob's script it is that runs as bob: $lines[-1]";
    }
    spit('www/bob/own.php', '<?php echo getenv("APP_CONFIG");', 'daemon');
    spit('www/bob/.htaccess', "SetEnv APP_CONFIG bob\n", 'daemon');
    htaccess('SetEnv APP_CONFIG alice', 'DirectoryIndex /www/bob/own.php');
    is $h->get('/www/alice/')->{body}, 'bob', 'what bob has set is what he gets';
    htaccess('');
    is $h->get('/www/bob/x.php/www/alice/evil.php')->{body}, "bob $uid{daemon}", 'nor does a path behind it';
    spit('www/alice/a.jpg', 'JPG <?php echo "ran";', 'nobody');
    is $h->get('/www/alice/a.jpg/x.php')->{status}, 404, 'a picture with a name behind it is not a script';
    # In a directory of root's that a group may write, its members could exchange files between our look and php's.
    spit('www/shared/x.php', '<?php echo "shared ", posix_geteuid();', 'daemon');
    chmod 0755, "$top/www/shared";
    is $h->get('/www/shared/x.php')->{body}, "shared $uid{daemon}", 'a file in a directory of root\'s';
    chmod 0775, "$top/www/shared";
    is $h->get('/www/shared/x.php')->{status}, 403, 'not in one where a group may write';
    for my $open ([0, 0775], [$uid{nobody}, 0755]) {
        chown $open->[0], -1, "$top/www";
        chmod $open->[1], "$top/www";
        is $h->get('/www/bob/x.php')->{status}, 403, 'nor where it is so above them all' if $open->[1] == 0775;
        my ($status, $text) = Fcgipm->configtest(conf => $php);
        like $text, qr{FPM0680: .*FcgiServerTemplate php> FcgiUserFrom: others than root may write to $top/www\b}, 'which configtest tells';
    }
    chown 0, -1, "$top/www";
    chmod 0755, "$top/www";
    is $h->get('/www/bob/x.php')->{status}, 200, 'and again';
};

subtest 'files by X-Sendfile' => sub {
    spit('files/alice/f', "alice's\n", 'nobody');
    spit('files/bob/f', "bob's\n");
    symlink "$top/files/bob/f", "$top/files/alice/link";
    symlink '..', "$top/files/alice/up";
    is head_of("X-Sendfile: $top/files/alice/f")->{body}, "alice's\n", 'its own';
    for my $path ('bob/f', 'alice/../bob/f', 'alice/%2e%2e/bob/f', 'alice/link', 'alice/up/bob/f', 'alice', 'alice/f%00') {
        is head_of("X-Sendfile: $top/files/$path")->{status}, 502, $path;
    }
    is head_of("X-Accel-Redirect: $_")->{status}, 502, $_ for '/files/bob/f', '/files/alice/%2e%2e/bob/f', '/files/alice/link', '/st', '/bob';
    sh('alice', "cd $top/files/alice; (while :; do ln -s $top/files/bob/f n; mv -f n race; echo mine > m; mv -f m race; done) > /dev/null 2>&1 &");
    my (%got, $n);
    for ($n = 0, my $end = time + 2; time < $end; $n++) { $got{head_of("X-Sendfile: $top/files/alice/race")->{body} =~ s/^<!DOC.*/refused/sr}++ }
    delete @got{'', "mine\n", 'refused'};
    is join(' ', keys %got), '', "a link that comes and goes: $n times";
};

subtest 'walls' => sub {
    like $h->log, qr{FPM0680: .*FcgiInaccessiblePaths $top/alice/own/hidden: the application's user may rename what is in $top/alice/own\b}, 'a wall that its user can walk around is told';
    unlike $h->log, qr{FcgiInaccessiblePaths $top/hidden: }, 'another one is not';
    my $way = sub { my ($what, $command) = @_; unlike sh('walled', "$command; cat $top/hidden/file; echo end"), qr/^hidden$/m, $what };
    my $new = sub { return "unshare -Urm sh -c '$_[0]; cat $top/hidden/file /tmp/x/hidden/file /tmp/x$top/hidden/file; echo > $top/files/new'" };
    $way->(@$_) for ['as it is', ':'], ['umount', $new->("umount -l $top/hidden")], ['a second view', $new->("mkdir /tmp/x; mount --bind $top /tmp/x; mount --rbind / /tmp/x")],
        ['moving it', $new->("mkdir /tmp/x; mount --move $top/hidden /tmp/x")], ['writing', $new->("mount -o remount,rw,bind $top/files")],
        ['roots of others', 'for i in ' . join(' ', 1, $h->pid, $h->manager, $h->children, $h->workers('bob')) . "; do cat /proc/\$i/root/$top/hidden/file; done"];
    ok !-e "$top/files/new", 'nothing was written';
    like sh('walled', 'ulimit -n 1000; setsid sh -c "ulimit -n 1000; ulimit -n"; prlimit --nofile=1000:1000 true'), qr/^100$/m, 'a limit stays';
    like sh('walled', 'nice -n -5 true; echo -1000 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj'), qr/^(?:0|\d+)$/m, 'and a priority';
};

# A child of httpd that somebody else has in hand asks for pools: in a message as honest ones send it, but for the path.
subtest 'demands of a hijacked child' => sub {
    my $pidfd = sub { my ($pid) = @_; my $fd = syscall 434, $pid + 0, 0; return $fd < 0 ? undef : $fd };    # pidfd_open
    my $datagrams = sub {    # descriptors of a process that are such sockets, as our own (pidfd_getfd)
        my ($pid) = @_;
        my $of = $pidfd->($pid) // return;
        my @all;
        for my $nr (grep { (readlink("/proc/$pid/fd/$_") // '') =~ /^socket:/ } map { m{(\d+)$} } glob "/proc/$pid/fd/*") {
            my $fd = syscall 438, $of, $nr + 0, 0;
            next if $fd < 0;
            open my $s, '+<&=', $fd or next;
            push @all, $s if unpack('i', getsockopt($s, Socket::SOL_SOCKET(), Socket::SO_TYPE()) // pack 'i', 0) == Socket::SOCK_DGRAM();
        }
        POSIX::close($of);
        return @all;
    };
    spit("www/$_->[0]/x.each", '', $_->[1]) for ['alice', 'nobody'], ['bob', 'daemon'], ['shared', 'daemon'];
    spit('www/root.each', '');
    spit('www/program.fcgi', "#!/bin/sh\nexec sleep 600\n");
    chmod 0755, "$top/www/program.fcgi";
    chmod 0775, "$top/www/shared";
    copy('/bin/sleep', "$top/www/setuid.fcgi");
    chmod 04755, "$top/www/setuid.fcgi";
    symlink '/bin/sleep', "$top/www/link.fcgi";
    symlink "$top/www/bob/x.each", "$top/www/alice/link.each";
    # What an honest child sends, taken from the manager's end while that does not read it; and which end of the child's is
    # the other one.
    my ($manager, $message, $in, $out) = ($h->manager);
    kill STOP => $manager;
    my $s = $h->connect;
    print {$s} "GET /www/alice/x.each?do=env HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    wait_for { for my $fd ($datagrams->($manager)) { recv $in = $fd, $message, 4096, Socket::MSG_DONTWAIT(); return 1 if length($message // '') == 1072 } 0 } 10, 'a message';
    for my $fd ($datagrams->(($h->children)[0])) {
        send $fd, $message, Socket::MSG_DONTWAIT();
        recv $in, my $came, 4096, Socket::MSG_DONTWAIT();
        $out = $fd if length($came // '') == 1072;
    }
    ok $out, 'a child\'s end';
    send $out, $message, 0;
    kill CONT => $manager;
    like((Fcgipm::read_all($s, 20))[0], qr/ 200 OK/, 'which is honest');
    my ($version, $type, @rest) = unpack 'L7 x4 Q2', $message;
    my ($block, $site) = @rest[5, 6];
    my $send = sub {
        my ($path, %o) = @_;
        my $m = pack 'L7 x4 Q2 a1024', $version, $o{type} // $type, 0, 0, 0, $o{len} // length $path, 0, $o{block} // $block, $site, $path;
        wait_for { send $out, $m, Socket::MSG_DONTWAIT() } 10, 'it is sent';
    };
    my $seen = sub {
        my @all;
        for my $pid (Fcgipm::children_of($manager)) {
            my ($uid) = Fcgipm::proc_file($pid, 'status') =~ /^Uid:\t(\d+)/m;
            push @all, ($uid // '?') . ':' . Fcgipm::proc_file($pid, 'cmdline') =~ s/\0/ /gr;
        }
        return join ', ', sort @all;
    };
    my $made = sub { return join ' ', sort grep { /^each:|fcgi$|sleep/ } map { $_->{name} } @{$h->status->{pools}} };
    $send->($_) for '/etc/passwd', "$top/www/root.each", "$top/www/bob/../root.each", "$top/www/../www/bob/x.each", "$top//www/bob/x.each", "$top/www/alice/link.each", "$top/www/shared/x.each", "$top/www/bob",
        "$top/www/nothing", "www/bob/x.each", '', '/', "$top/www/bob/x.each\n", '/' . 'x' x 1023, "/proc/self/root$top/www/bob/x.each";
    $send->("$top/www/bob/x.each", block => $_) for 0, $block + 1, ~0;
    $send->("$top/www/bob/x.each", len => $_) for 0, 5, 1024, 4_294_967_295;
    my $script = $type - 1;
    $send->($_, type => $script) for "$top/www/setuid.fcgi", "$top/www/link.fcgi", '/etc/passwd', "$top/www", 'bin/sleep', "$top/www/../www/program.fcgi", '', "/proc/self/exe", '/bin/sleep 600', "$top/www/x.each";
    # Behind them, what it may: what a request could ask for as well, and as whom the configuration says.
    $send->("$top/www/bob/x.each");
    $send->("$top/www/program.fcgi", type => $script);
    wait_for { $made->() =~ /program/ } 10, 'others are made';
    is $made->(), 'each:daemon each:nobody program.fcgi', 'no pool was made for forged ones';
    unlike $seen->(), qr/(?:^|, )0:/, 'nothing of root\'s';
};

# Its parent is the manager, so PTRACE_TRACEME makes that its tracer: stops of it are no deaths.
subtest 'traced by the manager' => sub {
    my $manager = $h->manager;
    spit('bin/traced.pl', q{syscall 101, 0, 0, 0, 0; kill STOP => $$; sleep 600});
    sh('bob', "(setsid sh -c 'sleep 0.2; exec perl $top/bin/traced.pl' > /dev/null 2>&1 &)");
    wait_for { grep { Fcgipm::proc_file($_, 'cmdline') =~ /traced\.pl/ && Fcgipm::proc_file($_, 'status') =~ /^TracerPid:\t$manager$/m } map { m{(\d+)} } glob '/proc/[0-9]*' } 10, 'it is traced';
    is sh('bob', 'echo served'), "served\n", 'bob is served';
    is $h->manager, $manager, 'by the same manager';
};
# The mark of who came through suexec, as a client may have put it into the environment of a CGI program of somebody else.
my $cgi = fork // die;
if (!$cgi) {
    POSIX::setuid($uid{nobody});
    $ENV{HTTP_FCGIPM_WORKER} = "$run:0:0:1";
    exec 'sleep', 600;
}
wait_for { Fcgipm::proc_file($cgi, 'comm') eq "sleep\n" } 5, 'it has it';
$h->stop;
ok !waitpid($cgi, POSIX::WNOHANG()), 'a request\'s header is no mark of ours';
kill KILL => $cgi;
waitpid $cgi, 0;
is scalar(grep { Fcgipm::proc_file($_, 'cmdline') =~ /\Q$top\E/ } map { m{(\d+)} } glob '/proc/[0-9]*'), 0, 'nobody is left';
done_testing;
