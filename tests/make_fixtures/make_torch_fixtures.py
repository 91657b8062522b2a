#!/usr/bin/env python3
"""Make a tiny OPT model in many forms of files that torch.save() writes.

usage: make_torch_fixtures.py OUT_DIR

OUT_DIR/TYPE/ (f32, f16, bf16) has config.json and model.safetensors, and *.bin, each the same model in another form; a folder
is one with an index and shards. OUT_DIR/views.bin and views-legacy.bin have pairs NAME.view and NAME.copy: a tensor with
strides of its own, and the same one laid out row by row. OUT_DIR/refused/ holds what isn't read, and a line for each in
expected.txt: the file, and words of the message.

Needs torch, transformers and safetensors as in requirements.txt; written with torch 2.15 and transformers 5.24.
"""
import argparse
import json
import os
import shutil
import sys
import types
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import OPTConfig, OPTForCausalLM

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
CONFIG = dict(vocab_size=37, hidden_size=10, num_attention_heads=2, ffn_dim=14, num_hidden_layers=1, max_position_embeddings=10,
              word_embed_proj_dim=10, bos_token_id=2, eos_token_id=2, pad_token_id=1, dropout=0.0)
PREFIX = "model.decoder."


def draw(dtype):
    """The weights, in the type that they are stored in; values that every type has are fine for all."""
    rng = np.random.default_rng(13)
    model = OPTForCausalLM(OPTConfig(**CONFIG))
    return {n: torch.from_numpy(rng.standard_normal(tuple(p.shape))).to(dtype) for n, p in model.named_parameters()}


def legacy(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


# ---- the same tensors, laid out otherwise ---------------------------------------------------------------------------------


def as_views(tensors):
    """Matrices transposed in memory, vectors every second element of a longer one, the rest slices."""
    out = {}
    for i, (name, t) in enumerate(tensors.items()):
        if t.dim() == 2 and i % 2:
            out[name] = t.t().contiguous().t()
        elif t.dim() == 2:
            wide = torch.full((t.shape[0] + 2, t.shape[1] + 5), -7.0, dtype=t.dtype)
            wide[1:-1, 3:-2] = t
            out[name] = wide[1:-1, 3:-2]
        else:
            wide = torch.full((2 * t.numel(),), -7.0, dtype=t.dtype)
            wide[1::2] = t
            out[name] = wide[1::2]
        assert torch.equal(out[name], t) and not (out[name].is_contiguous() and out[name].storage_offset() == 0)
    return out


def in_one_storage(tensors):
    flat = torch.cat([t.reshape(-1) for t in tensors.values()])
    out, at = {}, 0
    for name, t in tensors.items():
        out[name] = flat[at:at + t.numel()].view(t.shape)
        at += t.numel()
    return out


def renamed(tensors, prefix):
    return {prefix + n[len(PREFIX):]: t for n, t in tensors.items()}


def with_head(tensors):
    return {**tensors, "lm_head.weight": tensors[PREFIX + "embed_tokens.weight"]}  # one storage


def write_shards(folder, tensors, count, save=torch.save):
    os.makedirs(folder)
    names, weight_map = list(tensors), {}
    for i in range(count):
        file = "pytorch_model-%05d-of-%05d.bin" % (i + 1, count)
        mine = names[i * len(names) // count:(i + 1) * len(names) // count]
        # clones, as Hugging Face makes them: else each file would hold the whole storage
        save({n: tensors[n] for n in mine}, os.path.join(folder, file))
        weight_map.update({n: file for n in mine})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    with open(os.path.join(folder, "pytorch_model.bin.index.json"), "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}, f, indent=1)
        f.write("\n")


# ---- the forms --------------------------------------------------------------------------------------------------------------


def write_model(folder, dtype):
    os.makedirs(folder)
    path = lambda name: os.path.join(folder, name)
    t = draw(dtype)
    save_file(t, path("model.safetensors"), metadata={"format": "pt"})
    config = OPTConfig(**CONFIG, architectures=["OPTForCausalLM"]).to_diff_dict()
    config["torch_dtype"] = str(dtype).split(".")[1]
    with open(path("config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1, sort_keys=True)
        f.write("\n")
    torch.save(t, path("zip.bin"))
    legacy(t, path("legacy.bin"))
    if dtype == torch.float32:
        torch.save({n: v.double() for n, v in t.items()}, path("f64.bin"))
        legacy({n: v.double() for n, v in t.items()}, path("f64-legacy.bin"))
        torch.save(as_views(t), path("views.bin"))
        torch.save(renamed(t, "decoder."), path("prefix-decoder.bin"))
        torch.save(renamed(t, ""), path("prefix-none.bin"))
        legacy({"model": t, "cfg": types.SimpleNamespace(lr=1e-3), "args": None, "extra": {"x": torch.zeros(3)}},
               path("metaseq-legacy.bin"))
        torch.save({"epoch": 3, "state_dict": {"module." + n: v for n, v in t.items()}, "optimizer": {"state": {0: torch.ones(5)}}},
                   path("lightning.bin"))
        model = OPTForCausalLM(OPTConfig(**CONFIG))
        model.load_state_dict(with_head(t))
        model.tie_weights()
        torch.save(model.state_dict(), path("state-dict.bin"))  # an OrderedDict with _metadata, a tied head
        torch.save({n: torch.nn.Parameter(v) for n, v in t.items()}, path("parameters.bin"))
        torch.serialization.set_crc32_options(False)
        torch.save(t, path("no-crc.bin"))
        torch.serialization.set_crc32_options(True)
        write_shards(path("mixed-shards"), t, 2, legacy)
        torch.save({n: t[n] for n in list(t)[len(t) // 2:]}, path("mixed-shards/pytorch_model-00002-of-00002.bin"))
    if dtype == torch.float16:
        torch.save(with_head(t), path("tied.bin"))
        legacy(with_head(t), path("tied-legacy.bin"))
        legacy(as_views(t), path("views-legacy.bin"))
    if dtype == torch.bfloat16:
        torch.save(in_one_storage(t), path("one-storage.bin"))
        legacy(in_one_storage(t), path("one-storage-legacy.bin"))
        write_shards(path("shards"), with_head(t), 3)


def write_views(root):
    rng = np.random.default_rng(14)
    block = torch.from_numpy(rng.integers(-99, 99, (4, 7, 5)))
    pairs = {}

    def add(name, view):
        pairs[name + ".view"] = view
        pairs[name + ".copy"] = torch.empty_like(view, memory_format=torch.contiguous_format).copy_(view)

    for dtype in (torch.float32, torch.float16, torch.float64, torch.bool):
        b, kind = block.to(dtype), str(dtype).split(".")[1]
        add(kind + ".permuted", b.permute(2, 0, 1))
        add(kind + ".sliced", b[1:3, 1:7:3, 1:5:2])
        add(kind + ".transposed", b[3].t())
        add(kind + ".expanded", b[2, :, :1].expand(7, 3))
    add("row", block[2, 4])
    add("scalar", block[2, 4, 3])
    add("empty", block[:, :0])
    add("all-expanded", block[0, 0, 0].expand(3, 5))
    add("middle-expanded", block[:, :1].expand(4, 3, 5))
    add("overlapping", block.reshape(-1).as_strided((9, 7), (3, 5), 11))
    add("ones", block[:1, 3:4].permute(1, 0, 2))
    torch.save(pairs, os.path.join(root, "views.bin"))
    legacy(pairs, os.path.join(root, "views-legacy.bin"))


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.t() * 2.0


def write_script(path):
    """Without what tells debuggers where its source is, and the source's text."""
    torch.jit.script(Twice()).save(path)
    with zipfile.ZipFile(path) as z:
        entries = [(i.filename, z.read(i)) for i in z.infolist() if not i.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        for name, data in entries:
            z.writestr(zipfile.ZipInfo(name), data)


def legacy_module(value, path):
    """The form before zip has the source of a module's class in it, if it is found."""
    find, torch.serialization.get_source_lines_and_file = torch.serialization.get_source_lines_and_file, None
    legacy(value, path)
    torch.serialization.get_source_lines_and_file = find


def write_refused(root):
    folder = os.path.join(root, "refused")
    os.makedirs(folder)
    lines = []

    def add(name, words, write):
        write(os.path.join(folder, name))
        lines.append(name + "\t" + words)

    linear = torch.nn.Linear(2, 3)
    add("script.bin", "is a TorchScript program", write_script)
    add("module.bin", "torch.nn.modules.linear.Linear", lambda p: torch.save(linear, p))
    add("module-legacy.bin", "torch.nn.modules.linear.Linear", lambda p: legacy_module(linear, p))
    add("protocol4.bin", "as pickle_protocol=4 has them", lambda p: torch.save({"x": torch.zeros(3)}, p, pickle_protocol=4))
    with open(os.path.join(folder, "expected.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir")
    out = parser.parse_args().out_dir
    os.makedirs(out, exist_ok=True)
    for name in os.listdir(out):  # README.md stays
        path = os.path.join(out, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
    for name, dtype in TYPES.items():
        write_model(os.path.join(out, name), dtype)
    write_views(out)
    write_refused(out)


if __name__ == "__main__":
    sys.exit(main())
