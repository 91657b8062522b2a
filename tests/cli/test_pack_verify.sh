#!/bin/sh
# Damaged packs and runs: verify notices every flipped bit and every cut, train those that concern it.
. "$(dirname "$0")/cli_testing.sh"
tiny
size=$(wc -c <tiny.zo2)
expect 0 '^tiny.zo2: ok, 100 tensors' zo2-pack verify tiny.zo2

# Flips: the beginning, the end and places between. Padding between sections may be nobody's.
unnoticed=0
for place in 0 8 16 64 $((size / 7)) $((size / 3)) $((size / 2)) $((size * 2 / 3)) $((size * 9 / 10)); do
    cp tiny.zo2 bad.zo2
    flip bad.zo2 "$place"
    cmp -s tiny.zo2 bad.zo2 && fail "the test didn't flip anything at $place"
    if zo2-pack verify bad.zo2 >out.txt 2>err.txt; then
        echo "a flip at $place was not noticed"
        unnoticed=$((unnoticed + 1))
    fi
done
[ $unnoticed = 0 ] || fail "$unnoticed flips were not noticed"

for bytes in 0 1 100 4096 $((size / 2)) $((size - 4096)) $((size - 1)); do
    head -c "$bytes" tiny.zo2 >cut.zo2
    expect 1 'cut.zo2' zo2-pack verify cut.zo2
    expect 1 'cut.zo2' zo2-tune train --model cut.zo2 --data "$TEXTS/proverbs.train.jsonl" --run r --steps 1
    [ ! -e r ] || fail "a refused train left a run directory"
done

# A flip in the middle of the weights: the message names a tensor, and training doesn't begin.
cp tiny.zo2 bad.zo2
flip bad.zo2 $((size / 2))
expect 1 'model\.decoder\.' zo2-pack verify bad.zo2
grep -q 'convert the model again' err.txt || fail "no advice on what to do"
expect 1 'model\.decoder\.' zo2-tune train --model bad.zo2 --data "$TEXTS/proverbs.train.jsonl" --run r --steps 1
[ ! -e r ] || fail "a refused train left a run directory"
expect 1 '' zo2-pack export bad.zo2 out
[ ! -e out ] || fail "a refused export left a directory"

# --- Runs -------------------------------------------------------------------------------------------------------------
expect 0 '' zo2-tune train --model tiny.zo2 --data "$TEXTS/proverbs.train.jsonl" --run r --steps 5 --batch 2
expect 0 '^r: ok, 5 steps, 1 snapshot in r/snapshots$' zo2-pack verify tiny.zo2 --run r
expect 1 'not-here' zo2-pack verify tiny.zo2 --run not-here
snapshot=$(find r/snapshots -type f | head -n 1)
flip "$snapshot" $(($(wc -c <"$snapshot") / 2))
expect 1 'snapshot' zo2-pack verify tiny.zo2 --run r
flip "$snapshot" $(($(wc -c <"$snapshot") / 2))
expect 0 '' zo2-pack verify tiny.zo2 --run r
flip r/journal.zo2j $(($(wc -c <r/journal.zo2j) / 2))
expect 1 'journal' zo2-pack verify tiny.zo2 --run r
expect 1 'journal' zo2-tune train --model tiny.zo2 --data "$TEXTS/proverbs.train.jsonl" --run r --resume --steps 9

# --- Snapshots elsewhere: the folder that train was told is looked at, or the one that is named now ---------------------
mkdir far
expect 0 '' zo2-tune train --model tiny.zo2 --data "$TEXTS/proverbs.train.jsonl" --run s --snapshot far --steps 3 --batch 2
expect 0 '^s: ok, 3 steps, 1 snapshot in .*/far$' zo2-pack verify tiny.zo2 --run s
snapshot=$(find far -type f | head -n 1)
flip "$snapshot" $(($(wc -c <"$snapshot") / 2))
expect 1 'snapshot' zo2-pack verify tiny.zo2 --run s
expect 0 'rebuilt from the pack' zo2-pack export tiny.zo2 whole --run s
flip "$snapshot" $(($(wc -c <"$snapshot") / 2))
mv far elsewhere
expect 0 '^s: ok, 3 steps, 0 snapshots in' zo2-pack verify tiny.zo2 --run s
expect 0 '^s: ok, 3 steps, 1 snapshot in elsewhere$' zo2-pack verify tiny.zo2 --run s --snapshot elsewhere
# Masters that were spilled are looked for where train was told to put them.
cp s/settings.json before.json
sed -i '1s|{|{"spill_dirs": ["gone"],|' s/settings.json
expect 1 'gone/spill-[0-9a-f]*\.zo2x' zo2-pack verify tiny.zo2 --run s
expect 1 'here/spill-[0-9a-f]*\.zo2x' zo2-pack verify tiny.zo2 --run s --spill here --spill there
mv before.json s/settings.json
expect 1 'there/spill-[0-9a-f]*\.zo2x' zo2-pack verify tiny.zo2 --run s --spill there
expect 2 '.*spill needs --run' zo2-pack verify tiny.zo2 --spill there
expect 0 '' zo2-pack export tiny.zo2 from-snapshot --run s --snapshot elsewhere
expect 0 '' zo2-pack export tiny.zo2 from-pack --run s
cmp -s from-snapshot/model.safetensors from-pack/model.safetensors || fail "a snapshot changed an export"
cmp -s from-snapshot/model.safetensors whole/model.safetensors || fail "a damaged snapshot changed an export"

zo2-pack synth "$HF/config.json" other.zo2 >/dev/null
flip r/journal.zo2j $(($(wc -c <r/journal.zo2j) / 2))
expect 1 'another model' zo2-pack verify other.zo2 --run r
finish
