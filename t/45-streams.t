# SPDX-License-Identifier: Apache-2.0
# Answers that take their time: each piece is with the client when it is written; a client that leaves frees the
# process; a process that falls silent is replaced.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use IO::Select;
use Time::HiRes qw(time);
use Fcgipm;

my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(
    expect_log => [qr/FPM0613/, qr/FPM031[58]/],
    conf => <<"EOC");
<FcgiServer c>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiTimeout read=2s stop=1s
</FcgiServer>
<FcgiServer finish>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiClientAbort Finish
</FcgiServer>
<FcgiServer hang>
    FcgiCommand $actor
    FcgiProcesses 2
    FcgiTimeout read=500ms stop=500ms
</FcgiServer>
<FcgiServer short>
    FcgiCommand $actor
    FcgiProcesses 1
    FcgiTimeout request=700ms stop=500ms
</FcgiServer>
<Location "/c">
    FcgiPass c
</Location>
<Location "/finish">
    FcgiPass finish
</Location>
<Location "/hang">
    FcgiPass hang
</Location>
<Location "/short">
    FcgiPass short
</Location>
EOC

# Read until the pattern is there; the time it took.
sub read_until {
    my ($s, $buffer, $pattern, $limit) = @_;
    my $end = time + $limit;
    until ($$buffer =~ $pattern) {
        return 0 if time > $end || !IO::Select->new($s)->can_read($end - time);
        sysread $s, $$buffer, 65536, length $$buffer or return 0;
    }
    return 1;
}

subtest 'pieces arrive when they are written' => sub {
    my $s = $h->connect;
    print {$s} "GET /c?drip=5:400 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    my ($got, $begin, @at) = ('', time);
    for my $i (0 .. 4) {
        ok read_until($s, \$got, qr/tick $i\n/, 10), "tick $i";
        push @at, time - $begin;
        unlike $got, qr/tick @{[$i + 1]}/, 'and not the next';
    }
    cmp_ok $at[0], '<', $at[4] - 1, 'the first long before the last';
    read_until($s, \$got, qr/\r\n0\r\n\r\n$/, 5);
    like $got, qr/\r\n0\r\n\r\n$/, 'and its end';
};

sub pid_of { ($h->get("/$_[0]?do=pid")->{body} // '') =~ /(\d+)/ ? $1 : '' }

subtest 'a client that leaves in the middle of a stream' => sub {
    my $pid = pid_of('c');
    my $s = $h->connect;
    my $got = '';
    print {$s} "GET /c?drip=1000:20 HTTP/1.1\r\nHost: x\r\n\r\n";
    ok read_until($s, \$got, qr/tick 3/, 5), 'it runs';
    close $s;
    my $begin = time;
    is pid_of('c'), $pid, 'the same process answers the next';
    cmp_ok time - $begin, '<', 8, 'soon, and not after the stream would have ended';
};
subtest 'a client that leaves before the answer' => sub {
    my $pid = pid_of('c');
    my $s = $h->connect;
    print {$s} "GET /c?sleep=1500 HTTP/1.1\r\nHost: x\r\n\r\n";
    close $s;
    my $begin = time;
    is pid_of('c'), $pid, 'the process answers the next when it is free';
    cmp_ok time - $begin, '<', 8, 'soon';
};
subtest 'FcgiClientAbort Finish' => sub {
    my ($before) = $h->get('/finish?count=1')->{body} =~ /(\d+)/;
    my $s = $h->connect;
    my $got = '';
    print {$s} "GET /finish?drip=20:20 HTTP/1.1\r\nHost: x\r\n\r\n";
    ok read_until($s, \$got, qr/tick 1/, 5), 'it runs';
    close $s;
    my ($after) = $h->get('/finish?count=1')->{body} =~ /(\d+)/;
    is $after, $before + 2, 'the request was finished, and by one process';
};

subtest 'silence' => sub {
    my @before = sort { $a <=> $b } $h->workers('hang');
    my $r = $h->get('/hang?hang=1');
    is $r->{status}, 504, 'no answer in time is 504';
    ok $h->wait_log(qr/FPM0613: pool hang slot \d+ pid \d+: the application did not answer in time \(FcgiTimeout read=\); answered 504/, 2), 'one line';
    is $h->get('/hang')->{status}, 200, 'the others are well';
    wait_for { my @now = sort { $a <=> $b } $h->workers('hang'); @now == 2 && "@now" ne "@before" } 10, 'the process is replaced';
    my %before = map { $_ => 1 } @before;
    is scalar(grep { $before{$_} } $h->workers('hang')), 1, 'and only that one';
    $r = $h->get('/hang?drip=2:3000');
    is $r->{status}, 200, 'silence in the middle';
    ok !$r->{complete}, 'is an answer that is seen to be cut';
};
subtest 'too long in all' => sub {
    my $r = $h->get('/short?drip=100:50');
    ok !$r->{complete}, 'request= cuts a stream';
    is $h->get('/short?sleep=3000')->{status}, 504, 'request= is 504 before the answer';
    wait_for { $h->get('/short')->{status} == 200 } 10, 'and the process is replaced';
};
$h->stop;
done_testing;
