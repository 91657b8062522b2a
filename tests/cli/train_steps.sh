# train_steps.sh: sourced by the long tests that measure a few steps of a large synthetic model. Compiles train_steps.c against the library.
# A folder with room for the packs is $work (below ZO2_LONG_DIR, or TMPDIR).
[ -z "${ZO2_SANITIZE-}" ] || exit 77
work=$(mktemp -d "${ZO2_LONG_DIR-${TMPDIR-/tmp}}/zo2-long-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/include"
cp "$SRC/engine/zo2.h" "$work/include/"
"${CC:-cc}" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -I "$work/include" "$SRC/tests/cli/train_steps.c" -o "$work/train_steps" \
    "$LIBZO2" -Wl,-rpath,"$(dirname "$LIBZO2")"

# need DISK_GIB MEMORY_GIB: skips where the machine is too small.
need() {
    _disk=$(df -Pk "$work" | awk 'NR == 2 { print int($4 / 1048576) }')
    _memory=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
    if [ "$_disk" -lt "$1" ] || [ "$_memory" -lt "$2" ]; then
        echo "skipped: needs $1 GiB of disk in $work and $2 GiB of memory, has $_disk and $_memory"
        exit 77
    fi
}

# measured NAME: a figure of the last run, in bytes.
measured() {
    awk -v name="$1" '$1 == name { print $2 }' "$work/out"
}
