# SPDX-License-Identifier: Apache-2.0
# Before an application is executed the kernel is asked whether the process has become its user for ever: user and group,
# the saved ones too, its groups, and no way back. Here each of the calls that should bring it there says that it has, and
# has not (t/apps/lie.c, preloaded): nothing is executed, and the log says why. The same for suexec, which is called as
# httpd's user, and for the command of a slow log.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;

plan skip_all => 'needs root' if $>;
plan skip_all => 'a sanitizer wants to be the first that is preloaded' if $ENV{FCGIPM_PRELOAD};
need('gcc');
my $actor = app_built('actor.c');
my $dir = File::Temp::tempdir('/tmp/fcgipm-lie-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my $said = `gcc -O1 -g -fPIC -shared -std=gnu11 -Wall -Wextra -Werror t/apps/lie.c -o $dir/lie.so 2>&1`;
is $?, 0, 'the liar is built' or BAIL_OUT($said);

my $suexec = '/usr/lib/apache2/suexec';
my ($root) = -u $suexec ? `$suexec -V 2>&1` =~ /AP_DOC_ROOT="(.*)"/ : ();
if (-u $suexec && !$root && open my $f, '<', '/etc/apache2/suexec/www-data') { chomp($root = <$f>) }
my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
my ($through, $web) = ('');
if ($root && -d $root) {
    $web = File::Temp::tempdir("$root/fcgipm-XXXXXX", CLEANUP => 1);
    system 'cp', $actor, "$web/app.fcgi";
    chown $uid, $gid, $web, "$web/app.fcgi";
    chmod 0755, $web, "$web/app.fcgi";
    $through = "<FcgiServer through>\n    FcgiCommand $web/app.fcgi\n    FcgiUser nobody @{[scalar getgrgid $gid]}\n    FcgiSuexec On\n    FcgiProcesses 1\n</FcgiServer>\n"
        . "<Location \"/through\">\n    FcgiPass through\n</Location>\n";
}
my @pools = ('own', 'named', $through ? 'through' : ());

sub httpd_that {
    my ($lie) = @_;
    local $) = '0 0 4 27';    # root's groups here: none that an application may keep
    return Fcgipm->httpd(env => {LD_PRELOAD => "$dir/lie.so", LIE => $lie}, modules => ['suexec'], expect_log => [qr/FPM0316/, qr/FPM0317/, qr/FPM060\d/],
        conf => "FcgiMinUid 1\nFcgiMinGid 1\n$through" . <<"EOC");
<FcgiServer own>
    FcgiCommand $actor
    FcgiProcesses 1
</FcgiServer>
<FcgiServer named>
    FcgiCommand $actor
    FcgiUser daemon daemon
    FcgiProcesses 1
</FcgiServer>
<Location "/own">
    FcgiPass own
</Location>
<Location "/named">
    FcgiPass named
</Location>
EOC
}

subtest 'an honest library' => sub {
    my $h = httpd_that('nothing');
    is $h->get("/$_")->{status}, 200, "$_ is served" for @pools;
    $h->stop;
};
my ($somebody, $back, $groups) = (qr/it is still somebody else/, qr/there is a way back/, qr/it has other groups than it should/);
my @lies = ('no uid' => $somebody, 'no gid' => $somebody, 'no saved uid' => $somebody, 'no saved gid' => $somebody, 'no groups' => $groups, 'one group more' => $groups,
    'no uid, and hides it' => $back, 'no gid, and hides it' => $back);
while (my ($lie, $why) = splice @lies, 0, 2) {
    subtest "it says yes: $lie" => sub {
        my $h = httpd_that($lie);
        for my $pool (@pools) {
            ok $h->wait_log(qr/FPM0316: pool $pool slot 0 pid \d+: did not start: change of user \($why\) failed: Operation not permitted, .*the program was not executed/, 8), "$pool is not started, and the log says why"
                or diag $h->log;
            is $h->get("/$pool")->{status}, 503, 'nobody is served by it';
            is scalar(() = $h->workers($pool)), 0, 'no process of it';
        }
        unlike $h->log, qr/FPM0312/, 'nothing has ever become ready';
        $h->stop;
    };
}
# One that was added to his since the manager has looked.
subtest 'a supplementary group of root\'s' => sub {
    my $h = httpd_that('root\'s group');
    ok $h->wait_log(qr/FPM0316: pool named slot 0 pid \d+: did not start: change of user \(a supplementary group is root's\) failed: Operation not permitted, .*the program was not executed/, 8), 'is not taken'
        or diag $h->log;
    is $h->get('/named')->{status}, 503, 'nobody is served by it';
    is scalar(() = $h->workers('named')), 0, 'no process of it';
    is $h->get('/own')->{status}, 200, 'who has none is served';
    $h->stop;
};
# What whoever has started httpd has left it: the kernel takes these away from no user.
SKIP: {
    skip 'needs setpriv', 1 if system('setpriv --inh-caps=+net_raw true 2>/dev/null') != 0;
    for my $how ('--inh-caps=+net_raw,+dac_override', '--securebits=+no_setuid_fixup') {
        subtest "capabilities: setpriv $how" => sub {
            plan skip_all => 'not allowed here' if system("setpriv $how true 2>/dev/null") != 0;
            my $h = Fcgipm->prepare(conf => "FcgiMinUid 1\nFcgiMinGid 1\n" . join '', map { "<FcgiServer $_->[0]>\n    FcgiCommand $actor\n    FcgiProcesses 1\n$_->[1]</FcgiServer>\n<Location \"/$_->[0]\">\n    FcgiPass $_->[0]\n</Location>\n" } ['own', ''], ['named', "    FcgiUser daemon daemon\n"]);
            $h->{within} = ['setpriv', $how];
            $h->{has_manager} = 1;
            $h->start;
            my $caps = sub { my ($pid, $which) = @_; return hex((Fcgipm::proc_file($pid, 'status') =~ /^Cap$which:\s+(\w+)/m)[0] // 'f') };
            ok $caps->($h->manager, 'Inh'), 'the manager has inheritable ones' if $how =~ /inh-caps/;
            for my $pool ('own', 'named') {
                is $h->get("/$pool")->{status}, 200, "$pool is served";
                my ($pid) = $h->workers($pool);
                is $caps->($pid, $_), 0, "and has none: Cap$_" for qw(Inh Prm Eff Amb);
            }
            $h->stop;
        };
    }
}
done_testing;
