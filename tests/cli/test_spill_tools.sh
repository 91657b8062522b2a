#!/bin/sh
# Masters that spill: zo2-plan --spill and what zo2-tune train says and remembers of it, before and around the steps.
. "$(dirname "$0")/cli_testing.sh"
value() { sed "s/.*\"$1\": \([^,}]*\).*/\1/" out.txt; }
plan() { zo2-plan "$@" --probe 0; }
big() { plan opt-13b --batch 2 --seq 128 --threads 2 --spill one "$@"; }
mkdir one two

# where every byte is: host budgets are kept, and what doesn't stay is on the drives
for memory in 2G 8G 24G; do
    expect 0 '"fits": true' big --host-mem $memory --pending 7 --endurance 10000T --json
    [ "$(value host_peak_bytes)" -le $((${memory%G} << 30)) ] || fail "more than $memory of host memory"
    parts=$(($(value ram_master_bytes) + $(value ram_wire_bytes) + $(value spill_buffer_bytes) + $(value staging_bytes)))
    [ $parts -lt "$(value host_peak_bytes)" ] || fail "the parts of host memory are more than all of it"
    [ "$(value spilled_bytes)" -gt $(($(value master_bytes) - (${memory%G} << 30))) ] || fail "masters are nowhere"
    [ "$(value spill_bytes)" -gt "$(value master_bytes)" ] || fail "no room for all masters on the drives"
    [ $((8 * $(value written_bytes_per_step))) -lt $(($(value spilled_bytes) + 8)) ] || fail "more is written than once in 8 steps"
    read=$(value read_bytes_per_step)
    [ "$read" -lt "${before:-99999999999}" ] || fail "more memory, and not less to read"
    before=$read
done
expect 0 '"written_bytes_per_step": 0,.*"written_bytes": 0,' big --host-mem 100G --json
expect 0 '^  in passing .*MiB' big --host-mem 2G --pending 7 --endurance 10000T
for line in 'masters .*that stay in RAM' "wires .*of masters that don't" 'spill .* are not in RAM' 'written .* in 20,000 steps' \
    'endurance .* as given' '.* from the --spill directories' '.* to them'; do
    grep -q "^  $line" out.txt || fail "no line like '$line'"
done
if grep -q 'snapshots' out.txt; then fail "a spill beside snapshots"; fi

# the smallest budget works, one byte less doesn't
expect 1 "doesn't fit: the host budget .*try --host-mem" big --host-mem 1M --pending 63 --endurance 10000T
least=$(sed -n 's/.*settings is \([0-9]*\) bytes.*/\1/p' err.txt)
[ "$least" -lt 800000000 ] || fail "13 B parameters need $least bytes of host memory"
expect 0 '' big --host-mem "$least" --pending 63 --endurance 10000T
expect 1 "is $least bytes" big --host-mem $((least - 1)) --pending 63 --endurance 10000T

# K from the budget for writes
expect 0 '"pending": 11,' big --host-mem 8G --write-budget 4G --endurance 10000T --json
[ "$(value written_bytes_per_step)" -le $((4 << 30)) ] || fail "more is written than the budget allows"
expect 0 ', pending 11$' big --host-mem 8G --write-budget 4G --endurance 10000T
expect 0 '"pending": 3,' big --host-mem 8G --write-budget 4G --pending 3 --endurance 10000T --json
expect 1 'write budget of 1048576 bytes a step is too small: with 64 pending.*writes [0-9]* bytes' big --host-mem 8G --write-budget 1M

# times: at rates that are given, each directory's own
timed() { zo2-plan opt-13b --batch 2 --seq 128 --host-mem 8G --spill one --probe 0 --gpu h200 --update-rate 50 --endurance 10000T --json "$@"; }
near() { awk "BEGIN { d = $1 / ($2) - 1; exit !(d < 1e-6 && d > -1e-6) }" || fail "$3: $1 is not $2"; }
expect 0 '"bottleneck": "write"' timed --spill-read-rate 7 --spill-write-rate 5
near "$(value read_seconds)" "$(value read_bytes_per_step) / 7e9" "reading"
near "$(value write_seconds)" "$(value written_bytes_per_step) / 5e9" "writing"
near "$(value seconds_per_step)" "$(value read_seconds) + $(value write_seconds)" "a step"
[ "$(value proposed_pending)" -gt 15 ] || fail "no K is proposed that writes less"
seconds=$(value seconds_per_step)
expect 0 '"bottleneck": "read"' timed --spill-read-rate 7 --spill-write-rate 5 --pending 15 --spill two
awk "BEGIN { exit !($(value seconds_per_step) < 0.4 * $seconds) }" || fail "two drives and K = 15 are no faster"
expect 0 '"read_seconds": 0, "write_seconds": 0,' timed
expect 0 'read, write .*not known' zo2-plan opt-13b --batch 2 --seq 128 --host-mem 8G --spill one --probe 0 --gpu h200 --update-rate 50 --endurance 10000T
# ... or measured where they are; nothing stays behind
expect 0 '"read_rate": [1-9][0-9]*.*"write_rate": [1-9][0-9]*' zo2-plan opt-125m --batch 2 --seq 16 --host-mem 400M --spill one --probe 0.1s --endurance 10000T --json
[ -z "$(ls one)" ] || fail "measuring left files behind"
expect 0 '"read_rate": 0, "write_rate": 0,' zo2-plan opt-125m --batch 2 --seq 16 --host-mem 400M --spill one --spill nowhere --probe 0.1s --endurance 10000T --json

# endurance: the drives', else an assumption from their size; unknown where there are none yet
expect 1 'would write .* taken to be good for .*--endurance' big --host-mem 8G --steps 200000000
expect 0 '"endurance_assumed": true' big --host-mem 8G --steps 1 --json
expect 1 'would write .* rated for 1.00 TiB' big --host-mem 8G --endurance 1T
expect 0 '"endurance_bytes": 10995116277760000, "endurance_assumed": false' big --host-mem 8G --endurance 10000T --json
near "$(value written_bytes)" "20000 * $(value written_bytes_per_step)" "written in all steps"
expect 0 '"endurance_bytes": null' plan opt-13b --host-mem 8G --spill not/there/yet --json

usage 'for --spill' plan opt-125m --spill-read-rate 3
usage 'for --spill' plan opt-125m --steps 3
usage 'for --spill' plan opt-125m --write-budget 3
usage 'for --spill' plan opt-125m --endurance 3
usage 'not a number above 0' plan opt-125m --spill one --spill-write-rate 0
usage 'the value is empty' plan opt-125m --spill ''
usage 'no --json' plan opt-125m --spill-table --json
usage 'its own' plan opt-125m --spill-table --wire fp32

# the table of tools/guide/plans.md, line by line
if [ $slow = 0 ]; then # 32 plans
    PAGE=$DATA/../../tools/guide/plans.md
    expect 0 '^| opt-175b | bf16 | 64 | 2 |' zo2-plan opt-175b --batch 1 --seq 2048 --dist rademacher --pending 63 --threads 16 --gpu rtx-4090 --update-rate 12 \
        --spill-table --spill-read-rate 7 --spill-write-rate 5
    while read -r line; do
        grep -qxF "$line" "$PAGE" || fail "the page has no line: $line"
    done <out.txt
    [ "$(grep -c '^| opt-175b | [a-z0-9-]* | [0-9]* | [12] |' "$PAGE")" -eq $(($(wc -l <out.txt) - 2)) ] || fail "the page has other lines"
    awk -F'|' '$3 == " bf16 " && $16 > 12 { bad = 1 } END { exit bad }' out.txt || fail "more than 12 GB are written in a step"
fi

# zo2-tune train: refused before anything is made
tiny
data=$TEXTS/proverbs.train.jsonl
train() {
    _status=$1 _pattern=$2
    shift 2
    expect "$_status" "$_pattern" zo2-tune train --model tiny.zo2 --data "$data" --run r --batch 1 --seq 16 "$@"
}
for dry in '' --dry-run; do
    # shellcheck disable=SC2086  # an option or none
    train 1 'spill nowhere: No such file' --spill nowhere $dry
    # shellcheck disable=SC2086
    train 1 'spill tiny.zo2: not a directory' --spill tiny.zo2 $dry
    # shellcheck disable=SC2086
    train 1 'tiny.zo2: not a directory, so no snapshot' --snapshot tiny.zo2/x $dry
done
train 1 'would write' --spill one --host-mem 140M --threads 2 --endurance 1K
train 2 'not for --spill' --spill one --snapshot two
train 2 'are for --spill' --write-budget 3G
train 2 'are for --spill' --endurance 3G
train 0 '"spill_bytes": [1-9].*"steps": 20000, ' --spill one --spill two --dry-run --json
if [ -e r ]; then fail "a run was made all the same"; fi

# the run remembers its directories, wherever it is resumed from
train 0 '^zo2-tune train: masters: .* in RAM, .* in 2 directories' --spill one --spill two --host-mem 142M --threads 2 --steps 2 --endurance 500T
here=$(pwd -P)
grep -q "\"spill_dirs\": \[\"$here/one\", \"$here/two\"\], \"endurance\": 549755813888000}" r/settings.json || fail "directories or endurance aren't remembered"
[ "$(grep -c '"read_busy_seconds": [0-9].*"write_busy_seconds": [0-9].*"read_bytes": [0-9].*"written_bytes": [0-9].*"ram_master_bytes": [1-9].*"spilled_bytes": [0-9].*"pack_master_bytes": [0-9]' r/metrics.jsonl)" -eq 2 ] ||
    fail "no lanes or bytes in the metrics"
expect 0 'in 2 directories' zo2-tune train --model "$here/tiny.zo2" --data "$data" --run "$here/r" --resume --steps 3 --threads 2
expect 1 'would write' zo2-tune train --model tiny.zo2 --data "$data" --run r --resume --steps 4 --threads 2 --host-mem 142M --endurance 1K
expect 0 '' zo2-tune eval --model tiny.zo2 --data "$data" --run r --threads 2
expect 0 '^r: ok, [1-9][0-9]* spilled chunks in 2 folders$' zo2-pack verify tiny.zo2 --run r

# a resume goes on with the chunks that the spill was made for, and so does its plan
number() { sed -n 's/.*"'"$1"'": \([0-9]*\).*/\1/p' out.txt; }
rm -rf one/* two/*
long() { # STATUS PATTERN OPTION...
    _status=$1 _pattern=$2
    shift 2
    expect "$_status" "$_pattern" zo2-tune train --model tiny.zo2 --data "$data" --run long --batch 1 --seq 128 --threads 2 --spill one "$@"
}
long 0 '"chunk_bytes"' --steps 2 --dry-run --json
chunk=$(number chunk_bytes) least=$(number device_min_bytes)
long 0 '"chunk_bytes"' --steps 2 --device-mem "$least" --dry-run --json
[ "$chunk" -gt "$(number chunk_bytes)" ] || fail "chunks don't depend on the budget"
long 0 '^2 steps in' --steps 2
for dry in --dry-run ''; do
    # shellcheck disable=SC2086  # an option or none
    long 1 "doesn't fit: the device budget of $least bytes ([0-9.]* MiB) is too small: the smallest that works with these settings is" --steps 3 --resume --device-mem "$least" $dry
done
finish
