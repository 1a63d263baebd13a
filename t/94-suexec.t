# SPDX-License-Identifier: Apache-2.0
# FcgiSuexec: through httpd's own suexec, with its checks; what it refuses is said in words.
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
sub install { my ($name, $mode) = @_; copy($actor, "$dir/$name") or die $!; chown $uid, $gid, "$dir/$name"; chmod $mode, "$dir/$name" }
chown $uid, $gid, $dir;
chmod 0755, $dir;
install('app.fcgi', 0755);
install('open.fcgi', 0775);
my $port = free_port();
my $h = Fcgipm->httpd(modules => ['suexec'], expect_log => [qr/FPM0630/, qr/FPM0661/, qr/FPM031[67]/, qr/FPM060\d/, qr/FPM0680/], conf => <<"EOC");
<FcgiServer app>
    FcgiCommand $dir/app.fcgi
    FcgiUser nobody $group
    FcgiSuexec On
    FcgiProcesses 1 1
    FcgiDirectory /tmp
    FcgiEnv HTTP_KEPT 1
    FcgiEnv DROPPED 1
</FcgiServer>
<FcgiServer open>
    FcgiCommand $dir/open.fcgi
    FcgiUser nobody $group
    FcgiSuexec On
    FcgiProcesses 1
</FcgiServer>
<FcgiServer plain>
    FcgiCommand $actor
    FcgiSuexec Off
</FcgiServer>
<Location "/app">
    FcgiPass app
</Location>
<Location "/plain">
    FcgiPass plain
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
Listen 127.0.0.1:$port
<VirtualHost 127.0.0.1:$port>
    <FcgiServer site>
        FcgiCommand $dir/app.fcgi
        FcgiSuexec On
    </FcgiServer>
    <Location "/site">
        FcgiPass site
    </Location>
    SuexecUserGroup nobody $group
    <Directory "\@ROOT\@/htdocs">
        Options +ExecCGI
    </Directory>
    AddHandler fcgipm-script .fcgi
</VirtualHost>
EOC
sub uid_of { return Fcgipm::proc_file($_[0], 'status') =~ /^Uid:\s+(\d+)\s+(\d+)\s+(\d+)/m && $1 == $2 && $2 == $3 ? $1 : -1 }
sub gid_of { return Fcgipm::proc_file($_[0], 'status') =~ /^Gid:\s+(\d+)/m ? $1 : -1 }

my ($pid) = ($h->get('/app?do=pid')->{body} // '') =~ /^(\d+)$/;
ok $pid, 'serves' or diag $h->log;
is uid_of($pid), $uid, 'as the user';
is gid_of($pid), $gid, 'and its group';
is readlink("/proc/$pid/cwd"), $dir, 'in its own directory';
my $env = Fcgipm::proc_file($pid, 'environ');
like $env, qr/(?:^|\0)HTTP_KEPT=1\0/, 'with what suexec lets through';
unlike $env, qr/DROPPED/, 'and no more';
ok $h->log_has(qr/FPM0680: .*<FcgiServer app> FcgiDirectory: means nothing with FcgiSuexec/), 'what means nothing is said';
is uid_of($h->get('/plain?do=pid')->{body} =~ s/\n//r), (getpwnam 'www-data')[2], 'Off: httpd\'s user';

my $r = `curl -s http://127.0.0.1:$port/site?do=pid`;
is uid_of($r =~ s/\n//r), $uid, 'the user of SuexecUserGroup, which stands behind the block';

copy($actor, $h->root . '/htdocs/own.fcgi');
chmod 0755, $h->root . '/htdocs/own.fcgi';
is scalar(`curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:$port/own.fcgi`), 500, 'a script that would run as httpd\'s user, and not as SuexecUserGroup, does not';
ok $h->log_has(qr/FPM0630: fcgipm-script runs programs as httpd's User, and SuexecUserGroup says uid $uid/), 'and the log says why';

ok $h->log_has(qr/FPM0661: .*<FcgiServer open> FcgiSuexec: \Q$dir\E\/open\.fcgi can be written by others, so suexec refuses it; chmod go-w/), 'the start says what suexec will not take';
ok $h->wait_log(qr/FPM0316: pool open slot 0 pid \d+: did not start: exited with code 118 .*suexec refuses it: the program can be written by others \(suexec\.log says more\)/, 10), 'and so does the failed start';

# A process of it that has left its session is found by its mark.
my ($child) = $h->get('/app?fork=1')->{body} =~ /^(\d+)$/m;
ok Fcgipm::alive($child), 'a grandchild';
kill KILL => $pid;
wait_for { !Fcgipm::alive($child) } 10, 'goes with its worker';
wait_for { $h->get('/app?do=pid')->{status} == 200 } 10, 'and the next one serves';

for my $case (["FcgiUser nobody\n    FcgiSuexec On\n    FcgiCommand $actor", qr/does not belong to nobody and its group, so suexec refuses it/],
    ["FcgiSuexec On\n    FcgiCommand $dir/app.fcgi", qr/write FcgiUser, or SuexecUserGroup in the virtual host/],
    ["FcgiUser nobody\n    FcgiSuexec /bin/true\n    FcgiCommand $dir/app.fcgi", qr{there is no setuid root program /bin/true \(Debian: apache2-suexec-custom}],
    ["FcgiUser nobody\n    FcgiSuexec maybe\n    FcgiCommand $dir/app.fcgi", qr/FcgiSuexec: maybe: write On, Off, or the full path of suexec/]) {
    my ($status, $said) = Fcgipm->configtest(conf => "<FcgiServer x>\n    $case->[0]\n</FcgiServer>\n");
    isnt $status, 0, 'configtest refuses it';
    like $said, $case->[1], 'and says why';
}
done_testing;
