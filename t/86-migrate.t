# SPDX-License-Identifier: Apache-2.0
# fcgipm-migrate: configurations of common shape for mod_fcgid, mod_fastcgi and mod_proxy_fcgi, rewritten, pass configtest and
# serve the same as before; rewriting again changes nothing; what is not about FastCGI is kept byte for byte; what cannot be
# translated is told.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp ();
use IO::Socket::UNIX;
use Fcgipm;

need('php-cgi');
my $actor = app_built('actor.c');
my $apps = Fcgipm::apps_dir();
my $dir = File::Temp::tempdir('/tmp/fcgipm-mig-XXXXXXXX', CLEANUP => 1);
chmod 0755, $dir;
mkdir "$dir/bin";
system 'cp', $actor, "$dir/bin/$_" for qw(static.fcgi dynamic.fcgi);

sub slurp { my ($file) = @_; local $/; open my $f, '<:raw', $file or return ''; return scalar <$f> // '' }
sub spit { my ($file, $text, $mode) = @_; open my $f, '>:raw', $file or die "$file: $!"; print {$f} $text; close $f; chmod $mode // 0644, $file }
sub run { my @words = map { "'$_'" } @_; my $said = `perl -w conf/fcgipm-migrate @words 2>&1`; return ($? >> 8, $said) }
# One file: (exit code, what it became, report).
my $count = 0;
sub migrate {
    my ($text, $name) = @_;
    my $in = "$dir/in" . ++$count;
    mkdir $in;
    spit "$in/" . ($name //= 'httpd.conf'), $text;
    my ($status, $said) = run('-e', '-d', $in, '-o', "$in/out", "$in/$name");
    return ($status, slurp("$in/out/$name"), $said);
}
my @external = (Fcgipm::external("$dir/app.sock", $actor), Fcgipm::external("$dir/php.sock", '/usr/bin/php-cgi'));

# --- the table is the one of FcgiCompat ---
my %table = map { lc $_ => 1 } grep { !/^-/ && /^(?:Fcgid|FastCgi)/ } slurp('modules/web/compat_table.h') =~ /^\s*X\("([\w-]+)", [A-Z_]+,/mg;
my ($aliases) = slurp('modules/web/compat_table.h') =~ /FCGIPM_COMPAT_ALIASES\(X\)(.*)/s;
$table{lc $_} = 1 for $aliases =~ /X\("(\w+)"/g;
my ($rc, $names) = run('--list-names');
is_deeply [sort split ' ', $names], [sort keys %table], 'every directive that FcgiCompat knows';
my $guide = lc slurp('docs/migrate.md');
is_deeply [grep { !/authoritative$/ && $guide !~ /\b\Q$_\E\b/ } sort keys %table], [], 'and docs/migrate.md has them';

# --- the same before and after ---
my $debian = -e '/etc/apache2/mods-available/fcgid.conf' ? slurp('/etc/apache2/mods-available/fcgid.conf') : "<IfModule mod_fcgid.c>\n  FcgidConnectTimeout 20\n\n  <IfModule mod_mime.c>\n    AddHandler fcgid-script .fcgi\n  </IfModule>\n</IfModule>\n";
my $exec = "<Directory \"\@ROOT\@/htdocs\">\n    Options +ExecCGI\n</Directory>\n";
my @cases = (
    ['Debian\'s fcgid.conf', "$debian$exec", ['/app.fcgi', qr/^hello from c/], ['/perl.fcgi', qr/^hello from perl/], ['/app.fcgi/a/b?do=env', qr{^PATH_INFO=/a/b$}m]],
    ['php-cgi for the whole server', <<"EOC", ['/actor.php', qr/^hello from php/], ['/actor.php/info?do=env', qr{^PATH_INFO=/info$}m], ['/gone.php', 404], ['/c/actor.php', 403], ['/c/any.txt', qr/^a file/], ['/app.fcgi', qr/^hello from c/], ['/actor.php?do=env', qr/^WHO=main host$/m], ['/actor.php?do=env', qr/^HTTP_AUTHORIZATION=Basic eDp5$/m], ['/', qr/^hello from php/]],
FcgidInitialEnv PHP_FCGI_MAX_REQUESTS 1000
FcgidInitialEnv WHO "main host"
FcgidMaxRequestsPerProcess 1000
FcgidMaxProcesses 50
FcgidMaxProcessesPerClass 4
FcgidIOTimeout 45
FcgidBusyTimeout 300
FcgidOutputBufferSize 0
FcgidPassHeader Authorization
AddHandler fcgid-script .php .fcgi
FcgidWrapper "/usr/bin/php-cgi -d 'memory_limit=64M'" .php
DirectoryIndex actor.php
$exec<Directory "\@ROOT\@/htdocs/c">
    Options -ExecCGI
</Directory>
EOC
    ['a virtual host for php', <<"EOC", ['/actor.php?do=env', qr/^WHO=host$/m], ['/c/any.txt', qr/^hello from c/], ['/c/actor.php', qr/^hello from php/]],
<IfModule mod_fcgid.c>
    DefaultInitEnv WHO main
    IPCCommTimeout 60
    MaxRequestLen 1000000
</IfModule>
<VirtualHost *:\@PORT\@>
    DocumentRoot "\@ROOT\@/htdocs"
    FcgidInitialEnv WHO host
    <Directory "\@ROOT\@/htdocs">
        Options +ExecCGI
        <FilesMatch "\\.php\$">
            SetHandler fcgid-script
        </FilesMatch>
        FCGIWrapper /usr/bin/php-cgi .php
    </Directory>
    <Directory "\@ROOT\@/htdocs/c">
        SetHandler fcgid-script
        FcgidWrapper "$actor x"
    </Directory>
</VirtualHost>
EOC
    ['a wrapper per virtual host, handler for all', <<"EOC", ['/actor.php?do=env', qr/^WHO=main$/m], ['/app.fcgi', qr/^hello from c/]],
AddHandler fcgid-script .php .fcgi
$exec
FcgidWrapper /bin/false .php
<VirtualHost *:\@PORT\@>
    FcgidInitialEnv WHO main
    <Directory "\@ROOT\@/htdocs">
        FcgidWrapper /usr/bin/php-cgi .php
    </Directory>
</VirtualHost>
EOC
    ['a virtual wrapper', <<"EOC", ['/app/deeper?do=env', qr{^SCRIPT_NAME=/app$}m], ['/app/deeper?do=env', qr{^PATH_INFO=/deeper$}m]],
<Location "/app">
    SetHandler fcgid-script
    Options +ExecCGI
    FcgidWrapper $actor virtual
</Location>
EOC
    ['options of a script', <<"EOC", ['/bin/dynamic.fcgi?do=env', qr/^SCRIPT_NAME=/m], ['/bin/static.fcgi', qr/^hello from c/]],
FcgidCmdOptions $dir/bin/dynamic.fcgi MaxProcesses 2 IOTimeout 20 InitialEnv WHO=options
Alias "/bin" "$dir/bin"
<Directory "$dir/bin">
    Options +ExecCGI
    Require all granted
    SetHandler fcgid-script
</Directory>
EOC
    ['php by Action and a wrapper script', <<"EOC", ['/actor.php?do=env', qr{^SCRIPT_NAME=/actor\.php$}m], ['/actor.php', qr/^hello from php/]],
ScriptAlias /wrapper/ $dir/bin/
<Directory "$dir/bin">
    SetHandler fcgid-script
    Options +ExecCGI
    Require all granted
</Directory>
AddHandler php-cgi-wrapper .php
Action php-cgi-wrapper /wrapper/php
EOC
    ['mod_fastcgi: static, dynamic, external', <<"EOC", ['/bin/static.fcgi/x?do=env', qr{^PATH_INFO=/x$}m], ['/bin/dynamic.fcgi', qr/^hello from c/], ['/remote.fcgi/path?do=env', qr{^PATH_INFO=/path$}m], ['/remote.fcgi/path?do=env', qr{^SCRIPT_NAME=/remote\.fcgi$}m], ['/remote.fcgi/path?do=env', qr/^HTTP_AUTHORIZATION=Basic eDp5$/m]],
DocumentRoot "\@ROOT\@/htdocs"
<IfModule mod_fastcgi.c>
    FastCgiServer $dir/bin/static.fcgi -processes 2 -initial-env WHO=static -idle-timeout 20 -restart-delay 5 -priority 5
    AppClass $dir/bin/other.fcgi
    FastCgiExternalServer "\@ROOT\@/htdocs/remote.fcgi" -socket $dir/app.sock -idle-timeout 60 -pass-header Authorization
    AddHandler fastcgi-script .fcgi
    Alias "/bin/" "$dir/bin/"
    <Directory "$dir/bin">
        Options +ExecCGI
        Require all granted
    </Directory>
</IfModule>
EOC
    ['mod_fastcgi: php-fpm by Action', <<"EOC", ['/actor.php?do=env', qr{^SCRIPT_NAME=/actor\.php$}m], ['/actor.php?do=env', qr{^SCRIPT_FILENAME=\@ROOT\@/htdocs/actor\.php$}m], ['/actor.php?do=env', qr/^HTTP_AUTHORIZATION=Basic eDp5$/m]],
<IfModule mod_fastcgi.c>
    AddHandler php-fpm .php
    Action php-fpm /php-fpm virtual
    Alias /php-fpm $dir/bin/php-fpm
    FastCgiExternalServer $dir/bin/php-fpm -socket $dir/php.sock -pass-header Authorization
</IfModule>
<Directory "$dir/bin">
    Require all granted
</Directory>
EOC
    ['mod_proxy_fcgi: SetHandler', <<"EOC", ['/actor.php', qr/^hello from php/], ['/actor.php/info?do=env', qr{^SCRIPT_FILENAME=\S*\@ROOT\@/htdocs/actor\.php}m]],
<IfModule proxy_fcgi_module>
    <FilesMatch ".+\\.ph(?:ar|p|tml)\$">
        SetHandler "proxy:unix:$dir/php.sock|fcgi://localhost"
    </FilesMatch>
</IfModule>
EOC
    ['mod_proxy_fcgi: ProxyPassMatch, ProxyPass', <<"EOC", ['/actor.php', qr/^hello from php/], ['/four/x?do=env', qr/^REQUEST_URI=\/four\/x/m]],
DocumentRoot "$dir/docs"
<Directory "$dir/docs">
    Require all granted
</Directory>
ProxyPassMatch "^/(.*\\.php(/.*)?)\$" "unix:$dir/php.sock|fcgi://localhost$dir/docs/\$1" timeout=30
ProxyPass "/four/" "unix:$dir/app.sock|fcgi://localhost/" enablereuse=on retry=0
EOC
);
spit "$dir/bin/php", "#!/bin/sh\nexec /usr/bin/php-cgi\n", 0755;
system 'cp', $actor, "$dir/bin/other.fcgi";
mkdir "$dir/docs";
system 'cp', "$apps/actor.php", "$dir/docs/";

sub serves {
    my ($what, $conf, $requests, $proxy) = @_;
    my $h = Fcgipm->httpd(leave => 1, modules => ['actions', $proxy ? qw(proxy proxy_fcgi) : ()], conf => ($proxy ? "ProxyFCGIBackendType GENERIC\n" : '') . $conf);
    my $docs = $h->root . '/htdocs';
    mkdir "$docs/c";
    system 'cp', "$apps/actor.php", $_ for $docs, "$docs/c";
    system 'cp', $actor, "$docs/app.fcgi";
    spit "$docs/c/any.txt", "a file\n";
    spit "$docs/perl.fcgi", "#!/bin/sh\nexec /usr/bin/perl $apps/actor.pl\n", 0755;
    for my $q (@$requests) {
        my ($path, $like) = @$q;
        my $r = $h->get($path, headers => [Authorization => 'Basic eDp5']);
        if (!ref $like) { is $r->{status}, $like, "$what: $path"; next }
        my $root = $h->root;
        $like =~ s/\@ROOT\\?\@/$root/g;
        like $r->{body}, qr/$like/, "$what: $path" or diag "$r->{status}\n", $h->log;
    }
    $h->stop;
}
for my $case (@cases) {
    my ($name, $conf, @requests) = @$case;
    my $proxy = $name =~ /proxy_fcgi/;
    serves("$name, as it was", ($proxy ? '' : "FcgiCompat On\n") . $conf, \@requests, $proxy);
    my ($status, $new, $said) = migrate($conf);
    is $status, 0, "$name: nothing needs a human" or diag $said;
    my ($ok, $output) = Fcgipm->configtest(modules => ['actions'], conf => $new);
    is $ok, 0, 'configtest' or diag $output, $new;
    serves("$name, migrated", $new, \@requests);
    my ($again, $same) = migrate($new);
    is $again, 0, 'again';
    is $same, $new, 'changes nothing';
    my @theirs = grep { !/^\s*#/ && /\b(?:Fcgid|FastCgi|fcgid-script|fastcgi-script|Action |proxy:|ProxyPass)/ } split /\n/, $new;
    is_deeply \@theirs, [], 'none of the old ones is left';
}

# --- bytes ---
my $odd = "# Fcgid in a comment: FcgidIOTimeout 5\r\n\tServerName  x \\\r\n   y   \r\n\n\n<Directory  /a >\n   Options  +ExecCGI   # not a comment\n</Directory>\n  SetHandler none\nAddHandler cgi-script .cgi\nProxyPass /x http://127.0.0.1/\nno newline at the end";
my ($status, $new) = migrate($odd);
is $new, $odd, 'what is not about FastCGI is kept byte for byte';
for my $file ('conf/fcgipm.conf', glob 'conf/examples/*.conf') {
    my ($status, $new) = migrate(slurp($file));
    is "$status $new", '0 ' . slurp($file), "$file is native";
}
($status, $new) = migrate("A 1\r\n\t\tFcgidMaxProcesses \\\r\n   10\r\n  B 2");
is $new, "A 1\r\n\t\t# fcgipm-migrate: was: FcgidMaxProcesses 10\r\n\t\t#   processes of all applications together\r\n\t\tFcgiMaxWorkers 10\r\n  B 2", 'indentation, line ends, lines that go on';

($status, $new) = migrate("SuexecUserGroup nobody\nFcgidWrapper /bin/true .php\nAddHandler fcgid-script .php\n");
like $new, qr/^    # As SuexecUserGroup says, but without suexec: .* FcgiSuexec On root=Server\.\n    FcgiUser nobody$/m, 'SuexecUserGroup: how to keep suexec';

# --- what needs a human ---
for my $case (
    ["x\n<Location /a>\n    FcgidAuthorizer /srv/auth\n</Location>\n", qr/:3: NEEDS A HUMAN: FcgidAuthorizer .*mod_authnz_fcgi/, qr/^    FcgidAuthorizer \/srv\/auth$/m],
    ["FcgidIOTimeout 1m\nFcgidWrapper /a .a\n", qr/:1: NEEDS A HUMAN: FcgidIOTimeout 1m: not a whole number; write one, such as 60 \(seconds\)/, qr/^<FcgiServer a>$/m],
    ["FastCgiExternalServer /nowhere/x -host 127.0.0.1:9\n", qr/:1: NEEDS A HUMAN: .*no Alias or DocumentRoot leads to it; write FcgiPass x/, qr/FcgiConnect 127\.0\.0\.1:9/],
    ["FastCgiServer /x -speed 1\n", qr/-speed: not known/, qr/FcgiCommand \/x/],
    ["ProxyPassMatch ^/a/(.*)\$ fcgi://127.0.0.1:9/else/\$1\n", qr/only patterns that end in an extension/, qr/^ProxyPassMatch/m],
    ["DocumentRoot /srv/www\nProxyPassMatch ^/(.*\\.php)\$ fcgi://127.0.0.1:9/else/\$1\n", qr{:2: .*leads to /else/\$1, which is not DocumentRoot /srv/www}, qr/^ProxyPassMatch/m],
    ["<Proxy balancer://b>\n    BalancerMember fcgi://127.0.0.1:9\n</Proxy>\n", qr/a balancer stays with mod_proxy_fcgi/, qr/^    BalancerMember/m],
    ["SuexecUserGroup a a\nAddHandler fcgid-script .fcgi\n", qr/SuexecUserGroup says another/, qr/fcgipm-script \.fcgi/],
    ["FcgidInitialEnv A b\nAddHandler fcgid-script .fcgi\n", qr/fcgipm-script knows no such variable/, qr/fcgipm-script \.fcgi/],
    ["LoadModule proxy_fcgi_module x.so\n<IfModule proxy_fcgi_module>\nSetHandler \"proxy:unix:/x|fcgi://localhost\"\n</IfModule>\n", qr/:2: NEEDS A HUMAN: nothing here loads mod_fcgipm, and without it scripts are sent as they are; .*a2enmod fcgipm/, qr/^<IfModule mod_fcgipm\.c>$/m],
    ["Include nothere.conf\n", qr/nothere\.conf: there is no such file/, qr/^Include/m],
    ["Include \${NOWHERE}/x.conf\n", qr/a variable that is not known here/, qr/^Include/m],
) {
    my ($text, $says, $has) = @$case;
    my ($status, $new, $said) = migrate($text);
    is $status, 1, (split /\n/, $text)[-1] . ': needs a human';
    like $said, $says, 'and it says why';
    like $new, $has, 'the line';
    next if $text =~ /^(?:FcgidI|Sue|Fast)/;
    my ($again, $same) = migrate($new);
    is "$again $same", "1 $new", 'again';
}
($status, $new, my $said) = migrate("AddHandler fcgid-script .php\n", '.htaccess');
is $status, 1, 'an .htaccess';
like $said, qr/\.htaccess cannot choose an application/, 'needs one';
is +(run('-o', "$dir/x", "$dir/nothere.conf"))[0], 2, 'a file that is not there';
is +(run("$dir/nothere.conf"))[0], 2, 'neither -o nor -i nor -n';

my $in = "$dir/twice";
mkdir $in;
spit "$in/php.inc", "FcgidWrapper /usr/bin/php-cgi .php\n";
spit "$in/httpd.conf", "<VirtualHost *:1>\n    Include php.inc\n</VirtualHost>\n<VirtualHost *:2>\n    Include php.inc\n</VirtualHost>\n";
($status, $said) = run('-n', $in);
is $status, 1, 'a file that is included twice';
like $said, qr{php\.inc:1: NEEDS A HUMAN: .*included more than once}, 'needs one';
($status, $new) = migrate("<FcgiServer php-cgi>\n    FcgiCommand /x\n</FcgiServer>\nFcgidWrapper /usr/bin/php-cgi .php\n");
like $new, qr/^<FcgiServer php-cgi-2>$/m, 'a name that is used';

# --- a tree as Debian has it, in place ---
my $etc = "$dir/etc";
mkdir $_ for $etc, map { "$etc/$_" } qw(mods-available mods-enabled sites-available sites-enabled);
spit "$etc/apache2.conf", "# main\nIncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\nIncludeOptional sites-enabled/*.conf\n";
spit "$etc/mods-available/fcgid.load", "LoadModule fcgid_module /usr/lib/apache2/modules/mod_fcgid.so\n";
spit "$etc/mods-available/fcgid.conf", $debian, 0640;
spit "$etc/sites-available/a.conf", "<VirtualHost *:80>\n    FcgidWrapper /usr/bin/php-cgi .php\n    AddHandler fcgid-script .php\n</VirtualHost>\n";
spit "$etc/sites-available/b.conf", "<VirtualHost *:81>\n    ServerName b\n</VirtualHost>\n";
symlink "../$_->[0]-available/$_->[1]", "$etc/$_->[0]-enabled/$_->[1]" for ['mods', 'fcgid.load'], ['mods', 'fcgid.conf'], ['sites', 'a.conf'], ['sites', 'b.conf'];
my $main = slurp("$etc/apache2.conf");
($status, $said) = run('-n', '-e', "$etc/apache2.conf");
is $status, 0, 'a dry run' or diag $said;
like $said, qr{sites-enabled/a\.conf:2: FcgidWrapper .* -> <FcgiServer php-cgi>}, 'explains';
ok !-e "$etc/sites-available/a.conf.orig", 'and writes nothing';
($status, $said) = run('-i', "$etc/apache2.conf");
is $status, 0, 'in place' or diag $said;
like $said, qr/^3 of 5 files changed$/m, 'so many';
ok -l "$etc/sites-enabled/a.conf", 'a link stays one';
like slurp("$etc/mods-enabled/fcgid.load"), qr{^LoadModule fcgipm_module /usr/lib/apache2/modules/mod_fcgipm\.so$}m, 'LoadModule';
is slurp("$etc/mods-available/fcgid.conf.orig"), $debian, 'what it was is beside it';
is sprintf('%o', (stat "$etc/mods-available/fcgid.conf")[2] & 07777), '640', 'with its mode';
like slurp("$etc/sites-available/a.conf"), qr{^    <FcgiServer php-cgi>\n        FcgiCommand /usr/bin/php-cgi\n.*FcgiTimeout connect=20s\n.*^    AddHandler fcgipm:php-cgi \.php$}ms, 'values of one file go to the block of another';
is slurp("$etc/apache2.conf"), $main, 'the others are not touched';
ok !-e "$etc/apache2.conf.orig" && !-e "$etc/sites-available/b.conf.orig", 'nor saved';
is +(run('-i', "$etc/apache2.conf"))[1], "0 of 5 files changed\n", 'again: nothing';
spit "$etc/sites-available/a.conf", "FcgidMaxProcesses 5\n";
spit "$etc/sites-available/b.conf", my $b_conf = "FcgidMaxProcesses 5\n";
($status, $said) = run('-i', "$etc/apache2.conf");
is $status, 2, 'an .orig is never written over';
like $said, qr/a\.conf\.orig is already there/, 'it says so';
is slurp("$etc/sites-available/b.conf"), $b_conf, 'and nothing at all is changed';

kill TERM => @external;
waitpid $_, 0 for @external;
done_testing;
