# SPDX-License-Identifier: Apache-2.0
# What the application is told (RFC 3875 section 4.1), for each way to get to it: mount point, pattern with prefix=,
# handler, extension, script on disk; and what it must never be told.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;

need('php-cgi');
my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM0662/, qr/FPM0664/, qr/FPM0665/, qr/FPM0666/, qr/FPM0672/, qr/FPM0667/, qr/FPM0668/, qr/FPM0669/],
    modules => ['auth_basic', 'authn_file', 'authn_core', 'authz_user', 'include'],
    conf => <<"EOC");
ServerName www.example.org:\@PORT\@
UseCanonicalName On
<FcgiServer c>
    FcgiCommand $actor
</FcgiServer>
<FcgiServer php>
    FcgiCommand /usr/bin/php-cgi
</FcgiServer>
<Location "/app">
    FcgiPass c
</Location>
<Location "/app/deeper">
    FcgiPass c
</Location>
<LocationMatch "^/match/[0-9]+">
    FcgiPass c prefix=/match
</LocationMatch>
<LocationMatch "^/other/[0-9]+">
    FcgiPass c prefix=/wrong
</LocationMatch>
<Location "/handler">
    SetHandler fcgipm:c
</Location>
<Location "/auth">
    FcgiPass c
    CGIPassAuth On
</Location>
<Location "/login">
    FcgiPass c
    AuthType Basic
    AuthName x
    AuthBasicProvider file
    AuthUserFile \@ROOT@/users
    Require valid-user
</Location>
<Location "/none">
    FcgiPass c
</Location>
<Location "/none/static">
    FcgiPass None
</Location>
<FilesMatch "\\.php\$">
    SetHandler fcgipm:php
</FilesMatch>
SetEnvIf Request_URI "setenv" COLOUR=blue
<Directory "\@ROOT@/htdocs">
    AllowOverride All
    Options +ExecCGI +Includes
    AcceptPathInfo On
    DirectoryIndex index.html index.php
</Directory>
<Directory "\@ROOT@/htdocs/nopathinfo">
    AcceptPathInfo Off
</Directory>
<Directory "\@ROOT@/htdocs/noexec">
    Options -ExecCGI
</Directory>
<Directory "\@ROOT@/htdocs/indir">
    FcgiPass php
    FallbackResource /indir/front.php
</Directory>
AddHandler fcgipm-script .fpl
AddOutputFilter INCLUDES .shtml
RewriteEngine On
RewriteRule ^/rewritten/(.*) /app/\$1?do=env&from=rewrite [PT]
EOC

my $htdocs = $h->root . '/htdocs';
sub file {
    my ($name, $text, $mode) = @_;
    my $path = "$htdocs/$name";
    (my $dir = $path) =~ s{/[^/]*$}{};
    system 'mkdir', '-p', $dir;
    open my $fh, '>', $path or die "$path: $!";
    print {$fh} $text;
    close $fh;
    chmod $mode // 0644, $path;
}
my $php = '<?php header("Content-Type: text/plain"); foreach ($_SERVER as $k => $v) if (is_string($v)) echo "$k=$v\n";';
file($_, $php) for qw(a.php dir/index.php nopathinfo/a.php indir/real.php indir/front.php), 'with space.php';
file('indir/static.txt', 'static');
file('none/static/file.txt', 'static');
file('static.txt', 'static');
file('noexec/s.fpl', '');
file('page.shtml', '[<!--#include virtual="/app/inner?do=env" -->]');
file('users/.htaccess', "SetHandler fcgipm:c\n");
file('users/file.txt', 'x');
file('rewrite/.htaccess', "RewriteEngine On\nRewriteRule ^pretty/(.*) /a.php/\$1 [QSA]\n");
file('rewriteh/.htaccess', "RewriteEngine On\nRewriteRule ^(.*)\\.x\$ - [H=fcgipm:c]\n");
file('rewriteh/f.x', 'x');
system 'cp', app_built('script.pl'), "$htdocs/s.fpl";
system 'cp', app_built('actor_lib.pl'), "$htdocs/actor_lib.pl" if -e 't/apps/actor_lib.pl';
chmod 0755, "$htdocs/s.fpl";
symlink "$htdocs/s.fpl", "$htdocs/link.fpl";
system 'cp', "$htdocs/s.fpl", "$htdocs/plain.fpl";
chmod 0644, "$htdocs/plain.fpl";
chmod 0755, $htdocs;
{
    open my $users, '>', $h->root . '/users' or die;
    print {$users} 'jane:' . crypt('secret', 'ab') . "\n";
}

sub env_of {
    my ($path, %opt) = @_;
    my $r = $h->request($opt{method} // 'GET', $path, %opt);
    is $r->{status}, 200, "$path answers" or diag explain $r;
    return {map { /^([^=]+)=(.*)$/s ? ($1 => $2) : () } split /\n/, $r->{body}};
}
sub says {
    my ($env, %want) = @_;
    for my $name (sort keys %want) {
        is $env->{$name}, $want{$name}, "$name is " . ($want{$name} // 'not there');
    }
}

subtest 'mount point' => sub {
    says env_of('/app?do=env'), SCRIPT_NAME => '/app', PATH_INFO => undef, PATH_TRANSLATED => undef, SCRIPT_FILENAME => undef,
        QUERY_STRING => 'do=env', REQUEST_URI => '/app?do=env', REQUEST_METHOD => 'GET', GATEWAY_INTERFACE => 'CGI/1.1',
        SERVER_PROTOCOL => 'HTTP/1.1', SERVER_NAME => 'www.example.org', SERVER_PORT => $h->port, REMOTE_ADDR => '127.0.0.1',
        CONTENT_LENGTH => undef, CONTENT_TYPE => undef, HTTPS => undef;
    says env_of('/app/?do=env'), SCRIPT_NAME => '/app', PATH_INFO => '/';
    says env_of('/app/x/y%20z/?do=env'), SCRIPT_NAME => '/app', PATH_INFO => '/x/y z/', PATH_TRANSLATED => "$htdocs/x/y z/";
    says env_of('/app/deeper/x?do=env'), SCRIPT_NAME => '/app/deeper', PATH_INFO => '/x';
    says env_of('/app//x?do=env'), SCRIPT_NAME => '/app';
    is $h->get('/application')->{status}, 404, '/application is not below /app';
};
subtest 'pattern' => sub {
    says env_of('/match/12/x?do=env'), SCRIPT_NAME => '/match', PATH_INFO => '/12/x';
    is $h->get('/other/1')->{status}, 500, 'a prefix that does not fit is an error';
    ok $h->log_has(qr/FPM0669: \/other\/1 is not below prefix=\/wrong/), 'and says so';
};
subtest 'handler' => sub {
    says env_of('/handler/x?do=env'), SCRIPT_NAME => '/handler', PATH_INFO => '/x';
};
subtest 'file' => sub {
    says env_of('/a.php'), SCRIPT_NAME => '/a.php', PATH_INFO => undef, SCRIPT_FILENAME => "$htdocs/a.php", DOCUMENT_ROOT => $htdocs;
    says env_of('/a.php/x/y?q=1'), SCRIPT_NAME => '/a.php', PATH_INFO => '/x/y', PATH_TRANSLATED => "$htdocs/x/y",
        SCRIPT_FILENAME => "$htdocs/a.php", QUERY_STRING => 'q=1', PHP_SELF => '/a.php/x/y';
    says env_of('/with%20space.php'), SCRIPT_NAME => '/with space.php', SCRIPT_FILENAME => "$htdocs/with space.php";
    says env_of('/dir/'), SCRIPT_NAME => '/dir/index.php', REQUEST_URI => '/dir/';
    is $h->get('/nopathinfo/a.php')->{status}, 200, 'AcceptPathInfo Off: the file';
    is $h->get('/nopathinfo/a.php/x')->{status}, 404, 'AcceptPathInfo Off: no path info';
    is $h->get('/missing.php')->{status}, 404, 'a script that is not there is 404';
    is $h->get('/static.txt')->{body}, 'static', 'other files are httpd\'s';
};
subtest 'directory' => sub {
    says env_of('/indir/real.php'), SCRIPT_NAME => '/indir/real.php';
    says env_of('/indir/no/such/thing'), SCRIPT_NAME => '/indir/front.php', REQUEST_URI => '/indir/no/such/thing';
};
subtest 'script on disk' => sub {
    says env_of('/s.fpl/x?do=env'), SCRIPT_NAME => '/s.fpl', PATH_INFO => '/x', SCRIPT_FILENAME => "$htdocs/s.fpl";
    is $h->get('/noexec/s.fpl')->{status}, 403, 'not without ExecCGI';
    is $h->get('/plain.fpl')->{status}, 403, 'not what is not executable';
    is $h->get('/link.fpl')->{status}, 403, 'not by a symbolic link';
};
subtest 'None' => sub {
    says env_of('/none/x?do=env'), SCRIPT_NAME => '/none';
    is $h->get('/none/static/file.txt')->{body}, 'static', 'FcgiPass None gives a place back';
};
subtest 'rewriting, subrequests, redirects' => sub {
    says env_of('/rewritten/x'), SCRIPT_NAME => '/app', PATH_INFO => '/x', REQUEST_URI => '/rewritten/x';
    says env_of('/rewrite/pretty/x?k=v'), SCRIPT_NAME => '/a.php', PATH_INFO => '/x', QUERY_STRING => 'k=v',
        REQUEST_URI => '/rewrite/pretty/x?k=v', PATH_TRANSLATED => "$htdocs/x", REDIRECT_STATUS => 200;
    my $page = $h->get('/page.shtml')->{body};
    like $page, qr/^\[.*^SCRIPT_NAME=\/app$/ms, 'an SSI include';
    like $page, qr/^PATH_INFO=\/inner$/m, 'with its own path';
};
subtest 'headers' => sub {
    my $env = env_of('/app?do=env', headers => [
        'Proxy' => 'evil:80', 'X_Under' => 'evil', 'X-Under' => 'good', 'X.Dot' => 'evil', 'X-Real' => 'a', 'X-Real' => 'b',
        'Authorization' => 'Basic abc', 'Proxy-Authorization' => 'x', 'Cookie' => 'a=b; c=d', 'Content-Type' => 'text/odd']);
    says $env, HTTP_PROXY => undef, HTTP_X_UNDER => 'good', HTTP_X_DOT => undef, HTTP_X_REAL => 'a, b',
        HTTP_AUTHORIZATION => undef, HTTP_COOKIE => 'a=b; c=d', CONTENT_TYPE => 'text/odd', HTTP_CONTENT_TYPE => undef;
    ok !(grep { /X\.DOT|[a-z]/ } grep { /^HTTP_/ } keys %$env), 'no odd names';
    says env_of('/auth?do=env', headers => ['Authorization' => 'Basic abc']), HTTP_AUTHORIZATION => 'Basic abc';
    says env_of('/login?do=env', headers => ['Authorization' => 'Basic amFuZTpzZWNyZXQ=']), REMOTE_USER => 'jane', AUTH_TYPE => 'Basic',
        HTTP_AUTHORIZATION => undef;
    my $long = 'v' x 8000;
    says env_of('/app?do=env', headers => [map { ("X-Long-$_" => $long) } 1 .. 20]), map { ("HTTP_X_LONG_$_" => $long) } 1 .. 20;
    says env_of('/app/setenv?do=env'), COLOUR => 'blue';
    ok $env->{UNIQUE_ID}, 'UNIQUE_ID of mod_unique_id';
};
subtest 'methods and lengths' => sub {
    says env_of('/app?do=env', method => 'POST', body => ''), REQUEST_METHOD => 'POST', CONTENT_LENGTH => 0;
    says env_of('/app?do=env', method => 'PUT', body => 'abc'), REQUEST_METHOD => 'PUT', CONTENT_LENGTH => 3;
    says env_of('/app?do=env', method => 'PROPFIND'), REQUEST_METHOD => 'PROPFIND', CONTENT_LENGTH => undef;
    says env_of('/app?do=env', http => '1.0'), SERVER_PROTOCOL => 'HTTP/1.0';
};
subtest 'an .htaccess cannot choose an application' => sub {
    is $h->get('/users/file.txt')->{status}, 403, 'SetHandler in .htaccess';
    ok $h->log_has(qr/FPM0668: the server's configuration does not open application c to this place.*users/), 'and the log says why';
    is $h->get('/rewriteh/f.x')->{status}, 403, 'RewriteRule [H=] in .htaccess';
    ok $h->log_has(qr/FPM0668/), 'and the log says why';
};
$h->stop;
done_testing;
