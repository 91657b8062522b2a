/* zo2_measure_*: every kind runs, counts its work as documented, leaves process state alone, and refuses nonsense. */
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "codec/codec.h"
#include "codec/update.h"
#include "engine/zo2.h"
#include "tests/unit/cmocka_first.h"
