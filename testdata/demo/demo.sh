#!/usr/bin/env bash
# The demo: a list on a loopback server, a run that is killed half-way, the same command again, the CSV.
set -euo pipefail
facescan=$(realpath "$1")
work=$(mktemp -d)
server=
run=
trap 'kill $run $server 2>/dev/null || true; rm -rf "$work"' EXIT
say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -n "${NO_COLOR:-}" ] || [ ! -t 1 ]; then sed 's/\x1b\[[0-9;]*m//g'; else cat; fi; }

go build -o "$work/server" ./testdata/demo
mkfifo "$work/open"
"$work/server" -list "$work/urls.txt" <"$work/open" &
server=$!
exec 9>"$work/open"
for _ in $(seq 100); do [ -e "$work/urls.txt" ] && break; sleep 0.05; done
cd "$work"

say '$ facescan run urls.txt          # and kill -9 half-way'
"$facescan" run urls.txt --allow-private --fetchers 2 --progress none -q &
run=$!
for _ in $(seq 200); do
  done_rows=$("$facescan" status urls.txt --json 2>/dev/null | grep -oE '"done":[0-9]+' | head -n 1 | cut -d: -f2 || echo 0)
  [ "${done_rows:-0}" -ge 20 ] && break
  sleep 0.05
done
kill -9 $run
wait $run 2>/dev/null || true
run=
"$facescan" status urls.txt

say '$ facescan run urls.txt          # the same command goes on'
"$facescan" run urls.txt --allow-private

say '$ facescan verify urls.txt'
"$facescan" verify urls.txt

say '$ facescan export urls.txt -o results.csv; head -40 results.csv'
"$facescan" export urls.txt -o results.csv
head -40 results.csv
