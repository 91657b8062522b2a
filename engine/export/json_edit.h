/* json_edit.h: one member of a JSON text set, every other byte left as it was. A configuration that is parsed and written again
 * would lose its layout, and the digits of numbers that no type here holds. Private to engine/. */
#ifndef ZO2_ENGINE_EXPORT_JSON_EDIT_H
#define ZO2_ENGINE_EXPORT_JSON_EDIT_H

#include <stddef.h>

/* text: an object that zo2_json_parse() accepts, without duplicate keys. key: without characters that JSON escapes.
 * value: JSON text. The value of `key` in the outermost object becomes `value`; a key that is missing is appended, laid
 * out as the member before it. Returns the new text, the caller's to free(), NUL behind it; NULL when out of memory.
 * Linear in bytes. */
char *zo2_json_edit(const char *text, size_t bytes, const char *key, const char *value);

#endif
