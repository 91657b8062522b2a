#!/bin/sh
# zo2-pack freeze: wires of matrices in a pack; what runs, exports, info and verify make of them.
. "$(dirname "$0")/cli_testing.sh"
tiny
cp tiny.zo2 before.zo2
data=$TEXTS/proverbs.train.jsonl

expect 0 '^tiny.zo2: fp8-e4m3 wires of 31 matrices, [0-9.]* MiB$' zo2-pack freeze tiny.zo2 --wire fp8-e4m3 --tune layers=5
expect 0 'the pack has these wires already' zo2-pack freeze tiny.zo2 --wire fp8-e4m3 --tune layers=4-5
expect 0 '^frozen wires fp8-e4m3 of 31 matrices, ' zo2-pack info tiny.zo2
expect 0 '"frozen_wires": \[{"wire": "fp8-e4m3", "matrices": 31, "parameters": [0-9]*, "bytes": [0-9]*, "dropped": 0}\]' zo2-pack info tiny.zo2 --json
expect 0 '"frozen_wires": \[\]' zo2-pack info before.zo2 --json
expect 0 'ok, ' zo2-pack verify tiny.zo2

# A run is the same with either pack, and goes on with the other.
for pack in tiny before; do
    expect 0 '^2 steps in' zo2-tune train --model $pack.zo2 --data "$data" --run $pack --steps 2 --batch 2 --tune layers=5 --frozen-wire fp8-e4m3
done
cmp tiny/journal.zo2j before/journal.zo2j || fail "the journals differ"
expect 0 '^3 steps, ' zo2-tune train --model before.zo2 --data "$data" --run tiny --resume --steps 3
expect 0 '' zo2-pack export tiny.zo2 hf --run tiny --at-step 2
expect 0 '' zo2-pack export before.zo2 hf-before --run before
cmp hf/model.safetensors hf-before/model.safetensors || fail "the exports differ"

# What is refused, or interrupted, leaves the pack as it is.
cp tiny.zo2 frozen.zo2
expect 1 'tiny.zo2 is its matrices. own bits' zo2-pack freeze tiny.zo2 --wire fp16
grep -q '^tiny.zo2 is as it was.$' err.txt || fail "nobody says what became of the pack"
expect 1 'layers 0 to 5' zo2-pack freeze tiny.zo2 --wire bf16 --tune layers=6
expect 1 'not-here' zo2-pack freeze not-here.zo2 --wire bf16
if [ ! -w / ] || [ "$(id -u)" != 0 ]; then # a folder that lets nobody write lets root
    mkdir closed && cp tiny.zo2 closed && chmod a-w closed
    expect 1 'closed' zo2-pack freeze closed/tiny.zo2 --wire bf16
    chmod u+w closed
fi
(ulimit -f 4000 && trap '' XFSZ && zo2-pack freeze tiny.zo2 --wire bf16) >out.txt 2>err.txt && fail "no room, and no error"
grep -q 'tiny.zo2' err.txt || fail "no room: $(cat err.txt)"
cmp tiny.zo2 frozen.zo2 || fail "a refusal changed the pack"
[ "$(find . -maxdepth 1 -name 'tiny.zo2*' | wc -l)" -eq 1 ] || fail "something is left beside the pack: $(ls)"

expect 0 '^frozen.zo2: no fp8-e4m3 wires$' zo2-pack freeze frozen.zo2 --wire fp8-e4m3 --remove
cmp frozen.zo2 before.zo2 || fail "without its wires it is another pack"

# Damage is named, by tensor and wire.
at=$(($(wc -c <tiny.zo2) / 4096)) # in 4 KiB: the wires lie behind the weights, which before.zo2 has, too
at=$((at * 3 / 4 * 4096 + 7))
printf '\377\377\377' | dd of=tiny.zo2 bs=1 seek=$at conv=notrunc 2>/dev/null
expect 1 'stored wire 3 (fp8-e4m3), rows ' zo2-pack verify tiny.zo2
finish
