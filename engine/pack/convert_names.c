/* convert_names.c: names that a wrapper has added to. PyTorch's DistributedDataParallel, FSDP, torch.compile, PEFT and trainers
 * save a model's tensors under the names of the wrapped module: the model's own with something in front or in between. */
#include "engine/model/place.h"
#include "engine/pack/convert_job.h"
#include "engine/pack/pieces.h"
#include "storage/checkpoint/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NAME 512 /* longer ones are nobody's */

/* Parts of a name that no model has, wherever they stand. */
static const char *const wrapper_parts[] = {
    "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module",
};

static int is_wrapper_part(const char *part, size_t n)
{
    for (size_t i = 0; i < sizeof wrapper_parts / sizeof *wrapper_parts; i++)
        if (strlen(wrapper_parts[i]) == n && memcmp(wrapper_parts[i], part, n) == 0)
            return 1;
    return 0;
}

/* name without those parts, in buf (which is large enough). */
static void drop_parts(const char *name, char *buf)
{
    size_t at = 0;
    for (const char *part = name;;) {
        size_t n = strcspn(part, ".");
        if (!is_wrapper_part(part, n) || !part[n]) { /* the last part is the tensor's own */
            memcpy(buf + at, part, n);
            at += n;
            buf[at++] = part[n];
        }
        if (!part[n])
            return;
        part += n + 1;
    }
}

const char *zo2_unwrap(const zo2_wrapping *w, const char *name, char *buf, size_t n)
{
    size_t prefix = strlen(w->prefix);
    if (w->parts && strlen(name) < n) {
        drop_parts(name, buf);
        name = buf;
    }
    return strncmp(name, w->prefix, prefix) == 0 ? name + prefix : name;
}

/* ---- looking for one ---------------------------------------------------------------------------------------------------- */

/* 1 if the tensor has a place in one that no piece is known of. */
static int fills_a_gap(const zo2_convert_job *j, zo2_place_fn place, const zo2_stored *t)
{
    zo2_place at;
    for (uint32_t i = 0; place(&j->arch, t, i, &at); i++)
        if (!zo2_pieces_of(&j->pieces, zo2_pieces_tensor(&j->pieces, at.tensor)->id)->n)
            return 1;
    return 0;
}

static int any_parts(const zo2_convert_job *j)
{
    char bare[MAX_NAME];
    for (uint64_t i = 0; i < zo2_checkpoint_count(j->source); i++) {
        const char *name = zo2_checkpoint_tensor(j->source, i).name;
        if (strlen(name) >= sizeof bare)
            continue;
        drop_parts(name, bare);
        if (strcmp(name, bare) != 0)
            return 1;
    }
    return 0;
}

#define PREFIXES 64 /* that are counted */

/* A prefix, and how many stored tensors would fill gaps without it. */
typedef struct candidate {
    zo2_wrapping w;
    uint64_t n;
} candidate;

static uint32_t count_prefix(candidate *all, uint32_t n, const char *prefix, size_t bytes)
{
    uint32_t i = 0;
    if (bytes >= sizeof all->w.prefix)
        return n;
    while (i < n && (memcmp(all[i].w.prefix, prefix, bytes) != 0 || all[i].w.prefix[bytes]))
        i++;
    if (i == PREFIXES)
        return n;
    if (i == n) {
        memset(&all[n], 0, sizeof *all);
        memcpy(all[n++].w.prefix, prefix, bytes);
    }
    all[i].n++;
    return n;
}

static int most_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : strcmp(x->w.prefix, y->w.prefix);
}

uint32_t zo2_find_wrappings(const zo2_convert_job *j, zo2_place_fn place, zo2_wrapping *out, uint32_t max)
{
    candidate all[PREFIXES];
    uint32_t n = 0, given = 0;
    int parts = any_parts(j);
    for (uint64_t i = 0; i < zo2_checkpoint_count(j->source); i++) {
        char bare[MAX_NAME];
        zo2_stored t = zo2_checkpoint_tensor(j->source, i);
        if (strlen(t.name) >= sizeof bare)
            continue;
        drop_parts(t.name, bare);
        /* The longest ending that is a tensor: the least is taken away. */
        for (const char *ending = bare; ending; ending = strchr(ending, '.') ? strchr(ending, '.') + 1 : NULL) {
            t.name = ending;
            if (!fills_a_gap(j, place, &t))
                continue;
            n = count_prefix(all, n, bare, (size_t)(ending - bare));
            break;
        }
    }
    qsort(all, n, sizeof *all, most_first);
    for (; given < n && given < max; given++) {
        out[given] = all[given].w;
        out[given].parts = parts;
    }
    return given;
}
