/* refused.h: a process that gives rights away: io_uring, memory that may be locked. There is no way back. */
#ifndef ZO2_TESTS_UNIT_STORAGE_REFUSED_H
#define ZO2_TESTS_UNIT_STORAGE_REFUSED_H

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From here on io_uring_setup() fails with `err` in this process. */
static inline int refuse_io_uring(uint32_t err)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* An ordinary user who may lock so many bytes. */
static inline int become_user(uint64_t locked)
{
    const struct rlimit limit = {locked, locked};
    if (setrlimit(RLIMIT_MEMLOCK, &limit))
        return -1;
    return geteuid() == 0 && (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) ? -1 : 0;
}

#endif
