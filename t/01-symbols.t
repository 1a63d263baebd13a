# SPDX-License-Identifier: Apache-2.0
# httpd loads modules into the global symbol scope: mod_fcgipm.so shows one name. Inside, a function's name says in which
# file it is: fcgipm_<noun>_<verb> is in <noun>.c.
use strict;
use warnings;
use Test::More;

my $build = $ENV{FCGIPM_BUILD} // 'build';
plan skip_all => 'no nm here' unless `nm --version 2>/dev/null`;

# Files that hold a second noun which is too small for a file of its own.
my %nouns = (
    'link/keeper'  => [qw(keeper link lease)],
    'link/kept'    => [qw(kept link)],
    'link/trunk'   => [qw(trunk trunks)],
    'link/lease'   => [qw(lease attempt)],
    'link/parked'  => [qw(parked attempt)],
    'pm/isolate_unix' => [qw(jail)],
    'pm/isolate_suexec' => [qw(jail suexec)],
    'share/board'  => [qw(board registry)],
    'share/msg'    => [qw(msg order)],
    'share/slot'   => [qw(slot seat geometry)],
    'wire/record'  => [qw(record role status type)],
);

sub symbols {
    my ($file, @options) = @_;
    open my $nm, '-|', 'nm', '-P', '--defined-only', @options, $file or die "nm: $!";
    my @names = map { (split)[0] } <$nm>;
    close $nm or die "nm $file failed";
    # Those of gcov and of the sanitizers, in builds for them.
    return grep { !/^(?:__(?:asan|tsan|odr|gcov|sanitizer|llvm)|_init$|_fini$)/ } @names;
}

SKIP: {
    skip "$build/mod_fcgipm.so is not built", 1 unless -e "$build/mod_fcgipm.so";
    is_deeply [symbols("$build/mod_fcgipm.so", '-D')], ['fcgipm_module'], 'mod_fcgipm.so shows fcgipm_module only';
}

# Objects whose source is gone are left over from an earlier build.
my @objects = grep { -e s{^\Q$build\E/}{}r =~ s/o$/c/r } glob "$build/modules/*/*.o";
SKIP: {
    skip "nothing in $build/modules", 1 unless @objects;
    my (@wrong, %owner, @twice);
    for my $object (@objects) {
        my ($file) = $object =~ m{/modules/(.*)\.o$};
        my $noun = join '|', @{$nouns{$file} // [$file =~ m{([^/]+)$}]};
        for my $name (symbols($object, '-g')) {
            next if $file eq 'ctl/main' && $name eq 'main';
            push @wrong, "$file.c: $name" unless $name =~ /^fcgipm_(?:$noun)(?:_|$)/;
            push @twice, "$name: $owner{$name} and $file" if $owner{$name};
            $owner{$name} = $file;
        }
    }
    is_deeply \@wrong, [], 'each global name begins with fcgipm_ and the noun of its file';
    is_deeply \@twice, [], 'and is there once';
}

done_testing;
