/* fuzz_dataset.c: data files (JSON lines) and the batches made of them.
 *
 * Input: mode, sequence length, then the file. Without NO_TOKENIZER texts are encoded with a small byte-level tokenizer; with CHAT
 * conversations are made texts by a template.
 *
 * Properties: a byte order mark and blank lines mean nothing; rows fit, ids are the vocabulary's, the counts are those of
 * the examples, batches hold exactly the rows; language-model lines written again as ready ids are the same examples. */
#include "tests/fuzz/byte_vocab.h"
#include "tools/text/batcher.h"

enum { NO_TOKENIZER = 1, BOS = 2, SMALL_VOCAB = 4, CHAT = 8 };

/* One for all inputs: opening compiles a pattern. */
static zo2t_tokenizer *tokenizer(void)
{
    static const char extra[] = ", \"th\": 260, \"the\": 261, \"\xC4\xA0t\": 262";
    static const char merges[] = "#version: 0.2\nt h\nth e\n\xC4\xA0 t\n";
    static zo2t_tokenizer *t;
    if (t)
        return t;
    zo2t_tokenizer_files f = {.merges = {merges, sizeof merges - 1}};
    char *vocab = byte_vocab(extra, sizeof extra - 1, &f.vocab.bytes);
    f.vocab.data = vocab;
    FUZZ_CHECK(FUZZ_OK(zo2t_tokenizer_open(&t, &f)));
    free(vocab);
    return t;
}

static zo2t_chat *chat(void)
{
    static const char config[] = "{\"bos_token\": \"</s>\"}";
    static const char text[] = "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + "
                               "message.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ "
                               "'<|im_start|>assistant\n' }}{% endif %}";
    static zo2t_chat *c;
    const zo2t_chat_files f = {.chat_template = {text, sizeof text - 1},
                               .tokenizer_config = {config, sizeof config - 1}};
    FUZZ_CHECK(c || FUZZ_OK(zo2t_chat_open(&c, &f)));
    return c;
}

static uint64_t gap_tokens(const zo2t_example *e)
{
    uint64_t n = 0, end = 0; /* there is loss before each of them */
    for (size_t g = 0; g < e->gaps; g++) {
        FUZZ_CHECK(e->gap[g].from > end && e->gap[g].tokens);
        end = (uint64_t)e->gap[g].from + e->gap[g].tokens;
        n += e->gap[g].tokens;
    }
    FUZZ_CHECK(!e->gaps || (e->rows == 1 && end <= e->suffix[0]));
    return n;
}

static uint64_t check_example(const zo2t_example *e, const zo2t_dataset_opts *o, zo2t_kind kind, uint64_t *loss)
{
    FUZZ_CHECK(kind == ZO2T_OPTIONS ? e->rows >= 2 && e->label < e->rows : e->rows == 1);
    FUZZ_CHECK(e->prompt >= 1);
    uint64_t ids = e->prompt, tokens = 0;
    for (uint32_t r = 0; r < e->rows; r++) {
        FUZZ_CHECK(e->suffix[r] >= 1 && e->prompt + e->suffix[r] <= o->seq);
        ids += e->suffix[r];
        tokens += e->prompt + e->suffix[r];
        *loss += e->suffix[r];
    }
    *loss -= gap_tokens(e);
    for (uint64_t i = 0; i < ids; i++)
        FUZZ_CHECK(e->tokens[i] >= 0 && (uint32_t)e->tokens[i] < o->vocab);
    return tokens;
}

static void check_examples(const zo2t_dataset *d, const zo2t_dataset_opts *o)
{
    zo2t_dataset_info info;
    zo2t_bounds one, all;
    zo2t_dataset_get_info(d, &info);
    uint64_t rows = 0, tokens = 0, loss = 0;
    for (uint64_t i = 0; i < info.examples; i++) {
        zo2t_example e;
        zo2t_dataset_example(d, i, &e);
        tokens += check_example(&e, o, info.kind, &loss);
        rows += e.rows;
    }
    FUZZ_CHECK(rows == info.rows && tokens == info.tokens && loss == info.loss_tokens);
    FUZZ_CHECK((info.truncated == 0) == (info.first_truncated == 0) && info.longest_row <= o->seq);
    FUZZ_CHECK(FUZZ_OK(zo2t_dataset_bounds(d, 1, &one)) && one.rows == info.max_options);
    FUZZ_CHECK(FUZZ_OK(zo2t_dataset_bounds(d, info.examples, &all)) && all.rows >= rows && all.loss_tokens >= loss);
    FUZZ_CHECK(one.seq == info.longest_row && zo2t_dataset_bounds(d, 0, &all) == ZO2_ERR_ARG);
}

/* A batch's real tokens and loss tokens; rows and padding are right by their numbers. */
static void count(const zo2_batch *b, uint64_t *tokens, uint64_t *loss)
{
    for (uint64_t i = 0; i < (uint64_t)b->rows * b->seq; i++) {
        *tokens += !b->mask || b->mask[i];
        *loss += b->loss[i];
        FUZZ_CHECK(!b->loss[i] || !b->mask || b->mask[i]);
    }
}

static void check_batches(const zo2t_dataset *d, uint64_t digest)
{
    zo2t_dataset_info info;
    zo2t_dataset_get_info(d, &info);
    zo2t_batcher *b;
    zo2_batch batch = {.struct_size = sizeof batch};
    uint64_t tokens = 0, loss = 0, rows = 0;
    FUZZ_CHECK(FUZZ_OK(zo2t_batcher_open_eval(&b, d)));
    for (uint64_t at = 0; at < info.examples; at = batch.data_position) {
        FUZZ_CHECK(FUZZ_OK(zo2t_batcher_fill(b, at, 3, &batch)) && batch.data_position > at);
        count(&batch, &tokens, &loss);
        rows += batch.rows;
    }
    FUZZ_CHECK(tokens == info.tokens && loss == info.loss_tokens && rows == info.rows);
    FUZZ_CHECK(zo2t_batcher_fill(b, info.examples, 1, &batch) == ZO2_ERR_ARG);
    zo2t_batcher_close(b);

    zo2t_bounds bounds; /* no batch of training exceeds them */
    const uint64_t lines = 1 + digest % 7, position = digest >> 32;
    FUZZ_CHECK(FUZZ_OK(zo2t_batcher_open_train(&b, d, digest)));
    FUZZ_CHECK(FUZZ_OK(zo2t_batcher_fill(b, position, lines, &batch)));
    FUZZ_CHECK(FUZZ_OK(zo2t_dataset_bounds(d, lines, &bounds)));
    tokens = loss = 0;
    count(&batch, &tokens, &loss);
    FUZZ_CHECK(batch.data_position == position + lines);
    FUZZ_CHECK(batch.rows <= bounds.rows && batch.seq <= bounds.seq && loss <= bounds.loss_tokens);
    zo2t_batcher_close(b);
}

static void check_rewritten(const zo2t_dataset *d, const zo2t_dataset_opts *o)
{
    zo2t_dataset_info info;
    zo2t_dataset_get_info(d, &info);
    if (info.kind != ZO2T_LM)
        return;
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    FUZZ_CHECK(out);
    for (uint64_t i = 0; i < info.examples; i++) {
        zo2t_example e;
        zo2t_dataset_example(d, i, &e);
        for (uint32_t k = 0; k < e.prompt + e.suffix[0]; k++)
            fprintf(out, "%s%d", k ? ", " : "{\"tokens\": [", e.tokens[k]);
        fprintf(out, "], \"loss_from\": %u}\r\n", e.prompt);
    }
    FUZZ_CHECK(fclose(out) == 0);
    zo2t_dataset *again;
    FUZZ_CHECK(FUZZ_OK(zo2t_dataset_load(&again, fuzz_file(1, text, bytes), NULL, o)));
    zo2t_dataset_info second;
    zo2t_dataset_get_info(again, &second);
    FUZZ_CHECK(second.examples == info.examples && second.tokens == info.tokens && second.truncated == 0);
    for (uint64_t i = 0; i < info.examples; i++) {
        zo2t_example x, y;
        zo2t_dataset_example(d, i, &x);
        zo2t_dataset_example(again, i, &y);
        FUZZ_CHECK(x.prompt == y.prompt && x.suffix[0] == y.suffix[0]);
        FUZZ_CHECK(memcmp(x.tokens, y.tokens, (x.prompt + x.suffix[0]) * sizeof *x.tokens) == 0);
    }
    zo2t_dataset_close(again);
    free(text);
}

/* A byte order mark in front and blank lines behind change nothing. */
static void check_frame(const fuzz_input *in, const zo2t_dataset *d, zo2t_tokenizer *t, const zo2t_dataset_opts *o)
{
    static const char mark[] = "\xEF\xBB\xBF", blank[] = "\n\r\n \t\n";
    if (in->left >= 3 && memcmp(in->at, mark, 3) == 0)
        return;
    const size_t n = 3 + in->left + sizeof blank - 1;
    char *text = fuzz_alloc(n);
    memcpy(text, mark, 3);
    if (in->left)
        memcpy(text + 3, in->at, in->left);
    memcpy(text + 3 + in->left, blank, sizeof blank - 1);
    zo2t_dataset *again;
    FUZZ_CHECK(FUZZ_OK(zo2t_dataset_load(&again, fuzz_file(1, text, n), t, o)) == (d != NULL));
    if (d) {
        zo2t_dataset_info x, y;
        zo2t_dataset_get_info(d, &x);
        zo2t_dataset_get_info(again, &y);
        FUZZ_CHECK(x.examples == y.examples && x.tokens == y.tokens && x.first_truncated == y.first_truncated);
    }
    zo2t_dataset_close(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    zo2t_dataset_opts o = {.seq = 2 + fuzz_u8(&in) % 62u, .vocab = mode & SMALL_VOCAB ? 120 : 263, .bos = -1};
    if (mode & BOS)
        o.bos = 2;
    if (mode & CHAT)
        o.chat = chat();
    const uint64_t digest = fuzz_digest(data, size);
    zo2t_tokenizer *t = mode & NO_TOKENIZER ? NULL : tokenizer();
    zo2t_dataset *d;
    if (FUZZ_OK(zo2t_dataset_load(&d, fuzz_file(0, in.at, in.left), t, &o))) {
        zo2t_dataset_info info;
        zo2t_dataset_get_info(d, &info);
        FUZZ_CHECK(info.file_bytes == in.left && info.file_hash == fuzz_digest(in.at, in.left));
        check_examples(d, &o);
        check_batches(d, digest);
        check_rewritten(d, &o);
    } else {
        FUZZ_CHECK(!d);
    }
    if (digest % 4 == 0) /* loading takes most of the time */
        check_frame(&in, d, t, &o);
    zo2t_dataset_close(d);
    return 0;
}
