#!/usr/bin/env python3
"""What the documents name is there: every path of a file or folder of the project that a Markdown page mentions exists, and
every function, type, table or constant in `backticks` occurs in the sources. And each folder of the library and of the tools has a README. Run by ctest, or by hand from anywhere."""

import os
import re
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TOPS = ("engine", "codec", "storage", "kernels", "tests", "tools")
SKIP = ("tests/results/", "tests/data/", "tests/fuzz/corpus/")  # figures of a revision; data with texts of their own
PATH = re.compile(r"(?<![\w/.<-])((?:%s)/(?:[\w./*-]|\{[\w.,*]+\}|\[\w+\](?!\())+)" % "|".join(TOPS))
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)")
FILE = re.compile(r"`([\w./-]+\.(?:c|h|cu|cuh|inc|py|sh|md))`")
NAME = re.compile(r"`((?:zo2|ZO2)_\w+)(?:\(\)|\(X\)|\[\])?`")


def files_of_project():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in (".git", "__pycache__") and not f.startswith("build")]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), ROOT)


def expand(path):
    """Each path that "a/b.[ch]", "a/{b,c}.h" or "a/*.c" stands for; None for a pattern that needs a match only."""
    match = re.search(r"\{([^}]*)\}|\[(\w+)\]", path)
    if not match:
        return [path]
    choices = match.group(1).split(",") if match.group(1) is not None else list(match.group(2))
    return [p for c in choices for p in expand(path[: match.start()] + c + path[match.end() :])]


def is_placeholder(path):
    """Words in capitals stand for a name: engine/families/NAME/."""
    return re.search(r"[A-Z]{2}", re.sub(r"\w+\.md$", "", path)) is not None


def exists(path, folder, known):
    if is_placeholder(path):
        return True
    path = path.rstrip("/")
    if os.path.exists(os.path.join(ROOT, folder, path)):
        return True
    if "*" in path:
        pattern = re.compile(re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") + r"(?:/.*)?$")
        return any(pattern.match(k) for k in known)
    return os.path.exists(os.path.join(ROOT, path))


def faults_of(text, page, known, words):
    folder = os.path.dirname(page)
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{page}:{number}"
        for found in PATH.findall(line):
            for path in expand(found.rstrip(".,")):
                if not exists(path, folder, known):
                    yield f"{where}: there is no {path}"
        for path in FILE.findall(line):
            if exists(path, folder, known):
                continue
            if not any(k == path or k.endswith("/" + path) for k in known):
                yield f"{where}: there is no {path}"
        for link in LINK.findall(line):
            if not os.path.exists(os.path.join(ROOT, folder, link)):
                yield f"{where}: the link to {link} leads nowhere"
        for name in NAME.findall(line):
            wanted = name.rstrip("_")
            if is_placeholder(wanted.replace("ZO2", "")) and wanted.startswith("zo2"):
                continue
            if wanted not in words and not any(w.startswith(name) for w in words if name.endswith("_")):
                yield f"{where}: no source has `{name}`"


def main():
    known = sorted(files_of_project())
    words = set()
    for path in known:
        if re.search(r"\.(c|h|cu|cuh|inc|cpp|txt|cmake)$", path) and not path.startswith("tests/data/"):
            with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
                words.update(re.findall(r"\b\w+\b", f.read()))
    folders = {os.path.dirname(p) for p in known if re.search(r"\.(c|h|cu|cpp|py|sh)$", p) and not p.startswith(SKIP)}
    pages = [p for p in known if p.endswith(".md") and not p.startswith(SKIP)]
    faults = []
    for page in pages:
        with open(os.path.join(ROOT, page), encoding="utf-8") as f:
            faults += faults_of(f.read(), page, known, words)
    for folder in sorted(f for f in folders if f and not f.startswith("tests/")):
        if f"{folder}/README.md" not in known:
            faults.append(f"{folder} has no README.md")
    planted = "see engine/run/nowhere.c, `nothing.h`, [a page](nowhere.md) and `zo2_no_such_function()`"
    if len(list(faults_of(planted, "README.md", known, words))) != 4:
        faults.append("names that don't exist, planted here, were not found")
    if len(pages) < 5:
        faults.append(f"only {len(pages)} pages found")
    for fault in faults:
        print(fault)
    print(f"{len(pages)} pages, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
