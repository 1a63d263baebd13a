#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The test application in Perl with CGI::Fast: see actor.c.
use strict;
use warnings;
use CGI::Fast;
use File::Basename;
use File::Spec;
my $dir;
BEGIN { $dir = dirname(File::Spec->rel2abs(__FILE__)) }
require "$dir/actor_lib.pl";

while (my $q = CGI::Fast->new) {
    # CGI.pm has read the body: whatever is not a form is in POSTDATA or PUTDATA.
    actor_answer('fast', $ENV{QUERY_STRING}, \%ENV, sub {
        no warnings;
        my $body = $q->param('POSTDATA') // $q->param('PUTDATA');
        return defined $body ? $body : '';
    });
}
