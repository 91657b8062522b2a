#!/bin/sh
# metrics.jsonl: keys, evaluations, what is made again after damage; the summary names the best evaluation.
. "$(dirname "$0")/cli_testing.sh"
tiny
data=$TEXTS/wordnet_kind.train.jsonl
head -n 30 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
base="zo2-tune train --model tiny.zo2 --data $data --run r"

expect 0 '^8 steps in ' $base --steps 8 --batch 2 --lr 1e-4 --queries 3 --eval dev.jsonl --eval-every 3
for steps in 0 3 6 8; do
    grep -q "^after $steps steps: evaluation loss .*accuracy .* %" out.txt || fail "no evaluation after $steps steps"
done
best=$(sed -n 's/^best evaluation after \([0-9]*\) steps.*/\1/p' out.txt)
grep -q "zo2-pack export tiny.zo2 OUT --run r --at-step $best$" out.txt || fail "no export command for the best step"
[ "$(lines r/metrics.jsonl)" -eq 8 ] || fail "not 8 lines"
for key in step loss loss_plus loss_minus projected_grad lr tokens seconds device_peak_bytes host_peak_bytes; do
    [ "$(grep -c "\"$key\": -\{0,1\}[0-9]" r/metrics.jsonl)" -eq 8 ] || fail "not 8 lines have a number as $key"
done
for key in eval_loss eval_loss_fp32 eval_accuracy eval_accuracy_fp32; do
    [ "$(grep -c "\"$key\": [0-9]" r/metrics.jsonl)" -eq 3 ] || fail "not 3 lines have $key"
done
for key in initial_eval_loss initial_eval_loss_fp32 initial_eval_accuracy initial_eval_accuracy_fp32; do
    [ "$(grep -c "^{\"step\": 0,.*\"$key\": [0-9]" r/metrics.jsonl)" -eq 1 ] || fail "the line of step 0 lacks $key"
    [ "$(grep -c "$key" r/metrics.jsonl)" -eq 1 ] || fail "another line has $key"
done
zo2-tune log r | grep -A 9 'evaluated after' | awk '{ print $1 }' | tr '\n' ' ' | grep -q '^evaluated 0 3 6 8 $' ||
    fail "log doesn't show the evaluations after 0, 3, 6 and 8 steps"
awk -F'[:,]' '{ d = $4 - ($6 + $8) / 2; if ($2 != NR - 1 || d > 1e-12 || d < -1e-12) exit 1 }' r/metrics.jsonl ||
    fail "steps aren't in order, or loss isn't the mean of both"
cp r/metrics.jsonl good.jsonl

# again PATTERN: a resume (nothing left to do takes no lines, so one step more) mends the file
again() {
    steps=$((steps + 1))
    cp good.jsonl expected.jsonl
    expect 0 "$1" $base --resume --steps $steps
    [ "$(lines r/metrics.jsonl)" -eq $steps ] || fail "not $steps lines after repair"
    awk -F'[:,]' '$2 != NR - 1 { exit 1 }' r/metrics.jsonl || fail "steps aren't in order after repair"
    sed 's/"seconds".*//' r/metrics.jsonl | head -n "$(lines good.jsonl)" >a.txt
    sed 's/"seconds".*//' good.jsonl >b.txt
    cmp a.txt b.txt || fail "the lines made again differ: $1"
    cp r/metrics.jsonl good.jsonl
}
steps=8
again ''
grep -q 'missing line' err.txt && fail "an intact file was mended"
head -c -37 good.jsonl >r/metrics.jsonl # torn
again '1 missing line made again'
sed -n 9p r/metrics.jsonl | grep -q '"seconds": null, "device_peak_bytes": null, "host_peak_bytes": null' ||
    fail "the line made again claims to know times"
head -n 3 good.jsonl >r/metrics.jsonl
again 'missing lines* made again'
rm r/metrics.jsonl
again 'missing lines* made again'
{ head -n 2 good.jsonl; echo 'rubbish'; tail -n +4 good.jsonl; } >r/metrics.jsonl
again '1 missing line made again'
{ cat good.jsonl; sed -n '$p' good.jsonl | sed 's/"step": [0-9]*/"step": 12345/'; } >r/metrics.jsonl # beyond the journal
again ''
printf '' >r/metrics.jsonl
again 'missing lines* made again'

# The export command works as it is printed, whatever the names.
cp tiny.zo2 "./-it's a model.zo2"
expect 0 'export: ' zo2-tune train --model "-it's a model.zo2" --data "$data" --run -r --steps 2 --batch 2
sed -n 's/^export: //p' out.txt >command.sh
expect 0 'OUT: the weights of ./-r$' sh command.sh
rm -rf OUT

# --json: every step's object, then the summary; --quiet: nothing
expect 0 '' zo2-tune train --model tiny.zo2 --data "$data" --run j --steps 4 --batch 2 --json --eval dev.jsonl
[ "$(grep -c '^{"step": ' out.txt)" -eq 4 ] || fail "--json doesn't print 4 steps"
number() { # of the one line that has the key
    sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p" j/metrics.jsonl
}
# The better evaluation: higher accuracy, then lower loss, then the earlier.
best=$(awk "BEGIN { more = $(number eval_accuracy_fp32) - $(number initial_eval_accuracy_fp32)
    less = $(number initial_eval_loss_fp32) - $(number eval_loss_fp32); print (more > 0 || (more == 0 && less > 0) ? 4 : 0) }")
tail -n 1 out.txt | grep -q "^{\"summary\": true, \"steps\": 4, .*\"best_at_step\": $best, .*\"export_command\": \"zo2-pack export" ||
    fail "--json doesn't end with a summary"
head -n 4 out.txt | cmp - j/metrics.jsonl || fail "--json differs from metrics.jsonl"
expect 0 '' zo2-tune train --model tiny.zo2 --data "$data" --run q --steps 2 --batch 2 --quiet
[ ! -s out.txt ] && [ ! -s err.txt ] || fail "--quiet isn't"
expect 0 'step 2, .*step 4, ' sh -c "zo2-tune train --model tiny.zo2 --data '$data' --run l --steps 4 --batch 2 \
    --log-every 2 2>&1 | tr '\n' ' '"
expect 1 'standard output' sh -c "zo2-tune train --model tiny.zo2 --data '$data' --run f --steps 2 --json >/dev/full"
expect 0 '^2 steps' sh -c "zo2-tune log f | sed -n 's/^steps *\([0-9]*\) of.*/\1 steps/p'"

# A run that makes the model worse says so, and what to do with it.
expect 0 'best evaluation after 0 steps: .*has not improved' zo2-tune train --model tiny.zo2 --data "$data" --run worse \
    --steps 6 --batch 2 --lr 1e-2 --eval dev.jsonl
grep -q 'zo2-pack export tiny.zo2 OUT --run worse --at-step 0$' out.txt || fail "no export command for the model before"
expect 0 'after 0 steps' zo2-pack export tiny.zo2 before --run worse --at-step 0

# Ten skipped steps in a row end the run with advice: a rate that blows the weights up.
expect 1 '' zo2-tune train --model tiny.zo2 --data "$data" --run b --steps 200 --batch 2 --lr 1e30 --wire fp32
grep -q -e '10 steps in a row' -e 'non-finite' err.txt || { fail "no advice when the loss is not finite"; cat err.txt; }
expect 1 'learning rate.* too high' zo2-tune train --model tiny.zo2 --data "$data" --run c --steps 2 --batch 2 --lr 1e308
grep -q 'smaller --lr' err.txt || fail "no advice when an update is not finite"
grep -q -e '--resume goes on' err.txt && fail "advises to resume what would fail again"
# So does a run whose few steps all were.
expect 1 '^zo2-tune train: 2 steps in a row had a loss' zo2-tune train --model tiny.zo2 --data "$data" --run none --batch 2 \
    --lr 1e-4 --eps 1e300 --steps 2 --quiet
finish
