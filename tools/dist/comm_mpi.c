/* comm_mpi.c: comm.h by MPI. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/dist/comm.h"

static int self(void)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

zo2_status dist_comm_open(uint32_t *rank, uint32_t *ranks)
{
    int level, size;
    /* The library has threads of its own; none of them calls MPI. */
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS || level < MPI_THREAD_FUNNELED)
        return zo2_error(ZO2_ERR_UNSUPPORTED, "this MPI cannot be used by a program that has threads");
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    *rank = (uint32_t)self();
    *ranks = (uint32_t)size;
    return ZO2_OK;
}

void dist_comm_close(void)
{
    MPI_Finalize();
}

void dist_comm_host(char host[DIST_HOST_BYTES])
{
    char name[MPI_MAX_PROCESSOR_NAME] = "";
    int n;
    MPI_Get_processor_name(name, &n);
    snprintf(host, DIST_HOST_BYTES, "%.*s", DIST_HOST_BYTES - 1, name);
}

void dist_comm_gather_f64(const double *own, double *all, const int *count, const int *at)
{
    MPI_Allgatherv(own, count[self()], MPI_DOUBLE, all, count, at, MPI_DOUBLE, MPI_COMM_WORLD);
}

void dist_comm_gather(const void *own, void *all, const int *count, const int *at)
{
    MPI_Allgatherv(own, count[self()], MPI_BYTE, all, count, at, MPI_BYTE, MPI_COMM_WORLD);
}

void dist_comm_send(void *data, int bytes, uint32_t from)
{
    MPI_Bcast(data, bytes, MPI_BYTE, (int)from, MPI_COMM_WORLD);
}

void dist_comm_abort(void)
{
    fflush(NULL);
    MPI_Abort(MPI_COMM_WORLD, 1);
    abort(); /* it doesn't return, but isn't declared so */
}
