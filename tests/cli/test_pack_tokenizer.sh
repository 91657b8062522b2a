#!/bin/sh
# zo2-pack tokenizer: a pack with other tokenizer files, and what becomes of runs that were made from it.
. "$(dirname "$0")/cli_testing.sh"
mkdir model && cp "$HF"/* model
echo '{"max_new_tokens": 7}' >model/generation_config.json
zo2-pack convert model tiny.zo2 >/dev/null || exit 1
cp tiny.zo2 before.zo2
data=$TEXTS/proverbs.train.jsonl
hash=$(zo2-pack info tiny.zo2 --json | sed -n 's/.*"model_hash": "\([^"]*\)".*/\1/p')
copy() { # the model's tokenizer files in a folder of their own
    mkdir "$1" && cp "$HF/vocab.json" "$HF/merges.txt" "$HF/tokenizer_config.json" "$HF/special_tokens_map.json" "$1"
}

# --- A run that stops, to be continued with other files --------------------------------------------------------------
expect 0 '^4 steps in' zo2-tune train --model tiny.zo2 --data "$data" --run run --steps 4 --batch 2
grep -q '"train_ids_hash": "0x[0-9a-f]*[1-9a-f]' run/settings.json || fail "settings.json has no hash of the tokens"
cp -r run old

# --- The same tokens: the run goes on -----------------------------------------------------------------------------------
copy same
echo 'Hello {{ name }}' >same/chat_template.jinja
expect 0 '^tiny.zo2: the tokenizer of same$' zo2-pack tokenizer tiny.zo2 same
expect 0 'ok, ' zo2-pack verify tiny.zo2
[ "$(zo2-pack info tiny.zo2 --json | sed -n 's/.*"model_hash": "\([^"]*\)".*/\1/p')" = "$hash" ] || fail "another model hash"
zo2-pack export tiny.zo2 hf >/dev/null || fail "export"
for file in vocab.json merges.txt tokenizer_config.json special_tokens_map.json chat_template.jinja; do
    cmp same/$file hf/$file || fail "the export has another $file"
done
cmp model/generation_config.json hf/generation_config.json || fail "the model's own settings are lost"
[ ! -e hf/tokenizer.json ] || fail "a file of the old tokenizer is still there"
zo2-pack export before.zo2 hf-before >/dev/null || fail "export"
cmp hf-before/model.safetensors hf/model.safetensors || fail "other weights"
expect 0 '^6 steps, ' zo2-tune train --model tiny.zo2 --data "$data" --run run --resume --steps 6
expect 0 'the pack carries these files already' zo2-pack tokenizer tiny.zo2 same

# --- Other tokens: it doesn't, until the old files are back --------------------------------------------------------------
copy other
sed '3d' "$HF/merges.txt" >other/merges.txt
expect 0 '^tiny.zo2: the tokenizer of other$' zo2-pack tokenizer tiny.zo2 other
expect 1 'proverbs.train.jsonl has other tokens than when the run was made: tiny.zo2 has another tokenizer now.*zo2-pack tokenizer' \
    zo2-tune train --model tiny.zo2 --data "$data" --run run --resume --steps 8
expect 0 '^steps  *6 of 6' zo2-tune log run
expect 0 '' zo2-pack tokenizer tiny.zo2 model
cmp tiny.zo2 before.zo2 || fail "the old files are back, the pack is another"
expect 0 '^8 steps, ' zo2-tune train --model tiny.zo2 --data "$data" --run run --resume --steps 8

# --- A run from before this was remembered goes on, and remembers it then ------------------------------------------------
sed 's/"train_ids_hash": "[^"]*", //' old/settings.json >old/settings.new
! grep -q ids_hash old/settings.new || fail "the hash is still there"
mv old/settings.new old/settings.json
expect 0 '^6 steps, ' zo2-tune train --model tiny.zo2 --data "$data" --run old --resume --steps 6
grep -q '"train_ids_hash": "0x' old/settings.json || fail "an old run has no hash of its tokens yet"

# --- What is refused leaves the pack as it is ----------------------------------------------------------------------------
mkdir empty
expect 1 'empty: ' zo2-pack tokenizer tiny.zo2 empty
mkdir pieces && : >pieces/tokenizer.model
expect 1 'pieces: no tokenizer.json, and tokenizer.model can.t be read .*save_pretrained' zo2-pack tokenizer tiny.zo2 pieces
expect 1 'not-here' zo2-pack tokenizer tiny.zo2 not-here
expect 1 'not-here' zo2-pack tokenizer not-here.zo2 same
copy damaged
echo '{"a": ' >damaged/vocab.json
expect 1 'damaged: vocab.json' zo2-pack tokenizer tiny.zo2 damaged
copy larger
sed 's/}[^}]*$/, "another": 4096}/' "$HF/vocab.json" >larger/vocab.json
cmp -s tiny.zo2 before.zo2 || fail "something that was refused changed the pack"
expect 0 "warning: larger: the tokenizer has ids up to 4096, the model's vocabulary ends with 4095" zo2-pack tokenizer tiny.zo2 larger
ls ./*.tmp-* 2>/dev/null && fail "something was left behind"

# --- Which tokenizer a pack carries --------------------------------------------------------------------------------------
info() { # PATTERN PACK TEXT: the table has a line like PATTERN, the JSON has TEXT
    expect 0 "$1" zo2-pack info "$2"
    zo2-pack info "$2" --json | grep -q -F -e "$3" || fail "the JSON of $2 lacks $3"
}
family() { # NAME: the tokenizer of another family
    mkdir "$1" && cp "$DATA/tokenizers/$1.json" "$1/tokenizer.json" && zo2-pack tokenizer tiny.zo2 "$1" >/dev/null 2>&1 || fail "no tokenizer of $1"
}
zo2-pack tokenizer tiny.zo2 model >/dev/null
info '^tokenizer  *byte-level BPE, 4,096 tokens (tokenizer.json)$' tiny.zo2 '"normalizer": null, "pre_tokenizer": "GPT-2"'
info '^in front  *token 2$' tiny.zo2 '"in_front": 2'
family qwen3
info 'normalizer NFC, pre-tokenizer Qwen, other characters: bytes$' tiny.zo2 '"added_tokens": 26, "normalizer": "NFC", "pre_tokenizer": "Qwen"'
info '^in front  *nothing$' tiny.zo2 '"in_front": null'
family llama2
info '^tokenizer  *BPE of characters, 1,158 tokens' tiny.zo2 '"normalizer": "Prepend, Replace", "pre_tokenizer": null'
expect 0 '"<s>" " the" " and"' zo2-tune tokenize --model tiny.zo2 'the and'

# --- Which chat template, and conversations as data -----------------------------------------------------------------------
ml="{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
expect 0 '"chat_template": null, "tokenizer"' zo2-pack info tiny.zo2 --json
copy chat && printf '%s' "$ml" >chat/chat_template.jinja && zo2-pack tokenizer tiny.zo2 chat >/dev/null || fail "no template"
info '^chat  *ChatML$' tiny.zo2 '"chat_template": "ChatML"'
echo '{"messages": [{"role": "user", "content": "A dog is"}, {"role": "assistant", "content": "an animal."}]}' >chat.jsonl
expect 0 '^loss ' zo2-tune eval --model tiny.zo2 --data chat.jsonl
expect 0 '^4 steps in' zo2-tune train --model tiny.zo2 --data chat.jsonl --run chat-run --steps 4 --batch 2
copy strange && printf 'You are a pirate. %s' "$ml" >strange/chat_template.jinja && zo2-pack tokenizer tiny.zo2 strange >/dev/null || fail "no template"
info '^chat  *the chat template is none of those' tiny.zo2 '"chat_template": {"unusable": "the chat template is none of those'
expect 1 'chat.jsonl line 1: "messages" need the model.s chat template: the chat template is none of those.*; render it beforehand' \
    zo2-tune eval --model tiny.zo2 --data chat.jsonl
mkdir other-kind && echo '{"model": {"type": "Unigram", "vocab": []}}' >other-kind/tokenizer.json
expect 0 'warning: other-kind: tokenizer.json: models of type "Unigram"' zo2-pack tokenizer tiny.zo2 other-kind
info "^tokenizer  *can't be used: tokenizer.json: models of type \"Unigram\"" tiny.zo2 '"tokenizer": {"unusable": "tokenizer.json: models'
zo2-pack synth opt-125m synth.zo2 --alias >/dev/null
info '^tokenizer  *none$' synth.zo2 '"tokenizer": null'
finish
