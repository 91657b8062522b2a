/* fuzz_rundir.c: the tools' own files of a run: settings.json and metrics.jsonl.
 *
 * Input: mode, then the file: settings.json, or with METRICS metrics.jsonl beside a journal of four steps. FOLDER: a
 * folder is in the file's place.
 *
 * Properties: settings that load are saved and load as the same; metrics come out with one line a step, whatever was
 * there before, whole lines of known steps kept as they were, and a second repair changes nothing; an evaluation that
 * is appended is read back; the best is one that is finite. */
#include "engine/model/layout.h"
#include "storage/run/journal.h"
#include "tests/fuzz/fuzzing.h"
#include "tools/tune/metrics.h"
#include "tools/tune/settings.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

enum { METRICS = 1, FOLDER = 2, STEPS = 4 };

static int same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void settings(const fuzz_input *in)
{
    fuzz_dir_clear();
    tune_settings none;
    FUZZ_CHECK(tune_settings_load(&none, fuzz_dir()) == ZO2_ERR_NOTFOUND);
    tune_settings_free(&none);
    free(fuzz_dir_file("settings.json", in->at, in->left));
    tune_settings s, again;
    if (FUZZ_OK(tune_settings_load(&s, fuzz_dir()))) {
        FUZZ_CHECK(s.batch >= 1 && s.seq >= 2 && s.bos >= -1 && s.steps >= 1);
        FUZZ_CHECK(FUZZ_OK(tune_settings_save(&s, fuzz_dir())));
        FUZZ_CHECK(FUZZ_OK(tune_settings_load(&again, fuzz_dir())));
        FUZZ_CHECK(s.batch == again.batch && s.seq == again.seq && s.bos == again.bos && s.steps == again.steps);
        FUZZ_CHECK(s.ids_hash == again.ids_hash);
        FUZZ_CHECK(s.train_hash == again.train_hash && s.model_hash == again.model_hash);
        FUZZ_CHECK(s.spill_count == again.spill_count && (!s.spill_count || s.endurance == again.endurance));
        for (uint32_t i = 0; i < s.spill_count; i++)
            FUZZ_CHECK(same_text(s.spill_dirs[i], again.spill_dirs[i]));
        FUZZ_CHECK(same_text(s.snapshot_dir, again.snapshot_dir) && same_text(s.model, again.model));
        FUZZ_CHECK(same_text(s.train, again.train) && same_text(s.eval, again.eval));
        FUZZ_CHECK(same_text(s.tune, again.tune));
        tune_settings_free(&again);
    }
    tune_settings_free(&s);
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

static zo2_run *make_run(void)
{
    const zo2_run_settings s = {.lr = 1e-6,
                                .eps = 1e-3,
                                .schedule = ZO2_CONSTANT,
                                .dist = ZO2_GAUSSIAN,
                                .queries = 1,
                                .micro_batch = 1,
                                .wire = ZO2_WIRE_BF16,
                                .frozen_wire = ZO2_WIRE_BF16,
                                .compute = ZO2_F32,
                                .tune_order = ZO2_ORDER_TOP,
                                .trunk_type = ZO2_F32,
                                .backend = ZO2_BACKEND_CPU,
                                .noise_version = ZO2_NOISE_VERSION,
                                .decay_set = ZO2_DECAY_SET};
    char *path = zo2_path_join(fuzz_dir(), "journal.zo2j");
    zo2_journal *j;
    FUZZ_CHECK(path && FUZZ_OK(zo2_journal_create(&j, &fuzz_io, path, &s)));
    for (uint64_t i = 0; i < STEPS; i++) {
        const zo2_journal_record r = {.step = i, .queries = 1, .tokens = 5, .skipped = i == 2};
        FUZZ_CHECK(FUZZ_OK(zo2_journal_append(j, &r)));
    }
    zo2_journal_close(j);
    free(path);
    zo2_run *run;
    FUZZ_CHECK(FUZZ_OK(zo2_run_open(&run, fuzz_dir())));
    return run;
}

/* Each line is one step's, in order; a kept one is found in the old text. */
static void check_lines(const char *text, size_t bytes, const fuzz_input *old, uint64_t rebuilt)
{
    uint64_t step = 0, kept = 0;
    for (size_t at = 0; at < bytes; step++) {
        const char *end = memchr(text + at, '\n', bytes - at);
        FUZZ_CHECK(end);
        const size_t n = (size_t)(end - (text + at)) + 1;
        json_t *o = json_loadb(text + at, n, 0, NULL);
        FUZZ_CHECK(o && (uint64_t)json_integer_value(json_object_get(o, "step")) == step);
        json_decref(o);
        kept += old->left && memmem(old->at, old->left, text + at, n) != NULL;
        at += n;
    }
    FUZZ_CHECK(step == STEPS && kept + rebuilt >= STEPS);
}

/* A step's line with an evaluation goes in and comes back as number n; of one without, nothing. */
static void check_append(size_t n, uint64_t digest)
{
    tune_metrics_file m = {.path = zo2_path_join(fuzz_dir(), "metrics.jsonl")};
    FUZZ_CHECK(m.path && (m.fd = open(m.path, O_WRONLY | O_APPEND | O_CLOEXEC)) >= 0);
    const zo2_step_result r = {.struct_size = sizeof r, .step = STEPS, .loss_plus = (double)digest, .seconds = 0.1};
    const tune_evaluation e = {.done = true,
                               .options = digest % 2,
                               .loss = 1.5,
                               .loss_fp32 = (double)(digest >> 3) * 1e-17,
                               .accuracy = 0.5,
                               .accuracy_fp32 = (double)(digest >> 11) * 0x1p-53};
    const tune_metrics_evals evals = {.after = &e};
    FUZZ_CHECK(FUZZ_OK(tune_metrics_append(&m, &r, NULL)) && FUZZ_OK(tune_metrics_append(&m, &r, &evals)));
    tune_metrics_close(&m);
    tune_metrics_eval *got;
    size_t now;
    FUZZ_CHECK(FUZZ_OK(tune_metrics_evaluations(fuzz_dir(), &got, &now)) && now == n + 1);
    FUZZ_CHECK(got[n].steps == STEPS + 1 && got[n].loss == e.loss_fp32);
    FUZZ_CHECK(e.options ? got[n].accuracy == e.accuracy_fp32 : isnan(got[n].accuracy));
    free(got);
}

/* A folder where the file should be: an I/O error, and nothing else happens. */
static void folders(void)
{
    fuzz_dir_clear();
    zo2_run *run = make_run();
    char *a = zo2_path_join(fuzz_dir(), "metrics.jsonl"), *b = zo2_path_join(fuzz_dir(), "settings.json");
    FUZZ_CHECK(a && b && mkdir(a, 0700) == 0 && mkdir(b, 0700) == 0);
    tune_metrics_file m;
    tune_metrics_eval *e;
    tune_settings s;
    uint64_t rebuilt;
    size_t n;
    FUZZ_CHECK(tune_metrics_open(&m, fuzz_dir(), run, &rebuilt) == ZO2_ERR_IO);
    tune_metrics_close(&m);
    FUZZ_CHECK(tune_metrics_evaluations(fuzz_dir(), &e, &n) == ZO2_ERR_IO && !e && n == 0);
    FUZZ_CHECK(tune_settings_load(&s, fuzz_dir()) != ZO2_OK);
    FUZZ_CHECK(tune_settings_save(&s, fuzz_dir()) == ZO2_ERR_IO);
    tune_settings_free(&s);
    free(a);
    free(b);
    zo2_run_close(run);
}

static void metrics(const fuzz_input *in)
{
    fuzz_dir_clear();
    zo2_run *run = make_run();
    char *path = fuzz_dir_file("metrics.jsonl", in->at, in->left), *text, *again;
    size_t bytes, bytes_again, n;
    tune_metrics_file m;
    tune_metrics_eval *e;
    uint64_t rebuilt;
    FUZZ_CHECK(FUZZ_OK(tune_metrics_open(&m, fuzz_dir(), run, &rebuilt)) && rebuilt <= STEPS);
    tune_metrics_close(&m);
    FUZZ_CHECK(zo2_io_slurp(path, UINT64_C(1) << 30, &text, &bytes) == ZO2_OK);
    check_lines(text, bytes, in, rebuilt);

    FUZZ_CHECK(FUZZ_OK(tune_metrics_open(&m, fuzz_dir(), run, &rebuilt)) && rebuilt == 0);
    tune_metrics_close(&m);
    FUZZ_CHECK(zo2_io_slurp(path, UINT64_C(1) << 30, &again, &bytes_again) == ZO2_OK);
    FUZZ_CHECK(bytes == bytes_again && memcmp(text, again, bytes) == 0);

    FUZZ_CHECK(FUZZ_OK(tune_metrics_evaluations(fuzz_dir(), &e, &n)) && n <= STEPS);
    check_append(n, fuzz_digest(text, bytes));
    const tune_metrics_eval *best = tune_metrics_best(e, n);
    size_t finite = 0;
    for (size_t i = 0; i < n; i++)
        finite += isfinite(e[i].loss) != 0;
    FUZZ_CHECK(finite ? best >= e && best < e + n && best->steps <= STEPS && isfinite(best->loss) : !best);
    free(e);
    free(text);
    free(again);
    free(path);
    zo2_run_close(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const int mode = fuzz_u8(&in);
    if (mode & FOLDER)
        folders();
    else if (mode & METRICS)
        metrics(&in);
    else
        settings(&in);
    return 0;
}
