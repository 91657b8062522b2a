/* config_testing.h: configurations of decoders from a few fields, for tests of what is made of them. Header-only. */
#ifndef ZO2_TESTS_UNIT_ENGINE_CONFIG_TESTING_H
#define ZO2_TESTS_UNIT_ENGINE_CONFIG_TESTING_H

#include "engine/families/families.h"
#include "engine/model/arch.h"
#include "tests/unit/engine/hf_dir.h"

static inline zo2_status parse(zo2_arch *a, const char *json)
{
    return zo2_arch_from_config(a, json, strlen(json), "some/config.json");
}

/* A configuration of a family with these fields. */
static inline zo2_status parse_with(zo2_arch *a, const char *family, const char *fields)
{
    char json[1024];
    snprintf(json, sizeof json, "{\"model_type\": \"%s\"%s%s}", family, *fields ? ", " : "", fields);
    return parse(a, json);
}

/* Refused, with these words and the name of the file. */
static inline void assert_refused(const char *family, const char *fields, zo2_status status, const char *words)
{
    zo2_arch a;
    assert_error(parse_with(&a, family, fields), status, words);
    assert_non_null(strstr(zo2_last_error(), "some/config.json"));
    assert_null(a.tensors);
}

#endif
