#!/bin/sh
# tools/gpu/run, without a GPU: its parts, on the cpu backend and with nothing but coreutils on the PATH; a missing device, missing and
# found libraries, time limits, Ctrl-C.
. "$(dirname "$0")/cli_testing.sh"
RUN=$SRC/tools/gpu/run
BUILD=$(dirname "$BIN")
run() {
    BIG=$HF/config.json MIDDLE=$HF/config.json SMALLER=$HF/config.json TOKENS=16 IDS=500 BUDGETS=64M BENCH_OPTIONS='--seconds 0 --bytes 64K' \
        "$@" "$RUN" --results results --work parts --build "$BUILD"
}
in_report() { # pattern
    grep -q -e "$1" results/report.md || { fail "the report has nothing like '$1'"; cat results/report.md; }
}

# --- Options and parts ---
expect 0 'run --quick ' "$RUN" --help
usage_error() { # pattern, arguments
    _like=$1
    shift
    expect 2 "$_like" "$RUN" "$@"
}
usage_error 'say --quick'
usage_error 'no part "speed"' --part machine speed
usage_error 'needs a name' --part
usage_error '"--fast"' --fast
usage_error 'cuda or cpu, not "tpu"' --quick --backend tpu
usage_error '10 or more, not "5"' --quick --limit 5
expect 1 'build first' "$RUN" --quick --build nowhere
"$RUN" --list >list.txt
quick=0
while read -r name seconds limit _; do
    quick=$((quick + seconds))
    { [ "$limit" -ge "$seconds" ] && [ "$limit" -le 480 ]; } || fail "the part $name has limits $seconds and $limit"
    grep -q "^part_$(echo "$name" | tr '-' '_')() {" "$SRC/tools/gpu/parts.sh" || fail "the part $name does nothing"
done <list.txt
{ [ $quick -ge 300 ] && [ $quick -le 360 ]; } || fail "--quick may take $quick s"

# --- Every part of --quick that needs no GPU, as where there are coreutils, grep and sed but neither Python nor gzip ---
mkdir bare
for command in sh basename cat cp date df dirname env git grep head ln ls mkdir mv nproc paste printenv readlink rm sed seq sync \
    tail timeout tr uname wc; do
    path=$(command -v $command) && ln -s "$path" bare/
done
expect 0 '' run env PATH="$work/bare" sh -c '"$@" --quick --backend cpu --keep' sh
for part in machine link panels gemm steps-13b steps-175b attention; do
    in_report "^$part: passed, "
done
for part in tests decode memcheck; do
    in_report "^$part: left out, the cpu backend is no GPU"
done
in_report '^Left out: tests decode memcheck\.$'
in_report '^- not here: python3, gzip'
in_report '^- host: .* GiB, [0-9]* of them available, [0-9]* GiB of disk free$'
in_report '^- context, libraries and kernels: 0 bytes of the device, '
for row in 'update: fp8-e4m3, gaussian' 'upload, chunks of' 'panels: bf16, rademacher' 'gemm: all of a step' 'gemm: .* and a bias' 'heads of'; do
    in_report "^| .*$row.* | [0-9.e-]* ([0-9.e-]* \.\. [0-9.e-]*) .* | .*: [0-9.e-]* | [0-9.e-]* |"
done
in_report '^| rates: products | [0-9.]* ([0-9.]* \.\. [0-9.]*) GFLOP/s | | |$'
in_report '^| model-64M | --batch 1 --wire fp8-e4m3 --device-mem 64M --pending 64 | [0-9.]* | [0-9.]* | [0-9]* | [0-9]* | [a-z]* | not read, there is no python3 |'
[ "$(grep -c '"run": "model-64M", "step": 2, ' results/metrics.jsonl)" = 2 ] || fail "metrics.jsonl doesn't have both runs"
[ "$(grep -c '"section": "' results/bench.jsonl)" -ge 7 ] || fail "bench.jsonl lacks benches"
[ -f results/trace-model-64M.json ] || fail "no trace"
[ "$(ls results | wc -l)" -le 8 ] || fail "results are more than 8 files"

# --- With Python: rates beside what zo2-bench measured before ---
if command -v python3 >/dev/null && command -v gzip >/dev/null; then
    expect 0 '' run sh -c '"$@" --backend cpu --part steps-13b' sh
    in_report '^| model-64M | .* | [0-9.e-]* ([0-9.]*) | [0-9.e-]* ([0-9.]*) | [0-9.e-]* ([0-9.]*) | [0-9.]* | [0-9.]* |$'
    expect 0 'uploads of' "$SRC/tools/trace-summary" results/trace-model-64M.json.gz
fi
[ ! -e parts ] || fail "left behind: $(ls parts)"

# --- The longer parts ---
expect 0 '' run env BUDGETS='64M 1K' sh -c '"$@" --backend cpu --part tiny delays batch smaller racecheck wires' sh
in_report '^20 steps, losses differ by at most 0 millionths'
in_report '^| model-pending-0 | .* --pending 0 | [0-9]'
in_report '^| model-batch | --batch [0-9]* .* --micro-batch [0-9]* | [0-9]'
in_report '^| panels: fp16, rademacher, 8 folded | [0-9]'
expect 1 '' run env BUDGETS='1K 64M' sh -c '"$@" --backend cpu --part rademacher' sh
in_report '^| model-1K-rademacher | .* | \*\*failed\*\*: .*the smallest that works'
in_report '^| model-64M-rademacher | .* --dist rademacher .* | [0-9]'
in_report '^rademacher: \*\*failed\*\* after '

# --- No device: said, and the parts go on that need none ---
if ! zo2-bench link --backend cuda --bytes 64K --repeats 1 --seconds 0 --no-peers >/dev/null 2>&1; then
    expect 1 '' run sh -c '"$@" --part link machine' sh
    in_report '^- \*\*no device\*\*: ..*\. What needs one is left out$'
    in_report '^link: \*\*not run\*\*, it needs a device'
    in_report '^machine: passed, '
fi

# --- A bundle's folder: CUDA's libraries, which these programs don't need themselves ---
mkdir -p bundle/bin bundle/bin-cpu bundle/lib
cp "$SRC"/tools/gpu/run "$SRC"/tools/gpu/*.sh "$SRC"/tools/trace-summary bundle
ln -s "$SRC/tests" bundle/tests
ln -s "$BIN"/zo2-* bundle/bin
ln -s "$BIN"/zo2-* bundle/bin-cpu
echo 'libcudart.so.77 libcublas.so.77 libcublasLt.so.77' >bundle/needs
printf 'zo2, one\ntwo\n' >bundle/about.txt
mkdir -p other/lib64 tk/lib64 venv/lib/python3.9/site-packages/nvidia/cublas/lib
touch other/lib64/libcudart.so.76 tk/lib64/libcudart.so.77 tk/lib64/libcublas.so.77 # but not cublasLt
for name in cublas cublasLt nvrtc; do
    touch venv/lib/python3.9/site-packages/nvidia/cublas/lib/lib$name.so.77
done
RUN=$work/bundle/run
bundle() {
    "$@" "$RUN" --results results --work parts --part link
}
expect 1 '' bundle env LD_LIBRARY_PATH="$work/other/lib64"
in_report '^- \*\*no device\*\*: libcudart\.so\.77 and libcublas\.so\.77 not found .* there are only .*/other/lib64/libcudart\.so\.76.* Install the CUDA 77 toolkit'
in_report '^- programs: zo2, one; two$'
expect 1 '' bundle env CUDA_PATH="$work/tk"
in_report '\*\*no device\*\*: libcublas\.so\.77 not found'
bundle env CUDA_PATH="$work/tk" VIRTUAL_ENV="$work/venv" >/dev/null 2>&1
in_report '^- programs: .*; cudart from .*/tk/lib64, cuBLAS from .*/venv/lib/python3.9/site-packages/nvidia/cublas/lib$'

# --- What only a GPU can do, with programs that say what theirs would ---
rm -r bundle/bin bundle/tests
mkdir -p bundle/bin bundle/tests/gpu found
program() { # path, text
    printf '#!/bin/sh\n%s\n' "$2" >"$1"
    chmod +x "$1"
}
program bundle/bin/zo2-plan 'exit 0'
program bundle/bin/zo2-bench "echo '{\"results\": []}'"
program bundle/tests/gpu/test_gpu_backend_decode "case \$LD_LIBRARY_PATH in */bundle/lib:*/parts/cuda:*) [ -e '$work/parts/cuda/libnvrtc.so.77' ]; exit ;; esac; exit 1"
program bundle/tests/gpu/test_gpu_backend_attention 'echo "[  FAILED  ] long_rows"; exit 1'
program bundle/tests/gpu/test_gpu_engine_bits 'exit 77'
program found/compute-sanitizer 'echo "$*"; case $* in *decode) exit 0 ;; esac; echo "========= ERROR SUMMARY: 3 errors"; exit 9'
program found/ncu "cat <<'END'
==PROF== Connected to process 1
  void zo2_decode_kernel<1, 2>(zo2_decode_args) (264, 1, 1)x(256, 1, 1), Context 1, Stream 14, Device 0, CC 9.0
    Duration                         us        94.43
    Compute (SM) Throughput           %        62.20
    Registers Per Thread             register/thread             125
END"
on_gpu() {
    env PATH="$1:$PATH" CUDA_PATH="$work/tk" VIRTUAL_ENV="$work/venv" "$RUN" --results results --work parts --part tests decode memcheck
}
expect 1 '' on_gpu "$work/found"
in_report '^- device: opened in [0-9]* s, by the first program$'
in_report '^- backend_decode: passed, '
in_report '^- backend_attention: \*\*failed\*\*, .*: \[  FAILED  \] long_rows'
in_report '^- engine_bits: \*\*skipped\*\*'
in_report '^tests: \*\*failed\*\* after '
in_report '^- void zo2_decode_kernel<1, 2>(zo2_decode_args) (264, 1, 1)x(256, 1, 1), Context 1'
in_report '^  - Duration: 94.43 us$'
in_report '^  - Registers Per Thread: 125 register/thread$'
in_report '^decode: passed, '
in_report '^- backend_lse: \*\*failed\*\*, .*ERROR SUMMARY: 3 errors'
in_report '^memcheck: \*\*failed\*\* after '
grep -q -e '--tool memcheck --error-exitcode 9 .*/bundle/tests/gpu/test_gpu_backend_decode$' results/log.txt || fail "not how memcheck is asked"
program found/ncu 'echo "==WARNING== No kernels were profiled."'
expect 1 '' on_gpu "$work/found"
in_report '^Nsight Compute saw no kernel like panels_kernel|decode_kernel: ==WARNING== No kernels were profiled'
in_report '^decode: \*\*failed\*\* after '
program bundle/bin/zo2-bench 'echo "zo2-bench: link: the device is on fire" >&2; exit 1'
expect 1 '' on_gpu "$work/found"
in_report '^- \*\*no device\*\*: the device is on fire\. What needs one is left out'
program bundle/bin/zo2-bench "echo '{\"results\": []}'"
if ! command -v ncu >/dev/null && ! command -v compute-sanitizer >/dev/null && [ ! -d /usr/local/cuda/compute-sanitizer ]; then
    expect 1 '' on_gpu "$work"
    in_report '^decode: left out, there is no Nsight Compute'
    in_report '^memcheck: left out, there is no compute-sanitizer'
fi

# --- A part that takes too long, and Ctrl-C ---
rm bundle/bin-cpu/zo2-bench
cat >bundle/bin-cpu/zo2-bench <<'END'
#!/bin/sh
case $1 in
    panels) echo panels >&2; sleep 60 ;;
    *) echo '{"results": [{"section": "s", "name": "n", "unit": "u", "lower_is_better": false, "median": 1.23456, "min": 1, "max": 2, "against": []}]}' ;;
esac
END
chmod +x bundle/bin-cpu/zo2-bench
expect 1 '' "$RUN" --results results --work parts --backend cpu --limit 10 --part link panels gemm
in_report '^| s: n | 1.234 (1 .. 2) u | | |$'
in_report '^panels: \*\*cut short\*\* after [0-9]* s, its limit'
in_report '^gemm: passed, '
in_report '^Failed, cut short or without a device: 1 of 3, '

rm -r results
"$RUN" --results results --work parts --backend cpu --part link panels gemm >out.txt 2>&1 &
pid=$!
tries=0
until grep -q panels results/log.txt 2>/dev/null || [ $tries -gt 1000 ]; do
    tries=$((tries + 1))
    sleep 0.02
done
kill -TERM $pid
wait $pid
status=$?
[ $status = 130 ] || fail "exit status $status after SIGTERM"
in_report '^link: passed, '
in_report '^\*\*Interrupted\*\* in the part panels after '
[ ! -e parts ] || fail "left behind: $(ls parts)"
finish
