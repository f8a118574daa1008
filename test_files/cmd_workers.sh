#!/usr/bin/env bash
# Starts and stops workers on this machine, in the background.
#
#   bash test_files/cmd_workers.sh start RUNNERS SCHEDULERS   e.g. start 2 1: three workers, one of them the scheduler
#   bash test_files/cmd_workers.sh stop
#   bash test_files/cmd_workers.sh restart RUNNERS SCHEDULERS
#
# The first half of the runners takes light folds and data preparation (queues L and celery), the other half heavy
# folds (H); a single one takes all. They read their settings from the environment. Logs and process ids are in
# celery_info/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
info="$root/celery_info"
[ -d "$root/.venv/bin" ] && PATH="$root/.venv/bin:$PATH"

usage() { sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

launch() { # name command...
    local name=$1; shift
    if alive "$info/$name.pid"; then
        echo "$name runs already (process $(cat "$info/$name.pid"))"; return
    fi
    (cd "$root" && exec setsid "$@") >>"$info/$name.log" 2>&1 </dev/null &
    echo $! >"$info/$name.pid"
    echo "$name started"
}

start() {
    [[ ${1-} =~ ^[0-9]+$ && ${2-} =~ ^[0-9]+$ ]] || usage
    local runners=$1 schedulers=$2 light=$((($1 + 1) / 2)) number queues
    mkdir -p "$info"
    for ((number = 1; number <= runners; number++)); do
        if ((runners == 1)); then queues=L,H,celery
        elif ((number <= light)); then queues=L,celery
        else queues=H; fi
        launch "rw$number" celery -A datarun worker -l info -n "rw$number@%h" -Q "$queues"
    done
    for ((number = 1; number <= schedulers; number++)); do
        launch "lw$number" python manage.py scheduler
    done
}

stop() {
    shopt -s nullglob
    local file
    for file in "$info"/*.pid; do
        if alive "$file"; then kill -TERM "$(cat "$file")"; fi
    done
    for file in "$info"/*.pid; do
        for _ in $(seq 300); do
            alive "$file" || break
            sleep 0.1
        done
        if alive "$file"; then kill -KILL "$(cat "$file")"; fi
        echo "$(basename "$file" .pid) stopped"
        rm -f "$file"
    done
}

case ${1-} in
    start) shift; start "$@" ;;
    stop) stop ;;
    restart) shift; stop; start "$@" ;;
    *) usage ;;
esac
