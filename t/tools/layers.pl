#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# The include graph of modules/ and mod_fcgipm.c against what modules/README allows: perl t/tools/layers.pl [--graph] [root].
# One line per wrong edge and per cycle, and exit status 1. --graph prints the edges between rooms as well.
use strict;
use warnings;

my $show_graph = @ARGV && $ARGV[0] eq '--graph' && shift;
my $root = $ARGV[0] // '.';

# A room may name itself and these. "pm/daemon.h" is one file of a room that is closed otherwise.
my %allowed = (
    wire   => [],
    core   => [],
    share  => [qw(core)],
    pm     => [qw(share core wire)],
    link   => [qw(share core wire)],
    report => [qw(share core)],
    ctl    => [qw(report share core wire)],
    web    => [qw(link report share core wire pm/daemon.h)],
    roof   => [qw(web)],
);
# Headers that are a room's own, whoever may see the room otherwise.
my %private = ('link/link.h' => 'link', 'pm/manager.h' => 'pm', 'core/setting_table.h' => 'core');
# Private headers without a .c of their own belong to the file whose inside they show.
my %inside = ('link/link' => 'link/lease');

my %wire_system = map { $_ => 1 } qw(stddef.h stdint.h stdbool.h string.h limits.h);
my $apr = qr/^(?:apr|apu)(?:_\w+)?\.h$/;
my $httpd = qr/^(?:httpd|http_\w+|ap_\w+|util_\w+|mpm_common|mpm|unixd|scoreboard|mod_\w+|os|heartbeat)\.h$/;

sub read_text {
    my ($path) = @_;
    open my $fh, '<', $path or die "$path: $!\n";
    local $/;
    my $text = <$fh>;
    return $text;
}

# Comments away, newlines kept, so that line numbers stay right.
sub without_comments {
    my ($text) = @_;
    $text =~ s{("(?:[^"\\\n]|\\.)*")|/\*(.*?)\*/|//[^\n]*}{defined $1 ? $1 : "\n" x (($2 // '') =~ tr/\n//)}ges;
    return $text;
}

sub room_of {
    my ($file) = @_;
    return $file =~ m{^([^/]+)/} ? $1 : 'roof';
}

# foo.c and foo.h are one node.
sub node_of {
    my ($file) = @_;
    my $node = $file =~ s/\.[ch]$//r;
    return $inside{$node} // $node;
}

sub sources {
    my @files = map { s{^\Q$root\E/modules/}{}r } glob "$root/modules/*/*.[ch]";
    push @files, 'mod_fcgipm.c' if -e "$root/mod_fcgipm.c";
    return @files;
}

sub path_of {
    my ($file) = @_;
    return $file =~ m{/} ? "modules/$file" : $file;
}

my (@wrong, %room_edge, %node_edge, %file_edge);

sub wrong {
    my ($file, $line, $text) = @_;
    push @wrong, path_of($file) . ":$line: $text";
}

sub judge_system {
    my ($file, $line, $header) = @_;
    my $room = room_of($file);
    if ($room eq 'wire') {
        wrong($file, $line, "wire knows no <$header>, only " . join ' ', map { "<$_>" } sort keys %wire_system)
            unless $wire_system{$header};
    } elsif ($header =~ $httpd) {
        wrong($file, $line, "<$header> is httpd's: web and mod_fcgipm.c only") unless $room eq 'web' || $room eq 'roof';
    } elsif ($header eq 'stdatomic.h') {
        wrong($file, $line, '<stdatomic.h> is for share/atom.h only') unless $file eq 'share/atom.h';
    } elsif ($header !~ $apr && $room eq 'roof') {
        wrong($file, $line, "<$header>: mod_fcgipm.c knows httpd and web only");
    }
}

sub judge_own {
    my ($file, $line, $header) = @_;
    my ($from, $to) = (room_of($file), room_of($header));
    if ($header !~ m{^[a-z]+/[a-z0-9_]+\.h$}) {
        return wrong($file, $line, qq{"$header": write it with its room, such as "core/log.h"});
    }
    return wrong($file, $line, qq{"$header" does not exist}) unless -e "$root/modules/$header";
    if ($from ne $to && !grep { $_ eq $to || $_ eq $header } @{$allowed{$from}}) {
        wrong($file, $line, "$from does not know $header");
    } elsif ($private{$header} && $private{$header} ne $from) {
        wrong($file, $line, "$header is private to $private{$header}");
    }
    # What web sees of pm is one header: it must not bring the rest along.
    wrong($file, $line, "pm/daemon.h shows $header to web") if $file eq 'pm/daemon.h' && $to eq 'pm';
    $room_edge{$from}{$to}++ if $from ne $to;
    $node_edge{node_of($file)}{node_of($header)} = 1 if node_of($file) ne node_of($header);
    $file_edge{$file}{$header} = 1;
}

sub read_includes {
    my ($file) = @_;
    my $line = 0;
    return wrong($file, 1, 'room ' . room_of($file) . ' is not in modules/README') unless $allowed{room_of($file)};
    for (split /\n/, without_comments(read_text("$root/" . path_of($file)))) {
        $line++;
        next unless /^\s*#\s*include\s*(\S.*)$/;
        my $what = $1;
        if ($what =~ /^<([^>]+)>/) {
            judge_system($file, $line, $1);
        } elsif ($what =~ /^"([^"]+)"/) {
            judge_own($file, $line, $1);
        } else {
            wrong($file, $line, "#include $what: not a plain name");
        }
    }
}

# Tarjan: every strongly connected component of more than one node, or a node that names itself.
sub cycles {
    my ($edge) = @_;
    my (%index, %low, @stack, %on_stack, @found);
    my $next = 0;
    my $visit;
    $visit = sub {
        my ($node) = @_;
        $index{$node} = $low{$node} = $next++;
        push @stack, $node;
        $on_stack{$node} = 1;
        for my $to (sort keys %{$edge->{$node} // {}}) {
            if (!defined $index{$to}) {
                $visit->($to);
                $low{$node} = $low{$to} if $low{$to} < $low{$node};
            } elsif ($on_stack{$to} && $index{$to} < $low{$node}) {
                $low{$node} = $index{$to};
            }
        }
        return if $low{$node} != $index{$node};
        my @part;
        do { push @part, pop @stack; $on_stack{$part[-1]} = 0 } until $part[-1] eq $node;
        push @found, [sort @part] if @part > 1 || $edge->{$node}{$node};
    };
    defined $index{$_} or $visit->($_) for sort keys %$edge;
    return @found;
}

my @sources = sources();
die "$root: no sources\n" unless @sources;
read_includes($_) for @sources;
push @wrong, 'cycle of headers: ' . join ' ', @$_ for cycles(\%file_edge);
push @wrong, 'cycle of files (.c and .h as one): ' . join ' ', @$_ for cycles(\%node_edge);

if ($show_graph) {
    for my $from (sort keys %room_edge) {
        print "$from -> ", join(', ', map { "$_ ($room_edge{$from}{$_})" } sort keys %{$room_edge{$from}}), "\n";
    }
}
print "$_\n" for @wrong;
exit(@wrong ? 1 : 0);
