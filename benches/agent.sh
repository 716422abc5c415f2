#!/usr/bin/env bash
# What webb costs, as one table: a running agent measured from outside, and its programs in the kernel.
#
#   sudo benches/agent.sh [PART...]
#
#   kernel   1, 1,000, 50,000 connections and only new ones, beside a program that does nothing and the floor; 1 minute
#   start    from the start of the process to names for 20,000 pods, from JSON and from YAML (benches/start.sh)
#   api      CPU and time to names for 20,000 pods from an API server, as a watch and as a list
#   churn    which share of one-packet connections is in webb_traffic_packets_total, at 2,000 to 100,000 a second
#   scrape   100,000 series with six labels, with the names of 20,000 pods, while the agent counts
#   memory   resident memory at rest, and of that agent while two servers scrape it as often as in an hour, each every
#            five seconds; MINUTES=15 spreads that over so many minutes
#   flood    a SYN flood, a scanner, idle connections and datagrams at once under a table of 1,024
#   rows     CPU of a flow by stage, and which share of it its rollup row takes
#   strangers  memory while ten million addresses are seen once (STRANGERS, RATE a second); 6 minutes
#   jobs     memory while 90,000 short pods come and go in 15 minutes (JOB_SECONDS, RATE a second)
#   siege    all attacks in turn beside churn, under 128 MiB and a quarter of a core, for 20 minutes (SIEGE_SECONDS);
#            ends with 1 if the agent does not hold
#   soak     both together, and interfaces, for 20 minutes (SOAK_SECONDS); ends with 1 if anything grows
#
# Without PART all but the last four, about five minutes. Run it where nothing else runs. WEBB=FILE measures another program than the
# one that is built here. iperf3 with and without the agent is benches/overhead.sh. Needs root, and what `make setup`
# installs; leaves nothing behind.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
((EUID == 0)) || { echo "agent: network namespaces and eBPF need root: try sudo" >&2; exit 1; }

parts=()
kernel=$(($# == 0)) start=$(($# == 0))
for part; do
    case $part in
        kernel) kernel=1 ;;
        start) start=1 ;;
        *) parts+=("$part") ;;
    esac
done

echo "$(nproc) cores, Linux $(uname -r)"
if ((kernel)); then
    cargo bench --locked --quiet --bench kernel_cost
fi
if ((start)); then
    [[ -n ${WEBB:-} ]] || cargo build --locked --quiet --release --bin webb
    benches/start.sh
fi
if (($# == 0 || ${#parts[@]})); then
    cargo bench --locked --quiet --bench agent -- "${parts[@]}" || exit 1
fi
