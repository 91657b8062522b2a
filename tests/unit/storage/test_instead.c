/* test_instead.c: what lies where something else was wanted: every row of the tables, and what is said of paths and folders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/instead/instead.h"
#include "storage/pack/packfile_format.h"
#include "storage/run/bundle_format.h"
#include "storage/run/snapshot_format.h"
#include "tests/unit/files_testing.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;

static int setup(void **state)
{
    (void)state;
    dir = scratch_make();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(dir);
    return 0;
}

/* ---- bytes ---------------------------------------------------------------------------------------------------------- */

static void first_bytes(void **state)
{
    static const struct {
        const char *bytes, *what;
        size_t n; /* 0: a text */
        unsigned fits;
        int placeholder;
    } cases[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5\n", "a git-lfs pointer", 0, 0, 1},
        {"# xet version 0\n", "a Xet pointer", 0, 0, 1},
        {"/annex/objects/MD5E-s1--x", "a git-annex pointer", 0, 0, 1},
        {ZO2_PACK_MAGIC "xxx", "a zo2 pack", 0, ZO2_WANT_PACK, 0},
        {ZO2_JOURNAL_MAGIC "xxx", "the journal of a run", 0, ZO2_WANT_JOURNAL, 0},
        {ZO2_BUNDLE_MAGIC "xxx", "a bundle", 0, ZO2_WANT_BUNDLE, 0},
        {ZO2_SNAPSHOT_MAGIC "xxx", "a snapshot of a run", 0, 0, 0},
        {"GGUF\3", "a GGUF file", 0, ZO2_WANT_MODEL_FOLDER, 0},
        {"tjgg\3", "a GGML file", 0, 0, 0},
        {"\x89HDF\r\n\x1a\n", "an HDF5 file", 0, 0, 0},
        {"\x93NUMPY\1", "a NumPy array", 0, 0, 0},
        {"\x80\2}q", "a Python pickle", 0, ZO2_WANT_TORCH | ZO2_WANT_MODEL_FOLDER, 0},
        {"\x80\4}q", "a Python pickle", 0, 0, 0},
        {"PK\3\4\n", "a zip archive", 0, ZO2_WANT_TORCH | ZO2_WANT_MODEL_FOLDER, 0},
        {"\x1f\x8b\x08", "compressed with gzip", 0, 0, 0},
        {"\x28\xb5\x2f\xfd", "compressed with zstd", 0, 0, 0},
        {"\xfd"
         "7zXZ",
         "compressed with xz", 0, 0, 0},
        {"BZh9", "compressed with bzip2", 0, 0, 0},
        {"PAR1", "a Parquet file", 0, 0, 0},
        {"<!DOCTYPE html>\n<html>", "a web page", 0, 0, 1},
        {"\xEF\xBB\xBF \r\n<HTML lang=en>", "a web page", 0, 0, 1},
        {"<?xml version='1.0'?><Error><Code>AccessDenied", "an XML text", 0, 0, 1},
        {"Entry not found", "\"Entry not found\"", 0, 0, 1},
        {"Repository not found\n", "\"Repository not found\"", 0, 0, 1},
        {"Invalid username or password.", "\"Invalid username or password\"", 0, 0, 1},
        {"Access to model x/y is restricted.", "access is restricted", 0, 0, 1},
        {"404: Not Found", "\"404: Not Found\"", 0, 0, 1},
        {"Found. Redirecting to https://x", "the file is elsewhere", 0, 0, 1},
        {"Too Many Requests", "\"Too Many Requests\"", 0, 0, 1},
        {" {\"error\" : \"Repository not found\"}", "a server's answer about an error", 0, 0, 1},
        {"{\"detail\":\"x\"}", "a server's answer about an error", 0, 0, 1},
        {"{\"error\": 5, \"the\": 6}", "a JSON text", 0, ZO2_WANT_JSON | ZO2_WANT_MODEL_FOLDER, 0}, /* a vocabulary */
        {"{\"error\"", "a JSON text", 0, ZO2_WANT_JSON | ZO2_WANT_MODEL_FOLDER, 0},
        {"{\"model_type\": \"opt\"}", "a JSON text", 0, ZO2_WANT_JSON | ZO2_WANT_MODEL_FOLDER, 0},
        {"[1]", "a JSON text", 0, ZO2_WANT_JSON | ZO2_WANT_MODEL_FOLDER, 0},
        {"\2\0\0\0\0\0\0\0{}", "a safetensors file", 10, ZO2_WANT_SAFETENSORS | ZO2_WANT_MODEL_FOLDER, 0},
        {"\2\0\0\0\0\0\0\0[]", NULL, 10, 0, 0},
        {"\2\0\0\0\0\0\0\1{}", NULL, 10, 0, 0}, /* a header of 2^56 bytes */
        {"\2\0\0\0\0\0\0\0", NULL, 8, 0, 0},
        {"#version: 0.2\nt h\n", NULL, 0, 0, 0},
        {"version https://git", NULL, 0, 0, 0},
        {"{% if tools %}", "a JSON text", 0, ZO2_WANT_JSON | ZO2_WANT_MODEL_FOLDER,
         0}, /* looks like one: nobody refuses it for that */
        {"<|im_start|>", NULL, 0, 0, 0},
        {" \n", NULL, 0, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = cases[i].n ? cases[i].n : strlen(cases[i].bytes);
        unsigned char *exact = malloc(n); /* a byte too far is seen by a sanitizer */
        assert_non_null(exact);
        memcpy(exact, cases[i].bytes, n);
        const zo2_origin *is = zo2_origin_of_bytes(exact, n, n);
        if (!cases[i].what ? is != NULL : !is || !strstr(is->what, cases[i].what))
            fail_msg("case %zu: not '%s' but '%s'", i, cases[i].what ? cases[i].what : "nothing",
                     is ? is->what : "nothing");
        if (is) {
            assert_int_equal(is->fits, cases[i].fits);
            assert_int_equal(is->placeholder, cases[i].placeholder);
            assert_true(strlen(is->advice) > 5);
        }
        for (size_t k = 0; k < n; k++)
            (void)zo2_origin_of_bytes(exact, k, k);
        free(exact);
    }
    static const unsigned char zeros[600] = {0};
    assert_non_null(strstr(zo2_origin_of_bytes(zeros, 512, 512)->what, "begins with zeros"));
    assert_null(zo2_origin_of_bytes(zeros, 511, 511));
    assert_string_equal(zo2_origin_of_bytes(zeros, 0, 0)->what, "an empty file");
    /* a server's answers are short: a text that begins like one isn't it */
    assert_null(zo2_origin_of_bytes("Not Found", 9, 5000));
    assert_string_equal(zo2_origin_of_bytes("{\"error\":\"x\"}", 13, 5000)->what, "a JSON text");
}

/* ---- names ---------------------------------------------------------------------------------------------------------- */

static void names(void **state)
{
    static const struct {
        const char *name, *what;
    } cases[] = {
        {"model.safetensors.aria2", "an unfinished download"},
        {"model.safetensors.incomplete", "an unfinished download"},
        {"a.crdownload", "an unfinished download"},
        {"a.part", "an unfinished download"},
        {"adapter_config.json", "an adapter"},
        {"adapter_model.safetensors", "an adapter"},
        {"adapter_model.bin", "an adapter"},
        {"zero_to_fp32.py", "a DeepSpeed checkpoint"},
        {"global_step1200", "a DeepSpeed checkpoint"},
        {"mp_rank_00_model_states.pt", "a DeepSpeed checkpoint"},
        {"bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "a DeepSpeed checkpoint"},
        {"__0_0.distcp", "an FSDP"},
        {"pytorch_model_fsdp_0", "an FSDP"},
        {"latest_checkpointed_iteration.txt", "a Megatron checkpoint"},
        {"iter_0001000", "a Megatron checkpoint"},
        {"mp_rank_00", "a Megatron checkpoint"},
        {"reshard-model_part-3.pt", "a part of a metaseq checkpoint"},
        {"checkpoint_1_6000.pt-model_part-1.pt", "a part of a metaseq checkpoint"},
        {"restored.pt", "a part of a metaseq checkpoint"},
        {"reshard.pt", "a part of a metaseq checkpoint"},
        {"checkpoint_last-model_part-0-shard123.pt", "a shard of a metaseq checkpoint"},
        {"checkpoint_last-shard7.pt", "a shard of a metaseq checkpoint"},
        {"checkpoint_last.pt", "PyTorch weights"},
        {"consolidated.00.pth", "in a format of its authors"},
        {"Q4_K_M.GGUF", "a GGUF file"},
        {"ggml-model-f16.bin", "a GGML file"},
        {"model.onnx", "an ONNX model"},
        {"openvino_model.bin", "an OpenVINO model"},
        {"flax_model.msgpack", "Flax weights"},
        {"tf_model.h5", "TensorFlow weights"},
        {"model.ckpt.index", "TensorFlow weights"},
        {"model.ckpt.data-00000-of-00001", "TensorFlow weights"},
        {"optimizer.pt", "a trainer's state"},
        {"optimizer_0.bin", "a trainer's state"},
        {"scheduler.pt", "a trainer's state"},
        {"rng_state_3.pth", "a trainer's state"},
        {"training_args.bin", "a trainer's state"},
        {"pytorch_model-00001-of-00002.bin", "PyTorch weights"},
        {"model.pth", "PyTorch weights"},
        {"pytorch_model.bin.index.json", "an index of PyTorch weights"},
        {"tf_model.h5.index.json", "an index of TensorFlow weights"},
        {"flax_model.msgpack.index.json", "an index of Flax weights"},
        {"model.safetensors.index.json", NULL},
        {"a.zo2", "a zo2 pack"},
        {"model.safetensors", NULL},
        {"config.json", NULL},
        {"merges.txt", NULL},
        {"iter_1", NULL},
        {"global_steps", NULL},
        {"", NULL},
    };
    unsigned rank;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const zo2_origin *is = zo2_origin_of_name(cases[i].name, &rank);
        if (!cases[i].what ? is != NULL : !is || !strstr(is->what, cases[i].what))
            fail_msg("%s: not '%s' but '%s'", cases[i].name, cases[i].what ? cases[i].what : "nothing",
                     is ? is->what : "nothing");
    }
}

static void torch_names(void **state)
{
    static const char *const weights[] = {"pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.PT", "m.pth",
                                          "epoch=1.ckpt"},
                             *const others[] = {"training_args.bin",
                                                "optimizer.pt",
                                                "adapter_model.bin",
                                                "rng_state_0.pth",
                                                "reshard-model_part-0.pt",
                                                "openvino_m.bin",
                                                "ggml-f16.bin",
                                                "consolidated.00.pth",
                                                ".hidden.bin",
                                                ".bin",
                                                "m.bin.part",
                                                "pytorch_model.bin.index.json",
                                                "model.safetensors",
                                                "pytorch_model_fsdp_0.bin"};
    (void)state;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)
        assert_true(zo2_is_torch_name(weights[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (zo2_is_torch_name(others[i]))
            fail_msg("%s", others[i]);
}

/* ---- paths ---------------------------------------------------------------------------------------------------------- */

/* What is said of a path in the scratch folder ("": of that itself); says NULL: nothing, the error stays. */
static void explained(const char *name, zo2_wanted wanted, const char *says)
{
    char *path = name[0] ? in_dir(dir, name) : strdup(dir);
    zo2_status before = zo2_error(ZO2_ERR_IO, "as before"), s = zo2_explain_file(before, path, wanted);
    if (says ? !strstr(zo2_last_error(), says) : strcmp(zo2_last_error(), "as before") != 0)
        fail_msg("%s: not '%s' but '%s'", path, says ? says : "as before", zo2_last_error());
    if (says)
        assert_non_null(strstr(zo2_last_error(), path));
    assert_true(s == ZO2_ERR_IO || (says && s == ZO2_ERR_UNSUPPORTED));
    free(path);
}

/* A path of no file here. */
static void explained_word(const char *path, zo2_wanted wanted, const char *says)
{
    (void)zo2_error(ZO2_ERR_NOTFOUND, "as before");
    assert_int_equal(zo2_explain_file(ZO2_ERR_NOTFOUND, path, wanted), ZO2_ERR_NOTFOUND);
    if (!strstr(zo2_last_error(), says))
        fail_msg("%s: not '%s' but '%s'", path, says, zo2_last_error());
}

static void add(const char *name, const char *text)
{
    char *path = in_dir(dir, name);
    for (char *slash = strchr(path + strlen(dir) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0777);
        *slash = '/';
    }
    file_store(path, text, strlen(text));
    free(path);
}

static void take_away(const char *name)
{
    char *path = in_dir(dir, name);
    assert_int_equal(unlink(path), 0);
    free(path);
}

static void missing_paths(void **state)
{
    (void)state;
    explained("nothing", ZO2_WANT_PACK, NULL);
    explained_word(
        "no-such-org/some-model.v2", ZO2_WANT_MODEL_FOLDER,
        "there is no folder no-such-org/some-model.v2 here. If a model of the Hugging Face hub is meant, download it first: hf "
        "download no-such-org/some-model.v2 --local-dir some-model.v2");
    explained_word("no-such-org/model", ZO2_WANT_PACK, "--local-dir model; then zo2-pack convert makes a pack of it");
    explained_word("no-such-org/model.zo2", ZO2_WANT_PACK, "as before"); /* a path with a mistake in it */
    explained_word("no/such/path", ZO2_WANT_PACK, "as before");
    explained_word("./no-such", ZO2_WANT_PACK, "as before");
    explained_word("/no-such", ZO2_WANT_PACK, "as before");
    explained_word("no-such-org/", ZO2_WANT_PACK, "as before");
    explained_word("a b/c", ZO2_WANT_PACK, "as before");
    explained_word("unit/model", ZO2_WANT_PACK, "as before"); /* there is a folder unit where tests run */
    explained_word("https://huggingface.co/a/b", ZO2_WANT_MODEL_FOLDER,
                   "is an address, not a path: download the model first (hf download");
    explained_word("hf://a/b", ZO2_WANT_PACK, "is an address, not a path");
    explained_word("~/model", ZO2_WANT_PACK, "the shell left the ~ as it is; write $HOME for it");
    char *link = in_dir(dir, "link");
    assert_int_equal(symlink("../../blobs/0123", link), 0);
    free(link);
    explained("link", ZO2_WANT_JSON,
              " is a symbolic link to ../../blobs/0123, which isn't there: copy what it should lead to");
    add("later.zo2.aria2", "x");
    explained("later.zo2", ZO2_WANT_PACK, "isn't there yet: ");
}

static void files(void **state)
{
    (void)state;
    char *fifo = in_dir(dir, "fifo");
    assert_int_equal(mkfifo(fifo, 0666), 0);
    free(fifo);
    explained("fifo", ZO2_WANT_PACK, NULL); /* and doesn't hang */
    add("m.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    explained("m.safetensors", ZO2_WANT_SAFETENSORS,
              "m.safetensors is a git-lfs pointer, not the file itself; get the files of the repository");
    add("config.json", "<html>");
    explained("config.json", ZO2_WANT_JSON,
              "is a web page, not the file itself; download the file that the page is about");
    add("config.json", "{\"a\": 1");
    explained("config.json", ZO2_WANT_JSON, NULL);
    explained("config.json", ZO2_WANT_PACK,
              "is a JSON text; a model's config.json says what it is and holds no weights: zo2-pack convert");
    add("config.json", "");
    explained("config.json", ZO2_WANT_JSON, "is an empty file; download");
    explained("config.json", ZO2_WANT_JOURNAL, NULL); /* one that was begun */
    add("x.zo2", ZO2_PACK_MAGIC);
    explained("x.zo2", ZO2_WANT_PACK, NULL);
    explained("x.zo2", ZO2_WANT_RUN, "is a zo2 pack; programs take it as it is, as the model");
    add("journal.zo2j", ZO2_JOURNAL_MAGIC);
    explained("journal.zo2j", ZO2_WANT_JOURNAL, NULL);
    explained("journal.zo2j", ZO2_WANT_RUN, "is the journal of a run; give the run directory that it is in");
    add("model.onnx", "\x08\x07\x12");
    explained("model.onnx", ZO2_WANT_PACK,
              "is an ONNX model; this version reads safetensors and PyTorch's files: get ");
    add("x.zo2.crdownload", "x");
    explained("x.zo2", ZO2_WANT_PACK, "isn't complete: ");
}

/* ---- folders -------------------------------------------------------------------------------------------------------- */

static void a_model_below(void **state)
{
    (void)state;
    explained("", ZO2_WANT_MODEL_FOLDER, NULL);
    explained("", ZO2_WANT_PACK, "is a folder, not a pack: give the *.zo2 file that zo2-pack convert made");
    add("checkpoint-9/config.json", "{}");
    add("checkpoint-9/model.safetensors", "x");
    add("checkpoint-10/config.json", "{}");
    add("checkpoint-10/model.safetensors", "x");
    add("checkpoint-11/optimizer.pt", "x"); /* not whole */
    add("all/config.json", "{}");
    add("all/model.safetensors", "x");
    explained("", ZO2_WANT_MODEL_FOLDER, "lacks config.json or weights: give the model's folder in it, ");
    assert_non_null(strstr(zo2_last_error(), "/checkpoint-10"));
    explained("", ZO2_WANT_PACK, "/checkpoint-10 OUT.zo2) and give that");
    explained("all", ZO2_WANT_PACK, "/all OUT.zo2) and give that");
    add("models--a--b/refs/main", "fedc\n");
    add("models--a--b/snapshots/0123/config.json", "{}");
    add("models--a--b/snapshots/0123/model-00001-of-00002.safetensors", "x");
    add("models--a--b/snapshots/fedc/config.json", "{}");
    add("models--a--b/snapshots/fedc/model-00001-of-00002.safetensors", "x");
    explained("models--a--b", ZO2_WANT_MODEL_FOLDER, "/models--a--b/snapshots/fedc");
    explained("models--a--b/snapshots", ZO2_WANT_MODEL_FOLDER, "/models--a--b/snapshots/fedc");
    add("models--a--b/refs/main", "../../all");
    explained("models--a--b", ZO2_WANT_MODEL_FOLDER, "/models--a--b/snapshots/0123"); /* it is no path */
    add("deep/er/models--a--b/snapshots/0/config.json", "{}");
    add("deep/er/models--a--b/snapshots/0/model.safetensors", "x");
    explained("deep/er", ZO2_WANT_MODEL_FOLDER, "/deep/er/models--a--b/snapshots/0"); /* a cache of many models */
    explained("deep", ZO2_WANT_MODEL_FOLDER, NULL);
    char *link = in_dir(dir, "deep/loop");
    assert_int_equal(symlink("..", link), 0);
    free(link);
    explained("deep/er/models--a--b/snapshots/0", ZO2_WANT_MODEL_FOLDER, NULL);
}

static void other_folders(void **state)
{
    (void)state;
    add("run/journal.zo2j", "x");
    explained("run", ZO2_WANT_RUN, NULL);
    explained("", ZO2_WANT_RUN, "is not a run directory itself: give the one in it, ");
    assert_non_null(strstr(zo2_last_error(), "/run"));
    explained("run", ZO2_WANT_PACK,
              "is a run directory: the model is the pack that the run was begun with; give the run as --run");
    explained("run", ZO2_WANT_MODEL_FOLDER, "is a run directory, not a model's: zo2-pack export PACK OUT_DIR --run ");
    add("packs/a.zo2", "x");
    explained("packs", ZO2_WANT_PACK, "is a folder: give the pack in it, ");
    explained("packs", ZO2_WANT_MODEL_FOLDER, "but a zo2 pack (a.zo2); programs take it as it is");
    add("m/config.json", "{}");
    explained("m", ZO2_WANT_RUN, "is a model's folder, not a run directory");
    explained("m", ZO2_WANT_MODEL_FOLDER, NULL);
    add("m/training_args.bin", "x");
    add("m/optimizer.pt", "x");
    explained("m", ZO2_WANT_MODEL_FOLDER,
              "has no model that this version reads, but a file of a trainer's state (optimizer.pt); it is no model");
    add("m/model.safetensors.part", "x");
    explained("m", ZO2_WANT_MODEL_FOLDER, "but an unfinished download (model.safetensors.part); let it finish");
    add("m/pytorch_model.bin", "x"); /* weights are there: something else is missing */
    explained("m", ZO2_WANT_MODEL_FOLDER, NULL);
    explained("", ZO2_WANT_PACK, "/m OUT.zo2) and give that");
    explained("m/pytorch_model.bin", ZO2_WANT_TORCH, NULL);
    explained("m/pytorch_model.bin", ZO2_WANT_MODEL_FOLDER, NULL);
    explained("m/pytorch_model.bin", ZO2_WANT_PACK,
              "is a file of PyTorch weights; the folder that holds it and its config.json is what zo2-pack convert");
    take_away("m/pytorch_model.bin");
    add("m/model.gguf", "x");
    explained("m", ZO2_WANT_MODEL_FOLDER, NULL);
    explained("m/model.gguf", ZO2_WANT_PACK, "is a GGUF file; zo2-pack convert makes a pack of it");
    take_away("m/model.gguf");
    add("m/model.onnx", "x");
    explained("m", ZO2_WANT_MODEL_FOLDER, "but an ONNX model (model.onnx)");
    add("m/zero_to_fp32.py", "x");
    explained("m", ZO2_WANT_MODEL_FOLDER,
              "but a DeepSpeed checkpoint (zero_to_fp32.py); make safetensors of it with the script in it");
    add("m/adapter_config.json", "{}");
    explained("m", ZO2_WANT_MODEL_FOLDER,
              "but an adapter (PEFT), which isn't a model of its own (adapter_config.json); merge it");
    add("m/model.safetensors", "x"); /* weights are there: something else is missing */
    explained("m", ZO2_WANT_RUN, "is a model's folder");
    add("n/adapter_model.safetensors", "x");
    explained("n", ZO2_WANT_MODEL_FOLDER,
              "but an adapter (PEFT), which isn't a model of its own (adapter_model.safetensors); merge it");
    add("o/model.safetensors", "x");
    add("o/training_args.bin", "x");
    explained("o", ZO2_WANT_MODEL_FOLDER, NULL);
    add("p/.cache/huggingface/download/model.safetensors.0123.incomplete", "x");
    explained("p", ZO2_WANT_MODEL_FOLDER, "is an unfinished download: run hf download again");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(first_bytes), T(names), T(torch_names), T(missing_paths), T(files), T(a_model_below), T(other_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
