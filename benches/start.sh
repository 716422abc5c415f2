#!/usr/bin/env bash
# What the start costs with a large cluster: seconds until the programs are attached, the names complete and the agent
# ready, its CPU until then, and its memory. Pods are read from a manifest, in JSON and in YAML, as kubectl prints them.
# Prints one table and leaves nothing behind. Needs root, a release build, and curl.
#
#   cargo build --release && sudo benches/start.sh
#
# PODS=20000 pods; FORMS="json yaml none", of which none is a start without names, for comparison.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
export CARGO_TARGET_DIR LAB=webb-start
webb=${WEBB:-$CARGO_TARGET_DIR/release/webb}
pods=${PODS:-20000}
admin=127.0.0.1:9966
metrics=127.0.0.1:9965

fail() {
    echo "start: $*" >&2
    exit 1
}

((pods > 0 && pods <= 60000)) || { echo "start: PODS is 1 to 60000" >&2; exit 64; }
((EUID == 0)) || fail "network namespaces and eBPF need root: try sudo"
[[ -x $webb ]] || fail "$webb is missing: run \`cargo build --release\`"
command -v curl >/dev/null || fail "curl is missing: \`make setup\` installs it"

work=$(mktemp -d)
agent=''

stop_agent() {
    [[ -n $agent ]] || return 0
    kill "$agent" 2>/dev/null || true
    wait "$agent" 2>/dev/null || true
    agent=''
}

clean_up() {
    trap '' INT TERM
    trap - EXIT
    stop_agent
    "$root/lab/lab" down
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Lines of a pod as kubectl prints it in JSON: its names and addresses, and 12 variables, volumes and conditions that
# nothing reads. YAML has the same fields in block style.
manifest() {
    awk -v pods="$pods" -v form="$1" '
        function put(depth, key, value, last) {
            if (form == "json") printf "%*s%s%s%s\n", depth * 4, "", key == "" ? "" : "\"" key "\": ", value, last ? "" : ","
            else printf "%*s%s%s\n", depth * 2 - 2, "", key == "" ? "- " : key ": ", value
        }
        function open(depth, key, bracket) {
            if (form == "json") printf "%*s%s%s\n", depth * 4, "", key == "" ? "" : "\"" key "\": ", bracket
            else if (key != "") printf "%*s%s:\n", depth * 2 - 2, "", key
        }
        function close_(depth, bracket, last) {
            if (form == "json") printf "%*s%s%s\n", depth * 4, "", bracket, last ? "" : ","
        }
        function item(text) { return form == "json" ? "{" text "}" : "{" text "}" }
        function pod(n, last,    name, ip, k) {
            name = sprintf("checkout-%d-7d9c8b6f5d-%05x", n / 10, n)
            ip = sprintf("10.%d.%d.%d", 64 + n / 62500, (n / 250) % 250, n % 250 + 2)
            if (form == "json") open(2, "", "{"); else print "-"
            put(3, "apiVersion", "\"v1\"")
            put(3, "kind", "\"Pod\"")
            open(3, "metadata", "{")
            put(4, "creationTimestamp", "\"2026-01-02T15:04:05Z\"")
            put(4, "labels", item("\"app.kubernetes.io/name\": \"checkout-" int(n / 10) "\", \"team\": \"payments\""))
            put(4, "name", "\"" name "\"")
            put(4, "namespace", "\"team-" int(n / 10) % 200 "\"")
            put(4, "ownerReferences", "[" item("\"apiVersion\": \"apps/v1\", \"controller\": true, \"kind\": \"ReplicaSet\", \"name\": \"checkout-" int(n / 10) "-7d9c8b6f5d\", \"uid\": \"u\"") "]", 1)
            close_(3, "}")
            open(3, "spec", "{")
            open(4, "containers", "[")
            if (form == "json") open(5, "", "{"); else printf "%*s-\n", 6, ""
            open(6, "env", "[")
            for (k = 1; k <= 60; k++) {
                if (form == "json") printf "%28s{\n%32s\"name\": \"SETTING_%d\",\n%32s\"value\": \"value of %d\"\n%28s}%s\n", "", "", k, "", k, "", k < 60 ? "," : ""
                else printf "%12s- name: SETTING_%d\n%12s  value: value of %d\n", "", k, "", k
            }
            close_(6, "],", 1)
            put(6, "image", "\"registry.example.com/shop/checkout:1\"")
            put(6, "name", "\"checkout\"")
            put(6, "ports", "[" item("\"containerPort\": 8080, \"name\": \"http\", \"protocol\": \"TCP\"") "]", 1)
            close_(5, "}", 1)
            close_(4, "]")
            put(4, "nodeName", "\"node-" int(n / 110) "\"")
            put(4, "serviceAccountName", "\"checkout\"", 1)
            close_(3, "}")
            open(3, "status", "{")
            put(4, "phase", "\"Running\"")
            put(4, "podIP", "\"" ip "\"")
            put(4, "podIPs", "[" item("\"ip\": \"" ip "\"") "]", 1)
            close_(3, "}", 1)
            close_(2, "}", last)
        }
        BEGIN {
            if (form == "json") { print "{"; put(1, "apiVersion", "\"v1\""); open(1, "items", "[") }
            else { print "apiVersion: v1\nitems:" }
            for (n = 0; n < pods; n++) pod(n, n == pods - 1)
            if (form == "json") { print "    ],\n    \"kind\": \"List\"\n}" } else print "kind: List"
        }'
}

# Seconds of a stage of the start; nothing before it is reached.
stage() {
    "$root/lab/lab" exec node curl -sf "$metrics/metrics" | sed -n "s/^webb_startup_seconds{stage=\"$1\"} //p"
}

# CPU seconds of the agent so far.
cpu() {
    "$root/lab/lab" exec node curl -sf "$metrics/metrics" | sed -n 's/^process_cpu_seconds_total //p'
}

"$root/lab/lab" up
printf '%-6s %8s %10s %10s %10s %10s %10s\n' names MB attached named ready 'CPU (s)' 'peak (MB)'
for form in ${FORMS:-json yaml none}; do
    words=(--cluster-source none) megabytes=0
    if [[ $form != none ]]; then
        manifest "$form" >"$work/pods.$form"
        megabytes=$(($(stat -c %s "$work/pods.$form") / 1000000))
        words=(--cluster-manifest "$work/pods.$form")
    fi
    "$root/lab/lab" exec node "$webb" run --node-name node-0 "${words[@]}" 2>"$work/log" &
    agent=$!
    until [[ -n $(stage named 2>/dev/null) ]] && "$root/lab/lab" exec node curl -sf -o "$work/ready" "$admin/readyz"; do
        kill -0 "$agent" 2>/dev/null || fail "the agent ended: $(tail -3 "$work/log")"
        sleep 0.2
    done
    peak=$(($(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$agent/status") / 1000))
    printf '%-6s %8d %10.2f %10.2f %10.2f %10.2f %10d\n' "$form" "$megabytes" "$(stage attached)" "$(stage named)" \
        "$(stage ready)" "$(cpu)" "$peak"
    stop_agent
    rm -f "$work/pods.$form"
done
