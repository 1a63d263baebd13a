# SPDX-License-Identifier: Apache-2.0
# What an application writes to its error stream, and to its standard output and error, is data in the log: line by line,
# escaped, with pool, slot and pid, limited in rate. Notes for the access log.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp ();
use Fcgipm;

my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM062[01]/, qr/FPM030[12]/, qr/FPM031[56]/, qr/FPM0616/],
    conf => <<"EOC");
<FcgiServer c>
    FcgiCommand $actor
    FcgiProcesses 1
</FcgiServer>
<FcgiServer loud>
    FcgiCommand /bin/sh -c "echo to stdout; echo to stderr >&2; printf 'esc \\033[31m\\n[fake] line\\n'; exec $actor"
    FcgiProcesses 1
</FcgiServer>
<FcgiServer flood>
    FcgiCommand /bin/sh -c "i=0; while [ \$i -lt 2000 ]; do echo line \$i; i=\$((i+1)); done; exec $actor"
    FcgiProcesses 1
</FcgiServer>
<Location "/c">
    FcgiPass c
</Location>
<Location "/loud">
    FcgiPass loud
</Location>
<Location "/flood">
    FcgiPass flood
</Location>
LogFormat "%{fcgipm-pool}n|%{fcgipm-pid}n|%{fcgipm-slot}n|%{fcgipm-queue-us}n|%{fcgipm-connect-us}n|%{fcgipm-firstbyte-us}n|%{fcgipm-app-us}n|%{fcgipm-retries}n" notes
CustomLog "\@ROOT@/notes.log" notes
EOC
sub esc { my $t = shift; $t =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge; $t }

my ($pid) = $h->get('/c?do=pid')->{body} =~ /(\d+)/;
$h->get('/c?stderr=' . esc("first\nsecond\r\nthird without end"));
for my $line (qw(first second), 'third without end') {
    ok $h->wait_log(qr/FPM0621: pool c slot 0 pid $pid: $line$/m, 5), "line: $line";
}
$h->get('/c?stderr=' . esc("a\e[2Jb\0c\n[Sat] [core:error] forged\n"));
ok $h->wait_log(qr/FPM0621: pool c slot 0 pid $pid: a\\x1b\[2Jb\?c$/m, 5), 'control bytes are escaped';
unlike $h->log, qr/^\[Sat\] \[core:error\] forged/m, 'and a forged line is not at the beginning of one';
$h->get('/c?big-stderr=64000');
ok $h->wait_log(qr/FPM0621.*: 0{50,}/, 5), 'many lines come';
my $count = () = $h->log =~ /FPM0621: pool c slot \d+ pid \d+: \d{62}$/mg;
cmp_ok $count, '<=', 200, 'but not all of 1000 in a second';
is $h->get('/c')->{status}, 200, 'and the application is well';

is $h->get('/loud')->{status}, 200, 'an application that writes to its standard output and error';
for my $line ('to stdout', 'to stderr', 'esc \\\\x1b\[31m', '\[fake\] line') {
    ok $h->wait_log(qr/FPM0302: pool loud slot 0 pid \d+: $line$/m, 5), "line: $line";
}
wait_for { $h->get('/flood')->{status} == 200 } 15, 'a flood at its start does not keep it from starting';
$count = () = $h->log =~ /FPM0302: pool flood slot \d+ pid \d+: line \d+/g;
cmp_ok $count, '<=', 200, 'and is not written whole to the log';

$h->get('/c');
wait_for { $h->slurp('notes.log') =~ /^c\|$pid\|0\|\d+\|\d+\|[1-9]\d*\|[1-9]\d*\|0$/m } 5, 'the notes of a request are in the access log';
$h->stop;
# Those that die at once, many at a time: no line lacks its cause, whatever the manager is told of first.
subtest 'each failed start says how far it came' => sub {
    my $dir = File::Temp::tempdir(CLEANUP => 1);
    chmod 0755, $dir;
    open my $f, '>', "$dir/lost" or die;
    print {$f} "#!/nowhere/interpreter\n";
    close $f;
    chmod 0755, "$dir/lost";
    my $h = Fcgipm->httpd(expect_log => [qr/FPM0661/, qr/FPM031[67]/, qr/FPM0302/], conf => join '',
        (map { "<FcgiServer lost$_>\n    FcgiCommand $dir/lost\n    FcgiProcesses 1\n</FcgiServer>\n" } 1 .. 12),
        map { "<FcgiServer ends$_>\n    FcgiCommand /bin/sh -c \"echo goodbye; exit 3\"\n    FcgiProcesses 1\n</FcgiServer>\n" } 1 .. 6);
    my $times = sub { my $n = () = $h->log =~ /FPM0316: pool $_[0]/g; $n };
    wait_for { $times->("lost") >= 60 && $times->("ends") >= 20 } 30, 'each has failed some times';
    my @lines = grep { /FPM0316/ } split /\n/, $h->log;
    is_deeply [grep { /pool lost/ && !/exec of its interpreter .* failed: No such file/ } @lines], [], 'the cause';
    is_deeply [grep { /pool ends/ && !/exited with code 3 after \d+ ms \(the program had started\), last output "goodbye"/ } @lines], [], 'and whether the program ran';
    $h->stop;
};

done_testing;
