/* What the library does to the process: nothing. Two engines on two threads get the bits that each gets alone; rounding
 * mode, flush-to-zero, BLAS threads, signal handlers and mask, locale, umask and folder are the caller's before and
 * after, and the caller's settings change no bit. */
#include "tests/unit/engine/engine_testing.h"

#include <cblas.h>
#include <dirent.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <sys/stat.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

enum { ROWS = 4, SEQ = 12, STEPS = 3 };

typedef struct outcome {
    uint64_t masters;
    double loss[STEPS];
    float c[STEPS];
    double eval_loss;
} outcome;

typedef struct training {
    const char *pack, *run;
    uint64_t seed;
    outcome out;
} training;

/* Opens a run, takes a few steps, evaluates, closes; everything that could differ goes to out. */
static void train(training *t)
{
    zo2_engine *e;
    zo2_engine_opts o;
    zo2_scores scores;
    zo2_run *run;
    test_batch batch;
    char path[300];
    zo2_engine_opts_init(&o);
    o.seed = t->seed;
    o.lr = 1e-3;
    o.weight_decay = 0.1;
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 2;
    scratch_path(path, sizeof path, t->run);
    MUST(zo2_engine_open(&e, t->pack, path, &o));
    for (uint32_t i = 0; i < STEPS; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        random_batch(&batch, (uint32_t)t->seed + i, 90, ROWS, SEQ, 0);
        MUST(zo2_step(e, &batch.b, &r));
        t->out.loss[i] = r.loss_plus;
    }
    zo2_scores_init(&scores);
    MUST(zo2_forward(e, &batch.b, ZO2_WEIGHTS_MASTER, &scores));
    t->out.eval_loss = scores.loss;
    MUST(zo2_masters_hash(e, &t->out.masters));
    MUST(zo2_snapshot(e));
    zo2_engine_close(e);
    MUST(zo2_run_open(&run, path));
    for (uint32_t i = 0; i < STEPS; i++) {
        zo2_run_record record;
        MUST(zo2_run_record_get(run, i, &record));
        t->out.c[i] = record.query[0].c;
    }
    zo2_run_close(run);
}

static void assert_same(const outcome *a, const outcome *b)
{
    assert_true(a->masters == b->masters);
    assert_memory_equal(a->loss, b->loss, sizeof a->loss);
    assert_memory_equal(a->c, b->c, sizeof a->c);
    assert_memory_equal(&a->eval_loss, &b->eval_loss, sizeof a->eval_loss);
}

static char first_pack[512], second_pack[512];

static outcome alone(const char *pack, const char *run, uint64_t seed)
{
    training t = {.pack = pack, .run = run, .seed = seed};
    train(&t);
    return t.out;
}

static void *train_thread(void *arg)
{
    train(arg);
    return NULL;
}

static void test_two_engines(void **state)
{
    (void)state;
    outcome first = alone(first_pack, "first", 7), second = alone(second_pack, "second", 8);
    assert_true(first.masters != second.masters);
    for (int repeat = 0; repeat < 3; repeat++) {
        char runs[2][32];
        training t[2] = {{.pack = first_pack, .seed = 7}, {.pack = second_pack, .seed = 8}};
        pthread_t thread[2];
        for (int i = 0; i < 2; i++) {
            snprintf(runs[i], sizeof runs[i], "both-%d-%d", repeat, i);
            t[i].run = runs[i];
            assert_int_equal(pthread_create(&thread[i], NULL, train_thread, &t[i]), 0);
        }
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_same(&t[0].out, &first);
        assert_same(&t[1].out, &second);
    }
}

static void test_rounding_mode(void **state)
{
    (void)state;
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    static const char *const runs[] = {"up", "down", "zero"};
    outcome plain = alone(first_pack, "nearest", 7);
    float z[2][64];
    zo2_noise_fill(z[0], 1, 2, 0, 3, 5, 64, ZO2_GAUSSIAN);
    for (int i = 0; i < 3; i++) {
        fesetround(modes[i]);
        outcome other = alone(first_pack, runs[i], 7);
        zo2_status s = zo2_noise_fill(z[1], 1, 2, 0, 3, 5, 64, ZO2_GAUSSIAN);
        int after = fegetround();
        fesetround(FE_TONEAREST);
        assert_int_equal(s, ZO2_OK);
        assert_int_equal(after, modes[i]);
        assert_memory_equal(z[0], z[1], sizeof z[0]);
        assert_same(&other, &plain);
    }
}

#if defined(__x86_64__)
static void test_flush_to_zero(void **state)
{
    (void)state;
    outcome plain = alone(first_pack, "denormals", 7);
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040u); /* flush to zero, denormals are zero */
    outcome other = alone(first_pack, "flushed", 7);
    unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    assert_int_equal(after & ~0x3Fu, (before | 0x8040u) & ~0x3Fu); /* but for the sticky flags */
    assert_same(&other, &plain);
}
#endif

static void on_signal(int number)
{
    (void)number;
}

static void test_process_state(void **state)
{
    (void)state;
    char folder_before[512], folder_after[512];
    sigset_t mask, mask_after;
    struct sigaction mine = {.sa_handler = on_signal}, found;
    static const int signals[] = {SIGINT, SIGTERM, SIGPIPE, SIGBUS, SIGUSR1, SIGCHLD};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        assert_int_equal(sigaction(signals[i], &mine, NULL), 0);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &mask, NULL), 0);
    openblas_set_num_threads(2);
    int blas = openblas_get_num_threads();
    mode_t old_umask = umask(0027);
    assert_non_null(getcwd(folder_before, sizeof folder_before));
    char *locale = strdup(setlocale(LC_ALL, NULL));
    assert_non_null(locale);

    alone(first_pack, "state", 7);

    assert_string_equal(setlocale(LC_ALL, NULL), locale);
    free(locale);
    assert_non_null(getcwd(folder_after, sizeof folder_after));
    assert_string_equal(folder_after, folder_before);
    assert_int_equal(umask(old_umask), 0027);
    assert_int_equal(openblas_get_num_threads(), blas);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask_after), 0);
    for (int number = 1; number < 32; number++)
        assert_int_equal(sigismember(&mask_after, number), number == SIGUSR2);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        assert_int_equal(sigaction(signals[i], NULL, &found), 0);
        assert_ptr_equal(found.sa_handler, on_signal);
        signal(signals[i], SIG_DFL);
    }
}

/* Thread ids of this process. */
static size_t list_threads(long *ids, size_t max)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (struct dirent *entry; n < max && (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            ids[n++] = strtol(entry->d_name, NULL, 10);
    closedir(dir);
    return n;
}

/* Signals sent to the process go to the caller's threads: the library's own block them all. */
static void test_workers_block_signals(void **state)
{
    (void)state;
    enum { MAX = 64 };
    long before[MAX], now[MAX];
    zo2_engine *e;
    zo2_engine_opts o;
    char path[64], line[256];
    zo2_engine_opts_init(&o);
    o.max_rows = ROWS;
    o.max_seq = SEQ;
    o.threads = 3;
    o.read_only = 1;
    size_t n_before = list_threads(before, MAX); /* OpenBLAS has threads of its own */
    MUST(zo2_engine_open(&e, first_pack, NULL, &o));
    size_t n_now = list_threads(now, MAX), ours = 0;
    for (size_t i = 0; i < n_now; i++) {
        size_t known = 0;
        while (known < n_before && before[known] != now[i])
            known++;
        if (known < n_before)
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%ld/status", now[i]);
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        unsigned long long blocked = 0;
        while (fgets(line, sizeof line, f))
            sscanf(line, "SigBlk: %llx", &blocked);
        fclose(f);
        assert_true(blocked >> (SIGINT - 1) & 1);
        assert_true(blocked >> (SIGTERM - 1) & 1);
        assert_true(blocked >> (SIGUSR1 - 1) & 1);
        ours++;
    }
    assert_true(ours >= 4); /* two workers beside the caller, two lanes */
    zo2_engine_close(e);
}

/* A locale with a decimal comma, made here where the system has none: nothing that is parsed or written changes. */
static void test_decimal_comma(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    const char *set = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !set; i++)
        set = setlocale(LC_ALL, names[i]);
    if (!set) {
        char command[700], path[300];
        scratch_path(path, sizeof path, "locales");
        snprintf(command, sizeof command,
                 "mkdir -p '%s' && localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1", path, path);
        if (!system(command) && !setenv("LOCPATH", path, 1))
            set = setlocale(LC_ALL, "de_DE.UTF-8");
    }
    if (!set) {
        print_message("skipped: no locale with a decimal comma here, and localedef can't make one\n");
        skip();
    }
    assert_string_equal(localeconv()->decimal_point, ",");
    outcome other = alone(first_pack, "comma", 7);
    setlocale(LC_ALL, "C");
    outcome plain = alone(first_pack, "point", 7);
    assert_same(&other, &plain);
}

static int make_packs(void **state)
{
    (void)state;
    snprintf(first_pack, sizeof first_pack, "%s", pack_of("opt-fixtures/prenorm-f32"));
    snprintf(second_pack, sizeof second_pack, "%s", pack_of("opt-fixtures/postnorm-gelu-f32"));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_engines),
        cmocka_unit_test(test_rounding_mode),
#if defined(__x86_64__)
        cmocka_unit_test(test_flush_to_zero),
#endif
        cmocka_unit_test(test_process_state),
        cmocka_unit_test(test_workers_block_signals),
        cmocka_unit_test(test_decimal_comma),
    };
    return cmocka_run_group_tests(tests, make_packs, test_clean);
}
