# SPDX-License-Identifier: Apache-2.0
# Each configuration in conf/ is accepted as it is, with its Defines set to what is here; and the examples serve a request.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp ();
use Fcgipm;

need('php-cgi');
my $actor = app_built('actor.c');
my $go = app_built('actor.go');
my $apps = Fcgipm::apps_dir();

# What the examples take from outside.
my %define = (
    PHP_CGI => '/usr/bin/php-cgi', PHP_ROOT => '@ROOT@/htdocs', WP_PORT => '@PORT@', WP_ROOT => '@ROOT@/htdocs', WP_NAME => 'localhost',
    PERL_APP => "$apps/actor.pl", PERL_DIR => $apps, PERL_URL => '/perl', C_APP => $actor, C_DIR => $apps, C_URL => '/c', GO_APP => $go, GO_DIR => $apps, GO_URL => '/go',
    PYTHON_APP => $actor, PYTHON_DIR => $apps, PYTHON_URL => '/python', RUBY_APP => $actor, RUBY_DIR => $apps, RUBY_URL => '/ruby',
    PERL => '/usr/bin/perl', PYTHON => '/usr/bin/perl', RUBY => '/usr/bin/perl', FCGIPM_LOG => '@ROOT@/requests.log',
    SHOP_APP => $actor, SHOP_DIR => $apps, LIMITS_APP => $actor, LIMITS_DIR => $apps,
    SCRIPT_URL => '/scripts', SCRIPT_DIR => '@ROOT@/scripts', FPM_ROOT => '@ROOT@/htdocs', FPM_SOCKET => '@ROOT@/fpm.sock', LOG_DIR => '@ROOT@',
    CUSTOMERS => '@ROOT@/customers',
);
sub defines {
    my ($file) = @_;
    open my $f, '<', $file or die "$file: $!";
    my %names = map { /^\s*Define\s+(\w+)\s+(\S+)/ ? ($1 => $2) : () } <$f>;
    my $text = '';
    for my $name (sort keys %names) {
        my $value = $define{$name} // guess($name, $names{$name});
        $text .= "Define $name \"$value\"\n" if defined $value;
    }
    return $text;
}
# Defines that this test does not know: programs become the actor, directories exist, the rest stays.
sub guess {
    my ($name, $default) = @_;
    return $actor if $default =~ m{^/.*\.(?:fcgi|pl|py|rb)$|/bin/};
    return $apps if $default =~ m{^/} && $name =~ /DIR|ROOT|HOME/;
    return undef;
}

for my $file ('conf/fcgipm.conf', grep { !$> || !/mass-hosting/ } sort glob 'conf/examples/*.conf') {
    my ($status, $output) = Fcgipm->configtest(modules => ['proxy'], conf => defines($file) . "Include \@TOP\@/$file\n");
    is $status, 0, "$file is accepted" or diag $output;
    if ($file =~ /php\.conf$/) {
        ($status, $output) = Fcgipm->configtest(conf => "Define PHP_SHARED\n" . defines($file) . "Include \@TOP\@/$file\n");
        is $status, 0, "$file with PHP_SHARED" or diag $output;
    }
}

# What is installed for people to read: each page finds the ones that it names.
{
    my $to = File::Temp::tempdir(CLEANUP => 1);
    my $doc = "$to/usr/share/doc/mod_fcgipm";
    my $said = `make -s -f Makefile.apxs install-docs DESTDIR=$to 2>&1`;
    is $?, 0, 'the documentation is installed' or diag $said;
    ok -e "$doc/$_", "$_ is there" for 'README.md', 'LICENSE', 'conf/DIRECTIVES.md', glob 'conf/examples/*.conf';
    for my $page (glob "$doc/*.md $doc/*/*.md") {
        my $text = do { local $/; open my $f, '<', $page or die "$page: $!"; <$f> };
        my ($dir) = $page =~ m{(.*)/};
        # (the source code itself is not installed)
        my @lost = grep { !-e "$dir/$_" } grep { !m{^https?:|^(?:\.\./)?(?:modules|t|conf/demo)/} } map { s/#.*//r } $text =~ /\]\(([^)#][^)\s]*)\)/g;
        is_deeply \@lost, [], substr($page, length $doc) . ' names only pages that are there';
    }
}

# What the pages show is accepted as it is pasted, but for the program and the user, which are not here.
for my $page ('README.md', 'conf/OPERATING.md', glob 'docs/*.md') {
    my $text = do { local $/; open my $f, '<', $page or die "$page: $!"; <$f> };
    my $n = 0;
    while ($text =~ /^```apache\n(.*?)^```/msg) {
        my $conf = $1;
        $conf =~ s/^LoadModule fcgipm_module.*\n//mg;
        $conf =~ s/^(\s*FcgiCommand\s+)\/srv\S+/$1$actor/mg;
        $conf =~ s/^(\s*Fcgi(?:User|UserLimit)\s+)[a-z]\w*/$> ? "$1" . getpwuid($>) : "$1nobody"/meg;
        $conf =~ s/py-spy/env/;
        $conf = "<FcgiServer some>\n    FcgiCommand $actor\n$conf</FcgiServer>\n" if $conf =~ /^Fcgi(?:Limit|Priority|SlowLog)/m;
        my ($status, $output) = Fcgipm->configtest(conf => $conf);
        is $status, 0, "$page, part " . ++$n or diag $conf, $output;
    }
}

# The path at which an example answers, and what it says.
my %serves = (
    c => ['C_URL', qr/^hello from c/], perl => ['PERL_URL', qr/^hello from perl/], go => ['GO_URL', qr/^hello from go/],
    php => ['/actor.php', qr/^hello from php/], 'script-on-disk' => ['/scripts/actor.fcgi', qr/^hello from c/], wordpress => ['/actor.php', qr/^hello from php/],
    operations => ['/shop', qr/^hello from c/], limits => ['/customer', qr/^hello from c/],
    $> ? () : ('mass-hosting' => ['/~shop/actor.php', qr/^hello from php/]),
);
for my $name (sort keys %serves) {
    my ($path, $like) = @{$serves{$name}};
    my $file = "conf/examples/$name.conf";
    my $text = do { local $/; open my $f, '<', $file or die; <$f> };
    if ($path !~ m{^/}) {
        ($path) = $text =~ m{<Location\s+"?([^">]+)"?>};
        $path = $define{$1} // do { my ($v) = $text =~ /Define\s+\Q$1\E\s+(\S+)/; $v } if $path =~ /^\$\{(\w+)\}/;
    }
    for my $variant ($name eq 'php' ? ('', "Define PHP_SHARED\n") : '') {
        my $h = Fcgipm->httpd(conf => $variant . defines($file) . "Include \@TOP\@/$file\n");
        mkdir $h->root . '/scripts';
        system 'cp', "$apps/actor.php", $h->root . '/htdocs/';
        system 'cp', $actor, $h->root . '/scripts/actor.fcgi';
        if ($name eq 'mass-hosting') {
            my $dir = $h->root . '/customers/shop';
            system "mkdir -p $dir/www && cp $apps/actor.php $dir/www/ && chown -R nobody $dir";
        }
        my $r = $h->get($path);
        is $r->{status}, 200, "$file: $path answers" or diag $h->log;
        like $r->{body}, $like, 'and is the application';
        if ($name eq 'mass-hosting') {
            my $www = $h->root . '/customers/shop/www';
            my ($said) = $text =~ /^(# +<Files "\*\.php">\n.*?^# +<\/Files>\n)/ms;
            open my $f, '>', "$www/.htaccess" or die;
            print {$f} $said =~ s/^# +//mgr;
            close $f;
            open $f, '>', "$www/memory.php" or die;
            print {$f} '<?php echo ini_get("memory_limit");';
            close $f;
            system 'chown', '-R', 'nobody', $www;
            is $h->get('/~shop/memory.php')->{body}, '512M', 'a customer chooses the other command in his .htaccess';
        }
        $h->stop;
    }
}
done_testing;
