/* comm.h: what this folder asks of a message-passing system: processes with numbers, and two ways to gather. MPI has it
 * (comm_mpi.c); a build without it has comm_none.c, which says so. One caller, the thread that called dist_comm_open(). An error of the
 * system itself ends all processes, as MPI does by default. */
#ifndef ZO2_TOOLS_DIST_COMM_H
#define ZO2_TOOLS_DIST_COMM_H

#include <stdint.h>

#include "engine/zo2.h"

enum { DIST_HOST_BYTES = 64 };

/* Joins the other processes. ZO2_ERR_UNSUPPORTED in a build without MPI. */
zo2_status dist_comm_open(uint32_t *rank, uint32_t *ranks);
/* Leaves them: returns when all do. */
void dist_comm_close(void);
/* This machine's name. */
void dist_comm_host(char host[DIST_HOST_BYTES]);

/* Everybody's doubles to everybody: own[count[rank]] to all[at[r]...], for each rank r count[r] of them. All know all counts. Sums nothing. */
void dist_comm_gather_f64(const double *own, double *all, const int *count, const int *at);
/* The same of bytes. */
void dist_comm_gather(const void *own, void *all, const int *count, const int *at);
/* Rank `from`'s bytes to everybody. */
void dist_comm_send(void *data, int bytes, uint32_t from);

/* Ends the other processes now; doesn't return. */
_Noreturn void dist_comm_abort(void);

#endif
