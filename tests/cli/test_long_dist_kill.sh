#!/bin/sh
# Any rank is killed at any moment, 50 times, and each time another number of ranks goes on: the bits of one process.
. "$(dirname "$0")/cli_testing.sh"
. "$DATA/../cli/dist_testing.sh"
train="zo2-tune train --model tiny.zo2 --data $data --batch 2 --seq 48 --lr 1e-4 --seed 3 --threads 1 --queries 3 --micro-batch 1 --pending 2"
kills=50 seed=1
random() { # below $1
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    echo $((seed / 65536 % $1))
}

kill_one() { # of N ranks
    # shellcheck disable=SC2086  # command lines, here and below
    $launcher -n "$1" $train --run run --resume --steps 100000 --snapshot-every 2 --distribute both >job.txt 2>&1 &
    job=$!
    # From before the ranks have found each other to some dozen steps
    sleep "$(random 3).$(random 10)"
    pid=$(pgrep -P $job -f "zo2-tune train" | sed -n "$((1 + $(random "$1")))p")
    [ -n "$pid" ] && kill -KILL "$pid"
    wait $job
}

n=0
while [ $n -lt $kills ]; do
    kill_one $((1 + $(random 4)))
    n=$((n + 1))
done
for ranks in 3 2; do # and now to an orderly end
    $launcher -n $ranks $train --run run --resume --steps 100000 --distribute both >job.txt 2>&1 &
    job=$!
    wait_lines run/metrics.jsonl $(($(lines run/metrics.jsonl) + 5)) $job || fail "$ranks ranks don't go on: $(cat job.txt)"
    kill -TERM $job
    wait $job
    cmp run/journal.zo2j run/rank-1/journal.zo2j || fail "ranks have other journals"
done
steps=$((($(wc -c <run/journal.zo2j) - 256) / 144))
expect 0 "" $train --run straight --steps $steps
cmp straight/journal.zo2j run/journal.zo2j || fail "after $kills kills the run is another one"
zo2-pack export tiny.zo2 a --run straight --dtype fp32 >/dev/null 2>&1 && zo2-pack export tiny.zo2 b --run run --dtype fp32 >/dev/null 2>&1
cmp a/model.safetensors b/model.safetensors || fail "after $kills kills the weights are others"
echo "$steps steps after $kills kills"
[ "$steps" -ge 100 ] || fail "only $steps steps were made: kills came too early"
finish
