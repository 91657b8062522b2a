/* mutants.h: for C and C++: runs a program that may well be killed, in a child process, and says how it ended. */
#ifndef CUDASIM_MUTANTS_H
#define CUDASIM_MUTANTS_H

#include "cudasim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In which builds a mutant is caught. */
enum { PLAIN = 1, BY_ASAN = 2, BY_TSAN = 4, ALWAYS = 7 };
#if defined(__SANITIZE_ADDRESS__)
#define THIS_BUILD BY_ASAN
#elif defined(__SANITIZE_THREAD__)
#define THIS_BUILD BY_TSAN
#else
#define THIS_BUILD PLAIN
#endif

typedef enum fate { FINE, WRONG /* some sanitizers end programs like that too */, KILLED } fate;

/* The program gives 0 when its result is right. A failed assertion counts as wrong, and so does what the simulator
 * reports. stderr is lost, unless CUDASIM_SHOW is defined. The caller must not have used the simulator itself:
 * ThreadSanitizer looks away in the children of a process that has had threads. */
static inline fate call_in_child(int (*program)(void *), void *argument)
{
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        abort();
    }
    if (child == 0) {
        static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGABRT};
        for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++)
            signal(signals[i], SIG_DFL); /* cmocka's would go on with the next test */
#ifndef CUDASIM_SHOW
        int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);
        dup2(nowhere, STDOUT_FILENO);
#endif
        int result = program(argument) || cudasim_report()[0] ? 1 : 0;
#if defined(__SANITIZE_THREAD__)
        exit(result); /* the sanitizer has the last word here */
#else
        _exit(result);
#endif
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) <= 1)
        return WEXITSTATUS(status) ? WRONG : FINE;
    return KILLED;
}

#ifdef __cplusplus
template <class Program> fate in_child(Program program)
{
    return call_in_child([](void *p) -> int { return (*static_cast<Program *>(p))(); }, &program);
}
#endif

#endif
