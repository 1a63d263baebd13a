<?php
// SPDX-License-Identifier: Apache-2.0
// The test application in PHP: see actor.c.
$v = [];
$headers = [];
foreach (explode('&', $_SERVER['QUERY_STRING'] ?? '') as $pair) {
    $kv = explode('=', $pair, 2);
    $value = rawurldecode($kv[1] ?? '');
    if ($kv[0] === 'header') $headers[] = $value; else $v[$kv[0]] = $value;
}
if (isset($v['sleep'])) usleep((int)$v['sleep'] * 1000);
if (isset($v['stderr'])) { ini_set('log_errors', '1'); ini_set('error_log', ''); error_log($v['stderr']); }
if (($v['die'] ?? '') === 'segv') posix_kill(getmypid(), 11);
$do = $v['do'] ?? '';
header('Content-Type: ' . ($do === 'echo' && !empty($_SERVER['CONTENT_TYPE']) ? $_SERVER['CONTENT_TYPE'] : 'text/plain'));
foreach ($headers as $h) { [$n, $x] = explode(':', $h, 2); header("$n: $x", false); }
if ($do === 'echo') header('X-Length: ' . ($_SERVER['CONTENT_LENGTH'] ?? ''));
if (isset($v['status'])) header("Status: {$v['status']} Whatever", true, (int)$v['status']);
if (isset($v['location'])) header('Location: ' . $v['location'], true, isset($v['status']) ? (int)$v['status'] : 302);
if ($do === 'env') {
    $env = array_filter($_SERVER, fn($x, $k) => is_string($x) && $k !== 'argc', ARRAY_FILTER_USE_BOTH);
    ksort($env);
    foreach ($env as $k => $x) echo "$k=$x\n";
} elseif ($do === 'echo') {
    readfile('php://input');
} elseif ($do === 'sum') {
    $b = file_get_contents('php://input');
    echo strlen($b), ' ', md5($b), "\n";
} elseif ($do === 'pid') {
    echo getmypid(), "\n";
} elseif (isset($v['size'])) {
    for ($i = 0, $out = ''; $i < (int)$v['size']; $i++) $out .= $i % 64 === 63 ? "\n" : chr(97 + $i % 26);
    echo $out;
} elseif (isset($v['drip'])) {
    [$n, $ms] = explode(':', $v['drip']);
    for ($i = 0; $i < (int)$n; $i++) { if ($i) usleep((int)$ms * 1000); echo "tick $i\n"; @ob_flush(); flush(); }
} else {
    echo 'hello from php pid ', getmypid(), "\n";
}
