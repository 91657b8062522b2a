/* comm_none.c: comm.h in a build without MPI: there is nobody to talk to, and nothing else is ever called. */
#include <stdlib.h>

#include "tools/dist/comm.h"

zo2_status dist_comm_open(uint32_t *rank, uint32_t *ranks)
{
    (void)rank, (void)ranks;
    return zo2_error(ZO2_ERR_UNSUPPORTED, "this build has no MPI: install it (Debian: libopenmpi-dev openmpi-bin), and "
                                          "build zo2 again");
}

void dist_comm_close(void) {}

void dist_comm_host(char host[DIST_HOST_BYTES])
{
    host[0] = '\0';
}

void dist_comm_gather_f64(const double *own, double *all, const int *count, const int *at)
{
    (void)own, (void)all, (void)count, (void)at;
}

void dist_comm_gather(const void *own, void *all, const int *count, const int *at)
{
    (void)own, (void)all, (void)count, (void)at;
}

void dist_comm_send(void *data, int bytes, uint32_t from)
{
    (void)data, (void)bytes, (void)from;
}

void dist_comm_abort(void)
{
    abort();
}
