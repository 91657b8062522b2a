/* machine.h: what this process may use of the machine: memory and CPUs, and which limit says so. */
#ifndef ZO2_ENGINE_BASE_MACHINE_H
#define ZO2_ENGINE_BASE_MACHINE_H

#include "engine/base/cgroup.h"
#include "engine/zo2.h"

/* The files of this machine. */
zo2_text_files zo2_machine_files(void);

/* Bytes of memory that may still be taken: the lowest of what is available on the machine, what control groups leave, and what
 * RLIMIT_AS and RLIMIT_DATA leave. UINT64_MAX: nobody knows. */
void zo2_machine_memory(zo2_limit *out, const zo2_text_files *files);

/* CPUs that may be used, at least 1: the lower of the affinity mask and the control groups' quotas, rounded up. */
void zo2_machine_cpus(zo2_limit *out, const zo2_text_files *files);

/* zo2_machine_cpus() here, alone. */
uint32_t zo2_usable_cpus(void);

#endif
