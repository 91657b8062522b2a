# work.sh: what the parts share: packs, steps, figures of zo2-bench, tests and profilers.

log_to() { # stderr is the log; a heading in it
    printf '\n-- %s\n' "$*" >&2
}

leave_out() { # for want of a tool
    echo "$*" >"$work/reason"
    exit 77
}

# find_tool NAME PATTERN...: $tool, from the PATH or where installers put it.
find_tool() {
    tool=$(command -v "$1") && return
    shift
    for tool in "$@"; do
        [ ! -x "$tool" ] || return 0
    done
    return 1
}

# model_name MODEL: "opt-13b", or a configuration's folder.
model_name() {
    case $1 in
        *.json) basename "$(dirname "$1")" ;;
        *) basename "$1" ;;
    esac
}

# bench NAME SECTION OPTION...: of zo2-bench, kept in $work/bench-NAME.json; a table.
bench() {
    figures=$work/bench-$1.json
    shift
    log_to "zo2-bench $*"
    repeats=5
    [ -z "$ZO2_QUICK" ] || repeats=3
    # shellcheck disable=SC2086 # words
    zo2 bench "$@" --backend "$backend" --repeats $repeats --no-peers --json ${BENCH_OPTIONS-} >"$figures" || { rm -f "$figures"; return 1; }
    cat "$figures" >>"$results/bench.jsonl"
    echo "| zo2-bench $1 | zo2 | against | ratio |"
    echo "| --- | --- | --- | --- |"
    bench_table "$figures"
    echo
}

bench_link() {
    bench link link --wire fp8-e4m3 --tokens "$tokens"
}

bench_gemm() { # model
    bench "gemm-$(model_name "$1")" gemm --model "$1" --tokens "$tokens"
}

# make_pack MODEL: $pack, all layers in the place of one; $name.
make_pack() {
    name=$(model_name "$1") pack=$work/$(model_name "$1").zo2
    [ -f "$pack" ] && return
    log_to "zo2-pack synth $1"
    zo2 pack synth "$1" "$pack" --alias >&2
}

# Rows of token ids that any OPT vocabulary has, one loss for each token but the first.
make_lines() {
    [ -f "$work/lines.jsonl" ] && return
    for line in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        first=$((4 + line * 7919 % (ids - tokens - 4)))
        echo "{\"tokens\": [2, $(seq -s ', ' $first $((first + tokens - 2)))]}"
    done >"$work/lines.jsonl"
}

# planned KEY DEFAULT OPTION...: what zo2-plan proposes for $pack and one row; DEFAULT where it proposes nothing.
planned() {
    key=$1 default=$2
    shift 2
    value=$(of "$(zo2 plan "$pack" --backend "$backend" --wire fp8-e4m3 --batch 1 --seq "$tokens" --json "$@")" "$key")
    case $value in
        "" | 0 | null) echo "$default" ;;
        *) echo "$value" ;;
    esac
}

# keep_trace FILE: into the results, as long as those are not more than eight files.
keep_trace() {
    set -- "$1" "$results"/*
    [ $# -le 8 ] || return 0
    if command -v gzip >/dev/null; then
        gzip -c "$1" >"$results/$(basename "$1").gz"
    else
        cp "$1" "$results"
    fi
}

# cells TRACE MODEL ROWS: a row's last cells, out of the trace and of what zo2-bench measured before.
cells() {
    command -v python3 >/dev/null || { echo " not read, there is no python3 | | | | |"; return; }
    cat "$work/bench-link.json" "$work/bench-gemm-$2.json" >"$work/bench" 2>/dev/null
    python3 "$summary" "$1" --cells --bench "$work/bench" --rows "$3"
}

# timed RUN ROWS OPTION...: three steps of $pack (of the model $name) with batches of ROWS rows, and a line about the last.
timed() {
    run=$1 rows=$2 trace=$work/trace-$1.json
    shift 2
    rm -rf "$work/run" "$trace"
    make_lines
    log_to "zo2-tune train: $run $*"
    # The weights mean nothing; written out they would be a hundred layers of them.
    if ! zo2 tune train --model "$pack" --data "$work/lines.jsonl" --run "$work/run" --backend "$backend" --steps 3 --batch "$rows" \
        --seq "$tokens" --no-snapshot --trace "$trace" "$@" >"$work/train.log" 2>&1; then
        cat "$work/train.log" >&2
        echo "| $run | --batch $rows $* | **failed**: $(last_words "$work/train.log") | | | | | | | | | |"
        return 1
    fi
    cat "$work/train.log" >&2
    sed "s/^{/{\"run\": \"$run\", /" "$work/run/metrics.jsonl" >>"$results/metrics.jsonl"
    steps_row "$run" "--batch $rows $*" "$work/run/metrics.jsonl" "$(cells "$trace" "$name" "$rows")"
    keep_trace "$trace"
    rm -rf "$work/run"
}

# prepare MODEL: its pack, and what its steps are compared with unless that was measured (or tried) before; a table's head.
prepare() {
    make_pack "$1" || return 1
    : >>"$work/tried"
    for what in link "gemm $1"; do
        ! grep -qxF "$what" "$work/tried" || continue
        echo "$what" >>"$work/tried"
        # shellcheck disable=SC2086 # words
        bench_$what
    done
    steps_header
}

# in_budgets MODEL SUFFIX OPTION...
in_budgets() {
    prepare "$1" || return 1
    suffix=$2 good=0
    shift 2
    for budget in $budgets; do
        timed "$name-$budget$suffix" 1 --wire fp8-e4m3 --device-mem "$budget" "$@" || good=1
    done
    return $good
}

find_sanitizer() {
    find_tool compute-sanitizer /usr/local/cuda*/bin/compute-sanitizer /usr/local/cuda*/compute-sanitizer/compute-sanitizer
}

# sanitize TOOL TEST...: what it reports is a failure. Of memcheck only accesses: calls that fail the test looks at itself, and some of
# the libraries' fail by design (a runtime asks its driver for functions that came later).
sanitize() {
    find_sanitizer || leave_out "there is no compute-sanitizer"
    checker=$1 good=0
    shift
    for name in "$@"; do
        log_to "compute-sanitizer --tool $checker, $name"
        if [ "$checker" = memcheck ]; then
            gpu_test "backend_$name" "$tool" --tool "$checker" --error-exitcode 9 --report-api-errors no || good=1
        else
            gpu_test "backend_$name" "$tool" --tool "$checker" --error-exitcode 9 || good=1
        fi
    done
    return $good
}

# gpu_test NAME COMMAND...: the test under COMMAND (or by itself); a line.
gpu_test() {
    test=$1 since=$(date +%s)
    shift
    (cd "$ZO2_TESTS" && with_libraries "$@" "$ZO2_GPU_TESTS/test_gpu_$test") >"$work/test.log" 2>&1
    status=$?
    cat "$work/test.log" >&2
    since=$(($(date +%s) - since))
    case $status in
        0) echo "- $test: passed, $since s"; return ;;
        77) echo "- $test: **skipped**, it found no device to use" ;; # a pass that shows nothing
        *) echo "- $test: **failed**, $since s: $(grep -m 1 -e ' error: ' -e 'ERROR SUMMARY' -e '\[  FAILED' "$work/test.log" || last_words "$work/test.log")" ;;
    esac
    return 1
}

find_ncu() {
    find_tool ncu /usr/local/cuda*/bin/ncu /opt/nvidia/nsight-compute/*/ncu
}

# profile KERNELS SKIPPED LAUNCHES COMMAND...: what $tool, Nsight Compute, says of them; details in the log.
profile() {
    kernels=$1 skipped=$2 launches=$3
    shift 3
    log_to "ncu, $kernels"
    set -- "$tool" --kernel-name "regex:$kernels" --launch-skip "$skipped" --launch-count "$launches" --target-processes all --clock-control none \
        --section SpeedOfLight --section ComputeWorkloadAnalysis --section MemoryWorkloadAnalysis --section LaunchStats --section Occupancy \
        --section WarpStateStats --section InstructionStats "$@"
    with_libraries "$@" >"$work/ncu.log" 2>&1
    status=$?
    cat "$work/ncu.log" >&2
    [ $status = 0 ] || { echo "Nsight Compute failed: $(last_words "$work/ncu.log")"; return 1; }
    grep -q '^ *Duration ' "$work/ncu.log" || { echo "Nsight Compute saw no kernel like $kernels: $(last_words "$work/ncu.log")"; return 1; }
    echo "Nsight Compute (all of it in log.txt):"
    echo
    sed -n 's/^ *\(.*), Context [0-9]*, .*\)$/- \1/p
        s/^ *\(Duration\|Compute (SM) Throughput\|DRAM Throughput\|Executed Ipc Active\|Registers Per Thread\|Achieved Occupancy\)  *\([^ ]*\)  *\([0-9.,]*\) *$/  - \1: \3 \2/p' "$work/ncu.log"
    echo
}
