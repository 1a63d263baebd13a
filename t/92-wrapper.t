# SPDX-License-Identifier: Apache-2.0
# FcgiWrapper: only commands that the server's configuration allows, with ExecCGI, each with a pool for each user and virtual
# host; and what .htaccess can and cannot choose.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time sleep);
use Fcgipm;

plan skip_all => 'needs root' if $>;
need('useradd');
my $actor = app_built('actor.c');
my @users = map { "fpw$_" . $$ } qw(a b);
my $test = $$;
END { if ($$ == $test) { my $status = $?; system "userdel $_ >/dev/null 2>&1" for @users; $? = $status } }
system("useradd -M -U -d /nonexistent $_") == 0 or BAIL_OUT("useradd $_") for @users;
my ($alice, $bob) = @users;
my %uid = ((map { $_ => scalar getpwnam $_ } @users), 'www-data' => scalar getpwnam 'www-data');

my $h;
sub spit { my ($file, $text, $user) = @_; open my $f, '>', $file or die "$file: $!"; print {$f} $text // ''; close $f; chown $uid{$user}, -1, $file if $user; chmod 0644, $file }
sub dirs { my ($user, @dirs) = @_; for (@dirs) { mkdir $_; chmod 0755, $_; chown $uid{$user}, -1, $_ if $user } }
sub uid_of { my ($pid) = @_; return Fcgipm::proc_file($pid, 'status') =~ /^Uid:\s+(\d+)\s+\1\s+\1\s/m ? $1 : 'gone' }
sub at { my ($path, $vhost) = @_; my $r = $h->raw("GET $path HTTP/1.0\r\nHost: " . ($vhost // 'localhost') . "\r\n\r\n"); return $r =~ /^HTTP\/1\.1 200.*?\r\n\r\n(\d+)$/ms ? $1 : $r =~ /^HTTP\/1\.1 (\d+)/ ? "status $1" : 'nothing' }
sub who { my $pid = at(@_); return $pid if $pid =~ /status/; my ($user) = grep { $uid{$_} == uid_of($pid) } keys %uid; return $user // 'uid ' . uid_of($pid) }
sub command { my ($path) = @_; my $pid = at($path); return $pid =~ /status/ ? $pid : Fcgipm::proc_file($pid, 'cmdline') =~ tr/\0/ /r }

$h = Fcgipm->httpd(expect_log => [qr/FPM070[1234]/, qr/FPM066[278]/, qr{/ht/\.htaccess: .*(?:not allowed here|can only name|there is no such handler)}], conf => <<"EOC");
<FcgiServerTemplate own>
    FcgiCommand /bin/false
    FcgiUserFrom Owner below=\@ROOT\@/srv
    FcgiProcesses 0 2
    FcgiTimeout idle=2s
    FcgiEnv WHO %{user}
</FcgiServerTemplate>
<FcgiServer open>
    FcgiCommand $actor open
</FcgiServer>
<FcgiServer closed>
    FcgiCommand $actor closed
</FcgiServer>
FcgiAllowWrapper "$actor mine -x" own
FcgiAllowWrapper "$actor shared"
Alias /srv \@ROOT\@/srv
<Directory \@ROOT\@/srv>
    Require all granted
    Options FollowSymLinks ExecCGI
    AllowOverride FileInfo
    FcgiAllowPass open
</Directory>
<Directory \@ROOT\@/srv/$alice>
    FcgiWrapper "$actor mine -x" .own .also
    FcgiWrapper "$actor   shared" .sha virtual
</Directory>
<Directory \@ROOT\@/srv/$alice/none>
    FcgiPass None
</Directory>
<Directory \@ROOT\@/srv/$alice/nocgi>
    Options -ExecCGI
</Directory>
<Directory \@ROOT\@/srv/$bob/locked>
    AllowOverride None
</Directory>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<VirtualHost *:\@PORT\@>
    ServerName localhost
    DocumentRoot "\@ROOT\@/htdocs"
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName second.test
    DocumentRoot "\@ROOT\@/htdocs"
</VirtualHost>
EOC
my $srv = $h->root . '/srv';
dirs(undef, $srv);
for my $user (@users) {
    dirs($user, "$srv/$user");
    for my $dir ('', qw(/none /nocgi /locked /ht)) {
        dirs($user, "$srv/$user$dir");
        spit("$srv/$user$dir/$_", "text of $user\n", $user) for qw(x.own x.also x.sha x.txt x.app);
    }
}

subtest 'in the server\'s configuration' => sub {
    wait_for { 2 == grep { uid_of($_) } $h->workers } 10, 'what is not on demand runs';
    is scalar(() = $h->workers), 2, '... and nothing else';
    is who("/srv/$alice/x.own?do=pid"), $alice, 'as the file\'s owner';
    is command("/srv/$alice/x.own?do=pid"), "$actor mine -x ", 'by that command';
    is at("/srv/$alice/x.own?do=pid"), at("/srv/$alice/x.also?do=pid"), 'another ending, the same pool';
    is who("/srv/$alice/x.sha?do=pid"), 'www-data', 'without a template as httpd\'s user';
    is command("/srv/$alice/x.sha?do=pid"), "$actor shared ", 'by its command';
    is who("/srv/$alice/not-there.sha?do=pid"), 'www-data', 'virtual: a file that is not there';
    is at("/srv/$alice/not-there.own?do=pid"), 'status 404', 'else it is 404';
    like $h->get("/srv/$alice/x.txt")->{body}, qr/^text of/, 'another file is a file';
    my %pid = map { $_ => at("/srv/$alice/x.$_?do=pid") } qw(own sha);
    isnt at("/srv/$alice/x.$_?do=pid", 'second.test'), $pid{$_}, "$_: another virtual host has a pool of its own" for qw(own sha);
    is who("/srv/$alice/x.own?do=pid", 'second.test'), $alice, 'of the same user';
    like $h->get("/srv/$alice/none/x.own")->{body}, qr/^text of/, 'FcgiPass None ends it';
    is at("/srv/$alice/nocgi/x.own?do=pid"), 'status 403', 'not without ExecCGI';
    ok $h->log_has(qr/FPM0703: FcgiWrapper: Options ExecCGI is off here.*nocgi/), 'and the log says why';
    symlink "$srv/$alice/x.own", "$srv/$alice/link.own";
    is at("/srv/$alice/link.own?do=pid"), 'status 403', 'nor through a link';
};

subtest 'in .htaccess' => sub {
    my $try = sub { my ($text, $path) = @_; spit("$srv/$bob/ht/.htaccess", $text, $bob); return who($path // "/srv/$bob/ht/x.own?do=pid") };
    is $try->(qq{FcgiWrapper "$actor mine -x" .own\n}), $bob, 'a command that is allowed, as its owner';
    is $try->(qq{FcgiWrapper "$actor shared" .own\n}), 'www-data', 'another one';
    is $try->(qq{FcgiWrapper "$actor shared"\n}, "/srv/$bob/ht/x.txt?do=pid"), 'www-data', 'for all files';
    for my $command ("$actor mine", "$actor mine -x -y", "$actor mine -y", "/bin/sh -c id", $actor, 'own', "$srv/$bob/x.own", "$actor -x mine") {
        is $try->(qq{FcgiWrapper "$command" .own\n}), 'status 403', "not allowed: $command";
        ok $h->log_has(qr/FPM0704: FcgiWrapper "\Q$command\E": the server's configuration does not allow it/), 'and the log says so';
    }
    is $try->(qq{Options +ExecCGI\nFcgiWrapper "$actor shared" .own\n}), 'status 500', 'Options need AllowOverride Options';
    is $try->(qq{FcgiAllowWrapper "/bin/sh"\n}), 'status 500', '.htaccess cannot allow a command';
    is $try->("FcgiAllowPass closed\nFcgiPass closed\n"), 'status 500', '... nor open an application';
    is $try->("<FcgiServer evil>\nFcgiCommand /bin/sh\n</FcgiServer>\n"), 'status 500', '... nor make one';
    is $try->("FcgiPass open\n"), 'www-data', 'FcgiPass: an application that is opened here';
    is $try->("SetHandler fcgipm:open\n"), 'www-data', 'SetHandler as well';
    is $try->("AddHandler fcgipm:open .own\n"), 'www-data', 'and AddHandler';
    is $try->("FcgiPass open prefix=/x\n"), 'status 500', 'but not its mount point';
    for my $way ("FcgiPass closed", "SetHandler fcgipm:closed", "AddHandler fcgipm:closed .own", "RewriteEngine On\nRewriteRule .* - [H=fcgipm:closed]", "ForceType fcgipm:closed", "<Files x.own>\nSetHandler fcgipm:closed\n</Files>") {
        my $said = $try->("$way\n");
        is $said, 'status 403', "one that is not: $way";
    }
    is scalar(() = $h->log =~ /FPM0668: the server's configuration does not open application closed to this place/g), 6, 'and the log says so each time';
    # The hole of SetHandler "proxy:unix:/other.sock|fcgi://" (php-src#15499): an address in place of a name.
    my ($sock) = glob $h->root . '/run/p*/s0-*.sock';
    for my $address ("unix:$sock|fcgi://localhost", $sock, "tcp:127.0.0.1:9000", 'own', 'own:' . $alice, "php:$alice") {
        is $try->(qq{SetHandler "fcgipm:$address"\n}), $address eq 'own' ? 'status 403' : 'status 500', "no way to $address";
    }
    is $try->("SetHandler fcgipm-wrapper\n"), 'status 500', 'the handler without a FcgiWrapper';
    spit("$srv/$bob/locked/.htaccess", qq{FcgiWrapper "$actor mine -x" .own\n}, $bob);
    like $h->get("/srv/$bob/locked/x.own")->{body}, qr/^text of/, 'AllowOverride None: nothing of it';
    # What bob's .htaccess says of alice's files.
    symlink "$srv/$alice/x.own", "$srv/$bob/ht/alice.own";
    is $try->(qq{FcgiWrapper "$actor mine -x" .own\n}, "/srv/$bob/ht/alice.own?do=pid"), 'status 403', 'a link to alice\'s file';
};

subtest 'they go' => sub {
    wait_for { !grep { $_->{name} =~ /^actor-\w+:$bob/ } @{$h->status->{pools}} } 20, 'idle ones';
    spit("$srv/$bob/ht/.htaccess", qq{FcgiWrapper "$actor mine -x" .own\n}, $bob);
    is who("/srv/$bob/ht/x.own?do=pid"), $bob, 'and come back';
};
$h->stop;

subtest 'beside FcgiCompat' => sub {
    $h = Fcgipm->httpd(expect_log => [qr/FPM0703/], conf => <<"EOC");
FcgiCompat On
FcgiAllowWrapper "$actor ours"
<Directory "\@ROOT\@/htdocs">
    Options +ExecCGI
    AllowOverride FileInfo
    FcgiWrapper "$actor  ours" .own virtual
    FcgiWrapper "$actor old" .old
    AddHandler fcgid-script .old
</Directory>
<Directory "\@ROOT\@/htdocs/no">
    Options -ExecCGI
</Directory>
EOC
    my $docs = $h->root . '/htdocs';
    dirs(undef, "$docs/no", "$docs/ht");
    spit("$docs/$_", "text\n") for qw(x.own x.old no/x.own ht/x.new);
    spit("$docs/ht/.htaccess", qq{FcgiWrapper "$actor ours" .new\n});
    is command('/x.own?do=pid'), "$actor ours ", 'FcgiWrapper with a command that is allowed is this one';
    is command('/not-there.own?do=pid'), "$actor ours ", '... virtual';
    is at('/no/x.own?do=pid'), 'status 403', '... not without ExecCGI';
    is command('/x.old?do=pid'), "$actor old ", 'with another one it is FcgidWrapper';
    is command('/ht/x.new?do=pid'), "$actor ours ", 'and in .htaccess this one';
    $h->stop;
    my ($code, $said) = Fcgipm->configtest(conf => qq{FcgiCompat On\n<Location "/x">\nFcgiWrapper "$actor x" .x\n</Location>\nFcgiAllowWrapper "$actor x"\n});
    isnt $code, 0, 'FcgiAllowWrapper below FcgiWrapper is refused';
    like $said, qr/FcgiWrapper at .*httpd\.conf:\d+ stands above it.*write FcgiAllowWrapper first, or FcgidWrapper there/, '... and why';
};

subtest 'wrong ones are refused' => sub {
    my $wrong = sub {
        my ($lines, $like) = @_;
        my ($code, $said) = Fcgipm->configtest(conf => $lines);
        isnt $code, 0, "refused: $lines";
        like $said, $like, '... and why';
    };
    $wrong->(qq{FcgiAllowWrapper "actor mine"\n}, qr/write the full path of the program/);
    $wrong->(qq{FcgiAllowWrapper "$actor" nothere\n}, qr/there is no <FcgiServerTemplate nothere> above it/);
    $wrong->(qq{<FcgiServer plain>\nFcgiCommand $actor\n</FcgiServer>\nFcgiAllowWrapper "$actor" plain\n}, qr/there is no <FcgiServerTemplate plain>/);
    $wrong->(qq{FcgiAllowWrapper "$actor"\nFcgiAllowWrapper "$actor "\n}, qr/it is allowed already/);
    $wrong->(qq{FcgiAllowWrapper "/nowhere/at/all"\n}, qr{FcgiCommand /nowhere/at/all: there is no such file});
    $wrong->(qq{FcgiWrapper "$actor mine" .x\n}, qr/FcgiWrapper "\Q$actor\E mine": the server's configuration does not allow it; write: FcgiAllowWrapper/);
    $wrong->(qq{FcgiAllowWrapper "$actor"\nFcgiWrapper "$actor" x\n}, qr/FcgiWrapper \.\.\. x: not known; write/);
    $wrong->(qq{<Directory "/tmp">\nFcgiAllowPass nothere\n</Directory>\n}, qr/FcgiAllowPass nothere: there is no <FcgiServer nothere>/);
};

done_testing;
