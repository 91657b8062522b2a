# parts.sh: what there is to do on a GPU, once for `run --quick`, `run --full` and tools/check-gpu. A part is a line of parts() and a
# function part_NAME, which prints Markdown and exits with 0, 77 (leave_out) or anything else for a failure.

# In this order. The limits of --quick add up to 6 minutes.
parts() {
    cat <<'END'
machine 15 60 host the machine, its driver and libraries; the host's updates; the tiny model on the CPU
link 25 120 device wires from masters to the device, residual streams back
panels 25 180 device wires decoded and perturbed on the device; the rates that plans elsewhere can count with
gemm 40 300 device products of opt-13b and opt-175b by tiles, beside whole matrices
tests 50 480 gpu operations, logits, bounds and same bits on the device
steps-13b 45 300 device three steps of opt-13b in each budget
steps-175b 85 480 device three steps of opt-175b, whose layers share storage, in each budget
decode 20 240 gpu the decode kernel alone, in Nsight Compute
attention 25 240 device attention alone, of opt-13b and opt-175b, and in Nsight Compute
memcheck 30 480 gpu compute-sanitizer memcheck of decode and attention, then of other operations
racecheck 0 480 gpu compute-sanitizer racecheck of attention, whose threads share memory
synccheck 0 480 gpu compute-sanitizer synccheck of attention
tiny 0 240 device twenty steps of the tiny model, losses beside those on the CPU
delays 0 480 device opt-13b with every update in time, and as late as the plan proposes
rademacher 0 480 device opt-175b with Rademacher noise in each budget
bf16 0 480 device opt-13b and opt-175b with the bf16 wire
batch 0 480 device opt-13b and opt-175b in the batches that the plan proposes
smaller 0 480 device opt-1.3b and opt-6.7b, a row and eight
wires 0 480 device every wire decoded, with both noises
END
}

part_machine() {
    echo "- system: $(uname -sr) $(getconf GNU_LIBC_VERSION 2>/dev/null)"
    echo "- host: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, $(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) / 1048576)) GiB, $(($(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo) / 1048576)) of them available, $(($(df -Pk "$work" | sed -n '$s/^.* \([0-9][0-9]*\)  *[0-9]*% .*/\1/p') / 1048576)) GiB of disk free"
    echo "- memory that may be pinned: $(ulimit -l) KiB"
    if find_tool nvidia-smi /usr/local/nvidia/bin/nvidia-smi; then
        "$tool" --query-gpu=name,memory.total,driver_version,pcie.link.gen.max,pcie.link.width.max,clocks.max.sm,power.limit --format=csv,noheader |
            sed 's/^/- device (name, memory, driver, PCIe generation and width, clock, power): /'
        "$tool" >&2
    else
        echo "- device: there is no nvidia-smi to ask"
    fi
    missing=''
    for what in python3 gzip; do
        command -v $what >/dev/null || missing="$missing, $what"
    done
    find_ncu || missing="$missing, ncu"
    find_sanitizer || missing="$missing, compute-sanitizer"
    [ -z "$missing" ] || echo "- not here: ${missing#, }"
    echo
    good=0 # what needs no device
    (backend=cpu && bench update update --wire fp8-e4m3 --bytes 64M) || good=1
    tiny_losses cpu 3 || good=1
    echo "The tiny model on the CPU, losses of three steps: $(paste -sd ' ' "$work/losses-cpu")"
    return $good
}

part_link() {
    echo link >>"$work/tried"
    echo "- context, libraries and kernels: $(of "$(zo2 plan opt-125m --backend "$backend" --batch 1 --seq 128 --probe 0 --json)" context_bytes) bytes of the device, 64 MiB of slack included"
    echo
    bench_link
}

part_panels() {
    bench panels panels --wire fp8-e4m3
    good=$?
    bench panels-bf16 panels --wire bf16 || good=1
    bench rates rates --model "$middle" --wire fp8-e4m3 --tokens "$tokens" && return $good
}

part_gemm() {
    good=0
    for model in $middle $big; do
        echo "gemm $model" >>"$work/tried"
        bench_gemm "$model" || good=1
    done
    return $good
}

# The same bits in many ways, which take long, come last and not in --quick: hundreds of engines are opened for them.
part_tests() {
    good=0 bits=''
    for test in "$ZO2_GPU_TESTS"/test_gpu_backend_* "$ZO2_GPU_TESTS"/test_gpu_engine_*; do
        case $test in
            */test_gpu_engine_bits) bits=1 ;;
            *) gpu_test "${test##*/test_gpu_}" || good=1 ;;
        esac
    done
    if [ -n "$bits" ] && [ -n "$ZO2_QUICK" ]; then
        echo "- engine_bits: not in --quick"
    elif [ -n "$bits" ]; then
        gpu_test engine_bits || good=1
    fi
    return $good
}

# As many updates late as an update may be, so that steps wait for the device and not for the host.
part_steps_13b() {
    in_budgets "$middle" '' --pending 64
}

part_steps_175b() {
    in_budgets "$big" '' --pending 64
}

# alone SECTION KERNELS SKIPPED LAUNCHES OPTION...: kernels of a section of zo2-bench, in Nsight Compute. Each row has two passes.
alone() {
    section=$1 kernels=$2 skipped=$3 launches=$4
    shift 4
    profile "$kernels" "$skipped" "$launches" "$ZO2_BIN/zo2-bench" "$section" --backend cuda --repeats 1 --seconds 0 --no-peers "$@"
}

part_decode() {
    find_ncu || leave_out "there is no Nsight Compute; the rates are in panels"
    good=0
    for dist in gaussian rademacher; do
        echo "fp8-e4m3, $dist:"
        echo
        # four tiles a pass: the second one's last two without updates to fold, then the first two of the row that folds them
        alone panels 'panels_kernel|decode_kernel' 6 4 --wire fp8-e4m3 --dist $dist || good=1
    done
    return $good
}

part_attention() {
    bench attention attention --model "$middle" --tokens "$tokens" || return 1
    bench attention-big attention --model "$big" --tokens "$tokens" || return 1
    [ "$backend" = cpu ] || ! find_ncu || alone attention attention 1 1 --model "$middle" --tokens "$tokens"
}

part_memcheck() {
    set -- decode attention
    [ -n "$ZO2_QUICK" ] || set -- "$@" elementwise rmsnorm rope gate lse
    sanitize memcheck "$@"
}

part_racecheck() {
    sanitize racecheck attention
}

part_synccheck() {
    sanitize synccheck attention
}

# tiny_losses BACKEND STEPS: of the tiny model in fp32, one a line, to $work/losses-BACKEND.
tiny_losses() {
    rm -rf "$work/tiny"
    log_to "zo2-tune train: the tiny model, $1"
    [ -f "$work/tiny.zo2" ] || zo2 pack convert "$ZO2_TESTS/data/tiny-opt/model" "$work/tiny.zo2" >&2 || return 1
    zo2 tune train --model "$work/tiny.zo2" --data "$ZO2_TESTS/data/tiny-opt/data/wordnet_kind.train.jsonl" --run "$work/tiny" \
        --backend "$1" --compute fp32 --lr 1e-5 --steps "$2" >&2 || return 1
    sed -n 's/.*"loss": *\([^,]*\),.*/\1/p' "$work/tiny/metrics.jsonl" >"$work/losses-$1"
}

part_tiny() {
    tiny_losses cpu 20 && mv "$work/losses-cpu" "$work/losses" && tiny_losses "$backend" 20 || return 1
    paste -d ' ' "$work/losses" "$work/losses-$backend" | {
        worst=0 steps=0
        while read -r host device; do
            apart=$(($(millionths "$host") - $(millionths "$device")))
            [ "${apart#-}" -le "$worst" ] || worst=${apart#-}
            steps=$((steps + 1))
        done
        echo "$steps steps, losses differ by at most $worst millionths."
        [ $steps = 20 ] && [ "$worst" -le 1000 ]
    }
}

part_delays() {
    prepare "$middle" || return 1
    good=0
    for k in 0 "$(planned proposed_pending 8)"; do
        timed "$name-pending-$k" 1 --wire fp8-e4m3 --pending "$k" || good=1
    done
    return $good
}

part_rademacher() {
    in_budgets "$big" -rademacher --dist rademacher --pending 64
}

part_bf16() {
    good=0
    for model in $middle $big; do
        prepare "$model" && timed "$name-bf16" 1 --wire bf16 --pending 64 || good=1
        echo
    done
    return $good
}

part_batch() {
    good=0
    for model in $middle $big; do
        prepare "$model" || { good=1; continue; }
        rows=$(planned proposed_batch 8)
        timed "$name-batch" "$rows" --wire fp8-e4m3 --micro-batch "$(planned proposed_batch_micro 1)" || good=1
        echo
    done
    return $good
}

part_smaller() {
    good=0
    for model in ${SMALLER:-opt-1.3b opt-6.7b}; do
        prepare "$model" || { good=1; continue; }
        timed "$name" 1 --wire fp8-e4m3 && timed "$name-batch" 8 --wire fp8-e4m3 --micro-batch 2 || good=1
        echo
    done
    return $good
}

part_wires() {
    bench wires panels --all
}
