# SPDX-License-Identifier: Apache-2.0
# An application that has been taken over (t/apps/hostile.c): what it floods is bounded, what it tries against others
# fails, what it forks and hides is ended with it, its neighbour is served exactly all the while. So it is while it forks
# without end within FcgiLimit procs=, and while it takes requests and never reads them. And what lies in the way of the
# runtime directory's files at the start is never followed. (Hostile answers: t/44-answers.t, t/46-wire.t; what a
# process inherits: t/65-shut-in.t; deaf to TERM: t/63-stop.t.)
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $hostile = app_built('hostile.c');
my ($evil, $other) = $> ? ('', '') : ("    FcgiUser nobody nogroup\n", "    FcgiUser daemon daemon\n");
my %earlier;    # strays of another run
%earlier = map { $_ => 1 } strays();
my $slow = ($ENV{FCGIPM_BUILD} // '') =~ /asan/;
my @pools = qw(look flood notify spoil says mute escape headless hidden tracer);
my %more = (
    says => "    FcgiReady Notify\n", mute => "    FcgiReady Notify\n    FcgiTimeout start=120s stop=1s\n",
    map { $_ => "    FcgiTimeout stop=1s\n" } qw(escape headless hidden tracer));
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM030[12]/, qr/FPM031[5678]/, qr/FPM0420/, qr/FPM0616/, qr/FPM060[0-3]/],
    conf => "FcgiMinUid 1\nFcgiMinGid 1\n" . join('', map { "<FcgiServer $_>\n    FcgiCommand $hostile $_\n${evil}    FcgiProcesses 1\n" . ($more{$_} // '')
            . "</FcgiServer>\n<Location \"/$_\">\n    FcgiPass $_\n</Location>\n" } @pools) . <<"EOC");
<FcgiServer neighbour>
    FcgiCommand $actor
${other}    FcgiProcesses 2
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/neighbour">
    FcgiPass neighbour
</Location>
EOC
my $want = join '', map { $_ % 64 == 63 ? "\n" : chr(ord('a') + $_ % 26) } 0 .. 19_999;
my $exact = sub { $_[0]{status} == 200 && $_[0]{complete} && $_[0]{body} eq $want };
my $run = $h->root . '/run';
sub ready { my ($pool) = @_; return ($h->status($pool) // {})->{ready} // 0 }
# Also one whose first thread has ended.
sub lives { return grep { do { local $/; open my $f, '<', $_ or next; <$f> // '' } =~ /^\d+ \(.*\) [^ZX]/s } glob "/proc/$_[0]/task/*/stat" }
sub strays { return grep { !$earlier{$_} && Fcgipm::proc_file($_, 'comm') eq "hostile-stray\n" && lives($_) } map { m{/proc/(\d+)} } glob '/proc/[0-9]*' }
sub cpu_ms { my @f = split ' ', Fcgipm::proc_file($_[0], 'stat') =~ s/^.*\) //sr; return 10 * ($f[11] + $f[12]) }
# What the neighbour's clients see while something is done.
sub meanwhile {
    my ($seconds, $act) = @_;
    my $join = $h->load(path => '/neighbour?size=20000', clients => 2, seconds => $seconds, background => 1, check => $exact);
    my $manager = $h->manager;
    my ($cpu, $begin) = (cpu_ms($manager), time);
    $act->();
    my $sum = $join->();
    my $share = (cpu_ms($manager) - $cpu) / (1000 * (time - $begin));
    cmp_ok $sum->{sent}, '>', 20, 'the neighbour is asked';
    is $sum->{ok}, $sum->{sent}, 'and answers exactly' or diag explain $sum;
    is $h->manager, $manager, 'the manager is the same';
    cmp_ok $share, '<', $slow ? 0.9 : 0.4, sprintf 'and uses %.0f %% of a processor', 100 * $share;
}
wait_for { my $n = 0; $n += ready($_) for @pools, 'neighbour'; $n == @pools + 1 } 20, 'all run but the mute one';
my %pid = map { my @w = $h->workers($_); $_ => $w[0] } @pools, 'neighbour';

subtest 'what it can reach' => sub {
    plan skip_all => 'needs root' if $>;
    my $dir = "$run/p" . $h->status('neighbour')->{index};
    my ($child) = $h->children;
    my @targets = ($h->pid, $h->manager, $child, $pid{neighbour});
    my $r = $h->get('/look?do=look&' . join '&', "dir=$run", "dir=$dir", (map { "sock=$_" } glob("$dir/s0-*.sock"), "$dir/s0.out", "$run/control", "$run/registry", "$run/notify"),
        map { "pid=$_" } @targets);
    is $r->{status}, 200, 'it has looked';
    my @lines = split /\n/, $r->{body};
    cmp_ok scalar(@lines), '>', 60, 'at much';
    is join("\n", grep { / 0$/ && !/^descriptor / } @lines), '', 'and reached nothing';
    is join("\n", grep { /^descriptor / && !m{^descriptor (?:0 socket:|[12] \Q$run\E/p\d+/s0\.out$|\d+ socket:)} } @lines), '', 'no descriptor but its own';
    is scalar(grep { /^descriptor / } @lines), 4, 'four of them: its socket, its output twice, the connection';
    ok Fcgipm::alive($_), "process $_ lives" for @targets;
};

subtest 'floods of output' => sub {
    my $lines = () = $h->log =~ /FPM0302: pool flood /g;
    my $size = length $h->log;
    meanwhile(4, sub { is $h->get('/flood?do=flood&s=4')->{body}, "hello from flood\n", 'it floods, and serves' });
    $lines = (() = $h->log =~ /FPM0302: pool flood /g) - $lines;
    cmp_ok $lines, '>', 20, 'it is heard';
    cmp_ok $lines, '<=', 7 * 51, "but not without end: $lines lines";
    cmp_ok length($h->log) - $size, '<', 7 * 51 * 4 * 512, 'nor without end of line';
    like $h->log, qr/FPM0301: pool flood .* more lines of output dropped/, 'and it is said';
};

subtest 'floods of notifications' => sub {
    meanwhile(4, sub {
        is $h->get("/notify?do=notify&s=4&sock=$run/notify")->{body}, "hello from notify\n", 'it floods, and serves';
        my ($status, $said) = $h->ctl('restart', 'says', '--timeout=10');
        is $status, 0, 'who says READY=1 is heard' or diag $said;
    });
    is ready('mute'), 0, 'what another says makes nobody ready';
    is $h->get('/says')->{status}, 200, 'and it serves';
};

subtest 'what its successor inherits' => sub {
    $h->get('/spoil?do=spoil', timeout => 20);
    wait_for { $h->get('/spoil')->{status} == 200 } 5, 'the next process serves';
    unlike $h->log, qr/FPM0316: pool spoil/, 'none of them failed to start';
    isnt +($h->workers('spoil'))[0], $pid{spoil}, 'which is another one';
    like $h->get('/spoil')->{body}, qr/^hello from spoil/, 'with a socket that is whole' for 1 .. 5;
};

subtest 'who got away' => sub {
    plan skip_all => 'needs root' if $>;
    my @before = strays();
    is scalar(@before), 4, 'four have got away' or diag "@before";
    meanwhile(5, sub {
        for my $pool (qw(hidden tracer)) {
            my ($status, $said) = $h->ctl('restart', $pool, '--timeout=15');
            is $status, 0, "$pool: restart" or diag $said;
            wait_for { !grep { $_ == $pid{$pool} } $h->workers($pool) } 5, "$pool: the old one is gone";
            like $h->get("/$pool")->{body}, qr/^hello/, "$pool: the new one serves";
        }
    });
    my %now = map { $_ => 1 } strays();
    wait_for { %now = map { $_ => 1 } strays(); (grep { $now{$_} } @before) <= 2 } 5, 'with their processes they have gone';
    is scalar(grep { $now{$_} } @before), 2, 'but the two that nothing ties to a pool';
    my $begin = time;
    $h->stop;
    cmp_ok time - $begin, '<', 12, 'httpd stops in time';
    is join(' ', strays()), '', 'and nothing is left';
};
$h->stop if $h->pid;

# --- a fork bomb ---
# With a user of its own, as the kernel counts all processes of a user; and again where there are control groups.
my $bomber = "fcgipmb$$";
my $tester = $$;
END { my $status = $?; system "userdel $bomber 2>/dev/null" if $$ == $tester && !$>; $? = $status }
SKIP: {
    skip 'needs root', 1 if $>;
    skip 'needs useradd', 1 if system('useradd', '--system', '--no-create-home', '--shell', '/usr/sbin/nologin', $bomber);
    my $uid = getpwnam $bomber;
    my $most = 40;
    my $of_user = sub { return grep { Fcgipm::proc_file($_, 'status') =~ /^Uid:\s+$uid\s/m } map { m{/proc/(\d+)} } glob '/proc/[0-9]*' };
    my $bombs = sub { return grep { Fcgipm::proc_file($_, 'comm') eq "hostile-bomb\n" && Fcgipm::alive($_) } $of_user->() };
    $h = Fcgipm->httpd(expect_log => [qr/FPM031[58]/, qr/FPM0301/], conf => "FcgiMinUid 1\nFcgiMinGid 1\n" . <<"EOC");
<FcgiServer bomb>
    FcgiCommand $hostile
    FcgiUser $bomber
    FcgiProcesses 1
    FcgiLimit procs=$most
    FcgiTimeout stop=1s
</FcgiServer>
<FcgiServer neighbour>
    FcgiCommand $actor
    FcgiUser daemon daemon
    FcgiProcesses 2
</FcgiServer>
<FcgiServer forks>
    FcgiCommand $actor
    FcgiUser nobody nogroup
    FcgiProcesses 1
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(bomb neighbour forks)]}
EOC
    wait_for { ready('bomb') && ready('neighbour') == 2 && ready('forks') } 10, 'they run';
    for my $how ('its restart', 'its death', 'the stop of httpd') {
        subtest "a fork bomb, and $how" => sub {
            my ($old) = $h->workers('bomb');
            meanwhile(3, sub {
                is $h->get('/bomb?do=bomb')->{body}, "hello from bomb\n", 'it goes off';
                my $seen = 0;
                wait_for { $seen = () = $of_user->(); $seen > $most * 3 / 4 } 10, 'its user comes near its limit' or diag "$seen processes: ", map { "$_ " . Fcgipm::proc_file($_, 'stat') } $of_user->();
                for (1 .. 5) {
                    my $now = () = $of_user->();
                    $seen = $now if $now > $seen;
                    like $h->get('/forks?fork=1')->{body}, qr/^\d+$/m, 'another user can fork';
                }
                cmp_ok $seen, '<=', $most, 'and never goes beyond';
                is $h->get('/bomb')->{body}, "hello from bomb\n", 'it serves';
            });
            if ($how eq 'its restart') {
                my ($status, $said) = $h->ctl('restart', 'bomb', '--timeout=15');
                is $status, 0, 'restart' or diag $said;
            } elsif ($how eq 'its death') {
                kill KILL => $old;
            } else {
                my $begin = time;
                $h->stop;
                cmp_ok time - $begin, '<', 14, 'in time';
                is join(' ', $of_user->()), '', 'and nothing of its user is left';
                return;
            }
            wait_for { !Fcgipm::alive($old) && (my ($new) = $h->workers('bomb')) } 5, 'another process';
            wait_for { !$bombs->() } 5, 'nothing of it is left' or diag join ' ', $bombs->();
            wait_for { ($h->get('/bomb')->{body} // '') eq "hello from bomb\n" } 5, 'which serves';
        };
    }
    $h->stop if $h->pid;
}

# --- it never reads ---
for my $async ('Off', 'Auto') {
    $h = Fcgipm->httpd(async => $async, expect_log => [qr/FPM060[01]/, qr/FPM0613/, qr/FPM031[58]/, qr/FPM067[79]/, qr/FPM0616/], conf => <<"EOC");
<FcgiServer deaf>
    FcgiCommand $hostile deaf
${evil}    FcgiProcesses 2
    FcgiTimeout read=1s queue=1s stop=1s
    FcgiQueue threads=6
</FcgiServer>
<FcgiServer direct>
    FcgiCommand $hostile deaf
${evil}    FcgiProcesses 1
    FcgiTimeout read=1s queue=1s stop=1s
    FcgiRequestBuffering Off
</FcgiServer>
<FcgiServer neighbour>
    FcgiCommand $actor
    FcgiProcesses 2
</FcgiServer>
ExtendedStatus On
<Location "/server">
    SetHandler server-status
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
@{[map { qq{<Location "/$_">\n    FcgiPass $_\n</Location>\n} } qw(deaf direct neighbour)]}
EOC
    wait_for { ready('deaf') == 2 && ready('direct') == 1 && ready('neighbour') == 2 } 10, 'they run';
    my $body = 'b' x 8_000_000;    # more than any socket takes
    for my $pool (qw(deaf direct)) {
        subtest "it never reads, FcgiAsync $async: a large body for $pool" => sub {
            my ($one) = map { $_ => 1 } $h->workers($pool);
            my $lines = () = $h->log =~ /FPM06\d\d: pool $pool /g;
            my $r = $h->request(POST => "/$pool", body => $body, timeout => 15);
            is $r->{status}, 504, 'Gateway Timeout' or diag explain [@$r{qw(status reason error)}];
            cmp_ok $r->{ms}, '>=', 900, 'after the time configured';
            cmp_ok $r->{ms}, '<', 5000, 'and not much later';
            like $h->log, qr/FPM0613: pool $pool slot \d pid \d+: .*\(FcgiTimeout read=\); answered 504 and the process is replaced/, 'the log has pool, pid and reason';
            is +(() = $h->log =~ /FPM06\d\d: pool $pool /g) - $lines, 1, 'in one line';
        };
    }
    subtest "it never reads, FcgiAsync $async: many requests" => sub {
        my $before = () = $h->log =~ /FPM0613: pool deaf /g;
        wait_for { ready('deaf') == 2 } 10, 'it is there again';
        my ($answers, $most, $late) = ('', 0, 0);
        meanwhile(4, sub {
            my @joins = map { my $method = $_;
                $h->load(path => '/deaf', method => $method, clients => 20, requests => 40, background => 1, options => {timeout => 15, $method eq 'POST' ? (body => substr $body, 0, 500_000) : ()},
                    check => sub { $_[0]{status} =~ /^50[34]$/ && $_[0]{complete} && $_[0]{ms} < 8000 }) } 'GET', 'POST';
            for (1 .. 15) {
                my ($busy) = $h->get('/server?auto')->{body} =~ /^BusyWorkers: (\d+)/m;
                $most = $busy if $busy > $most;
                sleep 0.1;
            }
            for (@joins) {
                my $sum = $_->();
                is $sum->{ok}, $sum->{sent}, "each of $sum->{sent} is answered 504 or 503 in time" or diag explain $sum;
            }
        });
        # Of 43: FcgiQueue threads=, the neighbour's two, who asks; and some that are just being refused.
        cmp_ok $most, '<', 32, "httpd's threads that are busy: $most";
        my @lines = $h->log =~ /FPM0613: (pool deaf .*)/g;
        cmp_ok @lines - $before, '>', 1, 'some have hung';
        is scalar(grep { !/^pool deaf slot \d pid \d+: .*\(FcgiTimeout \w+=\); answered 504 and the process is replaced/ } @lines), 0, 'each has its line with pid and reason' or diag join "\n", @lines;
    };
    $h->stop;
}

# --- what lies in the way ---
SKIP: {
    skip 'needs root', 1 if $>;
    my $dir = "/tmp/fcgipm-way-$$";
    my $victim = "/tmp/fcgipm-victim-$$";
    my $put = sub { open my $f, '>', $_[0] or die "$_[0]: $!"; print {$f} "precious\n"; close $f };
    my $fresh = sub {
        system 'rm', '-rf', $dir, $victim;
        mkdir $dir;
        chmod 0711, $dir;
        mkdir $victim;
        chmod 0755, $victim;
        $put->("$victim/s0.sock");
        $put->("$victim/file");
    };
    my $state = sub { return join ' ', map { sprintf '%s %o %d %d %d', $_, (lstat)[2, 4, 5, 7] } $victim, glob "$victim/*" };
    my $conf = "FcgiRuntimeDir $dir\n<FcgiServer c>\n    FcgiCommand $actor\n    FcgiProcesses 1\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n";
    # Each: how it gets there, and what comes of it: an error at the start, a pool that does not start, or all is well.
    my @cases = (
        'a runtime directory of another user' => sub { chown 65534, 65534, $dir } => qr/must belong to uid 0/,
        'a symbolic link in its place' => sub { rmdir $dir; symlink $victim, $dir } => qr/symbolic link, which is never followed/,
        'a file in its place' => sub { rmdir $dir; $put->($dir) } => qr/is not a directory but a file/,
        'a directory above that others can write' => sub { $dir .= '/up/run'; mkdir $dir =~ s{/run$}{}r; chmod 0777, $dir =~ s{/run$}{}r; } => qr/above it belongs to or is writable by others/,
        'a registry that is a symbolic link' => sub { symlink "$victim/file", "$dir/registry" } => qr/symbolic link/,
        'a registry of another user' => sub { $put->("$dir/registry"); chmod 0600, "$dir/registry"; chown 65534, 65534, "$dir/registry" } => qr/must belong to uid 0 with mode 0600/,
        'a registry that others can write' => sub { $put->("$dir/registry"); chmod 0666, "$dir/registry" } => qr/must belong to uid 0 with mode 0600/,
        'a registry with a second name' => sub { link "$victim/file", "$dir/registry"; chmod 0600, "$victim/file" } => qr/has a second link/,
        'a pool directory that is a symbolic link' => sub { symlink $victim, "$dir/p0" } => 'refused',
        'a pool directory that is a file' => sub { $put->("$dir/p0") } => 'refused',
        'a pool directory of another user' => sub { mkdir "$dir/p0"; chown 65534, 65534, "$dir/p0"; symlink "$victim/file", "$dir/p0/s0.sock" } => 'served',
        'links in the place of sockets' => sub { mkdir "$dir/p0"; symlink "$victim/s0.sock", "$dir/p0/$_" for qw(s0.sock s0.sock.new s0.out); symlink "$victim/file", "$dir/$_" for qw(control notify) } => 'served',
    );
    while (my ($what, $make, $comes) = splice @cases, 0, 3) {
        subtest $what => sub {
            $dir = "/tmp/fcgipm-way-$$";
            $fresh->();
            $make->();
            my $before = $state->();
            my $h = eval { Fcgipm->httpd(leave => 1, conf => $conf =~ s/FcgiRuntimeDir \S+/FcgiRuntimeDir $dir/r) };
            if (ref $comes) {
                ok !$h, 'httpd does not start';
                like $@, $comes, 'and says why';
            } elsif ($comes eq 'served') {
                ok $h, 'httpd starts' or diag $@;
                wait_for { $h->get('/c')->{status} == 200 } 10, 'and serves';
            } else {
                ok $h, 'httpd starts' or diag $@;
                ok $h->wait_log(qr/FPM0316: pool c .*is not a directory of ours/, 10), 'but not the pool';
            }
            $h->stop if $h;
            is $state->(), $before, 'what is not ours is as it was';
        };
    }
    system 'rm', '-rf', "/tmp/fcgipm-way-$$", $victim;
}
done_testing;
