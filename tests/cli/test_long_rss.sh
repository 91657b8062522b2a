#!/bin/sh
# Host memory at the opt-1.3b shape: bf16 wire, 128 tokens, batch 1, the smallest device budget. Peak RSS, the device arena included, is at
# most 4 bytes per parameter (the masters, one half of which is the wire) + 512 MiB. About a minute.
set -eu
. "$SRC/tests/cli/train_steps.sh"
need 4 7
"$BIN/zo2-pack" synth opt-1.3b "$work/model.zo2"
"$work/train_steps" "$work/model.zo2" "$work/run" 128 4 0 gaussian | tee "$work/out"
limit=$((4 * $(measured parameters) + 536870912))
awk "BEGIN { printf \"peak RSS %.1f MiB over 4 bytes a parameter, the limit is 512\\n\", ($(measured rss_peak) - 4 * $(measured parameters)) / 1048576 }"
[ "$(measured rss_peak)" -le "$limit" ]
