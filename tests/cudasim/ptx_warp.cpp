/* ptx_warp.cpp: what the lanes of a warp do together (PTX ISA, "shfl.sync", "vote.sync", "bar.warp.sync", "wmma"): each lane comes to the
 * operation and waits; the grid's scheduler calls together() once all have come. A fragment's elements lie where mma.h of the
 * simulator has them, which is where no device does. */
#include "mma.h"
#include "ptx.h"

namespace cudasim
{
namespace ptx
{

namespace
{

using nvcuda::wmma::cudasim_per_lane;

/* ---- shuffles and votes ------------------------------------------------------------------------------------------ */

/* Operands: result, whether there was a source if `elements` is 2, value, lane or distance, clamp and segments, mask. */
enum class direction { xor_lanes, down, up, to_lane };

template <direction D> void shuffle(warp &w, const instruction &i)
{
    uint32_t value[lanes];
    const unsigned first = i.elements;
    for (unsigned l = 0; l < w.n; l++)
        if (w.mask >> l & 1)
            value[l] = get<uint32_t>(w.lane[l], i, first);
    for (unsigned l = 0; l < w.n; l++) {
        if (!(w.mask >> l & 1))
            continue;
        thread &t = w.lane[l];
        const unsigned by = get<uint32_t>(t, i, first + 1) & 31, c = get<uint32_t>(t, i, first + 2);
        const unsigned segment = c >> 8 & 31, clamp = c & 31, highest = (l & segment) | (clamp & ~segment);
        unsigned source = D == direction::xor_lanes ? l ^ by
                          : D == direction::down    ? l + by
                          : D == direction::up      ? l - by
                                                    : (l & segment) | (by & ~segment);
        bool there = D == direction::up ? static_cast<int>(source) >= static_cast<int>(highest) : source <= highest;
        source = there ? source : l;
        if (source >= w.n || !(w.mask >> source & 1)) {
            fail(t, i, "a shuffle reads lane %u, which isn't in the mask 0x%x", source, w.mask);
            return;
        }
        put(t, i, 0, value[source]);
        if (first == 2)
            put<uint8_t>(t, i, 1, there);
    }
}

enum class vote { any, all, ballot };

template <vote V> void count_votes(warp &w, const instruction &i)
{
    uint32_t yes = 0;
    for (unsigned l = 0; l < w.n; l++)
        if (w.mask >> l & 1)
            yes |= (get<uint8_t>(w.lane[l], i, 1) & 1u) << l;
    for (unsigned l = 0; l < w.n; l++)
        if (w.mask >> l & 1) {
            if (V == vote::ballot)
                put(w.lane[l], i, 0, yes);
            else
                put<uint8_t>(w.lane[l], i, 0, V == vote::any ? yes != 0 : yes == w.mask);
        }
}

void nothing(warp &, const instruction &) {}

/* ---- matrices of 16 x 16 ----------------------------------------------------------------------------------------- */

/* Operands in 16 bits lie two in a register: eight elements, which fp16 fragments hold twice. */
uint16_t half_of(const thread &t, const instruction &i, unsigned first, unsigned element)
{
    return static_cast<uint16_t>(get<uint32_t>(t, i, first + element / 2) >> (16 * (element % 2)));
}

template <fragment_kind KIND, bool COLUMNS> size_t place_of(unsigned l, unsigned element, uint32_t stride)
{
    const unsigned at = fragment_place(KIND, l, element), row = at / 16, column = at % 16;
    return COLUMNS ? size_t{column} * stride + row : size_t{row} * stride + column;
}

/* The matrix's first byte, after a look at all of it. */
unsigned char *matrix_at(thread &t, const instruction &i, space s, unsigned address, uint32_t stride, size_t element)
{
    uint64_t at = get<uint64_t>(t, i, address) + static_cast<uint64_t>(i.offset);
    if (stride * element % 16 || stride < 16) {
        fail(t, i, "a matrix with rows %u elements apart", stride);
        return nullptr;
    }
    return reach(t, i, s, at, (15 * size_t{stride} + 16) * element, 32);
}

/* Operands: the fragment's registers, the address, the stride. */
template <fragment_kind KIND, space S, bool COLUMNS, unsigned REGISTERS> void load_halves(warp &w, const instruction &i)
{
    for (unsigned l = 0; l < w.n; l++) {
        thread &t = w.lane[l];
        const uint32_t stride = get<uint32_t>(t, i, REGISTERS + 1);
        const unsigned char *from = matrix_at(t, i, S, REGISTERS, stride, 2);
        for (unsigned r = 0; from && r < REGISTERS; r++) {
            uint16_t pair[2];
            for (unsigned k = 0; k < 2; k++)
                memcpy(&pair[k], from + 2 * place_of<KIND, COLUMNS>(l, (2 * r + k) % cudasim_per_lane, stride), 2);
            put(t, i, r, static_cast<uint32_t>(pair[1]) << 16 | pair[0]);
        }
    }
}
template <space S, bool COLUMNS> void load_sums(warp &w, const instruction &i)
{
    for (unsigned l = 0; l < w.n; l++) {
        thread &t = w.lane[l];
        const uint32_t stride = get<uint32_t>(t, i, 9);
        const unsigned char *from = matrix_at(t, i, S, 8, stride, 4);
        for (unsigned k = 0; from && k < 8; k++) {
            float v;
            memcpy(&v, from + 4 * place_of<fragment_kind::sum, COLUMNS>(l, k, stride), 4);
            put(t, i, k, v);
        }
    }
}
/* Operands: the address, the registers, the stride. */
template <space S, bool COLUMNS> void store_sums(warp &w, const instruction &i)
{
    for (unsigned l = 0; l < w.n; l++) {
        thread &t = w.lane[l];
        const uint32_t stride = get<uint32_t>(t, i, 9);
        unsigned char *to = matrix_at(t, i, S, 0, stride, 4);
        for (unsigned k = 0; to && k < 8; k++) {
            float v = get<float>(t, i, k + 1);
            memcpy(to + 4 * place_of<fragment_kind::sum, COLUMNS>(l, k, stride), &v, 4);
        }
    }
}

/* Operands: the result, both factors, what is added. Layouts were the loads' business: places are in rows. */
template <unsigned REGISTERS> void multiply(warp &w, const instruction &i)
{
    uint16_t a[lanes][cudasim_per_lane], b[lanes][cudasim_per_lane];
    float c[lanes][cudasim_per_lane], d[lanes][cudasim_per_lane];
    matrix_product products[lanes];
    uint64_t of_lane[lanes];
    for (unsigned l = 0; l < lanes; l++) {
        for (unsigned k = 0; k < cudasim_per_lane; k++) {
            a[l][k] = half_of(w.lane[l], i, 8, k);
            b[l][k] = half_of(w.lane[l], i, 8 + REGISTERS, k);
            c[l][k] = get<float>(w.lane[l], i, 8 + 2 * REGISTERS + k);
        }
        products[l] = {a[l], b[l], c[l], d[l], REGISTERS == 4};
        of_lane[l] = reinterpret_cast<uint64_t>(&products[l]);
    }
    multiply_matrices(of_lane);
    for (unsigned l = 0; l < lanes; l++)
        for (unsigned k = 0; k < cudasim_per_lane; k++)
            put(w.lane[l], i, k, d[l][k]);
}

template <fragment_kind KIND, space S> together load_of(const std::string &name, bool bf16)
{
    bool columns = name.find(".col.") != name.npos;
    if (bf16)
        return columns ? load_halves<KIND, S, true, 4> : load_halves<KIND, S, false, 4>;
    return columns ? load_halves<KIND, S, true, 8> : load_halves<KIND, S, false, 8>;
}

bool begins(const std::string &name, const char *with)
{
    return !name.compare(0, strlen(with), with);
}
bool ends(const std::string &name, const char *with)
{
    return name.size() >= strlen(with) && !name.compare(name.size() - strlen(with), name.npos, with);
}

/* Of matrices of 16 x 16 x 16 only; the name says which fragment, layout, space and type. */
together find_matrix(const std::string &name)
{
    if (name.find(".sync.aligned.") == name.npos || name.find(".m16n16k16.") == name.npos)
        return nullptr;
    const bool shared = name.find(".shared.") != name.npos, columns = name.find(".col.") != name.npos;
    if (begins(name, "wmma.mma."))
        return ends(name, ".m16n16k16.f32.f32")             ? multiply<8>
               : ends(name, ".m16n16k16.f32.bf16.bf16.f32") ? multiply<4>
                                                            : nullptr;
    if (begins(name, "wmma.load.c.") && ends(name, ".shared.f32"))
        return columns ? load_sums<space::shared, true> : load_sums<space::shared, false>;
    if (begins(name, "wmma.store.d.") && ends(name, ".shared.f32"))
        return columns ? store_sums<space::shared, true> : store_sums<space::shared, false>;
    const bool bf16 = ends(name, ".bf16");
    if (!bf16 && !ends(name, ".f16"))
        return nullptr;
    if (begins(name, "wmma.load.a."))
        return shared ? load_of<fragment_kind::a, space::shared>(name, bf16)
                      : load_of<fragment_kind::a, space::generic>(name, bf16);
    if (begins(name, "wmma.load.b."))
        return shared ? load_of<fragment_kind::b, space::shared>(name, bf16)
                      : load_of<fragment_kind::b, space::generic>(name, bf16);
    return nullptr;
}

} // namespace

together find_meeting(const std::string &name, instruction *i)
{
    i->who = name == "bar.sync" ? meeting::block : begins(name, "wmma.") ? meeting::warp : meeting::masked;
    if (begins(name, "shfl.sync.")) {
        i->elements = i->n_slots == 6 ? 2 : 1;
        return name == "shfl.sync.bfly.b32"   ? shuffle<direction::xor_lanes>
               : name == "shfl.sync.down.b32" ? shuffle<direction::down>
               : name == "shfl.sync.up.b32"   ? shuffle<direction::up>
               : name == "shfl.sync.idx.b32"  ? shuffle<direction::to_lane>
                                              : nullptr;
    }
    if (name == "vote.sync.any.pred")
        return count_votes<vote::any>;
    if (name == "vote.sync.all.pred")
        return count_votes<vote::all>;
    if (name == "vote.sync.ballot.b32")
        return count_votes<vote::ballot>;
    if (name == "bar.warp.sync" || name == "bar.sync")
        return nothing;
    return begins(name, "wmma.") ? find_matrix(name) : nullptr;
}

outcome meet(thread &t, const instruction &i)
{
    t.waits = &i;
    t.is = i.who == meeting::block ? state::at_barrier : state::in_warp;
    t.mask = i.who == meeting::masked ? get<uint32_t>(t, i, i.n_slots - 1) : UINT32_MAX; /* the last operand */
    return outcome::stop;
}

} // namespace ptx
} // namespace cudasim
