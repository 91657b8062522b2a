/* backend.h: the one table behind which a device hides: three in-order lanes (upload, compute, stage), one arena of
 * device memory, events between them, and the operations a transformer's forward passes need. `cpu` is the reference;
 * `cuda` implements the same table; `null` does no arithmetic and checks schedules and memory. What an operation computes,
 * and of what: operations.h.
 *
 * Lifetime. Operations and transfers are enqueued; device operands must stay untouched until the lane has passed them.
 * Host arrays in op structs (fold, seqs) are read before the call returns unless said otherwise. One thread per lane. A
 * backend may finish everything before it returns. Within a step the engine calls neither drain() nor, from the compute
 * lane's thread, a sync() that waits for recent work: the host runs ahead.
 *
 * Errors. Operations return at once with ZO2_ERR_DEVICE and a text when they are refused; later faults surface at sync() or drain(). */
#ifndef ZO2_KERNELS_BACKEND_H
#define ZO2_KERNELS_BACKEND_H

#include "engine/base/parallel.h"
#include "engine/zo2.h"
#include "kernels/operations.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum zo2_lane {
    ZO2_LANE_UPLOAD = 0,  /* wires, to the device */
    ZO2_LANE_COMPUTE = 1, /* all operations, and small transfers among them */
    ZO2_LANE_STAGE =
        2, /* activations that wait in host memory, both ways; its calls come from the compute lane's thread */
} zo2_lane;
#define ZO2_LANE_COUNT 3

typedef struct zo2_event zo2_event;

typedef struct zo2_backend zo2_backend;

/* An operation or a transfer as the device did it: from begin to end on the host's CLOCK_MONOTONIC. name: static. */
typedef void (*zo2_device_span_fn)(void *ud, zo2_lane lane, const char *name, uint64_t begin_ns, uint64_t end_ns);

/* A device that is ready but for an arena: its context, and the libraries and kernels loaded there. */
typedef struct zo2_device zo2_device;

typedef struct zo2_backend_config {
    uint64_t arena_bytes;  /* the plan's device bytes less the context; the backend's reserved_bytes included */
    zo2_parallel parallel; /* for cpu */
    zo2_dtype compute;     /* what gemm() will be asked for; a device that can't refuses in open(). 0: not known yet */
    /* Of device_open(): it outlives the backend and serves one at a time. NULL: open() makes one of its own. */
    zo2_device *device;
} zo2_backend_config;

/* What a device says of itself. */
typedef struct zo2_device_info {
    uint64_t context_bytes; /* device memory taken beside the arena, measured here */
    uint64_t free_bytes;    /* device memory that this process could take now, context included */
    char name[128];
} zo2_device_info;

typedef struct zo2_backend_ops {
    zo2_backend_kind kind;

    /* ---- facts the planner needs; no backend has to be open ---- */
    uint64_t context_bytes;  /* device memory taken beside the arena, assumed where no device can be asked */
    uint64_t reserved_bytes; /* the arena's first bytes, multiple of 256: the backend's own (GEMM workspace) */
    /* When memory is no concern: wire bytes of a chunk, and of all wires in flight, so many that the link stays busy across the
     * longest gap between two decodings. 0: there is no link, three chunks will do. */
    uint64_t chunk_bytes, ring_bytes;
    /* Makes the device ready and asks it. Who plans and then opens does both with one: what was measured is what is used, and
     * making another takes its time and memory again. ZO2_ERR_DEVICE: there is none. NULL: nothing to ask, context_bytes is
     * exact and free memory is the host's. */
    zo2_status (*device_open)(zo2_device **out, zo2_device_info *info);
    void (*device_close)(zo2_device *d); /* NULL is fine; of a device after its backends */
    zo2_status (*usable)(void); /* ZO2_OK if open() may succeed here, or why it can't. Takes nothing. NULL: always */
    uint32_t (*element_bytes)(zo2_dtype compute); /* stored size of an activation or panel element */
    /* Device memory of attention() for scores, never less for more keys: plans are made for the longest row. 0: none. */
    uint64_t (*attention_workspace)(uint32_t heads, uint32_t head_dim, uint64_t max_keys, uint32_t threads);
    /* Host memory that gemm() takes beside the arena, at most, for panels of up to `cols` columns. NULL: none. */
    uint64_t (*gemm_host_bytes)(zo2_dtype compute, uint64_t cols, uint32_t threads);

    /* ---- life ---- */
    zo2_status (*open)(zo2_backend **out, const zo2_backend_config *c);
    void (*close)(zo2_backend *b);          /* NULL is fine */
    void *(*arena)(zo2_backend *b);         /* device address of the arena, 4 KiB aligned */
    uint64_t (*peak_bytes)(zo2_backend *b); /* measured: context plus the highest arena byte in use so far */
    /* Around every step, on the caller's thread; nests, also across backends. Another thread may use the upload lane
     * meanwhile. NULL: nothing to do. (cpu: OpenBLAS to one thread.) */
    void (*enter)(zo2_backend *b);
    void (*leave)(zo2_backend *b);
    /* What the compute lane gets next belongs to this block of the model, as the architecture numbers them: embeddings,
     * layers, head. For profilers, until the next block or leave(). NULL: nothing to do. */
    void (*block)(zo2_backend *b, uint32_t block, uint32_t blocks);

    /* ---- host memory of transfers ----
     * The engine announces every host buffer that transfers of a step use: after open(), before the first step, and
     * withdraws it before it is freed. A backend pins it, so that transfers run beside the host. When it can't (limits),
     * it returns ZO2_ERR_NOMEM: the engine then copies wires through memory that is registered, and fails if that
     * memory itself can't be. Transfers from or to other memory (probes, tests) work, but may block the caller.
     * NULL: nothing to do. */
    zo2_status (*host_register)(zo2_backend *b, void *at, uint64_t bytes); /* page-aligned, whole pages */
    void (*host_unregister)(zo2_backend *b, void *at);                     /* idle lanes only */

    /* ---- lanes and events ---- */
    zo2_status (*event_create)(zo2_backend *b, zo2_event **out);
    void (*event_destroy)(zo2_backend *b, zo2_event *e); /* NULL is fine */
    zo2_status (*record)(zo2_backend *b, zo2_lane lane, zo2_event *e);
    zo2_status (*wait)(zo2_backend *b, zo2_lane lane,
                       zo2_event *e); /* the lane waits; e was recorded (host order is the caller's duty) */
    zo2_status (*sync)(zo2_backend *b, zo2_event *e); /* the caller waits */
    zo2_status (*drain)(zo2_backend *b); /* the caller waits for all lanes; no other thread may use them meanwhile */
    /* The caller waits for its own lanes, compute and stage. Another thread may go on with the upload lane. */
    zo2_status (*finish)(zo2_backend *b);
    /* From now on every operation and transfer is reported: by a later call on its lane's thread or, at the latest, by
     * drain(), or finish() for its lanes. A lane's spans come in order and don't overlap, and each is one operation. Call it while nothing is
     * under way. fn NULL: no more. The entry NULL: work has finished when its call returns, so the host's clock serves. */
    zo2_status (*observe)(zo2_backend *b, zo2_device_span_fn fn, void *ud);

    /* ---- transfers; host memory stays valid until the lane has passed them ---- */
    zo2_status (*upload)(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes);
    /* Like upload(): enqueued. The host may read dst after a drain() or a sync() with an event recorded behind it; an
     * upload on the same lane may read it at once. */
    zo2_status (*download)(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes);
    /* Within the device, on the compute lane. No step needs it: it is the limit that kernels are measured against. NULL:
     * memory is the host's. */
    zo2_status (*copy)(zo2_backend *b, void *dst, const void *src, uint64_t bytes);

    /* ---- operations, on the compute lane ---- */
#define ZO2_OPERATION_ENTRY(op, type) zo2_status (*op)(zo2_backend * b, const type *operands);
    ZO2_BACKEND_OPERATIONS(ZO2_OPERATION_ENTRY)
#undef ZO2_OPERATION_ENTRY
} zo2_backend_ops;

/* Every backend's handle begins with this. */
struct zo2_backend {
    const zo2_backend_ops *ops;
    uint32_t threads; /* for attention_workspace() */
};

extern const zo2_backend_ops zo2_backend_cpu;
extern const zo2_backend_ops zo2_backend_null;
extern const zo2_backend_ops zo2_backend_cuda; /* in builds with ZO2_HAVE_CUDA */

/* The table of a kind; auto gives the fastest that can open here. NULL for kinds this build lacks. */
const zo2_backend_ops *zo2_backend_get(zo2_backend_kind kind);
/* What auto gives here; why_not[size] (may be NULL, 0) says why it isn't a GPU although this build has that backend. */
const zo2_backend_ops *zo2_backend_auto(char *why_not, size_t size);

#ifdef __cplusplus
}
#endif

#endif
