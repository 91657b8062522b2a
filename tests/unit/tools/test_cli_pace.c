/* Time left: steps, evaluations and snapshots to come. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/cli/pace.h"

#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-9)

static void steps_alone(void **state)
{
    (void)state;
    cli_pace p = {.passes_per_step = 2};
    assert_true(isnan(cli_pace_left(&p, 10, 0)));
    cli_pace_step(&p, 2.01, 2, 100); /* making the batch counts */
    NEAR(cli_pace_left(&p, 10, 0), 20.1);
    cli_pace_step(&p, 4.01, 4, 100);
    NEAR(cli_pace_left(&p, 10, 0), 30.1);
    for (int i = 0; i < 2000; i++) /* what was long ago is forgotten */
        cli_pace_step(&p, 1, 1, 100);
    NEAR(cli_pace_left(&p, 1000, 0), 1000);
    assert_true(cli_pace_left(&p, 0, 0) == 0);
}

static void evaluations(void **state)
{
    (void)state;
    /* Two queries are four passes over 100 tokens in a second; an evaluation is two over 1,000: five seconds. */
    cli_pace p = {.passes_per_step = 4, .evaluation_pass_tokens = 2000};
    cli_pace_step(&p, 1, 1, 100);
    NEAR(cli_pace_left(&p, 10, 3), 10 + 3 * 5);
    cli_pace_evaluation(&p, 7); /* now it is known */
    NEAR(cli_pace_left(&p, 10, 3), 10 + 3 * 7);
    cli_pace_evaluation(&p, 6);
    NEAR(cli_pace_left(&p, 10, 3), 10 + 3 * 6);
    NEAR(cli_pace_left(&p, 10, 0), 10);
    cli_pace none = {.passes_per_step = 2, .evaluation_pass_tokens = 10}; /* a skipped step may have no tokens */
    cli_pace_step(&none, 1, 1, 0);
    NEAR(cli_pace_left(&none, 2, 1), 2);
}

static void snapshots(void **state)
{
    (void)state;
    cli_pace p = {.passes_per_step = 2, .snapshot_every = 100};
    cli_pace_step(&p, 1, 1, 10);
    NEAR(cli_pace_left(&p, 250, 0), 250); /* none was seen */
    cli_pace_step(&p, 4, 1, 10);          /* three seconds: no part of the step */
    NEAR(cli_pace_left(&p, 250, 0), 250 + 2 * 3 + 3);
    NEAR(cli_pace_left(&p, 50, 0), 50 + 3); /* the one at the end */
    cli_pace_step(&p, 11, 1, 10);           /* ten seconds: every 190 only, so that they cost a twentieth */
    NEAR(cli_pace_left(&p, 379, 0), 379 + 10 + 10);
    NEAR(cli_pace_left(&p, 450, 0), 450 + 2 * 10 + 10);
    p.snapshot_every = 0;
    NEAR(cli_pace_left(&p, 450, 0), 450 + 10);
}

static void evaluations_to_come(void **state)
{
    (void)state;
    /* counted as the loop does it: after every step that is a multiple, and after the last */
    for (uint64_t target = 1; target < 13; target++)
        for (uint64_t every = 0; every < 14; every++)
            for (uint64_t done = 0; done <= target; done++) {
                uint64_t n = 0;
                for (uint64_t s = done + 1; s <= target; s++)
                    n += s == target || (every && s % every == 0);
                assert_int_equal(cli_pace_evaluations(done, target, every), n);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_alone),
        cmocka_unit_test(evaluations),
        cmocka_unit_test(snapshots),
        cmocka_unit_test(evaluations_to_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
