/* ptx.h: kernels as nvcc compiled them. Where the environment variable CUDASIM_PTX names a folder, launches run the PTX in its *.ptx
 * files instead of what the C++ compiler made of the same sources: what nvcc reads differently (dialect.h), and what it makes of the
 * rest, is seen on a machine without a GPU. ptx_text.cpp and ptx_function.cpp read, ptx_operations.cpp and ptx_memory.cpp have what
 * single threads do, ptx_warp.cpp what warps do together, ptx_grid.cpp runs blocks.
 *
 * Every operand is a slot: registers, constants and addresses of variables lie in one array of 64-bit words a thread. */
#ifndef CUDASIM_PTX_H
#define CUDASIM_PTX_H

#include <string>
#include <vector>

#include "block.h"

namespace cudasim
{
namespace ptx
{

struct thread;
struct instruction;
struct warp;

enum class outcome { next, stop }; /* stop: waits, has returned, or its block has failed */
using handler = outcome (*)(thread &, const instruction &);
using together = void (*)(warp &, const instruction &); /* what lanes that met do */

enum class meeting : uint8_t {
    masked,
    warp,
    block
}; /* who has to come: lanes of an operand's mask, all lanes, all threads */

constexpr uint32_t none = UINT32_MAX;

/* What a called function may take, behind what the kernel has: slots, and bytes of parameter space. */
constexpr size_t callee_slots = 1024, callee_parameters = 1024;

struct instruction {
    handler run;
    together meet; /* NULL, or what those who met do */
    meeting who;
    uint32_t guard;          /* the predicate that it depends on, or none */
    bool unless;             /* the predicate has to be false */
    uint8_t elements;        /* of an access to memory */
    uint32_t slots, n_slots; /* operands, in the order of the text: function.operands */
    int64_t offset;          /* from the address, which is an operand */
    uint32_t target;         /* of a jump: an instruction; of a call: which of module.functions */
    int line;                /* of the text */
};

/* A variable in parameter space: of the function itself, or of a call that it makes. */
struct variable {
    size_t offset, bytes;
};

enum class special {
    tid_x,
    tid_y,
    tid_z,
    ntid_x,
    ntid_y,
    ntid_z,
    ctaid_x,
    ctaid_y,
    ctaid_z,
    nctaid_x,
    nctaid_y,
    nctaid_z,
    laneid
};

struct function {
    std::string name, file;
    std::vector<variable> parameters;
    variable result;
    std::vector<instruction> code;
    std::vector<uint32_t> operands;
    std::vector<uint64_t> slots;                        /* as a thread begins; registers are garbage */
    std::vector<std::pair<uint32_t, special>> specials; /* slots of special registers */
    std::vector<std::pair<uint32_t, size_t>> addresses; /* slots with addresses in parameter space: offset */
    size_t frame_bytes;                                 /* of its parameter space */
    size_t shared_bytes;                                /* its own; what is dynamic follows */
    unsigned max_threads;                               /* .maxntid */
};

/* NULL: no function of that name in any file. Reports and returns NULL where its text can't be read. */
const function *find_function(const std::string &name);
/* Those that `target` counts. */
const function &function_at(uint32_t target);
/* True: CUDASIM_PTX is set. */
bool is_asked_for();
/* Of the files' .target, times 10 plus minor: 90. */
int architecture();

/* Of an operation's whole name, "add.s32". NULL: there is none. Some note in the instruction what the name says besides. */
handler find_operation(const std::string &name, instruction *i);
handler find_control(const std::string &name);                /* jumps, calls */
handler find_access(const std::string &name, instruction *i); /* loads, stores, addresses */
together find_meeting(const std::string &name, instruction *i);
outcome meet(thread &t, const instruction &i); /* the handler of all that warps do together */

struct frame {
    const function *f;
    uint32_t next; /* instruction */
    uint64_t *slots;
    unsigned char *parameters;
};

struct thread {
    frame now, caller; /* a called function calls none */
    unsigned number;
    uint3 index;
    state is;
    uint32_t mask;            /* lanes that it waits for */
    const instruction *waits; /* for others, at this */
};

/* 32 threads of the block, or its last ones. */
struct warp {
    thread *lane;
    unsigned n;
    uint32_t mask; /* those that met */
};

template <class T> T get(const thread &t, const instruction &i, unsigned operand)
{
    T v;
    memcpy(&v, &t.now.slots[t.now.f->operands[i.slots + operand]], sizeof v);
    return v;
}
template <class T> void put(thread &t, const instruction &i, unsigned operand, T v)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    t.now.slots[t.now.f->operands[i.slots + operand]] = bits;
}

/* Where an access of `bytes` at an address of the space goes; NULL after a report: outside, or not a multiple of its size. */
enum class space { parameter, shared, global, generic };
unsigned char *reach(thread &t, const instruction &i, space s, uint64_t address, size_t bytes, size_t align);

/* A rule was broken: reports it with kernel, block, thread and line, and the block has failed. */
__attribute__((format(printf, 3, 4))) void fail(const thread &t, const instruction &i, const char *format, ...);

/* Runs it; `parts` are the arguments of the launch. */
cudaError_t run(const launch &l, const function &f);

} // namespace ptx

/* The name that the compiler gave the function at this address, "" where the program has no symbols. */
std::string symbol_at(const void *function);

} // namespace cudasim

#endif
