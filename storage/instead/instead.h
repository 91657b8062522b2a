/* instead.h: what lies where something else was wanted. Files are saved under names that promise more than they hold (a git-lfs
 * pointer, a web page that says "not found", half a download), other formats are taken for ours, and folders are given where a file in
 * them was meant. One table of what is recognised serves every place that opens a file of unknown origin. */
#ifndef ZO2_STORAGE_INSTEAD_INSTEAD_H
#define ZO2_STORAGE_INSTEAD_INSTEAD_H

#include "engine/zo2.h"

#include <stddef.h>
#include <stdint.h>

/* What was wanted: what is just that is no news. */
typedef enum zo2_wanted {
    ZO2_WANT_JSON = 1,         /* config.json, an index, tokenizer files */
    ZO2_WANT_SAFETENSORS = 2,  /* a file of weights */
    ZO2_WANT_MODEL_FOLDER = 4, /* with config.json and weights */
    ZO2_WANT_PACK = 8,
    ZO2_WANT_JOURNAL = 16,
    ZO2_WANT_RUN = 32, /* a run directory */
    ZO2_WANT_BUNDLE = 64,
    ZO2_WANT_TORCH = 128, /* a file of weights that PyTorch saved */
} zo2_wanted;

/* A kind of thing that is recognised. */
typedef struct zo2_origin {
    const char *what;   /* "a git-lfs pointer, not the file itself" */
    const char *advice; /* what to do */
    unsigned fits;      /* zo2_wanted bits of those who want it, or to whom it isn't known to be wrong */
    int placeholder;    /* it stands for another file: nobody wants it, under any name */
} zo2_origin;

/* By a file's first n bytes, all if size is n; NULL if nothing is recognised. */
const zo2_origin *zo2_origin_of_bytes(const void *data, size_t n, uint64_t size);

/* 1 if by its name a file may hold a model's weights as PyTorch saves them: *.bin, *.pt, *.pth, *.ckpt, but no adapter, no trainer's
 * state, nothing of a distributed checkpoint. */
int zo2_is_torch_name(const char *name);

/* Ranks below this are those of models in formats that no reader takes. */
#define ZO2_ORIGIN_FOREIGN 5u

/* By the name alone of a file or a folder's entry; NULL. *rank: how telling it is among others in a folder, 0 the most. */
const zo2_origin *zo2_origin_of_name(const char *name, unsigned *rank);

/* s, the status of an error about path, with a message that says what is at path instead and what to do, if that is recognised; else
 * the last error stays. Looks at names and first bytes; path may be missing, a file or a folder. */
zo2_status zo2_explain_file(zo2_status s, const char *path, zo2_wanted wanted);

/* The same for a folder in which something was looked for: the model is in a folder below, a download isn't complete, ...
 * ZO2_ERR_UNSUPPORTED: its weights are in another format. */
zo2_status zo2_explain_folder(zo2_status s, const char *path, zo2_wanted wanted);

/* The path below dir (or dir itself) of a folder with config.json and weights, malloc'ed; NULL if there is none. Of a trainer's
 * checkpoint-N it is the newest, of a hub cache's snapshots that of its main branch. */
char *zo2_find_model_folder(const char *dir);

#endif
