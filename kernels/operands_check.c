/* operands_check.c: operands against the arena and against each other; see operands.h. */
#include "kernels/operands.h"

#define REFUSE(...) zo2_error(ZO2_ERR_DEVICE, __VA_ARGS__)

/* Whether batch entry i of a meets entry j of b. Exact for equal row strides (columns of one matrix), conservative
 * otherwise. */
static int entries_meet(const zo2_operand *a, uint64_t i, const zo2_operand *b, uint64_t j)
{
    uint64_t pa = (uint64_t)(uintptr_t)a->at + i * a->stride, pb = (uint64_t)(uintptr_t)b->at + j * b->stride;
    if (pa + a->extent <= pb || pb + b->extent <= pa)
        return 0;
    if (a->ld != b->ld || a->rows == 1 || b->rows == 1)
        return 1;
    /* Column of b's first byte seen from a's rows; b's runs must fit between the end of a's and the start of a's next.
     */
    uint64_t column = pb >= pa ? (pb - pa) % a->ld : (a->ld - (pa - pb) % a->ld) % a->ld;
    return !(column >= a->row && column + b->row <= a->ld);
}

static int operands_meet(const zo2_operand *a, const zo2_operand *b)
{
    for (uint64_t i = 0; i < a->batch; i++)
        for (uint64_t j = 0; j < b->batch; j++)
            if ((a != b || i < j) && entries_meet(a, i, b, j))
                return 1;
    return 0;
}

zo2_status zo2_operands_check(const zo2_operands *l, const void *arena, uint64_t arena_bytes, uint64_t *high_water)
{
    uint64_t base = (uint64_t)(uintptr_t)arena;
    *high_water = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        const zo2_operand *o = &l->v[i];
        uint64_t at = (uint64_t)(uintptr_t)o->at, bytes = (o->batch - 1) * o->stride + o->extent;
        if (at < base || at - base > arena_bytes || bytes > arena_bytes - (at - base))
            return REFUSE("%s: %s (%llu bytes) is not inside the arena of %llu bytes", l->op, o->name,
                          (unsigned long long)bytes, (unsigned long long)arena_bytes);
        if (at % o->align)
            return REFUSE("%s: %s is not aligned to %u bytes", l->op, o->name, o->align);
        if (at - base + bytes > *high_water)
            *high_water = at - base + bytes;
    }
    for (uint32_t i = 0; i < l->n; i++) {
        const zo2_operand *o = &l->v[i];
        if (!(o->access & ZO2_OPERAND_WRITE))
            continue;
        for (uint32_t j = 0; j < l->n; j++)
            if (operands_meet(o, &l->v[j]))
                return i == j ? REFUSE("%s: streams of %s overlap", l->op, o->name)
                              : REFUSE("%s: %s overlaps %s", l->op, o->name, l->v[j].name);
    }
    return ZO2_OK;
}
