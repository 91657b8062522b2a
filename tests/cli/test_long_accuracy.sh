#!/bin/sh
# No accuracy is lost: 2,000 steps on the tiny model with seeds 0-2 (fixed beforehand), for the fp32 and the fp8-e4m3 wire. The mean test
# accuracy of each, through the wire that it was trained with, must be within 3 points of 68.3 %, what MeZO reaches in fp32
# (tests/data/tiny-opt/README.md). About 10 minutes. WIRES="fp32" runs one of them.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data=$DATA/tiny-opt/data
"$BIN/zo2-pack" convert "$DATA/tiny-opt/model" "$work/tiny.zo2" >/dev/null
status=0
for wire in ${WIRES-fp32 fp8-e4m3}; do
    sum=0
    for seed in 0 1 2; do
        run=$work/$wire-$seed
        "$BIN/zo2-tune" train --model "$work/tiny.zo2" --data "$data/wordnet_kind.train.jsonl" --run "$run" --seed $seed --lr 1e-4 \
            --batch 16 --steps 2000 --wire $wire --quiet
        for step in 1000 2000; do
            "$BIN/zo2-tune" eval --model "$work/tiny.zo2" --data "$data/wordnet_kind.test.jsonl" --run "$run" --at-step $step >"$work/out" \
                2>/dev/null
            # the last accuracy printed is the one through the wire (with fp32 there is one only)
            accuracy=$(sed -n 's/.*accuracy *\([0-9.]*\) %.*/\1/p' "$work/out" | tail -n 1)
            echo "wire $wire, seed $seed, step $step: $(sed -n '/accuracy/p;/^loss/p' "$work/out" | tr -s ' \n' ' ')"
        done
        sum=$(awk "BEGIN { print $sum + $accuracy }")
    done
    awk "BEGIN { m = $sum / 3; printf \"wire $wire: mean accuracy %.2f %%\\n\", m; exit !(m >= 65.3 && m <= 71.3) }" || status=1
done
exit $status
