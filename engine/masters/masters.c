/* masters.c: life of the masters, and their planes; rows and updates are in masters_rows.c. */
#include "engine/masters/masters.h"
#include "codec/codec.h"
#include "engine/base/checked.h"
#include "engine/base/host_memory.h"
#include "engine/base/parallel.h"
#include "engine/masters/home.h"
#include "engine/masters/placement.h"
#include "engine/masters/ram_home.h"
#include "engine/masters/rebuild.h"
#include "engine/masters/spill_home.h"
#include "engine/model/arch.h"
#include "engine/model/wire_size.h"
#include "storage/io/aio.h"
#include "storage/spill/spill.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t zo2_masters_owner(const zo2_layout *l, uint32_t chunk, const uint32_t *stored_as)
{
    const zo2_chunk *c = &l->chunks[chunk];
    uint32_t tensor = l->spans[c->first_span].tensor;
    if (!stored_as || stored_as[tensor] == tensor)
        return chunk;
    /* Tensors of one shape are cut alike, so the k-th chunk of one unit is the k-th chunk of the other. */
    const zo2_unit *own = &l->units[l->tensor_unit[tensor]], *other = &l->units[l->tensor_unit[stored_as[tensor]]];
    return other->first_chunk + (chunk - own->first_chunk);
}

uint64_t zo2_masters_scratch_bytes(const zo2_arch *a)
{
    uint64_t longest = 1;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        longest = a->tensors[i].cols > longest ? a->tensors[i].cols : longest;
    /* No codec's planes of a row take more than 8 bytes a weight and their padding. */
    uint64_t row = longest * (sizeof(float) + 8) + 256,
             piece = ZO2_MASTERS_PIECE * sizeof(float); /* of staged values */
    return zo2_round_up(row > piece ? row : piece, 4096);
}

/* What a task needs is allocated and touched before the first step. */
static zo2_status create_scratch(zo2_masters *m, zo2_pool *pool)
{
    uint32_t n = zo2_masters_slots(zo2_pool_threads(pool));
    m->scratch_bytes = zo2_masters_scratch_bytes(m->layout->arch);
    if (!zo2_slots_create(&m->slots, n))
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the slots of %u tasks", n);
    void *memory;
    zo2_status s = zo2_host_map(&memory, n * m->scratch_bytes, "the threads' scratch");
    if (s)
        return s;
    m->scratch = memory;
    zo2_host_touch(memory, n * m->scratch_bytes, NULL);
    return ZO2_OK;
}

static zo2_status create_tables(zo2_masters *m, const uint32_t *stored_as)
{
    uint32_t n = m->layout->n_chunks;
    m->owner = calloc(n, sizeof *m->owner);
    m->shared = calloc(n, 1);
    m->step = calloc(n, sizeof *m->step);
    m->wire_home = calloc(n, sizeof *m->wire_home);
    m->rest_home = calloc(n, sizeof *m->rest_home);
    if (!m->owner || !m->shared || !m->step || !m->wire_home || !m->rest_home)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the tables of %u chunks", n);
    for (uint32_t c = 0; c < n; c++) {
        uint32_t owner = m->owner[c] = zo2_masters_owner(m->layout, c, stored_as);
        if (owner != c)
            m->shared[c] = m->shared[owner] = 1;
        m->wire_home[c] = m->rest_home[c] = &m->ram.home;
    }
    return ZO2_OK;
}

static zo2_status create_tiers(zo2_masters *m, const zo2_placement *placement)
{
    uint32_t n = m->layout->n_chunks;
    m->tier = malloc(n);
    if (!m->tier)
        return zo2_error(ZO2_ERR_NOMEM, "no memory for the tiers of %u chunks", n);
    memcpy(m->tier, placement->tier, n);
    for (uint32_t c = 0; c < n; c++)
        if (m->tier[c] == ZO2_TIER_WIRE && !m->layout->chunks[c].rest_bytes)
            m->tier[c] = ZO2_TIER_RAM; /* its wire is all there is */
    return ZO2_OK;
}

/* Where planes may begin that are written from where they are. */
static uint32_t skew_of(const zo2_masters_spill *how)
{
    uint32_t n = 0, skew = 2048;
    const zo2_aio_file *files = how->spill ? zo2_spill_files(how->spill, &n) : NULL;
    for (uint32_t i = 0; i < n; i++)
        if (files[i].path && files[i].memory_align > skew)
            skew = 0;
    return skew;
}

static zo2_status create_spill_home(zo2_masters *m, const zo2_masters_spill *how, uint32_t threads, uint32_t skew)
{
    const zo2_spill_home_config config = {
        .how = how,
        .layout = m->layout,
        .tier = m->tier,
        .owner = m->owner,
        .step = m->step,
        .ram = &m->ram,
        .tasks = zo2_masters_slots(threads),
        .reserved = {zo2_masters_reserved(threads, ZO2_PLANE_WIRE), zo2_masters_reserved(threads, ZO2_PLANE_REST)},
        .skew = skew,
    };
    zo2_status s = zo2_spill_home_create(&m->spill, &config);
    for (uint32_t c = 0; c < m->layout->n_chunks && !s; c++) {
        if (m->tier[c] == ZO2_TIER_SPILL)
            m->wire_home[c] = &m->spill.home;
        if (m->tier[c] != ZO2_TIER_RAM)
            m->rest_home[c] = &m->spill.home;
    }
    return s;
}

zo2_status zo2_masters_create(zo2_masters *m, const zo2_layout *layout, const uint32_t *stored_as, zo2_pool *pool,
                              const zo2_masters_spill *spill)
{
    memset(m, 0, sizeof *m);
    m->layout = layout;
    uint32_t skew = spill ? skew_of(spill) : ZO2_RAM_SKEW;
    zo2_parallel parallel = zo2_pool_parallel(pool);
    zo2_status s = create_tables(m, stored_as);
    if (!s && spill)
        s = create_tiers(m, spill->placement);
    if (!s)
        s = zo2_ram_home_create(&m->ram, layout, m->owner, m->tier, skew);
    if (!s && spill)
        s = create_spill_home(m, spill, zo2_pool_threads(pool), skew);
    if (!s)
        s = create_scratch(m, pool);
    if (s) {
        zo2_masters_free(m);
        return s;
    }
    if (m->ram.bytes)
        zo2_host_touch(m->ram.memory, m->ram.bytes, &parallel);
    if (m->spill.cache.bytes)
        zo2_host_touch(m->spill.cache.memory, m->spill.cache.bytes, &parallel);
    return ZO2_OK;
}

zo2_status zo2_masters_open_exact(zo2_masters *m, const zo2_packfile *pack)
{
    const zo2_arch *a = m->layout->arch;
    m->exact = (zo2_rebuild){.layout = m->layout, .pack = pack};
    if (zo2_masters_are_spilled(m)) {
        m->exact.window = &m->spill.window;
        return ZO2_OK;
    }
    if (!a->frozen)
        return ZO2_OK;
    zo2_status s = zo2_pack_window_create(&m->window, pack, &zo2_io_posix, m->slots.n + 1);
    if (!s)
        m->exact.window = &m->window;
    return s;
}

int zo2_masters_lack_rest(const zo2_masters *m, uint32_t tensor)
{
    const zo2_span *first =
        &m->layout->spans[m->layout->chunks[m->layout->units[m->layout->tensor_unit[tensor]].first_chunk].first_span];
    return m->layout->arch->tensors[tensor].frozen && first->codec->rest_bytes(1, 1);
}

int zo2_masters_are_wire(const zo2_masters *m, uint32_t tensor)
{
    const uint32_t stored = m->layout->arch->tensors[tensor].stored;
    return m->exact.pack && stored != ZO2_NO_TENSOR && zo2_packfile_tensor(m->exact.pack, stored)->dropped_to &&
           zo2_masters_lack_rest(m, tensor);
}

uint32_t zo2_masters_exact_kind(const zo2_masters *m)
{
    const zo2_arch *a = m->layout->arch;
    uint32_t kind = 1;
    for (uint32_t i = 0; i < a->n_tensors && m->exact.pack && zo2_packfile_header(m->exact.pack)->dropped; i++)
        if (zo2_masters_are_wire(m, i))
            kind = (kind ^ (i + 1)) * 16777619u; /* FNV-1a */
    return kind > 1 ? kind : 1;
}

void zo2_masters_free(zo2_masters *m)
{
    zo2_pack_window_free(&m->window);
    zo2_spill_home_free(&m->spill);
    zo2_ram_home_free(&m->ram);
    if (m->scratch)
        zo2_host_unmap(m->scratch, m->slots.n * m->scratch_bytes);
    zo2_slots_free(&m->slots);
    free(m->owner);
    free(m->shared);
    free(m->step);
    free(m->wire_home);
    free(m->rest_home);
    free(m->tier);
    memset(m, 0, sizeof *m);
}

uint64_t zo2_masters_estimate(const zo2_arch *a, zo2_wires wires, const uint32_t *stored_as)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        const zo2_codec *codec = zo2_tensor_codec(t, wires);
        if (!stored_as || stored_as[i] == i)
            bytes += zo2_wire_room(codec, t->rows, t->cols) + (t->frozen ? 0 : codec->rest_bytes(t->rows, t->cols));
    }
    return bytes;
}

int zo2_masters_is_alias(const zo2_masters *m, const zo2_unit *u)
{
    return m->owner[u->first_chunk] != u->first_chunk;
}

/* ---- planes ---- */

/* What a home said, about which weights, and what to do. */
static zo2_status unavailable(const zo2_layout *l, uint32_t chunk, const char *plane, const zo2_home *home,
                              zo2_status s)
{
    const zo2_chunk *c = &l->chunks[chunk];
    const zo2_span *first = &l->spans[c->first_span];
    char which[80] = "and the other vectors of its block";
    if (c->n_spans == 1)
        snprintf(which, sizeof which, "rows %" PRIu64 " to %" PRIu64, first->row, first->row + first->rows - 1);
    return zo2_error(
        s,
        "tensor %s, %s: no %s plane of the master weights from their home (%s): %s. No step is lost: put that "
        "right and open the run again",
        l->arch->tensors[first->tensor].name, which, plane, home->kind->name, zo2_last_error());
}

zo2_status zo2_masters_acquire(const zo2_masters *m, uint32_t chunk, unsigned planes, zo2_access access,
                               zo2_planes *out)
{
    uint32_t owner = m->owner[chunk];
    const zo2_chunk *c = &m->layout->chunks[owner];
    *out = (zo2_planes){.chunk = owner, .access = access};
    if (planes & ZO2_PLANE_WIRE) {
        zo2_home *home = m->wire_home[owner];
        zo2_status s = home->kind->acquire(home, owner, ZO2_PLANE_WIRE, access, &out->wire);
        if (s)
            return unavailable(m->layout, chunk, "wire", home, s);
        out->wire_home = home;
    }
    if (planes & ZO2_PLANE_REST && c->rest_bytes) {
        zo2_home *home = m->rest_home[owner];
        zo2_status s = home->kind->acquire(home, owner, ZO2_PLANE_REST, access, &out->rest);
        if (s) {
            s = unavailable(m->layout, chunk, "rest", home, s);
            if (access == ZO2_ACCESS_WRITE)
                out->access = ZO2_ACCESS_SPOILT; /* a home must not take it for news */
            zo2_masters_release(out);
            return s;
        }
        out->rest_home = home;
    }
    return ZO2_OK;
}

static void give_back(const zo2_planes *p, zo2_plane plane, zo2_home *home)
{
    if (home && home->kind->release)
        home->kind->release(home, p->chunk, plane, p->access);
}

void zo2_masters_release(zo2_planes *p)
{
    give_back(p, ZO2_PLANE_REST, p->rest_home);
    give_back(p, ZO2_PLANE_WIRE, p->wire_home);
    *p = (zo2_planes){.chunk = p->chunk};
}

void zo2_masters_set_home(zo2_masters *m, uint32_t chunk, zo2_plane plane, zo2_home *home)
{
    (plane == ZO2_PLANE_WIRE ? m->wire_home : m->rest_home)[chunk] = home;
}

zo2_masters_bytes zo2_masters_where(const zo2_masters *m)
{
    zo2_masters_bytes sum = {0};
    for (uint32_t c = 0; m->tier && c < m->layout->n_chunks; c++) {
        zo2_spill_version v;
        const zo2_chunk *chunk = &m->layout->chunks[c];
        if (m->owner[c] != c)
            continue;
        int in_ram = m->tier[c] == ZO2_TIER_RAM;
        uint64_t *home = in_ram ? &sum.ram : zo2_spill_home_newest(&m->spill, c, &v) ? &sum.spill : &sum.pack;
        *home += chunk->wire_bytes + chunk->rest_bytes;
        sum.ram_wires += m->tier[c] == ZO2_TIER_WIRE ? chunk->wire_bytes : 0;
    }
    return sum;
}
