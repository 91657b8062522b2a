/* pickle_machine.h: the stack machine of a pickle: bytes and stack (pickle_machine.c), for its opcodes (pickle_ops.c,
 * pickle_objects.c). */
#ifndef ZO2_STORAGE_CHECKPOINT_PICKLE_MACHINE_H
#define ZO2_STORAGE_CHECKPOINT_PICKLE_MACHINE_H

#include "engine/zo2.h"
#include "storage/checkpoint/pickle.h"

typedef struct zo2_pickle_machine zo2_pickle_machine;

typedef struct zo2_pickle_op {
    const char *name; /* as pickletools has it; NULL: there is none of this code */
    zo2_status (*run)(zo2_pickle_machine *m);
    uint8_t n;    /* bytes of the number behind it, or things that it takes */
    uint8_t kind; /* of what it makes or changes */
} zo2_pickle_op;

struct zo2_pickle_machine {
    zo2_pickle *p;
    const unsigned char *in;
    size_t n, at;            /* at: behind what was read */
    const zo2_pickle_op *op; /* the current one */
    size_t op_at, frame_end;
    const char *where;
    zo2_pickle_known known;
    uint32_t *stack, n_stack, cap_stack;
    uint32_t *marks, n_marks, cap_marks; /* the stack's height at each */
    uint32_t *memo, cap_memo;            /* nodes; ZO2_PICKLE_NOTHING where none was put */
    uint32_t memorised;                  /* how many were */
    int stopped;
};

extern const zo2_pickle_op zo2_pickle_ops[256]; /* by code */

/* An error at the current opcode: where, name and offset are put in front. */
zo2_status zo2_pickle_bad(const zo2_pickle_machine *m, zo2_status s, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The tree's own errors, so completed. */
zo2_status zo2_pickle_complete(const zo2_pickle_machine *m, zo2_status s);

/* The next n bytes of the opcode's argument; a little-endian number of so many (at most 8). */
zo2_status zo2_pickle_take(zo2_pickle_machine *m, uint64_t n, const unsigned char **out);
zo2_status zo2_pickle_take_number(zo2_pickle_machine *m, unsigned bytes, uint64_t *out);

zo2_status zo2_pickle_push(zo2_pickle_machine *m, uint32_t node);
zo2_status zo2_pickle_push_new(zo2_pickle_machine *m, zo2_pickle_node node);
/* Takes n things off the stack, none below the last mark: they stay where they are until the next push. */
zo2_status zo2_pickle_pop(zo2_pickle_machine *m, uint32_t n, const uint32_t **out);
/* Takes everything above the last mark, and the mark. */
zo2_status zo2_pickle_pop_mark(zo2_pickle_machine *m, const uint32_t **out, uint32_t *n);
/* The topmost thing, which stays. */
zo2_status zo2_pickle_top(zo2_pickle_machine *m, uint32_t *node);

/* pickle_objects.c's opcodes. `n` and `kind` are the current opcode's. */
zo2_status zo2_pickle_empty(zo2_pickle_machine *m);      /* a new container */
zo2_status zo2_pickle_tuple_of(zo2_pickle_machine *m);   /* of n things */
zo2_status zo2_pickle_of_mark(zo2_pickle_machine *m);    /* of everything above the mark */
zo2_status zo2_pickle_put_n(zo2_pickle_machine *m);      /* n items into what is below them */
zo2_status zo2_pickle_put_marked(zo2_pickle_machine *m); /* everything above the mark */
zo2_status zo2_pickle_global(zo2_pickle_machine *m);
zo2_status zo2_pickle_reduce(zo2_pickle_machine *m);
zo2_status zo2_pickle_newobj(zo2_pickle_machine *m); /* n: with 3, named arguments too */
zo2_status zo2_pickle_build(zo2_pickle_machine *m);
zo2_status zo2_pickle_binpersid(zo2_pickle_machine *m);

#endif
