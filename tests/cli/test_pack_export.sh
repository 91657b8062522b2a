#!/bin/sh
# zo2-pack export: round trip, types, shards, runs, --at-step, --force.
. "$(dirname "$0")/cli_testing.sh"
tiny
hash() { zo2-pack info "$1" --json | sed 's/.*"model_hash": "\([^"]*\)".*/\1/'; }

expect 0 '^out: the weights of tiny.zo2$' zo2-pack export tiny.zo2 out
for file in config.json model.safetensors merges.txt vocab.json; do
    [ -f out/$file ] || fail "the export lacks $file"
done
expect 1 '\-\-force' zo2-pack export tiny.zo2 out
expect 0 '' zo2-pack export tiny.zo2 out --force
zo2-pack convert out again.zo2 >/dev/null || fail "an export can't be converted"
[ "$(hash tiny.zo2)" = "$(hash again.zo2)" ] || fail "export and convert changed the weights"

expect 0 '' zo2-pack export tiny.zo2 shards --split-size 1M
[ -f shards/model.safetensors.index.json ] || fail "no index beside several shards"
zo2-pack convert shards sharded.zo2 >/dev/null || fail "shards can't be converted"
[ "$(hash tiny.zo2)" = "$(hash sharded.zo2)" ] || fail "sharding changed the weights"

# --- Runs -------------------------------------------------------------------------------------------------------------
train() { zo2-tune train --model tiny.zo2 --data "$TEXTS/proverbs.train.jsonl" --batch 2 --lr 1e-4 --quiet "$@"; }
train --run six --steps 6 || fail "train"
train --run four --steps 4 || fail "train"
for dtype in fp32 fp16 bf16; do
    expect 0 'after 4 steps' zo2-pack export tiny.zo2 six4-$dtype --run six --at-step 4 --dtype $dtype
    expect 0 'the weights of four' zo2-pack export tiny.zo2 four-$dtype --run four --dtype $dtype
    cmp six4-$dtype/model.safetensors four-$dtype/model.safetensors || fail "--at-step 4 isn't the state after 4 steps"
done
expect 0 '' zo2-pack export tiny.zo2 start --run six --at-step 0
cmp start/model.safetensors out/model.safetensors || fail "--at-step 0 isn't the pack"
expect 0 '' zo2-pack export tiny.zo2 six1 --run six --threads 1 --dtype fp32
expect 0 '' zo2-pack export tiny.zo2 six2 --run six --threads 2 --dtype fp32
cmp six1/model.safetensors six2/model.safetensors || fail "threads changed an export"
expect 1 'step' zo2-pack export tiny.zo2 no --run six --at-step 7
expect 1 'not-here' zo2-pack export tiny.zo2 no --run not-here
[ ! -e no ] || fail "a refused export left a directory"
finish
