#!/bin/sh
# What a run of one layer takes of memory is the wires of the others, as the pack has them, and the masters of that one: opt-1.3b, bf16, each frozen
# wire that is smaller. A minute and 12 GB of disk.
set -eu
ZO2_LONG_DIR=${ZO2_LONG_DIR-$PWD}
. "$SRC/tests/cli/train_steps.sh"
need 12 5
export TUNE=layers=23 FROZEN_WIRE
cd "$work"
"$BIN/zo2-pack" synth opt-1.3b model.zo2 --dtype bf16
for FROZEN_WIRE in ${WIRES-bf12 f6 i4}; do
    "$BIN/zo2-pack" freeze model.zo2 --wire "$FROZEN_WIRE" --tune "$TUNE"
    ./train_steps model.zo2 "run-$FROZEN_WIRE" 32 1 0 gaussian | tee out
    masters=$(measured masters) parameters=$(measured parameters)
    taken=$(($(measured rss_peak) - $(measured rss_start) - $(measured device_peak)))
    echo "$FROZEN_WIRE: $parameters parameters, $masters bytes of wires and masters, $taken taken of host memory"
    # staging, threads, tables, activations of 32 tokens
    [ "$taken" -le $((masters + 100000000)) ]
    [ "$taken" -ge "$masters" ]
    # one layer's masters are 0.2 GB
    [ "$masters" -lt $((parameters * 2)) ]
done
