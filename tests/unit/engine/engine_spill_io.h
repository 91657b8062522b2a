/* engine_spill_io.h: the file system under a whole engine. Every file of a run goes through zo2_io_posix, which these programs are
 * linked with a table of the test's own for (--wrap, tests/CMakeLists.txt): journal, snapshots and spill are failed and cut
 * where the test wants. io_uring's calls can't be, so lanes then move planes through the table, too. */
#ifndef ZO2_TESTS_UNIT_ENGINE_ENGINE_SPILL_IO_H
#define ZO2_TESTS_UNIT_ENGINE_ENGINE_SPILL_IO_H

#include "storage/spill/spill_format.h"
#include "tests/unit/engine/engine_spill_testing.h"

#include <glob.h>
#include <stdlib.h>

extern const zo2_io __real_zo2_io_posix;
zo2_core_spill __real_zo2_engine_spill(zo2_engine *e);

extern zo2_io __wrap_zo2_io_posix; /* what the library has as zo2_io_posix */
zo2_io __wrap_zo2_io_posix;
static zo2_aio_choice lanes_queue;

zo2_core_spill __wrap_zo2_engine_spill(zo2_engine *e);
zo2_core_spill __wrap_zo2_engine_spill(zo2_engine *e)
{
    zo2_core_spill s = __real_zo2_engine_spill(e);
    s.aio = lanes_queue;
    return s;
}

/* The system's own calls, and io_uring where it is to be had. From the next open on: files know the table they were opened with. */
static inline void io_real(void)
{
    __wrap_zo2_io_posix = __real_zo2_io_posix;
    lanes_queue = ZO2_AIO_AUTO;
}

static inline int no_sync(void *ud, int fd)
{
    (void)ud, (void)fd;
    return 0;
}

/* What a process has written survives its death whether it reached the disk or not: nobody needs to wait for that. */
static inline zo2_io without_syncs(void)
{
    zo2_io io = __real_zo2_io_posix;
    io.fdatasync = io.fsync = no_sync;
    return io;
}

static inline void io_without_syncs(void)
{
    __wrap_zo2_io_posix = without_syncs();
    lanes_queue = ZO2_AIO_AUTO;
}

static inline void io_table(zo2_io table)
{
    __wrap_zo2_io_posix = table;
    lanes_queue = ZO2_AIO_TABLE;
}

/* To the end of a run, with snapshots after the second step and the fifth. */
static inline zo2_status train_on(zo2_engine *e)
{
    zo2_engine_state state;
    zo2_status failed = ZO2_OK;
    for (zo2_engine_get_state(e, &state); state.step < STEPS && !failed; zo2_engine_get_state(e, &state)) {
        failed = step(e, NULL);
        if (!failed && state.step % 3 == 1)
            failed = zo2_snapshot(e);
    }
    return failed;
}

static inline zo2_status train_alone(session *s)
{
    zo2_engine *e;
    use_own_dirs(s);
    zo2_status failed = zo2_engine_open(&e, s->pack, s->run, &s->o);
    if (failed)
        return failed;
    failed = train_on(e);
    zo2_engine_close(e);
    return failed;
}

/* Goes on to the end: the journal, the masters and what evaluations give are those of a run that nothing happened to. */
static inline void must_end_as(const session *ram, const outcome *want, session *s)
{
    outcome got = {0};
    zo2_engine *e = start(s);
    finish(e, &got);
    zo2_engine_close(e);
    assert_true(got.hash == want->hash);
    assert_memory_equal(got.eval, want->eval, sizeof got.eval);
    assert_same_journal(ram, s);
}

/* A run that begins. Its name is that of the last one, which is gone. */
static inline session fresh_spilled(const zo2_engine_opts *o, const char *name, room r)
{
    char command[2400];
    session s = spilled(*o, 0, name);
    spill_to(&s, r);
    snprintf(command, sizeof command, "rm -rf '%s' '%s'.spill*", s.run, s.run);
    assert_int_equal(system(command), 0);
    return s;
}

/* The file of a run in one of its folders. */
static inline char *spill_file_of(const session *s, int dir)
{
    char pattern[600];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*.zo2x", s->dir[dir]);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    char *path = strdup(found.gl_pathv[0]);
    globfree(&found);
    return path;
}

/* Where its slots begin, behind the table of their headers. */
static inline uint64_t slots_at(const char *spill_file)
{
    zo2_spill_front front;
    FILE *f = fopen(spill_file, "rb");
    assert_non_null(f);
    assert_int_equal(fread(&front, sizeof front, 1, f), 1);
    fclose(f);
    return front.classes[0].offset;
}

#endif
