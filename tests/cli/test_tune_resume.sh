#!/bin/sh
# Ctrl-C and kill -9 at any time cost nothing: the resumed run ends with the same bits, and metrics.jsonl is whole.
. "$(dirname "$0")/cli_testing.sh"
tiny
data=$TEXTS/wordnet_kind.train.jsonl
head -n 10 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
steps=40 apart=8
[ $slow = 0 ] || steps=20 apart=4

# weights RUN: sum of the exported fp32 weights
weights() {
    zo2-pack export tiny.zo2 "hf-$1" --run "$1" --dtype fp32 >/dev/null || fail "export of $1"
    cksum <"hf-$1/model.safetensors"
}

# without_times FILE: the metrics without what a clock and a meter measure
without_times() {
    sed 's/"seconds": [^,]*, "device_peak_bytes": [^,}]*, "host_peak_bytes": [^,}]*\(, "[a-z_]*_seconds": [^,}]*\)*, "bottleneck": [^,}]*//; s/, "\(initial_\)*eval_loss.*/}/' "$1"
}

try() { # name, options of the run
    name=$1
    shift
    options="--model tiny.zo2 --data $data --batch 3 --lr 1e-4 --steps $steps --seed 3 $*"
    # shellcheck disable=SC2086  # lists of options
    expect 0 "^$steps steps in" zo2-tune train $options --run whole-$name
    want=$(weights whole-$name)

    # Ctrl-C, then kill -9, then to the end. Other threads and evaluations in between change nothing.
    # shellcheck disable=SC2086
    zo2-tune train $options --run cut-$name --eval dev.jsonl --eval-every 7 >int.txt 2>&1 &
    pid=$!
    wait_lines cut-$name/metrics.jsonl $apart $pid || fail "$name: nothing happens"
    kill -INT $pid
    wait $pid
    status=$?
    [ $status -eq 130 ] || fail "$name: exit status $status after Ctrl-C"
    grep -q 'interrupted after .* steps.*--resume' int.txt || fail "$name: no word about going on"
    at=$(lines cut-$name/metrics.jsonl)
    [ "$at" -lt $steps ] || fail "$name: Ctrl-C came too late to test anything"

    zo2-tune train --model tiny.zo2 --data "$data" --run cut-$name --resume --threads 1 --snapshot-every 1 >kill.txt 2>&1 &
    pid=$!
    wait_lines cut-$name/metrics.jsonl $((at + apart)) $pid || fail "$name: nothing happens after Ctrl-C"
    kill -KILL $pid
    wait $pid 2>/dev/null
    [ "$(lines cut-$name/metrics.jsonl)" -lt $steps ] || fail "$name: kill came too late to test anything"

    expect 0 "^$steps steps, .* now in" zo2-tune train --model tiny.zo2 --data "$data" --run cut-$name --resume
    [ "$(weights cut-$name)" = "$want" ] || fail "$name: the interrupted run has other weights"
    without_times whole-$name/metrics.jsonl >a.txt
    without_times cut-$name/metrics.jsonl >b.txt
    cmp a.txt b.txt || fail "$name: the interrupted run has other metrics"
    expect 0 "ok, $steps steps" zo2-pack verify tiny.zo2 --run cut-$name
}
try plain
try mixed --wire fp8-e4m3 --pending 3 --queries 2 --dist rademacher --micro-batch 2 --lr-schedule cosine --clip 5

# --- A run that keeps no snapshots has the same bits --------------------------------------------------------------------
options="--model tiny.zo2 --data $data --batch 3 --lr 1e-4 --seed 3 --no-snapshot"
# shellcheck disable=SC2086  # a list of options
for to in 6 $steps; do
    expect 0 "^$to steps" zo2-tune train $options --run none --steps "$to" --resume
done
[ ! -e none/snapshots ] || fail "--no-snapshot leaves snapshots"
[ "$(weights none)" = "$(cksum <hf-whole-plain/model.safetensors)" ] || fail "a run without snapshots has other weights"
# shellcheck disable=SC2086
usage 'goes with neither --snapshot nor --snapshot-every' zo2-tune train $options --run none --resume --snapshot-every 1m

# --- Without snapshots the journal alone brings the weights back -----------------------------------------------------
rm -rf cut-plain/snapshots hf-cut-plain
[ "$(weights cut-plain)" = "$(cksum <hf-whole-plain/model.safetensors)" ] || fail "the journal alone gives other weights"
finish
