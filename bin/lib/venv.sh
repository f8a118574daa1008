# shellcheck shell=bash
# The virtual environment that bin/up and bin/test share. To be sourced, from the root of the checkout.
#
#     datarun_venv requirements.txt [more requirement files]
#
# makes .venv if it is missing, installs the given files and the checkout itself if they changed since, and puts
# .venv/bin first on the PATH. Nothing changed: a few milliseconds. Whatever goes wrong ends the script with one
# sentence. Works with the bash 3.2 of macOS.

datarun_venv() {
    [ -x .venv/bin/python ] || _datarun_make_venv
    export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
    unset PYTHONHOME
    _datarun_install "$@"
}

_datarun_fail() {
    echo "datarun: $1" >&2
    exit 1
}

_datarun_is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

_datarun_make_venv() {
    local python='' name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if _datarun_is_recent "$name"; then
            python=$name
            break
        fi
    done
    if [ -z "$python" ]; then
        name=$(python3 --version 2>/dev/null) ||
            _datarun_fail "python3 is missing: install Python 3.11 or newer."
        _datarun_fail "$name is too old: install Python 3.11 or newer."
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        _datarun_fail "$python lacks its venv module: install it (Debian, Ubuntu: apt-get install python3-venv)."
    if ! "$python" -m venv --clear .venv; then
        rm -rf .venv
        _datarun_fail "$python can't make a virtual environment in $PWD/.venv: see above."
    fi
}

# .venv/installed has the checksums of what was installed, a line a file.
_datarun_install() {
    local stamp=.venv/installed installed='' file line changed='' requirements=''
    [ ! -e "$stamp" ] || installed=$(<"$stamp")
    for file in "$@" pyproject.toml; do
        line=$(cksum "$file") || _datarun_fail "$file is missing in $PWD: is this a complete checkout?"
        case "
$installed
" in *"
$line
"*) ;; *)
            changed="$changed $file"
            [ "$file" = pyproject.toml ] || requirements="$requirements -r $file"
            ;;
        esac
    done
    [ -n "$changed" ] || return 0

    echo "Installing$changed into .venv ..." >&2
    # Word splitting is wanted below: the names of our own files have no blanks.
    # shellcheck disable=SC2086
    [ -z "$requirements" ] || _datarun_pip $requirements
    case "$changed" in *pyproject.toml*) _datarun_pip --no-deps -e . ;; esac
    {
        # Lines of other files stay; those of the files just installed are replaced.
        while read -r line; do
            case " $changed " in *" ${line##* } "*) ;; *) [ -z "$line" ] || echo "$line" ;; esac
        done <<<"$installed"
        # shellcheck disable=SC2086
        cksum $changed
    } >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

_datarun_pip() {
    local log=.venv/pip.log
    .venv/bin/python -m pip install -q --disable-pip-version-check "$@" >"$log" 2>&1 && return
    if grep -q 'No module named pip' "$log"; then
        _datarun_fail "$PWD/.venv has no pip, perhaps because its making was cut short: delete it and try again."
    fi
    if grep -q 'Retrying (\|Could not fetch URL\|NewConnectionError' "$log"; then
        _datarun_fail "pip reaches no package registry: check the network, or set PIP_INDEX_URL to one in reach."
    fi
    grep -v 'Location .* is ignored' "$log" | tail -n 15 >&2
    _datarun_fail "pip install $* failed: see above, or all of it in $PWD/$log."
}
