/* ptx_operations.cpp: what single threads compute (PTX ISA, "Instruction Set"): an operation's name is that of a function of
 * ptx_arithmetic.h with types. */
#include <unordered_map>

#include "ptx.h"
#include "ptx_arithmetic.h"

namespace cudasim
{
namespace ptx
{

namespace
{

/* ---- arithmetic -------------------------------------------------------------------------------------------------- */

template <class T, class A, T (*F)(A)> outcome one(thread &t, const instruction &i)
{
    put<T>(t, i, 0, F(get<A>(t, i, 1)));
    return outcome::next;
}
template <class T, class A, class B, T (*F)(A, B)> outcome two(thread &t, const instruction &i)
{
    put<T>(t, i, 0, F(get<A>(t, i, 1), get<B>(t, i, 2)));
    return outcome::next;
}
template <class T, class A, class B, class C, T (*F)(A, B, C)> outcome three(thread &t, const instruction &i)
{
    put<T>(t, i, 0, F(get<A>(t, i, 1), get<B>(t, i, 2), get<C>(t, i, 3)));
    return outcome::next;
}

/* mov with two halves. */
template <class T, class H> outcome pack(thread &t, const instruction &i)
{
    put<T>(t, i, 0, static_cast<T>(static_cast<T>(get<H>(t, i, 2)) << 8 * sizeof(H) | get<H>(t, i, 1)));
    return outcome::next;
}
template <class T, class H> outcome unpack(thread &t, const instruction &i)
{
    T v = get<T>(t, i, 2);
    put<H>(t, i, 0, static_cast<H>(v));
    put<H>(t, i, 1, static_cast<H>(v >> 8 * sizeof(H)));
    return outcome::next;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

using table = std::unordered_map<std::string, handler>;

template <class T> void add_comparisons(table &all, const std::string &type)
{
    all["setp.eq" + type] = two<uint8_t, T, T, compared<T, relation::eq, false>>;
    all["setp.ne" + type] = two<uint8_t, T, T, compared<T, relation::ne, false>>;
    all["setp.lt" + type] = two<uint8_t, T, T, compared<T, relation::lt, false>>;
    all["setp.le" + type] = two<uint8_t, T, T, compared<T, relation::le, false>>;
    all["setp.gt" + type] = two<uint8_t, T, T, compared<T, relation::gt, false>>;
    all["setp.ge" + type] = two<uint8_t, T, T, compared<T, relation::ge, false>>;
}

/* For any type. */
template <class T> void add_moves(table &all, const std::string &type)
{
    all["mov" + type] = one<T, T, same<T>>;
    all["selp" + type] = three<T, T, T, uint8_t, chosen<T>>;
}

/* Arithmetic whose low bits don't depend on signs. U is unsigned. */
template <class U> void add_bits(table &all, const std::string &bits)
{
    for (const char *kind : {".u", ".s", ".b"}) {
        const std::string type = kind + bits;
        add_moves<U>(all, type);
        all["add" + type] = two<U, U, U, sum<U>>;
        all["sub" + type] = two<U, U, U, difference<U>>;
        all["mul.lo" + type] = two<U, U, U, product<U>>;
        all["neg" + type] = one<U, U, negated<U>>;
        all["not" + type] = one<U, U, inverted<U>>;
        all["and" + type] = two<U, U, U, both<U>>;
        all["or" + type] = two<U, U, U, either<U>>;
        all["xor" + type] = two<U, U, U, differing<U>>;
        all["shl" + type] = two<U, U, uint32_t, shifted_left<U>>;
        if (sizeof(U) > 2)
            all["mad.lo" + type] = three<U, U, U, U, multiplied_and_added<U>>;
    }
}

/* What signs matter to. */
template <class T> void add_integers(table &all, const std::string &type)
{
    add_comparisons<T>(all, type);
    all["shr" + type] = two<T, T, uint32_t, shifted_right<T>>;
    all["min" + type] = two<T, T, T, least<T>>;
    all["max" + type] = two<T, T, T, greatest<T>>;
    if (std::is_unsigned_v<T>) {
        all["div" + type] = two<T, T, T, quotient<T>>;
        all["rem" + type] = two<T, T, T, remainder_of<T>>;
    }
}

template <class T> void add_floats(table &all, const std::string &type)
{
    add_moves<T>(all, type);
    add_comparisons<T>(all, type);
    all["setp.neu" + type] = two<uint8_t, T, T, compared<T, relation::ne, true>>;
    all["setp.equ" + type] = two<uint8_t, T, T, compared<T, relation::eq, true>>;
    all["setp.ltu" + type] = two<uint8_t, T, T, compared<T, relation::lt, true>>;
    all["setp.leu" + type] = two<uint8_t, T, T, compared<T, relation::le, true>>;
    all["setp.gtu" + type] = two<uint8_t, T, T, compared<T, relation::gt, true>>;
    all["setp.geu" + type] = two<uint8_t, T, T, compared<T, relation::ge, true>>;
    all["add.rn" + type] = two<T, T, T, sum<T>>;
    all["sub.rn" + type] = two<T, T, T, difference<T>>;
    all["mul.rn" + type] = two<T, T, T, product<T>>;
    all["div.rn" + type] = two<T, T, T, quotient<T>>;
    all["fma.rn" + type] = three<T, T, T, T, fused<T>>;
    all["sqrt.rn" + type] = one<T, T, root<T>>;
    all["neg" + type] = one<T, T, negated<T>>;
    all["abs" + type] = one<T, T, magnitude<T>>;
}

/* From A to integers, which keep their low bits or are extended by A's sign. */
template <class A> void add_conversions(table &all, const std::string &from)
{
    all["cvt.u16" + from] = one<uint16_t, A, converted<uint16_t, A>>;
    all["cvt.s16" + from] = one<int16_t, A, converted<int16_t, A>>;
    all["cvt.u32" + from] = one<uint32_t, A, converted<uint32_t, A>>;
    all["cvt.s32" + from] = one<int32_t, A, converted<int32_t, A>>;
    all["cvt.u64" + from] = one<uint64_t, A, converted<uint64_t, A>>;
    all["cvt.s64" + from] = one<int64_t, A, converted<int64_t, A>>;
    all["cvt.rn.f32" + from] = one<float, A, converted<float, A>>;
    all["cvt.rn.f64" + from] = one<double, A, converted<double, A>>;
}

table all_operations()
{
    table all;
    add_bits<uint16_t>(all, "16");
    add_bits<uint32_t>(all, "32");
    add_bits<uint64_t>(all, "64");
    add_integers<uint16_t>(all, ".u16");
    add_integers<int16_t>(all, ".s16");
    add_integers<uint32_t>(all, ".u32");
    add_integers<int32_t>(all, ".s32");
    add_integers<uint64_t>(all, ".u64");
    add_integers<int64_t>(all, ".s64");
    add_comparisons<uint16_t>(all, ".b16");
    add_comparisons<uint32_t>(all, ".b32");
    add_comparisons<uint64_t>(all, ".b64");
    all["mul.wide.u16"] = two<uint32_t, uint16_t, uint16_t, wide_product<uint32_t, uint16_t>>;
    all["mul.wide.u32"] = two<uint64_t, uint32_t, uint32_t, wide_product<uint64_t, uint32_t>>;
    all["mul.wide.s32"] = two<int64_t, int32_t, int32_t, wide_product<int64_t, int32_t>>;
    all["mul.hi.u32"] = two<uint32_t, uint32_t, uint32_t, upper_product>;
    all["shf.l.wrap.b32"] = three<uint32_t, uint32_t, uint32_t, uint32_t, funnel_left>;
    all["shf.r.wrap.b32"] = three<uint32_t, uint32_t, uint32_t, uint32_t, funnel_right>;
    all["prmt.b32"] = three<uint32_t, uint32_t, uint32_t, uint32_t, permuted>;
    all["mov.b32.pack"] = pack<uint32_t, uint16_t>;
    all["mov.b32.unpack"] = unpack<uint32_t, uint16_t>;
    all["mov.b64.pack"] = pack<uint64_t, uint32_t>;
    all["mov.b64.unpack"] = unpack<uint64_t, uint32_t>;

    all["mov.pred"] = one<uint8_t, uint8_t, same<uint8_t>>;
    all["not.pred"] = one<uint8_t, uint8_t, opposite>;
    all["and.pred"] = two<uint8_t, uint8_t, uint8_t, both<uint8_t>>;
    all["or.pred"] = two<uint8_t, uint8_t, uint8_t, either<uint8_t>>;
    all["xor.pred"] = two<uint8_t, uint8_t, uint8_t, differing<uint8_t>>;

    add_floats<float>(all, ".f32");
    add_floats<double>(all, ".f64");
    all["min.f32"] = two<float, float, float, least_float>;
    all["max.f32"] = two<float, float, float, greatest_float>;
    all["copysign.f32"] = two<float, float, float, with_sign_of>;
    all["rcp.rn.f32"] = one<float, float, reciprocal>;
    all["rcp.approx.ftz.f64"] = one<double, double, rough_reciprocal>;
    all["rsqrt.approx.ftz.f32"] = one<float, float, reciprocal_root>;
    all["ex2.approx.f32"] = one<float, float, power_of_2>;
    all["ex2.approx.ftz.f32"] = one<float, float, flushed_power_of_2>;

    /* addresses of device memory are the same in both */
    all["cvta.global.u64"] = all["cvta.to.global.u64"] = one<uint64_t, uint64_t, same<uint64_t>>;
    add_conversions<uint16_t>(all, ".u16");
    add_conversions<int16_t>(all, ".s16");
    add_conversions<uint32_t>(all, ".u32");
    add_conversions<int32_t>(all, ".s32");
    add_conversions<uint64_t>(all, ".u64");
    add_conversions<int64_t>(all, ".s64");
    all["cvt.f64.f32"] = one<double, float, converted<double, float>>;
    all["cvt.rn.f32.f64"] = one<float, double, converted<float, double>>;
    all["cvt.f32.f16"] = one<float, uint16_t, from_f16>;
    all["cvt.rn.f16.f32"] = one<uint16_t, float, to_f16>;
    all["cvt.rn.f16x2.f32"] = two<uint32_t, float, float, to_f16x2>;
    all["cvt.rn.bf16x2.f32"] = two<uint32_t, float, float, to_bf16x2>;
    all["cvt.rn.f16x2.e4m3x2"] = one<uint32_t, uint16_t, from_e4m3x2>;
    all["cvt.rn.f16x2.e5m2x2"] = one<uint32_t, uint16_t, from_e5m2x2>;
    return all;
}

} // namespace

handler find_operation(const std::string &name, instruction *i)
{
    static const table *all = new table(all_operations());
    auto found = all->find(name);
    if (found != all->end())
        return found->second;
    handler control = find_control(name);
    return control ? control : find_access(name, i);
}

} // namespace ptx
} // namespace cudasim
