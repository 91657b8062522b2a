#!/bin/sh
# tools/gpu-bundle: it can be built, is small enough, needs nothing but libc and CUDA's libraries, and its programs run in a folder
# that holds nothing but libc, a shell, coreutils, grep and sed.
. "$(dirname "$0")/cli_testing.sh"
{ command -v nvcc || [ -x /usr/local/cuda/bin/nvcc ]; } >/dev/null || exit 77
command -v readelf >/dev/null || exit 77

mkdir other
expect 1 'other exists and is no bundle' "$SRC/tools/gpu-bundle" other
expect 2 'usage: ' "$SRC/tools/gpu-bundle"
expect 0 '^needs glibc 2' "$SRC/tools/gpu-bundle" bundle
[ "$(wc -c <bundle.tar.gz)" -le $((60 << 20)) ] || fail "the bundle has $(wc -c <bundle.tar.gz) bytes"
rm -r bundle
tar xzf bundle.tar.gz
for architecture in 75 80 86 89 90; do
    grep -q "$architecture-real" bundle/about.txt || fail "no code for $architecture"
done
for program in bundle/bin/* bundle/bin-cpu/* bundle/tests/gpu/* bundle/lib/*; do
    readelf -d "$program" | grep -q 'RPATH\|RUNPATH' && fail "$program looks for libraries in folders of this machine"
    for library in $(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        case $program:$library in
            *:libc.so.6 | *:libm.so.6 | *:ld-linux-x86-64.so.2 | *:libdl.so.2 | *:libpthread.so.0) continue ;;
            bundle/bin/*:libcu* | bundle/tests/*:libcu* | bundle/lib/libzo2*:libcu*) grep -q "$library" bundle/needs && continue ;;
        esac
        [ -f "bundle/lib/$library" ] || fail "$program needs $library"
    done
done
[ "$(find bundle/tests/gpu -type f | wc -l)" = "$(find "$SRC/build/gpu-bundle/cuda/tests/gpu" -type f | wc -l)" ] || fail "tests are missing"

# --- In a folder of its own: changing the root takes root ---
PATH=$PATH:/usr/sbin:/sbin
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null && command -v chroot >/dev/null; then
    mkdir -p root/bin root/proc root/dev root/tmp
    for command in sh grep sed basename cat cp date df dirname env head ln ls mkdir mv nproc paste printenv readlink rm seq sync tail timeout tr uname wc; do
        file=$(readlink -f "$(command -v $command)")
        cp "$file" "root/bin/$command"
        for library in $(ldd "$file" | grep -o '/[^ ]*') $(ldd bundle/bin-cpu/zo2-plan | grep -o '/[^ ]*lib[cm]\.so[^ ]*'); do
            mkdir -p "root$(dirname "$library")"
            cp -L "$library" "root$library"
        done
    done
    mv bundle root/
    inside() {
        unshare -m sh -c 'mount -t proc proc root/proc && mount --bind /dev root/dev && exec env -i BIG=/shape/config.json MIDDLE=/shape/config.json \
            TOKENS=16 IDS=500 BUDGETS=64M BENCH_OPTIONS="--seconds 0 --bytes 64K" PATH=/bin '"$(command -v chroot)"' root /bundle/run --results /tmp/r "$@"' sh "$@"
    }
    mkdir root/shape
    cp "$HF/config.json" root/shape/
    expect 1 '\*\*no device\*\*: libcudart.so.[0-9]* and libcublas.so.[0-9]* not found' inside --quick
    grep -q '^machine: passed, ' root/tmp/r/report.md || fail "the parts that need no device don't run"
    [ "$(grep -c 'it needs a device$' root/tmp/r/report.md)" = 9 ] || fail "not every part says that it needs a device"
    expect 0 '^steps-175b: passed, ' inside --quick --backend cpu
    grep -q '"name": "OpenBLAS alone"' root/tmp/r/bench.jsonl || fail "products weren't compared with the bundle's OpenBLAS"
    [ "$(find root/tmp/r -type f | wc -l)" -le 8 ] || fail "results are more than 8 files"
else
    echo "not root: the bundle doesn't run in a folder of its own"
    expect 1 '^machine: passed, ' bundle/run --part machine link
fi
finish
