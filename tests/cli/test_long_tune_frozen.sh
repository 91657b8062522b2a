#!/bin/sh
# Adapters of a frozen model whose source bits are ten times what host and device may take: opt-6.7b, fp16, one row of 32 tokens. Peak RSS is
# within the budgets, and what is written is journal and adapters. Five minutes and 14 GB of disk.
set -eu
ZO2_LONG_DIR=${ZO2_LONG_DIR-$PWD}
. "$SRC/tests/cli/train_steps.sh"
need 15 3
export TUNE=lora:r=8,targets=q_proj+v_proj WIRE=fp16
cd "$work"
"$BIN/zo2-pack" synth opt-6.7b model.zo2
bytes=$(stat -c %s model.zo2)
host=${HOST-700000000}
./train_steps model.zo2 run 32 2 0 gaussian "$host" 0 spill | tee out
both=$((host + $(measured device_peak)))
echo "the pack has $bytes bytes, host and device $both"
[ "$bytes" -ge $((10 * both)) ]
[ $(($(measured rss_peak) - $(measured rss_start))) -le "$both" ]
echo "written: $(($(measured written) - $(measured start_written))) bytes"
[ $(($(measured written) - $(measured start_written))) -lt 200000000 ]
