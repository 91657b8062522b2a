#!/bin/sh
# A run that moves adapters of a frozen model, which is larger than the host memory it may take: nothing but the journal and the adapters is
# written where the wire is the source's own type; another wire is written once, and read from then on. Within the budget either way.
set -eu
ZO2_LONG_DIR=$PWD # not a tmpfs, which would be memory
. "$SRC/tests/cli/train_steps.sh"
failed=0
must() { # WHAT CONDITION...
    _what=$1
    shift
    [ "$@" ] || { echo "FAILED: $_what: $*"; failed=1; }
}
export TUNE=lora:r=4,targets=q_proj+v_proj
host=165000000
cd "$work"
"$BIN/zo2-pack" synth opt-125m model.zo2
for wire in fp16 fp8-e4m3; do
    echo "wire $wire:"
    WIRE=$wire ./train_steps model.zo2 "$wire" 48 4 0 gaussian $host 0 "s-$wire" >out
    cat out
    must "peak RSS beyond that of the start" $(($(measured rss_peak) - $(measured rss_start))) -le $((host + $(measured device_peak)))
    mv out "$wire.out"
done
cp fp16.out out
must "bytes written with the source's own wire" $(($(measured written) - $(measured start_written))) -lt 20000000
must "of a model of" "$(measured parameters)" -gt 100000000
cp fp8-e4m3.out out
wires=$(($(measured parameters) * 103 / 100))
must "bytes written with another wire" $(($(measured written) - $(measured start_written))) -lt $((wires + 20000000))
must "it is written" $(($(measured written) - $(measured start_written))) -gt $((wires / 3))
exit $failed
