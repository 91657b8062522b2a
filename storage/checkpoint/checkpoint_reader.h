/* checkpoint_reader.h: what a format has to offer, and the list of formats. To add one: a file that defines
 * zo2_reader_NAME, and a row below. */
#ifndef ZO2_STORAGE_CHECKPOINT_CHECKPOINT_READER_H
#define ZO2_STORAGE_CHECKPOINT_CHECKPOINT_READER_H

#include "storage/checkpoint/checkpoint.h"
#include "storage/io/listing.h"

/* In the order in which they are tried: of a model that is there in two formats, the first one's is read. */
#define ZO2_CHECKPOINT_READERS(X) \
    X(safetensors)                \
    X(metaseq)                    \
    X(torch)                      \
    X(gguf)

/* One format. `model` is the reader's own handle; nothing but close() changes it. */
struct zo2_checkpoint_reader {
    const char *name;
    const char *naming;                                 /* zo2_checkpoint_naming(); NULL: Hugging Face's */
    int (*recognise)(const zo2_listing *place);         /* by the names in it; a single file by its first bytes */
    zo2_status (*open)(void **model, const char *path); /* *model is NULL on failure */
    void (*close)(void *model);                         /* NULL is fine */
    uint64_t (*count)(const void *model);
    zo2_stored (*tensor)(const void *model, uint64_t i);                              /* parts 0: it has none */
    uint64_t (*find)(const void *model, const char *name);                            /* count() if absent */
    const char *(*absent)(const void *model, const char *name, char *text, size_t n); /* checkpoint.h */
    void (*oddities)(const void *model, void (*say)(void *ud, const char *text), void *ud);
    zo2_status (*read)(const void *model, uint64_t i, uint64_t first, uint64_t n, void *dst); /* thread-safe */
    /* zo2_checkpoint_file(); NULL: it has none */
    zo2_status (*file)(const void *model, const char *name, char **data, size_t *bytes, char *why, size_t n);
};

#define X(name) extern const zo2_checkpoint_reader zo2_reader_##name;
ZO2_CHECKPOINT_READERS(X)
#undef X

#endif
