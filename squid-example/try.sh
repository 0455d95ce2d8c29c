#!/usr/bin/env bash
# Squid, icapd and a web server, started on free ports of this machine, and three things a browser might do:
# a clean download, an infected download, an infected upload. Exit status 0: all three ended as they should.
# Everything lives in one temporary directory and ends with the script.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/try.bash
begin "squid-openssl curl" squid curl
mkdir "$dir/site"
[ "$(id -u)" -ne 0 ] || chown proxy "$dir/log" # started as root, Squid becomes the user `proxy`, who writes its logs

read -r icap admin proxy < <(free_ports 3)
start_icapd "$icap" "$admin"
(cd "$dir/site" && exec "$root/.venv/bin/python" "$root/squid-example/origin.py") >"$dir/port" 2>"$dir/origin.out" &
started+=($!)

sed -e "s|127.0.0.1:3128|127.0.0.1:$proxy|" -e "s|127.0.0.1:1344|127.0.0.1:$icap|" \
    -e "s|/var/log/squid|$dir/log|" -e "s|/run/squid.pid|$dir/squid.pid|" -e "s|/var/spool/squid|$dir|" \
    squid-example/squid.conf >"$dir/squid.conf"
# -n: a Squid that runs here already shares memory under its own name.
squid -N -n "icapdtry$proxy" -f "$dir/squid.conf" >"$dir/squid.out" 2>&1 &
started+=($!)

wait_for icapd curl --silent --fail "http://127.0.0.1:$admin/readyz"
wait_for "the web server" test -s "$dir/port"
wait_for Squid curl --silent --proxy "http://127.0.0.1:$proxy" "http://127.0.0.1:$(<"$dir/port")/"
site="http://127.0.0.1:$(<"$dir/port")"

echo "Nothing to see here." >"$dir/site/clean.txt"
printf %s "$eicar" >"$dir/site/eicar.com"

through_squid() { # prints the HTTP status; the content goes to $dir/answer
    curl --silent --max-time 60 --proxy "http://127.0.0.1:$proxy" \
        --output "$dir/answer" --write-out '%{http_code}' "$@"
}

expect "clean download: HTTP status" 200 "$(through_squid "$site/clean.txt")"
expect "clean download: content" "$(<"$dir/site/clean.txt")" "$(<"$dir/answer")"
expect "infected download: HTTP status" 403 "$(through_squid "$site/eicar.com")"
expect "infected download: bytes of it in the answer" 0 "$(grep -cF -- "$eicar" "$dir/answer" || true)"
expect "infected upload: HTTP status" 403 "$(through_squid --upload-file "$dir/site/eicar.com" "$site/uploaded.com")"
expect "infected upload: files that reached the server" 0 "$(find "$dir/site" -name uploaded.com | wc -l)"

[ "$failures" -eq 0 ]
