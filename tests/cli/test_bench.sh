#!/bin/sh
# zo2-bench: every section runs at tiny sizes, missing programs are named, Ctrl-C leaves nothing behind, usage errors.
# test_bench_json.py looks at the figures.
. "$(dirname "$0")/cli_testing.sh"
help_and_version zo2-bench
mkdir tmp
TMPDIR=$work/tmp
export TMPDIR
tiny_bench() { zo2-bench --repeats 1 --seconds 0 --bytes 64K --model "$HF/config.json" --tokens 5 --threads 2 "$@"; }

expect 0 '^| gaussian, scalar, 1 thread ' tiny_bench noise --no-peers
grep -q '| limit: memset' out.txt || fail "no limit beside the noise"
expect 0 '^| encode fp8-e4m3, DRAM, 2 threads ' tiny_bench codec --no-peers --wire fp8-e4m3
for what in 'join fp8-e4m3, L2, 1' 'decode fp8-e4m3, DRAM, 1'; do
    grep -q "^| $what thread" out.txt || fail "no row '$what'"
done
expect 0 '^| fp16, rademacher, 2 threads ' tiny_bench update --no-peers --wire fp16 --dist rademacher
! grep -q 'gaussian\|bf16' out.txt || fail "--wire and --dist leave more than they name"
expect 0 '^| fp8-e4m3, gaussian, 1 thread ' tiny_bench update --no-peers --dist gaussian
[ "$(grep -c 'thread' out.txt)" -eq 5 ] || fail "not two wires by default" # a line about the machine, two rows a wire
expect 0 '^| fp8-e5m2, gaussian, 1 thread ' tiny_bench update --no-peers --dist gaussian --all
wires=$(zo2-bench --help | sed -n 's/^ *--wire \([^ ]*\).*/\1/p' | tr '|' '\n' | wc -l)
[ "$(grep -c 'thread' out.txt)" -eq $((1 + 2 * wires)) ] || fail "--all doesn't mean every wire"
expect 0 '^| all of a step ' tiny_bench gemm --backend cpu
for what in 'whole matrices, same backend' 'OpenBLAS alone'; do
    grep '^| all of a step ' -A 1 out.txt | grep -q "$what" || fail "products aren't compared with $what"
done
expect 0 '^| [0-9]* heads of [0-9]*, 4 tokens .*| limit: a product of as many operations ' tiny_bench attention --backend cpu
expect 0 '^| bf16, rademacher ' tiny_bench panels --backend cpu
expect 0 '^| fp8-e4m3, gaussian, 8 folded ' tiny_bench panels --backend cpu --wire fp8-e4m3 --dist gaussian
[ "$(grep -c 'limit: a copy there' out.txt)" -eq 2 ] || fail "panels: other rows than one wire's and one noise's"
expect 0 '^| upload beside products, ' tiny_bench link --backend cpu --wire fp8-e4m3
for what in 'upload, chunks of 4096 KiB' 'upload, chunks of 256 KiB' 'upload through a buffer' 'download' '4 KiB up'; do
    grep -q "^| $what" out.txt || fail "no row '$what'"
done
grep -q 'fp8-e4m3 wires to the device of the cpu backend' out.txt || fail "the title doesn't say what is measured"
expect 0 '^| peak resident memory ' tiny_bench step --no-peers
expect 0 '^| decode to two panels ' tiny_bench rates --backend cpu --wire fp8-e4m3
grep -q '^## rates: what zo2-plan counts with, fp8-e4m3 wire, gaussian, fp32, cpu backend' out.txt || fail "the rates don't say whose they are"
expect 0 '^| all, 128 tokens, 4 queries .*| matrices=4-5 ' tiny_bench tune --tokens 128
grep -q '4 rows of 32 tokens, two are one example' out.txt || fail "tune: not lines with options by default"
layers_of() { sed -n "/^| layers that are $1/,/^| layers/s/^.*| matrices=4-5$2  *| *\([0-9]*\).*/\1/p" out.txt | head -n 1; }
for what in uploaded multiplied; do
    [ "$(layers_of $what '')" = 6 ] || fail "tune: a trunk that isn't kept is not $what"
    [ "$(layers_of $what ', kept')" = 2 ] || fail "tune: a kept trunk is $what"
done
expect 0 '^| all, 4 tokens, 1 query .*| vectors ' tiny_bench tune --tune vectors --queries 1 --loss text
! grep -q 'kept' out.txt || fail "tune: a choice that has no trunk has one kept"
expect 1 'tune: layer 9' tiny_bench tune --tune layers=9
expect 0 '^not installed: .*NumPy.*PyTorch' tiny_bench noise --dist rademacher --python /nonexistent
[ -z "$(ls -A tmp)" ] || fail "left behind: $(ls tmp)"

tiny
before=$(cksum tiny.zo2)
expect 0 '^| fp8-e4m3 |  *8.156 |  *2.55' zo2-bench wires --model tiny.zo2
grep -q 'lines for the loss and the projected gradient' out.txt || fail "wires: doesn't say what --data is for"
[ "$(grep -c '^| [a-z][a-z0-9-]* *|.*| *- | *- |' out.txt)" -eq "$wires" ] || fail "not a row for every wire"
expect 1 'which model' zo2-bench wires
expect 1 'has no weights' zo2-bench wires --model opt-125m
expect 1 'layer 9' zo2-bench wires --model tiny.zo2 --data "$TEXTS/proverbs.test.jsonl" --directions 3 --batch 1 --tokens 8 --tune layers=9
expect 1 '/nonexistent' zo2-bench wires --model tiny.zo2 --data /nonexistent
[ "$(cksum tiny.zo2)" = "$before" ] || fail "wires: the pack isn't what it was"
[ -z "$(ls -A tmp)" ] || fail "wires: left behind: $(ls tmp)"

mkdir drive
expect 0 '^| read, spans of 4 MiB ' tiny_bench storage --no-peers --dir drive
for what in 'write, spans of 4 MiB' 'CPU time of a read' 'CPU time of a write'; do
    grep -q "^| $what" out.txt || fail "no row '$what'"
done
grep -q '^not installed: fio' out.txt || fail "a missing fio isn't named"
expect 1 '/nonexistent' zo2-bench storage --dir /nonexistent
expect 1 'has room for .*--bytes' zo2-bench storage --dir drive --bytes 100000T
expect 0 '^| checkpoint to pack, ' tiny_bench convert --dir drive
grep -q '^| peak resident memory ' out.txt || fail "convert: no peak"
expect 0 "^## convert: $HF, .* in 1 file" tiny_bench convert --dir drive --checkpoint "$HF"
expect 1 'drive has no files of weights' zo2-bench convert --dir drive --checkpoint drive
expect 1 '/nonexistent.*--dir' zo2-bench convert --dir /nonexistent
[ -z "$(ls -A drive)" ] || fail "left behind: $(ls drive)"

expect 1 'opt-1x' tiny_bench gemm --model opt-1x
expect 1 'temporary folder' env TMPDIR=/nonexistent zo2-bench step --no-peers --model "$HF/config.json"

zo2-bench step --no-peers --repeats 20 --seconds 3 --model "$HF/config.json" >out.txt 2>err.txt &
pid=$!
tries=0
until [ -n "$(find tmp -path '*/run/*')" ] || [ $tries -gt 1000 ]; do # it takes steps, or is about to
    tries=$((tries + 1))
    sleep 0.02
done
kill -TERM $pid
wait $pid
status=$?
[ $status = 130 ] || fail "exit status $status after SIGTERM"
[ -z "$(ls -A tmp)" ] || fail "left behind after SIGTERM: $(ls tmp)"

usage 'unknown section "disk"' zo2-bench disk
usage 'unexpected argument' zo2-bench noise codec update gemm attention panels link step rates storage convert tune wires noise
usage 'not one of bf16' zo2-bench codec --wire int4
usage 'not a number from 1' zo2-bench --repeats 0
usage 'not one of options' zo2-bench tune --loss none
usage 'not a time' zo2-bench --seconds soon
finish
