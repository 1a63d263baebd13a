# SPDX-License-Identifier: Apache-2.0
# The rooms of modules/README: no include that is not allowed, no cycle. And the checker sees what it should see.
use strict;
use warnings;
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;

sub layers {
    my ($root) = @_;
    my $out = `$^X t/tools/layers.pl $root 2>&1`;
    return ($? >> 8, $out);
}

# A tree of files; what the checker says of it.
sub judged {
    my (%file) = @_;
    my $root = tempdir(CLEANUP => 1);
    for my $path (sort keys %file) {
        my $full = "$root/$path";
        make_path($full =~ s{/[^/]+$}{}r);
        open my $fh, '>', $full or die "$full: $!";
        print $fh $file{$path};
        close $fh;
    }
    return layers($root);
}

my ($rc, $out) = layers('.');
is $rc, 0, 'modules/ and mod_fcgipm.c keep to modules/README' or diag $out;

my %fine = (
    'mod_fcgipm.c'           => qq{#include <httpd.h>\n#include "web/guard.h"\n},
    'modules/web/guard.h'    => qq{#include <httpd.h>\n},
    'modules/web/guard.c'    => qq{#include "web/guard.h"\n#include "pm/daemon.h"\n#include "wire/span.h"\n},
    'modules/pm/daemon.h'    => qq{#include "share/board.h"\n},
    'modules/pm/loop.h'      => qq{#include <stdbool.h>\n},
    'modules/share/board.h'  => qq{#include <apr_errno.h>\n#include "core/log.h"\n},
    'modules/share/queue.h'  => '',
    'modules/core/log.h'     => qq{#include <apr_errno.h>\n},
    'modules/link/peer.h'    => '',
    'modules/report/view.h'  => '',
    'modules/wire/span.h'    => qq{#include <stdint.h>\n},
);
($rc, $out) = judged(%fine);
is $rc, 0, 'a tree that keeps to it is accepted' or diag $out;

my @wrong = (
    ['web sees one header of pm', 'modules/web/x.c', '#include "pm/loop.h"', qr/web does not know pm\/loop\.h/],
    ['and that one shows no other', 'modules/pm/daemon.h', '#include "pm/loop.h"', qr/pm\/daemon\.h shows pm\/loop\.h/],
    ['rooms on one floor are strangers', 'modules/pm/x.c', '#include "link/peer.h"', qr/pm does not know link\/peer\.h/],
    ['arrows go down', 'modules/share/x.c', '#include "pm/daemon.h"', qr/share does not know pm\/daemon\.h/],
    ['core knows nobody', 'modules/core/x.c', '#include "share/board.h"', qr/core does not know/],
    ['views know no codec', 'modules/report/x.c', '#include "wire/span.h"', qr/report does not know wire\/span\.h/],
    ['the roof stands on web', 'mod_fcgipm.c', '#include "core/log.h"', qr/roof does not know core\/log\.h/],
    ['wire knows C11 only', 'modules/wire/x.c', '#include <stdlib.h>', qr/wire knows no <stdlib\.h>/],
    ['not even APR', 'modules/wire/x.c', '#include <apr_errno.h>', qr/wire knows no <apr_errno\.h>/],
    ['httpd is for web', 'modules/link/x.c', '  #  include <http_log.h>', qr/<http_log\.h> is httpd's/],
    ['atomics are in one file', 'modules/pm/x.c', '#include <stdatomic.h>', qr/share\/atom\.h only/],
    ['a header has its room', 'modules/pm/x.c', '#include "loop.h"', qr/write it with its room/],
    ['and exists', 'modules/pm/x.c', '#include "pm/nothing.h"', qr/does not exist/],
    ['a new room must be in modules/README', 'modules/attic/x.c', '', qr/room attic is not in/],
    ['a cycle of headers', 'modules/share/queue.h', qq{#include "share/wake.h"\n},
        qr/cycle of headers: share\/queue\.h share\/wake\.h/, 'modules/share/wake.h', qq{#include "share/queue.h"\n}],
    ['a cycle through a .c', 'modules/share/board.c', qq{#include "share/queue.h"\n},
        qr/cycle of files .*: share\/board share\/queue/, 'modules/share/queue.h', qq{#include "share/board.h"\n}],
);
for my $case (@wrong) {
    my ($name, $path, $text, $want, @more) = @$case;
    ($rc, $out) = judged(%fine, $path => "$text\n", @more);
    ok $rc == 1 && $out =~ $want, $name or diag "exit $rc\n$out";
}
($rc, $out) = judged(%fine, 'modules/core/x.c' => qq{/* as in\n#include "pm/loop.h"\n*/\n// #include <httpd.h>\n});
is $rc, 0, 'comments are no includes' or diag $out;

done_testing;
