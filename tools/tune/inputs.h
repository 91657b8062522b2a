/* inputs.h: a model with its tokenizer, and data files made into batches for it: what train, eval and tokenize begin
 * with. Functions return 0 or the exit status after a message on stderr. */
#ifndef ZO2_TOOLS_TUNE_INPUTS_H
#define ZO2_TOOLS_TUNE_INPUTS_H

#include "engine/zo2.h"
#include "tools/cli/args.h"
#include "tools/cli/progress.h"
#include "tools/text/dataset.h"
#include "tools/text/tokenizer.h"

typedef struct tune_model {
    const char *path;
    zo2_pack *pack;
    zo2_pack_info info;
    zo2t_chat *chat;           /* NULL: no chat template that is known */
    char no_chat[256];         /* then why */
    zo2t_tokenizer *tokenizer; /* NULL: the pack has none, or one that isn't supported: only "tokens" lines work */
} tune_model;

/* Warns of what is odd about the tokenizer. tune_model_close() in any case. */
int tune_model_open(tune_model *m, const char *program, const char *path);
void tune_model_close(tune_model *m);

/* The sequence length in force: `seq` as given, else the run's (0: no run), else the model's context. Usage errors: a
 * length beyond the context. */
int tune_resolve_seq(const cli_command *c, const tune_model *m, const cli_value *seq, uint32_t run_seq, uint32_t *out);

/* The BOS id in force; `run_bos` is NULL without a run, and what "auto" means with one. Warns where tokenizer and model differ. */
int tune_resolve_bos(const cli_command *c, const tune_model *m, const cli_value *bos, const int32_t *run_bos,
                     int32_t *out);

/* Loads a data file, tells how many lines were cut and warns of likely mistakes. seq_option: --seq may be larger.
 * *out is the caller's. */
int tune_data_load(zo2t_dataset **out, const char *path, const tune_model *m, uint32_t seq, int32_t bos,
                   bool seq_option, cli_progress *progress);

/* Raises o's largest sizes to what batches of `batch` lines of d need in micro-batches of `micro` (0 or UINT32_MAX: the
 * whole batch). A file is evaluated once, so no batch of it has more lines than the file. */
int tune_raise_bounds(zo2_engine_opts *o, const char *program, const zo2t_dataset *d, uint64_t batch, uint32_t micro,
                      bool for_evaluation);

#endif
