"""Writes tests/data/metaseq: tiny random OPT models as metaseq saves them, in parts of tensor parallelism, and merged.

Everything about the parts is written from what metaseq's documents and its merging scripts say of them, none of it by metaseq
itself: a name of each tensor in each part; (q|k|v)_proj, fc1 and embed_tokens cut by rows, fc2 and out_proj by columns, the rest
in every part; q, k and v apart or fused, then K, V, Q in each part. That such parts are the model is checked here by computing
with them as metaseq does, each part its heads and its columns, sums of what they give: transformers' logits of the merged model
come out. Tensors are views of one storage a layer, as resharding leaves them, and beside them lie objects of classes that
exist nowhere else.
"""
import argparse
import collections
import json
import os
import shutil
import sys
import types

import torch
import transformers
from safetensors.torch import save_file
from transformers import OPTConfig, OPTForCausalLM

PLAIN = dict(vocab_size=56, hidden_size=16, word_embed_proj_dim=16, num_attention_heads=8, ffn_dim=32, num_hidden_layers=2,
             max_position_embeddings=8)
NARROW = dict(vocab_size=44, hidden_size=16, word_embed_proj_dim=12, num_attention_heads=4, ffn_dim=24, num_hidden_layers=1,
              max_position_embeddings=6, do_layer_norm_before=False)
# name: the model's configuration and type, and the folders of its parts: how many, fused or not.
MODELS = {
    "plain": (PLAIN, torch.float16, {"plain-8-fused": (8, True), "plain-4-apart": (4, False)}),
    "narrow": (NARROW, torch.bfloat16, {"narrow-2-fused": (2, True), "narrow-restored": (1, False)}),
}
OUTPUTS = ("embed_tokens.weight", "fc1.weight", "fc1.bias", "q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias",
           "v_proj.weight", "v_proj.bias")
INPUTS = ("fc2.weight", "out_proj.weight")
RENAMED = {"final_layer_norm.": "layer_norm.", "project_in.": "project_in_dim.", "project_out.": "project_out_dim."}


def config_of(spec, dtype):
    return OPTConfig(**{**dict(dropout=0.0, attention_dropout=0.0, bos_token_id=2, eos_token_id=2, pad_token_id=1), **spec},
                     torch_dtype=dtype, architectures=["OPTForCausalLM"])


def metaseq_name(name):
    bare = name[len("model.decoder."):]
    for ours, theirs in RENAMED.items():
        if bare.startswith(ours):
            bare = theirs + bare[len(ours):]
    return "decoder." + bare


def cut(name, value, part, parts):
    if name.endswith(OUTPUTS):
        return value.chunk(parts, dim=0)[part]
    if name.endswith(INPUTS):
        return value.chunk(parts, dim=1)[part]
    return value


def part_of(weights, part, parts, fused):
    """The tensors of one part under metaseq's names, in the order in which metaseq has them."""
    out = collections.OrderedDict([("decoder.version", torch.tensor([3.0]))])
    for name, value in weights.items():
        theirs, mine = metaseq_name(name), cut(name, value, part, parts)
        if not fused or "_proj" not in theirs or theirs.endswith(("out_proj.weight", "out_proj.bias")):
            out[theirs] = mine
        elif "k_proj" in theirs:
            kvq = [cut(n, weights[n], part, parts) for n in (name.replace("k_proj", x + "_proj") for x in "kvq")]
            out[theirs.replace("k_proj", "qkv_proj")] = torch.cat(kvq)
    return out


def flatten(tensors):
    """The same as views of one storage a layer, and one for what is outside of layers."""
    groups, out = collections.defaultdict(list), collections.OrderedDict()
    for name in tensors:
        groups[".".join(name.split(".")[:3]) if ".layers." in name else name == "decoder.version"].append(name)
    for names in groups.values():
        flat, at = torch.cat([tensors[n].flatten() for n in names]), 0
        for n in names:
            out[n] = flat[at:at + tensors[n].numel()].view(tensors[n].shape)
            at += tensors[n].numel()
    return collections.OrderedDict((n, out[n]) for n in tensors)


def foreign(module, name):
    """An object of a class of another program's, which reading needs no such class for."""
    for i, c in enumerate(module + "."):
        if c == "." and module[:i] not in sys.modules:
            sys.modules[module[:i]] = types.ModuleType(module[:i])
    cls = type(name, (), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, cls)
    return cls()


def save(path, tensors):
    cfg = foreign("metaseq.dataclass.configs", "MetaseqConfig")
    cfg.model = {"model_parallel_size": 8, "arch": "transformer_lm_megatron"}
    torch.save({"model": tensors, "cfg": cfg, "args": None, "extra_state": {"epoch": 1, "val_loss": 2.5},
                "optimizer_history": [{"num_updates": 3}]}, path)


# ---- computing with the parts ----------------------------------------------------------------------------------------

def projections(p, prefix):
    if prefix + "qkv_proj.weight" in p:
        k, v, q = zip(p[prefix + "qkv_proj.weight"].chunk(3), p[prefix + "qkv_proj.bias"].chunk(3))
        return q, k, v
    return [(p[prefix + x + "_proj.weight"], p[prefix + x + "_proj.bias"]) for x in "qkv"]


def attention(p, prefix, x, heads):
    q, k, v = ((x @ w.T + b).unflatten(-1, (heads, -1)).transpose(1, 2) for w, b in projections(p, prefix))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    mask = torch.full(scores.shape[-2:], float("-inf"), dtype=scores.dtype).triu(1)
    mixed = ((scores + mask).softmax(-1) @ v).transpose(1, 2).flatten(2)
    return mixed @ p[prefix + "out_proj.weight"].T


def parallel_logits(parts, config, ids):
    parts = [{n: t.double() for n, t in p.items()} for p in parts]
    one, norm = parts[0], lambda x, n: torch.nn.functional.layer_norm(x, x.shape[-1:], one[n + ".weight"], one[n + ".bias"])
    pre, heads = config.do_layer_norm_before, config.num_attention_heads // len(parts)
    embedding = torch.cat([p["decoder.embed_tokens.weight"] for p in parts])
    x = embedding[ids]
    if "decoder.project_in_dim.weight" in one:
        x = x @ one["decoder.project_in_dim.weight"].T
    x = x + one["decoder.embed_positions.weight"][2:2 + ids.shape[1]]
    for i in range(config.num_hidden_layers):
        at = "decoder.layers.%d." % i
        y = norm(x, at + "self_attn_layer_norm") if pre else x
        x = x + sum(attention(p, at + "self_attn.", y, heads) for p in parts) + one[at + "self_attn.out_proj.bias"]
        x = x if pre else norm(x, at + "self_attn_layer_norm")
        y = norm(x, at + "final_layer_norm") if pre else x
        x = x + one[at + "fc2.bias"] + sum(
            (y @ p[at + "fc1.weight"].T + p[at + "fc1.bias"]).relu() @ p[at + "fc2.weight"].T for p in parts)
        x = x if pre else norm(x, at + "final_layer_norm")
    x = norm(x, "decoder.layer_norm") if pre else x
    if "decoder.project_out_dim.weight" in one:
        x = x @ one["decoder.project_out_dim.weight"].T
    return x @ embedding.T


def check(parts, config, weights):
    torch.set_default_dtype(torch.float64)
    model = OPTForCausalLM(config).eval().double()
    missing = model.load_state_dict({n: t.double() for n, t in weights.items()}, strict=False)
    assert not missing.unexpected_keys and missing.missing_keys in ([], ["lm_head.weight"]), missing
    model.tie_weights()
    ids = torch.randint(0, config.vocab_size, (3, config.max_position_embeddings))
    with torch.no_grad():
        want = model(input_ids=ids).logits
        have = parallel_logits(parts, config, ids)
    torch.set_default_dtype(torch.float32)
    assert float((want - have).abs().max()) < 1e-9 * float(want.abs().max()), (want - have).abs().max()


# ---- files -----------------------------------------------------------------------------------------------------------

def folder_of(root, name):
    path = os.path.join(root, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def write_config(folder, config):
    keep = ("activation_function", "bos_token_id", "do_layer_norm_before", "eos_token_id", "ffn_dim", "hidden_size",
            "max_position_embeddings", "model_type", "num_attention_heads", "num_hidden_layers", "pad_token_id", "vocab_size",
            "word_embed_proj_dim")
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump({k: v for k, v in sorted(config.to_dict().items()) if k in keep}, f, indent=1)
        f.write("\n")


def make(root, name, spec, dtype, folders):
    config = config_of(spec, dtype)
    shapes = shapes_of(OPTForCausalLM(config))
    weights = {n: (torch.randn(s) * 0.3 + ("layer_norm.weight" in n)).to(dtype) for n, s in shapes.items()}
    merged = folder_of(root, name)
    write_config(merged, config)
    save_file(weights, os.path.join(merged, "model.safetensors"), metadata={"format": "pt"})
    for folder, (n, fused) in folders.items():
        path = folder_of(root, folder)
        write_config(path, config)
        parts = [part_of(weights, k, n, fused) for k in range(n)]
        check(parts, config, weights)
        for k, p in enumerate(parts):
            whole, p = p, flatten(p)
            assert all(torch.equal(p[n], t) for n, t in whole.items())
            if n == 1:  # the head beside the embedding that it is
                p["decoder.output_projection.weight"] = p["decoder.embed_tokens.weight"]
            save(os.path.join(path, "restored.pt" if n == 1 else "reshard-model_part-%d.pt" % k), p)


def shapes_of(model):
    return collections.OrderedDict((n, tuple(p.shape)) for n, p in model.named_parameters())


def make_flat(root):
    """A part as FSDP leaves it: what belongs to a layer is one vector."""
    tensors = [("decoder.version", torch.tensor([3.0])), ("flat_param_0", torch.arange(8, dtype=torch.float16)),
               ("decoder.layers.0.flat_param_0", torch.arange(16, dtype=torch.float16))]
    save(os.path.join(folder_of(root, "flat"), "reshard-model_part-0.pt"), collections.OrderedDict(tensors))


def make_published(root):
    """All shapes of opt-125m, over one value: its configuration is known by them."""
    config = OPTConfig(torch_dtype=torch.float16)
    assert (config.hidden_size, config.num_hidden_layers) == (768, 12)
    with torch.device("meta"):
        shapes = shapes_of(OPTForCausalLM(config))
    value = torch.tensor([0.5], dtype=torch.float16)
    save(os.path.join(folder_of(root, "published"), "restored.pt"),
         collections.OrderedDict((metaseq_name(n), value.expand(s)) for n, s in shapes.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", help="tests/data/metaseq")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    for seed, (name, (spec, dtype, folders)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        make(args.out_dir, name, spec, dtype, folders)
    make_flat(args.out_dir)
    make_published(args.out_dir)


if __name__ == "__main__":
    main()
