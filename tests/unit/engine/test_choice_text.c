/* test_choice_text.c: the text that says which tensors a run moves: every term, what is wrong with others, and limits. */
#include "engine/model/tune.h"
#include "tests/unit/engine/hf_dir.h"

static zo2_choice parsed(const char *text)
{
    zo2_choice c;
    assert_ok(zo2_choice_parse(&c, text));
    return c;
}

/* The only term of a text. */
static zo2_term *only(const zo2_choice *c, zo2_term_kind kind)
{
    assert_int_equal(c->n, 1);
    assert_int_equal(c->term[0].kind, kind);
    return &c->term[0];
}

static void every_term(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        zo2_term_kind kind;
    } plain[] = {{NULL, ZO2_TERM_ALL}, {"all", ZO2_TERM_ALL}, {"vectors", ZO2_TERM_VECTORS}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        zo2_choice c = parsed(plain[i].text);
        only(&c, plain[i].kind);
        zo2_choice_free(&c);
        zo2_choice_free(&c); /* zeroed is fine */
    }
    zo2_choice c = parsed("match=*.fc1.*");
    assert_string_equal(only(&c, ZO2_TERM_MATCH)->text, "*.fc1.*");
    zo2_choice_free(&c);

    c = parsed("all+vectors+layers=1+matrices=2-3+rows=7+match=a+match=b+lora:r=2");
    const zo2_term_kind kinds[] = {ZO2_TERM_ALL,  ZO2_TERM_VECTORS, ZO2_TERM_LAYERS, ZO2_TERM_MATRICES,
                                   ZO2_TERM_ROWS, ZO2_TERM_MATCH,   ZO2_TERM_MATCH,  ZO2_TERM_LORA};
    assert_int_equal(c.n, sizeof kinds / sizeof *kinds);
    for (uint32_t i = 0; i < c.n; i++)
        assert_int_equal(c.term[i].kind, kinds[i]);
    zo2_choice_free(&c);
}

/* Sorted; what overlaps or touches is one. */
static void ranges(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        zo2_range want[4];
        uint32_t n;
    } cases[] = {
        {"rows=7", {{7, 7}}, 1},
        {"rows=0", {{0, 0}}, 1},
        {"layers=4-5", {{4, 5}}, 1},
        {"layers=4-4", {{4, 4}}, 1},
        {"matrices=3,8-11,0", {{0, 0}, {3, 3}, {8, 11}}, 3},
        {"rows=12,15,98-103", {{12, 12}, {15, 15}, {98, 103}}, 3},
        {"rows=5,1,2,4,3", {{1, 5}}, 1},
        {"rows=1-9,3-4,20,10", {{1, 10}, {20, 20}}, 2},
        {"rows=9-12,1-30", {{1, 30}}, 1},
        {"rows=2147483647", {{2147483647, 2147483647}}, 1},
        {"rows=1,3,5,7,9,11,13,15,17,0-18", {{0, 18}}, 1}, /* more than the first room */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zo2_choice c = parsed(cases[i].text);
        assert_int_equal(c.n, 1);
        assert_int_equal(c.term[0].n_ranges, cases[i].n);
        for (uint32_t k = 0; k < cases[i].n; k++) {
            assert_int_equal(c.term[0].range[k].from, cases[i].want[k].from);
            assert_int_equal(c.term[0].range[k].to, cases[i].want[k].to);
        }
        zo2_choice_free(&c);
    }
}

enum { Q = 1, K = 2, V = 4, O = 8, GATE = 16, FC1 = 32, FC2 = 64 };

static void adapters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t rank, targets;
        double alpha;
        uint32_t n_ranges, terms;
    } cases[] = {
        {"lora:r=8", 8, Q | V, 16, 0, 1},
        {"lora:r=8,alpha=16,targets=q_proj+v_proj", 8, Q | V, 16, 0, 1},
        {"lora:alpha=0.5", 8, Q | V, 0.5, 0, 1},
        {"lora:r=1", 1, Q | V, 2, 0, 1},
        {"lora:r=1024", 1024, Q | V, 2048, 0, 1},
        {"lora:targets=k_proj+o_proj+gate_proj+fc1+fc2", 8, K | O | GATE | FC1 | FC2, 16, 0, 1},
        {"lora:targets=out_proj", 8, O, 16, 0, 1},
        {"lora:targets=up_proj+down_proj", 8, FC1 | FC2, 16, 0, 1},
        {"lora:targets=q_proj,r=4,layers=0,3-5,alpha=1", 4, Q, 1, 2, 1},
        {"lora:layers=1-2", 8, Q | V, 16, 1, 1},
        /* a + goes on with targets unless a term follows */
        {"lora:targets=q_proj+v_proj+vectors", 8, Q | V, 16, 0, 2},
        {"lora:targets=q_proj+layers=3", 8, Q, 16, 0, 2},
        {"lora:r=2+all", 2, Q | V, 4, 0, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zo2_choice c = parsed(cases[i].text);
        const zo2_term *t = &c.term[0];
        assert_int_equal(c.n, cases[i].terms);
        assert_int_equal(t->kind, ZO2_TERM_LORA);
        assert_int_equal(t->rank, cases[i].rank);
        assert_int_equal(t->targets, cases[i].targets);
        assert_true(t->alpha == cases[i].alpha);
        assert_int_equal(t->n_ranges, cases[i].n_ranges);
        zo2_choice_free(&c);
    }
}

static void what_is_no_choice(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "a term is one of all, vectors, layers="},
        {"+", "a term is one of"},
        {"all+", "a term is one of"},
        {"+all", "a term is one of"},
        {"everything", "'everything': a term is one of"},
        {"allx", "'allx'"},
        {"All", "'All'"},
        {"vectors=1", "'vectors=1'"},
        {"layers", "'layers'"},
        {"lora", "'lora'"},
        {"all,vectors", "'all,vectors'"},
        {"layers=", "layers= is followed by numbers, as in layers=4-5 or layers=3,8-11"},
        {"layers=a", "layers= is followed by numbers"},
        {"layers=-1", "layers= is followed by numbers"},
        {"layers=1-", "layers=1- goes on with a number that isn't smaller"},
        {"layers=5-4", "layers=5- goes on with a number that isn't smaller"},
        {"layers=1,", "',' doesn't belong there"},
        {"layers=1,,2", "',,2' doesn't belong there"},
        {"layers=1 ", "' ' doesn't belong there"},
        {"layers=1.5", "'.5' doesn't belong there"},
        {"layers=1-2-3", "'-3' doesn't belong there"},
        {"matrices=x", "matrices= is followed by numbers, as in matrices=4-5"},
        {"rows=2147483648", "rows= is followed by numbers"},
        {"rows=99999999999999999999", "rows= is followed by numbers"},
        {"rows=answers", "rows=answers depends on a data file"},
        {"rows=answer", "rows= is followed by numbers"},
        {"rows=1+rows=2", "rows= and lora: can each be there once"},
        {"lora:r=1+all+lora:r=1", "rows= and lora: can each be there once"},
        {"match=", "match= is followed by a pattern"},
        {"match=+all", "match= is followed by a pattern"},
        {"lora:", "it has r=, alpha=, targets= and layers="},
        {"lora:rank=8", "'rank=8': it has r=, alpha="},
        {"lora:r=8,", "it has r=, alpha="},
        {"lora:r=0", "r, the rank, is a number from 1 to 1024"},
        {"lora:r=1025", "r, the rank, is a number from 1 to 1024"},
        {"lora:r=x", "r, the rank"},
        {"lora:alpha=0", "alpha is a number above 0"},
        {"lora:alpha=-1", "alpha is a number above 0"},
        {"lora:alpha=nan", "alpha is a number above 0"},
        {"lora:alpha=inf", "alpha is a number above 0"},
        {"lora:alpha=", "alpha is a number above 0"},
        {"lora:alpha=1e300", "alpha is a number above 0"},  /* no fp32 number when divided by the rank */
        {"lora:alpha=1e-300", "alpha is a number above 0"}, /* 0 when it is */
        {"lora:targets=", "no target is named ''"},
        {"lora:targets=q", "no target is named 'q'"},
        {"lora:targets=q_proj+", "no target is named ''"},
        {"lora:targets=q_proj+norm", "no target is named 'norm': they are q_proj, k_proj"},
        {"lora:layers=", "lora: layers= is followed by numbers"},
        {"lora:r=8x", "'x' doesn't belong there"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zo2_choice c;
        memset(&c, 0xA5, sizeof c);
        assert_error(zo2_choice_parse(&c, cases[i].text), ZO2_ERR_ARG, cases[i].says);
        assert_error(ZO2_ERR_ARG, ZO2_ERR_ARG, "tune: ");
        assert_true(!c.term && !c.n);
    }
}

/* A text of `n` times `piece`, joined by `by`. */
static char *many(size_t n, const char *piece, char by)
{
    const size_t bytes = strlen(piece);
    char *text = malloc(n * (bytes + 1) + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        memcpy(text + i * (bytes + 1), piece, bytes);
        text[i * (bytes + 1) + bytes] = by;
    }
    text[n * (bytes + 1) - 1] = '\0';
    return text;
}

static void limits(void **state)
{
    (void)state;
    zo2_choice c;
    char *text = many(ZO2_TUNE_TERMS, "all", '+');
    assert_ok(zo2_choice_parse(&c, text));
    assert_int_equal(c.n, ZO2_TUNE_TERMS);
    zo2_choice_free(&c);
    free(text);
    text = many(ZO2_TUNE_TERMS + 1, "all", '+');
    assert_error(zo2_choice_parse(&c, text), ZO2_ERR_ARG, "more than 256 terms");
    free(text);

    text = malloc(ZO2_TUNE_MOST + 2);
    assert_non_null(text);
    memset(text, '1', ZO2_TUNE_MOST + 1);
    for (size_t i = 6; i < ZO2_TUNE_MOST; i += 2)
        text[i] = ',';
    memcpy(text, "rows=", 5);
    text[ZO2_TUNE_MOST - 1] = '1';
    text[ZO2_TUNE_MOST] = '\0'; /* four million numbers */
    assert_ok(zo2_choice_parse(&c, text));
    assert_int_equal(c.term[0].n_ranges, 1);
    zo2_choice_free(&c);
    text[ZO2_TUNE_MOST] = '1';
    text[ZO2_TUNE_MOST + 1] = '\0';
    assert_error(zo2_choice_parse(&c, text), ZO2_ERR_ARG, "a text of more than 8388608 bytes");
    free(text);
}

/* A list that goes on behind another key: longer than the room that the first one had. */
static void lists_in_pieces(void **state)
{
    (void)state;
    zo2_choice c = parsed("lora:layers=0,2,4,6,8,10,12,14,r=4,layers=16,18,20,22,24,26,28,30,32,34");
    assert_int_equal(c.n, 1);
    assert_int_equal(c.term[0].n_ranges, 18);
    for (uint32_t i = 0; i < 18; i++)
        assert_true(c.term[0].range[i].from == 2 * i && c.term[0].range[i].to == 2 * i);
    zo2_choice_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_term),        cmocka_unit_test(ranges),
        cmocka_unit_test(adapters),          cmocka_unit_test(lists_in_pieces),
        cmocka_unit_test(what_is_no_choice), cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests_name("choices of tensors as text", tests, NULL, NULL);
}
