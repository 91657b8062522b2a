#!/bin/sh
# zo2-plan --tune: what a part of the model takes, and tools/guide/plans.md has its table.
. "$(dirname "$0")/cli_testing.sh"
value() { sed "s/.*\"$1\": \"*\([^,}\"]*\).*/\1/" out.txt; }
plan() { zo2-plan opt-13b --batch 4 --seq 256 --threads 4 --gpu rtx-4090 --update-rate 12 "$@"; }
less() { awk "BEGIN { exit !($1 < $2) }" || fail "$3: $1 is not below $2"; }

expect 0 '"trunk_blocks": 0,.*"trunk_bytes_per_token": 0,' plan --json
all=$(value seconds_per_step) masters=$(value master_bytes) snapshot=$(value snapshot_bytes)
[ "$(value tuned_parameters)" = "$(value parameters)" ] || fail "not all parameters move"
[ "$(value seconds_per_step_filled)" = "$all" ] || fail "a cache of nothing changes the step"
expect 0 '' plan
! grep -q '^tuned' out.txt || fail "a run that moves all has lines about it"

expect 0 '"layers": 40,.*"trunk_blocks": 37,.*"trunk_bytes_per_token": 20480,' plan --tune layers=36-39 --json
part=$(value seconds_per_step) filled=$(value seconds_per_step_filled)
less "$part" "$all" "a step that tunes a tenth"
less "$filled" "$part * 0.5" "a step with a filled cache"
less "$(value snapshot_bytes)" "$snapshot / 5" "a snapshot"
less "$(value master_bytes)" "$masters * 0.6" "masters"
less "$(value wire_bytes_per_step_filled)" "$(value wire_bytes_per_step) + 1" "traffic"
expect 0 '^tuned .* of 12,8[0-9,]* parameters' plan --tune layers=36-39
grep -q '^  trunk  *36  of 40 layers' out.txt || fail "no trunk"
grep -q '^  cache  .*a row of 256 tokens.*1000 rows: ' out.txt || fail "no cache"
grep -q '^  filled  ' out.txt || fail "no step with a filled cache"
# what is proposed stays on the device as a whole
layers=$(sed -n 's/.*proposal .*--tune layers=\([0-9]*-39\): the last .*/\1/p' out.txt)
[ -n "$layers" ] || fail "nothing is proposed"
expect 0 '' plan --tune "layers=$layers" --json
[ "$(value proposed_layers)" -eq $((40 - ${layers%-*})) ] || fail "not the layers that are proposed"
less "$(value wire_bytes_per_step_filled)" "$(value proposed_layers_bytes) * 1.001" "traffic of what is proposed"
# the cache is in RAM, or with the masters on the drives
expect 0 '"trunk_cache_bytes": 0,' plan --tune vectors --trunk-cache 2G --json # vectors lie in every block
expect 0 '' plan --tune layers=36-39 --trunk-cache off --json
host=$(value host_peak_bytes)
expect 0 '"trunk_cache_bytes": 2147483648,' plan --tune layers=36-39 --trunk-cache 2G --json
less "$host + 2147483647" "$(value host_peak_bytes)" "host memory"
expect 0 '^  trunk cache  *2.00 GiB' plan --tune layers=36-39 --trunk-cache 2G
expect 0 '"trunk_bytes_per_token": 10240,' plan --tune layers=36-39 --trunk-type bf16 --json
# nothing of what doesn't move is written
mkdir drive
spilled() { plan --host-mem 8G --spill drive --endurance 100000T --json "$@"; }
expect 0 '' spilled
written=$(value written_bytes_per_step)
expect 0 '' spilled --tune layers=36-39
less "$(value written_bytes_per_step)" "$written / 5" "what is written"
expect 0 '"written_bytes_per_step": 0,' spilled --tune lora:r=8,alpha=16,targets=q_proj+v_proj

expect 1 'layer 40: the model has layers 0 to 39' plan --tune layers=40
usage 'a table: no --json' plan --tune-table --json
usage 'its own --tune' plan --tune-table --tune vectors

# the table of tools/guide/plans.md, line by line
PAGE=$DATA/../../tools/guide/plans.md
lines=0
for model in opt-13b opt-66b opt-175b llama-3.1-70b; do
    expect 0 "^| $model | all |" zo2-plan $model --batch 4 --seq 512 --dist rademacher --pending 63 --threads 16 --gpu rtx-4090 --update-rate 12 \
        --host-mem 64G --spill drive --spill-read-rate 7 --spill-write-rate 5 --endurance 100000T --trunk-cache 200G --tune-table
    while read -r line; do
        grep -qxF "$line" "$PAGE" || fail "the page has no line: $line"
    done <out.txt
    lines=$((lines + $(wc -l <out.txt) - 2))
done
[ "$(grep -c '^| [a-z0-9.-]* | \(all\|vectors\|last 8 layers\|lora, .*\) |' "$PAGE")" -eq $lines ] || fail "the page has other lines"

# and the one of frozen wires
frozen() { # model, layers, GiB of RAM, wire
    expect 0 '' zo2-plan "$1" --batch 4 --seq 512 --dist rademacher --pending 63 --threads 16 --gpu rtx-4090 --update-rate 12 \
        --host-mem "$3G" --spill drive --spill-read-rate 7 --spill-write-rate 5 --endurance 100000T --trunk-cache 200G --tune "layers=$2" --frozen-wire "$4" --json
    awk "BEGIN { printf \"| $1, $3 GiB | $4 | %.0f | %.0f | %.0f | %.0f | %.1f | %.2f | %.0f |\n\", $(value frozen_bytes) / 1e9, \
        $(value spilled_bytes) / 1e9, $(value read_bytes_per_step) / 1e9, $(value wire_bytes_per_step) / 1e9, $(value seconds_per_step), \
        $(value seconds_per_step_filled), $(value written_bytes_per_step) * 20000 / 1e12 }"
}
for gib in 16 64; do
    for wire in bf16 f6; do
        frozen llama-3.1-70b 72-79 $gib $wire
        frozen opt-175b 88-95 $gib $wire
    done
done >frozen.txt
while read -r line; do
    grep -qxF "$line" "$PAGE" || fail "the page has no line: $line"
done <frozen.txt
[ "$(wc -l <frozen.txt)" -eq 8 ] || fail "not eight lines of frozen wires"
finish
