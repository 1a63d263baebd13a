# SPDX-License-Identifier: Apache-2.0
# FcgiSuexec and what is about its processes: the command of FcgiSlowLog, which has to look at them, runs as their user and
# group and as nobody else; a user that has another number after a reload. (FcgiSuexec itself: t/94-suexec.t.)
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Copy qw(copy);
use Fcgipm;

my $dir = Fcgipm::suexec_dir();
my ($uid, $gid) = (getpwnam('nobody'))[2, 3];
my $group = getgrgid $gid;
my $actor = app_built('actor.c');
copy($actor, "$dir/app.fcgi") or die $!;
# Only its own user can read what /proc has of a process.
open my $f, '>', "$dir/look" or die $!;
print {$f} qq{#!/bin/sh\necho "called as \$(id -u) \$(id -g) \$(id -G) about \$1"\ntr '\\0' '\\n' </proc/\$1/environ | grep MARK\n};
close $f;
chown $uid, $gid, $dir, "$dir/app.fcgi";
chmod 0755, $dir, map { "$dir/$_" } qw(app.fcgi look);
sub uid_of { return Fcgipm::proc_file($_[0], 'status') =~ /^Uid:\s+(\d+)\s+(\d+)\s+(\d+)/m && $1 == $2 && $2 == $3 ? $1 : -1 }
sub gid_of { return Fcgipm::proc_file($_[0], 'status') =~ /^Gid:\s+(\d+)/m ? $1 : -1 }

subtest 'the command of a slow log' => sub {
    my $h = Fcgipm->httpd(modules => ['suexec'], expect_log => [qr/FPM037[67]/], conf => <<"EOC");
<FcgiServer through>
    FcgiCommand $dir/app.fcgi
    FcgiUser nobody $group
    FcgiSuexec On
    FcgiEnv HTTP_MARK seen
    FcgiProcesses 1
    FcgiSlowLog 300ms $dir/look
</FcgiServer>
<FcgiServer direct>
    FcgiCommand $dir/app.fcgi
    FcgiUser nobody $group
    FcgiEnv HTTP_MARK seen
    FcgiProcesses 1
    FcgiSlowLog 300ms $dir/look
</FcgiServer>
<Location "/through">
    FcgiPass through
</Location>
<Location "/direct">
    FcgiPass direct
</Location>
EOC
    for my $pool (qw(direct through)) {
        my ($pid) = $h->get("/$pool?do=pid")->{body} =~ /^(\d+)$/;
        is uid_of($pid), $uid, "$pool: the process has its user";
        is $h->get("/$pool?sleep=1500")->{status}, 200, 'a slow request';
        ok $h->wait_log(qr/FPM0377: pool $pool slot 0 pid $pid: slow: called as $uid $gid $gid about $pid/, 5), 'the command has the same user and groups' or diag join "\n", grep /FPM0377/, split /\n/, $h->log;
        ok $h->wait_log(qr/FPM0377: pool $pool slot 0 pid $pid: slow: HTTP_MARK=seen/, 3), 'and can look at it';
    }
    $h->stop;
};

subtest 'its user gets another number' => sub {
    my $name = "fcgipms$$";
    plan skip_all => 'needs useradd' if system('useradd', '--system', '--no-create-home', '--shell', '/usr/sbin/nologin', '--gid', $gid, $name);
    my $old = getpwnam $name;
    my $mine = "$dir/renumbered";
    mkdir $mine;
    copy($actor, "$mine/app.fcgi") or die $!;
    my $give = sub { chown scalar(getpwnam $name), $gid, $mine, "$mine/app.fcgi"; chmod 0755, $mine, "$mine/app.fcgi" };
    $give->();
    my $h = Fcgipm->httpd(modules => ['suexec'], conf => "FcgiMinUid 1\nFcgiMinGid 1\n<FcgiServer app>\n    FcgiCommand $mine/app.fcgi\n    FcgiUser $name $group\n    FcgiSuexec On\n"
            . "    FcgiProcesses 1\n</FcgiServer>\n<Location \"/app\">\n    FcgiPass app\n</Location>\n");
    my ($pid) = $h->get('/app?do=pid')->{body} =~ /^(\d+)$/;
    is uid_of($pid), $old, 'it has the old one';
    my $new = $old;
    1 while getpwuid --$new;
    # (usermod wants that nobody is that user meanwhile)
    my $said = `userdel --force $name 2>&1; useradd --system --no-create-home --shell /usr/sbin/nologin --gid $gid --uid $new $name 2>&1`;
    is scalar(getpwnam $name), $new, 'the account changes' or diag $said;
    $give->();
    $h->graceful;
    ok $h->wait_log(qr/FPM0370: pool app: restart \(its user has another number now\)/, 10), 'a reload sees it';
    wait_for { uid_of(($h->get('/app?do=pid')->{body} // '') =~ /^(\d+)$/ ? $1 : 0) == $new } 10, 'and its processes are replaced';
    $h->stop;
    system "userdel $name 2>/dev/null";
};
subtest 'the root that suexec looks below' => sub {
    my $name = "fcgipmr$$";
    my $mine = "$dir/home";
    mkdir $mine;
    plan skip_all => 'needs useradd' if system('useradd', '--system', '--no-create-home', '--home-dir', $mine, '--shell', '/usr/sbin/nologin', '--gid', $gid, $name);
    copy($actor, "$mine/app.fcgi") or die $!;
    chown scalar(getpwnam $name), $gid, $mine, "$mine/app.fcgi";
    chmod 0755, $mine, "$mine/app.fcgi";
    my %root = (auto => '', server => ' root=Server', user => ' root=User');
    my $h = Fcgipm->httpd(modules => ['suexec'], expect_log => [qr/FPM031[67]/, qr/FPM0302.*suexec/, qr/FPM060\d/], conf => join '', "FcgiMinUid 1\nFcgiMinGid 1\n",
        map { "<FcgiServer $_>\n    FcgiCommand $mine/app.fcgi\n    FcgiUser $name $group\n    FcgiSuexec On$root{$_}\n    FcgiProcesses 1\n</FcgiServer>\n<Location \"/$_\">\n    FcgiPass $_\n</Location>\n" } sort keys %root);
    is $h->get('/server')->{status}, 200, 'a program in a home that is below the document root: root=Server';
    for my $pool ('auto', 'user') {
        ok $h->wait_log(qr/FPM0316: pool $pool .*exited with code (?:112|114) .*suexec refuses it/, 5), "$pool: it is not in the user's directory for the web";
    }
    $h->stop;
    # mod_fcgid and mod_fastcgi look below the document root, whosever home it is in.
    $h = Fcgipm->httpd(modules => ['suexec', 'actions'], expect_log => [qr/FPM031[67]/, qr/FPM0302.*suexec/, qr/FPM060\d/, qr/FPM0693/], conf => <<"EOC");
FcgiMinUid 1
FcgiMinGid 1
FcgiCompat On
FastCgiWrapper On
<VirtualHost *:\@PORT\@>
    SuexecUserGroup $name $group
    FcgidInitialEnv DROPPED 1
    FcgidWrapper $mine/app.fcgi .x
    FastCgiServer $mine/app.fcgi -processes 1 -initial-env HTTP_KEPT=1 -initial-env DROPPED=1
    Alias "/static.fcgi" "$mine/app.fcgi"
    <Location "/static.fcgi">
        SetHandler fastcgi-script
        Options +ExecCGI
        Require all granted
    </Location>
    AddHandler fcgid-script .x
    <Directory "\@ROOT\@/htdocs">
        Options +ExecCGI
    </Directory>
</VirtualHost>
EOC
    copy($actor, $h->root . '/htdocs/app.x');
    for my $url ('/app.x', '/static.fcgi') {
        my ($pid) = $h->get("$url?do=pid")->{body} =~ /^(\d+)$/;
        is uid_of($pid // 0), scalar(getpwnam $name), "FcgiCompat, $url: as the user" or diag $h->log;
        my $env = Fcgipm::proc_file($pid // 0, 'environ');
        like $env, qr/(?:^|\0)HTTP_FCGIPM_WORKER=|HTTP_\w*FCGIPM_WORKER=/, 'through suexec, with the mark that it lets through';
        unlike $env, qr/DROPPED/, 'and not what it does not';
    }
    $h->stop;
    system "userdel $name 2>/dev/null";
    my ($status, $said) = Fcgipm->configtest(conf => "<FcgiServer x>\n    FcgiCommand $actor\n    FcgiSuexec root=Server\n</FcgiServer>\n");
    isnt $status, 0, 'root= without suexec is refused';
    like $said, qr/FcgiSuexec root=: without suexec it means nothing; write FcgiSuexec On root=/, 'and says so';
};
done_testing;
