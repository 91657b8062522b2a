#!/bin/sh
# OPT-175B on the cpu backend with its masters on a drive: two real training steps of 8 tokens with host memory for a tenth of the masters. All
# layers share one layer's storage (--alias), so the losses mean nothing; every byte of a step is read, decoded, perturbed, multiplied, updated
# and written as in a real run. Prints the measured peaks, and each lane's seconds and rates beside the plan's. Half an hour to an hour on two cores.
# MODEL, HOST and DEVICE: another shape and its budgets, whose masters must be 10 times HOST (opt-6.7b: 155M, 200M).
set -eu
. "$SRC/tests/cli/train_steps.sh"
need 17 3
model=${MODEL-opt-175b} host=${HOST-900M} device=${DEVICE-300M}
mkdir "$work/spill"
for k in 7919 104729; do
    awk -v k=$k 'BEGIN { printf "{\"tokens\": [2"; for (i = 1; i < 8; i++) printf ", %d", 4 + i * k % 50000; print "], \"loss_from\": 1}" }'
done >"$work/data.jsonl"
"$BIN/zo2-pack" synth "$model" "$work/model.zo2" --alias
settings="--batch 1 --seq 8 --dist rademacher --pending 3 --backend cpu --host-mem $host --device-mem $device"
# shellcheck disable=SC2086  # words
"$BIN/zo2-plan" "$work/model.zo2" $settings --spill "$work/spill" --steps 2 --json >"$work/plan"
began=$(date +%s)
# shellcheck disable=SC2086
"$BIN/zo2-tune" train --model "$work/model.zo2" --data "$work/data.jsonl" --run "$work/run" $settings --spill "$work/spill" --steps 2
took=$(($(date +%s) - began))

planned() { sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p" "$work/plan"; }
step() { sed -n "$(($1 + 1))s/.*\"$2\": \([^,}]*\).*/\1/p" "$work/run/metrics.jsonl"; }
bytes() { case $1 in *G) echo $((${1%G} << 30)) ;; *M) echo $((${1%M} << 20)) ;; *) echo "$1" ;; esac; }
host=$(bytes "$host") device=$(bytes "$device")

# row LANE UNIT, then three pairs of an amount and seconds: as planned, of step 0, of step 1.
row() {
    awk -v lane="$1" -v unit="$2" -v planned="$3" -v ps="$4" -v a="$5" -v as="$6" -v b="$7" -v bs="$8" '
        function cell(amount, seconds) { return seconds > 0 && amount > 0 ? sprintf("%.3g %s, %.3g s, %.3g %s/s", amount / 1e9, unit, seconds, amount / 1e9 / seconds, unit) : "-" }
        BEGIN { printf "| %s | %s | %s | %s |\n", lane, cell(planned, ps), cell(a, as), cell(b, bs) }'
}
echo
echo "| lane | plan, on average | step 0 | step 1 |"
echo "| --- | --- | --- | --- |"
weights=$(planned parameters) due=$(($(planned parameters) / 4)) # K = 3
wires=$(planned wire_bytes_per_step)
row read GB "$(planned read_bytes_per_step)" "$(planned read_seconds)" "$(step 0 read_bytes)" "$(step 0 read_busy_seconds)" "$(step 1 read_bytes)" "$(step 1 read_busy_seconds)"
row write GB "$(planned written_bytes_per_step)" "$(planned write_seconds)" "$(step 0 written_bytes)" "$(step 0 write_busy_seconds)" "$(step 1 written_bytes)" "$(step 1 write_busy_seconds)"
row update "G weights" "$due" "$(planned update_seconds)" 0 0 "$due" "$(step 1 update_busy_seconds)"
row upload GB "$wires" "$(planned upload_seconds)" "$wires" "$(step 0 upload_busy_seconds)" "$wires" "$(step 1 upload_busy_seconds)"
row compute "G weights" "$weights" "$(planned compute_seconds)" "$weights" "$(step 0 compute_busy_seconds)" "$weights" "$(step 1 compute_busy_seconds)"
echo
awk "BEGIN { printf \"a step: planned %.3g s; step 0 %.3g s, step 1 %.3g s; all of it %d s\\n\", $(planned seconds_per_step), $(step 0 seconds), $(step 1 seconds), $took }"
echo "masters $(planned master_bytes)  host_budget $host  host_peak $(step 1 host_peak_bytes)  device_budget $device  device_peak $(step 1 device_peak_bytes)"
echo "spilled $(planned spilled_bytes)  files $(du -k "$work/spill" | awk '{ print 1024 * $1 }')"

[ "$(wc -l <"$work/run/metrics.jsonl")" = 2 ]
[ "$(planned master_bytes)" -ge $((10 * host)) ]
[ "$(step 1 host_peak_bytes)" -le "$host" ]
[ "$(step 1 device_peak_bytes)" -le "$device" ]
[ "$(step 0 written_bytes)" = 0 ] # nothing was copied to begin with
[ "$(step 1 written_bytes)" -gt 0 ]
"$BIN/zo2-pack" verify "$work/model.zo2" --run "$work/run"
