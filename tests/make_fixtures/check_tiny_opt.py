#!/usr/bin/env python3
"""Compare the tiny OPT model's reference values with Hugging Face transformers.

usage: check_tiny_opt.py TINY_OPT_DIR

TINY_OPT_DIR is tests/data/tiny-opt. Runs OPTForCausalLM in float32 on the prompts and batches of reference.jsonl, the
tokenizer on tokenizer_kat.jsonl, and the scores of reference_metrics.json; prints the greatest absolute difference of each
kind and exits with status 1 if one is beyond what rounding explains.

Needs what requirements.txt beside this file lists.
"""
import argparse
import json
import os
import sys

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer, OPTForCausalLM, PreTrainedTokenizerFast

LOGIT_TOLERANCE = 1e-4  # reference.jsonl records up to 2.7e-5 between float32 and float64
L2_TOLERANCE = 1e-3  # norms of 4,096 logits, stored with 4 decimals


def read_jsonl(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


class Worst:
    """Greatest difference seen of each kind."""

    def __init__(self):
        self.seen = {}

    def add(self, kind, tolerance, got, want):
        diff = float(np.max(np.abs(np.asarray(got, float) - np.asarray(want, float)))) if len(want) else 0.0
        self.seen[kind] = (max(diff, self.seen.get(kind, (0.0,))[0]), tolerance)

    def report(self):
        for kind, (diff, tolerance) in self.seen.items():
            print("%-36s %.3g%s" % (kind, diff, "" if diff <= tolerance else "   beyond %g" % tolerance))
        return all(diff <= tolerance for diff, tolerance in self.seen.values())


def logits_of(model, ids, mask):
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits


def check_row(worst, kind, logits, ids, mask, want):
    real = [i for i, m in enumerate(mask) if m]
    logp = torch.log_softmax(logits, -1)
    worst.add(kind + " token_logprobs", LOGIT_TOLERANCE,
              [logp[a, ids[b]].item() for a, b in zip(real, real[1:])], want["token_logprobs"])
    top = torch.tensor(want["top10_ids"])
    worst.add(kind + " top10_logits", LOGIT_TOLERANCE, logits[real[-1]][top].tolist(), want["top10_logits"])
    worst.add(kind + " logits_l2", L2_TOLERANCE, [logits[r].double().norm().item() for r in real], want["logits_l2"])


def option_scores(model, tok, prompt, options):
    """Mean log-probability of each option's tokens after the prompt, all options in one right-padded batch."""
    head = tok(prompt).input_ids
    full = [tok(prompt + o).input_ids for o in options]
    longest = max(map(len, full))
    ids = [f + [1] * (longest - len(f)) for f in full]
    mask = [[1] * len(f) + [0] * (longest - len(f)) for f in full]
    logp = torch.log_softmax(logits_of(model, ids, mask), -1)
    return [float(np.mean([logp[r, i - 1, f[i]] for i in range(len(head), len(f))])) for r, f in enumerate(full)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tiny_opt_dir")
    root = parser.parse_args().tiny_opt_dir
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print("transformers %s, torch %s" % (transformers.__version__, torch.__version__))

    model_dir = os.path.join(root, "model")
    model = OPTForCausalLM.from_pretrained(model_dir).eval().float()
    worst, last = Worst(), []
    for case in read_jsonl(os.path.join(root, "reference.jsonl")):
        if case["kind"] == "single":
            logits = logits_of(model, [case["input_ids"]], [case["attention_mask"]])[0]
            last.append(logits[-1].numpy())
            check_row(worst, "single", logits, case["input_ids"], case["attention_mask"], case)
        else:
            logits = logits_of(model, case["input_ids"], case["attention_mask"])
            for r, want in enumerate(case["rows"]):
                check_row(worst, case["padding"] + "-padded", logits[r], case["input_ids"][r],
                          case["attention_mask"][r], want)
    want = np.load(os.path.join(root, "reference_last_logits.npy"))
    assert want.shape == np.shape(last)
    worst.add("reference_last_logits.npy", LOGIT_TOLERANCE, last, want)

    slow = AutoTokenizer.from_pretrained(model_dir, use_fast=False)
    fast = PreTrainedTokenizerFast(tokenizer_file=os.path.join(model_dir, "tokenizer.json"))
    known = read_jsonl(os.path.join(root, "tokenizer_kat.jsonl"))
    for kind, tok in (("vocab.json + merges.txt", slow), ("tokenizer.json", fast)):
        worst.add("wrong of %d known answers, %s" % (len(known), kind), 0,
                  [sum(tok(k["text"]).input_ids != k["ids"] for k in known)], [0])

    with open(os.path.join(root, "reference_metrics.json"), encoding="utf-8") as f:
        metrics = json.load(f)
    want = metrics["wordnet_kind.dev"]["option_scores_first_50"]
    examples = read_jsonl(os.path.join(root, "data", "wordnet_kind.dev.jsonl"))[:len(want)]
    got = [option_scores(model, slow, e["prompt"], e["options"]) for e in examples]
    worst.add("option scores, wordnet_kind.dev", LOGIT_TOLERANCE, got, want)
    return 0 if worst.report() else 1


if __name__ == "__main__":
    sys.exit(main())
