#!/bin/sh
# Who may include whom (the arrows between the folders), and: every header compiles alone.
#
#   engine/zo2.h  nothing of the project
#   engine/base/**  may be included by everyone
#   codec/**      codec, engine/zo2.h                     no CUDA header
#   storage/**    storage, engine/zo2.h                   no CUDA header
#   kernels/**    kernels, codec, engine/zo2.h
#   engine/**     engine, kernels, storage, codec         no CUDA header
#   tools/**      tools, engine/zo2.h                     no CUDA header
#   tests/install/**  engine/zo2.h
#
# Project files are included as "folder/file.h" from the project root, everything else as <file.h>.
# Needs nothing but a compiler; run by ctest, or by hand from anywhere.
set -u
cd "$(dirname "$0")/../.." || exit 1
: "${CC:=cc}"
failures=0
fail() { echo "$*"; failures=$((failures + 1)); }

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# --- Arrows -----------------------------------------------------------------------------------------------------------

find codec storage kernels engine tools tests/install -type f \
    \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cpp' -o -name '*.inc' \) 2>/dev/null |
    LC_ALL=C sort >"$work/files"
if ! [ -s "$work/files" ]; then
    echo "no source files found"
    exit 1
fi

# One line per include: file, line, kind (" or <), path
while IFS= read -r file; do
    awk -v file="$file" '
        /^[ \t]*#[ \t]*include[ \t]*["<]/ {
            rest = $0
            sub(/^[ \t]*#[ \t]*include[ \t]*/, "", rest)
            kind = substr(rest, 1, 1)
            rest = substr(rest, 2)
            sub(/[">].*/, "", rest)
            print file "\t" NR "\t" kind "\t" rest
        }' "$file"
done <"$work/files" >"$work/includes"

awk -F '\t' '
    BEGIN {
        allowed["codec"] = " codec "
        allowed["storage"] = " storage "
        allowed["kernels"] = " kernels codec "
        allowed["engine"] = " engine kernels storage codec "
        allowed["tools"] = " tools "
        allowed["tests"] = " "
    }
    function complain(text) { print $1 ":" $2 ": " text }
    {
        from = $1; sub(/\/.*/, "", from)
        to = $4; sub(/\/.*/, "", to)
        if ($3 == "<") {
            if (to in allowed)
                complain("<" $4 "> is a project file: include it as \"" $4 "\"")
            else if (from != "kernels" && $4 ~ /^(cuda|cublas|curand|nvtx|device_launch)/)
                complain("only kernels/ may include CUDA headers: <" $4 ">")
            next
        }
        if ((getline line < $4) < 0) {
            complain("\"" $4 "\" is not a path from the project root (a header of the system is included with <>)")
            next
        }
        close($4)
        if ($4 ~ /^engine\/base\//)
            next
        if ($1 == "engine/zo2.h")
            complain("engine/zo2.h includes nothing of the project, but here \"" $4 "\"")
        else if ($4 != "engine/zo2.h" && !index(allowed[from], " " to " "))
            complain(from "/ may not include \"" $4 "\"")
    }' "$work/includes" >"$work/complaints"
if [ -s "$work/complaints" ]; then
    cat "$work/complaints"
    failures=$(wc -l <"$work/complaints")
fi

# --- Headers alone ----------------------------------------------------------------------------------------------------

dependencies=$(pkg-config --cflags openblas jansson libxxhash libzstd libpcre2-8 2>/dev/null)
simd=''
case $(uname -m) in
    x86_64 | amd64) simd='-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl' ;;
esac

headers=0
while IFS= read -r file; do
    flags=''
    case $file in
        kernels/cuda/* | tests/*) continue ;; # nvcc's; not headers of the library
        *_avx2.h | *_avx512.h)
            [ -n "$simd" ] || continue
            flags=$simd
            ;;
        *.h) ;;
        *) continue ;;
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

echo "$(wc -l <"$work/files") files, $(wc -l <"$work/includes") includes, $headers headers: $failures failures"
[ "$failures" = 0 ]
