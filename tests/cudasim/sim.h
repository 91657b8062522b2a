/* sim.h: the simulator's own state and the functions its files share. */
#ifndef CUDASIM_SIM_H
#define CUDASIM_SIM_H

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "cudasim.h"
#include "fiber.h"

struct cublasContext;

/* ---- what handles point to ------------------------------------------------------------------------------------- */

namespace cudasim
{

/* One recording of an event: done when its stream has got there. */
struct recording {
    bool done = false;
    bool asked = false;  /* and the host has been told */
    uint64_t number = 0; /* among those that were done */
    uint64_t ns = 0;     /* when it was done, by the device's clock */
    uint64_t edge = 0;   /* what follows a wait for it happens after what came before it */
};

struct operation {
    std::function<cudaError_t()> run; /* empty for records and waits */
    std::shared_ptr<recording> record, wait;
    uint64_t sequence = 0;
    uint64_t edge = 0; /* it happens after the call that enqueued it */
    std::string name;
};

} // namespace cudasim

struct CUstream_st {
    std::deque<std::unique_ptr<cudasim::operation>> queue;
    cudasim::fiber fiber{8 << 20, "CUDA stream"}; /* what runs its operations; OpenBLAS likes large stacks */
    uint64_t edge = 0; /* what the host does after waiting for the stream happens after its operations */
    unsigned number = 0;
};

struct CUevent_st {
    unsigned flags = 0;
    std::shared_ptr<cudasim::recording> last; /* none: never recorded */
};

namespace cudasim
{

struct allocation {
    unsigned char *map; /* guard pages included */
    size_t map_bytes, bytes;
};

struct kernel_facts {
    bool loaded = false;
    int dynamic_limit = 48 * 1024;
    size_t static_shared = 0; /* seen so far */
};

/* All there is. Guarded by the lock that every entry point takes (api, below). */
struct device {
    cudasim_config config;
    cudasim_stats stats;
    std::string first_report;
    cudaError_t sticky;
    uint64_t number; /* of the devices there have been */
    bool context;    /* made by the first call that needs one */
    uint64_t named_calls, random;
    uint64_t next_sequence;
    uint64_t recorded, told; /* recordings that were done; those up to which the host has been told by a wait for all */
    unsigned polls;          /* unanswered, since anything was enqueued */
    unsigned next_stream;
    uint64_t slow_ns; /* what the operations took by cudasim_config.operation_ns */
    std::map<uintptr_t, allocation> allocations;
    std::map<uintptr_t, size_t> registered;
    std::map<const void *, kernel_facts> kernels;
    std::set<CUstream_st *> streams;
    std::set<CUevent_st *> events;
    std::set<cublasContext *> handles;
    bool library_workspace;                       /* cuBLAS took one of its own */
    std::set<std::pair<std::string, int>> places; /* of barriers */
};
extern device *the_device;

/* The lock around everything here. */
struct guard {
    guard();
    ~guard();
    guard(const guard &) = delete;
    guard &operator=(const guard &) = delete;
};

enum class needs { nothing, driver, context };

/* Stands at the head of every entry point: locks, counts, injects failures.
 *     api call("cudaFree", needs::context);
 *     return call.error ? call.error : call.done(do_it());   */
struct api : guard {
    api(const char *name, needs what);
    cudaError_t done(cudaError_t e); /* becomes the last error; returns it */
    cudaError_t error;               /* other than success: give this back at once */
};

/* A rule was broken. Printed unless quiet; the first one is kept. */
__attribute__((format(printf, 1, 2))) void report(const char *format, ...);

uint64_t next_random(uint64_t *state);

/* ---- memory.cpp ---- */
bool on_device(const void *p, size_t bytes); /* all of it in one allocation */
bool is_registered(const void *p, size_t bytes);
void protect_device(bool open); /* device memory can be touched only while open */
void free_everything();
bool take_device_bytes(uint64_t bytes); /* false: out of memory */
void give_device_bytes(uint64_t bytes);

/* ---- stream.cpp ---- */
cudaError_t enqueue(CUstream_st *s, const char *name, std::function<cudaError_t()> run);
bool valid_stream(CUstream_st *s, const char *who); /* reports */
void run_everything();
void run_until(const std::function<bool()> &reached);
void destroy_streams();

/* ---- cublas.cpp ---- */
void destroy_handles();

/* ---- block.cpp ---- */
cudaError_t run_grid(const struct launch &l, unsigned stream_number);
unsigned launch_bound(const void *kernel);
size_t shared_limit(); /* with opt-in, of this architecture */
void forget_fibers();

} // namespace cudasim

#endif
