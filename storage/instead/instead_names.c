/* instead_names.c: things that are recognised by the names they are saved under. */
#include "storage/instead/instead.h"

#include <assert.h>
#include <fnmatch.h>
#include <string.h>
#include <strings.h>

#define FOREIGN "this version reads safetensors and PyTorch's files: get the model as one of these, which most have"
#define MERGE \
    "merge it into its base model first (with PEFT: model.merge_and_unload(), then save_pretrained()), and convert the result"
#define PYTORCH "the folder that holds it and its config.json is what zo2-pack convert makes a pack of"
#define ORIGIN  "export it as a Hugging Face model with the tools that it was trained with"

/* How telling an entry of a folder is: the first of these decides. */
enum { ADAPTER, DEEPSPEED, FSDP, MEGATRON, OTHERS, UNFINISHED = ZO2_ORIGIN_FOREIGN, TRAINER, PACK, TORCH, METASEQ };

static_assert(OTHERS < ZO2_ORIGIN_FOREIGN, "the formats that nobody reads come first");

typedef struct row {
    const char *pattern; /* fnmatch(3) */
    unsigned rank;
    zo2_origin is;
} row;

#define UNFINISHED_IS                                                      \
    {                                                                      \
        "an unfinished download", "let it finish, or begin it again", 0, 0 \
    }
#define TRAINER_IS                                                                                      \
    {                                                                                                   \
        "a file of a trainer's state", "it is no model: save that, too (trainer.save_model(DIR))", 0, 0 \
    }
#define DEEPSPEED_IS                                                                                                 \
    {                                                                                                                \
        "a DeepSpeed checkpoint",                                                                                    \
            "make safetensors of it with the script in it: python zero_to_fp32.py DIR OUT_DIR --safe_serialization", \
            0, 0                                                                                                     \
    }
#define FSDP_IS                                                                                                  \
    {                                                                                                            \
        "an FSDP (distributed) checkpoint", "make safetensors of it: accelerate merge-weights DIR OUT_DIR", 0, 0 \
    }
#define MEGATRON_IS                           \
    {                                         \
        "a Megatron checkpoint", ORIGIN, 0, 0 \
    }
#define TF_IS                                         \
    {                                                 \
        "a file of TensorFlow weights", FOREIGN, 0, 0 \
    }
#define TORCH_IS                                                                        \
    {                                                                                   \
        "a file of PyTorch weights", PYTORCH, ZO2_WANT_TORCH | ZO2_WANT_MODEL_FOLDER, 0 \
    }
#define ADAPTER_IS                                                       \
    {                                                                    \
        "an adapter (PEFT), which isn't a model of its own", MERGE, 0, 0 \
    }
#define METASEQ_IS                                                                                          \
    {                                                                                                       \
        "a part of a metaseq checkpoint", "zo2-pack convert makes a pack of the folder with all its parts", \
            ZO2_WANT_TORCH | ZO2_WANT_MODEL_FOLDER, 0                                                       \
    }
#define METASEQ_SHARD_IS                                                                                                     \
    {                                                                                                                        \
        "a shard of a metaseq checkpoint",                                                                                   \
            "make parts of whole tensors first, for each N: python -m metaseq.scripts.reshard_fsdp --input "                 \
            "\"DIR/checkpoint_last-model_part-N-shard*.pt\" --output NEW_DIR/reshard-model_part-N.pt --num-output-shards 1 " \
            "--skip-optimizer-state True --unflatten-weights True; NEW_DIR is what zo2-pack convert takes",                  \
            0, 0                                                                                                             \
    }

/* The first that matches is it. */
static const row rows[] = {
    {"*.aria2", UNFINISHED, UNFINISHED_IS},
    {"*.incomplete", UNFINISHED, UNFINISHED_IS},
    {"*.part", UNFINISHED, UNFINISHED_IS},
    {"*.partial", UNFINISHED, UNFINISHED_IS},
    {"*.crdownload", UNFINISHED, UNFINISHED_IS},
    {"*.download", UNFINISHED, UNFINISHED_IS},
    {"adapter_config.json", ADAPTER, ADAPTER_IS},
    {"adapter_model.*", ADAPTER, ADAPTER_IS},
    {"zero_to_fp32.py", DEEPSPEED, DEEPSPEED_IS},
    {"*mp_rank_*_model_states.pt", DEEPSPEED, DEEPSPEED_IS},
    {"*zero_pp_rank_*", DEEPSPEED, DEEPSPEED_IS},
    {"global_step[0-9]*", DEEPSPEED, DEEPSPEED_IS},
    {"*.distcp", FSDP, FSDP_IS},
    {"pytorch_model_fsdp*", FSDP, FSDP_IS},
    {"latest_checkpointed_iteration.txt", MEGATRON, MEGATRON_IS},
    {"iter_[0-9][0-9][0-9][0-9][0-9][0-9][0-9]", MEGATRON, MEGATRON_IS},
    {"mp_rank_[0-9][0-9]*", MEGATRON, MEGATRON_IS},
    {"model_optim_rng.pt", MEGATRON, MEGATRON_IS},
    {"*-model_part-*-shard*.pt", OTHERS, METASEQ_SHARD_IS},
    {"*-model_part-*.pt", METASEQ, METASEQ_IS},
    {"reshard.pt", METASEQ, METASEQ_IS},
    {"restored.pt", METASEQ, METASEQ_IS},
    {"checkpoint*-shard*.pt", OTHERS, METASEQ_SHARD_IS},
    {"consolidated*.pth",
     OTHERS,
     {"a file of weights in a format of its authors", "get the model in Hugging Face's format, with safetensors", 0,
      0}},
    {"*.gguf", OTHERS, {"a GGUF file", "zo2-pack convert makes a pack of it", ZO2_WANT_MODEL_FOLDER, 0}},
    {"*ggml*.bin", OTHERS, {"a GGML file", FOREIGN, 0, 0}},
    {"*.onnx", OTHERS, {"an ONNX model", FOREIGN, 0, 0}},
    {"*.onnx_data", OTHERS, {"an ONNX model", FOREIGN, 0, 0}},
    {"openvino_*", OTHERS, {"an OpenVINO model", FOREIGN, 0, 0}},
    {"*.mlmodel", OTHERS, {"a Core ML model", FOREIGN, 0, 0}},
    {"*.mlpackage", OTHERS, {"a Core ML model", FOREIGN, 0, 0}},
    {"*.tflite", OTHERS, {"a TensorFlow Lite model", FOREIGN, 0, 0}},
    {"*.nemo", OTHERS, {"a NeMo archive", ORIGIN, 0, 0}},
    {"rust_model.ot", OTHERS, {"a file of weights for rust-bert", FOREIGN, 0, 0}},
    {"*.msgpack", OTHERS, {"a file of Flax weights", FOREIGN, 0, 0}},
    {"*.h5", OTHERS, TF_IS},
    {"*.ckpt.index", OTHERS, TF_IS},
    {"*.ckpt.data-*", OTHERS, TF_IS},
    {"*.ckpt.meta", OTHERS, TF_IS},
    {"saved_model.pb", OTHERS, TF_IS},
    {"optimizer*.pt", TRAINER, TRAINER_IS},
    {"optimizer*.bin", TRAINER, TRAINER_IS},
    {"*optim_states.pt", TRAINER, TRAINER_IS},
    {"scheduler*.pt", TRAINER, TRAINER_IS},
    {"scheduler*.bin", TRAINER, TRAINER_IS},
    {"rng_state*.pth", TRAINER, TRAINER_IS},
    {"random_states_*.pkl", TRAINER, TRAINER_IS},
    {"scaler.pt", TRAINER, TRAINER_IS},
    {"training_args.bin", TRAINER, TRAINER_IS},
    {"trainer_state.json", TRAINER, TRAINER_IS},
    {"*.h5.index.json", OTHERS, {"an index of TensorFlow weights", FOREIGN, 0, 0}},
    {"*.msgpack.index.json", OTHERS, {"an index of Flax weights", FOREIGN, 0, 0}},
    {"*.bin.index.json", TORCH, {"an index of PyTorch weights", PYTORCH, ZO2_WANT_JSON | ZO2_WANT_MODEL_FOLDER, 0}},
    {"*.bin", TORCH, TORCH_IS},
    {"*.pt", TORCH, TORCH_IS},
    {"*.pth", TORCH, TORCH_IS},
    {"*.ckpt", TORCH, TORCH_IS},
    {"*.zo2", PACK, {"a zo2 pack", "programs take it as it is, as the model (FILE, --model)", ZO2_WANT_PACK, 0}},
};

const zo2_origin *zo2_origin_of_name(const char *name, unsigned *rank)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (fnmatch(rows[i].pattern, name, FNM_CASEFOLD) == 0) {
            *rank = rows[i].rank;
            return &rows[i].is;
        }
    return NULL;
}

int zo2_is_torch_name(const char *name)
{
    static const char *const endings[] = {".bin", ".pt", ".pth", ".ckpt"};
    unsigned rank;
    const size_t n = strlen(name);
    int ends = 0;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        ends |= n > strlen(endings[i]) && strcasecmp(name + n - strlen(endings[i]), endings[i]) == 0;
    return ends && name[0] != '.' && zo2_origin_of_name(name, &rank) && rank == TORCH;
}
