# SPDX-License-Identifier: Apache-2.0
# A template finds its user by a file's number and starts processes by his name: where two accounts have the name (of two
# sources of accounts, say), the file of one is not run as the other.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;

plan skip_all => 'needs root' if $>;
need('unshare');
my ($name, $first, $second, $third) = ("fpn$$", 60101, 60102, 60103);
my $passwd = $ENV{FCGIPM_TEST_PASSWD};
if (!$passwd) {    # once more, with an /etc of our own (a file alone would be lost when somebody else adds a user)
    plan skip_all => 'needs mount namespaces' if system('unshare', '-m', 'true');
    my $dir = File::Temp->newdir('/tmp/fcgipm-etc-XXXXXX');
    chmod 0755, "$dir";
    system 'cp', '-a', '/etc/.', "$dir/";    # (a lock of somebody else may go meanwhile)
    BAIL_OUT('no /etc/passwd') unless -s "$dir/passwd";
    open my $out, '>>', "$dir/passwd" or die;
    print {$out} map { "$_->[0]:x:$_->[1]:$_->[1]::/nonexistent:/bin/false\n" } [$name, $first], [$name, $second], ["${name}x", $third];
    close $out;
    local $ENV{FCGIPM_TEST_PASSWD} = $name;
    my $code = system 'unshare', '-m', 'sh', '-c', 'mount --bind "$1" /etc && exec "$2" -It/lib "$3"', 'sh', "$dir", $^X, $0;
    undef $dir;
    exit($code >> 8);
}
$name = $passwd;
is getpwuid($second), $name, 'two accounts have one name';
is scalar getpwnam($name), $first, 'which means the first';
my $self = app_built('self.c');
my $h = Fcgipm->httpd(expect_log => [qr/FPM0701/], conf => <<"EOC");
<FcgiServerTemplate own>
    FcgiCommand $self
    FcgiUserFrom Owner below=\@ROOT\@/srv
</FcgiServerTemplate>
Alias /srv "\@ROOT\@/srv"
<Directory "\@ROOT\@/srv">
    Require all granted
    SetHandler fcgipm:own
</Directory>
EOC
my $srv = $h->root . '/srv';
mkdir $srv;
for ([first => $first], [second => $second], [third => $third]) {
    open my $f, '>', "$srv/$_->[0]" or die;
    chown $_->[1], $_->[1], $f;
}
like $h->get('/srv/first')->{body}, qr/^uid=$first /, 'the file of the first is run as he';
is $h->get('/srv/second')->{status}, 403, 'that of the second not as the first';
ok $h->log_has(qr/FPM0701: template own: user $second: its name, $name, is also that of an account with another number/), 'and the log says why';
like $h->get('/srv/third')->{body}, qr/^uid=$third /, 'another one';
$h->stop;
done_testing;
