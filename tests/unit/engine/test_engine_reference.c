/* test_engine_reference.c: logits of the engine against values computed by Hugging Face transformers (opt-fixtures,
 * decoder-fixtures) and by an independent implementation (tiny-opt), through the head-tile observer. Bound: 1e-4 of the largest reference
 * value, in fp32. */
#include "engine/families/families.h"
#include "storage/checkpoint/safetensors.h"
#include "tests/unit/engine/engine_testing.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <sys/mman.h>

/* Logits of all places of a padded batch, caught tile by tile. The other lanes go on meanwhile, so nothing may be drained
 * or pinned then: memory and event are made beforehand. */
typedef struct capture {
    float *logits; /* [losses][vocab] */
    uint64_t losses, vocab;
    zo2_backend *be;
    zo2_event *passed;
    float *pinned; /* a tile's logits on the host; NULL: the device's memory is the host's */
    uint64_t pinned_bytes;
} capture;

/* Of a tile, on the host until the next call. */
static const float *on_host(capture *c, const float *at, uint64_t bytes)
{
    const zo2_backend_ops *ops = c->be->ops;
    if (!c->pinned)
        return at;
    assert_true(bytes <= c->pinned_bytes);
    MUST(ops->download(c->be, ZO2_LANE_COMPUTE, c->pinned, at, bytes));
    MUST(ops->record(c->be, ZO2_LANE_COMPUTE, c->passed));
    MUST(ops->sync(c->be, c->passed));
    return c->pinned;
}

static void observe(void *ud, uint32_t stream, uint32_t streams, uint64_t loss, uint64_t m, uint64_t row, uint64_t n,
                    const float *logits, uint64_t ld, uint64_t stride)
{
    capture *c = ud;
    (void)stride;
    assert_int_equal(stream, 0);
    assert_int_equal(streams, 1);
    assert_true(loss + m <= c->losses);
    logits = on_host(c, logits, ((m - 1) * ld + n) * sizeof *logits);
    for (uint64_t i = 0; i < m; i++)
        memcpy(c->logits + (loss + i) * c->vocab + row, logits + i * ld, n * sizeof *logits);
}

static capture capture_begin(zo2_engine *e, uint64_t losses, uint64_t vocab)
{
    uint64_t bytes = losses * vocab * sizeof(float);
    capture c = {.losses = losses, .vocab = vocab, .logits = malloc(bytes), .be = e->core.be};
    assert_non_null(c.logits);
    memset(c.logits, 0xFF, bytes); /* NaN: a place without logits shows */
    MUST(c.be->ops->event_create(c.be, &c.passed));
    if (!c.be->ops->host_register)
        return c;
    c.pinned_bytes = (bytes + 4095) / 4096 * 4096;
    c.pinned = mmap(NULL, c.pinned_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(c.pinned != MAP_FAILED);
    MUST(c.be->ops->host_register(c.be, c.pinned, c.pinned_bytes));
    return c;
}

/* While the engine is open. */
static void capture_end(capture *c)
{
    c->be->ops->event_destroy(c->be, c->passed);
    if (c->pinned) {
        c->be->ops->host_unregister(c->be, c->pinned);
        munmap(c->pinned, c->pinned_bytes);
    }
    free(c->logits);
}

static json_t *load_json(const char *dir, const char *file)
{
    char path[1000];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    json_t *j = json_load_file(path, 0, &error);
    if (!j)
        fail_msg("%s: %s", path, error.text);
    return j;
}

/* Adapters that peft has saved, and the choice that makes room for them; NULL: the model as it is. */
static const char *adapters, *adapters_tune;

/* Into the masters, as they are in the file: peft's names are ours behind its own prefix. */
static void load_adapters(zo2_engine *e)
{
    char path[600], name[200];
    zo2_safetensors *file;
    snprintf(path, sizeof path, ZO2_TEST_DATA "/lora-fixtures/%s/adapter_model.safetensors", adapters);
    MUST(zo2_safetensors_open(&file, path));
    uint64_t loaded = 0;
    for (uint32_t i = 0; i < e->core.arch->n_tensors; i++) {
        const zo2_tensor *t = &e->core.arch->tensors[i];
        if (!zo2_is_lora(t))
            continue;
        snprintf(name, sizeof name, "base_model.model.%s", t->name);
        const zo2_st_tensor *stored = zo2_safetensors_find(file, name);
        if (!stored || stored->dtype != ZO2_F32 || stored->shape[0] != t->rows || stored->shape[1] != t->cols)
            fail_msg("%s: no %s of %llu x %llu fp32 values", path, name, (unsigned long long)t->rows,
                     (unsigned long long)t->cols);
        float *w = malloc(t->rows * t->cols * sizeof *w);
        MUST(zo2_safetensors_read(file, stored, 0, t->rows * t->cols * sizeof *w, w));
        MUST(zo2_masters_store(&e->core.masters, i, 0, t->rows, w));
        free(w);
        loaded++;
    }
    assert_int_equal(loaded, zo2_safetensors_count(file));
    zo2_safetensors_close(file);
}

static zo2_engine *open_for(const char *pack, uint32_t rows, uint32_t seq)
{
    zo2_engine_opts o;
    zo2_engine *e;
    zo2_engine_opts_init(&o);
    o.read_only = 1;
    o.wire = ZO2_WIRE_FP32;
    o.backend = TEST_BACKEND;
    o.compute = ZO2_F32;
    o.max_rows = rows;
    o.max_seq = seq;
    o.tune = adapters_tune;
    MUST(zo2_engine_open(&e, pack, NULL, &o));
    if (adapters)
        load_adapters(e);
    return e;
}

/* The streaming log-sum-exp over tiles against a plain one in double over the same logits. fp32 sums of up to 4,201 exponentials in
 * sixteen partial sums: relative error below 1e-5. */
static void check_logprobs(const zo2_packed *p, const capture *c, const float *logprobs)
{
    for (uint64_t i = 0; i < p->losses; i++) {
        const float *logits = c->logits + i * c->vocab;
        double max = logits[0], sum = 0;
        for (uint64_t v = 1; v < c->vocab; v++)
            max = fmax(max, logits[v]);
        for (uint64_t v = 0; v < c->vocab; v++)
            sum += exp(logits[v] - max);
        double want = logits[p->target[i]] - max - log(sum);
        if (!(fabs(want - logprobs[i]) <= 1e-5 * (1 + fabs(want))))
            fail_msg("token %llu: %.9g, the logits say %.9g", (unsigned long long)i, logprobs[i], want);
    }
}

/* The engine gives the logits that predict loss tokens; the last real token of a row predicts none. So one token more
 * is appended to every row that has room in the context, and rows without room are checked up to their last place but
 * one. */
static void check_case(const char *pack, const json_t *ids, const json_t *mask, const float *reference, uint64_t vocab,
                       uint32_t context)
{
    uint32_t rows = (uint32_t)json_array_size(ids), seq = (uint32_t)json_array_size(json_array_get(ids, 0));
    uint32_t wide = seq + 1;
    int32_t *tokens = calloc(rows * wide, sizeof *tokens);
    uint8_t *real = calloc(rows * wide, 1), *loss = calloc(rows * wide, 1);
    uint32_t most = 0, losses = 0;
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t length = 0;
        for (uint32_t i = 0; i < seq; i++) {
            int m = (int)json_integer_value(json_array_get(json_array_get(mask, r), i));
            tokens[r * wide + i] = (int32_t)json_integer_value(json_array_get(json_array_get(ids, r), i));
            real[r * wide + i] = (uint8_t)m;
            loss[r * wide + i] = m && length > 0;
            length += m != 0;
        }
        if (length < context) {
            real[r * wide + seq] = loss[r * wide + seq] = 1;
            length++;
        }
        most = length > most ? length : most;
        losses += length - 1;
    }
    zo2_engine *e = open_for(pack, rows, most);
    capture c = capture_begin(e, losses, vocab);
    e->core.observer = observe;
    e->core.observer_ud = &c;
    zo2_batch b = {.struct_size = sizeof b, .rows = rows, .seq = wide, .tokens = tokens, .mask = real, .loss = loss};
    zo2_scores s;
    zo2_scores_init(&s);
    float *logprobs = malloc(losses * sizeof *logprobs);
    s.logprobs = logprobs;
    MUST(zo2_forward(e, &b, ZO2_WEIGHTS_WIRE, &s));
    assert_int_equal(s.loss_tokens, losses);
    check_logprobs(&e->core.packed, &c, logprobs);
    free(logprobs);

    double largest = 0, worst = 0;
    uint64_t at = 0, compared = 0;
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t seen = 0, length = 0;
        for (uint32_t i = 0; i < wide; i++)
            length += real[r * wide + i];
        for (uint32_t i = 0; i < seq; i++) {
            if (!real[r * wide + i] || ++seen == length)
                continue;
            for (uint64_t v = 0; v < vocab; v++) {
                double want = reference[((uint64_t)r * seq + i) * vocab + v], got = c.logits[at * vocab + v];
                assert_true(isfinite(got));
                largest = fmax(largest, fabs(want));
                worst = fmax(worst, fabs(want - got));
                compared++;
            }
            at++;
        }
    }
    assert_true(compared > 0);
    if (!(worst <= 1e-4 * largest))
        fail_msg("%s: largest difference %.3g, largest reference %.3g", pack, worst, largest);
    capture_end(&c);
    zo2_engine_close(e);
    free(tokens);
    free(real);
    free(loss);
}

static float *load_floats(const char *dir, const char *file, long skip, size_t n)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "rb");
    float *values = malloc(n * sizeof *values);
    assert_non_null(f);
    assert_int_equal(fseek(f, skip, SEEK_SET), 0);
    assert_int_equal(fread(values, sizeof *values, n, f), n);
    fclose(f);
    return values;
}

/* Longest sequence of the model in a folder: max_position_embeddings, or a window of attention. */
static uint32_t context_of(const char *dir)
{
    zo2_arch a;
    MUST(zo2_arch_load(&a, dir, NULL));
    uint32_t context = a.context;
    zo2_arch_free(&a);
    return context;
}

static void all_in(const char *folder, int least)
{
    char root[256];
    snprintf(root, sizeof root, ZO2_TEST_DATA "/%s", folder);
    DIR *d = opendir(root);
    assert_non_null(d);
    int models = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        char dir[600], name[300];
        snprintf(dir, sizeof dir, "%s/%s", root, entry->d_name);
        char config[640];
        snprintf(config, sizeof config, "%s/reference.json", dir);
        if (access(config, F_OK))
            continue;
        snprintf(name, sizeof name, "%.30s/%s", folder, entry->d_name);
        json_t *reference = load_json(dir, "reference.json"), *cfg = load_json(dir, "config.json"), *one;
        const json_t *cases = json_object_get(reference, "cases");
        uint32_t context = context_of(dir);
        uint64_t vocab = (uint64_t)json_integer_value(json_object_get(cfg, "vocab_size"));
        size_t i;
        assert_true(json_array_size(cases) >= 3);
        json_array_foreach(cases, i, one)
        {
            const json_t *ids = json_object_get(one, "input_ids");
            size_t n = json_array_size(ids) * json_array_size(json_array_get(ids, 0)) * vocab;
            float *values = load_floats(dir, json_string_value(json_object_get(one, "logits_file")), 0, n);
            check_case(pack_of(name), ids, json_object_get(one, "attention_mask"), values, vocab, context);
            free(values);
#if defined(__SANITIZE_THREAD__) || (defined(ZO2_TEST_CUDASIM) && defined(__SANITIZE_ADDRESS__))
            break; /* the other cases have other numbers; shapes of batches are the engine's, which the CPU's tests see */
#endif
        }
        json_decref(reference);
        json_decref(cfg);
        models++;
    }
    closedir(d);
    assert_true(models >= least);
}

static void opt(void **state)
{
    (void)state;
    all_in("opt-fixtures", 15);
}

static void decoders(void **state)
{
    (void)state;
    all_in("decoder-fixtures", 22);
}

/* Low-rank adapters beside the frozen products, against peft. */
static void peft(void **state)
{
    (void)state;
    static const struct {
        const char *name, *tune;
    } all[] = {{"tiny-opt-qv", "lora:r=4,alpha=8,targets=q_proj+v_proj"},
               {"opt-all-one-layer", "lora:r=3,alpha=5,targets=q_proj+k_proj+v_proj+out_proj+fc1+fc2,layers=1"},
               {"llama-qv-down", "lora:r=2,alpha=4,targets=q_proj+v_proj+down_proj"}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        char dir[300], base[300];
        snprintf(dir, sizeof dir, ZO2_TEST_DATA "/lora-fixtures/%s", all[k].name);
        json_t *reference = load_json(dir, "reference.json"), *one;
        const char *model = json_string_value(json_object_get(reference, "base"));
        size_t i;
        snprintf(base, sizeof base, ZO2_TEST_DATA "/%s", model);
        json_array_foreach(json_object_get(reference, "cases"), i, one)
        {
            const json_t *ids = json_object_get(one, "input_ids");
            uint64_t vocab = (uint64_t)json_integer_value(json_array_get(json_object_get(one, "shape"), 2));
            size_t n = json_array_size(ids) * json_array_size(json_array_get(ids, 0)) * vocab;
            float *values = load_floats(dir, json_string_value(json_object_get(one, "logits_file")), 0, n);
            adapters = all[k].name;
            adapters_tune = all[k].tune;
            check_case(pack_of(model), ids, json_object_get(one, "attention_mask"), values, vocab, context_of(base));
            adapters = adapters_tune = NULL;
            free(values);
        }
        assert_true(i >= 1);
        json_decref(reference);
    }
}

/* Options share the computation of their prompt, and its positions: each row by itself has the same values. */
static void shared_prompts(void **state)
{
    (void)state;
    static const char *const models[] = {"opt-fixtures/prenorm-f32", "decoder-fixtures/llama-llama3",
                                         "decoder-fixtures/qwen3"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        test_batch together, apart;
        float logprobs[2][256];
        zo2_scores s;
        zo2_engine *e = open_for(pack_of(models[i]), 8, 14);
        random_batch(&together, 3, 20, 8, 14, 4);
        random_batch(&apart, 3, 20, 8, 14, 4);
        apart.b.examples = 0;
        apart.b.example = apart.b.label = NULL;
        zo2_scores_init(&s);
        s.logprobs = logprobs[0];
        MUST(zo2_forward(e, &together.b, ZO2_WEIGHTS_WIRE, &s));
        const uint64_t shared = e->core.packed.tokens, losses = s.loss_tokens;
        s.logprobs = logprobs[1];
        MUST(zo2_forward(e, &apart.b, ZO2_WEIGHTS_WIRE, &s));
        assert_true(losses > 20 && losses <= 256 && s.loss_tokens == losses && e->core.packed.tokens > shared);
        for (uint64_t l = 0; l < losses; l++)
            assert_true(fabs(logprobs[0][l] - logprobs[1][l]) < 2e-5);
        zo2_engine_close(e);
    }
}

/* tiny-opt: last-position logits of each prompt, and token log-probabilities of prompts and padded batches. */
static void tiny_opt(void **state)
{
    (void)state;
#if defined(ZO2_TEST_CUDASIM) && (defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__))
    /* longer loops of the kernels that opt() runs */
    skip();
#endif
    const char *pack = pack_of("tiny-opt/model");
    FILE *f = fopen(ZO2_TEST_DATA "/tiny-opt/reference.jsonl", "r");
    assert_non_null(f);
    float *last = load_floats(ZO2_TEST_DATA "/tiny-opt", "reference_last_logits.npy", 131200 - 8 * 4096 * 4, 8 * 4096);
    static char line[1 << 20];
    int prompts = 0, batches = 0;
    while (fgets(line, sizeof line, f)) {
        json_error_t error;
        json_t *j = json_loads(line, 0, &error);
        assert_non_null(j);
        int single = !strcmp(json_string_value(json_object_get(j, "kind")), "single");
        json_t *ids =
            single ? json_pack("[O]", json_object_get(j, "input_ids")) : json_incref(json_object_get(j, "input_ids"));
        json_t *mask = single ? json_pack("[O]", json_object_get(j, "attention_mask"))
                              : json_incref(json_object_get(j, "attention_mask"));
        json_t *described = single ? json_pack("[O]", j) : json_incref(json_object_get(j, "rows"));
        uint32_t rows = (uint32_t)json_array_size(ids), seq = (uint32_t)json_array_size(json_array_get(ids, 0));
        zo2_engine *e = open_for(pack, rows, seq < 256 ? seq + 1 : seq);
        uint32_t wide = seq + 1;
        int32_t *tokens = calloc(rows * wide, sizeof *tokens);
        uint8_t *real = calloc(rows * wide, 1), *loss = calloc(rows * wide, 1);
        for (uint32_t r = 0; r < rows; r++) {
            uint32_t seen = 0;
            for (uint32_t i = 0; i < seq; i++) {
                int m = (int)json_integer_value(json_array_get(json_array_get(mask, r), i));
                tokens[r * wide + i] = (int32_t)json_integer_value(json_array_get(json_array_get(ids, r), i));
                real[r * wide + i] = (uint8_t)m;
                loss[r * wide + i] = m && seen;
                seen += m != 0;
            }
            if (seen < 256)
                real[r * wide + seq] = loss[r * wide + seq] = 1; /* so that the last position is computed too */
        }
        zo2_batch b = {
            .struct_size = sizeof b, .rows = rows, .seq = wide, .tokens = tokens, .mask = real, .loss = loss};
        float *logprobs = malloc(rows * wide * sizeof *logprobs);
        capture c = capture_begin(e, (uint64_t)rows * wide, 4096);
        zo2_scores s;
        zo2_scores_init(&s);
        s.logprobs = logprobs;
        e->core.observer = observe;
        e->core.observer_ud = &c;
        MUST(zo2_forward(e, &b, ZO2_WEIGHTS_WIRE, &s));
        uint64_t at = 0;
        for (uint32_t r = 0; r < rows; r++) {
            const json_t *want = json_object_get(json_array_get(described, r), "token_logprobs");
            for (size_t i = 0; i < json_array_size(want); i++)
                assert_true(fabs(json_number_value(json_array_get(want, i)) - logprobs[at++]) < 2e-5);
            if (!real[r * wide + seq])
                continue;
            const json_t *top = json_object_get(json_array_get(described, r), "top10_ids");
            const json_t *top_logits = json_object_get(json_array_get(described, r), "top10_logits");
            double largest = 0;
            for (size_t i = 0; i < 10; i++)
                largest = fmax(largest, fabs(json_number_value(json_array_get(top_logits, i))));
            for (size_t i = 0; i < 10; i++) {
                double got = c.logits[at * 4096 + (uint64_t)json_integer_value(json_array_get(top, i))];
                assert_true(fabs(json_number_value(json_array_get(top_logits, i)) - got) <= 1e-4 * largest);
            }
            if (single) {
                double worst = 0, big = 0;
                for (uint32_t v = 0; v < 4096; v++) {
                    worst = fmax(worst, fabs((double)last[prompts * 4096 + v] - c.logits[at * 4096 + v]));
                    big = fmax(big, fabs((double)last[prompts * 4096 + v]));
                }
                assert_true(worst <= 1e-4 * big);
            }
            at++;
        }
        prompts += single;
        batches += !single;
        capture_end(&c);
        zo2_engine_close(e);
        free(tokens);
        free(real);
        free(loss);
        free(logprobs);
        json_decref(ids);
        json_decref(mask);
        json_decref(described);
        json_decref(j);
    }
    fclose(f);
    free(last);
    assert_int_equal(prompts, 8);
    assert_int_equal(batches, 2);
}

int main(void)
{
    test_device_begin(0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(opt), cmocka_unit_test(decoders), cmocka_unit_test(peft),
                                       cmocka_unit_test(shared_prompts), cmocka_unit_test(tiny_opt)};
    return cmocka_run_group_tests(tests, NULL, test_clean);
}
