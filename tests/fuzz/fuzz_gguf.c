/* fuzz_gguf.c: GGUF: one file, the two files of a split model, and what exports write.
 *
 * Input: mode. With WRITE texts separated by 0x1E: tokenizer.json, tokenizer_config.json and config.json, of which a file is written.
 * Else {u16 length, bytes} of one file, or of two with SPLIT, and u16 zero bytes behind each, so that there is data.
 *
 * Properties: an opened model has its tensors inside its files, none on another, finds each by name, and reads the same bytes at once
 * and in pieces, nothing beyond; its configuration and tokenizer are JSON, or it is said why there are none; what was written opens,
 * with the tokens that were written. */
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/checkpoint_reader.h"
#include "storage/checkpoint/gguf.h"
#include "storage/checkpoint/gguf_write.h"
#include "tests/fuzz/fuzzing.h"

#include <jansson.h>

enum { SPLIT = 1, WRITE = 2 };
enum { VOCABULARY = 64, MAX_ELEMENTS = 1 << 18 };

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

static void check_tensor(const zo2_checkpoint *c, uint64_t i)
{
    const zo2_stored t = zo2_checkpoint_tensor(c, i);
    unsigned char last;
    char why[600];
    FUZZ_CHECK(zo2_checkpoint_find(c, t.name) == i && t.rank > 0 && t.dtype && t.bytes > 0);
    zo2_checkpoint_absent(c, t.name, why, sizeof why);
    FUZZ_CHECK(zo2_checkpoint_read(c, i, t.bytes, 1, &last) == ZO2_ERR_ARG);
    FUZZ_CHECK(zo2_checkpoint_read(c, i, 1, UINT64_MAX, &last) == ZO2_ERR_ARG);
    if (t.bytes > MAX_ELEMENTS * sizeof(float))
        return;
    unsigned char *whole = fuzz_alloc((size_t)t.bytes), *again = fuzz_alloc((size_t)t.bytes);
    FUZZ_CHECK(FUZZ_OK(zo2_checkpoint_read(c, i, 0, t.bytes, whole)));
    const uint64_t cut = fuzz_digest(t.name, strlen(t.name)) % t.bytes;
    FUZZ_CHECK(FUZZ_OK(zo2_checkpoint_read(c, i, 0, cut, again)));
    FUZZ_CHECK(FUZZ_OK(zo2_checkpoint_read(c, i, cut, t.bytes - cut, again + cut)));
    FUZZ_CHECK(memcmp(whole, again, (size_t)t.bytes) == 0);
    free(whole);
    free(again);
}

static void check_places(const zo2_gguf *m)
{
    for (uint64_t i = 0; i < m->n; i++) {
        const zo2_gguf_tensor *t = &m->tensors[i];
        FUZZ_CHECK(t->offset >= m->files[t->file].header.bytes && t->bytes <= m->files[t->file].size - t->offset);
        FUZZ_CHECK(i == 0 || t->file > t[-1].file ||
                   (t->file == t[-1].file && t[-1].offset + t[-1].bytes <= t->offset));
    }
}

static void on_oddity(void *ud, const char *text)
{
    (void)ud;
    FUZZ_CHECK(text[0]);
}

static void check_file(const zo2_checkpoint *c, const char *name)
{
    char *text, why[600];
    size_t n;
    if (FUZZ_OK(zo2_checkpoint_file(c, name, &text, &n, why, sizeof why)) && text) {
        json_t *tree = json_loadb(text, n, 0, NULL);
        FUZZ_CHECK(json_is_object(tree) && !why[0]);
        json_decref(tree);
    }
    free(text);
}

static void open_it(const char *path)
{
    zo2_checkpoint *c;
    zo2_gguf *m;
    if (!FUZZ_OK(zo2_checkpoint_open(&c, &zo2_reader_gguf, path))) {
        FUZZ_CHECK(!c);
        return;
    }
    FUZZ_CHECK(FUZZ_OK(zo2_gguf_open(&m, path)));
    check_places(m);
    zo2_gguf_close(m);
    FUZZ_CHECK(zo2_checkpoint_find(c, "\n no such tensor") == zo2_checkpoint_count(c));
    for (uint64_t i = 0; i < zo2_checkpoint_count(c); i++)
        check_tensor(c, i);
    zo2_checkpoint_oddities(c, on_oddity, NULL);
    check_file(c, "config.json");
    check_file(c, "tokenizer.json");
    check_file(c, "tokenizer_config.json");
    check_file(c, "vocab.json");
    zo2_checkpoint_close(c);
}

/* The next file, zeros behind it; malloc'ed. */
static unsigned char *next_file(fuzz_input *in, size_t *n)
{
    size_t got;
    const uint8_t *bytes = fuzz_bytes(in, fuzz_u16(in), &got);
    *n = got + fuzz_u16(in);
    unsigned char *b = fuzz_alloc(*n);
    memset(b, 0, *n);
    if (got)
        memcpy(b, bytes, got);
    return b;
}

static void one_file(fuzz_input *in)
{
    size_t n;
    unsigned char *b = next_file(in, &n);
    open_it(fuzz_file(0, b, n));
    free(b);
}

static void split(fuzz_input *in)
{
    static const char *const names[] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
    fuzz_dir_clear();
    for (int i = 0; i < 2 && in->left; i++) {
        size_t n;
        unsigned char *b = next_file(in, &n);
        free(fuzz_dir_file(names[i], b, n));
        free(b);
    }
    open_it(fuzz_dir());
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

static json_t *next_json(fuzz_input *in)
{
    size_t n;
    const char *text = fuzz_text(in, &n);
    return json_loadb(text, n, 0, NULL);
}

static void check_written(const zo2_gguf_keys *keys)
{
    static const unsigned char zeros[4 * VOCABULARY];
    zo2_gguf_out tensors[] = {
        {.name = "token_embd.weight", .type = ZO2_GGUF_F16_DATA, .rank = 2, .shape = {VOCABULARY, 2}},
        {.name = "output_norm.weight", .type = ZO2_GGUF_F32_DATA, .rank = 1, .shape = {2}}};
    char *path = fuzz_dir_file("m.gguf", "", 0);
    zo2_gguf_writer *w;
    FUZZ_CHECK(FUZZ_OK(zo2_gguf_writer_open(&w, &fuzz_io, path, 1, keys, tensors, 2)));
    FUZZ_CHECK(FUZZ_OK(zo2_gguf_writer_put(w, 1, 0, zeros, tensors[1].bytes)));
    FUZZ_CHECK(FUZZ_OK(zo2_gguf_writer_put(w, 0, 0, zeros, tensors[0].bytes)));
    FUZZ_CHECK(FUZZ_OK(zo2_gguf_writer_commit(w)));
    zo2_gguf_writer_close(w);
    zo2_gguf *m;
    FUZZ_CHECK(FUZZ_OK(zo2_gguf_open(&m, path)));
    const zo2_gguf_value *v = zo2_gguf_get(&m->files[0].header, "tokenizer.ggml.tokens");
    FUZZ_CHECK(m->n == 2 && m->files[0].header.n_values == keys->count && (!v || v->n == VOCABULARY));
    zo2_gguf_close(m);
    open_it(path);
    free(path);
}

static void write_it(fuzz_input *in)
{
    zo2_gguf_keys keys = {0};
    json_t *tokenizer = next_json(in), *texts = next_json(in), *config = next_json(in);
    const zo2_gguf_texts t = {.tokenizer = tokenizer, .config = texts, .n = VOCABULARY, .bos = 1, .eos = -1};
    unsigned otherwise;
    float table[8];
    fuzz_dir_clear();
    zo2_gguf_rope_table(config, table, 8);
    if (FUZZ_OK(zo2_gguf_put_config(&keys, config, "pack")) &&
        FUZZ_OK(zo2_gguf_put_tokenizer(&keys, &t, &otherwise, "pack")))
        check_written(&keys);
    zo2_gguf_keys_free(&keys);
    json_decref(tokenizer);
    json_decref(texts);
    json_decref(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    if (mode & WRITE)
        write_it(&in);
    else if (mode & SPLIT)
        split(&in);
    else
        one_file(&in);
    return 0;
}
