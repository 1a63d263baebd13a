# SPDX-License-Identifier: Apache-2.0
# What a process has and has not: three descriptors, its user, its own session, a clean environment, its directory and
# umask; and what another user can see of it.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;

my $actor = app_built('actor.c');
my $user = $> ? '' : "    FcgiUser nobody nogroup\n";
my $h = Fcgipm->httpd(env => {SECRET => 'of httpd', SHARED => 'told'}, conf => <<"EOC");
<FcgiServer c>
    FcgiCommand $actor
$user    FcgiProcesses 1
    FcgiEnv APP_ENV production
    FcgiEnv EMPTY ""
    FcgiPassEnv SHARED
    FcgiDirectory /usr/share
    FcgiUmask 027
</FcgiServer>
<Location "/c">
    FcgiPass c
</Location>
EOC
wait_for { $h->workers('c') } 10, 'it runs';
is $h->get('/c')->{status}, 200, 'and serves';
my ($pid) = $h->workers('c');
my %fd = map { m{/(\d+)$} ? ($1 => readlink $_) : () } glob "/proc/$pid/fd/*";
# While a request is kept there is its connection, too.
is_deeply [grep { $_ <= 2 } sort { $a <=> $b } keys %fd], [0, 1, 2], 'descriptors 0, 1, 2';
cmp_ok scalar(keys %fd), '<=', 4, 'and none but a connection';
like $fd{0}, qr/^socket:/, '0 is the listening socket';
like $fd{1}, qr{/run/p\d+/s0\.out}, '1 is the pipe to the manager';
is $fd{1}, $fd{2}, '2 as well';
unlike join("\n", values %fd), qr/error\.log|access\.log|eventpoll|eventfd/, 'no log, nothing of httpd';
my $maps = Fcgipm::proc_file($pid, 'maps');
unlike $maps, qr/registry|dev\/zero/, 'no shared memory of ours';
my $status = Fcgipm::proc_file($pid, 'status');
SKIP: {
    skip 'needs root', 2 if $>;
    my $gid = (getgrnam 'nogroup')[2];
    like $status, qr/^Uid:\s+@{[(getpwnam 'nobody')[2]]}\s+\d+\s+@{[(getpwnam 'nobody')[2]]}/m, 'its user, saved too';
    like $status, qr/^Groups:\s*(?:$gid\s*)?$/m, 'and no other groups';
}
like $status, qr/^Umask:\s+0027$/m, 'umask';
is readlink("/proc/$pid/cwd"), '/usr/share', 'directory';
my %env = map { split /=/, $_, 2 } split /\0/, Fcgipm::proc_file($pid, 'environ');
my $marker = delete $env{FCGIPM_WORKER};
like $marker, qr/:0:0:1$/, 'its marker';
delete $env{PATH};
is_deeply \%env, {APP_ENV => 'production', EMPTY => '', SHARED => 'told', FCGIPM_POOL => 'c', PHP_FCGI_MAX_REQUESTS => 0}, 'its environment, and nothing of httpd\'s';

SKIP: {
    skip 'needs root', 5 if $>;
    my $run = $h->root . '/run';
    is sprintf('%04o', (stat $run)[2] & 07777), '0711', 'the runtime directory cannot be listed';
    my ($dir) = glob "$run/p*";
    is sprintf('%04o', (stat $dir)[2] & 07777), '0710', 'a pool\'s directory is closed';
    is scalar getgrgid((stat _)[5]), 'www-data', 'but to httpd\'s group';
    my ($sock) = glob "$dir/s0-*.sock";
    for my $try ("ls $run/", "ls $dir/", "ls $sock", "cat $run/registry") {
        my $output = `setpriv --reuid=nobody --regid=nogroup --clear-groups $try 2>&1`;
        isnt $?, 0, "another user: $try";
    }
    my $output = `setpriv --reuid=nobody --regid=nogroup --clear-groups perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => "$sock")' 2>&1`;
    isnt $?, 0, 'another user cannot connect';
}
$h->stop;

# A runtime directory that others can write, or that is a symbolic link, is refused.
for my $case (['writable by others' => sub { mkdir $_[0]; chmod 0777, $_[0] }], ['a symbolic link' => sub { mkdir "$_[0].real"; symlink "$_[0].real", $_[0] }]) {
    my ($what, $make) = @$case;
    my $dir = "/tmp/fcgipm-bad-$$";
    $make->($dir);
    my $h = eval { Fcgipm->httpd(leave => 1, conf => "FcgiRuntimeDir $dir\n<FcgiServer c>\n    FcgiCommand $actor\n</FcgiServer>\n") };
    ok !$h, "a runtime directory that is $what: httpd does not start";
    like $@, qr/FPM0647: cannot start \(runtime directory\): \Q$dir\E/, 'and says why';
    $h->stop if $h;
    rmdir $dir || unlink $dir;
    unlink $dir;
    rmdir "$dir.real";
}
done_testing;
