#!/bin/sh
# libzo2.so exports zo2_* and nothing else, and exports something.
set -u
[ -z "${ZO2_SANITIZE-}" ] || exit 77 # sanitizers add symbols of their own
command -v nm >/dev/null 2>&1 || exit 77
symbols=$(nm -D --defined-only "$LIBZO2" | awk '{ print $NF }') || exit 1
foreign=$(printf '%s\n' "$symbols" | grep -v '^zo2_')
if [ -n "$foreign" ]; then
    echo "exported, but not of the public interface:"
    echo "$foreign"
    [ -z "$symbols" ] && echo "(nothing at all is exported)"
    exit 1
fi
echo "$(printf '%s\n' "$symbols" | wc -l) symbols, all zo2_*"
