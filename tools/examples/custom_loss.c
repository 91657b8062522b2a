/* custom_loss.c: fine-tunes on a loss that has no gradient: the mean rank of the right answer.
 *
 * Zeroth-order optimisation only compares losses, so a loss may count, sort or ask a judge. This one orders the answers
 * to each question by their log-probabilities: 1 where the right one comes first, 4 where it comes last. The mean is a
 * step function of the weights: eps is larger than usual here, so that W + eps z and W - eps z differ by some steps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <zo2.h>

enum { QUESTIONS = 16, ANSWERS = 4, LONGEST = 14, ANSWER_TOKENS = 2 };
enum { ROWS = QUESTIONS * ANSWERS, SEQ = LONGEST + ANSWER_TOKENS };

/* What kind of thing does a definition describe? Ids of the tiny model's tokens (tests/data/tiny-opt), as
 * "zo2-tune tokenize" prints them; every question ends with " It is", and zeros fill up the short ones. */
// clang-format off
static const int32_t question[QUESTIONS][LONGEST] = {
    {2, 36, 1636, 268, 261, 1283, 349, 17, 1295, 304},                      /* A member of a legation. */
    {2, 36, 684, 268, 274, 741, 1311, 2949, 17, 1295, 304},                 /* A family of ctenophores. */
    {2, 36, 2708, 428, 1702, 1214, 17, 1295, 304},                          /* A custard containing fruit. */
    {2, 36, 3859, 1542, 288, 623, 17, 1295, 304},                           /* American mountain mint. */
    {2, 36, 387, 1741, 289, 1243, 402, 280, 1691, 17, 1295, 304},           /* A Celtic warrior god. */
    {2, 36, 479, 268, 2190, 1149, 76, 837, 17, 1295, 304},                  /* A genus of Blenniidae. */
    {2, 38, 333, 499, 703, 348, 308, 2092, 17, 1295, 304},                  /* Curry made with lamb. */
    {2, 42, 3005, 268, 2970, 2178, 3946, 298, 376, 715, 17, 1295, 304},     /* Genus of Mediterranean thistles. */
    {2, 36, 753, 265, 480, 2615, 2255, 2105, 17, 1295, 304},                /* A worker who husks corn. */
    {2, 592, 3399, 268, 261, 4052, 2737, 17, 1295, 304},                    /* The shell of a marine organism. */
    {2, 38, 486, 463, 339, 1424, 348, 305, 2976, 17, 1295, 304},            /* Cake flavored with ginger. */
    {2, 54, 773, 1026, 2515, 974, 302, 1190, 17, 1295, 304},                /* South American evergreen tree or shrub. */
    {2, 36, 2158, 302, 3479, 268, 502, 394, 715, 17, 1295, 304},            /* A native or inhabitant of Naples. */
    {2, 55, 320, 1922, 16, 80, 489, 285, 2148, 3798, 17, 1295, 304},        /* Tall fast-moving dog breed. */
    {2, 47, 72, 930, 3137, 281, 415, 266, 1585, 17, 1295, 304},             /* Leaves collected from the wild. */
    {2, 1664, 974, 268, 266, 479, 413, 310, 334, 323, 417, 17, 1295, 304},  /* Any tree of the genus Macadamia. */
};
static const int32_t answer[ANSWERS][ANSWER_TOKENS] = {
    {322, 1630}, {261, 734}, {261, 676}, {261, 1366}, /* an animal, a plant, a person, a food */
};
static const uint32_t right[QUESTIONS] = {2, 0, 3, 1, 2, 0, 3, 1, 2, 0, 3, 1, 2, 0, 3, 1};
// clang-format on

/* logprobs: [QUESTIONS][ANSWERS][ANSWER_TOKENS], the loss tokens in the batch's order */
static zo2_status mean_rank(void *ud, const float *logprobs, uint64_t n, double *loss)
{
    double ranks = 0;
    (void)ud;
    if (n != ROWS * ANSWER_TOKENS)
        return zo2_error(ZO2_ERR_ARG, "the mean rank of %d tokens, not of %" PRIu64, ROWS * ANSWER_TOKENS, n);
    for (int q = 0; q < QUESTIONS; q++) {
        double score[ANSWERS] = {0};
        for (int a = 0; a < ANSWERS; a++)
            for (int t = 0; t < ANSWER_TOKENS; t++)
                score[a] += (double)*logprobs++;
        for (int a = 0; a < ANSWERS; a++)
            ranks += score[a] >= score[right[q]]; /* itself included: 1 is the best */
    }
    *loss = ranks / QUESTIONS;
    return ZO2_OK;
}

/* A row of the batch is a question with one of its answers, which carries the loss. */
typedef struct rows {
    int32_t token[ROWS][SEQ];
    uint8_t real[ROWS][SEQ], loss[ROWS][SEQ];
    uint32_t question[ROWS];
} rows;

static void fill(rows *r)
{
    for (uint32_t row = 0; row < ROWS; row++) {
        const uint32_t q = row / ANSWERS, a = row % ANSWERS;
        int n = 0;
        for (; n < LONGEST && question[q][n]; n++)
            r->token[row][n] = question[q][n];
        for (int t = 0; t < ANSWER_TOKENS; t++, n++) {
            r->token[row][n] = answer[a][t];
            r->loss[row][n] = 1;
        }
        while (n > 0)
            r->real[row][--n] = 1;
        r->question[row] = q;
    }
}

/* The loss and the number of right answers at the weights as they are now. */
static zo2_status report(zo2_engine *engine, const zo2_batch *batch, const char *when)
{
    zo2_scores scores;
    zo2_scores_init(&scores);
    zo2_status status = zo2_forward(engine, batch, ZO2_WEIGHTS_MASTER, &scores);
    if (!status)
        printf("%s mean rank %.4f, %d of %d right\n", when, scores.loss, (int)scores.correct, QUESTIONS);
    return status;
}

int main(int argc, char **argv)
{
    rows r = {0}; /* no real tokens, no loss */
    zo2_engine *engine;
    zo2_engine_opts opts;
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: custom_loss MODEL.zo2 NEW_RUN_DIR [STEPS]\n");
        return 2;
    }
    const int steps = argc == 4 ? atoi(argv[3]) : 40;
    zo2_engine_opts_init(&opts);
    opts.lr = 3e-4;
    opts.eps = 1e-2;
    opts.queries = 2;
    opts.max_rows = ROWS;
    opts.max_seq = SEQ;
    opts.loss = mean_rank;
    fill(&r);
    const zo2_batch batch = {
        .struct_size = sizeof batch,
        .rows = ROWS,
        .seq = SEQ,
        .tokens = r.token[0],
        .mask = r.real[0],
        .loss = r.loss[0],
        .examples = QUESTIONS, /* the engine computes once what an example's rows have in common */
        .example = r.question,
        .label = right, /* for zo2_scores.correct: the loss is our own */
    };
    zo2_status status = zo2_engine_open(&engine, argv[1], argv[2], &opts);
    if (!status)
        status = report(engine, &batch, "before:");
    for (int i = 0; i < steps && !status; i++)
        status = zo2_step(engine, &batch, NULL);
    if (!status)
        status = report(engine, &batch, "after: ");
    if (status)
        fprintf(stderr, "custom_loss: %s\n", zo2_last_error());
    zo2_engine_close(engine);
    return status != ZO2_OK;
}
