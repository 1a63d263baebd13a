#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# A script on disk that is itself the FastCGI program: see actor.c.
use strict;
use warnings;
use FCGI;
use File::Basename;
use File::Spec;
my $dir;
BEGIN { $dir = dirname(File::Spec->rel2abs(__FILE__)) }
require "$dir/actor_lib.pl";

my %env;
my $lang = $0 =~ /script/ || __FILE__ =~ /script|fpl$/ || $0 =~ /fpl$/ ? 'script' : 'perl';
my $r = FCGI::Request(\*STDIN, \*STDOUT, \*STDERR, \%env);
while ($r->Accept() >= 0) {
    actor_answer($lang, $env{QUERY_STRING}, \%env, sub {
        my ($body, $part) = ('', '');
        $body .= $part while read STDIN, $part, 65536;
        return $body;
    });
    $r->Finish;
}
