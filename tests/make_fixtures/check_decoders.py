#!/usr/bin/env python3
"""Asks Hugging Face transformers what it makes of LLaMA-like models that zo2 wrote.

usage: check_decoders.py ZO2_PACK DECODER_FIXTURES

ZO2_PACK is the tool, DECODER_FIXTURES tests/data/decoder-fixtures. Of every fixture:

    export   converted, exported, loaded with the Auto classes: no tensor missing, none too many, and the logits bit for
             bit those of the original
    synth    a pack of random weights for its config.json, exported: loads, without a tensor missing or too many, and its
             configuration means the same

Exits with status 1 if anything differs. Needs transformers 5.24 and torch.
"""
import os
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging


def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    return model.eval(), {k: v for k, v in info.items() if v}


def meaning(config):
    """What the model is made from: not who wrote it, its type, or keys that its class doesn't know."""
    known = {k: v for k, v in config.to_dict().items() if k in type(config)().to_dict()}
    for key in ("dtype", "torch_dtype", "transformers_version", "architectures", "_name_or_path", "layer_types", "max_window_layers"):
        known.pop(key, None)
    rope = {k: v for k, v in known.pop("rope_parameters").items() if k != "type"}
    return known, rope


def close(a, b):
    return a == b or (isinstance(a, float) and abs(a - b) <= 1e-12 * abs(a))


def same(a, b):
    (x, rope_x), (y, rope_y) = meaning(a), meaning(b)
    if rope_x["rope_type"] == "yarn":  # attention_factor stands for what it is made from, defaults are written out
        keys = ("factor", "original_max_position_embeddings", "rope_theta", "rope_type")
        rope_x, rope_y = ({k: r[k] for k in keys} for r in (rope_x, rope_y))
    if x.get("sliding_window") is None and "sliding_window" in x:
        y["sliding_window"] = None
    x.pop("head_dim", None), y.pop("head_dim", None)  # derived or written out: the shapes of tensors tell
    return x == y and rope_x.keys() == rope_y.keys() and all(close(rope_x[k], rope_y[k]) for k in rope_x)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[2])
    tool, fixtures = sys.argv[1:]
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    faults = 0
    ids = torch.arange(9).reshape(1, 9)
    for name in sorted(n for n in os.listdir(fixtures) if os.path.isdir(os.path.join(fixtures, n))):
        source = os.path.join(fixtures, name)
        with tempfile.TemporaryDirectory() as temp:
            pack, out, synth, random = (os.path.join(temp, n) for n in ("a.zo2", "a", "b.zo2", "b"))
            subprocess.run([tool, "convert", source, pack], check=True, capture_output=True)
            subprocess.run([tool, "export", pack, out], check=True, capture_output=True)
            subprocess.run([tool, "synth", os.path.join(source, "config.json"), synth], check=True, capture_output=True)
            subprocess.run([tool, "export", synth, random], check=True, capture_output=True)
            (original, _), (exported, info), (drawn, more) = load(source), load(out), load(random)
            with torch.no_grad():
                equal = torch.equal(original(ids).logits, exported(ids).logits)
            meant = same(original.config, drawn.config)
        good = equal and not info and not more and meant
        faults += not good
        print(f"{name:26} logits {'the same' if equal else 'DIFFER'}, configuration {'the same' if meant else 'DIFFERS'}"
              f"{'' if not info and not more else f', {info} {more}'}")
    return faults != 0


if __name__ == "__main__":
    sys.exit(main())
