/* names.c: names of types, wires and distributions, as on the command line. One list per enumeration feeds both
 * directions; that of the wires is wires.h. */
#include <stddef.h>
#include <string.h>

#include "codec/wires.h"
#include "engine/zo2.h"

#define DTYPE_MAP(X)   \
    X(ZO2_F32, "fp32") \
    X(ZO2_F16, "fp16") \
    X(ZO2_BF16, "bf16")

#define DIST_MAP(X)             \
    X(ZO2_GAUSSIAN, "gaussian") \
    X(ZO2_RADEMACHER, "rademacher")

#define NAME(value, text) \
    case value:           \
        return text;
#define PARSE(value, text)       \
    if (strcmp(name, text) == 0) \
        return value;

#define WIRE_NAME(value, number, text, ...)  NAME(value, text)
#define WIRE_PARSE(value, number, text, ...) PARSE(value, text)

#define DEFINE(type, map, name_of, parse) \
    const char *type##_name(type v)       \
    {                                     \
        switch (v) {                      \
            map(name_of)                  \
        }                                 \
        return NULL;                      \
    }                                     \
    type type##_parse(const char *name)   \
    {                                     \
        if (name != NULL) {               \
            map(parse)                    \
        }                                 \
        return (type)0;                   \
    }

DEFINE(zo2_dtype, DTYPE_MAP, NAME, PARSE)
DEFINE(zo2_wire, ZO2_WIRE_MAP, WIRE_NAME, WIRE_PARSE)
DEFINE(zo2_dist, DIST_MAP, NAME, PARSE)
