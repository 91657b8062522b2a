#!/bin/sh
# A run whose journal is gone is refused by everything, and nothing in it changes; a creation that was cut before the
# journal was there is no run.
. "$(dirname "$0")/cli_testing.sh"
tiny
data=$TEXTS/proverbs.train.jsonl
head -n 5 "$TEXTS/proverbs.test.jsonl" >lm.jsonl
train="zo2-tune train --model tiny.zo2 --data $data --batch 2"
expect 0 '^5 steps in ' $train --run whole --steps 5
expect 0 '^5 steps in ' $train --run away --steps 5 --snapshot elsewhere

sums() { # of all in a run, and when it was changed
    (cd "$1" && find . -type f -exec cksum {} + && find . -printf '%p %T@ %C@\n') | sort
}

# by_the_others RUN PATTERN: refused, too
by_the_others() {
    expect 1 "$2" $train --run $1 --resume --snapshot there --steps 9
    expect 1 "$2" $train --run $1 --dry-run
    expect 1 "$2" zo2-tune eval --model tiny.zo2 --data lm.jsonl --run $1
    expect 1 "$2" zo2-tune eval --model tiny.zo2 --data lm.jsonl --run $1 --at-step 0
    expect 1 "$2" zo2-tune log $1 --json
    expect 1 "$2" zo2-pack export tiny.zo2 OUT --run $1
    expect 1 "$2" zo2-pack verify tiny.zo2 --run $1
}

# refused RUN PATTERN [MORE]: with nothing changed; by all commands with MORE
refused() {
    lost=$1 like=$2
    sums $lost >before.txt
    expect 1 "$like" $train --run $lost --steps 2
    expect 1 "$like" $train --run $lost --resume --steps 9
    expect 1 "$like" zo2-tune log $lost
    [ -z "${3-}" ] || by_the_others $lost "$like"
    sums $lost | cmp - before.txt || fail "a refused command changed $lost"
    [ ! -e OUT ] && [ ! -e there ] || fail "a refused command wrote something"
}
advice='Put journal.zo2j back from a copy; or.*to begin anew, remove'
mv whole/journal.zo2j journal
mv away/journal.zo2j away.journal
refused whole "^[a-z0-9-]* [a-z]*: whole has settings.json, metrics.jsonl, snapshots (the newest after 5 steps) of a run, but journal.zo2j, .*is missing.*$advice whole" all
refused away "away has settings.json, metrics.jsonl of a run, but journal.zo2j, .*is missing.*$advice away" all
for kept in settings.json metrics.jsonl snapshots; do
    mkdir only-$kept
    cp -r whole/$kept only-$kept
    refused only-$kept "but journal.zo2j, .*is missing.*$advice only-$kept"
done
for bytes in 0 255; do
    head -c $bytes journal >whole/journal.zo2j
    refused whole "but journal.zo2j, .*is cut short.*$advice whole"
done
rm whole/journal.zo2j
mkdir whole/journal.zo2j
refused whole 'whole/journal.zo2j: .*\(not a regular file\|Is a directory\)'
rmdir whole/journal.zo2j
ln -s nowhere whole/journal.zo2j
refused whole 'journal.zo2j, .*is missing'
rm whole/journal.zo2j

# What is advised works: the export of what the snapshot holds, the journal back from a copy, the directory removed.
zo2-tune log whole 2>&1 | sed -n 's/.*: \(zo2-pack export PACK OUT --snapshot whole.snapshots\);.*/\1/p' | sed s/PACK/tiny.zo2/ >command.sh
expect 0 'the weights after \([0-9]*\) steps, as the snapshot of step 5 has them' sh command.sh
at=$(sed -n 's/.*the weights after \([0-9]*\) steps.*/\1/p' err.txt)
mv journal whole/journal.zo2j
zo2-pack export tiny.zo2 want --run whole --at-step "$at" >out.txt 2>err.txt || fail "export at step $at"
diff -r OUT want || fail "the snapshot alone gives other weights than the run after $at steps"
expect 0 '^6 steps, 1 of them now' $train --run whole --resume --steps 6
rm -r only-settings.json
expect 0 '^1 steps in ' $train --run only-settings.json --steps 1

# Snapshots that another run keeps aren't removed by a new one that is sent there.
cksum elsewhere/* >before.txt
expect 1 'elsewhere has snapshots of another run, the newest after 5 steps.*choose another folder, or remove them' \
    $train --run new --steps 2 --snapshot elsewhere
cksum elsewhere/* | cmp - before.txt || fail "another run's snapshots were changed"
[ ! -e new ] || fail "a refused run left its directory"
mv away.journal away/journal.zo2j
expect 0 '^6 steps, 1 of them now' $train --run away --resume --steps 6

# An old copy of the journal: allowed, but said.
head -c $((256 + 3 * 80)) whole/journal.zo2j >short && cp short whole/journal.zo2j
expect 0 'whole/snapshots has a snapshot after 6 steps, the journal only 3' $train --run whole --resume --quiet
expect 0 '' $train --run whole --resume --quiet --steps 7
[ ! -s err.txt ] || fail "a run that has caught up is still warned of"

# Cut while it was made: a lock, a journal under its temporary name, an empty folder. And a file is no run.
mkdir cut cut/snapshots
touch cut/lock
head -c 100 whole/journal.zo2j >cut/journal.zo2j.tmp-99999
expect 1 'is not a run directory' zo2-tune log cut
expect 0 '^2 steps in ' $train --run cut --steps 2
head -c 256 whole/journal.zo2j >header # the journal is there, nothing else is yet
mkdir head && cp header head/journal.zo2j
expect 0 '^2 steps in ' $train --run head --resume --steps 2
for command in "zo2-tune log header" "$train --run header" "$train --run header --resume"; do
    # shellcheck disable=SC2086
    expect 1 'header is the journal of a run; give the run directory' $command
done
finish
