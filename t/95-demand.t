# SPDX-License-Identifier: Apache-2.0
# Pools on demand when there are more than there is room for: who waits for one holds no thread, or not too many; an index
# that goes from one user to another serves nobody wrong; one customer's many leave the others theirs.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Select;
use Time::HiRes qw(time sleep);
use Fcgipm;

plan skip_all => 'needs root' if $>;
need('useradd');
my $mpm = $ENV{FCGIPM_MPM} // 'event';
my $self = app_built('self.c');
my @users = map { "fpd$_" . $$ } qw(a b c);
my $test = $$;
END { if ($$ == $test) { my $status = $?; system "userdel $_ >/dev/null 2>&1" for @users; $? = $status } }
system("useradd -M -U -d /nonexistent $_") == 0 or BAIL_OUT("useradd $_") for @users;
my %uid = map { $_ => scalar getpwnam $_ } @users;
my ($alice, $bob, $carol) = @users;

my $conf = <<"EOC";
<Location "/st">
    SetHandler fcgipm-status
</Location>
Alias /srv "\@ROOT\@/srv"
<FcgiServerTemplate own>
    FcgiCommand $self
    FcgiUserFrom Owner below=\@ROOT\@/srv
    FcgiProcesses 0 2
    FcgiTimeout idle=30s
</FcgiServerTemplate>
<Directory "\@ROOT\@/srv">
    Options ExecCGI
    Require all granted
    AddHandler fcgipm-script .app
    AddHandler fcgipm:own .own
</Directory>
EOC
sub dirs { my ($user, @dirs) = @_; for (@dirs) { mkdir $_; chmod 0755, $_; chown $uid{$user}, -1, $_ if $user } }
sub fill {
    my ($h, $programs) = @_;
    my $srv = $h->root . '/srv';
    dirs(undef, $srv);
    for my $user (@users) {
        dirs($user, "$srv/$user");
        for my $name ('x.own', map { "s$_.app" } 1 .. $programs) {
            system('cp', $self, "$srv/$user/$name") == 0 or die;
            chown $uid{$user}, -1, "$srv/$user/$name";
        }
    }
    return $srv;
}
sub names { my ($h) = @_; my @names = sort map { $_->{name} } @{$h->status->{pools}}; return @names }
# Connections that have asked, and of them those with an answer.
sub ask { my ($h, @paths) = @_; return map { my $s = $h->connect; print {$s} "GET $_ HTTP/1.0\r\n\r\n"; $s } @paths }
sub answered { my @s = IO::Select->new(@_)->can_read(0); return scalar @s }
sub rest { return map { (Fcgipm::read_all($_, 20))[0] } @_ }

my $few = "StartServers 1\nServerLimit 1\nThreadsPerChild 4\nThreadLimit 4\nMaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4\n";
SKIP: {
    skip 'the event MPM of this file only', 2 if $mpm ne 'event';
    subtest 'who waits for room holds no thread' => sub {
        my $h = Fcgipm->httpd(conf => "FcgiDemandPools 1\n" . $conf, mpm_conf => $few . "AsyncRequestWorkerFactor 300\n", async => 'On');
        fill($h, 9);
        my ($long) = ask($h, "/srv/$alice/s1.app?sleep=3000");
        wait_for { names($h) } 10, 'there is one';
        my @wait = ask($h, map { "/srv/$alice/s$_.app" } 2 .. 9);
        is $h->get('/index.html')->{status}, 404, 'httpd answers others' for 1 .. 5;
        is answered($long, @wait), 0, 'while all of those wait';
        my ($gone, @still) = @wait;
        close $gone;
        my @said = rest($long, @still);
        is scalar(grep { m{^HTTP/1.1 200} } @said), 8, 'and are served in the end' or diag join "\n---\n", @said;
        my @by = map { /program=\S+\/s(\d+)\.app/ ? $1 : 'none' } @said;
        is_deeply \@by, [1, 3 .. 9], 'each by its own';
        $h->stop;
    };

    subtest 'or only some' => sub {
        my $h = Fcgipm->httpd(conf => "FcgiDemandPools 1\n" . $conf, mpm_conf => $few, async => 'Off', expect_log => [qr/FPM0712/]);
        fill($h, 8);
        my ($long) = ask($h, "/srv/$alice/s1.app?sleep=3000");
        wait_for { names($h) } 10, 'there is one';
        my @wait = ask($h, map { "/srv/$alice/s$_.app" } 2 .. 8);
        wait_for { answered(@wait) >= 5 } 10, 'what is beyond half of the threads is answered';
        is $h->get('/index.html')->{status}, 404, 'httpd answers others';
        is answered($long), 0, 'while those wait';
        my @said = rest(@wait);
        is scalar(grep { m{^HTTP/1.1 200} } @said), 2, 'two of four threads wait';
        is scalar(grep { m{^HTTP/1.1 503.*\r\nRetry-After:}s } @said), 5, 'the others come again';
        ok $h->log_has(qr/FPM0712: pool \S+: there is no room for another pool, and half of httpd's threads wait for it already; answered 503/), 'the log says why';
        rest($long);
        $h->stop;
    };

    subtest '... which keeps nobody from what there is room for' => sub {
        my $h = Fcgipm->httpd(conf => "FcgiDemandPools 8\n" . $conf, mpm_conf => $few =~ s/\b4\b/16/gr, async => 'Off', expect_log => [qr/FPM0712/]);
        fill($h, 16);
        my @busy = ask($h, map { "/srv/$alice/s$_.app?sleep=3000" } 1 .. 7);
        wait_for { names($h) == 7 } 10, 'she has all that one may have, busy';
        my @wait = ask($h, map { "/srv/$alice/s$_.app" } 8 .. 16);
        wait_for { answered(@wait) >= 1 } 10, 'and waits for more with half of the threads';
        like $h->get("/srv/$bob/x.own")->{body}, qr/^uid=$uid{$bob} /, 'bob has one at once';
        is answered(@busy), 0, 'while she waits';
        rest(@busy, @wait);
        $h->stop;
    };
}

# FcgiUserThreads: all pools of one user, whatever they are for, those of templates among them.
my $threads = <<"EOC";
FcgiUserThreads 3
<FcgiServerTemplate also>
    FcgiCommand $self
    FcgiUserFrom Owner below=\@ROOT\@/srv
    FcgiProcesses 0 2
</FcgiServerTemplate>
<FcgiServer plain>
    FcgiCommand $self
    FcgiUser $alice
    FcgiProcesses 0 4
</FcgiServer>
<Directory "\@ROOT\@/srv">
    Options +Includes
    AddOutputFilter INCLUDES .shtml
    AddHandler fcgipm:also .also
</Directory>
<Location "/plain">
    FcgiPass plain
</Location>
EOC
sub link_also { my ($srv) = @_; for my $user (@users) { system('cp', '-p', "$srv/$user/x.own", "$srv/$user/x.also") == 0 or die } }
subtest 'FcgiUserThreads' => sub {
    my $h = Fcgipm->httpd(conf => $conf . $threads, async => 'Off', expect_log => [qr/FPM0600/]);
    link_also(fill($h, 0));
    my $round = sub {
        my ($what) = @_;
        my @two = ask($h, map { "/srv/$alice/x.own?sleep=3000" } 1 .. 2);
        wait_for { grep { $_->{name} eq "own:$alice" && 2 == grep { $_->{seats}{busy} } @{$_->{workers}} } @{$h->status->{pools}} } 10, 'two of one template';
        my @other = ask($h, map { ("/srv/$alice/x.also?sleep=3000", "/plain?sleep=3000") } 1 .. 2);
        wait_for { answered(@other) == 3 } 10, "$what: and one more, of another template or block";
        my @bob = ask($h, map { "/srv/$bob/x.$_" } qw(own also own));
        is scalar(grep { m{^HTTP/1.1 200} } rest(@bob)), 3, 'another user has his own';
        my @said = rest(@two, @other);
        is scalar(grep { m{^HTTP/1.1 200} } @said), 3, 'three together';
        is scalar(grep { m{^HTTP/1.1 503} } @said), 3, 'the rest is refused';
    };
    $round->('first');
    like $h->log, qr/FPM0600: pool (?:also:)?\S+: the applications of user $alice have their share of httpd's threads, 3 \(FcgiUserThreads\); answered 503/, 'the log says why';
    unlike $h->log, qr/the applications of user (?!$alice )/, 'and whose';
    my $manager = $h->manager;
    kill KILL => $manager;
    wait_for { my $m = $h->manager; $m && $m != $manager && Fcgipm::in_its_loop($m) } 10, 'another manager';
    push @{$h->{expect_log}}, qr/FPM0644/;
    $round->('another manager');
    $h->stop;
};

SKIP: {
    skip 'the event MPM of this file only', 1 if $mpm ne 'event';
    subtest 'FcgiUserThreads: of requests that need a thread where others do not' => sub {
        my $h = Fcgipm->httpd(conf => $conf . $threads, async => 'On', modules => ['include'], expect_log => [qr/FPM0618/, qr/AH01\d+: unable to include/i, qr/unable to include/]);
        my $srv = fill($h, 0);
        link_also($srv);
        my $page = sub { my ($name, $url) = @_; open my $f, '>', "$srv/$name.shtml" or die; print {$f} qq{[<!--#include virtual="$url" -->]\n}; close $f };
        $page->(own => "/srv/$alice/x.own?sleep=3000");
        $page->(also => "/srv/$alice/x.also?sleep=3000");
        $page->(bob => "/srv/$bob/x.own");
        my @s = ask($h, map { ('/srv/own.shtml', '/srv/also.shtml') } 1 .. 3);
        wait_for { answered(@s) == 3 } 10, 'more than three';
        like $h->get('/srv/bob.shtml')->{body}, qr/^\[uid=$uid{$bob} /, 'another user has his own';
        is scalar(grep { /^\[uid=$uid{$alice} /m } rest(@s)), 3, 'three of hers are served';
        like $h->log, qr/FPM0618: pool \S+: the applications of user $alice have their share of httpd's threads, 3/, 'the log says why';
        $h->stop;
    };
}

subtest 'one customer\'s many' => sub {
    my $h = Fcgipm->httpd(conf => "FcgiDemandPools 8\n" . $conf, expect_log => [qr/FPM0604/]);
    fill($h, 16);
    my ($told, $kept) = map { $_->{body} } $h->get("/srv/$bob/x.own"), $h->get("/srv/$carol/s1.app");
    like $told, qr/^uid=$uid{$bob} /, 'bob has one';
    my ($bobs) = grep { Fcgipm::proc_file($_, 'cmdline') =~ /^\Q$self\E\0/ } $h->workers;
    my ($carols) = grep { Fcgipm::proc_file($_, 'cmdline') =~ m{/\Q$carol\E/s1} } $h->workers;
    ok $bobs && $carols, 'and carol too' or diag join ' ', $h->workers;
    for my $round (1, 2) { like $h->get("/srv/$alice/s$_.app")->{body}, qr{/\Q$alice\E/s$_\.app }, "alice, round $round, program $_" for 1 .. 16 }
    is_deeply [grep { $_ == $bobs || $_ == $carols } $h->workers], [sort { $a <=> $b } $bobs, $carols], 'she has had only her own make room';
    # ... and when all of hers are busy she has not all there are.
    my @busy = ask($h, map { "/srv/$alice/s$_.app?sleep=3000" } 1 .. 8);
    wait_for { my @n = grep { /^s\d/ } names($h); @n == 7 } 10, 'hers, busy, and carol\'s';
    my $s = [ask($h, "/srv/$bob/s1.app", "/srv/$carol/x.own")];
    my @said = rest(@$s);
    is scalar(grep { m{^HTTP/1.1 200} } @said), 2, 'another one of theirs' or diag join "\n", @said, names($h);
    cmp_ok answered(@busy), '<', 7, '... while hers are busy';
    rest(@busy);
    $h->stop;
};

# One whose process does not heed TERM keeps its place for stop=; nobody waits for that where others could go.
subtest 'slow to leave' => sub {
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0301/], conf => "FcgiDemandPools 3\n" . $conf . <<"EOC");
@{[map { "<FcgiServerTemplate $_->[0]>\n    FcgiCommand @{[app_built('actor.c')]}\n    FcgiUserFrom Server\n    FcgiProcesses 0 1\n    FcgiTimeout stop=20s\n$_->[1]</FcgiServerTemplate>\n<Location /$_->[0]>\n    FcgiPass $_->[0]\n</Location>\n" }
    ['slow', "    FcgiEnv ACTOR_IGNORE_TERM 1\n"], map { [$_, ''] } qw(quick other new)]}
EOC
    my ($slow) = $h->get('/slow?do=pid')->{body} =~ /^(\d+)$/;
    ok $slow, 'one that is slow to leave';
    for my $name (qw(quick other)) { sleep 0.05; is $h->get("/$name")->{status}, 200, "and $name after it" }
    my $begin = time;
    my @said = rest(ask($h, ('/new') x 24));
    is scalar(grep { m{^HTTP/1.1 200} } @said), 24, 'a fourth one, for which many ask';
    cmp_ok time - $begin, '<', 10, 'does not wait for it';
    ok Fcgipm::alive($slow), 'which is there still';
    my @went = $h->log =~ /:(\d\d\.\d+) \d{4}\].*FPM0432: pool (\w+):-: idle .*, makes room/g;
    is join(' ', @went[1, 3]), 'slow quick', 'it was told to go first, as it was used longest ago, and then the next one, and no more';
    my $after = $went[2] - $went[0];
    cmp_ok $after < 0 ? $after + 60 : $after, '>=', 0.28, 'that one not before it was seen to be slow';
    is_deeply [grep { /^(?:other|new):/ } names($h)], ['new:-', 'other:-'], 'the rest stays';
    kill KILL => $slow;
    $h->stop;
};

# A request for a pool that is not there yet belongs to none, least of all to that of index 0.
subtest 'what has no pool is counted for none' => sub {
    plan skip_all => 'the event MPM only' if $mpm ne 'event';
    my $h = Fcgipm->httpd(async => 'Off', mpm_conf => $few, expect_log => [qr/FPM0712/, qr/FPM0701/, qr/FPM0604/], conf => <<"EOC" . "FcgiDemandPools 1\n" . $conf);
<FcgiServer zero>
    FcgiCommand $self
    FcgiProcesses 1
</FcgiServer>
<Location "/zero">
    FcgiPass zero
</Location>
EOC
    my $srv = fill($h, 6);
    is $h->status('zero')->{index}, 0, 'a pool of index 0';
    is $h->get('/zero')->{status}, 200, 'serves';
    my $before = $h->status('zero')->{counters};
    is $before->{done}, 1, 'and counts';
    my ($long) = ask($h, "/srv/$alice/s1.app?sleep=3000");
    wait_for { grep { $_ eq 's1.app' } names($h) } 10, 'the one that there is room for';
    my @wait = ask($h, map { "/srv/$alice/s$_.app" } 2 .. 6);
    wait_for { answered(@wait) >= 2 } 10, 'what is refused before it has a pool';
    like join('', rest(grep { answered($_) } @wait)), qr{^HTTP/1.1 503}, 'is 503';
    close $_ for @wait;    # those who wait still leave: counted as such, for nobody
    chmod 0666, "$srv/$bob/x.own";
    is $h->get("/srv/$bob/x.own")->{status}, 403, 'another one is refused for its file';
    rest($long);
    wait_for { $h->get("/srv/$carol/x.own")->{status} == 200 } 15, 'in the end there is room';
    is_deeply $h->status('zero')->{counters}, $before, 'nothing of it is counted for that pool';
    $h->stop;
};

subtest 'an index goes round' => sub {
    my $h = Fcgipm->httpd(conf => "FcgiDemandPools 2\n" . $conf);
    my $srv = fill($h, 2);
    my %at = ((map { ("/srv/$_/x.own" => qr/^uid=$uid{$_} program=\Q$self\E pool=own:$_$/) } @users),
        (map { ("/srv/$alice/s$_.app" => qr{^uid=(?!0)\d+ program=\Q$srv\E/\Q$alice\E/s$_\.app pool=s$_\.app$}) } 1, 2));
    my @wrong;
    my $rounds = $ENV{FCGIPM_LONG} ? 200 : 4;
    for my $round (1 .. $rounds) {
        my @paths = map { ($_, $_) } sort { rand() <=> 0.5 } sort keys %at;
        my @s = ask($h, @paths);
        close splice @s, 3, 1;    # one leaves
        splice @paths, 3, 1;
        my @said = rest(@s);
        for my $i (0 .. $#paths) { push @wrong, "round $round, $paths[$i]: $said[$i]" unless $said[$i] =~ m{^HTTP/1\.1 200.*?\r\n\r\n(.*)}s && $1 =~ $at{$paths[$i]} }
    }
    is_deeply \@wrong, [], 'each answer by whom it should be';
    my $made = () = $h->log =~ /FPM0341/g;
    cmp_ok $made, '>', 7, "$made pools were made";
    $h->stop;
};

subtest 'they vanish while they are asked for' => sub {
    my $h = Fcgipm->httpd(conf => $conf =~ s/idle=30s/idle=1s/r);
    my $srv = fill($h, 0);
    # Many that go at about the same time: one for each virtual host would do as well.
    my @more = map { "more$_" } 1 .. 30;
    open my $f, '>', $h->root . '/more.conf' or die;
    print {$f} map { "<FcgiServerTemplate $_>\nFcgiCommand $self\nFcgiUserFrom Server\nFcgiProcesses 1 2\nFcgiTimeout idle=1s\n</FcgiServerTemplate>\n<Location /$_>\nFcgiPass $_\n</Location>\n" } @more;
    close $f;
    open $f, '>>', $h->root . '/httpd.conf' or die;
    print {$f} 'Include "' . $h->root . "/more.conf\"\n";
    close $f;
    $h->graceful;
    my %at = ((map { ("/srv/$_/x.own" => qr/^uid=$uid{$_} program=\Q$self\E pool=own:$_$/) } @users), (map { ("/$_" => qr/^uid=\d+ program=\Q$self\E pool=$_:-$/) } @more));
    my @paths = sort keys %at;
    my $all = sub {
        my ($when) = @_;
        my @said = rest(ask($h, @paths));
        is_deeply [map { $said[$_] =~ m{^HTTP/1\.1 200.*?\r\n\r\n(.*)}s && $1 =~ $at{$paths[$_]} ? () : "$paths[$_]: $said[$_]" } 0 .. $#paths], [], $when;
    };
    $all->('all of them');
    is scalar(names($h)), scalar @paths, 'each has a pool';
    for my $round (1 .. ($ENV{FCGIPM_LONG} ? 5 : 1)) {
        wait_for { names($h) < @paths } 20, 'the first of them vanish';
        $all->("all come back, round $round");
    }
    wait_for { !names($h) && !$h->workers } 20, 'and in the end they go';
    is scalar(() = glob $h->root . '/run/p*'), 0, 'with their directories';
    $h->stop;
};

done_testing;
