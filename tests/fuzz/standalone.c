/* standalone.c: runs a fuzz target where there is no libFuzzer: its seed corpus, then a bounded number of mutations of
 * it. Deterministic: the same arguments are the same inputs on every machine.
 *
 *   fuzz_WHAT [--mutations N] FILE|FOLDER...
 *
 * N mutations in all, spread over the seeds. A finding ends the process; its input is then in finding-HASH in the
 * current folder, and fuzz_WHAT finding-HASH repeats it. */
#include "tests/fuzz/fuzzing.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct seed {
    char *path;
    unsigned char *data;
    size_t size;
} seed;

typedef struct corpus {
    seed *seeds;
    size_t n;
} corpus;

/* ---- what is left of a finding ----------------------------------------------------------------------------------- */

static const unsigned char *current; /* for the handler of a crash, which has no arguments */
static size_t current_size;

static void save_finding(void)
{
    char name[48];
    snprintf(name, sizeof name, "finding-%016llx", (unsigned long long)fuzz_digest(current, current_size));
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, current, current_size) != (ssize_t)current_size)
        return;
    close(fd);
    fprintf(stderr, "the input is in %s\n", name);
}

static void on_abort(int number)
{
    signal(number, SIG_DFL);
    save_finding();
    raise(number);
}

/* Sanitizers end the process themselves. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void run(const unsigned char *data, size_t size)
{
    current = data;
    current_size = size;
    FUZZ_CHECK(LLVMFuzzerTestOneInput(data, size) == 0);
}

/* ---- mutations --------------------------------------------------------------------------------------------------- */

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t n)
{
    return n ? (size_t)(next(state) % n) : 0;
}

static void set_number(unsigned char *data, size_t size, uint64_t *state)
{
    static const uint64_t odd[] = {
        0,     1,         2,          255,       256,        4095,           4096,
        65535, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 40};
    const size_t bytes = (size_t)1 << below(state, 4);
    const uint64_t value = odd[below(state, sizeof odd / sizeof *odd)];
    if (size >= bytes)
        memcpy(data + below(state, size - bytes + 1), &value, bytes);
}

/* A piece of `from` in place of a piece of data. Returns the new size, at most `capacity`. */
static size_t put_piece(unsigned char *data, size_t size, size_t capacity, const seed *from, uint64_t *state)
{
    const size_t at = below(state, size + 1), gone = below(state, size - at + 1);
    const size_t start = below(state, from->size + 1);
    size_t n = below(state, from->size - start + 1);
    if (size - gone + n > capacity)
        n = capacity - (size - gone);
    memmove(data + at + n, data + at + gone, size - at - gone);
    if (n)
        memcpy(data + at, from->data + start, n);
    return size - gone + n;
}

/* Changes data[size] in one to four places; the buffer has `capacity` bytes. */
static size_t mutate(unsigned char *data, size_t size, size_t capacity, const corpus *c, uint64_t *state)
{
    for (size_t left = 1 + below(state, 4); left > 0; left--) {
        const size_t at = below(state, size);
        switch (below(state, 7)) {
        case 0: size -= below(state, size / 2 + 1) * (below(state, 4) == 0); break; /* cut off */
        case 1: size = put_piece(data, size, capacity, &c->seeds[below(state, c->n)], state); break;
        case 2: set_number(data, size, state); break;
        case 3:
            if (size > 1) /* take one out */
                memmove(data + at, data + at + 1, --size - at);
            break;
        case 4:
            if (size < capacity) { /* double one */
                memmove(data + at + 1, data + at, size - at);
                size++;
            }
            break;
        case 5:
            if (size)
                data[at] ^= (unsigned char)(1u << below(state, 8));
            break;
        default:
            if (size)
                data[at] = (unsigned char)next(state);
        }
    }
    return size;
}

static void run_mutations(const corpus *c, uint64_t mutations)
{
    size_t largest = 0;
    for (size_t i = 0; i < c->n; i++)
        largest = c->seeds[i].size > largest ? c->seeds[i].size : largest;
    const size_t capacity = 2 * largest + 64;
    for (uint64_t i = 0; i < mutations; i++) {
        const seed *s = &c->seeds[i % c->n];
        uint64_t state = i;
        unsigned char *work = fuzz_alloc(capacity);
        if (s->size)
            memcpy(work, s->data, s->size);
        const size_t size = mutate(work, s->size, capacity, c, &state);
        unsigned char *exact = fuzz_alloc(size); /* of the very size: reading past it is noticed */
        if (size)
            memcpy(exact, work, size);
        run(exact, size);
        free(exact);
        free(work);
    }
}

/* ---- the corpus -------------------------------------------------------------------------------------------------- */

static void add_file(corpus *c, const char *path)
{
    char *data;
    size_t size;
    if (zo2_io_slurp(path, UINT64_C(1) << 24, &data, &size)) {
        fprintf(stderr, "%s\n", zo2_last_error());
        exit(2);
    }
    c->seeds = realloc(c->seeds, (c->n + 1) * sizeof *c->seeds);
    FUZZ_CHECK(c->seeds);
    seed *s = &c->seeds[c->n++];
    s->path = strdup(path);
    s->data = fuzz_alloc(size);
    s->size = size;
    if (size)
        memcpy(s->data, data, size);
    free(data);
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static void add(corpus *c, const char *path)
{
    struct dirent **names;
    struct stat st;
    const int n = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? scandir(path, &names, visible, alphasort) : -1;
    if (n < 0) {
        add_file(c, path);
        return;
    }
    for (int i = 0; i < n; i++) { /* in the order of their bytes in the C locale, which this program doesn't leave */
        char *file = zo2_path_join(path, names[i]->d_name);
        FUZZ_CHECK(file);
        add_file(c, file);
        free(file);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv)
{
    corpus c = {0};
    uint64_t mutations = 0;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--mutations") == 0 && i + 1 < argc)
            mutations = strtoull(argv[++i], NULL, 10);
        else
            add(&c, argv[i]);
    if (c.n == 0) {
        fprintf(stderr, "usage: %s [--mutations N] FILE|FOLDER...\n", argv[0]);
        return 2;
    }
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(save_finding);
    for (size_t i = 0; i < c.n; i++)
        run(c.seeds[i].data, c.seeds[i].size);
    run_mutations(&c, mutations);
    printf("%zu seeds and %llu mutations of them: no finding\n", c.n, (unsigned long long)mutations);
    for (size_t i = 0; i < c.n; i++) {
        free(c.seeds[i].path);
        free(c.seeds[i].data);
    }
    free(c.seeds);
    return 0;
}
