#!/bin/sh
# A terminal or a reader that goes away, streams that are closed from the start, a limit on the size of files: nothing
# that was done is lost, and nothing is written where it doesn't belong.
. "$(dirname "$0")/cli_testing.sh"
tiny
data=$TEXTS/wordnet_kind.train.jsonl
train() {
    zo2-tune train --model tiny.zo2 --data "$data" --batch 2 --lr 1e-4 "$@"
}

# The terminal goes away: twice, as a shell makes it. (These tests themselves may run under nohup.)
env --default-signal=HUP zo2-tune train --model tiny.zo2 --data "$data" --batch 2 --run hup >hup.txt 2>&1 &
pid=$!
wait_lines hup/metrics.jsonl 3 $pid || fail "nothing happens"
kill -HUP $pid
kill -HUP $pid 2>/dev/null
wait $pid
status=$?
[ $status = 130 ] || fail "exit status $status after SIGHUP"
grep -q 'go on with --resume' hup.txt || fail "no word about going on after SIGHUP"
[ -n "$(ls hup/snapshots)" ] || fail "no snapshot after SIGHUP"

# The reader of the metrics goes away.
{ train --run pipe --json 2>pipe.txt; echo $? >status.txt; } | head -n 1 >first.txt
grep -q '^{"step": 0' first.txt || fail "no first line"
[ "$(cat status.txt)" = 130 ] || fail "exit status $(cat status.txt) when the reader went away"
[ -n "$(ls pipe/snapshots)" ] || fail "no snapshot when the reader went away"
expect 0 'ok' zo2-pack verify tiny.zo2 --run pipe

# Closed streams: the files of the run don't take their places.
zo2-tune train --model tiny.zo2 --data "$data" --batch 2 --run closed <&- >&- 2>&- &
pid=$!
wait_lines closed/metrics.jsonl 3 $pid || fail "nothing happens with closed streams"
for fd in 0 1 2; do
    [ "$(readlink /proc/$pid/fd/$fd)" = /dev/null ] || fail "descriptor $fd is $(readlink /proc/$pid/fd/$fd)"
done
kill -TERM $pid
wait $pid
expect 0 'ok' zo2-pack verify tiny.zo2 --run closed
train --run unseen --steps 3 >&- 2>/dev/null
[ $? = 1 ] || fail "results that could not be printed went unnoticed"
expect 0 '^3 steps in' sh -c 'zo2-tune train --model tiny.zo2 --data "$1" --batch 2 --run quiet --steps 3 2>&-' sh "$data"

# A limit on the size of files is an error like a full disk.
expect 1 'tiny2.zo2.*large' sh -c 'ulimit -f 100; exec zo2-pack convert "$1" tiny2.zo2' sh "$HF"
expect 1 'large' sh -c 'ulimit -f 100; exec zo2-pack export tiny.zo2 out'
[ "$(ls -d tiny2* out* | tr '\n' ' ')" = 'out.txt ' ] || fail "left behind: $(ls -d tiny2* out*)"
# So is a limit on the address space, under which OpenBLAS alone would try for ever to map its buffers.
if [ $slow = 0 ]; then # sanitizers need more address space than there is
    mkfifo unwritten
    zo2-tune train --model tiny.zo2 --data unwritten --run never >never.txt 2>&1 &
    pid=$!
    for i in $(seq 100); do # until all libraries are there: how much they take depends on the build
        [ -n "$(find /proc/$pid/fd -lname '*/unwritten' 2>/dev/null)" ] && break
        sleep 0.1
    done
    taken=$(awk '/^VmSize:/ { print $2 }' /proc/$pid/status)
    kill -INT $pid
    wait $pid
    [ -n "$taken" ] || fail "how much address space a start takes is not known"
    expect 1 'no room\|memory' sh -c 'ulimit -v "$2"; exec timeout -k 1 60 zo2-tune train --model tiny.zo2 --data "$1" \
        --batch 2 --run narrow --steps 3 --threads 8 --backend cpu' sh "$data" $((taken + 350000))
fi
finish
