"""Sharded exports, read by a reader of its own: `zo2-pack export --split-size`. Names, sizes and index as Hugging Face writes them
(model-0000i-of-0000n.safetensors, model.safetensors.index.json with total_size and weight_map), files as full as the split
allows, and the weights of the unsharded export.

Environment: BIN (folder of the tools), DATA (tests/data).
"""
import json
import os
import struct
import subprocess
import tempfile

BIN, DATA = os.environ["BIN"], os.environ["DATA"]
MODEL = os.path.join(DATA, "tiny-opt", "model")
INDEX = "model.safetensors.index.json"
OTHERS = sorted(f for f in os.listdir(MODEL) if not f.endswith(".safetensors"))


def zo2_pack(*args):
    subprocess.run([os.path.join(BIN, "zo2-pack"), *args], check=True, stdout=subprocess.DEVNULL)


def read_file(path):
    """{name: (dtype, shape, bytes)} in the file's order; checks its form."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack_from("<Q", data)[0]
    assert n % 8 == 0, "the data aren't aligned"
    header = json.loads(data[8:8 + n].decode())
    assert header.pop("__metadata__") == {"format": "pt"}  # transformers refuses files without it
    tensors, at = {}, 0
    for name, t in header.items():
        begin, end = t["data_offsets"]
        size = {"F32": 4, "F16": 2, "BF16": 2}[t["dtype"]]
        for d in t["shape"]:
            size *= d
        assert (begin, end - begin) == (at, size), f"{name} is out of place"
        at = end
        tensors[name] = (t["dtype"], t["shape"], data[8 + n + begin:8 + n + end])
    assert len(data) == 8 + n + at, "bytes behind the data"
    return tensors


def read_export(folder):
    """List of (file, tensors) in order; checks names and index."""
    files = sorted(os.listdir(folder))
    shards = [f for f in files if f.endswith(".safetensors")]
    rest = [f for f in files if f not in shards and f != INDEX]
    assert rest == OTHERS, rest
    parts = [(f, read_file(os.path.join(folder, f))) for f in shards]
    if len(shards) == 1:
        assert shards == ["model.safetensors"] and INDEX not in files, files
        return parts
    assert shards == [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))], shards
    with open(os.path.join(folder, INDEX), encoding="utf-8") as f:
        index = json.load(f)
    assert set(index) == {"metadata", "weight_map"}
    assert index["metadata"]["total_size"] == sum(len(t[2]) for _, part in parts for t in part.values())
    assert index["weight_map"] == {name: f for f, part in parts for name in part}
    return parts


def bytes_of(part):
    return sum(len(t[2]) for t in part.values())


def check_split(parts, split):
    """Every file within the split unless one tensor alone exceeds it, and none that would have had room for the next tensor."""
    for i, (f, part) in enumerate(parts):
        assert part, f"{f} is empty"
        assert bytes_of(part) <= split or len(part) == 1, f"{f} has {bytes_of(part)} bytes"
        if i + 1 < len(parts):
            first = len(next(iter(parts[i + 1][1].values()))[2])
            assert bytes_of(part) + first > split, f"{f} had room for the next tensor"


with tempfile.TemporaryDirectory() as work:
    pack, single = os.path.join(work, "tiny.zo2"), os.path.join(work, "single")
    zo2_pack("convert", MODEL, pack, "--zstd", "1")
    zo2_pack("export", pack, single)
    whole = read_export(single)[0][1]
    sizes = [len(t[2]) for t in whole.values()]
    total, largest = sum(sizes), max(sizes)
    assert whole == read_file(os.path.join(MODEL, "model.safetensors"))

    # split, and how many files it makes where that is known
    cases = {
        total: 1,
        total - 1: 2,
        1: len(sizes),  # every tensor is larger: a file each
        largest: None,
        largest - 1: None,  # one tensor alone exceeds the split
        sizes[0] + sizes[1]: None,  # exactly two tensors
        sizes[0] + sizes[1] - 1: None,
        1 << 20: None,
    }
    for split, files in cases.items():
        folder = os.path.join(work, f"split-{split}")
        zo2_pack("export", pack, folder, "--split-size", str(split))
        parts = read_export(folder)
        if files is not None:
            assert len(parts) == files, (split, len(parts))
        if len(parts) > 1:
            check_split(parts, split)
        together = {name: t for _, part in parts for name, t in part.items()}
        assert list(together) == list(whole) and together == whole, split
        zo2_pack("convert", folder, os.path.join(work, "again.zo2"), "--force", "--zstd", "1")
        with open(pack, "rb") as a, open(os.path.join(work, "again.zo2"), "rb") as b:
            assert a.read() == b.read(), "a sharded export isn't the same model"
    first = read_export(os.path.join(work, f"split-{sizes[0] + sizes[1]}"))[0][1]
    assert list(first) == list(whole)[:2]
    first = read_export(os.path.join(work, f"split-{sizes[0] + sizes[1] - 1}"))[0][1]
    assert list(first) == list(whole)[:1]

    # With another type, sizes are those of the output.
    folder = os.path.join(work, "fp32")
    zo2_pack("export", pack, folder, "--split-size", str(2 * total), "--dtype", "fp32")
    assert len(read_export(folder)) == 1
    zo2_pack("export", pack, folder, "--split-size", str(2 * total - 1), "--dtype", "fp32", "--force")
    parts = read_export(folder)
    assert len(parts) == 2 and sum(bytes_of(p) for _, p in parts) == 2 * total
    print(f"{len(cases) + 2} exports of {len(sizes)} tensors, {total} bytes")
