#!/bin/sh
# Runs that break: what isn't finite is no good evaluation, an exploding loss is told, a resume that can't help is refused,
# and what is advised works.
. "$(dirname "$0")/cli_testing.sh"
tiny
data=$TEXTS/wordnet_kind.train.jsonl
head -n 12 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
head -n 5 "$TEXTS/proverbs.test.jsonl" >lm.jsonl
train="zo2-tune train --model tiny.zo2 --data $data --batch 2"

# follow RUN: the export advised in out.txt or err.txt works, and gives weights that evaluate to a finite loss.
follow() {
    cat err.txt out.txt | sed -n 's/^\(The weights of before\|export\): //p' | head -n 1 >command.sh
    grep -q -e "--run $1 --at-step [0-9]*$" command.sh || { fail "no export of a step of $1 is advised"; return; }
    rm -rf OUT
    expect 0 "^OUT: the weights of $1 after" sh command.sh
    zo2-pack convert OUT advised.zo2 --force >/dev/null || fail "the advised export of $1 doesn't convert"
    expect 0 '^{"eval_loss": [0-9]' zo2-tune eval --model advised.zo2 --data dev.jsonl --json
    grep -q '"eval_nonfinite": 0, "eval_nonfinite_fp32": 0' out.txt || fail "the advised export of $1 is broken"
}

# --- Broken weights: each example is wrong, the evaluation never the best ----------------------------------------------
expect 1 '^zo2-tune train: 10 steps in a row had a loss that is not finite' $train --run b --steps 40 --lr 1e30 \
    --wire fp32 --eval dev.jsonl --eval-every 5
grep -q '^zo2-tune train: warning: 12 of 12 examples have scores that are not finite; they count as wrong$' err.txt ||
    fail "train doesn't warn of an evaluation that isn't finite"
grep -q '^after 5 steps: evaluation loss -*nan, accuracy 0.0 %$' out.txt || fail "broken weights are right somewhere"
grep -q '"eval_loss": null, "eval_loss_fp32": null, "eval_nonfinite": 12, "eval_nonfinite_fp32": 12, "eval_accuracy": 0,' b/metrics.jsonl ||
    fail "metrics.jsonl doesn't count them"
follow b
expect 0 '^accuracy *0.0 %$' zo2-tune eval --model tiny.zo2 --data dev.jsonl --run b
grep -q '^zo2-tune eval: warning: 12 of 12 examples have scores that are not finite; they count as wrong$' err.txt ||
    fail "eval doesn't warn"
grep -q '^zo2-tune eval: the last good weights of the run are those after 0 steps: --at-step 0$' err.txt ||
    fail "eval doesn't say which weights are good"
expect 0 '"eval_nonfinite": 12, "eval_nonfinite_fp32": 12, "eval_accuracy": 0, "eval_accuracy_fp32": 0,' \
    zo2-tune eval --model tiny.zo2 --data dev.jsonl --run b --json
expect 0 'warning: 5 of 5 examples have scores that are not finite$' zo2-tune eval --model tiny.zo2 --data lm.jsonl --run b
expect 0 '"eval_loss_fp32": [0-9.]*, "eval_nonfinite": 0,' zo2-tune eval --model tiny.zo2 --data lm.jsonl --run b --at-step 0 --json
grep -q warning err.txt && fail "a finite evaluation is warned of"

# Older files, in which broken weights were right now and then, choose no better.
sed 's/"eval_accuracy": 0,/"eval_accuracy": 1,/; s/"eval_accuracy_fp32": 0}/"eval_accuracy_fp32": 1}/' b/metrics.jsonl >m
grep -q '"eval_loss_fp32": null.*"eval_accuracy_fp32": 1}' m || fail "the test changes nothing"
cp m b/metrics.jsonl
zo2-tune log b | grep '  best$' >best.txt
grep -q '^ *0 .* %  best$' best.txt || fail "log's best evaluation isn't that of the weights before"
[ "$(wc -l <best.txt)" -eq 1 ] || fail "not one best evaluation"

# None is finite: said, and nothing advised.
expect 0 '' $train --run none --steps 4 --lr 1e30 --wire fp32 --eval dev.jsonl
sed 's/, "initial_eval.*/}/' none/metrics.jsonl >m && cp m none/metrics.jsonl
expect 0 'no evaluation had a finite loss: there is nothing worth exporting' $train --run none --resume
grep -q '^export' out.txt && fail "an export is advised where no evaluation is finite"
expect 0 '"export_command": null' $train --run none --resume --json
grep -q '"best_at_step"' out.txt && fail "an evaluation that isn't finite is the best one"
zo2-tune log none | grep -q '  best$' && fail "log has a best evaluation where none is finite"

# --- A resume that can't help ------------------------------------------------------------------------------------------
cksum b/* 2>/dev/null >before.txt
expect 1 'the last 10 steps of the run in b were skipped.*--retry-skipped' $train --run b --resume
follow b
for options in "" "--resume --steps 90" "--resume --dry-run"; do
    # shellcheck disable=SC2086  # lists of options
    expect 1 'the last 10 steps of the run in b were skipped' $train --run b $options
done
cksum b/* 2>/dev/null | cmp - before.txt || fail "a refused resume changed the run"
usage '\-\-retry-skipped needs --resume' $train --run b --retry-skipped
expect 1 '20 steps in a row' $train --run b --resume --retry-skipped --json
tail -n 1 out.txt | grep -q '^{"summary": true, .*"skipped_steps": 20, "skipped_in_row": 20, "last_good_step": 0, .*"best_at_step": 0, ' ||
    fail "the summary of a broken run lacks its figures"
follow b
expect 0 '^skipped *20 of 21 steps, the last 20 in a row: a loss was not finite$' zo2-tune log b
grep -q '^last good *the weights after 0 steps: --at-step 0$' out.txt || fail "log doesn't name the last good weights"

# Steps skipped at the end of a session count in the next one.
expect 0 '^skipped: 5 of 6 steps, the last 5 in a row: a loss was not finite$' $train --run few --steps 6 --lr 1e30 --wire fp32
follow few
expect 1 '^zo2-tune train: 10 steps in a row' $train --run few --resume --steps 40
[ "$(lines few/metrics.jsonl)" -eq 11 ] || fail "a resume spent more than the steps that were left of ten"
follow few

# --- A loss that explodes and stays finite -------------------------------------------------------------------------------
expect 0 'warning: the loss has exploded from step [1-9] on: the median of the last 10 is ' $train --run x --steps 30 --lr 1e-2
[ "$(grep -c exploded err.txt)" -eq 1 ] || fail "not one warning of an exploding loss"
grep -q '^the loss exploded at step [1-9] and has not come back$' out.txt || fail "the summary doesn't say that the loss exploded"
follow x
expect 0 '^exploded *the loss at step [1-9], and it has not come back$' zo2-tune log x
expect 0 '"exploded_at_step": [1-9], "last_good_step": [0-9],' $train --run x --resume --steps 31 --json
[ "$(grep -c 'loss has exploded' err.txt)" -eq 1 ] || fail "a resume doesn't warn once of the exploded loss"
expect 0 '' $train --run x --resume --steps 32 --quiet
grep -q 'warning: the loss has exploded' err.txt || fail "--quiet hides the warning"

# An ordinary run has none of it.
expect 0 '"skipped_steps": 0, "skipped_in_row": 0, "seconds"' $train --run fine --steps 30 --lr 1e-5 --json
! grep -E "skipped|exploded|finite" err.txt || fail "an ordinary run is warned of"
expect 0 'steps *30 of 30' zo2-tune log fine
grep -q -e '^skipped  ' -e '^exploded' -e '^last good' out.txt && fail "log finds fault with an ordinary run"

# --- An update that makes a weight infinite ---------------------------------------------------------------------------------
expect 1 'make a weight non-finite' $train --run inf --steps 40 --lr 1e37 --wire fp32
follow inf
expect 1 'non-finite' $train --run inf --resume
follow inf
expect 1 'export as\|export an earlier step' zo2-pack export tiny.zo2 all --run inf
expect 0 'the last good weights of the run are those after 0 steps: --at-step 0$' \
    zo2-tune eval --model tiny.zo2 --data dev.jsonl --run inf
finish
