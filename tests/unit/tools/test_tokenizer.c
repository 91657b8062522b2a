/* Tokenizer: known answers of two real vocabularies, decoding, special tokens, the pattern's corners, odd merges. */
#include "tests/unit/tools/test_tokenizer_files.h"
#include "tools/text/bpe.h"

static void check_ids(zo2t_tokenizer *t, const char *text, size_t bytes, int32_t bos, const int32_t *ids, size_t n)
{
    zo2t_ids out = {0};
    if (zo2t_encode(t, text, bytes, bos, &out))
        fail_msg("\"%s\": %s", text, zo2_last_error());
    int same = out.n == n;
    for (size_t i = 0; same && i < n; i++)
        same = out.id[i] == ids[i];
    if (!same) {
        print_error("\"%s\" gives", text);
        for (size_t i = 0; i < out.n; i++)
            print_error(" %d", out.id[i]);
        print_error("\n");
        fail();
    }
    /* Decoding gives the text back, behind the BOS. */
    char *back;
    size_t length, skip = bos >= 0;
    assert_int_equal(zo2t_decode(t, out.id + skip, out.n - skip, &back, &length), ZO2_OK);
    assert_int_equal(length, bytes);
    assert_memory_equal(back, text, bytes);
    free(back);
    zo2t_ids_free(&out);
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void known_answers_tiny(void **state)
{
    (void)state;
    zo2t_tokenizer *t = test_tiny_tokenizer();
    zo2t_file f = test_read(ZO2_TEST_DATA "/tiny-opt", "tokenizer_kat.jsonl");
    assert_non_null(f.data);
    size_t lines = 0;
    for (int round = 0; round < 2; round++) { /* the second time from the cache */
        for (const char *line = f.data; *line;) {
            const char *end = strchr(line, '\n');
            assert_non_null(end);
            json_t *root = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
            assert_non_null(root);
            const json_t *text = json_object_get(root, "text"), *ids = json_object_get(root, "ids");
            size_t n = json_array_size(ids);
            int32_t *id = calloc(n + 1, sizeof *id);
            for (size_t i = 0; i < n; i++)
                id[i] = (int32_t)json_integer_value(json_array_get(ids, i));
            check_ids(t, json_string_value(text), json_string_length(text), 2, id, n);
            free(id);
            json_decref(root);
            lines++;
            line = end + 1;
        }
    }
    assert_int_equal(lines, 400);
    assert_int_equal(zo2t_tokenizer_size(t), 4096);
    assert_int_equal(zo2t_tokenizer_max_id(t), 4095);
    assert_int_equal(zo2t_token_id(t, "</s>"), 2);
    assert_int_equal(zo2t_token_id(t, "\xC4\xA0"), 224);
    assert_int_equal(zo2t_token_id(t, " "), -1);
    free((char *)(uintptr_t)f.data);
    zo2t_tokenizer_close(t);
}

static void known_answers_opt(void **state)
{
    (void)state;
    zo2t_tokenizer *t = test_tokenizer(ZO2_SHARED_DATA "/opt-tokenizer");
    if (!t) {
        print_message("skipped: no " ZO2_SHARED_DATA "/opt-tokenizer\n");
        skip();
    }
#define CASE(text, ...) check_ids(t, text, strlen(text), 2, IDS(2, __VA_ARGS__))
    CASE("A photo of a cat", 250, 1345, 9, 10, 4758);
    CASE("Hello world", 31414, 232);
    CASE(" Hello world! c\xC3\xA9"
         "c\xC3\xA9 herlolip",
         20920, 232, 328, 740, 1140, 12695, 69, 46078, 1588);
    CASE(" great", 372);
    CASE(" terrible", 6587);
    CASE("I'm DON'T can't", 100, 437, 24980, 108, 565, 64, 75);
    /* No special tokens are named there, so OPT's own are: the rest is plain text. */
    CASE("<s></s><pad><unk>", 0, 2, 1, 3);
    assert_int_equal(zo2t_tokenizer_size(t), 50265);
    zo2t_tokenizer_close(t);
}

/* Special tokens of the tiny model's files are </s> and <pad>; <s> is text there, as Hugging Face has it. */
static void special_tokens(void **state)
{
    (void)state;
    zo2t_tokenizer *t = test_tiny_tokenizer();
    zo2t_ids a = {0}, b = {0};
    assert_int_equal(zo2t_encode(t, "a</s> b<pad></s>", 16, -1, &a), ZO2_OK);
    assert_int_equal(zo2t_encode(t, "a", 1, -1, &b), ZO2_OK);
    assert_int_equal(zo2t_ids_append(&b, (const int32_t[]){2}, 1), ZO2_OK);
    assert_int_equal(zo2t_encode(t, " b", 2, -1, &b), ZO2_OK);
    assert_int_equal(zo2t_ids_append(&b, (const int32_t[]){1, 2}, 2), ZO2_OK);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.id, b.id, a.n * sizeof *a.id);
    char *text;
    assert_int_equal(zo2t_decode(t, a.id, a.n, &text, NULL), ZO2_OK);
    assert_string_equal(text, "a</s> b<pad></s>");
    free(text);
    a.n = 0;
    assert_int_equal(zo2t_encode(t, "<s>", 3, 2, &a), ZO2_OK);
    assert_true(a.n == 4 && a.id[0] == 2 && a.id[1] != 0);
    /* Whitespace before a special token ends its piece: it isn't kept for a word that follows. */
    a.n = b.n = 0;
    assert_int_equal(zo2t_encode(t, "x  </s>", 7, -1, &a), ZO2_OK);
    assert_int_equal(zo2t_encode(t, "x  ", 3, 2, &b), ZO2_OK);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.id, b.id + 1, (a.n - 1) * sizeof *a.id);
    zo2t_ids_free(&a);
    zo2t_ids_free(&b);
    zo2t_tokenizer_close(t);
}

static zo2t_tokenizer *made_up(const char *extra, const char *merges, const char *map, const char *config,
                               const char *added)
{
    char *vocab = test_byte_vocab(extra);
    zo2t_tokenizer_files f = {
        .vocab = {vocab, strlen(vocab)},
        .merges = {merges, strlen(merges)},
        .special_tokens_map = {map, map ? strlen(map) : 0},
        .tokenizer_config = {config, config ? strlen(config) : 0},
        .added_tokens = {added, added ? strlen(added) : 0},
    };
    zo2t_tokenizer *t;
    if (zo2t_tokenizer_open(&t, &f))
        fail_msg("%s", zo2_last_error());
    free(vocab);
    return t;
}

#define B(c) (4 + (c))

static void merge_order(void **state)
{
    (void)state;
    zo2t_tokenizer *t = made_up("\"ab\": 300, \"bc\": 301, \"abc\": 302, \"abcab\": 303, \"aa\": 304, \"aaaa\": 305",
                                "#version: 0.2\nb c\n\na bc\r\nabc ab\na b\nab c\na a\naa aa", NULL, NULL, NULL);
    check_ids(t, "abc", 3, -1, IDS(302));         /* b c ranks before a b */
    check_ids(t, "abcab", 5, -1, IDS(303));       /* a b, then abc ab though it ranks before it */
    check_ids(t, "abcabc", 6, -1, IDS(302, 302)); /* b c everywhere first: no ab is left for abc ab */
    check_ids(t, "aaa", 3, -1, IDS(304, B('a')));
    check_ids(t, "aaaaaaa", 7, -1, IDS(305, 304, B('a')));
    check_ids(t, "", 0, -1, NULL, 0);
    check_ids(t, "", 0, 7, IDS(7));
    zo2t_tokenizer_close(t);

    /* A better rank that appears counts at once: abc ab before the second ab c. */
    t = made_up("\"ab\": 300, \"abc\": 302, \"abcab\": 303", "#version: 0.2\na b\nabc ab\nab c\n", NULL, NULL, NULL);
    check_ids(t, "abcabc", 6, -1, IDS(303, B('c')));
    zo2t_tokenizer_close(t);
}

/* ---- Hugging Face's procedure with a list in place of a queue, and texts in place of ids ------------------------- */

typedef struct part {
    char text[65]; /* "": merged into the one before */
    size_t previous, next;
} part;

typedef struct waiting {
    size_t rank, at;
    char result[9];
} waiting;

typedef struct slow_word {
    const char *const (*merges)[2];
    size_t n_merges;
    part part[66]; /* from 1 on; 0 is the end on both sides */
    waiting list[1024];
    size_t n;
} slow_word;

/* Rank of the parts at a place, and behind it; n_merges if there is none. */
static size_t slow_rank(const slow_word *w, size_t at)
{
    const part *left = &w->part[at], *right = &w->part[left->next];
    size_t m = 0;
    while (m < w->n_merges && (strcmp(left->text, w->merges[m][0]) || strcmp(right->text, w->merges[m][1])))
        m++;
    return at && left->next ? m : w->n_merges;
}

static void slow_wait(slow_word *w, size_t at)
{
    const size_t m = slow_rank(w, at);
    if (m == w->n_merges)
        return;
    assert_true(w->n < sizeof w->list / sizeof *w->list);
    waiting *to = &w->list[w->n++];
    *to = (waiting){m, at, ""};
    sprintf(to->result, "%s%s", w->merges[m][0], w->merges[m][1]);
}

static waiting slow_best(slow_word *w)
{
    size_t best = 0;
    for (size_t i = 1; i < w->n; i++) {
        const waiting *a = &w->list[i], *b = &w->list[best];
        if (a->rank < b->rank || (a->rank == b->rank && a->at < b->at))
            best = i;
    }
    waiting out = w->list[best];
    w->list[best] = w->list[--w->n];
    return out;
}

static size_t slow(const zo2t_vocab *v, const char *const (*merges)[2], size_t n, const char *word, int32_t *ids)
{
    slow_word w = {.merges = merges, .n_merges = n};
    const size_t length = strlen(word);
    size_t count = 0;
    for (size_t i = 1; i <= length; i++) {
        w.part[i] = (part){"", i - 1, i < length ? i + 1 : 0};
        w.part[i].text[0] = word[i - 1];
    }
    for (size_t i = 1; i <= length; i++)
        slow_wait(&w, i);
    while (w.n) {
        const waiting next = slow_best(&w);
        part *left = &w.part[next.at];
        const size_t m = left->text[0] ? slow_rank(&w, next.at) : n;
        char now[80] = "";
        if (m < n)
            sprintf(now, "%s%s", merges[m][0], merges[m][1]);
        if (strcmp(now, next.result) != 0)
            continue;
        part *right = &w.part[left->next];
        memcpy(left->text, next.result, sizeof next.result);
        right->text[0] = '\0';
        left->next = right->next;
        if (left->next)
            w.part[left->next].previous = next.at;
        slow_wait(&w, left->previous);
        slow_wait(&w, next.at);
    }
    for (size_t i = 1; i; i = w.part[i].next)
        ids[count++] = zo2t_vocab_find(v, w.part[i].text, strlen(w.part[i].text));
    return count;
}

static void random_merges(void **state)
{
    (void)state;
    /* All words of two to four letters over {a, b} are tokens; merges in random order, not as a trainer would have. */
    char extra[1024];
    const char *token[30];
    static char texts[30][5];
    size_t n = 0, at = 0;
    for (size_t length = 1; length <= 4; length++) {
        for (unsigned bits = 0; bits < 1u << length; bits++, n++) {
            for (size_t i = 0; i < length; i++)
                texts[n][i] = bits >> i & 1 ? 'b' : 'a';
            token[n] = texts[n];
            if (length > 1)
                at += (size_t)sprintf(extra + at, "%s\"%s\": %zu", at ? ", " : "", token[n], 300 + n);
        }
    }
    char *json = test_byte_vocab(extra);
    zo2t_vocab v;
    assert_int_equal(zo2t_vocab_load(&v, json, strlen(json)), ZO2_OK);
    free(json);
    unsigned random = 1;
    for (int round = 0; round < 300; round++) {
        const char *merge[200][2];
        size_t merges = 0;
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                if (strlen(token[i]) + strlen(token[j]) > 4)
                    continue;
                random = random * 1103515245 + 12345;
                if (random >> 16 & 1)
                    continue;
                size_t place = (random >> 17) % (merges + 1);
                memcpy(merge[merges], merge[place], sizeof *merge);
                merge[place][0] = token[i];
                merge[place][1] = token[j];
                merges++;
            }
        }
        char file[4096] = "#version: 0.2\n";
        for (size_t m = 0; m < merges; m++)
            sprintf(file + strlen(file), "%s %s\n", merge[m][0], merge[m][1]);
        zo2t_bpe b;
        if (zo2t_bpe_load(&b, &v, file, strlen(file)))
            fail_msg("%s", zo2_last_error());
        for (int w = 0; w < 20; w++) {
            char word[64] = {0};
            int32_t expected[64];
            random = random * 1103515245 + 12345;
            size_t length = 1 + (random >> 16) % 40;
            for (size_t i = 0; i < length; i++) {
                random = random * 1103515245 + 12345;
                word[i] = random >> 20 & 1 ? 'b' : 'a';
            }
            zo2t_ids out = {0};
            assert_int_equal(zo2t_bpe_word(&b, word, length, &out), ZO2_OK);
            size_t count = slow(&v, (const char *const(*)[2])merge, merges, word, expected);
            assert_int_equal(out.n, count);
            assert_memory_equal(out.id, expected, count * sizeof *expected);
            zo2t_ids_free(&out);
        }
        zo2t_bpe_free(&b);
    }
    zo2t_vocab_free(&v);
}

/* Where words end shows in which merges of bytes can happen: " x" merges a space with what follows. */
static void pattern(void **state)
{
    (void)state;
    zo2t_tokenizer *t =
        made_up("\"\xC4\xA0\xC4\xA0\": 300, \"\xC4\xA0x\": 301, \"'s\": 302, \"x'\": 303, \"x1\": 304, \"\xC4\xA0"
                "1\": 305, \"\xC4\xA0!\": 306, \"!x\": 307, \"\xC3\x85\xC4\xA0\": 308, \"'S\": 309",
                "#version: 0.2\nx '\nx 1\n! x\n\xC4\xA0 x\n\xC4\xA0 \xC4\xA0\n' s\n\xC4\xA0 1\n\xC4\xA0 !\n\xC3\x85 "
                "\xC4\xA0\n' S\n",
                NULL, NULL, NULL);
    check_ids(t, "x's", 3, -1, IDS(B('x'), 302));
    check_ids(t, "x'S", 3, -1, IDS(B('x'), B('\''), B('S')));
    check_ids(t, "x1!x", 4, -1, IDS(B('x'), B('1'), B('!'), B('x')));
    check_ids(t, " x 1 !", 6, -1, IDS(301, 305, 306));
    check_ids(t, "   x", 4, -1, IDS(300, 301)); /* all but the last space, which goes with x */
    check_ids(t, "  ", 2, -1, IDS(300));
    check_ids(t, "x   ", 4, -1, IDS(B('x'), 300, B(' ')));
    check_ids(t, "\n  x", 4, -1, IDS(B('\n'), B(' '), 301));
    /* White space is Unicode's White_Space: U+0085 and U+3000 are, U+180E and U+200B are not. */
    check_ids(t, "\xC2\x85 x", 4, -1, IDS(B(0xC2), B(0x85), 301));
    check_ids(t, "  \xE1\xA0\x8E", 5, -1, IDS(B(' '), B(' '), B(0xE1), B(0xA0), B(0x8E))); /* one space goes with it */
    check_ids(t, "  \xE3\x80\x80", 5, -1, IDS(300, B(0xE3), B(0x80), B(0x80)));
    check_ids(t, "\0x\0", 3, -1, IDS(B(0), B('x'), B(0)));
    zo2t_tokenizer_close(t);
}

static void special_sources(void **state)
{
    (void)state;
    static const char merges[] = "#version: 0.2\n";
    /* Named by one file or the other, as a string or an object; ids from added_tokens.json. */
    zo2t_tokenizer *t =
        made_up("\"<mask>\": 400", merges, "{\"mask_token\": {\"content\": \"<mask>\", \"lstrip\": false}}",
                "{\"bos_token\": \"</s>\", \"unk_token\": null, \"additional_special_tokens\": [\"<two words>\"]}",
                "{\"<two words>\": 2000000000, \"<more\": 7000}");
    check_ids(t, "<mask></s><two words><more><more<s>", 35, -1,
              IDS(400, 2, 2000000000, 7000, B('>'), 7000, B('<'), B('s'), B('>')));
    assert_int_equal(zo2t_tokenizer_max_id(t), 2000000000);
    zo2t_tokenizer_close(t);
    /* A decoder table is the only source of ids, and special_tokens_map.json counts no more. */
    t = made_up("\"<mask>\": 400", merges, "{\"mask_token\": \"<mask>\"}",
                "{\"bos_token\": \"</s>\", \"added_tokens_decoder\": {\"501\": {\"content\": \"<more>\"}}}",
                "{\"<two words>\": 2000000000, \"<more\": 7000}");
    check_ids(t, "</s><more><two", 14, -1, IDS(2, 501, B('<'), B('t'), B('w'), B('o')));
    check_ids(t, "<mask>", 6, -1, IDS(B('<'), B('m'), B('a'), B('s'), B('k'), B('>')));
    zo2t_tokenizer_close(t);
    /* Named by none: OPT's. */
    t = made_up("", merges, NULL, "{\"errors\": \"replace\"}", NULL);
    check_ids(t, "<s><unk>x", 9, -1, IDS(0, 3, B('x')));
    zo2t_tokenizer_close(t);
}

static void long_texts(void **state)
{
    (void)state;
    /* One word of a million letters, a million spaces, a million words: all in time that grows with the length. */
    zo2t_tokenizer *t = test_tiny_tokenizer();
    size_t n = 1000000;
    char *text = malloc(n), *back;
    static const char *const fill[] = {"a", " ", "ab ", "\n x", "'s", "!"};
    for (size_t i = 0; i < sizeof fill / sizeof *fill; i++) {
        size_t length = strlen(fill[i]), bytes;
        for (size_t k = 0; k < n; k++)
            text[k] = fill[i][k % length];
        zo2t_ids out = {0};
        assert_int_equal(zo2t_encode(t, text, n, -1, &out), ZO2_OK);
        assert_int_equal(zo2t_decode(t, out.id, out.n, &back, &bytes), ZO2_OK);
        assert_int_equal(bytes, n);
        assert_memory_equal(back, text, n);
        free(back);
        zo2t_ids_free(&out);
    }
    free(text);
    zo2t_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers_tiny), cmocka_unit_test(known_answers_opt), cmocka_unit_test(special_tokens),
        cmocka_unit_test(merge_order),        cmocka_unit_test(random_merges),     cmocka_unit_test(pattern),
        cmocka_unit_test(special_sources),    cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
