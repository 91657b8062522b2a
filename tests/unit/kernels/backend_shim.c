/* backend_shim.c: see backend_shim.h. */
#include "tests/unit/kernels/backend_shim.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "codec/codec.h"

#define MAX_PARTS 64

typedef struct part {
    uint64_t at, bytes;
    zo2_dtype type; /* of the operation at hand: ZO2_F32 is also "as it is" */
} part;

typedef struct shim {
    zo2_backend base;
    zo2_backend *real;
    unsigned char *arena;         /* device, behind what the backend keeps for itself */
    unsigned char *mirror;        /* what the test sees */
    unsigned char *sent, *got;    /* registered: the device's image before and after */
    uint64_t bytes, buffer_bytes; /* of the arena; of each of the three */
    part parts[MAX_PARTS];
    uint32_t n;
    zo2_status failed; /* of a copy */
} shim;

/* ---- addresses and types ---- */

static part *part_of(shim *s, const void *p)
{
    uint64_t at = (uint64_t)((uintptr_t)p - (uintptr_t)s->mirror);
    for (uint32_t i = 0; i < s->n; i++)
        if (at >= s->parts[i].at && at < s->parts[i].at + s->parts[i].bytes)
            return &s->parts[i];
    return NULL;
}

/* Where p is on the device, as an array of type. */
static void *map(shim *s, const void *p, zo2_dtype type)
{
    if (!p)
        return NULL;
    uint64_t at = (uint64_t)((uintptr_t)p - (uintptr_t)s->mirror);
    part *q = type == ZO2_F32 ? NULL : part_of(s, p);
    if (q) {
        q->type = type;
        at = q->at + (at - q->at) / 2;
    }
    return s->arena + at; /* outside the mirror: as far outside the arena */
}

/* ---- copies ---- */

static void keep(shim *s, zo2_status status)
{
    if (!s->failed)
        s->failed = status;
}

/* Bytes that are copied: all parts and a little behind them, where nothing may be written. */
static uint64_t extent(const shim *s)
{
    uint64_t end = s->n ? s->parts[s->n - 1].at + s->parts[s->n - 1].bytes + 64 : s->bytes;
    return end < s->bytes ? end : s->bytes;
}

static void begin(shim *s)
{
    s->failed = ZO2_OK;
    for (uint32_t i = 0; i < s->n; i++)
        s->parts[i].type = ZO2_F32;
}

static void send(shim *s)
{
    memcpy(s->sent, s->mirror, extent(s));
    for (uint32_t i = 0; i < s->n; i++) {
        const part *p = &s->parts[i];
        if (p->type != ZO2_F32)
            zo2_source_encode(p->type, (const float *)(const void *)(s->mirror + p->at), p->bytes / 4, s->sent + p->at);
    }
    keep(s, s->real->ops->upload(s->real, ZO2_LANE_COMPUTE, s->arena, s->sent, extent(s)));
}

static void receive(shim *s)
{
    keep(s, s->real->ops->download(s->real, ZO2_LANE_COMPUTE, s->got, s->arena, extent(s)));
    keep(s, s->real->ops->drain(s->real));
    uint64_t done = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const part *p = &s->parts[i];
        memcpy(s->mirror + done, s->got + done, p->at - done);
        done = p->at + p->bytes;
        if (p->type == ZO2_F32) {
            memcpy(s->mirror + p->at, s->got + p->at, p->bytes);
            continue;
        }
        for (uint64_t j = 0; j < p->bytes / 4; j++)
            if (memcmp(s->sent + p->at + 2 * j, s->got + p->at + 2 * j, 2))
                zo2_source_decode(p->type, s->got + p->at + 2 * j, 1, (float *)(void *)(s->mirror + p->at) + j);
    }
    memcpy(s->mirror + done, s->got + done, extent(s) - done);
}

/* After the real operation, whose status is `status`. */
static zo2_status finish(shim *s, zo2_status status)
{
    if (status) {
        (void)s->real->ops->drain(s->real);
        return status;
    }
    receive(s);
    return s->failed;
}

/* ---- operations ---- */

/* What an operation's struct points to on the device: its operands are put where they are there. */
static void map_decode(shim *s, zo2_decode_op *o)
{
    o->src = map(s, o->src, ZO2_F32);
    for (uint32_t p = 0; p < o->panels; p++)
        o->panel[p] = map(s, o->panel[p], o->type);
}

static void map_decode_rows(shim *s, zo2_decode_rows_op *o)
{
    o->src = map(s, o->src, ZO2_F32);
    o->refs = map(s, o->refs, ZO2_F32);
    for (uint32_t p = 0; p < o->panels; p++)
        o->panel[p] = map(s, o->panel[p], o->type);
}

static void map_gemm(shim *s, zo2_gemm_op *o)
{
    o->x = map(s, o->x, o->type);
    o->panel = map(s, o->panel, o->type);
    o->y = map(s, o->y, o->y_type);
    o->bias = map(s, o->bias, ZO2_F32);
}

static void map_bias_act(shim *s, zo2_bias_act_op *o)
{
    o->y = map(s, o->y, o->type);
    o->bias = map(s, o->bias, ZO2_F32);
}

static void map_layernorm(shim *s, zo2_layernorm_op *o)
{
    o->x = map(s, o->x, ZO2_F32);
    o->gamma = map(s, o->gamma, ZO2_F32);
    o->beta = map(s, o->beta, ZO2_F32);
    o->y = map(s, o->y, o->type);
}

static void map_rmsnorm(shim *s, zo2_rmsnorm_op *o)
{
    o->x = map(s, o->x, o->x_type);
    o->gamma = map(s, o->gamma, ZO2_F32);
    o->y = map(s, o->y, o->type);
}

static void map_rope(shim *s, zo2_rope_op *o)
{
    o->x = map(s, o->x, o->type);
    o->table = map(s, o->table, ZO2_F32);
    o->position = map(s, o->position, ZO2_F32);
}

static void map_gate(shim *s, zo2_gate_op *o)
{
    o->y = map(s, o->y, o->type);
    o->up = map(s, o->up, o->type);
    o->bias_gate = map(s, o->bias_gate, ZO2_F32);
    o->bias_up = map(s, o->bias_up, ZO2_F32);
}

static void map_attention(shim *s, zo2_attention_op *o)
{
    o->q = map(s, o->q, o->type);
    o->k = map(s, o->k, o->type);
    o->v = map(s, o->v, o->type);
    o->out = map(s, o->out, o->type);
    o->workspace = map(s, o->workspace, ZO2_F32);
}

static void map_convert_rows(shim *s, zo2_convert_rows_op *o)
{
    o->x = map(s, o->x, ZO2_F32);
    o->index = map(s, o->index, ZO2_F32);
    o->y = map(s, o->y, o->type);
}

static void map_lse_init(shim *s, zo2_lse_init_op *o)
{
    o->state = map(s, o->state, ZO2_F32);
}

static void map_lse_tile(shim *s, zo2_lse_op *o)
{
    o->logits = map(s, o->logits, ZO2_F32);
    o->target = map(s, o->target, ZO2_F32);
    o->skip = map(s, o->skip, ZO2_F32);
    o->state = map(s, o->state, ZO2_F32);
}

static void map_lse_finish(shim *s, zo2_lse_finish_op *o)
{
    o->state = map(s, o->state, ZO2_F32);
    o->logprob = map(s, o->logprob, ZO2_F32);
}

/* Runs the operation between the copies; its refusal is what counts most. */
#define OPERATION(op, type)                                    \
    static zo2_status op(zo2_backend *b, const type *operands) \
    {                                                          \
        shim *s = (shim *)b;                                   \
        type o = *operands;                                    \
        begin(s);                                              \
        map_##op(s, &o);                                       \
        send(s);                                               \
        return finish(s, s->real->ops->op(s->real, &o));       \
    }
ZO2_BACKEND_OPERATIONS(OPERATION)

/* ---- life ---- */

static void *arena_of(zo2_backend *b)
{
    return ((shim *)b)->mirror;
}

static void enter(zo2_backend *b)
{
    shim *s = (shim *)b;
    if (s->real->ops->enter)
        s->real->ops->enter(s->real);
}

static void leave(zo2_backend *b)
{
    shim *s = (shim *)b;
    if (s->real->ops->leave)
        s->real->ops->leave(s->real);
}

static void close_shim(zo2_backend *b)
{
    shim *s = (shim *)b;
    zo2_backend_ops *ops = (zo2_backend_ops *)(uintptr_t)s->base.ops;
    if (s->real->ops->host_unregister) {
        s->real->ops->host_unregister(s->real, s->sent);
        s->real->ops->host_unregister(s->real, s->got);
    }
    s->real->ops->close(s->real);
    munmap(s->mirror, s->buffer_bytes);
    munmap(s->sent, s->buffer_bytes);
    munmap(s->got, s->buffer_bytes);
    free(ops);
    free(s);
}

static unsigned char *pages(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

zo2_status backend_shim_open(zo2_backend **out, const zo2_backend_ops *real, zo2_device *device, uint64_t bytes)
{
    zo2_backend_config config = {.arena_bytes = real->reserved_bytes + bytes, .device = device};
    zo2_backend *r;
    zo2_status status = real->open(&r, &config);
    if (status)
        return status;
    shim *s = calloc(1, sizeof *s);
    zo2_backend_ops *ops = malloc(sizeof *ops);
    if (!s || !ops)
        abort();
    *ops = *real; /* facts */
    ops->close = close_shim;
    ops->arena = arena_of;
    ops->enter = enter;
    ops->leave = leave;
#define ENTRY(op, type) ops->op = op;
    ZO2_BACKEND_OPERATIONS(ENTRY)
    s->base.ops = ops;
    s->real = r;
    s->arena = (unsigned char *)real->arena(r) + real->reserved_bytes;
    s->bytes = bytes;
    s->buffer_bytes = (bytes + 4095) / 4096 * 4096;
    s->mirror = pages(s->buffer_bytes);
    s->sent = pages(s->buffer_bytes);
    s->got = pages(s->buffer_bytes);
    if (real->host_register) {
        status = real->host_register(r, s->sent, s->buffer_bytes);
        if (!status)
            status = real->host_register(r, s->got, s->buffer_bytes);
        if (status)
            return status;
    }
    *out = &s->base;
    return ZO2_OK;
}

void backend_shim_part(zo2_backend *b, const void *at, uint64_t bytes)
{
    shim *s = (shim *)b;
    if (s->n == MAX_PARTS)
        abort();
    s->parts[s->n++] = (part){.at = (uint64_t)((uintptr_t)at - (uintptr_t)s->mirror), .bytes = bytes, .type = ZO2_F32};
}
