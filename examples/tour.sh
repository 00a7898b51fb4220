#!/bin/sh
# Imports a small directory into a store, prints its contents, and exports it back.
set -eu
cd "$(dirname "$0")/.."
tour=$(mktemp -d)
trap 'rm -rf "$tour"' EXIT
# The features to build with; the program needs one.
features=${TOUR_FEATURES:---features=program}
cargo build --quiet "$features"

run() {
    printf '\n$ runtime-store %s\n' "$*"
    cargo run --quiet "$features" -- "$@"
}
run import tests/fixtures/small "$tour/agents.redb"
run runtimes "$tour/agents.redb"
run workers "$tour/agents.redb" 
run events "$tour/agents.redb" 
run transcript "$tour/agents.redb" worker-00000001
run export "$tour/agents.redb" "$tour/exported"
run compare "$tour/exported" "$tour/agents.redb"

printf '\n$ diff -r\n'
diff -r tests/fixtures/small "$tour/exported"
echo "the export is the directory that was imported, byte for byte"
