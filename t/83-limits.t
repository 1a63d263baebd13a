# SPDX-License-Identifier: Apache-2.0
# Limits and walls: what a process may use (FcgiLimit, FcgiPriority), whom it may be (FcgiUser, FcgiMinUid,
# FcgiNoNewPrivs), and what it sees and can write of the file system (FcgiRoot, FcgiPrivateTmp, FcgiReadOnlyPaths,
# FcgiInaccessiblePaths). Each is asked of the kernel or tried by the application. What cannot be had is a refused
# configuration and a failed start, and never a process without it.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(sleep);
use Fcgipm;

plan skip_all => 'needs root: limits of other users, chroot and mounts' if $>;
need(qw(useradd userdel ionice setpriv prlimit unshare gcc));

# Not below /tmp: FcgiPrivateTmp hides that. Users of its own, as RLIMIT_NPROC counts all processes of a user.
my ($user, $odd) = map { "fcgipm$_$$" } 'l', 'z';
my $top = "/srv/fcgipm-walls-$$";
my $tester = $$;
sub tidy {
    return if $$ != $tester;
    system "umount $top/ro/below 2>/dev/null";
    system "umount $top/ro 2>/dev/null";
    system "userdel $_ 2>/dev/null" for $user, $odd;
    system 'rm', '-rf', $top;
}
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
END { my $status = $?; tidy(); $? = $status }
system('useradd', '--system', '--no-create-home', '--shell', '/usr/sbin/nologin', $user) == 0 or BAIL_OUT('useradd');
system('useradd', '--system', '--no-create-home', '--shell', '/usr/sbin/nologin', '--groups', 'root', $odd) == 0 or BAIL_OUT('useradd');
my ($uid, $gid) = (getpwnam $user)[2, 3];
mkdir "/srv", 0755;
mkdir $_ or die "$_: $!" for $top, map { "$top/$_" } qw(bin jail jail/bin jail/tmp jail/data ro ro/below rw secret);
chown $uid, $gid, map { "$top/$_" } qw(jail/data ro rw secret);
my $app = "$top/bin/walls";
my $said = `gcc -O1 -g -std=gnu11 -Wall -Wextra -Werror -static t/apps/walls.c -o $app -lfcgi 2>&1`;
BAIL_OUT($said) if $?;
system 'cp', $app, "$top/jail/bin/walls";
open my $f, '>', "$top/secret/file" or die;
close $f;

# Is there a kernel here that lets root have a mount namespace?
my $mounts = system('unshare --mount true 2>/dev/null') == 0;

sub block {
    my ($name, @lines) = @_;
    my $command = (grep { /FcgiCommand/ } @lines) ? '' : "    FcgiCommand $app\n";
    my $who = (grep { /FcgiUser/ } @lines) ? '' : "    FcgiUser $user\n";
    my $count = (grep { /FcgiProcesses/ } @lines) ? '' : "    FcgiProcesses 1\n";
    return "<FcgiServer $name>\n$command$who$count" . join('', map { "    $_\n" } @lines)
        . "</FcgiServer>\n<Location \"/$name\">\n    FcgiPass $name\n</Location>\n";
}
sub limits { my ($pid) = @_; my %is; for (split /\n/, Fcgipm::proc_file($pid, 'limits')) { $is{$1} = "$2 $3" if /^Max (.*?) {2,}(\S+) +(\S+)/ } return \%is }
sub state_of { my ($pid, $field) = @_; return Fcgipm::proc_file($pid, 'status') =~ /^$field:\s*(.*?)\s*$/m ? $1 : undef }
sub ask { my ($h, $path) = @_; return $h->get($path)->{body} }

# --- limits, priorities, rights ---

my $h = Fcgipm->httpd(
    expect_log => [qr/FPM0315.*signal 24/, qr/FPM0616|FPM061[0-3]/],
    conf => block('limited', 'FcgiLimit memory=300M cpu=90 files=40 core=0', 'FcgiLimit procs=30 filesize=64K stack=1M',
        'FcgiPriority nice=5 ioprio=best-effort:6 oom=300', 'FcgiNoNewPrivs On')
        . block('plain')
        . block('burns', 'FcgiLimit cpu=1')
        . block('fast', 'FcgiPriority nice=-5')
);
wait_for { 4 == (() = $h->workers) } 10, 'they run';
my ($pid) = $h->workers('limited');
my ($plain) = $h->workers('plain');
is ask($h, '/limited'), "$pid\n", 'it serves';
my $is = limits($pid);
my $httpd = limits($h->pid);
is $is->{'address space'}, '314572800 314572800', 'memory=';
is $is->{'cpu time'}, '90 91', 'cpu=, a second before KILL';
is $is->{'open files'}, '40 40', 'files=';
is $is->{'core file size'}, '0 0', 'core=';
is $is->{'processes'}, '30 30', 'procs=';
is $is->{'file size'}, '65536 65536', 'filesize=';
is $is->{'stack size'}, '1048576 1048576', 'stack=';
is_deeply limits($plain), $httpd, 'without FcgiLimit they are those that httpd was started with';
is((split ' ', Fcgipm::proc_file($pid, 'stat') =~ s/^.*\) //sr)[16], 5, 'nice=');
is((split ' ', Fcgipm::proc_file(($h->workers('fast'))[0], 'stat') =~ s/^.*\) //sr)[16], -5, 'and more than httpd itself has');
like `ionice -p $pid`, qr/^best-effort: prio 6$/, 'ioprio=';
like Fcgipm::proc_file($pid, 'oom_score_adj'), qr/^300$/, 'oom=';
is state_of($pid, 'NoNewPrivs'), 1, 'FcgiNoNewPrivs On';
is state_of($plain, 'NoNewPrivs'), 0, 'and not by itself';
for my $which ('limited', 'plain') {
    my ($one) = $h->workers($which);
    like state_of($one, 'Uid'), qr/^$uid\s+$uid\s+$uid\s+$uid$/, "$which: the user's uid, and no other";
    like state_of($one, 'Gid'), qr/^$gid\s+$gid\s+$gid\s+$gid$/, 'his gid';
    is state_of($one, 'Groups'), $gid, 'his groups';
    like state_of($one, 'CapEff'), qr/^0+$/, 'and no capability';
}
unlike Fcgipm::proc_file($h->manager, 'status'), qr/^NoNewPrivs:\s+1/m, 'the manager is as it was';

like ask($h, '/limited?alloc=50'), qr/^allocated$/, 'there is memory within the limit';
like ask($h, '/limited?alloc=400'), qr/^malloc: Cannot allocate memory$/, 'and none beyond it';
like ask($h, '/plain?alloc=400'), qr/^allocated$/, 'for this application only';
like ask($h, "/limited?fill=$top/rw/file:100"), qr/^write: File too large\nwrote 64$/, 'a file as large as filesize=';
like ask($h, "/plain?fill=$top/rw/other:100"), qr/^wrote 100$/, 'or larger without';
like ask($h, '/limited?open=100'), qr/^open: Too many open files$/, 'no more descriptors than files=';
is ask($h, '/limited'), "$pid\n", 'it has survived all of that';

# 'plain', 'burns', 'fast' are of the same user, and count.
my ($forked) = ask($h, '/limited?fork=100') =~ /^fork: Resource temporarily unavailable\nforked (\d+)$/;
ok $forked && $forked >= 20 && $forked < 30, 'a fork bomb ends at procs=' or diag $forked;
my $r = $h->get('/plain');
is $r->{status}, 200, 'meanwhile the neighbour answers';
cmp_ok $r->{ms}, '<', 2000, 'without delay';
like ask($h, '/limited?fork=1'), qr/forked 0/, 'it is held there';
is scalar(grep { (state_of($_, 'Uid') // '') =~ /^$uid\s/ } map { m{(\d+)} } glob '/proc/[0-9]*'), 30, 'and there are as many as may be';

my ($burning) = $h->workers('burns');
$r = $h->get('/burns?spin=1', timeout => 60);    # (a second of CPU may take long)
is $r->{status}, 502, 'cpu=1: who burns it is ended';
ok $h->wait_log(qr/pool burns slot 0 pid $burning: was killed by signal 24 \(CPU time limit exceeded\)/, 10), 'the log says why';
wait_for { my ($next) = $h->workers('burns'); $next && $next != $burning } 10, 'it is replaced';

# --- a reload ---

my $conf = $h->slurp('httpd.conf');
sub rewrite { my ($text) = @_; open my $out, '>', $h->root . '/httpd.conf' or die; print {$out} $text; close $out }
$h->graceful;
is join(' ', $h->workers('limited'), $h->workers('plain')), "$pid $plain", 'a reload touches nobody';
rewrite($conf =~ s/nice=-5/nice=-4/r);
my ($fast) = $h->workers('fast');
$h->graceful;
wait_for { my @now = $h->workers('fast'); @now == 1 && $now[0] != $fast } 10, 'a changed limit is another process';
is((split ' ', Fcgipm::proc_file(($h->workers('fast'))[0], 'stat') =~ s/^.*\) //sr)[16], -4, 'with the new value');
is +($h->workers('plain'))[0], $plain, 'and the others are not touched';
$h->stop;

# httpd's own limits are no bounds: root may have more for an application than for itself. And the manager, which has raised
# its own, gives on what it was started with.
my $may = system('prlimit --nofile=500:1000 prlimit --nofile=2000:2000 true 2>/dev/null') == 0;
$h = Fcgipm->prepare(conf => ($may ? block('more', 'FcgiLimit files=2000') : '') . block('plain'));
$h->{within} = [qw(prlimit --nofile=500:1000)];
$h->{has_manager} = 1;
$h->start;
wait_for { ($may ? 2 : 1) == (() = $h->workers) } 10, 'they run';
SKIP: {
    skip 'root has no CAP_SYS_RESOURCE here', 1 unless $may;
    is limits(($h->workers('more'))[0])->{'open files'}, '2000 2000', 'a limit above that of httpd itself';
}
is limits(($h->workers('plain'))[0])->{'open files'}, '500 1000', 'and without one what httpd has';
is limits($h->manager)->{'open files'}, '1000 1000', 'not what the manager needs';
$h->stop;

# --- the root directory ---

$h = Fcgipm->httpd(
    expect_log => [qr/FPM037[67]/],
    conf => block('jailed', "FcgiRoot $top/jail", 'FcgiCommand /bin/walls', 'FcgiDirectory /data', 'FcgiSlowLog 100ms /bin/walls look', 'FcgiWatch Command')
        . block('free')
);
wait_for { 2 == (() = $h->workers) } 10, 'they run';
($pid) = $h->workers('jailed');
is ask($h, '/jailed'), "$pid\n", 'FcgiRoot: it serves';
is readlink("/proc/$pid/root"), "$top/jail", 'its root';
is readlink("/proc/$pid/cwd"), "$top/jail/data", 'its directory is a path inside';
is ask($h, '/jailed?ls=/'), "bin\ndata\ntmp\n", 'what it sees is that tree';
like ask($h, '/jailed?cat=/etc/passwd'), qr/^open: No such file/, 'and nothing else';
like ask($h, '/jailed?ls=/../../..'), qr/^bin$/m, 'also not by going up';
like ask($h, '/jailed?fill=/data/new:1'), qr/^wrote 1$/, 'it writes where it may';
ok -s "$top/jail/data/new", 'there';
like ask($h, '/jailed?fill=/new:1'), qr/^open: Permission denied/, 'and not where it may not';
like ask($h, '/free?cat=/etc/passwd'), qr/^root:/, 'others see all';
like state_of($pid, 'Uid'), qr/^$uid\s+$uid\s+$uid\s+$uid$/, 'as the user';
$h->get('/jailed?sleep=400');
ok $h->wait_log(qr/FPM0377: pool jailed .*: slow: sees bin data tmp as $uid$/m, 10), 'a slow log\'s command runs in the same walls';
system "cp $app $top/jail/bin/.new && mv $top/jail/bin/.new $top/jail/bin/walls";
wait_for { my @now = $h->workers('jailed'); @now == 1 && $now[0] != $pid } 15, 'FcgiWatch Command means the program in there';

# It is looked at again at each start: what was right when it was configured need not stay so.
chmod 0777, "$top/jail";
($pid) = $h->workers('jailed');
$h->{expect_log} = [@{$h->{expect_log}}, qr/FPM031[5-7]/, qr/FPM0661/, qr/FPM060\d/];
kill KILL => $pid;
ok $h->wait_log(qr{FPM0316: pool jailed .*did not start: FcgiRoot: $top/jail can be written by others than root; chmod go-w}, 10), 'a root that others can write is not entered';
is $h->get('/free')->{status}, 200, 'the others are served';
chmod 0755, "$top/jail";
wait_for { $h->get('/jailed')->{status} == 200 } 40, 'repaired, it starts';
$h->stop;

# --- mounts ---

SKIP: {
    skip 'this kernel or container allows no mount namespace', 40 if !$mounts;
    # Shared, as systemd has all of a system's: what is mounted here is mounted in each copy, and the other way round.
    system('mount', '--bind', "$top/ro", "$top/ro") == 0 && system('mount', '--make-shared', "$top/ro") == 0 or BAIL_OUT('mount');
    system('mount', '-t', 'tmpfs', '-o', 'size=1m,mode=777', 'fcgipm-test', "$top/ro/below") == 0 or BAIL_OUT('mount');
    my $before = Fcgipm::proc_file($$, 'mountinfo');
    my $mark = "fcgipm-private-$$";
    my $put = sub { open my $f, '>', $_[0] or die "$_[0]: $!"; print {$f} "$_[1]\n"; close $f; chown $uid, $gid, $_[0] };
    $put->("$top/rw/$_", $_) for qw(key other);
    $put->("$top/jail/data/key", 'key');
    $put->("/tmp/fcgipm-host-$$", 'host');
    symlink 'other', "$top/rw/link";
    system 'mkfifo', "$top/rw/fifo";
    chown $uid, $gid, "$top/rw/fifo";
    $h = Fcgipm->httpd(expect_log => [qr{FPM0680: .* its next process finds it without a wall}], conf => block('a', 'FcgiPrivateTmp On 1M', "FcgiReadOnlyPaths $top/ro /etc", "FcgiInaccessiblePaths $top/secret")
            . block('b', 'FcgiPrivateTmp On')
            . block('c')
            . block('sealed', "FcgiRoot $top/jail", 'FcgiCommand /bin/walls', 'FcgiReadOnlyPaths /', 'FcgiPrivateTmp On 2M', 'FcgiInaccessiblePaths /data/key')
            . block('files', "FcgiInaccessiblePaths $top/rw/key $top/rw/link $top/rw/fifo $top/secret /etc/hostname", "FcgiReadOnlyPaths $top/rw")
            . block('stone', 'FcgiReadOnlyPaths /', 'FcgiPrivateTmp On'));
    wait_for { 6 == (() = $h->workers) } 10, 'they run';
    is $h->get("/$_")->{status}, 200, "$_ serves" for qw(a b c sealed stone files);
    is ask($h, '/a?ls=/tmp'), '', 'FcgiPrivateTmp: an empty /tmp';
    is ask($h, "/a?fill=/tmp/$mark:10"), "wrote 10\n", 'it is written';
    is ask($h, '/a?ls=/tmp'), "$mark\n", 'and read by its process';
    is ask($h, '/a?ls=/var/tmp'), "$mark\n", '/var/tmp is the same';
    my $mounted = Fcgipm::proc_file(($h->workers('a'))[0], 'mountinfo');
    like $mounted, qr{ $_ \S*\bnosuid,nodev\b.* - tmpfs fcgipm rw,size=1024k,nr_inodes=272\b}, "$_: no setuid programs, no devices; and a file costs more than its bytes" for '/tmp', '/var/tmp';
    is sprintf('%04o', (stat '/proc/' . ($h->workers('a'))[0] . '/root/tmp')[2] & 07777), '1777', 'for all users, as /tmp is';
    is ask($h, '/b?ls=/tmp'), '', 'not by another one';
    unlike ask($h, '/c?ls=/tmp'), qr/$mark/, 'nor by one without';
    ok !-e "/tmp/$mark", 'nor by the system';
    is ask($h, '/a?fill=/tmp/more:3000'), "write: No space left on device\nwrote 1012\n", 'and it has a size';
    like ask($h, "/a?fill=$top/ro/file:1"), qr/^open: Read-only file system/, 'FcgiReadOnlyPaths: its user\'s own directory';
    like ask($h, "/a?fill=$top/ro/below/file:1"), qr/^open: Read-only file system/, 'and what is mounted below';
    is ask($h, "/a?fill=$top/rw/a:1"), "wrote 1\n", 'not the one beside it';
    is ask($h, "/c?fill=$top/ro/below/file:1"), "wrote 1\n", 'others write there';
    like ask($h, "/a?ls=$top/secret"), qr/^scandir: Permission denied/, 'FcgiInaccessiblePaths: nothing is seen';
    like ask($h, "/a?cat=$top/secret/file"), qr/^open: Permission denied/, 'by its name as well';
    is ask($h, "/c?ls=$top/secret"), "file\n", 'others see it';
    # Not only directories: each its user's own, so that nothing but the wall holds him. /link leads to /other.
    for my $path ("$top/rw/key", "$top/rw/link", "$top/rw/other", "$top/rw/fifo", '/etc/hostname') {
        like ask($h, "/files?cat=$path"), qr/^open: Permission denied/, "a file that is closed: $path";
        like ask($h, "/files?fill=$path:1"), qr/^open: (?:Permission denied|Read-only file system)/, 'also for writing';
    }
    like ask($h, "/files?ls=$top/secret"), qr/^scandir: Permission denied/, 'and a directory beside them';
    is ask($h, "/files?ls=$top/rw"), ask($h, "/c?ls=$top/rw"), 'they are still to be seen';
    is ask($h, "/c?cat=$top/rw/key"), "key\n", 'others read them';
    is ask($h, '/c?cat=/tmp/fcgipm-host-' . $$), "host\n", 'the /tmp of the system is as it was';
    is ask($h, '/files?cat=/tmp/fcgipm-host-' . $$), "host\n", 'for whom it closes files as well';
    like ask($h, '/sealed?cat=/data/key'), qr/^open: Permission denied/, 'a file in a root directory';
    is ask($h, '/sealed?ls=/'), "bin\ndata\ntmp\n", 'in a root directory';
    like ask($h, '/sealed?fill=/data/x:1'), qr/^open: Read-only file system/, 'all of it read-only';
    is ask($h, '/sealed?fill=/tmp/x:1'), "wrote 1\n", 'but its /tmp';
    like ask($h, "/stone?fill=$top/rw/x:1"), qr/^open: Read-only file system/, 'or without one';
    is ask($h, '/stone?fill=/tmp/x:1'), "wrote 1\n", 'the same';
    is Fcgipm::proc_file($$, 'mountinfo'), $before, 'the system has no mount more than before';
    is Fcgipm::proc_file($h->manager, 'mountinfo'), $before, 'nor has the manager';
    my ($one) = $h->workers('a');
    kill KILL => $one;
    wait_for { my ($next) = $h->workers('a'); $next && $next != $one && $h->get('/a')->{status} == 200 } 10, 'its successor';
    $h->{expect_log} = [@{$h->{expect_log}}, qr/FPM0315/];
    is ask($h, '/a?ls=/tmp'), '', 'begins with an empty one';
    unlink "/tmp/fcgipm-host-$$";
    # What the system unmounts is free, though processes of ours live.
    is system("umount $top/ro/below"), 0, 'the system unmounts something';
    unlike Fcgipm::proc_file(($h->workers('b'))[0], 'mountinfo'), qr{$top/ro/below}, 'and no process keeps it';
    $h->stop;

    # A start that cannot have its walls is no start.
    mkdir "$top/gone";
    $h = Fcgipm->httpd(expect_log => [qr/FPM031[5-7]/, qr/FPM060\d/],
        conf => block('w', "FcgiReadOnlyPaths $top/gone", 'FcgiProcesses 0 1') . block('c'));
    is $h->get('/w')->{status}, 200, 'it starts while its paths are there';
    ($pid) = $h->workers('w');
    rmdir "$top/gone";
    kill KILL => $pid;
    wait_for { $h->get('/w')->{status} == 503 } 10, 'it is refused when one is not';
    ok $h->wait_log(qr{did not start: FcgiReadOnlyPaths $top/gone failed: No such file or directory.*the program was not executed}, 10), 'the log says which';
    is $h->get('/c')->{status}, 200, 'the others are served';
    $h->stop;
}

# --- whom ---

$h = Fcgipm->httpd(expect_log => [qr/FPM0661/, qr/FPM0332/, qr/FPM060\d/],
    conf => block('system', 'FcgiUser daemon') . block('own', 'FcgiUser www-data') . block('c'));
is $h->get('/system')->{status}, 503, 'a user below FcgiMinUid is refused by the manager as well';
like $h->log, qr/FPM0332: pool system: cannot start: FcgiUser daemon: its uid \d+ is below FcgiMinUid 100; write a user of the application's own/, 'with the reason';
is scalar(() = $h->workers('system')), 0, 'no process';
is $h->get('/own')->{status}, 200, 'httpd\'s own user is allowed, though it is below';
is $h->get('/c')->{status}, 200, 'the others are served';
$conf = $h->slurp('httpd.conf');
rewrite($conf =~ s/^(LoadModule fcgipm_module .*\n)/$1FcgiMinUid 1\nFcgiMinGid 1\n/mr);
$h->graceful;
wait_for { $h->get('/system')->{status} == 200 } 40, 'with FcgiMinUid 1 it is allowed, at the next reload';
# And the other way round: no further process of a user that is no longer allowed.
($pid) = $h->workers('system');
rewrite($conf);
$h->graceful;
kill KILL => $pid;
$h->{expect_log} = [@{$h->{expect_log}}, qr/FPM031[56]/];
wait_for { $h->get('/system')->{status} == 503 } 10, 'and without it no longer';
is scalar(() = $h->workers('system')), 0, 'again no process';
$h->stop;

# --- through suexec ---

my $suexec = '/usr/lib/apache2/suexec';
my ($docroot) = -u $suexec ? `$suexec -V 2>&1` =~ /AP_DOC_ROOT="(.*)"/ : ();
if (-u $suexec && !$docroot && open my $in, '<', '/etc/apache2/suexec/www-data') { chomp($docroot = <$in>) }
SKIP: {
    skip 'there is no suexec', 8 if !$docroot || !-d $docroot;
    my $dir = File::Temp::tempdir("$docroot/fcgipm-XXXXXX", CLEANUP => 1);
    system 'cp', $app, "$dir/walls.fcgi";
    chown $uid, $gid, $dir, "$dir/walls.fcgi";
    chmod 0755, $dir;
    my @walls = $mounts ? ('FcgiPrivateTmp On', "FcgiReadOnlyPaths $top/rw") : ();
    $h = Fcgipm->httpd(conf => block('s', "FcgiCommand $dir/walls.fcgi", 'FcgiSuexec On', 'FcgiLimit files=50 core=0', 'FcgiPriority nice=3', @walls), leave => 1);
    my ($pid) = ask($h, '/s') =~ /^(\d+)$/;
    ok $pid, 'FcgiSuexec: it serves';
    like state_of($pid, 'Uid'), qr/^$uid\s+$uid\s+$uid\s+$uid$/, 'as the user';
    is limits($pid)->{'open files'}, '50 50', 'limits go through it';
    is((split ' ', Fcgipm::proc_file($pid, 'stat') =~ s/^.*\) //sr)[16], 3, 'priorities as well');
    SKIP: {
        skip 'no mount namespace', 2 if !$mounts;
        is ask($h, '/s?ls=/tmp'), '', 'and walls';
        like ask($h, "/s?fill=$top/rw/x:1"), qr/^open: Read-only file system/, 'of each kind';
    }
    $h->stop;
    my ($status, $output) = Fcgipm->configtest(conf => block('app', 'FcgiUser daemon', "FcgiCommand $dir/walls.fcgi", 'FcgiSuexec On', 'FcgiNoNewPrivs On'));
    isnt $status, 0, 'FcgiNoNewPrivs does not go with it';
    like $output, qr/FcgiSuexec and FcgiNoNewPrivs exclude each other/, 'and says so';
    system 'chown', '-R', 'daemon:daemon', $dir;
    ($status, $output) = Fcgipm->configtest(conf => block('app', 'FcgiUser daemon', "FcgiCommand $dir/walls.fcgi", 'FcgiSuexec On'));
    isnt $status, 0, 'FcgiMinUid holds for it, too';
    like $output, qr/FcgiUser daemon: its uid \d+ is below FcgiMinUid 100/, 'and says so';
}

# --- configtest ---

my ($status, $output);
# httpd where the library does not start it; with what a sanitizer needs.
my @httpd = (($ENV{FCGIPM_PRELOAD} ? ('env', "LD_PRELOAD=$ENV{FCGIPM_PRELOAD}") : ()), Fcgipm::find_httpd());
sub bad {
    my ($what, $lines, @like) = @_;
    my ($status, $output) = Fcgipm->configtest(conf => ref $lines ? block('app', @$lines) : $lines);
    isnt $status, 0, "bad: $what";
    like $output, $_, 'it says ' . $_ for @like;
    like $output, qr{httpd\.conf(?: of |:\d|.*line \d)|on line \d+ of}, 'and where' or diag $output;
}
sub good {
    my ($what, @lines) = @_;
    my ($status, $output) = Fcgipm->configtest(conf => block('app', @lines));
    is $status, 0, "good: $what" or diag $output;
    return $output;
}
bad $_->[0], [$_->[0]], $_->[1] for
    ['FcgiLimit memory=1M', qr/FcgiLimit memory=1M: out of bounds; write a number with K, M or G between 4M and 1048576M or off/],
    ['FcgiLimit memory=lots', qr/FcgiLimit memory=lots: not a size/], ['FcgiLimit cpu=-1', qr/FcgiLimit cpu=-1: not a time/],
    ['FcgiLimit files=2', qr/files=2: out of bounds.*between 8 and/], ['FcgiLimit procs=0', qr/procs=0: out of bounds/],
    ['FcgiLimit core=yes', qr/core=yes: not a size/], ['FcgiLimit stack=1K', qr/stack=1K: out of bounds/],
    ['FcgiLimit filesize=-1', qr/filesize=-1: not a size/], ['FcgiLimit threads=1', qr/FcgiLimit threads=1: not known; write: FcgiLimit memory=size/],
    ['FcgiLimit 5', qr/FcgiLimit 5: not known/], ['FcgiPriority nice=20', qr/nice=20: out of bounds; write a whole number between -20 and 19 or off/],
    ['FcgiPriority nice=low', qr/nice=low: not a number/], ['FcgiPriority oom=-1001', qr/oom=-1001: out of bounds/],
    ['FcgiPriority ioprio=realtime', qr/ioprio=realtime: not known; write one of off\|idle\|best-effort:0/],
    ['FcgiPriority ioprio=best-effort:8', qr/ioprio=best-effort:8: not known/], ['FcgiNoNewPrivs Maybe', qr/FcgiNoNewPrivs Maybe: not known; write one of Off\|On/],
    ['FcgiRoot srv', qr/FcgiRoot srv: not the full path/], ['FcgiRoot /', qr{FcgiRoot /: not the full path}], ['FcgiRoot /nowhere/at/all', qr{FcgiRoot: /nowhere does not exist}],
    ["FcgiRoot $top/rw", qr{FcgiRoot: $top/rw does not belong to root; chown}], ['FcgiRoot /tmp', qr{FcgiRoot: /tmp can be written by others than root}],
    ["FcgiRoot $top/jail", qr{FcgiCommand $app: there is no such file in FcgiRoot; write the path as it is in there}],
    ['FcgiPrivateTmp Yes', qr/FcgiPrivateTmp Yes: not known/], ['FcgiPrivateTmp On 1K', qr/FcgiPrivateTmp 1K: out of bounds/],
    ['FcgiReadOnlyPaths etc', qr/FcgiReadOnlyPaths etc: not a full path/], ['FcgiInaccessiblePaths home', qr/FcgiInaccessiblePaths home: not a full path/],
    ['FcgiUser daemon', qr/<FcgiServer app> FcgiUser daemon: its uid \d+ is below FcgiMinUid 100; write a user of the application's own, or lower FcgiMinUid/],
    ["FcgiUser $user daemon", qr/<FcgiServer app> FcgiUser $user daemon: gid \d+ is below FcgiMinGid 100/],
    ["FcgiUser $user root", qr/FcgiUser $user root: applications never run in root.s group/], ["FcgiUser $odd", qr/FcgiUser $odd: is a member of root's group \(gid 0\)/],
    ['FcgiMinUid 5', qr/FcgiMinUid holds for the whole server/];
bad 'private, and the program in /tmp', ['FcgiCommand ' . app_built('actor.c'), 'FcgiPrivateTmp On'], qr{FcgiCommand /tmp/.*: with FcgiPrivateTmp the processes have an empty /tmp};
bad 'a root directory and FcgiReady Notify', ["FcgiRoot $top/jail", 'FcgiCommand /bin/walls', 'FcgiReady Notify'], qr/FcgiReady Notify: NOTIFY_SOCKET lies outside of FcgiRoot/;
bad $_, "$_\n", qr/$_/ for 'FcgiMinUid 0', 'FcgiMinUid root', 'FcgiMinGid -1';
symlink 'jail', "$top/link";
bad 'a symbolic link', ["FcgiRoot $top/link", 'FcgiCommand /bin/walls'], qr{FcgiRoot: $top/link is a symbolic link; write the path that it leads to};
bad 'a directory that is not in there', ["FcgiRoot $top/jail", 'FcgiCommand /bin/walls', 'FcgiDirectory /srv'], qr{FcgiDirectory /srv: there is no such directory in FcgiRoot};
SKIP: {
    skip 'this kernel or container allows no mount namespace', 6 if !$mounts;
    bad 'a path that is not there', ['FcgiReadOnlyPaths /nowhere/at/all'], qr{a process would not start: FcgiReadOnlyPaths /nowhere/at/all failed: No such file};
    bad 'all there is', ['FcgiInaccessiblePaths /.'], qr{FcgiInaccessiblePaths /\.: that is all there is};
    bad 'a hidden path that is not there', ['FcgiInaccessiblePaths /etc/passwd /nowhere'], qr{a process would not start: FcgiInaccessiblePaths /nowhere failed: No such file};
    good 'a file to be hidden', "FcgiInaccessiblePaths $top/secret/file";
}
# A root that may not do everything, as in a container: what it cannot set is refused, and never left out.
sub held {
    my ($what, $wrapper, $line, $like) = @_;
    my $held = Fcgipm->prepare(conf => block('app', split /\n/, $line));
    my $root = $held->root;
    $output = `$wrapper @httpd -f $root/httpd.conf -t 2>&1` . $held->log;
    isnt $?, 0, "refused: $what";
    like $output, qr/<FcgiServer app> a process would not start: $like/, 'and says why';
    my $pid = fork // die;
    if (!$pid) {
        open STDOUT, '>>', "$root/stdout.log";
        open STDERR, '>&', \*STDOUT;
        exec split(' ', $wrapper), @httpd, '-f', "$root/httpd.conf", '-DFOREGROUND' or POSIX::_exit(127);
    }
    ok $held->wait_log(qr/FPM0316: pool app slot 0 pid \d+: did not start: $like/, 15), 'a start without a configtest fails as well';
    is scalar(grep { (readlink("/proc/$_/exe") // '') =~ m{/walls$} } $held->marked), 0, 'no process runs without it';
    kill TERM => $pid;
    waitpid $pid, 0;
    system 'rm', '-rf', $root;
}
my $no = 'setpriv --bounding-set=-';
held('an oom score below httpd\'s', "${no}sys_resource", 'FcgiPriority oom=-900', qr/FcgiPriority oom= failed: Permission denied/);
held('a limit above httpd\'s', "prlimit --nofile=1000:1000 ${no}sys_resource", 'FcgiLimit files=2000', qr/FcgiLimit files= failed: Operation not permitted/);
held('a nice value below httpd\'s', "${no}sys_nice", 'FcgiPriority nice=-1', qr/FcgiPriority nice= failed: Permission denied/);
held('a root directory', "${no}sys_chroot", "FcgiRoot $top/jail\nFcgiCommand /bin/walls", qr{FcgiRoot $top/jail failed: Operation not permitted});
held('a private tmp', "${no}sys_admin", 'FcgiPrivateTmp On', qr/FcgiPrivateTmp: this kernel or container allows no mount namespace: unshare failed: Operation not permitted/);
held('read-only paths', "${no}sys_admin", 'FcgiReadOnlyPaths /etc', qr/FcgiReadOnlyPaths: this kernel or container allows no mount namespace/);
held('hidden paths', "${no}sys_admin", 'FcgiInaccessiblePaths /home', qr/FcgiInaccessiblePaths: this kernel or container allows no mount namespace/);
good 'all of them', 'FcgiLimit memory=1G cpu=1h files=1024 procs=100 core=0 filesize=1G stack=8M', 'FcgiPriority nice=10 ioprio=idle oom=0', 'FcgiNoNewPrivs On';
good 'none of them', 'FcgiLimit memory=off cpu=off files=off procs=off core=off filesize=off stack=off', 'FcgiPriority nice=off ioprio=off oom=off',
    'FcgiNoNewPrivs Off', 'FcgiPrivateTmp Off';
like good('procs= for httpd\'s own user', 'FcgiUser www-data', 'FcgiLimit procs=1000'), qr/Syntax OK/, 'with a user it is as it says';
($status, $output) = Fcgipm->configtest(conf => "<FcgiServer app>\n    FcgiCommand $app\n    FcgiLimit procs=1000\n</FcgiServer>\n");
is $status, 0, 'without one it is allowed';
like $output, qr/FPM0680: .*FcgiLimit procs=: counts httpd's own processes and threads/, 'with a warning';
($status, $output) = Fcgipm->configtest(conf => "<FcgiServerTemplate app>\n    FcgiCommand $app\n    FcgiUserFrom SuexecUserGroup\n    FcgiLimit procs=1000\n</FcgiServerTemplate>\n");
unlike $output, qr/FPM0680/, 'a template has users of its own';
($status, $output) = Fcgipm->configtest(conf => "<FcgiServerTemplate app>\n    FcgiCommand $app\n    FcgiUserFrom Server\n    FcgiLimit procs=1000\n</FcgiServerTemplate>\n");
like $output, qr/FPM0680: .*<FcgiServerTemplate app> FcgiLimit procs=: counts httpd's own .*; write another FcgiUserFrom/, 'but for one with httpd\'s';
chmod 04755, $app;
like good('a setuid program', 'FcgiNoNewPrivs On'), qr/FPM0680: .*FcgiNoNewPrivs On: FcgiCommand $app is setuid or setgid, which then has no effect/, 'and a warning';
unlike good('a setuid program without it'), qr/FPM0680/, 'which it needs not';
chmod 0755, $app;
($status, $output) = Fcgipm->configtest(conf => "<FcgiServer far>\n    FcgiConnect 127.0.0.1:9\n    FcgiLimit core=0\n    FcgiRoot /x\n    FcgiPrivateTmp On\n</FcgiServer>\n");
is $status, 0, 'an application of somebody else';
like $output, qr/FPM0680: .*FcgiLimit, FcgiRoot, FcgiPrivateTmp: means nothing with FcgiConnect/, 'has none of this';

# --- httpd without root ---

$h = Fcgipm->prepare(conf => "<FcgiServer c>\n    FcgiCommand $app\n    FcgiProcesses 1\n</FcgiServer>\n<FcgiServer same>\n    FcgiCommand $app\n    FcgiUser $user\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n");
sub as_user {
    my (@args) = @_;
    my $root = $h->root;
    system 'chown', '-R', "$uid:$gid", $root;
    my $pid = fork // die;
    if (!$pid) {
        open STDOUT, '>>', "$root/stdout.log";
        open STDERR, '>&', \*STDOUT;
        exec 'setpriv', "--reuid=$uid", "--regid=$gid", '--clear-groups', @httpd, '-f', "$root/httpd.conf", @args or POSIX::_exit(127);
    }
    return $pid;
}
my $child = as_user('-DFOREGROUND');
ok $h->wait_log(qr/FPM0384: httpd was not started as root: all applications run as its user $user \(uid $uid\)/, 15), 'without root: said at the start';
wait_for { eval { $h->get('/c')->{status} } == 200 } 10, 'it serves';
is scalar(() = $h->log =~ /FPM0384/g), 1, 'once';
like state_of(($h->workers('c'))[0], 'Uid'), qr/^$uid\s+$uid\s+$uid\s+$uid$/, 'as that user';
kill TERM => $child;
waitpid $child, 0;
$conf = $h->slurp('httpd.conf');
for my $case (['FcgiUser nobody', qr/FcgiUser nobody: needs httpd to be started as root/], ["FcgiRoot $top/jail\nFcgiCommand /bin/walls", qr/FcgiRoot needs httpd to be started as root/],
    ['FcgiPrivateTmp On', qr/FcgiPrivateTmp needs httpd to be started as root/], ['FcgiPriority nice=-5', qr/a process would not start: FcgiPriority nice= failed: Permission denied/]) {
    my ($line, $like) = @$case;
    my $text = $conf =~ s/FcgiCommand $app\n    FcgiProcesses/$line\n    FcgiProcesses/r;
    $text =~ s/(<FcgiServer c>\n)/$1    FcgiCommand $app\n/ if $line !~ /FcgiCommand/;
    rewrite($text);
    unlink $h->root . "/$_" for qw(stdout.log error.log);
    waitpid as_user('-t'), 0;
    isnt $?, 0, "without root: $line is refused";
    like $h->slurp('stdout.log') . $h->log, $like, 'with the reason';
}
system 'rm', '-rf', $h->root;
done_testing;
