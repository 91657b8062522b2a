#!/bin/sh
# kill -9 at any moment of a run whose masters spill, an evaluation and a snapshot among them, costs nothing: resumed, it has the weights of a run
# in RAM that nothing happened to. Nobody else may write to it meanwhile. Where the drives are full, it says so and loses nothing.
. "$(dirname "$0")/cli_testing.sh"
if [ -z "${ZO2_IN_NAMESPACE-}" ] && unshare -Urm true 2>/dev/null; then
    script=$(cd "$OLDPWD" && cd "$(dirname "$0")" && pwd)/$(basename "$0")
    ZO2_IN_NAMESPACE=1 BIN=$BIN DATA=$DATA unshare -Urm sh "$script"
    exit $?
fi
tiny
mkdir s0 s1
data=$TEXTS/wordnet_kind.train.jsonl
head -n 10 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
steps=60 kills=6
[ $slow = 0 ] || steps=12 kills=2
options="--model tiny.zo2 --data $data --batch 2 --lr 1e-4 --seed 3 --pending 1 --threads 2"
spilled="--spill s0 --spill s1 --host-mem 142M --snapshot-every 1"

weights() {
    zo2-pack export tiny.zo2 "hf-$1" --run "$1" --dtype fp32 >/dev/null || fail "export of $1"
    cksum <"hf-$1/model.safetensors"
    rm -rf "hf-$1"
}
# shellcheck disable=SC2086  # lists of options
train() { zo2-tune train $options --run "$@"; }
# shellcheck disable=SC2086
start() { # in the background: $pid
    zo2-tune train $options --run "$@" >log.txt 2>&1 &
    pid=$!
}
stop() {
    kill -KILL $pid
    wait $pid 2>/dev/null
    done=$(lines r/metrics.jsonl)
}

expect 0 "^$steps steps" train ram --steps $steps
want=$(weights ram)

# shellcheck disable=SC2086
start r --steps $steps $spilled --eval dev.jsonl --eval-every 7
wait_lines r/metrics.jsonl 2 $pid || fail "nothing happens"
expect 1 'in use' train r --resume
cp -r r copy
expect 1 'in use' train copy --resume
rm -rf copy
stop
grep -q 'the spill is written through ' log.txt || fail "the path to the disk isn't said"
[ "$done" -lt $steps ] || fail "kill came too late to test anything"
for i in $(seq $kills); do
    # shellcheck disable=SC2086
    start r --steps $steps --resume $spilled
    # after some steps, or in the middle of beginning again
    [ $((i % 3)) = 0 ] || wait_lines r/metrics.jsonl $((done + 3)) $pid || break
    sleep 0.0$i
    stop
done
[ "$done" -lt $steps ] || fail "the last kill came too late"
expect 0 "^$steps steps" train r --steps $steps --resume
[ "$(weights r)" = "$want" ] || fail "other weights after kills"
expect 0 "ok, $steps steps" zo2-pack verify tiny.zo2 --run r
rm -rf s0/* s1/*
[ "$(weights r)" = "$want" ] || fail "pack and journal give other weights"

# --- full drives ---------------------------------------------------------------------------------------------------------
[ -n "${ZO2_IN_NAMESPACE-}" ] || finish
mkdir disk
mount -t tmpfs -o size=1M none disk || finish
expect 1 'MiB are free there; make room' train full --steps 3 --spill disk --host-mem 142M
[ -z "$(ls -A disk)" ] || fail "left behind on the full disk: $(ls -A disk)"
if [ -e full ]; then fail "a run was left behind"; fi
umount disk
# room for the spill is set aside; the journal's isn't
mount -t tmpfs -o size=60M none disk || finish
start disk/full --steps $steps --spill disk --host-mem 142M
wait_lines disk/full/metrics.jsonl 3 $pid || fail "nothing happens"
dd if=/dev/zero of=disk/filler bs=64k 2>/dev/null
cat /dev/zero >>disk/filler 2>/dev/null
wait $pid
[ $? = 1 ] || fail "a full disk went unnoticed"
grep -qi 'space' log.txt || fail "the message doesn't say that the disk is full"
rm disk/filler
expect 0 "^$steps steps" train disk/full --resume
cp -r disk/full full
[ "$(weights full)" = "$want" ] || fail "the run on the full disk has other weights"
umount disk
finish
