#!/bin/sh
# Every header compiles alone: those of the library as C11, the public one as C++ too, and those that device code shares as
# C++17 and with nvcc. Needs nothing but a compiler; run by ctest, or by hand from anywhere.
set -u
cd "$(dirname "$0")/../.." || exit 1
: "${CC:=cc}"
failures=0
fail() { echo "$*"; failures=$((failures + 1)); }

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

find codec storage kernels engine tools -name '*.h' | LC_ALL=C sort >"$work/files"

dependencies=$(pkg-config --cflags openblas jansson libzip libxxhash libzstd liburing libpcre2-8 libutf8proc 2>/dev/null)
simd=''
case $(uname -m) in
    x86_64 | amd64) simd='-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl' ;;
esac

headers=0
while IFS= read -r file; do
    flags=''
    case $file in
        kernels/cuda/*) continue ;; # nvcc's
        tools/examples/*) flags='-I engine' ;; # written for an outside user, who has <zo2.h>
        *_avx2.h | *_avx512.h)
            [ -n "$simd" ] || continue
            flags=$simd
            ;;
    esac
    headers=$((headers + 1))
    printf '#include "%s"\n' "$file" >"$work/alone.c"
    # shellcheck disable=SC2086  # lists of flags
    "$CC" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-function $dependencies $flags -I . -fsyntax-only \
        "$work/alone.c" >"$work/log" 2>&1 || {
        cat "$work/log"
        fail "$file does not compile alone"
    }
done <"$work/files"

# The public header also serves C++ programs and needs no feature macro.
printf '#include "engine/zo2.h"\n' >"$work/alone.c"
"$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -I . -fsyntax-only "$work/alone.c" || fail "engine/zo2.h: not plain C11"
if command -v c++ >/dev/null 2>&1; then
    cp "$work/alone.c" "$work/alone.cpp"
    c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -I . -fsyntax-only "$work/alone.cpp" ||
        fail "engine/zo2.h: not usable from C++"
fi

# What is written once for C and device code is C++17 too, for g++ and for nvcc.
grep -l '^ZO2_HD' codec/*.h >"$work/device" || fail "codec/ has no header for device code"
while IFS= read -r file; do
    printf '#include "%s"\n' "$file" >"$work/alone.cpp"
    printf '#include "%s"\n' "$file" >>"$work/all.cu"
    command -v c++ >/dev/null 2>&1 || continue
    c++ -std=c++17 -Wall -Wextra -Wpedantic -Wshadow -Werror -I . -fsyntax-only "$work/alone.cpp" ||
        fail "$file does not compile alone as C++17"
done <"$work/device"
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
if [ -n "$nvcc" ]; then
    echo '__global__ void decode(float *w, const void *p) { *w = zo2_wire_get(ZO2_WIRE_E5M2, p, 1, 1, 0, 0); }' >>"$work/all.cu"
    "$nvcc" -std=c++17 -I . -c -o "$work/all.o" "$work/all.cu" || fail "codec's device headers don't compile with nvcc"
fi

echo "$headers headers: $failures failures"
[ "$headers" -gt 0 ] && [ "$failures" = 0 ]
