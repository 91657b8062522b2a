/* zo2.h: the public interface of libzo2, the only header a program that links the library includes.
 *
 * zo2 fine-tunes every parameter of a language model with zeroth-order optimisation: two perturbed forward passes a
 * step and no backward pass (SPSA / MeZO, arXiv 2305.17333; ZO2, arXiv 2503.12668). fp32 master weights stay in host
 * memory; the device sees one decoded tile of one matrix at a time.
 *
 * Conventions.
 * Errors: functions return a zo2_status; ZO2_OK is 0, errors are negative. After an error zo2_last_error() on the same
 * thread says what was wrong, where, and what to do. A NULL where none is allowed is ZO2_ERR_ARG. Functions that make a
 * handle or a file leave none behind when they fail.
 * Threads: one caller at a time per handle. An engine refuses a second caller, and its own callbacks, with
 * ZO2_ERR_BUSY; callbacks may call zo2_step_abort() and zo2_engine_get_...(). Different handles are independent and may
 * be used at once. Functions without a handle may be called from any thread. A forked child has no threads of the library:
 * with an engine or a measurement that its parent made it may call _close(), which frees, and zo2_engine_get_...(); others
 * return ZO2_ERR_UNSUPPORTED. What it opens itself works. The library's own threads block all
 * signals and have stacks of 1 MiB; a thread that calls needs one of 256 KiB, beside what its own callbacks take.
 * Lifetime: strings and arrays that go in are the caller's and only read during the call; strings in option structs are
 * copied. Strings that come out live as long as the handle, or for ever where the text says static.
 * Structs: those that begin with struct_size may get fields at their end with the same soname, others never change with
 * it. A program compiled with an older or newer header is served: functions read and fill as many bytes as struct_size
 * says, and fields it doesn't have keep their defaults. The functions that set struct_size are told the caller's by an
 * inline function; other languages call those whose names end in _sized. A struct_size of 0 is refused (ZO2_ERR_ARG), of
 * results as of options. Zero in any other field of an option struct means the documented default; where 0 is a value of
 * its own (at_step, lr, ...), its default is another (NAN, negative, UINT64_MAX), which the _init function sets, and a
 * struct that was zeroed and not initialised gets it as well.
 * Units: sizes are bytes and times seconds unless named otherwise; arrays need the alignment of their element type.
 * Process: the library never prints, never exits and never reads the environment. It changes no process-wide state:
 * floating-point environment and BLAS threads are the caller's again on return, and the caller's change no bit. Callbacks
 * run with the default floating-point environment. OpenBLAS is loaded with the first cpu backend, that is by
 * zo2_engine_open(), zo2_measure_open() and a zo2_plan_estimate() that measures, and starts no threads: a program that uses
 * the same OpenBLAS and wants its threads loads it before, by linking it, or calls openblas_set_num_threads(). */
#ifndef ZO2_H
#define ZO2_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(ZO2_BUILDING) && defined(__GNUC__)
#define ZO2_API __attribute__((visibility("default")))
#else
#define ZO2_API
#endif

#if defined(__GNUC__)
#define ZO2_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define ZO2_PRINTF(fmt, args)
#endif

/* ---- status ------------------------------------------------------------------------------------------------------ */

/* One list feeds the enum, zo2_strerror() and its test; numbers never change. */
#define ZO2_STATUS_MAP(X)                                                \
    X(OK, 0, "success")                                                  \
    X(ERR_ARG, -1, "invalid argument")                                   \
    X(ERR_NOMEM, -2, "memory budget exceeded or out of memory")          \
    X(ERR_IO, -3, "input/output error")                                  \
    X(ERR_FORMAT, -4, "malformed or unsupported file")                   \
    X(ERR_NOTFOUND, -5, "not found")                                     \
    X(ERR_EXISTS, -6, "already exists")                                  \
    X(ERR_BUSY, -7, "in use by another process or call")                 \
    X(ERR_MISMATCH, -8, "settings, model or data differ from the run's") \
    X(ERR_NONFINITE, -9, "non-finite or unrepresentable weight")         \
    X(ERR_DEVICE, -10, "device error")                                   \
    X(ERR_CANCELLED, -11, "cancelled")                                   \
    X(ERR_NOSPACE, -12, "no space left on device")                       \
    X(ERR_UNSUPPORTED, -13, "not supported")                             \
    X(ERR_INTERNAL, -14, "internal error")

typedef enum zo2_status {
#define X(name, value, text) ZO2_##name = value,
    ZO2_STATUS_MAP(X)
#undef X
} zo2_status;

/* Static English text for a status code; "unknown status" for other numbers. Thread-safe. */
ZO2_API const char *zo2_strerror(zo2_status s);

/* The particulars of the error that the last call on this thread returned, "" if it returned ZO2_OK or there was none: one
 * line; control characters, which names in files may have, are '?'. Calls that return no status leave it as it is. Valid
 * until the next zo2 call here. */
ZO2_API const char *zo2_last_error(void);

/* Sets this thread's last error to the formatted text (cut at 1,023 bytes) and returns s. For callbacks that want to
 * say why they failed. A worker's error reaches the caller's thread with its text. */
ZO2_API zo2_status zo2_error(zo2_status s, const char *fmt, ...) ZO2_PRINTF(2, 3);

/* Library version, for example "0.1.0". */
ZO2_API const char *zo2_version(void);

/* ---- enumerations: stored in files, numbers never change -----------------------------------------------------------
 */

typedef enum zo2_dtype { ZO2_F32 = 1, ZO2_F16 = 2, ZO2_BF16 = 3 } zo2_dtype; /* 0: auto */

typedef enum zo2_wire {
    ZO2_WIRE_BF16 = 1, /* default */
    ZO2_WIRE_FP32 = 2,
    ZO2_WIRE_E4M3 = 3, /* fp8-e4m3 with one bf16 scale per 128 weights of a row */
    ZO2_WIRE_E5M2 = 4, /* fp8-e5m2 with the same scales */
    ZO2_WIRE_FP16 = 5, /* IEEE half; weights of magnitude 65520 and more are refused */
    ZO2_WIRE_F10 = 6,  /* small floats of 2 bits of exponent, 7 of mantissa, a bf16 scale per 128 weights of a row */
    ZO2_WIRE_F8 = 7,   /* the same, 5 of mantissa */
    ZO2_WIRE_F6 = 8,   /* the same, 3 of mantissa */
    ZO2_WIRE_BF12 = 9, /* the bf16 wire's values in 12.1 bits: for a bf16 checkpoint's weights that nothing tunes */
    ZO2_WIRE_I4 = 10,  /* 16 values and a bf16 scale per 32 weights of a row: for what nothing tunes and has to fit */
} zo2_wire;

typedef enum zo2_dist { ZO2_GAUSSIAN = 1, ZO2_RADEMACHER = 2 } zo2_dist; /* default: gaussian */

typedef enum zo2_schedule { ZO2_CONSTANT = 1, ZO2_LINEAR = 2, ZO2_COSINE = 3 } zo2_schedule;

/* Which group comes next where groups of tensors take turns: from the head down, from the embeddings up, or drawn by the seed, each
 * once a round. */
typedef enum zo2_tune_order { ZO2_ORDER_TOP = 1, ZO2_ORDER_BOTTOM = 2, ZO2_ORDER_RANDOM = 3 } zo2_tune_order;

typedef enum zo2_backend_kind {
    ZO2_BACKEND_AUTO = 0, /* the fastest that works here */
    ZO2_BACKEND_CPU = 1,
    ZO2_BACKEND_CUDA = 2, /* ZO2_ERR_UNSUPPORTED in builds without it */
    ZO2_BACKEND_NULL = 3, /* no arithmetic: tests of scheduling and memory only */
} zo2_backend_kind;

/* Names as on the command line ("fp8-e4m3", "rademacher", ...): the static name of a value, NULL for unknown ones; and
 * the value of a name, 0 for unknown ones. Thread-safe. */
ZO2_API const char *zo2_dtype_name(zo2_dtype v);
ZO2_API const char *zo2_wire_name(zo2_wire v);
ZO2_API const char *zo2_dist_name(zo2_dist v);
ZO2_API const char *zo2_schedule_name(zo2_schedule v);
ZO2_API const char *zo2_tune_order_name(zo2_tune_order v);
ZO2_API const char *zo2_backend_name(zo2_backend_kind v);
ZO2_API zo2_dtype zo2_dtype_parse(const char *name); /* "fp32", "fp16", "bf16" */
ZO2_API zo2_wire zo2_wire_parse(const char *name);
ZO2_API zo2_dist zo2_dist_parse(const char *name);
ZO2_API zo2_schedule zo2_schedule_parse(const char *name);
ZO2_API zo2_tune_order zo2_tune_order_parse(const char *name); /* "top", "bottom", "random" */
ZO2_API int zo2_backend_parse(const char *name);               /* -1 for unknown ones, because auto is 0 */

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

typedef enum zo2_log_level { ZO2_LOG_INFO = 0, ZO2_LOG_WARNING = 1 } zo2_log_level;

/* A message without newline, valid during the call. May be called from library threads, never concurrently for one handle. */
typedef void (*zo2_log_fn)(void *ud, zo2_log_level level, const char *message);

/* Progress of long work: `done` of `total` units (bytes or chunks) of `what`. Caller's thread only; between chunks of a
 * step too. A non-zero return cancels: the call returns ZO2_ERR_CANCELLED and leaves everything as if it had not begun.
 */
typedef int (*zo2_progress_fn)(void *ud, const char *what, uint64_t done, uint64_t total);

/* Custom loss: called 2Q times after the forward (query-major, + before -) on the caller's thread with the
 * log-probability of every loss token in batch order (n of them; natural logarithm). Writes the scalar to *loss. Must
 * be deterministic. A status other than ZO2_OK aborts the step, which returns it, with the text that zo2_error() set in
 * the callback; a positive one, which is no status, is ZO2_ERR_ARG. */
typedef zo2_status (*zo2_loss_fn)(void *ud, const float *logprobs, uint64_t n, double *loss);

/* ---- several processes that share the work of a run ---- */

/* A pass's work: each query in each micro-batch. Several processes, each with an engine, a run directory and masters of its own, may
 * share it: each computes a part, they exchange what came of it, and every one makes the same step of that. Bits are those of one
 * process. Losses need few numbers: a double for each stream and each row of the batch, the sum of -log p over its loss tokens; with a
 * custom loss, or where zo2_forward() is asked for logprobs, one for each loss token, log p. */
typedef struct zo2_pass_work {
    size_t struct_size;
    uint64_t step;  /* steps that the run has: the one that is being made */
    int evaluation; /* 1: zo2_forward(), at the weights as they are: one query, one stream */
    uint32_t queries;
    uint32_t streams; /* of a query: 2, W + eps z and W - eps z */
    uint32_t micros;  /* micro-batches of this batch, at least 1 */
    /* values of micro-batch m, in each stream: [first[m], first[m + 1]); first[0] is 0, and first[micros] a stream's all */
    const uint64_t *first;
    /* This process's part, set by zo2_split_fn: micro-batches [micro, micro + own_micros) in queries [query, query + own_queries). It may
     * be empty. Before: all of it */
    uint32_t query, own_queries, micro, own_micros;
    int alone; /* 1: nothing is exchanged, because the part is all there is and every process has it */
} zo2_pass_work;

/* Which part of a pass this process computes: called before it on the caller's thread. A pure function of the work and of who this is,
 * so that each process knows all parts. Every pair of query and micro-batch must be in one process's part. */
typedef zo2_status (*zo2_split_fn)(void *ud, zo2_pass_work *work);

/* Exchange: called after the pass and before anything is made of it, on the caller's thread. values[queries][streams][first[micros]]
 * has those of this process's part, others are 0. On return all must be there, as the other processes have them, bit for bit: nothing
 * may be summed on the way. A status other than ZO2_OK ends the step, or evaluation, as if it had not begun, with the text that
 * zo2_error() set; a positive one is ZO2_ERR_ARG. The engine can go on after that, as far as others can: who has exchanged a step may have
 * made it. */
typedef zo2_status (*zo2_exchange_fn)(void *ud, const zo2_pass_work *work, double *values);

/* ---- trace: what the lanes of an engine do, and when ---- */

typedef enum zo2_trace_kind {
    ZO2_TRACE_SPAN = 0,    /* a lane did something from begin_ns to end_ns; spans of one lane don't overlap */
    ZO2_TRACE_COUNTER = 1, /* a quantity has the value `bytes` from begin_ns on */
} zo2_trace_kind;

typedef struct zo2_trace_event {
    size_t struct_size;
    zo2_trace_kind kind;
    /* span: "update", "upload", "compute", "stage", where masters spill "read" and "write", and on a device with queues of its own
     * "device upload", ...: what was issued there and when it ran; counter: NULL. Static */
    const char *lane;
    /* span: "update", "upload", "decode", "gemm", "attention", "wait", ...; counter: "ring", bytes of the device's ring in use.
     * Static */
    const char *name;
    uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC, nanoseconds; equal for a counter */
    uint64_t step;             /* step of the pass, of an upload ahead of it, too; of what a queue did: of the pass
                                  that had begun last when its end was noticed */
    int64_t chunk;             /* number of the chunk in canonical order, -1: none */
    int64_t tile;              /* number of the panel tile in canonical order, -1: none */
    const char *tensor;        /* name, NULL: none or several; valid during the call */
    uint64_t bytes;            /* moved (update, upload, gather, ...) or in use; 0: not said */
} zo2_trace_event;

/* Called on the lanes' threads, never concurrently for one engine. It must be quick, because its lane waits for it, and
 * must not call the engine. Events of different lanes come in the order in which they ended, roughly; those of a
 * device's queues later, when their end was noticed: by the end of the pass. With pending updates the upload lane runs ahead of
 * the next step: its events come between calls, too, until the engine is closed, and those of its queue by the end of a later pass. */
typedef void (*zo2_trace_fn)(void *ud, const zo2_trace_event *e);

/* ---- packs: converted model files -------------------------------------------------------------------------------- */

typedef struct zo2_pack zo2_pack;

typedef struct zo2_convert_opts {
    size_t struct_size;
    uint32_t threads; /* 0 = usable CPUs */
    int force;        /* replace an existing output */
    zo2_log_fn log;
    void *log_ud;
    zo2_progress_fn progress; /* units: bytes of weights */
    void *progress_ud;
    int zstd_level; /* 1 to 19: compress chunks where it saves room; 0 = store the source bits as they are */
    /* go on where an interrupted conversion of the same files to the same place stopped, and if this one is cancelled, killed or
     * out of room, leave OUT.partial and OUT.partial-chunks for the next one */
    int resume;
} zo2_convert_opts;

/* Sets struct_size and defaults. */
ZO2_API void zo2_convert_opts_init_sized(zo2_convert_opts *o, size_t size);
static inline void zo2_convert_opts_init(zo2_convert_opts *o)
{
    zo2_convert_opts_init_sized(o, sizeof *o);
}

/* Converts a Hugging Face directory (config.json, *.safetensors or pytorch_model*.bin, single or sharded, tokenizer files), or
 * a GGUF file (or a folder with one model in such files), to a pack. Of files of torch.save() nothing is executed; values of type F64 are rounded to fp32. Chat
 * template, generation settings and licence go with it. The source's own bits are kept, and the file doesn't depend on
 * the number of threads. Streams: needs memory for one chunk (4 MiB; three with zstd) a thread whatever the model.
 * Written under a temporary name and renamed when complete and synced; on error or cancellation nothing is left (but see
 * `resume`). o NULL: defaults.
 *
 * What Hugging Face loads whole is read, to the same weights: an index that names tensors or files which the model doesn't need, or
 * the wrong file, and buffers of any type are no obstacle; a tensor that is stored twice must be the same. Where tensors would be
 * missing, what a wrapper (DistributedDataParallel, FSDP, torch.compile, PEFT) put around their names is taken away. The log tells
 * what was ignored or odd. A file or folder that is something else is named as what it is.
 *
 * OPT as metaseq saves it is read, too: the folder of reshard-model_part-0.pt, -1.pt, ... (or restored.pt, one file), merged while it
 * is read. Where it has no config.json it is the published model whose tensors it has, if there is one, and the log says which; the pack
 * carries that configuration. gpt2-vocab.json and gpt2-merges.txt are carried as vocab.json and merges.txt. Parts must be of
 * one model and each there once; which of them one is, its name alone says. Errors:
 * ZO2_ERR_EXISTS (and not force), ZO2_ERR_ARG (out is no regular file, which force doesn't replace), ZO2_ERR_FORMAT (with file, tensor and offset), ZO2_ERR_NOTFOUND (missing file or tensor,
 * by name), ZO2_ERR_UNSUPPORTED (an architecture or a setting of one; quantised
 * weights), ZO2_ERR_NONFINITE, ZO2_ERR_NOSPACE, ZO2_ERR_IO,
 * ZO2_ERR_CANCELLED. Format: storage/PACK.md. */
ZO2_API zo2_status zo2_pack_convert(const char *hf_dir, const char *out, const zo2_convert_opts *o);

typedef struct zo2_tokenizer_opts {
    size_t struct_size;
    zo2_log_fn log;
    void *log_ud;
    zo2_progress_fn progress; /* units: stored bytes of the weights, where they are copied */
    void *progress_ud;
} zo2_tokenizer_opts;

/* Sets struct_size and defaults. */
ZO2_API void zo2_tokenizer_opts_init_sized(zo2_tokenizer_opts *o, size_t size);
static inline void zo2_tokenizer_opts_init(zo2_tokenizer_opts *o)
{
    zo2_tokenizer_opts_init_sized(o, sizeof *o);
}

/* Gives a pack the tokenizer of a folder (tokenizer.json, vocab.json, merges.txt, ..., chat template), all of it and
 * nothing of its own; generation_config.json is taken if it is there. Weights, config.json and model hash stay, so do
 * runs made from the pack; what was written is, to the byte, what a conversion with these files would have given. A new
 * file takes the pack's place: it has the old files or the new ones, whatever happens, and whoever has it open keeps
 * the old one. On file systems that share blocks (XFS, Btrfs) that takes no time and no room, elsewhere the weights are
 * copied, their hashes checked. Whether the files are a tokenizer that can be used isn't asked. o NULL: defaults.
 * Errors as of zo2_pack_convert(); ZO2_ERR_NOTFOUND: no pack, or no tokenizer in the folder. */
ZO2_API zo2_status zo2_pack_set_tokenizer(const char *pack, const char *dir, const zo2_tokenizer_opts *o);

typedef struct zo2_freeze_opts {
    size_t struct_size;
    zo2_wire wire; /* needed */
    /* only matrices that a run with this choice (zo2_engine_opts.tune) leaves as they are; NULL: all */
    const char *tune;
    int remove;       /* 1: takes these wires out of the pack instead */
    uint32_t threads; /* 0 = usable CPUs */
    zo2_log_fn log;
    void *log_ud;
    /* "copy": stored bytes of the weights, where they are copied; "freeze": bytes of weights */
    zo2_progress_fn progress;
    void *progress_ud;
    /* Not NULL: the pack stays as it is, and a new one is written here that has of these matrices nothing but this wire: no source bits and
     * no other wires. ZO2_ERR_EXISTS: there is a file of that name */
    const char *drop_to;
} zo2_freeze_opts;

/* Sets struct_size and defaults. */
ZO2_API void zo2_freeze_opts_init_sized(zo2_freeze_opts *o, size_t size);
static inline void zo2_freeze_opts_init(zo2_freeze_opts *o)
{
    zo2_freeze_opts_init_sized(o, sizeof *o);
}

/* Writes a wire of matrices into a pack, beside their own bits: what a run encodes of those that don't move (zo2_engine_opts.frozen_wire, or
 * wire), once and for all. Such a run reads them, with the same bits, instead of encoding; nothing else knows of them, and the model hash
 * stays: runs made from the pack are runs of it. A pack may have several wires, and later calls add to it; what it has stays. Matrices whose
 * own type the wire is are left out, since theirs is there. A new file takes the pack's place as by zo2_pack_set_tokenizer():
 * it has the wires or it is as it was, whatever happens. Needs memory for a chunk a thread, three to four times its 4 MiB.
 *
 * With drop_to the new pack is one to ship: as small as the wire. It has the model hash of the other, so runs of one are runs of both, bit for
 * bit. It is for runs that leave these matrices as they are, in this wire; others are refused (ZO2_ERR_UNSUPPORTED), and exports, but of
 * adapters alone, need the pack that it was made from. Evaluations at the exact weights take the wire's values of these matrices. Source
 * bits stay where the wire is the matrix's own type, where a tensor that the choice moves shares them, and of the head if the choice
 * has rows of it.
 * Errors: as of zo2_pack_set_tokenizer(); ZO2_ERR_ARG (no such wire; a choice that leaves no matrix as it is; a wire that is the type of all of them),
 * ZO2_ERR_NONFINITE (a weight that the wire can't hold, by tensor), ZO2_ERR_NOSPACE,
 * ZO2_ERR_UNSUPPORTED (a pack without the source bits of a matrix: no other wire can be made of it, and its last one stays). */
ZO2_API zo2_status zo2_pack_freeze(const char *pack, const zo2_freeze_opts *o);

typedef struct zo2_synth_opts {
    size_t struct_size;
    zo2_dtype dtype; /* 0 = fp16 */
    /* Store one layer for all; layers keep their own tensor ids. Runs on it have costs and no meaning: all layers update one
     * master, and a replay of the journal gives other values. */
    int alias;
    uint64_t seed;
    int force;
    zo2_progress_fn progress;
    void *progress_ud;
    int zstd_level;   /* as for zo2_convert_opts */
    uint32_t threads; /* 0 = usable CPUs */
} zo2_synth_opts;

/* Sets struct_size and defaults. */
ZO2_API void zo2_synth_opts_init_sized(zo2_synth_opts *o, size_t size);
static inline void zo2_synth_opts_init(zo2_synth_opts *o)
{
    zo2_synth_opts_init_sized(o, sizeof *o);
}

/* A pack of random weights (normal, standard deviation 0.02; norms one, biases zero) for measurements. arch: a
 * published name ("opt-125m", "llama-3.1-8b", ...; the message about an unknown one lists them) or the path of a config.json. A pure function of arch and o. o NULL: defaults. Written and failing as by
 * zo2_pack_convert(). */
ZO2_API zo2_status zo2_pack_synth(const char *arch, const char *out, const zo2_synth_opts *o);

/* Opens and checks superblock, tables and their checksums (not the weights: see zo2_pack_verify). *out is the caller's
 * until zo2_pack_close(), NULL on failure. The file may be opened any number of times; it is never written and must not
 * change while it is open. ZO2_ERR_NOTFOUND, ZO2_ERR_IO, ZO2_ERR_FORMAT (what is wrong, and where). */
ZO2_API zo2_status zo2_pack_open(zo2_pack **out, const char *path);
ZO2_API void zo2_pack_close(zo2_pack *p); /* NULL is fine */

/* The same for a model of which there are no weights: arch is a published name ("opt-125m", ...), the path of a config.json or
 * of a folder that has one, or a pack, of which the weights are left alone. zo2_pack_get_info() (file_bytes and
 * model_hash 0) and zo2_pack_tensor() work, zo2_pack_file() finds nothing, zo2_pack_verify() is refused
 * (ZO2_ERR_UNSUPPORTED). */
ZO2_API zo2_status zo2_pack_open_arch(zo2_pack **out, const char *arch);

typedef struct zo2_pack_info {
    uint32_t version;
    uint64_t file_bytes;
    uint64_t parameters; /* of the model; aliased layers count each */
    uint64_t tensors;    /* the same */
    uint64_t model_hash; /* XXH3-64 over the source bits in canonical order */
    zo2_dtype dtype;     /* of the largest tensor */
    int aliased;
    char arch[32];                                       /* "opt" */
    uint32_t layers, hidden, heads, ffn, vocab, context; /* context: longest sequence in tokens */
    uint32_t kv_heads, head_dim;                         /* heads of keys and values; elements of a head */
    int bos_token_id;                                    /* config.json's; -1: none */
    int pad_token_id;
    uint64_t source_bytes, stored_bytes; /* of the weights, decoded and in the file (aliased layers once) */
    int compressed;                      /* with zstd, where it saved room */
} zo2_pack_info;

/* Thread-safe, as all functions with a const zo2_pack are. */
ZO2_API zo2_status zo2_pack_get_info(const zo2_pack *p, zo2_pack_info *out);

typedef struct zo2_tensor_info {
    const char *name; /* Hugging Face name with the prefix "model."; valid as long as the pack */
    uint32_t id;      /* tensor_id: place in the canonical order */
    uint32_t block;
    zo2_dtype dtype;
    uint32_t rank;       /* 1 or 2 */
    uint64_t rows, cols; /* rank 1: rows = 1 */
    int decays;          /* weight decay applies */
} zo2_tensor_info;

/* Tensor i of the canonical order, i < zo2_pack_info.tensors; ZO2_ERR_NOTFOUND past the end. */
ZO2_API zo2_status zo2_pack_tensor(const zo2_pack *p, uint64_t i, zo2_tensor_info *out);

typedef struct zo2_frozen_wire_info {
    size_t struct_size;
    zo2_wire wire; /* one that this version doesn't know has no name, and is not used */
    uint64_t matrices, parameters;
    uint64_t bytes;
    uint64_t dropped; /* of these matrices: those whose source bits the pack doesn't have (zo2_freeze_opts.drop_to) */
} zo2_frozen_wire_info;

/* Wire i of those that the pack has of some matrices (zo2_pack_freeze()), in the order of their numbers; ZO2_ERR_NOTFOUND past the last.
 * Thread-safe. */
ZO2_API zo2_status zo2_pack_frozen_wire_sized(const zo2_pack *p, size_t i, zo2_frozen_wire_info *out, size_t size);
static inline zo2_status zo2_pack_frozen_wire(const zo2_pack *p, size_t i, zo2_frozen_wire_info *out)
{
    return zo2_pack_frozen_wire_sized(p, i, out, sizeof *out);
}

/* 1 if the pack has the source bits of tensor i: all but those that zo2_pack_freeze() dropped. Thread-safe. */
ZO2_API int zo2_pack_has_source(const zo2_pack *p, uint64_t i);

/* A file carried in the pack ("config.json", "vocab.json", ...). *data is valid as long as the pack and followed by a
 * NUL byte that *bytes does not count. ZO2_ERR_NOTFOUND: there is none of that name. */
ZO2_API zo2_status zo2_pack_file(const zo2_pack *p, const char *name, const char **data, size_t *bytes);
/* Name of carried file i, NULL past the end. */
ZO2_API const char *zo2_pack_file_name(const zo2_pack *p, size_t i);

/* Reads everything, on all usable CPUs, and checks every hash; stored wires (zo2_pack_freeze()) are encoded again and compared,
 * where the source bits are there. progress
 * (may be NULL): bytes. ZO2_ERR_FORMAT names the first bad chunk by tensor and offset; ZO2_ERR_IO; ZO2_ERR_CANCELLED. */
ZO2_API zo2_status zo2_pack_verify(const zo2_pack *p, zo2_progress_fn progress, void *ud);

/* What a wire makes of one of a pack's tensors. The relative error (root mean square) is sqrt(error_squares / squares); sums of
 * several tensors give that of all. */
typedef struct zo2_wire_error {
    size_t struct_size;
    zo2_wire wire;        /* that the tensor gets: fp32 for biases, norms and positions, whatever was asked */
    uint64_t weights;     /* of the tensor */
    uint64_t wire_bytes;  /* that cross the link of it: codes, scales, what rows are padded with */
    double squares;       /* sum over the pack's own values */
    double error_squares; /* sum over what the wire says minus them */
} zo2_wire_error;

/* Encodes tensor i of a pack as a run with this wire would when it begins, decodes it and compares, on `threads` threads (0 = usable
 * CPUs); the sums don't depend on how many. Memory: a chunk of the pack a thread, some five times. Fills *out, struct_size included.
 * Thread-safe. ZO2_ERR_ARG: an unknown wire; ZO2_ERR_NOTFOUND: no such tensor; ZO2_ERR_UNSUPPORTED: a pack without weights;
 * ZO2_ERR_NONFINITE: a weight that the wire can't hold; ZO2_ERR_NOMEM, ZO2_ERR_FORMAT, ZO2_ERR_IO. */
ZO2_API zo2_status zo2_pack_wire_error_sized(const zo2_pack *p, uint64_t i, zo2_wire wire, uint32_t threads,
                                             zo2_wire_error *out, size_t size);
static inline zo2_status zo2_pack_wire_error(const zo2_pack *p, uint64_t i, zo2_wire wire, uint32_t threads,
                                             zo2_wire_error *out)
{
    return zo2_pack_wire_error_sized(p, i, wire, threads, out, sizeof *out);
}

/* What an export is. */
typedef enum zo2_export_form {
    ZO2_EXPORT_FOLDER = 0, /* a Hugging Face directory */
    /* one file for llama.cpp, its matrices in this type and its vectors in fp32: of families that llama.cpp knows under the names it
     * has for them, with the tokenizer.json that the pack carries */
    ZO2_EXPORT_GGUF_F16,
    ZO2_EXPORT_GGUF_BF16,
    ZO2_EXPORT_GGUF_Q8_0, /* blocks of 32: an fp16 scale, and codes of 8 bits */
} zo2_export_form;

typedef struct zo2_export_opts {
    size_t struct_size;
    const char *run_dir;  /* NULL: the pack's own weights */
    int64_t at_step;      /* with run_dir: number of steps to replay; negative = all */
    zo2_dtype dtype;      /* 0 = the source's own type per tensor */
    uint64_t split_bytes; /* largest shard; 0 = one file up to 5 GB, then shards of 5 GB */
    uint32_t threads;     /* 0 = usable CPUs */
    int force;            /* replace an existing output */
    zo2_log_fn log;
    void *log_ud;
    zo2_progress_fn progress; /* units: bytes of weights */
    void *progress_ud;
    const char
        *snapshot_dir; /* with run_dir: where the run's snapshots are; NULL = RUN_DIR/snapshots. Without: the weights
                                 are those of the newest snapshot there, as far as they can be had without the journal
                                 that was lost: all parts that move must stand at one step, which is told through log,
                                 and the run has no tensors of its own (rows=, lora:). Else
                                 ZO2_ERR_NOTFOUND */
    int initialised;   /* 1, by zo2_export_opts_init(): at_step 0 is meant. 0, of a struct that was only zeroed: all */
    /* with run_dir: where the run's masters were spilled to (zo2_engine_opts.spill_dirs); NULL: nowhere */
    const char *const *spill_dirs;
    uint32_t spill_count;
    int replay;           /* with run_dir: 1: from the pack and the journal alone, without spill and snapshots */
    const char *bundle;   /* instead of run_dir, snapshot_dir and spill_dirs: the steps are those of this bundle */
    zo2_export_form form; /* of GGUF, out_dir is the file; dtype and split_bytes are for folders */
    int merge; /* of a run that tunes adapters: 1: the whole model, with them added to its matrices; 0: them alone. Of others: nothing */
} zo2_export_opts;

/* Sets struct_size and defaults. */
ZO2_API void zo2_export_opts_init_sized(zo2_export_opts *o, size_t size);
static inline void zo2_export_opts_init(zo2_export_opts *o)
{
    zo2_export_opts_init_sized(o, sizeof *o);
}

/* Writes a directory that Hugging Face transformers loads: safetensors with the names of zo2_tensor_info, which are those of its own
 * class whatever prefix the source had (a tied head left out), config and tokenizer files; or, by o's form, a
 * GGUF file. Applies what is pending to its output, never to the run. Replays from what the run has spilled
 * (each chunk in its newest version at or before the step), from the newest snapshot at or before the step, else from the pack: the
 * same bits. A spill that is missing, damaged or in use by the session that trains is told through log, and done without. Streams: memory
 * for 8 million weights (12 bytes each) and, with a snapshot, for a panel tile of at most 128 MiB, with a spill for a chunk a thread. The directory appears complete or not at all. o NULL: defaults.
 *
 * Of a run that tunes a part (zo2_engine_opts.tune), what never moved has the source's own values. Rows of the head that it tunes part the head from a
 * tied embedding, which stays as it was: lm_head.weight is written, too, and config.json says so. Of one that tunes adapters the directory is the one
 * that PEFT loads over the model: adapter_config.json and adapter_model.safetensors, in dtype or fp32; or, with merge, the whole model, with
 * alpha / r B A added to each matrix in fp32 and the sum rounded once. Then A and B of a matrix are in memory, too.
 *
 * Errors:
 * ZO2_ERR_EXISTS (and not force), ZO2_ERR_NOTFOUND, ZO2_ERR_MISMATCH (a run or bundle of another model), ZO2_ERR_ARG (at_step beyond
 * the run; a bundle and a run; an out_dir that force doesn't replace; a GGUF file of adapters that aren't merged), ZO2_ERR_UNSUPPORTED (GGUF of a model or a tokenizer that
 * llama.cpp has no name for; adapters alone of a run that tunes more), ZO2_ERR_NONFINITE (a weight that the type can't hold, by tensor), ZO2_ERR_FORMAT, ZO2_ERR_NOSPACE, ZO2_ERR_IO,
 * ZO2_ERR_CANCELLED. */
ZO2_API zo2_status zo2_pack_export(const char *pack, const char *out_dir, const zo2_export_opts *o);

/* A bundle is what turns a pack's model into a run's in one small file (storage/RUN.md, "Bundle"): model hash, settings, and what
 * each step did to the weights, 8 + 4 * queries bytes of it; 20,000 steps of one query are 240 kB. With the pack, zo2_pack_export()
 * makes the same bits of it as of the run. */

/* Writes the bundle of a run: of o, run_dir (needed), at_step (it ends there), force, progress (steps). The other fields, which are about
 * weights, are not looked at. Reads the journal alone, also beside the session that trains. The file appears complete or not at all. pack:
 * the run's. Errors: ZO2_ERR_EXISTS (and not force), ZO2_ERR_NOTFOUND, ZO2_ERR_MISMATCH (a run of another model), ZO2_ERR_ARG (at_step
 * beyond the run; no run_dir), ZO2_ERR_UNSUPPORTED (a pack whose layers share storage), ZO2_ERR_FORMAT, ZO2_ERR_NOSPACE, ZO2_ERR_IO,
 * ZO2_ERR_CANCELLED. */
ZO2_API zo2_status zo2_pack_bundle(const char *pack, const char *out, const zo2_export_opts *o);

/* ---- settings, plan, engine -------------------------------------------------------------------------------------- */

#define ZO2_MAX_QUERIES 16 /* queries per step */
#define ZO2_MAX_PENDING 64 /* largest K */

typedef struct zo2_engine_opts { /* zero in any field = documented default */
    size_t struct_size;
    /* numeric settings: fixed when a run is created and stored in it; a resume takes the run's values for fields left
     * at 0 (or NAN for the floating-point ones), and refuses other differences with ZO2_ERR_MISMATCH, naming the
     * setting */
    uint64_t seed;
    int seed_set;             /* 1: seed is meant even on a resume (0 is a valid seed) */
    double lr;                /* NAN = 1e-6 */
    zo2_schedule schedule;    /* constant */
    uint64_t warmup;          /* steps of linear warm-up; UINT64_MAX = 0 */
    uint64_t total_steps;     /* of linear and cosine schedules, both reaching 0 after the last; 0 = 20,000. May grow on
                                 resume with constant. Memory for the scalars of so many steps (of 131,072 at most; 600
                                 bytes each, untouched until then) is set aside at once: a step allocates nothing */
    double eps;               /* NAN = 1e-3 */
    double weight_decay;      /* NAN = 0; not applied to biases and norms */
    double clip;              /* NAN = 0: off; else each g is clamped to +-clip */
    zo2_dist dist;            /* gaussian */
    uint32_t queries;         /* 1 */
    int32_t pending;          /* K; -1 = 0 */
    uint32_t micro_batch;     /* examples per micro-batch; 0 is unset, UINT32_MAX the whole batch (the default) */
    zo2_wire wire;            /* bf16 */
    zo2_dtype compute;        /* fp32 on cpu */
    zo2_backend_kind backend; /* auto */
    /* sizes of the largest batch; part of the plan, not of the run's settings. 0: max_rows 16, max_seq the model's
     * context. */
    uint32_t max_rows;        /* rows of the largest batch (a line with n options makes n rows) */
    uint32_t max_rows_micro;  /* rows of the largest micro-batch; 0 = max_rows */
    uint32_t max_seq;         /* tokens of the longest row */
    uint64_t max_loss_tokens; /* loss tokens of the largest batch; 0 = max_rows * (max_seq - 1) */
    /* resources: free to change between sessions, never change a bit */
    uint64_t device_bytes;    /* device budget: context and workspaces included; 0 = on cpu the plan's minimum without
                                 staged residual streams, on cuda 90 % of what is free. What is left keeps wires */
    uint64_t host_bytes;      /* RSS outside the cpu backend's device arena; 0 = zo2_machine.host_budget_bytes */
    uint32_t threads;         /* 0 = zo2_machine.cpus, beside a device two fewer: its lanes have threads of their own */
    uint64_t chunk_bytes;     /* target size of a chunk's wire; 0 = 4 MiB on cpu, 16 on cuda if there is room */
    double snapshot_seconds;  /* NAN = 1800; 0 = on clean exit only. Adapted so that snapshots cost at most 5 % */
    const char *snapshot_dir; /* NULL = RUN_DIR/snapshots */
    /* what a run may be */
    int resume;      /* 1: continue an existing run, start a missing one; 0: an existing run is refused */
    int64_t at_step; /* zo2_engine_open with read_only: masters after this many steps; negative = all */
    int read_only;   /* evaluation: no lock, no journal, run_dir may be NULL (the pack's own weights) */
    /* callbacks */
    zo2_loss_fn loss;
    void *loss_ud;
    zo2_log_fn log;
    void *log_ud;
    zo2_progress_fn progress; /* caller's thread only; non-zero cancels */
    void *progress_ud;
    zo2_trace_fn trace; /* every pass, step or evaluation; never changes a bit */
    void *trace_ud;
    double probe_seconds; /* zo2_plan_estimate(): most seconds to measure this machine in; NAN = 5, 0 = don't */
    int initialised;      /* 1, by zo2_engine_opts_init(): 0 is a value of its own where the default is NAN, negative or
                             UINT64_MAX. 0, of a struct that was only zeroed: there, too, 0 means the default */
    /* a numeric setting of the run: how matrices are cut into tiles (RUN.md); 0 = the newest rule, 2 */
    uint32_t tile_rule;
    /* Masters that host_bytes has no room for live in files in these directories (storage/SPILL.md), by the rates at which these
     * read, measured when the run begins. They have room for all masters and replace snapshots. A resume names as many, in any order; a file that is missing is made
     * again, and its chunks from pack and journal. The library doesn't remember them. NULL: all in RAM */
    const char *const *spill_dirs;
    uint32_t spill_count; /* of spill_dirs, at most 16 */
    /* most bytes a step may write to them on average: sets K of a new run whose `pending` is unset to the smallest that keeps it,
     * ZO2_ERR_ARG if none does; 0: no limit */
    uint64_t write_budget;
    double spill_read_rate, spill_write_rate; /* plans: bytes/s of each of them; 0: measured there */
    /* Numeric settings of the run: what moves, the rest being frozen. Frozen tensors have no master and no update, and what lies below the
     * first tensor that moves is computed once for all streams of a step. Terms that are joined by '+':
     *     all                 every tensor of the model
     *     vectors             biases and norms
     *     layers=4-5          everything in layers 4 and 5; layers=0,4-5 is a list
     *     matrices=4-5        their matrices
     *     rows=12,98-103      rows of the output embedding, by token id. Where that is the input embedding, too, this one stays as it is,
     *                         and an export has both
     *     match=*.fc1.*       tensors by their names (zo2_tensor_info); * and ? stand for any characters, or one
     *     lora:r=8,alpha=16,targets=q_proj+v_proj,layers=4-5
     *                         low-rank adapters of these matrices (arXiv 2106.09685), y += alpha / r B A x; without `layers` of all. A
     *                         begins random, B zero
     * NULL: all. A resume takes the run's for NULL and refuses another text. */
    const char *tune;
    uint32_t
        tune_rotate; /* groups take turns of so many steps: each block (embeddings, a layer, the head) that has tensors that
                                  move is a group, and a step perturbs and updates one. 0: all move in every step */
    zo2_tune_order tune_order; /* of their turns: top */
    zo2_dtype trunk_type;      /* what is kept of the trunk is rounded to: fp32, or bf16 */
    /* A resource. Most bytes for the residual streams of examples where the trunk ends, which depend on the example alone: in the
     * directories of a spill if there are any, else in RAM. A step that finds all of its examples there needs nothing of the trunk.
     * 0: none are kept */
    uint64_t trunk_cache;
    /* A numeric setting of the run: codec of matrices that don't move; 0: `wire`. Theirs crosses the link as often, takes memory as
     * theirs does that move, and is encoded once. Biases, norms and positions are fp32 all the same. ZO2_ERR_ARG: another than `wire` where
     * all matrices move. */
    zo2_wire frozen_wire;
    /* Other processes share the work (zo2_pass_work), and give and get values by `exchange`; both or neither, read-only or not. All make the
     * same calls of zo2_step() and zo2_forward() with the same batches and settings. They never change a bit. NULL: there are none. */
    zo2_split_fn split;
    zo2_exchange_fn exchange;
    void *exchange_ud; /* of both */
} zo2_engine_opts;

/* Sets struct_size and the "unset" markers above. */
ZO2_API void zo2_engine_opts_init_sized(zo2_engine_opts *o, size_t size);
static inline void zo2_engine_opts_init(zo2_engine_opts *o)
{
    zo2_engine_opts_init_sized(o, sizeof *o);
}

/* Rate of the learning-rate schedule at a step (0-based) for options as in o: warm-up lr*(step+1)/warmup, then
 * constant, linear or cosine decay to zero at total_steps. o NULL: defaults; NAN if its struct_size is not set. Pure. */
ZO2_API double zo2_lr_at(const zo2_engine_opts *o, uint64_t step);

typedef struct zo2_plan {
    size_t struct_size;
    uint64_t parameters;
    uint64_t tokens;       /* most tokens a micro-batch holds */
    uint64_t batch_tokens; /* most tokens a batch holds */
    /* device */
    uint64_t device_peak_bytes; /* sum of the parts below */
    uint64_t device_min_bytes;  /* the smallest budget that works with these settings */
    uint64_t context_bytes, residual_bytes, norm_bytes, layer_bytes, panel_bytes, ring_bytes, vector_bytes, loss_bytes,
        workspace_bytes;
    uint64_t resident_bytes; /* wires that stay on the device between steps, because the budget leaves room */
    /* host */
    uint64_t host_peak_bytes; /* masters and wires + staging + fixed part */
    uint64_t master_bytes;    /* masters with their wires */
    uint64_t staging_bytes;   /* the engine's buffers for transfers */
    uint64_t staged_bytes;    /* of them: residual streams of micro-batches that wait, because the budget is short */
    /* disk */
    uint64_t pack_bytes, snapshot_bytes; /* snapshot: one of them; two are kept */
    uint64_t journal_bytes_per_step;
    /* time */
    uint64_t wire_bytes_per_step;                           /* link traffic of wires */
    uint64_t staged_bytes_per_step;                         /* link traffic of staged residual streams, both ways */
    double seconds_per_step;                                /* predicted, of the largest batch */
    double update_seconds, upload_seconds, compute_seconds; /* of one step, per lane */
    char bottleneck[16];                                    /* "update", "upload", "compute", "read" or "write" */
    uint32_t largest_tile_rows;                             /* TN of the widest matrix */
    /* proposals: never applied; only with measured rates, else 0. Pending updates and micro-batch are chosen together
     * for the shortest predicted step; what makes it less than a twentieth shorter is left as set */
    uint32_t proposed_pending; /* K */
    double
        proposed_seconds; /* of a step with the proposed K and micro-batch; of a run that has a trunk's cache, with that filled */
    zo2_dist proposed_dist; /* Rademacher where half of the time goes into making Gaussian noise; else as set */
    uint32_t
        proposed_micro_batch; /* rows, within device_bytes; the largest that fits where the one that is set does not
                                      fit; 0: none, or no budget given */
    /* Where uploads or updates take longer than computing: the batch, in rows, for which computing takes as long, or the
     * largest that fits. They cross and change each weight once a step, whatever the batch. 0: computing takes longest */
    uint32_t proposed_batch, proposed_batch_micro; /* with micro-batches of so many rows */
    double proposed_batch_seconds;                 /* of a step with both and the proposed K */
    uint64_t chunk_bytes;                          /* aim for a chunk's wire: the unit of updates and uploads */
    /* what the times come from, measured here for this backend, wire, distribution and compute type; 0: not measured */
    double probe_seconds;           /* that measuring took */
    double update_rate, noise_rate; /* weights/s, one query, on the host: noise, update and encode; noise alone */
    double upload_rate;             /* bytes/s */
    double decode_rate, fold_rate;  /* weights/s: both panels of one query; one pending update folded in beside */
    double gemm_rate;               /* floating-point operations/s */
    uint32_t threads;               /* of the pool that updates masters */
    uint64_t budget_bytes;          /* of device memory, that it was made for; 0: none was given, and no device asked */
    zo2_dtype compute;              /* of products: as asked, or the backend's default for this model */
    uint64_t host_min_bytes;        /* the smallest host budget that works with these settings */
    uint32_t pending;               /* K as it was set, or as write_budget has it */
    /* of a plan with spill_dirs, else 0. master_bytes are all masters then, wherever they live; in host memory are the next three.
     * A spill holds all of them: it is the snapshot, too */
    uint64_t ram_master_bytes;   /* masters that stay in RAM with their wires */
    uint64_t ram_wire_bytes;     /* wires in RAM of masters that don't */
    uint64_t spill_buffer_bytes; /* for planes that pass through */
    uint64_t spilled_bytes;      /* masters in the directories alone, or but for their wires; not what the pack has */
    uint64_t spill_bytes;        /* of the files in all directories */
    /* on average, of all directories; without snapshots of what is in RAM */
    uint64_t read_bytes_per_step, written_bytes_per_step;
    /* of one step, per lane. Directories do one or the other: the step takes at least the sum */
    double read_seconds, write_seconds;
    double read_rate, write_rate; /* bytes/s of all directories; 0: not known */
    /* of a run that tunes a part of the model (zo2_engine_opts.tune) */
    uint32_t layers; /* that the model has */
    uint32_t
        trunk_blocks; /* embeddings and layers below all that moves, which are computed once for all streams; 0: none */
    uint64_t tuned_parameters;      /* all of them, if all move */
    uint64_t frozen_bytes;          /* of master_bytes: wires of what doesn't */
    uint64_t trunk_bytes_per_token; /* in the trunk's cache; 0: there is no trunk */
    uint64_t
        trunk_cache_bytes; /* its size, which is a part of host_peak_bytes unless it is in the directories of a spill */
    /* of a step that has all of its lines from the cache, and so needs nothing of the trunk */
    uint64_t wire_bytes_per_step_filled,
        trunk_bytes_per_step; /* link traffic: of wires; of what comes in the trunk's stead */
    double seconds_per_step_filled;
    char bottleneck_filled[16];
    /* The most layers, from the last one down, that stay on the device as a whole with the head, within device_bytes: where no more are
     * tuned, steps with a filled cache upload what updates changed and nothing else. 0: not even one does */
    uint32_t proposed_layers;
    uint64_t
        proposed_layers_bytes; /* of their wires, which a step that tunes them changes, and uploads once in K + 1 steps */
    /* 1: resident_bytes are the wires of the whole model. What crosses the link is what updates changed, and rows that are looked up */
    uint32_t resident_whole;
} zo2_plan;

/* What this process may use of the machine, now. */
typedef struct zo2_machine {
    size_t struct_size;
    /* The host budget of an engine that is given none: 90 % of the memory that may still be taken. That is the lowest of what
     * is available on the machine (Linux: MemAvailable), of what the memory limits of its control group and those above
     * leave (versions 1 and 2; page cache counts as left, swap doesn't), and of RLIMIT_AS and RLIMIT_DATA. 0: nobody knows,
     * and an engine then has no budget. */
    uint64_t host_budget_bytes;
    char host_limit[256]; /* the limit that it comes from: a file ("/sys/fs/cgroup/job/memory.max") or a name */
    /* The threads of an engine that is given none: the lower of the affinity mask and the CPU quotas of its control group and
     * those above, rounded up. */
    uint32_t cpus;
    char cpu_limit[256]; /* where that comes from */
} zo2_machine;

/* Fills *out, struct_size included. Any thread. */
ZO2_API void zo2_machine_get_sized(zo2_machine *out, size_t size);
static inline void zo2_machine_get(zo2_machine *out)
{
    zo2_machine_get_sized(out, sizeof *out);
}

/* zo2_machine.host_budget_bytes alone. */
ZO2_API uint64_t zo2_host_budget_bytes(void);

/* Plans for an architecture ("opt-13b", or the path of a config.json or pack) with the settings and sizes in o (NULL:
 * defaults). No weights are read. The predicted times come from measuring this machine for at most o->probe_seconds, the
 * directories of a spill, too, with a file of at most 1 GiB that has no name; one that isn't there has no rates.
 * Where the backend has no device that is usable, or probe_seconds is 0, times, rates and proposals are 0. ZO2_ERR_NOMEM
 * if a budget in o is too small: the message has the smallest that works; *out is filled all the same. Of an architecture with o->frozen_wire
 * the plan is for a pack that has these wires (zo2_pack_freeze()), of a pack for what it has. */
ZO2_API zo2_status zo2_plan_estimate_sized(const char *arch_or_pack, const zo2_engine_opts *o, zo2_plan *out,
                                           size_t size);
static inline zo2_status zo2_plan_estimate(const char *arch_or_pack, const zo2_engine_opts *o, zo2_plan *out)
{
    return zo2_plan_estimate_sized(arch_or_pack, o, out, sizeof *out);
}

/* Speeds of a device that isn't here, per second, in the wire, distribution and compute type of the plan. */
typedef struct zo2_device_rates {
    size_t struct_size;
    double upload_rate;             /* bytes over its link */
    double gemm_rate;               /* floating-point operations */
    double decode_rate;             /* weights, both panels of one query */
    double fold_rate;               /* weights, one pending update of one query folded in; 0: as decode_rate */
    double update_rate, noise_rate; /* weights, of the host: as in zo2_plan. update_rate 0: both are measured here */
    double frozen_decode_rate; /* as decode_rate, in the wire of frozen matrices (frozen_wire); 0: as decode_rate */
} zo2_device_rates;

/* zo2_plan_estimate() for a GPU that isn't here: sizes are a GPU's (o->backend counts for nothing), times come from
 * rates. o->device_bytes is the budget; 0 gives the smallest plan. Times, rates and proposals are 0 where the host's
 * rates are neither given nor to be measured (probe_seconds 0). ZO2_ERR_ARG: a rate that is needed is not above 0 and finite. */
ZO2_API zo2_status zo2_plan_for_device_sized(const char *arch_or_pack, const zo2_engine_opts *o,
                                             const zo2_device_rates *rates, zo2_plan *out, size_t size);
static inline zo2_status zo2_plan_for_device(const char *arch_or_pack, const zo2_engine_opts *o,
                                             const zo2_device_rates *rates, zo2_plan *out)
{
    return zo2_plan_for_device_sized(arch_or_pack, o, rates, out, sizeof *out);
}

/* What a choice of tensors comes to (zo2_engine_opts.tune). */
typedef struct zo2_tune_info {
    size_t struct_size;
    uint64_t parameters; /* of the model */
    uint64_t moving;     /* of those tensors that move, the run's own among them */
    uint32_t tensors;    /* of the model */
    uint32_t moving_tensors;
    uint32_t layers;
    uint32_t fork_block; /* blocks below it (0: embeddings, 1: layer 0, ..., layers + 1: head) are the trunk */
    uint32_t groups;     /* that would take turns (zo2_engine_opts.tune_rotate) */
    uint32_t rows;       /* of the output embedding that move by themselves */
    uint32_t lora_tensors;
    uint32_t hidden;
    uint64_t master_bytes; /* of what moves, fp32 */
    uint64_t token_bytes;  /* of a token where the trunk ends, fp32: what is kept of it. 0: no layer is below */
} zo2_tune_info;

/* Counts the tensors of a choice (NULL: all) for an architecture ("opt-13b", or the path of a config.json or pack). No weights are
 * read. ZO2_ERR_ARG: a text that is no choice, or one that this model can't have; ZO2_ERR_NOTFOUND, ZO2_ERR_FORMAT, ZO2_ERR_IO. */
ZO2_API zo2_status zo2_tune_count_sized(const char *arch_or_pack, const char *tune, zo2_tune_info *out, size_t size);
static inline zo2_status zo2_tune_count(const char *arch_or_pack, const char *tune, zo2_tune_info *out)
{
    return zo2_tune_count_sized(arch_or_pack, tune, out, sizeof *out);
}

typedef struct zo2_engine zo2_engine;

/* Opens a pack and creates or continues the run in run_dir (created if missing, its parent must exist). Loads masters,
 * replays the journal. On success *out is the caller's until zo2_engine_close(). On failure *out is NULL, nothing leaks
 * and the run directory is as it was. o NULL: defaults. Errors: ZO2_ERR_BUSY (another process has the run),
 * ZO2_ERR_EXISTS (a run is there and resume is 0; a new run finds snapshots of another in its folder for them),
 * ZO2_ERR_MISMATCH (another model, or a setting that differs, by name), ZO2_ERR_NOMEM (a budget, with the smallest that
 * works), ZO2_ERR_NONFINITE (a weight that the wire can't hold, by tensor), ZO2_ERR_FORMAT (also: settings, metrics or
 * snapshots of a run are there and its journal isn't), ZO2_ERR_DEVICE, ZO2_ERR_UNSUPPORTED, ZO2_ERR_NOTFOUND, ZO2_ERR_IO,
 * ZO2_ERR_CANCELLED. Files of a run: storage/RUN.md. */
ZO2_API zo2_status zo2_engine_open(zo2_engine **out, const char *pack, const char *run_dir, const zo2_engine_opts *o);

/* Ends lanes and threads and frees everything. Writes nothing, but to a spill the masters there that steps have changed: call
 * zo2_snapshot() before for a fast resume. No call with the engine may be in progress. NULL is fine. */
ZO2_API void zo2_engine_close(zo2_engine *e);

typedef struct zo2_engine_state {
    uint64_t step;                               /* steps done: the next step has this number */
    uint64_t data_position;                      /* as given with the last step's batch */
    uint64_t tokens;                             /* tokens of all steps */
    uint64_t skipped_in_row;                     /* skipped steps at the end of the journal */
    uint64_t device_peak_bytes, host_peak_bytes; /* measured */
    int resumed;                                 /* the run existed */
} zo2_engine_state;

/* e and out must not be NULL, here and in the next two. */
ZO2_API void zo2_engine_get_state(const zo2_engine *e, zo2_engine_state *out);
/* The options in force: defaults resolved, the run's values filled in. Its strings live as long as the engine. */
ZO2_API void zo2_engine_get_opts_sized(const zo2_engine *e, zo2_engine_opts *out, size_t size);
static inline void zo2_engine_get_opts(const zo2_engine *e, zo2_engine_opts *out)
{
    zo2_engine_get_opts_sized(e, out, sizeof *out);
}
/* The plan that the engine runs by; times and proposals are 0. */
ZO2_API void zo2_engine_get_plan_sized(const zo2_engine *e, zo2_plan *out, size_t size);
static inline void zo2_engine_get_plan(const zo2_engine *e, zo2_plan *out)
{
    zo2_engine_get_plan_sized(e, out, sizeof *out);
}

/* A batch. rows x seq places, row-major. Real tokens are those with mask 1 (any padding side); a row's position ids
 * count its real tokens from 0. A place with loss 1 is a loss token: its token is predicted from the real tokens before
 * it in the row (so it can't be the row's first). Arrays are the caller's and only read during the call. */
typedef struct zo2_batch {
    size_t struct_size;
    uint32_t rows, seq;
    const int32_t *tokens;   /* [rows * seq] ids; ignored where mask is 0 */
    const uint8_t *mask;     /* [rows * seq]; NULL = all real */
    const uint8_t *loss;     /* [rows * seq] */
    uint32_t examples;       /* 0 = rows */
    const uint32_t *example; /* [rows] non-decreasing example numbers below `examples`; NULL = one row each */
    const uint32_t
        *label; /* [examples] index of the right row within its example: cross-entropy over the rows' mean token
                                 log-probabilities (MeZO). NULL: language-model loss, the mean over all loss tokens */
    uint64_t data_position; /* stored with the step: examples drawn up to and including this batch */
} zo2_batch;

/* Seconds of a lane in one step. What is left of the step it had nothing to do. */
typedef struct zo2_lane_seconds {
    double busy;    /* working */
    double waiting; /* with work to do, but blocked: on a free slot, on the lane before it */
} zo2_lane_seconds;

typedef struct zo2_step_result {
    size_t struct_size;           /* in: sizeof(zo2_step_result) */
    uint64_t step;                /* number of the step that was done */
    double loss_plus, loss_minus; /* means over queries */
    double projected_grad;        /* mean over queries, before clipping */
    double lr;
    uint64_t tokens; /* real input tokens of the batch, streams counted once */
    double seconds;
    int skipped; /* a loss was not finite: recorded, nothing updated */
    uint64_t device_peak_bytes, host_peak_bytes;
    zo2_lane_seconds update, upload, compute;
    /* the lane that was busy longest: "update", "upload", "compute", "read" or "write". Static */
    const char *bottleneck;
    /* of a run with spilled masters, else 0 */
    zo2_lane_seconds read, write;
    /* planes that the lanes of these names brought, from the spill or made from the pack, and wrote, since the step before */
    uint64_t read_bytes, written_bytes;
    /* where masters are after it: in RAM, in the directories, or in the pack, because no update has reached them yet */
    uint64_t ram_master_bytes, spilled_bytes, pack_master_bytes;
    uint64_t ram_wire_bytes; /* copies in RAM of wires of the last two */
    double exchange_seconds; /* of `seconds`: in zo2_exchange_fn, mostly waiting for others; 0: there is none */
} zo2_step_result;

/* One SPSA step (MeZO, algorithm 1): losses at W + eps z and W - eps z for each query q, g_q = (L+ - L-) / (2 eps), and
 * W <- W - lr (sum over q of g_q z_q / Q + wd W), journaled before it affects a weight. The same settings, batches and
 * pack give the same bits whatever threads, budgets, chunks and interruptions (README, "What is promised").
 * ZO2_ERR_ARG: a batch that is malformed, or larger than the engine was opened for. ZO2_ERR_CANCELLED leaves no trace.
 * ZO2_ERR_NONFINITE: an update would make a weight non-finite (the tensor is named). After ZO2_ERR_IO from the journal
 * the engine refuses further steps; the run stays resumable. r may be NULL. */
ZO2_API zo2_status zo2_step(zo2_engine *e, const zo2_batch *batch, zo2_step_result *r);

/* Makes a zo2_step() or zo2_forward() in progress on another thread, or in a signal handler's thread, return
 * ZO2_ERR_CANCELLED at the next chunk. Async-signal-safe and thread-safe. Sticky until that call returns; without one
 * in progress it cancels the next. NULL is fine. */
ZO2_API void zo2_step_abort(zo2_engine *e);

typedef enum zo2_weights { ZO2_WEIGHTS_WIRE = 0, ZO2_WEIGHTS_MASTER = 1 } zo2_weights;

typedef struct zo2_scores {
    size_t struct_size;
    double loss;    /* as in training; of the custom loss when there is one */
    double sum_nll; /* sum over loss tokens of -log p */
    uint64_t loss_tokens;
    uint64_t tokens;  /* real input tokens */
    double sum_loss;  /* labelled batches: sum of the examples' cross-entropies */
    uint64_t correct; /* labelled batches: examples whose best row is the label; ties go to the first, and an example
                         with a score that isn't finite is wrong */
    uint64_t examples;
    /* optional outputs, NULL = not wanted */
    float *logprobs;    /* [loss tokens] in batch order: row by row */
    double *row_scores; /* [rows] mean log-probability of the row's loss tokens */
    uint64_t nonfinite; /* out: examples with a row whose score isn't finite, as broken weights make them */
} zo2_scores;

/* Unperturbed forward at the current weights: through the wire with what is pending folded in, or at the masters' exact
 * fp32 values (what zo2_pack_export writes). Disturbs nothing. s is in and out: set struct_size and the optional
 * arrays. Errors as of zo2_step(). */
ZO2_API zo2_status zo2_forward(zo2_engine *e, const zo2_batch *batch, zo2_weights weights, zo2_scores *s);
ZO2_API void zo2_scores_init_sized(zo2_scores *s, size_t size);
static inline void zo2_scores_init(zo2_scores *s)
{
    zo2_scores_init_sized(s, sizeof *s);
}

/* Computes the trunk of a batch's examples that aren't kept yet, and keeps it (zo2_engine_opts.trunk_cache), without a step: for large
 * batches, before the first one. *kept (may be NULL): examples of the batch that are kept now; fewer than it has where room or a disk
 * has run out. Errors as of zo2_step(); ZO2_ERR_UNSUPPORTED: the run tunes layers from the first on; ZO2_ERR_ARG: no room was given. */
ZO2_API zo2_status zo2_warm(zo2_engine *e, const zo2_batch *batch, uint64_t *kept);

/* Writes a snapshot of the masters now and keeps the newest two verified ones. Written under a temporary name, synced and
 * renamed: a failure (ZO2_ERR_NOSPACE, ZO2_ERR_IO, ZO2_ERR_CANCELLED) leaves the older ones, and the engine goes on. Where masters
 * spill, the spill is the snapshot: what it lacks is written there and committed; after an error the engine stops (close it and resume). */
ZO2_API zo2_status zo2_snapshot(zo2_engine *e);

/* Current exact value of elements [first, first + n) of a tensor (row-major), with what is pending applied, into
 * out[n]. name: as zo2_tensor_info has it. ZO2_ERR_NOTFOUND: no such tensor; ZO2_ERR_ARG: past its end. */
ZO2_API zo2_status zo2_tensor_read(zo2_engine *e, const char *name, uint64_t first, uint64_t n, float *out);

/* XXH3-64 over the exact current fp32 values of all tensors in canonical order: equal hashes, equal weights. */
ZO2_API zo2_status zo2_masters_hash(zo2_engine *e, uint64_t *out);
/* The same over one of `parts` equal parts of the values of what the run moves, part 0 first: for a look now and then that takes less time, and
 * needs nothing of the pack. ZO2_ERR_ARG: there is no such part. */
ZO2_API zo2_status zo2_masters_hash_part(zo2_engine *e, uint64_t part, uint64_t parts, uint64_t *out);

/* ---- run directories --------------------------------------------------------------------------------------------- */

typedef struct zo2_run zo2_run;

typedef struct zo2_run_record {
    uint64_t step;
    uint64_t tokens; /* of this step */
    uint64_t data_position;
    int skipped;
    uint32_t queries;
    double loss_plus, loss_minus; /* means over queries */
    double projected_grad;        /* mean over queries, before clipping */
    double lr;
    struct {
        double loss_plus, loss_minus;
        float g_raw, g_clipped;
        float c; /* coefficient of z in the update */
    } query[ZO2_MAX_QUERIES];
    float d; /* decay coefficient lr * wd */
} zo2_run_record;

/* Opens a run's journal for reading; works while a training session writes it (a torn last record is ignored). *out is the
 * caller's until zo2_run_close(), NULL on failure: ZO2_ERR_NOTFOUND (no run), ZO2_ERR_FORMAT (with the offset; or
 * settings, metrics or snapshots are there and their journal isn't), ZO2_ERR_IO. */
ZO2_API zo2_status zo2_run_open(zo2_run **out, const char *run_dir);
ZO2_API void zo2_run_close(zo2_run *r); /* NULL is fine */
/* Steps the journal held when it was opened. */
ZO2_API uint64_t zo2_run_steps(const zo2_run *r);
/* ZO2_ERR_NOTFOUND from zo2_run_steps() on. */
ZO2_API zo2_status zo2_run_record_get(const zo2_run *r, uint64_t step, zo2_run_record *out);
/* The run's numeric settings as options, whose strings live as long as r, and the model hash of its pack. */
ZO2_API void zo2_run_get_opts_sized(const zo2_run *r, zo2_engine_opts *out, size_t size);
static inline void zo2_run_get_opts(const zo2_run *r, zo2_engine_opts *out)
{
    zo2_run_get_opts_sized(r, out, sizeof *out);
}
ZO2_API uint64_t zo2_run_model_hash(const zo2_run *r);
/* Verifies journal and snapshots completely; the text of the first problem is in zo2_last_error(). pack (may be NULL): it
 * must be the run's. snapshot_dir: where the run was told to put its snapshots, NULL: RUN_DIR/snapshots; a folder that
 * isn't there has none. *snapshots (may be NULL): how many there were. */
ZO2_API zo2_status zo2_run_verify(const char *run_dir, const char *pack, const char *snapshot_dir, uint32_t *snapshots);
/* Reads what a resume would take from the files that the run's masters were spilled to, in these directories
 * (zo2_engine_opts.spill_dirs), and checks every hash. progress: "verify", chunks of a file. *chunks (may be NULL): how many were
 * there. ZO2_ERR_FORMAT: some are damaged (a resume computes them again), ZO2_ERR_NOTFOUND: a directory has no such file,
 * ZO2_ERR_BUSY: the run is being trained. */
ZO2_API zo2_status zo2_run_verify_spill(const char *run_dir, const char *const *spill_dirs, uint32_t spill_count,
                                        zo2_progress_fn progress, void *ud, uint64_t *chunks);
/* zo2_engine_opts.chunk_bytes that the run's spill in these directories was made for, and any resume goes by: a plan of one that isn't
 * told it cuts chunks for the budgets at hand. 0: there is none. */
ZO2_API uint64_t zo2_run_spill_chunk_bytes(const zo2_run *r, const char *const *spill_dirs, uint32_t spill_count);

/* ---- bundles ----------------------------------------------------------------------------------------------------- */

typedef struct zo2_bundle zo2_bundle;

typedef struct zo2_bundle_info {
    uint32_t version;
    uint64_t file_bytes;
    uint64_t model_hash; /* of the packs it can be applied to */
    uint64_t steps;
    uint64_t skipped; /* of them: a loss was not finite, nothing changed */
} zo2_bundle_info;

/* Reads a bundle and checks every byte. *out is the caller's until zo2_bundle_close(), NULL on failure: ZO2_ERR_NOTFOUND,
 * ZO2_ERR_FORMAT (cut, damaged, or no bundle; says what), ZO2_ERR_UNSUPPORTED (steps that this version can't replay), ZO2_ERR_IO. */
ZO2_API zo2_status zo2_bundle_open(zo2_bundle **out, const char *path);
ZO2_API void zo2_bundle_close(zo2_bundle *b); /* NULL is fine */
/* Thread-safe, as the next one. */
ZO2_API zo2_status zo2_bundle_get_info(const zo2_bundle *b, zo2_bundle_info *out);
/* The numeric settings of its run as options, whose strings live as long as b. */
ZO2_API void zo2_bundle_get_opts_sized(const zo2_bundle *b, zo2_engine_opts *out, size_t size);
static inline void zo2_bundle_get_opts(const zo2_bundle *b, zo2_engine_opts *out)
{
    zo2_bundle_get_opts_sized(b, out, sizeof *out);
}

/* ---- noise ------------------------------------------------------------------------------------------------------- */

#define ZO2_NOISE_VERSION 1

/* z of elements [first, first + n) of a tensor: a pure function of its arguments (codec/CODECS.md, "Noise"). out[n],
 * any alignment. Thread-safe. ZO2_ERR_ARG for an unknown distribution. */
ZO2_API zo2_status zo2_noise_fill(float *out, uint64_t seed, uint64_t step, uint32_t query, uint32_t tensor_id,
                                  uint64_t first, uint64_t n, zo2_dist dist);

/* ---- measuring --------------------------------------------------------------------------------------------------- */

/* How fast this machine does one of the operations that steps are made of: the library's own code, on the threads,
 * planes, chunks and tiles that a run would use. zo2-bench prints these and zo2_plan_estimate() predicts with them. */
typedef enum zo2_measure_kind {
    /* Limits: memory of `bytes` bytes, on all threads at once. An item is a byte read or written. */
    ZO2_MEASURE_FILL = 1,    /* writes it: memset() */
    ZO2_MEASURE_SCAN = 2,    /* reads it */
    ZO2_MEASURE_COPY = 3,    /* reads it and writes as much elsewhere: memcpy() */
    ZO2_MEASURE_REWRITE = 4, /* reads it and writes it back changed */
    /* Host work on a matrix of rows x cols weights. An item is a weight. */
    ZO2_MEASURE_NOISE = 5,  /* z of rows x cols elements; the values stay in a thread's cache */
    ZO2_MEASURE_SPLIT = 6,  /* fp32 values to a master's planes, of which the wire is one: encoding */
    ZO2_MEASURE_JOIN = 7,   /* a master's planes to its exact fp32 values */
    ZO2_MEASURE_DECODE = 8, /* the wire alone to fp32 values */
    ZO2_MEASURE_UPDATE = 9, /* one step's update of the planes in place: join, noise, update, encode */
    /* Work of a backend. An item is a weight, a floating-point operation. */
    ZO2_MEASURE_PANELS =
        11,                /* wires on the device decoded, `pending` updates folded, perturbed into the panels W + eps z
                                and W - eps z of one query */
    ZO2_MEASURE_GEMM = 12, /* x (W + eps z)^T and x (W - eps z)^T for `tokens` rows of x, tile by tile */
    ZO2_MEASURE_GEMM_WHOLE = 17,  /* the same by one call, both matrices whole on the device: what tiles are compared
                                    with */
    ZO2_MEASURE_DEVICE_COPY = 18, /* `bytes` bytes copied within the device, by memcpy() and one thread where its memory
                                     is the host's: the limit of panels. An item is a byte read or written */
    /* Causal attention of one sequence of `tokens` tokens, two streams, `heads` heads that share `cols` columns. An item
     * is a floating-point operation of those products that causality leaves. */
    ZO2_MEASURE_ATTENTION = 19,
    /* The link between host memory, pinned where the limit allows, and a backend's device. An item is a byte. */
    ZO2_MEASURE_UPLOAD = 10,   /* the wire of rows x cols weights from their masters to the device, in chunks of
                                  chunk_bytes through a ring of three slots: what a step's upload lane does */
    ZO2_MEASURE_BOUNCED = 13,  /* the same through a small pinned buffer, as where masters can't be pinned */
    ZO2_MEASURE_WHOLE = 14,    /* as many bytes in one transfer: the link's own speed */
    ZO2_MEASURE_DOWNLOAD = 15, /* residual streams back, fp32: two of `tokens` x cols values in one transfer */
    ZO2_MEASURE_LATENCY = 16,  /* 4 KiB to the device, and waiting until they are there. An item is a transfer */
    /* A file of `bytes` random bytes from begin to end in spans of chunk_bytes, past the page cache where its file system lets
     * us: what the lanes of spilled masters do. An item is a byte. */
    ZO2_MEASURE_STORAGE_READ = 20,
    ZO2_MEASURE_STORAGE_WRITE = 21, /* over what is there; with an fdatasync if it goes through the page cache */
} zo2_measure_kind;

typedef struct zo2_measure_spec { /* zero in any field = documented default */
    size_t struct_size;
    zo2_measure_kind kind;    /* needed */
    uint32_t threads;         /* 0 = usable CPUs */
    const char *simd;         /* "scalar", "avx2", "avx512"; NULL = the best this CPU has. Results have the same bits */
    uint64_t bytes;           /* limits, device copy, storage: 0 = 256 MiB */
    uint64_t rows, cols;      /* the others: 0 = 4,096 x 1,024 */
    uint64_t tokens;          /* gemm, attention, download: 0 = 512 */
    zo2_wire wire;            /* 0 = bf16 */
    zo2_dist dist;            /* 0 = gaussian */
    uint32_t queries;         /* update, panels: directions of a step, 0 = 1 */
    zo2_dtype compute;        /* panels, gemm, attention: 0 = fp32 */
    zo2_backend_kind backend; /* work of a backend, link: auto */
    uint64_t chunk_bytes;     /* host work, upload, bounced, storage: target size of a chunk's wire, 0 = 4 MiB */
    uint32_t pending;         /* panels: updates that the wire lacks and that are folded in, at most ZO2_MAX_PENDING */
    uint32_t heads;           /* attention: 0 = 1; divides cols */
    /* storage, one of the two, not kept: a folder, where a file is made that has no name any more when zo2_measure_open()
     * returns; or a file that is there and may be overwritten. What it lacks of `bytes` is written before anything is measured */
    const char *dir, *file;
    int no_io_uring; /* storage: by threads, as where io_uring is refused */
    int bias; /* gemm: each product adds a bias to its rows, one for each stream, as output projections have it */
} zo2_measure_spec;

/* Sets struct_size, zero elsewhere. */
ZO2_API void zo2_measure_spec_init_sized(zo2_measure_spec *spec, size_t size);
static inline void zo2_measure_spec_init(zo2_measure_spec *spec)
{
    zo2_measure_spec_init_sized(spec, sizeof *spec);
}

typedef struct zo2_measure_info { /* what one pass does */
    double items;                 /* see the kinds */
    uint64_t bytes_read;          /* of host memory, counted once each; 0 where arithmetic is the limit (gemm) */
    uint64_t bytes_written;
    uint32_t threads;
    char simd[16];
    zo2_backend_kind backend; /* the one in use, for work of a backend and the link; else 0 */
    int pinned;               /* the link: 1 if the host memory is pinned, or the backend has no need of that */
    char io[96];              /* storage: "io_uring, registered buffers", "pread threads (io_uring: REASON)" */
} zo2_measure_info;

typedef struct zo2_measure zo2_measure;

/* Makes threads, memory (touched, filled with weights of standard deviation 0.02) and device ready. *out is the
 * caller's until zo2_measure_close(); NULL on failure. info may be NULL. One caller at a time per handle; several
 * handles may be open, but those that run at once slow each other. While one with a `simd` runs, the whole process uses
 * those instructions: that changes times, never bits. ZO2_ERR_UNSUPPORTED: an instruction set that this CPU lacks, a
 * backend that this build lacks or that computes nothing. ZO2_ERR_ARG: an unknown kind, wire, distribution or type;
 * sizes above 2^40; more than ZO2_MAX_QUERIES queries or ZO2_MAX_PENDING updates; no folder. ZO2_ERR_NOMEM. Of storage also
 * ZO2_ERR_NOTFOUND, ZO2_ERR_NOSPACE and ZO2_ERR_IO. */
ZO2_API zo2_status zo2_measure_open(zo2_measure **out, const zo2_measure_spec *spec, zo2_measure_info *info);

/* Does the work `passes` times (0 counts as 1) and stores the mean seconds of one pass, by a monotonic clock. The first
 * run after open warms caches: leave it out. */
ZO2_API zo2_status zo2_measure_run(zo2_measure *m, uint64_t passes, double *seconds);
ZO2_API void zo2_measure_close(zo2_measure *m); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
