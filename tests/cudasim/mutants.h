/* mutants.h: runs a program that may well be killed, in a child process, and says how it ended. */
#ifndef CUDASIM_MUTANTS_H
#define CUDASIM_MUTANTS_H

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In which builds a mutant is caught. */
enum { PLAIN = 1, BY_ASAN = 2, BY_TSAN = 4, ALWAYS = 7 };
#if defined(__SANITIZE_ADDRESS__)
constexpr unsigned THIS_BUILD = BY_ASAN;
#elif defined(__SANITIZE_THREAD__)
constexpr unsigned THIS_BUILD = BY_TSAN;
#else
constexpr unsigned THIS_BUILD = PLAIN;
#endif

enum fate { FINE, WRONG, KILLED /* or ended by a sanitizer */ };

/* The program gives 0 when its result is right. A failed assertion counts as wrong, and so does what the simulator
 * reports. stderr is lost, unless CUDASIM_SHOW is defined. The caller must not have used the simulator itself:
 * ThreadSanitizer looks away in the children of a process that has had threads. */
template <class Program> fate in_child(Program program)
{
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        abort();
    }
    if (child == 0) {
        for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGABRT})
            signal(s, SIG_DFL); /* cmocka's would go on with the next test */
#ifndef CUDASIM_SHOW
        int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);
        dup2(nowhere, STDOUT_FILENO);
#endif
        int result = program() || cudasim_report()[0] ? 1 : 0;
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

#endif
