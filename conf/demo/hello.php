<?php
// SPDX-License-Identifier: Apache-2.0
header('Content-Type: text/html; charset=utf-8');
?>
<!doctype html><title>PHP</title><h1>Hello from PHP <?= PHP_VERSION ?> and php-cgi</h1>
<p>Process <?= getmypid() ?>. SCRIPT_NAME is <?= htmlspecialchars($_SERVER['SCRIPT_NAME']) ?>.</p>
