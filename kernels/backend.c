/* backend.c: the backends of this build and their names. */
#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>

#ifdef ZO2_HAVE_CUDA
#define CUDA_OPS (&zo2_backend_cuda)
#else
#define CUDA_OPS NULL
#endif

static const struct {
    zo2_backend_kind kind;
    const char *name;
    const zo2_backend_ops *ops; /* NULL: not in this build */
} backends[] = {
    {ZO2_BACKEND_AUTO, "auto", NULL}, /* the choice is made below */
    {ZO2_BACKEND_CPU, "cpu", &zo2_backend_cpu},
    {ZO2_BACKEND_CUDA, "cuda", CUDA_OPS},
    {ZO2_BACKEND_NULL, "null", &zo2_backend_null},
};

#define N_BACKENDS (sizeof backends / sizeof backends[0])

const zo2_backend_ops *zo2_backend_auto(char *why_not, size_t size)
{
    if (size)
        why_not[0] = '\0';
#ifdef ZO2_HAVE_CUDA
    if (!zo2_backend_cuda.usable())
        return &zo2_backend_cuda;
    snprintf(why_not, size, "%s", zo2_last_error());
#endif
    return &zo2_backend_cpu;
}

const zo2_backend_ops *zo2_backend_get(zo2_backend_kind kind)
{
    if (kind == ZO2_BACKEND_AUTO)
        return zo2_backend_auto(NULL, 0);
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
