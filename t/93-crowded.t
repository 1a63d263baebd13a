# SPDX-License-Identifier: Apache-2.0
# A reload that changes more than there is room for: httpd stays, what fits serves, and the log says what does not.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Fcgipm;

my $actor = app_built('actor.c');
# 14336 places for processes in all; a pool of 256 takes 258.
sub pools {
    my ($env, @names) = @_;
    return "# the pools\n<Location \"/st\">\n    SetHandler fcgipm-status\n</Location>\n" . join '', map { <<"EOC" } @names;
<FcgiServer $_>
    FcgiCommand $actor
    FcgiProcesses 0 256
    FcgiEnv VERSION $env
</FcgiServer>
<Location "/$_">
    FcgiPass $_
</Location>
EOC
}
my @names = map { "p$_" } 1 .. 40;
my $h = Fcgipm->httpd(conf => pools(one => @names), expect_log => [qr/FPM0658/, qr/FPM0659/, qr/FPM0622/]);
sub version { my ($name) = @_; return $h->version("/$name") }

is version('p1'), 'one', 'they serve';
is version('p40'), 'one', 'the last one too';

$h->reconfigure(pools(two => @names, 'extra1', 'extra2'));
is $h->get('/st')->{status}, 200, 'httpd is still there';
like $h->log, qr/FPM0658: \d+ changed pools \(the first is p\d+\) go on as they were, as there is no room for their new definitions beside the old ones; reload again when others have ended/, 'and says what happened';
my (%at, @none);
for my $name (@names) { my $v = version($name); $at{$v}++; push @none, $name unless $v =~ /^(?:one|two)$/ }
is_deeply \@none, [], 'every pool serves';
cmp_ok $at{two} // 0, '>=', 10, 'as many with their new definition as there is room for';
cmp_ok $at{one} // 0, '>=', 10, 'the others with their old one';
is version('extra1') . version('extra2'), 'twotwo', 'new ones go before changed ones: they have nothing to go on with';

$h->reconfigure(pools(two => @names, map { "more$_" } 1 .. 20));
like $h->log, qr/FPM0659: \d+ pools \(the first is more\d+\) do not serve before the next reload: no room for pool \w+: at most 1792 pools, 14336 processes/, 'where there is no old one';
my @refused = grep { my $r = $h->get("/more$_"); $r->{status} == 503 && $r->{headers}{'retry-after'} } 1 .. 20;
cmp_ok scalar(@refused), '>', 0, 'those are 503';
like $h->log, qr/FPM0622: pool more\d+: there was no room for it at the last reload; answered 503/, 'with a line of their own';
is_deeply [grep { version($_) !~ /^(?:one|two)$/ } @names], [], 'the others still serve';

$h->reconfigure(pools(three => 'p1', 'p2'));
is $h->get('/p9')->{status}, 404, 'a small configuration again: what is gone is gone';
is_deeply [grep { version($_) !~ /^(?:one|two|three)$/ } 'p1', 'p2'], [], 'and the others serve';
done_testing;
