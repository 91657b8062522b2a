#!/usr/bin/env python3
"""Writes tests/data/tokenizers/unicode.json and the small tokenizers beside it: 2,000 lines of mixed Unicode, and hashes of the ids that
Hugging Face's tokenizers library gives for them (0.23 made what is committed). The tokenizers are those of four families: OPT's of the tiny
model; Qwen3's, cut to its first merges; one in Llama-3's layout and one in Llama-2's, trained here. Variants exchange parts of them.

    make_unicode_cases.py FOLDER    with opt-tokenizer/{vocab.json,merges.txt} and qwen3-tokenizer/tokenizer.json as they are published

There are hashes for these two as well, which the test compares where it finds the folder."""
import json
import pathlib
import random
import sys
import unicodedata

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
OUT = DATA / "tokenizers"
LINES, IN_FULL, MERGES = 2000, 20, 900
META = "\u2581"
OLD = unicodedata.ucd_3_2_0  # what every library's tables have

# ---- lines ----------------------------------------------------------------------------------------------------------

rng = random.Random(14)
ASSIGNED = [chr(c) for c in range(0x20, 0x30000) if OLD.category(chr(c)) not in ("Cn", "Cs", "Co")]
MARKS = [c for c in ASSIGNED if OLD.combining(c)]
COMPOSED = [c for c in ASSIGNED if OLD.decomposition(c)]
SPACES = [" ", " ", " ", "\t", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u0085", "\u180e", "\u200b"]
WORDS = """the of and to in it is that was he for on with as his they be at one have this from or had by hot word but what some we can out other
were all there when up use your how said an each she which do their time if will way about many then them write would like so these her long
don't I'm you'll they've WE'RE it'S he'D can\u2019t Caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u017f 'ſ XMLHttpRequest camelCase snake_case file.tar.gz""".split()
SCRIPTS = ["привет мир как дела", "γειά σου κόσμε", "שלום עולם", "مرحبا بالعالم كيف", "नमस्ते दुनिया", "สวัสดีชาวโลก", "你好世界我们在这里",
           "こんにちは世界カタカナ", "안녕하세요 세계", "გამარჯობა", "ሰላም ልዑል", "Xin chào thế giới", "İstanbul ığüşöç", "ßẞﬁﬂﬆ"]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f\u200d\U0001f525",
         "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "1\ufe0f\u20e3", "\U0001f999"]
ODD = ["\ufeff", "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\U000f0000", "\u00ad", "\u2060", "\u034f", "\ud7ff"]
DIGITS = ["0", "1", "42", "123", "1234", "1234567", "3.14159", "1,000,000", "\u0661\u0662\u0663\u0664", "\u00b2\u00b3\u00b9", "\u00bd", "\u2167\u2166", "\u0e51\u0e52", "\uff11\uff12\uff13", "0x1F"]
SPECIALS = ["<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|begin_of_text|>", "<|eot_id|>",
            "<|start_header_id|>", "[INST]", "<0x0A>", META, META + META, "<mask>", "Ångström", "A\u030angstr\u00f6m"]


def some(items, low, high, by=""):
    return by.join(rng.choice(items) for _ in range(rng.randint(low, high)))


KINDS = [
    lambda: some(WORDS, 1, 8, " "),
    lambda: " ".join(w.capitalize() if rng.random() < 0.3 else w for w in rng.choices(WORDS, k=5)) + rng.choice(".!?,;:"),
    lambda: some(["a", "e", "o", "\u0915", "\u05d0"], 1, 2) + some(MARKS, 1, 4),
    lambda: some(COMPOSED, 1, 6),
    lambda: "".join(map(chr, [rng.randrange(0x1100, 0x1113), rng.randrange(0x1161, 0x1176), rng.randrange(0x11a8, 0x11c3)])),
    lambda: rng.choice(SCRIPTS),
    lambda: rng.choice(SCRIPTS)[:rng.randint(1, 9)],
    lambda: some(EMOJI, 1, 3),
    lambda: some([chr(c) for c in [*range(0x20), *range(0x7f, 0xa0)]], 1, 4),
    lambda: some(ODD, 1, 2),
    lambda: " " * rng.choice([1, 2, 3, 4, 7, 16, 31]),
    lambda: some(SPACES, 1, 5),
    lambda: some(["\n", "\r\n", "\r", "\n\n", " \n", "\t\n", "\n "], 1, 4),
    lambda: some(DIGITS, 1, 3, rng.choice(["", " ", "-"])),
    lambda: some(SPECIALS, 1, 2, rng.choice(["", " "])),
    lambda: some(list("!?.,;:()[]{}<>/\\|@#$%^&*-_=+~`'\""), 1, 8),
    lambda: some(ASSIGNED, 1, 8),
    lambda: some(["'s", "'S", "'t", "'LL", "'ve", "'\u017f", "'d", "'x"], 1, 3),
]


def make_lines():
    lines = ["", " ", "  ", "\n", "<s>", " <s> ", META, "a", "a ", " a", "\u0301", "\0"]
    while len(lines) < LINES:
        lines.append(some(["", "", " "], 1, 1).join(rng.choice(KINDS)() for _ in range(rng.choice([1, 1, 2, 2, 3, 4]))))
    return lines


# ---- tokenizers -----------------------------------------------------------------------------------------------------

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + TAIL
NEMO = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TRAINING = [" ".join(rng.choices(WORDS, k=12)) for _ in range(300)] + SCRIPTS * 20 + [some(DIGITS, 3, 6, " ") for _ in range(60)] + [
    rng.choice(KINDS)() for _ in range(400)]


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def added(i, text, **flags):
    return {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **flags}


def front(token, i):
    item = {"SpecialToken": {"id": token, "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [item, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [item, {"Sequence": {"id": "A", "type_id": 0}}, item, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [i], "tokens": [token]}}}


def file(vocab, merges, more=(), **parts):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(more), "normalizer": None, "pre_tokenizer": None,
            "post_processor": None, "decoder": None, **{k: v for k, v in parts.items() if k != "model"},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **parts.get("model", {}), "vocab": vocab,
                      "merges": merges}}


def trained(pre_tokenizer, alphabet, size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizer
    t.train_from_iterator(TRAINING, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(t.to_str())["model"]
    return model["vocab"], [tuple(m) for m in model["merges"]]


def opt(folder, special):
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    return file(json.loads((folder / "vocab.json").read_text(encoding="utf-8")), [m for m in lines if m], special, pre_tokenizer={**BYTE_LEVEL, "use_regex": True}, post_processor=front("</s>", 2))


def qwen3(real):
    real = {**real, "model": {**real["model"]}}
    merges = real["model"]["merges"][:MERGES]
    kept = set(pre_tokenizers.ByteLevel.alphabet()) | {a + b for a, b in merges}
    vocab = {t: i for i, t in enumerate(sorted((t for t in real["model"]["vocab"] if t in kept), key=real["model"]["vocab"].get))}
    real["model"] |= {"vocab": vocab, "merges": merges}
    real["added_tokens"] = [{**t, "id": len(vocab) + i} for i, t in enumerate(real["added_tokens"])]
    return real


def llama3():
    t = Tokenizer.from_str(json.dumps(file({"a": 0}, [], pre_tokenizer=sequence(split(LLAMA3), BYTE_LEVEL))))
    vocab, merges = trained(t.pre_tokenizer, pre_tokenizers.ByteLevel.alphabet(), 256 + MERGES)
    lost = set(rng.sample(sorted(a + b for a, b in merges if len(a + b) > 3), 40))  # tokens that only "ignore_merges" finds
    merges = [m for m in merges if m[0] + m[1] not in lost and not lost & set(m)]
    n = len(vocab)
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return file(vocab, [" ".join(m) for m in merges], [added(n + i, text) for i, text in enumerate(names)],
                model={"ignore_merges": True}, pre_tokenizer=sequence(split(LLAMA3), BYTE_LEVEL),
                post_processor={"type": "Sequence", "processors": [{**BYTE_LEVEL, "use_regex": True}, front(names[0], n)]})


def llama2():
    """Merges as they are made of a SentencePiece model: every pair of tokens that makes a token, in the order of what it makes."""
    pieces, _ = trained(pre_tokenizers.Metaspace(prepend_scheme="first", split=True), [], MERGES)
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))])}
    shuffled = sorted(pieces, key=lambda t: pieces[t] + (rng.random() < 0.2) * rng.randint(-200, 200))  # ranks no trainer leaves
    shuffled = [p for p in shuffled if "\0" not in p]  # no key of a C program's JSON
    for piece in [*(p for p in shuffled if len(p) > 1), *(p for p in shuffled if len(p) == 1)]:
        vocab.setdefault(piece, len(vocab))
    merges = []
    for piece in vocab:
        pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
        merges += sorted(pairs, key=lambda p: (vocab[p[0]], vocab[p[1]]))
    return file(vocab, [list(m) for m in merges], [added(i, t) for i, t in enumerate(["<unk>", "<s>", "</s>"])],
                model={"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}, post_processor=front("<s>", 1),
                normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": META},
                                                                {"type": "Replace", "pattern": {"String": " "}, "content": META}]})


def metaspace(scheme, apart):
    return {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": META, "prepend_scheme": scheme, "split": apart}}


def variants(files):
    """Name, file, parts that take the place of the file's, settings of the model, and how many lines there are to one that counts."""
    size = {name: len(f["model"]["vocab"]) for name, f in files.items()}
    normal = {"normalized": True, "special": False}
    yield from ((name, name, {}, {}, 1) for name in files)
    yield "metaspace, first", "llama2", metaspace("first", False), {}, 4
    yield "metaspace, first, split", "llama2", metaspace("first", True), {}, 8
    yield "metaspace, always", "llama2", metaspace("always", False), {}, 8
    yield "metaspace, never", "llama2", {**metaspace("never", True), "post_processor": None}, {}, 8
    yield "unknown, fused", "llama2", {}, {"byte_fallback": False}, 8
    yield "unknown, not fused, no byte tokens", "llama2", metaspace("first", False), {"byte_fallback": False, "fuse_unk": False}, 8
    yield "normalized tokens", "llama2", {"added_tokens": [added(0, "<unk>"), added(1, "<s>", **normal), added(2, "</s>", normalized=True, rstrip=True),
                                                           added(size["llama2"], "<mask>", lstrip=True)]}, {}, 4
    yield "normalized tokens, NFC", "qwen3", {"added_tokens": [added(size["qwen3"], "\u00c5ngstr\u00f6m", **normal),
                                                              added(size["qwen3"] + 1, "A\u030angstr\u00f6m", special=False)]}, {}, 4
    for form in ("NFD", "NFKC", "NFKD"):
        yield form, "qwen3", {"normalizer": {"type": form}}, {}, 8
    yield "digits", "qwen3", {"normalizer": None, "pre_tokenizer": sequence({"type": "Digits", "individual_digits": True},
                                                                            {**BYTE_LEVEL, "use_regex": True})}, {}, 8
    yield "digits in runs", "qwen3", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, split(LLAMA3), BYTE_LEVEL)}, {}, 8
    yield "nemo", "llama3", {"pre_tokenizer": sequence(split(NEMO), BYTE_LEVEL)}, {"ignore_merges": False}, 4


def fnv(ids, start=0xcbf29ce484222325):
    for i in ids:
        for byte in i.to_bytes(4, "little"):
            start = (start ^ byte) * 0x100000001b3 % 2**64
    return start


def case(files, lines, name, of, parts, model, every):
    content = {**files[of], **parts}
    content["model"] = {**content["model"], **model}
    t = Tokenizer.from_str(json.dumps(content))
    ids = [t.encode(line).ids for line in lines[::every]]
    return {"name": name, "file": of + ".json", "parts": parts, "model": model, "every": every,
            "ids": ids[:IN_FULL], "hash": "".join(f"{fnv(i) >> 48:04x}" for i in ids), "all": f"{fnv(sum(ids, [])):016x}"}


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main():
    lines = make_lines()
    folder = pathlib.Path(sys.argv[1])
    real = {"qwen3-tokenizer": json.loads((folder / "qwen3-tokenizer" / "tokenizer.json").read_text(encoding="utf-8")),
            "opt-tokenizer": opt(folder / "opt-tokenizer", [added(i, t) for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>"])])}
    files = {"opt": opt(DATA / "tiny-opt" / "model", [added(2, "</s>"), added(1, "<pad>")]), "qwen3": qwen3(real["qwen3-tokenizer"]),
             "llama3": llama3(), "llama2": llama2()}
    cases = [case(files, lines, *v) for v in variants(files)] + [case(real, lines, name, name, {}, {}, 1) for name in real]
    for name in ("qwen3", "llama3", "llama2"):  # opt is made of the tiny model's files
        (OUT / f"{name}.json").write_text(compact(files[name]) + "\n", encoding="utf-8")
    (OUT / "unicode.json").write_text('{"lines":[\n' + ",\n".join(map(compact, lines)) + '],\n"cases":[\n' + ",\n".join(map(compact, cases)) + "]}\n",
                                      encoding="utf-8")
    for path in sorted(OUT.glob("*.json")):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
