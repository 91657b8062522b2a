/* names.c: names of types, wires and distributions, as on the command line. One list per enumeration feeds both
 * directions. */
#include <stddef.h>
#include <string.h>

#include "engine/zo2.h"

#define DTYPE_MAP(X)   \
    X(ZO2_F32, "fp32") \
    X(ZO2_F16, "fp16") \
    X(ZO2_BF16, "bf16")

#define WIRE_MAP(X)              \
    X(ZO2_WIRE_BF16, "bf16")     \
    X(ZO2_WIRE_FP32, "fp32")     \
    X(ZO2_WIRE_E4M3, "fp8-e4m3") \
    X(ZO2_WIRE_E5M2, "fp8-e5m2") \
    X(ZO2_WIRE_FP16, "fp16")

#define DIST_MAP(X)             \
    X(ZO2_GAUSSIAN, "gaussian") \
    X(ZO2_RADEMACHER, "rademacher")

#define NAME(value, text) \
    case value:           \
        return text;
#define PARSE(value, text)       \
    if (strcmp(name, text) == 0) \
        return value;

#define DEFINE(type, map)               \
    const char *type##_name(type v)     \
    {                                   \
        switch (v) {                    \
            map(NAME)                   \
        }                               \
        return NULL;                    \
    }                                   \
    type type##_parse(const char *name) \
    {                                   \
        if (name != NULL) {             \
            map(PARSE)                  \
        }                               \
        return (type)0;                 \
    }

DEFINE(zo2_dtype, DTYPE_MAP)
DEFINE(zo2_wire, WIRE_MAP)
DEFINE(zo2_dist, DIST_MAP)
