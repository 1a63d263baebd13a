#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# A FastCGI application in Perl, with FCGI.pm.
use strict;
use warnings;
use FCGI;

my $request = FCGI::Request();
my $count = 0;
while ($request->Accept() >= 0) {
    $count++;
    print "Content-Type: text/html; charset=utf-8\r\n\r\n",
        "<!doctype html><title>Perl</title><h1>Hello from Perl and FCGI.pm</h1>\n",
        "<p>Process $$, request $count. SCRIPT_NAME is $ENV{SCRIPT_NAME}.</p>\n";
}
