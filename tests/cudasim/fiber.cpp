/* fiber.cpp: a context switch of our own for x86-64 (swapcontext() makes two system calls each time), ucontext
 * elsewhere, and the sanitizers' annotations around it. */
#include "fiber.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#define CUDASIM_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDASIM_ASAN
#endif
#endif
/* CUDASIM_TSAN comes from the build: this file itself is never compiled with ThreadSanitizer, see CMakeLists.txt. */

#ifdef CUDASIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CUDASIM_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
}
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cudasim
{

// clang-format off
#ifdef CUDASIM_TSAN
void *tsan_create(const char *name) { void *t = __tsan_create_fiber(0); __tsan_set_fiber_name(t, name); return t; }
void tsan_destroy(void *thread) { if (thread) __tsan_destroy_fiber(thread); }
void *tsan_current() { return __tsan_get_current_fiber(); }
void tsan_switch(void *thread) { __tsan_switch_to_fiber(thread, __tsan_switch_to_fiber_no_sync); }
void tsan_release(const void *at) { __tsan_release(const_cast<void *>(at)); }
void tsan_acquire(const void *at) { __tsan_acquire(const_cast<void *>(at)); }
void tsan_ignore_begin()
{
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
void tsan_ignore_end()
{
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
void *tsan_create(const char *) { return nullptr; }
void tsan_destroy(void *) {}
void *tsan_current() { return nullptr; }
void tsan_switch(void *) {}
void tsan_release(const void *) {}
void tsan_acquire(const void *) {}
void tsan_ignore_begin() {}
void tsan_ignore_end() {}
#endif

#ifdef CUDASIM_ASAN
void asan_poison(const void *p, size_t bytes) { __asan_poison_memory_region(p, bytes); }
void asan_unpoison(const void *p, size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
#else
void asan_poison(const void *, size_t) {}
void asan_unpoison(const void *, size_t) {}
#endif
// clang-format on

namespace
{

constexpr size_t guard_bytes = 64 * 1024; /* a multiple of every page size */

fiber *current; /* the one that runs; the simulator's lock covers it */

#if defined(__x86_64__)
/* Saves the callee's registers on the stack, leaves its pointer in *from, takes up the other stack. */
extern "C" void cudasim_switch(void **from, void *to);
asm(".text\n"
    ".type cudasim_switch, @function\n"
    "cudasim_switch:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    ret\n"
    ".size cudasim_switch, . - cudasim_switch\n");
#else
void cudasim_switch(void **from, void *to)
{
    ucontext_t here;
    *from = &here;
    swapcontext(&here, static_cast<ucontext_t *>(to));
}
#endif

/* To the resumer. */
void leave()
{
    fiber *f = current;
#ifdef CUDASIM_ASAN
    __sanitizer_start_switch_fiber(&f->fake_stack, f->resumer.bottom, f->resumer.size);
#endif
    tsan_switch(f->resumer.tsan);
    cudasim_switch(&f->pointer, f->resumer.pointer);
#ifdef CUDASIM_ASAN
    __sanitizer_finish_switch_fiber(f->fake_stack, &f->resumer.bottom, &f->resumer.size);
#endif
}

/* A fiber's first function: serves one after another. */
void serve()
{
#ifdef CUDASIM_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &current->resumer.bottom, &current->resumer.size);
#endif
    for (;;) {
        fiber *f = current;
        f->start(f->argument);
        f->running = false;
        leave();
    }
}

} // namespace

fiber::fiber(size_t bytes, const char *tsan_name)
    : stack_bytes(bytes), pointer(nullptr), initial(nullptr), fake_stack(nullptr), tsan(tsan_create(tsan_name)),
      start(nullptr), argument(nullptr), running(false), resumer()
{
    void *p = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (p == MAP_FAILED || mprotect(p, guard_bytes, PROT_NONE)) {
        perror("cudasim: stack of a fiber");
        abort();
    }
    stack = static_cast<unsigned char *>(p);
    asan_unpoison(stack, guard_bytes + stack_bytes);
#if defined(__x86_64__)
    /* As if serve() had been called: six registers, its address, and the alignment of a function's entry. */
    void **top = reinterpret_cast<void **>(stack + guard_bytes + stack_bytes);
    *--top = nullptr; /* where serve() would return to: 8 below a multiple of 16, as the calling convention has it */
    *--top = reinterpret_cast<void *>(serve);
    for (int i = 0; i < 6; i++)
        *--top = nullptr;
    pointer = top;
#else
    auto *c = new ucontext_t;
    getcontext(c);
    c->uc_stack.ss_sp = stack + guard_bytes;
    c->uc_stack.ss_size = stack_bytes;
    c->uc_link = nullptr;
    makecontext(c, serve, 0);
    pointer = initial = c;
#endif
}

fiber::~fiber()
{
    tsan_destroy(tsan);
#if !defined(__x86_64__)
    delete static_cast<ucontext_t *>(initial);
#endif
    asan_unpoison(stack, guard_bytes + stack_bytes);
    munmap(stack, guard_bytes + stack_bytes);
}

void fiber::resume(void (*function)(void *), void *with)
{
    if (!running) {
        start = function;
        argument = with;
        running = true;
    }
    resumer.running = current;
    resumer.tsan = tsan_current();
    void *to = pointer;
    current = this;
#ifdef CUDASIM_ASAN
    __sanitizer_start_switch_fiber(&resumer.fake_stack, stack + guard_bytes, stack_bytes);
#endif
    tsan_switch(tsan);
    cudasim_switch(&resumer.pointer, to);
#ifdef CUDASIM_ASAN
    __sanitizer_finish_switch_fiber(resumer.fake_stack, nullptr, nullptr);
#endif
    current = resumer.running;
}

void fiber_yield()
{
    leave();
}

} // namespace cudasim
