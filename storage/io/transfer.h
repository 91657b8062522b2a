/* transfer.h: a whole transfer as a series of system calls: what each result means, and where the next call goes on. It makes
 * none itself. */
#ifndef ZO2_STORAGE_IO_TRANSFER_H
#define ZO2_STORAGE_IO_TRANSFER_H

#include "engine/zo2.h"

#include <errno.h>

/* One system call moves at most this much: Linux stops at 0x7ffff000 anyway. */
#define ZO2_TRANSFER_MAX ((uint64_t)1 << 30)
/* Calls without a byte of progress before a transfer is given up: an endless loop would hide the fault. */
#define ZO2_TRANSFER_MAX_IDLE 1000

static inline int zo2_transfer_is_transient(int err)
{
    return err == EINTR || err == EAGAIN || err == EWOULDBLOCK;
}

typedef struct zo2_transfer {
    const char *what; /* the file's name for messages */
    int write;
    int idle; /* calls without progress since the last byte */
    unsigned char *at;
    uint64_t bytes, offset; /* of what is left */
} zo2_transfer;

/* ZO2_ERR_ARG if the transfer goes past the largest file. */
zo2_status zo2_transfer_check(const zo2_transfer *t);

/* Takes the result of a call for the first bytes of what is left: how many were moved, or -errno. ZO2_OK: t is where the next
 * call goes on (interrupted calls are made again, a limited number of times), or bytes is 0 and it is complete. Errors as of
 * zo2_io_read() and zo2_io_write(). */
zo2_status zo2_transfer_step(zo2_transfer *t, int64_t result);

#endif
