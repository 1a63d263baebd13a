# SPDX-License-Identifier: Apache-2.0
# Control groups, with the kernel's own hierarchy: each process has a leaf, whatever it forked ends with it wherever it
# hides, a killed manager's leaves are found again, and nothing is left. What the limits write is in t/unit/pm_cgroup.c.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;
use Time::HiRes qw(sleep);

plan skip_all => 'needs root' if $>;
my ($mount, $mounted) = map { (split)[1] } grep { (split)[2] eq 'cgroup2' } split /\n/, slurp('/proc/mounts');
if (!$mount) {
    $mount = $mounted = "/tmp/fcgipm-cgroup-$$";
    mkdir $mount;
    if (system "mount -t cgroup2 none $mount 2>/dev/null") {
        rmdir $mount;
        plan skip_all => 'no cgroup v2 hierarchy, and none can be mounted';
    }
}
my $base = "$mount/fcgipm-test-$$";
my $home = own_group();
if (!mkdir $base) { plan skip_all => "cannot make a group in $mount: $!" }
if (!-e "$base/cgroup.kill") { rmdir $base; plan skip_all => 'the kernel has no cgroup.kill' }

sub slurp { my ($path) = @_; local $/; open my $f, '<', $path or return ''; return scalar <$f> // '' }
sub spew { my ($path, $text) = @_; open my $f, '>', $path or return 0; syswrite $f, $text; return close $f }
sub group_of { my ($pid) = @_; return Fcgipm::proc_file($pid, 'cgroup') =~ /^0::(.*)$/m ? $1 : '' }
sub own_group { return group_of($$) }
# Groups below, without the path to there.
sub groups {
    my ($dir, $prefix) = ($_[0] // $base, $_[1] // '');
    return map { my ($name) = m{([^/]+)/$}; ("$prefix$name", groups("$dir/$name", "$prefix$name/")) } glob "$dir/*/";
}
sub leaves { return grep { m{/s\d+-\d+$} } groups(@_) }

END {
    my $status = $?;
    if ($base && -d $base) {
        spew("$mount$home/cgroup.procs", $$);
        spew("$base/cgroup.kill", 1) if own_group() !~ m{fcgipm-test-$$};
        for (1 .. 100) { rmdir "$base/$_" for reverse groups(); last if rmdir $base; sleep 0.02 }
    }
    system "umount $mounted && rmdir $mounted" if $mounted && $mounted =~ m{^/tmp/};
    $? = $status;
}

# It forks one that nobody can find: another session, not its child any more, without an environment.
my $actor = app_built('actor.c');
my $secret = 900000 + $$;
my $father = "/usr/bin/perl -MPOSIX=setsid -e 'unless(fork){setsid();unless(fork){%ENV=();exec qw(/bin/sleep $secret)}exit}wait;exec qw($actor)'";
sub hidden { return grep { Fcgipm::proc_file($_, 'cmdline') eq "/bin/sleep\0$secret\0" && Fcgipm::alive($_) } map { m{(\d+)$} } glob '/proc/[0-9]*' }
sub hidden_of { my ($group) = @_; return grep { group_of($_) eq $group } hidden() }

my $conf = sub {
    my ($groups, $colour) = @_;
    return <<"EOC";
FcgiCgroup $groups
<FcgiServer father>
    FcgiCommand $father
    FcgiProcesses 2
    FcgiEnv COLOUR $colour
    FcgiTimeout stop=1s
</FcgiServer>
<FcgiServer other>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiUser nobody nogroup
</FcgiServer>
<Location "/f">
    FcgiPass father
</Location>
<Location "/o">
    FcgiPass other
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
};
my $h = Fcgipm->httpd(expect_log => [qr/FPM0644/, qr/FPM0315/, qr/FPM0363/, qr/FPM0416/, qr/AH00098/], conf => $conf->($base, 'red'));
my $father_lives = sub { my @w = $h->workers('father'); return @w == 2 && hidden() == 2 };
wait_for { $father_lives->() } 10, 'two fathers, two hidden ones';
ok $h->wait_log(qr/FPM0400: each process has a control group, below \Q$base\E/, 5), 'the log says where';

# --- where they are ---
my ($www, $nobody) = map { (getpwnam $_)[2] } 'www-data', 'nobody';
my ($first, $second) = sort { group_of($a) cmp group_of($b) } $h->workers('father');
my ($tree) = group_of($first) =~ m{/fcgipm-test-$$/(fcgipm-[0-9a-f]{16})/};
like group_of($first), qr{/fcgipm-test-$$/fcgipm-[0-9a-f]{16}/u$www/p\d+-father/s0-1$}, 'a worker is in its leaf';
like group_of($second), qr{/\Q$tree\E/u$www/p\d+-father/s1-1$}, 'another one in its own';
wait_for { $h->workers('other') } 10, 'the other pool';
like group_of($h->workers('other')), qr{/\Q$tree\E/u$nobody/p\d+-other/s0-1$}, 'another user has another group';
my $leaf = group_of($first);
my ($child) = hidden_of($leaf);
ok $child, 'what it has forked is in it, too';
is Fcgipm::proc_file($child, 'environ'), '', '... without an environment';
isnt +(split ' ', Fcgipm::proc_file($child, 'stat') =~ s/^.*\) //sr)[3], $first, '... in a session of its own';
is +(stat "$base/$tree")[4], 0, 'the groups are root\'s';
is sprintf('%04o', (stat _)[2] & 07777), '0755', 'and nobody else can write there';
is $h->get('/f')->{status}, 200, 'it serves';

# --- it ends with its worker ---
kill KILL => $first;
wait_for { !Fcgipm::alive($child) } 10, 'the hidden one dies with its worker';
wait_for { $father_lives->() } 10, 'the next one comes';
wait_for { (grep { m{-father/s0-2$} } leaves()) && !grep { m{-father/s0-1$} } leaves() } 10, 'with a new leaf; the old one goes';
is scalar(my @l = leaves()), 3, 'there are as many leaves as processes';

# --- the manager dies ---
my %before = map { $_ => group_of($_) } $h->workers;
my $manager = $h->manager;
kill KILL => $manager;
wait_for { my $m = $h->manager; $m && $m != $manager } 10, 'another manager';
ok $h->wait_log(qr/FPM0313: .*adopted/, 10), 'that adopts';
wait_for { Fcgipm::in_its_loop($h->manager // 0) } 10, 'it is at work';
is_deeply {map { $_ => group_of($_) } $h->workers}, \%before, 'the workers are the same, in the same leaves';
is scalar(@l = leaves()), 3, 'which have stayed';
is scalar(@l = hidden()), 2, 'and the hidden ones live';
ok mkdir("$base/$tree/u$www/p7-gone"), 'a stale leaf';
mkdir "$base/$tree/u$www/p7-gone/s3-9";
my ($victim) = sort { group_of($a) cmp group_of($b) } $h->workers('father');
$leaf = group_of($victim);
($child) = hidden_of($leaf);
$manager = $h->manager;
kill STOP => $manager;
kill KILL => $victim;
wait_for { !Fcgipm::alive($victim) } 5, 'a worker dies while nobody looks';
ok Fcgipm::alive($child), 'its hidden one lives on';
kill KILL => $manager;
wait_for { my $m = $h->manager; $m && $m != $manager } 10, 'another manager again';
wait_for { !Fcgipm::alive($child) } 10, 'which ends the hidden one of the dead';
wait_for { !-d "$mount$leaf" && !-d "$base/$tree/u$www/p7-gone" } 10, 'stale leaves go';
wait_for { $father_lives->() } 10, 'and all are there again';

# --- adopted ones are killed with their leaves, too ---
my ($old) = grep { $before{$_} } $h->workers('father');
($child) = hidden_of($before{$old});
ok $child, 'an adopted worker with a hidden one';
kill KILL => $old;
wait_for { !Fcgipm::alive($child) } 10, 'which dies with it';
wait_for { $father_lives->() } 10, 'replaced';

# --- reload ---
my %same = map { $_ => group_of($_) } $h->workers;
$h->graceful;
is_deeply {map { $_ => group_of($_) } $h->workers}, \%same, 'a graceful restart changes nothing';
my @old_leaves = grep { m{-father/} } leaves();
my @old_hidden = hidden();
my $text = $h->slurp('httpd.conf');
spew($h->root . '/httpd.conf', $text =~ s/COLOUR red/COLOUR blue/r);
$h->graceful;
wait_for { !grep { -d "$base/$_" } @old_leaves } 15, 'a changed block: the leaves of the old definition go';
is scalar(@l = grep { Fcgipm::alive($_) } @old_hidden), 0, 'with all that was in them';
wait_for { $father_lives->() } 10, 'the new definition runs';
is_deeply [grep { !m{/p\d+-father/s\d+-1$} } map { group_of($_) } $h->workers('father')], [], 'in leaves of its own';
is group_of($h->workers('other')), $same{($h->workers('other'))[0]} // 'gone', 'the other block was not touched';
spew($h->root . '/httpd.conf', $text =~ s/COLOUR red/COLOUR blue/r =~ s/^FcgiCgroup .*/FcgiCgroup Off/mr);
$h->graceful;
ok $h->log_has(qr/FPM0416: FcgiCgroup Off is not used before httpd is stopped and started; still \Q$base\E/), 'FcgiCgroup itself stays until a stop';
spew($h->root . '/httpd.conf', $text);
$h->graceful;
wait_for { my @w = $h->workers('father'); @w == 2 } 10, 'back again';

# --- the server is killed ---
$manager = $h->manager;
my @children = $h->children;
kill STOP => $h->pid;
kill KILL => $manager, $h->pid, @children;
waitpid $h->pid, 0;
ok scalar(@l = hidden()), 'all of httpd is killed: the hidden ones live';
my @orphans = hidden();
$h->start;
ok !(grep { Fcgipm::alive($_) } @orphans), 'the next server ends them before it begins';
wait_for { $father_lives->() } 10, 'and has its own';
is scalar(@l = leaves()), 3, 'and no other leaves';

# --- the end ---
my @last = hidden();
$h->stop;
is_deeply [grep { Fcgipm::alive($_) } @last], [], 'stop: no hidden one is left';
is_deeply [groups()], [], 'and no group';

# --- one that is another process every few milliseconds: no look at /proc is quick enough ---
{
    my $hopper = "/usr/bin/perl -MPOSIX=setsid -e 'unless(fork){%ENV=();while(1){fork and exit;setsid();select undef,undef,undef,0.003}}exec qw($actor)'";
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0315/], conf => "FcgiCgroup $base\n<FcgiServer hop>\n    FcgiCommand $hopper\n    FcgiProcesses 1\n</FcgiServer>\n");
    wait_for { $h->workers('hop') == 1 } 10, 'a hopper';
    my ($worker) = $h->workers('hop');
    my $leaf = group_of($worker);
    my %seen;
    wait_for { $seen{$_} = 1 for split /\n/, slurp("$mount$leaf/cgroup.procs"); keys %seen > 5 } 10, 'hops';
    kill KILL => $worker;
    wait_for { !-d "$mount$leaf" } 10, 'it ends with its worker';
    wait_for { $h->workers('hop') == 1 } 10, 'the next one';
    $h->stop;
    is_deeply [groups()], [], 'and with httpd';
}

# --- httpd's own group: Auto where it may, On ---
for my $mode ('Auto', 'On') {
    SKIP: {
        skip 'systemd decides here', 1 if $mode eq 'Auto' && -d '/run/systemd/system';
        mkdir "$base/own";
        spew("$base/own/cgroup.procs", $$);
        like own_group(), qr{/fcgipm-test-$$/own$}, 'this test is in a group';
        my $h = Fcgipm->httpd(conf => $conf->($mode, 'red'));
        wait_for { my @w = $h->workers('father'); @w == 2 && hidden() == 2 } 10, "FcgiCgroup $mode";
        like group_of(($h->workers('father'))[0]), qr{/fcgipm-test-$$/own/fcgipm-[0-9a-f]{16}/u$www/p\d+-father/s\d-1$}, 'the leaves are below it';
        like group_of($h->manager), qr{/fcgipm-test-$$/own$}, 'the manager is not in a leaf';
        @last = hidden();
        $h->stop;
        is_deeply [grep { Fcgipm::alive($_) } @last], [], 'no hidden one is left';
        is_deeply [groups()], ['own'], 'and no group';
        spew("$mount$home/cgroup.procs", $$);
        rmdir "$base/own";
    }
}

# --- through suexec: the group is that of the user in the end, not httpd's ---
SKIP: {
    my $suexec = '/usr/lib/apache2/suexec';
    my ($root) = -u $suexec ? (`$suexec -V 2>&1` =~ /AP_DOC_ROOT="(.*)"/, split /\n/, slurp('/etc/apache2/suexec/www-data')) : ();
    skip 'no suexec', 1 unless $root;
    my $made = !-d $root && mkdir $root;
    my $dir = File::Temp::tempdir("$root/fcgipm-XXXXXX", CLEANUP => 1);
    system('cp', $actor, "$dir/app.fcgi");
    chown $nobody, (getpwnam 'nobody')[3], $dir, "$dir/app.fcgi";
    chmod 0755, $dir, "$dir/app.fcgi";
    my $h = Fcgipm->httpd(modules => ['suexec'], leave => 1, conf => "FcgiCgroup $base\n<FcgiServer su>\n    FcgiCommand $dir/app.fcgi\n    FcgiUser nobody\n    FcgiSuexec On\n    FcgiProcesses 1\n</FcgiServer>\n"
        . "<Location \"/su\">\n    FcgiPass su\n</Location>\n");
    my ($pid) = ($h->get('/su?do=pid')->{body} // '') =~ /^(\d+)$/ or diag $h->log;
    like group_of($pid // $$), qr{/u$nobody/p\d+-su/s0-1$}, 'a worker that came through suexec is in the group of its user';
    $h->stop;
    ok !Fcgipm::alive($pid), 'and ends with httpd';
    is_deeply [groups()], [], 'no group is left';
    system 'rm', '-rf', $dir;
    rmdir $root if $made;
}

# --- Off, and where it cannot be ---
{
    my $h = Fcgipm->httpd(conf => $conf->('Off', 'red') =~ s/\Q$father\E/$actor/r);
    wait_for { my @w = $h->workers; @w == 3 } 10, 'FcgiCgroup Off';
    is group_of(($h->workers)[0]), group_of($h->pid), 'a worker is where httpd is';
    is_deeply [groups()], [], 'no group is made';
    $h->stop;
    $h = Fcgipm->httpd(expect_log => [qr/FPM0661/, qr/FPM0401/], conf => $conf->('/nowhere/at/all', 'red') =~ s/\Q$father\E/$actor/r);
    ok $h->log_has(qr{FPM0661: .*httpd\.conf:\d+: FcgiCgroup /nowhere/at/all cannot be: /nowhere/at/all: No such file}), 'a group that is not there: said at the start';
    ok $h->wait_log(qr{FPM0401: FcgiCgroup /nowhere/at/all cannot be: .*; going on without}, 10), 'and httpd goes on without';
    is $h->get('/o')->{status}, 200, 'it serves';
    $h->stop;
}
my $block = "<FcgiServer app>\n    FcgiCommand $actor\n    LIMITS\n</FcgiServer>\n";
for my $case (
    ['FcgiCgroup /nowhere/at/all', qr{FcgiCgroup /nowhere/at/all cannot be: /nowhere/at/all: No such file}],
    ['FcgiCgroup /tmp', qr{FcgiCgroup /tmp cannot be: /tmp is not in a cgroup v2 hierarchy}],
    ['FcgiCgroup Maybe', qr{FcgiCgroup Maybe: not known; write Auto, On, Off, or the full path}],
    ['FcgiUserLimit nobodyatall memory=1G', qr/FcgiUserLimit nobodyatall: there is no such user/],
    ['FcgiUserLimit www-data', qr/FcgiUserLimit: wrong arguments; write: FcgiUserLimit USER/],
    ['FcgiUserLimit www-data memory=lots', qr/FcgiUserLimit memory=lots: not a size/],
    ['FcgiUserLimit www-data swap=1G', qr/FcgiUserLimit swap=1G: not known; write/],
    ['FcgiUserLimit * cpu=2', qr/FcgiUserLimit cpu=2: not a percentage; write a percentage/],
) {
    my ($line, $like) = @$case;
    my ($status, $said) = Fcgipm->configtest(conf => "$line\n" . $block =~ s/LIMITS//r);
    isnt $status, 0, "bad: $line";
    like $said, $like, 'and says why';
}
my ($status, $said) = Fcgipm->configtest(conf => $block =~ s/LIMITS/FcgiCgroup On/r);
isnt $status, 0, 'FcgiCgroup in a block';
like $said, qr/FcgiCgroup holds for the whole server; write it outside/, 'is refused';
($status, $said) = Fcgipm->configtest(conf => $block =~ s/LIMITS/FcgiCgroupLimit cpu.max=half/r);
like $said, qr/FcgiCgroupLimit cpu\.max=half: not a percentage/, 'a limit that is none';
($status, $said) = Fcgipm->configtest(conf => "FcgiCgroup $base\n" . $block =~ s/LIMITS//r);
is $status, 0, 'a group that is there' or diag $said;
is_deeply [groups()], [], 'configtest leaves nothing';

# --- controllers that are not there ---
mkdir "$base/poor";    # nothing is switched on for it
($status, $said) = Fcgipm->configtest(conf => "FcgiCgroup $base/poor\nFcgiUserLimit * pids=100\n" . $block =~ s/LIMITS/FcgiCgroupLimit memory.max=256M cpu.max=150% pids.max=50/r);
is $status, 0, 'limits without a controller' or diag $said;
like $said, qr{FPM0689: FcgiCgroupLimit memory\.max= \(pool app\) does not hold: there is no memory controller in \Q$base\E/poor}, 'configtest names directive and controller';
like $said, qr{FPM0689: FcgiCgroupLimit cpu\.max= .* no cpu controller}, 'each';
like $said, qr{FPM0689: FcgiUserLimit pids= does not hold: there is no pids controller}, 'those of users, too';
($status, $said) = Fcgipm->configtest(conf => "FcgiCgroup Off\n" . $block =~ s/LIMITS/FcgiCgroupLimit memory.max=256M/r);
like $said, qr{FPM0689: FcgiCgroupLimit memory\.max= \(pool app\) does not hold: FcgiCgroup Off}, 'also when they are off';
{
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0689/], conf => "FcgiCgroup $base/poor\n" . $block =~ s/LIMITS/FcgiCgroupLimit memory.max=256M/r);
    wait_for { $h->workers('app') } 10, 'it goes on without the limit';
    is scalar(@l = $h->log =~ /FPM0689/g), 1, 'the start says it once';
    like group_of($h->workers('app')), qr{/poor/fcgipm-}, 'in a leaf all the same';
    $h->stop;
}
is_deeply [groups()], ['poor'], 'nothing is left';
done_testing;
