/* fuzz_trunk.c: trunk files: header, records.
 *
 * Input: mode, then the file; with HEADED its records only, and a right header is put in front. SEALED makes the checksums of header and
 * records right, record by record as far as their lengths lead; FILLED those of payloads, too.
 *
 * Properties: what is found is what a plain walk over the bytes finds, and it is read if and only if its checksum is right;
 * who only reads changes nothing; who writes keeps every whole record where it is, cuts the rest off, and finds what it adds. */
#include "storage/trunk/trunk.h"
#include "storage/trunk/trunk_format.h"
#include "tests/fuzz/fuzzing.h"

enum { SEALED = 1, HEADED = 2, FILLED = 4 };
enum { RECORDS = 200, LONGEST = 1 << 16 };

#define NAME "trunk-0000000000000001.zo2t"

static const zo2_trunk_key identity = {2, 3};

static void to_log(void *ud, zo2_log_level level, const char *message)
{
    (void)level;
    FUZZ_CHECK(strstr(message, NAME) && !strchr(message, '\n'));
    ++*(int *)ud;
}

static zo2_trunk_config config(const char *const *dir, int writable, int *logged)
{
    return (zo2_trunk_config){.bytes = UINT64_MAX,
                              .dirs = dir,
                              .n_dirs = 1,
                              .run = 1,
                              .identity = identity,
                              .writable = writable,
                              .io = &fuzz_io,
                              .log = to_log,
                              .log_ud = logged};
}

typedef struct image {
    unsigned char *data; /* [size + a header] */
    size_t size;
} image;

static zo2_trunk_head right_head(void)
{
    zo2_trunk_head h = {.version = 1, .head_bytes = 256, .run = 1, .identity = identity};
    memcpy(h.magic, ZO2_TRUNK_MAGIC, sizeof h.magic);
    h.hash = zo2_trunk_head_hash(&h);
    return h;
}

static image read_input(fuzz_input *in, int mode)
{
    image m = {.data = fuzz_alloc(sizeof(zo2_trunk_head) + in->left)};
    if (mode & HEADED) {
        const zo2_trunk_head h = right_head();
        memcpy(m.data, &h, sizeof h);
        m.size = sizeof h;
    }
    size_t got;
    const uint8_t *rest = fuzz_bytes(in, in->left, &got);
    if (got)
        memcpy(m.data + m.size, rest, got);
    m.size += got;
    return m;
}

static void seal(image *m, int mode)
{
    zo2_trunk_head h;
    zo2_trunk_record r;
    if (m->size < sizeof h)
        return;
    memcpy(&h, m->data, sizeof h);
    h.hash = zo2_trunk_head_hash(&h);
    memcpy(m->data, &h, sizeof h);
    for (size_t at = sizeof h; m->size - at >= sizeof r;) {
        memcpy(&r, m->data + at, sizeof r);
        const size_t left = m->size - at - sizeof r;
        if (mode & FILLED && r.bytes <= left)
            r.payload_hash = XXH3_64bits(m->data + at + sizeof r, (size_t)r.bytes);
        r.hash = zo2_trunk_record_hash(&r, h.hash);
        memcpy(m->data + at, &r, sizeof r);
        if (r.bytes > left || zo2_round_up(r.bytes, 8) > left)
            break;
        at += sizeof r + (size_t)zo2_round_up(r.bytes, 8);
    }
}

/* ---- what a plain walk finds ------------------------------------------------------------------------------------- */

typedef struct found {
    zo2_trunk_key key;
    size_t at, bytes;
    int whole;
} found;

typedef struct walk {
    found f[RECORDS];
    size_t n;
    size_t end; /* where the records end; 0: the file is no use */
    int too_many;
} walk;

static void note(walk *w, found f)
{
    size_t i = 0;
    while (i < w->n && (w->f[i].key.low != f.key.low || w->f[i].key.high != f.key.high))
        i++;
    w->f[i] = f;
    w->n += i == w->n;
}

static void walk_over(walk *w, const image *m)
{
    zo2_trunk_head h, right = right_head();
    zo2_trunk_record r;
    w->n = w->end = 0;
    w->too_many = 0;
    if (m->size < sizeof h || memcmp(m->data, &right, sizeof right) != 0)
        return;
    w->end = sizeof h;
    while (w->end + sizeof r <= m->size && !w->too_many) {
        memcpy(&r, m->data + w->end, sizeof r);
        if (r.magic != ZO2_TRUNK_RECORD_MAGIC || r.reserved != 0 || r.hash != zo2_trunk_record_hash(&r, right.hash) ||
            r.bytes > m->size - w->end - sizeof r)
            break;
        const size_t at = w->end + sizeof r;
        note(w, (found){r.key, at, (size_t)r.bytes, XXH3_64bits(m->data + at, (size_t)r.bytes) == r.payload_hash});
        w->end = at + (size_t)zo2_round_up(r.bytes, 8);
        w->too_many = w->n == RECORDS;
    }
}

/* Everything that the walk found is there, and nothing else. Damaged ones are gone afterwards. */
static void look(zo2_trunk *t, const walk *w, const image *m)
{
    static unsigned char got[LONGEST + 1];
    FUZZ_CHECK(zo2_trunk_stats_of(t).entries == w->n);
    for (size_t i = 0; i < w->n; i++) {
        const found *f = &w->f[i];
        if (f->bytes > LONGEST)
            continue;
        FUZZ_CHECK(zo2_trunk_has(t, &f->key, f->bytes) && !zo2_trunk_has(t, &f->key, f->bytes + 1));
        FUZZ_CHECK(!zo2_trunk_get(t, &f->key, got, f->bytes + 1));
        zo2_trunk_expect(t, &f->key);
        FUZZ_CHECK(zo2_trunk_get(t, &f->key, got, f->bytes) == f->whole);
        FUZZ_CHECK(!f->whole || memcmp(got, m->data + f->at, f->bytes) == 0);
        FUZZ_CHECK(zo2_trunk_has(t, &f->key, f->bytes) == f->whole);
    }
}

static void check_same_front(const char *path, const image *m, size_t front, size_t size)
{
    char *b;
    size_t n;
    FUZZ_CHECK(zo2_io_slurp(path, UINT32_MAX, &b, &n) == ZO2_OK);
    FUZZ_CHECK(n == size && memcmp(b, m->data, front) == 0);
    free(b);
}

static void check_writer(const char *const *dir, const char *path, const walk *w, const image *m)
{
    static const zo2_trunk_key added = {UINT64_C(0xFEDCBA9876543210), 5};
    int logged = 0;
    zo2_trunk *t;
    zo2_trunk_config c = config(dir, 1, &logged);
    FUZZ_CHECK(FUZZ_OK(zo2_trunk_open(&t, &c)));
    const size_t front = w->end ? (w->end < m->size ? w->end : m->size) : 0;
    FUZZ_CHECK(logged == (w->end ? w->end < m->size : m->size > 0));
    check_same_front(path, m, front, w->end ? front : sizeof(zo2_trunk_head));
    const size_t bytes = 1 + w->n % 9;
    FUZZ_CHECK(zo2_trunk_put(t, &added, "something", bytes));
    zo2_trunk_close(t);

    char got[16];
    c = config(dir, 0, &logged);
    FUZZ_CHECK(FUZZ_OK(zo2_trunk_open(&t, &c)));
    FUZZ_CHECK(zo2_trunk_get(t, &added, got, bytes) && memcmp(got, "something", bytes) == 0);
    walk all = *w;
    note(&all, (found){.key = added, .bytes = LONGEST + 1}); /* seen to above */
    look(t, &all, m);
    zo2_trunk_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static walk w;
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    image m = read_input(&in, mode);
    if (mode & SEALED)
        seal(&m, mode);
    walk_over(&w, &m);
    const char *const dir[] = {fuzz_dir()};
    char *path = fuzz_dir_file(NAME, m.data, m.size);
    int logged = 0;
    zo2_trunk *t;
    const zo2_trunk_config c = config(dir, 0, &logged);
    FUZZ_CHECK(FUZZ_OK(zo2_trunk_open(&t, &c)));
    if (!w.too_many) {
        look(t, &w, &m);
        zo2_trunk_close(t);
        check_same_front(path, &m, m.size, m.size);
        check_writer(dir, path, &w, &m);
    } else {
        zo2_trunk_close(t);
    }
    free(path);
    free(m.data);
    fuzz_dir_clear();
    return 0;
}
