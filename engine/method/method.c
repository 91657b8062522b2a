/* method.c: the table of methods. */
#include "engine/method/method.h"

const zo2_method *zo2_method_get(void)
{
    static const zo2_method *const methods[] = {&zo2_method_spsa};
    return methods[0];
}
