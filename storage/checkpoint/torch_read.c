/* torch_read.c: a tensor's elements row by row, whatever its strides. What lies in one stretch of the file is read as that. Of others
 * (transposed, sliced, expanded) boxes are cut so that the file is read in windows along its smallest strides, and elements are
 * put in their places from there: a transposed matrix costs a read for each run down a column, not one for each element. */
#include "engine/base/checked.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/torch_internal.h"
#include "storage/checkpoint/torch_state.h"
#include "storage/io/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES ((uint64_t)1 << 20)
#define NEAR_BYTES   4096u /* nearer than this, reading what is between is cheaper than reading twice */
#define LINE         64u   /* bytes of a cache line; a multiple of every element */
#define MAX_RUNS     64u   /* side by side in a window */

/* A dimension of what is to be copied. */
typedef struct dim {
    uint64_t n;
    uint64_t from, to; /* steps in the file's elements and in those of dst */
} dim;

typedef struct reading {
    const zo2_torch_file *f;
    const zo2_torch_tensor *t;
    uint64_t size, at; /* bytes of an element; offset of the tensor's first one */
    uint64_t shape[ZO2_STORED_MAX_RANK], stride[ZO2_STORED_MAX_RANK];
    uint32_t rank;
    unsigned char *window, *dst;
    uint64_t first; /* element that dst begins with */
} reading;

/* ---- copying from a window ------------------------------------------------------------------------------------------- */

#define COPY(type)                      \
    for (uint64_t i = 0; i < d->n; i++) \
    memcpy(to + i * d->to * sizeof(type), from + i * d->from * sizeof(type), sizeof(type))

/* d->n elements of `size` bytes. */
static void copy_line(unsigned char *to, const unsigned char *from, const dim *d, uint64_t size)
{
    if (d->from == 1 && d->to == 1) {
        memcpy(to, from, (size_t)(d->n * size));
        return;
    }
    switch (size) {
    case 1: COPY(uint8_t); break;
    case 2: COPY(uint16_t); break;
    case 4: COPY(uint32_t); break;
    case 8: COPY(uint64_t); break;
    default:
        for (uint64_t i = 0; i < d->n; i++)
            memcpy(to + i * d->to * size, from + i * d->from * size, (size_t)size);
    }
}

/* All of d[n], of which the last dimensions are the outer ones. */
static void copy_box(unsigned char *to, const unsigned char *from, const dim *d, uint32_t n, uint64_t size)
{
    if (n == 0) {
        memcpy(to, from, (size_t)size);
        return;
    }
    if (n == 1) {
        copy_line(to, from, d, size);
        return;
    }
    const dim *outer = &d[n - 1];
    for (uint64_t i = 0; i < outer->n; i++)
        copy_box(to + i * outer->to * size, from + i * outer->from * size, d, n - 1, size);
}

/* ---- windows ------------------------------------------------------------------------------------------------------- */

/* How many of d fit into a window whose inner dimensions reach over `extent` elements, if more than one is worth it. */
static uint64_t steps_in_window(const reading *r, const dim *d, uint64_t extent, uint64_t used)
{
    const uint64_t most = WINDOW_BYTES / r->size;
    if (d->from == 0)
        return d->n;
    if (extent > most || (d->from * r->size > NEAR_BYTES && d->from / 8 > used))
        return 1;
    return zo2_min_u64(d->n, (most - extent) / d->from + 1);
}

static int by_target(const void *a, const void *b)
{
    const dim *x = a, *y = b;
    return (x->to > y->to) - (x->to < y->to);
}

/* From the window, where d[n] have their `from`, to element `to` of dst; writing goes forwards. */
static void copy_window(const reading *r, const dim *d, uint32_t n, uint64_t to)
{
    dim sorted[ZO2_STORED_MAX_RANK];
    if (n) {
        memcpy(sorted, d, n * sizeof *d);
        qsort(sorted, n, sizeof *d, by_target);
    }
    copy_box(r->dst + to * r->size, r->window, sorted, n, r->size);
}

static zo2_status read_window(const reading *r, uint64_t into, uint64_t from, uint64_t extent)
{
    return zo2_io_read(&zo2_io_posix, r->f->fd, r->window + into, extent * r->size, r->at + from * r->size, r->f->path);
}

/* What d[inner] reach over, `extent` elements, is too far from its next like in dimension d[inner] for one window: many such runs are
 * read side by side, so that what is written lies in longer runs than what is read. */
static zo2_status copy_runs(const reading *r, const dim *d, uint32_t inner, uint64_t extent, uint64_t from, uint64_t to)
{
    dim all[ZO2_STORED_MAX_RANK];
    uint64_t step = zo2_round_up(extent * r->size, LINE);
    step += step / LINE % 2 ? 0 : LINE; /* an odd number of cache lines: runs don't push each other out */
    const uint64_t batch = zo2_max_u64(1, zo2_min_u64(WINDOW_BYTES / step, MAX_RUNS));
    zo2_status s = ZO2_OK;
    memcpy(all, d, (inner + 1) * sizeof *d);
    all[inner].from = step / r->size;
    for (uint64_t i = 0; i < d[inner].n && !s; i += batch) {
        all[inner].n = zo2_min_u64(batch, d[inner].n - i);
        for (uint64_t k = 0; k < all[inner].n && !s; k++)
            s = read_window(r, k * step, from + (i + k) * d[inner].from, extent);
        if (!s)
            copy_window(r, all, inner + 1, to + i * d[inner].to);
    }
    return s;
}

static zo2_status copy_dims(const reading *r, const dim *d, uint32_t n, uint64_t from, uint64_t to);

/* Dimension k in parts of `steps`. */
static zo2_status copy_parts(const reading *r, const dim *d, uint32_t n, uint32_t k, uint64_t steps, uint64_t from,
                             uint64_t to)
{
    dim part[ZO2_STORED_MAX_RANK];
    zo2_status s = ZO2_OK;
    memcpy(part, d, n * sizeof *d);
    for (uint64_t i = 0; i < d[k].n && !s; i += steps) {
        part[k].n = zo2_min_u64(steps, d[k].n - i);
        s = copy_dims(r, part, n, from + i * d[k].from, to + i * d[k].to);
    }
    return s;
}

/* d[inner] and up don't fit into a window: all but the one that is the innermost of dst are gone through one at a time. */
static zo2_status copy_outer(const reading *r, const dim *d, uint32_t n, uint32_t inner, uint64_t extent, uint64_t from,
                             uint64_t to)
{
    dim rest[ZO2_STORED_MAX_RANK];
    uint32_t kept = inner, loop = n - 1;
    zo2_status s = ZO2_OK;
    for (uint32_t k = inner; k < n; k++)
        kept = d[k].to < d[kept].to ? k : kept;
    if (n - inner == 1)
        return copy_runs(r, d, inner, extent, from, to);
    loop -= kept == loop;
    for (uint32_t k = 0; k < n - 1; k++)
        rest[k] = d[k < loop ? k : k + 1];
    for (uint64_t i = 0; i < d[loop].n && !s; i++)
        s = copy_dims(r, rest, n - 1, from + i * d[loop].from, to + i * d[loop].to);
    return s;
}

/* Copies d[n], sorted by `from`; from, to: elements of the tensor's storage and of dst. */
static zo2_status copy_dims(const reading *r, const dim *d, uint32_t n, uint64_t from, uint64_t to)
{
    uint64_t extent = 1, used = 1;
    uint32_t inner = 0;
    for (; inner < n; inner++) {
        const uint64_t steps = steps_in_window(r, &d[inner], extent, used);
        if (steps < d[inner].n && steps > 1)
            return copy_parts(r, d, n, inner, steps, from, to);
        if (steps < d[inner].n)
            return copy_outer(r, d, n, inner, extent, from, to);
        extent += (d[inner].n - 1) * d[inner].from;
        used *= d[inner].from ? d[inner].n : 1;
    }
    zo2_status s = read_window(r, 0, from, extent);
    if (!s)
        copy_window(r, d, n, to);
    return s;
}

/* ---- boxes --------------------------------------------------------------------------------------------------------- */

static int by_step(const void *a, const void *b)
{
    const dim *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

/* Elements [begin, end) of dimension k and all of those behind it; from: what the dimensions before it add; place: of the first
 * element, counted row by row. */
static zo2_status copy_slab(const reading *r, uint32_t k, uint64_t begin, uint64_t end, uint64_t from, uint64_t place)
{
    dim d[ZO2_STORED_MAX_RANK];
    uint64_t below = 1;
    uint32_t n = 0;
    for (uint32_t i = r->rank; i-- > k;) {
        d[n++] = (dim){.n = i == k ? end - begin : r->shape[i], .from = r->stride[i], .to = below};
        below *= r->shape[i];
    }
    qsort(d, n, sizeof *d, by_step);
    return copy_dims(r, d, n, from + begin * r->stride[k], place - r->first);
}

/* Elements [a, b) of dimensions k and up, counted row by row; base: how many come before those dimensions' first one. */
static zo2_status copy_range(const reading *r, uint32_t k, uint64_t a, uint64_t b, uint64_t from, uint64_t base)
{
    uint64_t below = 1;
    zo2_status s = ZO2_OK;
    if (a >= b)
        return ZO2_OK;
    for (uint32_t i = k + 1; i < r->rank; i++)
        below *= r->shape[i];
    uint64_t row = a / below, last = b / below;
    if (a % below) { /* a row that begins before a */
        uint64_t until = zo2_min_u64(b - row * below, below);
        s = copy_range(r, k + 1, a % below, until, from + row * r->stride[k], base + row * below);
        row++;
    }
    if (!s && row < last)
        s = copy_slab(r, k, row, last, from, base + row * below);
    if (!s && row <= last && b % below) /* one that ends behind b */
        s = copy_range(r, k + 1, 0, b % below, from + last * r->stride[k], base + last * below);
    return s;
}

/* Shape and strides without dimensions of one, and with those joined that lie in one stretch. */
static void simplify(reading *r)
{
    const zo2_torch_tensor *t = r->t;
    r->rank = 0;
    for (uint32_t i = 0; i < t->rank; i++) {
        uint32_t last = r->rank - 1;
        if (t->shape[i] == 1)
            continue;
        if (r->rank && r->stride[last] == t->shape[i] * t->stride[i]) {
            r->shape[last] *= t->shape[i];
            r->stride[last] = t->stride[i];
            continue;
        }
        r->shape[r->rank] = t->shape[i];
        r->stride[r->rank++] = t->stride[i];
    }
}

/* Reads will be short and far apart, which a disk is slow at: let the system read all of the tensor ahead. */
static void advise(const reading *r)
{
    uint64_t extent = 1;
    for (uint32_t i = 0; i < r->rank; i++)
        extent += (r->shape[i] - 1) * r->stride[i];
    (void)posix_fadvise(r->f->fd, (off_t)r->at, (off_t)(extent * r->size), POSIX_FADV_WILLNEED);
}

zo2_status zo2_torch_read_elements(const zo2_torch_file *f, const zo2_torch_tensor *t, uint64_t at, uint64_t first,
                                   uint64_t n, void *dst)
{
    reading r = {.f = f, .t = t, .size = t->element_bytes, .at = at, .dst = dst, .first = first};
    if (n == 0)
        return ZO2_OK;
    simplify(&r);
    if (r.rank == 0 || (r.rank == 1 && r.stride[0] == 1))
        return zo2_io_read_along(&zo2_io_posix, f->fd, dst, n * r.size, at + first * r.size, f->path);
    if (!(r.window = malloc(WINDOW_BYTES + 2 * LINE)))
        return zo2_error(ZO2_ERR_NOMEM, "out of memory to read %.300s of %s", t->name, f->path);
    advise(&r);
    zo2_status s = copy_range(&r, 0, first, first + n, 0, 0);
    free(r.window);
    return s;
}
