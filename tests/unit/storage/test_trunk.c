/* Trunk caches: in memory and in files; the bytes of a file, as TRUNK.md has them; reopened, cut at every length, changed at
 * every byte, of another identity, in other folders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/storage/trunk_dirs_testing.h"

#include <sys/stat.h>

static zo2_trunk *open_one(uint32_t n_dirs, int writable)
{
    zo2_trunk_config c = test_config(dirs, n_dirs);
    zo2_trunk *t;
    c.writable = writable;
    c.log = test_log_fn;
    c.log_ud = &heard;
    OK(zo2_trunk_open(&t, &c));
    return t;
}

/* ---- what is kept ------------------------------------------------------------------------------------------------ */

static void kept_and_found(uint32_t n_dirs)
{
    zo2_trunk *t = open_one(n_dirs, 1);
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(test_get(t, i), 0);
        assert_int_equal(test_put(t, i), 1);
        assert_int_equal(test_put(t, i), 1); /* there already */
        test_get_all(t, 0, i + 1);
        const zo2_trunk_key key = test_key(i);
        zo2_trunk_expect(t, &key);
    }
    zo2_trunk_stats s = zo2_trunk_stats_of(t);
    assert_int_equal(s.entries, 20);
    assert_int_equal(s.bytes, test_sum(0, 20));
    assert_int_equal(s.hits, 20 * 21 / 2);
    assert_int_equal(s.misses, 20);
    assert_int_equal(s.damaged, 0);
    assert_int_equal(s.full, 0);

    /* of another length: not there, and put again it replaces the first */
    const zo2_trunk_key key = test_key(1);
    char text[LONGEST] = "abc", got[4] = "";
    assert_int_equal(zo2_trunk_get(t, &key, got, 3), 0);
    assert_int_equal(zo2_trunk_put(t, &key, text, 3), 1);
    assert_int_equal(zo2_trunk_get(t, &key, got, 3), 1);
    assert_string_equal(got, "abc");
    assert_int_equal(test_get(t, 1), 0);
    s = zo2_trunk_stats_of(t);
    assert_int_equal(s.entries, 20);
    assert_int_equal(s.bytes, test_sum(0, 20) + zo2_trunk_entry_bytes(3));
    assert_int_equal(heard.infos + heard.warnings, 0);
    OK(zo2_trunk_sync(t));
    zo2_trunk_close(t);
}

static void in_memory(void **state)
{
    (void)state;
    kept_and_found(0);
}

static void in_files(void **state)
{
    (void)state;
    kept_and_found(1);
    scratch_empty(dir[0]);
    kept_and_found(2);
    assert_int_equal(count_files(dir[0], RUN_TAG), 1);
    assert_int_equal(count_files(dir[1], RUN_TAG), 1);
}

/* Thousands of entries: the index grows, and finds all of them again after half are gone. */
static void many(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    for (uint32_t n_dirs = 0; n_dirs <= 1; n_dirs++) {
        zo2_trunk_config c = test_config(dirs, n_dirs);
        zo2_trunk *t;
        c.bytes = UINT64_MAX;
        OK(zo2_trunk_open(&t, &c));
        for (uint64_t round = 0; round < 2; round++) {
            for (uint64_t i = 0; i < MANY; i++) {
                const zo2_trunk_key key = test_key(i);
                const uint64_t v[2] = {i, round};
                uint64_t got[2] = {0, 0};
                if (round)
                    assert_int_equal(zo2_trunk_get(t, &key, got, 8), 1);
                assert_true(!round || got[0] == i);
                assert_int_equal(zo2_trunk_put(t, &key, v, 8 + 8 * round), 1);
                assert_int_equal(zo2_trunk_get(t, &key, got, 8 + 8 * round), 1);
                assert_true(got[0] == i && got[1] == round);
            }
            if (n_dirs) {
                zo2_trunk_close(t);
                OK(zo2_trunk_open(&t, &c));
            }
            assert_int_equal(zo2_trunk_stats_of(t).entries, MANY);
        }
        zo2_trunk_close(t);
    }
}

/* Entries larger than a block of memory, and than what is left of one. */
static void large(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {40 << 20, 25 << 20, 65 << 20, 8};
    zo2_trunk_config c = test_config(dirs, 0);
    zo2_trunk *t;
    c.bytes = (uint64_t)131 << 20;
    OK(zo2_trunk_open(&t, &c));
    unsigned char *src = calloc(65 << 20, 1), *got = malloc(65 << 20);
    assert_non_null(src);
    assert_non_null(got);
    for (uint64_t round = 0; round < 2; round++)
        for (uint64_t i = 0; i < 4; i++) {
            const zo2_trunk_key key = test_key(i);
            src[0] = src[sizes[i] - 1] = (unsigned char)(i + 1);
            if (round == 0)
                assert_int_equal(zo2_trunk_put(t, &key, src, sizes[i]), 1);
            assert_int_equal(zo2_trunk_get(t, &key, got, sizes[i]), 1);
            assert_true(memcmp(src, got, sizes[i]) == 0);
            src[sizes[i] - 1] = 0;
        }
    free(src);
    free(got);
    zo2_trunk_close(t);
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

static void full(void **state)
{
    (void)state;
    for (uint32_t n_dirs = 0; n_dirs <= 2; n_dirs++) {
        zo2_trunk_config c = test_config(dirs, n_dirs);
        zo2_trunk *t;
        heard = (test_log){0};
        c.log = test_log_fn;
        c.log_ud = &heard;
        c.bytes = test_sum(0, 9) - 1;
        OK(zo2_trunk_open(&t, &c));
        test_put_all(t, 0, 8);
        assert_int_equal(heard.infos, 0);
        for (int k = 0; k < 3; k++)
            assert_int_equal(test_put(t, 8), 0);
        assert_int_equal(heard.infos, 1);
        LOGGED(heard, "the trunk cache has 8 entries and takes no more: it has its size");
        assert_int_equal(test_put(t, 2), 1); /* is there */
        test_get_all(t, 0, 8);
        assert_int_equal(test_get(t, 8), 0);
        zo2_trunk_stats s = zo2_trunk_stats_of(t);
        assert_int_equal(s.full, 1);
        assert_int_equal(s.bytes, test_sum(0, 8));
        zo2_trunk_close(t);
        c.bytes = n_dirs ? 0 : test_sum(0, 9); /* what files have stays */
        OK(zo2_trunk_open(&t, &c));
        for (uint64_t i = 0; n_dirs == 0 && i < 9; i++)
            assert_int_equal(test_put(t, i), 1);
        test_get_all(t, 0, n_dirs ? 8 : 9);
        assert_int_equal(test_put(t, 12), 0);
        assert_int_equal(zo2_trunk_put(t, &(zo2_trunk_key){1, 2}, "", UINT64_MAX), 0);
        zo2_trunk_close(t);
        scratch_empty(dir[0]);
    }
    assert_true(zo2_trunk_entry_bytes(UINT64_MAX) == UINT64_MAX);
    assert_int_equal(zo2_trunk_entry_bytes(0), 48);
    assert_int_equal(zo2_trunk_entry_bytes(9), 64);
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* Byte by byte from TRUNK.md. */
static void the_bytes(void **state)
{
    (void)state;
    zo2_trunk *t = open_one(1, 1);
    test_put_all(t, 1, 6); /* 100, 0, 1, 7 and 9 bytes */
    zo2_trunk_close(t);
    unsigned char want[256 + 5 * 48 + 104 + 0 + 8 + 8 + 16] = "ZO2TRNK\n";
    memcpy(want + 8, (uint32_t[]){1, 256}, 8);
    memcpy(want + 24, (uint64_t[]){RUN, 42, 43}, 24);
    uint64_t hash = XXH3_64bits(want, 248), seed = hash;
    memcpy(want + 248, &hash, 8);
    size_t at = 256;
    for (uint64_t i = 1; i < 6; i++) {
        const zo2_trunk_key key = test_key(i);
        unsigned char *payload = sample_bytes(i, test_bytes(i));
        memcpy(want + at, "ZTRK", 4);
        memcpy(want + at + 8, (uint64_t[]){key.low, key.high, test_bytes(i)}, 24);
        hash = XXH3_64bits(payload, test_bytes(i));
        memcpy(want + at + 32, &hash, 8);
        hash = XXH3_64bits_withSeed(want + at, 40, seed);
        memcpy(want + at + 40, &hash, 8);
        memcpy(want + at + 48, payload, test_bytes(i));
        at += 48 + (test_bytes(i) + 7) / 8 * 8;
        free(payload);
    }
    assert_int_equal(at, sizeof want);
    size_t n;
    unsigned char *got = file_load(path, &n);
    assert_int_equal(n, sizeof want - 7); /* padding of the last one isn't written */
    assert_memory_equal(got, want, n);
    free(got);
}

static void opened_again(void **state)
{
    (void)state;
    for (uint32_t n_dirs = 1; n_dirs <= 2; n_dirs++) {
        for (uint64_t from = 0; from < 30; from += 6) {
            zo2_trunk *t = open_one(n_dirs, 1);
            test_get_all(t, 0, from);
            assert_int_equal(zo2_trunk_stats_of(t).entries, from);
            assert_int_equal(zo2_trunk_stats_of(t).bytes, test_sum(0, from));
            test_put_all(t, from, from + 6);
            zo2_trunk_close(t);
        }
        if (n_dirs == 1)
            scratch_empty(dir[0]);
    }
    assert_int_equal(heard.infos + heard.warnings, 0);
    /* in another order, one of them alone, and what is then added */
    const char *turned[] = {dir[1], dir[0]};
    zo2_trunk_config c = test_config(turned, 2);
    zo2_trunk *t;
    OK(zo2_trunk_open(&t, &c));
    test_get_all(t, 0, 30);
    zo2_trunk_close(t);
    c.n_dirs = 1;
    OK(zo2_trunk_open(&t, &c));
    const uint64_t some = zo2_trunk_stats_of(t).entries;
    assert_in_range(some, 5, 25);
    test_put_all(t, 0, 30);
    test_get_all(t, 0, 30);
    zo2_trunk_close(t);
    OK(zo2_trunk_open(&t, &c));
    test_get_all(t, 0, 30);
    zo2_trunk_close(t);
}

/* At every length: the entries that are whole are there, the file is cut behind them, and goes on. */
static void torn_at_every_length(void **state)
{
    (void)state;
    enum { HAS = 6 };
    zo2_trunk *t = open_one(1, 1);
    test_put_all(t, 0, HAS);
    zo2_trunk_close(t);
    size_t n;
    unsigned char *b = file_load(path, &n);
    for (size_t cut = 0; cut <= n; cut++) {
        uint64_t whole = 0, end = 256;
        while (whole < HAS && end + 48 + test_bytes(whole) <= cut)
            end += zo2_trunk_entry_bytes(test_bytes(whole++));
        for (int writable = 0; writable <= 1; writable++) {
            heard = (test_log){0};
            file_store(path, b, cut);
            t = open_one(1, writable);
            assert_int_equal(zo2_trunk_stats_of(t).entries, whole);
            test_get_all(t, 0, whole);
            for (uint64_t i = whole; i < HAS; i++)
                assert_int_equal(test_get(t, i), 0);
            assert_int_equal(test_put(t, HAS + 1), writable);
            zo2_trunk_close(t);
            assert_int_equal(heard.warnings, 0);
            const int short_head = cut > 0 && cut < 256;
            assert_int_equal(heard.infos, short_head || (writable && cut > end));
            size_t now;
            unsigned char *after = file_load(path, &now);
            if (!writable)
                assert_true(now == cut && memcmp(after, b, cut) == 0);
            free(after);
        }
        t = open_one(1, 0);
        test_get_all(t, 0, whole);
        test_get_all(t, HAS + 1, HAS + 2);
        assert_int_equal(zo2_trunk_stats_of(t).entries, whole + 1);
        zo2_trunk_close(t);
    }
    free(b);
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

/* The header: the file is begun anew. A record's: it and those behind it. A payload: this one, when it is read. */
static void a_changed_byte(void **state)
{
    (void)state;
    enum { HAS = 5 };
    zo2_trunk *t = open_one(1, 1);
    test_put_all(t, 0, HAS);
    zo2_trunk_close(t);
    size_t n;
    unsigned char *b = file_load(path, &n);
    for (size_t at = 0; at < n; at++) {
        uint64_t hit = 0, begin = 256; /* the entry with this byte */
        while (at >= 256 && at >= begin + zo2_trunk_entry_bytes(test_bytes(hit)))
            begin += zo2_trunk_entry_bytes(test_bytes(hit++));
        const int in_head = at < 256, in_record = !in_head && at < begin + 48;
        const int in_payload = !in_head && !in_record && at < begin + 48 + test_bytes(hit);
        heard = (test_log){0};
        file_store(path, b, n);
        file_poke(path, at, &(unsigned char){b[at] ^ (unsigned char)(1 + at % 255)}, 1);
        t = open_one(1, 1);
        assert_int_equal(heard.infos, in_head || in_record);
        if (in_head)
            LOGGED(heard, "it is begun anew");
        for (uint64_t i = 0; i < HAS; i++)
            assert_int_equal(test_get(t, i), in_head ? 0 : in_record ? i < hit : in_payload ? i != hit : 1);
        assert_int_equal(heard.warnings, in_payload);
        assert_int_equal(zo2_trunk_stats_of(t).damaged, in_payload);
        if (in_payload) {
            LOGGED(heard, path);
            LOGGED(heard, "damaged (checksum)");
        }
        test_put_all(t, 0, HAS);
        test_get_all(t, 0, HAS);
        zo2_trunk_close(t);
        t = open_one(1, 0);
        test_get_all(t, 0, HAS);
        assert_int_equal(zo2_trunk_stats_of(t).entries, HAS);
        zo2_trunk_close(t);
    }
    free(b);
}

/* One warning for a file, however many of its entries turn out damaged. */
static void warned_once(void **state)
{
    (void)state;
    zo2_trunk *t = open_one(2, 1);
    test_put_all(t, 0, 20);
    for (int d = 0; d < 2; d++) {
        char *p = in_dir(dir[d], RUN_TAG);
        size_t n;
        unsigned char *b = file_load(p, &n);
        for (size_t i = 256; i < n; i++)
            b[i] ^= 0x55;
        file_poke(p, 0, b, n);
        free(b);
        free(p);
    }
    uint64_t damaged = 0;
    for (uint64_t i = 0; i < 20; i++)
        damaged += !test_get(t, i);
    assert_int_equal(damaged, 18); /* two have no bytes */
    assert_int_equal(zo2_trunk_stats_of(t).damaged, damaged);
    assert_int_equal(zo2_trunk_stats_of(t).entries, 2);
    assert_int_equal(heard.warnings, 2);
    test_put_all(t, 0, 20);
    test_get_all(t, 0, 20);
    zo2_trunk_close(t);
}

/* Headers with right checksums that contradict the format, and records that do. */
static void right_checksums_wrong_contents(void **state)
{
    (void)state;
    zo2_trunk *t = open_one(1, 1);
    test_put_all(t, 0, 3);
    zo2_trunk_close(t);
    static const struct {
        size_t at;
        uint64_t value;
        const char *says; /* NULL: of the second record */
    } cases[] = {
        {0, 5, "doesn't begin as a trunk cache does"},
        {8, (UINT64_C(256) << 32) | 2, "of another version"},
        {8, (UINT64_C(128) << 32) | 1, "contradicts the format"},
        {16, 1, "of another version"},
        {24, 7, "of another run"},
        {32, 43, "of another model"},
        {40, 42, "of another model"},
        {48, 1, "contradicts the format"},
        {240, UINT64_C(1) << 56, "contradicts the format"},
        {312, 0x4C52545A, NULL},
        {312, (UINT64_C(1) << 32) | 0x4B52545A, NULL},
        {336, 101 + 48 + 8, NULL}, /* behind the end: 100 and 0 bytes are there */
        {336, UINT64_MAX, NULL},
        {336, UINT64_MAX - 47, NULL},
        {336, (UINT64_C(1) << 63), NULL},
    };
    size_t n;
    unsigned char *b = file_load(path, &n), *c = malloc(n);
    assert_non_null(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(c, b, n);
        memcpy(c + cases[i].at, &cases[i].value, 8);
        uint64_t hash = XXH3_64bits(c, 248);
        memcpy(c + 248, &hash, 8);
        hash = XXH3_64bits_withSeed(c + 312, 40, hash);
        memcpy(c + 312 + 40, &hash, 8);
        file_store(path, c, n);
        heard = (test_log){0};
        t = open_one(1, 1);
        assert_int_equal(test_get(t, 0), !cases[i].says);
        assert_int_equal(test_get(t, 1), 0);
        assert_int_equal(test_get(t, 2), 0);
        LOGGED(heard, cases[i].says ? cases[i].says : "are no whole entry and were cut off");
        test_put_all(t, 0, 3);
        zo2_trunk_close(t);
        t = open_one(1, 0);
        test_get_all(t, 0, 3);
        zo2_trunk_close(t);
    }
    free(b);
    free(c);
}

static void another_identity(void **state)
{
    (void)state;
    zo2_trunk *t = open_one(2, 1);
    test_put_all(t, 0, 10);
    zo2_trunk_close(t);
    size_t before, after;
    free(file_load(path, &before));
    zo2_trunk_config c = test_config(dirs, 2);
    c.identity.high++;
    c.log = test_log_fn;
    c.log_ud = &heard;
    c.writable = 0; /* a reader leaves it alone */
    OK(zo2_trunk_open(&t, &c));
    assert_int_equal(zo2_trunk_stats_of(t).entries, 0);
    LOGGED(heard, "it is left out");
    zo2_trunk_close(t);
    free(file_load(path, &after));
    assert_int_equal(before, after);
    c.writable = 1;
    OK(zo2_trunk_open(&t, &c));
    assert_int_equal(heard.infos, 4);
    LOGGED(heard, "of another model, place in it, or type; it is begun anew");
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(test_get(t, i), 0);
    test_put_all(t, 20, 23);
    zo2_trunk_close(t);
    OK(zo2_trunk_open(&t, &c));
    test_get_all(t, 20, 23);
    assert_int_equal(zo2_trunk_stats_of(t).entries, 3);
    zo2_trunk_close(t);
}

/* ---- files and folders ------------------------------------------------------------------------------------------- */

static void who_reads(void **state)
{
    (void)state;
    zo2_trunk *w, *r = open_one(1, 0);
    assert_int_equal(count_files(dir[0], "trunk"), 0); /* makes none */
    assert_int_equal(test_put(r, 0), 0);
    assert_int_equal(test_get(r, 0), 0);
    assert_int_equal(zo2_trunk_stats_of(r).full, 0);
    zo2_trunk_close(r);
    w = open_one(1, 1);
    test_put_all(w, 0, 5);
    r = open_one(1, 0); /* beside the writer */
    test_get_all(r, 0, 5);
    assert_int_equal(test_put(r, 3), 1);
    assert_int_equal(test_put(r, 5), 0);
    test_put_all(w, 5, 8);
    assert_int_equal(test_get(r, 5), 0);
    assert_int_equal(heard.infos + heard.warnings, 0);
    zo2_trunk *second = open_one(1, 1); /* another writer only reads */
    assert_int_equal(heard.warnings, 1);
    LOGGED(heard, "in use by another process");
    test_get_all(second, 0, 8);
    assert_int_equal(test_put(second, 9), 0);
    FAILS(BUSY, zo2_trunk_remove(NULL, RUN, dirs, 1));
    SAYS(RUN_TAG);
    zo2_trunk_close(second);
    zo2_trunk_close(w);
    /* the file goes while somebody reads: what was open stays */
    OK(zo2_trunk_remove(NULL, RUN, dirs, 1));
    test_get_all(r, 0, 5);
    /* and is emptied: then entries are gone, not wrong */
    w = open_one(1, 1);
    test_put_all(w, 0, 5);
    zo2_trunk_close(r);
    r = open_one(1, 0);
    assert_int_equal(truncate(path, 300), 0);
    heard = (test_log){0};
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(test_get(r, i), i == 2); /* which has no bytes */
    assert_int_equal(heard.warnings, 1);
    zo2_trunk_close(r);
    zo2_trunk_close(w);
}

static void removed(void **state)
{
    (void)state;
    zo2_trunk_config c = test_config(dirs, 2);
    for (uint64_t run = 1; run <= 2; run++) {
        zo2_trunk *t;
        c.run = run;
        OK(zo2_trunk_open(&t, &c));
        test_put_all(t, 0, 4);
        zo2_trunk_close(t);
    }
    OK(zo2_trunk_remove(&zo2_io_posix, 2, dirs, 2));
    OK(zo2_trunk_remove(&zo2_io_posix, 2, dirs, 2)); /* none left */
    OK(zo2_trunk_remove(&zo2_io_posix, 2, (const char *const[]){"/nowhere/at/all", path}, 2));
    assert_int_equal(count_files(dir[0], "trunk-0000000000000001.zo2t"), 1);
    assert_int_equal(count_files(dir[0], "trunk-0000000000000002.zo2t"), 0);
    assert_int_equal(count_files(dir[1], "trunk"), 1);
    zo2_trunk *t;
    c.run = 1;
    OK(zo2_trunk_open(&t, &c));
    test_get_all(t, 0, 4);
    zo2_trunk_close(t);
}

/* What the user can mend before the first step. */
static void refused(void **state)
{
    (void)state;
    zo2_trunk *t;
    const char *const twice[] = {dir[0], dir[0]};
    zo2_trunk_config c = test_config(twice, 2);
    FAILS(ARG, zo2_trunk_open(&t, &c));
    SAYS("name each folder of the trunk cache once");
    assert_null(t);
    c.n_dirs = ZO2_TRUNK_MAX_FILES + 1;
    FAILS(ARG, zo2_trunk_open(&t, &c));
    SAYS("at most 16");
    const char *missing = "/nowhere/at/all";
    c = test_config(&missing, 1);
    FAILS(NOTFOUND, zo2_trunk_open(&t, &c));
    SAYS("/nowhere/at/all");
    c.writable = 0;
    OK(zo2_trunk_open(&t, &c));
    assert_int_equal(test_get(t, 0), 0);
    zo2_trunk_close(t);
    zo2_trunk_close(NULL);
    /* a folder where the file would be */
    unlink(path);
    assert_int_equal(mkdir(path, 0777), 0);
    c = test_config(dirs, 1);
    assert_true(zo2_trunk_open(&t, &c) != ZO2_OK);
    SAYS(RUN_TAG);
    c.writable = 0;
    FAILS(EXISTS, zo2_trunk_open(&t, &c));
    SAYS("remove it");
    assert_int_equal(rmdir(path), 0);
    /* folders are made */
    char *deeper = in_dir(dir[0], "new");
    c = test_config((const char *const *)&deeper, 1);
    OK(zo2_trunk_open(&t, &c));
    test_put_all(t, 0, 2);
    zo2_trunk_close(t);
    OK(zo2_trunk_remove(NULL, RUN, (const char *const *)&deeper, 1));
    assert_int_equal(rmdir(deeper), 0);
    free(deeper);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(in_memory),
        TEST(in_files),
        TEST(many),
        TEST(large),
        TEST(full),
        TEST(the_bytes),
        TEST(opened_again),
        TEST(torn_at_every_length),
        TEST(a_changed_byte),
        TEST(warned_once),
        TEST(right_checksums_wrong_contents),
        TEST(another_identity),
        TEST(who_reads),
        TEST(removed),
        TEST(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
