# SPDX-License-Identifier: Apache-2.0
# Wrong directives: configtest fails, and the sentence names file and line, the directive, the value, and what would be
# right. What a pool means, private and shared; quoting; names of pools.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;

my $actor = app_built('actor.c');
my $block = sub { "<FcgiServer app>\n    FcgiCommand $actor\n@_\n</FcgiServer>\n" };

sub good { my ($what, $conf) = @_; my ($status, $output) = Fcgipm->configtest(conf => $conf); is $status, 0, "good: $what" or diag $output }
sub bad {
    my ($what, $conf, @like) = @_;
    my ($status, $output) = Fcgipm->configtest(conf => $conf);
    isnt $status, 0, "bad: $what";
    like $output, $_, 'it says ' . $_ for @like;
    like $output, qr{httpd\.conf(?: of |:\d|.*line \d)|on line \d+ of}, 'and where' or diag $output;
}

good 'all of them', $block->(<<'EOC');
    FcgiUser www-data www-data
    FcgiProcesses 0 8
    FcgiConcurrency 4
    FcgiEnv A "b c"
    FcgiPassEnv PATH
    FcgiDirectory /tmp
    FcgiUmask 027
    FcgiKeepConn Off
    FcgiClientAbort Finish
    FcgiQueue length=50
    FcgiTimeout start=10s connect=500ms queue=5 read=1m request=off idle=1h stop=2s
    FcgiHeadLimit 32K
    FcgiRequestBuffer memory=1M
    FcgiQueue threads=Auto
    FcgiTimeout firstbyte=30s
    FcgiRecycle requests=1000 lifetime=1d memory=1G measure=RSS
    FcgiReady Notify
    FcgiProbe /ping?a=b every=10s timeout=1s
    FcgiWatch /srv/restart.txt "/srv/with blank.txt"
    FcgiWatch Command
    FcgiSlowLog 5s /bin/echo one "two words"
EOC
good 'over all', "FcgiMaxWorkers 100\nFcgiMemoryBudget 2G\nFcgiUserMemory 512M\nFcgiUserQueue 200\nFcgiUserThreads Auto\n" . $block->();
good 'and the rest', "FcgiAsync Off\nFcgiResponseMemory 1G\n" . $block->("    FcgiResponseBuffer memory=1M file=0\n    FcgiRequestBuffering Off\n    FcgiSendfile /usr/share \"/tmp\"\n    FcgiSendfile /var/\n");
good 'limits', "FcgiCgroup Off\nFcgiUserLimit www-data memory=1G cpu=150% pids=100\nFcgiUserLimit * pids=0\n" . $block->("    FcgiCgroupLimit memory.max=1G memory.high=900M cpu.max=50%\n    FcgiCgroupLimit cpu.weight=10 pids.max=50 io.weight=500\n");
SKIP: {
    my $mpm = $ENV{FCGIPM_MPM} // 'event';
    my ($status, $said) = Fcgipm->configtest(async => 'On', conf => $block->());
    is $status, 0, 'FcgiAsync On';
    if ($mpm ne 'event') {
        like $said, qr/FPM0678: FcgiAsync On: .*; requests wait in their threads/, 'where it cannot be';
        skip 'no such MPM', 2;
    }
    unlike $said, qr/FPM0678/, 'it can';
    like $said, qr/FPM0679: AsyncRequestWorkerFactor 2 lets few clients wait/, "configtest names httpd's setting that defeats it";
    (undef, $said) = Fcgipm->configtest(async => 'Auto', conf => $block->() . "AsyncRequestWorkerFactor 64\n");
    unlike $said, qr/FPM0679/, 'not when it is enough';
}
good 'a probe without a path', $block->('    FcgiProbe every=1m');
good 'external', "<FcgiServer x>\n    FcgiConnect $_\n</FcgiServer>\n" for 'unix:/run/x.sock', '127.0.0.1:9000', '[::1]:9000', 'localhost:9000';

for my $case (
    ['FcgiProcesses two', qr/FcgiProcesses two/], ['FcgiProcesses 5 2', qr/FcgiProcesses 5 2|min/], ['FcgiProcesses 1 9999', qr/FcgiProcesses.*9999.*256/],
    ['FcgiProcesses', qr/FcgiProcesses/], ['FcgiProcesses 1 2 3', qr/FcgiProcesses/],
    ['FcgiConcurrency 0', qr/FcgiConcurrency 0.*1 and 1024 or Auto/], ['FcgiConcurrency many', qr/FcgiConcurrency many/],
    ['FcgiTimeout read=fast', qr/FcgiTimeout.*read=fast/], ['FcgiTimeout read=10x', qr/read=10x/], ['FcgiTimeout reed=10s', qr/reed/],
    ['FcgiTimeout 10s', qr/FcgiTimeout 10s/], ['FcgiTimeout start=1ms', qr/start=1ms.*100 ?ms/], ['FcgiTimeout read=-5s', qr/read=-5s/],
    ['FcgiQueue length=lots', qr/length=lots/], ['FcgiQueue length=100000', qr/length=100000.*1000/], ['FcgiQueue 5', qr/FcgiQueue 5/],
    ['FcgiUmask 99', qr/FcgiUmask 99/], ['FcgiKeepConn Maybe', qr/FcgiKeepConn Maybe.*On/], ['FcgiClientAbort Never', qr/FcgiClientAbort Never.*Finish/],
    ['FcgiHeadLimit 1', qr/FcgiHeadLimit 1/], ['FcgiHeadLimit 64Q', qr/FcgiHeadLimit 64Q/], ['FcgiRequestBuffer memory=1T', qr/memory=1T/],
    ['FcgiRequestBuffer 1M', qr/FcgiRequestBuffer 1M/], ['FcgiEnv 1=2', qr/FcgiEnv/], ['FcgiEnv', qr/FcgiEnv/],
    ['FcgiNonsense x', qr/FcgiNonsense/], ['DocumentRoot /tmp', qr/DocumentRoot \/tmp: not allowed in <FcgiServer app>/],
    ['FcgiDirectory relative/x', qr/FcgiDirectory relative\/x/], ['FcgiDirectory /nowhere/at/all', qr/FcgiDirectory \/nowhere\/at\/all: there is no such directory/],
    ['FcgiUser nobodyatall', qr/FcgiUser nobodyatall: there is no such user/], ['FcgiUser www-data nogroupatall', qr/nogroupatall: there is no such group/],
    ['FcgiRecycle requests=few', qr/FcgiRecycle requests=few/], ['FcgiRecycle memory=lots', qr/memory=lots/], ['FcgiRecycle 100', qr/FcgiRecycle 100: not known; write: FcgiRecycle requests=number/],
    ['FcgiRecycle measure=VSZ', qr/measure=VSZ.*PSS\|RSS/], ['FcgiReady Soon', qr/FcgiReady Soon.*Auto\|Answer\|Notify/], ['FcgiProbe ping', qr/FcgiProbe ping: not a path/],
    ['FcgiProbe /a /b', qr/wrong arguments; write: FcgiProbe/], ['FcgiProbe /a every=never', qr/every=never/], ['FcgiWatch restart.txt', qr/FcgiWatch restart\.txt: not a full path/],
    ['FcgiSlowLog soon', qr/FcgiSlowLog soon: not a time/], ['FcgiSlowLog 5s py-spy', qr/FcgiSlowLog \.\.\. py-spy: not a full path/],
    ['FcgiSlowLog 5s /nowhere/spy', qr{FcgiSlowLog \.\.\. /nowhere/spy: there is no such program}], ['FcgiQueue threads=all', qr/threads=all/],
    ['FcgiMaxWorkers 5', qr/FcgiMaxWorkers holds for the whole server; write it outside of <FcgiServer app>/], ['FcgiTimeout firstbyte=soon', qr/firstbyte=soon/],
    ['FcgiCgroupLimit memory=1G', qr/FcgiCgroupLimit memory=1G: not known; write: FcgiCgroupLimit memory\.max=size/],
    ['FcgiCgroupLimit cpu.max=200000%', qr/cpu\.max=200000%: out of bounds; write a percentage of one CPU between 0% and 100000%/],
    ['FcgiUser root', qr/FcgiUser root: applications never run as root/], ['FcgiConnect unix:/x', qr/FcgiCommand|FcgiConnect/],
) {
    my ($line, @like) = @$case;
    bad $line, $block->("    $line"), @like;
}
bad "$_->[0]", "$_->[0]\n", $_->[1] for ['FcgiMaxWorkers many', qr/FcgiMaxWorkers many: not a number/], ['FcgiMaxWorkers 99999', qr/FcgiMaxWorkers 99999: out of bounds/],
    ['FcgiMemoryBudget 1X', qr/FcgiMemoryBudget 1X: not a size/], ['FcgiUserThreads -1', qr/FcgiUserThreads -1/];
bad 'a global one in a virtual host', "<VirtualHost *:\@PORT\@>\n    FcgiMaxWorkers 5\n</VirtualHost>\n", qr/FcgiMaxWorkers/;
bad 'neither command nor address', "<FcgiServer x>\n    FcgiProcesses 1\n</FcgiServer>\n", qr/FcgiServer x.*FcgiCommand.*FcgiConnect/s;
bad 'a missing program', "<FcgiServer x>\n    FcgiCommand /nowhere/app\n</FcgiServer>\n", qr{<FcgiServer x> FcgiCommand /nowhere/app: there is no such file};
bad 'a directory', "<FcgiServer x>\n    FcgiCommand /tmp\n</FcgiServer>\n", qr{FcgiCommand /tmp: that is not a file};
bad 'not executable', "<FcgiServer x>\n    FcgiCommand /etc/passwd\n</FcgiServer>\n", qr{FcgiCommand /etc/passwd: it is not executable; chmod};
for my $addr ('unix:relative', '127.0.0.1', '127.0.0.1:99999', 'http://x:1', '[::1]') {
    bad "FcgiConnect $addr", "<FcgiServer x>\n    FcgiConnect $addr\n</FcgiServer>\n", qr/FcgiConnect \Q$addr\E/;
}
# What a newcomer writes: each sentence says what he may have meant.
my $in_block = sub { "<FcgiServer x>\n" . join('', map { "    $_\n" } @_) . "</FcgiServer>\n" };
bad 'quotes around it all', $in_block->('FcgiCommand "/bin/sh -c true"'), qr{FcgiCommand /bin/sh -c true: there is no such file, as the quotes make one word of it all; leave them out};
bad 'a variable before it', $in_block->("FcgiCommand LANG=C $actor"), qr{FcgiCommand .*/LANG=C: there is no such file, and no shell that would set a variable; write FcgiEnv NAME value};
bad 'a user in a block that is no template', $in_block->('FcgiCommand /srv/%{user}/app'), qr/%\{user\} is replaced in a <FcgiServerTemplate> only; write a path/;
bad 'user and group as chown has them', $in_block->("FcgiCommand $actor", 'FcgiUser www-data:www-data'), qr/FcgiUser www-data:www-data: there is no such user; write user and group with a blank between them/;
sub warned { my ($what, $conf, $like) = @_; my ($status, $output) = Fcgipm->configtest(conf => $conf); is $status, 0, "allowed: $what"; like $output, $like, 'with a warning' }
{
    my $dir = File::Temp::tempdir(CLEANUP => 1);
    chmod 0755, $dir;
    symlink '/bin/true', "$dir/$_" for qw(php php8.2 php-fpm8.2 php-cgi phpsomething);
    warned 'php', $in_block->("FcgiCommand $dir/$_"), qr{FPM0680: .*httpd\.conf:\d+: <FcgiServer x> FcgiCommand $dir/$_: is PHP for the command line; write php-cgi} for qw(php php8.2);
    warned 'php with options', $in_block->("FcgiCommand $dir/php -d a=b"), qr/FPM0680: .*PHP for the command line/;
    warned 'php-fpm', $in_block->("FcgiCommand $dir/php-fpm8.2 -F"), qr{FPM0680: .*FcgiCommand $dir/php-fpm8\.2: starts processes and has a socket of its own; .*write FcgiConnect unix:/its/socket};
    for my $command ("$dir/php-cgi", "$dir/phpsomething", "$dir/php $dir/server.php") {
        my ($status, $output) = Fcgipm->configtest(conf => $in_block->("FcgiCommand $command"));
        unlike $output, qr/FPM0680/, "nothing to say of $command";
    }
    warned 'a socket in no directory', $in_block->("FcgiConnect unix:$dir/run/fpm.sock"), qr{FPM0680: .*<FcgiServer x> FcgiConnect unix:$dir/run/fpm\.sock: its directory is not there};
    my ($status, $output) = Fcgipm->configtest(conf => $in_block->("FcgiConnect unix:$dir/fpm.sock"));
    unlike $output, qr/FPM0680/, 'a socket may come later';
}

bad 'no name', "<FcgiServer>\n    FcgiCommand $actor\n</FcgiServer>\n", qr/FcgiServer/;
bad 'a strange name', "<FcgiServer a/b>\n    FcgiCommand $actor\n</FcgiServer>\n", qr{a/b};
bad 'the same name twice', $block->() . $block->(), qr/app.*(?:twice|already|again)/i;
bad 'an unknown pool', "<Location \"/x\">\n    FcgiPass nothere\n</Location>\n", qr/FcgiPass nothere: there is no <FcgiServer nothere>/;
bad 'an unknown pool of a handler', "<Location \"/x\">\n    SetHandler fcgipm:nothere\n</Location>\n", qr/SetHandler fcgipm:nothere: there is no <FcgiServer nothere>/;
bad 'a pattern without a prefix', $block->() . "<LocationMatch \"^/x\">\n    FcgiPass app\n</LocationMatch>\n", qr/FcgiPass app: a pattern does not tell.*prefix=/;
bad 'a pool of another virtual host', "<VirtualHost *:\@PORT\@>\n    ServerName a\n" . $block->() . "</VirtualHost>\n<VirtualHost *:\@PORT\@>\n    ServerName b\n    <Location \"/x\">\n        FcgiPass app\n    </Location>\n</VirtualHost>\n",
    qr/FcgiPass app: there is no <FcgiServer app> in this virtual host/;
bad 'a runtime directory that is too long', 'FcgiRuntimeDir /' . 'x' x 100 . "\n", qr/FcgiRuntimeDir.*too long/;

bad 'a comment behind a directive', "<FcgiServer app>\n    FcgiCommand $actor --quiet   # its requests come on descriptor 0\n</FcgiServer>\n", qr/FcgiCommand \.\.\. # its requests.*: a comment needs a line of its own/;
bad 'the same behind a number', $block->('FcgiProcesses 1 8 # eight'), qr/FcgiProcesses \.\.\. # eight: a comment needs a line of its own/;
good 'an argument that begins with #', "<FcgiServer app>\n    FcgiCommand $actor \"#fff\" a#b\n</FcgiServer>\n";
bad 'a block without its brackets', "FcgiServer app\n", qr/FcgiServer app: a block; write <FcgiServer app>, its directives, and <\/FcgiServer>/;
bad 'a slip of the pen', $block->('FcgiTimout read=5s'), qr/FcgiTimout: there is no such directive; write FcgiTimeout/;
bad 'another', $block->('CgiProcess 1 2'), qr/CgiProcess: there is no such directive; write FcgiProcesses/;
bad 'one that is like no other', $block->('FcgiFrobnicate 1'), qr/Invalid command 'FcgiFrobnicate'/;
bad 'a handler that is none', "<Location \"/x\">\n    SetHandler fcgipm-statsu\n</Location>\n", qr/SetHandler fcgipm-statsu: there is no such handler; write fcgipm:NAME, fcgipm-script or fcgipm-status/;
bad 'a handler for endings that is none', "<Location \"/x\">\n    AddHandler fcgipm-scripts .fcgi\n</Location>\n", qr/AddHandler fcgipm-scripts: there is no such handler/;
bad 'prefix= where the file is the script', $block->() . "<Directory \"/\">\n    FcgiPass app prefix=/x\n</Directory>\n", qr/FcgiPass app prefix=\/x: only in <Location>/;
bad 'a URL', "<FcgiServer x>\n    FcgiConnect fcgi://127.0.0.1:9000\n</FcgiServer>\n", qr{FcgiConnect fcgi://127.0.0.1:9000: an address, not a URL; write unix:/path};
bad 'a template without such a word', "<FcgiServerTemplate x>\n    FcgiCommand $actor\n    FcgiUserFrom Vhost\n</FcgiServerTemplate>\n", qr/FcgiUserFrom Vhost: not known; write one of Owner\|SuexecUserGroup\|Path\|Server/;
bad 'a wrapper that is not there', "FcgiAllowWrapper \"/nowhere/at/all -x\"\n", qr{FcgiAllowWrapper "/nowhere/at/all -x": FcgiCommand /nowhere/at/all: there is no such file};
like +(Fcgipm->configtest(conf => "<FcgiServer x>\n    FcgiConnect 127.0.0.1:9000\n    FcgiProcesses 2 3\n    FcgiQueue length=5\n</FcgiServer>\n"))[1], qr/FPM0680: .*FcgiProcesses: means nothing with FcgiConnect/, 'FcgiProcesses with FcgiConnect';

# httpd does not start without its runtime directory; it is not made by configtest.
my $place = Fcgipm->prepare(conf => q())->root;
bad 'a runtime directory below one that is not there', "FcgiRuntimeDir $place/none/run\n", qr{FcgiRuntimeDir: cannot look at \Q$place\E/none: No such file};
mkdir "$place/open" and chmod 0777, "$place/open";
bad 'a runtime directory that others may write to', "FcgiRuntimeDir $place/open\n", qr{FcgiRuntimeDir: \Q$place\E/open must belong to uid};
bad 'one below such a directory', "FcgiRuntimeDir $place/open/run\n", qr{FcgiRuntimeDir: .*belongs to or is writable by others};
good 'one that will be made', "FcgiRuntimeDir $place/made\n";
ok !-e "$place/made", 'and is not';

# A program whose interpreter is not there.
for my $case (['crlf', "#!/usr/bin/perl\r\nprint 1;\r\n", qr/its first line ends in CR LF/], ['gone', "#! /nowhere/at/all -w\n", qr{its first line names the interpreter /nowhere/at/all, which is not there}]) {
    my ($name, $text, $like) = @$case;
    open my $f, '>', "$place/$name" or die;
    print {$f} $text;
    close $f;
    chmod 0755, "$place/$name";
    bad "a program, $name", "<FcgiServer app>\n    FcgiCommand $place/$name\n</FcgiServer>\n", $like;
}

# A fault in a block is on the line of the directive, not on that of the last one.
for my $case (['when it is read', 'FcgiProcesses 5 2'], ['when it is checked', 'FcgiUser nobodyatall'], ['when it is tried', $> ? () : "FcgiDirectory $place/closed\n    FcgiUser nobody"]) {
    my ($what, $line) = @$case;
    next unless $line;
    mkdir "$place/closed", 0700;
    open my $f, '>', "$place/block.conf" or die;
    print {$f} "<FcgiServer app>\n    FcgiCommand $actor\n    $line\n    FcgiUmask 022\n    FcgiKeepConn On\n</FcgiServer>\n";
    close $f;
    my (undef, $output) = Fcgipm->configtest(conf => "Include $place/block.conf\n");
    like $output, qr{\Q$place\E/block\.conf:3: |line 3 of \Q$place\E/block\.conf}, "the line of the directive, $what" or diag $output;
    like $output, qr{FcgiDirectory $place/closed as uid|$line}, 'and what it is';
}

my (undef, $said) = Fcgipm->configtest(conf => "<FcgiServer gone>\n    FcgiCommand /nowhere/app\n</FcgiServer>\n" . "<VirtualHost *:\@PORT\@>\n    ServerName x\n</VirtualHost>\n" x 3);
is scalar(() = $said =~ /there is no such file/g), 1, 'a fault is said once, however many virtual hosts there are';

# httpd starts though one application is not there: hundreds of other sites must not stand still.
my $h = Fcgipm->httpd(expect_log => [qr/FPM0661/, qr/FPM031[67]/, qr/FPM0332/, qr/FPM0602/], conf => <<"EOC");
<FcgiServer gone>
    FcgiCommand /nowhere/app
    FcgiProcesses 0 1
</FcgiServer>
<FcgiServer crlf>
    FcgiCommand $place/crlf
    FcgiProcesses 1
</FcgiServer>
<FcgiServer quoted>
    FcgiCommand /usr/bin/perl -e 'exec "$actor"' "two words" "" plain 'single "double"'
</FcgiServer>
<FcgiServer same>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiEnv WHO main
</FcgiServer>
<Location "/gone">
    FcgiPass gone
</Location>
<Location "/quoted">
    FcgiPass quoted
</Location>
<VirtualHost *:\@PORT\@>
    ServerName a.example
    <Location "/x">
        FcgiPass same
    </Location>
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName b.example
    <FcgiServer same>
        FcgiCommand $actor
        FcgiProcesses 1
        FcgiEnv WHO private
    </FcgiServer>
    <Location "/x">
        FcgiPass same
    </Location>
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName c.example
    <Location "/x">
        FcgiPass same
    </Location>
</VirtualHost>
EOC
sub who {
    my ($host) = @_;
    my $got = $h->raw("GET /x?do=pid HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n");
    my ($pid) = $got =~ /\r\n\r\n(?:[\da-f]+\r\n)?(\d+)\n/;
    return ($pid, Fcgipm::proc_file($pid // 0, 'environ') =~ /(?:^|\0)WHO=(\w+)/ ? $1 : '');
}
my ($a, $who_a) = who('a.example');
my ($b, $who_b) = who('b.example');
my ($c, $who_c) = who('c.example');
is $who_a, 'main', 'a block of the main server';
is $a, $c, 'is shared by the virtual hosts that name it';
is $who_b, 'private', 'a virtual host\'s own block goes before it';
isnt $b, $a, 'and has its own process';
wait_for { $h->workers('quoted') } 5, 'it runs';
ok $h->wait_log(qr/FPM0316: pool crlf .*: exec of its interpreter \(the #! line, without a CR at its end, or ld\.so\) failed: No such file/, 5), 'an interpreter that is not there';
my ($pid) = $h->marked('quoted');
$h->stop;

# Arguments in httpd's quoting arrive as they are written.
$h = Fcgipm->httpd(conf => "<FcgiServer q>\n    FcgiCommand /usr/bin/perl -e 'sleep 1 while !accept(C, STDIN); 1 while sysread(C, \$_, 99); sleep 100' \"two words\" \"\" plain \"a 'b' c\"\n</FcgiServer>\n", leave => 1);
wait_for { $h->workers('q') } 5, 'it runs';
wait_for { (split /\0/, Fcgipm::proc_file(($h->workers('q'))[0], 'cmdline'))[0] =~ /perl/ } 5, 'it is perl';
my @argv = split /\0/, Fcgipm::proc_file(($h->workers('q'))[0], 'cmdline'), -1;
is_deeply [@argv[3 .. 6]], ['two words', '', 'plain', "a 'b' c"], 'arguments with blanks, quotes, and nothing';
$h->stop;
system q(rm), q(-rf), $place;
done_testing;
