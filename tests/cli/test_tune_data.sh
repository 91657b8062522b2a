#!/bin/sh
# Data lines: every kind trains and evaluates, every mistake is told with file and line; tokenize.
. "$(dirname "$0")/cli_testing.sh"
tiny

bad() { # pattern, lines (printf): refused by train and by eval with the line
    pattern=$1
    # shellcheck disable=SC2059  # escapes are wanted
    printf "$2" >bad.jsonl
    for command in 'train --run r' eval; do
        # shellcheck disable=SC2086
        expect 1 "bad.jsonl.*$pattern" zo2-tune $command --model tiny.zo2 --data bad.jsonl
    done
    [ ! -e r ] || fail "a refused train left a run directory"
}
bad 'line 2.*not JSON' '{"text": "fine here"}\nnot json\n'
bad 'line 1.*not a JSON object' '[1, 2]\n'
bad 'line 1.*keys' '{"txt": "x"}\n'
bad 'line 1.*"completion" or "options"' '{"prompt": "x"}\n'
bad 'line 3.*4096 is outside' '{"tokens": [2, 3]}\n\n{"tokens": [2, 4096]}\n'
bad 'line 1.*-1 is outside' '{"tokens": [2, -1]}\n'
bad 'no examples' ''
bad 'no examples' '\n\n'
bad 'line 1.*"label" is 2' '{"prompt": "a", "options": ["x", "y"], "label": 2}\n'
bad 'line 1.*empty' '{"prompt": "a", "completion": ""}\n'
bad 'line 2' '{"text": "a line"}\n{"prompt": "a", "options": ["x", "y"], "label": 1}\n'
bad 'line 1.*UTF-8' '{"text": "\377"}\n'

awk 'BEGIN { printf "{\"prompt\": \"a\", \"completion\": \""; for (i = 0; i < 600; i++) printf "word "; print "\"}" }' >long.jsonl
expect 1 'long.jsonl line 1.*256' zo2-tune eval --model tiny.zo2 --data long.jsonl
# A text that is too long is cut from the left and counted.
awk 'BEGIN { print "{\"text\": \"short one\"}"; printf "{\"text\": \""; for (i = 0; i < 600; i++) printf "word "; print "\"}" }' >long.jsonl
expect 0 'long.jsonl: 1 of 2 lines have more than 256 tokens.*line 2' zo2-tune eval --model tiny.zo2 --data long.jsonl
expect 0 '1 of 2 lines have more than 256' zo2-tune train --model tiny.zo2 --data long.jsonl --run r --steps 1 --batch 2
expect 0 '2 of 2 lines have more than 2 tokens' zo2-tune eval --model tiny.zo2 --data long.jsonl --seq 2

cat >tokens.jsonl <<END
{"tokens": [2, 592, 387, 1010], "loss_from": 2}
{"tokens": [2, 17, 18]}
END
cat >completion.jsonl <<END
{"prompt": "The Crown", "completion": " is a symbol."}
{"prompt": "A dog", "completion": " is an animal."}
{"prompt": "", "completion": "Anything."}
END
cat >options.jsonl <<END
{"prompt": "A dog is", "options": [" an animal", " a plant"], "label": 0}
{"prompt": "A rose is", "options": [" an animal", " a plant", " a beautiful person"], "label": 1}
END
for kind in tokens completion options; do
    expect 0 '^2 steps in ' zo2-tune train --model tiny.zo2 --data $kind.jsonl --run run-$kind --steps 2 --batch 5
    expect 0 '^loss ' zo2-tune eval --model tiny.zo2 --data $kind.jsonl --run run-$kind
done
expect 0 '"loss_tokens": 4, "tokens": 7' zo2-tune eval --model tiny.zo2 --data tokens.jsonl --json
expect 0 '"examples": 2, "loss_tokens": ' zo2-tune eval --model tiny.zo2 --data options.jsonl --json

# A model without tokenizer trains on ready ids only.
zo2-pack synth "$HF/config.json" synth.zo2 >/dev/null
expect 0 '^1 steps in ' zo2-tune train --model synth.zo2 --data tokens.jsonl --run run-synth --steps 1
expect 1 'line 1.*tokenizer' zo2-tune train --model synth.zo2 --data options.jsonl --run run-synth2 --steps 1
expect 1 'tokenizer' zo2-tune tokenize --model synth.zo2 text

# --- Data through a FIFO: waits for who writes, and one Ctrl-C ends the waiting ------------------------------------------
mkfifo fifo
{ sleep 0.3 && cat completion.jsonl; } >fifo &
expect 0 '"examples": 3, ' zo2-tune eval --model tiny.zo2 --data fifo --json
{ head -n 1 completion.jsonl && sleep 0.3 && tail -n +2 completion.jsonl; } >fifo &
expect 0 '^1 steps in ' zo2-tune train --model tiny.zo2 --data fifo --run run-fifo --steps 1
expect 0 '"examples": 3, ' sh -c 'cat completion.jsonl | zo2-tune eval --model tiny.zo2 --data /dev/stdin --json'

reads() { # PID FILE: until the process, no longer the shell it began as, has the file open
    _tries=0
    until grep -qs zo2 "/proc/$1/comm" && find "/proc/$1/fd" -lname "$2" 2>/dev/null | grep -q .; do
        kill -0 "$1" 2>/dev/null && [ $_tries -lt 600 ] || return 1
        _tries=$((_tries + 1))
        sleep 0.02
    done
}
interrupted() { # command...: waits for data of ./fifo, and ends with the first signal
    "$@" 2>err.txt 3>&- &
    pid=$!
    reads $pid "$work/fifo" || fail "doesn't wait for data: $*"
    kill -INT $pid
    _tries=0
    while grep -qs '^State:[[:space:]]*[RSD]' /proc/$pid/status; do # neither gone nor a zombie
        _tries=$((_tries + 1))
        [ $_tries -lt 600 ] || kill -KILL $pid
        sleep 0.02
    done
    wait $pid
    status=$?
    [ $status -eq 130 ] || fail "exit status $status, not 130, after Ctrl-C: $*"
    grep -q 'interrupted' err.txt || fail "doesn't say that it was interrupted: $*"
}
interrupted zo2-tune eval --model tiny.zo2 --data fifo
interrupted zo2-tune train --model tiny.zo2 --data fifo --run run-interrupted
interrupted zo2-tune train --model tiny.zo2 --data completion.jsonl --eval fifo --run run-interrupted
[ ! -e run-interrupted ] || fail "a run was begun without its data"
exec 3<>fifo # a writer that has written a line, and more to say
head -n 1 completion.jsonl >&3
interrupted zo2-tune eval --model tiny.zo2 --data fifo
exec 3>&-

# --- tokenize: the known answers --------------------------------------------------------------------------------------
expect 0 '^2 592 387 1010$' zo2-tune tokenize --model tiny.zo2 'The Crown'
expect 0 '^592 387 1010$' zo2-tune tokenize --model tiny.zo2 --bos none 'The Crown'
expect 0 '^7 592 387 1010$' zo2-tune tokenize --model tiny.zo2 --bos 7 'The Crown'
grep -q '" C" "rown"' out.txt || fail "tokenize shows no token strings"
printf 'The Crown\n\nA dog' >lines.txt
expect 0 '^2 592 387 1010$' sh -c 'zo2-tune tokenize --model tiny.zo2 <lines.txt'
[ "$(wc -l <out.txt)" -eq 6 ] || fail "three lines don't give three answers"
printf '\377\n' >notutf8.txt
expect 1 'line 1.*UTF-8' sh -c 'zo2-tune tokenize --model tiny.zo2 <notutf8.txt'
known=$DATA/tiny-opt/tokenizer_kat.jsonl
# texts without escapes; a dollar or backquote can't be in the pattern below either
grep -v '\\' "$known" | sed 's/^{"text": "\(.*\)", "ids": .*/\1/' >texts.txt
grep -v '\\' "$known" | sed 's/.*"ids": //; s/}$//' >ids.txt
zo2-tune tokenize --model tiny.zo2 --json <texts.txt | sed 's/{"ids": //; s/, "tokens".*//' >answers.txt
[ "$(wc -l <answers.txt)" -gt 100 ] || fail "too few known answers"
cmp ids.txt answers.txt || fail "tokenize differs from the known answers"
finish
