#!/usr/bin/env bash
# Sets up a throw-away platform at http://127.0.0.1:8000/ with the user MrTest (password test), and runs it in the
# foreground. Then, in another terminal: bash test_files/local_test2.sh -d
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d "${TMPDIR:-/tmp}/datarun-test-XXXXXX")
state="$here/.local_test"
chmod 0711 "$folder" # for the database server's own user, where root starts it

DATARUN_HOME="$folder/home" USER_LOGIN=MrTest USER_PSWD=test DR_EMAIL=test@example.org \
    "$here/../bin/up" --port 8000 &
platform=$!
printf '%s\n%s\n' "$platform" "$folder" >"$state"
trap 'kill -INT "$platform" 2>/dev/null || true' INT TERM
code=0
while kill -0 "$platform" 2>/dev/null; do
    code=0
    wait "$platform" || code=$?
done
rm -rf "$folder" "$state"
exit "$code"
