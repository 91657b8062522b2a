#!/bin/sh
# GGUF with the tools: out as each type and in again, of a run too; the tokenizer goes along; what is refused.
. "$(dirname "$0")/cli_testing.sh"
hash_of() { zo2-pack info "$1" | sed -n 's/^model hash *//p'; }

# --- Tokenizers there and back: a model of each family that has one of these -------------------------------------------------
model() { # MODEL_TYPE: a small one, with an even vocabulary that none of the tokenizers fills
    cat >config.json <<EOF
{"model_type": "$1", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
 "num_key_value_heads": 2, "vocab_size": 1216, "max_position_embeddings": 64, "tie_word_embeddings": false}
EOF
    zo2-pack synth config.json model.zo2 --dtype "$2" --force >/dev/null || fail "synth"
}
TEXT="Hello world, it's 2026! Ünïcode 漢字   and  spaces"
for kind in 'llama llama2 fp16 f16' 'mistral llama2 bf16 bf16' 'llama llama3 bf16 bf16' 'qwen2 qwen3 bf16 bf16' 'qwen3 qwen3 fp16 f16'; do
    set -- $kind
    model "$1" "$3"
    rm -rf folder
    mkdir folder
    cp "$DATA/tokenizers/$2.json" folder/tokenizer.json
    zo2-pack tokenizer model.zo2 folder >out.txt 2>&1 || { fail "tokenizer $kind"; cat out.txt; }
    expect 0 '^m.gguf: the weights of model.zo2$' zo2-pack export model.zo2 m.gguf --gguf "$4" --force
    expect 0 '' zo2-pack convert m.gguf again.zo2 --force
    [ "$(hash_of model.zo2)" = "$(hash_of again.zo2)" ] || fail "$kind: another model hash"
    zo2-tune tokenize --model model.zo2 "$TEXT" >a.txt 2>/dev/null || fail "tokenize $kind"
    zo2-tune tokenize --model again.zo2 "$TEXT" >b.txt 2>/dev/null || fail "tokenize again $kind"
    cmp a.txt b.txt || { fail "$kind: other tokens"; cat a.txt b.txt; }
    expect 0 '' zo2-pack export again.zo2 again.gguf --gguf "$4" --force
    cmp -s m.gguf again.gguf && fail "the name in the file isn't the file's"
    mv again.gguf m2.gguf && mv m.gguf m1.gguf && mkdir -p one two && mv m1.gguf one/m.gguf
    expect 0 '' zo2-pack export again.zo2 two/m.gguf --gguf "$4" --force
    cmp one/m.gguf two/m.gguf || fail "$kind: the second time another file"
done

# --- What llama.cpp would do otherwise is told, or refused where it loads no such file ----------------------------------------------------
tokenizer_of() { # FILE TEMPLATE [sed script]: a tokenizer of the folder with a chat template, in the pack of the last model()
    rm -rf folder
    mkdir folder
    sed "${3-}" "$DATA/tokenizers/$1.json" >folder/tokenizer.json
    printf '%s' "$2" >folder/chat_template.jinja
    expect 0 '' zo2-pack tokenizer model.zo2 folder
}
model qwen2 bf16
tokenizer_of qwen3 '{{ messages }}'
expect 0 'names no token that ends a text' zo2-pack export model.zo2 ends.gguf --gguf bf16
printf '{"eos_token": "<|im_end|>"}' >folder/tokenizer_config.json
expect 0 '' zo2-pack tokenizer model.zo2 folder
expect 0 '' zo2-pack export model.zo2 ends.gguf --gguf bf16 --force
! grep -q warning err.txt || fail "a warning about a tokenizer whose end is known"
grep -o '"content":"<|fim_prefix|>"[^}]*' folder/tokenizer.json | grep -q '"special":false' || fail "no such token to look at"
expect 0 '' zo2-pack convert ends.gguf ends.zo2
expect 0 '' zo2-pack export ends.zo2 ends
tr -d ' \n' <ends/tokenizer.json | grep -o '"content":"<|fim_prefix|>"[^}]*' | grep -q '"special":true' || fail "<|fim_prefix|> is no control token"
tr -d ' \n' <ends/tokenizer.json | grep -o '"content":"<think>"[^}]*' | grep -q '"special":false' || fail "<think> is one"
model mistral bf16
FIRST='"normalizer":null,"pre_tokenizer":{"type":"Metaspace","replacement":"â","prepend_scheme":"first","split":false}'
tokenizer_of llama2 '{{ messages }}' "s/\"normalizer\":{.*\"pre_tokenizer\":null/$FIRST/"
expect 0 'add_space_prefix=bool:false' zo2-pack export model.zo2 first.gguf --gguf bf16
tokenizer_of llama2 '{{ messages }}'
expect 0 '' zo2-pack export model.zo2 first.gguf --gguf bf16 --force
! grep -q warning err.txt || fail "a warning about spaces that llama.cpp has, too"
expect 0 '' zo2-pack convert "$DATA/decoder-fixtures/qwen3-bias" bias.zo2
expect 1 "qwen3 has no bias behind attention" zo2-pack export bias.zo2 bias.gguf --gguf f16
[ ! -e bias.gguf ] || fail "a refused export left a file"
for named in llama-attention-bias llama-mlp-bias; do
    expect 0 '' zo2-pack convert "$DATA/decoder-fixtures/$named" bias.zo2 --force
    expect 0 '' zo2-pack export bias.zo2 bias.gguf --gguf f16 --force
done

# --- Of a run: the file has what the directory has ----------------------------------------------------------------------------
model llama fp32
printf '{"tokens": [1, 2, 3, 4, 5, 6]}\n{"tokens": [7, 8, 9, 10]}\n' >data.jsonl
expect 0 '' zo2-tune train --model model.zo2 --data data.jsonl --run r --steps 3 --batch 2 --lr 1e-2 --seq 16 --quiet
expect 0 'carries no tokenizer.json' zo2-pack export model.zo2 run.gguf --gguf bf16 --run r
expect 0 '' zo2-pack export model.zo2 run --dtype bf16 --run r
expect 0 '' zo2-pack convert run run.zo2
expect 0 '' zo2-pack export run.zo2 run2.gguf --gguf bf16
expect 0 '' zo2-pack convert run2.gguf run2.zo2
expect 0 '' zo2-pack convert run.gguf run1.zo2
zo2-pack export run1.zo2 x --dtype bf16 >/dev/null 2>&1 && cmp x/model.safetensors run/model.safetensors || fail "the file's matrices aren't the directory's"
expect 0 '^q.gguf: the weights of r after 2 steps$' zo2-pack export model.zo2 q.gguf --gguf q8_0 --run r --at-step 2
expect 0 'weights in blocks (Q8_0): they are decoded' zo2-pack convert q.gguf q.zo2

# --- Refused --------------------------------------------------------------------------------------------------------------------
usage 'not one of f16, bf16, q8_0' zo2-pack export model.zo2 y.gguf --gguf q4_k
usage 'is about directories' zo2-pack export model.zo2 y.gguf --gguf f16 --dtype fp16
usage 'is about directories' zo2-pack export model.zo2 y.gguf --gguf f16 --split-size 1G
usage 'journal-only writes none' zo2-pack export model.zo2 y.gguf --gguf f16 --run r --journal-only
expect 1 '\-\-force' zo2-pack export model.zo2 q.gguf --gguf f16
tiny
expect 1 'llama.cpp has no architecture for opt models' zo2-pack export tiny.zo2 y.gguf --gguf f16
[ ! -e y.gguf ] || fail "a refused export left a file"
head -c 2000 q.gguf >short.gguf
expect 1 'short.gguf' zo2-pack convert short.gguf y.zo2
mkdir split
cp "$DATA/gguf/q4_1/q4_1-00001-of-00002.gguf" split/
expect 1 'q4_1-00002-of-00002.gguf is missing' zo2-pack convert split y.zo2
cp "$DATA/gguf/q4_1/q4_1-00002-of-00002.gguf" split/
expect 0 '' zo2-pack convert split y.zo2
finish
