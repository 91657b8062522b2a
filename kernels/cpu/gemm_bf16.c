/* gemm_bf16.c: oneDNN's matmul, one primitive for each shape, executed by single threads. Operands are packed to bf16
 * tile by tile, also those that other tiles pack too: that costs 4 to 8 % of the product (measured), and the memory stays
 * that of a tile for each thread.
 *
 * What a primitive works in is given to it. oneDNN still allocates when it is called, 6 blocks of at most 104 bytes for the
 * list of arguments (2.6.3, counted), and frees them before it returns: its interface has no way around that.
 *
 * oneDNN would start OpenMP threads of its own on each of ours. How many is a setting of the calling thread, and also what
 * a primitive is cut for: it is 1 while oneDNN is called, and restored after. */
#include "kernels/cpu/gemm_bf16.h"

#ifdef ZO2_HAVE_ONEDNN
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>

enum { SHAPES = 64, ALIGN = 64 };
enum { SCRATCH_MOST = 1 << 20 }; /* of a primitive: 5 to 132 kB were seen (2.6.3) */
enum { X, PANEL, Y, SCRATCH, OPERANDS };

struct zo2_gemm_bf16_shape {
    uint64_t m, n, k;
    uint64_t used; /* job that used it last; 0: never */
    dnnl_primitive_t matmul;
    dnnl_memory_t *memory; /* [slots][OPERANDS] */
    uint64_t at[OPERANDS]; /* in a slot's buffer */
    uint64_t bytes;        /* of a slot's buffer */
};

struct zo2_gemm_bf16 {
    dnnl_engine_t engine;
    uint32_t slots;
    dnnl_stream_t *stream;  /* [slots] */
    unsigned char **buffer; /* [slots], of `bytes` */
    uint64_t bytes;
    uint64_t job;
    zo2_gemm_bf16_shape shape[SHAPES];
};

static zo2_status status_of(dnnl_status_t s)
{
    if (s == dnnl_success)
        return ZO2_OK;
    if (s == dnnl_out_of_memory)
        return zo2_error(ZO2_ERR_NOMEM, "cpu backend: no memory for a bf16 product");
    return zo2_error(ZO2_ERR_INTERNAL, "cpu backend: oneDNN refuses a bf16 product (its status %d)", (int)s);
}

static uint64_t align_up(uint64_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static int cpu_has_it(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

uint64_t zo2_gemm_bf16_most_bytes(uint64_t k)
{
    const uint64_t m = ZO2_GEMM_TILE_M, n = ZO2_GEMM_TILE_N;
    return cpu_has_it() ? (m + n) * k * sizeof(uint16_t) + m * n * sizeof(float) + SCRATCH_MOST + 4 * ALIGN : 0;
}

uint64_t zo2_gemm_bf16_slot_bytes(const zo2_gemm_bf16 *g)
{
    return g->bytes;
}

zo2_status zo2_gemm_bf16_open(zo2_gemm_bf16 **out, uint32_t slots)
{
    *out = NULL;
    if (!cpu_has_it())
        return ZO2_OK;
    dnnl_status_t s = dnnl_out_of_memory;
    zo2_gemm_bf16 *g = calloc(1, sizeof *g);
    if (!g)
        return status_of(s);
    g->slots = slots;
    g->stream = calloc(slots, sizeof *g->stream);
    g->buffer = calloc(slots, sizeof *g->buffer);
    if (g->stream && g->buffer)
        s = dnnl_engine_create(&g->engine, dnnl_cpu, 0);
    for (uint32_t i = 0; !s && i < slots; i++)
        s = dnnl_stream_create(&g->stream[i], g->engine, dnnl_stream_default_flags);
    if (s)
        zo2_gemm_bf16_close(g);
    else
        *out = g;
    return status_of(s);
}

/* What was created so far; the shape is empty then. */
static void drop_shape(const zo2_gemm_bf16 *g, zo2_gemm_bf16_shape *shape)
{
    for (uint64_t i = 0; shape->memory && i < (uint64_t)g->slots * OPERANDS; i++)
        if (shape->memory[i])
            dnnl_memory_destroy(shape->memory[i]);
    free(shape->memory);
    if (shape->matmul)
        dnnl_primitive_destroy(shape->matmul);
    *shape = (zo2_gemm_bf16_shape){0};
}

void zo2_gemm_bf16_close(zo2_gemm_bf16 *g)
{
    if (!g)
        return;
    for (unsigned i = 0; i < SHAPES; i++)
        drop_shape(g, &g->shape[i]);
    for (uint32_t i = 0; i < g->slots; i++) {
        if (g->stream && g->stream[i])
            dnnl_stream_destroy(g->stream[i]);
        if (g->buffer)
            free(g->buffer[i]);
    }
    if (g->engine)
        dnnl_engine_destroy(g->engine);
    free(g->stream);
    free(g->buffer);
    free(g);
}

/* The memory descriptors of X, PANEL and Y, and from them the primitive with SCRATCH's. */
static dnnl_status_t create_matmul(const zo2_gemm_bf16 *g, zo2_gemm_bf16_shape *shape, dnnl_memory_desc_t *operand)
{
    dnnl_dim_t m = (dnnl_dim_t)shape->m, n = (dnnl_dim_t)shape->n, k = (dnnl_dim_t)shape->k, ld = k;
    dnnl_dims_t dims[3] = {{m, k}, {k, n}, {m, n}}, strides[3] = {{ld, 1}, {1, ld}, {n, 1}};
    dnnl_status_t s = dnnl_success;
    for (unsigned i = X; !s && i <= Y; i++)
        s = dnnl_memory_desc_init_by_strides(&operand[i], 2, dims[i], i == Y ? dnnl_f32 : dnnl_bf16, strides[i]);
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    if (!s && !(s = dnnl_matmul_desc_init(&matmul, &operand[X], &operand[PANEL], NULL, &operand[Y])) &&
        !(s = dnnl_primitive_attr_create(&attr)) &&
        !(s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user)) &&
        !(s = dnnl_primitive_desc_create(&desc, &matmul, attr, g->engine, NULL))) {
        operand[SCRATCH] = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
        s = dnnl_primitive_create(&shape->matmul, desc);
    }
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return s;
}

static dnnl_status_t create_shape(const zo2_gemm_bf16 *g, zo2_gemm_bf16_shape *shape)
{
    dnnl_memory_desc_t operand[OPERANDS];
    dnnl_status_t s = create_matmul(g, shape, operand);
    if (s)
        return s;
    shape->at[PANEL] = align_up(shape->m * shape->k * sizeof(uint16_t));
    shape->at[Y] = shape->at[PANEL] + align_up(shape->n * shape->k * sizeof(uint16_t));
    shape->at[SCRATCH] = shape->at[Y] + align_up(shape->m * shape->n * sizeof(float));
    shape->bytes = shape->at[SCRATCH] + align_up(dnnl_memory_desc_get_size(&operand[SCRATCH]));
    shape->memory = calloc((size_t)g->slots * OPERANDS, sizeof *shape->memory);
    if (!shape->memory)
        return dnnl_out_of_memory;
    for (uint64_t i = 0; !s && i < (uint64_t)g->slots * OPERANDS; i++)
        s = dnnl_memory_create(&shape->memory[i], &operand[i % OPERANDS], g->engine, DNNL_MEMORY_NONE);
    return s;
}

static dnnl_status_t grow_buffers(zo2_gemm_bf16 *g, uint64_t bytes)
{
    if (bytes <= g->bytes)
        return dnnl_success;
    g->bytes = 0;
    for (uint32_t i = 0; i < g->slots; i++) {
        free(g->buffer[i]);
        g->buffer[i] = aligned_alloc(ALIGN, bytes);
        if (!g->buffer[i])
            return dnnl_out_of_memory;
    }
    g->bytes = bytes;
    return dnnl_success;
}

void zo2_gemm_bf16_begin(zo2_gemm_bf16 *g)
{
    g->job++;
}

static int is_for(const zo2_gemm_bf16_shape *s, uint64_t m, uint64_t n, uint64_t k)
{
    return s->used && s->m == m && s->n == n && s->k == k;
}

zo2_status zo2_gemm_bf16_prepare(zo2_gemm_bf16 *g, uint64_t m, uint64_t n, uint64_t k, zo2_gemm_bf16_shape **out)
{
    zo2_gemm_bf16_shape *shape = g->shape; /* the one, or the one that wasn't used for longest */
    for (unsigned i = 0; i < SHAPES && !is_for(shape, m, n, k); i++)
        if (is_for(&g->shape[i], m, n, k) || g->shape[i].used < shape->used)
            shape = &g->shape[i];
    *out = shape;
    if (!is_for(shape, m, n, k)) {
        drop_shape(g, shape);
        shape->m = m;
        shape->n = n;
        shape->k = k;
        int threads = omp_get_max_threads();
        omp_set_num_threads(1);
        dnnl_status_t s = create_shape(g, shape);
        omp_set_num_threads(threads);
        if (s) {
            drop_shape(g, shape);
            return status_of(s);
        }
    }
    shape->used = g->job;
    return status_of(grow_buffers(g, shape->bytes));
}

/* oneDNN's faster kernels, which also allocate nothing, want rows without gaps (2.6). */
static void unpack(const zo2_gemm_bf16_shape *s, const float *from, float *y, uint64_t ldy, int accumulate)
{
    for (uint64_t r = 0; r < s->m; r++)
        for (uint64_t i = 0; i < s->n; i++)
            y[r * ldy + i] = accumulate ? y[r * ldy + i] + from[r * s->n + i] : from[r * s->n + i];
}

int zo2_gemm_bf16_run(zo2_gemm_bf16 *g, zo2_gemm_bf16_shape *s, uint32_t slot, const float *x, uint64_t ldx,
                      const float *panel, uint64_t ldp, float *y, uint64_t ldy, int accumulate)
{
    unsigned char *buffer = g->buffer[slot];
    dnnl_memory_t *memory = s->memory + (size_t)slot * OPERANDS;
    zo2_bf16_pack_avx512(x, ldx, s->m, s->k, (uint16_t *)(void *)(buffer + s->at[X]), s->k);
    zo2_bf16_pack_avx512(panel, ldp, s->n, s->k, (uint16_t *)(void *)(buffer + s->at[PANEL]), s->k);
    static const int role[OPERANDS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t args[OPERANDS];
    int ok = 1;
    for (unsigned i = 0; i < OPERANDS; i++) {
        ok = ok && dnnl_memory_set_data_handle(memory[i], buffer + s->at[i]) == dnnl_success;
        args[i] = (dnnl_exec_arg_t){role[i], memory[i]};
    }
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    ok = ok && dnnl_primitive_execute(s->matmul, g->stream[slot], OPERANDS, args) == dnnl_success;
    omp_set_num_threads(threads);
    if (ok)
        unpack(s, (const float *)(const void *)(buffer + s->at[Y]), y, ldy, accumulate);
    return ok;
}

#else

uint64_t zo2_gemm_bf16_most_bytes(uint64_t k)
{
    (void)k;
    return 0;
}

uint64_t zo2_gemm_bf16_slot_bytes(const zo2_gemm_bf16 *g)
{
    (void)g;
    return 0;
}

zo2_status zo2_gemm_bf16_open(zo2_gemm_bf16 **out, uint32_t slots)
{
    (void)slots;
    *out = NULL;
    return ZO2_OK;
}

void zo2_gemm_bf16_close(zo2_gemm_bf16 *g)
{
    (void)g;
}

/* Nobody has a zo2_gemm_bf16 to call these with. */
void zo2_gemm_bf16_begin(zo2_gemm_bf16 *g)
{
    (void)g;
}

zo2_status zo2_gemm_bf16_prepare(zo2_gemm_bf16 *g, uint64_t m, uint64_t n, uint64_t k, zo2_gemm_bf16_shape **out)
{
    (void)g, (void)m, (void)n, (void)k, (void)out;
    return zo2_error(ZO2_ERR_INTERNAL, "cpu backend: a bf16 product without oneDNN");
}

int zo2_gemm_bf16_run(zo2_gemm_bf16 *g, zo2_gemm_bf16_shape *s, uint32_t slot, const float *x, uint64_t ldx,
                      const float *panel, uint64_t ldp, float *y, uint64_t ldy, int accumulate)
{
    (void)g, (void)s, (void)slot, (void)x, (void)ldx, (void)panel, (void)ldp, (void)y, (void)ldy, (void)accumulate;
    return 0;
}

#endif
