#!/bin/sh
# An installed copy, moved to another place, serves C and C++ programs through pkg-config and through find_package, shared
# and static; its tools run, its man pages and completions are sound; building left the source tree as it was.
set -eu
[ -z "${ZO2_SANITIZE-}" ] || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

cmake --install "$BUILD" --prefix "$work/first" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/usr" # relocatable
lib=$(dirname "$(find "$work/usr" -name 'libzo2.so')")
case $(readlink "$lib/libzo2.so") in
    libzo2.so.*) ;;
    *) fail "libzo2.so is not a link to a versioned library" ;;
esac

# --- Programs ---------------------------------------------------------------------------------------------------------

want="zo2 $ZO2_VERSION: 125239296 parameters"
check() { # name, program: its output begins as it must, and all programs print the same
    if ! "$2" >"$work/out" 2>&1; then
        cat "$work/out"
        fail "$1 doesn't run"
        return
    fi
    case $(cat "$work/out") in
        "$want"*) ;;
        *) fail "$1 printed: $(cat "$work/out")" ;;
    esac
    [ -f "$work/answer" ] || cp "$work/out" "$work/answer"
    cmp -s "$work/out" "$work/answer" || fail "$1 printed something else than the first program"
}

have_cxx=1
command -v c++ >/dev/null 2>&1 || have_cxx=0
if command -v pkg-config >/dev/null 2>&1; then
    PKG_CONFIG_PATH=$lib/pkgconfig
    export PKG_CONFIG_PATH
    [ "$(pkg-config --modversion zo2)" = "$ZO2_VERSION" ] || fail "pkg-config --modversion zo2"
    cp "$SRC/tests/install/user.c" "$work/user.c"
    cp "$SRC/tests/install/user.c" "$work/user.cpp"
    flags="-Wall -Wextra -Wpedantic -Werror"
    # shellcheck disable=SC2046,SC2086  # lists of flags
    {
        "${CC:-cc}" -std=c11 $flags "$work/user.c" -o "$work/c-shared" $(pkg-config --cflags --libs zo2)
        LD_LIBRARY_PATH=$lib check "C, pkg-config, shared" "$work/c-shared"
        "${CC:-cc}" -std=c11 $flags $(pkg-config --cflags zo2) "$work/user.c" -o "$work/c-static" \
            -Wl,-Bstatic -L "$lib" -lzo2 -Wl,-Bdynamic $(pkg-config --static --libs zo2 | sed 's/-lzo2 //')
        check "C, pkg-config, static" "$work/c-static"
        for example in "$work"/usr/share/doc/zo2/examples/*.c; do # all that an installed one needs is installed
            program=$work/$(basename "$example" .c)
            "${CC:-cc}" -std=c11 $flags "$example" -o "$program" $(pkg-config --cflags --libs zo2) -lm
            LD_LIBRARY_PATH=$lib "$program" 2>&1 | grep -q '^usage\|: usage' || fail "$example doesn't say how to use it"
        done
        if [ $have_cxx = 1 ]; then
            c++ -std=c++11 $flags "$work/user.cpp" -o "$work/cpp-shared" $(pkg-config --cflags --libs zo2)
            LD_LIBRARY_PATH=$lib check "C++, pkg-config, shared" "$work/cpp-shared"
        fi
    }
fi
if [ $have_cxx = 1 ]; then
    if cmake -S "$SRC/tests/install" -B "$work/user-build" -DCMAKE_PREFIX_PATH="$work/usr" >"$work/log" 2>&1 &&
        cmake --build "$work/user-build" >>"$work/log" 2>&1; then
        for program in c-zo2 cpp-zo2 c-zo2_static cpp-zo2_static; do
            check "$program, find_package" "$work/user-build/$program"
        done
    else
        cat "$work/log"
        fail "a project with find_package(zo2) doesn't build"
    fi
fi
cat "$work/answer"

# --- Tools, man pages, completion -------------------------------------------------------------------------------------

for tool in "$work"/usr/bin/zo2-*; do
    name=$(basename "$tool")
    # No library path here: they must find the library beside them.
    version=$("$tool" --version)
    case $version in
        *"$ZO2_VERSION"*) ;;
        *) fail "$name --version says '$version', not $ZO2_VERSION" ;;
    esac
    page=$work/usr/share/man/man1/$name.1
    [ -s "$page" ] || { fail "no man page of $name"; continue; }
    if command -v groff >/dev/null 2>&1; then
        groff -man -ww -z -Tascii "$page" 2>"$work/log" || fail "groff fails on $page"
        [ ! -s "$work/log" ] || { cat "$work/log"; fail "groff complains about the man page of $name"; }
    fi
    # every option of every command is in the page
    "$tool" --help=completion | sed -n 's/^option --\([a-z0-9-]*\) .*/\1/p' | sort -u >"$work/options"
    grep -q . "$work/options" || fail "$name has no options"
    while read -r option; do
        [ "$option" = help ] || grep -q -F -e "\\-\\-$(echo "$option" | sed 's/-/\\-/g')\\fR" "$page" ||
            fail "the man page of $name lacks --$option"
    done <"$work/options"
done

if command -v bash >/dev/null 2>&1; then
    cat >"$work/complete.sh" <<'END'
complete_for() { # words...: what completes the last one
    local tool=$1
    source "$work/usr/share/bash-completion/completions/$tool"
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    "_${tool//-/_}"
    printf '%s ' "${COMPREPLY[@]}"
}
expect() { # expected words, then the line
    local want=$1 got
    shift
    got=$(complete_for "$@")
    [ "${got% }" = "$want" ] || { echo "completing '$*' gives '$got', not '$want'"; exit 1; }
}
expect "train tokenize" zo2-tune t
expect "gaussian rademacher" zo2-tune train --dist ""
expect "--warmup" zo2-tune train --wa
expect "info" zo2-pack i
expect "--batch" zo2-plan opt-13b --bat
cd "$work/usr" && expect "include" zo2-pack convert inc
END
    work=$work bash "$work/complete.sh" || fail "completion"
fi

# --- The source tree --------------------------------------------------------------------------------------------------

# A second build, in a folder outside, changes nothing in the sources (tracked, untracked or ignored). It builds what the
# quickstart does, and that can be installed; before, an installation says what is missing.
if git -C "$SRC" rev-parse --git-dir >/dev/null 2>&1; then
    git -C "$SRC" status --porcelain --ignored >"$work/before"
    target=$(sed -n 's/.*cmake --build build.* --target \([a-z0-9 -]*\);.*/\1/p' "$SRC/tools/quickstart")
    [ -n "$target" ] || fail "no targets in tools/quickstart"
    # nothing of it is run, so it is what compiles fastest
    cmake -S "$SRC" -B "$work/build" -DZO2_CUDA=OFF -DZO2_SIMD=OFF -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG=-O0 >"$work/log" 2>&1 || fail "an out-of-source build"
    ! cmake --install "$work/build" --prefix "$work/nothing" >"$work/early" 2>&1 || fail "what isn't built was installed"
    build=$(sed -n 's/^ *\(cmake --build .*\)/\1/p' "$work/early")
    [ "$build" = "cmake --build $work/build --target $target" ] || { cat "$work/early"; fail "no advice to build first"; }
    [ -z "$(find "$work/nothing" -type f 2>/dev/null)" ] || fail "a part of what isn't built was installed"
    # shellcheck disable=SC2086  # several targets
    cmake --build "$work/build" -j 2 --target $target >>"$work/log" 2>&1 &&
        DESTDIR=$work/stage cmake --install "$work/build" >>"$work/log" 2>&1 || { tail -n 20 "$work/log"; fail "an out-of-source build"; }
    git -C "$SRC" status --porcelain --ignored >"$work/after"
    cmp "$work/before" "$work/after" || fail "building outside the sources changed them"
    [ -f "$work/stage$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$work/build/CMakeCache.txt")/include/zo2.h" ] ||
        fail "DESTDIR is not honoured"
fi

[ "$failures" = 0 ]
