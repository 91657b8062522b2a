#!/bin/sh
# zo2-tune eval against the reference values of the tiny model, and of runs at a step.
. "$(dirname "$0")/cli_testing.sh"
tiny
value() { sed "s/.*\"$1\": \([^,}]*\).*/\1/" "${2:-out.txt}" | tail -n 1; }
near() { # value, reference, tolerance, name
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; exit !(d <= t && d >= -t) }' || fail "$4 is $1, not $2"
}

# The whole files only where that takes seconds.
if [ $slow = 0 ]; then
    expect 0 '' zo2-tune eval --model tiny.zo2 --data "$TEXTS/wordnet_kind.dev.jsonl" --json
    near "$(value eval_loss_fp32)" 1.0736849100169585 1e-6 "loss on dev"
    near "$(value eval_accuracy_fp32)" 0.51 1e-12 "accuracy on dev"
    [ "$(value eval_loss)" = "$(value eval_loss_fp32)" ] || fail "an fp32 wire changed the loss"
    expect 0 '' zo2-tune eval --model tiny.zo2 --data "$TEXTS/proverbs.test.jsonl" --json
    near "$(value eval_loss_fp32)" 4.324864896699169 1e-6 "loss on proverbs"
    [ "$(value loss_tokens)" = 4825 ] || fail "not 4,825 predicted tokens"
    grep -q accuracy out.txt && fail "a language-model evaluation has an accuracy"
fi

# What is printed for people is what --json says.
head -n 40 "$TEXTS/wordnet_kind.dev.jsonl" >dev40.jsonl
expect 0 '"eval_accuracy": ' zo2-tune eval --model tiny.zo2 --data dev40.jsonl --json
cp out.txt dev40.txt
expect 0 "^accuracy *$(awk -v a="$(value eval_accuracy dev40.txt)" 'BEGIN { printf "%.1f", 100 * a }') %\$" zo2-tune eval --model tiny.zo2 --data dev40.jsonl
grep -q "^loss *$(awk -v l="$(value eval_loss dev40.txt)" 'BEGIN { printf "%.4f", l }')\$" out.txt || fail "another loss than in JSON"
grep -q 'through the' out.txt && fail "an fp32 wire is shown as another one"

# The batch and the threads change nothing but rounding; the codec only what goes through the wire.
head -n 20 "$TEXTS/proverbs.test.jsonl" >lm.jsonl
expect 0 '^perplexity ' zo2-tune eval --model tiny.zo2 --data lm.jsonl
expect 0 '' zo2-tune eval --model tiny.zo2 --data lm.jsonl --json
loss=$(value eval_loss_fp32)
near "$loss" 4.3 1 "loss on some proverbs"
expect 0 '' zo2-tune eval --model tiny.zo2 --data lm.jsonl --json --batch 7 --threads 1
near "$(value eval_loss_fp32)" "$loss" 1e-6 "loss in batches of 7"
expect 0 'through the bf16 wire' zo2-tune eval --model tiny.zo2 --data lm.jsonl --wire bf16
expect 0 '' zo2-tune eval --model tiny.zo2 --data lm.jsonl --wire fp8-e4m3 --json
near "$(value eval_loss_fp32)" "$loss" 1e-6 "loss at the fp32 weights, wire fp8"
near "$(value eval_loss)" "$loss" 5e-2 "loss through fp8"
[ "$(value eval_loss)" != "$(value eval_loss_fp32)" ] || fail "the fp8 wire changed nothing at all"

# --- Runs -------------------------------------------------------------------------------------------------------------
head -n 20 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
zo2-tune train --model tiny.zo2 --data "$TEXTS/wordnet_kind.train.jsonl" --run run --steps 8 --batch 4 --lr 1e-4 \
    --seq 100 --eval dev.jsonl --eval-every 4 --wire fp8-e4m3 --pending 2 --json >train.txt 2>err.txt || fail "train"
[ "$(grep -c '"eval_loss"' train.txt)" -eq 2 ] || fail "not two evaluations after steps"
[ "$(grep -c '"initial_eval_loss"' train.txt)" -eq 1 ] || fail "not one evaluation before the first step"
expect 0 'through the fp8-e4m3 wire' zo2-tune eval --model tiny.zo2 --data dev.jsonl --run run
expect 0 '' zo2-tune eval --model tiny.zo2 --data dev.jsonl --run run --json
cp out.txt end.txt
expect 0 '' zo2-tune eval --model tiny.zo2 --data dev.jsonl --run run --at-step 4 --json
cp out.txt four.txt
sed -n 4p train.txt >train4.txt
sed -n 8p train.txt >train8.txt
for key in eval_loss eval_loss_fp32 eval_accuracy eval_accuracy_fp32; do
    [ "$(value $key end.txt)" = "$(value $key train8.txt)" ] || fail "$key at the end differs between train and eval"
    [ "$(value $key four.txt)" = "$(value $key train4.txt)" ] || fail "$key after 4 steps differs between train and eval"
done
# The exported weights give the figures of eval_loss_fp32.
zo2-pack export tiny.zo2 hf --run run --dtype fp32 >/dev/null && zo2-pack convert hf tuned.zo2 >/dev/null || fail "export"
expect 0 '' zo2-tune eval --model tuned.zo2 --data dev.jsonl --seq 100 --batch 4 --json
[ "$(value eval_loss_fp32)" = "$(value eval_loss_fp32 end.txt)" ] || fail "the exported weights have another loss"
# The time left has the evaluation to come, which is many times a step: after one of two steps, and in a session that has seen none.
head -n 60 "$TEXTS/wordnet_kind.dev.jsonl" >dev60.jsonl
left() { # pattern, options
    like=$1
    shift
    expect 0 "$like" zo2-tune train --model tiny.zo2 --data "$TEXTS/wordnet_kind.train.jsonl" --run left --batch 1 --log-every 1 \
        --eval dev60.jsonl "$@"
}
left '^training: 50 %, step 1, .*, [0-9][0-9.]* \(s\|min .*\) left$' --steps 2
left '^training: 75 %, step 3, .*, [0-9][0-9.]* \(s\|min .*\) left$' --steps 4 --resume
expect 1 'at-step 9.*8 steps' zo2-tune eval --model tiny.zo2 --data dev.jsonl --run run --at-step 9
finish
