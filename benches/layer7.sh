#!/usr/bin/env bash
# Layer 7 under load: how many requests a second are counted with nothing lost, and the latency of requests without the
# agent and with it, in turn, in the lab. Takes some three minutes, prints two tables, and leaves nothing behind. Needs
# root, a release build, and `scripts/setup servers`.
#
#   cargo build --release && sudo benches/layer7.sh
#
# COUNT=200000 requests for each rate, ROUNDS=8 rounds of REQUESTS=20000 requests each for latency. nginx and h2load have one core each, the agent what they
# leave. What is compared runs one right after the other.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
export CARGO_TARGET_DIR LAB=webb-bench-l7
webb=${WEBB:-$CARGO_TARGET_DIR/release/webb}
nginx=$root/target/nginx
[[ -x $nginx ]] || nginx=$(command -v nginx)
rounds=${ROUNDS:-8}
requests=${REQUESTS:-20000}
count=${COUNT:-200000}
work=$(mktemp -d)
agent='' server=''

fail() {
    echo "layer7: $*" >&2
    exit 1
}

((EUID == 0)) || fail "network namespaces and eBPF need root: try sudo"
[[ -x $webb ]] || fail "$webb is missing: run \`cargo build --release\`"
for command in h2load curl "$nginx"; do
    command -v "$command" >/dev/null || fail "$command is missing: \`scripts/setup servers\` installs it"
done

stop() {
    [[ -n $1 ]] || return 0
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

clean_up() {
    trap '' INT TERM
    trap - EXIT
    stop "$agent"
    stop "$server"
    "$root/lab/lab" down
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

lab() { "$root/lab/lab" exec "$@"; }

metrics() { lab node curl --silent --fail http://127.0.0.1:9965/metrics; }

# The sum of a family's samples that have this text.
sum() { awk -v family="$1" -v text="${2:-}" 'index($0, family) == 1 && index($0, text) { all += $NF } END { printf "%d", all }'; }

start_agent() {
    local waited=0
    # Not through a function: $! must be the agent itself.
    "$root/lab/lab" exec node "$webb" run --cluster-manifest "$root/lab/manifest.yaml" --node-name webb-node-1 \
        --metrics "$1" >"$work/webb.log" 2>&1 </dev/null &
    agent=$!
    until lab node curl --silent --fail --output /dev/null http://127.0.0.1:9966/readyz; do
        kill -0 "$agent" 2>/dev/null || fail "webb ended by itself: $(tail -n 20 "$work/webb.log")"
        ((waited++ < 200)) || fail "webb is not ready after 20 s: $(tail -n 20 "$work/webb.log")"
        sleep 0.1
    done
}

stop_agent() {
    stop "$agent"
    agent=''
}

cat >"$work/nginx.conf" <<CONF
daemon off; master_process off; pid $work/pid; error_log stderr crit;
events { worker_connections 1000; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi; scgi_temp_path $work/scgi;
    server {
        listen 8080;
        listen 8082 http2;
        location = /a { return 200 "landed\n"; }
    }
}
CONF

"$root/lab/lab" up
lab node nft delete table inet networkpolicy
"$root/lab/lab" exec deathstar-a taskset -c 0 "$nginx" -e stderr -p "$work" -c "$work/nginx.conf" >"$work/nginx.log" 2>&1 </dev/null &
server=$!
until lab tiefighter curl --silent --fail --output /dev/null http://10.244.1.11:8080/a; do
    kill -0 "$server" 2>/dev/null || fail "nginx: $(cat "$work/nginx.log")"
    sleep 0.1
done

load() { lab tiefighter taskset -c 1 h2load "$@"; }

# Every request that the client has made is counted, once what is on its way has come.
counted() {
    local wanted=$1 waited=0
    until [[ $(metrics | sum hubble_http_requests_total) == "$wanted" ]]; do
        ((waited++ < 100)) || return 0
        sleep 0.1
    done
}

echo "load | requests | a second | counted | lost in the ring | agent's CPU, us a request"
rate() {
    local name=$1 count=$2 said second before after
    shift 2
    start_agent httpV2
    before=$(metrics | awk '/^process_cpu_seconds_total/ { print $2 }')
    said=$(load -n "$count" "$@")
    second=$(sed -n 's/^finished in [^,]*, \([0-9.]*\) req.*/\1/p' <<<"$said")
    counted "$count"
    metrics >"$work/metrics"
    after=$(awk '/^process_cpu_seconds_total/ { print $2 }' "$work/metrics")
    echo "$name | $count | $second | $(sum hubble_http_requests_total <"$work/metrics") |" \
        "$(sum webb_l7_segments_total 'outcome="lost"' <"$work/metrics") |" \
        "$(awk -v a="$before" -v b="$after" -v n="$count" 'BEGIN { printf "%.1f", (b - a) * 1e6 / n }')"
    stop_agent
}
rate "HTTP/1, 16 connections" "$count" --h1 -c 16 http://10.244.1.11:8080/a
rate "HTTP/1, 4 connections, 4 pipelined" "$count" --h1 -c 4 -m 4 http://10.244.1.11:8080/a
rate "HTTP/2, 4 connections, 32 streams" "$count" -c 4 -m 32 http://10.244.1.11:8082/a

# One connection, so that nothing waits for anything else: the times of h2load's log, in microseconds.
latency() {
    rm -f "$work/times"
    load --h1 -c 1 -n "$requests" --log-file="$work/times" http://10.244.1.11:8080/a >/dev/null
    cut -f3 "$work/times" | sort -n | awk '{ all[NR] = $1 } END { print all[int(NR * 0.5) + 1], all[int(NR * 0.99) + 1] }'
}
for ((round = 0; round < rounds; round++)); do
    for turn in 0 1 2; do
        case $(((round + turn) % 3)) in
        0) echo "none $(latency)" ;;
        1) start_agent "flow tcp" && echo "layer4 $(latency)" && stop_agent ;;
        2) start_agent "flow tcp httpV2" && echo "layer7 $(latency)" && stop_agent ;;
        esac
    done
done >"$work/latencies"
echo
echo "latency | median p50, us | median p99, us | spread of p50"
for agent_of in none layer4 layer7; do
    awk -v of="$agent_of" '$1 == of { print $2 }' "$work/latencies" | sort -n >"$work/p50"
    awk -v of="$agent_of" '$1 == of { print $3 }' "$work/latencies" | sort -n >"$work/p99"
    middle=$((rounds / 2 + 1))
    echo "$agent_of | $(sed -n "${middle}p" "$work/p50") | $(sed -n "${middle}p" "$work/p99") | $(head -n1 "$work/p50") to $(tail -n1 "$work/p50")"
done
