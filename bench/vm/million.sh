#!/bin/sh
# A script for the guest, see README.md: it runs million, which opens as many connections
# to one crier as its arguments say, and prints what memory the guest had before and has
# after, and what TCP sent again or dropped. Exits with million's status.

census() {
  echo "$1: nproc $(nproc), $(awk '/^(MemTotal|MemAvailable|Slab):/ {
    printf "%s%s %s kB", sep, $1, $2; sep = ", " }' /proc/meminfo)"
}

# pace prints once a minute what memory there is, what the kernel's objects take up, and
# the pages that TCP's buffers do.
pace() {
  while sleep 60; do
    census "... memory"
    awk '/^TCP:/ { print "... TCP: inuse " $3 ", orphans " $5 ", mem " $NF " pages" }' /proc/net/sockstat
  done
}

# losses prints those of the kernel's counters (netstat -s) that are not zero and tell of
# a packet that did not arrive at once. Each line of names stands above its line of values.
losses() {
  awk 'NR % 2 { split($0, name); next }
    { for (i = 2; i <= NF; i++)
        if ($i > 0 && name[i] ~ /Drop|Retrans|Timeouts|Prune|Overflow|Collapsed|MemoryPressures/)
          printf "after: %s%s %s\n", $1, name[i], $i }' /proc/net/snmp /proc/net/netstat
}

census before
pace &
pace=$!
# Loopback's packets are received by the kernel's threads where there are many. These must
# not wait behind those who send: what is not received in time is sent again, and more
# and more.
renice -n 19 -p $$
million -crier /bin/crier "$@"
status=$?
kill "$pace"
census after
losses
exit $status
