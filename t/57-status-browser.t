# SPDX-License-Identifier: Apache-2.0
# The status page in a real browser (headless Chromium through WebDriver): on a desk and on a phone, in light and in dark,
# nothing is wider than the screen, everything can be read, nothing is loaded from elsewhere, and it refreshes itself.
# The pictures are in build/screens. Skipped without chromedriver, but with FCGIPM_BROWSER=1 that is a failure.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Path qw(make_path);
use HTTP::Tiny;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use Time::HiRes qw(time sleep);
use Fcgipm;

my ($driver) = grep { -x } qw(/usr/bin/chromedriver /usr/lib/chromium/chromedriver);
if (!$driver) {
    BAIL_OUT('chromedriver is missing') if $ENV{FCGIPM_BROWSER};
    plan skip_all => 'needs chromedriver (sh .ci/packages browser)';
}

my $actor = app_built('actor.c');
my $h = Fcgipm->httpd(expect_log => [qr/FPM031[67]/, qr/FPM0302/, qr/FPM0602/, qr/FPM0616/, qr/FPM0315/], conf => <<"EOC");
<FcgiServer shop>
    FcgiCommand $actor
    FcgiProcesses 2 4
</FcgiServer>
<FcgiServer a-pool-with-a-rather-long-name.example.com>
    FcgiCommand /bin/sh -c "echo 'a line that says <b>why</b> it does not start, and is long enough to be wider than the screen of any phone' >&2; exit 3"
    FcgiProcesses 1
</FcgiServer>
<FcgiServer elsewhere>
    FcgiConnect unix:/run/some/where/else/php-fpm.sock
</FcgiServer>
<Location "/st">
    SetHandler fcgipm-status
</Location>
<Location "/shop">
    FcgiPass shop
</Location>
EOC
wait_for { $h->log_has(qr/FPM0316/) } 10;
$h->get("/shop?sleep=$_") for 1 .. 12;
$h->get('/shop?die=segv');

# --- WebDriver ---
my $port = free_port();
my $home = File::Temp::tempdir('/tmp/fcgipm-browser-XXXXXX', CLEANUP => 1);
my $pid = fork // die;
if (!$pid) {
    setpgrp;
    $ENV{HOME} = $home;
    open STDOUT, '>', "$home/driver.log";
    open STDERR, '>&', \*STDOUT;
    exec $driver, "--port=$port";
}
my ($http, $session) = (HTTP::Tiny->new(timeout => 60), undef);
sub call {
    my ($method, $path, $body) = @_;
    my $r = $http->request($method, "http://127.0.0.1:$port$path", $body ? {content => encode_json($body), headers => {'Content-Type' => 'application/json'}} : {});
    my $value = eval { decode_json($r->{content})->{value} };
    die "WebDriver $method $path: $r->{status} $r->{content}\n" unless $r->{success};
    return $value;
}
sub command { my ($method, $path, $body) = @_; return call($method, "/session/$session$path", $body) }
sub script { return command(POST => '/execute/sync', {script => $_[0], args => []}) }
sub cdp { return command(POST => '/goog/cdp/execute', {cmd => $_[0], params => $_[1]}) }
wait_for { $http->get("http://127.0.0.1:$port/status")->{success} } 20, 'chromedriver';
my $made = eval {
    call(POST => '/session', {capabilities => {alwaysMatch => {browserName => 'chrome', 'goog:loggingPrefs' => {browser => 'ALL'}, 'goog:chromeOptions' => {
        binary => (grep { -x } qw(/usr/bin/chromium))[0] // 'chromium',
        args => ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', "--user-data-dir=$home/profile"],
    }}}});
};
ok $made, 'a browser' or diag $@;
$session = $made->{sessionId};
make_path('build/screens');

# Contrast of each text against what is behind it (WCAG 2.1, 1.4.3), the worst first.
my $contrast = <<'JS';
const rgb = t => { const m = t.match(/[\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1] };
const light = c => { const f = c.slice(0, 3).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2] };
const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c } return [255, 255, 255, 1] };
const faded = e => { let o = 1; for (; e; e = e.parentElement) o *= getComputedStyle(e).opacity; return o };
const bad = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.textContent.trim();
    if (!text || !e.getClientRects().length) continue;
    if (faded(e) < 1) continue;  // zeros are faded on purpose
    const a = light(rgb(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(ratio.toFixed(2) + ' ' + text.slice(0, 40));
}
return bad.sort();
JS
my $url = $h->url('/st');
my %background;
for my $size (['desktop', 1280, 900, 0], ['phone', 390, 844, 1]) {
    my ($name, $width, $height, $mobile) = @$size;
    for my $scheme (qw(light dark)) {
        cdp('Emulation.setDeviceMetricsOverride', {width => $width, height => $height, deviceScaleFactor => 1, mobile => $mobile ? JSON::PP::true : JSON::PP::false});
        cdp('Emulation.setEmulatedMedia', {features => [{name => 'prefers-color-scheme', value => $scheme}]});
        command(POST => '/url', {url => $url});
        my $wide = script('return [document.documentElement.scrollWidth, document.documentElement.clientWidth]');
        cmp_ok $wide->[0], '<=', $wide->[1], "$name, $scheme: nothing is wider than the screen";
        my $text = script('return document.body.innerText');
        like $text, qr/\Q$_\E/, "$name, $scheme: $_" for 'shop', 'a-pool-with-a-rather-long-name.example.com', 'elsewhere', 'next try in', '<b>why</b> it does not start', 'killed by signal 11';
        is_deeply script($contrast), [], "$name, $scheme: every text can be read";
        is script('return performance.getEntriesByType("resource").length'), 0, "$name, $scheme: nothing from elsewhere";
        $background{$scheme} = script('return getComputedStyle(document.body).backgroundColor');
        my $picture = cdp('Page.captureScreenshot', {captureBeyondViewport => JSON::PP::true})->{data};
        my $png = decode_base64($picture);
        open my $f, '>:raw', "build/screens/status-$name-$scheme.png" or die $!;
        print {$f} $png;
        close $f;
        like $png, qr/^\x89PNG/, "$name, $scheme: build/screens/status-$name-$scheme.png";
        cmp_ok length $png, '>', 10_000, 'with something on it';
    }
}
isnt $background{light}, $background{dark}, 'dark is another colour';
my $before = script('return document.body.innerText') =~ /(\d+)\s*requests/ ? $1 : script('return document.querySelectorAll(".tile b")[4].innerText');
$h->get('/shop') for 1 .. 3;
my $seen = sub { my $n = eval { script('return document.querySelectorAll(".tile b")[4].innerText') } // ''; $n =~ /^\d+$/ && $n >= $before + 3 };
wait_for { $seen->() } 15, 'it refreshes itself';
ok $seen->(), 'it refreshes itself';
is_deeply [grep { $_->{level} =~ /SEVERE|WARNING/ && $_->{message} !~ /favicon/ } @{command(POST => '/se/log', {type => 'browser'})}], [], 'the console has nothing to complain of';
command(DELETE => '');
kill TERM => -$pid;
waitpid $pid, 0;
$h->stop;
END { my $status = $?; kill KILL => -$pid if $pid; $? = $status }
done_testing;
