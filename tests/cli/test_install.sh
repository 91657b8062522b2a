#!/bin/sh
# A program built against the installed library and header, as C and as C++, and the installed tools, all run.
set -eu
[ -z "${ZO2_SANITIZE-}" ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$BUILD" --prefix "$work/usr" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
lib=$(dirname "$(find "$work/usr" -name 'libzo2.so')")

cat >"$work/user.c" <<'END'
#include <stdio.h>
#include <zo2.h>
int main(void) { return printf("%s\n", zo2_strerror(ZO2_OK)) < 0; }
END
"${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -I "$work/usr/include" "$work/user.c" -o "$work/user-c" \
    -L "$lib" -lzo2
LD_LIBRARY_PATH=$lib "$work/user-c"
if command -v c++ >/dev/null 2>&1; then
    cp "$work/user.c" "$work/user.cpp"
    c++ -Wall -Wextra -Wpedantic -Werror -I "$work/usr/include" "$work/user.cpp" -o "$work/user-cpp" -L "$lib" -lzo2
    LD_LIBRARY_PATH=$lib "$work/user-cpp"
fi
for tool in "$work"/usr/bin/zo2-*; do
    [ -x "$tool" ] || continue
    # No library path here: they must find the library beside them.
    version=$("$tool" --version)
    case $version in
        *"$ZO2_VERSION"*) echo "$(basename "$tool"): $version" ;;
        *) echo "$(basename "$tool") --version says '$version', not $ZO2_VERSION"; exit 1 ;;
    esac
done
