# Turns webb's exposition into the demo's table: who talks to whom, what is dropped and why, which TCP flags were seen.
# Series that differ only in a label that is not shown are added up.

# The value of a label in the current line; empty if it is not there.
function label(name) {
    if (!match($0, "[{,]" name "=\"[^\"]*\"")) return ""
    return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
}

function bytes(count) {
    if (count < 10000) return sprintf("%d B", count)
    if (count < 10000000) return sprintf("%.1f kB", count / 1000)
    return sprintf("%.1f MB", count / 1000000)
}

function heading(text) { printf "\n%s%s%s\n", bold, text, plain }

# Sorted by insertion: some dozens of rows, and no sort() in mawk.
function sorted(rows, order,    count, row, at) {
    count = 0
    for (row in rows) {
        for (at = count++; at > 0 && order[at] > row; at--) order[at + 1] = order[at]
        order[at + 1] = row
    }
    return count
}

BEGIN {
    if (colour) { bold = "\033[1m"; red = "\033[31m"; plain = "\033[0m" }
}

/^#/ { next }

# A packet between two local pods is seen twice, at the interface of each; one of the two is enough here.
/^webb_traffic_(packets|bytes)_total[{]/ {
    pair = sprintf("%-34s %-34s %-6s", label("source"), label("destination"), label("protocol"))
    side = pair SUBSEP label("traffic_direction")
    if (/^webb_traffic_packets/) {
        packets_at[side] += $NF
        if (packets_at[side] > packets[pair]) packets[pair] = packets_at[side]
    } else {
        bytes_at[side] += $NF
        if (bytes_at[side] > volume[pair]) volume[pair] = bytes_at[side]
    }
}

/^hubble_drop_total[{]/ {
    drops[sprintf("%-34s %-34s %-6s", label("source"), label("destination"), label("protocol")) SUBSEP label("reason")] += $NF
}

/^hubble_tcp_flags_total[{]/ { flags[label("family") SUBSEP label("flag")] += $NF }
/^hubble_icmp_total[{]/ { icmp[label("family") " " label("type")] += $NF }

END {
    heading(sprintf("%-34s %-34s %-6s %9s %11s", "WHO TALKS", "TO WHOM", "PROTO", "PACKETS", "BYTES"))
    count = sorted(packets, order)
    for (at = 1; at <= count; at++) {
        printf "%s %9d %11s\n", order[at], packets[order[at]], bytes(volume[order[at]])
    }
    if (!count) print "(nobody yet)"

    heading(sprintf("%-34s %-34s %-6s %9s %s", "WHAT IS DROPPED", "ON ITS WAY TO", "PROTO", "PACKETS", "WHY"))
    count = sorted(drops, order)
    for (at = 1; at <= count; at++) {
        split(order[at], part, SUBSEP)
        printf "%s%s %9d %s%s\n", part[2] == "POLICY_DENIED" ? red : "", part[1], drops[order[at]], part[2], plain
    }
    if (!count) print "(nothing yet)"

    heading("TCP FLAGS, AS MANY AS WERE REPORTED")
    for (version = 4; version <= 6; version += 2) {
        family = "IPv" version SUBSEP
        printf "IPv%d  SYN %d  SYN-ACK %d  FIN %d  RST %d\n", version,
            flags[family "SYN"], flags[family "SYN-ACK"], flags[family "FIN"], flags[family "RST"]
    }

    heading("ICMP")
    count = sorted(icmp, order)
    for (at = 1; at <= count; at++) printf "%s %d%s", order[at], icmp[order[at]], at < count ? "   " : "\n"
    if (!count) print "(none yet)"
}
