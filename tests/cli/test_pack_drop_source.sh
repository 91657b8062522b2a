#!/bin/sh
# zo2-pack freeze --drop-source: a small pack to ship, made of a whole one; who can do with it, and who says that it isn't enough.
. "$(dirname "$0")/cli_testing.sh"
tiny
cp tiny.zo2 before.zo2
data=$TEXTS/proverbs.train.jsonl dev=dev.jsonl
head -n 20 "$TEXTS/proverbs.test.jsonl" >$dev

usage 'drop-source needs OUT' zo2-pack freeze tiny.zo2 --wire f6 --drop-source
usage 'OUT goes with --drop-source' zo2-pack freeze tiny.zo2 OUT --wire f6
usage 'choose one' zo2-pack freeze tiny.zo2 small.zo2 --wire f6 --drop-source --remove
expect 0 '^small.zo2: f6 wires of 31 matrices, [0-9.]* MiB; no other bits of 31 of them$' \
    zo2-pack freeze tiny.zo2 small.zo2 --wire f6 --tune layers=5 --drop-source
cmp tiny.zo2 before.zo2 || fail "the pack that it was made from changed"
[ $(($(wc -c <small.zo2) * 100 / $(wc -c <tiny.zo2))) -lt 60 ] || fail "small.zo2 isn't small: $(ls -l)"
expect 1 'small.zo2 exists already' zo2-pack freeze tiny.zo2 small.zo2 --wire f6 --drop-source
grep -q '^tiny.zo2 is as it was.$' err.txt || fail "nobody says what became of the pack"
expect 1 'exists already' zo2-pack freeze tiny.zo2 tiny.zo2 --wire f6 --drop-source
(ulimit -f 2000 && trap '' XFSZ && zo2-pack freeze tiny.zo2 full.zo2 --wire f6 --tune layers=5 --drop-source) >out.txt 2>err.txt &&
    fail "no room, and no error"
[ "$(find . -name 'full.zo2*' | wc -l)" -eq 0 ] || fail "something is left: $(ls)"

# What it says of itself.
expect 0 '^frozen wires f6 of 31 matrices, .*; source bits of 31 of them dropped$' zo2-pack info small.zo2
expect 0 'layers.0.fc1.weight  (a wire alone)$' zo2-pack info small.zo2 --tensors
expect 0 '"wire": "f6", .*"dropped": 31}.*"source": false}' zo2-pack info small.zo2 --tensors --json
expect 0 'ok, 100 tensors' zo2-pack verify small.zo2
grep -q '^the f6 wires of 31 matrices have right checksums; ' out.txt || fail "verify says that it compared: $(cat out.txt)"
[ "$(zo2-pack info small.zo2 | grep hash)" = "$(zo2-pack info tiny.zo2 | grep hash)" ] || fail "another model hash"

# A run of one is a run of the other, evaluations and resumes included; the whole one exports it.
for pack in tiny small; do
    expect 0 '^3 steps in' zo2-tune train --model $pack.zo2 --data "$data" --eval "$dev" --eval-every 3 --run $pack --steps 3 --batch 2 \
        --seq 64 --tune layers=5 --frozen-wire f6
done
grep -q 'evaluations at the exact weights take what it says' err.txt || fail "nobody says what the evaluation is of"
grep -q '^export: zo2-pack export WHOLE.zo2 OUT --run small' out.txt || fail "no export: $(cat out.txt)"
grep -q '^WHOLE.zo2 is the pack that small.zo2 was made from$' out.txt || fail "WHOLE.zo2 is nowhere explained"
cmp tiny/journal.zo2j small/journal.zo2j || fail "the journals differ"
expect 0 '^4 steps, ' zo2-tune train --model tiny.zo2 --data "$data" --run small --resume --steps 4
expect 0 '^4 steps, ' zo2-tune train --model small.zo2 --data "$data" --run tiny --resume --steps 4
expect 0 '' zo2-pack export tiny.zo2 hf-tiny --run tiny
expect 0 '' zo2-pack export tiny.zo2 hf-small --run small
cmp hf-tiny/model.safetensors hf-small/model.safetensors || fail "the exports differ"
expect 0 'small: ok, 4 steps' zo2-pack verify small.zo2 --run small

# What one of them has spilled has no slots for the other's chunks: exports and evaluations do without it.
mkdir drive
for pack in tiny small; do
    expect 0 '^3 steps in' zo2-tune train --model $pack.zo2 --data "$data" --run spilled --steps 3 --batch 2 --seq 64 --tune layers=5 \
        --frozen-wire f6 --spill drive --host-mem 134M
    expect 0 'chunks from the spill\|slots for other chunks' zo2-pack export tiny.zo2 hf-spilled --run spilled --force
    [ $pack = tiny ] || grep -q 'made from the pack and the journal: .*drive/.* slots for other chunks' err.txt || fail "no word of the spill: $(cat err.txt)"
    expect 0 '' zo2-pack export tiny.zo2 hf-tiny --run tiny --at-step 3 --force
    cmp hf-tiny/model.safetensors hf-spilled/model.safetensors || fail "the export of a run that spilled with $pack.zo2 differs"
    expect 1 'small.zo2 has no source bits' zo2-pack export small.zo2 no --run spilled
    expect 0 'loss ' zo2-tune eval --model tiny.zo2 --data "$dev" --run spilled
    rm -rf spilled drive/*
done

# What it isn't enough for says so before anything is written.
for form in hf gguf; do
    gguf=$([ $form = gguf ] && echo --gguf f16)
    # shellcheck disable=SC2086 # none, or two words
    expect 1 'small.zo2 has no source bits of 31 matrices .*; use the pack that it was made from' zo2-pack export small.zo2 no-$form --run small $gguf
    [ ! -e no-$form ] || fail "an export was begun"
done
expect 1 'small.zo2 has only the f6 wire of tensor .*layers.4.* the run moves it' \
    zo2-tune train --model small.zo2 --data "$data" --run no --steps 1 --tune layers=4-5 --frozen-wire f6
expect 1 'this run.s frozen matrices have the f8 wire: take the one that there is' \
    zo2-tune train --model small.zo2 --data "$data" --run no --steps 1 --tune layers=5 --frozen-wire f8
[ ! -e no ] || fail "a run was begun"
expect 1 'the run moves it' zo2-plan small.zo2 --batch 2 --seq 64 --probe 0
expect 0 '' zo2-plan small.zo2 --batch 2 --seq 64 --probe 0 --tune layers=5 --frozen-wire f6
expect 1 'small.zo2 has no source bits of tensor ' zo2-pack freeze small.zo2 --wire f8
expect 1 'is all that .*small.zo2 has of it' zo2-pack freeze small.zo2 --wire f6 --remove
expect 1 'small.zo2 without source bits' zo2-bench wires --model small.zo2

# Adapters are exported without the model; other tokenizer files leave it as it is.
expect 0 '' zo2-tune train --model small.zo2 --data "$data" --run lora --steps 1 --batch 2 --seq 64 \
    --tune lora:r=2,alpha=4,targets=q_proj --frozen-wire f6
expect 0 '' zo2-pack export small.zo2 adapters --run lora
mkdir tokenizer && cp "$HF"/vocab.json "$HF"/merges.txt tokenizer
expect 0 '^small.zo2: the tokenizer of tokenizer$' zo2-pack tokenizer small.zo2 tokenizer
expect 0 'ok, 100 tensors' zo2-pack verify small.zo2
expect 0 'source bits of 31 of them dropped' zo2-pack info small.zo2

# The wire is all there is, and damage of it is named.
at=$(($(wc -c <small.zo2) / 4096 / 2 * 4096 + 7))
printf '\377\377\377' | dd of=small.zo2 bs=1 seek=$at conv=notrunc 2>/dev/null
expect 1 'stored wire 8 (f6), rows ' zo2-pack verify small.zo2
finish
