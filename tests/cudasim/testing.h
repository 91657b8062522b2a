/* testing.h: what the tests of the simulator share: cmocka for C++, a device made ready, memory to copy through. */
#ifndef CUDASIM_TESTING_H
#define CUDASIM_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

extern "C" {
#include <cmocka.h>
}

#include <vector>

#include "cudasim.h"
#include "kernels/cuda/dialect.h"

#define OK(call) assert_int_equal(call, cudaSuccess)

/* The first report has `part`. */
inline void reported(const char *part)
{
    if (!strstr(cudasim_report(), part))
        fail_msg("the report \"%s\" does not mention \"%s\"", cudasim_report(), part);
}

inline void reported_nothing()
{
    if (cudasim_report()[0])
        fail_msg("unexpected report: %s", cudasim_report());
}

/* Host memory that is registered as long as it lives. */
template <class T> struct pinned {
    explicit pinned(size_t n, T value = T()) : v(n, value) { OK(cudaHostRegister(v.data(), n * sizeof(T), 0)); }
    ~pinned() { cudaHostUnregister(v.data()); }
    pinned(const pinned &) = delete;
    T &operator[](size_t i) { return v[i]; }
    T *data() { return v.data(); }
    size_t bytes() const { return v.size() * sizeof(T); }
    std::vector<T> v;
};

template <class T> T *device_array(size_t n)
{
    T *p;
    OK(cudaMalloc(&p, n * sizeof(T)));
    return p;
}

inline cudaStream_t new_stream()
{
    cudaStream_t s;
    OK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
}

template <class T> void upload(T *to, pinned<T> &from, cudaStream_t s)
{
    OK(cudaMemcpyAsync(to, from.data(), from.bytes(), cudaMemcpyHostToDevice, s));
}
template <class T> void download(pinned<T> &to, const T *from, cudaStream_t s)
{
    OK(cudaMemcpyAsync(to.data(), from, to.bytes(), cudaMemcpyDeviceToHost, s));
}

#endif
