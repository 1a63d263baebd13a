# SPDX-License-Identifier: Apache-2.0
# conf/DIRECTIVES.md is what the table says, and no configuration or page names a directive that the table has not.
use strict;
use warnings;
use File::Temp qw(tempdir);
use Test::More;

my $cc = $ENV{CC} // 'gcc';
my ($apr) = grep { defined && length } $ENV{APR_CONFIG}, map { s/\s+$//r } `command -v apr-1-config || command -v apr-config`;

sub text_of {
    my ($file) = @_;
    open my $fh, '<', $file or die "$file: $!";
    local $/;
    my $text = <$fh>;
    return $text;
}

my $reference = text_of('conf/DIRECTIVES.md');

SKIP: {
    skip 'no apr-1-config here', 2 unless $apr;
    my $dir = tempdir(CLEANUP => 1);
    my $log = `$cc -std=c11 -D_GNU_SOURCE -Imodules \$($apr --includes --cppflags) -o $dir/gen t/tools/gen_directives.c modules/core/*.c \$($apr --link-ld) 2>&1`;
    is $?, 0, 't/tools/gen_directives.c builds' or diag $log;
    skip 'it does not', 1 if $?;
    my $made = `$dir/gen`;
    ok $made eq $reference, 'conf/DIRECTIVES.md is made from the table'
        or diag "make it again: $cc -std=c11 -D_GNU_SOURCE -Imodules \$($apr --includes --cppflags) -o /tmp/gen "
        . "t/tools/gen_directives.c modules/core/*.c \$($apr --link-ld) && /tmp/gen >conf/DIRECTIVES.md";
}

# The names as the source has them, so that this holds without a compiler.
my %known = map { lc($_ =~ tr/<>//dr) => 1 } text_of('modules/core/setting_table.h') =~ /^\s*X\("(<?Fcgi\w+>?)"/mg;
cmp_ok scalar keys %known, '>', 10, 'the table has directives';
is_deeply [grep { $reference !~ /^### \\?<?\Q$_\E(?:\\>)?$/mi } sort keys %known], [], 'each has its place in conf/DIRECTIVES.md';

# The rows of FCGIPM_SETTINGS become commands by themselves; the other directives are written down in web/commands.c and web/legacy.c.
my ($others) = text_of('modules/core/setting_table.h') =~ /#define FCGIPM_DIRECTIVES\(X\)(.*)/s;
my $commands = text_of('modules/web/commands.c') . text_of('modules/web/legacy.c');
is_deeply [grep { $commands !~ /\bAP_INIT_\w+\(\s*"\Q$_\E"/ } map { s/>$//r } $others =~ /^\s*X\("([^"]+)"/mg], [],
    'each that is no setting is a command in web/commands.c or web/legacy.c';

# Also those that are commented out: a user will uncomment them. Handlers, pools and file names are in lower case.
my @pages = grep { -e } glob('conf/*.conf conf/*.load conf/examples/*.conf'), 'README.md', 'conf/OPERATING.md';
cmp_ok scalar @pages, '>=', 12, 'there are configurations';
for my $page (@pages) {
    my @unknown = grep { !$known{lc $_} } text_of($page) =~ /\b(Fcgi[A-Z]\w*)/g;
    is_deeply \@unknown, [], "$page: no directive that does not exist";
}

done_testing;
