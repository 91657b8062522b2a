#!/usr/bin/env bash
# What nvcc makes of noise, decode, fold and perturbation: no operation is approximate or flushes subnormals but the one that
# zo2_sqrt_bounded() (codec/rn.h) starts from, and no product is contracted with a sum beyond the fma that the source writes. The latter is seen by compiling with and
# without -fmad=false: the text must not depend on that flag. A control shows that plain arithmetic does.
set -u

nvcc=$(command -v nvcc || ls "${CUDA_PATH:-/usr/local/cuda}"/bin/nvcc 2>/dev/null)
[ -n "$nvcc" ] || { echo "skipped: no nvcc"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
fail() { echo "test_ptx: $*" >&2; exit 1; }

ptx() { # source, options...
    local source=$1
    shift
    "$nvcc" -std=c++17 -I "$SRC" --ptx -arch=compute_75 "$@" -o "$work/out.ptx" "$source" || fail "$source: nvcc failed"
    cat "$work/out.ptx"
}

cat >"$work/control.cu" <<'CONTROL'
__global__ void control(float *x, float a, float b)
{
    x[0] = x[0] * a + b;
    x[1] = x[1] / b;
}
CONTROL
ptx "$work/control.cu" >"$work/plain" && ptx "$work/control.cu" -fmad=false >"$work/apart" || exit 1
[ "$(grep -c 'fma\.rn\.f32' "$work/plain")" -gt "$(grep -c 'fma\.rn\.f32' "$work/apart")" ] ||
    fail "control: contraction isn't seen"
ptx "$work/control.cu" -use_fast_math | grep -qE '\.(approx|ftz)' || fail "control: approximation isn't seen"

ptx "$SRC/kernels/cuda/decode.cu" >"$work/plain" || exit 1
ptx "$SRC/kernels/cuda/decode.cu" -fmad=false >"$work/apart" || exit 1
fma=$(grep -c 'fma\.rn\.f32' "$work/apart")
[ "$fma" -gt 100 ] || fail "only $fma fma in all decode kernels: is this still the code?"
for kind in 'fma\.rn\.f32' 'mul\.(rn\.)?f32' 'add\.(rn\.)?f32' 'sub\.(rn\.)?f32'; do
    [ "$(grep -cE "$kind" "$work/plain")" = "$(grep -cE "$kind" "$work/apart")" ] ||
        fail "the number of ${kind//\\/} depends on -fmad"
done
for file in plain apart; do
    ! grep -E '\.(approx|ftz)|\bmad\.(rn\.)?f32|div\.full|sqrt' "$work/$file" | grep -vE 'rsqrt\.approx\.ftz\.f32' | head -3 |
        grep . || fail "approximate or contracted operations, or a square root of another kind"
done
# A root takes 4 fma behind its approximation, a normal pair 20 in all.
roots=$(grep -c 'rsqrt\.approx\.ftz\.f32' "$work/apart")
[ "$roots" -gt 100 ] && [ "$fma" -ge $((20 * roots)) ] || fail "$roots roots with only $fma fma"
# For each row of wires.h a kernel for each distribution that does everything, and one for each compute type with each
# distribution and without noise.
wires=$(grep -c '^ *X(ZO2_WIRE_' "$SRC/codec/wires.h")
for kind in "decode 2" "panels 9"; do
    kernels=$(grep -c "\.entry .*zo2_${kind% *}_kernel" "$work/apart")
    [ "$wires" -ge 5 ] && [ "$kernels" = $((wires * ${kind#* })) ] ||
        fail "$kernels kernels zo2_${kind% *}_kernel, not $wires wires x ${kind#* }"
done
echo "$wires wires, $fma fma and $roots roots, all written"
