#!/usr/bin/env bash
# The whole suite in two stages that share the machine: what lives in real time goes one after the other, and all the
# rest takes, on all cores, what that leaves of them.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
log=$(mktemp)
# Where Linux shares time out by session first (autogroup), a process alone cannot step back.
setsid bash -c 'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$@"' - \
  ./rlt exec python -m pytest -n auto --maxprocesses 4 -m "not live and not commands" >"$log" 2>&1 &
rest=$!
trap 'kill -- "-$rest" 2>/dev/null; cat "$log"; rm -f "$log"; exit 130' INT TERM HUP
echo "in real time (the rest of the suite runs beside it, and is told of afterwards):"
./rlt exec python -m pytest -m live
live=$?
echo "the rest:"
tail -n +1 -f --pid="$rest" "$log"
wait "$rest"
code=$((live | $?))
rm -f "$log"
exit "$code"
