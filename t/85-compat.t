# SPDX-License-Identifier: Apache-2.0
# FcgiCompat On: configurations for mod_fcgid and mod_fastcgi serve without those modules. Each of their directives has its
# meaning or one warning; bad values are told with what would be right; what nobody may ignore is refused.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Socket::UNIX;
use Fcgipm;

need('php-cgi');
my $actor = app_built('actor.c');
my $apps = Fcgipm::apps_dir();
my $modules = Fcgipm::modules_dir();

sub spit { my ($file, $text, $mode) = @_; open my $f, '>', $file or die "$file: $!"; print {$f} $text; close $f; chmod $mode // 0644, $file }
sub bad {
    my ($what, $conf, @like) = @_;
    my ($status, $output) = Fcgipm->configtest(conf => $conf);
    isnt $status, 0, "bad: $what";
    like $output, $_, "it says $_" for @like;
    like $output, qr{on line \d+ of|httpd\.conf:\d+}, 'and where' or diag $output;
}
sub good {
    my ($what, $conf, @like) = @_;
    my ($status, $output) = Fcgipm->configtest(conf => $conf);
    is $status, 0, "good: $what" or diag $output;
    like $output, $_, "it says $_" for @like;
    return $output;
}

# --- off, and not alone ---
bad 'off', "FcgidIOTimeout 60\n", qr/FcgidIOTimeout is a directive of mod_fcgid, which is not loaded; write FcgiCompat On.*fcgipm-migrate/;
bad 'off', "FastCgiExternalServer /x -host 127.0.0.1:9\n", qr/FastCgiExternalServer is a directive of mod_fastcgi, which is not loaded; write FcgiCompat On/;
bad 'off, an old name', "FcgiCompat Off\nIPCCommTimeout 60\n", qr/IPCCommTimeout is a directive of mod_fcgid/;
SKIP: {
    skip 'no mod_fcgid here', 8 unless -e "$modules/mod_fcgid.so";
    my $load = "LoadModule fcgid_module $modules/mod_fcgid.so\n";
    good 'mod_fcgid itself, FcgiCompat Off', "${load}FcgidIOTimeout 60\n<Directory /tmp>\n    FcgidWrapper /usr/bin/php-cgi .php\n</Directory>\n";
    bad 'both', "${load}FcgiCompat On\n", qr/FcgiCompat On: mod_fcgid is loaded, too.*a2dismod fcgid/;
    my ($status, $output) = Fcgipm->configtest(conf => "FcgiCompat On\n$load");
    isnt $status, 0, 'both, the other way round';
    like $output, qr/FPM0692: FcgiCompat On: mod_fcgid is loaded, too/, 'it says so';
}

# --- values ---
bad "$_->[0]", "FcgiCompat On\n$_->[0]\n", $_->[1] for
    ['FcgidIOTimeout soon', qr/FcgidIOTimeout soon: not a number; write a whole number of seconds, such as FcgidIOTimeout 40/],
    ['FcgidMaxRequestInMem 64K', qr/FcgidMaxRequestInMem 64K: not a number; write a whole number of bytes/],
    ['FcgidMaxProcesses many', qr/FcgidMaxProcesses many: not a number/], ['FcgidMaxRequestLen big', qr/FcgidMaxRequestLen big: not a number/],
    ['DefaultMaxClassProcessCount', qr/not a number/], ['FcgidPassHeader Proxy', qr/no client may choose a proxy/], ['FcgidInitialEnv', qr/write: NAME VALUE/],
    ['FcgidWrapper "/usr/bin/php-cgi" php', qr/php: neither an extension nor "virtual"; write: FcgidWrapper/], ['FcgidWrapper /nowhere/php .php', qr{/nowhere/php: there is no such file}],
    ['FcgidWrapper "" .php', qr/no program/], ['FcgidCmdOptions /usr/bin/php-cgi', qr/wrong arguments/], ['FcgidCmdOptions /usr/bin/php-cgi Speed 3', qr/Speed: not known; write one of ConnectTimeout, /],
    ['FastCgiServer', qr/no file/], ['FastCgiServer /nowhere/app', qr{/nowhere/app: there is no such file}], ["FastCgiServer $actor -speed 3", qr/-speed: not known; write one of -appConnTimeout/],
    ["FastCgiServer $actor -processes", qr/its value is missing/], ["FastCgiServer $actor -processes two", qr/-processes two: not a number/], ['FastCgiExternalServer /x', qr/no address; write -host/],
    ['FastCgiExternalServer /x -host nonsense', qr/-host: FcgiConnect nonsense/], ['FastCgiExternalServer /x -host 127.0.0.1:9 -socket /y', qr/exclude each other/],
    ["FastCgiServer $actor\nFastCgiServer $actor", qr/already named/], ["<FcgiServer x>\n    FcgiCommand $actor\n    FcgidIOTimeout 5\n</FcgiServer>", qr/not in <FcgiServer>.*write FcgiTimeout read=/],
    ["<Directory /tmp>\n    FcgidIOTimeout 5\n</Directory>", qr/FcgidIOTimeout/], map { ["<Directory /tmp>\n    $_ /x\n</Directory>", qr/$_: mod_fcgipm asks no application who may come in.*mod_authnz_fcgi/] }
    qw(FcgidAccessChecker FcgidAuthenticator FcgidAuthorizer FastCgiAccessChecker FastCgiAuthenticator FastCgiAuthorizer);

# Each name is known, and each that does nothing says once what there is.
my $table = do { local $/; open my $f, '<', 'modules/web/compat_table.h' or die; <$f> };
my %row = $table =~ /^\s*X\("(\w+)", (\w+),/mg;
cmp_ok scalar keys %row, '>=', 44, 'the table has their directives';
my @none = sort grep { $row{$_} eq 'NONE' } keys %row;
my $output = good 'those without a counterpart', "FcgiCompat On\n" . join('', map { "$_ 1\n" } @none, @none);
is scalar(() = $output =~ /FPM0690: \S+:\d+: $_: /g), 1, "$_: one warning" for @none;
my ($aliases) = $table =~ /FCGIPM_COMPAT_ALIASES\(X\)(.*)/s;
my %alias = $aliases =~ /X\("(\w+)", "(\w+)"\)/g;
cmp_ok scalar keys %alias, '>=', 30, 'and their old names';
is_deeply [grep { !$row{$_} } values %alias], [], 'each stands for one';
good 'numbers, by their old names', "FcgiCompat On\n" . join '', map { "$_ 9\n" } sort grep { $row{$alias{$_}} =~ /VALUE|GLOBAL|BODY/ } keys %alias;
good 'too large for us', "FcgiCompat On\nFcgidMaxProcessesPerClass 1000\nFcgidWrapper $actor .x\n", qr/FcgidMaxProcessesPerClass: 1000 is taken as 256, the most that FcgiProcesses takes/;
good 'variables that nobody gets', "FcgiCompat On\nFcgidInitialEnv A b\n", qr/FPM0694: FcgidInitialEnv A=b: there is no FcgidWrapper that it could go to/;
good 'mod_fastcgi\'s options', <<"EOC", qr/-socket: sockets are/, qr/-nph: /, qr/FastCgiIpcDir: sockets are in FcgiRuntimeDir/, qr/-killInterval: there is no counterpart/;
FcgiCompat On
FastCgiIpcDir /tmp/x
FastCgiWrapper Off
FastCgiConfig -idle-timeout 20 -killInterval 100 -autoUpdate
FastCgiServer $actor -processes 2 -appConnTimeout 0 -idle-timeout 40 -initial-env A=b -init-start-delay 2 -listen-queue-depth 50 -min-server-life 5 -nph -pass-header Authorization -priority 3 -restart-delay 5 -socket s -flush
EOC

# --- mod_fcgid: applications serve ---
my $fcgid_conf = '/etc/apache2/mods-available/fcgid.conf';
my $debian = -e $fcgid_conf ? "Include $fcgid_conf\n" : "<IfModule mod_fcgid.c>\n    FcgidConnectTimeout 20\n    <IfModule mod_mime.c>\n        AddHandler fcgid-script .fcgi\n    </IfModule>\n</IfModule>\n";
my $h = Fcgipm->httpd(modules => ['actions'], expect_log => [qr/FPM0690.*OutputBufferSize/, qr/FPM066[25]/], conf => <<"EOC");
FcgiCompat On
$debian
<IfModule fcgid_module>
    FcgidInitialEnv WHO main
    FcgidInitialEnv ONLY main
    FcgidMaxProcesses 50
    FcgidMaxProcessesPerClass 3
    FcgidIOTimeout 45
    FcgidOutputBufferSize 0
    FcgidMaxRequestLen 100000
    FcgidPassHeader Authorization
</IfModule>
FcgidWrapper /usr/bin/php-cgi .php
AddHandler fcgid-script .php
FcgidCmdOptions /usr/bin/php-cgi MaxProcesses 2 InitialEnv PHP_FCGI_CHILDREN=0
DirectoryIndex index.php
<Directory "\@ROOT\@/htdocs">
    Options +ExecCGI
</Directory>
<Directory "\@ROOT\@/htdocs/closed">
    Options -ExecCGI
</Directory>
<Directory "\@ROOT\@/htdocs/c">
    SetHandler fcgid-script
    FcgidWrapper "$actor 'two words'"
</Directory>
<Location "/virtual">
    SetHandler fcgid-script
    Options +ExecCGI
    FcgidWrapper $actor virtual
</Location>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<VirtualHost *:\@PORT\@>
    ServerName first.example
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName own.example
    FcgidInitialEnv WHO own
    FcgidBusyTimeout 20
    FcgidMaxRequestLen 50
</VirtualHost>
EOC
my $docs = $h->root . '/htdocs';
mkdir "$docs/$_" for qw(closed c p);
system 'cp', "$apps/actor.php", "$docs/index.php";
system 'cp', "$apps/actor.php", "$docs/closed/actor.php";
system 'cp', $actor, "$docs/p/app.fcgi";
spit "$docs/p/perl.fcgi", "#!/bin/sh\nexec /usr/bin/perl $apps/actor.pl\n", 0755;
spit "$docs/c/anything", "a file\n";
sub from { my ($host, $path, @more) = @_; return Fcgipm::parse($h->raw("GET $path HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n" . join('', map { "$_\r\n" } @more) . "\r\n"), 'GET') }
sub env_of { my ($body) = @_; my ($pid) = $body =~ /pid (\d+)/ or return {}; return {map { split /=/, $_, 2 } split /\0/, Fcgipm::proc_file($pid, 'environ')} }
my $r = $h->get('/index.php/extra?do=env');
is $r->{status}, 200, 'php-cgi as a wrapper' or diag $h->log;
like $r->{body}, qr{^SCRIPT_FILENAME=\Q$docs\E/index\.php$}m, 'the script';
like $r->{body}, qr{^PATH_INFO=/extra$}m, 'and the rest';
like $h->get('/')->{body}, qr/^hello from php/, 'as DirectoryIndex';
is $h->get('/gone.php')->{status}, 404, 'a script that is not there';
is $h->get('/closed/actor.php')->{status}, 403, 'ExecCGI is asked for';
like $h->get('/p/app.fcgi')->{body}, qr/^hello from c/, 'a program on disk in C';
like $h->get('/p/perl.fcgi')->{body}, qr/^hello from perl/, 'and in Perl';
my $c = $h->get('/c/anything/info?do=env');
like $c->{body}, qr{^PATH_INFO=/info$}m, 'a wrapper for all files of a directory';
my ($pid) = grep { Fcgipm::proc_file($_, 'cmdline') =~ /two words/ } $h->workers;
is +(split /\0/, Fcgipm::proc_file($pid // 0, 'cmdline'))[1], 'two words', 'its arguments';
my $v = $h->get('/virtual/deeper?do=env');
is $v->{status}, 200, 'a virtual wrapper';
like $v->{body}, qr{^SCRIPT_NAME=/virtual$}m, 'SCRIPT_NAME';
like $v->{body}, qr{^PATH_INFO=/deeper$}m, 'PATH_INFO';
like $h->get('/virtual?do=env', headers => [Authorization => 'Basic eA==', Proxy => 'evil'])->{body}, qr/^HTTP_AUTHORIZATION=Basic eA==$/m, 'FcgidPassHeader Authorization';
unlike $h->get('/virtual?do=env', headers => [Proxy => 'evil'])->{body}, qr/HTTP_PROXY/, 'and nothing that hurts';
my ($main, $own) = map { env_of(from($_, '/index.php')->{body}) } qw(first.example own.example);
is_deeply [@$main{qw(WHO ONLY PHP_FCGI_CHILDREN)}], [qw(main main 0)], 'FcgidInitialEnv and FcgidCmdOptions';
is_deeply [@$own{qw(WHO ONLY PHP_FCGI_CHILDREN)}], [qw(own main 0)], 'a virtual host that says something has a pool of its own';
is $h->request(POST => '/virtual?do=sum', body => 'x' x 100000)->{status}, 200, 'FcgidMaxRequestLen';
is $h->request(POST => '/virtual?do=sum', body => 'x' x 100001)->{status}, 413, 'and beyond';
my $chunks = "POST /virtual?do=sum HTTP/1.1\r\nHost: own.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
like $h->raw($chunks . "28\r\n" . 'x' x 40 . "\r\n0\r\n\r\n"), qr{^HTTP/1.1 200.*\n40 }s, 'in chunks';
like $h->raw($chunks . "40\r\n" . 'x' x 64 . "\r\n0\r\n\r\n"), qr{^HTTP/1.1 413}, 'the virtual host\'s own limit';
my %pool = map { ("$_->{name} " . ($_->{vhost} // '')) => $_ } @{$h->status->{pools}};
ok exists $pool{'fcgid-php-cgi '} && exists $pool{"fcgid-php-cgi own.example:" . $h->port}, 'pools by the name of the program' or diag join ', ', keys %pool;
is $pool{'fcgid-php-cgi '}{processes_max} // $pool{'fcgid-php-cgi '}{max}, 2, 'FcgidCmdOptions MaxProcesses';
my @before = sort $h->workers;
$h->graceful;
like $h->get('/')->{body}, qr/^hello from php/, 'after graceful';
is_deeply [sort $h->workers], \@before, 'the same processes';
$h->restart;
like $h->get('/p/app.fcgi')->{body}, qr/^hello from c/, 'after restart';
is scalar(() = $h->log =~ /FPM0690.*FcgidOutputBufferSize/g), $h->generations, 'one warning for each reading';
$h->stop;

# --- .htaccess chooses the handler, and no program ---
$h = Fcgipm->httpd(expect_log => [qr/FcgidWrapper|FcgidIOTimeout/], conf => <<"EOC");
FcgiCompat On
FcgidWrapper /usr/bin/php-cgi .php
<Directory "\@ROOT\@/htdocs">
    Options +ExecCGI
    AllowOverride FileInfo
</Directory>
<Location "/some">
    SetHandler fcgipm-script
</Location>
EOC
$docs = $h->root . '/htdocs';
mkdir "$docs/$_" for qw(a b c);
system 'cp', "$apps/actor.php", "$docs/$_/" for qw(a b c);
spit "$docs/a/.htaccess", "AddHandler fcgid-script .php\n";
spit "$docs/b/.htaccess", "FcgidWrapper $actor .php\n";
spit "$docs/c/.htaccess", "FcgidIOTimeout 1\n";
is $h->get('/c/actor.php')->{status}, 500, 'a value in .htaccess is refused';
ok $h->log_has(qr/FcgidIOTimeout: not in \.htaccess/), 'and the log says where it goes';
like $h->get('/a/actor.php')->{body}, qr/^hello from php/, 'AddHandler in .htaccess: the server\'s wrapper';
like +(Fcgipm->configtest(conf => "FcgiCompat On\nFcgidWrapper /nowhere/at/all .x\n"))[1], qr{FPM0661: \S+:\d+: <FcgiServer fcgid-all>, made by FcgiCompat: FcgiCommand /nowhere/at/all: there is no such file}, 'a program that is not there';
unlike +(Fcgipm->configtest(conf => "FcgiCompat On\nFastCgiExternalServer /x -host 127.0.0.1:9\n"))[1], qr/FPM0680/, 'nothing means nothing that nobody has said';
is $h->get('/b/actor.php')->{status}, 500, 'FcgidWrapper in .htaccess is refused';
ok $h->log_has(qr/FcgidWrapper: not in \.htaccess.*FcgiWrapper/), 'with the way out';
$h->stop;

# --- SuexecUserGroup ---
SKIP: {
    skip 'needs root and mod_suexec', 20 if $> || !-e "$modules/mod_suexec.so";
    my $root = Fcgipm::suexec_root() // skip 'there is no suexec, or it has no document root', 20;
    skip 'suexec has no document root', 20 unless -d $root;
    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
    my $www = (getpwnam 'www-data')[2];
    my $user = sub { return Fcgipm::proc_file($_[0] // 0, 'status') =~ /^Uid:\s+(\d+)\s/m ? $1 : -1 };
    # As with mod_fcgid: the program belongs to the user and lies below suexec's document root.
    my $web = File::Temp::tempdir("$root/fcgipm-XXXXXX", CLEANUP => 1);
    system 'cp', $actor, "$web/$_" for qw(wrapper.fcgi static.fcgi);
    chown $uid, $gid, $web, map { "$web/$_" } qw(wrapper.fcgi static.fcgi);
    chmod 0755, $web, map { "$web/$_" } qw(wrapper.fcgi static.fcgi);
    my $conf = <<"EOC";
FcgiCompat On
AddHandler fcgid-script .fcgi .x .y
<Directory "\@ROOT\@/htdocs">
    Options +ExecCGI
</Directory>
FcgidWrapper $actor .x
FcgidWrapper $actor .y
FcgidInitialEnv HTTP_KEPT 1
FcgidInitialEnv DROPPED 1
FastCgiWrapper On
<VirtualHost *:\@PORT\@>
    ServerName first
    SuexecUserGroup nobody #$gid
    FcgidWrapper $web/wrapper.fcgi .x
    FastCgiServer $web/static.fcgi -processes 1
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName second
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName third
    Alias "/static.fcgi" "$web/static.fcgi"
    <Location "/static.fcgi">
        SetHandler fastcgi-script
        Options +ExecCGI
        Require all granted
    </Location>
    SuexecUserGroup nobody #$gid
    FastCgiServer $web/static.fcgi -processes 1
</VirtualHost>
EOC
    my $prepare = sub { system 'cp', $actor, $h->root . "/htdocs/app.$_" for qw(fcgi x y) };
    my $of = sub { my ($host, $path) = @_; my ($pid) = $h->raw("GET $path HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n") =~ /pid (\d+)/; return $pid };
    $h = Fcgipm->httpd(modules => ['suexec'], expect_log => [qr/FPM0693/, qr/AH01232/, qr/FPM0302.*suexec/, qr/FPM031[67]/, qr/FPM060\d/], conf => $conf);
    $prepare->();
    my $pid = $of->('first', '/app.x');
    is $user->($pid), $uid, 'a wrapper runs as SuexecUserGroup';
    my $env = Fcgipm::proc_file($pid // 0, 'environ');
    like $env, qr/(?:^|\0)HTTP_KEPT=1\0/, 'through suexec, which lets some variables through';
    unlike $env, qr/DROPPED|(?:^|\0)FCGIPM_POOL/, 'and others not';
    is $user->($of->('third', '/static.fcgi')), $uid, 'FastCgiWrapper On: so does an application of mod_fastcgi';
    is $user->($of->('second', '/app.x')), $www, 'and in a virtual host without it as httpd\'s user';
    ok !$of->('first', '/app.y'), 'a program that suexec refuses does not run';
    ok $h->wait_log(qr/FPM0316: pool fcgid\S* .*exited with code 114 .*suexec refuses it: the program is not below its document root/, 5), 'and the log says why';
    is $h->get('/app.fcgi')->{status}, 500, 'a script that would run as httpd\'s user does not';
    ok $h->log_has(qr/FPM0693.*SuexecUserGroup says uid/), 'and the log says why';
    $h->stop;
}

# --- mod_fastcgi ---
my $dir = File::Temp::tempdir('/tmp/fcgipm-ext-XXXXXXXX', CLEANUP => 1);
chmod 0755, $dir;
mkdir "$dir/bin";
system 'cp', $actor, "$dir/bin/$_" for qw(static.fcgi dynamic.fcgi);
my @external = (Fcgipm::external("$dir/app.sock", $actor), Fcgipm::external("$dir/php.sock", '/usr/bin/php-cgi'));
$h = Fcgipm->httpd(modules => ['actions'], conf => <<"EOC");
FcgiCompat On
<VirtualHost *:\@PORT\@>
    ServerName says-nothing
</VirtualHost>
<IfModule mod_fastcgi.c>
    FastCgiServer $dir/bin/static.fcgi -processes 2 -initial-env WHO=static -idle-timeout 20 -priority 5
    FastCgiExternalServer \@ROOT\@/htdocs/app.fcgi -socket $dir/app.sock -pass-header Authorization
    AddHandler fastcgi-script .fcgi
    Alias "/bin/" "$dir/bin/"
    <Directory "$dir/bin">
        Options +ExecCGI
        Require all granted
    </Directory>
    # The shape that everybody had for php-fpm.
    AddHandler php-fcgi .php
    Action php-fcgi /php-fcgi virtual
    Alias /php-fcgi $dir/bin/php-fcgi
    FastCgiExternalServer $dir/bin/php-fcgi -socket $dir/php.sock
</IfModule>
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
$docs = $h->root . '/htdocs';
system 'cp', "$apps/actor.php", "$docs/";
wait_for { $h->workers('fastcgi-static.fcgi') == 2 } 10, 'two processes before the first request';
my $s = $h->get('/bin/static.fcgi/more');
like $s->{body}, qr/^hello from c/, 'FastCgiServer';
is env_of($s->{body})->{WHO}, 'static', '-initial-env';
is +(split ' ', Fcgipm::proc_file($s->{body} =~ /pid (\d+)/, 'stat') =~ s/^.*\) //sr)[16], 5, '-priority';
is_deeply [sort map { $_->{name} } @{$h->status->{pools}}], [qw(fastcgi-app.fcgi fastcgi-php-fcgi fastcgi-static.fcgi)],
    'a virtual host that says nothing has the main server\'s';
like $h->get('/bin/dynamic.fcgi')->{body}, qr/^hello from c/, 'a program without a line of its own';
my $x = $h->get('/app.fcgi/some/path?do=env', headers => [Authorization => 'Basic eA==']);
is $x->{status}, 200, 'FastCgiExternalServer for a file that is not there';
like $x->{body}, qr{^SCRIPT_NAME=/app\.fcgi$}m, 'SCRIPT_NAME';
like $x->{body}, qr{^PATH_INFO=/some/path$}m, 'PATH_INFO';
like $x->{body}, qr{^HTTP_AUTHORIZATION=Basic eA==$}m, '-pass-header';
my $p = $h->get('/actor.php?do=env');
is $p->{status}, 200, 'Action, Alias and FastCgiExternalServer' or diag $h->log;
like $p->{body}, qr{^SCRIPT_FILENAME=\Q$docs\E/actor\.php$}m, 'php knows which script is meant' or diag $p->{body};
like $p->{body}, qr{^SCRIPT_NAME=/actor\.php$}m, 'and by which name';
$h->stop;
kill TERM => @external;
waitpid $_, 0 for @external;
done_testing;
