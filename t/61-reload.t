# SPDX-License-Identifier: Apache-2.0
# graceful and restart: processes of an unchanged block stay; of a changed one the new come before the old go, and no
# request fails; those of a removed block go; a block that is not well leaves the old processes where they are.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

my $actor = app_built('actor.c');
my $blocks = <<"EOC";
<FcgiServer same>
    FcgiCommand $actor
    FcgiProcesses 2
</FcgiServer>
<Location "/same">
    FcgiPass same
</Location>
<FcgiServer changed>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiEnv COLOUR red
</FcgiServer>
<Location "/changed">
    FcgiPass changed
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
my $removed = <<"EOC";
<FcgiServer removed>
    FcgiCommand $actor
    FcgiProcesses 1
</FcgiServer>
<Location "/removed">
    FcgiPass removed
</Location>
EOC
my $h = Fcgipm->httpd(expect_log => [qr/FPM031[5678]/, qr/FPM0371/, qr/FPM0602/, qr/FPM0603/, qr/FPM0302/], conf => $blocks . $removed);
sub rewrite {
    my ($from, $to) = @_;
    my $conf = $h->slurp('httpd.conf');
    $conf =~ s/\Q$from\E/$to/ or die "no $from in the configuration";
    open my $f, '>', $h->root . '/httpd.conf' or die;
    print {$f} $conf;
}
sub pids { join ' ', sort { $a <=> $b } $h->workers($_[0]) }

wait_for { scalar(() = $h->workers) == 5 } 10, 'all processes run';
my %before = map { $_ => pids($_) } qw(same changed removed);
my $manager = $h->manager;

for my $way (qw(graceful restart graceful)) {
    $h->$way;
    is $h->get('/same')->{status}, 200, "$way: serves";
    is $h->manager, $manager, 'the same manager';
    is pids($_), $before{$_}, "the same processes of $_" for qw(same changed removed);
}

# A changed block, under load.
{
    my $join = Fcgipm::load($h, path => '/changed', clients => 4, seconds => 6, background => 1, check => sub { $_[0]{status} == 200 && $_[0]{body} =~ /^hello from c/ });
    rewrite('FcgiEnv COLOUR red', 'FcgiEnv COLOUR green');
    $h->graceful;
    my %old = map { $_ => 1 } split / /, $before{changed};
    wait_for { my @w = $h->workers('changed'); @w == 2 && !grep { $old{$_} } @w } 10, 'its processes are others';
    my $sum = $join->();
    cmp_ok $sum->{sent}, '>', 50, 'under load';
    is $sum->{ok}, $sum->{sent}, 'and no request failed' or diag explain $sum;
    like $h->get('/changed?do=env')->{body}, qr/^hello|./, 'serves';
    my ($pid) = $h->workers('changed');
    like Fcgipm::proc_file($pid, 'environ'), qr/COLOUR=green/, 'with the new environment';
    is pids('same'), $before{same}, 'the neighbour has not noticed';
}
# A request that runs over a reload ends whole.
{
    my $s = $h->connect;
    print {$s} "GET /changed?drip=15:200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    my $got = '';
    sysread $s, $got, 65536, length $got until $got =~ /tick 1/;
    rewrite('FcgiEnv COLOUR green', 'FcgiEnv COLOUR blue');
    $h->graceful;
    1 while sysread $s, $got, 65536, length $got;
    like $got, qr/tick 14\n.*0\r\n\r\n\z/s, 'a request that runs over a change ends whole';
}
# A block that is gone.
{
    rewrite($removed, '');
    $h->graceful;
    is $h->get('/removed')->{status}, 404, 'a removed application is not there';
    wait_for { !$h->workers('removed') } 10, 'and its processes go';
}
# A change that does not start.
{
    wait_for { scalar(() = $h->workers('changed')) == 2 } 10, 'two processes again';
    my $pids = pids('changed');
    rewrite('FcgiEnv COLOUR blue', 'FcgiEnv ACTOR_DIE_AT_START 3');
    $h->graceful;
    ok $h->wait_log(qr/FPM0316: pool changed .*did not start: exited with code 3/, 10), 'a change that does not start';
    my $bad = grep { $h->get('/changed')->{status} != 200 } 1 .. 20;
    is $bad, 0, 'the old processes go on serving';
    is pids('changed'), $pids, 'the same';

    # What an operator orders meanwhile holds for the processes that serve.
    my ($code, $said) = $h->ctl('restart', 'changed');
    isnt $code, 0, 'fcgipmctl restart fails';
    like $said, qr/restart failed, the old processes stay/, 'and says so';
    ($code, $said) = $h->ctl('drain', 'changed');
    is $code, 0, 'drain';
    is $h->get('/changed')->{status}, 503, 'refuses requests';
    ($code, $said) = $h->ctl('resume', 'changed');
    is $code, 0, 'resume';
    is $h->get('/changed')->{status}, 200, 'lets them in again';
    like $h->get('/st?openmetrics')->{body}, qr/^fcgipm_failures_in_a_row\{[^}]*changed[^}]*\} [1-9]/m, 'monitoring sees the failures';
    kill KILL => split ' ', $pids;
    wait_for { $h->get('/changed')->{status} == 200 } 10, 'and if the old ones die, the old definition starts again';
    rewrite('FcgiEnv ACTOR_DIE_AT_START 3', 'FcgiEnv COLOUR white');
    $h->graceful;
    wait_for { my ($pid) = grep { Fcgipm::proc_file($_, 'environ') =~ /COLOUR=white/ } $h->workers('changed'); $pid && Fcgipm::proc_file($pid, 'environ') =~ /COLOUR=white/ } 15, 'and a better one takes over';
    wait_for { $h->get('/changed')->{status} == 200 } 5, 'and serves';
}
# A configuration that httpd refuses harms nobody.
{
    my $pids = pids('same');
    rewrite('FcgiProcesses 2', 'FcgiProcesses two');
    my $httpd = Fcgipm::find_httpd();
    local $ENV{LD_PRELOAD} = $ENV{FCGIPM_PRELOAD} // q();
    my $output = `$httpd -f @{[$h->root]}/httpd.conf -t 2>&1`;
    isnt $?, 0, 'configtest refuses it';
    like $output, qr/FcgiProcesses two/, 'and names it';
    rewrite('FcgiProcesses two', 'FcgiProcesses 2');
    is pids('same'), $pids, 'and nothing has happened';
}
$h->stop;
done_testing;
