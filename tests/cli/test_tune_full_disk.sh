#!/bin/sh
# Full disks: on a small tmpfs in a mount namespace of its own; skipped where that isn't allowed.
. "$(dirname "$0")/cli_testing.sh"
if [ -z "${ZO2_IN_NAMESPACE-}" ]; then
    unshare -Urm true 2>/dev/null || exit 77
    script=$(cd "$OLDPWD" && cd "$(dirname "$0")" && pwd)/$(basename "$0")
    ZO2_IN_NAMESPACE=1 BIN=$BIN DATA=$DATA unshare -Urm sh "$script"
    exit $?
fi
disk() { # SIZE: an empty small disk on ./disk
    umount disk 2>/dev/null
    mkdir -p disk
    mount -t tmpfs -o "size=$1" none disk || exit 77
}
tiny
data=$TEXTS/wordnet_kind.train.jsonl

disk 1M
expect 1 'space' zo2-pack convert "$HF" disk/tiny.zo2
expect 1 'space' zo2-pack export tiny.zo2 disk/out
[ -z "$(ls -A disk)" ] || fail "left behind on the full disk: $(ls -A disk)"
expect 1 'two snapshots take .* --snapshot DIR' zo2-tune train --model tiny.zo2 --data "$data" --run disk/r --steps 3
[ -z "$(ls -A disk)" ] || fail "left behind on the full disk: $(ls -A disk)"
# ... and that is a way out: the journal is small
expect 0 '^3 steps in' zo2-tune train --model tiny.zo2 --data "$data" --run disk/r --steps 3 --batch 2 --snapshot elsewhere
[ -n "$(ls elsewhere)" ] || fail "no snapshot in --snapshot DIR"
expect 0 '^4 steps, 1 of them' zo2-tune train --model tiny.zo2 --data "$data" --run disk/r --steps 4 --resume
ls elsewhere | grep -q 4 || fail "a resume forgot --snapshot DIR"

# The disk fills up while it trains: the run ends with status 1 and goes on later as if nothing had been.
disk 40M
steps=100
[ $slow = 0 ] || steps=40
options="--model tiny.zo2 --data $data --batch 2 --lr 1e-4"
zo2-tune train $options --run disk/r --steps $steps >log.txt 2>&1 &
pid=$!
wait_lines disk/r/metrics.jsonl 5 $pid || fail "nothing happens"
dd if=/dev/zero of=disk/filler bs=64k 2>/dev/null
cat /dev/zero >>disk/filler 2>/dev/null
wait $pid
status=$?
if [ $status = 0 ]; then
    grep -q 'no snapshot' log.txt || fail "a full disk went unnoticed"
else
    [ $status = 1 ] || fail "exit status $status on a full disk"
    grep -qi 'space' log.txt || { fail "the message doesn't say that the disk is full"; cat log.txt; }
fi
rm -f disk/filler
expect 0 "^$steps steps" zo2-tune train --model tiny.zo2 --data "$data" --run disk/r --resume
expect 0 "^$steps steps in" zo2-tune train $options --run whole --steps $steps
zo2-pack export tiny.zo2 a --run disk/r --dtype fp32 >/dev/null
zo2-pack export tiny.zo2 b --run whole --dtype fp32 >/dev/null
cmp a/model.safetensors b/model.safetensors || fail "the run on the full disk has other weights"
[ "$(lines disk/r/metrics.jsonl)" -eq $steps ] || fail "metrics.jsonl isn't whole"
umount disk
finish
