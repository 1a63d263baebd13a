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
