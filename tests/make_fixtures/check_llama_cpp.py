#!/usr/bin/env python3
"""Have llama.cpp itself load what `zo2-pack export --gguf` writes, and compare what it makes of it.

usage: check_llama_cpp.py BIN_DIR [MODEL.gguf]

BIN_DIR holds zo2-pack and zo2-tune, ../lib libzo2.so. Of every model in tests/data/decoder-fixtures, of small random ones with the
tokenizers in tests/data/tokenizers, of these after a few steps, and of MODEL.gguf, if one is named:
  * log-probabilities of tokens by llama.cpp and by zo2 of the same file converted again, where matrices are fp32 (a copy of the file: then
    llama.cpp computes in fp32) to 2e-4; and the mean loss of the file itself, for which llama.cpp rounds activations, to 0.05;
  * after a run, the loss of that file, and of zo2-tune eval --run;
  * the ids of 2,000 lines of Unicode, against the hashes in unicode.json;
  * conversations, as llama.cpp's server renders and tokenises them, against jinja2 and the tokenizers package.
What is known to differ is counted apart: llama.cpp composes no characters (NFC), trims no spaces but ASCII's, leaves out empty
reasoning, tells Llama-3.1 the day, and puts a BOS in front whatever the template says. Works in a temporary folder (3 GB with a model of 135 million weights); a minute and, with that model, three.

Needs xllamacpp, gguf, tokenizers, jinja2, numpy.
"""
import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
import urllib.request

import gguf
import jinja2.sandbox
import llama_cpp
import numpy as np
import tokenizers
import xllamacpp

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
TYPES = ("f16", "bf16", "q8_0")
EXACT, ROUNDED = 2e-4, 0.05
SPACES = " \t\n\r\v\f"
rng = random.Random(20)
failures = 0


def verdict(good):
    global failures
    failures += not good
    return "" if good else "  FAILED"


def run(program, *arguments):
    r = subprocess.run([os.path.join(BIN, program), *arguments], capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(f"{program} {' '.join(arguments)}:\n{r.stdout}{r.stderr}")
    return r.stdout


# ---- zo2's log-probabilities, by the public interface --------------------------------------------------------------------------

U32, U64, I32, F64, POINTER, SIZE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32, ctypes.c_double, ctypes.c_void_p, ctypes.c_size_t


class EngineOpts(ctypes.Structure):  # the first fields of zo2_engine_opts, as an older header would have them
    _fields_ = [("struct_size", SIZE), ("seed", U64), ("seed_set", I32), ("lr", F64), ("schedule", I32), ("warmup", U64),
                ("total_steps", U64), ("eps", F64), ("weight_decay", F64), ("clip", F64), ("dist", I32), ("queries", U32), ("pending", I32),
                ("micro_batch", U32), ("wire", I32), ("compute", I32), ("backend", I32), ("max_rows", U32), ("max_rows_micro", U32),
                ("max_seq", U32), ("max_loss_tokens", U64), ("device_bytes", U64), ("host_bytes", U64), ("threads", U32),
                ("chunk_bytes", U64), ("snapshot_seconds", F64), ("snapshot_dir", POINTER), ("resume", I32), ("at_step", ctypes.c_int64),
                ("read_only", I32)]


class ZoBatch(ctypes.Structure):
    _fields_ = [("struct_size", SIZE), ("rows", U32), ("seq", U32), ("tokens", POINTER), ("mask", POINTER), ("loss", POINTER),
                ("examples", U32), ("example", POINTER), ("label", POINTER), ("data_position", U64)]


class Scores(ctypes.Structure):
    _fields_ = [("struct_size", SIZE), ("loss", F64), ("sum_nll", F64), ("loss_tokens", U64), ("tokens", U64), ("sum_loss", F64),
                ("correct", U64), ("examples", U64), ("logprobs", POINTER), ("row_scores", POINTER), ("nonfinite", U64)]


def ours(pack, rows):
    lib = ctypes.CDLL(os.path.join(BIN, "..", "lib", "libzo2.so"))
    lib.zo2_last_error.restype = ctypes.c_char_p
    o, engine, out = EngineOpts(), POINTER(), []
    lib.zo2_engine_opts_init_sized(ctypes.byref(o), SIZE(ctypes.sizeof(o)))
    o.read_only, o.max_rows, o.max_seq, o.backend = 1, 1, max(map(len, rows)), 1
    if lib.zo2_engine_open(ctypes.byref(engine), pack.encode(), None, ctypes.byref(o)):
        raise RuntimeError(lib.zo2_last_error())
    for ids in rows:
        tokens, loss, logprobs = np.array(ids, np.int32), np.ones(len(ids), np.uint8), np.zeros(len(ids) - 1, np.float32)
        loss[0] = 0
        batch = ZoBatch(ctypes.sizeof(ZoBatch), 1, len(ids), tokens.ctypes.data, None, loss.ctypes.data)
        scores = Scores(struct_size=ctypes.sizeof(Scores), logprobs=logprobs.ctypes.data)
        if lib.zo2_forward(engine, ctypes.byref(batch), 1, ctypes.byref(scores)):
            raise RuntimeError(lib.zo2_last_error())
        out.append(logprobs.astype(np.float64))
    lib.zo2_engine_close(engine)
    return out


# ---- logits ----------------------------------------------------------------------------------------------------------------------


def copy_f32(source, to):
    """The same file with all tensors as F32."""
    r = gguf.GGUFReader(source)
    w = gguf.GGUFWriter(to, r.fields["general.architecture"].contents())
    for name, f in r.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            of = f.types[1] if f.types[0] == gguf.GGUFValueType.ARRAY else None
            w.add_key_value(name, 0 if name == "general.file_type" else f.contents(), f.types[0], of)
    for t in r.tensors:
        values = gguf.dequantize(t.data, t.tensor_type).astype(np.float32)
        w.add_tensor(t.name, values.reshape([int(n) for n in reversed(t.shape)]))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def compare(label, pack, rows, *of_run, loss=None):
    """Exports of each type. loss: zo2-tune's, which these ought to have to what rounding the weights changes."""
    for kind in TYPES:
        run("zo2-pack", "export", pack, "m.gguf", "--gguf", kind, "--force", *of_run)
        run("zo2-pack", "convert", "m.gguf", "again.zo2", "--force")
        copy_f32("m.gguf", "f32.gguf")
        want, longest = ours("again.zo2", rows), max(map(len, rows))
        with llama_cpp.Model("f32.gguf", longest) as m:
            exact, warnings = [m.logprobs(r) for r in rows], m.warnings
        with llama_cpp.Model("m.gguf", longest, exact=False) as m:
            file = [m.logprobs(r) for r in rows]
        apart = max(np.abs(a - b).max() for a, b in zip(want, exact))
        mean, by_file = -np.concatenate(want).mean(), -np.concatenate(file).mean()
        good = apart < EXACT and abs(mean - by_file) < ROUNDED and (loss is None or abs(by_file - loss) < ROUNDED)
        run_loss = "" if loss is None else f", eval --run {loss:.6f}"
        print(f"{label}, {kind}: loss {mean:.6f}, apart in fp32 {apart:.1e}; llama.cpp's of the file {by_file:.6f}{run_loss}"
              f"{''.join(f' [{w}]' for w in warnings)}{verdict(good)}")


def check_fixtures():
    folder = os.path.join(DATA, "decoder-fixtures")
    for name in sorted(os.listdir(folder)):
        if not os.path.isdir(os.path.join(folder, name)):
            continue
        config = json.load(open(os.path.join(folder, name, "config.json")))
        length = min(config["max_position_embeddings"], config.get("sliding_window") or 40, 40)
        rows = [[rng.randrange(config["vocab_size"]) for _ in range(length)] for _ in range(20)]
        run("zo2-pack", "convert", os.path.join(folder, name), "m.zo2", "--force")
        try:
            compare(name, "m.zo2", rows)
        except RuntimeError as e:
            refused = "llama.cpp" in str(e).splitlines()[-1] and "export directory" not in str(e) and "not loaded" not in str(e)
            print(f"{name}: {str(e).splitlines()[-1]}{verdict(refused)}")


# ---- small models with tokenizers ---------------------------------------------------------------------------------------------------

FAMILY = {"llama2.json": "llama", "llama3.json": "llama", "qwen3.json": "qwen2"}


def small(case, family, pack, **config):
    """A random model with a case's tokenizer; its folder."""
    t = json.load(open(os.path.join(DATA, "tokenizers", case["file"])))
    t.update(case["parts"])
    t["model"].update(case.get("model", {}))
    most = max([*t["model"]["vocab"].values(), *(a["id"] for a in t["added_tokens"])])
    os.makedirs("folder", exist_ok=True)
    settings = {k: case[k] for k in ("bos_token", "eos_token") if case.get(k)}
    if "template" in case:
        settings["chat_template"] = case["template"]
    for name, content in (("tokenizer.json", t), ("tokenizer_config.json", settings), ("config.json", {
            "model_type": family, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 16, "vocab_size": most // 64 * 64 + 64, "max_position_embeddings": 64, "rope_theta": 5000.0,
            "tie_word_embeddings": False, **config})):
        with open(os.path.join("folder", name), "w") as f:
            json.dump(content, f)
    run("zo2-pack", "synth", "folder/config.json", pack, "--dtype", "bf16", "--force")
    run("zo2-pack", "tokenizer", pack, "folder")


def tuned(label, pack, rows, *settings):
    with open("data.jsonl", "w") as f:
        f.writelines(json.dumps({"tokens": r}) + "\n" for r in rows)
    folder = tempfile.mkdtemp(dir=".")
    common = ("--model", pack, "--data", "data.jsonl", "--batch", "8")
    run("zo2-tune", "train", *common, "--run", folder + "/r", "--seq", str(max(map(len, rows))), "--quiet", "--wire", "fp32", *settings)
    before = json.loads(run("zo2-tune", "eval", *common, "--json"))["eval_loss"]
    after = json.loads(run("zo2-tune", "eval", *common, "--run", folder + "/r", "--json"))["eval_loss_fp32"]
    print(f"{label}: loss before {before:.6f}")
    compare(label, pack, rows, "--run", folder + "/r", "--merge", loss=after)


def check_runs():
    for family, name, config in (("llama", "llama3", {}), ("llama", "llama2", {"attention_bias": True, "mlp_bias": True}),
                                 ("mistral", "llama2", {}), ("qwen2", "qwen3", {"tie_word_embeddings": True}), ("qwen3", "qwen3", {})):
        small({"file": name + ".json", "parts": {}}, family, "m.zo2", **config)
        rows = [[rng.randrange(1150) for _ in range(48)] for _ in range(16)]
        for tune, lr in (("all", "3e-3"), ("lora:r=4,alpha=8,targets=q_proj+k_proj+down_proj", "0.3"), ("rows=3-400", "3e-2")):
            tuned(f"{family}, {tune}", "m.zo2", rows, "--steps", "30", "--lr", lr, "--eps", "1e-2", "--tune", tune)


# ---- tokenizers ------------------------------------------------------------------------------------------------------------------------


def fnv(ids):
    h = 0xcbf29ce484222325
    for i in ids:
        for byte in i.to_bytes(4, "little"):
            h = (h ^ byte) * 0x100000001b3 % 2**64
    return f"{h >> 48:04x}"


def check_tokenizers():
    unicode = json.load(open(os.path.join(DATA, "tokenizers", "unicode.json")))
    for case in (c for c in unicode["cases"] if c["file"] in FAMILY):
        small(case, FAMILY[case["file"]], "m.zo2")
        try:
            run("zo2-pack", "export", "m.zo2", "m.gguf", "--gguf", "bf16", "--force")
        except RuntimeError as e:
            print(f"{case['name']}: {str(e).splitlines()[-1]}")
            continue
        lines = unicode["lines"][::case["every"]]
        hashes = [case["hash"][i:i + 4] for i in range(0, len(case["hash"]), 4)]
        with llama_cpp.Model("m.gguf", 64) as m:
            differ = [x for x, h in zip(lines, hashes) if fnv(m.tokenize(x)) != h]
            warnings = m.warnings
        composed = [x for x in differ if unicodedata.normalize("NFC", x) == x]
        known = case["file"] == "llama2.json" and case["parts"]  # spaces in front, see tests/results/gguf.md
        print(f"{case['name']}: {len(differ)} of {len(lines)} lines have other ids, {len(composed)} of them composed"
              f"{''.join(f' [{w}]' for w in warnings if 'eos' not in w)}{verdict(known or not composed)}")


# ---- conversations ----------------------------------------------------------------------------------------------------------------------


def refuse(text):
    raise ValueError(text)


def usual(message):
    """Spaces are ASCII's; and no empty reasoning, which llama.cpp's server takes for none."""
    return all(c in SPACES or not c.isspace() for c in message["content"]) and message.get("reasoning_content") != ""


def rendered(address, messages):
    body = json.dumps({"messages": messages, "add_generation_prompt": False}).encode()
    request = urllib.request.Request(address + "/apply-template", body, {"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request).read())["prompt"]


def check_chats():
    chat = json.load(open(os.path.join(DATA, "tokenizers", "chat.json")))
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.globals["raise_exception"] = refuse
    for case in chat["cases"]:
        small(case, FAMILY[case["file"]], "m.zo2")
        told = subprocess.run([os.path.join(BIN, "zo2-pack"), "export", "m.zo2", "m.gguf", "--gguf", "bf16", "--force"], capture_output=True, text=True)
        theirs, template = tokenizers.Tokenizer.from_file("folder/tokenizer.json"), env.from_string(case["template"])
        o = xllamacpp.CommonParams()
        o.model.path, o.n_ctx, o.use_jinja, o.n_parallel, o.verbosity, o.warmup, o.prefill_assistant = "m.gguf", 64, True, 1, 0, False, False
        server = xllamacpp.Server(o)
        n = texts = ids = unexpected = 0
        with llama_cpp.Model("m.gguf", 64) as m:
            for messages in chat["conversations"][case["conversations"]]:
                messages = messages if case["system"] or messages[0]["role"] != "system" else messages[1:]
                if any("\0" in x["content"] for x in messages):
                    continue  # no text of the C interface
                names = {k: case[k] for k in ("bos_token", "eos_token") if case[k]}
                want, have = template.render(messages=messages, **names), rendered(server.listening_address, messages)
                front = case["bos_token"] or ""
                other_text = have not in (want, want.removeprefix(front))
                other_ids = m.tokenize(have) != theirs.encode(want, add_special_tokens=False).ids
                plain = unicodedata.normalize("NFC", want) == want and all(usual(x) for x in messages)
                n, texts, ids = n + 1, texts + other_text, ids + other_ids
                unexpected += plain and (other_text or other_ids)
        known = "add_space_prefix" in told.stderr or case["name"] == "Llama-3.1" or theirs.encode("").ids and not case["bos_token"]
        print(f"{case['name']} ({case['file']}): of {n} conversations {texts} have another text and {ids} other ids; {unexpected} of them with nothing "
              f"known{verdict(known or not unexpected)}")
        del server


def check_real(model):
    run("zo2-pack", "convert", os.path.join(START, model), "real.zo2")
    run("zo2-pack", "export", "real.zo2", "real.gguf", "--gguf", "f16")
    lines = [x.strip() for x in open(os.path.join(DATA, "english.txt"), encoding="utf-8") if x.strip()]
    unicode = [x for x in json.load(open(os.path.join(DATA, "tokenizers", "unicode.json")))["lines"] if not set(x) & set("\n\r\0")]
    told = subprocess.run([os.path.join(BIN, "zo2-tune"), "tokenize", "--model", "real.zo2", "--json"], input="\n".join(unicode) + "\n",
                          capture_output=True, text=True).stdout.split("\n")
    model = os.path.basename(model)
    with llama_cpp.Model("real.gguf", 512) as m:
        rows = [m.tokenize(x) for x in lines]
        differ = [x for x, t in zip(unicode, told) if m.tokenize(x) != json.loads(t)["ids"]]
    print(f"{model}: {len(differ)} of {len(unicode)} lines have other ids: {differ}")
    compare(model, "real.zo2", rows)
    tuned(model, "real.zo2", rows, "--steps", "3", "--lr", "1e-4")


BIN, START = os.path.abspath(sys.argv[1]), os.getcwd()
print(llama_cpp.VERSION)
with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    check_fixtures()
    check_runs()
    check_tokenizers()
    check_chats()
    if len(sys.argv) > 2:
        check_real(sys.argv[2])
    os.chdir(START)
sys.exit(failures > 0)
