#!/bin/sh
# What a resume accepts and what it refuses by name; a run that exists, one that is in use, another model's.
. "$(dirname "$0")/cli_testing.sh"
tiny
data=$TEXTS/proverbs.train.jsonl
base="zo2-tune train --model tiny.zo2 --data $data --run r"

# --resume on a missing run starts it.
expect 0 '^3 steps in ' $base --resume --steps 3 --batch 2 --lr 1e-4
expect 1 'r has a run of 3 steps already.*--resume' $base --steps 5
expect 1 'r has a run of 3 steps already' $base

cksum r/journal.zo2j r/metrics.jsonl r/settings.json >before.txt
refused() {
    pattern=$1
    shift
    expect 1 "$pattern" $base --resume "$@"
    cksum r/journal.zo2j r/metrics.jsonl r/settings.json | cmp -s - before.txt || fail "a refused resume changed the run: $*"
}
refused "\-\-batch 4: .*made with 2" --batch 4
refused "\-\-seq 99: .*made with 256" --seq 99
refused "\-\-bos none: .*made with 2" --bos none
refused "\-\-steps 2: .*made with 3" --steps 2
refused "'lr'" --lr 1e-3
refused "'eps'" --eps 1e-2
refused "'weight.decay'" --weight-decay 0.1
refused "'clip'" --clip 2
refused "'seed'" --seed 5
refused "'dist'" --dist rademacher
refused "'queries'" --queries 2
refused "'pending'" --pending 1
refused "'micro.batch'" --micro-batch 1
refused "'wire'" --wire fp32
refused "'compute'" --compute bf16
refused "'lr-schedule'" --lr-schedule linear
refused "'warmup'" --warmup 3
head -n 10 "$data" >part.jsonl
expect 1 'part.jsonl is not the run.s training file.*XXH3' zo2-tune train --model tiny.zo2 --data part.jsonl --run r --resume
zo2-pack synth "$HF/config.json" other.zo2 >/dev/null
expect 1 'another model' zo2-tune train --model other.zo2 --data "$data" --run r --resume
expect 1 'another model' zo2-tune eval --model other.zo2 --data "$data" --run r
expect 1 'another model\|model hash' zo2-pack export other.zo2 out --run r

# Everything that may change, at once; the pack and the data may move; the same values may be given again.
mv tiny.zo2 moved.zo2
cp "$data" moved.jsonl
expect 0 '^5 steps, 2 of them now in ' zo2-tune train --model moved.zo2 --data moved.jsonl --run r --resume --steps 5 \
    --threads 1 --device-mem 1G --host-mem 1G --snapshot-every 1s --log-every 1 --eval part.jsonl --eval-every 1 \
    --batch 2 --lr 1e-4 --seed 0 --bos auto --seq 256 --wire bf16
expect 0 'after 5 steps\|5 steps already' zo2-tune train --model moved.zo2 --data moved.jsonl --run r --resume
expect 0 'steps *5 of 5' zo2-tune log r
[ "$(zo2-tune log r --json | wc -l)" -eq 5 ] || fail "log --json doesn't have 5 records"
mv moved.zo2 tiny.zo2
rm r/settings.json
expect 1 'settings.json is missing' $base --resume --steps 9

# A schedule that ends somewhere can't end elsewhere.
expect 0 '' $base-cos --lr-schedule cosine --steps 3 --batch 2
expect 1 "\-\-steps 6: .*schedule" $base-cos --resume --steps 6

# One process at a time.
zo2-tune train --model tiny.zo2 --data "$data" --run busy --steps 100000 --batch 1 --seq 16 --quiet &
pid=$!
if wait_lines busy/metrics.jsonl 2 $pid; then
    expect 1 'in use\|another process\|busy' zo2-tune train --model tiny.zo2 --data "$data" --run busy --resume
    expect 0 'steps ' zo2-tune log busy
    expect 0 '' zo2-tune eval --model tiny.zo2 --data part.jsonl --run busy
else
    fail "the background run did nothing"
fi
kill -TERM $pid
wait $pid
status=$?
[ $status -eq 130 ] || fail "SIGTERM gave exit status $status, not 130"
expect 0 '' zo2-pack verify tiny.zo2 --run busy
finish
