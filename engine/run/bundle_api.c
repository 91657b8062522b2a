/* bundle_api.c: what a bundle tells of itself. Those who write one and apply it are in engine/export. */
#include "engine/base/finish.h"
#include "engine/base/opts.h"
#include "engine/run/settings.h"
#include "storage/io/io.h"
#include "storage/run/bundle.h"
#include "storage/run/journal.h"

#include <stdlib.h>

struct zo2_bundle {
    zo2_bundlefile *file;
    uint64_t skipped;
};

static uint64_t count_skipped(const zo2_bundlefile *f)
{
    uint64_t n = 0;
    zo2_journal_record r;
    for (uint64_t step = 0; step < zo2_bundlefile_steps(f); step++) {
        zo2_bundlefile_at(f, step, &r);
        n += r.skipped != 0;
    }
    return n;
}

zo2_status zo2_bundle_open(zo2_bundle **out, const char *path)
{
    if (!out || !path)
        return zo2_error(ZO2_ERR_ARG, "zo2_bundle_open: out and path are needed");
    *out = NULL;
    zo2_bundle *b = calloc(1, sizeof *b);
    zo2_status s = b ? zo2_bundlefile_open(&b->file, &zo2_io_posix, path)
                     : zo2_error(ZO2_ERR_NOMEM, "out of memory to open %s", path);
    if (!s)
        s = zo2_settings_check_replay(zo2_bundlefile_settings(b->file), "the bundle", path);
    if (s) {
        zo2_bundle_close(b);
        return s;
    }
    b->skipped = count_skipped(b->file);
    *out = b;
    return zo2_finish(ZO2_OK);
}

void zo2_bundle_close(zo2_bundle *b)
{
    if (!b)
        return;
    zo2_bundlefile_close(b->file);
    free(b);
}

zo2_status zo2_bundle_get_info(const zo2_bundle *b, zo2_bundle_info *out)
{
    if (!b || !out)
        return zo2_error(ZO2_ERR_ARG, "zo2_bundle_get_info: bundle and out are needed");
    *out = (zo2_bundle_info){
        .version = ZO2_BUNDLE_VERSION,
        .file_bytes = zo2_bundlefile_bytes(b->file),
        .model_hash = zo2_bundlefile_settings(b->file)->model_hash,
        .steps = zo2_bundlefile_steps(b->file),
        .skipped = b->skipped,
    };
    return zo2_finish(ZO2_OK);
}

void zo2_bundle_get_opts_sized(const zo2_bundle *b, zo2_engine_opts *out, size_t size)
{
    if (!b)
        return;
    zo2_engine_opts o;
    zo2_engine_opts_init(&o);
    zo2_settings_to_opts(zo2_bundlefile_settings(b->file), &o);
    zo2_opts_give(out, size, &o, sizeof o);
}
