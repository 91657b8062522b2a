#!/bin/sh
# tools/measure-gpu, on the cpu backend: every run has its rates, what doesn't fit is told and fails, packs are removed.
. "$(dirname "$0")/cli_testing.sh"
measure() {
    BACKEND=cpu BIG=$DATA/tiny-opt/model/config.json TOKENS=16 IDS=500 BATCH=2 WORK=$work/gpu \
        BENCH_OPTIONS='--repeats 1 --seconds 0 --bytes 64K' "$@" "$SRC/tools/measure-gpu" "$(dirname "$BIN")"
}

expect 0 '^| model-64M | --batch 1 --device-mem 64M | [0-9.e-]* | [0-9.]* | [0-9,]* | [0-9,]* | [a-z]* | ' \
    measure env BUDGETS=64M MODELS="$DATA/tiny-opt/model/config.json"
for run in model-64M-rademacher model-batch model; do # two of the cells: a rate and its ratio, three times
    grep "^| $run |" out.txt | grep -q '| [0-9.e-]* ([0-9.]*) | [0-9.e-]* ([0-9.]*) | [0-9.e-]* ([0-9.]*) |' ||
        fail "no rates of the run $run"
done
for section in gemm panels link; do
    grep -q "^## $section: " out.txt || fail "no section $section of zo2-bench"
done
[ -f gpu/trace-model-64M.json ] || fail "no trace"
[ -z "$(find gpu -name '*.zo2' -o -name run)" ] || fail "left behind: $(ls gpu)"

expect 1 '^| model-1K | --batch 1 --device-mem 1K | \*\*failed\*\*: .*the smallest that works' \
    measure env BUDGETS=1K MODELS= KEEP=1
[ -f gpu/model.zo2 ] || fail "KEEP=1 keeps nothing"
expect 2 'BUILD' sh -c "'$SRC/tools/measure-gpu' 2>&1"
finish
