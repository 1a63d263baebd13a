# SPDX-License-Identifier: Apache-2.0
# Whoever lacks descriptors or processes himself does not blame the applications: the manager starts nothing, says so
# once, keeps what runs, does not spin, and goes on when it can; an httpd child answers 503 and no process is replaced.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

need('prlimit', 'setpriv');
my $actor = app_built('actor.c');
my $dir = File::Temp::tempdir('/tmp/fcgipm-want-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
sub fail_fork { my ($pid, $errno) = @_; open my $f, '+<', "$dir/fork" or die; syswrite $f, pack 'll', $pid, $errno; close $f }
{ open my $f, '>', "$dir/fork" or die; syswrite $f, pack 'll', 0, 0 }

my $h = Fcgipm->httpd(
    env => {LD_PRELOAD => Fcgipm::preload('clockset.so.c'), FORKFAIL => "$dir/fork"}, loglevel => 'info',
    mpm_conf => ($ENV{FCGIPM_MPM} // 'event') eq 'prefork' ? undef : "StartServers 1\nServerLimit 1\nThreadsPerChild 24\nThreadLimit 24\nMaxRequestWorkers 24\nMinSpareThreads 1\nMaxSpareThreads 24\n",
    expect_log => [qr/FPM0450/, qr/FPM0315: pool b /, qr/FPM060[13]: pool (?:b|grows|fresh)/],
    conf => <<"EOC");
<FcgiServer a>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiProbe every=200ms timeout=1s
</FcgiServer>
<FcgiServer b>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiTimeout queue=1s
</FcgiServer>
<FcgiServer grows>
    FcgiCommand $actor
    FcgiProcesses 0 4
    FcgiTimeout queue=1s idle=1s
</FcgiServer>
<FcgiServer fresh>
    FcgiCommand $actor
    FcgiProcesses 1
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/a">
    FcgiPass a
</Location>
<Location "/b">
    FcgiPass b
</Location>
<Location "/grows">
    FcgiPass grows
</Location>
<Location "/fresh">
    FcgiPass fresh
</Location>
EOC
wait_for { $h->status('a')->{ready} == 2 && $h->status('b')->{ready} == 1 && $h->status('fresh')->{ready} == 1 } 20, 'they run';
my $manager = $h->manager;
my @a = sort $h->workers('a');
sub cpu { my ($pid) = @_; my @f = split ' ', Fcgipm::proc_file($pid, 'stat') =~ s/^.*\) //sr; return ($f[11] + $f[12]) / 100 }
sub limit { my ($pid) = @_; return Fcgipm::proc_file($pid, 'limits') =~ /^Max open files\s+(\d+)/m ? $1 : 0 }
# As its own user: in a container root may not do that to another.
sub set_limit {
    my ($pid, $n) = @_;
    my @as = !$> && (stat "/proc/$pid")[4] ? qw(setpriv --reuid www-data --regid www-data --clear-groups) : ();
    system(@as, 'prlimit', '--pid', $pid, "--nofile=$n:") == 0 or die 'prlimit';
}
# The lowest descriptor that is free: with that as its limit it can open nothing.
sub lowest { my ($pid) = @_; my %open = map { m{(\d+)$} ? ($1 => 1) : () } glob "/proc/$pid/fd/*"; my $n = 0; $n++ while $open{$n}; return $n }
sub times_logged { my ($re) = @_; return scalar(() = $h->log =~ /$re/g) }

sub wants {
    my ($what, $begin, $end) = @_;
    subtest $what => sub {
        my ($told, $lines, $over) = (times_logged(qr/FPM0450/), times_logged(qr/\n/), times_logged(qr/FPM0451/));
        my ($b) = $h->workers('b');
        $begin->();
        my ($cpu, $from) = (cpu($manager), time);
        kill KILL => $b;
        ok $h->wait_log(qr/FPM0315: pool b slot \d+ pid $b: was killed/, 5), 'a process dies';
        is $h->get('/b')->{status}, 503, 'and cannot be replaced';
        is $h->get('/grows')->{status}, 503, 'nor can another pool begin';
        is $h->get('/a')->{status}, 200, 'what runs serves' for 1 .. 3;
        my @ctl = map { IO::Socket::UNIX->new(Peer => $h->root . '/run/control') } 1 .. 2;
        sleep 0.1 while time < $from + 4;
        is_deeply [sort $h->workers('a')], \@a, 'and is not taken for dead';
        cmp_ok cpu($manager) - $cpu, '<', 0.15 * (time - $from), 'the manager does not spin';
        is $h->manager, $manager, 'and lives';
        my $said = times_logged(qr/FPM0450/) - $told;
        cmp_ok $said, '<=', 1, 'it says so once';
        is times_logged(qr/FPM03(?:16|17|18|73|32)|FPM0602/), 0, 'and nothing against an application';
        cmp_ok times_logged(qr/\n/) - $lines, '<', 12, 'in few lines';
        cmp_ok $h->status('b')->{failures}, '<=', 1, 'no failure is counted but that its process died young';
        $end->();
        wait_for { $h->status('b')->{ready} == 1 } 5, 'as soon as it can';
        is $h->get('/b')->{status}, 200, 'it goes on';
        is $h->get('/grows')->{status}, 200, 'with all pools';
        cmp_ok times_logged(qr/FPM0451/) - $over, '==', $said, 'and says so';
        is +($h->ctl('status'))[0], 0, 'fcgipmctl is heard';
        is $h->status('a')->{counters}{unresponsive}, 0, 'nobody was found unresponsive';
        wait_for { !$h->workers('grows') } 10, 'and as before';
    };
}
my $limit = limit($manager);
wants('no descriptor', sub { set_limit($manager, lowest($manager)) }, sub { set_limit($manager, $limit) });
like $h->log, qr/FPM0450: the manager itself lacks descriptors to (?:start processes|ask processes whether they live \(FcgiProbe\)|hear fcgipmctl) \(Too many open files\): what runs goes on/, 'the log says what is lacking';
# Some are left: enough for all but another process.
wants('few descriptors', sub { set_limit($manager, lowest($manager) + 8) }, sub { set_limit($manager, $limit) });
wants('fork: EAGAIN', sub { fail_fork($manager, 11) }, sub { fail_fork(0, 0) });
wants('fork: ENOMEM', sub { fail_fork($manager, 12) }, sub { fail_fork(0, 0) });

SKIP: {
    skip 'one child for all is needed', 1 if ($ENV{FCGIPM_MPM} // 'event') eq 'prefork';
    # An httpd child that can open nothing more, with clients that are there already.
    subtest 'a child of httpd has no descriptor' => sub {
        my ($child) = $h->children;
        my ($fresh) = $h->workers('fresh');
        my @client = map { my $s = $h->connect; print {$s} "GET /st?auto HTTP/1.1\r\nHost: x\r\n\r\n"; Fcgipm::read_all($s, 10, sub { ${$_[0]} =~ /\r\n0\r\n\r\n\z|uptime.*\n\z/s }); $s } 1 .. 3;
        my $limit = limit($child);
        set_limit($child, lowest($child));
        for my $s (@client) {
            print {$s} "GET /fresh HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            my $r = Fcgipm::parse((Fcgipm::read_all($s, 10))[0] =~ s/^.*?(?=HTTP\/1\.1 (?:503|200) )//sr, 'GET');
            is $r->{status}, 503, 'it is refused';
            ok $r->{headers}{'retry-after'}, 'with Retry-After';
        }
        set_limit($child, $limit);
        like $h->log, qr/FPM0603: pool fresh: this httpd child has no descriptor left to connect to the application, which is well \(.*Too many open files; raise httpd's limit of open files\); answered 503/, 'the log says whose fault it is';
        is_deeply [$h->workers('fresh')], [$fresh], 'the process stays';
        is $h->status('fresh')->{counters}{deaths}, 0, 'and is held for well';
        is $h->get('/fresh')->{status}, 200, 'and serves when it can';
        my $seats = $h->status('fresh')->{workers}[0]{seats};
        is $seats->{busy}, 0, 'no place is lost';
    };
}
$h->stop;
done_testing;
