#!/bin/sh
# Another instruction set, in earnest: a build without the loops for AVX2 and AVX-512 makes of a bundle, and of a run, what this
# build exports, to the bit, and of the export the same pack. Builds zo2-pack once more: minutes.
. "$(dirname "$0")/cli_testing.sh"
[ -z "${ZO2_SANITIZE-}" ] || exit 77
: "${SRC:?}" "${CC:?}"
tiny
cmake -S "$SRC" -B plain -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$CC" -DZO2_SIMD=OFF -DZO2_CUDA=OFF -DZO2_ONEDNN=OFF \
    -DZO2_BUILD_TESTS=OFF >log.txt 2>&1 && cmake --build plain -j2 --target zo2-pack >>log.txt 2>&1 || { cat log.txt; exit 1; }
plain=$work/plain/bin/zo2-pack
library=$(find plain -name libzo2.so)
if command -v nm >/dev/null; then
    nm "$library" | grep -q zo2_simd_scalar || fail "no plain loops in the plain build"
    nm "$library" | grep -q 'zo2_simd_avx' && fail "the plain build has loops for AVX"
fi

for dist in gaussian rademacher; do
    zo2-tune train --model tiny.zo2 --data "$TEXTS/proverbs.train.jsonl" --batch 2 --lr 1e-3 --queries 2 --weight-decay 0.1 --clip 3 \
        --dist $dist --run $dist --steps 6 --quiet || fail "train"
    zo2-pack export tiny.zo2 $dist.zo2b --run $dist --journal-only >/dev/null || fail "export a bundle"
    $plain export tiny.zo2 plain.zo2b --run $dist --journal-only --force >/dev/null || fail "export a bundle with the plain build"
    cmp $dist.zo2b plain.zo2b || fail "another bundle from the plain build"
    for dtype in auto fp32 fp16 bf16; do
        zo2-pack export tiny.zo2 here --run $dist --dtype $dtype --force >/dev/null 2>&1 || fail "export"
        $plain apply tiny.zo2 $dist.zo2b there --dtype $dtype --force >/dev/null 2>&1 || fail "apply with the plain build"
        diff -r here there || fail "$dist, $dtype: the plain build makes something else of the bundle"
        $plain export tiny.zo2 there --run $dist --replay --dtype $dtype --force >/dev/null 2>&1 || fail "export with the plain build"
        diff -r here there || fail "$dist, $dtype: the plain build exports something else"
        $plain convert there plain.zo2 --force >/dev/null && zo2-pack convert here here.zo2 --force >/dev/null || fail "convert"
        cmp plain.zo2 here.zo2 || fail "$dist, $dtype: the plain build makes another pack of it"
    done
done
finish
