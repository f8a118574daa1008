#!/usr/bin/env bash
# Runs test_workflow.py against a deployed platform:
#
#   bash test_files/remote_test.sh MASTER USER PASSWORD [OPTION OF test_workflow.py...]
#
# MASTER is a host name, or a whole address such as http://10.0.0.1:8000/. A certificate of an authority of your own is
# checked with the file that REQUESTS_CA_BUNDLE names. Submissions 1 to 3 and folds 1 to 6 of the platform are replaced.
set -euo pipefail

[ $# -ge 3 ] || { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python="$here/../.venv/bin/python"
[ -x "$python" ] || python=python3
case $1 in
    http://* | https://*) url=$1 ;;
    *) url="https://$1/" ;;
esac
shift
exec "$python" "$here/test_workflow.py" "$url" "$@"
