#!/bin/sh
# Bundles: zo2-pack export --journal-only, info of what it wrote, apply, which gives the export's bits; what is refused.
. "$(dirname "$0")/cli_testing.sh"
tiny
train() { zo2-tune train --model tiny.zo2 --data "$TEXTS/proverbs.train.jsonl" --batch 2 --lr 1e-4 --quiet "$@"; }
train --run r --steps 6 --queries 4 --dist rademacher --weight-decay 0.1 || fail "train"
hash=$(zo2-pack info tiny.zo2 | sed -n 's/^model hash *//p')

expect 0 "^r.zo2b: 6 steps of r, 656 bytes, for model hash $hash\$" zo2-pack export tiny.zo2 r.zo2b --run r --journal-only
[ "$(wc -c <r.zo2b)" = $((512 + 6 * 24)) ] || fail "a bundle of another size"
expect 0 "^model hash  *$hash\$" zo2-pack info r.zo2b
for line in 'steps  *6$' 'noise  *rademacher, seed 0, queries 4, pending 0$' 'weight decay  *0.1$' 'learning rate  *0.0001 constant$'; do
    grep -q "^$line" out.txt || fail "info of a bundle has no line like $line"
done
expect 0 '"kind": "bundle", .*"steps": 6, "skipped": 0, ' zo2-pack info r.zo2b --json
usage 'has no tensors' zo2-pack info r.zo2b --tensors

# --- Applied: the export's bits -----------------------------------------------------------------------------------------
same() { diff -r "$1" "$2" >/dev/null || fail "$3"; }
expect 0 '^applied: the weights of r.zo2b$' zo2-pack apply tiny.zo2 r.zo2b applied
expect 0 '' zo2-pack export tiny.zo2 exported --run r
same applied exported "apply isn't the export"
expect 1 '\-\-force' zo2-pack apply tiny.zo2 r.zo2b applied
for dtype in fp32 fp16 bf16; do
    expect 0 'after 4 steps' zo2-pack apply tiny.zo2 r.zo2b applied --at-step 4 --dtype $dtype --split-size 3M --threads 1 --force
    expect 0 '' zo2-pack export tiny.zo2 exported --run r --at-step 4 --dtype $dtype --split-size 3M --force
    same applied exported "apply --at-step 4 --dtype $dtype isn't the export"
    [ -f applied/model.safetensors.index.json ] || fail "no shards"
done
expect 0 '^four.zo2b: 4 steps of r, 608 bytes' zo2-pack export tiny.zo2 four.zo2b --run r --journal-only --at-step 4
expect 0 '' zo2-pack apply tiny.zo2 four.zo2b applied --dtype bf16 --split-size 3M --force
same applied exported "a bundle that ends at a step isn't the export at that step"
expect 0 '' zo2-pack apply tiny.zo2 r.zo2b applied --at-step 0 --force
expect 0 '' zo2-pack export tiny.zo2 exported --force
cmp applied/model.safetensors exported/model.safetensors || fail "--at-step 0 isn't the pack"

# A bundle needs nothing of the run: neither its journal, which goes on, nor where it was.
mv r elsewhere
expect 0 '' zo2-pack apply tiny.zo2 r.zo2b applied --dtype fp32 --force
expect 0 '' zo2-pack export tiny.zo2 exported --run elsewhere --dtype fp32 --force
same applied exported "apply without the run isn't the export"

# --- Converted again: the same model hash, of a tuned one, too -------------------------------------------------------------
converted() { zo2-pack convert "$1" again.zo2 --force >/dev/null && zo2-pack info again.zo2 | sed -n 's/^model hash *//p'; }
tuned=$(converted exported)
[ "$tuned" != "$hash" ] || fail "the tuned model has the base model's hash"
[ "$(converted applied)" = "$tuned" ] || fail "the applied bundle is another model than the export"
expect 0 '' zo2-pack export again.zo2 once-more
cmp once-more/model.safetensors exported/model.safetensors || fail "an fp32 export that is converted and exported again differs"
[ "$(converted once-more)" = "$tuned" ] || fail "converting an export again changed the model hash"

# --- Refused --------------------------------------------------------------------------------------------------------------
zo2-pack synth "$HF/config.json" other.zo2 --alias >/dev/null || fail "synth"
expect 1 "stores one layer for all" zo2-pack apply other.zo2 r.zo2b no
expect 1 "the bundle r.zo2b was made from another model: its model hash is ${hash#0x}, that of again.zo2 is ${tuned#0x}" zo2-pack apply again.zo2 r.zo2b no
expect 1 "its model hash is ${hash#0x}, that of again.zo2 is ${tuned#0x}" zo2-pack export again.zo2 no --run elsewhere --journal-only
head -c 644 r.zo2b >cut.zo2b
expect 1 'cut.zo2b has 644 bytes where a bundle of 6 steps has 656: it was cut' zo2-pack apply tiny.zo2 cut.zo2b no
head -c 632 r.zo2b >cut.zo2b # whole records: a journal would be taken
expect 1 'it was cut' zo2-pack apply tiny.zo2 cut.zo2b no
expect 1 'it was cut' zo2-pack info cut.zo2b
cp r.zo2b damaged.zo2b
flip damaged.zo2b 600
expect 1 'damaged.zo2b: its steps are damaged (checksum); get it again' zo2-pack apply tiny.zo2 damaged.zo2b no
expect 1 'elsewhere is a run directory, not a bundle: zo2-pack export FILE OUT_DIR --run elsewhere' zo2-pack apply tiny.zo2 elsewhere no
expect 1 'r.zo2b is a bundle .*zo2-pack apply FILE BUNDLE OUT_DIR' zo2-pack export tiny.zo2 no --run r.zo2b
expect 1 'tiny.zo2 is a zo2 pack' zo2-pack apply tiny.zo2 tiny.zo2 no
expect 1 'not-here' zo2-pack apply tiny.zo2 not-here no
expect 1 'there is no step 7' zo2-pack apply tiny.zo2 r.zo2b no --at-step 7
expect 1 'there is no step 7' zo2-pack export tiny.zo2 no --run elsewhere --journal-only --at-step 7
expect 1 '\-\-force' zo2-pack export tiny.zo2 r.zo2b --run elsewhere --journal-only
expect 1 'is not a regular file' zo2-pack export tiny.zo2 applied --run elsewhere --journal-only --force
usage 'missing BUNDLE' zo2-pack apply tiny.zo2
usage 'missing OUT_DIR' zo2-pack apply tiny.zo2 r.zo2b
usage 'unknown option' zo2-pack apply tiny.zo2 r.zo2b no --run elsewhere
usage '\-\-journal-only needs --run' zo2-pack export tiny.zo2 no --journal-only
for option in '--dtype fp32' '--split-size 1M' '--threads 1' '--replay' '--snapshot x' '--spill x'; do
    # shellcheck disable=SC2086  # an option and its value
    usage "${option%% *} is about weights, and --journal-only writes none" zo2-pack export tiny.zo2 no --run elsewhere --journal-only $option
done
[ ! -e no ] || fail "a refused command left something"
ls ./*.tmp-* 2>/dev/null && fail "temporary files were left"

# --- Ctrl-C: nothing is left, status 130 --------------------------------------------------------------------------------------
leaves_nothing zo2-pack apply tiny.zo2 r.zo2b sub/out --threads 1 --dtype fp32
finish
