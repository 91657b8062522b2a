/* plan_work.c: see plan_work.h. */
#include "engine/plan/plan_work.h"
#include "engine/model/wire_size.h"

#include <math.h>

/* A step of one group. */
typedef struct turn {
    uint32_t group;
    uint32_t fork;  /* blocks below are computed in one stream: nothing below moves in this step */
    uint32_t first; /* blocks below are not computed at all */
} turn;

static turn turn_of(const zo2_arch *a, uint32_t group, int filled)
{
    return (turn){.group = group, .fork = zo2_arch_fork(a, group), .first = filled && zo2_has_trunk(a) ? a->fork : 0};
}

/* Layers among the blocks from `from` on and below `to`. */
static double layers_of(const zo2_arch *a, uint32_t from, uint32_t to)
{
    from = from > 1 ? from : 1;
    to = to < a->layers + 1 ? to : a->layers + 1;
    return to > from ? to - from : 0;
}

static void add_tensor(zo2_work *w, const zo2_arch *a, const zo2_shape *s, const turn *now, const zo2_tensor *t)
{
    const double micro = ceil((double)s->batch_tokens / (double)(s->tokens ? s->tokens : 1));
    const double n = (double)t->rows * (double)t->cols;
    const uint32_t block = zo2_block_of_use(a, t);
    const int head = zo2_is_head(a, t) || t->role == ZO2_ROLE_HEAD_ROWS;
    if (block < now->first)
        return;
    if (zo2_moves(t, now->group)) {
        w->perturbed += n * (head ? 1 : micro);
    } else {
        w->plain += n * (head ? 1 : micro);
        w->late += t->frozen ? 0 : n * (head ? 1 : micro);
    }
    w->flops +=
        2.0 * n * (double)(block < now->fork ? 1 : s->streams) * (double)(head ? s->loss_tokens : s->batch_tokens);
}

static void add_turn(zo2_work *w, const zo2_arch *a, const zo2_shape *s, const turn *now)
{
    const uint32_t from = now->fork > now->first ? now->fork : now->first;
    for (uint32_t i = 0; i < a->n_tensors; i++)
        if (zo2_is_streamed(a, &a->tensors[i]) || zo2_is_vector(&a->tensors[i]))
            add_tensor(w, a, s, now, &a->tensors[i]);
    /* scores and values of attention, causal */
    const double of_stream = 2.0 * (double)s->batch_tokens * (double)s->max_keys * (double)zo2_attention_columns(a);
    w->flops += (double)s->streams * of_stream * layers_of(a, from, a->n_blocks);
    w->flops += of_stream * layers_of(a, now->first, from);
    /* after every block but the head */
    w->staged_blocks += (double)(a->layers + 1) - from + (double)(from - now->first) / s->streams;
}

static void add_wires(zo2_work *w, const zo2_arch *a, const zo2_shape *s, int filled)
{
    for (uint32_t i = 0; i < a->n_tensors; i++) {
        const zo2_tensor *t = &a->tensors[i];
        if (!zo2_is_streamed(a, t) && !zo2_is_vector(t))
            continue;
        const double bytes = (double)zo2_tensor_wire_room(t, s->wires, t->rows);
        if (!t->frozen)
            w->moving += bytes;
        else if (zo2_block_of_use(a, t) >= a->fork)
            w->frozen += bytes;
        else
            w->trunk += filled && zo2_has_trunk(a) ? 0 : bytes;
    }
}

zo2_work zo2_plan_work(const zo2_arch *a, const zo2_shape *s, int filled)
{
    const double groups = a->groups;
    zo2_work w = {.updated = (double)a->moving / groups};
    for (uint32_t g = 0; g < a->groups; g++) {
        turn t = turn_of(a, g, filled);
        add_turn(&w, a, s, &t);
    }
    w.perturbed /= groups;
    w.plain /= groups;
    w.late /= groups;
    w.flops /= groups;
    w.staged_blocks /= groups;
    add_wires(&w, a, s, filled);
    w.cached = filled ? (double)s->trunk_row * (double)s->batch_tokens : 0;
    return w;
}
