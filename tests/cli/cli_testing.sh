# cli_testing.sh: sourced by the shell tests of the tools. BIN and DATA are set by ctest; by hand:
#   BIN=build/bin DATA=tests/data sh tests/cli/test_pack_usage.sh
# Names of the helpers' variables begin with _ (a POSIX shell has no local ones). Each test works in a folder of its own, $work, which is the current one.
: "${BIN:?}" "${DATA:?}"
BIN=$(cd "$BIN" && pwd) DATA=$(cd "$DATA" && pwd) || exit 1
PATH=$BIN:$PATH
HF=$DATA/tiny-opt/model
TEXTS=$DATA/tiny-opt/data
failures=0
if [ -n "${ZO2_SANITIZE-}" ]; then slow=1; else slow=0; fi # steps take a second rather than 30 ms: fewer of them
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# expect STATUS PATTERN COMMAND...: the exit status, and a basic regular expression that some line of stdout or stderr
# matches ('' = anything). What it printed stays in out.txt and err.txt.
expect() {
    _want=$1 _like=$2
    shift 2
    "$@" >out.txt 2>err.txt
    _got=$?
    if [ "$_got" != "$_want" ]; then
        fail "exit status $_got, not $_want: $*"
        cat out.txt err.txt
    elif [ -n "$_like" ] && ! cat out.txt err.txt | grep -q -e "$_like"; then
        fail "nothing like '$_like' from: $*"
        cat out.txt err.txt
    fi
}

# usage PATTERN COMMAND...: exit 2, nothing on stdout, and on stderr one line with the pattern and a hint at --help.
usage() {
    _usage=$1
    shift
    expect 2 "$_usage" "$@"
    [ ! -s out.txt ] || fail "a usage error printed on stdout: $*"
    grep -q -e '--help' err.txt || fail "no hint at --help: $*"
}

# help_and_version COMMAND...: both work, on stdout, and a full disk is noticed.
help_and_version() {
    expect 0 '^usage: ' "$@" --help
    [ ! -s err.txt ] || fail "$* --help printed on stderr"
    awk 'length > 140 { bad = 1 } END { exit bad }' out.txt || fail "$* --help has lines of more than 140 characters"
    expect 0 '^zo2-[a-z]* [0-9][0-9]*\.[0-9]' "$@" --version
    expect 1 'standard output' sh -c '"$@" >/dev/full' sh "$@" --help
}

tiny() { # the pack of the tiny real model
    zo2-pack convert "$HF" tiny.zo2 >/dev/null || exit 1
}

lines() { # of a file that may not be there yet
    if [ -f "$1" ]; then wc -l <"$1"; else echo 0; fi
}

# wait_lines FILE N PID: until FILE has N lines; false when the process ended before or nothing comes.
wait_lines() {
    _tries=0
    while [ "$(lines "$1")" -lt "$2" ]; do
        kill -0 "$3" 2>/dev/null || return 1
        _tries=$((_tries + 1))
        [ $_tries -lt 6000 ] || return 1
        sleep 0.02
    done
}

# flip FILE OFFSET: inverts one bit.
flip() {
    _byte=$(dd if="$1" bs=1 skip="$2" count=1 2>/dev/null | od -An -tu1)
    # shellcheck disable=SC2059  # the format is the byte
    printf "\\$(printf %03o $((_byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# leaves_nothing COMMAND...: one that writes into sub/ and gets a Ctrl-C once something is there takes it away and exits with 130.
leaves_nothing() {
    mkdir sub
    "$@" >/dev/null 2>interrupted.txt &
    _pid=$!
    _tries=0
    while [ -z "$(ls sub)" ] && [ $_tries -lt 500 ]; do
        _tries=$((_tries + 1))
        sleep 0.01
    done
    kill -INT $_pid
    wait $_pid
    _status=$?
    case $_status in
        130)
            [ -z "$(ls -A sub)" ] || fail "left behind after Ctrl-C: $(ls -A sub)"
            grep -q 'interrupted' interrupted.txt || fail "Ctrl-C is not mentioned"
            ;;
        0) echo "note: finished before Ctrl-C came" ;;
        *) fail "exit status $_status after Ctrl-C, not 130" ;;
    esac
}

finish() {
    [ $failures = 0 ] && exit 0
    echo "$failures failures"
    exit 1
}
