# What the try.sh of each example begins with, sourced in the project's folder: a temporary directory `dir` that ends with
# the script, as every process in `started` does; free ports; waiting; and checks that are told and counted.
PATH=$PATH:/usr/sbin:/sbin
root=$PWD
started=()
failures=0

# The EICAR test file: harmless, and every scanner finds it. In two parts, so that none finds it in this script.
eicar='X5O!P%@AP[4\PZX54(P^)7CC)7}'
eicar+='$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*'

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

begin() { # Debian's packages, the program that each is needed for ...
    local packages=$1 program
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null || {
            echo "$program is not installed: sudo apt-get install --yes --no-install-recommends $packages" >&2
            exit 1
        }
    done
    scripts/set-up serve
    dir=$(mktemp -d "${TMPDIR:-/tmp}/icapd-try.XXXXXX")
    trap finish EXIT
    trap 'exit 130' INT TERM
    mkdir "$dir/log"
    chmod 755 "$dir" # servers that were started as root go on as somebody else
}

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

start_icapd() { # port for ICAP, port for its own HTTP
    "$root/.venv/bin/icapd" serve --listen "icap://127.0.0.1:$1" --admin "http://127.0.0.1:$2" >"$dir/icapd.out" 2>&1 &
    started+=($!)
}

expect() { # what, wanted, got
    if [ "$2" = "$3" ]; then
        echo "ok      $1"
    else
        echo "FAILED  $1: expected $2, got $3"
        failures=$((failures + 1))
    fi
}
