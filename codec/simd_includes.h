/* simd_includes.h: what the three simd_*.c need before simd_loops.inc. */
#ifndef ZO2_CODEC_SIMD_INCLUDES_H
#define ZO2_CODEC_SIMD_INCLUDES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ZO2_UNSHARED: of functions that touch nothing but their callers' own arrays. ThreadSanitizer needn't look at those, which were
 * three quarters of all that it looked at. gcc inlines into them only what it must. */
#ifdef __SANITIZE_THREAD__
#include "codec/hd.h"
#undef ZO2_HD
#define ZO2_HD       static inline __attribute__((always_inline))
#define ZO2_UNSHARED __attribute__((no_sanitize_thread))
#else
#define ZO2_UNSHARED
#endif

#include "codec/bf12.h"
#include "codec/bf16.h"
#include "codec/e2m.h"
#include "codec/fp16.h"
#include "codec/fp8_e4m3.h"
#include "codec/fp8_e5m2.h"
#include "codec/i4.h"
#include "codec/noise_inline.h"
#include "codec/plane_layout.h"
#include "codec/simd.h"
#include "codec/update_inline.h"
#include "codec/wires.h"

#endif
