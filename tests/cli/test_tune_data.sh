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

reads() { # PID FILE: until the process, no longer the shell it began as, catches SIGINT and has the file open
    _tries=0
    until grep -qs zo2 "/proc/$1/comm" && grep -qs '^SigCgt:.*[2367abef]$' "/proc/$1/status" && find "/proc/$1/fd" -lname "$2" 2>/dev/null | grep -q .; do
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
interrupted sh -c 'exec zo2-tune eval --model tiny.zo2 --data - <fifo'
exec 3>&-

# --- Other things than JSON lines: told what they are, and what the message says makes lines of them ----------------------------
becomes() { # file, pattern of the message, examples that its command makes of it (0: it has none)
    expect 1 "$1 line 1: .*one JSON object a line.*$2" zo2-tune eval --model tiny.zo2 --data "$1"
    [ "$3" != 0 ] || return
    command=$(sed -n 's/.*[ (]\(\(jq\|python3\|gzip\|zstd\|bzip2\|xz\|sed\|iconv\) .* \(<FILE \)*>DATA.jsonl\).*/\1/p' err.txt)
    [ -n "$command" ] || { fail "no command in: $(cat err.txt)" && return; }
    command -v "${command%% *}" >/dev/null 2>&1 || return
    sh -c "$(printf '%s' "$command" | sed "s/FILE/$1/")" || fail "$command"
    expect 0 "^$3 examples" zo2-tune eval --model tiny.zo2 --data DATA.jsonl
}
for tool in gzip zstd bzip2 xz; do
    command -v $tool >/dev/null 2>&1 || continue
    $tool -c <completion.jsonl >completion.$tool
    becomes completion.$tool "this is an* $tool file" 3
done
for type in UTF-16 UTF-16LE UTF-16BE UTF-32; do
    iconv -f UTF-8 -t $type completion.jsonl >completion.$type
    becomes completion.$type "UTF-[13][62]" 3
done
{ echo '['; sed '$!s/$/,/' completion.jsonl; echo ']'; } >array.json
becomes array.json 'JSON array' 3
tr -d '\n' <array.json >one-line.json
becomes one-line.json 'JSON array' 3
sed 's/^{/{\n  /; s/", "/",\n  "/; s/}$/\n}/' completion.jsonl >pretty.json
becomes pretty.json 'pretty-printed' 3
sed 's/$/,/' completion.jsonl >commas.json
becomes commas.json 'comma behind' 3
tr -d '\n' <completion.jsonl >together.json
becomes together.json 'more than one object' 3
sed "s/\"/'/g" completion.jsonl >python.txt
becomes python.txt "Python's notation" 3
printf 'prompt,completion\nThe Crown," is a symbol, they say."\nA dog, is an animal.\n' >table.csv
becomes table.csv 'comma-separated' 2
printf 'prompt\tcompletion\nThe Crown\t is a symbol.\nA dog\t is an animal.\n' >table.tsv
becomes table.tsv 'tab-separated' 2
printf 'The Crown is a symbol, they say.\n\nA dog is an animal.\n' >plain.txt
becomes plain.txt 'plain text' 2
printf '"The Crown is a symbol."\n"A dog is an animal."\n' >strings.json
becomes strings.json 'JSON string' 2
echo '{"version": 1, "data": [{"text": "The Crown"}, {"text": "A dog"}]}' >wrapped.json
expect 1 'none of the keys .*; it has "version", "data"; .*jq' zo2-tune eval --model tiny.zo2 --data wrapped.json
if command -v jq >/dev/null 2>&1; then
    jq -c "$(sed -n "s/.*jq -c '\(.*\)' FILE.*/\1/p" err.txt)" wrapped.json >DATA.jsonl
    expect 0 '^2 examples' zo2-tune eval --model tiny.zo2 --data DATA.jsonl
fi
becomes tiny.zo2 'a pack, a model' 0
becomes "$HF/model.safetensors" 'safetensors' 0
# Files that were put together, the second one with a byte order mark: in a line of its own, and behind one without a line end.
printf '\357\273\277{"text": "The Crown"}\n' >mark.jsonl
expect 0 '^1 examples' zo2-tune eval --model tiny.zo2 --data mark.jsonl
cat mark.jsonl mark.jsonl >marks.jsonl
printf '{"text": "The Crown"}' | cat - mark.jsonl >marks-within.jsonl
for file in marks marks-within; do
    expect 1 "$file.jsonl line [12]: .*byte order mark" zo2-tune eval --model tiny.zo2 --data $file.jsonl
    sh -c "$(sed -n "s/.*\(sed '.*\) FILE >DATA.jsonl.*/\1/p" err.txt) $file.jsonl >DATA.jsonl"
    expect 0 '^2 examples' zo2-tune eval --model tiny.zo2 --data DATA.jsonl
done
expect 1 'Is a directory; data are one file with a JSON object a line' zo2-tune eval --model tiny.zo2 --data .

# --- Standard input ---------------------------------------------------------------------------------------------------------
expect 0 '"examples": 3, ' sh -c 'cat completion.jsonl | zo2-tune eval --model tiny.zo2 --data - --json'
expect 0 '"examples": 2, ' sh -c '{ read -r line && zo2-tune eval --model tiny.zo2 --data - --json; } <completion.jsonl'
expect 0 '^1 steps in ' sh -c 'gzip -c completion.jsonl | gzip -dc | zo2-tune train --model tiny.zo2 --data - --run run-input --steps 1'
expect 0 '^2 steps, 1 of them' sh -c 'cat completion.jsonl | zo2-tune train --model tiny.zo2 --data - --run run-input --resume --steps 2'
expect 0 '^data  *standard input$' zo2-tune log run-input
expect 1 'not the run.s training file, which was standard input' \
    sh -c 'cat tokens.jsonl | zo2-tune train --model tiny.zo2 --data - --run run-input --resume'
expect 0 '^3 steps, 1 of them' zo2-tune train --model tiny.zo2 --data completion.jsonl --run run-input --resume --steps 3
expect 0 '^after 1 steps: evaluation' sh -c 'cat completion.jsonl | zo2-tune train --model tiny.zo2 --data completion.jsonl --eval - --run run-input2 --steps 1'
expect 1 '^zo2-tune eval: standard input line 2: not JSON' sh -c 'printf "{\"text\": \"a\"}\nx\n" | zo2-tune eval --model tiny.zo2 --data -'
expect 1 'standard input: no examples' zo2-tune eval --model tiny.zo2 --data - </dev/null
expect 1 'standard input is closed' sh -c 'exec zo2-tune eval --model tiny.zo2 --data - <&-'
expect 2 'standard input can be read once' zo2-tune train --model tiny.zo2 --data - --eval - --run run-input3
cp completion.jsonl ./-
expect 0 '"examples": 3, ' zo2-tune eval --model tiny.zo2 --data ./- --json </dev/null
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
