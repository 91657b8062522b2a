#!/bin/sh
# Under a limit of the address space every tool ends: help as anywhere, work either done or refused with what to do. OpenBLAS
# tries for ever to map a buffer for each of its threads, so none may start where nothing is multiplied or where there is no room.
# Under a limit of the stack, which is the size of a new thread's, too, everything works.
set -u
[ -z "${ZO2_SANITIZE-}" ] || exit 77 # sanitizers reserve terabytes
command -v timeout >/dev/null 2>&1 || exit 77
. "$(dirname "$0")/cli_testing.sh"

# limited KIB COMMAND...: 124 if it hung
limited() {
    kib=$1
    shift
    (ulimit -v "$kib" && exec timeout -k 1 20 "$@") >"$work/out" 2>"$work/err"
}

"$BIN/zo2-pack" convert "$DATA/tiny-opt/model" "$work/tiny.zo2" >/dev/null 2>&1 || exit 1

# --- What doesn't multiply ---

# Below some limit the loader itself has no room for the libraries (127), from there on help is help.
most=100000
! ldd "$BIN/zo2-tune" | grep -q cublas || most=1500000
base=0
for tool in pack tune plan bench; do
    "$BIN/zo2-$tool" --help >"$work/help" || fail "zo2-$tool --help"
    works=0
    for kib in 30000 60000 90000 150000 200000 260000 400000 600000 800000 1000000 1200000 1500000; do
        limited $kib "$BIN/zo2-$tool" --help
        status=$?
        [ $status = 127 ] && [ $works = 0 ] && [ $kib -lt $most ] && continue
        [ $works != 0 ] || works=$kib
        [ $status = 0 ] || fail "zo2-$tool --help within $kib KiB: exit status $status"
        cmp -s "$work/help" "$work/out" || fail "zo2-$tool --help within $kib KiB says something else"
    done
    [ $works -le $base ] || base=$works
done

# within KIB COMMAND...: beside what the libraries take
within() {
    kib=$(($1 + base))
    shift
    limited $kib "$@" || fail "$* within $kib KiB: $(cat "$work/err")"
}
within 110000 "$BIN/zo2-pack" info "$work/tiny.zo2"
within 110000 "$BIN/zo2-plan" opt-13b --probe 0
within 170000 "$BIN/zo2-pack" export "$work/tiny.zo2" "$work/out.dir" --threads 1

# --- What multiplies: it works from some limit on, and says what is missing below ---

kib=$((base + 30000))
done=0
while [ $kib -le $((base + 900000)) ]; do
    rm -rf "$work/run"
    limited $kib "$BIN/zo2-tune" train --model "$work/tiny.zo2" --data "$DATA/tiny-opt/data/proverbs.train.jsonl" \
        --run "$work/run" --steps 2 --threads 2 --quiet
    case $? in
        0) done=$kib ;;
        1)
            [ $done = 0 ] || fail "a run within $kib KiB fails, but within $done KiB it works"
            grep -q '^zo2-tune train: .*\(address space\|ulimit -v\|cannot be loaded\|cannot allocate\|cannot start thread\|memory\)' \
                "$work/err" || fail "a run within $kib KiB says: $(cat "$work/err")"
            [ ! -e "$work/run" ] || fail "a run within $kib KiB that fails leaves something behind"
            ;;
        *) fail "a run within $kib KiB ends with $?: $(cat "$work/err")" ;;
    esac
    kib=$((kib + 30000))
done
[ $done != 0 ] || fail "no run works within $kib KiB"

for kib in $((base + 110000)) $((base + 400000)) $((base + 800000)); do
    limited $kib "$BIN/zo2-bench" gemm --model opt-125m --tokens 8 --threads 2 --seconds 0.01 --repeats 1
    status=$?
    [ $status -le 1 ] || fail "zo2-bench gemm within $kib KiB ends with $status"
    [ $status = 0 ] || grep -q "no room\|memory\|allocate" "$work/err" || fail "zo2-bench within $kib KiB says: $(cat "$work/err")"
done

# --- Small stacks ---

small_stack() {
    "$@" >out.txt 2>err.txt || fail "with a stack of 128 KiB: $*: exit status $?: $(cat err.txt)"
}
(
    ulimit -s 128
    export failures=0
    small_stack zo2-plan opt-125m --probe 0.2
    small_stack zo2-pack convert "$HF" small.zo2 --zstd 3
    small_stack zo2-pack verify small.zo2
    for compute in fp32 bf16; do
        small_stack zo2-tune train --model small.zo2 --data "$TEXTS/wordnet_kind.train.jsonl" --run "small-$compute" --batch 4 \
            --steps 2 --queries 2 --pending 2 --eval "$TEXTS/proverbs.test.jsonl" --compute $compute
    done
    small_stack zo2-pack export small.zo2 small --run small-fp32
    small_stack zo2-bench noise update panels --bytes 1M --repeats 1 --seconds 0.001 --no-peers
    [ $failures = 0 ]
) || fail "small stacks"
finish
