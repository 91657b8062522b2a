/* test_convert_torch.c: one model in every form of files that torch.save() writes makes the pack that its safetensors make, and what
 * is said of folders with such files. tests/make_fixtures/make_torch_fixtures.py made the fixtures. */
#include "engine/pack/pack_api.h"
#include "tests/unit/engine/hf_dir.h"

#include <dirent.h>

#define TORCH ZO2_TEST_DATA "/torch-fixtures"

typedef struct said {
    char text[4096];
} said;

static void on_log(void *ud, zo2_log_level level, const char *text)
{
    said *s = ud;
    (void)level;
    strncat(s->text, text, sizeof s->text - strlen(s->text) - 1);
    strncat(s->text, "\n", sizeof s->text - strlen(s->text) - 1);
}

static zo2_status convert(const char *dir, uint64_t *hash, said *log)
{
    char *out = hf_temp();
    zo2_convert_opts o;
    zo2_pack *p;
    zo2_convert_opts_init(&o);
    *log = (said){{0}};
    o.log = on_log;
    o.log_ud = log;
    *hash = 0;
    zo2_status s = zo2_pack_convert(dir, hf_path(out, "out.zo2"), &o);
    if (!s) {
        assert_int_equal(zo2_pack_open(&p, hf_path(out, "out.zo2")), ZO2_OK);
        zo2_pack_info info;
        assert_int_equal(zo2_pack_get_info(p, &info), ZO2_OK);
        *hash = info.model_hash;
        zo2_pack_close(p);
    } else {
        assert_int_equal(hf_count_entries(out), 0);
    }
    hf_remove_tree(out);
    return s;
}

static uint64_t hash_of(const char *dir, said *log)
{
    uint64_t hash;
    if (convert(dir, &hash, log) != ZO2_OK)
        fail_msg("%s", zo2_last_error());
    return hash;
}

/* A folder with the configuration of a type's models. */
static char *model_folder(const char *type)
{
    char *dir = hf_temp();
    hf_copy(hf_path(hf_path(TORCH, type), "config.json"), hf_path(dir, "config.json"), NULL, NULL);
    return dir;
}

static void copy_folder(const char *from, const char *to)
{
    DIR *d = opendir(from);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            hf_copy(hf_path(from, e->d_name), hf_path(to, e->d_name), NULL, NULL);
    closedir(d);
}

static int ends_with(const char *text, const char *ending)
{
    const size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* name: a file or a folder of files below type. */
static void check_form(const char *type, const char *name, uint64_t hash)
{
    const char *path = hf_path(hf_path(TORCH, type), name);
    char *dir = model_folder(type);
    said log;
    if (ends_with(name, ".bin"))
        hf_copy(path, hf_path(dir, "pytorch_model.bin"), NULL, NULL);
    else
        copy_folder(path, dir);
    const uint64_t got = hash_of(dir, &log);
    if (got != hash)
        fail_msg("%s makes another model: %016llx", path, (unsigned long long)got);
    if ((strstr(log.text, "of type F64") != NULL) != (strstr(name, "f64") != NULL))
        fail_msg("%s: %s", path, log.text);
    hf_remove_tree(dir);
}

static int check_type(const char *type)
{
    said log;
    int forms = 0;
    char *base = model_folder(type);
    hf_copy(hf_path(hf_path(TORCH, type), "model.safetensors"), hf_path(base, "model.safetensors"), NULL, NULL);
    const uint64_t hash = hash_of(base, &log);
    assert_string_equal(log.text, "");
    hf_remove_tree(base);
    DIR *d = opendir(hf_path(TORCH, type));
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "config.json") == 0 || strcmp(e->d_name, "model.safetensors") == 0)
            continue;
        check_form(type, e->d_name, hash);
        forms++;
    }
    closedir(d);
    return forms;
}

static void every_form(void **state)
{
    (void)state;
    assert_int_equal(check_type("f32"), 13);
    assert_int_equal(check_type("f16"), 5);
    assert_int_equal(check_type("bf16"), 5);
}

/* Whatever the file is called, and beside what else. */
static void other_names(void **state)
{
    static const char *const names[] = {"model.pt", "weights.pth", "epoch=3.ckpt", "pytorch_model-00001-of-00001.bin"};
    (void)state;
    said log;
    char *dir = model_folder("f16");
    hf_copy(TORCH "/f16/zip.bin", hf_path(dir, "pytorch_model.bin"), NULL, NULL);
    const uint64_t hash = hash_of(dir, &log);
    assert_string_equal(log.text, "");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *other = model_folder("f16");
        hf_copy(TORCH "/f16/legacy.bin", hf_path(other, names[i]), NULL, NULL);
        hf_write_text(hf_path(other, "training_args.bin"), "x");
        hf_write_text(hf_path(other, "optimizer.pt"), "x");
        hf_write_text(hf_path(other, "some_table.bin"), "x"); /* no weights, as its bytes say */
        assert_true(hash_of(other, &log) == hash);
        hf_remove_tree(other);
    }
    /* safetensors are preferred, and it is said */
    hf_copy(TORCH "/bf16/model.safetensors", hf_path(dir, "model.safetensors"), NULL, NULL);
    assert_true(hash_of(dir, &log) != hash);
    assert_non_null(strstr(log.text, "has files of the format torch, too: those of the format safetensors are read"));
    hf_remove_tree(dir);
}

static void refused(const char *dir, zo2_status status, const char *words)
{
    uint64_t hash;
    said log;
    zo2_status s = convert(dir, &hash, &log);
    if (s != status || !strstr(zo2_last_error(), words))
        fail_msg("\"%s\" expected, not %d: %s", words, (int)s, s ? zo2_last_error() : "success");
}

static void missing_shards(void **state)
{
    (void)state;
    said log;
    char *dir = model_folder("bf16"), words[512];
    copy_folder(TORCH "/bf16/shards", dir);
    const uint64_t hash = hash_of(dir, &log);
    assert_int_equal(unlink(hf_path(dir, "pytorch_model.bin.index.json")), 0);
    assert_true(hash_of(dir, &log) == hash); /* every file there is */
    assert_int_equal(unlink(hf_path(dir, "pytorch_model-00002-of-00003.bin")), 0);
    refused(dir, ZO2_ERR_NOTFOUND,
            "of the 3 files *-of-00003.bin there are only 2 (*-00002-of-00003.bin is the first that is missing)");
    hf_copy(TORCH "/bf16/shards/pytorch_model.bin.index.json", hf_path(dir, "pytorch_model.bin.index.json"), NULL,
            NULL);
    snprintf(
        words, sizeof words,
        "%s/pytorch_model-00002-of-00003.bin is missing (1 of the 3 shards that pytorch_model.bin.index.json names is)",
        dir);
    refused(dir, ZO2_ERR_NOTFOUND, words);
    hf_write_text(hf_path(dir, "pytorch_model-00001-of-00003.bin"),
                  "damaged"); /* the one that is missing comes first */
    refused(dir, ZO2_ERR_NOTFOUND, words);
    hf_write_text(hf_path(dir, "pytorch_model-00002-of-00003.bin"), "damaged");
    refused(dir, ZO2_ERR_FORMAT, "pytorch_model-00001-of-00003.bin is no file of torch.save()");
    hf_write_text(hf_path(dir, "pytorch_model-00001-of-00003.bin"), "version https://git-lfs.github.com/spec/v1\n");
    refused(dir, ZO2_ERR_FORMAT, "pytorch_model-00001-of-00003.bin is a git-lfs pointer, not the file itself; get ");
    hf_remove_tree(dir);
}

/* An index that is out of date. */
static void index_and_files(void **state)
{
    (void)state;
    said log;
    char *dir = model_folder("bf16");
    const char *index = hf_path(dir, "pytorch_model.bin.index.json");
    copy_folder(TORCH "/bf16/shards", dir);
    const uint64_t hash = hash_of(dir, &log);
    hf_write_text(index, "{\"weight_map\": {\"a\": \"pytorch_model-00001-of-00003.bin\", "
                         "\"b\": \"pytorch_model-00003-of-00003.bin\"}}");
    refused(
        dir, ZO2_ERR_NOTFOUND,
        "it is in pytorch_model-00002-of-00003.bin, which pytorch_model.bin.index.json doesn't name: write the index again");
    hf_write_text(index,
                  "{\"weight_map\": {\"model.decoder.embed_tokens.weight\": \"pytorch_model-00002-of-00003.bin\", "
                  "\"a\": \"pytorch_model-00001-of-00003.bin\", \"b\": \"pytorch_model-00003-of-00003.bin\"}}");
    assert_true(hash_of(dir, &log) == hash);
    assert_non_null(strstr(log.text, "pytorch_model.bin.index.json is out of date: 1 of its tensors"));
    assert_int_equal(unlink(hf_path(dir, "pytorch_model-00003-of-00003.bin")), 0);
    assert_int_equal(symlink("pytorch_model-00003-of-00003.bin", hf_path(dir, "pytorch_model-00003-of-00003.bin")), 0);
    refused(dir, ZO2_ERR_IO, "cannot examine ");
    hf_remove_tree(dir);
}

static void not_weights(void **state)
{
    (void)state;
    char *dir = model_folder("f16");
    hf_write_text(hf_path(dir, "training_args.bin"), "x");
    refused(dir, ZO2_ERR_NOTFOUND, "but a file of a trainer's state (training_args.bin)");
    hf_copy(TORCH "/refused/module.bin", hf_path(dir, "model.pt"), NULL, NULL);
    refused(dir, ZO2_ERR_UNSUPPORTED, "it is torch.nn.modules.linear.Linear, not a state dictionary");
    hf_copy(TORCH "/refused/script.bin", hf_path(dir, "model.pt"), NULL, NULL);
    refused(dir, ZO2_ERR_UNSUPPORTED, "is a TorchScript program");
    /* safetensors by name alone */
    hf_copy(TORCH "/f16/zip.bin", hf_path(dir, "model.safetensors"), NULL, NULL);
    refused(dir, ZO2_ERR_FORMAT,
            "model.safetensors is a zip archive, as PyTorch writes them; zo2-pack convert reads it under the name "
            "pytorch_model.bin");
    hf_remove_tree(dir);
}

/* A double that no float can hold. */
static void too_large(void **state)
{
    (void)state;
    size_t n, at = 0;
    const double large = 1e300;
    char *dir = model_folder("f32"), *data = hf_read(TORCH "/f32/f64.bin", &n), *plain;
    size_t m;
    plain = hf_read(TORCH "/f32/model.safetensors", &m);
    float first; /* of the file's first tensor, as a double in the other */
    memcpy(&first, plain + m - sizeof first, sizeof first);
    const double wanted = first;
    while (at + sizeof wanted <= n && memcmp(data + at, &wanted, sizeof wanted) != 0)
        at++;
    assert_true(at + sizeof wanted <= n);
    memcpy(data + at, &large, sizeof large);
    hf_write(hf_path(dir, "pytorch_model.bin"), data, n);
    refused(dir, ZO2_ERR_NONFINITE, "is infinite or not a number, or too large for the F32 that F64 is read as");
    free(data);
    free(plain);
    hf_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form),      cmocka_unit_test(other_names), cmocka_unit_test(missing_shards),
        cmocka_unit_test(index_and_files), cmocka_unit_test(not_weights), cmocka_unit_test(too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
