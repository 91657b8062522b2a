/* ptx_memory.cpp: accesses to memory, jumps and calls (PTX ISA, "Data Movement", "Control Flow"). */
#include <type_traits>

#include "ptx.h"

namespace cudasim
{
namespace ptx
{

namespace
{

/* ---- control ---------------------------------------------------------------------------------------------------- */

outcome branch(thread &t, const instruction &i)
{
    t.now.next = i.target;
    return outcome::next;
}

/* Operands: where the result goes, then the arguments; all are addresses in the caller's parameter space. */
outcome call(thread &t, const instruction &i)
{
    const function &callee = function_at(i.target);
    frame f = {&callee, 0, t.now.slots + t.now.f->slots.size(),
               t.now.parameters + (t.now.f->frame_bytes + 15) / 16 * 16};
    if (t.caller.f) {
        fail(t, i, "a called function calls another");
        return outcome::stop;
    }
    memcpy(f.slots, callee.slots.data(), callee.slots.size() * sizeof *f.slots);
    for (const auto &a : callee.addresses)
        f.slots[a.first] = reinterpret_cast<uintptr_t>(f.parameters + a.second);
    for (unsigned k = 0; k < callee.parameters.size(); k++)
        memcpy(f.parameters + callee.parameters[k].offset, reinterpret_cast<void *>(get<uintptr_t>(t, i, k + 1)),
               callee.parameters[k].bytes);
    t.caller = t.now;
    t.now = f;
    return outcome::next;
}

outcome leave(thread &t, const instruction &)
{
    if (!t.caller.f) {
        t.is = state::returned;
        return outcome::stop;
    }
    const frame callee = t.now;
    t.now = t.caller;
    t.caller.f = nullptr;
    const instruction &at = t.now.f->code[t.now.next - 1]; /* the call */
    memcpy(reinterpret_cast<void *>(get<uintptr_t>(t, at, 0)), callee.parameters + callee.f->result.offset,
           callee.f->result.bytes);
    return outcome::next;
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

template <class T> void copy_in(thread &t, const instruction &i, const unsigned char *from)
{
    for (unsigned k = 0; k < i.elements; k++) {
        T v;
        memcpy(&v, from + k * sizeof v, sizeof v);
        if constexpr (std::is_signed_v<T>)
            put(t, i, k, static_cast<int64_t>(v));
        else
            put(t, i, k, v);
    }
}
/* Elements first, the address last. */
template <class T, space S> outcome load(thread &t, const instruction &i)
{
    uint64_t address = get<uint64_t>(t, i, i.elements) + static_cast<uint64_t>(i.offset);
    size_t bytes = sizeof(T) * i.elements;
    const unsigned char *from = reach(t, i, S, address, bytes, bytes);
    if (!from)
        return outcome::stop;
    copy_in<T>(t, i, from);
    return outcome::next;
}
/* The address first. */
template <class T, space S> outcome store(thread &t, const instruction &i)
{
    uint64_t address = get<uint64_t>(t, i, 0) + static_cast<uint64_t>(i.offset);
    size_t bytes = sizeof(T) * i.elements;
    unsigned char *to = reach(t, i, S, address, bytes, bytes);
    if (!to)
        return outcome::stop;
    for (unsigned k = 0; k < i.elements; k++) {
        T v = get<T>(t, i, k + 1);
        memcpy(to + k * sizeof v, &v, sizeof v);
    }
    return outcome::next;
}

/* ---- names of accesses: ld or st, a space, hints, .v2 or .v4, a type ----------------------------------------------- */

bool take(std::string *name, const char *part)
{
    size_t at = name->find(part);
    if (at == name->npos)
        return false;
    name->erase(at, strlen(part));
    return true;
}

template <class T> handler access(bool loads, space s)
{
    switch (s) {
    case space::parameter: return loads ? load<T, space::parameter> : store<T, space::parameter>;
    case space::shared: return loads ? load<T, space::shared> : store<T, space::shared>;
    case space::global: return loads ? load<T, space::global> : store<T, space::global>;
    case space::generic: return loads ? load<T, space::generic> : store<T, space::generic>;
    }
    return nullptr;
}

handler find_load_or_store(std::string rest, instruction *i)
{
    const bool loads = rest[0] == 'l';
    rest.erase(0, 3);
    space s = space::generic;
    if (take(&rest, "param."))
        s = space::parameter;
    else if (take(&rest, "shared."))
        s = space::shared;
    else if (take(&rest, "global."))
        s = space::global;
    for (const char *hint : {"nc.", "cg.", "cs.", "wb."})
        take(&rest, hint);
    i->elements = take(&rest, "v2.") ? 2 : take(&rest, "v4.") ? 4 : 1;
    if (rest == "s8")
        return access<int8_t>(loads, s);
    if (rest == "s16")
        return access<int16_t>(loads, s);
    if (rest == "s32")
        return access<int32_t>(loads, s);
    if (rest.size() < 2 || !strchr("ubf", rest[0]))
        return nullptr;
    const std::string bits = rest.substr(1);
    return bits == "8"    ? access<uint8_t>(loads, s)
           : bits == "16" ? access<uint16_t>(loads, s)
           : bits == "32" ? access<uint32_t>(loads, s)
           : bits == "64" ? access<uint64_t>(loads, s)
                          : nullptr;
}

/* A shared variable's address among all; a global one is the same in both. */
outcome shared_to_generic(thread &t, const instruction &i)
{
    put(t, i, 0, reinterpret_cast<uintptr_t>(reach(t, i, space::shared, get<uint64_t>(t, i, 1), 0, 1)));
    return outcome::next;
}

} // namespace

handler find_control(const std::string &name)
{
    if (name == "bra" || name == "bra.uni")
        return branch;
    if (name == "call" || name == "call.uni")
        return call;
    return name == "ret" ? leave : nullptr;
}

handler find_access(const std::string &name, instruction *i)
{
    if (name == "cvta.shared.u64")
        return shared_to_generic;
    return name.compare(0, 3, "ld.") && name.compare(0, 3, "st.") ? nullptr : find_load_or_store(name, i);
}

} // namespace ptx
} // namespace cudasim
