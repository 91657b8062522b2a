#!/bin/sh
# Tokenizers as others write them: what convert says about their files before it writes anything, and what zo2-tune makes of them.
. "$(dirname "$0")/cli_testing.sh"
tiny

# folder NAME: the tiny model with a tokenizer.json and no other tokenizer file.
folder() {
    mkdir "$1" && ln -s "$HF/model.safetensors" "$1/model.safetensors" && cp "$HF/config.json" "$HF/tokenizer.json" "$1" || exit 1
}
# change FOLDER FILE SED: the file is another one afterwards.
change() {
    sed "$3" "$1/$2" >changed.txt
    cmp -s changed.txt "$1/$2" && fail "$3 changes nothing in $1/$2"
    mv changed.txt "$1/$2"
}
none_left() { # after a refused convert
    [ ! -e "$1" ] || fail "$1 was written"
}
tokens() { # of the known answers' texts
    zo2-tune tokenize --model "$1" --json <texts.txt 2>warnings.txt
}
grep -v '\\' "$DATA/tiny-opt/tokenizer_kat.jsonl" | sed 's/^{"text": "\(.*\)", "ids": .*/\1/' >texts.txt
tokens tiny.zo2 >known.txt
[ -s warnings.txt ] && fail "the tiny model's own files give warnings"

# --- Saved again by transformers 5: no vocab.json, no merges.txt, and a number that no type holds -------------------------
HUGE=1000000000000000019884624838656
folder again
cat >again/tokenizer_config.json <<END
{"add_prefix_space": false, "backend": "tokenizers", "bos_token": "</s>", "eos_token": "</s>", "errors": "replace", "pad_token": "<pad>",
 "model_max_length": $HUGE, "tokenizer_class": "GPT2Tokenizer", "unk_token": "</s>"}
END
change again config.json "s/{/{\"max_length\": $HUGE, \"top_p\": 1e999, /"
expect 0 '^again.zo2: opt' zo2-pack convert again again.zo2
[ -s err.txt ] && fail "a tokenizer that is saved again gives warnings"
tokens again.zo2 | cmp - known.txt || fail "tokenizer.json alone gives other ids"
sed "s/^{/{\"id\": $HUGE, \"weight\": -1e400, \"score\": NaN, /; 4q" "$TEXTS/proverbs.train.jsonl" >huge.jsonl
head -n 4 "$TEXTS/proverbs.train.jsonl" >plain.jsonl
losses() {
    zo2-tune train --model "$1" --data "$2" --run "run-$1" --steps 2 --batch 2 --lr 1e-4 >/dev/null || fail "no run of $1"
    zo2-tune eval --model "$1" --run "run-$1" --data plain.jsonl | grep '^loss '
}
[ "$(losses again.zo2 huge.jsonl)" = "$(losses tiny.zo2 plain.jsonl)" ] || fail "numbers that nobody asks for changed a run"

# --- What tune would refuse is refused before anything is written ---------------------------------------------------------
folder broken
change broken tokenizer.json 's/"merges": \[/"merges": [["zqz", "yy"], /'
expect 1 '^zo2-pack convert: broken: tokenizer.json merge 1: token "zqz" is not in its vocabulary' zo2-pack convert broken broken.zo2
grep -q '^Nothing was written' err.txt || fail "the way out of a broken tokenizer is not told"
none_left broken.zo2
change broken tokenizer.json 's/"normalizer"/,/'
expect 1 'broken: tokenizer.json line 1: not JSON' zo2-pack convert broken broken.zo2
rm broken/tokenizer.json
cp "$HF/vocab.json" "$HF/merges.txt" broken
echo '{"<x>": 5}' >broken/added_tokens.json
expect 1 'broken: added_tokens.json: the tokens .* both have id 5' zo2-pack convert broken broken.zo2
none_left broken.zo2

# --- What isn't supported, or isn't there, leaves ready ids -------------------------------------------------------------------
folder other
change other tokenizer.json 's/"normalizer": null/"normalizer": {"type": "Nmt"}/'
why='tokenizer.json: "normalizer" "Nmt" is not supported by this version'
expect 0 "convert: warning: other: $why; zo2-tune will take only ready ids" zo2-pack convert other other.zo2
echo '{"tokens": [2, 17, 300, 301]}' >ids.jsonl
expect 0 "train: warning: other.zo2: $why; only \"tokens\" lines work" zo2-tune train --model other.zo2 --data ids.jsonl --run other --steps 1 --batch 1
expect 1 'line 1: "text" is text, but' zo2-tune eval --model other.zo2 --data plain.jsonl
expect 1 'no tokenizer that can be used' zo2-tune tokenize --model other.zo2 text
rm other/tokenizer.json
expect 0 'warning: other: no tokenizer: neither tokenizer.json nor vocab.json; zo2-tune will take only ready ids' zo2-pack convert other other.zo2 --force
cp "$HF/vocab.json" other
expect 0 'neither tokenizer.json nor merges.txt beside vocab.json' zo2-pack convert other other.zo2 --force

# --- BOS: the tokenizer's; a run keeps its own ----------------------------------------------------------------------------------
folder bare
change bare tokenizer.json 's/"post_processor": .*, "decoder"/"post_processor": null, "decoder"/'
differ="bos_token_id is 2, but the tokenizer puts no token in front of a text, so none is: --bos 2"
expect 0 "convert: warning: bare: the model's $differ" zo2-pack convert bare bare.zo2
expect 0 '^592 387 1010$' zo2-tune tokenize --model bare.zo2 'The Crown'
grep -q "tokenize: warning: bare.zo2: the model's $differ" err.txt || fail "tokenize doesn't say that tokenizer and model differ"
expect 0 '^2 592 387 1010$' zo2-tune tokenize --model bare.zo2 --bos 2 'The Crown'
[ -s err.txt ] && fail "a BOS that was asked for gives a warning"
train="zo2-tune train --model bare.zo2 --data plain.jsonl --run bare"
expect 0 '^1 steps in ' $train --bos 2 --steps 1 --batch 2
expect 0 '^2 steps, 1 of them now' $train --resume --steps 2
expect 0 '^3 steps, 1 of them now' $train --resume --steps 3 --bos auto
expect 0 '"bos": 2' cat bare/settings.json
grep -q warning err.txt && fail "a resume warns of a BOS that it doesn't use"
expect 1 '\-\-bos none: .*made with 2' $train --resume --steps 3 --bos none
expect 0 '^1 steps in ' zo2-tune train --model bare.zo2 --data plain.jsonl --run bare2 --steps 1 --batch 2
expect 0 '"bos": -1' cat bare2/settings.json

# The published layout without the file that says it: the model's own, as ever.
mkdir old && ln -s "$HF"/* old/ && rm old/tokenizer.json old/tokenizer_config.json old/special_tokens_map.json
expect 0 "convert: warning: old: the tokenizer's files don't say whether a token goes in front" zo2-pack convert old old.zo2
expect 0 '^2 592 387 1010$' zo2-tune tokenize --model old.zo2 'The Crown'

# The same under the names that metaseq gives them: looked at before weights are read, and carried.
mv old/vocab.json old/gpt2-vocab.json && mv old/merges.txt old/gpt2-merges.txt
expect 0 "convert: warning: old: the tokenizer's files don't say" zo2-pack convert old old.zo2 --force
grep -q 'old: gpt2-vocab.json is carried as vocab.json' err.txt || fail "it isn't said which file is carried under another name"
expect 0 '^2 592 387 1010$' zo2-tune tokenize --model old.zo2 'The Crown'

# --- Ids: files that disagree, tokens that the model lacks, tokens without id -----------------------------------------------------
folder mixed
cp "$HF/vocab.json" "$HF/merges.txt" mixed
change mixed vocab.json 's/"<unk>": 3/"<unk>": 4096/'
change mixed merges.txt '$d'
expect 0 'warning: mixed: vocab.json and tokenizer.json disagree about 1 token, the first of them "<unk>": id 4096 in vocab.json, 3 in the other file' \
    zo2-pack convert mixed mixed.zo2
grep -q 'warning: mixed: merges.txt and tokenizer.json disagree from merge 3836 on, where merges.txt ends' err.txt ||
    fail "merges that differ are not told"
tokens mixed.zo2 | cmp - known.txt || fail "tokenizer.json doesn't go before vocab.json and merges.txt"
grep -q 'tokenize: warning: mixed.zo2: merges.txt and' warnings.txt || fail "tokenize doesn't say that files disagree"
folder more
change more tokenizer.json 's/"added_tokens": \[/"added_tokens": [{"id": 4096, "content": "<new>", "special": true}, /'
echo '{"mask_token": "<m>", "tokenizer_class": "PreTrainedTokenizerFast"}' >more/tokenizer_config.json
expect 0 "warning: more: the tokenizer has ids up to 4097, the model's vocabulary ends with 4095" zo2-pack convert more more.zo2
grep -q 'warning: more: the special token "<m>" is named, but no file has its id: it gets the next free one, 4097' err.txt ||
    fail "a special token without id is not told"
echo '{"text": "a <new> one"}' >new.jsonl
expect 1 'new.jsonl line 1' zo2-tune eval --model more.zo2 --data new.jsonl
expect 0 '^loss ' zo2-tune eval --model more.zo2 --data plain.jsonl
finish
