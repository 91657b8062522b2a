/* matrix.cpp: products of a warp's matrix fragments (include/mma.h). */
#include "block.h"
#include "mma.h"

namespace cudasim
{

namespace
{

float value_of(uint16_t bits, bool bf16)
{
    return bf16 ? bit_cast<float>(static_cast<uint32_t>(bits) << 16) : cvt_f32(bits);
}

} // namespace

void check_matrix(const void *at, unsigned stride, size_t element, const char *file, int line)
{
    if (reinterpret_cast<uintptr_t>(at) % 32 == 0 && stride * element % 16 == 0 && stride >= 16)
        return;
    report(
        "%s: %s:%d has a matrix at %p with rows %u elements of %zu bytes apart: has to be aligned to 32 bytes, rows to 16",
        place(*the_block->running).c_str(), file, line, at, stride, element);
    fail_here();
}

/* In fp32, k by k: a device's order and its roundings inside a product are unspecified. */
void multiply_matrices(const uint64_t (&lane)[lanes])
{
    float a[256], b[256], d[256];
    for (unsigned l = 0; l < lanes; l++) {
        const auto *p = reinterpret_cast<const matrix_product *>(lane[l]);
        for (unsigned i = 0; i < 8; i++) {
            a[fragment_place(fragment_kind::a, l, i)] = value_of(p->a[i], p->bf16);
            b[fragment_place(fragment_kind::b, l, i)] = value_of(p->b[i], p->bf16);
            d[fragment_place(fragment_kind::sum, l, i)] = p->c[i];
        }
    }
    for (unsigned row = 0; row < 16; row++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned column = 0; column < 16; column++)
                d[row * 16 + column] += a[row * 16 + k] * b[k * 16 + column];
    for (unsigned l = 0; l < lanes; l++) {
        const auto *p = reinterpret_cast<const matrix_product *>(lane[l]);
        for (unsigned i = 0; i < 8; i++)
            p->d[i] = d[fragment_place(fragment_kind::sum, l, i)];
    }
}

void warp_matrix(const matrix_product *p, const char *file, int line)
{
    warp(warp_op::matrix, 0xFFFFFFFFu, reinterpret_cast<uint64_t>(p), 0, file, line);
}

} // namespace cudasim
