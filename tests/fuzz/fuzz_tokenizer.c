/* fuzz_tokenizer.c: vocab.json, merges.txt, tokenizer.json, the files of special tokens, and a text.
 *
 * Input: mode, then texts separated by 0x1E: vocabulary, merges, special_tokens_map.json, tokenizer_config.json,
 * added_tokens.json (an empty one of these three is absent), text. Without RAW_VOCAB the first is what a small
 * byte-level vocabulary is followed by; without RAW_MERGES the version line is put in front of the second.
 *
 * With JSON the first two make a tokenizer.json: the vocabulary as above, then what follows it in the model, and the
 * model in the file; with RAW_MERGES the second is the whole file. There is no vocab.json and no merges.txt then, or, with BOTH,
 * the vocabulary and no merges. With META the vocabulary of a tokenizer.json is one of characters, with a token for each byte.
 *
 * Properties: a text encodes to ids of the vocabulary, the same ones from the cache of words, and decodes to itself if nothing is
 * normalised; what is normalised is UTF-8; merging is the library's procedure; a special token's text is that token. */
#include "tests/fuzz/byte_vocab.h"
#include "tools/text/json_file.h"
#include "tools/text/parts.h"

enum { RAW_VOCAB = 1, RAW_MERGES = 2, JSON = 4, BOTH = 8, META = 16 };

#define VERSION "#version: 0.2\n"

/* ---- the reference: a list in place of the queue, without stale entries taken out -------------------------------- */

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

typedef struct waiting {
    int rule, at;
} waiting;

typedef struct word {
    int32_t id[MAX_WORD]; /* -1: merged into the one before */
    int n, waiting;
    waiting list[4 * MAX_WORD];
} word;

/* The next symbol that is still there, n behind the last. */
static int next_of(const word *w, int at)
{
    do
        at++;
    while (at < w->n && w->id[at] < 0);
    return at;
}

static int rule_at(const word *w, int at, const rule *rules, int n_rules)
{
    const int next = next_of(w, at);
    for (int r = 0; r < n_rules && next < w->n; r++)
        if (w->id[at] == rules[r].left && w->id[next] == rules[r].right)
            return r;
    return -1;
}

static void wait_at(word *w, int at, const rule *rules, int n_rules)
{
    const int r = rule_at(w, at, rules, n_rules);
    if (r >= 0)
        w->list[w->waiting++] = (waiting){r, at};
}

static waiting take_best(word *w)
{
    int best = 0;
    for (int i = 1; i < w->waiting; i++) {
        const waiting *a = &w->list[i], *b = &w->list[best];
        if (a->rule < b->rule || (a->rule == b->rule && a->at < b->at))
            best = i;
    }
    const waiting out = w->list[best];
    w->list[best] = w->list[--w->waiting];
    return out;
}

static size_t reference(word *w, const rule *rules, int n_rules)
{
    for (int i = 0; i < w->n; i++)
        wait_at(w, i, rules, n_rules);
    while (w->waiting) {
        const waiting best = take_best(w);
        const int now = w->id[best.at] < 0 ? -1 : rule_at(w, best.at, rules, n_rules);
        if (now < 0 || rules[now].result != rules[best.rule].result)
            continue;
        w->id[next_of(w, best.at)] = -1;
        w->id[best.at] = rules[now].result;
        int before = best.at - 1;
        while (before >= 0 && w->id[before] < 0)
            before--;
        if (before >= 0)
            wait_at(w, before, rules, n_rules);
        wait_at(w, best.at, rules, n_rules);
    }
    size_t n = 0;
    for (int i = 0; i < w->n; i++)
        if (w->id[i] >= 0)
            w->id[n++] = w->id[i];
    return n;
}

static void check_merging(const zo2t_vocab *v, const zo2t_file *merges, const char *text, size_t bytes)
{
    zo2t_bpe b;
    rule rules[MAX_MERGES];
    FUZZ_CHECK(FUZZ_OK(zo2t_bpe_load(&b, v, merges->data, merges->bytes)));
    const int n_rules = read_rules(rules, v, merges->data, merges->bytes);
    if (n_rules < MAX_MERGES) { /* all of them */
        word w = {.n = bytes < MAX_WORD ? (int)bytes : MAX_WORD};
        for (int i = 0; i < w.n; i++)
            w.id[i] = b.byte_id[(uint8_t)text[i]];
        zo2t_ids got = {0};
        FUZZ_CHECK(FUZZ_OK(zo2t_bpe_word(&b, text, (size_t)w.n, &got)));
        FUZZ_CHECK(got.n == reference(&w, rules, n_rules));
        FUZZ_CHECK(!got.n || memcmp(got.id, w.id, got.n * sizeof *w.id) == 0);
        zo2t_ids_free(&got);
    }
    zo2t_bpe_free(&b);
}

/* ---- special tokens ---------------------------------------------------------------------------------------------- */

/* The text of a special token is that token, whatever shorter ones it begins with. (Two may be the same when normalised.) */
static void check_specials(zo2t_tokenizer *t, const zo2t_parts *parts)
{
    const int pass = parts->specials.pass[0].n == 0;
    const struct zo2t_special_set *set = &parts->specials.pass[pass];
    for (size_t i = 0; i < set->n && !(pass && parts->normalizer.n); i++) {
        zo2t_ids ids = {0};
        FUZZ_CHECK(FUZZ_OK(zo2t_encode(t, set->token[i].text, set->token[i].bytes, -1, &ids)));
        FUZZ_CHECK(ids.n == 1 && ids.id[0] == set->token[i].id);
        zo2t_ids_free(&ids);
    }
}

/* Patterns rely on it. */
static void check_normalized(zo2t_parts *parts, const char *text, size_t bytes)
{
    const char *out;
    size_t out_bytes;
    if (zo2t_utf8_check(text, bytes) == bytes &&
        FUZZ_OK(zo2t_normalize(&parts->normalizer, text, bytes, &out, &out_bytes)))
        FUZZ_CHECK(zo2t_utf8_check(out, out_bytes) == out_bytes);
}

static void check_parts(zo2t_tokenizer *t, const zo2t_tokenizer_files *f, const char *text, size_t bytes)
{
    zo2t_parts parts = {0};
    zo2t_roots r = {0};
    FUZZ_CHECK(FUZZ_OK(zo2t_json_object(&r.tokenizer, "", &f->tokenizer)));
    FUZZ_CHECK(FUZZ_OK(zo2t_json_object(&r.config, "", &f->tokenizer_config)));
    FUZZ_CHECK(FUZZ_OK(zo2t_json_object(&r.map, "", &f->special_tokens_map)));
    FUZZ_CHECK(FUZZ_OK(zo2t_json_object(&r.added, "", &f->added_tokens)));
    FUZZ_CHECK(FUZZ_OK(r.tokenizer ? zo2t_parts_from_json(&parts, r.tokenizer)
                                   : zo2t_parts_from_pair(&parts, &f->vocab, &f->merges, r.config)));
    FUZZ_CHECK(FUZZ_OK(zo2t_parts_special_files(&parts, &r)));
    check_specials(t, &parts);
    check_normalized(&parts, text, bytes);
    zo2t_parts_free(&parts);
    json_decref(r.tokenizer);
    json_decref(r.config);
    json_decref(r.map);
    json_decref(r.added);
}

/* ---- a text there and back --------------------------------------------------------------------------------------- */

/* A special token written in the byte alphabet ("\u0120a") can have the id of an ordinary token (" a"), and decodes to
 * its own text: then there is no way back. Nor is there where one takes white space with it ("lstrip"). */
static int may_hide_bytes(const zo2t_file *f)
{
    for (size_t i = 0; i < f->bytes; i++)
        if ((unsigned char)f->data[i] >= 0x80 || f->data[i] == '\\' ||
            (f->bytes - i >= 5 && memcmp(f->data + i, "strip", 5) == 0))
            return 1;
    return 0;
}

/* A normaliser changes texts, as a tokenizer of characters does: spaces in front, "<0x41>", unknown ones. Written plainly: what has
 * backslashes hides bytes. */
static int may_change_text(const zo2t_file *f)
{
    static const char *const words[] = {"normalizer", "Metaspace", "byte_fallback", "unk_token"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (memmem(f->data, f->bytes, words[i], strlen(words[i])))
            return 1;
    return 0;
}

static void check_text(zo2t_tokenizer *t, const char *text, size_t bytes, int there_and_back)
{
    zo2t_ids first = {0}, second = {0};
    zo2_status s;
    if (!FUZZ_OK(s = zo2t_encode(t, text, bytes, -1, &first))) { /* ZO2_ERR_ARG: normalised it is too long */
        FUZZ_CHECK(first.n == 0 && (zo2t_utf8_check(text, bytes) != bytes || s == ZO2_ERR_ARG));
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

/* Both texts one after another; malloc'ed. */
static char *joined(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    char *out = fuzz_alloc(a_bytes + b_bytes);
    memcpy(out, a, a_bytes);
    if (b_bytes)
        memcpy(out + a_bytes, b, b_bytes);
    return out;
}

/* Puts `front`, the vocabulary and `rest` of a tokenizer.json together. */
static zo2t_file make_json(const zo2t_file *vocab, const zo2t_file *rest)
{
    static const char front[] = "{\"model\": {\"vocab\": ";
    char *begin = joined(front, sizeof front - 1, vocab->data, vocab->bytes);
    zo2t_file out = {NULL, sizeof front - 1 + vocab->bytes + rest->bytes};
    out.data = joined(begin, out.bytes - rest->bytes, rest->data, rest->bytes);
    free(begin);
    return out;
}

static void run(const zo2t_tokenizer_files *f, const fuzz_input *in, int there_and_back)
{
    const char *text = (const char *)in->at;
    zo2t_tokenizer *t;
    if (!FUZZ_OK(zo2t_tokenizer_open(&t, f))) {
        FUZZ_CHECK(!t);
        return;
    }
    check_text(t, text, in->left, there_and_back);
    FUZZ_CHECK(zo2t_tokenizer_bos(t) >= ZO2T_BOS_UNSAID);
    for (size_t i = 0; zo2t_tokenizer_note(t, i); i++)
        FUZZ_CHECK(zo2t_tokenizer_note(t, i)[0] && !strchr(zo2t_tokenizer_note(t, i), '\n'));
    if (!f->tokenizer.data) {
        zo2t_vocab v;
        FUZZ_CHECK(FUZZ_OK(zo2t_vocab_load(&v, f->vocab.data, f->vocab.bytes)));
        check_merging(&v, &f->merges, text, in->left);
        zo2t_vocab_free(&v);
    }
    check_parts(t, f, text, in->left);
    zo2t_tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    zo2t_tokenizer_files f = {0};
    zo2t_file vocab, merges;
    vocab.data = fuzz_text(&in, &vocab.bytes);
    merges.data = fuzz_text(&in, &merges.bytes);
    f.special_tokens_map = optional(&in);
    f.tokenizer_config = optional(&in);
    f.added_tokens = optional(&in);
    int there_and_back = !may_hide_bytes(&f.special_tokens_map) && !may_hide_bytes(&f.tokenizer_config) &&
                         !may_hide_bytes(&f.added_tokens);

    char *own_vocab = NULL;
    if (!(mode & RAW_VOCAB)) {
        own_vocab = mode & JSON && mode & META ? character_vocab(vocab.data, vocab.bytes, &vocab.bytes)
                                               : byte_vocab(vocab.data, vocab.bytes, &vocab.bytes);
        vocab.data = own_vocab;
    }
    const char *version = mode & RAW_MERGES && !(mode & JSON) ? "" : VERSION;
    char *own_merges = joined(version, strlen(version), merges.data, mode & JSON ? 0 : merges.bytes);
    if (!(mode & JSON) || mode & BOTH) {
        f.vocab = vocab;
        f.merges = (zo2t_file){own_merges, strlen(version) + (mode & JSON ? 0 : merges.bytes)};
    }
    char *own_json = NULL;
    if (mode & JSON) {
        f.tokenizer = mode & RAW_MERGES ? merges : make_json(&vocab, &merges);
        own_json = mode & RAW_MERGES ? NULL : (char *)(uintptr_t)f.tokenizer.data;
        there_and_back &= !may_hide_bytes(&merges) && !may_change_text(&merges);
    }
    run(&f, &in, there_and_back);
    free(own_vocab);
    free(own_merges);
    free(own_json);
    return 0;
}
