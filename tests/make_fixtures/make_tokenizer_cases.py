#!/usr/bin/env python3
"""Writes tests/data/tokenizers/cases.json: small tokenizers in the layouts that Hugging Face's programs write, and the ids that its
AutoTokenizer gives. Needs transformers 5 (5.24 made what is committed).

In the files' texts @BYTES@ stands for the tokens <s> 0, <pad> 1, </s> 2, <unk> 3 and the 256 byte characters, 4 + byte."""
import json
import pathlib
import tempfile

import transformers
from transformers import AutoTokenizer

transformers.logging.set_verbosity_error()
OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "tokenizers" / "cases.json"


def byte_characters():
    """GPT-2's: printable bytes stand for themselves, the others for U+0100 and on, in order."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return [chr(b) if b in own else chr(0x100 + others.index(b)) for b in range(256)]


BASE = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *byte_characters()])}
MARK = "@BYTES@"
G = "\u0120"
MERGES = [("a", "b"), ("ab", "c"), (G, "a"), (G + "a", "b"), ("t", "h"), ("th", "e"), (G, "the"), ("1", "2"), (G, G), ("\u00c3", "\u00a9")]
MORE = {left + right: len(BASE) + i for i, (left, right) in enumerate(MERGES)}
SIZE = len(BASE) + len(MORE)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

TEXTS = ["", "abc abcab the  the", "it's 1212 caf\u00e9 \u4e16\U0001f600", "  ab\n\n\tab ", "<s>ab</s><pad> <unk>", "x<a>y <a> <a>b <ab>", "[P][Q] [P]",
         "\u00a0<a>\u3000ab_<a>1 \u00e9<a>\u0301 (<a>)\u180e<a>\n<a>", "<a><a> <a>", "image<image>token"]


def template(token, ids, behind=False):
    item = {"SpecialToken": {"id": token, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [text, item] if behind else [item, text],
            "pair": [item, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": ids, "tokens": [token]}}}


def added(i, text, **flags):
    return {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **flags}


def without_id(token):
    return {k: v for k, v in token.items() if k != "id"}


def tokenizer(merges=MERGES, strings=False, vocab=MORE, **parts):
    merges = [" ".join(m) if strings else list(m) for m in merges]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": BYTE_LEVEL,
            "post_processor": None, "decoder": BYTE_LEVEL, **parts,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {MARK: 0, **vocab}, "merges": merges}}


def pair(merges=MERGES, vocab=MORE, **files):
    return {"vocab.json": {MARK: 0, **vocab}, "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), **files}


def only(json_file, **config):
    return {"tokenizer.json": json_file, "tokenizer_config.json": config}


OPT = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
GPT = {"tokenizer_class": "GPT2Tokenizer", **OPT}
HUGE = 1000000000000000019884624838656
A = [added(SIZE, "<a>", special=False, normalized=True), added(SIZE + 1, "[P]"), added(SIZE + 2, "<ab>", special=False, normalized=True),
     added(SIZE + 3, " [Q", special=False)]
STRIPS = [added(SIZE, "<a>", lstrip=True, rstrip=True), added(SIZE + 1, "[P]", rstrip=True), added(SIZE + 2, " [P", lstrip=True)]
WORDS = [added(SIZE, "<a>", single_word=True), added(MORE["ab"], "ab", single_word=True, special=False, normalized=True)]
CASES = {
    "strings, no bos": only(tokenizer(strings=True), **FAST),
    "strings with a version line": only({**(t := tokenizer(strings=True)), "model": {**t["model"], "merges":
                                         ["#version: 0.2", *t["model"]["merges"]]}}, **FAST),
    "pairs, opt": only(tokenizer(post_processor=template("</s>", [2])), **GPT),
    "other bos": only(tokenizer(post_processor=template("<s>", [0])), **FAST),
    "add_bos_token beside tokenizer.json": only(tokenizer(), add_bos_token=True, **GPT),
    "processor byte level": only(tokenizer(post_processor=BYTE_LEVEL), **GPT),
    "processor sequence": only(tokenizer(post_processor={"type": "Sequence", "processors": [BYTE_LEVEL, template("<pad>", [1])]}), **FAST),
    "no class, no config": {"tokenizer.json": tokenizer(added_tokens=[added(0, "<s>"), added(2, "</s>")])},
    "added tokens": only(tokenizer(added_tokens=A), **FAST),
    "added tokens in the decoder": only(tokenizer(), added_tokens_decoder={str(t["id"]): without_id(t) for t in A}, **GPT),
    "strips": only(tokenizer(added_tokens=STRIPS), **FAST),
    "single words": only(tokenizer(added_tokens=WORDS), **FAST),
    "split and byte level": only(tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": GPT2}, "behavior": "Isolated", "invert": False},
        {**BYTE_LEVEL, "use_regex": False}]}), **FAST),
    "sequence of byte level": only(tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [BYTE_LEVEL]},
                                             normalizer={"type": "Sequence", "normalizers": []}), **FAST),
    "named without id": only(tokenizer(), pad_token="[P]", mask_token="[Q]", **FAST),
    "named without id, gpt-2": only(tokenizer(), tokenizer_class="GPT2Tokenizer", bos_token="<s>", pad_token="[P]"),
    "extra list": only(tokenizer(), extra_special_tokens=["<a>", "</s>"], **FAST),
    "extra object": only(tokenizer(), extra_special_tokens={"image_token": "<image>"}, **FAST),
    "a model's own": only(tokenizer(), image_token="<image>", **FAST),
    "pair, published opt": pair(**{"tokenizer_config.json": {"add_bos_token": True, "add_prefix_space": False, "errors": "replace", **GPT,
                                                             "model_max_length": HUGE}}),
    "pair, no bos": pair(**{"tokenizer_config.json": {**GPT, "model_max_length": HUGE}}),
    "pair, other bos": pair(**{"tokenizer_config.json": {**GPT, "add_bos_token": True, "bos_token": "<s>"}}),
    "pair, map before config": pair(**{"tokenizer_config.json": {**GPT, "add_bos_token": True, "bos_token": "<s>"},
                                       "special_tokens_map.json": {"bos_token": "<pad>", "unk_token": {
                                           "content": "<unk>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}}}),
    "pair, decoder before map": pair(**{"tokenizer_config.json": {**GPT, "added_tokens_decoder": {"2": without_id(added(2, "</s>")),
                                                                                                  "1": without_id(added(1, "<pad>"))}},
                                        "special_tokens_map.json": {"bos_token": "<s>", "mask_token": "<unk>"},
                                        "added_tokens.json": {"[P]": SIZE}}),
    "pair, added_tokens.json": pair(**{"tokenizer_config.json": GPT, "added_tokens.json": {"<ab>": SIZE + 1, "<a>": SIZE}}),
    "pair and tokenizer.json that differ": {**pair(MERGES[::-1]), **only(tokenizer(post_processor=template("</s>", [2])), **GPT)},
}


def expand(text):
    return text.replace(f'"{MARK}": 0', json.dumps(BASE)[1:-1])


def write(folder, files):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        files[name] = text
        (folder / name).write_text(expand(text), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "opt", "bos_token_id": 2}')


def saved_again(folder):
    """The files that transformers writes for a tokenizer, without the vocabulary that all have."""
    with tempfile.TemporaryDirectory() as out:
        AutoTokenizer.from_pretrained(folder).save_pretrained(out)
        files = {p.name: p.read_text(encoding="utf-8") for p in pathlib.Path(out).iterdir()}
    root = json.loads(files["tokenizer.json"])
    root["model"]["vocab"] = {MARK: 0, **{k: v for k, v in root["model"]["vocab"].items() if k not in BASE}}
    return {**files, "tokenizer.json": root}


def answers(name, files):
    with tempfile.TemporaryDirectory() as work:
        write(pathlib.Path(work), files)
        t = AutoTokenizer.from_pretrained(work)
        again = saved_again(work) if name == "pair, published opt" else None
        found = [{"text": text, "ids": t(text)["input_ids"]} for text in TEXTS]
    cases = [{"name": name, "files": files, "answers": found}]
    return cases + (answers("saved again", again) if again else [])


cases = [case for name, files in CASES.items() for case in answers(name, files)]
OUT.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
print(f"{OUT}: {len(cases)} tokenizers, {OUT.stat().st_size} bytes, transformers {transformers.__version__}")
