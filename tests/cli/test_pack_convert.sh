#!/bin/sh
# zo2-pack convert, info, synth: what they print, --force, what isn't a model, Ctrl-C.
. "$(dirname "$0")/cli_testing.sh"

expect 0 '^tiny.zo2: opt, 3,505,536 parameters, fp16, .* model hash 0x[0-9a-f]\{16\}$' zo2-pack convert "$HF" tiny.zo2
hash=$(sed 's/.*model hash //' out.txt)
cksum <tiny.zo2 >before
expect 1 '\-\-force' zo2-pack convert "$HF" tiny.zo2
cksum <tiny.zo2 | cmp -s - before || fail "a refused convert touched the file"
expect 0 '' zo2-pack convert "$HF" tiny.zo2 --force
cksum <tiny.zo2 | cmp -s - before || fail "the same source made another pack"
expect 0 '' zo2-pack convert --threads=1 "$HF" one.zo2
cmp -s tiny.zo2 one.zo2 || fail "the number of threads changed the pack"

# --- zstd: a smaller file of the same model, whatever the threads; and its export is the source's ------------------------
expect 0 "model hash $hash$" zo2-pack convert "$HF" small.zo2 --zstd 1
[ $(($(wc -c <small.zo2) * 100)) -lt $(($(wc -c <tiny.zo2) * 95)) ] || fail "zstd saves less than 5 %"
zo2-pack convert "$HF" small3.zo2 --zstd 1 --threads 3 >/dev/null
cmp -s small.zo2 small3.zo2 || fail "the number of threads changed the compressed pack"
expect 0 '^weights .* (zstd)$' zo2-pack info small.zo2
expect 0 '"zstd": true' zo2-pack info small.zo2 --json
expect 0 ': ok, 100 tensors' zo2-pack verify small.zo2
zo2-pack export small.zo2 small >/dev/null && zo2-pack export tiny.zo2 tiny >/dev/null
cmp -s small/model.safetensors tiny/model.safetensors || fail "zstd changed the weights"
rm -rf small tiny small*.zo2

zo2-pack convert "$DATA/decoder-fixtures/llama-headdim" llama.zo2 >/dev/null 2>&1 || fail "converting llama-headdim"
expect 0 '^heads *4 of 10$' zo2-pack info llama.zo2
grep -q '^kv heads *2$' out.txt || fail "info lacks the heads of keys and values"
expect 0 '"kv_heads": 2' zo2-pack info llama.zo2 --json
grep -q '"head_dim": 10' out.txt || fail "info --json lacks head_dim"
expect 0 "^model hash  *$hash$" zo2-pack info tiny.zo2
for line in 'parameters *3,505,536' 'layers *6' 'hidden *192' 'heads *6' 'vocabulary *4096' 'context *256 tokens' \
    'bos token *2' 'files .*merges.txt'; do
    grep -q "^$line" out.txt || fail "info lacks $line"
done
expect 0 "\"model_hash\": \"$hash\"" zo2-pack info tiny.zo2 --json
[ "$(wc -l <out.txt)" -eq 1 ] || fail "info --json is not one line"
expect 0 '4096 x 192  model.decoder.embed_tokens.weight' zo2-pack info tiny.zo2 --tensors
[ "$(grep -c 'model.decoder' out.txt)" -eq 100 ] || fail "info --tensors doesn't list 100 tensors"
expect 0 '"tensor_list": \[{"id": 0, .*"shape": \[4096, 192\]' zo2-pack info tiny.zo2 --json --tensors
expect 1 'standard output' sh -c 'zo2-pack info tiny.zo2 >/dev/full'

expect 0 'opt, .* fp32, ' zo2-pack synth "$HF/config.json" s.zo2 --dtype fp32 --seed 7
expect 0 '' zo2-pack synth "$HF/config.json" t.zo2 --dtype fp32 --seed 7
cmp -s s.zo2 t.zo2 || fail "synth is not deterministic"
expect 1 '\-\-force' zo2-pack synth "$HF/config.json" s.zo2 --seed 8
expect 0 '' zo2-pack synth "$HF/config.json" s.zo2 --dtype fp32 --seed 8 --force
cmp -s s.zo2 t.zo2 && fail "synth ignores its seed"
expect 0 'aliased' sh -c 'zo2-pack synth opt-125m a.zo2 --alias && zo2-pack info a.zo2'
rm -f ./*.zo2

# --- what isn't a model's folder, or not all of it, is named, with what to do ---------------------------------------------------
pointer() {
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12345\n' 7
}
copy() {
    rm -rf m && cp -r "$HF" m && chmod -R u+w m
}
convert_says() { # PATTERN DIR
    expect 1 "$1" zo2-pack convert "$2" no.zo2
    [ ! -e no.zo2 ] || fail "a refused conversion left a pack: $1"
}
for file in config.json model.safetensors vocab.json merges.txt tokenizer_config.json; do
    copy
    [ -e m/$file ] || fail "no $file"
    pointer >m/$file
    convert_says "m.*$file is a git-lfs pointer, not the file itself; get .*git lfs pull" m
done
copy && echo '<!DOCTYPE html>' >m/merges.txt && convert_says 'm: merges.txt is a web page' m
copy && echo 'Entry not found' >m/model.safetensors && convert_says 'm/model.safetensors is a server.s answer "Entry not found"' m
copy && : >m/model.safetensors.aria2
truncate -s 5000 m/model.safetensors && convert_says 'm/model.safetensors isn.t complete: m/model.safetensors.aria2' m
copy && mv m/model.safetensors m/model.safetensors.incomplete && convert_says 'an unfinished download (model.safetensors.incomplete)' m
copy && mkdir -p out/checkpoint-500 && mv m out/checkpoint-1000 && cp -r out/checkpoint-1000/* out/checkpoint-500
convert_says 'give the model.s folder in it, out/checkpoint-1000$' out
expect 0 '' zo2-pack convert out/checkpoint-1000 followed.zo2 # the advice works
convert_says 'hf download no-such-org/opt-125m --local-dir opt-125m$' no-such-org/opt-125m
convert_says 'followed.zo2 is a zo2 pack; programs take it as it is' followed.zo2
convert_says 'model.safetensors is not a directory: give the one that it is in, out/checkpoint-500/$' out/checkpoint-500/model.safetensors
expect 1 'is a folder, not a pack: make one of the model in it (zo2-pack convert out/checkpoint-1000 OUT.zo2)' zo2-pack info out
expect 1 'opt-125m is the name of an architecture, which has no weights' zo2-pack verify opt-125m
expect 1 'is a safetensors file; the folder that holds it' zo2-plan out/checkpoint-500/model.safetensors --probe 0
expect 1 'hf download no-such-org/opt-125m' zo2-plan no-such-org/opt-125m --probe 0
expect 1 'is a folder, not a pack: make one of the model in it' zo2-tune eval --model out/checkpoint-500 --data "$TEXTS/proverbs.test.jsonl"
expect 1 'followed.zo2 is a zo2 pack; programs take it as it is, as the model' zo2-tune log followed.zo2
expect 1 'out/checkpoint-500 is a model.s folder, not a run directory' zo2-pack export followed.zo2 tuned --run out/checkpoint-500
rm -rf m out followed.zo2

# --- files of torch.save(): the same model, and what isn't one -----------------------------------------------------------------
torch=$DATA/torch-fixtures
mkdir m && cp "$torch"/f16/config.json "$torch"/f16/model.safetensors m
expect 0 'model hash' zo2-pack convert m st.zo2
hash=$(sed 's/.*model hash //' out.txt)
rm m/model.safetensors
for file in zip legacy views-legacy; do
    cp "$torch/f16/$file.bin" m/pytorch_model.bin
    expect 0 "model hash $hash$" zo2-pack convert m bin.zo2 --force
    cmp -s st.zo2 bin.zo2 || fail "$file.bin makes another pack than safetensors"
done
cp "$torch"/f16/model.safetensors m
expect 0 "model hash $hash$" zo2-pack convert m bin.zo2 --force
grep -q 'm has files of the format torch, too: those of the format safetensors are read' err.txt || fail "not said: $(cat err.txt)"
rm m/model.safetensors
convert_says 'm/pytorch_model.bin is not a directory: give the one that it is in, m/$' m/pytorch_model.bin
expect 1 'm/pytorch_model.bin is .*; zo2-pack convert reads it under the name pytorch_model.bin' zo2-tune eval --model m/pytorch_model.bin --data "$TEXTS/proverbs.test.jsonl"
head -c 9000 "$torch/f16/zip.bin" >m/pytorch_model.bin && convert_says 'm/pytorch_model.bin: the zip archive is damaged or cut short' m
pointer >m/pytorch_model.bin && convert_says 'm/pytorch_model.bin is a git-lfs pointer, not the file itself' m
cp "$torch"/refused/script.bin m/pytorch_model.bin && convert_says 'm/pytorch_model.bin is a TorchScript program' m
rm -rf m ./*.zo2

# --- Ctrl-C: nothing is left, status 130. The pack must take a while: 250 MB. --------------------------------------
leaves_nothing zo2-pack synth opt-125m sub/big.zo2
finish
