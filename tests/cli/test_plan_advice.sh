#!/bin/sh
# Advice about wires, of zo2-plan and of zo2-tune train --dry-run: with what it names the model stays on the device, or its masters in RAM, in the
# bytes and the time that it says; or a run fits at all.
. "$(dirname "$0")/cli_testing.sh"
value() { sed "s/.*\"$1\": \"*\([^,}\"]*\).*/\1/" out.txt; }       # of the plan: the last one of the name
advised() { sed "s/\"host_budget_bytes\".*//; s/.*\"for\": \"$1\", //; s/.*\"$2\": \"*\([^,}\"]*\).*/\1/" out.txt; } # of the advice, which comes before it
plan() { zo2-plan opt-13b --batch 1 --seq 256 --threads 16 --dist rademacher --pending 63 --update-rate 12 "$@"; }
less() { awk "BEGIN { exit !($1 < $2) }" || fail "$3: $1 is not below $2"; }

# follow WHAT COMMAND...: advice for WHAT is there; with it the plan is what the advice says. Leaves that plan's JSON in out.txt.
follow() {
    _what=$1
    shift
    expect 0 "\"advice\": \[{\"for\": \"$_what\", \"option\"" "$@" --json
    option=$(advised "$_what" option) wire=$(advised "$_what" wire)
    now=$(value seconds_per_step)
    for _field in device_peak_bytes host_peak_bytes wire_bytes_per_step read_bytes_per_step written_bytes_per_step seconds_per_step; do
        eval "advised_$_field=\$(advised \"$_what\" $_field)"
    done
    less "$advised_seconds_per_step" "$now * 0.95" "a step with $option $wire"
    expect 0 '"advice": \[' "$@" --json "$option" "$wire"
    for _field in device_peak_bytes host_peak_bytes wire_bytes_per_step read_bytes_per_step written_bytes_per_step seconds_per_step; do
        eval "[ \"\$advised_$_field\" = \"$(value $_field)\" ]" || fail "$option $wire: $_field is another one"
    done
}

# 16 GB of device memory: the frozen layers as f6; wires that lose less take more room than there is
follow device plan --gpu rtx-4060-ti --tune layers=36-39
[ "$option $wire $(value resident_whole)" = '--frozen-wire f6 true' ] || fail "advised $option $wire"
! grep -q '"for": "device"' out.txt || fail "there is no more to advise"
less "$(value wire_bytes_per_step)" 100000000 "what crosses the link"
expect 0 '"resident_whole": false' plan --gpu rtx-4060-ti --tune layers=36-39 --frozen-wire f8 --json
# 24 GB have room for f10, and all of it for a model that moves as a whole
follow device plan --gpu rtx-4090 --tune layers=36-39
case "$option $wire" in
    '--frozen-wire f10' | '--frozen-wire bf12') ;; # the latter where plans count the 12.1 bits that it mostly takes, not its room
    *) fail "advised $option $wire" ;;
esac
follow device plan --gpu rtx-4090 --pending 3 --update-rate 100
[ "$option $wire $(value resident_whole)" = '--wire f10 true' ] || fail "advised $option $wire"
# a table says it in a line
expect 0 '^advice  *--frozen-wire f6: the whole model stays on the device (11\.[0-9]* GiB of 13\.[0-9]* GiB), .* a step instead of ' \
    plan --gpu rtx-4060-ti --tune layers=36-39
grep -qF "    $(grep '^advice' out.txt)" "$DATA/../../tools/guide/wires.md" || fail "the page has another line: $(grep '^advice' out.txt)"

# No wire makes a step shorter: the device has room, or nothing waits for the link, or steps find the trunk's lines in the cache.
for options in '--gpu h200 --tune layers=36-39' '--gpu rtx-4060-ti --batch 16 --seq 512 --tune layers=36-39' \
    '--gpu rtx-4060-ti --tune layers=36-39 --trunk-cache 10G' '--gpu t4 --tune layers=36-39 --frozen-wire f6'; do
    # shellcheck disable=SC2086 # words
    expect 0 '"advice": \[\]' plan $options --json
done
expect 0 '"advice": \[\]' zo2-plan opt-125m --batch 1 --seq 64 --probe 0 --json # no budget of device memory

# RAM: what would be on the drive has room with another wire
mkdir drive
spilled() {
    zo2-plan qwen3-32b --batch 4 --seq 512 --dist rademacher --pending 63 --threads 16 --gpu rtx-4090 --update-rate 12 --host-mem 64G \
        --spill drive --spill-read-rate 7 --spill-write-rate 5 --endurance 100000T "$@"
}
follow host spilled --tune layers=60-63
[ "$option $(value read_bytes_per_step)" = "--frozen-wire 0" ] || fail "advised $option $wire: $(value read_bytes_per_step) bytes are read"
expect 0 "^advice  *--frozen-wire $wire: all masters have room in RAM" spilled --tune layers=60-63
expect 0 '"advice": \[\]' spilled --tune layers=60-63 --frozen-wire f6 --json
# Nothing fits: the error names the wire with which it does, and so does the plan's JSON. Both tools say the same of a pack.
zo2-pack synth opt-125m small.zo2 --alias >/dev/null || fail "synth"
printf '{"tokens": [2, 5, 6, 7, 8, 9, 10, 11]}\n' >ids.jsonl
sizes="--batch 1 --seq 8 --threads 2 --tune layers=11"
planned() { zo2-plan small.zo2 $sizes --probe 0 "$@"; }
dry() { zo2-tune train --model small.zo2 --data ids.jsonl --run none $sizes --dry-run "$@"; }
least() { # of host memory, with these options
    expect 0 '"host_min_bytes"' planned "$@" --json
    value host_min_bytes
}
f10=$(least --frozen-wire f10) f8=$(least --frozen-wire f8) f6=$(least --frozen-wire f6) all=$(least)
less "$f10" "$all" "f10's host memory"
for way in planned dry; do
    for wire in f10 f8 f6; do
        eval "bytes=\$$wire"
        expect 1 "too small: the smallest that works with these settings is $all bytes ([0-9.]* MiB); try --frozen-wire $wire, or --host-mem [0-9]*M$" $way --host-mem "$bytes"
        expect 1 "\"fits\": false, \"advice\": \[{\"for\": \"fit\", \"option\": \"--frozen-wire\", \"wire\": \"$wire\", .*\"host_peak_bytes\": $bytes, " $way --host-mem "$bytes" --json
        expect 0 '' $way --host-mem "$bytes" --frozen-wire $wire
    done
    expect 0 '"fits": true, "advice": \[\]' $way --host-mem "$f8" --frozen-wire f8 --json
    expect 1 'too small' $way --host-mem 1M
    ! grep -q -e '--frozen-wire' err.txt || fail "a wire is advised that doesn't make it fit"
done
expect 1 'too small' zo2-plan qwen3-8b --batch 1 --seq 512 --tune layers=34-35 --threads 16 --host-mem 10G --probe 0
grep -qF "    $(cat err.txt)" "$DATA/../../tools/guide/wires.md" || fail "the page has another line: $(cat err.txt)"
# masters that move: bf16 is a part of them; a device that has no room for two blocks of bf16
expect 1 '; try --wire bf16, or --host-mem' zo2-plan opt-1.3b --probe 0 --batch 1 --seq 64 --wire f8 --host-mem 6G
expect 0 '' zo2-plan opt-1.3b --probe 0 --batch 1 --seq 64 --wire bf16 --host-mem 6G
block="zo2-plan opt-13b --gpu rtx-4060-ti --update-rate 5 --batch 8 --micro-batch 1 --seq 256 --device-mem"
expect 1 '; try --wire f8, or --device-mem' $block 1000M
expect 0 '' $block 1000M --wire f8
# a run has its wires for good
expect 0 '' zo2-tune train --model small.zo2 --data ids.jsonl --run none $sizes --steps 1 --quiet
expect 1 'too small' dry --host-mem "$f10" --resume
! grep -q wire err.txt || fail "a run that exists is advised another wire"
expect 1 '"fits": false, "advice": \[\]' dry --host-mem "$f10" --resume --json
finish
