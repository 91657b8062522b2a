/* fuzzing.h: what the fuzz targets share. A target takes bytes, feeds them to a parser through files in memory, and
 * asserts properties: what parses writes back equal, a refusal says why, damage is noticed. Nothing is shared between
 * two inputs but caches that can't show.
 *
 * Input: most targets read a mode byte first. Bit SEALED makes the structure's checksums and lengths right before it is
 * parsed, so that the fuzzer gets past them; without it the bytes go in as they are. */
#ifndef ZO2_TESTS_FUZZ_FUZZING_H
#define ZO2_TESTS_FUZZ_FUZZING_H

#include "storage/io/io.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one function of a target. Returns 0; a finding aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- properties -------------------------------------------------------------------------------------------------- */

/* Says what doesn't hold, with the last error, and aborts. */
#define FUZZ_CHECK(condition)                              \
    do {                                                   \
        if (!(condition))                                  \
            fuzz_violated(__FILE__, __LINE__, #condition); \
    } while (0)

_Noreturn void fuzz_violated(const char *file, int line, const char *what);

/* Runs a call with an empty last error. ZO2_OK: true. A refusal: false, having checked that it has a message of
 * printable text on one line and a status that bad input may have (no internal error, no I/O error). */
#define FUZZ_OK(call) (fuzz_clear(), fuzz_accepted(__FILE__, __LINE__, #call, (call)))
void fuzz_clear(void);
int fuzz_accepted(const char *file, int line, const char *call, zo2_status s);

/* ---- input ------------------------------------------------------------------------------------------------------- */

typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

/* The next byte, number or bytes; 0 or fewer where the input ends. */
uint8_t fuzz_u8(fuzz_input *in);
uint16_t fuzz_u16(fuzz_input *in);
const uint8_t *fuzz_bytes(fuzz_input *in, size_t want, size_t *got);
/* The text up to the next byte 0x1E ("record separator", which no JSON holds), or all that is left. */
const char *fuzz_text(fuzz_input *in, size_t *bytes);

/* The bytes of a file. With `in_parts` the input is {u16 length, bytes} again and again, each part followed by zeros up to
 * a multiple of 4,096 bytes, as packs and snapshots have it: the fuzzer doesn't spend its time on padding. Else the input
 * as it is, one part. data: malloc'ed. */
enum { FUZZ_PARTS = 64, FUZZ_ALIGN = 4096 };
typedef struct fuzz_image {
    unsigned char *data; /* [size] */
    size_t size;
    int parts;
    size_t part[FUZZ_PARTS]; /* where it begins */
    size_t length[FUZZ_PARTS];
} fuzz_image;
void fuzz_image_make(fuzz_image *m, fuzz_input *in, int in_parts);

/* A number that depends on all bytes: to choose by it without spending input. */
uint64_t fuzz_digest(const void *data, size_t size);

/* ---- files in memory --------------------------------------------------------------------------------------------- */

/* Zeroed memory that the whole program shares as file number `slot`: replaces its contents and returns its path. */
enum { FUZZ_SLOTS = 4 };
const char *fuzz_file(int slot, const void *data, size_t size);
/* What it holds now; malloc'ed. */
unsigned char *fuzz_file_content(int slot, size_t *size);

/* A folder in memory where the system has one, removed at exit. fuzz_dir_clear() removes the files in it. */
const char *fuzz_dir(void);
void fuzz_dir_clear(void);
/* Writes dir/name. The path is malloc'ed. */
char *fuzz_dir_file(const char *name, const void *data, size_t size);

/* zo2_io_posix without syncs: the files are gone with the process anyway. */
extern const zo2_io fuzz_io;

/* malloc that ends the process when there is nothing; for the targets' own needs. Never NULL, also for 0. */
void *fuzz_alloc(size_t bytes);

/* ---- what a program prints --------------------------------------------------------------------------------------- */

/* Between begin and end, what goes to stdout and stderr is caught: *out and *err, malloc'ed, NUL-terminated. */
void fuzz_catch_begin(void);
void fuzz_catch_end(char **out, char **err);

#endif
