/* null_backend.c: a backend without arithmetic and without memory, for testing schedules. Its arena is a reserved range
 * of addresses that nobody can touch. Every operation is validated like on the cpu (shapes, alignment, overlap, arena:
 * ZO2_ERR_DEVICE), and every access is checked against the ledger (ledger.h; ZO2_ERR_INTERNAL), as if each lane were a
 * queue that runs at any speed:
 *
 *     - bytes that are read were written before; wires, row references, indices and targets came whole from the host
 *     - an operation that reads what the other lane wrote comes after a wait for an event recorded behind that write
 *     - likewise for overwriting what the other lane read or wrote
 *     - events are recorded before they are waited for
 *     - once host memory has been registered, transfers use registered memory only
 *
 * A strided matrix counts as the whole range from its first to its last byte, once per stream. Downloads fill host
 * memory with zero bytes: log-probabilities of 0. Element sizes and the context stand for a GPU's. Thread-safe. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/backend.h"
#include "kernels/null/ledger.h"
#include "kernels/operands.h"
#include "kernels/operations.h"

#define CONTEXT_BYTES  500000000u           /* what a CUDA context with cuBLAS takes, roughly */
#define RESERVED_BYTES ((uint64_t)32 << 20) /* a workspace of cuBLAS, as its manual recommends for large GPUs */
#define MAX_REGISTERED 16

typedef struct host_range {
    const unsigned char *at;
    uint64_t bytes;
} host_range;

typedef struct null_backend {
    zo2_backend base;
    unsigned char *arena;
    uint64_t arena_bytes;
    pthread_mutex_t lock; /* guards the rest, and events */
    zo2_ledger ledger;
    uint64_t peak;
    host_range registered[MAX_REGISTERED];
    uint32_t n_registered;
} null_backend;

struct zo2_event {
    int recorded;
    zo2_ledger_clock clock;
};

static uint32_t element_bytes(zo2_dtype compute)
{
    return compute == ZO2_F32 ? 4 : 2;
}

/* None, as on a GPU whose kernel keeps scores in shared memory. */
static uint64_t attention_workspace(uint32_t heads, uint32_t head_dim, uint64_t max_keys, uint32_t threads)
{
    (void)heads;
    (void)head_dim;
    (void)max_keys;
    (void)threads;
    return 0;
}

/* ---- life ----------------------------------------------------------------------------------------------------------
 */

static void close_null(zo2_backend *b)
{
    null_backend *z = (null_backend *)b;
    if (!z)
        return;
    if (z->arena)
        munmap(z->arena, z->arena_bytes);
    zo2_ledger_close(&z->ledger);
    pthread_mutex_destroy(&z->lock);
    free(z);
}

static zo2_status open_null(zo2_backend **out, const zo2_backend_config *config)
{
    *out = NULL;
    if (!config->arena_bytes)
        return zo2_error(ZO2_ERR_ARG, "null backend: the arena has no bytes");
    null_backend *z = calloc(1, sizeof *z);
    if (!z)
        return zo2_error(ZO2_ERR_NOMEM, "null backend: no memory");
    z->base.ops = &zo2_backend_null;
    z->base.threads = 1;
    z->arena_bytes = config->arena_bytes;
    pthread_mutex_init(&z->lock, NULL);
    zo2_status s = zo2_ledger_open(&z->ledger, z->arena_bytes);
    if (!s) {
        void *arena = mmap(NULL, z->arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena != MAP_FAILED)
            z->arena = arena;
        else
            s = zo2_error(ZO2_ERR_NOMEM, "null backend: no addresses for an arena of %llu bytes",
                          (unsigned long long)z->arena_bytes);
    }
    if (s) {
        close_null(&z->base);
        return s;
    }
    *out = &z->base;
    return ZO2_OK;
}

static void *arena_of(zo2_backend *b)
{
    return ((null_backend *)b)->arena;
}

static uint64_t peak_bytes(zo2_backend *b)
{
    null_backend *z = (null_backend *)b;
    pthread_mutex_lock(&z->lock);
    uint64_t peak = z->peak;
    pthread_mutex_unlock(&z->lock);
    return CONTEXT_BYTES + peak;
}

/* ---- host memory ---------------------------------------------------------------------------------------------------
 */

static zo2_status host_register(zo2_backend *b, void *at, uint64_t bytes)
{
    null_backend *z = (null_backend *)b;
    zo2_status s = ZO2_OK;
    pthread_mutex_lock(&z->lock);
    if ((uintptr_t)at % 4096 || bytes % 4096)
        s = zo2_error(ZO2_ERR_INTERNAL, "null backend: registered host memory is whole pages");
    else if (z->n_registered == MAX_REGISTERED)
        s = zo2_error(ZO2_ERR_NOMEM, "null backend: more than %d registered ranges", MAX_REGISTERED);
    else
        z->registered[z->n_registered++] = (host_range){at, bytes};
    pthread_mutex_unlock(&z->lock);
    return s;
}

static void host_unregister(zo2_backend *b, void *at)
{
    null_backend *z = (null_backend *)b;
    pthread_mutex_lock(&z->lock);
    for (uint32_t i = 0; i < z->n_registered; i++)
        if (z->registered[i].at == at) {
            z->registered[i] = z->registered[--z->n_registered];
            break;
        }
    pthread_mutex_unlock(&z->lock);
}

static zo2_status check_host(null_backend *z, const char *op, const void *at, uint64_t bytes)
{
    pthread_mutex_lock(&z->lock);
    int ok = !z->n_registered || !bytes;
    for (uint32_t i = 0; i < z->n_registered && !ok; i++) {
        const host_range *r = &z->registered[i];
        const unsigned char *from = at;
        ok = from >= r->at && bytes <= r->bytes && (uint64_t)(from - r->at) <= r->bytes - bytes;
    }
    pthread_mutex_unlock(&z->lock);
    return ok ? ZO2_OK : zo2_error(ZO2_ERR_INTERNAL, "null backend: %s: the host memory was not registered", op);
}

/* ---- events --------------------------------------------------------------------------------------------------------
 */

static zo2_status event_create(zo2_backend *b, zo2_event **out)
{
    (void)b;
    *out = calloc(1, sizeof **out);
    return *out ? ZO2_OK : zo2_error(ZO2_ERR_NOMEM, "null backend: no memory for an event");
}

static void event_destroy(zo2_backend *b, zo2_event *e)
{
    (void)b;
    free(e);
}

static zo2_status record(zo2_backend *b, zo2_lane lane, zo2_event *e)
{
    null_backend *z = (null_backend *)b;
    pthread_mutex_lock(&z->lock);
    e->recorded = 1;
    e->clock = zo2_ledger_record(&z->ledger, lane);
    pthread_mutex_unlock(&z->lock);
    return ZO2_OK;
}

/* Makes the lanes in [first, last] wait. */
static zo2_status wait_lanes(zo2_backend *b, int first, int last, zo2_event *e)
{
    null_backend *z = (null_backend *)b;
    pthread_mutex_lock(&z->lock);
    int recorded = e->recorded;
    for (int l = first; recorded && l <= last; l++)
        zo2_ledger_wait(&z->ledger, (zo2_lane)l, &e->clock);
    pthread_mutex_unlock(&z->lock);
    return recorded ? ZO2_OK : zo2_error(ZO2_ERR_INTERNAL, "null backend: waiting for an event that was not recorded");
}

static zo2_status wait_event(zo2_backend *b, zo2_lane lane, zo2_event *e)
{
    return wait_lanes(b, (int)lane, (int)lane, e);
}

/* When the caller has waited, whatever is enqueued later, on any lane, comes after the event. */
static zo2_status sync_event(zo2_backend *b, zo2_event *e)
{
    return wait_lanes(b, 0, ZO2_LANE_COUNT - 1, e);
}

static zo2_status drain(zo2_backend *b)
{
    null_backend *z = (null_backend *)b;
    pthread_mutex_lock(&z->lock);
    zo2_ledger_drain(&z->ledger);
    pthread_mutex_unlock(&z->lock);
    return ZO2_OK;
}

/* As sync() with an event behind everything on these lanes. */
static zo2_status finish(zo2_backend *b)
{
    null_backend *z = (null_backend *)b;
    pthread_mutex_lock(&z->lock);
    for (int of = ZO2_LANE_COMPUTE; of <= ZO2_LANE_STAGE; of++) {
        zo2_ledger_clock now = zo2_ledger_record(&z->ledger, (zo2_lane)of);
        for (int l = 0; l < ZO2_LANE_COUNT; l++)
            zo2_ledger_wait(&z->ledger, (zo2_lane)l, &now);
    }
    pthread_mutex_unlock(&z->lock);
    return ZO2_OK;
}

/* ---- operations ----------------------------------------------------------------------------------------------------
 */

static const char *may(const null_backend *z, zo2_lane lane, const zo2_operand *o, uint64_t begin, uint64_t end)
{
    const char *wrong = NULL;
    if ((o->access & ZO2_OPERAND_READ))
        wrong = zo2_ledger_may_read(&z->ledger, lane, begin, end, o->uploaded);
    if (!wrong && (o->access & ZO2_OPERAND_WRITE))
        wrong = zo2_ledger_may_write(&z->ledger, lane, begin, end);
    return wrong;
}

/* One operation of a lane whose operands are listed in *l by zo2_operands_...(), with status s. All accesses are
 * checked before the first is noted, so a refused operation leaves no trace. */
static zo2_status perform(zo2_backend *b, zo2_lane lane, zo2_status s, const zo2_operands *l, int from_host)
{
    null_backend *z = (null_backend *)b;
    uint64_t high_water;
    if (s || (s = zo2_operands_check(l, z->arena, z->arena_bytes, &high_water)))
        return s;
    pthread_mutex_lock(&z->lock);
    for (uint32_t i = 0; i < l->n; i++)
        for (uint64_t j = 0; j < l->v[i].batch; j++) {
            const zo2_operand *o = &l->v[i];
            uint64_t begin = (uint64_t)((const unsigned char *)o->at - z->arena) + j * o->stride,
                     end = begin + o->extent;
            const char *wrong = may(z, lane, o, begin, end);
            if (wrong) {
                s = zo2_error(ZO2_ERR_INTERNAL, "null backend: %s: %s (arena bytes %llu to %llu) %s", l->op, o->name,
                              (unsigned long long)begin, (unsigned long long)end, wrong);
                goto done;
            }
        }
    zo2_ledger_tick(&z->ledger, lane);
    for (uint32_t i = 0; i < l->n && !s; i++)
        for (uint64_t j = 0; j < l->v[i].batch && !s; j++) {
            const zo2_operand *o = &l->v[i];
            uint64_t begin = (uint64_t)((const unsigned char *)o->at - z->arena) + j * o->stride,
                     end = begin + o->extent;
            /* A write covers the read of an update. */
            s = (o->access & ZO2_OPERAND_WRITE) ? zo2_ledger_write(&z->ledger, lane, begin, end, from_host)
                                                : zo2_ledger_read(&z->ledger, lane, begin, end);
        }
    if (high_water > z->peak)
        z->peak = high_water;
done:
    pthread_mutex_unlock(&z->lock);
    return s;
}

static zo2_status upload(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    zo2_operands l;
    zo2_status s = check_host((null_backend *)b, "upload", src, bytes);
    if (!s)
        s = zo2_operands_transfer(&l, "upload", dst, bytes, ZO2_OPERAND_WRITE);
    return perform(b, lane, s, &l, 1);
}

static zo2_status download(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    zo2_operands l;
    zo2_status s = check_host((null_backend *)b, "download", dst, bytes);
    if (!s)
        s = zo2_operands_transfer(&l, "download", src, bytes, ZO2_OPERAND_READ);
    s = perform(b, lane, s, &l, 0);
    if (!s && bytes)
        memset(dst, 0, bytes);
    return s;
}

#define OPERATION(op, type)                                                             \
    static zo2_status op(zo2_backend *b, const type *operands)                          \
    {                                                                                   \
        zo2_operands l;                                                                 \
        return perform(b, ZO2_LANE_COMPUTE, zo2_operands_##op(&l, b, operands), &l, 0); \
    }
ZO2_BACKEND_OPERATIONS(OPERATION)

const zo2_backend_ops zo2_backend_null = {
#define ENTRY(op, type) .op = op,
    ZO2_BACKEND_OPERATIONS(ENTRY)
#undef ENTRY
        .kind = ZO2_BACKEND_NULL,
    .context_bytes = CONTEXT_BYTES,
    .reserved_bytes = RESERVED_BYTES,
    .chunk_bytes = (uint64_t)16 << 20, /* as cuda has them */
    .ring_bytes = (uint64_t)256 << 20,
    .device_open = NULL,
    .device_close = NULL,
    .element_bytes = element_bytes,
    .attention_workspace = attention_workspace,
    .open = open_null,
    .close = close_null,
    .arena = arena_of,
    .peak_bytes = peak_bytes,
    .enter = NULL,
    .leave = NULL,
    .host_register = host_register,
    .host_unregister = host_unregister,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .record = record,
    .wait = wait_event,
    .sync = sync_event,
    .drain = drain,
    .finish = finish,
    .observe = NULL,
    .upload = upload,
    .download = download,
};
