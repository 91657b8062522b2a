/* backend_contract.c: see backend_contract.h. */
#include "tests/unit/engine/backend_contract.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/stream/lanes.h"

#define NOBODY 0u

_Static_assert(sizeof(pthread_t) <= sizeof(uintptr_t), "threads are told apart as numbers");

/* Of an open backend: what its handle's `ops` points to. */
typedef struct contract {
    zo2_backend_ops ops;
    const zo2_backend_ops *real;
    _Atomic uintptr_t owner[ZO2_LANE_COUNT]; /* thread that a lane belongs to, NOBODY: drained */
} contract;

static const char *const lanes[ZO2_LANE_COUNT] = {"upload", "compute", "stage"};

static _Atomic(void (*)(const char *)) on_break;

void backend_contract_on_break(void (*fn)(const char *words))
{
    atomic_store(&on_break, fn);
}

static void close_watched(zo2_backend *b);

/* NULL: not one of ours. */
static contract *contract_of(const zo2_backend *b)
{
    return b->ops->close == close_watched ? (contract *)(uintptr_t)b->ops : NULL;
}

static const zo2_backend_ops *real_of(const zo2_backend *b)
{
    return contract_of(b)->real;
}

/* ---- the rules ---- */

static uintptr_t me(void)
{
    return (uintptr_t)pthread_self();
}

static uintptr_t owner_of(const contract *c, int lane)
{
    return atomic_load_explicit(&c->owner[lane], memory_order_relaxed);
}

static void give(contract *c, int lane, uintptr_t owner)
{
    atomic_store_explicit(&c->owner[lane], owner, memory_order_relaxed);
}

void backend_contract_joined(zo2_backend *b)
{
    for (int lane = 0; lane < ZO2_LANE_COUNT; lane++)
        if (owner_of(contract_of(b), lane) != NOBODY)
            give(contract_of(b), lane, me());
}

static zo2_status broken(const char *call, int lane, const char *why)
{
    char words[256];
    void (*fn)(const char *) = atomic_load(&on_break);
    snprintf(words, sizeof words, "%s() while the %s lane %s", call, lanes[lane], why);
    if (!fn) {
        fprintf(stderr, "the backend's contract on threads is broken: %s\n", words);
        abort();
    }
    fn(words);
    return zo2_error(ZO2_ERR_INTERNAL, "%s", words);
}

/* A call on a lane: the lane is this thread's, from now on if it was nobody's. */
static zo2_status use(const zo2_backend *b, const char *call, zo2_lane lane)
{
    contract *c = contract_of(b);
    uintptr_t owner = NOBODY;
    if (atomic_compare_exchange_strong_explicit(&c->owner[lane], &owner, me(), memory_order_relaxed,
                                                memory_order_relaxed) ||
        owner == me())
        return ZO2_OK;
    return broken(call, (int)lane, "is another thread's");
}

/* A call that no other thread may use the lanes beside. */
static zo2_status alone(const zo2_backend *b, const char *call)
{
    const contract *c = contract_of(b);
    for (int lane = 0; lane < ZO2_LANE_COUNT; lane++) {
        uintptr_t owner = owner_of(c, lane);
        if (owner != NOBODY && owner != me())
            return broken(call, lane, "is another thread's");
    }
    return ZO2_OK;
}

/* A call that another thread may use the upload lane beside. */
static zo2_status beside_uploads(const zo2_backend *b, const char *call)
{
    const contract *c = contract_of(b);
    for (int lane = ZO2_LANE_COMPUTE; lane < ZO2_LANE_COUNT; lane++) {
        uintptr_t owner = owner_of(c, lane);
        if (owner != NOBODY && owner != me())
            return broken(call, lane, "is another thread's");
    }
    return ZO2_OK;
}

/* A call that nothing may be under way beside. */
static zo2_status idle(const zo2_backend *b, const char *call)
{
    const contract *c = contract_of(b);
    zo2_status s = alone(b, call);
    for (int lane = 0; lane < ZO2_LANE_COUNT && !s; lane++)
        if (owner_of(c, lane) != NOBODY)
            s = broken(call, lane, "is not drained");
    return s;
}

void __real_zo2_pipeline_start(zo2_pipeline *p);
void __wrap_zo2_pipeline_start(zo2_pipeline *p);
void __wrap_zo2_pipeline_start(zo2_pipeline *p)
{
    contract *c = contract_of(p->be);
    if (c && alone(p->be, "zo2_pipeline_start"))
        return;
    if (c)
        for (int lane = 0; lane < ZO2_LANE_COUNT; lane++)
            give(c, lane, lane == ZO2_LANE_UPLOAD ? (uintptr_t)p->lane[ZO2_TRACK_UPLOAD].thread : me());
    __real_zo2_pipeline_start(p);
}

/* The lanes' threads sleep. */
void __real_zo2_pipeline_pause(zo2_pipeline *p);
void __wrap_zo2_pipeline_pause(zo2_pipeline *p);
void __wrap_zo2_pipeline_pause(zo2_pipeline *p)
{
    contract *c = contract_of(p->be);
    __real_zo2_pipeline_pause(p);
    if (c)
        backend_contract_joined(p->be);
}

/* ---- the table ---- */

static void close_watched(zo2_backend *b)
{
    contract *c = b ? contract_of(b) : NULL;
    if (!b || alone(b, "close"))
        return;
    b->ops = c->real;
    c->real->close(b);
    free(c);
}

static void enter(zo2_backend *b)
{
    if (!beside_uploads(b, "enter"))
        real_of(b)->enter(b);
}

static void leave(zo2_backend *b)
{
    if (!beside_uploads(b, "leave"))
        real_of(b)->leave(b);
}

static void block(zo2_backend *b, uint32_t i, uint32_t blocks)
{
    if (!use(b, "block", ZO2_LANE_COMPUTE))
        real_of(b)->block(b, i, blocks);
}

static zo2_status host_register(zo2_backend *b, void *at, uint64_t bytes)
{
    zo2_status s = alone(b, "host_register");
    return s ? s : real_of(b)->host_register(b, at, bytes);
}

static void host_unregister(zo2_backend *b, void *at)
{
    if (!idle(b, "host_unregister"))
        real_of(b)->host_unregister(b, at);
}

static zo2_status observe(zo2_backend *b, zo2_device_span_fn fn, void *ud)
{
    zo2_status s = idle(b, "observe");
    return s ? s : real_of(b)->observe(b, fn, ud);
}

static zo2_status record(zo2_backend *b, zo2_lane lane, zo2_event *e)
{
    zo2_status s = use(b, "record", lane);
    return s ? s : real_of(b)->record(b, lane, e);
}

static zo2_status wait_event(zo2_backend *b, zo2_lane lane, zo2_event *e)
{
    zo2_status s = use(b, "wait", lane);
    return s ? s : real_of(b)->wait(b, lane, e);
}

/* The lanes are this thread's until it is over: who comes too early is caught. */
static zo2_status drain(zo2_backend *b)
{
    contract *c = contract_of(b);
    zo2_status s = alone(b, "drain");
    if (s)
        return s;
    for (int lane = 0; lane < ZO2_LANE_COUNT; lane++)
        give(c, lane, me());
    s = c->real->drain(b);
    for (int lane = 0; lane < ZO2_LANE_COUNT; lane++)
        give(c, lane, NOBODY);
    return s;
}

static zo2_status finish(zo2_backend *b)
{
    contract *c = contract_of(b);
    zo2_status s = beside_uploads(b, "finish");
    if (s)
        return s;
    for (int lane = ZO2_LANE_COMPUTE; lane < ZO2_LANE_COUNT; lane++)
        give(c, lane, me());
    s = c->real->finish(b);
    for (int lane = ZO2_LANE_COMPUTE; lane < ZO2_LANE_COUNT; lane++)
        give(c, lane, NOBODY);
    return s;
}

static zo2_status upload(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    zo2_status s = use(b, "upload", lane);
    return s ? s : real_of(b)->upload(b, lane, dst, src, bytes);
}

static zo2_status download(zo2_backend *b, zo2_lane lane, void *dst, const void *src, uint64_t bytes)
{
    zo2_status s = use(b, "download", lane);
    return s ? s : real_of(b)->download(b, lane, dst, src, bytes);
}

static zo2_status copy(zo2_backend *b, void *dst, const void *src, uint64_t bytes)
{
    zo2_status s = use(b, "copy", ZO2_LANE_COMPUTE);
    return s ? s : real_of(b)->copy(b, dst, src, bytes);
}

#define OPERATION(op, type)                                    \
    static zo2_status op(zo2_backend *b, const type *operands) \
    {                                                          \
        zo2_status s = use(b, #op, ZO2_LANE_COMPUTE);          \
        return s ? s : real_of(b)->op(b, operands);            \
    }
ZO2_BACKEND_OPERATIONS(OPERATION)

/* The real table with every entry that the rules are about replaced; what a backend leaves out stays out. */
static void make_table(zo2_backend_ops *t, const zo2_backend_ops *real)
{
    *t = *real;
    t->close = close_watched;
    t->enter = real->enter ? enter : NULL;
    t->leave = real->leave ? leave : NULL;
    t->block = real->block ? block : NULL;
    t->host_register = real->host_register ? host_register : NULL;
    t->host_unregister = real->host_unregister ? host_unregister : NULL;
    t->record = record;
    t->wait = wait_event;
    t->drain = drain;
    t->finish = finish;
    t->observe = real->observe ? observe : NULL;
    t->upload = upload;
    t->download = download;
    t->copy = real->copy ? copy : NULL;
#define REPLACE(op, type) t->op = op;
    ZO2_BACKEND_OPERATIONS(REPLACE)
}

static zo2_status open_watched(zo2_backend **out, const zo2_backend_config *config, const zo2_backend_ops *real)
{
    zo2_status s = real->open(out, config);
    if (s)
        return s;
    contract *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    make_table(&c->ops, real);
    c->real = real;
    (*out)->ops = &c->ops;
    return ZO2_OK;
}

/* ---- which table ---- */

const zo2_backend_ops *__real_zo2_backend_get(zo2_backend_kind kind);
const zo2_backend_ops *__real_zo2_backend_auto(char *why_not, size_t size);
const zo2_backend_ops *__wrap_zo2_backend_get(zo2_backend_kind kind);
const zo2_backend_ops *__wrap_zo2_backend_auto(char *why_not, size_t size);

static zo2_status open_cpu(zo2_backend **out, const zo2_backend_config *config)
{
    return open_watched(out, config, __real_zo2_backend_get(ZO2_BACKEND_CPU));
}

static zo2_status open_cuda(zo2_backend **out, const zo2_backend_config *config)
{
    return open_watched(out, config, __real_zo2_backend_get(ZO2_BACKEND_CUDA));
}

static zo2_status open_null(zo2_backend **out, const zo2_backend_config *config)
{
    return open_watched(out, config, __real_zo2_backend_get(ZO2_BACKEND_NULL));
}

static zo2_backend_ops cpu, cuda, null;

static void make_tables(void)
{
    make_table(&cpu, __real_zo2_backend_get(ZO2_BACKEND_CPU));
    cpu.open = open_cpu;
    make_table(&null, __real_zo2_backend_get(ZO2_BACKEND_NULL));
    null.open = open_null;
    if (!__real_zo2_backend_get(ZO2_BACKEND_CUDA))
        return;
    make_table(&cuda, __real_zo2_backend_get(ZO2_BACKEND_CUDA));
    cuda.open = open_cuda;
}

static const zo2_backend_ops *watched(const zo2_backend_ops *real)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_tables);
    if (!real)
        return NULL;
    return real->kind == ZO2_BACKEND_CPU ? &cpu : real->kind == ZO2_BACKEND_CUDA ? &cuda : &null;
}

const zo2_backend_ops *__wrap_zo2_backend_get(zo2_backend_kind kind)
{
    return watched(__real_zo2_backend_get(kind));
}

const zo2_backend_ops *__wrap_zo2_backend_auto(char *why_not, size_t size)
{
    return watched(__real_zo2_backend_auto(why_not, size));
}
