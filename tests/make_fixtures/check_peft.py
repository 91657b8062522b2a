#!/usr/bin/env python3
"""Asks `peft` what it makes of an adapter directory.

usage: check_peft.py DIR BASE [--ids ID,ID,...]... [--merged MODEL] [--reference FIXTURE]

DIR holds adapter_config.json and adapter_model.safetensors, BASE is the model that it belongs to, both in Hugging Face format.
Loads BASE in float32, DIR over it with PeftModel.from_pretrained(), and prints

    what peft warns of; which names of the file it doesn't use, and which it wants and doesn't find
    for each --ids: the SHA-256 of all logits (little-endian float32), the largest five of the last place, and the log-probability of
    each token but the first

--merged MODEL   a model with the adapter merged into it: prints how far its logits are from those of BASE with DIR
--reference FIXTURE   a folder of tests/data/lora-fixtures: compares its logits with those of BASE with DIR, for all its cases

Exits with status 1 if peft has anything to say, a name doesn't fit, or the reference is missed by more than 1e-4 of its largest logit.

Needs transformers 5.24, peft 0.21 and torch.
"""
import argparse
import hashlib
import json
import os
import sys
import warnings

import numpy as np
import peft
import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4  # of the largest logit


def load_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def load_adapter(base, folder):
    """The model, and what there is to complain of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = peft.PeftModel.from_pretrained(load_model(base), folder).eval()
    said = [str(w.message) for w in caught if "`is_gradient_checkpointing`" not in str(w.message)]  # peft and transformers 5.24
    with safe_open(os.path.join(folder, "adapter_model.safetensors"), framework="pt") as f:
        stored = {n: f.get_tensor(n) for n in f.keys()}
    held = {n.replace(".default", ""): p.detach() for n, p in model.named_parameters() if "lora_" in n}
    said += ["not used: " + n for n in sorted(stored.keys() - held.keys())]
    said += ["not there: " + n for n in sorted(held.keys() - stored.keys())]
    said += ["other values: " + n for n in sorted(stored.keys() & held.keys()) if not torch.equal(stored[n].float(), held[n].float())]
    print("%d tensors, %d values" % (len(stored), sum(t.numel() for t in stored.values())))
    if not any(n.endswith(".lora_B.weight") and t.any() for n, t in stored.items()):
        print("every B is zero: the adapter changes nothing")
    return model, said


def logits_of(model, ids, mask=None):
    mask = torch.tensor(mask) if mask else torch.ones(len(ids), len(ids[0]), dtype=torch.long)
    with torch.no_grad():
        out = model(input_ids=torch.tensor(ids), attention_mask=mask).logits
    return out.masked_fill(mask.unsqueeze(-1) == 0, 0)


def show(model, ids):
    logits = logits_of(model, [ids])[0]
    top = logits[-1].topk(min(5, logits.shape[1]))
    logprobs = torch.log_softmax(logits[:-1].double(), -1).gather(1, torch.tensor(ids[1:], dtype=torch.long)[:, None])[:, 0]
    print("ids %s\n  sha256    %s" % (",".join(map(str, ids)), hashlib.sha256(logits.numpy().astype("<f4").tobytes()).hexdigest()))
    print("  last      %s" % "  ".join("%d: %.6f" % p for p in zip(top.indices.tolist(), top.values.tolist())))
    print("  logprobs  %s" % " ".join("%.6f" % x for x in logprobs))


def against_reference(model, folder):
    with open(os.path.join(folder, "reference.json"), encoding="utf-8") as f:
        cases, good = json.load(f)["cases"], True
    for c in cases:
        want = np.fromfile(os.path.join(folder, c["logits_file"]), "<f4").reshape(c["shape"])
        got = logits_of(model, c["input_ids"], c["attention_mask"]).numpy()
        if got.shape != want.shape:
            sys.exit("%s: the reference has logits of shape %s, BASE gives %s: is it the base that reference.json names?" % (
                folder, want.shape, got.shape))
        far = float(np.abs(got - want).max())
        bound = TOLERANCE * float(np.abs(want).max())
        good = good and far <= bound
        print("reference, padding %-5s  %.2g of at most %.2g" % (c["padding"], far, bound))
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir")
    parser.add_argument("base")
    parser.add_argument("--ids", action="append", default=[], help="tokens of one text")
    parser.add_argument("--merged", metavar="MODEL")
    parser.add_argument("--reference", metavar="FIXTURE")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    model, said = load_adapter(args.base, args.dir)
    print("\n".join(said) if said else "peft has nothing to say")
    merged = load_model(args.merged) if args.merged else None
    for text in args.ids:
        ids = [int(x) for x in text.split(",")]
        show(model, ids)
        if merged is not None:
            far = (logits_of(merged, [ids]) - logits_of(model, [ids])).abs().max()
            print("  merged    %.3g away" % float(far))
    good = against_reference(model, args.reference) if args.reference else True
    return 0 if good and not said else 1


if __name__ == "__main__":
    sys.exit(main())
