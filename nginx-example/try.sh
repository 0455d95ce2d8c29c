#!/usr/bin/env bash
# nginx, icapd and a small application, started on free ports of this machine, and what a browser might do: send a clean
# file and an infected one with a form, and fetch a clean file and an infected one. Exit status 0: all ended as they should.
# Everything lives in one temporary directory and ends with the script.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

for program in nginx curl; do
    command -v "$program" >/dev/null || {
        echo "$program is not installed: sudo apt-get install --yes --no-install-recommends" \
            "nginx libnginx-mod-http-lua curl" >&2
        exit 1
    }
done
scripts/set-up serve

root=$PWD
dir=$(mktemp -d "${TMPDIR:-/tmp}/icapd-try.XXXXXX")
started=()

finish() {
    status=$?
    trap - EXIT
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ "$status" -ne 0 ]; then
        tail -n 20 "$dir"/*.out "$dir"/log/*.log >&2 || true
    fi
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Started as root, nginx's worker becomes the user www-data, who must be able to read the downloads.
mkdir "$dir/downloads" "$dir/kept" "$dir/log" "$dir/temp"
chmod 755 "$dir"

free_ports() {
    .venv/bin/python - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(each.getsockname()[1] for each in sockets))
PYTHON
}

wait_for() { # what, command ...
    local what=$1
    shift
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        kill -0 "${started[@]}" 2>/dev/null || break # one of them has ended
        sleep 0.1
    done
    echo "$what did not start" >&2
    return 1
}

read -r icap admin web < <(free_ports 3)

"$root/.venv/bin/icapd" serve --listen "icap://127.0.0.1:$icap" --admin "http://127.0.0.1:$admin" \
    >"$dir/icapd.out" 2>&1 &
started+=($!)

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

# The EICAR test file: harmless, and every scanner finds it. In two parts, so that none finds it in this script.
eicar='X5O!P%@AP[4\PZX54(P^)7CC)7}'
eicar+='$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*'
echo "Nothing to see here." >"$dir/downloads/clean.txt"
printf %s "$eicar" >"$dir/downloads/eicar.com"

ask() { # prints the HTTP status; the content goes to $dir/answer
    curl --silent --max-time 60 --output "$dir/answer" --write-out '%{http_code}' "$@"
}

failures=0
expect() { # what, wanted, got
    if [ "$2" = "$3" ]; then
        echo "ok      $1"
    else
        echo "FAILED  $1: expected $2, got $3"
        failures=$((failures + 1))
    fi
}

kept() { find "$dir/kept" -type f | wc -l; }

expect "clean upload: HTTP status" 201 "$(ask --data-binary "@$dir/downloads/clean.txt" "$site/upload/")"
expect "clean upload: files that reached the application" 1 "$(kept)"
expect "infected upload: HTTP status" 403 "$(ask --data-binary "@$dir/downloads/eicar.com" "$site/upload/")"
expect "infected upload: files that reached the application" 1 "$(kept)"
expect "clean download: HTTP status" 200 "$(ask "$site/downloads/clean.txt")"
expect "clean download: content" "$(<"$dir/downloads/clean.txt")" "$(<"$dir/answer")"
expect "infected download: HTTP status" 403 "$(ask "$site/downloads/eicar.com")"
expect "infected download: bytes of it in the answer" 0 "$(grep -cF -- "$eicar" "$dir/answer" || true)"
expect "the application, through both: HTTP status" 200 "$(ask "$site/app/")"

[ "$failures" -eq 0 ]
