#!/usr/bin/env bash
# Squid, icapd and a web server, started on free ports of this machine, and three things a browser might do:
# a clean download, an infected download, an infected upload. Exit status 0: all three ended as they should.
# Everything lives in one temporary directory and ends with the script.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

for program in squid curl; do
    command -v "$program" >/dev/null || {
        echo "$program is not installed: sudo apt-get install --yes --no-install-recommends squid-openssl curl" >&2
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

# Started as root, Squid becomes the user `proxy`, who must be able to write its logs.
mkdir "$dir/site" "$dir/log"
chmod 755 "$dir"
[ "$(id -u)" -ne 0 ] || chown proxy "$dir/log"

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

read -r icap admin proxy < <(free_ports 3)

"$root/.venv/bin/icapd" serve --listen "icap://127.0.0.1:$icap" --admin "http://127.0.0.1:$admin" \
    >"$dir/icapd.out" 2>&1 &
started+=($!)

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

# The EICAR test file: harmless, and every scanner finds it. In two parts, so that none finds it in this script.
eicar='X5O!P%@AP[4\PZX54(P^)7CC)7}'
eicar+='$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*'
echo "Nothing to see here." >"$dir/site/clean.txt"
printf %s "$eicar" >"$dir/site/eicar.com"

through_squid() { # prints the HTTP status; the content goes to $dir/answer
    curl --silent --max-time 60 --proxy "http://127.0.0.1:$proxy" \
        --output "$dir/answer" --write-out '%{http_code}' "$@"
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

expect "clean download: HTTP status" 200 "$(through_squid "$site/clean.txt")"
expect "clean download: content" "$(<"$dir/site/clean.txt")" "$(<"$dir/answer")"
expect "infected download: HTTP status" 403 "$(through_squid "$site/eicar.com")"
expect "infected download: bytes of it in the answer" 0 "$(grep -cF -- "$eicar" "$dir/answer" || true)"
expect "infected upload: HTTP status" 403 "$(through_squid --upload-file "$dir/site/eicar.com" "$site/uploaded.com")"
expect "infected upload: files that reached the server" 0 "$(find "$dir/site" -name uploaded.com | wc -l)"

[ "$failures" -eq 0 ]
