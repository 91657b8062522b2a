#!/usr/bin/env bash
# The tests that run nvcc's PTX on the simulator (tests/cudasim/ptx) see what it says: with one kind of operation changed in a copy of
# it, they fail.
set -u

ptx=$BUILD/tests/cudasim/ptx/sm90
[ -f "$ptx/rope.ptx" ] || { echo "skipped: this build has no PTX"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
fail() { echo "test_ptx_mutants: $*" >&2; exit 1; }

mutant() { # file, what sed does to it, test
    cp "$ptx"/*.ptx "$work" && sed -i "$2" "$work/$1.ptx" || exit 1
    ! cmp -s "$ptx/$1.ptx" "$work/$1.ptx" || fail "$1.ptx has nothing of $2"
    ! (cd "$SRC/tests" && CUDASIM_PTX=$work "$BUILD/tests/cudasim/$3" >"$work/said" 2>&1) || fail "$3 passes with $2 in $1.ptx"
    grep -q 'FAILED TEST' "$work/said" || fail "$3 with $2 in $1.ptx says: $(tail -n 1 "$work/said")"
}

mutant decode 's/\(cvt\.rn\.f16x2\.e4m3x2 %r[0-9]*, \)l/\1h/' test_sim_backend_decode      # the other two codes
mutant attention '/wmma\.load\.b/s/\.col\./.row./' test_sim_backend_attention              # keys not transposed
mutant rope 's/sub\.rn\.f32/add.rn.f32/' test_sim_backend_rope                             # turned the other way
mutant norm 's/sqrt\.rn/abs/' test_sim_backend_rmsnorm                                          # a mean square's root
echo "four mutants, none survives"
