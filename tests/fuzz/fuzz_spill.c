/* fuzz_spill.c: spill files: superblock, table of classes, slot headers, planes.
 *
 * Input: mode; with PARTS the parts of the file (fuzz_image_make()), the first page and the slot headers first, else the file
 * itself. SEALED makes all checksums but those of planes right and appends zeros up to the length that the superblock
 * says; FILLED those of planes, too.
 *
 * Properties: a version that is found lies within the file and reads if and only if its hashes are right, and verification
 * agrees; no slot that may be taken holds a version; what is committed is found by the next one, and all other versions
 * are as they were. */
#include "storage/spill/spill.h"
#include "storage/spill/spill_format.h"
#include "tests/fuzz/fuzzing.h"

#include <unistd.h>

enum { SEALED = 1, PARTS = 2, FILLED = 4 };
enum { CHUNKS = 5, WRITTEN = 1, MOST_STEP = 100, LONGEST = 1 << 20 };

static const zo2_spill_chunk sizes[CHUNKS] = {{100, 50}, {4097, 0}, {0, 0}, {60, 60}, {5, 0}};

static uint64_t history(const void *ud, uint64_t step)
{
    (void)ud;
    return step + 7;
}

static const zo2_spill_class *class_of(const zo2_spill_front *f, uint32_t slot)
{
    for (uint32_t k = 0; k < f->head.classes && k < ZO2_SPILL_MAX_CLASSES; k++)
        if (slot - f->classes[k].first < f->classes[k].slots)
            return &f->classes[k];
    return NULL;
}

static void fill(unsigned char *b, size_t size, zo2_spill_slot *h)
{
    const zo2_spill_class *c = class_of((zo2_spill_front *)(void *)b, h->slot);
    const uint64_t at = c ? c->offset + (h->slot - c->first) * c->slot_bytes : UINT64_MAX;
    const uint64_t rest = zo2_spill_pages(h->wire_bytes);
    if (at < size && h->wire_bytes <= size - at && rest <= size - at && h->rest_bytes <= size - at - rest) {
        h->wire_hash = XXH3_64bits(b + at, h->wire_bytes);
        h->rest_hash = XXH3_64bits(b + at + rest, h->rest_bytes);
    }
}

static void seal(fuzz_image *m, int mode)
{
    zo2_spill_front *f = (zo2_spill_front *)(void *)m->data;
    if (f->head.file_bytes > m->size && f->head.file_bytes <= LONGEST) {
        unsigned char *longer = fuzz_alloc((size_t)f->head.file_bytes);
        memcpy(longer, m->data, m->size);
        m->size = (size_t)f->head.file_bytes;
        free(m->data);
        m->data = longer;
        f = (zo2_spill_front *)(void *)m->data;
    }
    if (f->head.classes <= ZO2_SPILL_MAX_CLASSES)
        f->head.classes_hash = XXH3_64bits(f->classes, f->head.classes * sizeof *f->classes);
    f->head.hash = XXH3_64bits(&f->head, offsetof(zo2_spill_head, hash));
    static const zo2_spill_slot none;
    zo2_spill_slot *h = (zo2_spill_slot *)(void *)(m->data + ZO2_SPILL_ALIGN);
    for (uint32_t k = 0; k < f->head.slots && k < (m->size - ZO2_SPILL_ALIGN) / sizeof *h; k++) {
        if (memcmp(&h[k], &none, sizeof none) == 0)
            continue;
        if (mode & FILLED)
            fill(m->data, m->size, &h[k]);
        h[k].hash = zo2_spill_slot_hash(&h[k], f->head.run);
    }
}

static zo2_spill_config config(const char *const *dir, int writable)
{
    return (zo2_spill_config){.run = 1,
                              .layout = 2,
                              .chunks = sizes,
                              .n_chunks = CHUNKS,
                              .dirs = dir,
                              .n_dirs = 1,
                              .writable = writable,
                              .most_step = MOST_STEP,
                              .history = history};
}

typedef struct found {
    int any, whole;
    zo2_spill_version v;
} found;

static void *pages(void)
{
    void *p = NULL;
    FUZZ_CHECK(posix_memalign(&p, ZO2_SPILL_ALIGN, 2 * ZO2_SPILL_ALIGN) == 0);
    return p;
}

/* Each version against the file's bytes. */
static void look(zo2_spill *s, found *all, const unsigned char *b, size_t size)
{
    unsigned char *wire = pages(), *rest = pages();
    for (uint32_t i = 0; i < CHUNKS; i++) {
        found *f = &all[i];
        *f = (found){.any = zo2_spill_find(s, i, &f->v)};
        if (!f->any || !zo2_spill_find(s, i, &f->v))
            continue;
        const zo2_spill_version *v = &f->v;
        FUZZ_CHECK(v->chunk == i && v->file == 0 && v->step <= MOST_STEP && v->history == history(NULL, v->step));
        FUZZ_CHECK(v->wire_at % ZO2_SPILL_ALIGN == 0 &&
                   v->rest_at == v->wire_at + zo2_spill_pages(sizes[i].wire_bytes));
        FUZZ_CHECK(v->wire_at < size && zo2_spill_pages(sizes[i].rest_bytes) <= size - v->rest_at);
        f->whole = XXH3_64bits(b + v->wire_at, sizes[i].wire_bytes) == v->wire_hash &&
                   XXH3_64bits(b + v->rest_at, sizes[i].rest_bytes) == v->rest_hash;
        FUZZ_CHECK(FUZZ_OK(zo2_spill_read(s, v, wire, rest)) == f->whole);
        FUZZ_CHECK(!f->whole || memcmp(wire, b + v->wire_at, sizes[i].wire_bytes) == 0);
    }
    free(wire);
    free(rest);
}

static void check_free_slots(zo2_spill *s, const found *all)
{
    for (uint32_t i = 0; i < CHUNKS; i++) {
        zo2_spill_version taken[64];
        uint32_t n = 0;
        while (sizes[i].wire_bytes && n < 64 && zo2_spill_take(s, i, &taken[n]))
            n++;
        FUZZ_CHECK(n > 0 || !sizes[i].wire_bytes);
        for (uint32_t k = 0; k < n; k++) {
            for (uint32_t j = 0; j < CHUNKS; j++)
                FUZZ_CHECK(!all[j].any || all[j].v.slot != taken[k].slot);
            zo2_spill_give_back(s, &taken[k]);
        }
    }
}

static void check_commit(const char *const *dir, const found *before)
{
    zo2_spill *s;
    zo2_spill_config c = config(dir, 1);
    zo2_spill_version v;
    unsigned char *wire = pages();
    if (!FUZZ_OK(zo2_spill_open(&s, &fuzz_io, &c))) {
        FUZZ_CHECK(strstr(zo2_last_error(), "generations"));
        free(wire);
        return;
    }
    check_free_slots(s, before);
    FUZZ_CHECK(zo2_spill_take(s, WRITTEN, &v));
    uint32_t n;
    memset(wire, 'x', 2 * ZO2_SPILL_ALIGN);
    FUZZ_CHECK(FUZZ_OK(zo2_aio_file_write(zo2_spill_files(s, &n), &fuzz_io, wire, 2 * ZO2_SPILL_ALIGN, v.wire_at)));
    v.step = MOST_STEP;
    v.history = history(NULL, MOST_STEP);
    v.wire_hash = XXH3_64bits(wire, sizes[WRITTEN].wire_bytes);
    v.rest_hash = XXH3_64bits(wire, 0);
    zo2_spill_written(s, &v);
    FUZZ_CHECK(FUZZ_OK(zo2_spill_commit(s)));
    zo2_spill_close(s);

    found after[CHUNKS];
    size_t size;
    char *path = zo2_path_join(dir[0], "spill-0000000000000001.zo2x"), *b;
    FUZZ_CHECK(path && zo2_io_slurp(path, LONGEST, &b, &size) == ZO2_OK);
    c = config(dir, 0);
    FUZZ_CHECK(FUZZ_OK(zo2_spill_open(&s, &fuzz_io, &c)));
    look(s, after, (unsigned char *)b, size);
    zo2_spill_close(s);
    for (uint32_t i = 0; i < CHUNKS; i++)
        FUZZ_CHECK(i == WRITTEN ? after[i].whole && after[i].v.step == MOST_STEP && after[i].v.slot == v.slot
                                : after[i].any == before[i].any && after[i].whole == before[i].whole &&
                                      (!after[i].any || after[i].v.slot == before[i].v.slot));
    free(b);
    free(path);
    free(wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    fuzz_image m;
    fuzz_image_make(&m, &in, mode & PARTS);
    if (mode & SEALED && m.size >= 2 * ZO2_SPILL_ALIGN)
        seal(&m, mode);
    const char *const dir[] = {fuzz_dir()};
    free(fuzz_dir_file("spill-0000000000000001.zo2x", m.data, m.size));
    const zo2_spill_config c = config(dir, 0);
    zo2_spill *s;
    if (FUZZ_OK(zo2_spill_open(&s, &fuzz_io, &c))) {
        found all[CHUNKS];
        zo2_spill_report r;
        look(s, all, m.data, m.size);
        zo2_spill_close(s);
        const int right = FUZZ_OK(zo2_spill_verify(&fuzz_io, &c, NULL, NULL, &r));
        FUZZ_CHECK(right == (r.damaged + r.damaged_headers == 0));
        for (uint32_t i = 0; i < CHUNKS; i++)
            FUZZ_CHECK(!right || !all[i].any || all[i].whole);
        check_commit(dir, all);
    } else {
        FUZZ_CHECK(!s);
    }
    fuzz_dir_clear();
    free(m.data);
    return 0;
}
