#!/usr/bin/env python3
"""Make tiny GGUF files with the gguf package, and what they hold as Hugging Face has it.

usage: make_gguf_fixtures.py OUT_DIR

Writes OUT_DIR/NAME/ for every entry of FIXTURES: NAME.gguf, config.json, and model.safetensors with the values that the gguf package
decodes, in the type that a pack has them in, queries and keys in Hugging Face's order of rows. Everything is seeded by the name.

Needs gguf 0.19, numpy and safetensors.
"""
import json
import os
import sys
import zlib

import gguf
import numpy as np
from safetensors.numpy import save_file

HIDDEN, HEADS, KV, HEAD_DIM, FFN, VOCAB = 32, 2, 1, 16, 32, 32
TYPES = gguf.GGMLQuantizationType

# type: of the matrices; vectors are F32. given: what the safetensors have. model: model_type. The rest: options of the model.
FIXTURES = {
    "f32": dict(type=TYPES.F32, given="F32", model="llama", biases=True, rope="llama3"),
    "f16": dict(type=TYPES.F16, given="F16", model="llama", tied=True),
    "bf16": dict(type=TYPES.BF16, given="BF16", model="qwen3", rope="yarn"),
    "q8_0": dict(type=TYPES.Q8_0, given="F32", model="qwen2"),
    "q4_0": dict(type=TYPES.Q4_0, given="F32", model="llama", rope="linear"),
    "q4_1": dict(type=TYPES.Q4_1, given="F32", model="llama", tied=True, split=True),
}
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)


def names(o):
    """(name in GGUF, in Hugging Face, shape, heads if its rows are turned)"""
    turned = o["model"] == "llama"
    q, kv = HEADS * HEAD_DIM, KV * HEAD_DIM
    yield "token_embd.weight", "model.embed_tokens.weight", (VOCAB, HIDDEN), 0
    yield "output_norm.weight", "model.norm.weight", (HIDDEN,), 0
    if not o.get("tied"):
        yield "output.weight", "lm_head.weight", (VOCAB, HIDDEN), 0
    for g, h, shape, heads in [
            ("attn_norm", "input_layernorm", (HIDDEN,), 0),
            ("attn_q", "self_attn.q_proj", (q, HIDDEN), HEADS), ("attn_k", "self_attn.k_proj", (kv, HIDDEN), KV),
            ("attn_v", "self_attn.v_proj", (kv, HIDDEN), 0), ("attn_output", "self_attn.o_proj", (HIDDEN, q), 0),
            ("ffn_norm", "post_attention_layernorm", (HIDDEN,), 0), ("ffn_gate", "mlp.gate_proj", (FFN, HIDDEN), 0),
            ("ffn_up", "mlp.up_proj", (FFN, HIDDEN), 0), ("ffn_down", "mlp.down_proj", (HIDDEN, FFN), 0)]:
        heads *= turned
        yield f"blk.0.{g}.weight", f"model.layers.0.{h}.weight", shape, heads
        if len(shape) == 2 and (o.get("biases") or (o["model"] == "qwen2" and g in ("attn_q", "attn_k", "attn_v"))):
            yield f"blk.0.{g}.bias", f"model.layers.0.{h}.bias", shape[:1], heads
    if o["model"] == "qwen3":
        for x in "qk":
            yield f"blk.0.attn_{x}_norm.weight", f"model.layers.0.self_attn.{x}_norm.weight", (HEAD_DIM,), 0


def turn(a, heads):
    """llama.cpp's order of the rows of a LLaMA's queries and keys: the halves of a head by turns."""
    return a.reshape(heads, 2, a.shape[0] // heads // 2, *a.shape[1:]).swapaxes(1, 2).reshape(a.shape)


def turn_back(a, heads):
    return a.reshape(heads, a.shape[0] // heads // 2, 2, *a.shape[1:]).swapaxes(1, 2).reshape(a.shape)


def to_bf16(a):
    return (a.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def values(rng, shape, given):
    a = (rng.standard_normal(shape) * 0.1 + (len(shape) == 1)).astype(np.float32)
    if given == "F16":
        return a.astype(np.float16).astype(np.float32)
    if given == "BF16":
        return (to_bf16(a).astype(np.uint32) << 16).view(np.float32)
    return a


def rope_factors():
    """As llama.cpp's converter computes them."""
    out = []
    o = LLAMA3
    for freq in 1.0 / (10000.0 ** (np.arange(0, HEAD_DIM, 2, dtype=np.float32) / HEAD_DIM)):
        wavelen = 2 * np.pi / freq
        if wavelen < o["original_max_position_embeddings"] / o["high_freq_factor"]:
            out.append(1)
        elif wavelen > o["original_max_position_embeddings"] / o["low_freq_factor"]:
            out.append(o["factor"])
        else:
            smooth = (o["original_max_position_embeddings"] / wavelen - o["low_freq_factor"]) / (
                o["high_freq_factor"] - o["low_freq_factor"])
            out.append(1 / ((1 - smooth) / o["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def config(o):
    c = dict(model_type=o["model"], hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=1, num_attention_heads=HEADS,
             num_key_value_heads=KV, head_dim=HEAD_DIM, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5,
             rope_theta=10000.0, tie_word_embeddings=bool(o.get("tied")), bos_token_id=1, eos_token_id=2)
    if o["model"] == "llama":
        c.update(attention_bias=bool(o.get("biases")), mlp_bias=bool(o.get("biases")))
    if o.get("rope") == "llama3":
        c["rope_scaling"] = dict(rope_type="llama3", **LLAMA3)
    if o.get("rope") == "linear":
        c["rope_scaling"] = dict(rope_type="linear", factor=2.0)
    if o.get("rope") == "yarn":
        c["rope_scaling"] = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64)
    return c


def make(out, name, o):
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    w = gguf.GGUFWriter(os.path.join(folder, name + ".gguf"), o["model"],
                        **(dict(split_max_tensors=7) if o.get("split") else {}))
    w.add_block_count(1)
    w.add_context_length(256)
    w.add_embedding_length(HIDDEN)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_key_length(HEAD_DIM)
    w.add_value_length(HEAD_DIM)
    w.add_rope_freq_base(10000.0)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_uint32("tokenizer.ggml.bos_token_id", 1)
    w.add_uint32("tokenizer.ggml.eos_token_id", 2)
    if o.get("rope") == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(2.0)
    if o.get("rope") == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(4.0)
        w.add_rope_scaling_orig_ctx_len(64)
    tensors = {}
    for g, h, shape, heads in names(o):
        a = values(rng, shape, o["given"])
        stored = turn(a, heads) if heads else a
        type_ = o["type"] if len(shape) == 2 else TYPES.F32
        data = gguf.quantize(stored, type_)
        w.add_tensor(g, data, raw_dtype=type_)
        back = gguf.dequantize(data, type_).astype(np.float32).reshape(shape)
        back = turn_back(back, heads) if heads else back
        tensors[h] = back
    if o.get("rope") == "llama3":
        w.add_tensor("rope_freqs.weight", rope_factors())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save(tensors, o["given"], os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config(o), f, indent=2, sort_keys=True)
        f.write("\n")


def save(tensors, given, path):
    if given == "F16":
        tensors = {k: np.ascontiguousarray(v.astype(np.float16)) for k, v in tensors.items()}
    if given != "BF16":
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
        return
    header, data = {}, b""
    for k, v in tensors.items():
        b = to_bf16(v).tobytes()
        header[k] = dict(dtype="BF16", shape=list(v.shape), data_offsets=[len(data), len(data) + len(b)])
        data += b
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + data)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, o in FIXTURES.items():
        make(sys.argv[1], name, o)


if __name__ == "__main__":
    main()
