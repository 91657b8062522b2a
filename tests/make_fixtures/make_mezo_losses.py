#!/usr/bin/env python3
"""Writes the losses of a MeZO run by PyTorch and Hugging Face transformers that follows zo2's perturbations and data order.

usage: make_mezo_losses.py TINY_OPT_DIR PACK LIBZO2 ZO2_PACK OUT [--steps N] [--seed N]

TINY_OPT_DIR is tests/data/tiny-opt, PACK its model converted with zo2-pack, LIBZO2 the shared library, ZO2_PACK the tool.
From zo2 come only the noise (zo2_noise_fill), the order of tensors (zo2-pack info) and, made of the noise, the order of
examples (tools/text/order.h). Model, tokenizer, losses, gradient estimate and update are PyTorch's, in float32:

    loss = cross entropy over the options' mean token log-probabilities, mean over the batch (16 examples)
    g = (loss(W + eps z) - loss(W - eps z)) / (2 eps); W = W - lr g z; eps 1e-3, lr 1e-4, z Gaussian

OUT gets a line of two losses, + and -, for every step. At the end the accuracy on the test file is printed. Needs what
requirements.txt beside this file lists. About 25 minutes for 2,000 steps on one core.
"""
import argparse
import ctypes
import json
import os
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoTokenizer, OPTForCausalLM

EPS, LR, BATCH = 1e-3, 1e-4, 16
GAUSSIAN, RADEMACHER = 1, 2
ORDER_TENSOR = 0xFFFFFFFF
PAD = 1


class Noise:
    def __init__(self, path, seed):
        self.fill = ctypes.CDLL(os.path.abspath(path)).zo2_noise_fill
        self.fill.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32,
                              ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int]
        self.seed = seed

    def __call__(self, step, tensor, first, n, dist):
        z = np.empty(n, np.float32)
        assert self.fill(z.ctypes.data, self.seed, step, 0, tensor, first, n, dist) == 0
        return z


def epoch_order(noise, epoch, n):
    """Fisher-Yates as tools/text/order.h has it."""
    def words():
        first = 0
        while True:
            bits = noise(epoch, ORDER_TENSOR, first, 64 * 256, RADEMACHER).reshape(256, 64) < 0
            first += 64 * 256
            yield from (sum(int(b) << j for j, b in enumerate(row)) for row in bits)

    word, order = words(), list(range(n))
    for i in range(n - 1, 0, -1):
        fair = 2**64 - 2**64 % (i + 1)
        w = next(word)
        while w >= fair:
            w = next(word)
        j = w % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def read(path, tok):
    """(tokens of the prompt, [tokens of each option], label) of every line."""
    out = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            e = json.loads(line)
            head = tok(e["prompt"]).input_ids
            out.append((head, [tok(o, add_special_tokens=False).input_ids for o in e["options"]], e["label"]))
    return out


def scores(model, examples):
    """[examples][options]: mean log-probability of each option's tokens. One right-padded row for every option."""
    rows = [(head, option) for head, options, _ in examples for option in options]
    longest = max(len(h) + len(o) for h, o in rows)
    ids = torch.tensor([h + o + [PAD] * (longest - len(h) - len(o)) for h, o in rows])
    mask = torch.tensor([[1] * (len(h) + len(o)) + [0] * (longest - len(h) - len(o)) for h, o in rows])
    logp = torch.log_softmax(model(input_ids=ids, attention_mask=mask).logits[:, :-1], -1)
    logp = logp.gather(2, ids[:, 1:, None])[..., 0]
    means = [logp[r, len(h) - 1:len(h) + len(o) - 1].mean() for r, (h, o) in enumerate(rows)]
    return torch.stack(means).view(len(examples), -1)


def loss(model, examples):
    return F.cross_entropy(scores(model, examples), torch.tensor([e[2] for e in examples])).item()


def accuracy(model, examples):
    right = 0
    for i in range(0, len(examples), 50):
        part = examples[i:i + 50]
        right += int((scores(model, part).argmax(1) == torch.tensor([e[2] for e in part])).sum())
    return right / len(examples)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("tiny_opt_dir", "pack", "libzo2", "zo2_pack", "out"):
        p.add_argument(name)
    p.add_argument("--steps", type=int, default=2000)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)

    model_dir, data_dir = os.path.join(a.tiny_opt_dir, "model"), os.path.join(a.tiny_opt_dir, "data")
    model = OPTForCausalLM.from_pretrained(model_dir).eval().float()
    tok = AutoTokenizer.from_pretrained(model_dir, use_fast=False)
    train = read(os.path.join(data_dir, "wordnet_kind.train.jsonl"), tok)
    info = subprocess.run([a.zo2_pack, "info", a.pack, "--json", "--tensors"], check=True, capture_output=True).stdout
    canonical = {t["name"]: i for i, t in enumerate(json.loads(info)["tensor_list"])}
    noise = Noise(a.libzo2, a.seed)
    # the pack's names are those of the checkpoint; position rows 0 and 1, which transformers keeps, are in it too
    tensors = [(canonical[name], w) for name, w in model.named_parameters()]
    assert len(tensors) == len(canonical)
    master = [w.clone() for _, w in tensors]

    orders = {}

    def batch(step):
        out = []
        for at in range(step * BATCH, (step + 1) * BATCH):
            epoch = at // len(train)
            if epoch not in orders:
                orders[epoch] = epoch_order(noise, epoch, len(train))
            out.append(train[orders[epoch][at % len(train)]])
        return out

    with open(a.out, "w", encoding="ascii") as f:
        for step in range(a.steps):
            z = [torch.from_numpy(noise(step, i, 0, w.numel(), GAUSSIAN)).view_as(w) for i, w in tensors]
            examples, pair = batch(step), []
            for sign in (1, -1):
                for (_, w), m, zi in zip(tensors, master, z):
                    torch.add(m, zi, alpha=sign * EPS, out=w.data)
                pair.append(loss(model, examples))
            g = (pair[0] - pair[1]) / (2 * EPS)
            for m, zi in zip(master, z):
                m.add_(zi, alpha=-LR * g)
            f.write("%.9g %.9g\n" % tuple(pair))
            if step % 100 == 99:
                print("step %d" % (step + 1), flush=True)
    for (_, w), m in zip(tensors, master):
        w.data.copy_(m)
    print("accuracy %.1f %%" % (100 * accuracy(model, read(os.path.join(data_dir, "wordnet_kind.test.jsonl"), tok))))


if __name__ == "__main__":
    sys.exit(main())
