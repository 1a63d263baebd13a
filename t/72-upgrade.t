# SPDX-License-Identifier: Apache-2.0
# The module is replaced by another version, with another layout of the shared memory, by a graceful restart: what the old
# one has is finished by the old one, nothing is lost, and then it has gone; there and back again, under load.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Copy qw(copy);
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $top = Cwd::getcwd();
my $ours = $ENV{FCGIPM_SO} // "$top/build/mod_fcgipm.so";
my $build = ($ENV{FCGIPM_BUILD} // 'build');
my $extra = $build =~ /asan/ ? '-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer ' : '';
my $log = `make -s -f Makefile.apxs B=$build/other EXTRA='$extra-DFCGIPM_BOARD_VERSION=99u' $build/other/mod_fcgipm.so 2>&1`;
is $?, 0, 'another version of the module' or diag $log;

my $h = Fcgipm->httpd(loglevel => 'info', conf => <<"EOC");
<FcgiServer app>
    FcgiCommand $actor
    FcgiProcesses 2
</FcgiServer>
<FcgiServer cold>
    FcgiCommand $actor
    FcgiProcesses 0 2
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/app">
    FcgiPass app
</Location>
<Location "/cold">
    FcgiPass cold
</Location>
EOC
wait_for { $h->status('app')->{ready} == 2 } 10, 'the old one runs';
my $so = $h->root . '/mod_fcgipm.so';
sub install { my ($from) = @_; copy($from, "$so.new") or die "$from: $!"; rename "$so.new", $so or die }
sub managers { return grep { Fcgipm::is_manager($_) } Fcgipm::children_of($h->pid) }

my $load = $h->load(clients => 3, seconds => 12, path => '/app?sleep=3', background => 1);
my $cold = $h->load(clients => 1, seconds => 12, path => '/cold?sleep=3', background => 1);
my $long = $h->connect;
print {$long} "GET /app?drip=10:300 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
my $got = '';
sysread $long, $got, 65536, length $got until $got =~ /tick 0/;

for my $round ([1, "$top/$build/other/mod_fcgipm.so"], [2, $ours], [3, "$top/$build/other/mod_fcgipm.so"]) {
    my ($n, $module) = @$round;
    my @old = $h->workers('app');
    my ($manager) = managers();
    install($module);
    $h->graceful;
    wait_for { $h->log_has(qr/FPM0652/) && (() = $h->log =~ /FPM0652/g) == $n } 5, "upgrade $n";
    wait_for { my @m = managers(); @m && !grep { $_ == $manager } @m } 20, 'the old manager has gone';
    pass "upgrade $n: the old manager has gone";
    is join(' ', map { Fcgipm::proc_file($_, 'maps') =~ /(\S*registry\S*)/g } $h->children), '', 'no child of httpd has a registry, not even the old one\'s';
    my %now = map { $_ => 1 } $h->workers('app');
    is scalar(grep { $now{$_} } @old), 0, 'and its workers';
    is scalar(keys %now), 2, 'there are new ones';
    is $h->get('/app')->{status}, 200, 'and it serves';
    if ($n == 1) {
        sysread $long, $got, 65536, length $got or last until $got =~ /0\r\n\r\n\z/;
        like $got, qr/tick 9\n.*0\r\n\r\n\z/s, 'what ran over the upgrade ended whole';
    }
}
for ($load->(), $cold->()) {
    is $_->{sent}, $_->{ok}, "no request is lost ($_->{sent})" or diag join "\n", @{$_->{bad}};
}
my ($last) = managers();
install($ours);
$h->graceful;
wait_for { (() = $h->log =~ /FPM0652/g) == 4 } 5;
wait_for { my @m = managers(); @m == 1 && $m[0] != $last && Fcgipm::in_its_loop($m[0]) } 20, 'one manager, which is the new one';
my ($code, $said) = $h->ctl('restart', 'app');
is $code, 0, 'fcgipmctl finds the new one' or diag $said;
$h->stop;

# The same layout, another file: a new manager, and no process is touched.
{
    my $h = Fcgipm->httpd(conf => "<FcgiServer c>\n    FcgiCommand $actor\n    FcgiProcesses 2\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n");
    my $so = $h->root . '/mod_fcgipm.so';
    wait_for { scalar(() = $h->workers('c')) == 2 } 10;
    my ($manager, @before) = ($h->manager, sort $h->workers('c'));
    $h->graceful;
    is $h->manager, $manager, 'the same file: the same manager';
    copy($ours, "$so.new") or die;
    rename "$so.new", $so;
    my $load = $h->load(clients => 2, seconds => 3, path => '/c', background => 1);
    $h->graceful;
    wait_for { my $m = $h->manager; $m && $m != $manager } 10, 'another file: another manager';
    my $sum = $load->();
    is $sum->{sent}, $sum->{ok}, "no request is lost ($sum->{sent})" or diag join "\n", @{$sum->{bad}};
    is_deeply [sort $h->workers('c')], \@before, 'and the same processes';
    push @{$h->{expect_log}}, qr/FPM0653/;
    $h->stop;
}

# Killed after an upgrade: the next start finds what is left.
{
    my $h = Fcgipm->httpd(leave => 1, conf => "<FcgiServer c>\n    FcgiCommand $actor\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n");
    my $so = $h->root . '/mod_fcgipm.so';
    copy("$top/$build/other/mod_fcgipm.so", "$so.new") or die;
    rename "$so.new", $so;
    my ($old) = $h->manager;
    $h->graceful;
    wait_for { my @m = grep { Fcgipm::is_manager($_) } Fcgipm::children_of($h->pid); @m == 1 && $m[0] != $old } 20, 'upgraded';
    is $h->get('/c')->{status}, 200, 'it serves';
    my @left = $h->workers('c');
    kill STOP => $h->pid;
    my @all = ($h->manager, $h->children);
    kill KILL => $_ for @all, $h->pid;    # (who loses its parent is told to stop)
    waitpid $h->pid, 0;
    wait_for { !grep { Fcgipm::alive($_) } @all } 10, 'all of httpd is gone, and its port free';
    ok scalar(grep { Fcgipm::alive($_) } @left), 'workers are left';
    $h->start;
    wait_for { !grep { Fcgipm::alive($_) } @left } 10, 'the next start stops them';
    is $h->get('/c')->{status}, 200, 'and serves';
    push @{$h->{expect_log}}, qr/FPM0363/, qr/AH00098/;
    $h->{leave} = 0;
    $h->stop;
}
# The old manager is killed in the middle of it: its workers finish what they have, and are ended when nobody uses them.
sub upgrade_and_lose_manager {
    my ($h) = @_;
    my $so = $h->root . '/mod_fcgipm.so';
    my $old = $h->manager;
    copy("$top/$build/other/mod_fcgipm.so", "$so.new") or die;
    rename "$so.new", $so;
    $h->graceful;
    wait_for { my @m = grep { Fcgipm::is_manager($_) && Fcgipm::in_its_loop($_) } Fcgipm::children_of($h->pid); grep { $_ != $old } @m } 20, 'upgraded';
    kill KILL => $old;
    ok $h->wait_log(qr/FPM0682: the manager of the module that was replaced died \(status 0x9\)/, 15), 'the old manager is killed, and the log says so';
}
sub marked_process {
    my ($mark) = @_;
    my $pid = fork // die;
    return $pid if $pid;
    $ENV{FCGIPM_WORKER} = $mark;
    exec $> ? () : qw(setpriv --reuid 65534 --clear-groups), 'sleep', 60 or POSIX::_exit(1);
}
for my $stop (0, 1) {
    my $h = Fcgipm->httpd(loglevel => 'info', expect_log => [qr/FPM0682/], conf => "<FcgiServer c>\n    FcgiCommand $actor\n    FcgiProcesses 3\n</FcgiServer>\n<Location \"/c\">\n    FcgiPass c\n</Location>\n"
            . "<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n");
    wait_for { scalar(() = $h->workers('c')) == 3 && $h->status('c')->{ready} == 3 } 10, 'they run';
    my @left = $h->workers('c');
    is $h->get('/c?fork=1')->{status}, 200, 'one of them forks';
    my @family = $h->marked('c');
    my @other = map { marked_process($_) } $h->root . '/run2:0:0:1', $h->root . '/run.v1:0:0:1', '/run/fcgipm:0:0:1';
    wait_for { 3 == grep { Fcgipm::proc_file($_, 'comm') eq "sleep\n" } @other } 5;
    my $s = $h->connect;
    print {$s} "GET /c?drip=80:100 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    my $got = '';
    sysread $s, $got, 65536, length $got until $got =~ /tick 0/;
    upgrade_and_lose_manager($h);
    is scalar(grep { Fcgipm::alive($_) } @left), 3, 'its workers live' if !$stop;
    if (!$stop) {
        while ($got !~ /0\r\n\r\n\z/) { sysread $s, $got, 65536, length $got or last }
        like $got, qr/tick 79\n.*0\r\n\r\n\z/s, 'what they have in hand ends whole';
        wait_for { !grep { Fcgipm::alive($_) } @family } 30, 'then they end, with what they forked';
        ok !(grep { Fcgipm::alive($_) } @family), 'and are gone';
        ok $h->wait_log(qr/FPM0683: \d+ processes of the module that was replaced/, 5), 'as the log says';
        wait_for { !glob $h->root . '/run/p*' } 15, 'and their sockets';
        my @new = $h->workers('c');
        is scalar(@new), 3, 'the new ones are not touched';
        is $h->get('/c')->{status}, 200, 'and serve';
    }
    is scalar(grep { Fcgipm::alive($_) } @other), 3, 'nor are those of other servers';
    $h->{has_manager} = 0;
    $h->stop;
    ok !(grep { Fcgipm::alive($_) } @family), 'nothing is left' if $stop;
    is scalar(grep { Fcgipm::alive($_) } @other), 3, 'and others live' if $stop;
    kill KILL => @other;
    waitpid $_, 0 for @other;
}
done_testing;
