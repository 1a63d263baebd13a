# SPDX-License-Identifier: Apache-2.0
# Each way that .htaccess has to name who answers, tried twice: with an application that the server's configuration opens to
# that directory, where it must work (else the refusal of the other would prove nothing), and with one that it does not.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;

plan skip_all => 'needs root: templates, and sockets of others' if $>;
my $self = app_built('self.c');
my $top = "/tmp/fcgipm-handlers-$$";    # in small letters, as some directives make them so
my $test = $$;
mkdir $top, 0755 or die "$top: $!";
END { if ($$ == $test) { my $status = $?; system 'rm', '-rf', $top; $? = $status } }
my ($nobody, $daemon) = map { (getpwnam $_)[2] } qw(nobody daemon);
sub spit { my ($path, $text, $uid) = @_; open my $f, '>', "$top/$path" or die "$path: $!"; print {$f} $text; close $f; chown $uid, -1, "$top/$path" if $uid }
mkdir "$top/$_" for qw(srv srv/alice srv/alice/sub srv/bob);
chown $nobody, -1, "$top/srv/alice", "$top/srv/alice/sub";
chown $daemon, -1, "$top/srv/bob";
spit("srv/$_/x.own", "a file\n", $_ eq 'bob' ? $daemon : $nobody) for qw(alice alice/sub bob);
my $command = "$self allowed";
my $external = Fcgipm::external("$top/srv/alice/sock", $self);
END { kill KILL => $external if $external && $$ == $test }

my $h = Fcgipm->httpd(
    modules => [qw(proxy proxy_fcgi actions)],
    expect_log => [qr/FPM0668/, qr/FPM0704/, qr/AH02454/, qr/AH01079/, qr/AH01599/],
    conf => <<"EOC");
FcgiMinUid 1
FcgiMinGid 1
@{[map { "<FcgiServer $_>\n    FcgiCommand $self\n    FcgiProcesses 1\n    FcgiKeepConn Off\n</FcgiServer>\n" } qw(open closed)]}
@{[map { "<FcgiServerTemplate $_>\n    FcgiCommand $self\n    FcgiUserFrom Owner below=$top/srv minuid=1\n    FcgiProcesses 0 2\n</FcgiServerTemplate>\n" } qw(topen tclosed)]}
FcgiAllowWrapper "$command"
Alias /srv $top/srv
<Directory "$top/srv">
    Require all granted
    Options FollowSymLinks ExecCGI
    AllowOverride FileInfo
    FcgiAllowPass open
    FcgiAllowPass topen
</Directory>
<Directory "$top/srv/bob">
    FcgiAllowPass closed
    FcgiAllowPass tclosed
</Directory>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
wait_for { 2 == (() = $h->workers) } 10, 'what is not on demand runs';

# Of the pool that answers, or the status.
sub who { my $r = $h->get($_[0]); return $r->{status} == 200 && $r->{body} =~ /^uid=\d+ program=\S+ pool=(\S*)$/m ? $1 : $r->{body} =~ /^a file/ ? 'the file' : $r->{status} }
sub refusals { return scalar(() = $h->log =~ /FPM0668: the server's configuration does not open application \w+ to this place/g) }
my @ways = (
    ['SetHandler fcgipm:NAME'],
    ['AddHandler fcgipm:NAME .own'],
    ['AddHandler fcgipm:NAME own'],
    ['AddType fcgipm:NAME .own'],    # a type is a handler where there is none
    ['ForceType fcgipm:NAME'],
    ['FcgiPass NAME'],
    ['SetHandler None', 'FcgiPass NAME'],
    ['SetHandler "%{tolower:fcgipm:NAME}"'],
    ['<Files x.own>', 'SetHandler fcgipm:NAME', '</Files>'],
    ['<FilesMatch "^x">', 'FcgiPass NAME', '</FilesMatch>'],
    ['<Files x.own>', 'ForceType fcgipm:NAME', '</Files>'],
    ['<If "true">', 'SetHandler fcgipm:NAME', '</If>'],
    ['<If "true">', 'FcgiPass NAME', '</If>'],
    ['<IfModule mod_mime.c>', 'AddHandler fcgipm:NAME .own', '</IfModule>'],
    ['RewriteEngine On', 'RewriteRule ^x - [H=fcgipm:NAME]'],
    ['RewriteEngine On', 'RewriteRule ^x - [T=fcgipm:NAME]'],
);
sub try_each {
    my ($what, $open, $closed) = @_;
    subtest $what => sub {
        for my $dir ('alice', 'alice/sub') {    # (that of alice holds below, too)
            for my $way (@ways) {
                my $says = join '; ', @$way;
                next if $dir ne 'alice' && $says =~ /Rewrite/;    # its patterns are the directory's own
                my $put = sub { my ($name) = @_; spit('srv/alice/.htaccess', join('', map { s/NAME/$name/r . "\n" } @$way), $nobody); return who("/srv/$dir/x.own") };
                is $put->($open), $open =~ /^t/ ? "$open:nobody" : $open, "$dir: it has effect: $says";
                my $before = refusals();
                is $put->($closed), 403, "$dir: and is refused for one that is not open: $says";
                is refusals(), $before + 1, 'which the log says';
            }
        }
    };
}
try_each('an application', 'open', 'closed');
try_each('a template', 'topen', 'tclosed');
is scalar(grep { $_->{name} =~ /^tclosed/ } @{$h->status->{pools}}), 0, 'no pool was made of what is not open';
is $h->status('closed')->{counters}{requests}, 0, 'and the one that is there was never asked';

subtest 'where it is open' => sub {
    spit('srv/bob/.htaccess', "SetHandler fcgipm:closed\n", $daemon);
    is who('/srv/bob/x.own'), 'closed', 'in bob\'s directory it works';
    spit('srv/alice/.htaccess', "SetHandler fcgipm:closed\n", $nobody);
    symlink "$top/srv/bob", "$top/srv/alice/bob";
    symlink "$top/srv/bob/x.own", "$top/srv/alice/bobs.own";
    is who('/srv/alice/bob/x.own'), 403, 'by a link to it in alice\'s it does not';
    is who('/srv/alice/bobs.own'), 403, 'nor by one to the file';
    unlink "$top/srv/bob/.htaccess";
    spit('srv/alice/.htaccess', "SetHandler fcgipm:open\n", $nobody);
    is who('/srv/alice/bob/x.own'), 'open', 'though such a link leads there';
    unlink "$top/srv/alice/bob", "$top/srv/alice/bobs.own";
};

subtest 'FcgiWrapper' => sub {
    my $put = sub { spit('srv/alice/.htaccess', join('', map { "$_\n" } @_), $nobody); return who('/srv/alice/x.own') };
    for my $way (['FcgiWrapper "COMMAND" .own'], ['FcgiWrapper "COMMAND"'], ['<Files x.own>', 'FcgiWrapper "COMMAND"', '</Files>'], ['<If "true">', 'FcgiWrapper "COMMAND" .own virtual', '</If>']) {
        my $with = sub { my ($command) = @_; return $put->(map { s/COMMAND/$command/r } @$way) };
        like $with->($command), qr/^self-/, "it has effect: @$way";
        is $with->($_), 403, "and is refused: $_" for $self, "$command more", "$top/srv/alice/x.own";
    }
};

# mod_proxy connects to whatever it is told, as httpd's user: that nobody knows the name of a pool's socket is what holds.
subtest 'mod_proxy' => sub {
    plan skip_all => 'no mod_proxy_fcgi' unless -e Fcgipm::modules_dir() . '/mod_proxy_fcgi.so';
    my ($sock) = glob $h->root . '/run/p' . $h->status('closed')->{index} . '/s0-*.sock';
    my $dir = $sock =~ s{/[^/]+$}{}r;
    symlink $sock, "$top/srv/alice/link";
    my ($made) = Fcgipm::proc_file('self', 'net/unix') =~ m{ (\Q$dir\E/\S+)$}m;
    ok $made, 'the kernel tells all under which name it was made';
    for my $way (['SetHandler "proxy:unix:SOCK|fcgi://localhost/"'], ['<Files x.own>', 'SetHandler "proxy:unix:SOCK|fcgi://localhost/"', '</Files>'],
        ['AddHandler "proxy:unix:SOCK|fcgi://localhost/" .own'], ['RewriteEngine On', 'RewriteRule ^x "unix:SOCK|fcgi://localhost/x" [P]']) {
        my $with = sub { my ($name) = @_; spit('srv/alice/.htaccess', join('', map { s/SOCK/$name/r . "\n" } @$way), $nobody); return who('/srv/alice/x.own') };
        is $with->("$top/srv/alice/sock"), '', "it has effect: @$way";
        is $with->($sock), 'closed', 'and would have on a pool\'s, for who knows its name' unless "@$way" =~ /^AddHandler/;    # (in small letters)
        is $with->($_), 503, "but not for who does not: " . s{.*/}{}r for "$dir/s0.sock", $made;
    }
    is $h->status('closed')->{ready}, 1, 'the pool is well';
};
$h->stop;
done_testing;
