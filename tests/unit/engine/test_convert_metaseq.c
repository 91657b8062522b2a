/* test_convert_metaseq.c: models in metaseq's parts of tensor parallelism: the pack is that of the merged model; parts that are
 * missing, double or another model's are named; and what such folders lack beside the weights. */
#include "engine/model/arch.h"
#include "engine/pack/convert_job.h"
#include "storage/checkpoint/checkpoint.h"
#include "tests/unit/engine/hf_dir.h"

#define METASEQ ZO2_TEST_DATA "/metaseq/"

/* ---- a folder of parts --------------------------------------------------------------------------------------------------- */

typedef struct bench {
    char *dir, *out;
} bench;

static struct {
    uint32_t warnings, infos;
    char warning[1024], info[1024]; /* the last ones */
} said;

static void on_log(void *ud, zo2_log_level level, const char *text)
{
    (void)ud;
    if (level == ZO2_LOG_WARNING)
        said.warnings++;
    else
        said.infos++;
    snprintf(level == ZO2_LOG_WARNING ? said.warning : said.info, sizeof said.info, "%s", text);
}

static bench begin(const char *fixture)
{
    bench b = {hf_temp(), hf_temp()};
    DIR *d = opendir(hf_path(ZO2_TEST_DATA "/metaseq", fixture));
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            hf_copy(hf_path(hf_path(ZO2_TEST_DATA "/metaseq", fixture), e->d_name), hf_path(b.dir, e->d_name), NULL,
                    NULL);
    closedir(d);
    return b;
}

static void end(bench *b)
{
    hf_remove_tree(b->dir);
    hf_remove_tree(b->out);
}

static zo2_status convert(const bench *b)
{
    zo2_convert_opts o;
    zo2_convert_opts_init(&o);
    o.force = 1;
    o.threads = 2;
    o.log = on_log;
    memset(&said, 0, sizeof said);
    return zo2_pack_convert(b->dir, hf_path(b->out, "out.zo2"), &o);
}

static uint64_t hash_of(const char *path)
{
    zo2_pack *p;
    zo2_pack_info info;
    assert_ok(zo2_pack_open(&p, path));
    assert_ok(zo2_pack_get_info(p, &info));
    zo2_pack_close(p);
    return info.model_hash;
}

static const char *part(uint32_t k)
{
    static char names[4][32];
    static unsigned next;
    char *name = names[next++ % 4];
    snprintf(name, sizeof *names, "reshard-model_part-%u.pt", k);
    return name;
}

static void remove_part(const bench *b, uint32_t k)
{
    assert_int_equal(remove(hf_path(b->dir, part(k))), 0);
}

static void copy_part(const bench *b, const char *from_fixture, uint32_t from, uint32_t to)
{
    hf_copy(hf_path(hf_path(ZO2_TEST_DATA "/metaseq", from_fixture), part(from)), hf_path(b->dir, part(to)), NULL,
            NULL);
}

/* Refused before anything was written. */
static void assert_refused(const bench *b, zo2_status status, const char *words, const char *more_words)
{
    assert_error(convert(b), status, words);
    if (!strstr(zo2_last_error(), more_words))
        fail_msg("\"%s\" isn't in \"%s\"", more_words, zo2_last_error());
    assert_int_equal(hf_count_entries(b->out), 0);
}

/* ---- what is the model ----------------------------------------------------------------------------------------------------- */

static void same_pack(void **state)
{
    static const char *const cases[][2] = {{"plain-8-fused", "plain"},
                                           {"plain-4-apart", "plain"},
                                           {"narrow-2-fused", "narrow"},
                                           {"narrow-restored", "narrow"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b = begin(cases[i][0]);
        const char *merged = hf_path(b.out, "merged.zo2");
        assert_ok(zo2_pack_convert(hf_path(ZO2_TEST_DATA "/metaseq", cases[i][1]), merged, NULL));
        assert_ok(convert(&b));
        assert_int_equal(said.warnings, 0);
        assert_true(hash_of(hf_path(b.out, "out.zo2")) == hash_of(merged));
        hf_assert_same_file(hf_path(b.out, "out.zo2"), merged);
        end(&b);
    }
}

/* Nothing in a part says which one it is: a model whose parts changed places is a model, and another. */
static void swapped(void **state)
{
    (void)state;
    bench b = begin("plain-8-fused");
    assert_ok(convert(&b));
    uint64_t hash = hash_of(hf_path(b.out, "out.zo2"));
    copy_part(&b, "plain-8-fused", 2, 5);
    copy_part(&b, "plain-8-fused", 5, 2);
    assert_ok(convert(&b));
    assert_true(hash_of(hf_path(b.out, "out.zo2")) != hash);
    end(&b);
}

/* ---- files ------------------------------------------------------------------------------------------------------------------- */

static void missing(void **state)
{
    (void)state;
    bench b = begin("plain-8-fused");
    remove_part(&b, 7);
    assert_refused(&b, ZO2_ERR_NOTFOUND,
                   "/reshard-model_part-7.pt: the model is cut in 8, says the shape of decoder.layers.",
                   ".self_attn.out_proj.weight in reshard-model_part-0.pt, [16, 2]; get it, too");
    remove_part(&b, 3);
    assert_refused(&b, ZO2_ERR_NOTFOUND, "there is no ",
                   "/reshard-model_part-3.pt: of the parts 0 to 6 there are only 6");
    hf_write_text(hf_path(b.dir, "reshard-model_part-3.pt.aria2"), "x");
    assert_refused(&b, ZO2_ERR_NOTFOUND, "/reshard-model_part-3.pt isn't there yet: ", "is an unfinished download");
    end(&b);

    b = begin("plain-8-fused");
    for (uint32_t k = 1; k < 8; k++)
        remove_part(&b, k);
    assert_refused(&b, ZO2_ERR_NOTFOUND, "/reshard-model_part-1.pt: the model is cut in 8", "get it, too");
    assert_int_equal(rename(hf_path(b.dir, part(0)), hf_path(b.dir, part(1))), 0);
    assert_refused(&b, ZO2_ERR_NOTFOUND, "/reshard-model_part-0.pt: of the parts 0 to 1 there is only 1",
                   "get it, too");
    assert_int_equal(rename(hf_path(b.dir, part(1)), hf_path(b.dir, "restored.pt")), 0);
    assert_refused(&b, ZO2_ERR_NOTFOUND, "/restored.pt is one part of several: the model is cut in 8",
                   "get the others");
    end(&b);
}

static void other_parts(void **state)
{
    (void)state;
    bench b = begin("plain-8-fused");
    copy_part(&b, "plain-8-fused", 7, 8);
    assert_refused(&b, ZO2_ERR_FORMAT, "/reshard-model_part-8.pt is of no use: the model is cut in 8", "[16, 2]");
    remove_part(&b, 8);

    copy_part(&b, "plain-8-fused", 2, 5); /* one is there twice */
    assert_refused(&b, ZO2_ERR_FORMAT, "reshard-model_part-2.pt and reshard-model_part-5.pt have the same weights",
                   "one is a copy of the other");

    copy_part(&b, "plain-4-apart", 3, 5); /* other tensors */
    assert_refused(&b, ZO2_ERR_FORMAT, "reshard-model_part-", ": they are parts of different models");
    end(&b);

    b = begin("plain-4-apart"); /* other shapes: a part of the same model cut in another way has the same names */
    copy_part(&b, "narrow-2-fused", 1, 2);
    assert_refused(&b, ZO2_ERR_FORMAT, "reshard-model_part-", ": they are parts of different models");
    end(&b);

    b = begin("plain-8-fused");
    hf_write(hf_path(b.dir, "checkpoint_1_4000.pt-model_part-0.pt"), "x", 1);
    assert_refused(&b, ZO2_ERR_FORMAT, "has parts of two checkpoints (checkpoint_1_4000.pt-model_part-0.pt, ",
                   "reshard-model_part-0.pt): keep those of the one to convert");
    end(&b);

    b = begin("narrow-restored"); /* what metaseq's script leaves: the parts beside what it made of them */
    copy_part(&b, "narrow-2-fused", 0, 0);
    assert_ok(convert(&b));
    assert_int_equal(said.warnings, 1);
    assert_non_null(strstr(said.warning, "/restored.pt is taken; reshard-model_part-0.pt beside it isn't read"));
    end(&b);
}

static void fsdp(void **state)
{
    (void)state;
    bench b = begin("flat");
    assert_refused(&b, ZO2_ERR_UNSUPPORTED, "/reshard-model_part-0.pt has flattened weights (",
                   "--unflatten-weights True");
    remove_part(&b, 0);
    hf_write(hf_path(b.dir, "checkpoint_last-model_part-0-shard0.pt"), "x", 1);
    hf_write(hf_path(b.dir, "checkpoint_last-model_part-7-shard123.pt"), "x", 1);
    assert_refused(&b, ZO2_ERR_UNSUPPORTED, "(checkpoint_last-model_part-0-shard0.pt)", "metaseq.scripts.reshard_fsdp");
    end(&b);
}

/* A config.json of another model's. */
static void other_config(void **state)
{
    (void)state;
    bench b = begin("plain-8-fused");
    const char *config = METASEQ "plain/config.json", *mine = hf_path(b.dir, "config.json");
    hf_copy(config, mine, "\"vocab_size\": 56", "\"vocab_size\": 55"); /* without the padding to whole parts */
    assert_refused(&b, ZO2_ERR_FORMAT, "decoder.embed_tokens.weight in ",
                   "part-0.pt has shape [7, 16], config.json asks for [6, 16]");
    hf_copy(config, mine, "\"vocab_size\": 56", "\"vocab_size\": 64");
    assert_refused(&b, ZO2_ERR_FORMAT, "decoder.embed_tokens.weight in ",
                   "part-0.pt has shape [7, 16], config.json asks for [8, 16]");
    hf_copy(config, mine, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    assert_refused(&b, ZO2_ERR_NOTFOUND, "has no tensor model.decoder.layers.2.", "It has 232 tensors: ");
    hf_copy(config, mine, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"); /* what is left over is said */
    assert_ok(convert(&b));
    assert_non_null(strstr(said.warning, "ignored 96 tensors that config.json has no place for: decoder.layers.1."));
    end(&b);
}

/* The table's view of the parts. */
static void stored_tensors(void **state)
{
    (void)state;
    const zo2_checkpoint_reader *reader;
    zo2_checkpoint *c;
    char text[64];
    assert_ok(zo2_checkpoint_recognise(&reader, METASEQ "plain-8-fused"));
    assert_string_equal(zo2_checkpoint_naming(reader), "metaseq");
    assert_ok(zo2_checkpoint_open(&c, reader, METASEQ "plain-8-fused"));
    assert_string_equal(zo2_checkpoint_format(c), "metaseq");
    const uint64_t n = zo2_checkpoint_count(c);
    assert_int_equal(n % 8, 0);
    for (uint64_t i = 0; i < n; i++) {
        const zo2_stored t = zo2_checkpoint_tensor(c, i);
        assert_int_equal(t.part, i / (n / 8));
        assert_int_equal(t.parts, 8);
        assert_non_null(strstr(t.file, part(t.part)));
        assert_int_equal(zo2_checkpoint_find(c, t.name) % (n / 8), i % (n / 8));
        assert_true(zo2_checkpoint_find(c, t.name) < n / 8); /* the first part's */
    }
    assert_int_equal(zo2_checkpoint_find(c, "decoder.layers.2.fc1.weight"), n);
    assert_string_equal(zo2_checkpoint_absent(c, "model.decoder.layers.2.fc1.weight", text, sizeof text), "");
    zo2_checkpoint_close(c);
    assert_ok(zo2_checkpoint_recognise(&reader, METASEQ "plain"));
    assert_string_equal(zo2_checkpoint_naming(reader), ZO2_NAMING_HUGGINGFACE);
    assert_ok(zo2_checkpoint_open(&c, reader, METASEQ "plain"));
    assert_int_equal(zo2_checkpoint_tensor(c, 0).part, 0);
    assert_int_equal(zo2_checkpoint_tensor(c, 0).parts, 1);
    zo2_checkpoint_close(c);
}

/* ---- what every part has for itself -------------------------------------------------------------------------------------------- */

/* Where the bits of a tensor of the merged model are in a part. */
static unsigned char *find_bits(char *file, size_t n, const char *tensor, uint64_t *bytes)
{
    hf_model *m = hf_load(METASEQ "plain");
    const hf_tensor *t = hf_find(m, tensor);
    unsigned char *at = memmem(file, n, t->data, t->bytes);
    assert_non_null(at);
    *bytes = t->bytes;
    hf_free(m);
    return at;
}

static void replicas(void **state)
{
    (void)state;
    bench b = begin("plain-8-fused");
    size_t n;
    uint64_t bytes;
    const char *path = hf_path(b.dir, part(3));
    char *file = hf_read(path, &n);
    assert_ok(convert(&b));
    uint64_t hash = hash_of(hf_path(b.out, "out.zo2"));

    unsigned char *bias = find_bits(file, n, "model.decoder.layers.1.fc2.bias", &bytes);
    bias[0] ^= 1; /* the least that two can differ by */
    hf_write(path, file, n);
    assert_ok(convert(&b));
    assert_int_equal(said.warnings, 1);
    assert_non_null(strstr(
        said.warning, "1 of the tensors that every part has for itself differ a little from part 0's (the first is "
                      "decoder.layers.1.fc2.bias in reshard-model_part-3.pt"));
    assert_true(hash_of(hf_path(b.out, "out.zo2")) == hash);

    for (uint64_t i = 1; i < bytes; i += 2)
        bias[i] ^= 0x80; /* signs */
    hf_write(path, file, n);
    remove(hf_path(b.out, "out.zo2"));
    assert_refused(&b, ZO2_ERR_FORMAT,
                   "every part has its own decoder.layers.1.fc2.bias, but that in reshard-model_part-3.pt",
                   "these parts are of two models");
    free(file);
    end(&b);
}

/* A head that is stored beside the embedding is the embedding. */
static void head(void **state)
{
    (void)state;
    bench b = begin("narrow-restored");
    hf_copy(METASEQ "narrow/config.json", hf_path(b.dir, "config.json"), "\"vocab_size\"",
            "\"tie_word_embeddings\": false, \"vocab_size\"");
    assert_ok(convert(&b));
    zo2_pack *p;
    zo2_tensor_info t;
    assert_ok(zo2_pack_open(&p, hf_path(b.out, "out.zo2")));
    zo2_pack_info info;
    assert_ok(zo2_pack_get_info(p, &info));
    assert_ok(zo2_pack_tensor(p, info.tensors - 1, &t));
    assert_string_equal(t.name, "lm_head.weight");
    zo2_pack_close(p);
    end(&b);
}

/* ---- without a config.json --------------------------------------------------------------------------------------------------- */

static void no_config(void **state)
{
    (void)state;
    bench b = begin("plain-8-fused");
    assert_int_equal(remove(hf_path(b.dir, "config.json")), 0);
    assert_refused(&b, ZO2_ERR_NOTFOUND, "has no config.json, and its tensors aren't those of a published model",
                   "\"hidden_size\"");
    remove_part(&b, 4); /* a part that is missing comes first */
    assert_refused(&b, ZO2_ERR_NOTFOUND, "/reshard-model_part-4.pt: ", "get it, too");
    end(&b);

    /* One that is: what a conversion begins with, without the 250 MB that it would go on to write. */
    zo2_convert_job j = {.dir = METASEQ "published"};
    zo2_convert_opts_init(&j.o);
    j.o.log = on_log;
    memset(&said, 0, sizeof said);
    assert_ok(zo2_checkpoint_recognise(&j.reader, j.dir));
    assert_ok(zo2_convert_config(&j));
    assert_int_equal(said.warnings, 0);
    assert_non_null(strstr(said.info, "has no config.json, but exactly the tensors of opt-125m"));
    assert_int_equal(j.arch.layers, 12);
    assert_int_equal(j.arch.heads, 12);
    assert_int_equal(j.arch.context, 2048);
    assert_int_equal(j.arch.dtype, ZO2_F16);
    assert_non_null(strstr(j.config, "\"model_type\": \"opt\""));
    assert_int_equal(strlen(j.config), j.config_bytes);
    assert_ok(zo2_convert_map(&j, NULL));
    assert_int_equal(said.warnings, 0);
    zo2_pieces_free(&j.pieces);
    zo2_checkpoint_close(j.source);
    zo2_arch_free(&j.arch);
    free(j.config);
}

/* ---- the tokenizer's files ----------------------------------------------------------------------------------------------------- */

static void tokenizer(void **state)
{
    static const char vocab[] = "{\"<s>\": 0}", other[] = "{\"!\": 0}", merges[] = "#version: 0.2\n";
    (void)state;
    bench b = begin("narrow-2-fused");
    const char *data;
    size_t n;
    zo2_pack *p;
    hf_write_text(hf_path(b.dir, "gpt2-vocab.json"), vocab);
    hf_write_text(hf_path(b.dir, "gpt2-merges.txt"), merges);
    assert_ok(convert(&b));
    assert_int_equal(said.warnings, 0);
    assert_non_null(strstr(said.info, "gpt2-merges.txt is carried as merges.txt"));
    assert_ok(zo2_pack_open(&p, hf_path(b.out, "out.zo2")));
    assert_ok(zo2_pack_file(p, "vocab.json", &data, &n));
    assert_string_equal(data, vocab);
    assert_ok(zo2_pack_file(p, "merges.txt", &data, &n));
    assert_string_equal(data, merges);
    zo2_pack_close(p);

    hf_write_text(hf_path(b.dir, "gpt2-vocab.json"), other); /* GPT-2's own */
    assert_ok(convert(&b));
    assert_int_equal(said.warnings, 1);
    assert_non_null(strstr(said.warning, "gpt2-vocab.json isn't carried: it has no <s>"));
    hf_write_text(hf_path(b.dir, "vocab.json"), other); /* under its own name a file is taken as it is */
    assert_ok(convert(&b));
    assert_int_equal(said.warnings, 0);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_pack),   cmocka_unit_test(swapped),      cmocka_unit_test(missing),
        cmocka_unit_test(other_parts), cmocka_unit_test(fsdp),         cmocka_unit_test(replicas),
        cmocka_unit_test(head),        cmocka_unit_test(other_config), cmocka_unit_test(stored_tensors),
        cmocka_unit_test(no_config),   cmocka_unit_test(tokenizer),
    };
    return cmocka_run_group_tests_name("convert_metaseq", tests, NULL, NULL);
}
