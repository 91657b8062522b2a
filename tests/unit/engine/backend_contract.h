/* backend_contract.h: every backend that a test of the engine opens is watched for breaks of the contract on threads
 * (kernels/backend.h), without a word in the test: these tests are linked so that zo2_backend_get(), zo2_backend_auto()
 * and the pipeline's start() and pause() go through backend_contract.c (--wrap), which puts a checking table in front of
 * the real one. The handle stays the real backend's; results and errors are untouched.
 *
 * A break ends the program at the call at fault, with words, every time: it doesn't take two calls that happen to meet.
 * What is noted for each lane is whose it is. From a pass's first moment until the pipeline pauses the upload lane is the
 * pipeline's thread's, and in the pass the others are the caller's; otherwise a lane is whose call on it was the first since the
 * last drain() or finish().
 *
 * Nothing here orders threads (relaxed atomics only): ThreadSanitizer sees the races that it would see without. */
#ifndef ZO2_TESTS_UNIT_ENGINE_BACKEND_CONTRACT_H
#define ZO2_TESTS_UNIT_ENGINE_BACKEND_CONTRACT_H

#include "kernels/backend.h"

/* The caller has joined the threads that used the lanes of b: what they have under way is its own now. */
void backend_contract_joined(zo2_backend *b);
/* Calls fn with the words instead of ending the program; the call at fault does nothing and returns ZO2_ERR_INTERNAL,
 * if anything. fn: on the thread at fault. NULL: ends it again. */
void backend_contract_on_break(void (*fn)(const char *words));

#endif
