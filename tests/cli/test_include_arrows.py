#!/usr/bin/env python3
"""Who may use whom. Reads the sources of the library and of the tools as text and fails on

- an include that goes up: every folder has a rank (engine/README.md shows them), a file includes its own folder and lower ones;
- a call that goes up: of a function or a table that a file of a higher folder defines;
- a circle between files: a file depends on the headers it includes and on the files that define the functions it calls;
- a name that a file uses without including the header that declares it (its own header's includes count), and in engine/ and
  storage/ an include of which nothing is used.

Then the same faults are planted in a copy, and each must be found. Run by ctest, or by hand from anywhere."""

import os
import re
import shutil
import sys
import tempfile
from collections import defaultdict

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))

# From the ground up. Folders on one line don't know each other.
RANKS = [
    ["engine/base"],
    ["codec", "storage/io"],
    ["storage/instead"],
    ["storage/pack", "storage/run", "storage/spill", "storage/trunk", "storage/checkpoint"],
    ["kernels"],
    ["engine/model"],
    ["engine/method"],
    ["engine/masters"],
    ["engine/plan"],
    ["engine/measure"],
    ["engine/stream"],
    ["engine/forward"],
    ["engine/families"],
    ["engine/pack"],
    ["engine/run"],
    ["engine/export"],
]
PUBLIC = "engine/zo2.h"
TOOLS_TOO = ["engine/base/json.h", "storage/instead/instead.h"]  # compiled into the tools, too
EXAMPLES = "tools/examples/"  # for outside users, who copy the folder: a header beside a program goes without a path
HIDDEN_FROM = {  # lower, but none of their business
    "codec": ["storage/io"],
    "kernels": ["storage"],
}
SOURCE = re.compile(r"\.(c|h|cu|cuh|inc)$")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)
CUDA_HEADER = re.compile(r"^(cuda|cublas|curand|nvtx|device_launch)")
NAME = re.compile(r"\b[A-Za-z_]\w*\b")
OURS = re.compile(r"(zo2|ZO2|cli|CLI|bench|BENCH|text|tune|pack)_")


def room_of(path):
    """(rank, folder) of a file; None if its folder has no rank."""
    for rank, folders in enumerate(RANKS):
        for folder in folders:
            if path.startswith(folder + "/"):
                return rank, folder
    if path.startswith("tools/"):
        return len(RANKS), "tools"
    return None


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n") or " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


class Source:
    """A file: its includes, the names in its text, and what it declares and defines."""

    def __init__(self, root, path):
        self.path = path
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        self.includes = INCLUDE.findall(text)
        self.project = {p for kind, p in self.includes if kind == '"'}
        code = without_comments(text)
        code = re.sub(r"^[ \t]*#[ \t]*include.*$", "", code, flags=re.M)
        self.names = set(NAME.findall(code))
        self.forwards = set(re.findall(r"^(?:typedef )?struct (\w+)(?: \w+)?;", code, re.M))
        self.declared = self.find_declared(code) if path.endswith((".h", ".cuh")) else set()
        self.defined = {n for n in self.find_defined(code) if OURS.match(n)}

    @staticmethod
    def find_declared(code):
        found = set(re.findall(r"^[ \t]*#[ \t]*define (\w+)", code, re.M))
        found |= set(re.findall(r"\}\s*(\w+)\s*;", code))
        found |= set(re.findall(r"^typedef [^;{]*?\b(\w+);", code, re.M))
        found |= set(re.findall(r"^typedef [^;{]*?\(\*(\w+)\)\(", code, re.M))
        found |= set(re.findall(r"^(?:typedef )?(?:struct|union) (\w+)\s*\{", code, re.M))
        for body in re.findall(r"^(?:typedef )?enum\s*\w*\s*\{(.*?)\}", code, re.M | re.S):
            found |= set(re.findall(r"\b([A-Z]\w+)\b\s*(?:=[^,]*)?(?:,|$)", body))
        found |= set(
            re.findall(
                r"^(?:extern )?(?:ZO2_API |ZO2_HD |static inline |const |struct |enum |unsigned )*\w+[\s*]+(?:const )?"
                r"(\w+)\s*(?:\(|\[[^\]]*\](?:,|;)|;)",
                code,
                re.M,
            )
        )
        return {n for n in found if OURS.match(n)}

    @staticmethod
    def find_defined(code):
        """Functions and tables with external linkage. A list's use on a line of its own is none, whatever follows it."""
        code = re.sub(r"^[A-Z0-9_]+\(\w+\)$", "", code, flags=re.M)
        for head in re.findall(r"^((?!static|typedef|extern|#)[A-Za-z_][^;{}=]*?)\s*(?:\{|=)", code, re.M):
            if re.match(r"(struct|union|enum)\s+\w+$", head):
                continue
            call = re.search(r"\b(\w+)\s*\(", head) or re.search(r"\b(\w+)\s*(?:\[[^\]]*\])*$", head)
            if call:
                yield call.group(1)


def stem(path):
    return re.sub(r"\.\w+$", "", path)


def read_tree(root):
    sources = {}
    for top in ("codec", "storage", "kernels", "engine", "tools"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                if SOURCE.search(name):
                    path = os.path.relpath(os.path.join(folder, name), root)
                    sources[path] = Source(root, path)
    return sources


def check_arrows(root, sources):
    for path in sorted(sources):
        here = room_of(path)
        if path == PUBLIC:
            for kind, to in sources[path].includes:
                if kind == '"':
                    yield f'{path} includes nothing of the project, but here "{to}"'
            continue
        if not here:
            yield f"{path}: its folder has no rank in {os.path.basename(__file__)}"
            continue
        for kind, to in sources[path].includes:
            if kind == "<":
                if os.path.isfile(os.path.join(root, to)):
                    yield f'{path}: <{to}> is a project file: include it as "{to}"'
                elif CUDA_HEADER.match(to) and here[1] != "kernels":
                    yield f"{path}: only kernels/ may include CUDA headers: <{to}>"
                continue
            if path.startswith(EXAMPLES) and "/" not in to and os.path.isfile(os.path.join(root, EXAMPLES, to)):
                continue
            if not os.path.isfile(os.path.join(root, to)):
                yield f'{path}: "{to}" is not a path from the project root (a header of the system is included with <>)'
                continue
            if to == PUBLIC:
                continue
            there = room_of(to)
            if not there:
                yield f'{path}: "{to}" is not part of the library'
            elif here[1] == "tools" and there[1] != "tools" and to not in TOOLS_TOO:
                yield f'{path}: tools know {PUBLIC} only, not "{to}"'
            elif there[0] > here[0] or (there[0] == here[0] and there[1] != here[1]):
                yield f'{path}: {here[1]} may not include "{to}", which is above or beside it'
            elif any(to.startswith(hidden) for hidden in HIDDEN_FROM.get(here[1], [])):
                yield f'{path}: {here[1]} may not include "{to}"'


def check_uses(sources):
    declared = defaultdict(set)
    for path, source in sources.items():
        for name in source.declared:
            declared[name].add(path)
    keeps_struct = {h for hs in declared.values() if PUBLIC in hs for h in hs}  # bodies of zo2.h's handles
    for path in sorted(sources):
        source = sources[path]
        if path.endswith(".inc"):
            continue
        own = stem(path) + ".h"
        have = source.project | {path}
        if own in source.project and own in sources:
            have = have | sources[own].project
        for name in sorted(source.names & declared.keys()):
            where = declared[name]
            if PUBLIC not in where and not where & have and name not in source.forwards:
                yield f'{path}: uses {name} without including "{sorted(where)[0]}"'
        if not path.startswith(("engine/", "storage/")):
            continue
        for header in sorted(source.project - {PUBLIC, own} - keeps_struct):
            names = sources[header].declared if header in sources else set()
            if names and not names & source.names:
                yield f'{path}: includes "{header}" and uses nothing of it'


def definers(sources):
    """Name of a function or a table -> the file that defines it."""
    found = {}
    for path, source in sources.items():
        for name in source.defined if path != PUBLIC else ():
            found.setdefault(name, path)
    return found


def check_calls(sources):
    definer = definers(sources)
    for path in sorted(sources):
        here = room_of(path)
        for name in sorted(sources[path].names - sources[path].declared) if here else ():
            there = room_of(definer[name]) if name in definer else here
            if there[0] > here[0]:
                yield f"{path}: calls {name}, which {there[1]} defines, above {here[1]}"


def check_circles(sources):
    definer = definers(sources)
    edges = defaultdict(set)
    for path, source in sources.items():
        edges[path] = {to for to in source.project if to in sources} | {
            definer[name] for name in source.names - source.declared if name in definer
        }
        edges[path].discard(path)
    for circle in components(edges):
        yield "circle between files: " + ", ".join(sorted(circle))


def components(edges):
    """Tarjan's strongly connected components of more than one node, without recursion."""
    index, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in sorted(edges):
        if root in index:
            continue
        work = [(root, iter(sorted(edges[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            step = next(rest, None)
            if step is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        group.append(member)
                        if member == node:
                            break
                    if len(group) > 1:
                        found.append(group)
            elif step not in index:
                index[step] = low[step] = len(index)
                stack.append(step)
                on_stack.add(step)
                work.append((step, iter(sorted(edges.get(step, ())))))
            elif step in on_stack:
                low[node] = min(low[node], index[step])
    return found


def faults_of(root):
    sources = read_tree(root)
    if len(sources) < 200:
        return [f"only {len(sources)} source files found below {root}"]
    return [
        *check_arrows(root, sources),
        *check_uses(sources),
        *check_calls(sources),
        *check_circles(sources),
    ]


def plant(root, path, old, new):
    path = os.path.join(root, path)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    assert old in text, f"{path} has no {old!r} to plant a fault at"
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new, 1))


def check_planted(scratch):
    """Each fault on its own in a copy; yields those that were not found."""
    planted = [
        ("an include that goes up", "may not include", "engine/masters/history.c",
         '#include "engine/masters/history.h"\n',
         '#include "engine/masters/history.h"\n#include "engine/forward/batch.h"\n'),
        ("an include of a folder beside", "may not include", "storage/run/runlock.c",
         '#include "storage/run/journal.h"\n', '#include "storage/run/journal.h"\n#include "storage/pack/packfile.h"\n'),
        ("a tool that knows the engine", "tools know", "tools/pack/info.c",
         "#include ", '#include "engine/model/arch.h"\n#include '),
        ("a circle between files of one room",
         "circle between files: engine/stream/lanes.c, engine/stream/ring.c, engine/stream/trace.c", "engine/stream/trace.c",
         "static void emit(",
         "int zo2_pipeline_stages(const void *p);\nint zo2_planted(void)\n{\n    return zo2_pipeline_stages(0);\n}\n\nstatic void emit("),
        ("a call that goes up", "calls zo2_arch_load, which engine/families defines", "engine/plan/plan.c",
         "static zo2_status too_small(", "int zo2_arch_load(void);\nint zo2_planted(void)\n{\n    return zo2_arch_load();\n}\n\nstatic zo2_status too_small("),
        ("a missing include", "without including", "engine/masters/history.h", '#include "storage/run/journal.h"\n', ""),
    ]
    for what, said, path, old, new in planted:
        copy = os.path.join(scratch, "copy")
        for top in ("codec", "storage", "kernels", "engine", "tools"):
            shutil.copytree(os.path.join(ROOT, top), os.path.join(copy, top))
        plant(copy, path, old, new)
        if not any(said in fault for fault in faults_of(copy)):
            yield f"{what}, planted in {path}, was not found"
        shutil.rmtree(copy)


def main():
    faults = faults_of(ROOT)
    if not faults:
        with tempfile.TemporaryDirectory() as scratch:
            faults = list(check_planted(scratch))
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
