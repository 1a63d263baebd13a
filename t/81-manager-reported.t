# SPDX-License-Identifier: Apache-2.0
# What reviews found in the manager (November 2026): floods, starts that never end, accounts whose numbers change, and what
# mod_status says of requests that waited without a thread.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

plan skip_all => 'needs root' if $>;
my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    modules => ['status'],
    expect_log => [qr/FPM060[0-3]/, qr/FPM030[12]/, qr/FPM031[67]/, qr/FPM037[01]/, qr/FPM0382/, qr/FPM0680/, qr/AH00/],
    conf => <<"EOC");
ExtendedStatus On
<FcgiServer app>
    FcgiCommand $actor
    FcgiProcesses 2
</FcgiServer>
<FcgiServer loud>
    FcgiCommand /bin/sh -c "yes & exec $actor"
    FcgiProcesses 2
</FcgiServer>
<FcgiServer silent>
    FcgiCommand /bin/sleep 1000
    FcgiProcesses 1 4
    FcgiTimeout start=200ms stop=1s
</FcgiServer>
<FcgiServer away>
    FcgiConnect 127.0.0.1:9
    FcgiUser nobody
    FcgiMultiplex Auto
</FcgiServer>
<FcgiServer cgi>
    FcgiCommand /bin/true
    FcgiProcesses 1
</FcgiServer>
<Location "/cgi">
    FcgiPass cgi
</Location>
<FcgiServer single>
    FcgiCommand $actor
    FcgiMultiplex Auto
</FcgiServer>
<Location "/app">
    FcgiPass app
</Location>
<Location "/loud">
    FcgiPass loud
</Location>
<Location "/ss">
    SetHandler server-status
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
wait_for { ; my $n = 0; $n += $h->status($_)->{ready} for qw(app loud); $n == 4 } 20;

subtest 'a flood of output' => sub {
    my $cpu = sub { my @f = split ' ', (Fcgipm::proc_file($h->manager, 'stat') =~ s/.*\) //sr); return ($f[11] + $f[12]) / 100 };
    my ($before, $begin) = ($cpu->(), time);
    sleep 0.1 while time - $begin < 3;
    my $share = ($cpu->() - $before) / (time - $begin);
    cmp_ok $share, '<', 0.5, 'does not keep the manager busy' or diag $share;
    is $h->get('/loud')->{status}, 200, 'its application serves';
    like join('', $h->ctl('restart', 'app')), qr/^0.*restart done/s, 'and orders are obeyed';
};
subtest 'a program that never accepts' => sub {
    ok $h->wait_log(qr/FPM0316: pool silent .*failure 4 in a row/, 20), 'each start that times out counts';
    my %slots = map { $_ => 1 } $h->log =~ /FPM0311: pool silent slot (\d+)/g;
    is_deeply [keys %slots], [0], 'and no other is begun beside it';
};
subtest 'a program that is none for FastCGI' => sub {
    ok $h->wait_log(qr/FPM0316: pool cgi slot 0 pid \d+: did not start: exited with code 0 .*a FastCGI program does not end by itself: is it one for CGI\?.*next start in \d+ ms \(failure 1 in a row\)/, 10), 'the log has an idea, and says when the next try is';
    wait_for { $h->get('/cgi/a?secret=1')->{status} == 503 } 10;
    ok $h->wait_log(qr{FPM060\d: pool cgi: .*; answered 503 \(GET localhost/cgi/a}, 5), 'a line of a request has its site and path';
    ok !$h->log_has(qr/secret/), 'not its query';
};
subtest 'mod_status' => sub {
    my $total = sub { $h->get('/ss?auto')->{body} =~ /^Total Duration: (\d+)/m && $1 };
    my $before = $total->();
    $h->get('/app?sleep=300') for 1 .. 2;
    my $took = $total->() - $before;
    ok $took >= 590 && $took < 60_000, 'counts how long requests took' or diag $took;
};
subtest 'directives that can do nothing' => sub {
    ok $h->log_has(qr/FPM0680: .*<FcgiServer away> FcgiUser, FcgiMultiplex: means nothing with FcgiConnect/), 'are named';
    ok $h->log_has(qr/FPM0680: .*<FcgiServer single> FcgiMultiplex: means nothing with one request at a time; write FcgiConcurrency Auto/), 'with what would be right';
};
subtest 'another User' => sub {
    my $conf = $h->slurp('httpd.conf');
    plan skip_all => 'no User in the configuration' unless $conf =~ /^User (\S+)/m;
    my $other = (getpwnam 'daemon') ? 'daemon' : 'nobody';
    $conf =~ s/^User \S+/User $other/m;
    $conf =~ s/^Group \S+/Group $other/m if getgrnam $other;
    open my $f, '>', $h->root . '/httpd.conf' or die;
    print {$f} $conf;
    close $f;
    chmod 0755, $h->root;
    $h->graceful;
    my $uid = getpwnam $other;
    wait_for { ; my @w = $h->workers('app'); @w == 2 && !grep { (stat "/proc/$_")[4] != $uid } @w } 20;
    is_deeply [map { (stat "/proc/$_")[4] } $h->workers('app')], [$uid, $uid], 'its applications run as that one after a reload';
    is $h->get('/app')->{status}, 200, 'and httpd reaches them';
};
$h->stop;
done_testing;
