/* home.h: where a plane of a chunk lives. A home gives a plane's bytes for a while: memory that they lie in anyway (ram_home.h),
 * or a buffer that they are read into. A kind of home is one file: its struct, which begins with a zo2_home, a function that
 * makes it, and a const zo2_home_kind.
 *
 * Readers may hold a plane together, and writers that write different rows of it; whoever writes a row has seen to it that
 * nobody reads it meanwhile (that others still hold the plane is fine). At most zo2_masters_held() planes are held at a
 * time, so a home with as many buffers never waits for a release, and nobody waits in a circle. */
#ifndef ZO2_ENGINE_MASTERS_HOME_H
#define ZO2_ENGINE_MASTERS_HOME_H

#include "engine/zo2.h"

typedef enum zo2_plane {
    ZO2_PLANE_WIRE = 1, /* bits: both may be asked for at once */
    ZO2_PLANE_REST = 2,
} zo2_plane;

typedef enum zo2_access {
    ZO2_ACCESS_READ,
    ZO2_ACCESS_WRITE, /* some rows or all; the others keep their values */
    ZO2_ACCESS_SPOILT, /* of release() alone: acquired for writing, which went wrong; what is there is no plane any more */
} zo2_access;

typedef struct zo2_home zo2_home;

typedef struct zo2_home_kind {
    const char *name; /* "RAM": for messages */
    /* *at: the plane's bytes, aligned to 64, until release(). May wait for a device. Any error the home knows, with a text
     * that says what happened and what to do about it; nothing is held then. Thread-safe. */
    zo2_status (*acquire)(zo2_home *h, uint32_t chunk, zo2_plane plane, zo2_access access, uint8_t **at);
    /* NULL: there is nothing to give back, the bytes stay where they are until somebody writes them. Thread-safe. */
    void (*release)(zo2_home *h, uint32_t chunk, zo2_plane plane, zo2_access access);
} zo2_home_kind;

struct zo2_home {
    const zo2_home_kind *kind;
};

#endif
