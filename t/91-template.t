# SPDX-License-Identifier: Apache-2.0
# Pools on demand: each user of a template has one of his own, that runs as he; nobody's file is served by another's, by no
# trick with links; what a child says chooses no user; they come, go, come back, and stay over reloads and the manager's death.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

plan skip_all => 'needs root' if $>;
need('useradd');
my $actor = app_built('actor.c');

# Three customers of this test's own.
my @users = map { "fpm$_" . $$ } qw(a b c);
my $test = $$;
END { if ($$ == $test) { my $status = $?; system "userdel $_ >/dev/null 2>&1" for @users; $? = $status } }
system("useradd -M -U -d /nonexistent $_") == 0 or BAIL_OUT("useradd $_") for @users;
my ($alice, $bob, $carol) = @users;
my %uid = map { $_ => scalar getpwnam $_ } @users;

sub spit { my ($file, $text, $user, $mode) = @_; open my $f, '>', $file or die "$file: $!"; print {$f} $text // ''; close $f; chown $uid{$user}, -1, $file if $user; chmod $mode // 0644, $file }
sub dirs { my ($user, @dirs) = @_; for (@dirs) { mkdir $_; chmod 0755, $_; chown $uid{$user}, -1, $_ if $user } }
sub uid_of { my ($pid) = @_; return Fcgipm::proc_file($pid, 'status') =~ /^Uid:\s+(\d+)\s+\1\s+\1\s/m ? $1 : 'gone' }
# The user that answers there.
sub who { my ($h, $path) = @_; my $r = $h->get($path); return $r->{status} unless $r->{status} == 200 && $r->{body} =~ /^(\d+)$/m; my ($user) = grep { $uid{$_} == uid_of($1) } @users; return $user // 'uid ' . uid_of($1) }
sub pid_at { my ($h, $path) = @_; return $h->get($path)->{body} =~ /^(\d+)$/m ? $1 : 0 }
sub names { my ($h) = @_; my @names = sort map { $_->{name} } @{$h->status->{pools}}; return @names }
sub rewrite {
    my ($h, $from, $to) = @_;
    my $conf = $h->slurp('httpd.conf');
    $conf =~ s/$from/$to/ or die "no $from in the configuration";
    open my $f, '>', $h->root . '/httpd.conf' or die;
    print {$f} $conf;
}

my $status = "<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n";
my $owner = <<"EOC";
<FcgiServerTemplate own>
    FcgiCommand $actor
    FcgiUserFrom Owner below=\@ROOT\@/srv
    FcgiProcesses 1 3
    FcgiTimeout idle=30s
    FcgiDirectory \@ROOT\@/srv/%{user}
    FcgiEnv HOME_OF "%{user} at /srv/%{user}"
</FcgiServerTemplate>
Alias /srv \@ROOT\@/srv
<Directory \@ROOT\@/srv>
    Require all granted
    Options FollowSymLinks
    AllowOverride None
    <FilesMatch "\\.app\$">
        SetHandler fcgipm:own
    </FilesMatch>
</Directory>
EOC
sub fill {
    my ($h) = @_;
    my $srv = $h->root . '/srv';
    dirs(undef, $srv);
    for my $user (@users) {
        dirs($user, "$srv/$user", "$srv/$user/www");
        spit("$srv/$user/www/x.app", '', $user);
    }
    return $srv;
}

subtest 'the owner of the file' => sub {
    my $h = Fcgipm->httpd(conf => $owner . $status, expect_log => [qr/FPM0701/, qr/FPM0662/]);
    my $srv = fill($h);
    is scalar(() = $h->workers), 0, 'nothing runs';
    is who($h, "/srv/$_/www/x.app?do=pid"), $_, "$_\'s file is run as $_" for @users;
    is_deeply [names($h)], [sort map { "own:$_" } @users], 'each has a pool';
    my %pid = map { $_ => pid_at($h, "/srv/$_/www/x.app?do=pid") } @users;
    is who($h, "/srv/$alice/www/x.app/path/info?do=pid"), $alice, 'with path info';
    my %env = map { split /=/, $_, 2 } split /\0/, Fcgipm::proc_file($pid{$bob}, 'environ');
    is $env{HOME_OF}, "$bob at /srv/$bob", '%{user} in FcgiEnv';
    is readlink("/proc/$pid{$bob}/cwd"), "$srv/$bob", '... and in FcgiDirectory';
    is scalar(() = $h->workers), 3, 'one process each';

    # Bob would have his request run as alice, or alice's pool read his file.
    symlink "$srv/$alice/www/x.app", "$srv/$bob/www/link.app";
    is who($h, "/srv/$bob/www/link.app?do=pid"), 403, 'a link to a file of another';
    symlink "$srv/$alice/www", "$srv/$bob/www/dir";
    is who($h, "/srv/$bob/www/dir/x.app?do=pid"), 403, 'a link to a directory of another';
    symlink "$srv/$bob/www/x.app", "$srv/$bob/www/own.app";
    is who($h, "/srv/$bob/www/own.app?do=pid"), 403, 'not even to his own: it may mean something else in a moment';
    link "$srv/$alice/www/x.app", "$srv/$bob/www/hard.app";
    is who($h, "/srv/$bob/www/hard.app?do=pid"), 403, 'a second name of another\'s file in his directory';
    spit("$srv/$bob/www/open.app", '', $bob, 0666);
    is who($h, "/srv/$bob/www/open.app?do=pid"), 403, 'a file that all may write';
    spit("$srv/$bob/www/group.app", '', $bob, 0664);
    is who($h, "/srv/$bob/www/group.app?do=pid"), 403, 'a file that its group may write';
    dirs($bob, "$srv/$bob/www/group");
    chmod 02775, "$srv/$bob/www/group";
    spit("$srv/$bob/www/group/x.app", '', $bob);
    is who($h, "/srv/$bob/www/group/x.app?do=pid"), 403, '... in a directory that its group may write';
    ok $h->log_has(qr/FPM0701: template own: .*the group of a directory in its path may write to that \(chmod g-w\)/), 'and the log says what to do';
    chmod 0775, $srv;
    is who($h, "/srv/$bob/www/x.app?do=pid"), 403, '... nor below= itself';
    chmod 0755, $srv;
    dirs($bob, "$srv/$bob/www/open");
    chmod 0777, "$srv/$bob/www/open";
    spit("$srv/$bob/www/open/x.app", '', $bob);
    is who($h, "/srv/$bob/www/open/x.app?do=pid"), 403, '... in a directory that all may write';
    spit("$srv/$bob/www/root.app");
    is who($h, "/srv/$bob/www/root.app?do=pid"), 403, 'root\'s file';
    spit("$srv/$bob/www/daemon.app");
    chown 1, -1, "$srv/$bob/www/daemon.app";
    is who($h, "/srv/$bob/www/daemon.app?do=pid"), 403, 'one of an account below minuid';
    spit("$srv/nobodys.app");
    chown 54321, -1, "$srv/nobodys.app";
    is who($h, '/srv/nobodys.app?do=pid'), 403, 'one of no account';
    is $h->get("/srv/$bob/www/none.app")->{status}, 404, 'none';
    my @why = $h->log =~ /FPM0701: template own: (.*?)(?:, referer|$)/mg;
    is scalar @why, 12, 'and the log says why' or diag join "\n", @why;
    is_deeply {map { $_ => pid_at($h, "/srv/$_/www/x.app?do=pid") } @users}, \%pid, 'the processes are the same';

    # The file's owner changes while the pool is there.
    spit("$srv/moved.app", '', $alice);
    is who($h, '/srv/moved.app?do=pid'), $alice, 'alice\'s';
    chown $uid{$bob}, -1, "$srv/moved.app";
    is who($h, '/srv/moved.app?do=pid'), $bob, 'bob\'s from now on';

    my $sum = $h->load(clients => 8, requests => 400, path => "/srv/$carol/www/x.app?do=pid");
    is $sum->{ok}, 400, 'many at a time' or diag join "\n", @{$sum->{bad}};
    cmp_ok scalar(() = $h->workers("own:$carol") || grep { uid_of($_) == $uid{$carol} } $h->workers), '<=', 3, 'within FcgiProcesses';
    my ($code, $said) = $h->ctl('status', "own:$alice");
    is $code, 0, 'fcgipmctl knows it by its name' or diag $said;

    # Reloads and the manager's death.
    my $pids = sub { who($h, "/srv/$_/www/x.app?do=pid") for @users; return join ' ', sort { $a <=> $b } $h->workers };
    my $before = $pids->();
    $h->graceful;
    is $pids->(), $before, 'a reload leaves them alone';
    my $manager = $h->manager;
    kill KILL => $manager;
    wait_for { my $m = $h->manager; $m && $m != $manager && Fcgipm::in_its_loop($m) } 10, 'another manager';
    push @{$h->{expect_log}}, qr/FPM0644/;
    is $pids->(), $before, 'another manager takes them over';
    is_deeply [names($h)], [sort map { "own:$_" } @users], 'as what they are';
    rewrite($h, qr/FcgiProcesses 1 3/, 'FcgiProcesses 0 2');
    $h->graceful;
    is who($h, "/srv/$_/www/x.app?do=pid"), $_, "a changed template: $_ is served" for @users;
    wait_for { !grep { Fcgipm::alive($_) } split / /, $before } 10, 'and the old processes go';
    my $begun = $h->load(clients => 2, requests => 2, path => "/srv/$alice/www/x.app?sleep=1500", background => 1);
    wait_for { my ($pool) = grep { $_->{name} eq "own:$alice" } @{$h->status->{pools}}; 2 == grep { $_->{seats}{busy} } @{($pool // {})->{workers}} } 10, 'two requests run';
    rewrite($h, qr/SetHandler fcgipm:own/, 'SetHandler default-handler');
    rewrite($h, qr/<FcgiServerTemplate own>.*?<\/FcgiServerTemplate>/s, "<FcgiServerTemplate other>\nFcgiCommand $actor\nFcgiUserFrom Server\n</FcgiServerTemplate>");
    $h->graceful;
    $sum = $begun->();
    is $sum->{ok}, 2, 'a template that is gone: what runs is finished' or diag join "\n", @{$sum->{bad}};
    wait_for { !$h->workers } 15, 'and then nothing runs';
    wait_for { !names($h) } 15, 'and nothing is left of it';
    $h->stop;
};

subtest 'they go and come back' => sub {
    my $h = Fcgipm->httpd(conf => $owner =~ s/idle=30s/idle=1s/r . $status);
    fill($h);
    is who($h, "/srv/$alice/www/x.app?do=pid"), $alice, 'it is there';
    is scalar(() = glob $h->root . '/run/p*'), 1, 'with a directory';
    wait_for { !$h->workers } 15, 'its process ends, FcgiProcesses min or not';
    wait_for { !names($h) } 15, 'and it is forgotten';
    is scalar(() = glob $h->root . '/run/p*'), 0, 'also its directory';
    is who($h, "/srv/$bob/www/x.app?do=pid"), $bob, 'another one in its place';
    is who($h, "/srv/$alice/www/x.app?do=pid"), $alice, 'and it comes back';
    is who($h, "/srv/$bob/www/x.app?do=pid"), $bob, 'beside the other one';
    $h->stop;
};

subtest 'more than there is room for' => sub {
    my ($room, $n) = $ENV{FCGIPM_LONG} ? (256, 300) : (48, 60);
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0662/], conf => $status . <<"EOC");
FcgiDemandPools $room
Alias /scripts "\@ROOT\@/scripts"
<Directory "\@ROOT\@/scripts">
    Options ExecCGI
    Require all granted
    SetHandler fcgipm-script
</Directory>
EOC
    my $dir = $h->root . '/scripts';
    mkdir $dir;
    for (1 .. $n) { link($_ == 1 ? $actor : "$dir/s1.app", "$dir/s$_.app") or system('cp', $actor, "$dir/s$_.app") }
    my @bad;
    for my $i (1 .. $n) {
        my $r = $h->get("/scripts/s$i.app?do=env");
        push @bad, "$i: $r->{status} $r->{ms} ms" if $r->{status} != 200 || $r->{body} !~ m{^SCRIPT_FILENAME=\Q$dir\E/s$i\.app$}m;
    }
    is_deeply \@bad, [], "$n programs in turn, room for $room";
    cmp_ok scalar(names($h)), '<=', $room, 'no more than that at a time';
    cmp_ok scalar(names($h)), '>=', $room * 3 / 4, 'and no fewer than need be';
    like $h->log, qr/FPM0432: pool s1\.app: .*makes room/, 'the one that was used longest ago makes room first';
    is $h->get("/scripts/s$_.app?do=pid")->{status}, 200, "s$_ comes back" for 1, 2, $n;
    # Each by its own process, whatever was there before.
    my %exe = map { my $i = $_; my $r = $h->get("/scripts/s$i.app?do=pid"); $i => Fcgipm::proc_file($r->{body} =~ /^(\d+)/, 'cmdline') } 3, 40, $n - 1;
    is_deeply \%exe, {map { $_ => "$dir/s$_.app\0" } keys %exe}, 'each request by its own program';
    diag scalar(() = $h->workers), ' workers';
    $h->stop;
};

# What an httpd child that was taken over can say to the manager.
my ($key_start, $key_prime) = (-3750763034362895579, 1099511628211);    # FNV-1a, 64 bit
sub fnv { use integer; my ($hash, $bytes) = @_; $hash = ($hash ^ $_) * $key_prime for unpack 'C*', $bytes; return $hash }
sub block_key { my ($vhost, $name) = @_; return fnv(fnv($key_start, "s$vhost\0"), "s$name\0") }
sub site_key { my $hash = $key_start; $hash = defined $_ ? fnv($hash, "$_\0") : fnv($hash, "\1") for @_[0 .. 2]; return $hash }
sub childs_socket {
    my ($h) = @_;
    for my $child ($h->children) {
        my $pidfd = syscall 434, $child + 0, 0;    # pidfd_open
        for my $fd (map { m{(\d+)$} } grep { (readlink // '') =~ /^socket/ } glob "/proc/$child/fd/*") {
            my $got = syscall 438, $pidfd, $fd + 0, 0;    # pidfd_getfd
            next if $got < 0;
            open my $s, '+<&=', $got or next;
            my $type = getsockopt $s, Socket::SOL_SOCKET, Socket::SO_TYPE;
            my $domain = getsockopt $s, Socket::SOL_SOCKET, 39;    # SO_DOMAIN
            return $s if $type && unpack('i', $type) == Socket::SOCK_DGRAM && unpack('i', $domain) == Socket::AF_UNIX;
        }
    }
    return;
}
sub forge { my (%m) = @_; my $path = $m{path} // ''; return pack 'L7 x4 q2 a1024', 3, $m{type} // 7, map({ $m{$_} // 0 } qw(pool slot generation)), $m{path_len} // length $path, $m{ms} // 0, $m{block} // 0, $m{site} // 0, $path }

subtest 'forged messages' => sub {
    my $h = Fcgipm->httpd(conf => $owner . $status, loglevel => 'warn fcgipm:debug', expect_log => [qr/FPM0430/]);
    my $srv = fill($h);
    my $s = childs_socket($h);
    ok $s, 'the test has the socket of a child' or do { $h->stop; return };
    my ($block, $site) = (block_key('', 'own'), site_key('', undef, undef));
    my $say = sub { my $m = forge(@_); wait_for { defined send $s, $m, 0 } 10, 'it can be sent' };
    symlink "$srv/$alice/www/x.app", "$srv/$bob/www/link.app";
    link "$srv/$alice/www/x.app", "$srv/$bob/www/hard.app";
    spit("$srv/root.app");
    spit($h->root . '/outside.app', '', $alice);
    my @bad = (
        {path => "$srv/root.app"}, {path => "$srv/root.app", pool => 1001, slot => 1001, generation => 1001, ms => 1001}, {path => "$srv/$bob/www/link.app"},
        {path => "$srv/$bob/www/hard.app"}, {path => $h->root . '/outside.app'}, {path => "$srv/../outside.app"}, {path => "$srv/$bob/../$alice/www/x.app"},
        {path => "$srv/$bob//www/x.app"}, {path => '/etc/passwd'}, {path => ''}, {path => "$srv/$bob/www"}, {path => "$srv/$bob/www/none"},
        {path => "$srv/$alice/www/x.app", block => $block ^ 1}, {path => "$srv/$alice/www/x.app", type => 6}, {path => $actor, type => 6},
        {path => "$srv/$alice/www/x.app", path_len => 2000}, {path => "$srv/$alice/www/x.app", path_len => 3}, {path => "$srv/$alice/www/x.app\0root"},
    );
    $say->(block => $block, site => $site, %$_) for @bad;
    $say->(block => $block, site => $site, path => "$srv/root.app") for 1 .. 100;
    # The manager takes them in order: when this one is answered all before have been looked at.
    sleep 1.1;    # (its limit of a second)
    $say->(block => $block, site => $site, path => "$srv/$carol/www/x.app", pool => $uid{$bob});
    wait_for { grep { $_ eq "own:$carol" } names($h) } 10, 'the honest one gets its pool';
    is_deeply [names($h)], ["own:$carol"], 'and no other one does';
    is who($h, "/srv/$carol/www/x.app?do=pid"), $carol, 'which is right';
    is scalar(() = $h->workers), 1, 'nothing else runs';
    my ($owned) = grep { uid_of($_) == 0 } $h->workers;
    is $owned, undef, 'least of all as root';
    close $s;
    $h->stop;
};

# Nor may it have one virtual host's own command run as another one's user.
subtest 'forged messages: virtual hosts' => sub {
    my $vhost = sub { my ($user, $more) = @_; return "<VirtualHost *:\@PORT\@>\n$more    ServerName $user.test\n    SuexecUserGroup $user $user\n    DocumentRoot \"\@ROOT\@/htdocs\"\n</VirtualHost>\n" };
    my $h = Fcgipm->httpd(loglevel => 'warn fcgipm:debug', expect_log => [qr/FPM0430/], conf => $status
        . $vhost->($alice, "    <FcgiServerTemplate hers>\n        FcgiCommand $actor\n        FcgiUserFrom SuexecUserGroup\n    </FcgiServerTemplate>\n    <Location \"/app\">\n        FcgiPass hers\n    </Location>\n")
        . $vhost->($bob, ''));
    my $port = $h->port;
    my $s = childs_socket($h);
    ok $s, 'the test has the socket of a child' or do { $h->stop; return };
    # (ServerName stands behind the block, so the block's own key does not have it.)
    my %said = (block => block_key(":$port", 'hers'));
    my $say = sub { my $m = forge(%said, @_); wait_for { defined send $s, $m, 0 } 10, 'it can be sent' };
    $say->(site => site_key("$bob.test:$port", $bob, $bob));
    ok $h->wait_log(qr/FPM0430: .*the template hers is another virtual host's/, 5), 'another virtual host\'s template';
    is_deeply [names($h)], [], 'is not its';
    $say->(site => site_key("$alice.test:$port", $alice, $alice));
    wait_for { names($h) } 10, 'its own is';
    is_deeply [names($h)], ["hers:$alice"], 'as its user';
    like $h->raw("GET /app?do=pid HTTP/1.0\r\nHost: $alice.test\r\n\r\n"), qr/^HTTP\/1.1 200/, 'and a request is served by it';
    close $s;
    $h->stop;
};

subtest 'the virtual host' => sub {
    my $vhost = sub { my ($name, $more) = @_; return "<VirtualHost *:\@PORT\@>\n    ServerName $name.test\n    DocumentRoot \"\@ROOT\@/htdocs\"\n    <Location \"/app\">\n        FcgiPass php\n    </Location>\n$more</VirtualHost>\n" };
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0701: template php: the virtual host has no SuexecUserGroup/, qr/FPM0701: .*smallest allowed/, qr/FPM0701: .*there is no user/], conf => $status . <<"EOC"
<FcgiServerTemplate php>
    FcgiCommand $actor
    FcgiUserFrom SuexecUserGroup
    FcgiProcesses 0 2
</FcgiServerTemplate>
EOC
        . $vhost->('none', '') . $vhost->('alice', "    SuexecUserGroup $alice $alice\n") . $vhost->('bob', "    SuexecUserGroup $bob nogroup\n")
        . $vhost->('again', "    SuexecUserGroup $alice $alice\n") . $vhost->('number', "    SuexecUserGroup #$uid{$carol} #$uid{$carol}\n") . $vhost->('root', "    SuexecUserGroup root root\n") . $vhost->('nobody', "    SuexecUserGroup nobodyatall daemon\n")
        . $vhost->('low', "    SuexecUserGroup daemon daemon\n"));
    my $at = sub { my ($name, $path) = @_; my $r = $h->raw("GET $path HTTP/1.0\r\nHost: $name.test\r\n\r\n"); return $r =~ /^HTTP\/1\.1 200.*?\r\n\r\n(\d+)$/ms ? $1 : $r =~ /^HTTP\/1\.1 (\d+)/ ? "status $1" : 'nothing' };
    my $alices = $at->('alice', '/app?do=pid');
    is uid_of($alices), $uid{$alice}, 'its SuexecUserGroup';
    is $at->('again', '/app?do=pid'), $alices, 'another virtual host of the same user has the same pool';
    my $bobs = $at->('bob', '/app?do=pid');
    is uid_of($bobs), $uid{$bob}, 'another user';
    is Fcgipm::proc_file($bobs, 'status') =~ /^Gid:\s+(\d+)\s+\1\s+\1\s/m ? $1 : 'mixed', scalar getgrnam('nogroup'), 'and his group';
    is uid_of($at->('number', '/app?do=pid')), $uid{$carol}, 'by number';
    is $at->($_, '/app?do=pid'), 'status 403', "$_: none" for qw(none root low nobody);
    my $pids = join ' ', sort $h->workers;
    $h->graceful;
    is $at->('alice', '/app?do=pid'), $alices, 'the same after a reload';
    rewrite($h, qr/(ServerName alice.test.*?SuexecUserGroup) $alice $alice/s, "ServerName alice.test\n<Location \"/app\">\nFcgiPass php\n</Location>\nSuexecUserGroup $carol $carol");
    $h->graceful;
    is uid_of($at->('alice', '/app?do=pid')), $uid{$carol}, 'a virtual host that becomes another user\'s';
    is uid_of($at->('again', '/app?do=pid')), $uid{$alice}, 'and one that does not';
    $h->stop;
};

subtest 'the path' => sub {
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0701/], conf => $status . $owner =~ s/FcgiUserFrom Owner .*/FcgiUserFrom Path \@ROOT\@\/srv\/%{user}\/www/r);
    my $srv = fill($h);
    is who($h, "/srv/$_/www/x.app?do=pid"), $_, "$_\'s place" for @users;
    spit("$srv/$alice/www/bobs.app", '', $bob);
    is who($h, "/srv/$alice/www/bobs.app?do=pid"), $alice, 'whoever owns the file';
    spit("$srv/$alice/out.app", '', $alice);
    is who($h, "/srv/$alice/out.app?do=pid"), 403, 'beside the place';
    symlink "$srv/$alice/www", "$srv/$bob/www/dir";
    is who($h, "/srv/$bob/www/dir/x.app?do=pid"), 403, 'through a link';
    chmod 0664, "$srv/$alice/www/bobs.app";
    is who($h, "/srv/$alice/www/bobs.app?do=pid"), $alice, 'or its group writes it';
    dirs($alice, "$srv/$alice/www/uploads");
    chmod 0777, "$srv/$alice/www/uploads";
    spit("$srv/$alice/www/uploads/x.app", '', $bob);
    is who($h, "/srv/$alice/www/uploads/x.app?do=pid"), 403, 'but what anybody may put there is nobody\'s';
    dirs(undef, "$srv/$_", "$srv/$_/www") for qw(root daemon nobodyatall);
    spit("$srv/$_/www/x.app") for qw(root daemon nobodyatall);
    is who($h, "/srv/$_/www/x.app?do=pid"), 403, "$_: none" for qw(root daemon nobodyatall);
    $h->stop;
};

# Declared, live: what is not used costs nothing but its lines in the configuration.
my ($declared, $live) = $ENV{FCGIPM_LONG} ? (5000, 200) : (300, 20);
sub pss { my ($pid) = @_; return Fcgipm::proc_file($pid, 'smaps_rollup') =~ /^Pss:\s+(\d+)/m ? $1 : 0 }
sub cpu_us { my @f = split ' ', (Fcgipm::proc_file($_[0], 'stat') =~ s/.*\) //sr); return ($f[11] + $f[12]) * 10_000 }
sub many {
    my ($n, $alive) = @_;
    my $begin = time;
    my $h = Fcgipm->httpd(mpm_conf => "StartServers 1\nServerLimit 1\nThreadsPerChild 8\nThreadLimit 8\nMaxRequestWorkers 8\nMinSpareThreads 1\nMaxSpareThreads 8\n",
        conf => $status . "<FcgiServerTemplate each>\n    FcgiCommand $actor\n    FcgiUserFrom Server\n    FcgiProcesses 0 2\n</FcgiServerTemplate>\n<Location \"/app\">\n    FcgiPass each\n</Location>\n"
        . join '', map { "<VirtualHost *:\@PORT\@>\nServerName v$_.test\nDocumentRoot \"\@ROOT\@/htdocs\"\n</VirtualHost>\n" } 1 .. $n);
    my $start = time - $begin;
    my $ask = sub { return $h->raw("GET /app?do=pid HTTP/1.0\r\nHost: v$_[0].test\r\n\r\n") =~ /^HTTP\/1\.1 200.*?\r\n\r\n(\d+)$/ms ? $1 : 0 };
    my %pid = map { $_ => $ask->($_) } 1 .. $alive;
    is scalar(grep { $_ } values %pid), $alive, "$n virtual hosts, $alive in use: all answer";
    my %seen = map { $_ => 1 } values %pid;
    is scalar keys %seen, $alive, '... each by a pool of its own';
    my ($child) = $h->children;
    my $s = $h->connect;
    my $get = sub { print {$s} "GET /app?do=pid HTTP/1.1\r\nHost: v1.test\r\n\r\n"; my ($got) = Fcgipm::read_all($s, 20, sub { ${$_[0]} =~ /\r\n\r\n.*\n|\r\n0\r\n\r\n/s }); return $got =~ /^HTTP\/1.1 200/ };
    my $count = $ENV{FCGIPM_LONG} ? 10_000 : 100;
    my ($before, $managers, $good) = (cpu_us($child), cpu_us($h->manager), 0);
    $good += $get->() for 1 .. $count;
    is $good, $count, '... and go on';
    diag sprintf '%d declared, %d live: start %.2f s; PSS in KB: parent %d, manager %d, child %d; CPU per request: httpd %.0f us, manager %.1f us', $n, $alive, $start, pss($h->pid), pss($h->manager), pss($child),
        (cpu_us($child) - $before) / $count, (cpu_us($h->manager) - $managers) / $count if $ENV{FCGIPM_LONG};
    $h->stop;
}
subtest 'many declared, some live' => sub { many(1, 1); many($declared, 1) if $ENV{FCGIPM_LONG}; many($declared, $live) };

subtest 'FcgiUserWorkers' => sub {
    my $more = "<FcgiServer plain>\n    FcgiCommand $actor\n    FcgiUser $alice\n    FcgiProcesses 0 4\n    FcgiTimeout idle=60s\n</FcgiServer>\n<Location \"/plain\">\n    FcgiPass plain\n</Location>\n";
    my $h = Fcgipm->httpd(conf => "FcgiUserWorkers 2\n" . $owner =~ s/FcgiProcesses 1 3/FcgiProcesses 0 4/r . $more . $status, expect_log => [qr/FPM0374/]);
    fill($h);
    is who($h, "/srv/$bob/www/x.app?do=pid"), $bob, 'bob has one';
    my ($bobs) = $h->workers;
    my $of = sub { my ($user) = @_; return scalar grep { uid_of($_) == $uid{$user} } $h->workers };
    my $most = 0;
    my $load = $h->load(clients => 6, requests => 18, path => "/srv/$alice/www/x.app?sleep=200", background => 1);
    wait_for { $of->($alice) >= 2 } 10, 'alice has two';
    for (1 .. 20) { my $n = $of->($alice); $most = $n if $n > $most; sleep 0.03 }
    my $sum = $load->();
    is $sum->{ok}, 18, 'all are answered' or diag join "\n", @{$sum->{bad}};
    is $most, 2, 'by no more than two';
    is uid_of($h->get('/plain?do=pid')->{body} =~ /^(\d+)/), $uid{$alice}, 'another pool of hers';
    ok $h->log_has(qr/FPM0374: pool own:$alice .*evicted.*pool plain of the same user needs a process \(FcgiUserWorkers 2\)/), 'gets the place of an idle one of hers' or diag join "\n", grep { /FPM03/ } split /\n/, $h->log;
    wait_for { $of->($alice) <= 2 } 10, 'two in all';
    is join(' ', grep { uid_of($_) == $uid{$bob} } $h->workers), $bobs, 'and bob keeps his';
    $h->stop;
};

subtest 'wrong ones are refused' => sub {
    my $wrong = sub {
        my ($lines, $like, $block) = @_;
        $block //= 'FcgiServerTemplate';
        my ($code, $said) = Fcgipm->configtest(conf => "<$block x>\nFcgiCommand $actor\n$lines\n</$block>\n");
        isnt $code, 0, "refused: $lines";
        like $said, $like, '... and why';
    };
    $wrong->('', qr/<FcgiServerTemplate x>: FcgiUserFrom is missing; write/);
    $wrong->('FcgiUserFrom Owner', qr/FcgiUserFrom Owner: write also where .*below=/);
    $wrong->('FcgiUserFrom Owner below=srv', qr/FcgiUserFrom Owner: write also/);
    $wrong->('FcgiUserFrom Path', qr/FcgiUserFrom Path: write also/);
    $wrong->("FcgiUserFrom Path $_", qr/FcgiUserFrom Path: write also/) for '/home/user', '/home/x%{user}/www', '/home/%{user}x', '%{user}/x', '/home/%{user}/%{user}';
    $wrong->('FcgiUserFrom Server below=/srv', qr/below=: only with Owner/);
    $wrong->('FcgiUserFrom Server /srv/%{user}', qr/only with Path/);
    $wrong->('FcgiUserFrom Nobody', qr/FcgiUserFrom Nobody: not known; write one of/);
    $wrong->("FcgiUserFrom Server\nFcgiUser $alice", qr/FcgiUser: a template has its users from FcgiUserFrom/);
    $wrong->("FcgiUserFrom Server\nFcgiProcesses 0 15", qr/FcgiProcesses 15: .* at most 14/);
    $wrong->("FcgiUserFrom Server\nFcgiConcurrency 32", qr/FcgiConcurrency 32 with FcgiProcesses 4: .* at most 10/);
    $wrong->("FcgiUserFrom Server\nFcgiQueue length=500", qr/FcgiQueue length=500: .* at most 256/);
    $wrong->('FcgiUserFrom Owner below=/srv', qr/FcgiUserFrom belongs in <FcgiServerTemplate>/, 'FcgiServer');
    my ($code, $said) = Fcgipm->configtest(conf => "<FcgiServerTemplate x>\nFcgiConnect 127.0.0.1:9\nFcgiUserFrom Server\n</FcgiServerTemplate>\n");
    like $said, qr/FcgiConnect: a template starts its processes itself/, 'FcgiConnect';
};

done_testing;
