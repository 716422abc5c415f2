# Turns webb's exposition into the demo's table: who talks to whom, what is dropped and why, what is asked of HTTP servers
# and of DNS and how long that takes, which TCP flags were seen.
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

function seconds(sum, count) { return count ? sprintf("%.1f ms", sum / count * 1000) : "" }

# The bound of the bucket in which that share of a pair's handshakes is.
function quantile(pair, share,    count, all, at, parts) {
    count = split(bounds[pair], parts, " ")
    all = within[pair SUBSEP 1e9]
    if (!all) return ""
    for (at = 1; at <= count; at++) if (within[pair SUBSEP (parts[at] + 0)] >= share * all) break
    return parts[at] + 0 >= 1e9 ? "> 2500 ms" : sprintf("< %g ms", parts[at] * 1000)
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

/^hubble_http_requests_total[{]/ {
    call = sprintf("%-18s %-34s %-24s", label("source"), label("destination"), label("method") " " label("path"))
    requests[call SUBSEP label("status")] += $NF
}
/^hubble_http_request_duration_seconds_(sum|count)[{]/ {
    call = sprintf("%-18s %-34s %-24s", label("source"), label("destination"), label("method") " " label("path"))
    if (/_sum[{]/) call_seconds[call] += $NF; else calls[call] += $NF
}

# An answer comes from the server; its time is that of the client.
/^hubble_dns_responses_total[{]/ {
    answers[sprintf("%-18s %-38s %-5s", label("destination"), label("query"), label("qtypes")) SUBSEP label("rcode")] += $NF
    client[sprintf("%-18s %-38s %-5s", label("destination"), label("query"), label("qtypes"))] = label("destination")
}
/^webb_dns_response_seconds_(sum|count)[{]/ {
    asker = label("source") SUBSEP label("rcode")
    if (/_sum[{]/) lookup_seconds[asker] += $NF; else lookups[asker] += $NF
}

/^webb_dns_unanswered_total[{]/ {
    answers[sprintf("%-18s %-38s %-5s", label("source"), "(of " label("destination") ")", "") SUBSEP "(none in 10 s)"] += $NF
}

# A connection between two local pods is seen by both; what the opener sees is what its requests wait for.
/^webb_tcp_connections_total[{]/ && label("reporter") == "client" {
    pair = sprintf("%-34s %-34s", label("source"), label("destination"))
    outcome = label("outcome")
    if (outcome == "accepted") accepted[pair] += $NF; else failed[pair] = failed[pair] (failed[pair] ? ", " : "") outcome " " $NF
    connects[pair] = 1
}
# Buckets are written in ascending order, each with those below it.
/^webb_tcp_handshake_seconds_bucket[{]/ && label("reporter") == "client" {
    pair = sprintf("%-34s %-34s", label("source"), label("destination"))
    bound = label("le")
    place = pair SUBSEP (bound == "+Inf" ? 1e9 : bound + 0)
    if (!(place in within)) bounds[pair] = bounds[pair] " " (bound == "+Inf" ? 1e9 : bound + 0)
    within[place] += $NF
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

    heading(sprintf("%-34s %-34s %9s %10s %10s  %s", "CONNECTIONS OF", "TO", "ACCEPTED", "MEDIAN", "WORST", "FAILED"))
    count = sorted(connects, order)
    for (at = 1; at <= count; at++) {
        pair = order[at]
        worst = quantile(pair, 1)
        late = substr(worst, 3) + 0 > 10
        printf "%s%s %9d %10s %10s  %s%s\n", late || failed[pair] ? red : "", pair, accepted[pair], quantile(pair, 0.5), worst,
            failed[pair], late || failed[pair] ? plain : ""
    }
    if (!count) print "(none yet)"

    heading(sprintf("%-18s %-34s %-24s %6s %8s %9s", "WHO REQUESTS", "OF WHOM", "WHAT", "STATUS", "REQUESTS", "MEAN"))
    count = sorted(requests, order)
    for (at = 1; at <= count; at++) {
        split(order[at], part, SUBSEP)
        refused = (part[2] >= 400)
        printf "%s%s %6s %8d %9s%s\n", refused ? red : "", part[1], part[2], requests[order[at]],
            seconds(call_seconds[part[1]], calls[part[1]]), refused ? plain : ""
    }
    if (!count) print "(nothing yet)"

    heading(sprintf("%-18s %-38s %-5s %-22s %8s %8s", "WHO LOOKS UP", "WHICH NAME", "TYPE", "ANSWER", "ANSWERS", "MEAN"))
    count = sorted(answers, order)
    for (at = 1; at <= count; at++) {
        split(order[at], part, SUBSEP)
        asker = client[part[1]] SUBSEP part[2]
        printf "%s%s %-22s %8d %8s%s\n", part[2] != "No Error" ? red : "", part[1], part[2], answers[order[at]],
            seconds(lookup_seconds[asker], lookups[asker]), part[2] != "No Error" ? plain : ""
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
