#!/bin/sh
# OPT-175B on the cpu backend: two real training steps of 8 tokens within a device budget of 4,000,000,000 bytes. All layers share one
# layer's storage (--alias), so the losses mean nothing; every byte is moved, every weight is decoded, perturbed, multiplied and updated as
# in a real run. Prints the measured peaks. About 15 minutes on two cores; DIST=gaussian takes half as long again.
set -eu
. "$SRC/tests/cli/train_steps.sh"
need 6 13
"$BIN/zo2-pack" synth opt-175b "$work/model.zo2" --alias
"$work/train_steps" "$work/model.zo2" "$work/run" 8 2 4000000000 "${DIST-rademacher}" | tee "$work/out"
[ "$(grep -c '^step ' "$work/out")" = 2 ]
[ "$(measured device_peak)" -gt 0 ]
[ "$(measured device_peak)" -le 4000000000 ]
