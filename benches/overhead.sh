#!/usr/bin/env bash
# What webb costs: iperf3 from pod to pod through the host, without the agent, with a program that does nothing at the
# same two hooks, with the agent, and with its connection quality too, in turn, on this machine. Takes about six minutes, prints one table, and leaves
# nothing behind. Needs root, a release build, and the packages iperf3, jq, curl, bpftool, clang (`make setup`).
#
#   cargo build --release && sudo benches/overhead.sh
#
# ROUNDS=10 rounds of BURST=2 seconds each. Other work on the machine shows in the figures, so what is compared runs one
# right after the other, in turning order; each pair's ratio is taken on its own, and the table has the median ratio.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
export CARGO_TARGET_DIR LAB=webb-bench
webb=$CARGO_TARGET_DIR/release/webb
rounds=${ROUNDS:-10}
burst=${BURST:-2}
stats=/proc/sys/kernel/bpf_stats_enabled
# xwing to tiefighter: no policy stands between them. One core for each end where there are two.
target=10.244.1.21
((rounds > 0 && rounds <= 50 && burst > 0 && burst <= 60)) || { echo "overhead: ROUNDS is 1 to 50, BURST 1 to 60" >&2; exit 64; }

fail() {
    echo "overhead: $*" >&2
    exit 1
}

((EUID == 0)) || fail "network namespaces and eBPF need root: try sudo"
[[ -x $webb ]] || fail "$webb is missing: run \`cargo build --release\`"
for command in iperf3 jq curl bpftool clang tc; do
    command -v "$command" >/dev/null || fail "$command is missing: \`make setup\` installs it"
done

work=$(mktemp -d)
agent=''
stats_before=$(<"$stats")

stop_agent() {
    [[ -n $agent ]] || return 0
    kill "$agent" 2>/dev/null || true
    wait "$agent" 2>/dev/null || true
    agent=''
}

clean_up() {
    trap '' INT TERM
    trap - EXIT
    echo "$stats_before" >"$stats"
    stop_agent
    "$root/lab/lab" down
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

lab() {
    "$root/lab/lab" exec "$@"
}

start_agent() {
    local waited=0
    # Not through a function: $! must be the agent itself.
    "$root/lab/lab" exec node env "$@" "$webb" run --cluster-manifest "$root/lab/manifest.yaml" --node-name webb-node-1 \
        >"$work/webb.log" 2>&1 </dev/null &
    agent=$!
    until lab node curl --silent --fail --output /dev/null http://127.0.0.1:9966/readyz; do
        kill -0 "$agent" 2>/dev/null || fail "webb ended by itself: $(tail -n 20 "$work/webb.log")"
        ((waited++ < 200)) || fail "webb is not ready after 20 s: $(tail -n 20 "$work/webb.log")"
        sleep 0.1
    done
}

# What any program at these hooks costs, whatever it does: the floor of what can be reached.
clang -O2 -target bpf -c -o "$work/empty.o" -x c - <<'EOF'
__attribute__((section("classifier"), used)) int empty(void *packet) { return -1; }
char licence[] __attribute__((section("license"))) = "GPL";
EOF

empty_programs() {
    local device hook
    for device in lxc-xwing lxc-tiefighter; do
        lab node tc qdisc "$1" dev "$device" clsact
        [[ $1 == add ]] || continue
        for hook in ingress egress; do
            lab node tc filter add dev "$device" "$hook" bpf da obj "$work/empty.o" sec classifier
        done
    done
}

# Each side is set up, left alone for a second, and measured.
side() {
    case $1 in
    empty) empty_programs add ;;
    with) start_agent ;;
    quality) start_agent WEBB_METRICS="flow tcp icmp connections" ;;
    esac
    sleep 1
    "$2" "$burst" >>"$work/$2.$1"
    case $1 in
    empty) empty_programs del ;;
    with | quality) stop_agent ;;
    esac
}

# One iperf3 run; the result is JSON. The rest of the arguments are iperf3's.
run() {
    local server waited=0
    lab tiefighter iperf3 --server --one-off --idle-timeout 30 >/dev/null 2>&1 </dev/null &
    server=$!
    # Port 5201, state LISTEN. Not grep -q: it would leave before cat has written all, and pipefail takes that amiss.
    until lab tiefighter cat /proc/net/tcp6 /proc/net/tcp | grep ':1451 .* 0A ' >/dev/null; do
        ((waited++ < 100)) || fail "the iperf3 server does not start"
        sleep 0.05
    done
    lab xwing iperf3 --client "$target" --json --affinity "0,$(($(nproc) > 1))" "$@" >"$work/iperf3.json" ||
        fail "iperf3: $(jq -r '.error // .' "$work/iperf3.json")"
    wait "$server" || true
}

# 22 bytes of payload make the smallest Ethernet frame, 64 bytes with its checksum.
udp() {
    run --udp --bitrate 0 --length 22 --time "$1"
    jq '.end.sum.packets / .end.sum.seconds | floor' "$work/iperf3.json"
}

tcp() {
    run --time "$1"
    jq '.end.sum_received.bits_per_second / 1e6 | floor' "$work/iperf3.json"
}

median() {
    sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# Sum of the samples of a family that hold all the given texts.
sum() {
    local name=$1
    shift
    lab node curl --silent http://127.0.0.1:9965/metrics | awk -v name="$name" -v wanted="$*" '
        BEGIN { count = split(wanted, want, " ") }
        index($0, name "{") == 1 || index($0, name " ") == 1 {
            for (at = 1; at <= count; at++) if (!index($0, want[at])) next
            sum += $NF
        }
        END { printf "%.0f\n", sum }'
}

# User and system time of the agent so far, in ticks of 1/100 s; the name in brackets may hold spaces.
cpu_ticks() {
    sed 's/.*) //' "/proc/$agent/stat" | awk '{ print $12 + $13 }'
}

# Nanoseconds and runs of each of webb's programs, as "name ns runs".
program_times() {
    bpftool --json prog show | jq -r '.[] | select((.name // "") | startswith("webb_")) | "\(.name) \(.run_time_ns // 0) \(.run_cnt // 0)"'
}

"$root/lab/lab" up
echo "overhead: $rounds rounds with and without webb, $burst s each for UDP and TCP ..." >&2
udp 1 >/dev/null # warms up
for ((round = 1; round <= rounds; round++)); do
    order=(without empty with quality)
    ((round % 2)) || order=(quality with empty without)
    for kind in udp tcp; do
        for what in "${order[@]}"; do side "$what" "$kind"; done
    done
    last() { for what in without empty with quality; do tail -n 1 "$work/$1.$what"; done | paste -sd ' '; }
    echo "overhead: round $round of $rounds, without, empty, with, with connections: UDP $(last udp) packets/s, TCP $(last tcp) Mbit/s" >&2
done

echo "overhead: kernel time per packet ..." >&2
start_agent
echo 1 >"$stats"
program_times >"$work/before"
udp 5 >/dev/null
program_times >"$work/after"
echo 0 >"$stats"
stop_agent

echo "overhead: bytes against the interface, 10 s of TCP ..." >&2
device_bytes() { ip -n "$LAB-node" -s -j link show lxc-xwing | jq ".[0].stats64.$1.bytes"; }
counted() { sum webb_traffic_bytes_total 'traffic_direction="egress"' "$1=\"default/xwing\""; }
# A fresh agent: the last one may still have held bytes of what went before.
sent_before=$(device_bytes rx) received_before=$(device_bytes tx)
start_agent
tcp 10 >/dev/null
sent=$(($(device_bytes rx) - sent_before)) received=$(($(device_bytes tx) - received_before))
# What the kernel's table still holds is reported when the connection is forgotten, some 10 s after its end.
for ((waited = 0; waited < 40; waited++)); do
    traffic_sent=$(counted source) traffic_received=$(counted destination)
    [[ $traffic_sent == "$sent" && $traffic_received == "$received" ]] && break
    sleep 0.5
done
memory=$(awk '/^VmRSS/ { print $2 }' "/proc/$agent/status")
stop_agent

echo "overhead: aggregation none under the UDP flood ..." >&2
start_agent WEBB_AGGREGATION=none
ticks=$(cpu_ticks)
started=$EPOCHREALTIME
flood=$(udp 5)
ended=$EPOCHREALTIME
ticks=$(($(cpu_ticks) - ticks))
sleep 1
lost=$(sum webb_ring_lost_records_total)
reported=$(sum webb_ring_records_total)
memory_none=$(awk '/^VmRSS/ { print $2 }' "/proc/$agent/status")
stop_agent
cores=$(awk -v ticks="$ticks" -v from="$started" -v to="$ended" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", ticks / hz / (to - from) }')

row() { printf '%-50s %14s %14s %10s\n' "$@"; }
compare() {
    local title=$1 file=$2 limit=$3 what ratio
    local -A name=([empty]='an empty program' [with]=webb [quality]='webb and connections')
    for what in empty with quality; do
        ratio=$(paste "$work/$file.without" "$work/$file.$what" | awk '{ print $2 / $1 }' | median)
        row "$title ${name[$what]}" "$(median <"$work/$file.without")" "$(median <"$work/$file.$what")" \
            "$(awk -v r="$ratio" 'BEGIN { printf "%+.1f %%", (r - 1) * 100 }')$([[ $what == with ]] && echo " (limit $limit)")"
    done
    ratio=$(paste "$work/$file.with" "$work/$file.quality" | awk '{ print $2 / $1 }' | median)
    row "$title connections, on against off" "$(median <"$work/$file.with")" "$(median <"$work/$file.quality")" \
        "$(awk -v r="$ratio" 'BEGIN { printf "%+.1f %%", (r - 1) * 100 }')"
}

echo
echo "$(nproc) cores, Linux $(uname -r), medians of $rounds rounds of $burst s, interleaved"
row '' 'without' 'with' 'ratio'
compare '64-byte UDP, packets/s:' udp '-5 %'
compare 'TCP, Mbit/s:' tcp '-3 %'
echo
row 'kernel time per packet (limit 100 ns)' 'ns' 'packets' ''
join "$work/before" "$work/after" | awk '$5 - $3 > 1000 { print $1, ($4 - $2) / ($5 - $3), $5 - $3 }' |
    while read -r name ns runs; do row "  $name" "$(printf '%.0f' "$ns")" "$runs" ''; done
echo
row 'traffic against the interface, bytes' 'interface' 'traffic' ''
row '  sent' "$sent" "$traffic_sent" "$([[ $sent == "$traffic_sent" ]] && echo equal || echo DIFFERENT)"
row '  received' "$received" "$traffic_received" "$([[ $received == "$traffic_received" ]] && echo equal || echo DIFFERENT)"
echo
row "aggregation none under $flood packets/s" 'records' 'lost' 'cores'
row '  limit: none lost, half a core' "$reported" "$lost" "$cores"
echo
row 'resident memory, MB (limit 40)' "$((memory / 1024))" "" ''
row '  aggregation none' "$((memory_none / 1024))" "" ''
