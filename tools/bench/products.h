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
    double flops;             /* of both streams of a step */
    zo2_backend_kind backend; /* of bench_product_spec(): cpu, unless the section sets another */
} bench_products;

typedef enum bench_products_by {
    BENCH_BY_TILES,    /* the backend, as a step does them */
    BENCH_BY_MATRICES, /* the backend, each by one call on whole matrices */
    BENCH_BY_OPENBLAS, /* OpenBLAS alone, on whole matrices */
} bench_products_by;

/* From --model and --tokens. False with a message. */
bool bench_products_open(bench *b, bench_products *p);
void bench_products_close(bench_products *p);

/* Path of a pack with weights: --model itself, or a synthetic one in the work folder, which is there. False with a message. */
bool bench_products_pack(const bench *b, const bench_products *p, char *path, size_t size);

/* One of them as p->backend measures it. kind: ZO2_MEASURE_GEMM, ZO2_MEASURE_GEMM_WHOLE. */
zo2_measure_spec bench_product_spec(const bench *b, const bench_products *p, const bench_product *x,
                                    zo2_measure_kind kind);

/* All products of a step as one side, each shape once a pass and counted `count` times. items: as given. */
bool bench_add_products(bench *b, bench_row *row, const bench_products *p, bench_products_by by, const char *key,
                        const char *name, double items);

#endif
