#!/bin/sh
# Ranks that stop, fail or are killed leave a run that any number of ranks resumes, with the bits of one process.
. "$(dirname "$0")/cli_testing.sh"
. "$DATA/../cli/dist_testing.sh"
head -n 6 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
train="zo2-tune train --model tiny.zo2 --data $data --batch 4 --lr 1e-4 --seed 3 --threads 1 --queries 3"

# --- from one process to two, three, one and two, each with its own spill or without -------------------------------------

# shellcheck disable=SC2086  # command lines, here and below
expect 0 "" $train --run whole --steps 12 --pending 1 --micro-batch 2
mkdir drive
expect 0 "^3 steps" $train --run parts --steps 3 --pending 1 --micro-batch 2 --resume
expect 0 "^6 steps, 3 of them now" ranks 2 $train --run parts --steps 6 --resume --distribute queries
grep -q '^zo2-tune train: ranks stood at different steps: all go on from where rank 0 on ' err.txt || fail "no word of the new rank"
expect 0 "^8 steps, 2 of them now" ranks 3 $train --run parts --steps 8 --resume --distribute queries
expect 0 "^9 steps" $train --run parts --steps 9 --resume
expect 0 "^12 steps" ranks 2 $train --run parts --steps 12 --resume --distribute batch
for place in parts parts/rank-1; do
    cmp whole/journal.zo2j $place/journal.zo2j || fail "$place has another journal"
    cmp whole/snapshots/snapshot-000000000012.zo2s $place/snapshots/snapshot-000000000012.zo2s || fail "$place has other masters"
    expect 0 'ok, 12 steps' zo2-pack verify tiny.zo2 --run $place
done
expect 0 '^steps *12 of 12' zo2-tune log parts/rank-1
[ "$(lines parts/rank-1/metrics.jsonl)" = 12 ] || fail "a rank's metrics lack steps"

# Spilled masters: each rank has a folder of its own in --spill.
spilled="zo2-tune train --model tiny.zo2 --data $data --batch 2 --micro-batch 1 --seq 32 --lr 1e-4 --pending 2 --threads 2 --host-mem 146M --queries 2"
expect 0 "" $spilled --run spill-one --steps 6 --spill drive
rm -rf drive && mkdir drive
expect 0 "" ranks 2 $spilled --run spill-two --steps 4 --spill drive --distribute both
[ -d drive/rank-1 ] || fail "rank 1 has spilled somewhere else"
expect 0 "" ranks 3 $spilled --run spill-two --steps 6 --spill drive --resume --distribute both
for place in spill-two spill-two/rank-1 spill-two/rank-2; do
    cmp spill-one/journal.zo2j $place/journal.zo2j || fail "$place has another journal"
    [ "$(zo2-pack export tiny.zo2 "hf-$place" --run $place --dtype fp32 >/dev/null 2>&1 && cksum <"hf-$place/model.safetensors")" = \
        "$(rm -rf hf; zo2-pack export tiny.zo2 hf --run spill-one --dtype fp32 >/dev/null 2>&1 && cksum <hf/model.safetensors)" ] ||
        fail "$place has other masters"
done

# --- ended from outside -----------------------------------------------------------------------------------------------

# begin RUN N OPTION...: N ranks in the background, as $job, until rank 0 has made some steps; $pids: theirs
begin() {
    _run=$1 _n=$2
    shift 2
    $launcher -n "$_n" $train --run "$_run" --steps 100000 --distribute queries "$@" >job.txt 2>&1 &
    job=$!
    wait_lines "$_run/metrics.jsonl" $(($(lines "$_run/metrics.jsonl") + 5)) $job || fail "$_run: nothing happens: $(cat job.txt)"
    pids=$(pgrep -P $job -f "zo2-tune train" | tr '\n' ' ')
}

# steps_of RUN: records of 144 bytes, with three queries, behind a header of 256
steps_of() { echo $((($(wc -c <"$1/journal.zo2j") - 256) / 144)); }

begin stopped 2
kill -TERM $job
wait $job
grep -q 'interrupted after [0-9]* steps.*--resume' job.txt || fail "no word about going on after SIGTERM: $(cat job.txt)"
cmp stopped/journal.zo2j stopped/rank-1/journal.zo2j || fail "SIGTERM found ranks at different steps, and they didn't meet"
[ "$(find stopped -name 'snapshot-*' | wc -l)" = 2 ] || fail "not all ranks saved their weights"

begin stopped 3 --resume # one of them alone is told to stop
kill -INT "${pids%% *}"
wait $job
for rank in 1 2; do
    cmp stopped/journal.zo2j stopped/rank-$rank/journal.zo2j || fail "rank $rank stopped at another step"
done

for victim in 1 2 3; do
    begin killed 3 --resume
    # shellcheck disable=SC2086
    kill -KILL "$(echo $pids | cut -d ' ' -f $victim)"
    was=$(date +%s)
    wait $job && fail "a rank was killed, and nobody noticed"
    [ $(($(date +%s) - was)) -le 30 ] || fail "ranks went on for more than 30 s after one was killed"
done
begin killed 2 --resume
kill -TERM $job
wait $job
for name in stopped killed; do
    steps=$(steps_of $name)
    [ "$steps" -ge 10 ] || fail "$name has $steps steps"
    rm -rf straight
    expect 0 "" $train --run straight --steps "$steps" --no-snapshot
    cmp straight/journal.zo2j $name/journal.zo2j || fail "$name: $steps steps in pieces are another run"
    cmp straight/journal.zo2j $name/rank-1/journal.zo2j || fail "$name: rank 1 has another run"
done

# --- another run in one rank's place ----------------------------------------------------------------------------------

cp -r parts mixed
rm -rf mixed/rank-1
expect 0 "" zo2-tune train --model tiny.zo2 --data "$data" --batch 4 --seed 4 --threads 1 --queries 3 --micro-batch 2 --steps 2 --run mixed/rank-1
expect 1 'rank-1 has another run than the rank with the longest journal' ranks 2 $train --run mixed --steps 13 --resume --distribute queries
cmp mixed/journal.zo2j whole/journal.zo2j || fail "a refusal changed the run"

# --- a rank whose disk is full: it has exchanged the step, so the others can only be ended --------------------------------

full="$train --run full --steps 60 --no-snapshot --distribute queries"
expect 1 'rank 1 on .* cannot write full/rank-1/.*; this ends all ranks, and each can resume' \
    $launcher -n 1 $full : -n 1 bash -c "ulimit -f 20; exec $full"
[ "$(steps_of full)" -lt 60 ] || fail "the disk wasn't full early enough"
expect 0 "^60 steps, " ranks 2 $full --resume
expect 0 "" $train --run not-full --no-snapshot --steps 60
cmp full/journal.zo2j not-full/journal.zo2j || fail "after a full disk the run is another one"
cmp full/journal.zo2j full/rank-1/journal.zo2j || fail "after a full disk rank 1 has another run"

# --- traces, metrics --------------------------------------------------------------------------------------------------

expect 0 "^ranks: 2; rank 0 waited .* % of the time; rank [01] on .* was the slowest in" ranks 2 $train --run traced --steps 3 \
    --distribute queries --trace trace.json --check-every 2
for file in trace.json trace.json.rank-1; do
    grep -q '"name":"exchange"\|"name": "exchange"' $file || fail "$file has no exchange"
done
expect 0 "^proposal: --share [1-9][0-9]*,[1-9][0-9]*, by the rates of the ranks" ranks 2 zo2-tune train --model tiny.zo2 --data "$data" \
    --batch 4 --threads 1 --queries 8 --run uneven --steps 3 --no-snapshot --distribute queries --share 7,1
grep -q '"exchange_seconds": [0-9.e-]*, "rank_work_seconds": \[[0-9.e-]*, [0-9.e-]*\], "slowest_rank": [01]' traced/metrics.jsonl ||
    fail "metrics have nothing about ranks"
finish
