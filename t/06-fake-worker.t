# The scripted backend of the wire tests (t/lib/FakeWorker.pm), tried with a small FastCGI client: what it says, what it
# notes, and that it goes away.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Errno qw(ECONNRESET);
use File::Temp qw(tempdir);
use IO::Socket;
use POSIX ();
use FakeWorker;

$SIG{PIPE} = 'IGNORE';
$SIG{ALRM} = sub { die "the test hangs\n" };
alarm 120;
my $dir = tempdir('/tmp/fcgipm-fake-XXXXXX', CLEANUP => 1);
$ENV{TMPDIR} = $dir;    # the workers' notes, also those of the test that is killed below
my $hello = "Status: 200\r\nContent-Type: text/plain\r\n\r\n";
my $sockets = 0;

sub worker { my $script = pop; return FakeWorker->new(socket => "$dir/" . ++$sockets . '.sock', script => $script, @_) }

# The client: connect, send bytes, read records ([name, id, content], or 'eof', or the text of an error).
sub client {
    my ($w) = @_;
    my ($path) = $w->connect_string =~ /^unix:(.*)/;
    return $path ? IO::Socket::UNIX->new(Peer => $path) : IO::Socket::INET->new(PeerAddr => $w->connect_string);
}

# Each argument is one write; TCP_NODELAY or a unix socket delivers it as such, more or less.
sub put {
    my $s = shift;
    for my $bytes (@_) {
        for (my $at = 0; $at < length $bytes;) { $at += syswrite($s, $bytes, length $bytes, $at) // return 0 }
    }
    return 1;
}

sub get_bytes {
    my ($s, $want) = @_;
    my $buf = '';
    while (length $buf < $want) {
        my $n = sysread $s, $buf, $want - length $buf, length $buf;
        return undef, $n // 0 + $! unless $n;    # errno 0: the end
    }
    return $buf, 0;
}

sub get {
    my ($s) = @_;
    my ($head, $errno) = get_bytes($s, 8);
    return $errno ? "errno $errno" : 'eof' unless defined $head;
    my ($version, $type, $id, $length, $padding) = unpack 'CCnnC', $head;
    my ($content) = get_bytes($s, $length + $padding);
    return 'cut short' unless defined $content;
    return [type_name($type), $id, substr $content, 0, $length];
}

# Records to END_REQUEST: [stdout, stderr, app status, protocol status], or what came instead.
sub get_answer {
    my ($s) = @_;
    my %text = (STDOUT => '', STDERR => '');
    while (1) {
        my $r = get($s);
        return $r unless ref $r;
        return [@text{qw(STDOUT STDERR)}, unpack 'NC', $r->[2]] if $r->[0] eq 'END_REQUEST';
        $text{ $r->[0] } .= $r->[2];
    }
}

sub begin {
    my (%o) = @_;
    my $content = pack 'nCx5', $o{role} // FCGI_RESPONDER, $o{flags} // 0;
    return encode_record(type => 'BEGIN_REQUEST', id => $o{id} // 1, content => $content);
}

sub stream {
    my ($type, $id, @parts) = @_;
    return join '', map { encode_record(type => $type, id => $id, content => $_) } @parts, '';
}

sub request {
    my (%o) = @_;
    my $id = $o{id} // 1;
    return begin(%o) . stream(PARAMS => $id, encode_pairs($o{params} // { A => 1 }))
        . stream(STDIN => $id, @{ $o{stdin} // [] });
}

subtest 'constants, pairs and records' => sub {
    is_deeply([FCGI_BEGIN_REQUEST, FCGI_END_REQUEST, FCGI_STDIN, FCGI_UNKNOWN_TYPE], [1, 3, 5, 11], 'types');
    is_deeply([FCGI_RESPONDER, FCGI_AUTHORIZER, FCGI_FILTER, FCGI_KEEP_CONN], [1, 2, 3, 1], 'roles and the flag');
    is_deeply([FCGI_REQUEST_COMPLETE, FCGI_CANT_MPX_CONN, FCGI_OVERLOADED, FCGI_UNKNOWN_ROLE], [0 .. 3], 'statuses');
    is_deeply([type_name(6), type_name(99)], ['STDOUT', 99], 'names');

    my @pairs = (a => '', '' => 'b', x => 'y' x 127, x => 'z' x 128, 'n' x 300 => "\0\xff" x 40_000);
    is_deeply([decode_pairs(encode_pairs(@pairs))], \@pairs, 'short and long, empty, twice the same name');
    is(encode_pairs(ab => 'c'), "\2\1abc", 'short form');
    is(encode_pairs({ a => 'v' x 128 }), "\1\x80\0\0\x80a" . 'v' x 128, 'long form from 128 on, from a hash');
    my $bytes = encode_pairs(name => 'v' x 200);
    my @whole = grep { eval { decode_pairs(substr $bytes, 0, $_); 1 } } 1 .. length($bytes) - 1;
    is_deeply(\@whole, [], 'cut short anywhere: dies');

    is(encode_record(type => 'STDOUT', id => 258, content => 'abc', padding => 2),
        "\1\6\1\2\0\3\2\0abc\xEE\xEE", 'a record');
    is(encode_record(type => 77, id => 0, version => 9, length => 500), "\x09\x4d\0\0\1\xf4\0\0", 'a wrong record');
    ok(!eval { encode_record(type => 'STDOUT', content => 'x' x 65536); 1 }, 'too long for a record');
    ok(!eval { encode_record(type => 'NONSENSE'); 1 }, 'no such type');
};

subtest 'a request, split at every place' => sub {
    my $w = worker(sub {
        my ($c) = @_;
        my $r = $c->recv_request or return $c->note('no request');
        my @types = map { type_name($_->[0]) . ":$_->[2]" } @{ $r->{records} };
        $c->note(join ' ', $c->n, "id=$r->{id} role=$r->{role} flags=$r->{flags}", "order=@{ $r->{params_order} }",
            @types);
        $c->stderr('oops');
        $c->answer($r, "$hello$r->{params}{LONG}|$r->{stdin}");
    });
    is($w->connect_string, "unix:$dir/$sockets.sock", 'connect_string');
    is((stat "$dir/$sockets.sock")[2] & 07777, 0666, 'socket mode');

    my $long = 'L' x 130;
    my $pairs = encode_pairs(Z => 1, LONG => $long, A => '', Z => 2);
    my $bytes = begin(id => 7) . stream(PARAMS => 7, substr($pairs, 0, 3), substr($pairs, 3))
        . stream(STDIN => 7, 'one', 'two');
    my @bad;
    for my $at (1 .. length($bytes) - 1) {
        my $s = client($w);
        put($s, substr($bytes, 0, $at), substr($bytes, $at));
        my $a = get_answer($s);
        push @bad, $at unless ref $a && "@$a" eq "$hello$long|onetwo oops 0 0" && get($s) eq 'eof';
    }
    is_deeply(\@bad, [], 'the same answer wherever the write is split, then the end');
    my $s = client($w);
    put($s, split //, $bytes);
    is_deeply(get_answer($s), ["$hello$long|onetwo", 'oops', 0, 0], 'byte by byte');

    my @notes = $w->notes;
    is(scalar @notes, length $bytes, 'a note for each connection');
    my $rest = length($pairs) - 3;
    my $want = 'id=7 role=1 flags=0 order=Z LONG A Z'
        . " BEGIN_REQUEST:8 PARAMS:3 PARAMS:$rest PARAMS:0 STDIN:3 STDIN:3 STDIN:0";
    is_deeply(\@notes, [map { "$_ $want" } 1 .. @notes], 'what the backend saw');
    is($w->connections, length $bytes, 'connections');
};

subtest 'two requests on one connection' => sub {
    my $w = worker(sub {
        my ($c) = @_;
        while (my $r = $c->recv_request) {
            $c->note($c->n . " $r->{params}{N} keep=$r->{keep_conn}");
            $c->answer($r, "$hello$r->{params}{N}");
            last unless $r->{keep_conn};
        }
        $c->note('end');
    });
    my $s = client($w);
    put($s, request(flags => FCGI_KEEP_CONN, params => { N => 'one' }));
    is_deeply(get_answer($s), ["${hello}one", '', 0, 0], 'the first');
    put($s, request(id => 2, params => { N => 'two' }));
    is_deeply(get_answer($s), ["${hello}two", '', 0, 0], 'the second');
    is(get($s), 'eof', 'not kept, so closed');
    ok($w->wait_note(qr/^end/), 'the script ended');
    is_deeply([$w->notes], ['1 one keep=1', '1 two keep=0', 'end'], 'notes');
    is($w->connections, 1, 'one connection');

    $s = client($w);
    put($s, request(flags => FCGI_KEEP_CONN, params => { N => 3 }) . request(id => 2, params => { N => 4 }));
    is_deeply([map { get_answer($s)->[0] } 1, 2], [$hello . 3, $hello . 4], 'sent together');

    my ($p, $q) = map { encode_pairs(N => $_) } 5, 6;
    $s = client($w);
    put($s, begin(flags => FCGI_KEEP_CONN), begin(id => 2), stream(PARAMS => 2, $q), stream(PARAMS => 1, $p),
        stream(STDIN => 2), stream(STDIN => 1));
    is_deeply([map { get_answer($s)->[0] } 1, 2], [$hello . 5, $hello . 6], 'interleaved');
};

subtest 'abort, and a client that goes away' => sub {
    my $w = worker(sub {
        my ($c) = @_;
        my $r = $c->recv_request(stdin => 0);
        if (!$r) { return $c->note('gone in ' . ($c->partial ? 'a request' : 'nothing') . ', ' . ($c->error // 'eof')) }
        $c->note('waiting');
        $c->note($c->wait(30));
        my $rec = $c->recv_record or return $c->note('no record');
        $c->note("$rec->{name} $rec->{id}");
        $c->end($r->{id}, 3, 'REQUEST_COMPLETE');
        $c->note($c->wait(30));
        $c->note($c->wait(0) . ' ' . (defined $c->recv_record ? 'record' : 'undef'));
    });
    my $s = client($w);
    put($s, begin(), stream('PARAMS', 1));
    ok($w->wait_note(qr/^waiting/), 'the script waits');
    put($s, encode_record(type => 'ABORT_REQUEST'));
    is_deeply(get_answer($s), ['', '', 3, 0], 'application status');
    close $s;
    ok($w->wait_note(qr/^eof undef/), 'the end is seen');
    is_deeply([$w->notes], ['waiting', 'readable', 'ABORT_REQUEST 1', 'eof', 'eof undef'], 'notes');

    close client($w);
    is($w->wait_note(qr/^gone in nothing/), 'gone in nothing, eof', 'no byte at all');
    $s = client($w);
    put($s, begin() . encode_record(type => 'PARAMS', content => 'abc'));
    close $s;
    is($w->wait_note(qr/request, eof/), 'gone in a request, eof', 'between two records');
    $s = client($w);
    put($s, begin() . "\1\4\0");
    close $s;
    is($w->wait_note(qr/cut short/), 'gone in a request, cut short', 'within a record');

    $w = worker(sub {
        my ($c) = @_;
        while (my $r = $c->recv_request) {
            my @stray = map { type_name($_->[0]) } @{ $r->{stray} };
            $c->note(join ' ', ($r->{aborted} ? 'aborted' : 'whole'), $r->{stdin} // 'no stdin', "stray=@stray");
            $c->answer($r, '');
        }
    });
    $s = client($w);
    put($s, begin(flags => 1), stream(PARAMS => 1, encode_pairs(A => 1)),
        encode_record(type => 'STDIN', content => 'half'), encode_record(type => 'ABORT_REQUEST'));
    is_deeply(get_answer($s), ['', '', 0, 0], 'aborted within STDIN');
    put($s, stream('STDIN', 1), encode_record(type => 'GET_VALUES', id => 0), request(flags => 1, stdin => ['s']));
    get_answer($s);
    put($s, begin(role => FCGI_AUTHORIZER, flags => 1), stream(PARAMS => 1, encode_pairs(A => 1)));
    get_answer($s);
    put($s, begin(flags => 1), stream(PARAMS => 1, "\4\4cut"), stream('STDIN', 1));
    get_answer($s);
    is_deeply([$w->notes], ['aborted half stray=', 'whole s stray=STDIN GET_VALUES', 'whole no stdin stray=',
        'whole  stray='], 'stray records, an authorizer without STDIN, bad params');
};

subtest 'wrong on purpose' => sub {
    my $big = 'b' x 200_000;
    my $w = worker(sub {
        my ($c) = @_;
        my $r = $c->recv_request(stdin => 0) or return;
        my $do = $r->{params}{DO};
        if ($do eq 'raw') { $c->raw("garbage") }
        elsif ($do eq 'record') {
            $c->record(type => 'STDOUT', content => 'padded', padding => 255);
            $c->record(type => 77, id => 0xfffe, content => '?', version => 3);
            $c->record(type => 'FCGI_STDERR', length => 10, content => 'short');
        }
        elsif ($do eq 'big') { $c->note('stdin ' . length $c->recv_stdin($r)); $c->stdout($big); $c->end }
        elsif ($do eq 'overloaded') { $c->end(undef, undef, 'OVERLOADED') }
        elsif ($do eq 'other id') { $c->stdout('x', 9); $c->end(9, 0xffffffff, FCGI_UNKNOWN_ROLE) }
        elsif ($do eq 'die') { die "first\nsecond\n" }
        elsif ($do eq 'flood') {
            1 while $c->stdout($big);
            $c->note('flood: ' . ($c->error // 'no error'));
        }
        elsif ($do eq 'close') {
            $c->close;
            $c->note(join ' ', $c->wait(0), $c->raw('x'), defined $c->recv_record ? 1 : 0);
        }
        elsif ($do eq 'timeout') { $c->note($c->wait(0.05)) }
    });
    my $do = sub {
        my ($what, @more) = @_;
        my $s = client($w);
        put($s, begin(), stream(PARAMS => 1, encode_pairs(DO => $what)), @more);
        return $s;
    };
    is_deeply([get_bytes($do->('raw'), 7)], ['garbage', 0], 'raw');
    my $s = $do->('record');
    my ($bytes) = get_bytes($s, 8 + 6 + 255 + 9 + 8 + 5);
    is($bytes, "\1\6\0\1\0\6\xff\0padded" . "\xEE" x 255 . "\3\x4d\xff\xfe\0\1\0\0?" . "\1\7\0\1\0\x0a\0\0short",
        'padding, version, id, length');
    is(get($s), 'eof', 'and nothing more');
    $s = $do->('big', stream(STDIN => 1, ('i' x 65535) x 3));
    my $a = get_answer($s);
    ok(ref $a && $a->[0] eq $big, 'a text of many records, and recv_stdin');
    is($w->wait_note(qr/^stdin/), 'stdin 196605', 'the length of STDIN');
    is_deeply(get_answer($do->('overloaded')), ['', '', 0, 2], 'protocol status');
    $s = $do->('other id');
    is_deeply([get($s), get($s)], [['STDOUT', 9, 'x'], ['END_REQUEST', 9, "\xff\xff\xff\xff\3\0\0\0"]], 'another id');
    is(get($do->('die')), 'eof', 'a script that dies closes the connection');
    is($w->wait_note(qr/died/), 'script died: first\nsecond', '... and leaves a note');
    is(get($do->('close')), 'eof', 'close');
    is($w->wait_note(qr/^eof/), 'eof 0 0', '... after which there is nothing to do');
    $s = $do->('timeout');
    is(get($s), 'eof', 'wait that timed out');
    is($w->wait_note(qr/^timeout/), 'timeout', '... says so');
    $s = $do->('flood');
    ok(ref get($s), 'a flood');
    close $s;
    like($w->wait_note(qr/^flood/), qr/Broken pipe|reset/, '... ends with an error when the reader goes');
};

subtest 'TCP, reset' => sub {
    my $w = FakeWorker->new(port => 0, script => sub {
        my ($c) = @_;
        my $r = $c->recv_request or return;
        return $c->reset if $r->{params}{RESET};
        $c->answer($r, "${hello}tcp");
    });
    like($w->connect_string, qr/^127\.0\.0\.1:[1-9]\d*$/, 'connect_string');
    my $s = client($w);
    put($s, request());
    is_deeply(get_answer($s), ["${hello}tcp", '', 0, 0], 'answer');
    $s = client($w);
    put($s, request(params => { RESET => 1 }));
    is(get($s), 'errno ' . ECONNRESET, 'RST');

    $w = worker(sub { my ($c) = @_; $c->recv_record; $c->reset });
    $s = client($w);
    put($s, request());
    is(get($s), 'errno ' . ECONNRESET, 'on a unix socket, with bytes left unread');
};

subtest 'several at once' => sub {
    my $script = sub {
        my ($c) = @_;
        while (my $r = $c->recv_request) { $c->answer($r, join ' ', $c->n, $$) }
    };
    for ([processes => 3], [concurrent => 3], [processes => 3, concurrent => 1]) {
        my $w = worker(@$_, $script);
        my @s = map { client($w) } 1 .. 3;
        put($_, request(flags => FCGI_KEEP_CONN)) for reverse @s;
        my (%n, %pid);
        for (@s) { my ($n, $pid) = split ' ', get_answer($_)->[0]; $n{$n} = $pid{$pid} = 1 }
        is_deeply([sort keys %n], [1 .. 3], "@$_: three connections are served at once, each with its number");
        is(scalar keys %pid, 3, '... by three processes');
        my $more = client($w);
        put($more, request());
        my $r = '';
        vec($r, fileno $more, 1) = 1;
        is(select($r, undef, undef, 0.05), 0, '... the fourth waits');
        close shift @s;
        like(get_answer($more)->[0], qr/^4 /, '... until one has gone');
        $w->stop;
        is(get($s[0]), 'eof', '... and stop ends them all');
        is_deeply([grep { kill 0 => $_ } keys %pid, $w->pids], [], '... without leaving one');
    }
};

subtest 'stop' => sub {
    my $w = worker(sub { my ($c) = @_; $c->note('in'); select undef, undef, undef, 600 });
    my ($path, $pid) = ("$dir/$sockets.sock", $w->pid);
    my $s = client($w);
    $w->wait_note(qr/^in/);
    $w->stop;
    is(get($s), 'eof', 'a script that sleeps is ended');
    ok(!kill(0 => $pid), 'the process has gone');
    ok(!-e $path, 'the socket too');
    ok(!client($w), 'no one to connect to');
    is_deeply([$w->notes], ['in'], 'the notes are still there');
    $w->stop;

    $w = worker(sub { });
    $pid = $w->pid;
    kill STOP => $pid;
    $w->stop(keep_socket => 1);
    ok(!kill(0 => $pid), 'a stopped process');
    ok(-S "$dir/$sockets.sock", 'the socket stays when asked for');
    ok(!client($w), '... with no one behind it');
    $sockets--;
    $w = worker(sub { $_[0]->raw('new') });
    is((get_bytes(client($w), 3))[0], 'new', 'a new one takes its place');
    $pid = $w->pid;
    $? = 7;
    undef $w;
    is($?, 7, 'DESTROY leaves $? alone');
    ok(!kill(0 => $pid), '... and ends the process');

    # A test that is killed: its workers must not stay, even when a later worker was forked while the first one lived.
    pipe my $from, my $to or die "pipe: $!";
    my $test = fork // die "fork: $!";
    if (!$test) {
        my $script = sub { $_[0]->note('in'); $_[0]->recv_record };
        my @w = (worker($script), worker(concurrent => 2, $script));
        my @s = map { client($_) } @w;
        $w[1]->wait_note(qr/^in/);
        syswrite $to, 'ready';
        close $to;
        sleep 600;
        POSIX::_exit(0);
    }
    close $to;
    my ($ready) = get_bytes($from, 5);
    is($ready, 'ready', 'a test with two workers');
    kill KILL => $test;
    waitpid $test, 0;
    is(sysread($from, my $rest, 1), 0, '... is killed, and they end (all write ends of its pipe are closed)');

    for ([], [script => 1, port => 0], [script => sub { }], [script => sub { }, port => 0, socket => 'x'],
        [script => sub { }, port => 0, sockt => 'x'], [script => sub { }, socket => "$dir/" . 'x' x 108]) {
        ok(!eval { FakeWorker->new(@$_); 1 }, 'refused: ' . $@ =~ s/(?:: \/.*| at .*)//sr);
    }
};

done_testing;
