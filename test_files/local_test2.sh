#!/usr/bin/env bash
# Runs test_workflow.py against the platform that local_test1.sh set up in another terminal.
# With -d the platform is stopped and removed afterwards.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state="$here/.local_test"
python="$here/../.venv/bin/python"
destroy=no
while getopts ":d" option; do
    case $option in
        d) destroy=yes ;;
        *) echo "Unknown option -$OPTARG: only -d (stop and remove the platform afterwards) is known." >&2; exit 2 ;;
    esac
done

[ -s "$state" ] || { echo "Start bash test_files/local_test1.sh in another terminal first." >&2; exit 2; }
for _ in $(seq 600); do # the first start may be installing
    if "$python" -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:8000/readyz", timeout=1)' 2>/dev/null; then
        break
    fi
    [ -s "$state" ] || { echo "The platform of local_test1.sh has ended: see its terminal." >&2; exit 1; }
    sleep 0.5
done

code=0
"$python" "$here/test_workflow.py" http://127.0.0.1:8000/ MrTest test || code=$?
if [ "$destroy" = yes ]; then
    echo "Stopping and removing the test platform"
    kill -INT "$(head -n 1 "$state")"
    for _ in $(seq 300); do
        [ -e "$state" ] || break
        sleep 0.1
    done
fi
exit "$code"
