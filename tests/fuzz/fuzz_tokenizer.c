/* fuzz_tokenizer.c: vocab.json, merges.txt, the files of special tokens, and a text.
 *
 * Input: mode, then texts separated by 0x1E: vocabulary, merges, special_tokens_map.json, tokenizer_config.json,
 * added_tokens.json (an empty one of these three is absent), text. Without RAW_VOCAB the first is what a small
 * byte-level vocabulary is followed by; without RAW_MERGES the version line is put in front of the second.
 *
 * Properties: a text encodes to ids of the vocabulary, the same ones from the cache of words, and decodes to itself;
 * merging is GPT-2's procedure; a special token's text is that token. */
#include "tests/fuzz/byte_vocab.h"
#include "tools/text/bpe.h"
#include "tools/text/special.h"
#include "tools/text/tokenizer.h"

enum { RAW_VOCAB = 1, RAW_MERGES = 2 };

#define VERSION "#version: 0.2\n"

/* ---- the reference: scan for the best pair, merge it everywhere, start again ------------------------------------- */

enum { MAX_MERGES = 64, MAX_WORD = 64 };

typedef struct rule {
    int32_t left, right, result;
} rule;

/* The rules of a merges.txt that has loaded. */
static int read_rules(rule *rules, const zo2t_vocab *v, const char *text, size_t bytes)
{
    int n = 0;
    const char *at = memchr(text, '\n', bytes), *end = text + bytes;
    while (at && n < MAX_MERGES) {
        const char *line = at + 1;
        at = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((at ? at : end) - line);
        length -= length && line[length - 1] == '\r';
        const char *space = memchr(line, ' ', length);
        if (!length)
            continue;
        FUZZ_CHECK(space);
        char *joined = fuzz_alloc(length);
        const size_t left = (size_t)(space - line), right = length - left - 1;
        memcpy(joined, line, left);
        memcpy(joined + left, space + 1, right);
        rules[n++] = (rule){zo2t_vocab_find(v, line, left), zo2t_vocab_find(v, space + 1, right),
                            zo2t_vocab_find(v, joined, length - 1)};
        free(joined);
    }
    return n;
}

static size_t merge_all(int32_t *id, size_t n, const rule *r)
{
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
        const int pair = i + 1 < n && id[i] == r->left && id[i + 1] == r->right;
        id[to++] = pair ? r->result : id[i];
        i += (size_t)pair;
    }
    return to;
}

static int has_pair(const int32_t *id, size_t n, const rule *r)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (id[i] == r->left && id[i + 1] == r->right)
            return 1;
    return 0;
}

static size_t reference(int32_t *id, size_t n, const rule *rules, int n_rules)
{
    for (int r = 0; r < n_rules;) {
        if (!has_pair(id, n, &rules[r])) {
            r++;
            continue;
        }
        n = merge_all(id, n, &rules[r]);
        r = 0;
    }
    return n;
}

static void check_merging(const zo2t_vocab *v, const zo2t_file *merges, const char *text, size_t bytes)
{
    zo2t_bpe b;
    rule rules[MAX_MERGES];
    FUZZ_CHECK(FUZZ_OK(zo2t_bpe_load(&b, v, merges->data, merges->bytes)));
    const int n_rules = read_rules(rules, v, merges->data, merges->bytes);
    if (n_rules < MAX_MERGES) { /* all of them */
        int32_t id[MAX_WORD];
        const size_t n = bytes < MAX_WORD ? bytes : MAX_WORD;
        for (size_t i = 0; i < n; i++)
            id[i] = b.byte_id[(uint8_t)text[i]];
        zo2t_ids got = {0};
        FUZZ_CHECK(FUZZ_OK(zo2t_bpe_word(&b, text, n, &got)));
        FUZZ_CHECK(got.n == reference(id, n, rules, n_rules));
        FUZZ_CHECK(!got.n || memcmp(got.id, id, got.n * sizeof *id) == 0);
        zo2t_ids_free(&got);
    }
    zo2t_bpe_free(&b);
}

/* ---- special tokens ---------------------------------------------------------------------------------------------- */

/* The text of a special token is that token, whatever shorter ones it begins with. */
static void check_specials(zo2t_tokenizer *t, zo2t_vocab *v, const zo2t_tokenizer_files *f)
{
    zo2t_specials sp;
    FUZZ_CHECK(FUZZ_OK(zo2t_specials_load(&sp, v, f)));
    for (size_t i = 0; i < sp.n; i++) {
        zo2t_ids ids = {0};
        FUZZ_CHECK(FUZZ_OK(zo2t_encode(t, sp.token[i].text, sp.token[i].bytes, -1, &ids)));
        FUZZ_CHECK(ids.n == 1 && ids.id[0] == sp.token[i].id);
        zo2t_ids_free(&ids);
    }
    zo2t_specials_free(&sp);
}

/* ---- a text there and back --------------------------------------------------------------------------------------- */

/* A special token written in the byte alphabet ("\u0120a") can have the id of an ordinary token (" a"), and decodes to
 * its own text: then there is no way back. */
static int may_hide_bytes(const zo2t_file *f)
{
    for (size_t i = 0; i < f->bytes; i++)
        if ((unsigned char)f->data[i] >= 0x80 || f->data[i] == '\\')
            return 1;
    return 0;
}

static void check_text(zo2t_tokenizer *t, const char *text, size_t bytes, int there_and_back)
{
    zo2t_ids first = {0}, second = {0};
    if (!FUZZ_OK(zo2t_encode(t, text, bytes, -1, &first))) {
        FUZZ_CHECK(first.n == 0 && zo2t_utf8_check(text, bytes) != bytes);
        zo2t_ids_free(&first);
        return;
    }
    FUZZ_CHECK(FUZZ_OK(zo2t_encode(t, text, bytes, 7, &second)));
    FUZZ_CHECK(second.n == first.n + 1 && second.id[0] == 7);
    FUZZ_CHECK(!first.n || memcmp(first.id, second.id + 1, first.n * sizeof *first.id) == 0);
    char *back;
    size_t back_bytes;
    FUZZ_CHECK(FUZZ_OK(zo2t_decode(t, first.id, first.n, &back, &back_bytes)));
    FUZZ_CHECK(!there_and_back || (back_bytes == bytes && memcmp(back, text, bytes) == 0));
    FUZZ_CHECK(zo2t_encode(t, text, (size_t)INT32_MAX + 1, -1, &first) == ZO2_ERR_ARG); /* refused unread */
    for (size_t i = 0; i < first.n; i++)
        FUZZ_CHECK(first.id[i] >= 0 && first.id[i] <= zo2t_tokenizer_max_id(t));
    free(back);
    zo2t_ids_free(&first);
    zo2t_ids_free(&second);
}

static zo2t_file optional(fuzz_input *in)
{
    zo2t_file f;
    f.data = fuzz_text(in, &f.bytes);
    return f.bytes ? f : (zo2t_file){0};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    zo2t_tokenizer_files f = {0};
    size_t n;
    const char *vocab = fuzz_text(&in, &n);
    char *own_vocab = mode & RAW_VOCAB ? NULL : byte_vocab(vocab, n, &f.vocab.bytes);
    f.vocab.data = own_vocab ? own_vocab : vocab;
    f.vocab.bytes = own_vocab ? f.vocab.bytes : n;

    const char *merges = fuzz_text(&in, &n), *version = mode & RAW_MERGES ? "" : VERSION;
    char *own_merges = fuzz_alloc(strlen(version) + n);
    memcpy(own_merges, version, strlen(version));
    if (n)
        memcpy(own_merges + strlen(version), merges, n);
    f.merges = (zo2t_file){own_merges, strlen(version) + n};

    f.special_tokens_map = optional(&in);
    f.tokenizer_config = optional(&in);
    f.added_tokens = optional(&in);
    zo2t_tokenizer *t;
    if (FUZZ_OK(zo2t_tokenizer_open(&t, &f))) {
        check_text(t, (const char *)in.at, in.left,
                   !may_hide_bytes(&f.special_tokens_map) && !may_hide_bytes(&f.tokenizer_config) &&
                       !may_hide_bytes(&f.added_tokens));
        zo2t_vocab v;
        FUZZ_CHECK(FUZZ_OK(zo2t_vocab_load(&v, f.vocab.data, f.vocab.bytes)));
        check_merging(&v, &f.merges, (const char *)in.at, in.left);
        check_specials(t, &v, &f); /* adds to the vocabulary */
        zo2t_vocab_free(&v);
    } else {
        FUZZ_CHECK(!t);
    }
    zo2t_tokenizer_close(t);
    free(own_vocab);
    free(own_merges);
    return 0;
}
