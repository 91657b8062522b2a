#!/bin/sh
# zo2-tune train --distribute: any number of ranks, and any split, has the run of one process: journal, masters, evaluations.
. "$(dirname "$0")/cli_testing.sh"
. "$DATA/../cli/dist_testing.sh"
head -n 10 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
train="zo2-tune train --model tiny.zo2 --data $data --batch 5 --lr 1e-4 --seed 3 --threads 1"

# --- splits -----------------------------------------------------------------------------------------------------------

# same NAME RANKS OPTION...: as run NAME-one, which has these options but for the split
same() {
    _name=$1 _ranks=$2
    shift 2
    count=$((count + 1))
    # shellcheck disable=SC2086  # a command line
    expect 0 "" ranks "$_ranks" $train --run "$_name$count" $options "$@"
    grep -v '^[0-9]* steps in\|^bottleneck:\|^export:\|^ranks:\|^proposal:' out.txt >said.txt
    cmp -s said.txt "$_name-one.txt" || fail "$_ranks ranks with $* say something else than one process"
    same_run "$_name$count" "$_ranks" "$_name-one"
    without_times "$_name$count/metrics.jsonl" >other.txt
    without_times "$_name-one/metrics.jsonl" >one.txt
    cmp one.txt other.txt || fail "$_ranks ranks with $* have other metrics"
}

one() { # NAME
    # shellcheck disable=SC2086
    expect 0 "" $train --run "$1-one" $options
    grep -v '^[0-9]* steps in\|^bottleneck:\|^export:' out.txt >"$1-one.txt"
}
count=0
options="--steps 6 --queries 3 --micro-batch 2 --pending 2 --wire fp8-e4m3 --eval dev.jsonl --eval-every 4"
one mixed
same mixed 1 --distribute both
same mixed 2 --distribute queries
same mixed 3 --distribute batch --check-every 1
same mixed 4 --distribute both
same mixed 4 --distribute queries
grep -q 'warning: 1 of 4 ranks have nothing to do in a step of 3 queries in 3 micro-batches' err.txt || fail 'no word of an idle rank'
same mixed 3 --distribute queries --share 1,4,1
same mixed 2 --distribute batch --share 1,9 # the first may have none

# A part of the model, whose trunk each rank keeps for its own lines. (Spilled masters below.)
options="--steps 5 --queries 2 --micro-batch 1 --tune layers=4-5 --trunk-cache 16M"
one part
same part 2 --distribute batch
same part 3 --distribute both
# From a pack that has no more than the wires of what stays as it is.
options="--steps 3 --queries 2 --tune layers=5 --frozen-wire f6"
one dropped
zo2-pack freeze tiny.zo2 small.zo2 --wire f6 --tune layers=5 --drop-source >/dev/null || fail "freeze"
# shellcheck disable=SC2086  # a command line
expect 0 '' ranks 2 $train --run dropped2 $options --distribute queries --check-every 1 --model small.zo2
same_run dropped2 2 dropped-one

# --- refusals ---------------------------------------------------------------------------------------------------------

usage '\-\-share and --check-every need --distribute' $train --run x --share 1,2
usage 'read by one rank only' zo2-tune train --model tiny.zo2 --data - --run x --distribute batch
usage 'one of queries|batch|both\|--distribute' $train --run x --distribute lines
for share in 1 1,2,3 1,0 1,x ,; do
    expect 1 '\-\-share .* one for each of the 2 ranks' ranks 2 $train --run x --distribute queries --share $share
done

# differ PATTERN OPTIONS OF RANK 0 -- OPTIONS OF RANK 1: refused, and neither has a run
differ() {
    _text=$1 _first=$2 _second=$3
    # shellcheck disable=SC2086
    expect 1 "$_text" $launcher -n 1 $train --run refused --distribute queries --steps 9 $_first : \
        -n 1 $train --run refused --distribute queries --steps 9 $_second
    [ ! -e refused ] || fail "$_text: a run was made"
}
head -n 40 "$data" >other.jsonl
host=$(ranks 1 hostname)
differ "^zo2-tune train: --lr differs: rank 1 on $host has 0.5, rank 0 on $host has 0.25" "--lr 0.25" "--lr 0.5"
differ '^zo2-tune train: --seed differs: rank 1 on .* has 5, rank 0 on .* has 4' "--seed 4" "--seed 5"
differ '^zo2-tune train: the hash of --data differs: rank 1 on .* has 0x.*, rank 0 on' "" "--data other.jsonl"
differ '^zo2-tune train: --eval-every differs: rank 1 .* unset, rank 0 on .* has 2' "--eval dev.jsonl --eval-every 2" "--eval dev.jsonl"
zo2-pack synth "$HF/config.json" synth.zo2 >/dev/null || fail "another pack"
zo2-pack tokenizer synth.zo2 "$HF" >/dev/null || fail "its tokenizer"
differ '^zo2-tune train: the model hash of --model differs: rank 1 on' "" "--model synth.zo2"
differ "^zo2-tune train, rank 1 on $host: .*gone.zo2" "" "--model gone.zo2"
differ '^zo2-tune train: rank 1 on .* cannot go on: see its message' "" "--model gone.zo2"
differ '^zo2-tune train: --distribute differs' "" "--distribute batch"

# A run that there is is refused without --resume, on all ranks.
expect 1 'mixed2 has a run of 6 steps already' ranks 2 $train --run mixed2 --distribute queries --steps 9
finish
