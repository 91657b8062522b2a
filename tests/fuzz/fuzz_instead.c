/* fuzz_instead.c: what a file is that isn't what was wanted, by its first bytes and by its name.
 *
 * Input: a byte that says what was wanted, a name up to 0x1E, the file.
 *
 * Properties: no byte behind the given ones is read; a longer file only changes answers that are for small ones; an explanation is one
 * printable line that names the path, keeps the status, and is never of what was wanted. */
#include "storage/instead/instead.h"
#include "tests/fuzz/fuzzing.h"

static void by_name(const char *text, size_t n)
{
    char name[256];
    unsigned rank = 99;
    n = n < sizeof name ? n : sizeof name - 1;
    memcpy(name, text, n);
    name[n] = '\0';
    const zo2_origin *is = zo2_origin_of_name(name, &rank);
    FUZZ_CHECK(!is || (is->what && is->advice && rank < 99 && !is->placeholder));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    const unsigned wanted = 1u << fuzz_u8(&in) % 6;
    size_t n;
    const char *name = fuzz_text(&in, &n);
    by_name(name, n);

    in.left = in.left < 4096 ? in.left : 4096; /* no more is looked at */
    unsigned char *exact = fuzz_alloc(in.left);
    if (in.left)
        memcpy(exact, in.at, in.left);
    const zo2_origin *is = zo2_origin_of_bytes(exact, in.left, in.left),
                     *large = zo2_origin_of_bytes(exact, in.left, UINT64_MAX);
    FUZZ_CHECK(!is || (is->what[0] && is->advice[0]));
    FUZZ_CHECK(is == large || !is || is->placeholder || !in.left);
    free(exact);

    const char *path = fuzz_file(0, in.at, in.left);
    fuzz_clear();
    (void)zo2_error(ZO2_ERR_FORMAT, "as before");
    FUZZ_CHECK(
        !fuzz_accepted(__FILE__, __LINE__, "explain", zo2_explain_file(ZO2_ERR_FORMAT, path, (zo2_wanted)wanted)));
    const int news = is && !(is->fits & wanted);
    FUZZ_CHECK(news == (strcmp(zo2_last_error(), "as before") != 0));
    FUZZ_CHECK(!news || (strstr(zo2_last_error(), path) && strstr(zo2_last_error(), is->what)));
    return 0;
}
