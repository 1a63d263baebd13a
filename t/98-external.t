# SPDX-License-Identifier: Apache-2.0
# The socket of FcgiConnect belongs to somebody else, and another one may come to lie there while httpd serves: what is there
# at the moment gets the request, as docs/threat-model.md says; what is no application makes nobody wait, is neither read
# nor written, and is not a way to the manager. Where anybody could put one there the start says so.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use POSIX qw(mkfifo);
use Time::HiRes qw(time);
use Fcgipm;

plan skip_all => 'needs root: applications of several users' if $>;
my $self = app_built('self.c');
my $dir = File::Temp::tempdir('/tmp/fcgipm-external-XXXXXX', CLEANUP => 1);
chmod 0755, $dir;
my ($nobody, $daemon) = map { (getpwnam $_)[2] } qw(nobody daemon);
my @pids;
my $test = $$;
END { if ($$ == $test) { my $status = $?; kill KILL => @pids; waitpid $_, 0 for @pids; $? = $status } }
# An application of this user on a socket of this name.
sub application {
    my ($name, $uid) = @_;
    unlink "$dir/$name";
    push @pids, Fcgipm::external("$dir/$name", 'setpriv', "--reuid=$uid", '--clear-groups', $self);
    return $pids[-1];
}
sub put { my ($name) = @_; rename "$dir/$name", "$dir/app.sock" or die "$name: $!" }

my $first = application('app.sock', $nobody);
# One child: a kept connection is one of its.
my $mpm = "StartServers 1\nServerLimit 1\nThreadLimit 16\nThreadsPerChild 16\nMaxRequestWorkers 16\nMinSpareThreads 1\nMaxSpareThreads 16\n";
my $h = Fcgipm->httpd((($ENV{FCGIPM_MPM} // "event") eq "event" ? (mpm_conf => $mpm) : ()), expect_log => [qr/FPM060[0-3]/, qr/FPM061[0-9]/], conf => <<"EOC");
<FcgiServer out>
    FcgiConnect unix:$dir/app.sock
    FcgiTimeout connect=1s queue=2s
</FcgiServer>
<FcgiServer kept>
    FcgiConnect unix:$dir/kept.sock
    FcgiKeepConn On
    FcgiTimeout connect=1s queue=2s
</FcgiServer>
<FcgiServer ours>
    FcgiCommand $self
    FcgiProcesses 1
</FcgiServer>
@{[map { "<Location /$_>\n    FcgiPass $_\n</Location>\n" } qw(out kept ours)]}
<Location "/st">
    SetHandler fcgipm-status
</Location>
EOC
sub who { my $r = $h->get($_[0]); return $r->{status} == 200 && $r->{body} =~ /^uid=(\d+)/ ? $1 : $r->{status} }
# Refused, and nobody waits for it.
sub refused {
    my ($what) = @_;
    my $begin = time;
    like who('/out'), qr/^50[234]$/, "$what is refused";
    cmp_ok time - $begin, '<', 8, 'soon';
}
unlike $h->log, qr/FPM0680/, 'nothing is said of a directory that is root\'s';
is who('/out'), $nobody, 'the application';

subtest 'another one in its place' => sub {
    application('other', $daemon);
    put('other');
    is who('/out'), $daemon, 'is asked from now on: the name says who it is';
    kill KILL => $first;
    application('again', $nobody);
    put('again');
    is who('/out'), $nobody, 'and again';
};

subtest 'a kept connection' => sub {
    my $kept = application('kept.sock', $nobody);
    is who('/kept'), $nobody, 'one that is kept';
    application('other', $daemon);
    rename "$dir/other", "$dir/kept.sock" or die;
    is who('/kept'), $nobody, 'is to whom it was made';
    kill KILL => $kept;
    waitpid $kept, 0;
    is who('/kept'), $daemon, 'and when it has ended the name counts';
};

subtest 'what is no application' => sub {
    my $well = sub { rename "$dir/app.sock", "$dir/aside" or die };
    my $back = sub { unlink "$dir/app.sock"; rename "$dir/aside", "$dir/app.sock" or die; wait_for { who('/out') eq $nobody } 20, 'and when the application is back it serves' };
    $well->();
    refused('nothing');
    $back->();
    $well->();
    open my $f, '>', "$dir/app.sock" or die;
    print {$f} "a file\n";
    close $f;
    chmod 0666, "$dir/app.sock";
    refused('a file');
    is do { local (@ARGV, $/) = "$dir/app.sock"; <> }, "a file\n", 'and is as it was';
    $back->();
    $well->();
    mkfifo "$dir/app.sock", 0666;
    chmod 0666, "$dir/app.sock";
    refused('a FIFO');
    $back->();
    $well->();
    mkdir "$dir/app.sock";
    refused('a directory');
    rmdir "$dir/app.sock";
    $back->();
    $well->();
    my $deaf = IO::Socket::UNIX->new(Type => Socket::SOCK_DGRAM(), Local => "$dir/app.sock") or die;
    chmod 0666, "$dir/app.sock";
    refused('a socket for datagrams');
    $back->();
};

# A link is followed as the kernel does it: as httpd's user, who reaches nothing by it that he could not before.
subtest 'a link' => sub {
    my $run = $h->root . '/run';
    application('elsewhere', $daemon);
    rename "$dir/app.sock", "$dir/aside" or die;
    my $link = sub { unlink "$dir/app.sock"; symlink $_[0], "$dir/app.sock" or die };
    $link->("$dir/elsewhere");
    is who('/out'), $daemon, 'to another socket leads there';
    my ($manager, @workers) = ($h->manager, $h->workers);
    ok -S "$run/control", 'the manager has a socket for orders';
    for my $to ("$run/control", "$run/registry", (glob "$run/p*")[0], "$run/p" . $h->status('ours')->{index} . '/s0.sock', "$dir/app.sock", '/dev/null', '/etc/passwd') {
        $link->($to);
        refused("to $to");
    }
    is $h->manager, $manager, 'the manager is the same';
    is join(' ', $h->workers), "@workers", 'with the same processes';
    unlink "$dir/app.sock";
    rename "$dir/aside", "$dir/app.sock";
    wait_for { return who('/out') eq $nobody } 20, 'and without the link it is as before';
    like who('/ours'), qr/^\d{1,2}$|^33$/, 'our own serve';
};
$h->stop;

subtest 'where anybody may put one' => sub {
    my $said = sub { my ($path) = @_; return (Fcgipm->configtest(conf => "<FcgiServer x>\n    FcgiConnect unix:$path\n</FcgiServer>\n"))[1] };
    mkdir "$dir/$_" for qw(open open/below sticky sticky/below fine);
    chmod 0777, "$dir/open";
    chmod 01777, "$dir/sticky";
    chmod 0775, "$dir/fine";
    my $like = sub { my ($which) = @_; return qr/FPM0680: \S+: <FcgiServer x> FcgiConnect unix:\S+: anybody may write to \Q$dir\E\/$which, and put a socket of his in the place of the application's; write chmod o-w, or choose another directory/ };
    like $said->("$dir/open/x.sock"), $like->('open'), 'a directory that all may write to';
    like $said->("$dir/open/below/x.sock"), $like->('open'), 'also above the one where it lies';
    like $said->("$dir/sticky/x.sock"), $like->('sticky'), 'one as /tmp: whoever comes first';
    unlike $said->("$dir/sticky/below/x.sock"), qr/FPM0680/, 'but not above, where it keeps what is there';
    unlike $said->("$dir/fine/x.sock"), qr/FPM0680/, 'a group is the administrator\'s choice';
    my $nowhere = $said->('/nowhere/at/all/x.sock');
    like $nowhere, qr/FPM0680: .*its directory is not there/, 'what is not there';
    unlike $nowhere, qr/anybody/, 'cannot be written by anybody';
};
done_testing;
