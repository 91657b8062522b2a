#!/bin/sh
# A spilled run stays within its budgets: masters that are ten times the room that --host-mem leaves for them, peak RSS measured. It begins
# without writing them, has the journal of a run in RAM, and says how it reaches the disk, as an ordinary user too.
set -eu
ZO2_LONG_DIR=$PWD # not a tmpfs, which would be memory
. "$SRC/tests/cli/train_steps.sh"
failed=0
must() { # WHAT CONDITION...
    _what=$1
    shift
    [ "$@" ] || { echo "FAILED: $_what: $*"; failed=1; }
}
host=165000000
cd "$work"
"$BIN/zo2-pack" synth opt-125m model.zo2
"$BIN/zo2-plan" model.zo2 --batch 1 --seq 48 --threads 2 --pending 1 --host-mem $host --spill s --probe 0 --endurance 10000T --json >plan
value() { sed "s/.*\"$1\": \([^,}]*\).*/\1/" plan; }
room=$(($(value ram_master_bytes) + $(value ram_wire_bytes) + $(value spill_buffer_bytes)))

./train_steps model.zo2 spilled 48 3 0 gaussian $host 1 s0 s1 | tee out
must "masters that don't fit" "$(measured masters)" -ge $((10 * room))
must "peak RSS beyond that of the start" $(($(measured rss_peak) - $(measured rss_start))) -le $((host + $(measured device_peak)))
must "written before the first step" "$(measured start_written)" -lt 262144
must "written later" "$(measured written)" -gt $(($(measured masters) / 2))
./train_steps model.zo2 ram 48 3 0 gaussian 1000000000 1 >out
cmp spilled/journal.zo2j ram/journal.zo2j || failed=1

# 8 MiB of locked memory, and no right to more: the buffers are too large to be registered
if [ "$(id -u)" = 0 ]; then user='setpriv --bounding-set -all --inh-caps=-all'; else user=; fi
(
    ulimit -l 8192
    # shellcheck disable=SC2086  # a command and its options
    $user ./train_steps model.zo2 user 48 3 0 gaussian 220000000 1 u0 | tee out
)
if grep -q 'through io_uring' out; then
    grep -q '^the spill is read through io_uring, buffers not registered (.*ulimit -l)' out || must "a word about locked memory" 0 = 1
fi
must "the path to the disk" "$(grep -c '^the spill is \(read\|written\) through ' out)" = 2
cmp user/journal.zo2j ram/journal.zo2j || failed=1
exit $failed
