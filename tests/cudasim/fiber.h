/* fiber.h: stacks that take turns, and what the sanitizers have to be told about them.
 *
 * resume() passes control to a fiber, which gives it back by fiber_yield() or when its function ends. A stream's
 * operations run on a fiber, which resumes those of a kernel's threads. A fiber serves many functions one after another:
 * making stacks, and fake stacks for AddressSanitizer, is what costs. */
#ifndef CUDASIM_FIBER_H
#define CUDASIM_FIBER_H

#include <cstddef>

namespace cudasim
{

/* ThreadSanitizer's idea of a thread. Its events count for the thread that is current; happens-before comes from
 * tsan_release() and tsan_acquire() alone. All of this is nothing without that sanitizer. */
void *tsan_create(const char *name);
void tsan_destroy(void *thread);
void *tsan_current();
void tsan_switch(void *thread);
void tsan_release(const void *at);
void tsan_acquire(const void *at);
/* Between the two, accesses of the current thread are the simulator's own book-keeping, which it locks by itself. */
void tsan_ignore_begin();
void tsan_ignore_end();

/* Accesses to the bytes are errors until unpoisoned (AddressSanitizer only). */
void asan_poison(const void *p, size_t bytes);
void asan_unpoison(const void *p, size_t bytes);

struct fiber {
    fiber(size_t stack_bytes, const char *tsan_name);
    ~fiber();
    fiber(const fiber &) = delete;
    fiber &operator=(const fiber &) = delete;

    /* Runs until the function returns or calls fiber_yield(). `start` is taken when the last function has returned. */
    void resume(void (*start)(void *), void *argument);

    unsigned char *stack; /* its mapping, guard page included */
    size_t stack_bytes;
    void *pointer;    /* of the stack while not running */
    void *initial;    /* the context it began with, where switches are ucontext's */
    void *fake_stack; /* AddressSanitizer's */
    void *tsan;
    void (*start)(void *);
    void *argument;
    bool running; /* inside `start` */
    struct {
        fiber *running; /* NULL: not a fiber */
        void *pointer, *fake_stack, *tsan;
        const void *bottom;
        size_t size;
    } resumer; /* whoever called resume() */
};

/* Back to the resumer; returns when the fiber is resumed. */
void fiber_yield();

} // namespace cudasim

#endif
