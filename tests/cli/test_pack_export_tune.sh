#!/bin/sh
# zo2-pack export, apply, info and verify of runs that tune a part: rows of the head, adapters alone and merged.
. "$(dirname "$0")/cli_testing.sh"
tiny
hash() { zo2-pack info "$1" --json | sed 's/.*"model_hash": "\([^"]*\)".*/\1/'; }
train() { zo2-tune train --model tiny.zo2 --data "$TEXTS/wordnet_kind.train.jsonl" --batch 2 --seq 64 --lr 1e-3 --steps 4 --quiet "$@"; }
# evaluate PACK [OPTION...]: the loss on a few lines, to five digits
head -n 8 "$TEXTS/wordnet_kind.dev.jsonl" >dev.jsonl
evaluate() {
    zo2-tune eval --data dev.jsonl --seq 64 --json --model "$@" 2>/dev/null | sed -n 's/.*"eval_loss_fp32": \([0-9]*\.[0-9]\{4\}\).*/\1/p' | tail -n 1
}

# --- Rows of the head ----------------------------------------------------------------------------------------------------------
train --run rows --tune matrices=5+rows=answers || fail "train rows"
expect 0 '^rows.out: the weights of rows$' zo2-pack export tiny.zo2 rows.out --run rows --dtype fp32
grep -q '"tie_word_embeddings": false' rows.out/config.json || fail "the head is said to be tied"
expect 0 '' zo2-pack convert rows.out rows.zo2
zo2-pack info rows.zo2 --tensors | grep -q ' lm_head.weight$' || fail "no head of its own"
a=$(evaluate tiny.zo2 --run rows) b=$(evaluate rows.zo2)
[ -n "$a" ] && [ "$a" = "$b" ] || fail "the run's loss is '$a', that of its export '$b'"

# --- Adapters ------------------------------------------------------------------------------------------------------------------
train --run lora --tune lora:r=4,alpha=8,targets=q_proj+v_proj,layers=4-5 || fail "train lora"
expect 0 'the adapters alone, for PEFT' zo2-pack export tiny.zo2 peft --run lora
[ "$(ls peft | tr '\n' ' ')" = 'adapter_config.json adapter_model.safetensors ' ] || fail "the directory has $(ls peft)"
expect 0 '' zo2-pack export tiny.zo2 merged --run lora --merge --dtype fp32
expect 0 '' zo2-pack convert merged merged.zo2
a=$(evaluate tiny.zo2 --run lora) b=$(evaluate merged.zo2)
[ -n "$a" ] && [ "$a" = "$b" ] || fail "the run's loss is '$a', that of the merged model '$b'"
[ "$(evaluate tiny.zo2)" != "$a" ] || fail "adapters change nothing"

expect 0 '' zo2-pack export tiny.zo2 lora.zo2b --run lora --journal-only
expect 0 'lora:r=4,alpha=8,targets=q_proj+v_proj,layers=4-5' zo2-pack info lora.zo2b
expect 0 '' zo2-pack apply tiny.zo2 lora.zo2b applied
cmp peft/adapter_model.safetensors applied/adapter_model.safetensors || fail "apply gives other adapters"
cmp peft/adapter_config.json applied/adapter_config.json || fail "apply gives another configuration"
expect 0 '' zo2-pack apply tiny.zo2 lora.zo2b applied --merge --dtype fp32 --force
cmp merged/model.safetensors applied/model.safetensors || fail "apply --merge gives another model"
expect 0 'lora: ok, 4 steps' zo2-pack verify tiny.zo2 --run lora
expect 0 'rows: ok, 4 steps' zo2-pack verify tiny.zo2 --run rows

# --- What can't be -------------------------------------------------------------------------------------------------------------
train --run both --tune lora:r=2+vectors || fail "train both"
expect 1 'tunes more than adapters .*(--merge)' zo2-pack export tiny.zo2 no --run both
expect 1 'no snapshot that can be used without its journal' zo2-pack export tiny.zo2 no --snapshot lora/snapshots
expect 1 'tensors of its own (rows=, lora:), which only its journal tells of' zo2-pack export tiny.zo2 no --snapshot lora/snapshots
expect 1 'a GGUF file is a whole model' zo2-pack export tiny.zo2 no.gguf --run lora --gguf f16
usage '\-\-merge needs --run' zo2-pack export tiny.zo2 no --merge
usage '\-\-merge is about weights' zo2-pack export tiny.zo2 no --run lora --journal-only --merge
[ ! -e no ] && [ ! -e no.gguf ] || fail "a refused export left something"
expect 0 '' zo2-pack export tiny.zo2 yes --run both --merge
finish
