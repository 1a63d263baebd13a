#!/bin/sh
# mod_fcgipm in one command: builds the module, starts an httpd of its own on a free port of this machine with three
# applications and the status page, and says where they are. Ctrl-C ends all of it.
#
#     sh conf/demo/demo.sh            run until Ctrl-C
#     sh conf/demo/demo.sh --check    ask each page once, stop, and say whether all was well
set -eu
cd "$(dirname "$0")/../.."
check=no
case "${1-}" in
--check) check=yes ;;
"") ;;
*)
    sed -n '2,7s/^# \{0,1\}//p' conf/demo/demo.sh >&2
    exit 2
    ;;
esac

sh .ci/packages demo
make -s -f Makefile.apxs all

dir=$(mktemp -d /tmp/fcgipm-demo-XXXXXX)
chmod 755 "$dir"
httpd_pid=
finish() {
    status=$?
    trap - EXIT INT TERM HUP
    if [ -n "$httpd_pid" ]; then
        kill -TERM "$httpd_pid" 2>/dev/null || :
        wait "$httpd_pid" 2>/dev/null || :
    fi
    rm -rf "$dir"
    exit $status
}
trap finish EXIT
trap 'exit 0' INT TERM HUP

mkdir "$dir/htdocs" "$dir/apps"
cp conf/demo/index.html conf/demo/hello.php "$dir/htdocs/"
cp conf/demo/hello.pl "$dir/apps/"
gcc -O1 -o "$dir/apps/hello" conf/demo/hello.c -lfcgi
chmod 755 "$dir/apps/hello.pl"
cp build/mod_fcgipm.so "$dir/"

port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
modules=$(apxs -q LIBEXECDIR)
user=www-data
[ "$(id -u)" -eq 0 ] || user=$(id -un)
sed -e "s|@DIR@|$dir|g; s|@PORT@|$port|g; s|@MODULES@|$modules|g; s|@USER@|$user|g" \
    -e "s|@GROUP@|$(id -gn "$user")|g; s|@PHP@|$(command -v php-cgi)|g" conf/demo/httpd.conf >"$dir/httpd.conf"

# In a session of its own: Ctrl-C is for us, and we stop httpd in order.
setsid /usr/sbin/apache2 -f "$dir/httpd.conf" -DFOREGROUND &
httpd_pid=$!
url=http://127.0.0.1:$port
tries=0
until curl -fs -o /dev/null "$url/"; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ] || ! kill -0 "$httpd_pid" 2>/dev/null; then
        echo "httpd did not start:" >&2
        cat "$dir/error.log" >&2 || :
        exit 1
    fi
    sleep 0.1
done

if [ $check = yes ]; then
    failed=0
    for page in /c:libfcgi /perl:Perl /hello.php:PHP "/status:libfcgi-c" "/status?json:manager"; do
        path=${page%%:*} word=${page#*:}
        if curl -fs --max-time 20 "$url$path" | grep -q "$word"; then
            echo "ok: $path"
        else
            echo "NOT OK: $path does not say $word"
            failed=1
        fi
    done
    [ $failed = 0 ] || tail -20 "$dir/error.log"
    exit $failed
fi

cat <<END

mod_fcgipm is running (httpd pid $httpd_pid, everything in $dir):

    $url/             an index of what follows
    $url/c            C, libfcgi
    $url/perl         Perl, FCGI.pm
    $url/hello.php    PHP, php-cgi
    $url/status       what the processes do (try to kill one)

The configuration is $dir/httpd.conf, the log $dir/error.log.
Ctrl-C ends it and leaves nothing behind.
END
wait "$httpd_pid"
