#!/usr/bin/env python3
"""Make tiny random LLaMA, Qwen2, Qwen3 and Mistral checkpoints and reference logits with Hugging Face transformers.

usage: make_decoder_fixtures.py OUT_DIR [NAME ...]

Writes OUT_DIR/NAME/ for every configuration in FIXTURES (or only those named): config.json, the weights as
safetensors, reference.json and one raw little-endian float32 logits file of shape [rows, sequence, vocabulary] per
case, in the format that make_opt_fixtures.py describes. OUT_DIR/README.md gets the table of configurations.

Everything is seeded by the fixture's name. A config.json has the keys that stand below, so what it leaves out is what
transformers makes of it; the model is what from_pretrained makes of the folder, computed in float32. Before a fixture is accepted the script also checks that
  * left and right padding agree in float64;
  * replacing any single parameter tensor by its neutral value changes the logits visibly (k_proj.bias too: behind it
    keys are turned, so softmax doesn't cancel it);
  * so does taking away the scaling of rotary positions, where there is one;
  * no window of attention masks anything.

Needs transformers 5.24 and torch.
"""
import argparse
import hashlib
import json
import os
import shutil
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SENSITIVITY = 1e-2  # least change of a logit when one tensor is neutralised

LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)

# json: config.json beyond model_type, sizes and type. The remaining keys, with their defaults:
#   dtype   "float32"  stored type
#   prefix  "model."   what precedes the decoder's tensor names; lm_head.weight never has a prefix
#   shards  1          more than 1 writes model-0000i-of-0000n.safetensors and an index
#   head    "as config"  "redundant" also stores the tied head
#   extra   ()         names of tensors no reader needs
#   omit    ()         keys of COMMON left out
#   length  9          longest sequence
COMMON = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=32, bos_token_id=1, eos_token_id=2)
FIXTURES = {
    "llama-plain": dict(
        note="as many heads of keys as of queries (the key is left out); the longest sequence fills the context",
        json=dict(max_position_embeddings=13, intermediate_size=20, rms_norm_eps=1e-5), omit=["num_key_value_heads"],
        length=13),
    "llama-gqa-tied": dict(
        note="tied; another base of the angles; three shards",
        json=dict(tie_word_embeddings=True, rope_theta=500.0, rms_norm_eps=1e-5), dtype="bfloat16", shards=3),
    "llama-mqa": dict(
        note="one head of keys for all; epsilon large enough to matter",
        json=dict(num_key_value_heads=1, rms_norm_eps=0.1, num_hidden_layers=3), dtype="float16"),
    "llama-headdim": dict(
        note="explicit head_dim: attention is wider than the hidden size",
        json=dict(head_dim=10, num_hidden_layers=1, hidden_size=20), dtype="float16"),
    "llama-narrow-heads": dict(
        note="explicit head_dim: attention is narrower; odd feed-forward and vocabulary",
        json=dict(head_dim=2, intermediate_size=31, vocab_size=37), dtype="bfloat16"),
    "llama-attention-bias": dict(
        note="biases of q, k, v and o", json=dict(attention_bias=True), dtype="float16"),
    "llama-mlp-bias": dict(
        note="biases of gate, up and down", json=dict(mlp_bias=True), dtype="bfloat16"),
    "llama-linear": dict(
        note="linear scaling, as `type` of `rope_scaling`",
        json=dict(rope_theta=100.0, rope_scaling=dict(type="linear", factor=2.5)), dtype="bfloat16", length=20),
    "llama-llama3": dict(
        note="llama3 scaling, as `rope_type` of `rope_scaling`: low, middle and high frequencies",
        json=dict(num_hidden_layers=1, head_dim=12, rope_theta=50.0, vocab_size=20, max_position_embeddings=128,
                  rope_scaling=dict(rope_type="llama3", **LLAMA3)), length=20),
    "llama-llama3-parameters": dict(
        note="llama3 scaling in `rope_parameters`, `dtype` for the type, as newer releases write",
        json=dict(num_hidden_layers=1, head_dim=12, vocab_size=20, max_position_embeddings=128,
                  rope_parameters=dict(rope_type="llama3", rope_theta=20.0, **LLAMA3)),
        dtype="bfloat16", new=True, length=20),
    "llama-yarn": dict(
        note="yarn scaling with its defaults",
        json=dict(num_hidden_layers=1, head_dim=12, rope_theta=30.0, vocab_size=20, max_position_embeddings=128,
                  rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)),
        dtype="bfloat16", length=20),
    "llama-yarn-mscale": dict(
        note="yarn scaling: `mscale`, `mscale_all_dim`, `beta_fast`, `beta_slow`, places that aren't rounded",
        json=dict(head_dim=12, rope_theta=30.0, vocab_size=20, max_position_embeddings=128,
                  rope_scaling=dict(type="yarn", factor=8.0, original_max_position_embeddings=16, mscale=1.0,
                                    mscale_all_dim=0.3, beta_fast=6, beta_slow=0.5, truncate=False)),
        dtype="float16", length=20),
    "llama-yarn-attention": dict(
        note="yarn scaling: `attention_factor`; the original context is the model's",
        json=dict(num_hidden_layers=1, head_dim=12, vocab_size=20, max_position_embeddings=24,
                  rope_parameters=dict(rope_type="yarn", rope_theta=30.0, factor=3.0, attention_factor=1.7)),
        new=True, length=20),
    "llama-bare": dict(
        note="no name prefix; the stray tensors `rotary_emb.inv_freq`; config.json without the optional keys",
        json=dict(), prefix="", omit=["bos_token_id", "eos_token_id"],
        dtype="float16", extra=["layers.0.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"]),
    "qwen2": dict(
        note="biases of q, k and v, none of o", json=dict(rope_theta=1000.0), dtype="bfloat16"),
    "qwen2-tied": dict(
        note="tied, with the head stored a second time; a window that is not in use",
        json=dict(tie_word_embeddings=True, use_sliding_window=False, sliding_window=4, max_window_layers=0),
        dtype="bfloat16", head="redundant"),
    "qwen2-window": dict(
        note="a window in the last layer: the context is as long as it",
        json=dict(use_sliding_window=True, sliding_window=12, max_window_layers=1), dtype="bfloat16", length=12),
    "qwen3": dict(
        note="norms of the heads of q and k; explicit head_dim; tied",
        json=dict(head_dim=6, tie_word_embeddings=True)),
    "qwen3-bias": dict(
        note="norms of the heads behind biases", json=dict(attention_bias=True, head_dim=4), dtype="bfloat16"),
    "qwen3-yarn": dict(
        note="norms of the heads, yarn scaling, and `layer_types` that are all full",
        json=dict(head_dim=12, vocab_size=20, num_attention_heads=2, num_key_value_heads=1,
                  layer_types=["full_attention"] * 2, max_position_embeddings=64, rope_theta=30.0,
                  rope_scaling=dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=32)),
        dtype="float16", length=20),
    "mistral": dict(
        note="no window", json=dict(sliding_window=None, num_key_value_heads=4), dtype="float16"),
    "mistral-window": dict(
        note="a window in all layers: the context is as long as it; explicit head_dim",
        json=dict(sliding_window=10, head_dim=6), dtype="bfloat16", length=10),
}


def make_json(name, spec):
    out = {k: v for k, v in COMMON.items() if k not in spec.get("omit", [])}
    family = name.split("-")[0]
    out.update(spec["json"], model_type=family,
               architectures=[{"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "mistral": "Mistral"}[family]
                              + "ForCausalLM"])
    out["dtype" if spec.get("new") else "torch_dtype"] = spec.get("dtype", "float32")
    return out


def draw(model, rng):
    """Random value of every parameter, float64, by name. Norm weights scatter around 1, matrices keep activations near 1."""
    values = {}
    for name, p in model.named_parameters():  # a tied head is listed once, as the embedding
        z = torch.from_numpy(rng.standard_normal(tuple(p.shape)))
        if "embed_tokens" in name:
            v = 0.7 * z
        elif "norm" in name:
            v = 1 + 0.3 * z
        elif name.endswith(".bias"):
            v = 0.4 * z
        else:
            v = z * (1.6 / p.shape[1] ** 0.5)
        values[name] = v
    return values


def write_weights(folder, tensors, shards):
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        return
    where = {}
    for i in range(shards):
        file = "model-%05d-of-%05d.safetensors" % (i + 1, shards)
        part = names[i::shards]
        save_file({n: tensors[n] for n in part}, os.path.join(folder, file), metadata={"format": "pt"})
        where.update({n: file for n in part})
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}, f, indent=1)
        f.write("\n")


def run(model, values, case, dtype):
    """Logits in `dtype`, 0 where masked. Puts `values` into the model first."""
    model.to(dtype)
    mask = torch.tensor(case["attention_mask"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(values[name])
        out = model(input_ids=torch.tensor(case["input_ids"]), attention_mask=mask).logits
    out = out.masked_fill(mask.unsqueeze(-1) == 0, 0)
    assert torch.isfinite(out).all()
    return out


def make_cases(spec, vocab, rng):
    """The padded batches hold the same three texts, one of a single token."""
    longest = spec.get("length", 9)
    ids = lambda n: rng.integers(0, vocab, n).tolist()
    texts = [ids(longest), ids(1), ids(longest * 2 // 3)]
    texts[0][-1] = vocab - 1
    cases = [{"padding": "none", "input_ids": [ids(longest - 1), ids(longest - 1)]}]
    cases[0]["attention_mask"] = [[1] * (longest - 1)] * 2
    for side in ("left", "right"):
        X, M = [], []
        for t in texts:
            k = longest - len(t)
            fill = ids(k)
            X.append(fill + t if side == "left" else t + fill)
            M.append([0] * k + [1] * len(t) if side == "left" else [1] * len(t) + [0] * k)
        cases.append({"padding": side, "input_ids": X, "attention_mask": M})
    return cases


def load(folder, **changes):
    config = AutoConfig.from_pretrained(folder)
    for k, v in changes.items():
        setattr(config, k, v)
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32,
                                                attn_implementation="sdpa").eval()


def check(folder, name, model, values, cases):
    """What the module's text promises; cases have their float64 logits."""
    def effect(changed, case):
        return float((changed - case["f64"]).abs().max())

    left, right = ([c["f64"][r][torch.tensor(c["attention_mask"][r]).bool()] for r in range(3)] for c in cases[1:])
    assert max(float((a - b).abs().max()) for a, b in zip(left, right)) < 5e-5, name  # angles are float32
    for n, v in values.items():
        neutral = torch.ones_like(v) if "norm" in n else torch.zeros_like(v)
        changed = effect(run(model, {**values, n: neutral}, cases[2], torch.float64), cases[2])
        assert changed > SENSITIVITY, (name, n, changed)
    rope = model.config.rope_parameters
    if rope["rope_type"] != "default":
        plain = load(folder, rope_parameters={"rope_type": "default", "rope_theta": rope["rope_theta"]})
        changed = effect(run(plain, values, cases[2], torch.float64), cases[2])
        assert changed > SENSITIVITY, (name, "scaling", changed)
    window = getattr(model.config, "sliding_window", None)
    if window:
        full = load(folder, sliding_window=10**6)
        assert effect(run(full, values, cases[2], torch.float64), cases[2]) == 0, name


def make(name, spec, root):
    folder, dtype = os.path.join(root, name), DTYPES[spec.get("dtype", "float32")]
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    config = make_json(name, spec)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2, sort_keys=True)
        f.write("\n")

    drawn = {n: v.to(dtype) for n, v in
             draw(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)), rng).items()}
    prefix = spec.get("prefix", "model.")
    tensors = {prefix + n[len("model."):] if n.startswith("model.") else n: v for n, v in drawn.items()}
    if spec.get("head") == "redundant":
        tensors["lm_head.weight"] = drawn["model.embed_tokens.weight"].clone()
    tensors.update({n: torch.ones(2) for n in spec.get("extra", [])})
    write_weights(folder, tensors, spec.get("shards", 1))

    model = load(folder)
    values = {n: p.detach().clone() for n, p in model.named_parameters()}
    assert values.keys() == drawn.keys() and all(torch.equal(v, drawn[n].float()) for n, v in values.items())
    cases, record = make_cases(spec, config["vocab_size"], rng), []
    for case in cases:
        f32, case["f64"] = (run(model, values, case, t) for t in (torch.float32, torch.float64))
        file = "logits-%s.f32" % case["padding"]
        f32.numpy().astype("<f4").tofile(os.path.join(folder, file))
        record.append({**{k: v for k, v in case.items() if k != "f64"}, "logits_file": file, "shape": list(f32.shape),
                       "max_abs_logit": float(f32.abs().max()),
                       "max_abs_diff_float64": float((f32.double() - case["f64"]).abs().max())})
    check(folder, name, model, values, cases)
    with open(os.path.join(folder, "reference.json"), "w", encoding="utf-8") as f:
        head = {"name": name, "note": spec["note"], "transformers": transformers.__version__,
                "torch": torch.__version__, "dtype": spec.get("dtype", "float32"), "prefix": prefix}
        lines = ["  %s: %s," % (json.dumps(k), json.dumps(v)) for k, v in head.items()]
        body = ",\n".join("    {%s}" % ",\n     ".join("%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in c.items())
                          for c in record)
        f.write("{\n%s\n  \"cases\": [\n%s\n  ]\n}\n" % ("\n".join(lines), body))
    return {"config": model.config, "record": record, "params": sum(v.numel() for v in values.values())}


README = """# LLaMA, Qwen2, Qwen3 and Mistral fixtures

Tiny random checkpoints in Hugging Face format, each with logits computed by `transformers`' own classes. They cover the
options of the architectures and the ways configurations write them, not language: the weights are noise.

Made by `tests/make_fixtures/make_decoder_fixtures.py` with transformers {transformers} and torch {torch}, on the CPU in float32
from the weights as stored; what the script checks beyond that is in its text. The format is that of `opt-fixtures`.

Licence: made by this project, Apache-2.0.

| name | dtype | layers / hidden / heads of q, of k x dim / ffn / vocabulary | rotary positions | what else | parameters | float32 - float64 |
|---|---|---|---|---|---:|---:|
{rows}

Regenerating on another processor may change the last bits of the logits, not the weights.
"""


def table_row(name, spec, done):
    c = done["config"]
    dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    sizes = "%d / %d / %d, %d x %d / %d / %d" % (c.num_hidden_layers, c.hidden_size, c.num_attention_heads,
                                                 c.num_key_value_heads, dim, c.intermediate_size, c.vocab_size)
    cells = ["`%s`" % name, spec.get("dtype", "float32"), sizes, c.rope_parameters["rope_type"], spec["note"],
             "{:,}".format(done["params"]), "%.1e" % max(r["max_abs_diff_float64"] for r in done["record"])]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all, and the README")
    args = parser.parse_args()
    unknown = set(args.names) - FIXTURES.keys()
    if unknown:
        parser.error("no such fixture: " + ", ".join(sorted(unknown)))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    rows = []
    for name in args.names or FIXTURES:
        done = make(name, FIXTURES[name], args.out_dir)
        rows.append(table_row(name, FIXTURES[name], done))
        print("%-24s %6d parameters, max |logit| %.2f, float32 - float64 %.1e" % (
            name, done["params"], max(r["max_abs_logit"] for r in done["record"]),
            max(r["max_abs_diff_float64"] for r in done["record"])))
    if not args.names:
        with open(os.path.join(args.out_dir, "README.md"), "w", encoding="utf-8") as f:
            f.write(README.format(transformers=transformers.__version__, torch=torch.__version__, rows="\n".join(rows)))


if __name__ == "__main__":
    sys.exit(main())
