/* gpu_cards.h: GPUs by their published figures, and what a run may get of those. */
#ifndef ZO2_TOOLS_PLAN_GPU_CARDS_H
#define ZO2_TOOLS_PLAN_GPU_CARDS_H

#include <stdbool.h>

#include "engine/zo2.h"

typedef enum gpu_architecture { GPU_SM75, GPU_SM80, GPU_SM86, GPU_SM89, GPU_SM90, GPU_SM120 } gpu_architecture;

typedef struct gpu_card {
    const char *name; /* NULL ends the table */
    gpu_architecture architecture;
    unsigned processors;  /* multiprocessors */
    double ghz;           /* boost clock */
    double tflops;        /* dense fp16 products with fp32 sums */
    double memory_gb;     /* decimal, as sold */
    double memory_gb_s;   /* of its own memory */
    unsigned pcie, lanes; /* generation and width of its link */
} gpu_card;

extern const gpu_card gpu_cards[];

/* Rates of a step, the host's 0. pcie: the generation of the host's slots, 0: the card's own; the older one counts.
 * Nothing here is measured: peaks times the shares that gpu_cards.c lists. */
zo2_device_rates gpu_card_rates(const gpu_card *c, zo2_wire wire, zo2_dist dist, unsigned pcie);

/* bf16 products are done by tensor cores. */
bool gpu_card_has_bf16(const gpu_card *c);

#endif
