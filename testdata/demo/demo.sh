#!/usr/bin/env bash
# The demo: a list on a loopback server, a run that is killed half-way, the same command again, and what comes of it. It
# shows each command as it runs it.
#
#	demo.sh FACESCAN [FOLDER]      without a folder, one in /tmp
set -euo pipefail
facescan=$(realpath "$1")
photo=$(realpath detect/testdata/faces.jpg)
if [ -n "${2:-}" ]; then
  work=$(realpath -m "$2")
  [ ! -e "$work" ] || { echo "demo: $work is there already: remove it, or name another folder: make demo DEMO=FOLDER" >&2; exit 2; }
  mkdir -p "$work"
else
  work=$(mktemp -d /tmp/facescan-demo.XXXXXX)
fi
bin=$(mktemp -d)
server=
run=
trap 'kill $run $server 2>/dev/null || true; rm -rf "$bin"' EXIT
bold() { if [ -n "${NO_COLOR:-}" ] || [ ! -t 1 ]; then printf '\n%s\n' "$*"; else printf '\n\033[1m%s\033[0m\n' "$*"; fi; }
show() { bold "\$ $1"; eval "$1"; }

.ci/stage 'compiling a server of images' 20 go build -o "$bin/server" ./testdata/demo
bold "The demo takes some 20 s. What it makes stays in $work"
mkfifo "$bin/open"
"$bin/server" -list "$work/urls.txt" -n 600 -delay 400ms <"$bin/open" &
server=$!
exec 9>"$bin/open"
for _ in $(seq 200); do [ -e "$work/urls.txt" ] && break; sleep 0.05; done
cd "$work"
ln -s "$facescan" "$bin/facescan"
PATH=$bin:$PATH
cp "$photo" photo.jpg

# Images come from this machine, which a run does not ask unless it may: hence --allow-private.
command='facescan run urls.txt --allow-private'
bold "\$ $command &"
$command &
run=$!
for _ in $(seq 600); do
  done_rows=$(facescan status urls.txt --json 2>/dev/null | grep -oE '"done": ?[0-9]+' | head -n 1 | grep -oE '[0-9]+' || true)
  [ "${done_rows:-0}" -ge 150 ] && break
  sleep 0.05
done
show "kill -9 $run"
wait $run 2>/dev/null || true
run=
show 'facescan status urls.txt'
bold 'The same command goes on where it was:'
show "$command"
show 'facescan verify urls.txt'
show 'facescan export urls.txt -o results.csv'
show 'head -n 20 results.csv'
show 'facescan report urls.txt -o report.html'
show 'facescan detect photo.jpg --draw drawn'

bold "What it leaves, in $work"
for file in results.csv report.html drawn/* urls.facescan.db; do
  [ -s "$file" ] || { echo "demo: $file is missing" >&2; exit 1; }
  printf '  %s\n' "$file"
done
