/* shared.cpp: a block's shared memory: arrays made when the first thread asks for them, between red zones. */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "block.h"

namespace cudasim
{

namespace
{

constexpr size_t red_zone = 64, plain_shared_limit = 48 * 1024;
constexpr unsigned char canary = 0xA5;

void make_shared(shared_array *a)
{
    size_t align = a->align < 16 ? 16 : a->align, front = red_zone < align ? align : red_zone;
    void *p;
    if (posix_memalign(&p, align, front + a->bytes + red_zone)) {
        perror("cudasim: shared memory");
        abort();
    }
    a->raw = static_cast<unsigned char *>(p);
    a->data = a->raw + front;
    memset(a->raw, canary, front);
    memset(a->data, 0xFF, a->bytes);
    memset(a->data + a->bytes, canary, red_zone);
    asan_poison(a->raw, front);
    asan_poison(a->data + a->bytes, red_zone);
}

void free_shared(const shared_array &a)
{
    asan_unpoison(a.raw, static_cast<size_t>(a.data - a.raw) + a.bytes + red_zone);
    bool whole = true;
    for (size_t i = 0; i < red_zone; i++)
        whole = whole && a.data[a.bytes + i] == canary && a.data[-1 - static_cast<ptrdiff_t>(i)] == canary;
    if (!whole && !the_block->failed) {
        report("%s: block (%u, %u, %u) wrote outside its shared array %s", the_block->l->name, blockIdx.x, blockIdx.y,
               blockIdx.z, a.name);
        the_block->failed = true;
    }
    free(a.raw);
}

size_t shared_bytes_in_use()
{
    size_t sum = 0;
    for (const shared_array &a : the_block->arrays)
        sum += a.bytes;
    return sum;
}

} // namespace

void free_shared_arrays()
{
    for (const shared_array &a : the_block->arrays)
        free_shared(a);
    the_block->arrays.clear();
}

void *shared(const void *site, size_t bytes, size_t align, const char *name)
{
    for (const shared_array &a : the_block->arrays)
        if (a.site == site)
            return a.data;
    tsan_ignore_begin(); /* the array has no history, whatever was at its address */
    shared_array a = {site, name, bytes, align, nullptr, nullptr};
    make_shared(&a);
    the_block->arrays.push_back(a);
    tsan_ignore_end();
    kernel_facts &facts = the_device->kernels[the_block->l->kernel];
    size_t sum = shared_bytes_in_use(), fixed = 0;
    for (const shared_array &s : the_block->arrays)
        fixed += s.site == the_block->l ? 0 : s.bytes;
    if (fixed > facts.static_shared)
        facts.static_shared = fixed;
    size_t limit = the_block->l->shared_bytes > 0 && static_cast<size_t>(facts.dynamic_limit) > plain_shared_limit
                       ? shared_limit()
                       : plain_shared_limit;
    if (fixed > plain_shared_limit || sum > limit) {
        report("%s uses %zu bytes of shared memory, %zu of them static; the limit is %zu",
               place(*the_block->running).c_str(), sum, fixed, fixed > plain_shared_limit ? plain_shared_limit : limit);
        fail_here();
    }
    return a.data;
}

void *dynamic_shared(const char *name)
{
    if (!the_block->l->shared_bytes) {
        report("%s uses dynamic shared memory, %s, but was launched without", place(*the_block->running).c_str(), name);
        fail_here();
    }
    return shared(the_block->l, the_block->l->shared_bytes, 16, name);
}

} // namespace cudasim
