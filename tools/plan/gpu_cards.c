/* gpu_cards.c: see gpu_cards.h. Figures are the makers' data sheets and architecture papers. */
#include "tools/plan/gpu_cards.h"

#include <math.h>

/* What a run may expect of a peak. Not measured: products of large matrices by cuBLAS, one pinned copy, and the decode kernel,
 * whose warps can't hide everything. */
#define OF_PRODUCTS     0.7
#define OF_LINK         0.8
#define OF_INSTRUCTIONS 0.8
#define OF_MEMORY       0.8

const gpu_card gpu_cards[] = {
    {"t4", GPU_SM75, 40, 1.59, 65, 16, 320, 3, 16},
    {"rtx-3060", GPU_SM86, 28, 1.777, 25.5, 12, 360, 4, 16},
    {"rtx-3090", GPU_SM86, 82, 1.695, 71, 24, 936, 4, 16},
    {"rtx-4060-ti", GPU_SM89, 34, 2.535, 44.1, 16, 288, 4, 8},
    {"rtx-4090", GPU_SM89, 128, 2.52, 165.2, 24, 1008, 4, 16},
    {"rtx-5090", GPU_SM120, 170, 2.407, 209.5, 32, 1792, 5, 16},
    {"a100-40", GPU_SM80, 108, 1.41, 312, 40, 1555, 4, 16},
    {"a100-80", GPU_SM80, 108, 1.41, 312, 80, 1935, 4, 16},
    {"h100-pcie", GPU_SM90, 114, 1.62, 756, 80, 2000, 5, 16},
    {"h100-sxm", GPU_SM90, 132, 1.755, 989, 80, 3350, 5, 16},
    {"h200", GPU_SM90, 132, 1.755, 989, 141, 4800, 5, 16},
    {0},
};

/* Cycles of a multiprocessor that the instructions of a weight take, both panels in fp16: the fullest of its pipes, by the
 * counts of tools/sass-count (kernels/cuda/README.md). Two wires of a kind differ by a twentieth; the slower one is here. */
static const struct {
    /* wires of 16 bits and more; fp8-*; f10, f8, f6, bf12; i4. Gaussian, Rademacher */
    double bits16[2], fp8[2], e2m[2], i4[2];
} decode_cycles[] = {
    [GPU_SM75] = {{0.383, 0.145}, {0.440, 0.225}, {0.412, 0.196}, {0.393, 0.180}},
    [GPU_SM80] = {{0.383, 0.129}, {0.422, 0.227}, {0.406, 0.197}, {0.386, 0.173}},
    [GPU_SM86] = {{0.341, 0.129}, {0.421, 0.242}, {0.403, 0.197}, {0.378, 0.173}},
    [GPU_SM89] = {{0.341, 0.129}, {0.361, 0.142}, {0.403, 0.197}, {0.378, 0.173}},
    [GPU_SM90] = {{0.353, 0.145}, {0.370, 0.157}, {0.409, 0.196}, {0.391, 0.177}},
    [GPU_SM120] = {{0.347, 0.133}, {0.365, 0.152}, {0.399, 0.186}, {0.386, 0.178}},
};

/* The same of one pending update of one query: 49 instructions and 22, of which a cycle takes 128. */
static const double fold_cycles[2] = {0.383, 0.172};

/* Bytes a second of one lane, by generation. */
static double lane_bytes(unsigned pcie)
{
    return 1e9 * (pcie >= 5 ? 3.938 : pcie == 4 ? 1.969 : 0.985);
}

static double wire_bytes(zo2_wire wire)
{
    switch (wire) {
    case ZO2_WIRE_FP32: return 4;
    case ZO2_WIRE_E4M3:
    case ZO2_WIRE_E5M2:
    case ZO2_WIRE_F8: return 1 + 2.0 / 128;
    case ZO2_WIRE_F10: return 1.25 + 2.0 / 128;
    case ZO2_WIRE_F6: return 0.75 + 2.0 / 128;
    case ZO2_WIRE_BF12: return 1.5 + 3.0 / 256;
    case ZO2_WIRE_I4: return 0.5 + 2.0 / 32;
    default: return 2;
    }
}

static double cycles_of(gpu_architecture a, zo2_wire wire, zo2_dist dist)
{
    int noise = dist == ZO2_RADEMACHER;
    switch (wire) {
    case ZO2_WIRE_E4M3:
    case ZO2_WIRE_E5M2: return decode_cycles[a].fp8[noise];
    case ZO2_WIRE_F10:
    case ZO2_WIRE_F8:
    case ZO2_WIRE_F6:
    case ZO2_WIRE_BF12: return decode_cycles[a].e2m[noise];
    case ZO2_WIRE_I4: return decode_cycles[a].i4[noise];
    default: return decode_cycles[a].bits16[noise];
    }
}

zo2_device_rates gpu_card_rates(const gpu_card *c, zo2_wire wire, zo2_dist dist, unsigned pcie)
{
    double cycles = c->processors * c->ghz * 1e9 * OF_INSTRUCTIONS, bytes = wire_bytes(wire);
    int noise = dist == ZO2_RADEMACHER;
    double moved = c->memory_gb_s * 1e9 * OF_MEMORY / (bytes + 2 * 2); /* a wire is read, two panels are written */
    return (zo2_device_rates){
        .struct_size = sizeof(zo2_device_rates),
        .upload_rate = lane_bytes(pcie && pcie < c->pcie ? pcie : c->pcie) * c->lanes * OF_LINK,
        .gemm_rate = c->tflops * 1e12 * OF_PRODUCTS,
        .decode_rate = fmin(cycles / cycles_of(c->architecture, wire, dist), moved),
        .fold_rate = cycles / fold_cycles[noise],
    };
}

bool gpu_card_has_bf16(const gpu_card *c)
{
    return c->architecture != GPU_SM75;
}
