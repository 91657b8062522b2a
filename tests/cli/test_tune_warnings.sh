#!/bin/sh
# Likely mistakes: one warning each, whatever the number of lines, with --quiet and --json, too; none of what is in order.
. "$(dirname "$0")/cli_testing.sh"
tiny
head -n 20 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
head -n 20 "$TEXTS/wordnet_kind.train.jsonl" >train.jsonl
data=train.jsonl
[ "$slow" = 1 ] || data=$TEXTS/wordnet_kind.train.jsonl
runs=0

# warned N PATTERN COMMAND...: it succeeds, with so many warnings on stderr, and the pattern in one of them, and none on stdout.
warned() {
    _many=$1 _warning=$2
    shift 2
    expect 0 '' "$@"
    [ "$(grep -c 'warning: ' err.txt)" -eq "$_many" ] || fail "not $_many warnings but: $(cat err.txt) from: $*"
    [ -z "$_warning" ] || [ "$(grep -c -e "warning: .*$_warning" err.txt)" -eq 1 ] || fail "not one warning like '$_warning': $(cat err.txt)"
    ! grep -q 'warning' out.txt || fail "a warning on stdout: $*"
}
new() { # N, pattern, options: of a training run
    _n=$1 _like_this=$2
    shift 2
    runs=$((runs + 1))
    warned "$_n" "$_like_this" zo2-tune train --model tiny.zo2 --run run-$runs --steps 1 --batch 2 --data train.jsonl "$@"
}

# The quickstart's commands, README's and their like.
new 0 '' --data "$data" --seed 0 --lr 1e-4 --batch 16 --queries 2
warned 0 '' zo2-tune train --model tiny.zo2 --run run-$runs --data "$data" --steps 2 --resume
head -n 20 "$TEXTS/proverbs.test.jsonl" >proverbs.jsonl
new 0 '' --data "$TEXTS/proverbs.train.jsonl" --eval proverbs.jsonl --eval-every 1
new 0 '' --eval dev.jsonl --eval-every 1 --warmup 1 --micro-batch 2 --batch 20 --eps 1e-4
for compute in fp16 bf16; do new 0 '' --compute $compute; done
warned 0 '' zo2-tune eval --model tiny.zo2 --data dev.jsonl

# Settings of a new run; a resume can't change them, so it says nothing.
new 1 '--warmup 4 is longer than the run of 1 steps: .* 25 % of --lr' --warmup 4
warned 0 '' zo2-tune train --model tiny.zo2 --run run-$runs --data train.jsonl --resume --steps 2
new 1 '--lr is 0: no step changes the weights' --lr 0
new 1 '--lr times --weight-decay is 1.5: ' --lr 0.0015 --weight-decay 1000
new 1 '--micro-batch 3 is larger than the batch of 2 lines' --micro-batch 3
new 1 'a batch of 21 lines is larger than train.jsonl, which has 20' --batch 21
warned 0 '' zo2-tune train --model tiny.zo2 --run run-$runs --data train.jsonl --resume --steps 2
new 1 '--eval-every 2 is more than the 1 steps of the run' --eval dev.jsonl --eval-every 2
new 1 '--eval has the lines of --data' --eval train.jsonl
new 1 '--resume: there is no run in run-[0-9]*, so this begins one' --resume
# eps: in fp32 the losses' rounding comes first, in 16 bits the weights'
new 1 '--eps 1e-07 is too small: losses are computed in fp32' --eps 1e-7
new 0 '' --eps 1e-6
new 1 '--eps 1e-12 is too small for these weights: in fp32 [0-9]* % of them' --eps 1e-12
new 1 '--eps 1e-06 is too small for these weights: in fp16 [0-9]* % of them' --eps 1e-6 --compute fp16
new 1 '--eps 1e-05 is too small for these weights: in bf16 [0-9]* % of them' --eps 1e-5 --compute bf16
# several, with --quiet and --json
new 4 '--lr is 0' --quiet --lr 0 --resume --warmup 9 --eps 1e-12
new 2 '--lr is 0' --json --lr 0 --resume
[ "$(wc -l <out.txt)" -eq 2 ] || fail "--json prints more than its objects: $(cat out.txt)"
new 2 '--lr is 0' --dry-run --lr 0 --resume

# Data, in training and in evaluating: the number of lines and the first of them.
line() { echo "{\"prompt\": \"$1\", \"options\": [\"$2\", \"$3\"], \"label\": $4}"; }
for _ in 1 2 3 4; do
    line 'It is' ' an animal' ' a plant' 0
    line 'It is ' ' an animal' ' a plant' 1
done >spaces.jsonl
for _ in 1 2 3 4; do
    line 'It is' ' an animal' ' a plant' 0
    line 'It is' ' a plant' ' a plant' 1
done >same.jsonl
for _ in 1 2 3 4; do
    line 'It is' 'an animal' 'a plant' 0
    line 'It is' 'an animal' ' a plant' 1
done >joined.jsonl
{ line '' 'an animal' 'a plant' 0 && sed 1d dev.jsonl; } >empty.jsonl
for i in 1 2 3 4 5 6 7 8; do line 'It is' ' an animal' " $i plants" 1; done >label.jsonl
set -- spaces '4 of 8 lines have a prompt that ends in a space.*line 2)' same '4 of 8 lines have the same option twice.*line 2)' \
    joined '8 of 8 lines have no space between the prompt.*line 1)' empty '1 of 20 lines have an empty prompt.*line 1)'
while [ $# -gt 0 ]; do
    new 1 "$1.jsonl: $2" --data "$1.jsonl"
    new 1 "$1.jsonl: $2" --eval "$1.jsonl"
    warned 1 "$1.jsonl: $2" zo2-tune eval --model tiny.zo2 --data "$1.jsonl" --json
    shift 2
done
new 1 'label.jsonl: the label is 1 in all 8 lines' --data label.jsonl
new 0 '' --eval label.jsonl # a part of the lines may be asked about
warned 0 '' zo2-tune eval --model tiny.zo2 --data label.jsonl
# some lines that go on within a word are meant
{ cat dev.jsonl && line 'It is a pl' 'ant' 'um' 0; } >within.jsonl
new 0 '' --data within.jsonl
printf '{"prompt": "It is ", "completion": "so."}\n{"prompt": "It is ", "completion": " so."}\n' >completions.jsonl
warned 1 'standard input: 2 of 2 lines have a prompt that ends in a space' zo2-tune eval --model tiny.zo2 --data - <completions.jsonl
finish
