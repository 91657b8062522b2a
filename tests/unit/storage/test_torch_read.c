/* test_torch_read.c: elements row by row of tensors with any strides, whole and in parts, against a loop over the definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/checkpoint/torch_internal.h"
#include "tests/unit/files_testing.h"

#include <fcntl.h>

#define SHIFT 3 /* bytes in front of the storage: nothing need be aligned */

typedef struct bench {
    char *dir, *path;
    unsigned char *data; /* [bytes], the storage */
    size_t bytes;
    zo2_torch_file f;
} bench;

static bench begin(size_t bytes)
{
    bench b = {.dir = scratch_make(), .bytes = bytes, .data = sample_bytes(5, bytes + SHIFT)};
    b.path = in_dir(b.dir, "storage");
    file_store(b.path, b.data, bytes + SHIFT);
    b.f = (zo2_torch_file){.path = b.path, .fd = open(b.path, O_RDONLY | O_CLOEXEC), .size = bytes + SHIFT};
    assert_true(b.f.fd >= 0);
    return b;
}

static void end(bench *b)
{
    close(b->f.fd);
    free(b->data);
    free(b->path);
    scratch_remove(b->dir);
}

/* Where element i, counted row by row, is in the storage. */
static uint64_t place_of(const zo2_torch_tensor *t, uint64_t i)
{
    uint64_t at = t->offset;
    for (uint32_t k = t->rank; k-- > 0;) {
        at += i % t->shape[k] * t->stride[k];
        i /= t->shape[k];
    }
    return at;
}

static void check_part(const bench *b, const zo2_torch_tensor *t, uint64_t first, uint64_t n)
{
    const uint64_t size = t->element_bytes;
    unsigned char *got = malloc((size_t)(n * size) + 1);
    assert_non_null(got);
    got[n * size] = 0xA5;
    OK(zo2_torch_read_elements(&b->f, t, SHIFT + t->offset * size, first, n, got));
    for (uint64_t i = 0; i < n; i++)
        if (memcmp(got + i * size, b->data + SHIFT + place_of(t, first + i) * size, (size_t)size) != 0)
            fail_msg("element %llu of [%llu, %llu) is another", (unsigned long long)i, (unsigned long long)first,
                     (unsigned long long)n);
    assert_int_equal(got[n * size], 0xA5);
    free(got);
}

/* A tensor of at most `room` bytes that lies in the storage; small dimensions, some of one, strides from 0 up. */
static zo2_torch_tensor any_tensor(uint64_t *seed, size_t room)
{
    static const uint32_t sizes[] = {1, 2, 4, 8, 16};
    zo2_torch_tensor t = {.elements = 1, .element_bytes = sizes[mix(seed) % 5], .name = (char *)(uintptr_t) "t"};
    const uint64_t cells = room / t.element_bytes;
    uint64_t last = 0;
    t.rank = (uint32_t)(mix(seed) % 6);
    for (uint32_t k = 0; k < t.rank; k++) {
        t.shape[k] = 1 + mix(seed) % (k == t.rank - 1 ? 40 : 9);
        t.stride[k] = mix(seed) % 3 == 0 ? mix(seed) % 4 : mix(seed) % (cells / 64);
        while ((t.shape[k] - 1) * t.stride[k] >= cells - last)
            t.stride[k] /= 2;
        last += (t.shape[k] - 1) * t.stride[k];
        t.elements *= t.shape[k];
    }
    if (mix(seed) % 2 && t.rank >= 2) { /* as a permuted or sliced one has them */
        uint64_t stride = 1 + mix(seed) % 2, rows = 0;
        for (uint32_t i = 0; i < t.rank; i++) {
            const uint32_t k = (uint32_t)((i * 2 + 1) % t.rank);
            if (t.rank % 2 == 0 && i == t.rank / 2)
                stride += 3;
            t.stride[k] = stride;
            stride *= t.shape[k];
        }
        for (uint32_t k = 0; k < t.rank; k++)
            rows += (t.shape[k] - 1) * t.stride[k];
        for (uint32_t k = 0; k < t.rank && rows >= cells; k++)
            t.stride[k] = 0;
        last = rows >= cells ? 0 : rows;
    }
    t.offset = mix(seed) % (cells - last);
    return t;
}

static void any_strides(void **state)
{
    (void)state;
    bench b = begin(100000);
    uint64_t seed = 1;
    for (int i = 0; i < 3000; i++) {
        const zo2_torch_tensor t = any_tensor(&seed, b.bytes);
        if (t.elements <= 20000)
            check_part(&b, &t, 0, t.elements);
        for (int k = 0; k < 4; k++) {
            const uint64_t first = mix(&seed) % t.elements;
            check_part(&b, &t, first, mix(&seed) % (t.elements - first + 1) % 5000);
        }
    }
    end(&b);
}

/* More than a window in every direction. */
static void windows(void **state)
{
    (void)state;
    bench b = begin((size_t)6 << 20);
    const zo2_torch_tensor cases[] = {
        {.rank = 2, .shape = {1500, 2000}, .stride = {1, 1500}, .element_bytes = 2}, /* transposed */
        {.rank = 2, .shape = {30, 90000}, .stride = {1, 31}, .element_bytes = 2, .offset = 7},
        {.rank = 2, .shape = {90000, 30}, .stride = {1, 90001}, .element_bytes = 2},
        {.rank = 2, .shape = {700, 2000}, .stride = {4001, 2}, .element_bytes = 2}, /* every second column */
        {.rank = 2, .shape = {1400, 900}, .stride = {900, 1}, .element_bytes = 4},  /* as it should be */
        {.rank = 3, .shape = {40, 50, 700}, .stride = {50, 1, 2000}, .element_bytes = 4},
        {.rank = 3, .shape = {3, 700000, 2}, .stride = {0, 2, 1}, .element_bytes = 4}, /* expanded */
        {.rank = 1, .shape = {1500}, .stride = {2000}, .element_bytes = 2},            /* far apart */
        {.rank = 2, .shape = {3, 1000000}, .stride = {1000000, 1}, .element_bytes = 2},
        {.rank = 2, .shape = {3, 1000000}, .stride = {1000001, 1}, .element_bytes = 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zo2_torch_tensor t = cases[i];
        t.name = (char *)(uintptr_t) "t";
        t.elements = 1;
        for (uint32_t k = 0; k < t.rank; k++)
            t.elements *= t.shape[k];
        check_part(&b, &t, 0, t.elements);
        check_part(&b, &t, t.elements / 3 + 1, t.elements / 2);
        check_part(&b, &t, t.elements - 1, 1);
        check_part(&b, &t, t.elements, 0);
    }
    end(&b);
}

/* What the storage doesn't have can't be read: the file was cut after it was opened. */
static void cut_short(void **state)
{
    (void)state;
    bench b = begin(20000);
    zo2_torch_tensor t = {.rank = 2, .shape = {100, 50}, .stride = {1, 100}, .element_bytes = 2, .elements = 5000};
    unsigned char got[10000];
    t.name = (char *)(uintptr_t) "t";
    OK(zo2_torch_read_elements(&b.f, &t, SHIFT, 0, 5000, got));
    assert_int_equal(truncate(b.path, 9000), 0);
    FAILS(FORMAT, zo2_torch_read_elements(&b.f, &t, SHIFT, 0, 5000, got));
    SAYS(b.path);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_strides),
        cmocka_unit_test(windows),
        cmocka_unit_test(cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
