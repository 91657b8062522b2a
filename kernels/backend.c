/* backend.c: the backends of this build and their names. */
#include "kernels/backend.h"

#include <string.h>

static const struct {
    zo2_backend_kind kind;
    const char *name;
    const zo2_backend_ops *ops; /* NULL: not in this build */
} backends[] = {
    {ZO2_BACKEND_AUTO, "auto", &zo2_backend_cpu},
    {ZO2_BACKEND_CPU, "cpu", &zo2_backend_cpu},
    {ZO2_BACKEND_CUDA, "cuda", NULL},
    {ZO2_BACKEND_NULL, "null", &zo2_backend_null},
};

#define N_BACKENDS (sizeof backends / sizeof backends[0])

const zo2_backend_ops *zo2_backend_get(zo2_backend_kind kind)
{
    for (size_t i = 0; i < N_BACKENDS; i++)
        if (backends[i].kind == kind)
            return backends[i].ops;
    return NULL;
}

const char *zo2_backend_name(zo2_backend_kind v)
{
    for (size_t i = 0; i < N_BACKENDS; i++)
        if (backends[i].kind == v)
            return backends[i].name;
    return NULL;
}

int zo2_backend_parse(const char *name)
{
    for (size_t i = 0; name && i < N_BACKENDS; i++)
        if (!strcmp(backends[i].name, name))
            return (int)backends[i].kind;
    return -1;
}
