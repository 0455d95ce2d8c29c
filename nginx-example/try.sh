#!/usr/bin/env bash
# nginx, icapd and a small application, started on free ports of this machine, and what a browser might do: send a clean
# file and an infected one with a form, and fetch a clean file and an infected one. Exit status 0: all ended as they should.
# Everything lives in one temporary directory and ends with the script.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/try.bash
begin "nginx libnginx-mod-http-lua curl" nginx curl
mkdir "$dir/downloads" "$dir/kept" "$dir/temp"

read -r icap admin web < <(free_ports 3)
start_icapd "$icap" "$admin"
(cd "$dir/kept" && exec "$root/.venv/bin/python" "$root/nginx-example/application.py") >"$dir/port" \
    2>"$dir/application.out" &
started+=($!)
wait_for "the application" test -s "$dir/port"

# The example as an administrator would copy it to /etc/nginx/icap, with this directory and these ports in it.
cp -r nginx-example "$dir/icap"
sed -i -e "s|/etc/nginx/icap|$dir/icap|g" -e "s|/run/nginx|$dir/nginx|g" -e "s|/var/log/nginx|$dir/log|g" \
    -e "s|127.0.0.1:1344|127.0.0.1:$icap|" -e "s|127.0.0.1:8080|127.0.0.1:$web|" \
    -e "s|127.0.0.1:8081|127.0.0.1:$(<"$dir/port")|" -e "s|root /srv|root $dir|" "$dir"/icap/*.conf
# Where nginx keeps bodies, when it is not root.
temporary=""
for kind in client_body proxy fastcgi uwsgi scgi; do temporary+="${kind}_temp_path $dir/temp/$kind; "; done
sed -i "s|^http {|http { $temporary|" "$dir/icap/nginx.conf"
nginx -c "$dir/icap/nginx.conf" -e "$dir/log/start.log" -g "daemon off;" >"$dir/nginx.out" 2>&1 &
started+=($!)

wait_for icapd curl --silent --fail "http://127.0.0.1:$admin/readyz"
site="http://127.0.0.1:$web"
wait_for nginx curl --silent --fail "$site/"

echo "Nothing to see here." >"$dir/downloads/clean.txt"
printf %s "$eicar" >"$dir/downloads/eicar.com"

ask() { # prints the HTTP status; the content goes to $dir/answer
    curl --silent --max-time 60 --output "$dir/answer" --write-out '%{http_code}' "$@"
}

kept() { find "$dir/kept" -type f | wc -l; }

expect "clean upload: HTTP status" 201 "$(ask --form "file=@$dir/downloads/clean.txt" "$site/upload/")"
expect "clean upload: files that reached the application" 1 "$(kept)"
expect "infected upload: HTTP status" 403 "$(ask --form "file=@$dir/downloads/eicar.com" "$site/upload/")"
expect "infected upload: files that reached the application" 1 "$(kept)"
expect "clean download: HTTP status" 200 "$(ask "$site/downloads/clean.txt")"
expect "clean download: content" "$(<"$dir/downloads/clean.txt")" "$(<"$dir/answer")"
expect "infected download: HTTP status" 403 "$(ask "$site/downloads/eicar.com")"
expect "infected download: bytes of it in the answer" 0 "$(grep -cF -- "$eicar" "$dir/answer" || true)"
expect "the application, through both: HTTP status" 200 "$(ask "$site/app/")"

[ "$failures" -eq 0 ]
