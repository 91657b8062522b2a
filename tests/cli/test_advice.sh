#!/bin/sh
# Advice works: each message that names an option, a value or a command is provoked, and what it says is done.
# shellcheck disable=SC2086  # lists of options
. "$(dirname "$0")/cli_testing.sh"
tiny
head -n 60 "$TEXTS/wordnet_kind.train.jsonl" >train.jsonl # lines of four options: four rows each
data=train.jsonl
head -n 40 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
train="zo2-tune train --model tiny.zo2 --data $data --batch 16 --steps 1 --threads 2"

# follow COMMAND...: fails, and does not with the options that its message ends with, "; try A, or B": with each of them.
follow() {
    expect 1 'too small' "$@"
    sed -n 's/.*; try \(--.*\)$/\1/p' err.txt | sed 's/, or /\n/g' >ways.txt
    [ -s ways.txt ] || { fail "no advice from: $*" && cat err.txt; }
    while read -r way; do
        expect 0 '' "$@" $way
        rm -rf followed
    done <ways.txt
}
advised() { # a pattern for the ways that have been advised, with "|" between
    paste -sd '|' ways.txt | grep -q -x -e "$1" || fail "advised was '$(paste -sd '|' ways.txt)', not '$1'"
}
option_of() { sed -n "s/.*--$1 \([0-9]*\).*/\1/p" ways.txt; }

# Rows and lines: 12 MiB are enough for three rows, which is no line; 13 MiB for two lines.
follow $train --run followed --device-mem 12M
advised '--batch [0-9]* --micro-batch 1|--device-mem [0-9]*M'
lines=$(option_of batch)
expect 1 'too small' $train --run followed --device-mem 12M --batch $((lines + 1)) --micro-batch 1
follow $train --run followed --device-mem 13M
advised '--micro-batch [0-9]*|--device-mem [0-9]*M'
lines=$(option_of micro-batch)
expect 1 'too small' $train --run followed --device-mem 13M --micro-batch $((lines + 1))
# not even one line at a time
follow $train --run followed --device-mem 1K --dry-run
advised '--device-mem [0-9]*M'
follow $train --run followed --host-mem 1
follow $train --run followed --host-mem 1 --device-mem 1
grep -q '^--device-mem [0-9]*M --host-mem [0-9]*M$' ways.txt || fail "not both budgets: $(cat ways.txt)"
# language-model lines of all lengths: a row each
follow zo2-tune train --model tiny.zo2 --data "$TEXTS/proverbs.train.jsonl" --run followed --batch 64 --steps 1 --device-mem 16M

# eval has no --micro-batch
for budget in 9M 1K; do
    follow zo2-tune eval --model tiny.zo2 --data dev.jsonl --device-mem $budget
    ! grep -q micro ways.txt || fail "eval advises --micro-batch"
done
follow zo2-tune eval --model tiny.zo2 --data dev.jsonl --host-mem 1

# A run's batch and micro-batch are its own: there budgets only.
expect 0 '' zo2-tune train --model tiny.zo2 --data "$data" --run r --batch 4 --micro-batch 2 --steps 1 --wire fp8-e4m3 \
    --lr-schedule cosine
follow zo2-tune eval --model tiny.zo2 --data dev.jsonl --run r --device-mem 3M
expect 1 'too small' zo2-tune train --model tiny.zo2 --data "$data" --run r --resume --device-mem 8M
way=$(sed -n 's/.*; try \(--.*\)$/\1/p' err.txt)
case $way in
    *batch* | "") fail "a resume is advised: '$way'" ;;
esac
expect 0 '1 steps already' zo2-tune train --model tiny.zo2 --data "$data" --run r --resume $way
grep -q -e 'larger --steps' err.txt && fail "a larger --steps is advised where the schedule ends"
expect 0 '' zo2-tune train --model tiny.zo2 --data "$data" --run r --resume --dry-run --device-mem 30M
! grep -q '^proposal' out.txt || fail "settings are proposed that a run can't take"
expect 0 '' zo2-tune train --model tiny.zo2 --data "$data" --run constant --batch 2 --steps 1
expect 0 'larger --steps' zo2-tune train --model tiny.zo2 --data "$data" --run constant --resume
expect 0 '^2 steps, 1 of them now' zo2-tune train --model tiny.zo2 --data "$data" --run constant --resume --steps 2

# The command of the summary, with names that a shell would take apart, and snapshots in a place of their own.
mkdir -- '-a b'
expect 0 '^export: ' zo2-tune train --model tiny.zo2 --data "$data" --run "-a b/it's" --batch 2 --steps 2 --snapshot 'sn ap' \
    --eval dev.jsonl
command=$(sed -n 's/^export: //p' out.txt)
expect 0 'exported: the weights of' sh -c "$(echo "$command" | sed 's/ OUT / exported /')"

# A completion that is longer than the sequence, but not than the context; a run's sequence is its own.
echo '{"prompt": "The Crown", "completion": " is a symbol of the state and of the one who wears it."}' >long.jsonl
echo '{"text": "The Crown"}' >short.jsonl
for command in 'eval' 'train --run seq --steps 1 --batch 1'; do
    expect 1 'long.jsonl line 1: .*use --seq [0-9]* or more' zo2-tune $command --model tiny.zo2 --data long.jsonl --seq 6
    expect 0 '' zo2-tune $command --model tiny.zo2 --data long.jsonl --seq "$(sed -n 's/.*use --seq \([0-9]*\) or more.*/\1/p' err.txt)"
done
expect 0 '' zo2-tune train --model tiny.zo2 --run seq6 --data short.jsonl --steps 1 --batch 1 --seq 6
expect 1 'long.jsonl line 1: .*; shorten it, or leave the line out' \
    zo2-tune train --model tiny.zo2 --run seq6 --data short.jsonl --steps 2 --resume --eval long.jsonl

# zo2-plan counts rows
plan="zo2-plan opt-125m --batch 64 --seq 512 --probe 0"
follow $plan --device-mem 600M
rows=$(option_of micro-batch)
expect 1 'too small' $plan --device-mem 600M --micro-batch $((rows + 1))
follow zo2-plan opt-125m --batch 512 --seq 2048 --probe 0 --device-mem 600M
[ -n "$(option_of batch)" ] || fail "no batch is advised: $(cat ways.txt)"
follow zo2-plan opt-13b --probe 0 --device-mem 1
follow zo2-plan opt-175b --probe 0 --host-mem 1G
# the model's context is longer than anyone would guess: the head line says so, and shorter rows are a way
long="zo2-plan llama-3.1-8b --gpu rtx-4060-ti --update-rate 5 --probe 0"
follow $long
advised '--seq 4096|--device-mem [0-9]*M'
grep -q '; rows are as long as the context, 131,072, without --seq$' out.txt || expect 1 '; rows are as long as the context, 131,072, without --seq$' $long
expect 1 'even one row of 100000 tokens is too much for it; try --seq 4096, or' $long --seq 100000
! grep -q 'rows are as long' out.txt || fail "a given --seq is called the context"
# a plan that fits, but not here
expect 0 '"host_peak_bytes"' zo2-plan opt-175b --probe 0 --batch 1 --seq 64 --json
have=$(sed 's/.*"host_budget_bytes": \([0-9]*\).*/\1/' out.txt) need=$(sed 's/.*"host_peak_bytes": \([0-9]*\).*/\1/' out.txt)
if [ "$have" -gt 0 ] && [ "$have" -lt "$need" ]; then
    expect 0 '^  *too little for this: keep the rest on a drive with --spill DIR, ' zo2-plan opt-175b --probe 0 --batch 1 --seq 64
fi
# RAM for host memory, but not for the cpu backend's device memory beside it
batch=1 host=0 device=0
while [ "$have" -gt 0 ] && [ $((host + device)) -le $((have + have / 2)) ]; do # what is available changes a little
    batch=$((batch * 2))
    beside="zo2-plan opt-125m --backend cpu --probe 0 --batch $batch --seq 512"
    expect 0 '"device_peak_bytes"' $beside --json
    host=$(sed 's/.*"host_peak_bytes": \([0-9]*\).*/\1/' out.txt) device=$(sed 's/.*"device_peak_bytes": \([0-9]*\).*/\1/' out.txt)
done
if [ "$have" -gt "$host" ]; then
    expect 0 "too little for [0-9.]* [GT]iB: the cpu backend's device memory is RAM, too" $beside
    [ $batch = 2 ] || ! zo2-plan opt-125m --backend cpu --probe 0 --batch $((batch / 4)) --seq 512 | grep -q "is RAM, too" || fail "there is enough of it"
fi
expect 0 '' zo2-plan opt-125m --probe 0 --batch 1 --seq 64
! grep -q 'too little' out.txt || fail "opt-125m has no room here"
# what it proposes fits, for lines of different numbers of options, too
for _ in 1 2 3 4 5 6; do
    echo '{"prompt": "A dog is", "options": [" an animal", " a plant"], "label": 0}'
    echo '{"prompt": "A rose is", "options": [" an animal", " a plant", " a person", " a food", " a town"], "label": 1}'
done >mixed.jsonl
mixed="zo2-tune train --model tiny.zo2 --data mixed.jsonl --batch 16 --run followed --dry-run"
expect 1 '' $mixed --device-mem 12M
way=$(sed -n 's/^proposal  *\(--[^:]*\):.*/\1/p' out.txt | head -n 1)
case $way in
    *--micro-batch*) ;;
    *) fail "no proposal of a micro-batch but '$way'" ;;
esac
expect 0 '' $mixed --device-mem 12M $way

# --force is advised where it helps.
mkdir folder.zo2 mine && touch mine/thesis.tex file
expect 1 'not a regular file' zo2-pack convert "$HF" folder.zo2
! grep -q force err.txt || fail "--force is advised, which replaces no folder"
expect 1 'not a regular file' zo2-pack synth "$HF/config.json" folder.zo2
! grep -q force err.txt || fail "--force is advised, which replaces no folder"
expect 1 'holds thesis.tex' zo2-pack export tiny.zo2 mine
! grep -q force err.txt || fail "--force is advised, which replaces no folder that somebody else filled"
expect 1 'not a directory' zo2-pack export tiny.zo2 file
! grep -q force err.txt || fail "--force is advised, which makes no folder of a file"
for command in "convert $HF" "synth $HF/config.json" "export tiny.zo2"; do
    expect 0 '' zo2-pack $command made-here
    expect 1 '^--force replaces it' zo2-pack $command made-here
    expect 0 '' zo2-pack $command made-here --force
    rm -rf made-here
done
finish
