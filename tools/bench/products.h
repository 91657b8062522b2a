/* products.h: the matrix products of a step, from a model's tensors. */
#ifndef ZO2_TOOLS_BENCH_PRODUCTS_H
#define ZO2_TOOLS_BENCH_PRODUCTS_H

#include "tools/bench/bench.h"

/* One shape: y = x W^T with x [tokens][cols], W [rows][cols]; `count` of them in a pass. */
typedef struct bench_product {
    uint64_t rows, cols, count;
    const char *of; /* name of the first tensor of this shape; valid as long as the pack */
} bench_product;

enum { BENCH_MAX_PRODUCTS = 16 };

typedef struct bench_products {
    zo2_pack *pack; /* owned */
    zo2_pack_info info;
    uint64_t tokens; /* of one row: what is asked, at most the model's context */
    uint64_t used;   /* tokens that are multiplied: a row's last one predicts nothing */
    unsigned n;
    bench_product list[BENCH_MAX_PRODUCTS];
    double flops; /* of both streams of a step */
} bench_products;

/* From --model and --tokens. False with a message. */
bool bench_products_open(bench *b, bench_products *p);
void bench_products_close(bench_products *p);

/* All products of a step as one side, each shape once a pass and counted `count` times: by the cpu backend as a step
 * does them, or by OpenBLAS alone. items: as given. */
bool bench_add_products(bench *b, bench_row *row, const bench_products *p, bool openblas, const char *key,
                        const char *name, double items);

#endif
