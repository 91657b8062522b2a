#!/usr/bin/env python3
"""Make LoRA adapters as `peft` saves them, and the logits of the models that they change.

usage: make_lora_fixture.py DATA_DIR [NAME ...]

DATA_DIR is tests/data. Writes DATA_DIR/lora-fixtures/NAME/ for every entry of FIXTURES (or only those named); the base is
another fixture, named by its folder below DATA_DIR:

    adapter_config.json, adapter_model.safetensors   by PeftModel.save_pretrained()
    reference.json, logits-PADDING.f32               by the base with the adapter, in the format that make_opt_fixtures.py describes
    merged.safetensors, logits-merged.f32            small bases only: the tensors that a merged export changes, and the logits of
                                                     the merged model for the case without padding

Everything is seeded by the fixture's name. A and B are drawn in float64 and rounded once to float32; B is not zero, as it
would be before the first step. What is computed is what PeftModel.from_pretrained() makes of the folder, in float32 from the
weights as stored. Before a fixture is accepted the script also checks that
  * loading says nothing: no missing or unexpected key, no warning;
  * the formula y += alpha / r B (A x), applied by hand to the weights of the base, gives the same logits in float64, and so does
    peft's merge_and_unload();
  * left and right padding agree in float64;
  * doing without any single pair of A and B changes the logits visibly.

Needs transformers 5.24, peft 0.21 and torch.
"""
import argparse
import hashlib
import json
import os
import shutil
import sys
import warnings

import numpy as np
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

SENSITIVITY = 1e-3  # least change of a logit when one pair is left out
SAME = 1e-11  # float64 against float64, relative to the largest logit

# base     folder of the model below DATA_DIR
# config   LoraConfig arguments
# cases    "batches": the base's own cases, all logits; "prompts": one short text with all logits, and the log-probabilities
#          of the prompts of tiny-opt, a vocabulary being 16 KB a place
FIXTURES = {
    "tiny-opt-qv": dict(
        note="queries and values of all layers of the real model",
        base="tiny-opt/model", cases="prompts",
        config=dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])),
    "opt-all-one-layer": dict(
        note="every matrix of the second of two layers; alpha / r is no power of two",
        base="opt-fixtures/prenorm-f32", cases="batches",
        config=dict(r=3, lora_alpha=5, target_modules=["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
                    layers_to_transform=[1], layers_pattern="layers")),
    "llama-qv-down": dict(
        note="fewer heads of v than of q, no biases, bf16 base",
        base="decoder-fixtures/llama-gqa-tied", cases="batches",
        config=dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "down_proj"])),
}


def load_base(data, spec):
    return AutoModelForCausalLM.from_pretrained(os.path.join(data, spec["base"]), dtype=torch.float32).eval()


def draw(model, rng):
    """A as large as a fresh one; B so that an update is a visible part of what it is added to."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                z = torch.from_numpy(rng.standard_normal(tuple(p.shape)))
                p.copy_(z * (0.6 / p.shape[1] ** 0.5))


def save_adapter(data, spec, rng, folder):
    base = load_base(data, spec)
    config = peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **spec["config"])
    model = peft.get_peft_model(base, config)
    draw(model, rng)
    model.peft_config["default"].base_model_name_or_path = spec["base"]  # else a path of this machine
    model.save_pretrained(folder, save_embedding_layers=False)
    os.remove(os.path.join(folder, "README.md"))  # peft's model card: an empty form
    os.chmod(os.path.join(folder, "adapter_model.safetensors"), 0o644)
    assert sorted(os.listdir(folder)) == ["adapter_config.json", "adapter_model.safetensors"]


def load_adapter(data, spec, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`")  # between peft and transformers
        model = peft.PeftModel.from_pretrained(load_base(data, spec), folder).eval()
    stored = load_file(os.path.join(folder, "adapter_model.safetensors"))
    held = {n.replace(".default", ""): p.detach() for n, p in model.named_parameters() if "lora_" in n}
    assert held.keys() == stored.keys() and all(torch.equal(held[n], stored[n]) for n in held)
    return model, stored


def logits_of(model, case, dtype):
    model.to(dtype)
    mask = torch.tensor(case["attention_mask"])
    with torch.no_grad():
        out = model(input_ids=torch.tensor(case["input_ids"]), attention_mask=mask).logits
    assert torch.isfinite(out).all() and out.dtype == dtype
    return out.masked_fill(mask.unsqueeze(-1) == 0, 0)


def pairs(stored):
    """Name of the base's tensor -> (A, B)."""
    out = {}
    for name, a in stored.items():
        if name.endswith(".lora_A.weight"):
            stem = name[:-len("lora_A.weight")]
            out[stem.removeprefix("base_model.model.") + "weight"] = (a, stored[stem + "lora_B.weight"])
    assert 2 * len(out) == len(stored)
    return out


def by_hand(data, spec, chosen):
    """The base with alpha / r B A added to its matrices in float64."""
    model = load_base(data, spec).double()
    scale = spec["config"]["lora_alpha"] / spec["config"]["r"]
    params = dict(model.named_parameters())
    with torch.no_grad():
        for name, (a, b) in chosen.items():
            params[name].add_(scale * (b.double() @ a.double()))
    return model


def make_cases(data, spec):
    if spec["cases"] == "batches":
        with open(os.path.join(data, spec["base"], "reference.json"), encoding="utf-8") as f:
            return [{k: c[k] for k in ("padding", "input_ids", "attention_mask")} for c in json.load(f)["cases"]], []
    with open(os.path.join(data, os.path.dirname(spec["base"]), "reference.jsonl"), encoding="utf-8") as f:
        prompts = [c["input_ids"] for c in map(json.loads, f) if c["kind"] == "single" and len(c["input_ids"]) > 1]
    short = prompts[1][:5]
    return [{"padding": "none", "input_ids": [short], "attention_mask": [[1] * len(short)]}], prompts


def token_logprobs(model, ids):
    logits = logits_of(model, {"input_ids": [ids], "attention_mask": [[1] * len(ids)]}, torch.float32)[0]
    picked = torch.log_softmax(logits[:-1].double(), -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return [round(float(x), 6) for x in picked]


def check(data, spec, model, stored, cases):
    """What the module's text promises; cases have their float64 logits."""
    found = pairs(stored)

    def differ(other, case):
        return float((logits_of(other, case, torch.float64) - case["f64"]).abs().max())

    same = SAME * max(float(c["f64"].abs().max()) for c in cases)
    hand = by_hand(data, spec, found)
    assert all(differ(hand, c) < same for c in cases), [differ(hand, c) for c in cases]
    if len(cases) == 3:
        left, right = ([c["f64"][r][torch.tensor(c["attention_mask"][r]).bool()] for r in range(3)] for c in cases[1:])
        # the same three texts; angles of rotary positions are float32
        if spec["base"].startswith("opt"):
            assert max(float((a - b).abs().max()) for a, b in zip(left, right)) < same
    for name in found:
        changed = differ(by_hand(data, spec, {n: p for n, p in found.items() if n != name}), cases[-1])
        assert changed > SENSITIVITY, (name, changed)
    merged = model.to(torch.float64).merge_and_unload()
    assert all(differ(merged, c) < same for c in cases)
    return found


def merge(data, spec, found):
    """What a merged export has instead of the base's tensors, by name: the sum, rounded once to the type that the base is stored in;
    and the model made of it."""
    stored, folder = {}, os.path.join(data, spec["base"])
    for file in sorted(os.listdir(folder)):
        if file.endswith(".safetensors"):
            stored.update(load_file(os.path.join(folder, file)))
    whole = dict(by_hand(data, spec, found).named_parameters())
    merged = {n: whole[n].detach().to(stored[n].dtype).contiguous() for n in sorted(found)}
    model = load_base(data, spec)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n in merged:
                p.copy_(merged[n])
    return merged, model


def write_reference(folder, head, record, prompts):
    lines = ["  %s: %s," % (json.dumps(k), json.dumps(v)) for k, v in head.items()]
    body = ",\n".join("    {%s}" % ",\n     ".join("%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in c.items())
                      for c in record)
    tail = ",\n".join("    " + json.dumps(p) for p in prompts)
    with open(os.path.join(folder, "reference.json"), "w", encoding="utf-8") as f:
        f.write("{\n%s\n  \"cases\": [\n%s\n  ]%s\n}\n" % (
            "\n".join(lines), body, ",\n  \"prompts\": [\n%s\n  ]" % tail if prompts else ""))


def make(name, spec, data):
    folder = os.path.join(data, "lora-fixtures", name)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    save_adapter(data, spec, rng, folder)
    model, stored = load_adapter(data, spec, folder)
    cases, prompts = make_cases(data, spec)
    base, record = load_base(data, spec), []
    for case in cases:
        f32 = logits_of(model, case, torch.float32)
        case["f64"] = logits_of(model, case, torch.float64)
        file = "logits-%s.f32" % case["padding"]
        f32.numpy().astype("<f4").tofile(os.path.join(folder, file))
        record.append({**{k: v for k, v in case.items() if k != "f64"}, "logits_file": file, "shape": list(f32.shape),
                       "max_abs_logit": float(f32.abs().max()),
                       "max_abs_diff_float64": float((f32.double() - case["f64"]).abs().max()),
                       "max_abs_diff_base": float((f32 - logits_of(base, case, torch.float32)).abs().max())})
    model.to(torch.float32)
    prompts = [{"input_ids": ids, "token_logprobs": token_logprobs(model, ids)} for ids in prompts]
    found = check(data, spec, model, stored, cases)
    merged, model = merge(data, spec, found)
    for case, line in zip(cases, record):
        f32 = logits_of(model, case, torch.float32)
        line["max_abs_diff_merged"] = float((f32.double() - case["f64"]).abs().max())
        if spec["cases"] == "batches" and case["padding"] == "none":
            line["merged_logits_file"] = "logits-merged.f32"
            f32.numpy().astype("<f4").tofile(os.path.join(folder, line["merged_logits_file"]))
    if spec["cases"] == "batches":
        save_file(merged, os.path.join(folder, "merged.safetensors"), metadata={"format": "pt"})
        os.chmod(os.path.join(folder, "merged.safetensors"), 0o644)
    write_reference(folder, {"name": name, "note": spec["note"], "base": spec["base"], "peft": peft.__version__,
                             "transformers": transformers.__version__, "torch": torch.__version__}, record, prompts)
    return {"pairs": len(found), "params": sum(v.numel() for v in stored.values()), "record": record}


README = """# LoRA fixtures

Adapters as `peft` saves them, each with logits of its base with the adapter: the reference for low-rank products, for reading and
writing such folders, and for merging. The bases are other fixtures of this folder's neighbours; A and B are noise.

Made by `tests/make_fixtures/make_lora_fixture.py` with peft {peft}, transformers {transformers} and torch {torch}, on the CPU in
float32 from the weights as stored; what the script checks beyond that is in its text.

Licence: made by this project, Apache-2.0.

| name | base | r / alpha | targets | layers | what else | pairs | parameters | float32 - float64 | adapter - base |
|---|---|---|---|---|---|---:|---:|---:|---:|
{rows}

## Format

`NAME/adapter_config.json` and `NAME/adapter_model.safetensors` are peft's own, but for `base_model_name_or_path`, which is the folder of the base below
`tests/data`. `NAME/reference.json`:

* `cases` and their `logits_file`: as in `opt-fixtures`, with the adapter beside the frozen matrices. `max_abs_diff_base`: what the adapter
  changes at most. `max_abs_diff_merged`: how far the merged model, its matrices rounded to the type of the base, is from that in float64.
  `merged_logits_file`: the merged model's own logits.
* `prompts` (`tiny-opt-qv`): `token_logprobs[i]` is the log-probability of `input_ids[i + 1]` after those before it.

`NAME/merged.safetensors` (small bases): the matrices that the adapter changes, under the base's names; alpha / r B A is added in
float64 and the sum rounded once to the type of the base. Another order of summing may differ in the last bit of that type.

## What peft goes by

* A tensor's name is `base_model.model.`, the module's name in `transformers`, and `.lora_A.weight` [r, columns] or `.lora_B.weight` [rows, r]:
  `base_model.model.model.decoder.layers.0.self_attn.q_proj.lora_A.weight`. The module's name is that of the class, whatever prefix
  the base's files have: `model.decoder.layers.` for OPT, `model.layers.` for LLaMA and its kin. Any float type; float32 here.
* `adapter_config.json` needs `peft_type` (`"LORA"`), `r`, `lora_alpha` and `target_modules`. `task_type` (`"CAUSAL_LM"`) and
  `base_model_name_or_path` are what `AutoPeftModelForCausalLM` finds the base by. Without `layers_to_transform`, a list of numbers, every module
  whose name ends in one of `target_modules` is a target. A target without its pair in the file is missing: peft warns and leaves B zero.
  All other keys may be left out.
* The product is `lora_alpha / r` B (A x); `use_rslora` would change the factor, `fan_in_fan_out` the way round.

Regenerating on another processor may change the last bits of the logits, not the adapters; the order of `target_modules` is that of a
Python set.
"""


def table_row(name, spec, done):
    c = spec["config"]
    cells = ["`%s`" % name, "`%s`" % spec["base"], "%d / %d" % (c["r"], c["lora_alpha"]), ", ".join(c["target_modules"]),
             ", ".join(map(str, c.get("layers_to_transform", []))) or "all", spec["note"], str(done["pairs"]),
             "{:,}".format(done["params"])]
    cells += ["%.1e" % max(r[k] for r in done["record"]) for k in ("max_abs_diff_float64", "max_abs_diff_base")]
    return "| " + " | ".join(cells) + " |"


def main():
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir")
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
        done = make(name, FIXTURES[name], args.data_dir)
        rows.append(table_row(name, FIXTURES[name], done))
        print(rows[-1])
    if not args.names:
        with open(os.path.join(args.data_dir, "lora-fixtures", "README.md"), "w", encoding="utf-8") as f:
            f.write(README.format(peft=peft.__version__, transformers=transformers.__version__, torch=torch.__version__,
                                  rows="\n".join(rows)))


if __name__ == "__main__":
    sys.exit(main())
