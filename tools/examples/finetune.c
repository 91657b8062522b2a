/* finetune.c: ten steps on one toy batch. Run it again, and it does ten more. */
#include <stdio.h>
#include <string.h>
#include <zo2.h>

int main(int argc, char **argv)
{
    enum { ROWS = 2, SEQ = 6 };
    static const int32_t tokens[ROWS * SEQ] = {2, 36, 691, 1350, 348, 903, 2, 39, 461, 79, 271, 277};
    uint8_t loss[ROWS * SEQ];
    memset(loss, 1, sizeof loss);
    loss[0] = loss[SEQ] = 0; /* nothing predicts a row's first token */

    zo2_engine *engine;
    zo2_engine_opts opts;
    zo2_engine_opts_init(&opts);
    opts.lr = 1e-5;
    opts.seed = 1;
    opts.wire = ZO2_WIRE_BF16;
    opts.max_rows = ROWS;
    opts.max_seq = SEQ;
    opts.resume = 1; /* continue the run if it exists */
    if (argc != 3 || zo2_engine_open(&engine, argv[1], argv[2], &opts)) {
        fprintf(stderr, "finetune: %s\n", argc == 3 ? zo2_last_error() : "usage: finetune MODEL.zo2 RUN_DIR");
        return 1;
    }
    zo2_batch batch = {.struct_size = sizeof batch, .rows = ROWS, .seq = SEQ, .tokens = tokens, .loss = loss};
    zo2_status status = ZO2_OK;
    for (int i = 0; i < 10 && !status; i++) {
        zo2_step_result r = {.struct_size = sizeof r};
        status = zo2_step(engine, &batch, &r);
        if (!status)
            printf("step %d: loss %.4f, projected gradient %.3f\n", (int)r.step, (r.loss_plus + r.loss_minus) / 2,
                   r.projected_grad);
    }
    if (!status)
        status = zo2_snapshot(engine); /* optional: the next open replays less */
    if (status)
        fprintf(stderr, "finetune: %s\n", zo2_last_error());
    zo2_engine_close(engine);
    return status != ZO2_OK;
}
