#!/usr/bin/env bash
# What decoding a weight and passes over activations cost in machine code, by tools/sass-count: ceilings for each kind of wire and
# noise, and for each pass and type; no spills; and that attention uses tensor cores and leaves room for three blocks a multiprocessor.
# Controls show that the tool counts what it says, and sees a spill.
set -u

command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
fail() { echo "test_sass_count: $*" >&2; exit 1; }

# A chain of n fma, which nothing can shorten; 200 values that are live at once, in 32 registers.
cat >"$work/control.cu" <<'CONTROL'
template <int N> __device__ void chain(float *x)
{
    float v = x[threadIdx.x];
#pragma unroll
    for (int i = 0; i < N; i++)
        v = __fmaf_rn(v, v, x[0]);
    x[threadIdx.x] = v;
}
extern "C" __global__ void fma_10(float *x) { chain<10>(x); }
extern "C" __global__ void fma_110(float *x) { chain<110>(x); }
extern "C" __global__ __launch_bounds__(1024, 2) void spills(float *x, const float *y)
{
    float v[200], sum = 0;
#pragma unroll
    for (int i = 0; i < 200; i++)
        v[i] = y[i * 1024 + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 200; i++)
        sum = __fmaf_rn(sum, v[i], v[199 - i]);
    x[threadIdx.x] = sum;
}
CONTROL
"$SRC/tools/sass-count" --json "$work/control.cu" >"$work/control.json"
status=$?
[ $status = 77 ] && { echo "skipped: no nvcc"; exit 77; }
[ $status = 0 ] || fail "sass-count failed on the control"
"$SRC/tools/sass-count" --all --json >"$work/decode.json" || fail "sass-count failed"
for arch in 75 80 90; do
    "$SRC/tools/sass-count" --arch sm_$arch --json "$SRC/kernels/cuda/attention.cu" >"$work/attention-$arch.json" ||
        fail "sass-count failed on attention for sm_$arch"
done
"$SRC/tools/sass-count" "$work/nothing.cu" 2>"$work/error" && fail "a source that isn't there was counted"
grep -q 'nothing.cu' "$work/error" || fail "the message doesn't name the source"

"$SRC/tools/sass-count" --passes --all --json >"$work/passes.json" || fail "sass-count --passes failed"
for length in 10 50; do # a pass with a loop of that many fma for an element, and one of doubles, which is none over elements
    cat >"$work/pass_$length.cu" <<CONTROL
template <typename E, int W> __global__ void zo2_convert_rows_kernel(E *y, double *sums, int n)
{
    double sum = 0;
#pragma unroll 1
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        E v = y[i];
#pragma unroll
        for (int j = 0; j < $length; j++)
            v = __fmaf_rn(v, v, 0.5f);
        y[i] = v;
    }
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        sum += sums[i];
        sums[i] = sum;
    }
}
template __global__ void zo2_convert_rows_kernel<float, 8>(float *, double *, int);
CONTROL
    "$SRC/tools/sass-count" --passes --all --json "$work/pass_$length.cu" >"$work/pass_$length.json" || fail "sass-count failed on a pass"
done

python3 - "$work/control.json" "$work/decode.json" "$SRC/codec/wires.h" "$work/passes.json" "$work"/pass_{10,50}.json "$work/attention-" <<'CHECK'
import json
import re
import sys

control = {k["kernel"]: k for k in json.load(open(sys.argv[1]))["kernels"]}
assert control["fma_110"]["fma"] - control["fma_10"]["fma"] == 100, control
assert control["fma_110"]["instructions"] - control["fma_10"]["instructions"] == 100, control
assert control["fma_10"]["instructions"] < 30, control
assert control["spills"]["spilled"] > 0 and control["fma_110"]["spilled"] == 0, control

kernels = json.load(open(sys.argv[2]))["kernels"]
wires = len(re.findall(r"X\(ZO2_WIRE_", open(sys.argv[3]).read()))
assert wires >= 5 and len(kernels) == wires * (3 * 3 + 2), (wires, len(kernels))
assert all(k["spilled"] == 0 for k in kernels), [k for k in kernels if k["spilled"]]
# Instructions a weight: what kernels/cuda/README.md promises, and of other wires that they are no worse than their kind.
ceilings = {
    ("fp8-e4m3", "gaussian"): 60, ("fp8-e4m3", "rademacher"): 22, ("bf16", "gaussian"): 58, ("bf16", "rademacher"): 20,
    ("fp8-e5m2", "gaussian"): 60, ("fp8-e5m2", "rademacher"): 22, ("fp16", "gaussian"): 58, ("fp16", "rademacher"): 20,
    ("fp32", "gaussian"): 58, ("fp32", "rademacher"): 20, ("f10", "gaussian"): 58, ("f10", "rademacher"): 25,
    ("f8", "gaussian"): 58, ("f8", "rademacher"): 22, ("f6", "gaussian"): 58, ("f6", "rademacher"): 26,
    ("bf12", "gaussian"): 58, ("bf12", "rademacher"): 25, ("i4", "gaussian"): 53, ("i4", "rademacher"): 24,
}
seen, bad = set(), []
for k in kernels:
    kind = (k["wire"], k["noise"])
    if k["kernel"] == "panels" and kind in ceilings:
        seen.add(kind)
        print("%-9s %-5s %-10s %5.1f of %d, %d registers" % (k["wire"], k["panel"], k["noise"], k["weight"], ceilings[kind],
                                                            k["registers"]))
        if k["weight"] > ceilings[kind] or not 0 < k["alu"] + k["fma"] < k["weight"]:
            bad.append(k)
assert seen == set(ceilings), set(ceilings) - seen
# What decoding adds to panels of a wire that needs none; what bf12 has to do for escapes is a function of its own.
assert all((k["called"] > 0) == (k["wire"] == "bf12") for k in kernels), [k for k in kernels if k["called"]]
plain = {(k["wire"], k["panel"]): k["weight"] for k in kernels if k["kernel"] == "panels" and k["noise"] == "none"}
for wire, most in ("f10", 10), ("f6", 10), ("f8", 7), ("bf12", 8), ("i4", 6):
    for panel in "fp32", "fp16", "bf16":
        decoding = plain[wire, panel] - plain["fp32", panel]
        print("%-9s %-5s decoding   %5.1f of %d" % (wire, panel, decoding, most))
        if not 0 < decoding <= most:
            bad.append((wire, panel, decoding))

short, long = (json.load(open(f))["passes"][0]["element"] for f in sys.argv[5:7])
assert long - short == 40 and 10 < short < 20, (short, long)
# Instructions an element: what kernels/cuda/README.md promises.
ceilings = {
    "bias, scale": (5, 6.5), "bias, scale, ReLU": (7, 8.5), "bias, scale, GELU": (31.5, 33), "conversion of rows": (2.3, 2.8),
    "bias, scale, SiLU": (50, 52), "bias, scale, GELU by tanh": (54, 56), "gate": (7, 9.5), "gate, ReLU": (9.5, 11.5),
    "gate, GELU": (33.5, 35.5), "gate, SiLU": (53, 55.5), "gate, GELU by tanh": (57, 59.5), "layer norm": (15, 15.5),
    "RMS norm": (9.2, 9.5), "RMS norm of 16 bits": (None, 10), "rotary positions": (7, 8.2), "log-sum-exp": (33, None),
    "log-sum-exp that skips rows": (39, None),
}
passes = json.load(open(sys.argv[4]))["passes"]
assert len(passes) == 14 * 3 + 2 + 2 and {p["pass"] for p in passes} == set(ceilings), passes
for p in passes:
    most = ceilings[p["pass"]][p["type"] != "fp32"]
    print("%-27s %-5s %5.1f of %.1f, %d registers" % (p["pass"], p["type"], p["element"], most, p["registers"]))
    if p["element"] > most or p["spilled"]:
        bad.append(p)
parts = {p["pass"]: set(p["parts"]) for p in passes}
norms = {"hold", "sum of products", "result"}
assert parts["RMS norm"] == parts["RMS norm of 16 bits"] == norms, parts
assert parts["layer norm"] == {"hold", "sum", "sum of products", "result"}, parts
assert parts["log-sum-exp"] == parts["log-sum-exp that skips rows"] == {"hold", "sum of products"}, parts
# Of a tile: scores of 16 x 32 and as many values of 16 x D, 2 D / 16 products of 16 x 16 x 16 each, which sm_75 makes of
# four instructions and others of two. sm_75 has no bf16: its kernel is empty.
for arch in (75, 80, 90):
    kernels = json.load(open("%s%d.json" % (sys.argv[7], arch)))["kernels"]
    tiles = {m.groups(): k for k in kernels if (m := re.search(r"attention_tiles_kernelI\d+zo2_(b?f16)_elementLi(\d+)E", k["kernel"]))}
    assert len(tiles) == 6 and len(kernels) == 12, [k["kernel"] for k in kernels]
    assert all(k["spilled"] == 0 for k in kernels), kernels
    for (kind, size), k in tiles.items():
        products = 0 if (arch, kind) == (75, "bf16") else int(size) // 16 * 4 * (4 if arch == 75 else 2)
        print("attention %-4s of %3s, sm_%d: %4d instructions, %3d for tensor cores, %3d registers" % (
            kind, size, arch, k["instructions"], k["matrix"], k["registers"]))
        if k["matrix"] != products or k["registers"] > 168:
            bad.append(k)
sys.exit("over the ceiling: %s" % bad if bad else 0)
CHECK
[ $? = 0 ] || fail "see above"
