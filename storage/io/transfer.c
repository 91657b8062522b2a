/* transfer.c: see transfer.h. */
#include "storage/io/transfer.h"

#include <inttypes.h>
#include <string.h>

zo2_status zo2_transfer_check(const zo2_transfer *t)
{
    if (t->offset <= INT64_MAX && t->bytes <= INT64_MAX - t->offset)
        return ZO2_OK;
    return zo2_error(ZO2_ERR_ARG, "cannot %s %s at offset %" PRIu64 ": past the largest file",
                     t->write ? "write" : "read", t->what, t->offset);
}

/* What the user can do about it. */
static const char *advice(int err)
{
    switch (err) {
    case ENOSPC: return "; free space there or write to another disk";
    case EDQUOT: return "; the disk quota is used up: free space or write to another disk";
    case EFBIG: return "; the file system or ulimit -f doesn't allow a file of this size";
    case EIO: return "; the device may be failing: see the kernel log (dmesg)";
    default: return "";
    }
}

static zo2_status failed(const zo2_transfer *t, int err)
{
    zo2_status s = err == ENOSPC || err == EDQUOT || err == EFBIG ? ZO2_ERR_NOSPACE : ZO2_ERR_IO;
    return zo2_error(s, "cannot %s %" PRIu64 " bytes at offset %" PRIu64 " of %s: %s%s", t->write ? "write" : "read",
                     t->bytes, t->offset, t->what, strerror(err), advice(err));
}

zo2_status zo2_transfer_step(zo2_transfer *t, int64_t result)
{
    if (result > 0) {
        uint64_t moved = (uint64_t)result < t->bytes ? (uint64_t)result : t->bytes;
        t->idle = 0;
        t->at += moved;
        t->offset += moved;
        t->bytes -= moved;
        return ZO2_OK;
    }
    if (result == 0 && !t->write)
        return zo2_error(ZO2_ERR_FORMAT,
                         "%s ends at offset %" PRIu64 ", %" PRIu64
                         " bytes too early: the file is truncated; get or make it again",
                         t->what, t->offset, t->bytes);
    int err = (int)-result;
    if ((err == 0 || zo2_transfer_is_transient(err)) && ++t->idle < ZO2_TRANSFER_MAX_IDLE)
        return ZO2_OK;
    return failed(t, err ? err : EIO);
}
