#!/usr/bin/env python3
"""Make tiny random OPT checkpoints and reference logits with Hugging Face transformers.

usage: make_opt_fixtures.py OUT_DIR [NAME ...]

Writes OUT_DIR/NAME/ for every configuration in FIXTURES (or only those named): config.json, the weights as
safetensors (one file, or shards with an index), reference.json and one raw little-endian float32 logits file of
shape [rows, sequence, vocabulary] per case. OUT_DIR/README.md gets the table of configurations.

Everything is seeded by the fixture's name. The weights are drawn in float64 and rounded once to the stored type; the
reference is computed in float32 from the files as stored, and compared with a float64 run. Before a
fixture is accepted the script also checks that
  * transformers' own from_pretrained gives the same logits, where it understands the tensor names;
  * replacing any single parameter tensor by its neutral value changes the logits visibly, so that a reader which
    forgets one cannot pass (k_proj.bias is the exception: softmax cancels it exactly).

Needs what requirements.txt beside this file lists.
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
from safetensors.torch import load_file, save_file
from transformers import OPTConfig, OPTForCausalLM

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CONFIG_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
OFFSET = 2  # rows of the position table before position 0
SENSITIVITY = 1e-2  # least change of a logit when one tensor is neutralised

# config: OPTConfig arguments. The remaining keys, with their defaults:
#   dtype   "F32"             stored type
#   prefix  "model.decoder."  what precedes the decoder's tensor names; lm_head.weight never has a prefix
#   shards  1                 more than 1 writes model-0000i-of-0000n.safetensors and an index
#   embed   0.5               standard deviation of the token and position embeddings
#   head    "as config"       "redundant" also stores the tied head
#   extra   {}                tensors no reader needs
#   omit    []                config.json keys left out, all at their default
#   rename  {}                config.json keys renamed
#   pad     "token"           "random" fills padding with random ids: only the mask may tell
#   length  9                 longest sequence
FIXTURES = {
    "prenorm-f32": dict(
        note="the plain case; the longest sequence fills the position table",
        config=dict(vocab_size=104, hidden_size=32, num_attention_heads=4, ffn_dim=48, num_hidden_layers=2,
                    max_position_embeddings=14), length=14),
    "tiles-f16": dict(
        note="vocabulary and ffn above 4,096 rows, so that matrices are cut in several panel tiles",
        config=dict(vocab_size=4201, hidden_size=12, num_attention_heads=2, ffn_dim=4300, num_hidden_layers=1),
        dtype="F16", length=5),
    "prenorm-f16-headdim20": dict(
        note="head dimension 20; `decoder.` names and the stray tensor `decoder.version`",
        config=dict(vocab_size=104, hidden_size=60, num_attention_heads=3, ffn_dim=100, num_hidden_layers=1),
        dtype="F16", prefix="decoder.", extra={"decoder.version": torch.tensor([3.0])}),
    "prenorm-bf16-sharded": dict(
        note="three shards; config.json says `dtype` instead of `torch_dtype`, as newer releases do",
        config=dict(vocab_size=120, hidden_size=32, num_attention_heads=2, ffn_dim=60, num_hidden_layers=3),
        dtype="BF16", shards=3, rename={"torch_dtype": "dtype"}),
    "postnorm-proj-f16": dict(
        note="shaped like opt-350m: post-norm, narrow embedding, no final norm",
        config=dict(vocab_size=112, hidden_size=40, word_embed_proj_dim=24, num_attention_heads=4, ffn_dim=80,
                    num_hidden_layers=2, do_layer_norm_before=False),
        dtype="F16"),
    "postnorm-gelu-f32": dict(
        note="post-norm with `_remove_final_layer_norm`, which then changes nothing; `decoder.` names",
        config=dict(vocab_size=100, hidden_size=36, num_attention_heads=3, ffn_dim=72, num_hidden_layers=1,
                    do_layer_norm_before=False, _remove_final_layer_norm=True, activation_function="gelu"),
        prefix="decoder."),
    "no-final-norm-f32": dict(
        note="pre-norm without the decoder's final norm; padding holds random ids",
        config=dict(vocab_size=100, hidden_size=28, num_attention_heads=2, ffn_dim=56, num_hidden_layers=2,
                    _remove_final_layer_norm=True), pad="random"),
    "no-bias-bf16": dict(
        note="linear layers and norms: only the norms have biases",
        config=dict(vocab_size=108, hidden_size=40, num_attention_heads=2, ffn_dim=88, num_hidden_layers=2,
                    enable_bias=False, activation_function="gelu"),
        dtype="BF16"),
    "no-affine-f32": dict(
        note="norms without weights and biases",
        config=dict(vocab_size=110, hidden_size=28, num_attention_heads=2, ffn_dim=42, num_hidden_layers=2,
                    layer_norm_elementwise_affine=False)),
    "bare-postnorm-f16": dict(
        note="post-norm, no biases and no norm parameters at all; no name prefix",
        config=dict(vocab_size=102, hidden_size=44, num_attention_heads=4, ffn_dim=66, num_hidden_layers=2,
                    do_layer_norm_before=False, enable_bias=False, layer_norm_elementwise_affine=False),
        dtype="F16", prefix=""),
    "untied-f32-sharded": dict(
        note="own head; embeddings so small that the first norm's epsilon (1e-5) matters",
        config=dict(vocab_size=131, hidden_size=30, num_attention_heads=3, ffn_dim=60, num_hidden_layers=1,
                    tie_word_embeddings=False, activation_function="gelu"),
        shards=2, embed=0.01),
    "untied-proj-bf16": dict(
        note="own head on the narrow side, [vocabulary, 20]",
        config=dict(vocab_size=109, hidden_size=48, word_embed_proj_dim=20, num_attention_heads=4, ffn_dim=96,
                    num_hidden_layers=1, tie_word_embeddings=False),
        dtype="BF16"),
    "odd-sizes-f32": dict(
        note="hidden size, head dimension, ffn and vocabulary odd; no name prefix; config.json without the optional keys",
        config=dict(vocab_size=131, hidden_size=33, num_attention_heads=3, ffn_dim=71, num_hidden_layers=1),
        prefix="", length=11,
        omit=["word_embed_proj_dim", "enable_bias", "layer_norm_elementwise_affine", "_remove_final_layer_norm",
              "do_layer_norm_before", "activation_function", "torch_dtype"]),
    "stored-tied-head-f16": dict(
        note="tied, with the same head stored a second time as lm_head.weight, in another shard",
        config=dict(vocab_size=125, hidden_size=40, num_attention_heads=5, ffn_dim=80, num_hidden_layers=2),
        dtype="F16", shards=2, head="redundant"),
    "wide-proj-bf16": dict(
        note="embedding wider than the hidden size; pre-norm, final norm before project_out; sequences of up to 20",
        config=dict(vocab_size=101, hidden_size=24, word_embed_proj_dim=41, num_attention_heads=2, ffn_dim=50,
                    num_hidden_layers=3, max_position_embeddings=29, activation_function="gelu"),
        dtype="BF16", prefix="", shards=2, length=20),
}


def make_config(spec):
    common = dict(dropout=0.0, attention_dropout=0.0, layerdrop=0.0, bos_token_id=2, eos_token_id=2, pad_token_id=1,
                  max_position_embeddings=32, architectures=["OPTForCausalLM"],
                  torch_dtype=CONFIG_NAMES[spec.get("dtype", "F32")])
    return OPTConfig(**{**common, **spec["config"]})


def draw(model, rng, embed_std):
    """Random value of every parameter, float64, by name. Norm weights scatter around 1, matrices keep activations near 1."""
    values = {}
    for name, p in model.named_parameters():  # a tied head is listed once, as the embedding
        z = torch.from_numpy(rng.standard_normal(tuple(p.shape)))
        if "embed_" in name:
            v = embed_std * z
        elif "layer_norm.weight" in name:
            v = 1 + 0.3 * z
        elif name.endswith(".bias"):
            v = 0.2 * z
        else:
            v = z * (1.2 / p.shape[1] ** 0.5)
        values[name] = v
    return values


def stored_name(name, prefix):
    canonical = "model.decoder."
    return prefix + name[len(canonical):] if name.startswith(canonical) else name


def write_weights(folder, tensors, shards):
    """tensors: stored name -> tensor, written in order; each shard gets about the same number of bytes."""
    meta = {"format": "pt"}
    if shards == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata=meta)
        return
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    parts, done = [{} for _ in range(shards)], 0
    for name, t in tensors.items():
        parts[done * shards // total][name] = t
        done += t.numel() * t.element_size()
    assert all(parts)
    weight_map = {}
    for i, part in enumerate(parts):
        file = "model-%05d-of-%05d.safetensors" % (i + 1, shards)
        save_file(part, os.path.join(folder, file), metadata=meta)
        weight_map.update({name: file for name in part})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}, f, indent=1)
        f.write("\n")


def read_weights(folder):
    tensors = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(".safetensors"):
            tensors.update(load_file(os.path.join(folder, file)))
    return tensors


def build(config, values):
    """The model, and its parameters by canonical name; they must be exactly those in `values`."""
    model = OPTForCausalLM(config).eval()
    params = dict(model.named_parameters())
    assert params.keys() == values.keys(), (params.keys() ^ values.keys())
    return model, params


def run(model, params, values, case, dtype):
    """Logits in `dtype`, 0 where masked. Puts `values` into the model first."""
    model.to(dtype)
    torch.set_default_dtype(dtype)  # transformers builds the attention mask in it
    with torch.no_grad():
        for name, p in params.items():
            p.copy_(values[name])
        out = model(input_ids=torch.tensor(case["input_ids"]), attention_mask=torch.tensor(case["attention_mask"])).logits
        if dtype == torch.float32 and case["padding"] == "none":  # no mask must mean a mask of ones
            assert torch.equal(out, model(input_ids=torch.tensor(case["input_ids"])).logits)
    torch.set_default_dtype(torch.float32)
    return out * torch.tensor(case["attention_mask"]).unsqueeze(-1)


def make_cases(spec, config, rng):
    """The padded batches hold the same three texts, one of a single token; id 1 (pad) also occurs as a real token."""
    longest, vocab = spec.get("length", 9), config.vocab_size
    ids = lambda n: [2] + rng.integers(0, vocab, n - 1).tolist()
    texts = [ids(longest), ids(1), ids(longest * 2 // 3)]
    texts[2][2] = 1
    texts[0][-1] = vocab - 1
    cases = [{"padding": "none", "input_ids": [ids(longest - 1), ids(longest - 1)]}]
    cases[0]["attention_mask"] = [[1] * (longest - 1)] * 2
    for side in ("left", "right"):
        X, M = [], []
        for t in texts:
            k = longest - len(t)
            fill = rng.integers(0, vocab, k).tolist() if spec.get("pad") == "random" else [config.pad_token_id] * k
            X.append(fill + t if side == "left" else t + fill)
            M.append([0] * k + [1] * len(t) if side == "left" else [1] * len(t) + [0] * k)
        cases.append({"padding": side, "input_ids": X, "attention_mask": M})
    return cases


def neutral(name, value):
    return torch.ones_like(value) if "layer_norm.weight" in name else torch.zeros_like(value)


def make(name, spec, root):
    config, dtype = make_config(spec), DTYPES[spec.get("dtype", "F32")]
    prefix, folder = spec.get("prefix", "model.decoder."), os.path.join(root, name)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)

    # Files.
    drawn = draw(OPTForCausalLM(config), rng, spec.get("embed", 0.5))
    tensors = {stored_name(n, prefix): v.to(dtype) for n, v in drawn.items()}
    if spec.get("head") == "redundant":
        tensors["lm_head.weight"] = drawn["model.decoder.embed_tokens.weight"].to(dtype).clone()
    tensors.update(spec.get("extra", {}))
    write_weights(folder, tensors, spec.get("shards", 1))
    cfg = {spec.get("rename", {}).get(k, k): v for k, v in config.to_dict().items()}
    default = OPTConfig().to_dict()
    keep = spec["config"].keys() | {"architectures", "torch_dtype", "dtype", "model_type", "transformers_version"} \
        | set(OPTConfig().to_diff_dict()) | {"tie_word_embeddings", "pad_token_id", "bos_token_id", "eos_token_id"}
    cfg = {k: v for k, v in sorted(cfg.items()) if k in keep and k not in spec.get("omit", [])}
    for k in spec.get("omit", []):
        if k not in ("torch_dtype", "word_embed_proj_dim"):
            assert config.to_dict()[k] == default[k], k
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(cfg, f, indent=2)
        f.write("\n")

    # Reference, from the files as they lie on disk.
    back, stored = {stored_name(n, prefix): n for n in drawn}, read_weights(folder)
    ignored = stored.keys() - back.keys()
    assert ignored <= {"lm_head.weight", "decoder.version"}, ignored
    values = {back[n]: v for n, v in stored.items() if n in back}
    model, params = build(OPTConfig.from_pretrained(folder), values)
    cases, loaded = make_cases(spec, config, rng), None
    if prefix:  # from_pretrained knows "model.decoder." and "decoder."
        loaded = OPTForCausalLM.from_pretrained(folder).eval().float()
    record = []
    for case in cases:
        f32, f64 = (run(model, params, values, case, t) for t in (torch.float32, torch.float64))
        if loaded is not None:
            with torch.no_grad():
                m = torch.tensor(case["attention_mask"])
                other = loaded(input_ids=torch.tensor(case["input_ids"]), attention_mask=m).logits * m.unsqueeze(-1)
            assert torch.equal(other, f32), "from_pretrained disagrees by %g" % (other - f32).abs().max()
        file = "logits-%s.f32" % case["padding"]
        f32.numpy().astype("<f4").tofile(os.path.join(folder, file))
        mask = torch.tensor(case["attention_mask"])
        record.append({**case, "position_rows": (mask.cumsum(1) * mask - 1 + OFFSET).tolist(), "logits_file": file,
                       "shape": list(f32.shape), "max_abs_logit": float(f32.abs().max()),
                       "max_abs_diff_float64": float((f32.double() - f64).abs().max())})
        case["f64"] = f64
    # The same text gives the same logits on either side of the padding.
    left, right = ([c["f64"][r][torch.tensor(c["attention_mask"][r]).bool()] for r in range(3)] for c in cases[1:])
    assert max(float((a - b).abs().max()) for a, b in zip(left, right)) < 1e-12
    for n in values:
        changed = run(model, params, {**values, n: neutral(n, values[n])}, cases[1], torch.float64)
        effect = float((changed - cases[1]["f64"]).abs().max())
        assert effect < 1e-12 if n.endswith("k_proj.bias") else effect > SENSITIVITY, (name, n, effect)
    with open(os.path.join(folder, "reference.json"), "w", encoding="utf-8") as f:
        head = {"name": name, "note": spec["note"], "transformers": transformers.__version__,
                "torch": torch.__version__, "dtype": spec.get("dtype", "F32"), "prefix": prefix}
        lines = ["  %s: %s," % (json.dumps(k), json.dumps(v)) for k, v in head.items()]
        body = ",\n".join("    {%s}" % ",\n     ".join("%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in c.items())
                          for c in record)
        f.write("{\n%s\n  \"cases\": [\n%s\n  ]\n}\n" % ("\n".join(lines), body))
    return {"config": config, "record": record, "params": sum(v.numel() for v in values.values())}


README = """# OPT fixtures

Tiny random OPT checkpoints in Hugging Face format, each with logits computed by `transformers`' `OPTForCausalLM`. They
cover the architecture's options and the ways checkpoints are stored, not language: the weights are noise.

Made by `tests/make_fixtures/make_opt_fixtures.py` with transformers {transformers} and torch {torch}, on the CPU in float32
from the weights as stored; the script checks that its reading equals `from_pretrained` bit for bit (where names have a prefix),
that left and right padding agree in float64, and that dropping any one tensor changes some logit by more than {sens} (but for
`k_proj.bias`, which softmax cancels). The script says how it is seeded.

Licence: made by this project, Apache-2.0.

| name | dtype | files | name prefix | layers / hidden / embedding / heads x dim / ffn / vocabulary | norm | activation | head | what else | parameters | float32 - float64 |
|---|---|---|---|---|---|---|---|---|---:|---:|
{rows}

## Format

`NAME/config.json`, `NAME/model.safetensors` or shards with `model.safetensors.index.json`, `NAME/reference.json`:

* `cases`: one each for `padding` `none`, `left`, `right`. `input_ids`, `attention_mask`: [rows][sequence].
  `position_rows`: row of `embed_positions` used at each place (masked places use row 1).
* `logits_file`: raw little-endian float32, `shape` = [rows, sequence, vocabulary]; 0 where the mask is 0.
* `max_abs_diff_float64`: greatest distance of these logits to a float64 run from the same weights, over all places not
  masked; the last column of the table is its maximum. `max_abs_logit` gives the scale.

The padded batches hold the same three texts, one of them a single token, and id 1 (the pad token) also occurs as a real
token. Regenerating on another processor may change the last bits of the logits, not the weights.
"""


def table_row(name, spec, done):
    c = done["config"]
    norm = "pre" if c.do_layer_norm_before else "post"
    if c.do_layer_norm_before and c._remove_final_layer_norm:
        norm += ", no final"
    if not c.layer_norm_elementwise_affine:
        norm += ", no affine"
    head = "tied" if c.tie_word_embeddings else "untied"
    if spec.get("head") == "redundant":
        head = "tied, stored"
    shards = spec.get("shards", 1)
    sizes = "%d / %d / %d / %d x %d / %d / %d" % (
        c.num_hidden_layers, c.hidden_size, c.word_embed_proj_dim, c.num_attention_heads,
        c.hidden_size // c.num_attention_heads, c.ffn_dim, c.vocab_size)
    prefix = spec.get("prefix", "model.decoder.")
    cells = ["`%s`" % name, spec.get("dtype", "F32"), "1" if shards == 1 else "%d shards" % shards,
             "`%s`" % prefix if prefix else "none", sizes, norm,
             c.activation_function, head + ("" if c.enable_bias else ", no bias"), spec["note"],
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
            f.write(README.format(transformers=transformers.__version__, torch=torch.__version__, sens=SENSITIVITY,
                                  rows="\n".join(rows)))


if __name__ == "__main__":
    sys.exit(main())
