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
    my ($user) = @_;
    pipe my $from, my $to or die;
    my $pid = fork // die;
    if (!$pid) {
        setpgrp;
        my ($uid, $gid) = (getpwnam $user)[2, 3];
        $) = "$gid $gid";
        POSIX::setgid($gid);
        POSIX::setuid($uid);
        open STDOUT, '>&', $to;
        exec "$top/stall", $fuse, 8 or POSIX::_exit(1);
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
    my $pid = stall('nobody') or do { release(); plan skip_all => 'no FUSE in a user namespace here' };
    $replaced->('... whatever a process of another user does');
    ok $h->wait_log(qr/FPM0460: process $pid of uid $uid{nobody} keeps whoever looks/, 3), 'it is told';
    $replaced->('... again');
    is scalar(() = $h->log =~ /FPM0460/g), 1, 'for a minute nobody looks at it again';
    release();
    my $manager = $h->manager;
    stall('daemon');
    kill KILL => $manager;
    wait_for { my $m = $h->manager; $m && $m != $manager } 10, 'a new manager';
    $replaced->('... by a new manager');
    release();
    $h->stop;
};

done_testing;
