/* test_pack_window.c: rows through a window are those of the pack, however they are asked for; a chunk of the pack is read once for all
 * who want rows of it; what can't be read or is damaged is an error, and read again the next time. */
#include "engine/base/pool.h"
#include "engine/masters/pack_window.h"
#include "engine/pack/pack_api.h"
#include "tests/unit/engine/engine_testing.h"

#include <errno.h>
#include <stdatomic.h>

static atomic_int reads, fail;

static ssize_t counted_pread(void *ud, int fd, void *buffer, size_t n, off_t at)
{
    (void)ud;
    atomic_fetch_add(&reads, 1);
    if (atomic_load(&fail) == 1)
        return errno = EIO, -1;
    ssize_t got = zo2_io_posix.pread(zo2_io_posix.ud, fd, buffer, n, at);
    if (got > 0 && atomic_load(&fail) == 2)
        *(uint8_t *)buffer ^= 1;
    return got;
}

static zo2_io io; /* the window keeps its address */

typedef struct fixture {
    zo2_pack *pack;
    zo2_pack_window w;
    uint32_t tensor; /* a matrix */
    uint64_t rows, row_bytes;
    uint8_t *want;
} fixture;

static fixture open_window(uint32_t pieces)
{
    fixture f = {0};
    io = zo2_io_posix;
    io.pread = counted_pread;
    MUST(zo2_pack_open(&f.pack, pack_of("opt-fixtures/prenorm-f32")));
    while (zo2_packfile_tensor(f.pack->file, f.tensor)->rank != 2)
        f.tensor++;
    const zo2_packtensor *t = zo2_packfile_tensor(f.pack->file, f.tensor);
    f.rows = t->rows;
    f.row_bytes = t->cols * zo2_dtype_bytes(t->dtype);
    f.want = malloc(f.rows * f.row_bytes);
    MUST(zo2_packfile_read_rows(f.pack->file, f.tensor, 0, f.rows, f.want));
    atomic_store(&reads, 0);
    atomic_store(&fail, 0);
    MUST(zo2_pack_window_create(&f.w, f.pack->file, &io, pieces));
    return f;
}

static void close_window(fixture *f)
{
    zo2_pack_window_free(&f->w);
    zo2_pack_window_free(&f->w);
    zo2_pack_close(f->pack);
    free(f->want);
}

static void check_rows(fixture *f, uint64_t row, uint64_t n)
{
    uint8_t *got = malloc(n * f->row_bytes);
    MUST(zo2_pack_window_rows(&f->w, f->tensor, row, n, got));
    assert_memory_equal(got, f->want + row * f->row_bytes, n * f->row_bytes);
    free(got);
}

static void neighbours_share(void **state)
{
    (void)state;
    fixture f = open_window(2);
    uint64_t half = f.rows / 2;
    check_rows(&f, 0, half);
    assert_int_equal(atomic_load(&reads), 1);
    check_rows(&f, half, f.rows - half);
    check_rows(&f, 0, f.rows);
    assert_int_equal(atomic_load(&reads), 1);
    close_window(&f);
}

static void a_row(void *arg, uint64_t i)
{
    fixture *f = arg;
    check_rows(f, i % f->rows, 1);
}

static void threads_share(void **state)
{
    (void)state;
    zo2_pool *pool;
    MUST(zo2_pool_create(&pool, 4));
    fixture f = open_window(1);
    zo2_pool_run(pool, 200, a_row, &f);
    assert_int_equal(atomic_load(&reads), 1);
    close_window(&f);
    zo2_pool_destroy(pool);
}

/* A window of one chunk, and more tensors than that: each comes when its turn is. */
static void the_oldest_goes(void **state)
{
    (void)state;
    fixture f = open_window(1);
    const zo2_packtensor *t = zo2_packfile_tensor(f.pack->file, f.tensor + 1);
    uint8_t *other = malloc(t->cols * zo2_dtype_bytes(t->dtype));
    for (int i = 1; i < 4; i++) {
        check_rows(&f, 0, 1);
        MUST(zo2_pack_window_rows(&f.w, f.tensor + 1, 0, 1, other));
        assert_int_equal(atomic_load(&reads), 2 * i);
    }
    free(other);
    close_window(&f);
}

static void failures(void **state)
{
    (void)state;
    fixture f = open_window(2);
    uint8_t *got = malloc(f.row_bytes);
    atomic_store(&fail, 1);
    assert_int_equal(zo2_pack_window_rows(&f.w, f.tensor, 0, 1, got), ZO2_ERR_IO);
    atomic_store(&fail, 2);
    assert_int_equal(zo2_pack_window_rows(&f.w, f.tensor, 0, 1, got), ZO2_ERR_FORMAT);
    assert_non_null(strstr(zo2_last_error(), "wrong checksum"));
    assert_int_equal(zo2_pack_window_rows(&f.w, f.tensor, f.rows, 1, got), ZO2_ERR_ARG);
    atomic_store(&fail, 0);
    check_rows(&f, 0, f.rows);
    free(got);
    close_window(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(neighbours_share), cmocka_unit_test(threads_share),
                                       cmocka_unit_test(the_oldest_goes), cmocka_unit_test(failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
