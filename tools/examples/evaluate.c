/* evaluate.c: what a model makes of a text, and its weights. Nothing is written; a run may be training meanwhile. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <zo2.h>

/* Ids of the tiny model's tokens (tests/data/tiny-opt). A batch is as wide as its longest row; 1 fills up the others. */
enum { ROWS = 2, SEQ = 13, LOSS_TOKENS = 4 };
static const int32_t tokens[ROWS * SEQ] = {
    2, 36, 1636, 268, 261,  1283, 349, 17,  1295, 304,  261, 676, 1,    /* A member of a legation. It is a person */
    2, 36, 479,  268, 3239, 323,  307, 837, 17,   1295, 304, 322, 1630, /* A genus of Peramelidae. It is an animal */
};
static const uint8_t real[ROWS * SEQ] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, /* the tokens that count */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};
static const uint8_t loss[ROWS * SEQ] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, /* those whose probability is asked for: the answers */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
};

static zo2_status print_scores(zo2_engine *engine, zo2_weights weights, const char *name)
{
    const zo2_batch batch = {
        .struct_size = sizeof batch, .rows = ROWS, .seq = SEQ, .tokens = tokens, .mask = real, .loss = loss};
    float logprobs[LOSS_TOKENS];
    zo2_scores scores;
    zo2_scores_init(&scores);
    scores.logprobs = logprobs;
    zo2_status status = zo2_forward(engine, &batch, weights, &scores);
    if (status)
        return status;
    printf("%s: loss %.6f, probabilities of the answers' tokens:", name, scores.loss);
    for (uint64_t i = 0; i < scores.loss_tokens; i++)
        printf(" %.4f", exp((double)logprobs[i]));
    printf("\n");
    return ZO2_OK;
}

/* Every tensor with its shape, the type it has in the pack, and its first values in the engine. */
static zo2_status print_weights(zo2_engine *engine, const zo2_pack *pack)
{
    zo2_pack_info info;
    zo2_status status = zo2_pack_get_info(pack, &info);
    for (uint64_t i = 0; !status && i < info.tensors; i++) {
        zo2_tensor_info t;
        float first[2];
        status = zo2_pack_tensor(pack, i, &t);
        if (!status)
            status = zo2_tensor_read(engine, t.name, 0, 2, first);
        if (!status)
            printf("%s: %" PRIu64 " x %" PRIu64 " %s, %.6g %.6g ...\n", t.name, t.rows, t.cols, zo2_dtype_name(t.dtype),
                   (double)first[0], (double)first[1]);
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: evaluate MODEL.zo2 [RUN_DIR]\n");
        return 2;
    }
    const char *run_dir = argc == 3 ? argv[2] : NULL; /* NULL: the pack's own weights */
    zo2_pack *pack = NULL;
    zo2_engine *engine = NULL;
    zo2_engine_opts opts;
    zo2_engine_opts_init(&opts);
    opts.read_only = 1;
    opts.max_rows = ROWS;
    opts.max_seq = SEQ;
    zo2_status status = zo2_pack_open(&pack, argv[1]);
    if (!status)
        status = zo2_engine_open(&engine, argv[1], run_dir, &opts);
    if (!status) {
        zo2_engine_state state;
        zo2_engine_get_state(engine, &state);
        printf("weights after %" PRIu64 " steps\n", state.step);
        status = print_scores(engine, ZO2_WEIGHTS_WIRE, "through the wire"); /* rounded, as in training */
    }
    if (!status)
        status = print_scores(engine, ZO2_WEIGHTS_MASTER, "at the masters"); /* exact, as zo2_pack_export() writes */
    if (!status)
        status = print_weights(engine, pack);
    if (status)
        fprintf(stderr, "evaluate: %s\n", zo2_last_error());
    zo2_engine_close(engine);
    zo2_pack_close(pack);
    return status != ZO2_OK;
}
