# A real WordPress (Debian's package) through php-cgi under the module, with MariaDB: it installs, logs in, and takes a
# 20 MB upload that comes back byte for byte. Slow and large, so only with FCGIPM_SLOW=1 (make -f Makefile.apxs check-slow).
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Digest::MD5;
use File::Temp qw(tempdir);
use Fcgipm;

plan skip_all => 'slow: set FCGIPM_SLOW=1' unless $ENV{FCGIPM_SLOW};
plan skip_all => 'needs packages wordpress, mariadb-server, php-mysql'
    unless -d '/usr/share/wordpress' && -x '/usr/sbin/mariadbd';
plan skip_all => 'needs root, to run as other users' if $>;

my $dir = tempdir('/tmp/fcgipm-wp-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my $db_pid;
END { if ($db_pid) { my $st = $?; kill TERM => $db_pid; waitpid $db_pid, 0; $? = $st } }

sub database {
    my $data = "$dir/db";
    mkdir $data;
    chown +(getpwnam 'mysql')[2, 3], $data;
    system("mariadb-install-db --no-defaults --user=mysql --datadir=$data --auth-root-authentication-method=normal "
            . ">$dir/db.log 2>&1") == 0
        or die "mariadb-install-db failed:\n" . `tail $dir/db.log`;
    $db_pid = fork // die "fork: $!";
    if (!$db_pid) {
        open STDOUT, '>>', "$dir/db.log";
        open STDERR, '>&', \*STDOUT;
        exec '/usr/sbin/mariadbd', '--no-defaults', '--user=mysql', "--datadir=$data", "--socket=$data/s",
            '--skip-networking', "--pid-file=$data/pid";
    }
    my $end = time + 30;
    until (system("mariadb -uroot --socket=$data/s -e 'create database wp; grant all on wp.* to wp\@localhost identified by \"wp\"' >>$dir/db.log 2>&1") == 0) {
        die "mariadbd does not answer:\n" . `tail $dir/db.log` if time > $end;
        select undef, undef, undef, 0.2;
    }
    return "$data/s";
}

my $socket = database();
system("cp -rL /usr/share/wordpress $dir/site") == 0 or die 'cp';
unlink "$dir/site/wp-config.php";
open my $fh, '>', "$dir/site/wp-config.php" or die $!;
print $fh <<"PHP";
<?php
define('DB_NAME', 'wp'); define('DB_USER', 'wp'); define('DB_PASSWORD', 'wp'); define('DB_HOST', 'localhost:$socket');
define('DB_CHARSET', 'utf8mb4'); define('WP_HTTP_BLOCK_EXTERNAL', true); define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true); define('FS_METHOD', 'direct');
foreach (['AUTH_KEY','SECURE_AUTH_KEY','LOGGED_IN_KEY','NONCE_KEY','AUTH_SALT','SECURE_AUTH_SALT','LOGGED_IN_SALT','NONCE_SALT'] as \$k) define(\$k, 'test only ' . \$k);
\$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
PHP
close $fh;
system("rm -rf $dir/site/wp-content/uploads; mkdir -p $dir/site/wp-content/uploads; chown -R www-data: $dir/site");

my $server = Fcgipm->httpd(expect_log => [qr{FPM0621.*PHP (?:Warning|Notice|Deprecated)}], conf => <<"CONF");
<FcgiServer wordpress>
    FcgiCommand   /usr/bin/php-cgi -d upload_max_filesize=64M -d post_max_size=64M -d sendmail_path=/bin/true
    FcgiEnv       PHP_FCGI_MAX_REQUESTS 20
    FcgiProcesses 2 4
    FcgiDirectory $dir/site
</FcgiServer>
<Directory "$dir/site">
    Require all granted
    AllowOverride All
    DirectoryIndex index.php
    <FilesMatch "\\.php\$">
        SetHandler fcgipm:wordpress
    </FilesMatch>
</Directory>
Alias "/wp" "$dir/site"
CONF
my $base = $server->url('/wp');

my $jar = "$dir/cookies";
sub curl {
    my @args = @_;
    open my $out, '-|', 'curl', '-sS', '--max-time', 60, '-b', $jar, '-c', $jar, @args or die "curl: $!";
    local $/;
    my $text = <$out>;
    close $out;
    is $?, 0, "curl $args[-1]";
    return $text;
}

like curl('-d', 'weblog_title=Shared+host&user_name=admin&admin_password=s3cret-Pass&admin_password2=s3cret-Pass&pw_weak=1'
        . '&admin_email=a%40example.org&Submit=Install&language=', "$base/wp-admin/install.php?step=2"),
    qr/Success!/, 'it installs';
like curl("-L", "$base/"), qr/Shared host/, 'the front page has the title';

curl('-L', '-d', 'log=admin&pwd=s3cret-Pass&wp-submit=Log+In&testcookie=1', '-b', 'wordpress_test_cookie=WP%20Cookie%20check',
    "$base/wp-login.php");
like curl('-L', "$base/wp-admin/"), qr/Dashboard/, 'it logs in';

my $page = curl("$base/wp-admin/media-new.php");
my ($nonce) = $page =~ /_wpnonce"?\s*:\s*"([0-9a-f]+)"/;
($nonce) = $page =~ /name="_wpnonce" value="([0-9a-f]+)"/ unless $nonce;
ok $nonce, 'the upload form has a nonce';

my $big = "$dir/big.jpg.zip";
open $fh, '>:raw', $big or die $!;
srand 42;
print $fh pack 'L*', map { int rand 2**32 } 1 .. 262144 for 1 .. 20;
close $fh;
sub md5_of { my $f = shift; open my $h, '<:raw', $f or die "$f: $!"; Digest::MD5->new->addfile($h)->hexdigest }

my $answer = curl('-F', 'name=big.zip', '-F', 'action=upload-attachment', '-F', "_wpnonce=$nonce",
    '-F', "async-upload=\@$big;filename=big.zip;type=application/zip", "$base/wp-admin/async-upload.php");
like $answer, qr/"success":true/, 'a 20 MB upload is taken';
my ($url) = $answer =~ /"url":"([^"]+)"/;
$url =~ s{\\/}{/}g;
curl('-o', "$dir/back", $url);
is md5_of("$dir/back"), md5_of($big), 'and comes back byte for byte';

$server->stop;
done_testing;
