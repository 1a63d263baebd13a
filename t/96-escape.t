# SPDX-License-Identifier: Apache-2.0
# What a customer, or anybody with an account, can do to those who have more rights and look at him: keep them waiting, have
# them mount, run or write where he wants (docs/threat-model.md says what each is for).
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Copy qw(copy);
use Time::HiRes qw(time sleep);
use POSIX ();
use Fcgipm;

plan skip_all => 'needs root: several users' if $>;
my $shell = app_built('shell.pl');
my $stall = app_built('stall.c');
my $top = File::Temp::tempdir('/opt/fcgipm-escape-XXXXXX', CLEANUP => 1);    # not in /tmp, which some have to themselves
chmod 0755, $top;
my %uid = map { $_ => (getpwnam $_)[2] } qw(nobody daemon);
copy($shell, "$top/shell.pl");
copy($stall, "$top/stall");
chmod 0755, "$top/shell.pl", "$top/stall";
sub sh { my ($h, $pool, $command) = @_; my $r = $h->request(POST => "/$pool", body => $command); return $r->{status} == 200 ? $r->{body} : "status $r->{status}" }

# /dev/fuse is open to all where FUSE is installed; here it may not be. Nobody reads anybody's environment meanwhile (as
# Fcgipm's workers() does): that would wait as well, so it ends by itself soon.
my $fuse = "$top/fuse";
system "mknod $fuse c 10 229 && chmod 0666 $fuse";
my @stalled;
sub stall {
    my ($user, @mode) = @_;
    pipe my $from, my $to or die;
    my $pid = fork // die;
    if (!$pid) {
        setpgrp;
        my ($uid, $gid) = (getpwnam $user)[2, 3];
        $) = "$gid $gid";
        POSIX::setgid($gid);
        POSIX::setuid($uid);
        open STDOUT, '>&', $to;
        exec "$top/stall", $fuse, (@mode ? 30 : 8), @mode or POSIX::_exit(1);
    }
    push @stalled, $pid;
    close $to;
    return (<$from> // '') eq "held\n" ? $pid : undef;
}
sub release { kill KILL => map { -$_ } @stalled; waitpid $_, 0 for @stalled; @stalled = () }
END { my $status = $?; release(); $? = $status }

subtest 'a process whose memory nobody can look at' => sub {
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0460/, qr/FPM0315/, qr/FPM0313/, qr/FPM0644/], conf => <<"EOC");
FcgiMinUid 1
FcgiMinGid 1
<FcgiServer bob>
    FcgiCommand $top/shell.pl
    FcgiUser daemon daemon
    FcgiProcesses 2
    FcgiTimeout stop=1s
</FcgiServer>
<FcgiServer alice>
    FcgiCommand $top/shell.pl
    FcgiUser nobody nogroup
    FcgiProcesses 1
    FcgiRecycle memory=1G
    FcgiTimeout stop=1s
</FcgiServer>
<Location "/bob">
    FcgiPass bob
</Location>
<Location "/alice">
    FcgiPass alice
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
    my $pids = sub { return map { $_->{pid} } grep { $_->{state} eq 'READY' } @{$h->status($_[0])->{workers}} };
    wait_for { $pids->('bob') == 2 && $pids->('alice') == 1 } 20, 'all run';
    my $replaced = sub {
        my ($what) = @_;
        my ($old) = $pids->('bob');
        my $begin = time;
        kill KILL => $old;
        wait_for { my @now = $pids->('bob'); @now == 2 && !grep { $_ == $old } @now } 20, $what;
        cmp_ok time - $begin, '<', 5, "$what: soon";
    };
    $replaced->('a worker that dies is replaced');
    stall('nobody') or do { release(); plan skip_all => 'no FUSE in a user namespace here' };
    $replaced->('... whatever a process of another user does');
    unlike $h->log, qr/FPM0460/, 'at which nobody looks, as it is none of ours';
    release();
    # What the workers of an earlier manager have left can be anywhere.
    my $manager = $h->manager;
    my $pid = stall('daemon');
    kill KILL => $manager;
    wait_for { my $m = $h->manager; $m && $m != $manager } 10, 'a new manager';
    wait_for { $pids->('bob') == 2 } 10, 'which has adopted both';
    $replaced->('... by a new manager');
    ok $h->wait_log(qr/FPM0460: process $pid of uid $uid{daemon} keeps whoever looks/, 3), 'it is told';
    $replaced->('... again');
    is scalar(() = $h->log =~ /FPM0460/g), 1, 'for a while nobody looks at it again';
    release();
    $h->stop;
};

# It waits for a file system that does not answer, as one on a dead NFS server does without any ill will.
subtest 'a process that KILL does not end' => sub {
    my $pid = stall('nobody', 'file') or do { release(); plan skip_all => 'no FUSE in a user namespace here' };
    copy(app_built('walls.c'), "$top/walls");
    chmod 0755, "$top/walls";
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0613/, qr/FPM0318/, qr/FPM0461/], conf => <<"EOC");
FcgiMinUid 1
FcgiMinGid 1
<FcgiServer alice>
    FcgiCommand $top/walls
    FcgiUser nobody nogroup
    FcgiProcesses 1
    FcgiTimeout stop=500ms read=1s
</FcgiServer>
<Location "/alice">
    FcgiPass alice
</Location>
EOC
    is $h->get("/alice?cat=/proc/$pid/root/tmp/file")->{status}, 504, 'its request times out';
    ok $h->wait_log(qr/FPM0461: pool alice slot 0 pid \d+: KILL does not end it, for 1 s: it waits in the kernel/, 10), 'that is told';
    like $h->get('/alice')->{body}, qr/^\d+$/, 'the pool has another one';
    sleep 3.5;
    is scalar(() = $h->log =~ /FPM0318/g), 1, 'the log is not filled with it';
    my ($parent, $manager, $begin) = ($h->pid, $h->manager, time);
    kill TERM => $parent;
    wait_for { waitpid($parent, POSIX::WNOHANG()) != 0 && !Fcgipm::alive($manager) } 20, 'httpd and the manager end';
    cmp_ok time - $begin, '<', 10, '... without it, so that httpd can be started again';
    ok $h->log_has(qr/FPM0360: all workers stopped/), '... in order';
    release();
    delete $h->{pid};
};

# What looks at an application has its user, and can be traced by it: what it may do, that one may do.
subtest 'the slow log\'s command' => sub {
    open my $f, '>', "$top/look" or die;
    print {$f} "#!/bin/sh\necho \"files \$(ulimit -n) nice \$(nice)\"\necho \"group \$(sed -n 's/^0:://p' /proc/self/cgroup)\"\n";
    close $f;
    chmod 0755, "$top/look";
    my ($mount) = map { (split)[1] } grep { (split)[2] eq 'cgroup2' } split /\n/, Fcgipm::proc_file('self', 'mounts');
    my $base = $mount && "$mount/fcgipm-escape-$$";
    $base = undef if $base && !(mkdir($base) && -e "$base/cgroup.kill");
    my $h = Fcgipm->httpd(expect_log => [qr/FPM037[67]/, qr/FPM0680/], conf => ($base ? "FcgiCgroup $base\n" : '') . <<"EOC");
FcgiMinUid 1
FcgiMinGid 1
<FcgiServer alice>
    FcgiCommand $top/shell.pl
    FcgiUser nobody nogroup
    FcgiProcesses 1
    FcgiLimit files=50
    FcgiPriority nice=7
    FcgiSlowLog 200ms $top/look
    FcgiTimeout stop=1s
</FcgiServer>
<Location "/alice">
    FcgiPass alice
</Location>
EOC
    my $own = sh($h, 'alice', "sed -n 's/^0:://p' /proc/self/cgroup");
    like sh($h, 'alice', 'sleep 1; ulimit -n'), qr/^50$/, 'the application\'s limit';
    ok $h->wait_log(qr/FPM0377: .*: slow: files 50 nice 7/, 5), '... is the command\'s as well';
    SKIP: {
        skip 'no control groups here', 4 if !$base;
        like $own, qr{/u$uid{nobody}/p\d+-alice/s0-1$}, 'the application\'s group';
        ok $h->wait_log(qr/FPM0377: .*: slow: group \Q@{[$own =~ s{\n}{}r]}\E$/m, 5), '... as well';
        # Out of it, and below it, as himself and as root of a namespace of his own.
        chomp(my $leaf = "$mount$own");
        my $tries = "for g in $mount $base $leaf/.. $leaf; do echo \$\$ > \$g/cgroup.procs; echo 0 > \$g/cgroup.procs; mkdir \$g/mine; echo 1 > \$g/cgroup.kill; echo 1 > \$g/cgroup.freeze; done; rmdir $leaf $leaf/..";
        sh($h, 'alice', $_) for $tries, "unshare -Ur sh -c '$tries'", "unshare -UrmC sh -c 'mount -t cgroup2 none /mnt; cd /mnt; $tries; mkdir mine; echo 0 > cgroup.procs; echo 0 > ../cgroup.procs'";
        is sh($h, 'alice', "sed -n 's/^0:://p' /proc/self/cgroup"), $own, 'it stays where it is';
        ok !-d "$mount/mine" && !-d "$base/mine" && !-d "$leaf/mine" && !-d "$leaf/../mine", 'and makes none';
    }
    $h->stop;
    rmdir $base if $base;
};

# A group that somebody was given: he makes ours in advance, and moves our processes.
subtest 'control groups of somebody else' => sub {
    my ($mount) = map { (split)[1] } grep { (split)[2] eq 'cgroup2' } split /\n/, Fcgipm::proc_file('self', 'mounts');
    my $base = $mount && "$mount/fcgipm-given-$$";
    plan skip_all => 'no control groups here' if !$base || !mkdir($base) || !-e "$base/cgroup.kill";
    my $conf = "FcgiCgroup $base\n<FcgiServer alice>\n    FcgiCommand $top/shell.pl\n</FcgiServer>\n";
    for my $file ('', '/cgroup.procs') {
        chown $uid{nobody}, -1, "$base$file";
        my ($status, $text) = Fcgipm->configtest(conf => $conf);
        isnt $status, 0, 'it is refused';
        like $text, qr/FcgiCgroup \Q$base\E cannot be: others than root may write to \Q$base$file\E; choose a group that is root's/, 'and said why';
        chown 0, -1, "$base$file";
    }
    my ($status, $text) = Fcgipm->configtest(conf => $conf);
    is $status, 0, 'one of root\'s' or diag $text;
    rmdir $base;
};

# A directory in FcgiRoot that is the user's: root mounts what is writable to him where his link leads.
subtest 'a private /tmp over something else' => sub {
    plan skip_all => 'no mount namespace here' if system 'unshare --mount true 2>/dev/null';
    my $jail = "$top/jail";
    mkdir $_ or die for $jail, map { "$jail/$_" } qw(bin tmp etc var);
    my $said = `gcc -O1 -std=gnu11 -static t/apps/walls.c -o $jail/bin/walls -lfcgi 2>&1`;
    plan skip_all => "no static libraries: $said" if $?;
    chown $uid{nobody}, -1, "$jail/var";
    symlink '/etc', "$jail/var/tmp";
    my $conf = <<"EOC";
FcgiMinUid 1
FcgiMinGid 1
<FcgiServer jailed>
    FcgiRoot $jail
    FcgiCommand /bin/walls
    FcgiUser nobody nogroup
    FcgiProcesses 1
    FcgiPrivateTmp On 1M
    FcgiTimeout stop=1s
</FcgiServer>
<Location "/jailed">
    FcgiPass jailed
</Location>
EOC
    my $h = Fcgipm->httpd(conf => $conf, expect_log => [qr/FPM031[67]/, qr/FPM0330/, qr/FPM06\d\d/]);
    ok $h->wait_log(qr{FPM0316: .*FcgiPrivateTmp: in FcgiRoot $jail /var/tmp is a symbolic link, or /var is; make it a directory, or a link to /tmp}, 10), 'a link of his is not followed';
    unlike $h->get('/jailed?fill=/etc/passwd:1')->{body}, qr/wrote/, 'he writes no passwd';
    $h->stop;
    for my $made (sub { symlink '../tmp', "$jail/var/tmp" }, sub { mkdir "$jail/var/tmp" }) {
        unlink "$jail/var/tmp";
        $made->();
        $h = Fcgipm->httpd(conf => $conf);
        like $h->get('/jailed?fill=/tmp/x:1')->{body}, qr/^wrote 1$/m, 'one that leads to /tmp, or a directory: it starts';
        is $h->get('/jailed?ls=/var/tmp')->{body}, "x\n", '... and both are one';
        $h->stop;
        ok !-e "$jail/tmp/x" && !-e "$jail/var/tmp/x", '... of its own';
    }
};

# A wall stands before what is at its name: a link of his there puts it elsewhere.
subtest 'a wall that somebody else places' => sub {
    plan skip_all => 'no mount namespace here' if system 'unshare --mount true 2>/dev/null';
    mkdir $_ or die for map { "$top/$_" } qw(his his/wall rules);
    open my $f, '>', "$top/rules/deny" or die;
    close $f;
    chown $uid{nobody}, -1, "$top/his", "$top/his/wall";
    symlink "$top/rules", "$top/roots";
    my $conf = sub { my ($directive, $path) = @_; return <<"EOC" };
FcgiMinUid 1
FcgiMinGid 1
<FcgiServer walled>
    FcgiCommand $top/shell.pl
    FcgiUser nobody nogroup
    FcgiProcesses 1
    $directive $path
    FcgiTimeout stop=1s
</FcgiServer>
<Location "/walled">
    FcgiPass walled
</Location>
EOC
    my @may = (qr/FPM031[67]/, qr/FPM0330/, qr/FPM06\d\d/);
    my $rename = sub { rename "$top/his/wall", "$top/his/was"; symlink "$top/rules", "$top/his/wall"; system 'chown', '-h', 'nobody', "$top/his/wall" };
    for my $directive (qw(FcgiInaccessiblePaths FcgiReadOnlyPaths)) {
        $rename->();
        my $h = Fcgipm->httpd(expect_log => \@may, conf => $conf->($directive, "$top/his/wall"));
        ok $h->wait_log(qr{FPM0316: .*$directive $top/his/wall.*symbolic link}, 10), "$directive: his link is not followed";
        unlink "$top/his/wall";
        rename "$top/his/was", "$top/his/wall";
        $h->stop;
        $h = Fcgipm->httpd(conf => $conf->($directive, "$top/roots"));
        is sh($h, 'walled', $directive =~ /Read/ ? "cat /proc/self/mounts | grep -c ' $top/rules .* ro,\\| $top/rules [^ ]* ro'" : "ls $top/rules 2>&1 | grep -c denied"), "1\n", 'root\'s is';
        $h->stop;
    }
};

done_testing;
