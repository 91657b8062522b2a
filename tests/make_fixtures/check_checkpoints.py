#!/usr/bin/env python3
"""Compare what zo2-pack convert makes of odd checkpoints with what Hugging Face transformers loads.

usage: check_checkpoints.py OPT_FIXTURES ZO2_PACK

OPT_FIXTURES is tests/data/opt-fixtures, ZO2_PACK the program. One model is stored in many ways: with foreign buffers, wrong and
incomplete indexes, duplicates, names of wrapped models. Prints a row for each: what transformers loads ("all" of the model's
weights, "other" weights than the plain checkpoint's, "some": the rest is random, or "nothing": an error), and whether zo2-pack
makes the plain checkpoint's pack ("same"), another, or refuses. Exit status 1 unless

- what transformers loads whole makes the same pack, and
- nothing makes another one.

The exceptions, with their reasons, are in REFUSED. Needs transformers, torch and safetensors.
"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings

import torch
import transformers
from safetensors.torch import load_file
from transformers import OPTForCausalLM

REFUSED = {
    "fp16 weights with scales": "what is loaded means nothing without the scales",
    "tied head, stored and different": "one of the two would be lost; the message says what to set",
}


def stored(tensors):
    return {name: ("F32", list(t.shape), t.contiguous().numpy().tobytes()) for name, t in tensors.items()}


def write(path, tensors, metadata="absent"):
    header, data = {}, b""
    if metadata != "absent":
        header["__metadata__"] = metadata
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


class Cases:
    """Each method writes one checkpoint into `dir`; `plain` has the model's tensors."""

    def __init__(self, plain, directory):
        self.plain, self.dir = plain, directory
        self.names = sorted(plain)
        half = len(self.names) // 2
        self.halves = [{n: plain[n] for n in part} for part in (self.names[:half], self.names[half:])]

    def path(self, name):
        return os.path.join(self.dir, name)

    def single(self, more=(), metadata="absent", rename=lambda n: n, drop=()):
        tensors = {rename(n): t for n, t in stored(self.plain).items() if n not in drop}
        tensors.update(more)
        write(self.path("model.safetensors"), tensors, metadata)

    def shards(self, more=(), total={"total_size": 1}, change=lambda m: m, files=("m-1.safetensors", "m-2.safetensors")):
        weight_map = {}
        for part, file in zip(self.halves, files):
            write(self.path(file), stored(part))
            weight_map.update((n, file) for n in part)
        weight_map.update(more)
        index = {"weight_map": change(weight_map)}
        if total != "absent":
            index["metadata"] = total
        with open(self.path("model.safetensors.index.json"), "w", encoding="utf-8") as f:
            json.dump(index, f)

    def duplicate(self, add):
        self.shards()
        first = self.names[0]
        both = stored(self.halves[1])
        both.update(stored({first: self.plain[first] + add}))
        write(self.path("m-2.safetensors"), both)

    def all(self):
        yield "plain", self.single
        for text, value in (("null", None), ("{}", {})):
            yield "__metadata__ " + text, lambda value=value: self.single(metadata=value)
        eight = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
                 "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "I64": 64, "U64": 64, "F64": 64, "C64": 64}
        for dtype, size in eight.items():
            yield "a buffer of " + dtype, lambda d=dtype, n=size: self.single({"buffer": (d, [8], b"\0" * n)})
        yield "a buffer of six dimensions", lambda: self.single({"buffer": ("F32", [1] * 6, b"\0" * 4)})
        yield "a scalar and an empty buffer", lambda: self.single({"s": ("F32", [], b"\0" * 4), "e": ("F32", [0, 3], b"")})
        yield "a tied head in the index only", lambda: self.shards({"lm_head.weight": "m-2.safetensors"})
        yield "an entry of nothing", lambda: self.shards({"nothing": "m-1.safetensors"})
        yield "an entry in a missing file", lambda: self.shards({"nothing": "m-3.safetensors"})
        yield "the map says the wrong file", lambda: self.shards({self.names[0]: "m-2.safetensors"})
        yield "total_size is a text", lambda: self.shards(total={"total_size": "x"})
        yield "the index has no metadata", lambda: self.shards(total="absent")
        yield "the index's metadata is null", lambda: self.shards(total=None)
        yield "a tensor that isn't in the map", lambda: self.shards(
            change=lambda m: {n: f for n, f in m.items() if n != self.names[0]})
        yield "a file that isn't in the map", lambda: self.shards(
            change=lambda m: {n: f for n, f in m.items() if f == "m-1.safetensors"})
        yield "a tensor in both files, the same", lambda: self.duplicate(0)
        yield "a tensor in both files, different", lambda: self.duplicate(1)
        yield "a single file and shards", lambda: (self.shards(), self.single())
        yield "shards without an index", lambda: (
            self.shards(files=("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")),
            os.remove(self.path("model.safetensors.index.json")))
        for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "transformer.", "base_model.model.", "model."):
            yield "names with " + prefix, lambda p=prefix: self.single(rename=lambda n: p + n)
        yield "names without model.", lambda: self.single(rename=lambda n: n.replace("model.decoder", "decoder"))
        yield "names without model.decoder.", lambda: self.single(rename=lambda n: n.replace("model.decoder.", ""))
        bias = "model.decoder.layers.1.self_attn.k_proj.bias"
        yield "a missing bias", lambda: self.single(drop=(bias,))
        yield "a bias under two names", lambda: self.single({bias.replace("model.", ""): stored(self.plain)[bias]})
        embedding = "model.decoder.embed_tokens.weight"
        yield "the embedding as the head only", lambda: self.single(
            rename=lambda n: "lm_head.weight" if n == embedding else n)
        yield "tied head, stored and different", lambda: self.single(stored({"lm_head.weight": self.plain[embedding] + 1}))
        scale = "model.decoder.layers.0.fc1.weight_scale"
        yield "fp16 weights with scales", lambda: self.single({scale: ("F32", [], b"\0" * 4)})


def by_transformers(directory, want):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, info = OPTForCausalLM.from_pretrained(directory, output_loading_info=True)
    except Exception:  # whatever it raises, it loads nothing
        return "nothing"
    if info["missing_keys"]:
        return "some"
    have = model.state_dict()
    return "all" if set(have) == set(want) and all(torch.equal(have[n], want[n]) for n in want) else "other"


def by_zo2(program, directory, pack):
    done = subprocess.run([program, "convert", directory, pack, "--force"], capture_output=True, text=True, check=False)
    hashes = re.search(r"model hash (0x[0-9a-f]+)", done.stdout)
    return hashes.group(1) if done.returncode == 0 and hashes else None


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    fixture, program = os.path.join(sys.argv[1], "prenorm-f32"), sys.argv[2]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    plain = load_file(os.path.join(fixture, "model.safetensors"))
    want = OPTForCausalLM.from_pretrained(fixture).state_dict()
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        directory, pack = os.path.join(work, "model"), os.path.join(work, "out.zo2")
        same = by_zo2(program, fixture, pack)
        print("%-36s %-14s %s" % ("checkpoint", "transformers", "zo2-pack"))
        for name, make in Cases(plain, directory).all():
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)
            shutil.copy(os.path.join(fixture, "config.json"), directory)
            make()
            theirs, ours = by_transformers(directory, want), by_zo2(program, directory, pack)
            text = "same" if ours == same else "another" if ours else "refused"
            wrong = text == "another" or (theirs == "all" and text != "same" and name not in REFUSED)
            bad += wrong
            print("%-36s %-14s %s%s" % (name, theirs, text, "   WRONG" if wrong else ""))
    sys.exit(bad > 0)


main()
