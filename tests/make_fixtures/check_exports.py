#!/usr/bin/env python3
"""Asks Hugging Face transformers what it makes of zo2's exports, and of the configurations that zo2 accepts.

usage: check_exports.py ZO2_PACK OPT_FIXTURES TINY_OPT_DIR

ZO2_PACK is the tool, beside which is zo2-tune, OPT_FIXTURES tests/data/opt-fixtures, TINY_OPT_DIR tests/data/tiny-opt. Four tables:

    exports   models saved by several classes, with and without heads, under several names, in mixed types: converted, exported,
              loaded with the Auto classes: no tensor missing, none too many, each with the source's own bits and type under the
              name that OPTForCausalLM gives it, and the logits bit for bit those of the original
    runs      a few steps of training: the export has the loss in transformers that zo2-tune finds, far from the loss before;
              what zo2-pack apply makes of its bundle are the same files
    files     chat template, generation settings and tokenizer of an export are those of the original
    configs   values of token ids and other keys: does transformers load such a model, does zo2-pack convert it?

Exits with status 1 if logits differ, or if zo2 refuses what transformers loads (but for unknown methods of quantisation, which it
skips with a warning) or the other way round without a reason given here.

Needs what requirements.txt beside this file lists.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import (AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, OPTForCausalLM, OPTForSequenceClassification,
                          OPTModel)
from transformers.utils import logging

faults = 0


def report(table, name, text, good):
    global faults
    faults += not good
    print(f"{table:8} {name:52} {text}{'' if good else '   <-- FAULT'}")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode == 0, done.stderr.strip()


def change(folder, **keys):
    """Sets keys of config.json; None removes one, the string "null" is null."""
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file)
    for key, value in keys.items():
        config.pop(key, None)
        if value is not None:
            config[key] = None if isinstance(value, str) and value == "null" else value
    with open(path, "w") as file:
        json.dump(config, file, indent=2)


def load(folder, cls=AutoModelForCausalLM):
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    return model.eval(), {k: v for k, v in info.items() if v}


def stored(folder):
    tensors = {}
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            tensors.update(load_file(os.path.join(folder, name)))
    return tensors


def canonical_name(name):
    return name if name == "lm_head.weight" else "model.decoder." + name.removeprefix("model.").removeprefix("decoder.")


def load_original(folder):
    """The weights by hand: transformers doesn't load all names that checkpoints come with, and gives no error."""
    config = AutoConfig.from_pretrained(folder)
    canonical = {canonical_name(n): t for n, t in stored(folder).items() if not n.endswith("version")}
    if config.tie_word_embeddings:
        canonical["lm_head.weight"] = canonical["model.decoder.embed_tokens.weight"]
    model = OPTForCausalLM(config).to(config.dtype or canonical["model.decoder.embed_tokens.weight"].dtype)
    model.load_state_dict(canonical)
    return model.eval()


def logits(model):
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(3, model.config.vocab_size, (2, 9), generator=generator)
    with torch.no_grad():
        return model(ids).logits


def export(zo2_pack, source, scratch, *options):
    pack, out = os.path.join(scratch, "m.zo2"), os.path.join(scratch, "out")
    for command in (("convert", source, pack, "--force"), ("export", pack, out, "--force", *options)):
        good, message = run(zo2_pack, *command)
        if not good:
            raise RuntimeError(message)
    return out


def check_export(zo2_pack, name, source, scratch, dtype=None, reference=None):
    """reference: the model to compare with; None: the source's weights in OPTForCausalLM."""
    out = export(zo2_pack, source, scratch, *(("--dtype", dtype) if dtype else ()))
    model, info = load(out)
    if reference is None:
        reference = load_original(source)
    reference = reference.to(model.dtype)
    same = torch.equal(logits(model), logits(reference))
    config = AutoConfig.from_pretrained(out)
    written = stored(out)
    kept = {model.dtype} | ({torch.float16, torch.bfloat16} if model.dtype == torch.float32 else set())
    true = config.architectures == ["OPTForCausalLM"] and type(model) is OPTForCausalLM and {t.dtype for t in written.values()} <= kept
    if not dtype:  # names of transformers, the source's own types and bits
        own = {canonical_name(n): t for n, t in stored(source).items()}
        true = true and all(n in own and own[n].dtype == t.dtype and torch.equal(own[n], t) for n, t in written.items())
        true = true and set(written) == {n for n, _ in model.named_parameters()}  # a tied head is no parameter of its own
    report("exports", name, f"{model.dtype}, logits {'equal' if same else 'DIFFER'}, loading info {info or 'empty'}",
           same and not info and true)


def exports(zo2_pack, fixtures, scratch):
    for name in sorted(os.listdir(fixtures)):
        if os.path.isdir(os.path.join(fixtures, name)):
            check_export(zo2_pack, name, os.path.join(fixtures, name), scratch)
    for dtype in ("fp32", "bf16"):
        check_export(zo2_pack, f"postnorm-proj-f16 as {dtype}", os.path.join(fixtures, "postnorm-proj-f16"), scratch, dtype)

    base = os.path.join(fixtures, "prenorm-f32")
    folder = os.path.join(scratch, "source")
    whole, _ = load(base)
    for cls in (OPTModel, OPTForSequenceClassification):  # weights under other names, heads that aren't exported
        cls.from_pretrained(base).save_pretrained(folder)
        check_export(zo2_pack, f"prenorm-f32 saved by {cls.__name__}", folder, scratch, reference=whole)
        shutil.rmtree(folder)
    for name in ("prenorm-f32", "postnorm-proj-f16"):  # a type that rounds the weights while they are loaded, one that widens them
        for dtype in ("float16", "bfloat16", "float32"):
            shutil.copytree(os.path.join(fixtures, name), folder)
            change(folder, torch_dtype=dtype)
            reference = load(os.path.join(fixtures, name))[0] if dtype != "float32" else None
            check_export(zo2_pack, f"{name} that says {dtype}", folder, scratch, reference=reference)
            shutil.rmtree(folder)
    shutil.copytree(base, folder)  # a tied head that is stored as well
    path = os.path.join(folder, "model.safetensors")
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.decoder.embed_tokens.weight"].clone()
    save_file(tensors, path, {"format": "pt"})
    check_export(zo2_pack, "prenorm-f32 with a stored tied head", folder, scratch, reference=whole)
    change(folder, tie_word_embeddings=False)
    check_export(zo2_pack, "the same, untied", folder, scratch)
    shutil.rmtree(folder)
    shutil.copytree(base, folder)
    for prefix in ("decoder.", "model.", ""):
        save_file({prefix + canonical_name(n).removeprefix("model.decoder."): t for n, t in load_file(os.path.join(base, "model.safetensors")).items()},
                  path, {"format": "pt"})
        check_export(zo2_pack, f'prenorm-f32 with names that begin "{prefix}"', folder, scratch)
    save_file({n: t.half() if "fc1" in n else t.bfloat16() if "norm" in n else t for n, t in load_file(os.path.join(base, "model.safetensors")).items()},
              path, {"format": "pt"})
    change(folder, torch_dtype="float32")
    check_export(zo2_pack, "prenorm-f32 in mixed types", folder, scratch)
    shutil.rmtree(folder)


def mean_loss(model, lines):
    """Over all tokens but the first of each line, as zo2-tune has it."""
    total = count = 0
    with torch.no_grad():
        for ids in lines:
            ids = torch.tensor([ids])
            scores = model(ids).logits[0, :-1].double()
            total += torch.nn.functional.cross_entropy(scores, ids[0, 1:], reduction="sum").item()
            count += ids.shape[1] - 1
    return total / count


def runs(zo2_pack, tiny, scratch):
    """A run whose steps are large, so that weights differ from the base model's in every digit that counts."""
    zo2_tune = os.path.join(os.path.dirname(zo2_pack), "zo2-tune")
    paths = {n: os.path.join(scratch, n) for n in ("t.zo2", "run", "lines.jsonl", "tuned", "run.zo2b", "applied")}
    generator = torch.Generator().manual_seed(3)
    lines = [torch.randint(4, 4096, (12 + i,), generator=generator).tolist() for i in range(8)]
    with open(paths["lines.jsonl"], "w") as file:
        file.writelines(json.dumps({"tokens": ids}) + "\n" for ids in lines)
    model, data = ("--model", paths["t.zo2"]), ("--data", paths["lines.jsonl"])

    def must(*command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    must(zo2_pack, "convert", os.path.join(tiny, "model"), paths["t.zo2"])
    must(zo2_tune, "train", *model, *data, "--run", paths["run"], "--steps", "40", "--lr", "1e-3", "--queries", "2", "--weight-decay", "0.1",
         "--batch", "8", "--clip", "5", "--quiet")
    must(zo2_pack, "export", paths["t.zo2"], paths["run.zo2b"], "--run", paths["run"], "--journal-only")
    before = mean_loss(load(os.path.join(tiny, "model"))[0].float(), lines)
    for step in ("20", "40"):
        options = ("--at-step", step, "--dtype", "fp32", "--force")
        must(zo2_pack, "export", paths["t.zo2"], paths["tuned"], "--run", paths["run"], *options)
        must(zo2_pack, "apply", paths["t.zo2"], paths["run.zo2b"], paths["applied"], *options)
        ours = json.loads(must(zo2_tune, "eval", *model, *data, "--run", paths["run"], "--at-step", step, "--json").splitlines()[-1])["eval_loss_fp32"]
        theirs = mean_loss(load(paths["tuned"])[0], lines)
        same = all(open(os.path.join(paths["tuned"], n), "rb").read() == open(os.path.join(paths["applied"], n), "rb").read()
                   for n in os.listdir(paths["tuned"]))
        report("runs", f"the loss after {step} steps", f"transformers {theirs:.6f}, zo2 {ours:.6f}, before {before:.6f}",
               abs(theirs - ours) < 1e-5 * ours and abs(theirs - before) > 1e-2)
        report("runs", "its bundle, applied", "the same files" if same else "OTHER files", same)


def files(zo2_pack, tiny, scratch):
    folder = os.path.join(scratch, "source")
    shutil.copytree(os.path.join(tiny, "model"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    GenerationConfig(max_new_tokens=7, temperature=0.5, do_sample=True).save_pretrained(folder)
    out = export(zo2_pack, folder, scratch)
    again = AutoTokenizer.from_pretrained(out)
    talk = [{"role": "user", "content": "An animal or a plant?"}]
    same = again.chat_template and again.apply_chat_template(talk, tokenize=False) == tokenizer.apply_chat_template(talk, tokenize=False)
    report("files", "chat template", "equal" if same else "LOST", bool(same))
    text = "</s>In the beginning\u00e9<pad> was 12,345"
    report("files", "tokenizer", "equal", again(text)["input_ids"] == tokenizer(text)["input_ids"])
    settings = GenerationConfig.from_pretrained(out)
    report("files", "generation settings", "equal", settings.max_new_tokens == 7 and settings.temperature == 0.5)
    shutil.rmtree(folder)


def configs(zo2_pack, tiny, scratch):
    folder = os.path.join(scratch, "source")
    # key, value, why zo2 may answer otherwise
    ids = [-1, 4095, 4096, 50265, -4097, "null", None, [2, 3], [50118, 2], [], 2.0, "2", True, 10**30]
    looser = "only newer releases check types"
    pad = "no pad is ever looked up here; convert warns"
    cases = [(key, v, pad if key == "pad_token_id" else looser)
             for key in ("bos_token_id", "eos_token_id", "pad_token_id") for v in ids]
    method = {"quant_method": "gptq", "bits": 4}
    cases += [("quantization_config", "null", ""), ("quantization_config", method, ""), ("quantization_config", {}, ""),
              ("quantization_config", {"load_in_8bit": True}, ""),
              ("quantization_config", {"quant_method": "none of them"}, "skipped there with a warning, and loaded unscaled"),
              ("compression_config", {"format": "float-quantized"}, "not looked at there any more"),
              ("model_type", None, ""), ("architectures", ["OPTModel"], ""), ("architectures", None, ""), ("x", 10**30, "")]
    for key, value, reason in cases:
        shutil.copytree(os.path.join(tiny, "model"), folder)
        change(folder, **{key: value})
        try:
            load(folder)
            there = "loads"
        except Exception as e:  # whatever it is: it doesn't load
            there = f"refuses ({type(e).__name__})"
        good, message = run(zo2_pack, "convert", folder, os.path.join(scratch, "c.zo2"), "--force")
        here = "converts" + (" with a warning" if "beyond the vocabulary" in message else "") if good else "refuses"
        shown = "(absent)" if value is None else "null" if value == "null" and isinstance(value, str) else json.dumps(value)
        agreed = (there == "loads") == good
        excused = reason and (good or key.startswith(("quant", "compression")))  # stricter there only
        report("configs", f"{key}: {shown}"[:52], f"transformers {there}, zo2 {here}{'' if agreed else ': ' + reason}",
               agreed or excused)
        shutil.rmtree(folder)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    zo2_pack, fixtures, tiny = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        exports(zo2_pack, fixtures, scratch)
        runs(zo2_pack, tiny, scratch)
        files(zo2_pack, tiny, scratch)
        configs(zo2_pack, tiny, scratch)
    print(f"{faults} faults")
    sys.exit(faults > 0)


main()
