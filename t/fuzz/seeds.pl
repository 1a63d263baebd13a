#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Writes the seed corpora of the fuzz targets: perl t/fuzz/seeds.pl [t/fuzz/corpus]. Files that a fuzzer found
# are named find-*; this script leaves them alone.
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Path qw(make_path);

my $root = $ARGV[0] // dirname($0) . '/corpus';

sub seed {
    my ($set, $name, $bytes) = @_;
    make_path("$root/$set");
    open my $fh, '>:raw', "$root/$set/$name" or die "$root/$set/$name: $!\n";
    print {$fh} $bytes;
    close $fh or die "$root/$set/$name: $!\n";
}

sub record {
    my ($type, $id, $content, $padding) = @_;
    $padding //= 0;
    return pack('CCnnCC', 1, $type, $id, length $content, $padding, 0) . $content . "\xee" x $padding;
}
sub begin_request { return record(1, $_[0], pack('nCx5', 1, $_[1])) }
sub end_request { return record(3, $_[0], pack('NCx3', $_[1] // 0, $_[2] // 0), $_[3]) }
sub len { return $_[0] < 128 ? chr $_[0] : pack 'N', $_[0] | 0x80000000 }
sub pair { return len(length $_[0]) . len(length $_[1]) . $_[0] . $_[1] }

my $answer = record(6, 1, "Content-Type: text/plain\r\n\r\nhello", 6) . record(6, 1, '') . end_request(1);

my %record = (
    'abort'       => record(2, 1, ''),
    'answer'      => $answer,
    'begin-end'   => begin_request(1, 1) . end_request(1),
    'cut'         => substr($answer, 0, 20),
    'empty'       => '',
    'header-cut'  => substr($answer, 0, 5),
    'http'        => "HTTP/1.1 400 Bad Request\r\n\r\n",
    'id-65535'    => record(6, 65535, 'x'),
    'management'  => record(9, 0, pair('FCGI_MAX_CONNS', '')) . record(11, 0, pack('Cx7', 200)),
    'padding-255' => record(6, 1, 'x', 255) . record(7, 1, '', 255),
    'reserved'    => "\1\6\0\1\0\1\0\xffx",
    'type-200'    => record(200, 3, 'what'),
    'version-0'   => "\0\6\0\1\0\0\0\0",
);
seed('record', $_, $record{$_}) for sort keys %record;

my %pairs = (
    'bad-limit'   => "\5" . pair('NAME', 'value'),
    'cut-length'  => "\0\x80\0",
    'cut-value'   => "\0\4\x09NAMEval",
    'duplicate'   => "\0" . pair('A', 'b') x 3,
    'empty-name'  => "\0" . pair('', 'value') . pair('', ''),
    'huge'        => "\0\xff\xff\xff\xff\xff\xff\xff\xff",
    'len-127-128' => "\0" . pair('N' x 127, 'v' x 128),
    'len-128-127' => "\0" . pair('N' x 128, 'v' x 127),
    'long-form'   => "\0\x80\0\0\1\x80\0\0\2Nvv",
    'params'      => "\0"
        . pair('SCRIPT_FILENAME', '/srv/app.php')
        . pair('REQUEST_METHOD', 'POST')
        . pair('CONTENT_LENGTH', '12')
        . pair('PATH_INFO', ''),
    'values'     => "\x40" . pair('FCGI_MAX_CONNS', '1') . pair('FCGI_MPXS_CONNS', '0'),
    'writer-full' => "\2" . pair('A', 'b') . pair('C', 'd') . pair('LONGER', 'value'),
);
seed('pairs', $_, $pairs{$_}) for sort keys %pairs;

my %head = (
    'bad-name'     => "\xf0PHP Warning: x\n\n",
    'bad-status'   => "\xf0Status: 101\n\n",
    'blank'        => "\xf0\r\n",
    'cookies'      => "\xf0Set-Cookie: a=1\nSet-Cookie: b=2\n\n",
    'cr'           => "\xf0A: b\rC: d\n\n",
    'crlf'         => "\xf4Content-Type: text/html\r\nStatus: 404 Not Found\r\n\r\n<html>",
    'endless-fold' => "\x20A: b" . "\n " x 40,
    'folded'       => "\xf2A: one \t\r\n two\r\n\tthree\r\nB: x\r\n\r\n",
    'length'       => "\xf0Content-Length: 5\nContent-Length: 05\n\nhello",
    'length-twice' => "\xf0Content-Length: 5\nContent-Length: 6\n\n",
    'lf'           => "\xf0Content-Type: text/plain\n\nbody",
    'limit'        => "\x1fContent-Type: text/plain; charset=utf-8\n\n",
    'location'     => "\xf0Location: /elsewhere?x=y\n\n",
    'nph'          => "\xf3HTTP/1.1 302 See: there\r\nLocation: http://x/\r\n\r\n",
    'nul'          => "\xf0A: b\0c\n\n",
    'status-fold'  => "\xf0Status: 200\n Fine\n\n",
);
seed('head', $_, $head{$_}) for sort keys %head;

my $values = record(10, 0, pair('FCGI_MAX_CONNS', '8') . pair('FCGI_MAX_REQS', '8') . pair('FCGI_MPXS_CONNS', '1'), 3);
my %mux = (
    'aborted'     => "\x05" . $answer,
    'again'       => "\x21" . $answer . $answer,
    'answer'      => "\x01" . $answer,
    'bad-end'     => "\x01" . record(3, 1, "\0" x 7),
    'end-status'  => "\x01" . end_request(1, 0, 4),
    'end-twice'   => "\x02" . end_request(1) . end_request(1),
    'ignored'     => "\x01" . record(6, 1, '') . record(6, 1, 'late') . end_request(1, 0, 0, 7),
    'interleaved' => "\x03" . record(6, 2, 'two') . record(6, 1, 'one') . record(7, 3, 'err') . end_request(2, 1) . end_request(3, 0, 2),
    'overloaded'  => "\x01" . end_request(1, 0, 2),
    'trailing'    => "\x01" . $answer . record(6, 1, 'smuggled'),
    'unasked'     => "\x01" . $values,
    'unknown'     => "\x10" . record(11, 0, pack('Cx7', 9)),
    'values'      => "\x11" . $values . $answer,
    'values-bad'  => "\x10" . record(10, 0, pair('FCGI_MAX_CONNS', '4294967296')),
    'values-long' => "\x10" . record(10, 0, pair('N' x 60, 'v' x 60)),
    'version-2'   => "\x01" . "\2\6\0\1\0\0\0\0",
    'wrong-id'    => "\x01" . record(6, 4, 'x'),
    'wrong-type'  => "\x01" . begin_request(1, 0),
);
seed('mux', $_, $mux{$_}) for sort keys %mux;

# --- the manager: lists of steps, see fuzz_pm.c ---
my $up = "\6\4\10";    # processes become ready, time goes by
sub head_of { my ($row, $offset, $bytes) = @_; return pack('CCCC', 1, $row, $offset, length $bytes) . $bytes }
sub order { return "\10\0\4\0" . pack('CCCCCC', 10, 0, @_) . "\4\0\13\0\10\0" }    # (calls, orders, reads, hangs up)
sub said { return "\10\1" . pack('CCC', 9, 1, length $_[0]) . $_[0] . "\4\0\13\1\10\1" }
sub wish { return pack('CCCCC', 3, @_) }
my %pm = (
    'quiet'     => $up . "\4\xff" x 4,
    'need'      => $up . wish(0, 1, 0, 1) . $up . wish(0, 2, 0, 1) . $up,
    'hung'      => $up . wish(1, 0, 0, 1) . "\4\xff" . "\5\0\2" . $up,
    'deaths'    => $up . join('', map { "\5" . chr($_) . "\2" . "\4\x20" } 0 .. 7) . $up,
    'crashes'   => join('', map { "\5\0\1\4\xff" } 1 .. 12),
    'ones'      => $up . head_of(0, 0, "\xff" x 200) . head_of(1, 0, "\xff" x 80) . head_of(2, 0, "\xff" x 120) . "\4\xff\7" . $up,
    'geometry'  => $up . head_of(0, 56, pack('V6', 0xffffffff, 0xffffffff, 1, 0xffffffff, 0, 7)) . wish(0, 0, 0, 1) . $up . "\7\4\x20",
    'routes'    => $up . head_of(0, 4, pack('V', 5)) . head_of(6, 4, pack('V', 0xffffffff)) . "\4\xff" x 3,
    'queue'     => $up . head_of(3, 0, pack('Q<*', map { 1 << 60 | $_ << 44 | $_ } 1 .. 8)) . "\4\xff" . "\5\0\2" . $up,
    'parked'    => $up . head_of(3, 0, pack('Q<*', map { 9 << 60 | $_ << 44 | $_ } 1 .. 8)) . "\4\xff" . "\5\0\2" . $up,
    'head'      => $up . head_of(5, 0, "\0" x 40) . "\7\4\x40",
    'datagrams' => $up . join('', map { pack('CCC', 2, $_ >> 8, $_ & 255) . 'x' x $_ } 0, 1, 27, 28, 1051, 1053) . $up,
    'message'   => $up . pack('CCC', 2, 1052 >> 8, 1052 & 255) . pack('V7', 2, 2, 0, 0, 1, 1024, 5) . 'p' x 1024 . $up,
    'orders'    => $up . join('', map { order($_, 1, 1, 2) . $up } 0 .. 7),
    'scale'     => $up . join('', map { order(4, $_ % 6, $_ * 7 % 5, $_ % 7) . $up } 0 .. 12),
    'lines'     => $up . join('', map { said($_) } "scale more 1 99999999999\n", "board\nboard\n", "restart\n", "drain one\0two\n", "trace on more now\n", "pause more\r\n", 'x' x 255, "\n"),
    'half'      => $up . "\10\2" . pack('CCC', 9, 2, 5) . 'drain' . "\4\xff" x 3 . said("resume one\n"),
    'callers'   => $up . join('', map { "\10" . chr($_) . pack('CCC', 9, $_, 200) . 'y' x 200 } 0 .. 3) . $up,
    'counters'  => $up . head_of(1, 0, pack('V*', 2, 1, 7, 7) . "\xff" x 60) . "\4\xff" x 5,
);
seed('pm', $_, $pm{$_}) for sort keys %pm;

my %notify = (
    'ready'    => "\1READY=1",
    'lines'    => "\1STATUS=warm\nREADY=1\nMAINPID=1",
    'forged'   => "\0READY=1",
    'not-yet'  => "\1READY=0\nREADY=11\n READY=1",
    'nul'      => "\1STATUS=x\0\nREADY=1",
    'empty'    => "\1",
    'newlines' => "\1\n\n\n",
    'long'     => "\1" . 'x' x 1100 . "\nREADY=1",
    'edge'     => "\1" . 'x' x 1015 . "\nREADY=1",
);
seed('notify', $_, $notify{$_}) for sort keys %notify;

my $said = record(10, 0, pair('FCGI_MAX_REQS', '8') . pair('FCGI_MPXS_CONNS', '1'));
my %ready = (
    'sign'        => "\0x",
    'values'      => "\1$said",
    'values-cut'  => "\x7d$said",
    'values-odd'  => "\5" . record(10, 0, pair('FCGI_MAX_REQS', '-1') . pair('FCGI_MAX_CONNS', '99999999999999999999')),
    'values-long' => "\5" . record(10, 0, pair('X' x 300, 'y' x 3000)),
    'unknown'     => "\5" . record(11, 0, pack('Cx7', 9)),
    'answer'      => "\6$answer",
    'answer-cut'  => "\x7e$answer",
    'error'       => "\6" . record(6, 1, "Status: 503\r\n\r\n") . end_request(1),
    'head-only'   => "\6" . record(6, 1, "Content-Type: text/plain\r\n\r\n"),
    'head-long'   => "\6" . record(6, 1, 'X: ' . 'y' x 5000),
    'end-only'    => "\6" . end_request(1),
    'hang-up'     => "\6",
    'other-id'    => "\6" . record(6, 2, 'x') . end_request(2),
);
seed('ready', $_, $ready{$_}) for sort keys %ready;
