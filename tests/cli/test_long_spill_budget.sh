#!/bin/sh
# The opt-1.3b shape, whose masters are ten times --host-mem, all of it counted: peak RSS beyond what program and libraries take at the start, the CPU
# backend's device arena included, is within both budgets, and the journal is that of a run in RAM. Prints what a step takes beside its busiest lane. A few minutes.
set -eu
. "$SRC/tests/cli/train_steps.sh"
need 10 8
host=500000000
"$BIN/zo2-pack" synth opt-1.3b "$work/model.zo2"
echo "all in RAM:"
"$work/train_steps" "$work/model.zo2" "$work/ram" 128 6 0 gaussian 12000000000 3 | tee "$work/out"
echo "with a host budget of $host bytes:"
"$work/train_steps" "$work/model.zo2" "$work/run" 128 6 0 gaussian $host 3 "$work/spill" | tee "$work/out"
limit=$((host + $(measured device_peak)))
awk "BEGIN { printf \"peak RSS %.1f MiB, the limit is %.1f; masters %.1f times the host budget\\n\", ($(measured rss_peak) - $(measured rss_start)) / 1048576, $limit / 1048576, $(measured masters) / $host }"
[ "$(measured masters)" -ge $((10 * host)) ]
[ $(($(measured rss_peak) - $(measured rss_start))) -le "$limit" ]
[ "$(measured start_written)" -lt 1048576 ]
cmp "$work/ram/journal.zo2j" "$work/run/journal.zo2j"
