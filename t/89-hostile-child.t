# SPDX-License-Identifier: Apache-2.0
# A child of httpd that has been taken over (t/apps/mod_rubbish.c): it writes over the whole shared memory, floods the
# manager's channels, tries to block those who wake others. The manager, which is root, neither ends nor is held up, signals
# nobody but its own processes, starts nothing that is not configured; and when the child has gone all is served again.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

need('apxs');
my $actor = app_built('actor.c');
my $long = $ENV{FCGIPM_LONG};
my $slow = ($ENV{FCGIPM_BUILD} // '') =~ /asan/;
my $built = File::Temp::tempdir('/tmp/fcgipm-rubbish-XXXXXX', CLEANUP => 1);
my $include = `apxs -q INCLUDEDIR`;
chomp $include;
my $output = `gcc -O1 -g -fPIC -shared -std=gnu11 -Wall -Wextra -Werror -Imodules -isystem $include \$(apr-1-config --includes --cppflags) t/apps/mod_rubbish.c -o $built/mod_rubbish.so 2>&1`;
is $?, 0, 'the module is built' or BAIL_OUT($output);

my $user = $> ? '' : "    FcgiUser nobody nogroup\n";
# What children of httpd make of rubbish is theirs; nothing of it is the manager's.
my $h = Fcgipm->httpd(
    mpm_conf => "StartServers 3\nServerLimit 6\nThreadsPerChild 16\nMaxRequestWorkers 96\nMinSpareThreads 16\nMaxSpareThreads 96\n",
    expect_log => [qr/FPM031[5678]/, qr/FPM037[3467]/, qr/FPM06\d\d/, qr/FPM05\d\d/, qr/FPM0331/, qr/FPM0421/, qr/AH0005[0-9]/, qr/AH0004\d/, qr/AH10\d+/],
    conf => <<"EOC");
LoadModule rubbish_module $built/mod_rubbish.so
FcgiMaxWorkers 12
<FcgiServer c>
    FcgiCommand $actor
$user    FcgiProcesses 2 4
    FcgiTimeout stop=2s queue=3s read=5s
</FcgiServer>
<FcgiServer one>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiTimeout stop=2s queue=3s read=5s
    FcgiRecycle requests=100000 lifetime=1h
    FcgiSlowLog 100ms
</FcgiServer>
<FcgiServer several>
    FcgiCommand $actor
    FcgiConcurrency 4
    FcgiEnv ACTOR_THREADS 4
    FcgiProcesses 0 2
    FcgiTimeout stop=2s queue=3s read=5s
</FcgiServer>
<FcgiServer outside>
    FcgiConnect unix:/nowhere/at/all
</FcgiServer>
<Directory "\@ROOT\@/htdocs">
    Options +ExecCGI
    AddHandler fcgipm-script .fcgi
</Directory>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/rubbish">
    SetHandler rubbish
</Location>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(c one several)]}
EOC
system 'cp', $actor, $h->root . '/htdocs/script.fcgi';
my $run = $h->root . '/run';
my $manager = $h->manager;
my $want = join '', map { $_ % 64 == 63 ? "\n" : chr(ord('a') + $_ % 26) } 0 .. 19_999;
my $exact = sub { $_[0]{status} == 200 && $_[0]{complete} && $_[0]{body} eq $want };
wait_for { ($h->status('c') // {})->{ready} == 2 && ($h->status('one') // {})->{ready} == 1 } 20, 'all run';

# Who only stands by: of root, of httpd's user, of the applications' users; leaders of groups and of sessions of their own.
my @bystanders;
for my $n (1 .. 24) {
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $n % 2 ? POSIX::setsid() : setpgrp;
        if (!$>) { my $uid = (0, 65534, (getpwnam 'www-data')[2])[$n % 3]; POSIX::setgid($uid); POSIX::setuid($uid) }
        exec 'sleep', 600;
    }
    push @bystanders, $pid;
}
END { local $?; kill KILL => @bystanders if @bystanders }
my %ours = map { $_ => 1 } $h->workers;
sub cpu_ms { my @f = split ' ', Fcgipm::proc_file($_[0], 'stat') =~ s/^.*\) //sr; return 10 * ($f[11] + $f[12]) }

# One child is made to do it, while others are asked for answers; then it ends.
sub hostile {
    my ($what, $seconds, %o) = @_;
    my $pids = join ',', @bystanders, $h->pid, $manager, 1;
    my $join = $h->load(path => '/c?size=20000', clients => 2, seconds => $seconds, background => 1, check => $exact);
    # (what comes of these is not asked: some are sent to a process that has another one, and would wait for read=)
    my @more = map { $h->load(path => $_, clients => 1, seconds => $seconds, background => 1, options => {timeout => $seconds + 4}) }
        '/one', '/several?sleep=20', '/script.fcgi', '/st?json';
    my $s = $h->connect;
    print {$s} "GET /rubbish?$what&s=$seconds&pids=$pids HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    my $cpu = cpu_ms($manager);
    my $begin = time;
    my ($said) = Fcgipm::read_all($s, $seconds + 30);
    my $took = time - $begin;
    my $share = (cpu_ms($manager) - $cpu) / (1000 * $took);
    like $said, qr/^child \d+ /m, 'it has done it';
    note $said =~ /^(child .*)/m;
    my ($child) = $said =~ /^child (\d+) /m;
    kill KILL => $child if $child;
    $_->() for @more;
    my $sum = $join->();
    note "$sum->{ok} of $sum->{sent} answers were exact meanwhile; the manager used " . int(100 * $share) . ' % of a processor';
    is $h->manager, $manager, 'the manager is the same';
    is scalar(grep { !Fcgipm::alive($_) } @bystanders), 0, 'who stands by lives';
    # Whatever the manager has started is one of the configured programs, and none too many.
    my @children = Fcgipm::children_of($manager);
    my @odd = grep { readlink("/proc/$_/exe") !~ m{^(?:\Q$actor\E|\Q@{[$h->root]}\E/htdocs/script\.fcgi)(?: \(deleted\))?$} } @children;
    is join(' ', map { readlink("/proc/$_/exe") // '?' } grep { Fcgipm::alive($_) } @odd), '', 'and nothing else was started';
    cmp_ok scalar(@children), '<=', 12 + 4, 'nor too much';
    unlike $h->log, qr/BUG|Sanitizer|runtime error|manager (?:died|ended)/, 'nothing broke';
    cmp_ok $share, '<', $o{cpu}, 'the manager was not kept busy' if $o{cpu} && !$slow;
    # What it has sent is read to the end, 500 messages in 100 ms: some end a process.
    my ($same, $since) = ('', time);
    wait_for { my $now = join ' ', sort $h->workers; ($same, $since) = ($now, time) if $now ne $same; time - $since > 0.3 } 20, 'the processes stay' if $o{settles};
    # All is served again, exactly.
    for my $path ('/c?size=20000', '/one?size=20000', '/several?size=20000', '/script.fcgi?size=20000') {
        my $end = time + 30;
        my $r;
        sleep 0.1 until $exact->($r = $h->get($path)) || time > $end;
        ok $exact->($r), "$path is served again" or diag "status $r->{status}, $r->{error}\n", join "\n", grep { defined } (grep { /pool \w+|FPM04/ } split /\n/, $h->log)[-12 .. -1];
    }
    my $after = $h->load(path => '/c?size=20000', clients => 4, requests => 80, check => $exact);
    is $after->{ok}, $after->{sent}, 'and again' or diag explain $after;
    wait_for { !grep { $_->{name} !~ m{^(?:c|one|several|outside|/.*/script\.fcgi|script\.fcgi)\z} } @{$h->status->{pools}} } 10, 'no pool is shown that is none';
    my ($status, $text) = $h->ctl('restart', 'one', '--timeout=20');
    is $status, 0, 'the manager obeys' or diag $text;
}

subtest 'what it holds' => sub {
    plan skip_all => 'needs root' if $>;
    my $r = $h->get('/rubbish?do=look&dir=' . $run . '&pids=' . join ',', $h->pid, $manager, ($h->workers('c'))[0]);
    my @lines = grep { / \d+$/ } split /\n/, $r->{body};
    cmp_ok scalar(@lines), '>', 15, 'it has tried much';
    is join("\n", grep { / 0$/ } @lines), '', 'and has reached nothing of the manager';
    is join(' ', $r->{body} =~ /^map (.*)$/mg), '/memfd:fcgipm-board' . ($r->{body} =~ /^map .*\(deleted\)/m ? ' (deleted)' : ''), 'it has the board mapped, and no registry';
    unlike $r->{body}, qr/^descriptor (?!.*memfd:fcgipm-children\b)/m, 'and a descriptor of neither';
};
for my $like (qw(random ones zeros small states pids)) {
    subtest "the board: $like" => sub { hostile("do=board&like=$like", $long ? 10 : 1) };
}
subtest 'messages' => sub { hostile('do=messages', $long ? 10 : 2, cpu => 0.6, settles => 1) };
subtest 'bells' => sub {
    # Nobody reads them any more, and whoever writes waits, if he can be made to. Then many must be woken.
    my $r = $h->get('/rubbish?do=bells');
    like $r->{body}, qr/^child \d+ \d+ bells/, 'it has done it';
    note $r->{body};
    my $join = $h->load(path => '/one?sleep=20', clients => 12, seconds => 3, background => 1);
    # (one that dies before it has served is a failed start: after some of those the pool waits)
    my $serves = sub { my ($pid) = $h->get('/one?do=pid')->{body} =~ /^(\d+)\n\z/ or return; return grep { $_ == $pid } $h->workers('one') };
    for (1 .. 8) { wait_for { kill KILL => $serves->() } 20, 'it serves' }
    $join->();
    is $h->manager, $manager, 'the manager is the same';
    kill KILL => $r->{body} =~ /^child (\d+) /;
    my $begin = time;
    my ($status, $text) = $h->ctl('restart', 'c', '--timeout=20');
    is $status, 0, 'and is not held up' or diag $text;
    cmp_ok time - $begin, '<', 10, 'at all';
    # The parent wakes others, too, when a child has gone.
    kill KILL => ($h->children)[0];
    wait_for { $exact->($h->get('/c?size=20000')) } 10, 'and is served';
    my $after = $h->load(path => '/c?size=20000', clients => 4, requests => 80, check => $exact);
    is $after->{ok} + $after->{incomplete}, $after->{sent}, 'nor is the parent' or diag explain $after;
};
subtest 'rows' => sub {
    my $r = $h->get('/rubbish?do=locks');
    like $r->{body}, qr/^child \d+ \d{4} taken 0 written$/m, 'it has all rows that were free, and cannot fill their file' or diag $r->{body};
    my ($child) = $r->{body} =~ /^child (\d+) /m;
    my %old = map { $_ => 1 } $h->children;
    kill KILL => grep { $_ != $child } keys %old;
    wait_for { 2 <= grep { !$old{$_} } $h->children } 20, 'other children come';
    # They have no rows.
    for my $path ('/c?size=20000', '/one?size=20000', '/several?size=20000') {
        wait_for { $exact->($h->get($path)) } 20, "$path is served";
    }
    my $sum = $h->load(path => '/c?size=20000', clients => 4, requests => 80, check => $exact);
    is $sum->{ok}, $sum->{sent}, 'by children without one, too' or diag explain $sum;
    kill KILL => $child;
    wait_for { !Fcgipm::alive($child) } 10, 'it ends';
    kill KILL => grep { !$old{$_} } $h->children;
    $sum = $h->load(path => '/c?size=20000', clients => 4, requests => 80);
    for my $path ('/c?size=20000', '/one?size=20000', '/several?size=20000') {
        wait_for { $exact->($h->get($path)) } 20, "$path is served again";
    }
    is $h->manager, $manager, 'the manager is the same';
};
kill KILL => @bystanders;
waitpid $_, 0 for @bystanders;
@bystanders = ();
$h->stop;
done_testing;
