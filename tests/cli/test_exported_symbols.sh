#!/bin/sh
# libzo2.so exports what tests/exported_symbols.txt lists, no more and no less. A symbol that goes is an incompatible change
# (soname); a new one goes into the list: tests/cli/test_exported_symbols.sh --update (with LIBZO2 and SRC set).
set -u
[ -z "${ZO2_SANITIZE-}" ] || exit 77 # sanitizers add symbols of their own
command -v nm >/dev/null 2>&1 || exit 77
list=$SRC/tests/exported_symbols.txt
symbols=$(nm -D --defined-only "$LIBZO2" | awk '{ print $NF }' | LC_ALL=C sort) || exit 1
if [ "${1-}" = --update ]; then
    printf '%s\n' "$symbols" >"$list"
    exit
fi
foreign=$(printf '%s\n' "$symbols" | grep -v '^zo2_')
if [ -n "$foreign" ]; then
    echo "exported, but not of the public interface:"
    echo "$foreign"
    [ -z "$symbols" ] && echo "(nothing at all is exported)"
    exit 1
fi
printf '%s\n' "$symbols" | diff "$list" - || {
    echo "< is listed in tests/exported_symbols.txt but not exported, > is exported but not listed"
    exit 1
}
# What the header declares is exported, and the other way round.
declared=$(tr '\n' ' ' <"$SRC/engine/zo2.h" | grep -o 'ZO2_API [a-z][^;(#]*zo2_[^;(#]*(' | sed 's/.*[ *]\(zo2_[a-z0-9_]*\)($/\1/' | LC_ALL=C sort -u)
printf '%s\n' "$declared" | diff - "$list" || {
    echo "< is declared in zo2.h but not exported, > is exported but not declared"
    exit 1
}
# The library never prints, never ends the process, reads no environment and changes no process-wide setting. (With
# -DZO2_NVTX=ON NVTX's header asks the environment where a profiler's library is.)
imported=$(nm -D --undefined-only "$LIBZO2" | awk '{ print $NF }' | sed 's/@.*//' | grep -x -E '_?_?(getenv|secure_getenv|exit|_exit|abort|printf|vprintf|puts|putchar|perror|setlocale|signal|sigaction|chdir|umask|system|setenv|putenv)(_chk)?')
if [ -n "$imported" ]; then
    echo "libzo2.so must not call:" $imported
    exit 1
fi
echo "$(printf '%s\n' "$symbols" | wc -l) symbols, as listed and as declared"
