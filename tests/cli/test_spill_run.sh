#!/bin/sh
# A run whose masters spill, from its first step to its export: the bits of one that has all in RAM, whatever becomes of its
# files; what verify says of them; evaluation within a budget; where the bytes are.
. "$(dirname "$0")/cli_testing.sh"
tiny
data=$TEXTS/proverbs.train.jsonl
# 142 MB have room for a part of the masters
spilled() { zo2-tune train --model tiny.zo2 --data "$data" --batch 2 --seq 32 --lr 1e-4 --pending 2 --threads 2 --host-mem 142M "$@"; }
in_ram() { zo2-tune train --model tiny.zo2 --data "$data" --batch 2 --seq 32 --lr 1e-4 --pending 2 --threads 2 --quiet "$@"; }
export_run() { # OUT RUN STATUS PATTERN OPTION...
    _out=$1 _run=$2 _pattern=$3
    shift 3
    expect 0 "$_pattern" zo2-pack export tiny.zo2 "$_out" --run "$_run" --dtype fp32 --threads 2 --force "$@"
}
same() { cmp -s "$1/model.safetensors" "$2/model.safetensors" || fail "$3"; }
number() { sed -n "$2"'s/.*"'"$1"'": \([0-9]*\).*/\1/p' r/metrics.jsonl; }

in_ram --run ram --steps 6 || fail "train in RAM"
export_run want6 ram ''
export_run want4 ram '' --at-step 4

mkdir one two
spilled --run r --spill one --spill two --steps 6 --log-every 1 >out.txt 2>err.txt || fail "train"
grep -q 'step 6, .* read and .* written a step; RAM .* + wires .*, spill .*, pack ' err.txt || fail "the progress line doesn't say where masters are"
cmp -s ram/journal.zo2j r/journal.zo2j || fail "spilling changed the journal"

# --- Where the bytes are: all in the pack that isn't in RAM, before an update has reached it --------------------------------
all=$(($(number ram_master_bytes 1) + $(number spilled_bytes 1) + $(number pack_master_bytes 1)))
[ "$(number spilled_bytes 1)" -eq 0 ] || fail "written before the first update"
[ "$(number pack_master_bytes 1)" -gt 0 ] || fail "nothing in the pack to begin with"
[ "$(number spilled_bytes 6)" -gt 0 ] || fail "nothing in the spill after 6 steps"
for step in 1 2 3 4 5 6; do
    sum=$(($(number ram_master_bytes $step) + $(number spilled_bytes $step) + $(number pack_master_bytes $step)))
    [ "$sum" -eq $all ] || fail "step $step: masters of $sum bytes, not $all"
done

# --- Export: from the spill, from pack and journal alone, from folders that moved ---------------------------------------------
find one two r -type f -exec cksum {} + | sort >before.txt
export_run out r '^zo2-pack export: replaying [1-9][0-9]* of [0-9]* chunks from the spill'
same out want6 "the export of a spilled run differs"
export_run out r '(from the pack)' --replay
same out want6 "an export from pack and journal differs"
expect 0 '^r.zo2b: 6 steps of r, 584 bytes' zo2-pack export tiny.zo2 r.zo2b --run r --journal-only
expect 0 '' zo2-pack apply tiny.zo2 r.zo2b out --dtype fp32 --force
same out want6 "the bundle of a spilled run differs"
export_run out r '' --at-step 4
same out want4 "the export of a spilled run at an older step differs"
mkdir moved
mv one two moved
export_run out r 'from the pack and the journal: there is no spill of this run in .*one'
same out want6 "an export without the spill differs"
export_run out r 'from the spill' --spill moved/two --spill moved/one
same out want6 "an export from folders that moved differs"
export_run out r 'from the spill' --spill moved/two
same out want6 "an export from a part of the spill differs"
mv moved/one moved/two .
find one two r -type f -exec cksum {} + | sort >after.txt
cmp -s before.txt after.txt || fail "exports changed the run"
usage 'spill needs --run' zo2-pack export tiny.zo2 no --spill one
usage 'replay needs --run' zo2-pack export tiny.zo2 no --replay
usage 'contradict' zo2-pack export tiny.zo2 no --run r --replay --spill one

# --- Evaluation, within the budget ------------------------------------------------------------------------------------------
head -n 30 "$TEXTS/proverbs.test.jsonl" >eval.jsonl
loss() { zo2-tune eval --model tiny.zo2 --data eval.jsonl --seq 32 --threads 2 --json "$@" 2>err.txt | sed 's/"seconds.*//'; }
loss --run ram >want.txt
loss --run r --host-mem 142M >got.txt
cmp -s want.txt got.txt && grep -q eval_loss_fp32 got.txt || fail "an evaluation of a spilled run differs"
loss --run r --host-mem 142M --at-step 4 >got.txt
loss --run ram --at-step 4 >want.txt
cmp -s want.txt got.txt || fail "an evaluation at an older step differs"

# --- A file that is in use: pack and journal say the same -----------------------------------------------------------------------
file=$(find one -name 'spill-*.zo2x')
flock -x "$file" zo2-pack export tiny.zo2 out --run r --dtype fp32 --force 2>err.txt >/dev/null || fail "no export beside training"
grep -q 'from the pack and the journal: .* is in use by another process' err.txt || fail "an export doesn't say that the spill is in use"
same out want6 "an export beside training differs"
loss --run ram >want.txt
flock -x "$file" zo2-tune eval --model tiny.zo2 --data eval.jsonl --seq 32 --threads 2 --json --run r --host-mem 142M 2>err.txt | sed 's/"seconds.*//' >got.txt
grep -q 'from the pack and the journal: .* is in use by another process' err.txt || fail "an evaluation doesn't say that the spill is in use"
cmp -s want.txt got.txt || fail "an evaluation beside training differs"

# --- Verify, and a byte that flipped: named; an export and a resume do without it --------------------------------------------------
expect 0 '^r: ok, [1-9][0-9]* spilled chunks in 2 folders$' zo2-pack verify tiny.zo2 --run r
size=$(wc -c <"$file") place=$((size / 2))
cp "$file" whole
unnoticed=1
while [ $unnoticed = 1 ] && [ $place -lt "$size" ]; do # not every slot holds a version
    flip "$file" $place
    zo2-pack verify tiny.zo2 --run r >out.txt 2>err.txt || unnoticed=0
    [ $unnoticed = 0 ] || flip "$file" $place
    place=$((place + 40961))
done
[ $unnoticed = 0 ] || fail "no flipped byte was noticed"
expect 1 "^zo2-pack verify: .*/one/spill-[0-9a-f]*\.zo2x: chunk [0-9]* at byte [0-9]* is damaged" zo2-pack verify tiny.zo2 --run r
export_run out r 'is damaged.*rebuilt from the pack and the journal'
same out want6 "an export from a damaged spill differs"

# --- Going on: with the damage, and without the files, which costs time and nothing else -------------------------------------------
in_ram --run ram --resume --steps 8 || fail "resume in RAM"
cp -r r gone
spilled --run r --resume --steps 8 --quiet 2>err.txt || fail "resume with a damaged spill"
grep -q 'is damaged (checksum); this part is rebuilt from the pack and the journal' err.txt || fail "a resume doesn't tell of the damage"
cmp -s ram/journal.zo2j r/journal.zo2j || fail "a damaged spill changed the run"
export_run want8 ram ''
export_run out r 'from the spill'
same out want8 "the export after a damaged spill differs"
expect 0 '^r: ok, [1-9][0-9]* spilled chunks' zo2-pack verify tiny.zo2 --run r
rm one/* two/*
spilled --run gone --resume --steps 8 --quiet || fail "resume without the spill"
cmp -s ram/journal.zo2j gone/journal.zo2j || fail "a deleted spill changed the run"
export_run out gone 'from the spill'
same out want8 "the export after a deleted spill differs"
expect 0 '^gone: ok, [1-9][0-9]* spilled chunks' zo2-pack verify tiny.zo2 --run gone

# --- Several drives: chunks go to them by the rates at which they read ---------------------------------------------------------------
shm=$(mktemp -d -p /dev/shm) && trap 'rm -rf "$work" "$shm"' EXIT
if [ -n "$shm" ] && [ "$(stat -c %d "$shm")" != "$(stat -c %d .)" ]; then
    mkdir three
    expect 0 ' three reads [0-9.e+]* GB/s: it gets [0-9]* % of' spilled --run drives --spill three --spill "$shm" --steps 1
    grep -q "$shm reads [0-9.e+]* GB/s: it gets [0-9]* % of" err.txt || fail "no share of the other drive"
    expect 0 '^drives: ok' zo2-pack verify tiny.zo2 --run drives
fi
finish
