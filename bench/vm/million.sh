#!/bin/sh
# A script for the guest, see README.md: it runs million, which opens as many connections
# to one crier as its arguments say, and prints what memory the guest had before and has
# after. Exits with million's status.

census() {
  echo "$1: nproc $(nproc), $(awk '/^(MemTotal|MemAvailable|Slab):/ {
    printf "%s%s %s kB", sep, $1, $2; sep = ", " }' /proc/meminfo)"
}

census before
million -crier /bin/crier "$@"
status=$?
census after
exit $status
