#!/bin/sh
# zo2-tune train --tune and what belongs to it: which choices are taken and which refused and how, rows=answers resolved, a resume with another
# choice, what log, info, dry-run and the plan show; zo2-tune warm.
. "$(dirname "$0")/cli_testing.sh"
tiny
head -n 60 "$TEXTS/wordnet_kind.train.jsonl" >t.jsonl
head -n 20 "$TEXTS/wordnet_kind.dev.jsonl" >d.jsonl
answers=261,322,676,734,1366,1630 # from another tokenizer, tests/unit/tools/test_answers.c

train() { # run, options
    _run=$1
    shift
    zo2-tune train --model tiny.zo2 --data t.jsonl --run "$_run" --batch 4 --lr 1e-4 "$@"
}

# ---- what is no choice: nothing is begun ----
none() {
    expect "$1" "$2" train none --steps 1 --tune "$3"
    [ ! -e none ] || fail "a refused choice left a run: $3"
    rm -rf none
}
none 1 "tune: 'nonsense': a term is one of all, vectors, layers=, " nonsense
none 1 'tune: layer 6: the model has layers 0 to 5' layers=6
none 1 'tune: layers=5- goes on with a number that isn.t smaller' layers=5-4
none 1 'tune: match=x\*: no tensor of the model has such a name (zo2-pack info --tensors lists them)' 'match=x*'
none 1 'rows=4096: the vocabulary has rows 0 to 4095' rows=4096
none 1 'are rows of .*embed_tokens.weight, which moves as a whole' all+rows=answers
none 1 'lora: no target is named' lora:targets=q
none 1 'the model has none of these matrices' lora:targets=gate_proj
none 1 'rows=answers depends on a data file' rows=answers0
none 2 '\-\-tune: the value is empty' ''
expect 2 '\-\-tune-order needs --tune-rotate N' train none --tune layers=4 --tune-order top
expect 2 'not one of top, bottom, random' train none --tune-rotate 2 --tune-order up
expect 2 '\-\-tune-rotate: "0" is not a number from 1' train none --tune-rotate 0
expect 2 'not one of fp32, bf16' train none --trunk-type fp16
expect 2 '\-\-trunk-cache: "on" is neither off nor a size' train none --trunk-cache on
expect 2 '\-\-trunk-cache: "0" is neither off nor a size' train none --trunk-cache 0
expect 2 '\-\-frozen-wire' train none --tune layers=4 --frozen-wire fp9
expect 1 "'frozen-wire': fp16 is for matrices that don't move, and of this run all do" train none --frozen-wire fp16
expect 1 "'frozen-wire': fp16 is for matrices that don't move" zo2-plan opt-125m --frozen-wire fp16 --probe 0
[ ! -e none ] || fail "a usage error left a run"

# ---- what a plan says, rows=answers listed ----
expect 0 "^tune matrices=4-5+rows=$answers\$" train plan --tune matrices=4-5+rows=answers --dry-run
expect 0 "^tune rows=$answers+vectors\$" train plan --tune rows=answers+vectors --dry-run
expect 0 '^tune layers=4, in turns of 5 steps$' train plan --tune layers=4 --tune-rotate 5 --dry-run
expect 0 '^tune layers=4$' zo2-plan opt-125m --tune layers=4 --probe 0
expect 0 '^wire fp16 (frozen matrices: fp8-e4m3), ' zo2-plan opt-125m --tune layers=4 --wire fp16 --frozen-wire fp8-e4m3 --probe 0
expect 1 'layer 12: the model has layers 0 to 11' zo2-plan opt-125m --tune layers=12 --probe 0
expect 1 'rows=answers depends on a data file' zo2-plan opt-125m --tune rows=answers --probe 0
train plan --dry-run >out.txt 2>&1
grep -q '^tune ' out.txt && fail "a plan of the whole model speaks of a choice"
[ ! -e plan ] || fail "a dry run left a run"

# ---- what a choice comes to ----
expect 0 '^  moving     884,736 parameters in 12 tensors (the model.s: 3,505,536 in 100)$' zo2-pack info tiny.zo2 --tune matrices=4-5
grep -q '^  fork       at layer 4: what is below is computed once, and takes 768 bytes a token to keep (fp32)$' out.txt || fail "no fork"
expect 0 '"tune": {"choice": "rows=3-9+lora:r=2", "moving": 10560, "moving_tensors": 25, "rows": 7, "lora_tensors": 24, ' \
    zo2-pack info tiny.zo2 --tune rows=3-9+lora:r=2 --json
expect 0 '^  fork       at the embeddings: no layer is computed once$' zo2-pack info tiny.zo2 --tune all
expect 1 'layer 7' zo2-pack info tiny.zo2 --tune layers=7

# ---- a run has its choice ----
expect 0 'tuning matrices=4-5: 884,736 parameters in 12 tensors, of a model of 3,505,536; embeddings and layers 0 to 3 are computed once' \
    train m --steps 3 --tune matrices=4-5
expect 0 '^tune  *matrices=4-5$' zo2-tune log m
expect 0 'tuning matrices=4-5: ' train m --resume --steps 4
expect 0 '^5 steps, 1 of them now' train m --resume --steps 5 --tune matrices=4-5 --trunk-cache 1M
cksum m/journal.zo2j m/metrics.jsonl m/settings.json >before.txt
for other in all vectors matrices=4 matrices=4-5+rows=answers; do
    expect 1 'the run in m was made with matrices=4-5, and that can.t change' train m --resume --steps 6 --tune $other
done
expect 1 "'tune-rotate'" train m --resume --steps 6 --tune-rotate 2
expect 1 "'trunk-type'" train m --resume --steps 6 --trunk-type bf16
expect 1 "'frozen-wire' differs: the run has bf16, this call has fp16" train m --resume --steps 6 --frozen-wire fp16
cksum m/journal.zo2j m/metrics.jsonl m/settings.json | cmp -s - before.txt || fail "a refused resume changed the run"
expect 0 '' train whole --steps 2
expect 0 '' train whole --steps 3 --resume --tune all
expect 1 '\-\-tune vectors: the run in whole was made with all' train whole --steps 4 --resume --tune vectors
zo2-tune log whole >out.txt
grep -q '^tune\|^rotation\|^trunk' out.txt && fail "the log of a run of the whole model speaks of a choice"
expect 0 'warning: --trunk-cache keeps nothing: no layer is below all that moves' train whole --steps 4 --resume --trunk-cache 1M

expect 0 '6 blocks take turns of 2 steps, order bottom' train turns --steps 3 --tune layers=0-5 --tune-rotate 2 --tune-order bottom --trunk-type bf16 \
    --wire fp32 --frozen-wire fp16
expect 0 '^rotation  *turns of 2 steps, order bottom$' zo2-tune log turns
grep -q '^trunk  *kept as bf16$' out.txt || fail "log doesn't say how the trunk is kept"
expect 0 '' zo2-pack export tiny.zo2 turns.zo2b --run turns --journal-only
expect 0 '^rotation  *turns of 2 steps, order bottom$' zo2-pack info turns.zo2b
grep -q '^arithmetic  *wire fp32 (frozen matrices: fp16), compute' out.txt || fail "info doesn't say the wires"
expect 0 'wire fp32 (frozen matrices: fp16), ' zo2-tune log turns
expect 0 'through the fp32 (frozen matrices: fp16) wire: ' zo2-tune eval --model tiny.zo2 --run turns --data d.jsonl
expect 0 '"wire": "fp32", "frozen_wire": "fp16"' zo2-pack info turns.zo2b --json
expect 0 '"tune": "layers=0-5", "tune_rotate": 2, "tune_order": "bottom", "trunk_type": "bf16"' zo2-pack info turns.zo2b --json
usage 'turns.zo2b is a bundle, which has no tensors: --tune is for packs' zo2-pack info turns.zo2b --tune all

# ---- rows=answers is the run's tokens ----
expect 0 'tuning rows=answers (6 rows): 1,152 parameters in 1 tensor, of' train a --steps 2 --tune rows=answers
expect 0 '^tune  *rows=answers (6 rows)$' zo2-tune log a
grep -q '"tune": "rows=answers"' a/settings.json || fail "settings.json doesn't say what was asked for"
expect 0 '^3 steps' train a --resume --steps 3 --tune rows=answers
expect 0 '^4 steps' train a --resume --steps 4 --tune "rows=$answers" # the same tokens
expect 0 'tuning rows=answers (6 rows)' train a --resume --steps 5
expect 1 '\-\-tune rows=261: the run in a was made with rows=answers (6 rows)' train a --resume --steps 6 --tune rows=261
expect 0 '' zo2-tune eval --model tiny.zo2 --run a --data d.jsonl
expect 1 'device-mem' zo2-tune eval --model tiny.zo2 --run a --data d.jsonl --device-mem 1 # plans again, with the run's choice

# ---- warm ----
mkdir spill
warm() { # run, options
    _run=$1
    shift
    zo2-tune warm --model tiny.zo2 --data t.jsonl --run "$_run" "$@"
}
usage '\-\-trunk-cache SIZE is needed' warm w --tune layers=5
usage '\-\-trunk-cache SIZE is needed' warm w --tune layers=5 --trunk-cache off
expect 1 'without --spill DIR the cache is in RAM, and ends with this command' warm w --tune layers=5 --trunk-cache 8M
expect 1 'no layer is below all that moves' warm w --trunk-cache 8M --spill spill
expect 1 'no layer is below all that moves' warm w --tune layers=0 --trunk-cache 8M --spill spill
[ ! -e w ] || fail "a refused warm left a run"
expect 0 '^80 of 80 lines are kept, after ' warm w --eval d.jsonl --tune layers=5 --batch 16 --lr 1e-4 --steps 6 --trunk-cache 8M --spill spill
grep -q 'warning' err.txt && fail "warm warns of what it does"
expect 0 '^steps  *0 of 6$' zo2-tune log w
expect 0 '"lines": 60, "kept": 60, ' warm w --trunk-cache 8M --json
expect 0 '^6 steps' zo2-tune train --model tiny.zo2 --data t.jsonl --run w --resume --trunk-cache 8M
expect 0 '^6 steps' zo2-tune train --model tiny.zo2 --data t.jsonl --run cold --tune layers=5 --batch 16 --lr 1e-4 --steps 6
for run in w cold; do
    zo2-tune log $run --json >$run.txt
done
cmp -s w.txt cold.txt || fail "a warmed run has other steps"
expect 1 'the run in w was made with layers=5' warm w --tune layers=4 --trunk-cache 8M
mkdir small
expect 0 '^[0-9]* of 60 lines are kept, after ' warm little --tune layers=5 --trunk-cache 64K --spill small
grep -q '^60 of 60' out.txt && fail "60 lines fit 64 KiB"
grep -q 'the rest has no room in --trunk-cache 64.00 KiB' out.txt || fail "warm doesn't say that there was no room"

# SIGTERM (a shell's background has no Ctrl-C): what was computed is kept, and the same command goes on.
mkdir stopped
head -n 400 "$TEXTS/wordnet_kind.train.jsonl" >many.jsonl
long="zo2-tune warm --model tiny.zo2 --data many.jsonl --run long --tune layers=5 --batch 1 --trunk-cache 100M --spill stopped"
$long --quiet 2>err.txt &
pid=$!
tries=0
while [ ! -s long/settings.json ] && [ $tries -lt 1500 ]; do # which is there when the first line is begun
    kill -0 $pid 2>/dev/null || break
    tries=$((tries + 1))
    sleep 0.02
done
kill -TERM $pid 2>/dev/null
wait $pid
status=$?
[ $status -eq 130 ] || fail "SIGTERM gave exit status $status, not 130: $(cat err.txt)"
grep -q 'interrupted; [0-9]* lines are kept, and the same command goes on' err.txt || fail "an interrupted warm says: $(cat err.txt)"
expect 0 '^400 of 400 lines are kept, after ' $long
finish
