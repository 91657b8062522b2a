#!/bin/sh
# The C program of the README is tools/examples/finetune.c, word for word; compiled as by an outside user it runs, and
# again on the same run directory. The commands about masters on drives print what tools/guide/drives.md says, but for times, rates and losses.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$SRC/README.md" >"$work/finetune.c"
diff -u "$SRC/tools/examples/finetune.c" "$work/finetune.c" || { echo "README.md and tools/examples/finetune.c differ"; exit 1; }
[ "$(wc -l <"$work/finetune.c")" -le 50 ] || { echo "the example has grown beyond 50 lines"; exit 1; }
[ -z "${ZO2_SANITIZE-}" ] || exit 77
mkdir "$work/include"
cp "$SRC/engine/zo2.h" "$work/include/"
"${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -I "$work/include" "$work/finetune.c" -o "$work/finetune" "$LIBZO2" \
    -Wl,-rpath,"$(dirname "$LIBZO2")"
"$BIN/zo2-pack" convert "$DATA/tiny-opt/model" "$work/tiny.zo2" >/dev/null
"$work/finetune" "$work/tiny.zo2" "$work/run" >"$work/first"
"$work/finetune" "$work/tiny.zo2" "$work/run" >"$work/second"
cat "$work/first" "$work/second"
[ "$(grep -c '^step' "$work/first")" = 10 ]
grep -q '^step 0: loss [0-9.]*, projected gradient' "$work/first"
grep -q '^step 19: ' "$work/second" # resumed, not started again

# "## Models larger than RAM": indented lines before its first paragraph; "$ " is a command
awk '/^\*\*/ { exit } sub(/^    /, "")' "$SRC/tools/guide/drives.md" >"$work/session"
cd "$work"
ln -s "$SRC/tests" tests
rm -rf tiny.zo2 run # the C program's
export PATH="$BIN:$PATH" CUDA_VISIBLE_DEVICES=
steady() { grep -v '^bottleneck:' | sed 's/ in [0-9].*, [0-9]* tokens/ in T, R tokens/; s/loss [0-9.]*/loss L/'; }
while read -r line; do
    case $line in
    '$ '*) sh -c "${line#??}" || { echo "failed: $line"; exit 1; } ;;
    esac
done <session >printed 2>&1 || { cat printed; exit 1; }
grep -v '^\$ ' session | steady >expected
steady <printed >got
while read -r line; do
    grep -qxF -e "$line" got || { echo "the page has, and its commands don't print: $line"; cat printed; exit 1; }
done <expected
[ "$(wc -l <expected)" -ge 11 ]
