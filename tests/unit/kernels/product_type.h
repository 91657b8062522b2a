/* product_type.h: the type of a test's products where the device may lack one: GPUs before compute capability 8.0
 * multiply no bf16. */
#ifndef ZO2_TESTS_UNIT_KERNELS_PRODUCT_TYPE_H
#define ZO2_TESTS_UNIT_KERNELS_PRODUCT_TYPE_H

#include "kernels/backend.h"

/* type, or fp16 where the backend refuses to open for it. Opens and closes one: call it while none is open. */
static inline zo2_dtype test_product_type(zo2_backend_kind kind, zo2_dtype type)
{
    const zo2_backend_ops *ops = zo2_backend_get(kind);
    if (kind != ZO2_BACKEND_CUDA || ops->usable())
        return type;
    zo2_backend_config config = {.arena_bytes = ops->reserved_bytes + 4096, .compute = type};
    zo2_backend *b = NULL;
    zo2_status s = ops->open(&b, &config);
    if (!s)
        ops->close(b);
    return s == ZO2_ERR_UNSUPPORTED ? ZO2_F16 : type;
}

#endif
