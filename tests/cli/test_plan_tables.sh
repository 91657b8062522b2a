#!/bin/sh
# zo2-plan: tables, JSON, budgets that don't fit, usage errors.
. "$(dirname "$0")/cli_testing.sh"
help_and_version zo2-plan
value() { sed "s/.*\"$1\": \([^,}]*\).*/\1/" out.txt; }

# plans that are looked at for their sizes alone measure nothing
plan() { zo2-plan "$@" --probe 0; }

expect 0 '^device memory ' zo2-plan opt-125m --batch 2 --seq 128
grep -q '^host memory ' out.txt || fail "no host memory in the table"
grep -q '^time per step .*predicted' out.txt || fail "no time in the table"
[ "$(grep -c 'the bottleneck' out.txt)" -eq 1 ] || fail "not one bottleneck"
for rate in 'update  *[0-9.e+-]*  G weights/s' 'noise  .*G weights/s' 'link  .*GB/s' 'decode  .*G weights/s' 'products  .*GFLOP/s'; do
    grep -q "^  $rate" out.txt || fail "no rate like '$rate'"
done
expect 0 '^time per step  *unknown' plan opt-125m --batch 2 --seq 128
! grep -q '^rates\|^proposal' out.txt || fail "rates or proposals without measuring"
expect 0 '"gemm_rate": 0[,}]' plan opt-125m --batch 2 --seq 128 --json
expect 0 '"gemm_rate": [1-9]' zo2-plan opt-125m --batch 2 --seq 128 --json --probe 0.01s
if zo2-plan --help | grep -q 'auto|cpu|cuda'; then # a plan for a device needs none
    # (with the library beside the tool, which has CUDA; tests/CMakeLists.txt)
    expect 0 '"device_peak_bytes": [1-9]' env -u LD_LIBRARY_PATH zo2-plan opt-125m --probe 0 --backend cuda --json
    [ "$(value context_bytes)" -gt 0 ] || fail "a GPU's context takes nothing"
fi

expect 0 '"device_peak_bytes": [1-9]' plan opt-175b --batch 1 --seq 2048 --json
[ "$(value fits)" = true ] || fail "fits isn't true"
least=$(value device_min_bytes)
[ "$least" -lt 18000000000 ] || fail "OPT-175B needs $least bytes of device memory"
parts=0
for part in context residual norm layer panel ring resident vector loss workspace; do
    parts=$((parts + $(value ${part}_bytes)))
done
[ "$parts" -eq "$(value device_peak_bytes)" ] || fail "the parts don't add up to the device memory"
expect 0 '' plan opt-175b --batch 1 --seq 2048 --device-mem "$least" --json
expect 1 "doesn't fit: .*$least" plan opt-175b --batch 1 --seq 2048 --device-mem $((least - 1)) --json
[ "$(value fits)" = false ] || fail "fits isn't false"
expect 1 'device-mem' plan opt-13b --device-mem 1
# the budget that the message gives works
enough=$(sed -n 's/.*--device-mem \([0-9][0-9]*[KMGT]*\).*/\1/p' err.txt)
expect 0 '' plan opt-13b --device-mem "$enough"
expect 1 'host-mem' plan opt-125m --host-mem 1M

# room to spare keeps wires on the device; K pending updates then save traffic
expect 0 '"resident_bytes": 0,' plan opt-125m --batch 1 --seq 64 --json
once=$(value wire_bytes_per_step)
expect 0 '"resident_bytes": [1-9]' plan opt-125m --batch 1 --seq 64 --device-mem 4G --pending 3 --json
[ "$(value wire_bytes_per_step)" -lt $((once * 26 / 100)) ] || fail "wires that stay are uploaded anyway"
expect 0 '^ *resident .*wires that stay' plan opt-125m --batch 1 --seq 64 --device-mem 4G
# too small for the batch at once: the message has the micro-batch that fits, whose streams wait in host memory
expect 1 'micro-batch [1-9]' zo2-plan opt-125m --batch 64 --seq 512 --device-mem 600M --probe 0.05s
grep -q '^proposal .*--micro-batch' out.txt || fail "no proposal of a micro-batch"
micro=$(sed -n 's/.*try --micro-batch \([0-9]*\).*/\1/p' err.txt)
expect 0 'residual streams, both ways' plan opt-125m --batch 64 --seq 512 --device-mem 600M --micro-batch "$micro"
expect 1 '' plan opt-125m --batch 64 --seq 512 --device-mem 600M --micro-batch $((micro + 1))
expect 0 '"proposed_pending": [0-9].*"proposed_dist": "[a-z]' zo2-plan opt-125m --batch 1 --seq 16 --probe 0.05s --json

# the table of LLaMA-like models in tools/guide/plans.md
mkdir drive
PAGE=$DATA/../../tools/guide/plans.md
number() { awk -v x="$(value "$1")" -v format="$2" 'BEGIN { printf format, x / 1e9 }'; }
giga() { awk -v x="$(value "$1")" 'BEGIN { printf x < 1e12 ? "%.3g" : "%.0f", x / 1e9 }'; }
seconds() { awk -v x="$(value seconds_per_step)" -v format="$1" 'BEGIN { printf format, x }'; }
for model in llama-3.2-1b qwen3-0.6b qwen3-4b llama-3.1-8b mistral-7b qwen3-14b qwen3-32b llama-3.1-70b llama-3.1-405b; do
    settings="$model --batch 1 --seq 2048 --dist rademacher --pending 63 --threads 16 --gpu rtx-4090 --update-rate 12 --json"
    # shellcheck disable=SC2086  # words
    expect 0 '"fits": true' zo2-plan $settings --host-mem 8T
    line="| $model | $(number parameters %.2f) | $(number device_min_bytes %.2f) | $(giga host_peak_bytes) | $(seconds %.2f) | $(value bottleneck | tr -d '"') |"
    # shellcheck disable=SC2086
    expect 0 '"fits": true' zo2-plan $settings --host-mem 64G --spill drive --spill-read-rate 7 --spill-write-rate 5 --endurance 1200T
    drive=-
    [ "$(value spilled_bytes)" = 0 ] || drive=$(giga spill_bytes)
    line="$line $drive | $(seconds %.3g) | $(value bottleneck | tr -d '"') | $(number written_bytes_per_step %.3g) |"
    grep -qxF "$line" "$PAGE" || fail "the page has no line: $line"
done

tiny
expect 0 '"parameters": 3505536' plan tiny.zo2 --json
expect 0 '"parameters": 3505536' plan "$HF/config.json" --json
for options in '--wire fp8-e4m3' '--wire fp8-e5m2' '--wire fp16' '--wire fp32' '--pending 3' '--queries 4 --dist rademacher' '--micro-batch 2' '--threads 1'; do
    # shellcheck disable=SC2086  # several words
    expect 0 '"bottleneck": "[a-z]' zo2-plan tiny.zo2 --probe 0.05s --json $options
done
expect 1 'context' plan tiny.zo2 --seq 257
expect 1 'opt-1x' plan opt-1x
usage 'missing MODEL' zo2-plan
usage 'not a number from 1' zo2-plan opt-125m --batch 4000000000
usage 'not a size' zo2-plan opt-125m --device-mem 1X
usage 'unknown option --lr' zo2-plan opt-125m --lr 3
finish
