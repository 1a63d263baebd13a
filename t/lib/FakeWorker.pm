# A scripted FastCGI backend for wire tests: it says exactly what the test tells it to, right or wrong, and notes what
# it saw. It plays the external server, in processes of its own:
#
#   my $w = FakeWorker->new(socket => "$dir/x.sock", script => sub {
#       my ($c) = @_;                                   # called once for each connection, closed when it returns
#       my $r = $c->recv_request or return;
#       $c->note("keep=$r->{keep_conn}");
#       $c->answer($r, "Status: 200\r\nContent-Type: text/plain\r\n\r\nhello");
#       $c->note($c->wait(5));                          # what the server does next: readable, eof, timeout
#   });
#   ... FcgiConnect @{[$w->connect_string]} ...
#   $w->wait_note(qr/^keep=1/); is_deeply([$w->notes], [...]); $w->stop;
#
# new: socket => path (mode 0666) | port => N (0: any; on 127.0.0.1); script; processes => 1, how many processes accept;
# concurrent => N: each of them forks for each connection, N at once at most; backlog => 128.
# A script that dies leaves the note "script died: ...". The processes end with the test, however it ends.
package FakeWorker;
use strict;
use warnings;
use Carp qw(croak);
use Exporter 'import';
use Fcntl qw(:flock);
use File::Temp;
use IO::Socket;
use POSIX ();
use Time::HiRes qw(time);

my (%number, %type_name);    # FCGI_STDIN => 6, 6 => 'STDIN'
BEGIN {
    my $n = 0;
    %type_name = map { ++$n => $_ } qw(BEGIN_REQUEST ABORT_REQUEST END_REQUEST PARAMS STDIN STDOUT STDERR DATA
        GET_VALUES GET_VALUES_RESULT UNKNOWN_TYPE);
    my %all = (reverse(%type_name), KEEP_CONN => 1, RESPONDER => 1, AUTHORIZER => 2, FILTER => 3,
        REQUEST_COMPLETE => 0, CANT_MPX_CONN => 1, OVERLOADED => 2, UNKNOWN_ROLE => 3);
    %number = map { ("FCGI_$_" => $all{$_}) } keys %all;
    require constant;
    constant->import(\%number);
    our @EXPORT = (sort(keys %number), qw(encode_pairs decode_pairs encode_record type_name));
}
my %lifeline;    # object address => write end of the pipe whose end of file tells the processes that the test is gone
sub type_name { $type_name{ $_[0] } // $_[0] }
sub _number { my ($s) = @_; return $s =~ /^\d+$/ ? $s : $number{ 'FCGI_' . $s =~ s/^FCGI_//r } // die "no FCGI_$s\n" }

# Name-value pairs, from a flat list or a hash; decode_pairs gives the flat list, and dies when the bytes are cut short.
sub encode_pairs {
    my @list = @_ == 1 && ref $_[0] eq 'HASH' ? map { ($_ => $_[0]{$_}) } sort keys %{ $_[0] } : @_;
    my $out = '';
    while (my @pair = splice @list, 0, 2) {
        utf8::downgrade($_) for @pair;
        $out .= join '', (map { length > 127 ? pack('N', length() | 0x80000000) : chr length } @pair), @pair;
    }
    return $out;
}
sub decode_pairs {
    my ($in) = @_;
    my ($at, @list) = (0);
    while ($at < length $in) {
        my @len;
        for (1, 2) {
            my $size = substr($in, $at, 1) =~ /[\x80-\xff]/ ? 4 : 1;
            die "pairs cut short in a length at byte $at\n" if $at + $size > length $in;
            push @len, unpack($size == 4 ? 'N' : 'C', substr $in, $at, $size) & 0x7fffffff;
            $at += $size;
        }
        die "pairs cut short in a text at byte $at\n" if $at + $len[0] + $len[1] > length $in;
        for (@len) { push @list, substr $in, $at, $_; $at += $_ }
    }
    return @list;
}

# The bytes of one record: type (name or number), id, content, padding => N (bytes that are not zero), version;
# length => N puts a false contentLength in the header.
sub encode_record {
    my (%o) = @_;
    my $content = $o{content} // '';
    utf8::downgrade($content);
    my ($length, $padding) = ($o{length} // length $content, $o{padding} // 0);
    die "a record cannot have $length bytes and $padding of padding\n" if $length > 65535 || $padding > 255;
    return pack('CCnnCC', $o{version} // 1, _number($o{type}), $o{id} // 1, $length, $padding, 0)
        . $content . "\xEE" x $padding;
}

sub new {
    my ($class, %o) = @_;
    my $self = bless { script => delete $o{script}, owner => $$, pids => [] }, $class;
    my ($path, $port, $processes, $concurrent, $backlog) = delete @o{qw(socket port processes concurrent backlog)};
    croak 'FakeWorker: unknown option ' . join ' ', sort keys %o if %o;
    croak 'FakeWorker: needs a script, and one of socket and port'
        unless ref $self->{script} eq 'CODE' && (defined $path xor defined $port);
    $self->{concurrent} = $concurrent // 0;
    $self->{$_} = File::Temp->new(TEMPLATE => 'fakeworker-XXXXXX', TMPDIR => 1) for qw(log count);
    my $listen;
    if (defined $path) {
        croak "FakeWorker: socket path too long: $path" if length $path > 107;
        unlink $path if -S $path;
        $listen = IO::Socket::UNIX->new(Local => $path, Listen => $backlog // 128) or croak "FakeWorker: $path: $!";
        chmod 0666, $path or croak "FakeWorker: chmod $path: $!";
        @$self{qw(socket connect_string)} = ($path, "unix:$path");
    } else {
        $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'tcp', ReuseAddr => 1,
            Listen => $backlog // 128) or croak "FakeWorker: port $port: $@";
        $self->{connect_string} = '127.0.0.1:' . ($self->{port} = $listen->sockport);
    }
    $listen->blocking(0);    # several processes may wake up for one connection
    pipe my $life, $lifeline{ 0 + $self } or croak "FakeWorker: pipe: $!";
    for (1 .. $processes // 1) {
        my $pid = _fork();
        if ($pid) { push @{ $self->{pids} }, $pid; next }
        close $_ for values %lifeline;
        eval { $self->_serve($listen, $life); 1 } or $self->_note("script died: $@");
        POSIX::_exit(0);     # no END block, no destructor and no buffered output of the test
    }
    return $self;
}

sub connect_string { $_[0]{connect_string} }
sub port           { $_[0]{port} }
sub pid            { $_[0]{pids}[0] }
sub pids           { @{ $_[0]{pids} } }
sub connections    { -s $_[0]{count}->filename }    # accepted so far
sub notes {
    my ($self) = @_;
    open my $fh, '<', $self->{log}->filename or croak "FakeWorker: notes: $!";
    chomp(my @lines = <$fh>);
    return @lines;
}

# The first note that matches, waited for; undef when there is none within the seconds.
sub wait_note {
    my ($self, $re, $seconds) = @_;
    my ($until, $found) = time + ($seconds // 10);
    select undef, undef, undef, 0.01 while !(($found) = grep { $_ =~ $re } $self->notes) && time < $until;
    return $found;
}

# stop(keep_socket => 1) leaves the socket file, as a killed server does.
sub stop {
    my ($self, %o) = @_;
    return if $self->{owner} != $$ || $self->{stopped}++;
    local ($?, $!);
    my @pids = @{ $self->{pids} };
    kill $_ => @pids for qw(TERM CONT);
    delete $lifeline{ 0 + $self };
    my $until = time + 5;
    while (@pids = grep { waitpid($_, POSIX::WNOHANG()) == 0 } @pids) {
        kill KILL => @pids if time > $until;
        select undef, undef, undef, 0.005;
    }
    unlink $self->{socket} if defined $self->{socket} && !$o{keep_socket};
}
sub DESTROY { local $@; $_[0]->stop }

# fork; the child has the default signals, but none that was meant for the parent's handlers comes in between.
sub _fork {
    my ($term, $old) = (POSIX::SigSet->new(POSIX::SIGTERM()), POSIX::SigSet->new);
    POSIX::sigprocmask(POSIX::SIG_BLOCK(), $term, $old);
    my $pid = fork // croak "FakeWorker: fork: $!";
    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(TERM INT ALRM CHLD __DIE__ __WARN__);
        $SIG{PIPE} = 'IGNORE';
    }
    POSIX::sigprocmask(POSIX::SIG_SETMASK(), $old);
    return $pid;
}

sub _note {
    my ($self, $line) = @_;
    utf8::encode($line) if utf8::is_utf8($line);
    chomp $line;
    open my $fh, '>>', $self->{log}->filename or return;
    syswrite $fh, $line =~ s/\n/\\n/gr . "\n";
}

# The number of this connection, over all processes: the count file has a byte for each.
sub _count {
    my ($self) = @_;
    open my $fh, '>>', $self->{count}->filename or die "count: $!\n";
    flock $fh, LOCK_EX or die "flock: $!\n";
    syswrite $fh, '.';
    return -s $fh;
}

sub _serve {
    my ($self, $listen, $life) = @_;
    my %kids;
    $SIG{TERM} = sub { kill TERM => keys %kids; 1 while waitpid(-1, 0) > 0; POSIX::_exit(0) } if $self->{concurrent};
    while (1) {
        while (%kids) {      # with all of them busy, the next connection waits
            my $gone = waitpid -1, keys %kids >= $self->{concurrent} ? 0 : POSIX::WNOHANG();
            last if $gone <= 0;
            delete $kids{$gone};
        }
        _select($life, $listen, 'r');
        my $sock = $listen->accept or next;
        my $c = bless { sock => $sock, n => $self->_count, worker => $self, life => $life, held => [], id => 1 },
            'FakeWorker::Connection';
        $sock->blocking(0);
        setsockopt $sock, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1 if $self->{port};
        my $pid = $self->{concurrent} ? _fork() : undef;
        if ($pid) { $kids{$pid} = 1; next }
        eval { $self->{script}->($c); 1 } or $self->_note("script died: $@");
        $c->close;
        POSIX::_exit(0) if defined $pid;
    }
}

# Waits for the socket to be readable ('r') or writable ('w'), false after the seconds; exits when the test has ended.
sub _select {
    my ($life, $sock, $how, $seconds) = @_;
    my ($r, $w, $n) = ('', '');
    vec($r, fileno $life, 1) = 1;
    vec($how eq 'r' ? $r : $w, fileno $sock, 1) = 1;
    do { $n = select my $r1 = $r, my $w1 = $w, undef, $seconds; POSIX::_exit(0) if $n > 0 && vec $r1, fileno $life, 1 }
        while $n < 0;
    return $n;
}

package FakeWorker::Connection;
use Errno qw(EINTR EAGAIN);
use Socket qw(MSG_PEEK SOL_SOCKET SO_LINGER);
sub n       { $_[0]{n} }
sub sock    { $_[0]{sock} }       # non-blocking
sub error   { $_[0]{error} }      # why the last read or write failed: a text of errno, or 'cut short' within a record
sub partial { $_[0]{partial} }    # the request that recv_request could not read to its end
sub note    { $_[0]{worker}->_note($_[1]) }

sub _read {
    my ($c, $want, $buf) = (@_, '');
    while (length $buf < $want) {
        return undef unless $c->{sock};
        FakeWorker::_select($c->{life}, $c->{sock}, 'r');
        my $n = sysread $c->{sock}, $buf, $want - length $buf, length $buf;
        next if $n || !defined $n && ($! == EINTR || $! == EAGAIN);
        $c->{error} = defined $n ? (length $buf ? 'cut short' : undef) : "$!";
        return undef;
    }
    return $buf;
}

sub _wire_record {
    my ($c) = @_;
    my $head = $c->_read(8) // return undef;
    my ($version, $type, $id, $length, $padding) = unpack 'CCnnC', $head;
    my $rest = $c->_read($length + $padding);
    if (!defined $rest) { $c->{error} //= 'cut short'; return undef }
    return { version => $version, type => $type, name => FakeWorker::type_name($type), id => $id, padding => $padding,
        content => substr $rest, 0, $length };
}

# The next record, undef at the end of the connection. Records of another request, met by recv_request, come first.
sub recv_record { shift @{ $_[0]{held} } // $_[0]->_wire_record }

# One stream of the request to its end, or to an ABORT_REQUEST (then $req->{aborted}); false at the connection's end.
# Records of other requests and of id 0 are kept for later.
sub _stream {
    my ($c, $req, $type, $bytes) = @_;
    my $held = $c->{held};
    $$bytes //= '';
    while (!$req->{aborted}) {
        my ($mine) = grep { $held->[$_]{id} == $req->{id} } 0 .. $#$held;
        my $r = defined $mine ? splice @$held, $mine, 1 : $c->_wire_record // return 0;
        if ($r->{id} != $req->{id}) { push @$held, $r; next }
        push @{ $req->{records} }, [$r->{type}, $r->{id}, length $r->{content}];
        $req->{aborted} = 1 if $r->{type} == FakeWorker::FCGI_ABORT_REQUEST();
        next if $r->{type} != $type;
        return 1 unless length $r->{content};
        $$bytes .= $r->{content};
    }
    return 1;
}

# The next request: id, role, flags, keep_conn, params, params_order (names), params_error, stdin, aborted, records,
# stray (records passed over before its BEGIN_REQUEST). An authorizer's STDIN is not waited for, nor a filter's DATA.
sub recv_request {
    my ($c, %o) = @_;
    my ($begin, @records);
    do {
        $begin = $c->recv_record // return undef;
        push @records, [$begin->{type}, $begin->{id}, length $begin->{content}];
    } until $begin->{type} == FakeWorker::FCGI_BEGIN_REQUEST();
    my ($role, $flags) = unpack 'nC', $begin->{content};
    my $req = $c->{partial} = { id => $begin->{id}, role => $role, flags => $flags, params => {}, params_order => [],
        keep_conn => ($flags // 0) & FakeWorker::FCGI_KEEP_CONN(), records => [pop @records], stray => \@records };
    $c->{id} = $req->{id};
    $c->_stream($req, FakeWorker::FCGI_PARAMS(), \my $bytes) or return undef;
    my @pairs = eval { FakeWorker::decode_pairs($bytes) };
    $req->{params_error} = $@ if $@;
    @$req{qw(params params_order)} = ({@pairs}, [@pairs[map { 2 * $_ } 0 .. @pairs / 2 - 1]]);
    if ($o{stdin} // ($role // 0) != FakeWorker::FCGI_AUTHORIZER()) { $c->recv_stdin($req) // return undef }
    delete $c->{partial};
    return $req;
}
# STDIN to its end, after recv_request(stdin => 0).
sub recv_stdin { $_[0]->_stream($_[1], FakeWorker::FCGI_STDIN(), \$_[1]{stdin}) ? $_[1]{stdin} : undef }

# 'readable', 'eof' (also after a reset) or 'timeout'; nothing is read.
sub wait {
    my ($c, $seconds) = @_;
    return 'readable' if @{ $c->{held} };
    return 'eof' unless $c->{sock};
    return 'timeout' unless FakeWorker::_select($c->{life}, $c->{sock}, 'r', $seconds);
    my $byte = '';
    return defined recv($c->{sock}, $byte, 1, MSG_PEEK) && length $byte ? 'readable' : 'eof';
}

# Bytes as they are; false when the server does not take them (error says why).
sub raw {
    my ($c, $bytes, $at) = (@_[0, 1], 0);
    utf8::downgrade($bytes);
    while ($at < length $bytes) {
        return 0 unless $c->{sock};
        my $n = syswrite $c->{sock}, $bytes, length($bytes) - $at, $at;
        if (defined $n) { $at += $n }
        elsif ($! == EAGAIN) { FakeWorker::_select($c->{life}, $c->{sock}, 'w') }
        elsif ($! != EINTR) { $c->{error} = "$!"; return 0 }
    }
    return 1;
}
# One record; the id is the last request's unless told.
sub record { my ($c, %o) = @_; return $c->raw(FakeWorker::encode_record(id => $c->{id}, %o)) }

# Text on a stream, in as many records as it needs; an empty text is the record that ends the stream.
sub _text {
    my ($c, $type, $text, $id) = @_;
    my @parts = length $text ? unpack '(a65528)*', $text : '';
    $id //= $c->{id};
    return $c->raw(join '', map { FakeWorker::encode_record(type => $type, id => $id, content => $_) } @parts);
}
sub stdout { my ($c, $text, $id) = @_; return $c->_text(STDOUT => $text, $id) }
sub stderr { my ($c, $text, $id) = @_; return $c->_text(STDERR => $text, $id) }
sub end {
    my ($c, $id, $app, $status) = @_;
    $status = pack 'NCx3', $app // 0, FakeWorker::_number($status // 0);
    return $c->record(type => 'END_REQUEST', id => $id // $c->{id}, content => $status);
}

# A whole answer as it should be; closing the connection, when the request does not keep it, is the script's part.
sub answer {
    my ($c, $req, $text) = @_;
    return (!length $text || $c->stdout($text, $req->{id})) && $c->stdout('', $req->{id}) && $c->end($req->{id});
}

sub close { my $s = delete $_[0]{sock}; return $s && CORE::close $s }
# RST on TCP. A unix socket has none: there the server gets ECONNRESET only if bytes of its own were left unread.
sub reset {
    my ($c) = @_;
    setsockopt $c->{sock}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 if $c->{sock};
    return $c->close;
}
1;
